"""Right definitions, broken at random, and loaded: a process of its own, so that memory counts.

`python -m tests.robustness.mutated_definitions SEED COUNT` prints what came of it as JSON. What
must not happen ends it, with the definition that did it.
"""

from __future__ import annotations

import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.load import Loaded, load
from claraedge.pipelines.checks.unfilled import unfilled
from claraedge.pipelines.export.render import definition
from claraedge.pipelines.model import DefinitionFile, Pipeline, decode, encode
from tests.definitions import corpus
from tests.robustness import memory_peak

SECONDS = 1.0
"""Of processor time, for one definition."""
WARM = 300
"""Definitions after which memory is measured: allocators and caches have their size."""

_TOKEN = re.compile(r"[\w./+-]+|\s+|.", re.DOTALL)
_WORD = re.compile(r"[\w./+-]*\w[\w./+-]*")
_SPECIAL = [
    "&a ", "*a", "*b ", "<<: *a", "!!str ", "!x ", "${{ X }}", "${{ JOB_ID }}", "${{", "}}", "$(A)",
    "[", "]", "{", "}", "[[", "- ", "? ", ": ", ",", "'", '"', "|\n", ">\n", "---\n", "...\n", "#",
    "\t", "\0", "\x07", "\r", "\x85", "\u2028", "\ufeff", "\ud800", "é", "\U0001f600", "~", "null",
    "''", "-1", "0", "1e999", "99999999999999999999", "0x10", "true", "a" * 300, "/", "//", "..",
    "\n", "\n\n", "\n ", "  ",
]  # fmt: skip


@dataclass
class Figures:
    """What came of a run."""

    seed: int
    count: int = 0
    loaded: int = 0
    refused: int = 0
    slowest: float = 0.0
    """Seconds of processor time."""
    seconds: float = 0.0
    growth: int = 0
    """KiB of peak memory beyond what was used after warming up."""
    codes: Counter[str] = field(default_factory=Counter)


class Mutator:
    """Breaks definitions."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sets = [corpus.files(name) for name in corpus.NAMES]
        texts = [file.content for files in self._sets for file in files]
        self._words = sorted({t for text in texts for t in _TOKEN.findall(text) if t.strip()})
        self._lines = sorted({line for text in texts for line in text.splitlines(keepends=True)})

    def definition(self) -> list[DefinitionFile]:
        files = list(self._rng.choice(self._sets))
        for _ in range(self._rng.choice([1, 1, 2, 3, 5])):
            if self._rng.random() < 0.1:
                self._mutate_set(files)
            else:
                at = self._rng.randrange(len(files))
                text = self._mutated(files[at].content)
                files[at] = msgspec.structs.replace(files[at], content=text)
        return files

    def _mutate_set(self, files: list[DefinitionFile]) -> None:
        rng = self._rng
        other = rng.choice(rng.choice(self._sets))
        at = rng.randrange(len(files))
        match rng.randrange(5):
            case 0 if len(files) > 1:
                del files[at]
            case 1:
                files.append(other)
            case 2:
                files[at] = msgspec.structs.replace(files[at], content=other.content)
            case 3:
                path = rng.choice([other.path, files[at].path.upper(), "", "/", "..", "a\nb"])
                files[at] = msgspec.structs.replace(files[at], path=path)
            case _:
                rng.shuffle(files)

    def _mutated(self, text: str) -> str:
        rng = self._rng
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(24)
        if kind < 6:
            return self._with_lines(text, kind)
        match kind:
            case 6:
                return text[:at] + text[at + rng.randint(1, 20) :]
            case 7 | 8:
                return text[:at] + rng.choice(_SPECIAL) + text[at:]
            case 9:
                return text[:at]
            case 10:
                noise = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
                return text[:at] + noise.decode(rng.choice(["latin-1", "cp437"])) + text[at:]
            case 11:
                return self._with_tokens(text, _SPECIAL)
            case _:
                return self._with_tokens(text, self._words)

    def _with_tokens(self, text: str, others: Sequence[str]) -> str:
        """A word replaced, by one of its own text or of others."""
        tokens = _TOKEN.findall(text) or [""]
        words = [n for n, token in enumerate(tokens) if _WORD.fullmatch(token)] or [0]
        own = tokens[self._rng.choice(words)]
        tokens[self._rng.choice(words)] = self._rng.choice([own, self._rng.choice(others)])
        return "".join(tokens)

    def _with_lines(self, text: str, kind: int) -> str:
        rng = self._rng
        lines = text.splitlines(keepends=True) or ["\n"]
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        match kind:
            case 0:
                del lines[at]
            case 1:
                lines[at:at] = lines[at : at + rng.randint(1, 6)] * rng.choice([1, 1, 1, 2, 500])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                blanks = " " * rng.randrange(7)
                lines[at] = blanks + lines[at].lstrip(" ")
            case 4:
                lines[at] = rng.choice(self._lines)
            case _:  # the beginning of one, the end of another
                there = rng.choice(rng.choice(self._sets)).content.splitlines(keepends=True)
                lines = lines[:at] + there[rng.randrange(len(there) + 1) :]
        return "".join(lines)


def check(files: list[DefinitionFile], rng: random.Random, figures: Figures) -> None:
    """Loads it in one of the ways that the daemon does; raises where that is not as promised."""
    device = rng.choice([None, Device(cores=2, memory=1024, gpus=rng.randrange(2))])
    job = rng.choice([None, "00000000-0000-4000-8000-000000000001"])
    arguments: dict[str, str] = rng.choice([*[{}] * 9, {"TAG": "${{ X }}"}, {"A": "\0\n"}])
    final = rng.random() < 0.5
    begin = time.process_time()
    found = load(files, arguments, final=final, device=device, job=job)
    spent = time.process_time() - begin
    figures.slowest = max(figures.slowest, spent)
    assert spent < SECONDS, f"{spent} seconds"
    check_problems(files, found)
    figures.codes.update({p.code for p in found.problems})
    if found.pipeline is None:
        figures.refused += 1
        return
    figures.loaded += 1
    check_pipeline(found.pipeline)
    # What no placeholder is left in, and no other version was written for, renders to its equal.
    if not unfilled(files, arguments) and (final or "${{" not in encode(found.pipeline)):
        rendered = load([DefinitionFile(path="p", content=definition(found.pipeline))])
        assert rendered.errors == (), rendered.errors
        assert rendered.pipeline is not None
        version = rendered.pipeline.api_version
        assert rendered.pipeline == msgspec.structs.replace(found.pipeline, api_version=version)


def check_problems(files: list[DefinitionFile], found: Loaded) -> None:
    assert (found.pipeline is None) == bool(found.errors)
    assert len(found.problems) <= 202
    lines = max(re.sub("[\r\x85\u2028\u2029]", "\n", f.content).count("\n") for f in files)
    for problem in found.problems:
        assert 1 <= problem.line <= lines + 2, problem
        assert problem.column >= 1
        assert problem.message
        assert problem.fix
        assert len(str(problem)) < 4000
        assert problem.message.isprintable(), problem
        assert problem.fix.isprintable(), problem


def check_pipeline(pipeline: Pipeline) -> None:
    assert pipeline.operators
    assert decode(encode(pipeline)) == pipeline
    names = [operator.name for operator in pipeline.operators]
    assert len({name.casefold() for name in names}) == len(names)
    assert sorted(pipeline.sorter().static_order()) == sorted(names)


def run(seed: int, count: int) -> Figures:
    rng = random.Random(seed)
    mutator = Mutator(rng)
    figures = Figures(seed)
    used = 0
    begin = time.process_time()
    for number in range(count):
        if number == min(WARM, count // 2):
            used = memory_peak.reset()
        files = mutator.definition()
        try:
            check(files, rng, figures)
        except BaseException:
            sys.stderr.write(f"seed {seed}, number {number}:\n")
            sys.stderr.write("".join(f"--- {f.path!r}\n{f.content!r}\n" for f in files))
            raise
        figures.count += 1
    figures.seconds = time.process_time() - begin
    figures.growth = memory_peak.peak() - used
    return figures


if __name__ == "__main__":
    # An allocation beyond this raises, and so ends the run.
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    print(json.dumps(vars(run(int(sys.argv[1]), int(sys.argv[2])))))
