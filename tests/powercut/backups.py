"""Flows of backups: one is made while the daemon works, and one is restored."""

from __future__ import annotations

from claraedge.client import payloads
from tests.powercut.flow import Scene, flow
from tests.powercut.promises import digest


def upload(scene: Scene, name: str) -> tuple[str, str]:
    """Creates a payload with one file; returns its id and the digest of the file."""
    path, content = scene.site.folder / f"upload-{name}", scene.content(50_000)
    path.write_bytes(content)
    path.chmod(0o644)
    with scene.site.connect() as connection:
        made = payloads.create(connection, {})
        scene.promises.answered(("payload", made))
        with scene.promises.changing((("file", made, name), digest(content))):
            payloads.upload(connection, made, {name: path}, lambda _: None)
    return made, digest(content)


@flow
def backup(scene: Scene) -> None:
    """The file of a backup is complete once the command has ended, and absent before."""
    upload(scene, "a.dcm")
    scene.drop("plain", "ct", scene.contents("folder/0.dcm", "folder/1.dcm"))
    for number in range(2):
        with scene.promises.changing((("backup", f"{number}.tar"), True)):
            scene.site.back_up(f"{number}.tar")
        scene.drop("plain", "ct", scene.contents(f"{number}.dcm"))
    scene.site.rest(3)


@flow
def restore(scene: Scene) -> None:
    """Data from after a backup is gone once the backup is restored, and present before."""
    upload(scene, "a.dcm")
    scene.drop("plain", "ct", scene.contents("a.dcm"))
    scene.site.rest(1)
    scene.site.back_up("one.tar")
    later, _ = upload(scene, "b.dcm")
    scene.site.kill()
    with scene.promises.changing((("payload", later), None), (("file", later, "b.dcm"), None)):
        scene.site.restore("one.tar")
    scene.site.start("boot-before")
    scene.drop("plain", "ct", scene.contents("c.dcm"))
    scene.site.rest(2)
