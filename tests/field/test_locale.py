"""File names are bytes, shown as UTF-8, whatever the locale of the service or of the shell is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.places import Place, copying, place, tree
from tests.freeze.frozen_site import FORMS

_ISO = "de_DE.ISO-8859-1"
_COMPOSED = "Müller.dcm"
NAMES = {
    _COMPOSED.encode(): b"nfc",
    unicodedata.normalize("NFD", _COMPOSED).encode(): b"nfd",  # as a Mac writes it
    "山田.dcm".encode(): b"yamada",
    "Schädel/Übersicht 'quer' \"1\".dcm".encode(): b"quotes",
    b"two\nlines\x1b[2J.dcm": b"control",
    b"x" + "ü".encode() * 125 + b".dcm": b"long",
}
assert max(len(part) for name in NAMES for part in name.split(b"/")) == 255


@pytest.fixture(scope="session")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The variables of a locale of ISO-8859-1, made for this session alone."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.fail(
            "locales are missing: apt-get install locales (build/provision --contract does)"
        )
    folder = tmp_path_factory.mktemp("locales")
    made = folder / _ISO
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", made], check=False)
    assert made.is_dir()
    return {"LOCPATH": str(folder), "LC_ALL": _ISO}


def cli(
    program: list[str | Path], *arguments: str | bytes, env: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[bytes]:
    base = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    return subprocess.run(
        [*program, *arguments], env={**base, **env}, cwd=cwd, capture_output=True, timeout=60
    )


#: The command line from source; it is started elsewhere than in the tree.
SOURCE: list[str | Path] = [sys.executable, "-m", "claraedge"]


def locale_of(name: str, iso: Mapping[str, str]) -> Mapping[str, str]:
    return {
        "iso": iso,
        "C": {"LC_ALL": "C"},
        "POSIX without its coercion": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
        "UTF-8 mode forbidden": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "nothing": {},
    }[name]


LOCALES = ["iso", "C", "POSIX without its coercion", "UTF-8 mode forbidden", "nothing"]


# --- the whole way --------------------------------------------------------------------------------


def drop_and_find(here: Place) -> None:
    """A folder with all names, and one file: the operator and the outbox have the very bytes."""
    study = here.drop("umlaut", "Müller, Jürgen".encode())
    building = here.folder / "building"
    for name, content in NAMES.items():
        path = building / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    building.rename(study)
    here.drop("umlaut", "山田.dcm".encode()).write_bytes(b"alone")
    found = {item["name"]: item for item in here.ended(2)}
    assert {item["state"] for item in found.values()} == {"DELIVERED"}, found
    assert set(found) == {"Müller, Jürgen", "山田.dcm"}
    results = Path(found["Müller, Jürgen"]["result_path"])
    assert tree(results / "copy") == NAMES
    (original,) = (here.state / "originals").rglob("Müller, Jürgen")
    assert tree(original) == NAMES
    assert tree(Path(found["山田.dcm"]["result_path"]) / "copy") == {"山田.dcm".encode(): b"alone"}
    shown = here.say("list", "inbox")
    assert "Müller, Jürgen" in shown
    assert "山田.dcm" in shown


def with_definition(here: Place) -> None:
    folder = here.state / "pipelines.d"
    folder.mkdir(parents=True)
    (folder / "Prüfung für Ü.yaml").write_text(copying("umlaut"), encoding="utf-8")


@pytest.mark.podman
@pytest.mark.timeout(180)
@case(
    3,
    "A service started in a locale of ISO-8859-1",
    source="moinwiki/moin#1986; ome/omero-py#109",
    outcome="Operators, the outbox and the originals have the very bytes of each name; names of"
    " pipelines.d with umlauts work as well.",
)
def test_daemon_in_iso_8859_1(tmp_path: Path, iso: Mapping[str, str]) -> None:
    with place(tmp_path, iso, prepare=with_definition) as here:
        drop_and_find(here)


@pytest.mark.podman
@pytest.mark.timeout(180)
@case(
    3,
    "A service started without any locale, as by `env -i` or an init script",
    source="the-paperless-project/paperless#341; jupyter/notebook#3576",
    outcome="The same as in a locale of UTF-8.",
)
def test_daemon_without_a_locale(tmp_path: Path) -> None:
    with place(tmp_path, {}, prepare=with_definition) as here:
        drop_and_find(here)


@pytest.mark.podman
@pytest.mark.timeout(180)
@case(
    3,
    "A service started with LC_ALL=C and Python's own remedies switched off",
    source="freeipa/freeipa#5334; PEP 538, PEP 540",
    outcome="The same as in a locale of UTF-8.",
)
def test_daemon_in_c_without_coercion(tmp_path: Path) -> None:
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with place(tmp_path, variables, prepare=with_definition) as here:
        drop_and_find(here)


@pytest.mark.podman
@pytest.mark.frozen
@pytest.mark.timeout(240)
@pytest.mark.parametrize("form", FORMS)
@case(
    3,
    "A frozen program started in a locale of ISO-8859-1",
    source="pyinstaller/pyinstaller#6054; moinwiki/moin#1986",
    outcome="Both frozen forms keep every name, byte by byte.",
)
def test_frozen_daemon_in_iso_8859_1(tmp_path: Path, iso: Mapping[str, str], form: str) -> None:
    with place(tmp_path, iso, of=FORMS[form], prepare=with_definition) as here:
        drop_and_find(here)


@pytest.mark.podman
@pytest.mark.timeout(180)
@case(
    3,
    "A file whose name is Latin-1, dropped from an old workstation",
    source="cloud-gov/pages-build-container#98",
    outcome="It fails alone, shown with `\\xfc` for the byte; the original keeps its bytes.",
)
def test_a_name_that_is_not_utf_8(tmp_path: Path, iso: Mapping[str, str]) -> None:
    with place(tmp_path, iso, prepare=with_definition) as here:
        here.drop("umlaut", b"M\xfcller.dcm").write_bytes(b"latin-1")
        here.drop("umlaut", b"good.dcm").write_bytes(b"good")
        found = {item["name"]: item for item in here.ended(2)}
        assert found["good.dcm"]["state"] == "DELIVERED"
        failed = found["M\\xfcller.dcm"]
        assert failed["state"] == "FAILED"
        assert "not UTF-8" in failed["reason"]
        folder = Path(failed["result_path"])
        assert b"M\xfcller.dcm" in tree(folder / "original")
        assert "M\\xfcller.dcm" in here.say("list", "inbox")


@pytest.mark.podman
@pytest.mark.timeout(180)
@case(
    3,
    "Commands with umlauts, given in a shell of ISO-8859-1",
    source="moinwiki/moin#1986; bleachbit/bleachbit#1709",
    outcome="Names of files on the command line are taken byte by byte: definitions are found,"
    " uploads keep their names, and downloads write them.",
)
def test_commands_in_iso_8859_1(tmp_path: Path, iso: Mapping[str, str]) -> None:
    with place(tmp_path, iso) as here:
        definition = tmp_path / "Müller.yaml"
        definition.write_text(copying("umlaut"), encoding="utf-8")
        pipeline = here.say("create", "pipeline", "-p", definition).strip()
        (tmp_path / "Jürgen 山田.dcm").write_bytes(b"x")
        made = here.say(
            "create", "job", "-n", "Müller", "-p", pipeline, "-f", tmp_path / "Jürgen 山田.dcm",
            "--start",
        )  # fmt: skip
        job = made.splitlines()[0].removeprefix("JOB_ID:")
        here.say("describe", "job", "-j", job, "--watch")
        here.say("download", f"{job}:/operators/*", tmp_path / "got")
        assert "Jürgen 山田.dcm".encode() in {n.rpartition(b"/")[2] for n in tree(tmp_path / "got")}
        assert "Müller" in here.say("list", "jobs")
        (tmp_path / os.fsdecode(b"M\xfcller.dcm")).write_bytes(b"x")
        refused = here.call("create", "job", "-n", "n", "-p", pipeline, "-f",
                            tmp_path / os.fsdecode(b"M\xfcller.dcm"))  # fmt: skip
        assert refused.returncode != 0
        assert "M\\xfcller.dcm" in refused.stderr
        assert "Traceback" not in refused.stderr


# --- the command line alone -----------------------------------------------------------------------


@pytest.mark.parametrize("locale", LOCALES)
@case(
    3,
    "Output of the command line in a shell without UTF-8",
    source="arminfelder/gridfsmigrate#19; bleachbit/bleachbit#1709",
    outcome="It is UTF-8; bytes of a name that are none are shown as `\\xNN`. No command ends with"
    " an encoding error.",
)
def test_output_is_utf_8(tmp_path: Path, iso: Mapping[str, str], locale: str) -> None:
    env = locale_of(locale, iso)
    (tmp_path / "Müller.yaml").write_text(copying("umlaut"), encoding="utf-8")
    good = cli(SOURCE, "check", "Müller.yaml".encode(), env=env, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    missing = "Jürgen\udcff 山田.yaml".encode("utf-8", "surrogateescape")
    refused = cli(SOURCE, "check", missing, env=env, cwd=tmp_path)
    assert refused.returncode == 1
    text = (refused.stdout + refused.stderr).decode("utf-8")
    assert "Jürgen\\xff 山田.yaml" in text
    assert "Traceback" not in text
    wrong = cli(SOURCE, b"check", missing, b"--h\xfcst=1", env=env, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr.decode("utf-8")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (copying("x").encode("utf-16"), "UTF-16"),
        (("# Müller\n" + copying("x")).encode("latin-1"), "Windows-1252"),
    ],
    ids=["UTF-16", "Latin-1"],
)
@case(
    3,
    "A definition or configuration saved by Notepad or PowerShell",
    source="influxdata/telegraf#1378 and #11614; hukkin/tomli#304",
    outcome="A byte order mark is passed over; UTF-16 and Windows-1252 are named, with what to"
    " choose when it is saved.",
)
def test_files_of_windows_editors(tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    answer = cli(SOURCE, "check", "p.yaml", env={}, cwd=tmp_path)
    assert answer.returncode == 1
    assert named in answer.stdout.decode()
    assert "UTF-8" in answer.stdout.decode()
    config = tmp_path / "claraedge.toml"
    config.write_bytes(b'\xef\xbb\xbf[log]\nlevel = "wrong"\n')
    served = cli(SOURCE, "serve", "--config", str(config), env={}, cwd=tmp_path)
    assert "log.level" in served.stderr.decode(), "the mark at its beginning is passed over"
    config.write_bytes('[log]\nlevel = "Ä"\n'.encode("utf-16" if named == "UTF-16" else "latin-1"))
    served = cli(SOURCE, "serve", "--config", str(config), env={}, cwd=tmp_path)
    assert served.returncode != 0
    assert named in served.stderr.decode()
    assert "Traceback" not in served.stderr.decode()


def test_the_folder_of_results_must_have_a_name_of_utf_8(tmp_path: Path) -> None:
    answer = cli(
        SOURCE, "serve", b"--outbox", os.fsencode(tmp_path) + b"/\xff", env={},
        cwd=tmp_path,
    )  # fmt: skip
    assert answer.returncode != 0
    assert "outbox.path" in answer.stderr.decode()
    assert "\\xff is not UTF-8" in answer.stderr.decode()
