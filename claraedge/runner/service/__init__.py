"""Podman's API: the service process, HTTP over its socket, and the meaning of its answers."""
