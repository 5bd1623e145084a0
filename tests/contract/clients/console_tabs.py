"""A browser with many tabs of one page, of which one is visible: says when each shows a text.

Arguments: the address of the device, its token, the path of the page, and the number of tabs. For
each line on stdin, `TAB TEXT`, it makes that tab the visible one, and prints `shown` once the page
shows the text.
"""

from __future__ import annotations

import sys

from chromium import PATIENCE, chromium, sign_in
from playwright.sync_api import Page

#: All tabs of a browser without a window are visible; these say what a window would say.
HIDDEN = """
  Object.defineProperty(document, "hidden", { get: () => window.isHidden !== false });
"""
SHOW = """(hidden) => {
  window.isHidden = hidden;
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def main() -> None:
    address, token, path, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    with chromium() as browser:
        context = browser.new_context(locale="en-US")
        context.set_default_timeout(PATIENCE)
        sign_in(context, address, token)
        context.add_init_script(HIDDEN)
        tabs: list[Page] = []
        for _ in range(count):
            tab = context.new_page()
            tab.goto(f"{address}{path}", wait_until="load")
            tabs.append(tab)
        print("open", flush=True)
        visible: Page | None = None
        for line in sys.stdin:
            number, _, text = line.rstrip("\n").partition(" ")
            if visible is not None:
                visible.evaluate(SHOW, True)
            visible = tabs[int(number)]
            visible.evaluate(SHOW, False)
            visible.locator("main", has_text=text).wait_for()
            print("shown", flush=True)


main()
