"""The judgement of a cluster finds what it is there to find."""

from __future__ import annotations

from collections.abc import Sequence

from .cluster_judge import Places, Witness
from .cluster_limits import overdrafts
from .cluster_project import LIMITS, PERIOD_S

ONE = ("plain", "i-1", "one")
COMMITTED = [f"start n1.1 {' '.join(ONE)} 1 n1.1/1", f"settled n1.1 {' '.join(ONE)} n1.1/1"]


def read(lines: Sequence[str], looks: dict[str, dict[tuple[str, str, str], int]] | None = None) -> Witness:
    witness = Witness(looks=looks or {})
    witness.read([line.split() for line in lines])
    witness.close()
    return witness


def start(life: str, attempt: int, run: str) -> str:
    return f"start {life} {' '.join(ONE)} {attempt} {life}/{run}"


def test_a_run_that_another_node_repeats_after_a_death_is_no_fault() -> None:
    witness = read([start("n1.1", 1, "1"), "killed n1.1", start("n2.1", 1, "1"), f"settled n2.1 {' '.join(ONE)} n2.1/1"])
    assert (witness.faults, witness.repeats, witness.moved) == ([], 1, 1)
    assert witness.run_of(ONE) == ("n2.1/1", 1)


def test_a_committed_body_that_starts_again_is_a_fault() -> None:
    assert len(read([*COMMITTED, start("n2.1", 1, "1")]).faults) == 1


def test_a_committed_body_that_starts_again_is_a_fault_also_when_only_the_database_tells_of_the_commit() -> None:
    lines = [start("n1.1", 1, "1"), "killed n1.1", "looked 1", start("n2.1", 1, "1")]
    assert read(lines, {"1": {}}).faults == []
    assert len(read(lines, {"1": {ONE: 1}}).faults) == 1


def test_an_attempt_that_starts_after_a_later_one_is_a_fault() -> None:
    assert len(read([start("n1.1", 2, "1"), start("n2.1", 1, "1")]).faults) == 1


def test_one_body_that_a_freeze_has_caught_is_counted_and_a_second_one_is_a_fault() -> None:
    frozen = ["frozen n2.1", *COMMITTED, "thawed n2.1", start("n2.1", 1, "1")]
    assert (read(frozen).faults, read(frozen).caught) == ([], 1)
    assert len(read([*frozen, start("n2.1", 1, "2")]).faults) == 1


def test_two_results_of_a_body_are_a_fault() -> None:
    begun = [start("n1.1", 1, "1"), "frozen n1.1", start("n2.1", 1, "1"), f"settled n2.1 {' '.join(ONE)} n2.1/1", "thawed n1.1"]
    assert (read(begun).faults, read(begun).refused) == ([], 1)
    assert len(read([*begun, f"settled n1.1 {' '.join(ONE)} n1.1/1"]).faults) == 1


def places(*lines: str) -> Places:
    found = Places()
    found.read([line.split() for line in lines])
    return found


def test_more_limited_instances_at_once_than_the_limits_allow_are_a_fault() -> None:
    of_one_key = [f"enter n{n}.1 k1 i-{n}:first" for n in range(LIMITS["key"] + 1)]
    assert places(*of_one_key[1:]).faults == []
    assert len(places(*of_one_key).faults) == 1
    assert places(*of_one_key[:1], "leave n0.1 k1 i-0:first", *of_one_key[1:]).faults == []
    assert places(*of_one_key[:1], "killed n0.1", *of_one_key[1:]).faults == []
    of_all = [f"enter n1.1 k{n} i-{n}:first" for n in range(LIMITS["all"] + 1)]
    assert len(places(*of_all).faults) == 1


def test_starts_that_are_faster_than_the_throttle_are_a_fault() -> None:
    assert overdrafts([number * PERIOD_S for number in range(100)]) == []
    assert overdrafts([0.0, 5.0, 5.0, *(5 + number * PERIOD_S for number in range(1, 50))]) == []
    assert len(overdrafts([number * PERIOD_S * 0.9 for number in range(60)])) == 1
