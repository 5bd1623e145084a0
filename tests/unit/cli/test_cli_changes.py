"""Commands that change or remove things, against a whole daemon."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.pipelines import chain
from tests.unit.api.conftest import daemon_in


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a daemon with an in-memory runner that CLARAEDGE_HOST points to."""
    ready = threading.Event()

    async def serve(folder: Path, ended: asyncio.Event) -> None:
        async with daemon_in(folder):
            ready.set()
            await ended.wait()

    with tempfile.TemporaryDirectory(prefix="ce-") as folder:
        loop, ended = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(
            target=loop.run_until_complete, args=(serve(Path(folder), ended),), daemon=True
        )
        thread.start()
        assert ready.wait(20)
        monkeypatch.setenv("CLARAEDGE_HOST", f"unix:{folder}/run/claraedge.sock")
        yield Path(folder)
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


def definition(home: Path, *operators: str, name: str = "chain") -> Path:
    file = home / "p.yaml"
    file.write_text(chain(*operators).replace("name: chain", f"name: {name}"))
    return file


def register(claraedge, home: Path, *more: object) -> str:
    answer = claraedge("create", "pipeline", "-p", definition(home, "one"), *more)
    assert answer.code == 0, answer.err
    return answer.out.strip()


def job(claraedge, *more: object) -> tuple[str, str]:
    answer = claraedge("create", "job", "-n", "scan", "-p", "chain", *more)
    assert answer.code == 0, answer.err
    first, second = answer.out.splitlines()
    return first.removeprefix("JOB_ID:"), second.removeprefix("PAYLOAD_ID:")


def of(claraedge, *arguments: object) -> dict:
    answer = claraedge(*arguments, "--output", "json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def ended(claraedge, job_id: str) -> None:
    assert claraedge("describe", "job", job_id, "--watch").code == 0


def test_a_pipeline_is_updated_with_its_metadata(home: Path, claraedge) -> None:
    pipeline = register(claraedge, home, "-m", "Owner=ward 3", "-m", "Version=1")
    answer = claraedge("update", "pipeline", pipeline[:8],
                       definition(home, "two", name="longer"), "--remove-metadata", "version",
                       "-m", "Version=2")  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        f"PIPELINE_ID: {pipeline}",
        "METADATA Owner: ward 3",
        "METADATA Version: 2",
    ]
    described = of(claraedge, "describe", "pipeline", "longer")
    assert (described["id"], list(described["operators"])) == (pipeline, ["two"])
    assert described["metadata"] == {"Owner": "ward 3", "Version": "2"}


def test_an_update_that_is_wrong_prints_every_problem(home: Path, claraedge) -> None:
    register(claraedge, home)
    file = definition(home, "one")
    file.write_text(file.read_text().replace("/in}", "/in, from: nobody}"))
    answer = claraedge("update", "pipelines", "-p", "chain", file)
    assert answer.code == 1
    assert "nobody" in answer.err


def test_pipelines_are_deleted_by_id_prefix_or_name(home: Path, claraedge) -> None:
    first = register(claraedge, home)
    answer = claraedge("delete", "pipelines", first[:6], "absent")
    assert (answer.code, answer.out) == (2, "")
    assert [p["id"] for p in of(claraedge, "list", "pipelines")["pipelines"]] == [first]
    answer = claraedge("delete", "pipeline", "CHAIN", first[:6])
    assert (answer.code, answer.out) == (0, f"{first}\n")
    assert of(claraedge, "list", "pipelines")["pipelines"] == []


def test_a_reusable_payload_is_made_used_and_deleted(home: Path, claraedge) -> None:
    register(claraedge, home)
    folder = home / "atlas"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.bin").write_bytes(b"a")
    (folder / "b.bin").write_bytes(b"b")
    made = claraedge("create", "payload", "-f", folder, "-m", "Kind=atlas")
    assert made.code == 0, made.err
    payload = made.out.strip().removeprefix("PAYLOAD_ID:")
    job_id, job_payload = job(claraedge, "--input", payload, "-m", "Source=CT1", "--start")
    ended(claraedge, job_id)
    assert of(claraedge, "describe", "job", "-j", job_id)["metadata"] == {"Source": "CT1"}
    assert claraedge("download", f"{job_id}:/input/deep/a.bin", home / "back").code == 0
    assert (home / "back").read_bytes() == b"a"

    changed = of(claraedge, "update", "payload", payload, "-m", "Size=2",
                 "--remove-metadata", "kind")  # fmt: skip
    assert changed == {"payload_id": payload, "metadata": {"Size": "2"}}
    answer = claraedge("delete", "payloads", f"{payload}:deep/*")
    assert (answer.code, answer.out) == (0, f"{payload}:/deep/a.bin\n")
    assert claraedge("delete", "payload", f"{payload}:nothing").code == 1
    assert claraedge("delete", "payload", f"{payload}:").code == 2
    deleted = of(claraedge, "delete", "payloads", payload, job_id)
    assert deleted == {"deleted": [payload, job_payload]}
    answer = claraedge("download", f"{payload}:b.bin", home / "back2")
    assert answer.code == 1
    assert "there is no payload" in answer.err


def test_a_jobs_payload_is_not_deleted_before_its_end(home: Path, claraedge) -> None:
    register(claraedge, home)
    job_id, _ = job(claraedge)
    answer = claraedge("delete", "payloads", job_id)
    assert (answer.code, answer.out) == (1, "")
    assert "has not stopped" in answer.err


def test_metadata_of_a_job_are_changed(home: Path, claraedge) -> None:
    register(claraedge, home)
    job_id, _ = job(claraedge, "-m", "Source=CT1")
    answer = claraedge("update", "job", job_id[:8], "-m", "Instances=4")
    assert answer.out.splitlines() == [
        f"JOB_ID: {job_id}",
        "METADATA Instances: 4",
        "METADATA Source: CT1",
    ]
    refused = claraedge("update", "job", "-j", job_id, "-m", "source=MR")
    assert refused.code == 2
    assert "another value" in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("update", "job", "-j", "1"),
        ("update", "payload", "1"),
        ("update", "pipeline", "-p", "1"),
        ("update", "job", "-j", "1", "-m", "no-value"),
        ("create", "job", "-n", "x", "-p", "y", "-m", "a=1", "-m", "a=2"),
    ],
)
def test_what_changes_nothing_or_is_no_pair_is_a_mistake(claraedge, arguments) -> None:
    answer = claraedge(*arguments)
    assert (answer.code, answer.out) == (2, "")


def test_the_log_of_a_job_itself_is_printed(home: Path, claraedge) -> None:
    register(claraedge, home)
    job_id, _ = job(claraedge, "--start")
    ended(claraedge, job_id)
    answer = claraedge("logs", job_id, "-o", "claraedge-engine")
    assert answer.code == 0
    assert answer.out.splitlines()[-1].endswith("Z job stopped: HEALTHY")
