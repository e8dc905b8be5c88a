#!/usr/bin/env bash
# Installs what the tests marked "extra" need: clients in other languages, a browser, the peers of the benchmark,
# what looks at the files in contrib/ and at the manual pages, and the shells.
# usage: tests/install-extra.sh PYTHON, the interpreter that gets pylibmc and that extensions are compiled for;
# Node's clients go beside its packages
#
# Says and does nothing where all is there. Starts no service.
set -euo pipefail

python=${1:?usage: $0 PYTHON}
packages=(
    memcached beanstalkd redis-server gcc libc6-dev
    php-cli php-memcached libcache-memcached-perl libmemcached-tools libsasl2-modules netcat-openbsd
    chromium curl fish mandoc prometheus shellcheck strace systemd zsh
)
services=(memcached beanstalkd redis-server prometheus prometheus-node-exporter)

is_installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

as_root() {
    if [[ $EUID == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "$0: needs root, or sudo, for: $*" >&2
        return 1
    fi
}

policy=/usr/sbin/policy-rc.d
our_policy=
remove_policy() {
    if [[ $our_policy ]]; then
        as_root rm -f "$policy"
        our_policy=
    fi
}
trap remove_policy EXIT

# Debian starts what it installs, unless policy-rc.d forbids it (exit status 101).
install_debian() {
    if ! command -v apt-get >/dev/null; then
        echo "$0: there is no apt-get here; install by other means: $*" >&2
        exit 1
    fi
    echo "installing $*"
    if [[ ! -e $policy ]]; then
        our_policy=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" </dev/null >/dev/null
    remove_policy
    if [[ -d /run/systemd/system ]]; then
        local service
        for service in "${services[@]}"; do
            if [[ " $* " == *" $service "* ]]; then
                as_root systemctl disable --quiet --now "$service" || true
            fi
        done
    fi
}

missing=()
for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
done
for program in nodejs:node npm:npm; do  # which may be there from elsewhere
    command -v "${program#*:}" >/dev/null || missing+=("${program%:*}")
done
if ((${#missing[@]})); then
    install_debian "${missing[@]}"
fi

if ! "$python" -c 'import os.path, sysconfig as s; open(os.path.join(s.get_path("include"), "Python.h"))' 2>/dev/null; then
    install_debian python3-dev
fi

pip=("$python" -m pip --quiet --disable-pip-version-check)
if ! "$python" -c 'import pylibmc' 2>/dev/null; then
    echo "installing pylibmc"
    if ! "${pip[@]}" install --only-binary :all: pylibmc 2>/dev/null; then
        install_debian gcc libc6-dev python3-dev libmemcached-dev zlib1g-dev
        "${pip[@]}" install pylibmc
    fi
fi

prefix=$("$python" -c 'import sys; print(sys.prefix)')
modules=()
for module in memcached memjs axe-core; do
    [[ -d $prefix/node_modules/$module ]] || modules+=("$module")
done
if ((${#modules[@]})); then
    echo "installing from npm: ${modules[*]}"
    npm install --silent --no-audit --no-fund --prefix "$prefix" "${modules[@]}"
fi
