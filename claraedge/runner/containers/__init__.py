"""Creates, inspects, watches and removes containers."""
