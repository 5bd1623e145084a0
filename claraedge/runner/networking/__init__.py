"""Private networks for the containers of jobs."""
