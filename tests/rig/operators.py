"""Builds images for tests from one static busybox, without a registry and without Podman.

`busybox_image` writes a docker-archive, the format that `docker save` writes, so that loading is
tested with what users have. Its root contains /bin/busybox and links for the common commands.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
_COMMANDS = (
    "sh",
    "cat",
    "chmod",
    "cp",
    "dd",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "id",
    "ip",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "od",
    "printf",
    "rm",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "wc",
)


def busybox_image(
    path: Path,
    name: str | None,
    *,
    user: str | None = None,
    entrypoint: Sequence[str] | None = None,
    command: Sequence[str] | None = None,
    volumes: Sequence[str] = (),
    environment: Sequence[str] = ("PATH=/bin",),
    files: Mapping[str, bytes] | None = None,
    links: Mapping[str, str] | None = None,
    owners: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
    configuration: Mapping[str, object] | None = None,
) -> Path:
    """Writes a docker-archive of a busybox image to `path`, and returns it.

    `name` is `repo:tag`, or None for an image without a name. `files` maps absolute paths to
    contents, all executable; `links` maps absolute paths to targets; `owners` maps folders to uids.
    `configuration` replaces fields of the configuration of the image. The same arguments result in
    the same image id.
    """
    layer = _layer(files or {}, links or {}, owners or {})
    config: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-02T03:04:05.678901234Z",
        "config": {
            "Env": list(environment),
            "User": user or "",
            "Entrypoint": list(entrypoint) if entrypoint else None,
            "Cmd": list(command) if command else None,
            "Volumes": {volume: {} for volume in volumes} or None,
            "Labels": {"org.example.test": name or "nameless", **(labels or {})},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "tests"}],
        **(configuration or {}),
    }
    config_bytes = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name] if name else None, "Layers": ["l.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, config_name, config_bytes)
        _add(archive, "l.tar", layer)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def oci_image(path: Path, name: str, annotations: Mapping[str, str]) -> Path:
    """Writes an oci-archive of a busybox image whose manifest has these annotations."""
    layer = _layer({}, {}, {})
    kind = "application/vnd.oci.image"

    def blob(content: bytes, media: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        _add(archive, f"blobs/sha256/{digest}", content)
        return {"mediaType": f"{kind}.{media}", "digest": f"sha256:{digest}", "size": len(content)}

    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    with tarfile.open(path, "w") as archive:
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": blob(json.dumps(config).encode(), "config.v1+json"),
            "layers": [blob(layer, "layer.v1.tar")],
            "annotations": dict(annotations),
        }
        whole = blob(json.dumps(manifest).encode(), "manifest.v1+json")
        named = {**whole, "annotations": {"org.opencontainers.image.ref.name": name}}
        index = {"schemaVersion": 2, "manifests": [named]}
        _add(archive, "index.json", json.dumps(index).encode())
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    return path


def _layer(
    files: Mapping[str, bytes], links: Mapping[str, str], owners: Mapping[str, int]
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder, mode in (
            (".", 0o755),
            ("bin", 0o755),
            ("dev", 0o755),
            ("etc", 0o755),
            ("proc", 0o755),
            ("run", 0o755),
            ("sys", 0o755),
            ("tmp", 0o1777),
            ("var", 0o755),
            ("var/tmp", 0o1777),
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for folder, user in owners.items():
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, user, user
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for link, target in {**{f"/bin/{c}": "busybox" for c in _COMMANDS}, **links}.items():
            entry = tarfile.TarInfo(link.lstrip("/"))
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
        for file, content in files.items():
            _add(tar, file.lstrip("/"), content, mode=0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n")
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
