"""A chart of cost against size, as SVG: a flat line is a cost that does not grow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from tests.bench.case import Result


def curves(results: Sequence[Result]) -> dict[str, list[tuple[int, float]]]:
    """Returns sizes and costs of each figure, smallest size first.

    A cost is our median as a multiple of that at the smallest size. A figure of one size, or whose
    value there is 0, has none.
    """
    found = defaultdict(list)
    for one in results:
        found[f"{one.case}: {one.figure.name}"].append((one.size, one.ours))
    lines = {name: sorted(points) for name, points in found.items() if len(points) > 1}
    return {
        name: [(size, value / points[0][1]) for size, value in points]
        for name, points in lines.items()
        if points[0][1]
    }


def draw(results: Sequence[Result]) -> bytes:
    """Returns the chart; both axes are logarithmic."""
    import pygal  # only a run with --plot needs it

    lines = curves(results)
    sizes = [size for points in lines.values() for size, _ in points] or [1]
    chart = pygal.XY(
        title="Cost against size, as a multiple of the smallest size",
        x_title="size",
        logarithmic=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        truncate_legend=-1,
        js=(),  # no script of other servers
        explicit_size=True,
        value_formatter=lambda value: f"{value:.3g}",
        x_value_formatter=lambda size: f"{size:,.0f}",
    )
    first, last = math.log10(min(sizes)), math.log10(max(sizes))
    chart.x_labels = [10**power for power in range(int(first), math.ceil(last) + 1)]
    for name, points in lines.items():
        chart.add(name, points)
    drawn: bytes = chart.render()
    return drawn
