"""Records ROS bags with rapyuta.io's own SDK, and downloads them.

Runs in an environment that has one version of the SDK, and nothing of claraedge. Prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

SETTINGS = json.loads(Path(sys.argv[1]).read_text())
_CONFIG = Path(sys.argv[1]).with_suffix(".hosts.json")
_CONFIG.write_text(
    json.dumps(dict.fromkeys(("catalog_host", "core_api_host", "rip_host"), SETTINGS["host"]))
)
os.environ["RIO_CONFIG"] = str(_CONFIG)
os.environ["NO_PROXY"] = "*"

import requests_unixsocket  # noqa: E402

requests_unixsocket.monkeypatch()

import rapyuta_io  # noqa: E402
from rapyuta_io import Client  # noqa: E402
from rapyuta_io.clients import rosbag  # noqa: E402
from rapyuta_io.utils import error as errors  # noqa: E402

_PUBLISH = 'rostopic pub -r 20 /chatter std_msgs/String "data: hello"'


def manifest() -> dict[str, object]:
    """A master and a talker in one component, and a listener in another one."""
    return {
        "name": "robot",
        "packageVersion": f"v{rapyuta_io.__version__}",
        "apiVersion": "v1.0.0",
        "plans": [
            {
                "name": "default",
                "components": [
                    {
                        "name": "talker",
                        "requiredRuntime": "device",
                        "ros": {"isROS": True, "ros_distro": "noetic"},
                        "parameters": [
                            {"name": "ROS_MASTER_URI", "default": "http://localhost:11311"}
                        ],
                        "executables": [
                            {
                                "name": "master",
                                "docker": SETTINGS["image"],
                                "cmd": ["ROS_IP=$MASTER_HOST exec rosmaster --core"],
                            },
                            {
                                "name": "talker",
                                "docker": SETTINGS["image"],
                                "cmd": [f"ROS_IP=$MASTER_HOST exec {_PUBLISH}"],
                            },
                        ],
                        "cloudInfra": {
                            "endpoints": [
                                {
                                    "name": "MASTER",
                                    "port": 11311,
                                    "targetPort": 11311,
                                    "proto": "TCP",
                                }
                            ]
                        },
                        "rosBagJobDefs": [{"name": "all", "recordOptions": {"allTopics": True}}],
                    },
                    {
                        "name": "listener",
                        "requiredRuntime": "device",
                        "ros": {"isROS": True, "ros_distro": "noetic"},
                        "parameters": [],
                        "executables": [
                            {
                                "name": "listener",
                                "docker": SETTINGS["image"],
                                "cmd": [
                                    "ROS_MASTER_URI=http://$MASTER_HOST:11311 ROS_IP=$EAR_HOST"
                                    " exec rostopic echo /chatter"
                                ],
                            }
                        ],
                        "cloudInfra": {
                            "endpoints": [
                                {"name": "EAR", "port": 80, "targetPort": 80, "proto": "TCP"}
                            ]
                        },
                    },
                ],
            }
        ],
    }


def until(what: str, condition):
    """Returns the first true value of a condition, within a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within a minute")


def main() -> None:
    client = Client(SETTINGS["token"], "project-any")
    (device,) = client.get_all_devices(online_device=True)
    device = client.get_device(device.uuid)
    package = client.get_package(client.create_package(manifest())["packageId"])
    configuration = package.get_provision_configuration()
    for component in ("talker", "listener"):
        configuration.add_device(component, device)
    deployment = package.provision(f"robot-{rapyuta_io.__version__}", configuration)
    deployment.poll_deployment_till_ready(retry_count=240, sleep_interval=0.5)
    deployment.refresh()
    id_ = deployment.deploymentId

    def jobs(**query):
        return client.list_rosbag_jobs(id_, **query)

    until("the job of the package runs", lambda: jobs(statuses=[rosbag.ROSBagJobStatus.RUNNING]))
    options = rosbag.ROSBagOptions(topics=["/chatter"], max_message_count=40)
    instance = deployment.get_component_instance_id("talker")
    asked = rosbag.ROSBagJob(
        "some", options, deployment_id=id_, component_instance_id=instance,
        upload_options=rosbag.UploadOptions(max_upload_rate=1, purge_after=True),
    )  # fmt: skip
    made = client.create_rosbag_job(asked)
    assert made.name == "some", made.name
    try:
        client.create_rosbag_job(asked)
    except errors.ConflictError as error:
        conflict = str(error)

    def ended():
        (job,) = jobs(guids=[made.guid])
        assert job.status != rosbag.ROSBagJobStatus.ERROR, vars(job)
        return job.status == rosbag.ROSBagJobStatus.STOPPED

    until("the job with a limit ends by itself", ended)
    if hasattr(made, "patch"):  # by default, this version leaves bags until they are asked for
        (job,) = jobs(guids=[made.guid])
        range_ = rosbag.ROSBagTimeRange(0, 2**31)
        job.patch(on_demand_options=rosbag.ROSBagOnDemandUploadOptions(range_))
    client.stop_rosbag_jobs(id_)
    until(
        "all jobs have stopped", lambda: len(jobs(statuses=[rosbag.ROSBagJobStatus.STOPPED])) == 2
    )
    bags = {}
    for blob in client.list_rosbag_blobs(deployment_ids=[id_]):
        blob.poll_till_ready(retry_count=100, sleep_interval=0.3)
        client.download_rosbag_blob(blob.guid, download_dir=SETTINGS["folder"])
        (job,) = [job for job in jobs() if job.guid == blob.job_id]
        bags[job.name] = {
            "file": blob.filename,
            "guid": blob.guid,
            "messages": blob.info.message_count,
            "size": blob.info.size,
        }
    listed = client.list_rosbag_jobs_in_project([device.uuid])
    assert {job.guid for job in jobs()} <= {job.guid for job in listed}
    assert client.list_rosbag_jobs_in_project(["another"]) == []
    deployment.deprovision()
    client.delete_rosbag_blob(bags["some"]["guid"])
    left = [blob.guid for blob in client.list_rosbag_blobs(deployment_ids=[id_])]
    assert left == [bags["all"]["guid"]], left
    print(json.dumps({"bags": bags, "conflict": conflict, "deployment": id_}))


main()
