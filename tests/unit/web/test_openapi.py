"""The OpenAPI document: valid, complete, with the comments of the protos, and true of answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor
from openapi_spec_validator import validate

from claraedge.web.console.visit import is_page
from claraedge.web.http.failures import connect_form
from claraedge.web.http.router import Route, Router
from claraedge.web.openapi.comments import comments, descriptor_set
from claraedge.web.openapi.document import all_methods, document, path_of, summary
from claraedge.web.openapi.page import page
from claraedge.web.rapyuta.failures import form_of
from claraedge.web.rpc.methods import descriptor, methods_of
from tests.rig.pipelines import chain
from tests.unit.web.conftest import Client, Daemon, daemon_in

ROOT = Path(__file__).resolve().parents[3]
PROTOS = ROOT / "protos"


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return document(all_methods())


def operations(whole: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in whole["paths"].items():
        for verb, operation in item.items():
            yield verb.upper(), path, operation


# --- the document --------------------------------------------------------------------------------


def test_the_document_is_valid(whole: dict[str, Any]) -> None:
    validate(whole)


def test_names_of_operations_and_schemas_are_unique(whole: dict[str, Any]) -> None:
    names = [operation["operationId"] for *_, operation in operations(whole)]
    assert len(names) == len(set(names)) > 100
    assert all(re.fullmatch(r"[A-Za-z]\w*", name) for name in names)
    schemas = whole["components"]["schemas"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)
    # The two forms of a message: ids are objects in one, and strings in the other.
    for name, is_object in (("nvidia.clara.platform.JobsStatusResponse", True),
                            ("JobsStatusResponse", False)):  # fmt: skip
        properties = schemas[name]["properties"]
        assert ("$ref" in properties["jobId"]) == is_object
        assert ("header" in properties) == is_object


async def test_each_path_that_is_served_is_in_the_document(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: set[tuple[str, str]] = set()
    original = Router.__init__

    def noted(self: Router, routes: Iterable[Route]) -> None:
        found = list(routes)
        served.update((route.method, path_of(route.template)) for route in found)
        original(self, found)

    monkeypatch.setattr(Router, "__init__", noted)
    async with daemon_in(folder) as daemon:
        answer = await Client(daemon.config.http_socket).ask("GET", "/openapi.json")
    described = {(verb, path) for verb, path, _ in operations(answer.json)}
    assert len(described) > 100
    # The paths of rapyuta.io's SDK are for that SDK, and described by it.
    sdk = {(verb, path) for verb, path in served if form_of(path) is not connect_form}
    assert len(sdk) > 100
    # What is behind a static route is described by its program.
    routes = {(verb, path) for verb, path in served if path.startswith("/routes/")}
    # The console's pages are for people.
    pages = {(verb, path) for verb, path in served if is_page(path)}
    assert served - sdk - routes - pages == described


def test_each_method_with_a_comment_has_it(whole: dict[str, Any]) -> None:
    """The comments are read from the text of the protos here, not from their descriptors."""
    pattern = re.compile(r"((?: *//.*\n)+) +rpc (\w+)\(")
    count = 0
    for file in sorted(PROTOS.rglob("*.proto")):
        text = file.read_text(encoding="utf-8")
        (package,) = re.findall(r"(?m)^package ([\w.]+);", text)
        for service in re.split(r"(?m)^service ", text)[1:]:
            name = re.match(r"\w+", service)
            assert name is not None
            for comment, method in pattern.findall(service.partition("\n}\n")[0]):
                lines = [line.strip().removeprefix("//").strip() for line in comment.splitlines()]
                operation = whole["paths"][f"/{package}.{name[0]}/{method}"]["post"]
                found = " ".join(operation["description"].split())
                assert found.startswith(" ".join(" ".join(lines).split())), method
                assert operation["summary"]
                count += 1
    assert count > 50


def test_each_field_with_a_comment_has_it(whole: dict[str, Any]) -> None:
    texts = comments(descriptor_set())
    seen: set[str] = set()

    def check(kind: Descriptor) -> None:
        if kind.full_name in seen or kind.file.package.startswith("google."):
            return
        seen.add(kind.full_name)
        schema = whole["components"]["schemas"][kind.full_name]
        assert schema.get("description", "") == texts.get(kind.full_name, "")
        for field in kind.fields:
            found = schema["properties"][field.json_name]
            assert found.get("description", "") == texts.get(field.full_name, "")
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                check(field.message_type)

    for method in all_methods().values():
        check(descriptor(method.request))
        check(descriptor(method.response))
    assert len(seen) > 100
    assert len(texts) > 300


def test_a_method_that_is_added_is_described_without_an_edit() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="more.proto", package="more", syntax="proto3")
    file.message_type.add(name="Tree").field.add(
        name="inner_trees",
        number=1,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
        type_name=".more.Tree",
    )
    service = file.service.add(name="Added")
    service.method.add(name="Do", input_type=".more.Tree", output_type=".more.Tree")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    whole = document(methods_of([pool.FindServiceByName("more.Added")]))
    validate(whole)
    assert "/more.Added/Do" in whole["paths"]
    assert whole["components"]["schemas"]["more.Tree"]["properties"]["innerTrees"]["items"] == {
        "$ref": "#/components/schemas/more.Tree"
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Ends a job. Answers late.", "Ends a job"),
        ("Ends\na job", "Ends a job"),
        ("Version 1.2 of it. More", "Version 1.2 of it"),
        ("x" * 300, "x" * 119 + "…"),
    ],
)
def test_a_summary_is_the_first_sentence(text: str, expected: str) -> None:
    assert summary(text) == expected


# --- answers -------------------------------------------------------------------------------------


def checked(whole: dict[str, Any], path: str, verb: str, answer: Any) -> None:
    content = whole["paths"][path][verb]["responses"]["200"]["content"]["application/json"]
    schema = {**content["schema"], "components": whole["components"]}
    jsonschema.validate(answer, schema, jsonschema.Draft202012Validator)


async def test_answers_are_as_the_document_says(
    daemon: Daemon, http: Client, whole: dict[str, Any]
) -> None:
    pipeline = await daemon.register(chain("one"))
    status = await daemon.run(pipeline, x=b"1")
    job, payload = status.job_id.value, status.payload_id.value
    for path, variables in (
        ("/v1/version", {}),
        ("/v1/status", {}),
        ("/v1/pipelines", {}),
        ("/v1/pipelines/{pipeline_id}", {"pipeline_id": pipeline}),
        ("/v1/jobs", {}),
        ("/v1/jobs/{job_id}", {"job_id": job}),
        ("/v1/payloads/{payload_id}/files", {"payload_id": payload}),
        ("/v1/inbox", {}),
        ("/v1/images", {}),
        ("/health/live", {}),
        ("/health/ready", {}),
    ):
        query = "?filter.hasState=JOB_STATE_STOPPED" if path == "/v1/jobs" else ""
        answer = await http.ask("GET", path.format(**variables) + query)
        assert answer.status == 200, (path, answer.body)
        checked(whole, path, "get", answer.json)
    jobs = "/nvidia.clara.platform.Jobs/Status"
    checked(whole, jobs, "post", (await http.post(jobs, {"jobId": {"value": job}})).json)
    failed = await http.ask("GET", "/v1/jobs/nothing")
    assert failed.status >= 400
    failure = {"$ref": "#/components/schemas/Failure", "components": whole["components"]}
    jsonschema.validate(failed.json, failure, jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        checked(whole, "/v1/jobs/{job_id}", "get", {"jobId": {"value": job}})


# --- the pages -----------------------------------------------------------------------------------


async def test_the_command_prints_what_a_daemon_serves(daemon: Daemon, http: Client) -> None:
    answer = await http.ask("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "claraedge", "openapi", stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await program.communicate()
    assert printed == answer.body


async def test_a_client_that_has_the_document_gets_it_once(daemon: Daemon, http: Client) -> None:
    for path in ("/openapi.json", "/api"):
        first = await http.ask("GET", path, Accept_Encoding="gzip")
        assert first.headers["content-encoding"] == "gzip"
        plain = await http.ask("GET", path)
        assert "content-encoding" not in plain.headers
        assert gzip.decompress(first.body) == plain.body
        tag = first.headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = await http.ask("GET", path, If_None_Match=known)
            assert (again.status, again.body) == (304, b"")
        other = await http.ask("GET", path, If_None_Match='"other"')
        assert other.status == 200
        head = await http.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_page_for_people_has_all_paths_and_no_script(
    daemon: Daemon, http: Client, whole: dict[str, Any]
) -> None:
    answer = await http.ask("GET", "/api")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script" not in policy
    found = Elements()
    found.feed(answer.body.decode())
    assert "script" not in found.names
    assert not any(name.startswith("on") or name == "style" for name in found.attributes)
    for verb, path, _ in operations(whole):
        assert f"{verb} {path}" in found.text


def test_the_page_shows_hostile_texts_as_text(whole: dict[str, Any]) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>'\""
    changed = json.loads(json.dumps(whole).replace("Everything about one job", "HOSTILE"))
    changed = json.loads(json.dumps(changed).replace("HOSTILE", json.dumps(hostile)[1:-1]))
    changed["info"]["title"] = changed["tags"][0]["description"] = hostile
    text = page(changed).decode()
    found = Elements()
    found.feed(text)
    assert not {"script", "img"} & found.names
    assert found.text.count(hostile) >= 3
