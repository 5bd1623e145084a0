"""gRPC servicers: translate messages to calls and back; no SQL, no Podman."""
