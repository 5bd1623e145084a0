"""The definition language: turns text into a checked, immutable graph, or a list of
problems. Pure.
"""
