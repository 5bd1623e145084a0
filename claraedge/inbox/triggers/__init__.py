"""Which entries of which folders belong to which pipeline, and what they are called."""
