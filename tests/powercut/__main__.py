"""Runs the long form of the power cut campaign, started by hand:

    python -m tests.powercut [--disk powercut|ext4|ext4-nojournal|xfs|btrfs] [--models strict,...]
        [--points 24] [--seed 1] [--lacks none|files|folders|all] [--user NAME] [FLOW...]

It prints one line for each flow, one for each life with a fault, and a sum at the end; --out gets
each life as JSON. Disks other than `powercut` need root, and the daemons then run as the user of
--user. Parallel runs do not disturb each other.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.powercut.block_disk import KINDS
from tests.powercut.campaign import Life, chosen, live, record, site
from tests.powercut.flow import FLOWS
from tests.powercut.site import Site

_MODELS = {"powercut": "strict,closed,journal,random"}


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM unmounts as well
    total: Counter[str] = Counter()
    with site(given.disk, user=given.user, lacks=given.lacks) as place:
        for flow in given.flows or FLOWS:
            try:
                total += _campaign(place, flow, given)
            except Exception as error:  # noqa: BLE001 the other flows are still performed
                print(f"{flow}: not performed: {error}", flush=True)
                total["not performed"] += 1
                place.unmount()
    print(f"all, {given.disk}, seed {given.seed}: {dict(total)}", flush=True)
    return int(total["with faults"] + total["not performed"] > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.powercut")
    parser.add_argument("--disk", choices=("powercut", *KINDS), default="powercut")
    parser.add_argument("--models", default="")
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--stride", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lacks", choices=("none", "files", "folders", "all"), default="none")
    parser.add_argument("--user")
    parser.add_argument("--out", type=Path)
    parser.add_argument("flows", nargs="*", metavar="FLOW", help=", ".join(FLOWS))
    given = parser.parse_args()
    if unknown := set(given.flows) - set(FLOWS):
        parser.error(f"no such flow: {', '.join(unknown)}")
    given.models = (given.models or _MODELS.get(given.disk, "strict,random")).split(",")
    return given


def _campaign(place: Site, flow: str, given: argparse.Namespace) -> Counter[str]:
    began, total = time.monotonic(), Counter[str]()
    recording = record(place, flow, given.seed, given.stride)
    copies = chosen(recording, given.points)
    for copy in copies:
        for model in given.models:
            for life in live(place, recording, copy, model):
                total.update(_counted(life))
                if life.faults:
                    print(f"   {life}", flush=True)
                if given.out:
                    _write(given.out, given.disk, life)
    recording.drop(copies)
    seconds = time.monotonic() - began
    print(
        f"{flow}: {recording.operations} operations, {len(copies)} points, {dict(total)},"
        f" {seconds:.0f} s",
        flush=True,
    )
    return total


def _counted(life: Life) -> list[str]:
    kinds = {fault.kind for fault in life.faults}
    return ["lives", *(["with faults"] if kinds else []), *kinds]


def _write(out: Path, disk: str, life: Life) -> None:
    said = {
        "disk": disk, "flow": life.flow, "models": life.models, "seed": life.seed,
        "operation": life.operation, "what": life.what, "faults": life.faults,
        "journal": life.journal if life.faults else "",
    }  # fmt: skip
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    sys.exit(main())
