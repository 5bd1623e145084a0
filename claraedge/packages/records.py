"""Database rows of packages. Each function runs inside a transaction of its caller."""

from __future__ import annotations

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import InvalidRequestError, PackageExistsError, PackageNotFoundError
from claraedge.packages.model import Package
from claraedge.pipelines.syntax.problems import shown
from claraedge.store.database import Row, Transaction

_SEE = "`claraedge list packages` shows those there are"


def add(tx: Transaction, package: Package) -> None:
    """Adds a package. Raises PackageExistsError if its name and version are used."""
    found = tx.row("package_of_version", name=package.name, version=package.version)
    if found is not None:
        raise PackageExistsError(
            f"the package {shown(package.name)} has the version {package.version} already, with the"
            f" id {found['id']}; use that one, or give the manifest another packageVersion"
        )
    content = msgspec.structs.replace(package, manifest="", created=0.0)
    tx.run(
        "add_package",
        id=package.id,
        name=package.name,
        version=package.version,
        content=msgspec.json.encode(content).decode(),
        manifest=package.manifest,
        created=package.created,
    )


def get(tx: Transaction, package: str) -> Package:
    """Returns the package of a whole id. Raises PackageNotFoundError."""
    row = tx.row("package", id=package)
    if row is None:
        raise PackageNotFoundError(f"there is no package {shown(package)}; {_SEE}")
    return of_row(row)


def resolve(tx: Transaction, text: str) -> Package:
    """Returns the package that a text means: an id, `name:version`, a name or a unique left part
    of an id. A name means its newest package.

    Raises PackageNotFoundError, and InvalidRequestError if the text is empty or several ids begin
    with it.
    """
    if not text:
        raise InvalidRequestError("the request names no package; set `package` to an id or a name")
    row = tx.row("package", id=text) or tx.row("newest_package_of_name", name=text)
    name, colon, version = text.rpartition(":")
    if row is None and colon:
        row = tx.row("package_of_version", name=name, version=version)
    return get(tx, _of_prefix(tx, text)) if row is None else of_row(row)


def _of_prefix(tx: Transaction, text: str) -> str:
    """Returns the only id that begins with a text; the text itself if none does."""
    found = tx.rows("packages_of_prefix", prefix=text, end=text + "\U0010ffff")
    if len(found) > 1:
        more = ["  and more"] if len(found) > 10 else []
        raise InvalidRequestError(
            f"{shown(text)} begins the ids of several packages; give more letters:",
            *(f"  {row['id']}  {row['name']}:{row['version']}" for row in found[:10]),
            *more,
        )
    return found[0]["id"] if found else text


def drop(tx: Transaction, package: str) -> None:
    """Removes a package; does nothing if there is none."""
    tx.run("drop_package", id=package)


def of_row(row: Row) -> Package:
    """Returns the package of a row; without its manifest if the row has none."""
    package: Package = decode_json(row["content"], Package)
    manifest = row["manifest"] if "manifest" in row.keys() else ""  # noqa: SIM118 a row of sqlite
    return msgspec.structs.replace(package, created=row["created"], manifest=manifest)
