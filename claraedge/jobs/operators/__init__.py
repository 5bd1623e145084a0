"""One operator: its attempts, containers, files and results."""
