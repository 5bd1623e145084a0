"""Archives of models as workstations make them: stored, or refused with a step to take."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.errors import InvalidModelError
from claraedge.models.reading import ArchiveFile, refuse_other
from tests.field import archives
from tests.field.archives import CONFIG, WEIGHTS, Entry, zipped
from tests.field.case import case
from tests.field.model_site import Site, program, run
from tests.rig.models_repository import served_repository

LUNG = {"lung/config.pbtxt": CONFIG, "lung/1/model.onnx": WEIGHTS}
FOLDER = "claraedge create model -p FOLDER"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served_repository() as state:
        yield Site(state, tmp_path)


# --- what Windows makes --------------------------------------------------------------------------


@case(
    10,
    "Windows Explorer packed a model of more than 2 GB",
    source="ITISFoundation/osparc-simcore#2843; dotnet/corefx#9925; rommapp/romm#1156",
    outcome="The model is stored: Deflate64 is read.",
)
def test_deflate64_is_read(site: Site) -> None:
    entries = [
        Entry(name=b"lung/", content=None),
        Entry(name=b"lung/1/", content=None),
        *archives.model(archives.DEFLATED64),
    ]
    assert site.send(zipped(entries)) == []
    assert site.stored() == LUNG


@case(
    10,
    "7-Zip packed with the method Deflate64",
    source="CesiumGS/3d-tiles-tools#66; 7-zip.org, -mm",
    outcome="The model is stored.",
    tools=("7-Zip",),
)
def test_deflate64_of_7zip_is_read_in_little_memory(site: Site) -> None:
    folder = site.lung()
    weights = b"".join(zlib.compress(os.urandom(7000)) + bytes(70_000) for _ in range(100))
    (folder / "1/model.onnx").write_bytes(weights)
    run(program("7zz", "7z"), "a", "-tzip", "-mm=Deflate64", "d.zip", "lung", cwd=site.work)
    with zipfile.ZipFile(site.work / "d.zip") as made:
        assert {i.compress_type for i in made.infolist() if i.file_size > 1000} == {9}
    site.send(site.work / "d.zip")
    assert site.stored()["lung/1/model.onnx"] == weights


@case(
    10,
    "An archive of Deflate64 was damaged on the way",
    source="srikanth-lingala/zip4j#525; ITISFoundation/osparc-simcore#2843",
    outcome="It is refused as damaged, with the advice to get it again.",
)
@pytest.mark.parametrize("how", ["bits", "sum", "end"])
def test_damaged_deflate64_is_reported(site: Site, how: str) -> None:
    entries = archives.model(archives.DEFLATED64)
    if how == "sum":
        entries[1] = Entry(name=entries[1].name, content=WEIGHTS, method=9, crc=1)
    data = bytearray(zipped(entries))
    if how == "bits":
        at = data.find(b"lung/1/model.onnx") + len(b"lung/1/model.onnx")
        data[at : at + 8] = b"\xff" * 8
    elif how == "end":  # the directory says that fewer bytes are there
        at = data.rfind(b"PK\1\2") + 20
        (packed,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at, packed - 9)
    reason = site.refused(bytes(data))
    assert "is damaged" in reason
    assert "download it again" in reason


@case(
    10,
    "Older .NET (PowerShell's Compress-Archive) wrote backslashes",
    source="ImageMarkup/isic-archive#454; PowerShell/Microsoft.PowerShell.Archive#71",
    outcome="The model is stored: a backslash separates as a slash does.",
)
def test_backslashes_separate(site: Site) -> None:
    entries = [Entry(name=b"lung\\1\\", content=b"", method=0), *archives.model(separator=b"\\")]
    site.send(zipped(entries))
    assert site.stored() == LUNG


@case(
    10,
    "A folder's entry has no separator at its end",
    source="APPNOTE.TXT 4.4.15 (attributes say it); libarchive, test_read_format_zip",
    outcome="The model is stored: the attributes of DOS or Unix say what a folder is.",
)
@pytest.mark.parametrize("mode", [0, stat.S_IFDIR | 0o755])
def test_folders_without_a_separator(site: Site, mode: int) -> None:
    folder = Entry(name=b"lung/1", content=None, mode=mode, system=3 if mode else 0)
    site.send(zipped([folder, *archives.model()]))
    assert site.stored() == LUNG


@case(
    10,
    "Names with backslashes lead out of the archive",
    source="snyk/zip-slip-vulnerability; APPNOTE.TXT 4.4.17",
    outcome="It is refused before anything is unpacked.",
)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"lung\\..\\..\\x", "'..'"),
        (b"\\x", "absolute"),
        (b"C:\\x", "absolute"),
        (b"\\\\server\\x", "absolute"),
    ],
)
def test_backslashes_lead_nowhere_else(site: Site, name: bytes, text: str) -> None:
    reason = site.refused(zipped([*archives.model(), Entry(name=name, content=b"x")]))
    assert text in reason


@case(
    10,
    "Windows Explorer wrote a name in the letters of its country",
    source="thejoshwolfe/yauzl#84; libarchive/libarchive#2798; nih-at/libzip#212",
    outcome="It is refused with the name and two ways out: plain letters, or sending the folder.",
)
@pytest.mark.parametrize("name", ["Lärm".encode("cp850"), "肺".encode("shift-jis")])
def test_letters_of_an_unknown_code_page_are_no_guess(site: Site, name: bytes) -> None:
    entry = Entry(name=b"lung/1/" + name, content=b"x", flags=0)
    reason = site.refused(zipped([*archives.model(), entry]))
    assert "plain letters" in reason
    assert FOLDER in reason


@case(
    3,
    "A zip program wrote UTF-8 names and did not say so",
    source="thejoshwolfe/yauzl#84 (Archive Utility of macOS)",
    outcome="The names are kept as they are.",
)
def test_utf8_without_its_flag(site: Site) -> None:
    site.send(
        zipped([*archives.model(), Entry(name="lung/1/Lärm".encode(), content=b"x", flags=0)])
    )
    assert site.stored()["lung/1/Lärm"] == b"x"


@case(
    3,
    "A zip program put the UTF-8 name next to one of its code page",
    source="APPNOTE.TXT 4.6.9, Info-ZIP Unicode Path; EasyRPG/Player#2562",
    outcome="The UTF-8 name counts, as long as it belongs to the other one.",
)
def test_unicode_path(site: Site) -> None:
    old, name = "lung/1/Lärm".encode("cp850"), "lung/1/Lärm".encode()
    field = b"\1" + struct.pack("<I", zlib.crc32(old)) + name
    extra = b"\x0a\x00\x04\x00ntfs" + struct.pack("<HH", 0x7075, len(field)) + field
    entry = Entry(name=old, content=b"x", flags=0, extra=extra)
    site.send(zipped([*archives.model(), entry]))
    assert site.stored()["lung/1/Lärm"] == b"x"


@case(
    10,
    "The whole folder is in one more folder of the archive",
    source="ia-toki/judgels#452; Windows Explorer, Extract All and then Send to",
    outcome="The model is stored: folders that hold nothing else are no obstacle.",
)
@pytest.mark.parametrize("top", [b"lung/lung", b"Desktop/models/lung"])
def test_wrapping_folders(site: Site, top: bytes) -> None:
    site.send(zipped(archives.model(top=top)))
    assert site.stored() == LUNG


@case(
    10,
    "Notepad saved config.pbtxt as config.pbtxt.txt",
    source="Windows hides file extensions; triton-inference-server/server, model_repository.md",
    outcome="It is refused with the name that is meant, and how to see whole names.",
)
@pytest.mark.parametrize("name", [b"config.pbtxt.txt", b"Config.pbtxt", b"config.txt"])
def test_a_configuration_of_another_name(site: Site, name: bytes) -> None:
    entries = [Entry(name=b"lung/" + name, content=CONFIG), archives.model()[1]]
    reason = site.refused(zipped(entries))
    assert "reads only config.pbtxt" in reason
    assert "File name extensions" in reason


# --- what others make ----------------------------------------------------------------------------


@case(
    10,
    "Zip archives of Info-ZIP, 7-Zip, bsdtar and Python",
    source="libarchive/libarchive#970; the programs' manuals",
    outcome="The same model is stored from each.",
    tools=("zip", "7-Zip", "bsdtar"),
)
@pytest.mark.parametrize(
    "how", ["zip", "zip-stored", "zip-pipe", "7-Zip", "bsdtar", "shutil", "top"]
)
def test_archives_of_common_programs(site: Site, how: str) -> None:
    folder = site.lung()
    (folder / "1/Lärm.txt").write_text("labels")
    target = site.work / "made.zip"
    match how:
        case "zip":
            run(program("zip"), "-qr", target, "lung", cwd=site.work)
        case "zip-stored":
            run(program("zip"), "-qr0", target, "lung", cwd=site.work)
        case "zip-pipe":  # its sizes come behind the data
            run("sh", "-c", f'"{program("zip")}" -qr - lung | cat >made.zip', cwd=site.work)
        case "7-Zip":
            run(program("7zz", "7z"), "a", "-tzip", target, "lung", cwd=site.work)
        case "bsdtar":
            run(program("bsdtar"), "--format", "zip", "-cf", target, "lung", cwd=site.work)
        case "top":
            run(program("zip"), "-qr", target, ".", cwd=folder)
        case "shutil":
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
                for path in sorted(folder.rglob("*")):
                    made.write(path, path.relative_to(site.work))
    site.send(target)
    assert sorted(site.stored()) == ["lung/1/Lärm.txt", "lung/1/model.onnx", "lung/config.pbtxt"]


@case(
    10,
    "A program that streams put sizes behind the data",
    source="gildas-lormeau/SingleFileZ#131; APPNOTE.TXT 4.3.9",
    outcome="The model is stored.",
)
def test_data_descriptors(site: Site) -> None:
    flags = archives.UTF8 | archives.DESCRIPTOR
    entries = [Entry(name=e.name, content=e.content, flags=flags) for e in archives.model()]
    site.send(zipped(entries))
    assert site.stored() == LUNG


@case(
    10,
    "The archive has the records for large sizes, and a comment",
    source="dotnet/docs#7039; APPNOTE.TXT 4.3.14 (zip64)",
    outcome="The model is stored.",
)
def test_zip64(site: Site) -> None:
    site.send(zipped(archives.model(), zip64=True, comment=b"made by hand"))
    assert site.stored() == LUNG


@case(
    10,
    "A self-extracting archive of a zip program",
    source="7-zip.org, SFX modules; Info-ZIP, unzipsfx",
    outcome="The model is stored where a zip archive is inside; other ones are named as programs.",
)
def test_self_extracting(site: Site) -> None:
    site.send(b"MZ" + bytes(3000) + zipped(archives.model()))
    assert site.stored() == LUNG


@case(
    10,
    "A Mac's Archive Utility packed more than 4 GB",
    source="thejoshwolfe/yauzl#69; nih-at/libzip#341",
    outcome="It is refused with that reason and two ways out, and does not pass for damaged.",
)
def test_a_mac_counts_modulo_four_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with path.open("wb") as file:  # the same numbers as if the first file were so large
        file.seek(2**32)
        file.write(zipped(archives.model()))
    with ArchiveFile(path) as source, pytest.raises(InvalidModelError, match="of a Mac") as raised:
        refuse_other(source)
    assert "zip -r" in str(raised.value)
    assert FOLDER in str(raised.value)


@case(
    2,
    "The Finder's archive of a Mac",
    source="xbmc/xbmc#18125; nika-begiashvili/libarchivejs#38",
    outcome="The Finder's own files are left out, and the answer names them.",
)
def test_an_archive_of_a_mac(site: Site) -> None:
    own = [
        Entry(name=n, content=b"\0\5\26\7", system=archives.MACOS, mode=stat.S_IFREG | 0o644)
        for n in (b"lung/.DS_Store", b"__MACOSX/lung/._config.pbtxt", b"__MACOSX/._lung")
    ]
    notes = site.send(zipped([*archives.model(), *own]))
    assert site.stored() == LUNG
    assert notes == ["left out 2 names that are not part of the model: __MACOSX, lung/.DS_Store"]


# --- what is no whole zip archive ----------------------------------------------------------------


@case(
    10,
    "The archive is of another kind",
    source="rommapp/romm#1155; docs of 7-Zip, tar, WinRAR",
    outcome="It is refused with what it is, and the step: unpack it, send the folder.",
    tools=("7-Zip",),
)
@pytest.mark.parametrize("kind", ["7z", "tar", "tar.gz", "tar.xz", "rar", "exe"])
def test_archives_of_other_kinds(site: Site, kind: str) -> None:
    site.lung()
    target = site.work / f"lung.{kind}"
    if kind == "7z":
        run(program("7zz", "7z"), "a", target, "lung", cwd=site.work)
    elif kind == "rar":
        target.write_bytes(b"Rar!\x1a\x07\x01\x00" + bytes(100))
    elif kind == "exe":
        target.write_bytes(b"MZ" + bytes(100) + b"7z\xbc\xaf\x27\x1c")
    else:
        with tarfile.open(target, "w:" + kind.removeprefix("tar").removeprefix(".")) as made:
            made.add(site.work / "lung", "lung")
    reason = site.refused(target)
    assert {"exe": "Windows program"}.get(kind, kind.split(".")[-1]) in reason.replace("RAR", "rar")
    assert FOLDER in reason
    assert FOLDER in site.refused(target.read_bytes())


@case(
    1,
    "The archive is still being downloaded, or the download broke off",
    source="wasserth/TotalSegmentator#149; oSoc19/best#86; nanoporetech/bonito#158",
    outcome="It is refused with that reason; nothing of it is stored.",
)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_half_an_archive(site: Site, part: float) -> None:
    data = zipped(archives.model())
    reason = site.refused(data[: int(len(data) * part)])
    assert ("is empty" if not part else "still being copied or downloaded") in reason


@case(
    1,
    "A byte of the archive was changed on the way",
    source="BodenmillerGroup/ImcSegmentationPipeline#96",
    outcome="It is refused as damaged; nothing of it is stored.",
)
def test_a_wrong_checksum(site: Site) -> None:
    entries = archives.model(archives.STORED)
    data = zipped(entries).replace(b"not a real network", b"not a reel network", 1)
    reason = site.refused(data)
    assert "is damaged" in reason
    assert "model.onnx" in reason


@case(
    1,
    "One part of a split archive",
    source="7-zip.org, -v; zip(1), -s; PKWARE APPNOTE 8",
    outcome="It is refused with the step: unpack all parts together, send the folder.",
    tools=("zip", "7-Zip"),
)
def test_a_split_archive(site: Site) -> None:
    folder = site.lung()
    (folder / "1/model.onnx").write_bytes(os.urandom(150_000))
    run(program("zip"), "-qr", "-s", "65536", "a.zip", "lung", cwd=site.work)
    run(program("7zz", "7z"), "a", "-tzip", "-v50k", "b.zip", "lung", cwd=site.work)
    parts = sorted({*site.work.glob("a.z*"), *site.work.glob("b.zip.*")})
    assert len(parts) >= 5
    for part in parts:
        reason = site.refused(part)
        assert "unpack all parts together" in reason, part
        assert FOLDER in reason


@case(
    10,
    "The archive needs a password",
    source="7-zip.org, -mem; APPNOTE.TXT 7",
    outcome="It is refused before anything is unpacked, with that reason.",
    tools=("7-Zip",),
)
@pytest.mark.parametrize("method", ["AES256", "ZipCrypto"])
def test_a_password(site: Site, method: str) -> None:
    site.lung()
    seven = program("7zz", "7z")
    run(seven, "a", "-tzip", "-psecret", f"-mem={method}", "e.zip", "lung", cwd=site.work)
    assert "without a password" in site.refused(site.work / "e.zip")


@case(
    10,
    "The archive is packed by bzip2, LZMA or Zstandard",
    source="7-zip.org, -mm; APPNOTE.TXT 4.4.5",
    outcome="It is refused with the name of the method, and what to choose in 7-Zip.",
    tools=("7-Zip",),
)
@pytest.mark.parametrize("method", ["BZip2", "LZMA", "PPMd", "Zstandard"])
def test_rare_methods(site: Site, method: str) -> None:
    folder = site.lung()
    if method == "Zstandard":
        data: Path | bytes = zipped(archives.model(93))
    else:
        run(program("7zz", "7z"), "a", "-tzip", f"-mm={method}", "m.zip", folder, cwd=site.work)
        data = site.work / "m.zip"
    reason = site.refused(data)
    assert method.lower() in reason.lower()
    assert "7-Zip" in reason
    assert FOLDER in reason


@case(
    10,
    "An archive with nothing in it, or with another archive",
    source="actions/upload-artifact#39; vimtor/action-zip#26",
    outcome="It is refused with what is in it and what to send.",
)
def test_empty_and_nested_archives(site: Site) -> None:
    assert "the archive is empty" in site.refused(zipped([]))
    assert "the archive is empty" in site.refused(b"PK\5\6" + bytes(18))
    inner = Entry(name=b"lung.zip", content=zipped(archives.model()), method=0)
    reason = site.refused(zipped([inner]))
    assert "another archive, 'lung.zip'" in reason
    wrapped = Entry(name=b"x/lung.7z", content=b"7z", method=0)
    assert "another archive" in site.refused(zipped([wrapped]))


@case(
    10,
    "Two models in one archive, or other files around the model",
    source="triton-inference-server/server, docs/examples/model_repository; #3688",
    outcome="It is refused with the folders to send one by one.",
)
def test_more_than_a_model(site: Site) -> None:
    liver = [Entry(name=b"r/liver/config.pbtxt", content=b'name: "liver"')]
    reason = site.refused(zipped([*archives.model(top=b"r/lung"), *liver]))
    assert "2 models, in 'r/liver', 'r/lung'" in reason
    readme = [Entry(name=b"r/README.md", content=b"x")]
    reason = site.refused(zipped([*archives.model(top=b"r/lung"), *readme]))
    assert "outside it are 'r/README.md'" in reason
    assert FOLDER in reason


@case(
    10,
    "The archive holds links",
    source="huggingface/huggingface_hub#1240; Lightning-AI/lit-llama#295",
    outcome="It is refused with the link's name; sent as a folder it is stored.",
    tools=("zip",),
)
def test_links(site: Site) -> None:
    folder = site.lung()
    (folder / "1/model.onnx").rename(site.work / "blob")
    (folder / "1/model.onnx").symlink_to(site.work / "blob")
    run(program("zip"), "-qry", "links.zip", "lung", cwd=site.work)
    assert "'lung/1/model.onnx' is a link" in site.refused(site.work / "links.zip")
    site.send(folder)
    assert site.stored()["lung/1/model.onnx"] == WEIGHTS


@case(
    10,
    "A file of PyTorch, a zip archive by itself, was sent as the model",
    source="pytorch/pytorch, docs of torch.jit.save (the file is a zip archive)",
    outcome="It is refused with where to put it.",
)
def test_a_torchscript_file(site: Site) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("model/data.pkl", "model/version", "model/data/0"):
            archive.writestr(name, b"x")
    (site.work / "model.pt").write_bytes(made.getvalue())
    assert "as 1/model.pt" in site.refused(site.work / "model.pt")


@case(
    2,
    "A bomb of Deflate64",
    source="madler/zlib, contrib/infback9; manyfold3d/manyfold#2488",
    outcome="It is refused by its sizes, or where they lie, at the size that it states.",
)
def test_a_bomb(site: Site) -> None:
    zeros = Entry(name=b"lung/1/zeros", content=bytes(64 * 2**20), method=9)
    data = bytearray(zipped([*archives.model(), zeros]))
    assert "100 times" in site.refused(bytes(data))
    struct.pack_into("<I", data, data.rfind(b"PK\1\2") + 24, 100)
    assert "the archive says 100" in site.refused(bytes(data))
