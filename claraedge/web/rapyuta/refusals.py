"""What this device does not have of rapyuta.io: for each path a sentence, and the status 501.

Who adds a feature removes its entry of `REFUSED`, and its check of `check_supported`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from claraedge.errors import NotSupportedError
from claraedge.web.http.failures import HttpError, refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DEVICES = "/api/device-manager/v0"

CLOUD_NETWORKS = (
    "a device has no networks of the runtime `cloud`, since they connect machines of a cloud;"
    " create one of the runtime `device` (create_device_routed_network, or a NativeNetwork with"
    " Parameters of the device)"
)
INTERFACES = (
    "a deployment reaches those that it depends on by a network of its own, since no interface of"
    " this device connects them; leave out network_interface of add_dependent_deployment"
)
DISKS = (
    "a device has no disks of a cloud, since its folders are on its own disk; mount a folder of the"
    " device instead (mount_volume with device=)"
)
#: Templates of paths by what is said about them.
REFUSED: Mapping[str, Sequence[str]] = {
    DISKS: ["/disk", "/disk/{path=**}"],
    (
        "a device builds no images, since it has neither the source code nor room for compilers;"
        " build the image elsewhere, load it (`claraedge create image -f FILE`), and name it in"
        " `docker` of the executable"
    ): ["/build", "/build/{path=**}"],
    (
        "a device has no secrets of a project, since it builds nothing and keeps no accounts of"
        " registries for projects; load images that need one (`claraedge create image -f FILE`)"
    ): ["/api/secret/{path=**}"],
    (
        "a device has no list of projects, since it is one project itself; leave the call out: any"
        " name of a project is accepted"
    ): ["/api/project/{path=**}"],
    (
        "a device has no groups of users, since whoever has its token, or belongs to the group of"
        " its socket, may use it; give the token to those who should"
    ): ["/api/group/{path=**}"],
    (
        "a device has no store of parameters, since it shares them with no other device; send"
        " values as parameters of the deployment (add_parameter), or mount a folder with files"
    ): ["/api/paramserver", "/api/paramserver/{path=**}", f"{_DEVICES}/parameters/"],
    (
        "a device stores no metrics of ROS topics, since it has no database for them; let"
        " Prometheus read /metrics of this device, and those of your programs"
    ): ["/api/metrics/{path=**}", f"{_DEVICES}/metrics/{{path=**}}"],
    (
        "the ROS topics of deployments are not known here, since each deployment has its own ROS"
        " master; run `rostopic` as an executable of the package"
    ): [f"{_DEVICES}/topics/{{path=**}}"],
    (
        "commands on the device itself are not run, since whoever deploys must not become its"
        " administrator; run the command as an executable of a package, or use ssh"
    ): [f"{_DEVICES}/cmd/"],
    (
        "log files of the device are not uploaded, since there is no cloud to upload them to; read"
        " the log of a deployment with `claraedge logs`, and that of the daemon with journalctl"
    ): [f"{_DEVICES}/logs/{{path=**}}"],
    (
        "variables of the device are not changed here, since they belong to its administrator, who"
        " sets `[deployments] variables` of its configuration; send a parameter of the deployment"
        " instead (add_parameter)"
    ): [f"{_DEVICES}/config_variables/{{path=**}}"],
    (
        "labels of the device are not changed here, since they belong to its administrator; label"
        " deployments instead (add_label of the ProvisionConfiguration)"
    ): [f"{_DEVICES}/labels/{{path=**}}"],
    (
        "devices are neither created, changed, upgraded nor deleted here, since there is this one"
        " only; its administrator installs and updates claraedge on it"
    ): [f"{_DEVICES}/{{path=**}}"],
    (
        "nobody signs in with a password here, since a device has no accounts of users; use"
        " what `claraedge token` prints on the device as auth_token, or any text on its Unix socket"
    ): ["/user/login"],
}


def refusal(text: str) -> HttpError:
    """Returns the failure that says what this device does not have."""
    return refused(NotSupportedError(text))


def routes() -> Iterable[Route]:
    """Yields a route for each method and path that is refused."""
    for text, templates in REFUSED.items():
        for template in templates:
            for method in _METHODS:
                yield Route(method, template, partial(_refuse, text))


async def _refuse(text: str, _: Request, __: Reply) -> None:
    raise refusal(text)
