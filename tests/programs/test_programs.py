"""Random programs with random deaths of their node do what a plain interpreter says. `HUB_PROGRAM_SEED=n` runs exactly that seed."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

from hub.store import store_for

from .simulation import judge

SEED = "HUB_PROGRAM_SEED"
COUNT = "HUB_PROGRAM_COUNT"
SEEDS = 200  # a slice; two thousand take minutes: HUB_PROGRAM_COUNT=2000
_MEMORY = Path("/dev/shm")


async def _prepare(file: Path) -> None:
    store = store_for(f"sqlite:///{file}")
    await store.open()
    await store.close()


def _seeds() -> range:
    one = os.environ.get(SEED)
    return range(int(one), int(one) + 1) if one is not None else range(int(os.environ.get(COUNT, SEEDS)))


def test_random_programs_with_random_deaths_do_what_a_plain_interpreter_says(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite"
    asyncio.run(_prepare(empty))
    met: Counter[str] = Counter()
    for seed in _seeds():
        verdict = judge(seed, empty, tmp_path)
        assert not verdict.differences, f"{verdict}\nrun it again with {SEED}={seed}"
        met.update(deaths=verdict.deaths, stops=verdict.stops, bodies=verdict.bodies, doubtful=verdict.doubtful)
    print(dict(met))
