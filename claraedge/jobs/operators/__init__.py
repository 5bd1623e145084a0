"""Executes one operator: its attempts, containers, files and results."""
