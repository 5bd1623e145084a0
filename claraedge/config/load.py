"""Configuration: a TOML file, then `CLARAEDGE_*`, then flags; decoded into frozen structs.

Every mistake is found at once: an unknown key, a wrong type, a value out of its range. A key that
would have no effect does not exist.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from claraedge import texts
from claraedge.config import addresses, deployments, disk, engine, images, inbox, names
from claraedge.config.expected import is_path, wrong
from claraedge.config.images import CredentialSettings
from claraedge.config.inbox import TriggerSettings
from claraedge.config.model import Config
from claraedge.config.sections import Section
from claraedge.errors import ConfigurationError

#: Environment variables that set one value each.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "CLARAEDGE_STATE_DIR": ("state_dir",),
    "CLARAEDGE_RUNTIME_DIR": ("runtime_dir",),
    "CLARAEDGE_INBOX_DIR": ("inbox", "path"),
    "CLARAEDGE_OUTBOX_DIR": ("outbox", "path"),
    "CLARAEDGE_LOG_LEVEL": ("log", "level"),
    "CLARAEDGE_LOG_FORMAT": ("log", "format"),
}

#: Variables of the client and of the configuration's own place.
_OTHERS = frozenset(
    {
        *("CLARAEDGE_CONFIG", "CLARAEDGE_HOST", "CLARAEDGE_TOKEN"),
        *("CLARAEDGE_CA", "CLARAEDGE_CERTIFICATE", "CLARAEDGE_KEY"),
    }
)


def default_path(environment: Mapping[str, str]) -> Path:
    """Where the configuration lies if nothing says otherwise; systemd's own variable counts."""
    if folder := environment.get("CONFIGURATION_DIRECTORY"):
        return Path(folder) / "claraedge.toml"
    if os.geteuid() == 0:
        return Path("/etc/claraedge/claraedge.toml")
    return _home(environment, "XDG_CONFIG_HOME", ".config") / "claraedge/claraedge.toml"


def default_folders(environment: Mapping[str, str]) -> dict[str, str]:
    """State and runtime folder if nothing says otherwise; systemd's own variables count."""
    runtime = environment.get("RUNTIME_DIRECTORY") or ""
    state = environment.get("STATE_DIRECTORY") or ""
    if os.geteuid() == 0:
        return {
            "state_dir": state or "/var/lib/claraedge",
            "runtime_dir": runtime or "/run/claraedge",
        }
    user_runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return {
        "state_dir": state
        or str(_home(environment, "XDG_STATE_HOME", ".local/state") / "claraedge"),
        "runtime_dir": runtime or f"{user_runtime}/claraedge",
    }


def _home(environment: Mapping[str, str], variable: str, below: str) -> Path:
    value = environment.get(variable)
    return Path(value) if value else Path(environment.get("HOME", "/")) / below


def load_config(
    path: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]
) -> Config:
    """Returns the configuration.

    `path` None: `CLARAEDGE_CONFIG`, else the default place, where no file is no mistake. `flags`
    are dotted keys (`inbox.path`) and win over everything. Raises ConfigurationError, with one
    message for each mistake.
    """
    mistakes: list[str] = []
    tree: dict[str, Any] = dict(default_folders(environment))
    named = path or (
        Path(environment["CLARAEDGE_CONFIG"]) if "CLARAEDGE_CONFIG" in environment else None
    )
    source = named or default_path(environment)
    try:
        _merge(tree, tomllib.loads(texts.decode(source.read_bytes())))
    except FileNotFoundError:
        if named is not None:
            mistakes.append(f"{source}: no such file; create it, or leave --config out")
    except OSError as error:
        mistakes.append(
            f"{source}: cannot be read: {error.strerror or error}; let claraedge's user read it"
        )
    except texts.NotTextError as error:
        mistakes.append(f"{source}:{error.line}: {error}")
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{source}: not TOML: {error}{_cut(source)}")
    for variable, value in environment.items():
        if variable in VARIABLES:
            _put(tree, VARIABLES[variable], value)
        elif variable.startswith("CLARAEDGE_") and variable not in _OTHERS:
            close = get_close_matches(variable, [*VARIABLES, *_OTHERS], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            mistakes.append(f"{variable}: no such setting{hint}")
    for key, value in flags.items():
        _put(tree, tuple(key.split(".")), _written(value))
    found: list[str] = []
    config: Config | None = _decode(Config, tree, "", found)
    if config is not None:
        found += [
            *inbox.mistakes_of(config.inbox, config.inbox_dir),
            *names.mistakes_of(config.names),
            *_misplaced(config),
        ]
        found += [*images.mistakes_of(config.images), *disk.mistakes_of(config.disk)]
        found += deployments.mistakes_of(config.deployments)
        found += addresses.mistakes_of(config.api, config.http, config.tls)
        found += engine.mistakes_of(config.engine, config.inference)
    triggers = _folders_of_triggers(tree)
    mistakes += [
        _with_origin(_with_trigger(text, triggers), source, environment, flags) for text in found
    ]
    if mistakes or config is None:
        raise ConfigurationError(*mistakes)
    return config


def _cut(source: Path) -> str:
    """What a power cut leaves of a file that was just written."""
    if b"\0" not in source.read_bytes():
        return ""
    return "; it holds zero bytes, as after a power cut: write it again, or move it elsewhere"


def _written(value: str) -> Any:
    """What a flag gives: a text, or a list where it is written as one in TOML."""
    if not value.startswith("["):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _folders_of_triggers(tree: Mapping[str, Any]) -> list[str]:
    """Returns the folders of the triggers as the file has them, to show which trigger is meant."""
    section = tree.get("inbox")
    triggers = section.get("trigger") if isinstance(section, Mapping) else None
    if not isinstance(triggers, list):
        return []
    return [str(t.get("folder", "")) if isinstance(t, Mapping) else "" for t in triggers]


def _with_trigger(mistake: str, folders: Sequence[str]) -> str:
    """The mistake with the folder of the trigger that it is in."""
    found = re.match(r"inbox\.trigger\[(\d+)\]", mistake)
    folder = folders[int(found[1])] if found else ""
    return f"{mistake} (in the trigger for the folder {json.dumps(folder)})" if folder else mistake


def _with_origin(
    mistake: str, source: Path, environment: Mapping[str, str], flags: Mapping[str, str]
) -> str:
    """The mistake with what set the value: a flag, a variable, or the file."""
    for key in flags:
        if mistake.startswith(f"{key}:"):
            return f"{mistake} (given on the command line)"
    for variable, keys in VARIABLES.items():
        key = ".".join(keys)
        if variable in environment and key not in flags and mistake.startswith(f"{key}:"):
            return f"{variable} ({key}){mistake.removeprefix(key)}"
    return f"{source}: {mistake}" if source.exists() else mistake


#: Folders of the state that are the daemon's alone, and those that are given to users.
_OWN = (
    *("copies", "drops", "jobs", "models", "payloads", "removed", "restoring", "resumable"),
    *("services", "spool", "unknown", "uploads"),
)
_USERS = ("outbox.path", "outbox.failed", "outbox.originals", "pipelines.path", "images.path")


def _misplaced(config: Config) -> list[str]:
    """Folders that are not absolute, and ones that would feed the inbox with its own results."""
    folders = {
        "state_dir": config.state_dir,
        "runtime_dir": config.runtime_dir,
        "inbox.path": config.inbox_dir,
        "outbox.path": config.outbox_dir,
        "outbox.failed": config.failed_dir,
        "outbox.originals": config.originals_dir,
        "pipelines.path": config.pipelines_dir,
        "images.path": config.images_dir,
        "podman.socket": config.podman.socket,
        "tls.certificate": config.tls.certificate,
        "tls.key": config.tls.key,
        "tls.client_ca": config.tls.client_ca,
        "engine.shared_memory_dir": config.engine.shared_memory_dir,
    }
    mistakes = [
        f"{name}: {path} must be an absolute path"
        for name, path in folders.items()
        if path is not None and not path.is_absolute()
    ]
    mistakes += [
        f"{name}: {shown} is not UTF-8; use a folder with another name"
        for name, path in folders.items()
        if path is not None and (shown := texts.shown(str(path))) != str(path)
    ]
    sources = {"inbox.path": config.inbox_dir}
    for number, trigger in enumerate(config.inbox.trigger):
        sources[f"inbox.trigger[{number}].folder"] = config.inbox_dir / trigger.folder
    given = {**{name: folders[name] for name in _USERS}, **sources}
    for name, path in given.items():
        for own in (config.state_dir / one for one in _OWN):
            if path is not None and _real(path).is_relative_to(_real(own)):
                mistakes.append(
                    f"{name}: {path} lies in {own}, where claraedge keeps its own files and removes"
                    " what it does not know; choose a folder next to it"
                )
    for source_name, source in sources.items():
        for name in (
            "state_dir",
            "outbox.path",
            "outbox.failed",
            "outbox.originals",
            "pipelines.path",
            "images.path",
        ):
            target = folders[name]
            assert target is not None
            inside = _real(target).is_relative_to(_real(source))
            around = _real(source).is_relative_to(_real(target)) and name != "state_dir"
            if inside or around:
                mistakes.append(
                    f"{name}: {target} and {source_name} ({source}) lie in each other; what is put"
                    " there would be taken for a new item. Choose folders side by side"
                )
    return mistakes


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _merge(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: str) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            return  # the file has no table there, which _decode reports
        tree = below
    tree[keys[-1]] = value


def _elsewhere(key: str) -> list[str]:
    """Where a setting of this name is, when it stands in the wrong table."""
    found = []
    for field in msgspec.structs.fields(Config):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            names = {each.name for each in msgspec.structs.fields(field.type)}
            if key in names - {"path"}:
                found.append(f"{field.name}.{key}")
        elif key == field.name:
            found.append(key)
    return found


def _decode(kind: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    """Decodes a section key by key, so that one mistake does not hide the next."""
    if not isinstance(value, Mapping):
        mistakes.append(f"{where}: is a table of settings, not {value!r}")
        return None
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    decoded: dict[str, Any] = {}
    complete = True
    for key, item in value.items():
        place = f"{where}.{key}" if where else key
        if key not in fields:
            close = get_close_matches(key, fields, 1)
            elsewhere = _elsewhere(key)
            if elsewhere:
                hint = f"did you mean {' or '.join(elsewhere)}?"
            elif close:
                hint = f"did you mean {close[0]!r}?"
            else:
                hint = f"known are {', '.join(fields)}"
            mistakes.append(f"{place}: no such setting; {hint}")
            complete = False
            continue
        wanted = fields[key].type
        if isinstance(wanted, type) and issubclass(wanted, Section):
            decoded[key] = _decode(wanted, item, place, mistakes)
            complete = complete and decoded[key] is not None
        elif key == "trigger" and isinstance(item, list):
            triggers = [
                _decode(TriggerSettings, entry, f"{place}[{index}]", mistakes)
                for index, entry in enumerate(item)
            ]
            complete = complete and None not in triggers
            decoded[key] = tuple(triggers)
        elif key == "credentials" and isinstance(item, Mapping):
            credentials = {
                name: _decode(CredentialSettings, entry, f"{place}.{name}", mistakes)
                for name, entry in item.items()
            }
            complete = complete and None not in credentials.values()
            decoded[key] = credentials
        else:
            try:
                decoded[key] = msgspec.convert(
                    item, wanted, strict=not isinstance(item, str), dec_hook=is_path
                )
            except msgspec.ValidationError:
                mistakes.append(f"{place}: {wrong(item, wanted)}")
                complete = False
    for name, field in fields.items():
        if field.required and name not in value:
            mistakes.append(f"{where}.{name}: is missing".removeprefix("."))
            complete = False
    return kind(**decoded) if complete else None
