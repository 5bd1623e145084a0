"""Each command against a server: what it asks, prints and returns."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
from fake_daemon import (
    JOB_1,
    JOB_2,
    PAYLOAD_1,
    PIPELINE_A,
    PIPELINE_A_NEWER,
    PIPELINE_B,
    REUSABLE,
    refusal,
)

from claraedge.wire.claraedge.v1 import logs_pb2
from claraedge.wire.nvidia.clara.platform import jobs_pb2


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Etc/GMT-2")  # two hours east of Greenwich
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def last(daemon, kind):
    return [a for a in daemon.asked if isinstance(a, kind)][-1]


# --- create ------------------------------------------------------------------------------------


def test_create_pipeline_sends_every_file_under_its_name_and_prints_the_id(
    daemon, claraedge, tmp_path
):
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text("name: ä\n")
    b.write_text("")
    answer = claraedge("create", "pipelines", "-p", a, b)
    assert (answer.code, answer.out) == (0, f"{PIPELINE_A}\n")
    assert daemon.asked == [{"a.yaml": "name: ä\n", "b.yaml": ""}]


def test_a_definition_above_the_message_limit_arrives_whole(daemon, claraedge, tmp_path):
    big = tmp_path / "big.yaml"
    big.write_text("# " + "ä€" * 1_000_000)
    assert claraedge("create", "pipeline", "-p", big).code == 0
    assert daemon.asked == [{"big.yaml": big.read_text()}]


def test_create_pipeline_shows_warnings_apart_from_the_id(daemon, claraedge, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("x")
    daemon.fakes.header = refusal(0, "unknown property 'colour'")
    answer = claraedge("create", "pipeline", "-p", file)
    assert answer.out == f"{PIPELINE_A}\n"
    assert answer.err == "claraedge: warning: unknown property 'colour'\n"


def test_create_pipeline_refuses_a_file_that_is_no_text(daemon, claraedge, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"name: \xff")
    answer = claraedge("create", "pipeline", "-p", file)
    assert answer.code == 1
    assert answer.err == (
        f"claraedge: {file}:1:7: the file is not UTF-8 text (byte 6, 0xff): a letter beyond plain"
        " English there is saved in another encoding, such as Windows-1252; save it as UTF-8, or"
        " write that letter without its accent\n"
    )
    assert daemon.asked == []


def test_every_problem_of_a_refused_definition_is_printed(daemon, claraedge, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("x")
    daemon.fakes.header = refusal(-0x1101, "a.yaml:3: no image", "a.yaml:9: a cycle")
    answer = claraedge("create", "pipeline", "-p", file)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "claraedge: a.yaml:3: no image\n  a.yaml:9: a cycle\n"


def test_create_job_prints_the_ids_first_uploads_and_starts(daemon, claraedge, tmp_path):
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(b"x" * (3 * 2**20 + 7))
    scan.chmod(0o640)
    more = tmp_path / "more"
    (more / "sub").mkdir(parents=True)
    (more / "sub" / "empty").touch()
    answer = claraedge(
        "create",
        "job",
        "-n",
        "one",
        "-p",
        "report",
        "-f",
        scan,
        "-f",
        more,
        "-i",
        "high",
        "--start",
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[:2] == [f"JOB_ID:{JOB_1}", f"PAYLOAD_ID:{PAYLOAD_1}"]
    created = last(daemon, jobs_pb2.JobsCreateRequest)
    assert created.pipeline_id.value == PIPELINE_B
    assert created.name == "one"
    assert created.priority == jobs_pb2.JOB_PRIORITY_HIGHER
    assert created.header.user_agent.startswith("claraedge/")
    assert created.header.api_version.minor == 8
    assert daemon.fakes.uploaded == {"scan.dcm": scan.read_bytes(), "sub/empty": b""}
    assert (PAYLOAD_1, "scan.dcm", 0o640) in daemon.asked
    assert last(daemon, jobs_pb2.JobsStartRequest).job_id.value == JOB_1


def test_create_job_without_start_does_not_start(daemon, claraedge):
    answer = claraedge("create", "job", "-n", "one", "-p", PIPELINE_A, "--output", "json")
    assert json.loads(answer.out) == {
        "job_id": JOB_1,
        "payload_id": PAYLOAD_1,
        "state": "PENDING",
    }
    assert not [a for a in daemon.asked if isinstance(a, jobs_pb2.JobsStartRequest)]


def test_create_job_gives_parameters_their_values_at_the_start(daemon, claraedge):
    job = ["create", "job", "-n", "one", "-p", PIPELINE_A, "-v", "A=1"]
    answer = claraedge(*job)
    assert answer.code == 2
    assert "add --start" in answer.err
    assert not [a for a in daemon.asked if isinstance(a, jobs_pb2.JobsCreateRequest)]
    assert claraedge(*job, "-v", "B=x=y", "--start").code == 0
    asked = last(daemon, jobs_pb2.JobsStartRequest)
    assert [(v.name, v.value) for v in asked.Variables] == [("A", "1"), ("B", "x=y")]


def test_two_files_of_one_name_are_refused_before_a_job_is_made(daemon, claraedge, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "scan.dcm").touch()
    answer = claraedge(
        "create", "job", "-n", "x", "-p", PIPELINE_A,
        "-f", tmp_path / "a", "-f", tmp_path / "b" / "scan.dcm",
    )  # fmt: skip
    assert answer.code == 1
    assert "would both be 'scan.dcm'" in answer.err
    assert daemon.asked == []


def test_a_refused_upload_leaves_the_ids_and_says_how_to_go_on(daemon, claraedge, tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"1")
    daemon.fakes.upload_header = refusal(-0x5204, "the disk is full")
    answer = claraedge("create", "job", "-n", "x", "-p", PIPELINE_A, "-f", file, "--start")
    assert answer.code == 1
    assert answer.out == f"JOB_ID:{JOB_1}\nPAYLOAD_ID:{PAYLOAD_1}\n"
    note, error = answer.err.splitlines()
    assert f"claraedge upload {JOB_1} FILE..., then: claraedge start job {JOB_1}" in note
    assert error == "claraedge: the disk is full"
    assert not [a for a in daemon.asked if isinstance(a, jobs_pb2.JobsStartRequest)]


def test_create_image_streams_the_archive(daemon, claraedge, tmp_path):
    tar = tmp_path / "image.tar"
    tar.write_bytes(b"tar" + b"\0" * (2 * 2**20))
    answer = claraedge("create", "image", "-f", tar)
    assert (answer.code, answer.out) == (0, f"IMAGE_ID:{'f' * 64} localhost/dcmtk:1\n")
    assert daemon.images.loaded == tar.read_bytes()


def test_an_error_of_the_appliances_own_services_keeps_its_text(daemon, claraedge, tmp_path):
    tar = tmp_path / "image.tar"
    tar.write_bytes(b"no")
    answer = claraedge("create", "image", "-f", tar)
    assert (answer.code, answer.err) == (1, f"claraedge: {tar}: the archive holds no image\n")


# --- start, cancel, logs -----------------------------------------------------------------------


def test_start_job_passes_variables(daemon, claraedge):
    answer = claraedge("start", "job", "-j", "c2", "-v", "A=1", "-v", "B=x=y")
    assert (answer.code, answer.out) == (0, f"JOB_ID: {JOB_2}\nSTATE: PENDING\nSTATUS: HEALTHY\n")
    asked = last(daemon, jobs_pb2.JobsStartRequest)
    assert [(v.name, v.value) for v in asked.Variables] == [("A", "1"), ("B", "x=y")]


@pytest.mark.parametrize("variable", [["-v", "A"], ["-v", "A=1", "-v", "A=2"]])
def test_a_variable_without_a_value_or_given_twice_is_a_mistake(daemon, claraedge, variable):
    answer = claraedge("start", "job", "-j", JOB_1, *variable)
    assert answer.code == 2
    assert "'A'" in answer.err
    assert daemon.asked == []


def test_cancel_job_passes_the_reason_and_prints_the_real_state(daemon, claraedge):
    answer = claraedge("cancel", "job", "-j", JOB_1, "--reason", "wrong scan", "--output", "json")
    assert json.loads(answer.out) == {"job_id": JOB_1, "state": "STOPPED", "status": "CANCELED"}
    assert last(daemon, jobs_pb2.JobsCancelRequest).reason == "wrong scan"


def test_logs_prints_the_lines_as_they_are_and_ends_the_last(daemon, claraedge):
    assert claraedge("logs", "-j", "c1", "-o", "convert").out == "one\ntwo\nlast\n"
    answer = claraedge("logs", "-j", JOB_1, "-o", "convert", "--output", "json")
    assert json.loads(answer.out)["logs"] == ["one\n", "two\n", "last"]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("--follow",), {"follow": True}),
        (("--attempt", "1"), {"attempt": 1}),
        (("--tail", "20", "-f"), {"follow": True, "tail": 20}),
    ],
)
def test_logs_of_attempts_are_followed(daemon, claraedge, arguments, asked):
    answer = claraedge("logs", "c1", "-o", "convert", *arguments)
    assert (answer.code, answer.out) == (0, "one\nhalf\ntwo\n")
    assert answer.err == "claraedge: attempt 2\n"
    assert daemon.asked[-1] == logs_pb2.ReadLogRequest(job_id=JOB_1, operator="convert", **asked)


def test_logs_that_are_followed_are_a_json_object_a_line(daemon, claraedge):
    answer = claraedge("logs", "c1", "-o", "convert", "--follow", "--output", "json")
    assert [json.loads(line) for line in answer.out.splitlines()] == [
        {"job_id": JOB_1, "operator": "convert", "attempt": attempt, "line": line}
        for attempt, line in ((1, "one\n"), (1, "half"), (2, "two\n"))
    ]
    answer = claraedge("logs", "c1", "-o", "convert", "-n", "3", "--output", "json")
    assert json.loads(answer.out)["logs"] == ["one\n", "half", "two\n"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("c1", "--deployment", "cam"), "--deployment has no job or operator"),
        (("-d", "cam", "-o", "convert"), "--deployment has no job or operator"),
        (("c1", "-e", "main"), "--executable is for a --deployment"),
        (("c1", "--attempt", "0"), "0 is not in the range"),
        (("c1", "--tail", "-1"), "-1 is not in the range"),
    ],
)
def test_logs_are_those_of_a_job_or_of_a_deployment(daemon, claraedge, arguments, said):
    answer = claraedge("logs", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert daemon.asked == []


def test_logs_of_an_unknown_operator_are_an_error_and_not_an_empty_log(daemon, claraedge):
    answer = claraedge("logs", "-j", JOB_1, "-o", "nobody")
    assert (answer.code, answer.out, answer.err) == (1, "", "claraedge: no such operator\n")


# --- list --------------------------------------------------------------------------------------


def test_list_jobs_asks_for_all_states_and_shows_the_newest_first_in_local_time(daemon, claraedge):
    answer = claraedge("list", "job")
    heading, *rows = answer.out.splitlines()
    assert heading.split() == ["NAME", "ID", "STATE", "STATUS", "PRIORITY", "CREATED"]
    assert [r.split()[0] for r in rows] == ["second", "first"]
    assert rows[1].split()[1:] == [
        JOB_1, "STOPPED", "HEALTHY", "NORMAL", "2026-01-01", "14:00:00",
    ]  # fmt: skip
    assert list(last(daemon, jobs_pb2.JobsListRequest).filter.has_state) == [1, 2, 3]


def test_list_jobs_as_json_has_utc_times_with_milliseconds(daemon, claraedge):
    jobs = json.loads(claraedge("list", "jobs", "--output", "json").out)["jobs"]
    assert jobs[1] == {
        "id": JOB_1,
        "name": "first",
        "pipeline_id": PIPELINE_B,
        "payload_id": PAYLOAD_1,
        "state": "STOPPED",
        "status": "HEALTHY",
        "priority": "NORMAL",
        "created": "2026-01-01T12:00:00.000Z",
        "started": None,
        "stopped": None,
        "metadata": {"Source": "test"},
    }


def test_quiet_lists_are_ids_alone(daemon, claraedge):
    assert claraedge("list", "jobs", "-q").out == f"{JOB_2}\n{JOB_1}\n"
    assert claraedge("list", "pipelines", "-q").out.split() == [
        PIPELINE_A, PIPELINE_B, PIPELINE_A_NEWER,
    ]  # fmt: skip


def test_list_images_says_what_is_not_loaded(daemon, claraedge):
    daemon.images.warnings.append("images.d/half.tar is not loaded: it ends in the middle")
    answer = claraedge("list", "images")
    assert "warning: images.d/half.tar is not loaded" in answer.err
    assert len(answer.out.splitlines()) == 2


def test_delete_image_accepts_names(daemon, claraedge):
    answer = claraedge("delete", "image", "localhost/dcmtk:1", "f" * 12)
    assert (answer.code, answer.out) == (0, f"localhost/dcmtk:1\n{'f' * 12}\n")
    assert daemon.images.removed == ["localhost/dcmtk:1", "f" * 12]


def test_list_images_shows_name_and_size(daemon, claraedge):
    row = claraedge("list", "images").out.splitlines()[1]
    assert row.split() == ["localhost/dcmtk:1", "f" * 12, "3.0", "MiB", "2026-01-01", "14:00:00"]


def test_list_inbox_shows_what_corrects_a_parked_item(daemon, claraedge):
    answer = claraedge("list", "inbox", "--state", "parked")
    assert "no such pipeline; to do: claraedge create pipeline -p x.yaml" in answer.out
    assert "a.dcm" not in answer.out
    items = json.loads(claraedge("list", "inbox", "--output", "json").out)["items"]
    assert items[0]["first_seen"] == "2026-01-01T12:00:00.250Z"
    assert items[0]["result_path"] == "/outbox/ct/a.dcm-c1000000"
    answer = claraedge("list", "inbox", "--state", "odd")
    assert answer.code == 2
    assert "'odd' is no state; known: seen, settling" in answer.err


# --- describe, status, version -----------------------------------------------------------------


def test_describe_pipeline_shows_who_reads_from_whom(daemon, claraedge):
    answer = claraedge("describe", "pipeline", "-p", "ct")
    assert answer.out.splitlines() == [
        "NAME: ct",
        f"PIPELINE_ID: {PIPELINE_A_NEWER}",
        "OPERATOR image: -> report",
        "OPERATOR tags: -> report",
        "OPERATOR report:",
        "FILE: ct.yaml (96 characters)",
        "WARNING: ct.yaml:3:1: a pipeline has no property `colour`; it has no effect; use one of:"
        " api-version, name, description, parameters, orchestrator, timeout, pull-secrets,"
        " operators",
    ]
    found = json.loads(claraedge("describe", "pipeline", "-p", "ct", "--output", "json").out)
    assert found["operators"] == {"image": ["report"], "tags": ["report"], "report": []}
    assert [(p["code"], p["line"]) for p in found["problems"]] == [("unknown-property", 3)]


def test_status_shows_folders_and_warnings(daemon, claraedge):
    answer = claraedge("status")
    assert "INBOX: /state/inbox\n" in answer.out
    assert "JOBS: 2 pending, 1 running\n" in answer.out
    assert "PODMAN: does not answer\n" in answer.out
    assert answer.out.endswith("WARNING: the disk is nearly full\n")
    found = json.loads(claraedge("status", "--output", "json").out)
    assert found["started"] == "2026-01-01T12:00:00.000Z"


def test_version_names_both_sides(daemon, claraedge):
    assert claraedge("version").out == "claraedge: 0.1.0\nplatform: 0.8.1\n"
    daemon.stop()
    answer = claraedge("version", "--output", "json")
    assert (answer.code, json.loads(answer.out)) == (0, {"claraedge": "0.1.0", "platform": None})


# --- download, upload --------------------------------------------------------------------------


@pytest.fixture
def results(daemon):
    daemon.fakes.files = {
        "/input/scan.dcm": b"scan",
        "/operators/report/index.html": b"<html>" * 1000,
        "/operators/report/img/a.png": b"",
        "/operators/tags/tags.json": b"{}",
    }
    return daemon


def test_download_by_pattern_keeps_the_tree_below_the_pattern(results, claraedge, tmp_path):
    answer = claraedge("download", "c1:/operators/report/*", tmp_path / "out")
    assert answer.code == 0
    out = tmp_path / "out"
    assert (out / "index.html").read_bytes() == b"<html>" * 1000
    assert (out / "img" / "a.png").read_bytes() == b""
    assert sorted(answer.out.split()) == sorted([str(out / "index.html"), str(out / "img/a.png")])
    assert not list(out.rglob("*.part"))


def test_download_of_a_folder_includes_all_below_it(results, claraedge, tmp_path):
    assert claraedge("download", f"{PAYLOAD_1}:/operators/", tmp_path).code == 0
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*")) == [
        "report/img/a.png", "report/index.html", "tags/tags.json",
    ]  # fmt: skip


def test_download_of_the_root_includes_all(results, claraedge, tmp_path):
    assert claraedge("download", "c1:/", tmp_path).code == 0
    below = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*.*")}
    assert {"operators"} <= below <= {"operators", "input"}
    answer = claraedge("download", "c1:", tmp_path)
    assert answer.code == 2
    assert "'c1:' is not ID:PATH" in answer.err


def test_a_long_name_does_not_widen_the_rows_of_others():
    from claraedge.cli.output import table

    shown = table(["NAME", "ID"], [["a", "1"], ["x" * 250, "2"], ["bcdef", "3"]])
    assert shown.split("\n") == ["NAME   ID", "a      1", "x" * 250 + "  2", "bcdef  3"]


def test_download_of_one_file_to_a_name_or_into_a_folder(results, claraedge, tmp_path):
    assert claraedge("download", "d1:./input/scan.dcm", tmp_path / "new.dcm").code == 0
    assert (tmp_path / "new.dcm").read_bytes() == b"scan"
    answer = claraedge("download", "d1:input/scan.dcm", tmp_path, "--output", "json")
    assert json.loads(answer.out)["files"] == [
        {"name": "/input/scan.dcm", "size": 4, "path": str(tmp_path / "scan.dcm")}
    ]


def test_download_of_nothing_names_what_there_is(results, claraedge, tmp_path):
    answer = claraedge("download", "c1:/operators/repotr/*", tmp_path)
    assert answer.code == 1
    assert "/operators/repotr/*" in answer.err
    assert "  /operators/tags/tags.json\n" in answer.err


def test_a_daemon_that_sends_dots_writes_nothing_elsewhere(daemon, claraedge, tmp_path):
    daemon.fakes.files = {"/operators/x/../../../evil": b"x"}
    (tmp_path / "out").mkdir()
    answer = claraedge("download", "c1:/operators/x/*", tmp_path / "out")
    assert answer.code == 2
    assert "leaves the destination" in answer.err
    assert list((tmp_path / "out").rglob("*")) == []


def test_an_interrupted_download_keeps_the_old_file(results, claraedge, tmp_path, monkeypatch):
    target = tmp_path / "index.html"
    target.write_text("old")

    def broken(request):
        yield from ()
        raise RuntimeError("the server breaks")

    monkeypatch.setattr(results.fakes, "payloads_download", broken)
    answer = claraedge("download", "c1:/operators/report/index.html", target)
    assert answer.code == 1
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_upload_accepts_a_job_a_payload_or_a_reusable_payload(daemon, claraedge, tmp_path):
    file = tmp_path / "a b"
    file.write_bytes(b"1")
    for given, payload in (("c1", PAYLOAD_1), (PAYLOAD_1, PAYLOAD_1), (REUSABLE, REUSABLE)):
        daemon.fakes.statuses = [jobs_pb2.JobsStatusResponse()]
        assert claraedge("upload", given, file).out == "a b\n"
        assert daemon.asked[-1] == (payload, "a b", stat.S_IMODE(file.stat().st_mode))


def test_a_file_that_cannot_be_read_breaks_the_whole_upload(
    daemon, claraedge, tmp_path, monkeypatch
):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"1")
    bad.write_bytes(b"2")
    opened = Path.open

    def refuse(path, *arguments, **more):
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **more)

    daemon.fakes.upload_breaks = True
    monkeypatch.setattr(Path, "open", refuse)
    answer = claraedge("upload", "c1", good, bad)
    assert answer.code == 1
    assert answer.err == f"claraedge: {bad}: Permission denied\n"
    assert daemon.fakes.upload_broken.wait(30)
    assert daemon.fakes.uploaded == {}


def test_what_is_no_regular_file_is_not_uploaded(daemon, claraedge, tmp_path):
    import os

    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "pipe")
    answer = claraedge("upload", "c1", tmp_path / "d")
    assert answer.code == 2
    assert "only regular files" in answer.err
    assert daemon.asked == []


def test_describe_inbox_accepts_an_id_its_beginning_or_a_name(daemon, claraedge):
    for text in ("2" * 32, "22", "b.dcm"):
        answer = claraedge("describe", "inbox", text)
        assert answer.code == 0, answer.err
        assert "no such pipeline" in answer.out
        assert "claraedge create pipeline -p x.yaml" in answer.out
    found = json.loads(claraedge("describe", "inbox", "a.dcm", "--output", "json").out)
    assert (found["id"], found["result_path"]) == ("1" * 32, "/outbox/ct/a.dcm-c1000000")
    lines = claraedge("describe", "inbox", "a.dcm").out.splitlines()
    kept = [line for line in lines if line.startswith(("RESULTS", "REMOVED", "ORIG", "ME", "MORE"))]
    assert kept[0] == "RESULTS: /outbox/ct/a.dcm-c1000000"
    assert kept[1].startswith("REMOVED: 2026-01-01 ")
    assert kept[2:] == [
        "ORIGINAL: /originals/ct/a.dcm-c1000000",
        "MEMBER: 1.dcm",
        "MORE MEMBERS: 2",
    ]
    answer = claraedge("describe", "inbox", "3")
    assert answer.code != 0
    assert "claraedge list inbox" in answer.err


def test_a_name_of_several_items_is_answered_with_their_ids(daemon, claraedge):
    daemon.fakes.dropped_again = 12
    answer = claraedge("describe", "inbox", "again.dcm")
    assert answer.code == 2
    lines = answer.err.splitlines()
    assert lines[0] == (
        "claraedge: 12 items are called 'again.dcm'; give the id of one (these are the last 10):"
    )
    assert f"  {11:032x}  FAILED, in /inbox/ct" in answer.err
    assert len([line for line in lines if "FAILED, in" in line]) == 10
    answer = claraedge("describe", "inbox", "nothing like it")
    assert "'nothing like it' is not the beginning of an id of an item" in answer.err


def test_retry_inbox_prints_the_new_state_of_each_item(daemon, claraedge):
    answer = claraedge("retry", "inbox", "b.dcm")
    assert answer.code == 0, answer.err
    assert answer.out.split() == ["2" * 32, "PARKED", "b.dcm"]
    answer = claraedge("retry", "inbox", "a.dcm")
    assert answer.code != 0
    assert "nothing to try again" in answer.err


def test_delete_inbox_prints_the_ids_and_stops_at_what_did_not_fail(daemon, claraedge):
    daemon.fakes.dropped_again = 2
    first, second = f"{0:032x}", f"{1:032x}"
    answer = claraedge("delete", "inbox", first, second, first)
    assert (answer.code, answer.out.split()) == (0, [first, second])
    answer = claraedge("delete", "inbox", first, "b.dcm", second)
    assert answer.code != 0
    assert answer.out.split() == [first]
    assert "it did not fail" in answer.err


def test_what_programs_left_in_a_folder_is_not_uploaded(daemon, claraedge, tmp_path):
    folder = tmp_path / "study"
    (folder / "@eaDir").mkdir(parents=True)
    for name in ("IM1.dcm", ".DS_Store", "._IM1.dcm", "@eaDir/IM1.dcm", ".hidden"):
        (folder / name).write_bytes(b"1")
    answer = claraedge("upload", PAYLOAD_1, folder)
    assert answer.out.splitlines() == [".hidden", "IM1.dcm"]
    assert (
        "left out: .DS_Store and 1 more, which belongs to a program (the Mac's Finder)"
        in answer.err
    )
    assert "(Synology, thumbnails and attributes)" in answer.err
    assert claraedge("upload", PAYLOAD_1, folder / ".DS_Store").out == ".DS_Store\n"


def test_a_folder_with_an_unfinished_file_is_not_uploaded(daemon, claraedge, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/IM1.dcm").write_bytes(b"1")
    half = tmp_path / "study/.IM2.dcm.k3J9sd"
    half.write_bytes(b"ha")
    answer = claraedge("upload", PAYLOAD_1, tmp_path / "study")
    assert answer.code == 2
    assert f"{half}: this is the name of an unfinished file (rsync)" in answer.err
    assert daemon.fakes.uploaded == {}


def test_a_folder_without_a_file_of_the_user_is_not_uploaded(daemon, claraedge, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/desktop.ini").write_bytes(b"[.ShellClassInfo]")
    answer = claraedge("create", "job", "-n", "j", "-p", "ct", "-f", tmp_path / "study")
    assert answer.code == 2
    assert "there is no file of yours to upload" in answer.err
    assert "JOB_ID" not in answer.out
    (tmp_path / "empty").mkdir()
    assert claraedge("upload", PAYLOAD_1, tmp_path / "empty").code == 2
    assert daemon.fakes.uploaded == {}


def test_a_folder_with_a_link_to_a_folder_is_not_uploaded(daemon, claraedge, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/IM1.dcm").write_bytes(b"1")
    (tmp_path / "study/more").symlink_to(tmp_path)
    answer = claraedge("upload", PAYLOAD_1, tmp_path / "study")
    assert answer.code == 2
    assert f"{tmp_path}/study/more: it is a link to a folder" in answer.err
    assert daemon.fakes.uploaded == {}


def test_describe_names_shows_the_table(daemon, claraedge):
    answer = claraedge("describe", "names")
    assert [line.split()[0] for line in answer.out.splitlines()[:2]] == ["KIND", "content"]
    assert any("WinSCP" in line and "*.filepart" in line for line in answer.out.splitlines())
    rows = json.loads(claraedge("describe", "names", "--output", "json").out)["names"]
    assert {row["kind"] for row in rows} == {"content", "unfinished", "leftover"}
    assert all(row["source"] for row in rows)


def test_describe_settings_says_where_values_come_from_and_keeps_secrets(daemon, claraedge):
    lines = claraedge("describe", "settings").out.splitlines()
    assert [line.split() for line in lines] == [
        ["SETTING", "VALUE", "FROM"],
        ["state_dir", '"/state"', "/etc/c.toml:3"],
        ["log.level", '"info"', "default"],
        ["deployments.variables", "(not", "shown)", "command", "line"],
    ]
    lines = claraedge("describe", "settings", "--changed").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["state_dir", "deployments.variables"]
    (first, *_) = json.loads(claraedge("describe", "settings", "--output", "json").out)["settings"]
    assert (first["origin"], first["line"], first["is_default"]) == ("file", 3, False)
