"""Which directories of archives are a model: by names and numbers only."""

from __future__ import annotations

import stat

import pytest

from claraedge.errors import InvalidModelError
from claraedge.models.layout import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ENTRIES,
    ArchiveEntry,
    Layout,
    plan,
)


def entry(name: str, size: int = 10, packed: int = 10, **more: object) -> ArchiveEntry:
    return ArchiveEntry(name=name, size=size, packed=packed, **more)  # type: ignore[arg-type]


MODEL = (entry("m/config.pbtxt"), entry("m/1/model.onnx"))


def test_the_top_folder_names_the_model() -> None:
    assert plan(MODEL) == Layout(
        name="m", folders=("1",), files={"config.pbtxt": 0, "1/model.onnx": 1}
    )


def test_files_at_the_top_leave_the_name_open() -> None:
    found = plan([entry("config.pbtxt"), entry("1/deep/er/model.savedmodel")])
    assert found == Layout(
        name=None,
        folders=("1", "1/deep", "1/deep/er"),
        files={"config.pbtxt": 0, "1/deep/er/model.savedmodel": 1},
    )


def test_an_empty_version_is_one_as_an_ensemble_has_it() -> None:
    found = plan([entry("m/"), entry("m/config.pbtxt"), entry("m/1/", 0, 0)])
    assert found.folders == ("1",)


def test_dots_in_names_and_what_finder_adds_are_left_out() -> None:
    found = plan(
        [
            entry("./m/config.pbtxt"),
            entry("m/./1//model.onnx"),
            entry("m/.DS_Store"),
            entry("__MACOSX/m/._config.pbtxt"),
        ]
    )
    assert (found.name, dict(found.files)) == ("m", {"config.pbtxt": 0, "1/model.onnx": 1})


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (entry("/m/x"), "absolute"),
        (entry("C:/m/x"), "absolute"),
        (entry("m/../../x"), "'..'"),
        (entry(".."), "'..'"),
        (entry("m/a\nb"), "control character"),
        (entry("m/a\0b"), "control character"),
        (entry("m/L\u00e4", readable=False), "does not say their encoding"),
        (entry("m/config.pbtxt"), "twice"),
        (entry("m/./config.pbtxt"), "twice"),
        (entry("m/1"), "file and a folder"),
        (entry("m/config.pbtxt/x"), "file and a folder"),
        (entry("m/" + "d/" * MAX_DEPTH + "x"), "folders deep"),
        (entry("m/" + "n" * 256), "too long"),
        (entry("m/" + "\u00e4" * 128), "too long"),
        (entry("/".join(["m", *["n" * 200] * 6])), "too long"),
        (entry("m/x", mode=stat.S_IFLNK | 0o777), "link or a device"),
        (entry("m/x", mode=stat.S_IFCHR | 0o644), "link or a device"),
        (entry("m/x", mode=stat.S_IFIFO | 0o644), "link or a device"),
        (entry("m/x/", mode=stat.S_IFLNK | 0o777), "link or a device"),
        (entry("m/x", encrypted=True), "encrypted"),
        (entry("m/x", method=12), "bzip2"),
        (entry("other/x"), "outside it are 'other'"),
        (entry("loose"), "outside it are 'loose'"),
    ],
)
def test_a_wrong_entry_is_reported_and_the_whole_archive_refused(
    wrong: ArchiveEntry, text: str
) -> None:
    with pytest.raises(InvalidModelError, match=r"(?s)" + text.replace(".", r"\.")):
        plan([*MODEL, wrong])


def test_every_wrong_entry_is_reported() -> None:
    with pytest.raises(InvalidModelError) as raised:
        plan([*MODEL, entry("/a"), entry("m/../b"), entry("m/c", encrypted=True)])
    assert len(raised.value.messages) == 3


def test_a_thousand_wrong_entries_make_no_endless_text() -> None:
    with pytest.raises(InvalidModelError) as raised:
        plan([entry(f"/{n}") for n in range(1000)])
    assert len(raised.value.messages) == 20


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([], "the archive is empty"),
        ([entry("m/1/model.onnx")], "'m' holds no config.pbtxt"),
        ([entry("m/config.pbtxt")], "no version"),
        ([entry("m/config.pbtxt"), entry("m/01/x")], "no version"),
        ([entry("m/config.pbtxt"), entry("m/0/x")], "no version"),
        ([entry("m/config.pbtxt"), entry("m/1")], "no version"),
        ([entry("x/y"), entry("z")], "the top of the archive holds 'x', 'z'"),
        ([entry("m/.DS_Store"), entry("__MACOSX/m/._x")], "holds only '__MACOSX', 'm/.DS_Store'"),
        ([*MODEL, *[entry(f"m/1/{n}") for n in range(MAX_ENTRIES)]], "10002 entries"),
        ([*MODEL, entry("m/1/x", MAX_BYTES, MAX_BYTES)], "would unpack to"),
        ([*MODEL, entry("m/1/x", 2**30, 2**20)], "100 times"),
    ],
)
def test_an_archive_that_is_no_model_is_refused(entries: list[ArchiveEntry], text: str) -> None:
    with pytest.raises(InvalidModelError, match=text):
        plan(entries)


def test_a_small_file_of_zeros_is_no_bomb() -> None:
    assert plan([*MODEL, entry("m/1/x", 15 * 2**20, 15 * 2**10)]).name == "m"
