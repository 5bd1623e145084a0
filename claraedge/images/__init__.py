"""Images: look-up, side-loading, pins."""
