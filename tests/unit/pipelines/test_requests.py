"""What requests mean, by the release that a site follows."""

from __future__ import annotations

import pytest

from claraedge.pipelines.model import ContainerDefinition, Operator, Requests
from claraedge.pipelines.requests import MemoryRequest, Profile, cores, gpus, memory, out_of_memory


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
    assert (cores(plain), gpus(plain)) == (0, 0)
    asking = Operator(
        name="a",
        container=ContainerDefinition(image="x"),
        requests=Requests(cpu=3, gpu=1, memory=1),
    )
    assert (cores(asking), gpus(asking)) == (3, 1)


def test_an_operator_of_the_platform_itself_reserves_nothing() -> None:
    served = Operator(
        name="a",
        container=ContainerDefinition(image="clara/register-results"),
        requests=Requests(cpu=3, gpu=1),
    )
    assert (cores(served), gpus(served)) == (0, 0)


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
