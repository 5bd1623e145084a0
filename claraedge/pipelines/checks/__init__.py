"""What a definition means, and what is wrong with it."""
