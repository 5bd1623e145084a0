"""Archives of images with something odd in them, made without Podman and without a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.rig.operators import BUSYBOX

#: Path -> content, or where a link leads, or None for a folder; each with the mode 0755.
Tree = Mapping[str, bytes | str | None]

BASE: Tree = {
    **dict.fromkeys(("bin", "dev", "etc", "proc", "run", "sys", "tmp", "var", "var/tmp")),
    "bin/busybox": BUSYBOX.read_bytes() if BUSYBOX.exists() else b"",
    **{f"bin/{name}": "busybox" for name in ("sh", "cat", "true", "echo", "id", "ls")},
    "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n",
}
_CAPABILITY = "SCHILY.xattr.security.capability"


def layer(
    tree: Tree, *, capability: str = "", modes: Mapping[str, int] | None = None, owner: int = 0
) -> bytes:
    """The tar of a layer. The file `capability` carries cap_net_bind_service=ep."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in tree.items():
            entry = tarfile.TarInfo(name)
            entry.mode = (modes or {}).get(name, 0o755)
            entry.uid = entry.gid = owner
            if name == capability:
                # struct vfs_cap_data, revision 2, effective; CAP_NET_BIND_SERVICE is number 10.
                data = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
                entry.pax_headers = {_CAPABILITY: data.decode("ascii")}
            if content is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def docker_parts(
    name: str | None, layers: Sequence[bytes], *, machine: str = "linux/amd64", **config: object
) -> dict[str, bytes]:
    """The files of a docker-archive with one image. `config`: as `User` or `WorkingDir`."""
    described = _configuration(layers, machine, config)
    own = f"{hashlib.sha256(described).hexdigest()}.json"
    files = {hashlib.sha256(part).hexdigest() + ".tar": part for part in layers}
    manifest = [{"Config": own, "RepoTags": [name] if name else None, "Layers": list(files)}]
    return {own: described, **files, "manifest.json": json.dumps(manifest).encode()}


def oci_parts(
    layers: Sequence[bytes],
    *,
    name: str | None = None,
    machine: str = "linux/amd64",
    media: str = "application/vnd.oci.image.layer.v1.tar",
    packed: Callable[[bytes], bytes] = bytes,
) -> dict[str, bytes]:
    """The files of an OCI layout with one image."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(
            _configuration(layers, machine, {}), "application/vnd.oci.image.config.v1+json"
        ),
        "layers": [blob(packed(part), media) for part in layers],
    }
    entry = blob(json.dumps(manifest).encode(), str(manifest["mediaType"]))
    if name is not None:
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [entry]}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **blobs,
    }


def digest_of(parts: Mapping[str, bytes]) -> str:
    """The digest of the manifest in an OCI layout."""
    return str(json.loads(parts["index.json"])["manifests"][0]["digest"])


def pack(path: Path, parts: Mapping[str, bytes], *, folder: str = "") -> Path:
    """Writes files as a tar, below `folder`, with gzip where the name ends in `.gz`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in parts.items():
            entry = tarfile.TarInfo(folder + name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    content = buffer.getvalue()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def image(path: Path, name: str, tree: Tree, **options: object) -> Path:
    """A docker-archive of two layers: busybox, and this on top."""
    return pack(path, docker_parts(name, [layer(BASE), layer(tree)], **options))  # type: ignore[arg-type]


def _configuration(layers: Sequence[bytes], machine: str, config: Mapping[str, object]) -> bytes:
    system, _, processor = machine.partition("/")
    return json.dumps(
        {
            "architecture": processor,
            "os": system,
            "created": "2024-01-02T03:04:05Z",
            "config": {"Env": ["PATH=/bin"], **config},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(part).hexdigest()}" for part in layers],
            },
        }
    ).encode()
