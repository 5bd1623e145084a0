"""Wrong definitions, as data.

In a text, each § marks the place of one problem and is taken out before the text is loaded; the
codes stand in the order of the marks. A code with a `?` in front is a warning. Several files stand
in `wrong_sets`.
"""

from __future__ import annotations

HEAD = "api-version: 0.4.0\nname: p\noperators:\n"
#: One whole operator, and the beginning of another.
READER = (
    "- name: reader\n  container: {image: r}\n  input: [{path: /in}]\n  output: [{path: /out}]\n"
)
NEXT = "- name: next\n  container: {image: n}\n"
NAMED = (
    "- name: split\n  container: {image: s}\n"
    "  output: [{path: /a, name: left}, {path: /b, name: right}]\n"
)


def operator(text: str) -> str:
    return HEAD + "- name: a\n  container: {image: i}\n" + text


def container(text: str) -> str:
    return HEAD + "- name: a\n  container:\n" + text


def service(text: str) -> str:
    return operator("  services:\n  - name: s\n    container: {image: i}\n") + text


def connection(text: str) -> str:
    return service("    connections:\n" + text)


def typed(output: str, entry: str) -> str:
    """An operator that writes, and one that reads."""
    return (
        "api-version: 0.5.0\nname: p\noperators:\n"
        f"- name: a\n  container: {{image: i}}\n  output: [{output}]\n"
        f"- name: b\n  container: {{image: i}}\n  input: [{entry}]\n"
    )


def value(entry: str) -> str:
    """An output in shared memory."""
    return operator(f"  output: [{entry}]\n")


def ordered(*orders: str) -> str:
    """Operators a, b, ... with an `order` each."""
    names = "abcdefgh"
    return HEAD + "".join(
        f"- name: {name}\n  container: {{image: i}}\n  order: {order}\n"
        for name, order in zip(names, orders, strict=False)
    )


WRONG: dict[str, tuple[str, str]] = {
    # claraedge's own
    "retry without attempts": (operator("  retry: §{backoff: 1}\n"), "missing-property"),
    "no attempt": (operator("  retry: {attempts: §0}\n"), "out-of-bounds"),
    "retry is a number": (operator("  retry: §3\n"), "wrong-type"),
    "exit codes of success and of letters": (
        operator("  retry: {attempts: 2, except: [§0, §x, 2]}\n"),
        "invalid-exit-code invalid-exit-code",
    ),
    "timeout with a unit": (operator("  timeout: §10s\n"), "not-an-integer"),
    "no time": (operator("  timeout: §0\n"), "out-of-bounds"),
    "no time for the job": ("timeout: §0\n" + operator(""), "out-of-bounds"),
    "no such network": (operator("  network: §host\n"), "unknown-network"),
    "a way out next to services": (
        operator("  network: §outside\n  models: [{name: m}]\n"),
        "network-twice",
    ),
    "whole GPU and a share of one": (
        operator("  requests: {gpu: 1, §gpu-memory: 512}\n"),
        "gpu-twice",
    ),
    # the file
    "empty": ("§", "empty-document"),
    "comments only": ("§# nothing\n# here\n", "empty-document"),
    "a list": ("§- a\n- b\n", "wrong-type"),
    "a text": ("# hello\n§pipeline\n", "wrong-type"),
    "two documents": (HEAD + READER + "§---\nname: q\n", "several-documents"),
    "tab": ("api-version: 0.4.0\noperators:\n§\t- name: a\n", "yaml-tab"),
    "bracket not closed": (HEAD + "- name: [a\n  container§: x\n", "yaml-syntax"),
    "colon in a text": ("api-version: 0.4.0\nname: a§: b\n", "yaml-syntax"),
    "text begins with @": ("name: §@p\n", "yaml-syntax"),
    "placeholder in a flow list": (
        container("    image: i\n    command: [$§{{ X }}]\n"),
        "yaml-syntax",
    ),
    "control character": ("name: p§\x07\n", "unprintable-character"),
    "duplicate key": (
        "api-version: 0.4.0\nname: p\n§name: q\n" + "operators:\n" + READER,
        "duplicate-key",
    ),
    "duplicate key twice": (
        operator("  requests:\n    gpu: 1\n    §gpu: 2\n  §name: b\n"),
        "duplicate-key duplicate-key",
    ),
    "custom tag": (HEAD + "- name: §!secret a\n", "custom-tag"),
    "python tag": ("§!!python/object/apply:os.system ['true']\n", "custom-tag"),
    "integer tag": ("name: §!!int 3\n", "custom-tag"),
    "unknown alias": ("name: §*base\n", "unknown-alias"),
    "alias to itself": ("name: &a [§*a]\n", "unknown-alias"),
    "merge": ("x: &x {a: b}\ny:\n  §<<: *x\n", "merge-key"),
    "list as a key": ("§[a]: b\n", "key-not-text"),
    "too deep": ("a: " + "[" * 63 + "§[" + "]" * 64, "too-deep"),
    # the pipeline
    "nothing required": (
        "§§§description: nothing else\n",
        "missing-property missing-property no-operators",
    ),
    "no api-version": ("§name: p\noperators:\n" + READER, "missing-property"),
    "short api-version": (
        "api-version: §0.4\nname: p\noperators:\n" + READER,
        "unknown-api-version",
    ),
    "new api-version": (
        "api-version: §0.9.0\nname: p\noperators:\n" + READER,
        "unknown-api-version",
    ),
    "no name": ("§api-version: 0.4.0\noperators:\n" + READER, "missing-property"),
    "empty name": ("api-version: 0.4.0\n§name:\noperators:\n" + READER, "empty-value"),
    "name with blanks": (
        "api-version: 0.4.0\nname: §my pipeline\noperators:\n" + READER,
        "invalid-name",
    ),
    "long name": (f"api-version: 0.4.0\nname: §{'n' * 256}\noperators:\n" + READER, "invalid-name"),
    "name is a list": ("api-version: 0.4.0\nname: §[p]\noperators:\n" + READER, "wrong-type"),
    "no operators": ("§api-version: 0.4.0\nname: p\n", "no-operators"),
    "empty operators": ("api-version: 0.4.0\nname: p\n§operators: []\n", "no-operators"),
    "operators are an object": (
        "api-version: 0.4.0\nname: p\noperators:\n  §reader:\n    image: x\n",
        "wrong-type",
    ),
    "operator is a text": (HEAD + "- §reader\n", "wrong-type"),
    "misspelt property": (
        "§api-version: 0.4.0\nname: p\n§operator:\n" + READER,
        "no-operators ?unknown-property",
    ),
    "orchestrator unknown": (
        "api-version: 0.4.0\nname: p\norchestrator: §clara\noperators:\n" + READER,
        "unknown-orchestrator",
    ),
    # an operator
    "operator without name": (HEAD + "- §container: {image: i}\n", "missing-property"),
    "operator without container": (HEAD + "- §name: a\n", "missing-property"),
    "operator with empty container": (HEAD + "- name: a\n  §container:\n", "missing-property"),
    "operator name": (HEAD + "- name: §../a\n  container: {image: i}\n", "invalid-name"),
    "second operator of a name reads the first": (
        HEAD + READER + "- name: §reader\n  container: {image: i}\n  order: [reader]\n",
        "duplicate-operator",
    ),
    "two operators, one name": (
        HEAD + READER + "- name: §READER\n  container: {image: i}\n",
        "duplicate-operator",
    ),
    # its container
    "no image": (HEAD + "- name: a\n  container: §{tag: '1'}\n", "missing-property"),
    "empty image": (container("    §image: ''\n"), "empty-value"),
    "image with capitals": (container("    image: §clara/Reader\n"), "invalid-image"),
    "image with a scheme": (container("    image: §docker://clara/reader\n"), "invalid-image"),
    "image with a blank": (container("    image: §clara reader\n"), "invalid-image"),
    "tag with a slash": (container("    image: i\n    tag: §a/b\n"), "invalid-tag"),
    "digest as a tag": (container("    image: i\n    tag: §sha256:abc\n"), "invalid-tag"),
    "two tags": (container("    image: i:1\n    tag: §2\n"), "two-tags"),
    "misspelt image": (
        HEAD + "- name: a\n  container:\n    §§imgae: i\n",
        "missing-property ?unknown-property",
    ),
    "command is a text": (
        container("    image: i\n    command: §python app.py\n"),
        "command-not-list",
    ),
    "command is an object": (container("    image: i\n    command: §{a: b}\n"), "wrong-type"),
    "command holds a list": (container("    image: i\n    command: [a, §[b]]\n"), "wrong-type"),
    "command holds nothing": (
        container("    image: i\n    command:\n    - a\n    -§\n"),
        "empty-value",
    ),
    "command holds NUL": (container('    image: i\n    command: [§"a\\0b"]\n'), "nul-character"),
    # variables and requests
    "variables are a list": (operator("  variables: §[A=1]\n"), "wrong-type"),
    "variable is a list": (operator("  variables: {A: §[1]}\n"), "wrong-type"),
    "variable name": (
        operator("  variables:\n    §1A: x\n    §A=B: y\n"),
        "invalid-variable invalid-variable",
    ),
    "variable holds NUL": (operator('  variables: {A: §"\\0"}\n'), "nul-character"),
    "gpu is true": (operator("  requests: {gpu: §true}\n"), "not-an-integer"),
    "gpu is negative": (operator("  requests: {gpu: §-1}\n"), "not-an-integer"),
    "half a cpu": (operator("  requests: {cpu: §0.5}\n"), "not-an-integer"),
    "memory with a unit": (operator("  requests: {memory: §512Mi}\n"), "not-an-integer"),
    "memory with zeros in front": (operator("  requests: {memory: §0512}\n"), "not-an-integer"),
    "too much memory": (operator("  requests: {memory: §17179869184}\n"), "out-of-bounds"),
    "endless number": (operator(f"  requests: {{cpu: §{'9' * 5000}}}\n"), "not-an-integer"),
    "requests are a list": (operator("  requests: §[gpu]\n"), "wrong-type"),
    "requests all wrong": (
        operator("  requests: {cpu: §2000, memory: §1GB, gpu: §65}\n"),
        "out-of-bounds not-an-integer out-of-bounds",
    ),
    # folders
    "input is an object": (operator("  input: §{path: /in}\n"), "wrong-type"),
    "input is a text": (operator("  input: [§/in]\n"), "wrong-type"),
    "input without path": (operator("  input: [§{name: x}]\n"), "missing-property"),
    "relative path": (operator("  input: [{path: §in}]\n"), "relative-path"),
    "dots": (operator("  input: [{path: §/in/../etc}]\n"), "unsafe-path"),
    "relative dots": (operator("  output: [{path: §../out}]\n"), "relative-path"),
    "root": (operator("  input: [{path: §/}]\n"), "reserved-path"),
    "proc": (operator("  input: [{path: §/proc}]\n"), "reserved-path"),
    "below sys": (operator("  output: [{path: §//sys/fs/}]\n"), "reserved-path"),
    "shared memory folder": (operator("  output: [{path: §/dev/shm}]\n"), "reserved-path"),
    "etc": (operator("  input: [{path: §/etc/}]\n"), "reserved-path"),
    "colon in a path": (operator("  input: [{path: §'/in:ro'}]\n"), "unsafe-path"),
    "line break in a path": (operator('  input: [{path: §"/in\\nput"}]\n'), "unsafe-path"),
    "long path": (operator(f"  input: [{{path: §/{'a' * 256}}}]\n"), "unsafe-path"),
    "same path twice": (
        operator("  input: [{path: /data}]\n  output: [{path: §/data/}]\n"),
        "duplicate-path",
    ),
    "path inside a path": (
        operator("  input: [{path: /data/in}]\n  output: [{path: §/data}]\n"),
        "nested-path",
    ),
    "paths inside a path": (
        operator("  input: [{path: /d}, {path: §/d/x}]\n  output: [{path: §/d/y}]\n"),
        "nested-path nested-path",
    ),
    "path inside a path, with a like name": (
        operator("  input: [{path: /d}, {path: /d-x}]\n  output: [{path: §/d/y}]\n"),
        "nested-path",
    ),
    "output has no from": (
        operator("  output: [{path: /out, §from: a}]\n  input: [{path: §in}]\n"),
        "?unknown-property relative-path",
    ),
    "two unnamed outputs": (
        operator("  output: [§{path: /a}, §{path: /b}]\n"),
        "unnamed-output unnamed-output",
    ),
    "outputs of one name": (
        operator("  output: [{path: /a, name: x}, {path: /b, name: §X}]\n"),
        "duplicate-output",
    ),
    "output name": (operator("  output: [{path: /a, name: §a/b}]\n"), "invalid-name"),
    "empty from": (operator("  input: [{path: /in, §from: }]\n"), "empty-value"),
    # links
    "unknown operator": (
        HEAD + READER + NEXT + "  input: [{path: /in, from: §raeder}]\n",
        "unknown-operator",
    ),
    "unknown output": (
        HEAD + NAMED + NEXT + "  input: [{path: /in, from: split, name: §rihgt}]\n",
        "unknown-output",
    ),
    "name of an unnamed output": (
        HEAD + READER + NEXT + "  input: [{path: /in, from: reader, name: §out}]\n",
        "unknown-output",
    ),
    "named output not named": (
        HEAD
        + "- name: a\n  container: {image: i}\n  output: [{path: /o, name: mask}]\n"
        + NEXT
        + "  input: [{path: /in, from: §a}]\n",
        "output-not-chosen",
    ),
    "upstream without output": (
        HEAD + "- name: a\n  container: {image: i}\n" + NEXT + "  input: [{path: /in, from: §a}]\n",
        "no-output",
    ),
    "upstream with nothing for output": (
        HEAD
        + "- name: a\n  container: {image: i}\n  output:\n"
        + "- name: b\n  container: {image: i}\n  output: []\n"
        + NEXT
        + "  input: [{path: /in, from: §a, name: x}, {path: /b, from: §b}]\n",
        "no-output no-output",
    ),
    "from itself": (
        operator("  input: [{path: /in, from: §A}]\n  output: [{path: /out}]\n"),
        "operator-names-itself",
    ),
    "cycle of two": (
        HEAD
        + "- name: a\n  container: {image: i}\n  input: [{path: /in, from: §b}]\n"
        + "  output: [{path: /o}]\n"
        + "- name: b\n  container: {image: i}\n  input: [{path: /in, from: a}]\n"
        + "  output: [{path: /o}]\n",
        "cycle",
    ),
    # types
    "unknown type": (operator("  input: [{path: /in, type: §steam}]\n"), "unknown-type"),
    "stream with a shape": (
        operator("  input: [{path: /in, type: stream, §shape: [1]}]\n"),
        "shape-of-stream",
    ),
    "element-type alone": (
        operator("  input: [{path: /in, §element-type: dicom}]\n"),
        "missing-property",
    ),
    "element types differ": (
        HEAD
        + "- name: a\n  container: {image: i}\n"
        + "  output: [{path: /o, type: stream, element-type: png}]\n"
        + NEXT
        + "  input: [{path: /in, from: a, type: stream, element-type: §dicom}]\n",
        "element-type-differs",
    ),
    "type is a list": (operator("  input: [{path: /in, type: §[stream]}]\n"), "wrong-type"),
    "type of nothing": (operator("  input: [{path: /in, §type: }]\n"), "empty-value"),
    "stream without path": (operator("  input: [§{type: stream}]\n"), "missing-property"),
    "stream without path, typed": (
        typed(
            "§{name: o, type: stream, element-type: png}",
            "{from: a, name: o, path: /in, type: stream, element-type: png}",
        ),
        "missing-property",
    ),
    "no type in 0.5.0": (
        typed("§{name: o, path: /out}", "§{from: a, name: o, path: /in}"),
        "missing-property missing-property",
    ),
    "no name in 0.7.0": (
        "api-version: 0.7.0\nname: p\noperators:\n- name: a\n  container: {image: i}\n"
        "  output:\n  - §path: /out\n    type: stream\n    element-type: png\n",
        "unnamed-output",
    ),
    "neither name nor type in 0.6.0": (
        "api-version: 0.6.0\nname: p\noperators:\n- name: a\n  container: {image: i}\n"
        "  output: [§§{path: /out}]\n",
        "missing-property unnamed-output",
    ),
    "stream without label": (
        typed(
            "{name: o, type: §stream, path: /out}",
            "{from: a, name: §x, type: stream, element-type: png, path: /in}",
        ),
        "?missing-element-type unknown-output",
    ),
    "array near a word": (
        value("{name: x, type: §aray, element-type: u8, shape: [3]}"),
        "unknown-type",
    ),
    "primitive near a word": (value("{name: x, type: §flaot32}"), "unknown-type"),
    "primitive that is none": (value("{name: x, type: §f8}"), "unknown-type"),
    "array with a path": (
        value("{name: x, type: array, element-type: u8, shape: [3], §path: /out}"),
        "path-of-value",
    ),
    "string with everything": (
        value("{name: x, type: string, §path: /out, §element-type: u8, §shape: [1]}"),
        "path-of-value element-type-of-value shape-of-value",
    ),
    "primitive with everything": (
        value("{name: x, type: Float32, §path: /out, §element-type: u8, §shape: [1]}"),
        "path-of-value element-type-of-value shape-of-value",
    ),
    "array with nothing": (
        value("§§{name: x, type: array}"),
        "missing-property missing-property",
    ),
    "array without shape": (
        value("§{name: x, type: array, element-type: u8}"),
        "missing-property",
    ),
    "shape of nothing": (
        value("{name: x, type: array, element-type: u8, §shape: }"),
        "missing-property",
    ),
    "shape without lengths": (
        value("{name: x, type: array, element-type: u8, §shape: []}"),
        "missing-property",
    ),
    "shape is a number": (
        value("{name: x, type: array, element-type: u8, shape: §3}"),
        "wrong-type",
    ),
    "lengths that are none": (
        value(
            "{name: x, type: array, element-type: u8,"
            " shape: [§0, §-2, §x, §1.5, §[1], §'', 3, -1, §99999999999999]}"
        ),
        "invalid-shape " * 7,
    ),
    "seventeen dimensions": (
        value(f"{{name: x, type: array, element-type: u8, shape: §{[1] * 17}}}"),
        "out-of-bounds",
    ),
    "more elements than memory": (
        value("{name: x, type: array, element-type: u8, shape: §[1048576, 1048577]}"),
        "out-of-bounds",
    ),
    "elements of no known type": (
        value("{name: x, type: array, element-type: §flot32, shape: [3]}"),
        "unknown-element-type",
    ),
    "elements are strings": (
        value("{name: x, type: array, element-type: §string, shape: [3]}"),
        "unknown-element-type",
    ),
    "value without a name": (value("§{type: u8}"), "missing-property"),
    "value with an empty name": (value("{type: u8, §name: ''}"), "empty-value"),
    "value with a wrong name": (value("{type: u8, name: §../x}"), "invalid-name"),
    "two values of one name": (
        value("{type: u8, name: x}, {type: string, name: §X}"),
        "duplicate-output",
    ),
    "two values of one name, by an alias": (
        value("&x {type: u8, name: §x}, *x"),
        "duplicate-output",
    ),
    "value from the payload": (
        operator("  input: [{type: §array, element-type: u8, shape: [3], name: x}]\n"),
        "value-from-payload",
    ),
    "value read twice": (
        typed(
            "{name: x, type: u8}",
            "{from: a, name: x, type: u8}, {from: A, name: §X, type: uint8}",
        ),
        "duplicate-input",
    ),
    "value without its name": (
        typed("{name: x, type: u8}", "§{from: a, type: u8}"),
        "missing-property",
    ),
    "element types of streams differ": (
        typed(
            "{name: o, type: stream, element-type: png, path: /out}",
            "{from: a, name: o, path: /in, type: stream, element-type: §dicom}",
        ),
        "element-type-differs",
    ),
    "element types of arrays differ": (
        typed(
            "{name: o, type: array, element-type: f32, shape: [2]}",
            "{from: a, name: o, type: array, element-type: §float64, shape: [2]}",
        ),
        "element-type-differs",
    ),
    "shapes differ": (
        typed(
            "{name: o, type: array, element-type: f32, shape: [2, 3]}",
            "{from: a, name: o, type: array, element-type: f32, shape: §[3, 2]}",
        ),
        "shape-differs",
    ),
    "as many lengths differ": (
        typed(
            "{name: o, type: array, element-type: f32, shape: [2, -1]}",
            "{from: a, name: o, type: array, element-type: f32, shape: §[2]}",
        ),
        "shape-differs",
    ),
    "primitive against a longer array": (
        typed(
            "{name: o, type: u8}", "{from: a, name: o, type: array, element-type: u8, shape: §[2]}"
        ),
        "shape-differs",
    ),
    "primitives differ": (
        typed("{name: o, type: u8}", "{from: a, name: o, type: §i8}"),
        "element-type-differs",
    ),
    "string against array": (
        typed(
            "{name: o, type: string}",
            "{from: a, name: o, type: §array, element-type: u8, shape: [2]}",
        ),
        "type-differs",
    ),
    "stream against array": (
        typed(
            "{name: o, type: array, element-type: u8, shape: [2]}",
            "{from: a, name: o, type: §stream, element-type: u8, path: /in}",
        ),
        "type-differs",
    ),
    "untyped against array": (
        HEAD
        + "- name: a\n  container: {image: i}\n"
        + "  output: [{name: o, type: array, element-type: u8, shape: [2]}]\n"
        + NEXT
        + "  input: [§{path: /in, from: a, name: o}]\n",
        "type-differs",
    ),
    "array against untyped": (
        HEAD
        + "- name: a\n  container: {image: i}\n  output: [{name: o, path: /out}]\n"
        + NEXT
        + "  input: [{from: a, name: o, type: §u8}]\n",
        "type-differs",
    ),
    "folder where values lie": (
        operator("  input: [{path: §/clara/fastio/input}]\n"),
        "reserved-path",
    ),
    # order
    "order after none": (ordered("[§c]", "[]"), "unknown-operator"),
    "order after a misspelt one": (
        HEAD + READER + NEXT + "  order: [§raeder]\n",
        "unknown-operator",
    ),
    "order after itself": (ordered("[§A]"), "operator-names-itself"),
    "order is a text": (ordered("§b", "[]"), "wrong-type"),
    "order holds a list": (ordered("[§[b]]", "[]"), "wrong-type"),
    "order holds nothing": (ordered("[§~, §'']", "[]"), "wrong-type wrong-type"),
    "order without from": (
        ordered("[§{}, §{§name: b}]", "[]"),
        "missing-property missing-property ?unknown-property",
    ),
    "order twice": (ordered("[b, §B, {from: §c}]", "[]"), "?duplicate-order unknown-operator"),
    "cycle of order": (ordered("[§c]", "[a]", "[{from: b}]"), "cycle"),
    "cycle of order and inputs": (
        HEAD
        + "- name: a\n  container: {image: i}\n  input: [{path: /in, from: §c}]\n"
        + "  output: [{path: /out}]\n"
        + "- name: b\n  container: {image: i}\n  order: [a]\n  output: [{path: /out}]\n"
        + "- name: c\n  container: {image: i}\n  input: [{path: /in, from: b}]\n"
        + "  output: [{path: /out}]\n",
        "cycle",
    ),
    "cycle next to operators of no cycle": (
        ordered("[]", "[a, §d]", "[b]", "[c, a]", "[d]"),
        "cycle",
    ),
    "two cycles": (ordered("[§b]", "[a]", "[§d]", "[c]", "[a, c]"), "cycle cycle"),
    # models
    "models are an object": (operator("  models: §{name: m}\n"), "wrong-type"),
    "model is a text": (operator("  models: [§m]\n"), "wrong-type"),
    "model without name": (
        operator("  models: [§{§version: 1}]\n"),
        "missing-property ?unknown-property",
    ),
    "model with a slash": (operator("  models: [{name: §a/b}]\n"), "invalid-name"),
    "model above": (operator("  models: [{name: §..}]\n"), "invalid-name"),
    "long model": (operator(f"  models: [{{name: §{'m' * 256}}}]\n"), "invalid-name"),
    "model with a line break": (operator('  models: [{name: §"a\\nb"}]\n'), "invalid-name"),
    "model twice": (
        operator("  models: [{name: m}, {name: §m}, §x]\n"),
        "?duplicate-model wrong-type",
    ),
    # services
    "services are an object": (operator("  services: §{name: s}\n"), "wrong-type"),
    "service is a text": (operator("  services: [§s]\n"), "wrong-type"),
    "service without container": (operator("  services: [§{name: s}]\n"), "missing-property"),
    "service without name": (
        operator("  services: [§{container: {image: i}}]\n"),
        "missing-property",
    ),
    "service with a wrong name": (
        operator("  services: [{name: §a b, container: {image: i}}]\n"),
        "invalid-name",
    ),
    "service with a wrong image": (
        operator("  services: [{name: s, container: {image: §A}}]\n"),
        "invalid-image",
    ),
    "service with inputs": (
        service("    §input: []\n    requests: {gpu: §a}\n"),
        "?unknown-property not-an-integer",
    ),
    "service with wrong variables": (service("    variables: {§1: x}\n"), "invalid-variable"),
    "two services of one name": (
        service("  - {name: §S, container: {image: j}}\n"),
        "duplicate-name",
    ),
    "connections are a list": (service("    connections: §[]\n"), "wrong-type"),
    "unknown kind of connection": (
        connection("      §https: []\n      http: §{}\n"),
        "?unknown-property wrong-type",
    ),
    "connection is a text": (connection("      http: [§URI]\n"), "wrong-type"),
    "connection without name": (connection("      http: [§{port: 8000}]\n"), "missing-property"),
    "connection name": (connection("      http: [{name: §8000}]\n"), "invalid-variable"),
    "volume name": (connection("      volume: [{name: §a=b, path: /a}]\n"), "invalid-variable"),
    "low port": (connection("      http: [{name: URI, port: §80}]\n"), "out-of-bounds"),
    "high port": (connection("      http: [{name: URI, port: §65536}]\n"), "out-of-bounds"),
    "port is a text": (connection("      http: [{name: URI, port: §http}]\n"), "not-an-integer"),
    "two connections of one name": (
        connection("      http: [{name: URI}]\n      volume: [{name: §uri, path: /a}]\n"),
        "duplicate-name",
    ),
    "connections of two services of one name": (
        connection("      http: [{name: URI}]\n")
        + "  - name: t\n    container: {image: j}\n    connections: {http: [{name: §URI}]}\n",
        "duplicate-name",
    ),
    "volume without path": (connection("      volume: [§{name: DATA}]\n"), "missing-property"),
    "relative volume": (connection("      volume: [{name: DATA, path: §data}]\n"), "relative-path"),
    "volume over the system": (
        connection("      file: [{name: DATA, path: §/proc}]\n"),
        "reserved-path",
    ),
    # services that are deployments
    "deployment with what it has itself": (
        operator(
            "  services:\n  - {name: s, deployment: d, §container: {image: i},"
            " §requests: {cpu: 1}, §variables: {§1: x}}\n"
        ),
        "not-with-deployment not-with-deployment not-with-deployment invalid-variable",
    ),
    "deployment with folders": (
        operator(
            "  services:\n  - name: s\n    deployment: §a/b\n    §component: ''\n    connections:\n"
            "      http: [{name: §1}, {name: B, port: §0}]\n"
            "      §volume: [{name: A, path: /a}]\n      §file: []\n"
        ),
        "invalid-name empty-value invalid-variable out-of-bounds not-with-deployment"
        " not-with-deployment",
    ),
    "component without deployment": (
        operator("  services: [{name: s, §component: c, container: {image: i}}]\n"),
        "missing-property",
    ),
    "nothing after deployment": (
        operator("  services: [{name: s, §deployment: }]\n"),
        "empty-value",
    ),
    # pull secrets
    "descriptions that are no text": (
        "api-version: 0.4.0\nname: p\ndescription: §[a]\noperators:\n"
        "- name: a\n  description: §{a: b}\n  container: {image: i}\n",
        "wrong-type wrong-type",
    ),
    "pull-secrets are a text": (
        "api-version: 0.4.0\nname: p\npull-secrets: §ngc-clara\noperators:\n" + READER,
        "wrong-type",
    ),
    "pull-secret is an object": (
        "api-version: 0.4.0\nname: p\npull-secrets: [§{name: ngc}, §'', §~]\noperators:\n" + READER,
        "wrong-type empty-value empty-value",
    ),
    "orchestrator Argo next to an error": (
        "api-version: 0.4.0\nname: §p p\n§orchestrator: Argo\noperators:\n" + READER,
        "invalid-name ?orchestrator-unused",
    ),
    # import in one file
    "operator imports its own file": (HEAD + "- import: {path: §p.yaml}\n", "import-cycle"),
    # parameters
    "parameters are a list": (
        "api-version: 0.4.0\nname: p\nparameters: §[a]\noperators:\n" + READER,
        "wrong-type",
    ),
    "parameter is an object": (
        "api-version: 0.4.0\nname: p\nparameters: {A: §{b: c}}\noperators:\n" + READER,
        "wrong-type",
    ),
    "parameter name": (
        "api-version: 0.4.0\nname: p\nparameters: {§a.b: c}\noperators:\n" + READER,
        "invalid-name",
    ),
    "parameter twice": (
        "api-version: 0.4.0\nname: p\nparameters:\n  Tag: a\n  §TAG: b\noperators:\n" + READER,
        "duplicate-parameter",
    ),
    "placeholder in a default": (
        "api-version: 0.4.0\nname: p\nparameters:\n  A: §x-${{ B }}\n  B: b\noperators:\n" + READER,
        "placeholder-in-default",
    ),
    "placeholder not closed": (container("    image: §i-${{ A\n"), "malformed-placeholder"),
    "placeholder of two words": (container("    image: §${{ A B }}\n"), "malformed-placeholder"),
    "parameter near JOB_ID": (
        container("    image: i\n    tag: §${{ JOBID }}\n    command: §x\n"),
        "?unresolved-placeholder command-not-list",
    ),
    "name of a parameter over lines": (
        'api-version: 0.4.0\nname: p\nparameters: {§"a\\nb": c}\noperators:\n' + READER,
        "invalid-name",
    ),
    # bombs
    "billion laughs": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{n}: &{n} [{', '.join([f'*{m}'] * 10)}]\n"
            for m, n in (("a", "b"), ("b", "c"), ("c", "d"))
        )
        + "e: [*d, *d, *d, *d, *d, *d, *d, §*d]\n",
        "too-many-values",
    ),
    "alias of an operator": (
        HEAD + "- &a {name: §a, container: {image: i}}\n- *a\n",
        "duplicate-operator",
    ),
    # all at once
    "many": (
        "api-version: §1.0\nname: §a b\noperators:\n- name: a\n  container:\n    image: §A\n"
        "  input:\n  - path: §in\n    from: §c\n  requests:\n    gpu: §one\n",
        "unknown-api-version invalid-name invalid-image relative-path unknown-operator"
        " not-an-integer",
    ),
}

#: What makes some of them right: texts that are replaced.
TWINS: dict[str, tuple[tuple[str, str], ...]] = {
    "placeholder in a flow list": (("${{ X }}", "'${{ X }}'"),),
    "duplicate key": (("name: q\n", ""),),
    "custom tag": (("!secret a", "!!str a\n  container: {image: i}"),),
    "unknown alias": (("*base", "a"), ("name: a", HEAD + READER)),
    "merge": (
        ("x: &x {a: b}\ny:\n  <<: *x\n", HEAD + "- {name: '<<', container: {image: i}}\n"),
        ("'<<'", "x"),
    ),
    "short api-version": (("0.4", "0.4.0"),),
    "new api-version": (("0.9.0", "'0.3.0'"),),
    "name with blanks": (("my p", "my-P_1-p"),),
    "long name": (("nn", "n"),),
    "misspelt property": (("operator:", "operators:"),),
    "orchestrator unknown": (("clara\n", "Clara\n"),),
    "operator without container": (("- name: a", "- {name: a, container: {image: i}}"),),
    "two operators, one name": (("READER", "READER2"),),
    "image with capitals": (("Reader", "reader"),),
    "image with a scheme": (("docker://", "Docker.example:5000/"),),
    "tag with a slash": (("a/b", "a_b"),),
    "digest as a tag": (("    tag: sha256:abc\n", ""), ("image: i", f"image: i@sha256:{'a' * 64}")),
    "two tags": (("tag: 2", "tag: 1"),),
    "command is a text": (("python app.py", "[python, app.py]"),),
    "command holds nothing": (("    -\n", "    - ''\n"),),
    "variable name": (("1A: x", "_1A: x"), ("A=B", "A.B")),
    "gpu is true": (("true", "1"),),
    "memory with a unit": (("512Mi", "512"),),
    "too much memory": (("17179869184", "16777216"),),
    "requests all wrong": (("2000", "1024"), ("1GB", "0"), ("65", "64")),
    "relative path": (("path: in", "path: /in"),),
    "dots": (("/in/../etc", "/in/.../etc"),),
    "below sys": (("//sys/fs/", "//sysfs//fs/"),),
    "etc": (("/etc/", "/etc/clara/"),),
    "long path": (("aa", "a"),),
    "same path twice": (("/data/", "/data2/"),),
    "path inside a path": (("/data}", "/data/out}"),),
    "path inside a path, with a like name": (("/d/y", "/d-y"),),
    "two unnamed outputs": (("/a}", "/a, name: a}"), ("/b}", "/b, name: b}")),
    "outputs of one name": (("name: X", "name: X-"),),
    "unknown operator": (("raeder", "READER"),),
    "unknown output": (("rihgt", "Right"),),
    "name of an unnamed output": ((", name: out", ""),),
    "named output not named": (("from: a", "from: a, name: Mask"),),
    "upstream without output": (("[{path: /in, from: a}]", "[{path: /in}]\n  order: [a]"),),
    "cycle of two": ((", from: b", ""),),
    "unknown type": (("steam", "STREAM"),),
    "stream with a shape": ((", shape: [1]", ""),),
    "element types differ": (("dicom", "PNG"),),
    "stream without path, typed": (
        (
            "type: stream, element-type: png}]\n- name: b",
            "type: stream, path: /o, element-type: png}]\n- name: b",
        ),
    ),
    "no type in 0.5.0": (("0.5.0", "0.4.0"),),
    "no name in 0.7.0": (("- path", "- name: x\n    path"),),
    "neither name nor type in 0.6.0": (("0.6.0", "0.3.0"),),
    "stream without label": (("name: x", "name: o"),),
    "array near a word": (("aray", "Array"),),
    "primitive near a word": (("flaot32", "Float32"),),
    "primitive that is none": (("f8", "f16"),),
    "array with a path": ((", path: /out", ""),),
    "array with nothing": (("type: array", "type: array, element-type: uint64, shape: [-1]"),),
    "shape is a number": (("shape: 3", "shape: [3]"),),
    "lengths that are none": (
        ("0, -2, x, 1.5, [1], '', 3, -1, 99999999999999", "1, -1, 1099511627776"),
    ),
    "seventeen dimensions": (("[1, ", "["),),
    "more elements than memory": (("1048577", "1048576"),),
    "value without a name": (("type: u8", "type: u8, name: x"),),
    "two values of one name": (("name: X", "name: Y"),),
    "value from the payload": (("type: array, element-type: u8, shape: [3]", "path: /in"),),
    "value read twice": ((", {from: A, name: X, type: uint8}", ""),),
    "element types of streams differ": (("dicom", "Png"),),
    "element types of arrays differ": (("float64", "Float32"),),
    "shapes differ": (("[3, 2]", "[-1, 3]"),),
    "as many lengths differ": (("[2]", "[-1, 512]"),),
    "primitive against a longer array": (("[2]", "[1]"),),
    "primitives differ": (("i8", "UINT8"),),
    "stream against array": (
        ("stream, element-type: u8, path: /in", "array, element-type: u8, shape: [2]"),
    ),
    "untyped against array": (
        ("path: /in, from", "type: array, element-type: u8, shape: [2], from"),
    ),
    "folder where values lie": (("fastio", "fastio2"),),
    "order after none": (("[c]", "[B]"),),
    "order is a text": (("order: b", "order: [b]"),),
    "order without from": (("{}, {name", "{from"),),
    "order twice": (("{from: c}", "{from: b}"),),
    "cycle of order": (("order: [c]", "order: []"),),
    "cycle of order and inputs": (("order: [a]", "order: []"),),
    "cycle next to operators of no cycle": (("[a, d]", "[a]"),),
    "models are an object": (("{name: m}", "[{name: m}]"),),
    "model with a slash": (("a/b", "a b"),),
    "long model": (("mm", "m"),),
    "model twice": ((", x]", "]"),),
    "service with inputs": (("gpu: a", "gpu: 1"),),
    "two services of one name": (("S,", "S2,"),),
    "unknown kind of connection": (("{}", "[{name: A}]"),),
    "connection name": (("8000", "_8000"),),
    "low port": (("80}", "1024}"),),
    "high port": (("65536", "65535"),),
    "two connections of one name": (("uri", "uri2"),),
    "connections of two services of one name": (("{http: [{name: URI", "{http: [{name: URI2"),),
    "relative volume": (("path: data", "path: /data/"),),
    "deployment with what it has itself": (("deployment: d, ", ""), ("{1: x}", "{A: x}")),
    "component without deployment": ((" component: c,", ""),),
    "pull-secrets are a text": (("ngc-clara", "[ngc-clara, ngc-clara]"),),
    "descriptions that are no text": (("[a]", "'[a]'"), ("{a: b}", "3")),
    "second operator of a name reads the first": (
        ("- name: reader\n  container: {image: i}", "- name: b\n  container: {image: i}"),
    ),
    "upstream with nothing for output": (
        ("output:\n", "output: [{path: /o, name: X}]\n"),
        ("output: []", "output: [{path: /o}]"),
    ),
    "volume without path": (("{name: DATA}", "{name: DATA, path: /data}"),),
    "port is a text": (("http}", "8000}"),),
    "service with a wrong name": (("a b", "a-b"),),
    "orchestrator Argo next to an error": (("p p", "p"),),
    "parameter is an object": (("{b: c}", "b"),),
    "parameter name": (("a.b", "a-b"),),
    "parameter twice": (("TAG", "TAG2"),),
    "placeholder in a default": (("x-${{ B }}", "x-$(B)"),),
    "placeholder not closed": (("i-${{ A", "i-$A"), ("$A", "a")),
    "parameter near JOB_ID": (("JOBID", "job_id"), ("command: x", "command: [x]")),
    "billion laughs": ((", *d]", "]"), ("a: &a", HEAD + READER + "a: &a")),
    "alias of an operator": (
        ("- *a", "- name: b\n  container: {image: *i}"),
        ("image: i", "image: &i i"),
    ),
}
