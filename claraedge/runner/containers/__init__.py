"""Create, inspect, watch and remove containers."""
