"""What is said to Podman, and what its answers mean, by table."""

from __future__ import annotations

import json
from contextlib import nullcontext
from ctypes.util import find_library
from pathlib import Path

import pytest

from claraedge.errors import ContainerError, RunnerUnavailableError, StorageFullError
from claraedge.runner.container_states import labels_filter, read_half_made, read_list, read_state
from claraedge.runner.containers.specgen import create_request
from claraedge.runner.protocol import BindMount, ContainerSpec, Exit, ExitCause, Limit, Phase
from claraedge.runner.service.answers import check_storage
from claraedge.runner.service.http import Response
from claraedge.runner.workarounds.seccomp import foreign_calls, reduced, write_reduced

NEVER, SOME_TIME = "0001-01-01T00:00:00Z", "2026-11-21T01:47:16.024943404Z"


def inspected(status: str, *, code: int = 0, started: str = SOME_TIME, oom: bool = False) -> bytes:
    state = {
        "Status": status, "Pid": 7, "ConmonPid": 6, "ExitCode": code, "StartedAt": started,
        "OOMKilled": oom, "Error": "",
    }  # fmt: skip
    return json.dumps({"Id": "x", "State": state}).encode()


@pytest.mark.parametrize(
    ("status", "started", "phase"),
    [
        ("created", NEVER, Phase.CREATED),
        ("configured", NEVER, Phase.CREATED),
        ("initialized", NEVER, Phase.CREATED),
        ("created", SOME_TIME, Phase.INTERRUPTED),
        ("initialized", SOME_TIME, Phase.INTERRUPTED),
        ("running", SOME_TIME, Phase.RUNNING),
        ("paused", SOME_TIME, Phase.RUNNING),
        ("stopping", SOME_TIME, Phase.RUNNING),
        ("stopped", SOME_TIME, Phase.STOPPED),
        ("exited", SOME_TIME, Phase.STOPPED),
        ("removing", SOME_TIME, Phase.INTERRUPTED),
    ],
)
def test_each_status_is_a_phase(status: str, started: str, phase: Phase) -> None:
    assert read_state(inspected(status, started=started)).phase is phase
    seconds = -62135596800 if started == NEVER else 1795225636
    entry = {"Id": "x", "State": status, "Names": ["n"], "StartedAt": seconds, "Labels": None}
    ((container, pid),) = read_list(json.dumps([entry]).encode())
    assert (container.phase, container.name, pid) == (phase, "n", 0)


@pytest.mark.parametrize("status", ["running", "stopping", "initialized", "created"])
def test_an_exit_code_counts_only_after_the_end(status: str) -> None:
    assert read_state(inspected(status, code=0)).exit is None


def test_exit_codes_memory_and_codes_that_nobody_knows() -> None:
    assert read_state(inspected("stopped", code=3)).exit == Exit(cause=ExitCause.EXITED, code=3)
    assert read_state(inspected("exited", code=137, oom=True)).exit == Exit(
        cause=ExitCause.EXITED, code=137, out_of_memory=True
    )
    assert read_state(inspected("exited", code=-1)).exit == Exit(cause=ExitCause.LOST_SUPERVISOR)


@pytest.mark.parametrize("body", [b"", b"null", b'{"State": {}}', b"<html>"])
def test_senseless_answers_are_unavailability(body: bytes) -> None:
    with pytest.raises(RunnerUnavailableError):
        read_state(body)


def test_an_empty_list_may_be_null() -> None:
    assert read_list(b"null") == []


def test_halves_of_others_are_not_listed() -> None:
    """Podman lists those of everybody, whatever names it is asked for."""
    listed = [
        {"Id": "1", "State": "storage", "Names": ["claraedge-job-0-1"]},
        {"Id": "2", "State": "storage", "Names": ["claraedge-service-a-1"]},
        {"Id": "3", "State": "storage", "Names": ["theirs"]},
        {"Id": "4", "State": "running", "Names": ["claraedge-service-a-2"]},
    ]
    body = json.dumps(listed).encode()
    assert read_half_made(body, "claraedge-service-a-") == ["claraedge-service-a-1"]
    assert read_half_made(body, "claraedge-service-b-") == []


def test_labels_are_asked_for_all_together() -> None:
    assert json.loads(labels_filter({"a": "1", "b": "x y"})) == {"label": ["a=1", "b=x y"]}


def spec(**changes: object) -> ContainerSpec:
    values: dict[str, object] = {"name": "n", "image": "i", "log_path": Path("/l"), **changes}
    return ContainerSpec(**values)  # type: ignore[arg-type]


def test_a_container_is_locked_down_unless_the_spec_says_otherwise() -> None:
    request = create_request(spec(), None)
    assert request["cap_drop"] == ["ALL"]
    assert request["no_new_privileges"] is True
    assert request["read_only_filesystem"] is True
    assert request["netns"] == {"nsmode": "none"}
    assert request["httpproxy"] is False
    assert request["stdin"] is False
    assert request["log_configuration"] == {"driver": "k8s-file", "path": "/l"}
    assert "command" not in request
    assert "seccomp_profile_path" not in request
    assert "user" not in request


def test_limits_are_passed_on() -> None:
    request = create_request(spec(memory=1 << 30, pids=9), Path("/s"))
    # Memory and swap together are as large as memory alone: nothing is swapped out.
    memory = {"limit": 1 << 30, "swap": 1 << 30}
    assert request["resource_limits"] == {
        "pids": {"limit": 9},
        "memory": memory,
        "unified": {"memory.oom.group": "1"},
    }
    assert request["seccomp_profile_path"] == "/s"


@pytest.mark.parametrize(
    ("enforced", "asked"),
    [
        ((Limit.PIDS,), {"pids": {"limit": 9}}),
        (
            (Limit.MEMORY,),
            {
                "memory": {"limit": 1 << 30, "swap": 1 << 30},
                "unified": {"memory.oom.group": "1"},
            },
        ),
        ((), {}),
    ],
)
def test_a_limit_that_the_machine_cannot_enforce_is_not_asked_for(
    enforced: tuple[Limit, ...], asked: object
) -> None:
    request = create_request(spec(memory=1 << 30, pids=9), None, limits=enforced)
    assert request["resource_limits"] == asked


@pytest.mark.parametrize(
    ("devices", "written", "seen"),
    [
        ((), {}, "void"),
        ((), {"NVIDIA_VISIBLE_DEVICES": "all"}, "void"),
        (("nvidia.com/gpu=0",), {}, "site"),
        (("nvidia.com/gpu=0",), {"NVIDIA_VISIBLE_DEVICES": "all"}, "site"),
    ],
)
def test_no_image_and_no_definition_says_which_devices_are_visible(
    devices: tuple[str, ...], written: dict[str, str], seen: str
) -> None:
    request = create_request(
        spec(devices=devices, environment={"A": "b", **written}), None, visible_devices="site"
    )
    assert request["env"] == {"A": "b", "NVIDIA_VISIBLE_DEVICES": seen}


def test_scratch_is_memory_with_a_read_only_root_and_gives_way_to_a_mount() -> None:
    mounts = (BindMount(source=Path("/s"), target="/tmp/", read_only=False),)
    given = create_request(spec(mounts=mounts), None)["mounts"]
    assert isinstance(given, list)
    assert [(m["type"], m["destination"]) for m in given] == [
        ("bind", "/tmp/"), ("tmpfs", "/dev/shm"), ("tmpfs", "/var/tmp"), ("tmpfs", "/run"),
    ]  # fmt: skip
    writable = create_request(spec(writable_root=True), None)
    assert [m["destination"] for m in writable["mounts"]] == ["/dev/shm"]  # type: ignore[attr-defined,index]
    assert writable["read_only_filesystem"] is False


def test_what_lies_in_memory_has_a_size() -> None:
    request = create_request(spec(shared_memory=5 << 20, scratch=7 << 20), None)
    sizes = {
        mount["destination"]: [o for o in mount["options"] if o.startswith("size=")]
        for mount in request["mounts"]  # type: ignore[attr-defined]
    }
    scratch = [f"size={7 << 20}"]
    assert sizes == {
        "/dev/shm": [f"size={5 << 20}"], "/tmp": scratch, "/var/tmp": scratch, "/run": scratch,
    }  # fmt: skip
    unlimited = create_request(spec(), None)["mounts"]
    assert "size=" not in str(unlimited)  # as Linux has it: half of the machine's memory


@pytest.mark.parametrize("read_only", [True, False])
def test_a_bind_says_whether_it_may_be_written(read_only: bool) -> None:
    mounts = (BindMount(source=Path("/s"), target="/t", read_only=read_only),)
    (bind, *_) = create_request(spec(mounts=mounts), None)["mounts"]  # type: ignore[misc,has-type]
    assert ("ro" in bind["options"], "rw" in bind["options"]) == (read_only, not read_only)
    assert {"nosuid", "nodev"} <= set(bind["options"])


@pytest.mark.parametrize(
    "name", ["nvidia.com/gpu=0", "nvidia.com/gpu=all", "vendor-1.x/cl_ass=GPU-8a:1.2"]
)
def test_device_names_of_cdi_pass(name: str) -> None:
    assert create_request(spec(devices=(name,)), None)["devices"] == [{"path": name}]


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "/dev/null", "vendor.com/x=0", "v/class=0", "nvidia.com/gpu", "nvidia.com/gpu=",
     "nvidia.com/gpu=0\n", "nvidia.com/gpu=-0", "1vendor/class=0", "a b/class=0"],
)  # fmt: skip
def test_other_device_names_are_refused_before_podman_sees_them(name: str) -> None:
    with pytest.raises(ContainerError, match="CDI"):
        create_request(spec(devices=(name,)), None)


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ],
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
}


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", "SCMP_ARCH_X86_64"), ("aarch64", "SCMP_ARCH_AARCH64")]
)
def test_the_filter_keeps_its_calls_and_one_architecture(machine: str, name: str) -> None:
    smaller = reduced(PROFILE, machine)
    assert smaller == {
        **PROFILE, "archMap": [{"architecture": name, "subArchitectures": []}],
    }  # fmt: skip


def test_the_filter_leaves_out_calls_of_other_architectures() -> None:
    rules = [
        {"names": ["read", "chown32"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["arm_fadvise64_64"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["kexec_load", "invented_later"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]
    smaller = reduced(
        {**PROFILE, "syscalls": rules}, "x86_64", {"chown32", "arm_fadvise64_64"}.__contains__
    )
    assert smaller is not None
    assert smaller["syscalls"] == [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, rules[2]]


@pytest.mark.skipif(not find_library("seccomp"), reason="libseccomp is not on this machine")
def test_a_call_is_foreign_where_only_other_architectures_have_it() -> None:
    is_foreign = foreign_calls()
    assert is_foreign("s390_pci_mmio_read")
    assert not any(map(is_foreign, ("read", "openat2", "clone3", "a_call_of_tomorrow")))


@pytest.mark.parametrize(
    ("profile", "machine"),
    [
        (PROFILE, "riscv64"),
        ({"defaultAction": "SCMP_ACT_ERRNO"}, "x86_64"),
        ({**PROFILE, "architectures": ["SCMP_ARCH_X86_64"]}, "x86_64"),
        ({**PROFILE, "archMap": PROFILE["archMap"][1:]}, "x86_64"),  # type: ignore[index]
    ],
)
def test_a_filter_that_would_change_its_meaning_is_left_alone(
    profile: dict[str, object], machine: str
) -> None:
    assert reduced(profile, machine) is None


@pytest.mark.parametrize("content", [None, b"not json", b"[]"])
def test_without_a_usable_profile_nothing_is_written(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "s").write_bytes(content)
    assert not write_reduced(tmp_path / "s", tmp_path / "t", "x86_64")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("message", "cause", "full"),
    [
        ("write /x/diff/a: no space left on device", "no space left on device", True),
        ("crun: mkdir `/a`: No space left on device: OCI runtime error", "OCI runtime error", True),
        (
            "x:\n * oci: a\n * docker-archive: write /a: no space left on device\n",
            "x:\n * oci",
            True,
        ),
        ("unable to find user no space left on device: no matching entries", "no matching", False),
        (
            "invalid signal: no space left on device",
            "invalid signal: no space left on device",
            False,
        ),
        (
            'exec: "no space left on device": not found: OCI runtime error',
            "OCI runtime error",
            False,
        ),
        ('x:\n * oci: parsing time "no space left on device" as "2"\n', "x:\n * oci", False),
    ],
)
def test_a_full_disk_is_reported_by_the_kernel_and_not_by_an_image(
    message: str, cause: str, full: bool
) -> None:
    """Finding 10: words of an image made an outage for all jobs."""
    body = json.dumps({"message": message, "cause": cause, "response": 500}).encode()
    with pytest.raises(StorageFullError) if full else nullcontext():
        check_storage(Response(status=500, headers={}, body=body))
