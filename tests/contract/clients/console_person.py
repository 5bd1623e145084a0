"""A person at the console, who sees texts in a language, and acts by hand or by keys alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, FileChooser, Locator, Page

PATIENCE = 90_000  # milliseconds; CI is slow
#: Presses of Tab within which everything of a page is reached.
MOST_STOPS = 300
IS_FOCUSED = "(element) => element === document.activeElement"
#: Tells what the policy of a page refused, and errors of its scripts.
WATCH = """
addEventListener("securitypolicyviolation", (event) =>
  window.refused(`${event.effectiveDirective} ${event.blockedURI} on ${location.pathname}`));
"""


class Person:
    """One tab of a browser, in which a person does tasks.

    `keys`: by the keyboard alone, as people without a mouse do.
    """

    def __init__(
        self, context: BrowserContext, address: str, texts: Path, pictures: Path, mode: str,
        *, keys: bool,
    ) -> None:  # fmt: skip
        self.page: Page = context.new_page()
        self.address, self.pictures, self.mode, self.keys = address, pictures, mode, keys
        self.texts: dict[str, Any] = tomllib.loads(texts.read_text(encoding="utf-8"))

    def words(self, key: str, **values: object) -> str:
        found: Any = self.texts
        for part in key.split("."):
            found = found[part]
        if isinstance(found, dict):
            found = found["one" if values.get("count") == 1 else "other"]
        text: str = found.format(**values)
        return text

    # --- where things are ---

    def link(self, text: str) -> Locator:
        return self.page.locator("main").get_by_role("link", name=text, exact=True).first

    def button(self, key: str, **values: object) -> Locator:
        return self.page.get_by_role("button", name=self.words(key, **values), exact=True).first

    def row(self, text: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=text).first

    def sees(self, text: str, within: str = "main") -> None:
        """Waits until the page shows a text."""
        self.page.locator(within).filter(has_text=text).first.wait_for()

    def picture(self, name: str) -> None:
        path = self.pictures / f"{name}-{self.mode}.png"
        # Without this, styles are set to hide the caret, which the policy of the pages refuses.
        self.page.screenshot(path=path, full_page=True, caret="initial")

    # --- what a person does ---

    def reach(self, target: Locator) -> None:
        """Moves the focus to an element by Tab."""
        target.wait_for(state="attached")
        for _ in range(MOST_STOPS):
            if target.evaluate(IS_FOCUSED):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{target} is not reached by Tab on {self.page.url}")

    def press(self, target: Locator) -> None:
        """Uses a link or a button."""
        if self.keys:
            self.reach(target)
            self.page.keyboard.press("Enter")
        else:
            target.click()

    def tick(self, target: Locator) -> None:
        if self.keys:
            self.reach(target)
            self.page.keyboard.press("Space")
        else:
            target.click()

    def choose(self, radio: Locator) -> None:
        """Chooses one of several."""
        if not self.keys:
            radio.check()
            return
        name = radio.get_attribute("name")
        group = self.page.locator(f"input[type=radio][name={name}]:checked")
        self.reach(group)
        for _ in range(MOST_STOPS):
            if radio.is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{radio} is not reached by the arrows")

    def write(self, field: Locator, text: str) -> None:
        if self.keys:
            self.reach(field)
            self.page.keyboard.press("Control+A")
            self.page.keyboard.type(text)
        else:
            field.fill(text)

    def go(self, key: str) -> None:
        """Opens a page by the navigation that all pages have."""
        entry = self.page.get_by_role("banner").get_by_role("link", name=self.words(key))
        self.press(entry)
        self.page.wait_for_load_state()
        self.page.get_by_role("heading", level=1).wait_for()

    def find(self, text: str) -> None:
        """Searches as one does from everywhere; a whole id leads to its page."""
        before = self.page.url
        if self.keys:
            self.page.locator("body").press("/")
            self.page.keyboard.type(text)
            self.page.keyboard.press("Enter")
        else:
            self.page.locator("#q").fill(text)
            self.page.get_by_role("search").get_by_role("button").first.click()
        self.page.wait_for_url(lambda url: url != before)

    def choose_files(self, field: Locator, *paths: str) -> None:
        """Chooses files, or a folder, in the dialog of the browser."""
        chosen: FileChooser
        with self.page.expect_file_chooser() as waiting:
            if self.keys:
                self.reach(field)
                self.page.keyboard.press("Enter")
            else:
                # Where the field itself is not shown, its label is shown as a button.
                label = self.page.locator(f"label.button[for={field.get_attribute('id')}]")
                (label if label.count() else field).click()
        chosen = waiting.value
        chosen.set_files(paths[0] if len(paths) == 1 else list(paths))

    def stay(self) -> None:
        """Remembers the page, so that `stayed` is true while nothing has loaded it again."""
        self.page.evaluate("window.stayed = true")

    def stayed(self) -> bool:
        return bool(self.page.evaluate("window.stayed === true"))
