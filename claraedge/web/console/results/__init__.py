"""Viewers of files: what each file is, and what of it is shown on a page. Pure."""
