"""Flows: what users do with a daemon while its disk is copied.

`FLOWS` has the flows of `drops.py`, `calls.py`, `backups.py` and `migrations.py` by name. To add
one, write a function with `@flow`, or `@flow_after(...)` if no daemon may serve when it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

from tests.powercut.promises import Item, Promises
from tests.powercut.site import Site


@dataclass(kw_only=True)
class Scene:
    """The site, the random source and the promises of a flow."""

    site: Site
    random: Random
    promises: Promises = field(default_factory=Promises)

    def content(self, size: int | None = None) -> bytes:
        """Returns random bytes; `size` in bytes, None for a random choice of sizes."""
        return self.random.randbytes(size or self.random.choice((20, 3000, 9000)))

    def contents(self, *names: str) -> dict[str, bytes]:
        return {name: self.content() for name in names}

    def drop(
        self, kind: str, trigger: str, files: dict[str, bytes], *, foreign: bool = False
    ) -> Item:
        """Drops one item and makes it durable; returns the item."""
        folder = self.site.state / "inbox" / trigger
        item = self.promises.item(kind, self.paths(folder, files), files.values())
        self.site.drop(folder, files, foreign=foreign)
        item.promise()
        return item

    def paths(self, folder: Path, files: dict[str, bytes]) -> list[Path]:
        return [folder / name for name in files]


Part: TypeAlias = Callable[[Scene], None]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The function that runs before the disk is copied, and the one that runs meanwhile."""

    before: Part
    perform: Part


FLOWS: dict[str, Flow] = {}


def boot_and_rest(scene: Scene) -> None:
    scene.site.start("boot-before")
    scene.site.rest()


def flow_after(before: Part) -> Callable[[Part], Part]:
    def register(function: Part) -> Part:
        FLOWS[function.__name__] = Flow(before=before, perform=function)
        return function

    return register


flow = flow_after(boot_and_rest)
