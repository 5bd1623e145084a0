"""Load, pull, check and remove container images."""
