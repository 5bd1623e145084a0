"""Forks daemons whose containers are coroutines.

    python -m tests.powercut.zygote FOLDER USER LACKS

The daemons are the whole product except Podman. FOLDER/disk is the disk, FOLDER/run the runtime
folder, FOLDER/daemon.log the output of daemons. Commands are lines on stdin: `start BOOT` forks a
daemon with this boot id and prints its process id; `alive PID` prints 1 or 0; `kill PID` answers
once the process is gone; `backup NAME` and `restore NAME` run that command with a file on the disk,
and print its exit code. A forked daemon starts fast, because its modules are loaded.

The schema of these daemons has one migration more than the product, for the flow `migrate`.

LACKS breaks the product, so that a campaign can prove that it finds such bugs: `files` or `folders`
are not synced, or neither of them with `all`; `none` breaks nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import pwd
import signal
import stat
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from claraedge.config import Config, load_config
from claraedge.daemon import journal, parts, serve, serving
from claraedge.daemon.backups.backup import backup
from claraedge.daemon.backups.restore import restore
from claraedge.fs import mounts
from claraedge.runner.memory import MemoryRunner, write_log
from claraedge.runner.protocol import ContainerSpec, Runner
from claraedge.store import migrations
from tests.rig.later_schema import later_schema

_CONFIG = "disk/claraedge.toml"


def _copy(spec: ContainerSpec) -> None:
    for given in [mount.source for mount in spec.mounts if mount.read_only]:
        for path in sorted(path for path in given.rglob("*") if path.is_file()):
            for out in [mount.source for mount in spec.mounts if not mount.read_only]:
                made = out / path.relative_to(given)
                made.parent.mkdir(parents=True, exist_ok=True)
                made.write_bytes(path.read_bytes())
    write_log(spec, "copied")


async def copy(spec: ContainerSpec) -> int:
    _copy(spec)
    return 0


async def slow(spec: ContainerSpec) -> int:
    await asyncio.sleep(0.3)
    _copy(spec)
    return 0


async def flaky(folder: Path, spec: ContainerSpec) -> int:
    """Fails until FOLDER/repaired exists."""
    if not (folder / "repaired").exists():
        write_log(spec, "not repaired yet")
        return 3
    _copy(spec)
    return 0


async def forever(_: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


def _spoil(lacks: str) -> None:
    fsync = os.fsync

    def selective(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if lacks != "all" and lacks != ("folders" if is_folder else "files"):
            fsync(descriptor)

    if lacks != "none":
        os.fsync = selective  # type: ignore[assignment]


async def _serve(folder: Path, boot: str) -> None:
    @asynccontextmanager
    async def open_runner(_: Config) -> AsyncIterator[Runner]:
        containers = MemoryRunner()
        for program in (copy, slow, forever):
            containers.add_image(f"{program.__name__}:1", program)
        containers.add_image("flaky:1", partial(flaky, folder))
        yield containers

    parts.boot_id = serving.boot_id = lambda: boot
    config = load_config(folder / _CONFIG, {}, _folders(folder))
    journal.configure(config.log.level, "text")
    await serve(config, open_runner)


def _folders(folder: Path) -> dict[str, str]:
    return {"state_dir": str(folder / "disk/state"), "runtime_dir": str(folder / "run")}


def _work(folder: Path, command: str, given: str) -> None:
    """Serves with the boot id `given`, or makes or restores a backup of that name."""
    # This FUSE file system counts as a local disk, unlike others, which may be shared.
    mounts._SHARED -= {"fuse"}  # type: ignore[misc]
    file = folder / "disk" / given
    if command == "backup":
        backup(folder / _CONFIG, _folders(folder), file, payloads=True)
    elif command == "restore":
        restore(folder / _CONFIG, _folders(folder), file, replace=True)
    else:
        asyncio.run(_serve(folder, given))


def _child(folder: Path, user: pwd.struct_passwd, command: str, given: str) -> None:
    log = os.open(folder / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for opened, wanted in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(opened, wanted)
    if os.geteuid() != user.pw_uid:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    os.umask(0o027)
    faulthandler.enable(log)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; a change of user resets it
    _work(folder, command, given)


def _start(folder: Path, user: pwd.struct_passwd, command: str, given: str) -> int:
    child = os.fork()
    if child == 0:
        try:
            _child(folder, user, command, given)
            os._exit(0)
        except BaseException:  # noqa: BLE001 logged before the child exits
            traceback.print_exc()
        finally:
            os._exit(1)
    return child


def _kill(child: int) -> str:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        return "was gone"
    return "gone"


def _alive(folder: Path, child: int) -> int:
    try:
        ended, status = os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        return 0
    if ended:
        with (folder / "daemon.log").open("a") as log:
            print(f"the daemon ended with {os.waitstatus_to_exitcode(status)}", file=log)
    return int(not ended)


def main(folder: Path, user: pwd.struct_passwd, lacks: str) -> None:
    migrations.SCHEMA = later_schema()
    _spoil(lacks)
    for line in sys.stdin:
        command, given = line.split()
        if command == "start":
            print(_start(folder, user, command, given), flush=True)
        elif command in ("backup", "restore"):
            _, status = os.waitpid(_start(folder, user, command, given), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif command == "kill":
            print(_kill(int(given)), flush=True)
        else:
            print(_alive(folder, int(given)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), pwd.getpwnam(sys.argv[2]), sys.argv[3])
