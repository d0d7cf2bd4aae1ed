"""Presets: by hand on a curve of the trade, and against trying every preset."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.presets import best_preset, cutoff_j_per_th, marginal_j_per_th

NAN = math.nan
HASHRATE_TH = np.array([[92.0, 100.0, 110.0, 118.0, 126.0]])
POWER_W = np.array([[2300.0, 2560.0, 2930.0, 3250.0, 3580.0]])
"""32.5, 37, 40 and 41.25 J/TH a step, while the average stays between 25 and 28.5."""


def test_steps_cost_more_than_the_average() -> None:
    marginal = marginal_j_per_th(HASHRATE_TH * 1e12, POWER_W)
    np.testing.assert_allclose(marginal, [[NAN, 32.5, 37.0, 40.0, 41.25]])


def test_a_preset_above_the_hull_is_no_step() -> None:
    hashrate = np.array([[126.0, 92.0, 110.0, NAN, 92.0, 100.0, 0.0]]) * 1e12  # in any order
    watts = np.array([[3580.0, 2300.0, 3100.0, 100.0, 2400.0, NAN, 50.0]])
    # from 92 to 126: 1280 W for 34 TH/s; 110 TH/s would take 44.4 and then 30
    np.testing.assert_allclose(marginal_j_per_th(hashrate, watts), [[1280 / 34, NAN, NAN, NAN, NAN, NAN, NAN]])


def test_a_preset_that_wins_on_both_sides_is_a_step_down_in_watts() -> None:
    marginal = marginal_j_per_th(np.array([[90e12, 100e12]]), np.array([[3000.0, 2900.0]]))
    np.testing.assert_allclose(marginal, [[NAN, -10.0]])


@pytest.mark.parametrize(
    ("hashprice", "usd_per_kwh", "cutoff"),
    # gross cut-offs of a table made apart from this code
    [(32, 0.04, 33.3), (32, 0.05, 26.7), (32, 0.06, 22.2), (32, 0.07, 19.0), (32, 0.08, 16.7),
     (36.94, 0.04, 38.5), (36.94, 0.05, 30.8), (36.94, 0.06, 25.7), (36.94, 0.07, 22.0), (36.94, 0.08, 19.2)],
)  # fmt: skip
def test_cutoffs_of_a_table_made_apart(hashprice: float, usd_per_kwh: float, cutoff: float) -> None:
    assert float(cutoff_j_per_th(hashprice, usd_per_kwh)) == pytest.approx(cutoff, abs=0.051)


def test_cutoff_of_power_that_costs_nothing_or_is_not_told() -> None:
    np.testing.assert_array_equal(cutoff_j_per_th(32.0, np.array([0.0, -0.01, NAN])), [math.inf, math.inf, NAN])
    assert math.isnan(float(cutoff_j_per_th(NAN, 0.05)))


@pytest.mark.parametrize(
    ("cutoff", "column"), [(math.inf, 4), (41.3, 4), (41.2, 3), (39.0, 2), (33.0, 1), (32.0, 0), (1.0, 0), (NAN, -1)]
)
def test_the_best_preset_is_the_last_step_that_pays(cutoff: float, column: int) -> None:
    assert best_preset(HASHRATE_TH * 1e12, POWER_W, np.array([cutoff])).tolist() == [column]


def test_no_presets_no_advice() -> None:
    nothing = np.full((2, 3), NAN)
    assert best_preset(nothing, nothing, np.array([30.0, 30.0])).tolist() == [-1, -1]
    assert np.isnan(marginal_j_per_th(nothing, nothing)).all()


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.one_of(st.integers(50, 200), st.just(0)), st.integers(1000, 6000)), min_size=5, max_size=5
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(10.0, 100.0),
    st.floats(0.005, 0.2),
)
def test_no_other_preset_earns_more(tables: list[list[tuple[int, int]]], hp: float, usd_per_kwh: float) -> None:
    hashrate, watts = (np.array([[float(point[k]) for point in row] for row in tables]) for k in (0, 1))
    cutoff = np.full(len(tables), float(cutoff_j_per_th(hp, usd_per_kwh, 0.98604, 0.05)))
    chosen = best_preset(hashrate * 1e12, watts, cutoff)
    for row, column in zip(tables, chosen.tolist(), strict=True):
        per_day = [hp / 1000 * th * 0.98604 - 24 * w / 1000 * 1.05 * usd_per_kwh if th else -math.inf for th, w in row]
        if max(per_day) == -math.inf:
            assert column == -1
        else:
            assert per_day[column] == pytest.approx(max(per_day), abs=1e-9)
