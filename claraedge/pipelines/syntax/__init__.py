"""Parses the text of a definition into nodes with their places, and reports problems."""
