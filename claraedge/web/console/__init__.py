"""The console: pages on the device for people, rendered by the server.

It reads and acts through the gRPC services of the daemon, as every client does.
"""
