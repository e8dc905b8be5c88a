"""Clients of other languages, each driven by its own interpreter."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.server_process import ServerProcess

pytestmark = pytest.mark.extra

PHP = r"""
$m = new Memcached();
$m->addServer('127.0.0.1', (int) $argv[1]);
$m->setOption(Memcached::OPT_BINARY_PROTOCOL, (bool) $argv[3]);
$q = $argv[2];
function check($what, $got, $want) {
    global $m;
    if ($got !== $want) {
        fwrite(STDERR, "$what: " . var_export($got, true) . ", not " . var_export($want, true)
            . " (" . $m->getResultMessage() . ")\n");
        exit(1);
    }
}
check('set', $m->set($q, 'first'), true);
check('set unicode', $m->set($q, 'grüße'), true);
check('get', $m->get($q), 'first');
check('get, held', $m->get($q), false);
check('delete', $m->delete($q), true);
check('delete twice', $m->delete($q), false);
check('result', $m->getResultCode(), Memcached::RES_NOTFOUND);
check('get unicode', $m->get($q), 'grüße');
check('delete', $m->delete($q), true);
foreach ([42, 1.5, true, ['a' => [1, null]], "\r\nEND\r\n", '', str_repeat('ab', 20000)] as $value) {
    check('set value', $m->set($q, $value), true);
    check('get value', $m->get($q), $value);
    check('delete value', $m->delete($q), true);
}
check('setMulti', $m->setMulti(["{$q}a" => 1, "{$q}b" => 2]), true);
check('getMulti', $m->getMulti(["{$q}a", "{$q}b", "{$q}c"]), ["{$q}a" => 1, "{$q}b" => 2]);
check('deleteMulti', $m->deleteMulti(["{$q}a", "{$q}b"]), ["{$q}a" => true, "{$q}b" => true]);
check('touch, nothing held', $m->touch($q, 100), false);
$m->set($q, 'job');
$found = $m->get($q, null, Memcached::GET_EXTENDED);
check('gets', $found['value'], 'job');
check('touch', $m->touch($q, 100), true);
check('cas', $m->cas($found['cas'], $q, 'next'), true);
check('get swapped', $m->get($q), 'next');
check('delete swapped', $m->delete($q), true);
check('cas lost', $m->cas($found['cas'], $q, 'again'), false);
check('result', $m->getResultCode(), Memcached::RES_DATA_EXISTS);
check('waiting get in vain', $m->get("$q/t=20"), false);
check('set', $m->set($q, 'x'), true);
check('waiting get', $m->get("$q/t=1000"), 'x');
check('close', $m->get("$q/close"), false);
check('nothing left', $m->get($q), false);
$m->set("{$q}n", '41');
check('increment', $m->increment("{$q}n"), 42);
check('decrement', $m->decrement("{$q}n", 2), 40);
check('replace nothing', $m->replace($q, 'x'), false);
check('add', $m->add($q, 'draft'), true);
check('add again', $m->add($q, 'again'), false);
check('replace', $m->replace($q, 'final'), true);
$m->setOption(Memcached::OPT_COMPRESSION, false);
check('append', $m->append($q, 'last'), true);
check('prepend', $m->prepend($q, 'zeroth'), true);
foreach (['zeroth', 'final', 'last'] as $value) {
    check('order', $m->get($q), $value);
    check('order', $m->delete($q), true);
}
check('delayed', $m->set("$q/delay=0.2", 'later'), true);
check('not yet', $m->get($q), false);
check('now', $m->get("$q/t=4000"), 'later');
check('delete', $m->delete($q), true);
check('named', $m->set($q, 'x'), true);
check('named', $m->get("$q/as=worker-7"), 'x');
check('named', $m->delete($q), false);
check('named', $m->delete("$q/as=worker-7"), true);
check('too large', $m->set($q, random_bytes(70000)), false);
check('result', $m->getResultCode(), Memcached::RES_E2BIG);
check('goes on', $m->set($q, 'small'), true);
check('goes on', $m->get($q), 'small');
check('bad key', $m->set(str_repeat('k', 251), 'x'), false);
check('an option that makes no sense', $m->get("$q/peek/t=5"), false);
check('stats', array_values($m->getStats())[0]['pid'] > 0, true);
$n = new Memcached();
$n->setOption(Memcached::OPT_BINARY_PROTOCOL, (bool) $argv[3]);
$n->setOption(Memcached::OPT_NO_BLOCK, true);
$n->setOption(Memcached::OPT_NOREPLY, true);
$n->addServer('127.0.0.1', (int) $argv[1]);
check('set without a reply', $n->set("{$q}n2", 'x'), true);
check('get', $m->get("{$q}n2/t=4000"), 'x');
$two = new Memcached();
$two->setOption(Memcached::OPT_BINARY_PROTOCOL, (bool) $argv[3]);
$two->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
$two->addServers([['127.0.0.1', (int) $argv[1]], ['127.0.0.1', (int) $argv[4]]]);
for ($i = 0; $i < 20; $i++) {
    check('set on one of two', $two->set("{$q}s$i", $i), true);
}
for ($i = 0; $i < 20; $i++) {
    check('get from one of two', $two->get("{$q}s$i"), $i);
    check('delete from one of two', $two->delete("{$q}s$i"), true);
}
check('quit', $m->quit(), true);
check('given back', $m->get("$q/t=5000"), 'small');
echo "well\n";
"""

PERL = r"""
use strict;
use warnings;
use utf8;
use Cache::Memcached;
my ($port, $q, $second) = @ARGV;
my $m = Cache::Memcached->new({ servers => ["127.0.0.1:$port"], compress_threshold => 10_000 });
sub check {
    my ($what, $got, $want) = @_;
    $_ //= 'undef' for $got, $want;
    die "$what: $got, not $want\n" if $got ne $want;
}
check('set', $m->set($q, 'first'), 1);
check('set', $m->set($q, 'second'), 1);
check('get', $m->get($q), 'first');
check('get, held', $m->get($q), undef);
check('delete', $m->delete($q), 1);
check('get', $m->get($q), 'second');
check('delete', $m->delete($q), 1);
check('get, empty', $m->get($q), undef);
check('set a structure', $m->set($q, { list => [1, 'zwei'] }), 1);
check('get a structure', $m->get($q)->{list}[1], 'zwei');
check('delete', $m->delete($q), 1);
check('set compressed', $m->set($q, 'ab' x 20_000), 1);
check('get compressed', $m->get($q), 'ab' x 20_000);
check('delete', $m->delete($q), 1);
for my $body ("\r\nEND\r\n", '', "\0\xff") {
    check('set bytes', $m->set($q, $body), 1);
    check('get bytes', $m->get($q), $body);
    check('delete bytes', $m->delete($q), 1);
}
$m->set("${q}a", 1);
$m->set("${q}b", 2);
my $found = $m->get_multi("${q}a", "${q}b", "${q}c");
check('get_multi', join(' ', map { "$_=$found->{$_}" } sort keys %$found), "${q}a=1 ${q}b=2");
check('waiting get in vain', $m->get("$q/t=20"), undef);
check('set', $m->set($q, 'x'), 1);
check('waiting get', $m->get("$q/t=1000"), 'x');
check('delete', $m->delete($q), 1);
$m->set("${q}n", 41);
check('incr', $m->incr("${q}n"), 42);
check('decr', $m->decr("${q}n", 2), 40);
check('replace nothing', $m->replace($q, 'x'), '');
check('add', $m->add($q, 'draft'), 1);
check('add again', $m->add($q, 'again'), '');
check('replace', $m->replace($q, 'final'), 1);
check('get', $m->get($q), 'final');
check('delete', $m->delete($q), 1);
check('touch, nothing held', $m->can('touch') ? 1 : 0, 0);
check('delayed', $m->set("$q/delay=0.2", 'later'), 1);
check('not yet', $m->get($q), undef);
check('now', $m->get("$q/t=4000"), 'later');
check('delete', $m->delete($q), 1);
check('named', $m->set($q, 'x'), 1);
check('named', $m->get("$q/as=worker-7"), 'x');
check('named', $m->delete($q), '');
check('named', $m->delete("$q/as=worker-7"), 1);
check('an option that makes no sense', $m->get("$q/peek/t=5"), undef);
my $two = Cache::Memcached->new({ servers => ["127.0.0.1:$port", "127.0.0.1:$second"] });
for my $i (1 .. 20) {
    check('set on one of two', $two->set("${q}s$i", $i), 1);
}
for my $i (1 .. 20) {
    check('get from one of two', $two->get("${q}s$i"), $i);
    check('delete from one of two', $two->delete("${q}s$i"), 1);
}
$m->enable_compress(0);
check('too large', $m->set($q, 'x' x 70_000), '');
check('goes on', $m->set($q, 'small'), 1);
check('goes on', $m->get($q), 'small');
check('stats', $m->stats('misc')->{hosts}{"127.0.0.1:$port"}{misc}{pid} > 0 ? 1 : 0, 1);
$m->disconnect_all;
check('given back', $m->get("$q/t=5000"), 'small');
print "well\n";
"""


def run(interpreter: str, probe: list[str], program: list[str], packages: str) -> str:
    """Run a program after a probe for what it needs; returns what it printed."""
    install = f"missing: sudo apt-get install {packages}"
    if shutil.which(interpreter) is None:
        pytest.fail(install)
    found = subprocess.run([interpreter, *probe], capture_output=True, text=True, timeout=30, check=False)
    if found.returncode:
        pytest.fail(f"{install}\n{found.stderr}")
    result = subprocess.run([interpreter, *program], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


@pytest.mark.parametrize("protocol", ["text", "binary"])
def test_php_memcached(server: ServerProcess, second_server: ServerProcess, queue: str, protocol: str) -> None:
    probe = ["-r", "exit(extension_loaded('memcached') ? 0 : 1);"]
    arguments = [str(server.port), queue, "1" if protocol == "binary" else "0", str(second_server.port)]
    program = ["-d", "error_reporting=-1", "-r", PHP, "--", *arguments]
    assert run("php", probe, program, "php-cli php-memcached") == "well\n"


def test_php_memcached_version(server: ServerProcess, queue: str) -> None:
    """libmemcached wants three numbers, the first above 0, and closes the connection where it does not get them."""
    probe = ["-r", "exit(extension_loaded('memcached') ? 0 : 1);"]
    program = r"""
    $m = new Memcached();
    $m->addServer('127.0.0.1', (int) $argv[1]);
    $m->set($argv[2], 'x');
    $m->get($argv[2]);
    $versions = $m->getVersion();
    echo $versions ? 'version ' . array_values($versions)[0] : $m->getResultMessage(), "\n";
    echo $m->delete($argv[2]) ? 'still held' : 'given back', "\n";
    """
    with server.connect() as wire:
        version = re.match(rb"VERSION (\d+\.\d+\.\d+)", wire.ask(b"version"))
    assert version
    printed = run("php", probe, ["-r", program, "--", str(server.port), queue], "php-cli php-memcached")
    assert printed == f"version {version[1].decode()}\nstill held\n"


def test_memcexist(server: ServerProcess, queue: str) -> None:
    """libmemcached asks whether a key exists by an add whose exptime is a date long past: it leaves nothing behind."""
    name = queue.encode()
    ask = [f"--servers=127.0.0.1:{server.port}", queue]
    if shutil.which("memcexist") is None:
        pytest.fail("missing: sudo apt-get install libmemcached-tools")
    with server.connect() as wire:
        for exists in (False, True):
            result = subprocess.run(["memcexist", *ask], capture_output=True, text=True, timeout=30, check=False)
            assert (result.returncode == 0) == exists, result.stderr
            assert len(wire.get(name + b"/peek")) == exists
            assert wire.put(name, b"x") == b"STORED"


def test_perl_cache_memcached(server: ServerProcess, second_server: ServerProcess, queue: str) -> None:
    probe = ["-MCache::Memcached", "-e", "1"]
    program = ["-e", PERL, str(server.port), queue, str(second_server.port)]
    assert run("perl", probe, program, "libcache-memcached-perl") == "well\n"
