"""Serves packages, and what is deployed of them."""
