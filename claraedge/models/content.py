"""Checks that files are what a model needs, and not pointers, web pages or gaps in their place.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from claraedge.errors import InvalidModelError
from claraedge.formats.filetypes import not_content
from claraedge.models.config import ModelConfig
from claraedge.models.layout import CONFIG, Layout

_MAX_SHOWN = 20
#: Extensions of files with weights; an empty one is an interrupted copy.
_WEIGHTS = (
    *(".onnx", ".pt", ".pth", ".plan", ".engine", ".trt", ".pb", ".graphdef", ".savedmodel"),
    *(".safetensors", ".bin", ".h5", ".hdf5", ".data", ".tflite", ".npz", ".npy", ".xml"),
)
#: An entry `location` of a tensor's external data (onnx.proto3, TensorProto.external_data): its tag
#: and length, then its key and the length of its value.
_LOCATION = re.compile(rb"\x6a(?:[\x0d-\x7f]|[\x80-\xff]\x01)\x0a\x08location\x12([\x01-\x7f])")


def check(
    config: ModelConfig, layout: Layout, sizes: Mapping[str, int], heads: Mapping[str, bytes]
) -> None:
    """Checks the files of a model.

    `sizes`: path -> bytes; `heads`: path -> the first bytes. Raises InvalidModelError with every
    problem.
    """
    problems = [
        f"{path!r} {what}"
        for path in layout.files
        if (what := not_content(heads[path])) is not None
    ]
    problems += [
        f"{path!r} is empty (0 bytes): the copy or the download of it broke off; get it again"
        for path in layout.files
        if not sizes[path] and _needs_content(path)
    ]
    if config.of_files:
        problems += [
            f"the version folder {version!r} is empty: put the model's file there, such as"
            f" {version}/model.onnx, or remove the folder"
            for version in layout.versions
            if not any(path.startswith(f"{version}/") for path in layout.files)
        ]
    if problems:
        raise InvalidModelError(*problems[:_MAX_SHOWN])


def _needs_content(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.endswith(_WEIGHTS) or name.startswith("model.") or path == CONFIG


def locations(piece: bytes) -> Iterator[str]:
    """Yields the files in which, according to a piece of an ONNX file, its weights are."""
    for found in _LOCATION.finditer(piece):
        name = piece[found.end() : found.end() + found.group(1)[0]]
        if len(name) == found.group(1)[0]:
            try:
                yield name.decode()
            except UnicodeDecodeError:  # bytes of weights that match by chance
                continue


def check_parts(path: str, named: Collection[str], files: Collection[str]) -> None:
    """Checks that the files named by an ONNX file exist. Raises InvalidModelError."""
    folder = path.rpartition("/")[0]
    missing = sorted(name for name in named if f"{folder}/{name.removeprefix('./')}" not in files)
    if missing:
        raise InvalidModelError(
            f"{path!r} has its weights in {', '.join(map(repr, missing[:5]))}, which the model does"
            " not hold: put all files of the export into the same folder"
        )
