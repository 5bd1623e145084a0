"""`describe job`, and its live view."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from fake_daemon import JOB_1, NOON, PAYLOAD_1, PIPELINE_B, Fakes, Images, serve, stamp

from claraedge.cli.watch import Waits, changes, draw
from claraedge.client.values import JobDetails, JobOperator, JobWait
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.nvidia.clara.platform import jobs_pb2
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from tests.rig.waiting import until

T = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(state, job_status, *operators, messages=()):
    details = jobs_pb2.JobsStatusResponse.JobOperatorDetails
    return jobs_pb2.JobsStatusResponse(
        job_id=Identifier(value=JOB_1),
        pipeline_id=Identifier(value=PIPELINE_B),
        payload_id=Identifier(value=PAYLOAD_1),
        name="scan",
        state=state,
        status=job_status,
        priority=2,
        created=stamp(NOON),
        started=stamp(NOON + 1) if state > 1 else None,
        stopped=stamp(NOON + 9) if state > 2 else None,
        messages=messages,
        operator_details=[
            details(
                name=name,
                status=number,
                started=stamp(NOON + 1) if number > 1 else None,
                stopped=stamp(NOON + 4) if number > 2 else None,
            )
            for name, number in operators
        ],
    )


STORY = [
    status(1, 1, ("image", 1), ("report", 1)),
    status(2, 1, ("image", 2), ("report", 1)),
    status(2, 1, ("image", 2), ("report", 1)),
    status(2, 1, ("image", 3), ("report", 1), messages=["waits for the GPU"]),
    status(3, 1, ("image", 3), ("report", 3), messages=["waits for the GPU"]),
]


def test_describe_job_prints_a_key_and_a_value_per_line(daemon, claraedge):
    daemon.fakes.statuses = [status(3, 2, ("image", 4), messages=["image: exit code 3\nsecond"])]
    answer = claraedge("describe", "job", "-j", JOB_1)
    assert answer.code == 0
    lines = dict(line.split(": ", 1) for line in answer.out.splitlines())
    assert lines["NAME"] == "scan"
    assert (lines["STATE"], lines["STATUS"]) == ("STOPPED", "FAULTED")
    assert lines["MESSAGE"] == r"image: exit code 3\nsecond"
    assert lines["OPERATOR image"].startswith("FAULTED  20")
    found = json.loads(claraedge("describe", "job", "-j", JOB_1, "--output", "json").out)
    assert found["stopped"] == "2026-01-01T12:00:09.000Z"
    assert found["operators"][0]["status"] == "FAULTED"


WAITS = [
    appliance_pb2.Wait(operator="image", text="1 GPUs; 0 of 1 are free"),
    appliance_pb2.Wait(operator="report", text="the operator image", upstream=["image"]),
]


def test_describe_says_what_operators_and_the_job_wait_for(daemon, claraedge):
    daemon.fakes.statuses = [STORY[0]]
    daemon.fakes.waits = [appliance_pb2.Wait(text="its\nturn"), *WAITS]
    answer = claraedge("describe", "job", "-j", JOB_1)
    assert answer.out.splitlines()[-3:] == [
        r"WAITS: its\nturn",
        "WAITS image: 1 GPUs; 0 of 1 are free",
        "WAITS report: the operator image",
    ]
    found = json.loads(claraedge("describe", "job", "-j", JOB_1, "--output", "json").out)
    assert found["waits"][2] == {
        "operator": "report",
        "text": "the operator image",
        "upstream": ["image"],
    }


def test_describe_of_a_daemon_that_does_not_explain_goes_without(claraedge, monkeypatch, tmp_path):
    server = serve(f"unix:{tmp_path}/s", Fakes(statuses=[STORY[0]], explains=False), Images())
    monkeypatch.setenv("CLARAEDGE_HOST", f"unix:{tmp_path}/s")
    answer = claraedge("describe", "job", "-j", JOB_1)
    server.stop(0).wait()
    assert answer.code == 0
    assert "WAITS" not in answer.out


def test_describe_of_an_unknown_job_prints_the_daemons_message(daemon, claraedge):
    answer = claraedge("describe", "job", "-j", "f" * 32)
    assert (answer.code, answer.err) == (1, f"claraedge: no job has the id {'f' * 32}\n")


def test_watch_without_a_terminal_prints_a_line_per_change_and_ends_with_the_job(daemon, claraedge):
    daemon.fakes.statuses = list(STORY)
    answer = claraedge("describe", "job", "-j", JOB_1, "--watch")
    assert answer.code == 0
    assert [line.split(" ", 2)[2] for line in answer.out.splitlines()] == [
        "job PENDING HEALTHY",
        "job RUNNING HEALTHY",
        "image RUNNING",
        "image COMPLETED",
        "job waits for the GPU",
        "report RUNNING",
        "report COMPLETED",
        "job STOPPED HEALTHY",
    ]


def test_watch_as_json_prints_an_object_per_change(daemon, claraedge):
    daemon.fakes.statuses = list(STORY)
    answer = claraedge("describe", "job", "-j", JOB_1, "--watch", "--output", "json")
    objects = [json.loads(line) for line in answer.out.splitlines()]
    assert objects[-1] == {
        "time": "2026-01-01T12:00:09.000Z",
        "job_id": JOB_1,
        "operator": None,
        "change": "STOPPED HEALTHY",
    }
    assert len(objects) == 8


def test_watch_of_a_job_that_failed_exits_1(daemon, claraedge):
    daemon.fakes.statuses = [status(3, 2, ("image", 4))]
    assert claraedge("describe", "job", "-j", JOB_1, "-w").code == 1


def test_watch_goes_on_when_the_daemon_comes_back(daemon, claraedge):
    daemon.fakes.statuses = [STORY[1], STORY[1], STORY[1]]
    again: list[object] = []

    def restart():
        with contextlib.suppress(AssertionError):  # the client must not wait for ever
            until("it is asked twice", lambda: len(daemon.asked) >= 2)
        daemon.stop()
        fakes = Fakes(statuses=[STORY[4]])
        again.append(serve(f"unix:{daemon.socket}", fakes, Images()))

    thread = threading.Thread(target=restart)
    thread.start()
    answer = claraedge("describe", "job", "-j", JOB_1, "--watch")
    thread.join()
    again[0].stop(0).wait()
    assert answer.code == 0
    assert answer.out.splitlines()[-1].endswith("job STOPPED HEALTHY")


def test_watch_on_a_terminal_draws_over_itself(daemon):
    daemon.fakes.statuses = list(STORY)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from claraedge.cli.main import main; main()",
            *("describe", "job", "-j", JOB_1, "--watch"),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            "COLUMNS": "80",
            "LINES": "24",
        },
        stdout=follower,
        stderr=subprocess.PIPE,
    )
    os.close(follower)
    drawn = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the other side was closed
            break
        if not piece:
            break
        drawn += piece
    os.close(leader)
    assert process.wait(30) == 0
    text = drawn.decode()
    assert "\x1b[3A\x1b[J" in text
    final = text.rsplit("\x1b[J", 1)[1].split("\r\n")
    assert final[0] == "scan  c10000000000  STOPPED HEALTHY  8 s"
    assert final[1] == "  image   COMPLETED  3 s"


# --- the pure parts ----------------------------------------------------------------------------


def job(*operators: JobOperator, state="RUNNING", status="HEALTHY", messages=()) -> JobDetails:
    return JobDetails(
        id=JOB_1, name="scan", pipeline_id=PIPELINE_B, payload_id=PAYLOAD_1, state=state,
        status=status, priority="NORMAL", created=T, started=T, stopped=None, metadata={},
        messages=tuple(messages), operators=operators,
    )  # fmt: skip


def operator(name: str, status: str, start: int | None = None, stop: int | None = None):
    moment = [T + timedelta(seconds=s) if s is not None else None for s in (start, stop)]
    return JobOperator(name=name, status=status, created=T, started=moment[0], stopped=moment[1])


def test_a_wait_has_a_line_once_it_lasts_and_again_when_it_is_for_something_else():
    image = job(operator("image", "PENDING"))

    def at(seconds, *texts):
        waits = tuple(JobWait(operator="image", text=text) for text in texts)
        now = T + timedelta(seconds=seconds)
        return [c.text for c in shown.news(msgspec.structs.replace(image, waits=waits), now)]

    shown = Waits()
    assert at(0, "its turn") == at(0.5, "1 GPUs; 0 of 1 are free") == []
    assert at(1.5, "1 GPUs; 0 of 1 are free") == ["waits: 1 GPUs; 0 of 1 are free"]
    assert at(3, "1 GPUs; 0 of 2 are free") == []
    assert at(4, "2 cores; 1 of 2 are free") == []
    assert at(5, "2 cores; 1 of 2 are free") == ["waits: 2 cores; 1 of 2 are free"]
    assert at(6) == at(7, "2 cores") == []
    assert at(8, "2 cores") == ["waits: 2 cores"]


def test_operators_that_wait_for_others_have_no_line_of_their_own():
    wait = JobWait(operator="report", text="the operator image", upstream=("image",))
    shown = Waits()
    after = msgspec.structs.replace(job(operator("report", "PENDING")), waits=(wait,))
    assert [shown.news(after, T + timedelta(seconds=n)) for n in range(4)] == [[]] * 4


def test_the_table_says_what_is_waited_for():
    waits = (
        JobWait(operator="", text="work waits: Podman is unavailable"),
        JobWait(operator="image", text="1 GPUs"),
    )
    after = msgspec.structs.replace(job(operator("image", "PENDING")), waits=waits)
    rows = draw(after, T, 80, 24)
    assert rows[1] == "  waits: work waits: Podman is unavailable"
    assert rows[2] == "  image  PENDING    waits: 1 GPUs"


def test_no_change_is_no_line():
    same = job(operator("a", "RUNNING", 1))
    assert changes(same, same, T) == []


def test_a_run_between_two_statuses_is_shown_in_the_order_of_time():
    before = job(operator("b", "PENDING"), operator("a", "RUNNING", 0))
    after = job(operator("b", "COMPLETED", 5, 6), operator("a", "COMPLETED", 0, 4))
    assert [(c.operator, c.text) for c in changes(before, after, T)] == [
        ("a", "COMPLETED"),
        ("b", "RUNNING"),
        ("b", "COMPLETED"),
    ]


def test_an_operator_that_failed_before_it_started_is_shown_once():
    before, after = job(operator("a", "PENDING")), job(operator("a", "FAULTED"))
    assert [c.text for c in changes(before, after, T)] == ["FAULTED"]


def test_the_table_fits_the_terminal():
    many = job(*(operator(f"operator-{n:02}-{'x' * 60}", "PENDING") for n in range(40)))
    drawn = draw(many, T + timedelta(seconds=130), 40, 10)
    assert len(drawn) == 9
    assert all(len(line) < 40 for line in drawn)
    assert drawn[-1] == "  and 33 more lines"
    assert draw(many, T + timedelta(seconds=130), 200, 99)[0].endswith("2 min 10 s")


def test_control_characters_of_a_message_do_not_reach_the_terminal():
    drawn = draw(job(messages=["\x1b[31mred"]), T, 80, 24)
    assert drawn[-1] == r"  \x1b[31mred"
