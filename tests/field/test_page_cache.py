"""What was delivered does not stay in the memory of the system."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.field.case import case
from tests.rig.inbox import drop, inbox_rig, make_config

_SIZE = 8 << 20


def cached(path: Path) -> int:
    """Bytes of a file that are in the page cache."""
    found = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)],
        check=True, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    return int(found.stdout)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("a.dcm") if path.is_file()]


def is_memory(folder: Path) -> bool:
    found = subprocess.run(
        ["stat", "-fc", "%T", str(folder)], check=True, capture_output=True, text=True, timeout=20
    )
    return found.stdout.strip() in ("tmpfs", "ramfs")


@case(
    9,
    "Large results on a device whose GPU shares the memory of the system",
    source="ollama/ollama#12283 (a GPU that counts free memory alone)",
    outcome="Delivered files leave the page cache; `[outbox] drop_cache = false` keeps them there.",
)
@pytest.mark.parametrize("drops", [True, False])
async def test_delivered_files_leave_the_page_cache(tmp_path: Path, drops: bool) -> None:
    if is_memory(tmp_path):
        pytest.skip("files here have no other place than memory")
    async with inbox_rig(make_config(tmp_path / "state", drop_cache=drops)) as rig:
        await rig.register("ct")
        drop(tmp_path / "state/inbox/ct/a.dcm", bytes(range(256)) * (_SIZE // 256))
        (item,) = await rig.delivered()
        found = [cached(path) for path in files_in(Path(item.result_path or ""))]
        assert found
        assert any(found) is not drops
