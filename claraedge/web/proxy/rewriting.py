"""Headers of requests and answers that pass through a static route. Pure.

The program behind a route is not trusted: it never sees the caller's token or cookie, and its
answers come from the origin of this device. So its pages run in a sandbox, unless the administrator
trusts the route, and its cookies and redirects stay in the path of the route.

Sources: RFC 9110 7.6.1 (hop-by-hop headers), RFC 9112 6.3 (lengths), RFC 6265 5.2 (cookies), URL
Standard 4.4 (redirects), CSP 3 (sandbox).
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
#: Attributes of cookies that are passed on.
_ATTRIBUTES = ("expires", "max-age", "samesite", "secure", "httponly", "partitioned", "priority")
#: What browsers remove from a URL before they parse it: at its ends, and anywhere.
_ENDS = "".join(map(chr, range(0x21)))
_ANYWHERE = str.maketrans("", "", "\t\n\r")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"[/\\]{2,}([^/\\?#]*)(.*)", re.DOTALL)
_PORT = re.compile(r":(80|443)?$")


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
    if _all(lines, b"transfer-encoding"):
        listed |= {b"content-length"}  # it does not count, and may be wrong
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
    (name, value), *attributes = (_pair(part) for part in text.split(";"))
    plain = name.strip().lower()
    if not plain or plain in _OUR_COOKIES or plain.startswith(_HOST_COOKIE):
        return None  # without a name, its value could be the name and the value of ours
    last = {key.lower(): (key, value) for key, value in attributes}
    path = last.get("path", ("", ""))[1]
    if not path.startswith("/") or _climbs(path):
        path = "/"
    kept = ("=".join(filter(None, last[key])) for key in last if key in _ATTRIBUTES)
    return "; ".join([f"{name}={value}", f"Path=/routes/{prefix}{path}", *kept])


def inside(location: str, *, prefix: str, host: str) -> str:
    """Returns where a redirect of a program leads: a path of this device stays in its route."""
    location = location.strip(_ENDS).translate(_ANYWHERE)
    rest, scheme = location, _SCHEME.fullmatch(location)
    if scheme is not None:
        if scheme[1].lower() not in ("http", "https"):
            return location  # to another program of the client
        rest = scheme[2]
    other = _AUTHORITY.fullmatch(rest)
    if other is not None:
        if _host(other[1].rpartition("@")[2]) != _host(host):
            return location  # to another device
        rest = other[2] if other[2].startswith(("/", "\\")) else f"/{other[2]}"
    elif scheme is not None:  # browsers do not agree on what that is
        rest = "/"
    if _climbs(rest):
        rest = "/"
    return f"/routes/{prefix}{rest}" if rest.startswith(("/", "\\")) else rest


def _host(text: str) -> str:
    """Returns a host for comparison, without the usual ports."""
    return _PORT.sub("", text.lower())


def _climbs(location: str) -> bool:
    """Returns whether a browser would find `..` in the path of a location."""
    path = re.split("[?#]", location, maxsplit=1)[0]
    plain = re.sub("%2e", ".", path, flags=re.IGNORECASE).replace("\\", "/")
    return ".." in plain.split("/")


def _pair(text: str) -> tuple[str, str]:
    """Returns name and value of a part of Set-Cookie, as browsers read them."""
    name, _, value = text.partition("=")
    return name.strip(" \t"), value.strip(" \t")


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
