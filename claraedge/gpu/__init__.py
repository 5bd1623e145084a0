"""GPUs: which devices this machine offers to containers."""
