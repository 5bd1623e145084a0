"""Scheduling: which operator starts next, and whether its resources are free."""
