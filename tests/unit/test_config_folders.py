"""Folders that cannot be: relative ones, and ones that would feed the inbox with its results."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.config import Config, load_config
from claraedge.errors import ConfigurationError


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "claraedge.toml"
    file.write_text(text)
    environment = {
        "CLARAEDGE_STATE_DIR": str(tmp_path / "state"),
        "CLARAEDGE_RUNTIME_DIR": str(tmp_path / "run"),
    }
    return load_config(file, environment, {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[inbox]\npath = "drop"', "inbox.path: drop must be an absolute path"),
        ('[outbox]\nfailed = "bad"', "outbox.failed: bad must be an absolute path"),
        ('[outbox]\npath = "STATE/inbox"', "outbox.path"),
        ('[outbox]\noriginals = "STATE/inbox/ct/old"', "outbox.originals"),
        ('[inbox]\npath = "STATE/outbox/ct"', "outbox.path"),
        ('[[inbox.trigger]]\nfolder = "STATE/failed/x"\npipeline = "p"', "outbox.failed"),
        ('[[inbox.trigger]]\nfolder = "STATE"\npipeline = "p"', "state_dir"),
        ('[[inbox.trigger]]\nfolder = "STATE/spool"\npipeline = "p"', "lies in STATE/spool"),
        ('[inbox]\npath = "STATE/payloads/in"', "inbox.path: STATE/payloads/in lies in"),
        ('[outbox]\npath = "STATE/spool"', "outbox.path: STATE/spool lies in"),
        ('[images]\npath = "archives"', "images.path: archives must be an absolute path"),
        ('[images]\npath = "STATE/inbox/ct"', "images.path"),
        ('[inbox]\npath = "STATE/images.d/x"', "images.path"),
        ('[pipelines]\npath = "mine"', "pipelines.path: mine must be an absolute path"),
        ('[pipelines]\npath = "STATE/inbox/ct"', "pipelines.path"),
        ('[inbox]\npath = "STATE/pipelines.d"', "pipelines.path"),
    ],
)
def test_misplaced_folders_are_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text.replace("STATE", str(tmp_path / "state")))
    assert named.replace("STATE", str(tmp_path / "state")) in str(refused.value)


def test_folders_side_by_side_are_fine(tmp_path: Path) -> None:
    text = f"""
[inbox]
path = "{tmp_path}/drop"
[[inbox.trigger]]
folder = "{tmp_path}/scanner"
pipeline = "p"
[outbox]
path = "{tmp_path}/results"
"""
    assert load(tmp_path, text).outbox_dir == tmp_path / "results"


def test_the_folder_for_archives_of_images_lies_in_the_state_unless_it_is_set(
    tmp_path: Path,
) -> None:
    assert load(tmp_path, "").images_dir == tmp_path / "state" / "images.d"
    assert load(tmp_path, f'[images]\npath = "{tmp_path}/usb"').images_dir == tmp_path / "usb"


def test_the_folder_of_pipelines_lies_in_the_state_unless_it_is_set(tmp_path: Path) -> None:
    assert load(tmp_path, "").pipelines_dir == tmp_path / "state" / "pipelines.d"
    set_ = f'[pipelines]\npath = "{tmp_path}/usb"'
    assert load(tmp_path, set_).pipelines_dir == tmp_path / "usb"
