"""Where images come from: which names are tried, with whose credentials, how often."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from claraedge.config import CredentialSettings, ImagesSettings
from claraedge.errors import (
    ClaraedgeError,
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    RegistryNotAllowedError,
    StorageFullError,
)
from claraedge.images.images import Images
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import ContainerSpec, Login
from tests.rig.waiting import eventually

FIRST, SECOND = "first.example/team", "second.example"
LOGIN = Login(username="user", password="secret")


async def nothing(_: ContainerSpec) -> int:
    return 0


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, CredentialSettings]:
    """Right ones (ngc), wrong ones (old), and ones of another registry."""
    made = {}
    for name, text, host in (
        ("ngc", "secret", "first.example"),
        ("old", "stale", "first.example"),
        ("elsewhere", "secret", "third.example"),
    ):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
        made[name] = CredentialSettings(
            registry=host, username="user", password_file=tmp_path / name
        )
    return made


def pulling(runner: MemoryRunner, **more: object) -> Images:
    return Images(runner, ImagesSettings(registries=(FIRST, SECOND), pull="missing", **more))  # type: ignore[arg-type]


def asked(runner: MemoryRunner) -> list[tuple[str, str]]:
    return [(name, user) for name, user, _ in runner.pulls]


# --- what is here ------------------------------------------------------------------------------


async def test_a_bare_name_means_the_first_registrys_image_before_any_other(
    runner: MemoryRunner,
) -> None:
    images = Images(runner, ImagesSettings(registries=(FIRST, SECOND)))
    anywhere = runner.add_image("localhost/app:1", nothing)
    assert await images.find("app:1") == anywhere
    second = runner.add_image(f"{SECOND}/app:1", nothing)
    assert await images.find("app:1") == second
    first = runner.add_image(f"{FIRST}/app:1", nothing)
    assert await images.find("app:1") == first
    assert await images.find("localhost/app:1") == anywhere


async def test_a_full_name_means_only_itself(runner: MemoryRunner) -> None:
    images = Images(runner, ImagesSettings(registries=(FIRST,)))
    runner.add_image(f"{FIRST}/other.example/app:1", nothing)
    runner.add_image(f"{FIRST}/app:1", nothing)
    with pytest.raises(ImageNotFoundError):
        await images.find("other.example/app:1")


async def test_a_digest_pins_an_image_whatever_its_tag(runner: MemoryRunner) -> None:
    image = runner.add_image(f"{FIRST}/app:1", nothing)
    digest = image.digests[0].partition("@")[2]
    images = Images(runner, ImagesSettings(registries=(FIRST,)))
    for reference in (f"app@{digest}", f"app:9@{digest}", f"{FIRST}/app@{digest}"):
        assert await images.find(reference) == image
    with pytest.raises(ImageNotFoundError):
        await images.find("app@sha256:" + "1" * 64)


async def test_nothing_is_pulled_by_default(runner: MemoryRunner) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing)
    images = Images(runner, ImagesSettings(registries=(FIRST,)))
    with pytest.raises(ImageNotFoundError, match="app:1 is not on this device; load it with"):
        await images.ensure("app:1", ())
    assert runner.pulls == []


async def test_what_is_here_is_not_pulled(runner: MemoryRunner) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing)
    loaded = runner.add_image("localhost/app:1", nothing)
    assert await pulling(runner).ensure("app:1", ()) == loaded
    assert runner.pulls == []


async def test_an_image_is_renewed_though_it_is_here(runner: MemoryRunner) -> None:
    old = runner.add_image(f"{FIRST}/app:1", nothing)
    runner.add_remote_image(f"{FIRST}/app:1", nothing)
    images = pulling(runner)
    new = await images.renew("app:1", ())
    assert new.id != old.id
    assert await images.find("app:1") == new
    with pytest.raises(ImagePullError, match="an id has no registry"):
        await images.renew(new.id, ())
    with pytest.raises(RegistryNotAllowedError, match="this device pulls no images"):
        await Images(runner).renew("app:1", ())
    assert len(runner.pulls) == 1


# --- from where --------------------------------------------------------------------------------


async def test_the_registries_are_asked_in_order_and_once(runner: MemoryRunner) -> None:
    runner.add_remote_image(f"{SECOND}/app:latest", nothing)
    images = pulling(runner, insecure_registries=("second.example",))
    image = await images.ensure("app", ())
    assert image.names == (f"{SECOND}/app:latest",)
    assert runner.pulls == [
        (f"{FIRST}/app:latest", "", False),
        (f"{SECOND}/app:latest", "", True),
    ]
    assert await images.ensure("app", ()) == image
    assert len(runner.pulls) == 2


async def test_a_registry_that_wants_credentials_nobody_named_is_passed_over(
    runner: MemoryRunner,
) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing, LOGIN)
    runner.add_remote_image(f"{SECOND}/app:1", nothing)
    assert (await pulling(runner).ensure("app:1", ())).names == (f"{SECOND}/app:1",)


async def test_a_registry_that_is_down_does_not_make_room_for_another_image(
    runner: MemoryRunner,
) -> None:
    runner.fail_pull(f"{FIRST}/app:1", ImagePullError("connection refused"))
    runner.add_remote_image(f"{SECOND}/app:1", nothing)
    with pytest.raises(
        ImagePullError, match=f"{FIRST}/app:1 could not be pulled: connection refused; check"
    ):
        await pulling(runner).ensure("app:1", ())
    assert asked(runner) == [(f"{FIRST}/app:1", "")]


async def test_an_image_that_no_registry_has_is_reported_with_each_answer(
    runner: MemoryRunner,
) -> None:
    with pytest.raises(ImageNotFoundError) as caught:
        await pulling(runner).ensure("app:1", ())
    text = str(caught.value)
    assert f"{FIRST}/app:1: manifest unknown; {SECOND}/app:1: manifest unknown" in text
    assert "claraedge create image" in text


async def test_a_bare_name_without_registries_says_what_to_configure(runner: MemoryRunner) -> None:
    images = Images(runner, ImagesSettings(pull="missing"))
    with pytest.raises(ImageNotFoundError, match=r"set \[images\] registries"):
        await images.ensure("clara/app:1", ())
    assert runner.pulls == []


@pytest.mark.parametrize("reference", ["f" * 64, "sha256:" + "f" * 64, "f" * 12, ""])
async def test_no_registry_is_asked_for_an_id(runner: MemoryRunner, reference: str) -> None:
    with pytest.raises(ImageNotFoundError, match="not on this device"):
        await pulling(runner).ensure(reference, ())
    assert runner.pulls == []


# --- with whose credentials --------------------------------------------------------------------


async def test_the_pipelines_secret_for_the_registry_is_used(
    runner: MemoryRunner,
    credentials: dict[str, CredentialSettings],
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing, LOGIN)
    images = pulling(runner, credentials=credentials)
    with caplog.at_level(logging.INFO):
        await images.ensure("app:1", ("elsewhere", "NGC"))
    assert asked(runner) == [(f"{FIRST}/app:1", "user")]
    (record,) = [r for r in caplog.records if r.message == "image pulled"]
    assert record.__dict__["names"] == [f"{FIRST}/app:1"]
    assert record.__dict__["seconds"] >= 0
    assert "secret" not in {str(value) for value in record.__dict__.values()}


async def test_a_configured_credential_that_no_pipeline_names_is_not_used(
    runner: MemoryRunner, credentials: dict[str, CredentialSettings]
) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing, LOGIN)
    with pytest.raises(ImageDeniedError, match="the pipeline names no pull secret; add"):
        await pulling(runner, credentials=credentials).ensure(f"{FIRST}/app:1", ())
    assert asked(runner) == [(f"{FIRST}/app:1", "")]


async def test_each_named_secret_is_tried_until_one_is_taken(
    runner: MemoryRunner, credentials: dict[str, CredentialSettings]
) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing, LOGIN)
    images = pulling(runner, credentials=credentials)
    await images.ensure("app:1", ("old", "ngc"))
    assert len(runner.pulls) == 2


async def test_refused_credentials_end_the_search_and_are_named(
    runner: MemoryRunner, credentials: dict[str, CredentialSettings]
) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing, LOGIN)
    runner.add_remote_image(f"{SECOND}/app:1", nothing)
    with pytest.raises(
        ImageDeniedError, match=r"first\.example refuses the credentials of the pull secret old"
    ):
        await pulling(runner, credentials=credentials).ensure("app:1", ("old",))
    assert len(runner.pulls) == 1


async def test_a_secret_that_is_not_configured_is_named(runner: MemoryRunner) -> None:
    runner.add_remote_image("first.example/app:1", nothing, LOGIN)
    with pytest.raises(ImageDeniedError) as caught:
        await pulling(runner).ensure("first.example/app:1", ("ngc-clara",))
    assert '[images.credentials.ngc-clara] with registry = "first.example"' in str(caught.value)


# --- space and time ----------------------------------------------------------------------------


async def test_nothing_is_pulled_while_a_disk_is_low(runner: MemoryRunner) -> None:
    runner.add_remote_image(f"{FIRST}/app:1", nothing)
    low = ["disk: the disk of Podman's images has 3 MiB of 20 MiB free"]
    settings = ImagesSettings(registries=(FIRST,), pull="missing")
    images = Images(runner, settings, blocked_by=lambda: low[-1] if low else None)
    with pytest.raises(StorageFullError, match=r"has 3 MiB.*free some space there"):
        await images.ensure("app:1", ())
    assert runner.pulls == []
    low.clear()
    await images.ensure("app:1", ())
    assert len(runner.pulls) == 1


async def test_a_pull_ends_at_its_time_limit(runner: MemoryRunner) -> None:
    runner.block_pull(f"{FIRST}/app:1")
    with pytest.raises(ImagePullError, match=r"did not come within 0\.01 s"):
        await pulling(runner, pull_seconds=0.01).ensure("app:1", ())
    assert runner.pulling == set()


# --- once for all ------------------------------------------------------------------------------


async def test_callers_for_one_image_share_a_pull(runner: MemoryRunner) -> None:
    name = f"{FIRST}/app:1"
    runner.add_remote_image(name, nothing)
    runner.block_pull(name)
    images = pulling(runner)
    callers = [asyncio.create_task(images.ensure("app:1", ())) for _ in range(5)]
    await eventually(lambda: name in runner.pulling, "it is pulled")
    runner.release_pull(name)
    assert len({image.id for image in await asyncio.gather(*callers)}) == 1
    assert len(runner.pulls) == 1


async def test_a_pull_goes_on_until_the_last_caller_leaves(runner: MemoryRunner) -> None:
    name = f"{FIRST}/app:1"
    runner.block_pull(name)
    images = pulling(runner)
    first, last = (asyncio.create_task(images.ensure("app:1", ())) for _ in range(2))
    await eventually(lambda: name in runner.pulling, "it is pulled")
    first.cancel()
    await asyncio.wait([first])
    assert name in runner.pulling
    last.cancel()
    await asyncio.wait([last])
    assert (first.cancelled(), last.cancelled()) == (True, True)
    assert runner.pulling == set(), "the pull ended before its last caller did"


async def test_who_comes_after_the_last_caller_left_gets_a_pull_of_its_own(
    runner: MemoryRunner,
) -> None:
    name = f"{FIRST}/app:1"
    runner.add_remote_image(name, nothing)
    runner.block_pull(name)
    images = pulling(runner)
    gone = asyncio.create_task(images.ensure("app:1", ()))
    await eventually(lambda: name in runner.pulling, "it is pulled")
    gone.cancel()
    next_ = asyncio.create_task(images.ensure("app:1", ()))
    await asyncio.wait([gone])
    await eventually(lambda: len(runner.pulls) == 2, "it is pulled again")
    runner.release_pull(name)
    assert (await next_).names == (name,)


async def test_a_refusal_is_not_shared_with_who_brings_other_secrets(
    runner: MemoryRunner, credentials: dict[str, CredentialSettings]
) -> None:
    name = f"{FIRST}/app:1"
    runner.add_remote_image(name, nothing, LOGIN)
    runner.block_pull(name)
    images = pulling(runner, credentials=credentials)
    without = asyncio.create_task(images.ensure(name, ()))
    await eventually(lambda: name in runner.pulling, "it is pulled")
    with_ = asyncio.create_task(images.ensure(name, ("ngc",)))
    runner.release_pull(name)
    results = await asyncio.gather(without, with_, return_exceptions=True)
    assert isinstance(results[0], ImageDeniedError)
    assert not isinstance(results[1], BaseException), results[1]
    assert asked(runner) == [(name, ""), (name, "user")]


async def test_every_caller_of_a_shared_pull_gets_its_error(runner: MemoryRunner) -> None:
    runner.fail_pull(f"{FIRST}/app:1", ImagePullError("gone"))
    images = pulling(runner)
    results = await asyncio.gather(
        *(images.ensure("app:1", ()) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, ClaraedgeError) for result in results)
    assert len(runner.pulls) == 1
