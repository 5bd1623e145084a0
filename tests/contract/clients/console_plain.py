"""A person whose browser has no JavaScript: does what the console promises to do without it.

The one argument is a file with a plan, as for console_tasks.py, with a model as well. Prints what
the person saw, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from chromium import chromium
from console_person import PATIENCE, Person
from playwright.sync_api import Locator


def reads(person: Person, place: Locator) -> None:
    """Loads the page again until a place of it is there."""
    end = time.monotonic() + PATIENCE / 1000
    while not place.count():
        assert time.monotonic() < end, (person.page.url, str(place))
        person.page.wait_for_timeout(300)
        person.page.reload()


def state(person: Person, key: str) -> None:
    reads(person, person.page.locator("#state").filter(has_text=person.words(key)))


def run(person: Person, pipeline: str, job: str) -> None:
    person.go("pipelines.title")
    label = person.words("pipeline.run_one", name=pipeline)
    person.press(person.page.get_by_role("link", name=label, exact=True))
    person.write(person.page.locator("#job-name"), job)


def start(person: Person) -> str:
    person.press(person.button("run.start"))
    return person.page.url.split("?")[0].rpartition("/")[2]


def sends(person: Person, folder: str, field: str, *paths: Path) -> None:
    """Sends files, or a folder, into a folder of the inbox."""
    person.go("upload.title")
    person.choose(person.page.get_by_role("radio", name=folder))
    person.page.locator(field).set_input_files(paths[0] if len(paths) == 1 else list(paths))
    person.press(person.page.locator("#folders noscript button"))


def done(person: Person, plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    page, who, folder = person.page, plan["who"], Path(plan["name"]).parent

    person.go("upload.title")
    person.press(page.locator("#folders noscript button"))
    found["nothing"] = page.locator("p.said").inner_text()
    person.picture("upload")

    sends(person, f"ct-{who}", "#plain-folder", Path(plan["study"]))
    person.sees(person.words("said.dropped", count=3))
    rows = page.locator("#list").get_by_role("row")
    delivered = person.words("item.delivered")
    reads(person, rows.filter(has_text=plan["uid"]).filter(has_text=delivered))

    names = [f"scan-{number}-{who}.txt" for number in range(2)]
    for name in names:
        (folder / name).write_text(name)
    sends(person, f"scans-{who}", "#plain-files", *(folder / name for name in names))
    person.sees(person.words("said.dropped", count=2))
    waiting = page.locator("#waiting").get_by_role("row")
    for name in names:
        reads(person, waiting.filter(has_text=name))

    person.go("device.title")
    person.press(person.link(person.words("images.title")))
    page.locator("#plain-file").set_input_files(plan["archive"])
    person.press(page.locator("noscript button"))
    person.sees(person.words("said.image_loaded"))
    person.picture("image")

    person.go("inbox.title")
    for name in names:
        waiting.filter(has_text=name).get_by_role("checkbox").check()
    person.press(person.button("inbox.retry_chosen"))
    person.sees(person.words("said.retried", count=2))
    for name in names:
        reads(person, rows.filter(has_text=name).filter(has_text=delivered))

    run(person, "greet", f"greet-{who}")
    person.write(page.locator("input[name='parameter.GREETING']"), "Grüß Gott")
    page.locator("#plain-files").set_input_files(plan["name"])
    person.picture("run")
    start(person)
    state(person, "stage.4")
    person.press(person.link(person.words("files.title")))
    person.press(person.link("greeting.txt"))
    found["result"] = page.locator("pre.text").first.inner_text()

    run(person, "lung-check", f"check-{who}")
    start(person)
    state(person, "stage.5")
    person.press(person.link(f"{person.words('job.log_of')} segment"))
    found["log"] = page.locator("pre.log").inner_text()

    run(person, "training", f"training-{who}")
    found["cancelled"] = [start(person)]
    state(person, "stage.3")
    person.write(page.locator("#reason"), "wrong series")
    person.press(person.button("job.cancel"))
    state(person, "stage.6")

    person.go("device.title")
    person.press(person.link(person.words("models.title")))
    page.locator("#plain-model-name").fill(f"lungs-{who}")
    page.locator("#plain-file").set_input_files(plan["model"])
    person.press(page.locator("noscript button"))
    person.sees(person.words("said.model_uploaded"))
    person.sees(f"lungs-{who}")
    person.picture("model")

    person.go("overview.title")
    person.press(page.get_by_role("button", name="Deutsch"))
    found["german"] = page.get_by_role("heading", level=1).inner_text()
    return found


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with chromium() as browser:
        context = browser.new_context(java_script_enabled=False, locale="en-GB")
        context.set_default_timeout(PATIENCE)
        person = Person(
            context, plan["address"], Path(plan["texts"]), Path(plan["pictures"]), plan["mode"],
            keys=False,
        )  # fmt: skip
        person.page.goto(f"{plan['address']}/ui/inbox")
        person.write(person.page.locator("input[name=token]"), plan["token"])
        person.press(person.page.get_by_role("button").first)
        try:
            found = done(person, plan)
        except BaseException:
            person.picture("broke-off")
            print(f"broke off at {person.page.url}", file=sys.stderr)
            raise
    print(json.dumps({"found": found}), flush=True)


main()
