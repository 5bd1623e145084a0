"""The units, checked by systemd's own tools in a staged root as a package would lay it out."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
ANALYZE = shutil.which("systemd-analyze")

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A root with this machine's own units, the accounts, and the package's files."""
    root = tmp_path / "root"
    places = {
        "claraedge.service": "usr/lib/systemd/system/claraedge.service",
        "claraedge-user.service": "usr/lib/systemd/user/claraedge.service",
        "claraedge-order.conf": "usr/lib/systemd/system/user@.service.d/50-claraedge.conf",
        "claraedge.sysusers": "usr/lib/sysusers.d/claraedge.conf",
        "claraedge.tmpfiles": "usr/lib/tmpfiles.d/claraedge.conf",
    }
    for manager in ("system", "user"):
        own = next(p for p in (Path("/usr/lib/systemd"), Path("/lib/systemd")) if p.is_dir())
        shutil.copytree(
            own / manager, root / "usr/lib/systemd" / manager, symlinks=True, dirs_exist_ok=True
        )
    (root / "lib").symlink_to("usr/lib")
    for name, place in places.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(UNITS / name, target)
    for program in ("opt/claraedge/claraedge", "bin/sh", "usr/bin/systemctl"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).write_text("#!/bin/true\n")
        (root / program).chmod(0o755)
    (root / "etc").mkdir()
    (root / "run").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    return root


def tool(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, check=False
    )


def verify(root: Path, unit: str, manager: str = "system") -> tuple[int, list[str]]:
    """The exit code, and the complaints about this project's units; the machine's own have some."""
    folder = root / "usr/lib/systemd" / manager
    where = [f"--root={root}", unit]
    if manager == "user":  # has no --root: the staged program is named by its staged path instead
        file = folder / unit
        file.write_text(file.read_text().replace("/opt/", f"{root}/opt/"))
        where = ["--user", str(file)]
    verified = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", "--recursive-errors=no", *where],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(root / "run"),
            **({"SYSTEMD_UNIT_PATH": str(folder)} if manager == "user" else {}),
        },
    )
    return verified.returncode, [
        line for line in verified.stderr.splitlines() if "claraedge" in line or "Failed to" in line
    ]


@pytest.mark.parametrize("manager", ["system", "user"])
def test_a_unit_has_no_complaint(staged: Path, manager: str) -> None:
    assert verify(staged, "claraedge.service", manager) == (0, [])


def test_the_order_of_user_managers_has_no_complaint(staged: Path) -> None:
    assert verify(staged, "user@1000.service")[1] == []


@pytest.mark.parametrize(
    ("place", "right", "wrong", "complaint"),
    [
        ("system/claraedge.service", "KillMode=", "KillModus=", "Unknown key"),
        ("user/claraedge.service", "KillMode=process", "KillMode=some", "Failed to parse"),
        ("system/claraedge.service", "/bin/sh -c", "/bin/none -c", "not executable"),
        ("system/user@.service.d/50-claraedge.conf", "Before=", "Bevor=", "Unknown key"),
    ],
)
def test_a_mistake_is_noticed(
    staged: Path, place: str, right: str, wrong: str, complaint: str
) -> None:
    file = staged / "usr/lib/systemd" / place
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    unit = "user@1000.service" if "user@" in place else "claraedge.service"
    _, complaints = verify(staged, unit, place.partition("/")[0])
    assert any(complaint in line for line in complaints), complaints


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers")
def test_the_account_can_be_made(staged: Path) -> None:
    made = tool("systemd-sysusers", f"--root={staged}", "--dry-run", "claraedge.conf")
    assert made.returncode == 0, made.stderr
    printed = made.stderr + made.stdout
    assert "user 'claraedge'" in printed, printed
    assert "group 'claraedge-drop'" in printed, printed


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd-tmpfiles")
def test_the_folders_are_made(staged: Path) -> None:
    account = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
    file = staged / "usr/lib/tmpfiles.d/claraedge.conf"
    name, uid = account.stdout.strip(), str(Path(staged).stat().st_uid)
    (staged / "etc/passwd").write_text(f"{name}:x:{uid}:{staged.stat().st_gid}::/:/bin/sh\n")
    (staged / "etc/group").write_text(f"{name}:x:{staged.stat().st_gid}:\n")
    # Who runs the test can give files to nobody else.
    file.write_text(
        file.read_text()
        .replace(" root ", f" {name} ")
        .replace("claraedge claraedge-drop", f"{name} {name}")
        .replace("claraedge claraedge", f"{name} {name}")
        .replace("group:claraedge-drop:", f"group:{name}:")
        .replace("group:claraedge:", f"group:{name}:")
    )
    made = tool("systemd-tmpfiles", f"--root={staged}", "--create", "claraedge.conf")
    assert made.returncode == 0, made.stderr
    assert (staged / "var/lib/systemd/linger/claraedge").is_file()
    assert (staged / "var/lib/claraedge").stat().st_mode & 0o777 == 0o750
    assert (staged / "var/lib/claraedge/inbox").stat().st_mode & 0o7777 == 0o3775
    assert (staged / "etc/claraedge").is_dir()
    storage = staged / "var/lib/claraedge/.config/containers/storage.conf"
    assert storage.read_text() == '[storage]\ndriver = "overlay"\n'


@pytest.mark.parametrize("name", ["claraedge.service", "claraedge-user.service"])
def test_containers_survive_a_stop_and_setuid_helpers_work(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / name)
    service = unit["Service"]
    assert service["KillMode"] == "process"
    assert service["Delegate"] == "yes"
    assert service["NotifyAccess"] == "all"
    assert service["LimitNOFILE"] == "65536"
    assert not any(key.startswith("Memory") for key in service)  # operators may be in this group
    assert service["RestartPreventExitStatus"] == "73 78"
    assert service["Restart"] == "on-failure"  # also of the watchdog
    assert service["WatchdogSec"] == "2min"
    # systemd.exec(5): these imply NoNewPrivileges for a unit with User=, or make a mount namespace.
    refused = (
        "Private", "Protect", "Restrict", "SystemCall", "LockPersonality", "MemoryDenyWriteExecute",
        "DynamicUser", "ReadOnly", "ReadWrite", "Inaccessible", "BindPaths", "TemporaryFileSystem",
    )  # fmt: skip
    exceptions = {"RestartPreventExitStatus"}
    assert [k for k in service if k.startswith(refused) and k not in exceptions] == []
    assert service["NoNewPrivileges"] == "no"
