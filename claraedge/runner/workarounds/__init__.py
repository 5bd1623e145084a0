"""Workarounds for faults and slow parts of Podman. Each module says for which version, and why."""
