"""Compare RedQueue with the servers found on this machine; see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import interrupts, servers
from benchmarks.load import LoadError
from benchmarks.servers import OURS, PROGRAMS, ServerError, Setting
from benchmarks.table import table
from benchmarks.workloads import WORKLOADS, Column, Conditions, Figures, Workload

PEERS = tuple(name for name in PROGRAMS if name != OURS)
MOST_LOAD_PROCESSES = 4
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
MOST_ERRORS_SHOWN = 5
FAILED, INTERRUPTED = 1, 130

NOTES = """\
Medians of the rounds. A ratio is RedQueue's to that server, above 1 where RedQueue is ahead: the median of the
ratios within each round. The load is made in Python and may be slower than the server: where a server is not busy
for nearly 100 %, its requests/s are the load's (or the disk's), and its CPU us/request is the figure to compare.
p50 and p99 include the load's own time."""


@dataclass
class Report:
    """What was measured of one workload.

    :ivar rounds: the figures of each round, by server
    """

    workload: Workload
    rounds: dict[str, list[Figures]] = field(default_factory=dict)

    def median(self, name: str, column: Column) -> float | None:
        """The median of a column over the rounds; None where there is no figure."""
        values = [figures.values[column.key] for figures in self.rounds.get(name, ()) if column.key in figures.values]
        return statistics.median(values) if values else None

    def ratio(self, name: str, column: Column) -> float | None:
        """RedQueue's ratio to a peer, above 1 in RedQueue's favour; None where there is none."""
        ratios = []
        for ours, peer in zip(self.rounds[OURS], self.rounds.get(name, ()), strict=False):
            one, other = ours.values.get(column.key), peer.values.get(column.key)
            if one is None or other is None or one <= 0 or other <= 0:
                continue
            ratios.append(other / one if column.less_is_better else one / other)
        return statistics.median(ratios) if ratios else None

    def errors(self, name: str) -> list[str]:
        """Everything that went wrong with a server."""
        return [error for figures in self.rounds.get(name, ()) for error in figures.errors]

    def text(self, versions: dict[str, str | None]) -> str:
        """The table, with its title."""
        columns = self.workload.columns
        rated = [column for column in columns if column.ratio]
        headings = ["server", *(column.heading for column in columns), "errors"]
        headings += [f"ratio: {column.ratio}" for column in rated]
        rows = []
        for setting in self.workload.settings:
            name = setting.name
            if name not in versions:
                continue
            if versions[name] is None:
                missing = f"{name}: not installed (apt-get install {PROGRAMS[name].package})"
                rows.append([missing, *[""] * (len(headings) - 1)])
                continue
            cells = [str(setting), *(_written(self.median(name, column), column.form) for column in columns)]
            cells.append(str(len(self.errors(name))))
            cells += ["" if name == OURS else _written(self.ratio(name, column), ".2f") for column in rated]
            rows.append(cells)
        shown = [f"{name}: {error}" for name in versions for error in self.errors(name)]
        more = len(shown) - MOST_ERRORS_SHOWN
        shown = shown[:MOST_ERRORS_SHOWN] + ([f"and {more} errors more"] if more > 0 else [])
        return "\n".join([f"## {self.workload.name}: {self.workload.title}", "", table(headings, rows), *shown])

    def data(self, versions: dict[str, str | None]) -> dict[str, object]:
        """The same for JSON, with every round."""
        found: dict[str, object] = {}
        for setting in self.workload.settings:
            name = setting.name
            if name not in self.rounds:
                continue
            found[name] = {
                "setting": str(setting),
                "version": versions[name],
                "median": {column.key: self.median(name, column) for column in self.workload.columns},
                "ratio": {
                    column.key: self.ratio(name, column)
                    for column in self.workload.columns
                    if column.ratio and name != OURS
                },
                "rounds": [asdict(figures) for figures in self.rounds[name]],
            }
        return {"title": self.workload.title, "servers": found}


def _written(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def measure(workload: Workload, versions: dict[str, str | None], rounds: int, conditions: Conditions) -> Report:
    """Run all rounds of a workload, in each of them every server, another one first each time."""
    report = Report(workload)
    settings = [setting for setting in workload.settings if versions.get(setting.name)]
    for number in range(rounds):
        first = number % len(settings)
        for setting in settings[first:] + settings[:first]:
            print(f"{workload.name}: {setting}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            report.rounds.setdefault(setting.name, []).append(_measured(workload, setting, conditions))
    return report


def _measured(workload: Workload, setting: Setting, conditions: Conditions) -> Figures:
    try:
        return workload.measure(setting, conditions)
    except (ServerError, LoadError) as error:
        return Figures({}, [str(error)])


def places(processes: int) -> tuple[int | None, list[int]]:
    """The server's CPU and those of the load: the first for the one, the next for the other; no pinning on one CPU."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        return None, []
    return cpus[0], cpus[1:][:processes]


def file_system(directory: Path) -> str:
    """The type of the file system that holds ``directory``."""
    best, found = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if directory.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, found = mount, kind
    return found


def heading(versions: dict[str, str | None], rounds: int, conditions: Conditions) -> str:
    """What was measured, where and how."""
    pinned = "nothing pinned"
    if conditions.server_cpu is not None:
        pinned = f"server on {conditions.server_cpu}, load on {', '.join(map(str, conditions.load_cpus))}"
    kind = file_system(conditions.directory)
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    lines = [
        f"# RedQueue {versions[OURS]} and its peers",
        "",
        f"- {system}, {os.cpu_count()} CPUs: {pinned}",
        f"- rounds: {rounds}, {conditions.seconds:g} s each; journals on {kind}",
    ]
    if kind in MEMORY_FILE_SYSTEMS:
        lines.append("- WARNING: syncs cost nothing there; --directory puts the journals on a disk")
    for name, version in versions.items():
        if version is None:
            lines.append(f"- {name}: not installed (apt-get install {PROGRAMS[name].package})")
        elif name != OURS:
            lines.append(f"- {name} {version}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--rounds", type=_positive(int), default=3, help="how often each is measured (default 3)")
    parser.add_argument("--seconds", type=_positive(float), default=2.0, help="length of a load in seconds (default 2)")
    parser.add_argument(
        "--only",
        action="append",
        choices=[workload.name for workload in WORKLOADS],
        metavar="WORKLOAD",
        help="measure this alone; may be repeated: " + ", ".join(workload.name for workload in WORKLOADS),
    )
    parser.add_argument(
        "--peers", type=_peers, default=PEERS, metavar="NAMES", help="peers with commas between, or none (default all)"
    )
    parser.add_argument(
        "--items",
        type=_positive(int),
        default=200_000,
        help="items of the memory and recovery workloads (default 200000)",
    )
    parser.add_argument(
        "--load-processes",
        type=_positive(int),
        default=MOST_LOAD_PROCESSES,
        help=f"most processes of the load, each on a CPU of its own (default {MOST_LOAD_PROCESSES})",
    )
    parser.add_argument(
        "--directory",
        type=servers.existing_directory,
        default=Path(tempfile.gettempdir()),
        help="where the journals go, and are removed (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds to FILE")
    return parser


def _positive(kind: type[int] | type[float]) -> _Positive:
    return _Positive(kind)


class _Positive:
    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind

    def __call__(self, text: str) -> float:
        try:
            value = self._kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"wants a number above 0, not {text!r}")
        return value


def _peers(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(text.split(","))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"wants none or some of {','.join(PEERS)}, not {name!r}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.

    :returns: the exit status: 0; 1 where anything went wrong; 130 after a signal
    """
    options = _parser().parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("benchmarks.compare needs Linux: epoll and the CPU clocks of other processes", file=sys.stderr)
        return FAILED
    interrupts.install()
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    versions = {name: servers.version(name) for name in (OURS, *options.peers)}
    server_cpu, load_cpus = places(options.load_processes)
    conditions = Conditions(options.seconds, options.items, options.directory, server_cpu, load_cpus)
    print(heading(versions, options.rounds, conditions), flush=True)
    reports = []
    for workload in WORKLOADS:
        if options.only and workload.name not in options.only:
            continue
        report = measure(workload, versions, options.rounds, conditions)
        print("\n" + report.text(versions), flush=True)
        reports.append(report)
    print("\n" + NOTES)
    if options.json:
        data = {"versions": versions, "workloads": {r.workload.name: r.data(versions) for r in reports}}
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return FAILED if any(report.errors(name) for report in reports for name in versions) else 0


if __name__ == "__main__":
    sys.exit(main())
