"""The existing thing that a command is about: its argument, or Clara's option in its place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of thing that commands are about."""

    noun: str
    """Its name in error messages."""
    metavar: str
    """The argument's name in help texts."""
    options: tuple[str, ...] = ()
    """Clara's option for it, short and long; empty if there is none."""
    meaning: str = ""
    """What the option's value is; a sentence without its full stop."""


JOB = Kind(noun="job", metavar="ID", options=("-j", "--job"), meaning="Id of the job")
PIPELINE = Kind(
    noun="pipeline",
    metavar="PIPELINE",
    options=("-p", "--pipeline"),
    meaning="Id of the pipeline, or its name (the newest of that name)",
)
#: Things that Clara's command line does not have, or names by an argument as well.
ITEM = Kind(noun="item", metavar="ITEM")
MODEL = Kind(noun="model", metavar="ID")
PAYLOAD = Kind(noun="payload", metavar="ID")
PACKAGE = Kind(noun="package", metavar="PACKAGE")
ROUTE = Kind(noun="route", metavar="ROUTE")
NETWORK = Kind(noun="network", metavar="NETWORK")
DEPLOYMENT = Kind(noun="deployment", metavar="DEPLOYMENT")


def subject(
    name: str, kind: Kind, *, several: bool = False, before: str = "", needed: bool = True
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Adds the argument, and Clara's option in its place; passes the value as `name`.

    With `several` it accepts more than one and passes a tuple. `before` is the name of the variadic
    argument that follows: with the option, all arguments belong to that one. Unless it is `needed`,
    None is passed if it is not given.

    The command raises click.UsageError if neither or both are given, unless both are the same.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        metavar = f"{kind.metavar}..." if several else kind.metavar

        @functools.wraps(command)
        def wrapper(*, argument: Any, option: str | None = None, **others: Any) -> R:
            context = click.get_current_context()
            given: tuple[str, ...] = argument if several else (argument,) * (argument is not None)
            if option is not None:
                if before:
                    following = next(p for p in context.command.params if p.name == before)
                    first = [following.type.convert(text, following, context) for text in given]
                    others[before] = (*first, *others[before])
                elif given not in ((), (option,)):
                    raise click.UsageError(
                        f"{' '.join(given)} and {kind.options[0]} {option} both name the"
                        f" {kind.noun}: give one of them",
                        context,
                    )
                given = (option,)
            if not given and not needed:
                return command(**{name: None}, **others)
            if not given:
                raise click.UsageError(
                    f"name the {kind.noun}: {context.command_path} {metavar}", context
                )
            return command(**{name: given if several else given[0]}, **others)

        add = click.argument(
            "argument", metavar=metavar, nargs=-1 if several else 1, required=False
        )
        if not kind.options:
            return add(wrapper)
        return add(
            click.option(
                *kind.options,
                "option",
                metavar=kind.metavar,
                help=f"{kind.meaning}, in place of the argument.",
            )(wrapper)
        )

    return decorate
