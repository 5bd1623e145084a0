"""The numbered log of state changes, and what its watchers follow."""
