"""Retention: how long jobs and their artifacts are kept."""
