"""The packages on this device: manifests as sent, and what deployments need of them."""
