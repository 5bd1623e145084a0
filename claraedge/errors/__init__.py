"""Every error that a user can see: a module for each thing that they are about. Import them here.

Each class has a stable `name` for programs, the Clara `header.code`, the gRPC status that replaces
it where an RPC has no header, and the exit code of the command line. Codes down to -0x2100 are
those that Clara Deploy 0.8.1 documents; the others lie in ranges that it leaves free.

A message says what happened, to which id, and what to do. The first part of a docstring says when
the error occurs, and `To do:` what to do about it; `build/errors-table` generates docs/errors.md
from both.
"""

from claraedge.errors.base import HTTP_STATUS, NAME_KEY, ClaraedgeError, kinds
from claraedge.errors.calls import (
    CallTimeoutError,
    ForeignRequestError,
    InvalidMetadataError,
    InvalidRequestError,
    MessageSizeError,
    NotSupportedError,
    ServiceNotFoundError,
    StreamMemoryError,
    TooManyCallsError,
    UnauthenticatedError,
    UndecodableRequestError,
)
from claraedge.errors.containers import (
    ContainerError,
    DeviceError,
    NetworkError,
    RunnerUnavailableError,
)
from claraedge.errors.daemon import (
    AlreadyRunningError,
    ConfigurationError,
    NotSetAsideError,
    SetAsideError,
    UnavailableError,
)
from claraedge.errors.images import (
    DamagedImageError,
    ImageDeniedError,
    ImageInUseError,
    ImageNotFoundError,
    ImagePullError,
    InvalidImageError,
    RefusedImageError,
    RegistryNotAllowedError,
)
from claraedge.errors.inbox import AdoptionError, ItemNotFoundError, ItemRetryError
from claraedge.errors.jobs import (
    InvalidJobIdError,
    InvalidJobNameError,
    JobListError,
    JobNotFoundError,
    JobStateError,
    JobStoreError,
    OperatorNotFoundError,
)
from claraedge.errors.models import (
    CatalogNotFoundError,
    InstanceNotFoundError,
    InvalidCatalogIdError,
    InvalidInstanceIdError,
    InvalidModelError,
    InvalidModelIdError,
    ModelNotFoundError,
)
from claraedge.errors.payloads import (
    AmbiguousFileNameError,
    DamagedFileError,
    FileCollisionError,
    FileNotFoundInPayloadError,
    InvalidFileNameError,
    InvalidPayloadIdError,
    PayloadNotFoundError,
    PayloadStateError,
)
from claraedge.errors.pipelines import (
    InvalidPipelineIdError,
    PipelineDefinitionError,
    PipelineListError,
    PipelineLoadError,
    PipelineNotFoundError,
    PipelineOfFileError,
    PipelineStoreError,
    PipelineUpdateError,
)
from claraedge.errors.services import ModelNotReadyError, ServiceError
from claraedge.errors.state import (
    BackupError,
    BrokenDiskError,
    DamagedStateError,
    NewerStateError,
    StateFolderError,
    StorageFullError,
)

__all__ = [
    "HTTP_STATUS",
    "NAME_KEY",
    "AdoptionError",
    "AlreadyRunningError",
    "AmbiguousFileNameError",
    "BackupError",
    "BrokenDiskError",
    "CallTimeoutError",
    "CatalogNotFoundError",
    "ClaraedgeError",
    "ConfigurationError",
    "ContainerError",
    "DamagedFileError",
    "DamagedImageError",
    "DamagedStateError",
    "DeviceError",
    "FileCollisionError",
    "FileNotFoundInPayloadError",
    "ForeignRequestError",
    "ImageDeniedError",
    "ImageInUseError",
    "ImageNotFoundError",
    "ImagePullError",
    "InstanceNotFoundError",
    "InvalidCatalogIdError",
    "InvalidFileNameError",
    "InvalidImageError",
    "InvalidInstanceIdError",
    "InvalidJobIdError",
    "InvalidJobNameError",
    "InvalidMetadataError",
    "InvalidModelError",
    "InvalidModelIdError",
    "InvalidPayloadIdError",
    "InvalidPipelineIdError",
    "InvalidRequestError",
    "ItemNotFoundError",
    "ItemRetryError",
    "JobListError",
    "JobNotFoundError",
    "JobStateError",
    "JobStoreError",
    "MessageSizeError",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "NetworkError",
    "NewerStateError",
    "NotSetAsideError",
    "NotSupportedError",
    "OperatorNotFoundError",
    "PayloadNotFoundError",
    "PayloadStateError",
    "PipelineDefinitionError",
    "PipelineListError",
    "PipelineLoadError",
    "PipelineNotFoundError",
    "PipelineOfFileError",
    "PipelineStoreError",
    "PipelineUpdateError",
    "RefusedImageError",
    "RegistryNotAllowedError",
    "RunnerUnavailableError",
    "ServiceError",
    "ServiceNotFoundError",
    "SetAsideError",
    "StateFolderError",
    "StorageFullError",
    "StreamMemoryError",
    "TooManyCallsError",
    "UnauthenticatedError",
    "UnavailableError",
    "UndecodableRequestError",
    "kinds",
]
