"""The inference server, and the models that it has loaded."""
