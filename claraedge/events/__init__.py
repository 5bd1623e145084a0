"""The numbered log of state changes, and its watchers."""
