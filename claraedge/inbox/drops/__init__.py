"""Drops: files that clients send, which appear in a trigger's folder together, each one whole."""
