"""Where pulls may go: what is listed, and public addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge.config import ImagesSettings, load_config
from claraedge.errors import ConfigurationError, RegistryNotAllowedError
from claraedge.images import allowed
from claraedge.images.images import Images
from claraedge.runner.memory import MemoryRunner
from tests.unit.images.test_pulling import nothing

PUBLIC = "93.184.216.34"
HOSTS = {
    "public.example": [PUBLIC],
    "inside.example": ["10.0.0.1"],
    "both.example": [PUBLIC, "fd00::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
}


def resolve(host: str) -> Sequence[str]:
    return HOSTS.get(host) or [*allowed.addresses(host)]


def why(name: str, **settings: object) -> str:
    """Why it is refused; empty where it is not."""
    chosen = ImagesSettings(pull="missing", **settings)  # type: ignore[arg-type]
    try:
        allowed.refuse(name, chosen, resolve)
    except RegistryNotAllowedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "name",
    [
        "inside.example/a:1",
        "both.example:5000/a:1",
        "mapped.example/a:1",
        "127.0.0.1:5000/a:1",
        "localhost/a:1",
        "localhost:5000/a:1",
        "127.1/a:1",
        "0x7f.1/a:1",
        "169.254.169.254/latest:1",
        "100.64.0.1/a:1",
        "0.0.0.0:80/a:1",
        "[::1]:5000/a:1",
    ],
)
def test_private_addresses_are_refused_unless_listed(name: str) -> None:
    """`pull = "missing"` asked any host that a definition named."""
    host = name.partition("/")[0]
    assert f'set [images] allow = ["*", "{host}"]' in why(name)
    assert why(name, allow=("*",))
    assert why(name, allow=("*", host)) == ""
    assert why(name, registries=(host,)) == ""
    assert why(name, insecure_registries=(host,)) == ""


def test_public_ones_and_unknown_ones_are_asked() -> None:
    assert why("public.example/a:1") == ""
    assert why("public.example/a:1", allow=("*",)) == ""
    assert why("unknown.invalid/a:1") == ""  # the pull says what is wrong with it


@pytest.mark.parametrize(
    ("entry", "covered", "not_covered"),
    [
        ("public.example", ["public.example/a:1", "public.example/b/c@sha256:1"],
         ["public.example:5000/a:1", "a.public.example/a:1"]),
        ("public.example/a", ["public.example/a:1", "public.example/a/b:1"],
         ["public.example/ab:1", "public.example/b:1"]),
        ("public.example/a/b", ["public.example/a/b@sha256:1"], ["public.example/a:1"]),
        ("*.example", ["public.example/a:1", "x.y.example/a:1"], ["example/a:1", "badexample/a:1"]),
        ("*.example/a", ["public.example/a/b:1"], ["public.example/b:1"]),
        ("public.example:5000", ["public.example:5000/a:1"], ["public.example/a:1"]),
    ],
)  # fmt: skip
def test_what_an_entry_lists(entry: str, covered: list[str], not_covered: list[str]) -> None:
    assert not [name for name in covered if why(name, allow=(entry,))]
    for name in not_covered:
        assert "[images] allow does not list it" in why(name, allow=(entry,))
    assert why("inside.example/a:1", allow=(entry,), registries=("inside.example",)) == ""


def test_a_proxy_that_resolves_names_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert list(allowed.addresses("inside.example")) == []
    assert list(allowed.addresses("10.0.0.1")) == ["10.0.0.1"]
    assert "127.0.0.1" in allowed.addresses("localhost")


async def test_nobody_is_asked_for_what_is_not_allowed() -> None:
    runner = MemoryRunner()
    runner.add_remote_image("10.0.0.1:8443/x:1", nothing)
    with pytest.raises(RegistryNotAllowedError, match=r"10\.0\.0\.1"):
        await Images(runner, ImagesSettings(pull="missing")).ensure("10.0.0.1:8443/x:1", ())
    assert runner.pulls == []
    listed = ImagesSettings(pull="missing", allow=("10.0.0.1:8443",))
    assert await Images(runner, listed).ensure("10.0.0.1:8443/x:1", ())


@pytest.mark.parametrize("entry", ["a b", "*.*.example", "Example.com", "https://a.example", ""])
def test_an_entry_that_lists_nothing_is_a_mistake(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'[images]\npull = "missing"\nallow = ["{entry}"]\n')
    with pytest.raises(ConfigurationError, match=r"images\.allow"):
        load_config(path, {"HOME": str(tmp_path)}, {})
