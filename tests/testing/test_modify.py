"""What a test can prescribe, and whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from hub.core.errors import Rejected
from hub.testing import Modifier, Workflows
from tests.testing.programs import Fails, Order, Sleeper, Starts, Thrice, TwoWaits


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def orders(calls: list[str]) -> Iterator[Workflows]:
    with Workflows(Order, env={"calls": calls}) as workflows:
        workflows.mock_event("approved", {"by": "ann"})
        yield workflows


def attempts(workflows: Workflows, step: str) -> int:
    """Return how many attempts the step of the newest instance has had."""
    [*_, run] = workflows.instances()
    return next(entry.attempt for entry in run.describe().entries if entry.name == step)


def test_sleeps_take_their_time_unless_they_are_disabled() -> None:
    with Workflows(Sleeper) as workflows:
        begun = workflows.now
        workflows.create().output()
        assert workflows.now - begun == timedelta(days=30, hours=1)


@pytest.mark.parametrize(("names", "left"), [(None, timedelta(0)), (["short", "long"], timedelta(0)), ("long", timedelta(hours=1))])
def test_disabled_sleeps_take_no_time(names: Any, left: timedelta) -> None:
    with Workflows(Sleeper) as workflows:
        begun = workflows.now
        workflows.disable_sleeps(names)
        workflows.create().output()
        assert workflows.now - begun == left


@pytest.mark.parametrize(("names", "left"), [(None, timedelta(0)), ("look", timedelta(0)), ("another", timedelta(hours=1))])
def test_disabled_retry_delays_take_no_time(names: Any, left: timedelta) -> None:
    with Workflows(Fails) as workflows:
        begun = workflows.now
        workflows.disable_retry_delays(names)
        assert workflows.create().error().name == "LookupError"
        assert workflows.now - begun == left


def test_a_mocked_result_is_given_and_recorded_without_running_the_body(orders: Workflows, calls: list[str]) -> None:
    orders.mock_step_result("reserve", {"id": 7})
    run = orders.create({"item": "tea"})
    assert run.output() == {"order": {"item": "tea"}, "reservation": {"id": 7}, "approval": {"by": "ann"}, "charge": "charged"}
    assert calls == ["charge"]
    assert run.wait_for_step_result("reserve") == {"id": 7}


def test_errors_before_a_result_make_a_step_fail_so_often_and_then_succeed(orders: Workflows) -> None:
    orders.mock_step_error("reserve", ConnectionError("shop is away"), times=2)
    orders.mock_step_result("reserve", "late")
    assert orders.create().wait_for_step_result("reserve") == "late"
    assert attempts(orders, "reserve") == 3


def test_after_its_mocked_errors_a_step_runs_its_body(orders: Workflows, calls: list[str]) -> None:
    orders.mock_step_error("reserve", "shop is away", times=1)
    assert orders.create().wait_for_step_result("reserve") == "reserved"
    assert calls == ["reserve"]
    assert attempts(orders, "reserve") == 2


def test_an_error_without_times_uses_up_all_attempts(orders: Workflows, calls: list[str]) -> None:
    orders.mock_step_error("reserve", ConnectionError("shop is away"))
    error = orders.create().error()
    assert (error.name, error.message) == ("ConnectionError", "shop is away")
    assert (calls, attempts(orders, "reserve")) == ([], 4)


def test_a_forced_timeout_takes_the_time_that_the_step_allows(orders: Workflows, calls: list[str]) -> None:
    orders.disable_retry_delays()
    orders.force_step_timeout("reserve", times=2)
    begun = orders.now
    assert orders.create().wait_for_step_result("reserve") == "reserved"
    assert orders.now - begun == timedelta(minutes=20)
    assert (calls, attempts(orders, "reserve")) == (["reserve"], 3)


def test_a_timeout_without_times_fails_the_step(orders: Workflows) -> None:
    orders.force_step_timeout("reserve")
    assert orders.create().error().name == "StepTimeout"


def test_a_mocked_event_comes_as_soon_as_it_is_waited_for(orders: Workflows) -> None:
    begun = orders.now
    assert orders.create().wait_for_step_result("approval")["payload"] == {"by": "ann"}
    assert orders.now == begun


def test_mocked_events_come_in_the_order_of_the_calls() -> None:
    with Workflows(TwoWaits) as workflows:
        workflows.mock_event("news", "yours")
        workflows.instance("one").mock_event("news", "mine")
        assert workflows.create(id="one").output() == ["yours", "mine"]


def test_a_restarted_instance_gets_its_mocked_events_again(orders: Workflows) -> None:
    orders.mock_step_result("reserve", "mocked")
    run = orders.create()
    first = run.output()
    run.restart()
    assert run.output() == first
    assert first["approval"] == {"by": "ann"}


def test_a_forced_event_timeout_ends_the_wait_at_once() -> None:
    with Workflows(Order, env={"calls": []}) as workflows:
        workflows.force_event_timeout("approval")
        workflows.disable_sleeps()
        begun = workflows.now
        assert workflows.create().output()["approval"] is None
        assert workflows.now == begun


def test_an_index_chooses_one_of_several_steps_of_a_name() -> None:
    with Workflows(Thrice) as workflows:
        workflows.mock_step_result("same", "mocked", index=2)
        assert workflows.create().output() == [1, "mocked", 3]
        workflows.mock_step_result("same", "any")
        assert workflows.create().output() == ["any", "mocked", "any"]


def test_a_prescription_for_one_instance_concerns_no_other(orders: Workflows) -> None:
    one = orders.instance("one")
    one.mock_step_result("reserve", "mine")
    assert orders.create(id="one").output()["reservation"] == "mine"
    assert orders.create(id="two").output()["reservation"] == "reserved"


def test_what_holds_for_all_follows_what_holds_for_one(orders: Workflows) -> None:
    orders.instance("one").mock_step_error("reserve", "mine", times=1)
    orders.mock_step_error("reserve", "everyone's", times=1)
    orders.mock_step_result("reserve", "mocked")
    assert orders.create(id="one").wait_for_step_result("reserve") == "mocked"
    assert attempts(orders, "reserve") == 3


def test_prescriptions_reach_instances_that_the_program_creates(calls: list[str]) -> None:
    with Workflows(Order, Starts, env={"calls": calls}) as workflows:
        workflows.mock_event("approved", "yes")
        workflows.mock_step_result("reserve", "mocked")
        workflows.create(workflow="starts").output()
        assert workflows.instance("started", "order").output()["approval"] == "yes"
    assert calls == ["charge"]


@pytest.mark.parametrize(
    "again",
    [
        lambda modify: modify.mock_step_result("reserve", 2),
        lambda modify: modify.mock_step_error("reserve", "late"),
        lambda modify: modify.force_step_timeout("reserve"),
    ],
)
def test_nothing_can_follow_a_mocked_result(orders: Workflows, again: Callable[[Modifier], None]) -> None:
    orders.mock_step_result("reserve", 1)
    with pytest.raises(ValueError, match='"reserve" has a mocked result already'):
        again(orders)


def test_nothing_can_follow_an_error_in_every_attempt(orders: Workflows) -> None:
    orders.mock_step_error("reserve", "always")
    with pytest.raises(ValueError, match="never gets to a result.*give it `times`"):
        orders.mock_step_result("reserve", 1)
    with pytest.raises(ValueError, match="fails in every attempt already"):
        orders.force_step_timeout("reserve", times=1)


def test_a_mock_that_could_not_be_stored_is_refused_where_it_is_made(orders: Workflows) -> None:
    with pytest.raises(TypeError, match='the mocked result of "reserve"'):
        orders.mock_step_result("reserve", object())
    with pytest.raises(TypeError, match='payload of the mocked event "approved"'):
        orders.mock_event("approved", object())
    with pytest.raises(Rejected, match="invalid event type"):
        orders.mock_event("not a type", None)
    with pytest.raises(ValueError, match="times is at least 1"):
        orders.mock_step_error("reserve", "never", times=0)
    with pytest.raises(TypeError, match="must be an exception or a text, not <class"):
        orders.mock_step_error("reserve", ValueError)  # type: ignore[arg-type]


def test_a_forced_event_timeout_goes_before_an_event_that_is_there_already(orders: Workflows) -> None:
    orders.force_event_timeout("approval")
    orders.mock_step_error("reserve", "shop is away", times=1)
    run = orders.create()
    run.send_event("approved", {"by": "bob"})
    run.wait_for_step_result("reserve")
    assert run.output()["approval"] is None
