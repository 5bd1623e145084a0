"""The OpenAPI document as a page for people: plain HTML without a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}"
    "summary{cursor:pointer}code,pre{font:14px/1.5 ui-monospace,monospace}"
    "pre{white-space:pre-wrap}table{border-collapse:collapse}"
    "th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: The page has no script, and its style is the one above.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def page(document: dict[str, Any]) -> bytes:
    """Returns the page of a document."""
    return "\n".join(_lines(document)).encode()


def _lines(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    yield f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}</title>"
    yield f"<meta name=viewport content='width=device-width'>\n<style>{_STYLE}</style>"
    yield f"<main>\n<h1>{title}</h1>\n<pre>{escape(info['description'])}</pre>"
    yield "<p>For programs: <a href='/openapi.json'>/openapi.json</a> (OpenAPI 3.1)</p>"
    for tag in document["tags"]:
        yield f"<section>\n<h2>{escape(tag['name'])}</h2>"
        if "description" in tag:
            yield f"<p>{escape(tag['description'])}</p>"
        for path, item in document["paths"].items():
            for verb, operation in item.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(verb, path, operation)
        yield "</section>"
    yield "</main>\n</html>\n"


def _operation(verb: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield (
        f"<details>\n<summary><code>{escape(verb.upper())} {escape(path)}</code>"
        f" {escape(operation.get('summary', ''))}</summary>"
    )
    yield f"<pre>{escape(operation.get('description', ''))}</pre>"
    rows = [
        (one["name"], one["in"], _kind(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {})
    rows += [(kind, "body", _kind(content["schema"]), "") for kind, content in body.items()]
    answer = operation["responses"].get("200", {}).get("content", {})
    rows += [(kind, "answer", _kind(content["schema"]), "") for kind, content in answer.items()]
    yield "<table>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</table>\n</details>"


def _kind(schema: dict[str, Any]) -> str:
    """Returns the type of a schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if "properties" in schema:
        return f"object: {', '.join(schema['properties'])}"
    return str(schema.get("format") or schema.get("type") or "")
