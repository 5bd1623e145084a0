"""Creates, lists, finds and deletes packages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from claraedge import memory
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.errors import InvalidRequestError, PackageInUseError
from claraedge.packages import cli_form, records
from claraedge.packages.ids import NewKindId
from claraedge.packages.manifest import canonical, parse
from claraedge.packages.model import Package
from claraedge.packages.reading import read_package, start
from claraedge.store.database import Database, Row, Transaction

_log = logging.getLogger(__name__)

#: Bytes of the packages in one list, as stored: no message of theirs is larger than that.
MAX_LIST = 3_500_000


class Packages:
    """The catalogue of packages.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_id: NewKindId,
        *,
        in_use: Callable[[Transaction, str], str | None] = lambda _tx, _package: None,
    ) -> None:
        """`in_use` returns the name and the id of a deployment of a package that has not stopped;
        None if there is none.
        """
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._in_use = in_use

    async def create(self, manifest: str) -> Package:
        """Creates a package from the text of a manifest.

        Raises InvalidManifestError with all mistakes, and PackageExistsError.
        """
        package = await in_thread(read, manifest, self._new_id, self._clock.now())
        await self._database.write(lambda tx: records.add(tx, package))
        _log.info(
            "package created",
            extra={"package": package.id, "package_name": package.name, "version": package.version},
        )
        return package

    async def list(self, name: str = "", version: str = "") -> Sequence[Package]:
        """Returns packages without their manifests, in the order of their creation.

        An empty name or version selects all. Raises InvalidRequestError if they are larger than
        MAX_LIST together.
        """

        def work(tx: Transaction) -> list[Row]:
            found, size = [], 0
            for row in tx.each("packages", after=0):
                if name in ("", row["name"]) and version in ("", row["version"]):
                    found.append(row)
                    size += len(row["content"].encode())
                    if size > MAX_LIST:
                        raise InvalidRequestError(
                            f"the packages are larger than {MAX_LIST} bytes together; select some"
                            " by name"
                        )
            return found

        rows = await self._database.read(work)
        memory.take(2 * sum(len(row["content"]) for row in rows))
        return [records.of_row(row) for row in rows]

    async def get(self, package: str) -> Package:
        """Returns the package that a text means; see `records.resolve` for what it raises."""
        found = await self._database.read(lambda tx: records.resolve(tx, package))
        memory.take(2 * len(found.manifest))
        return found

    async def delete(self, package: str) -> Package:
        """Deletes a package; returns it as it was.

        The records of its deployments that have stopped are deleted with it (ON DELETE CASCADE).
        Raises PackageInUseError if a deployment of it has not stopped, and
        what `records.resolve` raises.
        """

        def work(tx: Transaction) -> Package:
            found = records.resolve(tx, package)
            if user := self._in_use(tx, found.id):
                raise PackageInUseError(
                    f"the package {found.id} ({found.name}) is used by the deployment {user}; end"
                    " it with `claraedge undeploy`, then delete the package"
                )
            records.drop(tx, found.id)
            return found

        found = await self._database.write(work)
        _log.info("package deleted", extra={"package": found.id, "package_name": found.name})
        return found


def read(manifest: str, new_id: NewKindId, now: float) -> Package:
    """Returns the package that the text of a manifest declares, with new ids.

    Raises InvalidManifestError with all mistakes.
    """
    root = start(parse(manifest))
    if cli_form.is_cli_form(root.value):
        root = cli_form.convert(root)
    package = read_package(root, new_id, now)
    return msgspec.structs.replace(package, manifest=canonical(root.value))
