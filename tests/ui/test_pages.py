"""The dashboard's pages: what they show, and that nothing on them is markup of somebody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.core.codec import encode
from hub.core.delivery import Delivery, DeliveryStatus, Occurrence, Phase, TriggerHealth, TriggerRecord, TriggerView
from hub.core.errors import ErrorInfo
from hub.core.model import (
    Attempt,
    Entry,
    Instance,
    Kind,
    Page,
    Rollback,
    Schedule,
    Snapshot,
    Source,
    State,
    Status,
    StepConfig,
    WorkflowRecord,
)
from hub.ui import pages, trigger_pages
from hub.ui.pieces import MAX_VALUE_CHARS, address, duration
from tests.ui.test_markup import NASTY, Reader, read

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = T0 + timedelta(minutes=1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def record(**changes: Any) -> WorkflowRecord:
    base = WorkflowRecord(id="w", name="orders", class_name="Orders", script_name="shop", created_at=T0, modified_at=T0)
    return replace(base, **changes)


def instance(**changes: Any) -> Instance:
    base = Instance(key=1, workflow="orders", id="o-1", status=Status.RUNNING, created_at=T0, modified_at=T0, started_at=T0)
    return replace(base, **changes)


def step(**changes: Any) -> Entry:
    base = Entry(kind=Kind.STEP, name="charge", count=1, ordinal=1, state=State.DONE, started_at=at(1), ended_at=at(2))
    return replace(base, **changes)


def seen(page: bytes) -> Reader:
    return read(page.decode())


def links(page: bytes) -> list[str]:
    return [str(attributes["href"]) for name, attributes in seen(page).tags if name == "a"]


def everywhere(text: str) -> list[bytes]:
    """Put a text into every place that a user can fill."""
    error = ErrorInfo(name=text, message=text, stack=text)
    entries = tuple(
        step(
            kind=kind, name=text, ordinal=n, state=state, output=encode({text: text}), error=error, event_type=text, wake_at=at(9),
            child=f"w/{text}",
        )
        for n, (kind, state) in enumerate((kind, state) for kind in Kind for state in State)
    )  # fmt: skip
    attempt = Attempt(name=text, count=1, number=1, started_at=T0, ended_at=T0, error=error)
    head = instance(
        workflow=text, id=text, version=text, trigger=text, schedule=Schedule(cron=text, scheduled_at=T0), params=encode(text),
        output=encode([text]), error=error, version_ran=f"{text}2", rollback=Rollback(complete=False, error=error),
    )  # fmt: skip
    named = record(name=text, class_name=text, counts={Status.QUEUED: 2})
    return [
        pages.workflows(Page(items=(named,))),
        pages.instances(named, Page(items=(head,), cursor=text), Status.QUEUED, first=False),
        pages.instance(Snapshot(instance=head, entries=entries, attempts=(attempt,)), NOW, head),
        pages.problem(text, text),
        *everywhere_about_triggers(text),
    ]


def everywhere_about_triggers(text: str) -> list[bytes]:
    record = TriggerRecord(name=text, kind=text, workflow=text, created_at=T0, modified_at=T0, cursor=T0, paused_at=T0, note=text)
    health = TriggerHealth(phase=Phase.ERROR, message=text, facts={text: [text]})
    view = TriggerView(record=record, health=health, settings={text: text}, counts={text: 2})
    delivery = Delivery(
        id=text, trigger=text, status=DeliveryStatus.DEAD, received_at=T0, code=text, message=text, key=text, event=encode({text: text}),
        occurred_at=T0, workflow=text, instance_id=text,
    )  # fmt: skip
    return [
        trigger_pages.triggers([view]),
        trigger_pages.trigger(view, (text, [Occurrence(nominal=T0, starts_at=NOW)])),
        trigger_pages.deliveries(Page(items=(delivery,), cursor=text), text, DeliveryStatus.DEAD, first=False),
        trigger_pages.delivery(delivery),
    ]


@pytest.mark.parametrize("text", NASTY)
def test_text_of_users_is_never_markup(text: str) -> None:
    for nasty, plain in zip(everywhere(text), everywhere("harmless"), strict=True):
        harmless = [(name, sorted(attributes)) for name, attributes in seen(plain).tags]
        assert [(name, sorted(attributes)) for name, attributes in seen(nasty).tags] == harmless
        assert text in seen(nasty).text


@pytest.mark.parametrize("text", NASTY)
def test_links_stay_within_the_dashboard(text: str) -> None:
    for page in everywhere(text):
        assert all(link.startswith("/dashboard") for link in links(page))


def test_no_page_has_inline_script_or_style() -> None:
    for page in everywhere("x"):
        for name, attributes in seen(page).tags:
            assert name != "style"
            assert name != "script" or attributes["src"] == "/dashboard/static/dashboard.js"
            assert not [key for key in attributes if key == "style" or key.startswith("on")]


def test_an_id_with_slashes_is_one_segment_of_its_address() -> None:
    assert address("workflows", "w", "instances", "*/5 * * * *-1") == "/dashboard/workflows/w/instances/%2A%2F5%20%2A%20%2A%20%2A%20%2A-1"


# ---- deliveries


@pytest.mark.parametrize(
    ("status", "shown"), [(DeliveryStatus.MISSED, at(-60)), (DeliveryStatus.SKIPPED, at(-60)), (DeliveryStatus.HELD, T0)]
)
def test_an_occurrence_that_did_not_run_is_listed_at_the_time_at_which_it_was_due(status: DeliveryStatus, shown: datetime) -> None:
    item = Delivery(id="d1", trigger="nightly", status=status, received_at=T0, occurred_at=at(-60), code="catch_up.last")
    assert f"{shown:%H:%M:%S} UTC" in seen(trigger_pages.deliveries(Page(items=(item,)), None, None, first=True)).text


# ---- workflows


def test_a_workflow_shows_how_many_instances_it_has_in_each_status() -> None:
    page = pages.workflows(Page(items=(record(counts={Status.WAITING: 3, Status.COMPLETE: 0}),)))
    assert "Waiting 3" in seen(page).text
    assert "Completed" not in seen(page).text
    assert links(page)[:2] == ["/dashboard/workflows/orders", "/dashboard/workflows/orders?status=waiting"]


def test_without_workflows_the_page_says_where_to_declare_one() -> None:
    assert "hub.toml" in seen(pages.workflows(Page(items=()))).text


# ---- instances


def test_the_filter_offers_the_statuses_that_occur_and_the_chosen_one() -> None:
    counted = record(counts={Status.WAITING: 3, Status.ERRORED: 1})
    page = pages.instances(counted, Page(items=(instance(),)), Status.PAUSED, first=True)
    offered = [link for link in links(page) if "instances" not in link][1:]
    assert offered == [
        "/dashboard/workflows/orders",
        "/dashboard/workflows/orders?status=paused",
        "/dashboard/workflows/orders?status=errored",
        "/dashboard/workflows/orders?status=waiting",
    ]
    assert "All 4" in seen(page).text


def test_older_instances_are_one_link_away() -> None:
    page = pages.instances(record(), Page(items=(instance(),), cursor="abc"), Status.WAITING, first=True)
    assert links(page)[-1] == "/dashboard/workflows/orders?status=waiting&cursor=abc"
    assert "newest" not in seen(page).text


def test_from_an_older_page_one_comes_back() -> None:
    page = pages.instances(record(), Page(items=(instance(),)), None, first=False)
    assert links(page)[-1] == "/dashboard/workflows/orders"
    assert "older" not in seen(page).text


# ---- one instance


def show(*entries: Entry, attempts: tuple[Attempt, ...] = (), **changes: Any) -> bytes:
    return pages.instance(Snapshot(instance=instance(**changes), entries=entries, attempts=attempts), NOW)


def test_an_instance_shows_input_output_trigger_and_times() -> None:
    page = show(
        status=Status.COMPLETE, ended_at=at(3.5), params=encode({"a": 1}), output=encode(7), source=Source.EVENT, trigger="hook"
    )
    text = seen(page).text
    for part in ("Completed", "event · hook", '"a": 1', "7", "3.5 s", "2026-01-02 03:04:05 UTC"):
        assert part in text


def test_a_page_of_an_ended_instance_is_not_refreshed() -> None:
    assert b"data-refresh" in show(status=Status.RUNNING)
    assert b"data-refresh" not in show(status=Status.ERRORED)


def test_a_failed_step_shows_every_attempt_with_its_error() -> None:
    error = ErrorInfo(name="ValueError", message="busy", stack="in charge")
    first = Attempt(name="charge", count=1, number=1, started_at=at(1), ended_at=at(2), error=error)
    text = seen(show(step(state=State.FAILED, attempt=2, attempt_started_at=at(5), error=error), attempts=(first,))).text
    assert text.count("ValueError: busy") == 2
    assert "Failed" in text


def test_a_step_that_succeeded_at_once_has_no_table_of_attempts() -> None:
    assert "Attempt" not in seen(show(step())).text


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (step(), "Done"),
        (step(state=State.RUNNING, ended_at=None), "Running"),
        (step(state=State.WAITING, ended_at=None, wake_at=at(90)), "Between two attempts"),
        (step(kind=Kind.SLEEP, state=State.WAITING, ended_at=None, wake_at=at(90)), "Waiting"),
    ],
)
def test_a_step_shows_its_state_in_words(entry: Entry, word: str) -> None:
    assert word in seen(show(entry)).text


def test_what_waits_shows_when_it_goes_on_unless_its_instance_has_ended() -> None:
    entry = step(kind=Kind.SLEEP, state=State.WAITING, ended_at=None, wake_at=at(90))
    assert "goes on 2026-01-02 03:05:35 UTC" in seen(show(entry)).text
    ended = seen(show(entry, status=Status.TERMINATED, ended_at=at(9))).text
    assert "goes on" not in ended
    assert "Stopped" in ended


def test_an_attempt_that_was_under_way_when_its_instance_ended_is_not_shown_as_running() -> None:
    page = seen(show(step(state=State.RUNNING, ended_at=None), status=Status.TERMINATED, ended_at=at(9))).text
    assert "stopped" in page
    assert "unning" not in page


def test_a_bar_lies_where_the_step_ran() -> None:
    first, second = step(started_at=at(0), ended_at=at(1)), step(count=2, started_at=at(1), ended_at=at(4))
    page = show(first, second, ended_at=at(4), status=Status.COMPLETE)
    bars = [(attributes["x"], attributes["width"]) for name, attributes in seen(page).tags if name == "rect"]
    assert bars == [("0.00%", "25.00%"), ("25.00%", "75.00%")]


def test_of_very_many_steps_the_last_ones_are_shown() -> None:
    page = show(*[step(name=f"s{n}", ordinal=n) for n in range(pages.MAX_STEPS + 2)])
    text = seen(page).text
    assert "The last 500 of 502 steps." in text
    assert "s501-1" in text
    assert "s1-1" not in text.replace("s501-1", "")


def test_a_huge_value_is_cut_and_says_so() -> None:
    text = seen(show(params=encode("x" * 100_000))).text
    assert "cut; 100,002 characters in all" in text
    assert len(text) < 2 * MAX_VALUE_CHARS


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 ms"), (0, "0 ms"), (0.35, "350 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"),
        (3600, "1 h 0 min"), (86_399, "23 h 59 min"), (86_400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert duration(timedelta(seconds=seconds)) == shown


def test_a_sensitive_output_is_not_on_the_page() -> None:
    entry = step(output=encode({"card": "4711"}), config=StepConfig(sensitive=True))
    page = seen(pages.instance(Snapshot(instance=instance(), entries=(entry,)), NOW))
    assert "4711" not in page.text
    assert "hidden" in page.text


def test_parent_and_child_link_to_each_other() -> None:
    parent = instance(workflow="shop", id="s/1")
    entry = step(kind=Kind.CHILD, state=State.WAITING, child="shipping/a/b", event_type="workflow:charge:1")
    page = pages.instance(Snapshot(instance=instance(), entries=(entry,)), NOW, parent)
    assert {"/dashboard/workflows/shop/instances/s%2F1", "/dashboard/workflows/shipping/instances/a%2Fb"} <= set(links(page))
    assert "workflow:charge:1" not in seen(page).text


def test_a_rollback_shows_its_outcome_and_the_attempts_of_its_handlers() -> None:
    error = ErrorInfo(name="ValueError", message="cannot undo")
    undo = step(kind=Kind.ROLLBACK, state=State.FAILED, attempt=2, attempt_started_at=at(4), ended_at=at(5), error=error, ordinal=2)
    missed = Attempt(name="charge", count=1, number=1, started_at=at(2), ended_at=at(3), error=error, kind=Kind.ROLLBACK)
    head = instance(status=Status.ERRORED, ended_at=at(6), rollback=Rollback(complete=False, error=error))
    page = seen(pages.instance(Snapshot(instance=head, entries=(step(), undo), attempts=(missed,)), NOW))
    assert "Rollback Failed" in " ".join(page.text.split())
    assert page.text.count("cannot undo") == 3


def test_the_version_that_ran_last_is_shown_when_it_is_another() -> None:
    assert "v2" in seen(pages.instance(Snapshot(instance=instance(version="v1", version_ran="v2")), NOW)).text
    assert "ran last" not in seen(pages.instance(Snapshot(instance=instance(version="v1", version_ran="v1")), NOW)).text
