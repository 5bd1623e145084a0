"""The disk of the inbox, of the state or of the outbox runs full: items wait, say what to do, lose
nothing, and finish without a restart once there is room."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claraedge.delivery import parcels
from claraedge.fs import trees
from claraedge.inbox.inspection import settling
from claraedge.inbox.intake import intake
from claraedge.inbox.model import ItemState
from tests.freeze.frozen_site import ANY_DISK
from tests.integration.conftest import TestImages, why_podman_cannot_work
from tests.integration.daemon.conftest import IMAGE, program
from tests.integration.faults import small_disk
from tests.integration.faults.faulty import GRACE, FaultySite, operator
from tests.integration.inbox.test_other_users import give_to_other_user
from tests.rig.inbox import drop, inbox_rig, make_config, tree_of
from tests.rig.waiting import eventually, until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

MIB = 1 << 20

_SETTINGS = (
    f"[inbox]\nsettle_seconds = 0.2\nrescan_seconds = 1\n[engine]\ngrace_seconds = {GRACE}\n"
)
#: 38 and 19 MiB of the small disk: more than the ballast gives back. The other disks are large.
_LIMITS = "[disk]\nsoft_percent = 40\nsoft_mb = 40\nhard_mb = 20\n"


@pytest.fixture
def disk() -> Iterator[Path]:
    reason = why_podman_cannot_work() or small_disk.why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    yield small_disk.emptied()
    small_disk.emptied()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@contextmanager
def running(
    home: Path, runtime: Path, archives: TestImages, settings: str, disk: Path | None = None
) -> Iterator[FaultySite]:
    """A daemon that serves, with a pipeline `ct` that hands on what it is given."""
    runtime = Path(tempfile.mkdtemp(prefix="f-", dir=runtime), "run")
    site = FaultySite(program=program(), folder=home, runtime=runtime, disk=disk)
    site.temporary.mkdir()
    site.configure(_SETTINGS + settings)
    try:
        site.start()
        archives.load(site, f"{IMAGE}:1")
        site.register("ct", operator("only", "cp -r /in/. /out/"))
        until("the ballast is there", (site.state / "ballast").exists)
        yield site
        assert site.process is not None
        assert site.process.poll() is None, (home / "daemon.log").read_text()[-4000:]
        assert "Traceback" not in (home / "daemon.log").read_text()
    finally:
        site.stop()


def items(site: FaultySite) -> dict[str, Any]:
    return {item["name"]: item for item in site.ask("list", "inbox")["items"]}


def states(site: FaultySite) -> dict[str, str]:
    return {name: item["state"] for name, item in items(site).items()}


def until_parked(site: FaultySite, names: set[str], *texts: str) -> None:
    """Until all of these wait, and say so to people and to programs."""

    def parked() -> bool:
        found = items(site)
        return all(
            name in found
            and found[name]["state"] == "PARKED"
            and all(text in found[name]["reason"] for text in texts)
            for name in names
        )

    until(f"{sorted(names)} say {texts}", parked, details=lambda: items(site))
    shown = site.say("list", "inbox")
    for name in names:
        (line,) = [line for line in shown.splitlines() if name in line]
        assert "PARKED" in line
    assert all(text in shown for text in texts), shown


def evicted(site: FaultySite) -> set[str]:
    """Items whose job was running when the disk fell below its hard limit."""
    return {
        name
        for name, item in items(site).items()
        if item["state"] == "FAILED" and item["reason"].startswith("evicted: ")
    }


def until_delivered(
    site: FaultySite,
    wanted: dict[str, bytes],
    outbox: Path | None = None,
    *,
    may_run: Collection[str] = (),
) -> None:
    """Until each of these, and nothing else, became one result, with its content.

    `may_run`: those whose jobs may have been evicted, as they ran when the disk was full.
    """

    def done() -> bool:
        found, gone = states(site), evicted(site) & set(may_run)
        rest = {state for name, state in found.items() if name not in gone}
        return set(found) == set(wanted) and rest == {"DELIVERED"}

    until("all is delivered", done, seconds=90, details=lambda: items(site))
    gone = evicted(site)
    count, wanted = len(wanted), {n: c for n, c in wanted.items() if n not in gone}
    results = list((outbox or site.state / "outbox").glob("ct/*/only/*"))
    assert {path.name: path.read_bytes() for path in results} == wanted
    assert len(results) == len(wanted)
    originals = list((site.state / "originals").glob("ct/*/*"))
    assert {path.name: path.read_bytes() for path in originals} == wanted
    assert site.rows("SELECT COUNT(*) FROM jobs WHERE status <> 1") == [(len(gone),)]
    assert site.rows("SELECT COUNT(*) FROM jobs") == [(count,)]
    until("nothing is left of them", lambda: list((site.state / "spool").iterdir()) == [])


def is_low(site: FaultySite) -> bool:
    return any("until then nothing new is taken" in w for w in site.ask("status")["warnings"])


def prepared(inbox: Path, wanted: dict[str, bytes]) -> None:
    """What a program wrote while there was room; it is no item yet."""
    for name, content in wanted.items():
        drop(inbox / f"{name}.part", content)


def arrive(inbox: Path, names: list[str]) -> None:
    """By a rename, which needs no room."""
    for name in names:
        (inbox / f"{name}.part").rename(inbox / name)


# --- by a real daemon -----------------------------------------------------------------------------


@pytest.mark.parametrize("ballast", ["with its ballast", "without any room"])
def test_items_that_come_in_while_the_disk_fills_wait_and_finish(
    disk: Path, home: Path, runtime_folder: Path, archives: TestImages, ballast: str
) -> None:
    """State and inbox are on the disk that strangers fill to the last byte."""
    wanted = {f"{number}.dcm": b"%d" % number * 1000 for number in range(20)}
    names = list(wanted)
    with running(home, runtime_folder, archives, _LIMITS, disk) as site:
        inbox = site.state / "inbox/ct"
        prepared(inbox, wanted)
        arrive(inbox, names[:5])  # these may be anywhere on their way when the disk is full
        if ballast == "without any room":
            (site.state / "ballast").unlink()
        with small_disk.filled() as filler:
            arrive(inbox, names[5:12])  # the disk was not checked yet
            until("new work is blocked", lambda: is_low(site))
            small_disk.fill(filler)
            arrive(inbox, names[12:])
            until_parked(site, set(names[12:]), "the disk of", "free some space there")
            assert set(states(site)) == set(wanted)
        until_delivered(site, wanted, may_run=names[:12])
        assert list(inbox.iterdir()) == []


def test_a_daemon_that_is_killed_while_items_wait_for_room_claims_each_once(
    disk: Path, home: Path, runtime_folder: Path, archives: TestImages
) -> None:
    wanted = {f"{number}.dcm": b"%d" % number * 1000 for number in range(6)}
    with running(home, runtime_folder, archives, _LIMITS, disk) as site:
        inbox = site.state / "inbox/ct"
        prepared(inbox, wanted)
        arrive(inbox, list(wanted)[:3])
        with small_disk.filled() as filler:
            until("new work is blocked", lambda: is_low(site))
            small_disk.fill(filler)
            arrive(inbox, list(wanted)[3:])
            until_parked(site, set(list(wanted)[3:]), "free some space")
            site.kill()
            site.start()
            until_parked(site, set(list(wanted)[3:]), "free some space")
        until_delivered(site, wanted)


def test_a_file_that_has_no_room_in_the_state_folder_waits_and_keeps_nobody_waiting(
    disk: Path, home: Path, runtime_folder: Path, archives: TestImages
) -> None:
    """From an inbox on another disk it is copied, and no part of it may fill the disk."""
    other = home / "inbox"
    settings = f'path = "{other}"\n'
    with running(home, runtime_folder, archives, ANY_DISK, disk) as site:
        site.stop()
        text = (home / "claraedge.toml").read_text()
        (home / "claraedge.toml").write_text(text.replace("[inbox]\n", f"[inbox]\n{settings}"))
        site.start()
        with small_disk.filled(left=12 * MIB):
            free = small_disk.free()
            drop(other / "ct/big.dcm", os.urandom(20 * MIB))
            until_parked(
                site, {"big.dcm"}, f"the disk of {disk} is full; free some space there: 20 MiB are"
            )
            drop(other / "ct/small.dcm", b"small")
            until(
                "the small one is delivered",
                lambda: states(site).get("small.dcm") == "DELIVERED",
                details=lambda: items(site),
            )
            assert items(site)["big.dcm"]["state"] == "PARKED"
            assert free - small_disk.free() < MIB, "a part of the copy is left"
        until(
            "it is delivered",
            lambda: set(states(site).values()) == {"DELIVERED"},
            details=lambda: items(site),
        )
        assert site.rows("SELECT COUNT(*), COUNT(DISTINCT payload) FROM jobs") == [(2, 2)]
        assert [path.name for path in other.rglob("*")] == ["ct"]
        assert list((site.state / "spool").iterdir()) == []


def test_results_wait_for_a_full_outbox_and_are_delivered_once_there_is_room(
    disk: Path, home: Path, runtime_folder: Path, archives: TestImages
) -> None:
    """The state is elsewhere: everything else continues."""
    outbox = disk / "outbox"
    settings = f'[outbox]\npath = "{outbox}"\n{ANY_DISK}'
    wanted = {"big.dcm": os.urandom(32 * MIB), "small.dcm": b"small"}
    with running(home, runtime_folder, archives, settings) as site:
        inbox = site.state / "inbox/ct"
        with small_disk.filled(left=8 * MIB):
            free = small_disk.free()
            drop(inbox / "big.dcm", wanted["big.dcm"])
            needed = f"the disk of {outbox} is full; free some space there: 32 MiB are needed"
            until("it says so", lambda: needed in str(items(site)), details=lambda: items(site))
            assert states(site) == {"big.dcm": "SUBMITTED"}
            assert needed in site.say("list", "inbox")
            drop(inbox / "small.dcm", wanted["small.dcm"])
            until(
                "the small one is delivered",
                lambda: states(site).get("small.dcm") == "DELIVERED",
                details=lambda: items(site),
            )
            assert states(site)["big.dcm"] == "SUBMITTED"
            assert free - small_disk.free() < MIB, "a part of the result is left"
        until_delivered(site, wanted, outbox)
        assert [path.name for path in outbox.iterdir()] == ["ct"]


# --- in the middle of a copy ----------------------------------------------------------------------


@pytest.fixture
def nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is there when it is asked for, and taken by others before it is used."""

    def need_room(folder: Path, size: int, *, source: int, largest: int = 0) -> None:
        assert folder.is_dir()
        assert size > 0

    monkeypatch.setattr(trees, "need_room", need_room)
    monkeypatch.setattr(parcels, "need_room", need_room)
    monkeypatch.setattr(intake, "_FIRST_RETRY", 0.2)
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.0)


def space_is_back(free: int) -> bool:
    return free - small_disk.free() < MIB


@pytest.mark.parametrize("what", ["a linked file", "another user's file", "a linked folder"])
async def test_a_disk_that_fills_while_a_foreign_drop_is_copied_keeps_no_part_of_it(
    disk: Path, nobody_asks: None, what: str
) -> None:
    inbox = disk / "state/inbox/ct"
    block = os.urandom(6 * MIB)
    if what == "a linked folder":
        for number in range(5):
            drop(disk / f"outside-{number}", block + b"%d" % number)
        wanted = {f"{number}.dcm": block + b"%d" % number for number in range(5)}
    else:
        drop(disk / "outside", block * 5).chmod(0o644)
        wanted = {"scan": block * 5}
    async with inbox_rig(make_config(disk / "state", settle=0.1), run=False) as rig:
        await rig.register("ct")
        inbox.mkdir(parents=True, exist_ok=True)
        with small_disk.filled(left=20 * MIB):
            if what == "a linked file":
                (inbox / "scan").hardlink_to(disk / "outside")
            elif what == "another user's file":
                give_to_other_user(disk / "outside")
                (disk / "outside").rename(inbox / "scan")
            else:
                (inbox / ".scan").mkdir()
                for number in range(5):
                    path = inbox / f".scan/{number}.dcm"
                    path.hardlink_to(disk / f"outside-{number}")
                (inbox / ".scan").rename(inbox / "scan")
            free = small_disk.free()
            task = rig.group.create_task(rig.inbox.run())
            (item,) = await rig.until(lambda items: "is full; free some space" in str(items))
            assert item.state is ItemState.PARKED
            await eventually(lambda: space_is_back(free), "the space is free again")
            assert await rig.jobs() == []
        await rig.until(lambda items: items and items[0].state is ItemState.SUBMITTED)
        (job,) = await rig.jobs()
        await rig.engine.payloads.materialise(job.payload)
        task.cancel()
        assert rig.input_of(job) == wanted
    assert list(inbox.iterdir()) == []


async def test_an_outbox_that_fills_while_a_result_is_copied_keeps_no_part_of_it(
    disk: Path, tmp_path: Path, nobody_asks: None
) -> None:
    config = make_config(tmp_path / "state", settle=0.1, path=disk / "outbox")
    content = os.urandom(10 * MIB)
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        with small_disk.filled(left=15 * MIB):  # one of the two outputs fits
            free = small_disk.free()
            drop(tmp_path / "state/inbox/ct/scan.dcm", content)
            await rig.until(lambda items: "is full; free some space there" in str(items))
            await eventually(lambda: space_is_back(free), "the space is free again")
            assert len(rig.engine.ran) == 1
        await rig.delivered()
        assert len(await rig.jobs()) == 1
    (result,) = (disk / "outbox/ct").iterdir()
    made = [found for name, found in tree_of(result).items() if name.endswith("scan.dcm")]
    assert made == [content, content]
