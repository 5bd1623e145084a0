"""Bags made by hand. Source: http://wiki.ros.org/Bags/Format/2.0."""

from __future__ import annotations

import struct


def _record(fields: dict[str, bytes], data: bytes = b"") -> bytes:
    header = b"".join(
        struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value
        for name, value in fields.items()
    )
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(data)) + data


def bag_bytes(*chunks: tuple[int, int, int], whole: bool = True) -> bytes:
    """Returns a bag whose chunks have these seconds of the first and last message, and so many
    messages. `whole`: whether it was closed.
    """
    magic = b"#ROSBAG V2.0\n"
    connections = [_record({"op": b"\x07", "conn": bytes(4), "topic": b"/a"})] if chunks else []
    header = {
        "op": b"\x03",
        "index_pos": struct.pack("<Q", 0),
        "conn_count": struct.pack("<i", len(connections)),
        "chunk_count": struct.pack("<i", len(chunks)),
    }
    if not whole:
        return magic + _record(header, b" " * 4000)
    at = len(magic) + len(_record(header, b" " * 4000))
    header["index_pos"] = struct.pack("<Q", at)
    infos = [
        _record(
            {
                "op": b"\x06",
                "start_time": struct.pack("<II", start, 0),
                "end_time": struct.pack("<II", end, 500_000_000),
            },
            struct.pack("<II", 0, count),
        )
        for start, end, count in chunks
    ]
    return magic + _record(header, b" " * 4000) + b"".join(connections) + b"".join(infos)
