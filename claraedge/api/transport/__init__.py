"""The gRPC server: its sockets, the kinds of calls, and their limits."""
