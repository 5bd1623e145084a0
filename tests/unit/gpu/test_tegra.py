"""The integrated GPU's figures from files, alone and filling what NVML does not know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from stub_driver import CARD, ORIN, Driver

from claraedge.gpu.tegra import Tegra
from claraedge.gpu.telemetry import GpuReading, Memory

UNIFIED = Memory(free=5810000 * 1024, used=2000000 * 1024)
MODEL = "NVIDIA Jetson Orin Nano Developer Kit"


@pytest.mark.parametrize(
    "load",
    [
        "sys/devices/platform/gpu.0/load",
        "sys/devices/gpu.0/load",
        "sys/devices/platform/17000000.gpu/load",
        "sys/devices/platform/bus@0/17000000.gpu/load",
        "sys/devices/17000000.ga10b/load",
        "sys/devices/platform/17000000.ga10b/load",
        "sys/devices/17000000.gv11b/load",
        "sys/devices/17000000.gp10b/load",
        "sys/devices/57000000.gm20b/load",
        "sys/class/devfreq/17000000.ga10b/device/load",
    ],
)
def test_the_load_is_found_wherever_a_jetpack_puts_it(
    tegra_files: Callable[..., Path], load: str
) -> None:
    tegra = Tegra(tegra_files(load))
    assert list(tegra.read()) == [
        GpuReading(index=0, name=MODEL, compute_utilization=0.421, memory=UNIFIED)
    ]


def test_an_idle_gpu_has_a_load_of_0(tegra_files: Callable[..., Path]) -> None:
    assert Tegra(tegra_files(value="0\n")).read()[0].compute_utilization == 0.0


@pytest.mark.parametrize("value", ["", "none\n", "-1\n", "1001\n"])
def test_a_load_that_cannot_be_is_unknown(tegra_files: Callable[..., Path], value: str) -> None:
    assert Tegra(tegra_files(value=value)).read()[0].compute_utilization is None


def test_without_a_file_of_the_load_it_is_unknown_and_the_log_says_so_once(
    tegra_files: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    tegra = Tegra(tegra_files(load=None))
    with caplog.at_level(logging.INFO):
        assert [tegra.read()[0].compute_utilization for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    assert tegra.read()[0].memory == UNIFIED


def test_a_tegra_is_known_by_its_device_tree_as_well(tegra_files: Callable[..., Path]) -> None:
    root = tegra_files()
    (root / "etc/nv_tegra_release").unlink()
    assert not Tegra(root).present()
    assert list(Tegra(root).read()) == []
    (root / "proc/device-tree/compatible").write_bytes(b"nvidia,p3767-0005\0nvidia,tegra234\0")
    assert Tegra(root).present()
    assert Tegra(root).read()[0].compute_utilization == 0.421


@pytest.mark.parametrize("missing", ["MemTotal", "MemAvailable"])
def test_memory_is_unknown_without_either_half(
    tegra_files: Callable[..., Path], missing: str
) -> None:
    root = tegra_files()
    meminfo = root / "proc/meminfo"
    meminfo.write_text(meminfo.read_text().replace(missing, "Mem"))
    assert Tegra(root).read()[0].memory is None


def test_a_jetsons_gaps_are_filled_and_what_nvml_knows_stays(
    driver: Driver, tegra_files: Callable[..., Path]
) -> None:
    root = tegra_files()
    driver.answers(ORIN)
    filled = GpuReading(index=0, name="Orin (nvgpu)", compute_utilization=0.421, memory=UNIFIED)
    assert driver.read(root) == [filled]
    driver.answers(ORIN, utilization="0 0")
    assert driver.read(root)[0].compute_utilization == 0.0


def test_a_jetson_without_nvml_is_one_gpu(
    bare_driver: Driver, tegra_files: Callable[..., Path]
) -> None:
    (reading,) = bare_driver.read(tegra_files())
    assert (reading.name, reading.compute_utilization, reading.memory) == (MODEL, 0.421, UNIFIED)


def test_a_card_next_to_the_integrated_gpu_keeps_its_own_gaps(
    driver: Driver, tegra_files: Callable[..., Path]
) -> None:
    driver.answers(
        CARD.replace("count - 0 1", "count - 0 2") + "handle 1 0\nname 1 0 Orin (nvgpu)\n",
        utilization="3",
    )
    card, integrated = driver.read(tegra_files())
    assert card.compute_utilization is None
    assert integrated.compute_utilization == 0.421


def test_on_no_tegra_nothing_is_filled(driver: Driver, tmp_path: Path) -> None:
    driver.answers(ORIN)
    (reading,) = driver.read(tmp_path / "nothing")
    assert (reading.compute_utilization, reading.memory) == (None, None)
