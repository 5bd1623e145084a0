"""Finds the endpoint of a request by its method and path.

Templates are those of `google.api.http`: literal segments, `{variable}` for one segment,
`{variable=**}` for all that remain (at least one), and a verb after the last segment:
`/v1/jobs/{job_id}:start`. Segments are separated before they are decoded, so that a variable may
contain `/` as `%2F`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from claraedge.errors import NotSupportedError
from claraedge.web.http.failures import excerpt, invalid, refused
from claraedge.web.http.request import Endpoint

_REST = "=**"


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one method at the paths of one template."""

    method: str
    template: str
    endpoint: Endpoint
    open: bool = False
    """Whether callers over TCP need no token."""


class Template:
    """A template, ready to be compared with paths."""

    def __init__(self, text: str) -> None:
        *parents, last = text.removeprefix("/").split("/")
        last, _, verb = last.partition(":")
        self.verb = f":{verb}" if verb else ""
        self._parts = [*parents, last]
        self._has_rest = last.endswith(f"{_REST}}}")
        self._colons = None if verb or self._has_rest else last
        """The variable that contains no colon, since a verb would follow it."""
        self.rank = [(_REST in part, part.startswith("{")) for part in self._parts] + [
            (not verb, False)
        ]
        """Orders templates: of those that fit a path, the first is the most specific one."""

    @property
    def variables(self) -> Sequence[str]:
        """The names of the variables, in their order."""
        return [_variable(part) for part in self._parts if part.startswith("{")]

    def match(self, segments: Sequence[str]) -> Mapping[str, str] | None:
        """Returns the variables in the segments of a path; None if they do not fit.

        Raises HttpError for a variable that is not UTF-8.
        """
        count = len(self._parts)
        if len(segments) != count and not (self._has_rest and len(segments) > count):
            return None
        if not segments[-1].endswith(self.verb):
            return None
        values = [*segments[: count - 1], "/".join(segments[count - 1 :])]
        values[-1] = values[-1][: len(values[-1]) - len(self.verb)]
        found = {}
        for part, value in zip(self._parts, values, strict=True):
            if not part.startswith("{"):
                if part != value and part != _decoded(value):
                    return None
            elif not value or (part is self._colons and ":" in value):
                return None
            else:
                found[_variable(part)] = value
        return {name: _decoded(value) for name, value in found.items()}


class Router:
    """Routes of a server."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError if two routes have the same method and template."""
        self._routes: dict[str, dict[str, Route]] = {}
        """Each template with its routes by method."""
        for route in routes:
            methods = self._routes.setdefault(route.template, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.template} has two routes")
            methods[route.method] = route
        variable = {text: Template(text) for text in self._routes if "{" in text}
        self._templates = sorted(variable.items(), key=lambda item: item[1].rank)

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Returns the route of a request, and the variables in its path.

        `path`: as it was sent. Raises HttpError if there is none.
        """
        allowed: list[str] = []
        for methods, parameters in self._fitting(path):
            head = method == "HEAD" and "HEAD" not in methods
            route = methods.get("GET" if head else method)
            if route is not None:
                return route, parameters
            allowed += [*methods, *(["HEAD"] if "GET" in methods else [])]
        if not allowed:
            raise refused(
                NotSupportedError(
                    f"{excerpt(path)} is no path of this device; methods are at"
                    " /package.Service/Method, and readable paths below /v1; /openapi.json and /api"
                    " describe all of them"
                ),
                404,
            )
        known = ", ".join(sorted(set(allowed)))
        raise invalid(
            f"{excerpt(path)} does not support {excerpt(method)}; it supports {known}",
            405,
            Allow=known,
        )

    def _fitting(self, path: str) -> Iterable[tuple[Mapping[str, Route], Mapping[str, str]]]:
        if path in self._routes and "{" not in path:
            yield self._routes[path], {}
        segments = path.removeprefix("/").split("/")
        for text, template in self._templates:
            parameters = template.match(segments)
            if parameters is not None:
                yield self._routes[text], parameters


def _variable(part: str) -> str:
    return part[1:-1].partition("=")[0]


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise invalid(
            f"the path has {excerpt(text)}, which is not UTF-8; encode it as UTF-8"
        ) from None
