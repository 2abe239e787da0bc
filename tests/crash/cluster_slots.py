"""Schedules on a cluster: every node ticks all of them every second, nodes are killed, and what is left is judged slot by slot."""

from __future__ import annotations

import json
import random

from .cluster import Cluster, clock
from .cluster_judge import rows
from .slots import OF_DELIVERIES, OF_INSTANCES, OF_TRIGGER, SCHEDULES, Report, judge

_PAUSE_S = (0.3, 2.0)  # between two kills
_AWAY_S = (0.0, 1.0)
_LAST_S = 3.0  # all nodes tick undisturbed


def schedules() -> str:
    """Return the settings of the schedules of every second."""
    tables = []
    for name, config in SCHEDULES.items():
        every_second = {"kind": "cron", "name": name, "workflow": "busy", "cron": "* * * * * *", "seconds": True, **config}
        lines = [f"{key} = {json.dumps(value)}" for key, value in every_second.items()]
        tables.append("\n".join(["[[triggers]]", *lines, f"payload = {{ long = {json.dumps(name == 'skipping')} }}", ""]))
    return "".join(tables)


async def campaign(cluster: Cluster, url: str, seed: int, seconds: float) -> Report:
    """Kill nodes for so long, let all of them live on for a moment, and judge every slot since the first start."""
    chosen, report = random.Random(seed), Report(seed=seed)
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        await clock.sleep(chosen.uniform(*_PAUSE_S))
        node = chosen.choice(cluster.nodes)
        cluster.kill(node)
        report.kills += 1
        await clock.sleep(chosen.uniform(*_AWAY_S))
        cluster.start(node)
    for node in cluster.nodes:
        await cluster.ready(node)
    await clock.sleep(_LAST_S)
    for node in cluster.nodes:
        report.faults += await cluster.stop(node)
    for name in SCHEDULES:
        judge(name, {query: await rows(url, query.format(name)) for query in (OF_TRIGGER, OF_INSTANCES, OF_DELIVERIES)}, report)
    return report
