"""A companion: a container that is kept running for jobs, with its users.

It is a service of a pipeline or the inference server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from claraedge.clock import Clock
from claraedge.errors import ServiceError
from claraedge.runner.protocol import LABEL_SERVICE, LABEL_SERVICE_NAME, LABEL_SERVICES
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.restarts import Within
from claraedge.supervised.workshop import ContainerKind, Found, Workshop

#: Containers of this room.
SERVICES = ContainerKind(
    noun="service",
    mark=LABEL_SERVICES,
    key=LABEL_SERVICE,
    title=LABEL_SERVICE_NAME,
    error=ServiceError,
)
#: Seconds over which restarts are counted.
_WINDOW = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionLimits:
    """Time limits in seconds, and the limit of restarts."""

    idle: float
    """Seconds without a user after which it ends."""
    start: float
    """Seconds from its start until it must accept connections."""
    restarts: int
    """Number of restarts within ten minutes, while jobs use it."""
    section: str
    """The section of the configuration that has these limits, such as `services`."""


class Companion(SupervisedContainer):
    """A service container that jobs share. Its owner controls `users` and `asked` as well."""

    def __init__(
        self,
        workshop: Workshop,
        clock: Clock,
        key: str,
        name: str,
        limits: CompanionLimits,
        *,
        recipe: Recipe | None,
        found: Found | None = None,
        awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        """`found`: its container runs already; the recipe comes with its first user. `awaited`
        returns whether jobs that ran before this start may still return for their companions.
        """
        super().__init__(
            workshop,
            key,
            name,
            rule=Within(limits.restarts, _WINDOW, f"{limits.section}.restarts"),
            start=limits.start,
            recipe=recipe,
            found=found,
            was_fit=found is not None,
        )
        self.limits = limits
        self.users: set[str] = set()
        self.asked = False
        """Whether it ends as soon as no job uses it."""
        self.idle_since = clock.elapsed()
        """BOOTTIME (seconds) when its last user left, or when it was created."""
        self._clock = clock
        self._awaited = awaited

    @property
    def wanted(self) -> bool:
        return bool(self.users)

    def left(self) -> float | None:
        if self.users or self._awaited():
            return None
        if self.asked or not self.was_fit:
            return 0.0
        return self.idle_since + self.limits.idle - self._clock.elapsed()

    def leave(self, job: str) -> None:
        """Removes a job from its users."""
        if job in self.users:
            self.users.discard(job)
            self.idle_since = self._clock.elapsed()
            self.notify()

    def ask(self) -> None:
        """Makes it end once no job uses it."""
        self.asked = True
        self.notify()
