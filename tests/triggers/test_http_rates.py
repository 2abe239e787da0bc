"""How many requests are looked at: exact, for each address, and in bounded memory."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers._rates import RateLimit, sender

SECOND = timedelta(seconds=1)


def test_burst_passes_at_once_and_the_rest_at_the_pace_of_the_limit() -> None:
    limit = RateLimit(10, SECOND, burst=3)
    assert [limit.take("a", 100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    assert limit.take("a", 100.1) == 0
    assert limit.take("a", 100.1) == pytest.approx(0.1)


def test_without_a_burst_the_whole_allowance_may_come_at_once() -> None:
    limit = RateLimit(5, timedelta(minutes=1))
    assert [limit.take("a", 0.0) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(12)]


def test_refused_requests_cost_nothing() -> None:
    limit = RateLimit(1, SECOND)
    limit.take("a", 0.0)
    for _ in range(100):
        assert limit.take("a", 0.5) == pytest.approx(0.5)
    assert limit.take("a", 1.0) == 0


def test_each_name_has_its_own_allowance() -> None:
    limit = RateLimit(1, SECOND)
    assert (limit.take("a", 0.0), limit.take("b", 0.0)) == (0, 0)
    assert limit.take("a", 0.0) > 0


def test_so_many_names_as_one_likes_are_bounded_by_forgetting_the_oldest() -> None:
    limit = RateLimit(1, timedelta(hours=1))
    for number in range(10_001):
        assert limit.take(str(number), 0.0) == 0
    assert limit.take("10000", 1.0) > 0
    assert limit.take("0", 1.0) == 0


@given(st.integers(1, 20), st.integers(1, 20), st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_in_no_second_more_pass_than_limit_and_burst(limit: int, burst: int, gaps: list[float]) -> None:
    rate, now_s, passed = RateLimit(limit, SECOND, burst), 0.0, []
    for gap in gaps:
        now_s += gap / 20
        if rate.take("a", now_s) == 0:
            passed.append(now_s)
    for start in passed:
        assert len([moment for moment in passed if start <= moment < start + 1]) <= limit + burst


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("unix", "unix"),
        (None, ""),
    ],
)
def test_address_is_counted_by_itself_and_of_version_6_by_its_network(remote: str | None, name: str) -> None:
    assert sender(remote) == name
