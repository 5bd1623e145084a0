"""The service of the system on a real machine: systemd, cgroup v2, shutdowns and power cuts."""

from __future__ import annotations

import pytest

from tests.appliance.service import MEMBER, STRANGER, Service

pytestmark = [pytest.mark.machine, pytest.mark.timeout(900)]


def interruptions(service: Service, job: str) -> int:
    return sum("operator waits: interrupted" in line for line in service.history(job))


def check_ran_again(service: Service, job: str) -> None:
    """What has to be true of a job that the machine went down under, once it is up again."""
    service.until_it_waits(job)
    assert service.job(job)["state"] == "RUNNING"
    assert interruptions(service, job) == 1
    service.let_go(job)
    assert service.ended(job) == "HEALTHY", service.history(job)
    assert service.log(job, "waits") == ["begins", "ends"]
    assert sum(each["id"] == job for each in service.asked("list", "jobs")["jobs"]) == 1
    assert service.containers() == ""


def test_it_runs_as_the_readme_says(service: Service) -> None:
    shown = service.systemctl(
        "show claraedge -p Type -p SubState -p NRestarts -p StatusText -p UnitFileState"
    )
    assert set(shown.split("\n")) >= {
        "Type=notify", "SubState=running", "NRestarts=0", "UnitFileState=enabled",
        "StatusText=serving /run/claraedge/claraedge.sock",
    }  # fmt: skip
    assert service.machine.check("systemd-analyze verify --man=no claraedge.service") == ""
    assert service.machine.check("systemctl --failed --no-legend") == ""


def test_only_members_of_its_group_may_use_its_socket(service: Service) -> None:
    modes = service.machine.check(
        "cd /run/claraedge && stat -c '%n %A %U:%G' . claraedge.sock; stat -c %A /var/lib/claraedge"
    )
    assert modes.splitlines() == [
        ". drwxr-x--- claraedge:claraedge",
        "claraedge.sock srw-rw---- claraedge:claraedge",
        "drwxr-x---",
    ]
    assert service.call("status", user=MEMBER).code == 0
    refused = service.call("status", user=STRANGER)
    assert refused.code != 0
    assert "claraedge.sock" in refused.output


def test_podman_is_at_its_best_there(service: Service) -> None:
    """Images are not copied for each container, and every limit holds."""
    info = service.machine.check(
        "cd / && exec runuser -u claraedge -- env XDG_RUNTIME_DIR=/run/user/$(id -u claraedge)"
        " podman info --format '{{.Store.GraphDriverName}} {{.Host.CgroupManager}}"
        " {{.Host.CgroupsVersion}}'"
    )
    assert info.split() == ["overlay", "systemd", "v2"]
    assert "not enforced" not in service.output_of("status")
    assert "vfs" not in service.journal()


def test_an_operator_over_its_memory_ends_as_a_whole_and_the_job_says_so(service: Service) -> None:
    job = service.start("hungry", "hungry")
    assert service.ended(job) == "FAULTED"
    assert service.log(job, "eater") == []
    (said,) = (line for line in service.history(job) if line.startswith("operator eater: "))
    assert "ran out of memory and was killed; its limit of 64 MB" in said
    assert "requests: {memory: 128}" in said


def test_a_crash_at_the_same_time_is_not_reported_as_out_of_memory(service: Service) -> None:
    hungry, crashed = service.start("hungry", "hungry"), service.start("crashed", "crashed")
    assert service.ended(hungry) == service.ended(crashed) == "FAULTED"
    assert "ran out of memory" in "\n".join(service.history(hungry))
    assert "ran out of memory" not in "\n".join(service.history(crashed))
    assert service.log(crashed, "other") == [str(96 << 20), "4096"]


def test_a_stop_and_a_start_keep_a_running_job(service: Service) -> None:
    job = service.start("kept", "slow")
    service.until_it_waits(job)
    before = service.containers()
    service.systemctl("stop claraedge")
    assert service.containers() == before
    assert before != ""
    service.systemctl("start claraedge")
    assert service.containers() == before
    assert service.job(job)["state"] == "RUNNING"
    service.let_go(job)
    assert service.ended(job) == "HEALTHY"
    assert service.log(job, "waits") == ["begins", "ends"]
    assert sum("operator waits started" in line for line in service.history(job)) == 1
    assert interruptions(service, job) == 0
    assert service.containers() == ""


def test_a_job_that_ends_while_the_service_is_stopped_is_collected(service: Service) -> None:
    job = service.start("collected", "slow")
    service.until_it_waits(job)
    payload = service.job(job)["payload_id"]
    service.systemctl("stop claraedge")
    service.machine.check(
        f"cd $(dirname $(find /var/lib/claraedge/payloads/{payload}/operators/first -name a))"
        " && touch go"
    )
    service.machine.until("no process is left", lambda: "Up" not in podman_states(service))
    service.systemctl("start claraedge")
    assert service.ended(job) == "HEALTHY"
    assert service.log(job, "waits") == ["begins", "ends"]
    assert interruptions(service, job) == 0


def podman_states(service: Service) -> str:
    return service.machine.check(
        "cd / && exec runuser -u claraedge -- env XDG_RUNTIME_DIR=/run/user/$(id -u claraedge)"
        " podman ps --all --format '{{.Status}}'"
    )


def test_a_daemon_that_is_killed_comes_back_and_keeps_a_running_job(service: Service) -> None:
    job = service.start("survivor", "slow")
    service.until_it_waits(job)
    before = service.containers()
    service.machine.check("kill -9 $(systemctl show claraedge -p MainPID --value)")
    service.machine.until("it is back", lambda: service.call("status").code == 0)
    assert "NRestarts=1" in service.systemctl("show claraedge -p NRestarts")
    assert service.containers() == before
    service.let_go(job)
    assert service.ended(job) == "HEALTHY"
    assert service.log(job, "waits") == ["begins", "ends"]
    assert interruptions(service, job) == 0


def test_a_daemon_that_hangs_is_started_again_and_keeps_a_running_job(service: Service) -> None:
    drop_in = "/run/systemd/system/claraedge.service.d"
    service.machine.check(
        f"mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=20s\\n' >{drop_in}/hang.conf"
        " && systemctl daemon-reload"
    )
    service.systemctl("restart claraedge")
    before = number_of_starts(service)
    job = service.start("stays", "slow")
    service.until_it_waits(job)
    containers = service.containers()
    service.machine.check("kill -STOP $(systemctl show claraedge -p MainPID --value)")
    service.machine.until("it is started again", lambda: number_of_starts(service) > before)
    service.machine.until("it is back", lambda: service.call("status").code == 0)
    assert number_of_starts(service) == before + 1
    said = service.machine.check("journalctl --no-pager --boot --output=cat --unit=claraedge")
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said  # and what each thread was at
    assert service.containers() == containers
    service.let_go(job)
    assert service.ended(job) == "HEALTHY"
    assert service.log(job, "waits") == ["begins", "ends"]
    assert interruptions(service, job) == 0
    service.machine.check(f"rm -r {drop_in} && systemctl daemon-reload")
    service.systemctl("restart claraedge")


def number_of_starts(service: Service) -> int:
    """How often systemd has started the daemon again by itself."""
    return int(service.systemctl("show claraedge -p NRestarts --value").strip())


def test_a_job_runs_again_after_a_reboot(service: Service) -> None:
    job = service.start("rebooted", "slow")
    service.until_it_waits(job)
    service.machine.reboot()
    check_ran_again(service, job)


def test_a_job_runs_again_after_a_power_cut(service: Service) -> None:
    job = service.start("cut off", "slow")
    service.until_it_waits(job)
    service.machine.cut_power()
    service.machine.power_on()
    check_ran_again(service, job)
