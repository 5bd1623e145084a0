"""Payloads: file names and the blob tree."""
