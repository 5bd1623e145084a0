"""Calls of the Models service, and the local folder on the other side of an upload."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from claraedge import zips
from claraedge.client.connection import HEADER, Connection
from claraedge.client.prefix import by_prefix, full_id
from claraedge.client.values import Model
from claraedge.errors import InvalidModelError, InvalidModelIdError, ModelNotFoundError
from claraedge.wire.nvidia.clara.platform import models_pb2 as pb
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.models_pb2_grpc import ModelsStub

#: As Clara's command line spells the types, and as the contract does, without its prefix.
TYPES = {
    "tensorflow": "TENSOR_FLOW",
    "tensorrt": "TENSOR_RT",
    "pytorch": "PY_TORCH",
    "unknown": "UNKNOWN",
}

_CHUNK = 1024 * 1024


def size_of(path: Path) -> int:
    """Bytes that an upload of a folder or of an archive reads."""
    if path.is_file():
        return path.stat().st_size
    return sum(Path(f, name).stat().st_size for f, _, names in os.walk(path) for name in names)


def upload(
    connection: Connection, path: Path, kind: str, progress: Callable[[int], object]
) -> Model:
    """Stores the model of a folder, or of a zip archive; `kind` is a name of the contract's.

    The folder's own name is the model's. `progress` is told the bytes that are read. Raises
    InvalidModelError before anything is sent where the path is no model at first sight.
    """
    pieces = _pack(path, progress) if path.is_dir() else _read(path, progress)
    details = pb.ModelDetails(type=pb.ModelType.Value(f"MODEL_TYPE_{kind}"))

    def requests() -> Iterator[pb.ModelsUploadModelRequest]:
        for data in zips.regroup(pieces, _CHUNK):
            yield pb.ModelsUploadModelRequest(header=HEADER, details=details, data=data)

    return _model(connection.send(ModelsStub(connection.channel).UploadModel, requests()).details)


def _pack(path: Path, progress: Callable[[int], object]) -> Iterator[bytes]:
    folder = path.resolve()
    if not (folder / "config.pbtxt").is_file():
        raise InvalidModelError(
            f"{path} holds no config.pbtxt: it is not the folder of a model in the layout of the"
            " Triton inference server, with config.pbtxt and a folder for each version (1, 2)"
        )
    return zips.pack(folder, folder.name, progress)


def _read(path: Path, progress: Callable[[int], object]) -> Iterator[bytes]:
    if not zipfile.is_zipfile(path):
        raise InvalidModelError(f"{path} is neither a folder nor a zip archive")

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                yield data
                progress(len(data))

    return pieces()


def list_all(connection: Connection) -> list[Model]:
    """All models, in the order of their first upload."""
    replies = connection.stream(
        ModelsStub(connection.channel).ListModels, pb.ModelsListModelsRequest(header=HEADER)
    )
    return [_model(details) for reply in replies for details in reply.models]


def delete(connection: Connection, model_id: str) -> None:
    """Removes a model."""
    request = pb.ModelsDeleteModelRequest(header=HEADER, model_id=Identifier(value=model_id))
    connection.unary(ModelsStub(connection.channel).DeleteModel, request)


def resolve_all(connection: Connection, texts: Iterable[str]) -> Sequence[str]:
    """The models that the texts mean, each once: whole ids, or unique prefixes of one.

    Raises InvalidModelIdError, ModelNotFoundError for the first that means none.
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
            look="claraedge list models",
        )
        found[means] = None
    return list(found)


def _model(details: pb.ModelDetails) -> Model:
    names = {number: name.removeprefix("MODEL_TYPE_") for name, number in pb.ModelType.items()}
    return Model(
        id=details.model_id.value,
        name=details.name,
        type=names.get(details.type, str(details.type)),
        metadata=dict(details.metadata),
    )
