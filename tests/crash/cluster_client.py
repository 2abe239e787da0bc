"""The clients of a cluster: they create instances and send events through any node, again and again until somebody answers.

They remember what was acknowledged and nothing else. A request without an answer is repeated, perhaps through another node, as a sender
does it: with the same id or key; an event is sent again under another tag.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp

from hub.core.clock import SystemClock

from .cluster import Cluster
from .cluster_project import LIMITED, MIX

EVENTS = 2  # that each listener gets before it is closed
HOOKS = 2  # every so-manieth plain instance comes through the webhook
_WORKERS = 24
_TIMEOUT = aiohttp.ClientTimeout(total=0.6)  # a frozen node takes a connection and never answers
_AGAIN_S = 0.02
_ROOT = "/client/v4/accounts/local/workflows"
clock = SystemClock()


class Client:
    """Creates instances by number. `created` holds what was acknowledged: the number's workflow and id."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession, chosen: random.Random) -> None:
        self.created: dict[int, tuple[str, str]] = {}
        self.sent: dict[str, list[str]] = {}  # acknowledged tags by listener
        self.repeated = 0  # requests that had no answer and were sent again
        self.refused = 0  # of those, how many were answered 503
        self.faults: list[str] = []  # answers that are none of these
        self._cluster = cluster
        self._session = session
        self._chosen = chosen

    async def load(self, numbers: Iterable[int], workflow_of: Callable[[int], str], rate: Callable[[], float]) -> None:
        """Create an instance for each number, at most `rate` a second, and bring listeners to their end."""
        queue = iter(numbers)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work(queue, workflow_of, rate))

    async def _work(self, numbers: Iterable[int], workflow_of: Callable[[int], str], rate: Callable[[], float]) -> None:
        for number in numbers:
            workflow = workflow_of(number)
            id = await self.create(number, workflow)
            if workflow == "listener":
                await self._feed(id)
            await clock.sleep(_WORKERS / rate() * self._chosen.uniform(0.5, 1.5))

    async def create(self, number: int, workflow: str) -> str:
        """Create the instance of a number; return its id when it is acknowledged."""
        params = {"n": number, "key": f"k{number % 3}"}
        if workflow == "plain" and number // len(MIX) % HOOKS == 0:
            answer = await self._insist("POST", "/hooks/keyed", params, {"idempotency-key": f"key-{number}"})
            id = answer["id"]
        else:
            body = {"instance_id": f"i-{number}", "params": params, "idempotent": True}
            id = (await self._insist("POST", f"{_ROOT}/{workflow}/instances", body))["result"]["id"]
        self.created[number] = (workflow, id)
        return str(id)

    async def _feed(self, id: str) -> None:
        """Send a listener its events, then the last one."""
        path = f"{_ROOT}/listener/instances/{id}/events/signal"
        for turn in range(EVENTS):
            tag = await self._send(path, f"{id}.{turn}", close=False)
            self.sent.setdefault(id, []).append(tag)
        await self._send(path, f"{id}.close", close=True)

    async def _send(self, path: str, tag: str, *, close: bool) -> str:
        tries = 0
        while True:
            tries += 1
            body = {"tag": f"{tag}.{tries}", "close": close}
            answer = await self._try("POST", path, body, {}, taken=(409,) if close and tries > 1 else ())
            if answer is not None:
                return f"{tag}.{tries}"

    async def _insist(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        while (answer := await self._try(method, path, body, headers or {})) is None:
            pass
        return answer

    async def _try(self, method: str, path: str, body: Any, headers: dict[str, str], taken: tuple[int, ...] = ()) -> Any:
        """Send a request to some node; None = nobody knows what has become of it, or the hub cannot take it now."""
        node = self._chosen.choice([each for each in self._cluster.nodes if each.pid is not None] or self._cluster.nodes)
        try:
            async with self._session.request(method, node.url + path, json=body, headers=headers, timeout=_TIMEOUT) as answer:
                if answer.status in (200, 201, 202, *taken):
                    return await answer.json()
                if answer.status == 503:
                    self.refused += 1
                else:
                    self.faults.append(f"{node.life} answered {method} {path} with {answer.status}: {await answer.text()}")
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            pass
        self.repeated += 1
        await clock.sleep(_AGAIN_S)
        return None


def mixed(number: int) -> str:
    """Return the workflow of a number: all kinds in turn."""
    return MIX[number % len(MIX)]


def limited(number: int) -> str:
    """Return the workflow of a number: those with limits in turn."""
    return LIMITED[number % len(LIMITED)]
