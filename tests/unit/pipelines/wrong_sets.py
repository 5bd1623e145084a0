"""Wrong definitions of several files, as data; marks as in `wrong_definitions`.

The first file is the root. The codes stand in the order of the marks, file after file.
"""

from __future__ import annotations

from wrong_definitions import HEAD, NEXT, READER

#: A file that holds an operator, and one that holds a service.
PART = "name: part\ncontainer: {image: part}\noutput: [{path: /out}]\n"
SERVER = "name: server\ncontainer: {image: server}\nconnections: {http: [{name: URI}]}\n"
TEMPLATE = "parameters: {TAG: v1, MODE: }\nname: part\ncontainer:\n  image: part\n"
TAGGED = TEMPLATE + "  tag: ${{ TAG }}\n"


def root(entry: str) -> str:
    return HEAD + entry


def service(entry: str) -> str:
    return HEAD + "- name: a\n  container: {image: i}\n  services:\n" + entry


WRONG_SETS: dict[str, tuple[dict[str, str], str]] = {
    # the path
    "missing file": (
        {"p.yaml": root("- import: {path: §prat.yaml}\n"), "part.yaml": PART},
        "unknown-file",
    ),
    "no file but the root": ({"p.yaml": root("- import: {path: §part.yaml}\n")}, "unknown-file"),
    "rooted path": (
        {"p.yaml": root("- import: {path: §/part.yaml}\n"), "part.yaml": PART},
        "rooted-import",
    ),
    "rooted path of Windows": (
        {"p.yaml": root("- import: {path: §\\part.yaml}\n"), "part.yaml": PART},
        "rooted-import",
    ),
    "path above the root": (
        {"p.yaml": root("- import: {path: §../../other.yaml}\n"), "part.yaml": PART},
        "unknown-file",
    ),
    "path next to the wrong file": (
        {
            "p.yaml": root("- import: {path: parts/a.yaml}\n"),
            "parts/a.yaml": "import: {path: §parts/b.yml}\n",
            "parts/b.yaml": PART,
        },
        "unknown-file",
    ),
    "import without path": (
        {"p.yaml": root("- import: §{args: {}}\n"), "part.yaml": PART},
        "missing-property",
    ),
    "import of nothing": ({"p.yaml": root("- import:§\n"), "part.yaml": PART}, "wrong-type"),
    "import is a list": (
        {"p.yaml": root("- import: §[part.yaml]\n"), "part.yaml": PART},
        "wrong-type",
    ),
    "empty path": (
        {"p.yaml": root("- import: {§path: ''}\n"), "part.yaml": PART},
        "empty-value",
    ),
    "path is a list": (
        {"p.yaml": root("- import: {path: §[part.yaml]}\n"), "part.yaml": PART},
        "wrong-type",
    ),
    "path without a value": (
        {
            "p.yaml": HEAD.replace("operators", "parameters: {FILE: }\noperators")
            + "- import: {path: §§'${{ FILE }}'}\n",
            "part.yaml": PART,
        },
        "unresolved-import ?unresolved-placeholder",
    ),
    "misspelt in import": (
        {"p.yaml": root("- import: §{§file: part.yaml}\n"), "part.yaml": PART},
        "missing-property ?unknown-property",
    ),
    "two files of one last name": (
        {
            "p.yaml": root("- import: {path: §x/part.yaml}\n"),
            "a/part.yaml": PART,
            "b/part.yaml": PART,
        },
        "unknown-file",
    ),
    # what is imported
    "file imports itself": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "import: {path: §A.yaml}\n"},
        "import-cycle",
    ),
    "files import each other": (
        {
            "p.yaml": root("- import: {path: a.yaml}\n"),
            "a.yaml": "name: a\nimport: {path: b.yaml}\n",
            "b.yaml": "import: {path: §a.yaml}\n",
        },
        "import-cycle",
    ),
    "three files import each other": (
        {
            "p.yaml": root("- import: {path: d/a.yaml}\n"),
            "d/a.yaml": "import: {path: b.yaml}\n",
            "d/b.yaml": "import: {path: ../c.yaml}\n",
            "c.yaml": "import: {path: §d/a.yaml}\n",
        },
        "import-cycle",
    ),
    "pipeline imports itself": ({"p.yaml": root("- import: {path: §p.yaml}\n")}, "import-cycle"),
    "file imports the pipeline": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "import: {path: §p.yaml}\n"},
        "import-cycle",
    ),
    "import of a pipeline": (
        {"p.yaml": root("- import: §{path: q.yaml}\n"), "q.yaml": HEAD + READER},
        "import-of-pipeline",
    ),
    "import of an empty file": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "§# nothing\n"},
        "empty-document",
    ),
    "import of a list": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "§- name: a\n"},
        "wrong-type",
    ),
    "import of no YAML": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "name: §@a\n"},
        "yaml-syntax",
    ),
    "api-version of an imported file": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "api-version: §0.4\n" + PART},
        "unknown-api-version",
    ),
    "api-version of an imported file is a list": (
        {"p.yaml": root("- import: {path: a.yaml}\n"), "a.yaml": "api-version: §[0.4.0]\n" + PART},
        "unknown-api-version",
    ),
    "imported file is typed": (
        {
            "p.yaml": root("- import: {path: a.yaml}\n"),
            "a.yaml": "api-version: 0.5.0\nname: a\ncontainer: {image: i}\n"
            "input:\n- §path: /in\noutput:\n- §§path: /out\n",
        },
        "missing-property missing-property unnamed-output",
    ),
    "imported without a name": (
        {"p.yaml": root("- §import: {path: a.yaml}\n"), "a.yaml": "container: {image: i}\n"},
        "missing-property",
    ),
    "imported without a container": (
        {"p.yaml": root("- §import: {path: a.yaml}\n"), "a.yaml": "name: a\n"},
        "missing-property",
    ),
    "wrong in an imported file, reported once": (
        {
            "p.yaml": root("- import: {path: a.yaml}\n- {name: b, import: {path: a.yaml}}\n"),
            "a.yaml": "name: a\ncontainer: {image: §A}\n§nmae: x\n",
        },
        "invalid-image ?unknown-property",
    ),
    "wrong in two files": (
        {
            "p.yaml": root("- import: {path: a.yaml}\n- import: {path: b.yaml}\n- §name: c\n"),
            "a.yaml": "name: a\ncontainer: {image: §A}\n",
            "b.yaml": "name: b\ncontainer: {image: §B}\n",
        },
        "missing-property invalid-image invalid-image",
    ),
    # overrides
    "container replaced without image": (
        {
            "p.yaml": root("- import: {path: part.yaml}\n  container: §{tag: v2}\n"),
            "part.yaml": PART,
        },
        "missing-property",
    ),
    "container replaced by nothing": (
        {"p.yaml": root("- import: {path: part.yaml}\n  §container:\n"), "part.yaml": PART},
        "missing-property",
    ),
    "output replaced, then read by its old name": (
        {
            "p.yaml": root(
                "- import: {path: a.yaml}\n  output: [{path: /out, name: other}]\n"
                + NEXT
                + "  input: [{path: /in, from: part, name: §mask}]\n"
            ),
            "a.yaml": "name: part\ncontainer: {image: i}\noutput: [{path: /out, name: mask}]\n",
        },
        "unknown-output",
    ),
    "path of an override against one that is imported": (
        {
            "p.yaml": root("- import: {path: part.yaml}\n  input: [{path: §/out}]\n"),
            "part.yaml": PART,
        },
        "duplicate-path",
    ),
    "imported twice under one name": (
        {
            "p.yaml": root("- import: {path: part.yaml}\n- §import: {path: part.yaml}\n"),
            "part.yaml": PART,
        },
        "duplicate-operator",
    ),
    "imported next to one of its name": (
        {
            "p.yaml": root(READER + "- name: §Reader\n  import: {path: part.yaml}\n"),
            "part.yaml": PART,
        },
        "duplicate-operator",
    ),
    "api-version next to import": (
        {
            "p.yaml": root("- import: {path: part.yaml}\n  §api-version: 0.5.0\n  container: §1\n"),
            "part.yaml": PART,
        },
        "?unknown-property wrong-type",
    ),
    # arguments
    "undeclared argument": (
        {
            "p.yaml": root("- import: {path: a.yaml, args: {TAG: v2, §TGA: v3}}\n"),
            "a.yaml": TAGGED,
        },
        "undeclared-argument",
    ),
    "argument of a file without parameters": (
        {"p.yaml": root("- import: {path: a.yaml, args: {§TAG: v2}}\n"), "a.yaml": PART},
        "undeclared-argument",
    ),
    "argument twice": (
        {
            "p.yaml": root("- import: {path: a.yaml, args: {TAG: v2, §tag: v3}}\n"),
            "a.yaml": TAGGED,
        },
        "duplicate-argument",
    ),
    "arguments are a list": (
        {"p.yaml": root("- import: {path: a.yaml, args: §[TAG]}\n"), "a.yaml": TAGGED},
        "wrong-type",
    ),
    "arguments are a text": (
        {"p.yaml": root("- import: {path: a.yaml, args: §TAG=v2}\n"), "a.yaml": TAGGED},
        "wrong-type",
    ),
    "argument is a list": (
        {"p.yaml": root("- import: {path: a.yaml, args: {TAG: §[v2]}}\n"), "a.yaml": TAGGED},
        "wrong-type",
    ),
    "argument that makes it wrong": (
        {
            "p.yaml": root("- import: {path: a.yaml, args: {TAG: a/b}}\n"),
            "a.yaml": TEMPLATE + "  tag: §${{ TAG }}\n",
        },
        "invalid-tag",
    ),
    "argument of the pipeline's, unknown to the file": (
        {
            "p.yaml": HEAD.replace("operators", "parameters: {KIND: v9}\noperators")
            + "- import: {path: a.yaml}\n- §name: b\n",
            "a.yaml": TEMPLATE + "  tag: §${{ KIND }}\n",
        },
        "missing-property ?unresolved-placeholder",
    ),
    "parameters of an imported file": (
        {
            "p.yaml": root("- import: {path: a.yaml}\n"),
            "a.yaml": "parameters: §[TAG]\n" + PART,
        },
        "wrong-type",
    ),
    "placeholder in a default of an imported file": (
        {
            "p.yaml": root("- import: {path: a.yaml}\n"),
            "a.yaml": "parameters: {TAG: §'${{ X }}'}\n" + PART,
        },
        "placeholder-in-default",
    ),
    # services
    "service from a missing file": (
        {"p.yaml": service("  - import: {path: §sevrer.yaml}\n"), "server.yaml": SERVER},
        "unknown-file",
    ),
    "service imports a file that imports": (
        {
            "p.yaml": service("  - import: {path: s.yaml}\n"),
            "s.yaml": "name: s\n§import: {path: server.yaml}\n",
            "server.yaml": SERVER,
        },
        "import-in-service",
    ),
    "placeholder in an imported service": (
        {
            "p.yaml": service("  - import: {path: s.yaml}\n"),
            "s.yaml": "name: s\ncontainer: {image: i, tag: §§'${{ TAG }}'}\n",
        },
        "invalid-tag ?placeholder-in-service",
    ),
    "service with arguments and without a container": (
        {
            "p.yaml": service("  - §import: {path: s.yaml, args: {§TAG: v2}}\n"),
            "s.yaml": "name: s\n",
        },
        "missing-property ?argument-unused",
    ),
    "service has parameters": (
        {
            "p.yaml": service("  - import: {path: s.yaml}\n"),
            "s.yaml": "parameters: {TAG: v1}\nname: s\ncontainer: {image: §I}\n",
        },
        "invalid-image",
    ),
    "api-version of an imported service": (
        {
            "p.yaml": service("  - import: {path: s.yaml}\n"),
            "s.yaml": "api-version: §latest\n" + SERVER,
        },
        "unknown-api-version",
    ),
    "service imports the pipeline": (
        {"p.yaml": service("  - import: {path: §p.yaml}\n")},
        "import-cycle",
    ),
    "service imports another pipeline": (
        {
            "p.yaml": service("  - import: §{path: q.yaml}\n"),
            "q.yaml": HEAD + READER,
        },
        "import-of-pipeline",
    ),
    "service of an imported operator, path next to that file": (
        {
            "p.yaml": root("- import: {path: parts/a.yaml}\n"),
            "parts/a.yaml": PART + "services:\n- import: {path: §parts/server.yml}\n",
            "parts/server.yaml": SERVER,
        },
        "unknown-file",
    ),
    "service imported twice": (
        {
            "p.yaml": service("  - import: {path: s.yaml}\n  - §import: {path: s.yaml}\n"),
            "s.yaml": "name: s\ncontainer: {image: i}\n",
        },
        "duplicate-name",
    ),
    "services of other names with the same connections": (
        {
            "p.yaml": service(
                "  - import: {path: server.yaml}\n"
                "  - §name: other\n    import: {path: server.yaml}\n"
            ),
            "server.yaml": SERVER,
        },
        "duplicate-name",
    ),
    # links over files
    "cycle over two files": (
        {
            "p.yaml": root(
                "- import: {path: a.yaml}\n"
                "- {name: b, container: {image: i}, input: [{from: a, path: /in}],"
                " output: [{path: /out}]}\n"
            ),
            "a.yaml": "name: a\ncontainer: {image: i}\n"
            "input: [{from: §b, path: /in}]\noutput: [{path: /out}]\n",
        },
        "cycle",
    ),
    "types differ over two files": (
        {
            "p.yaml": root(
                "- import: {path: a.yaml}\n"
                "- name: b\n  container: {image: i}\n"
                "  input: [{from: a, name: m, type: array, element-type: §i16, shape: [2]}]\n"
            ),
            "a.yaml": "name: a\ncontainer: {image: i}\n"
            "output: [{name: m, type: array, element-type: u16, shape: [2]}]\n",
        },
        "element-type-differs",
    ),
    # which file is the root
    "no file has operators": (
        {"p.yaml": "§§§description: none\n", "a.yaml": PART},
        "missing-property missing-property no-operators",
    ),
    "two files have operators": (
        {
            "a.yaml": "§§§§container: {image: i}\n",
            "p.yaml": HEAD + READER,
            "q.yaml": HEAD + READER,
        },
        "missing-property missing-property no-operators ?unknown-property",
    ),
}

#: What makes some of them right: texts that are replaced, in all files.
TWINS: dict[str, tuple[tuple[str, str], ...]] = {
    "missing file": (("prat", "part"),),
    "rooted path": (("/part", "part"),),
    "rooted path of Windows": (("\\part", ".\\PART"),),
    "path above the root": (("../../other", "./x/../part"),),
    "path next to the wrong file": (("parts/b.yml", "b.yaml"),),
    "import without path": (("{args", "{path: part.yaml, args"),),
    "import of nothing": (("import:", "import: part.yaml"),),
    "path without a value": (("{FILE: }", "{FILE: part.yaml}"),),
    "two files of one last name": (("x/part", "b/part"),),
    "file imports itself": (("import: {path: A.yaml}", PART),),
    "files import each other": (
        ("import: {path: a.yaml}\n", PART),
        ("- " + PART, "- import: a.yaml\n"),
    ),
    "api-version of an imported file": (("0.4\n", "0.4.0\n"),),
    "imported file is typed": (("0.5.0", "0.4.0"),),
    "imported without a name": (("- import", "- name: x\n  import"),),
    "imported without a container": (("- import", "- container: {image: x}\n  import"),),
    "container replaced without image": (("{tag", "{image: part, tag"),),
    "output replaced, then read by its old name": (("name: mask}]\n", "name: other}]\n"),),
    "path of an override against one that is imported": (
        ("input: [{path: /out}", "input: [{path: /in}"),
    ),
    "imported twice under one name": (
        (
            "- import: {path: part.yaml}\n- import",
            "- import: {path: part.yaml}\n- name: two\n  import",
        ),
    ),
    "imported next to one of its name": (("Reader", "other"),),
    "undeclared argument": (("TGA", "mode"),),
    "argument twice": (("tag: v3", "mode: v3"),),
    "argument of a file without parameters": (("TAG: v2", ""),),
    "arguments are a list": (("[TAG]", "{TAG: 1}"),),
    "argument that makes it wrong": (("a/b", "a.b"),),
    "service from a missing file": (("sevrer", "server"),),
    "service imports a file that imports": (("{path: s.yaml}", "{path: server.yaml}"),),
    "placeholder in an imported service": (("${{ TAG }}", "v1"),),
    "service with arguments and without a container": (
        ("name: s", "name: s\ncontainer: {image: i}"),
    ),
    "service imported twice": (("yaml}\n  - import", "yaml}\n  - name: t\n    import"),),
    "services of other names with the same connections": (
        ("name: other", "name: other\n    connections: {}"),
    ),
    "cycle over two files": (("from: b, ", ""),),
    "types differ over two files": (("i16", "UInt16"),),
}
