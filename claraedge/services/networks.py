"""The private networks of jobs: each job has one, with the services that it uses.

A network belongs to one job at a time. When that job has ended and its containers are removed, the
network is reused by the next job with the same services, which keep their addresses on it.
(Disconnecting a running service from a network could cut all its others: `runner/networks.py`.) It
is removed when none of its services runs any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from claraedge.errors import ContainerError
from claraedge.ids import NewId
from claraedge.runner.protocol import LABEL_INSTANCE, LABEL_PEERS, Network, Runner
from claraedge.supervised.addresses import addresses

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class JobNetwork:
    """One network, with its present use."""

    name: str
    keys: tuple[str, ...]
    """Keys of the services on it."""
    job: str | None
    subnet: str | None = None
    draining: bool = False
    """Whether containers of its last job may still be on it."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Key -> the address of that service."""
        return addresses(self.subnet, self.keys)


class JobNetworks:
    """Creates, assigns, reclaims and removes networks."""

    def __init__(self, runner: Runner, instance: str, new_id: NewId) -> None:
        self._runner = runner
        self._instance = instance
        self._new_id = new_id
        self._all: dict[str, JobNetwork] = {}

    async def acquire(self, job: str, keys: tuple[str, ...]) -> JobNetwork:
        """Returns the network of a job with these services: its own, a free one, or a new one.

        Raises NetworkError, and RunnerUnavailableError. After any failure, `give_back` releases
        what was created.
        """
        mine = [n for n in self._all.values() if n.job == job and n.keys == keys and n.subnet]
        if not mine:
            await self._forget_removed(keys)
        for network in (*mine, *self._free(keys)):
            network.job = job
            return network
        name = f"claraedge-{self._new_id()}"
        network = self._all[name] = JobNetwork(name=name, keys=keys, job=job)
        made = await self._runner.create_network(name, self._labels(keys))
        network.subnet = made.subnet
        return network

    def _free(self, keys: tuple[str, ...]) -> list[JobNetwork]:
        return [
            n
            for n in self._all.values()
            if n.job is None and n.keys == keys and n.subnet and not n.draining
        ]

    async def _forget_removed(self, keys: tuple[str, ...]) -> None:
        """Forgets free networks that somebody else has removed from Podman."""
        free = self._free(keys)
        if free:
            found = await self._runner.networks({LABEL_INSTANCE: self._instance})
            present = {network.name for network in found}
            for network in free:
                if network.name not in present and network.job is None:
                    self._all.pop(network.name, None)

    def give_back(self, job: str) -> None:
        """Ends the job's use of its network."""
        for network in self._all.values():
            if network.job == job:
                network.job, network.draining = None, True

    def adopt(self, network: Network, jobs: Collection[str], running: Collection[str]) -> None:
        """Adopts a network from before this start; `jobs`: those whose containers are on it."""
        mine = sorted(job for job in jobs if job in running)
        self._all[network.name] = JobNetwork(
            name=network.name,
            keys=peers(network),
            job=mine[0] if mine else None,
            subnet=network.subnet,
            draining=bool(jobs) and not mine,
        )

    @property
    def unused(self) -> bool:
        """Whether some network belongs to no job."""
        return any(n.job is None for n in self._all.values())

    def settled(self, runs: Callable[[str], bool]) -> bool:
        """Returns whether all networks without a job are free for reuse."""
        return all(
            n.job is not None or (not n.draining and any(runs(key) for key in n.keys))
            for n in self._all.values()
        )

    async def tidy(self, runs: Callable[[str], bool], occupied: Collection[str]) -> None:
        """Frees empty networks, and removes those without a running service.

        `runs` returns whether a service of this key exists. `occupied`: names of the networks that
        containers of operators are on. Raises RunnerUnavailableError.
        """
        for network in [n for n in self._all.values() if n.job is None]:
            if network.name in occupied:
                continue
            if network.job is not None:
                continue  # taken while another network was removed
            network.draining = False
            if network.subnet is None or not any(runs(key) for key in network.keys):
                await self._remove(network)

    async def _remove(self, network: JobNetwork) -> None:
        network.draining = True  # no job gets it from now on
        try:
            await self._runner.remove_network(network.name)
        except ContainerError as error:
            _log.debug("network stays for now", extra={"network": network.name, "why": str(error)})
            return
        del self._all[network.name]

    def _labels(self, keys: tuple[str, ...]) -> dict[str, str]:
        return {LABEL_INSTANCE: self._instance, LABEL_PEERS: ",".join(keys)}


def peers(network: Network) -> tuple[str, ...]:
    """Returns the keys of the services that a network was created for, by its label."""
    return tuple(key for key in network.labels.get(LABEL_PEERS, "").split(",") if key)
