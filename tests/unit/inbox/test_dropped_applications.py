"""Drops for pipelines whose images say themselves how they are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.delivery.plan import plan
from claraedge.errors import InvalidRequestError, PipelineLoadError
from claraedge.inbox.model import ItemState
from claraedge.pipelines.application import Application, applied
from claraedge.pipelines.model import ContainerDefinition, Operator, Pipeline
from tests.rig.inbox import drop, ended, inbox_rig, make_config

APP = "api-version: 0.4.0\nname: {name}\noperators:\n- name: app\n  container: {{image: app}}\n"
SAYS = Application(command=("/app",), input="/in", output="/out", shared_memory=64)


class Applications:
    """What the images say; a reason makes them wrong."""

    def __init__(self) -> None:
        self.asked = 0
        self.reason = ""

    async def applied(self, pipeline: Pipeline) -> Pipeline:
        self.asked += 1
        if self.reason:
            raise PipelineLoadError(self.reason)
        for operator in pipeline.operators:
            pipeline = pipeline.with_operator(applied(operator, SAYS))
        return pipeline


@pytest.fixture
def applications() -> Applications:
    return Applications()


def content(result: str) -> bytes:
    return Path(result, "app", "x").read_bytes()


@pytest.mark.parametrize("deliver", [(), ("app",)])
async def test_the_output_of_an_application_is_delivered(
    tmp_path: Path, applications: Applications, deliver: tuple[str, ...]
) -> None:
    trigger = {"folder": "app", "pipeline": "app", "deliver": deliver}
    config = make_config(tmp_path, trigger=[trigger])
    async with inbox_rig(config, applied=applications.applied) as rig:
        await rig.register("app", APP)
        drop(rig.config.inbox_dir / "app" / "x")
        (item,) = await rig.delivered()
        assert item.state is ItemState.DELIVERED
        assert item.result_path is not None
        assert content(item.result_path) == b"content"


async def test_many_drops_at_once_ask_once_a_batch(
    tmp_path: Path, applications: Applications
) -> None:
    async with inbox_rig(make_config(tmp_path), applied=applications.applied) as rig:
        await rig.register("app", APP)
        for n in range(40):
            drop(rig.config.inbox_dir / "app" / str(n))
        await rig.delivered(40)
    assert applications.asked <= 20


async def test_a_wrong_manifest_blocks_the_item_until_it_is_right(
    tmp_path: Path, applications: Applications
) -> None:
    applications.reason = "operator `app`: the image app:latest: /etc/monai/app.json: no command"
    async with inbox_rig(make_config(tmp_path), applied=applications.applied) as rig:
        await rig.register("app", APP)
        drop(rig.config.inbox_dir / "app" / "x")
        items = await rig.until(lambda items: [i for i in items if i.state is ItemState.PARKED])
        assert items[0].reason == applications.reason
        applications.reason = ""
        (item,) = await rig.delivered()
        assert item.state is ItemState.DELIVERED


async def test_an_output_that_the_application_does_not_have_blocks_the_item(
    tmp_path: Path, applications: Applications
) -> None:
    trigger = {"folder": "app", "pipeline": "app", "deliver": ("app/mask",)}
    config = make_config(tmp_path, trigger=[trigger])
    async with inbox_rig(config, applied=applications.applied) as rig:
        await rig.register("app", APP)
        drop(rig.config.inbox_dir / "app" / "x")
        items = await rig.until(lambda items: [i for i in items if "no output `mask`" in i.reason])
        assert ended(items) == []


def test_only_an_image_says_whether_an_operator_without_a_command_has_outputs() -> None:
    def pipeline(*command: str) -> Pipeline:
        container = ContainerDefinition(image="app", command=command)
        operator = Operator(name="app", container=container)
        return Pipeline(api_version="0.4.0", name="p", operators=(operator,))

    assert plan(pipeline(), ["app", "app/mask"]) == []
    with pytest.raises(InvalidRequestError, match="`app` has no outputs"):
        plan(pipeline("true"), ["app"])
