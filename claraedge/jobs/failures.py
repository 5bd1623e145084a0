"""Why an attempt of an operator failed, in words for the job's messages."""

from __future__ import annotations

import os
import signal

from claraedge.blocking import in_thread
from claraedge.jobs import signals
from claraedge.jobs.attempt import Setting
from claraedge.jobs.machine import Machine
from claraedge.jobs.values import written
from claraedge.pipelines import requests
from claraedge.runner.protocol import Exit

#: An operator that fails with so many bytes free, or more, has failed of something else.
_ROOM = 16 << 20
#: So many of its last lines are looked at for what it says of memory.
_LINES = 20


async def with_last_line(machine: Machine, setting: Setting, attempt: int, reason: str) -> str:
    """The message for the job: which operator, why, and the last line that it wrote."""
    name = setting.operator.name
    tail = await in_thread(machine.logs.tail, setting.job.id, name, attempt, _LINES)
    memory = signals.of_lines(tail, machine.tmpfs(setting.operator))
    last = f"; its last line: {tail[-1].strip()[:500]}" if tail else ""
    return f"operator {name}: {reason}{memory}{last}"


def reason(machine: Machine, setting: Setting, attempt: int, end: Exit) -> str:
    """What the end of its container tells."""
    operator = setting.operator
    if end.code is None:
        return end.cause.value
    if end.out_of_memory:
        profile = machine.profile
        return requests.out_of_memory(requests.memory(operator.requests, profile), profile)
    meaning = signals.of_exit(end.code, machine.tmpfs(operator))
    text = f"failed with exit code {end.code}{meaning}"
    if end.code == 128 + signal.SIGBUS and written(operator):
        values = machine.values
        text += (
            f"; {values.folder}, where its values lie, may be full:"
            f" {values.space().free >> 20} MB of it are free"
        )
    return text + _told_of_disk(machine, setting, attempt)


def _told_of_disk(machine: Machine, setting: Setting, attempt: int) -> str:
    """For an operator that failed while its outputs had hardly any room: that is likely why."""
    folder = machine.payloads.tree.attempt(setting.job.payload, setting.operator.name, attempt)
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""
    free = found.f_bavail * found.f_frsize
    if free >= _ROOM:
        return ""
    return (
        f"; the disk of its outputs may be full: {free >> 20} MiB of it are free. Free some"
        " space, then create the job again"
    )
