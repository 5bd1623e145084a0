"""Resolves the pipelines that triggers name, as their jobs will run them; cached by digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from claraedge.blocking import in_thread
from claraedge.config.inbox import TriggerSettings
from claraedge.config.placeholders import filled, unknown
from claraedge.delivery.plan import plan
from claraedge.errors import ClaraedgeError
from claraedge.inbox.intake.submit import Resolved
from claraedge.inbox.model import is_text
from claraedge.inbox.triggers.triggers import CREATE, no_pipeline
from claraedge.payloads.tree import printable
from claraedge.pipelines.syntax.parameters import uses_job_id
from claraedge.registry.pipelines import Registered, find, resolve, why_missing
from claraedge.store.database import Database

_KEPT = 256
#: Key of the cache: digest of the definition, outputs to deliver, parameters.
_Key: TypeAlias = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]
#: An id of a job, to check a definition before there is one.
_ANY_JOB = "0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerPipeline:
    """The current pipeline of a trigger, or why no job can run it."""

    resolved: Resolved | None = None
    problem: str = ""
    """Why no job can run it; empty: jobs can."""
    remedy: str = ""
    per_job: Registered | None = None
    """Set where the definition uses the id of its job, so that each job resolves it again."""


class Definitions:
    """Finds pipelines by name or id, and resolves each definition once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[_Key, TriggerPipeline] = {}

    async def of_rule(self, rule: TriggerSettings) -> TriggerPipeline:
        """Checks a trigger's pipeline, as far as the result is the same for all its items."""
        if any(unknown(text, ()) for text in rule.parameters.values()):
            registered = (await self.registered([rule.pipeline]))[rule.pipeline]
            return TriggerPipeline() if registered else await self.missing(rule.pipeline)
        parameters = {key: filled(text, {}) for key, text in rule.parameters.items()}
        return await self.find(rule.pipeline, rule.deliver, parameters)

    async def find(
        self, pipeline: str, deliver: tuple[str, ...], parameters: Mapping[str, str]
    ) -> TriggerPipeline:
        """Returns the newest pipeline of a name, or that of an id, with these parameters."""
        registered = (await self.registered([pipeline]))[pipeline]
        if registered is None:
            return await self.missing(pipeline)
        key = (registered.definition, deliver, tuple(sorted(parameters.items())))
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = await in_thread(_resolve, registered, deliver, parameters)
        return self._kept[key]

    async def for_job(
        self, definition: TriggerPipeline, job: str, parameters: Mapping[str, str]
    ) -> Resolved:
        """Returns the pipeline that this job will run. Raises PipelineLoadError.

        The definition must have no problem.
        """
        assert definition.resolved is not None, "it has no problem"
        if definition.per_job is None:
            return definition.resolved
        pipeline = await in_thread(resolve, definition.per_job.files, parameters, job)
        return Resolved(definition=definition.resolved.definition, pipeline=pipeline)

    async def registered(self, names: Iterable[str]) -> Mapping[str, Registered | None]:
        """Returns the registered pipeline of each name or id, or None where there is none."""
        wanted = tuple(names)
        return await self._database.read(lambda tx: {name: find(tx, name) for name in wanted})

    async def missing(self, pipeline: str) -> TriggerPipeline:
        """Returns a definition whose problem says why there is no pipeline of this name or id."""
        if not is_text(pipeline):  # the name of a folder, which no pipeline can ever have
            return TriggerPipeline(
                problem=f"{no_pipeline(printable(pipeline))}: the folder's name is not UTF-8;"
                " rename it"
            )
        why = await self._database.read(lambda tx: why_missing(tx, pipeline))
        if why:
            return TriggerPipeline(problem=f"{no_pipeline(printable(pipeline))}: {why}")
        return TriggerPipeline(
            problem=f"{no_pipeline(printable(pipeline))} (`claraedge list pipelines` shows all)",
            remedy=CREATE,
        )


def _resolve(
    registered: Registered, deliver: tuple[str, ...], parameters: Mapping[str, str]
) -> TriggerPipeline:
    try:
        pipeline = resolve(registered.files, parameters, _ANY_JOB)
        plan(pipeline, deliver)
    except ClaraedgeError as error:
        return TriggerPipeline(
            problem=f"the pipeline {registered.name} cannot take it: " + "; ".join(error.messages)
        )
    per_job = any(uses_job_id(file.content) for file in registered.files)
    return TriggerPipeline(
        resolved=Resolved(definition=registered.definition, pipeline=pipeline),
        per_job=registered if per_job else None,
    )
