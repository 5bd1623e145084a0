"""What Podman says about an image, read as a value: whatever is written, it is that image's."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from claraedge.api.appliance import time_of
from claraedge.errors import DamagedImageError, RunnerUnavailableError
from claraedge.runner.images import images
from claraedge.runner.protocol import Image
from claraedge.runner.reserved import refusal
from claraedge.runner.service.http import Response
from claraedge.wire.claraedge.v1 import appliance_pb2

ID = "ab" * 32
SANE = {
    "Id": ID,
    "RepoTags": ["localhost/app:1"],
    "RepoDigests": ["localhost/app@sha256:" + ID],
    "Digest": "sha256:" + ID,
    "Created": "2024-01-02T03:04:05Z",
    "Size": 7,
    "User": "1000",
    "Os": "linux",
    "Architecture": "arm64",
    "Annotations": {"org.opencontainers.image.title": "app"},
    "Labels": {"a": "b"},
    "Config": {
        "Entrypoint": ["/a"],
        "Cmd": ["b"],
        "ExposedPorts": {"8000/tcp": {}, "9": {}, "7/udp": {}},
        "Labels": {"a": "b"},
        "Volumes": {"/data": {}},
    },
}
TEXT = st.text(st.sampled_from('aZ0.:/-+T\0\x7f"\\é€\U0001f600\ud800'), max_size=12)
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(["0000-01-01T00:00:00Z", "9" * 5000 + "/tcp", "9999-12-31T23:59:59Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def answer(fields: object, status: int = 200) -> Response:
    return Response(status=status, headers={}, body=json.dumps(fields).encode())


def read(**changes: object) -> Image:
    image = images.read_image(answer({**SANE, **changes}), ID)
    assert image is not None
    return image


@pytest.mark.parametrize(
    ("said", "unix"),
    [
        (None, 0.0),
        ("1970-01-01T00:01:00.5Z", 60.5),
        ("0000-01-01T00:00:00Z", 0.0),
        ("0001-01-01T00:00:00+23:59", 0.0),
        (7, 0.0),
    ],
)
def test_an_image_need_not_say_when_it_was_built(said: object, unix: float) -> None:
    """Finding 10: a year that no calendar has was taken for a Podman that does not answer."""
    assert read(Created=said).created == unix


def test_ports_that_no_machine_has_are_left_out() -> None:
    """Finding 10: so was an EXPOSE of 5,000 digits."""
    ports = {"9" * 5000: {}, "70000/tcp": {}, "٣/tcp": {}, "80/tcp": {}, "81/sctp": {}, "": {}}
    assert read(Config={"ExposedPorts": ports}).ports == (80,)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.dictionaries(st.sampled_from(sorted(set(SANE) - {"Id"})), ODD),
    config=st.dictionaries(st.sampled_from(sorted(SANE["Config"])), ODD),  # type: ignore[call-overload]
)
@example(changes={"Size": False}, config={})
def test_whatever_an_image_says_it_is_read_and_can_be_shown(
    changes: dict[str, object], config: dict[str, object]
) -> None:
    fields = {**SANE, "Config": {**dict(SANE["Config"]), **config}, **changes}  # type: ignore[call-overload]
    try:
        image = images.read_image(answer(fields), ID)
    except DamagedImageError:  # text that no JSON has
        return
    assert image is not None
    appliance_pb2.Image(
        id=image.id,
        names=image.names,
        digests=image.digests,
        size=image.size,
        created=time_of(image.created),
        problem=refusal(image.id, image.reserved),
    ).SerializeToString()
    images.read_volumes(answer(fields), ID)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"Id": 7}', b"{}", b'{"a":' * 5000, b'"\xff"']
)
def test_an_answer_that_cannot_be_read_is_the_trouble_of_its_image(body: bytes) -> None:
    with pytest.raises(DamagedImageError, match="localhost/app"):
        images.read_image(Response(status=200, headers={}, body=body), "localhost/app:1")


def test_words_of_an_image_in_a_refusal_are_no_outage() -> None:
    said = {"message": 'parsing time "timed out, no space left" as "2006"', "cause": "x"}
    with pytest.raises(DamagedImageError):
        images.read_image(answer(said, 500), ID)
    short = {"message": 'open "/a": too many open files', "cause": "x"}
    with pytest.raises(RunnerUnavailableError):
        images.read_image(answer(short, 500), ID)


@pytest.mark.parametrize(
    "name",
    [
        "run.oci.handler",
        "run.oci.hooks.stdout",
        "org.systemd.property.CPUQuota",
        "io.podman.annotations.init",
        "io.container.manager",
        "io.containers.trace-syscall",
        "io.kubernetes.cri.container-type",
        "io.katacontainers.config.hypervisor.path",
        "cdi.k8s.io/gpu",
        "io.claraedge.devices",
    ],
)
def test_annotations_for_whoever_runs_containers_are_reserved(name: str) -> None:
    found = read(Annotations={name: "1", "org.opencontainers.image.title": "a"}).reserved
    assert found == (f"annotation {name}",)


def test_labels_of_claraedge_are_reserved_and_no_others() -> None:
    labels = {"io.claraedge.devices": "nvidia.com/gpu=all", "run.oci.handler": "x", "a": "b"}
    assert read(Labels=None, Config={"Labels": labels}).reserved == ("label io.claraedge.devices",)
    assert read().reserved == ()
    text = refusal("app:1", [f"annotation run.oci.{n}" for n in range(9)])
    assert "app:1" in text
    assert "and 6 more" in text


def test_the_reasons_are_short() -> None:
    body = msgspec.json.encode({"Id": ["x" * 9000]})
    with pytest.raises(DamagedImageError) as caught:
        images.read_image(Response(status=200, headers={}, body=body), ID)
    assert len(str(caught.value)) < 1000
