"""Headers that pass through a static route: no secret of the caller, no power for the program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.web.proxy.rewriting import answer_headers, cookie, inside, request_lines

HOST = "device.local"


def sent(*lines: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    return dict(request_lines(lines, caller="10.0.0.7", scheme="https", prefix="viewer"))


def test_a_program_never_sees_token_cookie_or_what_others_say_of_the_caller() -> None:
    found = sent(
        (b"host", b"device.local:8443"),
        (b"authorization", b"Bearer secret"),
        (b"cookie", b"claraedge=a; mine=1; __Host-claraedge=b;__host-CLARAEDGE=c"),
        (b"cookie", b"claraedge=only"),
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-user", b"root"),
        (b"forwarded", b"for=6.6.6.6"),
        (b"connection", b"keep-alive, X-Hop"),
        (b"x-hop", b"1"),
        (b"te", b"trailers"),
        (b"accept", b"*/*"),
    )
    assert found == {
        b"host": b"device.local:8443",
        b"connection": b"close",
        b"cookie": b"mine=1",
        b"accept": b"*/*",
        b"x-forwarded-for": b"10.0.0.7",
        b"x-forwarded-host": b"device.local:8443",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-prefix": b"/routes/viewer",
    }


def test_answers_lose_what_concerns_more_than_their_route() -> None:
    found = answer_headers(
        [
            (b"content-type", b"text/html"),
            (b"content-security-policy", b"default-src 'self'"),
            (b"clear-site-data", b'"*"'),
            (b"service-worker-allowed", b"/"),
            (b"strict-transport-security", b"max-age=1"),
            (b"www-authenticate", b"Basic"),
            (b"claraedge-error", b"fake"),
            (b"connection", b"close, x-hop"),
            (b"x-hop", b"1"),
            (b"vary", b"a"),
            (b"vary", b"b"),
            (b"set-cookie", b"claraedge=stolen; Path=/"),
            (b"set-cookie", b"__Host-x=1; Path=/; Secure"),
            (b"set-cookie", b"sid=1; Domain=local; Path=/app; HttpOnly"),
            (b"set-cookie", b"b=2"),
            (b"location", b"/v1/jobs"),
        ],
        prefix="viewer",
        host=HOST,
        trusted=(),
    )
    assert found.content_type == "text/html"
    policy = found.single.pop("content-security-policy")
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    assert policy.endswith(", default-src 'self'")
    assert found.single == {"vary": "a, b", "location": "/routes/viewer/v1/jobs"}
    assert list(found.several) == [
        (b"set-cookie", b"sid=1; Path=/routes/viewer/app; HttpOnly"),
        (b"set-cookie", b"b=2; Path=/routes/viewer/"),
    ]


def test_only_a_trusted_route_runs_outside_of_the_sandbox() -> None:
    for prefix, sandbox in (("viewer", False), ("other", True)):
        found = answer_headers([], prefix=prefix, host=HOST, trusted=("viewer",))
        assert ("sandbox" in found.single["content-security-policy"]) is sandbox


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/a?b#c", "/routes/viewer/a?b#c"),
        ("http://device.local/a", "/routes/viewer/a"),
        ("https://DEVICE.local", "/routes/viewer/"),
        ("https://device.local?x=1", "/routes/viewer/?x=1"),
        ("next", "next"),
        ("?page=2", "?page=2"),
        ("/../../v1/jobs", "/routes/viewer/"),
        ("../../v1/jobs", "/routes/viewer/"),
        ("/%2E%2e/x", "/routes/viewer/"),
        ("/..\\..\\v1", "/routes/viewer/"),
        ("/.\t./.\n./v1/jobs", "/routes/viewer/"),
        ("/\t/elsewhere.example/x", "//elsewhere.example/x"),
        ("\x01/v1/jobs", "/routes/viewer/v1/jobs"),
        ("\\v1\\jobs", "/routes/viewer\\v1\\jobs"),
        ("//device.local/v1/jobs", "/routes/viewer/v1/jobs"),
        ("\\\\device.local/v1/jobs", "/routes/viewer/v1/jobs"),
        ("ht\ttp:///x@Device.local:80\\v1", "/routes/viewer\\v1"),
        ("http:/v1/jobs", "/routes/viewer/"),
        ("https:v1/jobs", "/routes/viewer/"),
        ("/login?next=/../a", "/routes/viewer/login?next=/../a"),
        ("mailto:a@b.example", "mailto:a@b.example"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("//elsewhere.example/x", "//elsewhere.example/x"),
    ],
)
def test_redirects_stay_in_their_route(location: str, found: str) -> None:
    assert inside(location, prefix="viewer", host=HOST) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sid=1; Path =/", "sid=1; Path=/routes/viewer/"),
        ("sid=1; Path\t= /v1 ", "sid=1; Path=/routes/viewer/v1"),
        ("sid=1; Path=/a; PATH=/b", "sid=1; Path=/routes/viewer/b"),
        ("sid=1; Path=/a; Path", "sid=1; Path=/routes/viewer/"),
        ("sid=1; Path=/../..", "sid=1; Path=/routes/viewer/"),
        ("sid=1; Domain =device.local", "sid=1; Path=/routes/viewer/"),
        (" sid = a=b ;Secure ;HttpOnly", "sid=a=b; Path=/routes/viewer/; Secure; HttpOnly"),
        ("sid=1; Max-Age = 5; Other=1", "sid=1; Path=/routes/viewer/; Max-Age=5"),
        ("=claraedge=stolen", None),
        ("claraedge =stolen", None),
        ("\x0bclaraedge=stolen", None),
        ("", None),
    ],
)
def test_cookies_are_read_as_browsers_do(text: str, found: str | None) -> None:
    assert cookie(text, "viewer") == found


@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from([*"= \t;/ab", "Path", "domain", "claraedge"])).map("".join),
    )
)
def test_a_cookie_is_never_ours_and_never_for_another_path(text: str) -> None:
    found = cookie(text, "viewer")
    if found is None:
        return
    assert found.partition("=")[0].strip().lower() not in ("claraedge", "__host-claraedge")
    attributes = [part.strip().partition("=") for part in found.split(";")[1:]]
    paths = [value for key, _, value in attributes if key.strip().lower() == "path"]
    assert len(paths) == 1
    assert paths[0].startswith("/routes/viewer/")
    assert not any(key.strip().lower() == "domain" for key, _, _ in attributes)
