"""Servers of others, on loopback and as the user of the tests, each with one folder to fill."""

from __future__ import annotations

import getpass
import grp
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.field.tools import find
from tests.rig.waiting import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    port: int
    folder: Path
    """For its settings and logs."""
    key: Path | None = None
    """Of sshd: what lets a client in."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(command: Sequence[str | Path], log: Path, port: int | None = None) -> Iterator[int]:
    """A process of a session of its own, ended with all its children; with a port, once it
    accepts. Yields its id.
    """
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=log.parent,
        )
    try:

        def said() -> str:
            return log.read_text(errors="replace")

        def listens() -> bool:
            assert started.poll() is None, f"{command[0]} ended: {said()}"
            return port is None or _accepts(port)

        until(f"{command[0]} listens", listens, 30, details=said)
        yield started.pid
    finally:
        try:
            os.killpg(started.pid, signal.SIGTERM)
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        except ProcessLookupError:
            started.wait()


@contextmanager
def sshd(folder: Path) -> Iterator[Server]:
    """For scp, sftp, and rsync; every folder is the user's own."""
    port = free_port()
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    (folder / "sshd.conf").write_text(
        f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
UsePAM no
StrictModes no
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""
    )
    # A client's settings, for all programs that call ssh.
    (folder / "ssh.conf").write_text(
        f"""\
Host drop
    HostName 127.0.0.1
    Port {port}
    User {getpass.getuser()}
    IdentityFile {folder}/user
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
"""
    )
    command = [find("sshd"), "-D", "-e", "-f", folder / "sshd.conf"]
    with process(command, folder / "sshd.log", port):
        yield Server(port=port, folder=folder, key=folder / "user")


@contextmanager
def proftpd(folder: Path, root: Path, *, hidden: bool) -> Iterator[Server]:
    """User and password are `drop`. `hidden`: it writes under `.in.NAME.` and renames."""
    port = free_port()
    hashed = subprocess.run(
        ["openssl", "passwd", "-5", "drop"], check=True, capture_output=True, text=True
    ).stdout.strip()
    users = folder / "ftp.users"
    users.write_text(f"drop:{hashed}:{os.getuid()}:{os.getgid()}::{root}:/bin/false\n")
    users.chmod(0o600)
    (folder / "ftp.conf").write_text(
        f"""\
ServerType standalone
ServerName drop
Port {port}
DefaultAddress 127.0.0.1
UseIPv6 off
UseReverseDNS off
User {getpass.getuser()}
Group {grp.getgrgid(os.getgid()).gr_name}
AuthUserFile {users}
AuthOrder mod_auth_file.c
RequireValidShell off
PidFile {folder}/ftp.pid
ScoreboardFile {folder}/ftp.score
ControlsEngine off
DelayTable none
WtmpLog off
TransferLog none
SystemLog {folder}/ftp.log
AllowOverwrite on
AllowStoreRestart {"off" if hidden else "on"}
HiddenStores {"on" if hidden else "off"}
Umask 022
"""
    )
    command = [find("proftpd"), "-n", "-c", folder / "ftp.conf"]
    with process(command, folder / "proftpd.log", port):
        yield Server(port=port, folder=folder)


@contextmanager
def smbd(folder: Path, root: Path) -> Iterator[Server]:
    """One share `inbox` for guests."""
    port = free_port()
    for name in ("private", "lock", "state", "cache", "pid", "rpc"):
        (folder / name).mkdir()
    (folder / "smb.conf").write_text(
        f"""\
[global]
server role = standalone server
smb ports = {port}
bind interfaces only = yes
interfaces = lo
disable netbios = yes
private dir = {folder}/private
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
pid directory = {folder}/pid
ncalrpc dir = {folder}/rpc
log file = {folder}/smbd.log
map to guest = Bad User
guest account = {getpass.getuser()}
load printers = no
printing = bsd
printcap name = /dev/null
disable spoolss = yes
store dos attributes = yes
strict rename = no

[inbox]
path = {root}
guest ok = yes
read only = no
"""
    )
    command = [find("smbd"), "-F", "--no-process-group", "-s", folder / "smb.conf"]
    with process(command, folder / "smbd.out", port):
        yield Server(port=port, folder=folder)


@contextmanager
def storescp(folder: Path, log: Path, *options: str) -> Iterator[int]:
    """A DICOM receiver that writes what it gets; yields its port."""
    port = free_port()
    command = [find("storescp"), *options, "-od", str(folder), str(port)]
    with process(command, log, port):
        yield port
