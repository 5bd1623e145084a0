"""Large files through small memory: what is sent ahead is bounded, a stalled reader is cheap."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from claraedge.wire.nvidia.clara.platform import payloads_pb2
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.campaign import CAMPAIGN
from tests.robustness.site import MIB, Site, site

SIZE = (2048 if CAMPAIGN else 256) * MIB
BOUND = 32 * MIB

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Site]:
    with site() as found:
        yield found


def upload(stub: PayloadsStub, payload: object, name: str, size: int) -> float:
    """Sends zeros; MiB a second."""
    details = payloads_pb2.PayloadFileDetails(name=name)
    chunk = bytes(MIB)
    message = payloads_pb2.PayloadsUploadRequest(
        payload_id=payload,  # type: ignore[arg-type]
        details=details,
        data=chunk,
    )
    began = time.monotonic()
    reply = stub.Upload(iter([message] * (size // MIB)))
    assert (reply.header.code, reply.details.size) == (0, size)
    return size / MIB / (time.monotonic() - began)


def test_a_large_upload_and_a_stalled_download_hold_memory(
    daemon: Site, record_property: pytest.RecordProperty
) -> None:
    with daemon.channel() as channel:
        stub = PayloadsStub(channel)
        payload = stub.Create(payloads_pb2.PayloadsCreateRequest()).payload_id
        upload(stub, payload, "warm", 32 * MIB)
        daemon.forget_peak()
        before = daemon.memory()
        rate = upload(stub, payload, "large", SIZE)
        grown = daemon.peak() - before
        figures = f"upload of {SIZE // MIB} MiB at {rate:.0f} MiB/s: +{grown / MIB:.1f} MiB"
        print(figures)
        record_property("upload", figures)
        assert grown < BOUND

        daemon.forget_peak()
        before = daemon.memory()
        call = stub.Download(payloads_pb2.PayloadsDownloadRequest(payload_id=payload, name="large"))
        next(call)
        time.sleep(2)  # the server would go on sending ahead for as long as it could
        grown = daemon.peak() - before
        call.cancel()
        print(f"stalled download: +{grown / MIB:.1f} MiB")
        record_property("stalled download", f"+{grown / MIB:.1f} MiB")
        assert grown < BOUND
        stub.Delete(payloads_pb2.PayloadsDeleteRequest(payload_id=payload))
