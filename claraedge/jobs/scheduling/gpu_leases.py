"""Leases of GPUs. Pure.

A job leases whole GPUs when its first GPU operator starts, and returns them after its last; its own
operators take turns. Operators that request GPU memory share a device that no job has leased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage

NO_GPU = "no GPU present"
#: The wait of an operator whose job has its GPUs, while another operator of the job uses them.
OWN_TURN = "the GPU, which another operator of this job uses"
#: The wait of a job whose services or models need a GPU: they share it with no other job's lease.
SERVICES_TURN = "a GPU for its services or models, which another job has"
#: The wait of a job whose services or models need a GPU, while deployments have all of them.
DEPLOYMENTS_HAVE = "a GPU for its services or models, which deployments have"


def absent(candidate: Candidate, capacity: Capacity) -> str | None:
    """Returns what a candidate requests that the device does not have now; it may wait for ever."""
    if not candidate.wants_gpu:
        return None
    if not capacity.gpus:
        if capacity.gpu_faults:
            return f"a GPU that can be used: {capacity.gpu_faults[0]}"
        return None if candidate.services_want_gpu and not candidate.requests.devices else NO_GPU
    if candidate.requests.gpus and candidate.job_gpus > len(capacity.gpus):
        text = f"{candidate.job_gpus} GPUs; this device shows {len(capacity.gpus)}"
        return "; ".join([text, *capacity.gpu_faults])
    return None


def services_obstacle(candidate: Candidate, capacity: Capacity, usage: Usage) -> str | None:
    """Returns the GPU that the services of a candidate's job wait for, as text; None: it is free.

    It is not reserved for them, so what they wait for comes before all other obstacles.
    """
    others = usage.gpu_jobs - usage.service_gpu_users - {candidate.job}
    if not candidate.services_want_gpu:
        return None
    if others:
        return SERVICES_TURN
    lost = usage.deployments.gpus
    if not candidate.job_runs:
        lost |= usage.deployments.awaited_gpus
    return DEPLOYMENTS_HAVE if lost and lost >= {*capacity.gpus} else None


def kept_by_deployments(candidate: Candidate, capacity: Capacity, usage: Usage) -> bool:
    """Returns whether a candidate waits until a deployment ends: its memory or its GPUs would not
    be free even if no job ran.
    """
    kept = usage.deployments
    if capacity.memory is not None and kept.memory:
        asked = candidate.requests.system_memory(unified=capacity.unified)
        needed = asked + sum(candidate.services.values())
        if min(needed, capacity.memory) > capacity.memory - kept.memory:
            return True
    if not candidate.wants_gpu or candidate.job in usage.leases:
        return False
    left = [gpu for gpu in capacity.gpus if gpu not in kept.gpus]
    return bool(kept.gpus) and len(left) < max(candidate.job_gpus, 1)


def gpu_obstacle(candidate: Candidate, capacity: Capacity, usage: Usage) -> str | None:
    """Returns the GPUs that a candidate waits for, as text for users; None: they are free."""
    if not candidate.requests.devices:
        return absent(candidate, capacity)
    lease = usage.leases.get(candidate.job)
    if lease is None and (missing := absent(candidate, capacity)) is not None:
        return missing
    if not capacity.gpus:
        return absent(candidate, capacity)
    if candidate.requests.gpu_memory:
        if _shared(candidate, capacity, usage) is not None:
            return None
        state = _shared_state(candidate.job, capacity, usage)
        return f"{candidate.requests.gpu_memory} MB of GPU memory; {state}"
    if lease is None:
        free = len(_unleased(candidate.job, capacity, usage))
        if candidate.job_gpus > free:
            text = f"{candidate.job_gpus} GPUs; {free} of {len(capacity.gpus)} are free"
            having = len(usage.deployments.gpus)
            return f"{text}, deployments hold {having}" if having else text
    elif candidate.requests.gpus > len(_idle(lease, usage)):
        return OWN_TURN
    return None


def grant(
    candidate: Candidate, capacity: Capacity, usage: Usage
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns (the job's lease, the GPUs of this operator) for a candidate without an obstacle."""
    lease = usage.leases.get(candidate.job, ())
    if candidate.requests.gpu_memory:
        device = _shared(candidate, capacity, usage)
        return lease, () if device is None else (device,)
    if candidate.requests.gpus == 0:
        return lease, ()
    lease = lease or _unleased(candidate.job, capacity, usage)[: candidate.job_gpus]
    return lease, _idle(lease, usage)[: candidate.requests.gpus]


def with_gpus(candidate: Candidate, capacity: Capacity, usage: Usage) -> Usage:
    """Returns the usage after a candidate has the GPUs that it waits for."""
    gpu_memory = dict(usage.gpu_memory)
    leases = dict(usage.leases)
    if candidate.job_gpus and candidate.job not in leases:
        leases[candidate.job] = _unleased(candidate.job, capacity, usage)[: candidate.job_gpus]
    if candidate.requests.gpu_memory:
        # On the device with the least memory in use, where it will fit first.
        free = [gpu for gpu in capacity.gpus if not _leased(gpu, candidate.job, usage)]
        if free:
            device = min(free, key=lambda gpu: gpu_memory.get(gpu, 0))
            gpu_memory[device] = gpu_memory.get(device, 0) + candidate.requests.gpu_memory
    return replace(usage, leases=leases, gpu_memory=gpu_memory)


def _shared(candidate: Candidate, capacity: Capacity, usage: Usage) -> str | None:
    """Returns the device whose memory a candidate may share: the fullest that still has room."""
    lease = usage.leases.get(candidate.job, ())
    fitting = [
        gpu
        for gpu in capacity.gpus
        if (gpu in lease or not _leased(gpu, candidate.job, usage))
        and gpu not in usage.gpus_in_use
        and _fits(candidate.requests.gpu_memory, usage.gpu_memory.get(gpu, 0), capacity.gpu_memory)
    ]
    return max(fitting, key=lambda gpu: usage.gpu_memory.get(gpu, 0), default=None)


def _fits(asked: int, taken: int, whole: int | None) -> bool:
    return taken == 0 if whole is None else taken + min(asked, whole) <= whole


def _shared_state(job: str, capacity: Capacity, usage: Usage) -> str:
    if capacity.gpu_memory is None:
        return "the size of the GPU's memory is unknown, so it is not shared"
    free = max(
        (
            capacity.gpu_memory - usage.gpu_memory.get(g, 0)
            for g in capacity.gpus
            if not _leased(g, job, usage)
        ),
        default=0,
    )
    return f"{free} of {capacity.gpu_memory} are free"


def _unleased(job: str, capacity: Capacity, usage: Usage) -> tuple[str, ...]:
    """Returns the GPUs that a job may lease: neither leased nor shared."""
    return tuple(
        gpu
        for gpu in capacity.gpus
        if not _leased(gpu, job, usage) and not usage.gpu_memory.get(gpu)
    )


def _leased(gpu: str, job: str, usage: Usage) -> bool:
    """Returns whether this GPU is leased, or used by services that this job does not use, or by a
    deployment.
    """
    if gpu in usage.deployments.gpus:
        return True
    if gpu in usage.deployments.awaited_gpus and job not in usage.begun:
        return True
    if gpu in usage.service_gpus and job not in usage.service_gpu_users:
        return True
    return any(gpu in lease for lease in usage.leases.values())


def _idle(lease: Sequence[str], usage: Usage) -> tuple[str, ...]:
    return tuple(
        gpu for gpu in lease if gpu not in usage.gpus_in_use and not usage.gpu_memory.get(gpu)
    )
