"""Reads /metrics as Prometheus does."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.web.api import Api

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(api: Api, accept: str = "") -> Samples:
    """The values by name of the metric, and by its labels, sorted; each may be there once."""
    status, headers, body = api.send("GET", "/metrics", headers={"Accept": accept} if accept else {})
    assert status == 200, body
    assert headers["content-type"].startswith((accept or "text/plain").partition(";")[0])
    samples: Samples = {}
    for family in (parse_openmetrics if accept else parse_text)(body.decode()):
        for sample in family.samples:
            values = samples.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in values, (sample.name, labels)
            values[labels] = sample.value
    return samples


def by(samples: Samples, name: str, **labels: str) -> float:
    """One value."""
    return samples[name][tuple(sorted(labels.items()))]
