"""Explains why a container did not start, or its program ended at once, by one table. Pure.

The texts are those of Podman 4.3 with runc 1.1, recorded in the tests. Those of crun are from its
sources and reports (caddyserver/caddy#6940, jeroenjanssens/dsutils#8), and those of an older runc
from hashicorp/docker-vault#16 and pypiserver/pypiserver#394.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Row:
    pattern: str
    words: str | Callable[[re.Match[str]], str]
    """The meaning and what to do; `{name}` stands for a group of the pattern."""


def _row(pattern: str, words: str | Callable[[re.Match[str]], str]) -> _Row:
    return _Row(pattern, words)


def _missing(found: re.Match[str]) -> str:
    program = next((text for text in found.groups() if text is not None), "")
    if not program.strip():
        return (
            "its command begins with an empty text; write the program as the first entry of"
            " `command:` or `entrypoint:`"
        )
    if " " in program:
        words = ", ".join(program.split())
        return (
            f"the image has no program that is called `{program}`, blanks included; write each"
            f" word as an entry of its own: `command: [{words}]`"
        )
    if not program.startswith("/") and "/" in program:
        return (
            f"there is no `{program}` in the working directory of the image; write the whole path,"
            " which begins with `/`, in `command:` or `entrypoint:`"
        )
    return (
        f"the image has no program `{program}`; mind upper and lower case,"
        " and write the path that it has in the image in `command:` or `entrypoint:`, or use a tag"
        " of the image that has it"
    )


#: How runc and crun report that the kernel could not start a program.
_EXEC = (
    r"^(?:\{\"msg\":\")?exec (?:container process )?(?:\(missing dynamic library\?\) )?"
    r"`?(?P<program>/[^`\s]*?)`?: "
)
_FILE_CAPABILITY = (
    "its program `{program}` carries a capability in its file, and the kernel starts such a program"
    " only where that may be given: operators never have capabilities; build the image with"
    " `RUN setcap -r {program}` (`getcap {program}` shows the capability)"
)
_USER = (
    "the image is to run as the {kind} `{name}`, which its /etc/{file} does not have; write numbers"
    " in `USER` of its Containerfile, or add the {kind} there"
)

#: Errors of Podman when it creates, initialises or starts a container.
_REFUSALS = (
    _row(
        r'exec: "([^"]*)": (?:stat [^:]*: no such file or directory|executable file not found)'
        r"|executable file `([^`]*)` not found|cannot find `([^`]*)` in \$PATH",
        _missing,
    ),
    _row(
        r'exec: "(?P<program>[^"]*)": permission denied',
        "`{program}` of the image cannot be executed: it is a folder, or a file without that"
        " permission for the image's user; write another program, or build the image with `RUN"
        " chmod 755 {program}`",
    ),
    _row(
        r"open executable: permission denied",
        "the program of the operator cannot be executed: it is a folder, or a file without that"
        " permission for the image's user; build the image with `RUN chmod 755 PROGRAM`",
    ),
    _row(
        r"no command or entrypoint provided",
        "the image says no program to run, and neither does the pipeline; write"
        " `command: [PROGRAM, ARGUMENT]` in the operator's `container`",
    ),
    _row(
        r"unable to find user (?P<name>[^:]+): no matching entries in passwd",
        _USER.replace("{kind}", "user").replace("{file}", "passwd"),
    ),
    _row(
        r"unable to find group (?P<name>[^:]+): no matching entries in group",
        _USER.replace("{kind}", "group").replace("{file}", "group"),
    ),
    _row(
        r"unable to setup user: invalid argument|set(?:res)?[ug]id[^:]*: invalid argument"
        r"|setgroups: invalid argument",
        "the number of the image's user or group is larger than those that this account may give to"
        " containers (/etc/subuid and /etc/subgid); build the image with a `USER` below 65536",
    ),
    _row(
        r'workdir "(?P<folder>[^"]*)" (?:does not exist|exists on container \S+, but is not)',
        "its working directory `{folder}` is no folder of the image; build the image with"
        " `RUN mkdir -p {folder}`, or with another `WORKDIR`",
    ),
    _row(
        r"cwd must be an absolute path",
        "the working directory of the image is no absolute path; build the image with a `WORKDIR`"
        " that begins with `/`",
    ),
    _row(
        r"\bchdir\b",
        "the user of the image cannot enter its working directory, or it is missing; build the"
        " image with a `WORKDIR` that its `USER` can enter",
    ),
    _row(
        r'to rootfs at "(?P<path>[^"]*)".*not a directory',
        "`{path}` cannot be a folder for inputs or outputs: a part of that path is a file in the"
        " image; write another `path:`",
    ),
    _row(
        r'to rootfs at "(?P<path>[^"]*)".*read-only file system',
        "there is no folder `{path}` in the image, and none can be made there; write another path"
        " or build the image with that folder",
    ),
    _row(
        r"exceeded num_locks",
        "this account has as many containers as Podman can have; remove those that have ended:"
        " `podman container prune`, as the user that runs claraedge",
    ),
    _row(
        r"too many open files",
        "Podman has reached its limit of open files; raise `LimitNOFILE=` in its unit, or `ulimit"
        " -n`",
    ),
    _row(
        r"resource temporarily unavailable|cannot allocate memory",
        "the machine has no room for another process; check its memory (`free -h`), `TasksMax=` of"
        " the unit, and `ulimit -u`",
    ),
    _row(
        r"cgroups? in hybrid mode",
        "crun does not work with the control groups of this machine; boot with"
        ' `systemd.unified_cgroup_hierarchy=1`, or install runc and write `runtime = "runc"` below'
        " `[engine]` in containers.conf of this account",
    ),
    _row(
        r"default oci runtime .* not found",
        "the program that runs containers is not installed; install crun or runc",
    ),
    _row(
        r"^(?:exit status 1|write child: broken pipe)$",
        "Podman's supervisor of the container (conmon) ended without a message: it could not write"
        " the log of the operator, or had no memory; check the disk of the state folder (`claraedge"
        " status`) and the memory (`free -h`)",
    ),
)

#: Last lines of logs, where the program ended with an error.
_LAST_LINES = (
    _row(
        _EXEC + "exec format error",
        "`{program}` is no program for this machine: it is built for another processor, or it is a"
        " script without a first line such as `#!/bin/sh`, or it is empty; build the image again"
        " for this machine",
    ),
    _row(
        r"exec user process caused:? \"?exec format error",
        "its program is built for another processor, or is a script without a first line such as"
        " `#!/bin/sh`; build the image for this machine",
    ),
    _row(
        _EXEC + "no such file or directory",
        "`{program}` is there, but not what starts it: the interpreter in its first line (a script"
        " that was saved on Windows asks for one whose name ends in a carriage return; `dos2unix`"
        " corrects it), or the loader of another C library (glibc, in an Alpine image);"
        " build the image again with what is missing",
    ),
    _row(
        _EXEC + "permission denied",
        "the user of the image cannot execute `{program}`; build the image with `RUN chmod 755"
        " {program}`",
    ),
    _row(_EXEC + "operation not permitted", _FILE_CAPABILITY),
    _row(
        r"exec user process caused:? \"?operation not permitted",
        "its program carries a capability in its file, which operators never have; build the image"
        " with `RUN setcap -r PROGRAM`",
    ),
    _row(
        r"^(?:\S*/)?(?:ba|da|a)?sh: (?:.* )?(?P<program>/\S+): operation not permitted$",
        "where `{program}` is a program: " + _FILE_CAPABILITY,
    ),
    _row(
        r"lib(?:cuda|nvidia-ml|nvcuvid|nvidia-encode)\.so[.\d]*: cannot open shared object",
        "the libraries of the NVIDIA driver are in a container only with a GPU; write"
        " `requests: {{gpu: 1}}` in the operator",
    ),
    _row(
        r"(?P<library>lib[^:\s]+): cannot open shared object",
        "the image lacks the library `{library}`; build it with the package that has it",
    ),
    _row(
        r"read-only file system|\berofs\b",
        "the root of an operator is read-only: it can write to the folders of its outputs, to /tmp,"
        " /var/tmp and /run, and to the volumes of its image; let it write there (often by a"
        " variable such as HOME: `variables: {{HOME: /tmp}}`)",
    ),
    _row(
        r"too many open files",
        "it opened more files at one time than a process can; let it close them, or raise"
        " `LimitNOFILE=` of the unit that runs claraedge",
    ),
)


def of_refusal(text: str) -> str | None:
    """Returns what Podman's refusal of a container means and what to do; None where unknown."""
    return _first(_REFUSALS, text) or _first(_LAST_LINES, text)


def of_last_line(line: str) -> str | None:
    """Returns the same for the last line that a program wrote before it ended with an error."""
    return _first(_LAST_LINES, line)


def _first(rows: tuple[_Row, ...], text: str) -> str | None:
    for row in rows:
        # Compiled when it is needed: all of them would delay each start.
        found = re.search(row.pattern, text.strip(), re.IGNORECASE)
        if found is not None:
            return (
                row.words(found) if callable(row.words) else row.words.format(**found.groupdict())
            )
    return None
