"""Power cuts that really lose what was not synced, and what the daemon makes of the rest.

The whole daemon (all of the product but Podman) works on a disk that knows what fsync has made
durable, `disk/`. Copies of that disk are taken while it works (`campaign.py`). Each becomes the
disk after a power cut, a daemon starts on it and works until it rests, and what is there then is
compared with what was promised (`promises.py`, `audit.py`). One such start is a *life*.

`test_power_cuts.py` is the short form for CI; `python -m tests.powercut` the long one, on ext4, XFS
and Btrfs as well.
"""
