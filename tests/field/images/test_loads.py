"""What people bring as an image: loaded, or refused with the cause and a step."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.errors import InvalidImageError
from claraedge.images.images import Images
from claraedge.runner.podman import PodmanRunner
from tests.field.case import case
from tests.field.images.archives import Tree, docker_parts, layer, oci_parts, pack

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

#: Enough of a file tree for what is loaded and never run.
SMALL: Tree = {"bin": None, "etc": None, "etc/data": random.Random(1).randbytes(200_000)}
_GZIPPED = "application/vnd.oci.image.layer.v1.tar+gzip"
_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


def parts(mark: str, machine: str = "linux/amd64") -> dict[str, bytes]:
    tree: Tree = {**SMALL, "etc/mark": mark.encode()}
    return docker_parts(f"localhost/field/{mark}:1", [layer(tree)], machine=machine)


def oci(mark: str, **options: object) -> dict[str, bytes]:
    return oci_parts([layer({**SMALL, "etc/mark": mark.encode()})], **options)  # type: ignore[arg-type]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def docker_tar(folder: Path, mark: str) -> bytes:
    return pack(folder / "plain.tar", parts(mark)).read_bytes()


def zstd(content: bytes) -> bytes:
    """As a zstd frame (RFC 8878) of blocks that are stored as they are."""
    frame = bytearray(b"\x28\xb5\x2f\xfd\xe0" + len(content).to_bytes(8, "little"))
    step = 1 << 17
    for start in range(0, len(content), step):
        block = content[start : start + step]
        last = start + step >= len(content)
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return bytes(frame)


def without(found: dict[str, bytes], end: str) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if not name.endswith(end)}


def docker_25(mark: str) -> dict[str, bytes]:
    """Both forms in one, as `docker save` writes since version 25."""
    found = oci(mark, name=f"docker.io/field/{mark}:1")
    entry = json.loads(found["index.json"])["manifests"][0]
    manifest = json.loads(found[f"blobs/sha256/{entry['digest'][7:]}"])
    blob = "blobs/sha256/{}".format
    found["manifest.json"] = json.dumps(
        [
            {
                "Config": blob(manifest["config"]["digest"][7:]),
                "RepoTags": [f"field/{mark}:1"],
                "Layers": [blob(part["digest"][7:]) for part in manifest["layers"]],
            }
        ]
    ).encode()
    return found


def two_images(mark: str) -> dict[str, bytes]:
    first, second = parts(mark), parts(f"{mark}-other")
    manifests = [json.loads(each["manifest.json"])[0] for each in (first, second)]
    return {**first, **second, "manifest.json": json.dumps(manifests).encode()}


def two_platforms(*machines: str) -> dict[str, bytes]:
    """An index with an image for each machine."""
    entries, blobs = [], {}
    for machine in machines:
        found = oci(f"platform {machine}", machine=machine)
        (entry,) = json.loads(found["index.json"])["manifests"]
        system, _, processor = machine.partition("/")
        entries.append({**entry, "platform": {"os": system, "architecture": processor}})
        blobs |= {name: content for name, content in found.items() if name.startswith("blobs/")}
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    digest = hashlib.sha256(index).hexdigest()
    outer = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(index)}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [outer]}).encode(),
        f"blobs/sha256/{digest}": index,
        **blobs,
    }


def changed(found: dict[str, bytes]) -> dict[str, bytes]:
    """The largest part with another last byte."""
    name = max(found, key=lambda each: len(found[each]))
    return {**found, name: found[name][:-1] + b"x"}


def zipped(folder: Path) -> Path:
    path = folder / "image.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in oci("zip").items():
            archive.writestr(name, content)
    return path


LOADED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "gzip": (
        "containers/podman#404",
        lambda f: written(f / "a.tar.gz", gzip.compress(docker_tar(f, "gz"), 1)),
    ),
    "xz": (
        "moby/moby#46605",
        lambda f: written(f / "a.xz", lzma.compress(docker_tar(f, "xz"))),
    ),
    "bzip2": (
        "containers/podman#468",
        lambda f: written(f / "a.bz2", bz2.compress(docker_tar(f, "bz2"))),
    ),
    "zstd": ("moby/moby#46600", lambda f: written(f / "a.zst", zstd(docker_tar(f, "zst")))),
    "docker 25": ("containers/podman#13139", lambda f: pack(f / "a.tar", docker_25("docker25"))),
    "several images": ("k3s-io/k3s#1285", lambda f: pack(f / "a.tar", two_images("multi"))),
    "no name": (
        "podman-load(1)",
        lambda f: pack(f / "a.tar", docker_parts(None, [layer({**SMALL, "etc/mark": b"no"})])),
    ),
    "an OCI archive": ("orbstack/orbstack#2059", lambda f: pack(f / "a.tar", oci("oci"))),
    "layers in gzip": (
        "opencontainers/image-spec, layer.md",
        lambda f: pack(
            f / "a.tar", oci("layergz", media=_GZIPPED, packed=lambda b: gzip.compress(b, 1))
        ),
    ),
    "layers in zstd": (
        "opencontainers/image-spec, layer.md",
        lambda f: pack(f / "a.tar", oci("layerzst", media=_ZSTD, packed=zstd)),
    ),
    "names that begin with ./": (
        "orbstack/orbstack#2059",
        lambda f: pack(f / "a.tar", parts("dot"), folder="./"),
    ),
    "several platforms": (
        "MorganKryze/cairn#76",
        lambda f: pack(f / "a.tar", two_platforms("linux/arm64", "linux/amd64")),
    ),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            what,
            marks=case(
                10,
                f"an archive of an image: {what}",
                source=source,
                outcome="It is loaded, and its images are compared with its digests.",
            ),
        )
        for what, (source, _) in LOADED.items()
    ],
)
async def test_what_is_an_image_is_loaded(runner: PodmanRunner, tmp_path: Path, what: str) -> None:
    loaded, warnings = await Images(runner).load(LOADED[what][1](tmp_path))
    assert len(loaded) == (2 if what == "several images" else 1)
    assert not warnings
    for image in loaded:
        assert await Images(runner).find(f"sha256:{image.id}") == image
        await runner.remove_image(image.id, force=True)


REFUSED: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    "cut off in the middle": (
        "ansible-collections/community.docker#46",
        lambda f: written(f / "a.tar", docker_tar(f, "half")[:100_000]),
        ("ends in the middle", "sha256sum"),
    ),
    "cut off, in gzip": (
        "microsoft/codamosa#26",
        lambda f: written(f / "a.tar.gz", gzip.compress(docker_tar(f, "halfgz"), 1)[:50_000]),
        ("ends in the middle", "sha256sum"),
    ),
    "changed on the way": (
        "opencontainers/image-spec, descriptor.md",
        lambda f: pack(f / "a.tar", changed(oci("changed"))),
        ("does not have the content", "copy it again"),
    ),
    "the file tree of a container": (
        "moby/moby#10429",
        lambda f: written(f / "a.tar", layer(SMALL)),
        ("`docker export`", "`docker save IMAGE -o image.tar`"),
    ),
    "a zip of an OCI layout": (
        "containers/podman#27952",
        zipped,
        ("is a zip archive", "the .tar that lies in it"),
    ),
    "packed with its folder": (
        "moby/moby#10429",
        lambda f: pack(f / "a.tar", parts("folder"), folder="image/"),
        ("in the folder `image`", "tar -cf image.tar -C image ."),
    ),
    "a registry's manifest": (
        "opencontainers/image-spec, manifest.md",
        lambda f: written(f / "a.json", b'{"schemaVersion": 2, "layers": []}'),
        ("JSON", "docker save"),
    ),
    "the page of a login": (
        "eltzanis/mAIstro#1",
        lambda f: written(f / "a.tar", b"<!DOCTYPE html><html><title>Sign in</title></html>"),
        ("a web page", "download it again"),
    ),
    "nothing but zeros": (
        "containers/podman#8005",
        lambda f: written(f / "a.tar", bytes(40_960)),
        ("nothing but zeros", "copy it again"),
    ),
    "for another machine alone": (
        "k3s-io/k3s#1285",
        lambda f: pack(f / "a.tar", two_platforms("linux/arm64", "linux/ppc64le")),
        ("none of its images is for this machine (amd64)", "docker pull --platform linux/amd64"),
    ),
    "a layer is missing": (
        "rancher/rke2#5944",
        lambda f: pack(f / "a.tar", lacking(parts("lacks"))),
        ("a part of the image is missing", "save the image again"),
    ),
    "files of a user with a large number": (
        "containers/podman#2542; linuxserver/docker-kavita#2",
        lambda f: pack(
            f / "a.tar", docker_parts("localhost/field/owner:1", [layer(SMALL, owner=1000620000)])
        ),
        ("1000620000:1000620000", "--chown=0:0"),
    ),
    "an image in upper case": (
        "distribution/reference, reference.go",
        lambda f: pack(f / "a.tar", docker_parts("localhost/Field/App:1", [layer(SMALL)])),
        ("`localhost/Field/App:1`", "lower case", "docker tag"),
    ),
    "a signature": (
        "sigstore/cosign, specs/SIGNATURE_SPEC.md",
        lambda f: pack(f / "a.tar", signature()),
        ("no image of a container", "signature"),
    ),
    "a list of no images": (
        "moby/docker-image-spec, v1.2",
        lambda f: pack(f / "a.tar", {**parts("none"), "manifest.json": b"[]"}),
        ("holds no image", "docker save"),
    ),
    "no archive at all": (
        "gongbell/ContractFuzzer#5",
        lambda f: written(f / "a.tar", b"\x7fELF" + bytes(range(256)) * 50),
        ("no archive of an image", "docker save"),
    ),
}


def lacking(found: dict[str, bytes]) -> dict[str, bytes]:
    """All but the layer."""
    return {name: content for name, content in found.items() if len(content) < 100_000}


def signature() -> dict[str, bytes]:
    found = oci("signature")
    return {
        name: content.replace(b"image.config.v1+json", b"empty.v1+json")
        for name, content in found.items()
    } | repointed(found)


def repointed(found: dict[str, bytes]) -> dict[str, bytes]:
    """An index that points to the manifest of an artifact."""
    (entry,) = json.loads(found["index.json"])["manifests"]
    manifest = found[f"blobs/sha256/{entry['digest'][7:]}"]
    manifest = manifest.replace(b"vnd.oci.image.config.v1+json", b"vnd.oci.empty.v1+json")
    digest = hashlib.sha256(manifest).hexdigest()
    entry |= {"digest": f"sha256:{digest}", "size": len(manifest)}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return {f"blobs/sha256/{digest}": manifest, "index.json": index}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            what,
            marks=case(
                10,
                f"a file that is no image to load: {what}",
                source=source,
                outcome="It is refused with what it is, and what to do.",
            ),
        )
        for what, (source, _, _) in REFUSED.items()
    ],
)
async def test_what_is_no_image_is_refused_with_what_it_is(
    runner: PodmanRunner, tmp_path: Path, what: str
) -> None:
    _, write, words = REFUSED[what]
    path = write(tmp_path)
    with pytest.raises(InvalidImageError) as met:
        await Images(runner).load(path)
    said = str(met.value)
    assert all(word in said for word in words), said
    assert "/var/tmp/" not in said
    assert "\n" not in said


MACHINES = {
    "linux/arm64": "k3s-io/k3s#1285",
    "windows/amd64": "opencontainers/image-spec, config.md",
}


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(
            machine,
            marks=case(
                10,
                f"an image that is built for {machine}",
                source=source,
                outcome="Its load warns of it, and says how to get the right one.",
            ),
        )
        for machine, source in MACHINES.items()
    ],
)
async def test_an_image_for_another_machine_is_reported_at_its_load(
    runner: PodmanRunner, tmp_path: Path, machine: str
) -> None:
    images = Images(runner)
    mark = machine.replace("/", "-")
    loaded, warnings = await images.load(pack(tmp_path / "a.tar", parts(mark, machine)))
    (warning,) = warnings
    assert f"built for {machine}, and this machine is linux/amd64" in warning
    assert "docker pull --platform linux/amd64" in warning
    assert machine in images.trouble(loaded[0])


@case(
    10,
    "an image whose date and ports make no sense",
    source="opencontainers/image-spec, config.md",
    outcome="What cannot be read is left out; the image is listed and found.",
)
async def test_what_an_image_says_of_itself_may_make_no_sense(
    runner: PodmanRunner, tmp_path: Path
) -> None:
    found = docker_parts(
        "localhost/field/odd-words:1", [layer(SMALL)], ExposedPorts={"9" * 400: {}, "8000/tcp": {}}
    )
    old = next(name for name in found if name.endswith(".json") and name != "manifest.json")
    text = found.pop(old).replace(b"2024-01-02T", b"0000-01-01T")
    new = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = found["manifest.json"].replace(old.encode(), new.encode())
    path = pack(tmp_path / "a.tar", {new: text, **found, "manifest.json": manifest})
    images = Images(runner)
    (image,), _ = await images.load(path)
    assert (image.created, image.ports) == (0.0, (8000,))
    assert image in await images.all()
