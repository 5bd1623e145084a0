"""Sizes of real answers: protobuf is smaller than JSON over all of them, though not in each."""

from __future__ import annotations

from typing import Any

from tests.rig.pipelines import chain
from tests.unit.web.conftest import Client, Daemon

CLARA = "/nvidia.clara.platform"
OWN = "/claraedge.v1"


async def test_protobuf_is_smaller_than_json_over_what_a_job_and_its_client_exchange(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(chain("first", "second", "third"))
    ended = await daemon.run(pipeline, name=b"content")
    waiting = (await daemon.create(pipeline, metadata={"site": "north"})).job_id.value
    job, payload = ended.job_id.value, ended.payload_id.value
    calls: list[tuple[str, bool, dict[str, Any]]] = [
        (f"{CLARA}.Clara/Version", False, {}),
        (f"{CLARA}.Jobs/Status", False, {"jobId": {"value": job}}),
        (f"{CLARA}.Jobs/Status", False, {"jobId": {"value": waiting}}),
        (f"{CLARA}.Jobs/List", True, {}),
        (f"{CLARA}.Pipelines/List", True, {}),
        (f"{CLARA}.Pipelines/Details", True, {"pipelineId": {"value": pipeline}}),
        (f"{CLARA}.Payloads/Details", True, {"payloadId": {"value": payload}}),
        (f"{OWN}.Appliance/Status", False, {}),
        (f"{OWN}.Queue/Explain", False, {"jobId": waiting}),
    ]
    sizes: dict[str, int] = {"json": 0, "proto": 0}
    for path, streams, request in calls:
        as_json = await http.post(path, request)
        assert as_json.status == 200, (path, as_json.body)
        for form in sizes:
            answer = await http.converted(path, request, form=form, streams=streams)
            sizes[form] += len(answer)
    ratio = sizes["proto"] / sizes["json"]
    print(f"protobuf {sizes['proto']} bytes, JSON {sizes['json']} bytes: {ratio:.2f}")
    assert ratio < 0.8
