"""Calls of the services of claraedge itself, and of the version of the platform.

Every call also raises what the methods of `Connection` raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from claraedge.client.connection import HEADER, Connection
from claraedge.client.prefix import by_prefix, full_id
from claraedge.client.values import (
    DiskInfo,
    ImageInfo,
    ItemInfo,
    RetentionInfo,
    SettingInfo,
    Status,
    unix_moment,
)
from claraedge.errors import InvalidImageError, InvalidRequestError, ItemNotFoundError
from claraedge.formats.filenames import NameKind, Names, Row
from claraedge.fs.adopting import Thing
from claraedge.wire.claraedge.v1 import appliance_pb2 as pb
from claraedge.wire.claraedge.v1.appliance_pb2_grpc import ApplianceStub, ImagesStub, InboxStub
from claraedge.wire.nvidia.clara.platform.clara_pb2 import ClaraVersionRequest
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub

_CHUNK = 1024 * 1024
#: Maximum items that an error lists if several have the given name.
_NAMED_SHOWN = 10

#: Names of the states of items, as `list_items` accepts and returns them.
ITEM_STATES = tuple(
    name.removeprefix("ITEM_STATE_") for name, number in pb.ItemState.items() if number
)


def load_images(
    connection: Connection, archive: Path, progress: Callable[[int], object]
) -> tuple[list[ImageInfo], list[str]]:
    """Loads the images of an archive; returns them, and warnings.

    `progress` is called with the bytes of each chunk. Raises InvalidImageError if the archive
    has no image that can be read.
    """

    def requests() -> Iterator[pb.LoadRequest]:
        with archive.open("rb") as file:
            while data := file.read(_CHUNK):
                yield pb.LoadRequest(data=data)
                progress(len(data))

    try:
        reply = connection.send(ImagesStub(connection.channel).Load, requests())
    except InvalidImageError as error:  # the daemon does not know the name of the file
        raise InvalidImageError(f"{archive}: {error}") from error
    return [_image(image) for image in reply.images], list(reply.warnings)


def list_images(connection: Connection) -> tuple[list[ImageInfo], list[str]]:
    """Returns all images of the device, and warnings about archives that are not loaded."""
    reply = connection.unary(ImagesStub(connection.channel).List, pb.ListImagesRequest())
    return [_image(image) for image in reply.images], list(reply.warnings)


def remove_image(connection: Connection, reference: str) -> ImageInfo:
    """Removes an image, or only the given name if it has several; returns the image."""
    request = pb.RemoveImageRequest(reference=reference)
    return _image(connection.unary(ImagesStub(connection.channel).Remove, request))


def _image(image: pb.Image) -> ImageInfo:
    return ImageInfo(
        id=image.id,
        names=tuple(image.names),
        digests=tuple(image.digests),
        size=image.size,
        created=unix_moment(image.created),
        problem=image.problem,
    )


def names(connection: Connection) -> Names:
    """Returns the device's table of names that are not content of users."""
    reply = connection.unary(ApplianceStub(connection.channel).Names, pb.NamesRequest())
    return Names(
        Row(
            kind=NameKind[pb.NameKind.Name(row.kind).removeprefix("NAME_KIND_")],
            program=row.program,
            pattern=row.pattern,
            source=row.source,
            expression=row.expression,
        )
        for row in reply.patterns
    )


def settings(connection: Connection) -> list[SettingInfo]:
    """Returns all settings of the daemon, in the order of the documentation."""
    reply = connection.unary(ApplianceStub(connection.channel).Settings, pb.SettingsRequest())
    return [
        SettingInfo(
            key=f"{setting.section}.{setting.name}".removeprefix("."),
            value=setting.value,
            is_default=setting.is_default,
            origin=pb.SettingOrigin.Name(setting.origin).removeprefix("SETTING_ORIGIN_").lower(),
            place=setting.place,
            line=setting.line,
            meaning=setting.meaning,
            secret=setting.secret,
        )
        for setting in reply.settings
    ]


def list_items(connection: Connection, state: str | None = None) -> list[ItemInfo]:
    """Returns the items of the drop folder in the order first seen; all if `state` is None."""
    wanted = pb.ItemState.Value(f"ITEM_STATE_{state or 'UNKNOWN'}")
    replies = connection.stream(
        InboxStub(connection.channel).List, pb.ListItemsRequest(state=wanted)
    )
    return [_item(item) for reply in replies for item in reply.items]


def resolve_item(connection: Connection, text: str) -> str:
    """Returns the id that `text` means: a full id, a unique prefix, or the name of a single item.

    A name may be preceded by that of its folder, as in `ct/scan.dcm`.

    Raises InvalidRequestError, with a list of the items, if several have the name (it was dropped
    again, or in another folder) or if several ids begin with the prefix, and ItemNotFoundError.
    """
    found = list_items(connection)
    named = [item for item in found if item.name == text] or [
        item for item in found if f"{item.folder}/{item.name}".endswith(f"/{text.lstrip('/')}")
    ]
    if len(named) == 1:
        return named[0].id
    if named:
        shown = named[-_NAMED_SHOWN:]
        raise InvalidRequestError(
            f"{len(named)} items are called {text!r}; give the id of one"
            + (f" (these are the last {len(shown)}):" if len(shown) < len(named) else ":"),
            *(f"  {item.id}  {item.state}, in {item.folder}" for item in shown),
        )
    return full_id(text) or by_prefix(
        text,
        [(item.id, item.name) for item in found],
        noun="item",
        article="an",
        invalid=InvalidRequestError,
        missing=ItemNotFoundError,
        see="claraedge list inbox",
    )


def item(connection: Connection, item_id: str) -> ItemInfo:
    """Returns one item of the drop folder."""
    reply = connection.unary(InboxStub(connection.channel).Get, pb.GetItemRequest(id=item_id))
    return _item(reply)


def retry_item(connection: Connection, item_id: str) -> ItemInfo:
    """Requests another attempt for an item; returns the item afterwards."""
    reply = connection.unary(InboxStub(connection.channel).Retry, pb.RetryItemRequest(id=item_id))
    return _item(reply)


def discard_item(connection: Connection, item_id: str) -> ItemInfo:
    """Removes a failed item with its original for good; returns the item afterwards."""
    request = pb.DiscardItemRequest(id=item_id)
    return _item(connection.unary(InboxStub(connection.channel).Discard, request))


def thing_of(connection: Connection, item_id: str) -> Thing | None:
    """Returns what must be given to the daemon's user so that it can claim the item, or None."""
    reply = connection.unary(InboxStub(connection.channel).Get, pb.GetItemRequest(id=item_id))
    if not reply.HasField("thing"):
        return None
    found = reply.thing
    return Thing(path=found.path, device=found.device, inode=found.inode, alone=found.alone)


def try_again(connection: Connection, kind: str, name: str) -> None:
    """Requests work again on a thing that was set aside. Raises NotSetAsideError."""
    request = pb.TryAgainRequest(kind=kind, name=name)
    connection.unary(ApplianceStub(connection.channel).TryAgain, request)


def _item(item: pb.Item) -> ItemInfo:
    names = {number: name.removeprefix("ITEM_STATE_") for name, number in pb.ItemState.items()}
    return ItemInfo(
        id=item.id,
        name=item.name,
        folder=item.folder,
        pipeline=item.pipeline,
        state=names.get(item.state, str(item.state)),
        reason=item.reason,
        remedy=item.remedy,
        job_id=item.job_id,
        first_seen=unix_moment(item.first_seen),
        size=item.size,
        result_path=item.result_path,
        members=tuple(item.members),
        digest=item.digest,
        duplicate_of=item.duplicate_of,
        removed=unix_moment(item.removed),
        original_path=item.original_path,
        original_removed=unix_moment(item.original_removed),
        members_left_out=item.members_left_out,
    )


def status(connection: Connection) -> Status:
    """Returns the status of the daemon."""
    reply = connection.unary(
        ApplianceStub(connection.channel).Status, pb.StatusRequest(), timeout=30.0
    )
    return Status(
        version=reply.version,
        instance=reply.instance,
        started=unix_moment(reply.started),
        state_dir=reply.state_dir,
        inbox_dir=reply.inbox_dir,
        outbox_dir=reply.outbox_dir,
        failed_dir=reply.failed_dir,
        pipelines_dir=reply.pipelines_dir,
        images_dir=reply.images_dir,
        jobs_pending=reply.jobs_pending,
        jobs_running=reply.jobs_running,
        items_parked=reply.items_parked,
        items_failed=reply.items_failed,
        outbox_results=reply.outbox_results,
        failed_results=reply.failed_results,
        originals=reply.originals,
        outbox_bytes=reply.outbox_bytes,
        failed_bytes=reply.failed_bytes,
        originals_bytes=reply.originals_bytes,
        originals_dir=reply.originals_dir,
        podman_version=reply.podman_version,
        gpus=reply.gpus,
        disks=tuple(
            DiskInfo(
                name=disk.name,
                free=disk.free,
                total=disk.total,
                soft_limit=disk.soft_limit,
                hard_limit=disk.hard_limit,
            )
            for disk in reply.disks
        ),
        removed=RetentionInfo(
            payloads=reply.removed.payloads,
            logs=reply.removed.logs,
            jobs=reply.removed.jobs,
            size=reply.removed.size,
            last=unix_moment(reply.removed.last),
        ),
        warnings=tuple(reply.warnings),
    )


def platform_version(connection: Connection) -> str:
    """Returns the version of the platform, such as `0.8.1`, with its label if it has one."""
    version = connection.unary(
        ClaraStub(connection.channel).Version, ClaraVersionRequest(header=HEADER), timeout=10.0
    ).version
    text = f"{version.major}.{version.minor}.{version.patch}"
    return f"{text}-{version.label}" if version.label else text
