"""Parses the manifests of MONAI and Holoscan application packages, strictly. Pure.

Sources: the specifications of both packages, what their packagers write, and what their runners
read (MONAI Deploy App SDK 0.1 to 0.5; Holoscan SDK 0.6 to 3). Unused fields are not checked.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import PipelineLoadError
from claraedge.pipelines.application import Application
from claraedge.pipelines.checks.entries import container_path
from claraedge.pipelines.syntax.nodes import ScalarNode
from claraedge.pipelines.syntax.problems import Report

T = TypeVar("T")

Scalar = str | bool | int | float


class _Ends(msgspec.Struct):
    path: str | None = None


class _App(msgspec.Struct):
    """`app.json` of a Holoscan package."""

    command: str | list[str] | None = None
    environment: dict[str, Scalar] | None = None
    input: _Ends | None = None
    output: _Ends | None = None
    sdk: str | None = None
    working_directory: str | None = msgspec.field(default=None, name="workingDirectory")


class _MonaiApp(_App):
    """`app.json` of a MONAI package."""

    working_directory: str | None = msgspec.field(default=None, name="working-directory")


class _Needs(msgspec.Struct, rename="camel"):
    cpu: Scalar | None = None
    gpu: Scalar | None = None
    memory: Scalar | None = None
    memory_limit: Scalar | None = None
    shared_memory: Scalar | None = None


class _Resources(_Needs):
    fragments: dict[str, _Needs] | None = None


class _Package(msgspec.Struct):
    """`pkg.json` of either package; MONAI's first versions wrote `resource`."""

    resources: _Resources | None = None
    resource: _Resources | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One of the two package formats: where its manifests are, and its default values."""

    folder: str
    app: type[_App]
    working_dir: str
    platform: Mapping[str, str]


_KINDS = (
    _Kind(folder="/etc/holoscan", app=_App, working_dir="/var/holoscan", platform={}),
    _Kind(
        folder="/etc/monai",
        app=_MonaiApp,
        working_dir="/var/monai",
        # MONAI's runner sets the first, which its packager omits; the specification defines the
        # second.
        platform={
            "MONAI_MODELPATH": "/opt/monai/models",
            "MONAI_JOBID": "$(NVIDIA_CLARA_JOBID)",
        },
    ),
)
#: Every file that is read from an image. Holoscan's come first, as the later format.
PATHS = tuple(f"{kind.folder}/{name}" for kind in _KINDS for name in ("app.json", "pkg.json"))

#: Megabytes that both runners use where the manifest does not set a size.
_SHARED_MEMORY = 1024
_SH = ("/bin/sh", "-c")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
#: As in Holoscan's runner: `m` and `g` are decimal.
_UNITS = {
    "": 1,
    "b": 1,
    "k": 1000, "kb": 1000, "ki": 1024, "kib": 1024,
    "m": 1000**2, "mb": 1000**2, "mi": 1024**2, "mib": 1024**2,
    "g": 1000**3, "gb": 1000**3, "gi": 1024**3, "gib": 1024**3,
    "t": 1000**4, "tb": 1000**4, "ti": 1024**4, "tib": 1024**4,
}  # fmt: skip
_MEGABYTE = 1024 * 1024
_HUGE = 2**40
#: Syntax that only a shell understands; a command without it is run without a shell.
_SHELL = re.compile(r"[|&;<>()$`*?\[#~!{\n]|^\s*\w+=")


def read(files: Mapping[str, bytes]) -> Application | None:
    """Returns the application that the files of an image (`PATHS`) describe; None where they are
    absent.

    Raises PipelineLoadError, which names the file and what is wrong in it.
    """
    for kind in _KINDS:
        app_path, package_path = f"{kind.folder}/app.json", f"{kind.folder}/pkg.json"
        if app_path in files:
            app = _decoded(files[app_path], kind.app, app_path)
            package = _decoded(files.get(package_path, b"{}"), _Package, package_path)
            return _application(kind, app, app_path, package, package_path)
    return None


def _decoded(content: bytes, kind: type[T], path: str) -> T:
    try:
        return decode_json(content, kind)
    except msgspec.MsgspecError as error:
        raise _wrong(path, f"it cannot be read: {error}") from error


def _application(
    kind: _Kind, app: _App, app_path: str, package: _Package, package_path: str
) -> Application:
    working_dir = app.working_directory or kind.working_dir
    if not working_dir.startswith("/") or not working_dir.isprintable():
        raise _wrong(app_path, f"the working directory {working_dir[:40]!r} is no absolute path")
    environment = _environment(app.environment or {}, app_path)
    needs = package.resources or package.resource or _Resources()
    parts = tuple((needs.fragments or {}).values())

    def need(
        name: str, read_as: Callable[[Scalar], int], together: Callable[[Iterable[int]], int]
    ) -> int | None:
        written = getattr(needs, name)
        given = [written] if written is not None else [getattr(p, name) for p in parts]
        try:
            amounts = [read_as(value) for value in given if value is not None]
        except ValueError as error:
            raise _wrong(package_path, f"`{name}` {error}") from error
        return together(amounts) if amounts else None

    limit = need("memory_limit", _megabytes, sum)
    memory = need("memory", _megabytes, sum)
    shared = need("shared_memory", _megabytes, max)
    return Application(
        command=_command(app, environment, app_path),
        working_dir=posixpath.normpath(working_dir) if app.working_directory else None,
        input=_folder(app.input, "input", working_dir, app_path),
        output=_folder(app.output, "output", working_dir, app_path),
        environment=environment,
        platform={k: v for k, v in kind.platform.items() if k not in environment},
        cpu=need("cpu", _count, sum),
        # Fragments of one application take turns on a GPU, so the largest need is that of the
        # application.
        gpu=need("gpu", _whole, max),
        memory=(limit or memory) or None,
        shared_memory=shared or _SHARED_MEMORY,
    )


def _command(app: _App, environment: Mapping[str, str], path: str) -> tuple[str, ...]:
    """Returns program and arguments, from a list, a list in a text, or a command line
    for a shell.
    """
    command: Any = app.command
    if isinstance(command, str) and command.lstrip().startswith("["):
        try:
            command = decode_json(command, list[str])
        except msgspec.MsgspecError as error:
            raise _wrong(path, f"`command` is no JSON list of texts: {error}") from error
    if not command or not (command[0] if isinstance(command, list) else command.strip()):
        raise _wrong(path, "`command` is missing or empty, so there is nothing to run")
    if any("\0" in part for part in command):
        raise _wrong(path, "`command` holds a NUL character")
    if isinstance(command, list):
        words = tuple(command)
    elif _SHELL.search(command):
        words = (*_SH, command)
    else:
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise _wrong(path, f"`command` cannot be split into words: {error}") from error
    config = environment.get("HOLOSCAN_CONFIG_PATH")
    if app.sdk is None or app.sdk.casefold() != "holoscan" or config is None:
        return words
    # As Holoscan's runner does for applications that its packager built from its own SDK.
    if words[:2] == _SH:
        return (*_SH, f"{words[2]} --config {shlex.quote(config)}")
    return (*words, "--config", config)


def _environment(written: Mapping[str, Scalar], path: str) -> dict[str, str]:
    result = {}
    for name, value in written.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if not _VARIABLE.fullmatch(name) or "\0" in text:
            raise _wrong(path, f"`environment` has {name[:40]!r}, which no variable can be")
        result[name] = text
    return result


def _folder(written: _Ends | None, otherwise: str, working_dir: str, path: str) -> str:
    """Returns the absolute folder, checked by the rules for paths in a definition."""
    where = written.path if written is not None and written.path else otherwise
    joined = "/" + posixpath.normpath(posixpath.join(working_dir, where)).lstrip("/")
    report = Report()
    checked = container_path(ScalarNode(file=path, line=1, column=1, text=joined), report)
    if checked is None:
        (problem,) = report.problems()
        raise _wrong(path, f"`{otherwise}.path`: {problem.message}")
    return checked


def _number(value: Scalar) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= _HUGE:
        raise ValueError(f"is {str(value)[:40]!r}, which is no number of 0 or more")
    return number


def _count(value: Scalar) -> int:
    """Converts a number of cores, rounded up."""
    return math.ceil(_number(value))


def _whole(value: Scalar) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(f"is {value!r}; devices are counted in whole ones")
    return int(number)


def _megabytes(value: Scalar) -> int:
    """Converts an amount to megabytes (2**20 bytes), rounded up.

    A number without a unit is in bytes, as in both runners. A small one is a mistake: as a limit it
    would end the application at once. Raises ValueError.
    """
    amount = _AMOUNT.fullmatch(str(value).strip())
    unit = None if amount is None or isinstance(value, bool) else _UNITS.get(amount[2].lower())
    if amount is None or unit is None:
        raise ValueError(f"is {str(value)[:40]!r}, which is no amount as 512Mi or 1.5Gi")
    size = _number(amount[1]) * unit
    if not amount[2] and 0 < size < _MEGABYTE:
        raise ValueError(f"is {str(value)[:40]!r} without a unit; write it as 512Mi or 1.5Gi")
    return math.ceil(size / _MEGABYTE)


def _wrong(path: str, what: str) -> PipelineLoadError:
    return PipelineLoadError(f"{path}: {what}")
