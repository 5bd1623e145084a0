"""Makes texts that a page can show of the first bytes of a file. Pure."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

#: Bytes of a file that are read for a page.
READ = 128 * 1024
#: Bytes that a text may have on a page, with its characters encoded for HTML.
SHOWN = 110_000
#: Control characters that no text has, and so many of them among 1,000 characters make it binary.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_PER_MILLE = 20
#: A character that HTML cannot have.
_NOT_SHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ENCODED = {"&": 5, "<": 4, ">": 4, '"': 5, "'": 5}
#: Spaces before a line of JSON, at most: a list of lists of lists would fill the page with them.
_INDENT, _DEEPEST = 2, 20
_OPENS, _CLOSES = "{[", "}]"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The text at the beginning of a file."""

    text: str
    encoding: str
    whole: bool
    """Whether the file has no more."""


def excerpt_of(data: bytes, *, whole: bool) -> Excerpt | None:
    """Returns the text of the first bytes of a file; None if they are no text.

    `whole`: the file has no more bytes. A text that is not UTF-8 is read as Windows-1252.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            rest = data[len(mark) :]
            return Excerpt(_lenient(rest, encoding, whole), encoding, whole)
    try:
        text = codecs.getincrementaldecoder("utf-8")("strict").decode(data, whole)
        found = Excerpt(text, "utf-8", whole)
    except UnicodeDecodeError:
        found = Excerpt(data.decode("cp1252", "replace"), "windows-1252", whole)
    controls = len(_CONTROL.findall(found.text))
    if "\x00" in found.text or controls * 1000 > len(found.text) * _PER_MILLE:
        return None
    return found


def fitted(excerpt: Excerpt, most: int = SHOWN) -> Excerpt:
    """Returns what of a text fits on a page, with characters that HTML cannot have replaced.

    `most`: bytes on the page.
    """
    text = excerpt.text.replace("\r\n", "\n").replace("\r", "\n")
    text = _NOT_SHOWN.sub("\ufffd", text)
    end = _end(text, most)
    return Excerpt(text[:end], excerpt.encoding, excerpt.whole and end == len(text))


def width_of(text: str) -> int:
    """Returns the bytes of a text on a page, with its characters encoded for HTML."""
    size = len(text.encode("utf-8", "surrogatepass"))
    return size + sum((length - 1) * text.count(one) for one, length in _ENCODED.items())


def indented(text: str) -> str:
    """Returns a text of JSON with a line for each value, whether it is valid, or only a part.

    Nothing but white space between values changes, so that numbers and names stay as they are.
    """
    found: list[str] = []
    depth, in_string, escaped, after_open = 0, False, False, False

    def line() -> None:
        found.append("\n" + " " * (_INDENT * min(depth, _DEEPEST)))

    for character in text:
        if in_string:
            found.append(character)
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
            continue
        if character in " \t\r\n":
            continue
        if character in _CLOSES:
            depth = max(0, depth - 1)
            if not after_open:
                line()
        elif after_open:
            line()
        after_open = character in _OPENS
        found.append(character)
        if character in _OPENS:
            depth += 1
        elif character == ",":
            line()
        elif character == ":":
            found.append(" ")
        elif character == '"':
            in_string = True
    return "".join(found)


def _lenient(data: bytes, encoding: str, whole: bool) -> str:
    return codecs.getincrementaldecoder(encoding)("replace").decode(data, whole)


def _end(text: str, most: int) -> int:
    """Returns how many characters of a text fit: half of what is left is tried again and again."""
    if width_of(text) <= most:
        return len(text)
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(text[:middle]) <= most:
            low = middle
        else:
            high = middle - 1
    return low
