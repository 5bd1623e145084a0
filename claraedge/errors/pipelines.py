"""Errors of pipelines."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError
from claraedge.errors.calls import InvalidRequestError


class InvalidPipelineIdError(InvalidRequestError):
    """The text is not a valid pipeline id.

    To do: give 32 hex digits, with or without dashes, as `claraedge list pipelines` shows them.
    """

    name = "invalid-pipeline-id"
    code = -0x1000


class PipelineNotFoundError(ClaraedgeError):
    """No pipeline has this id or name.

    To do: find the id or name with `claraedge list pipelines`, or create the pipeline.
    """

    name = "pipeline-not-found"
    code = -0x1001
    status = "NOT_FOUND"


class PipelineStoreError(ClaraedgeError):
    """The pipeline could not be stored.

    To do: free space on the disk of the state folder, and try again.
    """

    name = "pipeline-store"
    code = -0x1002


class PipelineListError(ClaraedgeError):
    """The pipelines could not be listed: the state cannot be read.

    To do: check the disk of the state folder, and read `journalctl -u claraedge`.
    """

    name = "pipeline-list"
    code = -0x1003


class PipelineUpdateError(ClaraedgeError):
    """The new definition of the pipeline could not be stored; the old one is kept.

    To do: free space on the disk of the state folder, and try again.
    """

    name = "pipeline-update"
    code = -0x1004


class PipelineOfFileError(ClaraedgeError):
    """The pipeline comes from a file of `pipelines.d`, so no call can change or remove it.

    To do: change the file that the message names, or remove it from the folder.
    """

    name = "pipeline-of-file"
    code = -0x5010
    status = "FAILED_PRECONDITION"


class PipelineDefinitionError(ClaraedgeError):
    """The definition in the request has no file or no text, or is too large.

    To do: send the text of the pipeline's YAML files, at most 16 MiB together.
    """

    name = "pipeline-definition"
    code = -0x1100
    status = "INVALID_ARGUMENT"


class PipelineLoadError(ClaraedgeError):
    """The definition is not valid YAML, or breaks a rule of the language. Each problem has its own
    message.

    To do: correct each problem at the file and line that its message names.
    """

    name = "pipeline-load"
    code = -0x1101
    status = "INVALID_ARGUMENT"
