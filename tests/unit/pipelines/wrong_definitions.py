"""Wrong definitions, as data.

In a text, each § marks the place of one problem and is taken out before the text is loaded; the
codes stand in the order of the marks. A code with a `?` in front is a warning.
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


WRONG: dict[str, tuple[str, str]] = {
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
    # all at once
    "many": (
        "api-version: §1.0\nname: §a b\noperators:\n- name: a\n  container:\n    image: §A\n"
        "  input:\n  - path: §in\n    from: §c\n  requests:\n    gpu: §one\n",
        "unknown-api-version invalid-name invalid-image relative-path unknown-operator"
        " not-an-integer",
    ),
}
