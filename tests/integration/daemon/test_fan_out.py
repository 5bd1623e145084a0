"""One operator feeds four, they feed one, that feeds the last: in legal orders, side by side, and
in turns where each of five asks for the one GPU of the device.
"""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_main_path import end
from tests.integration.stand_in_gpu import KIND, NODE, why_there_is_none

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

FOUR = ("liver", "lung", "spleen", "colon")
FIVE = (*FOUR, "join")
Span = tuple[float, float]


def _operator(
    name: str, work: str, reads: list[tuple[str, str | None]], writes: str | None, gpu: bool
) -> str:
    """Says in its log when it runs, and what it sees of a GPU."""
    inputs = [
        {"path": f"/in/{source or 'payload'}"}
        | ({"from": source} if source else {})
        | ({"name": output} if output else {})
        for source, output in reads or [("", None)]
    ]
    script = f"echo gpu $(ls -d {NODE} 2>/dev/null); cat /proc/uptime; {work} && cat /proc/uptime"
    text = (
        f"- name: {name}\n"
        f"  container: {{image: {IMAGE}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
        f"  input: {json.dumps(inputs)}\n"
        f"  output: [{{path: /out{f', name: {writes}' if writes else ''}}}]\n"
    )
    return text + ("  requests: {gpu: 1}\n" if gpu else "")


def definition(name: str, *, gpu: bool) -> str:
    """Five named outputs: one of each of the four, and that of `join`."""
    middle = [
        _operator(
            each,
            f"sleep 1; cat /in/reader/* > /out/{each}",
            [("reader", None)],
            f"{each}-mask",
            gpu,
        )
        for each in FOUR
    ]
    return (
        f"api-version: 0.4.0\nname: {name}\noperators:\n"
        # The order of the text is no legal one: the last operator stands first.
        + _operator("writer", "cat /in/join/* > /out/result", [("join", "all")], None, gpu=False)
        + "".join(middle)
        + _operator(
            "join",
            "cat /in/*/* > /out/joined",
            [(each, f"{each.upper()}-mask") for each in FOUR],
            "all",
            gpu,
        )
        + _operator("reader", "cat /in/payload/* > /out/series", [], None, gpu=False)
    )


def run(site: Site, *, gpu: bool) -> dict[str, Span]:
    """Runs it; when each operator ran, in seconds of the machine's own clock."""
    path = site.folder / "fan-out.yaml"
    path.write_text(definition("fan-out", gpu=gpu))
    pipeline = site.say("create", "pipeline", "-p", path).strip()
    source = site.folder / "word.txt"
    source.write_text("word\n")
    made = site.say("create", "job", "-n", "fan", "-p", pipeline, "-f", source, "--start")
    job = made.splitlines()[0].removeprefix("JOB_ID:")
    found = end(site, job)
    assert found["status"] == "HEALTHY", found
    results = site.folder / "results"
    results.mkdir()
    site.say("download", f"{job}:/operators/writer/*", results)
    (result,) = (path for path in results.rglob("*") if path.is_file())
    assert result.read_text() == "word\n" * 4
    spans = {}
    for name in ("reader", *FIVE, "writer"):
        device, first, last = site.say("logs", "-j", job, "-o", name).splitlines()
        assert device == (f"gpu {NODE}" if gpu and name in FIVE else "gpu")
        spans[name] = (float(first.split()[0]), float(last.split()[0]))
    return spans


def assert_legal(spans: dict[str, Span]) -> None:
    for each in FOUR:
        assert spans["reader"][1] <= spans[each][0]
        assert spans[each][1] <= spans["join"][0]
    assert spans["join"][1] <= spans["writer"][0]


def test_four_operators_run_side_by_side(site: Site) -> None:
    spans = run(site, gpu=False)
    assert_legal(spans)
    assert max(spans[each][0] for each in FOUR) < min(spans[each][1] for each in FOUR), spans


def test_operators_take_turns_on_the_one_gpu(idle_site: Site, archives: TestImages) -> None:
    reason = why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    idle_site.configure(f'[engine]\ncdi_kind = "{KIND}"\n')
    idle_site.start()
    archives.load(idle_site, f"{IMAGE}:1")
    spans = run(idle_site, gpu=True)
    assert_legal(spans)
    for one, other in combinations(FIVE, 2):
        first, second = sorted((spans[one], spans[other]))
        assert first[1] <= second[0], spans
