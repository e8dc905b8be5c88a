#!/bin/sh
# Build the Debian package of this tree into the directory given, dist/ where none is.
# Needs: apt install build-essential debhelper python3-dev python3-pip
set -eu
cd "$(dirname "$0")/../.."
for command in dpkg-buildpackage dh; do
    if ! command -v "$command" >/dev/null; then
        echo "$0: there is no $command here: apt install build-essential debhelper python3-dev python3-pip" >&2
        exit 1
    fi
done
target=${1:-dist}
mkdir -p "$target"
target=$(cd "$target" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/redqueue
mkdir "$tree"
tar -cf - --exclude=__pycache__ README.md CHANGELOG.md SECURITY.md LICENSE MANIFEST.in pyproject.toml setup.py bin \
    build_backend contrib docs redqueue | tar -xf - -C "$tree"
cp -r contrib/debian "$tree/debian"
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' redqueue/__init__.py)
sed -e "s/@VERSION@/$version/" -e "s/@DATE@/$(date -R)/" contrib/debian/changelog.in >"$tree/debian/changelog"
(cd "$tree" && dpkg-buildpackage --build=binary --no-sign ${DEB_BUILD_FLAGS-})
mv "$work"/redqueue_*.deb "$target"/
ls "$target"/redqueue_"$version"_*.deb
