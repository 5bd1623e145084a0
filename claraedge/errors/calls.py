"""Wrong requests, and calls that the server does not serve."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class InvalidRequestError(ClaraedgeError):
    """The request lacks a part, or a part has the wrong form.

    To do: correct the request as the message says.
    """

    name = "invalid-request"
    code = -0x5001
    status = "INVALID_ARGUMENT"
    exit_code = 2


class UndecodableRequestError(InvalidRequestError):
    """The bytes of the request are not the protobuf message of the method.

    To do: build the client from the files in `protos/`, if its own differ from them.
    """

    name = "undecodable-request"
    code = -0x5002


class InvalidMetadataError(InvalidRequestError):
    """The metadata exceed a limit of Clara, or set a key that already has another value.

    To do: correct the entries that the message names; to change a value, remove its key first.
    """

    name = "invalid-metadata"
    code = -0x5003


class NotSupportedError(ClaraedgeError):
    """The call is part of Clara or of rapyuta.io, but not of this version of claraedge.

    To do: do what the message says; else update claraedge, or do not use the call.
    """

    name = "not-supported"
    code = -0x5004
    status = "UNIMPLEMENTED"


class CallTimeoutError(ClaraedgeError):
    """The call took longer than the server allows.

    To do: try again; if the work needs more time, raise `[api] unary_seconds` or `idle_seconds`.
    """

    name = "call-timeout"
    code = -0x5005
    status = "DEADLINE_EXCEEDED"


class TooManyCallsError(ClaraedgeError):
    """Too many calls of this kind are open at the same time.

    To do: end calls that nobody needs (watches, downloads that nobody reads), or try again later.
    """

    name = "too-many-calls"
    code = -0x5006
    status = "RESOURCE_EXHAUSTED"


class StreamMemoryError(ClaraedgeError):
    """The open streams use all the memory that is reserved for them.

    To do: try again when other streams have ended, or send fewer files or ids in one stream.
    """

    name = "stream-memory"
    code = -0x5007
    status = "RESOURCE_EXHAUSTED"


class ServiceNotFoundError(ClaraedgeError):
    """A health check names a service that this server does not have.

    To do: use a name that server reflection lists, or no name for the whole server.
    """

    name = "service-not-found"
    code = -0x5008
    status = "NOT_FOUND"


class ForeignRequestError(ClaraedgeError):
    """An HTTP request comes from a page of another site, or calls this device by a foreign name.

    To do: call the device as `localhost`, from a program or from its own pages.
    """

    name = "foreign-request"
    code = -0x5009
    status = "PERMISSION_DENIED"


class MessageSizeError(ClaraedgeError):
    """A message is larger than the server reads.

    To do: send large files as a stream of smaller messages.
    """

    name = "message-size"
    code = -0x500A
    status = "RESOURCE_EXHAUSTED"


class UnauthenticatedError(ClaraedgeError):
    """The caller did not show the token of this device, or shows one that was replaced.

    To do: send `Authorization: Bearer TOKEN`; `claraedge token`, on the device, prints the token.
    """

    name = "unauthenticated"
    code = -0x500B
    status = "UNAUTHENTICATED"
    exit_code = 77
