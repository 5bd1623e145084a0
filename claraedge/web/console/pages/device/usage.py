"""The chart of what was reserved in the last hour: an SVG, and the same as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from claraedge.wire.claraedge.v1 import appliance_pb2

#: The size of a chart, in units of its picture.
WIDTH, HEIGHT = 720, 96
#: Rows of the table: parts of the hour.
_PARTS = 12


@dataclass(frozen=True, slots=True)
class UsagePart:
    """The most that was reserved in a part of the hour."""

    start: datetime
    memory: int
    """Bytes."""
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageChart:
    """What was reserved, as the page shows it."""

    memory: str
    """The path of the area, in a picture of `WIDTH` and `HEIGHT`."""
    gpus: str
    """As `memory`; empty if the device has no GPU."""
    memory_now: int
    """Bytes."""
    memory_most: int
    gpus_now: int
    gpus_most: int
    since: datetime
    parts: Sequence[UsagePart]
    usage: appliance_pb2.UsageResponse


def chart_of(usage: appliance_pb2.UsageResponse) -> UsageChart:
    """Returns the chart of the answer of Appliance.Usage."""
    steps = usage.history or [appliance_pb2.UsageStep(time=usage.since)]
    most = max(step.memory for step in steps)
    return UsageChart(
        memory=_area(usage, lambda step: step.memory, max(usage.memory_total, most, 1)),
        gpus=_area(usage, lambda step: step.gpus, usage.gpus_total) if usage.gpus_total else "",
        memory_now=steps[-1].memory,
        memory_most=most,
        gpus_now=steps[-1].gpus,
        gpus_most=max(step.gpus for step in steps),
        since=usage.since.ToDatetime(UTC),
        parts=_parts(usage, steps),
        usage=usage,
    )


def _area(
    usage: appliance_pb2.UsageResponse,
    value: Callable[[appliance_pb2.UsageStep], int],
    whole: int,
) -> str:
    """Returns the path of the area below the steps."""
    since, until = _seconds(usage)
    path = f"M0 {HEIGHT}"
    for step in usage.history:
        at = _time(step)
        x = round((at - since) / (until - since) * WIDTH, 1)
        y = round(HEIGHT - value(step) / whole * (HEIGHT - 2), 1)
        path += f"H{x:g}V{y:g}"
    return f"{path}H{WIDTH}V{HEIGHT}Z"


def _parts(
    usage: appliance_pb2.UsageResponse, steps: Sequence[appliance_pb2.UsageStep]
) -> list[UsagePart]:
    since, until = _seconds(usage)
    length = (until - since) / _PARTS
    found = []
    for number in range(_PARTS):
        start, end = since + number * length, since + (number + 1) * length
        last = [step for step in steps if _time(step) <= start][-1:]
        within = [*last, *(step for step in steps if start < _time(step) < end)]
        if number == _PARTS - 1:
            within.append(steps[-1])
        found.append(
            UsagePart(
                datetime.fromtimestamp(start, UTC),
                max((step.memory for step in within), default=0),
                max((step.gpus for step in within), default=0),
            )
        )
    return found


def _seconds(usage: appliance_pb2.UsageResponse) -> tuple[float, float]:
    since = usage.since.seconds + usage.since.nanos / 1e9
    return since, max(usage.time.seconds + usage.time.nanos / 1e9, since + 1)


def _time(step: appliance_pb2.UsageStep) -> float:
    return step.time.seconds + step.time.nanos / 1e9
