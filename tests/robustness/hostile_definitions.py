"""Definitions that are made to cost much, each loaded: a process of its own, so that memory counts.

`python -m tests.robustness.hostile_definitions` prints name -> what it cost, as JSON.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator

from claraedge.pipelines.checks.load import load
from claraedge.pipelines.model import DefinitionFile, encode
from tests.robustness import memory_peak

HEAD = "api-version: 0.4.0\nname: p\noperators:\n"
PART = "name: part\ncontainer: {image: i}\n"
MIB = 1 << 20

Files = dict[str, str]
HOSTILE: dict[str, Callable[[], Files]] = {}


def hostile(make: Callable[[], Files]) -> Callable[[], Files]:
    HOSTILE[make.__name__.replace("_", " ")] = make
    return make


def text(content: str) -> Files:
    return {"p.yaml": content}


def entries(count: int, entry: Callable[[int], str]) -> str:
    return "".join(map(entry, range(count)))


# --- what no definition is: refused by the reader ---------------------------------------------


@hostile
def a_billion_laughs() -> Files:
    lines = ["a0: &a0 lollollollollollollollollol"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return text("\n".join(lines) + "\n")


@hostile
def quadratic_blow_up() -> Files:
    return text("a: &a " + "x" * 500_000 + "\nb: [" + "*a, " * 100_000 + "]\n")


@hostile
def nested_objects() -> Files:
    return text("".join(" " * n + "a:\n" for n in range(1400)))


@hostile
def a_mebibyte_of_brackets() -> Files:
    return text("[" * MIB)


@hostile
def a_mebibyte_of_braces() -> Files:
    return text("{" * MIB)


@hostile
def a_mebibyte_of_dashes() -> Files:
    return text("- " * (MIB // 2))


@hostile
def a_mebibyte_of_values() -> Files:
    return text("[" + "a," * (MIB // 2 - 1) + "]")


@hostile
def a_mebibyte_of_anchors() -> Files:
    return text("[" + "&a a," * 200_000 + "]")


@hostile
def a_mebibyte_of_escapes() -> Files:
    return text('a: "' + "\\x41" * 250_000 + '"')


@hostile
def a_mebibyte_of_comments() -> Files:
    return text("#\n" * (MIB // 2))


@hostile
def one_key_over_and_over() -> Files:
    return text("{" + "a: b," * 40_000 + "}")


@hostile
def more_than_a_mebibyte() -> Files:
    return text(HEAD + "- " + PART + "#" * (20 * MIB))


@hostile
def a_hundred_thousand_operators() -> Files:
    return text("operators:\n" + "- {name: a}\n" * 85_000)


# --- what the rules cost: as many as the reader lets through ----------------------------------


@hostile
def many_operators() -> Files:
    return text(HEAD + entries(12_000, lambda n: f"- {{name: o{n}, container: {{image: i}}}}\n"))


@hostile
def operators_of_one_name() -> Files:
    return text(HEAD + "- {name: a, container: {image: i}}\n" * 12_000)


@hostile
def order_after_misspelt_operators() -> Files:
    return text(
        HEAD
        + entries(8000, lambda n: f"- {{name: o{n}, container: {{image: i}}, order: [x{n}]}}\n")
    )


@hostile
def one_operator_that_waits_for_all() -> Files:
    names = ", ".join(f"o{n}" for n in range(7000))
    return text(
        HEAD
        + entries(7000, lambda n: f"- {{name: o{n}, container: {{image: i}}}}\n")
        + f"- {{name: last, container: {{image: i}}, order: [{names}]}}\n"
    )


@hostile
def a_cycle_of_all() -> Files:
    # Every second one also closes a smaller circle.
    def entry(n: int) -> str:
        order = f"o{(n + 1) % 7000}, o{max(0, n - n % 50)}"
        return f"- {{name: o{n}, container: {{image: i}}, order: [{order}]}}\n"

    return text(HEAD + entries(7000, entry))


def connected(count: int, wrong: str) -> str:
    return (
        f"{HEAD}- name: a\n  container: {{image: i}}\n  output:\n"
        + entries(count, lambda n: f"  - {{path: /a{n}, name: a{n}}}\n")
        + "- name: b\n  container: {image: i}\n  input:\n"
        + entries(count, lambda n: f"  - {{path: /a{n}, from: a, name: {wrong}a{n}}}\n")
    )


@hostile
def thousands_of_outputs_and_inputs() -> Files:
    return text(connected(8000, ""))


@hostile
def thousands_of_misspelt_outputs() -> Files:
    return text(connected(8000, "x"))


@hostile
def folders_inside_each_other() -> Files:
    deep = "/a" * 500
    return text(
        HEAD
        + "- name: a\n  container: {image: i}\n  input:\n"
        + entries(900, lambda n: f"  - path: {deep[: 2 + 2 * (n % 500)]}\n")
    )


@hostile
def unknown_properties() -> Files:
    return text(HEAD + "- {" + entries(45_000, lambda n: f"a{n}: b, ") + "}\n")


@hostile
def unfilled_placeholders() -> Files:
    return text(HEAD + '- {name: a, container: {image: "' + "${{ A }}" * 100_000 + '"}}\n')


@hostile
def open_placeholders() -> Files:
    return text(HEAD + '- {name: a, container: {image: "' + "${{ " * 200_000 + '"}}\n')


@hostile
def placeholders_that_grow() -> Files:
    return text(
        f"parameters: {{A: {'x' * 100_000}}}\n{HEAD}- name: a\n  container:\n    image: i\n"
        "    command:\n" + "    - ${{ A }}\n" * 20_000
    )


@hostile
def a_command_of_one_word() -> Files:
    return text(HEAD + '- {name: a, container: {image: i, command: "' + "'a' " * 200_000 + '"}}\n')


# --- several files ----------------------------------------------------------------------------


@hostile
def many_imports_of_a_file_of_many_values() -> Files:
    names = entries(90_000 // 2, lambda n: f"  a{n}: 1\n")
    return {
        "p.yaml": HEAD + entries(9000, lambda n: f"- {{name: o{n}, import: a.yaml}}\n"),
        "a.yaml": PART + "variables:\n" + names,
    }


@hostile
def many_imports_of_a_long_text() -> Files:
    return {
        "p.yaml": HEAD + entries(9000, lambda n: f"- {{name: o{n}, import: a.yaml}}\n"),
        "a.yaml": PART + "variables: {A: " + "x" * 1_000_000 + "}\n",
    }


@hostile
def services_of_a_long_text() -> Files:
    return {
        "p.yaml": HEAD
        + "- name: a\n  container: {image: i}\n  services:\n"
        + entries(9000, lambda n: f"  - {{name: o{n}, import: a.yaml}}\n"),
        "a.yaml": PART + "variables: {A: " + "x" * 1_000_000 + "}\n",
    }


@hostile
def undeclared_arguments() -> Files:
    return {
        "p.yaml": HEAD + "- import:\n    path: a.yaml\n    args:\n"
        + entries(40_000, lambda n: f"      y{n}: 1\n"),
        "a.yaml": PART + "parameters:\n" + entries(24_000, lambda n: f"  x{n}: 1\n"),
    }  # fmt: skip


@hostile
def a_chain_of_imports() -> Files:
    files = {f"f{n}": f"x{n}: 1\nimport: f{n + 1}\n" for n in range(5000)}
    return {"p.yaml": HEAD + "- import: f0\n" * 7, **files, "f5000": PART}


@hostile
def imports_of_missing_files() -> Files:
    files = {f"f{n}": "" for n in range(10_000)}
    return {"p.yaml": HEAD + entries(30_000, lambda n: f"- import: g{n}\n"), **files}


@hostile
def a_root_among_large_files() -> Files:
    return {"p.yaml": "a: b\n", **{f"f{n}": f"a: {'x' * 900_000}\n" for n in range(16)}}


# --- loading ----------------------------------------------------------------------------------


def costs() -> Iterator[tuple[str, dict[str, object]]]:
    """Of each: seconds of processor time, KiB of peak memory on top, codes, bytes of a snapshot."""
    for name, make in HOSTILE.items():
        files = [DefinitionFile(path=path, content=content) for path, content in make().items()]
        used = memory_peak.reset()
        begin = time.process_time()
        found = load(files)
        seconds = time.process_time() - begin
        yield (
            name,
            {
                "seconds": seconds,
                "growth": memory_peak.peak() - used,
                "codes": sorted({p.code for p in found.problems}),
                "snapshot": 0 if found.pipeline is None else len(encode(found.pipeline)),
            },
        )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    print(json.dumps(dict(costs())))
