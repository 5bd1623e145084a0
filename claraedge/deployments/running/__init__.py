"""The life of deployments: what creates, runs and ends their containers."""
