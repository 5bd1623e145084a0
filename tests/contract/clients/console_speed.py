"""A browser with the page of the drop folder: says how long interactions keep it from answering.

Arguments: the address of the device, its token, and a folder into which it drops files. For each
line on stdin it prints the milliseconds of each interaction as a JSON object: the longest time from
an event of the viewer until the next picture (event timing), or the longest task of the page
meanwhile, whichever is longer. What is below 16 ms the browser does not say: it is 0.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from chromium import chromium, sign_in
from playwright.sync_api import Page

PATIENCE = 120_000  # milliseconds
OBSERVE = """
  window.longest = 0;
  const note = (list) => {
    for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration);
  };
  new PerformanceObserver(note).observe({ type: "event", durationThreshold: 16, buffered: true });
  new PerformanceObserver(note).observe({ type: "longtask", buffered: true });
"""
SETTLED = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))"


def measured(page: Page, act: Callable[[], object]) -> float:
    page.evaluate(SETTLED)
    page.evaluate("() => { window.longest = 0; }")
    act()
    page.evaluate(SETTLED)
    return float(page.evaluate("() => window.longest"))


def swapped(page: Page, folder: Path) -> None:
    """Drops a file, and waits until the list shows it."""
    name = f"live-{time.monotonic_ns()}"
    (folder / name).write_bytes(b"x")
    page.locator("#list").get_by_text(name).wait_for()


def filtered(page: Page) -> None:
    page.locator("#tab-parked").click()
    page.locator("#tab-parked[aria-current]").wait_for()


def round_of(page: Page, address: str, folder: Path) -> dict[str, float]:
    page.goto(f"{address}/ui/inbox", wait_until="load")
    found = {
        "a letter in the search": measured(page, lambda: page.locator("#words").press("x")),
        "a checkbox": measured(page, lambda: page.locator("input[name=item]").first.click()),
    }
    page.goto(f"{address}/ui/inbox", wait_until="load")
    found["a live section"] = measured(page, lambda: swapped(page, folder))
    found["a filter"] = measured(page, lambda: filtered(page))
    return found


def main() -> None:
    address, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with chromium() as browser:
        context = browser.new_context(locale="en-US")
        context.set_default_timeout(PATIENCE)
        sign_in(context, address, token, PATIENCE)
        page = context.new_page()
        context.add_init_script(OBSERVE)
        for _ in sys.stdin:
            print(json.dumps(round_of(page, address, folder)), flush=True)


main()
