"""Recorded journals: what new code may do with them, and what is a contradiction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hub import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from hub.core.errors import Nondeterminism
from hub.core.model import Status
from hub.testing import AsyncWorkflows, Workflows

done: list[str] = []  # what bodies did


def note(what: str) -> Callable[[], str]:
    def body() -> str:
        done.append(what)
        return what

    return body


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


class Old(WorkflowEntrypoint):
    """What ran when the journals were recorded."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        first = await step.do("first", note("first"))
        await step.sleep("pause", "1 day")
        both = await asyncio.gather(step.do("left", note("left")), step.do("right", note("right")))
        approval = await step.wait_for_event("approval", "approved", timeout="7 days")
        return [event.payload, event.instance_id, first, *both, approval["payload"], await step.do("last", note("last"))]


class Failing(WorkflowEntrypoint):
    """Undoes its first step when the second one fails."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        async def fail() -> None:
            raise LookupError("nothing there")

        await step.do("first", note("first"))
        await step.do("second", fail, config={"retries": {"limit": 1, "delay": "1 hour"}})


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    with Workflows(Old) as workflows:
        workflows.mock_event("approved", {"by": "ann"})
        run = workflows.create({"item": "tea"}, id="recorded")
        run.wait_for_status("complete")
        return run.record(tmp_path / "complete.json")


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    with Workflows(Old) as workflows:
        run = workflows.create(id="recorded")
        run.wait_for_step_result("right")
        run.wait_for_status("waiting")
        return run.record(tmp_path / "waiting.json")


def replayed(file: Path, cls: type) -> Any:
    done.clear()
    with Workflows(cls) as workflows:
        result = workflows.replay(file)
    assert done == [], "a replay executes nothing"
    return result


def refused(file: Path, cls: type) -> str:
    with pytest.raises(Nondeterminism) as caught:
        replayed(file, cls)
    return caught.value.message


def test_unchanged_code_replays_to_the_same_end(complete: Path) -> None:
    result = replayed(complete, Old)
    assert result.status is Status.COMPLETE
    assert result.output == [{"item": "tea"}, "recorded", "first", "left", "right", {"by": "ann"}, "last"]


def test_unchanged_code_replays_to_where_the_instance_waited(waiting: Path) -> None:
    result = replayed(waiting, Old)
    assert (result.status, result.asks) == (None, 'wait for event "approval" number 1')


def test_code_between_steps_may_change(complete: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> str:
            names = [await step.do("first", note("another body"))]
            await step.sleep("pause", "9 days")
            names += await asyncio.gather(step.do("right", note("r")), step.do("left", note("l")))
            await step.wait_for_event("approval", "approved")
            return "-".join([*names, await step.do("last", note("x"))])

    assert replayed(complete, New).output == "first-right-left-last"


def test_a_renamed_step_is_named_beside_what_the_journal_has(complete: Path, waiting: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await step.do("premier", note("premier"))

    for file in (complete, waiting):
        message = refused(file, New)
        assert message.startswith(f'{file.name}: the program asks for step "premier" number 1, but its journal has step "first" number 1')


def test_another_kind_under_the_same_name_is_a_contradiction(complete: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await step.do("first", note("first"))
            await step.do("pause", note("no sleep"))

    assert 'the program asks for step "pause" number 1, but its journal has sleep "pause" number 1' in refused(complete, New)


def test_a_program_that_ends_before_its_journal_is_a_contradiction(waiting: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await step.do("first", note("first"))
            await step.sleep("pause", "1 day")

    assert 'the program ends, but its journal has step "left" number 1' in refused(waiting, New)


def test_a_step_that_the_program_no_longer_reaches_is_found_beside_one_that_it_does(waiting: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await step.do("first", note("first"))
            await step.sleep("pause", "1 day")
            await asyncio.gather(step.wait_for_event("approval", "approved"), step.do("wrong", note("wrong")), step.do("left", note("l")))

    assert 'the program asks for step "wrong" number 1, but its journal has step "right" number 1' in refused(waiting, New)


class Longer(Old):
    """Does more at the end."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        await super().run(event, step)
        await step.do("more", note("more"))


def test_a_complete_instance_must_not_go_on(complete: Path) -> None:
    message = refused(complete, Longer)
    assert message == (
        'complete.json: the program asks for step "more" number 1, but the recorded instance is complete after step "last" number 1'
    )


@pytest.mark.parametrize("more", ["sleep", "wait"])
def test_no_wait_may_follow_a_complete_instance_either(complete: Path, more: str) -> None:
    class New(Old):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await super().run(event, step)
            await (step.sleep("nap", "1 day") if more == "sleep" else step.wait_for_event("nap", "nap"))

    assert '"nap" number 1, but the recorded instance is complete after step "last" number 1' in refused(complete, New)


def test_a_complete_instance_must_not_fail(complete: Path) -> None:
    class New(Old):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await super().run(event, step)
            raise KeyError("total")

    assert "the program fails with KeyError: 'total', but the recorded instance is complete after" in refused(complete, New)


def test_an_instance_under_way_may_go_on(waiting: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await step.do("first", note("first"))
            await step.sleep("pause", "1 day")
            await asyncio.gather(step.do("left", note("left")), step.do("right", note("right")))
            approval = asyncio.ensure_future(step.wait_for_event("approval", "approved"))
            await step.do("meanwhile", note("meanwhile"))
            await approval

    assert replayed(waiting, New).asks == 'step "meanwhile" number 1'


def test_a_failed_instance_fails_again_with_the_recorded_error_and_may_go_on_when_the_code_is_mended(tmp_path: Path) -> None:
    class Mended(Failing):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            try:
                await super().run(event, step)
            except LookupError:
                await step.do("instead", note("instead"))

    with Workflows(Failing) as workflows:
        run = workflows.create()
        run.wait_for_status("errored")
        file = run.record(tmp_path / "errored.json")
    result = replayed(file, Failing)
    assert (result.status, result.error.name, result.error.message) == (Status.ERRORED, "LookupError", "nothing there")
    assert replayed(file, Mended).asks == 'step "instead" number 1'


def test_a_step_between_two_attempts_is_not_tried_again(tmp_path: Path) -> None:
    with Workflows(Failing) as workflows:
        run = workflows.create()
        run.wait_for_step_result("first")
        run.wait_for_status("waiting")
        file = run.record(tmp_path / "retrying.json")
    assert replayed(file, Failing).asks == 'step "second" number 1'


class Undoing(WorkflowEntrypoint):
    """Books, and takes it back when the payment fails."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
        async def undo(output: str) -> None:
            done.append(f"undo {output}")

        async def pay() -> None:
            raise LookupError("no money")

        await step.do("book", note("book"), rollback=undo)
        await step.do("pay", pay, config={"retries": {"limit": 0, "delay": 0}})


def test_a_rollback_is_not_done_again(tmp_path: Path) -> None:
    with Workflows(Undoing) as workflows:
        run = workflows.create()
        run.wait_for_status("errored")
        file = run.record(tmp_path / "undone.json")
    assert done == ["book", "undo book"]
    result = replayed(file, Undoing)
    assert (result.status, result.error.message) == (Status.ERRORED, "no money")


class Parent(WorkflowEntrypoint):
    """Runs two children, one after the other."""

    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> list[Any]:
        return [await step.run_workflow(name, "old", {"name": name}) for name in ("one", "two")]


def test_recorded_children_are_not_started_again(tmp_path: Path) -> None:
    class Another(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await step.run_workflow("three", "old")

    with Workflows(Parent, Old) as workflows:
        workflows.mock_event("approved", "yes")
        run = workflows.create(workflow="parent")
        under_way = run.record(tmp_path / "begun.json")
        output = run.output()
        complete = run.record(tmp_path / "ended.json")
        done.clear()
        assert workflows.replay(complete).output == output
        assert workflows.replay(under_way).asks == 'workflow "one" number 1'
    with Workflows(Another, Old) as workflows, pytest.raises(Nondeterminism, match='asks for workflow "three".*has workflow "one"'):
        workflows.replay(complete, workflow="another")
    assert done == []


def test_a_program_that_neither_asks_nor_ends_is_told(waiting: Path) -> None:
    class New(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> None:
            await asyncio.Event().wait()

    assert "neither asks for anything nor ends; the recorded instance is waiting after" in refused(waiting, New)


def test_sensitive_outputs_are_left_out_of_the_file(tmp_path: Path) -> None:
    class Secretive(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> str:
            async def token() -> str:
                return "s3cret"

            return f"{len(await step.do('token', token, sensitive='output'))} characters"

    with Workflows(Secretive) as workflows:
        run = workflows.create()
        assert run.output() == "6 characters"
        file = run.record(tmp_path / "deep" / "secret.json")
    assert "s3cret" not in file.read_text()
    assert replayed(file, Secretive).output == "10 characters"  # of what stands in its place


def test_a_record_keeps_values_exactly(tmp_path: Path) -> None:
    value = {"when": datetime(2030, 1, 1, tzinfo=UTC), "price": Decimal("1.10"), "raw": b"\x00\xff", "big": 2**80, "name": "Zoë"}

    class Keeps(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
            return [event.payload, await step.do("make", lambda: value)]

    with Workflows(Keeps) as workflows:
        run = workflows.create(value)
        run.wait_for_status("complete")
        file = run.record(tmp_path / "values.json")
    assert replayed(file, Keeps).output == [value, value]


def test_a_record_belongs_to_its_workflow_where_there_are_several(complete: Path) -> None:
    with Workflows(Failing, Old) as workflows:
        assert workflows.replay(complete).status is Status.COMPLETE
    with Workflows(Failing, Longer) as workflows:
        with pytest.raises(ValueError, match="which workflow"):
            workflows.replay(complete)
        with pytest.raises(Nondeterminism, match="complete"):
            workflows.replay(complete, workflow="longer")


def test_a_file_that_is_no_record_is_told(tmp_path: Path, complete: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    later = json.loads(complete.read_text()) | {"schema": 99}
    (tmp_path / "later.json").write_text(json.dumps(later))
    with Workflows(Old) as workflows:
        with pytest.raises(ValueError, match=r"other.json is not the record of an instance: KeyError"):
            workflows.replay(tmp_path / "other.json")
        with pytest.raises(ValueError, match=r"later.json .* schema 99; this version of the hub reads 1"):
            workflows.replay(tmp_path / "later.json")


async def test_records_are_made_and_replayed_on_a_loop_too(tmp_path: Path) -> None:
    async with AsyncWorkflows(Old) as workflows:
        run = await workflows.create()
        await run.wait_for_status("waiting")
        file = await run.record(tmp_path / "async.json")
        assert (await workflows.replay(file)).asks == 'sleep "pause" number 1'
