"""Named private networks of this device, which components of several deployments join."""
