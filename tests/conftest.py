"""Decides which tests can run on this machine, and which must not be skipped.

`podman` and `frozen` tests, and field tests that run third-party programs, are skipped if what they
need is missing. With CLARAEDGE_REQUIRE_PODMAN=1 (build/test, CI) a skip of one of them is a
failure, whatever requested the skip: a suite that tested nothing must not pass.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

from claraedge.fs.removal import remove
from tests.campaign import MACHINE, REQUIRE_PODMAN
from tests.field.tools import why_missing

ROOT = Path(__file__).resolve().parents[1]
MUST_RUN = ("podman", "frozen")

# How long an example runs depends on the load of the machine.
hypothesis.settings.register_profile("claraedge", deadline=None)
hypothesis.settings.load_profile("claraedge")

# Under `nohup build/test` SIGHUP is ignored, and under `build/test &` of a script SIGINT is, also
# in the programs to which tests send them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _why_no_podman() -> str | None:
    if shutil.which("podman") is None:
        return "podman is not installed: build/test installs it"
    if os.geteuid() == 0:
        return "root is not the product: build/test runs as an unprivileged user"
    return None


def _why_not_frozen() -> str | None:
    return None if _freezer().is_fresh() else "dist/ is missing or stale: run build/freeze"


def _why_no_machine() -> str | None:
    return None if MACHINE else "boots whole machines for some minutes: build/machine does"


def _freezer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("freeze", ROOT / "build" / "lib" / "freeze.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs = {"podman": _why_no_podman, "frozen": _why_not_frozen, "machine": _why_no_machine}
    reasons = {
        name: why()
        for name, why in needs.items()
        if any(item.get_closest_marker(name) for item in items)
    }
    for item in items:
        for name, reason in reasons.items():
            if reason is not None and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))
        lacks = why_missing(_tools(item))
        if lacks is not None:
            item.add_marker(pytest.mark.skip(reason=lacks))


def _tools(item: pytest.Item) -> Sequence[str]:
    """Returns the third-party programs that a test runs."""
    mark = item.get_closest_marker("field")
    return mark.kwargs["tools"] if mark else ()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    must_run = any(item.get_closest_marker(name) for name in MUST_RUN) or bool(_tools(item))
    must_run = must_run and not item.get_closest_marker("gpu")  # not every machine has a GPU
    if REQUIRE_PODMAN and must_run and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} had to run and was not: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    # A module that skips itself hides the markers of its tests, so no module may do that.
    if REQUIRE_PODMAN and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped as a whole: {reason}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Removes the folders that a killed run left.

    For each nested folder, pytest's own removal recurses and keeps a descriptor open. Tests of deep
    trees nest more folders than the limits of recursion and of descriptors allow.
    """
    sys.setrecursionlimit(10_000)
    for left in Path(tempfile.gettempdir(), f"pytest-of-{getpass.getuser()}").glob("garbage-*"):
        with contextlib.suppress(OSError):
            remove(left)
