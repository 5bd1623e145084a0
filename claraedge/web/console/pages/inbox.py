"""The drop folder: what waits for a person, all items, and the page of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from claraedge.web.console.hits import (
    chosen_of,
    find,
    is_command,
    page_links_of,
    rows_of,
    state_of,
    tabs_of,
)
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import HttpError
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2, search_pb2

_STATES = {
    "all": (),
    "working": (
        appliance_pb2.ITEM_STATE_SEEN,
        appliance_pb2.ITEM_STATE_SETTLING,
        appliance_pb2.ITEM_STATE_CLAIMED,
        appliance_pb2.ITEM_STATE_SUBMITTED,
    ),
    "delivered": (appliance_pb2.ITEM_STATE_DELIVERED,),
    "parked": (appliance_pb2.ITEM_STATE_PARKED,),
    "failed": (appliance_pb2.ITEM_STATE_FAILED,),
    "ignored": (appliance_pb2.ITEM_STATE_IGNORED,),
}
_ROWS = 50
#: Rows that have a reason and what to do about it.
_LONG_ROWS = 25
#: Bytes of the names of members that the page of an item shows.
_MEMBERS = 48 * 1024
#: Seconds after which no further item of a form is retried or removed.
_RETRIES = 20.0
#: Items of which one form asks whether to remove them.
_REMOVED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """An item that was not retried or removed, and why."""

    id: str
    why: str


class InboxPages:
    """Shows the items of the drop folder, retries them, and removes failed ones."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/inbox", self._list)
        yield self._pages.get("/ui/inbox/{item}", self._show)
        yield self._pages.post("/ui/inbox/retry", self._retry)
        yield self._pages.post("/ui/inbox/remove", self._remove)
        yield self._pages.post("/ui/inbox/{item}/remove", self._remove_one)

    async def _list(self, visit: Visit) -> None:
        query = visit.query
        chosen, text = chosen_of(visit, _STATES, "all"), query.get("q", "")
        is_first = not {"state", "q", "page"} & set(query)
        waiting = search_pb2.FindResponse()
        if is_first:
            waiting = await find(
                visit, retryable=True, limit=_LONG_ROWS, page_token=query.get("waiting", "")
            )
        found = await find(
            visit,
            text=text,
            kinds=[search_pb2.HIT_KIND_ITEM],
            states=_STATES[chosen],
            limit=_ROWS,
            page_token=query.get("page", ""),
        )
        before, after = waiting.previous_page, waiting.next_page
        await visit.show(
            "inbox.html",
            is_first=is_first,
            waiting=rows_of(waiting),
            retryable=found.retryable,
            before=f"/ui/inbox?waiting={before}" if before else "",
            after=f"/ui/inbox?waiting={after}" if after else "",
            rows=rows_of(found),
            tabs=tabs_of(
                _STATES,
                ((one.state, one.count) for one in found.states),
                chosen,
                "/ui/inbox",
                q=text,
            ),
            turns=page_links_of(found, "/ui/inbox", state=chosen, q=text),
            chosen=chosen,
            text=text,
        )

    async def _show(self, visit: Visit) -> None:
        item = await visit.ask(
            "claraedge.v1.Inbox/Get",
            appliance_pb2.GetItemRequest(id=visit.request.parameters["item"]),
            appliance_pb2.Item,
        )
        found = await find(visit, ids=[item.id], kinds=[search_pb2.HIT_KIND_ITEM])
        hit = next(iter(found.hits), search_pb2.Hit())
        kind, text = state_of(item.state)
        members, room = [], _MEMBERS
        for member in item.members:
            room -= len(member.encode())
            if room < 0:
                break
            members.append(member)
        await visit.show(
            "item.html",
            item=item,
            hit=hit,
            kind=kind,
            state_text=text,
            has_command=is_command(item.remedy),
            removable=item.state == appliance_pb2.ITEM_STATE_FAILED
            and bool(item.result_path)
            and not item.HasField("removed"),
            members=members,
            more_members=len(item.members) - len(members) + item.members_left_out,
        )

    async def _retry(self, visit: Visit) -> None:
        wanted = visit.form.get("only") or visit.form.get("item") or []
        if "all" in visit.form:
            wanted = visit.form.get("shown", [])
        wanted = list(dict.fromkeys(wanted))
        if not wanted:
            await visit.go("/ui/inbox", "none_chosen")
            return
        await _each(visit, wanted, _try_again, "retried")

    async def _remove(self, visit: Visit) -> None:
        """Asks whether the chosen items are to be removed, and removes them once that is sure."""
        wanted = list(dict.fromkeys(visit.form.get("item", [])))[:_REMOVED]
        if not wanted:
            await visit.go("/ui/inbox", "none_chosen")
            return
        if "sure" not in visit.form:
            found = await find(
                visit, ids=wanted, kinds=[search_pb2.HIT_KIND_ITEM], limit=len(wanted)
            )
            rows, failed = rows_of(found), appliance_pb2.ITEM_STATE_FAILED
            await visit.show(
                "remove.html",
                rows=[row for row in rows if row.hit.state == failed],
                others=[row for row in rows if row.hit.state != failed],
            )
            return
        await _each(visit, wanted, _discard, "removed")

    async def _remove_one(self, visit: Visit) -> None:
        await _discard(visit, visit.request.parameters["item"])
        await visit.go("/ui/inbox", "removed", count=1)


async def _each(
    visit: Visit, wanted: Sequence[str], act: Callable[[Visit, str], Awaitable[None]], done: str
) -> None:
    """Does something with each item, as long as there is time, and shows what became of it.

    `done`: the message if all went well, and the name of the page if not.
    """
    refused = []
    loop = asyncio.get_running_loop()
    until = loop.time() + _RETRIES
    left = 0
    for number, id_ in enumerate(wanted):
        if loop.time() > until:
            left = len(wanted) - number
            break
        try:
            await act(visit, id_)
        except HttpError as error:
            refused.append(_Refused(id=id_, why=str(error)))
    if not refused and not left:
        await visit.go("/ui/inbox", done, count=len(wanted))
        return
    count = len(wanted) - len(refused) - left
    await visit.show(f"{done}.html", done=count, refused=refused, left=left)


async def _try_again(visit: Visit, id_: str) -> None:
    try:
        await visit.ask(
            "claraedge.v1.Inbox/Retry", appliance_pb2.RetryItemRequest(id=id_), appliance_pb2.Item
        )
    except HttpError:
        if not await _goes_on(visit, id_):
            raise


async def _discard(visit: Visit, id_: str) -> None:
    await visit.ask(
        "claraedge.v1.Inbox/Discard",
        appliance_pb2.DiscardItemRequest(id=id_),
        appliance_pb2.Item,
    )


async def _goes_on(visit: Visit, id_: str) -> bool:
    """Whether an item was retried already, for example by the first of two clicks."""
    try:
        item = await visit.ask(
            "claraedge.v1.Inbox/Get", appliance_pb2.GetItemRequest(id=id_), appliance_pb2.Item
        )
        if item.state in (*_STATES["working"], *_STATES["delivered"]):
            return True
        found = await find(visit, ids=[item.id], kinds=[search_pb2.HIT_KIND_ITEM])
    except HttpError:
        return False
    is_kept = item.state == appliance_pb2.ITEM_STATE_FAILED and bool(item.result_path)
    was_put_back = any(not hit.retryable for hit in found.hits)
    return is_kept and not item.HasField("removed") and was_put_back
