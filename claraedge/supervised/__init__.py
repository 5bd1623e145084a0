"""Containers that are kept running: what restarts them, and what they use of the device."""
