"""Which of the waiting entries may be claimed: one alone, or a group."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.clock import Clock
from claraedge.config.inbox import TriggerSettings
from claraedge.inbox.candidates.entry import ALONE, TriggerFolder, Waiting, lives, unit_of
from claraedge.inbox.inspection.survey import combined
from claraedge.inbox.model import Claimed, ItemOptions
from claraedge.inbox.triggers.grouping import Group, group
from claraedge.inbox.triggers.naming import NameDoesNotFitError, named
from claraedge.inbox.triggers.triggers import Trigger

#: Delay (s) of grouping while an entry is not inspected yet, which may belong to any group.
_SOON = 0.1
#: Share of the time that grouping may use: in big folders it is done less often.
_SHARE = 0.3

#: Reason for entries of a folder with more than are watched at once: any may belong to any group.
UNSEEN = (
    "its folder has more entries than inbox.max_entries, so that nobody knows which belong"
    " together; raise max_entries, or move some out of the folder"
)

#: Rule for items that can never become jobs, for which parameters from names do not matter.
_BARE = TriggerSettings(folder=".", pipeline="-")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyItem:
    """Entries that may be claimed, and become one item."""

    trigger: Trigger
    group: Group
    entries: Sequence[Waiting]
    options: ItemOptions


class ReadyQueue:
    """Entries that are settled, in the order in which they are claimed."""

    def __init__(
        self,
        clock: Clock,
        folders: Mapping[Path, TriggerFolder],
        park: Callable[[Iterable[Waiting], str], None],
        list_again: Callable[[Path], None],
    ) -> None:
        """`park` is called with entries whose names do not fit their trigger, and the reason.

        `list_again` is called with a folder in which a group waits for a listing (`unconfirmed`).
        """
        self._clock = clock
        self._folders = folders
        self._park = park
        self._list_again = list_again
        self._ready: list[tuple[tuple[bool, float, bytes], int, Waiting]] = []
        self._count = 0

    def next_group(self) -> float | None:
        """Returns the time (s, `elapsed`) at which waiting alone may complete a group, or None."""
        times = [f.next_grouping for f in self._folders.values() if not f.trigger.problem]
        return min((time for time in times if time != float("inf")), default=None)

    def offer(self, entry: Waiting) -> None:
        """Queues an entry that is settled and free to be claimed.

        Members of groups are not queued: they are found when their folder is grouped.
        """
        if entry.trigger.rule.grouping in ALONE:
            self._count += 1
            heapq.heappush(self._ready, (entry.order, self._count, entry))

    def _is_offered(self, entry: Waiting) -> bool:
        return entry.ready and not entry.trigger.problem and lives(self._folders, entry)

    def any(self) -> bool:
        """Whether something may be claimed."""
        while self._ready and not self._is_offered(self._ready[0][2]):
            heapq.heappop(self._ready)
        now = self._clock.elapsed()
        return bool(self._ready) or any(
            f.next_grouping <= now and not f.trigger.problem for f in self._folders.values()
        )

    def ready(self, most: int) -> Sequence[ReadyItem]:
        """Returns up to `most` items that may be claimed, in order.

        Further calls return the same ones until they are claimed, parked or changed.
        """
        items: list[ReadyItem] = []
        offered: dict[int, tuple[tuple[bool, float, bytes], int, Waiting]] = {}
        while self._ready and len(offered) < most:
            place = heapq.heappop(self._ready)
            if self._is_offered(place[2]):
                offered[id(place[2])] = place
        for place in offered.values():
            heapq.heappush(self._ready, place)
        for place in offered.values():
            entry = place[2]
            alone = Group(label=entry.name, members=())
            self._add_item(items, entry.trigger, alone, [entry])
        now = self._clock.elapsed()
        for folder in self._folders.values():
            if folder.next_grouping <= now and not folder.trigger.problem:
                self._add_groups(items, folder, now, most)
        return sorted(items, key=lambda item: item.entries[0].order)[:most]

    def _add_groups(
        self, items: list[ReadyItem], folder: TriggerFolder, now: float, most: int
    ) -> None:
        began = time.monotonic()
        if any(
            entry.survey is None and not entry.blocked and entry.added <= folder.listed
            for entry in folder.entries.values()
        ):
            # An entry that is not inspected yet may belong to any group: of a big one that was
            # there at the start, the first entries settle before the last are inspected.
            folder.next_grouping = now + _SOON
            return
        entries = sorted(folder.entries.values(), key=lambda entry: entry.order)
        if folder.unseen:
            folder.next_grouping = float("inf")
            for entry in entries:
                entry.waits = UNSEEN
            folder.rest_until = now + (time.monotonic() - began) / _SHARE
            return
        units = [unit for entry in entries if (unit := unit_of(entry)) is not None]
        found = group(folder.trigger.rule, units, now, folder.listed)
        folder.next_grouping = float("inf") if found.next_grouping is None else found.next_grouping
        folder.unconfirmed = found.unconfirmed
        if found.unconfirmed and now < folder.list_after:
            folder.next_grouping = min(folder.next_grouping, folder.list_after)
        elif found.unconfirmed:
            self._list_again(folder.trigger.folder)
        for entry in entries:
            entry.waits = found.waits.get(entry.name, "")
        groups = [
            (one, [folder.entries[name] for name in one.members or (one.label,)])
            for one in found.groups
        ]
        groups.sort(key=lambda pair: pair[1][0].order)
        for one, members in groups[:most]:
            self._add_item(items, folder.trigger, one, members)
        folder.rest_until = now + (time.monotonic() - began) / _SHARE
        if groups:
            folder.next_grouping = folder.rest_until  # offers them again until they are claimed

    def _add_item(
        self, items: list[ReadyItem], trigger: Trigger, one: Group, entries: Sequence[Waiting]
    ) -> None:
        first = entries[0]
        uids = {} if first.identified is None else first.identified.uids
        fault = one.fault or None
        if first.survey is not None and not one.members:
            fault = first.survey.reading.fault
        # What can never become a job may lack the UIDs that names and parameters are made of.
        rule = trigger.rule if fault is None else _BARE
        try:
            said = named(rule, one.label, uids)
        except NameDoesNotFitError as error:
            self._park(entries, str(error))
            return
        options = ItemOptions(
            parameters=said.parameters,
            metadata=said.metadata,
            priority=trigger.rule.priority,
            settle=trigger.settle,
            duplicates=trigger.rule.duplicates,
            marker=one.marker,
            fault=fault or "",
            incomplete=one.incomplete,
            study=bool(one.key),
            lenient=trigger.rule.incomplete == "run",
        )
        items.append(ReadyItem(trigger=trigger, group=one, entries=entries, options=options))


def claimed(item: ReadyItem) -> Claimed:
    """Returns the claim to record for entries that are ready."""
    first = item.entries[0]
    if item.group.members:
        surveys = [(e.name, e.survey) for e in item.entries if e.survey is not None]
        seen, inside, name = combined(surveys), b"", item.group.label
    else:
        assert first.survey is not None
        seen = first.survey
        inside, _, name = first.name.rpartition(b"/")
    return Claimed(
        id=first.id,
        folder=item.trigger.folder,
        inside=inside,
        name=name,
        members=item.group.members,
        pipeline=item.trigger.rule.pipeline,
        deliver=item.trigger.rule.deliver,
        options=item.options,
        fingerprint=seen.reading.fingerprint,
        content=seen.content,
        size=seen.size,
        first_seen=min(entry.first_seen for entry in item.entries),
        keep_originals_days=item.trigger.rule.originals_keep_days,
    )
