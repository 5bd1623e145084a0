"""Errors of jobs."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError
from claraedge.errors.calls import InvalidRequestError


class InvalidJobIdError(InvalidRequestError):
    """The text is not a valid job id.

    To do: give 32 hex digits, with or without dashes, as `claraedge list jobs` shows them.
    """

    name = "invalid-job-id"
    code = -0x2000


class JobNotFoundError(ClaraedgeError):
    """No job has this id.

    To do: find the id with `claraedge list jobs`; a job that is not started is removed after a day.
    """

    name = "job-not-found"
    code = -0x2001
    status = "NOT_FOUND"


class JobStoreError(ClaraedgeError):
    """The job could not be stored; no part of it was kept.

    To do: free space on the disk of the state folder, and try again.
    """

    name = "job-store"
    code = -0x2002


class JobListError(ClaraedgeError):
    """The jobs could not be listed: the state cannot be read.

    To do: check the disk of the state folder, and read `journalctl -u claraedge`.
    """

    name = "job-list"
    code = -0x2003


class InvalidJobNameError(InvalidRequestError):
    """The name of the job is empty or too long, or has characters that cannot be printed.

    To do: choose a name of 1 to 255 printable characters, with at most 255 bytes in UTF-8.
    """

    name = "invalid-job-name"
    code = -0x2100


class JobStateError(ClaraedgeError):
    """The call is not possible in the present state of the job.

    To do: create a new job.
    """

    name = "job-state"
    code = -0x2101
    status = "FAILED_PRECONDITION"


class OperatorNotFoundError(ClaraedgeError):
    """The job has no operator of this name.

    To do: use a name that the message lists, or `claraedge-engine` for the log of the job.
    """

    name = "operator-not-found"
    code = -0x2102
    status = "NOT_FOUND"


class ResultsNotFoundError(ClaraedgeError):
    """The job has no folder of delivered results: it is not delivered yet, or was removed.

    To do: wait until `claraedge describe job` names the folder, or read the files of the payload.
    """

    name = "results-not-found"
    code = -0x2103
    status = "NOT_FOUND"
