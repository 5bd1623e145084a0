"""Around faults and slow parts of Podman; each says for which version, and why."""
