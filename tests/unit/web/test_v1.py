# ruff: noqa: E501 - a row of a table is a line
"""Readable paths: rules, messages, lists, pages, raw bodies, and requests that are refused."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import grpc
import h11
import pytest
from google.protobuf import descriptor_pool, json_format

from claraedge.web.rpc.methods import Method, descriptor, methods_of
from claraedge.web.v1.forms import LineForm, ListForm, TextForm, accepted
from claraedge.web.v1.readable import canonical, printed
from claraedge.web.v1.rules import Rule, rules_of
from claraedge.wire.http_rules import ONE_OBJECT, RULES, WITH_PAGES, WITHOUT_RULE
from claraedge.wire.nvidia.clara.platform import jobs_pb2, pipelines_pb2
from tests.rig.pipelines import chain
from tests.unit.web.conftest import Client, Connection, Daemon

NOBODY = "0123456789abcdef0123456789abcdef"
MODEL = "application/zip"
MANIFEST = """
name: web
packageVersion: v1
plans:
- components:
  - {name: c, requiredRuntime: device, executables: [{name: main, docker: "a:1"}]}
"""


async def served(http: Client) -> Mapping[str, Method]:
    answer = await http.post(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        b'{"listServices":""}\n',
        Content_Type="application/x-ndjson",
    )
    pool = descriptor_pool.Default()
    names = [one["name"] for one in answer.lines[0]["listServicesResponse"]["service"]]
    return methods_of(pool.FindServiceByName(name) for name in names)


async def test_each_method_has_a_rule_or_a_reason(http: Client) -> None:
    names = {path[1:].replace("/", ".") for path in await served(http)}
    services = {name.rpartition(".")[0] for name in names}
    ruled = {selector for selector, *_ in RULES}
    reasons = set(WITHOUT_RULE)
    assert ruled <= names
    assert reasons <= names | services
    assert {name for name in names if not reasons & {name, name.rpartition(".")[0]}} == ruled
    assert not ruled & reasons
    assert set(WITH_PAGES) <= ruled
    assert set(ONE_OBJECT) <= {template for _, verb, template, *_ in RULES if verb == "GET"}


async def test_a_search_selects_ids(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    first, second, _ = [(await daemon.create(pipeline)).job_id.value for _ in range(3)]
    answer = await http.ask("GET", f"/v1/search?ids={first}&ids={second}")
    assert [hit["id"] for hit in answer.json["hits"]] == [second, first]
    answer = await http.ask("GET", "/v1/search?ids=%25")
    assert answer.status == 400
    assert answer.json["message"].startswith("'%' is not an id")


async def test_only_methods_that_change_nothing_are_served_by_get(http: Client) -> None:
    read = {
        "Version", "Utilization", "Status", "Names", "Watch", "List", "Details", "ReadLogs",
        "Explain", "Get", "ListModels", "DownloadModel", "ListCatalogs", "ReadCatalog",
        "ListInstances", "ReadInstance", "ListUploads", "GetUpload", "ReadLog", "GetJob", "ListJobs",
        "Find",
        "ListTriggers",
        "Settings", "Usage",
    }  # fmt: skip
    for rule in rules_of(await served(http)):
        assert (rule.verb == "GET") == (rule.method.path.rpartition("/")[2] in read), rule
        assert (rule.verb in ("POST", "PUT")) == bool(rule.body), rule


async def test_each_unary_method_gives_equal_messages_over_grpc_connect_and_readable_paths(
    daemon: Daemon, http: Client
) -> None:
    """Each method is called in the three ways, on a thing of its own where it changes one."""
    methods = await served(http)
    pipeline = await daemon.register(chain("copy"))
    ended = await daemon.run(pipeline, file=b"content")
    reusable = (await http.post("/v1/payloads")).json["payloadId"]

    async def job() -> str:
        return (await daemon.create(pipeline)).job_id.value

    async def started() -> str:
        made = await job()
        await daemon.start(made)
        await daemon.end(made)
        return made

    async def payload() -> str:
        made: str = (await http.post("/v1/payloads")).json["payloadId"]
        return made

    async def filled() -> str:
        made = await payload()
        await daemon.upload(made, ("a", b"b"))
        return made

    async def removable() -> str:
        return await daemon.register(chain("copy"))

    async def catalog() -> str:
        made: str = (await http.post("/v1/catalogs")).json["catalogId"]
        return made

    async def instance() -> str:
        made: str = (await http.post("/v1/instances")).json["instanceId"]
        return made

    async def model() -> str:
        sent = await http.ask("POST", "/v1/models?details.name=m", zipped())
        made: str = sent.json["details"]["modelId"]
        return made

    (daemon.config.inbox_dir / "ct").mkdir()

    async def drop() -> str:
        made: str = (await http.post("/v1/drops", {"folder": "ct"})).json["id"]
        return made

    async def once() -> str:
        return ""

    async def same_job() -> str:
        return ended.job_id.value

    async def same_payload() -> str:
        return str(reusable)

    package = (await http.post("/v1/packages", {"manifest": MANIFEST})).json["id"]

    requests: dict[str, tuple[Any, Any]] = {
        "Clara.Version": (once, {}),
        "Clara.Stop": (once, {}),
        "Appliance.Status": (once, {}),
        "Appliance.Names": (once, {}),
        "Appliance.Settings": (once, {}),
        "Appliance.Usage": (once, {}),
        "Appliance.TryAgain": (once, {"kind": "job", "name": "none"}),
        "Images.List": (once, {}),
        "Images.Remove": (once, {"reference": "none:1"}),
        "Inbox.Get": (once, {"id": NOBODY}),
        "Inbox.Retry": (once, {"id": NOBODY}),
        "Inbox.Discard": (once, {"id": NOBODY}),
        "Search.Find": (once, {}),
        "Inbox.ListTriggers": (once, {}),
        "Drops.Start": (once, {"folder": "none"}),
        "Drops.Get": (drop, {"drop_id": 0}),
        "Drops.Finish": (drop, {"drop_id": 0}),
        "Drops.Cancel": (drop, {"drop_id": 0}),
        "Queue.Explain": (job, {"job_id": 0}),
        "Files.GetUpload": (once, {"upload_id": NOBODY}),
        "Files.CancelUpload": (once, {"upload_id": NOBODY}),
        "Jobs.Create": (once, {"pipelineId": pipeline, "name": "job"}),
        "Jobs.Status": (same_job, {"job_id": 0}),
        "Jobs.Start": (started, {"job_id": 0}),
        "Jobs.Cancel": (job, {"job_id": 0, "reason": "no need"}),
        "Jobs.AddMetadata": (same_job, {"job_id": 0, "metadata": {"a": "b"}}),
        "Jobs.RemoveMetadata": (same_job, {"job_id": 0, "keys": ["c"]}),
        "Payloads.Create": (once, {"metadata": {"a": "b"}}),
        "Payloads.Delete": (payload, {"payload_id": 0}),
        "Payloads.Remove": (filled, {"payload_id": 0, "name": "a"}),
        "Payloads.AddMetadata": (same_payload, {"payload_id": 0, "metadata": {"a": "b"}}),
        "Payloads.RemoveMetadata": (same_payload, {"payload_id": 0, "keys": ["c"]}),
        "Pipelines.Remove": (removable, {"pipeline_id": 0}),
        "Pipelines.AddMetadata": (removable, {"pipeline_id": 0, "metadata": {"a": "b"}}),
        "Pipelines.RemoveMetadata": (removable, {"pipeline_id": 0, "keys": ["c"]}),
        "Packages.Create": (once, {"manifest": MANIFEST}),
        "Packages.List": (once, {"name": "web"}),
        "Packages.Get": (once, {"package": package}),
        "Packages.Delete": (once, {"package": "none"}),
        "Deployments.Create": (once, {"name": "web", "package": "none"}),
        "Deployments.List": (once, {"package": package}),
        "Deployments.Get": (once, {"deployment": "none"}),
        "Deployments.Update": (once, {"deployment": "none", "executables": []}),
        "Deployments.Delete": (once, {"deployment": "none"}),
        "Devices.Get": (once, {}),
        "Networks.Create": (once, {"name": " "}),
        "Networks.List": (once, {"kind": "NETWORK_KIND_ROUTED"}),
        "Networks.Get": (once, {"network": "none"}),
        "Networks.Delete": (once, {"network": "none"}),
        "Bags.StartJob": (once, {"deployment": "none"}),
        "Bags.StopJob": (once, {"job": "none"}),
        "Bags.ListJobs": (once, {"statuses": ["BAG_JOB_STATUS_RUNNING"]}),
        "Bags.GetJob": (once, {"job": "none"}),
        "Bags.UpdateJob": (once, {"job": "none"}),
        "Bags.List": (once, {}),
        "Bags.Get": (once, {"bag": "none"}),
        "Bags.Delete": (once, {"bag": "none"}),
        "Routes.Create": (once, {"prefix": "NONE"}),
        "Routes.List": (once, {}),
        "Routes.Get": (once, {"route": "none"}),
        "Routes.Delete": (once, {"route": "none"}),
        "Models.CreateCatalog": (once, {}),
        "Models.CreateInstance": (once, {}),
        "Models.DeleteCatalog": (catalog, {"catalog_id": 0}),
        "Models.DeleteInstance": (instance, {"instance_id": 0}),
        "Models.DeleteModel": (model, {"model_id": 0}),
        "Models.AddMetadata": (model, {"model_id": 0, "metadata": {"a": "b"}}),
        "Models.RemoveMetadata": (model, {"model_id": 0, "keys": ["c"]}),
    }
    rules = {rule.method.path: rule for rule in rules_of(methods) if not rule.method.streaming}
    assert {path.rpartition(".")[2].replace("/", ".") for path in rules} == set(requests)
    for path, rule in rules.items():
        make, fields = requests[path.rpartition(".")[2].replace("/", ".")]
        found = []
        for way in (over_grpc, over_connect, over_readable_path):
            id_ = await make()
            values = {name: id_ if value == 0 else value for name, value in fields.items()}
            found.append(steady(await way(daemon, http, rule, values), id_))
        assert found[0] == found[1] == found[2], path


async def over_grpc(daemon: Daemon, http: Client, rule: Rule, values: Any) -> Any:
    """Returns the answer to a call as readable JSON, or the name of its error."""
    call = daemon.channel.unary_unary(
        rule.method.path,
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=rule.method.response.FromString,
    )
    try:
        answer = await call(message(rule, values))
    except grpc.aio.AioRpcError as error:
        return dict(error.trailing_metadata() or ())["claraedge-error"]
    return json.loads(json.dumps(printed(answer)))


async def over_connect(daemon: Daemon, http: Client, rule: Rule, values: Any) -> Any:
    body = json_format.MessageToDict(message(rule, values))
    answer = await http.post(rule.method.path, body)
    if answer.status != 200:
        return answer.headers["claraedge-error"]
    return printed(json_format.ParseDict(answer.json, rule.method.response()))


async def over_readable_path(daemon: Daemon, http: Client, rule: Rule, values: Any) -> Any:
    target, rest = rule.template, dict(values)
    for name in rule.variables:
        target = re.sub(rf"{{{name}(=\*\*)?}}", quote(rest.pop(name)), target)
    body = json.dumps(rest).encode() if rule.body else b""
    answer = await http.ask(rule.verb, target, body, Content_Type="application/json")
    if answer.status != 200:
        return answer.headers["claraedge-error"]
    return {rule.response.json_name: answer.json} if rule.response else answer.json


def message(rule: Rule, values: Any) -> Any:
    value = canonical(values, descriptor(rule.method.request))
    return json_format.ParseDict(value, rule.method.request())


#: Fields that differ from call to call.
UNSTEADY = {
    "jobId", "payloadId", "pipelineId", "catalogId", "instanceId", "modelId", "instance", "disks",
    "originalsBytes", "outboxBytes", "expires", "time", "since", "history", "memoryUsed",
}  # fmt: skip


def steady(value: Any, id_: str) -> Any:
    """Returns a message without what differs from call to call."""
    text = json.dumps(value)
    value = json.loads(text.replace(id_, "the same") if id_ else text)
    if not isinstance(value, dict):
        return value
    return {name: bool(one) if name in UNSTEADY else one for name, one in value.items()}


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/config.pbtxt", 'name: "m"\n')
        archive.writestr("m/1/model.plan", bytes(300_000))
    return buffer.getvalue()


async def test_a_package_from_its_creation_to_its_end(http: Client) -> None:
    made = await http.post("/v1/packages", {"manifest": MANIFEST})
    assert made.status == 200, made.body
    again = await http.post("/v1/packages", {"manifest": MANIFEST})
    assert (again.status, again.headers["claraedge-error"]) == (409, "package-exists")
    listed = (await http.ask("GET", "/v1/packages?version=v1")).json
    assert [(one["id"], one["name"]) for one in listed] == [(made.json["id"], "web")]
    assert (await http.ask("GET", "/v1/packages/web%3Av1")).json == made.json
    wrong = await http.post("/v1/packages", {"manifest": "plans: 5"})
    assert (wrong.status, wrong.headers["claraedge-error"]) == (400, "invalid-manifest")
    for status in (200, 404):
        assert (await http.ask("DELETE", f"/v1/packages/{made.json['id']}")).status == status


async def test_a_job_from_its_definition_to_its_log(daemon: Daemon, http: Client) -> None:
    made = await http.ask(
        "POST", "/v1/pipelines:register?definition.path=chain.yaml", chain("copy").encode(),
        Content_Type="application/yaml",
    )  # fmt: skip
    assert made.status == 200, made.body
    pipeline = made.json["pipelineId"]
    assert [one["name"] for one in (await http.ask("GET", "/v1/pipelines")).json] == ["chain"]
    details = (await http.ask("GET", f"/v1/pipelines/{pipeline}")).json
    assert (details["name"], details["dag"]) == ("chain", [{"name": "copy", "next": []}])
    files = (await http.ask("GET", f"/v1/pipelines/{pipeline}/files")).json
    assert files == [{"path": "chain.yaml", "content": chain("copy")}]
    job = (await http.post("/v1/jobs", {"pipelineId": pipeline, "name": "ä", "metadata": {"a": "b"}})).json  # fmt: skip
    assert set(job) == {"jobId", "payloadId"}
    waits = (await http.ask("GET", f"/v1/jobs/{job['jobId']}/waits")).json
    assert len(waits) == 1
    await daemon.upload(job["payloadId"], ("f", b"content"))
    answer = await http.post(f"/v1/jobs/{job['jobId']}:start")  # fmt: skip
    assert answer.status == 200, answer.body
    await daemon.end(job["jobId"])
    status = (await http.ask("GET", f"/v1/jobs/{job['jobId']}")).json
    assert (status["state"], status["status"]) == ("JOB_STATE_STOPPED", "JOB_STATUS_HEALTHY")
    assert status["metadata"] == {"a": "b"}
    assert status["name"] == "ä"
    assert status["messages"] == []
    assert status["created"].endswith("Z")
    assert "timestampCreated" not in status
    assert "header" not in status
    files = (await http.ask("GET", f"/v1/payloads/{job['payloadId']}/files")).json
    assert "/input/f" in [file["name"] for file in files]
    log = f"/v1/jobs/{job['jobId']}/operators/copy/log"
    lines = (await http.ask("GET", log)).json
    text = await http.ask("GET", log, Accept="text/plain")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.body.decode() == "".join(lines)
    removed = await http.ask("DELETE", f"/v1/pipelines/{pipeline}")
    assert (removed.status, removed.json) == (200, {})


async def test_lists_come_as_json_lines_and_events(daemon: Daemon, http: Client) -> None:
    assert (await http.ask("GET", "/v1/jobs")).body == b"[]\n"
    pipeline = await daemon.register(chain("copy"))
    jobs = [(await daemon.create(pipeline)).job_id.value for _ in range(3)]
    listed = await http.ask("GET", "/v1/jobs")
    assert listed.headers["content-type"] == "application/json"
    assert [job["jobId"] for job in listed.json] == jobs
    lines = await http.ask("GET", "/v1/jobs", Accept="application/x-ndjson")
    assert lines.lines == listed.json
    events = await http.ask("GET", "/v1/jobs", Accept="text/event-stream;q=0.9, */*;q=0.1")
    assert events.headers["content-type"] == "text/event-stream"
    *data, end, rest = events.body.decode().split("\n\n")
    assert [json.loads(one.removeprefix("data: ")) for one in data] == listed.json
    assert (end, rest) == ("event: end\ndata: {}", "")
    refused = await http.ask("GET", "/v1/jobs", Accept="text/html")
    assert (refused.status, refused.headers["claraedge-error"]) == (406, "invalid-request")


async def test_a_filter_is_the_query(daemon: Daemon, http: Client) -> None:
    one = await daemon.register(chain("copy"))
    done = (await daemon.run(one, f=b"1")).job_id.value
    new = (await daemon.create(one)).job_id.value

    async def ids(query: str) -> list[str]:
        answer = await http.ask("GET", f"/v1/jobs?{query}")
        assert answer.status == 200, answer.body
        return [job["jobId"] for job in answer.json]

    states = "filter.hasState=JOB_STATE_STOPPED"
    assert await ids(states) == [done]
    assert await ids(f"{states}&filter.has_state=JOB_STATE_PENDING") == [done, new]
    assert await ids(f"{states}&filter.createdAfter=2999-01-01T00:00:00Z") == []
    assert await ids(f"{states}&filter.createdAfter=2001-01-01T00:00:00%2B02:00") == [done]
    assert await ids(f"{states}&filter.pipelineId={one}") == [done]
    assert await ids(f"{states}&filter.pipelineId={NOBODY}") == []


async def test_pages_follow_one_another_by_their_links(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    jobs = [(await daemon.create(pipeline)).job_id.value for _ in range(7)]
    target, sizes, seen = "/v1/jobs?pageSize=3&filter.hasState=JOB_STATE_PENDING", [], []
    while target:
        page = await http.ask("GET", target)
        assert page.status == 200, page.body
        sizes.append(len(page.json))
        seen += [job["jobId"] for job in page.json]
        link = page.headers.get("link", "")
        target = link.removeprefix("<").removesuffix('>; rel="next"')
    assert (sizes, seen) == ([3, 3, 1], jobs)
    whole = await http.ask("GET", "/v1/jobs?pageSize=7")
    assert (len(whole.json), "link" in whole.headers) == (7, False)
    failed = await http.ask("GET", f"/v1/payloads/{NOBODY}/files?pageSize=3")
    assert failed.status == 404


async def test_pages_continue_when_the_entries_before_have_left_the_list(
    daemon: Daemon, http: Client
) -> None:
    pipeline = await daemon.register(chain("copy"))
    jobs = [(await daemon.create(pipeline)).job_id for _ in range(5)]
    first = await http.ask("GET", "/v1/jobs?pageSize=2&filter.hasState=JOB_STATE_PENDING")
    for job in jobs[:2]:
        await daemon.jobs.Cancel(jobs_pb2.JobsCancelRequest(job_id=job))
    target = first.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
    second = await http.ask("GET", target)
    assert [job["jobId"] for job in second.json] == [job.value for job in jobs[2:4]]
    lines = await http.ask("GET", target, Accept="application/x-ndjson")
    assert lines.lines == second.json


async def test_a_page_of_large_entries_ends_early(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    large = {f"key{n}": "x" * 250 for n in range(4000)}
    jobs = [(await daemon.create(pipeline, metadata=large)).job_id.value for _ in range(5)]
    target, seen, counts = "/v1/jobs?pageSize=1000", [], []
    while target:
        page = await http.ask("GET", target)
        counts.append(len(page.json))
        seen += [job["jobId"] for job in page.json]
        target = page.headers.get("link", "").removeprefix("<").removesuffix('>; rel="next"')
    assert seen == jobs
    assert max(counts) < 5


async def test_files_have_pages_by_name(daemon: Daemon, http: Client) -> None:
    payload = (await http.post("/v1/payloads")).json["payloadId"]
    names = ["a", "z/1", "z/2", "ä & b"]
    await daemon.upload(payload, *((name, b"1") for name in names))
    target, seen = f"/v1/payloads/{payload}/files?pageSize=1", []
    while target:
        page = await http.ask("GET", target)
        seen += [file["name"] for file in page.json]
        target = page.headers.get("link", "").removeprefix("<").removesuffix('>; rel="next"')
    assert seen == [f"/{name}" for name in names]
    one = (await http.ask("GET", f"/v1/payloads/{payload}")).json
    assert (one["payloadId"], "file" in one) == (payload, False)


async def test_warnings_of_an_answer_are_shown(http: Client) -> None:
    text = chain("copy").replace("name: chain", "name: chain\nx-unknown: 1")
    path = "/v1/pipelines:register?definition.path=p.yaml"
    made = await http.ask("POST", path, text.encode())
    assert made.status == 200, made.body
    (warning,) = made.json["warnings"]
    assert "x-unknown" in warning


async def test_a_list_for_a_stream_of_requests_is_read_at_once(http: Client) -> None:
    catalog = (await http.post("/v1/catalogs")).json["catalogId"]
    path, kind = f"/v1/catalogs/{catalog}", {"Content_Type": "application/json"}
    many = json.dumps([{}] * 10_000).encode()
    assert (await http.ask("PUT", path, many, **kind)).status == 200
    more = await http.ask("PUT", path, json.dumps([{}] * 10_001).encode(), **kind)
    assert (more.status, "10001" in more.json["message"]) == (400, True)


async def test_a_head_of_an_endless_stream_ends_it(daemon: Daemon, http: Client) -> None:
    async with http.connected() as connection:
        connection.http = h11.Connection(h11.CLIENT)
        for path in ("/v1/events", "/v1/utilization?watch=true", "/v1/version"):
            await connection.ask("HEAD", path, b"")
            answer = await connection.answer()
            assert (answer.status, answer.body) == (200, b"")
            connection.http.start_next_cycle()


async def test_ends_of_lines_in_texts_end_no_line(daemon: Daemon, http: Client) -> None:
    pipeline = await daemon.register(chain("copy"))
    await daemon.create(pipeline, metadata={"a": "1\u2028 2\u2029 3\x85"})
    for path, more in (("/v1/jobs", {"Accept": "application/x-ndjson"}),):
        body = (await http.ask("GET", path, b"", **more)).body.decode()
        assert len(body.splitlines()) == 1
        assert json.loads(body)["metadata"] == {"a": "1\u2028 2\u2029 3\x85"}


async def test_models_and_images_are_sent_as_they_are(http: Client) -> None:
    archive = zipped()
    sent = await http.ask(
        "POST",
        "/v1/models?details.name=m&details.type=MODEL_TYPE_TENSOR_RT&details.metadata.made.by=us",
        archive, Content_Type=MODEL,
    )  # fmt: skip
    assert sent.status == 200, sent.body
    details = sent.json["details"]
    assert details["metadata"] == {"made.by": "us"}
    model = details["modelId"]
    read = await http.ask("GET", f"/v1/models/{model}:download")
    assert read.headers["content-type"] == "application/octet-stream"
    with zipfile.ZipFile(io.BytesIO(read.body)) as found:
        assert found.read("m/1/model.plan") == bytes(300_000)
    put = await http.post("/v1/catalogs")
    catalog = put.json["catalogId"]
    body = json.dumps([{"modelIds": [model]}, {"modelIds": []}]).encode()
    path = f"/v1/catalogs/{catalog}"
    answer = await http.ask("PUT", path, body, Content_Type="application/json")
    assert answer.status == 200, answer.body
    assert [one["modelId"] for one in (await http.ask("GET", path)).json] == [model]
    lines = json.dumps({"modelIds": []}).encode() + b"\n"
    await http.ask("PUT", path, lines, Content_Type="application/x-ndjson")
    assert (await http.ask("GET", path)).json == []
    loaded = await http.ask("POST", "/v1/images:load", b"no archive")
    assert (loaded.status, loaded.headers["claraedge-error"]) == (400, "invalid-image")
    empty = await http.ask("POST", "/v1/images:load", b"")
    assert empty.status == 400


BAD = [
    pytest.param("GET", "/v1/nothing", b"", {}, 404, "not-supported", "/v1/nothing", id="path"),
    pytest.param("POST", "/v1/version", b"", {}, 405, "invalid-request", "GET", id="method"),
    pytest.param("GET", f"/v1/jobs/{NOBODY}", b"", {}, 404, "job-not-found", NOBODY, id="no job"),
    pytest.param("GET", "/v1/jobs/x", b"", {}, 400, "invalid-job-id", "x", id="no id"),
    pytest.param("GET", "/v1/jobs/%ff", b"", {}, 400, "invalid-request", "%ff", id="not UTF-8"),
    pytest.param("GET", "/v1/jobs?x=1", b"", {}, 400, "invalid-request", '"x"', id="query"),
    pytest.param("GET", "/v1/jobs?x=%ff", b"", {}, 400, "invalid-request", "UTF-8", id="bytes"),
    pytest.param("GET", "/v1/version?x=1", b"", {}, 400, "invalid-request", '"x"', id="query 2"),
    pytest.param("GET", "/v1/jobs?header.x=1", b"", {}, 400, "invalid-request", "header", id="header"),
    pytest.param("GET", "/v1/jobs?filter=1", b"", {}, 400, "invalid-request", "filter.FIELD", id="message"),
    pytest.param("GET", "/v1/jobs?filter.hasState=NO", b"", {}, 400, "undecodable-request", "NO", id="enum"),
    pytest.param("GET", "/v1/jobs?filter.createdAfter=now", b"", {}, 400, "undecodable-request", "RFC 3339", id="time"),
    pytest.param("GET", "/v1/jobs?filter.createdAfter=2026-01-01T00:00:00", b"", {}, 400, "undecodable-request", "RFC 3339", id="time without zone"),
    pytest.param("GET", f"/v1/jobs/{NOBODY}:start", b"", {}, 405, "invalid-request", "POST", id="verb"),
    pytest.param("POST", f"/v1/jobs/{NOBODY}:stop", b"", {}, 404, "not-supported", ":stop", id="no verb"),
    pytest.param("POST", "/v1/jobs/{job_id}:cancel", b"{}", {}, 400, "invalid-job-id", "job_id", id="template"),
    pytest.param("GET", f"/v1/jobs/{NOBODY}?jobId.value=x", b"", {}, 400, "invalid-request", "jobId.value", id="in an id"),
    pytest.param("GET", "/v1/jobs?filter.createdAfter=2026-01-01T00:00:00Z&filter.createdAfter.value=5", b"", {}, 400, "invalid-request", "createdAfter.value", id="in a time"),
    pytest.param("GET", "/v1/jobs?pageSize=1&pageSize=2", b"", {}, 400, "invalid-request", "twice", id="two sizes"),
    pytest.param("GET", "/v1/jobs?pageSize=1_0", b"", {}, 400, "invalid-request", "pageSize", id="digits"),
    pytest.param("GET", "/v1/jobs?pageSize=1001", b"", {}, 400, "invalid-request", "1000", id="large page"),
    pytest.param("GET", "/v1/jobs?pageToken=%21", b"", {}, 400, "invalid-request", "begin again", id="no token"),
    pytest.param("GET", "/v1/jobs?pageToken=YQ", b"", {}, 400, "invalid-request", "begin again", id="other token"),
    pytest.param("POST", "/v1/pipelines:register?definition.content=x", b"a", {}, 400, "invalid-request", "the body", id="content twice"),
    pytest.param("POST", "/v1/models?data=AAAA", b"a", {}, 400, "invalid-request", "the body", id="data twice"),
    pytest.param("POST", "/v1/models?details.metadata.k=1&details.metadata.k=2", b"a", {}, 400, "invalid-request", "twice", id="key twice"),
    pytest.param("POST", "/v1/jobs", b'{"pipelineId":"a","pipeline_id":"b"}', {}, 400, "undecodable-request", "twice", id="name twice"),
    pytest.param("POST", f"/v1/jobs/{NOBODY}:cancel", b'{"job_id":"a"}', {}, 400, "undecodable-request", "jobId", id="two ids by another name"),
    pytest.param("POST", "/v1/images:load", b"a", {"Content_Encoding": "gzip"}, 415, "invalid-request", "Content-Encoding", id="gzip"),
    pytest.param("GET", "/v1/events?inbox=false", b"", {}, 400, "invalid-request", "selects no", id="nothing followed"),
    pytest.param("GET", "/v1/events?after=a-1&after=a-2", b"", {}, 400, "invalid-request", "once", id="two positions"),
    pytest.param("GET", "/v1/events?after.epoch=a", b"", {}, 400, "invalid-request", "EPOCH", id="half a position"),
    pytest.param("GET", "/v1/jobs?pageSize=0", b"", {}, 400, "invalid-request", "size of a page", id="pageSize"),
    pytest.param("GET", "/v1/jobs?pageSize=x", b"", {}, 400, "invalid-request", "pageSize", id="pageSize 2"),
    pytest.param("GET", "/v1/status?pageSize=3", b"", {}, 400, "invalid-request", "pageSize", id="no list"),
    pytest.param("GET", "/v1/utilization?watch=yes", b"", {}, 400, "invalid-request", "watch", id="bool"),
    pytest.param("GET", "/v1/utilization?watch=true&watch=true", b"", {}, 400, "invalid-request", "twice", id="twice"),
    pytest.param("GET", "/v1/version", b"{}", {}, 400, "invalid-request", "body", id="body of GET"),
    pytest.param("POST", "/v1/jobs", b"{", {}, 400, "undecodable-request", "JSON", id="no JSON"),
    pytest.param("POST", "/v1/jobs", b"[]", {}, 400, "undecodable-request", "object", id="list"),
    pytest.param("POST", "/v1/jobs", b"[" * 99_999, {}, 400, "undecodable-request", "nested", id="deep"),
    pytest.param("POST", "/v1/jobs", b'{"x":1}', {}, 400, "undecodable-request", '"x"', id="field"),
    pytest.param("POST", "/v1/jobs", b'{"inputPayloads":[7]}', {}, 400, "undecodable-request", "string", id="id"),
    pytest.param("POST", "/v1/jobs", b'{"inputPayloads":7}', {}, 400, "undecodable-request", "", id="no list"),
    pytest.param("POST", "/v1/jobs", b'{"metadata":7}', {}, 400, "undecodable-request", "", id="no map"),
    pytest.param("POST", "/v1/jobs", b'{"name":null}', {}, 400, "invalid-pipeline-id", "", id="null"),
    pytest.param("POST", "/v1/jobs", b'{"name":"\\ud800"}', {}, 400, "undecodable-request", "", id="half a character"),
    pytest.param("POST", "/v1/jobs?name=a", b"{}", {}, 400, "invalid-request", "body", id="query and body"),
    pytest.param("POST", "/v1/jobs", b"{}", {"Content_Type": "text/plain"}, 415, "invalid-request", "application/json", id="type"),
    pytest.param("POST", "/v1/jobs", b"{}", {"Content_Encoding": "gzip"}, 415, "invalid-request", "Content-Encoding", id="encoding"),
    pytest.param("POST", "/v1/jobs", b" " * (7 << 20), {}, 413, "message-size", "", id="size"),
    pytest.param("POST", f"/v1/jobs/{NOBODY}:start", b'{"jobId":"a"}', {}, 400, "undecodable-request", "jobId", id="two ids"),
    pytest.param("POST", "/v1/pipelines:register", b"\xff", {}, 400, "invalid-request", "UTF-8", id="text"),
    pytest.param("GET", "/v1/events?jobIds=x", b"", {}, 400, "invalid-job-id", "x", id="events"),
    pytest.param("GET", "/v1/events?x=1", b"", {}, 400, "invalid-request", '"x"', id="events query"),
    pytest.param("GET", "/v1/events", b"", {"Last_Event_ID": "x"}, 400, "invalid-request", "EPOCH", id="event id"),
    pytest.param("GET", "/v1/events", b"", {"Accept": "application/json"}, 406, "invalid-request", "text/event-stream", id="events type"),
    pytest.param("GET", "/v1/jobs", b"", {"Grpc_Timeout": "1"}, 400, "invalid-request", "Grpc-Timeout", id="deadline"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "path", "body", "headers", "status", "name", "text"), BAD)
async def test_a_bad_request_is_refused_with_its_reason(
    http: Client, verb: str, path: str, body: bytes, headers: dict[str, str], status: int,
    name: str, text: str,
) -> None:  # fmt: skip
    answer = await http.ask(verb, path, body, **{"Content_Type": "application/json"} | headers)
    assert (answer.status, answer.headers["claraedge-error"]) == (status, name), answer.body
    assert text in answer.json["message"]
    assert len(answer.json["message"]) > 20


async def cut_body(connection: Connection) -> bytes:
    """Returns the body of an answer whose connection ends before it does."""
    head = await connection.event()
    assert head.status_code == 200
    body = bytearray()
    try:
        while True:
            body += (await connection.event()).data
    except h11.RemoteProtocolError:
        return bytes(body)


@pytest.mark.parametrize(
    ("accept", "last"),
    [
        ("application/json", None),
        ("application/x-ndjson", '{"error":{"code":"deadline_exceeded"'),
        ("text/event-stream", 'data: {"code":"deadline_exceeded"'),
    ],
)
async def test_a_list_that_fails_midway_is_not_mistaken_for_the_whole(
    http: Client, accept: str, last: str | None
) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with http.connected() as connection:
        path = "/v1/utilization?watch=true"
        await connection.ask("GET", path, b"", Grpc_Timeout="2S", Accept=accept)
        body = (await cut_body(connection)).decode()
    assert loop.time() - before >= 2
    if last is None:
        with pytest.raises(ValueError):
            json.loads(body)
    else:
        assert body.rstrip().splitlines()[-1].startswith(last)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, ListForm),
        ("*/*", ListForm),
        ("text/*", TextForm),
        ("application/*;q=0.1, text/plain", TextForm),
        ("application/json;q=0, */*", LineForm),
        ("APPLICATION/X-NDJSON; q=0.3 , text/html", LineForm),
        ("text/plain;q=x, application/json;q=0.001", ListForm),
    ],
)
def test_the_form_that_a_client_prefers(accept: str | None, form: type[ListForm]) -> None:
    assert accepted(accept, [ListForm, LineForm, TextForm]) is form


def test_readable_json_has_the_same_values_as_the_message() -> None:
    message = jobs_pb2.JobsStatusResponse(name="n", metadata={"a": "b"}, messages=["m"])
    message.job_id.value, message.created.value = NOBODY, 63_900_000_000
    message.operator_details.add(name="o").started.value = 63_900_000_001
    message.dag.add(name="o").input_dependencies.add(name="p")
    value = printed(message)
    assert value["created"] == "2025-11-29T08:00:00Z"
    assert value["operatorDetails"][0]["started"] == "2025-11-29T08:00:01Z"
    again = json_format.ParseDict(
        canonical(value, jobs_pb2.JobsStatusResponse.DESCRIPTOR), jobs_pb2.JobsStatusResponse()
    )
    assert again == message


def test_names_of_the_proto_are_accepted_too() -> None:
    kind = pipelines_pb2.PipelinesCreateRequest.DESCRIPTOR
    assert canonical({"pipeline_id": NOBODY}, kind) == {"pipelineId": {"value": NOBODY}}


async def test_an_answer_to_head_has_no_body(http: Client) -> None:
    async with http.connected() as connection:
        connection.http = h11.Connection(h11.CLIENT)
        await connection.ask("HEAD", "/v1/version", b"")
        answer = await connection.answer()
    assert (answer.status, answer.body) == (200, b"")


async def test_a_request_that_is_refused_while_it_is_sent_says_why(http: Client) -> None:
    """The daemon ends the call with the first of the messages."""
    body = json.dumps([{"modelIds": ["nothing"]}, *[{}] * 40]).encode()
    for _ in range(5):
        answers = await asyncio.gather(
            *(http.ask("PUT", f"/v1/instances/{NOBODY}", body, Content_Type="application/json")
              for _ in range(8))
        )  # fmt: skip
        assert {answer.status for answer in answers} == {400}
        assert all("nothing" in answer.json["message"] for answer in answers)
