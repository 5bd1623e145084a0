"""Images: loaded, pulled, checked, removed."""
