"""Containers: made, inspected, ended, removed."""
