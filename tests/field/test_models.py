"""Models that people replace, delete, or send with something missing or too much."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from claraedge.errors import ModelNotReadyError
from claraedge.services.services import Services
from claraedge.store.database import Database
from tests.field.archives import Entry, model, zipped
from tests.field.case import case
from tests.field.model_site import Site
from tests.rig.models_repository import served_repository
from tests.rig.waiting import eventually
from tests.unit.services.service_device import ServiceDevice, using

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served_repository() as state:
        yield Site(state, tmp_path)


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[ServiceDevice]:
    async with Database(tmp_path / "claraedge.db") as database:
        made = ServiceDevice(tmp_path, database)
        await made.models.prepare()
        yield made


async def job(services: Services, name: str, *models: str) -> None:
    """One that begins and ends."""
    await services.acquire(name, using(models=models))
    await services.release(name)


# --- models that change --------------------------------------------------------------------------


@case(
    1,
    "One step of a loaded ensemble was replaced",
    source="triton-inference-server/server#4828, #5791",
    outcome="The next job gets the ensemble with the new step.",
)
async def test_a_step_of_an_ensemble_is_replaced(device: ServiceDevice) -> None:
    await device.store("pre", "pre1")
    await device.store("net", "net1")
    await device.store("all", "e", of=("pre", "net"))
    async with device.daemon() as services:
        await job(services, "one", "all")
        await device.store("net", "net2")
        await job(services, "two", "all")
        assert device.server.loaded["all"] == "e+pre1+net2"


@case(
    1,
    "A step of a step of an ensemble was replaced",
    source="triton-inference-server/server, architecture.md (ensembles of ensembles)",
    outcome="The next job gets it, however deep it is.",
)
async def test_a_step_of_a_step_is_replaced(device: ServiceDevice) -> None:
    await device.store("net", "net1")
    await device.store("inner", "i", of=("net",))
    await device.store("outer", "o", of=("inner",))
    async with device.daemon() as services:
        await job(services, "one", "outer")
        await device.store("net", "net2")
        await job(services, "two", "outer")
        assert device.server.loaded["outer"] == "o+i+net2"


@case(
    1,
    "A model was replaced by files with older times",
    source="triton-inference-server/server#7013, #2853 (times are compared)",
    outcome="The next job gets it: what is loaded does not depend on times of files.",
)
async def test_a_model_is_replaced_by_older_files(device: ServiceDevice) -> None:
    await device.store("net", "old")
    async with device.daemon() as services:
        await job(services, "one", "net")
        folder = device.models.tree.folder(await device.store("net", "new"))
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (0, 0))
        await job(services, "two", "net")
        assert device.server.loaded == {"net": "new"}


@case(
    1,
    "A model was replaced while a job used it",
    source="triton-inference-server/server#2607, #4783, #5757",
    outcome="The running job keeps the old one to its end; the next waits for that and says so.",
)
async def test_a_model_is_replaced_under_a_job(device: ServiceDevice) -> None:
    await device.store("net", "old")
    async with device.daemon() as services:
        await services.acquire("one", using(models=("net",)))
        await device.store("net", "new")
        waits = asyncio.create_task(services.acquire("two", using(models=("net",))))
        await eventually(
            lambda: "an earlier version of net" in str(services.waits_for("two")),
            "the second waits",
        )
        assert device.server.loaded == {"net": "old"}
        await services.release("one")
        await waits
        assert device.server.loaded == {"net": "new"}


@case(
    1,
    "The inference server or the daemon was started again after a model was replaced under a job",
    source="triton-inference-server/server#2607",
    outcome="The running job finds the version that it began with.",
)
async def test_restarts_after_a_replacement(device: ServiceDevice) -> None:
    await device.store("net", "old")
    async with device.daemon() as services:
        await services.acquire("one", using(models=("net",)))
    await device.store("net", "new")
    async with device.daemon(running=("one",)) as services:
        await services.acquire("one", using(models=("net",)))
        device.crash()
        await eventually(lambda: len(device.runner.started) == 2, "the server runs again")
        await eventually(lambda: device.server.loaded == {"net": "old"}, "the old one is loaded")
        await services.release("one")
        await job(services, "two", "net")
        assert device.server.loaded == {"net": "new"}


@case(
    1,
    "A model was deleted while it was loaded",
    source="triton-inference-server/server#2023; vespa-engine/vespa#35324",
    outcome="Jobs that run end with it, no other begins, and its memory and disk are given back.",
)
async def test_a_model_is_deleted_while_it_is_loaded(device: ServiceDevice) -> None:
    model = await device.store("net")
    async with device.daemon() as services:
        await services.acquire("one", using(models=("net",)))
        await device.models.delete(model.id)
        services.models_changed()
        with pytest.raises(ModelNotReadyError, match="the repository has no model net"):
            await services.acquire("two", using(models=("net",)))
        assert device.server.loaded == {"net": "w"}
        await services.release("one")
        await eventually(lambda: not device.server.loaded, "none is loaded")
        await eventually(lambda: not (device.server.models / "net").exists(), "the model is gone")


@case(
    1,
    "A step of an ensemble was deleted",
    source="triton-inference-server/server#4630",
    outcome="The next job fails and names both: the step that is missing, and the ensemble.",
)
async def test_a_step_of_an_ensemble_is_deleted(device: ServiceDevice) -> None:
    net = await device.store("net")
    await device.store("all", of=("net",))
    async with device.daemon() as services:
        await job(services, "one", "all")
        await device.models.delete(net.id)
        with pytest.raises(
            ModelNotReadyError, match="no model net, of which the model all is made"
        ):
            await services.acquire("two", using(models=("all",)))


@case(
    9,
    "An ensemble was unloaded and left its steps in the GPU's memory",
    source="instill-ai/community#264; triton-inference-server/server#2993",
    outcome="Steps count as models of their own, and make room like them.",
)
async def test_steps_of_an_ensemble_make_room(device: ServiceDevice) -> None:
    for name in ("a", "b", "c", "d"):
        await device.store(name)
    await device.store("one", of=("a", "b"))
    await device.store("two", of=("c", "d"))
    async with device.daemon(inference={"model_limit": 3}) as services:
        await job(services, "1", "one")
        await job(services, "2", "two")
        assert set(device.server.loaded) == {"c", "d", "two"}


@case(
    1,
    "A Python model calls others that nobody loads for it",
    source="triton-inference-server/server#4366, #5452, #4549",
    outcome="Where its configuration names them, they are loaded first and are as new as it is.",
)
async def test_a_python_model_names_what_it_calls(device: ServiceDevice) -> None:
    calls = 'parameters [{key: "claraedge_models", value: {string_value: "net"}}]\n'
    await device.store("net", "net1")
    await device.store("logic", config=f'backend: "python"\n{calls}')
    async with device.daemon() as services:
        await job(services, "one", "logic")
        await device.store("net", "net2")
        await job(services, "two", "logic")
        assert device.server.loaded["net"] == "net2"
        assert device.server.calls[-2:] == ["load net", "load logic"]


@case(
    10,
    "Models that are made of each other",
    source="triton-inference-server/core, model_repository_manager.cc: CircularDependencyCheck",
    outcome="The job fails and names the circle.",
)
async def test_models_that_are_made_of_each_other(device: ServiceDevice) -> None:
    await device.store("a", of=("b",))
    await device.store("b", of=("a",))
    async with device.daemon() as services:
        with pytest.raises(ModelNotReadyError, match="a of b of a"):
            await services.acquire("one", using(models=("a",)))


@case(
    10,
    "A TensorRT plan was built for another GPU",
    source="NVIDIA/TensorRT#3130, #2176; triton-inference-server/server#6064",
    outcome="The job fails with TensorRT's reason, and the step: build it on this device.",
)
async def test_a_plan_of_another_gpu(device: ServiceDevice) -> None:
    reason = (
        "The engine plan file is generated on an incompatible device, expecting compute 7.5 got"
        " compute 8.6, please rebuild."
    )
    await device.store("net", fail=reason)
    async with device.daemon() as services:
        with pytest.raises(ModelNotReadyError) as raised:
            await services.acquire("one", using(models=("net",)))
    assert reason in str(raised.value)
    assert "build it on this device" in str(raised.value)


@case(
    10,
    "The server's image has no such backend",
    source="triton-inference-server/server#7445, #8342, #4200",
    outcome="The job fails with the server's reason, and names what to correct.",
)
async def test_an_unknown_backend(device: ServiceDevice) -> None:
    await device.store("net", fail="unable to find backend library for backend 'onnxruntime'")
    async with device.daemon() as services:
        with pytest.raises(ModelNotReadyError, match=r"correct `platform` or `backend`.*log"):
            await services.acquire("one", using(models=("net",)))


# --- models that are not whole -------------------------------------------------------------------


@case(
    1,
    "Git LFS pointers in place of weights",
    source="onnx/models#569, #317; bjekic/WallSegmentation#3; lutzroeder/netron#463",
    outcome="It is refused with the file's name and the step: git lfs pull.",
)
@pytest.mark.parametrize("name", ["1/model.onnx", "1/labels.txt", "config.pbtxt"])
def test_git_lfs_pointers(site: Site, name: str) -> None:
    folder = site.lung()
    (folder / name).write_bytes(POINTER)
    text = site.refused(folder)
    assert f"'{name}' is a Git LFS pointer" in text
    assert "git lfs pull" in text


@case(
    1,
    "A web page, or a refusal of the store, was saved in place of weights",
    source="pytorch/pytorch#16203; ConstantinSeibold/ChestXRayAnatomySegmentation#17",
    outcome="It is refused with the file's name and the step: download it again.",
)
@pytest.mark.parametrize(
    "page",
    [
        b"\n<!DOCTYPE html>\n<html lang=en>",
        b"\xef\xbb\xbf<HTML><head>",
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    ],
)
def test_web_pages(site: Site, page: bytes) -> None:
    folder = site.lung()
    (folder / "1/model.onnx").write_bytes(page)
    text = site.refused(folder)
    assert "'1/model.onnx' is a web page" in text
    assert "download it again" in text


@case(
    1,
    "Weights of no bytes",
    source="ROCm/AMDMIGraphX#3001; microsoft/winml-cli#987",
    outcome="It is refused; other files, as __init__.py, may be empty.",
)
def test_empty_weights(site: Site) -> None:
    folder = site.lung()
    (folder / "1/__init__.py").touch()
    (folder / "1/model.onnx").write_bytes(b"")
    assert "'1/model.onnx' is empty (0 bytes)" in site.refused(folder)
    (folder / "1/model.onnx").write_bytes(b"x")
    site.send(folder)


@case(
    1,
    "An ONNX file without the file that holds its weights",
    source="onnx/onnx, docs/ExternalData.md; microsoft/onnxruntime#19739; NVIDIA/TensorRT#4235",
    outcome="It is refused with the names of what is missing; with them it is stored.",
)
@pytest.mark.parametrize("name", ["model.onnx.data", "weights/a", "./model.onnx_data", "w" * 120])
def test_missing_external_data(site: Site, name: str) -> None:
    folder = site.lung()
    entry = b"\x0a\x08location\x12" + bytes([len(name)]) + name.encode()
    length = bytes([len(entry)]) if len(entry) < 128 else bytes([len(entry) - 128 | 0x80, 1])
    field = b"\x6a" + length + entry
    graph = os.urandom(256 * 1024 - 20) + field + os.urandom(1000) + field
    (folder / "1/model.onnx").write_bytes(graph)
    text = site.refused(folder)
    assert f"has its weights in '{name}'" in text
    (folder / "1" / name).parent.mkdir(exist_ok=True)
    (folder / "1" / name).write_bytes(b"weights")
    site.send(folder)


@case(
    1,
    "A model with nothing but its configuration, or with an empty version",
    source="triton-inference-server/server#3687, #3688",
    outcome="It is refused with where the file belongs; an ensemble needs none.",
)
def test_empty_versions(site: Site) -> None:
    folder = site.lung()
    (folder / "2").mkdir()
    assert "the version folder '2' is empty" in site.refused(folder)
    (folder / "2").rmdir()
    (folder / "1/model.onnx").rename(folder / "model.onnx")
    assert "the version folder '1' is empty" in site.refused(folder)
    (folder / "1").rmdir()
    assert "put 'model.onnx' into a folder" in site.refused(folder)
    (folder / "model.onnx").unlink()
    assert "the model has no version" in site.refused(folder)
    (folder / "1").mkdir()
    (folder / "config.pbtxt").write_text('name: "lung"\nplatform: "ensemble"\n')
    site.send(folder)


@case(
    10,
    "A version folder with a name that the inference server passes by",
    source="triton-inference-server/server#1366, #2144",
    outcome="It is refused with that name, and what to rename it to.",
)
@pytest.mark.parametrize("name", ["v1", "1.0", "01", "version1"])
def test_names_of_versions(site: Site, name: str) -> None:
    folder = site.lung()
    (folder / "1").rename(folder / name)
    text = site.refused(folder)
    assert f"'{name}' is no name of one" in text
    assert "rename the folder" in text


@case(
    1,
    "Weights that are still being downloaded",
    source="minio/mc#1902; huggingface/huggingface_hub (names that end in .incomplete)",
    outcome="It is refused with the file's name; nothing half becomes part of a model.",
)
@pytest.mark.parametrize("name", ["model.onnx.part", "model.onnx.crdownload", "model.onnx.tmp"])
def test_unfinished_files(site: Site, name: str) -> None:
    folder = site.lung()
    (folder / "1" / name).write_bytes(b"half")
    assert f"{folder}/1/{name} has the name of a file that is still being" in site.refused(folder)
    entries = [*model(), Entry(name=f"lung/1/{name}".encode(), content=b"half")]
    assert f"lung/1/{name}" in site.refused(zipped(entries))


# --- what is not the model's ---------------------------------------------------------------------

LEFTOVERS = (
    *(".DS_Store", "._config.pbtxt", "1/._model.onnx", "Thumbs.db", "desktop.ini"),
    *(".git/HEAD", ".gitattributes", ".ipynb_checkpoints/x.ipynb", "1/__pycache__/model.pyc"),
    *("@eaDir/model.onnx", "~$notes.docx", ".cache/huggingface/x"),
)


@case(
    2,
    "Leftovers of desktops, notebooks and version control in a model's folder",
    source="paperless-ngx/paperless-ngx#4331, #2670; onnx/models (clones)",
    outcome="They are left out of folders and archives alike, and the answer names them.",
)
@pytest.mark.parametrize("how", ["folder", "archive"])
def test_leftovers(site: Site, how: str) -> None:
    folder = site.lung()
    for name in LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    entries = [Entry(name=f"lung/{name}".encode(), content=b"x") for name in LEFTOVERS]
    notes = site.send(folder if how == "folder" else zipped([*model(), *entries]))
    assert sorted(site.stored()) == ["lung/1/model.onnx", "lung/config.pbtxt"]
    (note,) = notes
    assert f"left out {len(LEFTOVERS)} names that are not part of the model: " in note
    assert note.endswith(f" and {len(LEFTOVERS) - 5} more")


@case(
    2,
    "A folder that holds nothing but leftovers",
    source="jonaswinkler/paperless-ng#1062",
    outcome="It is refused as what it is.",
)
def test_only_leftovers(site: Site) -> None:
    text = site.refused(zipped([Entry(name=b"lung/.DS_Store", content=b"x")]))
    assert "holds only 'lung/.DS_Store'" in text
    (site.work / "lung").mkdir()
    (site.work / "lung/.DS_Store").write_bytes(b"x")
    assert "holds no config.pbtxt" in site.refused(site.work / "lung")


# --- configurations ------------------------------------------------------------------------------


@case(
    10,
    "PowerShell wrote config.pbtxt as UTF-16, or Notepad with a mark",
    source="yggdrasil-network/yggdrasil-go#129; influxdata/influxdb#9043",
    outcome="UTF-16 is refused with what to do in Notepad; the mark of UTF-8 is no trouble.",
)
def test_configurations_of_windows(site: Site) -> None:
    folder = site.lung()
    text = (folder / "config.pbtxt").read_text().replace("\n", "\r\n")
    for encoding in ("utf-16", "utf-16-be"):
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
        (folder / "config.pbtxt").write_bytes(mark + text.encode(encoding))
        reason = site.refused(folder)
        assert "UTF-16" in reason
        assert "Notepad" in reason
    (folder / "config.pbtxt").write_bytes(text.encode("utf-8-sig"))
    site.send(folder)


@case(
    10,
    "config.pbtxt was written as JSON",
    source="triton-inference-server/server#7856 (clients give JSON, files are protobuf text)",
    outcome="It is refused with the form that the file must have.",
)
def test_a_configuration_of_json(site: Site) -> None:
    folder = site.lung()
    (folder / "config.pbtxt").write_text('{"name": "lung", "platform": "onnxruntime_onnx"}')
    assert "config.pbtxt is JSON" in site.refused(folder)


@case(
    10,
    "The folder has another name than the model, as a download of a branch has",
    source="triton-inference-server/core, model_repository_manager.cc: unexpected directory name",
    outcome="It is refused with both names, and which to change.",
)
def test_a_folder_of_another_name(site: Site) -> None:
    folder = site.lung().rename(site.work / "lung-main")
    text = site.refused(folder)
    assert "has the name 'lung', the model 'lung-main'" in text
    assert "rename the folder to 'lung'" in text
    assert text == site.refused(zipped(model(top=b"lung-main")))


@case(
    10,
    "The folder above the model's was given",
    source="triton-inference-server/server#3688 (folders of the quick start)",
    outcome="It is refused with the command that is right.",
)
@pytest.mark.parametrize("names", [("lung",), ("liver", "lung")])
def test_the_folder_above(site: Site, names: Sequence[str]) -> None:
    top = site.work / "models"
    for name in names:
        site.lung(top).rename(top / "x") if name != "lung" else site.lung(top)
    assert f"claraedge create model -p {top}/lung -t TYPE" in site.refused(top)
