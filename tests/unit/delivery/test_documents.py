"""result.json and reason.json say what came in, what ran and what came out."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest

from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.rig.inbox import document, drop, inbox_rig, make_config, tree_of


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_result_json_has_all(tmp_path: Path) -> None:
    async with inbox_rig(make_config(tmp_path)) as rig:
        pipeline = await rig.register("ct")
        drop(tmp_path / "inbox/ct/study/a/1.dcm", b"one")
        drop(tmp_path / "inbox/ct/study/2.dcm", b"zwei")
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
    folder = Path(str(item.result_path))
    result = document(folder / "result.json")
    assert result["inputs"] == [
        {"path": "2.dcm", "size": 4, "sha256": sha256(b"zwei")},
        {"path": "a/1.dcm", "size": 3, "sha256": sha256(b"one")},
    ]
    assert {(f["path"], f["size"], f["sha256"]) for f in result["files"]} == {
        (name.replace("\udcff", "\\xff"), len(content), sha256(content))
        for name, content in tree_of(folder).items()
        if name != "result.json"
    }
    assert [(o["name"], o["status"], o["exit_code"], o["image"], o["image_id"], o["attempts"])
            for o in result["operators"]] == [
        ("first", "COMPLETED", 0, "copy:latest", "f" * 64, 1),
        ("last", "COMPLETED", 0, "copy:latest", "f" * 64, 1),
    ]  # fmt: skip
    assert {key: result[key] for key in ("version", "job_id", "payload_id", "pipeline_id")} == {
        "version": 1, "job_id": job.id, "payload_id": job.payload, "pipeline_id": pipeline,
    }  # fmt: skip
    assert result["item"] == {
        "item_id": item.id,
        "name": "study",
        "name_base64": base64.b64encode(b"study").decode(),
        "folder": str(tmp_path / "inbox/ct"),
        "first_seen": result["item"]["first_seen"],
    }
    times = [result["item"]["first_seen"], result["created"], result["stopped"]]
    assert times == sorted(times)
    assert result["delivered"] >= result["stopped"]


@pytest.mark.parametrize("status", [JobStatus.HEALTHY, JobStatus.FAULTED])
@pytest.mark.parametrize("name", ["result.json", "reason.json", "original", "logs", "-rf"])
async def test_names_that_the_folder_has_itself_collide_with_nothing(
    tmp_path: Path, name: str, status: JobStatus
) -> None:
    async with inbox_rig(make_config(tmp_path), status=status) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct" / name, b"what was dropped")
        (item,) = await rig.delivered()
    folder = Path(str(item.result_path))
    healthy = status is JobStatus.HEALTHY
    found = document(folder / ("result.json" if healthy else "reason.json"))
    assert (found["item"]["name"], found["status"]) == (name, status.name)
    original = folder / "original"
    if healthy:
        original = tmp_path / "originals" / folder.relative_to(tmp_path / "outbox")
        assert (folder / "last/Left" / name).read_bytes() == b"what was dropped"
    assert tree_of(original) == {name: b"what was dropped"}


async def test_a_name_that_is_not_utf8_is_shown_byte_by_byte(tmp_path: Path) -> None:
    raw = b"caf\xe9\n.dcm"
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct" / os.fsdecode(raw), b"content")
        (item,) = await rig.delivered()
    assert item.state is ItemState.FAILED
    folder = Path(str(item.result_path))
    reason = document(folder / "reason.json")
    assert base64.b64decode(reason["name_base64"]) == raw
    assert reason["item"] == "caf\\xe9\n.dcm"
    assert (folder / "original" / os.fsdecode(raw)).read_bytes() == b"content"


LONG = """\
api-version: 0.4.0
name: {{name}}
operators:
- name: {long}
  container: {{{{image: copy}}}}
  input: [{{{{path: /in}}}}]
  output: [{{{{path: /out}}}}]
"""


async def test_a_failure_of_an_operator_with_the_longest_name_is_delivered(tmp_path: Path) -> None:
    long = "n" * 255
    async with inbox_rig(make_config(tmp_path), status=JobStatus.FAULTED) as rig:
        await rig.register("ct", LONG.format(long=long))
        drop(tmp_path / "inbox/ct/scan.dcm")
        (item,) = await rig.delivered()
    folder = Path(str(item.result_path))
    assert [path.name for path in (folder / "logs").iterdir()] == [f"{'n' * 200}-0.log"]
    assert document(folder / "reason.json")["operators"][0]["name"] == long
