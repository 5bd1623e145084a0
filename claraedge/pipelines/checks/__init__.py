"""Checks of a definition: what it means, and what is wrong with it."""
