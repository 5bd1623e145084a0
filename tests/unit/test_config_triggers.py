"""`[[inbox.trigger]]`: what has no effect or no meaning is refused, by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.config import Config, load_config
from claraedge.errors import ConfigurationError


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "claraedge.toml"
    file.write_text(text)
    environment = {
        "CLARAEDGE_STATE_DIR": str(tmp_path / "state"),
        "CLARAEDGE_RUNTIME_DIR": str(tmp_path / "run"),
    }
    return load_config(file, environment, {})


def trigger(text: str, folder: str = "in") -> str:
    return f'[[inbox.trigger]]\nfolder = "{folder}"\npipeline = "p"\n{text}\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('grouping = "all"', "grouping"),
        ('grouping = "file"\nquiet_seconds = 3', "quiet_seconds: has no effect"),
        ("quiet_seconds = 3", 'has no effect with grouping = "entry"'),
        ('grouping = "quiet"\nquiet_seconds = 0', "quiet_seconds"),
        ('grouping = "marker"', "marker: is missing"),
        ('grouping = "quiet"\nmarker = "READY"', "marker: has no effect"),
        ('grouping = "marker"\nmarker = "*"', "at most one *"),
        ('grouping = "marker"\nmarker = "*.*"', "at most one *"),
        ('grouping = "marker"\nmarker = "a/READY"', "at most one *"),
        ('grouping = "marker"\nmarker = ".done"', "'.done' is a hidden or temporary name"),
        ('grouping = "marker"\nmarker = "*.part"', "'*.part' is a hidden or temporary name"),
        ('match = "("', "match: is no regular expression (missing ): ()"),
        ('match = "(?=a)b"', "no lookaround and no backreferences"),
        ('match = "(?P<a>.*)"', "match: its groups have no effect"),
        ('match = "(?P<name>.*)"\nmetadata = {a = "{name}"}', "the group 'name'"),
        ('match = "(?P<study>.*)"\nmetadata = {a = "{study}"}', "the group 'study'"),
        ('parameters = {a = "{b}"}', "parameters.a: {b} has no meaning; there are {name}"),
        ('metadata = {a = "{study}"}', "metadata.a: {study} has no meaning"),
        ('metadata = {a = "50 % {"}', "For a brace write it twice"),
        ('parameters = {"a b" = "x"}', "'a b' cannot be a parameter's name"),
        ('parameters = {"1a" = "x"}', "'1a' cannot be a parameter's name"),
        ('metadata = {Source = "x"}', "'Source' is set by the daemon"),
        ('metadata = {item = "x"}', "'item' is set by the daemon"),
        (f'metadata = {{"{"k" * 300}" = "x"}}', "is longer than"),
        ('duplicates = "ignore"', "duplicates"),
        ('priority = "urgent"', "priority"),
        ("settle_seconds = 0", "settle_seconds"),
        ("originals_keep_days = -1", "originals_keep_days"),
        ('typo = "x"', "typo"),
    ],
)
def test_a_mistake_is_refused_and_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, trigger(text))
    assert named in str(refused.value)
    assert "inbox.trigger[0]" in str(refused.value)


@pytest.mark.parametrize("second", ["in", "in/", "./in", "x/../in", "STATE/in"])
def test_a_folder_has_one_trigger(tmp_path: Path, second: str) -> None:
    state = tmp_path / "drop"
    text = f'[inbox]\npath = "{state}"\n' + trigger("") + trigger("", second)
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text.replace("STATE", str(state)))
    assert "is that of inbox.trigger[0] as well" in str(refused.value)


def test_the_same_folder_of_the_default_inbox_is_found_too(tmp_path: Path) -> None:
    text = trigger("") + trigger("", f"{tmp_path}/state/inbox/in")
    with pytest.raises(ConfigurationError, match=r"is that of inbox\.trigger\[0\] as well"):
        load(tmp_path, text)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = trigger('grouping = "marker"\nmatch = "("') + trigger("quiet_seconds = 3", "b")
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text)
    for part in ("[0].marker: is missing", "[0].match: is no", "[1].quiet_seconds: has no"):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        'grouping = "marker"\nmarker = "READY"',
        'grouping = "marker"\nmarker = "*.ready"\ninclude = ["*.dcm"]',
        'grouping = "dicom-series"\nmetadata = {S = "{study} {series} {{x}}"}',
        'match = "(?P<a>.*)"\nparameters = {a = "{a}"}\npriority = "immediate"',
        'match = "CT.*"',
        'duplicates = "link"\noriginals_keep_days = 0\nsettle_seconds = 0.5',
    ],
)
def test_what_has_a_meaning_is_taken(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, trigger(text)).inbox.trigger[0].folder == "in"


@pytest.mark.parametrize("folder", [".", "./", "ct/.."])
def test_the_inbox_itself_is_no_trigger(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigurationError, match="is the inbox itself"):
        load(tmp_path, trigger("", folder=folder))
