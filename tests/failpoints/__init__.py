"""The moments at which tests end the daemon, in the order in which they come."""
