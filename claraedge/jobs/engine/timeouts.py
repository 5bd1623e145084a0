"""How long the operators of a job may run. Pure.

Source: Clara 0.8.1, platform defaults: 600 s, at most 1800 s, whatever the pipeline requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from claraedge.pipelines.model import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The configured time-outs, in seconds."""

    default: float
    """For a pipeline that defines none (seconds)."""
    maximum: float
    """The upper limit for what a pipeline defines (seconds)."""

    def of(self, pipeline: Pipeline) -> float:
        """Returns the time-out of a pipeline's jobs in seconds."""
        return min(self.maximum, pipeline.timeout or self.default)

    def message(self, pipeline: Pipeline) -> str:
        """Returns the message why a job of this pipeline was ended, and what to change."""
        seconds = f"{self.of(pipeline):g}"
        if pipeline.timeout is None:
            why = "engine.timeout_seconds; write `timeout:` in the pipeline to change it"
        elif pipeline.timeout <= self.maximum:
            why = "`timeout` of the pipeline"
        else:
            why = (
                f"engine.timeout_max_seconds; the pipeline's own `timeout` of {pipeline.timeout} s"
                " is longer"
            )
        return f"timed out: its operators ran for {seconds} s ({why})"
