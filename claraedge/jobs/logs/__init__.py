"""Logs of operators, and what happened to each job."""
