"""Delivery of results, originals and failures to their folders."""
