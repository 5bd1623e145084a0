"""Text that people write and read: UTF-8, independent of the locale. Pure."""

from __future__ import annotations

import codecs

#: Error handler for encoders: no text is refused; what UTF-8 cannot encode becomes an escape.
ESCAPES = "claraedge.escapes"
#: In a `str` from the file system, each byte that is not UTF-8 is one of these (PEP 383).
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF


class NotTextError(ValueError):
    """A file is saved in an encoding other than UTF-8."""

    def __init__(self, problem: str, remedy: str, line: int, column: int) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.line = line
        self.column = column


def decode(content: bytes) -> str:
    """Returns the text of a file, without the byte order mark that some editors write first.

    Raises NotTextError.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NotTextError(
            "the file is saved as UTF-16, which Windows calls Unicode",
            "save it as UTF-8 (Notepad: Save as, Encoding: UTF-8; PowerShell: -Encoding utf8)",
            1,
            1,
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise NotTextError(
            f"the file is not UTF-8 text (byte {error.start}, 0x{content[error.start]:02x}): a"
            " letter beyond plain English there is saved in another encoding, such as Windows-1252",
            "save it as UTF-8, or write that letter without its accent",
            line,
            column,
        ) from error


def shown(text: str) -> str:
    """Returns `text` in a form that UTF-8 can encode: other bytes of names become hex escapes."""
    return text.encode("utf-8", ESCAPES).decode("utf-8")


def size(count: int) -> str:
    """Returns a number of bytes with a binary unit, for people."""
    value, units = float(count), ["KiB", "MiB", "GiB", "TiB"]
    if count < 1024:
        return f"{count} B"
    unit = ""
    while value >= 1024 and units:
        value, unit = value / 1024, units.pop(0)
    return f"{value:.1f} {unit}"


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(_escaped(ord(character)) for character in part), error.end


def _escaped(code: int) -> str:
    is_byte = _FIRST_BYTE <= code <= _LAST_BYTE
    return f"\\x{code - 0xDC00:02x}" if is_byte else f"\\u{code:04x}"


codecs.register_error(ESCAPES, _escape)
