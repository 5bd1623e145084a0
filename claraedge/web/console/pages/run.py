"""The form that runs a pipeline: name, priority, parameters, files; it ends on the job's page.

A form has a key, which is used for one job however often it is sent: by a double click, after a
lost answer, or by the button Back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claraedge.blocking import in_thread
from claraedge.errors import NameTakenError
from claraedge.pipelines.syntax.declared import DeclaredParameter, declared
from claraedge.web.console.forms import Outcome
from claraedge.web.console.pages.pipelines import ShownPipeline, registered
from claraedge.web.console.pages.upload import written
from claraedge.web.console.rendering import urlpath
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.console.words import words
from claraedge.web.http.failures import HttpError, refused
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import files_pb2
from claraedge.wire.nvidia.clara.platform import common_pb2, jobs_pb2

_PRIORITIES = {"lower": 1, "normal": 2, "higher": 3, "immediate": 4}
#: Forms whose jobs are remembered.
_MOST = 256
_PARAMETER = "parameter."
_CREATE = "nvidia.clara.platform.Jobs/Create"
_START = "nvidia.clara.platform.Jobs/Start"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A parameter as its field shows it."""

    name: str
    value: str
    required: bool


class RunPages:
    """Makes a job from a form, and starts it."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._life = secrets.token_hex(8)
        """Keys of another life of the daemon are not known any more."""
        self._jobs: dict[tuple[str, str], asyncio.Task[jobs_pb2.JobsCreateResponse]] = {}

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/pipelines/{pipeline}/run", self._ask)
        yield self._pages.receive("/ui/pipelines/{pipeline}/run", self._run)

    async def _ask(self, visit: Visit) -> None:
        await self._show(visit, await registered(visit), "")

    async def _show(
        self, visit: Visit, pipeline: ShownPipeline, problem: str, *, key: str = ""
    ) -> None:
        priority = visit.field("priority")
        await visit.show(
            "run.html",
            pipeline=pipeline,
            problem=problem,
            made=(key, visit.request.parameters["pipeline"]) in self._jobs,
            key=key or f"{self._life}.{secrets.token_hex(8)}",
            job_name=visit.field("name") or pipeline.name,
            priority=priority if priority in _PRIORITIES else "normal",
            priorities=list(_PRIORITIES),
            fields=_fields(await in_thread(declared, pipeline.files), visit.form),
        )

    async def _run(self, visit: Visit) -> Outcome | None:
        """Creates the job of a form. With the step `create` answers with its ids, for the files;
        else starts it, with the files of the form.
        """
        only_create = visit.field("step") == "create"
        key = visit.field("key")
        try:
            if key.partition(".")[0] != self._life:
                await self._refuse_old(visit, only_create)
                return None
            job = await self._job(visit, key)
            if only_create:
                body = {"job": job.job_id.value, "payload": job.payload_id.value}
                await visit.reply.whole(json.dumps(body).encode(), "application/json")
                return None
            await self._fill(visit, key, job)
            await visit.ask(
                _START,
                jobs_pb2.JobsStartRequest(job_id=job.job_id, Variables=_values(visit.form)),
                jobs_pb2.JobsStartResponse,
            )
        except HttpError as error:
            if only_create:
                await visit.reply.whole(error.text, "application/json", status=error.status)
                return None
            if error.status >= 500 or error.status == 404:
                raise
            ended = error.name == "job-state"
            await self._show(visit, await registered(visit), str(error), key="" if ended else key)
            return None
        return Outcome(f"/ui/jobs/{urlpath(job.job_id.value)}", "run.started")

    async def _fill(self, visit: Visit, key: str, job: jobs_pb2.JobsCreateResponse) -> None:
        """Sends the files of a form to its job, which is cancelled if not all of them come.

        Raises HttpError, ClientGoneError.
        """
        if visit.sent is None or not visit.sent.has_files:
            return
        names = set[str]()
        try:
            async for file in visit.sent.files():
                if file.name in names:
                    raise refused(
                        NameTakenError(
                            f"two files of the form have the name {file.name!r}; rename one of"
                            " them, or choose their folder"
                        )
                    )
                names.add(file.name)
                head = files_pb2.WriteFileRequest(payload_id=job.payload_id.value, name=file.name)
                answer = files_pb2.WriteFileResponse
                await visit.send("claraedge.v1.Files/Write", written(head, file), answer)
        except Exception:
            self._jobs.pop((key, visit.request.parameters["pipeline"]), None)
            with contextlib.suppress(HttpError):
                await visit.ask(
                    "nvidia.clara.platform.Jobs/Cancel",
                    jobs_pb2.JobsCancelRequest(
                        job_id=job.job_id, reason="not all of its files were sent"
                    ),
                    jobs_pb2.JobsCancelResponse,
                )
            await visit.sent.skip()
            raise

    async def _refuse_old(self, visit: Visit, only_create: bool) -> None:
        """Shows the form again, which may have been sent before the daemon was started again."""
        t = words(visit.language)
        text = t("run.old")
        if only_create:
            body = json.dumps({"message": text}).encode()
            await visit.reply.whole(body, "application/json", status=409)
            return
        await self._show(visit, await registered(visit), text)

    async def _job(self, visit: Visit, key: str) -> jobs_pb2.JobsCreateResponse:
        """Returns the job of a form; creates it if it was not sent before. Raises HttpError."""
        pipeline = visit.request.parameters["pipeline"]
        same = (key, pipeline)
        task = self._jobs.get(same)
        if task is None:
            request = jobs_pb2.JobsCreateRequest(
                pipeline_id=common_pb2.Identifier(value=pipeline),
                name=visit.field("name"),
                priority=_PRIORITIES.get(visit.field("priority"), 0),  # type: ignore[arg-type]
            )
            task = asyncio.create_task(visit.ask(_CREATE, request, jobs_pb2.JobsCreateResponse))
            self._jobs[same] = task
            if len(self._jobs) > _MOST:
                del self._jobs[next(iter(self._jobs))]
        try:
            return await asyncio.shield(task)
        except HttpError:
            if self._jobs.get(same) is task:
                del self._jobs[same]
            raise


def _fields(
    parameters: Sequence[DeclaredParameter], form: Mapping[str, list[str]]
) -> Sequence[_Field]:
    return [
        _Field(
            name=one.name,
            value=form.get(_PARAMETER + one.name, [one.default or ""])[-1],
            required=one.default is None,
        )
        for one in parameters
    ]


def _values(form: Mapping[str, list[str]]) -> list[jobs_pb2.JobsStartRequest.NamedValue]:
    return [
        jobs_pb2.JobsStartRequest.NamedValue(name=name.removeprefix(_PARAMETER), value=values[-1])
        for name, values in form.items()
        if name.startswith(_PARAMETER)
    ]
