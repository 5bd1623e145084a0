"""How long jobs and what they leave are kept."""
