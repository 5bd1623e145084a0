"""Where settings come from, who wins, and how mistakes are reported: all of them at once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from claraedge.config import VARIABLES, Config, default_folders, default_path, load_config
from claraedge.config.expected import wrong
from claraedge.config.images import CredentialSettings
from claraedge.config.inbox import TriggerSettings
from claraedge.config.sections import Section
from claraedge.errors import ConfigurationError

HOME = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"}


@pytest.fixture(autouse=True)
def _ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "claraedge.toml"


def load(file: Path | None, text: str | None = None, **more: Any) -> Config:
    if file is not None and text is not None:
        file.write_text(text, encoding="utf-8")
    return load_config(file, {**HOME, **more.get("environment", {})}, more.get("flags", {}))


def mistakes(file: Path | None, text: str | None = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(file, text, **more)
    return [text.removeprefix(f"{file}: ") for text in caught.value.messages]


def test_without_a_file_everything_has_a_default() -> None:
    config = load(None)
    assert config.state_dir == Path("/home/u/.local/state/claraedge")
    assert config.socket == Path("/run/user/1000/claraedge/claraedge.sock")
    assert config.inbox_dir == config.state_dir / "inbox"
    assert config.failed_dir == config.state_dir / "failed"


@pytest.mark.parametrize(
    ("uid", "environment", "state", "runtime", "file"),
    [
        (
            1000,
            {
                "HOME": "/h",
                "XDG_STATE_HOME": "/s",
                "XDG_RUNTIME_DIR": "/r",
                "XDG_CONFIG_HOME": "/c",
            },
            "/s/claraedge",
            "/r/claraedge",
            "/c/claraedge/claraedge.toml",
        ),
        (
            1000,
            {"HOME": "/h"},
            "/h/.local/state/claraedge",
            "/run/user/1000/claraedge",
            "/h/.config/claraedge/claraedge.toml",
        ),
        (
            1000,
            {
                "HOME": "/h",
                "STATE_DIRECTORY": "/var/lib/claraedge",
                "RUNTIME_DIRECTORY": "/run/claraedge",
                "CONFIGURATION_DIRECTORY": "/etc/claraedge",
            },
            "/var/lib/claraedge",
            "/run/claraedge",
            "/etc/claraedge/claraedge.toml",
        ),
        (0, {}, "/var/lib/claraedge", "/run/claraedge", "/etc/claraedge/claraedge.toml"),
    ],
)
def test_the_places_where_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    environment: dict[str, str],
    state: str,
    runtime: str,
    file: str,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert default_folders(environment) == {"state_dir": state, "runtime_dir": runtime}
    assert default_path(environment) == Path(file)


def test_a_file_sets_what_it_names_and_no_more(file: Path) -> None:
    config = load(
        file,
        """
        state_dir = "/data/claraedge"
        [inbox]
        path = "/data/in"
        settle_seconds = 2
        [[inbox.trigger]]
        folder = "ct"
        pipeline = "ct-report"
        deliver = ["slice", "tags/json"]
        [engine]
        max_operators = 3
        """,
    )
    assert (config.inbox_dir, config.outbox_dir) == (
        Path("/data/in"),
        Path("/data/claraedge/outbox"),
    )
    assert (config.inbox.settle_seconds, config.inbox.rescan_seconds) == (2.0, 30.0)
    assert (config.engine.max_operators, config.engine.grace_seconds) == (3, 15.0)
    (trigger,) = config.inbox.trigger
    assert (trigger.folder, trigger.pipeline, trigger.deliver) == (
        "ct",
        "ct-report",
        ("slice", "tags/json"),
    )


def test_variables_win_over_the_file_and_flags_over_both(file: Path) -> None:
    text = '[log]\nlevel = "debug"\nformat = "json"\n[inbox]\npath = "/f"\n'
    environment = {"CLARAEDGE_LOG_LEVEL": "warning", "CLARAEDGE_INBOX_DIR": "/e"}
    config = load(file, text, environment=environment, flags={"inbox.path": "/x"})
    assert (config.log.level, config.log.format) == ("warning", "json")
    assert config.inbox_dir == Path("/x")


def test_a_flag_may_give_a_list(file: Path) -> None:
    flags = {"api.listen": '["127.0.0.1:1", "[::1]:2"]', "images.registries": "[]"}
    config = load(file, "", flags=flags)
    assert config.api.listen == ("127.0.0.1:1", "[::1]:2")
    assert config.images.registries == ()


def test_every_variable_sets_its_value() -> None:
    values = {
        "CLARAEDGE_STATE_DIR": "/v/state",
        "CLARAEDGE_RUNTIME_DIR": "/v/run",
        "CLARAEDGE_INBOX_DIR": "/v/in",
        "CLARAEDGE_OUTBOX_DIR": "/v/out",
        "CLARAEDGE_LOG_LEVEL": "error",
        "CLARAEDGE_LOG_FORMAT": "text",
    }
    assert values.keys() == VARIABLES.keys()
    config = load(None, environment=values)
    assert [str(config.state_dir), str(config.runtime_dir)] == ["/v/state", "/v/run"]
    assert [str(config.inbox_dir), str(config.outbox_dir)] == ["/v/in", "/v/out"]
    assert (config.log.level, config.log.format) == ("error", "text")


def test_the_file_may_be_named_by_a_variable(file: Path) -> None:
    file.write_text('[log]\nlevel = "debug"\n', encoding="utf-8")
    assert load(None, environment={"CLARAEDGE_CONFIG": str(file)}).log.level == "debug"


def test_variables_of_the_client_are_no_mistake() -> None:
    load(None, environment={"CLARAEDGE_HOST": "unix:/x", "PATH": "/bin"})


def test_all_mistakes_are_reported_at_once(file: Path) -> None:
    text = """
    stat_dir = "/x"
    [inbox]
    settle_second = 3
    rescan_seconds = 0
    path = ""
    [[inbox.trigger]]
    folder = "a"
    [[inbox.trigger]]
    folder = "b"
    pipeline = ""
    [engine]
    max_operators = true
    grace_seconds = "soon"
    [log]
    level = "loud"
    """
    found = mistakes(file, text, environment={"CLARAEDGE_LOG_LEVL": "info"})
    wanted = [
        r"^CLARAEDGE_LOG_LEVL: no such setting; did you mean CLARAEDGE_LOG_LEVEL\?",
        r"^stat_dir: no such setting; did you mean 'state_dir'\?",
        r"^inbox\.settle_second: no such setting; did you mean 'settle_seconds'\?",
        r"^inbox\.rescan_seconds: 0 is not a number of more than 0 and at most 86400$",
        r"^inbox\.path: ",
        r"^inbox\.trigger\[0\]\.pipeline: is missing \(in the trigger for the folder \"a\"\)$",
        r"^inbox\.trigger\[1\]\.pipeline: \"\" is not a text that is not empty .*folder \"b\"\)$",
        r"^engine\.max_operators: true is not a whole number of at least 1 and at most 1024$",
        r"^engine\.grace_seconds: \"soon\" is not a number of more than 0",
        r"^log\.level: \"loud\" is not one of \"debug\", \"error\", \"info\", \"warning\"$",
    ]
    for pattern in wanted:
        assert any(re.search(pattern, text) for text in found), (pattern, found)
    assert len(found) == len(wanted)


def test_the_error_for_a_setting_that_resembles_none_lists_all(file: Path) -> None:
    (text,) = mistakes(file, "[log]\nqqqq = 1\n")
    assert text == "log.qqqq: no such setting; known are level, format"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = [", "not TOML"),
        (
            '[[inbox.trigger]]\nfolder = "ct"\npipeline = "p"\ngrouping = "folders"',
            r'^inbox\.trigger\[0\]\.grouping: "folders" is not one of "dicom-series",'
            r' "dicom-study", "entry", "file", "folder", "marker", "quiet"; did you mean "folder"\?'
            r' \(in the trigger for the folder "ct"\)$',
        ),
        ("[jobs]\ntimeout_seconds = 3", r"jobs\.timeout_seconds: .*mean engine.timeout_seconds\?$"),
        ("idle_seconds = 3", "mean api.idle_seconds or services.idle_seconds or inference"),
        ("[api]\nlisten = [3]", r"api\.listen: \[3\] is not a list, each entry of it a text"),
        ('[api]\nlisten = ["0.0.0.0:3000"]', r"^api\.listen: .*0.0.0.0:3000.*set tls.certificate"),
        ('[http]\nlisten = ["10.0.0.1:3000"]', r"^http\.listen: .*10.0.0.1:3000.*tls.certificate"),
        ('[http]\nlisten = ["[::]:3000"]', r"^http\.listen: .*set tls.certificate and tls.key"),
        ('[api]\nlisten = ["127.0.0.1:22x"]', r"^api\.listen: '127.0.0.1:22x' is not ADDRESS:PORT"),
        ('[api]\nlisten = ["localhost:30031"]', r"^api\.listen: .* is not ADDRESS:PORT; write"),
        ('[http]\nlisten = ["127.0.0.1:0"]', r"^http\.listen: .* is not ADDRESS:PORT; write"),
        ('[http]\nlisten = ["::1:30032"]', r"^http\.listen: .* is not ADDRESS:PORT; write"),
        ('[http]\nlisten = ["[127.0.0.1]:1"]', r"^http\.listen: .* is not ADDRESS:PORT; write"),
        ('[http]\nlisten = ["127.0.0.1:1"]\nenabled = false', "http.listen: has no effect"),
        ('[http]\nhosts = ["https://device"]', r"^http\.hosts: 'https://device' is no name"),
        ('[http]\nhosts = ["device:8443"]', r"^http\.hosts: 'device:8443' is no name"),
        ('[http]\nhosts = ["*.example.org"]', r"^http\.hosts: .* is no name"),
        ('[tls]\ncertificate = "/c"', r"^tls\.certificate: has no effect without tls\.key"),
        ('[tls]\nkey = "/k"', r"^tls\.key: has no effect without tls\.certificate"),
        ('[tls]\nclient_ca = "/a"', r"^tls\.client_ca: has no effect without"),
        ('[tls]\ncertificate = "c"\nkey = "/k"', r"^tls\.certificate: c must be an absolute path"),
        (
            '[http]\nlisten = ["127.0.0.1:1"]\n[api]\nlisten = ["127.0.0.1:1"]',
            r"^http\.listen: 127.0.0.1:1 is in api\.listen as well",
        ),
        ('[api]\nlisten = ["[::1]:1", "[::1]:1"]', "names an address twice"),
        ("[engine]\ntimeout_seconds = 3600", "no effect beyond timeout_max_seconds, which is 1800"),
        ("[inference]\nhttp_port = 8001", "grpc_port: 8001 is the http_port as well"),
        ("[disk]\nsoft_mb = 1.5", "1.5 is not a whole number of at least 1 and at most 16777216$"),
        ("inbox = 3", "inbox: is a table of settings, not 3"),
        ("[inbox]\ntrigger = [3]", r"inbox\.trigger\[0\]: is a table"),
        ("[inbox]\ntrigger = 3", r"inbox\.trigger: 3 is not a list, each entry of it a table"),
        ('[outbox]\nall_jobs = "perhaps"', r"outbox\.all_jobs: "),
        ("[inbox]\nsettle_seconds = nan", r"inbox\.settle_seconds: "),
        ("[inbox]\nsettle_seconds = inf", r"inbox\.settle_seconds: "),
        ("[engine]\nmax_operators = 1.5", r"engine\.max_operators: "),
    ],
)
def test_wrong_forms(file: Path, text: str, says: str) -> None:
    (found,) = mistakes(file, text)
    assert re.search(says, found), found


def test_a_mistake_names_what_it_was_read_from(file: Path) -> None:
    file.write_text("[log]\nqqqq = 1\n[engine]\nmax_operators = 0\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(file, HOME | {"CLARAEDGE_LOG_LEVEL": "loud"}, {"gpu.interval_seconds": "x"})
    assert [text.partition(": ")[0] for text in caught.value.messages] == [
        str(file),
        "CLARAEDGE_LOG_LEVEL (log.level)",
        str(file),
        "gpu.interval_seconds",
    ]
    assert caught.value.messages[-1].endswith("(given on the command line)")


@pytest.mark.parametrize("section", [*(f.name for f in msgspec.structs.fields(Config)), "trigger"])
def test_each_setting_has_words_for_what_it_may_be(section: str) -> None:
    kinds = {f.name: f.type for f in msgspec.structs.fields(Config)} | {"trigger": TriggerSettings}
    kind = kinds[section]
    fields = msgspec.structs.fields(kind) if issubclass(kind, Section) else []
    for field in fields:
        assert wrong(object, field.type)


def test_a_value_where_a_variable_needs_a_table_is_reported(file: Path) -> None:
    found = mistakes(file, "inbox = 3", environment={"CLARAEDGE_INBOX_DIR": "/x"})
    assert found == ["inbox: is a table of settings, not 3"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLARAEDGE_STATE_DIR", ""),
        ("CLARAEDGE_STATE_DIR", "relative/state"),
        ("CLARAEDGE_INBOX_DIR", "in"),
        ("CLARAEDGE_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(variable: str, value: str) -> None:
    found = mistakes(None, environment={variable: value})
    key = ".".join(VARIABLES[variable])
    assert found[0].startswith(f"{variable} ({key}): ")


@pytest.mark.parametrize(
    "text",
    [
        'state_dir = "state"',
        'runtime_dir = "run"',
        '[inbox]\npath = "in"',
        '[outbox]\npath = "out"',
        '[outbox]\nfailed = "failed"',
        '[outbox]\noriginals = "originals"',
        '[podman]\nsocket = "podman.sock"',
    ],
)
def test_paths_are_absolute(file: Path, text: str) -> None:
    assert any("must be an absolute path" in found for found in mistakes(file, text))


def test_a_file_that_was_named_and_is_missing_is_a_mistake(tmp_path: Path) -> None:
    (text,) = mistakes(tmp_path / "no.toml")
    assert "no such file" in text
    (text,) = mistakes(None, environment={"CLARAEDGE_CONFIG": str(tmp_path / "no.toml")})
    assert "no such file" in text


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, file: Path) -> None:
    (text,) = mistakes(tmp_path)
    assert "cannot be read" in text
    file.write_bytes(b'state_dir = "\xff"')
    (text,) = mistakes(file)
    assert "claraedge.toml:1: the file is not UTF-8 text" in text


def test_a_configuration_does_not_change() -> None:
    config = load(None)
    with pytest.raises(AttributeError):
        config.state_dir = Path("/x")  # type: ignore[misc]


def test_the_meaning_of_requests_and_the_place_of_values_are_checked(file: Path) -> None:
    config = load(file, '[engine]\nrequests_profile = "0.7"\nshared_memory_dir = "/run/shm"\n')
    assert config.engine.requests_profile == "0.7"
    assert config.engine.shared_memory_dir == Path("/run/shm")
    assert load(file, "").engine.requests_profile == "0.8"
    (text,) = mistakes(file, '[engine]\nrequests_profile = "0.9"\n')
    assert text.startswith("engine.requests_profile:")
    found = mistakes(file, '[engine]\nshared_memory_dir = "shm"\n')
    assert found == ["engine.shared_memory_dir: shm must be an absolute path"]


EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "claraedge.toml"


def test_the_example_changes_nothing(file: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert load(file, text) == load(None)
    assert set(tomllib.loads(text)) >= {"api", "inbox", "engine", "images", "log"}


def test_the_example_shows_every_setting(file: Path) -> None:
    shown = re.sub(r"(?m)^# (?=\w+ = |\[)", "", EXAMPLE.read_text(encoding="utf-8"))
    shown = shown.replace('\npull = "never"', '\npull = "missing"')  # else pull_seconds is refused
    load(file, shown)
    read = tomllib.loads(shown)
    for section in msgspec.structs.fields(Config):
        assert section.name in read
        if issubclass(section.type, Section):
            assert read[section.name].keys() == set(section.type.__struct_fields__), section.name
    first, second = read["inbox"]["trigger"]
    assert {*first, *second} == set(TriggerSettings.__struct_fields__)
    for credential in read["images"]["credentials"].values():
        assert credential.keys() == set(CredentialSettings.__struct_fields__)


@pytest.mark.parametrize("kind", ["nvidia.com/gpu", "k8s.device-plugin.nvidia.com/gpu", "a1/b2"])
def test_a_cdi_kind(file: Path, kind: str) -> None:
    assert load(file, f'[engine]\ncdi_kind = "{kind}"\n').engine.cdi_kind == kind


@pytest.mark.parametrize("kind", ["vendor.com/x", "vendor.com/a.b", "gpu", "vendor.com/gpu=0"])
def test_a_cdi_kind_that_podman_does_not_accept(file: Path, kind: str) -> None:
    (text,) = mistakes(file, f'[engine]\ncdi_kind = "{kind}"\n')
    assert text.startswith(f"engine.cdi_kind: '{kind}' is no CDI kind that Podman accepts")
