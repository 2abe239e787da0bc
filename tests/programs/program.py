"""Random programs: what they are made of, how one is drawn from a seed, and how any step object runs it.

Knows nothing of the engine: `run_block` is given the step object, the hub's own or a plain one. The invariant: what a program does depends
on nothing but the program itself, the events that it is sent and the attempts that it loses; a type of event has one strand that waits
for it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub import NonRetryableError
from hub.core.errors import WaitTimeout

Strand = tuple[tuple[int, int], ...]  # (number of the gather, number of the branch) from the outermost one
OK, FAIL, FATAL, HANG = "ok", "fail", "fatal", "hang"
FOREVER_S = 40 * 86_400.0  # longer than every timeout of an attempt
COMMANDS = 20
DEPTH = 3


@dataclass(frozen=True, slots=True)
class Work:
    """A body or a rollback handler. `script` is how its attempts end, from the first one; those behind it are well."""

    script: tuple[str, ...] = ()
    seconds: float = 0.0
    limit: int | None = None  # None = the documented policy
    delay_s: float = 0.0
    backoff: str = "constant"
    timeout_s: float = 120.0

    @property
    def policy(self) -> dict[str, Any]:
        """The policy as an author writes it; a plain number is milliseconds."""
        if self.limit is None:
            return {}
        retries = {"limit": self.limit, "delay": self.delay_s * 1000, "backoff": self.backoff}
        return {"retries": retries, "timeout": self.timeout_s * 1000}


@dataclass(frozen=True, slots=True)
class Do:
    """A step, with or without a rollback handler."""

    name: str
    work: Work
    undo: Work | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """A sleep."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait for an event, which is sent when `arrival` parts of the timeout are over: < 0 = with the creation, None = never."""

    name: str
    type: str
    timeout_s: float
    arrival: float | None


@dataclass(frozen=True, slots=True)
class Gather:
    """Branches side by side; all come to their end, then the first error counts."""

    branches: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Try:
    """A block whose error is caught and told in the output, and what is done then."""

    body: Block
    otherwise: Block


@dataclass(frozen=True, slots=True)
class Child:
    """Another instance, which runs a block of its own."""

    name: str
    id: str
    body: Block


@dataclass(frozen=True, slots=True)
class Fail:
    """An error of the program itself, between two steps."""

    message: str


@dataclass(frozen=True, slots=True)
class Turns:
    """Code of the program's own that lets others run in between: so many turns of the event loop."""

    count: int


Command = Do | Sleep | Wait | Gather | Try | Child | Fail | Turns
Block = tuple[Command, ...]


# ---- running


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a body or of a handler, as the outside world has seen it."""

    life: int
    instance: str
    kind: str  # "step" or "rollback"
    name: str
    count: int
    attempt: int
    seen: str = ""  # what a handler was given
    at: float = 0.0  # the virtual time


class Actor:
    """The bodies of one instance. They tell `ledger` of every start, and wait on the loop that runs them."""

    def __init__(self, instance: str, life: int, ledger: Callable[[Run], None]) -> None:
        self.instance = instance
        self._life = life
        self._note = ledger

    def body(self, work: Work) -> Callable[..., Any]:
        """Return the body of a step."""

        async def body(ctx: Any) -> str:
            name, count = ctx.step["name"], ctx.step["count"]
            self._note(Run(self._life, self.instance, "step", name, count, ctx.attempt, at=_now()))
            await _perform(work, f"{name}-{count}", ctx.attempt)
            return f"{self.instance}:{name}-{count}"

        return body

    def undo(self, work: Work) -> Callable[..., Any]:
        """Return a rollback handler."""

        async def undo(ctx: Any, output: Any, error: Exception) -> None:
            name, count = ctx.step["name"], ctx.step["count"]
            given = f"{output} after {told(error)}"
            self._note(Run(self._life, self.instance, "rollback", name, count, ctx.attempt, given, at=_now()))
            await _perform(work, f"undo of {name}-{count}", ctx.attempt)

        return undo


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _perform(work: Work, what: str, attempt: int) -> None:
    end = work.script[attempt - 1] if attempt <= len(work.script) else OK
    seconds = FOREVER_S if end == HANG else work.seconds
    if seconds:
        await asyncio.sleep(seconds)
    if end == FAIL:
        raise ValueError(f"{what} failed in attempt {attempt}")
    if end == FATAL:
        raise NonRetryableError(f"{what} can never succeed")


async def run_block(block: Block, step: Any, actor: Actor) -> list[Any]:
    """Run commands one after the other and return their values."""
    return [await _run_command(command, step, actor) for command in block]


async def _run_command(command: Command, step: Any, actor: Actor) -> Any:
    if isinstance(command, Do):
        undo = {} if command.undo is None else {"rollback": actor.undo(command.undo), "rollback_config": command.undo.policy or None}
        return await step.do(command.name, actor.body(command.work), **command.work.policy, **undo)
    if isinstance(command, Sleep):
        return await step.sleep(command.name, command.seconds * 1000)
    if isinstance(command, Wait):
        return (await step.wait_for_event(command.name, command.type, timeout=command.timeout_s * 1000))["payload"]
    if isinstance(command, Gather):
        ends = await asyncio.gather(*(run_block(branch, step, actor) for branch in command.branches), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return ends
    if isinstance(command, Try):
        try:
            return await run_block(command.body, step, actor)
        except Exception as error:
            return {"caught": told(error), "then": await run_block(command.otherwise, step, actor)}
    if isinstance(command, Turns):
        for _ in range(command.count):
            await asyncio.sleep(0)
        return None
    if isinstance(command, Child):
        return await step.run_workflow(command.name, "program", {}, id=command.id)
    raise RuntimeError(command.message)


def told(error: BaseException) -> str:
    """Return an error as outputs show it; the text of a wait that was too long is the engine's own affair."""
    name = getattr(error, "name", type(error).__name__)
    return name if isinstance(error, WaitTimeout) else f"{name}: {error}"


# ---- looking


def every(block: Block) -> list[Command]:
    """Return all commands of a block, also those of its children."""
    found: list[Command] = []
    for command in block:
        found.append(command)
        for inner in _inner(command):
            found += every(inner)
    return found


def blocks(program: Block) -> dict[str, Block]:
    """Return what each instance runs, by id."""
    return {"root": program} | {command.id: command.body for command in every(program) if isinstance(command, Child)}


def _inner(command: Command) -> tuple[Block, ...]:
    if isinstance(command, Gather):
        return command.branches
    if isinstance(command, Try):
        return command.body, command.otherwise
    return (command.body,) if isinstance(command, Child) else ()


def shown(block: Block, indent: str = "  ") -> str:
    """Return a block as lines for people."""
    lines: list[str] = []
    for command in block:
        head = repr(command) if not _inner(command) else type(command).__name__ + f" {getattr(command, 'id', '')}".rstrip()
        lines.append(indent + head)
        for number, inner in enumerate(_inner(command)):
            lines += [f"{indent}  [{number}]", shown(inner, indent + "    ")]
    return "\n".join(lines)


# ---- drawing


def draw(rng: random.Random) -> Block:
    """Draw a program."""
    return _Artist(rng).program()


class _Artist:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._left = rng.randint(2, COMMANDS)
        self._gathers = 0
        self._children = 0
        self._waits = 0
        self._careful = rng.random() < 0.5  # half of the programs have branches, and then no handler that may fail for good

    def program(self) -> Block:
        block = self._block(0, "", "root")
        while self._left > 0 and self._rng.random() < 0.8:
            block += self._block(0, "", "root")
        return self._ended(block)

    def _ended(self, block: Block) -> Block:
        return (*block, Fail("the end")) if self._rng.random() < 0.3 else block

    def _block(self, depth: int, strand: str, instance: str) -> Block:
        return tuple(self._command(depth, strand, instance) for _ in range(self._rng.randint(1, 5)) if self._left > 0)

    def _command(self, depth: int, strand: str, instance: str) -> Command:
        rng = self._rng
        kinds = {"do": 9, "sleep": 3, "wait": 3, "turns": 8 if strand else 2}  # where branches run, turns decide who is first
        if depth < DEPTH and self._left > 0:
            kinds |= {"try": 5, "child": 2} | ({"gather": 4} if self._careful else {})
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        name = strand + rng.choice("abc")
        if kind == "turns":
            return Turns(rng.randint(1, 6))
        self._left -= 1
        if kind == "sleep":
            return Sleep(name, self._seconds(0.0, 0.3, 5, 3600, 86_400 * 3))
        if kind == "wait":
            arrival = rng.choice([None, -1.0, 0.1, 0.3, 0.5, 1.5])
            if instance != "root" and arrival == -1.0:  # a child cannot be sent anything before it is there
                arrival = 0.2
            self._waits += 1  # its name is its own, so that a plan can name it; types are shared within a strand
            type = f"type-{strand.replace('.', '_')}{rng.choice('xy')}"
            return Wait(f"{strand}w{self._waits}", type, self._seconds(7200, 40_000), arrival)
        if kind == "try":
            return Try(self._block(depth + 1, strand, instance), self._block(depth + 1, strand, instance) if rng.random() < 0.5 else ())
        if kind == "gather":
            self._gathers += 1
            number = self._gathers
            return Gather(tuple(self._block(depth + 1, f"{strand}g{number}.{n}.", instance) for n in range(rng.randint(2, 4))))
        if kind == "child":
            self._children += 1
            id = f"child-{self._children}"
            return Child(name, id, self._ended(self._block(depth + 1, "", id)))
        return Do(name, self._work(), self._undo() if rng.random() < 0.4 else None)

    def _seconds(self, *choices: float) -> float:
        return round(self._rng.choice(choices) * self._rng.uniform(0.9, 1.3), 3)

    def _work(self) -> Work:
        rng = self._rng
        if rng.random() < 0.4:
            return Work()
        fails = rng.choice([0, 0, 1, 1, 2, 3])
        script = (rng.choices([FAIL, HANG], [5, 1])[0] for _ in range(fails))
        limit = max(0, fails + rng.choice([0, 0, 1, 3, -1]))
        ends = (FATAL,) if rng.random() < 0.1 else ()
        seconds = 0.0 if rng.random() < 0.6 else self._seconds(0.01, 0.5, 1, 15, 35)
        return Work((*script, *ends), seconds, limit, self._seconds(0.0, 0.2, 4, 3600), rng.choice(["constant", "linear", "exponential"]))

    def _undo(self) -> Work:
        work = self._work()
        if not self._careful or work.limit is None:
            return work
        return Work(tuple(end for end in work.script if end != FATAL), work.seconds, 50, min(work.delay_s, 5), work.backoff)
