"""What ends the process whenever it is worked on ends it twice: then it is set aside, alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claraedge.cli.main import run
from claraedge.client import appliance
from claraedge.client.connection import Connection
from claraedge.wire.nvidia.clara.platform import pipelines_pb2
from claraedge.wire.nvidia.clara.platform.pipelines_pb2_grpc import PipelinesStub
from tests.rig.waiting import until
from tests.robustness.site import Site, site

pytestmark = pytest.mark.timeout(180)

PROGRAM = Path(__file__).with_name("poisoned_daemon.py")
PIPELINE = """
api-version: 0.4.0
name: {name}
operators:
- name: one
  container: {{image: lister, tag: '1'}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
SETTINGS = """
[inbox]
settle_seconds = 0.2
rescan_seconds = 1
[retention]
payload_count = 1
[jobs]
unstarted_after_hours = 0.005
"""


class Poisoned:
    """A daemon in which the work on one thing ends the process."""

    def __init__(self, served: Site) -> None:
        self.site = served
        self.state = served.state

    def drop(self, *names: str) -> None:
        for name in names:
            temporary = self.state / f"inbox/ct/{name}.part"
            temporary.write_text(name)
            temporary.rename(self.state / f"inbox/ct/{name}")

    def delivered(self, name: str) -> bool:
        return len(list((self.state / "outbox/ct").glob(f"{name}-*"))) == 1

    def ends(self) -> int:
        noted = self.site.folder / "ends"
        return len(noted.read_text()) if noted.exists() else 0

    def start_until_it_stays(self) -> None:
        """As systemd does. It ends twice, no more."""
        for count in (1, 2):
            until("it ends", lambda: self.site.process.poll() is not None, 40)
            assert self.ends() == count, self.site.log[-4000:]
            self.site.start()
        until("it serves again", self.site.serves, 40)

    def stays(self) -> None:
        """It runs, has ended twice, and works on nothing."""
        assert self.site.process.poll() is None, self.site.log[-4000:]
        assert self.ends() == 2
        used = Path(f"/proc/{self.site.process.pid}/stat")

        def ticks() -> int:
            return sum(map(int, used.read_text().rpartition(")")[2].split()[11:13]))

        def idle() -> bool:
            before = ticks()
            time.sleep(1)
            return ticks() - before <= 20  # a fifth of the second

        until("it is idle", idle, 30)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with Connection(self.site.target) as connection:
            yield connection

    def warnings(self) -> list[str]:
        with self.connected() as connection:
            return [w for w in appliance.status(connection).warnings if "ended twice" in w]

    def items(self) -> dict[str, tuple[str, str, str]]:
        """Name -> id, state, reason."""
        with self.connected() as connection:
            found = appliance.list_items(connection)
        return {item.name: (item.id, item.state, item.reason) for item in found}

    def retry(self, kind: str, name: str) -> None:
        """By the command that the warning names; a second time there is nothing to try again."""
        (self.site.folder / "cured").touch()
        command = ["retry", kind, name, "--host", self.site.target]
        assert run(command) == 0
        if kind != "inbox":
            assert run(command) == 1


@contextmanager
def poisoned(
    poison: str, end: str, prepare: Callable[[Path], None] = lambda _: None
) -> Iterator[Poisoned]:
    with site(SETTINGS, PROGRAM, POISON=poison, END=end) as served:
        (served.state / "inbox/ct").mkdir()
        with served.channel() as channel:
            file = pipelines_pb2.PipelineDefinitionFile(
                path="p.yaml", content=PIPELINE.format(name="ct")
            )
            created = PipelinesStub(channel).Create(
                iter([pipelines_pb2.PipelinesCreateRequest(definition=file)])
            )
            assert created.header.code == 0, created.header.messages
        yield Poisoned(served)


@pytest.mark.parametrize(
    ("poison", "end"),
    [("inspection", "fault"), ("claim", "exit"), ("claim", "kill"), ("job", "fault")],
)
def test_an_item_that_ends_the_process_is_set_aside(poison: str, end: str) -> None:
    with poisoned(poison, end) as daemon:
        daemon.drop("one.dcm", "bad.dcm", "two.dcm")
        daemon.start_until_it_stays()
        daemon.drop("three.dcm")
        for name in ("one.dcm", "two.dcm", "three.dcm"):
            until(f"{name} is delivered", lambda name=name: daemon.delivered(name), 30)  # type: ignore[misc]
        wanted = "FAILED" if poison == "job" else "PARKED"
        until("the item says so", lambda: daemon.items()["bad.dcm"][1] == wanted, 20)
        item, _, reason = daemon.items()["bad.dcm"]
        assert "the daemon ended twice" in reason
        if poison != "job":  # a failure is counted as such
            assert len(daemon.warnings()) == 1
        daemon.stays()
        daemon.retry("inbox", item)
        until("it is delivered as well", lambda: daemon.delivered("bad.dcm"), 30)
        assert daemon.warnings() == []


def test_a_delivery_that_ends_the_process_is_set_aside() -> None:
    with poisoned("delivery", "fault") as daemon:
        daemon.drop("one.dcm", "bad.dcm", "two.dcm")
        daemon.start_until_it_stays()
        daemon.drop("three.dcm")
        for name in ("one.dcm", "two.dcm", "three.dcm"):
            until(f"{name} is delivered", lambda name=name: daemon.delivered(name), 30)  # type: ignore[misc]
        (warning,) = daemon.warnings()
        job = warning.rpartition("claraedge retry delivery ")[2].rstrip("`")
        daemon.stays()
        daemon.retry("delivery", job)
        until("it is delivered as well", lambda: daemon.delivered("bad.dcm"), 30)
        assert daemon.warnings() == []


def test_a_removal_that_ends_the_process_is_set_aside() -> None:
    with poisoned("removal", "exit") as daemon:
        daemon.drop("one.dcm", "two.dcm", "three.dcm")
        daemon.start_until_it_stays()
        for name in ("one.dcm", "two.dcm", "three.dcm"):
            until(f"{name} is delivered", lambda name=name: daemon.delivered(name), 30)  # type: ignore[misc]
        chosen = (daemon.site.folder / "chosen").read_text()
        removed = daemon.state / "removed"
        until("the others are removed", lambda: len(list(removed.iterdir())) == 1, 40)
        assert [path.name for path in removed.iterdir()] == [chosen]
        assert chosen in daemon.warnings()[0]
        daemon.stays()
        daemon.retry("removal", chosen)
        until("it is removed as well", lambda: not list(removed.iterdir()), 40)
        assert daemon.warnings() == []


def test_an_archive_that_ends_the_process_is_set_aside() -> None:
    with poisoned("image", "fault") as daemon:
        folder = daemon.state / "images.d"
        for name in ("bad.tar", "good.tar"):
            (folder / name).write_bytes(b"image")
        daemon.start_until_it_stays()
        until("the others are loaded", lambda: bool(daemon.warnings()), 20)
        assert "bad.tar" in daemon.warnings()[0]
        daemon.drop("one.dcm")
        until("a job ends well", lambda: daemon.delivered("one.dcm"), 30)
        daemon.stays()
        daemon.retry("image", "bad.tar")
        assert daemon.warnings() == []


def test_a_definition_that_ends_the_process_is_set_aside() -> None:
    with poisoned("pipeline", "fault") as daemon:
        folder = daemon.state / "pipelines.d"
        for name in ("bad", "good"):
            (folder / f"{name}.yaml").write_text(PIPELINE.format(name=name))
        daemon.start_until_it_stays()

        def names() -> list[str]:
            with daemon.site.channel() as channel:
                found = PipelinesStub(channel).List(pipelines_pb2.PipelinesListRequest())
                return [one.details.name for one in found]

        until("the other one is registered", lambda: "good" in names(), 30)
        assert "bad" not in names()
        assert "bad.yaml" in daemon.warnings()[0]
        daemon.stays()
        daemon.retry("pipeline", "bad.yaml")
        until("it is registered as well", lambda: "bad" in names(), 30)
        assert daemon.warnings() == []


def test_a_rest_of_a_model_that_ends_each_start_is_set_aside() -> None:
    with poisoned("model", "fault") as daemon:
        rest = daemon.state / "models/x/7"
        rest.mkdir(parents=True)
        daemon.site.process.terminate()
        daemon.site.start()
        daemon.start_until_it_stays()
        assert "x/7" in daemon.warnings()[0]
        assert rest.exists()
        daemon.drop("one.dcm")
        until("a job ends well", lambda: daemon.delivered("one.dcm"), 30)
        daemon.stays()
        daemon.retry("model", "x/7")
        daemon.site.process.terminate()
        daemon.site.start()
        until("it serves again", daemon.site.serves, 40)
        assert not rest.exists()
        assert daemon.warnings() == []
