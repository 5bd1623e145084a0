"""What changes or removes things that are there, on the wire: as original clients send it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from claraedge.config import JobsSettings
from claraedge.wire.nvidia.clara.platform import jobs_pb2, payloads_pb2, pipelines_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER, Daemon, an_id, contents, daemon_in, messages
from tests.unit.api.wire_calls import call, request_of


async def one(daemon: Daemon, name: str, /, **fields: Any) -> Any:
    (reply,) = await call(daemon.channel, name, [request_of(name, **fields)])
    return reply


async def names(daemon: Daemon, payload: str) -> list[str]:
    return [r.file.name for r in await daemon.listing(payload) if r.HasField("file")]


async def update(daemon: Daemon, pipeline: str, *parts: tuple[str, str]) -> Any:
    requests = [
        pipelines_pb2.PipelinesUpdateRequest(
            header=HEADER,
            pipeline_id=an_id(pipeline),
            definition=pipelines_pb2.PipelineDefinitionFile(path=path, content=content),
        )
        for path, content in parts
    ]
    return await daemon.pipelines.Update(iter(requests))


async def details(daemon: Daemon, pipeline: str) -> list[Any]:
    request = pipelines_pb2.PipelinesDetailsRequest(pipeline_id=an_id(pipeline))
    return await messages(daemon.pipelines.Details(request))


# --- metadata ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "field"),
    [("Jobs", "job_id"), ("Payloads", "payload_id"), ("Pipelines", "pipeline_id")],
)
async def test_metadata_without_a_header_answer_the_complete_set(
    daemon: Daemon, service: str, field: str
) -> None:
    pipeline = await daemon.register(chain("one"))
    made = await daemon.create(pipeline)
    reusable = await one(daemon, "Payloads/Create")
    value = {
        "job_id": made.job_id,
        "payload_id": reusable.payload_id,
        "pipeline_id": an_id(pipeline),
    }[field]

    async def add(**entries: str) -> Any:
        return await one(daemon, f"{service}/AddMetadata", **{field: value, "metadata": entries})

    first = await add(Source="CT1", **{"00100020": "ü" * 256})
    assert first.header.code == 0
    assert getattr(first, field).value == value.value
    whole = {"Source": "CT1", "00100020": "ü" * 256, "Instances": "4"}
    assert dict((await add(Instances="4")).metadata) == whole
    # A client that lost the answer asks again; another case of the key is the same key.
    assert dict((await add(Instances="4")).metadata) == whole
    assert dict((await add(SOURCE="CT1")).metadata) == whole
    left = await one(
        daemon,
        f"{service}/RemoveMetadata",
        **{field: value, "keys": ["00100020", "INSTANCES", "absent"]},
    )
    assert (left.header.code, getattr(left, field).value) == (0, value.value)
    assert dict(left.metadata) == {"Source": "CT1"}
    # A removed key may come back with another value.
    assert dict((await add(instances="5")).metadata) == {"Source": "CT1", "instances": "5"}

    calls = {
        "job_id": daemon.status(made.job_id.value),
        "payload_id": daemon.listing(reusable.payload_id.value),
        "pipeline_id": details(daemon, pipeline),
    }
    answers = {key: await call for key, call in calls.items()}
    replies = answers[field] if isinstance(answers[field], list) else [answers[field]]
    assert dict(replies[0].metadata) == {"Source": "CT1", "instances": "5"}


async def test_metadata_of_a_job_that_runs_and_has_ended_can_be_changed(daemon: Daemon) -> None:
    ended = await daemon.run(await daemon.register(chain("one")), x=b"1")
    reply = await one(daemon, "Jobs/AddMetadata", job_id=ended.job_id, metadata={"seen": "yes"})
    assert dict(reply.metadata) == {"seen": "yes"}


async def test_a_large_set_of_metadata_fits_every_answer(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    for part in range(13):
        entries = {f"{part:02}-{n:04}": "v" * 250 for n in range(960)}
        reply = await one(daemon, "Jobs/AddMetadata", job_id=made.job_id, metadata=entries)
        assert reply.header.code == 0, reply.header.messages
    assert len(reply.metadata) == 13 * 960
    assert len((await daemon.status(made.job_id.value)).metadata) == 13 * 960


# --- payloads ----------------------------------------------------------------------------------


async def test_a_reusable_payload_loses_a_file_then_itself_while_its_copies_stay(
    daemon: Daemon,
) -> None:
    made = await one(daemon, "Payloads/Create", metadata={"kind": "atlas"})
    payload = made.payload_id.value
    assert made.type == payloads_pb2.PAYLOAD_TYPE_REUSABLE
    await daemon.upload(payload, ("Atlas.bin", b"abc"), ("other", b"d"), ("a/b", b"e"))
    job = await daemon.create(await daemon.register(chain("one")), input_payloads=[made.payload_id])
    assert await names(daemon, job.payload_id.value) == [
        "/input/Atlas.bin",
        "/input/a/b",
        "/input/other",
    ]
    for name in ("./atlas.BIN", "/other"):
        reply = await one(daemon, "Payloads/Remove", payload_id=made.payload_id, name=name)
        assert reply.header.code == 0
    assert await names(daemon, payload) == ["/a/b"]
    assert (await one(daemon, "Payloads/Delete", payload_id=made.payload_id)).header.code == 0
    (gone,) = await daemon.listing(payload)
    assert gone.header.code == -0x3001
    assert not (daemon.config.state_dir / "payloads" / payload).exists()
    copied = await daemon.download(job.payload_id.value, "input/atlas.bin")
    assert contents(copied) == b"abc"


async def test_a_jobs_payload_is_deleted_once_it_has_stopped_and_the_job_stays(
    daemon: Daemon,
) -> None:
    ended = await daemon.run(await daemon.register(chain("one")), x=b"1")
    deleted = await one(daemon, "Payloads/Delete", payload_id=ended.payload_id)
    assert deleted.header.code == 0
    again = await daemon.status(ended.job_id.value)
    assert (again.header.code, again.payload_id) == (0, ended.payload_id)
    logs = await call(
        daemon.channel,
        "Jobs/ReadLogs",
        [request_of("Jobs/ReadLogs", job_id=ended.job_id, operator_name="one")],
    )
    assert list(logs[0].logs) == ["copied\n"]


# --- pipelines ---------------------------------------------------------------------------------


async def test_an_update_replaces_the_definition_and_no_job_that_is_there(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    made = await one(
        daemon, "Pipelines/AddMetadata", pipeline_id=an_id(pipeline), metadata={"Owner": "w3"}
    )
    before = await daemon.create(pipeline)
    text = chain("two", "three").replace("name: chain", "name: longer")
    half = len(text) // 2
    reply = await update(daemon, pipeline, ("A.yaml", text[:half]), ("a.yaml", text[half:]))
    assert reply.header.code == 0, reply.header.messages
    (found,) = await details(daemon, pipeline)
    assert (found.name, found.definition.path, found.definition.content) == (
        "longer",
        "A.yaml",
        text,
    )
    assert dict(found.metadata) == dict(made.metadata) == {"Owner": "w3"}
    after = await daemon.create(pipeline)
    for job, operators in ((before, ["one"]), (after, ["two", "three"])):
        await daemon.upload(job.payload_id.value, ("x", b"1"))
        assert (await daemon.start(job.job_id.value)).header.code == 0
        ended = await daemon.end(job.job_id.value)
        assert (ended.status, [o.name for o in ended.operator_details]) == (1, operators)


async def test_an_update_that_is_wrong_changes_nothing(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    wrong = await update(daemon, pipeline, ("p", chain("one").replace("/in}", "/in, from: x}")))
    assert wrong.header.code == -0x1101
    (found,) = await details(daemon, pipeline)
    assert found.definition.content == chain("one")


async def test_an_update_warns_as_a_creation_does(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    reply = await update(daemon, pipeline, ("p", chain("one") + "colour: red\n"))
    assert reply.header.code == 0
    assert any("colour" in text for text in reply.header.messages)


async def test_definitions_that_nothing_uses_do_not_pile_up(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    kept = await daemon.create(pipeline)
    for number in range(5):
        await update(daemon, pipeline, ("p", chain("one") + f"# {number}\n"))
    other = sqlite3.connect(daemon.config.state_dir / "claraedge.db")
    assert other.execute("SELECT COUNT(*) FROM definitions").fetchone() == (2,)
    other.close()
    assert (await daemon.status(kept.job_id.value)).header.code == 0


async def test_a_removed_pipeline_is_gone_for_new_jobs_and_not_for_old_ones(
    daemon: Daemon,
) -> None:
    pipeline = await daemon.register(chain("one"))
    waiting = await daemon.create(pipeline)
    daemon.runner.block("one")
    running = await daemon.create(pipeline)
    await daemon.start(running.job_id.value)
    await daemon.until_runs("one")
    removed = await one(daemon, "Pipelines/Remove", pipeline_id=an_id(pipeline))
    assert removed.header.code == 0
    (empty,) = await call(daemon.channel, "Pipelines/List", [request_of("Pipelines/List")])
    assert (empty.header.code, empty.HasField("details")) == (0, False)
    daemon.runner.release("one")
    assert (await daemon.start(waiting.job_id.value)).header.code == 0
    for job in (running, waiting):
        ended = await daemon.end(job.job_id.value)
        assert (ended.status, ended.pipeline_id.value) == (1, pipeline)
        assert [n.name for n in ended.dag] == ["one"]


async def test_an_update_lets_what_waits_in_the_inbox_continue(daemon: Daemon) -> None:
    """An item whose pipeline could not run is taken up when that is corrected."""
    pipeline = await daemon.register(chain("one", image="copy").replace("chain", "ward"))
    await update(daemon, pipeline, ("p", chain("one").replace("name: chain", "name: other")))
    folder = daemon.config.inbox_dir / "ward"
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"1")
    await update(daemon, pipeline, ("p", chain("one").replace("name: chain", "name: ward")))

    async def stopped() -> str:
        filter_ = jobs_pb2.JobsListRequest.JobFilter(has_state=[3])
        jobs = await call(daemon.channel, "Jobs/List", [request_of("Jobs/List", filter=filter_)])
        return str(jobs[0].job_details.job_name)

    assert await eventually(stopped, "a job has stopped") == "x"


# --- jobs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["claraedge-engine", "clara-pod-manager"])
async def test_the_log_of_the_job_itself(daemon: Daemon, name: str) -> None:
    ended = await daemon.run(await daemon.register(chain("one", image="fail")), x=b"1")
    (reply,) = await call(
        daemon.channel,
        "Jobs/ReadLogs",
        [request_of("Jobs/ReadLogs", job_id=ended.job_id, operator_name=name)],
    )
    assert (reply.header.code, reply.operator_name) == (0, name)
    assert all(line.endswith("\n") for line in reply.logs)
    text = "".join(reply.logs)
    for part in ("job created", "job queued", "operator one ended: FAULTED, exit code 3",
                 "no such slice", "job stopped: FAULTED"):  # fmt: skip
        assert part in text


async def test_logs_are_read_while_the_operator_runs(daemon: Daemon) -> None:
    daemon.runner.block("one")
    made = await daemon.create(await daemon.register(chain("one")))
    await daemon.start(made.job_id.value)
    await daemon.until_runs("one")
    folder = daemon.config.state_dir / "jobs" / made.job_id.value / "logs" / "one"
    request = request_of("Jobs/ReadLogs", job_id=made.job_id, operator_name="one")
    with (folder / "1.log").open("ab") as log:
        for number in range(3):
            log.write(b"2026-01-01T00:00:00Z stdout F line %d\n" % number)
            log.flush()
            (reply,) = await call(daemon.channel, "Jobs/ReadLogs", [request])
            assert list(reply.logs) == [f"line {n}\n" for n in range(number + 1)]
        log.write(b"2026-01-01T00:00:00Z stdout F half a li")
        log.flush()
        (reply,) = await call(daemon.channel, "Jobs/ReadLogs", [request])
        assert len(reply.logs) == 3
    daemon.runner.release("one")
    await daemon.end(made.job_id.value)


async def test_a_job_that_is_never_started_is_removed_and_says_so(folder: Any) -> None:
    async with daemon_in(folder, jobs=JobsSettings(unstarted_after_hours=1 / 3600)) as daemon:
        made = await daemon.create(await daemon.register(chain("one")))

        async def removed() -> bool:
            return (await daemon.status(made.job_id.value)).header.code != 0

        await eventually(removed, "the job is removed")
        assert (await daemon.status(made.job_id.value)).header.code == -0x2001
        assert (await daemon.listing(made.payload_id.value))[0].header.code == -0x3001
