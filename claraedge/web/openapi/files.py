"""The operations of files and of uploads by tus, which belong to the service Files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from claraedge.web.openapi.operations import BINARY, JSON, Operation, OperationParameter
from claraedge.web.openapi.schemas import Schema
from claraedge.web.rpc.methods import Method

_SERVICE = "/claraedge.v1.Files/"
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "string", "maxLength": 0}
_NUMBER: Schema = {"type": "integer", "minimum": 0}
_ANY: Schema = {}
_PAYLOAD = OperationParameter(name="payload_id", place="path", schema=_TEXT)
_NAME = OperationParameter(
    name="name", place="path", schema=_TEXT, description="The path of the file; it may have `/`."
)
_UPLOAD = OperationParameter(name="upload_id", place="path", schema=_TEXT)
_FILES = "/v1/payloads/{payload_id}/files/"
#: Where files are read: the prefix of the names of operations, the path, and its variable.
_PLACES = (
    ("Files", _FILES, "payload_id"),
    ("ModelFiles", "/v1/models/{model_id}/files/", "model_id"),
    ("Results", "/v1/jobs/{job_id}/results/", "job_id"),
)
_DROP = OperationParameter(name="drop_id", place="path", schema=_TEXT)
_BYTES = "application/octet-stream"
_TUS = "The path of tus 1.0 (tus.io), whose clients work with it and know its bodies."


def _header(name: str, text: str, schema: Schema = _TEXT) -> OperationParameter:
    return OperationParameter(name=name, place="header", schema=schema, description=text)


def _flag(name: str, text: str) -> OperationParameter:
    return OperationParameter(name=name, place="query", schema=_FLAG, description=text)


_VERSION = _header("Tus-Resumable", "The version of tus.", {"const": "1.0.0"})
_OFFSET = _header("Upload-Offset", "Bytes that have arrived.", _NUMBER)
_CHECKSUM = _header("Upload-Checksum", "The algorithm and the checksum of the body, in base64.")
_FOLDER = (
    _flag("recursive", "Lists all files below the folder."),
    _flag("zip", "Sends all files below the folder as one archive."),
)
_KNOWN = (
    _header("If-Match", "The ETag that the file has to have."),
    _header("If-None-Match", "The ETag that the file must not have; `*`: it must not exist."),
)


def of_files(methods: Mapping[str, Method]) -> Iterable[Operation]:
    """Returns the operations of files, if their service is among `methods`."""
    return _OPERATIONS if any(path.startswith(_SERVICE) for path in methods) else ()


def _operation(
    verb: str,
    template: str,
    name: str,
    text: str,
    parameters: Sequence[OperationParameter],
    *,
    answer: Mapping[str, Schema] | None = None,
    request: Mapping[str, Schema] | None = None,
    also: Mapping[int, str],
) -> Operation:
    return Operation(
        verb=verb,
        template=template,
        name=name,
        tag="Files",
        text=text,
        parameters=parameters,
        request=request or {},
        needs_body=False,
        answer=answer,
        also=also,
    )


def _tus(prefix: str, root: str, place: OperationParameter) -> Iterable[Operation]:
    """Returns the operations of uploads below the path `root`."""
    one = f"{root}/{{upload_id}}"
    return (
        _operation(
            "OPTIONS", root, f"{prefix}Uploads_options", f"Says what is supported. {_TUS}", [place],
            also={204: "The headers `Tus-*` say it."},
        ),
        _operation(
            "POST",
            root,
            f"{prefix}Uploads_create",
            f"Begins an upload. {_TUS}",
            [
                place,
                _VERSION,
                _header("Upload-Length", "The bytes of the file.", _NUMBER),
                _header("Upload-Metadata", "`filename` and its value in base64."),
                _CHECKSUM,
            ],
            also={201: "The header `Location` has the upload."},
        ),
        _operation(
            "OPTIONS", one, f"{prefix}Upload_options",
            f"Says what is supported. {_TUS}", [place, _UPLOAD],
            also={204: "The headers `Tus-*` say it."},
        ),
        _operation(
            "HEAD", one, f"{prefix}Upload_offset",
            f"Says how much has arrived. {_TUS}", [place, _UPLOAD, _VERSION],
            also={200: "The header `Upload-Offset` has it.", 204: "As 200."},
        ),
        *(
            _operation(
                verb,
                one,
                f"{prefix}Upload_{name}",
                f"Sends the next bytes of a file. {_TUS}",
                [place, _UPLOAD, _VERSION, _OFFSET, _CHECKSUM],
                also={204: "The header `Upload-Offset` says how much has arrived."},
            )
            for verb, name in (("PATCH", "append"), ("POST", "append_by_post"))
        ),
        _operation(
            "DELETE", one, f"{prefix}Upload_end",
            f"Ends an upload and removes what has arrived. {_TUS}", [place, _UPLOAD, _VERSION],
            also={204: "It is ended."},
        ),
    )  # fmt: skip


_OPERATIONS: Sequence[Operation] = (
    *(
        _operation(
            "GET",
            f"{path}{{name=**}}",
            f"{prefix}_read",
            "Sends a file, or a part of it; of a folder, what it contains, or an archive.",
            [
                OperationParameter(name=variable, place="path", schema=_TEXT),
                _NAME,
                _header("Range", "The part of the file: `bytes=0-99`."),
                _header("If-Range", "The ETag that the file has to have; else all is sent."),
                *_KNOWN,
                _flag("download", "Browsers store the file."),
                *_FOLDER,
            ],
            answer={"*/*": _ANY},
            also={206: "A part of the file.", 304: "The file has not changed."},
        )
        for prefix, path, variable in _PLACES
    ),
    *(
        _operation(
            "GET",
            path,
            f"{prefix}_list",
            "Lists what the root folder contains, or sends all files as an archive.",
            [OperationParameter(name=variable, place="path", schema=_TEXT), *_FOLDER],
            answer={JSON: _ANY, "application/zip": BINARY},
            also={},
        )
        for prefix, path, variable in _PLACES
    ),
    _operation(
        "PUT",
        f"{_FILES}{{name=**}}",
        "Files_write",
        "Stores or replaces a file, whole or not at all.",
        [_PAYLOAD, _NAME, *_KNOWN],
        request={_BYTES: BINARY},
        answer={JSON: {"type": "object"}},
        also={201: "The file is new."},
    ),
    *_tus("", "/v1/payloads/{payload_id}/uploads", _PAYLOAD),
    *_tus("Drop", "/v1/drops/{drop_id}/uploads", _DROP),
)
