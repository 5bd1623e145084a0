"""`nvidia.clara.platform.Jobs` on the wire, and the two answers of `Clara` that need no job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from claraedge.wire.nvidia.clara.platform import clara_pb2, common_pb2, pipelines_pb2
from claraedge.wire.nvidia.clara.platform import jobs_pb2 as wire
from tests.rig.pipelines import chain
from tests.unit.api.conftest import HEADER, Daemon, an_id, daemon_in, messages

UNKNOWN = "0" * 31 + "1"
YEAR_1 = 62135596800


async def jobs(daemon: Daemon, **filters: Any) -> list[Any]:
    request = wire.JobsListRequest(header=HEADER)
    if filters:
        request.filter.CopyFrom(wire.JobsListRequest.JobFilter(**filters))
    return await messages(daemon.jobs.List(request))


async def ids(daemon: Daemon, **filters: Any) -> list[str]:
    replies = await jobs(daemon, **filters)
    return [r.job_details.job_id.value for r in replies if r.job_details.job_id.value]


async def logs(daemon: Daemon, job: str, operator: str) -> list[Any]:
    request = wire.JobsReadLogsRequest(header=HEADER, job_id=an_id(job), operator_name=operator)
    return await messages(daemon.jobs.ReadLogs(request))


async def cancel(daemon: Daemon, job: str, reason: str = "") -> Any:
    request = wire.JobsCancelRequest(header=HEADER, job_id=an_id(job), reason=reason)
    return await daemon.jobs.Cancel(request)


async def test_the_version_is_that_of_the_platform(daemon: Daemon) -> None:
    reply = await daemon.clara.Version(clara_pb2.ClaraVersionRequest(header=HEADER))
    assert reply.header.code == 0
    assert (reply.version.major, reply.version.minor, reply.version.patch) == (0, 8, 1)
    assert reply.version.label.startswith("claraedge-")


async def test_the_life_of_a_job(daemon: Daemon) -> None:
    device = daemon.runner
    device.block("one")
    before = int(time.time())
    pipeline = await daemon.register(chain("one", "two"))
    made = await daemon.create(pipeline, metadata={"Source": "CT1 (demo)"})
    assert made.header.code == 0
    job, payload = made.job_id.value, made.payload_id.value

    new = await daemon.status(job)
    assert (new.state, new.status) == (wire.JOB_STATE_PENDING, wire.JOB_STATUS_HEALTHY)
    assert (new.job_id.value, new.pipeline_id.value, new.payload_id.value) == (
        job,
        pipeline,
        payload,
    )
    assert (new.name, new.priority) == ("job", wire.JOB_PRIORITY_NORMAL)
    assert dict(new.metadata) == {"Source": "CT1 (demo)"}
    assert before <= new.created.value - YEAR_1 <= time.time()
    assert not new.HasField("started")
    assert not new.HasField("stopped")
    assert (new.timestamp_started, new.timestamp_stopped) == ("", "")
    assert [(o.name, o.status, o.HasField("started")) for o in new.operator_details] == [
        ("one", 1, False),
        ("two", 1, False),
    ]
    assert [(n.name, [d.name for d in n.input_dependencies]) for n in new.dag] == [
        ("one", []),
        ("two", ["one"]),
    ]

    started = await daemon.start(job)
    assert started.header.code == 0
    assert started.state in (wire.JOB_STATE_PENDING, wire.JOB_STATE_RUNNING)
    assert started.priority == wire.JOB_PRIORITY_NORMAL
    await daemon.until_runs("one")
    running = await daemon.status(job)
    assert running.state == wire.JOB_STATE_RUNNING
    assert running.started.value >= running.created.value
    assert not running.HasField("stopped")
    assert [o.status for o in running.operator_details] == [2, 1]

    device.release("one")
    ended = await daemon.end(job)
    assert ended.status == wire.JOB_STATUS_HEALTHY
    assert ended.stopped.value >= ended.started.value >= YEAR_1 + before
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(ended.stopped.value - YEAR_1))
    assert ended.timestamp_stopped == stamp
    assert [o.status for o in ended.operator_details] == [3, 3]
    assert all(o.HasField("stopped") for o in ended.operator_details)


@pytest.mark.parametrize(("sent", "kept"), [(0, 2), (1, 1), (2, 2), (3, 3), (4, 4)])
async def test_a_job_keeps_its_priority_and_normal_is_the_default(
    daemon: Daemon, sent: int, kept: int
) -> None:
    made = await daemon.create(await daemon.register(chain("one")), priority=sent)
    assert (await daemon.status(made.job_id.value)).priority == kept


async def test_a_failed_job_says_which_operator_and_its_last_line(daemon: Daemon) -> None:
    ended = await daemon.run(await daemon.register(chain("one", image="fail")), x=b"1")
    assert ended.status == wire.JOB_STATUS_FAULTED
    assert "one" in ended.messages[-1]
    assert "exit code 3" in ended.messages[-1]
    assert "no such slice" in ended.messages[-1]


async def test_start_again_answers_the_present_state(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    ended = await daemon.run(pipeline, x=b"1")
    again = await daemon.start(ended.job_id.value)
    assert (again.header.code, again.state, again.status) == (0, 3, 1)
    other = await daemon.start(ended.job_id.value, colour="red")
    assert other.header.code == -0x2101
    assert "other variables" in other.header.messages[0]


async def test_start_of_a_job_that_was_cancelled_before_is_refused(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    cancelled = await cancel(daemon, made.job_id.value, "wrong patient")
    assert (cancelled.header.code, cancelled.job_state, cancelled.job_status) == (0, 3, 3)
    assert cancelled.job_id.value == made.job_id.value
    assert (await daemon.start(made.job_id.value)).header.code == -0x2101
    status = await daemon.status(made.job_id.value)
    assert status.messages[-1] == "canceled: wrong patient"
    assert status.HasField("stopped")
    assert not status.HasField("started")


async def test_variables_that_the_pipeline_lacks_are_refused_with_its_code(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    reply = await daemon.start(made.job_id.value, colour="red")
    assert reply.header.code == -0x1101
    assert "colour" in "\n".join(reply.header.messages)
    assert (await daemon.status(made.job_id.value)).state == wire.JOB_STATE_PENDING


async def test_a_variable_with_two_values_is_refused(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    request = wire.JobsStartRequest(
        header=HEADER,
        job_id=made.job_id,
        Variables=[
            wire.JobsStartRequest.NamedValue(name="a", value="1"),
            wire.JobsStartRequest.NamedValue(name="a", value="2"),
        ],
    )
    reply = await daemon.jobs.Start(request)
    assert reply.header.code == -0x5001
    assert "given twice" in reply.header.messages[0]


async def test_cancel_of_a_running_job_answers_its_end(daemon: Daemon) -> None:
    daemon.runner.block("one")
    made = await daemon.create(await daemon.register(chain("one")))
    await daemon.start(made.job_id.value)
    await daemon.until_runs("one")
    reply = await cancel(daemon, made.job_id.value)
    assert (reply.header.code, reply.job_state, reply.job_status) == (0, 3, 3)


async def test_cancel_of_a_stopped_job_says_how_it_ended(daemon: Daemon) -> None:
    ended = await daemon.run(await daemon.register(chain("one")), x=b"1")
    reply = await cancel(daemon, ended.job_id.value)
    assert (reply.header.code, reply.job_state, reply.job_status) == (0, 3, 1)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("", False),
        ("a\nb", False),
        ("x" * 256, False),
        ("ü" * 128, False),
        ("\u202e", False),
        ("spleen-job_1 (ü) ☃", True),
        ("x" * 255, True),
    ],
)
async def test_names_of_jobs(daemon: Daemon, name: str, good: bool) -> None:
    pipeline = await daemon.register(chain("one"))
    request = wire.JobsCreateRequest(header=HEADER, pipeline_id=an_id(pipeline), name=name)
    reply = await daemon.jobs.Create(request)
    assert reply.header.code == (0 if good else -0x2100)
    assert bool(reply.header.messages) is not good
    assert len(await ids(daemon)) == good


@pytest.mark.parametrize(
    ("pipeline", "more", "code"),
    [
        ("", {}, -0x1000),
        ("spleen", {}, -0x1000),
        (UNKNOWN, {}, -0x1001),
        (None, {"priority": 9}, -0x5001),
        (None, {"metadata": {"": "x"}}, -0x5003),
        (None, {"metadata": {"k" * 129: "x"}}, -0x5003),
        (None, {"metadata": {"k": "x" * 257}}, -0x5003),
        (None, {"input_payloads": [an_id("?")]}, -0x3000),
        (None, {"input_payloads": [an_id(UNKNOWN)]}, -0x3001),
    ],
)
async def test_a_job_that_cannot_be_made(
    daemon: Daemon, pipeline: str | None, more: dict[str, Any], code: int
) -> None:
    if pipeline is None:
        pipeline = await daemon.register(chain("one"))
    reply = await daemon.create(pipeline, **more)
    assert reply.header.code == code
    assert reply.header.messages[0]
    assert not reply.HasField("job_id")
    assert await ids(daemon) == []


@pytest.mark.parametrize(("job", "code"), [("", -0x2000), ("x", -0x2000), (UNKNOWN, -0x2001)])
async def test_ids_that_name_no_job(daemon: Daemon, job: str, code: int) -> None:
    replies = [
        await daemon.status(job),
        await daemon.start(job),
        await cancel(daemon, job),
        *await logs(daemon, job, "one"),
    ]
    assert [r.header.code for r in replies] == [code] * 4
    assert all(r.header.messages for r in replies)


async def test_a_dashed_id_means_the_same_job(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    job = made.job_id.value
    dashed = f"{job[:8]}-{job[8:12]}-{job[12:16]}-{job[16:20]}-{job[20:]}".upper()
    assert (await daemon.status(dashed)).job_id.value == job


async def test_lists_show_open_jobs_or_what_the_filter_says(daemon: Daemon) -> None:
    (empty,) = await jobs(daemon)
    assert (empty.header.code, empty.job_details.job_id.value) == (0, "")
    good, bad = [await daemon.register(chain("one", image=i)) for i in ("copy", "fail")]
    first = (await daemon.create(good)).job_id.value
    second = (await daemon.create(good)).job_id.value
    healthy = (await daemon.run(good, x=b"1")).job_id.value
    faulted = await daemon.run(bad, x=b"1")
    failed = faulted.job_id.value
    every = [first, second, healthy, failed]
    assert await ids(daemon) == [first, second]
    assert await ids(daemon, has_state=[1, 2, 3]) == every
    assert await ids(daemon, has_state=[3], has_status=[1]) == [healthy]
    assert await ids(daemon, has_status=[2, 4]) == [failed]
    assert await ids(daemon, pipeline_id=[an_id(bad.upper())]) == [failed]
    last = common_pb2.Timestamp(value=faulted.created.value)
    assert failed not in await ids(daemon, created_after=last)
    earlier = common_pb2.Timestamp(value=faulted.created.value - 3600)
    assert await ids(daemon, created_after=earlier) == every
    later = common_pb2.Timestamp(value=faulted.stopped.value + 1)
    assert await ids(daemon, completed_before=later) == [healthy, failed]
    assert await ids(daemon, completed_before=earlier) == []
    (wrong,) = await jobs(daemon, pipeline_id=[an_id("x")])
    assert wrong.header.code == -0x1000


async def test_an_item_of_a_list_shows_all_that_it_can(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    ended = await daemon.run(pipeline, x=b"1")
    (reply,) = await jobs(daemon, has_state=[3])
    item = reply.job_details
    assert reply.header.code == 0
    assert (item.job_id.value, item.payload_id.value, item.pipeline_id.value) == (
        ended.job_id.value,
        ended.payload_id.value,
        pipeline,
    )
    assert (item.job_name, item.state, item.status, item.priority) == ("job", 3, 1, 2)
    assert (item.created, item.started, item.stopped) == (
        ended.created,
        ended.started,
        ended.stopped,
    )
    assert item.timestamp_created == ended.timestamp_created != ""


async def test_logs_come_as_lines_without_time_stamps(daemon: Daemon) -> None:
    ended = await daemon.run(await daemon.register(chain("one", image="fail")), x=b"1")
    (reply,) = await logs(daemon, ended.job_id.value, "ONE")
    assert (reply.header.code, reply.job_id.value) == (0, ended.job_id.value)
    assert list(reply.logs) == ["first line\n", "no such slice\n"]


async def test_logs_of_an_operator_that_has_not_run_are_empty(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    (reply,) = await logs(daemon, made.job_id.value, "one")
    assert (reply.header.code, list(reply.logs)) == (0, [])


@pytest.mark.parametrize(("operator", "code"), [("", -0x5001), ("two", -0x2102)])
async def test_logs_of_nobody(daemon: Daemon, operator: str, code: int) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    (reply,) = await logs(daemon, made.job_id.value, operator)
    assert reply.header.code == code
    assert "operator" in reply.header.messages[0]


async def test_long_logs_come_whole_in_messages_that_a_client_accepts(daemon: Daemon) -> None:
    ended = await daemon.run(await daemon.register(chain("one")), x=b"1")
    lines = [f"{n} " + "\N{SNOWMAN}" * 20_000 for n in range(60)]
    folder = daemon.config.state_dir / "jobs" / ended.job_id.value / "logs" / "one"
    text = "".join(f"2026-01-01T00:00:00Z stdout F {line}\n" for line in lines)
    (folder / "1.log").write_text(text, encoding="utf-8")
    replies = await logs(daemon, ended.job_id.value, "one")
    assert len(replies) > 1
    assert max(r.ByteSize() for r in replies) < 3_900_000
    assert [line for r in replies for line in r.logs] == [line + "\n" for line in lines]


async def test_input_payloads_are_in_the_job_before_its_first_upload(daemon: Daemon) -> None:
    from claraedge.wire.nvidia.clara.platform import payloads_pb2

    made = await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest(header=HEADER))
    await daemon.upload(made.payload_id.value, ("atlas/a.bin", b"abc"))
    pipeline = await daemon.register(chain("one"))
    job = await daemon.create(pipeline, input_payloads=[made.payload_id])
    assert [r.file.name for r in await daemon.listing(job.payload_id.value)] == [
        "/input/atlas/a.bin"
    ]
    twice = await daemon.create(pipeline, input_payloads=[made.payload_id, made.payload_id])
    assert twice.header.code == -0x3104


async def test_jobs_outlive_the_daemon(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        pipeline = await daemon.register(chain("one"))
        waiting = (await daemon.create(pipeline)).job_id.value
        ended = await daemon.run(pipeline, x=b"1")
    async with daemon_in(folder) as daemon:
        assert (await daemon.status(ended.job_id.value)).stopped == ended.stopped
        assert await ids(daemon) == [waiting]
        await daemon.start(waiting)
        assert (await daemon.end(waiting)).status == wire.JOB_STATUS_HEALTHY


async def test_the_graph_shows_who_is_read_and_who_only_comes_first(daemon: Daemon) -> None:
    text = chain("one", "two", "three") + "  order: [one]\n"
    pipeline = await daemon.register(text)
    status = await daemon.status((await daemon.create(pipeline)).job_id.value)
    assert [
        (
            node.name,
            [d.name for d in node.input_dependencies],
            [d.name for d in node.order_dependencies],
        )
        for node in status.dag
    ] == [("one", [], []), ("two", ["one"], []), ("three", ["two"], ["one"])]
    request = pipelines_pb2.PipelinesDetailsRequest(header=HEADER, pipeline_id=an_id(pipeline))
    (details,) = await messages(daemon.pipelines.Details(request))
    (root,) = details.dag
    assert [node.name for node in root.next] == ["two", "three"]
