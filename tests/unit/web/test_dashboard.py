"""The Grafana dashboard of the examples asks for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from claraedge.gpu.sampler import Sample, Sampler
from claraedge.gpu.telemetry import GpuReading, Memory
from tests.rig.pipelines import chain
from tests.unit.web.conftest import Client, Daemon

DASHBOARD = Path(__file__).resolve().parents[3] / "examples/grafana/claraedge.json"
PAGE = Path(__file__).resolve().parents[3] / "docs/monitoring.md"
#: Labels that Prometheus adds.
ADDED = {"instance", "job"}
_METRIC = re.compile(r"\b((?:claraedge|process)_\w+)(?:\{([^}]*)\})?")
_GROUPS = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def expressions(dashboard: Any) -> Iterator[tuple[str, str]]:
    """Yields each expression with its legend."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]


def wrong(expression: str, legend: str, known: Mapping[str, set[str]]) -> list[str]:
    """Returns what an expression names that is not there."""
    found, labels = [], set(ADDED)
    for name, selectors in _METRIC.findall(expression):
        if name not in known:
            found.append(name)
            continue
        labels |= known[name]
        for label in re.findall(r"(\w+) *[=!]~?", selectors):
            if label not in known[name] | ADDED:
                found.append(f"{name}: {label}")
    used = [label.strip() for group in _GROUPS.findall(expression) for label in group.split(",")]
    used += re.findall(r"\{\{(\w+)\}\}", legend)
    return found + [f"{expression}: {label}" for label in used if label not in labels]


@pytest.fixture
async def known(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, set[str]]:
    """Each metric of a daemon with a GPU, after a job, with its labels."""

    async def sample(_: Sampler) -> Sample:
        gpu = GpuReading(index=0, compute_utilization=0.5, memory=Memory(free=1, used=1))
        return Sample(time=0.0, gpus=[(gpu, ())])

    monkeypatch.setattr(Sampler, "sample", sample)
    await daemon.run(await daemon.register(chain("one")), x=b"1")
    found: dict[str, set[str]] = {}
    text = (await http.ask("GET", "/metrics")).body.decode()
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


async def test_each_expression_names_metrics_and_labels_that_there_are(
    dashboard: Any, known: Mapping[str, set[str]]
) -> None:
    found = list(expressions(dashboard))
    assert len(found) > 25
    assert [fault for one in found for fault in wrong(*one, known)] == []
    query = dashboard["templating"]["list"][1]["query"]["query"]
    assert wrong(query, "", known) == []
    shown = {name for one, _ in found for name, _ in _METRIC.findall(one)}
    own = {re.sub(r"_(?:bucket|count|sum)$", "_bucket", n) for n in known if "claraedge" in n}
    assert own <= shown, "a metric that nobody sees"


async def test_each_alert_of_the_docs_names_metrics_and_labels_that_there_are(
    known: Mapping[str, set[str]],
) -> None:
    text = PAGE.read_text(encoding="utf-8").partition("| expression |")[2]
    found = re.findall(r"(?m)^\| `([^`]+)`", text)
    assert len(found) > 5
    assert [fault for one in found for fault in wrong(one, "", known)] == []


async def test_a_wrong_expression_is_noticed(known: Mapping[str, set[str]]) -> None:
    for expression, legend in (
        ("claraedge_nothing", ""),
        ('claraedge_jobs{status="x"}', ""),
        ("sum by (status) (claraedge_jobs)", ""),
        ("claraedge_jobs", "{{status}}"),
    ):
        assert wrong(expression, legend, known)
    assert not wrong('sum by (state) (claraedge_jobs{state="x", instance="y"})', "{{state}}", known)


def test_panels_have_their_own_place_and_data_source(dashboard: Any) -> None:
    used: set[tuple[int, int]] = set()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & used, panel["title"]
        assert at["x"] + at["w"] <= 24
        used |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["fieldConfig"]["defaults"]["unit"]
