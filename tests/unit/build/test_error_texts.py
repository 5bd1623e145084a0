"""Messages of errors say what happened and to which id or path, in one form."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from claraedge import errors

PACKAGE = Path(__file__).resolve().parents[3] / "claraedge"
#: Stands for an interpolated value.
VALUE = "\0"
#: A lower-case word, a value, a number, or something quoted. Podman is a name.
BEGIN = re.compile(rf"[a-z0-9`'\"\[{VALUE}]|Podman\b")
_SAYS_NOTHING = "the request or its stream has no id, or nothing at all"
_CALLER = "the caller adds the image or the archive"
_PODMAN = "it concerns Podman and all its containers"
_OF_CLIENT = "the request that it answers says which"
_STOPS = "it concerns the daemon and all its calls"
#: Messages without an id, a path or a number, and why.
GENERAL = {
    "name the image to remove, as `list images` shows it": _SAYS_NOTHING,
    "the watch ends without a message; say what to follow": _SAYS_NOTHING,
    "the watch does not say what it follows; its first message has to": _SAYS_NOTHING,
    "the request says nothing; set follow or acknowledge": _SAYS_NOTHING,
    "the stream holds no message; send one with a name, or with the id of an upload": _SAYS_NOTHING,
    "the upload holds no message; send the model's folder as a zip archive": _SAYS_NOTHING,
    "the upload holds no message, so it names no file; an empty file needs one message with its"
    " name": _SAYS_NOTHING,
    "the request names no pipeline; set its id": _SAYS_NOTHING,
    "the request names no package; set `package` to an id or a name": _SAYS_NOTHING,
    "the call holds no request; this method needs one message": _SAYS_NOTHING,
    "the request is not the protobuf message of this method; compare the client's protos with those"
    " of claraedge": _SAYS_NOTHING,
    "the file name is empty; give the name of a file": _SAYS_NOTHING,
    "the pipeline holds no definition: nothing but blanks was found; give it the text of its YAML"
    " file": _SAYS_NOTHING,
    "the archive is empty (0 bytes); copy it again, or write it again with `docker save IMAGE -o"
    " image.tar`": _CALLER,
    "it is no file; put only image archives there": _CALLER,
    "the archive holds no image; write one with `docker save IMAGE -o image.tar`": _CALLER,
    "it was pulled, but the Podman that runs the containers does not show it; let [podman] socket"
    " name the one of this user, or leave it out": _CALLER,
    "the user of the daemon has no subordinate ids, which engine.user_namespace = nomap runs"
    " containers as: give it some (`sudo usermod --add-subuids 2000000-2065535 --add-subgids"
    " 2000000-2065535 USER`, any free range), and run `podman system migrate` as that"
    " user": _PODMAN,
    "the deadline of the request is over; send it again with a later one": _OF_CLIENT,
    "a stream of lines has no Content-Encoding; send it as it is": _OF_CLIENT,
    "the request comes from a page of another site, and may change something; only pages of this"
    " device, and programs, may send it": _OF_CLIENT,
    "the daemon ended the call while the request was sent, and its reason was lost on the way; send"
    " the request again": _OF_CLIENT,
    "the daemon is stopping; try again once it runs": _STOPS,
    "the daemon is stopping; try again": _STOPS,
    "the state is closed; try again once it runs": _STOPS,
}


class Text(NamedTuple):
    """A message of an error, with VALUE for each value. `more`: it follows another message."""

    place: str
    text: str
    more: bool = False


def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "_pb2" not in path.name and path.parent.name != "memory"  # has the words of registries
    }


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def errors_of_ours(found: dict[str, ast.Module]) -> set[str]:
    """Returns the names of ClaraedgeError and of all classes below it."""
    classes = [c for tree in found.values() for c in ast.walk(tree) if isinstance(c, ast.ClassDef)]
    known = {"ClaraedgeError"}
    while more := {c.name for c in classes if known & set(map(name_of, c.bases))} - known:
        known |= more
    return known


def texts_of(node: ast.expr) -> Iterator[str]:
    """Yields the texts that an expression can have; VALUE alone where only the run decides."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr():
            yield "".join("".join(texts_of(part)) for part in node.values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from (a + b for a in texts_of(left) for b in texts_of(right))
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*texts_of(body), *texts_of(orelse))
        case _:
            yield VALUE


def messages(found: dict[str, ast.Module]) -> list[Text]:
    ours = errors_of_ours(found)
    return [
        Text(f"{path}:{node.lineno}", text, more=place > 0)
        for path, tree in found.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name_of(node.func) in ours
        for place, argument in enumerate(node.args)
        for text in texts_of(argument)
    ]


def faults(message: Text) -> list[str]:
    """Returns what is wrong with the form of a message."""
    text = message.text
    general = message.more or text in GENERAL
    return [
        fault
        for fault, found in (
            ("is empty", not text.strip()),
            ("begins like a sentence", not BEGIN.match(text)),
            ("ends with a full stop", text.endswith(".") and not text.endswith("...")),
            ("has no id, path or number", VALUE not in text and not general),
        )
        if found
    ]


def test_the_check_finds_each_fault() -> None:
    source = """
class OwnError(ContainerError): ...
class ContainerError(ClaraedgeError): ...
raise OwnError("")
raise OwnError(f"The job {job} is gone")
raise errors.ContainerError(f"the job {job}" + (" is gone." if gone else " ends"))
raise ContainerError("the job is gone")
raise ContainerError(f"{path}: no such file", *more, reason)
raise ValueError("Not ours.")
"""
    found = messages({"jobs.py": ast.parse(source)})
    assert [(one.place, fault) for one in found for fault in faults(one)] == [
        ("jobs.py:4", "is empty"),
        ("jobs.py:4", "begins like a sentence"),
        ("jobs.py:4", "has no id, path or number"),
        ("jobs.py:5", "begins like a sentence"),
        ("jobs.py:6", "ends with a full stop"),
        ("jobs.py:7", "has no id, path or number"),
    ]


def test_messages_have_one_form() -> None:
    found = messages(trees())
    assert len(found) > 300
    assert [f"{one.place}: {one.text!r} {fault}" for one in found for fault in faults(one)] == []


def test_every_exception_is_still_used() -> None:
    assert set(GENERAL) - {one.text for one in messages(trees())} == set()


def test_errors_say_when_they_come_and_what_to_do() -> None:
    """docs/errors.md has both columns from these docstrings."""
    kinds = [kind for name, kind in vars(errors).items() if name.endswith("Error")]
    assert len(kinds) > 60
    for kind in kinds:
        when, mark, remedy = (kind.__doc__ or "").partition("To do:")
        assert mark, kind
        assert re.match(r"[A-Z].*\.$", " ".join(when.split())), kind
        assert re.match(r"[a-z].*\.$", " ".join(remedy.split())), kind
