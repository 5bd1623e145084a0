"""Recognises files by their names and bytes, and writes zip archives."""
