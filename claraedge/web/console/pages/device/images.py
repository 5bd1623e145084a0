"""The images of the device: what is here, what uses it, loading and removing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from claraedge.blocking import in_thread
from claraedge.errors import ImageNotFoundError
from claraedge.pipelines.checks.load import load_files
from claraedge.pipelines.model import DefinitionFile, merge_parts
from claraedge.web.console.forms import Outcome
from claraedge.web.console.pages.device.lists import ROWS, first_of, start_of
from claraedge.web.console.rendering import urlpath
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import HttpError, excerpt, refused
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2, packages_pb2
from claraedge.wire.nvidia.clara.platform import pipelines_pb2

#: Pipelines whose definitions are searched for the name of an image: in all, and at once. After
#: some seconds, no further ones are.
_PIPELINES, _AT_ONCE = 200, 4
_SECONDS = 2.0
_FILES = 50


@dataclass(frozen=True, slots=True)
class _User:
    """A pipeline or a package that names an image."""

    path: str
    name: str


class ImagePages:
    """Shows images, loads and removes them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/images", self._list)
        yield self._pages.receive("/ui/images", self._load)
        yield self._pages.get("/ui/images/{image}", self._show)
        yield self._pages.post("/ui/images/{image}/remove", self._remove)

    async def _list(self, visit: Visit) -> None:
        found = await _all(visit)
        images = sorted(found.images, key=lambda image: (list(image.names) or ["~"], image.id))
        start = start_of(visit)
        await visit.show(
            "images.html",
            images=images[start : start + ROWS],
            count=len(images),
            start=start,
            rows=ROWS,
            warnings=found.warnings,
        )

    async def _show(self, visit: Visit) -> None:
        id_ = visit.request.parameters["image"]
        image = next((one for one in (await _all(visit)).images if one.id == id_), None)
        if image is None:
            raise refused(
                ImageNotFoundError(
                    f"no image has the id {excerpt(id_)}; `claraedge list images` shows all"
                )
            )
        names = list(image.names)
        packages, (pipelines, searched, is_whole) = await visit.at_once(
            _packages(visit, names), _pipelines(visit, names)
        )
        await visit.show(
            "image.html",
            image=image,
            users=[*pipelines, *packages],
            searched=searched,
            is_whole=is_whole,
        )

    async def _load(self, visit: Visit) -> Outcome:
        if visit.sent is None or not visit.sent.has_files:
            return Outcome("/ui/images", "none_chosen")
        await visit.send(
            "claraedge.v1.Images/Load",
            (
                appliance_pb2.LoadRequest(data=part).SerializeToString()
                async for part in visit.sent.only_file()
            ),
            appliance_pb2.LoadResponse,
        )
        return Outcome("/ui/images", "image_loaded")

    async def _remove(self, visit: Visit) -> None:
        reference = visit.field("name") or visit.request.parameters["image"]
        await visit.ask(
            "claraedge.v1.Images/Remove",
            appliance_pb2.RemoveImageRequest(reference=reference),
            appliance_pb2.Image,
        )
        await visit.go("/ui/images", "image_removed")


async def _all(visit: Visit) -> appliance_pb2.ListImagesResponse:
    return await visit.ask(
        "claraedge.v1.Images/List",
        appliance_pb2.ListImagesRequest(),
        appliance_pb2.ListImagesResponse,
    )


async def _pipelines(visit: Visit, names: Sequence[str]) -> tuple[list[_User], int, bool]:
    """Returns the pipelines that name an image, how many were searched, and whether all were."""
    listed = await first_of(
        visit,
        "nvidia.clara.platform.Pipelines/List",
        pipelines_pb2.PipelinesListRequest(),
        pipelines_pb2.PipelinesListResponse,
        _PIPELINES + 1,
    )
    known = [one.details for one in listed if one.HasField("details")]
    searched = known[:_PIPELINES]
    loop = asyncio.get_running_loop()
    until = loop.time() + _SECONDS
    found: list[_User] = []
    for start in range(0, len(searched), _AT_ONCE):
        if start and loop.time() >= until:
            return found, start, False
        some = searched[start : start + _AT_ONCE]
        are_users = await visit.at_once(*(_names_one(visit, one, names) for one in some))
        found += (
            _User(f"/ui/pipelines/{urlpath(one.pipeline_id.value)}", one.name)
            for one, is_user in zip(some, are_users, strict=True)
            if is_user
        )
    return found, len(searched), len(searched) == len(known)


async def _names_one(
    visit: Visit,
    pipeline: pipelines_pb2.PipelinesListResponse.PipelineDetails,
    names: Sequence[str],
) -> bool:
    """Whether a pipeline names one of the images."""
    try:
        parts = await first_of(
            visit,
            "nvidia.clara.platform.Pipelines/Details",
            pipelines_pb2.PipelinesDetailsRequest(pipeline_id=pipeline.pipeline_id),
            pipelines_pb2.PipelinesDetailsResponse,
            _FILES,
        )
    except HttpError as error:
        if error.status == 404:  # removed meanwhile
            return False
        raise
    files = [
        DefinitionFile(path=part.definition.path, content=part.definition.content)
        for part in parts
        if part.HasField("definition")
    ]
    return any(_is_named(names, image) for image in await in_thread(_images_of, files))


def _images_of(files: Sequence[DefinitionFile]) -> set[str]:
    """Returns the images that a definition names. Blocks."""
    pipeline = load_files(merge_parts(files)).pipeline
    if pipeline is None:
        return set()
    services = (one for operator in pipeline.operators for one in operator.services)
    return {operator.container.reference for operator in pipeline.operators} | {
        one.container.reference for one in services if one.container is not None
    }


async def _packages(visit: Visit, names: Sequence[str]) -> list[_User]:
    listed = await visit.ask(
        "claraedge.v1.Packages/List",
        packages_pb2.ListPackagesRequest(),
        packages_pb2.ListPackagesResponse,
    )
    return [
        _User(f"/ui/packages/{urlpath(one.id)}", f"{one.name} {one.version}")
        for one in listed.packages
        if any(
            _is_named(names, executable.image)
            for plan in one.plans
            for component in plan.components
            for executable in component.executables
        )
    ]


def _is_named(names: Sequence[str], reference: str) -> bool:
    """Whether a reference may mean one of the names; it may lack the registry, or the tag."""
    tagged = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
    return any(name == tagged or name.endswith(f"/{tagged}") for name in names)
