"""Inspection of entries: what they contain, whether they are complete, whether we may take them."""
