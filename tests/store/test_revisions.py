"""Numbers that never come twice: what is on disk is always above what was given out."""

from __future__ import annotations

from itertools import islice

from hub.store.revisions import BLOCK, Revisions


def test_the_first_number_needs_a_higher_limit_on_disk_and_the_following_do_not() -> None:
    revisions = Revisions(5)
    assert revisions.exceeds() is None
    assert next(revisions.numbers) > 5 - 1

    limit = revisions.exceeds()
    assert limit is not None
    assert limit > BLOCK
    revisions.kept(limit)
    given = list(islice(revisions.numbers, BLOCK - 1))
    assert revisions.exceeds() is None

    given += islice(revisions.numbers, 9)
    assert given[-1] > limit
    assert (revisions.exceeds() or 0) > given[-1]


def test_a_limit_that_did_not_reach_the_disk_is_asked_for_again() -> None:
    revisions = Revisions(1)
    next(revisions.numbers)

    assert revisions.exceeds()
    assert revisions.exceeds()


def test_a_new_start_begins_above_all_that_was_given_out() -> None:
    revisions = Revisions(1)
    given = list(islice(revisions.numbers, 10))
    limit = revisions.exceeds() or 0

    assert next(Revisions(limit).numbers) > max(given)
