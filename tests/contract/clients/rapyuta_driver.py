"""Goes through the Package module with rapyuta.io's own SDK, and prints what came of each method.

    python rapyuta_driver.py SETTINGS.json

`SETTINGS.json` has `host` (as in RIO_CONFIG), `token`, `wrong_token` (null where any will do),
`image` and `command` of a program that runs until it is stopped, `failing_image` and `failing` of
one that ends with 1, `missing` (an image that is not there), and the `architecture` of the device.

It runs in an environment of its own, with one version of the SDK. The output is JSON: `rows`, a
list of method, result and note, and `seen`, what the tests read.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import requests_unixsocket

SETTINGS = json.loads(Path(sys.argv[1]).read_text())
HOSTS = ("catalog_host", "core_api_host", "rip_host")
#: The manifest of the page "Package module", made valid JSON.
LISTENER = {
    "name": "listener",
    "packageVersion": "v1.0.0",
    "description": "This is a listener package",
    "plans": [
        {
            "name": "default",
            "components": [
                {
                    "name": "default",
                    "description": "",
                    "ros": {"topics": [], "services": [], "actions": [], "isROS": True},
                    "requiredRuntime": "device",
                    "architecture": "arm32v7",
                    "executables": [
                        {"name": "listenerExec", "cmd": ["roslaunch listener listener.launch"]}
                    ],
                    "parameters": [],
                }
            ],
            "dependentDeployments": [],
        }
    ],
}


def prepare() -> None:
    """Writes RIO_CONFIG with all three hosts: without one, the SDK calls the public host."""
    if SETTINGS["host"].startswith("http+unix:"):
        requests_unixsocket.monkeypatch()
    config = Path(tempfile.mkdtemp(prefix="rio-"), "config.json")
    config.write_text(json.dumps(dict.fromkeys(HOSTS, SETTINGS["host"])))
    assert set(json.loads(config.read_text())) == set(HOSTS)
    os.environ["RIO_CONFIG"] = str(config)
    os.environ["NO_PROXY"] = "*"


prepare()

import rapyuta_io  # noqa: E402
from rapyuta_io import Client, DeploymentPhaseConstants  # noqa: E402
from rapyuta_io.clients import package as sdk  # noqa: E402
from rapyuta_io.clients import routed_network as routed_networks  # noqa: E402
from rapyuta_io.clients.native_network import NativeNetwork  # noqa: E402
from rapyuta_io.clients.native_network import Parameters as NativeParameters  # noqa: E402
from rapyuta_io.clients.rosbag import ROSBagJob, ROSBagOptions  # noqa: E402
from rapyuta_io.clients.static_route import StaticRoute  # noqa: E402
from rapyuta_io.utils import error as errors  # noqa: E402

NEW = rapyuta_io.__version__ != "1.4.0"
ROWS: list[dict[str, str]] = []
SEEN: dict[str, object] = {}


def is_local(host: str) -> bool:
    url = urllib.parse.urlsplit(host)
    return url.scheme == "http+unix" or url.hostname in ("127.0.0.1", "localhost", "::1")


def checked_client(token: str) -> Client:
    """Returns a client whose hosts are all on this machine."""
    client = Client(token, "project-any")
    hosts = [
        client._catalog_client._catalog_api_host,
        client._core_api_client._core_api_host,
        client._dmClient._device_api_host,
    ]
    assert all(map(is_local, hosts)), hosts
    SEEN["hosts"] = hosts
    return client


def row(method: str, result: str, note: str = "") -> None:
    ROWS.append({"method": method, "result": result, "note": note})


def works(method: str, note: str = "") -> None:
    row(method, "works", note)


def raised(kind, call, *parts: str) -> str:
    """Returns the text of the error that a call raises, which has to have all parts."""
    found = None
    try:
        call()
    except kind as error:
        found = error
    assert type(found) is kind, found
    for part in parts:
        assert part in str(found), (part, found)
    return str(found)


def refused(method: str, call) -> None:
    """Notes that the device says why it does not have something (501)."""
    row(method, "refused", raised(errors.APIError, call))


def manifest(name: str, *executables: dict[str, object], **component: object) -> dict[str, object]:
    return {
        "name": name,
        "packageVersion": "v1.0.0",
        "apiVersion": "v1.0.0",
        "bindable": True,
        "plans": [
            {
                "name": "default",
                "components": [
                    {
                        "name": "main",
                        "requiredRuntime": "device",
                        "architecture": SETTINGS["architecture"],
                        "executables": list(executables) or [program()],
                        "parameters": [],
                        "ros": {"isROS": False},
                        **component,
                    }
                ],
            }
        ],
    }


def program(**other: object) -> dict[str, object]:
    return {
        "name": "program",
        "docker": SETTINGS["image"],
        "cmd": SETTINGS["command"],
        **other,
    }


def created(client: Client, *args: object, **more: object):
    return client.get_package(client.create_package(manifest(*args, **more))["packageId"])


class Driver:
    """All calls, in the order of their needs."""

    def __init__(self) -> None:
        self.client = checked_client(SETTINGS["token"])
        (self.device,) = self.client.get_all_devices(online_device=True)
        self.device = self.client.get_device(self.device.uuid)
        self.interface = next(iter(self.device.ip_interfaces))

    def run(self) -> None:
        self.tokens()
        self.catalogue()
        self.configuration()
        self.not_in_this_version()
        self.mistakes()
        self.life()
        self.failures()
        self.dependencies()
        if NEW:
            self.update()
        self.static_routes()
        self.networks()
        self.not_here()
        self.end()

    # --- the client ---------------------------------------------------------------------------

    def tokens(self) -> None:
        user = self.client.get_authenticated_user()
        assert [project.guid for project in user.projects], user
        works("Client.get_authenticated_user")
        if SETTINGS["wrong_token"]:
            wrong = checked_client(SETTINGS["wrong_token"])
            text = raised(errors.UnauthorizedError, wrong.get_all_packages)
            assert "token" in text, text
            SEEN["unauthorized"] = text

    def catalogue(self) -> None:
        client = self.client
        made = client.create_package(LISTENER)
        assert made["packageId"].startswith("pkg-")
        assert [plan["planId"][:5] for plan in made["planIds"]] == ["plan-"]
        works("Client.create_package")
        raised(errors.ConflictError, lambda: client.create_package(LISTENER), made["packageId"])
        text = raised(errors.BadRequestError, lambda: client.create_package({"name": "x"}))
        SEEN["invalid"] = text

        file = Path(tempfile.mkdtemp(prefix="rio-"), "manifest.json")
        file.write_text(json.dumps({**LISTENER, "packageVersion": "v2.0.0"}))
        other = client.create_package_from_manifest(str(file))
        works("Client.create_package_from_manifest")

        ids = [package.packageId for package in client.get_all_packages()]
        assert {made["packageId"], other["packageId"]} <= set(ids)
        named = client.get_all_packages(name="listen", version="v1.0.0")
        assert [package.packageId for package in named] == [made["packageId"]]
        works("Client.get_all_packages", "with both filters")

        package = client.get_package(made["packageId"])
        assert (package.packageName, package.packageVersion) == ("listener", "v1.0.0")
        assert package.plans[0].components.components[0].name == "default"
        assert package.plans[0].planId == made["planIds"][0]["planId"]
        works("Client.get_package")
        raised(errors.PackageNotFound, lambda: client.get_package("pkg-none"), "pkg-none")

        (partial,) = named
        assert partial.is_partial
        partial.refresh()
        assert not partial.is_partial
        assert partial.plans[0].planName == "default"
        works("Package.refresh")

        configuration = package.get_provision_configuration()
        raised(
            errors.OperationNotAllowedError,
            lambda: configuration.add_device("default", self.device),
            "preinstalled",
        )
        raised(errors.PlanNotFound, lambda: package.get_provision_configuration("plan-x"))
        works("Package.get_provision_configuration")

        client.delete_package(other["packageId"])
        works("Client.delete_package")
        package.delete()
        works("Package.delete")
        gone = {package.packageId for package in client.get_all_packages()}
        assert not {made["packageId"], other["packageId"]} & gone

    # --- ProvisionConfiguration ---------------------------------------------------------------

    def configuration(self) -> None:
        self.package = created(
            self.client,
            "configured",
            parameters=[{"name": "COLOUR"}, {"name": "SIZE", "default": "4"}],
            cloudInfra={
                "replicas": 1,
                "endpoints": [
                    {"name": "WEB", "port": 80, "targetPort": 8080, "proto": "HTTP",
                     "exposeExternally": True}
                ],
            },
        )  # fmt: skip
        configuration = self.package.get_provision_configuration(self.package.plans[0].planId)
        text = raised(
            errors.OperationNotAllowedError,
            lambda: self.package.provision("early", configuration),
            "not mapped with the device",
        )
        SEEN["no device"] = text
        configuration.add_device("main", self.device, ignore_device_config=["SITE"])
        works("ProvisionConfiguration.add_device")
        raised(
            errors.InvalidParameterException,
            lambda: self.package.provision("early", configuration),
            "COLOUR",
        )
        configuration.add_parameter("main", "COLOUR", "red")
        works("ProvisionConfiguration.add_parameter")
        configuration.add_label("site", "north")
        works("ProvisionConfiguration.add_label")
        configuration.set_component_alias("main", "robot")
        works("ProvisionConfiguration.set_component_alias")
        configuration.add_restart_policy("main", sdk.RestartPolicy.OnFailure)
        works("ProvisionConfiguration.add_restart_policy")
        configuration.mount_volume(
            "main",
            device=self.device,
            executable_mounts=[sdk.ExecutableMount("program", "/data", "results")],
        )
        works("ProvisionConfiguration.mount_volume", "folders of the device")
        assert configuration.validate()
        works("ProvisionConfiguration.validate")
        self.ready = configuration

    def provision(self, name: str, package, change=None):
        """Deploys a package with what `change` adds to its configuration."""
        configuration = package.get_provision_configuration()
        configuration.add_device("main", self.device)
        if change is not None:
            change(configuration)
        return package.provision(name, configuration)

    def not_in_this_version(self) -> None:
        ros = created(self.client, "with-ros", ros={"isROS": True, "ros_distro": "noetic"})
        bag = ROSBagJob("bag", ROSBagOptions(all_topics=True))
        bags = ros.get_provision_configuration()
        bags.add_device("main", self.device)
        bags.add_rosbag_job("main", bag)
        assert bags.validate()
        works("ProvisionConfiguration.add_rosbag_job")
        bags.remove_rosbag_job("main", "bag")
        assert bags.validate()
        works("ProvisionConfiguration.remove_rosbag_job")
        assert self.client.get_all_deployments() == []
        ros.delete()

    def mistakes(self) -> None:
        """What the SDK does not check, the device does."""
        plain = created(self.client, "plain")
        for name, package, change, part in (
            ("other-machine", created(self.client, "foreign", architecture="arm32v7"), None,
             "architecture"),
            ("no-image", created(self.client, "no-image", program(docker="", buildGUID="b")), None,
             "image"),
            ("outside", plain, self.mounting("../../etc"), "subPath"),
            ("host", plain, self.mounting("/etc"), "host_folders"),
        ):  # fmt: skip
            SEEN[f"mistake: {name}"] = raised(
                errors.BadRequestError,
                lambda name=name, package=package, change=change: self.provision(
                    name, package, change
                ),
                part,
            )
            if package is not plain:
                package.delete()
        cloud = created(self.client, "cloud", requiredRuntime="cloud")
        configuration = cloud.get_provision_configuration()
        raised(
            errors.BadRequestError,
            lambda: cloud.provision("cloud", configuration),
            "requiredRuntime",
        )
        cloud.delete()
        plain.delete()
        assert self.client.get_all_deployments() == []

    def mounting(self, path: str):
        mount = sdk.ExecutableMount("program", "/data", path)
        return lambda configuration: configuration.mount_volume(
            "main", device=self.device, executable_mounts=[mount]
        )

    # --- deployments --------------------------------------------------------------------------

    def life(self) -> None:
        package = self.package
        deployment = package.provision("first", self.ready)
        assert deployment.deploymentId.startswith("dep-")
        works("Package.provision")
        raised(
            errors.InvalidParameterException,
            lambda: package.provision("again", self.ready),
            "cannot reuse",
        )
        phases = [deployment.phase]
        status = deployment.poll_deployment_till_ready(retry_count=240, sleep_interval=0.25)
        phases.append(status.phase)
        assert (status.phase, status.status) == ("Succeeded", "Running"), status
        works("Deployment.poll_deployment_till_ready")
        order = ["In progress", "Provisioning", "Succeeded"]
        assert phases == sorted(phases, key=order.index), phases
        deployment.refresh()
        assert deployment.parameters[self.component(package)]["COLOUR"] == "red"
        assert deployment.labels[0].value == "north"
        works("Deployment.refresh")
        status = deployment.get_status()
        assert status.componentInfo[0].status == "running"
        works("Deployment.get_status")
        same = self.client.get_deployment(deployment.deploymentId)
        assert same.name == "first"
        works("Client.get_deployment")
        assert deployment.get_component_instance_id("main").startswith("inst-")

        succeeded = [DeploymentPhaseConstants.SUCCEEDED]
        ids = [one.deploymentId for one in package.deployments(phases=succeeded)]
        assert ids == [deployment.deploymentId]
        stopped = [DeploymentPhaseConstants.DEPLOYMENT_STOPPED]
        assert package.deployments(phases=stopped) == []
        works("Package.deployments", "with and without phases")
        here = self.client.get_all_deployments(phases=succeeded, device_id=self.device.uuid)
        assert [one.deploymentId for one in here] == ids
        assert self.client.get_all_deployments(device_id="another") == []
        works("Client.get_all_deployments", "with both filters")

        credentials = deployment.get_service_binding()["credentials"]
        assert credentials["WEB"]["port"] == 8080
        assert credentials["WEB"]["host"]
        works("Deployment.get_service_binding", "the addresses of its endpoints")

        text = raised(
            errors.ConflictError,
            lambda: self.provision("first", package, self.coloured),
            deployment.deploymentId,
        )
        SEEN["same name"] = text
        raised(errors.ConflictError, package.delete, deployment.deploymentId)
        SEEN["deployment"] = deployment.deploymentId
        SEEN["component"] = self.component(package)
        self.first = deployment

    @staticmethod
    def coloured(configuration) -> None:
        configuration.add_parameter("main", "COLOUR", "blue")

    @staticmethod
    def component(package) -> str:
        return package.plans[0].get_component_id("main")

    def failures(self) -> None:
        never = sdk.RestartPolicy.Never
        codes = {}
        for name, executable in (
            ("absent", program(docker=SETTINGS["missing"])),
            ("failing", program(docker=SETTINGS["failing_image"], cmd=SETTINGS["failing"])),
        ):
            package = created(self.client, name, executable)
            deployment = self.provision(
                name, package, lambda one: one.add_restart_policy("main", never)
            )
            status = None
            try:
                deployment.poll_deployment_till_ready(retry_count=240, sleep_interval=0.25)
            except errors.DeploymentNotRunningException as error:
                status = error.deployment_status
            assert status is not None, "it became ready"
            assert status.phase == "Failed to start", status
            codes[name] = list(status.errors)
            SEEN[f"details of {name}"] = status.errorDetails
            assert deployment.deprovision() is True
            self.until_stopped(deployment)
            package.delete()
        assert codes == {"absent": ["DEP_E161"], "failing": ["DEP_E152"]}, codes
        works("Deployment.poll_deployment_till_ready", "a failure ends it at once, with its code")

    def dependencies(self) -> None:
        package = created(self.client, "child")
        child = self.provision(
            "child", package, lambda one: one.add_dependent_deployment(self.first)
        )
        works("ProvisionConfiguration.add_dependent_deployment")
        child.poll_deployment_till_ready(retry_count=240, sleep_interval=0.25)
        assert self.client.get_deployment(self.first.deploymentId).inUse
        text = raised(errors.ConflictError, self.first.deprovision, child.deploymentId)
        SEEN["in use"] = text
        SEEN["child"] = child.deploymentId
        assert child.deprovision() is True
        self.until_stopped(child)
        package.delete()

    def static_routes(self) -> None:
        client = self.client
        assert client.get_static_route_by_name("front") is None
        route = client.create_static_route("front")
        assert route.urlPrefix == "front"
        assert route.urlString.endswith("/routes/front/"), route.urlString
        works("Client.create_static_route", "a path of this device, not a host name")
        raised(errors.ConflictError, lambda: client.create_static_route("front"), route.guid)
        raised(errors.BadRequestError, lambda: client.create_static_route("Front"), "lower-case")
        (listed,) = client.get_all_static_routes()
        assert listed.guid == route.guid
        works("Client.get_all_static_routes")
        assert client.get_static_route(route.guid).urlPrefix == "front"
        works("Client.get_static_route")
        found = client.get_static_route_by_name("front")
        assert isinstance(found, StaticRoute)
        works("Client.get_static_route_by_name")
        endpoint = {"name": "WEB", "exposeExternally": True, "port": 80, "targetPort": 8080,
                    "proto": "HTTP"}  # fmt: skip
        package = created(client, "routed", cloudInfra={"replicas": 1, "endpoints": [endpoint]})
        deployment = self.provision(
            "routed", package, lambda one: one.add_static_route("main", "WEB", route)
        )
        works("ProvisionConfiguration.add_static_route")
        raised(errors.ConflictError, found.delete, deployment.deploymentId)
        assert deployment.deprovision() is True
        self.until_stopped(deployment)
        package.delete()
        assert found.delete() is True
        works("StaticRoute.delete")
        second = client.create_static_route("second")
        client.delete_static_route(second.guid)
        works("Client.delete_static_route")
        raised(errors.ResourceNotFoundError, lambda: client.get_static_route(route.guid))

    def networks(self) -> None:
        client, device, interface = self.client, self.device, self.interface
        assert client.get_all_routed_networks() == []
        routed = client.create_device_routed_network(
            "routed", sdk.ROSDistro.MELODIC, False, device, interface
        )
        works("Client.create_device_routed_network", "a network of this device")
        routed.poll_routed_network_till_ready(retry_count=240, sleep_interval=0.25)
        works("RoutedNetwork.poll_routed_network_till_ready")
        (listed,) = client.get_all_routed_networks()
        assert listed.guid == routed.guid
        works("Client.get_all_routed_networks")
        assert client.get_routed_network(routed.guid).name == "routed"
        works("Client.get_routed_network")
        parameters = NativeParameters(device=device, network_interface=interface)
        native = client.create_native_network(
            NativeNetwork("native", sdk.Runtime.DEVICE, sdk.ROSDistro.MELODIC, parameters)
        )
        works("Client.create_native_network", "a network of this device")
        native.poll_native_network_till_ready(retry_count=240, sleep_interval=0.25)
        works("NativeNetwork.poll_native_network_till_ready")
        (found,) = client.list_native_networks()
        assert found.guid == native.guid
        works("Client.list_native_networks")
        assert client.get_native_network(native.guid).name == "native"
        works("Client.get_native_network")
        package = created(client, "on-networks")
        for network, add in (
            (routed, lambda one: one.add_routed_network(routed)),
            (native, lambda one: one.add_native_network(native, interface)),
        ):
            deployment = self.provision("on-networks", package, add)
            deployment.poll_deployment_till_ready(retry_count=240, sleep_interval=0.25)
            raised(errors.ConflictError, network.delete, deployment.deploymentId)
            assert deployment.deprovision() is True
            self.until_stopped(deployment)
            assert network.delete() is True
        works("ProvisionConfiguration.add_routed_network")
        works("ProvisionConfiguration.add_native_network")
        works("RoutedNetwork.delete")
        works("NativeNetwork.delete")
        package.delete()

    def until_stopped(self, deployment) -> None:
        until = time.monotonic() + 60
        while deployment.get_status().phase != "Deployment stopped":
            assert time.monotonic() < until, deployment.get_status()
            time.sleep(0.1)

    def update(self) -> None:
        executable = self.package.plans[0].components.components[0].executables[0]
        payload = {
            "deployment_id": self.first.deploymentId,
            "service_id": self.package.packageId,
            "plan_id": self.package.plans[0].planId,
            "context": {
                "component_context": {
                    self.component(self.package): {
                        "update_deployment": True,
                        "component": {
                            "executables": [
                                {
                                    "id": executable.id,
                                    "name": executable.name,
                                    "docker": SETTINGS["image"],
                                }
                            ]
                        },
                    }
                }
            },
        }
        answer = self.client.update_deployment(payload)
        assert answer["operation"] == self.first.deploymentId
        self.first.poll_deployment_till_ready(retry_count=240, sleep_interval=0.25)
        assert self.first.get_status().currentGeneration == 2
        works("Client.update_deployment")

    def not_here(self) -> None:
        client, device = self.client, self.device
        limits = None if NEW else routed_networks.RoutedNetworkLimits.SMALL
        refused(
            "Client.create_cloud_routed_network",
            lambda: client.create_cloud_routed_network(
                "net", sdk.ROSDistro.MELODIC, False, routed_networks.Parameters(limits)
            ),
        )
        refused("Client.get_persistent_volume", client.get_persistent_volume)
        raised(errors.ResourceNotFoundError, lambda: client.list_rosbag_jobs("dep-x"), "is no id")
        assert client.list_rosbag_jobs_in_project([device.uuid]) == []
        works("Client.list_rosbag_jobs")
        assert client.list_rosbag_blobs() == []
        works("Client.list_rosbag_blobs")
        refused("Client.list_builds", client.list_builds)
        refused("Client.list_projects", client.list_projects)
        refused("Client.list_secrets", client.list_secrets)
        refused("Device.delete", device.delete)
        refused("Client.upload_configurations", self.upload_configurations)
        assert isinstance(device.get_labels(), list)
        keys = {variable.key for variable in device.get_config_variables()}
        assert "runtime" in keys
        assert isinstance(device.get_deployments(), list)
        works("Device.get_labels")
        works("Device.get_config_variables")
        works("Device.get_deployments")
        arch = "rapyuta_io.clients.device_manager"
        kinds = getattr(sys.modules[arch], "DeviceArch")  # noqa: B009
        kind = {"amd64": kinds.AMD64, "arm64v8": kinds.ARM64V8}[SETTINGS["architecture"]]
        assert len(client.get_all_devices(arch_list=[kind])) == 1
        assert client.get_all_devices(arch_list=[kinds.ARM32V7]) == []
        works("Client.get_all_devices", "with architectures")
        works("Client.get_device")
        raised(errors.ResourceNotFoundError, lambda: client.get_device("another"), "another")

    def upload_configurations(self) -> None:
        folder = tempfile.mkdtemp(prefix="rio-")
        Path(folder, "tree").mkdir()
        Path(folder, "tree", "a.yaml").write_text("a: 1\n")
        self.client.upload_configurations(folder)

    def end(self) -> None:
        assert self.first.deprovision() is True
        works("Deployment.deprovision")
        self.until_stopped(self.first)
        stopped = self.package.deployments(phases=[DeploymentPhaseConstants.DEPLOYMENT_STOPPED])
        assert [one.deploymentId for one in stopped] == [self.first.deploymentId]
        assert self.first.deprovision() is True  # its answer may have been lost
        self.package.delete()


if __name__ == "__main__":
    Driver().run()
    print(json.dumps({"version": rapyuta_io.__version__, "rows": ROWS, "seen": SEEN}))
