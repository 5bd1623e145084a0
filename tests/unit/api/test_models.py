"""The Models service over a real socket: every method, its normal and its error path."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge import errors
from claraedge.api.models import ModelsServicer
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import Server
from claraedge.clock import SystemClock
from claraedge.ids import new_id
from claraedge.models.model import SetKind
from claraedge.models.models import Models
from claraedge.models.sets import ModelSets
from claraedge.models.tree import ModelTree
from claraedge.store.database import Database
from claraedge.wire.nvidia.clara.platform import models_pb2 as pb
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub
from tests.rig.waiting import eventually

UNKNOWN = "0" * 32
CHUNK = 1024 * 1024


def archive(name: str, weights: bytes = b"weights", *, top: str | None = None) -> bytes:
    """A model as its author would zip it; `top` '' puts the files at the top."""
    folder = f"{name}/" if top is None else top
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{folder}config.pbtxt", f'name: "{name}"\nplatform: "onnxruntime_onnx"\n')
        made.writestr(f"{folder}1/model.onnx", weights)
    return out.getvalue()


@dataclass
class Served:
    stub: Any
    state: Path
    models: Models
    channel: grpc.aio.Channel

    async def upload(
        self, data: bytes, name: str = "", *, chunk: int = 64 * 1024, **details: Any
    ) -> pb.ModelsUploadModelResponse:
        def requests() -> Iterator[pb.ModelsUploadModelRequest]:
            for start in range(0, max(len(data), 1), chunk):
                yield pb.ModelsUploadModelRequest(
                    details=pb.ModelDetails(name=name, **details),
                    data=data[start : start + chunk],
                )

        return await self.stub.UploadModel(requests())

    async def stored(self, name: str, weights: bytes = b"weights", **details: Any) -> str:
        """The id of a model that was uploaded well."""
        reply = await self.upload(archive(name, weights), **details)
        assert reply.header.code == 0, reply.header.messages
        return reply.details.model_id.value

    async def download(self, model: str) -> tuple[pb.ModelDetails, dict[str, bytes]]:
        messages = [m async for m in self.stub.DownloadModel(download_of(model))]
        assert messages[0].header.code == 0, messages[0].header.messages
        return messages[0].details, unzipped(b"".join(m.data for m in messages))

    async def names(self) -> list[str]:
        return [m.name for r in await all_of(self.stub.ListModels(pb.ModelsListModelsRequest()))
                for m in r.models]  # fmt: skip

    async def catalog(self, *models: str) -> str:
        catalog = (await self.stub.CreateCatalog(pb.ModelsCreateCatalogRequest())).catalog_id
        reply = await self.stub.UpdateCatalog(iter([catalog_update(catalog.value, models)]))
        assert reply.header.code == 0, reply.header.messages
        return catalog.value

    async def members(self, catalog: str) -> list[str]:
        request = pb.ModelsReadCatalogRequest(catalog_id=Identifier(value=catalog))
        replies = await all_of(self.stub.ReadCatalog(request))
        assert replies[0].header.code == 0, replies[0].header.messages
        return [m.model_id.value for r in replies for m in r.models]

    def on_disk(self) -> list[str]:
        """Every file below the repository's folder; what disappears meanwhile is not counted."""
        root = self.state / "models"
        return sorted(
            (Path(folder) / name).relative_to(root).as_posix()
            for folder, _, names in os.walk(root)  # unlike rglob, lets a folder vanish
            for name in names
        )


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.testzip() is None
        return {i.filename: made.read(i) for i in made.infolist() if not i.is_dir()}


def download_of(model: str) -> pb.ModelsDownloadModelRequest:
    return pb.ModelsDownloadModelRequest(model_id=Identifier(value=model))


def catalog_update(catalog: str, models: Sequence[str]) -> pb.ModelsUpdateCatalogRequest:
    return pb.ModelsUpdateCatalogRequest(
        catalog_id=Identifier(value=catalog), model_ids=[Identifier(value=m) for m in models]
    )


def instance_update(instance: str, models: Sequence[str]) -> pb.ModelsUpdateInstanceRequest:
    return pb.ModelsUpdateInstanceRequest(
        instance_id=Identifier(value=instance), model_ids=[Identifier(value=m) for m in models]
    )


async def all_of(call: Any) -> list[Any]:
    return [message async for message in call]


def refused(reply: Any, error: type[errors.ClaraedgeError], text: str = "") -> None:
    assert reply.header.code == error.code, reply.header.messages
    assert text in "\n".join(reply.header.messages)
    assert all(reply.header.messages)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    with tempfile.TemporaryDirectory(prefix="ce-") as folder:  # a socket's path must be short
        state = Path(folder)
        async with Database(state / "claraedge.db") as database:
            clock = SystemClock()
            models = Models(database, ModelTree(state), clock, new_id)
            await models.prepare()
            servicer = ModelsServicer(
                models,
                ModelSets(database, clock, new_id, SetKind.CATALOG),
                ModelSets(database, clock, new_id, SetKind.INSTANCE),
            )
            socket = state / "s.sock"
            service = pb.DESCRIPTOR.services_by_name["Models"]
            async with (
                Server(socket, [(service, servicer)], CallLimits(unary=30, idle=30)),
                grpc.aio.insecure_channel(f"unix:{socket}") as channel,
            ):
                yield Served(ModelsStub(channel), state, models, channel)


# --- upload and download -------------------------------------------------------------------------


async def test_an_upload_answers_the_stored_details_and_comes_back_whole(served: Served) -> None:
    weights = random.Random(1).randbytes(3 * CHUNK + 17)
    reply = await served.upload(
        archive("lung", weights), "lung", type=pb.MODEL_TYPE_PY_TORCH, metadata={"Source": "a"}
    )
    assert reply.header.code == 0, reply.header.messages
    assert (reply.details.name, reply.details.type) == ("lung", pb.MODEL_TYPE_PY_TORCH)
    assert dict(reply.details.metadata) == {"Source": "a"}
    messages = await all_of(served.stub.DownloadModel(download_of(reply.details.model_id.value)))
    assert messages[0].details == reply.details
    assert max(len(m.data) for m in messages) == CHUNK
    files = unzipped(b"".join(m.data for m in messages))
    assert sorted(files) == ["lung/1/model.onnx", "lung/config.pbtxt"]
    assert hashlib.sha256(files["lung/1/model.onnx"]).digest() == hashlib.sha256(weights).digest()


async def test_the_model_lies_in_the_layout_of_the_inference_server(served: Served) -> None:
    model = await served.stored("lung")
    assert served.on_disk() == [f"{model}/1/lung/1/model.onnx", f"{model}/1/lung/config.pbtxt"]
    file = served.state / "models" / model / "1/lung/1/model.onnx"
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o755


async def test_what_was_downloaded_can_be_uploaded_again(served: Served) -> None:
    model = await served.stored("lung")
    messages = await all_of(served.stub.DownloadModel(download_of(model)))
    reply = await served.upload(b"".join(m.data for m in messages), "lung")
    assert (reply.header.code, reply.details.model_id.value) == (0, model)


async def test_an_archive_with_the_files_at_its_top_gets_the_name_of_the_upload(
    served: Served,
) -> None:
    reply = await served.upload(archive("lung", top=""), "lung")
    _, files = await served.download(reply.details.model_id.value)
    assert sorted(files) == ["lung/1/model.onnx", "lung/config.pbtxt"]


async def test_the_same_name_replaces_files_type_and_metadata_and_keeps_the_id(
    served: Served,
) -> None:
    first = await served.stored("lung", b"old", type=pb.MODEL_TYPE_TENSOR_RT, metadata={"a": "1"})
    catalog = await served.catalog(first)
    second = await served.stored("lung", b"new", metadata={"b": "2"})
    assert second == first
    details, files = await served.download(first)
    assert files["lung/1/model.onnx"] == b"new"
    assert (details.type, dict(details.metadata)) == (pb.MODEL_TYPE_UNKNOWN, {"b": "2"})
    assert await served.members(catalog) == [first]
    assert served.on_disk() == [f"{first}/2/lung/1/model.onnx", f"{first}/2/lung/config.pbtxt"]


async def test_uploads_of_one_name_at_once_leave_one_model_whole(served: Served) -> None:
    replies = await asyncio.gather(
        *(served.upload(archive("lung", bytes([n]) * 1000)) for n in range(8))
    )
    assert {r.header.code for r in replies} == {0}
    (model,) = {r.details.model_id.value for r in replies}
    assert await served.names() == ["lung"]
    _, files = await served.download(model)
    assert len(set(files["lung/1/model.onnx"])) == 1
    assert len(served.on_disk()) == 2


async def test_a_download_that_stalls_gets_the_version_that_it_began(served: Served) -> None:
    old = random.Random(2).randbytes(24 * CHUNK)
    model = await served.stored("lung", old)
    call = served.stub.DownloadModel(download_of(model))
    data = [(await call.read()).data]
    await served.stored("lung", b"new")
    assert len(served.on_disk()) == 4  # the old version is still read
    while (message := await call.read()) is not grpc.aio.EOF:
        data.append(message.data)
    assert unzipped(b"".join(data))["lung/1/model.onnx"] == old
    await eventually(lambda: len(served.on_disk()) == 2, "both versions are stored")


async def test_a_download_continues_when_its_model_is_deleted(served: Served) -> None:
    old = random.Random(3).randbytes(24 * CHUNK)
    model = await served.stored("lung", old)
    call = served.stub.DownloadModel(download_of(model))
    data = [(await call.read()).data]
    request = pb.ModelsDeleteModelRequest(model_id=Identifier(value=model))
    assert (await served.stub.DeleteModel(request)).header.code == 0
    while (message := await call.read()) is not grpc.aio.EOF:
        data.append(message.data)
    assert unzipped(b"".join(data))["lung/1/model.onnx"] == old
    await eventually(lambda: served.on_disk() == [], "nothing is left on the disk")


async def test_a_cancelled_download_gives_the_old_version_free(served: Served) -> None:
    model = await served.stored("lung", random.Random(4).randbytes(24 * CHUNK))
    call = served.stub.DownloadModel(download_of(model))
    await call.read()
    await served.stored("lung", b"new")
    call.cancel()
    await eventually(lambda: len(served.on_disk()) == 2, "both versions are stored")


async def test_a_broken_upload_changes_nothing(served: Served) -> None:
    model = await served.stored("lung", b"old")
    data = archive("lung", random.Random(5).randbytes(4 * CHUNK))
    call = served.stub.UploadModel()
    for start in range(0, len(data), CHUNK):  # all of it; only the end of the stream lacks
        await call.write(pb.ModelsUploadModelRequest(data=data[start : start + CHUNK]))
    await eventually(
        lambda: any("staging" in name for name in served.on_disk()), "the upload has begun"
    )
    call.cancel()
    await eventually(
        lambda: not any("staging" in name for name in served.on_disk()), "the upload is removed"
    )
    _, files = await served.download(model)
    assert files["lung/1/model.onnx"] == b"old"
    assert len(served.on_disk()) == 2


async def test_a_client_that_is_cut_off_changes_nothing(served: Served) -> None:
    async with grpc.aio.insecure_channel(f"unix:{served.state / 's.sock'}") as channel:
        call = ModelsStub(channel).UploadModel()
        await call.write(pb.ModelsUploadModelRequest(data=archive("lung")))
        await eventually(
            lambda: any("staging" in name for name in served.on_disk()), "the upload has begun"
        )
    await eventually(lambda: served.on_disk() == [], "nothing is left on the disk")
    assert await served.names() == []


async def test_an_upload_without_a_message_is_refused(served: Served) -> None:
    refused(await served.stub.UploadModel(iter([])), errors.InvalidRequestError, "no message")


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (b"", "lung", "is empty"),
        (b"PK\x03\x04 but then no archive" * 100, "lung", "whose end is missing"),
        (archive("lung")[:-30], "lung", "whose end is missing"),
        (archive("lung"), "liver", "'liver', the model's folder 'lung'"),
        (archive("lung", top="liver/"), "", "has the name 'lung', the model 'liver'"),
        (archive("lung", top=""), "liver", "has the name 'lung', the model 'liver'"),
        (archive("lung"), "../lung", "a slash"),
    ],
)
async def test_a_wrong_archive_is_refused_and_nothing_is_left(
    served: Served, data: bytes, name: str, text: str
) -> None:
    refused(await served.upload(data, name), errors.InvalidModelError, text)
    assert served.on_disk() == []
    assert await served.names() == []


async def test_an_upload_that_contradicts_itself_is_refused(served: Served) -> None:
    async def upload(*details: pb.ModelDetails) -> Any:
        return await served.stub.UploadModel(
            pb.ModelsUploadModelRequest(details=d) for d in details
        )

    D = pb.ModelDetails  # noqa: N806
    refused(await upload(D(name="a"), D(name="b")), errors.InvalidRequestError, "to 'b'")
    refused(await upload(D(type=1), D(type=2)), errors.InvalidRequestError, "to TENSOR_RT")
    refused(await upload(D(type=77)), errors.InvalidRequestError, "77 is no type")
    twice = D(metadata={"k": "1"}), D(metadata={"k": "2"})
    refused(await upload(*twice), errors.InvalidRequestError, "'k' two values")


async def test_details_may_come_once_or_with_every_chunk(served: Served) -> None:
    data = archive("lung")

    def requests() -> Iterator[pb.ModelsUploadModelRequest]:
        yield pb.ModelsUploadModelRequest(data=data[:20])
        details = pb.ModelDetails(name="lung", type=pb.MODEL_TYPE_TENSOR_FLOW)
        yield pb.ModelsUploadModelRequest(details=details)
        yield pb.ModelsUploadModelRequest(details=details, data=data[20:])

    reply = await served.stub.UploadModel(requests())
    assert (reply.header.code, reply.details.type) == (0, pb.MODEL_TYPE_TENSOR_FLOW)


async def test_metadata_that_break_a_rule_refuse_the_upload(served: Served) -> None:
    reply = await served.upload(archive("lung"), metadata={"Key": "1", "key": "2"})
    refused(reply, errors.InvalidMetadataError, "case does not count")
    assert await served.names() == []


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("", errors.InvalidModelIdError),
        ("x" * 32, errors.InvalidModelIdError),
        (UNKNOWN, errors.ModelNotFoundError),
    ],
)
async def test_a_model_that_is_not_there_is_refused_by_every_method(
    served: Served, model: str, error: type[errors.ClaraedgeError]
) -> None:
    wanted = Identifier(value=model)
    (message,) = await all_of(served.stub.DownloadModel(download_of(model)))
    refused(message, error)
    refused(await served.stub.DeleteModel(pb.ModelsDeleteModelRequest(model_id=wanted)), error)
    request = pb.ModelsAddMetadataRequest(model_id=wanted, metadata={"a": "1"})
    refused(await served.stub.AddMetadata(request), error)
    gone = pb.ModelsRemoveMetadataRequest(model_id=wanted, keys=["a"])
    refused(await served.stub.RemoveMetadata(gone), error)


async def test_a_model_whose_files_are_gone_says_so(served: Served) -> None:
    model = await served.stored("lung")
    await asyncio.to_thread((served.state / "models" / model).rename, served.state / "elsewhere")
    (message,) = await all_of(served.stub.DownloadModel(download_of(model)))
    refused(message, errors.ModelNotFoundError, "upload it again")


# --- list, delete, metadata ----------------------------------------------------------------------


async def test_models_are_listed_in_the_order_of_their_first_upload(served: Served) -> None:
    assert await all_of(served.stub.ListModels(pb.ModelsListModelsRequest())) == []
    for name in ("b", "a", "c", "b"):
        await served.stored(name)
    assert await served.names() == ["b", "a", "c"]


async def test_a_long_list_comes_in_messages_that_a_client_accepts(served: Served) -> None:
    for n in range(3):
        model = await served.stored(f"m{n}")
        for part in range(3):
            entries = {f"{part}-{k}-{'x' * 100}": "v" * 256 for k in range(2000)}
            request = pb.ModelsAddMetadataRequest(
                model_id=Identifier(value=model), metadata=entries
            )
            assert (await served.stub.AddMetadata(request)).header.code == 0
    messages = await all_of(served.stub.ListModels(pb.ModelsListModelsRequest()))
    assert [m.name for r in messages for m in r.models] == ["m0", "m1", "m2"]
    assert len(messages) > 1


async def test_a_deleted_model_leaves_every_set_and_the_disk(served: Served) -> None:
    one, other = await served.stored("one"), await served.stored("other")
    catalog = await served.catalog(one, other)
    request = pb.ModelsDeleteModelRequest(model_id=Identifier(value=one))
    reply = await served.stub.DeleteModel(request)
    assert (reply.header.code, reply.model_id.value) == (0, one)
    assert await served.names() == ["other"]
    assert await served.members(catalog) == [other]
    assert {name.split("/")[0] for name in served.on_disk()} == {other}
    refused(await served.stub.DeleteModel(request), errors.ModelNotFoundError)


async def test_metadata_are_added_and_removed_and_always_answered_whole(served: Served) -> None:
    model = Identifier(value=await served.stored("lung", metadata={"a": "1"}))

    async def add(**entries: str) -> Any:
        return await served.stub.AddMetadata(
            pb.ModelsAddMetadataRequest(model_id=model, metadata=entries)
        )

    reply = await add(b="2")
    assert (reply.header.code, reply.model_id) == (0, model)
    assert dict(reply.metadata) == {"a": "1", "b": "2"}
    assert dict((await add(B="2")).metadata) == {"a": "1", "b": "2"}
    refused(await add(c="3", b="other"), errors.InvalidMetadataError, "'b'")
    (listed,) = await all_of(served.stub.ListModels(pb.ModelsListModelsRequest()))
    assert dict(listed.models[0].metadata) == {"a": "1", "b": "2"}
    gone = await served.stub.RemoveMetadata(
        pb.ModelsRemoveMetadataRequest(model_id=model, keys=["A", "absent"])
    )
    assert (gone.header.code, gone.model_id, dict(gone.metadata)) == (0, model, {"b": "2"})


# --- catalogs and instances ----------------------------------------------------------------------


async def test_a_catalog_is_made_filled_listed_emptied_and_deleted(served: Served) -> None:
    one, other = await served.stored("one"), await served.stored("other")
    (message,) = await all_of(served.stub.ListCatalogs(pb.ModelsListCatalogsRequest()))
    assert (message.header.code, list(message.catalogs)) == (0, [])
    made = await served.stub.CreateCatalog(pb.ModelsCreateCatalogRequest())
    catalog = made.catalog_id.value
    assert await served.members(catalog) == []
    updates = [catalog_update(catalog, [other]), catalog_update("", [one, other])]
    reply = await served.stub.UpdateCatalog(iter(updates))
    assert (reply.header.code, reply.catalog_id.value) == (0, catalog)
    assert await served.members(catalog) == [other, one]
    empty = await served.catalog()
    listed = await all_of(served.stub.ListCatalogs(pb.ModelsListCatalogsRequest()))
    assert [
        (c.catalog_id.value, [m.name for m in c.models]) for r in listed for c in r.catalogs
    ] == [(catalog, ["other", "one"]), (empty, [])]
    await served.stub.UpdateCatalog(iter([catalog_update(catalog, [])]))
    assert await served.members(catalog) == []
    gone = await served.stub.DeleteCatalog(
        pb.ModelsDeleteCatalogRequest(catalog_id=made.catalog_id)
    )
    assert (gone.header.code, gone.catalog_id.value) == (0, catalog)
    assert await served.names() == ["one", "other"]


async def test_an_instance_is_made_filled_listed_emptied_and_deleted(served: Served) -> None:
    model = await served.stored("one")
    (message,) = await all_of(served.stub.ListInstances(pb.ModelsListInstancesRequest()))
    assert (message.header.code, list(message.instances)) == (0, [])
    made = await served.stub.CreateInstance(pb.ModelsCreateInstanceRequest())
    instance = made.instance_id.value
    read = pb.ModelsReadInstanceRequest(instance_id=made.instance_id)
    (reply,) = await all_of(served.stub.ReadInstance(read))
    assert (reply.header.code, reply.instance_id.value, list(reply.models)) == (0, instance, [])
    updated = await served.stub.UpdateInstance(iter([instance_update(instance, [model])]))
    assert (updated.header.code, updated.instance_id.value) == (0, instance)
    (reply,) = await all_of(served.stub.ReadInstance(read))
    assert [m.model_id.value for m in reply.models] == [model]
    (listed,) = await all_of(served.stub.ListInstances(pb.ModelsListInstancesRequest()))
    assert [(i.catalog_id.value, len(i.models)) for i in listed.instances] == [(instance, 1)]
    gone = await served.stub.DeleteInstance(
        pb.ModelsDeleteInstanceRequest(instance_id=made.instance_id)
    )
    assert (gone.header.code, gone.instance_id.value) == (0, instance)
    (reply,) = await all_of(served.stub.ReadInstance(read))
    refused(reply, errors.InstanceNotFoundError)


async def test_an_update_with_an_unknown_model_changes_nothing(served: Served) -> None:
    model = await served.stored("one")
    catalog = await served.catalog(model)
    reply = await served.stub.UpdateCatalog(iter([catalog_update(catalog, [UNKNOWN])]))
    refused(reply, errors.ModelNotFoundError, UNKNOWN)
    reply = await served.stub.UpdateCatalog(iter([catalog_update(catalog, ["no id"])]))
    refused(reply, errors.InvalidModelIdError)
    assert await served.members(catalog) == [model]


async def test_a_broken_update_changes_nothing(served: Served) -> None:
    model = await served.stored("one")
    catalog = await served.catalog(model)
    async with grpc.aio.insecure_channel(f"unix:{served.state / 's.sock'}") as channel:
        call = ModelsStub(channel).UpdateCatalog()
        await call.write(catalog_update(catalog, []))
    assert await served.members(catalog) == [model]


async def test_an_update_without_a_message_or_of_two_sets_is_refused(served: Served) -> None:
    refused(await served.stub.UpdateCatalog(iter([])), errors.InvalidRequestError, "no message")
    refused(await served.stub.UpdateInstance(iter([])), errors.InvalidRequestError, "no message")
    one, other = await served.catalog(), await served.catalog()
    both = iter([catalog_update(one, []), catalog_update(other, [])])
    refused(await served.stub.UpdateCatalog(both), errors.InvalidRequestError, "for each")


@pytest.mark.parametrize("set_id", ["", "no id", UNKNOWN, "the other kind"])
async def test_a_set_that_is_not_there_is_refused_by_every_method(
    served: Served, set_id: str
) -> None:
    catalog = instance = Identifier(value=set_id)
    missing = set_id in (UNKNOWN, "the other kind")
    if set_id == "the other kind":
        instance = (await served.stub.CreateCatalog(pb.ModelsCreateCatalogRequest())).catalog_id
        catalog = (await served.stub.CreateInstance(pb.ModelsCreateInstanceRequest())).instance_id

    error: type[errors.ClaraedgeError]
    error = errors.CatalogNotFoundError if missing else errors.InvalidCatalogIdError
    (read,) = await all_of(served.stub.ReadCatalog(pb.ModelsReadCatalogRequest(catalog_id=catalog)))
    refused(read, error)
    refused(await served.stub.UpdateCatalog(iter([catalog_update(catalog.value, [])])), error)
    gone = pb.ModelsDeleteCatalogRequest(catalog_id=catalog)
    refused(await served.stub.DeleteCatalog(gone), error)

    error = errors.InstanceNotFoundError if missing else errors.InvalidInstanceIdError
    (read,) = await all_of(
        served.stub.ReadInstance(pb.ModelsReadInstanceRequest(instance_id=instance))
    )
    refused(read, error)
    refused(await served.stub.UpdateInstance(iter([instance_update(instance.value, [])])), error)
    refused(
        await served.stub.DeleteInstance(pb.ModelsDeleteInstanceRequest(instance_id=instance)),
        error,
    )


def test_every_method_of_the_service_is_called_above() -> None:
    text = Path(__file__).read_text()
    methods = [m.name for m in pb.DESCRIPTOR.services_by_name["Models"].methods]
    assert len(methods) == 16
    assert [name for name in methods if f"stub.{name}(" not in text] == []
