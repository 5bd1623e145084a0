"""Adopts or removes what a crash or an outage left behind: containers, networks and folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from claraedge.clock import Clock
from claraedge.runner.protocol import LABEL_INSTANCE, LABEL_JOB, Container, Network, Phase
from claraedge.services.companions import Companions
from claraedge.services.model import INFERENCE
from claraedge.services.networks import JobNetworks, peers
from claraedge.services.reservations import ReservationRules
from claraedge.supervised.addresses import addresses
from claraedge.supervised.orphans import OrphanContainers
from claraedge.supervised.workshop import Workshop, read_found

_log = logging.getLogger(__name__)


class OrphanRecovery(OrphanContainers):
    """Recovers service containers. If a method raises RunnerUnavailableError, call it again."""

    def __init__(
        self,
        companions: Companions,
        networks: JobNetworks,
        workshop: Workshop,
        rules: ReservationRules,
        clock: Clock,
    ) -> None:
        super().__init__(workshop, clock, self._supervised)
        self._companions = companions
        self._networks = networks
        self._rules = rules
        self._taken_up = False
        self._taking = asyncio.Lock()

    async def take_up(self) -> None:
        """Compares the existing containers and networks with the known ones, once per start."""
        async with self._taking:
            if self._taken_up:
                return
            networks = {n.name: n for n in await self._workshop.runner.networks(self._own)}
            occupants = await self.occupants()
            adopted = {c.container for c in self._companions.living}
            for container in await self._workshop.present():
                key = self._workshop.key_of(container)
                usable = container.phase is Phase.RUNNING and not self._companions.has(key)
                if usable and container.id not in adopted:
                    self._adopt(container, key, networks)
                elif container.id not in adopted:
                    await self.remove(container)
            await self.remove_halves()
            for network in networks.values():
                jobs = occupants.get(network.name, set())
                self._networks.adopt(network, jobs, self._companions.expected)
            for key in await self._workshop.shared():  # folders of services that ended unobserved
                if not self._companions.runs(key):
                    await self._workshop.empty(key)
            self._taken_up = True
            self.repeat_late()
            _log.info(
                "services taken up",
                extra={"services": len(self._companions.living), "networks": len(networks)},
            )

    async def occupants(self) -> dict[str, set[str]]:
        """Returns, per network, the jobs whose operators have containers on it."""
        found: dict[str, set[str]] = {}
        for container in await self._workshop.runner.containers(self._own):
            for network in container.networks:
                found.setdefault(network, set()).add(container.labels.get(LABEL_JOB, ""))
        return found

    def _supervised(self) -> set[str]:
        """Returns the ids and names of containers that a keeper supervises or creates."""
        living = self._companions.living
        return {word for c in living for word in (c.container, c.making) if word is not None}

    def _adopt(self, container: Container, key: str, networks: Mapping[str, Network]) -> None:
        name = self._workshop.title_of(container)
        rules = self._rules
        unknown = rules.of_inference() if key == INFERENCE else rules.unwritten
        found = read_found(container, memory=unknown.amount)
        companion = self._companions.adopt(key, name, found)
        for network in (networks[name] for name in container.networks if name in networks):
            keys = peers(network)
            if network.subnet is not None and key in keys:
                companion.networks[network.name] = addresses(network.subnet, keys)[key]
        self._companions.begin(companion)
        _log.info("service adopted", extra={"service": name, "container": container.id[:12]})

    @property
    def _own(self) -> dict[str, str]:
        return {LABEL_INSTANCE: self._workshop.instance}
