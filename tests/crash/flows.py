"""Flow control over kills: events of several keys and rules, a process that dies in the middle of them, and what is left judged each time.

The judgement uses the ledgers and what lies on disk between two lives. Every event has a key and is emitted again by the next life when its
answer was swallowed, as a sender would do it.

Lines of the ledgers: `taken NUMBER` (acknowledged), `begin LIFE KIND KEY NUMBER`, `end LIFE KIND KEY NUMBER`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hub import WorkflowEvent
from hub.core.clock import SystemClock
from hub.core.delivery import TriggerEvent
from hub.core.flow import Batch, Concurrency, Overlap, Rate, Singleton
from hub.core.model import FINAL
from hub.engine.expressions import Expression
from hub.engine.flows import FlowRules, Key
from hub.engine.rules import Rules
from hub.store import care

from .forks import Lives, Stage
from .journal import DATABASE
from .ledger import Ledger, Reader
from .node import file_store, node, until
from .programs import PATIENT, Ctx, Noted

TAKEN, PLACES = "taken", "places"
KINDS = ("limited", "single", "gathering", "throttled")  # of workflows, each with a trigger of that name
LIMITS = {"all": 5, "a": 1, "b": 2, "c": 3}  # of `limited`: of all keys together, and of a key
USERS = "abc"
PERIOD_S = 0.02  # between two starts of `throttled`
NUMBERS = 60  # a life emits that many events
_WORKERS = 12
_BACKLOG = 150  # unfinished instances at which a life emits nothing new: else all lives would only create
_KILL_S = (0.010, 0.120)  # after the node said that it is up

_USER = Expression.compile("payload.user")


class Guarded(Noted):
    """Two bodies with a sleep between them; each notes when it begins and ends."""

    async def run(self, event: WorkflowEvent, step: Any) -> Any:
        """Return the number, or the numbers of a batch."""
        payload = event.payload
        first = payload[0] if isinstance(payload, list) else payload

        async def body(ctx: Ctx) -> None:
            words = (self.env.LIFE, event.workflow_name, first["user"], first["n"])
            self.env.PLACES.note("begin", *words)
            await SystemClock().sleep(0.002 + first["n"] % 5 / 1000)
            self.env.PLACES.note("end", *words)

        await step.do("before", body, retries=PATIENT)
        await step.sleep("rest", 10)
        await step.do("after", body, retries=PATIENT)
        return [each["n"] for each in payload] if isinstance(payload, list) else payload["n"]


def _rules() -> dict[str, Rules]:
    def flow(kind: str, **declared: Any) -> Rules:
        keys: dict[str, Any] = {name: Key(f"trigger/{kind}", _USER) for name in declared}
        if "concurrency" in declared:
            keys = {"concurrency": tuple(Key(kind, None if limit.limit == LIMITS["all"] else _USER) for limit in declared["concurrency"])}
        return Rules(flow=FlowRules(rules=declared, keys=keys))

    return {
        "limited": flow("limited", concurrency=(Concurrency(key="", limit=LIMITS["all"]), Concurrency(key="", limit=1))),
        "single": flow("single", singleton=Singleton(key="", overlap=Overlap.QUEUE_ALL)),
        "gathering": flow("gathering", batch=Batch(key="", max_size=4, max_wait=timedelta(milliseconds=40), max_bytes=10_000)),
        "throttled": flow("throttled", throttle=Rate(key="", limit=1, period=timedelta(seconds=PERIOD_S))),
    }


RULES = _rules()
PROGRAMS = dict.fromkeys(KINDS, Guarded)


def kind_of(number: int) -> str:
    """Return the trigger of an event; a third of them are of limited instances."""
    return (*KINDS, "limited", "single")[number % 6]


def user_of(number: int) -> str:
    """Return the key of an event."""
    return USERS[number // 6 % len(USERS)]


# ---- lives


async def emit(stage: Stage) -> None:
    """Emit events until the kill."""
    with closing(Ledger(stage.folder / PLACES)) as places:
        async with node(stage.folder, PROGRAMS, rules=RULES, PLACES=places, LIFE=stage.task["life"]) as engine:
            stage.up()
            await _emit_all(engine, stage, range(stage.task["first"], stage.task["first"] + stage.task["count"]))
            await asyncio.Event().wait()


async def settle(stage: Stage) -> None:
    """Emit what earlier lives had no answer for, and return when nothing is unfinished."""
    store = file_store(stage.folder)

    async def all_ended() -> bool:
        return all(status in FINAL for status in await store.counts())

    with closing(Ledger(stage.folder / PLACES)) as places:
        async with node(stage.folder, PROGRAMS, rules=RULES, store=store, PLACES=places, LIFE=stage.task["life"]) as engine:
            await _emit_all(engine, stage, ())
            await until(all_ended)


async def _emit_all(engine: Any, stage: Stage, fresh: Iterable[int]) -> None:
    numbers = iter([*stage.task["again"], *fresh])
    with closing(Ledger(stage.folder / TAKEN)) as taken:

        async def work(numbers: Iterator[int]) -> None:
            for number in numbers:
                kind = kind_of(number)
                event = TriggerEvent(payload={"n": number, "user": user_of(number)}, key=str(number))
                await engine.emit(kind, kind, event)
                taken.note("taken", number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(work(numbers))


# ---- the campaign


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign found. Everything in `faults` must not be."""

    seed: int
    kills: int = 0
    taken: int = 0
    samples: int = 0  # beginnings of bodies whose number at that moment was counted
    standing: int = 0  # instances that stood at a gate when a process died, over all kills
    held: int = 0  # places that were held then
    faults: list[str] = field(default_factory=list)


class Campaign:
    """One file and its lives."""

    def __init__(self, lives: Lives, folder: Path, seed: int) -> None:
        self.report = Report(seed=seed)
        self._lives = lives
        self._folder = folder
        self._random = random.Random(seed)
        self._taken: set[int] = set()
        self._acks, self._places = Reader(folder / TAKEN), Reader(folder / PLACES)
        self._tried = 0
        self._unfinished = 0

    def run(self, kills: int) -> Report:
        """Kill that often, then let everything end, and judge."""
        while self.report.kills < kills:
            life = self.report.kills + 1
            count = NUMBERS if self._unfinished < _BACKLOG else 0
            after_s = self._random.uniform(*_KILL_S) + (0.2 if life == 1 else 0)  # the first life also makes the file
            self._lives.run(emit, self._folder, kill_after_s=after_s, life=life, first=self._tried, count=count, again=self._again())
            self._tried += count
            self.report.kills = life
            self._after(life)
        life = self.report.kills + 1
        self._lives.run(settle, self._folder, life=life, again=self._again())
        self._after(life)
        self._judge_end()
        return self.report

    def _again(self) -> list[int]:
        return [number for number in range(self._tried) if number not in self._taken]

    def _after(self, life: int) -> None:
        self._taken |= {int(number) for _, number in self._acks.news()}
        self.report.taken = len(self._taken)
        self._judge_bodies(life)
        self._judge_disk(life)

    def _judge_bodies(self, life: int) -> None:
        """Count who ran together, at each beginning of a body."""
        running: Counter[str] = Counter()
        of_limited, of_single = (
            {**{f"limited {user}": 1 for user in USERS}, "limited all": LIMITS["all"]},
            {f"single {user}": 1 for user in USERS},
        )
        for verb, _, kind, user, _ in self._places.news():
            keys = [f"{kind} {user}", f"{kind} all"]
            if verb == "end":
                running.subtract(keys)
                continue
            running.update(keys)
            self.report.samples += 1
            over = [key for key, most in {**of_limited, **of_single}.items() if running[key] > most]
            self.report.faults += [f"life {life}: {running[key]} run together with {key}" for key in over]

    def _judge_disk(self, life: int) -> None:
        """Look at the gates as the death has left them."""
        with closing(sqlite3.connect(f"file:{self._folder / DATABASE}?mode=ro", uri=True)) as db:
            executing = _counts(db, "g.rule = 'slot' AND i.node IS NOT NULL")
            held = _counts(db, "g.rule = 'slot' AND g.held IS NOT NULL")
            turns = _counts(db, "g.rule = 'singleton' AND g.held IS NOT NULL")
            dead = db.execute(
                "SELECT count(*) FROM gate WHERE instance NOT IN (SELECT key FROM instance WHERE ended_at IS NULL)"
            ).fetchone()[0]
            self._unfinished = db.execute("SELECT count(*) FROM instance WHERE ended_at IS NULL").fetchone()[0]
            self.report.standing += db.execute("SELECT count(*) FROM gate WHERE place IS NOT NULL").fetchone()[0]
        self.report.held += sum(held.values())
        most = {"limited\nnull": LIMITS["all"]}
        for what, counts in (("execute", executing), ("hold a place", held), ("have the turn", turns)):
            self.report.faults += [f"after life {life}: {n} {what} of {key!r}" for key, n in counts.items() if n > most.get(key, 1)]
        if dead:
            self.report.faults.append(f"after life {life}: {dead} gates of instances that have ended")

    def _judge_end(self) -> None:
        with closing(sqlite3.connect(f"file:{self._folder / DATABASE}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT w.name, i.status, i.output FROM instance i JOIN workflow w ON w.key = i.workflow").fetchall()
            left = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("gate", "lane")]
        if any(left):
            self.report.faults.append(f"{left} gates and lanes are left although everything has ended")
        broken = care.check(self._folder / DATABASE, lambda *_: None)
        self.report.faults += [f"the rule {each.rule} is broken by {', '.join(each.rows)}" for each in broken]
        became: Counter[int] = Counter()
        for workflow, status, output in rows:
            if status != "complete":
                self.report.faults.append(f"an instance of {workflow} ended as {status}")
                continue
            numbers = json.loads(output)
            became.update(numbers if isinstance(numbers, list) else [numbers])
            wrong = [n for n in (numbers if isinstance(numbers, list) else [numbers]) if kind_of(n) != workflow]
            if wrong or isinstance(numbers, list) != (workflow == "gathering"):
                self.report.faults.append(f"an instance of {workflow} ran with {numbers}")
        self.report.faults += [f"event {n} became {times} instances" for n, times in became.items() if times != 1]
        self.report.faults += [f"event {n} was acknowledged and is lost" for n in sorted(self._taken - became.keys())]


def _counts(db: sqlite3.Connection, condition: str) -> dict[str, int]:
    found = db.execute(
        f"SELECT g.key, count(*) FROM gate g JOIN instance i ON i.key = g.instance WHERE i.ended_at IS NULL AND {condition} GROUP BY g.key"
    )
    return dict(found.fetchall())
