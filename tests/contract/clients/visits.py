"""A browser that visits pages of a device: prints what it saw there, as JSON.

Arguments: the address of the device, its token, and a file with a list of visits. A visit has a
`path`, an expression that is true once the page is `ready`, and `steps`:

- `["eval", EXPRESSION]` notes a value, and `["until", EXPRESSION]` waits;
- `["press", SELECTOR, KEY]`, `["click", SELECTOR]`, `["drag", SELECTOR, RIGHT, DOWN]` act;
- `["frame", SELECTOR]` clicks within the frame of the page;
- `["touch", PATH]` makes a file, for which a test waits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from chromium import PATIENCE, chromium, sign_in
from playwright.sync_api import BrowserContext, Error, Page


def wait(page: Page, expression: str) -> None:
    """Waits until an expression is true. `wait_for_function` uses eval, which our pages forbid."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(f"(async () => Boolean(await ({expression})))()"):
        if time.monotonic() > end:
            raise Error(f"waited in vain for {expression}")
        page.wait_for_timeout(50)


def done(page: Page, step: list[Any], values: list[Any]) -> None:
    kind, target, *more = step
    if kind == "eval":
        values.append(page.evaluate(target))
    elif kind == "until":
        wait(page, target)
    elif kind == "press":
        page.locator(target).press(more[0])
    elif kind == "click":
        page.locator(target).click()
    elif kind == "frame":
        page.frame_locator("iframe").locator(target).click()
    elif kind == "touch":
        Path(target).touch()
    elif kind == "drag":
        box = page.locator(target).bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + more[0], y + more[1], steps=3)
        page.mouse.up()
    else:
        raise ValueError(kind)


def visited(context: BrowserContext, address: str, visit: dict[str, Any]) -> dict[str, Any]:
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    values: list[Any] = []
    failure = ""
    try:
        page.goto(f"{address}{visit['path']}", wait_until="load", timeout=PATIENCE)
        wait(page, visit["ready"])
        for step in visit["steps"]:
            done(page, step, values)
    except Error as error:
        failure = str(error)
    found = {
        "values": values,
        "said": said,
        "asked": asked,
        "failure": failure,
        "pages": len(context.pages),
    }
    page.close()
    return found


def main() -> None:
    address, token, visits = sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
    with chromium() as browser:
        context = browser.new_context(locale="en-US")
        sign_in(context, address, token)
        print(json.dumps([visited(context, address, visit) for visit in visits]))


main()
