"""claraedge: the Clara Deploy platform API on one machine with one GPU."""

__version__ = "0.1.0"
