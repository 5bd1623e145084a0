"""Links, code names and commands in the documentation lead to something that exists."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from claraedge.cli.main import app
from claraedge.pipelines.checks.load import load
from claraedge.pipelines.model import DefinitionFile

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

_FENCE = re.compile(r"^(?P<fence>```+)(?P<kind>\w*)\n(?P<text>.*?)^(?P=fence)\s*$", re.M | re.S)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
#: `[text](target)` and `![text](target)`; a target has no space here.
_LINK = re.compile(r"\]\(<?([^()\s>]+)>?(?: \"[^\"]*\")?\)")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")
#: What defines a name: in Python a class, function, variable or field; in a .proto file a message,
#: service, call, enum value or field.
_DEFINITION = re.compile(
    r"^ *(?:async def|def|class|message|service|enum|rpc) +(\w+)"
    r"|^ *(?:self\.)?(\w+) *[:=] "
    r"|^ *(?:repeated |optional )?[\w.]+ (\w+) = \d+;",
    re.M,
)


def prose(text: str) -> str:
    """The text of a page without fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> Iterator[str]:
    """Relative targets of a page's links; what stands in a code span is no link."""
    for target in _LINK.findall(re.sub(r"`[^`\n]*`", "`", prose(text))):
        if not _SCHEME.match(target):
            yield target


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    count: Counter[str] = Counter()
    for heading in _HEADING.findall(prose(text)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{anchor}-{count[anchor]}" if count[anchor] else anchor)
        count[anchor] += 1
    return found


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for target in links(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = page.parent / unquote(path) if path else page
        if not file.exists():
            found.append(f"{target}: there is no {os.path.relpath(file, ROOT)}")
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8")):
            found.append(f"{target}: {os.path.relpath(file, ROOT)} has no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert broken(page) == []


def test_links_that_lead_nowhere_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One\n## `two`: 2.5 of it\n## One\n```sh\n# Three\n```\n")
    page = tmp_path / "a.md"
    page.write_text("[1](b.md#one) [2](b.md#two-25-of-it) [3](b.md#one-1) [4](https://x.example/y)")
    assert broken(page) == []
    page.write_text("[1](c.md) [2](b.md#three) [3](b.md#one-2) `[4](d.md)`\n```\n[5](e.md)\n```\n")
    assert [text.partition(":")[0] for text in broken(page)] == ["c.md", "b.md#three", "b.md#one-2"]


def test_the_index_names_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    named = {target.partition("#")[0] for target in links(index)}
    assert [p.name for p in PAGES if p.parent == DOCS and p.name not in {*named, "index.md"}] == []


@cache
def defined(folder: str) -> frozenset[str]:
    """All names that files below a folder define."""
    return frozenset(
        name
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".proto"} and "wire" not in path.parts
        for names in _DEFINITION.findall(path.read_text(encoding="utf-8"))
        for name in names
        if name
    )


def terms() -> Iterator[tuple[str, list[str]]]:
    """Each term of the glossary, with the code names of its row."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    for line in text.partition("\n## Words that are not used\n")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "term" and set(cells[0]) != {"-"}:
            assert len(cells) == 4, line
            yield cells[0], re.findall(r"`([^`]+)`", cells[2])


def exists(name: str) -> bool:
    """Whether the code has a file, a setting (with a dot) or a definition of this name."""
    if "/" in name:
        return (ROOT / "claraedge" / name).is_file()
    if "." in name:
        return set(name.split(".")) <= defined("claraedge/config")
    return name in defined("claraedge") | defined("protos")


def test_code_names_of_the_glossary_exist() -> None:
    assert [name for _, names in terms() for name in names if not exists(name)] == []


def test_a_term_of_the_glossary_stands_there_once() -> None:
    count = Counter(term.casefold() for term, _ in terms())
    assert len(count) > 50
    assert [term for term, number in count.items() if number > 1] == []


def test_code_names_that_do_not_exist_are_noticed() -> None:
    assert exists("EngineContext")
    assert exists("inbox.settle_seconds")
    assert exists("MessageEvent")
    assert exists("job_id")
    assert exists("jobs/engine/downtime.py")
    assert not exists("NoSuchClass")
    assert not exists("inbox.settle_hours")
    assert not exists("jobs/engine/no_such_module.py")


def blocks(page: Path) -> Iterator[str]:
    """The shell blocks of a page."""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if found["kind"] == "sh":
            yield found["text"]


def commands(page: Path) -> Iterator[str]:
    """Lines of shell blocks that call the command line."""
    for block in blocks(page):
        for line in block.splitlines():
            if re.match(r"(?:sudo )?claraedge ", line):
                yield line


def mistake(line: str) -> str:
    """What the command line would not know of a call; empty: nothing."""
    _, *words = shlex.split(line.removeprefix("sudo "), comments=True)
    context = click.Context(app, info_name="claraedge")
    command: click.Command = app
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0]) if words else None
        if found is None:
            return f"no command: {line}"
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [w for w in words if w.startswith("-") and w.partition("=")[0] not in known]
    return f"no option {unknown[0]}: {line}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_shell_blocks_exist(page: Path) -> None:
    assert [found for line in commands(page) if (found := mistake(line))] == []


def test_commands_that_do_not_exist_are_noticed() -> None:
    assert mistake("claraedge list inbox --watch   # of the drop folder") == ""
    assert mistake("claraedge list boxes").startswith("no command")
    assert mistake("claraedge list inbox --wait").startswith("no option --wait")


def test_commands_of_the_index_exist() -> None:
    """A row names one command with its verb, and more with or without theirs."""
    _, _, section = (DOCS / "index.md").read_text(encoding="utf-8").partition("### Commands\n")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    for row in rows[2:]:
        verb = ""
        for call in re.findall(r"`([^`]+)`", row):
            words = call.removeprefix("claraedge ")
            verb = words.partition(" ")[0] if call.startswith("claraedge ") else verb
            calls = (f"claraedge {words}", f"claraedge {verb} {words}")
            assert "" in map(mistake, calls), call


def test_the_pipeline_of_the_tutorial_has_no_problem() -> None:
    texts = [
        text
        for block in blocks(DOCS / "tutorial.md")
        for text in re.findall(r"\.yaml <<'EOF'\n(.*?)^EOF$", block, re.M | re.S)
    ]
    assert len(texts) == 1
    for text in texts:
        loaded = load([DefinitionFile(path="lines.yaml", content=text)])
        assert loaded.problems == ()
        assert loaded.pipeline is not None
        changed = load([DefinitionFile(path="lines.yaml", content=text.replace("[a-z]", "."))])
        assert changed.problems == ()
