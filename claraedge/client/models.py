"""Calls of the Models service, and the local folder that an upload reads.

Every call also raises what the methods of `Connection` raise.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.client.connection import HEADER, Connection
from claraedge.client.prefix import by_prefix, full_id
from claraedge.client.values import ModelInfo
from claraedge.errors import InvalidModelError, InvalidModelIdError, ModelNotFoundError
from claraedge.formats import filetypes, modelfiles, zips
from claraedge.formats.filenames import DEFAULT, Names
from claraedge.wire.nvidia.clara.platform import models_pb2 as pb
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub

#: Names of the types on Clara's command line, and in the protos without their prefix.
TYPES = {
    "tensorflow": "TENSOR_FLOW",
    "tensorrt": "TENSOR_RT",
    "pytorch": "PY_TORCH",
    "unknown": "UNKNOWN",
}

_CONFIG = "config.pbtxt"
#: Names of parts of split archives, as 7-Zip, zip and WinRAR make them.
_PART = re.compile(r"\.(zip|7z|rar)\.\d{3}$|\.[zr]\d\d$", re.IGNORECASE)
_CHUNK = 1024 * 1024


def size_of(path: Path, names: Names = DEFAULT) -> int:
    """Returns the bytes that an upload of a folder or an archive reads."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in _content(path.resolve(), names).files)


def upload(
    connection: Connection,
    path: Path,
    kind: str,
    progress: Callable[[int], object],
    names: Names = DEFAULT,
) -> tuple[ModelInfo, Sequence[str]]:
    """Uploads the model of a folder or a zip archive; returns it, and notes on files left out.

    `kind` is the name of a type in the protos, without its prefix. The name of the folder becomes
    that of the model. `progress` is called with the bytes that are read; `names` decide what is
    left out. Raises InvalidModelError before anything is sent if the path is obviously not a model.
    """
    notes: tuple[str, ...] = ()
    if path.is_dir():
        pieces, notes = _pack(path, progress, names)
    else:
        pieces = _read(path, progress)
    details = pb.ModelDetails(type=pb.ModelType.Value(f"MODEL_TYPE_{kind}"))

    def requests() -> Iterator[pb.ModelsUploadModelRequest]:
        for data in zips.regroup(pieces, _CHUNK):
            yield pb.ModelsUploadModelRequest(header=HEADER, details=details, data=data)

    reply = connection.send(ModelsStub(connection.channel).UploadModel, requests())
    return _model(reply.details), [*notes, *reply.header.messages]


@dataclass(frozen=True, slots=True)
class _Content:
    """The contents of the folder of a model."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    unfinished: tuple[Path, ...]


def _content(folder: Path, names: Names) -> _Content:
    files: list[Path] = []
    passed: list[str] = []
    for place, folders, others in os.walk(folder):  # noqa: TID251 the caller's
        below = Path(place).relative_to(folder).parts
        for name in sorted((*folders, *others)):
            found = modelfiles.left_out((*below, name), names)
            if found is not None:
                passed.append(found)
            elif name in others:
                files.append(Path(place, name))
        folders[:] = [n for n in folders if modelfiles.left_out((*below, n), names) is None]
    unfinished = tuple(file for file in files if modelfiles.is_unfinished(file.name, names))
    return _Content(tuple(files), tuple(passed), unfinished)


def _pack(
    path: Path, progress: Callable[[int], object], names: Names
) -> tuple[Iterator[bytes], tuple[str, ...]]:
    folder = path.resolve()
    if not (folder / _CONFIG).is_file():
        raise InvalidModelError(_no_config(path, folder))
    content = _content(folder, names)
    if content.unfinished:
        raise InvalidModelError(
            f"{content.unfinished[0]} has the name of a file that is still being copied or"
            " downloaded; let that end, or remove the file, and try again"
        )

    def passes(found: Path) -> bool:
        return modelfiles.left_out(found.relative_to(folder).parts, names) is not None

    name = path.name if path.name not in ("", "..") else folder.name  # of a link, not of its target
    pieces = zips.pack(folder, name, progress, passes)
    return pieces, modelfiles.note(content.left_out)


def _no_config(path: Path, folder: Path) -> str:
    inner = sorted(found.parent.name for found in folder.glob(f"*/{_CONFIG}"))
    if inner:
        return (
            f"{path} holds no config.pbtxt, and the folder {inner[0]} in it does: send that one,"
            f" claraedge create model -p {path / inner[0]} -t TYPE"
        )
    near = sorted(
        found.name for found in folder.glob("*") if modelfiles.is_meant_as_config(found.name)
    )
    if near:
        return (
            f"{path} holds {near[0]}, and the inference server reads only config.pbtxt; rename the"
            " file"
        )
    return (
        f"{path} holds no config.pbtxt: it is not the folder of a model in the layout of the"
        " Triton inference server, with config.pbtxt and a folder for each version (1, 2)"
    )


def _read(path: Path, progress: Callable[[int], object]) -> Iterator[bytes]:
    if _PART.search(path.name):
        raise InvalidModelError(f"{path} {filetypes.is_split()}")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            head = file.read(filetypes.HEAD)
        raise InvalidModelError(f"{path} {filetypes.not_a_zip(head)}")

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                yield data
                progress(len(data))

    return pieces()


def list_all(connection: Connection) -> list[ModelInfo]:
    """Returns all models, in the order of their first upload."""
    replies = connection.stream(
        ModelsStub(connection.channel).ListModels, pb.ModelsListModelsRequest(header=HEADER)
    )
    return [_model(details) for reply in replies for details in reply.models]


def delete(connection: Connection, model_id: str) -> None:
    """Removes a model."""
    request = pb.ModelsDeleteModelRequest(header=HEADER, model_id=Identifier(value=model_id))
    connection.unary(ModelsStub(connection.channel).DeleteModel, request)


def resolve_all(connection: Connection, texts: Iterable[str]) -> Sequence[str]:
    """Returns the ids of the models that the texts mean, each once.

    Each text is a full id or a unique prefix of one. Raises InvalidModelIdError or
    ModelNotFoundError for the first text that means no model.
    """
    known = {model.id: model.name for model in list_all(connection)}
    found: dict[str, None] = {}
    for text in texts:
        means = by_prefix(
            full_id(text) or text,
            known,
            noun="model",
            invalid=InvalidModelIdError,
            missing=ModelNotFoundError,
            see="claraedge list models",
        )
        found[means] = None
    return list(found)


def _model(details: pb.ModelDetails) -> ModelInfo:
    names = {number: name.removeprefix("MODEL_TYPE_") for name, number in pb.ModelType.items()}
    return ModelInfo(
        id=details.model_id.value,
        name=details.name,
        type=names.get(details.type, str(details.type)),
        metadata=dict(details.metadata),
    )
