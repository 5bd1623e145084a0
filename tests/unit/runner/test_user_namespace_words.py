"""Which user namespace is asked of Podman."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.errors import ContainerError
from claraedge.runner.containers.specgen import create_request
from claraedge.runner.protocol import ContainerSpec
from claraedge.runner.user_namespaces import nomap, without_owner

#: A user with a range of subordinate ids, and a group of the machine before it.
RANGES = [(0, 1001, 1), (1, 44, 1), (2, 100000, 65535)]
SPEC = ContainerSpec(name="n", image="i", log_path=Path("/l"))


def test_podmans_own_is_said_and_not_left_to_its_configuration() -> None:
    assert create_request(SPEC, None)["userns"] == {"nsmode": "host"}


def test_one_without_the_owner_begins_with_the_first_subordinate_id() -> None:
    assert without_owner(RANGES) == [(0, 44, 1), (1, 100000, 65535)]
    request = create_request(SPEC, None, user_namespace=nomap(RANGES[::2], RANGES))
    assert request["userns"] == {"nsmode": "private"}
    assert request["idmappings"] == {
        "HostUIDMapping": False,
        "HostGIDMapping": False,
        "UIDMap": [{"container_id": 1, "host_id": 2, "size": 65535}],
        "GIDMap": [
            {"container_id": 0, "host_id": 1, "size": 1},
            {"container_id": 1, "host_id": 2, "size": 65535},
        ],
    }


def test_a_range_that_has_the_owner_is_cut() -> None:
    assert without_owner([(0, 1000, 10)]) == [(0, 1001, 9)]


def test_a_folder_of_this_user_as_root_stays_in_podmans_own() -> None:
    spec = ContainerSpec(name="n", image="", root=Path("/r"), log_path=Path("/l"))
    request = create_request(spec, None, user_namespace=nomap(RANGES, RANGES))
    assert request["userns"] == {"nsmode": "host"}
    assert "idmappings" not in request


def test_missing_subordinate_ids_are_reported_with_what_to_do() -> None:
    with pytest.raises(ContainerError, match=r"no subordinate ids.*--add-subuids"):
        nomap([(0, 1001, 1)], RANGES)
