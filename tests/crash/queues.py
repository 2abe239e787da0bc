"""The queue campaign: messages with ids flow from a real broker into a real hub, while the hub, the link and the broker fail in turn.

Judged by what lies in the database and in the queue when all is over, never by the hub's own word: each message has one instance, and after
every fault something was consumed again in time. A seed repeats the plan of the faults; what the hub is doing then is the machine's choice.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from pika.exceptions import AMQPError

from hub.core.clock import SystemClock
from tests.cli.command_line import HUB, environment
from tests.triggers.broker import Broker
from tests.triggers.proxy import Proxy, proxied

AGAIN_S = 30.0  # consuming again is promised within that
_DRAIN_S = 240.0  # for the rest at the end: a broker finds a half-open link only when heartbeats are missing
_POLL_S = 0.05
_LANES = 4  # of the sender: a confirm takes the broker longer than making the message takes us
clock = SystemClock()

SETTINGS = """
name = "campaign"
main = "flows.py"
[[workflows]]
name = "orders"
class_name = "Orders"
[[triggers]]
kind = "amqp"
name = "orders"
workflow = "orders"
url = "{url}"
queue = "{queue}"
topology = "declare"
delivery_limit = 1000
heartbeat = "4 seconds"
watch = "500 ms"
[server]
port = 0
"""
CODE = """
from hub import WorkflowEntrypoint


class Orders(WorkflowEntrypoint):
    async def run(self, event, step):
        return event.payload["n"]
"""


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign found. `broken` holds the promises that were not kept."""

    seed: int
    messages: int
    faults: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    unexpected: int = 0  # instances of messages that nobody sent, and stored deliveries
    slowest_again_s: float = 0.0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


class Node:
    """A hub as a process."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._project / "hub.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *HUB, "serve", str(self._project), env=environment(), stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.returncode is None:
            process.send_signal(number)
        return await process.wait()

    def instances(self) -> int:
        """Return how many instances are on disk."""
        return int(self._rows("SELECT count(*) FROM instance")[0][0]) if (self._project / ".hub" / "hub.sqlite").exists() else 0

    def numbers(self) -> list[int]:
        """Return the number of the message that each instance came from."""
        return [json.loads(params)["n"] for (params,) in self._rows("SELECT params FROM instance")]

    def deliveries(self) -> int:
        """Return how many deliveries are stored that created nothing."""
        return int(self._rows("SELECT count(*) FROM delivery")[0][0])

    def _rows(self, query: str) -> list[tuple[bytes]]:
        try:
            with closing(sqlite3.connect(f"file:{self._project}/.hub/hub.sqlite?mode=ro", uri=True, timeout=10)) as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # the tables are not there yet
            return [(b"0",)]


class Sender:
    """Publishes numbered messages, each until the broker has confirmed it, over several connections at once."""

    def __init__(self, url: str, queue: str) -> None:
        self._lanes = [_Lane(url, queue) for _ in range(_LANES)]
        self.sent = 0

    async def send(self, count: int) -> None:
        """Publish the next messages."""
        first, self.sent = self.sent, self.sent + count
        ranges = [range(first + n, self.sent, _LANES) for n in range(_LANES)]
        await asyncio.gather(*(asyncio.to_thread(lane.send, numbers) for lane, numbers in zip(self._lanes, ranges, strict=True)))

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()


class _Lane:
    """One connection of the sender, used in a thread."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._broker: Broker | None = None
        self._stop = threading.Event()

    def send(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            while not self._stop.is_set() and not self._sent(number):
                self._stop.wait(0.2)

    def close(self) -> None:
        self._stop.set()
        if self._broker is not None:
            self._broker.close()

    def _sent(self, number: int) -> bool:
        try:
            self._broker = self._broker or Broker(self._url)
            self._broker.publish(self._queue, {"n": number}, message_id=f"m-{number}")
        except (AMQPError, OSError):  # the broker is away; whether it has the message is unknown, so it is sent again
            self._broker = None
            return False
        return True


Fault = Callable[["Campaign"], Awaitable[None]]


class Campaign:
    """One campaign: a broker, a proxy, a hub behind it, and a sender."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self._url = url
        self._folder = folder
        self._chance = random.Random(seed)
        self._seed = seed
        self.proxy: Proxy
        self.node: Node

    async def run(self, messages: int, faults: Sequence[str]) -> Report:
        """Let messages flow through faults, and judge."""
        report, began = Report(seed=self._seed, messages=messages), clock.monotonic()
        async with AsyncExitStack() as stack:
            broker = Broker(self._url)
            stack.callback(broker.close)
            queue = broker.name()
            self.proxy, through = await stack.enter_async_context(proxied(self._url))
            project = self._folder / "project"
            project.mkdir()
            (project / "hub.toml").write_text(SETTINGS.format(url=through, queue=queue))
            (project / "flows.py").write_text(CODE)
            self.node = Node(project)
            await self.node.start()
            stack.push_async_callback(self.node.end, signal.SIGKILL)
            await self._until(lambda: broker.exists(queue), "the queue is declared")
            sender = Sender(self._url, queue)
            stack.callback(sender.close)
            part = messages // (2 * len(faults))
            for name in faults:
                await self._endure(name, sender, part, report)
            await sender.send(messages - sender.sent)
            await self._drained(messages, report)
            report.seconds = clock.monotonic() - began
        await self._judge(messages, report)
        return report

    async def _endure(self, name: str, sender: Sender, part: int, report: Report) -> None:
        """Let one fault happen while messages flow, and see how soon something is consumed again."""
        report.faults[name] = report.faults.get(name, 0) + 1
        sending = asyncio.create_task(sender.send(part))
        await clock.sleep(self._chance.uniform(0.0, 0.4))
        await FAULTS[name](self)
        await sending
        before, healed = self.node.instances(), clock.monotonic()
        sending = asyncio.create_task(sender.send(part))
        while self.node.instances() <= before:
            if clock.monotonic() - healed > AGAIN_S:
                report.broken.append(f"nothing was consumed within {AGAIN_S:.0f} s after fault {sum(report.faults.values())}, {name}")
                break
            await clock.sleep(_POLL_S)
        report.slowest_again_s = max(report.slowest_again_s, clock.monotonic() - healed)
        await sending

    async def _drained(self, messages: int, report: Report) -> None:
        """Return when every message has its instance and the hub has ended."""
        deadline = clock.monotonic() + _DRAIN_S
        while self.node.instances() < messages and clock.monotonic() < deadline:
            await clock.sleep(_POLL_S)
        if code := await self.node.end(signal.SIGTERM):
            report.broken.append(f"the hub ended with {code}")

    async def _judge(self, messages: int, report: Report) -> None:
        seen = Counter(self.node.numbers())
        report.lost = sum(1 for number in range(messages) if number not in seen)
        report.doubled = sum(count - 1 for count in seen.values())
        report.unexpected = sum(1 for number in seen if not 0 <= number < messages) + self.node.deliveries()
        report.broken += [
            f"{count} {what}"
            for what, count in (("lost", report.lost), ("doubled", report.doubled), ("unexpected", report.unexpected))
            if count
        ]

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = clock.monotonic() + AGAIN_S
        while not condition():
            assert clock.monotonic() < deadline, f"never: {what}"
            await clock.sleep(_POLL_S)

    # ---- faults

    async def kill(self) -> None:
        """Kill the hub, and start it again."""
        await self.node.end(signal.SIGKILL)
        await self.node.start()

    async def restart(self) -> None:
        """Stop the hub cleanly, and start it again."""
        assert await self.node.end(signal.SIGTERM) == 0
        await self.node.start()

    async def cut(self) -> None:
        """Reset the link."""
        await self.proxy.cut()

    async def stall(self) -> None:
        """Let the link fall silent, for good, with or without half a frame; new links work."""
        self.proxy.stall(self._chance.choice((0, self._chance.randrange(1, 20_000))))
        await clock.sleep(0.1)
        await self.proxy.accept()

    async def away(self) -> None:
        """Take the broker away for a while."""
        await self.proxy.refuse()
        await clock.sleep(self._chance.uniform(0.5, 2.0))
        await self.proxy.accept()

    async def broker(self) -> None:
        """Stop and start the broker itself."""
        for verb in ("stop_app", "start_app"):
            process = await asyncio.create_subprocess_exec("rabbitmqctl", verb, stdout=asyncio.subprocess.DEVNULL)
            assert await process.wait() == 0


FAULTS: dict[str, Fault] = {
    "kill": Campaign.kill,
    "restart": Campaign.restart,
    "cut": Campaign.cut,
    "stall": Campaign.stall,
    "away": Campaign.away,
    "broker": Campaign.broker,
}
