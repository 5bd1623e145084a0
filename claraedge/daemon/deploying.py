"""Builds the part of the daemon that keeps deployments running."""

from __future__ import annotations

import os
from collections.abc import Callable

from claraedge.bags.bags import Bags
from claraedge.bags.kind import BAGS, GRACE
from claraedge.bags.recorder import BagSite
from claraedge.bags.storing import BagStore
from claraedge.config import Config
from claraedge.daemon import device
from claraedge.daemon.foundation import Foundation
from claraedge.deployments.deployments import Deployments
from claraedge.deployments.device import DeviceView, device_id, interfaces, project_id, view
from claraedge.deployments.networks.live import NetworkSite
from claraedge.deployments.networks.networks import MASTERS, PrivateNetworks
from claraedge.deployments.running.environment import device_variables
from claraedge.deployments.running.kind import DEPLOYMENTS
from claraedge.deployments.running.networks import DeploymentNetworks
from claraedge.deployments.running.site import Site
from claraedge.deployments.running.volumes import DeploymentVolumes
from claraedge.ids import new_id
from claraedge.images.images import Images
from claraedge.packages.ids import new_kind_id
from claraedge.packages.packages import Packages
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.uploads import BlockedBy
from claraedge.pipelines.model import Requests
from claraedge.pipelines.requests import Profile, memory
from claraedge.store.unknown import Unknown
from claraedge.supervised.allocations import Allocations
from claraedge.supervised.workshop import ContainerKind, Workshop


def networks_of(
    base: Foundation,
    images: Images,
    allocations: Allocations,
    *,
    on_left: Callable[[], None],
) -> PrivateNetworks:
    """Returns the private networks of this device. `on_left`: see `Workshop`."""
    config = base.config
    workshop = _workshop(base, images, MASTERS, "networks", config.engine.grace_seconds, on_left)
    site = NetworkSite(
        workshop=workshop,
        images=images,
        allocations=allocations,
        clock=base.clock,
        ros_images=config.deployments.ros_images,
        outside=config.deployments.network == "outside",
        memory=unstated_memory(config),
    )
    return PrivateNetworks(base.database, site, interfaces, new_kind_id)


def deployments_of(
    base: Foundation,
    images: Images,
    allocations: Allocations,
    packages: Packages,
    bags: Bags,
    networks: PrivateNetworks,
    *,
    on_left: Callable[[], None],
) -> Deployments:
    """Returns the deployments of this device. `on_left`: see `Workshop`."""
    config, settings = base.config, base.config.deployments
    unstated = unstated_memory(config)
    workshop = _workshop(
        base, images, DEPLOYMENTS, "deployments", config.engine.grace_seconds, on_left
    )
    outside = settings.network == "outside"
    site = Site(
        database=base.database,
        images=images,
        workshop=workshop,
        networks=DeploymentNetworks(base.runner, base.instance, outside=outside),
        private_networks=networks,
        volumes=DeploymentVolumes(config.volumes_dir, settings.host_folders),
        allocations=allocations,
        clock=base.clock,
        settings=settings,
        unstated_memory=unstated,
        device=device_variables(
            device_id(base.instance), os.uname().nodename, project_id(base.instance)
        ),
        sidecars=bags,
    )
    facts = lambda: device.facts(config, unstated_memory=unstated)  # noqa: E731
    return Deployments(site, packages.get, facts, new_kind_id)


def bags_of(
    base: Foundation,
    images: Images,
    allocations: Allocations,
    payloads: Payloads,
    *,
    blocked_by: BlockedBy,
    on_left: Callable[[], None],
) -> Bags:
    """Returns the bag jobs of this device. `on_left`: see `Workshop`."""
    state = base.config.state_dir
    workshop = _workshop(base, images, BAGS, "deployments", GRACE, on_left)
    store = BagStore(
        base.database,
        payloads,
        base.clock,
        new_kind_id,
        base.runner,
        state / "deployments" / "bags",
        Unknown(state),
    )
    site = BagSite(
        store=store,
        workshop=workshop,
        allocations=allocations,
        clock=base.clock,
        up_seconds=base.config.deployments.up_seconds,
    )
    return Bags(site, new_kind_id, blocked_by)


def unstated_memory(config: Config) -> int:
    """Returns the megabytes that are reserved for a container that states none."""
    return memory(Requests(), Profile(config.engine.requests_profile)).reserved


def device_view(base: Foundation) -> DeviceView:
    """Returns this device, as clients see it. Blocks."""
    settings = base.config.deployments
    return view(base.instance, settings.variables, settings.labels)


def _workshop(
    base: Foundation,
    images: Images,
    kind: ContainerKind,
    folder: str,
    grace: float,
    on_left: Callable[[], None],
) -> Workshop:
    return Workshop(
        base.runner,
        new_id,
        kind=kind,
        folder=base.config.state_dir / folder,
        instance=base.instance,
        grace=grace,
        why_unusable=images.why_unusable,
        on_left=on_left,
    )
