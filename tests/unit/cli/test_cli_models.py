"""Models from the command line, against the service itself."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.client import connect, models
from tests.rig.models_repository import served_repository


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a served repository that CLARAEDGE_HOST points to."""
    with served_repository() as state:
        monkeypatch.setenv("CLARAEDGE_HOST", f"unix:{state}/s.sock")
        yield state / "models"


@pytest.fixture
def lung(tmp_path: Path) -> Path:
    return model(tmp_path / "lung")


def model(folder: Path) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(f'name: "{folder.name}"\nplatform: "ensemble"\n')
    (folder / "1" / "model.pt").write_bytes(os.urandom(3 * 2**20))
    (folder / "2").mkdir()
    return folder


def test_a_folder_becomes_a_model(repository, claraedge, lung) -> None:
    answer = claraedge("create", "model", "-p", lung, "-t", "pytorch")
    assert answer.code == 0, answer.err
    label, _, model_id = answer.out.strip().partition(":")
    assert label == "MODEL_ID"
    stored = repository / model_id / "1" / "lung"
    assert (stored / "1/model.pt").read_bytes() == (lung / "1/model.pt").read_bytes()
    assert (stored / "2").is_dir()
    assert claraedge("list", "models").out.splitlines() == [
        f"NAME  {'ID':32}  TYPE",
        f"lung  {model_id}  pytorch",
    ]
    assert claraedge("list", "model", "-q").out == f"{model_id}\n"


def test_raw_and_json_answers_are_for_scripts(repository, claraedge, lung) -> None:
    model_id = claraedge("create", "model", "-p", lung, "-t", "tensorrt", "--raw").out.strip()
    again = claraedge("create", "models", "-p", lung, "-t", "tensorflow", "--output", "json")
    assert json.loads(again.out) == {
        "model_id": model_id,
        "name": "lung",
        "type": "TENSOR_FLOW",
        "warnings": [],
    }
    listed = claraedge("list", "models", "--output", "json")
    assert json.loads(listed.out) == {
        "models": [{"id": model_id, "name": "lung", "type": "TENSOR_FLOW", "metadata": {}}]
    }


def test_the_folder_may_be_given_as_a_link_a_dot_or_a_zip(
    repository, claraedge, lung, monkeypatch, tmp_path
) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as made:
        made.write(lung / "config.pbtxt", "lung/config.pbtxt")
        made.write(lung / "1/model.pt", "lung/1/model.pt")
    (tmp_path / "real").mkdir()
    lung.rename(tmp_path / "real/lung-2")
    lung.symlink_to(tmp_path / "real/lung-2")
    linked = claraedge("create", "model", "-p", f"{lung}/", "-t", "unknown", "-r")
    lung.unlink()
    (tmp_path / "real/lung-2").rename(lung)
    monkeypatch.chdir(lung)
    first = claraedge("create", "model", "-p", ".", "-t", "unknown", "-r")
    second = claraedge("create", "model", "-p", tmp_path / "m.zip", "-t", "unknown", "-r")
    assert (first.code, second.code, first.out) == (0, 0, second.out)
    assert (linked.code, linked.out) == (0, first.out)


def test_what_is_left_out_of_a_folder_is_reported_and_not_sent(repository, claraedge, lung) -> None:
    (lung / ".git/objects").mkdir(parents=True)
    (lung / ".git/objects/pack").write_bytes(bytes(2**20))
    (lung / "1/.DS_Store").write_bytes(b"x")
    (lung / "1/__pycache__").symlink_to(lung)
    counted: list[int] = []
    with connect() as connection:
        _, notes = models.upload(connection, lung, "UNKNOWN", counted.append)
    assert sum(counted) == models.size_of(lung) < 4 * 2**20
    assert list(notes) == [
        "left out 3 names that are not part of the model: .git, 1/.DS_Store, 1/__pycache__"
    ]
    answer = claraedge("create", "model", "-p", lung, "-t", "unknown")
    assert answer.code == 0
    assert f"claraedge: warning: {notes[0]}\n" in answer.err


def test_progress_counts_every_byte_once(repository, lung) -> None:
    counted: list[int] = []
    with connect() as connection:
        models.upload(connection, lung, "UNKNOWN", counted.append)
    assert sum(counted) == models.size_of(lung) > 3 * 2**20


@pytest.mark.parametrize(
    "what", ["no config", "a file", "a FIFO", "a link", "a wrong name", "a folder above", "half"]
)
def test_what_is_no_model_is_refused_with_a_text(repository, claraedge, lung, tmp_path, what):
    path, text = lung, ""
    if what == "no config":
        (lung / "config.pbtxt").unlink()
        text = "holds no config.pbtxt"
    elif what == "a file":
        path, text = lung / "1/model.pt", "neither a folder nor a zip archive"
    elif what == "a FIFO":
        os.mkfifo(lung / "1/pipe")
        text = f"{lung}/1/pipe: is neither a file nor a folder"
    elif what == "a link":
        (lung / "3").symlink_to(lung / "1")
        text = f"{lung}/3: is a link to a folder"
    elif what == "a folder above":
        path, text = lung.parent, f"claraedge create model -p {lung} -t TYPE"
    elif what == "half":
        (lung / "1/model.onnx.part").write_bytes(b"half")
        text = f"{lung}/1/model.onnx.part has the name of a file that is still being copied"
    else:
        (lung / "config.pbtxt").write_text('name: "liver"\n')
        text = "config.pbtxt has the name 'liver', the model 'lung'"
    answer = claraedge("create", "model", "-p", path, "-t", "unknown")
    assert answer.code in (1, 2)
    assert text in answer.err
    assert claraedge("list", "models", "-q").out == ""


def test_models_are_deleted_by_id_or_its_beginning(repository, claraedge, tmp_path) -> None:
    ids = [
        claraedge("create", "model", "-p", model(tmp_path / n), "-t", "unknown", "-r").out.strip()
        for n in ("a", "b", "c")
    ]
    beginning = next(ids[1][:n] for n in range(1, 33) if not ids[0].startswith(ids[1][:n])
                     and not ids[2].startswith(ids[1][:n]))  # fmt: skip
    answer = claraedge("delete", "models", ids[0], beginning, ids[0].upper())
    assert (answer.code, answer.out.split()) == (0, ids[:2])
    assert claraedge("list", "models", "-q").out.split() == ids[2:]
    answer = claraedge("delete", "model", ids[2], "--output", "json")
    assert json.loads(answer.out) == {"deleted": [ids[2]]}


def test_a_mistake_in_one_id_deletes_nothing(repository, claraedge, lung) -> None:
    model_id = claraedge("create", "model", "-p", lung, "-t", "unknown", "-r").out.strip()
    for wrong, code in (("0" * 32, 1), ("no id", 2)):
        answer = claraedge("delete", "models", model_id, wrong)
        assert (answer.code, answer.out) == (code, "")
        assert "claraedge list models" in answer.err
    assert claraedge("list", "models", "-q").out.strip() == model_id
