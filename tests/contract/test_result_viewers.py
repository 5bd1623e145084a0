"""What people see of results in a browser: pictures by DICOM, hostile reports, logs that grow."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.dicom_pictures import Picture, made, pictures
from tests.contract.original import PYTHON
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.web.conftest import folder as folder
from tests.unit.web.test_tcp import Site, site_in

# One browser visits all pictures before the first test; CI is slow.
pytestmark = pytest.mark.timeout(600)

CLIENT = Path(__file__).parent / "clients" / "visits.py"
PICTURES = pictures()
DRAWN = "document.querySelector('.dicom').dataset.state !== undefined"
SAID = "document.querySelector('[data-part=said]').textContent"
#: The colours of the canvas, and its size.
PIXELS = """(() => {
  const canvas = document.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return { width: canvas.width, height: canvas.height, colours: [...data] };
})()"""
#: Moves the slider of the frames as a hand does.
FRAME = """(() => {
  const slider = document.querySelector("[data-part=frame]");
  slider.value = %d;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
})()"""
AT_FRAME = "document.querySelector('.dicom').dataset.frame === '%d'"


def python() -> Path:
    """The Python that has playwright."""
    if shutil.which("chromium") is None:
        pytest.skip("apt-get install chromium")
    if PYTHON.exists():
        return PYTHON
    if importlib.util.find_spec("playwright") is not None:
        return Path(sys.executable)
    pytest.skip("playwright is not installed: run build/lib/contract install")


async def visited(site: Site, visits: list[dict[str, Any]], during: Any = None) -> list[Any]:
    """Returns what the browser saw. `during` is awaited meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder, "visits.json")
        await asyncio.to_thread(plan.write_text, json.dumps(visits))
        browser = await asyncio.create_subprocess_exec(
            python(), CLIENT, f"http://127.0.0.1:{site.http.port}", site.token, plan,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        meanwhile = asyncio.create_task(during or asyncio.sleep(0))
        out, err = await browser.communicate()
    assert browser.returncode == 0, err.decode()
    found: list[Any] = json.loads(out)
    assert [one["failure"] for one in found if one["failure"]] == []
    await meanwhile
    return found


async def job_with(site: Site, files: Mapping[str, bytes]) -> str:
    created = await site.daemon.create(await site.daemon.register(chain("copy")))
    for name, content in files.items():
        await site.daemon.upload(created.payload_id.value, (name, content))
    return str(created.job_id.value)


# --- DICOM ----------------------------------------------------------------------------------------


def plan_of(name: str, picture: Picture) -> dict[str, Any]:
    steps: list[list[Any]] = [["eval", SAID]]
    if picture.grey or picture.colours:
        steps.append(["eval", PIXELS])
    for frame in picture.frames:
        steps += [["eval", FRAME % frame], ["until", AT_FRAME % (frame - 1)], ["eval", PIXELS]]
    return {"path": name, "ready": DRAWN, "steps": steps}


@pytest.fixture(scope="module")
def seen() -> Mapping[str, Any]:
    """What the browser saw of each file of `PICTURES`."""

    async def all_seen() -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory(prefix="ce-") as folder:
            async with site_in(Path(folder)) as site:
                files = {f"{name}.dcm": one.content for name, one in PICTURES.items()}
                job = await job_with(site, files)
                plans = [
                    plan_of(f"/ui/jobs/{job}/files/input/{name}.dcm", one)
                    for name, one in PICTURES.items()
                ]
                return dict(zip(PICTURES, await visited(site, plans), strict=True))

    return asyncio.run(all_seen())


def compared(pixels: Mapping[str, Any], expected: list[tuple[int, int, int]]) -> None:
    colours = pixels["colours"]
    assert pixels["width"] * pixels["height"] == len(expected)
    shown = [tuple(colours[at : at + 3]) for at in range(0, len(colours), 4)]
    assert set(colours[3::4]) == {255}
    for one, wanted in zip(shown, expected, strict=True):
        assert all(abs(a - b) <= 1 for a, b in zip(one, wanted, strict=True)), (shown, expected)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_as_its_tags_say(name: str, seen: Mapping[str, Any]) -> None:
    picture, found = PICTURES[name], seen[name]
    assert found["said"] == [], "errors, or requests that the policy refused"
    said, *values = found["values"]
    assert picture.said in said
    assert bool(picture.said) is bool(said)
    pixels = [value for value in values if value is not None]
    greys = [picture.grey, *picture.frames.values()] if picture.grey else []
    for one, levels in zip(pixels, greys, strict=not picture.colours):
        assert levels is not None
        compared(one, [(level, level, level) for level in levels])
    if picture.colours:
        compared(pixels[0], picture.colours)


ROWS = """[...document.querySelectorAll("[data-part=tags] tbody tr")].map(
  (row) => [...row.children].map((cell) => cell.textContent))"""


async def test_tags_are_listed_and_those_of_persons_are_marked(folder: Path) -> None:
    content = made(
        bytes(6),
        SpecificCharacterSet="ISO_IR 192",
        PatientName="<img src=x onerror=alert(1)>^Jürgen",
        PatientID="4711",
        StudyDescription="x" * 300,
        PixelSpacing=[2, 1],
        WindowCenter=["40", "-600"],
        WindowWidth=["400", "1500"],
        WindowCenterWidthExplanation=["soft tissue", "lung"],
    )
    choose = """(() => {
      const choice = document.querySelector("[data-part=choice]");
      choice.value = "1";
      choice.dispatchEvent(new Event("change", { bubbles: true }));
      return [...choice.options].map((one) => one.text);
    })()"""
    centre = "document.querySelector('[data-part=centre]').value"
    async with site_in(folder) as site:
        job = await job_with(site, {"a.dcm": content})
        (found,) = await visited(
            site,
            [
                {
                    "path": f"/ui/jobs/{job}/files/input/a.dcm",
                    "ready": DRAWN,
                    "steps": [
                        ["eval", ROWS],
                        ["eval", "document.querySelector('canvas').style.aspectRatio"],
                        ["eval", choose],
                        ["until", f"{centre} === '-600'"],
                        ["eval", "document.images.length"],
                    ],
                }
            ],
        )
    rows, ratio, options, images = found["values"]
    assert found["said"] == []
    named = {row[0]: row[1:] for row in rows}
    assert named["(0010,0010)"] == [
        "Patient's Name personal",
        "<img src=x onerror=alert(1)>^Jürgen",
    ]
    assert named["(0010,0020)"] == ["Patient ID personal", "4711"]
    assert named["(0008,1030)"] == ["Study Description", "x" * 200 + "…"]
    assert named["(0028,0010)"] == ["Rows", "2"]
    assert ratio == "3 / 4"
    assert options == ["soft tissue", "lung"]
    assert images == 0


async def test_the_window_is_changed_by_keys_and_by_dragging(folder: Path) -> None:
    content = made(bytes(range(250)) * 40, Rows=100, Columns=100)
    values = (
        "['centre', 'width'].map((one) =>"
        " Number(document.querySelector(`[data-part=${one}]`).value))"
    )
    drawn = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    async with site_in(folder) as site:
        job = await job_with(site, {"a.dcm": content})
        (found,) = await visited(
            site,
            [
                {
                    "path": f"/ui/jobs/{job}/files/input/a.dcm",
                    "ready": DRAWN,
                    "steps": [
                        ["eval", values],
                        ["eval", PIXELS],
                        ["press", "[data-part=centre]", "ArrowRight"],
                        ["press", "[data-part=width]", "PageDown"],
                        ["eval", values],
                        ["drag", "canvas", 60, -40],
                        ["eval", drawn],
                        ["eval", values],
                        ["eval", PIXELS],
                        ["click", "[data-part=reset]"],
                        ["until", f"{values}[1] === 249"],
                        ["eval", PIXELS],
                    ],
                }
            ],
        )  # fmt: skip
    first, before, by_keys, _, by_hand, after, again = found["values"]
    assert first == [124.5, 249]
    assert by_keys == [125.5, pytest.approx(249 - 498 / 20, abs=0.1)]
    assert by_hand[0] < by_keys[0]
    assert by_hand[1] > by_keys[1]
    assert after != before
    assert again == before


# --- hostile files --------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Iterator[dict[str, int]]:
    """A port of this machine, and how often somebody connected to it."""
    found = {"count": 0, "port": 0}
    with socket.create_server(("127.0.0.1", 0)) as server:
        found["port"] = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                found["count"] += 1
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield found


def hostile(port: int) -> str:
    to = f"http://127.0.0.1:{port}/"
    return f"""<!doctype html><title>x</title>
<link rel=preconnect href={to}><link rel=dns-prefetch href={to}><link rel=prefetch href={to}>
<link rel=stylesheet href={to}><base href={to}><meta http-equiv=refresh content="0;url={to}">
<script>parent.hit = 1; fetch("/v1/jobs"); open("{to}"); location = "{to}"</script>
<img src={to} onerror="parent.hit = 1"><video src={to} autoplay></video><audio src={to}></audio>
<iframe src={to}></iframe><IFRAME srcdoc="<img src={to}>"></IFRAME><object data={to}></object>
<embed src={to}><input type=image src={to}><table background={to}><tr><td>x</table>
<svg><image href={to} /><use href="{to}#a"/></svg><style>@import "{to}"; body {{
background: url({to}); color: rgb(1, 2, 3) }}</style>
<p style="font-size: 31px">text</p><a id=link href={to} ping={to}>link</a>
<a id=blank href={to} target=_blank>blank</a><a id=top href={to} target=_top>top</a>
<form action={to} method=post><button id=send>send</button></form>
<img id=own src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7">"""


async def test_a_hostile_report_runs_nothing_and_reaches_nothing(
    folder: Path, listening: dict[str, int]
) -> None:
    text = hostile(listening["port"])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" onload="parent.hit = 1" width="9" height="9">'
        f'<script>hit = 1</script><image href="http://127.0.0.1:{listening["port"]}/"/></svg>'
    )
    clicks = [["frame", f"#{one}"] for one in ("send", "blank", "top", "link")]
    async with site_in(folder) as site:
        files = {"r.html": text.encode(), "s.svg": svg.encode()}
        files["u.html"] = b"\xff\xfe" + text.encode("utf-16-le")
        job = await job_with(site, files)
        visits = [
            {
                "path": f"/ui/jobs/{job}/files/input/{name}",
                "ready": "document.querySelector('iframe') !== null",
                "steps": [*clicks, ["eval", "window.hit === undefined"], ["eval", "location.href"]],
            }
            for name in ("r.html", "u.html")
        ]
        visits.append(
            {
                "path": f"/ui/jobs/{job}/files/input/s.svg",
                "ready": "document.querySelector('main img').complete",
                "steps": [
                    ["eval", "window.hit === undefined"],
                    ["eval", "location.href"],
                    ["eval", "document.querySelector('main img').naturalWidth"],
                ],
            }
        )
        for visit, found in zip(visits, await visited(site, visits), strict=True):
            assert found["values"][0] is True
            assert found["values"][1].endswith(visit["path"])
            assert found["pages"] == 1
            sent = [one for one in found["asked"] if one.startswith("POST")]
            assert [one for one in sent if str(site.http.port) in one] == []
            assert [one for one in found["asked"] if "/v1/jobs" in one] == []
        assert found["values"][2] == 9
    assert listening["count"] == 0


async def test_a_report_is_shown_in_a_sandbox(folder: Path) -> None:
    text = hostile(9)
    shown = """(() => {
      const frame = document.querySelector("iframe");
      return [frame.sandbox.length, frame.hasAttribute("sandbox"), frame.clientHeight > 200];
    })()"""
    async with site_in(folder) as site:
        job = await job_with(site, {"r.html": text.encode()})
        (found,) = await visited(
            site,
            [{"path": f"/ui/jobs/{job}/files/input/r.html", "ready": "true",
              "steps": [["eval", shown]]},
             ],
        )  # fmt: skip
    assert found["values"] == [[0, True, True]]


# --- logs -----------------------------------------------------------------------------------------


async def test_a_log_that_grows_is_followed_paused_and_kept_short(folder: Path) -> None:
    async with site_in(folder) as site:
        daemon = site.daemon
        daemon.runner.block("copy")
        job = await job_with(site, {"a.txt": b"x"})
        await daemon.start(job)
        await daemon.until_runs("copy")
        path = daemon.config.state_dir / "jobs" / job / "logs" / "copy" / "1.log"
        path.parent.mkdir(parents=True, exist_ok=True)

        def write(*lines: str) -> None:
            with path.open("a") as file:
                for line in lines:
                    file.write(f"2026-01-01T00:00:00.0+00:00 stdout F {line}\n")

        async def grow() -> None:
            for name, lines in (
                ("more", [f"more {n} {'y' * 40}" for n in range(9000)]),
                ("scrolled", ["after scrolling"]),
                ("paused", ["while paused"]),
                ("end", []),
            ):
                await eventually(Path(folder, name).exists, f"the browser has come to {name}")
                write(*lines)
            daemon.runner.release("copy")
            await daemon.end(job)

        write(*(f"\x1b[32mline {n}\x1b[0m <b>" for n in range(1500)))
        log, pause = "document.querySelector('.log')", "[data-part=pause]"
        is_down = f"{log}.scrollTop + {log}.clientHeight >= {log}.scrollHeight - 8"
        lines = f"/v1/jobs/{job}/operators/copy/lines"
        visit = {
            "path": f"/ui/jobs/{job}/logs/copy",
            "ready": f"{log}.querySelector('span') !== null",  # the stream has begun
            "steps": [
                ["eval", f"{log}.textContent.trim().split('\\n').map((one) => one.trim())"],
                ["eval", is_down],
                ["touch", f"{folder}/more"],
                ["until", f"{log}.textContent.includes('more 8999 ')"],
                ["eval", f"{log}.textContent.split('\\n').length"],
                ["eval", is_down],
                ["eval", f"{log}.scrollTop = 0"],
                ["touch", f"{folder}/scrolled"],
                ["until", f"{log}.textContent.includes('after scrolling')"],
                ["eval", is_down],
                ["until", "!document.querySelector('[data-part=down]').hidden"],
                ["click", pause],
                ["touch", f"{folder}/paused"],
                ["until", f"fetch('{lines}').then((answer) => answer.text())"
                 ".then((text) => text.includes('while paused'))"],
                ["eval", f"{log}.textContent.includes('while paused')"],
                ["click", pause],
                ["until", f"{log}.textContent.includes('while paused')"],
                ["click", "[data-part=down]"],
                ["eval", is_down],
                ["touch", f"{folder}/end"],
                ["until", f"{SAID} === 'The log has ended.'"],
            ],
        }  # fmt: skip
        (found,) = await visited(site, [visit], grow())
    assert found["said"] == []
    first, began_down, count, stays_down, _, scrolled, paused, down = found["values"]
    assert first == [f"line {n} <b>" for n in range(500, 1500)]
    assert began_down is True
    assert 2000 < count < 7000, "the oldest lines are left out"
    assert stays_down is True
    assert scrolled is False
    assert paused is False
    assert down is True
