"""Recognises names that are not user content: unfinished files, and files that programs leave.

One table for everything that reads files of users: the inbox, folders dropped into it, uploads by
the command line, models, `pipelines.d` and `images.d`. Pure.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate


class NameKind(enum.Enum):
    """The meaning of a name for the file or folder that has it."""

    UNFINISHED = "unfinished"
    """It is still being written; its program renames it at the end."""
    LEFTOVER = "leftover"
    """A program created it for itself; it is no content of the user."""
    CONTENT = "content"
    """It is content of the user, although a later row matches its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: names that a program is known to use."""

    kind: NameKind
    program: str
    """The program that creates such names, as text for people."""
    pattern: str
    """A shell pattern for the last part of a path; case is ignored."""
    source: str
    """Where the authors of the program, or people who met such names, document them."""
    expression: str = ""
    """A regular expression for the whole name, where a shell pattern is not enough; `pattern` is
    then only shown to people. Its group `final` is the final name of an unfinished file."""


def _rows(kind: NameKind, *rows: tuple[str, str, str] | tuple[str, str, str, str]) -> Iterable[Row]:
    for program, patterns, source, *expression in rows:
        for pattern in patterns.split("  "):
            yield Row(
                kind=kind,
                program=program,
                pattern=pattern,
                source=source,
                expression=expression[0] if expression else "",
            )


#: The first row that matches a name counts. Two spaces separate the patterns of one program.
TABLE: tuple[Row, ...] = (
    *_rows(
        NameKind.CONTENT,
        # mkstemp creates one of these by chance once in 56 thousand million names.
        (
            "suffixes of six letters, which are none of rsync's",
            ".*.backup  .*.config  .*.sqlite  .*.sample  .*.jsonld  .*.schema  .*.parser",
            "rsync: util1.c, get_tmpname; mkstemp(3)",
        ),
    ),
    *_rows(
        NameKind.UNFINISHED,
        (
            "rsync",
            ".NAME.XXXXXX",
            "rsync(1), --temp-dir; ome/omero-server-docker#23; gorakhargosh/watchdog#266",
            r"\.(?P<final>.+)\.[0-9A-Za-z]{6}",
        ),
        ("rsync", ".~tmp~  .rsync-partial  .rsync-tmp", "rsync(1), --delay-updates, --partial-dir"),
        (
            "rclone",
            "*.partial",
            "rclone.org/docs: --partial-suffix",
            r"(?P<final>.+?)(?:\.[0-9a-f]{8})?\.partial",
        ),
        (
            "lftp, ProFTPD",
            ".in.*",
            "lftp(1), xfer:temp-file-name; ProFTPD HiddenStores",
            r"\.in\.(?P<final>.+?)\.?",
        ),
        ("Pure-FTPd", ".pureftpd-upload.*", "lavv17/lftp#188; pure-ftpd(8), atomic uploads"),
        ("SFTPGo", ".sftpgo-upload.*", "drakkan/sftpgo#436"),
        ("MEGA", ".getxfer.*.mega", "meganz/sdk: LocalPath::tmpNameLocal"),
        ("Hugging Face", "*.incomplete", "huggingface_hub: file_download.py"),
        ("WinSCP", "*.filepart", "winscp.net/eng/docs/resume"),
        ("Firefox, KDE, mc, Nextcloud", "*.part", "Firefox downloads; KIO: MarkPartial"),
        ("MinIO's mc", "*.part.minio", "minio/mc#1902"),
        ("Chrome, Edge", "*.crdownload", "Chromium: components/download"),
        ("Safari", "*.download", "Safari: download bundles"),
        ("Opera", "*.opdownload", "Opera downloads"),
        ("programs of many kinds", "*.tmp  *.temp  *.upload  *.uploading  *.filetmp", "convention"),
        ("gsutil, gcloud storage", "*_.gstmp", "gsutil: gslib/utils/copy_helper.py"),
        (
            "the AWS command line",
            "*.6eF5A0bE",
            "aws/aws-cli#701; s3transfer: random_file_extension",
            # Eight hexadecimal digits with letters of both cases: people write only one case.
            r"(?-i:(?P<final>.+)\.(?=[0-9A-F]*[a-f])(?=[0-9a-f]*[A-F])[0-9A-Fa-f]{8})",
        ),
        ("azcopy", ".azDownload-*", "Azure/azure-storage-azcopy: AZCOPY_DOWNLOAD_TO_TEMP_PATH"),
        ("FreeFileSync", "*.ffs_tmp", "FreeFileSync: zen/file_access, temporary names"),
        ("FreeFileSync, other users of a share", "*.ffs_lock", "FreeFileSync"),
        ("Syncthing", ".syncthing.*.tmp  ~syncthing~*.tmp", "syncthing: lib/fs/tempname.go"),
        (
            "the ownCloud and Nextcloud clients",
            ".NAME.~1a2b3c",
            "nextcloud/desktop: propagatedownload, createDownloadTmpFileName",
            r"\.(?P<final>.+)\.~[0-9a-f]+",
        ),
        ("Nextcloud's server", "*.ocTransferId*", "nextcloud/server: apps/dav, File.php"),
        ("Resilio Sync", "*.!sync  *.bts  *.SyncTemp  *.SyncPart", "Resilio Sync: partial files"),
        ("Unison", ".unison.*", "bcpierce00/unison: src/os.ml, tempFilePrefix"),
        ("BitTorrent clients", "*.!ut  *.!qb  *.bc!", "qBittorrent: incomplete files"),
        ("DownThemAll, IDM", "*.dtapart  *.dlpart", "convention of download managers"),
        ("aria2", "*.aria2", "aria2c(1), control file"),
        ("lftp pget", "*.lftp-pget-status", "lftp(1), pget"),
        ("GNOME", ".goutputstream-*", "GLib: gio/glocalfileoutputstream.c"),
        (
            "macOS, a document that is being saved",
            "NAME.sb-1a2b3c4d-XXXXXX",
            "NSFileManager, replaceItemAt: safe-save names",
            r"(?P<final>.+)\.sb-[0-9a-f]{8}-[0-9A-Za-z]{6}",
        ),
        ("7-Zip", "*.7z.tmp[0-9]*  *.zip.tmp[0-9]*", "7-Zip: UpdateCallback, temporary archives"),
    ),
    *_rows(
        NameKind.LEFTOVER,
        # --- programs that have a document open
        ("Microsoft Office, an open document", "~$*", "Microsoft: owner files"),
        ("LibreOffice, an open document", ".~lock.*#", "LibreOffice: svl/lockfilecommon"),
        ("Vim, an open file", ".*.sw[a-p]", "vim: recover.txt, swap-file"),
        ("Kate, an open file", ".*.kate-swp", "KDE: KTextEditor swap file"),
        ("Emacs, an open file", ".#*  #*#", "Emacs manual: interlocking, auto-save"),
        # --- programs that synchronise folders
        (
            "Nextcloud, ownCloud",
            ".sync_*.db*  ._sync_*.db*  .owncloudsync.log*  .nextcloudsync.log*  .sync-exclude.lst",
            "nextcloud/desktop: sync-exclude.lst",
        ),
        ("Syncthing", ".stfolder*  .stversions  .stignore", "docs.syncthing.net"),
        ("Dropbox", ".dropbox  .dropbox.attr  .dropbox.cache", "Dropbox: help, files it ignores"),
        ("OneDrive", ".849C9593-D756-4E56-8D6E-42412F2A707B", "OneDrive: root folder marker"),
        ("Resilio Sync", "*.SyncOld  .sync  .SyncID  .SyncIgnore  .SyncArchive", "Resilio Sync"),
        ("Unison", ".unison", "bcpierce00/unison: archive files"),
        ("Backblaze", ".bzvol", "Backblaze: volume marker"),
        ("FreeFileSync", "sync.ffs_db  .sync.ffs_db  *.ffs_batch", "FreeFileSync: database files"),
        ("Google Drive", ".tmp.drivedownload  .tmp.driveupload", "Google Drive for desktop"),
        # --- macOS
        ("the Mac's Finder", ".DS_Store  ._*  Icon\r  .localized", "paperless-ngx#4331, #1828"),
        (
            "macOS",
            ".AppleDouble  .AppleDB  .AppleDesktop  .LSOverride  .Spotlight-V100  .Trashes"
            "  .fseventsd  .TemporaryItems  .DocumentRevisions-V100  .PKInstallSandboxManager"
            "  .VolumeIcon.icns  .com.apple.*  .apdisk  Network Trash Folder  Temporary Items"
            "  TheVolumeSettingsFolder  .metadata_never_index  .afpDeleted*  .smbdelete*",
            "github/gitignore: Global/macOS; mount_smbfs",
        ),
        ("macOS, in zip archives", "__MACOSX", "Archive Utility; ditto(1)"),
        # --- Windows
        (
            "Windows Explorer",
            "Thumbs.db  Thumbs.db:encryptable  ehthumbs.db  ehthumbs_vista.db  desktop.ini",
            "github/gitignore: Global/Windows; paperless-ng#1062",
        ),
        # With the colon, or the characters that WSL and SMB clients write instead.
        (
            "Windows, where a file came from",
            "*[:\uf03a\uf022]Zone.Identifier",
            "microsoft/WSL#7456",
        ),
        (
            "Windows, the recycle bin",
            "$RECYCLE.BIN  RECYCLER  RECYCLED",
            "github/gitignore: Global/Windows",
        ),
        ("Windows", "System Volume Information  FOUND.[0-9][0-9][0-9]", "chkdsk; NTFS"),
        # --- Linux
        ("Linux file systems", "lost+found", "e2fsck(8)"),
        ("Linux desktops, the trash", ".Trash  .Trash-*", "freedesktop.org: Trash specification"),
        ("KDE's Dolphin", ".directory", "github/gitignore: Global/Linux"),
        (
            "thumbnails",
            ".thumbnails  .thumb  .xvpics  .picasa.ini  Picasa.ini  .picasaoriginals",
            "freedesktop.org: thumbnails; Picasa",
        ),
        ("NFS, a file deleted while open", ".nfs*", "nfs.sourceforge.net: FAQ D2"),
        ("FUSE, a file deleted while open", ".fuse_hidden*", "libfuse: mount options, hard_remove"),
        ("editors, a copy of before", "*~", "Emacs, Vim, gedit: backup files"),
        # --- storage
        (
            "Synology, thumbnails and attributes",
            "@eaDir  SYNOFILE_THUMB_*  SYNOPHOTO_THUMB_*  *@SynoEAStream  *@SynoResource",
            "paperless-ngx#2670; files-community/Files#16616",
        ),
        (
            "Synology",
            "#recycle  #snapshot  @tmp  @sharebin  @SynoDrive  .SynologyWorkingDirectory",
            "files-community/Files#16616; Radarr/Radarr#7469",
        ),
        (
            "QNAP",
            "@Recycle  @Recently-Snapshot  .@__thumb  .@__qini  .@upload_cache  @Transcode",
            "nova-video-player/aos-AVP#1308",
        ),
        ("Samba, the recycle bin", ".recycle", "vfs_recycle(8)"),
        ("Netatalk", ":2e*  .streams", "Netatalk: volume charset, hidden names"),
        (
            "snapshots of the storage",
            ".snapshot  .snapshots  ~snapshot  .zfs  .ckpt",
            "NetApp ONTAP; snapper; zfs(8), snapdir; Dell Unity",
        ),
        # --- development
        ("version control", ".git  .svn  .hg", "git, Subversion, Mercurial"),
        ("Jupyter, Python", ".ipynb_checkpoints  __pycache__", "Jupyter; Python: cached modules"),
    ),
)


#: Suffixes of control files. Programs keep these next to a file that they write under its final
#: name and with its full size from the start: aria2c(1), control file; lftp(1), pget.
_CONTROLS = (b".aria2", b".lftp-pget-status")


def rows_of_device(
    *, unfinished: Sequence[str] = (), leftovers: Sequence[str] = (), content: Sequence[str] = ()
) -> tuple[Row, ...]:
    """Returns rows for the shell patterns in the configuration of a device."""
    added = {
        NameKind.CONTENT: content,
        NameKind.UNFINISHED: unfinished,
        NameKind.LEFTOVER: leftovers,
    }
    return tuple(
        Row(kind=kind, program=_DEVICE, pattern=pattern, source="[names]")
        for kind, patterns in added.items()
        for pattern in patterns
    )


_DEVICE = "the configuration of this device"


class Names:
    """A table of rows, compiled for fast queries."""

    def __init__(self, rows: Iterable[Row] = TABLE) -> None:
        """`rows`: the first one that matches a name counts."""
        self.rows = tuple(rows)
        self._exact: dict[str, int] = {}
        self._suffixes: dict[str, int] = {}
        others: list[str] = []
        for number, row in enumerate(self.rows):
            pattern = row.pattern.casefold()
            if not row.expression and not re.search(r"[*?\[]", pattern):
                self._exact.setdefault(pattern, number)
            elif not row.expression and re.fullmatch(r"\*\.[^*?\[.]+", pattern):
                self._suffixes.setdefault(pattern[2:], number)
            else:
                expression = row.expression.replace("(?P<final>", "(?:")
                others.append(f"(?P<r{number}>{expression or translate(pattern)})")
        self._others = re.compile("|".join(others), re.IGNORECASE | re.DOTALL)
        self._find = functools.lru_cache(maxsize=4096)(self._found)

    def find(self, name: bytes) -> Row | None:
        """Returns the row for a name (the last part of a path); None where it is user content."""
        row = self._find(name)
        return None if row is None or row.kind is NameKind.CONTENT else row

    def _found(self, name: bytes) -> Row | None:
        text = name.decode("utf-8", "surrogateescape")
        folded = text.casefold()
        suffix = folded.rpartition(".")[2] if "." in folded else ""
        found = {self._exact.get(folded), self._suffixes.get(suffix)}
        if (match := self._others.fullmatch(text)) is not None and match.lastgroup is not None:
            found.add(int(match.lastgroup[1:]))
        numbers = found - {None}
        return self.rows[min(n for n in numbers if n is not None)] if numbers else None

    def controls(self, name: bytes) -> Iterable[bytes]:
        """Returns names of control files, whose existence marks the file `name` as unfinished."""
        return (name + suffix for suffix in _CONTROLS)

    def final(self, name: bytes) -> bytes | None:
        """Returns the final name of an unfinished file, where its name contains that; else None."""
        row = self.unfinished(name)
        if row is None:
            return None
        if row.expression:
            text = name.decode("utf-8", "surrogateescape")
            found = re.fullmatch(row.expression, text, re.IGNORECASE | re.DOTALL)
            final = None if found is None else found.groupdict().get("final")
            return None if not final else final.encode("utf-8", "surrogateescape")
        ending = row.pattern.removeprefix("*")
        if ending == row.pattern or re.search(r"[*?\[]", ending):
            return None
        return name[: -len(ending.encode())] or None

    def unfinished(self, name: bytes) -> Row | None:
        """Returns the row for a name that means "still being written", else None."""
        row = self.find(name)
        return row if row is not None and row.kind is NameKind.UNFINISHED else None

    def leftover(self, name: bytes) -> Row | None:
        """Returns the row for a name that programs use for themselves, else None."""
        row = self.find(name)
        return row if row is not None and row.kind is NameKind.LEFTOVER else None

    def first(self, kind: NameKind, path: bytes) -> Row | None:
        """Returns the row of the first part of a path that is of this kind, else None.

        What lies below a folder of a kind is of that kind as well.
        """
        rows = map(self.find, path.split(b"/"))
        return next((row for row in rows if row is not None and row.kind is kind), None)


#: The table without the rows that a device adds.
DEFAULT = Names()


def is_ignored(name: bytes, names: Names = DEFAULT) -> bool:
    """Whether a name in a folder of single files is hidden, unfinished or no user content."""
    return name.startswith(b".") or names.find(name) is not None


def shown(name: bytes) -> str:
    """Returns the name as text; bytes that are not UTF-8 are escaped."""
    return name.decode("utf-8", "backslashreplace")
