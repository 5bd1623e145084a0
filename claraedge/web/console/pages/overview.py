"""The first page: whether all is well, and what to do if it is not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from claraedge.web.console.pages.device.usage import chart_of
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2, search_pb2

#: The commands with which warnings end. Others are only read with their warning: between such
#: quotes are settings as well, and parts of the names of files, which anybody may have chosen.
_COMMAND = re.compile(r"`((?:claraedge retry|sudo loginctl enable-linger) [^`]+)`$")
#: Kinds of things of Appliance.TryAgain.
_AGAIN = frozenset({"delivery", "image", "job", "model", "pipeline", "removal"})
#: Jobs on the page.
_LAST = 8
_STAGES = [stage for stage in search_pb2.JobStage.values() if stage]


@dataclass(frozen=True, slots=True)
class _Again:
    """A thing that was set aside, and can be tried again."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Warning:
    """A warning, with what to do about it: a command, or what can be done on the page."""

    text: str
    command: str
    again: _Again | None


@dataclass(frozen=True, slots=True)
class _Health:
    """Whether all is well: the kind of a state, and the key of a text."""

    kind: str
    text: str
    count: int


class OverviewPages:
    """Shows the state of the device, and has things tried again."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/", self._show)
        yield self._pages.post("/ui/again", self._try_again)

    async def _show(self, visit: Visit) -> None:
        status, found, usage = await visit.at_once(
            visit.ask(
                "claraedge.v1.Appliance/Status",
                appliance_pb2.StatusRequest(),
                appliance_pb2.StatusResponse,
            ),
            visit.ask(
                "claraedge.v1.Search/Find",
                # With all stages of jobs no items are searched, but they are counted.
                search_pb2.FindRequest(stages=_STAGES, limit=_LAST),
                search_pb2.FindResponse,
            ),
            visit.ask(
                "claraedge.v1.Appliance/Usage",
                appliance_pb2.UsageRequest(),
                appliance_pb2.UsageResponse,
            ),
        )
        await visit.show(
            "overview.html",
            chart=chart_of(usage),
            status=status,
            verdict=_verdict(status, found.retryable),
            retryable=found.retryable,
            warnings=[_warning(text) for text in status.warnings],
            jobs=found.hits,
        )

    async def _try_again(self, visit: Visit) -> None:
        await visit.ask(
            "claraedge.v1.Appliance/TryAgain",
            appliance_pb2.TryAgainRequest(kind=visit.field("kind"), name=visit.field("name")),
            appliance_pb2.TryAgainResponse,
        )
        await visit.go("/", "again")


def _verdict(status: appliance_pb2.StatusResponse, waiting: int) -> _Health:
    """`waiting`: items that a person can try again. Others that failed need nothing any more."""
    if status.warnings:
        return _Health("bad", "warnings", len(status.warnings))
    if waiting:
        return _Health("wait", "items", waiting)
    return _Health("well", "well", 0)


def _warning(text: str) -> _Warning:
    """Returns a warning of the daemon, and the command at its end."""
    found = _COMMAND.search(text)
    command = found[1] if found else ""
    again = None
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if len(words) == 4 and words[:2] == ["claraedge", "retry"] and words[2] in _AGAIN:
        again = _Again(*words[2:])
    return _Warning(text=text, command=command, again=again)
