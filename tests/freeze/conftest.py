"""The two frozen forms, and a daemon that runs from one of them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.freeze.frozen_site import FORMS, Site


@pytest.fixture(params=list(FORMS))
def program(request: pytest.FixtureRequest) -> Path:
    return FORMS[request.param]


@pytest.fixture
def one_file() -> Path:
    return FORMS["file"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[[Path], Site]]:
    sites: list[Site] = []
    with contextlib.ExitStack() as stack:

        def make(program: Path) -> Site:
            # A socket's path is at most 107 bytes: not below pytest's own folders.
            runtime = stack.enter_context(
                tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"], prefix="frz-")
            )
            site = Site(program=program, folder=tmp_path, runtime=Path(runtime, "run"))
            site.temporary.mkdir()
            sites.append(site)
            return site

        try:
            yield make
        finally:
            for site in sites:
                site.stop()
