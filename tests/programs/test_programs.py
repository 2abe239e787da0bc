"""Random programs whose node dies at random moments do exactly what a plain interpreter says.

`HUB_PROGRAM_SEED=n` runs seed n alone, in this process. `HUB_PROGRAM_SEEDS=n` runs more seeds, or fewer, and `HUB_PROGRAM_FIRST=n` others;
`python -m tests.programs` runs any number of them without pytest, and `make soak` 10,000 from a random one.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from .campaign import SEED, Verdict, judge_all, judge_some
from .plain import Sent
from .simulation import LONGEST_S, Case, simulate

USUAL = 400
ONE = os.environ.get(SEED)
FIRST = int(ONE or os.environ.get("HUB_PROGRAM_FIRST") or 0)
SEEDS = 1 if ONE else int(os.environ.get("HUB_PROGRAM_SEEDS") or USUAL)
OFTEN = {  # what a thousand seeds must meet at least, about half of what it does: seeds that say less and less are noticed
    "step done": 1200,
    "step failed": 150,
    "step retried": 850,
    "sleep done": 475,
    "waitForEvent done": 300,
    "waitForEvent failed": 150,
    "gather": 175,
    "workflow done": 90,
    "workflow failed": 95,
    "rollback done": 240,
    "rollback failed": 17,
    "rollback retried": 175,
    "stops": 100,
    "death before": 250,
    "death after": 250,
    "death after while it stopped": 30,
}
EACH_TIME = 2  # deaths of a thousand seeds before and after each kind of write, at least
WRITES = (
    "RegisterWorkflow",
    "CreateInstance",
    "Begin",
    "SettleStep step",
    "SettleStep sleep",
    "SettleStep waitForEvent",
    "SettleStep workflow",
    "SettleStep rollback",
    "FailAttempt step",
    "FailAttempt rollback",
    "StartWait sleep",
    "StartWait waitForEvent",
    "StartChild workflow",
    "RollBack",
    "Park",
    "Finish",
    "SendEvent",
    "claim",
    "renew",
)


@pytest.mark.timeout(120 + SEEDS)
def test_random_programs_with_random_deaths_do_what_a_plain_interpreter_says() -> None:
    different: list[Verdict] = []
    met: Counter[str] = Counter()
    for verdicts, part in [judge_some([FIRST])] if ONE else judge_all(range(FIRST, FIRST + SEEDS)):
        different += verdicts
        met += part
    print(dict(met))
    assert not different, "\n\n".join(
        [f"{len(different)} seeds differ: {[verdict.seed for verdict in different]}", *map(str, different[:5])]
    )
    assert met["seeds"] == SEEDS
    assert met["doubtful"] <= 1 + SEEDS / 100
    often = OFTEN | {f"death {when}: {write}": EACH_TIME for when in ("before", "after") for write in WRITES}
    seldom = {what: met[what] for what, times in often.items() if met[what] < times * SEEDS // 1000}
    assert not seldom, f"the seeds meet too little: {seldom} of {dict(met)}"


def test_a_seed_that_takes_too_long_is_told_with_its_number() -> None:
    different, _ = judge_some([7], limit_s=0.000_001)

    assert [verdict.seed for verdict in different] == [7]
    assert "it hangs" in str(different[0])
    assert str(different[0]).endswith("run it again with HUB_PROGRAM_SEED=7")


async def test_a_run_that_does_not_come_to_its_end_is_told(tmp_path: Path) -> None:
    never = Sent("root", "type", "mail", 2 * LONGEST_S)

    seen = await simulate(Case({"root": ()}, [never], [], timedelta(0)), tmp_path / "hub.sqlite")

    assert not seen.whole
    assert "it does not end" in seen.faults[0]
