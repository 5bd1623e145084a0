"""Calls to the inference server: health, load and unload, by Triton's HTTP API.

Source: Triton Inference Server, HTTP/REST and the model repository extension (version 2).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import ClaraedgeError, ModelNotReadyError
from claraedge.runner.protocol import Runner
from claraedge.runner.service.http import BrokenOffError, Response, exchange
from claraedge.services.inference.load_failures import step

_ANSWER = 10.0
_UNLOAD = 30.0
_POLL = 0.1


class GoneError(Exception):
    """The server did not answer, because it is starting or has ended."""


class SlowError(GoneError):
    """The server did not answer in time."""


class _TritonError(msgspec.Struct):
    error: str = ""


class _Indexed(msgspec.Struct):
    name: str
    state: str = ""


class Triton:
    """A server in a container, at an address inside its network."""

    def __init__(
        self, runner: Runner, container: str, address: str, port: int, log: Path | None = None
    ) -> None:
        """`log`: the file with its output."""
        self._runner = runner
        self._container = container
        self._address = address
        self._port = port
        self._more = f"; more is in its log, {log}" if log else ""

    async def ready(self) -> bool:
        """Returns whether it answers and accepts requests."""
        try:
            return (await self._call("GET", "/v2/health/ready")).ok
        except GoneError:
            return False

    async def has_ready(self, model: str) -> bool:
        """Returns whether it has this model loaded. Raises GoneError, as do all methods below."""
        return (await self._call("GET", f"/v2/models/{quote(model, safe='')}/ready")).ok

    async def loaded(self) -> frozenset[str]:
        """Returns the models that it has loaded; none if it does not report them."""
        answer = await self._call("POST", "/v2/repository/index", b'{"ready":true}')
        try:
            entries = decode_json(answer.body, list[_Indexed]) if answer.ok else []
        except msgspec.MsgspecError:
            entries = []
        return frozenset(entry.name for entry in entries if entry.state in ("READY", ""))

    async def load(self, model: str, limit: float) -> None:
        """Loads a model, or reloads it.

        Raises ModelNotReadyError with the server's reason, or after `limit` seconds.
        """
        path = f"/v2/repository/models/{quote(model, safe='')}/load"
        try:
            answer = await self._call("POST", path, b"{}", limit)
        except SlowError as error:
            raise ModelNotReadyError(
                f"the inference server has not loaded the model {model} within {limit:g} s"
                f" (inference.load_seconds); raise that, or make the model smaller{self._more}"
            ) from error
        if not answer.ok:
            raise ModelNotReadyError(
                f"the inference server does not load the model {model}: {_reason(answer)}"
                f"{self._more}"
            )
        if not await self.has_ready(model):
            raise ModelNotReadyError(
                f"the inference server has loaded the model {model} but does not report it as"
                f" ready; upload it again{self._more}"
            )

    async def unload(self, model: str) -> None:
        """Unloads a model; returns once that is done, or after `_UNLOAD` seconds."""
        path = f"/v2/repository/models/{quote(model, safe='')}/unload"
        await self._call("POST", path, b"{}", _UNLOAD)
        for _ in range(int(_UNLOAD / _POLL)):  # it answers before the model is unloaded
            if not await self.has_ready(model):
                return
            await asyncio.sleep(_POLL)

    async def _call(
        self, method: str, path: str, body: bytes = b"", limit: float = _ANSWER
    ) -> Response:
        try:
            async with (
                asyncio.timeout(limit),
                self._runner.dial(self._container, self._address, self._port) as (reader, writer),
            ):
                try:
                    return await exchange(reader, writer, method, path, self._address, body)
                except BrokenOffError as error:
                    raise GoneError(f"broke off in {method} {path}") from error
        except TimeoutError as error:
            raise SlowError(f"did not answer {method} {path} within {limit:g} s") from error
        except OSError as error:
            raise GoneError(str(error)) from error


def _reason(answer: Response) -> str:
    try:
        reason = decode_json(answer.body, _TritonError).error
    except msgspec.MsgspecError:
        reason = answer.body.decode(errors="replace").strip()
    reason = reason.strip()[:2000] or f"it answered with status {answer.status}"
    advice = step(reason)
    return f"{reason}; {advice}" if advice else reason


def gone(error: GoneError) -> ClaraedgeError:
    """Returns the error for a job if the server does not return."""
    return ModelNotReadyError(f"the inference server {error}; create the job again")
