"""A browser that a test drives: a command as JSON for each line of stdin, `[NAME, ARGUMENT...]`.

Arguments: the address of the device, its token, and a language. Prints a line of JSON for each
command, `{"value": ...}` or `{"failure": ...}`. Pages have names, which the test gives them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from chromium import PATIENCE, chromium, sign_in
from playwright.sync_api import BrowserContext, Error, Page

#: All pages of a browser without a window are visible; these say what a window would say.
HIDDEN = 'Object.defineProperty(document, "hidden", { get: () => window.isHidden === true });'
SHOW = """(hidden) => {
  window.isHidden = hidden;
  document.dispatchEvent(new Event("visibilitychange"));
}"""


class Browser:
    """The pages of a browser; each method is a command."""

    def __init__(self, context: BrowserContext, address: str, token: str) -> None:
        self._context = context
        self._address = address
        self._token = token
        self._pages: dict[str, Page] = {}

    def sign_in(self) -> None:
        sign_in(self._context, self._address, self._token)

    def open(self, name: str, path: str) -> None:
        self._pages[name] = self._context.new_page()
        self._pages[name].goto(f"{self._address}{path}", wait_until="load")

    def close(self, name: str) -> None:
        self._pages.pop(name).close()

    def clock(self, name: str) -> None:
        """Lets the test decide about the time of a page, before it is opened again."""
        self._pages[name].clock.install()
        self._pages[name].reload()

    def later(self, name: str, seconds: int) -> None:
        self._pages[name].clock.fast_forward(seconds * 1000)

    def hide(self, name: str) -> None:
        self._pages[name].evaluate(SHOW, True)

    def freeze(self, name: str) -> None:
        self._lifecycle(name, "frozen")

    def show(self, name: str) -> None:
        """Thaws a page, and makes it visible."""
        self._lifecycle(name, "active")
        self._pages[name].evaluate(SHOW, False)

    def offline(self, offline: bool) -> None:
        self._context.set_offline(offline)

    def shows(self, name: str, selector: str, text: str) -> float:
        """Waits until a part of a page has a text; returns the seconds that it took."""
        start = time.monotonic()
        try:
            self._pages[name].locator(selector, has_text=text).first.wait_for()
        except Error as error:
            raise Error(f"{error}\n{self._pages[name].inner_text('body')}") from None
        return time.monotonic() - start

    def empty(self, name: str, selector: str) -> None:
        """Waits until a part of a page has no text."""
        self._pages[name].locator(f"{selector}:empty").wait_for(state="attached")

    def text(self, name: str, selector: str) -> str | None:
        return self._pages[name].locator(selector).first.text_content()

    def count(self, name: str, selector: str) -> int:
        return self._pages[name].locator(selector).count()

    def evaluate(self, name: str, expression: str) -> Any:
        return self._pages[name].evaluate(expression)

    def leads_to(self, name: str, part: str) -> str:
        """Waits until a page has an address with this part; returns it."""
        self._pages[name].wait_for_url(lambda url: part in url)
        return self._pages[name].url

    def fill(self, name: str, selector: str, text: str) -> None:
        self._pages[name].locator(selector).fill(text)

    def click(self, name: str, selector: str) -> None:
        self._pages[name].locator(selector).first.click()

    def choose(self, name: str, selector: str, path: str) -> None:
        """Chooses a file."""
        self._pages[name].locator(selector).set_input_files(path)

    def back(self, name: str) -> None:
        self._pages[name].go_back()

    def _lifecycle(self, name: str, state: str) -> None:
        session = self._context.new_cdp_session(self._pages[name])
        session.send("Page.setWebLifecycleState", {"state": state})
        session.detach()


def main() -> None:
    address, token, language = sys.argv[1:]
    with chromium() as started:
        context = started.new_context(locale=language)
        context.set_default_timeout(PATIENCE)
        context.set_default_navigation_timeout(PATIENCE)
        context.add_init_script(HIDDEN)
        browser = Browser(context, address, token)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            try:
                answer = {"value": getattr(browser, name)(*arguments)}
            except Error as error:
                answer = {"failure": str(error)}
            print(json.dumps(answer), flush=True)


main()
