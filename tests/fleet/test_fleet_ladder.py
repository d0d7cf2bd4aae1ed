"""The ladder against a table made apart from this code, a scalar walk over the machines, and what must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.ladder import (
    BTC_LEVELS_USD,
    POWER_LEVELS_USD_KWH,
    Level,
    at_own_prices,
    climb,
    cutoff_j_per_th,
    freed_by_group,
    freed_w,
    levels_of,
    under_by_group,
)
from fleet.site import EconomicTerms

NAN = math.nan
TERMS = EconomicTerms(pool_fee=0.01, reject=0.004, overhead=0.05)
REWARD_BTC = 3.15

# BTC price -> hashprice and cut-off J/TH at 40, 50, 60 and 70 USD/MWh, at two difficulties
TABLE = {
    92_000.0: (41.15, (40.3, 32.2, 26.8, 23.0), 46.32, (45.3, 36.2, 30.2, 25.9)),
    88_000.0: (39.36, (38.5, 30.8, 25.7, 22.0), 44.30, (43.3, 34.7, 28.9, 24.8)),
    87_000.0: (38.91, (38.1, 30.5, 25.4, 21.8), 43.80, (42.8, 34.3, 28.6, 24.5)),
    74_000.0: (33.10, (32.4, 25.9, 21.6, 18.5), 37.26, (36.4, 29.2, 24.3, 20.8)),
    72_000.0: (32.21, (31.5, 25.2, 21.0, 18.0), 36.25, (35.5, 28.4, 23.6, 20.3)),
    70_600.0: (31.58, (30.9, 24.7, 20.6, 17.7), 35.54, (34.8, 27.8, 23.2, 19.9)),
    66_900.0: (29.92, (29.3, 23.4, 19.5, 16.7), 33.68, (32.9, 26.4, 22.0, 18.8)),
    62_600.0: (28.00, (27.4, 21.9, 18.3, 15.7), 31.52, (30.8, 24.7, 20.6, 17.6)),
    60_000.0: (26.84, (26.3, 21.0, 17.5, 15.0), 30.21, (29.5, 23.6, 19.7, 16.9)),
    50_000.0: (22.36, (21.9, 17.5, 14.6, 12.5), 25.17, (24.6, 19.7, 16.4, 14.1)),
}


def test_the_usual_levels_are_those_of_the_table() -> None:
    assert tuple(TABLE) == BTC_LEVELS_USD
    assert POWER_LEVELS_USD_KWH == (0.04, 0.05, 0.06, 0.07)


@pytest.mark.parametrize(("difficulty", "column"), [(141.668e12, 0), (125.864e12, 2)])
def test_hashprice_and_cutoff_are_those_of_the_table(difficulty: float, column: int) -> None:
    levels = levels_of(TABLE, (), difficulty, REWARD_BTC)
    assert [level.btc_usd for level in levels] == list(TABLE)
    hashprices = np.array([level.hashprice_usd_ph_day for level in levels])
    assert hashprices == pytest.approx([row[column] for row in TABLE.values()], abs=0.0051)
    cutoff = cutoff_j_per_th(hashprices, np.array(POWER_LEVELS_USD_KWH), TERMS)
    assert cutoff == pytest.approx(np.array([row[column + 1] for row in TABLE.values()]), abs=0.051)


def test_at_42_usd_per_mwh_and_32_usd_per_ph_day_a_machine_of_29_5_j_per_th_loses() -> None:
    ladder = climb(np.array([100e12]), np.array([2950.0]), np.array([30.0]), [32.0], [0.042], EconomicTerms(0, 0, 0))
    # before fee and overhead: 3.20 earned, 2.95 * 24 * 0.042 = 2.9736 paid; net of them: 3.1553 and 3.1223
    assert ladder.under[0, 0] == 0
    assert ladder.margin_usd_day[0, 0] == pytest.approx(3.20 - 2.9736)
    # 0.99 * 0.996 * 3.20 = 3.155328 earned, 1.05 * 2.9736 = 3.12228 paid at 0.042; a tenth of a cent more sinks it
    net = climb(np.array([100e12]), np.array([2950.0]), np.array([30.0]), [32.0], [0.042, 0.043], TERMS)
    assert net.under.tolist() == [[0, 1]]
    assert net.margin_usd_day[0].tolist() == pytest.approx([3.155328 - 3.12228, 0.0])
    assert net.loss_usd_day[0].tolist() == pytest.approx([0.0, 2.95 * 24 * 0.043 * 1.05 - 3.155328])
    assert net.freed_w.tolist() == [[0.0, 2920.0]]


def test_levels_stand_in_order_and_show_the_bitcoin_price_behind_them() -> None:
    # by hand: 2.0116567611694e10 / 141.668e12 * 3.15 = 4.472936e-4 BTC/PH/day
    levels = levels_of([70_600.0, 60_000.0], [32.0], 141.668e12, 3.15, now_usd_ph_day=28.0)
    assert [round(level.hashprice_usd_ph_day, 2) for level in levels] == [32.0, 31.58, 28.0, 26.84]
    assert [round(level.btc_usd) for level in levels] == [71_541, 70_600, 62_599, 60_000]
    assert [level.is_now for level in levels] == [False, False, True, False]


def test_without_a_difficulty_only_hashprices_are_levels() -> None:
    levels = levels_of([70_600.0], [30.0, 32.0])
    assert [level.hashprice_usd_ph_day for level in levels] == [32.0, 30.0]
    assert all(math.isnan(level.btc_usd) for level in levels)
    assert not Level(32.0).is_now


def test_what_is_not_known_is_counted_and_never_zero() -> None:
    hashrate, power = np.array([NAN, 200e12, 100e12, 140e12]), np.array([3000.0, NAN, 2950.0, 3010.0])
    ladder = climb(hashrate, power, np.full(4, 30.0), [1e-6, 1e6], [0.05], TERMS)
    assert ladder.unpriced == 2
    assert ladder.order.tolist() == [3, 2]
    assert ladder.efficiency_j_per_th.tolist() == pytest.approx([21.5, 29.5])
    assert ladder.under.tolist() == [[2], [0]]
    assert ladder.freed_w.tolist() == [[pytest.approx(2950 + 3010 - 60)], [0.0]]


def test_nobody_is_under_water_where_power_is_free_and_who_only_draws_is_wherever_it_costs() -> None:
    hashrate, power = np.array([0.0, 0.0, 100e12]), np.array([3000.0, 0.0, 2950.0])
    ladder = climb(hashrate, power, np.zeros(3), [1000.0], [-0.01, 0.0, 1e-6], TERMS)
    assert ladder.under.tolist() == [[0, 0, 1]]
    assert ladder.order.tolist() == [1, 2, 0]
    assert ladder.cutoff_j_per_th[0, :2].tolist() == [math.inf, math.inf]


def test_a_fleet_of_nobody_has_a_ladder() -> None:
    nothing = np.empty(0)
    ladder = climb(nothing, nothing, nothing, [30.0], [0.05], TERMS)
    assert ladder.under.tolist() == [[0]]
    assert ladder.margin_usd_day.tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("hashprices", "prices"),
    [([NAN], [0.05]), ([30.0], [NAN]), ([0.0], [0.05]), ([-3.0], [0.05]), ([30.0], [math.inf])],
)
def test_a_level_that_is_no_price_is_refused(hashprices: list[float], prices: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        climb(np.array([1e14]), np.array([3e3]), np.zeros(1), hashprices, prices, TERMS)


MACHINES = st.lists(
    st.tuples(
        st.one_of(st.just(NAN), st.floats(1e12, 1e15)), st.one_of(st.just(NAN), st.floats(10.0, 1e4)), st.integers(0, 2)
    ),
    max_size=30,
)
HASHPRICES = st.lists(st.floats(1.0, 500.0), min_size=1, max_size=5)
PRICES = st.lists(st.floats(-0.05, 1.0), min_size=1, max_size=5)


@given(MACHINES, HASHPRICES, PRICES)
def test_it_says_what_a_walk_over_the_machines_says(
    machines: list[tuple[float, float, int]], hashprices: list[float], prices: list[float]
) -> None:
    hashrate, power = np.array([m[0] for m in machines]), np.array([m[1] for m in machines])
    group = np.array([m[2] for m in machines], np.int64)
    ladder = climb(hashrate, power, np.full(len(machines), 5.0), hashprices, prices, TERMS)
    by_group = under_by_group(ladder, group, 3)
    assert (by_group.sum(axis=0) == ladder.under).all()
    freed = freed_by_group(ladder, group, 3, freed_w(power, np.full(len(machines), 5.0)))
    assert freed.sum(axis=0) == pytest.approx(ladder.freed_w, abs=1e-6)
    for h, hashprice in enumerate(hashprices):
        for p, price in enumerate(prices):
            margins = [
                (hs / 1e15 * hashprice * 0.99 * 0.996 - w / 1000 * 24 * 1.05 * price, w, g) for hs, w, g in machines
            ]
            known = [m for m in margins if not math.isnan(m[0])]
            lost = [m for m in known if m[0] < 0]
            scale = 1e-9 * (
                1 + sum(hs / 1e15 * hashprice + w * abs(price) for hs, w, _ in machines if hs > 0 and w > 0)
            )
            assert ladder.unpriced == len(margins) - len(known)
            assert ladder.margin_usd_day[h, p] == pytest.approx(sum(m[0] for m in known if m[0] >= 0), abs=scale)
            assert ladder.loss_usd_day[h, p] == pytest.approx(-sum(m[0] for m in lost), abs=scale)
            if all(abs(m[0]) > scale for m in known):
                assert ladder.under[h, p] == len(lost)
                assert ladder.freed_w[h, p] == pytest.approx(sum(m[1] - 5.0 for m in lost), abs=1e-6)
                for g in range(3):
                    mine = [m for m in lost if m[2] == g]
                    assert by_group[g, h, p] == len(mine)
                    assert freed[g, h, p] == pytest.approx(sum(m[1] - 5.0 for m in mine), abs=1e-6)


@given(MACHINES, HASHPRICES, PRICES)
def test_a_lower_hashprice_or_dearer_power_sinks_no_fewer(
    machines: list[tuple[float, float, int]], hashprices: list[float], prices: list[float]
) -> None:
    hashrate, power = np.array([m[0] for m in machines]), np.array([m[1] for m in machines])
    ladder = climb(hashrate, power, np.zeros(len(machines)), sorted(hashprices), sorted(prices), TERMS)
    for falls_with_hashprice in (ladder.under, ladder.freed_w):
        assert (np.diff(falls_with_hashprice, axis=0) <= 0).all()
        assert (np.diff(falls_with_hashprice, axis=1) >= 0).all()
    scale = 1e-9 * (1.0 + np.abs(ladder.margin_usd_day).max())
    assert (np.diff(ladder.margin_usd_day, axis=0) >= -scale).all()
    assert (np.diff(ladder.margin_usd_day, axis=1) <= scale).all()


def test_a_machine_of_no_feeder_is_in_none() -> None:
    hashrate, power = np.full(3, 100e12), np.array([3000.0, 3100.0, 3200.0])
    ladder = climb(hashrate, power, np.zeros(3), [20.0], [0.05], TERMS)
    assert ladder.under.tolist() == [[3]]
    assert freed_by_group(ladder, np.array([1, -1, 0]), 2, power).tolist() == [[[3200.0]], [[3000.0]]]


def test_today_each_machine_pays_its_own_price() -> None:
    # by hand: 0.1 PH/s * 30 * 0.98604 = 2.95812 a day earned by each; 3 kW * 24 * 1.05 = 75.6 kWh
    hashrate, power = np.array([100e12, 100e12, 100e12, NAN, 100e12]), np.array([3000.0] * 4 + [20.0])
    own = np.array([0.03, 0.05, NAN, 0.03, 10.0])
    today = at_own_prices(hashrate, power, np.full(5, 30.0), 30.0, own, TERMS)
    assert today.is_under.tolist() == [False, True, False, False, True]
    assert today.unpriced == 2
    assert today.freed_w.tolist() == [0.0, 2970.0, 0.0, 0.0, 0.0]
    assert today.margin_usd_day == pytest.approx(2.95812 - 75.6 * 0.03)
    assert today.loss_usd_day == pytest.approx(75.6 * 0.05 - 2.95812 + 0.504 * 10.0 - 2.95812)
    nobody = at_own_prices(hashrate[:1], power[:1], np.zeros(1), 30.0, own[:1], TERMS)
    assert str(nobody.loss_usd_day) == "0.0"


@given(MACHINES, st.floats(1.0, 500.0), st.floats(-0.05, 1.0))
def test_at_one_price_for_all_today_is_a_rung(
    machines: list[tuple[float, float, int]], hashprice: float, price: float
) -> None:
    hashrate, power = np.array([m[0] for m in machines]), np.array([m[1] for m in machines])
    standby = np.full(len(machines), 5.0)
    ladder = climb(hashrate, power, standby, [hashprice], [price], TERMS)
    today = at_own_prices(hashrate, power, standby, hashprice, np.full(len(machines), price), TERMS)
    worth = np.nan_to_num(hashrate) / 1e15 * hashprice + np.nan_to_num(power) * abs(price)
    scale = 1e-9 * (1.0 + float(worth.sum()))
    assert today.unpriced == ladder.unpriced
    assert today.margin_usd_day == pytest.approx(ladder.margin_usd_day[0, 0], abs=scale)
    assert today.loss_usd_day == pytest.approx(ladder.loss_usd_day[0, 0], abs=scale)
    if not np.isclose(ladder.efficiency_j_per_th, ladder.cutoff_j_per_th[0, 0], rtol=1e-9).any():
        assert today.is_under.sum() == ladder.under[0, 0]
        assert today.freed_w.sum() == pytest.approx(ladder.freed_w[0, 0], abs=1e-6)
