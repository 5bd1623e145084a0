"""Containers: the protocol, rootless Podman, and an in-memory stand-in for tests."""
