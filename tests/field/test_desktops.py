"""What desktops, office programs and network storage leave in the drop folder next to a study.

None of them runs here: the names, and the order in which they come, are theirs.
"""

from __future__ import annotations

import pytest

from tests.field.case import case
from tests.field.site import Drop, Files, some_files, write
from tests.field.tools import run

DS_STORE = b"\0\0\0\1Bud1"
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        "


@pytest.mark.parametrize("moment", ["before", "during", "after"])
@case(
    2,
    "The Mac's Finder leaves .DS_Store before, during or after a copy, and ._ files",
    source="jonaswinkler/paperless-ng#1062; darktable-org/darktable#11225;"
    " photoprism/photoprism#2314",
    outcome="One job with the images alone.",
    tools=["macOS Finder"],
)
def test_finder(drop: Drop, moment: str) -> None:
    files = some_files(moment)
    study = drop.folder / "study"
    study.mkdir()
    if moment == "before":
        write(study, {".DS_Store": DS_STORE})
        drop.waits("empty")
    for number, (name, content) in enumerate(files.items()):
        write(study, {f"._{name}": APPLE_DOUBLE, name: content})
        if moment == "during" and number == 1:
            write(study, {".DS_Store": DS_STORE})
            write(drop.folder, {".DS_Store": DS_STORE})
    if moment == "after":
        drop.until("it is seen", lambda: drop.items())
        write(study, {".DS_Store": DS_STORE})
    drop.makes(files)


@case(
    2,
    "Windows Explorer leaves desktop.ini and Thumbs.db at every depth",
    source="paperless-ngx/paperless-ngx#10998; pimcore/pimcore#14353",
    outcome="One job with the images alone.",
    tools=["Windows Explorer"],
)
def test_explorer(drop: Drop) -> None:
    files = {**some_files("explorer"), "SERIES 1/IM9.DCM": b"deep"}
    leftovers = ("desktop.ini", "Thumbs.db", "SERIES 1/Thumbs.db", "SERIES 1/Desktop.ini")
    write(drop.source / "study", {**files, **dict.fromkeys(leftovers, b"[x]")})
    run("cp", "-r", drop.source / "study", drop.folder)
    drop.makes(files)


@case(
    2,
    "GNOME and KDE leave .directory and .Trash-1000 next to the study",
    source="freedesktop.org, trash specification 1.0; kde.org, KDirectory",
    outcome="One job with the images alone; the trash stays and is named.",
    tools=["GNOME and KDE"],
)
def test_linux_desktops(drop: Drop) -> None:
    files = some_files("kde")
    write(drop.source / "study", {**files, ".directory": b"[Dolphin]\nTimestamp=2024\n"})
    write(drop.folder, {".Trash-1000/files/old.dcm": b"deleted"})
    write(drop.folder, {".Trash-1000/info/old.dcm.trashinfo": b"[Trash Info]\n"})
    run("cp", "-r", drop.source / "study", drop.folder)
    drop.makes(files)
    drop.is_left(".Trash-1000")


@case(
    2,
    "An empty folder that a Mac, Windows or KDE has opened",
    source="jonaswinkler/paperless-ng#1062; paperless-ngx/paperless-ngx#10998",
    outcome="No job while it holds nothing else; `list inbox` says that it is empty. One job once"
    " an image is there.",
    tools=["macOS Finder", "Windows Explorer", "GNOME and KDE"],
)
def test_opened_and_empty(drop: Drop) -> None:
    leftovers = {"mac": ".DS_Store", "windows": "desktop.ini", "kde": ".directory"}
    for folder, name in leftovers.items():
        write(drop.folder / folder, {name: DS_STORE})
    drop.makes(waits=["empty"] * len(leftovers))
    files = {folder: some_files(folder, count=1) for folder in leftovers}
    for folder, content in files.items():
        write(drop.folder / folder, content)
    drop.makes(*files.values())


OFFICE = {
    "Microsoft Office": ("~$report.docx", "report.docx", "A1B2C3D4.tmp"),
    "LibreOffice": (".~lock.report.docx#", "report.docx", "lu1234abcd.tmp"),
}


@pytest.mark.parametrize("program", OFFICE)
@case(
    2,
    "An office program edits and saves a document in the drop folder",
    source="nextcloud/desktop#5607; haiwen/seafile#774; kjambunathan/org-mode-ox-odt#243",
    outcome="The lock file and the file that is renamed over the document are no inputs.",
    tools=["Microsoft Office", "LibreOffice"],
)
def test_office(drop: Drop, program: str) -> None:
    lock, name, temporary = OFFICE[program]
    write(drop.folder, {lock: b",user,host;", temporary: b"the new text"})
    (drop.folder / temporary).rename(drop.folder / name)
    drop.makes({name: b"the new text"}, ignoring=[lock])
    drop.is_left(lock)
    (drop.folder / lock).unlink()
    drop.makes({name: b"the new text"})


TOPS: dict[str, tuple[str, Files]] = {
    "Synology": ("#recycle", {"#recycle/old.dcm": b"old", "@eaDir/new.dcm/SYNOINDEX": b"x"}),
    "QNAP": ("@Recycle", {"@Recycle/old.dcm": b"old", "@Recently-Snapshot/GMT+01/o.dcm": b"o"}),
    "Windows": ("$RECYCLE.BIN", {"$RECYCLE.BIN/S-1-5-21/$R1.dcm": b"old"}),
    "Windows server": ("System Volume Information", {"System Volume Information/WPSettings": b"x"}),
    "NetApp": ("~snapshot", {"~snapshot/daily.0/old.dcm": b"old"}),
    "ZFS": (".zfs", {".zfs/snapshot/daily/old.dcm": b"old"}),
    "Samba recycle": (".recycle", {".recycle/user/old.dcm": b"old"}),
    "ext4": ("lost+found", {"lost+found/#12": b"old"}),
}


@pytest.mark.parametrize("storage", TOPS)
@case(
    2,
    "The drop folder is the top of a share, where the storage keeps deleted files and snapshots",
    source="paperless-ngx/paperless-ngx#2670; nova-video-player/aos-AVP#1308;"
    " files-community/Files#16616; Radarr/Radarr#7469; Radarr/Radarr#166",
    outcome="One job, of the user's file; the storage's own folders stay, and are named.",
    tools=["Synology DSM", "QNAP QTS", "NetApp, ZFS, Windows shares"],
)
def test_top_of_a_share(drop: Drop, storage: str) -> None:
    folder, leftovers = TOPS[storage]
    write(drop.folder, leftovers)
    write(drop.folder, {"new.dcm": b"new"})
    drop.makes({"new.dcm": b"new"})
    drop.is_left(*{name.partition("/")[0] for name in leftovers})
    assert (drop.folder / folder).is_dir()


@case(
    2,
    "A study comes with the storage's thumbnails of every image",
    source="paperless-ngx/paperless-ngx#4331; paperless-ngx/paperless-ngx#1828",
    outcome="One job with the images alone.",
    tools=["Synology DSM", "QNAP QTS"],
)
def test_thumbnails(drop: Drop) -> None:
    files = some_files("thumbnails")
    thumbnails = {f"@eaDir/{name}/SYNOFILE_THUMB_M.png": b"png" for name in files}
    more = {f".@__thumb/default{name}": b"jpg" for name in files}
    write(drop.source / "study", {**files, **thumbnails, **more})
    run("cp", "-r", drop.source / "study", drop.folder)
    drop.makes(files)


@case(
    2,
    "NFS and FUSE keep removed files under names of their own while somebody reads them",
    source="nfs.sourceforge.net, FAQ D2; libfuse, hard_remove",
    outcome="One job with the images alone; .nfs000... and .fuse_hidden000... are no inputs.",
    tools=["NFS and FUSE"],
)
def test_names_of_removed_files(drop: Drop) -> None:
    files = some_files("nfs")
    names = (".nfs000000000123abcd00000001", ".fuse_hidden0000000200000001")
    write(drop.source / "study", files | dict.fromkeys(names, b"gone"))
    run("mv", drop.source / "study", drop.folder)
    drop.makes(files)


UNFINISHED = {
    "web browsers": [
        "IM2.dcm.crdownload",
        "IM2.dcm.part",
        "IM2.dcm.download",
        "IM2.dcm.opdownload",
    ],
    "mc (MinIO), gsutil, FreeFileSync, AWS CLI": [
        "IM2.dcm.part.minio",
        "IM2.dcm_.gstmp",
        "IM2.dcm.8ea2.ffs_tmp",
    ],
    "WinSCP": ["IM2.dcm.filepart"],
}


@pytest.mark.parametrize("name", [n for names in UNFINISHED.values() for n in names])
@case(
    2,
    "Another program's unfinished file lies in a study folder",
    source="minio/mc#1902; jonaswinkler/paperless-ng#1509; gsutil and FreeFileSync sources",
    outcome="The folder waits and names the file; once that has its name, it is one job with every"
    " file.",
    tools=["web browsers", "WinSCP", "mc (MinIO), gsutil, FreeFileSync, AWS CLI"],
)
def test_unfinished(drop: Drop, name: str) -> None:
    files = some_files(name, count=2)
    write(drop.folder / "study", {"IM1.dcm": files["IM1.dcm"], name: files["IM2.dcm"][:100]})
    drop.waits(name)
    assert drop.jobs() == []
    write(drop.folder / "study", {name: files["IM2.dcm"]})
    (drop.folder / "study" / name).rename(drop.folder / "study/IM2.dcm")
    drop.makes(files)
