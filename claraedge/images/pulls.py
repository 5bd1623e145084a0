"""Pulls images: chooses registry and credentials, and shares one pull among all who wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakValueDictionary

from claraedge.blocking import Threads, in_thread, wait_out
from claraedge.config import ImagesSettings
from claraedge.errors import (
    ImageDeniedError,
    ImageNotFoundError,
    ImagePullError,
    StorageFullError,
)
from claraedge.images.allowed import Resolve, refuse
from claraedge.images.credentials import NamedCredential, matching
from claraedge.runner.protocol import Image, Runner
from claraedge.runner.references import full_names, host

_log = logging.getLogger(__name__)

_LIMIT = 1800.0  # seconds
_LOAD = "or load it with `claraedge create image -f ARCHIVE.tar`"

#: A reference, the pull secrets that may be used for it, and whether it is pulled if it is here.
_Key: TypeAlias = tuple[str, tuple[str, ...], bool]


@dataclass(slots=True)
class _Shared:
    task: asyncio.Task[Image]
    waiting: int = 0


class Pulls:
    """The pulls of a daemon."""

    def __init__(
        self,
        runner: Runner,
        settings: ImagesSettings,
        find: Callable[[str], Awaitable[Image | None]],
        blocked_by: Callable[[], str | None],
        resolve: Resolve,
    ) -> None:
        """`find` returns an image that has arrived meanwhile. `blocked_by` returns why nothing may
        be pulled now because a disk is low; None where it may. `resolve` resolves a host to its
        addresses.
        """
        self._resolve = resolve
        self._threads = Threads(2, "registry names")  # a resolver may hang
        self._blocked_by = blocked_by
        self._runner = runner
        self._settings = settings
        self._find = find
        self._shared: dict[_Key, _Shared] = {}
        #: Callers with other secrets do not share a refusal, but wait for each other.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def references(self) -> frozenset[str]:
        """Returns the references that somebody waits for."""
        return frozenset(reference for reference, _, _ in self._shared)

    async def pull(
        self, reference: str, secrets: tuple[str, ...], *, renewed: bool = False
    ) -> Image:
        """Returns the image, pulled by this call or one that runs already. Raises what
        Images.ensure raises.

        `renewed`: also if it is here by now.
        """
        key = (reference, secrets, renewed)
        shared = self._shared.get(key)
        if shared is None:
            shared = _Shared(asyncio.create_task(self._pull_in_turn(key), name=f"pull {reference}"))
            self._shared[key] = shared
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                # Remove it before it has ended: new callers must not wait for a pull that is being
                # cancelled.
                del self._shared[key]
                shared.task.cancel()
                await wait_out(shared.task)

    async def _pull_in_turn(self, key: _Key) -> Image:
        reference, secrets, renewed = key
        turn = self._turns.setdefault(reference, asyncio.Lock())
        async with turn:
            image = None if renewed else await self._find(reference)
            return image if image is not None else await self._search(reference, secrets)

    async def _search(self, reference: str, secrets: Sequence[str]) -> Image:
        """Asks the registries in order; continues with the next one only where one does not have
        the image.

        A registry that is down, or refuses its credentials, ends the search: the image of that name
        in the next registry may be a different one.
        """
        names = full_names(reference, self._settings.registries)
        if not names:
            raise ImageNotFoundError(
                f"the image {reference} is not on this device, and its name says no registry to"
                f' pull it from; set [images] registries = ["HOST/PATH"] for such names, {_LOAD}'
            )
        refusals = []
        for name in names:
            await self._threads.run(refuse, name, self._settings, self._resolve)
            registry = host(name) or ""
            known = matching(self._settings.credentials, secrets, registry)
            try:
                return await self._ask(name, known)
            except ImageNotFoundError as error:
                refusals.append(f"{name}: {error}")
            except ImageDeniedError as error:
                if known or len(names) == 1:
                    raise ImageDeniedError(
                        f"the image {name} could not be pulled: {_denied(registry, known, secrets)}"
                        f" ({error})"
                    ) from error
                refusals.append(f"{name}: {_denied(registry, known, secrets)} ({error})")
            except ImagePullError as error:
                raise ImagePullError(
                    f"the image {name} could not be pulled: {error}; check the network and the"
                    f" registry {registry}, {_LOAD}"
                ) from error
        raise ImageNotFoundError(
            f"the image {reference} is not on this device, and no registry gives it:"
            f" {'; '.join(refusals)}; correct its name in the pipeline, {_LOAD}"
        )

    async def _ask(self, name: str, known: Sequence[NamedCredential]) -> Image:
        """Asks one registry with each of the credentials in turn, or without where
        there are none.
        """
        for credential in known[:-1]:
            try:
                return await self._pull(name, credential)
            except ImageDeniedError as error:
                _log.info(
                    "registry refuses a pull secret",
                    extra={"image": name, "secret": credential.name, "reason": str(error)},
                )
        return await self._pull(name, known[-1] if known else None)

    async def _pull(self, name: str, credential: NamedCredential | None) -> Image:
        reason = self._blocked_by()
        if reason is not None:
            raise StorageFullError(
                f"the image {name} is not pulled: {reason}; free some space there, then it is"
                " pulled by itself"
            )
        login = None if credential is None else await in_thread(credential.login)
        began = time.monotonic()
        image = await self._runner.pull_image(
            name,
            login=login,
            insecure=host(name) in self._settings.insecure_registries,
            limit=self._settings.pull_seconds or _LIMIT,
        )
        _log.info(
            "image pulled",
            extra={
                "image": image.id,
                "names": list(image.names or image.digests),
                "secret": credential.name if credential else None,
                "seconds": round(time.monotonic() - began, 3),
            },
        )
        return image


def _denied(registry: str, known: Sequence[NamedCredential], secrets: Sequence[str]) -> str:
    """Returns why a registry refused an image, as far as credentials are concerned, and
    what to do.
    """
    if known:
        names = ", ".join(credential.name for credential in known)
        return (
            f"the registry {registry} refuses the credentials of the pull secret {names};"
            f" correct [images.credentials.{known[-1].name}] or its password file"
        )
    if secrets:
        return (
            f"the registry {registry} wants credentials, and none of the pipeline's pull secrets"
            f" ({', '.join(secrets)}) is configured for it; add [images.credentials.{secrets[0]}]"
            f' with registry = "{registry}"'
        )
    return (
        f"the registry {registry} wants credentials, and the pipeline names no pull secret; add"
        " `pull-secrets: [NAME]` to it and [images.credentials.NAME] to the configuration"
    )
