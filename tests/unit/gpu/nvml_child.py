"""Reads the GPUs with the real nvidia-ml-py, a reading for each line `read` on stdin.

The library that the loader finds is the parent's: LD_LIBRARY_PATH counts at a process's start only.
Argument: a folder for the Tegra's files; without, there is NVML alone.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import msgspec

from claraedge.daemon import journal
from claraedge.gpu.nvml import Nvml
from claraedge.gpu.tegra import Tegra
from claraedge.gpu.telemetry import Combined, Telemetry

journal.configure("debug", "json")
logging.getLogger("asyncio").setLevel(logging.WARNING)
telemetry: Telemetry = Combined(Nvml(), Tegra(Path(sys.argv[1]))) if sys.argv[1:] else Nvml()
for line in sys.stdin:
    if line.strip() == "read":
        print(msgspec.json.encode(list(telemetry.read())).decode(), flush=True)
    else:
        telemetry.close()
        print("[]", flush=True)
