"""A browser that opens pages of the console in four modes: prints what it found, as JSON.

Arguments: the address of the device, its token, a file with the paths by their names, and a folder
for screenshots. Modes: light and dark, wide and narrow; the dark ones in German.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from chromium import PATIENCE, chromium, sign_in
from playwright.sync_api import Browser, BrowserContext

MODES = [("light", 1440), ("light", 375), ("dark", 1440), ("dark", 375)]
LANGUAGES = {"light": "en-US", "dark": "de-DE"}
#: Elements that reach beyond the right edge of the window, which people would have to scroll to.
BEYOND = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def opened(browser: Browser, address: str, token: str, **more: Any) -> BrowserContext:
    """A context that is signed in."""
    context = browser.new_context(**more)
    sign_in(context, address, token)
    return context


def seen(context: BrowserContext, address: str, path: str, picture: Path) -> dict[str, Any]:
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    answer = page.goto(f"{address}{path}", wait_until="load", timeout=PATIENCE)
    assert answer is not None
    violations = [
        f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}"
        for one in Axe().run(page, options=RULES).response["violations"]
    ]
    page.screenshot(path=picture, full_page=True, caret="initial")
    found = {
        "status": answer.status,
        "bytes": len(answer.body()),
        "title": page.title(),
        "violations": violations,
        "beyond": page.evaluate(BEYOND),
        "said": said,
        "others": [url for url in asked if not url.startswith(f"{address}/")],
    }
    page.close()
    return found


def main() -> None:
    address, token, paths = sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
    pictures, found = Path(sys.argv[4]), {}
    with chromium() as browser:
        for scheme, width in MODES:
            context = opened(
                browser, address, token,
                color_scheme=scheme,
                locale=LANGUAGES[scheme],
                viewport={"width": width, "height": 900},
            )  # fmt: skip
            for name, path in paths.items():
                mode = f"{name} {scheme} {width}"
                picture = pictures / f"{mode.replace(' ', '-')}.png"
                found[mode] = seen(context, address, path, picture)
            context.close()
    print(json.dumps(found))


main()
