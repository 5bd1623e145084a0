"""Images that a power cut damaged: found, named, and made right by loading them again."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.errors import DamagedImageError, ImageNotFoundError
from claraedge.images.images import Images
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import ContainerSpec
from tests.field.case import case
from tests.field.images import archives
from tests.field.images.store import Store

pytestmark = [pytest.mark.podman, pytest.mark.timeout(120)]

_FOUND = "The image is found damaged and is named; loading its archive again replaces it."


def archive(folder: Path, name: str) -> Path:
    """An image of two layers that no other image shares."""
    own = {f"etc/{name}": name.encode()}
    tree = {"opt": None, "opt/model": b"m" * 70_000, "bin/tool": b"#!/bin/sh\necho tool\n"}
    parts = [archives.layer({**archives.BASE, **own}), archives.layer({**tree, **own})]
    return archives.pack(folder / f"{name}.tar", archives.docker_parts(named(name), parts))


def named(name: str) -> str:
    return f"localhost/field/{name}:1"


async def runs(runner: PodmanRunner, image: str, folder: Path) -> bool:
    """Whether a container of it says what its tool says."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    container = await runner.create(
        ContainerSpec(name=f"field-{folder.name}", image=image, command=("tool",), log_path=log)
    )
    try:
        await runner.start(container)
        end = await runner.wait(container)
    finally:
        await runner.remove(container)
    return end.code == 0 and " tool" in log.read_text()


async def replaced(runner: PodmanRunner, store: Store, folder: Path, name: str) -> None:
    """Loads the archive again, and has it run."""
    images = Images(runner)
    loaded, _ = await images.load(folder / f"{name}.tar")
    assert [image.names for image in loaded] == [(named(name),)]
    assert await images.find(named(name)) == loaded[0]
    assert await runs(runner, loaded[0].id, folder)
    assert store.image_id(named(name)) == loaded[0].id


DAMAGE: dict[str, tuple[str, str]] = {
    "empty-layer": ('rm -rf "$1"/diff/*', "bin is missing"),
    "empty-file": (': > "$1/diff/bin/busybox"', "bin/busybox has 0 of"),
    "missing-file": ('rm "$1/diff/bin/busybox"', "bin/busybox is missing"),
    "missing-link": ('rm "$1/diff/bin/sh"', "bin/sh is missing"),
    "no-diff": ('rm -r "$1/diff"', "its folder is gone"),
    "no-layer": ('rm -r "$1"', "its folder is gone"),
    "empty-notes": (': > "$2.tar-split.gz"', "own notes about it cannot be read"),
}
_SOURCES = {
    "empty-layer": ("a layer of an image is empty after a power cut", "containers/podman#8005"),
    "empty-file": ("programs of an image are empty after a power cut", "containers/podman#5986"),
    "missing-file": ("a file of a layer is missing after a power cut", "containers/podman#24106"),
    "missing-link": ("a link of a layer is missing after a power cut", "containers/podman#5057"),
    "no-diff": ("the content of a layer is missing after a power cut", "containers/podman#24106"),
    "no-layer": ("a layer's folder is missing after a power cut", "containers/podman#24106"),
    "empty-notes": ("Podman's notes of a layer are empty", "containers/storage#1064"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=case(5, title, source=source, outcome=_FOUND))
        for name, (title, source) in _SOURCES.items()
    ],
)
async def test_a_damaged_layer_is_named_and_replaced(
    runner: PodmanRunner, store: Store, tmp_path: Path, name: str
) -> None:
    script, words = DAMAGE[name]
    await Images(runner).load(archive(tmp_path, name))
    base = store.layers(named(name))[-1]
    store.run(script, store.folder(base), store.root / "overlay-layers" / base)
    images = Images(runner)
    with pytest.raises(DamagedImageError) as met:
        await images.find(named(name))
    said = str(met.value)
    assert named(name) in said
    assert base[:12] in said
    assert words in said
    assert "claraedge create image -f" in said
    (listed,) = [i for i in await images.all() if named(name) in i.names]
    assert words in images.trouble(listed)
    assert any(words in text for text in images.warnings())
    await replaced(runner, store, tmp_path, name)


@case(
    5,
    "a file of an image has its size, but not its content, after a power cut",
    source="containers/podman#8005",
    outcome="The image of a failed operator is compared with what was loaded; its damage is named.",
)
async def test_wrong_content_of_the_right_size_is_found_when_an_operator_fails(
    runner: PodmanRunner, store: Store, tmp_path: Path
) -> None:
    name = "wrong-content"
    (image,), _ = await Images(runner).load(archive(tmp_path, name))
    top = store.layers(named(name))[0]
    script = 'head -c 70000 /dev/zero | dd of="$1/diff/opt/model" conv=notrunc'
    store.run(script, store.folder(top))
    images = Images(runner)
    assert await images.find(named(name)) == image  # sizes alone do not show it
    said = await images.why_damaged(named(name), image.id)
    assert f"its layer {top[:12]} is damaged" in said
    assert "do not have the content that they had" in said
    with pytest.raises(DamagedImageError):
        await images.find(named(name))
    await replaced(runner, store, tmp_path, name)


UNREADABLE: dict[str, tuple[str, Callable[[Store, str], None]]] = {
    "lower": (
        "containers/storage#1064",
        lambda store, name: store.run(': > "$1/lower"', store.folder(store.layers(named(name))[0])),
    ),
    "configuration": (
        "containers/podman#8148",
        lambda store, name: store.run(
            'for f in "$1"/*; do : > "$f"; done',
            store.root / "overlay-images" / store.image_id(named(name)),
        ),
    ),
    "no-configuration": (
        "containers/podman#8148",
        lambda store, name: store.run(
            'rm -r "$1"', store.root / "overlay-images" / store.image_id(named(name))
        ),
    ),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            what,
            marks=case(
                5,
                f"what Podman keeps about an image is damaged: {what.replace('-', ' ')}",
                source=source,
                outcome="Other images are listed and run; the damaged one is named and replaced.",
            ),
        )
        for what, (source, _) in UNREADABLE.items()
    ],
)
async def test_an_image_that_podman_cannot_read_harms_no_other(
    runner: PodmanRunner, store: Store, tmp_path: Path, what: str
) -> None:
    name, other = f"unreadable-{what}", f"sibling-{what}"
    await Images(runner).load(archive(tmp_path, name))
    await Images(runner).load(archive(tmp_path, other))
    UNREADABLE[what][1](store, name)
    images = Images(runner)
    await images.checks.check_all()
    listed = {n: image for image in await images.all() for n in image.names}
    assert images.trouble(listed[named(name)])
    assert not images.trouble(listed[named(other)])
    assert await images.find(named(other)) == listed[named(other)]
    with pytest.raises(DamagedImageError, match="Podman cannot read it"):
        await images.find(named(name))
    await replaced(runner, store, tmp_path, name)


@case(
    5,
    "a damaged layer is shared by two images, and one of them is loaded again",
    source="containers/podman#16882",
    outcome="The layer is replaced; the other image is removed too, and the answer names it.",
)
async def test_a_shared_damaged_layer_is_replaced_although_another_image_has_it(
    runner: PodmanRunner, store: Store, tmp_path: Path
) -> None:
    base = archives.layer({**archives.BASE, "etc/shared": b"shared"})
    for name in ("first", "second"):
        parts = [base, archives.layer({"bin/tool": b"#!/bin/sh\necho tool\n#" + name.encode()})]
        path = archives.pack(tmp_path / f"{name}.tar", archives.docker_parts(named(name), parts))
        await Images(runner).load(path)
    store.run(': > "$1/diff/bin/busybox"', store.folder(store.layers(named("first"))[-1]))
    images = Images(runner)
    _, warnings = await images.load(tmp_path / "first.tar")
    assert any(named("second") in text for text in warnings)
    assert await runs(runner, store.image_id(named("first")), tmp_path)
    with pytest.raises(ImageNotFoundError):
        await images.find(named("second"))


@case(
    5,
    "an image that is damaged is deleted",
    source="containers/podman#8148",
    outcome="It goes with all its names; an image that is in use stays, and the jobs are named.",
)
async def test_a_damaged_image_can_be_deleted(
    runner: PodmanRunner, store: Store, tmp_path: Path
) -> None:
    await Images(runner).load(archive(tmp_path, "deleted"))
    store.run('rm -r "$1"', store.folder(store.layers(named("deleted"))[0]))
    images = Images(runner)
    await images.checks.check_all()
    await images.remove(named("deleted"))
    with pytest.raises(ImageNotFoundError):
        await images.find(named("deleted"))
    assert not images.warnings()


@case(
    5,
    "an image with odd files in it is whole",
    source="vbatts/tar-split, containers/storage pkg/archive",
    outcome="Devices, links, removed files, long and foreign names, closed files: none is damage.",
)
async def test_an_odd_image_is_not_taken_for_a_damaged_one(
    runner: PodmanRunner, store: Store, tmp_path: Path
) -> None:
    long = "opt/" + "x" * 120 + "/" + "y" * 150
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:

        def add(name: str, kind: bytes, content: bytes = b"", **more: object) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.mode = kind, len(content), 0o755
            for key, value in more.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(content))

        add("./", tarfile.DIRTYPE)
        add("./dev/", tarfile.DIRTYPE)
        add("./dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        add("./dev/fifo", tarfile.FIFOTYPE)
        add("opt", tarfile.DIRTYPE)
        add(long.rpartition("/")[0], tarfile.DIRTYPE)
        add(long, tarfile.REGTYPE, b"long")
        add("opt/\udcff\udce4.txt", tarfile.REGTYPE, b"no UTF-8")
        add("opt/ümläut", tarfile.REGTYPE, b"UTF-8")
        add("opt/twice", tarfile.REGTYPE, b"first")
        add("opt/hard", tarfile.LNKTYPE, linkname="opt/twice")
        add("opt/gone", tarfile.SYMTYPE, linkname="/no/such/place")
        add("closed", tarfile.DIRTYPE, uid=1000, gid=1000, mode=0o700)
        add("closed/own", tarfile.REGTYPE, b"of another user", uid=1000, gid=1000, mode=0o400)
        add("-rf", tarfile.REGTYPE, b"a name like an option")
        add("opt/line\nbreak", tarfile.REGTYPE, b"two lines")
    top = archives.layer({"bin": None, "bin/.wh.ls": b"", "opt": None, "opt/.wh..wh..opq": b""})
    parts = [archives.layer({**archives.BASE, "etc/odd": b"odd"}), buffer.getvalue(), top]
    path = archives.pack(tmp_path / "odd.tar", archives.docker_parts(named("odd"), parts))
    images = Images(runner)
    (image,), warnings = await images.load(path)
    assert not warnings
    assert await Images(runner).why_damaged(named("odd"), image.id) == ""
    closed = store.folder(store.layers(named("odd"))[1])
    store.run('printf "of anothEr user" > "$1/diff/closed/own"', closed)
    runner._image_store._integrity._whole.clear()  # as after a start of the daemon
    assert "is damaged" in await Images(runner).why_damaged(named("odd"), image.id)
