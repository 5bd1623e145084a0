"""The inference server, and the models that it loads."""
