"""`nvidia.clara.platform.Pipelines` on the wire."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from claraedge.wire.nvidia.clara.platform import pipelines_pb2 as wire
from tests.rig.pipelines import chain
from tests.unit.api.conftest import HEADER, Daemon, an_id, messages

UNKNOWN = "0" * 31 + "1"


def part(path: str, content: str, **more: Any) -> wire.PipelinesCreateRequest:
    return wire.PipelinesCreateRequest(
        header=HEADER,
        definition=wire.PipelineDefinitionFile(path=path, content=content),
        **more,
    )


async def create(daemon: Daemon, *parts: wire.PipelinesCreateRequest) -> Any:
    return await daemon.pipelines.Create(iter(parts))


async def details(daemon: Daemon, pipeline: str) -> list[Any]:
    request = wire.PipelinesDetailsRequest(header=HEADER, pipeline_id=an_id(pipeline))
    return await messages(daemon.pipelines.Details(request))


async def listed(daemon: Daemon) -> list[Any]:
    return await messages(daemon.pipelines.List(wire.PipelinesListRequest(header=HEADER)))


async def test_what_was_created_is_returned_in_full(daemon: Daemon) -> None:
    text = chain("one", "two")
    reply = await create(daemon, part("../spleen.yaml", text, metadata={"Owner": "ward 3"}))
    assert reply.header.code == 0
    pipeline = reply.pipeline_id.value
    assert len(pipeline) == 32
    (message,) = await details(daemon, pipeline.upper())
    assert (message.header.code, message.pipeline_id.value) == (0, pipeline)
    assert (message.name, dict(message.metadata)) == ("chain", {"Owner": "ward 3"})
    assert (message.definition.path, message.definition.content) == ("../spleen.yaml", text)
    assert [(n.name, [f.name for f in n.next]) for n in message.dag] == [("one", ["two"])]


async def test_parts_of_one_file_are_joined_and_repeated_metadata_is_no_error(
    daemon: Daemon,
) -> None:
    text = chain("one")
    half = len(text) // 2
    more: dict[str, Any] = {"metadata": {"a": "1"}, "pipeline_id": an_id("ab" * 16)}
    reply = await create(
        daemon, part("P.yaml", text[:half], **more), part("p.yaml", text[half:], **more)
    )
    assert (reply.header.code, reply.pipeline_id.value) == (0, "ab" * 16)
    (message,) = await details(daemon, "ab" * 16)
    assert message.definition.content == text


async def test_a_forced_id_is_accepted_once(daemon: Daemon) -> None:
    request = part("p.yaml", chain("one"), pipeline_id=an_id("AB" * 16))
    assert (await create(daemon, request)).pipeline_id.value == "ab" * 16
    again = await create(daemon, request)
    assert again.header.code < 0
    assert "taken" in again.header.messages[0]


async def test_pipelines_are_listed_by_creation(daemon: Daemon) -> None:
    (empty,) = await listed(daemon)
    assert (empty.header.code, empty.HasField("details")) == (0, False)
    names = ["zeta", "alpha", "midway"]
    ids = [await daemon.register(chain("one").replace("chain", name)) for name in names]
    replies = await listed(daemon)
    assert [r.details.name for r in replies] == names
    assert [r.details.pipeline_id.value for r in replies] == ids
    assert replies[0].header.code == 0


@pytest.mark.parametrize(
    ("definition", "code", "says"),
    [
        ("", -0x1100, "no definition"),
        (" \n", -0x1100, "no definition"),
        ("a: [", -0x1101, "p.yaml:2:1: this is not YAML"),
        (chain("one") + "- name: one\n", -0x1101, "one"),
        (chain("one").replace("path: /in", "path: /in, from: nobody"), -0x1101, "nobody"),
    ],
)
async def test_a_wrong_definition_has_its_code_and_says_where(
    daemon: Daemon, definition: str, code: int, says: str
) -> None:
    reply = await create(daemon, part("p.yaml", definition))
    assert reply.header.code == code
    assert says in "\n".join(reply.header.messages)
    assert not reply.HasField("pipeline_id")
    assert not (await listed(daemon))[0].HasField("details")


async def test_a_stream_without_a_message_is_an_error(daemon: Daemon) -> None:
    reply = await create(daemon)
    assert reply.header.code == -0x1100
    assert reply.header.messages


@pytest.mark.parametrize(
    ("pipeline", "code"), [("", -0x1000), ("no-id", -0x1000), (UNKNOWN, -0x1001)]
)
async def test_ids_that_name_nothing(daemon: Daemon, pipeline: str, code: int) -> None:
    (reply,) = await details(daemon, pipeline)
    assert reply.header.code == code
    assert reply.header.messages[0]


async def test_a_malformed_forced_id_is_refused(daemon: Daemon) -> None:
    reply = await create(daemon, part("p.yaml", chain("one"), pipeline_id=an_id("my pipeline")))
    assert reply.header.code == -0x1000


async def test_metadata_that_differ_by_case_alone_are_refused(daemon: Daemon) -> None:
    reply = await create(daemon, part("p.yaml", chain("one"), metadata={"a": "1", "A": "2"}))
    assert reply.header.code == -0x5003
    assert not (await listed(daemon))[0].HasField("details")


async def test_a_definition_as_large_as_one_may_be_comes_back_whole(daemon: Daemon) -> None:
    remark = "# \N{SNOWMAN} remark, long as only a machine writes it\n"
    text = chain("one") + remark * (1_040_000 // len(remark.encode()))
    step = 100_000
    parts = [part("p.yaml", text[at : at + step]) for at in range(0, len(text), step)]
    reply = await create(daemon, *parts)
    assert reply.header.code == 0, reply.header.messages
    replies = await details(daemon, reply.pipeline_id.value)
    assert "".join(r.definition.content for r in replies) == text
    assert {(r.definition.path, r.name) for r in replies} == {("p.yaml", "chain")}
    larger = await create(daemon, *parts, part("p.yaml", remark * 400))
    assert larger.header.code == -0x1101
    assert "1 MiB" in larger.header.messages[0]


async def test_a_long_chain_can_be_returned(daemon: Daemon) -> None:
    """A message may nest a hundred deep, and no deeper."""
    names = [f"op{i}" for i in range(150)]
    pipeline = await daemon.register(chain(*names))
    (reply,) = await details(daemon, pipeline)
    assert reply.header.code == 0
    edges: set[tuple[str, str]] = set()

    def walk(node: Any) -> None:
        for follower in node.next:
            edges.add((node.name, follower.name))
            walk(follower)

    for node in reply.dag:
        walk(node)
    assert edges == set(itertools.pairwise(names))
