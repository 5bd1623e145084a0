"""Logs of operators, and the log of each job's own events."""
