"""`claraedge.v1.Search`: what it finds, in which order, page by page, and how much it reads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from claraedge.api.search.servicer import SearchServicer
from claraedge.errors import InvalidRequestError
from claraedge.inbox import finding as items
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import Item, ItemState
from claraedge.inbox.records import PUT_BACK
from claraedge.jobs import finding as jobs
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.model import JobStage
from claraedge.searching.page import SearchPage
from claraedge.searching.words import SearchText
from claraedge.store.database import Database
from claraedge.store.migrations import migrate
from claraedge.store.queries import load_queries
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.claraedge.v1 import search_pb2 as wire
from claraedge.wire.claraedge.v1.search_pb2_grpc import SearchStub
from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import Daemon

MANY = 10_000


class Rooms:
    """What the servicer asks of the jobs and of the inbox, on a database that nobody else uses."""

    def __init__(self, database: Database, *unrecorded: Item) -> None:
        self.database = database
        self.unrecorded = unrecorded
        self.parked: set[str] = set()

    def overlay(self, item: Item) -> Item:
        return replace(item, state=ItemState.PARKED) if item.id in self.parked else item

    @property
    def jobs(self) -> Jobs:
        return cast(Jobs, self)

    @property
    def inbox(self) -> Inbox:
        class Inboxes:
            find = self._find_items

        return cast(Inbox, Inboxes)

    async def find(self, page: SearchPage | None, stages: Collection[JobStage]) -> Any:
        found = (
            [] if page is None else await self.database.read(lambda tx: jobs.find(tx, page, stages))
        )
        return found, await self.database.read(jobs.stage_counts)

    async def _find_items(
        self, page: SearchPage | None, states: Collection[ItemState], *, retryable: bool
    ) -> Any:
        more: Any = {
            "overlay": self.overlay,
            "unrecorded": items.Unrecorded(
                lying=self.unrecorded,
                states=[item.state for item in self.unrecorded],
                item=lambda item: item,
            ),
        }
        found = (
            []
            if page is None
            else await self.database.read(
                lambda tx: items.find(tx, page, states, retryable=retryable, **more)
            )
        )
        return found, await self.database.read(lambda tx: items.counts(tx, **more))

    async def ask(self, **fields: Any) -> wire.FindResponse:
        return await SearchServicer(self.jobs, self.inbox).Find(wire.FindRequest(**fields))


def number(id_: int) -> str:
    return f"{id_:032x}"


def add_job(
    writer: sqlite3.Connection,
    id_: int,
    *,
    name: str = "job",
    stage: JobStage = JobStage.COMPLETED,
    pipeline: str = "liver",
    created: float | None = None,
    metadata: Mapping[str, str] | None = None,
    payload_removed: bool = False,
) -> None:
    writer.execute("INSERT OR IGNORE INTO definitions VALUES ('d', '[]')")
    writer.execute("INSERT INTO payloads (id, type, created) VALUES (?, 1, 0)", (f"p{id_}",))
    writer.execute(
        "INSERT INTO jobs (id, name, pipeline, pipeline_name, payload, definition, state, status,"
        " priority, created, queue_position, snapshot)"
        " VALUES (?, ?, ?, ?, ?, 'd', 1, 1, 2, ?, ?, ?)",
        (
            number(id_), name, f"{pipeline}-id", pipeline, f"p{id_}",
            float(id_) if created is None else created,
            None if stage is JobStage.UNSTARTED else id_, "x" * 3000,
        ),
    )  # fmt: skip
    if stage is JobStage.RUNNING:
        writer.execute("UPDATE jobs SET state = 2, started = created WHERE id = ?", (number(id_),))
    if stage >= JobStage.COMPLETED:
        writer.execute(
            "UPDATE jobs SET state = 3, status = ?, stopped = created WHERE id = ?",
            (stage - 3, number(id_)),
        )
    if payload_removed:
        writer.execute("UPDATE payloads SET deleted = 1 WHERE id = ?", (f"p{id_}",))
    for key, value in (metadata or {}).items():
        writer.execute(
            "INSERT INTO metadata VALUES (?, ?, ?, ?)", (number(id_), key.casefold(), key, value)
        )


def add_item(
    writer: sqlite3.Connection,
    id_: int,
    *,
    name: bytes = b"scan.dcm",
    state: ItemState = ItemState.DELIVERED,
    pipeline: str = "liver",
    first_seen: float | None = None,
    job: int | None = None,
    reason: str = "",
    path: str | None = None,
    removed: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    writer.execute(
        "INSERT INTO inbox_items (id, folder, name, pipeline, deliver, state, reason, fingerprint,"
        " content, size, job, path, removed, first_seen, changed, options)"
        " VALUES (?, '/in', ?, ?, '[]', ?, ?, 'f', 'c', 1, ?, ?, ?, ?, 0, ?)",
        (
            number(id_), name, pipeline, state.value, reason,
            None if job is None else number(job), path, removed,
            float(id_) if first_seen is None else first_seen,
            json.dumps({"metadata": metadata} if metadata else {}),
        ),
    )  # fmt: skip


@pytest.fixture
def writer(tmp_path: Path) -> Any:
    with closing(sqlite3.connect(tmp_path / "claraedge.db", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


@pytest.fixture
async def rooms(tmp_path: Path, writer: sqlite3.Connection) -> Any:
    async with Database(tmp_path / "claraedge.db") as database:
        yield Rooms(database)


def ids(response: wire.FindResponse) -> list[int]:
    return [int(hit.id, 16) for hit in response.hits]


async def test_each_word_is_in_a_name_a_pipeline_or_metadata_or_begins_the_id(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    add_job(writer, 0xA1, name="Thorax scan", metadata={"StudyInstanceUID": "1.2.840.77"})
    add_job(writer, 0xA2, name="other", pipeline="Lung")
    add_item(writer, 0xA3, name=b"thorax.dcm", job=0xA1)
    add_item(writer, 0xA4, name=b"new", pipeline="brain", metadata={"uid": "1.2.840.78"})
    for text, expected in {
        "": [0xA4, 0xA3, 0xA2, 0xA1],
        "THORAX": [0xA3, 0xA1],
        "thorax 840.77": [0xA3, 0xA1],
        "lung": [0xA2],
        "brain": [0xA4],
        "1.2.840.78": [0xA4],
        "1.2.840.7": [0xA4, 0xA3, 0xA1],
        "scan lung": [],
        number(0xA2): [0xA2],
        "00000000-0000-0000-0000-0000000000A2": [0xA2],
        number(0xA2)[5:]: [],
        " thorax\tLIVER\n ": [0xA3, 0xA1],
        "a b c d e f": [],
    }.items():
        assert ids(await rooms.ask(text=text)) == expected, text


async def test_case_and_form_of_accents_do_not_count_beyond_ascii(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    add_job(writer, 1, name="MÜLLER Leber")
    add_job(writer, 2, name="Mu\u0308ller")  # as macOS writes names
    add_job(writer, 3, name="Miller")
    add_item(writer, 4, name="肺CT-Ärzte.dcm".encode())
    assert ids(await rooms.ask(text="müller")) == [2, 1]
    assert ids(await rooms.ask(text="MÜLLER leber")) == [1]
    assert ids(await rooms.ask(text="mu\u0308LLER")) == [2, 1]
    assert ids(await rooms.ask(text="m\u00fc")) == [2, 1]
    assert ids(await rooms.ask(text="ä")) == [4]
    assert ids(await rooms.ask(text="肺")) == [4]
    assert ids(await rooms.ask(text="肺ct")) == [4]
    assert ids(await rooms.ask(text="\u0308")) == []
    add_job(writer, 5, name="Größe Straße")
    for text in ("größe", "GRÖSSE", "Größ", "straße", "STRASSE", "stras", "sse", "ß", "s"):
        assert 5 in ids(await rooms.ask(text=text)), text
    assert ids(await rooms.ask(text="straße größe")) == [5]


@pytest.mark.parametrize(
    "text",
    ["%", "_", "'", '"', "\\", "*", "[a-z]", "x' OR '1'='1", "'; DROP TABLE jobs; --", ":word",
     "{}", "\u202egnp", "\x1b[31m", "\U0001f9ea", "<script>", "a%b", "null"],
)  # fmt: skip
async def test_all_characters_of_a_text_mean_themselves(
    rooms: Rooms, writer: sqlite3.Connection, text: str
) -> None:
    add_job(writer, 1, name="plain")
    add_job(writer, 2, name=f"<{text}>")
    add_item(writer, 3, name=b"plain")
    assert ids(await rooms.ask(text=text)) == [2]


async def test_a_name_that_is_no_text_is_found_by_what_can_be_read(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    add_item(writer, 1, name=b"\xff\xfescan\x01\n.dcm")
    add_item(writer, 2, name=b"x" * 255)
    (hit,) = (await rooms.ask(text="SCAN dcm")).hits
    assert hit.name == r"\xff\xfescan\x01\n.dcm"
    assert ids(await rooms.ask(text="x" * 255)) == [2]
    assert ids(await rooms.ask(text="\x00scan\x00 ")) == [1]
    assert ids(await rooms.ask(text="y" * 500)) == []


async def test_what_cannot_be_is_refused(rooms: Rooms) -> None:
    for fields, message in (
        ({"text": "y" * 501}, "501 characters; shorten it to 500"),
        ({"limit": 501}, "at most 500 hits, and not 501"),
        ({"limit": 2**32 - 1}, "at most 500 hits"),
        ({"kinds": [3]}, "3 is no kind of a hit"),
        ({"kinds": [0]}, "0 is no kind of a hit"),
        ({"stages": [9]}, "9 is no stage of jobs; use 1 to 8"),
        ({"states": [0]}, "0 is no state of items; use 1 to 8"),
        ({"ids": ["1"]}, "'1' is not an id"),
        ({"ids": [number(1), "%"]}, "'%' is not an id"),
        ({"ids": [number(1)] * 501}, "500 ids at most, and not 501"),
        ({"page_token": "x"}, "names no page of a search; begin again"),
        ({"page_token": "b2xkZXIgbmFuIDA"}, "names no page"),  # older nan 0
        ({"page_token": "b2xkZXIgMQ"}, "names no page"),  # older 1
        ({"page_token": "MQ"}, "names no page"),
        ({"page_token": "\u202e" * 100}, "names no page"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            await rooms.ask(**cast(Any, fields))


async def test_every_stage_and_state_can_be_selected_and_is_counted(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    for stage in JobStage:
        add_job(writer, stage, stage=stage)
        add_job(writer, 10 + stage, stage=stage)
    recorded = (
        ItemState.CLAIMED, ItemState.PARKED, ItemState.SUBMITTED, ItemState.DELIVERED,
        ItemState.FAILED,
    )  # fmt: skip
    for place, state in enumerate(recorded):
        add_item(writer, 100 + place, state=state, path="/failed/x")
    others = [state for state in ItemState if state not in recorded]
    rooms.unrecorded = tuple(
        an_item(200 + place, state) for place, state in enumerate([*others, ItemState.PARKED])
    )
    rooms.parked = {number(100)}  # a full disk prevents it from being recorded
    for stage in JobStage:
        found = await rooms.ask(stages=[int(stage)])
        assert ids(found) == [10 + stage, stage], stage
        assert [hit.stage for hit in found.hits] == [stage, stage]
        assert {one.stage: one.count for one in found.stages} == dict.fromkeys(JobStage, 2)
    expected = {
        "SEEN": [200], "SETTLING": [201], "IGNORED": [202], "PARKED": [203, 101, 100],
        "CLAIMED": [], "SUBMITTED": [102], "DELIVERED": [103], "FAILED": [104],
    }  # fmt: skip
    for name, some in expected.items():
        state = appliance_pb2.ItemState.Value(f"ITEM_STATE_{name}")
        found = await rooms.ask(states=[state])
        assert ids(found) == some, name
        assert all(hit.state == state for hit in found.hits)
        (count,) = [one.count for one in found.states if one.state == state]
        assert count == len(some), name
    both = await rooms.ask(
        stages=[wire.JOB_STAGE_RUNNING], states=[appliance_pb2.ITEM_STATE_FAILED]
    )
    assert ids(both) == [104, 13, 3]
    only = await rooms.ask(kinds=[wire.HIT_KIND_ITEM], stages=[wire.JOB_STAGE_RUNNING])
    assert ids(only) == []
    assert not only.stages
    only = await rooms.ask(kinds=[wire.HIT_KIND_JOB], states=[appliance_pb2.ITEM_STATE_FAILED])
    assert ids(only) == []
    assert not only.states


def an_item(id_: int, state: ItemState, *, name: str = "dropped", seen: float = 0.0) -> Item:
    return Item(
        id=number(id_), folder="/in", name=name, raw_name=name.encode(), pipeline="liver",
        state=state, first_seen=seen or float(id_),
    )  # fmt: skip


async def test_only_items_that_can_be_tried_again(rooms: Rooms, writer: sqlite3.Connection) -> None:
    failed = ItemState.FAILED
    add_job(writer, 1)
    add_item(writer, 2, state=failed, path="/failed/2", reason="a link")
    add_item(writer, 3, state=failed, path="/failed/3", reason=f"{PUT_BACK}a link")
    add_item(writer, 4, state=failed, path="/failed/4", removed=5.0)
    add_item(writer, 5, state=ItemState.PARKED, reason="no pipeline")
    add_item(writer, 6)
    rooms.unrecorded = (an_item(7, ItemState.PARKED), an_item(8, ItemState.IGNORED))
    found = await rooms.ask(retryable=True)
    assert ids(found) == [7, 5, 2]
    assert all(hit.retryable for hit in found.hits)
    assert found.retryable == 3
    assert [hit.retryable for hit in (await rooms.ask()).hits] == [
        False, True, False, True, False, False, True, False,
    ]  # fmt: skip
    only = await rooms.ask(retryable=True, states=[appliance_pb2.ITEM_STATE_FAILED])
    assert ids(only) == [2]


async def test_ids_select_what_has_them_and_combine_with_all_else(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    add_job(writer, 1, name="scan")
    add_job(writer, 2, name=f"again {number(1)}", metadata={"of": number(1)})
    add_job(writer, 3, pipeline="lung", stage=JobStage.FAILED)
    add_item(writer, 4, name=b"scan.dcm", job=1)
    add_item(writer, 5, state=ItemState.PARKED)
    rooms.unrecorded = (an_item(6, ItemState.SEEN), an_item(7, ItemState.IGNORED))

    async def found(*some: int, **fields: Any) -> list[int]:
        return ids(await rooms.ask(ids=[number(id_) for id_ in some], **fields))

    assert await found(1) == [1]
    assert await found(7, 4, 1, 6, 6, 99) == [7, 6, 4, 1]
    assert await found(99) == []
    assert await found(1, 4, kinds=[wire.HIT_KIND_ITEM]) == [4]
    assert await found(1, 3, 4, stages=[wire.JOB_STAGE_FAILED]) == [3]
    assert await found(4, 5, 6, states=[appliance_pb2.ITEM_STATE_PARKED]) == [5]
    assert await found(4, 5, 6, retryable=True) == [5]
    assert await found(1, 3, 4, 6, pipeline="lung") == [3]
    assert await found(1, 3, 4, 6, pipeline="liver") == [6, 4, 1]
    assert await found(1, 2, 4, 6, text="scan") == [4, 1]
    dashed = "00000000-0000-0000-0000-000000000001"
    assert ids(await rooms.ask(ids=[dashed, number(2).upper()])) == [2, 1]
    # The pages of a selection, in both directions.
    wanted = {"ids": [number(id_) for id_ in (1, 3, 4, 6)], "limit": 1}
    seen, tokens = [], [""]
    while tokens[-1] or len(tokens) == 1:
        page = await rooms.ask(page_token=tokens[-1], **wanted)
        seen += ids(page)
        tokens.append(page.next_page)
    assert seen == [6, 4, 3, 1]
    back = await rooms.ask(page_token=page.previous_page, **wanted)
    assert ids(back) == [3]
    assert ids(await rooms.ask(page_token=back.previous_page, **wanted)) == [4]
    many = await rooms.ask(ids=[number(id_) for id_ in range(500)])
    assert ids(many) == [7, 6, 5, 4, 3, 2, 1]
    counts = {one.stage: one.count for one in (await rooms.ask(ids=[number(99)])).stages}
    assert counts[wire.JOB_STAGE_COMPLETED] == 2


async def test_a_pipeline_is_selected_by_its_id_or_its_name(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    writer.execute("INSERT OR IGNORE INTO definitions VALUES ('d', '[]')")
    writer.execute(
        "INSERT INTO pipelines (id, name, name_folded, definition, created)"
        " VALUES ('lung-id', 'lung', 'lung', 'd', 0)"
    )
    add_job(writer, 1, pipeline="lung")
    add_job(writer, 2)
    add_item(writer, 3, pipeline="lung-id", state=ItemState.PARKED)
    add_item(writer, 4, job=1, pipeline="anything")
    rooms.unrecorded = (an_item(5, ItemState.SEEN),)
    assert ids(await rooms.ask(pipeline="lung")) == [4, 3, 1]
    assert ids(await rooms.ask(pipeline="lung-id")) == [4, 3, 1]
    assert ids(await rooms.ask(pipeline="liver")) == [5, 2]
    assert ids(await rooms.ask(pipeline="lun")) == []
    assert ids(await rooms.ask(text="lung")) == [3, 1]


async def test_a_hit_says_what_a_list_needs(rooms: Rooms, writer: sqlite3.Connection) -> None:
    add_job(writer, 1, name="one", created=10.5)
    add_job(writer, 2, payload_removed=True, created=9)
    add_job(writer, 3, stage=JobStage.FAILED, created=8)
    add_item(writer, 4, job=1, path="/outbox/x", first_seen=7)
    add_item(writer, 5, job=3, state=ItemState.FAILED, reason="r" * 5000, first_seen=6)
    job, without, failed, item, lost = (await rooms.ask()).hits
    assert (job.kind, job.name, job.pipeline_id) == (wire.HIT_KIND_JOB, "one", "liver-id")
    assert (job.created.ToMilliseconds(), job.stopped.seconds) == (10_500, 10)
    assert not job.HasField("started")
    assert [one.has_results for one in (job, without, failed, item, lost)] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert (item.kind, item.job_id, item.stage) == (
        wire.HIT_KIND_ITEM, number(1), wire.JOB_STAGE_COMPLETED,
    )  # fmt: skip
    assert item.priority == jobs_pb2.JOB_PRIORITY_NORMAL
    assert len(lost.reason) == 1000
    assert lost.stage == wire.JOB_STAGE_FAILED


async def walk(rooms: Rooms, **fields: Any) -> list[list[int]]:
    """The ids on each page, from the first to the last."""
    found, token = [], ""
    while True:
        response = await rooms.ask(page_token=token, **fields)
        found.append(ids(response))
        token = response.next_page
        if not token:
            return found


async def test_pages_have_each_hit_once_in_both_directions(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    for id_ in range(1, 40, 3):
        add_job(writer, id_, created=float(id_ // 6))  # some at the same time
        add_item(writer, id_ + 1, first_seen=float(id_ // 6))
    rooms.unrecorded = tuple(
        an_item(id_, ItemState.SEEN, seen=float(id_ // 6)) for id_ in range(3, 40, 3)
    )
    whole = ids(await rooms.ask(limit=500))
    assert sorted(whole) == list(range(1, 40))
    for limit in (1, 2, 7, 13, 39, 40):
        pages = await walk(rooms, limit=limit)
        assert [id_ for page in pages for id_ in page] == whole
        assert all(len(page) == limit for page in pages[:-1])
        token = ""
        for _ in pages[:-1]:
            token = (await rooms.ask(limit=limit, page_token=token)).next_page
        back = [await rooms.ask(limit=limit, page_token=token)]
        while back[-1].previous_page:
            back.append(await rooms.ask(limit=limit, page_token=back[-1].previous_page))
        assert [ids(page) for page in reversed(back)][-len(pages) :] == pages


async def test_pages_stay_right_while_rows_come_and_go(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    for id_ in range(1, 21):
        add_job(writer, id_)
    first = await rooms.ask(limit=5)
    assert ids(first) == [20, 19, 18, 17, 16]
    assert not first.previous_page
    add_job(writer, 21)
    add_item(writer, 22)
    writer.execute("DELETE FROM artifacts WHERE job IN (?, ?)", (number(16), number(14)))
    writer.execute("DELETE FROM jobs WHERE id IN (?, ?)", (number(16), number(14)))
    second = await rooms.ask(limit=5, page_token=first.next_page)
    assert ids(second) == [15, 13, 12, 11, 10]
    before = await rooms.ask(limit=5, page_token=second.previous_page)
    assert ids(before) == [21, 20, 19, 18, 17]
    newest = await rooms.ask(limit=5, page_token=before.previous_page)
    assert ids(newest) == [22]
    assert not newest.previous_page
    assert ids(await rooms.ask(limit=5, page_token=newest.next_page)) == [21, 20, 19, 18, 17]
    writer.execute("DELETE FROM artifacts")
    writer.execute("DELETE FROM jobs")
    gone = await rooms.ask(limit=5, page_token=second.next_page)
    assert ids(gone) == []
    assert ids(await rooms.ask(limit=5, page_token=gone.previous_page)) == [22]


async def test_an_entry_keeps_its_place_when_it_is_claimed(
    rooms: Rooms, writer: sqlite3.Connection
) -> None:
    for id_ in range(1, 6):
        add_job(writer, id_ * 10)
    entry = an_item(25, ItemState.SETTLING)
    rooms.unrecorded = (entry,)
    first = await rooms.ask(limit=3)
    assert ids(first) == [50, 40, 30]
    add_item(writer, 25, state=ItemState.CLAIMED)
    both = await rooms.ask(limit=3, page_token=first.next_page)  # a row, and not forgotten yet
    assert ids(both) == [25, 20, 10]
    rooms.unrecorded = ()
    assert ids(await rooms.ask(limit=3, page_token=first.next_page)) == [25, 20, 10]


async def test_of_many_entries_only_those_that_are_shown_are_made(
    writer: sqlite3.Connection, rooms: Rooms
) -> None:
    made = []

    def make(lying: Item) -> Item:
        made.append(int(lying.id, 16))
        return lying

    entries = items.Unrecorded(
        lying=[an_item(id_, ItemState.SEEN, name=f"entry-{id_}") for id_ in range(MANY)],
        states=[ItemState.SEEN] * MANY,
        item=make,
    )
    for text, expected in (
        ("", [*range(MANY - 1, MANY - 4, -1)]),
        ("ENTRY-77", [7799, 7798, 7797]),
    ):
        made.clear()
        page = SearchPage(words=SearchText(text), limit=3)
        found = await rooms.database.read(
            lambda tx, page=page: items.find(
                tx, page, (), retryable=False, overlay=rooms.overlay, unrecorded=entries
            )
        )
        assert [int(one.item.id, 16) for one in found] == expected == made


# --- many rows --------------------------------------------------------------------------------


@pytest.fixture
def many(writer: sqlite3.Connection) -> sqlite3.Connection:
    writer.execute("BEGIN")
    for id_ in range(1, MANY + 1):
        stage = JobStage.FAILED if id_ % 100 == 0 else JobStage.COMPLETED
        add_job(
            writer, 2 * id_, name=f"scan-{id_}", stage=stage, metadata={"uid": f"1.2.840.{id_}"}
        )
        state = ItemState.FAILED if id_ % 100 == 0 else ItemState.DELIVERED
        add_item(writer, 2 * id_ + 1, name=b"scan-%d.dcm" % id_, job=2 * id_, state=state)
    writer.execute("COMMIT")
    return writer


def steps(connection: sqlite3.Connection, query: str, page: SearchPage, **more: Any) -> int:
    """How many hundred instructions SQLite runs for the first 51 rows."""
    count = 0

    def one() -> None:
        nonlocal count
        count += 1

    values = {**page.parameters, **more}
    connection.set_progress_handler(one, 100)
    try:
        connection.execute(load_queries()[query], values).fetchmany(51)
    finally:
        connection.set_progress_handler(None, 0)
    return count


def test_a_page_reads_what_it_shows_and_a_rare_word_each_row_once(
    many: sqlite3.Connection,
) -> None:
    for query, of in (("find_jobs", {"stages": -1}), ("find_items", {"states": ""})):
        for text in ("", "scan", "SCAN 1.2"):
            page = SearchPage(words=SearchText(text), limit=51)
            assert steps(many, f"{query}_before", page, **of) < 1_000 + 10 * MANY // 100, text
        first = SearchPage(words=SearchText(""), limit=51)
        assert steps(many, f"{query}_before", first, **of) < 200
        for text in ("scan-17.", "nothing", "ümlaut", "scan nothing"):
            page = SearchPage(words=SearchText(text), limit=51)
            assert steps(many, f"{query}_before", page, **of) < 100 * MANY // 100, text
    plan = [
        line
        for query in (
            "find_jobs_before",
            "find_items_before",
            "find_jobs_after",
            "find_items_after",
        )
        for *_, line in many.execute(
            f"EXPLAIN QUERY PLAN {load_queries()[query]}",
            {**first.parameters, "stages": -1, "states": ""},
        )
    ]
    assert not any("TEMP B-TREE" in line for line in plan), plan
    assert sum("INDEX jobs_by_creation" in line for line in plan) == 2, plan
    assert sum("INDEX inbox_items_by_time" in line for line in plan) == 2, plan


async def test_pages_of_many_rows(rooms: Rooms, many: sqlite3.Connection) -> None:
    first = await rooms.ask()
    assert ids(first) == [2 * MANY + 1 - place for place in range(50)]
    assert first.ByteSize() < 20_000
    counts = {one.stage: one.count for one in first.stages if one.count}
    assert counts == {JobStage.COMPLETED: MANY * 99 // 100, JobStage.FAILED: MANY // 100}
    assert sum(one.count for one in first.states) == MANY
    failed = await walk(
        rooms, stages=[wire.JOB_STAGE_FAILED], states=[appliance_pb2.ITEM_STATE_FAILED], limit=30
    )
    assert [len(page) for page in failed] == [30] * 6 + [20]
    assert ids(await rooms.ask(text="1.2.840.77 scan-77.dcm")) == [155]
    assert ids(await rooms.ask(text="840.7777")) == [15555, 15554]


# --- a whole daemon -----------------------------------------------------------------------------


async def test_a_search_over_the_socket(daemon: Daemon) -> None:
    find = SearchStub(daemon.channel).Find
    pipeline = await daemon.register(chain("copy"))
    made = await daemon.create(pipeline, metadata={"StudyInstanceUID": "1.2.3"})
    drop = daemon.config.inbox_dir / "nothing" / "Lost.dcm"
    drop.parent.mkdir(parents=True)
    drop.write_bytes(b"content")

    async def parked() -> Any:
        found = await find(wire.FindRequest(text="lost"))
        return [hit for hit in found.hits if hit.state == appliance_pb2.ITEM_STATE_PARKED]

    (item,) = await eventually(parked, "the item is parked")
    assert item.reason
    assert item.remedy
    assert item.retryable
    found = await find(wire.FindRequest(text="1.2.3"))
    assert [(hit.id, hit.stage) for hit in found.hits] == [
        (made.job_id.value, wire.JOB_STAGE_UNSTARTED)
    ]
    await daemon.start(made.job_id.value)
    await daemon.end(made.job_id.value)
    (hit,) = (await find(wire.FindRequest(kinds=[wire.HIT_KIND_JOB]))).hits
    assert (hit.stage, hit.has_results) == (wire.JOB_STAGE_COMPLETED, True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await find(wire.FindRequest(limit=501))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
