"""Links operators to those that they read from or wait for, and reports cycles. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from claraedge.pipelines import fastio
from claraedge.pipelines.checks.entries import DraftEntry
from claraedge.pipelines.checks.operators import Draft
from claraedge.pipelines.checks.types import check_agreement
from claraedge.pipelines.model import ContainerDefinition, Input, Operator, Output
from claraedge.pipelines.syntax.nodes import ListNode, ScalarNode
from claraedge.pipelines.syntax.problems import Report, listed, shown, where

#: Operator -> the operators that it waits for, each with the place that says so.
Edges = dict[str, dict[str, ScalarNode]]


def link(drafts: Sequence[Draft], report: Report) -> tuple[Operator, ...]:
    """Returns the operators; names of other operators are in the spelling of their own entry.

    The result is complete only if the report has no errors. An input whose `from` contains an
    unresolved placeholder has no source in the result, and such an entry of `order` is left out.
    """
    by_name = _by_name(drafts, report)
    edges: Edges = {}
    operators = []
    for draft in drafts:
        inputs = tuple(_input(draft, entry, by_name, edges, report) for entry in draft.inputs)
        operators.append(
            Operator(
                name=draft.name.text if draft.name is not None else "",
                description=draft.description,
                container=draft.container or ContainerDefinition(image=""),
                inputs=inputs,
                outputs=tuple(map(_output, draft.outputs)),
                variables=draft.variables,
                requests=draft.requests,
                timeout=draft.timeout,
                retry=draft.retry,
                outside=draft.outside,
                order=_order(draft, by_name, edges, report),
                models=draft.models,
                services=draft.services,
            )
        )
    _refuse_cycles(edges, report)
    return tuple(operators)


def _input(
    draft: Draft,
    entry: DraftEntry,
    by_name: Mapping[str, Draft],
    edges: Edges,
    report: Report,
) -> Input:
    upstream = None
    if entry.source is not None and not entry.source.unresolved:
        upstream = _named(
            draft, entry.source, by_name, "reads its own output", _OR_THE_PAYLOAD, report
        )
    source = None
    name = entry.name.text if entry.name is not None else None
    if upstream is not None and upstream.name is not None and entry.source is not None:
        _add_edge(edges, draft, upstream.name.text, entry.source)
        source = upstream.name.text
        name = _output_name(entry, upstream, report)
    path = entry.written
    if entry.type.in_memory:
        path = fastio.input_path(source or "", name or "")
    of = entry.type
    return Input(
        path=path,
        name=name,
        type=of.type,
        element_type=of.element_type,
        shape=of.shape,
        source=source,
    )


def _output(entry: DraftEntry) -> Output:
    name = entry.name.text if entry.name is not None else None
    of = entry.type
    return Output(
        path=fastio.output_path(name or "") if of.in_memory else entry.written,
        name=name,
        type=of.type,
        element_type=of.element_type,
        shape=of.shape,
    )


def _order(
    draft: Draft, by_name: Mapping[str, Draft], edges: Edges, report: Report
) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for written in draft.order:
        if written.unresolved:
            continue
        upstream = _named(draft, written, by_name, "waits for itself", "", report)
        if upstream is None or upstream.name is None:
            continue
        name = upstream.name.text
        if name in names:
            report.warning(
                "duplicate-order",
                written,
                f"`order` names {shown(written.text)} twice",
                "keep one of them",
            )
        names[name] = None
        _add_edge(edges, draft, name, written)
    return tuple(names)


def _add_edge(edges: Edges, draft: Draft, upstream: str, at: ScalarNode) -> None:
    # The same name here belongs to a second operator, which is reported.
    if draft.name is not None and draft.name.text != upstream:
        edges.setdefault(draft.name.text, {}).setdefault(upstream, at)


def _by_name(drafts: Sequence[Draft], report: Report) -> Mapping[str, Draft]:
    """Returns folded name -> operator, the first of each name."""
    found: dict[str, Draft] = {}
    for draft in drafts:
        if draft.name is None:
            continue
        first = found.setdefault(draft.name.text.casefold(), draft)
        if first is not draft and first.name is not None:
            report.error(
                "duplicate-operator",
                draft.name_at,
                f"two operators are named {shown(draft.name.text)} (names are compared without"
                f" case), the first on {where(first.name_at, draft.name_at)}",
                "give each operator its own name; a `name` next to `import` replaces the file's",
            )
    return found


_OR_THE_PAYLOAD = ", or remove `from` to read the job's input"


def _named(
    draft: Draft,
    written: ScalarNode,
    by_name: Mapping[str, Draft],
    of_itself: str,
    otherwise: str,
    report: Report,
) -> Draft | None:
    """Returns the other operator that a text names; None where it is wrong, which is reported."""
    upstream = by_name.get(written.text.casefold())
    if upstream is draft:
        report.error(
            "operator-names-itself",
            written,
            f"the operator {shown(written.text)} {of_itself}",
            f"name another operator{otherwise}",
        )
        return None
    if upstream is None:
        names = (d.name.text for d in by_name.values() if d.name is not None)
        report.error(
            "unknown-operator",
            written,
            f"no operator is named {shown(written.text)}",
            report.speller.fix(
                written.text, names, f"name an operator of this pipeline{otherwise}"
            ),
        )
    return upstream


def _output_name(entry: DraftEntry, upstream: Draft, report: Report) -> str | None:
    """Returns the name of the output that an input reads, in that output's spelling; None: the
    operator's only output has no name, or its whole folder is read, or an error is reported.
    """
    assert upstream.name is not None
    where = shown(upstream.name.text)
    named = upstream.named_outputs
    if not upstream.outputs:
        written = upstream.node.get("output")
        # Something written there that is no output is reported at its own place.
        empty = isinstance(written, ListNode) and not written.items
        if written is None or empty or (isinstance(written, ScalarNode) and written.null):
            report.error(
                "no-output",
                entry.source or entry.node,
                f"the operator {where} has no output",
                f"add `output:` to {where}, or read from another operator",
            )
        return None
    if entry.name is None:
        if len(upstream.outputs) == 1:
            (only,) = upstream.outputs
            missing = entry.node.get("name") is None and not entry.type.in_memory
            if only.name is not None and missing:
                report.error(
                    "output-not-chosen",
                    entry.source or entry.node,
                    f"the output of {where} is named {shown(only.name.text)}",
                    f"add `name: {only.name.text}` to this input",
                )
            check_agreement(entry.type, only.type, report)
        return None
    if entry.name.unresolved:
        return entry.name.text
    output = named.get(entry.name.text.casefold())
    if output is not None and output.name is not None:
        check_agreement(entry.type, output.type, report)
        return output.name.text
    if upstream.wrong_outputs:
        return None  # a wrong name is reported at its own place
    if upstream.open_outputs:
        return entry.name.text
    report.error(
        "unknown-output",
        entry.name,
        f"the operator {where} has no output named {shown(entry.name.text)}",
        report.speller.fix(
            entry.name.text,
            (o.name.text for o in named.values() if o.name is not None),
            "use one of " + listed(o.name.text for o in named.values() if o.name is not None)
            if named
            else "remove `name`: its only output has none",
        ),
    )
    return None


def _refuse_cycles(edges: Edges, report: Report) -> None:
    """Reports each group of operators that wait for each other once, by one of its cycles."""
    for cycle in _cycles(edges):
        # Start with the first member and go downstream: `a -> b` means "b reads what a wrote".
        first = cycle[0]
        at = edges[first][cycle[1]]
        path = " -> ".join([first, *reversed(cycle[1:]), first])
        report.error(
            "cycle",
            at,
            f"the operators wait for each other: {shown(path, 2000)}",
            f"remove one of these ties, as this one of {shown(first)}",
        )


def _cycles(edges: Edges) -> Iterator[list[str]]:
    """Yields cycles of a depth-first walk upstream, with no operator in two of them.

    Each begins with the member that the definition names first, and continues upstream.
    """
    order = {name: index for index, name in enumerate(edges)}
    done: set[str] = set()
    for root in edges:
        if root in done:
            continue
        walk = [root]
        on_walk = {root: 0}
        reported = [-1]  # positions on the walk that are in a reported cycle
        ahead = [iter(edges[root])]
        while walk:
            step = next(ahead[-1], None)
            if step is None:
                ahead.pop()
                done.add(walk[-1])
                del on_walk[walk.pop()]
                if reported[-1] == len(walk):
                    reported.pop()
            elif step in on_walk:
                if reported[-1] < on_walk[step]:
                    reported.extend(range(on_walk[step], len(walk)))
                    cycle = walk[on_walk[step] :]
                    start = cycle.index(min(cycle, key=order.__getitem__))
                    yield cycle[start:] + cycle[:start]
            elif step not in done and step in edges:
                on_walk[step] = len(walk)
                walk.append(step)
                ahead.append(iter(edges[step]))
