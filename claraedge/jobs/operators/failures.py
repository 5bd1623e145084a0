"""Explains in a job's messages why an attempt of an operator failed."""

from __future__ import annotations

import os
import signal

from claraedge.blocking import in_thread
from claraedge.jobs.model import OperatorRecord
from claraedge.jobs.operators import signals
from claraedge.jobs.operators.attempt import Setting
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.operators.values import written
from claraedge.pipelines.requests import out_of_memory
from claraedge.runner.protocol import Exit
from claraedge.runner.service import causes

#: Bytes free on its disk from which on an operator's failure has another cause than a full disk.
_ROOM = 16 << 20
#: The kernel's error text for a program that this machine cannot execute.
_FORMAT = "exec format error"
#: Number of last lines that are searched for statements about memory.
_LINES = 20


async def with_last_line(machine: Machine, setting: Setting, attempt: int, reason: str) -> str:
    """Returns the message for the job: the operator, the reason, and its last line of output."""
    name = setting.operator.name
    tail = await in_thread(machine.logs.tail, setting.job.id, name, attempt, _LINES)
    memory = signals.of_lines(tail, setting.requests.tmpfs)
    last = f"; its last line: {tail[-1].strip()[:500]}" if tail else ""
    return f"operator {name}: {reason}{memory}{last}"


async def reason(machine: Machine, setting: Setting, record: OperatorRecord, end: Exit) -> str:
    """Returns the reason of a failure, from the container's end and the state of its image."""
    operator = setting.operator
    if end.code is None:
        return end.cause.value
    if end.out_of_memory:
        return out_of_memory(setting.requests.memory, machine.profile)
    meaning = signals.of_exit(end.code, setting.requests.tmpfs)
    text = f"failed with exit code {end.code}{meaning}"
    if end.code == 128 + signal.SIGBUS and written(operator):
        values = machine.values
        text += (
            f"; {values.folder}, where its values lie, may be full:"
            f" {values.space().free >> 20} MB of it are free"
        )
    return (
        text
        + await _program_hint(machine, setting, record)
        + _disk_hint(machine, setting, record.attempt)
    )


async def _program_hint(machine: Machine, setting: Setting, record: OperatorRecord) -> str:
    """Returns the meaning of its last line, or that its image is damaged or foreign; else ""."""
    job, name, image = setting.job.id, setting.operator.name, record.image or ""
    damage = await machine.images.why_damaged(setting.operator.container.reference, image)
    if damage:
        return f": {damage}"
    tail = await in_thread(machine.logs.tail, job, name, record.attempt, 1)
    cause = causes.of_last_line(tail[0]) if tail else None
    if cause is None:
        return ""
    other = await machine.images.why_foreign(image) if _FORMAT in tail[0].lower() else ""
    return f": {other or cause}"


def _disk_hint(machine: Machine, setting: Setting, attempt: int) -> str:
    """Returns a hint if the disk of its outputs is nearly full, the likely cause; else ""."""
    folder = machine.payloads.tree.attempt(setting.job.payload, setting.operator.name, attempt)
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""
    free = found.f_bavail * found.f_frsize
    if free >= _ROOM:
        return ""
    return (
        f"; the disk of its outputs may be full: {free >> 20} MiB of it are free; free some"
        " space there, then create the job again"
    )
