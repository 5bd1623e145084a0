"""Which of its services a pipeline needs, where they stand, and which models make room."""

from __future__ import annotations

import itertools

import pytest
from service_device import using, viewer

from claraedge.errors import ModelNotReadyError, NetworkError, ServiceError
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.services.model import INFERENCE, key, needs, room_for
from claraedge.supervised.addresses import addresses


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (viewer("renamed"), True),
        (viewer(variables={"A": "b"}), True),
        (viewer(port=9000), True),
        (viewer(command=("x",)), False),
        (viewer(image="site/viewer:2"), False),
        (viewer(image="site/other:1"), False),
        (viewer(volume="/data"), False),
        (viewer(gpu=1), False),
    ],
)
def test_what_makes_two_services_one(other: object, same: bool) -> None:
    assert (key(viewer()) == key(other)) is same  # type: ignore[arg-type]


def test_a_service_with_folders_is_of_one_pipeline() -> None:
    plain, with_folder = using(viewer()), using(viewer(volume="/data"))

    def keys(pipeline: Pipeline) -> set[str]:
        return set(needs(pipeline, 1).services)

    assert keys(plain.owned("a")) == keys(plain.owned("b"))
    assert keys(with_folder.owned("a")) == keys(with_folder.owned("a"))
    assert keys(with_folder.owned("a")) != keys(with_folder.owned("b"))


def test_each_service_and_model_is_needed_once() -> None:
    first = using(viewer(), viewer("b", command=("x",)), models=("m", "n")).operators[0]
    second = Operator(
        name="second", container=first.container, services=(viewer("again"),), models=("n", "o")
    )
    found = needs(Pipeline(api_version="1", name="p", operators=(first, second)), 3)
    assert found.models == ("m", "n", "o")
    assert len(found.services) == 2
    assert set(found.keys) == {*found.services, INFERENCE}
    with pytest.raises(ModelNotReadyError, match=r"need 3 models at once.*may hold 2"):
        needs(Pipeline(api_version="1", name="p", operators=(first, second)), 2)


def test_more_services_than_a_network_has_room_for_are_refused() -> None:
    services = tuple(viewer(command=(str(n),)) for n in range(128))
    needs(using(*services[:127]), 1)
    with pytest.raises(ServiceError, match="128 services"):
        needs(using(*services), 1)


def test_addresses_come_from_the_end_of_the_range_in_a_fixed_order() -> None:
    assert addresses("10.89.7.0/24", ["b", "a"]) == {"a": "10.89.7.250", "b": "10.89.7.249"}
    assert addresses("10.89.7.0/24", ["a", "b"]) == addresses("10.89.7.0/24", ["b", "a"])
    with pytest.raises(NetworkError):
        addresses(None, ["a"])


@pytest.mark.parametrize(
    ("wanted", "loaded", "in_use", "limit", "unload"),
    [
        ("a", "", "", 1, ()),
        ("a", "a", "a", 1, ()),
        ("a", "b", "", 1, ("b",)),
        ("a", "b", "b", 1, None),
        ("ab", "cd", "", 3, ("c",)),
        ("ab", "cd", "c", 3, ("d",)),
        ("ab", "bc", "", 2, ("c",)),
        ("ab", "bc", "bc", 2, None),
    ],
)
def test_the_least_recently_used_makes_room_and_what_is_used_does_not(
    wanted: str, loaded: str, in_use: str, limit: int, unload: tuple[str, ...] | None
) -> None:
    assert room_for(tuple(wanted), tuple(loaded), frozenset(in_use), limit) == unload


def test_room_is_never_made_of_what_is_used_or_wanted_nor_beyond_the_limit() -> None:
    names = "abcd"
    sets = [s for n in range(4) for s in itertools.combinations(names, n)]
    for wanted, loaded, in_use in itertools.product(sets, sets, sets):
        for limit in range(max(1, len(wanted)), 4):
            if not set(in_use) <= set(loaded) or len(loaded) > limit:
                continue
            unload = room_for(wanted, loaded, frozenset(in_use), limit)
            if unload is None:
                assert len({*wanted, *in_use}) > limit
            else:
                assert not set(unload) & {*wanted, *in_use}
                assert len({*wanted, *loaded} - set(unload)) <= limit
