"""NVML's figures through the real nvidia-ml-py, against a library that says what a test wants."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from stub_driver import CARD, MIB, ORIN, Driver

from claraedge.gpu.nvml import Nvml
from claraedge.gpu.telemetry import GpuReading, Memory, PciAddress

THE_CARD = GpuReading(
    index=0,
    name="NVIDIA RTX A4000",
    pci=PciAddress(domain=0, bus=1, device=0),
    compute_utilization=0.37,
    memory=Memory(free=12000 * MIB, used=4000 * MIB),
    bar1=Memory(free=250 * MIB, used=6 * MIB),
    pids=(4711, 4712, 4713),
)


def test_every_figure_of_a_card_is_read(driver: Driver) -> None:
    driver.answers(CARD)
    assert driver.read() == [THE_CARD]
    assert driver.log() == ["the NVIDIA driver answers"]


def test_an_idle_card_computes_0_which_is_not_unknown(driver: Driver) -> None:
    driver.answers(CARD, utilization="0 0", compute="0", graphics="0")
    (reading,) = driver.read()
    assert reading.compute_utilization == 0.0
    assert reading.pids == ()


@pytest.mark.parametrize(
    ("figure", "field"),
    [
        ("name", "name"),
        ("pci", "pci"),
        ("utilization", "compute_utilization"),
        ("memory", "memory"),
        ("bar1", "bar1"),
    ],
)
@pytest.mark.parametrize("code", [3, 4, 999, 1234])  # not supported, no permission, unknown, new
def test_a_figure_that_the_driver_does_not_know_is_none_and_the_others_stay(
    driver: Driver, figure: str, field: str, code: int
) -> None:
    driver.answers(CARD, **{figure: f"{code}"})
    (reading,) = driver.read()
    assert getattr(reading, field) is None
    others = {name for name in GpuReading.__slots__ if name != field}
    assert {n: getattr(reading, n) for n in others} == {n: getattr(THE_CARD, n) for n in others}


def test_processes_are_known_where_one_of_the_two_kinds_is(driver: Driver) -> None:
    driver.answers(CARD, graphics="3")
    assert driver.read()[0].pids == (4711, 4712)
    driver.answers(CARD, graphics="3", compute="3")
    assert driver.read()[0].pids is None


def test_process_numbers_that_stand_for_none_are_left_out(driver: Driver) -> None:
    driver.answers(CARD, compute="0 0 4294967295 4711", graphics="0")
    assert driver.read()[0].pids == (4711,)


def test_an_older_driver_reports_its_processes_as_well(bare_driver: Driver) -> None:
    bare_driver.build("-DOLD_DRIVER")
    bare_driver.answers(CARD)
    assert bare_driver.read() == [THE_CARD]


@pytest.mark.parametrize(
    ("figure", "answer", "field"),
    [
        ("utilization", "0 4294967295", "compute_utilization"),
        ("memory", "0 0 0 0", "memory"),
        ("memory", f"0 {MIB} {MIB} {MIB}", "memory"),
        ("bar1", "0 0 0 0", "bar1"),
        ("pci", "0 4294967295 4294967295 4294967295", "pci"),
    ],
)
def test_a_figure_that_cannot_be_is_unknown(
    driver: Driver, figure: str, answer: str, field: str
) -> None:
    driver.answers(CARD, **{figure: answer})
    assert getattr(driver.read()[0], field) is None


def test_a_jetson_is_found_with_nothing_known_but_its_name(driver: Driver) -> None:
    driver.answers(ORIN)
    for _ in range(3):
        assert driver.read() == [GpuReading(index=0, name="Orin (nvgpu)")]
    logged = [event for event in driver.log() if event.startswith("GPU figure unknown")]
    assert sorted(logged) == sorted(
        f"GPU figure unknown {figure} Not Supported"
        for figure in (
            "PCI address",
            "utilization",
            "memory",
            "BAR 1",
            "computing processes",
            "drawing processes",
        )
    )


def test_without_the_library_there_is_no_gpu_and_the_log_says_so_once(bare_driver: Driver) -> None:
    assert [bare_driver.read() for _ in range(3)] == [[], [], []]
    assert bare_driver.log() == ["no NVIDIA driver: its library libnvidia-ml.so.1 is missing"]


def test_a_library_without_a_driver_is_no_gpu_until_the_driver_is_there(driver: Driver) -> None:
    driver.answers(CARD, init="9")
    assert [driver.read(), driver.read()] == [[], []]
    driver.answers(CARD)
    assert driver.read() == [THE_CARD]
    assert driver.log() == [
        "the NVIDIA driver does not answer: Driver Not Loaded",
        "the NVIDIA driver answers",
    ]


def test_a_driver_that_is_installed_while_the_daemon_runs_is_found(bare_driver: Driver) -> None:
    assert bare_driver.read() == []
    bare_driver.build()
    bare_driver.answers(CARD)
    assert bare_driver.read() == [THE_CARD]


def test_the_library_is_started_once_and_shut_down_at_the_end(driver: Driver) -> None:
    driver.answers(CARD)
    for _ in range(5):
        driver.read()
    assert (driver.calls("init"), driver.calls("shutdown")) == (1, 0)
    driver.close()
    driver.close()
    assert (driver.calls("init"), driver.calls("shutdown")) == (1, 1)


@pytest.mark.parametrize("figure", ["handle", "utilization", "memory", "compute"])
@pytest.mark.parametrize("code", [15, 16])  # lost; needs a reset
def test_a_lost_gpu_is_known_by_its_index_only_said_once_and_found_again(
    driver: Driver, figure: str, code: int
) -> None:
    driver.answers(CARD)
    assert driver.read() == [THE_CARD]
    driver.answers(CARD, **{figure: f"{code}"})
    for _ in range(3):
        assert driver.read() == [GpuReading(index=0)]
    driver.answers(CARD)
    assert driver.read() == [THE_CARD]
    about_it = [event.split(" ", 2)[:2] for event in driver.log() if event.startswith("GPU ")]
    assert about_it == [["GPU", "lost"], ["GPU", "answers"]]
    # The library knows the GPUs of its start, so it was started again.
    assert driver.calls("init") == 4


def test_a_lost_gpu_leaves_the_figures_of_the_other(driver: Driver) -> None:
    second = CARD.replace(" 0 0", " 1 0", 99).replace("count - 0 1", "")
    both = CARD.replace("count - 0 1", "count - 0 2") + "\n".join(
        line for line in second.splitlines() if line.split()[1:2] == ["1"]
    )
    driver.answers(both, handle="15")
    (driver.folder / "answers").write_text((driver.folder / "answers").read_text() + "handle 1 0\n")
    lost, other = driver.read()
    assert lost == GpuReading(index=0)
    assert (other.index, other.compute_utilization) == (1, 0.37)


def test_a_driver_that_disappears_is_no_gpu_until_it_is_back(driver: Driver) -> None:
    driver.answers(CARD)
    driver.read()
    driver.answers(CARD, count="999")
    assert driver.read() == []
    driver.answers(CARD)
    assert driver.read() == [THE_CARD]
    assert driver.log() == [
        "the NVIDIA driver answers",
        "the NVIDIA driver does not answer any more (Unknown Error): see `sudo dmesg`",
        "the NVIDIA driver answers",
    ]


@pytest.mark.gpu
def test_the_real_driver_agrees_with_its_own_tool() -> None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        pytest.skip("no NVIDIA driver on this machine")
    asked = subprocess.run(
        [tool, "--query-gpu=index,name,memory.total,pci.bus", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
    )
    if asked.returncode != 0:
        pytest.skip(f"no GPU: {asked.stdout.strip()}")
    nvml = Nvml()
    readings = nvml.read()
    nvml.close()
    lines = [[part.strip() for part in line.split(",")] for line in asked.stdout.splitlines()]
    assert [(str(r.index), r.name) for r in readings] == [(line[0], line[1]) for line in lines]
    for reading, (_, _, total, bus) in zip(readings, lines, strict=True):
        if total.isdigit():
            assert reading.memory is not None
            assert abs((reading.memory.free + reading.memory.used) // MIB - int(total)) <= 1
        if bus.startswith("0x"):
            assert reading.pci is not None
            assert reading.pci.bus == int(bus, 16)
        assert reading.compute_utilization is None or 0 <= reading.compute_utilization <= 1
