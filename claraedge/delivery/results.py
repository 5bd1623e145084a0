"""Where the results of a job are."""

from __future__ import annotations

from pathlib import Path

from claraedge.errors import ResultsNotFoundError
from claraedge.jobs import records as jobs
from claraedge.store.database import Database, Transaction


async def results_of(database: Database, job: str) -> Path:
    """Returns the folder with the delivered results of a job, or with its failure.

    Raises JobNotFoundError, and ResultsNotFoundError where there is none.
    """

    def work(tx: Transaction) -> Path:
        jobs.get(tx, job)
        row = tx.row("delivery", job=job)
        if row is None or row["path"] is None:
            raise ResultsNotFoundError(
                f"the results of the job {job} are not delivered (yet); read the files of its"
                " payload, or wait for that"
            )
        if row["removed"] is not None:
            raise ResultsNotFoundError(
                f"the delivered results of the job {job} were removed after the time that"
                " `[retention]` says; raise that for later jobs"
            )
        return Path(row["path"])

    return await database.read(work)
