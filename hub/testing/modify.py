"""What a test prescribes: sleeps and delays that take no time, mocked results and errors, forced timeouts, mocked events.

`Modifier` is the test's side, `Prescriptions` the engine's (`Rehearsal`). Prescriptions change what a program meets, never how it is
recorded. Those for one instance go before those for all. The invariant: an attempt that nothing prescribes runs the author's body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hub.core import codec
from hub.core.admission import check_event_type
from hub.core.model import Entry, Instance, Kind

Names = str | Iterable[str] | None  # None = all
Mock = Callable[[], Awaitable[Any]]


class _All:
    """A set that has everything."""

    def __contains__(self, _name: object) -> bool:
        return True


@dataclass(slots=True)
class _Plan:
    """What the attempts of a step meet: errors and timeouts first, each for so many attempts, then a result, then the body."""

    failures: list[tuple[Mock, int | None]] = field(default_factory=list)  # None = every attempt from here on
    result: Mock | None = None

    def mock(self, attempt: int) -> tuple[Mock | None, int]:
        """Return what an attempt meets, or how many attempts are left for what is prescribed elsewhere."""
        for failure, times in self.failures:
            if times is None or attempt <= times:
                return failure, 0
            attempt -= times
        return self.result, attempt

    @property
    def endless(self) -> bool:
        return bool(self.failures) and self.failures[-1][1] is None


@dataclass(frozen=True, slots=True, eq=False)
class MockedEvent:
    """An event that an instance gets as soon as it waits for one."""

    type: str
    payload: Any
    order: int = field(default_factory=count().__next__)


@dataclass(slots=True)
class Prescription:
    """What is prescribed for one instance, or for all."""

    sleeps: set[str] | _All = field(default_factory=set)
    delays: set[str] | _All = field(default_factory=set)
    timeouts: set[str] = field(default_factory=set)
    plans: dict[tuple[str, int | None], _Plan] = field(default_factory=dict)  # by name and index; None = every index
    events: list[MockedEvent] = field(default_factory=list)


class Modifier:
    """Prescribes what instances meet, from their next step on; a restart keeps it.

    Steps, sleeps and waits are named as in the program. Where a program uses a name several times, a mock holds for each use; `index`
    chooses one, from 1.
    """

    def __init__(self, prescription: Prescription) -> None:
        self.prescription = prescription

    def disable_sleeps(self, names: Names = None) -> None:
        """Let sleeps end at once: all, or those with a name."""
        self.prescription.sleeps = _joined(self.prescription.sleeps, names)

    def disable_retry_delays(self, names: Names = None) -> None:
        """Let the next attempt begin at once after a failed one: of all steps, or of those with a name."""
        self.prescription.delays = _joined(self.prescription.delays, names)

    def mock_step_result(self, name: str, value: Any, *, index: int | None = None) -> None:
        """Give a step a result without running its body; after mocked errors, so that it fails so often and then succeeds.

        Raises: ValueError when it has a result already, TypeError when the value could not be stored.
        """
        codec.encode(value, what=f'the mocked result of "{name}"')
        plan = self._plan(name, index)
        if plan.endless:
            raise ValueError(f'step "{name}" never gets to a result: an error is mocked for every attempt; give it `times`')

        async def succeed() -> Any:
            return value

        plan.result = succeed

    def mock_step_error(self, name: str, error: Exception | str, times: int | None = None, *, index: int | None = None) -> None:
        """Let attempts of a step fail without running its body: the next `times` ones, or every one.

        The step's own retry policy decides what follows. A text stands for a RuntimeError with that message. Raises: ValueError when the
        step has a mocked result already.
        """
        if not isinstance(error, Exception | str):
            raise TypeError(f'the mocked error of step "{name}" must be an exception or a text, not {error!r}')

        async def fail() -> Any:
            raise RuntimeError(error) if isinstance(error, str) else error.with_traceback(None)

        self._add_failure(name, index, fail, times)

    def force_step_timeout(self, name: str, times: int | None = None, *, index: int | None = None) -> None:
        """Let attempts of a step run into their timeout, without running the body: the next `times` ones, or every one."""

        async def hang() -> Any:
            await asyncio.get_running_loop().create_future()

        self._add_failure(name, index, hang, times)

    def mock_event(self, type: str, payload: Any = None) -> None:
        """Send an event to an instance as soon as it waits for one; several are sent in the order of the calls."""
        check_event_type(type)
        codec.encode(payload, what=f'the payload of the mocked event "{type}"')
        self.prescription.events.append(MockedEvent(type, payload))

    def force_event_timeout(self, name: str) -> None:
        """Let waits for an event end at once without one, with WaitTimeout."""
        self.prescription.timeouts.add(name)

    def _add_failure(self, name: str, index: int | None, failure: Mock, times: int | None) -> None:
        if times is not None and times < 1:
            raise ValueError(f'step "{name}": times is at least 1, or None for every attempt; it is {times}')
        plan = self._plan(name, index)
        if plan.endless:
            raise ValueError(f'step "{name}" fails in every attempt already; give the earlier mock `times`')
        plan.failures.append((failure, times))

    def _plan(self, name: str, index: int | None) -> _Plan:
        plan = self.prescription.plans.setdefault((name, index), _Plan())
        if plan.result is not None:
            raise ValueError(f'step "{name}" has a mocked result already; mock its errors before its result, and its result once')
        return plan


class Prescriptions:
    """All that a test has prescribed, as the engine asks for it (`Rehearsal`)."""

    def __init__(self, send: Callable[[Instance, list[MockedEvent]], None]) -> None:
        self.general = Prescription()
        self._special: dict[tuple[str, str], Prescription] = {}
        self._send = send
        self._lives: dict[int, int] = {}  # token of the first run since the last restart, by key of the instance
        self._sent: dict[int, set[MockedEvent]] = {}

    def of(self, workflow: str, id: str) -> Prescription:
        """Return what is prescribed for one instance, which need not exist yet."""
        return self._special.setdefault((workflow, id), Prescription())

    def skips_sleep(self, instance: Instance, name: str) -> bool:
        """Whether that sleep is over at once."""
        return any(name in each.sleeps for each in self._for(instance))

    def skips_delay(self, instance: Instance, name: str) -> bool:
        """Whether the next attempt of that step begins at once."""
        return any(name in each.delays for each in self._for(instance))

    def times_out(self, instance: Instance, name: str) -> bool:
        """Whether that wait for an event ends at once without one. Being asked means that the instance begins to wait."""
        self._send_events(instance)
        return any(name in each.timeouts for each in self._for(instance))

    def body(self, instance: Instance, entry: Entry) -> Mock | None:
        """Return what runs instead of the step's body in this attempt; None = the body itself."""
        if entry.kind is not Kind.STEP:
            return None
        attempt = entry.attempt
        for plan in (each.plans.get((entry.name, index)) for each in self._for(instance) for index in (entry.count, None)):
            mock, attempt = (None, attempt) if plan is None else plan.mock(attempt)
            if mock is not None:
                return mock
        return None

    def _for(self, instance: Instance) -> list[Prescription]:
        special = self._special.get((instance.workflow, instance.id))
        return [self.general] if special is None else [special, self.general]

    def _send_events(self, instance: Instance) -> None:
        """Send the events that the instance has not got yet; a restart has made it forget those that it had."""
        if instance.started_at is None and self._lives.get(instance.key) != instance.token:
            self._lives[instance.key] = instance.token
            self._sent[instance.key] = set()
        sent = self._sent.setdefault(instance.key, set())
        fresh = {event for each in self._for(instance) for event in each.events} - sent
        if fresh:
            sent |= fresh
            self._send(instance, sorted(fresh, key=lambda event: event.order))


def _joined(known: set[str] | _All, names: Names) -> set[str] | _All:
    if names is None or isinstance(known, _All):
        return _All()
    return known | ({names} if isinstance(names, str) else set(names))
