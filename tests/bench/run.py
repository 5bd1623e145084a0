"""Runs cases of the benchmark and prints their table: `build/bench`, `python -m tests.bench.NAME`.

The exit code says whether everything could be measured: 0, or 1 if a case could not. A case that
was left out, since a program that only it needs is not installed, is named below the table. The
exit code does not say whether goals are reached: the table does.
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
from tests.bench import plot, table
from tests.bench.case import Case, NotInstalled, Result, measure


def cases(constant: str = "CASES") -> list[Case]:
    """Returns the cases of a constant of this package's modules, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(tests.bench.__path__))
    modules = [importlib.import_module(f"tests.bench.{name}") for name in names]
    return [case for module in modules for case in getattr(module, constant, ())]


def _file(text: str) -> int | str:
    """Returns a path, or the number of a descriptor: build/bench opens files of its caller."""
    return int(text) if text.isdigit() else text


def _arguments(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build/bench", description="Measures claraedge.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help="a case")
    parser.add_argument("--peers", action="store_true", help="other engines instead; installs them")
    parser.add_argument("--against", metavar="FILE", type=_file, help="an earlier --json FILE")
    parser.add_argument("--json", metavar="FILE", type=_file, help="write all values there")
    parser.add_argument("--plot", metavar="FILE", type=_file, help="draw cost against size (SVG)")
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
        table.earlier(before, ())  # raises now, not after the last case
    report = table.Report(machine=table.machine(options.commit))
    chosen = [case for case in found if not options.only or case.name in options.only]
    for case in chosen:
        size = options.size or (case.quick if options.quick else case.full)
        rounds = options.rounds or (case.quick_rounds if options.quick else case.rounds)
        report.results += _measured(case, size, rounds, report)
    if options.plot is not None:
        for case in chosen:
            for size in case.sizes:
                report.curves += _measured(case, size, case.quick_rounds, report)
    earlier = None if before is None else table.earlier(before, report.results)
    print(report.table(earlier), end="", flush=True)
    if options.json is not None:
        _write(options.json, report.encode().encode())
    if options.plot is not None:
        _write(options.plot, plot.draw(report.curves))
    return 1 if report.failures else 0


def _measured(case: Case, size: int, rounds: int, report: table.Report) -> Sequence[Result]:
    """Returns what `measure` returns, nothing if it fails: then the reason is in the report."""
    began = time.monotonic()
    print(f"{case.name}: size {size:,}, rounds {rounds}", end="", file=sys.stderr, flush=True)
    try:
        return measure(case, size, rounds)
    except NotInstalled as error:
        report.left_out[case.name] = str(error)
        return ()
    except Exception as error:  # noqa: BLE001 the others are measured all the same
        traceback.print_exc()
        report.failures[case.name] = f"{type(error).__name__}: {error}"
        return ()
    finally:
        print(f", {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _write(place: int | str, content: bytes) -> None:
    with open(place, "ab") as file:  # noqa: PTH123
        os.ftruncate(file.fileno(), 0)
        file.write(content)


if __name__ == "__main__":
    sys.exit(main(cases("PEERS" if "--peers" in sys.argv else "CASES")))
