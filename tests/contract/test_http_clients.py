"""HTTP clients that others wrote, and the samples of the documentation, with a real daemon."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import CAMPAIGN
from tests.contract.conftest import free_port
from tests.contract.flows import GREET
from tests.contract.original import ROOT
from tests.contract.test_other_languages import PACKAGES, PROTOS
from tests.contract.test_other_languages import descriptors as descriptors
from tests.contract.test_other_languages import node as node
from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages, why_podman_cannot_work
from tests.integration.daemon.conftest import IMAGE, program
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(600)]

MIB = 1 << 20
#: Bytes of a large file.
LARGE = (1024 if CAMPAIGN else 96) * MIB


@dataclass(kw_only=True)
class HttpSite(Site):
    """A site that serves HTTP on a port of the loopback."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return self.say("token", f"--state-dir={self.state}").strip()

    def curl(self, path: str, *arguments: str | Path) -> bytes:
        """The body of an answer, of the Unix socket."""
        socket = self.runtime / "http.sock"
        ended = subprocess.run(
            ["curl", "--silent", "--show-error", "--fail-with-body", "--unix-socket", socket,
             *arguments, f"http://localhost{path}"],
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, (ended.returncode, ended.stderr, ended.stdout[:2000])
        return ended.stdout

    def answer(self, path: str, *arguments: str | Path) -> Any:
        return json.loads(self.curl(path, *arguments))

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def payload(self) -> str:
        made: str = self.answer("/v1/payloads", "-X", "POST")["payloadId"]
        return made


@contextlib.contextmanager
def http_site(
    program: Path, folder: Path, runtime_folder: Path, settings: str = ""
) -> Iterator[HttpSite]:
    """A daemon that serves, with these settings more. Skips where Podman cannot work."""
    reason = why_podman_cannot_work()
    if reason is not None:
        pytest.skip(f"no rootless Podman: {reason}")
    # A socket's path is at most 107 bytes: not below pytest's own folders.
    runtime = Path(tempfile.mkdtemp(prefix="h-", dir=runtime_folder), "run")
    site = HttpSite(program=program, folder=folder, runtime=runtime, port=free_port())
    site.temporary.mkdir()
    listen = f'[http]\nlisten = ["127.0.0.1:{site.port}"]\n'
    site.configure(f"{listen}[engine]\ngrace_seconds = 1\n{settings}")
    try:
        site.start()
        yield site
    finally:
        site.stop()
        shutil.rmtree(runtime.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, runtime_folder: Path, archives: TestImages
) -> Iterator[HttpSite]:
    with http_site(program(), tmp_path_factory.mktemp("site"), runtime_folder) as site:
        archives.load(site, f"{IMAGE}:1")
        yield site


def greeted(site: HttpSite) -> str:
    """Runs a job to its end, and returns its id."""
    site.folder.joinpath("greet.yaml").write_text(GREET)
    definition = f"@{site.folder}/greet.yaml"
    path = "/v1/pipelines:register?definition.path=greet.yaml"
    pipeline = site.answer(path, "--data-binary", definition)["pipelineId"]
    body = json.dumps({"pipelineId": pipeline, "name": "greet"})
    made = site.answer("/v1/jobs", "-H", "Content-Type: application/json", "-d", body)
    name = site.folder / "name.txt"
    name.write_text("wörld\n")
    site.curl(f"/v1/payloads/{made['payloadId']}/files/", "-T", name)
    site.curl(f"/v1/jobs/{made['jobId']}:start", "-X", "POST")
    until(
        "the job has stopped",
        lambda: site.answer(f"/v1/jobs/{made['jobId']}")["state"] == "JOB_STATE_STOPPED",
    )
    job: str = made["jobId"]
    return job


# --- Connect for the web -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "binary"])
def test_a_client_of_connect_for_the_web_reads_jobs(
    node: Path, site: HttpSite, descriptors: Path, form: str
) -> None:
    job = greeted(site)
    ended = subprocess.run(
        [node, ROOT / "tests" / "contract" / "node" / "web.js", descriptors, site.url, site.token,
         form],
        input=json.dumps({"jobId": job}), capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": "/usr/bin:/bin", "NODE_PACKAGES": str(PACKAGES)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert (seen["status"]["state"], seen["status"]["status"]) == (
        "JOB_STATE_STOPPED", "JOB_STATUS_HEALTHY",
    )  # fmt: skip
    assert job in seen["listed"]
    assert seen["version"]["version"]["minor"] == 8
    assert seen["device"] == site.answer("/v1/status")["version"]
    assert seen["refusal"] == {"code": "NotFound", "name": "job-not-found"}


# --- large files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(os.urandom(MIB))
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("client", ["tus-js-client", "tuspy"])
def test_an_upload_by_tus_continues_after_the_daemon_was_killed(
    request: pytest.FixtureRequest, contract_venv: Path, node: Path, site: HttpSite, large: Path,
    tmp_path: Path, client: str,
) -> None:  # fmt: skip
    payload = site.payload()
    endpoint = f"{site.url}/v1/payloads/{payload}/uploads"
    program: list[str | Path] = (
        [node, ROOT / "tests" / "contract" / "node" / "tus.js"]
        if client == "tus-js-client"
        else [contract_venv / "bin" / "python", ROOT / "tests/contract/clients/tus_upload.py"]
    )
    killed = 0
    with subprocess.Popen(
        [*program, large, endpoint, site.token, "large.bin"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": "/usr/bin:/bin", "NODE_PACKAGES": str(PACKAGES)},
    ) as uploading:  # fmt: skip
        assert uploading.stdout is not None
        assert uploading.stderr is not None
        for line in uploading.stdout:
            if int(line) > (killed + 1) * LARGE // 4 and killed < 2:
                killed += 1
                site.kill()
                assert site.launch()
                until("the daemon serves again", site.serves)
        errors = uploading.stderr.read()
        assert uploading.wait(60) == 0, errors
    assert killed == 2
    (file,) = site.answer(f"/v1/payloads/{payload}/files")
    assert (file["name"], int(file["size"])) == ("/large.bin", LARGE)
    read = tmp_path / "read.bin"
    site.curl(f"/v1/payloads/{payload}/files/large.bin", "-o", read)
    assert sha256(read) == sha256(large)


def test_curl_continues_a_download_and_sends_a_file(
    site: HttpSite, large: Path, tmp_path: Path
) -> None:
    payload = site.payload()
    site.curl(f"/v1/payloads/{payload}/files/a%20b/", "-T", large)
    part = tmp_path / "part.bin"
    with large.open("rb") as source:
        part.write_bytes(source.read(LARGE // 3))
    site.curl(f"/v1/payloads/{payload}/files/a%20b/large.bin", "-C", "-", "-o", part)
    assert sha256(part) == sha256(large)


# --- OpenAPI -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def openapi(site: HttpSite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(site.curl("/openapi.json"))
    return path


def test_a_generated_client_creates_starts_and_reads_a_job(
    contract_venv: Path, site: HttpSite, openapi: Path, tmp_path: Path
) -> None:
    made = tmp_path / "generated"
    ended = subprocess.run(
        [contract_venv / "bin" / "openapi-python-client", "generate", "--path", openapi,
         "--output-path", made, "--meta", "none"],
        capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
        env={"PATH": f"{contract_venv}/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    greeted(site)
    pipelines = site.answer("/v1/pipelines")
    client = subprocess.run(
        [contract_venv / "bin" / "python", ROOT / "tests/contract/clients/generated_client.py",
         made, site.url, site.token, pipelines[-1]["pipelineId"]],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert client.returncode == 0, client.stdout + client.stderr
    seen = json.loads(client.stdout)
    assert site.answer(f"/v1/jobs/{seen['job']}")["name"] == "generated"
    assert seen["started"] == "JOB_STATE_PENDING"
    assert seen["status"] in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_STOPPED")


def test_no_request_that_the_description_allows_ends_in_a_fault_of_the_device(
    contract_venv: Path, site: HttpSite, openapi: Path, tmp_path: Path
) -> None:
    """Schemathesis sends what fits each operation, and what does not."""
    seed = int.from_bytes(os.urandom(3), "big") if CAMPAIGN else 5
    print(f"seed {seed}")
    ended = subprocess.run(
        [contract_venv / "bin" / "schemathesis", "run", openapi, "--url", site.url,
         "--header", f"Authorization: Bearer {site.token}", "--seed", str(seed),
         "--max-examples", "100" if CAMPAIGN else "5",
         "--phases", "examples,coverage,fuzzing" if CAMPAIGN else "fuzzing",
         "--checks", "not_a_server_error,status_code_conformance", "--request-timeout", "20",
         "--generation-database", "none", "--continue-on-failure", "--no-color",
         "--exclude-operation-id-regex", "Watch|Utilization|GpuMetrics|ServerReflection|Health"],
        capture_output=True, text=True, timeout=3600 if CAMPAIGN else 500, check=False,
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, f"seed {seed}\n{ended.stdout[-8000:]}{ended.stderr[-2000:]}"


# --- a browser -----------------------------------------------------------------------------------

SCRIPT = "window.canary = 'ran'; fetch('/v1/payloads', {method: 'POST'})"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT}"><script>{SCRIPT}</script></svg>'
HOSTILE = {
    "page.html": f'<script>{SCRIPT}</script><img src=x onerror="{SCRIPT}">',
    "page.htm": f'<body onload="{SCRIPT}">',
    "picture.svg": SVG,
    "data.xml": f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>{SCRIPT}'
    "</script></html>",
    "data.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><script>{SCRIPT}</script></html>',
    "picture.png": f"<script>{SCRIPT}</script>",
    "data.json": f"<script>{SCRIPT}</script>",
    "no-extension": f"<script>{SCRIPT}</script>",
    "text.txt": f"<html><script>{SCRIPT}</script>",
    "report.pdf": f"<script>{SCRIPT}</script>",
    "<img src=x onerror=alert(1)>.txt": "a name with markup",
}


def test_results_with_scripts_in_them_run_nothing_in_a_browser(
    contract_venv: Path, site: HttpSite, tmp_path: Path
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("apt-get install chromium")
    payload = site.payload()
    paths = []
    for name, text in HOSTILE.items():
        file = tmp_path / "file"
        file.write_text(text)
        target = f"/v1/payloads/{payload}/files/{_quoted(name)}"
        site.curl(target, "-T", file)
        paths.append(target)
    paths.append(f"/v1/payloads/{payload}/files")
    before = len(site.answer("/v1/payloads/" + payload))
    ended = subprocess.run(
        [contract_venv / "bin" / "python", ROOT / "tests" / "contract" / "clients" / "canary.py",
         site.url, site.token, json.dumps(paths)],
        capture_output=True, text=True, timeout=240, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    (cookie,) = seen.pop("cookies")
    assert cookie == {"httpOnly": True, "sameSite": "Strict", "path": "/"}
    assert seen.pop("visible") == ""
    assert "token" not in seen.pop("address")
    for path, found in seen.items():
        assert found["canary"] is None, path
        assert [one for one in found["requests"] if one.startswith(("POST", "dialog"))] == [], path
    assert len(site.answer("/v1/payloads/" + payload)) == before


def _quoted(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else f"%{ord(c):02X}" for c in name)


# --- the samples of the documentation ------------------------------------------------------------


def samples(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(site: HttpSite, tmp_path: Path) -> Path:
    """A folder with the files that the samples read, and `claraedge` on its path."""
    (definition,) = samples("http.md", "yaml")
    image = definition.replace("docker.io/library/busybox", IMAGE).replace('"1.36"', '"1"')
    (tmp_path / "pipeline.yaml").write_text(image)
    (tmp_path / "protos").symlink_to(PROTOS)
    (tmp_path / "name.txt").write_text("wörld\n")
    command = tmp_path / "bin" / "claraedge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {site.program} "$@" --state-dir={site.state}\n')
    command.chmod(0o755)
    (tmp_path / "claraedge").symlink_to(site.runtime)
    return tmp_path


def run_sample(site: HttpSite, desk: Path, command: list[str | Path], **more: str) -> str:
    ended = subprocess.run(
        command, cwd=desk, capture_output=True, text=True, timeout=240, check=False,
        env={
            "PATH": f"{desk}/bin:/usr/bin:/bin", "HOME": str(desk), "XDG_RUNTIME_DIR": str(desk),
            "LANG": "C.UTF-8", **more,
        },
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_session_with_curl(site: HttpSite, desk: Path) -> None:
    session = [text for text in samples("http.md", "sh") if "ask " in text]
    assert len(session) == 2  # of jobs, and of files
    command: list[str | Path] = ["bash", "-eu", "-o", "pipefail", "-c", "\n".join(session)]
    printed = run_sample(site, desk, command)
    assert "JOB_STATUS_HEALTHY" in printed
    assert "/operators/up/name.txt" in printed
    assert "done\n" in printed
    assert (desk / "greeting.txt").read_text() == "hello WöRLD\n"
    assert (desk / "part.txt").read_text() == "wörld\n"
    for archive, name in (("results.zip", "greet/greeting.txt"), ("series.zip", "name.txt")):
        with zipfile.ZipFile(desk / archive) as found:
            assert name in found.namelist()


def test_the_sample_in_python_with_requests(
    site: HttpSite, desk: Path, contract_venv: Path
) -> None:
    sample = next(text for text in samples("languages.md", "python") if "import requests" in text)
    text = sample.replace("http://127.0.0.1:30032", site.url)
    printed = run_sample(site, desk, [contract_venv / "bin" / "python", "-c", text])
    assert printed.splitlines() == [
        "JOB_STATUS_HEALTHY",
        "/operators/greet/greeting.txt hello WöRLD",
        "/operators/up/name.txt WöRLD",
    ]


def test_the_sample_in_javascript(site: HttpSite, desk: Path, node: Path) -> None:
    job = greeted(site)
    (sample,) = samples("languages.md", "js")
    run_sample(site, desk, ["bash", "-eu", "-c", samples("languages.md", "sh")[0]])
    (desk / "sample.js").write_text(sample.replace("http://127.0.0.1:30032", site.url))
    (desk / "node_modules").symlink_to(PACKAGES / "node_modules")
    assert f"greet {job}" in run_sample(site, desk, [node, "sample.js"])


def test_the_sample_in_python_with_grpc(site: HttpSite, desk: Path) -> None:
    job = greeted(site)
    sample = next(text for text in samples("languages.md", "python") if "import grpc" in text)
    stubs = samples("languages.md", "sh")[1].replace("python", sys.executable, 1)
    run_sample(site, desk, ["bash", "-eu", "-c", stubs])
    printed = run_sample(site, desk, [sys.executable, "-c", sample], PYTHONPATH=str(desk))
    assert printed.startswith("0 8\n")
    assert f"greet {job}" in printed
