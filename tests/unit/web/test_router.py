"""Paths and templates: which endpoint a request finds, and with which variables."""

from __future__ import annotations

import pytest

from claraedge.web.http.failures import HttpError
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route, Router


async def nothing(request: Request, reply: Reply) -> None:
    raise AssertionError("no test calls it")


TEMPLATES = [
    "/v1/jobs",
    "/v1/jobs/{job_id}",
    "/v1/jobs/{job_id}:start",
    "/v1/jobs/latest",
    "/v1/images/{name=**}",
    "/v1/payloads/{payload_id}/files",
    "/v1/payloads/{payload_id}/files/{name=**}",
]


def find(path: str, method: str = "GET") -> tuple[str, dict[str, str]]:
    endpoints = {}
    routes = []
    for template in TEMPLATES:

        async def endpoint(request: Request, reply: Reply) -> None:
            raise AssertionError("no test calls it")

        endpoints[endpoint] = template
        routes.append(Route("GET", template, endpoint))
    found, parameters = Router(reversed(routes)).find(method, path)
    return endpoints[found.endpoint], dict(parameters)


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/v1/jobs", 0, {}),
        ("/v1/jobs/5f", 1, {"job_id": "5f"}),
        ("/v1/jobs/5f:start", 2, {"job_id": "5f"}),
        ("/v1/j%6fbs/5f", 1, {"job_id": "5f"}),
        ("/v1/jobs/5f%3Astart", 1, {"job_id": "5f:start"}),
        ("/v1/jobs/latest", 3, {}),
        ("/v1/jobs/a%2Fb", 1, {"job_id": "a/b"}),
        ("/v1/jobs/%C3%A4", 1, {"job_id": "ä"}),
        ("/v1/images/docker.io/library/alpine:3.18", 4, {"name": "docker.io/library/alpine:3.18"}),
        ("/v1/payloads/5f/files", 5, {"payload_id": "5f"}),
        ("/v1/payloads/5f/files/a/../b", 6, {"payload_id": "5f", "name": "a/../b"}),
        ("/v1/payloads/5f/files/a//b", 6, {"payload_id": "5f", "name": "a//b"}),
    ],
)
def test_the_most_specific_template_answers(
    path: str, template: int, parameters: dict[str, str]
) -> None:
    assert find(path) == (TEMPLATES[template], parameters)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1", "/v1/", "/v1/jobs/", "/v1/jobs/5f/", "/v1/jobs/:start", "/v1/jobs/5f:stop",
     "/v1/jobs/{job_id}:stop", "/v1//5f", "*", "/v1/payloads//files", "/v1/payloads/5f/files/",
     "http://localhost/v1/jobs"],
)  # fmt: skip
def test_no_template_fits(path: str) -> None:
    with pytest.raises(HttpError) as caught:
        find(path)
    assert caught.value.status == 404


def test_a_variable_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(HttpError) as caught:
        find("/v1/jobs/%FF")
    assert (caught.value.status, "%FF" in str(caught.value)) == (400, True)


def test_another_method_is_refused_with_those_that_are_supported() -> None:
    router = Router([Route(method, "/v1/jobs/{job_id}", nothing) for method in ("GET", "PATCH")])
    with pytest.raises(HttpError) as caught:
        router.find("DELETE", "/v1/jobs/5f")
    assert (caught.value.status, caught.value.headers["Allow"]) == (405, "GET, HEAD, PATCH")


def test_head_is_answered_as_get_is() -> None:
    assert find("/v1/jobs/5f", "HEAD")[0] == "/v1/jobs/{job_id}"


def test_two_routes_of_one_method_and_template_are_a_bug() -> None:
    with pytest.raises(ValueError, match=r"GET /v1/jobs has two routes"):
        Router([Route("GET", "/v1/jobs", nothing), Route("GET", "/v1/jobs", nothing)])


def test_a_template_is_no_path_by_itself() -> None:
    assert find("/v1/payloads/{payload_id}/files")[1] == {"payload_id": "{payload_id}"}


def test_a_verb_with_another_method_is_refused_as_such() -> None:
    router = Router(
        [
            Route("GET", "/v1/jobs/{job_id}", nothing),
            Route("POST", "/v1/jobs/{job_id}:start", nothing),
        ]
    )
    with pytest.raises(HttpError) as caught:
        router.find("GET", "/v1/jobs/5f:start")
    assert (caught.value.status, caught.value.headers["Allow"]) == (405, "POST")
