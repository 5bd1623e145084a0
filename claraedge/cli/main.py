"""The entry point of the command line: its commands, error texts and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from claraedge import __version__
from claraedge.cli import (
    adopt,
    backup,
    cancel,
    check,
    create,
    delete,
    deploy,
    describe,
    find,
    listing,
    logs,
    openapi,
    render,
    repair,
    retry,
    schema,
    serve,
    start,
    status,
    token,
    transfer,
    update,
    utilization,
)
from claraedge.cli.encoding import ensure_utf8
from claraedge.errors import ClaraedgeError

INTERRUPTED = 130  # as a shell reports SIGINT
PIPE_CLOSED = 141  # as a shell reports SIGPIPE


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", help="The daemon: unix:/path or [tls:]host:port.  [CLARAEDGE_HOST]")
@click.version_option(__version__, prog_name="claraedge", message="%(prog)s %(version)s")
def app(host: str | None) -> None:
    """Run pipelines of containers on this device.

    `claraedge serve` is the daemon; most other commands are clients of one. Ids can be shortened to
    any beginning that is unique.
    """
    del host  # read by the commands, see options.remote


for _command in (
    serve.serve,
    create.create,
    start.start,
    listing.list_,
    find.find,
    describe.describe,
    cancel.cancel,
    delete.delete,
    deploy.deploy,
    deploy.undeploy,
    logs.logs,
    transfer.download,
    transfer.upload,
    update.update,
    retry.retry,
    adopt.adopt,
    repair.repair,
    backup.backup,
    backup.restore,
    status.status,
    status.version,
    token.token,
    utilization.utilization,
    utilization.stop,
    check.check,
    render.render,
    schema.schema,
    openapi.openapi,
):
    app.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; prints an error as one text on stderr."""
    try:
        code = app.main(list(arguments), prog_name="claraedge", standalone_mode=False)
        if sys.stdout is not None:  # None if it is closed, as by `>&-`
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"{error.ctx.get_usage()}\n", err=True)
        return _fail(error.exit_code, error.format_message())
    except ClaraedgeError as error:
        return _fail(error.exit_code, *(error.messages or (error.name,)))
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. The interpreter flushes again at exit, now to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(1, f"{place}{error.strerror or error}")
    return code if isinstance(code, int) else 0


def _fail(code: int, *messages: str) -> int:
    first, *rest = "\n".join(messages).split("\n")
    click.echo("\n".join([f"claraedge: {first}", *(f"  {line}" for line in rest)]), err=True)
    return code


def main() -> None:
    """Runs the console script."""
    ensure_utf8()
    sys.exit(run(sys.argv[1:]))
