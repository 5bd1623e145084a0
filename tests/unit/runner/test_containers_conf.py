"""Which settings of an administrator reach the private Podman service."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.runner.service import containers_conf


def settled(folder: Path, *texts: str) -> Mapping[str, Mapping[str, object]]:
    """What files with these texts come to, the last one winning."""
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.conf")
        paths[-1].write_text(text)
    return tomllib.loads(containers_conf.settings(paths).text.decode())


def test_what_isolates_is_left_out_and_what_is_chosen_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(
        '[Containers]\nPidNS = "host"\nlog_size_max = 1\ndns_servers = ["192.0.2.1"]\n'
        'an_option_of_tomorrow = true\n[engine]\nhooks_dir = ["/x"]\n'
        'Runtime = "crun"\nnum_locks = 9\n'
        '[engine.runtimes]\nmine = ["/opt/a \\" \\u007f é"]\n[network]\nany = {b = [1.5]}\n'
        '[machine]\ncpus = 1\n[engine.service_destinations.a]\nuri = "x"\n'
    )
    found = containers_conf.settings([path, tmp_path / "missing.conf"])
    assert tomllib.loads(found.text.decode()) == {
        "containers": {"dns_servers": ["192.0.2.1"]},
        "engine": {
            "runtime": "crun",
            "num_locks": 9,
            "runtimes": {"mine": ['/opt/a " \x7f é']},
        },
        "network": {"any": {"b": [1.5]}},
    }
    assert found.left_out == (f"containers.pidns in {path}", f"engine.hooks_dir in {path}")


def test_later_files_win_and_tables_are_joined(tmp_path: Path) -> None:
    found = settled(
        tmp_path,
        '[engine]\nruntime = "runc"\ncgroup_manager = "x"\nruntimes = {a = ["1"], b = ["2"]}\n',
        '[engine]\nruntime = "crun"\nruntimes = {b = ["3"]}\n',
    )
    assert found["engine"] == {
        "runtime": "crun",
        "cgroup_manager": "x",
        "runtimes": {"a": ["1"], "b": ["3"]},
    }


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        (['["a"]', '["b"]'], ["b"]),
        (['["a"]', '["b", {append = true}]', '["c"]'], ["a", "b", "c"]),
        (['["a", {append = true}]', '["b"]'], ["a", "b", {"append": True}]),
        (['["a", {append = true}]', '["b", {append = false}]', '["c"]'], ["c"]),
        (['["a", {append = false}]'], ["a"]),
    ],
)
def test_arrays_are_appended_as_podman_does(
    tmp_path: Path, arrays: list[str], found: list[object]
) -> None:
    texts = [f"[engine]\nhelper_binaries_dir = {array}\n" for array in arrays]
    assert settled(tmp_path, *texts)["engine"]["helper_binaries_dir"] == found


def test_the_files_are_podmans_in_its_order(tmp_path: Path) -> None:
    own = tmp_path / "containers"
    (own / "containers.conf.d").mkdir(parents=True)
    for name in ("20-b.conf", "10-a.conf", "README"):
        (own / "containers.conf.d" / name).touch()
    found = containers_conf.sources(
        {"XDG_CONFIG_HOME": str(tmp_path), "CONTAINERS_CONF_OVERRIDE": "/last.conf"}
    )
    assert found[0] == Path("/usr/share/containers/containers.conf")
    assert found[1] == Path("/etc/containers/containers.conf")
    assert list(found[-4:]) == [
        own / "containers.conf",
        own / "containers.conf.d/10-a.conf",
        own / "containers.conf.d/20-b.conf",
        Path("/last.conf"),
    ]
    assert list(containers_conf.sources({"CONTAINERS_CONF": "/one.conf"})) == [Path("/one.conf")]


@pytest.mark.parametrize("content", [b"[engine", b"\xff", b"a = 1\na = 2"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.conf").write_bytes(content)
    with pytest.raises(RunnerUnavailableError, match=r"a\.conf cannot be read"):
        containers_conf.settings([tmp_path / "a.conf"])
