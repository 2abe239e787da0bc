"""What can be done to an instance: how the engine is asked for it, and what the plain model makes of it. And who listens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from hypothesis import strategies as st

from hub.core.errors import NotFound
from hub.core.model import Kind, Status
from hub.core.ports import CreateRequest
from hub.core.stream import InstanceEvent
from hub.core.writes import RestartPoint, Verb

from . import lifecycle_model as model
from .lifecycle_model import Refused, Run
from .mortal import Hub

T = TypeVar("T")

REST_S = 1.0  # after that the engine stands still and subscribers have heard of it
COMMANDS = st.sampled_from(["step", "held", "held", "broken", "retry", "nap", "wait"])
SCRIPTS = st.builds(lambda words, end: (*words, end), st.lists(COMMANDS, max_size=4), st.sampled_from(["return", "return", "fail"]))
VERBS: dict[str, Callable[[Run, float], Run]] = {
    "pause": model.pause,
    "resume": model.resume,
    "terminate": model.terminate,
    "roll back": model.roll_back,
    "restart": model.restart,
}
HEARD = {
    "workflow_queued": Status.QUEUED,
    "workflow_started": Status.RUNNING,
    "workflow_running": Status.RUNNING,
    "workflow_waiting": Status.WAITING,
    "workflow_paused": Status.PAUSED,
    "workflow_waiting_for_pause": Status.WAITING_FOR_PAUSE,
    "rollback_started": Status.ROLLING_BACK,
    "workflow_completed": Status.COMPLETE,
    "workflow_errored": Status.ERRORED,
    "workflow_terminated": Status.TERMINATED,
}
Life = Run | None  # None = there is no such instance
Verbed = Callable[[Life, float], Life]  # what a verb makes of it. Raises: Refused


class Act:
    """Something done to an instance: how the engine is asked, and what the model makes of it."""

    def __init__(self, name: str, ask: Callable[[Hub, str], Awaitable[Status | None]], makes: Verbed) -> None:
        self.name = name
        self.ask = ask
        self.makes = makes

    def __repr__(self) -> str:
        return self.name


def existing(change: Callable[[Run, float], Run]) -> Verbed:
    """Return a verb that needs an instance."""

    def makes(life: Life, now: float) -> Life:
        if life is None:
            raise Refused("instance.not_found")
        return change(life, now)

    return makes


def steered(verb: str) -> Act:
    async def ask(hub: Hub, id: str) -> Status | None:
        if verb == "restart":
            return await hub.engine.restart("program", id)
        if verb == "roll back":
            return await hub.engine.steer("program", id, Verb.TERMINATE, rollback=True)
        return await hub.engine.steer("program", id, Verb(verb))

    return Act(verb, ask, existing(VERBS[verb]))


def created(script: tuple[str, ...]) -> Act:
    async def ask(hub: Hub, id: str) -> Status | None:
        await hub.engine.create(CreateRequest(workflow="program", id=id, params=list(script)))
        return None

    def makes(life: Life, _now: float) -> Life:
        if life is not None:
            raise Refused("instance.already_exists")
        return Run(script=script)

    return Act(f"create {' '.join(script)}", ask, makes)


def restarted(number: int, kind: Kind | None) -> Act:
    async def ask(hub: Hub, id: str) -> Status | None:
        return await hub.engine.restart("program", id, RestartPoint(name=f"c{number}", kind=kind))

    return Act(f"restart from {kind or 'whatever'} c{number}", ask, existing(partial(model.restart, origin=(number, kind))))


def sent(event: int) -> Act:
    async def ask(hub: Hub, id: str) -> Status | None:
        await hub.engine.send_event("program", id, "go", event)
        return None

    return Act(f"send {event}", ask, existing(partial(model.send, event=event)))


async def _delete(hub: Hub, id: str) -> Status | None:
    await hub.engine.delete("program", id)
    return None


def _deleted(life: Life, _now: float) -> Life:
    if life is None:
        raise Refused("instance.not_found")
    return None


DELETE = Act("delete", _delete, _deleted)


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """Return a strategy that uses one of others, each so often as its weight says."""
    table = [choice for weight, choice in choices for _ in range(weight)]
    return st.integers(0, len(table) - 1).flatmap(lambda number: table[number])


KINDS = st.sampled_from([None, None, Kind.STEP, Kind.SLEEP, Kind.EVENT, Kind.ROLLBACK])
ACTS = weighted(
    (12, st.sampled_from([steered(verb) for verb in VERBS])),
    (3, st.builds(sent, st.integers(0, 9))),
    (3, st.builds(restarted, st.integers(0, 4), KINDS)),
    (2, st.builds(created, SCRIPTS)),
    (1, st.just(DELETE)),
)


class Listener:
    """A subscriber to one instance, who comes back with a cursor whenever the stream has ended."""

    def __init__(self, hub: Hub, id: str, key: int) -> None:
        self.key = key
        self.events: list[InstanceEvent] = []
        self._hub = hub
        self._id = id
        self._hearing: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Be there again."""
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.get_running_loop().create_task(self._hear())

    async def leave(self) -> None:
        """Hear nothing more."""
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait({self._hearing})

    async def again(self) -> list[InstanceEvent]:
        """Return the story as it is told to somebody who comes now."""
        stream = await self._hub.engine.subscribe("program", self._id)
        told: list[InstanceEvent] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):  # an instance that lives on has no last event
                async for event in stream:
                    told.append(event)  # noqa: PERF401 - what was told must stay when the time is over
        return told

    @property
    def statuses(self) -> list[Status]:
        """The statuses that were heard, without repetitions."""
        heard = [HEARD[event.type] for event in self.events if event.type in HEARD]
        return [status for number, status in enumerate(heard) if number == 0 or heard[number - 1] is not status]

    async def _hear(self) -> None:
        cursor = self.events[-1].id if self.events else None
        with suppress(NotFound):
            async for event in await self._hub.engine.subscribe("program", self._id, cursor=cursor):
                self.events.append(event)
