"""Where the value of each setting comes from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from claraedge.config import Config, load_config
from claraedge.config.origins import (
    OriginKind,
    Origins,
    SettingOrigin,
    SettingValue,
    lines_of,
    origins,
    settings,
)

HOME = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"}


def shown(
    tmp_path: Path, text: str = "", flags: dict[str, str] | None = None, **variables: str
) -> dict[str, SettingValue]:
    file = tmp_path / "c.toml"
    file.write_text(text)
    environment, flags = HOME | variables, flags or {}
    config = load_config(file, environment, flags)
    found = settings(config, origins(file, environment, flags))
    return {f"{each.section}.{each.name}".removeprefix("."): each for each in found}


def test_every_setting_is_there_once_with_what_it_does(tmp_path: Path) -> None:
    text = """
[[inbox.trigger]]
folder = "ct"
pipeline = "p"
[images]
pull = "missing"
[images.credentials."a.b"]
registry = "nvcr.io"
username = "u"
password_file = "/p"
"""
    found = shown(tmp_path, text)
    for section in msgspec.structs.fields(Config):
        if hasattr(section.type, "__struct_fields__"):
            for name in section.type.__struct_fields__:
                if name not in ("trigger", "credentials"):
                    assert f"{section.name}.{name}" in found
        else:
            assert section.name in found
    assert found["inbox.trigger[0].folder"].value == '"ct"'
    assert found["images.credentials.a.b.password_file"].value == '"/p"'
    assert all(each.meaning for each in found.values())
    assert found["log.level"].meaning == "Least severe level that is logged."


def test_values_are_toml_and_folders_are_those_that_apply(tmp_path: Path) -> None:
    text = '[http]\nlisten = ["127.0.0.1:1"]\n[deployments]\nlabels = {a = "ä\\""}\n'
    found = shown(tmp_path, text)
    assert found["http.listen"].value == '["127.0.0.1:1"]'
    assert found["http.enabled"].value == "true"
    assert found["engine.grace_seconds"].value == "15.0"
    assert found["deployments.labels"].value == '{"a" = "ä\\""}'
    assert found["inbox.path"].value.endswith('/claraedge/inbox"')
    assert found["inbox.path"].is_default
    assert found["tls.key"].value == ""


def test_the_origin_is_the_option_the_variable_the_line_of_the_file_or_nothing(
    tmp_path: Path,
) -> None:
    text = '[log]\nlevel = "debug"\nformat = "text"\n[disk]\nhard_mb = 1024\nsoft_mb = 9000\n'
    found = shown(
        tmp_path, text, {"log.format": "json"}, CLARAEDGE_LOG_LEVEL="error",
        CLARAEDGE_STATE_DIR="/s",
    )  # fmt: skip
    file = str(tmp_path / "c.toml")
    assert found["log.level"].origin == SettingOrigin(
        kind=OriginKind.VARIABLE, place="CLARAEDGE_LOG_LEVEL"
    )
    assert found["log.format"].origin == SettingOrigin(kind=OriginKind.OPTION)
    assert found["disk.soft_mb"].origin == SettingOrigin(kind=OriginKind.FILE, place=file, line=6)
    assert not found["disk.soft_mb"].is_default
    assert found["disk.hard_mb"].origin.line == 5
    assert found["disk.hard_mb"].is_default  # the file has the same value
    assert found["runtime_dir"].origin == SettingOrigin()
    assert found["runtime_dir"].is_default
    assert not found["state_dir"].is_default


def test_a_value_that_may_be_secret_is_never_shown(tmp_path: Path) -> None:
    text = '[deployments.variables]\nTOKEN = "hunter2"\n'
    found = shown(tmp_path, text)
    assert found["deployments.variables"].secret
    assert found["deployments.variables"].origin.line == 1
    assert "hunter2" not in str(found.values())
    assert not shown(tmp_path)["deployments.variables"].secret


def test_a_path_that_is_not_utf8_can_be_shown(tmp_path: Path) -> None:
    found = shown(tmp_path, "", {"deployments.volumes": "/v\udcff"})
    assert found["deployments.volumes"].value.encode()


def test_without_origins_everything_is_a_default() -> None:
    config = load_config(None, HOME, {})
    assert {each.origin for each in settings(config, Origins())} == {SettingOrigin()}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a = 1\n\n# b = 2\nc = 3 # x\n", {"a": 1, "c": 4}),
        ('a = """\nb = 1\n[t]\n"""\nc = 1\n', {"a": 1, "c": 5}),
        ("a = [\n  1,  # ]\n  2,\n]\nb = 1", {"a": 1, "b": 5}),
        ("[t]\na = 1\r\n[t.u]\nb.c = 2\n", {"t": 1, "t.a": 2, "t.u": 3, "t.u.b.c": 4}),
        ("t = {a = 1, b = {c = 2}}\n", {"t.a": 1, "t.b.c": 1}),
        (
            "[[t.l]]\na = 1\n[t.l.p]\nx = 1\n[[t.l]]\na = 2\n[t.l.p]\nx = 2\n",
            {
                "t.l[0]": 1, "t.l[0].a": 2, "t.l[0].p": 3, "t.l[0].p.x": 4,
                "t.l[1]": 5, "t.l[1].a": 6, "t.l[1].p": 7, "t.l[1].p.x": 8,
            },
        ),
        ("l = [{a = 1}, {a = 2}]\n", {"l[0].a": 1, "l[1].a": 1}),
        ("a = 1\nb = [" + "\n1," * 150 + "]\nc = 1\n", {"a": 1}),
        ("", {}),
    ],
)  # fmt: skip
def test_the_lines_of_a_file(text: str, lines: dict[str, int]) -> None:
    assert lines_of(text) == lines


def test_triggers_of_an_option_come_from_it(tmp_path: Path) -> None:
    flags = {"inbox.trigger": '[{folder = "a", pipeline = "p"}]'}
    found = shown(tmp_path, "", flags)
    assert found["inbox.trigger[0].folder"].origin == SettingOrigin(kind=OriginKind.OPTION)
    assert not found["inbox.trigger[0].folder"].is_default
