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
class Bench:
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

    async def trace(self) -> tuple[int, int]:
        """Grows with every change that anyone can see."""
        rows = await self.database.read(
            lambda tx: tx._connection.execute(
                "SELECT (SELECT COUNT(*) FROM events), (SELECT COUNT(*) FROM definitions)"
            ).fetchone()
        )
        return tuple(rows)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Database(tmp_path / "claraedge.db") as database:

        def poke() -> None:
            bench.pokes += 1

        pipelines = Pipelines(database, SystemClock(), new_id, lambda: NO_GPU, on_created=poke)
        place = tmp_path / "site" / "pipelines.d"
        bench = Bench(database, place, Clock(), pipelines)
        yield bench


async def scan(folder: PipelineFolder, count: int = 2) -> None:
    for _ in range(count):
        await folder.scan()


def warnings(folder: PipelineFolder) -> str:
    return "\n".join(folder.warnings())


async def test_the_folder_is_made_and_a_file_is_registered_once_it_stays_the_same(
    bench: Bench,
) -> None:
    folder = bench.start()
    await folder.scan()
    assert list(bench.folder.iterdir()) == []
    path = bench.write("ct.yaml", named("ct"))
    await folder.scan()
    assert await bench.names() == []
    await folder.scan()
    registered = await bench.found("CT")
    assert registered is not None
    assert (registered.source, registered.files[0].path) == ("ct.yaml", "ct.yaml")
    assert registered.id == file_records.id_of("ct.yaml") == "b320eb950d6e5110bee2cfc9668e6bc3"
    assert bench.pokes == 1
    before = await bench.trace()
    await scan(folder, 3)
    path.touch()
    await scan(folder, 3)
    assert (await bench.trace(), bench.pokes) == (before, 1)
    assert list(folder.warnings()) == []


async def test_a_file_that_is_being_written_is_not_registered(bench: Bench) -> None:
    folder = bench.start()
    text = named("ct", "one", "two")
    for end in range(100, len(text), 20):  # some of these are whole pipelines
        bench.write("ct.yaml", text[:end])
        await folder.scan()
    bench.write("ct.yaml", text)
    await folder.scan()
    assert await bench.names() == []
    await folder.scan()
    registered = await bench.found("ct")
    assert registered is not None
    assert registered.files[0].content == text


async def test_a_start_registers_what_is_old_and_leaves_what_is_fresh_to_later_scans(
    bench: Bench,
) -> None:
    bench.write("ct.yaml", named("ct"))
    await bench.start().prepare()
    assert await bench.names() == []
    bench.clock.ahead = 60
    folder = bench.start()
    await folder.prepare()
    assert await bench.names() == ["ct"]
    # The folder's own time says when a file went, and is fresh on a clock that is right.
    (bench.folder / "ct.yaml").unlink()
    bench.clock.ahead = 0
    await bench.start().prepare()
    assert await bench.names() == ["ct"]
    bench.clock.ahead = 60
    await bench.start().prepare()
    assert await bench.names() == []


async def test_a_clock_that_is_behind_registers_nothing_early(bench: Bench) -> None:
    bench.write("ct.yaml", named("ct"))
    bench.clock.ahead = -86400
    folder = bench.start()
    await folder.prepare()
    assert await bench.names() == []
    await folder.scan()
    assert await bench.names() == ["ct"]


async def test_restarts_with_the_same_bytes_change_nothing(bench: Bench) -> None:
    bench.write("ct.yaml", importing("ct", "parts/reader.yaml"))
    bench.write("parts/reader.yaml", OPERATOR)
    await scan(bench.start())
    assert await bench.names() == ["ct"]
    before, bench.clock.ahead = await bench.trace(), 60
    for _ in range(2):
        folder = bench.start()
        await folder.prepare()
        await scan(folder)
        assert (await bench.trace(), bench.pokes) == (before, 1)


async def test_a_change_updates_the_pipeline_and_forgets_the_old_text(bench: Bench) -> None:
    folder = bench.start()
    bench.write("ct.yaml", named("ct"))
    await scan(folder)
    first = await bench.found("ct")
    _, definitions = await bench.trace()
    bench.write("ct.yaml", named("spleen", "one", "two"))
    await scan(folder)
    second = await bench.found("spleen")
    assert first is not None
    assert second is not None
    assert (second.id, second.created) == (first.id, first.created)
    assert await bench.found("ct") is None
    assert (await bench.trace())[1] == definitions
    assert bench.pokes == 2


@pytest.mark.parametrize("kind", ["by a link", "plainly"])
async def test_an_import_in_a_sub_folder_belongs_to_the_pipeline(bench: Bench, kind: str) -> None:
    folder = bench.start()
    real = bench.write("parts/v1.yaml", OPERATOR)
    if kind == "by a link":
        (bench.folder / "parts/reader.yaml").symlink_to("v1.yaml")
    else:
        real = real.rename(bench.folder / "parts/reader.yaml")
    bench.write("parts/middle.yaml", "import: {path: ../parts/reader.yaml}\n")
    bench.write("ct.yml", importing("ct", "parts/middle.yaml"))
    await scan(folder)
    registered = await bench.found("ct")
    assert registered is not None
    assert [f.path for f in registered.files] == [
        "ct.yml",
        "parts/middle.yaml",
        "parts/reader.yaml",
    ]
    assert await bench.names() == ["ct"], "what lies in sub-folders is no pipeline"
    real.write_text(OPERATOR.replace("/in", "/input"))
    await scan(folder)
    again = await bench.found("ct")
    assert again is not None
    assert "/input" in again.files[2].content
    assert list(folder.warnings()) == []


async def test_an_import_that_comes_late_is_waited_for(bench: Bench) -> None:
    folder = bench.start()
    bench.write("other/reader.yaml", OPERATOR)  # never taken instead, for its last name
    text = importing("ct", "parts/reader.yaml") + "- import: {path: other/reader.yaml}\n"
    bench.write("ct.yaml", text)
    await scan(folder)
    assert await bench.names() == []
    assert f"{bench.folder}/ct.yaml:4:18: there is no file" in warnings(folder)
    bench.write("parts/reader.yaml", OPERATOR.replace("name: reader", "name: first"))
    await scan(folder)
    assert await bench.names() == ["ct"]
    assert list(folder.warnings()) == []


async def test_a_wrong_file_leaves_the_pipeline_as_it_was(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = bench.start()
    bench.write("ct.yaml", named("ct"))
    bench.write("new.yaml", "a: [1, 2")
    await scan(folder)
    before = await bench.found("ct")
    assert before is not None
    bench.write("ct.yaml", named("ct").replace("operators:", "operatros:"))
    await scan(folder, 4)
    assert await bench.found("ct") == before
    assert f"{bench.folder}/ct.yaml:" in warnings(folder)
    assert f"{bench.folder}/new.yaml:2:1: this is not YAML" in warnings(folder)
    refused = [r for r in caplog.records if r.msg == "pipeline file not taken"]
    assert sorted(getattr(r, "file", "") for r in refused) == [
        f"{bench.folder}/ct.yaml",
        f"{bench.folder}/new.yaml",
    ]
    files = {f.name: f for f in await folder.files()}
    assert files["ct.yaml"].pipeline is not None
    assert files["new.yaml"].pipeline is None
    assert all(f.problems for f in files.values())
    bench.write("ct.yaml", named("ct"))
    (bench.folder / "new.yaml").unlink()
    await scan(folder)
    assert list(folder.warnings()) == []
    assert await bench.found("ct") == before


async def test_what_the_device_can_never_satisfy_is_refused(bench: Bench) -> None:
    folder = bench.start()
    bench.write("ct.yaml", named("ct") + "  requests: {memory: 999999}\n")
    await scan(folder)
    assert await bench.names() == []
    assert "ct.yaml:10:22: `memory` asks for" in warnings(folder)


async def test_a_file_that_is_gone_disables_and_one_that_returns_enables(bench: Bench) -> None:
    folder = bench.start()
    path = bench.write("ct.yaml", named("ct"))
    await scan(folder)
    registered = await bench.found("ct")
    assert registered is not None
    await bench.pipelines.add_metadata(registered.id, {"Ward": "3"})
    path.rename(bench.folder / ".ct.yaml")
    await folder.scan()
    assert await bench.names() == ["ct"], "an editor may rename it for a moment"
    await folder.scan()
    assert await bench.found("ct") is None
    reason = "its file ct.yaml is gone from the folder of pipelines; put it back"
    for asked in ("CT", registered.id):
        assert await bench.database.read(lambda tx, a=asked: why_missing(tx, a)) == reason
    assert await bench.database.read(lambda tx: why_missing(tx, "other")) == ""
    with pytest.raises(PipelineNotFoundError, match=reason):
        await bench.pipelines.get(registered.id)
    (file,) = await folder.files()
    assert file.pipeline is not None
    assert file.pipeline.gone
    (bench.folder / ".ct.yaml").rename(path)
    await scan(folder)
    again = await bench.found("ct")
    assert again is not None
    assert (again.id, dict(again.metadata)) == (registered.id, {"Ward": "3"})


async def test_a_renamed_file_is_never_missing(bench: Bench) -> None:
    folder = bench.start()
    path = bench.write("ct.yaml", named("ct"))
    await scan(folder)
    path.rename(bench.folder / "spleen.yaml")
    await folder.scan()
    assert await bench.names() == ["ct"]
    await folder.scan()
    registered = await bench.found("ct")
    assert registered is not None
    assert registered.id == file_records.id_of("spleen.yaml")
    assert await bench.names() == ["ct"]


async def test_an_empty_folder_disables_all(bench: Bench) -> None:
    folder = bench.start()
    for name in ("a", "b"):
        bench.write(f"{name}.yaml", named(name))
    await scan(folder)
    assert sorted(await bench.names()) == ["a", "b"]
    for name in ("a", "b"):
        (bench.folder / f"{name}.yaml").unlink()
    await scan(folder)
    assert await bench.names() == []


@pytest.mark.parametrize("way", ["missing", "a file", "a link to nothing", "not readable"])
async def test_a_folder_that_cannot_be_read_changes_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder = bench.start()
    bench.write("ct.yaml", named("ct"))
    await scan(folder)
    moved = bench.folder.rename(bench.folder.with_name("moved"))
    if way == "a file":
        bench.folder.write_text("no folder")
    elif way == "a link to nothing":
        bench.folder.symlink_to("nothing")
    elif way == "not readable":
        bench.folder.mkdir()
        closed = PermissionError(13, "Permission denied")

        def refuse(*_: object) -> None:
            raise closed

        monkeypatch.setattr(top, "entries", refuse)
    bench.clock.ahead = 60
    for life in (folder, bench.start()):
        caplog.clear()
        await life.prepare()
        for _ in range(3):
            await life._try(at_start=False)
        assert await bench.names() == ["ct"]
        (warning,) = life.warnings()
        assert str(bench.folder) in warning
        if way == "not readable":
            assert f"its owner has to give {bench.folder} mode 0755" in warning
        assert [r.msg for r in caplog.records if r.levelno >= logging.WARNING] == [
            "pipelines.d waits"
        ]
    monkeypatch.undo()
    if bench.folder.is_dir():
        bench.folder.rmdir()
    else:
        bench.folder.unlink(missing_ok=True)
    moved.rename(bench.folder)
    before = await bench.trace()
    await scan(folder)
    assert (list(folder.warnings()), await bench.trace()) == ([], before)


async def test_a_mount_point_without_its_mount_disables_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "_mount_of", lambda _: bench.folder)
    bench.write("ct.yaml", named("ct"))
    folder = bench.start()
    await scan(folder)
    moved = bench.folder.rename(bench.folder.with_name("moved"))
    bench.folder.mkdir()
    monkeypatch.setattr(top, "_mount_of", lambda _: Path("/"))
    bench.clock.ahead = 60
    for life in (folder, bench.start()):  # also after a restart
        await life.prepare()
        await scan(life, 3)
        assert await bench.names() == ["ct"]
        assert "mount it" in warnings(life)
    (bench.folder / "no-more-pipelines").touch()
    await scan(folder)
    assert await bench.names() == []
    assert list(folder.warnings()) == []
    (bench.folder / "no-more-pipelines").unlink()
    bench.folder.rmdir()
    moved.rename(bench.folder)
    await scan(folder)
    assert await bench.names() == ["ct"]


async def test_nothing_in_the_folder_is_ever_changed_or_removed(bench: Bench) -> None:
    bench.write("ct.yaml", importing("ct", "parts/reader.yaml"))
    bench.write("parts/reader.yaml", OPERATOR)
    bench.write("wrong.yaml", "a: [1, 2")
    bench.write("notes.txt", "not a pipeline")
    (bench.folder / "link.yaml").symlink_to("nothing")

    def entries() -> dict[Path, tuple[object, ...]]:
        """What a change would show: inode, mode, times of changes, and content."""
        found = {}
        for path in (bench.folder, *bench.folder.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            kind = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
            found[path] = (*kind, content)
        return found

    before = entries()
    for bench.clock.ahead in (0, 60, 120):
        folder = bench.start()
        await folder.prepare()
        await scan(folder, 3)
    assert await bench.names() == ["ct"]
    registered = await bench.found("ct")
    assert registered is not None
    with pytest.raises(PipelineOfFileError):
        await bench.pipelines.remove(registered.id)
    assert entries() == before


# --- what else may lie there -----------------------------------------------------------------


def link_out(bench: Bench) -> None:
    outside = bench.folder.parent / "outside.yaml"
    outside.write_text(named("secret"))
    (bench.folder / "x.yaml").symlink_to(outside)


def link_up(bench: Bench) -> None:
    (bench.folder.parent / "outside.yaml").write_text(named("secret"))
    (bench.folder / "x.yaml").symlink_to("../outside.yaml")


def link_to_nothing(bench: Bench) -> None:
    (bench.folder / "x.yaml").symlink_to("nothing.yaml")


def link_to_itself(bench: Bench) -> None:
    (bench.folder / "x.yaml").symlink_to("x.yaml")


def fifo(bench: Bench) -> None:
    os.mkfifo(bench.folder / "x.yaml")


def a_socket(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(bench.folder)  # its path may be too long for a socket
        listening.bind("x.yaml")


def a_folder(bench: Bench) -> None:
    bench.write("x.yaml/x.yaml", named("inner"))


def huge(bench: Bench) -> None:
    bench.write("x.yaml", named("huge"))
    os.truncate(bench.folder / "x.yaml", 1 << 40)


def large(bench: Bench) -> None:
    bench.write("x.yaml", importing("x", "a") + "- import: {path: b}\n")
    bench.write("a", "#" * (9 << 20))
    bench.write("b", "#" * (9 << 20))


def no_text(bench: Bench) -> None:
    (bench.folder / "x.yaml").write_bytes(b"api-version: 0.4.0\nname: \xff\n")


def empty(bench: Bench) -> None:
    bench.write("x.yaml", "")


def name_is_no_text(bench: Bench) -> None:
    Path(os.fsdecode(os.fsencode(bench.folder) + b"/\xff.yaml")).write_text(named("x"))


def name_of_control_characters(bench: Bench) -> None:
    bench.write("x\n\x1b[2J.yaml", named("x"))


def import_above(bench: Bench) -> None:
    (bench.folder.parent / "outside.yaml").write_text(OPERATOR)
    bench.write("x.yaml", importing("x", "../outside.yaml"))


def import_above_from_below(bench: Bench) -> None:
    (bench.folder.parent / "outside.yaml").write_text(OPERATOR)
    bench.write("parts/p.yaml", "import: {path: ../../outside.yaml}\n")
    bench.write("x.yaml", importing("x", "parts/p.yaml"))


def import_of_a_root(bench: Bench) -> None:
    bench.write("x.yaml", importing("x", "/etc/hostname"))


def import_by_a_link(bench: Bench) -> None:
    (bench.folder.parent / "outside.yaml").write_text(OPERATOR)
    (bench.folder / "in.yaml.link").symlink_to("../outside.yaml")
    bench.write("x.yaml", importing("x", "in.yaml.link"))


def import_by_a_linked_folder(bench: Bench) -> None:
    (bench.folder.parent / "outside").mkdir()
    (bench.folder.parent / "outside" / "p.yaml").write_text(OPERATOR)
    (bench.folder / "parts").symlink_to("../outside")
    bench.write("x.yaml", importing("x", "parts/p.yaml"))


def import_of_a_fifo(bench: Bench) -> None:
    (bench.folder / "parts").mkdir()
    os.mkfifo(bench.folder / "parts/p.yaml")
    bench.write("x.yaml", importing("x", "parts/p.yaml"))


def import_of_a_device(bench: Bench) -> None:
    (bench.folder / "parts").symlink_to("/dev")
    bench.write("x.yaml", importing("x", "parts/zero"))


def import_of_no_name(bench: Bench) -> None:
    bench.write("x.yaml", importing("x", '"a' + "b" * 300 + '.yaml"'))


def import_of_itself(bench: Bench) -> None:
    bench.write("x.yaml", importing("x", "parts/p.yaml"))
    bench.write("parts/p.yaml", "import: {path: p.yaml}\n")


def imports_by_case(bench: Bench) -> None:
    bench.write("P.txt", OPERATOR)
    bench.write("p.txt", OPERATOR)
    bench.write("x.yaml", importing("x", "P.txt") + "- import: {path: p.txt}\n")


def too_many(bench: Bench) -> None:
    lines = "".join(f"- import: {{path: parts/{i}.yaml}}\n" for i in range(1100))
    bench.write("x.yaml", importing("x", "parts/0.yaml") + lines)
    for i in range(1100):
        bench.write(f"parts/{i}.yaml", OPERATOR.replace("reader", f"r{i}"))


def an_ending_that_windows_hides(bench: Bench) -> None:
    bench.write("x.yaml.txt", OPERATOR)


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
    bench: Bench, monkeypatch: pytest.MonkeyPatch, make: Callable[[Bench], None]
) -> None:
    monkeypatch.chdir(bench.folder.parent.parent)
    bench.write("good.yaml", named("good"))
    make(bench)
    folder = bench.start()
    await scan(folder, 3)
    assert await bench.names() == ["good"]
    assert len(folder.warnings()) == 1
    assert HOSTILE[make] in warnings(folder)
    assert warnings(folder).isprintable()
    refused = [f for f in await folder.files() if f.problems]
    assert len(refused) == 1
    for entry in bench.folder.iterdir():
        if entry.name != "good.yaml":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    await scan(folder)
    assert (list(folder.warnings()), await bench.names()) == ([], ["good"])


@pytest.mark.parametrize(
    "name", [".x.yaml", "x.yaml.part", "x.yaml~", "x.yaml.tmp", "x.json", "README", ".#x.yaml"]
)
async def test_names_that_stand_for_nothing_are_passed_by(bench: Bench, name: str) -> None:
    folder = bench.start()
    bench.write(name, named("x"))
    await scan(folder, 3)
    assert await bench.names() == []
    assert list(folder.warnings()) == []
    assert await folder.files() == []


async def test_a_file_that_may_not_be_read_is_reported_with_what_corrects_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("it's ct.yaml", named("ct"))

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sources, "_read", refuse)
    folder = bench.start()
    await scan(folder)
    assert f"its owner has to give {bench.folder}/it's ct.yaml mode 0644" in warnings(folder)


async def test_of_two_files_of_one_name_the_newer_is_used_and_reported(
    bench: Bench,
) -> None:
    folder = bench.start()
    os.utime(bench.write("a.yaml", named("ct")), (2e9, 2e9))
    os.utime(bench.write("b.yaml", named("CT")), (1e9, 1e9))
    await scan(folder)
    found = await bench.found("ct")
    assert found is not None
    assert found.source == "a.yaml"
    assert f"{bench.folder}/a.yaml and b.yaml both define the pipeline ct" in warnings(folder)
    (bench.folder / "a.yaml").unlink()
    await scan(folder)
    found = await bench.found("ct")
    assert found is not None
    assert found.source == "b.yaml"
    assert list(folder.warnings()) == []


# --- clients ---------------------------------------------------------------------------------


async def test_clients_cannot_change_or_remove_it(bench: Bench) -> None:
    bench.write("ct.yaml", named("ct"))
    await scan(bench.start())
    registered = await bench.found("ct")
    assert registered is not None
    with pytest.raises(PipelineOfFileError, match=r"ct\.yaml in .* change that file"):
        await bench.pipelines.update(registered.id, [DefinitionFile(path="x", content="wrong: [")])
    with pytest.raises(PipelineOfFileError, match=r"ct\.yaml in .* remove that file"):
        await bench.pipelines.remove(registered.id)
    assert await bench.found("ct") == registered


async def test_an_id_that_a_client_took_stays_the_clients(bench: Bench) -> None:
    taken = file_records.id_of("ct.yaml")
    text = [DefinitionFile(path="p.yaml", content=named("theirs"))]
    await bench.pipelines.create(text, {}, taken)
    bench.write("ct.yaml", named("ct"))
    bench.write("mr.yaml", named("mr"))
    folder = bench.start()
    await scan(folder, 3)
    assert await bench.names() == ["theirs", "mr"]
    assert f"the id {taken} that it stands for is taken" in warnings(folder)
    await bench.pipelines.update(taken, text)
    await bench.pipelines.remove(taken)


# --- breaks ----------------------------------------------------------------------------------

STEPS = ["gathered", "before commit", "committed", "announced"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("what", ["new", "changed", "gone", "back", "renamed"])
async def test_a_kill_between_two_steps_leaves_the_old_or_the_new(
    bench: Bench, what: str, step: str
) -> None:
    other = bench.write("other.yaml", named("other"))
    path = bench.folder / "ct.yaml"
    if what != "new":
        bench.write("ct.yaml", named("ct"))
    await scan(bench.start())
    if what == "back":
        hidden = path.rename(bench.folder / ".ct.yaml")
        await scan(bench.start())
        hidden.rename(path)
    elif what in ("new", "changed"):
        bench.write("ct.yaml", named("ct", "one", "two"))
    elif what == "gone":
        path.unlink()
    else:
        path.rename(bench.folder / "spleen.yaml")
    other.touch()  # so that something is gathered, whatever happens
    before = {p.name async for p in bench.pipelines.each()}

    def kill(name: str) -> None:
        if name == f"pipelines.d: {step}":
            raise KilledError(name)

    with pytest.raises(KilledError), hooked(kill):
        await scan(bench.start(), 3)
    after = {"other"} if what == "gone" else {"ct", "other"}
    assert {p.name async for p in bench.pipelines.each()} in (before, after)
    bench.clock.ahead = 60
    await bench.start().prepare()
    assert sorted(await bench.names()) == sorted(after)
    if what != "gone":
        found = await bench.found("ct")
        assert found is not None
        assert found.source == ("spleen.yaml" if what == "renamed" else "ct.yaml")
        assert ("two" in found.files[0].content) == (what in ("new", "changed"))
    trace = await bench.trace()
    await scan(bench.start(), 3)
    assert await bench.trace() == trace


async def test_a_full_disk_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bench.start()
    bench.write("ct.yaml", named("ct"))

    async def refuse(_: object) -> None:
        raise StorageFullError("the disk is full")

    monkeypatch.setattr(bench.database, "write", refuse)
    with pytest.raises(PipelineStoreError):
        await scan(folder)
    await folder._try(at_start=False)
    assert "the disk is full" in warnings(folder)
    monkeypatch.undo()
    await scan(folder)
    assert await bench.names() == ["ct"]
    assert list(folder.warnings()) == []
