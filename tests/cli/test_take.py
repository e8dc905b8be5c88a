"""``redqueue take``: what is printed is acknowledged, what cannot be printed is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.live import Live, terminal
from tests.server_process import wait_until


def test_one_and_several(live: Live) -> None:
    live.fill(b"jobs", b"a", b"b\x00\xff", b"c", b"d")
    assert live.redqueue("take", "jobs").stdout == "a\n"
    assert live.redqueue("take", "jobs", "-n", "2", "--null").stdout == "b\x00\udcff\x00c\x00"
    assert live.redqueue("take", "jobs", "-n", "2", "--raw", status=1).stdout == "d"
    assert live.redqueue("take", "jobs", status=1).stdout == ""
    assert live.figure(b"jobs", "items") == 0


def test_all(live: Live) -> None:
    live.fill(b"jobs", *[b"%d" % i for i in range(500)])
    assert live.redqueue("take", "jobs", "--all").stdout == "".join(f"{i}\n" for i in range(500))
    assert live.redqueue("take", "jobs", "--all", status=1).stdout == ""


def test_as_json(live: Live) -> None:
    live.redqueue("put", "jobs", "--flags=3", "text", b"\xff")
    rows = live.json_lines("take", "jobs", "--all")
    assert (rows[0]["payload"], rows[0]["flags"], rows[0]["deliveries"]) == ("text", 3, 1)
    assert rows[1]["payload_base64"] == "/w=="


def test_peek_leaves_them(live: Live) -> None:
    live.fill(b"jobs", b"a", b"b")
    assert live.redqueue("take", "jobs", "--peek", "--all").stdout == "a\nb\n"
    assert live.contents(b"jobs") == [b"a", b"b"]


def test_waiting(live: Live) -> None:
    process = live.start_command("take", "jobs", "-n", "2", "--wait=forever", stdout=subprocess.PIPE)
    wait_until(lambda: live.figure(b"jobs", "waiters") == 1)
    live.fill(b"jobs", b"a")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    wait_until(lambda: live.figure(b"jobs", "items") == 0)
    live.fill(b"jobs", b"b")
    assert process.communicate(timeout=20)[0] == b"b\n"
    assert process.returncode == 0
    assert live.redqueue("take", "jobs", "--wait=50ms", status=1).stdout == ""


def test_what_nobody_reads_goes_back(live: Live) -> None:
    live.fill(b"jobs", b"a", *[b"x" * 100_000 for _ in range(10)])
    process = live.start_command("take", "jobs", "--all", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    process.stdout.close()
    assert process.wait(20) == 2
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    left = live.contents(b"jobs")
    assert len(left) >= 9
    assert live.figure(b"jobs", "open_transactions") == 0


def test_a_full_disk(live: Live) -> None:
    live.fill(b"jobs", b"a")
    with Path("/dev/full").open("wb") as full:
        process = live.start_command("take", "jobs", stdout=full)
        assert process.stderr is not None
        assert b"No space left" in process.stderr.read()
        assert process.wait(20) == 2
        process.stderr.close()
    wait_until(lambda: live.contents(b"jobs") == [b"a"])
    assert live.json("peek", "jobs")["deliveries"] == 1


def test_a_slow_reader_loses_the_reservation(tmp_path: Path) -> None:
    with Live(tmp_path / "journal", reserve_timeout="200ms") as server:
        server.fill(b"jobs", b"x" * 300_000)
        reading, writing = os.pipe()
        process = server.start_command("take", "jobs", stdout=writing)
        os.close(writing)
        wait_until(lambda: server.figure(b"jobs", "timed_out_transactions") == 1)
        while os.read(reading, 65536):
            pass
        os.close(reading)
        assert process.stderr is not None
        assert b"item 1 was printed too late, and will be delivered again" in process.stderr.read()
        assert process.wait(20) == 1
        process.stderr.close()
        assert server.figure(b"jobs", "items") == 1


def test_interrupted(live: Live) -> None:
    process = live.start_command("take", "jobs", "--wait=forever")
    wait_until(lambda: live.figure(b"jobs", "waiters") == 1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 130


def test_a_terminal_is_spared(live: Live) -> None:
    live.fill(b"jobs", b"\x1b[2Jevil \\ \xff")
    with terminal(live, "take", "jobs") as shown:
        assert shown.end() == 0
        assert "\\x1b[2Jevil \\ \\xff" in shown.written


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--exec=cat", "--json"), "--exec goes with none of"),
        (("--jobs=2",), "--jobs and --tries go with --exec"),
        (("--exec=cat", "--reserve=0"), "--reserve wants at least a second"),
        (("-n", "0"), "wants a whole number from 1 up"),
        (("-n", "1", "--all"), "not allowed with"),
    ],
)
def test_options_that_do_not_go(live: Live, options: tuple[str, ...], complaint: str) -> None:
    assert complaint in live.redqueue("take", "jobs", *options, status=2).stderr


# -- --exec --------------------------------------------------------------------


def test_a_command_for_each(live: Live) -> None:
    live.redqueue("put", "jobs", "--flags=9", "a", "b\nc")
    command = 'printf "%s %s %s<%s>\\n" "$REDQUEUE_QUEUE" "$REDQUEUE_DELIVERIES" "$REDQUEUE_FLAGS" "$(cat)"'
    done = live.redqueue("take", "jobs", "--all", "--exec", command)
    assert (done.stdout, done.stderr) == ("jobs 1 9<a>\njobs 1 9<b\nc>\n", "")
    assert live.figure(b"jobs", "items") == 0
    assert live.redqueue("take", "jobs", "--all", "--exec", "cat", status=1).stdout == ""


def test_a_command_that_reads_nothing_or_a_lot(live: Live) -> None:
    live.fill(b"jobs", b"x" * 900_000, b"y" * 900_000)
    assert live.redqueue("take", "jobs", "--exec=true", "-n", "1").stderr == ""
    assert live.redqueue("take", "jobs", "--exec=wc -c", "-n", "1").stdout.strip() == "900000"


def test_a_command_that_fails_gives_back(live: Live) -> None:
    live.fill(b"jobs", b"bad", b"good")
    done = live.redqueue("take", "jobs", "--all", "--backoff=100s", "--exec", "grep -q good", status=1)
    assert "exit status 1, again in 100 s" in done.stderr
    assert (live.figure(b"jobs", "delayed"), live.figure(b"jobs", "items")) == (1, 1)
    live.empty()
    live.fill(b"jobs", b"killed")
    done = live.redqueue("take", "jobs", "-n", "1", "--exec", "kill -9 $$", status=1)
    assert "ended by signal 9, again in 1 s" in done.stderr


def test_back_off_grows_and_tries_end(live: Live, tmp_path: Path) -> None:
    live.fill(b"jobs", b"bad")
    log = tmp_path / "log"
    command = f"echo $REDQUEUE_DELIVERIES $REDQUEUE_ID >>{log}; exit 3"
    done = live.redqueue(
        "take", "jobs", "--backoff=500ms", "--tries=3", "--wait=4s", "-n", "3", "--exec", command, status=1
    )
    lines = [line.partition(": ")[2] for line in done.stderr.replace("redqueue: ", "").splitlines()]
    assert lines == [
        "exit status 3, again in 1 s",
        "exit status 3, again in 1 s",
        "exit status 3, delivered 3 times, now a dead letter",
    ]
    numbers, ids = zip(*(line.split() for line in log.read_text().splitlines()), strict=True)
    assert numbers == ("1", "2", "3")
    assert len(set(ids)) == 1
    assert live.contents(b"jobs.dead") == [b"bad"]
    assert live.redqueue("redrive", "jobs.dead").stdout == "1 item of jobs.dead went back, 0 left\n"
    assert live.contents(b"jobs") == [b"bad"]


def test_several_at_a_time(live: Live, tmp_path: Path) -> None:
    live.fill(b"jobs", *[b"%d" % i for i in range(6)])
    # Each command waits until three of them run.
    command = (
        f"touch {tmp_path}/$REDQUEUE_ID; until [ $(ls {tmp_path} | wc -l) -ge 3 ]; do sleep 0.02; done; echo $(cat)"
    )
    done = live.redqueue("take", "jobs", "--all", "-j", "3", "--exec", command)
    assert sorted(done.stdout.split()) == ["0", "1", "2", "3", "4", "5"]


def test_so_many_and_no_more(live: Live) -> None:
    live.fill(b"jobs", *[b"%d" % i for i in range(6)])
    done = live.redqueue("take", "jobs", "-n", "4", "-j", "3", "--exec", "echo $(cat)")
    assert sorted(done.stdout.split()) == ["0", "1", "2", "3"]
    assert live.contents(b"jobs") == [b"4", b"5"]


def test_the_reservation_lives_as_long_as_the_command(live: Live, tmp_path: Path) -> None:
    live.fill(b"jobs", b"a")
    go = tmp_path / "go"
    process = live.start_command(
        "take", "jobs", "-n1", "--reserve=1s", f"--exec=until [ -e {go} ]; do sleep 0.05; done"
    )
    wait_until(lambda: live.json("stats")["touch_hits"] >= 5)
    assert live.figure(b"jobs", "open_transactions") == 1
    go.touch()
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 0
    assert (live.figure(b"jobs", "items"), live.figure(b"jobs", "timed_out_transactions")) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_command_finish(live: Live, tmp_path: Path, number: signal.Signals) -> None:
    live.fill(b"jobs", b"a", b"b")
    go, begun = tmp_path / "go", tmp_path / "begun"
    command = f"touch {begun}; until [ -e {go} ]; do sleep 0.02; done; cat"
    process = live.start_command("take", "jobs", f"--exec={command}", stdout=subprocess.PIPE, start_new_session=True)
    wait_until(begun.exists)
    os.killpg(process.pid, number)  # as Ctrl-C at a terminal does
    go.touch()
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, b"a", b"")
    assert live.contents(b"jobs") == [b"b"]


def test_the_second_signal_ends_the_command(live: Live, tmp_path: Path) -> None:
    live.fill(b"jobs", b"a")
    begun = tmp_path / "begun"
    process = live.start_command("take", "jobs", f"--exec=touch {begun}; sleep 100")
    wait_until(begun.exists)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert b"ended by signal 15, given back" in process.communicate()[1]
    assert live.contents(b"jobs") == [b"a"]
    assert live.figure(b"jobs", "delayed") == 0


def test_a_signal_while_it_waits(live: Live) -> None:
    process = live.start_command("take", "jobs", "-j", "2", "--exec=cat")
    wait_until(lambda: live.figure(b"jobs", "waiters") == 2)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 0


def test_what_comes_after_the_signal_is_for_others(live: Live) -> None:
    process = live.start_command("take", "jobs", "--exec=cat", stdout=subprocess.PIPE)
    wait_until(lambda: live.figure(b"jobs", "waiters") == 1)
    process.send_signal(signal.SIGTERM)
    live.fill(b"jobs", b"a")
    assert process.communicate(timeout=20) == (b"", b"")
    assert live.contents(b"jobs") == [b"a"]
    assert live.figure(b"jobs", "timed_out_transactions") == 0


def test_a_lost_reservation_is_told_of(live: Live, tmp_path: Path) -> None:
    live.fill(b"jobs", b"a")
    go, begun = tmp_path / "go", tmp_path / "begun"
    process = live.start_command("take", "jobs", "-n1", f"--exec=touch {begun}; until [ -e {go} ]; do sleep 0.02; done")
    wait_until(begun.exists)
    live.empty()
    go.touch()
    assert b"is done, and will be delivered again: its reservation was lost" in process.communicate(timeout=20)[1]
    assert process.returncode == 1


def test_it_outlives_the_server(tmp_path: Path) -> None:
    with Live(tmp_path / "journal") as server:
        server.fill(b"jobs", b"a")
        port = server.port
        process = server.start_command("take", "jobs", "-n2", "--exec=cat; echo", stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"a\n"
        wait_until(lambda: server.figure(b"jobs", "items") == 0)
        server.kill()
        again = Live(tmp_path / "journal", port=port)
        with again:
            again.fill(b"jobs", b"b")
            output, errors = process.communicate(timeout=30)
        assert (process.returncode, output) == (0, b"b\n")
        assert b"127.0.0.1" in errors


def test_no_server_at_the_start(tmp_path: Path) -> None:
    with Live(tmp_path / "journal") as server:
        pass
    done = server.redqueue("take", "jobs", "--exec=cat", status=2)
    assert "connection refused" in done.stderr


def test_json_of_a_dead_letter_and_of_a_second_delivery(live: Live) -> None:
    live.fill(b"jobs", b"a")
    with live.connect() as wire:
        assert wire.get(b"jobs")
    wait_until(lambda: live.contents(b"jobs"))
    assert json.loads(live.redqueue("take", "jobs", "--json").stdout)["deliveries"] == 2
