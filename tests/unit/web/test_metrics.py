"""`/metrics` of a whole daemon, as Prometheus reads it."""

from __future__ import annotations

import asyncio
import gzip
import re
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from claraedge.blocking import in_thread
from claraedge.errors import UnavailableError
from claraedge.gpu.sampler import Sample, Sampler
from claraedge.gpu.telemetry import GpuReading, Memory
from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER
from tests.unit.web.conftest import Client, Daemon, daemon_in

ROOT = Path(__file__).resolve().parents[3]
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(http: Client, **headers: str) -> Samples:
    answer = await http.ask("GET", "/metrics", **headers)
    assert answer.status == 200
    return samples(answer.body.decode())


def samples(text: str) -> Samples:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(found: Samples, metric: str, **labels: str) -> float | None:
    return found.get((metric, frozenset(labels.items())))


async def test_jobs_and_attempts_are_counted(daemon: Daemon, http: Client) -> None:
    before = await scraped(http)
    assert value(before, "claraedge_jobs", state="running") == 0
    assert value(before, "claraedge_jobs_stopped_total", status="healthy") == 0
    assert value(before, "claraedge_job_wait_seconds_count") == 0
    for status in ("running", "pending", "error", "stopped"):
        assert value(before, "claraedge_deployments", status=status) == 0
    assert value(before, "claraedge_deployment_restarts_total") == 0
    good = await daemon.register(chain("one"))
    bad = await daemon.register(chain("one", image="fail"))
    await daemon.run(good, x=b"1")
    await daemon.run(bad, x=b"1")
    never = await daemon.create(good)
    found = await scraped(http)
    assert value(found, "claraedge_jobs", state="unstarted") == 1
    assert value(found, "claraedge_jobs_queued_total") == 2
    assert value(found, "claraedge_jobs_stopped_total", status="healthy") == 1
    assert value(found, "claraedge_jobs_stopped_total", status="faulted") == 1
    assert value(found, "claraedge_job_wait_seconds_count") == 2
    assert value(found, "claraedge_operator_attempts_total", result="completed") == 1
    assert value(found, "claraedge_operator_attempts_total", result="failed") == 1
    assert value(found, "claraedge_operator_run_seconds_count", result="completed") == 1
    total = value(found, "claraedge_operator_run_seconds_sum", result="completed")
    assert total is not None
    assert 0 <= total < 60
    await daemon.jobs.Cancel(jobs_pb2.JobsCancelRequest(header=HEADER, job_id=never.job_id))
    found = await scraped(http)
    assert value(found, "claraedge_jobs_stopped_total", status="canceled") == 1
    assert value(found, "claraedge_jobs", state="unstarted") == 0


async def test_what_is_idle_is_shown_as_zero(daemon: Daemon, http: Client) -> None:
    found = await scraped(http)
    assert value(found, "claraedge_engine_paused") == 0
    assert value(found, "claraedge_inbox_items", state="submitted") == 0
    assert value(found, "claraedge_deliveries", state="due") == 0
    assert value(found, "claraedge_kept_folders", kind="result") == 0


async def test_calls_are_counted_by_their_method_and_status(daemon: Daemon, http: Client) -> None:
    jobs = "nvidia.clara.platform.Jobs"
    await daemon.status("00000000000000000000000000000000")
    await http.post(f"/{jobs}/Status", {"jobId": {"value": "00000000000000000000000000000000"}})
    for name in ("Nothing", "Other"):
        call = daemon.channel.unary_unary(f"/evil.{name}/{name}")
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            await call(b"")
    found = await scraped(http)
    labels = {"service": jobs, "method": "Status"}
    assert value(found, "claraedge_calls_total", code="NOT_FOUND", **labels) == 2
    assert value(found, "claraedge_call_seconds_count", **labels) == 2
    unknown = {"service": "unknown", "method": "unknown"}
    assert value(found, "claraedge_calls_total", code="UNIMPLEMENTED", **unknown) == 2
    assert not any("evil" in str(labels) for _, labels in found)


async def test_a_call_that_its_client_ends_is_counted(daemon: Daemon, http: Client) -> None:
    call = daemon.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    await call.read()
    call.cancel()
    labels = {"service": "grpc.health.v1.Health", "method": "Watch", "code": "CANCELLED"}

    async def counted() -> bool:
        return value(await scraped(http), "claraedge_calls_total", **labels) == 1

    await eventually(counted, "the call is counted")


async def test_the_process_and_its_disks_are_shown(daemon: Daemon, http: Client) -> None:
    found = await scraped(http)
    for area in ("state", "inbox", "podman"):
        free = value(found, "claraedge_disk_free_bytes", area=area)
        size = value(found, "claraedge_disk_size_bytes", area=area)
        assert free is not None
        assert size is not None
        assert 0 < free <= size
        assert value(found, "claraedge_disk_level", area=area) == 0
    for name in ("resident_memory_bytes", "open_fds", "start_time_seconds"):
        assert (value(found, f"process_{name}") or 0) > 0
    info = [labels for name, labels in found if name == "claraedge_info"]
    assert len(info) == 1
    instance = dict(info[0])["instance_id"]
    others = [name for name, labels in found if instance in dict(labels).values()]
    assert others == ["claraedge_info"]


async def test_no_label_has_an_id_or_a_name_that_users_choose(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("hostile"))
    status = await daemon.run(pipeline, x=b"1")
    text = (await http.ask("GET", "/metrics")).body.decode()
    for name in (status.job_id.value, status.payload_id.value, pipeline, "chain", "hostile"):
        assert name
        assert name not in text


async def test_openmetrics_is_sent_to_clients_that_ask_for_it(daemon: Daemon, http: Client) -> None:
    prometheus = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    )
    answer = await http.ask("GET", "/metrics", Accept=prometheus)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = list(openmetrics.text_string_to_metric_families(answer.body.decode()))
    assert "claraedge_jobs_queued" in {family.name for family in families}
    for accept in ("text/plain", "*/*", "application/openmetrics-text;q=0", "a" * 9000):
        answer = await http.ask("GET", "/metrics", Accept=accept)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    hostile = "application/openmetrics-text; version=evil"
    answer = await http.ask("GET", "/metrics", Accept=hostile)
    assert "evil" not in answer.headers["content-type"]


async def test_an_answer_is_compressed_for_clients_that_accept_it(http: Client) -> None:
    answer = await http.ask("GET", "/metrics", Accept_Encoding="br, gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert b"claraedge_info" in gzip.decompress(answer.body)
    answer = await http.ask("GET", "/metrics", Accept_Encoding="gzip;q=0")
    assert "content-encoding" not in answer.headers
    assert b"claraedge_info" in answer.body
    head = await http.ask("HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"")


async def test_requests_at_the_same_time_share_one_reading(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0
    may_end = asyncio.Event()

    async def sample(_: Sampler) -> Sample:
        nonlocal readings
        readings += 1
        await may_end.wait()
        return Sample(time=0.0, gpus=())

    monkeypatch.setattr(Sampler, "sample", sample)
    asked = [asyncio.create_task(scraped(http)) for _ in range(5)]
    await eventually(lambda: readings == 1, "the first one reads")
    gone = asked.pop()
    gone.cancel()
    may_end.set()
    for one in await asyncio.gather(*asked):
        assert value(one, "claraedge_source_up", source="gpus") == 1
    assert readings == 1


async def test_a_source_that_fails_hides_no_other(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Sampler) -> Sample:
        raise UnavailableError("the GPU driver has not answered")

    monkeypatch.setattr(Sampler, "sample", fails)
    found = await scraped(http)
    assert value(found, "claraedge_source_up", source="gpus") == 0
    assert value(found, "claraedge_source_up", source="jobs") == 1
    assert value(found, "claraedge_jobs", state="queued") == 0


async def test_a_source_that_hangs_delays_nothing_and_is_not_asked_again(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    may_end = asyncio.Event()

    async def hangs(_: Sampler) -> Sample:
        nonlocal asked
        asked += 1
        await may_end.wait()
        return Sample(time=0.0, gpus=())

    monkeypatch.setattr(Sampler, "sample", hangs)
    for _ in range(3):
        found = await scraped(http)
        assert value(found, "claraedge_source_up", source="gpus") == 0
        assert value(found, "claraedge_jobs", state="queued") == 0
    assert asked == 1
    may_end.set()

    async def answers() -> bool:
        return value(await scraped(http), "claraedge_source_up", source="gpus") == 1

    await eventually(answers, "the source answers again")


async def test_threads_that_all_wait_for_a_disk_do_not_delay_it(
    daemon: Daemon, http: Client
) -> None:
    may_end = threading.Event()
    try:
        waiting = [asyncio.create_task(in_thread(may_end.wait, 60)) for _ in range(64)]
        await asyncio.sleep(0)
        found = await scraped(http)
        assert value(found, "claraedge_source_up", source="jobs") == 0
        assert (value(found, "process_open_fds") or 0) > 0
    finally:
        may_end.set()
    await asyncio.gather(*waiting)

    async def answers() -> bool:  # the question from before may still be on its way
        return value(await scraped(http), "claraedge_source_up", source="jobs") == 1

    await eventually(answers, "the jobs answer again")


async def test_gpus_are_shown_with_what_is_known_of_them(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sample(_: Sampler) -> Sample:
        known = GpuReading(
            index=0, name='RTX "6000"\n', compute_utilization=0.5, memory=Memory(free=3, used=1)
        )
        return Sample(time=0.0, gpus=[(known, ()), (GpuReading(index=1), ())])

    monkeypatch.setattr(Sampler, "sample", sample)
    found = await scraped(http)
    assert value(found, "claraedge_gpu_utilization_ratio", gpu="0") == 0.5
    assert value(found, "claraedge_gpu_memory_used_bytes", gpu="0") == 1
    assert value(found, "claraedge_gpu_memory_bytes", gpu="0") == 4
    assert value(found, "claraedge_gpu_utilization_ratio", gpu="1") is None
    assert value(found, "claraedge_gpu_info", gpu="0", name='RTX "6000"\n', pci="") == 1


async def test_counters_begin_at_zero_with_each_start(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        pipeline = await daemon.register(chain("one"))
        await daemon.run(pipeline, x=b"1")
        first = await scraped(http)
    async with daemon_in(folder) as daemon:
        http = Client(daemon.config.http_socket)
        second = await scraped(http)
    assert value(first, "claraedge_jobs_queued_total") == 1
    assert value(second, "claraedge_jobs_queued_total") == 0


async def test_the_page_of_the_docs_lists_all_metrics(daemon: Daemon, http: Client) -> None:
    text = (await http.ask("GET", "/metrics")).body.decode()
    served = set(re.findall(r"^# TYPE (claraedge_\w+) ", text, re.M))
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `claraedge_")]
    assert {name for row in rows for name in re.findall(r"`(claraedge_\w+)`", row)} == served
