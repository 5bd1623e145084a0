"""gRPC servicers: translate messages into calls of the parts and back; no SQL, no Podman.

The methods are documented in `protos/`. They may raise any ClaraedgeError; `transport.calls` turns
it into the answer.
"""
