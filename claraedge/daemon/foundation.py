"""What every part of the daemon needs: its configuration, its state, its runner."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from claraedge.access.certificates import Certificates
from claraedge.access.token import Token, path_in
from claraedge.appliance import notify
from claraedge.appliance.ballast import Ballast
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.config.addresses import is_loopback
from claraedge.config.origins import Origins
from claraedge.errors import StorageFullError
from claraedge.ids import new_id
from claraedge.runner.protocol import Runner
from claraedge.store.database import Database, Transaction
from claraedge.suspects import Suspects

_log = logging.getLogger(__name__)

#: Seconds between tries to open the state on a full disk.
_START_RETRY = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """Shared objects that stay open while the daemon serves."""

    config: Config
    clock: Clock
    ballast: Ballast
    database: Database
    instance: str
    """The id of this daemon, stored in its state; its containers carry it as a label."""
    runner: Runner
    suspects: Suspects
    started: float
    """Unix seconds."""
    origins: Origins = Origins()  # noqa: RUF009 it is frozen
    """What the configuration was made from."""


async def open_state(stack: AsyncExitStack, config: Config, ballast: Ballast) -> Database:
    """Opens the database; on a full disk it retries until there is room.

    It removes the ballast first if that exists.
    """
    reported = False
    while True:
        database = Database(config.state_dir / "claraedge.db", on_full=ballast.give_up)
        try:
            return await stack.enter_async_context(database)
        except StorageFullError as error:
            if await in_thread(ballast.give_up):
                continue
            if not reported:
                _log.warning("the start waits", extra={"reason": str(error)})
            reported = True
            notify.status(f"waiting: {error}")
            notify.extend_timeout(60)
            await asyncio.sleep(_START_RETRY)


def instance(tx: Transaction) -> str:
    """Returns the id of this daemon, which is created at its first start."""
    row = tx.row("fact", key="instance")
    if row is None:
        tx.run("put_fact", key="instance", value=new_id())
        row = tx.row("fact", key="instance")
    assert row is not None
    return str(row["value"])


def certificates_of(config: Config) -> Certificates | None:
    """Returns the certificate; None if no address uses TLS.

    Raises ConfigurationError if its files cannot be used.
    """
    chain, key = config.tls.certificate, config.tls.key
    if chain is None or key is None or not (config.http.listen or _reaches_others(config)):
        return None
    return Certificates(chain, key, config.tls.client_ca)


async def token_of(config: Config) -> Token | None:
    """Returns the token; None if no caller shows one."""
    if config.tls.client_ca is not None or not (config.http.listen or _reaches_others(config)):
        return None
    return await in_thread(lambda: Token(path_in(config.state_dir)))


def _reaches_others(config: Config) -> bool:
    """Whether other machines reach an address of gRPC."""
    return any(not is_loopback(address) for address in config.api.listen)
