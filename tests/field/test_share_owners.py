"""Shares that refuse modes, times, owners, links and names: results arrive on them all the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.field.case import case
from tests.field.mounted import Share, of_another_owner, share
from tests.field.places import Place, copying, place, tree
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

_HEAD = "api-version: 0.4.0\nname: {name}\noperators:\n- name: make\n"
_TAIL = "  input: [{path: /in}]\n  output: [{path: /out}]\n"


def making(name: str, script: str) -> str:
    command = json.dumps(["sh", "-c", script])
    container = f"  container: {{image: localhost/ce-test/busybox, tag: '1', command: {command}}}\n"
    return _HEAD.format(name=name) + container + _TAIL


def pipelines(here: Place) -> None:
    folder = here.state / "pipelines.d"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text(copying("good"))
    (folder / "bad.yaml").write_text(copying("bad", "exit 1"))
    names = ["a:b?.dcm", "end.", "scan.dcm", "SCAN.dcm", "Scan/1", "scan/1", "con.txt"]
    script = "cd /out; mkdir Scan scan; " + "".join(f"echo '{n}' >'{n}'; " for n in names)
    (folder / "names.yaml").write_text(making("names", script))


@contextlib.contextmanager
def site(folder: Path, *shares: Share, inbox: Share | None = None) -> Iterator[Place]:
    outbox, failed, originals = (shares * 3)[:3]
    settings = (
        f'[outbox]\npath = "{outbox.path}/out"\nfailed = "{failed.path}/failed"\n'
        f'originals = "{originals.path}/originals"\n'
    )
    own = "" if inbox is None else f'path = "{inbox.path}/in"\npoll_seconds = 0.3\n'
    with place(folder, {}, inbox=own, settings=settings, prepare=pipelines) as here:
        yield here


def drop(here: Place, trigger: str, name: str, content: bytes, top: Path | None = None) -> None:
    folder = (top or here.state / "inbox") / trigger
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def ends_of(here: Place, count: int) -> dict[str, Any]:
    return {item["name"]: item for item in here.ended(count)}


def fails_again(here: Place, before: dict[str, Any]) -> None:
    """Waits until an item that was put back has failed once more, under the same name."""

    def failed() -> bool:
        found = [i for i in here.items() if i["name"] == before["name"]]
        return any(
            i["state"] == "FAILED" and i["result_path"] != before["result_path"] for i in found
        )

    until(f"{before['name']} has failed once more", failed)


def warnings(here: Place) -> list[str]:
    events = [json.loads(line) for line in here.log.splitlines() if line.startswith("{")]
    return [e["event"] for e in events if e["level"] == "warning"]


@case(
    4,
    "Results, failures and originals on a share that belongs to root, as CIFS without `uid=`",
    source="rclone/rclone#738; libuv/libuv#2596; sindresorhus/copy-file#41; LatentNoise/content#64",
    outcome="They arrive at once, with the times and modes that the share gives; the journal says"
    " so once for each share.",
)
def test_a_share_of_another_owner(tmp_path: Path) -> None:
    with (
        share(tmp_path, "one", **of_another_owner()) as outbox,
        share(tmp_path, "two", **of_another_owner()) as failed,
        share(tmp_path, "three", **of_another_owner()) as originals,
        site(tmp_path / "site", outbox, failed, originals) as here,
    ):
        for number in range(3):
            drop(here, "good", f"g{number}.dcm", b"%d" % number)
        drop(here, "bad", "bad.dcm", b"bad")
        ends = ends_of(here, 4)
        for number in range(3):
            item = ends[f"g{number}.dcm"]
            assert item["state"] == "DELIVERED"
            results = Path(item["result_path"])
            assert (results / "copy" / f"g{number}.dcm").read_bytes() == b"%d" % number
            assert json.loads((results / "result.json").read_text())["status"] == "HEALTHY"
            assert len(list(originals.path.rglob(f"g{number}.dcm"))) == 1
        failure = Path(ends["bad.dcm"]["result_path"])
        assert failure.is_relative_to(failed.path)
        assert (failure / "original" / "bad.dcm").read_bytes() == b"bad"
        assert (failure / "logs" / "copy.log").exists()
        refusals = [text for text in warnings(here) if "refuses" in text]
        assert any("refuses times" in text for text in refusals), refusals
        assert len(refusals) == len(set(refusals)) <= 6, "once for each share and kind"
        assert [text for text in warnings(here) if "waits" in text] == []


@case(
    4,
    "An inbox on a share that belongs to root, with folders made at the start",
    source="bcpierce00/unison#66; simatec/ioBroker.backitup#819",
    outcome="The inbox is made, files in it are taken, and a failed one can be tried again.",
)
def test_an_inbox_on_a_share_of_another_owner(tmp_path: Path) -> None:
    with (
        share(tmp_path, "one", **of_another_owner()) as both,
        site(tmp_path / "site", both, inbox=both) as here,
    ):
        top = both.path / "in"
        assert top.is_dir()
        drop(here, "good", "one.dcm", b"one", top)
        drop(here, "bad", "two.dcm", b"two", top)
        ends = ends_of(here, 2)
        assert {name: item["state"] for name, item in ends.items()} == {
            "one.dcm": "DELIVERED",
            "two.dcm": "FAILED",
        }
        here.say("retry", "inbox", ends["two.dcm"]["id"])
        fails_again(here, ends["two.dcm"])
        assert list((top / "good").iterdir()) == []


@pytest.mark.parametrize("code", ["EPERM", "ENOSYS"])
@case(
    4,
    "A share that has no modes, times, links or flushes of folders",
    source="libgit2/libgit2#5356; borgbackup/borg#1287; rfjakob/gocryptfs#587;"
    " untitaker/python-atomicwrites#27",
    outcome="Whatever error it gives for that, results arrive; links in an original are left out.",
)
def test_calls_that_a_share_has_not(tmp_path: Path, code: str) -> None:
    refused = dict.fromkeys(("chmod", "utimens", "symlink", "link"), code)
    refused |= dict.fromkeys(("fsyncdir", "fsync"), "EINVAL" if code == "EPERM" else code)
    with (
        share(tmp_path, "one", refuse=refused) as all_three,
        site(tmp_path / "site", all_three) as here,
    ):
        drop(here, "good", "plain.dcm", b"x")
        study = here.folder / "study"
        (study / "deep").mkdir(parents=True)
        (study / "deep" / "one.dcm").write_bytes(b"one")
        (study / "latest").symlink_to("deep/one.dcm")
        study.rename(here.state / "inbox" / "good" / "study")
        ends = ends_of(here, 2)
        assert ends["plain.dcm"]["state"] == "DELIVERED"
        failure = Path(ends["study"]["result_path"])
        assert tree(failure / "original" / "study") == {b"deep/one.dcm": b"one"}
        assert any("refuses symbolic links" in text for text in warnings(here))


def delivered_names(here: Place, name: str) -> dict[str, str]:
    """What one file that is dropped to `names` brings: the delivered names, and what is in them."""
    drop(here, "names", name, b"x")
    (item,) = here.ended()
    assert item["state"] == "DELIVERED", item
    results = Path(item["result_path"])
    document = json.loads((results / "result.json").read_text())
    found = {n.decode(): c.decode().strip() for n, c in tree(results / "make").items()}
    assert {f["path"] for f in document["files"]} == {f"make/{name}" for name in found}
    return found


@case(
    4,
    "Results whose names Windows and FAT refuse: colons, question marks, a dot at the end",
    source="syncthing/syncthing#5098 and #7746; rclone/rclone#1350; owncloud/client#1127;"
    " mandarons/icloud-docker#151",
    outcome="They arrive with `_` in place of what is refused; `result.json` has the names as they"
    " are on the share. A failed original with such a name can be tried again under its own.",
)
def test_names_that_a_share_refuses(tmp_path: Path) -> None:
    with (
        share(tmp_path, "one", **of_another_owner(names="windows", granularity=2)) as outbox,
        site(tmp_path / "site", outbox) as here,
    ):
        found = delivered_names(here, "CT 10:30?.dcm")
        assert (found["a_b_.dcm"], found["end_"], found["con.txt"]) == (
            "a:b?.dcm",
            "end.",
            "con.txt",
        )
        (original,) = (outbox.path / "originals").rglob("*.dcm")
        assert original.name == "CT 10_30_.dcm"
        drop(here, "bad", "CT 10:31.dcm", b"y")
        failed = ends_of(here, 2)["CT 10:31.dcm"]
        assert failed["state"] == "FAILED"
        assert (Path(failed["result_path"]) / "original" / "CT 10_31.dcm").read_bytes() == b"y"
        here.say("retry", "inbox", failed["id"])
        fails_again(here, failed)


@case(
    4,
    "Two results whose names differ by case alone, on exFAT or SMB",
    source="nextcloud/desktop#5099; owncloud/client#1914; abraunegg/onedrive#671",
    outcome="Both arrive, the second one with `~2` in its name; neither overwrites the other.",
)
def test_names_that_differ_by_case_alone(tmp_path: Path) -> None:
    with (
        share(tmp_path, "one", names="windows") as outbox,
        site(tmp_path / "site", outbox) as here,
    ):
        found = delivered_names(here, "scan.dcm")
        assert found["SCAN.dcm"] == "SCAN.dcm"
        assert found["scan~2.dcm"] == "scan.dcm"
        assert (found["Scan/1"], found["scan~2/1"]) == ("Scan/1", "scan/1")


def reason_of(here: Place, name: str) -> str:
    return next((i["reason"] for i in here.items() if i["name"] == name), "")


def waits_and_arrives(tmp_path: Path, rules: dict[str, object], reason: str) -> None:
    """An item waits with a reason while the share has these rules, and is delivered afterwards."""
    with (
        share(tmp_path, "one") as outbox,
        site(tmp_path / "site", outbox) as here,
    ):
        outbox.rule(**rules)
        drop(here, "good", "scan.dcm", b"scan")
        until(
            f"it waits with a reason: {here.log[-2000:]}",
            lambda: reason in reason_of(here, "scan.dcm") or reason in here.say("status"),
        )
        outbox.rule()
        ends = ends_of(here, 1)
        results = Path(ends["scan.dcm"]["result_path"])
        assert (results / "copy" / "scan.dcm").read_bytes() == b"scan"
        assert [p.name for p in (outbox.backing / "out").iterdir()] == ["good"], "nothing half"


@pytest.mark.parametrize(("when", "code"), [("flush", "ENOSPC"), ("fsync", "EDQUOT")])
@case(
    4,
    "A share that reports its quota only when a file is closed, as NFS and AFS do",
    source="llvm/llvm-project#56501; cooperative-computing-lab/cctools#2784; close(2)",
    outcome="No half file counts as delivered: the item waits, says that the disk is full, and is"
    " delivered once there is room.",
)
def test_a_share_that_is_full_at_the_close(tmp_path: Path, when: str, code: str) -> None:
    waits_and_arrives(tmp_path, {"refuse": {when: code}}, "free some space there")


@pytest.mark.parametrize("operation", ["fsync", "write"])
@case(
    4,
    "A share whose server fails while results are written",
    source="microsoft/WSL#2557; borgbackup/borg#1287",
    outcome="The item waits, names the place and the server, and is delivered once that is back.",
)
def test_a_share_that_fails(tmp_path: Path, operation: str) -> None:
    waits_and_arrives(tmp_path, {"refuse": {operation: "EIO"}}, "the server of that share")


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"read_only": True}, "mounted read-only"),
        ({"refuse": {"create": "EACCES"}}, "read and write there"),
    ],
    ids=["mounted read-only", "not permitted"],
)
@case(
    4,
    "An outbox that may not be written",
    source="bcbio/bcbio-nextgen#1314; sahlberg/libnfs#178",
    outcome="The item waits with the reason and the mount option to change, and is delivered once"
    " that is done.",
)
def test_an_outbox_that_may_not_be_written(
    tmp_path: Path, rules: dict[str, object], reason: str
) -> None:
    waits_and_arrives(tmp_path, rules, reason)


@case(
    4,
    "A result that is larger than the file system accepts, as 4 GiB on FAT32",
    source="linuxmint/nemo#2201; MidnightCommander/mc#4199; webtorrent/webtorrent#1970",
    outcome="The item waits and says that the file system accepts no file of that size; nothing is"
    " cut off. On FAT32 that is known before the first byte is written.",
)
def test_a_file_that_is_too_large_for_the_share(tmp_path: Path) -> None:
    waits_and_arrives(tmp_path, {"largest": 3}, "no file of that size")


@case(
    4,
    "A share where a file cannot be renamed over another one",
    source="PowerShell/Win32-OpenSSH#467; xrootd/xrootd#659",
    outcome="Nothing is ever renamed over another file there: results arrive.",
)
def test_no_rename_over_another_file(tmp_path: Path) -> None:
    with (
        share(tmp_path, "one", refuse={"rename over": "EEXIST"}) as outbox,
        site(tmp_path / "site", outbox, inbox=outbox) as here,
    ):
        top = outbox.path / "in"
        for _ in range(2):
            drop(here, "good", "scan.dcm", b"scan", top)
            until("it is taken", lambda: not (top / "good" / "scan.dcm").exists())
        ends = here.ended(2)
        assert {item["state"] for item in ends} <= {"DELIVERED", "SKIPPED"}


@case(
    4,
    "The same content again, with its results to be linked, on a share without links",
    source="exFAT and FAT have no symbolic links; CIFS without mfsymlinks, mount.cifs(8)",
    outcome="The item is done and says whose results stand; no link is made, and nothing waits.",
)
def test_duplicates_where_there_are_no_links(tmp_path: Path) -> None:
    trigger = '[[inbox.trigger]]\nfolder = "linked"\npipeline = "good"\nduplicates = "link"\n'
    with share(tmp_path, "one", refuse={"symlink": "EPERM"}) as outbox:
        settings = f'[outbox]\npath = "{outbox.path}/out"\n'
        folder = tmp_path / "site"
        with place(folder, {}, inbox=trigger, settings=settings, prepare=pipelines) as here:
            drop(here, "linked", "one.dcm", b"same")
            first = ends_of(here, 1)["one.dcm"]
            drop(here, "linked", "two.dcm", b"same")
            second = ends_of(here, 2)["two.dcm"]
            assert (first["state"], second["state"]) == ("DELIVERED", "DELIVERED")
            assert second["result_path"] == first["result_path"]
            assert "the same content as one.dcm: skipped" in second["reason"]
