"""The one-file program on machines that are hardened, full, or bare."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.places import copying, place
from tests.freeze.frozen_site import FORMS

pytestmark = [pytest.mark.frozen, pytest.mark.timeout(180)]

ONE_FILE = FORMS["file"]
_BARE = {"PATH": os.environ["PATH"]}


def shell(
    script: str, *, env: Mapping[str, str] = _BARE, mounts: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a script; with `mounts` (place: options) in a namespace that has these of its own."""
    command = ["sh", "-c", script]
    if mounts:
        made = "; ".join(
            f"mount -t tmpfs -o {options} tmpfs {shlex.quote(at)}" for at, options in mounts.items()
        )
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
        command.append(f"{made}; {script}")
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, cwd="/")


def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@case(
    11,
    "The one-file program where TMPDIR forbids programs (noexec)",
    source="pyinstaller/pyinstaller#4548 and #3870; adobe-apiplatform/user-sync.py#796;"
    " mitmproxy/mitmproxy#8211",
    outcome="It unpacks itself to another folder that may hold programs, and works.",
)
def test_a_temporary_folder_without_programs(tmp_path: Path) -> None:
    folder = temporary(tmp_path)
    ended = shell(
        f"TMPDIR={folder} {ONE_FILE} --version; ls -A {folder}",
        mounts={str(folder): "noexec,size=512M"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("claraedge ")
    assert len(ended.stdout.splitlines()) == 1, "nothing is left in the folder"


@pytest.mark.podman
@case(
    11,
    "A daemon of the one-file program where TMPDIR forbids programs (noexec)",
    source="LostRuins/koboldcpp#1517; pyinstaller/pyinstaller#2973",
    outcome="It serves, and leaves nothing behind at its end.",
)
def test_a_daemon_where_the_temporary_folder_is_full(tmp_path: Path) -> None:
    # A folder that may not be written to: the daemon's own Podman cannot live in a namespace.
    closed = temporary(tmp_path)
    closed.chmod(0o500)
    before = set(Path("/tmp").glob("claraedge-??????"))
    with place(tmp_path / "site", {"TMPDIR": str(closed)}, of=ONE_FILE) as here:
        definition = tmp_path / "p.yaml"
        definition.write_text(copying("places"))
        here.say("create", "pipeline", "-p", definition)
        here.drop("places", b"a.dcm").write_bytes(b"x")
        assert [item["state"] for item in here.ended()] == ["DELIVERED"]
        assert set(Path("/tmp").glob("claraedge-??????")) - before
    assert here.process is not None
    assert here.process.returncode == 0
    assert list(closed.iterdir()) == []
    assert set(Path("/tmp").glob("claraedge-??????")) <= before


ALL = ("/tmp", "/var/tmp")


@case(
    11,
    "The one-file program where every temporary folder forbids programs",
    source="adobe-apiplatform/user-sync.py#796; CIS benchmarks for Debian and Ubuntu",
    outcome="One message names each folder with its reason, and TMPDIR= as the way out.",
)
def test_no_folder_may_hold_programs() -> None:
    mounts = dict.fromkeys(ALL, "noexec,size=512M")
    ended = shell(f"TMPDIR=/var/tmp {ONE_FILE} --version", mounts=mounts)
    assert ended.returncode == 1
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert lines[0] == "claraedge: there is no folder that this program can be unpacked to:"
    assert "  /tmp: it forbids programs (it is mounted with noexec)" in lines
    assert "TMPDIR=$HOME claraedge" in ended.stderr
    assert "claraedge-dir" in ended.stderr
    with tempfile.TemporaryDirectory(dir=Path.home()) as other:
        helped = shell(f"TMPDIR={other} {ONE_FILE} --version", mounts=mounts)
    assert helped.returncode == 0, "as the message says"


@case(
    11,
    "The one-file program where the temporary folders are full",
    source="pyinstaller/pyinstaller#1428; docker/compose#1761",
    outcome="One message says how much room is needed and which folders were checked; nothing is"
    " left behind.",
)
def test_full_temporary_folders() -> None:
    ended = shell(
        f"{ONE_FILE} --version; code=$?; ls -A /tmp /var/tmp >&2; exit $code",
        mounts=dict.fromkeys(ALL, "size=1M"),
    )
    assert ended.returncode == 1
    assert "  /tmp: it is full" in ended.stderr
    assert "MB are needed" in ended.stderr
    assert "claraedge-" not in ended.stderr.split("unpacks nothing.")[1]


@case(
    11,
    "The one-file program where TMPDIR names a folder that is not there",
    source="pyinstaller/pyinstaller#978 and #8083",
    outcome="It uses another folder and works.",
)
def test_a_temporary_folder_that_is_not_there(tmp_path: Path) -> None:
    for missing in (str(tmp_path / "missing"), "./relative", "/proc"):
        ended = shell(f"{ONE_FILE} --version", env={**_BARE, "TMPDIR": missing})
        assert (ended.returncode, ended.stderr) == (0, ""), missing


@case(
    11,
    "A one-file program that was copied in part, as by a download that broke off",
    source="pyinstaller/pyinstaller#6831; docker/compose#1761",
    outcome="It says that the file is not whole, with both sizes, and starts nothing.",
)
def test_half_a_program(tmp_path: Path) -> None:
    half = tmp_path / "claraedge"
    half.write_bytes(ONE_FILE.read_bytes()[:5_000_000])
    half.chmod(0o755)
    ended = shell(f"{half} --version", env={**_BARE, "TMPDIR": str(temporary(tmp_path))})
    assert ended.returncode == 1
    assert f"{half} is not whole (5000000 of {ONE_FILE.stat().st_size} bytes)" in ended.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
@case(
    11,
    "A program started with closed input and output, as by some init scripts and agents",
    source="daemon(7), what a daemon closes at its start",
    outcome="It does its work; only what would be printed is lost.",
)
def test_closed_streams(tmp_path: Path, form: str) -> None:
    program = FORMS[form]
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        ended = shell(f"{program} --version {closed}")
        assert ended.returncode == 0, (closed, ended.stderr)
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("form", FORMS)
@case(
    11,
    "A daemon started without HOME and XDG_RUNTIME_DIR",
    source="jupyter/notebook#3576; systemd.exec(5), environment variables",
    outcome="It ends with a sentence that names the folder and the variable to set.",
)
def test_a_daemon_without_a_home(form: str) -> None:
    ended = shell(f"{FORMS[form]} serve")
    assert ended.returncode not in (0, -6, -11)
    assert "Traceback" not in ended.stderr
    assert "CLARAEDGE_STATE_DIR" in ended.stderr


@case(
    11,
    "The one-file program found by PATH, called by a link, and with arguments of any kind",
    source="pyinstaller/pyinstaller#901 and #1799",
    outcome="It finds itself and passes each argument on as it is.",
)
def test_how_it_is_called(tmp_path: Path) -> None:
    link = tmp_path / "clära edge"
    link.symlink_to(ONE_FILE)
    assert shell(f"'{link}' --version").returncode == 0
    by_path = shell("claraedge --version", env={"PATH": f"{ONE_FILE.parent}:{_BARE['PATH']}"})
    assert by_path.stdout.startswith("claraedge ")
    assert shell(f"sh {ONE_FILE} --version").returncode == 0
    odd = shell(f"{ONE_FILE} check '-- a  b\"*' ''")
    assert odd.returncode != 0
    assert '-- a  b"*' in odd.stdout + odd.stderr
