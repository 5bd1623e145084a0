"""Results, originals and failures to their folders."""
