"""Chromium, as the clients of the console start it, and the way in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, sync_playwright

PATIENCE = 60_000  # milliseconds; CI is slow


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def sign_in(context: BrowserContext, address: str, token: str, patience: float = PATIENCE) -> None:
    page = context.new_page()
    page.goto(f"{address}/login#token={token}")
    page.wait_for_url(lambda url: "/login" not in url, timeout=patience)
    page.close()
