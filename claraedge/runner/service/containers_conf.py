"""The private Podman service's containers.conf: the administrator's choices except isolation.

An administrator's containers.conf may choose the OCI runtime, Podman's folders and its network
programs. What an operator's container is given (namespaces, environment, mounts, devices, hooks,
annotations, capabilities, ...) is set only by the daemon. So only the keys of `_KEPT` are taken; a
key that a later Podman introduces is left out until it is listed here.

Sources: containers.conf(5); containers/common pkg/config of Podman 4.3.1 and 5.8.2 (order of the
files, merging of tables, `{append=true}` in arrays, keys in any case). Modules are read only for
`podman --module`, and the service is started without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.errors import RunnerUnavailableError
from claraedge.fs import files

_log = logging.getLogger(__name__)

#: Options of `podman`: mount no folders of the machine that a mounts.conf names.
OPTIONS = ("--default-mounts-file", "/dev/null")
#: The system's files; a drop-in folder has the name of the file with `.d` appended.
_VENDOR = Path("/usr/share/containers/containers.conf")
_SYSTEM = Path("/etc/containers")
_OWN = "containers/containers.conf"
_VARIABLE, _LAST_VARIABLE = "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"

#: Table -> the keys that remain the administrator's choice; None: all of them.
_KEPT: Mapping[str, frozenset[str] | None] = {
    "engine": frozenset(
        [
            "cgroup_check",
            "cgroup_manager",
            "conmon_env_vars",
            "conmon_path",
            "conmonrs_path",
            "database_backend",
            "enable_port_reservation",
            "events_logfile_max_size",
            "events_logfile_path",
            "events_logger",
            "helper_binaries_dir",
            "image_copy_tmp_dir",
            "image_parallel_copies",
            "lock_type",
            "namespace",
            "network_cmd_options",
            "network_cmd_path",
            "no_pivot_root",
            "num_locks",
            "platform_to_oci_runtime",
            "runtime",
            "runtime_path",
            "runtime_supports_json",
            "runtime_supports_kvm",
            "runtime_supports_nocgroup",
            "runtime_supports_nocgroups",
            "runtimes",
            "runtimes_flags",
            "static_dir",
            "tmp_dir",
            "volume_path",
        ]
    ),
    # Names of hosts, for containers with a network; and the SELinux label setting: where an
    # administrator had to turn it off, nothing mounted here could be read without it.
    "containers": frozenset({"dns_options", "dns_searches", "dns_servers", "label"}),
    "network": None,
}
#: Keys about containers that are ignored and that the administrator should be warned about.
_DECIDING = {
    "containers": frozenset(
        [
            "annotations",
            "apparmor_profile",
            "base_hosts_file",
            "cgroup_conf",
            "cgroupns",
            "cgroups",
            "container_name_as_hostname",
            "default_capabilities",
            "default_sysctls",
            "default_ulimits",
            "devices",
            "env",
            "env_host",
            "host_containers_internal_ip",
            "init",
            "interface_name",
            "ipcns",
            "keyring",
            "mounts",
            "no_hosts",
            "oom_score_adj",
            "pidns",
            "privileged",
            "seccomp_profile",
            "tz",
            "umask",
            "utsns",
            "volumes",
        ]
    ),
    "engine": frozenset({"cdi_spec_dirs", "env", "hooks_dir"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainersConf:
    """The merged content of an administrator's files."""

    text: bytes
    """A containers.conf with only the keys that remain the administrator's choice."""
    left_out: tuple[str, ...]
    """Ignored keys that decide the isolation of containers, as `table.key in FILE`, for people."""


class Configuration:
    """Writes the containers.conf of a private service."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where it is written if this user has no XDG_RUNTIME_DIR."""
        # Outside of the folder that is removed with the daemon: Podman cleans up after a container
        # without the daemon, too.
        self._folder = Path(os.environ.get("XDG_RUNTIME_DIR") or folder)
        self._reported: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Writes the file, and returns the environment that makes Podman read it and no other.
        Blocks.

        Raises RunnerUnavailableError.
        """
        found = settings(sources(os.environ))
        path = self._folder / f"claraedge-{hashlib.sha256(found.text).hexdigest()[:16]}.conf"
        try:
            files.replace(path, found.text)
        except OSError as error:
            raise RunnerUnavailableError(
                f"{path} cannot be written ({error.strerror}), and Podman's service needs it"
            ) from error
        if found.left_out != self._reported:
            self._reported = found.left_out
            _log.warning(
                "settings of containers.conf are not used for operators, as claraedge alone says"
                " what those are given: %s",
                "; ".join(found.left_out),
            )
        return {_VARIABLE: str(path), _LAST_VARIABLE: ""}


def warn_of_shared(socket: Path) -> None:
    """Logs settings that a service run by others may apply to operators. Blocks."""
    try:
        found = settings(sources(os.environ)).left_out
    except RunnerUnavailableError as error:
        _log.warning("%s", error)
        return
    if found:
        _log.warning(
            "the Podman at %s may give operators what settings of containers.conf say; take them"
            " out, or stop podman.socket, so that claraedge runs a service of its own: %s",
            socket,
            "; ".join(found),
        )


def sources(environment: Mapping[str, str]) -> Sequence[Path]:
    """Returns the files that Podman reads for this user, in ascending precedence. Blocks.

    As root of the whole machine or with another home, Podman reads other files: `environment` is
    that of Podman itself.
    """
    chosen = environment.get(_VARIABLE)
    last = environment.get(_LAST_VARIABLE)
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME') or Path.home()}/.config"
    rootless = _SYSTEM / "containers.rootless.conf"
    found: list[Path] = []
    if chosen:
        found.append(Path(chosen))
    else:
        found += [_VENDOR, *_with_drop_ins(_SYSTEM / "containers.conf")]
        found += _with_drop_ins(rootless)
        found += _drop_ins(Path(f"{rootless}.d", str(os.getuid())))
        found += _with_drop_ins(Path(home, _OWN))
    return [*found, *([Path(last)] if last else [])]


def settings(paths: Iterable[Path]) -> ContainersConf:
    """Reads and merges the files; missing ones are skipped. Blocks.

    Raises RunnerUnavailableError where one cannot be read: Podman does not start with it either.
    """
    merged: dict[str, dict[str, object]] = {}
    left_out = []
    for path in paths:
        for table, key, value in _entries(_read(path)):
            if _is_kept(table, key):
                into = merged.setdefault(table, {})
                into[key] = _merged(into.get(key), value)
            elif key in _DECIDING.get(table, ()) and path != _VENDOR:  # Podman's own values
                left_out.append(f"{table}.{key} in {path}")
    return ContainersConf(text=_written(merged), left_out=tuple(left_out))


def decides_resolvers(environment: Mapping[str, str]) -> bool:
    """Returns whether the administrator names the resolvers of containers, or moves the network
    that has slirp4netns' own one. Blocks. Raises RunnerUnavailableError.
    """
    chosen = tomllib.loads(settings(sources(environment)).text.decode())
    options = chosen.get("engine", {}).get("network_cmd_options", [])
    moved = any(str(option).startswith("cidr=") for option in options)
    return moved or bool(chosen.get("containers", {}).get("dns_servers"))


def _entries(tables: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    """Yields (table, key, value). Podman accepts the names of both in any case."""
    for table, values in tables.items():
        if isinstance(values, dict):
            for key, value in values.items():
                yield table.lower(), key.lower(), value


def _with_drop_ins(path: Path) -> list[Path]:
    return [path, *_drop_ins(Path(f"{path}.d"))]


def _drop_ins(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.name.endswith(".conf"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunnerUnavailableError(
            f"{folder} cannot be read ({error.strerror}), and Podman does not start without it;"
            " let this user read it"
        ) from error


def _read(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:  # invalid TOML or UTF-8
        reason = str(error)
    raise RunnerUnavailableError(
        f"{path} cannot be read: {reason}; correct that file of Podman's configuration"
    )


def _is_kept(table: str, key: str) -> bool:
    if table not in _KEPT:
        return False
    keys = _KEPT[table]
    return keys is None or key in keys


@dataclass(frozen=True, slots=True)
class _Array:
    items: list[object]
    appends: bool
    """Whether items of a later file are appended to these."""
    added: bool
    """Whether these are appended to Podman's built-in items."""


def _merged(before: object, value: object) -> object:
    """Merges a later value with an earlier one; tables are joined."""
    if isinstance(before, dict) and isinstance(value, dict):
        return {**before, **value}
    if not isinstance(value, list):
        return value
    said = [item["append"] for item in value if _is_marker(item)]
    items = [item for item in value if not _is_marker(item)]
    known = before if isinstance(before, _Array) else None
    if not (said[-1] if said else known and known.appends):
        return _Array(items, appends=False, added=False)
    if known is None:
        return _Array(items, appends=True, added=True)
    return _Array([*known.items, *items], appends=True, added=known.added)


def _is_marker(item: object) -> bool:
    """Whether it is `{append=true}` in an array, which Podman 4.7 and later accepts."""
    return isinstance(item, dict) and set(item) == {"append"}


def _written(tables: Mapping[str, Mapping[str, object]]) -> bytes:
    lines = ["# Written by claraedge from the containers.conf files of this machine."]
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{_text(key)} = {_value(value)}" for key, value in values.items()]
    return ("\n".join(lines) + "\n").encode()


def _value(value: object) -> str:
    """Formats a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, _Array):
        return _value([*value.items, *([{"append": True}] if value.added else [])])
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)} = {_value(v)}" for k, v in value.items()) + "}"
    return str(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
