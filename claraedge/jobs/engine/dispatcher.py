"""Dequeues jobs, and starts the operators whose turn it is.

The scheduler chooses among the waiting operators by the free resources; both are collected here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from claraedge.blocking import in_thread
from claraedge.jobs import records
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.context import EngineContext
from claraedge.jobs.engine.service_leases import ServiceLeases
from claraedge.jobs.engine.termination import Termination
from claraedge.jobs.engine.workers import Workers
from claraedge.jobs.model import JobState, JobStatus, Priority
from claraedge.jobs.scheduling import queue
from claraedge.jobs.scheduling.budget import Candidate, Usage, ValueSpace, value_obstacle
from claraedge.jobs.scheduling.gpu_leases import absent
from claraedge.jobs.scheduling.queue import JobQueue
from claraedge.jobs.scheduling.scheduler import Resources, Scheduler
from claraedge.store.database import Transaction

#: Seconds between two checks while a job waits for a GPU that no CDI spec names or that cannot be
#: used, or while the start of all jobs is blocked.
_RECHECK = 5.0


class Dispatcher:
    """Starts operators in turn. Each method may raise an outage."""

    def __init__(
        self,
        context: EngineContext,
        jobs: JobQueue[ActiveJob],
        resources: Resources,
        termination: Termination,
        service_leases: ServiceLeases,
        workers: Workers,
        may_start: Callable[[], str | None],
    ) -> None:
        """`may_start` returns why no job may start now; None: jobs may start."""
        self.blocked_by: str | None = None
        """Why no queued job was started in the last round; None: they may start."""
        self._context = context
        self._queue = jobs
        self._resources = resources
        self._termination = termination
        self._service_leases = service_leases
        self._workers = workers
        self._may_start = may_start
        self._scheduler = Scheduler(resources, context.machine.clock)
        self._without_gpu: set[str] = set()
        self._without_value_space: set[str] = set()
        self._value_space: ValueSpace | None = None
        self._value_turn: str | None = None

    def soonest(self) -> float | None:
        """Returns the seconds until the next round is due without a change; None: never."""
        late = self._without_gpu or self._context.machine.allocations.wants_gpu
        recheck = _RECHECK if late or self.blocked_by else None
        due = (self._scheduler.soonest(), recheck)
        return min((d for d in due if d is not None), default=None)

    def waits_for(self, active: ActiveJob) -> Mapping[str, str]:
        """Returns, per operator that could start, the reason why it waits, as text for users."""
        return self._scheduler.waits_for(list(active.candidates()), self._usage())

    async def start_next(self) -> bool:
        """Starts the operator whose turn it is. Returns False if all of them wait."""
        candidates = [c for active in self._context.active.values() for c in active.candidates()]
        self.blocked_by = self._may_start() if len(self._queue) else None
        if self.blocked_by is None:
            candidates += await self._heads({c.job for c in candidates})
        allocations = self._context.machine.allocations
        await self._scheduler.read_capacity(candidates, gpus_wanted=allocations.wants_gpu)
        if allocations.waits:
            self._allocate()
        await self._read_value_space(candidates)
        usage = self._usage()
        choice = self._scheduler.choose(candidates, usage)
        if choice.idle_memory:
            wanted = {
                key for active in self._context.active.values() for key in active.demands.services
            }
            self._context.machine.services.yield_memory(choice.idle_memory, wanted | choice.wanted)
        if choice.candidate is None:
            await self._report(candidates, usage)
            return False
        job = choice.candidate.job
        active = self._context.active.get(job) or self._queue.decoded(job)
        assert active is not None, "a candidate is active or queued"
        self._context.active[job] = active
        self._queue.remove(job)
        active.taken = True
        if active.ending is not None:
            return True  # its end was decided meanwhile; the next round ends it
        if choice.candidate.values and not choice.candidate.job_runs:
            return True  # it has left the queue, and now asks for the memory of its values
        active.has_value_space = True
        if active.service_lease is None:
            self._service_leases.begin(active)
            return True
        active.lease = choice.lease
        self._workers.begin(active, choice.candidate, choice.gpus)
        return True

    def _allocate(self) -> None:
        """Gives deployments what is free, and makes idle services release what they wait for."""
        machine, capacity = self._context.machine, self._scheduler.capacity
        usage = self._usage()
        jobs = self._context.active.values()
        running = max(usage.memory, *(a.demands.largest for a in jobs), 0)
        whole, idle = capacity.memory, sum(usage.idle.values())
        free = None
        if whole is not None:
            taken = usage.deployments.memory + running + sum(usage.services.values())
            free = whole - taken - idle
        used = {gpu for lease in usage.leases.values() for gpu in lease}
        used |= usage.gpu_memory.keys() | usage.gpus_in_use | usage.deployments.gpus
        of_services = machine.services.usage().gpus
        unused = [gpu for gpu in capacity.gpus if gpu not in used]
        free_gpus = [gpu for gpu in unused if gpu not in of_services]
        claim = machine.allocations.grant(free, free_gpus, memory=whole, gpus=capacity.gpus)
        if claim is None:
            return
        if free is not None and claim.memory > free and idle:
            machine.services.yield_memory(claim.memory - free, usage.services.keys())
        if claim.gpus > len(free_gpus) and of_services:
            machine.services.ask_for_gpus()

    async def load(self, job: str) -> ActiveJob | None:
        """Returns the decoded form of a queued job; None if it is not queued any more."""
        active = self._queue.decoded(job)
        if active is None:
            recorded = await self._context.machine.database.read(lambda tx: records.get(tx, job))
            if job in self._context.active or recorded.state is JobState.STOPPED:
                self._queue.remove(job)
                return None
            active = self._queue.decoded(job) or self._context.decoded(recorded)
            if active.ending is not None and self._queue.remove(job):
                self._context.active[job] = active  # it ends with the next round
                self._context.wake.set()
                return None
            self._queue.remember(job, active)
        return active

    async def _heads(self, waiting: Collection[str]) -> list[Candidate]:
        """Returns the operators at the head of the queue that may start.

        `waiting`: jobs that have begun, and whose operators wait. When `queue.CROWD` of them wait
        in one lane, no other job of that lane begins; other lanes are not affected.
        """
        pulled = self._context.machine.images.pulling()
        crowds = Counter(
            active.lane(pulled)
            for active in self._context.active.values()
            if active.job.id in waiting or active.service_task is not None or active.fetching
        )
        found: list[Candidate] = []
        for job in self._queue.head():
            active = await self.load(job)
            if active is None:
                continue
            too_large = active.demands.too_large(self._resources.memory)
            if too_large is not None and self._queue.remove(job):
                self._context.active[job] = active
                await self._termination.decide(active, JobStatus.FAULTED, too_large)
                continue
            awaited = self._context.machine.services.awaited(active.pipeline)
            lane = active.lane(pulled)._replace(deployment=next(iter(awaited), ""))
            if self._queue.move(job, lane):
                self._context.wake.set()  # another one is at the head where it was
            urgent = active.job.priority is Priority.IMMEDIATE
            near = self._queue.decoded(job) is active
            if near and not awaited and (urgent or crowds[lane] < queue.CROWD):
                found += active.candidates()
        return found

    async def _read_value_space(self, candidates: Sequence[Candidate]) -> None:
        """Measures the memory of values, if a job asks for some."""
        self._value_space = self._value_turn = None
        if any(c.wants_value_space for c in candidates):
            jobs = self._context.active.values()
            reserved = {
                a.job.id: a.demands.values
                for a in jobs
                if a.has_value_space and a.demands.values is not None
            }
            self._value_space = await in_thread(self._context.machine.values.measure, reserved)
            self._value_turn = self._scheduler.value_turn(candidates, self._usage())

    async def _report(self, candidates: Sequence[Candidate], usage: Usage) -> None:
        """Adds to the messages of jobs, once each, what they may wait for in vain or for long."""
        capacity = self._scheduler.capacity
        advice = "it waits, and continues by itself once that is done"
        if not capacity.gpu_faults:
            advice = (
                "it waits until a CDI spec of the kind engine.cdi_kind appears (`sudo nvidia-ctk"
                " cdi generate --output=/etc/cdi/nvidia.yaml` makes one)"
            )
        gpus: dict[str, str] = {}
        values: dict[str, str] = {}
        for c in candidates:
            if missing := absent(c, capacity):
                gpus[c.job] = f"operator {c.operator}: {_sentence(missing)}; {advice}"
            if full := value_obstacle(c, usage):
                folder = self._context.machine.values.folder
                values[c.job] = f"operator {c.operator}: waits for {full} ({folder})"
        await self._say_once(gpus, self._without_gpu)
        await self._say_once(values, self._without_value_space)

    async def _say_once(self, texts: Mapping[str, str], said: set[str]) -> None:
        """Adds the text of each job to its messages; `said`: those that have theirs."""
        said.intersection_update(texts)
        new = texts.keys() - said
        if not new:
            return

        def work(tx: Transaction) -> None:
            now = self._context.machine.clock.now()
            for job in new:
                records.say(tx, job, now, texts[job])

        await self._context.machine.database.write(work)
        said.update(new)

    def _usage(self) -> Usage:
        """Returns what operators and services occupy at this moment."""
        jobs = self._context.active.values()
        companions = self._context.machine.services.usage()
        running = [(r.candidate.requests, r.gpus) for a in jobs for r in a.running.values()]
        # Services start once the memory of the job's values is reserved.
        served = [a for a in jobs if a.demands.services and a.has_value_space]
        services = dict[str, int]()
        service_cores = dict[str, int]()  # definitions of a service may differ in cores
        for demands in (a.demands for a in served):
            for key, size in demands.services.items():
                services[key] = max(size, services.get(key, 0), companions.memory.get(key, 0))
            for key, count in demands.cores.items():
                service_cores[key] = max(count, service_cores.get(key, 0))
        shared = Counter[str]()
        for requests, gpus in running:
            if requests.gpu_memory and gpus:
                shared[gpus[0]] += requests.gpu_memory
        unified = self._scheduler.capacity.unified
        return Usage(
            operators=sum(requests.slot for requests, _ in running),
            cores=sum(min(requests.cores, self._resources.cores) for requests, _ in running),
            service_cores=sum(service_cores.values()),
            memory=sum(requests.system_memory(unified=unified) for requests, _ in running),
            services=services,
            service_users=frozenset(a.job.id for a in served),
            largest=max((a.demands.largest for a in served), default=0),
            idle={key: size for key, size in companions.memory.items() if key not in services},
            leases={a.job.id: a.lease for a in jobs if a.lease},
            gpu_jobs=frozenset(
                a.job.id for a in jobs if a.lease or any(r.gpus for r in a.running.values())
            ),
            gpus_in_use=frozenset(g for requests, gpus in running if requests.gpus for g in gpus),
            gpu_memory=shared,
            service_gpus=companions.used_gpus,
            service_gpu_users=companions.gpu_users,
            value_space=self._value_space,
            value_turn=self._value_turn,
            deployments=self._context.machine.allocations.allocated(),
            begun=frozenset(a.job.id for a in jobs if a.began),
        )


def _sentence(missing: str) -> str:
    """Returns what is missing, worded as the beginning of a message."""
    return missing.replace("a GPU that can be used", "no GPU can be used", 1)
