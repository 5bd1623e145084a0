"""Definitions of bag jobs: which ROS topics are recorded, and how. Pure.

Sources: rapyuta.io, ROS bags (names, statuses); `rosbag record --help` of ROS 1 (options).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_NAME = 63
_MAX_TOPICS = 1000
_MAX_TEXT = 1000
_LARGEST = 1_000_000
#: `record` writes nothing while the disk has less: its own default is too much for small disks.
_SPACE = "--min-space=256M"
_TOPIC = re.compile(r"/?[A-Za-z][A-Za-z0-9_]*(/[A-Za-z0-9_]+)*")


class BagUpload(enum.StrEnum):
    """When bags are stored in the payload of their job."""

    ON_STOP = "OnStop"
    CONTINUOUS = "Continuous"
    ON_DEMAND = "OnDemand"


class BagCompression(enum.StrEnum):
    """How the chunks of a bag are compressed."""

    NONE = ""
    LZ4 = "LZ4"
    BZ2 = "BZ2"


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is recorded, and how. 0 and empty: the option is not used."""

    all_topics: bool = False
    topics: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    """Regular expressions, each of the whole name of a topic."""
    exclude: str = ""
    """A regular expression of topics that are not recorded."""
    exclude_topics: tuple[str, ...] = ()
    node: str = ""
    max_messages: int = 0
    """Limit for the messages of each topic."""
    compression: BagCompression = BagCompression.NONE
    split_size: int = 0
    """Megabytes."""
    split_minutes: int = 0
    max_splits: int = 0
    chunk_size: int = 0
    """Kilobytes."""


class BagJobDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a package or a request defines it."""

    name: str
    record: RecordOptions = RecordOptions()
    upload: BagUpload = BagUpload.ON_STOP
    executable: str = ""
    """Id or name of the executable whose image records; empty: the first of the component."""


def find_mistakes(job: BagJobDefinition, place: str) -> list[str]:
    """Returns what is wrong with a definition, each with its place below `place`."""
    record, mistakes = job.record, []
    if not job.name or len(job.name) > MAX_NAME:
        mistakes.append(f"{place}.name: it has {len(job.name)} characters; give 1 to {MAX_NAME}")
    elif not job.name.isprintable() or job.name != job.name.strip():
        mistakes.append(f"{place}.name: {job.name!r} has blanks at an end, or is not printable")
    if not (record.all_topics or record.topics or record.include or record.node):
        mistakes.append(
            f"{place}.recordOptions: they select nothing; give allTopics, topics, topicIncludeRegex"
            " or node"
        )
    names = {"topics": record.topics, "excludeTopics": record.exclude_topics}
    for field, topics in names.items():
        mistakes += [
            f"{place}.recordOptions.{field}: {topic[:80]!r} is no name of a topic; write it as"
            " /camera/image: letters, digits and `_`"
            for topic in topics
            if not _is_name(topic)
        ]
    if record.node and not _is_name(record.node):
        mistakes.append(f"{place}.recordOptions.node: {record.node[:80]!r} is no name of a node")
    if max(map(len, (record.topics, record.exclude_topics, record.include))) > _MAX_TOPICS:
        mistakes.append(f"{place}.recordOptions: a list has more than {_MAX_TOPICS} entries")
    for text in (*record.include, *([record.exclude] if record.exclude else [])):
        if not text or len(text) > _MAX_TEXT or not text.isprintable() or text.startswith("-"):
            mistakes.append(
                f"{place}.recordOptions: {text[:80]!r} is no regular expression of topics; give 1"
                f" to {_MAX_TEXT} printable characters that do not begin with `-`"
            )
    return [*mistakes, *_of_numbers(job, place), *_of_combinations(job, place)]


def _of_numbers(job: BagJobDefinition, place: str) -> list[str]:
    record = job.record
    numbers = {
        "maxMessageCount": record.max_messages,
        "maxSplitSize": record.split_size,
        "maxSplitDuration": record.split_minutes,
        "maxSplits": record.max_splits,
        "chunkSize": record.chunk_size,
    }
    return [
        f"{place}.recordOptions.{field}: it is {number}; give 1 to {_LARGEST}, or leave it out"
        for field, number in numbers.items()
        if not 0 <= number <= _LARGEST
    ]


def _of_combinations(job: BagJobDefinition, place: str) -> list[str]:
    record, mistakes = job.record, []
    where = f"{place}.recordOptions"
    if record.max_splits and not (record.split_size or record.split_minutes):
        mistakes.append(
            f"{where}.maxSplits: the bag is never split; give maxSplitSize or maxSplitDuration"
        )
    if record.max_splits and job.upload is BagUpload.CONTINUOUS:
        mistakes.append(
            f"{where}.maxSplits: with uploadType Continuous each bag is stored when it is closed,"
            " and none is left to remove; leave out maxSplits, or write OnStop"
        )
    if record.exclude and not (record.all_topics or record.include or record.node):
        mistakes.append(
            f"{where}.topicExcludeRegex: it has no effect on topics that are named; leave it out"
        )
    others = record.all_topics or record.include or record.node
    if record.topics and not _selected(record) and not others:
        mistakes.append(f"{where}.topics: excludeTopics has all of them; leave one in")
    return mistakes


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_TEXT and _TOPIC.fullmatch(text) is not None


def _absolute(topic: str) -> str:
    return topic if topic.startswith("/") else f"/{topic}"


def _selected(record: RecordOptions) -> list[str]:
    """Returns the named topics that are not excluded."""
    excluded = set(map(_absolute, record.exclude_topics))
    return [topic for topic in record.topics if _absolute(topic) not in excluded]


def arguments(record: RecordOptions, prefix: str, *, buffer: int) -> tuple[str, ...]:
    """Returns the arguments of `record`, the program of ROS behind `rosbag record`.

    `prefix`: the path that the names of bags begin with. `buffer`: megabytes.
    """
    found = ["--output-prefix", prefix, f"--buffsize={buffer}", _SPACE]
    if record.chunk_size:
        found.append(f"--chunksize={record.chunk_size}")
    if record.max_messages:
        found.append(f"--limit={record.max_messages}")
    if record.compression is not BagCompression.NONE:
        found.append(f"--{record.compression.lower()}")
    if record.split_size or record.split_minutes:
        found.append("--split")
    if record.split_size:
        found.append(f"--size={record.split_size}")
    if record.split_minutes:
        found.append(f"--duration={record.split_minutes}m")
    if record.max_splits:
        found.append(f"--max-splits={record.max_splits}")
    excluded = [record.exclude] if record.exclude else []
    excluded += map(_absolute, record.exclude_topics)  # such a name matches itself only
    if excluded and (record.all_topics or record.include or record.node):
        found += ["--exclude", "|".join(f"({text})" for text in excluded)]
    if record.node:
        found += ["--node", record.node]
    if record.all_topics:
        return (*found, "--all")
    if record.include:
        return (*found, "--regex", *record.include, *map(_absolute, _selected(record)))
    return (*found, *_selected(record))


# --- the form of rapyuta.io ---------------------------------------------------------------------


class _SdkObject(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    pass


class _SdkRecord(_SdkObject, frozen=True, kw_only=True):
    all_topics: bool | None = None
    topics: list[str] | None = None
    topic_include_regex: list[str] | None = None
    topic_exclude_regex: str | None = None
    max_message_count: int | None = None
    node: str | None = None
    compression: BagCompression | None = None
    max_splits: int | None = None
    max_split_size: int | None = None
    chunk_size: int | None = None
    max_split_duration: int | None = None


class _SdkUpload(_SdkObject, frozen=True, kw_only=True):
    max_upload_rate: int | None = None
    purge_after: bool | None = None
    upload_type: BagUpload | None = None
    on_demand_opts: Mapping[str, Any] | None = None


class _SdkTopic(_SdkObject, frozen=True, kw_only=True):
    topic_name: str
    record_frequency: int | None = None
    latched: bool | None = None


class _SdkOverride(_SdkObject, frozen=True, kw_only=True):
    topic_override_info: list[_SdkTopic] | None = None
    exclude_topics: list[str] | None = None


class _SdkJob(_SdkObject, frozen=True, kw_only=True):
    name: str
    record_options: _SdkRecord
    upload_options: _SdkUpload | None = None
    override_options: _SdkOverride | None = None


def read_definition(
    value: Mapping[str, Any], place: str
) -> tuple[BagJobDefinition | None, list[str]]:
    """Returns the definition of an entry of `rosBagJobDefs`, and all mistakes in it.

    None: it cannot be read. The rate of uploads and purging have no effect: a bag is moved on one
    disk.
    """
    try:
        given = msgspec.convert(value, _SdkJob)
    except msgspec.ValidationError as error:
        return None, [f"{place}: {error}; correct that place"]
    record, override = given.record_options, given.override_options or _SdkOverride()
    upload = (given.upload_options or _SdkUpload()).upload_type
    job = BagJobDefinition(
        name=given.name,
        record=RecordOptions(
            all_topics=bool(record.all_topics),
            topics=tuple(record.topics or ()),
            include=tuple(record.topic_include_regex or ()),
            exclude=record.topic_exclude_regex or "",
            exclude_topics=tuple(override.exclude_topics or ()),
            node=record.node or "",
            max_messages=record.max_message_count or 0,
            compression=record.compression or BagCompression.NONE,
            split_size=record.max_split_size or 0,
            split_minutes=record.max_split_duration or 0,
            max_splits=record.max_splits or 0,
            chunk_size=record.chunk_size or 0,
        ),
        upload=upload or BagUpload.ON_STOP,
    )
    mistakes = find_mistakes(job, place)
    if (given.upload_options or _SdkUpload()).on_demand_opts:
        mistakes.append(
            f"{place}.uploadOptions.onDemandOpts: a job that starts has no bags yet; leave it out,"
            " and send it later (patch of the ROSBagJob)"
        )
    for topic in override.topic_override_info or ():
        if topic.record_frequency or topic.latched:
            mistakes.append(
                f"{place}.overrideOptions.topicOverrideInfo: {topic.topic_name[:80]!r} is recorded"
                " here as it is published; let an executable of the component throttle or repeat it"
                " (`rosrun topic_tools throttle`), and record its topic"
            )
    return job, mistakes
