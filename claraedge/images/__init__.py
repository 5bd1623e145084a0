"""Container images: lookup by name, loading from archives, pulls, and checks of their
integrity.
"""
