"""Synchronisation clients keep the drop folder equal to a folder elsewhere."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.field.case import case
from tests.field.servers import free_port, process
from tests.field.site import Drop, Files, some_files, write
from tests.field.tools import find, run

BIG = 3_000_000


# --- Syncthing ------------------------------------------------------------------------------------

_CONFIGURATION = """\
<configuration version="36">
  <folder id="drop" path="{path}" type="{kind}" rescanIntervalS="2" fsWatcherEnabled="false">
    <device id="{own}"/><device id="{other}"/><markerName>.stfolder</markerName>
  </folder>
  <device id="{own}" name="own"/>
  <device id="{other}" name="other" compression="never">
    <address>tcp://127.0.0.1:{other_port}</address>
  </device>
  <gui enabled="true"><address>127.0.0.1:{gui}</address><apikey>key</apikey></gui>
  <options>
    <listenAddress>tcp://127.0.0.1:{port}</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled>
    <localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
    <reconnectionIntervalS>1</reconnectionIntervalS>
    <urAccepted>-1</urAccepted><crashReportingEnabled>false</crashReportingEnabled>
    <autoUpgradeIntervalH>0</autoUpgradeIntervalH><startBrowser>false</startBrowser>
    <maxSendKbps>{rate}</maxSendKbps><limitBandwidthInLan>true</limitBandwidthInLan>
  </options>
</configuration>
"""


@contextmanager
def syncthing(home: Path, source: Path, target: Path, rate: int) -> Iterator[tuple[int, int]]:
    """Two of them: one sends a folder, the other receives it. Yields the ports of their API."""
    ids = {}
    ports = {name: (free_port(), free_port()) for name in ("sender", "receiver")}
    for name in ports:
        (home / name).mkdir()
        run("syncthing", "generate", f"--home={home / name}", environment={"HOME": str(home)})
        answer = run("syncthing", f"--home={home / name}", "--device-id")
        ids[name] = answer.split()[-1]
    with ExitStack() as stack:
        for name, other in (("sender", "receiver"), ("receiver", "sender")):
            (home / name / "config.xml").write_text(
                _CONFIGURATION.format(
                    path=source if name == "sender" else target,
                    kind="sendonly" if name == "sender" else "receiveonly",
                    own=ids[name], other=ids[other], port=ports[name][0], gui=ports[name][1],
                    other_port=ports[other][0], rate=rate if name == "sender" else 0,
                )
            )  # fmt: skip
            command = [find("syncthing"), "serve", f"--home={home / name}", "--no-browser"]
            log = home / f"{name}.log"
            stack.enter_context(process([*command, "--no-restart"], log, ports[name][1]))
        yield ports["sender"][1], ports["receiver"][1]


def ask(port: int, path: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/rest/{path}", headers={"X-API-Key": "key"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@case(
    2,
    "Syncthing receives a study slowly into the drop folder",
    source="syncthing/syncthing#709; syncthing/syncthing#2208; ksync/ksync#232",
    outcome="One job with every file; `.syncthing.NAME.tmp` and `.stfolder` are no inputs.",
    tools=["Syncthing"],
)
def test_syncthing(drop: Drop, tmp_path: Path) -> None:
    files = some_files("syncthing", count=3, size=BIG // 3)
    shared = drop.source / "shared"
    write(shared / "study", files)
    (shared / ".stfolder").mkdir()
    (drop.folder / ".stfolder").mkdir()
    with syncthing(tmp_path, shared, drop.folder, rate=600) as (_, receiver):
        drop.until(
            "it has begun", lambda: any(drop.folder.rglob("*.tmp")) or drop.items() or drop.jobs()
        )
        drop.makes(files)
        assert ask(receiver, "system/version")["version"].startswith("v")
    drop.is_left(".stfolder")


# --- others, by their names -----------------------------------------------------------------------

#: Program -> what it keeps at the top of a folder that it synchronises, and in each folder while it
#: works.
CLIENTS: dict[str, tuple[Files, str]] = {
    "Nextcloud": (
        {"._sync_0a1b2c3d4e5f.db": b"db", ".owncloudsync.log": b"log", ".sync-exclude.lst": b""},
        ".IM2.dcm.~3c5f",
    ),
    "ownCloud server": ({}, "IM2.dcm.ocTransferId1548366895.part"),
    "Nextcloud 3": ({".sync_0a1b2c3d4e5f.db": b"db"}, "IM2.dcm.ocTransferId625920867.part"),
    "Dropbox": ({".dropbox": b"x", ".dropbox.cache/a": b"x", ".dropbox.attr": b"x"}, ""),
    "OneDrive": ({"desktop.ini": b"[x]", ".849C9593-D756-4E56-8D6E-42412F2A707B": b"x"}, ""),
    "Google Drive": ({".tmp.driveupload/1": b"x", ".tmp.drivedownload/1": b"x"}, ""),
    "Synology Drive": ({".SynologyWorkingDirectory/x": b"x"}, ""),
    "Resilio": (
        {".sync/ID": b"x", ".sync/Archive/old.dcm": b"old"},
        "IM2.dcm.!sync",
    ),
    "BitTorrent Sync": (
        {".SyncID": b"x", ".SyncIgnore": b"x", ".SyncArchive/old.dcm": b"o"},
        "IM2.dcm.bts",
    ),
    "Syncthing": ({".stfolder/x": b"x", ".stversions/old.dcm": b"o"}, "~syncthing~IM2.dcm.tmp"),
}  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS)
@case(
    2,
    "A synchronised folder is the drop folder: its database, archive, unfinished files",
    source="nextcloud/server#26179; nextcloud/desktop sources, csync_exclude;"
    " Radarr/Radarr#166; syncthing/syncthing#2725; help.resilio.com, .sync folder",
    outcome="The study waits for its unfinished file and is one job; what is the client's own"
    " stays, and is named.",
    tools=[
        "Nextcloud and ownCloud",
        "Dropbox, OneDrive, Google Drive",
        "Synology Drive",
        "Resilio Sync",
    ],
)
def test_names_of_clients(drop: Drop, client: str) -> None:
    own, unfinished = CLIENTS[client]
    files = some_files(client, count=2)
    write(drop.folder, own)
    first = {"IM1.dcm": files["IM1.dcm"]}
    if unfinished:
        write(drop.folder / "study", {**first, unfinished: b"half"})
        drop.waits(unfinished)
        write(drop.folder / "study", {unfinished: files["IM2.dcm"]})
        (drop.folder / "study" / unfinished).rename(drop.folder / "study/IM2.dcm")
    else:
        write(drop.folder / "study", files)
    tops = {name.partition("/")[0] for name in own}
    drop.makes(files, ignoring=tops)
    drop.is_left(*tops)
