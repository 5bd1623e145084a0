"""A container whose files seem to be missing is created again before its image is blamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.containers import creation as module
from claraedge.runner.containers.creation import Creation
from claraedge.runner.containers.specgen import NO_VOLUMES, Volumes
from claraedge.runner.groups import NO_GROUPS, Groups
from claraedge.runner.protocol import ContainerSpec, Limit
from claraedge.runner.service.http import Response

#: Podman 4.3 with runc 1.1, where another process of Podman covered the container's files.
COVERED = (
    "runc: runc create failed: unable to start container process: exec:"
    ' "sh": executable file not found in $PATH: OCI runtime attempted to invoke a command that was'
    " not found"
)


def response(status: int, **body: str) -> Response:
    return Response(status=status, headers={}, body=json.dumps(body).encode())


class Podman:
    """Answers the calls of one creation: containers get the ids 1, 2, ..."""

    def __init__(self, *initialised: Response | Exception) -> None:
        self._initialised = list(initialised)
        self.created = 0
        self.removed: list[str] = []
        self.removal: Exception | None = None
        self.visible = None
        self.sliced = self.copies_images = False

    async def request(self, _method: str, path: str, **_: object) -> Response:
        assert path == "/containers/create"
        self.created += 1
        return response(201, Id=str(self.created))

    async def post(self, path: str) -> Response:
        assert path == f"/containers/{self.created}/init"
        answer = self._initialised.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def remove(self, container: str) -> None:
        if self.removal is not None:
            raise self.removal
        self.removed.append(container)

    async def way_out(self) -> str:
        return ""

    async def limits(self) -> frozenset[Limit]:
        return frozenset()

    async def groups(self, _spec: ContainerSpec) -> Groups:
        return NO_GROUPS

    async def of(self, _spec: ContainerSpec) -> Volumes:
        return NO_VOLUMES

    async def user_namespace(self) -> dict[str, object]:
        return {}

    def take(self, _name: str) -> None: ...

    def free(self, _name: str) -> None: ...

    def hand_over(self, _name: str, container: str) -> None:
        assert container == str(self.created)


def creation(podman: Podman) -> Creation:
    part = cast("Any", podman)
    return Creation(part, part, part, part, part, part, part, part)


@pytest.fixture
def spec(tmp_path: Path) -> ContainerSpec:
    return ContainerSpec(
        name="one", image="busybox", command=("sh",), log_path=tmp_path / "log", labels={}
    )


async def test_a_program_that_is_missing_only_once_fails_no_job(spec: ContainerSpec) -> None:
    podman = Podman(response(500, message=COVERED), response(204))
    assert await creation(podman).create(spec) == "2"
    assert podman.removed == ["1"]


async def test_a_program_that_is_missing_each_time_is_missing(
    spec: ContainerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0, 0.0))
    podman = Podman(*[response(500, message=COVERED)] * 4)
    with pytest.raises(ContainerError, match="the image has no program `sh`"):
        await creation(podman).create(spec)
    assert podman.removed == ["1", "2", "3", "4"]


async def test_a_refusal_that_concerns_no_file_is_believed_at_once(spec: ContainerSpec) -> None:
    podman = Podman(response(500, message="runc: cwd must be an absolute path"))
    with pytest.raises(ContainerError, match="no absolute path"):
        await creation(podman).create(spec)
    assert podman.removed == ["1"]


async def test_a_container_that_cannot_be_removed_is_not_created_again(spec: ContainerSpec) -> None:
    podman = Podman(response(500, message=COVERED))
    podman.removal = ContainerError("device or resource busy")
    with pytest.raises(ContainerError, match="the image has no program `sh`"):
        await creation(podman).create(spec)
    assert podman.created == 1


async def test_an_outage_meanwhile_is_an_outage(spec: ContainerSpec) -> None:
    podman = Podman(response(500, message=COVERED))
    podman.removal = RunnerUnavailableError("Podman does not answer")
    with pytest.raises(RunnerUnavailableError):
        await creation(podman).create(spec)


async def test_an_outage_after_that_leaves_no_container_behind(spec: ContainerSpec) -> None:
    podman = Podman(response(500, message=COVERED), RunnerUnavailableError("Podman was killed"))
    with pytest.raises(RunnerUnavailableError):
        await creation(podman).create(spec)
    assert podman.removed == ["1", "2"]
