"""What a client shows to a daemon on another machine, and how it recognises that daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import grpc

from claraedge.errors import InvalidRequestError


def credentials(environment: Mapping[str, str]) -> grpc.ChannelCredentials:
    """Returns the credentials for TLS.

    `CLARAEDGE_CA` names the file of the authority of the daemon's certificate; without it, public
    ones count. The client shows the token `CLARAEDGE_TOKEN`, or the certificate of the files
    `CLARAEDGE_CERTIFICATE` and `CLARAEDGE_KEY`. Raises InvalidRequestError if a file cannot be
    read, or only one of the two is given.
    """
    certificate = _content("CLARAEDGE_CERTIFICATE", environment)
    key = _content("CLARAEDGE_KEY", environment)
    if (certificate is None) != (key is None):
        given, lacking = "CLARAEDGE_CERTIFICATE", "CLARAEDGE_KEY"
        if certificate is None:
            given, lacking = lacking, given
        raise InvalidRequestError(f"{given} has no effect without {lacking}; set both")
    channel = grpc.ssl_channel_credentials(_content("CLARAEDGE_CA", environment), key, certificate)
    token = environment.get("CLARAEDGE_TOKEN", "").strip()
    if not token:
        return channel
    return grpc.composite_channel_credentials(channel, grpc.access_token_call_credentials(token))


def _content(variable: str, environment: Mapping[str, str]) -> bytes | None:
    path = environment.get(variable)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequestError(
            f"{variable}: {path} cannot be read ({error.strerror}); correct the path"
        ) from error
