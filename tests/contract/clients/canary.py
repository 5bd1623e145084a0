"""A browser that opens files of a device: prints what their scripts did, as JSON.

Arguments: the address of the device, its token, and a list of paths as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright

#: Tells whether a script of the page ran: the files set it.
CANARY = "window.canary === undefined ? null : window.canary"


def opened(page: Page, url: str, requests: list[str]) -> dict[str, Any]:
    requests.clear()
    downloads: list[str] = []
    page.on("download", lambda download: downloads.append(download.suggested_filename))
    page.on("dialog", lambda dialog: (requests.append("dialog"), dialog.dismiss()))
    try:
        page.goto(url, wait_until="load")
        page.wait_for_timeout(300)  # a script that would run has run by then
        canary = page.evaluate(CANARY)
    except Error as error:
        if "Download is starting" not in str(error) and "ERR_ABORTED" not in str(error):
            raise
        canary = None
    return {"canary": canary, "downloads": downloads, "requests": list(requests)}


def main() -> None:
    address, token, paths = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        context = browser.new_context(accept_downloads=True)
        page = context.new_page()
        page.goto(f"{address}/login#token={token}")
        page.wait_for_function("document.cookie !== undefined")
        page.wait_for_timeout(500)
        cookies = context.cookies()
        found: dict[str, Any] = {
            "cookies": [
                {name: cookie[name] for name in ("httpOnly", "sameSite", "path")}  # type: ignore[literal-required]
                for cookie in cookies
            ],
            "visible": page.evaluate("document.cookie"),
            "address": page.url,
        }
        requests: list[str] = []
        page.on("request", lambda request: requests.append(f"{request.method} {request.url}"))
        for path in paths:
            found[path] = opened(context.new_page(), f"{address}{path}", requests)
        browser.close()
    print(json.dumps(found))


main()
