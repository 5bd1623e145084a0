"""Every error that a user can meet, in one table.

Each class has a stable `name` for programs, the Clara `header.code`, the gRPC status that stands
for it where an RPC has no header, and the exit code of the command line. Codes down to -0x2100 are
those that Clara Deploy 0.8.1 documents; the others lie in ranges that it leaves free.

A message says what happened, to which id, and what to do. The first part of a docstring says when
the error comes, `To do:` what helps: `build/errors-table` makes docs/errors.md of them.
"""

from __future__ import annotations

from typing import ClassVar


class ClaraedgeError(Exception):
    """The root of all errors; answered itself, it stands for a bug of the daemon.

    To do: read the journal (`journalctl -u claraedge`), and report it: this is a bug.
    """

    name: ClassVar[str] = "internal"
    code: ClassVar[int] = -0x5000
    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: tuple[str, ...] = messages


# --- asked wrongly -----------------------------------------------------------------------------


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

    To do: compare the client's protos with those in `protos/`.
    """

    name = "undecodable-request"
    code = -0x5002


class InvalidMetadataError(InvalidRequestError):
    """Metadata break a limit of Clara's, or repeat a key.

    To do: correct the entries that the message names; remove a key before it gets another value.
    """

    name = "invalid-metadata"
    code = -0x5003


class NotSupportedError(ClaraedgeError):
    """Part of the platform, but not of this version.

    To do: do without the call, or update claraedge.
    """

    name = "not-supported"
    code = -0x5004
    status = "UNIMPLEMENTED"


class CallTimeoutError(ClaraedgeError):
    """The call took longer than the server lets one take.

    To do: try again; raise `[api] unary_seconds` or `idle_seconds` where the work takes so long.
    """

    name = "call-timeout"
    code = -0x5005
    status = "DEADLINE_EXCEEDED"


class TooManyCallsError(ClaraedgeError):
    """So many calls of this kind are open that no more is served.

    To do: end what nobody needs (watches, downloads that nobody reads), or try again later.
    """

    name = "too-many-calls"
    code = -0x5006
    status = "RESOURCE_EXHAUSTED"


class StreamMemoryError(ClaraedgeError):
    """The open streams use all the memory that is set aside for them.

    To do: try again when some have ended; send fewer files or ids in one stream.
    """

    name = "stream-memory"
    code = -0x5007
    status = "RESOURCE_EXHAUSTED"


class ServiceNotFoundError(ClaraedgeError):
    """A health check names a service that this server does not have.

    To do: name one that server reflection lists, or none for the whole server.
    """

    name = "service-not-found"
    code = -0x5008
    status = "NOT_FOUND"


# --- pipelines ---------------------------------------------------------------------------------


class InvalidPipelineIdError(InvalidRequestError):
    """The text is no id of a pipeline.

    To do: give 32 hex digits, with or without dashes, as `claraedge list pipelines` shows them.
    """

    name = "invalid-pipeline-id"
    code = -0x1000


class PipelineNotFoundError(ClaraedgeError):
    """No pipeline has this id or name.

    To do: see `claraedge list pipelines`; create the pipeline if it is missing.
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
    """The new definition of the pipeline could not be stored; the old one stands.

    To do: free space on the disk of the state folder, and try again.
    """

    name = "pipeline-update"
    code = -0x1004


class PipelineOfFileError(ClaraedgeError):
    """The pipeline comes from a file of `pipelines.d`, so no call changes or removes it.

    To do: change the file that the message names, or take it out of the folder.
    """

    name = "pipeline-of-file"
    code = -0x5010
    status = "FAILED_PRECONDITION"


class PipelineDefinitionError(ClaraedgeError):
    """The definition in the request has the wrong form (no file, no text, too large).

    To do: send the text of the pipeline's YAML files, at most 16 MiB together.
    """

    name = "pipeline-definition"
    code = -0x1100
    status = "INVALID_ARGUMENT"


class PipelineLoadError(ClaraedgeError):
    """The definition is no YAML, or breaks a rule of the language; one message a problem.

    To do: correct each problem; the message has its file and line.
    """

    name = "pipeline-load"
    code = -0x1101
    status = "INVALID_ARGUMENT"


# --- jobs --------------------------------------------------------------------------------------


class InvalidJobIdError(InvalidRequestError):
    """The text is no id of a job.

    To do: give 32 hex digits, with or without dashes, as `claraedge list jobs` shows them.
    """

    name = "invalid-job-id"
    code = -0x2000


class JobNotFoundError(ClaraedgeError):
    """No job has this id.

    To do: see `claraedge list jobs`; a job that is never started is removed after a day.
    """

    name = "job-not-found"
    code = -0x2001
    status = "NOT_FOUND"


class JobStoreError(ClaraedgeError):
    """The job could not be stored; nothing of it is left.

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
    """The name breaks the rule: 1 to 255 printable characters, at most 255 bytes of UTF-8.

    To do: choose a name that keeps the rule.
    """

    name = "invalid-job-name"
    code = -0x2100


class JobStateError(ClaraedgeError):
    """The job is not in a state in which the call means anything.

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

    To do: see `claraedge list inbox`; items are forgotten with the records of their jobs.
    """

    name = "item-not-found"
    code = -0x5020
    status = "NOT_FOUND"


class ItemRetryError(ClaraedgeError):
    """The item cannot be tried again: it has not failed, or its original is not there any more.

    To do: what the message says; to drop the file again always works.
    """

    name = "item-not-retried"
    code = -0x5021
    status = "FAILED_PRECONDITION"


class AdoptionError(ClaraedgeError):
    """What was dropped is not given to claraedge: it changed, or is not its dropper's alone.

    To do: what the message says; to drop it again, readable for the group, always works.
    """

    name = "not-adopted"
    code = -0x5022
    status = "FAILED_PRECONDITION"


# --- payloads ----------------------------------------------------------------------------------


class InvalidPayloadIdError(InvalidRequestError):
    """The text is no id of a payload.

    To do: give 32 hex digits, with or without dashes, as the creation answered them.
    """

    name = "invalid-payload-id"
    code = -0x3000


class PayloadNotFoundError(ClaraedgeError):
    """No payload has this id.

    To do: upload again into a new payload or job; deleted payloads do not come back.
    """

    name = "payload-not-found"
    code = -0x3001
    status = "NOT_FOUND"


class InvalidFileNameError(InvalidRequestError):
    """The name is empty, too long, leaves the payload, or is no text.

    To do: use a relative name without `..`, each part at most 255 bytes.
    """

    name = "invalid-file-name"
    code = -0x3100


class FileNotFoundInPayloadError(ClaraedgeError):
    """The payload has no file of this name.

    To do: see the payload's Details for the names that it has.
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
    """The payload takes no changes now (its job was started), or is of the wrong type.

    To do: wait until its job has stopped and its results are delivered, or use another payload.
    """

    name = "payload-state"
    code = -0x3103
    status = "FAILED_PRECONDITION"


class DamagedFileError(ClaraedgeError):
    """A file of a payload is missing or damaged on the disk of the daemon.

    To do: send the file again; look into `dmesg` for errors of that disk.
    """

    name = "damaged-file"
    code = -0x3105
    status = "DATA_LOSS"


class FileCollisionError(ClaraedgeError):
    """Two input payloads hold a file of the same name.

    To do: leave one of the files out, or rename it.
    """

    name = "file-collision"
    code = -0x3104
    status = "ALREADY_EXISTS"


# --- models ------------------------------------------------------------------------------------


class InvalidModelIdError(InvalidRequestError):
    """The text is no id of a model.

    To do: give 32 hex digits, with or without dashes, as `claraedge list models` shows them.
    """

    name = "invalid-model-id"
    code = -0x4000


class ModelNotFoundError(ClaraedgeError):
    """No model has this id.

    To do: see `claraedge list models`.
    """

    name = "model-not-found"
    code = -0x4001
    status = "NOT_FOUND"


class InvalidCatalogIdError(InvalidRequestError):
    """The text is no id of a catalog.

    To do: give 32 hex digits, with or without dashes.
    """

    name = "invalid-catalog-id"
    code = -0x4002


class CatalogNotFoundError(ClaraedgeError):
    """No catalog has this id.

    To do: list the catalogs; create one if it is missing.
    """

    name = "catalog-not-found"
    code = -0x4003
    status = "NOT_FOUND"


class InvalidInstanceIdError(InvalidRequestError):
    """The text is no id of an instance.

    To do: give 32 hex digits, with or without dashes.
    """

    name = "invalid-instance-id"
    code = -0x4004


class InstanceNotFoundError(ClaraedgeError):
    """No instance has this id.

    To do: list the instances; create one if it is missing.
    """

    name = "instance-not-found"
    code = -0x4005
    status = "NOT_FOUND"


class InvalidModelError(InvalidRequestError):
    """The archive is no model that can be stored; one message a problem.

    To do: what the message says. The model's folder itself can be sent in place of an archive.
    """

    name = "invalid-model"
    code = -0x4100


# --- images and containers ---------------------------------------------------------------------


class ImageNotFoundError(ClaraedgeError):
    """The image is not on this device.

    To do: load the image: `claraedge create image -f FILE`; or let it be pulled (docs/images.md).
    """

    name = "image-not-found"
    code = -0x5100
    status = "NOT_FOUND"


class InvalidImageError(ClaraedgeError):
    """The archive holds no image.

    To do: make the archive with `podman save` or `docker save`.
    """

    name = "invalid-image"
    code = -0x5101
    status = "INVALID_ARGUMENT"


class ImageInUseError(ClaraedgeError):
    """The image is not removed: containers are made of it.

    To do: wait until the jobs that use it have ended, or cancel them.
    """

    name = "image-in-use"
    code = -0x5108
    status = "FAILED_PRECONDITION"


class ContainerError(ClaraedgeError):
    """Podman refused to make or start a container; the message carries its reason.

    To do: correct what the message names, and create a new job.
    """

    name = "container"
    code = -0x5102


class DamagedImageError(ContainerError):
    """The image on this device is not what was stored, as after a power cut; the message says what.

    To do: load it again: `claraedge create image -f FILE` replaces what is damaged.
    """

    name = "image-damaged"
    code = -0x5107

    def __init__(self, *messages: str, image: str = "", what: str = "") -> None:
        super().__init__(*messages)
        self.image = image
        """Its id; empty where not even that is known."""
        self.what = what
        """What of it, without what to do."""


class RefusedImageError(ContainerError):
    """The image carries annotations or labels that are reserved for whoever runs containers.

    To do: build it again without those that the message names, and load that.
    """

    name = "image-refused"
    code = -0x510A
    status = "INVALID_ARGUMENT"


class DeviceError(ContainerError):
    """A container would not have the GPU that it was given, or could not use it.

    To do: change what the message names: the CDI spec, the driver, or who may open a device node.
    """

    name = "device"
    code = -0x5109


class NetworkError(ContainerError):
    """The containers of a job could not get their private network; the message carries the reason.

    To do: add what the message says is missing. Jobs without models and services need no network.
    """

    name = "network"
    code = -0x5104


class ServiceError(ClaraedgeError):
    """A service or the inference server that a job needs did not start, or ended; with its reason.

    To do: read the log that the message names; correct the service, and create a new job.
    """

    name = "service"
    code = -0x5105


class ModelNotReadyError(ServiceError):
    """The inference server has not loaded a model that a job needs; with the server's own reason.

    To do: what the reason says; upload the model again, and create a new job.
    """

    name = "model-not-ready"
    code = -0x5106


class RunnerUnavailableError(ClaraedgeError):
    """Podman does not answer. Work waits; it does not fail.

    To do: see `claraedge status` and the journal for the reason; work continues by itself.
    """

    name = "runner-unavailable"
    code = -0x5103
    status = "UNAVAILABLE"


class ImagePullError(ClaraedgeError):
    """A registry did not give the image; the message carries its reason.

    To do: look at the network and the registry, or load it: `claraedge create image -f FILE`.
    """

    name = "image-pull"
    code = -0x5110
    status = "UNAVAILABLE"


class ImageDeniedError(ImagePullError):
    """The registry wants credentials for the image, or refuses those that it got.

    To do: name a pull secret in the pipeline and configure its credentials (docs/images.md).
    """

    name = "image-denied"
    code = -0x5111
    status = "PERMISSION_DENIED"


class RegistryNotAllowedError(ImagePullError):
    """The configuration does not let images be pulled from there, and nobody was asked.

    To do: add the registry to `[images] allow`, or load the image (docs/images.md).
    """

    name = "registry-not-allowed"
    code = -0x5112
    status = "PERMISSION_DENIED"


# --- the daemon itself -------------------------------------------------------------------------


class ConfigurationError(ClaraedgeError):
    """The configuration has mistakes; one message each.

    To do: correct the settings that the messages name, and start the daemon again.
    """

    name = "configuration"
    code = -0x5200
    status = "FAILED_PRECONDITION"
    exit_code = 78  # EX_CONFIG: systemd must not restart on it


class AlreadyRunningError(ClaraedgeError):
    """Another daemon holds the lock.

    To do: stop the other daemon, or give this one folders of its own.
    """

    name = "already-running"
    code = -0x5201
    status = "FAILED_PRECONDITION"
    exit_code = 75


class StateFolderError(ClaraedgeError):
    """The state folder cannot be used: another user's, read-only, or not a folder.

    To do: look at the owner, the mode and the disk of the state folder.
    """

    name = "state-folder"
    code = -0x5202
    status = "FAILED_PRECONDITION"
    exit_code = 73


class NewerStateError(StateFolderError):
    """The state was written by a newer version of claraedge.

    To do: install the newer version again, or put back a copy of before (docs/state.md).
    """

    name = "newer-state"
    code = -0x5203


class DamagedStateError(StateFolderError):
    """The database of the state is damaged or lost. The daemon ends, and writes nothing more to it.

    To do: stop the daemon, look at the disk, and run `claraedge repair state` (docs/state.md).
    """

    name = "damaged-state"
    code = -0x5206


class BrokenDiskError(StateFolderError):
    """The disk of the state cannot be read or written. The daemon ends.

    To do: look into `dmesg`, check that disk, mount it for writing, and start the daemon again.
    """

    name = "broken-disk"
    code = -0x5207


class BackupError(ClaraedgeError):
    """A backup cannot be made or restored: the file is none, is damaged, or something is in its
    place.

    To do: what the message says; nothing was changed.
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
    """The daemon ended twice while it worked on this, so it works on it no more; all else goes on.

    To do: read the journal (`journalctl -u claraedge`) for what ended it, and report it; then have
    it tried again, with the command that the message names.
    """

    name = "set-aside"
    code = -0x5208
    status = "FAILED_PRECONDITION"


class NotSetAsideError(ClaraedgeError):
    """Nothing of this name is set aside.

    To do: see `claraedge status`, which names all that is.
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
