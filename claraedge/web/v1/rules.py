"""The rules of protos/http.yaml, with the methods and fields that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from claraedge.web.http.router import Template
from claraedge.web.rpc.methods import Method, descriptor
from claraedge.web.v1.readable import field_of, is_text
from claraedge.wire.http_rules import ONE_OBJECT, RULES, WITH_PAGES

_ALL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One readable path of a method."""

    method: Method
    verb: str
    """`GET`"""
    template: str
    """`/v1/jobs/{job_id}:start`"""
    body: str
    """`*`: the request as JSON; the field whose content is the body; empty: no body."""
    response: FieldDescriptor | None
    """The field that is sent; None: the whole answer."""
    has_pages: bool = False
    """Whether a request may ask for one page of the list."""
    varying: FieldDescriptor | None = None
    """The field that differs from answer to answer, of a stream that is sent as one object.

    It is left out; None: the stream is a list.
    """

    @property
    def variables(self) -> Iterable[str]:
        """The fields of the request in the path, in their order."""
        return Template(self.template).variables

    @property
    def has_json_body(self) -> bool:
        """Whether the body is the request as JSON."""
        return self.body == _ALL

    @property
    def is_raw(self) -> bool:
        """Whether answers are bytes, sent as they are."""
        field = self.response
        return field is not None and field.type == FieldDescriptor.TYPE_BYTES


def rules_of(methods: Mapping[str, Method]) -> Iterable[Rule]:
    """Yields all rules of `methods`.

    Raises ValueError if a rule names a field that its messages do not have.
    """
    for selector, verb, template, body, response in RULES:
        service, _, name = selector.rpartition(".")
        method = methods.get(f"/{service}/{name}")
        if method is None:
            continue
        answer = descriptor(method.response)
        varying = None if response else ONE_OBJECT.get(template)
        rule = Rule(
            method=method,
            verb=verb,
            template=template,
            body=body,
            response=field_of(answer, response) if response else None,
            has_pages=selector in WITH_PAGES and bool(response),
            varying=field_of(answer, varying) if verb == "GET" and varying else None,
        )
        for path in (*rule.variables, *([body] if body not in ("", _ALL) else [])):
            fields_on(descriptor(method.request), path)
        yield rule


def fields_on(kind: Descriptor, path: str) -> list[FieldDescriptor]:
    """Returns the fields on a path such as `filter.hasState`. Raises ValueError.

    The rest of a path after a map is a key of it.
    """
    found: list[FieldDescriptor] = []
    names = path.split(".")
    while names:
        field = field_of(kind, names.pop(0))
        found.append(field)
        if is_map(field):
            break
        if names:
            if field.message_type is None or is_text(field) or field.is_repeated:
                raise ValueError(f'{kind.name} has no field "{path}"')
            kind = field.message_type
    return found


def is_map(field: FieldDescriptor) -> bool:
    """Returns whether a field is a map."""
    kind = field.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)
