"""Ten tasks of people at the console, in a browser: prints what the person saw, as JSON.

The one argument is a file with a plan: address, token, mode, language, scheme, width, keys, folder
of texts and of screenshots, and the files that are sent. What only somebody at the device can do is
asked for: a line on stdout, `{"do": NAME, …}`, is answered by a line on stdin.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from chromium import chromium
from console_person import PATIENCE, WATCH, Person
from playwright.sync_api import BrowserContext

#: Drops a folder of files on the page, as a hand does.
DROP = """([name, files]) => {
  const transfer = new DataTransfer();
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  for (const [path, content] of files) transfer.items.add(new File([bytes(content)], path));
  const dropped = { dataTransfer: transfer, bubbles: true, cancelable: true };
  window.dispatchEvent(new DragEvent("drop", dropped));
}"""
#: How many different greys a picture has.
GREYS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(data.filter((_, at) => at % 4 === 0)).size;
}"""


def device(do: str, **more: str) -> str:
    """Has somebody at the device do something; returns what they say."""
    print(json.dumps({"do": do, **more}), flush=True)
    answer: str = json.loads(sys.stdin.readline())
    return answer


def sign_in(person: Person, token: str) -> None:
    person.page.goto(f"{person.address}/ui/inbox")
    person.write(person.page.locator("input[name=token]"), token)
    person.press(person.page.get_by_role("button").first)
    person.page.wait_for_url("**/ui/inbox")


def parked_file(person: Person, plan: dict[str, Any]) -> Any:
    """Finds a file that waits, reads what to do, and sees that it continues."""
    name = f"report-{plan['who']}.txt"
    device("drop", folder=f"reports-{plan['who']}", name=name)
    person.go("inbox.title")
    person.sees(name, "#waiting")
    person.find(name)
    person.press(person.link(name))
    person.sees(person.words("item.parked"), "#state")
    remedy = person.page.locator("#remedy, #state h2 + p").first.inner_text()
    person.picture("1-parked")
    person.stay()
    device("register", name=f"reports-{plan['who']}")
    person.sees(person.words("item.delivered"), "#state")
    person.picture("1-continued")
    return {"remedy": remedy, "stayed": person.stayed()}


def run(person: Person, pipeline: str, job: str, **parameters: str) -> None:
    person.go("pipelines.title")
    label = person.words("pipeline.run_one", name=pipeline)
    person.press(person.page.get_by_role("link", name=label, exact=True))
    person.page.wait_for_url("**/run")
    person.write(person.page.locator("#job-name"), job)
    for name, value in parameters.items():
        person.write(person.page.locator(f"input[name='parameter.{name}']"), value)


def start(person: Person) -> str:
    person.press(person.button("run.start"))
    person.page.wait_for_url(lambda url: "/ui/jobs/" in url)
    return person.page.url.split("?")[0].rpartition("/")[2]


def job_at_work(person: Person, plan: dict[str, Any]) -> Any:
    """Watches a job from its start to its end, on a page that nobody loads again."""
    run(person, "lungs", f"lungs-{plan['who']}")
    job = start(person)
    person.stay()
    person.sees(person.words("operator.running"), "#operators")
    person.picture("2-running")
    device("release", job=job)
    person.sees(person.words("stage.4"), "#state")
    person.picture("2-done")
    return {"job": job, "stayed": person.stayed()}


def failed_operator(person: Person, plan: dict[str, Any]) -> Any:
    """Reads what an operator printed before it failed."""
    run(person, "lung-check", f"check-{plan['who']}")
    start(person)
    person.sees(person.words("stage.5"), "#state")
    person.picture("3-failed")
    person.press(person.link(f"{person.words('job.log_of')} segment"))
    person.page.locator("pre.log").filter(has_text="no lung").wait_for()
    person.picture("3-log")
    return {"log": person.page.locator("pre.log").inner_text()}


def study(person: Person, plan: dict[str, Any]) -> Any:
    """Drags in a study, or chooses its folder in the dialog."""
    person.go("upload.title")
    person.choose(person.page.get_by_role("radio", name=f"ct-{plan['who']}"))
    if person.keys:
        person.choose_files(person.page.locator("#folder-files"), plan["study"])
    else:
        files = [
            [path.name, base64.b64encode(path.read_bytes()).decode()]
            for path in sorted(Path(plan["study"]).iterdir())
        ]
        person.page.evaluate(DROP, ["study", files])
    person.picture("7-chosen")
    person.press(person.button("upload.start"))
    done = person.page.locator("#folders .outcome a")
    done.wait_for()
    person.press(done)
    person.page.wait_for_url("**/ui/inbox")
    row = person.page.locator("#list").get_by_role("row").filter(has_text=plan["uid"])
    row.filter(has_text=person.words("item.delivered")).first.wait_for()
    person.picture("7-inbox")
    return None


def slice_of_ct(person: Person, plan: dict[str, Any]) -> Any:
    """Sees a slice of the study next to its original, and changes the window."""
    person.find(plan["uid"])
    person.press(person.row(person.words("find.job")).get_by_role("link").first)
    person.press(person.link(person.words("files.title")))
    person.page.wait_for_url("**/files")
    person.picture("4-files")
    person.press(person.page.locator("main tbody th a").first)
    canvas = person.page.locator("canvas").first
    canvas.wait_for()
    greys = canvas.evaluate(GREYS)
    centre = person.page.locator("[data-part=centre]").first
    before = centre.input_value()
    if person.keys:
        person.reach(centre)
        person.page.keyboard.press("ArrowRight")
    else:
        centre.fill(str(float(before) + 1))
    person.picture("4-slice")
    return {"greys": greys, "before": before, "after": centre.input_value()}


def image(person: Person, plan: dict[str, Any]) -> Any:
    """Loads the image that a pipeline lacks."""
    person.go("device.title")
    person.press(person.link(person.words("images.title")))
    person.page.wait_for_url("**/ui/images")
    person.choose_files(person.page.locator("#file"), plan["archive"])
    person.press(person.button("send.send"))
    person.page.wait_for_url("**/ui/images?said=image_loaded")
    person.sees(person.words("said.image_loaded"))
    person.sees(f"tools/{plan['who']}")
    person.picture("9-image")
    return None


def three_again(person: Person, plan: dict[str, Any]) -> Any:
    """Tries three failed files again, of four, and removes the last one."""
    names = [f"scan-{number}-{plan['who']}.txt" for number in range(4)]
    for name in names:
        device("drop", folder=f"scans-{plan['who']}", name=name)
    person.go("inbox.title")
    waiting = person.page.locator("#waiting")
    for name in names:
        waiting.get_by_role("row").filter(has_text=name).wait_for()
    reasons = waiting.get_by_role("row").filter(has_text=names[0]).inner_text()
    person.picture("5-waiting")
    image(person, plan)
    person.go("inbox.title")
    for name in names[:3]:
        person.tick(waiting.get_by_role("row").filter(has_text=name).get_by_role("checkbox"))
    person.press(person.button("inbox.retry_chosen"))
    person.sees(person.words("said.retried", count=3))
    rows = person.page.locator("#list").get_by_role("row")
    done = person.words("item.delivered")
    for name in names[:3]:
        rows.filter(has_text=name).filter(has_text=done).first.wait_for()
    person.picture("5-retried")
    left = waiting.get_by_role("row").filter(has_text=names[3])
    before = left.count()
    person.tick(left.get_by_role("checkbox"))
    person.press(person.button("inbox.remove_chosen"))
    person.sees(person.words("inbox.remove_these", count=1))
    person.picture("5-remove")
    person.press(person.button("inbox.remove"))
    person.sees(person.words("said.removed", count=1))
    return {"reasons": reasons, "left": [before, left.count()]}


def parameter(person: Person, plan: dict[str, Any]) -> Any:
    """Runs a pipeline with a parameter and a file, and reads the result."""
    run(person, "greet", f"greet-{plan['who']}", GREETING="Grüß Gott")
    person.choose_files(person.page.locator("#files"), plan["name"])
    person.picture("8-form")
    person.press(person.page.locator("[data-do=start]"))
    person.page.wait_for_url(lambda url: "/ui/jobs/" in url)
    person.sees(person.words("stage.4"), "#state")
    person.press(person.link(person.words("files.title")))
    person.press(person.link("greeting.txt"))
    text = person.page.locator("pre.text").first
    text.wait_for()
    person.picture("8-result")
    return {"text": text.inner_text()}


def waiting_job(person: Person, plan: dict[str, Any]) -> Any:
    """Finds out why a job waits, and ends what it waits for."""
    run(person, "training", f"training-1-{plan['who']}")
    first = start(person)
    person.sees(person.words("stage.3"), "#state")
    run(person, "training", f"training-2-{plan['who']}")
    second = start(person)
    waits = person.page.locator(".waits")
    waits.wait_for()
    why = waits.inner_text()
    person.picture("10-waits")
    for job in (first, second):
        person.find(job)
        person.write(person.page.locator("#reason"), "wrong series")
        person.press(person.button("job.cancel"))
        person.sees(person.words("stage.6"), "#state")
    person.sees("wrong series")
    person.picture("6-cancelled")
    return {"why": why, "jobs": [first, second]}


TASKS = (
    parked_file, job_at_work, failed_operator, study, slice_of_ct, three_again, parameter,
    waiting_job,
)  # fmt: skip


def person_in(context: BrowserContext, plan: dict[str, Any], said: list[str]) -> Person:
    context.set_default_timeout(PATIENCE)
    context.expose_function("refused", lambda text: said.append(text))
    context.add_init_script(WATCH)
    context.on("console", lambda message: said.append(message.text))
    context.on("weberror", lambda error: said.append(str(error.error)))
    context.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    return Person(
        context, plan["address"], Path(plan["texts"]), Path(plan["pictures"]), plan["mode"],
        keys=plan["keys"],
    )  # fmt: skip


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    said: list[str] = []
    asked: set[str] = set()
    found: dict[str, Any] = {"said": said}
    with chromium() as browser:
        context = browser.new_context(
            color_scheme=plan["scheme"],
            locale={"en": "en-GB", "de": "de-DE"}[plan["language"]],
            viewport={"width": plan["width"], "height": 900},
        )
        context.on("request", lambda request: asked.add(request.url))
        person = person_in(context, plan, said)
        sign_in(person, plan["token"])
        for task in TASKS:
            try:
                found[task.__name__] = task(person, plan)
            except BaseException:
                person.picture(f"{task.__name__}-broke-off")
                print(f"{task.__name__} broke off at {person.page.url}: {said}", file=sys.stderr)
                raise
        person.go("overview.title")
        person.picture("0-overview")
    own = (f"{plan['address']}/", "data:", "blob:")
    found["elsewhere"] = [url for url in sorted(asked) if not url.startswith(own)]
    print(json.dumps({"found": found}), flush=True)


main()
