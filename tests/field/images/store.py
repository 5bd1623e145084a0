"""Podman's storage as a test sees it: what a power cut leaves of an image is made here."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Store:
    """The storage that has `root` for its folder."""

    root: Path

    def image_id(self, name: str) -> str:
        (found,) = (i for i in self._read("images") if name in (i.get("names") or ()))
        return str(found["id"])

    def layers(self, name: str) -> list[str]:
        """The layers of an image, the top first."""
        (found,) = (i for i in self._read("images") if name in (i.get("names") or ()))
        parents = {layer["id"]: layer.get("parent", "") for layer in self._read("layers")}
        chain, layer = [], found["layer"]
        while layer:
            chain.append(layer)
            layer = parents[layer]
        return chain

    def folder(self, layer: str) -> Path:
        return self.root / "overlay" / layer

    def notes(self, kind: str) -> Path:
        return self.root / f"overlay-{kind}" / f"{kind}.json"

    def run(self, script: str, *arguments: object) -> None:
        """A shell script in Podman's user namespace, where all of a layer may be changed."""
        command = ["podman", "unshare", "sh", "-ec", script, "sh", *map(str, arguments)]
        subprocess.run(command, check=True, cwd="/", capture_output=True)

    def _read(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.notes(kind).read_bytes())
        return found
