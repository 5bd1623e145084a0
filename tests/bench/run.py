"""Runs cases of the benchmark and prints their table: `build/bench`, `python -m tests.bench.NAME`.

The exit code says whether everything could be measured: 0, or 1 if a case could not. It does not
say whether goals are reached: the table does.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import time
import traceback
from collections.abc import Sequence

import tests.bench
from tests.bench import table
from tests.bench.case import Case, measure


def cases() -> list[Case]:
    """Returns the `CASES` of the modules of this package, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(tests.bench.__path__))
    modules = [importlib.import_module(f"tests.bench.{name}") for name in names]
    return [case for module in modules for case in getattr(module, "CASES", ())]


def _file(text: str) -> int | str:
    """Returns a path, or the number of a descriptor: build/bench opens files of its caller."""
    return int(text) if text.isdigit() else text


def _arguments(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build/bench", description="Measures claraedge.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help="a case")
    parser.add_argument("--against", metavar="FILE", type=_file, help="an earlier --json FILE")
    parser.add_argument("--json", metavar="FILE", type=_file, help="write all values there")
    parser.add_argument("--size", type=int, help="of every case, instead of its own")
    parser.add_argument("--rounds", type=int, help="of every case, instead of its own")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--commit", default="unknown", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(found: Sequence[Case], arguments: Sequence[str] | None = None) -> int:
    """Measures what the arguments of the command line say; returns the exit code."""
    options = _arguments(arguments, [case.name for case in found])
    if options.list:
        print(*(case.name for case in found), sep="\n")
        return 0
    before = None
    if options.against is not None:  # first: it may be the file that --json replaces
        with open(options.against, encoding="utf-8") as file:  # noqa: PTH123
            before = file.read()
    report = table.Report(machine=table.machine(options.commit))
    for case in found:
        if options.only and case.name not in options.only:
            continue
        began = time.monotonic()
        size = options.size or (case.quick if options.quick else case.full)
        rounds = options.rounds or (case.quick_rounds if options.quick else case.rounds)
        print(f"{case.name}: size {size:,}, rounds {rounds}", end="", file=sys.stderr, flush=True)
        try:
            report.results += measure(case, size, rounds)
        except Exception as error:  # noqa: BLE001 the others are measured all the same
            traceback.print_exc()
            report.failures[case.name] = f"{type(error).__name__}: {error}"
        print(f", {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    earlier = None if before is None else table.earlier(before, report.results)
    if options.json is not None:
        with open(options.json, "a", encoding="utf-8") as file:  # noqa: PTH123
            os.ftruncate(file.fileno(), 0)
            file.write(report.encode())
    print(report.table(earlier), end="")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(cases()))
