"""Files of models and delivered results over HTTP: the same as those of payloads."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.api.places import FolderPlace
from claraedge.config import OutboxSettings
from claraedge.errors import FileChangedError, FileNotFoundInPayloadError
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Client, Daemon, daemon_in

NOBODY = "0123456789abcdef0123456789abcdef"
WEIGHTS = os.urandom(300_000)


def model() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/config.pbtxt", 'name: "m"\n')
        archive.writestr("m/1/model.plan", WEIGHTS)
    return buffer.getvalue()


async def test_files_of_a_model(http: Client) -> None:
    sent = await http.ask("POST", "/v1/models?details.name=m", model())
    files = f"/v1/models/{sent.json['details']['modelId']}/files"
    listed = await http.ask("GET", f"{files}/?recursive")
    assert [one["name"] for one in listed.json] == ["1/model.plan", "config.pbtxt"]
    part = await http.ask("GET", f"{files}/1/model.plan", Range="bytes=1000-299999")
    assert (part.status, part.body) == (206, WEIGHTS[1000:])
    again = await http.ask("GET", f"{files}/1/model.plan", If_None_Match=part.headers["etag"])
    assert again.status == 304
    archive = await http.ask("GET", f"{files}/?zip")
    with zipfile.ZipFile(io.BytesIO(archive.body)) as found:
        assert found.read("1/model.plan") == WEIGHTS
    for path, status in (
        (f"{files}/x", 404),
        (f"{files}/x/", 404),
        (f"{files}/1/model.plan/", 404),
        (f"{files}/%2e%2e/x", 400),
        (f"/v1/models/{NOBODY}/files/x", 404),
        ("/v1/models/x/files/", 400),
    ):
        assert (await http.ask("GET", path)).status == status, path
    assert (await http.ask("PUT", f"{files}/x", b"1")).status == 405


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(folder, outbox=OutboxSettings(all_jobs=True)) as daemon:
        yield daemon


async def delivered(daemon: Daemon, http: Client) -> tuple[str, Path]:
    """Returns the path of the results of a job that is delivered, and their folder."""
    made = await daemon.create(await daemon.register(chain("copy")))
    await daemon.upload(made.payload_id.value, ("a.txt", b"content"), ("d/b", b"2"))
    results = f"/v1/jobs/{made.job_id.value}/results"
    early = await http.ask("GET", f"{results}/")
    assert (early.status, early.headers["claraedge-error"]) == (404, "results-not-found")
    await daemon.start(made.job_id.value)
    await daemon.end(made.job_id.value)

    async def there() -> bool:
        return (await http.ask("GET", f"{results}/")).status == 200

    await eventually(there, "it is delivered")
    (report,) = daemon.config.outbox_dir.rglob("result.json")
    return results, report.parent


async def test_delivered_results_of_a_job(daemon: Daemon, http: Client) -> None:
    results, folder = await delivered(daemon, http)
    listed = await http.ask("GET", f"{results}/?recursive")
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert [one["name"] for one in listed.json] == found
    (name,) = [name for name in found if name.endswith("a.txt")]
    got = await http.ask("GET", f"{results}/{name}")
    assert (got.status, got.body) == (200, b"content")
    assert got.headers["content-security-policy"].startswith("sandbox")
    archive = await http.ask("GET", f"{results}/?zip")
    with zipfile.ZipFile(io.BytesIO(archive.body)) as packed:
        assert packed.namelist() == found

    # Somebody who may write to the outbox reads nothing else by it.
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "root").symlink_to("/")
    for path in ("link", "root/etc/passwd"):
        assert (await http.ask("GET", f"{results}/{path}")).status == 404
    again = await http.ask("GET", f"{results}/?recursive")
    assert [one["name"] for one in again.json] == found

    (folder / name).write_bytes(b"changed")
    new = await http.ask("GET", f"{results}/{name}")
    assert new.headers["etag"] != got.headers["etag"]
    shutil.rmtree(folder)
    assert (await http.ask("GET", f"{results}/{name}")).status == 404
    nobody = await http.ask("GET", f"/v1/jobs/{NOBODY}/results/")
    assert (nobody.status, nobody.headers["claraedge-error"]) == (404, "job-not-found")


async def test_results_that_change_while_they_are_read_are_no_whole_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"A" * 1000)
    place = FolderPlace(tmp_path, asyncio.Semaphore(1))
    async with place.open("f") as (file, content):
        await place.check(file, content)
        with (tmp_path / "f").open("r+b") as other:
            other.write(b"B" * 10)
        with pytest.raises(FileChangedError):
            await place.check(file, content)


async def listed(place: FolderPlace, after: str = "") -> list[str]:
    return [one.name async for one in place.inside("", deep=True, after=after)]


async def test_a_folder_that_is_removed_hides_no_other_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for number in range(600):
        (root / "a" / f"{number:04}").touch()
    (root / "b" / "x").touch()
    (root / "c").touch()
    place, found = FolderPlace(root, asyncio.Semaphore(1)), []
    async for one in place.inside("", deep=True, after=""):
        found.append(one.name)
        if len(found) == 100:
            shutil.rmtree(root / "b")
    assert len([name for name in found if name.startswith("a/")]) == 600
    assert found[-1] == "c"
    assert await listed(place, "a/0598") == ["a/0599", "c"]
    shutil.rmtree(root)
    assert await listed(place) == []
    with pytest.raises(FileNotFoundInPayloadError):
        await listed(place, "a/0598")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_deep_folder_keeps_no_descriptors(tmp_path: Path) -> None:
    levels = 300
    deepest = tmp_path.joinpath(*["d"] * levels)
    deepest.mkdir(parents=True)
    (deepest / "f").touch()
    before = descriptors()
    async for one in FolderPlace(tmp_path, asyncio.Semaphore(1)).inside("", deep=True, after=""):
        assert one.name == "d/" * levels + "f"
        assert descriptors() <= before + 1


async def test_a_file_that_the_daemon_may_not_read_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "f").touch(0o000)
    (tmp_path / "d").mkdir(0o000)
    place = FolderPlace(tmp_path, asyncio.Semaphore(1))
    with pytest.raises(FileNotFoundInPayloadError, match="may not read"):
        async with place.open("f"):
            pass
    with pytest.raises(FileNotFoundInPayloadError, match="may not read"):
        await listed(place)
    (tmp_path / "d").chmod(0o700)
