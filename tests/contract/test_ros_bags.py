"""ROS 1 from Debian's packages: topics are recorded, downloaded by rapyuta.io's SDK, and played.

It is not marked `podman`, since the packages of ROS cannot be installed everywhere: then it is
skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.contract.conftest import free_port
from tests.contract.original import ROOT
from tests.contract.test_rapyuta_sdk import SdkSite, podman
from tests.integration.conftest import why_podman_cannot_work
from tests.integration.daemon.conftest import program
from tests.rig.certificates import Authority
from tests.rig.waiting import until

pytestmark = pytest.mark.timeout(600)

IMAGE = "localhost/ce-test/ros:1"
#: Each needs about a minute or two: the second one where time does not matter.
WAYS = [("1.17.1", "unix"), ("1.4.0", "tls")]
DRIVER = ROOT / "tests" / "contract" / "clients" / "rosbag_driver.py"
PLAY = """\
export ROS_MASTER_URI=http://localhost:11311 ROS_HOSTNAME=localhost ROS_HOME=/tmp
rosmaster --core >/tmp/master 2>&1 &
until rostopic list >/dev/null 2>&1; do sleep 0.2; done
rostopic echo -n 5 /chatter > /tmp/heard &
ear=$!
rosbag play --quiet --wait-for-subscribers /bags/"$1" --topics /chatter >/tmp/played 2>&1 </dev/null
wait $ear
cat /tmp/heard
"""


@pytest.fixture(scope="module")
def ros_tar() -> Path:
    """The files of an image with ROS 1, which are made once."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed: it makes the image with ROS")
    made = subprocess.run(
        [ROOT / "build" / "lib" / "ros-image"], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"the packages of ROS cannot be installed: {made.stderr[-500:]}")
    return ROOT / ".cache" / "ros-image.tar"


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, ros_tar: Path, contract_venv: Path
) -> Iterator[SdkSite]:
    reason = why_podman_cannot_work()
    if reason is not None:
        pytest.skip(f"no rootless Podman: {reason}")
    folder = tmp_path_factory.mktemp("ros")
    authority = Authority(folder / "authority")
    pair = authority.issue()
    short = Path(tempfile.mkdtemp(prefix="b-", dir=os.environ["XDG_RUNTIME_DIR"]))
    site = SdkSite(
        program=program(),
        folder=folder,
        runtime=short / "run",
        port=free_port(),
        authority=authority.certificate,
    )
    site.temporary.mkdir()
    site.clients.mkdir()
    site.configure(
        f'[http]\nlisten = ["127.0.0.1:{site.port}"]\n'
        f'[tls]\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n'
        "[deployments]\nup_seconds = 1\n[engine]\ngrace_seconds = 1\n"
    )
    try:
        site.start()
        podman(site, "import", "--quiet", str(ros_tar), IMAGE)
        yield site
    finally:
        site.stop()
        subprocess.run(["podman", "rmi", "--force", IMAGE], capture_output=True, cwd="/")
        shutil.rmtree(short, ignore_errors=True)


@pytest.mark.parametrize(("version", "transport"), WAYS if CAMPAIGN else WAYS[:1])
def test_topics_are_recorded_downloaded_and_played(
    site: SdkSite, tmp_path: Path, version: str, transport: str
) -> None:
    settings = site.clients / f"bags-{version}.json"
    settings.write_text(
        json.dumps(
            {
                "host": site.host[transport],
                "token": site.token if transport == "tls" else "any",
                "image": IMAGE,
                "folder": str(tmp_path),
            }
        )
    )
    printed = site.python(version, DRIVER, settings, REQUESTS_CA_BUNDLE=str(site.authority))
    found = json.loads(printed.splitlines()[-1])
    assert "bag-job" in found["conflict"] or "bag job" in found["conflict"]
    bags = found["bags"]
    assert bags["some"]["messages"] == 40
    assert bags["all"]["messages"] >= 40
    for bag in bags.values():
        assert (tmp_path / bag["file"]).stat().st_size == bag["size"]
    for name in ("some", "all"):
        heard = subprocess.run(
            ["podman", "run", "--rm", "--network=none", f"--volume={tmp_path}:/bags:ro",
             IMAGE, "timeout", "60", "bash", "-c", PLAY, "play", bags[name]["file"]],
            env=site.environment, capture_output=True, text=True, timeout=120, cwd="/",
            check=False,
        )  # fmt: skip
        assert heard.stdout.count('data: "hello"') == 5, heard.stdout[-2000:] + heard.stderr[-2000:]
    label = f"label=io.claraedge.deployment={found['deployment']}"
    until("nothing is left", lambda: not podman(site, "ps", "-aq", "--filter", label))
