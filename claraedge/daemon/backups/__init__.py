"""Backups of the state, and their restoration."""
