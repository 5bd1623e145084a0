"""Waiting: for an event or a time, between attempts, and between the runs of periodic work."""
