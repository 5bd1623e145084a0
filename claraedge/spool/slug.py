"""Names of result folders. Pure.

A name from outside is never used as a path: all but plain characters are replaced, and a part of
the id makes the result unique.
"""

from __future__ import annotations

import re
import unicodedata

MAX_SLUG_BYTES = 100
ID_DIGITS = 8

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def slug(name: str) -> str:
    """Reduces a name to letters, digits, `.`, `_` and `-`: 1 to 100 bytes.

    The result neither begins nor ends with a dot or dash.
    """
    ascii_form = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    # A word without any plain character is replaced by a dash.
    text = ascii_form if ascii_form.strip("._- ") else ""
    plain = re.sub(r"-{2,}", "-", _NOT_PLAIN.sub("-", text)).strip(".-")
    return plain[:MAX_SLUG_BYTES].rstrip(".-") or "item"


def folder_name(name: str, owner: str) -> str:
    """Returns `<slug>-<first 8 digits of the id>`: the folder of a job's results, or a failure."""
    return f"{slug(name)}-{owner[:ID_DIGITS]}"


def result_folder(pipeline: str, name: str, job: str) -> str:
    """Returns `<pipeline>/<slug>-<8 digits>`, a path below the outbox.

    Names of pipelines are plain already.
    """
    return f"{pipeline}/{folder_name(name, job)}"


def whole_id(folder: str, owner: str) -> str:
    """Returns a folder name with all digits of the id, for when another owner has the short one."""
    return folder.removesuffix(owner[:ID_DIGITS]) + owner
