"""README.md and the tutorial show the lines that build/demo --keep prints to be copied."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "build" / "lib"))
import demo

ROOT = Path(__file__).resolve().parents[3]


def begin(line: str) -> str:
    return re.split(r"(?<==)|(?<=^cd )", line, maxsplit=1)[0]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_lines_to_copy_are_those_of_the_demo(page: str) -> None:
    daemon = demo.Daemon(program="/p", process=1, socket=Path("/s s"), log=Path("/log"))
    lines = demo.lines_to_copy(daemon, {"inbox_dir": "/in", "outbox_dir": "/out"})
    assert lines[1:] == [
        "export CLARAEDGE_HOST='unix:/s s'",
        "alias claraedge=/p",
        "inbox=/in",
        "outbox=/out",
    ]
    shown = (ROOT / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(runuser .*?)^```", shown, re.M | re.S)
    assert [begin(line) for line in block.splitlines()[1:]] == [begin(line) for line in lines]


def test_the_output_in_the_tutorial_is_that_of_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    (output,) = re.findall(r"^```\n(The daemon runs on .*?)^```", shown, re.M | re.S)
    daemon = demo.Daemon(program="/p", process=4711, socket=Path("/s"), log=Path("/log"))
    folders = {"inbox_dir": "/in", "outbox_dir": "/out"}
    monkeypatch.setattr(demo.Daemon, "ask", lambda *_: folders)
    monkeypatch.setattr("getpass.getuser", lambda: "claraedge-dev")
    demo.print_next_commands(daemon)
    paths = re.compile(r"(?:unix:)?/\S+(?=\n|$)")
    assert paths.sub("PATH", capsys.readouterr().out.strip()) == paths.sub("PATH", output.strip())
