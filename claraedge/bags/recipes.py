"""The recipe of a container that records, and when it is started again. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.bags.model import BagJob
from claraedge.packages.bag_jobs import arguments
from claraedge.runner.protocol import LABEL_DEPLOYMENT, BindMount, ContainerSpec, Exit
from claraedge.supervised.recipe import UNNAMED, Recipe
from claraedge.supervised.restarts import Always, Decision, GiveUp, Rest, Restart

#: The folder of bags in the container.
FOLDER = "/bags"
#: What the name of a bag ends with; while `record` writes to it; and if that was cut off.
WHOLE, ACTIVE, PARTIAL = ".bag", ".bag.active", ".bag.partial"
#: Megabytes of messages that wait to be written, and those of the whole container.
_BUFFER = 64
MEMORY = 256
#: Exit code of the script if the image has no `rosbag`.
_NO_ROSBAG = 127
#: Runs `record` and makes TERM, by which containers are stopped, the INT at which it closes its
#: bag: `rosbag record` itself would end before the bag is closed. What an earlier run left open is
#: renamed. INT is repeated, since one is lost before `record` is ready for it.
_SCRIPT = """\
for f in /bags/*.bag.active; do
    [ -f "$f" ] && mv -f "$f" "${f%.active}.partial"
done
for f in /opt/ros/"${ROS_DISTRO:-*}"/setup.sh /opt/ros/*/setup.sh; do
    [ -z "$ROS_PACKAGE_PATH" ] && [ -r "$f" ] && . "$f"
done
record=
IFS=:
for d in $CMAKE_PREFIX_PATH /usr /usr/local; do
    [ -z "$record" ] && [ -x "$d/lib/rosbag/record" ] && record="$d/lib/rosbag/record"
done
unset IFS
if [ -z "$record" ]; then
    echo "this image has no lib/rosbag/record" >&2
    exit 127
fi
stopping=
trap 'stopping=1' TERM INT
"$record" "$@" &
pid=$!
left=40
while kill -0 "$pid" 2>/dev/null; do
    if [ -z "$stopping" ]; then
        wait "$pid"
        code=$?
        [ -z "$stopping" ] && exit "$code"
    fi
    if [ "$left" -gt 0 ]; then kill -INT "$pid"; else kill -TERM "$pid"; fi 2>/dev/null
    left=$((left - 1))
    sleep 1
done
wait "$pid"
"""


def recipe_of(
    job: BagJob, *, image: str, environment: Mapping[str, str], address: str, folder: Path
) -> Recipe:
    """Returns the recipe of the container of a job. `folder`: where its bags are written.

    `address`: of its component; empty: it has none.
    """
    more = {"ROS_HOME": "/tmp"}  # noqa: S108 - in the container, where only that can be written to
    if address and not {"ROS_IP", "ROS_HOSTNAME"} & environment.keys():
        more["ROS_IP"] = address  # nobody else knows the host name of this container
    prefix = f"{FOLDER}/{re.sub(r'[^A-Za-z0-9_-]', '_', job.name)}"
    return Recipe(
        key=job.id,
        name=f"bag job {job.name} of the deployment {job.deployment_name}",
        spec=ContainerSpec(
            name="",
            image=image,
            entrypoint=("/bin/sh", "-c", _SCRIPT, "record"),
            command=arguments(job.definition.record, prefix, buffer=_BUFFER),
            environment={**more, **environment},
            mounts=(BindMount(source=folder, target=FOLDER, read_only=False),),
            log_path=UNNAMED,
            memory=MEMORY << 20,
        ),
        memory=MEMORY,
        folders=(folder,),
        labels={LABEL_DEPLOYMENT: job.deployment},
    )


@dataclass(frozen=True, slots=True)
class Recording:
    """Starts it again after a failure, unless its image cannot record; code 0 is its own end."""

    def decide(
        self, end: Exit | None, *, was_up: bool, restarts: Sequence[Restart], now: float
    ) -> Decision:
        """Decides as a RestartRule."""
        if end is not None and end.code == 0:
            return Rest("it has recorded as many messages as it was to, or its node was ended")
        if end is not None and end.code == _NO_ROSBAG:
            return GiveUp(
                "name an executable in the job whose image has it, or install ROS 1's `rosbag` in"
                " the image"
            )
        return Always().decide(end, was_up=was_up, restarts=restarts, now=now)
