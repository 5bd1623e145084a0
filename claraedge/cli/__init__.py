"""The command line: talks to a daemon through its socket only."""
