"""Makes jobs of items with complete payloads, many in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from claraedge import bugs, failpoints
from claraedge.clock import Clock
from claraedge.delivery.plan import plan
from claraedge.fs.room import reason_of
from claraedge.ids import NewId
from claraedge.inbox.inspection.permissions import Blocked
from claraedge.inbox.intake.definitions import Definitions, TriggerPipeline
from claraedge.inbox.intake.results import Changed, ItemResult
from claraedge.inbox.intake.submit import (
    Filled,
    PipelineChangedError,
    Prepared,
    Resolved,
    submit_all,
)
from claraedge.inbox.model import Claimed
from claraedge.pipelines.model import Pipeline
from claraedge.store.database import Database, Transaction
from claraedge.suspects import UNRECORDED, Suspects, Work

#: Digest of a definition, parameters, and the id of the job where the definition uses it.
_Whole: TypeAlias = tuple[str, tuple[tuple[str, str], ...], str]
#: Name or id of a pipeline, outputs to deliver, parameters.
_Wish: TypeAlias = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]


class Submissions:
    """Resolves the pipelines of items and writes the rows of their jobs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_id: NewId,
        definitions: Definitions,
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
        suspects: Suspects = UNRECORDED,
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._definitions = definitions
        self._applied = applied
        self._suspects = suspects

    async def submit(self, whole: Sequence[tuple[Claimed, Filled]]) -> Sequence[ItemResult]:
        """Submits items, and returns the result for each."""
        known: dict[_Whole, Pipeline] = {}
        found: dict[_Wish, TriggerPipeline] = {}
        ready = [await self._prepared(item, filled, found, known) for item, filled in whole]
        prepared = [one for one in ready if isinstance(one, Prepared)]
        made = iter(await self._write(prepared) if prepared else ())
        return [next(made) if isinstance(one, Prepared) else one for one in ready]

    async def _prepared(
        self,
        item: Claimed,
        filled: Filled,
        found: dict[_Wish, TriggerPipeline],
        known: dict[_Whole, Pipeline],
    ) -> Prepared | Blocked:
        parameters = item.options.parameters
        wish = (item.pipeline, item.deliver, tuple(sorted(parameters.items())))
        if wish not in found:
            found[wish] = await self._definitions.find(item.pipeline, item.deliver, parameters)
        definition = found[wish]
        if definition.resolved is None:
            return Blocked(reason=definition.problem, remedy=definition.remedy)
        job = self._new_id()
        try:
            async with self._suspects.during(Work.INBOX, item.id):
                resolved = await self._resolved(definition, job, item, known)
        except Exception as error:  # noqa: BLE001 - it fails alone
            return Blocked(reason=reason_of(bugs.known(error, "a job of an item", item=item.id)))
        return Prepared(item=item, job=job, filled=filled, resolved=resolved)

    async def _write(self, prepared: Sequence[Prepared]) -> Sequence[ItemResult]:
        now = self._clock.now()

        def work(tx: Transaction) -> Sequence[ItemResult]:
            return submit_all(tx, prepared, now)

        failpoints.reach("submit: before commit")
        try:
            results = await self._database.write(work)
        except PipelineChangedError:
            return [Changed() for _ in prepared]  # rare, so that all are resolved again
        except Exception as error:  # noqa: BLE001 - it fails alone
            ids = ", ".join(one.item.id for one in prepared)
            why = bugs.known(error, "the jobs of some items", items=ids)
            if why is not error and len(prepared) > 1:  # one of them is the cause: try each alone
                return [found for one in prepared for found in await self._write([one])]
            return [Blocked(reason=reason_of(why)) for _ in prepared]
        failpoints.reach("submit: committed")
        return results

    async def _resolved(
        self, definition: TriggerPipeline, job: str, item: Claimed, whole: dict[_Whole, Pipeline]
    ) -> Resolved:
        """Returns the pipeline of a job, completed by the manifests of its images.

        `whole`: a cache for one batch. Raises PipelineLoadError, and InvalidRequestError where
        `deliver` names an output that the pipeline does not have.
        """
        parameters = item.options.parameters
        resolved = await self._definitions.for_job(definition, job, parameters)
        own = "" if definition.per_job is None else job
        key = (resolved.definition, tuple(sorted(parameters.items())), own)
        if key not in whole:
            whole[key] = await self._applied(resolved.pipeline)
        plan(whole[key], item.deliver)
        return replace(resolved, pipeline=whole[key])
