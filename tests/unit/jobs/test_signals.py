"""What exit codes and last lines mean, and how large what lies in memory is."""

from __future__ import annotations

import pytest

from claraedge.jobs.operators.signals import of_exit, of_lines
from claraedge.pipelines.model import ContainerDefinition
from claraedge.pipelines.tmpfs import Tmpfs, TmpfsRule

ROOM = Tmpfs(shared_memory=1024, scratch=512)


@pytest.mark.parametrize(
    ("container", "rule", "limit", "sizes"),
    [
        (ContainerDefinition(image="i"), TmpfsRule(), 2048, (2048, 2048)),
        (ContainerDefinition(image="i"), TmpfsRule(), None, (None, None)),
        (ContainerDefinition(image="i"), TmpfsRule(shared_memory=64, scratch=32), 2048, (64, 32)),
        (
            ContainerDefinition(image="i", shared_memory=4096),
            TmpfsRule(shared_memory=64),
            512,
            (4096, 512),
        ),
    ],
)
def test_the_size_of_what_lies_in_memory(
    container: ContainerDefinition,
    rule: TmpfsRule,
    limit: int | None,
    sizes: tuple[int | None, int | None],
) -> None:
    found = rule.of(container, limit)
    assert (found.shared_memory, found.scratch) == sizes


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1, ""),
        (128, ""),
        (255, ""),
        (132, "SIGILL: its program uses an instruction that this processor does not have"),
        (134, "SIGABRT: its program ended itself"),
        (135, "its /dev/shm was full (it holds 1024 MB)"),
        (136, "SIGFPE"),
        (137, "SIGKILL: it was killed by somebody, or by the kernel"),
        (139, "SIGSEGV: its program crashed"),
        (141, "(SIGPIPE)"),
        (143, "SIGTERM: somebody else asked it to end"),
        (159, "SIGSYS"),
    ],
)
def test_the_signal_of_an_exit_code(code: int, expected: str) -> None:
    text = of_exit(code, ROOM)
    assert expected in text
    assert (text == "") is (expected == "")


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: DataLoader worker (pid 4) is killed by signal: Bus error. It is possible",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient"
        " shared memory (shm).",
    ],
)
def test_a_program_that_was_short_of_shared_memory(line: str) -> None:
    text = of_lines(["start", line, "Traceback"], ROOM)
    assert "its /dev/shm was full (it holds 1024 MB)" in text
    assert "`requests.memory`" in text
    assert "engine.shared_memory_mb" in text


def test_a_program_that_had_no_room() -> None:
    line = "OSError: [Errno 28] No space left on device: '/tmp/x'"
    text = of_lines([line], ROOM)
    assert "its /dev/shm holds 1024 MB, and each of /tmp, /var/tmp and /run 512 MB" in text
    assert "engine.scratch_mb" in text
    on_disk = Tmpfs(shared_memory=None, scratch=None, scratch_is_memory=False)
    assert "its /dev/shm holds half of the device's memory, in memory" in of_lines([line], on_disk)
    assert "/tmp" not in of_lines([line], on_disk)


def test_lines_that_say_nothing_of_memory() -> None:
    assert of_lines([], ROOM) == ""
    assert of_lines(["ValueError: no such slice"], ROOM) == ""
