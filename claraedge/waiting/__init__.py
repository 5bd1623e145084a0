"""Waiting: for an event or a time, between attempts, runs of periodic work, and searches."""
