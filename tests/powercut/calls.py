"""Flows of calls over the socket."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from claraedge.client import jobs, models, payloads, pipelines
from claraedge.client.connection import Connection
from claraedge.pipelines.model import DefinitionFile
from claraedge.wire.claraedge.v1.files_pb2 import StartUploadRequest, WriteFileRequest
from claraedge.wire.claraedge.v1.files_pb2_grpc import FilesStub
from tests.powercut.flow import Scene, flow
from tests.powercut.promises import digest
from tests.powercut.site import definition
from tests.powercut.volatile_disk import sync


@flow
def upload(scene: Scene) -> None:
    """Uploads for a job that is started, one that is not, and one of a reusable payload."""
    with scene.site.connect() as connection:
        job, payload = _create(scene, connection, "started")
        files = {"a.dcm": scene.content(), "x/b.dcm": scene.content(700_000)}
        _send(scene, connection, payload, files, inside="input/")
        _start(scene, connection, job, tuple(sorted(map(digest, files.values()))))
        _, other = _create(scene, connection, "not started")
        _send(scene, connection, other, scene.contents("c.dcm"), inside="input/")
        reusable = payloads.create(connection, {"key": "value"})
        scene.promises.answered(("payload", reusable))
        _send(scene, connection, reusable, scene.contents("d.dcm", "e.dcm"))
        _send(scene, connection, reusable, scene.contents("d.dcm"))
        with scene.promises.changing((("metadata", reusable, "more"), "1")):
            payloads.change_metadata(connection, reusable, {"more": "1"}, ())
        third, _ = _create(scene, connection, "of a reusable", [reusable])
        _start(scene, connection, third, True)
        query = "SELECT job FROM deliveries WHERE state = 'done' AND job IN (?, ?)"
        site = scene.site
        site.until(lambda: len(site.rows(query, job, third)) == 2, "both are delivered")


@flow
def continued(scene: Scene) -> None:
    """Files arrive in several calls each; the second one replaces the first."""
    with scene.site.connect() as connection:
        files = FilesStub(connection.channel)
        payload = payloads.create(connection, {})
        scene.promises.answered(("payload", payload))
        for size in (300_000, 200_000):
            content = scene.content(size)
            started = StartUploadRequest(payload_id=payload, name="a.dcm", size=size)
            upload = files.StartUpload(started).id
            for at in range(0, size, 100_000):
                part, last = content[at : at + 100_000], at + 100_000 >= size
                message = WriteFileRequest(upload_id=upload, offset=at, data=part, finish=last)
                change = [(("file", payload, "a.dcm"), digest(content))] if last else []
                with scene.promises.changing(*change):
                    assert files.Write(iter([message])).offset == at + len(part)


@flow
def remove(scene: Scene) -> None:
    """Removed, deleted or cancelled things stay so."""
    with scene.site.connect() as connection:
        payload = payloads.create(connection, {})
        scene.promises.answered(("payload", payload))
        _send(scene, connection, payload, scene.contents("a.dcm", "b.dcm"))
        with scene.promises.changing((("file", payload, "b.dcm"), None)):
            payloads.remove(connection, payload, "b.dcm")
        gone: list[tuple[str, ...]] = [("payload", payload), ("file", payload, "a.dcm")]
        with scene.promises.changing(*((key, None) for key in gone)):
            payloads.delete(connection, payload)
        long, _ = pipelines.create(connection, _definition("long", "forever"))
        scene.promises.answered(("pipeline", long), "forever")
        job, its = _create(scene, connection, "forever", pipeline=long)
        _send(scene, connection, its, scene.contents("a.dcm"), inside="input/")
        jobs.start(connection, job, {})
        query = "SELECT state FROM jobs WHERE id = ? AND state = 2"
        scene.site.until(lambda: scene.site.rows(query, job), "the job runs")
        with scene.promises.changing((("cancelled", job), True)):
            jobs.cancel(connection, job, "enough")
    stopped = "SELECT state FROM jobs WHERE id = ? AND state = 3"
    scene.site.until(lambda: scene.site.rows(stopped, job), "the job has stopped")
    scene.site.rest()


@flow
def definitions(scene: Scene) -> None:
    """Pipelines over the socket and as files are created, changed, removed and used."""
    site = scene.site
    with site.connect() as connection:
        made, _ = pipelines.create(connection, _definition("api", "copy"), {"key": "value"})
        scene.promises.answered(("pipeline", made), "copy")
        with scene.promises.changing((("pipeline", made), "slow")):
            pipelines.update(connection, made, _definition("api", "slow"))
        other, _ = pipelines.create(connection, _definition("other", "copy"))
        scene.promises.answered(("pipeline", other), "copy")
        with scene.promises.changing((("pipeline", other), None)):
            pipelines.remove(connection, other)
        for image in ("copy", "slow"):
            content, folder = definition("new", image).encode(), site.state / "pipelines.d"
            with scene.promises.changing((("pipeline file", "new"), image)):
                site.drop(folder, {".new": content})
                (folder / ".new").replace(folder / "new.yaml")
                sync([folder])
        scene.drop("plain", "ct", scene.contents("n.dcm"))
        site.rest(1)


@flow
def model(scene: Scene) -> None:
    """Two models are uploaded, the first again with other weights; the other is deleted."""
    with scene.site.connect() as connection:
        for name, size in (("net", 5000), ("other", 200_000), ("net", 7000)):
            folder, files = _model(scene, name, size)
            with scene.promises.changing((("model", name), files)):
                models.upload(connection, folder, "PY_TORCH", lambda _: None)
        other = next(one.id for one in models.list_all(connection) if one.name == "other")
        with scene.promises.changing((("model", "other"), None)):
            models.delete(connection, other)


@flow
def slow_jobs(scene: Scene) -> None:
    """Nine jobs of several kinds run at once."""
    for number in range(6):
        files = scene.contents(f"m{number}.dcm")
        scene.drop("plain", "ct", files, foreign=number % 3 == 2)
    scene.drop("plain", "ct", scene.contents("folder/0.dcm", "folder/1.dcm", "folder/2.dcm"))
    with scene.site.connect() as connection:
        long, _ = pipelines.create(connection, _definition("slow", "slow"))
        for number in range(2):
            job, payload = _create(scene, connection, f"mixed {number}", pipeline=long)
            files = scene.contents("a.dcm")
            _send(scene, connection, payload, files, inside="input/")
            _start(scene, connection, job, tuple(map(digest, files.values())))
    scene.site.rest(7)


# ------------------------------------------------------------------------------------- the calls


def _definition(name: str, image: str) -> list[DefinitionFile]:
    return [DefinitionFile(path="pipeline.yaml", content=definition(name, image))]


def _create(
    scene: Scene,
    connection: Connection,
    name: str,
    inputs: list[str] | None = None,
    *,
    pipeline: str | None = None,
) -> tuple[str, str]:
    chosen = pipeline or scene.site.pipeline("ct")
    job, payload = jobs.create(connection, chosen, name, inputs=inputs or [])
    scene.promises.answered(("job", job))
    scene.promises.answered(("payload", payload))
    return job, payload


def _start(scene: Scene, connection: Connection, job: str, inputs: tuple[str, ...] | bool) -> None:
    """Starts a job; `inputs` are the digests of its result, or True if they are not known."""
    with scene.promises.changing((("result", job), inputs)):
        jobs.start(connection, job, {})


def _send(
    scene: Scene,
    connection: Connection,
    payload: str,
    files: Mapping[str, bytes],
    *,
    inside: str = "",
) -> None:
    paths: dict[str, Path] = {}
    for number, (name, content) in enumerate(files.items()):
        paths[name] = scene.site.folder / f"upload-{number}"
        paths[name].write_bytes(content)
        paths[name].chmod(0o644)
    changes = [(("file", payload, inside + name), digest(c)) for name, c in files.items()]
    with scene.promises.changing(*changes):
        payloads.upload(connection, payload, paths, lambda _: None)


def _model(scene: Scene, name: str, size: int) -> tuple[Path, dict[str, str]]:
    """Creates the folder of a model to upload; returns it, and the digests of its files."""
    folder = scene.site.folder / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    contents = {
        "config.pbtxt": f'name: "{name}"\nplatform: "pytorch_libtorch"\n'.encode(),
        "1/weights": scene.content(size),
    }
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder, {path: digest(content) for path, content in contents.items()}
