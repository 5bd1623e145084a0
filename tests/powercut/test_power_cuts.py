"""After a power cut at any time no promised data is lost, doubled, incomplete or unreadable.

The short form cuts at two points of each flow, which a seed selects; with CLARAEDGE_CAMPAIGN=1 it
cuts at many. `python -m tests.powercut` does the same on ext4, XFS and Btrfs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.campaign import CAMPAIGN
from tests.powercut.campaign import Life, Recording, chosen, live, record, site
from tests.powercut.flow import FLOWS
from tests.powercut.site import Site
from tests.powercut.volatile_disk import Copy

SEED = 4
POINTS = 48 if CAMPAIGN else 2
MODELS = ("strict", "closed", "journal", "random") if CAMPAIGN else ("strict", "closed", "random")

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.timeout(3600 if CAMPAIGN else 300),
]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_power_cut_loses_nothing_that_was_promised(place: Site, flow: str) -> None:
    recording = record(place, flow, SEED, stride=5)
    copies = chosen(recording, POINTS)
    lives = [
        life for copy in copies for model in MODELS for life in live(place, recording, copy, model)
    ]
    recording.drop(copies)
    print(f"{flow}: {len(lives)} lives, seed {SEED}")
    assert len(lives) >= POINTS * len(MODELS)
    assert not [str(life) for life in lives if life.faults]


@pytest.mark.parametrize(("lacks", "model"), [("files", "journal"), ("folders", "strict")])
def test_it_finds_a_product_that_does_not_sync(lacks: str, model: str) -> None:
    with site(lacks=lacks) as spoiled:
        recording = record(spoiled, "file", SEED, stride=5)
        copies = chosen(recording, 12)
        found = next(_damaged(spoiled, model, recording, copies), None)
    assert found is not None, f"nothing is lost, though {lacks} are not synced"
    assert {fault.kind for fault in found.faults} & {"lost", "half", "corrupt", "stuck"}


def _damaged(
    place: Site, model: str, recording: Recording, copies: Sequence[Copy]
) -> Iterator[Life]:
    for copy in reversed(copies):  # at the end of the flow everything was promised
        yield from (life for life in live(place, recording, copy, model) if life.faults)
