"""Serves ROS bag jobs and bags."""

from __future__ import annotations

import re
from asyncio import Semaphore
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

from claraedge.errors import BagJobNotFoundError, BagNotFoundError, BagNotReadyError
from claraedge.web.http.failures import HttpError, excerpt, invalid, refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rapyuta.backend import Backend, Conversation
from claraedge.web.rapyuta.requests import deployment_id, json_of, query_fields
from claraedge.web.rapyuta.tickets import Tickets
from claraedge.web.rapyuta.values import bags as objects
from claraedge.web.rpc.exchange import once
from claraedge.web.rpc.upstream import UpstreamCall
from claraedge.wire.claraedge.v1 import bags_pb2 as wire
from claraedge.wire.claraedge.v1 import files_pb2

T = TypeVar("T")

_JOBS, _BLOBS = "/rosbag-jobs", "/rosbag-blobs"
_JOB = re.compile(r"bagjob-[a-z]{24}")
_BAG = re.compile(r"bag-[a-z]{24}")
_DEPLOYMENT = re.compile(r"dep-[a-z]{24}")
#: Bytes of the bags in one answer, as messages.
_LARGEST = 4_000_000
_FIELDS = ("guid", "deploymentID", "componentInstanceID", "jobID", "status", "deviceID")
#: A bag is content of others: a browser saves it, and shows nothing of it.
_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
}


class BagRoutes:
    """Starts, lists, changes and stops jobs; lists, shows, sends and deletes bags."""

    def __init__(self, backend: Backend, places: Semaphore, tickets: Tickets) -> None:
        self._backend = backend
        self._places = places
        self._tickets = tickets

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield Route("GET", _JOBS, self._all_jobs)
        yield Route("POST", f"{_JOBS}/{{id}}", self._start)
        yield Route("GET", f"{_JOBS}/{{id}}", self._jobs)
        yield Route("PATCH", f"{_JOBS}/{{id}}", self._stop)
        yield Route("GET", f"{_JOBS}/job/{{job}}", self._job)
        yield Route("PATCH", f"{_JOBS}/{{id}}/job/{{job}}", self._change)
        yield Route("GET", _BLOBS, self._bags)
        yield Route("GET", f"{_BLOBS}/{{bag}}", self._bag)
        yield Route("DELETE", f"{_BLOBS}/{{bag}}", self._delete)
        yield Route("GET", f"{_BLOBS}/{{bag}}/file", self._file)
        yield Route("POST", f"{_BLOBS}/{{bag}}/retry", self._retry)
        yield Route(
            "GET", f"{_BLOBS}/{{bag}}/content/{{ticket}}/{{name}}", self._content, open=True
        )

    # --- jobs ----------------------------------------------------------------------------------

    async def _start(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        deployment = deployment_id(request.parameters["id"])
        body = await json_of(request, self._places, objects.StartBody)
        call = self._backend.for_request(request, reply)
        message = objects.start_request(body, deployment)
        job = await call.bags("StartJob", message, wire.BagJob)
        await call.answer(objects.job_object(job, await call.device()))

    async def _jobs(self, request: Request, reply: Reply) -> None:
        call = self._backend.for_request(request, reply)
        found = await self._selected(request, call)
        device = await call.device()
        await call.answer([objects.job_object(job, device) for job in found])

    async def _all_jobs(self, request: Request, reply: Reply) -> None:
        fields = query_fields(request, "deviceID")
        call = self._backend.for_request(request, reply)
        device = await call.device()
        found: Sequence[wire.BagJob] = []
        if device.id in fields.get("deviceID", [device.id]):
            found = await _jobs_of(call, "")
        await call.answer([objects.job_object(job, device) for job in found])

    async def _stop(self, request: Request, reply: Reply) -> None:
        call = self._backend.for_request(request, reply)
        device, stopped = await call.device(), []
        for job in await self._selected(request, call):
            message = wire.StopBagJobRequest(job=job.id)
            stopped.append(await call.bags("StopJob", message, wire.BagJob))
        await call.answer([objects.job_object(job, device) for job in stopped])

    async def _job(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        message = wire.GetBagJobRequest(job=_job_id(request))
        job = await call.bags("GetJob", message, wire.BagJob)
        await call.answer(objects.job_object(job, await call.device()))

    async def _change(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        deployment, id_ = deployment_id(request.parameters["id"]), _job_id(request)
        body = await json_of(request, self._places, objects.PatchBody)
        call = self._backend.for_request(request, reply)
        job = await call.bags("GetJob", wire.GetBagJobRequest(job=id_), wire.BagJob)
        if job.deployment_id != deployment:
            raise refused(
                BagJobNotFoundError(
                    f"the bag job {id_} is one of the deployment {job.deployment_id}, not of"
                    f" {deployment}; send that id"
                )
            )
        changed = await call.bags("UpdateJob", objects.update_request(body, id_), wire.BagJob)
        await call.answer(objects.job_object(changed, await call.device()))

    async def _selected(self, request: Request, call: Conversation) -> Sequence[wire.BagJob]:
        """Returns the jobs of a deployment that the query selects. Raises HttpError."""
        more = ("status",) if request.method == "GET" else ()
        fields = query_fields(request, "guid", "componentInstanceID", *more)
        statuses = _numbers(fields.get("status", []), objects.JOB_STATUSES)
        return [
            job
            for job in await _jobs_of(call, deployment_id(request.parameters["id"]))
            if _is_in(job.id, fields.get("guid"))
            and _is_in(job.instance_id, fields.get("componentInstanceID"))
            and (not statuses or job.status in statuses)
        ]

    # --- bags ----------------------------------------------------------------------------------

    async def _bags(self, request: Request, reply: Reply) -> None:
        fields = query_fields(request, *_FIELDS)
        statuses = _numbers(fields.get("status", []), objects.BAG_STATUSES)
        call = self._backend.for_request(request, reply)
        device = await call.device()
        bags, jobs = await _bags_of(call, fields, statuses)
        nobody = wire.BagJob()
        found = [
            objects.bag_object(bag, jobs.get(bag.job_id), device)
            for bag in bags
            if _is_in(bag.id, fields.get("guid"))
            and _is_in(bag.job_id, fields.get("jobID"))
            and _is_in(device.id, fields.get("deviceID"))
            and _is_in(jobs.get(bag.job_id, nobody).deployment_id, fields.get("deploymentID"))
            and _is_in(jobs.get(bag.job_id, nobody).instance_id, fields.get("componentInstanceID"))
            and (not statuses or bag.status in statuses)
        ]
        await call.answer(found)

    async def _bag(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        bag = await _bag_of(request, call)
        job = await call.bags("GetJob", wire.GetBagJobRequest(job=bag.job_id), wire.BagJob)
        await call.answer(objects.bag_object(bag, job, await call.device()))

    async def _delete(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        message = wire.DeleteBagRequest(bag=_bag_id(request))
        bag = await call.bags("Delete", message, wire.Bag)
        await call.answer({"guid": bag.id})

    async def _retry(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        bag = await _bag_of(request, call)
        if bag.status == wire.BAG_STATUS_ERROR:
            raise invalid(f"another try does not repair the bag {bag.id}: {bag.reason}")
        await call.answer({"status": objects.BAG_STATUSES.get(bag.status, "Starting")})

    async def _file(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        bag = await _bag_of(request, call)
        if not bag.payload_id:
            raise refused(
                BagNotReadyError(
                    f"the bag {bag.id} is not stored yet"
                    f"{f' ({bag.reason})' if bag.reason else ''}; call poll_till_ready first"
                )
            )
        await call.answer({"url": self._tickets.url(bag.id, bag.name, request)})

    async def _content(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        id_ = _bag_id(request)
        self._tickets.check(id_, request.parameters["ticket"])
        call = self._backend.for_request(request, reply)
        bag = await _bag_of(request, call)
        stat = files_pb2.StatFileRequest(payload_id=bag.payload_id, name=bag.name)
        info = await self._backend.files.one("Stat", stat, files_pb2.FileInfo, request, reply)

        async def send(upstream: UpstreamCall) -> None:
            answer = await upstream.read()
            headers = {
                **_HEADERS,
                # Without quotes: for the SDK all that follows is the name.
                "Content-Disposition": f"attachment; filename={bag.name}",
                "Content-Length": str(info.size),
            }
            await reply.begin("application/octet-stream", headers=headers)
            while answer is not None:
                await reply.part(files_pb2.ReadFileResponse.FromString(answer).data)
                answer = await upstream.read()
            await reply.end()

        message = files_pb2.ReadFileRequest(
            payload_id=bag.payload_id, name=bag.name, limit=info.size, if_etag=info.etag
        )
        await self._backend.files.of("Read", request, reply).run(once(request, message), send)


async def _jobs_of(call: Conversation, deployment: str) -> Sequence[wire.BagJob]:
    message = wire.ListBagJobsRequest(deployment=deployment)
    return (await call.bags("ListJobs", message, wire.ListBagJobsResponse)).jobs


async def _bags_of(
    call: Conversation,
    fields: Mapping[str, Sequence[str]],
    statuses: Collection[wire.BagStatus.ValueType],
) -> tuple[Sequence[wire.Bag], Mapping[str, wire.BagJob]]:
    """Returns bags, and their jobs by their ids: those of the jobs, the deployments or the ids that
    a query names, or all.

    There may be more bags than one answer has room for. Raises HttpError if that is so.
    """
    listed: list[wire.Bag] = []
    jobs: dict[str, wire.BagJob] = {}
    size = 0

    async def add(*, job: str = "", deployment: str = "") -> None:
        nonlocal size
        message = wire.ListBagsRequest(job=job, deployment=deployment, statuses=statuses)
        answer = await _unless_missing(call.bags("List", message, wire.ListBagsResponse))
        listed.extend(answer.bags if answer is not None else ())
        size += answer.ByteSize() if answer is not None else 0
        if size > _LARGEST:
            raise invalid(f"the bags are larger than {_LARGEST} bytes together; name fewer jobs")

    async def add_job(id_: str) -> bool:
        message = wire.GetBagJobRequest(job=id_)
        job = await _unless_missing(call.bags("GetJob", message, wire.BagJob))
        jobs.update({} if job is None else {job.id: job})
        return job is not None

    if "jobID" in fields:
        for id_ in filter(_JOB.fullmatch, dict.fromkeys(fields["jobID"])):
            if await add_job(id_):
                await add(job=id_)
    elif "deploymentID" in fields:
        for id_ in filter(_DEPLOYMENT.fullmatch, dict.fromkeys(fields["deploymentID"])):
            found = await _unless_missing(_jobs_of(call, id_))
            jobs.update((job.id, job) for job in found or ())
            await add(deployment=id_)
    elif "guid" in fields:
        for id_ in filter(_BAG.fullmatch, dict.fromkeys(fields["guid"])):
            get = call.bags("Get", wire.GetBagRequest(bag=id_), wire.Bag)
            if (bag := await _unless_missing(get)) is not None:
                listed.append(bag)
        for job in dict.fromkeys(bag.job_id for bag in listed):
            await add_job(job)
    else:
        await add()
        jobs.update((job.id, job) for job in await _jobs_of(call, ""))
    return listed, jobs


async def _unless_missing(answer: Awaitable[T]) -> T | None:
    """Returns an answer; None if it is that there is no such thing, which lists as nothing."""
    try:
        return await answer
    except HttpError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


async def _bag_of(request: Request, call: Conversation) -> wire.Bag:
    return await call.bags("Get", wire.GetBagRequest(bag=_bag_id(request)), wire.Bag)


def _job_id(request: Request) -> str:
    """Returns the id of a job in the path. Raises HttpError if it is none."""
    id_ = request.parameters["job"]
    if not _JOB.fullmatch(id_):
        raise refused(
            BagJobNotFoundError(
                f"{excerpt(id_)!r} is no id of a bag job: bagjob- and 24 lower-case letters;"
                " list_rosbag_jobs lists the ids"
            )
        )
    return id_


def _bag_id(request: Request) -> str:
    """Returns the id of a bag in the path. Raises HttpError if it is none."""
    id_ = request.parameters["bag"]
    if not _BAG.fullmatch(id_):
        raise refused(
            BagNotFoundError(
                f"{excerpt(id_)!r} is no id of a bag: bag- and 24 lower-case letters;"
                " list_rosbag_blobs lists the ids"
            )
        )
    return id_


def _is_in(value: str, wanted: Sequence[str] | None) -> bool:
    return wanted is None or value in wanted


def _numbers(words: Sequence[str], statuses: Mapping[T, str]) -> frozenset[T]:
    """Returns the statuses of these words. Raises HttpError for a word that is none."""
    numbers = {word: number for number, word in statuses.items()}
    for word in words:
        if word not in numbers:
            raise invalid(f"{excerpt(word)!r} is no status; send one of {', '.join(numbers)}")
    return frozenset(numbers[word] for word in words)
