from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.jobs.logs.logs import JobLogs
from tests.rig.device import Device, copy, fail


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A device with an image that copies, `copy:1`, and one that fails, `fail:1`."""
    device = Device(tmp_path)
    device.runner.add_image("copy:1", copy)
    device.runner.add_image("fail:1", fail)
    return device


@pytest.fixture
def logs(tmp_path: Path) -> JobLogs:
    return JobLogs(tmp_path)
