"""Reading an image to compare it, where what reads it does not get on."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.images import integrity
from claraedge.runner.images.integrity import Integrity
from claraedge.runner.images.layers import Layer
from tests.rig.waiting import eventually


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    """A layer of one file."""
    diff = tmp_path / "diff"
    diff.mkdir()
    (diff / "a").write_bytes(b"content")
    header = base64.b64encode(bytes(512)).decode()
    lines = [
        {"type": 2, "payload": header},
        {"type": 1, "name": "a", "size": 7, "payload": "AAAA"},
    ]
    notes = tmp_path / "notes.gz"
    notes.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return Layer(id="0" * 64, diff=diff, notes=notes, digest="sha256:0")


class Host:
    """Where images lie that have this one layer."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    async def image_folder(self) -> Path:
        raise AssertionError("not asked for")

    def layers(self, _: str) -> list[Layer]:
        return [self._layer]


@pytest.fixture
def checks(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> Integrity:
    host = Host(layer)
    found = Integrity(host)  # type: ignore[arg-type]

    async def storage() -> Host:
        return host

    monkeypatch.setattr(found, "storage", storage)
    return found


async def test_what_reads_and_sends_nothing_is_ended_with_the_call(
    checks: Integrity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = tmp_path / "bin/podman"
    podman.parent.mkdir()
    podman.write_text(f"#!/bin/sh\n: > {tmp_path}/began\nexec sleep 600\n")
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{podman.parent}:/usr/bin:/bin")
    call = asyncio.create_task(checks.check("image", contents=True))
    await eventually((tmp_path / "began").exists, "the check began")
    async with asyncio.timeout(20):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_disk_that_fails_is_no_damage_and_says_so(
    checks: Integrity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(integrity, "_sizes", fails)
    with pytest.raises(RunnerUnavailableError, match="Input/output error"):
        await checks.check("image", contents=False)
