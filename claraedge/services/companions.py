"""Tracks the companions (service containers) that exist, and the jobs that use them.

Everything here happens in single steps of the event loop: a companion exists when a job becomes its
user, and only one without users may end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

from claraedge.clock import Clock
from claraedge.config import InferenceSettings, ServicesSettings
from claraedge.errors import ClaraedgeError
from claraedge.services.companion import Companion, CompanionLimits
from claraedge.services.inference.server import LoadedModels
from claraedge.services.model import INFERENCE, CompanionUsage
from claraedge.supervised.keeper import Keeper
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.workshop import Found, Workshop


class Companions:
    """All companions that are running, about to be created, or ending."""

    def __init__(
        self,
        workshop: Workshop,
        clock: Clock,
        *,
        services: ServicesSettings,
        inference: InferenceSettings,
        loads: Callable[[Collection[str]], LoadedModels],
        on_change: Callable[[], None],
        on_lost: Callable[[Companion, ClaraedgeError], None],
    ) -> None:
        """`loads` creates the models of a server, given the jobs of before this start.

        `on_change` is called when a companion has ended, or its keeper failed; `on_lost` when one
        has failed permanently while jobs use it.
        """
        self.living: set[Companion] = set()
        self.models: dict[Companion, LoadedModels] = {}
        """The models of the inference server, and of a predecessor that is still ending."""
        self.expected: set[str] = set()
        """Jobs that ran before this start of the daemon and did not return yet."""
        self.failure: BaseException | None = None
        """The unexpected exception of a keeper."""
        self._workshop = workshop
        self._clock = clock
        self._services = services
        self._inference = inference
        self._loads = loads
        self._on_change = on_change
        self._on_lost = on_lost
        self.restarts = 0
        """Containers that ended by themselves and were started again, since this start."""
        self._keepers: dict[Companion, Keeper[Companion]] = {}
        self._present: dict[str, Companion] = {}
        """Key -> the companion that new users get."""

    # --- users ---------------------------------------------------------------------------------

    def use(self, job: str, recipe: Recipe) -> tuple[Companion, list[str]]:
        """Makes the job a user of a recipe's companion; returns it with messages for the job."""
        found = self._of(job, recipe)
        found.users.add(job)
        if found.recipe is None:
            found.recipe, found.name = recipe, recipe.name
        found.ports |= set(recipe.ports)
        found.notify()
        if found.digest == recipe.digest:
            return found, []
        note = (
            f"{recipe.name} runs already, from another image or with other variables and requests"
            " than this job's definition says; it is shared as it is"
        )
        return found, [note]

    def begin(self, companion: Companion) -> None:
        """Starts its keeper, which creates and supervises it."""
        self._keepers[companion].begin()

    def adopt(self, key: str, name: str, found: Found) -> Companion:
        """Adopts a companion that runs already."""
        return self._add(key, name, found=found)

    def leave(self, job: str) -> None:
        """Removes the job from the users of all companions."""
        for models in self.models.values():
            models.drop(job)
        for companion in list(self.living):
            companion.leave(job)
            if companion.task is None and not companion.users:  # its container was not created yet
                self.closing(companion)
                self._forget(companion)
        self.came_back(job)

    def came_back(self, job: str) -> None:
        """Records that a job of before this start has its companions again, or needs none."""
        if job in self.expected:
            self.expected.discard(job)
            if not self.expected:
                for companion in self.living:
                    companion.notify()

    # --- to end --------------------------------------------------------------------------------

    def stop(self) -> int:
        """Makes each companion end when its users have ended; returns how many are to end."""
        stopped = [c for c in self.living if c.task is not None and not c.asked and not c.closed]
        for companion in stopped:
            companion.ask()
        return len(stopped)

    def spare(self, megabytes: int, wanted: Collection[str]) -> int:
        """Asks idle companions to end until `megabytes` are released, the longest idle first.

        `wanted`: keys of those that are about to be used. Returns the megabytes that will be
        released, including those of companions that were asked earlier.
        """
        idle = [c for c in self.living if not c.users and c.key not in wanted]
        given = 0
        for companion in sorted(idle, key=lambda c: (not (c.asked or c.closed), c.idle_since)):
            if given >= megabytes:
                break
            given += companion.memory
            if not companion.closed and not companion.asked:
                companion.ask()
        return given

    def ask_for_gpus(self) -> None:
        """Asks unused companions that have a GPU to end."""
        for companion in self.living:
            if companion.gpus and not companion.users:
                companion.ask()

    async def yield_gpu(self, limit: float) -> bool:
        """Ends unused companions that have a GPU, and waits at most `limit` seconds.

        Returns True if no companion has a GPU then.
        """
        self.ask_for_gpus()
        holders = [c for c in self.living if c.gpus]
        ending = [c.task for c in holders if not c.users and c.task is not None]
        if ending and not self.expected:
            await asyncio.wait(ending, timeout=limit)
        return not any(c.gpus for c in self.living)

    def uses_models(self, job: str) -> bool:
        """Returns whether the job uses models of the inference server."""
        return any(models.serves(job) for models in self.models.values())

    async def tidy_models(self) -> bool:
        """Unloads models that are not in the repository any more and that no running job uses.

        Returns False if it has to be called again.
        """
        return all([await models.tidy(c) for c, models in list(self.models.items())])

    async def abandon(self) -> None:
        """Stops supervising, because the daemon ends; the containers keep running."""
        tasks = [c.task for c in self.living if c.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- to inspect ----------------------------------------------------------------------------

    def runs(self, key: str) -> bool:
        """Returns whether a companion with this key exists, even one that is ending."""
        return any(c.key == key for c in self.living)

    def has(self, key: str) -> bool:
        """Returns whether there is a companion that new users get."""
        return key in self._present

    def usage(self) -> CompanionUsage:
        """Returns what all companions occupy now."""
        memory = Counter[str]()
        for companion in self.living:
            memory[companion.key] += companion.memory
        holders = [c for c in self.living if c.gpus]
        return CompanionUsage(
            memory=memory,
            gpus=frozenset(gpu for c in holders for gpu in c.gpus),
            used_gpus=frozenset(gpu for c in holders if c.users for gpu in c.gpus),
            gpu_users=frozenset(job for c in holders for job in c.users),
        )

    # --- what keepers report -------------------------------------------------------------------

    def closing(self, supervised: Companion) -> None:
        """See `KeeperOwner`."""
        if self._present.get(supervised.key) is supervised:
            del self._present[supervised.key]

    def up(self, supervised: Companion) -> None:
        """See `KeeperOwner`: whoever uses it awaits it."""

    def restarted(self, supervised: Companion) -> None:  # noqa: ARG002 - as the protocol has it
        """See `KeeperOwner`."""
        self.restarts += 1

    async def rested(self, supervised: Companion, text: str) -> None:
        """See `KeeperOwner`: the rule of companions knows no wanted end."""

    async def lost(self, supervised: Companion, error: ClaraedgeError) -> None:
        """See `KeeperOwner`."""
        self._on_lost(supervised, error)

    def ended(self, supervised: Companion, task: asyncio.Task[None]) -> None:
        """See `KeeperOwner`."""
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
        self._forget(supervised)

    # --- making --------------------------------------------------------------------------------

    def _of(self, job: str, recipe: Recipe) -> Companion:
        """Returns the companion that the job has, one that it may share, or a new one."""
        same = [c for c in self.living if c.key == recipe.key]
        for companion in same:
            if job in companion.users and not companion.closed:
                return companion
        present = self._present.get(recipe.key)
        if present is not None:
            free = not present.users and not self.expected
            outdated = present.digest != recipe.digest and free
            if not (present.asked and job not in self.expected) and not outdated:
                return present
            present.ask()  # the new one is created after its end
            del self._present[recipe.key]
        after = tuple(c.task for c in same if c.task is not None)
        return self._add(recipe.key, recipe.name, recipe=recipe, after=after)

    def _add(
        self,
        key: str,
        name: str,
        *,
        recipe: Recipe | None = None,
        found: Found | None = None,
        after: tuple[asyncio.Task[None], ...] = (),
    ) -> Companion:
        settings: ServicesSettings | InferenceSettings = self._services
        section, models = "services", None
        if key == INFERENCE:
            settings = self._inference
            section, models = "inference", self._loads(self.expected)
        companion = Companion(
            self._workshop,
            self._clock,
            key,
            name,
            CompanionLimits(
                idle=settings.idle_seconds,
                start=settings.start_seconds,
                restarts=settings.restarts,
                section=section,
            ),
            recipe=recipe,
            found=found,
            awaited=lambda: bool(self.expected),
        )
        self._keepers[companion] = Keeper(
            companion,
            self,
            self._workshop,
            self._clock,
            fit=models.fit if models else None,
            after=after,
        )
        if models is not None:
            self.models[companion] = models
        self._present[key] = companion
        self.living.add(companion)
        return companion

    def _forget(self, companion: Companion) -> None:
        self.living.discard(companion)
        self._keepers.pop(companion, None)
        self.models.pop(companion, None)
        self._on_change()
