"""Adopts or removes what a crash or an outage left behind: containers, networks and folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from claraedge.clock import Clock
from claraedge.runner.protocol import (
    LABEL_GPUS,
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_MEMORY,
    LABEL_RECIPE,
    LABEL_SERVICE,
    LABEL_SERVICE_NAME,
    Container,
    Network,
    Phase,
)
from claraedge.services.companion import Found
from claraedge.services.companions import Companions
from claraedge.services.model import INFERENCE, addresses
from claraedge.services.networks import JobNetworks, peers
from claraedge.services.reservations import ReservationRules
from claraedge.services.workshop import Workshop
from claraedge.waiting.searches import OrphanSearch

_log = logging.getLogger(__name__)


class OrphanRecovery(OrphanSearch):
    """Recovers service containers. If a method raises RunnerUnavailableError, call it again."""

    def __init__(
        self,
        companions: Companions,
        networks: JobNetworks,
        workshop: Workshop,
        rules: ReservationRules,
        clock: Clock,
    ) -> None:
        super().__init__(clock, expected=False)
        self._companions = companions
        self._networks = networks
        self._workshop = workshop
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
                key = container.labels.get(LABEL_SERVICE, "")
                usable = container.phase is Phase.RUNNING and not self._companions.has(key)
                if usable and container.id not in adopted:
                    self._adopt(container, key, networks)
                elif container.id not in adopted:
                    await self._remove(container)
            await self._remove_halves()
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

    async def remove_orphans(self) -> None:
        """Removes containers without a keeper, if there may be some."""
        await self.run_due(self._remove_unknown)

    async def _remove_unknown(self) -> None:
        for container in await self._workshop.present():
            if not {container.id, container.name} & self._known():
                await self._remove(container)
        await self._remove_halves()

    async def _remove_halves(self) -> None:
        """Removes partial containers of a killed Podman: a reserved name and a layer."""
        for name in await self._workshop.half_made():
            if name not in self._known():
                await self._remove_one(name, name)

    def _known(self) -> set[str]:
        """Returns the ids and names of containers that a keeper supervises or creates."""
        living = self._companions.living
        return {word for c in living for word in (c.container, c.making) if word is not None}

    def _adopt(self, container: Container, key: str, networks: Mapping[str, Network]) -> None:
        labels = container.labels
        name = labels.get(LABEL_SERVICE_NAME, key)
        companion = self._companions.adopt(
            key,
            name,
            Found(
                container=container.id,
                digest=labels.get(LABEL_RECIPE, ""),
                gpus=tuple(gpu for gpu in labels.get(LABEL_GPUS, "").split(",") if gpu),
                memory=self._kept(key, labels.get(LABEL_MEMORY, "")),
            ),
        )
        for network in (networks[name] for name in container.networks if name in networks):
            keys = peers(network)
            if network.subnet is not None and key in keys:
                companion.networks[network.name] = addresses(network.subnet, keys)[key]
        self._companions.begin(companion)
        _log.info("service adopted", extra={"service": name, "container": container.id[:12]})

    def _kept(self, key: str, label: str) -> int:
        """Returns the reserved megabytes, even for an older daemon's container without them."""
        if label.isdecimal():
            return int(label)
        return (self._rules.of_inference() if key == INFERENCE else self._rules.unwritten).amount

    async def _remove(self, container: Container) -> None:
        await self._remove_one(
            container.labels.get(LABEL_SERVICE_NAME, container.name), container.id
        )

    async def _remove_one(self, title: str, container: str) -> None:
        if await self._workshop.remove(title, container):
            _log.info("service removed", extra={"service": title, "container": container})
        else:
            self.expect()

    @property
    def _own(self) -> dict[str, str]:
        return {LABEL_INSTANCE: self._workshop.instance}
