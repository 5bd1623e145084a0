"""One entry of `operators:`, checked on its own; links between operators are `graph`'s. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from claraedge.pipelines.fields import Fields
from claraedge.pipelines.folders import Folder, check_paths, read_inputs, read_outputs
from claraedge.pipelines.model import Container, Requests
from claraedge.pipelines.nodes import ObjectNode, ScalarNode, kind
from claraedge.pipelines.problems import Report, shown

_OPERATOR = (
    "name",
    "description",
    "container",
    "input",
    "output",
    "requests",
    "variables",
    "models",
    "services",
    "import",
)
_CONTAINER = ("image", "tag", "command", "variables")
#: property -> (largest sensible value, what one of it is)
_REQUESTS = {
    "cpu": (1024, "logical cores"),
    "memory": (1 << 24, "megabytes"),
    "gpu": (64, "devices"),
}
_VARIABLE = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")  # as Kubernetes
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"  # registry
    r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*"
    r"(?P<tag>:[^/:@]*)?"
    r"(?P<digest>@[a-z0-9]+:[0-9a-f]{32,})?"
)
_LONGEST_IMAGE = 512
_INTEGER = re.compile(r"0|[1-9][0-9]{0,11}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An operator before its inputs are tied to outputs of others."""

    node: ObjectNode
    name: ScalarNode | None
    description: str
    container: Container | None
    inputs: tuple[Folder, ...]
    outputs: tuple[Folder, ...]
    variables: Mapping[str, str]
    requests: Requests


def read_operator(node: ObjectNode, typed: bool, report: Report) -> Draft | None:
    """`typed`: the api-version asks for types. None: another kind of entry, which is refused."""
    fields = Fields(node, "an operator", _OPERATOR, report)
    if fields.has("import"):
        fields.refuse_later(
            "import",
            "an operator from another file",
            "write the operator here, with `name` and `container`",
        )
        return None
    fields.refuse_later(
        "models",
        "models served by Triton",
        "remove `models`, and carry the model in the operator's image",
    )
    fields.refuse_later(
        "services",
        "containers beside the operators",
        "remove `services`, and start what it does inside the operator's container",
    )
    name = fields.name("name", "an operator", required="add `name:`")
    container, inner = _container(fields, report)
    inputs = read_inputs(fields, typed, report)
    outputs = read_outputs(fields, typed, report)
    check_paths((*inputs, *outputs), report)
    description = fields.get("description")
    return Draft(
        node=node,
        name=name,
        description=description.text if isinstance(description, ScalarNode) else "",
        container=container,
        inputs=inputs,
        outputs=outputs,
        # Published pipelines write variables at both places; the operator's own win.
        variables={**inner, **_variables(fields, report)},
        requests=_requests(fields, report),
    )


def _container(operator: Fields, report: Report) -> tuple[Container | None, Mapping[str, str]]:
    example = "`container: {image: NAME, tag: TAG}`"
    if operator.get("container") is None:
        report.error(
            "missing-property",
            operator.key("container"),
            "an operator lacks `container`",
            f"add {example}",
        )
        return None, {}
    node = operator.object("container", example)
    if node is None:
        return None, {}
    fields = Fields(node, "a container", _CONTAINER, report)
    image = fields.scalar("image", required="add `image:` with the name of a container image")
    tag = fields.scalar("tag")
    named = _image(image, tag, report) if image is not None else None
    command = _command(fields, report)
    variables = _variables(fields, report)
    if named is None:
        return None, variables
    return Container(image=named[0], tag=named[1], command=command), variables


def _image(image: ScalarNode, tag: ScalarNode | None, report: Report) -> tuple[str, str] | None:
    """(image, tag); a tag written in the image is moved to its place."""
    if tag is not None and not tag.unresolved and _TAG.fullmatch(tag.text) is None:
        report.error(
            "invalid-tag",
            tag,
            f"{shown(tag.text)} is no tag of an image",
            "use 1 to 128 letters, digits, `_`, `.` and `-`; a digest belongs to the image, as"
            " `image: NAME@sha256:...`",
        )
        return None
    wanted = tag.text if tag is not None else "latest"
    if image.unresolved:
        return image.text, wanted
    found = _IMAGE.fullmatch(image.text) if len(image.text) <= _LONGEST_IMAGE else None
    inside = found["tag"][1:] if found is not None and found["tag"] else None
    if found is None or (inside is not None and _TAG.fullmatch(inside) is None):
        report.error(
            "invalid-image",
            image,
            f"{shown(image.text)} is no name of an image",
            "write it as `clara/dicom-reader`, in small letters and without blanks or `://`",
        )
        return None
    if found["digest"]:
        if tag is not None:
            report.warning(
                "tag-unused",
                tag,
                "the image is pinned by its digest, so the tag has no effect",
                "remove `tag`, or the digest",
            )
        # Podman takes a tag or a digest, not both.
        return image.text[: found.start("tag")] + found["digest"] if inside else image.text, wanted
    if inside is None:
        return image.text, wanted
    if tag is not None and tag.text != inside:
        report.error(
            "two-tags",
            tag,
            f"the image names the tag {shown(inside)} already",
            "keep the tag at one place",
        )
        return None
    return image.text[: found.start("tag")], inside


def _command(container: Fields, report: Report) -> tuple[str, ...]:
    value = container.get("command")
    if isinstance(value, ScalarNode):
        try:
            words = shlex.split(value.text)[:12]
        except ValueError:
            words = ["program", "argument"]
        report.error(
            "command-not-list",
            value,
            "`command` is a single value",
            f"write a list, one entry an argument: `command: {json.dumps(words)[:200]}`",
        )
        return ()
    parts = []
    for item in container.items("command", '`command: ["program", "argument"]`'):
        if not isinstance(item, ScalarNode):
            report.error(
                "wrong-type",
                item,
                f"an entry of `command` is {kind(item)}",
                "write a text; one that begins with a bracket or holds `: ` needs quotes",
            )
        elif item.plain and not item.text:
            report.error(
                "empty-value",
                item,
                "an entry of `command` is empty",
                'write `""` for an empty argument, or remove the line',
            )
        elif _no_nul(item, report):
            parts.append(item.text)
    return tuple(parts)


def _variables(fields: Fields, report: Report) -> dict[str, str]:
    node = fields.object("variables", "`variables: {NAME: value}`")
    variables: dict[str, str] = {}
    for key, value in node.entries if node is not None else ():
        if len(key.text) > 255 or _VARIABLE.fullmatch(key.text) is None:
            report.error(
                "invalid-variable",
                key,
                f"{shown(key.text)} is no name for a variable",
                "use letters, digits, `_`, `.` and `-`, and no digit in front",
            )
        elif not isinstance(value, ScalarNode):
            report.error(
                "wrong-type",
                value,
                f"the variable {shown(key.text)} is {kind(value)}",
                "write a single value; put a text that begins with a bracket in quotes",
            )
        elif _no_nul(value, report):
            variables[key.text] = "" if value.null else value.text
    return variables


def _no_nul(node: ScalarNode, report: Report) -> bool:
    if "\0" not in node.text:
        return True
    report.error(
        "nul-character",
        node,
        "the text holds a NUL, which no program can be given",
        "remove the `\\0`",
    )
    return False


def _requests(operator: Fields, report: Report) -> Requests:
    node = operator.object("requests", "`requests: {cpu: 1, memory: 1024, gpu: 1}`")
    if node is None:
        return Requests()
    fields = Fields(node, "requests", tuple(_REQUESTS), report)
    # Zero asks for nothing, as if it were not written.
    return Requests(
        cpu=_integer(fields, "cpu", report) or None,
        memory=_integer(fields, "memory", report) or None,
        gpu=_integer(fields, "gpu", report),
    )


def _integer(fields: Fields, name: str, report: Report) -> int | None:
    node = fields.scalar(name)
    if node is None or node.unresolved:
        return None
    largest, unit = _REQUESTS[name]
    if _INTEGER.fullmatch(node.text) is None:
        report.error(
            "not-an-integer",
            node,
            f"`{name}` is {shown(node.text)}",
            f"write a whole number of {unit} from 0 to {largest}, without a unit",
        )
        return None
    number = int(node.text)
    if number > largest:
        report.error(
            "out-of-bounds",
            node,
            f"`{name}` asks for {number} {unit}",
            f"write a whole number of {unit} from 0 to {largest}",
        )
        return None
    return number
