"""Where the value of each setting comes from, and what it does, for people who read them.

Values that may contain passwords are left out. `build/reference` writes `meanings.json` from the
docstrings of the settings.
"""

from __future__ import annotations

import enum
import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from claraedge import texts
from claraedge.config.load import VARIABLES, default_folders, default_path
from claraedge.config.model import Config
from claraedge.config.sections import Section
from claraedge.decoding import decode_json

#: Settings whose values may contain passwords.
SECRET = frozenset({"deployments.variables"})
#: Lines of one value beyond which the lines of the file are not known.
_LONGEST = 100


class OriginKind(enum.Enum):
    """What sets the value of a setting."""

    DEFAULT = "default"
    FILE = "file"
    VARIABLE = "variable"
    OPTION = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingOrigin:
    """Where a value comes from."""

    kind: OriginKind = OriginKind.DEFAULT
    place: str = ""
    """Path of the file, or name of the variable; else empty."""
    line: int = 0
    """Line of the file, from 1; 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingValue:
    """A setting as it applies."""

    section: str
    """As in messages: `http`, `inbox.trigger[0]`; empty: outside of sections."""
    name: str
    value: str
    """As TOML; empty: it has none, or it is secret."""
    is_default: bool
    origin: SettingOrigin
    meaning: str
    """Markdown."""
    secret: bool
    """Whether it has a value that is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """What a configuration was made from. Without arguments: from nothing but defaults."""

    file: str = ""
    """Absolute path of the configuration file; empty: there is none."""
    text: str = ""
    """The content of the file."""
    variables: frozenset[str] = frozenset()
    """The environment variables that set something."""
    flags: frozenset[str] = frozenset()
    """Keys that the command line sets."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """The default of each folder whose default depends on the environment."""

    def of(self, key: str, lines: Mapping[str, int]) -> SettingOrigin:
        """Returns where the value of a key comes from; `lines`: those of the file."""
        if any(_meets(flag, key) for flag in self.flags):
            return SettingOrigin(kind=OriginKind.OPTION)
        for variable in self.variables:
            if ".".join(VARIABLES[variable]) == key:
                return SettingOrigin(kind=OriginKind.VARIABLE, place=variable)
        found = [line for at, line in lines.items() if at == key or _is_below(at, key)]
        if found:
            return SettingOrigin(kind=OriginKind.FILE, place=self.file, line=min(found))
        return SettingOrigin()


def origins(path: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]) -> Origins:
    """Returns what `load_config` makes its configuration from. Call it with the same arguments."""
    source = path or Path(environment.get("CLARAEDGE_CONFIG") or default_path(environment))
    try:
        text = texts.decode(source.read_bytes())
    except (OSError, texts.NotTextError):
        text = ""
    return Origins(
        file=texts.shown(str(source.absolute())),
        text=text,
        variables=frozenset(VARIABLES.keys() & environment.keys()),
        flags=frozenset(flags),
        folders=default_folders(environment),
    )


def settings(config: Config, origins: Origins) -> list[SettingValue]:
    """Returns all settings in their order. Reads a file of the program."""
    meanings = decode_json(
        files("claraedge.config").joinpath("meanings.json").read_bytes(), dict[str, str]
    )
    lines = lines_of(origins.text)
    effective = _effective(config)
    found = []
    for key, section, name, general, value, default in _fields(config, "", "", origins.folders):
        secret = key in SECRET and bool(value)
        shown = effective.get(key) if value is None else value
        found.append(
            SettingValue(
                section=section,
                name=name,
                value="" if secret or shown is None else texts.shown(_toml(shown)),
                is_default=value == default,
                origin=origins.of(key, lines),
                meaning=meanings.get(general, ""),
                secret=secret,
            )
        )
    return found


def lines_of(text: str) -> dict[str, int]:
    """Returns key -> line of each value and each table of a valid TOML file.

    Lines behind a value of very many lines are left out.
    """
    found: dict[str, int] = {}
    counts: Counter[str] = Counter()
    table, statement, begin = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            tree = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:  # its value continues in the next line
            if number - begin >= _LONGEST:
                break
            continue
        is_header = statement.lstrip().startswith("[")
        statement, at, begin = "", begin, number + 1
        if is_header:
            table, is_list = _header(tree, counts)
            if is_list:
                counts[table] += 1
                table = f"{table}[{counts[table] - 1}]"
            found.setdefault(table, at)
        else:
            for key in _leaves(tree, table):
                found.setdefault(key, at)
    return found


def _header(tree: Any, counts: Mapping[str, int]) -> tuple[str, bool]:
    """Returns the key of a table's header, and whether it adds an entry to a list of tables."""
    key = ""
    while isinstance(tree, dict) and tree:
        if counts.get(key):
            key = f"{key}[{counts[key] - 1}]"
        ((name, tree),) = tree.items()
        key = f"{key}.{name}" if key else name
    return key, isinstance(tree, list)


def _leaves(value: Any, key: str) -> Iterator[str]:
    """Yields the keys of all values of a tree."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{key}[{number}]")
    elif key:
        yield key


def _fields(
    section: Section, at: str, general: str, folders: Mapping[str, str]
) -> Iterator[tuple[str, str, str, str, Any, Any]]:
    """Yields key, section, name, key of the meaning, value and default of each setting."""
    for each in msgspec.structs.fields(type(section)):
        name, value = each.name, getattr(section, each.name)
        key = f"{at}.{name}" if at else name
        below = f"{general}.{name}" if general else name
        if isinstance(value, Section):
            yield from _fields(value, key, below, folders)
        elif below == "inbox.trigger":
            for number, trigger in enumerate(value):
                yield from _fields(trigger, f"{key}[{number}]", below, folders)
        elif below == "images.credentials":
            for who, credential in value.items():
                yield from _fields(credential, f"{key}.{who}", f"{below}.NAME", folders)
        else:
            default = each.default
            if each.default_factory is not msgspec.NODEFAULT:
                default = each.default_factory()
            elif key in folders:
                default = Path(folders[key])
            yield key, at, name, below, value, default


def _effective(config: Config) -> Mapping[str, Path]:
    """Returns the folders that apply where the configuration says nothing."""
    return {
        "inbox.path": config.inbox_dir,
        "outbox.path": config.outbox_dir,
        "outbox.failed": config.failed_dir,
        "outbox.originals": config.originals_dir,
        "pipelines.path": config.pipelines_dir,
        "deployments.volumes": config.volumes_dir,
        "images.path": config.images_dir,
    }


def _toml(value: Any) -> str:
    match value:
        case Path():
            return json.dumps(str(value), ensure_ascii=False)
        case dict():
            pairs = (f"{json.dumps(k, ensure_ascii=False)} = {_toml(v)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _meets(one: str, other: str) -> bool:
    """Whether two keys are the same, or one is part of the other."""
    return one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(key: str, other: str) -> bool:
    return key.startswith((f"{other}.", f"{other}["))
