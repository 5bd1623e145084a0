"""Calls the original client, nvidia-clara-client 0.8.1.7, as each line of its input asks.

    contract-venv/bin/python driver.py TARGET

Runs under the client's own environment, with a protobuf of its time, so it imports nothing else.
One request a line: `{"call": "jobs.create_job", "arguments": {...}, "max_items": null}`; one answer
a line: `{"result": ...}`, or for what the client raised `{"error": {"kind": ..., "text": ...,
"status": ...}}` (`status`: of gRPC, where that is what it raised). `max_items`: how many items of a
stream to read before it is left. The call `methods` returns the public methods of each client.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import grpc
import nvidia_clara
from google.protobuf.message import Message
from nvidia_clara.job_types import JobFilter, JobId, JobPriority, JobState, JobStatus
from nvidia_clara.model_types import CatalogId, InstanceId, ModelId
from nvidia_clara.payload_types import PayloadId
from nvidia_clara.pipeline_types import PipelineDefinition, PipelineId

IDS = (JobId, PayloadId, PipelineId, ModelId, CatalogId, InstanceId)
CLIENTS: Mapping[str, type] = {
    "clara": nvidia_clara.ClaraClient,
    "jobs": nvidia_clara.JobsClient,
    "models": nvidia_clara.ModelsClient,
    "payloads": nvidia_clara.PayloadsClient,
    "pipelines": nvidia_clara.PipelinesClient,
}


def job_filter(given: Mapping[str, Any]) -> JobFilter:
    def when(name: str) -> datetime | None:
        return datetime.fromisoformat(given[name]) if name in given else None

    return JobFilter(
        completed_before=when("completed_before"),
        created_after=when("created_after"),
        has_job_state=[JobState(value) for value in given.get("states", [])],
        has_job_status=[JobStatus(value) for value in given.get("statuses", [])],
        pipeline_ids=[PipelineId(value) for value in given.get("pipelines", [])],
    )


#: How an argument of that name is made from JSON; others are passed on.
ARGUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "job_id": JobId,
    "payload_id": PayloadId,
    "pipeline_id": PipelineId,
    "model_id": ModelId,
    "catalog_id": CatalogId,
    "instance_id": InstanceId,
    "input_payloads": lambda values: [PayloadId(value) for value in values],
    "job_priority": JobPriority,
    "job_filter": job_filter,
    "definition": lambda files: [
        PipelineDefinition(name=name, content=content) for name, content in files
    ],
}


def plain(value: Any) -> Any:
    """The client's values as JSON: ids and enums by value, objects by their properties."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, IDS):
        return value.value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Message):
        return {field.name: plain(content) for field, content in value.ListFields()}
    if isinstance(value, Mapping):
        return {key: plain(content) for key, content in value.items()}
    properties = [
        name
        for kind in type(value).__mro__
        for name, attribute in vars(kind).items()
        if isinstance(attribute, property)
    ]
    if properties:
        return {name: plain(getattr(value, name)) for name in properties}
    return [plain(item) for item in value]


def answer(clients: Mapping[str, Any], request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request["call"] == "methods":
        return {
            "result": {
                name: [m for m in vars(kind) if not m.startswith("_") and callable(vars(kind)[m])]
                for name, kind in CLIENTS.items()
            }
        }
    client, method = request["call"].split(".")
    arguments = {
        name: ARGUMENTS.get(name, lambda given: given)(value)
        for name, value in request["arguments"].items()
    }
    try:
        result = getattr(clients[client], method)(**arguments)
        if request["max_items"] is not None:
            stream = result
            result = list(itertools.islice(stream, request["max_items"]))
            stream.close()
        return {"result": plain(result)}
    except grpc.RpcError as error:
        return {"error": {"kind": "RpcError", "text": str(error), "status": error.code().name}}
    except Exception as error:  # noqa: BLE001 - the client raises Exception itself
        return {"error": {"kind": type(error).__name__, "text": str(error), "status": None}}


def main() -> None:
    clients = {name: kind(target=sys.argv[1]) for name, kind in CLIENTS.items()}
    # The client prints now and then: the answers keep their own way out.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(clients, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
