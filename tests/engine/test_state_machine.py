"""Any sequence of control verbs, crashes and hours, against a plain model of an instance's life.

Nothing but what the model allows is ever observed: statuses, results, journals, and the story that a subscriber hears, live and later. A
refused verb is refused with its code and changes nothing; what has ended cannot be changed, not even in the database itself.
`HUB_VERBS_EXAMPLES=n` runs n sequences chosen anew, instead of the few that are always the same; `HUB_VERBS_STEPS=n` makes them longer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from hub.core import codec
from hub.core.errors import Conflict, NotFound
from hub.core.model import FINAL, Kind, Status
from hub.core.stream import InstanceEvent
from tests.databases import empty_database
from tests.memory import in_memory

from . import lifecycle_model as model
from .acts import ACTS, DELETE, REST_S, SCRIPTS, VERBS, Act, Life, Listener, created, restarted, sent, steered, weighted
from .lifecycle_model import Refused, Run, lose_node, path, settled
from .mortal import Hub, OneThing

T = TypeVar("T")

EXAMPLES = os.environ.get("HUB_VERBS_EXAMPLES")
STEPS = int(os.environ.get("HUB_VERBS_STEPS") or 20)
LEAP_S = 70 * 60.0 + 46  # no dozen of such leaps ends near a sum of the model's waits
PATIENCE_S = 2 * LEAP_S  # what takes longer never ends
IDS = st.sampled_from("ab")
FOLLOWS = {  # which status may come after which, whatever happens; a restart leads from any to queued
    Status.QUEUED: {Status.RUNNING, Status.PAUSED, Status.ROLLING_BACK, Status.TERMINATED},
    Status.RUNNING: {Status.WAITING, Status.WAITING_FOR_PAUSE, Status.ROLLING_BACK, *FINAL},
    Status.WAITING: {Status.RUNNING, Status.PAUSED, Status.ROLLING_BACK, Status.TERMINATED},
    Status.PAUSED: {Status.ROLLING_BACK, Status.TERMINATED},
    Status.WAITING_FOR_PAUSE: {Status.RUNNING, Status.PAUSED, Status.ROLLING_BACK, *FINAL},
    Status.ROLLING_BACK: FINAL,  # complete, when it was over before it was told to roll back
} | {status: set() for status in FINAL}


class Seen:
    """What can be observed of an instance when it stands still."""

    def __init__(self, key: int, facts: tuple[Any, ...]) -> None:
        self.key = key
        self.facts = facts


def facts_of(run: Run) -> tuple[Any, ...]:
    """Return what the model says that can be observed."""
    return run.status, run.error if run.status is not Status.ROLLING_BACK else None, run.output, run.rolled_back, run.begun, run.held


@dataclass(frozen=True)
class What:
    """What happens next: a method of the machine, and what it is given."""

    does: str
    args: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{self.does}{self.args}"


def what(does: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[What]:
    return st.builds(What, st.just(does), st.tuples(*args))


COLUMNS = st.sampled_from(["output", "error", "ended_at", "node", "wake_at", "token", "params"])
WHATS = weighted(
    (8, what("one", IDS, ACTS)),
    (4, what("two_at_once", IDS, st.tuples(ACTS, ACTS), st.integers(0, 12))),
    (1, what("one_and_a_crash", IDS, ACTS, st.booleans(), st.integers(0, 30))),
    (1, what("crash", st.booleans())),
    (4, what("release", IDS)),
    (3, what("leap")),
    (2, what("meddle", st.sampled_from(Status), COLUMNS)),
)


class Verbs(RuleBasedStateMachine):
    """Does anything at any time, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="hub-verbs-", dir=in_memory())
        file = Path(self._folder.name) / "hub.sqlite"
        empty_database(file)
        self._hub = Hub(file)
        self._runner = asyncio.Runner(loop_factory=OneThing)
        self._lives: dict[str, list[Life]] = {"a": [None], "b": [None]}  # what may be, by id
        self._listeners: dict[str, Listener] = {}
        self._sound = True  # nothing was wrong so far: the end has nothing to hide
        self._run(self._hub.start())

    @initialize(scripts=st.tuples(SCRIPTS, SCRIPTS))
    def begin(self, scripts: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        """Let there be something to do things to."""
        for id, script in zip(self._lives, scripts, strict=True):
            self.one(id, created(script))

    @rule(what=WHATS)
    def go_on(self, what: What) -> None:
        """Let something happen."""
        getattr(self, what.does)(*what.args)

    def one(self, id: str, act: Act) -> None:
        """Do one thing; when it is refused, nothing has changed."""
        before = self._hub.rows(id)
        (answer,) = self._ask(id, act)
        if answer[0] is not None:
            assert self._hub.rows(id) == before, f"{act} was refused with {answer[0]} and changed something"
        self._lives[id] = self._told(id, [act], [answer])
        self._rest()

    def two_at_once(self, id: str, acts: tuple[Act, Act], lag: int) -> None:
        """Do two things at the same time, the second one some turns of the loop later: it is as if one had been before the other."""
        answers = self._ask(id, *acts, lag=lag)
        forth, back = self._told(id, acts, answers), self._told(id, acts[::-1], answers[::-1])
        self._lives[id] = [*dict.fromkeys([*forth, *back])]
        assert self._lives[id], f"{acts} were answered {answers}: no order of them explains that"
        self._rest()

    def one_and_a_crash(self, id: str, act: Act, clean: bool, lag: int) -> None:
        """Lose the node in the moment in which it has answered, or some turns of the loop later."""
        self._lives[id] = self._told(id, [act], self._ask(id, act))
        self._run(_turns(lag))
        self._lose_node(clean)

    def crash(self, clean: bool) -> None:
        """Lose the node, or stop it, and start another one."""
        self._lose_node(clean)

    def release(self, id: str) -> None:
        """Open the gate at which a body or a handler stands."""
        gate = self._hub.gates.standing.get(id)
        if gate is not None:
            gate.get_loop().call_soon(gate.set_result, None)
        self._lives[id] = [life and model.release(life) for life in self._lives[id]]
        self._rest()

    def leap(self) -> None:
        """Let time pass."""
        self._rest(LEAP_S)

    def meddle(self, status: Status, column: str) -> None:
        """Change what has ended behind the hub's back."""
        for id, (life, *_) in self._lives.items():
            if life is not None and life.status in FINAL:
                before = self._hub.rows(id)
                for change, value in ((f"{column} = ?", 7), ("status = ?", status.value), (f"status = ?, {column} = NULL", status.value)):
                    assert not self._hub.takes(id, change, value), f"{change} with {value} was taken by the database"
                assert self._hub.rows(id) == before

    def teardown(self) -> None:
        """Tell each story once more, stop, and leave nothing."""
        try:
            if self._sound:
                self._run(self._say_it_again())
            assert not self._hub.log.errors
        finally:
            self._run(self._hub.crash())
            self._runner.close()
            self._folder.cleanup()

    # ---- asking

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(PATIENCE_S):
                return await call

        return self._runner.run(in_time())

    def _ask(self, id: str, *acts: Act, lag: int = 0) -> list[tuple[str | None, Any]]:
        self._sound = False

        async def ask(act: Act) -> tuple[str | None, Any]:
            await _turns(lag if act is acts[-1] else 0)
            try:
                return None, _word(await act.ask(self._hub, id))
            except (Conflict, NotFound) as refused:
                return refused.code, None

        async def ask_all() -> list[tuple[str | None, Any]]:
            return list(await asyncio.gather(*map(ask, acts)))

        return self._run(ask_all())

    def _told(self, id: str, acts: Sequence[Act], answers: Sequence[tuple[str | None, Any]]) -> list[Life]:
        """Return what may be now that these acts, in this order, were answered so."""
        now, lives = self._hub.clock.monotonic(), self._lives[id]
        for number, (act, answer) in enumerate(zip(acts, answers, strict=True)):
            between = [moved for life in lives for moved in ([None] if life is None else path(life, now))] if number else lives
            lives = []
            for life in dict.fromkeys(between):
                try:
                    made = act.makes(life, now)
                except Refused as refused:
                    agrees, made = answer[0] == str(refused), life
                else:
                    agrees = answer[0] is None and (answer[1] is None or answer[1] == _word(None if made is None else made.status))
                lives += [made] if agrees else []
        assert lives or len(acts) > 1, f"{acts[0]} was answered {answers[0]}, but it was {self._lives[id]}"
        return lives

    def _lose_node(self, clean: bool) -> None:
        now = self._hub.clock.monotonic()
        for id, lives in self._lives.items():
            moved = [step for life in lives if life is not None for step in path(life, now)]
            lost = [left for step in moved for left in lose_node(step, now)]
            self._lives[id] = [*dict.fromkeys([*(life for life in lives if life is None), *lost])]
        self._run(self._hub.engine.stop() if clean else self._hub.crash())
        self._run(self._hub.start())
        self._rest()

    # ---- comparing

    def _rest(self, leap_s: float = 0) -> None:
        """Let the engine come to a stand, and compare."""
        self._sound = False
        before = self._hub.clock.monotonic()
        seen = self._run(self._look(leap_s))
        after = self._hub.clock.monotonic()
        for id, lives in self._lives.items():
            allowed = [*dict.fromkeys(life and settled(life, before, after) for life in lives)]
            one = seen[id]
            self._lives[id] = [life for life in allowed if one is None or (life is not None and facts_of(life) == one.facts)]
            if one is None:
                assert None in allowed, f"{id} is gone; allowed was {allowed}"
                self._lives[id] = [None]
            else:
                self._compare_story(id, one, allowed)
        self._sound = True

    def _compare_story(self, id: str, one: Seen, allowed: list[Life]) -> None:
        assert self._lives[id], f"{id} is {one.facts}; allowed was {allowed}"
        heard = self._listeners[id].statuses
        for first, then in itertools.pairwise(heard):
            assert then is Status.QUEUED or then in FOLLOWS[first], f"{id} became {then} after {first}: {heard}"
        told = [life for life in self._lives[id] if life is not None and tuple(heard[-len(life.story) :]) == life.story]
        assert told, f"{id} is said to have been {heard}; it is one of {self._lives[id]}"
        self._lives[id] = [*told]

    async def _look(self, leap_s: float) -> dict[str, Seen | None]:
        """Return what is to be seen after some time. Listeners leave before a leap, which is long for them, and come back after it."""
        if leap_s:
            for listener in self._listeners.values():
                await listener.leave()
            await self._hub.clock.sleep(leap_s)
        for id in self._lives:
            seen = await self._see(id)
            known = self._listeners.get(id)
            if known is not None and (seen is None or seen.key != known.key):
                await self._listeners.pop(id).leave()
            if seen is not None:
                self._listeners.setdefault(id, Listener(self._hub, id, seen.key)).listen()
        await self._hub.clock.sleep(REST_S)
        return {id: await self._see(id) for id in self._lives}

    async def _see(self, id: str) -> Seen | None:
        try:
            snapshot = await self._hub.engine.describe("program", id)
        except NotFound:
            return None
        head = snapshot.instance
        ended = head.status in FINAL or head.status is not Status.ROLLING_BACK
        facts = (
            head.status,
            None if head.error is None or not ended else head.error.name,
            None if head.output is None else codec.decode(head.output),
            None if head.rollback is None else head.rollback.complete,
            sum(entry.kind is not Kind.ROLLBACK for entry in snapshot.entries),
            id in self._hub.gates.standing,
        )
        return Seen(head.key, facts)

    async def _say_it_again(self) -> None:
        """Compare what was heard live with what is told now: the same events, but for what a restart has made forgotten."""
        for id, listener in self._listeners.items():
            await listener.leave()
            if self._lives[id] == [None]:
                continue
            again = await listener.again()
            heard = {event.id: _shown(event) for event in listener.events}
            assert [event.id for event in listener.events] == sorted(heard), "an event was heard twice, or in another order"
            assert [_shown(event) for event in again if heard.get(event.id) != _shown(event)] == []
            begun = max(event.id for event in again if event.type == "workflow_queued")
            assert [event.id for event in again if event.id >= begun] == [event.id for event in listener.events if event.id >= begun]


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def _word(status: Status | None) -> str | None:
    """Return a status as an answer tells it: that of a run that has just been claimed is either."""
    return "live" if status in (Status.QUEUED, Status.RUNNING) else status


def _shown(event: InstanceEvent) -> tuple[Any, ...]:
    return event.id, event.type, event.fields.get("stepName"), event.fields.get("attempt")


def test_nothing_but_what_the_model_allows_is_ever_observed() -> None:
    run_state_machine_as_test(
        Verbs,
        settings=settings(
            max_examples=int(EXAMPLES or 25),
            stateful_step_count=STEPS,
            derandomize=EXAMPLES is None,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=[*HealthCheck],
        ),
    )


# ---- what chance may leave out

PAUSE, RESUME, TERMINATE, ROLL_BACK, RESTART = [steered(verb) for verb in VERBS]
STATES: dict[str, tuple[tuple[str, ...], list[What]]] = {  # how an instance comes into each
    "running": (("held", "return"), []),
    "asleep": (("step", "nap", "return"), []),
    "awaiting an event": (("wait", "return"), []),
    "between two attempts": (("retry", "return"), []),
    "paused asleep": (("nap", "return"), [What("one", ("a", PAUSE))]),
    "paused between two attempts": (("retry", "held", "return"), [What("one", ("a", PAUSE))]),
    "paused before a step": (("held", "step", "return"), [What("one", ("a", PAUSE)), What("release", ("a",))]),
    "about to pause": (("held", "nap", "return"), [What("one", ("a", PAUSE))]),
    "rolling back": (("held", "fail"), [What("release", ("a",))]),
    "rolling back on request": (("step", "held", "return"), [What("one", ("a", ROLL_BACK))]),
    "complete": (("step", "return"), []),
    "errored": (("fail",), []),
    "errored and rolled back": (("step", "fail"), []),
    "errored in its rollback": (("step", "broken", "fail"), []),
    "terminated": (("nap", "return"), [What("one", ("a", TERMINATE))]),
    "terminated and rolled back": (("step", "nap", "return"), [What("one", ("a", ROLL_BACK))]),
    "gone": (("return",), [What("one", ("a", DELETE))]),
}
EVERYTHING = [
    *(What("one", ("a", act)) for act in (PAUSE, RESUME, TERMINATE, ROLL_BACK, RESTART, DELETE, sent(1))),
    *(What("one", ("a", restarted(number, kind))) for number, kind in ((0, None), (1, Kind.STEP), (1, Kind.SLEEP))),
    *(What("crash", (clean,)) for clean in (False, True)),
    What("leap", ()),
]
AFTERWARDS = [
    *(What("release", ("a",)), What("one", ("a", RESUME)), What("leap", ()), What("release", ("a",))),
    *(What("one", ("a", sent(2))), What("meddle", (Status.RUNNING, "output"))),
]


@pytest.mark.parametrize("state", STATES)
def test_everything_in_every_state_and_what_comes_of_it(state: str) -> None:
    script, way = STATES[state]
    machine = Verbs()
    try:
        for what in EVERYTHING:
            for step in (What("one", ("a", created(script))), *way, what, *AFTERWARDS, What("one", ("a", DELETE))):
                machine.go_on(step)
    finally:
        machine.teardown()


SEQUENCES: dict[str, list[Act]] = {  # once wrong; the acts of one sequence are done at the same time
    "a park on its way did not hear of the rollback": [created(("wait", "nap", "fail")), steered("roll back")],
    "a start was told after the beginning of the rollback": [steered("restart"), steered("roll back")],
    "a deleted instance was said to have no such step": [DELETE, restarted(0, None)],
}


@pytest.mark.parametrize("acts", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("lag", range(4))
def test_what_was_wrong_once_stays_right(acts: list[Act], lag: int) -> None:
    machine = Verbs()
    try:
        machine.one("a", created(("step", "return")))
        machine.two_at_once("b" if repr(acts[0]).startswith("create") else "a", (acts[0], acts[1]), lag)
    finally:
        machine.teardown()
