"""Makes jobs of claimed entries, or failures with a reason."""
