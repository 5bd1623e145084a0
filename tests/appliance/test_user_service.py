"""The service of a user's own, on a real machine."""

from __future__ import annotations

import pytest

from tests.appliance.service import Service
from tests.appliance.test_system_service import check_ran_again, interruptions

pytestmark = [pytest.mark.machine, pytest.mark.timeout(900)]


def test_a_stop_and_a_start_keep_a_running_job(own_service: Service) -> None:
    job = own_service.start("kept", "slow")
    own_service.until_it_waits(job)
    before = own_service.containers()
    own_service.systemctl("stop claraedge")
    assert own_service.containers() == before
    own_service.systemctl("start claraedge")
    assert own_service.job(job)["state"] == "RUNNING"
    own_service.let_go(job)
    assert own_service.ended(job) == "HEALTHY"
    assert own_service.log(job, "waits") == ["begins", "ends"]
    assert interruptions(own_service, job) == 0


def test_a_job_runs_again_after_a_reboot(own_service: Service) -> None:
    job = own_service.start("rebooted", "slow")
    own_service.until_it_waits(job)
    own_service.machine.reboot()
    check_ran_again(own_service, job)


def test_an_operator_over_its_memory_ends_as_a_whole_and_the_job_says_so(
    own_service: Service,
) -> None:
    job = own_service.start("hungry", "hungry")
    assert own_service.ended(job) == "FAULTED"
    assert "ran out of memory and was killed" in "\n".join(own_service.history(job))
