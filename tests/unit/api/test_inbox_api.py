"""Items of the inbox on the wire: each message is one that clients accept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import cast

import pytest

from claraedge.api.appliance import InboxServicer
from claraedge.errors import StreamMemoryError
from claraedge.inbox.drops.drops import Drops
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import Item, ItemState
from claraedge.memory import Budget
from claraedge.wire.claraedge.v1 import appliance_pb2 as wire

#: The largest message that a gRPC client accepts by default; ours use the default.
MOST = 3.9 * (1 << 20)


def study(number: int, files: int) -> Item:
    return Item(
        id=f"{number:032x}",
        folder="/inbox/ct",
        name=f"study-{number}",
        raw_name=b"study",
        pipeline="ct",
        state=ItemState.DELIVERED,
        first_seen=1.0,
        members=tuple(f"1.2.840.113619.2.5.1762583153.{number}.{n:020}.dcm" for n in range(files)),
    )


class Some:
    """What the servicer asks of an inbox."""

    def __init__(self, *items: Item) -> None:
        self.known = items

    async def items(self, _: ItemState | None) -> Sequence[Item]:
        return self.known

    async def item(self, _: str) -> Item:
        return self.known[0]


def served(inbox: Inbox) -> InboxServicer:
    return InboxServicer(inbox, cast(Drops, None))  # they list no triggers


async def test_a_list_of_large_studies_comes_in_messages_that_fit() -> None:
    inbox = cast(Inbox, Some(*(study(number, 5_000) for number in range(40))))
    messages = [m async for m in served(inbox).List(wire.ListItemsRequest())]
    assert max(message.ByteSize() for message in messages) < MOST
    items = [item for message in messages for item in message.items]
    assert [item.name for item in items] == [f"study-{number}" for number in range(40)]
    assert all(len(item.members) + item.members_left_out == 5_000 for item in items)


async def test_a_study_of_any_size_can_be_asked_for() -> None:
    inbox = cast(Inbox, Some(study(1, 100_000)))
    item = await served(inbox).Get(wire.GetItemRequest(id="1" * 32))
    assert item.ByteSize() < MOST
    assert len(item.members) > 1_000
    assert len(item.members) + item.members_left_out == 100_000


async def test_an_empty_inbox_is_one_empty_message() -> None:
    servicer = served(cast(Inbox, Some()))
    assert [len(m.items) async for m in servicer.List(wire.ListItemsRequest())] == [0]


async def test_only_some_long_lists_are_open_at_once() -> None:
    servicer = served(cast(Inbox, Some(*[study(1, 0)] * 300_000)))
    budget = Budget()
    with ExitStack() as calls:
        for _ in range(4):
            calls.enter_context(budget.share())
            assert (await anext(aiter(servicer.List(wire.ListItemsRequest())))).items
        with pytest.raises(StreamMemoryError, match="try again when some have ended"):
            await anext(aiter(servicer.List(wire.ListItemsRequest())))
