"""`claraedge backup` and `claraedge restore`: write the state to one file, and restore it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from claraedge.cli.output import lines, local, some
from claraedge.texts import size

_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The daemon's configuration.  [CLARAEDGE_CONFIG]",
)
_STATE = click.option(
    "--state-dir", metavar="FOLDER", help="The state folder.  [CLARAEDGE_STATE_DIR]"
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--payloads",
    is_flag=True,
    help="Also the files of payloads, claimed files that are not yet jobs, and logs.",
)
@_CONFIG
@_STATE
def backup(file: Path, payloads: bool, config: Path | None, state_dir: str | None) -> None:
    """Write the state to FILE, a tar file. The daemon may be running.

    The backup contains jobs, items, pipelines, the records of results, and the files of models. It
    does not contain the files in inbox, outbox, failed and originals, nor container images. Run it
    as the user of the daemon. FILE must not exist; it appears once it is complete, and only that
    user can read it.
    """
    from claraedge.daemon.backups.backup import backup as run

    made = run(config, _given(state_dir), file.absolute(), payloads=payloads)
    shown = [
        ("BACKUP", str(file)),
        ("SIZE", size(made.size)),
        ("FILES", str(made.files)),
        ("JOBS", f"{made.jobs}, of which {made.unfinished} have not stopped"),
    ]
    if made.missing:
        shown.append(("MISSING", f"{made.missing} files that the database names do not exist"))
    if not payloads:
        shown.append(
            ("WITHOUT", "files of payloads, claimed files that are not yet jobs, and logs")
        )
    click.echo(lines(shown))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--replace",
    is_flag=True,
    help="Move the content of the state folder to a folder replaced-DATE-TIME in it.",
)
@_CONFIG
@_STATE
def restore(file: Path, replace: bool, config: Path | None, state_dir: str | None) -> None:
    """Restore the state from FILE, which `claraedge backup` wrote. Stop the daemon first.

    Run it as the user of the daemon. A state folder that is not empty is refused. After an
    interruption, either the old or the new state is there. The restored state is a new instance; it
    does not touch the containers of the old one.
    """
    from claraedge.daemon.backups.restore import restore as run

    done = run(config, _given(state_dir), file.absolute(), replace=replace)
    made = local(datetime.fromtimestamp(done.about.created, UTC))
    shown = [
        ("BACKUP", f"of {made}, by claraedge {done.about.version}, of {done.about.state}"),
        ("INSTANCE", f"{done.instance}, before {done.about.instance}"),
        ("JOBS", str(done.jobs)),
        *some("CONTINUES", done.unfinished),
    ]
    if done.put_aside is not None:
        shown.append(("MOVED TO", str(done.put_aside)))
    if done.lacking:
        shown.append(("MISSING", f"{done.lacking} files of payloads are not in the backup"))
    if not done.about.payloads:
        shown.append(
            ("WITHOUT", "files of payloads, claimed files that are not yet jobs, and logs")
        )
    click.echo(lines(shown))
    click.echo(
        "\nThe daemon can be started. Images of containers are not in a backup: load them. If the"
        " old daemon no longer runs on this machine, remove its containers, as its user:"
        " podman rm -f"
        f" $(podman ps -aq --filter label=io.claraedge.instance={done.about.instance})"
        f" $(podman ps -aq --filter label=io.claraedge.services={done.about.instance})"
        f" $(podman ps -aq --filter label=io.claraedge.deployments={done.about.instance})"
    )


def _given(state_dir: str | None) -> Mapping[str, str]:
    return {} if state_dir is None else {"state_dir": str(Path(state_dir).absolute())}
