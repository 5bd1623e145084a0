"""Whatever is uploaded as a model, or lies where models lie, is refused or removed."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.client import models
from claraedge.client.connection import Connection
from claraedge.errors import InvalidModelError
from tests.rig.waiting import until
from tests.robustness.hostile_site import canaries, killed_and_started, recorded
from tests.robustness.hostile_trees import MANY, PATIENCE, TIMEOUT, TREES
from tests.robustness.site import Site, site

pytestmark = pytest.mark.timeout(TIMEOUT)

#: An archive of a model has at most 10,000 entries.
FILES = min(MANY, 9_000)

SOUND = {"m/config.pbtxt": b'name: "m"\n', "m/1/model.onnx": b"weights"}


@pytest.fixture
def daemon() -> Iterator[Site]:
    with site() as served:
        yield served


def special(name: str, mode: int, content: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, content


def archives(canary: Path) -> dict[str, list[tuple[zipfile.ZipInfo | str, bytes]]]:
    """Entries that come with those of a sound model."""
    target = bytes(canary / "kept")
    return {
        "deep": [("m/1/" + "d/" * 1500 + "file", b"1")],
        "long": [("m/1/" + ("n" * 250 + "/") * 60 + "file", b"1")],
        "up": [("m/1/../../../../../escaped", b"1")],
        "absolute": [("/tmp/escaped", b"1")],
        "link": [special("m/1/link", stat.S_IFLNK | 0o777, target)],
        "through a link": [
            special("m/1/out", stat.S_IFLNK | 0o777, bytes(canary)),
            ("m/1/out/kept", b"changed"),
        ],
        "pipe": [special("m/1/pipe", stat.S_IFIFO | 0o666, b"")],
        "device": [special("m/1/null", stat.S_IFCHR | 0o666, b"")],
        "twice": [("m/1/a", b"1"), ("m/1/a/b", b"1")],
        "swollen": [("m/1/zeros", bytes(64 << 20))],
    }


def zipped(path: Path, more: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in (*SOUND.items(), *more):
            made.writestr(name, content, zipfile.ZIP_DEFLATED)
    path.write_bytes(data.getvalue())
    return path


def upload(served: Site, path: Path) -> str:
    with Connection(served.target) as connection:
        return models.upload(connection, path, "UNKNOWN", lambda _: None)[0].id


def test_hostile_models_are_refused_and_leave_nothing(daemon: Site) -> None:
    before, folder = canaries(daemon), daemon.folder
    refused = []
    for name, more in archives(folder / "canary").items():
        try:
            upload(daemon, zipped(folder / "model.zip", more))
        except InvalidModelError:
            refused.append(name)
    assert set(refused) >= archives(folder / "canary").keys() - {"swollen"}
    many = [(f"m/1/{number}", b"") for number in range(FILES)]
    model = upload(daemon, zipped(folder / "model.zip", [*many]))
    assert daemon.temporary() == []
    assert recorded(folder / "canary") == before
    daemon.check_log()

    # What an older version of the model, and a stream that broke, may leave.
    for number, tree in enumerate(TREES.values(), 7):
        (daemon.state / "models" / model / str(number)).mkdir()
        tree(daemon.state / "models" / model / str(number), folder / "canary")
        staged = daemon.state / "models" / "staging" / f"{number:032x}"
        staged.mkdir()
        tree(staged, folder / "canary")
    killed_and_started(daemon)
    versions = daemon.state / "models" / model
    until(
        "only its version is left", lambda: [p.name for p in versions.iterdir()] == ["1"], PATIENCE
    )
    assert daemon.temporary() == []
    assert len(list((versions / "1" / "m" / "1").iterdir())) == FILES + 1
    assert upload(daemon, zipped(folder / "model.zip", [])) == model
    with Connection(daemon.target) as connection:
        models.delete(connection, model)
    until("nothing is left of it", lambda: not versions.exists(), PATIENCE)
    assert recorded(folder / "canary") == before
    daemon.check_log()
