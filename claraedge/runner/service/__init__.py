"""Podman's API: its process, HTTP, and what its answers mean."""
