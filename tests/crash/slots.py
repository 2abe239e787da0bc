"""Slots of schedules over kills: two nodes' triggers tick the same schedules every second, and what is left is judged slot by slot.

SQLite takes one hub, so the two nodes are two hostings, each with triggers of its own, on one engine: they share its clock and its
database, and know nothing of each other.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hub import WorkflowEntrypoint, WorkflowEvent
from hub.core.clock import SystemClock
from hub.engine.context import TriggerSpec
from hub.engine.hosting import Hosting
from hub.store.columns import moment
from triggers.cron import CronConfig, CronTrigger

from .forks import Lives, Stage
from .journal import DATABASE
from .node import clock, node

NODES = 2
SCHEDULES: dict[str, dict[str, Any]] = {  # by the name of the trigger
    "allowing": {"catch_up": "all", "overlap": "allow"},
    "skipping": {"catch_up": "last", "overlap": "skip"},
    "spread": {"catch_up": "none", "overlap": "queue_one", "spread": "40%"},
}
_WORK_S = 0.6  # of every instance: with the pauses between lives enough that slots overlap
_SHORTEST_S, _LONGEST_S = 0.3, 2.5  # from when a life is up until it is killed
_AWAY_S = (0, 0, 15, 60, 3600)  # between two lives: not at all, longer than a slot is on time, longer than rows are told one by one
_LAST_LIFE_S = 3.0
_SECOND = timedelta(seconds=1)


class Busy(WorkflowEntrypoint):
    """Sleeps for a moment, so that the next slot may come in between."""

    async def run(self, event: WorkflowEvent, step: Any) -> None:
        """Take some time."""
        await step.sleep("busy", _WORK_S * 1000 * (1 + event.payload["long"] * (event.timestamp.second % 3 == 0) * 3))


def trigger_of(name: str) -> CronTrigger:
    """Return a schedule of every second."""
    return CronTrigger(CronConfig(cron="* * * * * *", seconds=True, payload={"long": name == "skipping"}, **SCHEDULES[name]))


class Ahead(SystemClock):
    """The machine's clock, ahead by what the process has been away: nobody waits for that."""

    def __init__(self, seconds: float) -> None:
        self._ahead = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._ahead


async def tick(stage: Stage) -> None:
    """Let both nodes tick until the kill, or for the time of the task."""
    async with node(stage.folder, {"busy": Busy}, time=Ahead(stage.task["ahead_s"])) as engine:
        nodes = []
        for _ in range(NODES):
            specs = [TriggerSpec(name, "busy", trigger_of(name), kind="cron", digest="1") for name in SCHEDULES]
            nodes.append(Hosting(specs, engine.services("local")))
        for hosting in nodes:
            await hosting.start()
        stage.up()
        if "for_s" not in stage.task:
            await asyncio.Event().wait()  # the kill ends it
        await clock.sleep(stage.task["for_s"])
        for hosting in nodes:
            await hosting.stop()


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign found. Everything in `faults` must not be."""

    seed: int
    kills: int = 0
    slots: int = 0
    became: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def campaign(lives: Lives, folder: Path, seed: int, kills: int) -> Report:
    """Kill the process that often, let it live on for a moment, and judge every slot since the first start."""
    chosen, report, ahead_s = random.Random(seed), Report(seed=seed), 0.0
    for _ in range(kills):
        report.kills += lives.run(tick, folder, kill_after_s=chosen.uniform(_SHORTEST_S, _LONGEST_S), ahead_s=ahead_s).killed
        ahead_s += chosen.choice(_AWAY_S)
    lives.run(tick, folder, for_s=_LAST_LIFE_S, ahead_s=ahead_s)
    with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as db:
        for name in SCHEDULES:
            judge(name, {query: db.execute(query.format(name)).fetchall() for query in (OF_TRIGGER, OF_INSTANCES, OF_DELIVERIES)}, report)
    return report


OF_TRIGGER = "SELECT created_at, cursor FROM trigger WHERE name = '{}'"
OF_INSTANCES = "SELECT scheduled_at FROM instance WHERE trigger = '{}'"
OF_DELIVERIES = "SELECT status, code, occurred_at, event FROM delivery WHERE trigger = '{}'"


def judge(trigger: str, asked: Mapping[str, Sequence[Sequence[Any]]], report: Report) -> None:
    """Look for what became of each slot: an instance, or one row that tells why not. `asked` has the rows of the three queries."""
    ((since, upto),) = asked[OF_TRIGGER]
    slots = Counter(_seconds(moment(since), moment(upto)))
    found: dict[datetime, list[str]] = {slot: [] for slot in slots}
    for (at,) in asked[OF_INSTANCES]:
        found.setdefault(moment(at), []).append("instance")
    for status, code, at, event in asked[OF_DELIVERIES]:
        told = json.loads(event)["metadata"]
        first = datetime.fromisoformat(told["first"]) if "first" in told else moment(at)
        told_of = _seconds(first - _SECOND, moment(at))
        if told.get("count", 1) != len(told_of):
            report.faults.append(f"{trigger}: {told['count']} slots are told of, not {len(told_of)}")
        for slot in told_of:
            found.setdefault(slot, []).append(f"{status} {code}")
    for slot, became in sorted(found.items()):
        report.slots += 1
        report.became.update(became)
        if len(became) != 1 or slot not in slots:
            report.faults.append(f"{trigger} {slot.isoformat()}: {', '.join(became) or 'nothing'}")


def _seconds(after: datetime, upto: datetime) -> list[datetime]:
    """Return the whole seconds after a moment up to another one."""
    first = int(after.timestamp()) + 1
    return [datetime.fromtimestamp(second, UTC) for second in range(first, int(upto.timestamp()) + 1)]
