"""Files of payloads, results and logs that a power cut or a bad card has damaged."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.state_site import BUGS, PIPELINE, StateSite, site


@pytest.fixture
def daemon() -> Iterator[StateSite]:
    """One that serves, with both pipelines."""
    with site() as made:
        made.start()
        for name in ("copy", "wait"):
            path = made.folder / f"{name}.yaml"
            path.write_text(PIPELINE.replace("NAME", name).replace("IMAGE", name))
            made.say("create", "pipeline", "-p", path)
        (made.folder / "image.bin").write_bytes(b"image" * 1000)
        yield made
        made.stop()
        assert not [bug for bug in BUGS if bug in made.log], made.log


def created(daemon: StateSite, pipeline: str) -> dict[str, str]:
    """A job that waits for its start."""
    made: dict[str, str] = daemon.say(
        *("create", "job", "-n", "x", "-p", pipeline, "-f", daemon.folder / "image.bin")
    )
    return made


def blob(daemon: StateSite, payload: str) -> Path:
    (found,) = (daemon.state / "payloads" / payload / "blobs").iterdir()
    return found


def messages(daemon: StateSite, job: str) -> str:
    return str(daemon.say("describe", "job", "-j", job)["messages"])


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("harm", "says"),
    [(halve, "has 2500 of its 5000 bytes"), (empty, "has 0 of its 5000"), (Path.unlink, "is gone")],
)
@case(
    5,
    "a stored input is cut short, empty or gone before its job runs",
    source="paperless-ngx/paperless-ngx#1144",
    outcome="The job fails and names the file and what is wrong with it; nothing runs on a part of"
    " it, and a download of the file is refused.",
)
def test_a_job_does_not_run_on_a_damaged_input(
    daemon: StateSite, harm: Callable[[Path], None], says: str
) -> None:
    job = created(daemon, "copy")
    stored = blob(daemon, job["payload_id"])
    harm(stored)
    refused = daemon.run("download", f"{job['payload_id']}:/input/image.bin", daemon.folder)
    assert refused.returncode != 0
    assert says in refused.stderr
    daemon.say("start", "job", "-j", job["job_id"])
    daemon.until("it has failed", lambda: daemon.jobs()[job["job_id"]] == "FAULTED")
    said = messages(daemon, job["job_id"])
    assert says in said
    assert str(stored) in said


@case(
    5,
    "an input has its size but holds zeros after a power cut",
    source="paperless-ngx/paperless-ngx#1144",
    outcome="Dropped files that waited during the cut are read and compared before their job runs;"
    " it fails with the file's name.",
)
def test_an_input_that_waited_for_a_start_is_compared(daemon: StateSite) -> None:
    inbox = daemon.state / "inbox" / "wait"
    inbox.mkdir()
    (inbox / "a.dcm").write_bytes(b"d" * 5000)
    daemon.until("it is a job", lambda: bool(daemon.jobs()))
    (job,) = daemon.jobs()
    daemon.until("it runs", lambda: daemon.jobs()[job] == "RUNNING")
    daemon.stop(signal.SIGKILL)
    (payload,) = (daemon.state / "payloads").iterdir()
    stored = blob(daemon, payload.name)
    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.write(bytes(5000))
    (daemon.folder / "go").touch()
    daemon.start()
    daemon.until("it has failed", lambda: daemon.jobs()[job] == "FAULTED")
    assert f"{stored} holds other bytes than it did" in messages(daemon, job)
    daemon.until(
        "the failure is there", lambda: bool(list(daemon.state.glob("failed/*/*/reason.json")))
    )


@case(
    5,
    "the stored files of a job that waits are gone after a power cut",
    source="paperless-ngx/paperless-ngx#1144",
    outcome="`claraedge status` names the payload and the file from the start on.",
)
def test_the_status_names_files_that_are_gone(daemon: StateSite) -> None:
    job = created(daemon, "copy")
    daemon.stop()
    stored = blob(daemon, job["payload_id"])
    stored.unlink()
    daemon.start()
    warnings = str(daemon.say("status")["warnings"])
    assert f"the payload {job['payload_id']} is damaged: {stored} is gone" in warnings


@case(
    5,
    "a result is gone from the disk before it is delivered",
    source="paperless-ngx/paperless-ngx#1144",
    outcome="It ends as a failure with the reason and the original; it is not tried for ever.",
)
def test_a_delivery_without_its_source_fails(daemon: StateSite) -> None:
    outbox = daemon.state / "outbox"
    mode = outbox.stat().st_mode
    outbox.chmod(0o500)  # it cannot be delivered yet
    inbox = daemon.state / "inbox" / "copy"
    inbox.mkdir()
    (inbox / "a.dcm").write_bytes(b"d" * 5000)
    daemon.until("it has run", lambda: list(daemon.jobs().values()) == ["HEALTHY"])
    (result,) = daemon.state.glob("payloads/*/operators/one/1/a.dcm")
    result.unlink()
    outbox.chmod(mode)
    daemon.until(
        "it is a failure",
        lambda: daemon.say("list", "inbox")["items"][0]["state"].upper() == "FAILED",
    )
    (reason,) = daemon.state.glob("failed/*/*/reason.json")
    assert "its results cannot be delivered" in reason.read_text()
    assert "is gone" in reason.read_text()
    assert (reason.parent / "original" / "a.dcm").read_bytes() == b"d" * 5000
