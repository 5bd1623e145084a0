"""The SDK's routes on the HTTP front, over Packages, Deployments and Devices on a real server."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claraedge import errors
from claraedge.access import token as tokens
from claraedge.api.transport.standard import HEALTH
from claraedge.config import HttpSettings
from claraedge.errors import ClaraedgeError, http_status_of, kinds
from claraedge.web.rapyuta.refusals import REFUSED
from claraedge.web.server import HttpServer
from tests.rig.certificates import free_port
from tests.rig.packages_server import DEVICE, SERVICES, Shelf, packages_server
from tests.unit.web.conftest import Answer, Client, Daemon, no_routes
from tests.unit.web.test_tcp import TcpClient

MANAGER = "/api/device-manager/v0"
INSTANCE = "/v2/service_instances/instanceId"
MANIFEST: dict[str, Any] = {
    "name": "listener",
    "packageVersion": "v1.0.0",
    "plans": [
        {
            "name": "default",
            "components": [
                {
                    "name": "main",
                    "requiredRuntime": "device",
                    "ros": {"isROS": True, "topics": [{"name": "/chatter", "targeted": True}]},
                    "executables": [{"name": "one", "docker": "good:1", "cmd": ["sleep 9"]}],
                    "parameters": [{"name": "COLOUR", "default": "red"}],
                    "cloudInfra": {
                        "endpoints": [
                            {"name": "WEB", "port": 80, "targetPort": 8080, "proto": "HTTP"}
                        ]
                    },
                }
            ],
        }
    ],
}


async def _metrics(_: bool) -> tuple[str, bytes]:
    return "text/plain", b""


@dataclass
class Front:
    http: Client
    shelf: Shelf

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Sends JSON; each failure has the form that the SDK reads."""
        content = b"" if body is None else body if isinstance(body, bytes) else _json(body)
        if body is not None:
            headers = {"Content_Type": "application/json", **headers}
        answer = await self.http.ask(method, path, content, **headers)
        if answer.status >= 400:
            assert list(answer.json) == ["error"], answer.body
            assert answer.json["error"], answer.body
            assert answer.headers["claraedge-error"]
        else:
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.json is not None
        return answer

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    async def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        answer = await self.ask(method, path, body)
        return answer.status, answer.json["error"]

    async def package(self, **changes: Any) -> Any:
        made = await self.ask("POST", "/serviceclass/add", {**MANIFEST, **changes})
        assert made.status == 200, made.body
        return made.json

    async def deployed(self, name: str = "first", **context: Any) -> str:
        made = await self.package(packageVersion=name)
        answer = await self.ask("PUT", INSTANCE, provision(made, name, **context))
        assert answer.status == 200, answer.body
        id_: str = answer.json["operation"]
        for _ in range(3):
            await self.get(f"/serviceinstance/{id_}")
        return id_


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def provision(made: Any, name: str = "first", **context: Any) -> dict[str, Any]:
    """The body that the SDK sends for a package that was made."""
    (plan,) = made["planIds"]
    (component,) = plan["componentIds"]
    return {
        "service_id": made["packageId"],
        "plan_id": plan["planId"],
        "context": {"name": name, "component_context": {}, **context},
        "parameters": {
            "global": {"device_ids": [DEVICE]},
            component: {"component_id": component, "device_id": DEVICE, "COLOUR": "blue"},
        },
        "_devices": {DEVICE: {"_auth_token": "Bearer abc"}},
    }


@asynccontextmanager
async def front_in(folder: Path, **settings: Any) -> AsyncIterator[Front]:
    token = tokens.Token(tokens.path_in(folder)) if settings else None
    async with packages_server(folder / "grpc.sock") as shelf:
        server = HttpServer(
            folder / "http.sock",
            HttpSettings(**settings),
            [HEALTH, *SERVICES],
            folder / "grpc.sock",
            token=token,
            metrics=_metrics,
            dial=no_routes,
            idle=10,
        )
        async with server:
            yield Front(Client(folder / "http.sock"), shelf)


@pytest.fixture
async def front(folder: Path) -> AsyncIterator[Front]:
    async with front_in(folder) as front:
        yield front


# --- the catalogue ------------------------------------------------------------------------------


async def test_a_package_is_created_listed_shown_and_deleted(front: Front) -> None:
    made = await front.package()
    id_, (plan,) = made["packageId"], made["planIds"]
    (listed,) = (await front.get("/v2/catalog"))["services"]
    assert (listed["id"], listed["name"]) == (id_, "listener")
    assert listed["metadata"]["packageVersion"] == "v1.0.0"
    assert "guid" not in listed  # the SDK would treat it as a whole package
    info = (await front.get(f"/serviceclass/status?package_uid={id_}"))["packageInfo"]
    assert (info["guid"], info["packageName"]) == (id_, "listener")
    (whole,) = info["plans"]
    assert whole["planId"] == plan["planId"]
    (component,) = whole["components"]["components"]
    assert component["ros"]["topics"] == [{"name": "/chatter", "targeted": True}]
    assert component["executables"][0]["docker"] == "good:1"
    assert component["parameters"][0]["default"] == "red"
    (internal,) = whole["internalComponents"]
    assert internal["componentId"] == plan["componentIds"][0]
    deleted = await front.ask("DELETE", f"/serviceclass/delete?package_uid={id_}")
    assert deleted.json == {"packageId": id_}
    assert (await front.get("/v2/catalog"))["services"] == []


async def test_refusals_of_the_catalogue_say_what_to_do(front: Front) -> None:
    made = await front.package()
    add, status = "/serviceclass/add", "/serviceclass/status"
    for method, path, body, code, part in (
        ("POST", add, MANIFEST, 409, made["packageId"]),
        ("POST", add, {"name": "x"}, 400, "manifest"),
        ("POST", add, b"\xff", 400, "not UTF-8"),
        ("GET", status, None, 400, "package_uid"),
        ("GET", f"{status}?package_uid=", None, 400, "package_uid"),
        ("GET", f"{status}?package_uid=a&package_uid=b", None, 400, "2 values"),
        ("GET", f"{status}?package=x", None, 400, "has no field package"),
        ("GET", f"{status}?package_uid=pkg-x", None, 404, "'pkg-x' is no id"),
        ("GET", f"{status}?package_uid=listener", None, 404, "'listener' is no id"),
        ("GET", f"{status}?package_uid=pkg-{'x' * 24}", None, 404, "there is no package"),
        ("GET", f"{status}?package_uid=io-public-persistent-volume", None, 501, "disks"),
        ("DELETE", "/serviceclass/delete?package_uid=p", None, 404, "is no id"),
    ):
        found, text = await front.refusal(method, path, body)
        assert (found, part in text) == (code, True), (path, text)
    text_body = await front.ask("POST", add, MANIFEST, Content_Type="text/plain")
    assert text_body.status == 415


# --- deployments --------------------------------------------------------------------------------


async def test_a_deployment_from_provisioning_to_its_end(front: Front) -> None:
    made = await front.package()
    (component,) = made["planIds"][0]["componentIds"]
    body = provision(made, labels=[{"key": "site", "value": "north"}])
    id_ = (await front.ask("PUT", INSTANCE, body)).json["operation"]
    path = f"/serviceinstance/{id_}"
    phases = [(await front.get(path))["phase"] for _ in range(3)]
    assert phases == ["In progress", "Provisioning", "Succeeded"]
    found = await front.get(path)
    assert (found["status"], found["errors"], found["inUse"]) == ("Running", None, False)
    assert found["parameters"] == {
        "global": {"device_ids": [DEVICE]},
        component: {"component_id": component, "device_id": DEVICE, "COLOUR": "blue"},
    }
    assert found["labels"] == [{"key": "site", "value": "north"}]
    assert found["componentInfo"][0]["componentInstanceID"].startswith("inst-")
    bound = await front.ask("PUT", f"/v2/service_instances/{id_}/service_bindings/bind-rio", {})
    assert bound.json["credentials"]["WEB"]["port"] == 8080
    (listed,) = await front.get(f"/deployment/list?package_uid={made['packageId']}")
    assert listed["deploymentId"] == id_
    query = f"plan_id={found['planId']}&service_id={made['packageId']}&accepts_incomplete=false"
    ended = await front.ask("DELETE", f"/v2/service_instances/{id_}?{query}")
    assert ended.json == {"operation": id_}
    found = await front.get(path)
    assert (found["phase"], found["status"]) == ("Deployment stopped", "Stopped")
    assert found["DeletedAt"]
    assert "Bearer" not in repr(front.shelf.created)


async def test_a_failure_is_reported_with_its_code_and_in_words(front: Front) -> None:
    plans = copy.deepcopy(MANIFEST["plans"])
    plans[0]["components"][0]["executables"][0]["docker"] = "missing:1"
    made = await front.package(plans=plans)
    id_ = (await front.ask("PUT", INSTANCE, provision(made))).json["operation"]
    for _ in range(3):
        found = await front.get(f"/serviceinstance/{id_}")
    assert (found["phase"], found["errors"]) == ("Failed to start", ["DEP_E161"])
    assert found["errorDetails"] == [{"code": "DEP_E161", "message": "one: missing"}]


async def test_lists_are_filtered(front: Front) -> None:
    first, second = await front.deployed("first"), await front.deployed("second")
    await front.ask("DELETE", f"/v2/service_instances/{second}")

    async def ids(query: str) -> list[str]:
        return [one["deploymentId"] for one in await front.get(f"/deployment/list{query}")]

    assert await ids("") == [first, second]
    assert await ids("?phase=Succeeded&phase=Provisioning") == [first]
    assert await ids("?phase=Deployment%20stopped") == [second]
    assert await ids(f"?device_uid={DEVICE}") == [first, second]
    assert await ids("?device_uid=another") == []
    for query, status in (
        ("?phase=Sleeping", 400),
        ("?packageuid=x", 400),
        ("?package_uid=", 400),
        ("?package_uid=listener", 404),
        (f"?package_uid=pkg-{'x' * 24}", 404),
    ):
        assert (await front.refusal("GET", f"/deployment/list{query}"))[0] == status, query


async def test_refusals_of_deployments_say_what_to_do(front: Front) -> None:
    made = await front.package()
    body, unknown = provision(made), f"dep-{'x' * 24}"
    id_ = await front.deployed("parent")
    depends = [{"dependentDeploymentId": id_}]
    child = await front.deployed("child", dependentDeployments=depends)
    for method, path, content, code, part in (
        ("PUT", INSTANCE, b"{", 400, "not what the SDK sends"),
        ("PUT", INSTANCE, b'{"a": "\xff"}', 400, "not what the SDK sends"),
        ("PUT", INSTANCE, b"[" * 5000, 400, "not what the SDK sends"),
        ("PUT", INSTANCE, [], 400, "not what the SDK sends"),
        ("PUT", INSTANCE, {**body, "service_id": "listener"}, 404, "is no id"),
        ("PUT", INSTANCE, {**body, "service_id": f"pkg-{'x' * 24}"}, 404, "no package"),
        ("PUT", INSTANCE, provision(made, "parent"), 409, id_),
        ("PUT", INSTANCE, provision(made, ""), 400, "name"),
        ("PUT", f"/v2/service_instances/{id_}", body, 400, "this device chooses the ids"),
        ("PATCH", f"/v2/service_instances/{id_}", {"deployment_id": "d"}, 400, "context"),
        ("GET", f"/serviceinstance/{unknown}", None, 404, "there is no deployment"),
        ("GET", "/serviceinstance/parent", None, 404, "'parent' is no id"),
        ("DELETE", "/v2/service_instances/dep-", None, 404, "'dep-' is no id"),
        ("DELETE", f"/v2/service_instances/{id_}", None, 409, child),
        ("DELETE", f"/v2/service_instances/{id_}?force=true", None, 400, "no field force"),
        ("DELETE", f"/serviceclass/delete?package_uid={made['packageId']}x", None, 404, "no id"),
    ):
        found, text = await front.refusal(method, path, content)
        assert (found, part in text) == (code, True), (method, path, text)
    assert len(front.shelf.deployments) == 2


async def test_a_deployment_without_addresses_is_not_bound(front: Front) -> None:
    made = await front.package()
    id_ = (await front.ask("PUT", INSTANCE, provision(made))).json["operation"]
    path = f"/v2/service_instances/{id_}/service_bindings/bind-rio"
    assert (await front.refusal("PUT", path, {}))[0] == 400
    closed = await front.package(packageVersion="v2", bindable=False)
    id_ = (await front.ask("PUT", INSTANCE, provision(closed, "closed"))).json["operation"]
    path = f"/v2/service_instances/{id_}/service_bindings/bind-rio"
    status, text = await front.refusal("PUT", path, {})
    assert (status, "not bindable" in text) == (400, True)


async def test_an_update_changes_an_image(front: Front) -> None:
    id_ = await front.deployed()
    (component,) = front.shelf.deployments[id_].components
    executables = [{"id": component.executables[0].id, "name": "one", "docker": "new:1"}]
    context = {component.id: {"update_deployment": True, "component": {"executables": executables}}}
    body = {"deployment_id": id_, "context": {"component_context": context}, "plan_id": "x"}
    answer = await front.ask("PATCH", f"/v2/service_instances/{id_}", body)
    assert answer.json == {"operation": id_}
    assert front.shelf.updated[0].executables[0].image == "new:1"
    assert (await front.get(f"/serviceinstance/{id_}"))["currentGeneration"] == 2


# --- the device ---------------------------------------------------------------------------------


async def test_the_device_is_the_only_one(front: Front) -> None:
    id_ = await front.deployed()
    (listed,) = (await front.get(f"{MANAGER}/devices/"))["response"]["data"]
    assert (listed["uuid"], listed["status"]) == (DEVICE, "ONLINE")
    for name, count in (("scanner-1", 1), ("other", 0)):
        found = (await front.get(f"{MANAGER}/devices/?name={name}"))["response"]["data"]
        assert len(found) == count
    whole = (await front.get(f"{MANAGER}/devices/{DEVICE}"))["response"]["data"]
    assert whole["ip_interfaces"] == {"lo": ["127.0.0.1", "::1"]}
    assert [one["io_deployment_id"] for one in whole["deployments"]] == [id_]
    labels = (await front.get(f"{MANAGER}/labels/{DEVICE}"))["response"]["data"]
    assert labels == [{"id": 1, "key": "room", "value": "4"}]
    variables = await front.get(f"{MANAGER}/config_variables/device/{DEVICE}")
    found = {one["key"]: one["value"] for one in variables["response"]["data"]}
    assert (found["SITE"], found["runtime"]) == ("north", "dockercompose")
    for path in ("devices/other", "labels/other", "config_variables/device/other"):
        status, text = await front.refusal("GET", f"{MANAGER}/{path}")
        assert (status, DEVICE in text) == (404, True)
    (project,) = (await front.get("/api/user/me/get"))["projects"]
    assert project["guid"] == "project-of-tests"


async def test_a_selection_compares_the_architecture(front: Front) -> None:
    def selection(value: str, name: str = "cpuarch") -> dict[str, Any]:
        comparison = {"operator": "$eq", "args": [name, value]}
        return {"operator": "$or", "specs": {"operator": "$or", "args": [comparison]}}

    path = f"{MANAGER}/selection/query/"
    for value, count in (("x86_64", 1), ("aarch64", 0)):
        answer = await front.ask("POST", path, selection(value))
        assert len(answer.json["response"]["data"]) == count
    wrong = selection("x")
    wrong["specs"]["args"][0]["args"] = ["cpuarch"]
    for body in (selection("x", "colour"), {**selection("x"), "operator": "$and"}, wrong, {}):
        assert (await front.refusal("POST", path, body))[0] == 400


# --- what is not here ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_what_a_device_does_not_have_is_refused_with_a_sentence(
    front: Front, method: str
) -> None:
    for text, templates in REFUSED.items():
        for template in templates:
            path = template.replace("{path=**}", "some/more")
            body = {"guid": "x"} if method != "GET" else None
            assert await front.refusal(method, path, body) == (501, text), path
    head = await front.http.ask("HEAD", "/disk")
    assert (head.status, head.body) == (501, b"")


def test_each_sentence_says_what_why_and_what_instead() -> None:
    for text in REFUSED:
        assert ";" in text, text
        assert ", since " in text, text
        assert not text.endswith("."), text


async def test_other_paths_of_the_sdk_are_not_found(front: Front) -> None:
    for path in ("/api/none", "/v2/none", "/serviceclass/none", "/deployment/none", "/disk/"):
        assert (await front.refusal("GET", path))[0] == 404, path
    assert (await front.refusal("PUT", "/v2/catalog"))[0] == 405


# --- failures and callers -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ClaraedgeError, *kinds()], ids=lambda kind: str(kind.name))
async def test_each_error_has_a_status_that_the_sdk_understands(
    front: Front, kind: type[ClaraedgeError]
) -> None:
    front.shelf.broken = kind("something happened; do this")
    answer = await front.ask("GET", "/v2/catalog")
    assert answer.status not in (500, 429)
    assert answer.json["error"] == "something happened; do this"
    assert answer.headers["claraedge-error"] == kind.name
    if http_status_of(kind) not in (500, 429):
        assert answer.status == http_status_of(kind)


async def test_errors_of_packages_and_deployments_have_the_statuses_of_the_sdk() -> None:
    for kind, status in (
        (errors.InvalidManifestError, 400),
        (errors.PackageExistsError, 409),
        (errors.PackageNotFoundError, 404),
        (errors.PackageInUseError, 409),
        (errors.InvalidDeploymentError, 400),
        (errors.DeploymentExistsError, 409),
        (errors.DeploymentNotFoundError, 404),
        (errors.DeploymentNotReadyError, 400),
        (errors.DeploymentInUseError, 409),
        (errors.UnauthenticatedError, 401),
        (errors.UnavailableError, 503),
    ):
        assert http_status_of(kind) == status


async def test_without_the_daemon_a_get_is_answered_at_once(folder: Path) -> None:
    server = HttpServer(
        folder / "http.sock",
        HttpSettings(),
        [HEALTH, *SERVICES],
        folder / "none.sock",
        metrics=_metrics,
        dial=no_routes,
        idle=10,
    )
    async with server:
        answer = await Client(folder / "http.sock").ask("GET", "/v2/catalog")
    assert (answer.status, list(answer.json)) == (503, ["error"])


async def test_over_tcp_the_token_is_needed_and_a_refusal_can_be_read(folder: Path) -> None:
    port = free_port()
    async with front_in(folder, listen=(f"127.0.0.1:{port}",)) as front:
        token = tokens.path_in(folder).read_text().strip()
        over_tcp = Front(TcpClient(port), front.shelf)
        for path in ("/v2/catalog", f"{MANAGER}/devices/", "/disk", "/api/none"):
            answer = await over_tcp.ask("GET", path)
            assert answer.status == 401
            assert "`claraedge token`" in answer.json["error"]
            answer = await over_tcp.ask("GET", path, Authorization="Bearer wrong")
            assert answer.status == 401
        good = {"Authorization": f"Bearer {token}", "project": "project-any"}
        assert (await over_tcp.ask("GET", "/v2/catalog", **good)).status == 200
        # On the socket, whose group is the guard, any token will do.
        answer = await front.ask("GET", "/v2/catalog", Authorization="Bearer any")
        assert answer.status == 200


async def test_a_page_of_another_site_changes_nothing(front: Front) -> None:
    for headers, status in (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
    ):
        answer = await front.ask("POST", "/serviceclass/add", MANIFEST, **headers)
        assert answer.status == status
    assert front.shelf.packages == {}


# --- with a whole daemon ------------------------------------------------------------------------


async def test_the_daemon_names_the_broken_rule_of_a_deployment(http: Client) -> None:
    front = Front(http, Shelf())
    plans = copy.deepcopy(MANIFEST["plans"])
    (component,) = plans[0]["components"]
    del component["parameters"][0]["default"]
    made = await front.package(plans=plans)
    (device,) = (await front.get(f"{MANAGER}/devices/"))["response"]["data"]
    body = json.loads(json.dumps(provision(made)).replace(DEVICE, device["uuid"]))
    (id_,) = made["planIds"][0]["componentIds"]
    without = {**body["parameters"], id_: {"device_id": device["uuid"]}}
    mount = {"mountPaths": {"one": {"mountPath": "/data", "subPath": "../../etc"}}}
    disk = {"diskResourceId": device["uuid"], "applicableComponentId": id_, "config": mount}
    outside = {**body["context"], "diskMountInfo": [disk]}
    for changed, part in (
        ({"parameters": without}, "COLOUR: it has no default"),
        ({"context": outside}, "`..`"),
        ({"context": {**body["context"], "name": "a/b"}}, "name:"),
        ({"parameters": {**body["parameters"], "comp-x": {"A": "b"}}}, "no component 'comp-x'"),
    ):
        status, text = await front.refusal("PUT", INSTANCE, {**body, **changed})
        assert (status, part in text) == (400, True), text
    assert await front.get("/deployment/list") == []


# --- any request --------------------------------------------------------------------------------

TEXTS = ["", "x", "\u0000", "é" * 50, "../..", "0", "null", "a" * 3000, DEVICE, "Succeeded"]


def mutated(rng: random.Random, value: Any) -> Any:
    """A JSON value with some other part."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        if rng.random() < 0.2:
            return {**value, rng.choice(TEXTS): value[key]}
        if rng.random() < 0.2:
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: mutated(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], mutated(rng, value[at]), *value[at + 1 :]]
    return rng.choice([None, True, 0, -1, 1e300, 10**30, [], {}, [None], *TEXTS])


def sensible(made: Any, id_: str, component: str, executable: str) -> list[tuple[str, str, Any]]:
    """Requests that the SDK could send."""
    changed = {"executables": [{"id": executable, "docker": "n:1"}]}
    update = {
        "deployment_id": id_,
        "context": {"component_context": {component: {"component": changed}}},
    }
    selection = {
        "operator": "$or",
        "specs": {"operator": "$or", "args": [{"operator": "$in", "args": ["cpuarch", "a"]}]},
    }
    mount = {"mountPaths": {"one": {"mountPath": "/data", "subPath": "a/b"}}}
    context = {
        "labels": [{"key": "a", "value": "b"}],
        "dependentDeployments": [{"dependentDeploymentId": id_}],
        "diskMountInfo": [
            {"diskResourceId": DEVICE, "applicableComponentId": component, "config": mount}
        ],
        "component_context": {component: {"component_override": {"restart_policy": "no"}}},
    }
    return [
        ("POST", "/serviceclass/add", MANIFEST),
        ("PUT", INSTANCE, provision(made, "second", **context)),
        ("PATCH", f"/v2/service_instances/{id_}", update),
        ("PUT", f"/v2/service_instances/{id_}/service_bindings/b", {"service_id": "a"}),
        ("POST", f"{MANAGER}/selection/query/", selection),
        ("DELETE", "/disk", {"guid": "x"}),
        ("GET", f"/serviceclass/status?package_uid={made['packageId']}", None),
        ("GET", f"/deployment/list?package_uid={made['packageId']}&phase=Succeeded", None),
        ("GET", f"/serviceinstance/{id_}", None),
        ("GET", f"{MANAGER}/devices/{DEVICE}", None),
        ("DELETE", f"/v2/service_instances/{id_}?plan_id=a&service_id=b", None),
    ]


async def fuzz(http: Client, requests: list[tuple[str, str, Any]], count: int) -> set[int]:
    """Sends requests with mistakes, and returns the statuses of all answers."""
    rng = random.Random(15)
    seen = set()
    for _ in range(count):
        method, path, body = rng.choice(requests)
        if body is None or rng.random() < 0.1:
            at = rng.randrange(1, len(path))
            part = rng.choice(["%00", "%ff", "/", "?", "&", "=", "x", "%2F", "", "%C3%A9"])
            path = path[:at] + part + path[at + rng.randrange(3) :]
        content, headers = b"", {}
        if body is not None:
            content = _json(mutated(rng, body))
            headers = {"Content_Type": "application/json"}
            if rng.random() < 0.1:
                text = bytearray(content)
                text[rng.randrange(len(text))] = rng.randrange(256)
                content = bytes(text)
        answer = await http.ask(method, path, content, **headers)
        assert answer.status < 500 or answer.status == 501, (method, path, content, answer.body)
        assert answer.status != 204
        seen.add(answer.status)
    return seen


async def test_no_request_ends_in_a_fault_of_the_routes(front: Front) -> None:
    made = await front.package()
    id_ = await front.deployed()
    component = front.shelf.deployments[id_].components[0]
    requests = sensible(made, id_, component.id, component.executables[0].id)
    assert {200, 400, 404, 501} <= await fuzz(front.http, requests, 1500)


async def test_no_request_ends_in_a_fault_of_the_device(daemon: Daemon, http: Client) -> None:
    """The same with a whole daemon, which stores what is right, and starts it."""
    headers = {"Content_Type": "application/json"}
    made = (await http.ask("POST", "/serviceclass/add", _json(MANIFEST), **headers)).json
    device = (await http.ask("GET", f"{MANAGER}/devices/")).json["response"]["data"][0]["uuid"]

    def here(value: Any) -> Any:
        return json.loads(json.dumps(value).replace(DEVICE, device))

    answer = await http.ask("PUT", INSTANCE, _json(here(provision(made))), **headers)
    assert answer.status == 200, answer.body
    id_ = answer.json["operation"]
    found = (await http.ask("GET", f"/serviceinstance/{id_}")).json["componentInfo"][0]
    executable = found["executablesStatusInfo"][0]["id"]
    requests = [
        (method, path.replace(DEVICE, device), here(body))
        for method, path, body in sensible(made, id_, found["componentID"], executable)
    ]
    assert {200, 400, 404, 501} <= await fuzz(http, requests, 1000)
    assert (await http.ask("GET", "/health/ready")).status == 200
    assert not daemon.ended.done()
