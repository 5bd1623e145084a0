"""The compiled contract against the facts: descriptors of Clara Deploy's own client, 0.8.1."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

import claraedge.wire

FACTS_FILE = Path(__file__).resolve().parents[2] / "facts" / "clara_wire.json"
FACTS: dict[str, Any] = json.loads(FACTS_FILE.read_text(encoding="utf-8"))["files"]


def compiled(file: str) -> FileDescriptorProto:
    module = file.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"
    proto = FileDescriptorProto()
    descriptor = importlib.import_module(f"claraedge.wire.{module}").DESCRIPTOR
    proto.ParseFromString(descriptor.serialized_pb)
    return proto


# --- a descriptor in the form of the facts -----------------------------------------------------


def of_file(proto: FileDescriptorProto) -> dict[str, Any]:
    return {
        "package": proto.package,
        "syntax": proto.syntax,
        "dependencies": list(proto.dependency),
        "options": {o.name: value for o, value in proto.options.ListFields()},
        "messages": [of_message(m, proto.package) for m in proto.message_type],
        "enums": [of_enum(e, proto.package) for e in proto.enum_type],
        "services": [of_service(s, proto.package) for s in proto.service],
        **({"EXTENSIONS": len(proto.extension)} if proto.extension else {}),
    }


def of_message(proto: DescriptorProto, scope: str) -> dict[str, Any]:
    full_name = f"{scope}.{proto.name}"
    return {
        "name": proto.name,
        "full_name": full_name,
        "map_entry": proto.options.map_entry,
        "fields": [of_field(f, proto) for f in proto.field],
        "oneofs": [o.name for o in proto.oneof_decl],
        "messages": [of_message(m, full_name) for m in proto.nested_type],
        "enums": [of_enum(e, full_name) for e in proto.enum_type],
        "reserved_ranges": [[r.start, r.end] for r in proto.reserved_range],
        "reserved_names": list(proto.reserved_name),
        **({"DEPRECATED": True} if proto.options.deprecated else {}),
    }


def of_field(proto: FieldDescriptorProto, message: DescriptorProto) -> dict[str, Any]:
    oneof = message.oneof_decl[proto.oneof_index].name if proto.HasField("oneof_index") else None
    entry = next(
        (
            m
            for m in message.nested_type
            if m.options.map_entry and proto.type_name.endswith(f".{message.name}.{m.name}")
        ),
        None,
    )
    kinds = {f.name: FieldDescriptorProto.Type.Name(f.type) for f in entry.field} if entry else {}
    return {
        "name": proto.name,
        "number": proto.number,
        "type": FieldDescriptorProto.Type.Name(proto.type).removeprefix("TYPE_").lower(),
        "type_name": proto.type_name.removeprefix(".") or None,
        "label": FieldDescriptorProto.Label.Name(proto.label).removeprefix("LABEL_").lower(),
        "json_name": proto.json_name if proto.HasField("json_name") else None,
        "oneof": oneof,
        "deprecated": proto.options.deprecated,
        "packed": proto.options.packed if proto.options.HasField("packed") else None,
        **(
            {"map": {n: k.removeprefix("TYPE_").lower() for n, k in kinds.items()}} if kinds else {}
        ),
    }


def of_enum(proto: EnumDescriptorProto, scope: str) -> dict[str, Any]:
    return {
        "name": proto.name,
        "full_name": f"{scope}.{proto.name}",
        "allow_alias": proto.options.allow_alias,
        "values": [
            {"name": v.name, "number": v.number, "deprecated": v.options.deprecated}
            for v in proto.value
        ],
    }


def of_service(proto: ServiceDescriptorProto, scope: str) -> dict[str, Any]:
    full_name = f"{scope}.{proto.name}"
    return {
        "name": proto.name,
        "full_name": full_name,
        "methods": [
            {
                "name": m.name,
                "path": f"/{full_name}/{m.name}",
                "input": m.input_type.removeprefix("."),
                "output": m.output_type.removeprefix("."),
                "client_streaming": m.client_streaming,
                "server_streaming": m.server_streaming,
                "deprecated": m.options.deprecated,
            }
            for m in proto.method
        ],
    }


def differences(fact: Any, found: Any, where: str) -> Iterator[str]:
    """Every place where the two differ, in both directions; lists of named things by name."""
    if isinstance(fact, dict) and isinstance(found, dict):
        for key in fact.keys() | found.keys():
            if key not in found:
                yield f"{where}: lacks {key}"
            elif key not in fact:
                yield f"{where}: {key} is not in the facts"
            else:
                yield from differences(fact[key], found[key], f"{where}/{key}")
    elif named(fact) and named(found) and (fact or found):
        yield from differences({f["name"]: f for f in fact}, {f["name"]: f for f in found}, where)
        if [f["name"] for f in fact] != [f["name"] for f in found]:
            yield f"{where}: another order of declaration"
    elif fact != found:
        yield f"{where}: {found!r} instead of {fact!r}"


def named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value)


# --- tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FACTS)
def test_compiled_file_equals_the_facts_both_ways(file: str) -> None:
    proto = compiled(file)
    assert proto.name == file
    assert list(differences(FACTS[file], of_file(proto), file)) == []


def test_facts_are_the_whole_platform() -> None:
    methods = [m["path"] for f in FACTS.values() for s in f["services"] for m in s["methods"]]
    assert len(FACTS) == 7
    assert len(methods) == len(set(methods)) == 43


def test_no_other_file_is_built_into_the_platforms_package() -> None:
    wire = Path(claraedge.wire.__file__).parent
    built = {
        p.relative_to(wire).as_posix().removesuffix("_pb2.py")
        for p in (wire / "nvidia").rglob("*_pb2.py")
    }
    assert built == {f.removesuffix(".proto").replace("-", "_") for f in FACTS}


def test_json_names_are_the_default_ones_so_that_variables_keeps_its_capital() -> None:
    from claraedge.wire.nvidia.clara.platform import jobs_pb2

    fields = jobs_pb2.JobsStartRequest.DESCRIPTOR.fields_by_name
    assert fields["Variables"].json_name == "Variables"
    assert fields["job_id"].json_name == "jobId"


def _renumber(p: FileDescriptorProto) -> None:
    p.message_type[0].field[0].number += 100


def _not_zigzag(p: FileDescriptorProto) -> None:
    field = next(f for m in p.message_type for f in m.field if m.name == "ResponseHeader")
    field.type = FieldDescriptorProto.TYPE_INT32


def _repeat(p: FileDescriptorProto) -> None:
    p.message_type[0].field[0].label = FieldDescriptorProto.LABEL_REPEATED


def _add_field(p: FileDescriptorProto) -> None:
    p.message_type[0].field.add(name="extra", number=99, type=FieldDescriptorProto.TYPE_BOOL)


def _drop_field(p: FileDescriptorProto) -> None:
    del p.message_type[0].field[0]


def _deprecate(p: FileDescriptorProto) -> None:
    p.message_type[0].field[0].options.deprecated = True


def _json_name(p: FileDescriptorProto) -> None:
    p.message_type[0].field[0].json_name = "another"


def _add_message(p: FileDescriptorProto) -> None:
    p.message_type.add(name="Extra")


def _swap_fields(p: FileDescriptorProto) -> None:
    p.message_type[1].field.reverse()


@pytest.mark.parametrize(
    "change",
    [
        _renumber, _not_zigzag, _repeat, _add_field, _drop_field,
        _deprecate, _json_name, _add_message, _swap_fields,
    ],
)  # fmt: skip
def test_a_changed_message_is_noticed(change: Callable[[FileDescriptorProto], None]) -> None:
    file = "nvidia/clara/platform/common.proto"
    proto = compiled(file)
    change(proto)
    assert list(differences(FACTS[file], of_file(proto), file))


def _stream(p: FileDescriptorProto) -> None:
    method = p.service[0].method[0]
    method.server_streaming = not method.server_streaming


def _rename_value(p: FileDescriptorProto) -> None:
    p.enum_type[0].value[1].number = 77


def _unpack(p: FileDescriptorProto) -> None:
    message = next(m for m in p.message_type if m.name == "JobsListRequest")
    message.nested_type[0].field[2].options.packed = False


def _drop_method(p: FileDescriptorProto) -> None:
    del p.service[0].method[2]


@pytest.mark.parametrize("change", [_stream, _rename_value, _unpack, _drop_method])
def test_a_changed_service_or_enum_is_noticed(
    change: Callable[[FileDescriptorProto], None],
) -> None:
    file = "nvidia/clara/platform/jobs.proto"
    proto = compiled(file)
    change(proto)
    assert list(differences(FACTS[file], of_file(proto), file))
