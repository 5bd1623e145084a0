"""The demo never waits for room on a disk: it fits, or says at once that it does not."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "build" / "lib"))
import demo

from claraedge.config import load_config

_GIB = 1 << 30


def disk(free: int, limit: int = 512 << 20) -> dict[str, object]:
    return {"name": "the state folder /s", "free": free, "soft_limit": limit, "total": 99 * _GIB}


def test_its_limits_are_small_and_those_of_a_valid_configuration(tmp_path: Path) -> None:
    file = tmp_path / "claraedge.toml"
    file.write_text(demo.CONFIG)
    found = load_config(file, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {}).disk
    assert tomllib.loads(demo.CONFIG)["disk"] == {"soft_mb": 512, "hard_mb": 128}
    assert (found.soft_mb, found.hard_mb) == (512, 128)


def test_with_room_it_goes_on() -> None:
    demo.check_room([disk(512 << 20), disk(50 * _GIB)])


def test_without_room_it_says_how_much_is_there_and_what_to_do() -> None:
    with pytest.raises(demo.DemoError) as caught:
        demo.check_room([disk(50 * _GIB), disk(300 << 20)])
    assert str(caught.value) == (
        "too little room for the demo: the disk of the state folder /s has 300 MiB free, and at"
        " least 512 must be. Free some there, and start build/demo again"
    )
