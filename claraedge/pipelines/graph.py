"""Ties inputs to the outputs they read, and refuses cycles. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from claraedge.pipelines.folders import Folder
from claraedge.pipelines.model import Container, Input, Operator, Output
from claraedge.pipelines.nodes import ScalarNode
from claraedge.pipelines.operators import Draft
from claraedge.pipelines.problems import Report, shown


def link(drafts: Sequence[Draft], report: Report) -> tuple[Operator, ...]:
    """The operators, with every `from` and `name` in the spelling of what it names.

    Complete only if the report is clean. An input whose `from` rests on an unresolved placeholder
    is answered without a source.
    """
    by_name = _by_name(drafts, report)
    operators = []
    edges: dict[str, dict[str, ScalarNode]] = {}
    for draft in drafts:
        inputs = []
        for folder in draft.inputs:
            upstream = _upstream(draft, folder, by_name, report)
            if upstream is not None and upstream.name is not None and folder.source is not None:
                if draft.name is not None:
                    reads = edges.setdefault(draft.name.text, {})
                    reads.setdefault(upstream.name.text, folder.source)
                name = _output_name(folder, upstream, report)
                inputs.append(Input(path=folder.written, source=upstream.name.text, name=name))
            else:
                name = folder.name.text if folder.name is not None else None
                inputs.append(Input(path=folder.written, name=name))
        operators.append(
            Operator(
                name=draft.name.text if draft.name is not None else "",
                description=draft.description,
                container=draft.container or Container(image=""),
                inputs=tuple(inputs),
                outputs=tuple(
                    Output(path=o.written, name=o.name.text if o.name is not None else None)
                    for o in draft.outputs
                ),
                variables=draft.variables,
                requests=draft.requests,
            )
        )
    _refuse_cycles(edges, report)
    return tuple(operators)


def _by_name(drafts: Sequence[Draft], report: Report) -> Mapping[str, Draft]:
    """Folded name -> operator; the first of each name."""
    found: dict[str, Draft] = {}
    for draft in drafts:
        if draft.name is None:
            continue
        first = found.setdefault(draft.name.text.casefold(), draft)
        if first is not draft and first.name is not None:
            report.error(
                "duplicate-operator",
                draft.name,
                f"two operators are named {shown(draft.name.text)} (names are compared without"
                f" case), the first on line {first.name.line}",
                "give each operator its own name",
            )
    return found


def _upstream(
    draft: Draft, folder: Folder, by_name: Mapping[str, Draft], report: Report
) -> Draft | None:
    """The operator that an input reads from; None: the payload, unknown yet, or refused."""
    source = folder.source
    if source is None or source.unresolved:
        return None
    upstream = by_name.get(source.text.casefold())
    if upstream is draft:
        report.error(
            "input-from-itself",
            source,
            f"the operator {shown(source.text)} reads its own output",
            "name another operator, or remove `from` to read the job's input",
        )
        return None
    if upstream is None:
        names = [d.name.text for d in by_name.values() if d.name is not None]
        report.error(
            "unknown-operator",
            source,
            f"no operator is named {shown(source.text)}",
            report.speller.fix(
                source.text,
                names,
                "name an operator of this pipeline, or remove `from` to read the job's input",
            ),
        )
    return upstream


def _output_name(folder: Folder, upstream: Draft, report: Report) -> str | None:
    """The output that an input reads, in that output's spelling; None: the operator's folder."""
    assert upstream.name is not None
    where = shown(upstream.name.text)
    named = {o.name.text.casefold(): o for o in upstream.outputs if o.name is not None}
    if not upstream.outputs:
        if upstream.node.get("output") is None:
            report.error(
                "no-output",
                folder.source or folder.node,
                f"the operator {where} has no output",
                f"add `output:` to {where}, or read from another operator",
            )
        return None
    if folder.name is None:
        if len(upstream.outputs) == 1:
            (only,) = upstream.outputs
            if only.name is not None and folder.node.get("name") is None:
                report.error(
                    "output-not-chosen",
                    folder.source or folder.node,
                    f"the output of {where} is named {shown(only.name.text)}",
                    f"add `name: {only.name.text}` to this input",
                )
            _check_elements(folder, only, report)
        return None
    if folder.name.unresolved:
        return folder.name.text
    output = named.get(folder.name.text.casefold())
    if output is not None and output.name is not None:
        _check_elements(folder, output, report)
        return output.name.text
    if any(o.name is None and o.node.get("name") is not None for o in upstream.outputs):
        return None  # a wrong name there is told there
    if any(o.name is not None and o.name.unresolved for o in upstream.outputs):
        return folder.name.text
    report.error(
        "unknown-output",
        folder.name,
        f"the operator {where} has no output named {shown(folder.name.text)}",
        report.speller.fix(
            folder.name.text,
            [o.name.text for o in named.values() if o.name is not None],
            "use one of " + ", ".join(shown(o.name.text) for o in named.values() if o.name)
            if named
            else "remove `name`: its only output has none",
        ),
    )
    return None


def _check_elements(folder: Folder, output: Folder, report: Report) -> None:
    """Both ends of a typed stream carry the same label."""
    ours, theirs = folder.element, output.element
    if ours is None or theirs is None or ours.unresolved or theirs.unresolved:
        return
    if ours.text.casefold() != theirs.text.casefold():
        report.error(
            "element-type-differs",
            ours,
            f"the input takes {shown(ours.text)}, and the output it reads (line {theirs.line})"
            f" gives {shown(theirs.text)}",
            "write the same `element-type` at both ends",
        )


def _refuse_cycles(edges: Mapping[str, Mapping[str, ScalarNode]], report: Report) -> None:
    """Tells each knot of operators that wait for each other once, by one of its cycles.

    `edges`: operator -> the operators it reads from, with the place of the `from`.
    """
    for cycle in _cycles(edges):
        # From the first member downward: `a -> b` reads "b takes what a made".
        first = cycle[0]
        at = edges[first][cycle[1]]
        path = " -> ".join([first, *reversed(cycle[1:]), first])
        report.error(
            "cycle",
            at,
            f"the operators wait for each other: {shown(path, 2000)}",
            f"remove one of these inputs, as this `from` of {shown(first)}",
        )


def _cycles(edges: Mapping[str, Mapping[str, ScalarNode]]) -> Iterator[list[str]]:
    """Cycles of a depth-first walk upstream, no operator in two of them.

    Each begins with the member that the definition names first and goes on upstream.
    """
    order = {name: index for index, name in enumerate(edges)}
    done: set[str] = set()
    told: set[str] = set()
    for root in edges:
        if root in done:
            continue
        walk = [root]
        on_walk = {root: 0}
        ahead = [iter(edges[root])]
        while walk:
            step = next(ahead[-1], None)
            if step is None:
                ahead.pop()
                done.add(walk[-1])
                del on_walk[walk.pop()]
            elif step in on_walk:
                cycle = walk[on_walk[step] :]
                if told.isdisjoint(cycle):
                    told.update(cycle)
                    start = cycle.index(min(cycle, key=order.__getitem__))
                    yield cycle[start:] + cycle[:start]
            elif step not in done and step in edges:
                on_walk[step] = len(walk)
                walk.append(step)
                ahead.append(iter(edges[step]))
