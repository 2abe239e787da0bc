"""The judgement of a cluster, by its ledger, by what was acknowledged, and by what lies in the database; never by the hub's word.

A body whose result is committed must not start again, whether the ledger tells of the commit or a look into the database after a fault. One
exception is inherent and counted on its own: a node that was frozen between its last look at its lease and the first line of a body runs
that body when it thaws. Nothing but asking the database for each body could tell it that the others have gone on, and what comes of it is
refused. At most one body a thaw can be in that place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from hub.core import codec
from hub.store.invariants import RULES

from .cluster_client import Client
from .cluster_project import CHILDREN, LIMITS, STEPS
from .journal import SETTLED

Body = tuple[str, str, str]  # workflow, id, step
UNJUDGED = ("limited", "throttled")  # whose bodies are judged by `Places`


async def rows(url: str, query: str, *values: Any) -> list[Any]:
    """Ask the database itself."""
    connection: Any = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


@dataclass(slots=True, kw_only=True)
class Witness:
    """What the ledger tells of the bodies, line after line."""

    faults: list[str] = field(default_factory=list)
    bodies: int = 0  # starts
    repeats: int = 0  # starts of an attempt that had started before on a node that died, or lost its claim
    moved: int = 0  # instances of which bodies have started on several nodes
    caught: int = 0  # committed bodies that started again because their node was frozen in the last moment before
    refused: int = 0  # runs of bodies of nodes that were frozen meanwhile, which were never committed
    committed: dict[Body, str] = field(default_factory=dict)  # the run whose result counts
    looks: dict[str, dict[Body, int]] = field(default_factory=dict)  # by the word in the ledger: the last attempt that was over on disk
    _over: dict[Body, int] = field(default_factory=dict)
    _attempts: dict[Body, int] = field(default_factory=dict)
    _runs: dict[str, tuple[str, Body, int]] = field(default_factory=dict)  # life, body and attempt of a run
    _places: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _waking: set[str] = field(default_factory=set)  # lives that have not started a body since their thaw
    _open: dict[str, set[str]] = field(default_factory=dict)  # runs of a life that have not been committed
    _stale: set[str] = field(default_factory=set)  # runs that began before a freeze of their node

    def read(self, lines: Iterable[Sequence[str]]) -> None:
        """Take note of new lines."""
        for kind, life, *words in lines:
            if kind == "start":
                self._start(life, (words[0], words[1], words[2]), int(words[3]), words[4])
            elif kind == "settled":
                self._settled(life, (words[0], words[1], words[2]), words[3])
            elif kind == "thawed":
                self._waking.add(life)
            elif kind == "looked":
                self._over.update(self.looks.pop(life))
            elif kind == "frozen":
                self._stale |= self._open.get(life, set())

    def close(self) -> None:
        """Count what can be counted only in the end."""
        self.moved = sum(len(names) > 1 for names in self._places.values())
        counted = set(self.committed.values())
        self.refused = len(self._stale - counted)

    def run_of(self, body: Body) -> tuple[str, int]:
        """Return the committed run of a body and the attempt that it was; ("", 0) = the ledger knows of none."""
        run = self.committed.get(body, "")
        return run, self._runs[run][2] if run in self._runs else 0

    def _start(self, life: str, body: Body, attempt: int, run: str) -> None:
        self.bodies += 1
        self._places.setdefault(body[:2], set()).add(life.partition(".")[0])
        last, first_since_thaw = self._attempts.get(body, 0), life in self._waking
        self._waking.discard(life)
        self._runs[run] = (life, body, attempt)
        self._open.setdefault(life, set()).add(run)
        over = self._over.get(body, 0)
        if body in self.committed or attempt < last or attempt <= over:
            if first_since_thaw:
                self.caught += 1
            else:
                told = f"the ledger has {self.committed.get(body, 'no commit')} and attempt {last}, the database had attempt {over} of it"
                self.faults.append(f"{life}: attempt {attempt} of {'/'.join(body)} started although {told}")
        self.repeats += attempt == last
        self._attempts[body] = max(attempt, last)

    def _settled(self, life: str, body: Body, run: str) -> None:
        counts = self.committed.setdefault(body, run)
        self._open.get(run.partition("/")[0], set()).discard(run)
        if run not in self._runs or self._runs[run][1] != body:
            self.faults.append(f"{life}: {'/'.join(body)} was settled with {run}, which is no run of it")
        if counts != run:
            self.faults.append(f"{life}: {'/'.join(body)} was settled with {run} and before with {counts}: a stale write was accepted")


@dataclass(slots=True)
class Places:
    """Who runs beside whom among the limited instances, at each line of the ledger."""

    faults: list[str] = field(default_factory=list)
    samples: int = 0
    most: int = 0
    _inside: dict[tuple[str, str], str] = field(default_factory=dict)  # life and body → key

    def read(self, lines: Iterable[Sequence[str]]) -> None:
        """Take note of new lines."""
        for kind, life, *words in lines:
            if kind == "enter":
                self._inside[life, words[1]] = words[0]
                self._look(life)
            elif kind == "leave":
                self._inside.pop((life, words[1]), None)
            elif kind == "killed":
                self._inside = {place: key for place, key in self._inside.items() if place[0] != life}

    def _look(self, life: str) -> None:
        self.samples += 1
        self.most = max(self.most, len(self._inside))
        if len(self._inside) > LIMITS["all"]:
            self.faults.append(f"{life}: {len(self._inside)} run at once: {sorted(self._inside)}")
        for key, number in Counter(self._inside.values()).items():
            if number > LIMITS["key"]:
                self.faults.append(f"{life}: {number} run at once with {key}: {sorted(self._inside)}")


async def look(url: str) -> dict[Body, int]:
    """Return by body of what has not ended the last attempt that is over on disk: none up to it may start again."""
    found = await rows(
        url,
        "SELECT w.name AS workflow, i.id, s.name, s.state, coalesce(s.attempt, 1) AS attempt FROM step s "
        "JOIN instance i ON i.key = s.instance JOIN workflow w ON w.key = i.workflow WHERE s.kind = 'step' AND i.ended_at IS NULL",
    )
    return {(workflow, id, name): SETTLED if state in ("done", "failed") else attempt for workflow, id, name, state, attempt in found}


async def unfinished(url: str) -> int:
    """Count the instances that have not ended."""
    return int((await rows(url, "SELECT count(*) FROM instance WHERE ended_at IS NULL"))[0][0])


async def judge(url: str, client: Client, witness: Witness) -> list[str]:
    """Return every broken promise once everything has ended: what is lost, doubled, unfinished, wrong, or not as the ledger says."""
    found = await rows(
        url,
        "SELECT w.name AS workflow, i.id, i.status, i.output, i.error, i.dedupe_key FROM instance i JOIN workflow w ON w.key = i.workflow",
    )
    instances = {(row["workflow"], row["id"]): row for row in found}
    numbers = {place: number for number, place in client.created.items()}
    told: dict[tuple[str, str], dict[str, str]] = {}
    for (workflow, id, step), run in witness.committed.items():
        told.setdefault((workflow, id), {})[step] = run
    faults = list(witness.faults)
    faults += [f"{'/'.join(place)} was acknowledged and is lost" for place in numbers if place not in instances]
    for place, row in instances.items():
        if row["status"] == "complete":
            output, number = codec.decode(row["output"]), numbers.get(place)
            faults += [f"{'/'.join(place)} {fault}" for fault in _faults_of(place, output, number, client, told.get(place, {}))]
        else:
            faults.append(f"{'/'.join(place)} is {row['status']}: {row['error']}")
    doubled = Counter(row["dedupe_key"] for row in found if row["dedupe_key"] is not None)
    faults += [f"event {key} created {times} instances" for key, times in doubled.items() if times > 1]
    faults += await _faults_of_steps(url, witness)
    return faults + await broken_rules(url)


def _faults_of(place: tuple[str, str], output: Any, number: int | None, client: Client, told: Mapping[str, str]) -> list[str]:
    workflow, id = place
    if workflow in UNJUDGED:
        return [] if output == number or number is None else [f"returned {output} instead of {number}"]
    faults = []
    if number is not None and output["n"] != number:
        faults.append(f"ran with {output['n']} instead of {number}")
    if output["runs"] != told or told.keys() != set(STEPS.get(workflow, told)):
        faults.append(f"returned {output['runs']}, but the ledger has {told}")
    if workflow == "family" and [child["n"] for child in output["children"]] != [output["n"]] * CHILDREN:
        faults.append(f"got {output['children']} of its children")
    taken = Counter(output.get("tags", ()))
    faults += [f"was sent {tag} and took it {taken[tag]} times" for tag in client.sent.get(id, ()) if taken[tag] != 1]
    return faults + [f"took {tag} {times} times" for tag, times in taken.items() if times > 1]


async def _faults_of_steps(url: str, witness: Witness) -> list[str]:
    """Compare the journal with the ledger: the same runs, as the same attempts."""
    found = await rows(
        url,
        "SELECT w.name AS workflow, i.id, s.name, s.output, coalesce(s.attempt, 1) AS attempt FROM step s "
        "JOIN instance i ON i.key = s.instance JOIN workflow w ON w.key = i.workflow WHERE s.kind = 'step' AND s.state = 'done'",
    )
    stored = {
        (row["workflow"], row["id"], row["name"]): (codec.decode(row["output"]), row["attempt"])
        for row in found
        if row["workflow"] not in UNJUDGED
    }
    faults = [f"{'/'.join(body)} was settled and is not stored" for body in witness.committed.keys() - stored.keys()]
    for body, kept in stored.items():
        if kept != witness.run_of(body):
            faults.append(f"{'/'.join(body)} is stored as {kept}, but the ledger has {witness.run_of(body)}")
    return faults


async def broken_rules(url: str) -> list[str]:
    """Return the rules of the database that do not hold."""
    faults = []
    for name, _, broken in RULES:
        if any(word in broken for word in ("pragma_", "sqlite_master", "json_valid")):  # what SQLite says of its file
            continue
        found = [str(row[0]) for row in await rows(url, f"SELECT * FROM ({broken}) AS broken LIMIT 5")]
        if found:
            faults.append(f"the rule {name} is broken by {', '.join(found)}")
    return faults
