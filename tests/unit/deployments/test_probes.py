"""Liveness probes: what ends a program, what does not, and what is left of a probe.

Sources: kubernetes#27114 and #6758 (slow starts), #92464 (timeouts that do not count),
podman#15377 and #26086 (probes that are never ended), kubernetes/website#37503 (probes at the same
time).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from claraedge.deployments.model import DeploymentPhase, DeploymentStatus, FaultCode
from claraedge.deployments.running.probing import Probing
from claraedge.errors import RunnerUnavailableError
from claraedge.packages.model import LivenessProbe, RestartPolicy
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.supervised.container import SupervisedContainer
from tests.rig.deployments import DeploymentRig, component, deployment_rig, executable, package
from tests.rig.waiting import eventually
from tests.unit.deployments.programs import app, serve

pytestmark = pytest.mark.timeout(120)

PORT = 8080


class Program:
    """A program that answers a probe as it is asked to."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\nwell") -> None:
        self.answer: bytes | None = answer
        """None: it accepts the connection, and says nothing."""
        self.requests: list[bytes] = []
        self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if self.answer is None:
                await asyncio.Event().wait()
            else:
                writer.write(self.answer)
        finally:
            self.open -= 1


def probed(path: str = "/well", **more: int) -> LivenessProbe:
    """Returns a probe that loses no time."""
    given = {"port": PORT, "delay": 0, "period": 0, "timeout": 1, **more}
    return LivenessProbe(path=path, **given)


@asynccontextmanager
async def running(
    folder: Path,
    program: Program,
    probe: LivenessProbe,
    restart: RestartPolicy = RestartPolicy.ALWAYS,
) -> AsyncIterator[DeploymentRig]:
    runner = MemoryRunner()
    runner.add_image("serve:1", serve, listens={PORT: program})
    pack = app(restart=restart, probe=probe)
    async with deployment_rig(folder, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        yield rig


async def test_a_program_that_fails_is_started_again_and_the_reason_names_the_probe(
    tmp_path: Path,
) -> None:
    program = Program()
    async with running(tmp_path, program, probed()) as rig:
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert program.requests[0].startswith(b"GET /well HTTP/1.1\r\nHost: localhost:8080\r\n")
        program.answer = b"HTTP/1.1 503 Busy\r\n\r\n"
        view = await rig.until(
            "one", lambda v: next(iter(v.deployment.executables.values())).reason
        )
        (record,) = view.deployment.executables.values()
        assert (
            "executable run of the deployment one was ended, because its liveness probe failed 3"
            " times: GET /well at port 8080 got the status 503" in record.reason
        )
        program.answer = b"HTTP/1.0 302\r\n\r\n"  # redirects are answers, and are not followed
        view = await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        (record,) = view.deployment.executables.values()
        assert record.restarts == 1
        assert rig.deployments.restarts == 1
        assert len(await rig.containers()) == 2


async def test_its_restart_policy_decides_after_a_probe(tmp_path: Path) -> None:
    program = Program()
    async with running(tmp_path, program, probed(failures=1), RestartPolicy.NEVER) as rig:
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        program.answer = b"SSH-2.0-OpenSSH\r\n"
        view = await rig.until("one", lambda v: v.status is DeploymentStatus.ERROR)
        (record,) = view.deployment.executables.values()
        assert "failed once: GET /well at port 8080 got no answer of HTTP" in record.reason
        assert "its restart policy is never" in record.reason


async def test_a_program_that_never_passes_fails_to_start(tmp_path: Path) -> None:
    async with running(tmp_path, Program(b""), probed(failures=1)) as rig:
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_START)
        assert view.deployment.faults[0].code is FaultCode.CRASHES
        assert "its liveness probe failed once" in view.deployment.faults[0].message


async def test_a_slow_start_is_within_the_first_delay(tmp_path: Path) -> None:
    program = Program(b"HTTP/1.1 500 Not yet\r\n\r\n")
    async with running(tmp_path, program, probed(delay=3600, failures=1)) as rig:
        view = await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert program.requests == []
        assert next(iter(view.deployment.executables.values())).restarts == 0


async def test_no_probe_outlives_its_container(tmp_path: Path) -> None:
    program = Program()
    program.answer = None
    async with running(tmp_path, program, probed(timeout=3600)) as rig:
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await eventually(lambda: program.open == 1, "a probe waits for its answer")
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await eventually(lambda: program.open == 0, "the probe has ended")
        assert len(program.requests) == 1


async def test_executables_without_a_probe_are_not_probed(tmp_path: Path) -> None:
    runner, program = MemoryRunner(), Program()
    runner.add_image("serve:1", serve, listens={PORT: program})
    pack = package(component(executable("a"), executable("b", probe=probed(path=""))))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        probes = [t for t in asyncio.all_tasks() if "until_failed" in repr(t.get_coro())]
        assert len(probes) == 1
        assert program.requests == []  # a connection is enough


# --- one probe after the other ------------------------------------------------------------------


class Line(MemoryRunner):
    """A runner whose connections end as a list says, and then are refused."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        super().__init__()
        self.outcomes = list(outcomes)
        self.tried: list[tuple[str, float]] = []
        self.open = self.most = 0

    @asynccontextmanager
    async def dial(
        self, container: str, address: str, port: int, *, seconds: float = 5.0
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        self.tried.append((address, seconds))
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0)
            outcome = self.outcomes.pop(0) if self.outcomes else REFUSED
            if outcome is not None:
                raise outcome
            yield asyncio.StreamReader(), None  # type: ignore[misc]
        finally:
            self.open -= 1


REFUSED = ConnectionRefusedError("nothing listens")
BUSY = OSError(11, "Resource temporarily unavailable")
OUT = RunnerUnavailableError("Podman does not answer")


def alone() -> SupervisedContainer:
    """Returns a container without a component's network."""
    found = SupervisedContainer.__new__(SupervisedContainer)
    found.holder, found.name = None, "it"
    return found


@pytest.mark.parametrize(
    ("outcomes", "probe", "tries"),
    [
        ([None, REFUSED, None, REFUSED, None], probed("", failures=2), 7),
        ([None, REFUSED, None, REFUSED], probed("", failures=2, successes=2), 4),
        ([REFUSED, None, None, REFUSED], probed("", failures=2, successes=2), 5),
        ([REFUSED, BUSY, OUT, REFUSED], probed("", failures=2), 4),
        ([BUSY, OUT, BUSY, OUT, BUSY], probed("", failures=1), 6),
        ([], probed("", failures=1), 1),
    ],
)
async def test_failures_of_the_program_count_and_those_of_the_machine_do_not(
    outcomes: Sequence[BaseException | None], probe: LivenessProbe, tries: int
) -> None:
    runner = Line(*outcomes)
    said = await Probing(runner, probe, asyncio.Semaphore(1)).until_failed(alone(), "c")
    assert "it does not accept connections at port 8080" in said
    assert runner.tried == [("127.0.0.1", 1)] * tries


async def test_a_few_probes_run_at_the_same_time_on_the_whole_device() -> None:
    runner, turns = Line(*[None] * 500), asyncio.Semaphore(3)
    probe = probed("", failures=1)
    watches = [Probing(runner, probe, turns).until_failed(alone(), "c") for _ in range(40)]
    await asyncio.gather(*watches)
    assert runner.most == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, ""),
        (b"HTTP/1.1 200\n\n", ""),
        (b"HTTP/1.1 399 Odd\r\n\r\n", ""),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "status 400"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "status 100"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 200 OK", "no answer of HTTP"),
        (b"", "no answer of HTTP"),
        (b"\xff\x00" * 100_000, "no answer of HTTP"),
        (None, "no answer within 1 s"),
    ],
)
async def test_a_status_below_400_is_well_and_nothing_else(
    answer: bytes | None, said: str, tmp_path: Path
) -> None:
    program = Program()
    program.answer = answer
    async with running(tmp_path, program, probed(failures=1), RestartPolicy.NEVER) as rig:
        if not said:
            await eventually(lambda: len(program.requests) > 3, "it was probed some times")
            view = await rig.deployments.get("one")
            assert view.status is not DeploymentStatus.ERROR
        else:
            view = await rig.until("one", lambda v: v.status is DeploymentStatus.ERROR)
            found = [r.reason for r in view.deployment.executables.values()]
            found += [fault.message for fault in view.deployment.faults]
            assert said in " ".join(found)
