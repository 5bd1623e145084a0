"""Connects each service of the API to the part of the daemon that answers it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from types import ModuleType

from google.protobuf.descriptor import ServiceDescriptor

from claraedge.api.appliance import (
    ApplianceServicer,
    ImagesServicer,
    InboxServicer,
    QueueServicer,
)
from claraedge.api.clara import ClaraServicer
from claraedge.api.events import EventsServicer
from claraedge.api.files import DropsServicer, FilesServicer
from claraedge.api.jobs import JobsServicer, LogsServicer
from claraedge.api.models import ModelsServicer
from claraedge.api.monitor import MonitorServicer
from claraedge.api.packages.bags import BagsServicer
from claraedge.api.packages.catalogue import PackagesServicer
from claraedge.api.packages.deployments import DeploymentsServicer, DevicesServicer
from claraedge.api.packages.networks import NetworksServicer
from claraedge.api.packages.routes import RoutesServicer
from claraedge.api.payloads import PayloadsServicer
from claraedge.api.pipelines import PipelineFilesServicer, PipelinesServicer
from claraedge.api.places import Places
from claraedge.api.search.servicer import SearchServicer
from claraedge.daemon.deploying import device_view
from claraedge.daemon.parts import Parts
from claraedge.daemon.status import settings, status, usage
from claraedge.delivery.results import results_of
from claraedge.gpu.sampler import Sampler
from claraedge.ids import new_id
from claraedge.models.model import SetKind
from claraedge.models.sets import ModelSets
from claraedge.wire.claraedge.v1 import (
    appliance_pb2,
    bags_pb2,
    deployments_pb2,
    drops_pb2,
    events_pb2,
    files_pb2,
    logs_pb2,
    networks_pb2,
    packages_pb2,
    pipeline_files_pb2,
    routes_pb2,
    search_pb2,
)
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    jobs_pb2,
    models_pb2,
    payloads_pb2,
    pipelines_pb2,
)
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2


def servicers(parts: Parts, sampler: Sampler) -> Sequence[tuple[ServiceDescriptor, object]]:
    """Returns each gRPC service with its servicer."""
    base, blocked_by = parts.foundation, parts.disks.blocked_by
    node = os.uname().nodename
    places = Places(parts.payloads, parts.models, partial(results_of, base.database))
    idle = base.config.api.idle_seconds
    catalogs, instances = (
        ModelSets(base.database, base.clock, new_id, kind)
        for kind in (SetKind.CATALOG, SetKind.INSTANCE)
    )
    return [
        (_service(clara_pb2, "Clara"), ClaraServicer(sampler, node, parts.services.stop)),
        (_service(jobs_pb2, "Jobs"), JobsServicer(parts.jobs)),
        (_service(logs_pb2, "Logs"), LogsServicer(parts.jobs)),
        (
            _service(models_pb2, "Models"),
            ModelsServicer(parts.models, catalogs, instances, blocked_by),
        ),
        (_service(payloads_pb2, "Payloads"), PayloadsServicer(parts.payloads)),
        (_service(files_pb2, "Files"), FilesServicer(places, parts.drops)),
        (_service(pipelines_pb2, "Pipelines"), PipelinesServicer(parts.pipelines)),
        (
            _service(pipeline_files_pb2, "PipelineFiles"),
            PipelineFilesServicer(parts.pipeline_folder),
        ),
        (_service(metrics_pb2, "Monitor"), MonitorServicer(sampler)),
        (
            _service(appliance_pb2, "Images"),
            ImagesServicer(
                parts.images, parts.tree.uploads, blocked_by, parts.side_loading.warnings
            ),
        ),
        (_service(appliance_pb2, "Inbox"), InboxServicer(parts.inbox, parts.drops)),
        (_service(drops_pb2, "Drops"), DropsServicer(parts.drops)),
        (_service(appliance_pb2, "Queue"), QueueServicer(parts.jobs)),
        (_service(search_pb2, "Search"), SearchServicer(parts.jobs, parts.inbox)),
        (
            _service(appliance_pb2, "Appliance"),
            ApplianceServicer(
                partial(status, parts),
                base.config.names.table(),
                parts.try_again,
                partial(settings, base),
                usage(parts, sampler),
            ),
        ),
        (_service(packages_pb2, "Packages"), PackagesServicer(parts.packages)),
        (_service(deployments_pb2, "Deployments"), DeploymentsServicer(parts.deployments)),
        (_service(bags_pb2, "Bags"), BagsServicer(parts.bags)),
        (_service(deployments_pb2, "Devices"), DevicesServicer(partial(device_view, base))),
        (_service(networks_pb2, "Networks"), NetworksServicer(parts.networks)),
        (_service(routes_pb2, "Routes"), RoutesServicer(parts.routes)),
        (_service(events_pb2, "Events"), EventsServicer(parts.events, idle)),
    ]


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return descriptor
