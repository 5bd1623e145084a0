"""Static routes on the HTTP front of a whole daemon: to a program in a deployment, and back."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import pytest

from claraedge.config import ApiSettings, DeploymentsSettings, HttpSettings
from claraedge.runner.protocol import ContainerSpec
from tests.rig.certificates import free_port
from tests.rig.waiting import eventually
from tests.unit.web.conftest import Client, Daemon, daemon_in
from tests.unit.web.test_tcp import TcpClient

pytestmark = pytest.mark.timeout(120)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def forever(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


class Program:
    """The program behind a route: what it got, and what it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, dict[bytes, bytes]]] = []
        self.answer: Handler = self.echo
        self.gone = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.answer(reader, writer)
        finally:
            self.gone.set()
            writer.close()

    async def request(self, reader: asyncio.StreamReader) -> tuple[Any, AsyncIterator[bytes]]:
        http = h11.Connection(h11.SERVER)

        async def event() -> Any:
            while (found := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            return found

        async def body() -> AsyncIterator[bytes]:
            while isinstance(found := await event(), h11.Data):
                yield bytes(found.data)

        head = await event()
        self.requests.append((head.method, head.target, dict(head.headers)))
        return head, body()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await self.request(reader)
        digest, size = hashlib.sha256(), 0
        async for part in body:
            digest.update(part)
            size += len(part)
        text = f"{size} {digest.hexdigest()}".encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: sid=1; Path=/\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        await writer.drain()

    def raw(self, *parts: bytes, wait: bool = False) -> None:
        """Answers with bytes; `wait`: then keeps the connection open."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.request(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
            if wait:
                await reader.read()  # the end of the connection

        self.answer = answer


MANIFEST = """{
  "name": "viewer", "packageVersion": "v1", "plans": [{"name": "default", "components": [{
    "name": "main", "requiredRuntime": "device", "ros": {"isROS": false}, "parameters": [],
    "executables": [{"name": "run", "docker": "web:1"}],
    "cloudInfra": {"replicas": 1, "endpoints": [
      {"name": "WEB", "exposeExternally": true, "port": 80, "targetPort": 8080, "proto": "HTTP"},
      {"name": "INNER", "exposeExternally": false, "port": 81, "targetPort": 81, "proto": "HTTP"}
    ]}}]}]}"""


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
async def daemon(
    folder: Path, program: Program, request: pytest.FixtureRequest
) -> AsyncIterator[Daemon]:
    """A daemon with the program's image; a parameter: seconds in which a client has to read."""
    listen = (f"127.0.0.1:{free_port()}",)
    settings = HttpSettings(listen=listen, route_seconds=1.0)
    config: dict[str, Any] = {
        "http": settings,
        "deployments": DeploymentsSettings(up_seconds=0.05),
        "api": ApiSettings(idle_seconds=getattr(request, "param", 300.0)),
    }
    async with daemon_in(folder, **config) as daemon:
        daemon.runner.add_image("web:1", forever, listens={8080: program})
        yield daemon


@pytest.fixture
def http(daemon: Daemon) -> Client:
    return Client(daemon.config.http_socket)


async def deploy(http: Client, name: str = "one", **settings: Any) -> Any:
    package = await http.post("/v1/packages", {"manifest": MANIFEST})
    assert package.status in (200, 409), package.body
    body = {"name": name, "package": "viewer"}
    if settings:
        body["components"] = [{"component": "main", **settings}]  # type: ignore[assignment]
    return await http.post("/v1/deployments", body)


async def until(http: Client, name: str, phase: str) -> None:
    async def reached() -> bool:
        found = (await http.ask("GET", f"/v1/deployments/{name}")).json
        return bool(found["phase"] == f"DEPLOYMENT_PHASE_{phase}")

    await eventually(reached, f"{name} is {phase}")


async def routed(http: Client, name: str = "one") -> None:
    await http.post("/v1/routes", {"prefix": "viewer"})
    answer = await deploy(http, name, routes={"WEB": "viewer"})
    assert answer.status == 200, answer.body
    await until(http, name, "SUCCEEDED")


async def test_a_route_leads_to_the_program_and_its_answer_back(
    http: Client, program: Program
) -> None:
    await routed(http)
    route = (await http.ask("GET", "/v1/routes/viewer")).json
    assert route["path"] == "/routes/viewer/"
    assert route["target"]["deploymentName"] == "one"
    assert route["target"]["endpoint"] == "WEB"
    answer = await http.ask("PUT", "/routes/viewer/a%2Fb/..;/c?x=%41&y", b"hello", Cookie="a=1")
    assert answer.status == 200
    assert answer.body.startswith(b"5 ")
    assert answer.headers["set-cookie"] == "sid=1; Path=/routes/viewer/"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    ((method, target, headers),) = program.requests
    assert (method, target) == (b"PUT", b"/a%2Fb/..;/c?x=%41&y")
    assert headers[b"cookie"] == b"a=1"
    assert headers[b"host"] == b"localhost"
    other = await http.ask("GET", "/routes/viewer/", Upgrade="h2c", Connection="Upgrade")
    assert other.status == 200
    assert b"upgrade" not in program.requests[-1][2]
    head = await http.ask("HEAD", "/routes/viewer/")
    assert (head.status, head.body) == (200, b"")
    moved = await http.ask("GET", "/routes/viewer?q=1")
    assert (moved.status, moved.headers["location"]) == (308, "/routes/viewer/?q=1")


async def test_large_bodies_stream_in_both_directions(http: Client, program: Program) -> None:
    await routed(http)
    block = bytes(range(256)) * 1024
    async with http.connected() as connection:
        await connection.ask("POST", "/routes/viewer/up")
        for _ in range(64):
            await connection.send(h11.Data(data=block))
        await connection.send(h11.EndOfMessage())
        answer = await connection.answer()
    digest = hashlib.sha256(block * 64).hexdigest()
    assert answer.body.decode() == f"{64 * len(block)} {digest}"
    assert program.requests[0][2][b"transfer-encoding"] == b"chunked"
    program.raw(b"HTTP/1.0 200 OK\r\n\r\n", *[block] * 64)
    down = await http.ask("GET", "/routes/viewer/down")
    assert hashlib.sha256(down.body).hexdigest() == digest


async def test_events_come_one_by_one_and_the_program_sees_that_the_client_left(
    http: Client, program: Program
) -> None:
    await routed(http)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    program.raw(head, b"data: 1\n\n", wait=True)
    async with http.connected() as connection:
        await connection.ask("GET", "/routes/viewer/events", b"")
        answer = await connection.event()
        assert answer.status_code == 200
        assert bytes((await connection.event()).data) == b"data: 1\n\n"
        assert not program.gone.is_set()
    await asyncio.wait_for(program.gone.wait(), 10)


@pytest.mark.parametrize(
    ("raw", "status", "name"),
    [
        (b"", 502, "route-answer"),
        (b"garbage\r\n\r\n", 502, "route-answer"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000, 502, "route-answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502, "route-answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502, "route-answer"),
        (b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", 502, "route-answer"),
        (b"HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n", 502, "route-answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 502, "route-answer"),
    ],
)
async def test_an_answer_that_is_not_http_is_a_502(
    http: Client, program: Program, raw: bytes, status: int, name: str
) -> None:
    await routed(http)
    program.raw(raw)
    answer = await http.ask("GET", "/routes/viewer/")
    assert (answer.status, answer.headers["claraedge-error"]) == (status, name), answer.body
    assert "viewer" in answer.json["message"]


async def test_a_program_that_does_not_answer_is_a_504(http: Client, program: Program) -> None:
    await routed(http)
    program.raw(wait=True)
    answer = await http.ask("GET", "/routes/viewer/")
    assert (answer.status, answer.headers["claraedge-error"]) == (504, "route-timeout")


@pytest.mark.parametrize("status", [419, 499, 600, 999])
async def test_a_status_that_nobody_knows_passes(
    http: Client, program: Program, status: int
) -> None:
    await routed(http)
    program.raw(b"HTTP/1.1 %d Odd\r\nContent-Length: 2\r\n\r\nhi" % status)
    answer = await http.ask("GET", "/routes/viewer/")
    assert (answer.status, answer.body) == (status, b"hi")


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (
            b"200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n",
            200,
            b"abc",
        ),
        (b"200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", 200, b"abc"),
        (b"200 OK\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"),
        (b"204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b""),
        (b"304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    ],
)
async def test_a_program_cannot_break_the_front_by_odd_lengths(
    http: Client,
    program: Program,
    caplog: pytest.LogCaptureFixture,
    raw: bytes,
    status: int,
    body: bytes,
) -> None:
    await routed(http)
    program.raw(b"HTTP/1.1 " + raw)
    answer = await http.ask("GET", "/routes/viewer/")
    assert (answer.status, answer.body) == (status, body)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_upload_that_is_slower_than_a_program_may_be_passes(
    http: Client, program: Program
) -> None:
    await routed(http)
    async with http.connected() as connection:
        await connection.ask("POST", "/routes/viewer/up")
        await connection.send(h11.Data(data=b"a"))
        await asyncio.sleep(1.5)  # the program may take 1 s
        await connection.send(h11.Data(data=b"b"), h11.EndOfMessage())
        answer = await connection.answer()
    assert (answer.status, answer.body[:2]) == (200, b"2 ")


async def test_a_program_may_refuse_an_upload_that_it_does_not_read(
    http: Client, program: Program
) -> None:
    await routed(http)

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()

    program.answer = early
    answer = await http.ask("POST", "/routes/viewer/", bytes(20_000_000))
    assert (answer.status, answer.body) == (413, b"big")


@asynccontextmanager
async def unread_upload(
    http: Client, program: Program, *events: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.Event]]:
    """Sends a large request to a program that does not read its body, and answers with `events`.

    Repeats the last one. Yields the answer for the client, and what is set at the program's end;
    leaving the context breaks the connection.
    """
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        try:
            for event in events:
                writer.write(event)
            while len(events) > 1:
                writer.write(events[-1])
                await writer.drain()
            await asyncio.Event().wait()
        finally:
            ended.set()

    program.answer = answer
    reader, writer = await asyncio.open_unix_connection(str(http.path))
    size = 10_000_000
    writer.write(
        b"POST /routes/viewer/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % size + bytes(size)
    )
    try:
        yield reader, ended
    finally:
        writer.transport.abort()


_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize("events", [(_STREAM, b"data: 1\n\n"), (_STREAM,), ()])
async def test_a_client_that_leaves_a_program_that_does_not_read_frees_the_place(
    http: Client, program: Program, events: tuple[bytes, ...]
) -> None:
    await routed(http)
    async with unread_upload(http, program, *events) as (reader, ended):
        if events:
            assert b"200" in await reader.readline()
    await asyncio.wait_for(ended.wait(), 30)


@pytest.mark.parametrize(("events", "first"), [((), b"504"), ((_STREAM,), b"200")])
async def test_a_program_that_does_not_read_ends_though_the_client_stays(
    http: Client, program: Program, events: tuple[bytes, ...], first: bytes
) -> None:
    await routed(http)
    async with unread_upload(http, program, *events) as (reader, ended):
        assert first in await reader.readline()
        await asyncio.wait_for(ended.wait(), 30)
        rest = await asyncio.wait_for(reader.read(), 30)
    assert (b"did not read the request" in rest) is (first == b"504")
    assert not rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("daemon", [1.0], indirect=True)
async def test_a_client_that_stays_but_does_not_read_is_ended(
    http: Client, program: Program
) -> None:
    await routed(http)
    async with unread_upload(http, program, _STREAM, bytes(65536)) as (_, ended):
        await asyncio.wait_for(ended.wait(), 30)


async def test_a_stream_goes_on_though_the_program_does_not_read(
    http: Client, program: Program
) -> None:
    await routed(http)
    async with unread_upload(http, program, _STREAM, b"data: 1\n\n") as (reader, _):
        loop = asyncio.get_running_loop()
        late = loop.time() + 1.5  # the program may read nothing for 1 s
        while loop.time() < late:
            assert await reader.readuntil(b"data: 1\n\n")


async def test_an_answer_that_is_cut_off_is_cut_off_for_the_client(
    http: Client, program: Program
) -> None:
    await routed(http)
    program.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    with pytest.raises(h11.RemoteProtocolError):
        await http.ask("GET", "/routes/viewer/")


async def test_where_nothing_runs_the_answer_says_what_to_do(
    http: Client, daemon: Daemon, program: Program
) -> None:
    missing = await http.ask("GET", "/routes/nothing/")
    assert (missing.status, missing.headers["claraedge-error"]) == (404, "route-not-found")
    odd = await http.ask("GET", "/routes/a%0d%0ab")
    assert odd.status == 308
    assert odd.headers["location"] == "/routes/a%0D%0Ab/"
    await http.post("/v1/routes", {"prefix": "viewer"})
    unused = await http.ask("GET", "/routes/viewer/")
    assert (unused.status, unused.headers["claraedge-error"]) == (503, "route-not-ready")
    assert "--route" in unused.json["message"]
    daemon.runner.block("run")
    daemon.runner.add_image("web:1", forever)  # nothing listens
    made = (await deploy(http, routes={"WEB": "viewer"})).json
    await until(http, "one", "SUCCEEDED")
    silent = await http.ask("GET", "/routes/viewer/")
    assert silent.status == 503
    assert made["id"] in silent.json["message"]
    upgrade = await http.ask("GET", "/routes/viewer/", Upgrade="websocket", Connection="Upgrade")
    assert (upgrade.status, upgrade.headers["claraedge-error"]) == (501, "not-supported")
    assert program.requests == []


async def test_a_route_leads_to_one_deployment_and_after_that_to_the_next(
    http: Client, program: Program
) -> None:
    await routed(http)
    second = await deploy(http, "two", routes={"WEB": "viewer"})
    assert (second.status, second.headers["claraedge-error"]) == (409, "route-in-use")
    one = (await http.ask("GET", "/v1/deployments/one")).json
    assert one["id"] in second.json["message"]
    assert list(one["components"][0]["routes"]) == ["WEB"]
    refused = await http.ask("DELETE", "/v1/routes/viewer")
    assert (refused.status, refused.headers["claraedge-error"]) == (409, "route-in-use")
    await http.ask("DELETE", "/v1/deployments/one")
    await until(http, "one", "STOPPED")
    await routed(http, "two")
    assert (await http.ask("GET", "/routes/viewer/")).status == 200
    assert len(program.requests) == 1
    await http.ask("DELETE", "/v1/deployments/two")
    await until(http, "two", "STOPPED")
    assert (await http.ask("DELETE", "/v1/routes/viewer")).status == 200
    assert (await http.ask("GET", "/v1/routes")).json == []


async def test_all_mistakes_of_routes_are_said_at_once(http: Client) -> None:
    answer = await deploy(http, routes={"WEB": "nothing", "INNER": "none", "WED": "no"})
    assert answer.status == 400
    for text in (
        "components.main.routes.WEB: no route has",
        "components.main.routes.INNER: the package does not expose",
        "components.main.routes.WED: there is no such endpoint; did you mean WEB?",
    ):
        assert text in answer.json["message"]
    for prefix in ("abc", "Abcd", "1abc", "a_bc", "a" * 65, "", "a/bc"):
        bad = await http.post("/v1/routes", {"prefix": prefix})
        assert (bad.status, bad.headers["claraedge-error"]) == (400, "invalid-route"), prefix
    assert (await http.post("/v1/routes", {"prefix": "abcd"})).status == 200
    again = await http.post("/v1/routes", {"prefix": "abcd"})
    assert (again.status, again.headers["claraedge-error"]) == (409, "route-exists")


async def test_over_tcp_a_caller_shows_the_token_and_the_program_never_sees_it(
    http: Client, daemon: Daemon, program: Program
) -> None:
    await routed(http)
    tcp = TcpClient(int(daemon.config.http.listen[0].rpartition(":")[2]))
    assert (await tcp.ask("GET", "/routes/viewer/")).status == 401
    assert program.requests == []
    token = (daemon.config.state_dir / "token").read_text().strip()
    answer = await tcp.ask("GET", "/routes/viewer/", Authorization=f"Bearer {token}")
    assert answer.status == 200
    ((_, _, headers),) = program.requests
    assert token.encode() not in b"".join(headers.values())
    assert headers[b"x-forwarded-for"] == b"127.0.0.1"
    foreign = await http.ask(
        "POST", "/routes/viewer/", b"", Origin="null", Sec_Fetch_Site="cross-site"
    )
    assert foreign.status == 403
    assert len(program.requests) == 1


async def test_the_sdk_of_rapyuta_creates_lists_and_deletes_routes(http: Client) -> None:
    missing = await http.ask("GET", "/api/staticroute/filter?urlPrefix=viewer")
    assert missing.status == 404
    made = (await http.post("/api/staticroute/create", {"urlPrefix": "viewer"})).json
    assert made["urlPrefix"] == "viewer"
    assert made["urlString"] == "http://localhost/routes/viewer/"
    assert made["guid"] == made["ID"]
    again = await http.post("/api/staticroute/create", {"urlPrefix": "viewer"})
    assert (again.status, list(again.json)) == (409, ["error"])
    for path in ("list", "filter?urlPrefix=viewer"):
        assert (await http.ask("GET", f"/api/staticroute/{path}")).json == [made]
    assert (await http.ask("GET", f"/api/staticroute/{made['guid']}/get")).json == made
    named = await http.ask("GET", "/api/staticroute/viewer/get")
    assert named.status == 404
    package = (await http.post("/serviceclass/add", json.loads(MANIFEST))).json
    device = (await http.ask("GET", "/v1/device")).json["id"]
    component = package["planIds"][0]["componentIds"][0]
    body = {
        "service_id": package["packageId"],
        "plan_id": package["planIds"][0]["planId"],
        "context": {
            "name": "one",
            "component_context": {component: {"static_route_config": {"WEB": made["guid"]}}},
        },
        "parameters": {
            "global": {"device_ids": [device]},
            component: {"component_id": component, "device_id": device},
        },
    }
    path, kind = "/v2/service_instances/instanceId", {"Content_Type": "application/json"}
    answer = await http.ask("PUT", path, json.dumps(body).encode(), **kind)
    assert answer.status == 200, answer.body
    await until(http, "one", "SUCCEEDED")
    assert (await http.ask("GET", "/routes/viewer/")).status == 200
    delete = json.dumps({"guid": made["guid"]}).encode()
    used = await http.ask("DELETE", "/api/staticroute/delete", delete, **kind)
    assert used.status == 409
    await http.ask("DELETE", "/v1/deployments/one")
    await until(http, "one", "STOPPED")
    gone = await http.ask("DELETE", "/api/staticroute/delete", delete, **kind)
    assert (gone.status, gone.json) == (200, {"success": True})


async def test_the_sdk_of_rapyuta_creates_joins_and_deletes_networks(
    http: Client, daemon: Daemon
) -> None:
    device = (await http.ask("GET", "/v1/device")).json
    kind = {"Content_Type": "application/json"}
    parameters = {
        "device_id": device["id"],
        "NETWORK_INTERFACE": device["interfaces"][0]["name"],
        "restart_policy": "on-failure",
    }
    body = {"name": "lab", "runtime": "device", "rosDistro": "melodic", "parameters": parameters}
    made = (await http.post("/routednetwork", {**body, "shared": True})).json
    for change, status in (
        ({"runtime": "cloud"}, 501),
        ({"parameters": {**parameters, "device_id": "other"}}, 400),
        ({"parameters": {**parameters, "limits": {"cpu": 1, "memory": 4096}}}, 400),
        ({"parameters": {**parameters, "restart_policy": "maybe"}}, 400),
        ({"parameters": {**parameters, "NETWORK_INTERFACE": "none0"}}, 400),
        ({}, 409),
    ):
        answer = await http.post("/nativenetwork", {**body, **change})
        assert (answer.status, list(answer.json)) == (status, ["error"]), answer.body

    async def risen() -> bool:
        found = (await http.ask("GET", f"/routednetwork/{made['guid']}")).json
        state = found["internalDeploymentStatus"]
        assert found["parameters"] == parameters
        assert "not bound to the interface" in state["details"]
        return bool((state["phase"], state["status"]) == ("Succeeded", "Running"))

    await eventually(risen, "the network is ready")
    assert [n["guid"] for n in (await http.ask("GET", "/routednetwork")).json] == [made["guid"]]
    assert (await http.ask("GET", "/nativenetwork")).json == []
    package = (await http.post("/serviceclass/add", json.loads(MANIFEST))).json
    component = package["planIds"][0]["componentIds"][0]
    provision = {
        "service_id": package["packageId"],
        "plan_id": package["planIds"][0]["planId"],
        "context": {"name": "one", "routedNetworks": [{"guid": made["guid"]}]},
        "parameters": {component: {"component_id": component, "device_id": device["id"]}},
    }
    path = "/v2/service_instances/instanceId"
    answer = await http.ask("PUT", path, json.dumps(provision).encode(), **kind)
    assert answer.status == 200, answer.body
    await until(http, "one", "SUCCEEDED")
    assert (await http.ask("GET", "/v1/deployments/one")).json["networks"] == [made["guid"]]
    used = await http.ask("DELETE", f"/routednetwork/{made['guid']}")
    assert used.status == 409
    await http.ask("DELETE", "/v1/deployments/one")
    await until(http, "one", "STOPPED")
    assert (await http.ask("DELETE", f"/routednetwork/{made['guid']}")).status == 200

    async def gone() -> bool:
        return (await http.ask("GET", f"/routednetwork/{made['guid']}")).status == 404

    await eventually(gone, "the network is gone")
    assert await daemon.runner.networks({}) == []
