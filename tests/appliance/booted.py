"""A whole machine, emulated: it boots, runs the scripts of a test, and can lose its power."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.waiting import until

ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / ".cache" / "machine"
QEMU = shutil.which("qemu-system-x86_64")

_MEMORY_MB = 2048
_KERNEL_LINE = "root=/dev/vda rw console=ttyS0 quiet mitigations=off"
#: Seconds. Measured on two idle cores: 14 to the agent's word.
_BOOT = 600.0
#: Seconds. A busy host emulates ten times slower.
_SCRIPT = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    output: str
    """stdout and stderr, as they came."""


@dataclass
class Machine:
    """One disk of its own, and the machine that runs from it. `program` is a second disk, read
    only, found at /mnt.
    """

    folder: Path
    program: Path
    boot_id: str = ""
    boots: list[float] = field(default_factory=list)
    """Seconds that each boot took until the machine accepted scripts."""
    _process: subprocess.Popen[bytes] | None = None
    _channel: socket.socket | None = None
    _unread: bytes = b""
    _count: int = 0

    def power_on(self) -> None:
        """Returns when the machine has come up. The disk is made at the first time."""
        disk, port = self.folder / "disk.img", self.folder / "driver"
        if not disk.exists():
            subprocess.run(["cp", "--sparse=always", MADE / "disk.img", disk], check=True)
        port.unlink(missing_ok=True)
        assert QEMU is not None
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [
                    QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
                    "-m", str(_MEMORY_MB), "-nographic", "-nic", "none",
                    "-kernel", MADE / "linux", "-initrd", MADE / "initrd", "-append", _KERNEL_LINE,
                    "-drive", f"file={disk},if=virtio,format=raw",
                    "-drive", f"file={self.program},if=virtio,format=raw,readonly=on",
                    "-device", "virtio-serial-pci",
                    "-chardev", f"socket,id=driver,path={port},server=on,wait=off",
                    "-device", "virtserialport,chardev=driver,name=driver",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )  # fmt: skip
        self._channel = self._connect(port)
        self._wait_up()

    def run(self, script: str, timeout: float = _SCRIPT) -> Ran:
        """Runs a bash script as root of the machine; TimeoutError if it runs for longer."""
        self._send(script)
        deadline = time.monotonic() + timeout
        while True:
            number, code, *output = self._line(deadline).split(" ")
            if number == str(self._count):
                text = base64.b64decode("".join(output)).decode(errors="replace")
                return Ran(code=int(code), output=text)

    def check(self, script: str, timeout: float = _SCRIPT) -> str:
        """The output of a script that must end with 0."""
        ran = self.run(script, timeout)
        assert ran.code == 0, f"{script}\nended with {ran.code}:\n{ran.output}"
        return ran.output

    def until(self, what: str, holds: Callable[[], bool], seconds: float = 600.0) -> None:
        """Waits until it holds; each question lasts some tenths of a second."""
        until(what, holds, seconds)

    def reboot(self) -> None:
        """An orderly reboot; returns when the machine is up again."""
        before = self.boot_id
        self._send("systemctl reboot")  # which may end before it can answer
        self._wait_up()
        assert self.boot_id != before

    def cut_power(self) -> None:
        """What the machine had not written to its disk is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._channel is not None:
            self._channel.close()
            self._channel, self._unread = None, b""

    def _send(self, script: str) -> None:
        assert self._channel is not None
        self._count += 1
        sent = base64.b64encode(script.encode()).decode()
        self._channel.sendall(f"{self._count} {sent}\n".encode())

    def _connect(self, port: Path) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX)

        def connected() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.console()
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                channel.connect(str(port))
                return True
            return False

        until("the machine has its port", connected, 20)
        return channel

    def _wait_up(self) -> None:
        began = time.monotonic()
        try:
            while True:
                word, _, boot_id = self._line(began + _BOOT).partition(" ")
                if word == "up":
                    break
        except (TimeoutError, EOFError) as error:
            raise AssertionError(f"the machine does not come up:\n{self.console()}") from error
        self.boot_id = boot_id
        self.boots.append(time.monotonic() - began)

    def console(self) -> str:
        """The end of what the machine's console said."""
        return (self.folder / "console.log").read_text(errors="replace")[-5000:]

    def _line(self, deadline: float) -> str:
        assert self._channel is not None
        while b"\n" not in self._unread:
            self._channel.settimeout(max(0.01, deadline - time.monotonic()))
            received = self._channel.recv(1 << 16)
            if not received:
                raise EOFError(f"the machine ended:\n{self.console()}")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().strip("\r")


@contextlib.contextmanager
def machine(folder: Path, content: Path) -> Iterator[Machine]:
    """A machine that is up, with the files of `content` at its /mnt; off, and gone, at the end."""
    program = folder / "program.img"
    megabytes = sum(f.lstat().st_size for f in content.rglob("*") if not f.is_dir()) >> 20
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-L", "program", "-d", content, program,
         f"{megabytes * 5 // 4 + 32}M"],
        check=True,
    )  # fmt: skip
    made = Machine(folder=folder, program=program)
    try:
        made.power_on()
        yield made
    finally:
        made.cut_power()
        for image in folder.glob("*.img"):
            image.unlink()
