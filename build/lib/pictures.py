"""Pictures of the console for the documentation, and what they are made from.

pictures.py FOLDER     copies them from the screenshots of a test, and writes the fingerprint
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
STAMP = PICTURES / "made-from.txt"
#: The pictures by their names, and the screenshots that they are.
COPIED = {
    "job.png": "2-running-en-light-1440.png",
    "inbox.png": "5-waiting-en-light-1440.png",
    "slice.png": "4-slice-de-dark-375.png",
    "run.png": "8-form-en-light-1440.png",
}
#: What people see is made from these.
SOURCES = ("templates/*.html", "assets/*.css", "texts/*.toml", "graph.py")


def fingerprint() -> str:
    """Returns the SHA-256 of the names and bytes of what the pages are made from."""
    console = ROOT / "claraedge" / "web" / "console"
    digest = hashlib.sha256()
    for path in sorted({path for pattern in SOURCES for path in console.glob(pattern)}):
        content = path.read_bytes()
        digest.update(b"%s %d " % (os.fsencode(path.relative_to(console)), len(content)) + content)
    return digest.hexdigest()


def copy(folder: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name, screenshot in COPIED.items():
        shutil.copyfile(folder / screenshot, PICTURES / name)
    STAMP.write_text(f"{fingerprint()}\n", encoding="ascii")


if __name__ == "__main__":
    copy(Path(sys.argv[1]))
