"""The flow of a new version that migrates the database of an older one.

The daemons of all flows have one migration more than the product (`zygote`), so that there is an
older schema.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from claraedge.store.migrations import schema_version
from tests.powercut.backups import upload
from tests.powercut.flow import Scene, flow_after
from tests.powercut.volatile_disk import sync_tree
from tests.rig.later_schema import NAME

#: SQL that reverts the last migration.
_BACK = f"""
ALTER TABLE jobs DROP COLUMN later;
DELETE FROM _sqlite_migrations WHERE name = '{NAME}';
DELETE FROM facts WHERE key = 'version';
"""


def older(scene: Scene) -> None:
    """Creates a state as an older version leaves it."""
    scene.site.start("boot-of-the-older-version")
    upload(scene, "a.dcm")
    scene.drop("plain", "ct", scene.contents("a.dcm"))
    scene.site.rest(1)
    scene.site.kill()
    steps = schema_version() - 1
    with closing(sqlite3.connect(scene.site.state / "claraedge.db")) as database:
        database.executescript(_BACK)
        database.execute(f"PRAGMA user_version = {steps}")
    sync_tree(scene.site.disk.mount)
    scene.promises.answered(("copy of the database", str(steps)))


@flow_after(older)
def migrate(scene: Scene) -> None:
    """The database is copied, then migrated; all its content stays."""
    scene.site.start("boot-of-the-newer-version")
    scene.drop("plain", "ct", scene.contents("b.dcm"))
    scene.site.rest(2)
