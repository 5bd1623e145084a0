"""Files in pipelines.d are pipelines: what changes there changes them, and nothing else does."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import (
    PipelineNotFoundError,
    PipelineOfFileError,
    PipelineStoreError,
    StorageFullError,
)
from claraedge.failpoints import hooked
from claraedge.ids import new_id
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.model import DefinitionFile
from claraedge.registry import file_records, sources, top
from claraedge.registry.folder import PipelineFolder
from claraedge.registry.pipelines import Pipelines, Registered, find, why_missing
from claraedge.store.database import Database
from tests.rig.pipelines import chain
from tests.rig.queries import query

NO_GPU = Device(cores=4, memory=4096, gpus=0)
OPERATOR = "name: reader\ncontainer: {image: copy}\ninput: [{path: /in}]\noutput: [{path: /out}]\n"


def named(name: str, *operators: str) -> str:
    return chain(*(operators or ("one",))).replace("name: chain", f"name: {name}")


def importing(name: str, path: str) -> str:
    return f"api-version: 0.4.0\nname: {name}\noperators:\n- import: {{path: {path}}}\n"


class KilledError(BaseException):
    """Raised at a failpoint: nothing that handles errors may handle it."""


@dataclass
class Clock(SystemClock):
    ahead: float = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@dataclass
class Site:
    """A state and a folder, through several lives of a daemon."""

    database: Database
    folder: Path
    clock: Clock
    pipelines: Pipelines
    pokes: int = 0

    def start(self) -> PipelineFolder:
        return PipelineFolder(self.database, self.pipelines, self.clock, self.folder, pause=5.0)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    async def found(self, name: str) -> Registered | None:
        return await self.database.read(lambda tx: find(tx, name))

    async def names(self) -> list[str]:
        return [p.name async for p in self.pipelines.each()]

    def trace(self) -> tuple[int, int]:
        """Grows with every change that anyone can see."""
        text = "SELECT (SELECT COUNT(*) FROM events), (SELECT COUNT(*) FROM definitions)"
        ((events, definitions),) = query(self.database, text)
        return events, definitions


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Database(tmp_path / "claraedge.db") as database:

        def poke() -> None:
            site.pokes += 1

        pipelines = Pipelines(database, SystemClock(), new_id, lambda: NO_GPU, on_created=poke)
        place = tmp_path / "site" / "pipelines.d"
        site = Site(database, place, Clock(), pipelines)
        yield site


async def scan(folder: PipelineFolder, count: int = 2) -> None:
    for _ in range(count):
        await folder.scan()


def warnings(folder: PipelineFolder) -> str:
    return "\n".join(folder.warnings())


async def test_the_folder_is_made_and_a_file_is_registered_once_it_stays_the_same(
    site: Site,
) -> None:
    folder = site.start()
    await folder.scan()
    assert list(site.folder.iterdir()) == []
    path = site.write("ct.yaml", named("ct"))
    await folder.scan()
    assert await site.names() == []
    await folder.scan()
    registered = await site.found("CT")
    assert registered is not None
    assert (registered.source, registered.files[0].path) == ("ct.yaml", "ct.yaml")
    assert registered.id == file_records.id_of("ct.yaml") == "b320eb950d6e5110bee2cfc9668e6bc3"
    assert site.pokes == 1
    before = site.trace()
    await scan(folder, 3)
    path.touch()
    await scan(folder, 3)
    assert (site.trace(), site.pokes) == (before, 1)
    assert list(folder.warnings()) == []


async def test_a_file_that_is_being_written_is_not_registered(site: Site) -> None:
    folder = site.start()
    text = named("ct", "one", "two")
    for end in range(100, len(text), 20):  # some of these are whole pipelines
        site.write("ct.yaml", text[:end])
        await folder.scan()
    site.write("ct.yaml", text)
    await folder.scan()
    assert await site.names() == []
    await folder.scan()
    registered = await site.found("ct")
    assert registered is not None
    assert registered.files[0].content == text


async def test_a_start_registers_what_is_old_and_leaves_what_is_fresh_to_later_scans(
    site: Site,
) -> None:
    site.write("ct.yaml", named("ct"))
    await site.start().prepare()
    assert await site.names() == []
    site.clock.ahead = 60
    folder = site.start()
    await folder.prepare()
    assert await site.names() == ["ct"]
    # The folder's own time says when a file went, and is fresh on a clock that is right.
    (site.folder / "ct.yaml").unlink()
    site.clock.ahead = 0
    await site.start().prepare()
    assert await site.names() == ["ct"]
    site.clock.ahead = 60
    await site.start().prepare()
    assert await site.names() == []


async def test_a_clock_that_is_behind_registers_nothing_early(site: Site) -> None:
    site.write("ct.yaml", named("ct"))
    site.clock.ahead = -86400
    folder = site.start()
    await folder.prepare()
    assert await site.names() == []
    await folder.scan()
    assert await site.names() == ["ct"]


async def test_restarts_with_the_same_bytes_change_nothing(site: Site) -> None:
    site.write("ct.yaml", importing("ct", "parts/reader.yaml"))
    site.write("parts/reader.yaml", OPERATOR)
    await scan(site.start())
    assert await site.names() == ["ct"]
    before, site.clock.ahead = site.trace(), 60
    for _ in range(2):
        folder = site.start()
        await folder.prepare()
        await scan(folder)
        assert (site.trace(), site.pokes) == (before, 1)


async def test_a_change_updates_the_pipeline_and_forgets_the_old_text(site: Site) -> None:
    folder = site.start()
    site.write("ct.yaml", named("ct"))
    await scan(folder)
    first = await site.found("ct")
    _, definitions = site.trace()
    site.write("ct.yaml", named("spleen", "one", "two"))
    await scan(folder)
    second = await site.found("spleen")
    assert first is not None
    assert second is not None
    assert (second.id, second.created) == (first.id, first.created)
    assert await site.found("ct") is None
    assert site.trace()[1] == definitions
    assert site.pokes == 2


@pytest.mark.parametrize("kind", ["by a link", "plainly"])
async def test_an_import_in_a_sub_folder_belongs_to_the_pipeline(site: Site, kind: str) -> None:
    folder = site.start()
    real = site.write("parts/v1.yaml", OPERATOR)
    if kind == "by a link":
        (site.folder / "parts/reader.yaml").symlink_to("v1.yaml")
    else:
        real = real.rename(site.folder / "parts/reader.yaml")
    site.write("parts/middle.yaml", "import: {path: ../parts/reader.yaml}\n")
    site.write("ct.yml", importing("ct", "parts/middle.yaml"))
    await scan(folder)
    registered = await site.found("ct")
    assert registered is not None
    assert [f.path for f in registered.files] == [
        "ct.yml",
        "parts/middle.yaml",
        "parts/reader.yaml",
    ]
    assert await site.names() == ["ct"], "what lies in sub-folders is no pipeline"
    real.write_text(OPERATOR.replace("/in", "/input"))
    await scan(folder)
    again = await site.found("ct")
    assert again is not None
    assert "/input" in again.files[2].content
    assert list(folder.warnings()) == []


async def test_an_import_that_comes_late_is_waited_for(site: Site) -> None:
    folder = site.start()
    site.write("other/reader.yaml", OPERATOR)  # never taken instead, for its last name
    text = importing("ct", "parts/reader.yaml") + "- import: {path: other/reader.yaml}\n"
    site.write("ct.yaml", text)
    await scan(folder)
    assert await site.names() == []
    assert f"{site.folder}/ct.yaml:4:18: there is no file" in warnings(folder)
    site.write("parts/reader.yaml", OPERATOR.replace("name: reader", "name: first"))
    await scan(folder)
    assert await site.names() == ["ct"]
    assert list(folder.warnings()) == []


async def test_a_wrong_file_leaves_the_pipeline_as_it_was(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = site.start()
    site.write("ct.yaml", named("ct"))
    site.write("new.yaml", "a: [1, 2")
    await scan(folder)
    before = await site.found("ct")
    assert before is not None
    site.write("ct.yaml", named("ct").replace("operators:", "operatros:"))
    await scan(folder, 4)
    assert await site.found("ct") == before
    assert f"{site.folder}/ct.yaml:" in warnings(folder)
    assert f"{site.folder}/new.yaml:2:1: this is not YAML" in warnings(folder)
    refused = [r for r in caplog.records if r.msg == "pipeline file not taken"]
    assert sorted(getattr(r, "file", "") for r in refused) == [
        f"{site.folder}/ct.yaml",
        f"{site.folder}/new.yaml",
    ]
    files = {f.name: f for f in await folder.files()}
    assert files["ct.yaml"].pipeline is not None
    assert files["new.yaml"].pipeline is None
    assert all(f.problems for f in files.values())
    site.write("ct.yaml", named("ct"))
    (site.folder / "new.yaml").unlink()
    await scan(folder)
    assert list(folder.warnings()) == []
    assert await site.found("ct") == before


async def test_what_the_device_can_never_satisfy_is_refused(site: Site) -> None:
    folder = site.start()
    site.write("ct.yaml", named("ct") + "  requests: {memory: 999999}\n")
    await scan(folder)
    assert await site.names() == []
    assert "ct.yaml:10:22: `memory` asks for" in warnings(folder)


async def test_a_file_that_is_gone_disables_and_one_that_returns_enables(site: Site) -> None:
    folder = site.start()
    path = site.write("ct.yaml", named("ct"))
    await scan(folder)
    registered = await site.found("ct")
    assert registered is not None
    await site.pipelines.add_metadata(registered.id, {"Ward": "3"})
    path.rename(site.folder / ".ct.yaml")
    await folder.scan()
    assert await site.names() == ["ct"], "an editor may rename it for a moment"
    await folder.scan()
    assert await site.found("ct") is None
    reason = "its file ct.yaml is gone from the folder of pipelines; put it back"
    for asked in ("CT", registered.id):
        assert await site.database.read(lambda tx, a=asked: why_missing(tx, a)) == reason
    assert await site.database.read(lambda tx: why_missing(tx, "other")) == ""
    with pytest.raises(PipelineNotFoundError, match=reason):
        await site.pipelines.get(registered.id)
    (file,) = await folder.files()
    assert file.pipeline is not None
    assert file.pipeline.gone
    (site.folder / ".ct.yaml").rename(path)
    await scan(folder)
    again = await site.found("ct")
    assert again is not None
    assert (again.id, dict(again.metadata)) == (registered.id, {"Ward": "3"})


async def test_a_renamed_file_is_never_missing(site: Site) -> None:
    folder = site.start()
    path = site.write("ct.yaml", named("ct"))
    await scan(folder)
    path.rename(site.folder / "spleen.yaml")
    await folder.scan()
    assert await site.names() == ["ct"]
    await folder.scan()
    registered = await site.found("ct")
    assert registered is not None
    assert registered.id == file_records.id_of("spleen.yaml")
    assert await site.names() == ["ct"]


async def test_an_empty_folder_disables_all(site: Site) -> None:
    folder = site.start()
    for name in ("a", "b"):
        site.write(f"{name}.yaml", named(name))
    await scan(folder)
    assert sorted(await site.names()) == ["a", "b"]
    for name in ("a", "b"):
        (site.folder / f"{name}.yaml").unlink()
    await scan(folder)
    assert await site.names() == []


@pytest.mark.parametrize("way", ["missing", "a file", "a link to nothing", "not readable"])
async def test_a_folder_that_cannot_be_read_changes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder = site.start()
    site.write("ct.yaml", named("ct"))
    await scan(folder)
    moved = site.folder.rename(site.folder.with_name("moved"))
    if way == "a file":
        site.folder.write_text("no folder")
    elif way == "a link to nothing":
        site.folder.symlink_to("nothing")
    elif way == "not readable":
        site.folder.mkdir()
        closed = PermissionError(13, "Permission denied")

        def refuse(*_: object) -> None:
            raise closed

        monkeypatch.setattr(top, "entries", refuse)
    site.clock.ahead = 60
    for life in (folder, site.start()):
        caplog.clear()
        await life.prepare()
        for _ in range(3):
            await life._try(at_start=False)
        assert await site.names() == ["ct"]
        (warning,) = life.warnings()
        assert str(site.folder) in warning
        if way == "not readable":
            assert f"its owner has to give {site.folder} mode 0755" in warning
        assert [r.msg for r in caplog.records if r.levelno >= logging.WARNING] == [
            "pipelines.d waits"
        ]
    monkeypatch.undo()
    if site.folder.is_dir():
        site.folder.rmdir()
    else:
        site.folder.unlink(missing_ok=True)
    moved.rename(site.folder)
    before = site.trace()
    await scan(folder)
    assert (list(folder.warnings()), site.trace()) == ([], before)


async def test_a_mount_point_without_its_mount_disables_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "_mount_of", lambda _: site.folder)
    site.write("ct.yaml", named("ct"))
    folder = site.start()
    await scan(folder)
    moved = site.folder.rename(site.folder.with_name("moved"))
    site.folder.mkdir()
    monkeypatch.setattr(top, "_mount_of", lambda _: Path("/"))
    site.clock.ahead = 60
    for life in (folder, site.start()):  # also after a restart
        await life.prepare()
        await scan(life, 3)
        assert await site.names() == ["ct"]
        assert "mount it" in warnings(life)
    (site.folder / "no-more-pipelines").touch()
    await scan(folder)
    assert await site.names() == []
    assert list(folder.warnings()) == []
    (site.folder / "no-more-pipelines").unlink()
    site.folder.rmdir()
    moved.rename(site.folder)
    await scan(folder)
    assert await site.names() == ["ct"]


async def test_nothing_in_the_folder_is_ever_changed_or_removed(site: Site) -> None:
    site.write("ct.yaml", importing("ct", "parts/reader.yaml"))
    site.write("parts/reader.yaml", OPERATOR)
    site.write("wrong.yaml", "a: [1, 2")
    site.write("notes.txt", "not a pipeline")
    (site.folder / "link.yaml").symlink_to("nothing")

    def entries() -> dict[Path, tuple[object, ...]]:
        """What a change would show: inode, mode, times of changes, and content."""
        found = {}
        for path in (site.folder, *site.folder.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            kind = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
            found[path] = (*kind, content)
        return found

    before = entries()
    for site.clock.ahead in (0, 60, 120):
        folder = site.start()
        await folder.prepare()
        await scan(folder, 3)
    assert await site.names() == ["ct"]
    registered = await site.found("ct")
    assert registered is not None
    with pytest.raises(PipelineOfFileError):
        await site.pipelines.remove(registered.id)
    assert entries() == before


# --- what else may lie there -----------------------------------------------------------------


def link_out(site: Site) -> None:
    outside = site.folder.parent / "outside.yaml"
    outside.write_text(named("secret"))
    (site.folder / "x.yaml").symlink_to(outside)


def link_up(site: Site) -> None:
    (site.folder.parent / "outside.yaml").write_text(named("secret"))
    (site.folder / "x.yaml").symlink_to("../outside.yaml")


def link_to_nothing(site: Site) -> None:
    (site.folder / "x.yaml").symlink_to("nothing.yaml")


def link_to_itself(site: Site) -> None:
    (site.folder / "x.yaml").symlink_to("x.yaml")


def fifo(site: Site) -> None:
    os.mkfifo(site.folder / "x.yaml")


def a_socket(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(site.folder)  # its path may be too long for a socket
        listening.bind("x.yaml")


def a_folder(site: Site) -> None:
    site.write("x.yaml/x.yaml", named("inner"))


def huge(site: Site) -> None:
    site.write("x.yaml", named("huge"))
    os.truncate(site.folder / "x.yaml", 1 << 40)


def large(site: Site) -> None:
    site.write("x.yaml", importing("x", "a") + "- import: {path: b}\n")
    site.write("a", "#" * (9 << 20))
    site.write("b", "#" * (9 << 20))


def no_text(site: Site) -> None:
    (site.folder / "x.yaml").write_bytes(b"api-version: 0.4.0\nname: \xff\n")


def empty(site: Site) -> None:
    site.write("x.yaml", "")


def name_is_no_text(site: Site) -> None:
    Path(os.fsdecode(os.fsencode(site.folder) + b"/\xff.yaml")).write_text(named("x"))


def name_of_control_characters(site: Site) -> None:
    site.write("x\n\x1b[2J.yaml", named("x"))


def import_above(site: Site) -> None:
    (site.folder.parent / "outside.yaml").write_text(OPERATOR)
    site.write("x.yaml", importing("x", "../outside.yaml"))


def import_above_from_below(site: Site) -> None:
    (site.folder.parent / "outside.yaml").write_text(OPERATOR)
    site.write("parts/p.yaml", "import: {path: ../../outside.yaml}\n")
    site.write("x.yaml", importing("x", "parts/p.yaml"))


def import_of_a_root(site: Site) -> None:
    site.write("x.yaml", importing("x", "/etc/hostname"))


def import_by_a_link(site: Site) -> None:
    (site.folder.parent / "outside.yaml").write_text(OPERATOR)
    (site.folder / "in.yaml.link").symlink_to("../outside.yaml")
    site.write("x.yaml", importing("x", "in.yaml.link"))


def import_by_a_linked_folder(site: Site) -> None:
    (site.folder.parent / "outside").mkdir()
    (site.folder.parent / "outside" / "p.yaml").write_text(OPERATOR)
    (site.folder / "parts").symlink_to("../outside")
    site.write("x.yaml", importing("x", "parts/p.yaml"))


def import_of_a_fifo(site: Site) -> None:
    (site.folder / "parts").mkdir()
    os.mkfifo(site.folder / "parts/p.yaml")
    site.write("x.yaml", importing("x", "parts/p.yaml"))


def import_of_a_device(site: Site) -> None:
    (site.folder / "parts").symlink_to("/dev")
    site.write("x.yaml", importing("x", "parts/zero"))


def import_of_no_name(site: Site) -> None:
    site.write("x.yaml", importing("x", '"a' + "b" * 300 + '.yaml"'))


def import_of_itself(site: Site) -> None:
    site.write("x.yaml", importing("x", "parts/p.yaml"))
    site.write("parts/p.yaml", "import: {path: p.yaml}\n")


def imports_by_case(site: Site) -> None:
    site.write("P.txt", OPERATOR)
    site.write("p.txt", OPERATOR)
    site.write("x.yaml", importing("x", "P.txt") + "- import: {path: p.txt}\n")


def too_many(site: Site) -> None:
    lines = "".join(f"- import: {{path: parts/{i}.yaml}}\n" for i in range(1100))
    site.write("x.yaml", importing("x", "parts/0.yaml") + lines)
    for i in range(1100):
        site.write(f"parts/{i}.yaml", OPERATOR.replace("reader", f"r{i}"))


def an_ending_that_windows_hides(site: Site) -> None:
    site.write("x.yaml.txt", OPERATOR)


HOSTILE = {
    an_ending_that_windows_hides: "x.yaml.txt: its name has one more ending, which Windows hides",
    link_out: "is a link that leads out of the folder",
    link_up: "is a link that leads out of the folder",
    link_to_nothing: "there is nothing behind the link",
    link_to_itself: "cannot be read",
    fifo: "it is no regular file",
    a_socket: "it is no regular file",
    a_folder: "it is a folder",
    huge: "it is larger than 16 MiB",
    large: "the definition is more than 1000 files or 16 MiB",
    no_text: "x.yaml:2:7: the file is not UTF-8 text",
    empty: "holds no definition",
    name_is_no_text: r"\xff.yaml: its name is no printable text; rename it",
    name_of_control_characters: r"x\n\x1b[2J.yaml: its name is no printable text; rename it",
    import_above: "x.yaml:4:18: `../outside.yaml` leads out of the folder",
    import_above_from_below: "parts/p.yaml:1:16: `../../outside.yaml` leads out of the folder",
    import_of_a_root: "begins at a root",
    import_by_a_link: "is a link that leads out of the folder",
    import_by_a_linked_folder: "is a link that leads out of the folder",
    import_of_a_fifo: "it is no regular file",
    import_of_a_device: "is a link that leads out of the folder",
    import_of_no_name: "there is no file",
    import_of_itself: "the files import each other",
    imports_by_case: "only in upper and lower case",
    too_many: "the definition is more than 1000 files or 16 MiB",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
async def test_what_is_refused_is_reported_and_harms_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, make: Callable[[Site], None]
) -> None:
    monkeypatch.chdir(site.folder.parent.parent)
    site.write("good.yaml", named("good"))
    make(site)
    folder = site.start()
    await scan(folder, 3)
    assert await site.names() == ["good"]
    assert len(folder.warnings()) == 1
    assert HOSTILE[make] in warnings(folder)
    assert warnings(folder).isprintable()
    refused = [f for f in await folder.files() if f.problems]
    assert len(refused) == 1
    for entry in site.folder.iterdir():
        if entry.name != "good.yaml":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    await scan(folder)
    assert (list(folder.warnings()), await site.names()) == ([], ["good"])


@pytest.mark.parametrize(
    "name", [".x.yaml", "x.yaml.part", "x.yaml~", "x.yaml.tmp", "x.json", "README", ".#x.yaml"]
)
async def test_names_that_stand_for_nothing_are_passed_by(site: Site, name: str) -> None:
    folder = site.start()
    site.write(name, named("x"))
    await scan(folder, 3)
    assert await site.names() == []
    assert list(folder.warnings()) == []
    assert await folder.files() == []


async def test_a_file_that_may_not_be_read_is_reported_with_what_corrects_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("it's ct.yaml", named("ct"))

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sources, "_read", refuse)
    folder = site.start()
    await scan(folder)
    assert f"its owner has to give {site.folder}/it's ct.yaml mode 0644" in warnings(folder)


async def test_of_two_files_of_one_name_the_newer_is_used_and_reported(
    site: Site,
) -> None:
    folder = site.start()
    os.utime(site.write("a.yaml", named("ct")), (2e9, 2e9))
    os.utime(site.write("b.yaml", named("CT")), (1e9, 1e9))
    await scan(folder)
    found = await site.found("ct")
    assert found is not None
    assert found.source == "a.yaml"
    assert f"{site.folder}/a.yaml and b.yaml both define the pipeline ct" in warnings(folder)
    (site.folder / "a.yaml").unlink()
    await scan(folder)
    found = await site.found("ct")
    assert found is not None
    assert found.source == "b.yaml"
    assert list(folder.warnings()) == []


# --- clients ---------------------------------------------------------------------------------


async def test_clients_cannot_change_or_remove_it(site: Site) -> None:
    site.write("ct.yaml", named("ct"))
    await scan(site.start())
    registered = await site.found("ct")
    assert registered is not None
    with pytest.raises(PipelineOfFileError, match=r"ct\.yaml in .* change that file"):
        await site.pipelines.update(registered.id, [DefinitionFile(path="x", content="wrong: [")])
    with pytest.raises(PipelineOfFileError, match=r"ct\.yaml in .* remove that file"):
        await site.pipelines.remove(registered.id)
    assert await site.found("ct") == registered


async def test_an_id_that_a_client_took_stays_the_clients(site: Site) -> None:
    taken = file_records.id_of("ct.yaml")
    text = [DefinitionFile(path="p.yaml", content=named("theirs"))]
    await site.pipelines.create(text, {}, taken)
    site.write("ct.yaml", named("ct"))
    site.write("mr.yaml", named("mr"))
    folder = site.start()
    await scan(folder, 3)
    assert await site.names() == ["theirs", "mr"]
    assert f"the id {taken} that it stands for is taken" in warnings(folder)
    await site.pipelines.update(taken, text)
    await site.pipelines.remove(taken)


# --- breaks ----------------------------------------------------------------------------------

STEPS = ["gathered", "before commit", "committed", "announced"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("what", ["new", "changed", "gone", "back", "renamed"])
async def test_a_kill_between_two_steps_leaves_the_old_or_the_new(
    site: Site, what: str, step: str
) -> None:
    other = site.write("other.yaml", named("other"))
    path = site.folder / "ct.yaml"
    if what != "new":
        site.write("ct.yaml", named("ct"))
    await scan(site.start())
    if what == "back":
        hidden = path.rename(site.folder / ".ct.yaml")
        await scan(site.start())
        hidden.rename(path)
    elif what in ("new", "changed"):
        site.write("ct.yaml", named("ct", "one", "two"))
    elif what == "gone":
        path.unlink()
    else:
        path.rename(site.folder / "spleen.yaml")
    other.touch()  # so that something is gathered, whatever happens
    before = {p.name async for p in site.pipelines.each()}

    def kill(name: str) -> None:
        if name == f"pipelines.d: {step}":
            raise KilledError(name)

    with pytest.raises(KilledError), hooked(kill):
        await scan(site.start(), 3)
    after = {"other"} if what == "gone" else {"ct", "other"}
    assert {p.name async for p in site.pipelines.each()} in (before, after)
    site.clock.ahead = 60
    await site.start().prepare()
    assert sorted(await site.names()) == sorted(after)
    if what != "gone":
        found = await site.found("ct")
        assert found is not None
        assert found.source == ("spleen.yaml" if what == "renamed" else "ct.yaml")
        assert ("two" in found.files[0].content) == (what in ("new", "changed"))
    trace = site.trace()
    await scan(site.start(), 3)
    assert site.trace() == trace


async def test_a_full_disk_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site.start()
    site.write("ct.yaml", named("ct"))

    async def refuse(_: object) -> None:
        raise StorageFullError("the disk is full")

    monkeypatch.setattr(site.database, "write", refuse)
    with pytest.raises(PipelineStoreError):
        await scan(folder)
    await folder._try(at_start=False)
    assert "the disk is full" in warnings(folder)
    monkeypatch.undo()
    await scan(folder)
    assert await site.names() == ["ct"]
    assert list(folder.warnings()) == []
