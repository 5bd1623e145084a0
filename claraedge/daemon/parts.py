"""The parts of the daemon and their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from claraedge.appliance import journaling
from claraedge.appliance.disk_guard import DiskGuard
from claraedge.appliance.surroundings import Surroundings
from claraedge.blocking import in_thread
from claraedge.clock import boot_id
from claraedge.daemon import device
from claraedge.daemon.deploying import bags_of, deployments_of, networks_of
from claraedge.daemon.disks import advised, disks
from claraedge.daemon.foundation import Foundation
from claraedge.delivery import records as delivery_records
from claraedge.delivery.delivery import Delivery
from claraedge.delivery.expiry import Expiry
from claraedge.delivery.roots import Roots
from claraedge.deployments import records as deployment_records
from claraedge.events.log import EventLog
from claraedge.gpu.tegra import Tegra
from claraedge.gpu.usable import UsableGpus
from claraedge.ids import new_id
from claraedge.images.applications import Applications
from claraedge.images.checks import Checks
from claraedge.images.images import Images
from claraedge.images.power_cuts import PowerCuts
from claraedge.images.side_loading import SideLoading
from claraedge.inbox.drops.drops import Drops
from claraedge.inbox.inbox import Inbox
from claraedge.jobs.engine.engine import Engine
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.logs.log_caps import LogCaps
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobState
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.operators.removals import Removals
from claraedge.jobs.operators.values import SharedMemory
from claraedge.jobs.retention.artifacts import Artifacts
from claraedge.jobs.retention.evictions import Evictions
from claraedge.jobs.retention.keeping import DAY, Keep, Rules
from claraedge.jobs.retention.retention import Retention
from claraedge.jobs.retention.trust import ClockTrust
from claraedge.metrics.observations import Observations
from claraedge.models.models import Models
from claraedge.models.tree import ModelTree
from claraedge.packages.ids import new_kind_id
from claraedge.packages.packages import Packages
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline, decode
from claraedge.pipelines.requests import Profile
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.registry.folder import PipelineFolder
from claraedge.registry.pipelines import Pipelines
from claraedge.routes.routes import StaticRoutes
from claraedge.runner.limits import Enforcement
from claraedge.runner.protocol import LABEL_INSTANCE
from claraedge.services.services import CompanionSettings, Services
from claraedge.store.database import Transaction
from claraedge.store.unknown import Unknown
from claraedge.supervised.allocations import Allocations
from claraedge.suspects import Work


class Parts:
    """All parts of the daemon, each built from those above it.

    Call `prepare` once, then run all coroutines of `work` concurrently.
    """

    def __init__(self, foundation: Foundation) -> None:
        base = self.foundation = foundation
        config, database, clock, runner = base.config, base.database, base.clock, base.runner
        pause = config.inbox.settle_seconds

        self.observations = Observations()
        self.enforcement = Enforcement(runner)
        self.gpus = UsableGpus(runner, config.engine.cdi_kind, {LABEL_INSTANCE: base.instance})
        self.surroundings = Surroundings(config.state_dir)
        self.disks = disks(config, runner)
        blocked_by = self.disks.blocked_by
        suspects = base.suspects

        self.unknown = Unknown(config.state_dir)
        self.tree = PayloadTree(config.state_dir)
        self.payloads = Payloads(
            database,
            self.tree,
            clock,
            new_id,
            runner.reclaim,
            blocked_by=blocked_by,
            suspects=suspects,
        )
        self.models = Models(
            database,
            ModelTree(config.state_dir),
            clock,
            new_id,
            config.names.table(),
            on_changed=lambda: self.services.models_changed(),
            suspects=suspects,
        )
        self.logs = JobLogs(config.state_dir, lambda log: self.log_caps.watch(log))
        self.log_caps = LogCaps(database, self.logs, limit=config.engine.operator_log_mb << 20)
        self.power_cuts = PowerCuts(database, boot_id())
        self.images = Images(
            runner,
            config.images,
            checks=Checks(
                runner, is_suspect=self.power_cuts.is_suspect, on_whole=self.power_cuts.note_whole
            ),
            blocked_by=blocked_by,
        )
        self.applications = Applications(
            self.images, runner, base.instance, lambda: device.device(config)
        )
        self.side_loading = SideLoading(
            self.images,
            database,
            config.images_dir,
            pause=pause,
            blocked_by=blocked_by,
            suspects=suspects,
        )
        self.allocations = Allocations(lambda: self.engine.wake())
        self.packages = Packages(
            database, clock, new_kind_id, in_use=deployment_records.live_of_package
        )
        self.networks = networks_of(
            base,
            self.images,
            self.allocations,
            on_left=lambda: self.networks.expect_orphans(),
        )
        self.routes = StaticRoutes(database, clock, new_kind_id)
        self.bags = bags_of(
            base,
            self.images,
            self.allocations,
            self.payloads,
            blocked_by=lambda: advised(blocked_by()),
            on_left=lambda: self.bags.expect_orphans(),
        )
        self.deployments = deployments_of(
            base,
            self.images,
            self.allocations,
            self.packages,
            self.bags,
            self.networks,
            on_left=lambda: self.deployments.expect_orphans(),
        )
        self.services = self._services()
        trust = ClockTrust(database, clock)
        roots = Roots(database, config)
        self.expiry = Expiry(database, roots, config.outbox, clock, trust)
        self.engine = self._engine()
        self.jobs = Jobs(
            database,
            self.engine,
            self.tree,
            self.logs,
            clock,
            new_id,
            grace=config.engine.grace_seconds,
            on_queued=self._on_queued,
            applied=self.applications.applied,
        )
        self.retention = Retention(
            database,
            self.payloads,
            Artifacts(database, self.payloads, self.logs, suspects=suspects),
            clock,
            unstarted_after=config.jobs.unstarted_after_hours * 3600,
            rules=self._rules(),
            trust=trust,
            expire=lambda wall: self.drops.expire(wall),
        )
        self.inbox = Inbox(
            database,
            self.tree,
            config,
            clock,
            new_id,
            self.jobs.queued,
            applied=self.applications.applied,
            blocked_by=lambda: advised(blocked_by()),
            queued=self.engine.waiting,
            roots=roots,
            expiry=self.expiry,
            suspects=suspects,
        )
        self.drops = Drops(
            config.state_dir, self.inbox, config.names.table(), clock, new_id, blocked_by
        )
        self.delivery = Delivery(
            database,
            self.tree,
            self.logs,
            config,
            clock,
            on_done=self.inbox.job_ended,
            roots=roots,
            suspects=suspects,
        )
        self.pipelines = Pipelines(
            database,
            clock,
            new_id,
            lambda: device.device(config),
            on_created=self.inbox.poke,
        )
        self.pipeline_folder = PipelineFolder(
            database,
            self.pipelines,
            clock,
            config.pipelines_dir,
            pause=pause,
            suspects=suspects,
        )
        self.disk_guard = DiskGuard(
            self.disks,
            base.ballast,
            clock,
            reclaim=self.retention.reclaim,
            evict=Evictions(database, clock, self.engine.evict).next,
            on_room=self._on_room,
        )
        self.events = EventLog(database, clock, new_id)

    async def prepare(self) -> None:
        """Recovers the recorded state of all parts, in this order, before any work begins."""
        await self.surroundings.warnings()
        await self.enforcement.warnings()
        await self.gpus.faults()
        await self.images.prepare()
        await self.power_cuts.prepare()
        await self.events.prepare()
        await self.disk_guard.prepare()
        await self.payloads.prepare()
        await self.models.prepare()
        await self.bags.prepare()
        await self.networks.prepare()
        await self.deployments.prepare()
        await self.services.prepare(await self.foundation.database.read(_running))
        await self.log_caps.prepare()
        await self.engine.prepare()
        await self.delivery.prepare()
        await self.pipeline_folder.prepare()
        await self.inbox.prepare()
        await self.drops.prepare()
        given = self.foundation.config
        kept = (given.outbox_dir, given.failed_dir, given.originals_dir)
        await in_thread(journaling.warn, (given.state_dir, given.inbox_dir, *kept))

    def work(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Returns the coroutine functions of all parts by name.

        Each runs until it is cancelled; one that ends earlier ended because of a bug.
        """
        return {
            "services": self.services.run,
            "bags": self.bags.run,
            "deployments": self.deployments.run,
            "networks": self.networks.run,
            "engine": self.engine.run,
            "log caps": self.log_caps.run,
            "inbox": self.inbox.run,
            "drops": self.drops.run,
            "delivery": self.delivery.run,
            "events": self.events.run,
            "retention": self.retention.run,
            "expiry": self.expiry.run,
            "disk": self.disk_guard.run,
            "pipelines.d": self.pipeline_folder.run,
            "side loading": self.side_loading.run,
            "images": partial(self.power_cuts.run, self.images.checks.check_all),
            "suspects": self.foundation.suspects.run,
        }

    async def try_again(self, kind: Work, name: str) -> None:
        """Allows work again on a thing that was set aside. Raises NotSetAsideError."""
        await self.foundation.suspects.try_again(kind, name)
        self.delivery.try_again()
        self.inbox.poke()

    def _services(self) -> Services:
        base, config = self.foundation, self.foundation.config
        return Services(
            base.runner,
            self.images,
            self.models,
            self.deployments.serving,
            base.clock,
            new_id,
            state=config.state_dir,
            instance=base.instance,
            settings=CompanionSettings(
                services=config.services,
                inference=config.inference,
                grace=config.engine.grace_seconds,
                profile=Profile(config.engine.requests_profile),
                tmpfs_rule=self._tmpfs_rule(),
                unified=Tegra().present(),
            ),
            gpus=self._gpus_of_services,
            on_lost=lambda job, reason: self.engine.services_lost(job, reason),
            on_freed=lambda: self.engine.wake(),
        )

    def _gpus_of_services(self) -> tuple[str, ...]:
        usable = self.gpus.without_faults(device.gpus(self.foundation.config))
        return tuple(gpu for gpu in usable if gpu not in self.allocations.gpus)

    def _engine(self) -> Engine:
        base, engine = self.foundation, self.foundation.config.engine
        machine = Machine(
            database=base.database,
            runner=base.runner,
            removals=Removals(
                base.runner, device.operators(base.config), lambda: self.engine.expect_orphans()
            ),
            payloads=self.payloads,
            images=self.images,
            applications=self.applications,
            logs=self.logs,
            values=SharedMemory(engine.shared_memory_dir, base.instance),
            suspects=base.suspects,
            services=self.services,
            allocations=self.allocations,
            gpu_fault=self.gpus.try_again,
            profile=Profile(engine.requests_profile),
            tmpfs_rule=self._tmpfs_rule(),
            clock=base.clock,
            instance=base.instance,
            boot=boot_id(),
            grace=engine.grace_seconds,
            observer=self.observations,
        )
        return Engine(
            machine,
            resources=device.resources(base.config, self.gpus),
            timeouts=Timeouts(default=engine.timeout_seconds, maximum=engine.timeout_max_seconds),
            on_stopped=lambda _job: self.delivery.poke(),
            may_start=lambda: advised(self.disks.blocked_by()),
        )

    def _tmpfs_rule(self) -> TmpfsRule:
        engine = self.foundation.config.engine
        return TmpfsRule(shared_memory=engine.shared_memory_mb, scratch=engine.scratch_mb)

    def _rules(self) -> Rules:
        """Returns the retention rules for the data of stopped jobs."""
        given = self.foundation.config.retention
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

    def _on_queued(self, tx: Transaction, job: Job, pipeline: Pipeline) -> None:
        all_jobs = self.foundation.config.outbox.all_jobs
        delivery_records.add_for_job(tx, job, pipeline, all_jobs=all_jobs)

    def _on_room(self) -> None:
        self.inbox.poke()
        self.engine.wake()
        self.delivery.try_again()


def _running(tx: Transaction) -> Mapping[str, Pipeline]:
    """Returns the jobs that were running when the daemon ended: id -> pipeline."""
    rows = [row for row in tx.rows("started_jobs") if row["state"] == JobState.RUNNING]
    return {row["id"]: decode(row["snapshot"]) for row in rows}
