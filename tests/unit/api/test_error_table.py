"""Every wrong request has its row: the exact code, and messages that are never empty.

Rows that hold for many methods are made from the descriptors, so that a new method or a new id is
asked as well. docs/errors.md lists what the codes mean.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from claraedge import errors, metadata
from claraedge.errors import StorageFullError
from claraedge.store.database import Database
from claraedge.wire.nvidia.clara.platform import payloads_pb2, pipelines_pb2
from tests.rig.pipelines import chain
from tests.unit.api.conftest import HEADER, Daemon, an_id
from tests.unit.api.wire_calls import METHODS, call, request_of

UNKNOWN = "0" * 31 + "1"
MALFORMED = (
    "x",
    "0" * 31,
    "0" * 33,
    "g" * 32,
    "../" + "0" * 29,
    "0" * 8 + "-" + "0" * 24,
    "é" * 32,
)

#: Field -> (code where it is missing or malformed, code where nothing has this id).
IDS = {
    "pipeline_id": (-0x1000, -0x1001),
    "job_id": (-0x2000, -0x2001),
    "payload_id": (-0x3000, -0x3001),
    "model_id": (-0x4000, -0x4001),
    "catalog_id": (-0x4002, -0x4003),
    "instance_id": (-0x4004, -0x4005),
}
#: Ids that a request may leave out or choose.
_OPTIONAL = {("Pipelines/Create", "pipeline_id")}
#: What a request has besides its id, so that nothing else is wrong with it.
_REST = {"header": HEADER, "name": "x", "operator_name": "one"}

WITH_ID = [
    pytest.param(name, field, id=f"{name}-{field}")
    for name, method in METHODS.items()
    for field in method.input_type.fields_by_name
    if field in IDS and (name, field) not in _OPTIONAL
]


def refused(replies: list[Any], code: int) -> None:
    """One answer: this code, messages with text, no id that a client could read as a success."""
    (reply,) = replies
    assert reply.header.code == code, reply
    assert reply.header.messages
    assert all(text.strip() for text in reply.header.messages)
    set_fields = {field.name for field, _ in reply.ListFields()}
    assert set_fields == {"header"}


def gone(daemon: Daemon, error: grpc.aio.AioRpcError, kind: type[errors.ClaraedgeError]) -> None:
    assert error.code() is grpc.StatusCode[kind.status]
    assert error.details()
    assert ("claraedge-error", kind.name) in tuple(error.trailing_metadata() or ())


def test_there_are_43_methods() -> None:
    assert len(METHODS) == 43


@pytest.mark.parametrize(("name", "field"), WITH_ID)
async def test_wrong_ids(daemon: Daemon, name: str, field: str) -> None:
    malformed, unknown = IDS[field]
    refused(await call(daemon.channel, name, [request_of(name, **_REST)]), malformed)
    for text in MALFORMED:
        request = request_of(name, **_REST, **{field: an_id(text)})
        refused(await call(daemon.channel, name, [request]), malformed)
    pipeline = await daemon.register(chain("one"))
    made = await daemon.create(pipeline)
    there = {"pipeline_id": pipeline, "job_id": made.job_id.value,
             "payload_id": made.payload_id.value}  # fmt: skip
    of_other_kinds = [value for kind, value in there.items() if kind != field]
    for text in (UNKNOWN, UNKNOWN.upper(), *of_other_kinds):
        request = request_of(name, **_REST, **{field: an_id(text)})
        refused(await call(daemon.channel, name, [request]), unknown)


async def test_requests_that_are_no_protobuf(daemon: Daemon) -> None:
    for name in METHODS:
        for data in (b"\xff", b"\x0a\x7fshort", b"not protobuf at all"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(daemon.channel, name, [data])
            gone(daemon, caught.value, errors.UndecodableRequestError)
    assert (await daemon.create(await daemon.register(chain("one")))).header.code == 0


async def test_a_stream_whose_later_message_is_no_protobuf_changes_nothing(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    first = payloads_pb2.PayloadsUploadRequest(
        payload_id=made.payload_id, details=payloads_pb2.PayloadFileDetails(name="x"), data=b"1"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(daemon.channel, "Payloads/Upload", [first, b"\xff"])
    gone(daemon, caught.value, errors.UndecodableRequestError)
    (empty,) = await daemon.listing(made.payload_id.value)
    assert not empty.HasField("file")


# --- metadata ----------------------------------------------------------------------------------

BAD_METADATA = {
    "an empty key": {"": "x"},
    "a key of 129 bytes": {"k" * 129: "x"},
    "a key of 65 letters and 130 bytes": {"é" * 65: "x"},
    "a value of 257 characters": {"k": "v" * 257},
    "keys that differ by case": {"Source": "a", "SOURCE": "a"},
    "too much together": {f"{n:06}": "v" * 250 for n in range(metadata.MAX_TOTAL_BYTES // 272 + 1)},
}


@pytest.mark.parametrize("entries", BAD_METADATA.values(), ids=BAD_METADATA.keys())
async def test_metadata_beyond_the_limits(daemon: Daemon, entries: dict[str, str]) -> None:
    pipeline = await daemon.register(chain("one"))
    made = await daemon.create(pipeline)
    reusable = (await call(daemon.channel, "Payloads/Create", [request_of("Payloads/Create")]))[0]
    ids = {"pipeline_id": an_id(pipeline), "job_id": made.job_id, "payload_id": reusable.payload_id}
    more = {**_REST, "metadata": entries}
    definition = pipelines_pb2.PipelineDefinitionFile(path="p", content=chain("one"))
    for name, fields in {
        "Jobs/Create": {"pipeline_id": an_id(pipeline)},
        "Payloads/Create": {},
        "Pipelines/Create": {"definition": definition},
        "Jobs/AddMetadata": ids,
        "Payloads/AddMetadata": ids,
        "Pipelines/AddMetadata": ids,
    }.items():
        refused(await call(daemon.channel, name, [request_of(name, **more, **fields)]), -0x5003)


@pytest.mark.parametrize("service", ["Jobs", "Payloads", "Pipelines"])
async def test_a_key_that_is_there_with_another_value(daemon: Daemon, service: str) -> None:
    pipeline = await daemon.register(chain("one"))
    made = await daemon.create(pipeline)
    reusable = (await call(daemon.channel, "Payloads/Create", [request_of("Payloads/Create")]))[0]
    ids = {"pipeline_id": an_id(pipeline), "job_id": made.job_id, "payload_id": reusable.payload_id}
    name = f"{service}/AddMetadata"

    async def add(**entries: str) -> list[Any]:
        return await call(daemon.channel, name, [request_of(name, **ids, metadata=entries)])

    assert (await add(a="1"))[0].header.code == 0
    refused(await add(b="2", A="2"), -0x5003)
    assert dict((await add(a="1"))[0].metadata) == {"a": "1"}


async def test_metadata_of_a_jobs_payload(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    for name in ("Payloads/AddMetadata", "Payloads/RemoveMetadata"):
        entries = {"keys": ["a"]} if "Remove" in name else {"metadata": {"a": "b"}}
        request = request_of(name, payload_id=made.payload_id, **entries)
        refused(await call(daemon.channel, name, [request]), -0x3103)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Payloads/Download", "Payloads/Remove", "Payloads/Upload"])
@pytest.mark.parametrize(
    "file",
    ["", "/", "./", "a/", "..", "a/../b", "/..", "x" * 256, "a/" * 1600 + "b", "a\0b"],
    ids=lambda file: repr(file[:8]),
)
async def test_names_that_no_file_can_have(daemon: Daemon, name: str, file: str) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    request = request_of(
        name,
        payload_id=made.payload_id,
        name=file,
        details=payloads_pb2.PayloadFileDetails(name=file),
    )
    refused(await call(daemon.channel, name, [request]), -0x3100)


async def test_names_of_jobs(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    for name in ("", "x" * 256, "é" * 128, "a\nb", "\x7f"):
        request = request_of("Jobs/Create", pipeline_id=an_id(pipeline), name=name)
        refused(await call(daemon.channel, "Jobs/Create", [request]), -0x2100)


async def test_names_of_files_that_are_not_there_or_not_clear(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    payload = made.payload_id.value
    await daemon.upload(payload, ("A", b"1"), ("a", b"2"), ("Ab/c", b"3"), ("aB/c", b"4"))
    for name in ("Payloads/Download", "Payloads/Remove"):
        for file, code in (("input/b", -0x3101), ("input", -0x3101), ("input/ab/c", -0x3102)):
            request = request_of(name, payload_id=made.payload_id, name=file)
            refused(await call(daemon.channel, name, [request]), code)


async def test_a_name_that_would_be_file_and_folder(daemon: Daemon) -> None:
    made = await daemon.create(await daemon.register(chain("one")))
    payload = made.payload_id.value
    await daemon.upload(payload, ("a/b", b"1"))
    refused([await daemon.upload(payload, ("a", b"1"))], -0x3104)
    refused([await daemon.upload(payload, ("a/b/c", b"1"))], -0x3104)


async def test_the_path_of_a_definition_beyond_its_limit(daemon: Daemon) -> None:
    definition = pipelines_pb2.PipelineDefinitionFile(path="p" * 4097, content=chain("one"))
    request = request_of("Pipelines/Create", definition=definition)
    refused(await call(daemon.channel, "Pipelines/Create", [request]), -0x1100)


# --- order -------------------------------------------------------------------------------------


async def test_calls_in_the_wrong_order(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    daemon.runner.block("one")
    running = await daemon.create(pipeline)
    job, payload = running.job_id.value, running.payload_id
    await daemon.upload(payload.value, ("x", b"1"))
    refused(await call(daemon.channel, "Payloads/Delete",
                       [request_of("Payloads/Delete", payload_id=payload)]), -0x3103)  # fmt: skip
    await daemon.start(job)
    await daemon.until_runs("one")

    late = {"payload_id": payload, "name": "input/x",
            "details": payloads_pb2.PayloadFileDetails(name="late")}  # fmt: skip
    for name in ("Payloads/Upload", "Payloads/Remove", "Payloads/Delete"):
        refused(await call(daemon.channel, name, [request_of(name, **late)]), -0x3103)
    refused([await daemon.start(job, other="variables")], -0x2101)
    refused([await daemon.create(pipeline, input_payloads=[payload])], -0x3103)
    daemon.runner.release("one")
    await daemon.end(job)
    refused(await call(daemon.channel, "Payloads/Upload",
                       [request_of("Payloads/Upload", **late)]), -0x3103)  # fmt: skip

    cancelled = await daemon.create(pipeline)
    cancel = request_of("Jobs/Cancel", job_id=cancelled.job_id)
    assert (await call(daemon.channel, "Jobs/Cancel", [cancel]))[0].header.code == 0
    refused([await daemon.start(cancelled.job_id.value)], -0x2101)

    remove = request_of("Pipelines/Remove", pipeline_id=an_id(pipeline))
    assert (await call(daemon.channel, "Pipelines/Remove", [remove]))[0].header.code == 0
    refused([await daemon.create(pipeline)], -0x1001)
    refused(await call(daemon.channel, "Pipelines/Remove", [remove]), -0x1001)
    delete = request_of("Payloads/Delete", payload_id=payload)
    assert (await call(daemon.channel, "Payloads/Delete", [delete]))[0].header.code == 0
    for name in ("Payloads/Details", "Payloads/Download", "Payloads/Delete", "Payloads/Upload"):
        request = request_of(name, **{**late, "name": "input/x"})
        refused(await call(daemon.channel, name, [request]), -0x3001)


# --- the rest ----------------------------------------------------------------------------------


async def test_parts_that_a_request_lacks_or_has_wrongly(daemon: Daemon) -> None:
    pipeline = await daemon.register(chain("one"))
    job = (await daemon.create(pipeline)).job_id
    there = an_id(pipeline)

    def definition(content: str) -> pipelines_pb2.PipelineDefinitionFile:
        return pipelines_pb2.PipelineDefinitionFile(path="p", content=content)

    rows: list[tuple[str, list[dict[str, Any]], int]] = [
        ("Jobs/Create", [{"pipeline_id": there, "name": "x", "priority": 5}], -0x5001),
        ("Jobs/Create", [{"pipeline_id": there, "name": "x", "priority": -1}], -0x5001),
        ("Jobs/Create", [{"pipeline_id": there, "name": "x", "input_payloads": [an_id("?")]}],
         -0x3000),
        ("Jobs/Create", [{"pipeline_id": there, "name": "x", "input_payloads": [an_id("")]}],
         -0x3000),
        ("Jobs/Create", [{"pipeline_id": there, "name": "x", "input_payloads": [an_id(UNKNOWN)]}],
         -0x3001),
        ("Jobs/ReadLogs", [{"job_id": job}], -0x5001),
        ("Jobs/ReadLogs", [{"job_id": job, "operator_name": "two"}], -0x2102),
        ("Payloads/Upload", [], -0x5001),
        ("Pipelines/Create", [], -0x1100),
        ("Pipelines/Create", [{"definition": definition(" \n")}], -0x1100),
        ("Pipelines/Create", [{"definition": definition("a: [")}], -0x1101),
        ("Pipelines/Create", [{"definition": definition("name: x\n")}], -0x1101),
        ("Pipelines/Create", [{"definition": definition(chain("one")), "pipeline_id": an_id("x")}],
         -0x1000),
        ("Pipelines/Create", [{"definition": definition(chain("one")), "pipeline_id": there}],
         -0x5001),
        ("Pipelines/Create", [{"pipeline_id": an_id("a" * 32)}, {"pipeline_id": an_id("b" * 32)}],
         -0x1000),
        ("Pipelines/Create", [{"metadata": {"a": "1"}}, {"metadata": {"a": "2"}}], -0x5003),
        ("Pipelines/Update", [], -0x1000),
        ("Pipelines/Update", [{"pipeline_id": there}], -0x1100),
        ("Pipelines/Update", [{"pipeline_id": there, "definition": definition("a: [")}], -0x1101),
        ("Pipelines/Update", [{"pipeline_id": there, "definition": definition("name: x\n")}],
         -0x1101),
        ("Pipelines/Update", [{"pipeline_id": there}, {"pipeline_id": an_id(UNKNOWN)}], -0x1000),
    ]  # fmt: skip
    for name, requests, code in rows:
        sent = [request_of(name, header=HEADER, **fields) for fields in requests]
        refused(await call(daemon.channel, name, sent), code)


Failing = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "way", "failure", "code"),
    [
        ("Pipelines/Create", "write", StorageFullError("the disk is full"), -0x1002),
        ("Pipelines/Update", "write", StorageFullError("the disk is full"), -0x1004),
        ("Pipelines/Update", "write", sqlite3.OperationalError("disk I/O error"), -0x1004),
        ("Pipelines/List", "read", sqlite3.OperationalError("disk I/O error"), -0x1003),
        ("Jobs/Create", "write", StorageFullError("the disk is full"), -0x2002),
        ("Jobs/List", "read", sqlite3.OperationalError("disk I/O error"), -0x2003),
        ("Payloads/Create", "write", StorageFullError("the disk is full"), -0x5204),
    ],
)
async def test_a_state_that_fails(
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    way: str,
    failure: Exception,
    code: int,
) -> None:
    pipeline = await daemon.register(chain("one"))
    before = set((daemon.config.state_dir / "payloads").iterdir())
    fields: dict[str, Any] = {
        "name": "x",
        "definition": pipelines_pb2.PipelineDefinitionFile(path="p", content=chain("one")),
    }
    if name != "Pipelines/Create":
        fields["pipeline_id"] = an_id(pipeline)

    works, background = getattr(Database, way), asyncio.all_tasks()

    async def fails(database: Database, work: Failing) -> Any:
        """Fails for the call; the tasks of the daemon itself end with a state that fails."""
        if asyncio.current_task() in background:
            return await works(database, work)
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Database, way, fails)
        replies = await call(daemon.channel, name, [request_of(name, **fields)])
    refused(replies, code)
    assert set((daemon.config.state_dir / "payloads").iterdir()) == before
    again = await call(daemon.channel, name, [request_of(name, **fields)])
    assert again[0].header.code == 0
