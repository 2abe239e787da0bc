"""The kit for plain `def` tests: each call runs the loop until its answer is there. Nothing of its own; see `hub.testing.kit`.

Time stands still between two calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from hub.core.errors import ErrorInfo
from hub.core.model import HttpReply, Snapshot, Status
from hub.core.queue import Decision
from hub.core.workflow import Duration, Env
from hub.testing.kit import LIMIT, AsyncRun, AsyncWorkflows
from hub.testing.modify import Modifier
from hub.testing.recorded import Replayed
from hub.testing.virtual import START, VirtualLoop

T = TypeVar("T")


class Workflows(Modifier):
    """Workflows under test: `with Workflows(Order) as workflows`. Takes what `AsyncWorkflows` takes."""

    def __init__(
        self, *classes: type, project: Path | str | None = None, env: Mapping[str, Any] | None = None, start: datetime = START
    ) -> None:
        self._inner = AsyncWorkflows(*classes, project=project, env=env, start=start)
        super().__init__(self._inner.prescription)
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)

    def __enter__(self) -> Workflows:
        if _on_a_loop():
            raise RuntimeError("Workflows blocks the loop of an async test; use AsyncWorkflows, the fixture `async_workflows`")
        try:
            self._run(self._inner.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._inner.__aexit__())
        finally:
            self._runner.close()

    @property
    def env(self) -> Env:
        """What the workflows see as `self.env`."""
        return self._inner.env

    @property
    def now(self) -> datetime:
        """The virtual wall clock."""
        return self._inner.now

    def instance(self, id: str, workflow: str | None = None) -> Run:
        """Return the handle of one instance, which need not exist yet; `workflow` may be left out when there is only one."""
        return Run(self._inner.instance(id, workflow), self._runner)

    def create(self, params: Any = None, *, id: str | None = None, workflow: str | None = None) -> Run:
        """Create an instance; it runs whenever the test waits for something. Raises: Rejected, Conflict (the id is taken)."""
        return Run(self._run(self._inner.create(params, id=id, workflow=workflow)), self._runner)

    def instances(self, workflow: str | None = None) -> list[Run]:
        """Return all instances, whoever created them, the oldest first."""
        return [Run(run, self._runner) for run in self._run(self._inner.instances(workflow))]

    def run_schedule(self, trigger: str, at: datetime | None = None) -> Run:
        """Emit one occurrence of the project's cron trigger; see `AsyncWorkflows.run_schedule`."""
        return Run(self._run(self._inner.run_schedule(trigger, at)), self._runner)

    def fetch(
        self, path: str, *, method: str | None = None, json: Any = None, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        """Call the `fetch` handler with a request; see `AsyncWorkflows.fetch`."""
        return self._run(self._inner.fetch(path, method=method, json=json, body=body, headers=headers))

    def queue(self, messages: Sequence[Any], *, queue: str = "queue") -> list[Decision]:
        """Call the `queue` handler with a batch; see `AsyncWorkflows.queue`."""
        return self._run(self._inner.queue(messages, queue=queue))

    def scheduled(self, cron: str = "* * * * *", at: datetime | None = None) -> None:
        """Call the `scheduled` handler; see `AsyncWorkflows.scheduled`."""
        self._run(self._inner.scheduled(cron, at))

    def sleep(self, duration: Duration) -> None:
        """Let virtual time pass."""
        self._run(self._inner.sleep(duration))

    def replay(self, file: Path | str, workflow: str | None = None) -> Replayed:
        """Run the code against a recorded journal; see `AsyncWorkflows.replay`."""
        return self._run(self._inner.replay(file, workflow))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)


class Run(Modifier):
    """One instance under test, with prescriptions of its own."""

    def __init__(self, inner: AsyncRun, runner: asyncio.Runner) -> None:
        super().__init__(inner.prescription)
        self.id = inner.id
        self.workflow = inner.workflow
        self._inner = inner
        self._runner = runner

    def wait_for_status(self, status: Status | str, *, within: Duration = LIMIT) -> None:
        """Return when the instance has that status. Raises: AssertionError, at once when it has ended otherwise."""
        self._run(self._inner.wait_for_status(status, within=within))

    def wait_for_step_result(self, name: str, index: int = 1, *, within: Duration = LIMIT) -> Any:
        """Return what a step has given when it has; see `AsyncRun.wait_for_step_result`."""
        return self._run(self._inner.wait_for_step_result(name, index, within=within))

    def output(self) -> Any:
        """Return the output, as soon as the instance is complete. Raises: AssertionError, at once when it has ended otherwise."""
        return self._run(self._inner.output())

    def error(self) -> ErrorInfo:
        """Return the error (`name`, `message`), as soon as the instance is errored. Raises: AssertionError, as `output`."""
        return self._run(self._inner.error())

    def status(self) -> dict[str, Any]:
        """Return `{"status", "output", "error", "rollback"}`, as the author's handle does."""
        return self._run(self._inner.status())

    def describe(self) -> Snapshot:
        """Return the instance with its journal. Raises: NotFound."""
        return self._run(self._inner.describe())

    def record(self, file: Path | str) -> Path:
        """Write the instance with its journal to a JSON file, for `replay`; sensitive outputs are left out."""
        return self._run(self._inner.record(file))

    def send_event(self, type: str, payload: Any = None) -> None:
        """Send an event. Raises: Rejected, Conflict."""
        self._run(self._inner.send_event(type=type, payload=payload))

    def pause(self) -> None:
        """Let running steps finish, then stand still. Raises: Conflict."""
        self._run(self._inner.pause())

    def resume(self) -> None:
        """Go on. Raises: Conflict."""
        self._run(self._inner.resume())

    def terminate(self, *, rollback: bool = False, cascade: bool = False) -> None:
        """End it at once. Raises: Conflict."""
        self._run(self._inner.terminate(rollback=rollback, cascade=cascade))

    def restart(self, options: Mapping[str, Any] | None = None) -> None:
        """Run it again, from the start or from a step: `restart({"from": {"name": "charge"}})`. Raises: Conflict."""
        self._run(self._inner.restart(options))

    def delete(self) -> None:
        """Forget it. Raises: NotFound."""
        self._run(self._inner.delete())

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
