"""Calls of the Bags service. Jobs and bags are named by an id, or a unique left part of it."""

from __future__ import annotations

from collections.abc import Sequence

from claraedge.client.connection import Connection
from claraedge.client.packages.plain import value_of
from claraedge.client.packages.values import BagInfo, BagJobInfo
from claraedge.wire.claraedge.v1 import bags_pb2 as pb
from claraedge.wire.claraedge.v1.bags_pb2_grpc import BagsStub


def start(
    connection: Connection, deployment: str, component: str, name: str, topics: Sequence[str]
) -> BagJobInfo:
    """Starts to record topics of a component; none: all. An empty component: the only one."""
    record = pb.RecordOptions(all_topics=not topics, topics=topics)
    request = pb.StartBagJobRequest(
        deployment=deployment,
        component=component,
        job=pb.BagJobDefinition(name=name, record=record),
    )
    return value_of(connection.unary(BagsStub(connection.channel).StartJob, request), BagJobInfo)


def stop(connection: Connection, job: str) -> BagJobInfo:
    """Ends a recording. Raises BagJobNotFoundError."""
    request = pb.StopBagJobRequest(job=job)
    return value_of(connection.unary(BagsStub(connection.channel).StopJob, request), BagJobInfo)


def get_job(connection: Connection, job: str) -> BagJobInfo:
    """Returns a job. Raises BagJobNotFoundError."""
    request = pb.GetBagJobRequest(job=job)
    return value_of(connection.unary(BagsStub(connection.channel).GetJob, request), BagJobInfo)


def list_jobs(connection: Connection, deployment: str = "") -> list[BagJobInfo]:
    """Returns the jobs of a deployment, or all, in the order of their creation."""
    request = pb.ListBagJobsRequest(deployment=deployment)
    reply = connection.unary(BagsStub(connection.channel).ListJobs, request)
    return [value_of(job, BagJobInfo) for job in reply.jobs]


def list_all(connection: Connection, job: str = "") -> list[BagInfo]:
    """Returns the bags of a job, or all, in the order in which they were found."""
    reply = connection.unary(BagsStub(connection.channel).List, pb.ListBagsRequest(job=job))
    return [value_of(bag, BagInfo) for bag in reply.bags]
