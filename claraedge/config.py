"""Configuration: a TOML file, then `CLARAEDGE_*`, then flags; decoded into frozen structs.

Every mistake is found at once: an unknown key, a wrong type, a value out of its range. A key that
would have no effect does not exist.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec

from claraedge.errors import ConfigurationError
from claraedge.inbox_config import Inbox, Trigger, mistakes_of
from claraedge.sections import Count, Days, Megabytes, Seconds, Section, Text


class Outbox(Section, frozen=True, kw_only=True):
    """`[outbox]`."""

    path: Path | None = None
    """Default: `<state>/outbox`."""
    failed: Path | None = None
    """Default: `<state>/failed`."""
    originals: Path | None = None
    """Default: `<state>/originals`."""
    all_jobs: bool = False
    """Deliver the results of jobs that came over the API as well."""
    keep_days: Days | None = None
    """How long results are kept. Default: until somebody takes them away."""
    failed_keep_days: Days | None = None
    """The same of failures, with the originals in them."""
    originals_keep_days: Days | None = None
    """The same of originals; 0: they go once their results are delivered. A trigger may say
    otherwise."""
    wait_for_mounts: bool = True
    """Nothing is put into a folder whose disk was there once and is not mounted now."""


class PipelineFiles(Section, frozen=True, kw_only=True):
    """`[pipelines]`."""

    path: Path | None = None
    """The files that lie in this folder are pipelines. Default: `<state>/pipelines.d`."""


class Engine(Section, frozen=True, kw_only=True):
    """`[engine]`."""

    max_operators: Count | None = None
    """Operators that run at once. Default: twice the cores."""
    grace_seconds: Seconds = 15.0
    """Between TERM and KILL."""
    timeout_seconds: Seconds = 600.0
    """How long the operators of a job may run, where its pipeline says nothing."""
    timeout_max_seconds: Annotated[float, msgspec.Meta(gt=0, le=7 * 86400)] = 1800.0
    """How long they may run whatever its pipeline says."""
    cdi_kind: Text = "nvidia.com/gpu"
    """The CDI kind whose devices are this device's GPUs."""
    visible_devices: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x20]+$")] = "void"
    """NVIDIA_VISIBLE_DEVICES in containers that have a GPU, where the CDI spec does not set it. All
    other containers have `void`."""
    gpu_memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None
    """Memory of each GPU that operators share. Default: what the driver says."""
    requests_profile: Annotated[str, msgspec.Meta(pattern=r"^0\.[78]$")] = "0.8"
    """What an operator's `requests` mean: as in Clara 0.8, where memory is a limit (1024 MB if it
    is not written), or as in Clara 0.7, where it is a minimum (512 MB) and no limit is set."""
    operator_log_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 64
    """How much is kept of what one attempt of an operator prints: the first half and the last."""
    shared_memory_dir: Path = Path("/dev/shm")  # noqa: S108 names in it are ours alone
    """A folder on a tmpfs, for operators' values in shared memory."""


class Services(Section, frozen=True, kw_only=True):
    """`[services]`: services of pipelines."""

    idle_seconds: Seconds = 300.0
    """One that no job uses ends after so long."""
    start_seconds: Seconds = 120.0
    """The longest from its start until it takes connections."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """How often, within ten minutes, one that ends while jobs use it is started again."""


class Inference(Section, frozen=True, kw_only=True):
    """`[inference]`: the server that holds the models of operators ready."""

    image: Text = "nvcr.io/nvidia/tritonserver:24.08-py3"
    command: tuple[str, ...] = (
        "tritonserver",
        "--model-repository=/models",
        "--model-control-mode=explicit",
    )
    """Arguments of the image's entry point. The models lie at /models, read-only."""
    http_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    grpc_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8001
    """Where it listens; operators are told these."""
    gpus: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    """GPUs that it gets, where the device has so many; else those that there are."""
    memory: Megabytes | None = None
    """Its limit in megabytes. Default: none."""
    shared_memory: Megabytes = 1024
    """Megabytes of its /dev/shm."""
    model_limit: Count = 8
    """Models that it holds at once."""
    idle_seconds: Seconds = 300.0
    """It ends, and gives its GPU back, when no job has used it for so long."""
    start_seconds: Seconds = 120.0
    """The longest from its start until it is ready."""
    load_seconds: Seconds = 300.0
    """The longest that loading one model takes."""
    restarts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """How often, within ten minutes, it is started again when it ends while jobs use it."""


class Disk(Section, frozen=True, kw_only=True):
    """`[disk]`: what must stay free on the disks of the state, of the inbox and of Podman."""

    soft_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 20.0
    soft_mb: Megabytes = 10240
    """Soft limit: below the smaller of both nothing new is taken, started or uploaded, and the
    oldest payloads of stopped jobs are removed."""
    hard_mb: Megabytes = 1024
    """Hard limit: below it running jobs are evicted. On small disks half the soft limit."""


_Age = Annotated[float, msgspec.Meta(gt=0, le=36500)]


class Retention(Section, frozen=True, kw_only=True):
    """`[retention]`: how long what stopped jobs leave is kept. Undelivered results always are."""

    payload_days: _Age = 30.0
    payload_count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    payload_mb: Megabytes | None = None
    """Payloads: inputs, outputs, failed attempts. Default: as many as the disk's limits allow."""
    undelivered_hours: Annotated[float, msgspec.Meta(ge=0, le=87600)] = 1.0
    """Results that only an API client can fetch stay so long, however full the disk is."""
    log_days: _Age = 90.0
    log_mb: Megabytes = 1024
    """Logs of operators."""
    job_days: _Age = 365.0
    job_count: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """The jobs themselves, with all that is left of them."""


class Jobs(Section, frozen=True, kw_only=True):
    """`[jobs]`."""

    unstarted_after_hours: Annotated[float, msgspec.Meta(gt=0, le=87600)] = 24.0
    """A job that is not started for so long is removed with its payload."""


class Api(Section, frozen=True, kw_only=True):
    """`[api]`."""

    listen: tuple[Text, ...] = ()
    """Further addresses, `127.0.0.1:PORT` or `[::1]:PORT`: anyone on the machine may call them."""
    unary_seconds: Seconds = 600.0
    """The longest that a call with one request and one answer takes."""
    idle_seconds: Seconds = 300.0
    """The longest that a stream waits for its client."""


class Gpu(Section, frozen=True, kw_only=True):
    """`[gpu]`."""

    interval_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 2.0
    """Between two messages of a utilization watch, and of node_monitor.Monitor/GpuMetrics."""


class Podman(Section, frozen=True, kw_only=True):
    """`[podman]`."""

    socket: Path | None = None
    """A Podman API socket to use. Default: the user's own, else a service that the daemon runs."""


class Credential(Section, frozen=True, kw_only=True):
    """`[images.credentials.NAME]`: what the pull secret NAME of a pipeline stands for."""

    registry: Text
    """The registry's host, with its port where it has one."""
    username: Text
    password_file: Path
    """Read at each pull; no other user may read it."""


class Images(Section, frozen=True, kw_only=True):
    """`[images]`."""

    registries: tuple[Text, ...] = ()
    """Where an image's name without a host is looked for, in order: `HOST[:PORT][/PATH]`."""
    pull: Annotated[str, msgspec.Meta(pattern="^(never|missing)$")] = "never"
    """missing: an image that is not on this device is pulled from its registry."""
    pull_seconds: Seconds | None = None
    """The longest that one pull takes. Default: 1800."""
    insecure_registries: tuple[Text, ...] = ()
    """Hosts that are asked over plain HTTP, or without a look at their certificate."""
    path: Path | None = None
    """Archives that are put into this folder are loaded. Default: `<state>/images.d`."""
    credentials: dict[str, Credential] = msgspec.field(default_factory=dict)


class Log(Section, frozen=True, kw_only=True):
    """`[log]`."""

    level: Annotated[str, msgspec.Meta(pattern="^(debug|info|warning|error)$")] = "info"
    format: Annotated[str, msgspec.Meta(pattern="^(auto|text|json|journal)$")] = "auto"
    """auto: text on a terminal, journal where systemd reads it, else json."""


class Config(Section, frozen=True, kw_only=True):
    """All of it."""

    state_dir: Path
    runtime_dir: Path
    api: Api = Api()
    inbox: Inbox = Inbox()
    outbox: Outbox = Outbox()
    pipelines: PipelineFiles = PipelineFiles()
    engine: Engine = Engine()
    services: Services = Services()
    inference: Inference = Inference()
    jobs: Jobs = Jobs()
    disk: Disk = Disk()
    retention: Retention = Retention()
    gpu: Gpu = Gpu()
    podman: Podman = Podman()
    images: Images = Images()
    log: Log = Log()

    @property
    def socket(self) -> Path:
        return self.runtime_dir / "claraedge.sock"

    @property
    def inbox_dir(self) -> Path:
        return self.inbox.path or self.state_dir / "inbox"

    @property
    def outbox_dir(self) -> Path:
        return self.outbox.path or self.state_dir / "outbox"

    @property
    def failed_dir(self) -> Path:
        return self.outbox.failed or self.state_dir / "failed"

    @property
    def originals_dir(self) -> Path:
        return self.outbox.originals or self.state_dir / "originals"

    @property
    def pipelines_dir(self) -> Path:
        return self.pipelines.path or self.state_dir / "pipelines.d"

    @property
    def images_dir(self) -> Path:
        return self.images.path or self.state_dir / "images.d"


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
_OTHERS = frozenset({"CLARAEDGE_CONFIG", "CLARAEDGE_HOST"})


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
    """The configuration, or ConfigurationError with one message for each mistake.

    `path` None: `CLARAEDGE_CONFIG`, else the default place, where no file is no mistake. `flags`
    are dotted keys (`inbox.path`) and win over everything.
    """
    mistakes: list[str] = []
    tree: dict[str, Any] = dict(default_folders(environment))
    named = path or (
        Path(environment["CLARAEDGE_CONFIG"]) if "CLARAEDGE_CONFIG" in environment else None
    )
    source = named or default_path(environment)
    try:
        _merge(tree, tomllib.loads(source.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if named is not None:
            mistakes.append(f"{source}: no such file; create it, or leave --config out")
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(f"{source}: cannot be read: {error}")
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{source}: not TOML: {error}")
    for variable, value in environment.items():
        if variable in VARIABLES:
            _put(tree, VARIABLES[variable], value)
        elif variable.startswith("CLARAEDGE_") and variable not in _OTHERS:
            close = get_close_matches(variable, [*VARIABLES, *_OTHERS], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            mistakes.append(f"{variable}: no such setting{hint}")
    for key, value in flags.items():
        _put(tree, tuple(key.split(".")), value)
    found: list[str] = []
    config: Config | None = _decode(Config, tree, "", found)
    if config is not None:
        found += [*mistakes_of(config.inbox, config.inbox_dir), *_misplaced(config)]
        found += [*_unusable_sources(config.images), *_without_effect(config.disk)]
    mistakes += [_with_origin(text, environment, flags) for text in found]
    if mistakes or config is None:
        raise ConfigurationError(*mistakes)
    return config


def _with_origin(mistake: str, environment: Mapping[str, str], flags: Mapping[str, str]) -> str:
    """The mistake with the variable that set the value, where it was one."""
    for variable, keys in VARIABLES.items():
        key = ".".join(keys)
        if variable in environment and key not in flags and mistake.startswith(f"{key}:"):
            return f"{variable} ({key}){mistake.removeprefix(key)}"
    return mistake


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
        "engine.shared_memory_dir": config.engine.shared_memory_dir,
    }
    mistakes = [
        f"{name}: {path} must be an absolute path"
        for name, path in folders.items()
        if path is not None and not path.is_absolute()
    ]
    sources = {"inbox.path": config.inbox_dir}
    for number, trigger in enumerate(config.inbox.trigger):
        sources[f"inbox.trigger[{number}].folder"] = config.inbox_dir / trigger.folder
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


def _without_effect(disk: Disk) -> list[str]:
    if 2 * disk.hard_mb <= disk.soft_mb:
        return []
    return [
        f"disk.hard_mb: {disk.hard_mb} is more than half of disk.soft_mb ({disk.soft_mb}), and so"
        " much is never asked for; lower it, or raise disk.soft_mb"
    ]


_HOST = r"(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+|[a-z0-9-]+(?=:)|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
_PREFIX = rf"{_HOST}(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"


def _unusable_sources(images: Images) -> list[str]:
    """Registries that no image can come from, and settings for pulls where nothing is pulled."""
    mistakes = [
        f"images.registries: {prefix!r} is no registry; write HOST, HOST:PORT or HOST/PATH in"
        " lower case, as nvcr.io/nvidia"
        for prefix in images.registries
        if not re.fullmatch(_PREFIX, prefix)
    ]
    if len(set(images.registries)) != len(images.registries):
        mistakes.append("images.registries: names a registry twice; once is enough")
    hosts = {"images.insecure_registries": images.insecure_registries}
    for name, credential in images.credentials.items():
        place = f"images.credentials.{name}"
        hosts[f"{place}.registry"] = (credential.registry,)
        if not credential.password_file.is_absolute():
            mistakes.append(
                f"{place}.password_file: {credential.password_file} must be an absolute path"
            )
        if ":" in credential.username:
            mistakes.append(f"{place}.username: may hold no colon: registries split at it")
    mistakes += [
        f"{place}: {host!r} is no registry's host; write HOST or HOST:PORT in lower case"
        for place, named in hosts.items()
        for host in named
        if not re.fullmatch(_HOST, host)
    ]
    folded = [name.casefold() for name in images.credentials]
    if len(set(folded)) != len(folded):
        mistakes.append("images.credentials: two names differ by case alone; rename one")
    for name in ("pull_seconds", "insecure_registries", "credentials"):
        if images.pull == "never" and getattr(images, name):
            mistakes.append(
                f"images.{name}: has no effect, because nothing is pulled; set"
                ' images.pull = "missing", or take it out'
            )
    return mistakes


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _path(kind: type, value: object) -> Path:
    if kind is not Path or not isinstance(value, str) or not value:
        raise msgspec.ValidationError(f"Expected a path, got {value!r}")
    return Path(value)


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
            return  # the file has no table there, and is told so
        tree = below
    tree[keys[-1]] = value


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
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(fields)}"
            mistakes.append(f"{place}: no such setting{hint}")
            complete = False
            continue
        wanted = fields[key].type
        if isinstance(wanted, type) and issubclass(wanted, Section):
            decoded[key] = _decode(wanted, item, place, mistakes)
            complete = complete and decoded[key] is not None
        elif key == "trigger" and isinstance(item, list):
            triggers = [
                _decode(Trigger, entry, f"{place}[{index}]", mistakes)
                for index, entry in enumerate(item)
            ]
            complete = complete and None not in triggers
            decoded[key] = tuple(triggers)
        elif key == "credentials" and isinstance(item, Mapping):
            credentials = {
                name: _decode(Credential, entry, f"{place}.{name}", mistakes)
                for name, entry in item.items()
            }
            complete = complete and None not in credentials.values()
            decoded[key] = credentials
        else:
            try:
                decoded[key] = msgspec.convert(
                    item, wanted, strict=not isinstance(item, str), dec_hook=_path
                )
            except msgspec.ValidationError as error:
                mistakes.append(f"{place}: {error}")
                complete = False
    for name, field in fields.items():
        if field.required and name not in value:
            mistakes.append(f"{where}.{name}: is missing".removeprefix("."))
            complete = False
    return kind(**decoded) if complete else None
