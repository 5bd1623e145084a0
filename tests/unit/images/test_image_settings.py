"""`[images]` in the configuration: what is read, and which mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.config import CredentialSettings, ImagesSettings, load_config
from claraedge.errors import ConfigurationError

WHOLE = """
[images]
registries = ["nvcr.io/nvidia", "127.0.0.1:5000", "localhost", "box:5000/a/b-c"]
pull = "missing"
pull_seconds = 60
insecure_registries = ["127.0.0.1:5000"]
[images.credentials.ngc-clara]
registry = "nvcr.io"
username = "$oauthtoken"
password_file = "/etc/claraedge/ngc"
"""
ACCOUNT = '[images.credentials.a]\nregistry = "a.example"\nusername = "u"\npassword_file = "/p"\n'


def load(tmp_path: Path, text: str) -> ImagesSettings:
    (tmp_path / "c.toml").write_text(text)
    return load_config(tmp_path / "c.toml", {"HOME": str(tmp_path)}, {}).images


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    return [text.partition(".toml: ")[2] for text in caught.value.messages]


def test_all_settings_are_read(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE) == ImagesSettings(
        registries=("nvcr.io/nvidia", "127.0.0.1:5000", "localhost", "box:5000/a/b-c"),
        pull="missing",
        pull_seconds=60,
        insecure_registries=("127.0.0.1:5000",),
        credentials={
            "ngc-clara": CredentialSettings(
                registry="nvcr.io",
                username="$oauthtoken",
                password_file=Path("/etc/claraedge/ngc"),
            )
        },
    )


def test_nothing_is_pulled_by_default_and_names_may_have_registries_all_the_same(
    tmp_path: Path,
) -> None:
    assert load(tmp_path, "").pull == "never"
    assert load(tmp_path, '[images]\nregistries = ["nvcr.io"]').registries == ("nvcr.io",)


@pytest.mark.parametrize(
    "prefix",
    ["nvidia", "nvidia/clara", "https://nvcr.io", "nvcr.io/", "nvcr.io/app:1", "NVCR.io", "a b.io",
     "nvcr.io//a", "-x", "nvcr.io:port", "nvcr.io@sha256"],
)  # fmt: skip
def test_what_is_no_registry_is_a_mistake(tmp_path: Path, prefix: str) -> None:
    (text,) = mistakes(tmp_path, f'[images]\nregistries = ["{prefix}"]')
    assert text.startswith(f"images.registries: {prefix!r} is no registry; write HOST")


def test_a_registry_is_named_once(tmp_path: Path) -> None:
    (text,) = mistakes(tmp_path, '[images]\nregistries = ["a.example", "a.example"]')
    assert text.startswith("images.registries: names a registry twice")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[images]\npull_seconds = 5", "pull_seconds"),
        ('[images]\ninsecure_registries = ["a.example"]', "insecure_registries"),
        (ACCOUNT, "credentials"),
    ],
)
def test_a_setting_of_pulls_without_pulls_is_a_mistake(tmp_path: Path, text: str, key: str) -> None:
    (said,) = mistakes(tmp_path, text)
    assert said.startswith(f"images.{key}: has no effect")
    assert 'set images.pull = "missing"' in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'registry = "a.example"',
            'registry = "a.example/team"',
            "a.registry: 'a.example/team' is",
        ),
        ('registry = "a.example"', 'registry = "docker"', "a.registry: 'docker' is no registry's"),
        ('registry = "a.example"', "", "a.registry: is missing"),
        ('password_file = "/p"', 'password_file = "p"', "a.password_file: p must be an absolute"),
        ('username = "u"', 'username = "u:v"', "a.username: holds a colon"),
        ('username = "u"', 'user = "u"', "a.user: no such setting; did you mean 'username'?"),
    ],
)
def test_a_credential_that_cannot_be_used_is_a_mistake(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    found = mistakes(tmp_path, '[images]\npull = "missing"\n' + ACCOUNT.replace(old, new))
    assert any(text.startswith(f"images.credentials.{said}") for text in found), found


def test_secrets_that_differ_by_case_alone_are_a_mistake(tmp_path: Path) -> None:
    text = '[images]\npull = "missing"\n' + ACCOUNT + ACCOUNT.replace("s.a]", "s.A]")
    assert mistakes(tmp_path, text) == [
        "images.credentials: two names differ only in upper and lower case; rename one"
    ]


def test_a_wrong_kind_of_value_is_a_mistake(tmp_path: Path) -> None:
    for text in (
        '[images]\npull = "always"',
        '[images]\nregistries = "nvcr.io"',
        "[images]\npull_seconds = 0",
        "[images]\ncredentials = 3",
        "[images.credentials]\nngc = 3",
    ):
        (said,) = mistakes(tmp_path, text)
        assert said.startswith("images.")
