"""A model repository with its gRPC service, served by a thread of the test."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claraedge.api.appliance import ApplianceServicer
from claraedge.api.models import ModelsServicer
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import Server
from claraedge.clock import SystemClock
from claraedge.formats.filenames import DEFAULT
from claraedge.ids import new_id
from claraedge.models.model import SetKind
from claraedge.models.models import Models
from claraedge.models.sets import ModelSets
from claraedge.models.tree import ModelTree
from claraedge.store.database import Database
from claraedge.suspects import UNRECORDED
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.nvidia.clara.platform import models_pb2


async def _not_asked() -> Any:
    raise NotImplementedError("nobody asks for it")


@contextmanager
def served_repository() -> Iterator[Path]:
    """Serves a repository; yields its state folder, which contains the socket `s.sock`."""
    ready = threading.Event()

    async def serve(state: Path, ended: asyncio.Event) -> None:
        async with Database(state / "claraedge.db") as database:
            clock = SystemClock()
            repository = Models(database, ModelTree(state), clock, new_id)
            await repository.prepare()
            sets = [ModelSets(database, clock, new_id, kind) for kind in SetKind]
            servicer = ModelsServicer(repository, *sets)
            served = [
                (models_pb2.DESCRIPTOR.services_by_name["Models"], servicer),
                (
                    appliance_pb2.DESCRIPTOR.services_by_name["Appliance"],
                    ApplianceServicer(
                        _not_asked, DEFAULT, UNRECORDED.try_again, _not_asked, _not_asked
                    ),
                ),
            ]
            async with Server(state / "s.sock", served, CallLimits(unary=30, idle=30)):
                ready.set()
                await ended.wait()

    with tempfile.TemporaryDirectory(prefix="ce-") as folder:  # the path of a socket must be short
        loop, ended = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(
            target=loop.run_until_complete, args=(serve(Path(folder), ended),), daemon=True
        )
        thread.start()
        assert ready.wait(20)
        yield Path(folder)
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()
