"""Flows through the drop folder."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from claraedge.client import appliance
from claraedge.errors import ItemRetryError
from tests.powercut.flow import Scene, flow, flow_after

_SLICE = Path(pydicom.__file__).parent / "data/test_files/CT_small.dcm"


@flow
def file(scene: Scene) -> None:
    for number in range(3):
        scene.drop("plain", "ct", {f"a{number}.dcm": scene.content()})
    scene.site.rest(3)


@flow
def folder(scene: Scene) -> None:
    names = ("study/1.dcm", "study/x/2.dcm", "study/x/y/3.dcm", "study/x/y/4.dcm")
    scene.drop("plain", "ct", scene.contents(*names))
    scene.site.rest(1)


@flow
def foreign(scene: Scene) -> None:
    """Files of another user are copied, and the originals removed."""
    scene.drop("plain", "ct", scene.contents("b.dcm"), foreign=True)
    scene.drop("plain", "ct", scene.contents("tree/1.dcm", "tree/x/2.dcm"), foreign=True)
    scene.site.rest(2)


@flow
def study(scene: Scene) -> None:
    """The slices of two DICOM studies arrive mixed."""
    studies = [_study(), _study()]
    files = {
        f"{'in/' * (number % 2)}{which}-{number}.dcm": content
        for which, slices in enumerate(studies)
        for number, content in enumerate(slices)
    }
    inbox = scene.site.state / "inbox/study"
    items = [
        scene.promises.item("plain", scene.paths(inbox, _of(files, which)), slices)
        for which, slices in enumerate(studies)
    ]
    scene.site.drop(inbox, files)
    for item in items:
        item.promise()
    scene.site.rest(2)


def _of(files: dict[str, bytes], which: int) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if f"{which}-" in name}


def _study() -> list[bytes]:
    ids = generate_uid(), generate_uid()
    return [_slice(*ids) for _ in range(3)]


def _slice(study_id: str, series_id: str) -> bytes:
    data = pydicom.dcmread(_SLICE)
    data.StudyInstanceUID, data.SeriesInstanceUID = study_id, series_id
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    written = io.BytesIO()
    data.save_as(written)
    return written.getvalue()


@flow
def marker(scene: Scene) -> None:
    files, ready = scene.contents("a.dcm", "b.dcm", "x/c.dcm"), scene.content()
    inbox = scene.site.state / "inbox/mark"
    paths = [*scene.paths(inbox, files), inbox / "READY"]
    item = scene.promises.item("plain", paths, files.values(), [ready])
    scene.site.drop(inbox, files)
    scene.site.drop(inbox, {"READY": ready})
    item.promise()
    scene.site.rest(1)


@flow
def quiet(scene: Scene) -> None:
    scene.drop("plain", "quiet", scene.contents("a.dcm", "b.dcm", "x/c.dcm", "x/y/d.dcm"))
    scene.site.rest(1)


@flow
def duplicates(scene: Scene) -> None:
    """The same files are dropped again: one trigger links to the first result, another skips."""
    contents = {"link": scene.content(), "skip": scene.content()}
    for number in (1, 2):
        for trigger, content in contents.items():
            kind = "linked" if trigger == "link" else "skipped"
            scene.drop(kind, trigger, {f"{number}.dcm": content})
        scene.site.rest(2 * number)


@flow
def faulty(scene: Scene) -> None:
    """A folder is dropped that can never become a job."""
    bad = scene.site.state / "inbox/ct/bad"
    files = scene.contents("bad/1.dcm")
    item = scene.promises.item("faulty", [bad / "link", bad / "1.dcm"], files.values())
    bad.mkdir(mode=0o775)
    os.chown(bad, scene.site.user.pw_uid, scene.site.user.pw_gid)
    (bad / "link").symlink_to("/etc/passwd")
    scene.site.drop(bad.parent, files)
    item.promise()
    scene.site.rest(1)


@flow
def zero(scene: Scene) -> None:
    """The original of the item is not kept."""
    scene.drop("unkept", "zero", scene.contents("z.dcm"))
    scene.site.rest(1)


@flow_after(lambda _: None)
def first(scene: Scene) -> None:
    """The daemon starts for the first time, on an empty state."""
    scene.site.start("first-boot")
    scene.drop("plain", "ct", scene.contents("a.dcm"))
    scene.site.rest(1)


@flow
def retry(scene: Scene) -> None:
    """Jobs of a file and of a folder fail; after the repair they are retried."""
    scene.drop("retried", "flaky", scene.contents("f.dcm"))
    scene.drop("retried", "flaky", scene.contents("tree/1.dcm", "tree/x/2.dcm"))
    scene.site.rest(2)
    retry_failed(scene)
    scene.site.rest(4)


def retry_failed(scene: Scene) -> None:
    """Retries failed items as a user does, and repeats retries that a power cut interrupted."""
    (scene.site.folder / "repaired").touch()
    failed = scene.site.rows(
        "SELECT id FROM inbox_items WHERE state = 'failed' AND pipeline = 'flaky'"
        " AND reason NOT LIKE 'tried again%'"
    )
    with scene.site.connect() as connection:
        for row in failed:
            try:
                appliance.retry_item(connection, row["id"])
            except ItemRetryError as error:  # an earlier, unanswered call has put it back
                known = ("any more", "is there already")
                if not any(words in str(error) for words in known):
                    raise
