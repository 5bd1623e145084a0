"""Errors of payloads and their files."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError
from claraedge.errors.calls import InvalidRequestError


class InvalidPayloadIdError(InvalidRequestError):
    """The text is not a valid payload id.

    To do: give 32 hex digits, with or without dashes, as the call that created it returned them.
    """

    name = "invalid-payload-id"
    code = -0x3000


class PayloadNotFoundError(ClaraedgeError):
    """No payload has this id.

    To do: upload the files into a new payload or job; a deleted payload cannot be restored.
    """

    name = "payload-not-found"
    code = -0x3001
    status = "NOT_FOUND"


class InvalidFileNameError(InvalidRequestError):
    """The file name is empty, too long or not text, or leads out of the payload.

    To do: use a relative name without `..`, each part at most 255 bytes.
    """

    name = "invalid-file-name"
    code = -0x3100


class FileNotFoundInPayloadError(ClaraedgeError):
    """The payload has no file of this name.

    To do: use a name that the `Details` call of the payload returns.
    """

    name = "file-not-found"
    code = -0x3101
    status = "NOT_FOUND"


class AmbiguousFileNameError(ClaraedgeError):
    """Several files differ from the name only in upper and lower case, and none equals it.

    To do: give the name in its exact case.
    """

    name = "ambiguous-file-name"
    code = -0x3102
    status = "FAILED_PRECONDITION"


class PayloadStateError(ClaraedgeError):
    """The payload is of the wrong type, or cannot be changed now because its job was started.

    To do: wait until its job has stopped and its results are delivered, or use another payload.
    """

    name = "payload-state"
    code = -0x3103
    status = "FAILED_PRECONDITION"


class DamagedFileError(ClaraedgeError):
    """A file of a payload is missing or damaged on the disk of the daemon.

    To do: upload the file again; check `dmesg` for errors of that disk.
    """

    name = "damaged-file"
    code = -0x3105
    status = "DATA_LOSS"


class FileCollisionError(ClaraedgeError):
    """Two input payloads contain a file of the same name.

    To do: remove or rename one of the files.
    """

    name = "file-collision"
    code = -0x3104
    status = "ALREADY_EXISTS"


class FileChangedError(ClaraedgeError):
    """A file is not, or no longer, the one that the request names by its ETag, or exists already.

    To do: ask for the file as it is now (`Stat`), and repeat the request with its ETag.
    """

    name = "file-changed"
    code = -0x3106
    status = "FAILED_PRECONDITION"
    http_status = 412


class FileRangeError(ClaraedgeError):
    """The request asks for bytes after the end of the file.

    To do: begin at an offset that is at most the size of the file; `Stat` returns the size.
    """

    name = "file-range"
    code = -0x3107
    status = "OUT_OF_RANGE"
    http_status = 416


class UploadNotFoundError(ClaraedgeError):
    """No resumable upload has this id: it was cancelled, is over, or had no activity for a day.

    To do: start a new upload, and send the file from its beginning.
    """

    name = "upload-not-found"
    code = -0x3110
    status = "NOT_FOUND"


class UploadOffsetError(ClaraedgeError):
    """An upload was continued at another offset than it has, or by two calls at the same time.

    To do: ask for the offset of the upload, and continue there, with one call at a time.
    """

    name = "upload-offset"
    code = -0x3111
    status = "ABORTED"


class UploadChecksumError(ClaraedgeError):
    """The bytes that arrived do not have the checksum that the client sent; they were dropped.

    To do: send the same bytes again, at the same offset.
    """

    name = "upload-checksum"
    code = -0x3112
    status = "INVALID_ARGUMENT"
    http_status = 460


class UploadSizeError(InvalidRequestError):
    """An upload has more or fewer bytes than its client declared.

    To do: start a new upload with the size of the file, and do not change the file meanwhile.
    """

    name = "upload-size"
    code = -0x3113
    http_status = 413


class TooManyUploadsError(ClaraedgeError):
    """Too many resumable uploads are unfinished.

    To do: finish or cancel some of them; each ends by itself after a day without activity.
    """

    name = "too-many-uploads"
    code = -0x3114
    status = "RESOURCE_EXHAUSTED"
