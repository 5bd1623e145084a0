"""Removes leases of addresses that CNI's plugin `host-local` keeps and Podman has forgotten.

Podman that is killed after a container got an address, and before it has recorded that, never frees
what the container got: a lease of its address, with which no other container gets that address
("requested IP address is not available"), and its network namespace, which answers for that address
on a later network with the same bridge. Both are found by the container's id: the lease (a file)
contains it, and the namespace has the address.

Podman 4 with CNI removes a network without the folder of its leases: 8 KiB on the runtime tmpfs.
Podman removes all of these when no container of the user is on any network, which a device with a
deployment never reaches.

Source: Podman 4.3.1 with CNI's plugins 1.1; measured.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
from pathlib import Path

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.fs import removal
from claraedge.runner.processes import every, pause_process

_log = logging.getLogger(__name__)

#: Where CNI's state is in the mount namespace of Podman's shared network namespace.
_CNI = "libpod/tmp/rootless-netns/var/lib/cni"
_SECONDS = 10.0
#: Removes the network namespaces below $0 that have one of the addresses $@.
_UNMOUNT = """
for file in "$0"/netns-*; do
    table=$(nsenter --net="$file" cat /proc/net/fib_trie 2>/dev/null) || continue
    for address; do
        if [[ $table == *"|-- $address"$'\\n'* ]]; then
            umount --lazy "$file" && rm -f "$file" && echo "$address"
            break
        fi
    done
done
"""


def folder(network: str) -> Path | None:
    """Returns where the leases of a network are, if there are some; None where that is unknown."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime or Path(network).name != network:
        return None
    return Path(runtime, _CNI, "networks", network)


def owner(network: str, address: str) -> str:
    """Returns the id of the container to which an address is leased; empty where none is known."""
    found = folder(network)
    return "" if found is None or not address else _owner(found / address)


def remove(network: str) -> None:
    """Removes the leases of a network that was removed. A failure is only logged."""
    found = folder(network)
    if found is None:
        return
    try:
        removal.remove(found)
    except OSError as error:
        _log.warning("the leases of a removed network stay: %s", error)


async def free(container: str) -> None:
    """Frees what Podman has forgotten of the addresses of a container that does not run.

    Failures are only logged.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        return
    try:
        await in_thread(_kill_plugins, container)
        leases = await in_thread(_leases, Path(runtime, _CNI), container)
        if leases:
            await _unmount(Path(runtime, "netns"), [lease.name for lease in leases])
            await in_thread(_clear, Path(runtime, _CNI), leases, container)
    except (OSError, TimeoutError) as error:
        _log.warning(
            "addresses that Podman has forgotten stay in use", extra={"reason": repr(error)}
        )


async def _unmount(folder: Path, addresses: list[str]) -> None:
    pause = await in_thread(pause_process)
    if pause is None:
        return
    enter = ["nsenter", "-t", str(pause), "-U", "-m", "--preserve-credentials"]
    code, text = await spawn.run(
        [*enter, "bash", "-c", _UNMOUNT, str(folder), *addresses], timeout=_SECONDS
    )
    if code == 0:
        _log.warning("freed addresses that Podman forgot: %s", ", ".join(addresses))
    else:
        _log.warning("network namespaces cannot be searched: %s", text.strip())


def _leases(cni: Path, container: str) -> list[Path]:
    """Returns the files that lease addresses to a container; their names are the addresses."""
    return [path for path in cni.glob("networks/*/*.*.*.*") if _owner(path) == container]


def _clear(cni: Path, leases: list[Path], container: str) -> None:
    for path in itertools.chain(leases, cni.glob(f"results/*-{container}-*")):
        path.unlink(missing_ok=True)


def _kill_plugins(container: str) -> None:
    """Kills the plugins of CNI that still work for a container: they outlive Podman."""
    wanted = f"CNI_CONTAINERID={container}\0".encode()
    for pid in every():
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if wanted in Path(f"/proc/{pid}/environ").read_bytes():
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def _owner(lease: Path) -> str:
    with contextlib.suppress(OSError):
        return lease.read_text("ascii", "replace").split("\n", 1)[0].strip()
    return ""
