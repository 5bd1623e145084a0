"""Jobs and the one GPU of a device: in turns, by shares of its memory, and never without it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_main_path import containers, end
from tests.integration.stand_in_gpu import KIND, NODE, NONE_KIND, why_there_is_none
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

Span = tuple[float, float]
Serve = Callable[[str], Site]


@pytest.fixture
def serve(idle_site: Site, archives: TestImages) -> Serve:
    """Starts a daemon with this `[engine]`."""
    reason = why_there_is_none()
    if reason is not None:
        pytest.skip(reason)

    def start(engine: str) -> Site:
        idle_site.configure(f"[engine]\n{engine}\n")
        idle_site.start()
        archives.load(idle_site, f"{IMAGE}:1")
        return idle_site

    return start


def definition(requests: str, work: str = "sleep 2") -> str:
    """One operator; it says when it runs, and what it sees of a GPU."""
    script = f"echo gpu $(ls -d {NODE} 2>/dev/null); cat /proc/uptime; {work}; cat /proc/uptime"
    return (
        "api-version: 0.4.0\nname: infer\noperators:\n"
        "- name: infer\n"
        f"  container: {{image: {IMAGE}, tag: '1', command: [sh, -c, {json.dumps(script)}]}}\n"
        "  input: [{path: /in}]\n  output: [{path: /out}]\n"
        f"  requests: {requests}\n"
    )


def started(site: Site, text: str, count: int = 1) -> list[str]:
    """The ids of so many jobs of a definition, one started right after the other."""
    path, source = site.folder / "pipeline.yaml", site.folder / "word.txt"
    path.write_text(text)
    source.write_text("word\n")
    pipeline = site.say("create", "pipeline", "-p", path).strip()
    made = [
        site.say("create", "job", "-n", f"job {number}", "-p", pipeline, "-f", source)
        for number in range(count)
    ]
    jobs = [text.splitlines()[0].removeprefix("JOB_ID:") for text in made]
    for job in jobs:
        site.say("start", "job", "-j", job)
    return jobs


def span(site: Site, job: str) -> Span:
    """When its operator ran, in seconds of the machine's own clock; it saw the GPU."""
    assert end(site, job)["status"] == "HEALTHY", end(site, job)
    device, first, last = site.say("logs", "-j", job, "-o", "infer").splitlines()
    assert device == f"gpu {NODE}"
    return (float(first.split()[0]), float(last.split()[0]))


def at_once(spans: list[Span]) -> int:
    """The most of them that ran at one moment."""
    return max(sum(begin <= at < end_ for begin, end_ in spans) for at, _ in spans)


def test_a_job_waits_for_gpus_that_arrive_in_a_container(serve: Serve) -> None:
    site = serve(f'cdi_kind = "{NONE_KIND}"')  # of three, one does
    (job,) = started(site, definition("{gpu: 2}"))

    def message() -> str:
        found = site.ask("describe", "job", "-j", job)
        assert found["state"] == "PENDING", found
        return next((m for m in found["messages"] if "operator infer" in m), "")

    until("its messages say what it waits for", message)
    assert "2 GPUs; this device shows 1; " in message()
    assert "would run without the device empty of the CDI kind claraedge.test/none" in message()
    assert "its CDI spec gives it no device node" in message()
    assert "nvidia-ctk cdi generate" in message()
    assert site.say("logs", "-j", job, "-o", "infer") == ""
    until("no container is left", lambda: containers(site) == [])


def test_two_jobs_that_ask_for_the_gpu_never_overlap(serve: Serve) -> None:
    site = serve(f'cdi_kind = "{KIND}"')
    jobs = started(site, definition("{gpu: 1}"), 2)
    spans = [span(site, job) for job in jobs]
    assert at_once(spans) == 1, spans


def test_two_jobs_share_the_gpu_by_their_memory_and_a_third_waits(serve: Serve) -> None:
    site = serve(f'cdi_kind = "{KIND}"\ngpu_memory_mb = 8192\nmax_operators = 8')
    jobs = started(site, definition("{gpu-memory: 4096}", "sleep 5"), 3)
    spans = [span(site, job) for job in jobs]
    assert at_once(spans) == 2, spans


def test_no_share_is_given_while_a_job_has_the_whole_gpu(serve: Serve) -> None:
    site = serve(f'cdi_kind = "{KIND}"\ngpu_memory_mb = 8192\nmax_operators = 8')
    whole = started(site, definition("{gpu: 1}"))
    shares = started(site, definition("{gpu-memory: 4096}"), 2)
    spans = [span(site, job) for job in (*whole, *shares)]
    assert all(at_once([spans[0], other]) == 1 for other in spans[1:]), spans
    assert at_once(spans[1:]) == 2, spans


def test_an_operator_that_shares_the_gpu_has_it_wherever_it_stands_in_its_job(serve: Serve) -> None:
    """Containers are made ahead of their turn; one that needs a GPU is not, or it had none."""
    site = serve(f'cdi_kind = "{KIND}"\ngpu_memory_mb = 8192')
    first = (
        "- name: first\n"
        f"  container: {{image: {IMAGE}, tag: '1', command: [sh, -c, 'sleep 1']}}\n"
        "  input: [{path: /in}]\n  output: [{path: /out}]\n"
    )
    text = definition("{gpu-memory: 4096}", "true").replace("operators:\n", f"operators:\n{first}")
    head, tail = text.rsplit("input: [{path: /in}]", 1)
    (job,) = started(site, f"{head}input: [{{path: /in, from: first}}]{tail}")
    span(site, job)
