"""GPUs: the devices that this machine offers to containers, whether they work, and their load."""
