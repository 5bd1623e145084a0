"""Builds claraedge/wire from protos/: for wheels, sdists and editable installs, or by hand.

    python hatch_build.py

needs the packages of `[build-system] requires`. Protobuf files keep their names as the contract has
them (`nvidia/clara/platform/jobs.proto`); only the Python modules move below `claraedge.wire`, so
that they cannot meet another package's `nvidia`.
"""

from __future__ import annotations

import gzip
import hashlib
import inspect
import pprint
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "claraedge.wire"
#: All descriptors with the comments of the protos, which the stubs do not have.
DESCRIPTORS = "descriptors.pb.gz"


class WireBuildHook(BuildHookInterface[Any]):
    """Generates the stubs before hatchling collects files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        generate(Path(self.root))


def protos_digest(protos: Path) -> str:
    """SHA-256 over the names and bytes of all files of the contract below `protos`."""
    digest = hashlib.sha256()
    for file in sorted([*protos.rglob("*.proto"), *protos.glob("*.yaml")]):
        name, content = file.relative_to(protos).as_posix().encode(), file.read_bytes()
        digest.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return digest.hexdigest()


def generate(root: Path) -> None:
    """Writes `root`/claraedge/wire; files appear by rename, the stamp last."""
    protos, wire = root / "protos", root / "claraedge" / "wire"
    digest = protos_digest(protos)
    with tempfile.TemporaryDirectory(dir=wire, prefix=".build-") as scratch:
        out = Path(scratch)
        compile_protos(protos, out)
        for file in out.rglob("*.py*"):
            file.write_text(moved(file.read_text(encoding="utf-8"), protos), encoding="utf-8")
        for folder in [f for f in out.rglob("*") if f.is_dir()]:
            (folder / "__init__.py").touch()
        (out / "http_rules.py").write_text(http_rules(protos), encoding="utf-8")
        fresh = sorted(f.relative_to(out) for f in out.rglob("*") if f.is_file())
        remove_stale(wire, fresh)
        for name in fresh:
            (wire / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).replace(wire / name)
        (out / "_stamp.py").write_text(stamp(digest), encoding="utf-8")
        (out / "_stamp.py").replace(wire / "_stamp.py")


def compile_protos(protos: Path, out: Path) -> None:
    """Runs protoc for messages, services, their type stubs, and the set of all descriptors."""
    from grpc_tools import protoc

    # A pip build has the plugins' console scripts in one place, a virtual environment in another.
    # The interpreter that runs this finds the module in both.
    plugins = {}
    for plugin, function in {"mypy": "main", "mypy_grpc": "grpc"}.items():
        script = out / f"protoc-gen-{plugin}"
        script.write_text(
            f"#!/bin/sh\nexec '{sys.executable}' -c"
            f" 'from mypy_protobuf.main import {function}; {function}()'\n",
            encoding="utf-8",
        )
        script.chmod(0o755)
        plugins[plugin] = script
    files = sorted(f.relative_to(protos).as_posix() for f in protos.rglob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={protos}",
            f"--proto_path={resources.files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            *(f"--plugin=protoc-gen-{name}={script}" for name, script in plugins.items()),
            *(f"--{name}_out=quiet:{out}" for name in plugins),
            f"--descriptor_set_out={out / 'set'}",
            "--include_imports",
            "--include_source_info",
            *files,
        ]
    )
    if code != 0:
        raise SystemExit(f"protoc ended with code {code}; its messages stand above")
    for script in plugins.values():
        script.unlink()
    # The same protos, the same bytes.
    packed = gzip.compress((out / "set").read_bytes(), 9, mtime=0)
    (out / DESCRIPTORS).write_bytes(packed)
    (out / "set").unlink()


def moved(source: str, protos: Path) -> str:
    """The module with imports of generated modules turned to `claraedge.wire`."""
    tops = "|".join(sorted(re.escape(d.name) for d in protos.iterdir() if d.is_dir()))
    source = re.sub(rf"^(\s*from )((?:{tops})\.)", rf"\1{PACKAGE}.\2", source, flags=re.M)
    return re.sub(rf"^(\s*import )((?:{tops})\.)", rf"\1{PACKAGE}.\2", source, flags=re.M)


def remove_stale(wire: Path, fresh: list[Path]) -> None:
    """Removes modules of .proto files that are gone."""
    tops = {name.parts[0] for name in fresh}
    for folder in [f for f in wire.iterdir() if f.is_dir()]:
        if folder.name.startswith((".build-", "__")):
            continue
        if folder.name not in tops:
            shutil.rmtree(folder)
            continue
        for file in [f for f in folder.rglob("*.py*") if "__pycache__" not in f.parts]:
            if file.relative_to(wire) not in fresh:
                file.unlink()


def http_rules(protos: Path) -> str:
    """The module `http_rules`: http.yaml and http-more.yaml as values; a start reads no YAML."""
    import yaml

    service, more = (
        yaml.safe_load((protos / name).read_text(encoding="utf-8"))
        for name in ("http.yaml", "http-more.yaml")
    )
    found = []
    for rule in service["http"]["rules"]:
        for binding in (rule, *rule.get("additional_bindings", ())):
            (verb,) = {"get", "put", "post", "delete", "patch"} & binding.keys()
            body, response = binding.get("body", ""), binding.get("response_body", "")
            found.append((rule["selector"], verb.upper(), binding[verb], body, response))
    values = {
        "RULES: list[tuple[str, str, str, str, str]]": found,
        "WITH_PAGES: list[str]": more["with-pages"],
        "ONE_OBJECT: dict[str, str]": more["one-object"],
        "WITHOUT_RULE: dict[str, str]": more["without-rule"],
    }
    lines = [f"{name} = {pprint.pformat(value, width=100)}" for name, value in values.items()]
    return "\n".join(['"""Generated by hatch_build.py from protos/http*.yaml."""\n', *lines, ""])


def stamp(digest: str) -> str:
    """The module `_stamp`: the digest, and the function that made it."""
    return (
        '"""Generated by hatch_build.py: what this build was made from."""\n\n'
        "import hashlib\nfrom pathlib import Path\n\n"
        f'DIGEST = "{digest}"\n\n\n{inspect.getsource(protos_digest)}'
    )


if __name__ == "__main__":
    generate(Path(__file__).resolve().parent)
