"""The composition root: builds the parts, starts and stops them in order, watches them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from google.protobuf.descriptor import ServiceDescriptor

from claraedge import __version__, files, journal
from claraedge.api.answers import Limits
from claraedge.api.appliance import (
    ApplianceServicer,
    ImagesServicer,
    InboxServicer,
    QueueServicer,
    disk_of,
    removed_of,
    time_of,
)
from claraedge.api.clara import ClaraServicer
from claraedge.api.events import EventsServicer
from claraedge.api.jobs import JobsServicer
from claraedge.api.models import ModelsServicer
from claraedge.api.monitor import MonitorServicer
from claraedge.api.payloads import PayloadsServicer
from claraedge.api.pipelines import PipelineFilesServicer, PipelinesServicer
from claraedge.api.server import RuntimeFolder, Server
from claraedge.appliance import frozen, notify
from claraedge.appliance.ballast import Ballast
from claraedge.appliance.disk import DiskGuard, Store, measured
from claraedge.appliance.memory import bound_arenas
from claraedge.appliance.state import prepare_state
from claraedge.appliance.watchdog import Watchdog
from claraedge.appliance.watermarks import Limits as DiskLimits
from claraedge.blocking import in_thread
from claraedge.clock import Clock, SystemClock, boot_id
from claraedge.config import Config, load_config
from claraedge.delivery import records as delivery_records
from claraedge.delivery.delivery import Delivery
from claraedge.delivery.expiry import Expiry
from claraedge.delivery.roots import Roots
from claraedge.errors import ClaraedgeError, StorageFullError
from claraedge.events.log import EventLog
from claraedge.gpu import cdi
from claraedge.gpu.nvml import Nvml
from claraedge.gpu.sampler import Sampler
from claraedge.gpu.sizes import GpuSizes
from claraedge.gpu.tegra import Tegra
from claraedge.gpu.telemetry import Combined
from claraedge.ids import new_id
from claraedge.images.applications import Applications
from claraedge.images.images import Images
from claraedge.images.side_loading import SideLoading
from claraedge.inbox.inbox import Inbox
from claraedge.jobs.engine import Engine
from claraedge.jobs.evictions import Evictions
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.keeping import DAY, Keep, Rules
from claraedge.jobs.leavings import Leavings
from claraedge.jobs.log_caps import LogCaps
from claraedge.jobs.logs import JobLogs
from claraedge.jobs.machine import Machine
from claraedge.jobs.model import Job, JobState
from claraedge.jobs.removals import Removals
from claraedge.jobs.retention import Retention
from claraedge.jobs.scheduler import Resources
from claraedge.jobs.timeouts import Timeouts
from claraedge.jobs.trust import ClockTrust
from claraedge.jobs.values import SharedMemory
from claraedge.models.model import SetKind
from claraedge.models.models import Models
from claraedge.models.sets import ModelSets
from claraedge.models.tree import ModelTree
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.device import Device
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.requests import Profile
from claraedge.registry.folder import PipelineFolder
from claraedge.registry.pipelines import Pipelines
from claraedge.runner.limits import Enforcement
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Runner
from claraedge.runner.service import PodmanService, user_socket
from claraedge.services.services import Services
from claraedge.services.services import Settings as ServiceSettings
from claraedge.store.database import Database, Transaction
from claraedge.wire.claraedge.v1 import appliance_pb2, events_pb2, pipeline_files_pb2
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    jobs_pb2,
    models_pb2,
    payloads_pb2,
    pipelines_pb2,
)
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2

_log = logging.getLogger(__name__)

_DIED = "a part of the daemon died of a bug; please report it"

#: Seconds between tries to open the state on a full disk.
_START_RETRY = 5.0

#: Opens the runner for a daemon; tests pass one of `MemoryRunner`.
OpenRunner: TypeAlias = Callable[[Config], AbstractAsyncContextManager[Runner]]


def main(config_path: Path | None, overrides: Mapping[str, str]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code of the process."""
    try:
        config = load_config(config_path, os.environ, overrides)
        journal.configure(config.log.level, config.log.format)
        return asyncio.run(_main(config))
    except ClaraedgeError as error:
        for message in error.messages:
            sys.stderr.write(f"claraedge: {message}\n")
        return error.exit_code


async def _main(config: Config) -> int:
    """Runs the daemon in a task that a signal cancels: its contexts stop the parts in order."""
    serving = asyncio.create_task(serve(config), name="daemon")
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await serving
        _log.error("the daemon ended by itself")
    except asyncio.CancelledError:
        if stop.is_set():
            _log.info("stopped")
            return 0
        # What ends a part may be cancelled by the part's own death: no signal, so it is a bug.
        _log.exception(_DIED)
    except BaseExceptionGroup:
        # systemd starts a fresh daemon, which recovers; limping on could lose work.
        _log.exception(_DIED)
    return 1


@asynccontextmanager
async def podman(config: Config) -> AsyncIterator[Runner]:
    """The product's runner."""
    folder = config.runtime_dir / "podman"
    files.make_folders(folder)
    shared = config.podman.socket or user_socket(os.environ)
    named = config.podman.socket is not None
    async with (
        PodmanService(folder, shared=shared, only_shared=named) as service,
        PodmanRunner(
            service, folder, visible_devices=config.engine.visible_devices, nodes=cdi.nodes
        ) as runner,
    ):
        yield runner


async def serve(config: Config, open_runner: OpenRunner = podman) -> None:
    """Builds, recovers, serves; ends only by cancellation, or by a part's bug."""
    bound_arenas()
    removed = await in_thread(frozen.remove_stale_extractions)
    if removed:
        _log.info("stale extractions removed", extra={"count": len(removed)})
    prepare_state(config.state_dir)
    clock = SystemClock()
    started = clock.now()
    async with AsyncExitStack() as stack:
        stack.enter_context(RuntimeFolder(config.socket))
        watchdog = await stack.enter_async_context(Watchdog())
        ballast = Ballast(config.state_dir)
        database = await _open_state(stack, config, ballast)
        instance = await database.write(_instance)
        runner = await stack.enter_async_context(open_runner(config))
        enforcement = Enforcement(runner)
        await enforcement.warnings()

        tree = PayloadTree(config.state_dir)
        disk = _disk_guard(config, runner, ballast, clock)
        payloads = Payloads(database, tree, clock, new_id, runner.reclaim, held=disk.held)
        models = Models(database, ModelTree(config.state_dir), clock, new_id)
        models_servicer = ModelsServicer(
            models,
            ModelSets(database, clock, new_id, SetKind.CATALOG),
            ModelSets(database, clock, new_id, SetKind.INSTANCE),
            disk.held,
        )
        logs = JobLogs(config.state_dir)
        log_caps = LogCaps(database, logs, limit=config.engine.operator_log_mb << 20)
        images = Images(runner, config.images, held=disk.held)
        applications = Applications(images, runner, instance, lambda: _device(config))
        await images.prepare()
        side_loading = SideLoading(
            images,
            database,
            config.images_dir,
            pause=config.inbox.settle_seconds,
            held=disk.held,
        )
        services = Services(
            runner,
            images,
            models,
            clock,
            new_id,
            state=config.state_dir,
            instance=instance,
            settings=ServiceSettings(
                services=config.services,
                inference=config.inference,
                grace=config.engine.grace_seconds,
                profile=Profile(config.engine.requests_profile),
                unified=Tegra().present(),
            ),
            gpus=lambda: cdi.devices(config.engine.cdi_kind),
        )
        models.on_changed = services.models_changed
        pipelines = Pipelines(database, clock, new_id, lambda: _device(config))
        pipeline_folder = PipelineFolder(
            database,
            pipelines,
            clock,
            config.pipelines_dir,
            pause=config.inbox.settle_seconds,
        )
        trust = ClockTrust(database, clock)
        roots = Roots(database, config)
        delivery = Delivery(database, tree, logs, config, clock, roots=roots)
        expiry = Expiry(database, roots, config.outbox, clock, trust)
        cores = len(os.sched_getaffinity(0))
        engine = Engine(
            Machine(
                database=database,
                runner=runner,
                removals=Removals(runner),
                payloads=payloads,
                images=images,
                applications=applications,
                logs=logs,
                values=SharedMemory(config.engine.shared_memory_dir, instance),
                services=services,
                profile=Profile(config.engine.requests_profile),
                clock=clock,
                instance=instance,
                boot=boot_id(),
                grace=config.engine.grace_seconds,
            ),
            resources=Resources(
                operators=config.engine.max_operators or 2 * cores,
                cores=cores,
                memory=_memory(),
                gpus=lambda: cdi.devices(config.engine.cdi_kind),
                gpu_memory=GpuSizes(config.engine.gpu_memory_mb).smallest,
                unified=Tegra().present(),
            ),
            timeouts=Timeouts(
                default=config.engine.timeout_seconds, maximum=config.engine.timeout_max_seconds
            ),
            on_stopped=lambda _job: delivery.poke(),
            may_start=disk.held,
        )

        def on_queued(tx: Transaction, job: Job, pipeline: Pipeline) -> None:
            delivery_records.add_for_job(tx, job, pipeline, all_jobs=config.outbox.all_jobs)

        jobs = Jobs(
            database,
            engine,
            tree,
            logs,
            clock,
            new_id,
            grace=config.engine.grace_seconds,
            on_queued=on_queued,
            applied=applications.applied,
        )

        retention = Retention(
            database,
            payloads,
            Leavings(database, payloads, logs),
            clock,
            unstarted_after=config.jobs.unstarted_after_hours * 3600,
            rules=_rules(config),
            trust=trust,
        )
        inbox = Inbox(
            database,
            tree,
            config,
            clock,
            new_id,
            jobs.queued,
            applied=applications.applied,
            held=lambda: _advised(disk.held()),
            queued=engine.waiting,
            roots=roots,
        )
        pipelines.on_created = inbox.poke
        delivery.on_done = inbox.job_ended

        def on_room() -> None:
            inbox.poke()
            engine.look_again()
            delivery.try_again()

        disk.on_room = on_room
        disk.reclaim = retention.reclaim
        disk.evict = Evictions(database, clock, engine.evict).next

        async def status() -> appliance_pb2.StatusResponse:
            counts = await database.read(lambda tx: tx.row("status_counts"))
            assert counts is not None
            return appliance_pb2.StatusResponse(
                version=__version__,
                instance=instance,
                started=time_of(started),
                state_dir=str(config.state_dir),
                inbox_dir=str(config.inbox_dir),
                outbox_dir=str(config.outbox_dir),
                failed_dir=str(config.failed_dir),
                pipelines_dir=str(config.pipelines_dir),
                images_dir=str(config.images_dir),
                jobs_pending=counts["pending"],
                jobs_running=counts["running"],
                items_parked=counts["parked"] + inbox.parked(),
                items_failed=counts["failed"],
                outbox_results=counts["results"],
                outbox_bytes=counts["result_bytes"],
                failed_results=counts["failures"],
                failed_bytes=counts["failure_bytes"],
                originals=counts["originals"],
                originals_bytes=counts["original_bytes"],
                originals_dir=str(config.originals_dir),
                podman_version=await runner.version(),
                gpus=len(await in_thread(cdi.devices, config.engine.cdi_kind)),
                warnings=[
                    *engine.warnings(),
                    *log_caps.warnings(),
                    *disk.warnings(),
                    *retention.warnings(),
                    *delivery.warnings(),
                    *expiry.warnings(),
                    *pipeline_folder.warnings(),
                    *inbox.warnings(),
                    *side_loading.warnings(),
                    *await enforcement.warnings(),
                ],
                disks=map(disk_of, disk.figures()),
                removed=removed_of(retention.removed, retention.last),
            )

        events = EventLog(database, clock, new_id)
        await events.prepare()
        await disk.prepare()
        await payloads.prepare()
        await models.prepare()
        await services.prepare(await database.read(_running))
        await log_caps.prepare()
        await engine.prepare()
        await delivery.prepare()
        await pipeline_folder.prepare()
        await inbox.prepare()
        sampler = await stack.enter_async_context(
            Sampler(
                Combined(Nvml(), Tegra()), database, clock, interval=config.gpu.interval_seconds
            )
        )
        server = await stack.enter_async_context(
            Server(
                config.socket,
                [
                    (
                        _service(clara_pb2, "Clara"),
                        ClaraServicer(sampler, os.uname().nodename, services.stop),
                    ),
                    (_service(jobs_pb2, "Jobs"), JobsServicer(jobs)),
                    (_service(models_pb2, "Models"), models_servicer),
                    (_service(payloads_pb2, "Payloads"), PayloadsServicer(payloads)),
                    (_service(pipelines_pb2, "Pipelines"), PipelinesServicer(pipelines)),
                    (
                        _service(pipeline_files_pb2, "PipelineFiles"),
                        PipelineFilesServicer(pipeline_folder),
                    ),
                    (_service(metrics_pb2, "Monitor"), MonitorServicer(sampler)),
                    (
                        _service(appliance_pb2, "Images"),
                        ImagesServicer(images, tree.uploads, disk.held),
                    ),
                    (_service(appliance_pb2, "Inbox"), InboxServicer(inbox)),
                    (_service(appliance_pb2, "Queue"), QueueServicer(jobs)),
                    (_service(appliance_pb2, "Appliance"), ApplianceServicer(status)),
                    (
                        _service(events_pb2, "Events"),
                        EventsServicer(events, config.api.idle_seconds),
                    ),
                ],
                Limits(unary=config.api.unary_seconds, idle=config.api.idle_seconds),
                config.api.listen,
            )
        )
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(services.run(), name="services")
                parts.create_task(engine.run(), name="engine")
                parts.create_task(log_caps.run(), name="log caps")
                parts.create_task(inbox.run(), name="inbox")
                parts.create_task(delivery.run(), name="delivery")
                parts.create_task(events.run(), name="events")
                parts.create_task(retention.run(), name="retention")
                parts.create_task(expiry.run(), name="expiry")
                parts.create_task(disk.run(), name="disk")
                parts.create_task(pipeline_folder.run(), name="pipelines.d")
                parts.create_task(side_loading.run(), name="side loading")
                parts.create_task(server.run(), name="server")
                _log.info("ready", extra={"version": __version__, "instance": instance})
                notify.ready(f"serving {config.socket}")
                parts.create_task(watchdog.run(database.write, engine.stuck), name="watchdog")
        finally:
            notify.stopping()


async def _open_state(stack: AsyncExitStack, config: Config, ballast: Ballast) -> Database:
    """The state, once the disk has room to open it: a full disk delays a start, as all work."""
    told = False
    while True:
        database = Database(config.state_dir / "claraedge.db", on_full=ballast.give_up)
        try:
            return await stack.enter_async_context(database)
        except StorageFullError as error:
            if await in_thread(ballast.give_up):
                continue
            if not told:
                _log.warning("the start waits", extra={"reason": str(error)})
            told = True
            notify.status(f"waiting: {error}")
            notify.extend_timeout(60)
            await asyncio.sleep(_START_RETRY)


def _disk_guard(config: Config, runner: Runner, ballast: Ballast, clock: Clock) -> DiskGuard:
    """Watches the disks that the configuration names, and Podman's."""

    async def podmans() -> tuple[int, int]:
        space = await runner.image_space()
        return space.free, space.total

    return DiskGuard(
        Store(name=f"the state folder {config.state_dir}", measure=measured(config.state_dir)),
        [
            Store(
                name=f"the inbox {config.inbox_dir}",
                measure=measured(config.inbox_dir),
                jobs_write=False,
            ),
            Store(name="Podman's images and containers", measure=podmans),
        ],
        DiskLimits(
            soft_share=config.disk.soft_percent / 100,
            soft=config.disk.soft_mb << 20,
            hard=config.disk.hard_mb << 20,
        ),
        ballast,
        clock,
    )


def _advised(held: str | None) -> str | None:
    """Why items wait, with what to do."""
    return None if held is None else f"{held}; free some space there, and it goes on"


def _rules(config: Config) -> Rules:
    """How long what stopped jobs leave is kept."""
    given = config.retention
    return Rules(
        payloads=Keep(
            seconds=given.payload_days * DAY,
            count=given.payload_count,
            size=None if given.payload_mb is None else given.payload_mb << 20,
        ),
        logs=Keep(seconds=given.log_days * DAY, size=given.log_mb << 20),
        jobs=Keep(seconds=given.job_days * DAY, count=given.job_count),
        undelivered=given.undelivered_hours * 3600,
    )


def _device(config: Config) -> Device:
    """What this machine has at all, for checking definitions."""
    return Device(
        cores=len(os.sched_getaffinity(0)),
        memory=_memory(),
        gpus=len(cdi.devices(config.engine.cdi_kind)),
    )


def _memory() -> int:
    """Megabytes of system memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return descriptor


def _running(tx: Transaction) -> list[str]:
    """The jobs that ran when the daemon ended."""
    return [row["id"] for row in tx.rows("started_jobs") if row["state"] == JobState.RUNNING]


def _instance(tx: Transaction) -> str:
    """The daemon's own id: the label of its containers, kept with the state."""
    row = tx.row("fact", key="instance")
    if row is None:
        tx.run("put_fact", key="instance", value=new_id())
        row = tx.row("fact", key="instance")
    assert row is not None
    return str(row["value"])
