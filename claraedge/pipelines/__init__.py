"""The definition language: text in, a checked immutable graph or a list of problems out. Pure."""
