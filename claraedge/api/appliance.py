"""Serves the services of claraedge itself: `claraedge.v1.Images`, `Inbox`, `Queue`, `Appliance`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from claraedge import memory
from claraedge.appliance.disks import Figures
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, to_its_end
from claraedge.config.inbox import GATHERING
from claraedge.config.origins import SettingValue
from claraedge.errors import InvalidImageError, InvalidJobIdError, InvalidRequestError
from claraedge.formats.filenames import Names
from claraedge.fs import files
from claraedge.fs.adopting import Thing
from claraedge.gpu.telemetry import GpuReading
from claraedge.ids import new_id, parse_id
from claraedge.images.images import Images
from claraedge.inbox.drops.drops import DropFolder, Drops
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import Item, ItemState
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.retention.retention import Removed
from claraedge.payloads.uploads import BlockedBy, refuse_blocked
from claraedge.runner.protocol import Image
from claraedge.suspects import Work
from claraedge.usage.usage import DeviceUsed
from claraedge.wire.claraedge.v1 import appliance_pb2 as wire

_ITEMS_IN_A_MESSAGE = 500
#: Bytes of items in one message. Clients accept messages of 4 MiB.
_BYTES = 2 << 20
_BUFFER = 1024 * 1024
#: Approximate bytes of memory of an item.
_ITEM = 400
#: Bytes of a megabyte, as definitions count it.
_MB = 1 << 20


class ImagesServicer:
    """Implements `claraedge.v1.Images`: Load, List, Remove."""

    def __init__(
        self,
        images: Images,
        scratch: Path,
        blocked_by: BlockedBy,
        warnings: Callable[[], Sequence[str]],
    ) -> None:
        """`blocked_by` returns why no upload may continue, or None; `warnings` returns the warnings
        about images.d.
        """
        self._images = images
        self._warnings = warnings
        self._scratch = scratch
        self._blocked_by = blocked_by

    async def Load(self, requests: AsyncIterator[wire.LoadRequest]) -> wire.LoadResponse:
        """Answers Images.Load. Raises InvalidImageError if the archive has no bytes."""
        archive = self._scratch / f"image-{new_id()}.tar"
        try:
            size = 0
            buffer = bytearray()
            async for request in requests:
                refuse_blocked(self._blocked_by)
                buffer += request.data
                size += len(request.data)
                if len(buffer) >= _BUFFER:
                    await in_cancellable_thread(_write, archive, buffer)
            await in_cancellable_thread(_write, archive, buffer)
            if size == 0:
                raise InvalidImageError(
                    "the archive is empty (0 bytes); copy it again, or write it again with `docker"
                    " save IMAGE -o image.tar`"
                )
            images, warnings = await self._images.load(archive)
        finally:
            await to_its_end(in_thread(archive.unlink, missing_ok=True))
        return wire.LoadResponse(images=map(self._image, images), warnings=warnings)

    async def List(self, request: wire.ListImagesRequest) -> wire.ListImagesResponse:
        return wire.ListImagesResponse(
            images=map(self._image, await self._images.all()), warnings=self._warnings()
        )

    async def Remove(self, request: wire.RemoveImageRequest) -> wire.Image:
        """Answers Images.Remove. Raises InvalidRequestError if the request names no image."""
        if not request.reference.strip():
            raise InvalidRequestError("name the image to remove, as `list images` shows it")
        return self._image(await self._images.remove(request.reference))

    def _image(self, image: Image) -> wire.Image:
        return wire.Image(
            id=image.id,
            names=image.names,
            digests=image.digests,
            size=image.size,
            created=time_of(image.created),
            problem=self._images.trouble(image),
        )


class InboxServicer:
    """Implements `claraedge.v1.Inbox`: List, Get, Retry, Discard, ListTriggers."""

    def __init__(self, inbox: Inbox, drops: Drops) -> None:
        self._inbox = inbox
        self._drops = drops

    async def List(self, request: wire.ListItemsRequest) -> AsyncIterator[wire.ListItemsResponse]:
        items = await self._inbox.items(_state(request.state))
        # The share is capped: a very long list is answered as well, but only a few at a time.
        memory.take(min(len(items) * _ITEM, memory.TOTAL // 4))
        message = wire.ListItemsResponse()
        size = 0
        for item in items:
            found = _item(item)
            size += found.ByteSize()
            if len(message.items) >= _ITEMS_IN_A_MESSAGE or (message.items and size > _BYTES):
                yield message
                message, size = wire.ListItemsResponse(), found.ByteSize()
            message.items.append(found)
        yield message

    async def Get(self, request: wire.GetItemRequest) -> wire.Item:
        return _item(await self._inbox.item(parse_id(request.id, InvalidRequestError)))

    async def Retry(self, request: wire.RetryItemRequest) -> wire.Item:
        return _item(await self._inbox.retry(parse_id(request.id, InvalidRequestError)))

    async def Discard(self, request: wire.DiscardItemRequest) -> wire.Item:
        return _item(await self._inbox.discard(parse_id(request.id, InvalidRequestError)))

    async def ListTriggers(self, request: wire.ListTriggersRequest) -> wire.ListTriggersResponse:
        return wire.ListTriggersResponse(triggers=map(_trigger, await self._drops.folders()))


class QueueServicer:
    """Implements `claraedge.v1.Queue`: Explain."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def Explain(self, request: wire.ExplainRequest) -> wire.ExplainResponse:
        waits = await self._jobs.waits(parse_id(request.job_id, InvalidJobIdError))
        return wire.ExplainResponse(
            waits=[
                wire.Wait(operator=wait.operator, text=wait.text, upstream=wait.upstream)
                for wait in waits
            ]
        )


class ApplianceServicer:
    """Implements `claraedge.v1.Appliance`: Status, Names, TryAgain, Settings, Usage."""

    def __init__(
        self,
        status: Callable[[], Awaitable[wire.StatusResponse]],
        names: Names,
        try_again: Callable[[Work, str], Awaitable[None]],
        settings: Callable[[], Awaitable[wire.SettingsResponse]],
        usage: Callable[[], Awaitable[wire.UsageResponse]],
    ) -> None:
        self._status = status
        self._names = names
        self._try_again = try_again
        self._settings = settings
        self._usage = usage

    async def Status(self, request: wire.StatusRequest) -> wire.StatusResponse:
        return await self._status()

    async def Names(self, request: wire.NamesRequest) -> wire.NamesResponse:
        return wire.NamesResponse(
            patterns=[
                wire.NamePattern(
                    kind=wire.NameKind.Value(f"NAME_KIND_{row.kind.name}"),
                    program=row.program,
                    pattern=row.pattern,
                    source=row.source,
                    expression=row.expression,
                )
                for row in self._names.rows
            ]
        )

    async def TryAgain(self, request: wire.TryAgainRequest) -> wire.TryAgainResponse:
        """Answers Appliance.TryAgain. Raises InvalidRequestError if the kind is unknown."""
        kinds = {kind.value: kind for kind in Work}
        if request.kind not in kinds:
            raise InvalidRequestError(
                f"nothing of the kind {request.kind!r} is ever set aside; name one of "
                + ", ".join(sorted(kinds))
            )
        await self._try_again(kinds[request.kind], request.name)
        return wire.TryAgainResponse()

    async def Settings(self, request: wire.SettingsRequest) -> wire.SettingsResponse:
        return await self._settings()

    async def Usage(self, request: wire.UsageRequest) -> wire.UsageResponse:
        return await self._usage()


def _state(number: int) -> ItemState | None:
    """Returns the state that a request names; None for all. Raises InvalidRequestError."""
    if number == wire.ITEM_STATE_UNKNOWN:
        return None
    for state in ItemState:
        if wire.ItemState.Value(f"ITEM_STATE_{state.name}") == number:
            return state
    raise InvalidRequestError(f"no item is ever in state {number}; leave the state out for all")


def _trigger(found: DropFolder) -> wire.Trigger:
    one, rule = found.trigger, found.trigger.rule
    return wire.Trigger(
        folder=found.name,
        pipeline=rule.pipeline or found.name,
        grouping=rule.grouping,
        include=rule.include,
        ignore=rule.ignore,
        marker=rule.marker or "",
        quiet_seconds=rule.quiet if rule.grouping in GATHERING else 0,
        settle_seconds=one.settle,
        problem=one.problem,
        remedy=one.remedy,
        refused=found.refused,
    )


def _write(_: CancelFlag, archive: Path, buffer: bytearray) -> None:
    """Appends the buffer to the archive and empties it."""
    files.append(archive, [buffer])
    buffer.clear()


def _item(item: Item) -> wire.Item:
    members, room = [], _BYTES // 2
    for member in item.members:
        room -= 4 * len(member)  # UTF-8 needs at most 4 bytes per character
        if room < 0:
            break
        members.append(member)
    return wire.Item(
        id=item.id,
        name=item.name,
        raw_name=item.raw_name,
        folder=item.folder,
        pipeline=item.pipeline,
        state=wire.ItemState.Value(f"ITEM_STATE_{item.state.name}"),
        reason=item.reason,
        remedy=item.remedy,
        job_id=item.job or "",
        first_seen=time_of(item.first_seen),
        size=item.size,
        result_path=item.result_path or "",
        members=members,
        members_left_out=len(item.members) - len(members),
        digest=item.digest,
        duplicate_of=item.duplicate_of,
        removed=None if item.removed is None else time_of(item.removed),
        original_path=item.original_path or "",
        original_removed=None if item.original_removed is None else time_of(item.original_removed),
        thing=None if item.thing is None else _thing(item.thing),
    )


def _thing(thing: Thing) -> wire.Thing:
    return wire.Thing(path=thing.path, device=thing.device, inode=thing.inode, alone=thing.alone)


def disk_of(figures: Figures) -> wire.Disk:
    """Returns the figures of a disk as a message."""
    return wire.Disk(
        name=figures.name,
        free=figures.free,
        total=figures.total,
        soft_limit=figures.soft,
        hard_limit=figures.hard,
    )


def removed_of(removed: Removed, last: float | None) -> wire.Removed:
    """Returns as a message what retention removed; `last` is its last time in Unix seconds."""
    return wire.Removed(
        payloads=removed.payloads,
        logs=removed.logs,
        jobs=removed.jobs,
        size=removed.size,
        last=None if last is None else time_of(last),
    )


def settings_of(settings: Sequence[SettingValue], file: str) -> wire.SettingsResponse:
    """Returns the settings as a message; `file`: path of the configuration file."""
    return wire.SettingsResponse(
        file=file,
        settings=[
            wire.Setting(
                section=setting.section,
                name=setting.name,
                value=setting.value,
                is_default=setting.is_default,
                origin=wire.SettingOrigin.Value(f"SETTING_ORIGIN_{setting.origin.kind.name}"),
                place=setting.origin.place,
                line=setting.origin.line,
                meaning=setting.meaning,
                secret=setting.secret,
            )
            for setting in settings
        ],
    )


def usage_of(used: DeviceUsed, memory: int) -> wire.UsageResponse:
    """Returns the usage as a message; `memory`: megabytes of the device."""
    return wire.UsageResponse(
        time=time_of(used.time),
        since=time_of(used.since),
        history=[
            wire.UsageStep(time=time_of(step.time), memory=step.memory * _MB, gpus=step.gpus)
            for step in used.history
        ],
        memory_total=memory * _MB,
        memory_used=used.memory_used,
        gpus_total=used.gpus_total,
        gpus=map(_gpu, used.gpus),
        gpu_problem=used.gpu_problem,
    )


def _gpu(gpu: GpuReading) -> wire.GpuUsage:
    memory = gpu.memory
    return wire.GpuUsage(
        index=gpu.index,
        name=gpu.name or "",
        utilization=gpu.compute_utilization,
        memory_used=None if memory is None else memory.used,
        memory_total=None if memory is None else memory.used + memory.free,
    )


def time_of(seconds: float) -> Timestamp:
    """Converts Unix seconds into the well-known type Timestamp."""
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
