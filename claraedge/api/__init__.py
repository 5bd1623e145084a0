"""gRPC servicers: translate messages into calls of the parts and back; no SQL, no Podman."""
