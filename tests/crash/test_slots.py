"""Schedules over kills: every slot becomes exactly one instance or one row that tells why not, whoever ticks and whenever it dies."""

from __future__ import annotations

from pathlib import Path

from .forks import Lives
from .kills import chosen_seed
from .slots import SCHEDULES, campaign

KILLS = 5


def test_no_slot_is_doubled_missing_or_told_twice(lives: Lives, folder: Path) -> None:
    report = campaign(lives, folder, chosen_seed(), KILLS)
    assert (report.kills, report.faults) == (KILLS, []), f"seed {report.seed}"
    assert report.became["instance"] >= len(SCHEDULES) * 3
