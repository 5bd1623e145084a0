"""The life cycle of the daemon: open, prepare, serve, and close in reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from claraedge import __version__
from claraedge.api.transport.calls import CallLimits
from claraedge.api.transport.server import RuntimeFolder, Server
from claraedge.api.transport.standard import HEALTH, REFLECTION
from claraedge.appliance import frozen, notify
from claraedge.appliance.ballast import Ballast
from claraedge.appliance.memory import bound_arenas
from claraedge.appliance.state import prepare_state
from claraedge.appliance.watchdog import Watchdog
from claraedge.blocking import in_thread
from claraedge.clock import SystemClock, boot_id
from claraedge.config import Config
from claraedge.config.origins import Origins
from claraedge.daemon.foundation import (
    Foundation,
    certificates_of,
    instance,
    open_state,
    token_of,
)
from claraedge.daemon.parts import Parts
from claraedge.daemon.servicers import servicers
from claraedge.daemon.status import exposition
from claraedge.fs import files
from claraedge.gpu import cdi
from claraedge.gpu.nvml import Nvml
from claraedge.gpu.sampler import Sampler
from claraedge.gpu.tegra import Tegra
from claraedge.gpu.telemetry import Combined
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Runner
from claraedge.runner.service.service import PodmanService, user_socket
from claraedge.runner.user_namespaces import UserNamespace
from claraedge.suspects import Suspects
from claraedge.web.server import HttpServer

_log = logging.getLogger(__name__)

#: Opens the runner for a daemon; tests pass a function that returns a `MemoryRunner`.
OpenRunner: TypeAlias = Callable[[Config], AbstractAsyncContextManager[Runner]]


@asynccontextmanager
async def podman(config: Config) -> AsyncIterator[Runner]:
    """Opens the runner of the product, which uses Podman."""
    folder = config.runtime_dir / "podman"
    files.make_folders(folder)
    shared = config.podman.socket or user_socket(os.environ)
    named = config.podman.socket is not None
    async with (
        PodmanService(
            folder, shared=shared, only_shared=named, idle=config.podman.idle_seconds
        ) as service,
        PodmanRunner(
            service,
            folder,
            visible_devices=config.engine.visible_devices,
            nodes=cdi.nodes,
            all_nodes=cdi.all_nodes,
            user_namespace=UserNamespace(config.engine.user_namespace),
        ) as runner,
    ):
        yield runner


async def serve(
    config: Config, open_runner: OpenRunner = podman, origins: Origins | None = None
) -> None:
    """Builds, recovers and serves the daemon; ends only by cancellation or by a bug of a part.

    `origins`: what the configuration was made from; None: only defaults.

    Raises StateFolderError if the state cannot be used, also later while serving.
    """
    bound_arenas()
    removed = await in_thread(frozen.remove_stale_extractions)
    if removed:
        _log.info("stale extractions removed", extra={"count": len(removed)})
    certificates = certificates_of(config)
    prepare_state(config.state_dir)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        started = clock.now()
        stack.enter_context(RuntimeFolder(config.socket))
        watchdog = await stack.enter_async_context(Watchdog())
        ballast = Ballast(config.state_dir)
        database = await open_state(stack, config, ballast)
        suspects = Suspects(config.state_dir / "at-work", boot_id())
        stack.callback(suspects.close)
        await suspects.prepare(database)
        foundation = Foundation(
            config=config,
            clock=clock,
            ballast=ballast,
            database=database,
            instance=await database.write(instance),
            runner=await stack.enter_async_context(open_runner(config)),
            started=started,
            suspects=suspects,
            origins=origins or Origins(),
        )
        parts = Parts(foundation)
        await parts.prepare()
        sampler = await stack.enter_async_context(
            Sampler(
                Combined(Nvml(), Tegra()), database, clock, interval=config.gpu.interval_seconds
            )
        )
        services = servicers(parts, sampler)
        works = parts.work()
        token = await token_of(config)
        if config.http.enabled:
            http = HttpServer(
                config.http_socket,
                config.http,
                [*(descriptor for descriptor, _ in services), HEALTH, REFLECTION],
                config.socket,
                certificates,
                token,
                metrics=exposition(parts, sampler).page,
                dial=parts.deployments.dial,
                idle=config.api.idle_seconds,
            )
            works["http"] = (await stack.enter_async_context(http)).run
        server = await stack.enter_async_context(
            Server(
                config.socket,
                services,
                CallLimits(unary=config.api.unary_seconds, idle=config.api.idle_seconds),
                config.api.listen,
                certificates,
                token,
                parts.observations.call_ended,
            )
        )
        works["server"] = server.run
        try:
            async with asyncio.TaskGroup() as group:
                for name, work in works.items():
                    group.create_task(work(), name=name)
                group.create_task(database.watch(), name="state")
                _log.info("ready", extra={"version": __version__, "instance": foundation.instance})
                notify.ready(f"serving {config.socket}")
                checking = watchdog.run(database.answers, parts.engine.stuck)
                group.create_task(checking, name="watchdog")
        except BaseExceptionGroup:
            if database.unusable is not None:  # the cause of the other failures
                raise database.unusable from None
            raise
        finally:
            notify.stopping()
