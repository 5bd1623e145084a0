"""Requests for every method of the descriptors: sensible, senseless, and broken."""

from __future__ import annotations

import importlib
import io
import pkgutil
import random
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import claraedge.wire

PIPELINE = """
api-version: 0.4.0
name: fuzzed
parameters:
  WORD: hello
operators:
- name: first
  container: {image: hello, tag: '1'}
  variables: {WORD: "${{WORD}}"}
  input: [{path: /in}]
  output: [{path: /out}]
- name: second
  container: {image: IMAGE, tag: '1'}
  input: [{path: /in, from: first}]
  output: [{path: /out, name: left}, {path: /other, name: right}]
"""
MANIFEST = """
name: NAME
packageVersion: v1
plans:
- name: default
  metadata: {claraedge: {gpu: 0}}
  components:
  - name: front
    requiredRuntime: device
    parameters: [{name: WORD, default: hello}, {name: SIZE, default: "1"}]
    executables:
    - {name: first, docker: "hello:1", cmd: ["echo $WORD"], limits: {cpu: 0.5, memory: 64}}
    cloudInfra:
      endpoints: [{name: page, exposeExternally: true, port: 80, targetPort: 8080, proto: HTTP}]
"""
KINDS = (
    "pipeline", "job", "payload", "model", "catalog", "instance", "item", "upload", "package",
    "deployment", "route", "network", "drop",
)  # fmt: skip
#: Messages of claraedge's own services that are a thing with an id, by kind.
_THINGS = {
    f"claraedge.v1.{kind.title()}": kind
    for kind in ("upload", "package", "deployment", "route", "drop")
} | {"claraedge.v1.PrivateNetwork": "network"}
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
_ODD = (
    "", " ", "\x00", "a\x00b", "\n", "\x1b[31m", "..", "../../etc/passwd", "/", "//", "./", "a/",
    "a//b", "/a", "./a", "A", "\u202egnp", "e\u0301", "\U0001f9ea", "\ufeff", "\uffff", "\u0130",
    "ß", "ﬃ", "%s%n", "${{WORD}}", "${X}", "'; DROP TABLE jobs; --", "a" * 128, "a" * 129,
    "b" * 255, "b" * 256, "é" * 256, "c" * 3072, "/".join("d" * 1500), "nan", "-1", "0", "true",
    "null", "first", "second", "FIRST", "claraedge-engine", "clara-pod-manager", "hello.txt",
    "operators/first/hello.txt", "input/a",
)  # fmt: skip


def methods() -> list[MethodDescriptor]:
    """Every method of every service that this project describes."""
    found: list[MethodDescriptor] = []
    for module in pkgutil.walk_packages(claraedge.wire.__path__, "claraedge.wire."):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(module.name).DESCRIPTOR
            for service in descriptor.services_by_name.values():
                found += service.methods
    return found


def archive(name: str = "net", inside: str = "net", data: bytes = b"model", odd: str = "") -> bytes:
    """A model in the inference server's layout; `inside` is the name in its configuration."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(f"{name}/config.pbtxt", f'name: "{inside}"\nplatform: "onnxruntime"\n')
        packed.writestr(f"{name}/1/model.onnx", data)
        if odd:
            packed.writestr(odd, b"x")
    return file.getvalue()


@dataclass
class World:
    """Ids of what exists, or did, by kind."""

    ids: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def learn(self, response: Message) -> None:
        """Keeps the newest ids of each kind: few, so that they meet many calls."""
        if response.DESCRIPTOR.full_name == "claraedge.v1.ListItemsResponse":
            self.ids["item"] = [item.id for item in response.items[-5:]] or self.ids["item"]
        if (kind := _THINGS.get(response.DESCRIPTOR.full_name)) is not None:
            self.ids[kind] = [*self.ids[kind][-4:], getattr(response, "id")]  # noqa: B009
        for descriptor, value in response.ListFields():
            if descriptor.message_type is None or descriptor.is_repeated:
                continue
            known = self.ids.get(descriptor.name.removesuffix("_id"))
            if descriptor.message_type.name != "Identifier":
                self.learn(value)
            elif known is not None and value.value not in known:
                if len(known) >= 5:
                    known.pop(0)
                known.append(value.value)


class Requests:
    """Makes requests by descriptors; the same seed and the same world make the same."""

    def __init__(self, rng: random.Random, world: World) -> None:
        self._rng = rng
        self._world = world
        self._sane = False

    def stream(self, method: MethodDescriptor, *, sane: bool | None = None) -> list[bytes]:
        """The messages of one call, serialised: exactly one where the client does not stream.

        Without `sane`, chance says whether each field has a value that makes sense.
        """
        kind = GetMessageClass(method.input_type)
        # Many are right in all that they say: what is far off is refused at the first check.
        self._sane = self._rng.random() < 0.4 if sane is None else sane
        if not method.client_streaming:
            return [self._message(kind()).SerializeToString()]
        rng = self._rng
        count = (
            rng.choice((1, 2)) if self._sane else rng.choice((0, 1, 1, 2, 3, 5, rng.randrange(60)))
        )
        sent, first = [], self._message(kind())
        for _ in range(count):
            message = first
            if not self._sane and rng.random() < 0.5:
                message = kind()
                message.CopyFrom(first)
                if rng.random() < 0.7:
                    self._fill(message, 1, chance=0.25)
                else:
                    message.Clear()
            sent.append(message.SerializeToString())
        return sent

    def mutated(self, data: bytes) -> bytes:
        """Bytes that were a message: bits turned, parts lost, doubled, moved."""
        rng, changed = self._rng, bytearray(data)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(changed) + 1)
            length = rng.randint(1, 16)
            choice = rng.randrange(6)
            if choice == 0 and changed:
                changed[place % len(changed)] ^= 1 << rng.randrange(8)
            elif choice == 1:
                del changed[place : place + length]
            elif choice == 2:
                changed[place:place] = rng.randbytes(length)
            elif choice == 3:
                changed[place:place] = changed[: rng.randrange(64)]
            elif choice == 4:
                del changed[place:]
            else:
                changed[place:place] = b"\xff" * length
        return bytes(changed)

    def raw(self) -> bytes:
        """Bytes that never were a message, though some could be fields of one."""
        rng = self._rng
        if rng.random() < 0.5:
            return rng.randbytes(rng.choice((0, 1, 2, 7, 64, 1000, 40_000)))
        data = b""
        for _ in range(rng.randint(1, 12)):
            body = rng.randbytes(rng.randrange(40))
            tag = bytes([rng.randrange(1, 16) << 3 | rng.randrange(8)])
            data += tag + bytes([rng.choice((len(body), rng.randrange(128)))]) + body
        return data

    def archive(self) -> bytes:
        """A model, or nearly one."""
        rng, name = self._rng, self._rng.choice(("net", "Net", "..", "other"))
        inside = name if rng.random() < 0.8 else "elsewhere"
        odd = rng.choice(_ODD).replace("\x00", "") if rng.random() < 0.1 else ""
        data = archive(name, inside, rng.randbytes(rng.randrange(5000)), odd)
        return data if rng.random() < 0.8 else self.mutated(data)

    # --- inside -----------------------------------------------------------------------------

    def _message(self, message: Message) -> Message:
        chance = 1.0 if self._sane else self._rng.choice((1.0, 1.0, 0.9, 0.6, 0.2))
        self._fill(message, 0, chance=chance)
        if message.DESCRIPTOR.name == "PipelinesCreateRequest" and self._rng.random() < 0.7:
            message.ClearField("pipeline_id")  # a known one is taken
        if self._sane and message.DESCRIPTOR.file.name.endswith("/files.proto"):
            self._whole_file(message)
        return message

    def _whole_file(self, message: Message) -> None:
        """Leaves out parts and conditions; of a write, the upload or the place."""
        names = {descriptor.name for descriptor in message.DESCRIPTOR.fields}
        partial = {"offset", "limit", "if_etag", "if_absent", "checksum", "size", "after", "folder"}
        either = {self._rng.choice(("upload_id", "payload_id"))} if "finish" in names else set()
        for name in names & (partial | either):
            message.ClearField(name)
        if "finish" in names:
            setattr(message, "finish", True)  # noqa: B010

    def _fill(self, message: Message, depth: int, *, chance: float) -> None:
        if depth > 6:
            return
        fields = list(message.DESCRIPTOR.fields)
        if message.DESCRIPTOR.oneofs:  # of each one the field that is set last stays
            self._rng.shuffle(fields)
        for descriptor in fields:
            if self._rng.random() >= chance:
                continue
            if descriptor.is_repeated:
                message.ClearField(descriptor.name)
                for value in self._several(descriptor, depth, chance):
                    self._add(message, descriptor, value)
            elif descriptor.message_type is not None:
                child = getattr(message, descriptor.name)
                child.SetInParent()
                if descriptor.message_type.name == "Identifier":
                    child.value = self._id(descriptor.name.removesuffix("_id"))
                else:
                    self._fill(child, depth + 1, chance=chance)
            else:
                setattr(message, descriptor.name, self._value(descriptor))

    def _several(self, descriptor: FieldDescriptor, depth: int, chance: float) -> Iterator[object]:
        rng = self._rng
        count = (
            rng.choice((0, 1)) if self._sane else rng.choice((0, 0, 1, 2, 3, rng.randrange(200)))
        )
        kind = descriptor.message_type
        for _ in range(count):
            if kind is None:
                yield self._value(descriptor)
            elif kind.GetOptions().map_entry:
                yield (self._text("key"), self._text("value"))
            else:
                child = GetMessageClass(kind)()
                if kind.name == "Identifier":
                    name = descriptor.name.removesuffix("s").removesuffix("_id")
                    child.value = self._id("payload" if name == "input_payload" else name)
                else:
                    self._fill(child, depth + 1, chance=chance)
                yield child

    def _add(self, message: Message, descriptor: FieldDescriptor, value: object) -> None:
        target = getattr(message, descriptor.name)
        if isinstance(value, tuple):
            target[value[0]] = value[1]
        elif isinstance(value, Message):
            target.add().CopyFrom(value)
        else:
            target.append(value)

    def _value(self, descriptor: FieldDescriptor) -> object:
        rng = self._rng
        if descriptor.type in _INTEGERS:
            low, high = _INTEGERS[descriptor.type]
            return rng.choice((0, 1, low, high, max(low, -1), 0o755, rng.randint(low, high)))
        if descriptor.type == FieldDescriptor.TYPE_ENUM:
            return self._enum(descriptor.enum_type)
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        if descriptor.type == FieldDescriptor.TYPE_BYTES:
            return self._bytes(descriptor)
        if descriptor.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
            return rng.choice((0.0, -1.0, float("inf"), float("nan"), 1e300))
        if descriptor.name == "content":
            return self._definition(PIPELINE.replace("IMAGE", self._image()))
        if descriptor.name == "manifest":
            return self._definition(MANIFEST.replace("NAME", f"p{rng.randrange(10**9)}"))
        if descriptor.name in ("package", "deployment", "route", "network"):
            return self._beginning(descriptor.name)
        if descriptor.name in ("job_id", "job_ids", "ids", "epoch"):
            return self._id("job")
        if descriptor.name in ("payload_id", "model_id", "upload_id", "drop_id"):
            return self._id(descriptor.name.removesuffix("_id"))
        if descriptor.name == "page_token" and self._sane:
            return ""  # the first page
        if descriptor.containing_type.name in (
            "GetItemRequest",
            "RetryItemRequest",
            "DiscardItemRequest",
        ):
            return self._id("item")
        if descriptor.full_name == "claraedge.v1.StartDropRequest.folder" and self._sane:
            return "drops"
        if descriptor.full_name == "claraedge.v1.CreateNetworkRequest.name" and self._sane:
            return f"net {rng.randrange(10**9)}"  # unique, as its name has to be
        if descriptor.containing_type.name == "RemoveImageRequest":
            return "loaded:1" if self._sane else rng.choice(("loaded:1", "loaded", *_ODD))
        return self._text(descriptor.name)

    def _enum(self, kind: EnumDescriptor) -> int:
        rng = self._rng
        if self._sane or rng.random() < 0.8:
            return int(rng.choice(kind.values).number)
        return rng.choice((-1, 99, 2**31 - 1, -(2**31)))

    def _bytes(self, descriptor: FieldDescriptor) -> bytes:
        rng, owner = self._rng, descriptor.containing_type.name
        if self._sane:
            return {"ModelsUploadModelRequest": archive(), "LoadRequest": b"image"}.get(owner, b"x")
        if owner == "ModelsUploadModelRequest" and rng.random() < 0.7:
            return self.archive()
        if owner == "LoadRequest" and rng.random() < 0.5:
            return b"image"
        return rng.randbytes(rng.choice((0, 0, 1, 100, 5000, 70_000)))

    def _id(self, kind: str) -> str:
        rng = self._rng
        known = self._world.ids.get(kind) or []
        other = [i for ids in self._world.ids.values() for i in ids]
        chance = rng.random()
        if known and (self._sane or chance < 0.75):
            chosen = rng.choice(known)
            if rng.random() < 0.2:
                return rng.choice((chosen.upper(), str(uuid.UUID(chosen)), f" {chosen}\n"))
            return chosen
        if chance < 0.85 and other:
            return rng.choice(other)
        if chance < 0.9:
            return uuid.UUID(int=rng.getrandbits(128)).hex
        return rng.choice(_ODD)

    def _text(self, name: str) -> str:
        rng = self._rng
        if self._sane:
            words = {
                "operator_name": "first", "operator": "first", "executable": "first",
                "component": "front", "plan": "default", "image": "hello:1",
                "name": rng.choice(("a", "a", "a", "net")),
                "prefix": rng.choice(("viewer", f"report-{rng.randrange(10**9)}")),
                "ros_distro": rng.choice(("", "noetic")), "interface": "",
            }  # fmt: skip
            return words.get(name, "text")
        chance = rng.random()
        if name in ("operator_name", "operator", "executable", "component") and chance < 0.7:
            return rng.choice(("first", "second", "FIRST", "claraedge-engine", "front"))
        if name == "name" and chance < 0.5:
            return rng.choice(("a", "b", "net", "dir/c", "WORD"))
        if chance < 0.6:
            return "".join(rng.choices("abcAB/._- é\U0001f9ea", k=rng.randint(1, 20)))
        if chance < 0.97:
            return rng.choice(_ODD)
        return rng.choice("xé/\n") * rng.choice((5000, 70_000, 400_000))

    def _image(self) -> str:
        return self._rng.choice(("hello", "hello", "failing", "absent"))

    def _beginning(self, kind: str) -> str:
        """An id, a left part of one, or a name."""
        rng, known = self._rng, self._world.ids[kind]
        if known and (self._sane or rng.random() < 0.7):
            return rng.choice(known)[: rng.choice((None, None, 20))]
        return rng.choice(("", "pkg-", "dep-", "route-", "net-", "web:v1", *_ODD))

    def _definition(self, text: str) -> str:
        rng = self._rng
        chance = rng.random()
        if self._sane or chance < 0.4:
            return text
        if chance < 0.9:
            lines = text.splitlines()
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(len(lines))
                lines[place : place + rng.randrange(2)] = [
                    rng.choice((rng.choice(lines), rng.choice(_ODD), f"  {rng.choice(lines)}"))
                ]
            return "\n".join(lines)
        return rng.choice(
            (
                "[" * 2000,
                "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(200)),
                "- " * 500,
                "? " * 500,
                "\t" * 100,
                "--- \n" * 300,
                "{" + "a: {" * 300,
                "!!python/object:os.system ls",
                "x" * 200_000,
                "\x85\u2028: 1e999999999",
                "name: 0x" + "f" * 6000,
                "a: " + "9" * 6000,
            )
        )
