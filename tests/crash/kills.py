"""The kill campaign: many lives on one file, each killed at a random moment, then one that finishes; and the judgement of it.

The judgement uses the ledger and what lies on disk between two lives, never the hub's own word. A seed repeats the plan of the kills; what
a life is doing at that moment is the machine's choice.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.core import codec
from hub.store import care
from tests.memory import in_memory

from .forks import Lives
from .journal import DATABASE, SETTLED, Body, Journal, Row
from .ledger import Reader
from .node import ACKS, EVENT, NEW_ID, STARTS, door_of, finish, intake, workflow_of
from .programs import expected

SEED = "HUB_CRASH_SEED"
KILLS = "HUB_CRASH_KILLS"
_KILL_S = (0.010, 0.060)  # after the node said that it is up
_LONG_S = (0.060, 0.200)  # in a tenth of the lives, so that slow steps come to an end too
_BIRTH_S = (0.0, 0.040)  # after its birth: a tenth of the lives is killed while it starts
_NUMBERS = 40  # a life tries to create that many instances
_BACKLOG = 40  # but not beyond that many unfinished ones: on a slow disk all lives would only create
_REPEATED = 2  # events that are sent again although they were acknowledged


def new_folder() -> Path:
    """Return a new folder in memory, where there is a place: without a slow disk a life gets further in its milliseconds."""
    return Path(tempfile.mkdtemp(prefix="hub-crash-", dir=in_memory()))


def chosen_seed() -> int:
    """Return the seed of the environment, or a new one."""
    return int(os.environ.get(SEED) or random.SystemRandom().randrange(1 << 32))


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign found. Everything in `faults` must not be."""

    seed: int
    kills: int = 0
    acknowledged: int = 0
    acknowledged_events: int = 0
    instances: int = 0
    bodies: int = 0  # starts of step bodies
    repeats: int = 0  # of those, attempts that had started before a kill which left no trace of them on disk
    unfinished_at_last_start: int = 0
    finish_s: float = 0.0  # how long the last life took to finish them
    duration_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Judge:
    """Knows which attempts are over on disk, and hears which ones start: an attempt that is over must not start again."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.repeats = 0
        self._starts = Reader(folder / STARTS)
        self._over: dict[Body, int] = {}  # the last attempt that was over at the last kill
        self._started: set[tuple[Body, int]] = set()
        self.order: list[tuple[int, str]] = []  # attempt and step, as they started
        self._all: Counter[Body] = Counter()

    @property
    def bodies(self) -> int:
        """How many starts of bodies were heard."""
        return self._all.total()

    def starts_of(self, body: Body) -> int:
        """Return how often a body was heard to start."""
        return self._all[body]

    def hear(self) -> list[str]:
        """Judge the starts of the life that has just ended, by what was on disk before it; return the forbidden ones."""
        forbidden: list[str] = []
        now: set[tuple[Body, int]] = set()
        for life, workflow, id, step, count, attempt in self._starts.news():
            body, number = (workflow, id, step, int(count)), int(attempt)
            over = self._over.get(body, 0)
            if number <= over:
                why = "its result was on disk" if over == SETTLED else f"attempt {over} was over on disk"
                forbidden.append(f"life {life}: attempt {number} of {'/'.join(map(str, body))} started again although {why}")
            if (body, number) in now:
                forbidden.append(f"life {life}: attempt {number} of {'/'.join(map(str, body))} started twice in one life")
            now.add((body, number))
            self.order.append((number, step))
            self._all[body] += 1
        self.repeats += len(now & self._started)
        self._started |= now
        return forbidden

    def look(self) -> None:
        """Take note of what is on disk, after a kill and before the next life."""
        self._over.update(self.journal.done())


class Campaign:
    """One file and its lives."""

    def __init__(self, lives: Lives, folder: Path, seed: int) -> None:
        self.report = Report(seed=seed)
        self._lives = lives
        self._folder = folder
        self._random = random.Random(seed)
        self._judge = Judge(folder)
        self._acks = Reader(folder / ACKS)
        self._unfinished = 0
        self._tried: set[int] = set()
        self._created: dict[int, tuple[str, str]] = {}
        self._sent: dict[str, list[str]] = {}  # acknowledged tags by listener
        self._open: dict[str, None] = {}  # listeners that have not had their last event

    def run(self, kills: int) -> Report:
        """Kill that often, then finish and judge."""
        began = time.monotonic()
        try:
            while self.report.kills < kills:
                self._kill_one()
            self._finish()
        except AssertionError as error:
            error.add_note(f"to repeat: {SEED}={self.report.seed}")
            raise
        self._judge_instances()
        self.report.duration_s = round(time.monotonic() - began, 1)
        return self.report

    def _kill_one(self) -> None:
        life = self.report.kills + 1
        kind = self._random.randrange(10) if life > 1 else 2  # the first one makes the file, which has a test of its own
        count = min(_NUMBERS, max(0, _BACKLOG - self._unfinished))
        low, high = {0: _LONG_S, 1: _BIRTH_S}.get(kind, _KILL_S)
        ended = self._lives.run(
            intake, self._folder, kill_after_s=self._random.uniform(low, high), from_birth=kind == 1,
            first=max(self._tried, default=-1) + 1, count=count, **self._unanswered(life),
        )  # fmt: skip
        if not ended.killed:
            raise AssertionError(f"life {life} ended before it was killed")
        self.report.kills = life
        self._after(life)

    def _finish(self) -> None:
        life = self.report.kills + 1
        self.report.unfinished_at_last_start = self._unfinished
        ended = self._lives.run(finish, self._folder, **self._unanswered(life))
        self.report.finish_s = round(ended.result["finish_s"], 2)
        self._after(life)

    def _unanswered(self, life: int) -> dict[str, Any]:
        """Return what earlier senders got no answer for and send again, and some of what they repeat all the same."""
        again = [number for number in sorted(self._tried) if number not in self._created and door_of(number) != NEW_ID]
        answered = [number for number in list(self._created)[-_NUMBERS:] if door_of(number) == EVENT]
        repeated = self._random.sample(answered, min(_REPEATED, len(answered)))
        listeners = [(id, len(self._sent.get(id, ()))) for id in self._open]
        return {"life": life, "again": again, "repeated": repeated, "listeners": listeners}

    def _after(self, life: int) -> None:
        """Read the ledgers of a life that is over, and what it has left on disk."""
        self.report.faults += self._judge.hear()
        self._judge.look()
        self._unfinished = self._judge.journal.unfinished()
        for kind, *words in self._acks.news():
            if kind == "tried":
                self._tried.add(int(words[0]))
            elif kind == "created":
                self._note_created(life, int(words[0]), (words[1], words[2]))
            elif kind == "sent":
                self._sent.setdefault(words[0], []).append(words[1])
            else:
                self._open.pop(words[0], None)

    def _note_created(self, life: int, number: int, place: tuple[str, str]) -> None:
        known = self._created.setdefault(number, place)
        if known != place:
            self.report.faults.append(f"life {life}: number {number} was answered with {known} and later with {place}")
        if place[0] == "listener" and place[1] not in self._sent:
            self._open[place[1]] = None

    # ---- at the end

    def _judge_instances(self) -> None:
        report, journal = self.report, self._judge.journal
        instances = journal.instances()
        report.instances, report.acknowledged = len(instances), len(self._created)
        report.acknowledged_events = sum(map(len, self._sent.values()))
        report.bodies, report.repeats = self._judge.bodies, self._judge.repeats
        if (found := journal.integrity()) != "ok":
            report.faults.append(f"integrity_check: {found}")
        broken = care.check(self._folder / DATABASE, lambda *_: None)
        report.faults += [f"the rule {each.rule} is broken by {', '.join(each.rows)}" for each in broken]
        for number, (workflow, id) in self._created.items():
            row = instances.get((workflow, id))
            report.faults += [f"{workflow}/{id} (number {number}) {fault}" for fault in self._faults_of(number, id, row)]
        keys = Counter(row.dedupe_key for row in instances.values() if row.dedupe_key is not None)
        report.faults += [f"event {key} created {times} instances" for key, times in keys.items() if times > 1]
        report.faults += [f"{'/'.join(place)} is {row.status}" for place, row in instances.items() if row.status != "complete"]

    def _faults_of(self, number: int, id: str, row: Row | None) -> list[str]:
        if row is None:
            return ["was acknowledged and is lost"]
        if row.output is None:
            return [f"was acknowledged and is {row.status}: {row.error}"]
        output = codec.decode(row.output)
        if workflow_of(number) != "listener":
            wanted = expected(workflow_of(number), number)
            return [] if output == wanted else [f"returned {output} instead of {wanted}"]
        taken = Counter(output)
        return [f"was sent {tag} and took it {taken[tag]} times" for tag in self._sent.get(id, ()) if taken[tag] != 1] + [
            f"took {tag} {times} times" for tag, times in taken.items() if times > 1
        ]
