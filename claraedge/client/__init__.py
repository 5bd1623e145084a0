"""The client of a daemon: the only package that opens a gRPC channel to it.

    with connect() as connection:
        job_id, payload_id = jobs.create(connection, pipeline_id, "scan")

Calls take and return plain values. An error of the daemon is raised here as the same exception.
"""

from __future__ import annotations

from claraedge.client.connection import Connection, connect

__all__ = ["Connection", "connect"]
