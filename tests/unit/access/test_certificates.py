"""The certificate of this device: what is refused at the start, and what a renewal does."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.access.certificates import Certificates
from claraedge.errors import ConfigurationError
from tests.rig.certificates import Authority, Pair, install, with_password


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    pair = Pair(tmp_path / "device.pem", tmp_path / "device.key")
    install(authority.issue(), pair)
    return pair


def opened(pair: Pair, clients: Path | None = None) -> Certificates:
    return Certificates(pair.certificate, pair.key, clients)


def test_a_pair_is_read(pair: Pair, authority: Authority) -> None:
    certificates = opened(pair, authority.certificate)
    assert certificates.for_clients
    assert certificates.current().chain == pair.certificate.read_bytes()
    assert certificates.current() is certificates.current(), "it is read once"


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_missing_file_is_named(pair: Pair, missing: str) -> None:
    path = getattr(pair, missing)
    path.unlink()
    with pytest.raises(ConfigurationError, match=rf"{path} cannot be read \(No such file"):
        opened(pair)


def test_a_key_that_everybody_may_read_is_refused(pair: Pair) -> None:
    pair.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=f"chmod o= {pair.key}"):
        opened(pair)


def test_a_key_of_another_certificate_is_refused(pair: Pair, authority: Authority) -> None:
    other = authority.issue()
    pair.key.write_bytes(other.key.read_bytes())
    with pytest.raises(ConfigurationError, match=r"no certificate and its key.*MISMATCH"):
        opened(pair)


@pytest.mark.parametrize("content", [b"", b"\0" * 4000, b"not PEM\n"])
def test_what_is_no_certificate_is_refused(pair: Pair, content: bytes) -> None:
    pair.certificate.write_bytes(content)
    with pytest.raises(ConfigurationError, match="no certificate and its key"):
        opened(pair)


@pytest.mark.timeout(30)
def test_a_key_with_a_password_is_refused_and_nobody_is_asked(pair: Pair) -> None:
    key = pair.key.with_name("locked.key")
    with_password(pair.key, key)
    key.chmod(0o600)
    with pytest.raises(ConfigurationError, match="has a password"):
        opened(Pair(pair.certificate, key))


def test_authorities_that_are_none_are_refused(pair: Pair, tmp_path: Path) -> None:
    clients = tmp_path / "clients.pem"
    clients.write_text("")
    with pytest.raises(ConfigurationError, match=r"tls\.client_ca"):
        opened(pair, clients)


def test_a_new_pair_is_used_and_a_broken_one_is_not(
    pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = opened(pair)
    first = certificates.current()
    pair.certificate.write_text("half")
    for _ in range(3):
        assert certificates.current() is first
    assert [record.levelname for record in caplog.records] == ["ERROR"], "it is logged once"
    pair.certificate.unlink()
    for _ in range(3):
        assert certificates.current() is first
    install(authority.issue(), pair)
    second = certificates.current()
    assert second.chain == pair.certificate.read_bytes()
    assert certificates.current() is second


def test_a_pair_that_is_half_replaced_is_not_used(pair: Pair, authority: Authority) -> None:
    certificates = opened(pair)
    first = certificates.current()
    new = authority.issue()
    pair.certificate.write_bytes(new.certificate.read_bytes())
    assert certificates.current() is first
    pair.key.write_bytes(new.key.read_bytes())
    assert certificates.current().key == new.key.read_bytes()
