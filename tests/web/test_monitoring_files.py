"""Dashboard, alerts and docs/monitoring.md speak of metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.documents import Block, ConsoleSession, blocks
from tests.server_process import ROOT, ServerProcess
from tests.web.api import Api
from tests.web.scrape import Samples, scrape

RULES = ROOT / "contrib/prometheus/redqueue-rules.yml"
DASHBOARD = ROOT / "contrib/grafana/redqueue.json"
DOCUMENT = "docs/monitoring.md"
ADDED = {"instance", "job"}
"""Labels that Prometheus adds."""
_METRIC = re.compile(r"\b((?:redqueue|process)_[a-z_]+)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """What a server tells that has at least one of everything."""
    with ServerProcess(tmp_path_factory.mktemp("monitored") / "log", http_port="any") as server:
        with server.connect() as wire:
            wire.put(b"jobs", b"x")
            wire.get(b"jobs")
            wire.put(b"jobs", b"y")
        return scrape(Api(server.url))


def alerts() -> list[dict[str, object]]:
    """The alerts of the rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, object]]:
    """The panels of the dashboard."""
    found: list[dict[str, object]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, with where it stands."""
    for rule in alerts():
        yield f"alert {rule['alert']}", str(rule["expr"])
    for panel in panels():
        for target in panel.get("targets", []):  # type: ignore[attr-defined]
            yield f"panel {panel['title']}", target["expr"]
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        yield f"variable {variable['name']}", variable["query"]


def test_every_metric_and_label_in_an_expression_exists(samples: Samples) -> None:
    found = 0
    for place, expression in expressions():
        for name, selector in _METRIC.findall(expression):
            assert name in samples, f"{place}: {name}"
            labels = {label for values in samples[name] for label, _ in values} | ADDED
            wanted = set(re.findall(r"(\w+)\s*[=!]~?\"", selector))
            assert wanted <= labels, f"{place}: {name} has no {wanted - labels}"
            found += 1
        for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            known = {label for values in samples.values() for labels in values for label, _ in labels} | ADDED
            assert set(re.split(r",\s*", grouped)) <= known, f"{place}: by {grouped}"
    assert found > 50


def test_every_state_and_reason_that_is_selected_exists(samples: Samples) -> None:
    for label, name in (("state", "redqueue_queue_items"), ("reason", "redqueue_items_released_total")):
        told = {value for labels in samples[name] for key, value in labels if key == label}
        for place, expression in expressions():
            assert set(re.findall(rf'{label}="(\w+)"', expression)) <= told, place


def test_every_metric_is_documented_and_no_other(samples: Samples) -> None:
    table = re.findall(r"^\| (`(?:redqueue|process)_.*?) \|", (ROOT / DOCUMENT).read_text(), re.MULTILINE)
    documented = {name: labels for row in table for name, labels in re.findall(r"`([a-z_]+)(?:\{(.*?)\})?`", row)}
    told: dict[str, set[str]] = {}
    for name, values in samples.items():
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        told.setdefault(family, set()).update({label for labels in values for label, _ in labels} - {"le"})
    assert {name: set(filter(None, labels.split(","))) for name, labels in documented.items()} == told


def test_alerts_say_what_is_wrong() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) >= 15
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")  # type: ignore[index]
        assert "$labels.instance" in rule["annotations"]["summary"]  # type: ignore[index]


def test_panels_stand_beside_each_other() -> None:
    taken = set()
    for panel in panels():
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):  # type: ignore[index]
            for y in range(place["y"], place["y"] + place["h"]):  # type: ignore[index]
                assert x < 24
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
    assert len({panel["id"] for panel in panels()}) == len(panels())


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Prometheus' own checks."""
    assert shutil.which("promtool"), "promtool is missing: tests/install-extra.sh installs it"
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.extra
def test_prometheus_takes_the_alerts() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.extra
def test_the_alerts_go_off_when_they_should(tmp_path: Path) -> None:
    for file in (RULES, ROOT / "tests/web/alerts.yml"):
        shutil.copy(file, tmp_path)
    done = promtool("test", "rules", str(tmp_path / "alerts.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.extra
def test_prometheus_takes_the_metrics(api: Api) -> None:
    body = api.send("GET", "/metrics")[2].decode()
    done = promtool("check", "metrics", text=body)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.extra
def test_the_examples_run_as_written(tmp_path: Path) -> None:
    assert shutil.which("curl"), "curl is missing: tests/install-extra.sh installs it"
    (example,) = [block for block in blocks(DOCUMENT) if block.language == "console"]
    with ConsoleSession(tmp_path) as console:
        console.run(Block("this test", "console", (), "", 1, "$ redqueue_server.py &\n...ready on ...\n"))
        console.run(example)
