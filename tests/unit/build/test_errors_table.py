"""docs/errors.md says what the code does, and each error says when it comes and what to do."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import grpc
import pytest

from claraedge import errors

ROOT = Path(__file__).resolve().parents[3]
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ClaraedgeError)
]


def test_the_page_is_what_the_code_says() -> None:
    ended = subprocess.run(
        [ROOT / "build/errors-table", "--check"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_page_that_drifted_is_noticed(tmp_path: Path) -> None:
    modules = ROOT.glob("claraedge/errors/*.py")
    for name in (
        "build/errors-table",
        "build/lib/errors_table.py",
        "claraedge/__init__.py",
        *(str(path.relative_to(ROOT)) for path in modules),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "build/errors-table").chmod(0o755)

    def run(*arguments: str) -> int:
        return subprocess.run(
            [tmp_path / "build/errors-table", *arguments], capture_output=True, check=False
        ).returncode

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    source = tmp_path / "claraedge/errors/payloads.py"
    source.write_text(source.read_text().replace("-0x3104", "-0x3105"))
    assert run("--check") == 1


def test_names_and_codes_are_of_one_error_each() -> None:
    for values in ([kind.name for kind in KINDS], [kind.code for kind in KINDS]):
        assert [value for value, count in Counter(values).items() if count > 1] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_error_has_a_place_in_its_range(kind: type[errors.ClaraedgeError]) -> None:
    assert kind.status in grpc.StatusCode.__members__
    assert kind.exit_code != 0
    documented = {-0x1000, -0x1001, -0x1002, -0x1003, -0x1004, -0x1100, -0x1101,
                  -0x2000, -0x2001, -0x2002, -0x2003, -0x2100}  # fmt: skip
    free = kind.code in range(-0x5FFF, -0x3000 + 1) or kind.code in range(-0x2999, -0x2100)
    assert kind.code in documented or free
