"""The HTTP front: every gRPC method as JSON, for curl, browsers and clients of any language.

It is a gRPC client of its own daemon: limits, errors, deadlines and cancellation of a call are
those of gRPC, and it knows nothing of jobs or payloads.
"""
