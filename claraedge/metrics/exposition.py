"""Writes the metrics in the formats that Prometheus reads."""

from __future__ import annotations

import asyncio

from claraedge.blocking import Threads
from claraedge.metrics.figures import FigureReader, Snapshot, Sources

#: Of its own, so that the page is there also where all other threads wait for a disk.
_WRITER = Threads(1, "metrics")


class Exposition:
    """Answers requests for metrics; those at the same time share one reading of the figures."""

    def __init__(self, sources: Sources) -> None:
        self._reader = FigureReader(sources)
        self._reading: asyncio.Task[Snapshot] | None = None

    async def page(self, openmetrics: bool) -> tuple[str, bytes]:
        """Returns a content type and a body: OpenMetrics 1.0, or Prometheus' text format 0.0.4."""
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.create_task(self._reader.read(), name="metrics")
            reading.add_done_callback(self._done)
        await asyncio.wait([reading])  # the end of one caller does not affect the others
        return await _WRITER.run(_written, reading.result(), openmetrics)

    def _done(self, _: asyncio.Task[Snapshot]) -> None:
        self._reading = None


def _written(figures: Snapshot, openmetrics: bool) -> tuple[str, bytes]:
    # Imported by the first request: it costs 3 MiB of memory.
    from prometheus_client.exposition import choose_encoder

    from claraedge.metrics.families import Page

    wanted = "application/openmetrics-text; version=1.0.0" if openmetrics else ""
    encode, kind = choose_encoder(wanted)
    return kind, encode(Page(figures))
