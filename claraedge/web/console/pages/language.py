"""Sets the language of a viewer."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.web.console.visit import LANGUAGE, Pages, Visit, is_page
from claraedge.web.console.words import LANGUAGES
from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.router import Route


class LanguagePages:
    """Keeps the language in a cookie of the browser."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the route of the form."""
        yield self._pages.post("/ui/language", self._set)

    async def _set(self, visit: Visit) -> None:
        language, back = visit.field("language"), visit.field("back")
        if language not in LANGUAGES:
            raise invalid(
                f"'{excerpt(language)}' is no language of the console; it has"
                f" {', '.join(LANGUAGES)}"
            )
        cookie = f"{LANGUAGE}={language}; Path=/; Max-Age=31536000; SameSite=Strict"
        is_address = back.isascii() and back.isprintable() and is_page(back)
        target = back if is_address else "/"
        await visit.reply.empty(303, {"Location": target, "Set-Cookie": cookie})
