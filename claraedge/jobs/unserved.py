"""What a pipeline may write and this version does not run yet. Pure."""

from __future__ import annotations

from claraedge.errors import PipelineLoadError
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.registration import is_registration


def refuse_unserved(pipeline: Pipeline) -> None:
    """Refuses a job that would need an inference server or a service.

    Raises PipelineLoadError with a message for each operator. Such pipelines can be registered,
    checked and drawn; their jobs would run without what they ask for.
    """
    problems = []
    for operator in pipeline.operators:
        if is_registration(operator):
            continue
        if operator.models:
            named = ", ".join(f"`{model}`" for model in operator.models)
            problems.append(
                f"operator `{operator.name}` uses models ({named}), and this version of claraedge"
                " runs no inference server; take `models` out and let its image bring the models,"
                " or run the job once claraedge serves them"
            )
        if operator.services:
            named = ", ".join(f"`{service.name}`" for service in operator.services)
            problems.append(
                f"operator `{operator.name}` uses services ({named}), and this version of claraedge"
                " runs none; take `services` out and let its image bring what they do, or run the"
                " job once claraedge serves them"
            )
    if problems:
        raise PipelineLoadError(*problems)
