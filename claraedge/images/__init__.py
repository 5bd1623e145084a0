"""Container images: look-up by name, loading from archives, pulls, and checks of their
integrity.
"""
