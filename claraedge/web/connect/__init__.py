"""The Connect protocol: each gRPC method at `POST /package.Service/Method`."""
