"""The judgement: everything in which a real run differs from what the plain interpreter says.

Uses the ledger of the bodies, what lies on disk between two lives, and the final state. Knows nothing of how the run came about.
"""

from __future__ import annotations

from typing import Any

from hub.core import codec
from hub.core.model import Instance

from .plain import SLACK_S, End, Entry, Expected, side_by_side, strand
from .program import Run
from .simulation import GRACE_S, Seen

EARLY_S = 0.01  # the disk takes a moment that the plan does not know


def against_the_disk(seen: Seen) -> list[str]:
    """Return what ran again although the disk had it as done, or ran twice in one life."""
    found = []
    starts: set[tuple[int, Entry, int]] = set()
    for run in seen.runs:
        entry = (run.instance, run.kind, run.name, run.count)
        if (run.life, entry, run.attempt) in starts:
            found.append(f"ran twice in one life: {run}")
        starts.add((run.life, entry, run.attempt))
        if run.life > 1:
            kept = seen.world.downtimes[run.life - 2].disk.get(entry)
            if kept is not None and (kept.state in ("done", "failed") or kept.attempt >= run.attempt):
                found.append(f"ran although {kept} was on disk: {run}")
    return found


def against_the_plan(seen: Seen, expected: Expected) -> list[str]:
    """Return what happened otherwise, in another order or at another time than the plain interpreter says."""
    found = []
    for id in sorted(expected.ends.keys() | seen.ends.keys()):
        real, plain = seen.ends.get(id), expected.ends.get(id)
        if real is None or plain is None:
            found.append(f"{id}: only {'the plan' if real is None else 'the hub'} has it")
            continue
        instance, end = real
        if (end.output, end.error, end.undone) != (plain.output, plain.error, plain.undone):
            found.append(f"{id} ended with {end}, not {plain}")
        found += _late(seen, id, instance, plain)
    done, wanted = {_timeless(run) for run in seen.runs}, {_timeless(run) for run in expected.runs}
    found += [f"ran and should not: {run}" for run in sorted(done - wanted, key=str)]
    found += [f"should have run: {run}" for run in sorted(wanted - done, key=str)]
    found += _out_of_order(seen, expected) + _untimely(seen, expected)
    left = sorted((sent.instance, sent.payload) for sent in expected.left)
    if left != [(id, codec.decode(payload.encode())) for id, payload in seen.left]:
        found.append(f"unconsumed: {seen.left}, not {left}")
    return found


def _late(seen: Seen, id: str, instance: Instance, plain: End) -> list[str]:
    if instance.ended_at is None:
        return [f"{id} has no end"]
    start = instance.created_at if id == "root" else seen.ends["root"][0].created_at
    ended = seen.began + (instance.ended_at - start).total_seconds()
    if _in_time(seen, ended, [plain.at]):
        return []
    return [f"{id} ended at {ended:.3f} s, not at {plain.at:.3f} s; {_times(seen)}"]


def _untimely(seen: Seen, expected: Expected) -> list[str]:
    """Return starts at a time at which the plan has none."""
    planned: dict[tuple[Any, ...], list[float]] = {}
    for run in expected.runs:
        planned.setdefault(_timeless(run), []).append(run.at)
    return [
        f"ran at {run.at:.3f} s, not at {times}; {_times(seen)}: {run}"
        for run in seen.runs
        if (times := planned.get(_timeless(run))) and not _in_time(seen, run.at, times)
    ]


def _in_time(seen: Seen, at: float, planned: list[float]) -> bool:
    """Whether it is one of the planned times. What comes just before a death may be lost or not, again and again."""
    possible = list(planned)
    for down in seen.world.downtimes:
        if any(down.ending - _slack(seen) <= time <= down.risen for time in possible):
            possible.append(down.risen)
        if any(abs(down.risen - time) <= EARLY_S for time in planned) and down.ending - EARLY_S <= at <= down.ended:
            return True
    return any(-EARLY_S <= at - time <= _slack(seen) for time in possible)


def _slack(seen: Seen) -> float:
    return SLACK_S * (1 + seen.deaths) + (GRACE_S + SLACK_S) * seen.stops


def _times(seen: Seen) -> str:
    downtimes = [(round(down.ending, 3), round(down.ended, 3), round(down.risen, 3)) for down in seen.world.downtimes]
    return f"slack {_slack(seen):.1f} s, downtimes {downtimes}"


def _out_of_order(seen: Seen, expected: Expected) -> list[str]:
    """Return starts that are not in the order of the program, and handlers that are not in the reverse order of their steps."""
    found = []
    order = {(run.instance, run.kind, run.name, run.count): number for number, run in reversed(list(enumerate(expected.runs)))}
    last: dict[Entry, Run] = {}
    for run in seen.runs:
        entry = (run.instance, run.kind, run.name, run.count)
        for other, before in last.items():
            if other[0] == entry[0] and other != entry and order.get(other, 0) > order.get(entry, 0) and _ordered(other, entry, expected):
                found.append(f"{before} came before {run}")
        last.setdefault(entry, run)
    return found


def _ordered(one: Entry, other: Entry, expected: Expected) -> bool:
    if one[1] != other[1] or not side_by_side(strand(one[2]), strand(other[2])):
        return True
    if one[1] == "step":
        return False
    began = [expected.begun.get((entry[0], "step", *entry[2:]), 0.0) for entry in (one, other)]
    return abs(began[0] - began[1]) > SLACK_S


def _timeless(run: Run) -> tuple[Any, ...]:
    return run.instance, run.kind, run.name, run.count, run.attempt, run.seen
