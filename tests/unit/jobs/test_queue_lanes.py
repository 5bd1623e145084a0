"""The queue: jobs that may wait for long hide no others; nothing grows but memory."""

from __future__ import annotations

import random

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.queue import PLAIN, WINDOW, JobQueue, QueueLane

GPU, IMAGE = QueueLane(gpus=1), QueueLane(image="far:1")


def filled(count: int, priority: Priority = Priority.NORMAL) -> JobQueue[str]:
    queue: JobQueue[str] = JobQueue()
    for number in range(count):
        queue.push(f"{number}", priority)
    return queue


def test_the_head_has_the_first_of_each_class_the_highest_first() -> None:
    queue = filled(WINDOW + 9)
    queue.push("low", Priority.LOWER)
    queue.push("now", Priority.IMMEDIATE)
    assert list(queue.head()) == ["now", *map(str, range(WINDOW)), "low"]


def test_jobs_of_a_lane_of_their_own_make_room_for_those_behind_them() -> None:
    queue = filled(3 * WINDOW)
    for job in list(queue.head()):
        assert queue.move(job, GPU)
    head = list(queue.head())
    assert head == [*map(str, range(WINDOW, 2 * WINDOW)), *map(str, range(WINDOW))]
    assert not queue.move("0", GPU)
    assert len(queue) == 3 * WINDOW


def test_a_job_keeps_its_place_in_whatever_lane_it_is() -> None:
    queue = filled(4 * WINDOW)
    jobs = list(map(str, range(4 * WINDOW)))
    shuffled = random.Random(1).sample(jobs, len(jobs))
    for job in shuffled:
        queue.move(job, random.Random(job).choice([GPU, IMAGE, PLAIN]))
    for job in shuffled:
        queue.move(job, GPU)
    assert list(queue.head()) == jobs[:WINDOW]
    assert [queue.ahead(job) for job in jobs] == list(range(len(jobs)))


def test_a_job_that_was_taken_out_is_nowhere() -> None:
    queue = filled(3)
    queue.move("1", IMAGE)
    assert queue.remove("1")
    assert not queue.remove("1")
    assert not queue.move("1", GPU)
    assert (list(queue.head()), queue.ahead("2"), "1" in queue) == (["0", "2"], 1, False)


def test_what_is_remembered_of_a_job_far_back_is_dropped() -> None:
    queue = filled(WINDOW + 2)
    for number in range(WINDOW):
        queue.remember(f"{number}", "decoded")
        queue.move(f"{number}", GPU)
    queue.remember(f"{WINDOW}", "decoded")
    queue.move(f"{WINDOW}", GPU)
    assert queue.decoded("0") == "decoded"
    assert queue.decoded(f"{WINDOW}") is None
