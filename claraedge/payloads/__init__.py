"""Payloads: the files that jobs read and write, their names, uploads, and storage on the disk."""
