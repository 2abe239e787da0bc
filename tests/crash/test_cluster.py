"""Three nodes on one PostgreSQL while nodes and database fail: nothing acknowledged is lost, nothing committed runs again, all ends.

HUB_CRASH_SEED repeats the plan of an earlier run; `make soak` does all of it for longer.
"""

from __future__ import annotations

from pathlib import Path

from tests.databases import postgres_database
from tests.postgres import PostgresServer

from . import cluster_slots
from .cluster_client import limited
from .cluster_kills import CRASH, END_S, FREEZE, KILL, RESTART, Campaign, cluster_of
from .cluster_limits import overdrawn
from .cluster_project import LIMITS
from .forks import Lives
from .kills import SEED, chosen_seed
from .slots import SCHEDULES

KILLS, ZOMBIES, RESTARTS = 10, 3, 2
LIMIT_KILLS = 5
SLOTS_S = 6.0


async def test_dead_and_frozen_nodes_lose_nothing_and_repeat_nothing(lives: Lives, folder: Path, postgres_server: PostgresServer) -> None:
    seed = chosen_seed()
    async with postgres_database(postgres_server.url) as url, cluster_of(lives, folder, url) as cluster:
        report = await Campaign(cluster, url, seed).run([KILL] * KILLS + [FREEZE] * ZOMBIES)
    print(report)
    assert report.faults == [], f"to repeat: {SEED}={seed}"
    assert (report.kills, report.zombies) == (KILLS, ZOMBIES)
    assert report.finish_s < END_S
    assert report.acknowledged > KILLS
    assert report.moved > 0


async def test_a_database_that_stops_and_dies_loses_nothing(lives: Lives, folder: Path, postgres_server: PostgresServer) -> None:
    seed = chosen_seed()
    async with postgres_database(postgres_server.url) as url, cluster_of(lives, folder, url) as cluster:
        faults = [RESTART] * (RESTARTS // 2) + [CRASH] * (RESTARTS // 2)
        report = await Campaign(cluster, url, seed, server=postgres_server).run(faults)
    print(report)
    assert report.faults == [], f"to repeat: {SEED}={seed}"
    assert report.restarts == RESTARTS
    assert report.finish_s < END_S
    assert report.unanswered > 0


async def test_limits_hold_over_all_nodes_while_nodes_die(lives: Lives, folder: Path, postgres_server: PostgresServer) -> None:
    seed = chosen_seed()
    async with postgres_database(postgres_server.url) as url, cluster_of(lives, folder, url) as cluster:
        report = await Campaign(cluster, url, seed).run([KILL] * LIMIT_KILLS, limited)
        faults = await overdrawn(url)
    print(report)
    assert report.faults + faults == [], f"to repeat: {SEED}={seed}"
    assert report.most == LIMITS["all"]


async def test_every_slot_is_made_once_by_whichever_node_lives(lives: Lives, folder: Path, postgres_server: PostgresServer) -> None:
    seed = chosen_seed()
    async with postgres_database(postgres_server.url) as url, cluster_of(lives, folder, url, more=cluster_slots.schedules()) as cluster:
        report = await cluster_slots.campaign(cluster, url, seed, SLOTS_S)
    assert report.faults == [], f"to repeat: {SEED}={seed}"
    assert report.kills > 0
    assert report.became["instance"] >= len(SCHEDULES) * 3
