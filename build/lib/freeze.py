"""Builds dist/claraedge and dist/claraedge-dir with PyInstaller, where the sources have changed.

python build/lib/freeze.py [--force]
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
STAMP = DIST / ".made-from"
#: As in claraedge/appliance/frozen.py: tests/unit/appliance/test_frozen.py compares them.
MARKER = ".one-file"
SOURCES = (
    "claraedge/**/*",
    "protos/**/*.proto",
    "build/claraedge.spec",
    "build/lib/entry.py",
    "build/lib/freeze.py",
    "build/lib/one_file.sh",
    "build/requirements/runtime.txt",
)


def fingerprint() -> str:
    """SHA-256 over the interpreter's version and the names and bytes of all that is frozen."""
    digest = hashlib.sha256(sys.version.encode())
    files = {path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files):
        if path.suffix == ".pyc":
            continue
        content = path.read_bytes()
        digest.update(b"%s %d " % (os.fsencode(path.relative_to(ROOT)), len(content)) + content)
    return digest.hexdigest()


def is_fresh() -> bool:
    """Whether dist/ contains both forms, made from the sources as they are now."""
    return STAMP.is_file() and STAMP.read_text(encoding="ascii") == fingerprint()


def build() -> None:
    began, made_from = time.monotonic(), fingerprint()
    print("==> freezing dist/claraedge and dist/claraedge-dir", file=sys.stderr)
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="freeze-") as scratch:
        # Its progress goes to a log: what it says is of use only where it fails.
        log = cache / "pyinstaller.log"
        with log.open("wb") as output:
            ended = subprocess.run(
                [
                    sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=WARN",
                    f"--distpath={scratch}/dist", f"--workpath={cache}/pyinstaller",
                    str(ROOT / "build" / "claraedge.spec"),
                ],
                check=False,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                # The same order in every hash table, the same time stamps in every archive.
                env=os.environ | {
                    "PYTHONHASHSEED": "1",
                    "SOURCE_DATE_EPOCH": "1704067200",
                    "PYINSTALLER_CONFIG_DIR": str(cache / "pyinstaller-config"),
                },
            )  # fmt: skip
        if ended.returncode != 0:
            sys.stderr.write(log.read_text(errors="replace"))
            raise SystemExit(f"PyInstaller ended with {ended.returncode}")
        made = Path(scratch, "dist")
        pack(made / "claraedge-dir", made / "claraedge")
        shutil.rmtree(DIST, ignore_errors=True)
        made.rename(DIST)
    STAMP.write_text(made_from, encoding="ascii")
    print(
        f"==> dist/claraedge {size(DIST / 'claraedge')} MB,"
        f" dist/claraedge-dir {size(DIST / 'claraedge-dir')} MB,"
        f" {time.monotonic() - began:.0f} s",
        file=sys.stderr,
    )


def pack(folder: Path, target: Path) -> None:
    """The one-file form: a script that unpacks what follows it. The same folder, the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for path in sorted(folder.rglob("*")):
            info = archive.gettarinfo(path, str(path.relative_to(folder)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            if info.isreg():
                with path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)
    script = (ROOT / "build" / "lib" / "one_file.sh").read_text(encoding="ascii")
    for key, value in {
        "@FIRST@": script.count("\n") + 1,
        "@MIB@": size(folder),
        "@MARKER@": MARKER,
    }.items():
        script = script.replace(key, str(value))
    # Its own length is in it, so that half a copy differs from a whole one.
    length = len(script) - len("@SIZE@") + len(packed.getvalue())
    whole = next(n for n in range(length, length + 20) if length + len(str(n)) == n)
    target.write_bytes(script.replace("@SIZE@", str(whole)).encode("ascii") + packed.getvalue())
    target.chmod(0o755)


def size(path: Path) -> int:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return round(sum(f.lstat().st_size for f in files) / 1e6)


if __name__ == "__main__":
    if "--force" in sys.argv[1:] or not is_fresh():
        build()
    else:
        print("==> dist/ is up to date", file=sys.stderr)
