"""The pages of the device, of what is installed on it, and of its events."""

from __future__ import annotations

import re

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.web.console.pages.device import images
from claraedge.web.console.pages.device.usage import chart_of
from claraedge.web.console.rendering import POLICY
from claraedge.wire.claraedge.v1 import appliance_pb2
from tests.rig.pipelines import chain
from tests.unit.web.conftest import Answer, Client, Daemon

HOSTILE = "<script>alert(1)</script>"
FORM = "application/x-www-form-urlencoded"
MANIFEST = """
name: NAME
packageVersion: v1
description: "<script>alert(1)</script>"
plans:
- name: default
  components:
  - name: front
    requiredRuntime: device
    executables:
    - {name: first, docker: "copy:1", limits: {memory: 64}}
"""


async def page(http: Client, path: str, language: str = "en") -> str:
    answer = await http.ask("GET", path, Accept_Language=language)
    assert answer.status == 200, answer.body
    assert answer.headers["content-security-policy"] == POLICY
    assert len(answer.body) < 200_000
    text = answer.body.decode()
    assert "<script>alert" not in text
    assert not re.search(r"<script(?! src=)|\bon\w+=|\bstyle=", text)
    return text


async def send(http: Client, path: str, body: str = "") -> Answer:
    return await http.ask("POST", path, body.encode(), Content_Type=FORM)


async def package_in(http: Client, name: str = "web") -> str:
    answer = await http.post("/v1/packages", {"manifest": MANIFEST.replace("NAME", name)})
    made: str = answer.json["id"]
    return made


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize(
    "path",
    [
        "/ui/device", "/ui/device?settings=all", "/ui/images", "/ui/models", "/ui/packages",
        "/ui/deployments", "/ui/events", "/ui/images?start=junk", "/ui/models?start=500",
    ],
)  # fmt: skip
async def test_each_page_is_there_on_an_empty_device(
    daemon: Daemon, http: Client, path: str, language: str
) -> None:
    text = await page(http, path, language)
    assert text.count("<h1>") == 1


async def test_the_device_shows_its_settings_and_where_they_come_from(
    daemon: Daemon, http: Client
) -> None:
    text = await page(http, "/ui/device")
    assert "[inbox] settle_seconds" in text
    assert "[log] level" not in text  # it has its default
    every = await page(http, "/ui/device?settings=all")
    assert "[log] level" in every
    assert "Least severe level that is logged." in every
    assert '<form method="post" action="/logout">' in text
    assert "<meter" in text
    assert "Reserved memory: " in text


async def test_an_image_shows_who_uses_it_and_is_removed(daemon: Daemon, http: Client) -> None:
    await daemon.register(chain("one"))
    package = await package_in(http)
    listed = await page(http, "/ui/images")
    ids = dict(re.findall(r'/ui/images/(\w+)"><bdi class="name">([^<]+)<', listed))
    (copy,) = [id_ for id_, name in ids.items() if name.endswith("copy:1")]
    (fail,) = [id_ for id_, name in ids.items() if name.endswith("fail:1")]
    text = await page(http, f"/ui/images/{copy}")
    assert '<bdi class="name">chain</bdi>' in text
    assert f'href="/ui/packages/{package}"' in text
    text = await page(http, f"/ui/images/{fail}")
    assert "No package and no pipeline names it." in text
    assert "were searched" not in text
    answer = await send(http, f"/ui/images/{fail}/remove")
    assert (answer.status, answer.headers["location"]) == (303, "/ui/images?said=image_removed")
    text = await page(http, "/ui/images?said=image_removed")
    assert "The image was removed." in text
    assert "fail:1" not in text
    assert (await http.ask("GET", f"/ui/images/{fail}")).status == 404
    assert (await send(http, f"/ui/images/{fail}/remove")).status == 404


async def test_the_search_for_users_of_an_image_ends_in_time_and_says_so(
    daemon: Daemon, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await daemon.register(chain("one"))
    listed = await page(http, "/ui/images")
    ids = dict(re.findall(r'/ui/images/(\w+)"><bdi class="name">([^<]+)<', listed))
    (copy,) = [id_ for id_, name in ids.items() if name.endswith("copy:1")]
    users = '<bdi class="name">chain</bdi>'
    assert (await page(http, f"/ui/images/{copy}")).count(users) == 5
    monkeypatch.setattr(images, "_PIPELINES", 3)
    text = await page(http, f"/ui/images/{copy}")
    assert text.count(users) == 3
    assert "Only the first 3 pipelines were searched." in text
    monkeypatch.setattr(images, "_AT_ONCE", 2)
    monkeypatch.setattr(images, "_SECONDS", 0.0)
    text = await page(http, f"/ui/images/{copy}")
    assert text.count(users) == 2
    assert "Only the first 2 pipelines were searched." in text


async def test_a_package_is_deployed_undeployed_and_deleted(daemon: Daemon, http: Client) -> None:
    package = await package_in(http)
    assert f'href="/ui/packages/{package}"' in await page(http, "/ui/packages")
    assert "copy:1" in await page(http, f"/ui/packages/{package}")
    refused = await send(http, f"/ui/packages/{package}/deploy", f"name=%3Cb%3E{'x' * 300}")
    text = refused.body.decode()
    assert '<p class="problem" role="alert">' in text
    assert 'required value="&lt;b&gt;xxx' in text, "what was entered is still there"
    assert f'data-here="/ui/packages/{package}"' in text
    answer = await send(http, f"/ui/packages/{package}/deploy", "name=first")
    assert answer.status == 303
    path = answer.headers["location"].partition("?")[0]
    text = await page(http, answer.headers["location"])
    assert "The package is being deployed." in text
    assert 'action="' + path + '/undeploy"' in text
    assert f'href="{path}"' in await page(http, "/ui/deployments")
    assert (await send(http, f"{path}/undeploy")).headers["location"] == f"{path}?said=undeployed"
    await page(http, f"{path}?said=undeployed")
    assert (await http.ask("GET", "/ui/deployments/none")).status == 404
    assert (await send(http, "/ui/packages/none/delete")).status == 404
    other = await package_in(http, "other")
    answer = await send(http, f"/ui/packages/{other}/delete")
    assert answer.headers["location"] == "/ui/packages?said=package_deleted"
    assert other not in await page(http, "/ui/packages")


async def test_a_model_is_listed_and_deleted(daemon: Daemon, http: Client) -> None:
    from tests.unit.web.test_v1 import zipped

    sent = await http.ask(
        "POST",
        "/v1/models?details.name=m&details.type=MODEL_TYPE_PY_TORCH",
        zipped(),
        Content_Type="application/octet-stream",
    )
    model = sent.json["details"]["modelId"]
    text = await page(http, "/ui/models")
    assert "PyTorch" in text
    assert f'action="/ui/models/{model}/delete"' in text
    answer = await send(http, f"/ui/models/{model}/delete")
    assert answer.headers["location"] == "/ui/models?said=model_deleted"
    assert model not in await page(http, "/ui/models")
    assert (await send(http, f"/ui/models/{model}/delete")).status == 404


async def test_an_archive_that_is_none_says_why_to_the_page_that_sent_it(
    daemon: Daemon, http: Client
) -> None:
    answer = await http.ask("POST", "/v1/images:load", b"", Content_Type="application/octet-stream")
    assert answer.status == 400
    assert "the archive is empty" in answer.json["message"]


def test_the_chart_shows_the_steps_and_its_table_the_most_of_each_part() -> None:
    def at(seconds: int) -> Timestamp:
        return Timestamp(seconds=seconds)

    usage = appliance_pb2.UsageResponse(
        time=at(4600),
        since=at(1000),
        memory_total=1000,
        gpus_total=2,
        history=[
            appliance_pb2.UsageStep(time=at(1000)),
            appliance_pb2.UsageStep(time=at(2800), memory=500, gpus=2),
            appliance_pb2.UsageStep(time=at(2900), memory=100),
            appliance_pb2.UsageStep(time=at(4600), memory=1000),
        ],
    )
    chart = chart_of(usage)
    assert chart.memory == "M0 96H0V96H360V49H380V86.6H720V2H720V96Z"
    assert (chart.memory_now, chart.memory_most, chart.gpus_now, chart.gpus_most) == (
        1000, 1000, 0, 2,
    )  # fmt: skip
    assert [part.memory for part in chart.parts] == [0] * 6 + [500] + [100] * 4 + [1000]
    assert [part.gpus for part in chart.parts] == [0] * 6 + [2] + [0] * 5


def test_a_chart_of_a_device_without_history_and_gpus() -> None:
    chart = chart_of(appliance_pb2.UsageResponse())
    assert chart.gpus == ""
    assert (chart.memory_now, len(chart.parts)) == (0, 12)
