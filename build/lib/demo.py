"""The demo itself; `build/demo` sets the machine up and starts it as the unprivileged user."""

from __future__ import annotations

import argparse
import base64
import contextlib
import getpass
import hashlib
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import freeze
import images
import png
import pydicom

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".cache" / "demo"
SAMPLE = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
DEFINITION = images.DEMO / "ct-report.yaml"
CONFIG = """\
# Written by build/demo at each start.
[disk]
# A demo needs little, and a rather full disk is to show it as well.
soft_mb = 512
hard_mb = 128

[inbox]
settle_seconds = 1.0

[[inbox.trigger]]
folder = "ct"
pipeline = "ct-report"
deliver = ["slice", "tags", "report"]
"""


class DemoError(Exception):
    """The demo did not show what it promises; the text says what is wrong."""


def say(text: str) -> None:
    print(f"==> {text}", flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running `claraedge serve`, and the command line that talks to it."""

    program: str
    process: int
    socket: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CLARAEDGE_HOST": f"unix:{self.socket}"}

    def call(self, *arguments: str) -> str:
        """What a command prints; DemoError where it fails."""
        ended = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise DemoError(f"claraedge {shlex.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout

    def ask(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.call(*arguments, "--output", "json"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="build/demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--frozen", action="store_true")
    options = parser.parse_args()
    # A terminated demo stops its daemon as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    WORK.mkdir(parents=True, exist_ok=True)
    archive = image_archive()
    if options.frozen and not freeze.is_fresh():
        freeze.build()
    program = str(ROOT / "dist" / "claraedge") if options.frozen else shutil.which("claraedge")
    if program is None:
        raise DemoError("the command claraedge is not on PATH; start build/demo instead")
    stop_kept()
    daemon = start(program)
    kept = False
    try:
        check_room(daemon.ask("status")["disks"])
        install(daemon, archive)
        show(daemon)
        kept = options.keep
    except DemoError:
        print(f"\nThe end of {daemon.log}:\n{tail(daemon.log)}", file=sys.stderr)
        raise
    finally:
        if not kept:
            stop(daemon.process)
    if kept:
        print_next_commands(daemon)
    return 0


def image_archive() -> Path:
    """The operator image, rebuilt only where its sources have changed."""
    archive, made_from = WORK / "dcmtk.tar", WORK / "dcmtk.made-from"
    if not archive.is_file() or not made_from.is_file() or made_from.read_text() != image_key():
        say("building the operator image (dcmtk) offline")
        images.build(archive)
        made_from.write_text(image_key())
    return archive


def image_key() -> str:
    digest = hashlib.sha256(Path("/etc/os-release").read_bytes())
    for path in (Path(images.__file__), *images.SCRIPTS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def start(program: str) -> Daemon:
    """Starts the daemon, and waits until it serves."""
    config, log = WORK / "claraedge.toml", WORK / "daemon.log"
    config.write_text(CONFIG)
    runtime = Path(os.environ["XDG_RUNTIME_DIR"]) / (
        "claraedge-demo-" + hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:8]
    )
    say(f"starting the daemon: {program} serve")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program, "serve", f"--config={config}", f"--state-dir={WORK / 'state'}",
             f"--runtime-dir={runtime}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True,
        )  # fmt: skip
    (WORK / "daemon.pid").write_text(str(process.pid))
    daemon = Daemon(
        program=program, process=process.pid, socket=runtime / "claraedge.sock", log=log
    )
    try:
        for _ in until("the daemon serves", 60):
            if process.poll() is not None:
                raise DemoError(f"the daemon ended with {process.returncode}:\n{tail(log)}")
            with contextlib.suppress(DemoError):
                if daemon.socket.is_socket() and daemon.ask("status")["podman_version"]:
                    return daemon
    except BaseException:
        stop(process.pid)
        raise
    raise AssertionError


def check_room(disks: Sequence[Mapping[str, Any]]) -> None:
    """DemoError where the daemon would wait for room on a disk: nobody is to wait with it."""
    for disk in disks:
        if disk["free"] < disk["soft_limit"]:
            raise DemoError(
                f"too little room for the demo: the disk of {disk['name']} has"
                f" {disk['free'] >> 20} MiB free, and at least {disk['soft_limit'] >> 20} must be."
                " Free some there, and start build/demo again"
            )


def install(daemon: Daemon, archive: Path) -> None:
    """Image and pipeline, where they are not there from an earlier run."""
    loaded = WORK / "state" / ".demo-image"
    names = [name for image in daemon.ask("list", "images")["images"] for name in image["names"]]
    if images.NAME not in names or not loaded.is_file() or loaded.read_text() != image_key():
        say(f"loading the image {images.NAME}")
        print(daemon.call("create", "image", "-f", str(archive)), end="")
        loaded.write_text(image_key())
    text = DEFINITION.read_text()
    known = [p["name"] for p in daemon.ask("list", "pipelines")["pipelines"]]
    if "ct-report" in known:
        files = daemon.ask("describe", "pipeline", "ct-report")["files"]
        if [file["content"] for file in files] == [text]:
            return
    say(f"registering the pipeline {DEFINITION}")
    print(daemon.call("create", "pipeline", "-p", str(DEFINITION)), end="")


def show(daemon: Daemon) -> None:
    """Drops the image, follows it to the end, and checks what came out."""
    before = {item["id"] for item in daemon.ask("list", "inbox")["items"]}
    folder = Path(daemon.ask("status")["inbox_dir"]) / "ct"
    say(f"dropping {SAMPLE.name} into {folder}")
    drop(SAMPLE, folder)
    state = ""
    for item in follow(daemon, before, "the dropped file becomes a job", 60):
        if item["state"] != state:
            state = item["state"]
            reason = f": {item['reason']} {item['remedy']}".rstrip() if item["reason"] else ""
            print(f"{SAMPLE.name} {state.lower()}{reason}", flush=True)
        if state == "FAILED":
            raise DemoError(f"the item failed: {item['reason']}")
        if item["job_id"]:
            break
    job = item["job_id"]
    say(f"claraedge describe job {job} --watch")
    watched = subprocess.run(
        [daemon.program, "describe", "job", job, "--watch"],
        env=daemon.environment,
        check=False,
    )
    details = daemon.ask("describe", "job", job)
    if (details["state"], details["status"]) != ("STOPPED", "HEALTHY") or watched.returncode:
        raise DemoError(
            f"job {job} ended {details['state']} {details['status']}:" + why(daemon, details)
        )
    for item in follow(daemon, before, "the results are delivered", 60):
        if item["state"] == "FAILED":
            raise DemoError(f"the delivery failed: {item['reason']}; see {item['result_path']}")
        if item["state"] == "DELIVERED":
            break
    picture, tags, report = check(Path(item["result_path"]))
    say("job STOPPED and HEALTHY; the results:")
    print(f"{picture}\n{tags}\n{report}", flush=True)


def drop(sample: Path, folder: Path) -> None:
    """As a careful sender does it: complete under another name, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{sample.name}.part"
    shutil.copyfile(sample, partial)
    partial.rename(folder / sample.name)


def follow(daemon: Daemon, before: set[str], what: str, seconds: float) -> Iterator[dict[str, Any]]:
    """The new item as it is now, again and again."""
    for _ in until(what, seconds):
        for item in daemon.ask("list", "inbox")["items"]:
            if item["id"] not in before and item["name"] == SAMPLE.name:
                yield item


def check(folder: Path) -> tuple[Path, Path, Path]:
    """The three results, checked: the picture decodes, tags and report are about it."""
    found = {path.suffix: path for path in sorted(folder.rglob("CT_small.*"))}
    try:
        picture, tags, report = found[".png"], found[".json"], found[".html"]
    except KeyError as error:
        listing = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*"))]
        raise DemoError(f"{folder} has no {error} result, only {listing}") from error
    try:
        decoded = png.decode(picture)
    except png.PngError as error:
        raise DemoError(str(error)) from error
    if (decoded.width, decoded.height) != (128, 128) or len(set(b"".join(decoded.rows))) < 16:
        raise DemoError(f"{picture} decodes, but is not the CT slice")
    if json.loads(tags.read_text())["00080060"]["Value"] != ["CT"]:
        raise DemoError(f"{tags} has no modality CT")
    if base64.b64encode(picture.read_bytes()).decode() not in report.read_text():
        raise DemoError(f"{report} does not show the picture")
    return picture, tags, report


def why(daemon: Daemon, details: dict[str, Any]) -> str:
    """Messages of the job, and what its failed operators said."""
    lines = [""] + [f"  {message}" for message in details["messages"]]
    for operator in details["operators"]:
        if operator["status"] == "FAULTED":
            with contextlib.suppress(DemoError):
                said = daemon.call("logs", details["id"], "-o", operator["name"])
                lines += [f"  {operator['name']}: {line}" for line in said.splitlines()[-10:]]
    return "\n".join(lines)


def until(what: str, seconds: float) -> Iterator[None]:
    """Checks again every 0.2 s; DemoError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.2)
    raise DemoError(f"waited {seconds:.0f} s in vain until {what}")


def stop_kept() -> None:
    """Ends the daemon of an earlier `--keep`: two cannot serve one state folder."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        process = int((WORK / "daemon.pid").read_text())
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if os.fsencode(f"--config={WORK / 'claraedge.toml'}") in command:
            say(f"stopping the daemon of an earlier build/demo --keep (process {process})")
            stop(process)


def stop(process: int) -> None:
    """SIGTERM, and waits for the end; the daemon may be our child or an earlier demo's."""
    with contextlib.suppress(ProcessLookupError):
        watch = os.pidfd_open(process)
        try:
            signal.pidfd_send_signal(watch, signal.SIGTERM)
            if not select.select([watch], [], [], 60)[0]:
                raise DemoError(
                    f"the daemon, process {process}, did not stop within 60 s of SIGTERM"
                )
        finally:
            os.close(watch)
    (WORK / "daemon.pid").unlink(missing_ok=True)


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])


def lines_to_copy(daemon: Daemon, status: Mapping[str, Any]) -> list[str]:
    """Returns shell lines with which a person can type what README.md and the tutorial say."""
    values = {
        "cd ": ROOT,
        "export CLARAEDGE_HOST=": f"unix:{daemon.socket}",
        "alias claraedge=": daemon.program,
        "inbox=": status["inbox_dir"],
        "outbox=": status["outbox_dir"],
    }
    return [f"{begin}{shlex.quote(str(value))}" for begin, value in values.items()]


def print_next_commands(daemon: Daemon) -> None:
    lines = "\n    ".join(lines_to_copy(daemon, daemon.ask("status")))
    user = getpass.getuser()
    print(
        f"""
The daemon runs on as process {daemon.process}, for the user {user}. As that user
(from root: runuser -u {user} -- bash), copy these lines into a bash:

    {lines}

Then `claraedge list jobs` shows what the demo has run. Next: README.md, docs/tutorial.md.

log           {daemon.log}
to stop it    kill {daemon.process}
""".rstrip(),
        flush=True,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DemoError as error:
        print(f"build/demo: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
