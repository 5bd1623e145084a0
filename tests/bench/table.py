"""The results of a run: one table for people, one JSON document for the next run."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.bench.case import Figure, Pair, Result

HEAD = ("case", "figure", "against", "ours", "theirs", "ratio", "quartiles", "goal", "")
#: A smaller part of the earlier value is no difference: a single pair has no spread.
LEAST = 0.05


@dataclass(kw_only=True)
class Report:
    """What a run has measured."""

    machine: Mapping[str, str]
    results: list[Result] = field(default_factory=list)
    curves: list[Result] = field(default_factory=list)
    """Results of other sizes, for the plot."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a case could not be measured, by its name."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What a case needs that is not installed, by its name."""

    def encode(self) -> str:
        document = {
            "machine": self.machine,
            "results": [_encoded(one) for one in self.results],
            "curves": [_encoded(one) for one in self.curves],
            "failures": self.failures,
            "left_out": self.left_out,
        }
        return json.dumps(document, indent=1) + "\n"

    def table(self, before: Mapping[tuple[str, str], Result] | None = None) -> str:
        """Returns a table in Markdown; with earlier results, a column says what changed."""
        heads = [*HEAD, "before"] if before is not None else list(HEAD)
        rows = [_row(one) for one in self.results]
        if before is not None:
            for row, one in zip(rows, self.results, strict=True):
                earlier = before.get((one.case, one.figure.name))
                row.append(_before(one, earlier) if earlier else "new")
        lines = [f"{name}: {value}" for name, value in self.machine.items()]
        lines += ["", *_aligned(heads, rows)]
        lines += [f"\n{case} was not measured: {why}" for case, why in self.failures.items()]
        lines += [f"\n{case} was left out, without {what}" for case, what in self.left_out.items()]
        return "\n".join(lines) + "\n"


def earlier(text: str, results: Sequence[Result]) -> dict[tuple[str, str], Result]:
    """Returns the results of an earlier document that these results have as well.

    They are judged by the goals of today. Raises ValueError or KeyError if `text` is no such
    document.
    """
    figures = {(one.case, one.figure.name): one.figure for one in results}
    found = {}
    for row in json.loads(text)["results"]:
        key = (row["case"], row["figure"])
        if key in figures:
            pairs = [Pair(*pair) for pair in row["pairs"]]
            found[key] = Result(case=key[0], figure=figures[key], size=row["size"], pairs=pairs)
    return found


def change(now: Result, before: Result) -> str:
    """Returns "worse" or "better" if the value differs by more than either spread, else ""."""
    if now.judged == before.judged:
        return ""
    spreads = [high - low for low, high in (now.quartiles, before.quartiles)]
    if abs(now.judged - before.judged) <= max(*spreads, LEAST * before.judged):
        return ""
    return "worse" if now.figure.goal.worse(now.judged, before.judged) else "better"


def machine(commit: str) -> dict[str, str]:
    """Returns what the figures depend on, by name."""
    with Path("/proc/cpuinfo").open() as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "commit": commit,
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}, {_system()}",
        "load": " ".join(f"{part:.2f}" for part in os.getloadavg()),
        "versions": ", ".join(
            (
                f"Python {platform.python_version()}",
                f"grpcio {version('grpcio')}",
                f"protobuf {version('protobuf')}",
                f"SQLite {sqlite3.sqlite_version}",
                *(_first_line(name, "--version") for name in ("podman", "runc", "crun")),
            )
        ),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return "unknown"


def _first_line(*command: str) -> str:
    try:
        ended = subprocess.run(command, check=True, cwd="/", capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return f"no {command[0]}"
    return ended.stdout.partition("\n")[0]


def goal(figure: Figure) -> str:
    """Returns the goal in words; "" without one."""
    limit = figure.goal.limit
    if limit is None:
        return ""
    unit = f" {figure.unit}" if figure.goal.of == "ours" else ""
    return f"{figure.goal.kind} {limit:g}{unit}"


def number(value: float) -> str:
    """Returns a number with about three digits that count, a whole number without a fraction."""
    size = abs(value)
    whole = size >= 100 or value == round(value)
    digits = 0 if whole else 1 if size >= 10 else 2 if size >= 0.1 else 4
    return f"{value:,.{digits}f}"


def _encoded(one: Result) -> dict[str, object]:
    return {
        "case": one.case,
        "figure": one.figure.name,
        "against": one.figure.against,
        "unit": one.figure.unit,
        "goal": goal(one.figure),
        "size": one.size,
        "ours": one.ours,
        "theirs": one.theirs,
        "ratio": one.ratio,
        "reached": one.reached,
        "pairs": [list(pair) for pair in one.pairs],
    }


def _row(one: Result) -> list[str]:
    low, high = one.quartiles
    unit = one.figure.unit
    verdict = {None: "", True: "reached", False: "MISSED"}[one.reached]
    return [
        one.case,
        one.figure.name,
        one.figure.against,
        f"{number(one.ours)} {unit}",
        f"{number(one.theirs)} {unit}",
        number(one.ratio),
        f"{number(low)} to {number(high)}" if len(one.pairs) > 1 else "",
        goal(one.figure),
        verdict,
    ]


def _before(now: Result, before: Result) -> str:
    sizes = "" if now.size == before.size else f", size {before.size:,}"
    return f"{number(before.judged)}{sizes} {change(now, before).upper()}".strip()


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return f"| {' | '.join(padded)} |"

    return [line(heads), line(["-" * width for width in widths]), *map(line, rows)]
