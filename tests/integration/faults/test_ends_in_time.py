"""Time-out and cancel, at every stage of a job: the right state, the reason, in time, all gone."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import jobs_pb2
from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub
from tests.campaign import CAMPAIGN
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_services_and_models import (
    ECHO,
    SERVER,
    model,
    networks,
    service,
    service_containers,
)
from tests.integration.faults.faulty import GRACE, STUBBORN, FaultySite, operator
from tests.rig.models_server import models_server_image
from tests.rig.stub_registry import StubRegistry
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(600 if CAMPAIGN else 120)]

SETTINGS = f'[inference]\nimage = "{SERVER}:1"\ncommand = []\n'

#: Seconds from the decision to STOPPED, and from the call to its answer.
_WITHIN = GRACE + 2
_REASON = "seen enough"


def cancel(site: FaultySite, job: str) -> tuple[str, str]:
    """State and status as the call answers them, which it does in time."""
    request = jobs_pb2.JobsCancelRequest(reason=_REASON)
    request.job_id.value = job
    with grpc.insecure_channel(f"unix:{site.runtime}/claraedge.sock") as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        began = time.monotonic()
        answer = JobsStub(channel).Cancel(request)
        took = time.monotonic() - began
    assert answer.header.code == 0, answer
    assert took < _WITHIN, f"answered after {took:.2f} s"
    return (
        jobs_pb2.JobState.Name(answer.job_state).removeprefix("JOB_STATE_"),
        jobs_pb2.JobStatus.Name(answer.job_status).removeprefix("JOB_STATUS_"),
    )


def cancelled(site: FaultySite, job: str) -> Any:
    """Cancels a job, and returns it once the call is answered."""
    assert cancel(site, job) == ("STOPPED", "CANCELED")
    ended = site.describe(job)
    assert (ended["state"], ended["status"]) == ("STOPPED", "CANCELED"), ended
    assert ended["messages"][-1] == f"canceled: {_REASON}"
    assert ended["messages"].count(f"canceled: {_REASON}") == 1
    return ended


def took(site: FaultySite, job: str) -> float:
    """Seconds from a job's first operator to its end."""
    return float(site.rows("SELECT stopped - started FROM jobs WHERE id = ?", job)[0][0])


# --- time-outs -----------------------------------------------------------------------------------


def test_a_job_exceeds_its_time_out(site: FaultySite) -> None:
    pipeline = site.register("late", operator("only", STUBBORN), more="timeout: 1\n")
    job = site.begin(pipeline)
    ended = site.end(job)
    assert ended["status"] == "TERMINATED", ended
    assert "timed out: its operators ran for 1 s (`timeout` of the pipeline)" in ended["messages"]
    assert 1 + GRACE <= took(site, job) < 1 + _WITHIN


def test_an_operator_exceeds_its_time_out(site: FaultySite) -> None:
    pipeline = site.register(
        "slow",
        operator("only", STUBBORN, more="  timeout: 1\n"),
        operator("after", "true", "only"),
    )
    job = site.begin(pipeline)
    ended = site.end(job)
    assert ended["status"] == "TERMINATED", ended
    assert "took longer than its 1 s (`timeout`) and was stopped" in ended["messages"][0]
    assert [o["status"] for o in ended["operators"]] == ["FAULTED", "PENDING"]
    assert 1 + GRACE <= took(site, job) < 1 + _WITHIN


@pytest.mark.parametrize("by", ["time-out", "cancel"])
def test_an_operator_that_answers_term_with_exit_code_0_did_not_complete(
    site: FaultySite, by: str
) -> None:
    script = "trap 'exit 0' TERM; echo half >/out/n; echo on; while :; do sleep 0.05; done"
    more = "timeout: 1\n" if by == "time-out" else ""
    job = site.begin(site.register(f"polite-{by}", operator("only", script), more=more))
    site.until_runs(job, "only")
    ended = cancelled(site, job) if by == "cancel" else site.end(job)
    assert ended["status"] == ("CANCELED" if by == "cancel" else "TERMINATED"), ended
    assert [o["status"] for o in ended["operators"]] == ["FAULTED"]
    query = (
        "SELECT f.name FROM payload_files f JOIN jobs j ON j.payload = f.payload"
        " WHERE j.id = ? AND f.name LIKE 'operators/%'"
    )
    assert site.rows(query, job) == []


def test_what_ended_in_time_while_no_daemon_ran_did_not_take_too_long(site: FaultySite) -> None:
    pipeline = site.register(
        "offline",
        operator("first", "echo on; sleep 1; echo 1 >/out/n", more="  timeout: 4\n"),
        operator("second", "echo on; cp /in-first/n /out/n", "first"),
        more="timeout: 4\n",
    )
    job = site.begin(pipeline)
    site.until_runs(job, "first")
    site.kill()
    time.sleep(5)  # more than the time-out
    site.start()
    ended = site.end(job)
    assert ended["status"] == "HEALTHY", ended
    assert site.log(job, "first") == ["on"]


# --- cancel --------------------------------------------------------------------------------------


def test_a_job_is_cancelled_while_it_is_pending(site: FaultySite) -> None:
    cores = "  requests: {cpu: 64}\n"
    pipeline = site.register("all-cores", operator("only", "echo on; sleep 30", more=cores))
    first = site.begin(pipeline)
    site.until_runs(first, "only")
    second = site.begin(pipeline)
    ended = cancelled(site, second)
    assert ended["operators"][0]["status"] == "PENDING"
    assert site.log(second, "only") == []
    cancelled(site, first)


def test_a_job_is_cancelled_before_its_start(site: FaultySite) -> None:
    pipeline = site.register("unstarted", operator("only", "true"))
    made = site.say("create", "job", "-n", "job", "-p", pipeline)
    job = made.splitlines()[0].removeprefix("JOB_ID:")
    cancelled(site, job)
    refused = site.call("start", "job", "-j", job)
    assert refused.returncode != 0
    assert "was cancelled before its start" in refused.stderr


@pytest.fixture
def stalled(registry: StubRegistry) -> Iterator[StubRegistry]:
    """The registry, which hangs in the middle of a layer."""
    registry.stalled.clear()
    registry.left.clear()
    registry.stall()
    yield registry
    registry.release()


def test_a_job_is_cancelled_while_its_image_is_pulled(
    site: FaultySite, stalled: StubRegistry
) -> None:
    job = site.begin(site.register("pulled", operator("only", "true", image="clara/app")))
    until("the pull hangs", stalled.stalled.is_set)
    assert cancelled(site, job)["operators"][0]["status"] == "PENDING"
    assert stalled.left.wait(1), "the pull lived on"


def test_a_job_is_cancelled_while_an_image_is_pulled_ahead(
    site: FaultySite, stalled: StubRegistry
) -> None:
    pipeline = site.register(
        "pulled-ahead",
        operator("only", STUBBORN),
        operator("after", "true", "only", image="clara/app"),
    )
    job = site.begin(pipeline)
    site.until_runs(job, "only")
    until("the pull hangs", stalled.stalled.is_set)
    assert [o["status"] for o in cancelled(site, job)["operators"]] == ["FAULTED", "PENDING"]
    assert stalled.left.wait(1), "the pull lived on"


def test_a_job_is_cancelled_while_an_operator_runs(site: FaultySite) -> None:
    pipeline = site.register("runs", operator("only", STUBBORN), operator("after", "true", "only"))
    job = site.begin(pipeline)
    site.until_runs(job, "only")
    ended = cancelled(site, job)
    assert [o["status"] for o in ended["operators"]] == ["FAULTED", "PENDING"]
    assert "operator only: was stopped because its job ends" in ended["messages"][0]
    assert cancel(site, job) == ("STOPPED", "CANCELED")  # that of a stopped job answers its state


def test_a_job_is_cancelled_while_an_operator_is_stopped(site: FaultySite) -> None:
    job = site.begin(site.register("both", operator("only", STUBBORN), more="timeout: 1\n"))
    query = "SELECT ending FROM jobs WHERE id = ?"
    until("its time is over", lambda: site.rows(query, job)[0][0] is not None)
    assert cancel(site, job) == ("STOPPED", "TERMINATED")
    ended = site.describe(job)
    assert (ended["state"], ended["status"]) == ("STOPPED", "TERMINATED"), ended
    assert any("timed out" in message for message in ended["messages"])
    assert not any("canceled" in message for message in ended["messages"])
    assert took(site, job) < 1 + _WITHIN


def test_a_job_is_cancelled_by_many_at_the_same_time(site: FaultySite) -> None:
    job = site.begin(site.register("many", operator("only", STUBBORN)))
    site.until_runs(job, "only")
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: cancel(site, job), range(8)))
    assert answers == {("STOPPED", "CANCELED")}
    assert site.describe(job)["messages"].count(f"canceled: {_REASON}") == 1


def test_a_job_is_cancelled_while_an_operator_waits_for_its_next_attempt(site: FaultySite) -> None:
    retry = "  retry: {attempts: 3, backoff: 60}\n"
    job = site.begin(site.register("again", operator("only", "echo on; exit 3", more=retry)))
    until("it waits", lambda: "it is run again in 60 s" in str(site.describe(job)["messages"]))
    ended = cancelled(site, job)
    assert ended["operators"][0]["status"] == "PENDING"
    assert site.log(job, "only") == ["on"]


# --- services and models of the job --------------------------------------------------------------


@pytest.fixture
def served(site: FaultySite, archives: TestImages, tmp_path: Path) -> Iterator[FaultySite]:
    """With the inference server; after the test no service runs, and nothing is left."""
    site.say("create", "image", "-f", models_server_image(tmp_path / "m.tar", f"{SERVER}:1"))
    yield site
    site.say("stop")
    until(
        "no service or network is left",
        lambda: service_containers(site) == [] and networks(site) == [],
        seconds=20,
        details=lambda: (service_containers(site), networks(site)),
    )


def waits_for(site: FaultySite, job: str, what: str) -> bool:
    return what in json.dumps(site.describe(job).get("waits"))


def test_a_job_is_cancelled_while_its_services_start(served: FaultySite) -> None:
    deaf = service("trap '' TERM; while :; do sleep 0.1; done")
    job = served.begin(served.register("deaf", operator("only", "echo on", more=deaf)))
    until("it starts", lambda: len(service_containers(served)) == 1)
    ended = cancelled(served, job)
    assert ended["operators"][0]["status"] == "PENDING"
    # Nobody uses it, and it never was healthy: it goes by itself.
    until("it is gone", lambda: service_containers(served) == [], seconds=_WITHIN)


def test_a_job_is_cancelled_while_the_image_of_a_service_is_pulled(
    served: FaultySite, stalled: StubRegistry
) -> None:
    pulled = service("true").replace(IMAGE, "clara/app")
    job = served.begin(served.register("pulled-service", operator("only", "true", more=pulled)))
    until("the pull hangs", stalled.stalled.is_set)
    cancelled(served, job)
    assert stalled.left.wait(1), "the pull lived on"


def test_a_job_is_cancelled_while_the_inference_server_loads_a_model(served: FaultySite) -> None:
    for name, slow in (("heavy", "60"), ("light", "0")):
        model(served, name, "weights", slow=slow)
    heavy = "  models: [{name: heavy}]\n"
    job = served.begin(served.register("heavy", operator("only", "echo on", more=heavy)))
    until("it loads", lambda: waits_for(served, job, "its models in the inference server"))
    server = service_containers(served)
    ended = cancelled(served, job)
    assert ended["operators"][0]["status"] == "PENDING"
    # The server was healthy and continues, and others have their models of it.
    light = "  models: [{name: light}]\n"
    other = served.begin(served.register("light", operator("only", "echo on", more=light)))
    assert served.end(other)["status"] == "HEALTHY"
    assert service_containers(served) == server


def test_a_job_is_cancelled_at_any_moment(served: FaultySite) -> None:
    """Each moment finds another step: a network, a service, a model, a container, a start."""
    model(served, "any", "weights", slow="0.2")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    more = service(ECHO) + "  models: [{name: any}]\n"
    script = "echo on; sleep 0.1; echo 1 >/out/n"
    pipeline = served.register(
        "any",
        operator("first", script, more=more),
        operator("second", script, "first"),
        operator("third", STUBBORN, "second", more=more),
    )
    for count in range(30 if CAMPAIGN else 6):
        moment = chance.uniform(0, 3 if count % 2 == 0 else 1.5)
        job = served.begin(pipeline)
        time.sleep(moment)
        cancelled(served, job)
        if count % 2 == 0:
            continue  # the next one finds services that run
        served.say("stop")
        until(
            "nothing is left",
            lambda: service_containers(served) == [] and not served.leftovers(),
            seconds=20,
            details=lambda at=moment: (seed, at, service_containers(served), served.leftovers()),
        )
