"""Errors of packages, deployments and ROS bags."""

from __future__ import annotations

from claraedge.errors.base import ClaraedgeError


class InvalidManifestError(ClaraedgeError):
    """The manifest of a package is not valid JSON or YAML, or breaks a rule. Each mistake has its
    path.

    To do: correct each mistake at its path, and create the package again.
    """

    name = "invalid-manifest"
    code = -0x5300
    status = "INVALID_ARGUMENT"


class PackageExistsError(ClaraedgeError):
    """A package with this name and version exists.

    To do: use the package, give the manifest another `packageVersion`, or delete the package first.
    """

    name = "package-exists"
    code = -0x5301
    status = "ALREADY_EXISTS"


class PackageNotFoundError(ClaraedgeError):
    """No package has this id or name.

    To do: find the id or name with `claraedge list packages`, or create the package.
    """

    name = "package-not-found"
    code = -0x5302
    status = "NOT_FOUND"


class PackageInUseError(ClaraedgeError):
    """A deployment of the package has not stopped.

    To do: end the deployment that the message names with `claraedge undeploy`, then delete the
    package.
    """

    name = "package-in-use"
    code = -0x5303
    status = "FAILED_PRECONDITION"
    http_status = 409


class InvalidDeploymentError(ClaraedgeError):
    """The settings of a deployment do not match its package or this device. Each mistake has its
    place.

    To do: correct each mistake, and deploy again.
    """

    name = "invalid-deployment"
    code = -0x5310
    status = "INVALID_ARGUMENT"


class DeploymentExistsError(ClaraedgeError):
    """A deployment with this name has not stopped.

    To do: use the deployment that the message names, end it first, or give another name.
    """

    name = "deployment-exists"
    code = -0x5311
    status = "ALREADY_EXISTS"


class DeploymentNotFoundError(ClaraedgeError):
    """No deployment has this id or name.

    To do: find the id or name with `claraedge list deployments`.
    """

    name = "deployment-not-found"
    code = -0x5312
    status = "NOT_FOUND"


class DeploymentNotReadyError(ClaraedgeError):
    """The deployment is not in a phase that allows the call, or one that it depends on does not
    run.

    To do: wait until `claraedge describe deployment` shows the phase Succeeded, or correct what it
    reports.
    """

    name = "deployment-not-ready"
    code = -0x5313
    status = "FAILED_PRECONDITION"


class DeploymentInUseError(ClaraedgeError):
    """Other deployments depend on this one, or running jobs use it as a service.

    To do: end the deployments that the message names first, or wait for the end of the jobs.
    """

    name = "deployment-in-use"
    code = -0x5314
    status = "FAILED_PRECONDITION"
    http_status = 409


class DeploymentFailedError(ClaraedgeError):
    """An executable of a deployment could not be started, or has failed; the message contains the
    reason.

    To do: read the log that the message names; correct the image or the command, and deploy again.
    """

    name = "deployment-failed"
    code = -0x5315


class InvalidBagJobError(ClaraedgeError):
    """The settings of a bag job do not match its component, or have no effect on a device. Each
    mistake has its place.

    To do: correct each mistake, and start the job again.
    """

    name = "invalid-bag-job"
    code = -0x5330
    status = "INVALID_ARGUMENT"


class BagJobExistsError(ClaraedgeError):
    """A bag job of this component has the same name, and has not ended.

    To do: use the job that the message names, stop it first, or give another name.
    """

    name = "bag-job-exists"
    code = -0x5331
    status = "ALREADY_EXISTS"


class BagJobNotFoundError(ClaraedgeError):
    """No bag job has this id.

    To do: find the id with `claraedge list bag-jobs`.
    """

    name = "bag-job-not-found"
    code = -0x5332
    status = "NOT_FOUND"


class BagJobFailedError(ClaraedgeError):
    """The container that records the topics could not be started, or has failed; the message
    contains the reason.

    To do: read the log that the message names; use an image that has `rosbag`, and start the job
    again.
    """

    name = "bag-job-failed"
    code = -0x5333


class BagNotFoundError(ClaraedgeError):
    """No bag has this id.

    To do: find the id with `claraedge list bags`.
    """

    name = "bag-not-found"
    code = -0x5334
    status = "NOT_FOUND"


class BagNotReadyError(ClaraedgeError):
    """The bag is not stored in its payload yet.

    To do: wait until its status is Uploaded, then ask again.
    """

    name = "bag-not-ready"
    code = -0x5335
    status = "FAILED_PRECONDITION"
