"""The thing that a command is about: as an argument, and by Clara's option."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from fake_daemon import JOB_1, JOB_2

from claraedge.cli.main import app
from claraedge.cli.options import Options
from claraedge.client import appliance, jobs, models, payloads, pipelines, target
from claraedge.client.packages import catalogue, deployments, networks, routes
from claraedge.errors import ItemNotFoundError
from claraedge.wire.nvidia.clara.platform import jobs_pb2

#: By command: what it is about, Clara's option, and what else the command needs.
COMMANDS: dict[tuple[str, ...], tuple[str, str, tuple[str, ...]]] = {
    ("cancel", "job"): ("job", "-j", ()),
    ("delete", "pipelines"): ("pipeline", "-p", ()),
    ("describe", "job"): ("job", "--job", ()),
    ("describe", "pipeline"): ("pipeline", "--pipeline", ()),
    ("logs",): ("job", "-j", ("-o", "report")),
    ("start", "job"): ("job", "-j", ()),
    ("update", "job"): ("job", "-j", ("-m", "a=1")),
    ("update", "pipeline"): ("pipeline", "-p", ("-m", "a=1")),
    # Clara has no option for these.
    ("adopt",): ("item", "", ()),
    ("delete", "images"): ("image", "", ()),
    ("delete", "inbox"): ("item", "", ()),
    ("delete", "models"): ("model", "", ()),
    ("delete", "packages"): ("package", "", ()),
    ("delete", "networks"): ("network", "", ()),
    ("delete", "payloads"): ("payload", "", ()),
    ("delete", "routes"): ("route", "", ()),
    ("deploy",): ("package", "", ("--name", "n")),
    ("describe", "deployment"): ("deployment", "", ()),
    ("describe", "inbox"): ("item", "", ()),
    ("describe", "package"): ("package", "", ()),
    ("retry", "delivery"): ("delivery", "", ()),
    ("retry", "image"): ("image", "", ()),
    ("retry", "inbox"): ("item", "", ()),
    ("retry", "job"): ("job", "", ()),
    ("retry", "model"): ("model", "", ()),
    ("retry", "pipeline"): ("pipeline", "", ()),
    ("retry", "removal"): ("removal", "", ()),
    ("undeploy",): ("deployment", "", ()),
    ("update", "deployment"): ("deployment", "", ("-e", "main", "-i", "a:1")),
    ("update", "payload"): ("payload", "", ("-m", "a=1")),
}
OPTIONS = {words: rest for words, rest in COMMANDS.items() if rest[1]}
SEVERAL = ("cancel", "delete", "adopt", "retry", "undeploy")


class Unreachable:
    """A connection whose calls fail: what a command asks for after that is not asked."""

    target = "unix:/nowhere"

    def __getattr__(self, name: str) -> object:
        raise ItemNotFoundError("no call reaches a daemon")


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What commands resolve, or pass to the daemon as it was given; calls then fail with 1."""
    found: list[str] = []

    def resolve(connection: object, *words: str) -> str:
        found.append(words[-1])
        return words[-1]

    def pass_on(connection: Unreachable, *words: str) -> object:
        resolve(connection, *words)
        return connection.channel

    for module in (jobs, pipelines, payloads):
        monkeypatch.setattr(module, "resolve", resolve)
    monkeypatch.setattr(appliance, "resolve_item", resolve)
    monkeypatch.setattr(models, "resolve_all", lambda _, texts: [resolve(_, t) for t in texts])
    for module in (catalogue, deployments, networks, routes):
        monkeypatch.setattr(module, "get", pass_on)
    monkeypatch.setattr(deployments, "update", lambda _, name, *_1, **_2: pass_on(_, name))
    monkeypatch.setattr(appliance, "remove_image", pass_on)
    monkeypatch.setattr(appliance, "try_again", pass_on)
    monkeypatch.setattr(target, "user_of", lambda _: 1000)
    monkeypatch.setattr(Options, "connect", lambda _: contextlib.nullcontext(Unreachable()))
    return found


def with_a_subject(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from with_a_subject(command, *words, name)
        elif any(param.name == "argument" for param in command.params):
            yield (*words, name)


def test_the_table_names_every_command() -> None:
    assert set(with_a_subject(app)) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_argument_names_it(meant, claraedge, words) -> None:
    _, _, more = COMMANDS[words]
    answer = claraedge(*words, "3f2a", *more)
    assert (answer.code, answer.err) == (1, "claraedge: no call reaches a daemon\n")
    assert meant == ["3f2a"]


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_claras_option_names_it(meant, claraedge, words) -> None:
    _, option, more = OPTIONS[words]
    answer = claraedge(*words, option, "3f2a", *more)
    assert (answer.code, answer.err) == (1, "claraedge: no call reaches a daemon\n")
    assert meant == ["3f2a"]


@pytest.mark.parametrize("words", sorted(OPTIONS.keys() - {("update", "pipeline")}), ids=" ".join)
def test_both_may_have_the_same_value(meant, claraedge, words) -> None:
    _, option, more = OPTIONS[words]
    assert claraedge(*words, "3f2a", option, "3f2a", *more).code == 1
    assert meant == ["3f2a"]


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_two_values_are_a_mistake(meant, claraedge, words) -> None:
    noun, option, more = OPTIONS[words]
    answer = claraedge(*words, "3f2a", option, "91bc", *more)
    assert (answer.code, answer.out, meant) == (2, "", [])
    if words == ("update", "pipeline"):
        assert "File '3f2a' does not exist" in answer.err
    else:
        short = option if len(option) == 2 else option[1:3]
        said = f"claraedge: 3f2a and {short} 91bc both name the {noun}: give one of them"
        assert answer.err.splitlines()[-1] == said


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_a_value_the_command_says_what_to_type(meant, claraedge, words) -> None:
    noun, _, more = COMMANDS[words]
    answer = claraedge(*words, *more)
    assert (answer.code, answer.out, meant) == (2, "", [])
    usage, *_, said = answer.err.splitlines()
    command = " ".join(["claraedge", *words])
    assert said.startswith(f"claraedge: name the {noun}: {command} ")
    assert said.endswith("...") == (words[0] in SEVERAL)
    assert usage.startswith(f"Usage: {command} [OPTIONS] {said.rpartition(' ')[2]}")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_only_some_commands_accept_several(meant, claraedge, words) -> None:
    _, _, more = COMMANDS[words]
    answer = claraedge(*words, "3f2a", "91bc", *more)
    assert answer.code == (1 if words[0] in SEVERAL else 2)


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_the_help_has_an_example(claraedge, words) -> None:
    answer = claraedge(*words, "--help")
    command = " ".join(["claraedge", *words])
    assert f"Example: {command} " in answer.out


@pytest.mark.parametrize("arguments", [("lines",), ("-p", "lines")], ids=["argument", "option"])
def test_what_follows_the_pipeline_are_its_files(
    meant, claraedge, arguments, tmp_path: Path
) -> None:
    file = tmp_path / "lines.yaml"
    file.write_text("name: lines\n")
    answer = claraedge("update", "pipeline", *arguments, file)
    assert (answer.code, meant) == (1, ["lines"])
    assert claraedge("update", "pipeline", *arguments, file, tmp_path / "none.yaml").code == 2
    assert claraedge("update", "pipeline", *arguments).code == 2


def test_several_jobs_are_canceled(daemon, claraedge) -> None:
    answer = claraedge("cancel", "jobs", "c1", "c2", JOB_1, "--output", "json")
    assert answer.code == 0, answer.err
    assert [json.loads(line)["job_id"] for line in answer.out.splitlines()] == [JOB_1, JOB_2]


def test_one_unknown_job_cancels_none(daemon, claraedge) -> None:
    assert claraedge("cancel", "job", "c1", "ffff").code == 1
    assert not [a for a in daemon.asked if isinstance(a, jobs_pb2.JobsCancelRequest)]


def test_logs_need_no_operator_if_the_job_has_one(daemon, claraedge) -> None:
    def status(*names: str) -> jobs_pb2.JobsStatusResponse:
        return jobs_pb2.JobsStatusResponse(
            operator_details=[
                jobs_pb2.JobsStatusResponse.JobOperatorDetails(name=name) for name in names
            ]
        )

    daemon.fakes.statuses = [status("convert")]
    assert claraedge("logs", JOB_1).out == "one\ntwo\nlast\n"
    daemon.fakes.statuses = [status("convert", "report")]
    answer = claraedge("logs", JOB_1)
    assert (answer.code, answer.out) == (2, "")
    assert "name the operator with -o; those of the job are: convert, report" in answer.err
