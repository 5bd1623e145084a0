"""`claraedge repair state`: repairs a damaged state while no daemon runs."""

from __future__ import annotations

from pathlib import Path

import click

from claraedge.cli.output import lines, some


@click.group()
def repair() -> None:
    """Repair what a power cut or a failing disk has damaged."""


@repair.command("state")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The daemon's configuration.  [CLARAEDGE_CONFIG]",
)
@click.option("--state-dir", metavar="FOLDER", help="The state folder.  [CLARAEDGE_STATE_DIR]")
def repair_state(config: Path | None, state_dir: str | None) -> None:
    """Write a new database from what can be read of a damaged one. Stop the daemon first.

    Nothing is deleted: the damaged database, and files that the new one does not know, are moved to
    a folder `damaged-DATE-TIME` of the state.
    """
    from claraedge.daemon.repair import repair as run

    given = {} if state_dir is None else {"state_dir": str(Path(state_dir).absolute())}
    done = run(config, given)
    if done is None:
        click.echo("the state is sound; there is nothing to repair")
        return
    shown = [
        ("DAMAGE", done.damage),
        ("MOVED TO", str(done.put_aside)),
        *(
            ("TABLE", f"{t.name}: {t.rows} rows" + ("" if t.whole else "; others are lost"))
            for t in done.tables
            if t.rows or not t.whole
        ),
        *some("LOST JOB", done.lost_jobs),
        *some("PAYLOAD WITHOUT ITS JOB", done.jobless),
        *some("ENDED JOB", done.ended_jobs),
        *some("UNKNOWN", done.unknown),
    ]
    click.echo(lines(shown))
    click.echo(
        "\nThe daemon can be started again. The damaged files are in the folder shown at MOVED TO;"
        " remove it when nobody needs them any more."
    )
