"""Definitions of bag jobs: mistakes, the form of rapyuta.io, and the arguments of `record`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.bags.model import BagJob
from claraedge.bags.recipes import Recording, recipe_of
from claraedge.packages.bag_jobs import (
    BagCompression,
    BagJobDefinition,
    BagUpload,
    RecordOptions,
    arguments,
    find_mistakes,
    read_definition,
)
from claraedge.runner.protocol import Exit, ExitCause
from claraedge.supervised.restarts import Again, GiveUp, Rest

_ALWAYS = ("--output-prefix", "/bags/j", "--buffsize=64", "--min-space=256M")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"all_topics": True}, ("--all",)),
        ({"topics": ("/a", "b/c")}, ("/a", "b/c")),
        ({"include": ("/cam.*", "/lidar")}, ("--regex", "/cam.*", "/lidar")),
        ({"include": ("/cam.*",), "topics": ("b",)}, ("--regex", "/cam.*", "/b")),
        ({"node": "/talker"}, ("--node", "/talker")),
        ({"node": "/talker", "topics": ("/x",)}, ("--node", "/talker", "/x")),
        ({"all_topics": True, "exclude": "/rosout.*"}, ("--exclude", "(/rosout.*)", "--all")),
        (
            {"all_topics": True, "exclude": "/a", "exclude_topics": ("b", "/c")},
            ("--exclude", "(/a)|(/b)|(/c)", "--all"),
        ),
        ({"topics": ("/a", "b"), "exclude_topics": ("/b",)}, ("/a",)),
        ({"topics": ("/a",), "max_messages": 5}, ("--limit=5", "/a")),
        ({"topics": ("/a",), "compression": BagCompression.LZ4}, ("--lz4", "/a")),
        ({"topics": ("/a",), "compression": BagCompression.BZ2}, ("--bz2", "/a")),
        ({"topics": ("/a",), "split_size": 100}, ("--split", "--size=100", "/a")),
        (
            {"topics": ("/a",), "split_minutes": 5, "max_splits": 3},
            ("--split", "--duration=5m", "--max-splits=3", "/a"),
        ),
        ({"topics": ("/a",), "chunk_size": 10}, ("--chunksize=10", "/a")),
    ],
)
def test_options_become_arguments_of_record(
    options: dict[str, Any], expected: tuple[str, ...]
) -> None:
    record = RecordOptions(**options)
    assert find_mistakes(BagJobDefinition(name="j", record=record), "job") == []
    assert arguments(record, "/bags/j", buffer=64) == (*_ALWAYS, *expected)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, "job.recordOptions: they select nothing"),
        ({"topics": ("--node",)}, "job.recordOptions.topics"),
        ({"topics": ("/a b",)}, "job.recordOptions.topics"),
        ({"topics": ("",)}, "job.recordOptions.topics"),
        ({"node": "-x"}, "job.recordOptions.node"),
        ({"include": ("-a",)}, "no regular expression"),
        ({"include": ("",)}, "no regular expression"),
        ({"include": ("a\0",)}, "no regular expression"),
        ({"all_topics": True, "exclude": "-"}, "no regular expression"),
        ({"topics": ("/a",), "exclude": "/a"}, "topicExcludeRegex: it has no effect"),
        ({"topics": ("/a",), "exclude_topics": ("a",)}, "excludeTopics has all of them"),
        ({"topics": ("/a",), "max_splits": 3}, "the bag is never split"),
        ({"topics": ("/a",), "split_size": -1}, "maxSplitSize"),
        ({"topics": ("/a",), "chunk_size": 10**9}, "chunkSize"),
        ({"topics": tuple(f"/t{i}" for i in range(1001))}, "more than 1000"),
    ],
)
def test_mistakes_have_their_place(options: dict[str, Any], place: str) -> None:
    job = BagJobDefinition(name="j", record=RecordOptions(**options))
    assert any(place in mistake for mistake in find_mistakes(job, "job"))


@pytest.mark.parametrize("name", ["", "x" * 64, " a", "a\n"])
def test_names_of_jobs(name: str) -> None:
    job = BagJobDefinition(name=name, record=RecordOptions(all_topics=True))
    assert any(mistake.startswith("job.name:") for mistake in find_mistakes(job, "job"))


def test_splits_that_are_moved_cannot_be_limited() -> None:
    record = RecordOptions(all_topics=True, split_size=1, max_splits=2)
    job = BagJobDefinition(name="j", record=record, upload=BagUpload.CONTINUOUS)
    (mistake,) = find_mistakes(job, "job")
    assert "Continuous" in mistake


def test_the_form_of_the_sdk_is_read_whole() -> None:
    job, mistakes = read_definition(
        {
            "name": "drive",
            "recordOptions": {
                "allTopics": None,
                "topics": ["/a"],
                "topicIncludeRegex": ["/c.*"],
                "topicExcludeRegex": "/cd",
                "maxMessageCount": 9,
                "node": None,
                "compression": "LZ4",
                "maxSplits": 2,
                "maxSplitSize": 3,
                "chunkSize": 4,
                "maxSplitDuration": 5,
            },
            "uploadOptions": {
                "maxUploadRate": 1048576,
                "purgeAfter": False,
                "uploadType": "OnDemand",
                "onDemandOpts": None,
            },
            "overrideOptions": {
                "topicOverrideInfo": [{"topicName": "/a", "recordFrequency": 0, "latched": False}],
                "excludeTopics": ["/b"],
            },
        },
        "jobs[0]",
    )
    assert mistakes == []
    assert job == BagJobDefinition(
        name="drive",
        record=RecordOptions(
            topics=("/a",),
            include=("/c.*",),
            exclude="/cd",
            exclude_topics=("/b",),
            max_messages=9,
            compression=BagCompression.LZ4,
            split_size=3,
            split_minutes=5,
            max_splits=2,
            chunk_size=4,
        ),
        upload=BagUpload.ON_DEMAND,
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"overrideOptions": {"topicOverrideInfo": [{"topicName": "/a", "recordFrequency": 3}]}},
            "throttle",
        ),
        (
            {"overrideOptions": {"topicOverrideInfo": [{"topicName": "/a", "latched": True}]}},
            "throttle",
        ),
        (
            {"uploadOptions": {"onDemandOpts": {"timeRange": {"from": 0, "to": 1}}}},
            "has no bags yet",
        ),
        ({"recordOptions": {"all_topics": True}}, "all_topics"),
        ({"recordOptions": {"topics": "/a"}}, "topics"),
        ({"uploadOptions": {"uploadType": "Never"}}, "Never"),
        ({"name": 5}, "name"),
        ({"more": 1}, "more"),
    ],
)
def test_what_has_no_effect_or_no_form_is_refused(change: dict[str, Any], text: str) -> None:
    given = {"name": "j", "recordOptions": {"allTopics": True}, **change}
    _, mistakes = read_definition(given, "jobs[0]")
    assert any(text in mistake and "jobs[0]" in mistake for mistake in mistakes)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "recordOptions", "topics", "allTopics", "uploadOptions", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["name", "recordOptions", "overrideOptions"]), _JSON))
def test_any_object_is_a_definition_or_has_mistakes(value: dict[str, Any]) -> None:
    job, mistakes = read_definition(value, "jobs[0]")
    assert mistakes or job is not None
    if not mistakes:
        assert job is not None
        assert all(isinstance(word, str) for word in arguments(job.record, "p", buffer=1))
        assert msgspec.json.decode(msgspec.json.encode(job), type=BagJobDefinition) == job


def test_the_recipe_writes_below_the_folder_of_bags(tmp_path: Any) -> None:
    job = BagJob(
        id="bagjob-" + "a" * 24,
        name="../my job",
        deployment="dep-" + "a" * 24,
        deployment_name="d",
        package="",
        component="",
        component_name="",
        instance="",
        definition=BagJobDefinition(name="x", record=RecordOptions(all_topics=True)),
        created=0.0,
    )
    given = {"ROS_MASTER_URI": "u"}
    recipe = recipe_of(job, image="i", environment=given, address="10.0.0.5", folder=tmp_path)
    assert recipe.spec.environment["ROS_IP"] == "10.0.0.5"
    named = recipe_of(
        job, image="i", environment={"ROS_HOSTNAME": "h"}, address="10.0.0.5", folder=tmp_path
    )
    assert "ROS_IP" not in named.spec.environment
    assert recipe.spec.command[:2] == ("--output-prefix", "/bags/___my_job")
    assert recipe.spec.environment["ROS_MASTER_URI"] == "u"
    assert not recipe.spec.writable_root


@pytest.mark.parametrize(
    ("code", "was_up", "decision"),
    [(0, True, Rest), (0, False, Rest), (127, True, GiveUp), (1, True, Again), (1, False, Again)],
)
def test_what_follows_the_end_of_record(code: int, was_up: bool, decision: type) -> None:
    end = Exit(cause=ExitCause.EXITED, code=code)
    assert isinstance(Recording().decide(end, was_up=was_up, restarts=[], now=0.0), decision)
