"""What a test of a case from the field says of itself: its kind, its source, and what comes out.

`docs/compatibility.md` is made from these marks, so each text is written for a reader of that page.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

#: The kinds of cases, by number.
KINDS = {
    1: "Incomplete or outdated input",
    2: "Files that are not the user's content",
    3: "Names and the locale",
    4: "Modes, owners and times",
    5: "Damaged storage",
    6: "GPUs that cannot be used",
    7: "Files that wait or are left out",
    8: "DICOM files of real devices",
    9: "Memory",
    10: "Messages",
    11: "Documentation",
}


def case(
    kind: int, name: str, *, source: str, outcome: str, tools: Sequence[str] = ()
) -> pytest.MarkDecorator:
    """Marks a test as a case from the field.

    `kind`: a number of KINDS. `name`: what a user did, a short phrase, one for each case.
    `source`: where it was reported or is documented: "owner/repository#number", a project's own
    documentation or source file, a standard. `outcome`: what claraedge does, one plain sentence.
    `tools`: the real programs that the test runs, by the names of `tests.field.tools`.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind}: see tests/field/case.py")
    return pytest.mark.field(
        kind=kind, name=name, source=source, outcome=outcome, tools=tuple(tools)
    )
