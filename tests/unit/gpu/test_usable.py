"""When a GPU is tried, and what is remembered of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claraedge.gpu import cdi
from claraedge.gpu.usable import UsableGpus
from claraedge.runner.memory import MemoryRunner

KIND = "nvidia.com/gpu"
FIRST, SECOND = f"{KIND}=0", f"{KIND}=1"
MARK = {"a": "b"}
DENIED = "its user cannot open /dev/nvidia0"


class Machine:
    """One with CDI specs of its own, and a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "nvidia.json"
        self.time = 0.0
        self.runner = MemoryRunner()
        self.gpus = UsableGpus(self.runner, KIND, MARK, now=lambda: self.time)

    def write(self, *names: str, node: str = "/dev/null") -> None:
        edits = {"deviceNodes": [{"path": node}]}
        devices = [{"name": name, "containerEdits": edits} for name in names]
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": KIND, "devices": devices}))
        new.replace(self.path)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for function in (cdi.devices, cdi.state, cdi.entries, cdi.faulty_files):
        defaults = (*(function.__defaults__ or ())[:-1], (tmp_path,))
        monkeypatch.setattr(function, "__defaults__", defaults)
    for name in ("none_seen", "by_spec", "unresolved"):
        function = getattr(__import__("claraedge.gpu.faults", fromlist=[name]), name)
        monkeypatch.setattr(function, "__defaults__", ((tmp_path,),))
    return Machine(tmp_path)


async def test_a_gpu_is_tried_once_as_long_as_nothing_changes(machine: Machine) -> None:
    assert await machine.gpus.faults() == {}
    machine.write("0", "1")
    for _ in range(3):
        assert await machine.gpus.faults() == {}
        machine.time += 1000
    assert machine.runner.tried == [(FIRST, MARK), (SECOND, MARK)]
    machine.write("0", node="/dev/zero")
    assert await machine.gpus.faults() == {}
    assert machine.runner.tried[2:] == [(FIRST, MARK)]


async def test_one_that_cannot_be_used_is_tried_again_after_some_seconds(machine: Machine) -> None:
    machine.write("0", "1")
    machine.runner.unusable[FIRST] = DENIED
    assert await machine.gpus.faults() == {FIRST: DENIED}
    assert machine.gpus.without_faults((FIRST, SECOND)) == (SECOND,)
    assert machine.gpus.without_faults((FIRST,)) == (FIRST,)  # who asks for it is refused by name
    machine.runner.unusable.clear()
    machine.time += 9
    assert await machine.gpus.faults() == {FIRST: DENIED}
    machine.time += 2
    assert await machine.gpus.faults() == {}


async def test_a_gpu_that_a_container_could_not_have_is_tried_at_once(machine: Machine) -> None:
    machine.write("0", "1")
    assert await machine.gpus.faults() == {}
    machine.runner.unusable[SECOND] = DENIED
    assert await machine.gpus.try_again([FIRST]) is None
    assert await machine.gpus.try_again([FIRST, SECOND]) == DENIED
    assert await machine.gpus.faults() == {SECOND: DENIED}


async def test_without_podman_nothing_is_said_of_a_gpu(machine: Machine) -> None:
    machine.write("0")
    machine.runner.available = False
    assert await machine.gpus.faults() == {}
    machine.runner.available = True
    machine.runner.unusable[FIRST] = DENIED
    assert await machine.gpus.faults() == {FIRST: DENIED}


async def test_what_its_spec_shows_needs_no_try(machine: Machine) -> None:
    machine.write("0", node="/dev/nothing-such")
    assert "/dev/nothing-such of" in (await machine.gpus.faults())[FIRST]
    assert machine.runner.tried == []


async def test_a_spec_that_cannot_be_read_stands_for_all(machine: Machine) -> None:
    machine.path.write_text("{")
    assert "nvidia.json" in (await machine.gpus.faults())[KIND]


async def test_a_podman_that_does_not_answer_changes_nothing(machine: Machine) -> None:
    machine.write("0")
    machine.runner.unusable[FIRST] = DENIED
    assert await machine.gpus.faults() == {FIRST: DENIED}
    machine.runner.available = False
    machine.time += 1000
    assert await machine.gpus.faults() == {FIRST: DENIED}
    assert len(machine.runner.tried) == 1
