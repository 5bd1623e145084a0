"""Loads, pulls, checks and removes container images."""
