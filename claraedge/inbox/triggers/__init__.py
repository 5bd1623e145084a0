"""Triggers: which entries of which folders become jobs of which pipeline, and their names."""
