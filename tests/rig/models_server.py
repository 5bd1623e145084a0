"""A stub of the inference server: Triton's calls for health, load, unload and readiness.

It exists twice: as an image that needs only busybox, and as a handler for a MemoryRunner. The
second one also tracks modification times as Triton does: a model whose files are not newer than at
its last load is not loaded again, an ensemble loads its composing models too and is unloaded with
the first of them, and its own unload keeps them (triton-inference-server/core,
model_repository_manager.cc: IsModified, PollModels, UpdateGraph, CheckNode).
To load a model, the stub reads its `1/weights`. If a model has a file `1/fail`, loading is refused
with the text of that file; with `1/crash` the server ends with code 3 instead of an answer; with
`1/slow` loading lasts the number of seconds in that file.
`GET /v2/models/NAME/weights` returns what was loaded, so that operators and tests can check it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig.operators import busybox_image

PORT = 8000

_SERVE = b"""#!/bin/sh
echo "started with $*"
mkdir -p /tmp/loaded
trap 'echo "ended by TERM"; exit 0' TERM
trap 'echo "the server broke"; exit 3' HUP
busybox nc -ll -p ${PORT:-8000} -e /handle &
wait
"""

_HANDLE = b"""#!/bin/sh
read -r method target rest
length=0
while read -r name value; do
    name=$(echo "$name" | tr -d '\\r')
    [ -z "$name" ] && break
    [ "$name" = "Content-Length:" ] && length=$(echo "$value" | tr -d '\\r')
done
[ "$length" -gt 0 ] && head -c "$length" >/dev/null
answer() {
    printf 'HTTP/1.1 %s\\r\\nContent-Length: %s\\r\\nConnection: close\\r\\n\\r\\n%s' \\
        "$1" "${#2}" "$2"
    exit 0
}
echo "$method $target" >&2
model=$(echo "$target" | sed -n 's|^/v2/\\(repository/\\)*models/\\([^/]*\\)/.*|\\2|p')
case "$method $target" in
"GET /v2/health/ready") answer "200 OK" "" ;;
"POST /v2/repository/index")
    list=
    for found in $(ls /tmp/loaded); do
        list="$list${list:+,}{\\"name\\":\\"$found\\",\\"state\\":\\"READY\\"}"
    done
    answer "200 OK" "[$list]"
    ;;
*/load)
    if [ ! -e "/models/$model/1" ]; then
        answer "400 Bad Request" "{\\"error\\":\\"failed to load '$model', no such model\\"}"
    fi
    [ -e "/models/$model/1/crash" ] && kill -HUP 1 && sleep 5
    if [ -e "/models/$model/1/fail" ]; then
        answer "400 Bad Request" "{\\"error\\":\\"$(cat "/models/$model/1/fail")\\"}"
    fi
    [ -e "/models/$model/1/slow" ] && sleep "$(cat "/models/$model/1/slow")"
    cp "/models/$model/1/weights" "/tmp/loaded/$model"
    answer "200 OK" ""
    ;;
*/unload)
    rm -f "/tmp/loaded/$model"
    answer "200 OK" ""
    ;;
*/ready)
    [ -e "/tmp/loaded/$model" ] && answer "200 OK" ""
    answer "400 Bad Request" ""
    ;;
*/weights)
    [ -e "/tmp/loaded/$model" ] && answer "200 OK" "$(cat "/tmp/loaded/$model")"
    answer "400 Bad Request" ""
    ;;
*) answer "404 Not Found" "" ;;
esac
"""


def models_server_image(path: Path, name: str) -> Path:
    """Writes a docker-archive of the server to `path`, and returns it."""
    return busybox_image(
        path,
        name,
        entrypoint=("/bin/sh", "/serve"),
        files={"/serve": _SERVE, "/handle": _HANDLE},
    )


@dataclass
class ModelsServer:
    """The stub in Python: pass `listens={PORT: server.handle}` to an image of a MemoryRunner."""

    models: Path
    """The folder that the real server has at /models."""
    crash: Callable[[], None] = lambda: None
    loaded: dict[str, str] = field(default_factory=dict)
    """Weights by model; those of an ensemble are followed by those of its composing models."""
    calls: list[str] = field(default_factory=list)
    healthy: bool = True
    load_gate: asyncio.Event | None = None
    """If set, loads wait for it."""
    seen: dict[str, float] = field(default_factory=dict)
    """By model: the newest mtime (Unix seconds) of its files when it was loaded last."""

    def restarted(self) -> None:
        self.loaded.clear()
        self.seen.clear()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        length = next((int(h[15:]) for h in head if h.lower().startswith("content-length:")), 0)
        await reader.readexactly(length)
        status, body = await self.answer(method, target)
        if status:
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body.encode())
            await writer.drain()

    async def answer(self, method: str, target: str) -> tuple[int, str]:
        parts = target.strip("/").split("/")
        if target == "/v2/health/ready":
            return (200 if self.healthy else 503), ""
        if target == "/v2/repository/index":
            return 200, json.dumps([{"name": n, "state": "READY"} for n in self.loaded])
        name, what = parts[-2], parts[-1]
        if what in ("load", "unload"):
            self.calls.append(f"{what} {name}")
        if what == "load":
            return await self._load(name)
        if what == "unload":
            self.loaded.pop(name, None)
            self.seen.pop(name, None)
            for whole in self._wholes(name):
                self.loaded.pop(whole, None)
            return 200, ""
        return (200 if name in self.loaded else 400), self.loaded.get(name, "")

    async def _load(self, name: str) -> tuple[int, str]:
        if self.load_gate is not None:
            await self.load_gate.wait()
        for one in [n for n in (*self._parts(name), name) if self._changed(n)]:
            version = self.models / one / "1"
            if (version / "crash").exists():
                self.crash()
                return 0, ""
            if (version / "fail").exists():
                return 400, json.dumps({"error": (version / "fail").read_text()})
            if not version.exists():
                return 400, json.dumps({"error": f"failed to load '{one}', no such model"})
            if (version / "slow").exists():
                await asyncio.sleep(float((version / "slow").read_text()))
            for each in (one, *self._wholes(one)):
                weights = [(self.models / each / "1" / "weights").read_text()]
                self.loaded[each] = "+".join(weights + [self.loaded[p] for p in self._parts(each)])
                self.seen[each] = self._newest(each)
        return 200, ""

    def _changed(self, name: str) -> bool:
        return self._newest(name) > self.seen.get(name, -1.0)

    def _newest(self, name: str) -> float:
        folder = self.models / name
        return max(
            (p.stat().st_mtime for p in (folder, *folder.rglob("*")) if p.exists()), default=0
        )

    def _parts(self, name: str) -> list[str]:
        try:
            text = (self.models / name / "config.pbtxt").read_text()
        except FileNotFoundError:
            return []
        return re.findall('model_name: "(.*?)"', text)

    def _wholes(self, name: str) -> list[str]:
        return [other for other in self.loaded if name in self._parts(other)]
