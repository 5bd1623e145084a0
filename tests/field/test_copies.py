"""Programs of this machine copy, move, unpack and download into the drop folder."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.site import SETTLE, Drop, some_bytes, some_files, write
from tests.field.tools import find, interrupt, run, start

# --- copies and moves -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["-r", "-a"])
@case(
    7,
    "cp copies a study folder, with and without its times",
    source="darktable-org/darktable#11225; cp(1)",
    outcome="One job with every file.",
    tools=["GNU cp, mv, dd"],
)
def test_cp(drop: Drop, options: str) -> None:
    files = {**some_files(options), "series/IM9.dcm": b"deep"}
    study = write(drop.source / "study", files)
    os.utime(study / "IM1.dcm", (0, 86_400))
    run("cp", options, study, drop.folder)
    drop.makes(files)


@case(
    7,
    "mv moves a study folder from another file system, which is a slow copy",
    source="mv(1), moves between file systems",
    outcome="One job with every file.",
    tools=["GNU cp, mv, dd"],
)
def test_mv_from_another_file_system(drop: Drop) -> None:
    files = some_files("moved", size=200_000)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        study = write(Path(other) / "study", files)
        assert study.stat().st_dev != drop.folder.stat().st_dev
        run("mv", study, drop.folder)
    drop.makes(files)


@case(
    7,
    "A study folder is renamed into the drop folder in one step",
    source="rename(2)",
    outcome="One job with every file.",
    tools=["GNU cp, mv, dd"],
)
def test_mv_by_a_rename(drop: Drop) -> None:
    files = some_files("renamed")
    run("mv", write(drop.source / "study", files), drop.folder)
    drop.makes(files)


@case(
    7,
    "dd writes a file with long pauses and keeps it open",
    source="paperless-ngx/paperless-ngx#1279",
    outcome="One job with the whole file.",
    tools=["GNU cp, mv, dd"],
)
def test_dd_with_pauses(drop: Drop) -> None:
    pieces = [some_bytes(100_000, f"piece {n}") for n in range(2)]
    target = drop.folder / "a.raw"
    dd = subprocess.Popen(
        [find("dd"), f"of={target}", "bs=64k", "status=none"], stdin=subprocess.PIPE
    )
    assert dd.stdin is not None
    for piece in pieces:
        dd.stdin.write(piece)
        dd.stdin.flush()
        drop.pause()
    dd.stdin.close()
    assert dd.wait() == 0
    drop.makes({"a.raw": b"".join(pieces)})


@case(
    7,
    "Python copies a study folder (shutil.copytree)",
    source="docs.python.org, shutil; gorakhargosh/watchdog#266",
    outcome="One job with every file.",
    tools=["Python"],
)
def test_copytree(drop: Drop) -> None:
    files = {**some_files("copytree"), "a/b/IM9.dcm": b"deep"}
    shutil.copytree(write(drop.source / "study", files), drop.folder / "study")
    drop.makes(files)


@case(
    7,
    "Node.js copies a study folder (fs.cp)",
    source="nodejs.org/api/fs.html, fsPromises.cp; libuv/libuv#2596",
    outcome="One job with every file.",
    tools=["Node.js"],
)
def test_node(drop: Drop) -> None:
    files = {**some_files("node"), "a/b/IM9.dcm": b"deep"}
    script = "require('fs').cpSync(process.argv[1], process.argv[2], {recursive: true})"
    run("node", "-e", script, write(drop.source / "study", files), drop.folder / "study")
    drop.makes(files)


@case(
    9,
    "A file with holes (a disk image) is copied",
    source="cp(1), --sparse; rsync(1), --sparse",
    outcome="One job; the operator reads the same bytes.",
    tools=["GNU cp, mv, dd"],
)
def test_holes(drop: Drop) -> None:
    source = drop.source / "volume.raw"
    with source.open("wb") as file:
        file.truncate(8_000_000)
        file.seek(4_000_000)
        file.write(b"data")
    run("cp", "--sparse=always", source, drop.folder)
    assert (drop.folder / "volume.raw").stat().st_blocks * 512 < 1_000_000
    drop.makes({"volume.raw": source.read_bytes()})


# --- archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("packer", ["tar", "bsdtar"])
@case(
    4,
    "tar unpacks a study with its old times into the drop folder",
    source="jean-zay-users/jean-zay-doc#62",
    outcome="One job with every file.",
    tools=["GNU tar", "bsdtar"],
)
def test_tar(drop: Drop, packer: str) -> None:
    files = {**some_files(packer), "series/IM9.dcm": b"deep"}
    study = write(drop.source / "study", files)
    for path in study.rglob("*"):
        os.utime(path, (0, 86_400))
    run(packer, "-cf", drop.source / "study.tar", "-C", drop.source, "study")
    run(packer, "-xf", drop.source / "study.tar", "-C", drop.folder)
    drop.makes(files)


@case(
    7,
    "unzip unpacks a study into the drop folder",
    source="microsoft/DLWorkspace#1254",
    outcome="One job with every file.",
    tools=["zip", "unzip"],
)
def test_unzip(drop: Drop) -> None:
    files = {**some_files("unzip"), "series/IM9.dcm": b"deep"}
    write(drop.source / "study", files)
    run("zip", "-qr", "study.zip", "study", cwd=drop.source)
    run("unzip", "-q", drop.source / "study.zip", "-d", drop.folder)
    drop.makes(files)


@pytest.mark.parametrize("kind", ["7z", "zip"])
@case(
    7,
    "7-Zip unpacks a study into the drop folder, with room for each file set aside first",
    source="7-zip.org, history of 7-Zip",
    outcome="One job with every file.",
    tools=["7-Zip"],
)
def test_7zip(drop: Drop, kind: str) -> None:
    files = some_files(kind, size=2_000_000)
    write(drop.source / "study", files)
    run("7zz", "a", "-mx=0", drop.source / f"study.{kind}", "study", cwd=drop.source)
    run("7zz", "x", f"-o{drop.folder}", drop.source / f"study.{kind}")
    drop.makes(files)


@case(
    2,
    "A zip made on a Mac is unpacked: __MACOSX and its ._ files next to the study",
    source="pimcore/pimcore#14353; darktable-org/darktable#11225",
    outcome="One job with the user's files alone; the rest stays and is named.",
    tools=["zip", "unzip", "macOS Finder"],
)
def test_a_zip_of_a_mac(drop: Drop) -> None:
    files = some_files("mac", count=2)
    write(drop.source / "study", files)
    write(drop.source / "__MACOSX/study", {"._IM1.dcm": b"\0\5\x16\7", "._IM2.dcm": b"\0\5\x16\7"})
    run("zip", "-qr", "study.zip", "study", "__MACOSX", cwd=drop.source)
    run("unzip", "-q", drop.source / "study.zip", "-d", drop.folder)
    drop.makes(files)
    drop.is_left("__MACOSX")


# --- downloads ------------------------------------------------------------------------------------


class _Slow(http.server.SimpleHTTPRequestHandler):
    """Sends a file in two halves, with a pause."""

    def do_GET(self) -> None:
        content = Path(self.directory, self.path.lstrip("/")).read_bytes()
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[begin:half])
        self.wfile.flush()
        time.sleep(1.5 * SETTLE)
        self.wfile.write(content[max(begin, half) :])

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def slow_web_server(folder: Path) -> Iterator[str]:
    handler = partial(_Slow, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


DOWNLOADS = {
    "wget": lambda url, folder: ("-q", "-P", folder, url),
    "curl": lambda url, folder: ("-sS", "-o", f"{folder}/a.dcm", url),
    "aria2c": lambda url, folder: ("-q", "--no-conf", "-s1", "-x1", "-d", folder, url),
}


@pytest.mark.parametrize("program", DOWNLOADS)
@case(
    7,
    "A download into the drop folder halts for a while",
    source="rclone/rclone#3770; aria2.github.io, control file",
    outcome="One job with the whole file; aria2's control file `.aria2` is never an input.",
    tools=["wget", "curl", "aria2"],
)
def test_downloads(drop: Drop, program: str) -> None:
    files = {"a.dcm": some_bytes(200_000, program)}
    write(drop.source, files)
    with slow_web_server(drop.source) as url:
        run(program, *DOWNLOADS[program](f"{url}/a.dcm", str(drop.folder)))
    drop.makes(files)


@case(
    1,
    "aria2 is killed and continued: the file has its name and its full size from the start",
    source="aria2c(1), --file-allocation, --continue; rclone/rclone#3770",
    outcome="The file waits while its `.aria2` lies next to it; continued, it is one job.",
    tools=["aria2"],
)
def test_aria2_continued(drop: Drop) -> None:
    files = {"a.dcm": some_bytes(2_000_000, "continued")}
    write(drop.source, files)
    with slow_web_server(drop.source) as url:
        options = ("-q", "--no-conf", "-s1", "-x1", "-d", f"{drop.folder}")
        saves = ("--auto-save-interval=1", "--file-allocation=prealloc", "--continue")
        first = start("aria2c", *options, *saves, f"{url}/a.dcm")
        target = drop.folder / "a.dcm"
        drop.until("it has begun", lambda: target.exists() and target.stat().st_size == 2_000_000)
        interrupt(first, signal.SIGKILL)
        drop.waits("a.dcm.aria2")
        assert drop.jobs() == []
        run("aria2c", *options, *saves, f"{url}/a.dcm")
    drop.makes(files)


@case(
    2,
    "git clones a repository of test images into the drop folder",
    source="git-clone(1)",
    outcome="One job with the files of the repository and none of `.git`.",
    tools=["git"],
)
def test_git(drop: Drop) -> None:
    files = some_files("git", count=2)
    source = write(drop.source / "images", files)
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    run("git", "init", "-q", source)
    run("git", "-C", source, "add", ".")
    run("git", "-C", source, *who, "commit", "-q", "-m", "images")
    run("git", "clone", "-q", "--no-hardlinks", source, drop.folder / "images")
    drop.makes(files)


# --- what users do meanwhile ----------------------------------------------------------------------


@case(
    1,
    "A study folder is renamed while it settles",
    source="ipsingh06/seedsync#110",
    outcome="One job with every file, by the last name.",
    tools=["Windows Explorer"],
)
def test_a_renamed_folder(drop: Drop) -> None:
    files = some_files("new folder")
    run("cp", "-r", write(drop.source / "New folder", files), drop.folder)
    drop.until("it is seen", lambda: drop.items())
    (drop.folder / "New folder").rename(drop.folder / "MILLER^JOHN 2024-05-07")
    drop.makes(files)
    assert [item.name for item in drop.items()] == ["MILLER^JOHN 2024-05-07"]


@case(
    1,
    "Files are added to a folder after it was taken",
    source="horosproject/horos#212; Radarr/Radarr#166",
    outcome="A second job with what came later, and nothing twice.",
    tools=["Windows Explorer"],
)
def test_files_added_later(drop: Drop) -> None:
    first, second = some_files("first", count=2), {"IM8.dcm": b"later"}
    write(drop.folder / "study", first)
    drop.makes(first)
    write(drop.folder / "study", second)
    drop.makes(first, second)


@case(
    1,
    "A file is replaced while it settles",
    source="gorakhargosh/watchdog#266",
    outcome="One job, with the new content.",
    tools=["GNU cp, mv, dd"],
)
def test_replaced(drop: Drop) -> None:
    write(drop.folder / "study", some_files("old"))
    drop.until("it is seen", lambda: drop.items())
    files = some_files("new")
    run("cp", "-r", "-T", write(drop.source / "study", files), drop.folder / "study")
    drop.makes(files)


@case(
    1,
    "The same folder is copied twice",
    source="paperless-ngx/paperless-ngx#1279",
    outcome="Two jobs with the same files (`duplicates` of the trigger changes that).",
    tools=["GNU cp, mv, dd"],
)
def test_twice(drop: Drop) -> None:
    files = some_files("twice")
    source = write(drop.source / "study", files)
    run("cp", "-r", source, drop.folder)
    drop.makes(files)
    run("cp", "-r", source, drop.folder)
    drop.makes(files, files)


@case(
    2,
    "An uploader makes the folder under a temporary name and renames it",
    source="ipsingh06/seedsync#110",
    outcome="One job with every file; nothing is taken before the folder has its name.",
    tools=["GNU cp, mv, dd"],
)
def test_a_temporary_folder(drop: Drop) -> None:
    files = some_files("folder.part")
    run("cp", "-r", write(drop.source / "study", files), drop.folder / "study.part")
    drop.pause()
    assert drop.jobs() == []
    (drop.folder / "study.part").rename(drop.folder / "study")
    drop.makes(files)
