"""Makes the demo's operator image on this machine, without a registry: a docker-archive tar.

    python build/lib/images.py TARGET

mmdebstrap, unprivileged, puts together the base system of this machine's own release and dcmtk; the
scripts of examples/demo go to /usr/local/bin. The tar is the input of `claraedge create image -f`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NAME = "localhost/claraedge/dcmtk:1"
DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
SCRIPTS = (DEMO / "each-file", DEMO / "report")
# What an operator never reads: two thirds of the files.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def build(target: Path) -> None:
    """Writes the archive to `target`, by rename; lasts about 20 s, most of it package set-up."""
    release = os_release()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".image-") as scratch:
        layer = Path(scratch, "layer.tar")
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--mode=unshare",
                "--variant=essential",
                "--include=dcmtk",
                "--components=" + ("main,universe" if release["ID"] == "ubuntu" else "main"),
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                "--customize-hook=copy-in "
                + " ".join(str(script) for script in SCRIPTS)
                + " /usr/local/bin",
                "--customize-hook=chmod 0755 "
                + " ".join(f'"$1/usr/local/bin/{script.name}"' for script in SCRIPTS),
                release["VERSION_CODENAME"],
                str(layer),
                *own_mirror(release),
            ],
            check=True,
        )
        archive = Path(scratch, "image.tar")
        wrap(layer, archive, NAME)
        archive.replace(target)


def os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return {n: v.strip('"') for n, _, v in (line.partition("=") for line in lines if "=" in line)}


def own_mirror(release: dict[str, str]) -> list[str]:
    """The mirror that this machine itself uses, where apt names one; mmdebstrap has a default."""
    targets = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)",
            "Created-By: Packages",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    wanted = [release["VERSION_CODENAME"], "main", release["ID"].capitalize()]
    for line in targets.stdout.splitlines():
        uri, *rest = line.split()
        if rest == wanted and uri.startswith(("http:", "https:", "file:")):
            return [uri]
    return []


def wrap(layer: Path, target: Path, name: str) -> None:
    """One layer and a name as `docker save` writes them (Docker image specification 1.2)."""
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "build/lib/images.py"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(target, "w") as archive:
        archive.add(layer, layer_name)
        for entry, content in (
            (config_name, config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
