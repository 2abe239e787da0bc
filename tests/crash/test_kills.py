"""A node that is killed at random, over and over: nothing acknowledged is lost, nothing settled runs again, and all of it ends by itself.

HUB_CRASH_SEED repeats the plan of an earlier run, HUB_CRASH_KILLS changes how often it is killed; `make soak` does it for longer.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from .forks import Lives
from .journal import Journal
from .kills import KILLS, SEED, Campaign, chosen_seed
from .node import AT_ONCE_S, finish, intake

_KILLS = int(os.environ.get(KILLS) or 160)
_ON_DISK = 0.3  # of the kills; a busy disk makes lives that hardly get anything done
_FIRST_STARTS = 12
_FIRST_START_S = 0.15  # about as long as the first start on a new file takes


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_random_kills_lose_nothing_and_repeat_nothing_that_is_settled(lives: Lives, folder: Path, place: str) -> None:
    seed = chosen_seed()
    kills = round(_KILLS * (_ON_DISK if place == "disk" else 1 - _ON_DISK))
    with TemporaryDirectory() as on_disk:
        report = Campaign(lives, folder if place == "memory" else Path(on_disk), seed).run(kills)
    print(report)
    assert report.faults == [], f"to repeat: {SEED}={seed}"
    assert report.kills == kills
    assert report.finish_s < AT_ONCE_S
    assert report.acknowledged > kills / 10
    assert report.acknowledged_events > 0
    assert report.bodies > report.acknowledged


def test_a_kill_while_the_database_is_made_leaves_a_file_on_which_a_node_starts(lives: Lives, folder: Path) -> None:
    seed = chosen_seed()
    moments = random.Random(seed)
    born = [folder / str(number) for number in range(_FIRST_STARTS)]
    unborn = 0
    nothing: dict[str, Any] = {"again": [], "repeated": [], "listeners": []}
    for place in born:
        place.mkdir()
        after_s = moments.uniform(0, _FIRST_START_S)
        ended = lives.run(intake, place, kill_after_s=after_s, from_birth=True, life=1, first=0, count=4, **nothing)
        assert ended.killed
        unborn += not ended.up
        lives.run(finish, place, life=2, **nothing)
        assert Journal(place).integrity() == "ok", f"killed after {after_s} s; to repeat: {SEED}={seed}"
    assert unborn > 0, "no process was killed before it was up"
