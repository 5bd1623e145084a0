"""User namespaces: which users of this machine the users of a container are. Pure.

Rootless Podman works in a user namespace of its own: id 0 is the user that it runs as, the ids from
1 on are that user's subordinate ids (/etc/subuid, /etc/subgid). A container uses that namespace, or
one inside of it. Measured with Podman 4.3.1; docs/user-namespaces.md has figures and reasons.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from claraedge.errors import ContainerError

#: Ranges of a user namespace: (first id inside, first id on this machine, length).
Ranges: TypeAlias = Sequence[tuple[int, int, int]]


class UserNamespace(enum.Enum):
    """The user namespace of containers, as in `podman run --userns`. The values are those of the
    setting `[engine] user_namespace`.
    """

    HOST = "host"
    """Podman's own namespace: root of a container is the user of the daemon."""
    NOMAP = "nomap"
    """A namespace without the daemon's user: root of a container is the first subordinate id."""


#: The part of a create call that uses Podman's own namespace.
SHARED: Mapping[str, object] = {"userns": {"nsmode": "host"}}


def without_owner(ranges: Ranges) -> Ranges:
    """Returns a namespace inside of Podman's without its id 0: its id 1 is 0 of the container, and
    so on.
    """
    found = []
    for first, outside, count in ranges:
        left_out = max(0, 1 - first)
        if count > left_out:
            found.append((first + left_out - 1, outside + left_out, count - left_out))
    return found


def nomap(users: Ranges, groups: Ranges) -> Mapping[str, object]:
    """Returns the part of a create call for a namespace without the owner; the ranges are Podman's.

    The ranges are given explicitly: in its mode of that name, Podman reads them at each call,
    and its library sometimes finds none where two calls come at once. Raises ContainerError where
    there are none.
    """
    if not without_owner(users) or not without_owner(groups):
        raise ContainerError(
            "the user of the daemon has no subordinate ids, which engine.user_namespace = nomap"
            " runs containers as: give it some (`sudo usermod --add-subuids 2000000-2065535"
            " --add-subgids 2000000-2065535 USER`, any free range), and run `podman system migrate`"
            " as that user"
        )
    return {
        "userns": {"nsmode": "private"},
        "idmappings": {
            "HostUIDMapping": False,
            "HostGIDMapping": False,
            "UIDMap": _rows(users),
            "GIDMap": _rows(groups),
        },
    }


def _rows(ranges: Ranges) -> list[dict[str, int]]:
    return [
        {"container_id": first, "host_id": first + 1, "size": count}
        for first, _, count in without_owner(ranges)
    ]
