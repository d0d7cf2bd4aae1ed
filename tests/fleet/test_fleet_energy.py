"""Counters that wrap, are set back or lie, and the total that only grows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.energy import Counter, Step, advance

KWH = 3.6e6
BEFORE = Counter(raw_j=1000 * KWH, total_j=5000 * KWH, at_s=0.0, uptime_s=9000.0, since="2024-01-01")


def test_a_total_starts_at_the_counter_of_the_device() -> None:
    assert advance(None, 7.0, 3.0, uptime_s=1.0, since="x") == (Counter(7.0, 7.0, 3.0, 1.0, "x"), Step.FIRST)


@pytest.mark.parametrize(
    ("raw_kwh", "said", "total_kwh", "step"),
    [
        (1000.0, {}, 5000.0, Step.FORWARD),
        (1010.0, {}, 5010.0, Step.FORWARD),
        (1010.0, {"uptime_s": 5.0}, 5010.0, Step.FORWARD),  # a reboot that forgot nothing
        # an hour of 10 kW is 12 kWh at the very most, and one step of a coarse counter
        (1013.0, {"rated_w": 10e3}, 5013.0, Step.FORWARD),
        (1013.1, {"rated_w": 10e3}, 5000.0, Step.IMPLAUSIBLE),
        (1121.0, {}, 5121.0, Step.FORWARD),  # 100 kW where no rating is known
        (1121.1, {}, 5000.0, Step.IMPLAUSIBLE),
        # fell without a known modulus: set back
        (3.0, {}, 5003.0, Step.RESET),
        (999.9, {}, 5000.0, Step.IMPLAUSIBLE),  # a flicker, not 999.9 kWh in an hour
        # fell from right below its modulus
        (5.0, {"wraps_j": 1004 * KWH}, 5009.0, Step.WRAPPED),
        (5.0, {"wraps_j": 1020 * KWH}, 5025.0, Step.WRAPPED),
        (5.0, {"wraps_j": 1021 * KWH}, 5005.0, Step.RESET),  # 1000 is less than 98 % of it
        (5.0, {"wraps_j": 1004 * KWH, "uptime_s": 8999.0}, 5005.0, Step.RESET),
        (5.0, {"wraps_j": 1004 * KWH, "uptime_s": 9001.0}, 5009.0, Step.WRAPPED),
        (5.0, {"wraps_j": 1004 * KWH, "since": "2025-06-01"}, 5005.0, Step.RESET),
        (5.0, {"wraps_j": 1004 * KWH, "since": "2024-01-01"}, 5009.0, Step.WRAPPED),
        # the wrap would be too much, the reset would not
        (11.0, {"wraps_j": 1004 * KWH, "rated_w": 10e3}, 5011.0, Step.RESET),
        (500.0, {"wraps_j": 1004 * KWH}, 5000.0, Step.IMPLAUSIBLE),
    ],
)
def test_one_hour_later(raw_kwh: float, said: dict[str, Any], total_kwh: float, step: Step) -> None:
    after, what = advance(BEFORE, raw_kwh * KWH, 3600.0, **said)
    assert what is step
    assert after.total_j == pytest.approx(total_kwh * KWH)
    assert (after.raw_j, after.at_s) == (raw_kwh * KWH, 3600.0 if raw_kwh != 1000.0 else 0.0)


def test_a_fall_of_the_uptime_at_its_own_wrap_is_no_reboot() -> None:
    old = Counter(raw_j=100 * KWH, total_j=0.0, at_s=0.0, uptime_s=2**32 / 100 - 60.0)
    assert advance(old, 1.0, 3600.0, uptime_s=10.0, wraps_j=100 * KWH)[1] is Step.WRAPPED
    young = Counter(raw_j=100 * KWH, total_j=0.0, at_s=0.0, uptime_s=2**32 / 100 - 3601.0)
    assert advance(young, 1.0, 3600.0, uptime_s=10.0, wraps_j=100 * KWH)[1] is Step.RESET


def test_a_coarse_counter_may_step_a_second_after_it_was_read() -> None:
    assert advance(BEFORE, 1001 * KWH, 1.0, rated_w=3e3)[0].total_j == 5001 * KWH


def test_the_time_of_a_reset_is_kept_while_the_device_does_not_say_it() -> None:
    silent, _ = advance(BEFORE, 1001 * KWH, 3600.0)
    assert silent.since == "2024-01-01"


def test_a_counter_that_moves_every_ten_minutes_may_make_up_for_them() -> None:
    # 22 kW, looked at every 30 s; the energy itself is read with every twentieth look
    counter, told_j = Counter(1e9, 1e9, 0.0), 1e9
    for look in range(1, 121):
        told_j = 1e9 + 22e3 * 30.0 * look if look % 20 == 0 else told_j
        counter, step = advance(counter, told_j, 30.0 * look)
        assert step is Step.FORWARD
    assert counter.total_j == 1e9 + 22e3 * 3600.0


def test_a_counter_that_has_rested_for_days_does_not_make_up_for_them() -> None:
    counter = BEFORE
    for day in range(1, 8):
        counter, _ = advance(counter, BEFORE.raw_j, day * 86400.0)
    # an hour of 120 kW is 120 kWh, half a minute 1 kWh, and a step of a coarse counter one more
    assert advance(counter, 1122 * KWH, 7 * 86400.0 + 30.0)[1] is Step.FORWARD
    assert advance(counter, 1122.1 * KWH, 7 * 86400.0 + 30.0)[1] is Step.IMPLAUSIBLE


def test_a_clock_that_was_set_back_gives_a_counter_no_time() -> None:
    rested, _ = advance(replace(BEFORE, at_s=9e9), BEFORE.raw_j, 100.0)
    assert rested.at_s == 100.0


@given(st.lists(st.tuples(st.floats(0.0, 1e13), st.floats(0.0, 1e4), st.sampled_from([None, 1e12]))))
def test_no_counter_makes_a_total_go_back_or_jump(steps: list[tuple[float, float, float | None]]) -> None:
    counter, now_s, rested_s = BEFORE, 0.0, 0.0
    for raw_j, passed_s, wraps_j in steps:
        now_s += passed_s
        after, _ = advance(counter, raw_j, now_s, wraps_j=wraps_j)
        most_j = 1.2 * 100e3 * (min(rested_s, 3600.0) + passed_s) + 3.6e6 + 1e-2
        assert 0.0 <= after.total_j - counter.total_j <= most_j
        rested_s = rested_s + passed_s if raw_j == counter.raw_j else 0.0
        counter = after
