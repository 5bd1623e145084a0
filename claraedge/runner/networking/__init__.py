"""Private networks of jobs."""
