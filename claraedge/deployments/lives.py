"""The lives of the deployments of this device, and what others ask of those that run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from claraedge.blocking import in_thread
from claraedge.deployments import records
from claraedge.deployments.logs import remove_logs
from claraedge.deployments.running.live import LiveDeployment
from claraedge.deployments.running.reaching import Stream, reached
from claraedge.deployments.running.site import Site
from claraedge.errors import RunnerUnavailableError
from claraedge.runner.protocol import Limit
from claraedge.supervised.lives import Lives


class DeploymentLives(Lives[LiveDeployment]):
    """Keeps deployments running."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.workshop, site.clock)
        self._site = site

    def dial(self, route: str) -> AbstractAsyncContextManager[Stream]:
        """Opens a connection to the endpoint that a static route leads to, given its prefix.

        Entering raises RouteNotFoundError, and RouteNotReadyError if nothing answers there.
        """
        return reached(self._site, self._live, route)

    async def warnings(self) -> Sequence[str]:
        """Returns what does not apply to deployments that run, as texts for people."""
        return *self._of_networks(), *await self._of_limits()

    def _of_networks(self) -> Iterable[str]:
        unlike = self._site.networks.unlike
        names = sorted(each.deployment.name for each in self._live.values() if each.id in unlike)
        if names:
            yield (
                f"`[deployments] network` does not apply to the deployments {', '.join(names)},"
                " which were created with another value; undeploy them, and deploy them again"
            )
        if networks := self._site.private_networks.unlike():
            yield (
                f"`[deployments] network` does not apply to the networks {', '.join(networks)},"
                " which were created with another value; delete them, and create them again"
            )

    async def _of_limits(self) -> Sequence[str]:
        limited = sorted(
            live.deployment.name
            for live in self._live.values()
            if any(executable.cpu for _, executable in live.deployment.plan.executables())
        )
        if not limited:
            return ()
        try:
            enforced = await self._site.workshop.runner.limits()
        except RunnerUnavailableError:
            return ()
        if Limit.CPU in enforced:
            return ()
        return (
            f"`limits.cpu` of the deployments {', '.join(limited)} has no effect: this machine does"
            " not let the user of the daemon limit cores. It needs cgroup v2 only, and the"
            " controller cpu delegated to that user (`systemctl edit user@.service`, then [Service]"
            " Delegate=cpu memory pids, and a restart of the machine)",
        )

    async def _load(self) -> Iterable[LiveDeployment]:
        found = await self._site.database.read(records.live)
        return [LiveDeployment(self._site, deployment) for deployment in found]

    async def _renewed(self, life: LiveDeployment) -> LiveDeployment:
        recorded = await self._site.database.read(lambda tx: records.get(tx, life.id))
        again = LiveDeployment(self._site, recorded)
        if not life.deployment.wanted:  # since the read
            again.undeploy()
        elif life.deployment.update is not None:
            again.update(life.deployment.update)
        return again

    async def _remove_others(self) -> None:
        await self._site.networks.remove_others(self._live.keys())

    async def _ended(self, id_: str) -> None:  # noqa: ARG002 - it removes what is old
        dropped = await self._site.database.write(records.drop_old)
        await in_thread(remove_logs, self._site.workshop.logs, dropped)
