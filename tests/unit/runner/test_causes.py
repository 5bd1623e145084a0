"""Why a container did not start, in words: the texts are those that Podman, runc and crun gave."""

from __future__ import annotations

import pytest

from claraedge.runner.service import causes

RUNC = "runc: runc create failed: unable to start container process: "
NOT_FOUND = ": OCI runtime attempted to invoke a command that was not found"
RUNC_ERROR = ": OCI runtime error"

REFUSALS = {
    # Podman 4.3.1 with runc 1.1.5, as `POST /containers/{id}/init` and `/create` answered.
    f'{RUNC}exec: "/bin/gone": stat /bin/gone: no such file or directory{NOT_FOUND}': (
        "no program `/bin/gone`",
        "`command:`",
    ),
    f'{RUNC}exec: "gone": executable file not found in $PATH{NOT_FOUND}': (
        "no program `gone`",
        "upper and lower case",
    ),
    f'{RUNC}exec: "./run.sh": stat ./run.sh: no such file or directory{NOT_FOUND}': (
        "`./run.sh` in the working directory",
        "whole path",
    ),
    f'{RUNC}exec: "": executable file not found in $PATH{NOT_FOUND}': ("empty text", "first entry"),
    f'{RUNC}exec: "/bin/echo hi": stat /bin/echo hi: no such file or directory{NOT_FOUND}': (
        "`/bin/echo hi`, blanks included",
        "`command: [/bin/echo, hi]`",
    ),
    f'{RUNC}exec: "/bin/noexec": permission denied: OCI permission denied': (
        "`/bin/noexec` of the image cannot be executed",
        "chmod 755 /bin/noexec",
    ),
    "no command or entrypoint provided, and no CMD or ENTRYPOINT from image": (
        "no program to run",
        "`command: [PROGRAM, ARGUMENT]`",
    ),
    "unable to find user ghost: no matching entries in passwd file": (
        "the user `ghost`, which its /etc/passwd does not have",
        "`USER`",
    ),
    "unable to find group ghosts: no matching entries in group file": (
        "the group `ghosts`, which its /etc/group does not have",
        "number",
    ),
    f"{RUNC}unable to setup user: invalid argument{RUNC_ERROR}": ("/etc/subuid", "below 65536"),
    'workdir "/nowhere" does not exist on container 5f2ee7': (
        "`/nowhere` is no folder",
        "RUN mkdir -p /nowhere",
    ),
    'workdir "/bin/busybox" exists on container 5f2ee7, but is not a directory': (
        "`/bin/busybox` is no folder",
        "WORKDIR",
    ),
    "runc: runc create failed: Cwd must be an absolute path: OCI runtime error": (
        "no absolute path",
        "begins with `/`",
    ),
    f'{RUNC}error during container init: error mounting "/h/run" to rootfs at "/bin/busybox/x":'
    f" open o_path procfd: open /h/merged/bin/busybox/x: not a directory{RUNC_ERROR}": (
        "`/bin/busybox/x` cannot be a folder",
        "another `path:`",
    ),
    "write child: broken pipe": ("without a message", "disk of the state folder"),
    "exit status 1": ("without a message", "disk of the state folder"),
    "allocation failed; exceeded num_locks (2048)": ("as many containers", "prune"),
    # crun, from its sources and reports.
    "crun: executable file `/bin/gone` not found in $PATH: No such file or directory" + NOT_FOUND: (
        "no program `/bin/gone`",
        "`command:`",
    ),
    "crun: executable file `gone` not found: No such file or directory" + NOT_FOUND: (
        "no program `gone`",
        "`command:`",
    ),
    "crun: open executable: Permission denied: OCI permission denied": (
        "cannot be executed",
        "chmod 755",
    ),
    "crun: chdir: No such file or directory: OCI runtime attempted to invoke a command": (
        "working directory",
        "WORKDIR",
    ),
    "crun: setresuid to `100000000`: Invalid argument: OCI runtime error": (
        "/etc/subuid",
        "below 65536",
    ),
    "cgroups in hybrid mode not supported, drop all controllers from cgroupv2": (
        "crun does not work",
        "runc",
    ),
}

LAST_LINES = {
    "exec /bin/noshebang: exec format error": ("`/bin/noshebang` is no program", "#!/bin/sh"),
    "exec /bin/crlf: no such file or directory": ("saved on Windows", "dos2unix"),
    "exec /bin/true: operation not permitted": (
        "`/bin/true` carries a capability in its file",
        "RUN setcap -r /bin/true",
    ),
    '{"msg":"exec container process `/usr/bin/caddy`: Operation not permitted","level":"error"}': (
        "`/usr/bin/caddy` carries a capability",
        "RUN setcap -r /usr/bin/caddy",
    ),
    '{"msg":"exec container process `/usr/bin/zsh`: Exec format error","level":"error"}': (
        "`/usr/bin/zsh` is no program",
        "processor",
    ),
    "exec container process (missing dynamic library?) `/app`: No such file or directory": (
        "`/app` is there",
        "glibc",
    ),
    "standard_init_linux.go:228: exec user process caused: exec format error": (
        "another processor",
        "for this machine",
    ),
    "sh: /bin/ping: Operation not permitted": ("where `/bin/ping` is a program", "setcap -r"),
    "/bin/sh: can't create /etc/y: Read-only file system": ("read-only", "/tmp"),
    "OSError: [Errno 30] Read-only file system: '/root/.cache'": ("read-only", "HOME: /tmp"),
    "python: error while loading shared libraries: libcuda.so.1: cannot open shared object file: No"
    " such file": ("only with a GPU", "requests: {gpu: 1}"),
    "ImportError: libGL.so.1: cannot open shared object file: No such file or directory": (
        "lacks the library `libGL.so.1`",
        "package",
    ),
    "x: error while loading shared libraries: libGL.so.1: cannot open shared object file": (
        "lacks the library `libGL.so.1`",
        "package",
    ),
    "ValueError: no such patient": (),
    "cp: /output/x: Operation not permitted": (),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_each_refusal_has_a_cause_and_a_step(text: str) -> None:
    said = causes.of_refusal(text)
    assert said is not None
    assert all(part in said for part in REFUSALS[text]), said


@pytest.mark.parametrize("text", LAST_LINES)
def test_a_last_line_has_a_cause_where_it_names_one(text: str) -> None:
    said = causes.of_last_line(text)
    assert (said is not None) == bool(LAST_LINES[text])
    assert all(part in str(said) for part in LAST_LINES[text]), said


def test_what_a_refusal_does_not_say_is_not_guessed() -> None:
    assert causes.of_refusal("unresolvable CDI devices nvidia.com/gpu=7") is None
