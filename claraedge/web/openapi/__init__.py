"""Describes all paths in OpenAPI 3.1, from the descriptors and comments of the protos."""
