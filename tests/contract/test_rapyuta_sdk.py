"""rapyuta.io's own SDK, in two versions, with a real daemon and real containers.

Source of the cases: the page "Package module" of the SDK.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claraedge.runner.protocol import LABEL_DEPLOYMENT, LABEL_DEPLOYMENTS
from tests.contract.conftest import free_port
from tests.contract.original import ROOT
from tests.contract.test_http_clients import HttpSite, run_sample, samples
from tests.integration.conftest import TestImages, why_podman_cannot_work
from tests.integration.daemon.conftest import IMAGE, program
from tests.rig.certificates import Authority
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(600)]

VERSIONS = ("1.4.0", "1.17.1")
TRANSPORTS = ("unix", "tls")
DRIVER = ROOT / "tests" / "contract" / "clients" / "rapyuta_driver.py"
CURL = ["curl", "--silent", "--show-error", "--unix-socket"]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64v8"}


@dataclass(kw_only=True)
class SdkSite(HttpSite):
    """A daemon that serves on its socket and by TLS, and the SDKs that call it."""

    authority: Path
    runs: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What the driver printed, by the version of the SDK and the transport."""
    secrets: list[str] = field(default_factory=list)
    """All tokens that the SDKs have sent."""

    @property
    def instance(self) -> str:
        """The id of the installation: that of the device, without dashes."""
        found: str = self.answer("/api/device-manager/v0/devices/")["response"]["data"][0]["uuid"]
        return found.replace("-", "")

    @property
    def clients(self) -> Path:
        """The folder of the SDKs; the daemon does not use it."""
        return self.folder / "clients"

    @property
    def host(self) -> dict[str, str]:
        socket = urllib.parse.quote(str(self.runtime / "http.sock"), safe="")
        return {"unix": f"http+unix://{socket}", "tls": f"https://127.0.0.1:{self.port}"}

    def run(self, version: str, transport: str) -> Any:
        """Goes through all methods once; a failure is the SDK's own."""
        if (version, transport) not in self.runs:
            self.runs[version, transport] = self._run(version, transport)
        return self.runs[version, transport]

    def _run(self, version: str, transport: str) -> Any:
        by_tls = transport == "tls"
        token = self.token if by_tls else f"secret-{uuid.uuid4()}"
        self.secrets.append(token)
        self.clients.mkdir(exist_ok=True)
        settings = self.clients / f"{version}-{transport}.json"
        settings.write_text(
            json.dumps(
                {
                    "host": self.host[transport],
                    "token": token,
                    "wrong_token": "wrong" if by_tls else None,
                    "image": f"{IMAGE}:1",
                    "command": ["sleep 1000"],
                    "failing_image": f"{IMAGE}:1",
                    "failing": ["exit 1"],
                    "missing": "localhost/ce-test/absent:1",
                    "architecture": ARCHITECTURES[platform.machine()],
                }
            )
        )
        return json.loads(
            self.python(version, DRIVER, settings, REQUESTS_CA_BUNDLE=str(self.authority))
        )

    def python(self, version: str, *arguments: str | Path, **environment: str) -> str:
        """What a program prints that has one version of the SDK, and no other."""
        ended = subprocess.run(
            [python_of(version), *arguments],
            capture_output=True, text=True, timeout=500, check=False, cwd=self.clients,
            env={"PATH": os.environ["PATH"], "HOME": str(self.clients), **environment},
        )  # fmt: skip
        assert ended.returncode == 0, f"{ended.stdout[-4000:]}{ended.stderr[-8000:]}"
        return ended.stdout


def python_of(version: str) -> Path:
    return ROOT / ".cache" / f"rapyuta-{version}-venv" / "bin" / "python"


@pytest.fixture(scope="module")
def sdk_site(
    tmp_path_factory: pytest.TempPathFactory,
    runtime_folder: Path,
    archives: TestImages,
    contract_venv: Path,
) -> Iterator[SdkSite]:
    reason = why_podman_cannot_work()
    if reason is not None:
        pytest.skip(f"no rootless Podman: {reason}")
    folder = tmp_path_factory.mktemp("sdk")
    authority = Authority(folder / "authority")
    pair = authority.issue()
    runtime = Path(tempfile.mkdtemp(prefix="r-", dir=runtime_folder), "run")
    site = SdkSite(
        program=program(),
        folder=folder,
        runtime=runtime,
        port=free_port(),
        authority=authority.certificate,
    )
    site.temporary.mkdir()
    site.configure(
        f'[http]\nlisten = ["127.0.0.1:{site.port}"]\n'
        f'[tls]\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n'
        '[deployments]\nup_seconds = 1\nvariables = {SITE = "north"}\n'
        "[engine]\ngrace_seconds = 1\n"
    )
    try:
        site.start()
        archives.load(site, f"{IMAGE}:1")
        yield site
        if left := containers(site):  # of a test that failed
            podman(site, "rm", "--force", "--time", "0", *left)
    finally:
        site.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_sdk_goes_through_its_package_module(
    sdk_site: SdkSite, version: str, transport: str
) -> None:
    found = sdk_site.run(version, transport)
    assert found["version"] == version
    assert found["seen"]["hosts"] == [sdk_site.host[transport]] * 3
    assert containers(sdk_site) == []


# --- with curl, as any other client --------------------------------------------------------------


def podman(site: SdkSite, *arguments: str) -> list[str]:
    ended = subprocess.run(
        ["podman", *arguments],
        env=site.environment, capture_output=True, text=True, timeout=60, check=True, cwd="/",
    )  # fmt: skip
    return ended.stdout.split()


def containers(site: SdkSite) -> list[str]:
    """All containers of the site's deployments, also those that have ended."""
    label = f"label={LABEL_DEPLOYMENTS}={site.instance}"
    return podman(site, "ps", "--all", "--quiet", "--filter", label)


@dataclass
class Deployed:
    """A deployment of one program."""

    site: SdkSite
    id: str

    @property
    def whole(self) -> Any:
        return self.site.answer(f"/serviceinstance/{self.id}")

    @property
    def program(self) -> Any:
        return self.whole["componentInfo"][0]["executablesStatusInfo"][0]

    @property
    def containers(self) -> list[str]:
        """Those that run, without the one that has their network."""
        label = f"label={LABEL_DEPLOYMENT}={self.id}"
        return podman(self.site, "ps", "--quiet", "--filter", label)

    def until(self, phase: str, status: str, restarts: int = 0) -> None:
        def reached() -> bool:
            found = self.whole
            return (found["phase"], found["status"]) == (phase, status) and self.program[
                "restartCount"
            ] == restarts

        until(f"{self.id} is {phase}, {status}, restarted {restarts} times", reached)

    def signal(self, name: str) -> None:
        (container,) = self.containers
        podman(self.site, "kill", "--signal", name, container)

    def end(self) -> None:
        self.site.answer(f"/v2/service_instances/{self.id}", "-X", "DELETE")
        self.until("Deployment stopped", "Stopped", self.program["restartCount"])
        package = self.whole["packageId"]
        self.site.answer(f"/serviceclass/delete?package_uid={package}", "-X", "DELETE")


def send(site: SdkSite, method: str, path: str, body: Any) -> Any:
    kind = "Content-Type: application/json"
    return site.answer(path, "-X", method, "-H", kind, "-d", json.dumps(body))


def deploy(
    site: SdkSite, name: str, command: str, policy: str = "always", **context: Any
) -> Deployed:
    """Creates a package of one program, and deploys it."""
    component = {
        "name": "main",
        "requiredRuntime": "device",
        "executables": [{"name": "program", "docker": f"{IMAGE}:1", "cmd": [command]}],
        "parameters": [{"name": "COLOUR", "default": "red"}],
        "cloudInfra": {
            "endpoints": [{"name": f"{name}-web", "port": 80, "targetPort": 8080, "proto": "HTTP"}]
        },
    }
    plans = [{"name": "default", "components": [component]}]
    manifest = {"name": name, "packageVersion": "v1", "plans": plans}
    made = send(site, "POST", "/serviceclass/add", manifest)
    ((plan, id_),) = [(one["planId"], *one["componentIds"]) for one in made["planIds"]]
    device = site.answer("/api/device-manager/v0/devices/")["response"]["data"][0]["uuid"]
    override = {"component_override": {"restart_policy": policy}}
    body = {
        "service_id": made["packageId"],
        "plan_id": plan,
        "context": {"name": name, "component_context": {id_: override}, **context},
        "parameters": {"global": {"device_ids": [device]}, id_: {"device_id": device}},
    }
    answer = send(site, "PUT", "/v2/service_instances/instanceId", body)
    return Deployed(site, answer["operation"])


#: Runs until it is asked to end, and ends well then.
WORKING = "trap 'exit 0' USR1; while :; do sleep 0.1; done"


def test_restart_policies_decide_what_an_end_means(sdk_site: SdkSite) -> None:
    always, failing, never = (
        deploy(sdk_site, policy, WORKING, policy) for policy in ("always", "on-failure", "no")
    )
    for one in (always, failing, never):
        one.until("Succeeded", "Running")
        one.signal("KILL")
    always.until("Succeeded", "Running", restarts=1)
    failing.until("Succeeded", "Running", restarts=1)
    never.until("Succeeded", "Error")
    for one in (always, failing):
        one.signal("USR1")
    always.until("Succeeded", "Running", restarts=2)
    failing.until("Succeeded", "Stopped", restarts=1)
    assert len(always.containers) == 1
    for one in (always, failing, never):
        one.end()


def test_a_killed_daemon_finds_its_deployments_again(sdk_site: SdkSite) -> None:
    found = deploy(sdk_site, "kept", WORKING)
    found.until("Succeeded", "Running")
    before = found.containers
    sdk_site.kill()
    sdk_site.start()
    found.until("Succeeded", "Running")
    assert found.containers == before
    found.end()
    assert containers(sdk_site) == []


def test_a_deployment_gets_parameters_and_the_addresses_of_others(sdk_site: SdkSite) -> None:
    parent = deploy(sdk_site, "parent", WORKING)
    parent.until("Succeeded", "Running")
    depends = [{"dependentDeploymentId": parent.id, "applicableComponentId": "", "config": {}}]
    child = deploy(sdk_site, "child", f"env | sort; {WORKING}", dependentDeployments=depends)
    child.until("Succeeded", "Running")
    bound = send(sdk_site, "PUT", f"/v2/service_instances/{parent.id}/service_bindings/b", {})
    address = bound["credentials"]["parent-web"]
    body = {"deployment": child.id}
    lines = send(sdk_site, "POST", "/claraedge.v1.Deployments/ReadLog", body)["lines"]
    environment = dict(line.rstrip("\n").partition("=")[::2] for line in lines)
    assert environment["COLOUR"] == "red"
    assert environment["SITE"] == "north"
    assert environment["parent_web_HOST"] == address["host"]
    assert environment["parent_web_PORT"] == str(address["port"]) == "8080"
    assert environment["RIO_PROJECT_ID"] == child.whole["ownerProject"]
    child.end()
    parent.end()


def test_no_token_of_the_sdk_is_stored_or_logged(sdk_site: SdkSite) -> None:
    for version in VERSIONS:
        sdk_site.run(version, "unix")
    secrets = [text.encode() for text in ("Bearer", *sdk_site.secrets) if text != sdk_site.token]
    assert len(secrets) >= 3
    searched = [sdk_site.folder / "daemon.log", *sdk_site.state.rglob("*")]
    files = [path for path in searched if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".sqlite" or "db" in path.name for path in files), files
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


# --- the page ------------------------------------------------------------------------------------


@pytest.fixture
def sdk_desk(sdk_site: SdkSite, tmp_path: Path) -> Path:
    """A folder with the files that the samples read, and `claraedge` on its path."""
    (manifest,) = samples("packages.md", "json")
    image = "docker.io/library/busybox:1.36"
    assert image in manifest
    (tmp_path / "greeter.json").write_text(manifest.replace(image, f"{IMAGE}:1"))
    (tmp_path / "sample.py").write_text(samples("packages.md", "python")[0])
    (tmp_path / "authority.pem").symlink_to(sdk_site.authority)
    command = tmp_path / "bin" / "claraedge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sdk_site.program} "$@"\n')
    command.chmod(0o755)
    (tmp_path / "claraedge").symlink_to(sdk_site.runtime)
    return tmp_path


def test_the_session_of_the_page(sdk_site: SdkSite, sdk_desk: Path) -> None:
    (session,) = [text for text in samples("packages.md", "sh") if "claraedge deploy" in text]
    printed = run_sample(sdk_site, sdk_desk, ["bash", "-eu", "-o", "pipefail", "-c", session])
    assert "PACKAGE_ID:pkg-" in printed
    assert "hello engineer" in printed
    log = sdk_site.state / "volumes" / "greetings" / "log.txt"
    assert log.read_text().startswith("hello engineer\n")
    assert containers(sdk_site) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_sample_of_the_page_runs_as_it_stands(
    sdk_site: SdkSite, sdk_desk: Path, version: str, transport: str
) -> None:
    address = "http+unix" if transport == "unix" else "https://device.example.org:30032"
    (settings,) = [text for text in samples("packages.md", "sh") if address in text]
    settings = settings.replace("https://device.example.org:30032", sdk_site.host["tls"])
    command: list[str | Path] = ["bash", "-eu", "-c", f'{settings}\n"$PYTHON" sample.py']
    python = str(python_of(version))
    printed = run_sample(sdk_site, sdk_desk, command, PYTHON=python, TOKEN=sdk_site.token)
    assert printed == "Succeeded Running\n"
    (package,) = sdk_site.answer("/v2/catalog")["services"]
    path = f"/serviceclass/delete?package_uid={package['id']}"

    def is_deleted() -> bool:
        """The containers of the deployment end after the sample."""
        kind = subprocess.run(
            [*CURL, sdk_site.runtime / "http.sock", "-X", "DELETE", f"http://localhost{path}"],
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        return b"packageId" in kind.stdout

    until("the package is not used", is_deleted)


def table(runs: dict[str, Any]) -> str:
    """The table of methods and results, by the version of the SDK."""
    sentences: list[str] = []
    results: dict[str, dict[str, list[str]]] = {}
    for version, run in runs.items():
        for row in run["rows"]:
            cell, note = row["result"], row["note"]
            if cell == "refused":
                if note not in sentences:
                    sentences.append(note)
                cell = f"refused ({sentences.index(note) + 1})"
            elif note:
                cell = f"{cell}: {note}"
            results.setdefault(row["method"], {}).setdefault(version, []).append(cell)
    lines = [f"| method | {' | '.join(runs)} |", "| --- |" + " --- |" * len(runs)]
    for method, cells in results.items():
        found = (_cell(cells.get(version, ["not in this version"])) for version in runs)
        lines.append(f"| `{method}` | {' | '.join(found)} |")
    numbered = [f"{number}. {text}" for number, text in enumerate(sentences, 1)]
    between = ["", "What the device answers where it refuses:", ""]
    return "\n".join([*lines, *between, *numbered]) + "\n"


def _cell(results: list[str]) -> str:
    """The results of one method, without a plain one where another one says more."""
    return ", ".join([one for one in results if ": " in one] or results[:1])


def test_the_page_has_the_table_of_this_run(sdk_site: SdkSite) -> None:
    by_transport = [
        table({version: sdk_site.run(version, transport) for version in VERSIONS})
        for transport in TRANSPORTS
    ]
    assert by_transport[0] == by_transport[1]
    assert by_transport[0] in (ROOT / "docs" / "packages.md").read_text(), by_transport[0]
