"""The published nvidia-clara-client 0.8.1.7 against the daemon, over the Unix socket and over TCP.

Every public method that can work against any server is called; `BROKEN` are those that cannot, each
with its reason (read in the client, and seen against a scripted server).
"""

from __future__ import annotations

import io
import re
import time
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import common_pb2, models_pb2, models_pb2_grpc
from tests.contract.conftest import GpuSite
from tests.contract.flows import (
    CANCELED,
    ENDLESS,
    FAILS,
    FAULTED,
    GREET,
    HEALTHY,
    SHOW,
    STOPPED,
    end,
    job_of,
    register,
    runs,
)
from tests.contract.original import Original, OriginalError
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

#: Cannot work against any server.
BROKEN = {
    "models.upload_model": "uses the field `tags`, which is gone",
    "models.download_model": "calls a method of the stub that does not exist",
    "models.list_models": "reads the list of models as one model",
    "models.delete_model": "sets a field of another request",
    "models.delete_instance": "sets a field of another request",
    "models.read_catalog": "reads the list of models as one model",
    "models.read_instance": "sends the request of another call",
    "models.update_catalog": "gives gRPC a list where an iterator is needed",
    "models.update_instance": "sends the request of another call",
}
#: Make no call: of the connection, or called by those that do.
LOCAL = {"close", "reconnect", "get_timestamp", "upload_request_iterator"}

UNKNOWN = uuid.UUID(int=1).hex
ID = re.compile(r"[0-9a-f]{32}")


def refused(text: str) -> Any:
    """In-band: the client raises a plain Exception with the messages, no RpcError."""
    return pytest.raises(OriginalError, match=f"^Exception: .*{text}")


def test_every_method_that_can_work_is_called_here(client: Original) -> None:
    source = Path(__file__).read_text() + Path(__file__).with_name("flows.py").read_text()
    called = set(re.findall(r"client\.((?:clara|jobs|models|payloads|pipelines)\.\w+)\(", source))
    methods = {
        f"{name}.{method}"
        for name, found in client.ask("methods", {}).items()
        for method in found
        if method not in LOCAL
    }
    assert len(methods) == 42
    assert called | set(BROKEN) == methods
    assert not called & set(BROKEN)


# --- pipelines -------------------------------------------------------------------------------


def test_a_pipeline_is_made_listed_described_and_removed(client: Original) -> None:
    pipeline = client.pipelines.create_pipeline(
        definition=[["../greet.yaml", GREET]], metadata={"Site": "ward 4"}
    )
    assert ID.fullmatch(pipeline)
    (listed,) = [p for p in client.pipelines.list_pipelines() if p["pipeline_id"] == pipeline]
    assert listed == {"pipeline_id": pipeline, "name": "greet", "metadata": {"Site": "ward 4"}}
    assert client.pipelines.pipeline_details(pipeline_id=pipeline) == {
        "pipeline_id": pipeline,
        "name": "greet",
        "definition": [{"name": "greet", "content": {"path": "../greet.yaml", "content": GREET}}],
        "metadata": {"Site": "ward 4"},
    }
    assert client.pipelines.remove_pipeline(pipeline_id=pipeline) is None
    assert pipeline not in [p["pipeline_id"] for p in client.pipelines.list_pipelines()]
    with refused(pipeline):
        client.pipelines.pipeline_details(pipeline_id=pipeline)


def test_a_definition_may_come_in_parts_whose_names_differ_in_case(client: Original) -> None:
    half = GREET.index("operators:")
    pipeline = client.pipelines.create_pipeline(
        definition=[["greet.yaml", GREET[:half]], ["GREET.yaml", GREET[half:]]],
        metadata={"repeated": "with each part"},
    )
    details = client.pipelines.pipeline_details(pipeline_id=pipeline)
    assert "".join(part["content"]["content"] for part in details["definition"]) == GREET
    assert details["metadata"] == {"repeated": "with each part"}


def test_a_pipeline_may_be_made_with_an_id_of_the_caller(client: Original) -> None:
    wanted = uuid.uuid4()
    made = client.pipelines.create_pipeline(
        definition=[["greet.yaml", GREET]], pipeline_id=str(wanted)
    )
    assert made == wanted.hex


def test_an_update_is_for_new_jobs(client: Original) -> None:
    pipeline = register(client, GREET)
    before = job_of(client, pipeline, "before")["job_id"]
    assert (
        client.pipelines.update_pipeline(
            pipeline_id=pipeline,
            definition=[
                [
                    "greet.yaml",
                    GREET.replace("name: up\n", "name: upper\n", 1).replace(
                        "from: up", "from: upper"
                    ),
                ]
            ],
        )
        is None
    )
    after = job_of(client, pipeline, "after")["job_id"]
    assert set(client.jobs.get_status(job_id=before)["operator_details"]) == {"up", "greet"}
    assert set(client.jobs.get_status(job_id=after)["operator_details"]) == {"upper", "greet"}


def test_metadata_of_a_pipeline(client: Original) -> None:
    pipeline = register(client, GREET)
    add, remove = client.pipelines.add_metadata, client.pipelines.remove_metadata
    assert add(pipeline_id=pipeline, metadata={"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    assert client.pipelines.add_metadata(pipeline_id=pipeline, metadata={"c": "3"}) == {
        "a": "1", "b": "2", "c": "3",
    }  # fmt: skip
    with refused("'a' is there with another value"):
        add(pipeline_id=pipeline, metadata={"A": "other"})
    assert remove(pipeline_id=pipeline, keys=["a", "absent"]) == {"b": "2", "c": "3"}
    assert client.pipelines.remove_metadata(pipeline_id=pipeline, keys=["B"]) == {"c": "3"}


def test_a_broken_definition_is_refused_with_what_is_wrong(client: Original) -> None:
    with refused("operators"):
        register(client, "api-version: 0.4.0\nname: none\n")


# --- jobs ------------------------------------------------------------------------------------


def test_a_job_from_its_creation_to_its_results(client: Original, tmp_path: Path) -> None:
    pipeline = register(client, GREET)
    began = datetime.now(UTC) - timedelta(seconds=1)
    job = client.jobs.create_job(
        pipeline_id=pipeline,
        job_name="Ms. Äpfel #4",
        job_priority=3,
        metadata={"Source": "PACS (x)"},
    )
    assert ID.fullmatch(job["job_id"])
    assert ID.fullmatch(job["payload_id"])
    status = client.jobs.get_status(job_id=job["job_id"])
    assert (status["job_state"], status["job_status"], status["job_priority"]) == (1, HEALTHY, 3)
    assert (status["name"], status["pipeline_id"]) == ("Ms. Äpfel #4", pipeline)
    assert (status["date_started"], status["date_stopped"]) == (None, None)

    source = tmp_path / "name.txt"
    source.write_text("world\n")
    sent = client.payloads.upload(
        payload_id=job["payload_id"], blob_name="name.txt", file_path=str(source)
    )
    assert sent["size"] == 6
    assert sent["mode"] == 0o644
    assert sent["name"].endswith("name.txt")

    token = client.jobs.start_job(job_id=job["job_id"], named_values={"GREETING": "good-bye"})
    assert (token["job_id"], token["job_status"], token["job_priority"]) == (
        job["job_id"], HEALTHY, 3,
    )  # fmt: skip
    assert token["job_state"] in (1, 2)

    status = end(client, job["job_id"])
    assert (status["job_status"], status["messages"]) == (HEALTHY, [])
    assert status["metadata"] == {"Source": "PACS (x)"}
    times = [datetime.fromisoformat(status[f"date_{n}"]) for n in ("created", "started", "stopped")]
    assert times == sorted(times)
    assert began.replace(microsecond=0) <= times[0]
    assert times[2] <= datetime.now(UTC)
    assert {name: o["status"] for name, o in status["operator_details"].items()} == {
        "up": 3, "greet": 3,
    }  # fmt: skip
    assert all(
        o["started"]["value"] <= o["stopped"]["value"] for o in status["operator_details"].values()
    )

    assert client.jobs.job_logs(job_id=job["job_id"], operator_name="up") == ["upper\n", "done\n"]
    assert client.jobs.job_logs(job_id=job["job_id"], operator_name="clara-pod-manager")

    names = [
        file["name"]
        for file in client.payloads.get_details(payload_id=job["payload_id"])["file_details"]
    ]
    # What the official sample does with each name, and how it asks for the outputs.
    outputs = [name for name in names if name.split("/")[1] == "operators"]
    assert outputs == ["/operators/greet/greeting.txt", "/operators/up/name.txt"]
    target = tmp_path / "greeting.txt"
    got = client.payloads.download_from(
        payload_id=job["payload_id"], blob_name="." + outputs[0], dest_path=str(target)
    )
    assert target.read_text() == "good-bye WORLD\n"
    assert got["size"] == 15


def test_metadata_of_a_job(client: Original) -> None:
    job = job_of(client, register(client, GREET), "tags")["job_id"]
    assert client.jobs.add_metadata(job_id=job, metadata={"00100020": "ä" * 256}) == {
        "00100020": "ä" * 256
    }
    with refused("00100020"):
        client.jobs.add_metadata(job_id=job, metadata={"00100020": "another", "new": "1"})
    assert client.jobs.add_metadata(job_id=job, metadata={"00100020": "ä" * 256, "b": "1"}) == {
        "00100020": "ä" * 256, "b": "1",
    }  # fmt: skip
    assert client.jobs.remove_metadata(job_id=job, keys=["00100020"]) == {"b": "1"}
    assert client.jobs.get_status(job_id=job)["metadata"] == {"b": "1"}


def test_a_job_is_cancelled_with_a_reason(client: Original) -> None:
    job = job_of(client, register(client, ENDLESS), "endless")["job_id"]
    client.jobs.start_job(job_id=job)
    runs(client, job, "wait")
    token = client.jobs.cancel_job(job_id=job, reason="the patient left")
    assert (token["job_id"], token["job_state"], token["job_status"]) == (job, STOPPED, CANCELED)
    assert any(
        "the patient left" in text for text in client.jobs.get_status(job_id=job)["messages"]
    )


def test_a_job_that_was_not_started_is_cancelled(client: Original) -> None:
    job = job_of(client, register(client, ENDLESS), "unstarted")["job_id"]
    token = client.jobs.cancel_job(job_id=job)
    assert (token["job_state"], token["job_status"]) == (STOPPED, CANCELED)


def test_a_job_that_fails_says_so(client: Original) -> None:
    job = job_of(client, register(client, FAILS), "fails")["job_id"]
    client.jobs.start_job(job_id=job)
    status = end(client, job)
    assert status["job_status"] == FAULTED
    assert any("7" in text for text in status["messages"])
    assert status["operator_details"]["fail"]["status"] == 4
    assert client.jobs.job_logs(job_id=job, operator_name="fail") == ["no\n"]


def test_reusable_payloads_are_inputs(client: Original, tmp_path: Path) -> None:
    made = client.payloads.create_payload(metadata={"kind": "atlas"})
    payload = made["payload_id"]
    assert made["payload_type"] == 2
    for name, content in {"set/a.txt": "A\n", "b.txt": "B\n", "c.txt": "C\n"}.items():
        (tmp_path / "x").write_text(content)
        client.payloads.upload(payload_id=payload, blob_name=name, file_path=str(tmp_path / "x"))
    assert client.payloads.remove_from(payload_id=payload, blob_name="./c.txt") is None
    details = client.payloads.get_details(payload_id=payload)
    assert (details["payload_id"], details["payload_type"]) == (payload, 2)
    assert details["metadata"] == {"kind": "atlas"}
    assert [(f["name"], f["size"]) for f in details["file_details"]] == [
        ("/b.txt", 2), ("/set/a.txt", 2),
    ]  # fmt: skip

    pipeline = register(client, SHOW)
    job = client.jobs.create_job(pipeline_id=pipeline, job_name="reuse", input_payloads=[payload])
    with refused("b.txt"):
        client.jobs.create_job(
            pipeline_id=pipeline, job_name="twice", input_payloads=[payload, payload]
        )
    client.jobs.start_job(job_id=job["job_id"])
    assert end(client, job["job_id"])["job_status"] == HEALTHY
    target = tmp_path / "content"
    client.payloads.download_from(
        payload_id=job["payload_id"], blob_name="/operators/show/content", dest_path=str(target)
    )
    assert target.read_text() == "A\nB\n"

    assert client.payloads.delete_payload(payload_id=payload) is None
    with refused(payload):
        client.payloads.get_details(payload_id=payload)


def test_metadata_of_a_reusable_payload_and_none_of_a_jobs(client: Original) -> None:
    payload = client.payloads.create_payload()["payload_id"]
    assert client.payloads.add_metadata(payload_id=payload, metadata={"a": "1"}) == {"a": "1"}
    assert client.payloads.remove_metadata(payload_id=payload, keys=["A"]) == {}
    of_a_job = job_of(client, register(client, GREET), "job")["payload_id"]
    with refused(of_a_job):
        client.payloads.add_metadata(payload_id=of_a_job, metadata={"a": "1"})


def test_an_upload_in_many_chunks_replaces_the_one_before(client: Original, tmp_path: Path) -> None:
    payload = client.payloads.create_payload()["payload_id"]
    source, target = tmp_path / "source", tmp_path / "target"
    for content in (bytes(range(256)) * 40_000, b"short"):  # 10 MiB: more than a message holds
        source.write_bytes(content)
        sent = client.payloads.upload(
            payload_id=payload, blob_name="Big.bin", file_path=str(source)
        )
        assert sent["size"] == len(content)
        client.payloads.download_from(
            payload_id=payload, blob_name="big.BIN", dest_path=str(target)
        )
        assert target.read_bytes() == content


def test_an_empty_upload_is_refused_because_the_client_sends_no_name(
    client: Original, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    payload = client.payloads.create_payload()["payload_id"]
    with refused("no message"):
        client.payloads.upload(
            payload_id=payload, blob_name="empty", file_path=str(tmp_path / "empty")
        )


# --- lists -----------------------------------------------------------------------------------


def test_jobs_are_listed_by_every_filter_and_their_combination(client: Original) -> None:
    first, second = register(client, FAILS), register(client, GREET)
    failed = job_of(client, first, "failed")["job_id"]
    client.jobs.start_job(job_id=failed)
    stopped = datetime.fromisoformat(end(client, failed)["date_stopped"])
    # Whole seconds on the wire: two of them between what came before and what comes after.
    _pass(stopped + timedelta(seconds=2))
    pending = job_of(client, first, "pending", metadata={"a": "1"})["job_id"]
    cancelled = job_of(client, second, "cancelled")["job_id"]
    client.jobs.cancel_job(job_id=cancelled)
    between = (stopped + timedelta(seconds=1)).replace(tzinfo=None).isoformat()
    aware = (stopped + timedelta(seconds=1)).isoformat()

    def listed(**filters: Any) -> set[str]:
        found = client.jobs.list_jobs(job_filter=filters)
        streamed = client.jobs.stream_jobs(job_filter=filters, max_items=1000)
        assert found == streamed
        return {job["name"] for job in found if job["pipeline_id"] in (first, second)}

    both = [first, second]
    assert listed(pipelines=both) == {"failed", "pending", "cancelled"}
    assert listed(pipelines=[second]) == {"cancelled"}
    assert listed(states=[1]) == {"pending"}
    assert listed(states=[STOPPED]) == {"failed", "cancelled"}
    assert listed(states=[1, STOPPED]) == {"failed", "pending", "cancelled"}
    assert listed(states=[2]) == set()
    assert listed(statuses=[FAULTED]) == {"failed"}
    assert listed(statuses=[HEALTHY]) == {"pending"}
    assert listed(statuses=[FAULTED, CANCELED]) == {"failed", "cancelled"}
    assert listed(completed_before=between) == {"failed"}
    assert listed(completed_before=aware) == {"failed"}
    assert listed(created_after=between) == {"pending", "cancelled"}
    assert listed(created_after=aware, completed_before=aware) == set()
    assert listed(created_after=between, pipelines=[first]) == {"pending"}
    assert listed(created_after=between, states=[STOPPED], statuses=[CANCELED], pipelines=both) == {
        "cancelled"
    }
    assert listed(completed_before=between, statuses=[CANCELED], pipelines=both) == set()
    (details,) = client.jobs.list_jobs(job_filter={"pipelines": [first], "states": [1]})
    assert details["job_id"] == pending
    assert details["metadata"] == {"a": "1"}
    assert details["job_priority"] == 2


def _pass(moment: datetime) -> None:
    until("the moment is over", lambda: datetime.now(UTC) > moment)


def test_without_a_filter_the_jobs_that_have_not_stopped_are_listed(client: Original) -> None:
    pipeline = register(client, GREET)
    names = ["one", "two", "three"]
    jobs = [job_of(client, pipeline, name)["job_id"] for name in names]
    client.jobs.cancel_job(job_id=jobs[1])
    listed = [j["job_id"] for j in client.jobs.list_jobs() if j["pipeline_id"] == pipeline]
    assert listed == [jobs[0], jobs[2]]
    streamed = client.jobs.stream_jobs(max_items=1000)
    assert [j["job_id"] for j in streamed if j["pipeline_id"] == pipeline] == listed


# --- models ----------------------------------------------------------------------------------


@pytest.fixture
def model(site: GpuSite) -> Iterator[str]:
    """A stored model: the original client cannot store one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("lungs/config.pbtxt", 'name: "lungs"\nplatform: "tensorflow_savedmodel"\n')
        archive.writestr("lungs/1/model.savedmodel/saved_model.pb", b"weights")
    with grpc.insecure_channel(site.targets["unix"]) as channel:
        stub = models_pb2_grpc.ModelsStub(channel)
        stored = stub.UploadModel(
            iter(
                [
                    models_pb2.ModelsUploadModelRequest(
                        details=models_pb2.ModelDetails(
                            name="lungs", type=models_pb2.ModelType.MODEL_TYPE_TENSOR_FLOW
                        ),
                        data=content.getvalue(),
                    )
                ]
            )
        )
        assert stored.header.code == 0, stored
        yield stored.details.model_id.value
        stub.DeleteModel(
            models_pb2.ModelsDeleteModelRequest(
                model_id=common_pb2.Identifier(value=stored.details.model_id.value)
            )
        )


def test_metadata_of_a_model(client: Original, model: str) -> None:
    added = client.models.add_metadata(model_id=model, metadata={"organ": "lung", "by": "us"})
    assert added == {"organ": "lung", "by": "us"}
    assert client.models.remove_metadata(model_id=model, keys=["BY"]) == {"organ": "lung"}


def test_catalogs_and_instances_are_made_and_deleted(client: Original, site: GpuSite) -> None:
    catalog, instance = client.models.create_catalog(), client.models.create_instance()
    assert ID.fullmatch(catalog)
    assert ID.fullmatch(instance)
    with grpc.insecure_channel(site.targets["unix"]) as channel:
        stub = models_pb2_grpc.ModelsStub(channel)
        assert catalog in [
            c.catalog_id.value
            for message in stub.ListCatalogs(models_pb2.ModelsListCatalogsRequest())
            for c in message.catalogs
        ]
        assert instance in [
            c.catalog_id.value
            for message in stub.ListInstances(models_pb2.ModelsListInstancesRequest())
            for c in message.instances
        ]
    assert client.models.delete_catalog(catalog_id=catalog) is None
    with refused(catalog):
        client.models.delete_catalog(catalog_id=catalog)


# --- the platform ----------------------------------------------------------------------------


def test_the_version_is_that_of_the_platform(client: Original) -> None:
    version = client.clara.version()
    assert (version["major"], version["minor"], version["patch"]) == (0, 8, 1)


CARD = {"compute_utilization": 0.37, "memory_free": 12000, "memory_used": 4000, "pcie_id": 0x100}


def check_card(utilization: dict[str, Any]) -> None:
    (gpu,) = utilization["gpu_metrics"]
    assert {name: gpu[name] for name in CARD} == pytest.approx(CARD)
    assert gpu["memory_utilization"] == pytest.approx(0.25, abs=0.01)
    assert gpu["node_id"]
    assert gpu["process_details"] == []
    # This class of the client counts from the year 0: 366 days early against any server.
    shown = datetime.fromisoformat(gpu["timestamp"]) + timedelta(days=366)
    assert abs(shown - datetime.now()) < timedelta(seconds=10)  # noqa: DTZ005 - the client's TZ is UTC


def test_the_utilization_is_sent_once_and_ends(client: Original) -> None:
    (utilization,) = client.clara.list_utilization()
    check_card(utilization)


def test_the_utilization_is_watched_for_as_long_as_the_client_wants(client: Original) -> None:
    began = time.monotonic()
    for utilization in client.clara.stream_utilization(max_items=4):
        check_card(utilization)
    assert 0.3 < time.monotonic() - began < 10, "an interval of 0.2 s is set"


def test_stop_leaves_jobs_and_the_daemon_alive(client: Original) -> None:
    job = job_of(client, register(client, ENDLESS), "endless")["job_id"]
    client.jobs.start_job(job_id=job)
    runs(client, job, "wait")
    assert client.clara.stop() is None
    assert client.jobs.get_status(job_id=job)["job_state"] == 2
    client.jobs.cancel_job(job_id=job)
    assert client.clara.version()["major"] == 0


# --- errors ----------------------------------------------------------------------------------


def test_errors_come_in_the_header_as_the_client_expects(client: Original) -> None:
    with refused(UNKNOWN):
        job_of(client, UNKNOWN, "nothing")
    with refused(UNKNOWN):
        client.jobs.get_status(job_id=UNKNOWN)
    with refused(UNKNOWN):
        client.jobs.start_job(job_id=UNKNOWN)
    with refused(UNKNOWN):
        client.jobs.cancel_job(job_id=UNKNOWN)
    with refused("not-an-id"):
        client.jobs.get_status(job_id="not-an-id")
    with refused(UNKNOWN):
        client.payloads.get_details(payload_id=UNKNOWN)
    with refused(UNKNOWN):
        client.payloads.download_from(payload_id=UNKNOWN, blob_name="x", dest_path="/dev/null")
    with refused(UNKNOWN):
        client.models.add_metadata(model_id=UNKNOWN, metadata={"a": "1"})
    with refused("255"):
        job_of(client, register(client, GREET), "x" * 256)


def test_a_deadline_of_the_client_is_one_of_grpc(client: Original) -> None:
    with pytest.raises(OriginalError) as raised:
        client.clara.stream_utilization(max_items=1000, timeout=0.5)
    assert raised.value.status == "DEADLINE_EXCEEDED"
