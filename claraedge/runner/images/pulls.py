"""Pulls an image in a separate process, `podman pull`.

Podman's service has a call for it, but continues a pull whose caller has left (4.3.1: for ever,
where the registry hangs). A process ends on a signal. What it had downloaded by then is in a folder
of ours, which is removed: Podman itself would leave it in /var/tmp. Complete layers stay in
Podman's storage, where the next pull finds them; a partly unpacked one is removed when the storage
is next written to.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from claraedge import spawn
from claraedge.blocking import wait_out
from claraedge.errors import (
    ClaraedgeError,
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.runner.protocol import Login
from claraedge.runner.references import host
from claraedge.runner.workarounds import temporary

_LOGIN_PREFIX = "login-"
#: Seconds between TERM, after which Podman ends within milliseconds, and KILL.
_FAREWELL = 0.5
_LONGEST_REASON = 2000
_ID = re.compile(r"[0-9a-f]{64}")

_UNKNOWN = re.compile(r"manifest unknown|name unknown|name_unknown|not found|statuscode: 404", re.I)
_DENIED = re.compile(
    r"unauthorized|authentication required|access denied|denied:|is denied|forbidden|"
    r"invalid username/password|statuscode: 40[13]",
    re.I,
)


async def pull(
    name: str, *, login: Login | None, insecure: bool, limit: float, runtime: Path, store: Path
) -> str:
    """Pulls an image by its full name and returns its id.

    `limit` is in seconds. `runtime` is a private folder on a tmpfs, `store` is Podman's image
    folder. Raises StorageFullError if its disk is full, ImagePullError if `podman` does not start,
    and the other errors of Runner.pull_image.
    """
    try:
        async with temporary.folder(store / "tmp") as folder:
            with _login_file(runtime, name, login) as file:
                return await _pull(name, file, folder, insecure=insecure, limit=limit)
    except OSError as error:
        if files.is_full(error):
            raise StorageFullError(
                f"{error.filename}: the disk is full; free some space there"
            ) from error
        raise ImagePullError(f"`podman pull` cannot be started for {store}: {error}") from error


def remove_stale_logins(runtime: Path) -> None:
    """Removes credentials that remained when a daemon was killed."""
    for file in runtime.glob(f"{_LOGIN_PREFIX}*.json"):
        file.unlink(missing_ok=True)


async def _pull(name: str, logins: Path, scratch: Path, *, insecure: bool, limit: float) -> str:
    # With a transport and after `--`: a reference is a name at a registry, never a file or a flag.
    command = ["podman", "pull", "--quiet", "--authfile", str(logins)]
    command += ["--tls-verify=false"] if insecure else []
    process = await spawn.start(
        [*command, "--", f"docker://{name}"],
        environment={"TMPDIR": str(scratch)},
        output=subprocess.PIPE,
        dies_with_parent=True,
    )
    try:
        async with asyncio.timeout(limit):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise ImagePullError(
            f"it did not come within {limit:g} s ([images] pull_seconds)"
        ) from error
    finally:
        await wait_out(asyncio.ensure_future(_end(process)))
    said = output.decode(errors="replace").split()
    if process.returncode == 0 and said and _ID.fullmatch(said[-1]):
        return said[-1]
    raise refusal(name, errors.decode(errors="replace"), process.returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends the pull with all its child processes. One that has already ended is left alone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await process.wait()
    await process.wait()


def refusal(name: str, said: str, code: int | None) -> ClaraedgeError:
    """Returns the error for the standard error output of a failed `podman pull`."""
    # Use the last error, which may have several lines; warnings of earlier tries come before it.
    reason = " ".join(re.split(r"^Error: ", said, flags=re.M)[-1].split())[:_LONGEST_REASON]
    reason = reason.removeprefix(f"initializing source docker://{name}: ")
    if not reason:
        return ImagePullError(f"`podman pull` ended with {code} and said nothing")
    # Ignore the image's name: it may contain words of an error.
    judged = reason.replace(name, "").replace(re.split(r"@|:[^/]*$", name)[0], "")
    if "no space left on device" in judged:
        return StorageFullError(f"Podman's storage is full: {reason}; free some space there")
    if _DENIED.search(judged):
        return ImageDeniedError(reason)
    if _UNKNOWN.search(judged):
        return ImageNotFoundError(reason)
    return ImagePullError(reason)


@contextmanager
def _login_file(runtime: Path, name: str, login: Login | None) -> Iterator[Path]:
    """Writes the credentials in Podman's format: only these, so that none of the user's
    are used.
    """
    logins: dict[str, object] = {}
    if login is not None:
        pair = f"{login.username}:{login.password}".encode()
        logins[host(name) or name] = {"auth": base64.b64encode(pair).decode()}
    path = runtime / f"{_LOGIN_PREFIX}{secrets.token_hex(8)}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode({"auths": logins}))
        yield path
    finally:
        path.unlink(missing_ok=True)
