"""A daemon in an environment that a test chooses: its locale, its folders, its shares."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import why_podman_cannot_work
from tests.integration.daemon.conftest import program
from tests.rig.operators import busybox_image
from tests.rig.waiting import until

IMAGE = "localhost/ce-test/busybox"


@dataclass
class Place(Site):
    """A site whose daemon and command line have these variables, and what of ours they need."""

    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {n: os.environ[n] for n in ("PATH", "HOME", "XDG_RUNTIME_DIR")}
        ours = {n: v for n, v in super().environment.items() if n.startswith(("CLARAEDGE", "TMP"))}
        return inherited | ours | dict(self.variables)

    def load_image(self) -> None:
        archive = self.folder / "busybox.tar"
        if not archive.exists():
            busybox_image(archive, f"{IMAGE}:1")
        self.say("create", "image", "-f", archive)

    def drop(self, trigger: str, name: bytes) -> Path:
        """A path to write to in the folder of a trigger."""
        folder = self.state / "inbox" / trigger
        folder.mkdir(parents=True, exist_ok=True)
        return folder / os.fsdecode(name)

    def items(self) -> list[Any]:
        found: list[Any] = self.ask("list", "inbox")["items"]
        return found

    def ended(self, count: int = 1) -> list[Any]:
        """The items, once that many of them have an end."""
        ends = {"DELIVERED", "FAILED"}

        def all_ended() -> bool:
            return sum(item["state"] in ends for item in self.items()) >= count

        until(f"{count} items have ended: {self.log[-3000:]}", all_ended)
        return self.items()

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text("utf-8", "backslashreplace")


@contextlib.contextmanager
def place(
    folder: Path,
    variables: Mapping[str, str] | None = None,
    *,
    inbox: str = "",
    settings: str = "",
    of: Path | None = None,
    prepare: Callable[[Place], None] | None = None,
) -> Iterator[Place]:
    """A daemon that serves, with the image of the tests.

    `inbox`: more settings of the inbox; `settings`: other sections; `of`: a frozen program.
    """
    reason = why_podman_cannot_work()
    if reason is not None:
        pytest.skip(f"no rootless Podman: {reason}")
    with tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"], prefix="env-") as runtime:
        here = Place(
            program=of or program(),
            folder=folder,
            runtime=Path(runtime, "run"),
            variables=variables or {},
        )
        here.temporary.mkdir(parents=True)
        here.configure(
            f"[inbox]\nsettle_seconds = 0.3\n{inbox}\n[engine]\ngrace_seconds = 1\n{settings}"
        )
        if prepare is not None:
            prepare(here)
        try:
            here.start()
            here.load_image()
            yield here
        finally:
            here.stop()


def copying(name: str, then: str = "true") -> str:
    """A definition whose one operator copies its input, every name as it is."""
    return (
        f"api-version: 0.4.0\nname: {name}\noperators:\n- name: copy\n"
        f"  container: {{image: {IMAGE}, tag: '1',\n"
        f"    command: [sh, -c, 'cp -r /in/. /out/; {then}']}}\n"
        "  input: [{path: /in}]\n  output: [{path: /out}]\n"
    )


def tree(folder: Path) -> dict[bytes, bytes]:
    """Every file below a folder, by the bytes of its path."""
    return {
        os.fsencode(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
