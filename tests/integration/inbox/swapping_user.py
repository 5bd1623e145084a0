"""A user of the daemon's group who swaps whatever he may write, at random moments.

    python3 swapping_user.py SEED JSON

Needs nothing but the standard library: it runs as another user, who cannot read the project. JSON:
`folders` that he may make, swap and drop into, `tops` whose entries he swaps as well (the outbox),
and `targets`, closed folders to lead the daemon to. A byte on stdin ends him; he then removes what
is his, and puts back what he moved.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_HERE, _EXCHANGE = -100, 2
_MODES = (0o000, 0o111, 0o700, 0o755, 0o2775, 0o3775, 0o777)


class Swapper:
    """What he does; each step may fail, and does."""

    def __init__(self, seed: str, folders: list[str], tops: list[str], targets: list[str]) -> None:
        self.chance = random.Random(seed)
        self.folders = [Path(folder) for folder in folders]
        self.tops = [Path(top) for top in tops]
        self.targets = targets
        self.moved: list[tuple[Path, Path]] = []
        self.count = 0
        self.done: dict[str, int] = {}

    def run(self) -> None:
        steps: list[Callable[[], object]] = [
            self.link, self.exchange, self.exchange, self.remake, self.close, self.drop, self.drop,
            self.inside, self.top, self.top, self.collect,
        ]  # fmt: skip
        for folder in self.folders:
            self.make(folder)
        while not select.select([sys.stdin], [], [], self.chance.random() * 0.01)[0]:
            step = self.chance.choice(steps)
            with contextlib.suppress(OSError):
                step()
                self.done[step.__name__] = self.done.get(step.__name__, 0) + 1
        self.leave()
        print(json.dumps(self.done))

    # --- steps ----------------------------------------------------------------------------------

    def link(self) -> None:
        """A link in a folder's place, for a moment."""
        folder = self.chance.choice(self.folders)
        aside = folder.with_name(f".x-{self.next()}")
        folder.rename(aside)
        self.moved.append((aside, folder))
        folder.symlink_to(self.chance.choice(self.targets))
        self.wait()
        folder.unlink()
        aside.rename(folder)

    def exchange(self) -> None:
        """Never a moment without one of the two."""
        folder = self.chance.choice(self.folders)
        link = folder.with_name(f".x-{self.next()}")
        link.symlink_to(self.chance.choice(self.targets))
        self.moved.append((link, folder))
        for _ in range(self.chance.choice((2, 2, 2, 20))):
            exchange(folder, link)
            self.wait()

    def remake(self) -> None:
        folder = self.chance.choice(self.folders)
        shutil.rmtree(folder)
        self.wait()
        self.make(folder)

    def close(self) -> None:
        folder = self.chance.choice(self.folders)
        folder.chmod(self.chance.choice(_MODES))
        self.wait()
        folder.chmod(0o2775)

    def drop(self) -> None:
        """Something of his own, good or odd."""
        place = self.chance.choice(self.folders) / f"his-{self.next()}"
        kind = self.chance.choice(("file", "folder", "renamed", "link", "pipe", "hard"))
        if kind == "file":
            place.write_text(f"his {self.count}")
        elif kind == "renamed":
            part = place.with_name(f".{place.name}.tmp")
            part.write_text(f"his {self.count}")
            part.rename(place)
        elif kind == "folder":
            (place / "a").mkdir(parents=True)
            (place / "a/f").write_text(f"his {self.count}")
            place.chmod(self.chance.choice(_MODES))
        elif kind == "link":
            place.symlink_to(self.chance.choice(self.targets))
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            place.write_text(f"his {self.count}")
            os.link(place, place.with_name(f".{place.name}.tmp"))

    def inside(self) -> None:
        """A folder in one that he dropped becomes a link while it is taken."""
        found = [path for folder in self.folders for path in folder.glob("his-*/a")]
        if not found:
            raise FileNotFoundError
        folder = self.chance.choice(found)
        link = folder.with_name("b")
        link.symlink_to(self.chance.choice(self.targets))
        for _ in range(4):
            exchange(folder, link)
            self.wait()

    def top(self) -> None:
        """What the daemon makes, while it is made: exchanged with a link, and not always back."""
        top = self.chance.choice(self.tops)
        found = [*top.iterdir(), *top.glob("*/*"), *top.glob("*/*/original")]
        if not found:
            raise FileNotFoundError
        entry = self.chance.choice(found)
        link = entry.with_name(f".x-{self.next()}")
        link.symlink_to(self.chance.choice(self.targets))
        self.moved.append((link, entry))
        exchange(entry, link)
        self.wait()
        exchange(entry, link)

    def collect(self) -> None:
        """As somebody collects results; or a link before the daemon makes its next folder."""
        top = self.chance.choice(self.tops)
        found = [*top.iterdir(), *top.glob("*/*")]
        if not found:
            raise FileNotFoundError
        entry = self.chance.choice(found)
        aside = top / f".x-{self.next()}"
        entry.rename(aside)
        if self.chance.random() < 0.5:
            entry.symlink_to(self.chance.choice(self.targets))
            self.wait()
            entry.unlink()

    # --- helpers --------------------------------------------------------------------------------

    def leave(self) -> None:
        for aside, folder in self.moved:
            with contextlib.suppress(OSError):
                if folder.is_symlink():
                    folder.unlink()
                if not aside.is_symlink() and not os.path.lexists(folder):
                    aside.rename(folder)
        for top in {*self.tops, *(folder.parent for folder in self.folders)}:
            for path in [top, *top.rglob("*")]:
                with contextlib.suppress(OSError):
                    if path.is_symlink() and str(path.readlink()) in self.targets:
                        path.unlink()
                    elif path.lstat().st_uid == os.geteuid() and not path.is_symlink():
                        path.chmod(0o2775 if path.is_dir() else 0o664)
        for folder in self.folders:
            with contextlib.suppress(OSError):
                self.make(folder)

    @staticmethod
    def make(folder: Path) -> None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        with contextlib.suppress(PermissionError):  # the daemon's
            folder.chmod(0o2775)

    def wait(self) -> None:
        time.sleep(self.chance.choice((0.0, 0.0, 0.001, 0.01, 0.05)))

    def next(self) -> int:
        self.count += 1
        return self.count


def exchange(one: Path, other: Path) -> None:
    names = os.fsencode(one), os.fsencode(other)
    if _LIBC.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    os.umask(0o002)
    Swapper(sys.argv[1], **json.loads(sys.argv[2])).run()
