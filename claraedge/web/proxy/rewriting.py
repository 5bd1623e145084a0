"""Headers of requests and answers that pass through a static route. Pure.

The program behind a route is not trusted: it never sees the caller's token or cookie, and its
answers come from the origin of this device. So its pages run in a sandbox, unless the administrator
trusts the route, and its cookies and redirects stay in the path of the route.

Sources: RFC 9110 7.6.1 (hop-by-hop headers), RFC 6265 (cookies), CSP 3 (sandbox).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from claraedge.errors import NAME_KEY

Lines = Sequence[tuple[bytes, bytes]]

#: Headers for the next program only.
_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
#: Headers of requests that are not passed on: secrets of the caller, what uvicorn has done already,
#: and what only we say.
_OF_REQUESTS = frozenset({b"authorization", b"content-length", b"expect", b"forwarded", b"host"})
_OURS = (b"x-forwarded-", b"x-real-ip")
#: Headers of answers that would concern more of this device than the route, or that we set.
_OF_ANSWERS = frozenset(
    {
        NAME_KEY.encode(),
        b"alt-svc",
        b"clear-site-data",
        b"content-security-policy",
        b"content-type",
        b"cross-origin-resource-policy",
        b"date",
        b"location",
        b"nel",
        b"public-key-pins",
        b"report-to",
        b"reporting-endpoints",
        b"service-worker-allowed",
        b"set-cookie",
        b"set-cookie2",
        b"strict-transport-security",
        b"www-authenticate",
        b"x-content-type-options",
    }
)
#: What a page may do: run its scripts, without being able to call this device as its user.
_SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"
_TRUSTED = "frame-ancestors 'self'"
_OUR_COOKIES = ("claraedge", "__host-claraedge")
#: A cookie with this prefix would need the path `/`.
_HOST_COOKIE = "__host-"
_HTTP = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHeaders:
    """The headers of an answer, in the form of `Reply.begin`."""

    content_type: str | None
    single: dict[str, str] = field(default_factory=dict)
    several: Lines = ()


def request_lines(lines: Lines, *, caller: str, scheme: str, prefix: str) -> Lines:
    """Returns the headers of a request for the program.

    `caller`: the address of the client; empty for one of the Unix socket.
    """
    listed = _connection(lines)
    host = next((value for name, value in lines if name == b"host"), b"localhost")
    found = [(b"host", host), (b"connection", b"close")]
    for name, value in lines:
        if name == b"cookie":
            value = _cookies(value)
            if not value:
                continue
        if name not in _HOP | _OF_REQUESTS | listed and not name.startswith(_OURS):
            found.append((name, value))
    if caller:
        found.append((b"x-forwarded-for", caller.encode()))
    return [
        *found,
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-prefix", f"/routes/{prefix}".encode()),
    ]


def answer_headers(
    lines: Lines, *, prefix: str, host: str, trusted: Collection[str]
) -> AnswerHeaders:
    """Returns the headers of an answer for the client.

    `host`: the Host of the request. `trusted`: prefixes of the routes whose pages are trusted.
    """
    listed = _connection(lines)
    joined: dict[str, list[str]] = {}
    for name, value in lines:
        if name not in _HOP | _OF_ANSWERS | listed:
            joined.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    policies = [
        _TRUSTED if prefix in trusted else _SANDBOX,
        *_all(lines, b"content-security-policy"),
    ]
    single = {name: ", ".join(values) for name, values in joined.items()}
    single["content-security-policy"] = ", ".join(policies)
    for location in _all(lines, b"location")[:1]:
        single["location"] = inside(location, prefix=prefix, host=host)
    cookies = (cookie(value, prefix) for value in _all(lines, b"set-cookie"))
    kind = _all(lines, b"content-type")
    return AnswerHeaders(
        content_type=kind[0] if kind else None,
        single=single,
        several=[(b"set-cookie", value.encode("latin-1")) for value in cookies if value],
    )


def cookie(text: str, prefix: str) -> str | None:
    """Returns a cookie of a program, for the path of its route only; None: it is not passed on."""
    pair, *attributes = text.split(";")
    name = pair.partition("=")[0].strip().lower()
    if name in _OUR_COOKIES or name.startswith(_HOST_COOKIE):
        return None
    path, kept = "/", []
    for attribute in attributes:
        key, _, value = attribute.strip().partition("=")
        if key.lower() == "path" and value.strip().startswith("/"):
            path = value.strip()
        elif key.lower() not in ("path", "domain"):
            kept.append(attribute.strip())
    if _climbs(path):
        path = "/"
    return "; ".join([pair.strip(), f"Path=/routes/{prefix}{path}", *kept])


def inside(location: str, *, prefix: str, host: str) -> str:
    """Returns where a redirect of a program leads: a path of this device stays in its route."""
    matched = _HTTP.fullmatch(location)
    if matched is not None and matched[1].lower() == host.lower():
        location = matched[2] if matched[2].startswith("/") else f"/{matched[2]}"
    elif matched is not None or location.startswith("//"):
        return location  # to another device
    if _climbs(location):
        location = "/"
    return f"/routes/{prefix}{location}" if location.startswith("/") else location


def _climbs(path: str) -> bool:
    """Returns whether a browser would find `..` in a path."""
    plain = re.sub("%2e", ".", path, flags=re.IGNORECASE).replace("\\", "/")
    return ".." in re.split("[/?#]", plain)


def _connection(lines: Lines) -> frozenset[bytes]:
    """Returns the headers that Connection lists."""
    values = [value for name, value in lines if name == b"connection"]
    return frozenset(part.strip().lower() for value in values for part in value.split(b","))


def _cookies(value: bytes) -> bytes:
    """Returns the cookies of a request without ours."""
    pairs = [pair.strip() for pair in value.split(b";")]
    ours = {name.encode() for name in _OUR_COOKIES}
    return b"; ".join(
        pair for pair in pairs if pair and pair.partition(b"=")[0].strip().lower() not in ours
    )


def _all(lines: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in lines if key == name]
