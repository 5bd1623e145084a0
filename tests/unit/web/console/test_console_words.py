"""The words of the console: the same in each language, and all of them used."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from claraedge.web.console import words as module
from claraedge.web.console.rendering import commands
from claraedge.web.console.words import LANGUAGES, chosen, texts_of, words

CONSOLE = Path(module.__file__).parent
SOURCES = [*CONSOLE.rglob("*.html"), *CONSOLE.rglob("*.py"), *CONSOLE.rglob("*.js")]


def fields(text: object) -> set[str]:
    texts = text.values() if isinstance(text, dict) else [str(text)]
    return {name for one in texts for _, name, _, _ in string.Formatter().parse(one) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_the_same_texts_with_the_same_fields(language: str) -> None:
    first, other = texts_of("en"), texts_of(language)
    assert set(first) == set(other)
    assert {key: fields(text) for key, text in first.items()} == {
        key: fields(text) for key, text in other.items()
    }
    assert {key for key, text in first.items() if isinstance(text, str)} == {
        key for key, text in other.items() if isinstance(text, str)
    }


def test_texts_differ_between_languages() -> None:
    first, other = texts_of("en"), texts_of("de")
    same = [key for key in first if first[key] == other[key]]
    assert len(same) < len(first) / 4, same


def test_each_text_is_used_and_each_used_text_is_there() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in SOURCES)
    used = set(re.findall(r"""\bt\(\s*["']([\w.]+)["']\s*[,)]""", source))
    assert used <= set(texts_of("en"))
    # Keys that are made from a state: `t("operator." ~ text)`, `f"operator.{text}"`.
    made = set(re.findall(r"""["']([a-z_]+(?:\.[a-z_]+)*\.)(?:["'] ~|\{)""", source))
    unused = [
        key
        for key in texts_of("en")
        if key not in used and not any(key.startswith(prefix) for prefix in made)
    ]
    assert unused == []


def test_texts_of_the_daemon_are_marked_as_english() -> None:
    """Else a reader of the screen says them as if they were German."""
    fields = r"\.(?:reason|remedy|message|waits_for|why|problem|gpu_problem|fix)\b"
    texts = rf"(?<!<code>)\{{\{{ (?!command\()[^}}]*{fields}[^}}]*\}}\}}"
    source = "\n".join(file.read_text(encoding="utf-8") for file in CONSOLE.rglob("*.html"))
    source = re.sub(r"""\bt\(["'][^"']*["']\)""", "", source)
    shown = re.findall(texts, source)
    assert len(shown) > 10
    assert [text for text in shown if "english(" not in text] == []


def test_a_text_has_its_fields_and_its_number() -> None:
    t = words("en")
    assert t("overview.verdict.warnings", count=1).startswith("One thing")
    assert t("overview.verdict.warnings", count=2).startswith("2 things")
    assert "overview.title" in t
    assert "overview" not in t
    with pytest.raises(KeyError):
        t("overview.missing")
    with pytest.raises(KeyError):
        t("failure.details")


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        (None, None, "en"),
        ("de", "en", "de"),
        ("xx", "de", "de"),
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "fr, de;q=0.3, en;q=0.2", "de"),
        (None, "de;q=0, en;q=0.1", "en"),
        (None, "de;q=x", "en"),
        (None, ",;,=", "en"),
        (None, "*", "en"),
    ],
)
def test_the_language_is_that_of_the_viewer(
    cookie: str | None, accepted: str | None, language: str
) -> None:
    assert chosen(cookie, accepted) == language


def test_commands_in_texts_of_the_daemon_are_shown_as_code() -> None:
    shown = commands("no <b> (`claraedge list pipelines` shows all); `a` & `<i>`")
    assert shown == (
        "no &lt;b&gt; (<code>claraedge list pipelines</code> shows all);"
        " <code>a</code> &amp; <code>&lt;i&gt;</code>"
    )
    assert commands("a ` of its own, <b>") == "a ` of its own, &lt;b&gt;"
