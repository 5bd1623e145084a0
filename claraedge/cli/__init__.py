"""The command line, which calls a daemon only through its socket."""
