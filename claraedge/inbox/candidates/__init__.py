"""Entries that are seen and not claimed yet: when to inspect them, which of them to claim."""
