"""The identity of what a step sends: the same in every attempt, another one for every step and instance."""

from __future__ import annotations

import asyncio

from hub import WorkflowEvent, WorkflowStep
from hub.core.current import next_id
from hub.core.model import Status

from .conftest import Hub


async def test_every_attempt_of_a_step_sends_with_the_same_ids_and_no_other_step_does(hub: Hub) -> None:
    sent: dict[str, list[list[str]]] = {}

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        def twice(name: str) -> list[str]:
            ids = [next_id(), next_id()]
            sent.setdefault(f"{event.instance_id} {name}", []).append(ids)
            if len(sent[f"{event.instance_id} {name}"]) < 3:
                raise ConnectionError
            return ids

        async def side_by_side() -> list[str]:
            return twice("asynchronous")

        await asyncio.gather(step.do("one", side_by_side), step.do("two", lambda: twice("in a thread")))

    await hub.start(program=program)
    ended = [await hub.run(), await hub.run()]

    assert [instance.status for instance in ended] == [Status.COMPLETE] * 2
    assert all(attempts[0] == attempts[1] == attempts[2] for attempts in sent.values())
    assert len({id for attempts in sent.values() for ids in attempts for id in ids}) == 2 * 2 * 2


async def test_between_steps_every_id_is_new(hub: Hub) -> None:
    ids: list[str] = []

    async def program(event: WorkflowEvent, step: WorkflowStep) -> None:
        ids.append(next_id())
        await step.do("one", lambda: None)
        ids.append(next_id())

    await hub.start(program=program)
    await hub.run()

    assert len(set(ids)) == 2
