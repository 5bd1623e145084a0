"""`claraedge serve`: runs the daemon itself."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click

from claraedge.cli.options import pairs

#: Flags for settings that people often change by hand; `--set` can change all of them.
FLAGS = {
    "state_dir": "state_dir",
    "runtime_dir": "runtime_dir",
    "inbox": "inbox.path",
    "outbox": "outbox.path",
    "log_level": "log.level",
    "log_format": "log.format",
}


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The configuration file (TOML).  [CLARAEDGE_CONFIG]",
)
@click.option("--state-dir", metavar="FOLDER", help="The state folder.  [CLARAEDGE_STATE_DIR]")
@click.option(
    "--runtime-dir", metavar="FOLDER", help="The folder of the socket.  [CLARAEDGE_RUNTIME_DIR]"
)
@click.option("--inbox", metavar="FOLDER", help="The drop folder.  [CLARAEDGE_INBOX_DIR]")
@click.option("--outbox", metavar="FOLDER", help="The results.  [CLARAEDGE_OUTBOX_DIR]")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--log-format", metavar="FORM", help="auto, text, json or journal.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting: inbox.settle_seconds=1, or a list: api.listen='[\"127.0.0.1:30031\"]'",
)
def serve(config: Path | None, settings: tuple[str, ...], **flags: str | None) -> int:
    """Run the daemon until it gets SIGTERM."""
    # Otherwise gRPC writes a line to the journal for each client that fails to speak TLS.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # What is imported stays: the garbage collector need not search it, now or ever again. That is a
    # tenth of the time until the daemon is ready.
    gc.disable()
    from claraedge import daemon  # imported here: other commands do not need the whole product

    gc.freeze()
    gc.enable()
    overrides = {FLAGS[flag]: value for flag, value in flags.items() if value is not None}
    for name in ("state_dir", "runtime_dir", "inbox.path", "outbox.path"):
        if name in overrides:  # relative to the caller's folder, not to that of the daemon
            overrides[name] = str(Path(overrides[name]).absolute())
    return daemon.main(config, overrides | pairs(settings, "--set"))
