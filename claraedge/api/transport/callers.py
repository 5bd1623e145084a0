"""Who may call: the group of the socket, programs of this machine, and others with the token."""

from __future__ import annotations

from claraedge.access.token import Token, bearer
from claraedge.api.answers import Context
from claraedge.errors import UnauthenticatedError

#: What gRPC says of connections without TLS: those of the socket, and of loopback.
_PLAIN = [b"insecure"]


def check_caller(context: Context, token: Token | None) -> None:
    """Raises UnauthenticatedError for a call over TLS without the token, or a client certificate.

    gRPC verified the certificate when the connection was made.
    """
    caller = context.auth_context()
    if caller.get("transport_security_type") == _PLAIN or "x509_pem_cert" in caller:
        return
    if token is None:
        raise UnauthenticatedError(
            f"the client {context.peer()} shows no certificate; use one of tls.client_ca"
        )
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    shown = bearer(values[0]) if len(values) == 1 and isinstance(values[0], str) else None
    token.check(shown, context.peer())
