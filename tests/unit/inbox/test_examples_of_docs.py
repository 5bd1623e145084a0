"""The triggers, expressions and the pipeline on docs/inbox.md do what that page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claraedge.config import Config, load_config
from claraedge.config.inbox import DEEP, TriggerSettings
from claraedge.inbox.triggers.grouping import Unit, group
from claraedge.inbox.triggers.naming import NameDoesNotFitError, named
from claraedge.pipelines.model import DefinitionFile
from claraedge.registry.pipelines import resolve

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "inbox.md").read_text(encoding="utf-8")
#: Grouping, marker, what was dropped, the path, an expression, what it gives.
_ROW = r"^\| `([\w-]+)`(?: \(`(.+)`\))? \| (.+) \| `(.+)` \| `(.+)` \| (.+) \|$"
ROWS = re.findall(_ROW, PAGE, re.M)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "claraedge.toml"
    file.write_text(text)
    return load_config(file, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {})


def item_path(trigger: TriggerSettings, dropped: list[str], study: str) -> bytes:
    """The path of the one item that the dropped files become."""
    units = []
    for path in dropped:
        name = path if trigger.grouping in DEEP else path.partition("/")[0]
        units.append(Unit(name=name.encode(), changed=0, ready=True, key=study))
    (found,) = group(trigger, units, now=1000.0).groups
    return found.label


def test_each_configuration_loads(tmp_path: Path) -> None:
    found = [load(tmp_path, text) for text in blocks("toml")]
    assert len(found) >= 4


@pytest.mark.parametrize(("grouping", "marker", "dropped", "path", "match", "gives"), ROWS)
def test_an_expression_is_compared_with_the_path_in_the_table(
    grouping: str, marker: str, dropped: str, path: str, match: str, gives: str
) -> None:
    rule = TriggerSettings(
        folder="in",
        pipeline="p",
        grouping=grouping,  # type: ignore[arg-type]
        marker=marker or None,
        match=match,
        parameters={"SITE": "{site}", "path": "{path}"},
    )
    files, _, study = dropped.partition(" of the study ")
    at = item_path(rule, re.findall(r"`([^`]+)`", files), study.strip("`"))
    assert at.decode() == path
    if not gives.startswith("`"):
        with pytest.raises(NameDoesNotFitError):
            named(rule, at, {})
        return
    wanted = {"SITE": gives.strip("`"), "path": path}
    assert named(rule, at, {}).parameters == wanted


def test_the_table_has_each_grouping_that_differs() -> None:
    assert {row[0] for row in ROWS} == {"file", "entry", "folder", "marker", "quiet", "dicom-study"}


def test_placeholders_are_what_the_table_says() -> None:
    rows = dict(re.findall(r"^\| `\{([a-z]+)\}` \| .+ \| `(.+)` \|$", PAGE, re.M))
    texts = {name: "{" + name + "}" for name in rows}
    rule = TriggerSettings(folder="ct", pipeline="p", grouping="file", parameters=texts)
    assert named(rule, rows["path"].encode(), {}).parameters == rows
    assert rows.keys() == {"path", "folder", "name", "stem", "suffix"}


def test_the_example_gives_the_site_to_its_pipeline(tmp_path: Path) -> None:
    (definition,) = blocks("yaml")
    by_name, by_folder = [
        load(tmp_path, text).inbox.trigger for text in blocks("toml") if '"sites"' in text
    ]
    items = [
        (by_name[0], b"berlin_17"),
        *((trigger, b"1.2.3") for trigger in by_folder),
    ]
    for (trigger, path), site in zip(items, ("berlin", "berlin", "hamburg"), strict=True):
        files = [DefinitionFile(path="sites.yaml", content=definition)]
        pipeline = resolve(files, named(trigger, path, {}).parameters, "0" * 32)
        assert pipeline.name == trigger.pipeline
        assert pipeline.operators[0].variables == {"SITE": site}
