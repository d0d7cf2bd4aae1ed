"""Counters that start again, and machines whose pool knows less work than they claim.

At 100 TH/s a share of difficulty 65536 takes 65536 * 2**32 / 1e14 = 2.8147 s on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.snapshot import WORK_SLOTS, Observations
from fleet.work import MAX_STEP_S, count_work

NAN = math.nan
T0_S = 1_800_000_000.0
DIFFICULTY = 65_536.0
SHARE_S = 2.8147497671
CLAIMED_HS = 1e14


class Story:
    """One machine that claims 100 TH/s and is looked at every 30 s."""

    def __init__(self) -> None:
        self.observed = Observations.empty(1)
        self.at_s = T0_S

    def says(self, *counters: float, after_s: float = 30.0, hashrate_hs: float = CLAIMED_HS) -> list[float]:
        """One reading with `counters` in the order of WORK_SLOTS; what the totals are then."""
        self.at_s += after_s
        self.observed.seen_s[0] = self.at_s
        self.observed.hashrate_hs[0] = hashrate_hs
        self.observed.work_said[0] = [*counters, *[NAN] * (len(WORK_SLOTS) - len(counters))]
        count_work(self.observed)
        return self.observed.work_total[0].tolist()

    def shares(self, count: float, difficulty: float = DIFFICULTY, **more: float) -> None:
        self.says(count, NAN, NAN, count * difficulty, **more)

    def works(self, looks: int, share_s: float, difficulty: float = DIFFICULTY, start: float = 1000.0) -> None:
        for look in range(looks):
            self.shares(start + look * 30.0 / share_s, difficulty)

    @property
    def ratio(self) -> float:
        return float(self.observed.work_ratio[0])

    @property
    def is_suspect(self) -> bool:
        return bool(self.observed.is_work_suspect[0])


@pytest.mark.parametrize(
    ("said", "totals"),
    [
        ([1000, 1010, 1010, 1025], [0, 10, 10, 25]),
        ([1000, 1010, 5, 9], [0, 10, 10, 14]),  # restarted: the first value of a session is no step
        ([1000, 990, 995], [0, 0, 5]),  # a pool was taken out of the sum
        ([1000, NAN, 1007], [0, 0, 7]),  # not said once
        ([NAN, NAN, 3, 4], [NAN, NAN, 0, 1]),
        ([0, 7], [0, 7]),
    ],
)
def test_a_counter_only_grows(said: Sequence[float], totals: Sequence[float]) -> None:
    story = Story()
    np.testing.assert_array_equal([story.says(value)[0] for value in said], totals)


def test_every_counter_goes_by_itself() -> None:
    story = Story()
    story.says(100, 10, 1, 1e9, 1e5)
    np.testing.assert_array_equal(story.says(110, 2, NAN, 1.5e9, 1e5), [10, 0, 0, 5e8, 0])


@given(st.lists(st.one_of(st.just(NAN), st.floats(0, 1e15)), max_size=30))
def test_no_total_ever_falls_or_grows_by_more_than_was_said(said: list[float]) -> None:
    story, before = Story(), 0.0
    for value in said:
        total = story.says(value)[0]
        assert math.isnan(total) or before <= total <= before + value * (1 + 1e-12) or math.isnan(value)
        before = 0.0 if math.isnan(total) else total


def test_a_look_that_is_taken_twice_counts_once() -> None:
    story = Story()
    story.says(100)
    story.says(110)
    count_work(story.observed)
    assert story.observed.work_total[0, 0] == 10


@pytest.mark.parametrize(
    ("share_s", "ratio", "is_suspect"),
    [
        (SHARE_S, 1.0, False),
        (SHARE_S / 0.925, 0.925, False),  # a firmware whose fee is not counted
        (SHARE_S / 0.72, 0.72, False),
        (SHARE_S / 0.65, 0.65, True),
        (SHARE_S / 1.35, 1.35, True),
        (SHARE_S * 7.9, 1 / 7.9, True),  # a documentation example that was off by this
    ],
)
def test_accepted_work_stands_beside_the_claim(share_s: float, ratio: float, is_suspect: bool) -> None:
    story = Story()
    story.works(150, share_s)
    assert story.ratio == pytest.approx(ratio, rel=0.001)
    assert story.is_suspect is is_suspect


def test_nothing_is_said_before_enough_shares_have_come() -> None:
    story = Story()
    story.works(11, SHARE_S)  # 106 shares: an error of almost 10 %
    assert math.isnan(story.ratio)
    story.works(4, SHARE_S, start=1000 + 11 * 30 / SHARE_S)
    assert story.ratio == pytest.approx(1.0, rel=0.01)


def test_a_display_that_is_frozen_is_found_out_though_no_share_ends_the_window() -> None:
    story = Story()
    story.shares(50_000)
    # 120 shares were due after 6 minutes; silence is believed after ten times that, 56.3 minutes
    for _ in range(112):
        story.shares(50_000)
    assert math.isnan(story.ratio)
    story.shares(50_000)
    assert (story.ratio, story.is_suspect) == (0.0, True)


def test_a_pool_that_makes_shares_rarer_accuses_nobody() -> None:
    story = Story()
    story.shares(50_000)
    done = 50_000 * DIFFICULTY
    for look in range(1, 150):  # eight times the difficulty, an eighth of the shares
        story.says(50_000 + look * 30 / SHARE_S / 8, NAN, NAN, done + look * 30 / SHARE_S * DIFFICULTY)
    assert story.ratio == pytest.approx(1.0, rel=0.001)
    assert not story.is_suspect


def test_good_work_clears_the_name() -> None:
    story = Story()
    story.works(60, SHARE_S * 3)
    assert story.is_suspect
    story.works(60, SHARE_S, start=2000.0)
    assert not story.is_suspect


@pytest.mark.parametrize(
    "gap",
    [
        {"after_s": MAX_STEP_S + 1},  # nobody looked
        {"hashrate_hs": NAN},
        {"hashrate_hs": 0.0},
    ],
)
def test_time_in_which_nothing_was_claimed_proves_nothing(gap: dict[str, float]) -> None:
    story = Story()
    story.works(5, SHARE_S)
    story.shares(5_000, **gap)  # thousands of shares at once
    story.works(30, SHARE_S, start=5_000.0)
    assert story.ratio == pytest.approx(1.0, rel=0.05)


def test_a_machine_without_a_share_since_its_start_is_not_judged() -> None:
    story = Story()
    for _ in range(500):
        story.shares(0)
    assert math.isnan(story.ratio)
