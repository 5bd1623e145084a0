"""What desktops, storage and transfer programs leave in a drop folder is nobody's content."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from claraedge.config import Config, NamesSettings
from claraedge.formats.filenames import TABLE, NameKind
from claraedge.formats.filenames import Names as Table
from claraedge.inbox.model import Item, ItemState
from tests.field.case import case
from tests.rig.inbox import InboxRig, drop, inbox_rig, make_config, tree_of
from tests.rig.waiting import eventually

DESKTOP: Mapping[str, bytes] = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "._IM1.dcm": b"\0\5\x16\7\0\2\0\0Mac OS X        ",
    "Thumbs.db": b"a cache",
    "desktop.ini": b"[.ShellClassInfo]\r\n",
    "@eaDir/IM1.dcm/SYNOFILE_THUMB_M.png": b"a thumbnail",
    ".directory": b"[Dolphin]\n",
    "IM1.dcm:Zone.Identifier": b"[ZoneTransfer]\r\nZoneId=3\r\n",
}


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        drop(folder / name, content)
    return folder


async def inputs(rig: InboxRig) -> dict[str, dict[str, bytes]]:
    """Job's name -> its files."""
    return {job.name: dict(rig.input_of(job)) for job in await rig.jobs()}


def by_name(items: list[Item]) -> dict[str, Item]:
    return {item.name: item for item in items}


@case(
    2,
    "A folder that a desktop has only opened",
    source="jonaswinkler/paperless-ng#1062; paperless-ngx/paperless-ngx#10998",
    outcome="It counts as an empty folder until the first real file is in it.",
)
@pytest.mark.parametrize("left", [".DS_Store", "desktop.ini", "Thumbs.db", ".directory"])
async def test_a_folder_that_a_desktop_touched_is_empty(state: Path, left: str) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        folder = fill(state / "inbox/ct/new folder", {left: b"x"})
        await rig.until(lambda items: any("empty folder" in i.reason for i in items))
        assert await rig.jobs() == []
        drop(folder / "IM1.dcm", b"image")
        await rig.delivered()
        assert await inputs(rig) == {"new folder": {"IM1.dcm": b"image"}}


@case(
    2,
    "Desktop and storage files in a dropped study",
    source="paperless-ngx/paperless-ngx#4331, #2670, #1828",
    outcome="The operator sees the user's files alone; the original keeps all.",
)
async def test_what_desktops_leave_in_a_study_is_no_input(state: Path) -> None:
    study = {"IM1.dcm": b"image", "sub/IM2.dcm": b"image 2", ".hidden": b"the user's", **DESKTOP}
    study |= {f"sub/{name}": content for name, content in DESKTOP.items()}
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        fill(state / "staging/study", study)
        (state / "staging/study").rename(state / "inbox/ct/study") if (
            state / "inbox/ct"
        ).is_dir() else shutil.copytree(state / "staging/study", state / "inbox/ct/study")
        await rig.delivered()
        wanted = {"IM1.dcm": b"image", "sub/IM2.dcm": b"image 2", ".hidden": b"the user's"}
        assert await inputs(rig) == {"study": wanted}
        (kept,) = (state / "originals").rglob("study")
        assert tree_of(kept) == study


@case(
    2,
    "The same study with other desktop files",
    source="paperless-ngx/paperless-ngx#1828 (duplicates)",
    outcome="It is recognised as the same content.",
)
async def test_leftovers_make_no_other_content(state: Path) -> None:
    trigger = {"folder": "in", "pipeline": "ct", "duplicates": "skip"}
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        fill(state / "inbox/in/one", {"IM1.dcm": b"image"})
        await rig.delivered(1)
        fill(state / "inbox/in/two", {"IM1.dcm": b"image", ".DS_Store": b"1", "Thumbs.db": b"2"})
        items = await rig.delivered(2)
        assert len(await rig.jobs()) == 1
        assert by_name(items)["two"].duplicate_of == by_name(items)["one"].id


@case(
    2,
    "A link or a pipe among what a storage keeps",
    source="Synology: @eaDir; NetApp: .snapshot links",
    outcome="What lies in a leftover folder is not read, so it fails nothing.",
)
async def test_what_lies_in_leftovers_fails_nothing(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        study = fill(state / "staging/study", {"IM1.dcm": b"image", ".snapshot/x": b"1"})
        (study / ".snapshot/link").symlink_to("/etc/passwd")
        (state / "inbox/ct").mkdir(parents=True, exist_ok=True)
        study.rename(state / "inbox/ct/study")
        (item,) = await rig.delivered()
        assert item.state is ItemState.DELIVERED
        assert await inputs(rig) == {"study": {"IM1.dcm": b"image"}}


@case(
    2,
    "The recycle bin and snapshots at the top of a share",
    source="paperless-ngx/paperless-ngx#2670; nova-video-player/aos-AVP#1308; "
    "files-community/Files#16616; Radarr/Radarr#7469",
    outcome="They stay where they are, untouched; `list inbox` shows them as IGNORED with the "
    "storage's name.",
)
@pytest.mark.parametrize("grouping", ["entry", "file", "quiet"])
async def test_recycle_bins_of_a_share_are_no_items(state: Path, grouping: str) -> None:
    bins = {
        "#recycle/old.dcm": b"1",
        "@Recycle/old.dcm": b"2",
        "$RECYCLE.BIN/S-1-5-21/$R1.dcm": b"3",
        "@Recently-Snapshot/GMT+01/old.dcm": b"4",
        "#snapshot/GMT/old.dcm": b"5",
        "System Volume Information/x": b"6",
        "lost+found/7": b"7",
        ".Trash-1000/files/old.dcm": b"8",
        ".recycle/alice/old.dcm": b"9",
    }
    more = {"quiet_seconds": 0.3} if grouping == "quiet" else {}
    trigger = {"folder": "in", "pipeline": "ct", "grouping": grouping, **more}
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        fill(state / "inbox/in", bins)
        drop(state / "inbox/in/new.dcm", b"new")
        await rig.delivered()
        items = await rig.until(lambda items: len(items) == 1 + len(bins))
        assert list((await inputs(rig)).values()) == [{"new.dcm": b"new"}]
        ignored = {item.name for item in items if item.state is ItemState.IGNORED}
        assert ignored == {name.split("/")[0] for name in bins}
        assert all(item.remedy for item in items if item.state is ItemState.IGNORED)
    assert tree_of(state / "inbox/in") == bins


@case(
    2,
    "Files renamed from a name with a leading dot",
    source="proftpd/proftpd#46, #47; ome/omero-server-docker#23; gorakhargosh/watchdog#266",
    outcome="They are taken at once, as from any other temporary name.",
)
@pytest.mark.parametrize(
    "temporary", [".in.a.dcm.", ".a.dcm.k3J9sd", "a.dcm.part", ".a.dcm", ".~tmp~/a.dcm"]
)
async def test_a_rename_from_a_temporary_name_is_taken_at_once(state: Path, temporary: str) -> None:
    async with inbox_rig(make_config(state, settle=60.0, rescan=60.0)) as rig:
        await rig.register("ct")
        folder = state / "inbox/ct"
        await rig.until(lambda _: folder.is_dir() or folder.mkdir(parents=True) or True)

        async def taken() -> bool:
            return any(i.state is ItemState.DELIVERED for i in await rig.inbox.items())

        for number in range(20):  # the folder's own watch may come after the first rename
            (folder / temporary).parent.mkdir(exist_ok=True)
            drop(folder / temporary, b"whole")
            (folder / temporary).rename(folder / f"a{number}.dcm")
            with contextlib.suppress(AssertionError):
                return await eventually(taken, "the file is taken", 1.0)
    raise AssertionError("no rename was taken at once")


@case(
    2,
    "A folder with the half file of an rsync whose line is down",
    source="ome/omero-server-docker#23; guard/listen#350; lavv17/lftp#188; drakkan/sftpgo#436",
    outcome="The folder waits and names the file; it is one job with all files once that is "
    "renamed.",
)
@pytest.mark.parametrize(
    "temporary",
    [".IM2.dcm.k3J9sd", ".rsync-partial/IM2.dcm", ".~tmp~/IM2.dcm", "IM2.dcm.partial",
     ".pureftpd-upload.5f3a.15.1a2b.dead", ".sftpgo-upload.c2m9s9m1.IM2.dcm", ".getxfer.12.0.mega",
     ".in.IM2.dcm.", "IM2.dcm.filepart", ".IM2.dcm.~1a2b", "IM2.dcm.6eF5A0bE"],
)  # fmt: skip
async def test_a_folder_waits_for_its_unfinished_file(state: Path, temporary: str) -> None:
    study = fill(state / "inbox/ct/study", {"IM1.dcm": b"whole", temporary: b"ha"})
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.until(lambda items: any(Path(temporary).name in i.reason for i in items))
        assert await rig.jobs() == []
        (study / temporary).write_bytes(b"half and half")
        (study / temporary).rename(study / "IM2.dcm")
        await rig.delivered()
        assert await inputs(rig) == {"study": {"IM1.dcm": b"whole", "IM2.dcm": b"half and half"}}


@case(
    2,
    "Intermediate files of other transfer programs",
    source="minio/mc#1902; nimbo-sh/nimbo#21; aws/aws-cli#701; gsutil and FreeFileSync sources",
    outcome="None becomes a job; each says that it is the name of an unfinished file, and of "
    "which program.",
)
async def test_temporary_names_of_many_programs_wait(state: Path) -> None:
    names = ["a.dcm.part.minio", "b.dcm_.gstmp", "c.dcm.8ea2.ffs_tmp", "d.dcm.6eF5A0bE"]
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        for name in names:
            drop(state / "inbox/ct" / name, b"half")
        items = await rig.until(
            lambda items: sum(i.state is ItemState.PARKED for i in items) == len(names)
        )
        assert all("unfinished file (" in item.reason for item in items)
        (state / "inbox/ct/a.dcm.part.minio").rename(state / "inbox/ct/a.dcm")
        await rig.delivered()
        assert await inputs(rig) == {"a.dcm": {"a.dcm": b"half"}}


@case(
    2,
    "A download of aria2 under its final name",
    source="aria2/aria2#792; P3TERX/Aria2-Pro-Docker#127",
    outcome="The file waits for as long as its control file lies next to it.",
)
async def test_a_file_waits_for_its_control_file_to_go(state: Path) -> None:
    drop(state / "inbox/ct/a.dcm.aria2", b"control")
    drop(state / "inbox/ct/a.dcm", b"all its size")
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.until(
            lambda items: any(i.reason.startswith("'a.dcm.aria2' next to it") for i in items)
        )
        (state / "inbox/ct/a.dcm.aria2").unlink()
        await rig.delivered()
        assert await inputs(rig) == {"a.dcm": {"a.dcm": b"all its size"}}


@case(
    2,
    "A site's own temporary names, and content that the table counts as temporary",
    source="paperless-ngx/paperless-ngx: PAPERLESS_CONSUMER_IGNORE_PATTERNS",
    outcome="[names] in the configuration adds both; `claraedge describe names` shows the table.",
)
async def test_a_device_adds_names_of_its_own(state: Path) -> None:
    names = NamesSettings(
        unfinished=("*.sending",), leftovers=("scanner.log",), content=("*.part",)
    )
    config = make_config(state, names=names)
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        fill(state / "inbox/ct", {"gear.part": b"a part", "b.dcm.sending": b"half"})
        fill(state / "inbox/ct/study", {"wheel.part": b"1", "Scanner.LOG": b"2"})
        await rig.delivered(2)
        assert await inputs(rig) == {
            "gear.part": {"gear.part": b"a part"},
            "study": {"wheel.part": b"1"},
        }
        items = await rig.until(lambda items: by_name(items)["b.dcm.sending"].reason)
        assert "configuration of this device" in by_name(items)["b.dcm.sending"].reason


@case(
    2,
    "A hidden file whose ending has six letters",
    source="rsync: util1.c, get_tmpname",
    outcome="`.settings.backup` in a folder is content; only names that rsync can make wait.",
)
async def test_a_hidden_backup_is_none_of_rsync(state: Path) -> None:
    study = {"IM1.dcm": b"1", ".settings.backup": b"2", ".app.config": b"3"}
    fill(state / "inbox/ct/study", study)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.delivered()
        assert await inputs(rig) == {"study": study}


def test_each_row_fits_its_own_pattern_and_has_a_source() -> None:
    table = Table()
    for row in TABLE:
        assert row.program
        assert row.source
        if row.expression or "[" in row.pattern:
            continue
        example = row.pattern.replace("*", "x").replace("?", "x").encode()
        found = table._find(example)
        assert found is not None, row
        if "*" not in row.pattern:
            assert found is row
    assert {row.kind for row in TABLE} == set(NameKind)


def test_what_a_device_says_comes_first() -> None:
    config = Config(
        state_dir=Path("/s"), runtime_dir=Path("/r"), names=NamesSettings(content=("*.part",))
    )
    assert config.names.table().find(b"a.part") is None
    assert Table().find(b"a.part") is not None


@case(
    2,
    "What a killed transfer left next to the file that a later one brought whole",
    source="rsync(1): a killed receiver leaves its temporary file; rclone.org/docs: --inplace",
    outcome="It is no input and keeps nothing waiting; alone in a folder it says what to do.",
)
@pytest.mark.parametrize(
    "part", [".IM2.dcm.k3J9sd", "IM2.dcm.61f048ff.partial", "IM2.dcm.filepart", ".in.IM2.dcm."]
)
@pytest.mark.parametrize("grouping", ["entry", "quiet"])
async def test_a_part_of_a_broken_transfer_keeps_nothing_waiting(
    state: Path, part: str, grouping: str
) -> None:
    more = {"quiet_seconds": 0.3} if grouping == "quiet" else {}
    trigger = {"folder": "in", "pipeline": "ct", "grouping": grouping, **more}
    folder = state / ("inbox/in/study" if grouping == "entry" else "inbox/in")
    drop(folder / part, b"ha")
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        await rig.until(lambda items: any(part in i.reason for i in items))
        drop(folder / "IM1.dcm", b"whole")
        drop(folder / "IM2.dcm", b"half and half")
        await rig.delivered()
        (given,) = (await inputs(rig)).values()
        assert given == {"IM1.dcm": b"whole", "IM2.dcm": b"half and half"}


@case(
    2,
    "A file that is sent again over its earlier version",
    source="rsync(1): the whole file stays until the new one is renamed over it",
    outcome="The folder waits for the newer transfer to end.",
)
async def test_a_newer_part_is_waited_for(state: Path) -> None:
    study = state / "inbox/ct/study"
    drop(study / "IM2.dcm", b"old and whole")
    drop(study / ".IM2.dcm.k3J9sd", b"ne")
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.until(lambda items: any(".IM2.dcm.k3J9sd" in i.reason for i in items))
        assert await rig.jobs() == []
        (study / ".IM2.dcm.k3J9sd").rename(study / "IM2.dcm")
        await rig.delivered()
        assert await inputs(rig) == {"study": {"IM2.dcm": b"ne"}}
