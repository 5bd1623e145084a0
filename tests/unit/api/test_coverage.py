"""Every method of the descriptors has a test of its work and one of its error; see covered.py."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.unit.api.covered import TESTS, WALK
from tests.unit.api.test_error_table import WITH_ID
from tests.unit.api.wire_calls import METHODS

FOLDER = Path(__file__).parent


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def test_the_table_holds_the_43_methods_and_no_others() -> None:
    assert len(METHODS) == 43
    assert set(TESTS) == set(METHODS)


@pytest.mark.parametrize("method", sorted(TESTS))
def test_a_method_has_both_tests(method: str) -> None:
    work, error = TESTS[method]
    assert work != error
    for test in (work, error):
        file, _, name = test.partition("::")
        assert name.startswith("test_")
        assert name in functions_of(file), f"{test} is not there"
    # The test's module speaks of the method: by its stub, by its path, or by the word of a helper.
    text = (FOLDER / work.partition("::")[0]).read_text(encoding="utf-8")
    service, _, short = method.partition("/")
    helpers = {"Create": "create(", "Status": "status(", "Start": "start(", "Upload": "upload(",
               "Download": "download(", "Details": "listing("}  # fmt: skip
    said = (f".{short}(", f'"{method}"', f'"/{short}"', f"}}/{short}", helpers.get(short, method))
    assert any(word in text for word in said), (service, short)
    if error == WALK:
        assert any(parameter.values[0] == method for parameter in WITH_ID)
