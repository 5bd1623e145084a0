"""Exports definitions: as YAML, as graphs, and the language as a JSON schema."""
