"""A daemon, as seen from outside: the one place that opens a channel to it.

    with connect() as connection:
        job_id, payload_id = jobs.create(connection, pipeline_id, "scan")

Calls take and give plain values. What the daemon refuses is raised as the error that it raised.
"""

from __future__ import annotations

from claraedge.client.connection import Connection, connect

__all__ = ["Connection", "connect"]
