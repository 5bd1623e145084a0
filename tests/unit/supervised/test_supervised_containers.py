"""The life of a container that is kept running."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from site_of_supervised import INSTANCE, Fixed, SupervisedSite

from claraedge.errors import (
    ContainerError,
    DeploymentFailedError,
    ImageNotFoundError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.runner.protocol import (
    LABEL_DEPLOYMENTS,
    LABEL_EXECUTABLE,
    ContainerSpec,
    Exit,
    ExitCause,
    Phase,
)
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.restarts import Again, GiveUp, Never, OnFailure
from tests.rig.waiting import eventually


async def test_it_runs_until_it_is_dismissed_and_leaves_nothing(site: SupervisedSite) -> None:
    app = site.keep()
    container = await app.up()
    (found,) = await site.containers()
    assert (found.id, found.phase) == (container, Phase.RUNNING)
    assert found.labels[LABEL_EXECUTABLE] == "key-app"
    assert found.name.startswith(f"claraedge-deployment-{INSTANCE[:12]}-key-app-")
    app.dismiss()
    await site.ended(app)
    assert site.reports.said == ["up", "closing", "ended"]
    assert await site.containers() == []
    assert app.log_path.exists(), "its log remains"
    with pytest.raises(DeploymentFailedError, match="app was ended"):
        await app.up()


async def test_it_is_started_again_as_its_rule_says_and_says_why(site: SupervisedSite) -> None:
    rule = Fixed([Again(0.0), GiveUp("enough")])
    app = site.keep(rule=rule)
    first = await app.up()
    site.codes.put_nowait(7)
    await eventually(lambda: app.restarts == 1 and app.fit, "it is up again")
    assert await app.up() != first
    assert app.reason is not None
    assert app.reason.startswith("app ended by itself (exit code 7); its last line: no licence")
    assert str(app.log_path) in app.reason
    site.codes.put_nowait(9)
    await site.ended(app)
    assert isinstance(app.failure, DeploymentFailedError)
    assert str(app.failure).startswith("app ended by itself (exit code 9)")
    assert str(app.failure).endswith("; enough")
    assert site.reports.said[:4] == ["up", "restarted 1", "up", "closing"]
    assert site.reports.said[4] == f"lost: {app.failure}"
    assert await site.containers() == []
    ends = [(end and end.code, was_up, len(restarts)) for end, was_up, restarts in rule.asked]
    assert ends == [(7, True, 0), (9, True, 1)]


@pytest.mark.parametrize("code", [0, 7])
async def test_a_final_end_is_reported_before_the_container_is_removed(
    site: SupervisedSite, code: int
) -> None:
    """Whoever records it first can be killed in between: the exit code is still there."""
    app = site.keep(rule=Never())
    await app.up()
    site.codes.put_nowait(code)
    await site.ended(app)
    assert site.reports.containers == [1]
    assert (app.rested is None) == (code != 0)
    assert (app.failure is None) == (code == 0)
    assert await site.containers() == []


async def test_what_ends_before_it_is_up_never_was_up(site: SupervisedSite) -> None:
    rule = Fixed([Again(0.0), Again(0.0), GiveUp("it ended 3 times")])
    site.codes.put_nowait(1)
    site.codes.put_nowait(2)
    site.codes.put_nowait(3)
    app = site.keep(rule=rule, up=30.0)
    with pytest.raises(DeploymentFailedError, match="exit code 3"):
        await app.up()
    await site.ended(app)
    assert [was_up for _, was_up, _ in rule.asked] == [False] * 3
    assert "up" not in site.reports.said


async def test_it_is_not_up_before_it_has_run_for_the_time(site: SupervisedSite) -> None:
    app = site.keep(up=0.3)
    await eventually(lambda: app.container is not None, "it runs")
    began = asyncio.get_running_loop().time()
    await app.up()
    assert asyncio.get_running_loop().time() - began > 0.2


async def test_a_pause_ends_when_it_is_not_wanted_any_more(site: SupervisedSite) -> None:
    app = site.keep(rule=Fixed([Again(1000.0)]))
    await app.up()
    site.codes.put_nowait(1)
    await eventually(lambda: app.restarts == 1, "it waits")
    assert await site.containers() == []
    assert not app.fit
    app.dismiss()
    await site.ended(app)
    assert app.failure is None
    assert len(site.runner.started) == 1


async def test_a_pause_ends_when_it_gets_another_recipe(site: SupervisedSite) -> None:
    app = site.keep(rule=Fixed([Again(1000.0)]))
    await app.up()
    site.codes.put_nowait(1)
    await eventually(lambda: app.restarts == 1, "it waits")
    async with asyncio.timeout(10):
        await site.keepers["app"].replace(site.recipe(command=("new",)))
    assert site.runner.started[-1].command == ("new",)


async def test_a_missing_image_fails_at_once_with_its_own_error(site: SupervisedSite) -> None:
    site.runner.drop_image("site/app:1")
    app = site.keep(rule=OnFailure())
    with pytest.raises(ImageNotFoundError):
        await app.up()
    await site.ended(app)
    assert len(site.reports.containers) == 1


async def test_what_was_up_is_created_again_when_its_image_is_back(site: SupervisedSite) -> None:
    image = await site.runner.find_image("site/app:1")
    app = site.keep(rule=Fixed([Again(0.01)]))
    await app.up()
    site.runner.drop_image("site/app:1")
    site.codes.put_nowait(1)
    await eventually(lambda: app.restarts > 2, "it is tried again")
    assert await site.containers() == []
    site.runner.add_image("site/app:1", site._program)
    assert image is not None
    await app.up()


async def test_a_full_disk_is_named(site: SupervisedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state/deployments/logs")

    monkeypatch.setattr(files, "make_folders", full)
    app = site.keep(rule=OnFailure())
    with pytest.raises(StorageFullError, match="/state/deployments/logs"):
        await app.up()


async def test_a_folder_that_cannot_be_made_is_an_error_of_its_kind(
    site: SupervisedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/state")

    monkeypatch.setattr(files, "make_folders", refused)
    app = site.keep(rule=OnFailure())
    with pytest.raises(DeploymentFailedError, match=r"app cannot be made: .*'/state'"):
        await app.up()


async def test_a_start_that_is_refused_leaves_no_container(site: SupervisedSite) -> None:
    site.runner.fail_start("app")
    app = site.keep(rule=Never())
    with pytest.raises(ContainerError, match="refused"):
        await app.up()
    await site.ended(app)
    assert await site.containers() == []


# --- Podman does not answer ------------------------------------------------------------------


async def test_a_patient_one_waits_for_podman_and_an_impatient_one_fails(
    site: SupervisedSite,
) -> None:
    site.runner.available = False
    hasty = site.keep("hasty")
    with pytest.raises(RunnerUnavailableError):
        await hasty.up()
    patient = site.keep("patient", patient=True)
    await eventually(lambda: site.left > 1, "it has tried")
    site.runner.available = True
    await patient.up()


async def test_an_outage_of_podman_is_no_end(site: SupervisedSite) -> None:
    rule = Fixed()
    app = site.keep(rule=rule)
    container = await app.up()
    site.runner.available = False
    site.codes.put_nowait(3)
    await eventually(site.codes.empty, "it has ended")
    site.runner.available = True
    await eventually(lambda: app.restarts == 1 and app.fit, "it is up again")
    assert [end and end.code for end, _, _ in rule.asked] == [3]
    assert await app.up() != container


async def test_a_container_of_a_call_without_an_answer_is_gone_before_the_next_one(
    site: SupervisedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman has started it, and nobody knows: two of them would share one localhost."""
    start = site.runner.start
    answers = 0
    most = 0

    async def lost_answer(container: str) -> None:
        nonlocal answers, most
        await start(container)
        running = [c for c in await site.containers() if c.phase is Phase.RUNNING]
        most = max(most, len(running))
        answers += 1
        if answers == 1:
            raise RunnerUnavailableError("no answer")

    monkeypatch.setattr(site.runner, "start", lost_answer)
    app = site.keep(patient=True)
    await app.up()
    assert answers == 2
    assert most == 1
    assert len(await site.containers()) == 1


# --- a next daemon ---------------------------------------------------------------------------


async def test_a_next_daemon_adopts_what_runs(site: SupervisedSite) -> None:
    await site.keep().up()
    await site.restart()
    (found,) = await site.containers()
    app = site.keep(found=found, was_fit=True)
    assert (app.digest, app.memory) == (site.recipe().digest, 5)
    assert await app.up() == found.id
    assert len(site.runner.started) == 1
    app.dismiss()
    await site.ended(app)
    assert await site.containers() == []


@pytest.mark.parametrize("code", [0, 7])
async def test_what_ended_while_no_daemon_ran_is_decided_by_its_exit_code(
    site: SupervisedSite, code: int
) -> None:
    await site.keep().up()
    await site.restart()
    site.codes.put_nowait(code)
    await eventually(site.codes.empty, "it has ended")
    (found,) = await site.containers()
    assert found.phase is Phase.STOPPED
    app = site.keep(rule=OnFailure(), found=found, was_fit=True)
    if code == 0:
        await site.ended(app)
        assert app.rested == "it ended with exit code 0"
        assert len(site.runner.started) == 1
    else:
        await eventually(lambda: app.restarts == 1 and app.fit, "it is up again")


async def test_what_a_power_cut_ended_has_failed(site: SupervisedSite) -> None:
    await site.keep().up()
    await site.restart()
    site.runner.cut_power()
    (found,) = await site.containers()
    rule = Fixed()
    app = site.keep(rule=rule, found=found, was_fit=True)
    await eventually(lambda: app.restarts == 1 and app.fit, "it is up again")
    assert rule.asked == [(Exit(cause=ExitCause.VANISHED), True, ())]
    assert app.reason is not None
    assert app.reason.startswith("app was interrupted by a restart of the machine")
    assert len(await site.containers()) == 1


async def test_what_was_never_started_is_created_again_without_asking_the_rule(
    site: SupervisedSite,
) -> None:
    """The daemon was killed between create and start: the policy `never` allows this one."""
    recipe = site.recipe()
    name = site.workshop.new_name(recipe.key)
    await site.workshop.make(recipe, name=name, networks={})
    (found,) = await site.containers()
    rule = Fixed([GiveUp("")])
    app = site.keep(rule=rule, found=found)
    assert await app.up() != found.id
    assert rule.asked == []
    assert len(await site.containers()) == 1
    assert len(site.runner.started) == 1


async def test_orphans_go_and_what_is_kept_stays(site: SupervisedSite) -> None:
    app = site.keep()
    container = await app.up()
    holder = site.holder()
    await holder.ready()
    recipe = site.recipe("other")
    await site.workshop.make(recipe, name=site.workshop.new_name("o"), networks={})
    foreign = ContainerSpec(
        name="f", image=site.image, log_path=site.folder / "f", labels={LABEL_DEPLOYMENTS: "else"}
    )
    await site.runner.create(foreign)
    half = site.workshop.new_name("half")
    site.runner.halves |= {half, "claraedge-deployment-else-half"}
    await site.orphans.remove_orphans()  # none is expected
    assert len(await site.containers()) == 3
    site.orphans.expect()
    await site.orphans.remove_orphans()
    assert {c.id for c in await site.containers()} == {container, holder.container}
    assert site.runner.halves == {"claraedge-deployment-else-half"}
    assert len(await site.runner.containers({})) == 3
    assert site.orphans.soonest() is not None, "once more a little later"


# --- another recipe --------------------------------------------------------------------------


async def test_another_recipe_replaces_the_container(site: SupervisedSite) -> None:
    app = site.keep()
    await app.up()
    new = site.recipe(command=("new",))
    await site.keepers["app"].replace(new)
    assert (app.recipe, app.digest, app.fit) == (new, new.digest, True)
    assert site.runner.started[-1].command == ("new",)
    assert len(await site.containers()) == 1
    assert site.reports.said == ["up", "up"], "that is no restart"


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_another_recipe_at_any_moment_is_up_when_that_is_said(
    site: SupervisedSite, steps: int
) -> None:
    app = site.keep()
    for _ in range(steps):
        await asyncio.sleep(0)
    new = site.recipe(command=("new",))
    await site.keepers["app"].replace(new)
    assert (app.digest, app.fit) == (new.digest, True)
    (found,) = await site.containers()
    assert (found.id, found.phase) == (app.container, Phase.RUNNING)
    assert site.runner.started[-1].command == ("new",)


async def test_another_recipe_in_the_moment_when_the_present_one_is_up(
    site: SupervisedSite,
) -> None:
    new = site.recipe(command=("new",))
    replacing: list[asyncio.Task[tuple[str, bool]]] = []

    async def replaced() -> tuple[str, bool]:
        await site.keepers["app"].replace(new)
        return app.digest, app.fit

    async def replace_and_be_up(_supervised: SupervisedContainer, _container: str) -> None:
        if not replacing:
            replacing.append(asyncio.create_task(replaced()))
            await asyncio.sleep(0)

    app = site.keep(fit=replace_and_be_up)
    await eventually(lambda: replacing, "the first one runs")
    assert await replacing[0] == (new.digest, True)


async def test_another_recipe_that_does_not_come_up_is_taken_back(site: SupervisedSite) -> None:
    rule = Fixed([Again(0.0), Again(0.0), GiveUp("enough")])
    app = site.keep(rule=rule, up=0.2)
    await app.up()
    site.codes.put_nowait(1)
    await eventually(lambda: app.restarts == 1 and app.fit, "it is up again")
    old = app.recipe
    replacing = asyncio.create_task(site.keepers["app"].replace(site.recipe(command=("new",))))
    await eventually(lambda: len(site.runner.started) == 3, "the new one is started")
    site.codes.put_nowait(1)
    site.codes.put_nowait(2)
    with pytest.raises(DeploymentFailedError, match=r"exit code 2.*; enough"):
        await replacing
    await app.up()
    assert [spec.command for spec in site.runner.started][2:] == [("new",), ("new",), ()]
    asked = [(was_up, len(restarts)) for _, was_up, restarts in rule.asked]
    assert asked == [(True, 0), (False, 0), (False, 1)], "the new one never was up"
    assert (app.recipe, app.was_fit, app.failure) == (old, True, None)
    assert len(await site.containers()) == 1
    assert not [said for said in site.reports.said if said.startswith("lost")]


async def test_another_recipe_that_cannot_be_created_is_taken_back(site: SupervisedSite) -> None:
    app = site.keep(rule=OnFailure())
    await app.up()
    site.runner.fail_create("app", "no such device")
    with pytest.raises(ContainerError, match="no such device"):
        await site.keepers["app"].replace(site.recipe(command=("new",)))
    await app.up()
    assert site.runner.started[-1].command == ()


async def test_a_replacement_ends_with_what_it_replaces(site: SupervisedSite) -> None:
    app = site.keep(up=0.1)
    await app.up()
    replacing = asyncio.create_task(site.keepers["app"].replace(site.recipe(command=("new",))))
    await asyncio.sleep(0)
    app.dismiss()
    with pytest.raises(DeploymentFailedError, match="app was ended"):
        await replacing
    await site.ended(app)
    assert await site.containers() == []
    with pytest.raises(DeploymentFailedError, match="app was ended"):
        await site.keepers["app"].replace(site.recipe())


# --- the network namespace -------------------------------------------------------------------


async def test_containers_join_their_holder_and_find_it_after_a_restart(
    site: SupervisedSite,
) -> None:
    holder = site.holder()
    one, two = (site.keep(name, holder=holder) for name in ("one", "two"))
    await one.up()
    await two.up()
    namespace = holder.container
    assert (one.joins, two.joins) == (namespace, namespace)
    site.codes.put_nowait(1)
    await eventually(lambda: one.restarts + two.restarts == 1 and one.fit and two.fit, "both run")
    assert holder.container == namespace
    assert len(await site.containers()) == 3


@pytest.mark.parametrize("loss", ["kill", "remove"])
async def test_a_holder_that_is_lost_is_created_again_with_all_that_joined_it(
    site: SupervisedSite, loss: str
) -> None:
    await site.runner.create_network("n", {})
    holder = site.holder()
    await holder.join("n", "10.89.0.9")
    apps = [site.keep(name, holder=holder) for name in ("one", "two")]
    for app in apps:
        await app.up()
    old = holder.container
    assert old is not None
    if loss == "kill":
        site.runner.kill("holder")
    else:
        await site.runner.remove(old)
    await eventually(lambda: all(a.restarts == 1 and a.fit for a in apps), "both are up again")
    assert holder.container != old
    assert {app.joins for app in apps} == {holder.container}
    assert {app.reason and app.reason.split(";")[0].split(" (its log")[0] for app in apps} == {
        f"{name} was ended, because the container with its network namespace is gone"
        for name in ("one", "two")
    }
    found = {c.id: c for c in await site.containers()}
    assert len(found) == 3
    assert found[str(holder.container)].networks == ("n",)


async def test_a_next_daemon_finds_holder_and_containers(site: SupervisedSite) -> None:
    holder = site.holder()
    await site.keep(holder=holder).up()
    await site.restart()
    found = {c.phase: c for c in await site.containers()}
    again = site.holder(found=found[Phase.CREATED].id)
    app = site.keep(holder=again, found=found[Phase.RUNNING], was_fit=True)
    assert await app.up() == found[Phase.RUNNING].id
    assert app.joins == found[Phase.CREATED].id == await again.ready()
    app.dismiss()
    await site.ended(app)
    await again.end()
    assert await site.containers() == []


async def test_a_next_daemon_after_a_power_cut_creates_both_again(site: SupervisedSite) -> None:
    holder = site.holder()
    await site.keep(holder=holder).up()
    await site.restart()
    site.runner.cut_power()
    found = {c.phase: c for c in await site.containers()}
    again = site.holder(found=found[Phase.CREATED].id)
    rule = Fixed()
    app = site.keep(rule=rule, holder=again, found=found[Phase.INTERRUPTED], was_fit=True)
    await eventually(lambda: app.restarts == 1 and app.fit, "it is up again")
    assert app.reason is not None
    assert "was interrupted by a restart of the machine" in app.reason
    assert app.joins == again.container != found[Phase.CREATED].id
    assert len(await site.containers()) == 2


async def test_a_wanted_end_is_no_failure_because_the_holder_is_lost_as_well(
    site: SupervisedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = site.holder()
    await site.keep(holder=holder).up()
    await site.restart()
    site.codes.put_nowait(0)
    await eventually(site.codes.empty, "it has ended")
    site.runner.cut_power()
    found = {c.phase: c for c in await site.containers()}
    again = site.holder(found=found[Phase.CREATED].id)
    wait = site.runner.wait

    async def slow(container: str) -> Exit:
        await asyncio.sleep(0.1)
        return await wait(container)

    monkeypatch.setattr(site.runner, "wait", slow)
    app = site.keep(rule=Never(), holder=again, found=found[Phase.STOPPED], was_fit=True)
    await site.ended(app)
    assert app.rested == "it ended with exit code 0"
    assert site.reports.said[:2] == ["closing", f"rested: {app.rested}"]


async def test_a_holder_that_cannot_be_removed_is_an_orphan(site: SupervisedSite) -> None:
    holder = site.holder()
    await holder.ready()
    site.runner.refuse_removal("holder")
    await holder.end()
    assert site.left == 1
    assert holder.container is None
    assert site.orphans.soonest() == 0.0
