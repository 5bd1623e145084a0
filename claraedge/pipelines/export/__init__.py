"""Definitions written out: as YAML, as graphs, as a JSON schema."""
