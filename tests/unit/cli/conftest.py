from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_daemon import Answer, Daemon, Fakes, Images, serve

from claraedge.cli.main import run


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A server that CLARAEDGE_HOST points to."""
    fakes, images = Fakes(), Images()
    with tempfile.TemporaryDirectory(prefix="ce-") as folder:  # a socket's path must be short
        socket = Path(folder, "claraedge.sock")
        server = serve(f"unix:{socket}", fakes, images)
        monkeypatch.setenv("CLARAEDGE_HOST", f"unix:{socket}")
        yield Daemon(fakes, images, socket, lambda: server.stop(0).wait())
        server.stop(0).wait()


@pytest.fixture
def claraedge(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs the command line in this process, as `main` does."""

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        captured = capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    return call
