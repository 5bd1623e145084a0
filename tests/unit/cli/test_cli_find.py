"""`claraedge find`, against a whole daemon."""

from __future__ import annotations

from pathlib import Path

from test_cli_changes import home, job, of, register

__all__ = ["home"]


def test_jobs_are_found_page_by_page(home: Path, claraedge) -> None:
    register(claraedge, home)
    made = [job(claraedge, "-m", f"StudyInstanceUID=1.2.840.{number}")[0] for number in range(3)]
    first, second, third = made
    assert claraedge("find", "scan", "-q").out.split() == [third, second, first]
    assert claraedge("find", "SCAN", "1.2.840.1", "-q").out.split() == [second]
    assert claraedge("find", second[:12].upper(), "-q").out.split() == [second]
    page = claraedge("find", "--limit", 2, "--kind", "job")
    heading, *rows = page.out.splitlines()
    assert heading.split() == ["NAME", "KIND", "ID", "PIPELINE", "STATE", "CREATED", "REASON"]
    assert [row.split()[:5] for row in rows] == [
        ["scan", "JOB", one, "chain", "UNSTARTED"] for one in (third, second)
    ]
    more, token = page.err.rsplit(" ", 1)
    assert more == "More: --page"
    found = of(claraedge, "find", "--limit", 2, "--kind", "job", "--page", token.strip())
    assert [hit["id"] for hit in found["hits"]] == [first]
    assert not found["next_page"]
    assert {one["stage"]: one["count"] for one in found["stages"] if one["count"]} == {
        "UNSTARTED": 3
    }


def test_states_of_jobs_and_of_items_are_selected(home: Path, claraedge) -> None:
    register(claraedge, home)
    made, _ = job(claraedge)
    assert claraedge("cancel", "job", made).code == 0
    assert claraedge("find", "--state", "canceled", "-q").out.split() == [made]
    assert claraedge("find", "--state", "running", "-q").out == ""
    assert claraedge("find", "--state", "parked", "--state", "Canceled", "-q").out.split() == [made]
    assert claraedge("find", "--kind", "item", "-q").out == ""
    assert claraedge("find", "--retryable", "-q").out == ""
    assert claraedge("find", "--pipeline", "chain", "-q").out.split() == [made]
    wrong = claraedge("find", "--state", "lost")
    assert wrong.code == 2
    assert "'lost' is no state; known: canceled, claimed, completed" in wrong.err
    assert claraedge("find", "--page", "lost").code == 2
    assert claraedge("find", "x" * 501).code == 2
