"""The campaigns of a cluster at any length: `python -m tests.crash.cluster_soak --kills 200 --zombies 50 --restarts 20 --seconds 60`.

Three nodes on a private PostgreSQL: nodes killed and frozen under load, the database stopped and killed under load, schedules of every
second, and limits. Prints a report of each as JSON; the exit status is 1 when a promise was broken, and the folder is kept then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from tests.databases import postgres_database
from tests.postgres import PostgresServer

from . import cluster_slots
from .cluster_client import limited, mixed
from .cluster_kills import CRASH, END_S, FREEZE, KILL, RESTART, Campaign, cluster_of
from .cluster_limits import overdrawn
from .forks import Lives
from .kills import chosen_seed, new_folder

PARTS = ("kills", "restarts", "limits", "slots")


class Soak:
    """The campaigns, one after the other, each on a database and in a folder of its own."""

    def __init__(self, lives: Lives, server: PostgresServer, folder: Path, seed: int) -> None:
        self.faults = 0
        self._lives = lives
        self._server = server
        self._folder = folder
        self._seed = seed

    async def run(self, part: str, order: argparse.Namespace) -> None:
        """Run one campaign and print its report."""
        tell = partial(_tell, part)
        tell(f"seed {self._seed}")
        (folder := self._folder / part).mkdir()
        async with postgres_database(self._server.url) as url:
            campaigns = {"kills": self._kills, "restarts": self._restarts, "limits": self._limits, "slots": self._slots}
            report = await campaigns[part](folder, url, order, tell)
        self.faults += len(report.faults)
        print(json.dumps({part: {each.name: getattr(report, each.name) for each in fields(report)}}, indent=2), flush=True)

    async def _kills(self, folder: Path, url: str, order: argparse.Namespace, tell: Callable[[str], None]) -> Any:
        return await self._campaign(folder, url, [KILL] * order.kills + [FREEZE] * order.zombies, tell)

    async def _restarts(self, folder: Path, url: str, order: argparse.Namespace, tell: Callable[[str], None]) -> Any:
        half = order.restarts // 2
        return await self._campaign(folder, url, [RESTART] * half + [CRASH] * (order.restarts - half), tell)

    async def _limits(self, folder: Path, url: str, order: argparse.Namespace, tell: Callable[[str], None]) -> Any:
        async with cluster_of(self._lives, folder, url) as cluster:
            report = await Campaign(cluster, url, self._seed, tell=tell).run([KILL] * (order.kills // 4), limited)
            report.faults += await overdrawn(url)
        return report

    async def _slots(self, folder: Path, url: str, order: argparse.Namespace, tell: Callable[[str], None]) -> Any:
        tell(f"for {order.seconds} s")
        async with cluster_of(self._lives, folder, url, more=cluster_slots.schedules()) as cluster:
            return await cluster_slots.campaign(cluster, url, self._seed, order.seconds)

    async def _campaign(self, folder: Path, url: str, faults: Sequence[str], tell: Callable[[str], None]) -> Any:
        async with cluster_of(self._lives, folder, url) as cluster:
            report = await Campaign(cluster, url, self._seed, server=self._server, tell=tell).run(faults, mixed)
        if report.finish_s > END_S:
            report.faults.append(f"not everything had ended {END_S} s after the last fault")
        return report


def _tell(part: str, words: str) -> None:
    print(f"{part}: {words}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the campaigns as the command line says."""
    parser = argparse.ArgumentParser("python -m tests.crash.cluster_soak", description="Break a cluster, and judge what is left.")
    parser.add_argument("--kills", type=int, default=200, help="nodes killed under load (default: %(default)s)")
    parser.add_argument("--zombies", type=int, default=50, help="nodes frozen beyond their lease (default: %(default)s)")
    parser.add_argument("--restarts", type=int, default=20, help="restarts of the database, half of them kills (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long schedules of every second tick (default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, action="append", help="one of the campaigns; may be given several times")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run (default: HUB_CRASH_SEED, or a new one)")
    order = parser.parse_args()
    folder = new_folder()
    with PostgresServer() as server, Lives() as lives:
        soak = Soak(lives, server, folder, chosen_seed() if order.seed is None else order.seed)
        for part in order.only or PARTS:
            asyncio.run(soak.run(part, order))
    if soak.faults:
        print(f"the ledgers and logs lie in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
