"""Renders the templates of the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from urllib.parse import quote

import jinja2
from google.protobuf.timestamp_pb2 import Timestamp
from markupsafe import Markup, escape

from claraedge.texts import size
from claraedge.web.console.assets import address_of
from claraedge.web.console.words import LANGUAGES, words
from claraedge.wire.nvidia.clara.platform import common_pb2

#: What a page may load: files of this device alone, and no script or style within the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HTML = "text/html; charset=utf-8"
_CLARA_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(9999, 12, 31, tzinfo=UTC)


def render(template: str, language: str, **values: object) -> str:
    """Returns a page in a language."""
    t = words(language)
    return _environment().get_template(template).render(t=t, language=language, **values)


def moment(value: Timestamp | common_pb2.Timestamp | None) -> datetime | None:
    """Returns the time of a message; None where it is unset."""
    if value is None:
        return None
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC) if value.seconds or value.nanos else None
    try:
        return _CLARA_EPOCH + timedelta(seconds=value.value) if value.value else None
    except OverflowError:
        return _LAST_TIME


def time(value: Timestamp | common_pb2.Timestamp | datetime | None) -> Markup:
    """Returns the element of a time, which the browser shows in the viewer's zone."""
    when = value if isinstance(value, datetime) or value is None else moment(value)
    if when is None:
        return Markup('<span class="none">–</span>')
    text = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(), text)


def duration(seconds: float) -> str:
    """Returns a duration in its two greatest units, such as `3 min 20 s`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    left, parts = round(seconds), list[str]()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or parts:
            parts.append(f"{number} {unit}" if number else "")
    return " ".join(part for part in parts[:2] if part)


def between(
    start: Timestamp | common_pb2.Timestamp | None, end: Timestamp | common_pb2.Timestamp | None
) -> str:
    """Returns the duration between two times; until now, where the end is unset."""
    first, last = moment(start), moment(end)
    if first is None:
        return "–"
    return duration(((last or datetime.now(UTC)) - first).total_seconds())


def urlpath(text: str) -> str:
    """Returns a name as a part of a URL's path; `/` stays."""
    return quote(text, safe="/")


def commands(text: object) -> Markup:
    """Returns a text of the daemon; what stands between two backticks is shown as code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return escape(str(text))
    plain, code = Markup("{}"), Markup("<code>{}</code>")
    return Markup().join((code if n % 2 else plain).format(part) for n, part in enumerate(parts))


@cache
def _environment() -> jinja2.Environment:
    folder = files(__package__).joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: folder.joinpath(name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"commands": commands, "size": size, "urlpath": urlpath}
    environment.globals |= {
        "asset": address_of,
        "between": between,
        "duration": duration,
        "languages": LANGUAGES,
        "time": time,
    }
    return environment


def query_of(values: Mapping[str, object]) -> str:
    """Returns the query of a URL with the values that are not empty."""
    return "&".join(f"{key}={quote(str(value), safe='')}" for key, value in values.items() if value)
