"""The console in a browser: each page in each mode, and pages that are live."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from claraedge.wire.nvidia.clara.platform import jobs_pb2
from tests.campaign import SCREENSHOTS
from tests.contract.test_result_viewers import python
from tests.rig.pipelines import chain
from tests.unit.web.conftest import folder as folder
from tests.unit.web.test_tcp import Site, site_in

pytestmark = pytest.mark.timeout(600)

CLIENTS = Path(__file__).parent / "clients"
#: As wide as a name may be, in the other direction, and with markup.
HOSTILE = "<script>alert(1)</script><b>" + "שלום" * 20 + "x" * 60
#: The most bytes of a page.
LARGEST = 200_000


async def job_of(site: Site, pipeline: str, name: str) -> str:
    request = jobs_pb2.JobsCreateRequest(name=name)
    request.pipeline_id.value = pipeline
    made = await site.daemon.jobs.Create(request)
    assert made.header.code == 0, made
    return str(made.job_id.value)


async def filled(site: Site) -> dict[str, str]:
    """Fills a device with work; returns the paths of its pages by their names."""
    daemon = site.daemon
    pipeline = await daemon.register(chain("reader", "segmentation", "writer"))
    done = (await daemon.run(pipeline, x=b"name,size\nlung,3\n")).job_id.value
    waiting = await job_of(site, pipeline, HOSTILE)
    daemon.config.inbox_dir.mkdir(exist_ok=True)
    dropped = daemon.config.inbox_dir / "<img src=x onerror=alert(1)>.txt"
    await asyncio.to_thread(dropped.write_text, "x")
    return {
        "overview": "/",
        "jobs": "/ui/jobs",
        "job": f"/ui/jobs/{done}",
        "waiting": f"/ui/jobs/{waiting}",
        "files": f"/ui/jobs/{done}/files",
        "file": f"/ui/jobs/{done}/files/operators/writer/x",
        "log": f"/ui/jobs/{done}/logs/writer",
        "inbox": "/ui/inbox",
        "find": "/ui/find?q=x",
        "pipelines": "/ui/pipelines",
        "pipeline": f"/ui/pipelines/{pipeline}",
        "run": f"/ui/pipelines/{pipeline}/run",
        "upload": "/ui/upload",
        "deployments": "/ui/deployments",
        "device": "/ui/device",
        "images": "/ui/images",
        "models": "/ui/models",
        "packages": "/ui/packages",
        "events": "/ui/events",
    }


async def test_each_page_is_accessible_and_fits_in_each_mode(folder: Path, tmp_path: Path) -> None:
    pictures = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    async with site_in(folder) as site:
        plan = tmp_path / "paths.json"
        paths = await filled(site)
        await asyncio.to_thread(plan.write_text, json.dumps(paths))
        browser = await asyncio.create_subprocess_exec(
            python(), CLIENTS / "console_modes.py", f"http://127.0.0.1:{site.http.port}",
            site.token, plan, pictures,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await browser.communicate()
    assert browser.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    assert len(found) == 4 * len(paths)
    for mode, one in found.items():
        assert one["status"] == 200, mode
        assert one["violations"] == [], mode
        assert one["beyond"] <= 0, mode
        assert one["said"] == [], mode
        assert one["others"] == [], mode
        assert 0 < one["bytes"] < LARGEST, mode


async def test_twelve_tabs_are_each_live_when_they_are_visible(folder: Path) -> None:
    tabs = 12
    async with site_in(folder) as site:
        pipeline = await site.daemon.register(chain("one"))
        browser = await asyncio.create_subprocess_exec(
            python(), CLIENTS / "console_tabs.py", f"http://127.0.0.1:{site.http.port}",
            site.token, "/ui/jobs", str(tabs),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert browser.stdin is not None
        assert browser.stdout is not None
        try:
            assert await browser.stdout.readline() == b"open\n", await browser.stderr.read()  # type: ignore[union-attr]
            for tab in range(tabs):
                # One comes before the tab is visible, the other one after that.
                await job_of(site, pipeline, f"before-{tab}")
                browser.stdin.write(f"{tab} before-{tab}\n".encode())
                assert await browser.stdout.readline() == b"shown\n", tab
                await job_of(site, pipeline, f"after-{tab}")
                browser.stdin.write(f"{tab} after-{tab}\n".encode())
                assert await browser.stdout.readline() == b"shown\n", tab
            browser.stdin.close()
            assert await browser.wait() == 0
        finally:
            if browser.returncode is None:
                browser.kill()
                await browser.wait()
