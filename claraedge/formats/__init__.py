"""What files are, by their names and bytes."""
