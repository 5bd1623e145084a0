"""A client that opens all it can and reads nothing: `greedy_client.py TARGET JSON`.

JSON: `silent` watches without a word, `following` a job in which nothing happens, `requestless`
calls of Status without a request, `uploads` of one chunk to `payload`, `readers` of its file
`large` who read one message. It prints a line once all are open. At the next line of its input it
reads each call to its end, and prints how they ended: a count of each status, by kind. A watch that
follows is cancelled.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc

from claraedge.wire.claraedge.v1 import events_pb2
from claraedge.wire.claraedge.v1.events_pb2_grpc import EventsStub
from claraedge.wire.nvidia.clara.platform import common_pb2, payloads_pb2
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub

#: As many as a server accepts on one connection.
ON_ONE = 250
#: Without the second, the transport of the client reads as much ahead as it measures that the
#: connection carries: 6 MiB or, on a slow machine, the whole file, whose reader has then ended.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
STATUS = "/nvidia.clara.platform.Jobs/Status"


def channels(target: str, kept: list[grpc.aio.Channel]) -> Iterator[grpc.aio.Channel]:
    """Yields the connection for each call, a new one after `ON_ONE` calls; `kept` has all."""
    while True:
        channel = grpc.aio.insecure_channel(target, OPTIONS)
        kept.append(channel)  # one that is not referenced any more cancels its calls
        yield from itertools.repeat(channel, ON_ONE)


async def opened(
    connections: Iterator[grpc.aio.Channel], wanted: dict[str, Any]
) -> dict[str, list[Any]]:
    """The calls that are wanted, by kind; each has sent, or read, what it ever will."""
    payload = common_pb2.Identifier(value=wanted["payload"])

    def on_next(kind: str) -> Iterator[grpc.aio.Channel]:
        return itertools.islice(connections, wanted[kind])

    calls = {
        "silent": [EventsStub(c).Watch() for c in on_next("silent")],  # type: ignore[no-untyped-call]
        "following": [EventsStub(c).Watch() for c in on_next("following")],  # type: ignore[no-untyped-call]
        "requestless": [c.stream_unary(STATUS)() for c in on_next("requestless")],
        "uploads": [PayloadsStub(c).Upload() for c in on_next("uploads")],  # type: ignore[call-arg]
        "readers": [
            PayloadsStub(c).Download(
                payloads_pb2.PayloadsDownloadRequest(payload_id=payload, name="large")
            )
            for c in on_next("readers")
        ],
    }
    follow = events_pb2.WatchRequest(follow=events_pb2.Follow(job_ids=[wanted["job"]]))
    chunk = payloads_pb2.PayloadsUploadRequest(
        payload_id=payload, details=payloads_pb2.PayloadFileDetails(name="a"), data=b"x"
    )
    writing = [call.write(follow) for call in calls["following"]]
    writing += [call.write(chunk) for call in calls["uploads"]]
    reading = [call.read() for call in calls["following"] + calls["readers"]]
    opening = [call.wait_for_connection() for call in calls["silent"] + calls["requestless"]]
    await asyncio.gather(*writing, *reading, *opening, return_exceptions=True)
    return calls  # type: ignore[return-value]


async def ended(call: Any, *, cancel: bool) -> str:
    """The status of a call, read to its end."""
    if cancel:
        call.cancel()
    try:
        if isinstance(call, grpc.aio.UnaryStreamCall | grpc.aio.StreamStreamCall):
            while await call.read() is not grpc.aio.EOF:
                pass
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass
    status: grpc.StatusCode = await call.code()
    return status.name


async def main(target: str, wanted: dict[str, Any]) -> None:
    kept: list[grpc.aio.Channel] = []
    calls = await opened(channels(target, kept), wanted)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ends = {
        kind: Counter(
            await asyncio.gather(*(ended(call, cancel=kind == "following") for call in some))
        )
        for kind, some in calls.items()
    }
    print(json.dumps(ends), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
