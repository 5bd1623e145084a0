"""The life of a container that is kept running, from its creation to its removal.

One task creates it, checks whether it is up, notices its end, starts it again as its rule says, and
removes it; no other code does. The decision to end it is made and applied in one step of the event
loop, without an await, so nobody can start to use a container that ends. A daemon that stops
cancels the task, and the container keeps running for the next daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from typing import Any, Generic

from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError, RunnerUnavailableError
from claraedge.runner.protocol import Exit, ExitCause, Phase
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.creation import SupervisedCreation, answered
from claraedge.supervised.owner import C, Fitting, KeeperOwner, Watching
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.restarts import REMEMBERED, Again, GiveUp, Rest, Restart
from claraedge.supervised.workshop import Workshop
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)


class Keeper(Generic[C]):
    """Supervises one container."""

    def __init__(
        self,
        supervised: C,
        owner: KeeperOwner[C],
        workshop: Workshop,
        clock: Clock,
        *,
        fit: Fitting[C] | None = None,
        until_failed: Watching[C] | None = None,
        after: tuple[asyncio.Task[None], ...] = (),
    ) -> None:
        """`fit`: a check after its ports accept connections; None: it is up then. `until_failed`:
        watches each of its containers, and says when to end it, as if it had failed by itself.
        `after`: tasks of its predecessors; it is created after they have ended.
        """
        self._supervised = supervised
        self._owner = owner
        self._workshop = workshop
        self._clock = clock
        self._creation = SupervisedCreation(supervised, workshop)
        self._fit = fit
        self._until_failed = until_failed
        self._why_failed = ""
        """Why the container was ended; empty: it ended by itself."""
        self._after = after
        self._restarts = deque[Restart](maxlen=REMEMBERED)
        self._next: Recipe | None = None
        """The recipe that is to replace the present one."""
        self._former: tuple[Recipe, bool] | None = None
        """The recipe that has just been replaced, until the present one is up; and whether it was
        up.
        """
        self._puts_back = False
        """Whether `_next` is a recipe from before, to which there is no alternative."""
        self._replaced: asyncio.Future[None] | None = None
        """The result of `replace`."""

    def begin(self) -> None:
        """Starts the task, which runs until the container has ended for good."""
        supervised = self._supervised
        if supervised.task is None:
            name = f"{self._noun} {supervised.key}"
            task = asyncio.create_task(self._keep(), name=name)
            task.add_done_callback(lambda task: self._owner.ended(supervised, task))
            supervised.task = task

    async def replace(self, recipe: Recipe) -> None:
        """Ends the container, creates one by another recipe, and returns once that is up.

        If it does not come up, a container is created by the earlier recipe again, and the error is
        raised. Raises the error that ended it, or the error of its kind if it ends meanwhile. Do
        not call it again before it returns.
        """
        assert self._replaced is None, "one replacement at a time"
        if self._supervised.closed:
            raise self._supervised.failure or self._was_ended()
        self._next = recipe
        self._replaced = asyncio.get_running_loop().create_future()
        self._supervised.notify()
        try:
            await self._replaced
        finally:
            self._replaced = None

    def put_back(self, recipe: Recipe) -> None:
        """Makes it run by an earlier recipe from now on, as if it had been up: its rule decides."""
        self._next, self._puts_back = recipe, True
        self._supervised.notify()

    # --- the life ------------------------------------------------------------------------------

    async def _keep(self) -> None:
        supervised = self._supervised
        if self._after:
            await asyncio.wait(self._after)
        while True:
            try:
                await self._serve()
            except ClaraedgeError as error:
                if self._former is not None and supervised.wanted:
                    former, was_fit = self._former
                    await self._go_back(former, error, was_fit=was_fit)
                    continue
                await self._fail(error)
            break
        await self._creation.end()
        try:
            await self._workshop.empty(supervised.key)
        except RunnerUnavailableError:
            _log.warning("shared folder left behind", extra=self._named)

    async def _serve(self) -> None:
        """Keeps it running; returns when it is closed, and its container is to end.

        Raises the error with which it has failed for good.
        """
        supervised = self._supervised
        if supervised.phase is Phase.CREATED:  # an earlier daemon was killed before the start
            await self._creation.end(running=False)
        while not supervised.closed:
            if self._next is not None:
                await self._switch(self._next)
            if supervised.container is None and not supervised.wanted:
                self._close()
                return
            try:
                container = supervised.container or await self._creation.make()
                end = await self._attend(container)
            except RunnerUnavailableError:
                raise
            except ClaraedgeError as error:
                await self._decide(None, error)
                continue
            if end is not None:
                words = await self._workshop.last_words(supervised.key)
                of_image = await self._workshop.of_image(supervised.recipe) if end.code else ""
                text = f"{supervised.name} {self._said(end)}{words}{of_image}"
                await self._decide(end, self._workshop.kind.error(text))

    async def _decide(self, end: Exit | None, error: ClaraedgeError) -> None:
        """Applies the rule after an end, or after an error without one.

        Returns when the container is to be created again, after a pause, or when it is closed.
        Raises `error`, with what the rule adds, if the container has failed for good.
        """
        supervised = self._supervised
        supervised.fit = False
        supervised.reason = str(error)
        if not supervised.wanted:
            self._close()
            return
        now = self._clock.elapsed()
        match supervised.rule.decide(
            end, was_up=supervised.was_fit, restarts=self._restarts, now=now
        ):
            case GiveUp(text):
                raise self._workshop.kind.error(f"{error}; {text}") if text else error
            case Rest(text):
                supervised.rested = text
                self._close()
                await self._owner.rested(supervised, text)
            case Again(after):
                await self._creation.end(running=end is None)
                supervised.restarts += 1
                self._owner.restarted(supervised)
                supervised.notify()
                extra = {**self._named, "reason": str(error), "after": f"{after:g} s"}
                _log.warning("%s started again", self._noun, extra=extra)
                await self._pause(after)
                self._restarts.append(Restart(at=self._clock.elapsed(), after=after))

    async def _pause(self, seconds: float) -> None:
        """Waits, but not longer than the container is wanted as it is."""
        supervised = self._supervised
        until = self._clock.elapsed() + seconds
        while supervised.wanted and self._next is None:
            left = until - self._clock.elapsed()
            if left <= 0:
                return
            await wait_set(supervised.news, left)

    async def _fail(self, error: ClaraedgeError) -> None:
        supervised = self._supervised
        supervised.failure = error
        self._close()
        if supervised.wanted:
            _log.error("%s lost", self._noun, extra={**self._named, "reason": str(error)})
            await self._owner.lost(supervised, error)

    def _close(self) -> None:
        supervised = self._supervised
        supervised.closed = True
        supervised.fit = False
        self._owner.closing(supervised)
        self._answer(supervised.failure or self._was_ended())
        supervised.notify()

    def _was_ended(self) -> ClaraedgeError:
        return self._workshop.kind.error(f"{self._supervised.name} was ended")

    # --- another recipe ------------------------------------------------------------------------

    async def _switch(self, recipe: Recipe) -> None:
        supervised = self._supervised
        assert supervised.recipe is not None, "only what has a recipe gets another one"
        self._next = None
        puts_back, self._puts_back = self._puts_back, False
        if puts_back:
            self._former = None
        elif self._former is None:
            self._former = (supervised.recipe, supervised.was_fit)
        await self._change_to(recipe, was_fit=puts_back)

    async def _go_back(self, former: Recipe, error: ClaraedgeError, *, was_fit: bool) -> None:
        """Returns to the earlier recipe, because the new one has failed with `error`."""
        self._former = None
        self._supervised.reason = str(error)
        extra = {**self._named, "reason": str(error)}
        _log.warning("%s not updated", self._noun, extra=extra)
        await self._change_to(former, was_fit=was_fit)
        self._answer(error)

    async def _change_to(self, recipe: Recipe, *, was_fit: bool) -> None:
        supervised = self._supervised
        supervised.was_fit = was_fit
        await self._creation.end()
        supervised.recipe, supervised.ports = recipe, set(recipe.ports)
        self._restarts.clear()
        supervised.notify()

    def _answer(self, error: ClaraedgeError | None) -> None:
        """Ends `replace`: with this error, or without."""
        if self._replaced is None or self._replaced.done():
            return
        if error is None:
            self._replaced.set_result(None)
        else:
            self._replaced.set_exception(error)

    # --- the container -------------------------------------------------------------------------

    async def _attend(self, container: str) -> Exit | None:
        """Waits for the container's end; returns None if it is closed, or has to be replaced.

        Raises the error of its kind if it does not come up.
        """
        supervised, runner = self._supervised, self._workshop.runner
        self._why_failed = ""
        if supervised.phase is not Phase.RUNNING:  # it was found after its end
            return await answered(partial(runner.wait, container))
        ending = asyncio.ensure_future(answered(partial(runner.wait, container)))
        fitting = asyncio.ensure_future(self._become_fit(container))
        watched: list[asyncio.Future[Any]] = [ending]
        if supervised.joins:
            released = partial(runner.released, supervised.joins)
            watched.append(asyncio.ensure_future(answered(released)))
        failing: asyncio.Future[str] | None = None
        if self._until_failed is not None:
            failing = asyncio.ensure_future(self._until_failed(supervised, container))
            watched.append(failing)
        try:
            while True:
                if self._may_end():
                    self._close()
                    return None
                if self._next is not None:
                    return None
                news = asyncio.ensure_future(supervised.news.wait())
                try:
                    await asyncio.wait(
                        [*watched, news, *([] if supervised.fit else [fitting])],
                        timeout=supervised.left(),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    news.cancel()
                if ending.done():
                    return ending.result()
                if failing is not None and failing.done():
                    self._why_failed = failing.result()
                    await answered(partial(runner.stop, container, self._workshop.grace))
                    return Exit(cause=ExitCause.EXITED)
                if any(future.done() for future in watched):
                    await self._creation.end()
                    return Exit(cause=ExitCause.VANISHED)
                if fitting.done() and not supervised.fit:
                    fitting.result()
                    self._is_fit()
        finally:
            for task in (*watched, fitting):
                task.cancel()
            await asyncio.gather(*watched, fitting, return_exceptions=True)

    async def _become_fit(self, container: str) -> None:
        supervised = self._supervised
        if supervised.networks and supervised.ports:
            address = next(iter(supervised.networks.values()))
            await supervised.listens(address, set(supervised.ports))
        if self._fit is not None:
            await answered(partial(self._fit, supervised, container))

    def _is_fit(self) -> None:
        supervised = self._supervised
        supervised.fit = supervised.was_fit = True
        self._former = None
        if self._next is None:
            self._answer(None)
        self._owner.up(supervised)
        supervised.notify()

    def _may_end(self) -> bool:
        left = self._supervised.left()
        return left is not None and left <= 0

    def _said(self, end: Exit) -> str:
        """Returns how it ended, for people."""
        if self._why_failed:
            return f"was ended, because {self._why_failed}"
        if self._supervised.container is None:
            return "was ended, because the container with its network namespace is gone"
        if self._supervised.phase is Phase.INTERRUPTED:
            return "was interrupted by a restart of the machine"
        if end.out_of_memory:
            return "ended by itself (out of memory)"
        code = end.cause.value if end.code is None else f"exit code {end.code}"
        return f"ended by itself ({code})"

    @property
    def _noun(self) -> str:
        return self._workshop.kind.noun

    @property
    def _named(self) -> dict[str, str]:
        """The extra fields of its log records."""
        return {self._noun: self._supervised.name}


def stays_up(seconds: float) -> Fitting[SupervisedContainer]:
    """Returns the check that a container still runs after some seconds."""

    async def check(_supervised: SupervisedContainer, _container: str) -> None:
        await asyncio.sleep(seconds)

    return check
