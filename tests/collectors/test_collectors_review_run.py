"""Which reading can be of the run that the one before was of. By hand: a run began at an instant, and that stays."""

from __future__ import annotations

import pytest

from collectors.miners.run import Run
from fleet.readings import MinerReading


def reading(uptime_s: float | None, accepted: float | None = None, hashrate_hs: float | None = 1e14) -> MinerReading:
    return MinerReading("x", "X", uptime_s=uptime_s, shares_accepted=accepted, hashrate_hs=hashrate_hs)


def goes_on(*looks: tuple[float, MinerReading]) -> bool:
    """Whether the last of these looks, each at its instant, can be of the run of the others."""
    run = Run()
    for now, seen in looks[:-1]:
        run.note(seen, now)
    now, seen = looks[-1]
    return run.goes_on(seen, now)


@pytest.mark.parametrize(
    ("before_s", "after_s", "passed_s", "is_same"),
    [
        (7201, 7231, 30, True),
        (7201, 7241, 30, True),  # told 10 s later than we looked at the clock
        (7201, 7242, 30, False),  # another machine, older
        (7201, 7221, 30, True),
        (7201, 7220, 30, False),  # another one, younger
        (7201, 7200, 30, False),
        (11, 21, 60, False),  # started again in between
        (7201, 7201, 3600, True),  # rests, or was kept
        (7200, 7260, 119, True),  # told in minutes: 7200 was anything up to 7259
        (7200, 7260, 131, False),
        (7200, 7380, 60, False),  # in minutes, too, and two too many
        (7200, 7381, 60, False),
        (None, 30, 30, True),  # who says nothing contradicts nothing
        (30, None, 30, True),
    ],
)
def test_an_uptime_goes_on_with_the_time(
    before_s: float | None, after_s: float | None, passed_s: float, is_same: bool
) -> None:
    assert goes_on((1000.0, reading(before_s)), (1000.0 + passed_s, reading(after_s))) is is_same


def test_an_uptime_that_was_kept_for_a_while_goes_on_where_it_was_read() -> None:
    assert goes_on((1000.0, reading(7201)), (1300.0, reading(7201)), (1330.0, reading(7531)))


@pytest.mark.parametrize(
    ("before", "after", "is_same"), [(5.0, 6.0, True), (5.0, 5.0, True), (5.0, 4.0, False), (None, 1.0, True)]
)
def test_accepted_work_does_not_shrink(before: float | None, after: float, is_same: bool) -> None:
    assert goes_on((0.0, reading(None, before)), (30.0, reading(None, after))) is is_same


@pytest.mark.parametrize(("before", "after"), [(1e14, 0.0), (0.0, 1e14), (1e14, None)])
def test_who_stops_or_begins_to_hash_is_not_as_before(before: float | None, after: float | None) -> None:
    assert not goes_on((0.0, reading(60, hashrate_hs=before)), (30.0, reading(90, hashrate_hs=after)))
