"""The frame of the benchmark: medians, ratios, verdicts, and the comparison with an earlier run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import plot, run, table
from tests.bench.case import (
    NO_GOAL,
    Case,
    Figure,
    Goal,
    NotInstalled,
    Pair,
    Result,
    at_least,
    at_most,
    in_loop,
    measure,
)


def result(*pairs: tuple[float, float], goal: Goal = NO_GOAL) -> Result:
    figure = Figure("time", "other", "ms", goal)
    return Result(case="c", figure=figure, size=1, pairs=[Pair(*pair) for pair in pairs])


def times(*ours: float, goal: Goal = NO_GOAL) -> Result:
    return result(*((one, 1.0) for one in ours), goal=goal)


class Rounds:
    """A case whose values count up: 1, 2, 3, ... against 10."""

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.sizes: list[int] = []
        self.closed = 0

    def pairs(self, size: int) -> Iterator[Sequence[Pair]]:
        self.sizes.append(size)
        try:
            for number in range(1, self.most + 1):
                yield [Pair(number, 10), Pair(10, number)]
        finally:
            self.closed += 1

    def case(self) -> Case:
        return Case(
            name="rounds",
            figures=(Figure("up", "ten", "s"), Figure("down", "ten", "s", at_most(0.5))),
            pairs=self.pairs,  # type: ignore[arg-type]
            full=1000,
            quick=100,
        )


def broken(_: int) -> Iterator[Sequence[Pair]]:
    raise AssertionError("no Podman")
    yield []


def lacking(_: int) -> Iterator[Sequence[Pair]]:
    raise NotInstalled("the other program")
    yield []


def test_the_first_round_does_not_count_and_the_case_is_closed() -> None:
    rounds = Rounds()
    up, down = measure(rounds.case(), 5, 3)
    assert up.pairs == [Pair(2, 10), Pair(3, 10), Pair(4, 10)]
    assert down.pairs == [Pair(10, 2), Pair(10, 3), Pair(10, 4)]
    assert (rounds.sizes, rounds.closed) == ([5], 1)


def test_a_case_that_ends_early_is_not_measured() -> None:
    with pytest.raises(AssertionError, match="2 rounds of 3"):
        measure(Rounds(3).case(), 5, 3)


def test_an_asynchronous_case_is_closed_in_its_loop() -> None:
    steps = []

    async def pairs() -> AsyncGenerator[Sequence[Pair], None]:
        try:
            yield [Pair(1, 1)]
            yield [Pair(2, 1)]
        finally:
            steps.append("closed")

    assert list(in_loop(pairs())) == [[Pair(1, 1)], [Pair(2, 1)]]
    unfinished = in_loop(pairs())
    assert next(unfinished) == [Pair(1, 1)]
    unfinished.close()
    assert steps == ["closed", "closed"]


def test_the_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    # Twice the load in the second round, on both sides: the ratios stay.
    one = result((2, 1), (40, 20), (9, 3))
    assert (one.ours, one.theirs, one.ratio) == (9, 3, 2)
    assert one.quartiles == (2, 3)


def test_nothing_against_nothing_is_the_same() -> None:
    assert Pair(0, 0).ratio == 1
    assert Pair(1, 0).ratio == math.inf
    assert result((0, 0), goal=at_most(0, of="ours")).reached


def test_the_quartiles_leave_single_rounds_out() -> None:
    assert times(1, 2, 2, 2, 2, 2, 90).quartiles == (2, 2)


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (at_most(2), True),
        (at_most(1.9), False),
        (at_least(2), True),
        (at_least(2.1), False),
        (at_most(9, of="ours"), True),
        (at_most(5, of="ours"), False),
        (NO_GOAL, None),
    ],
)
def test_a_goal_is_about_the_ratio_or_our_value(goal: Goal, reached: bool | None) -> None:
    assert result((6, 3), goal=goal).reached is reached


@pytest.mark.parametrize(
    ("now", "before", "goal", "expected"),
    [
        ((2, 2, 2), (1, 1, 1), at_most(5), "worse"),
        ((2, 2, 2), (1, 1, 1), at_least(1), "better"),
        ((1, 1, 1), (2, 2, 2), NO_GOAL, "better"),
        ((1, 2, 3), (1, 1, 1), at_most(5), ""),  # its own spread is wider than the difference
        ((2, 2, 2), (1, 1, 3), at_most(5), ""),  # and so was that of the earlier run
        ((1.04,), (1,), at_most(5), ""),
        ((1.06,), (1,), at_most(5), "worse"),
    ],
)
def test_a_change_is_more_than_the_spread(
    now: Sequence[float], before: Sequence[float], goal: Goal, expected: str
) -> None:
    assert table.change(times(*now, goal=goal), times(*before, goal=goal)) == expected


def test_a_run_is_compared_with_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"
    assert run.main([Rounds().case()], ["--rounds", "3", "--json", str(file)]) == 0
    assert "MISSED" in capsys.readouterr().out
    document = json.loads(file.read_text())
    row = document["results"][1]
    assert (row["case"], row["figure"], row["size"]) == ("rounds", "down", 1000)
    assert row["goal"] == "at most 0.5"
    assert row["pairs"] == [[10, 2], [10, 3], [10, 4]]
    assert {"commit", "processor", "versions"} <= document["machine"].keys()
    for changed in document["results"]:
        changed["pairs"] = [[1, 100]] * 3
    file.write_text(json.dumps(document))
    # The same file may be read and replaced.
    arguments = ["--rounds", "1", "--against", str(file), "--json", str(file)]
    assert run.main([Rounds().case()], arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("0.0100 WORSE") == 2, printed
    assert json.loads(file.read_text())["results"][0]["pairs"] == [[2, 10]]


def test_a_figure_that_is_new_has_nothing_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text('{"results": []}')
    assert run.main([Rounds().case()], ["--against", str(tmp_path / "run.json")]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| rounds")]
    assert [row.split("|")[-2].strip() for row in rows] == ["new", "new"]


def test_what_cannot_be_measured_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    failing = Case(name="broken", figures=(), pairs=broken, full=1, quick=1)  # type: ignore[arg-type]
    rounds = Rounds()
    assert run.main([failing, rounds.case()], ["--quick"]) == 1
    printed = capsys.readouterr().out
    assert "broken was not measured: AssertionError: no Podman" in printed
    assert "| rounds" in printed
    assert rounds.sizes == [100]
    assert run.main([failing, rounds.case()], ["--only", "rounds"]) == 0
    assert rounds.sizes == [100, 1000]


def test_a_case_without_its_program_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = Case(name="alone", figures=(), pairs=lacking, full=1, quick=1)  # type: ignore[arg-type]
    file = tmp_path / "run.json"
    assert run.main([alone, Rounds().case()], ["--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "alone was left out, without the other program" in printed
    assert "| rounds" in printed
    document = json.loads(file.read_text())
    assert (document["left_out"], document["failures"]) == ({"alone": "the other program"}, {})


def test_files_may_be_descriptors_of_the_caller(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "run.json", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    assert run.main([Rounds().case()], ["--json", str(descriptor)]) == 0
    assert len(json.loads((tmp_path / "run.json").read_text())["results"]) == 2


def test_curves_are_multiples_of_the_smallest_size() -> None:
    figure, other = Figure("time", "other", "ms"), Figure("memory", "other", "MiB")
    results = [
        Result(case="c", figure=figure, size=size, pairs=[Pair(value, 1)] * 3)
        for size, value in ((1000, 6), (100, 3), (10_000, 9))
    ]
    alone = Result(case="c", figure=other, size=5, pairs=[Pair(1, 1)])
    nothing = [Result(case="none", figure=figure, size=size, pairs=[Pair(0, 1)]) for size in (1, 2)]
    lines = plot.curves([*results, alone, *nothing])
    assert lines == {"c: time": [(100, 1), (1000, 2), (10_000, 3)]}


def test_a_plot_shows_each_curve(tmp_path: Path) -> None:
    case = replace(Rounds().case(), sizes=(10, 100, 1000))
    drawing, values = tmp_path / "cost.svg", tmp_path / "run.json"
    assert run.main([case], ["--plot", str(drawing), "--json", str(values)]) == 0
    text = drawing.read_text()
    assert text.startswith("<?xml")
    assert "rounds: up" in text
    assert "kozea.github.io" not in text  # a script that a browser would fetch
    sizes = [row["size"] for row in json.loads(values.read_text())["curves"]]
    assert sizes == [10, 10, 100, 100, 1000, 1000]


@pytest.mark.parametrize(("constant", "one"), [("CASES", "intake"), ("PEERS", "snakemake")])
def test_every_module_of_the_benchmark_brings_its_cases(constant: str, one: str) -> None:
    found = run.cases(constant)
    names = [case.name for case in found]
    assert one in names
    assert len(set(names)) == len(names)
    for case in found:
        figures = [figure.name for figure in case.figures]
        assert len(set(figures)) == len(figures) > 0, case.name


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (4, "4"), (1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits_or_are_whole(value: float, text: str) -> None:
    assert table.number(value) == text
