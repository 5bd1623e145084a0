"""Calls to the daemon's own gRPC socket, by the descriptors of its services."""
