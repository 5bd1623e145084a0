"""Properties of the machine as Podman reports them: enforced limits, folders, user namespace."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError, RunnerUnavailableError
from claraedge.runner.groups import GroupKeeper
from claraedge.runner.limits import enforced
from claraedge.runner.protocol import Limit
from claraedge.runner.service.answers import Info, decode
from claraedge.runner.service.containers_conf import decides_resolvers
from claraedge.runner.service.service import PodmanService
from claraedge.runner.user_namespaces import SHARED, UserNamespace, nomap, without_owner
from claraedge.runner.workarounds.conmon import PidFiles
from claraedge.runner.workarounds.slices import Slices

_log = logging.getLogger(__name__)

_TIMEOUT = 20.0  # seconds
#: The resolver of slirp4netns, which asks those that the machine has at that time, also where they
#: listen on the machine's own loopback.
_SLIRP_RESOLVER = "10.0.2.3"
#: From this version on, Podman writes the resolver of its rootless network into containers itself.
_WRITES_RESOLVER = 5


class Host:
    """Asks Podman about its machine, and caches what does not change."""

    def __init__(
        self,
        service: PodmanService,
        slices: Slices,
        user_namespace: UserNamespace = UserNamespace.HOST,
    ) -> None:
        self.pid_files: PidFiles | None = None
        """Podman's pid files of containers; None until the first `info`."""
        self.sliced = False
        """Whether containers can be put into systemd slices."""
        self._service = service
        self._slices = slices
        self._info: Info | None = None
        """The newest `/info`; Podman needs 0.3 s for one."""
        self._limits: frozenset[Limit] | None = None
        self._keeper: GroupKeeper | None = None
        self._user_namespace = user_namespace
        self._mapped: Mapping[str, object] | None = None
        self._resolvers: tuple[str, ...] | None = None

    async def info(self) -> Info | None:
        """Returns Podman's current `/info`; None where it refuses. Raises
        RunnerUnavailableError.
        """
        response = await self._service.request("GET", "/info", timeout=_TIMEOUT, repeatable=True)
        if not response.ok:
            return None
        info = decode(response, Info)
        if self._limits is None and info.store.driver == "vfs":
            _log.warning(
                "Podman copies the whole image for each container (its storage driver is vfs);"
                ' write `driver = "overlay"` below `[storage]` in'
                " ~/.config/containers/storage.conf of this user, remove what there is by `podman"
                " system reset`, and load the images again"
            )
        if info.store.run_root and info.store.driver:
            self.pid_files = PidFiles(info.store.run_root, info.store.driver)
        self._limits = enforced(info.host.cgroup_version, info.host.cgroup_controllers or ())
        self.sliced = (
            Limit.MEMORY in self._limits
            and info.host.cgroup_manager == "systemd"
            and info.host.security.rootless
            and self._slices.usable
        )
        self._info = info
        return info

    async def _noted(self, what: str) -> Info:
        """Returns the newest `/info`, and asks for it only if there is none.

        `what`: what is wanted of it. Raises RunnerUnavailableError.
        """
        info = self._info or await self.info()
        if info is None:
            raise RunnerUnavailableError(f"Podman does not say {what}; see `podman info`")
        return info

    async def limits(self) -> frozenset[Limit]:
        """Implements Runner.limits. Raises RunnerUnavailableError if Podman does not answer."""
        await self._noted("which limits it enforces")
        assert self._limits is not None, "whoever asks for the info notes it"
        return self._limits

    @property
    def copies_images(self) -> bool:
        """Whether Podman copies an image for the first container created from it."""
        return self._user_namespace is not UserNamespace.HOST

    async def user_namespace(self) -> Mapping[str, object]:
        """Returns the part of a create call with the user namespace for containers of images.

        Raises ContainerError where this user cannot have it, RunnerUnavailableError.
        """
        if self._user_namespace is UserNamespace.HOST:
            return SHARED
        if self._mapped is None:
            info = await self._noted("which subordinate ids it has")
            try:
                self._mapped = nomap(info.host.mappings.users, info.host.mappings.groups)
            except ContainerError:
                self._info = None  # the user may get them while the daemon runs
                raise
        return self._mapped

    async def keeper(self) -> GroupKeeper:
        """Returns how containers can get groups of this user. Raises RunnerUnavailableError."""
        if self._keeper is None:
            info = await self._noted("what makes its containers")
            ranges = info.host.mappings.groups
            own = self._user_namespace is UserNamespace.HOST
            self._keeper = GroupKeeper(
                runtime=info.host.runtime.name, mapping=ranges if own else without_owner(ranges)
            )
        return self._keeper

    async def image_folder(self) -> Path:
        """Returns the folder in which Podman stores images. Raises RunnerUnavailableError."""
        wanted = "where it keeps images"
        info = await self._noted(wanted)
        if not info.store.graph_root:
            self._info = None
            raise RunnerUnavailableError(f"Podman does not say {wanted}; see `podman info`")
        return Path(info.store.graph_root)

    async def resolvers(self) -> tuple[str, ...]:
        """Returns the addresses of resolvers for containers on bridges; empty: Podman's own choice.

        Podman 4 copies the machine's own, without those on its loopback, at the time of the
        creation: after a change of the machine's network, names could not be resolved any more.
        Raises RunnerUnavailableError.
        """
        if self._resolvers is None:
            info = await self._noted("which version it is")
            own = 0 < info.version.major < _WRITES_RESOLVER and info.host.security.rootless
            decided = not own or await in_thread(decides_resolvers, os.environ)
            self._resolvers = () if decided else (_SLIRP_RESOLVER,)
        return self._resolvers

    async def way_out(self) -> str:
        """Returns Podman's network mode with which a rootless container reaches what this machine
        reaches.

        Raises RunnerUnavailableError.
        """
        wanted = "how containers reach the network"
        info = await self._noted(wanted)
        program = info.host.slirp4netns.executable
        if not program or not await in_thread(os.path.exists, program):  # removed, or added since
            self._info = None
            info = await self._noted(wanted)
        return "slirp4netns" if info.host.slirp4netns.executable else "pasta"
