"""Entries that were seen and not claimed yet."""
