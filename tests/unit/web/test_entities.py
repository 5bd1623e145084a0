"""Headers of files: names, ETags, ranges."""

from __future__ import annotations

from typing import Any

import pytest

from claraedge.web.files.entities import (
    Part,
    disposition,
    headers_of,
    is_unchanged,
    part_of,
    tags,
)
from claraedge.web.http.failures import HttpError
from claraedge.web.http.headers import Headers
from claraedge.wire.claraedge.v1 import files_pb2

FILE = files_pb2.FileInfo(name="a/b.bin", size=10, etag="abc")


def headers(**values: str) -> Headers:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()]
    return Headers({"headers": lines})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.txt", 'attachment; filename="b.txt"'),
        ("b c.txt", 'attachment; filename="b c.txt"'),
        ("ä.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A4.txt"),
        (
            'x"; filename="y',
            "attachment; filename=\"x__ filename=_y\"; filename*=UTF-8''x%22%3B%20filename%3D%22y",
        ),
        (
            "a\r\nSet-Cookie: x",
            "attachment; filename=\"a__Set-Cookie_ x\"; filename*=UTF-8''a__Set-Cookie%3A%20x",
        ),
        (
            "back\\slash%41",
            "attachment; filename=\"back_slash_41\"; filename*=UTF-8''back%5Cslash%2541",
        ),
        ("gpj\u202eexe.", 'attachment; filename="gpj_exe."'),
        ("\u200f", 'attachment; filename="_"'),
    ],
)
def test_names_in_content_disposition(name: str, expected: str) -> None:
    found = disposition(name, shown=False)
    assert found == expected
    assert found.isascii()
    assert found.isprintable()


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("x.PNG", "image/png", True),
        ("x.html", "text/html; charset=utf-8", True),
        ("x.svg", "image/svg+xml", True),
        ("x.dcm", "application/dicom", False),
        ("x.js", "application/octet-stream", False),
        ("x.swf", "application/octet-stream", False),
        ("html", "application/octet-stream", False),
        ("a.html/b", "application/octet-stream", False),
    ],
)
def test_every_file_is_in_the_sandbox(name: str, kind: str, shown: bool) -> None:
    found = headers_of(files_pb2.FileInfo(name=name), save=False)
    assert found["Content-Type"] == kind
    assert found["Content-Disposition"].startswith("inline" if shown else "attachment")
    assert found["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert found["X-Content-Type-Options"] == "nosniff"
    assert found["Cross-Origin-Resource-Policy"] == "same-origin"
    saved = headers_of(files_pb2.FileInfo(name=name), save=True)
    assert saved["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*", ["*"]),
        ('"a"', ["a"]),
        ('"a", W/"b" ,"c"', ["a", "b", "c"]),
        ('"a,b"', ["a,b"]),
        ("a", None),
        ('"a', None),
        ('"a" "b"', None),
        ("", None),
    ],
)
def test_lists_of_etags(value: str, expected: list[str] | None) -> None:
    assert tags(value) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({}, False),
        ({"if_none_match": '"abc"'}, True),
        ({"if_none_match": 'W/"abc"'}, True),
        ({"if_none_match": '"x", "abc"'}, True),
        ({"if_none_match": "*"}, True),
        ({"if_none_match": '"x"'}, False),
        ({"if_none_match": "nonsense"}, False),
        ({"if_match": '"abc"'}, False),
        ({"if_match": "*"}, False),
        ({"if_match": '"x"'}, 412),
        ({"if_match": 'W/"abc"'}, 412),
        ({"if_match": "nonsense"}, 412),
    ],
)
def test_conditions(lines: dict[str, str], expected: Any) -> None:
    if expected == 412:
        with pytest.raises(HttpError) as caught:
            is_unchanged(headers(**lines), FILE)
        assert caught.value.status == 412
    else:
        assert is_unchanged(headers(**lines), FILE) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-", Part(0, 10)),
        ("bytes=0-0", Part(0, 1)),
        ("BYTES = 2 - 5 ", Part(2, 4)),
        ("bytes=9-99", Part(9, 1)),
        ("bytes=-3", Part(7, 3)),
        ("bytes=-99", Part(0, 10)),
        ("bytes=10-", None),
        ("bytes=10-20", None),
        ("bytes=-0", None),
        ("bytes=99999999999999999999999999-", None),
    ],
)
def test_ranges(value: str, expected: Part | None) -> None:
    if expected is not None:
        assert part_of(headers(range=value), FILE) == expected
        return
    with pytest.raises(HttpError) as caught:
        part_of(headers(range=value), FILE)
    assert caught.value.status == 416
    assert caught.value.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize(
    "value",
    ["", "bytes=", "bytes=-", "bytes=5-2", "bytes=1-2,4-5", "lines=1-2", "bytes=a-b", "bytes=1--2"],
)
def test_ranges_without_a_known_form_mean_the_whole_file(value: str) -> None:
    assert part_of(headers(range=value), FILE) is None


def test_if_range_of_another_content_means_the_whole_file() -> None:
    assert part_of(headers(range="bytes=1-2", if_range='"abc"'), FILE) == Part(1, 2)
    for value in ('"x"', 'W/"abc"', "Mon, 30 Nov 2026 10:00:00 GMT"):
        assert part_of(headers(range="bytes=1-2", if_range=value), FILE) is None
        assert part_of(headers(range="bytes=99-", if_range=value), FILE) is None
