"""Calls of the Events service."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import grpc

from claraedge.client.connection import Connection
from claraedge.wire.claraedge.v1 import events_pb2 as pb
from claraedge.wire.claraedge.v1.events_pb2_grpc import EventsStub


def job_changes(connection: Connection, job_id: str, *, tick: float) -> Iterator[bool]:
    """Yields True at once and after each change of the job, and False after `tick` seconds without.

    Raises the error of the daemon, and UnavailableError if the daemon is gone.
    """
    return _changes(connection, pb.Follow(job_ids=[job_id]), tick)


def inbox_changes(connection: Connection, *, tick: float) -> Iterator[bool]:
    """Does the same as `job_changes` for the items of the drop folder."""
    return _changes(connection, pb.Follow(inbox=True), tick)


def _changes(connection: Connection, follow: pb.Follow, tick: float) -> Iterator[bool]:
    """Yields whether there were changes within `tick` seconds; ends only with the stream.

    Changes that arrive faster than the caller reads them are reported as one. Raises the error of
    the daemon, and UnavailableError if the daemon is gone.
    """
    said: queue.SimpleQueue[pb.WatchRequest | None] = queue.SimpleQueue()
    heard: queue.SimpleQueue[pb.WatchResponse | grpc.RpcError | None] = queue.SimpleQueue()
    said.put(pb.WatchRequest(follow=follow))
    call = EventsStub(connection.channel).Watch(iter(said.get, None))

    def listen() -> None:
        try:
            for response in call:
                if response.HasField("event"):
                    number = response.event.position.number
                    said.put(pb.WatchRequest(acknowledge=pb.Acknowledge(number=number)))
                heard.put(response)
            heard.put(None)
        except grpc.RpcError as error:
            heard.put(error)

    threading.Thread(target=listen, daemon=True, name="events").start()
    try:
        while True:
            changed = False
            try:
                response = heard.get(timeout=tick)
                while True:
                    if response is None:
                        return
                    if isinstance(response, grpc.RpcError):
                        connection.fail(response)
                    live = response.HasField("event") and not response.event.snapshot
                    changed = changed or live or response.HasField("caught_up")
                    response = heard.get_nowait()
            except queue.Empty:
                yield changed
    finally:
        call.cancel()
        said.put(None)
