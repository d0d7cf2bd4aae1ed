"""In which order a make is asked, and what may share a connection."""

from __future__ import annotations

from collectors.miners.make import Ask, plan_of

SUMMARY = Ask("summary", "summary", joins=True)
POOLS = Ask("pools", "pools", joins=True, is_needed=False)
EXTRA = Ask("extra", "extra", is_needed=False)
NEEDED = Ask("needed", "needed")


def test_what_joins_goes_together_and_of_the_others_the_needed_ones_first() -> None:
    plan = plan_of([POOLS, EXTRA, SUMMARY, NEEDED])
    assert plan.joined == (POOLS, SUMMARY)
    assert plan.alone == (NEEDED, EXTRA)
    assert plan.single == (SUMMARY, NEEDED, POOLS, EXTRA)
    assert plan.names == {"pools", "extra", "summary", "needed"}


def test_one_alone_joins_nothing() -> None:
    """Its answer would not be a joined one, and the machine would pass for one that does not join."""
    plan = plan_of([EXTRA, SUMMARY])
    assert (plan.joined, plan.alone) == ((), (SUMMARY, EXTRA))
