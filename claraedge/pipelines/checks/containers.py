"""Checks the container of an operator or a service: image, tag, command, variables,
requests. Pure.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.fields import Fields
from claraedge.pipelines.model import ContainerDefinition, Requests
from claraedge.pipelines.syntax import grammar
from claraedge.pipelines.syntax.grammar import ContainerObject, RequestsObject
from claraedge.pipelines.syntax.nodes import ScalarNode, kind
from claraedge.pipelines.syntax.problems import Report, shown

#: A variable that the daemon sets, whatever a definition contains.
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"

_VARIABLE = re.compile(grammar.VARIABLE)  # as Kubernetes
_TAG = re.compile(grammar.TAG)
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"  # registry
    r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*"
    r"(?P<tag>:[^/:@]*)?"
    r"(?P<digest>@[a-z0-9]+:[0-9a-f]{32,})?"
)
_LONGEST_IMAGE = 512


def read_container(
    owner: Fields, what: str, report: Report
) -> tuple[ContainerDefinition | None, Mapping[str, str]]:
    """Reads `container:` of an operator or a service, and the variables inside it."""
    example = "`container: {image: NAME, tag: TAG}`"
    if owner.get("container") is None:
        report.error(
            "missing-property",
            owner.key("container"),
            f"{what} lacks `container`",
            f"add {example}",
        )
        return None, {}
    node = owner.object("container", example)
    if node is None:
        return None, {}
    fields = Fields(node, "a container", ContainerObject, report)
    image = fields.scalar("image", required="add `image:` with the name of a container image")
    tag = fields.scalar("tag")
    named = _image(image, tag, report) if image is not None else None
    command = _command(fields, report)
    variables = read_variables(fields, report)
    if named is None:
        return None, variables
    return ContainerDefinition(image=named[0], tag=named[1], command=command), variables


def _image(image: ScalarNode, tag: ScalarNode | None, report: Report) -> tuple[str, str] | None:
    """Returns (image, tag), with a tag inside the image name moved to the second place; None:
    reported.
    """
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
        # Podman accepts a tag or a digest, but not both.
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


def read_variables(fields: Fields, report: Report) -> dict[str, str]:
    """Reads `variables:`; whole numbers and booleans are kept as they are written, as texts."""
    node = fields.object("variables", "`variables: {NAME: value}`")
    variables: dict[str, str] = {}
    for key, value in node.entries if node is not None else ():
        if not is_variable(key.text):
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
            if key.text == VISIBLE_DEVICES:
                report.warning(
                    "variable-unused",
                    key,
                    f"`{VISIBLE_DEVICES}` is not the definition's to set: the device says which GPU"
                    " a container sees",
                    "ask for a GPU by `requests: {gpu: 1}`, and leave the variable out",
                )
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


def is_variable(text: str) -> bool:
    """Whether this is a valid name of an environment variable."""
    return _VARIABLE.fullmatch(text) is not None


def read_requests(owner: Fields, device: Device | None, report: Report) -> Requests:
    """Reads `requests:`, and compares them with the totals of the device, where it is known."""
    node = owner.object("requests", "`requests: {cpu: 1, memory: 1024, gpu: 1}`")
    if node is None:
        return Requests()
    fields = Fields(node, "requests", RequestsObject, report)
    requests = Requests(
        # 0 is the same as no request.
        cpu=fields.integer("cpu", "logical cores") or None,
        memory=fields.integer("memory", "megabytes") or None,
        gpu=fields.integer("gpu", "devices"),
        gpu_memory=fields.integer("gpu-memory", "megabytes") or None,
    )
    if requests.gpu and requests.gpu_memory:
        report.error(
            "gpu-twice",
            fields.key("gpu-memory"),
            "`gpu` asks for whole devices, and `gpu-memory` for a share of one",
            "keep one of them",
        )
    if device is not None:
        _check_device(requests, device, fields, report)
    return requests


def _check_device(requests: Requests, device: Device, fields: Fields, report: Report) -> None:
    if (requests.cpu or 0) > device.cores:
        report.warning(
            "more-than-device",
            fields.get("cpu") or fields.node,
            f"`cpu` asks for {requests.cpu} logical cores, and this device has {device.cores}; it"
            " is given all of them",
            f"ask for {device.cores} at most",
        )
    if (requests.memory or 0) > device.memory:
        report.error(
            "more-than-device",
            fields.get("memory") or fields.node,
            f"`memory` asks for {requests.memory} megabytes, and this device has {device.memory}",
            "ask for what the operator needs, or run it on a larger device",
        )
    gpus = requests.gpu or bool(requests.gpu_memory)
    if gpus and not device.gpus:
        report.warning(
            "no-gpu",
            fields.get("gpu") or fields.get("gpu-memory") or fields.node,
            "no GPU is seen on this device, so jobs of this pipeline will wait for one",
            "see that the driver is loaded and a CDI spec is there (`nvidia-ctk cdi generate`)",
        )
    elif gpus > device.gpus:
        report.error(
            "more-than-device",
            fields.get("gpu") or fields.node,
            f"`gpu` asks for {gpus} devices, and this device has {device.gpus}",
            f"ask for {device.gpus} at most; operators of one job use them in turn",
        )
