"""Manifests of applications, as their packagers write them and as nobody should."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claraedge.errors import PipelineLoadError
from claraedge.images.manifests import PATHS, read
from claraedge.pipelines.application import Application

MONAI_PLATFORM = {
    "MONAI_MODELPATH": "/opt/monai/models",
    "MONAI_JOBID": "$(NVIDIA_CLARA_JOBID)",
}
#: As MONAI Deploy App SDK 0.5 writes them.
MONAI_APP = {
    "api-version": "0.1.0",
    "command": "python3 -u /opt/monai/app/app.py",
    "environment": {},
    "input": {"formats": [], "path": "input"},
    "output": {"format": {}, "path": "output"},
    "sdk-version": "0.5.1",
    "timeout": 0,
    "version": "0.0.0",
    "working-directory": "/var/monai/",
}
MONAI_PACKAGE = {
    "api-version": "0.1.0",
    "application-root": "/var/monai/",
    "models": [{"name": "model-1b2c", "path": "/opt/monai/models/model/model.ts"}],
    "resources": {"cpu": 1, "gpu": 1, "memory": "7Gi"},
    "sdk-version": "0.5.1",
    "version": "0.0.0",
}
#: As Holoscan SDK 2.x writes them.
HOLOSCAN_APP = {
    "apiVersion": "1.0.0",
    "command": '["python3", "/opt/holoscan/app"]',
    "environment": {
        "HOLOSCAN_APPLICATION": "/opt/holoscan/app",
        "HOLOSCAN_INPUT_PATH": "input/",
        "HOLOSCAN_CONFIG_PATH": "/var/holoscan/app.yaml",
    },
    "input": {"path": "input/", "formats": None},
    "liveness": None,
    "output": {"path": "output/", "formats": None},
    "readiness": None,
    "sdk": "monai-deploy",
    "sdkVersion": "2.0.0",
    "timeout": 0,
    "version": "1.0",
    "workingDirectory": "/var/holoscan/",
}
HOLOSCAN_PACKAGE = {
    "apiVersion": "1.0.0",
    "applicationRoot": "/opt/holoscan/app",
    "modelRoot": "/opt/holoscan/models",
    "models": {"model": "/opt/holoscan/models/model"},
    "resources": {"cpu": 1.5, "gpu": 1, "memory": "1Gi", "gpuMemory": "6Gi"},
    "version": "1.0",
    "platformConfig": "dgpu",
}


def said(app: object, package: object = None, folder: str = "/etc/holoscan") -> Application:
    files = {f"{folder}/app.json": json.dumps(app).encode()}
    if package is not None:
        files[f"{folder}/pkg.json"] = json.dumps(package).encode()
    found = read(files)
    assert found is not None
    return found


def holoscan(**changes: Any) -> Application:
    return said(HOLOSCAN_APP | changes)


def needs(**resources: Any) -> Application:
    return said(HOLOSCAN_APP, HOLOSCAN_PACKAGE | {"resources": resources})


def test_a_monai_package() -> None:
    assert said(MONAI_APP, MONAI_PACKAGE, "/etc/monai") == Application(
        command=("python3", "-u", "/opt/monai/app/app.py"),
        working_dir="/var/monai",
        input="/var/monai/input",
        output="/var/monai/output",
        platform=MONAI_PLATFORM,
        cpu=1,
        gpu=1,
        memory=7168,
        shared_memory=1024,
    )


def test_a_holoscan_package() -> None:
    assert said(HOLOSCAN_APP, HOLOSCAN_PACKAGE) == Application(
        command=("python3", "/opt/holoscan/app"),
        working_dir="/var/holoscan",
        input="/var/holoscan/input",
        output="/var/holoscan/output",
        environment=HOLOSCAN_APP["environment"],  # type: ignore[arg-type]
        cpu=2,
        gpu=1,
        memory=1024,
        shared_memory=1024,
    )


def test_the_least_that_a_package_says() -> None:
    assert said({"command": "/app"}, folder="/etc/monai") == Application(
        command=("/app",),
        input="/var/monai/input",
        output="/var/monai/output",
        platform=MONAI_PLATFORM,
        shared_memory=1024,
    )


def test_an_image_with_both_is_the_later_one() -> None:
    both = {path: json.dumps({"command": path}).encode() for path in PATHS}
    found = read(both)
    assert found is not None
    assert found.command == ("/etc/holoscan/app.json",)


@pytest.mark.parametrize("files", [{}, {"/etc/monai/pkg.json": b"{}"}])
def test_without_an_application_manifest_it_is_none(files: dict[str, bytes]) -> None:
    assert read(files) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["/app", "a b"], ("/app", "a b")),
        ('["/app", "a b"]', ("/app", "a b")),
        ("/app 'a b' --x=1", ("/app", "a b", "--x=1")),
        ("/app | tee log", ("/bin/sh", "-c", "/app | tee log")),
        ("A=1 /app", ("/bin/sh", "-c", "A=1 /app")),
        ("/app $HOLOSCAN_INPUT_PATH", ("/bin/sh", "-c", "/app $HOLOSCAN_INPUT_PATH")),
    ],
)
def test_commands(written: object, expected: tuple[str, ...]) -> None:
    assert holoscan(command=written).command == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["/app"], ("/app", "--config", "/var/holoscan/app.yaml")),
        ("/app; true", ("/bin/sh", "-c", "/app; true --config /var/holoscan/app.yaml")),
    ],
)
def test_an_application_of_holoscans_own_sdk_gets_its_configuration(
    written: object, expected: tuple[str, ...]
) -> None:
    assert holoscan(command=written, sdk="holoscan").command == expected


@pytest.mark.parametrize(
    ("working_dir", "written", "expected"),
    [
        ("/work", "in", "/work/in"),
        ("/work/", "./in/", "/work/in"),
        ("/work", "/data/in", "/data/in"),
        ("/", "in", "/in"),
        (None, "in", "/var/holoscan/in"),
    ],
)
def test_folders_are_relative_to_the_working_directory(
    working_dir: str | None, written: str, expected: str
) -> None:
    assert holoscan(workingDirectory=working_dir, input={"path": written}).input == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1Gi", 1024), ("1.5Gi", 1536), ("2048Mi", 2048), ("1 GiB", 1024), ("1g", 954),
        ("1GB", 954), ("100Ki", 1), (1048577, 2), (0, None), (None, None),
    ],
)  # fmt: skip
def test_memory_is_megabytes_rounded_up(written: object, expected: int | None) -> None:
    assert needs(memory=written).memory == expected


def test_a_limit_is_the_limit() -> None:
    assert needs(memory="1Gi", memoryLimit="2Gi").memory == 2048


def test_shared_memory_is_what_the_package_asks_for() -> None:
    assert needs(sharedMemory="64Mi").shared_memory == 64


def test_fragments_run_together() -> None:
    parts = {
        "a": {"cpu": 1, "gpu": 1, "memory": "1Gi", "sharedMemory": "2Gi"},
        "b": {"cpu": 2, "gpu": 1, "memory": "1Gi"},
    }
    found = needs(fragments=parts)
    assert (found.cpu, found.gpu, found.memory, found.shared_memory) == (3, 1, 2048, 2048)
    assert needs(cpu=1, fragments=parts).cpu == 1


def test_monais_first_packages_wrote_resource() -> None:
    assert said(MONAI_APP, {"resource": {"gpu": 1}}, "/etc/monai").gpu == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": None}, "`command` is missing"),
        ({"command": " "}, "`command` is missing"),
        ({"command": "[]"}, "`command` is missing"),
        ({"command": [""]}, "`command` is missing"),
        ({"command": "[1]"}, "no JSON list of texts"),
        ({"command": '["a"'}, "no JSON list of texts"),
        ({"command": "a 'b"}, "cannot be split"),
        ({"command": ["a\0"]}, "NUL"),
        ({"command": 3}, r"Expected `str \| array \| null`, got `int` - at `\$.command`"),
        ({"environment": {"A=B": "x"}}, "`environment` has 'A=B'"),
        ({"environment": {"A": "\0"}}, "`environment` has 'A'"),
        ({"environment": {"A": {}}}, "cannot be read"),
        ({"workingDirectory": "work"}, "no absolute path"),
        ({"input": {"path": "/proc/x"}}, "`input.path`: the container path `/proc/x` belongs to"),
        ({"input": {"path": "../.."}}, "`input.path`"),
        ({"output": {"path": "a:b"}}, "`output.path`"),
        ({"output": "/out"}, "cannot be read"),
    ],
)
def test_a_wrong_application_manifest_names_the_file(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineLoadError, match=r"^/etc/holoscan/app.json: .*" + message):
        holoscan(**changes)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpu": 0.5}, "`gpu` is 0.5; devices are counted"),
        ({"gpu": "two"}, "`gpu` is 'two', which is no number"),
        ({"gpu": -1}, "`gpu` is '-1'"),
        ({"gpu": True}, "`gpu` is 'True'"),
        ({"cpu": "NaN"}, "`cpu`"),
        ({"memory": "much"}, "`memory` is 'much', which is no amount"),
        ({"memory": "1Qi"}, "`memory`"),
        ({"memory": 512}, "`memory` is '512' without a unit"),
        ({"fragments": {"a": {"memory": "x"}}}, "`memory` is 'x'"),
        ({"cpu": []}, "cannot be read"),
    ],
)
def test_a_wrong_package_manifest_names_the_file(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineLoadError, match=r"^/etc/holoscan/pkg.json: .*" + message):
        needs(**resources)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(PipelineLoadError, match=r"^/etc/monai/app.json: it cannot be read"):
        read({"/etc/monai/app.json": content})
