"""What requests mean, by the release that a site follows."""

from __future__ import annotations

import pytest

from claraedge.pipelines.model import ContainerDefinition, Operator, Requests
from claraedge.pipelines.requests import (
    MemoryRequest,
    OperatorRequests,
    Profile,
    memory,
    of_operator,
    out_of_memory,
)
from claraedge.pipelines.tmpfs import Tmpfs, TmpfsRule

V8 = Profile.CLARA_0_8


@pytest.mark.parametrize(
    ("profile", "written", "meaning"),
    [
        ("0.7", None, MemoryRequest(reserved=512, limit=None, written=False)),
        ("0.7", 2048, MemoryRequest(reserved=2048, limit=None, written=True)),
        ("0.8", None, MemoryRequest(reserved=1024, limit=1024, written=False)),
        ("0.8", 0, MemoryRequest(reserved=1024, limit=1024, written=False)),
        ("0.8", 64, MemoryRequest(reserved=64, limit=64, written=True)),
    ],
)
def test_memory(profile: str, written: int | None, meaning: MemoryRequest) -> None:
    assert memory(Requests(memory=written), Profile(profile)) == meaning


def test_cores_and_gpus_are_reserved_only_where_they_are_written() -> None:
    plain = Operator(name="a", container=ContainerDefinition(image="x"))
    found = of_operator(plain, V8, TmpfsRule())
    assert (found.cores, found.gpus, found.devices, found.slot) == (0, 0, 0, True)
    asking = Operator(
        name="a",
        container=ContainerDefinition(image="x"),
        requests=Requests(cpu=3, gpu=1, memory=1),
    )
    found = of_operator(asking, V8, TmpfsRule())
    assert (found.cores, found.gpus, found.devices) == (3, 1, 1)


def test_a_share_of_a_gpu_is_one_device_and_system_memory_only_where_both_are_one() -> None:
    sharing = Operator(
        name="a", container=ContainerDefinition(image="x"), requests=Requests(gpu_memory=300)
    )
    found = of_operator(sharing, Profile.CLARA_0_7, TmpfsRule())
    assert (found.gpus, found.devices, found.gpu_memory) == (0, 1, 300)
    assert (found.system_memory(unified=False), found.system_memory(unified=True)) == (512, 812)


def test_file_systems_in_memory_are_as_large_as_its_limit_or_the_sites_rule() -> None:
    operator = Operator(
        name="a", container=ContainerDefinition(image="x"), requests=Requests(memory=64)
    )
    assert of_operator(operator, V8, TmpfsRule(scratch=7)).tmpfs == Tmpfs(
        shared_memory=64, scratch=7
    )


def test_an_operator_of_the_platform_itself_reserves_nothing() -> None:
    served = Operator(
        name="a",
        container=ContainerDefinition(image="clara/register-results"),
        requests=Requests(cpu=3, gpu=1),
    )
    assert of_operator(served, V8, TmpfsRule()) == OperatorRequests(slot=False)


@pytest.mark.parametrize(
    ("profile", "written", "said"),
    [
        ("0.8", 64, ["64 MB (`requests.memory`)", "{memory: 128}"]),
        ("0.8", None, ["1024 MB", "without `requests.memory`", '"0.8"', "{memory: 2048}"]),
        ("0.7", None, ["no limit is set", '"0.7"', "engine.max_operators"]),
        ("0.7", 64, ["no limit is set", '"0.7"', "engine.max_operators"]),
    ],
)
def test_running_out_of_memory_says_which_limit_and_what_to_change(
    profile: str, written: int | None, said: list[str]
) -> None:
    text = out_of_memory(memory(Requests(memory=written), Profile(profile)), Profile(profile))
    assert [part for part in said if part not in text] == []
