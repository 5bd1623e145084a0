"""Every error that a user can see, in one table.

Each class has a stable `name` for programs, the Clara `header.code`, the gRPC status that replaces
it where an RPC has no header, and the exit code of the command line. Codes down to -0x2100 are
those that Clara Deploy 0.8.1 documents; the others lie in ranges that it leaves free.

A message says what happened, to which id, and what to do. The first part of a docstring says when
the error occurs, and `To do:` what to do about it; `build/errors-table` generates docs/errors.md
from both.
"""

from __future__ import annotations

from typing import ClassVar


class ClaraedgeError(Exception):
    """The base class of all errors. If an answer has this error itself, the daemon has a bug.

    To do: report the bug, with what the journal shows (`journalctl -u claraedge`).
    """

    name: ClassVar[str] = "internal"
    code: ClassVar[int] = -0x5000
    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: tuple[str, ...] = messages


# --- wrong requests ----------------------------------------------------------------------------


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
    """The call is part of the Clara platform, but not of this version of claraedge.

    To do: update claraedge, or do not use the call.
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


# --- pipelines ---------------------------------------------------------------------------------


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


# --- jobs --------------------------------------------------------------------------------------


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


# --- the inbox --------------------------------------------------------------------------------


class ItemNotFoundError(ClaraedgeError):
    """No item of the drop folder has this id.

    To do: find the id with `claraedge list inbox`; an item is removed with the record of its job.
    """

    name = "item-not-found"
    code = -0x5020
    status = "NOT_FOUND"


class ItemRetryError(ClaraedgeError):
    """The item cannot be tried again: it neither failed nor waits, or its original is missing.

    To do: do what the message says, or drop the file again, which always works.
    """

    name = "item-not-retried"
    code = -0x5021
    status = "FAILED_PRECONDITION"


class AdoptionError(ClaraedgeError):
    """Dropped files cannot be given to the user of claraedge: they changed, or they may belong to
    someone other than the user who dropped them.

    To do: do what the message says, or drop copies that the group can read, which always works.
    """

    name = "not-adopted"
    code = -0x5022
    status = "FAILED_PRECONDITION"


# --- payloads ----------------------------------------------------------------------------------


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


# --- models ------------------------------------------------------------------------------------


class InvalidModelIdError(InvalidRequestError):
    """The text is not a valid model id.

    To do: give 32 hex digits, with or without dashes, as `claraedge list models` shows them.
    """

    name = "invalid-model-id"
    code = -0x4000


class ModelNotFoundError(ClaraedgeError):
    """No model has this id.

    To do: find the id with `claraedge list models`; upload the model if it is missing.
    """

    name = "model-not-found"
    code = -0x4001
    status = "NOT_FOUND"


class InvalidCatalogIdError(InvalidRequestError):
    """The text is not a valid catalog id.

    To do: give 32 hex digits, with or without dashes.
    """

    name = "invalid-catalog-id"
    code = -0x4002


class CatalogNotFoundError(ClaraedgeError):
    """No catalog has this id.

    To do: list the catalogs to find the id; create the catalog if it is missing.
    """

    name = "catalog-not-found"
    code = -0x4003
    status = "NOT_FOUND"


class InvalidInstanceIdError(InvalidRequestError):
    """The text is not a valid instance id.

    To do: give 32 hex digits, with or without dashes.
    """

    name = "invalid-instance-id"
    code = -0x4004


class InstanceNotFoundError(ClaraedgeError):
    """No instance has this id.

    To do: list the instances to find the id; create the instance if it is missing.
    """

    name = "instance-not-found"
    code = -0x4005
    status = "NOT_FOUND"


class InvalidModelError(InvalidRequestError):
    """The archive is not a model that can be stored; each problem has a message.

    To do: correct what the messages name. You can send the model's folder instead of an archive.
    """

    name = "invalid-model"
    code = -0x4100


# --- images and containers ---------------------------------------------------------------------


class ImageNotFoundError(ClaraedgeError):
    """The image is not on this device.

    To do: load the image (`claraedge create image -f FILE`), or let the daemon pull it
    (docs/images.md).
    """

    name = "image-not-found"
    code = -0x5100
    status = "NOT_FOUND"


class InvalidImageError(ClaraedgeError):
    """The archive contains no image.

    To do: make the archive with `podman save` or `docker save`.
    """

    name = "invalid-image"
    code = -0x5101
    status = "INVALID_ARGUMENT"


class ImageInUseError(ClaraedgeError):
    """The image was not removed, because containers use it.

    To do: wait until the jobs that use it have ended, or cancel them.
    """

    name = "image-in-use"
    code = -0x5108
    status = "FAILED_PRECONDITION"


class ContainerError(ClaraedgeError):
    """Podman refused to create or start a container; the message contains its reason.

    To do: correct what the message names, and create a new job.
    """

    name = "container"
    code = -0x5102


class DamagedImageError(ContainerError):
    """The image on this device is damaged, for example after a power cut; the message says what.

    To do: load the image again: `claraedge create image -f FILE` replaces what is damaged.
    """

    name = "image-damaged"
    code = -0x5107

    def __init__(self, *messages: str, image: str = "", what: str = "") -> None:
        super().__init__(*messages)
        self.image = image
        """Its id; empty if the id is not known."""
        self.what = what
        """What is damaged, without what to do."""


class RefusedImageError(ContainerError):
    """The image has annotations or labels that are reserved for the program that runs containers.

    To do: build the image again without those that the message names, and load the new image.
    """

    name = "image-refused"
    code = -0x510A
    status = "INVALID_ARGUMENT"


class DeviceError(ContainerError):
    """A container would run without a GPU that it was given, or could not use it.

    To do: correct what the message names: the CDI spec, the driver, or the permissions of a device
    node.
    """

    name = "device"
    code = -0x5109


class NetworkError(ContainerError):
    """The containers of a job could not get their private network; the message has the reason.

    To do: add what is missing, as the message says. Jobs without models and services need no
    network.
    """

    name = "network"
    code = -0x5104


class ServiceError(ClaraedgeError):
    """A service or the inference server that a job needs did not start, or ended; the message
    contains the reason.

    To do: read the log that the message names; correct the service, and create a new job.
    """

    name = "service"
    code = -0x5105


class ModelNotReadyError(ServiceError):
    """The inference server did not load a model that a job needs; the message contains its reason.

    To do: correct the model as the reason says, upload it again, and create a new job.
    """

    name = "model-not-ready"
    code = -0x5106


class RunnerUnavailableError(ClaraedgeError):
    """Podman does not answer. Work waits; it does not fail.

    To do: read the reason in `claraedge status` or the journal, and correct it; work then continues
    by itself.
    """

    name = "runner-unavailable"
    code = -0x5103
    status = "UNAVAILABLE"


class ImagePullError(ClaraedgeError):
    """A registry did not deliver the image; the message contains its reason.

    To do: check the network and the registry, or load the image (`claraedge create image -f FILE`).
    """

    name = "image-pull"
    code = -0x5110
    status = "UNAVAILABLE"


class ImageDeniedError(ImagePullError):
    """The registry requires credentials for the image, or refuses those that it received.

    To do: name a pull secret in the pipeline and configure its credentials (docs/images.md).
    """

    name = "image-denied"
    code = -0x5111
    status = "PERMISSION_DENIED"


class RegistryNotAllowedError(ImagePullError):
    """The configuration does not allow pulls from this registry, so it received no request.

    To do: add the registry to `[images] allow`, or load the image (docs/images.md).
    """

    name = "registry-not-allowed"
    code = -0x5112
    status = "PERMISSION_DENIED"


# --- the daemon itself -------------------------------------------------------------------------


class ConfigurationError(ClaraedgeError):
    """The configuration has mistakes; each has a message.

    To do: correct the settings that the messages name, and start the daemon again.
    """

    name = "configuration"
    code = -0x5200
    status = "FAILED_PRECONDITION"
    exit_code = 78  # EX_CONFIG: systemd must not restart on it


class AlreadyRunningError(ClaraedgeError):
    """Another program uses a folder or an address that this daemon needs.

    To do: stop that program, or give this daemon a folder or an address of its own.
    """

    name = "already-running"
    code = -0x5201
    status = "FAILED_PRECONDITION"
    exit_code = 75


class StateFolderError(ClaraedgeError):
    """The state folder cannot be used: another user owns it, it is read-only, or it is no folder.

    To do: check the owner, the mode and the disk of the state folder.
    """

    name = "state-folder"
    code = -0x5202
    status = "FAILED_PRECONDITION"
    exit_code = 73


class NewerStateError(StateFolderError):
    """The state was written by a newer version of claraedge.

    To do: install the newer version again, or restore an older copy of the state (docs/state.md).
    """

    name = "newer-state"
    code = -0x5203


class DamagedStateError(StateFolderError):
    """The database of the state is damaged or lost. The daemon ends, and writes nothing more to it.

    To do: stop the daemon, check the disk, and run `claraedge repair state` (docs/state.md).
    """

    name = "damaged-state"
    code = -0x5206


class BrokenDiskError(StateFolderError):
    """The disk of the state cannot be read or written. The daemon ends.

    To do: check that disk (`dmesg` shows its errors), mount it for writing, and start the daemon.
    """

    name = "broken-disk"
    code = -0x5207


class BackupError(ClaraedgeError):
    """A backup cannot be made or restored: its file is damaged or not a backup, or the file or the
    state that it would create exists already.

    To do: do what the message says; nothing was changed.
    """

    name = "backup"
    code = -0x520A
    status = "FAILED_PRECONDITION"
    exit_code = 65  # EX_DATAERR


class StorageFullError(ClaraedgeError):
    """The disk is full. Work waits; it does not fail.

    To do: free space on the disk that the message names; work continues by itself.
    """

    name = "storage-full"
    code = -0x5204
    status = "RESOURCE_EXHAUSTED"


class SetAsideError(ClaraedgeError):
    """The daemon ended twice while it worked on this, so it no longer works on it. Other work
    continues.

    To do: find the cause in the journal (`journalctl -u claraedge`), and report it; then run the
    command that the message names, so that the daemon tries again.
    """

    name = "set-aside"
    code = -0x5208
    status = "FAILED_PRECONDITION"


class NotSetAsideError(ClaraedgeError):
    """Nothing of this name is set aside.

    To do: run `claraedge status`, which names everything that is set aside.
    """

    name = "not-set-aside"
    code = -0x5209
    status = "NOT_FOUND"


class UnavailableError(ClaraedgeError):
    """The daemon does not answer, or is stopping.

    To do: start the daemon (`systemctl start claraedge`, `claraedge serve`), and try again.
    """

    name = "unavailable"
    code = -0x5205
    status = "UNAVAILABLE"
    exit_code = 69
