"""The gRPC server: sockets, kinds of calls and their bounds."""
