"""Node's two clients: ``memcached``, which speaks text, and ``memjs``, which speaks the binary protocol."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.clients.waiting import put_once_it_waits
from tests.server_process import ServerProcess

pytestmark = pytest.mark.extra

MODULES = Path(sys.prefix) / "node_modules"
"""Where tests/install-extra.sh puts them."""

COMMON = r"""
const assert = require('assert');
const [port, second, q] = process.argv.slice(1);
function check(what, got, want) { assert.deepStrictEqual(got, want, `${what}: ${JSON.stringify(got)}`); }
"""

MEMCACHED = (
    COMMON
    + r"""
const Memcached = require('memcached');
function connect(servers, options) {
    const m = new Memcached(servers, { timeout: 20000, poolSize: 1, maxValue: 65536, ...options });
    const ask = (verb, ...rest) => new Promise((done) => {
        m[verb](...rest, (error, value) => done(error ? `error: ${error.message || error}` : value));
    });
    return [m, ask];
}
(async () => {
    const [m, ask] = connect(`127.0.0.1:${port}`);
    check('set', await ask('set', q, 'first', 3600), true);
    check('set unicode', await ask('set', q, 'grüße, 世界', 0), true);
    check('get', await ask('get', q), 'first');
    check('get, held', await ask('get', q), undefined);
    check('delete', await ask('del', q), true);
    check('delete again', await ask('del', q), false);
    check('get unicode', await ask('get', q), 'grüße, 世界');
    check('delete', await ask('del', q), true);
    for (const value of [{ a: [1, null] }, 42, true, '\r\nEND\r\n', 'x'.repeat(40000), Buffer.from([0, 255, 13, 10])]) {
        check('set value', await ask('set', q, value, 0), true);
        check('get value', await ask('get', q), value);
        check('delete value', await ask('del', q), true);
    }
    check('set', await ask('set', q + 'a', 1, 0), true);
    check('set', await ask('set', q + 'b', 2, 0), true);
    check('getMulti', await ask('getMulti', [q + 'a', q + 'b', q + 'c']), { [q + 'a']: 1, [q + 'b']: 2 });
    check('wait in vain', await ask('get', q + '/t=20'), undefined);
    check('touch, nothing held', await ask('touch', q, 100), false);
    await ask('set', q, 'job', 0);
    const held = await ask('gets', q);
    check('gets', held[q], 'job');
    check('touch', await ask('touch', q, 100), true);
    check('cas', await ask('cas', q + 'next', 'next', held.cas, 0), true);
    check('cas, lost', await ask('cas', q + 'next', 'again', held.cas, 0), false);
    check('get swapped', await ask('get', q + 'next'), 'next');
    check('incr nothing', await ask('incr', q + 'n', 1), false);
    check('set', await ask('set', q + 'n', '41', 0), true);
    check('incr', await ask('incr', q + 'n', 1), 42);
    check('decr', await ask('decr', q + 'n', 2), 40);
    check('replace nothing', await ask('replace', q, 'x', 0), 'error: Item is not stored');
    check('add', await ask('add', q, 'draft', 0), true);
    check('add again', await ask('add', q, 'again', 0), 'error: Item is not stored');
    check('replace', await ask('replace', q, 'final', 0), true);
    check('append', await ask('append', q, 'last'), true);
    check('prepend', await ask('prepend', q, 'zeroth'), true);
    for (const value of ['zeroth', 'final', 'last']) {
        check('order', await ask('get', q), value);
        check('order', await ask('del', q), true);
    }
    check('delayed', await ask('set', q + '/delay=0.2', 'later', 0), true);
    check('not yet', await ask('get', q), undefined);
    check('now', await ask('get', q + '/t=9000/as=me'), 'later');
    check('not mine', await ask('del', q), false);
    check('mine', await ask('del', q + '/as=me'), true);
    check('no sense', await ask('get', q + '/peek/t=5'), 'error: option /peek goes with no other but /or');
    const long = await ask('set', q, 'x'.repeat(70000), 0);
    check('too large', long, 'error: The length of the value is greater than 65536');
    check('goes on', await ask('set', q, 'small', 0), true);
    check('goes on', await ask('get', q), 'small');
    check('stats', (await ask('stats'))[0].pid > 0, true);
    m.end();
    const [other, askOther] = connect(`127.0.0.1:${port}`);
    check('given back', await askOther('get', q + '/t=9000'), 'small');
    check('delete', await askOther('del', q), true);
    console.log('waits');
    check('waiting get', await askOther('get', q + 'w/t=15000'), 'x');
    other.end();
    const [two, askTwo] = connect([`127.0.0.1:${port}`, `127.0.0.1:${second}`]);
    for (let i = 0; i < 20; i++) check('set on one of two', await askTwo('set', q + i, i, 0), true);
    for (let i = 0; i < 20; i++) {
        check('get from one of two', await askTwo('get', q + i), i);
        check('delete from one of two', await askTwo('del', q + i), true);
    }
    two.end();
    const [, askLarge] = connect(`127.0.0.1:${port}`, { maxValue: 1 << 20 });
    check('too large for the server', await askLarge('set', q, 'x'.repeat(70000), 0), false);
    check('which it takes for dead then', (await askLarge('set', q, 'x', 0)).endsWith('not available'), true);
    console.log('well');
    process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
"""
)

MEMJS = (
    COMMON
    + r"""
const memjs = require('memjs');
const quiet = { log: () => {} };
const connect = (servers) => memjs.Client.create(servers, { timeout: 20, retries: 0, logger: quiet });
const text = (found) => found.value === null ? null : found.value.toString();
const refused = (promise) => promise.then((value) => `answered ${value}`, (error) => error.message);
(async () => {
    const c = connect(`user:secret@127.0.0.1:${port}`);  // a password that nobody asks for does no harm
    check('set', await c.set(q, 'first', { expires: 3600 }), true);
    check('set unicode', await c.set(q, 'grüße, 世界', {}), true);
    check('get', text(await c.get(q)), 'first');
    check('get, held', text(await c.get(q)), null);
    check('delete', await c.delete(q), true);
    check('delete again', await c.delete(q), false);
    check('get unicode', text(await c.get(q)), 'grüße, 世界');
    check('delete', await c.delete(q), true);
    const bytes = Buffer.from([0, 255, 13, 10]);
    check('set bytes', await c.set(q, bytes, {}), true);
    check('get bytes', (await c.get(q)).value, bytes);
    check('delete', await c.delete(q), true);
    check('add', await c.add(q, 'draft', {}), true);
    check('add again', await c.add(q, 'again', {}), false);
    check('replace nothing', await c.replace(q + 'none', 'x', {}), false);
    check('replace', await c.replace(q, 'final', {}), true);
    check('append', await c.append(q, 'last'), true);
    check('prepend, which sends an append', await c.prepend(q, 'very last'), true);
    for (const value of ['final', 'last', 'very last']) {
        check('order', text(await c.get(q)), value);
        check('touch', await c.touch(q, 100), true);
        check('order', await c.delete(q), true);
    }
    check('touch, nothing held', await c.touch(q, 100), false);
    check('increment', await c.increment(q + 'n', 5, { initial: 40 }), { success: true, value: 40 });
    check('increment', await c.increment(q + 'n', 5, {}), { success: true, value: 45 });
    check('decrement', await c.decrement(q + 'n', 3, {}), { success: true, value: 42 });
    check('wait in vain', text(await c.get(q + '/t=20')), null);
    check('delayed', await c.set(q + '/delay=0.2', 'later', {}), true);
    check('not yet', text(await c.get(q)), null);
    check('now', text(await c.get(q + '/t=9000/as=me')), 'later');
    check('not mine', await c.delete(q), false);
    check('mine', await c.delete(q + '/as=me'), true);
    check('no sense', await refused(c.get(q + '/peek/t=5')), 'MemJS GET: Invalid arguments');
    check('too large', await refused(c.set(q, 'x'.repeat(70000), {})), 'MemJS SET: Value too large');
    check('goes on', await c.set(q, 'small', {}), true);
    check('goes on', text(await c.get(q)), 'small');
    const stats = await new Promise((done) => c.stats((error, server, found) => done(found)));
    check('stats', Number(stats.pid) > 0, true);
    c.close();
    const other = connect(`127.0.0.1:${port}`);
    check('given back', text(await other.get(q + '/t=9000')), 'small');
    check('delete', await other.delete(q), true);
    console.log('waits');
    check('waiting get', text(await other.get(q + 'w/t=15000')), 'x');
    other.close();
    const two = connect(`127.0.0.1:${port},127.0.0.1:${second}`);
    for (let i = 0; i < 20; i++) check('set on one of two', await two.set(q + i, `${i}`, {}), true);
    for (let i = 0; i < 20; i++) {
        check('get from one of two', text(await two.get(q + i)), `${i}`);
        check('delete from one of two', await two.delete(q + i), true);
    }
    two.close();
    console.log('well');
})().catch((error) => { console.error(error); process.exit(1); });
"""
)


@pytest.mark.parametrize(("module", "program"), [("memcached", MEMCACHED), ("memjs", MEMJS)])
def test_node(server: ServerProcess, second_server: ServerProcess, queue: str, module: str, program: str) -> None:
    if shutil.which("node") is None or not (MODULES / module).is_dir():
        pytest.fail("missing: tests/install-extra.sh " + sys.executable)
    process = subprocess.Popen(
        ["node", "-e", program, str(server.port), str(second_server.port), queue],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killer = threading.Timer(60, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if first == "waits\n":
            with put_once_it_waits(server, queue + "w", b"x"):
                pass
        rest = process.stdout.read()
        assert (first, rest, process.wait()) == ("waits\n", "well\n", 0), first + rest
    finally:
        killer.cancel()
        process.kill()
        process.wait()
