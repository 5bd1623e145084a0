"""Options and argument parsing that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar

import click

if TYPE_CHECKING:
    from claraedge.client import Connection

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The values of `--host` and `--output`."""

    host: str | None
    json: bool

    def connect(self) -> Connection:
        """Connects to the daemon; imports gRPC only here, so that help and usage errors are quick.

        Raises InvalidRequestError if `--host` is not a valid target.
        """
        from claraedge.client import connect

        return connect(self.host)

    def print_json(self, value: object) -> None:
        """Prints a value as one line of JSON on stdout."""
        print_json(value)


def print_json(value: object) -> None:
    """Prints a value as one line of JSON on stdout."""
    from claraedge.client.values import to_json

    click.echo(to_json(value))


def remote(command: Callable[Concatenate[Options, ...], R]) -> Callable[..., R]:
    """Adds `--host` and `--output`, and passes an `Options` as the first argument."""

    @click.option("--host", help="The daemon: unix:/path or [tls:]host:port.  [CLARAEDGE_HOST]")
    @click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Text for people, or JSON for programs (times in UTC).",
    )
    @functools.wraps(command)
    def wrapper(*, host: str | None, output: str, **arguments: Any) -> R:
        root: dict[str, Any] = click.get_current_context().find_root().params
        options = Options(host=host or root.get("host"), json=output == "json")
        return command(options, **arguments)

    return wrapper


def output(command: Callable[..., R]) -> Callable[..., R]:
    """Adds `--output` to a command that needs no daemon, and passes `json`."""

    @click.option(
        "--output",
        "form",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Text for people, or JSON for programs.",
    )
    @functools.wraps(command)
    def wrapper(*, form: str, **arguments: Any) -> R:
        return command(json=form == "json", **arguments)

    return wrapper


def variables(command: Callable[..., R]) -> Callable[..., R]:
    """Adds `--variable NAME=VALUE`, a value for a parameter of the pipeline."""
    return click.option(
        "-v",
        "--variable",
        multiple=True,
        metavar="NAME=VALUE",
        help="Value of a parameter of the pipeline. Can be repeated.",
    )(command)


class Nouns(click.Group):
    """A command group that accepts its subcommands in singular and plural, as Clara's does."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for name in (cmd_name, f"{cmd_name}s", cmd_name.removesuffix("s")):
            if name in self.commands:
                return self.commands[name]
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            close = get_close_matches(args[0], self.commands, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(self.commands)}"
            ctx.fail(f"{ctx.info_name} knows no {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


def metadata(command: Callable[..., R]) -> Callable[..., R]:
    """Adds `--metadata KEY=VALUE`, which can be repeated."""
    return click.option(
        "-m",
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        help="Entry of the metadata. Can be repeated.",
    )(command)


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Returns NAME=VALUE arguments as a mapping. Raises click.BadParameter."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    return found
