"""Simulates power cuts that really lose what was not synced, and tests the recovery of the daemon.

The whole daemon (all of the product except Podman) works on a disk that tracks what fsync has made
durable, `disk/`. Copies of that disk are taken while it works (`campaign.py`). From each copy the
disk after a power cut is made, a daemon starts on it and works until it is idle, and the result is
compared with what was promised (`promises.py`, `audit.py`). One such start is called a *life*.

`test_power_cuts.py` is the short form for CI; `python -m tests.powercut` is the long form, which
also runs on ext4, XFS and Btrfs.
"""
