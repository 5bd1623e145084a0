from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stub_driver import Driver


@pytest.fixture
def bare_driver(tmp_path: Path) -> Iterator[Driver]:
    """No library yet."""
    folder = tmp_path / "driver"
    folder.mkdir()
    driver = Driver(folder)
    yield driver
    driver.end()


@pytest.fixture
def driver(bare_driver: Driver) -> Driver:
    bare_driver.build()
    return bare_driver


@pytest.fixture
def tegra_files(tmp_path: Path) -> Callable[..., Path]:
    """Makes the files of a Jetson below a folder."""

    def make(load: str | None = "sys/devices/platform/gpu.0/load", value: str = "421\n") -> Path:
        root = tmp_path / "jetson"
        for path, content in {
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n",
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/meminfo": "MemTotal:        7810000 kB\nMemFree:          100000 kB\n"
            "MemAvailable:    5810000 kB\nHugePages_Total:       0\n",
            **({load: value} if load else {}),
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
        return root

    return make
