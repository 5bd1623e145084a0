"""The drop folder: what is put into it becomes jobs.

Two loops: one sees, hears and looks until an entry is settled; the other claims what is settled and
makes jobs of it. The rescan is the truth, the watcher only makes it quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.errors import ClaraedgeError
from claraedge.filenames import is_ignored
from claraedge.ids import NewId
from claraedge.inbox import records
from claraedge.inbox.definitions import Definitions
from claraedge.inbox.intake import Failpoint, Intake
from claraedge.inbox.model import Item, ItemState, name_of
from claraedge.inbox.settling import Heard
from claraedge.inbox.triggers import NOT_IN_A_FOLDER, Layout, Trigger, folder_of, no_pipeline
from claraedge.inbox.waiting import WaitingRoom, claimed
from claraedge.inbox.watch import Signal, Watcher
from claraedge.payloads.tree import PayloadTree, printable
from claraedge.pipelines.model import Pipeline
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

_LOOKS = 256
_CLAIMS = 64
#: The loops turn no faster than this, whatever is heard.
_TURN = 0.02


class Inbox:
    """Turns entries of the inbox into jobs, for as long as `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        new_id: NewId,
        on_submitted: Callable[[str], None],
        *,
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
        failpoint: Failpoint = lambda _: None,
        held: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`applied` fills in what images say themselves (`Applications.applied`).

        `held` says why nothing may be taken in now; None: it may. Who changes it pokes.
        """
        self._held = held
        self._database = database
        self._root = Path(os.path.normpath(config.inbox_dir.absolute()))
        self._configured = config.inbox.trigger
        self._rescan_seconds = config.inbox.rescan_seconds
        self._clock = clock
        self._definitions = Definitions(database)
        self._room = WaitingRoom(clock, new_id, config.inbox.settle_seconds)
        self._intake = Intake(
            database,
            tree,
            config,
            clock,
            new_id,
            self._definitions,
            on_submitted,
            failpoint,
            applied,
        )
        self._watcher = Watcher(self._heard, self._lost)
        self._layout = Layout(self._root, ())
        self._rescan = True
        self._missed = False
        self._told: dict[Path, str] = {}
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()

    async def prepare(self) -> None:
        """At start: makes the folders, and finds what was on its way.

        A folder that cannot be made is told in the log; once it is there, the rescan sees it.

        """
        wanted = [self._root]
        for trigger in self._configured:
            if not Path(trigger.folder).is_absolute():
                wanted.append(folder_of(self._root, trigger.folder))
        for folder in wanted:
            try:
                await in_thread(files.make_folders, folder, 0o775)
            except OSError as error:
                _log.warning("the inbox %s cannot be made: %s", folder, error.strerror)
        await self._intake.prepare()

    async def run(self) -> None:
        """Until it is cancelled. Raises only what is a bug."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._see(), name="inbox: see")
                group.create_task(self._take(), name="inbox: take")
        finally:
            await asyncio.shield(self._watcher.stop())

    def poke(self) -> None:
        """A pipeline was created, or space was freed: looks at everything again, now."""
        self._intake.poke()
        self._rescan = True
        self._changed.set()
        self._settled.set()

    async def items(self, state: ItemState | None = None) -> Sequence[Item]:
        """Items of a state, or all: claimed ones in the order of their claims, then the others."""
        rows = await self._database.read(lambda tx: records.items(tx, None))
        held = self._held()
        known = [self._intake.overlay(item, held) for item in rows]
        present = {item.id for item in known}
        known += [item for item in self._room.items(held) if item.id not in present]
        return [item for item in known if state is None or item.state is state]

    def parked(self) -> int:
        """How many entries are parked that no row says it of."""
        held = self._held()
        return self._room.parked(held) + (0 if held is None else self._intake.waiting())

    # --- seeing ---------------------------------------------------------------------------------

    async def _see(self) -> None:
        next_rescan = self._clock.elapsed()
        while True:
            self._changed.clear()
            if self._rescan or self._clock.elapsed() >= next_rescan:
                self._rescan = False
                await self._look_everywhere()
                next_rescan = self._clock.elapsed() + self._rescan_seconds
            while entries := self._room.due(_LOOKS):
                began = self._clock.elapsed()
                looks = await in_thread(self._room.look, entries)
                if self._room.take_looks(entries, looks, began):
                    self._settled.set()
            await self._pause(self._changed, next_rescan, self._room.next_due())

    async def _pause(self, event: asyncio.Event, *times: float | None) -> None:
        await asyncio.sleep(_TURN)
        until = min((t for t in times if t is not None), default=None)
        timeout = None if until is None else max(0.0, until - self._clock.elapsed())
        # Not wait_for: that of Python 3.11 loses a cancel that meets the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await event.wait()

    async def _look_everywhere(self) -> None:
        """The rescan: triggers anew, then every folder of theirs."""
        layout = await self._find_triggers()
        if layout is None:
            return
        self._layout = layout
        self._room.forget_folders(t.folder for t in layout.triggers.values())
        await self._watcher.watch(self._outermost(layout))
        for trigger in layout.triggers.values():
            await self._list(trigger)

    async def _list(self, trigger: Trigger) -> None:
        only_files = trigger.folder == self._root
        try:
            names = await in_thread(_names, trigger.folder, only_files)
        except OSError as error:
            self._tell(trigger.folder, error)
            return
        self._told.pop(trigger.folder, None)
        folder = os.fsencode(trigger.folder)
        taken = self._intake.taken()
        self._room.see(
            trigger,
            [
                name
                for name in names
                if (trigger.folder, name) not in taken
                and not self._layout.leads_to_trigger(folder + b"/" + name)
            ],
        )

    async def _find_triggers(self) -> Layout | None:
        try:
            names = await in_thread(_folders, self._root)
            self._told.pop(self._root, None)
        except OSError as error:
            self._tell(self._root, error)
            names = []
            if not self._configured:
                return None
        triggers = {self._root: Trigger(folder=self._root, pipeline="", problem=NOT_IN_A_FOLDER)}
        by_name: Mapping[Path, str] = {self._root / name_of(name): name_of(name) for name in names}
        registered = await self._definitions.registered(
            [name for name in by_name.values() if name.isprintable()]
        )
        for folder, name in by_name.items():
            if registered.get(name) is None:
                triggers[folder] = Trigger(
                    folder=folder,
                    pipeline="",
                    problem=no_pipeline(printable(name)),
                    mend="claraedge create pipeline -p FILE",
                )
            else:
                triggers[folder] = await self._checked(folder, name, ())
        for configured in self._configured:
            folder = folder_of(self._root, configured.folder)
            triggers[folder] = await self._checked(folder, configured.pipeline, configured.deliver)
        return Layout(self._root, triggers.values())

    async def _checked(self, folder: Path, pipeline: str, deliver: tuple[str, ...]) -> Trigger:
        definition = await self._definitions.find(pipeline, deliver)
        return Trigger(
            folder=folder,
            pipeline=pipeline,
            deliver=deliver,
            problem=definition.problem,
            mend=definition.mend,
        )

    def _outermost(self, layout: Layout) -> list[Path]:
        outside = [
            t.folder
            for t in layout.triggers.values()
            if t.folder != self._root and self._root not in t.folder.parents
        ]
        return [self._root, *(f for f in outside if not any(o in f.parents for o in outside))]

    def _tell(self, folder: Path, error: OSError) -> None:
        text = error.strerror or str(error)
        if self._told.get(folder) != text:
            self._told[folder] = text
            _log.warning("the inbox folder %s cannot be read (%s); trying again", folder, text)

    # --- hearing --------------------------------------------------------------------------------

    def _heard(self, batch: Sequence[Signal]) -> None:
        taken, root = self._intake.taken(), os.fsencode(self._root)
        for signal in batch:
            place = self._layout.place(signal.path)
            root_level = signal.path.rpartition(b"/")[0] == root
            if root_level or signal.path in self._layout.triggers:
                self._rescan = True  # a trigger may have come or gone
            if place is None or is_ignored(place.name):
                continue
            if place.trigger.folder == self._root:
                continue
            if (place.trigger.folder, place.name) in taken:
                # Its own way out, or a new entry of that name: the rescan after the claim tells.
                self._missed = self._missed or signal.heard is not Heard.REMOVED
                continue
            self._room.hear(place.trigger, place.name, signal.heard, place.inside)
        self._changed.set()

    def _lost(self) -> None:
        _log.warning("the kernel dropped file system events: looking at every folder of the inbox")
        self._room.forget_hints()
        self._rescan = True
        self._changed.set()

    # --- taking ---------------------------------------------------------------------------------

    async def _take(self) -> None:
        while True:
            self._settled.clear()
            if self._held() is not None:
                await self._pause(self._settled)  # until somebody pokes
                continue
            ready = self._room.ready(_CLAIMS)
            if ready:
                try:
                    await self._intake.claim([claimed(entry) for entry in ready])
                except ClaraedgeError as error:
                    self._room.park(ready, str(error))
                    ready = []
                self._room.leave(ready)
            await self._intake.advance(_CLAIMS)
            if self._missed:
                self._missed, self._rescan = False, True
                self._changed.set()
            if not self._room.ready(1):
                await self._pause(self._settled, self._intake.next_due())


def _names(folder: Path, only_files: bool) -> list[bytes]:
    found = []
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            if not is_ignored(entry.name) and not (
                only_files and entry.is_dir(follow_symlinks=False)
            ):
                found.append(entry.name)
    return found


def _folders(root: Path) -> list[bytes]:
    with os.scandir(os.fsencode(root)) as entries:
        return [
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not is_ignored(entry.name)
        ]
