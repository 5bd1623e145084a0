"""Where claimed items wait for their results, and what the folders of results are called."""
