"""The comments of the protos, which the generated stubs do not have."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from importlib.resources import files

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

#: The numbers of fields in descriptor.proto, of which the paths of comments consist.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _INNER_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2

_Named = Iterator[tuple[tuple[int, ...], str]]


def descriptor_set() -> FileDescriptorSet:
    """Returns the descriptors of all protos, with comments, as `hatch_build.py` wrote them."""
    packed = files("claraedge.wire").joinpath("descriptors.pb.gz").read_bytes()
    return FileDescriptorSet.FromString(gzip.decompress(packed))


def comments(found: FileDescriptorSet) -> Mapping[str, str]:
    """Returns the comments by the full names of services, methods, messages, fields and enums.

    Values of enums have the name of their enum before theirs.
    """
    texts = {}
    for file in found.file:
        names = dict(_file(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            text = location.leading_comments or location.trailing_comments
            if name is not None and text.strip():
                lines = (line.removeprefix(" ").rstrip() for line in text.splitlines())
                texts[name] = "\n".join(lines).strip()
    return texts


def _file(file: FileDescriptorProto) -> _Named:
    for at, message in enumerate(file.message_type):
        yield from _message((_MESSAGES, at), f"{file.package}.{message.name}", message)
    for at, enum in enumerate(file.enum_type):
        yield from _enum((_ENUMS, at), f"{file.package}.{enum.name}", enum)
    for at, service in enumerate(file.service):
        path, name = (_SERVICES, at), f"{file.package}.{service.name}"
        yield path, name
        for number, method in enumerate(service.method):
            yield (*path, _METHODS, number), f"{name}.{method.name}"


def _message(path: tuple[int, ...], name: str, message: DescriptorProto) -> _Named:
    yield path, name
    for at, field in enumerate(message.field):
        yield (*path, _FIELDS, at), f"{name}.{field.name}"
    for at, nested in enumerate(message.nested_type):
        yield from _message((*path, _NESTED, at), f"{name}.{nested.name}", nested)
    for at, enum in enumerate(message.enum_type):
        yield from _enum((*path, _INNER_ENUMS, at), f"{name}.{enum.name}", enum)


def _enum(path: tuple[int, ...], name: str, enum: EnumDescriptorProto) -> _Named:
    yield path, name
    for at, value in enumerate(enum.value):
        yield (*path, _VALUES, at), f"{name}.{value.name}"
