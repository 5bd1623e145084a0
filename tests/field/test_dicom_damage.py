"""No content of a file makes the DICOM reader raise, hang, or use memory without bound."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.field.case import case

ROOT = Path(__file__).resolve().parents[2]
SEEDS, COUNT = (range(20), 20_000) if CAMPAIGN else (range(1), 10_000)


@case(
    8,
    "files that were damaged at random",
    source="dcmjs-org/dcmjs#326; fo-dicom/fo-dicom#1009; dgobbi/vtk-dicom#201",
    outcome="Each is of a study or refused, in bounded time and memory.",
    tools=("pydicom",),
)
@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_damage_costs_neither_time_nor_memory(seed: int, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.field.dicom_damage", str(seed), str(COUNT)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=590,
    )
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)
    print(ended.stdout)
    assert figures["slowest"] < 3
    assert figures["growth_kib"] < 64 << 10
    assert len(figures["ends"]) > 5
