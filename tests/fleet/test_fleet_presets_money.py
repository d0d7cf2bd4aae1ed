"""What presets are worth at one instant: by hand on a curve of the trade, and against a walk over every preset."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cycles import AT_S, QUOTES, make_economics, make_snapshot, small_cycle
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.curtailment import Memory
from fleet.cycle import think
from fleet.market import InputState, Market
from fleet.presets import NO_MONEY, NO_PRESETS, VALID_FOR_S, PresetColumns, PresetMoney, tabulate, weigh
from fleet.readings import Preset, Reason
from fleet.signals import Signals
from fleet.site import Machine, Site
from fleet.tariff import PowerPrice

NAN = math.nan
HASHPRICE = 32.0
S19 = ((92, 2300), (100, 2600), (110, 3000), (118, 3336), (126, 3680))
"""TH/s and W of an S19-class machine: 25 to 29.2 J/TH on average, 37.5, 40, 42 and 43 J/TH a step."""

NET = 0.99 * 0.996 / 1.05
"""What fee, rejects and overhead of the default terms leave of a breakeven."""


def listed(points: Any, is_tuned: bool | None = True, **others: bool | None) -> tuple[Preset, ...]:
    """A list by TH/s and W, each named by its watts; `others` are tuned otherwise (`w3680=False`)."""
    return tuple(Preset(str(watts), th * 1e12, float(watts), others.get(f"w{watts}", is_tuned)) for th, watts in points)


def weighed(
    lists: list[tuple[Preset, ...]],
    usd_per_kwh: float = 0.04,
    in_force: int | list[int] = -1,
    hashprice: float = HASHPRICE,
    told_s: float = AT_S - 60,
    snapshot: dict[str, Any] | None = None,
    economics: dict[str, Any] | None = None,
) -> PresetMoney:
    """One machine per list, behind one that lists none."""
    n = len(lists)
    ids = tuple(f"m{row}" for row in range(n + 1))
    columns = PresetColumns(
        tabulate(lists),
        rows=np.arange(1, n + 1),
        line=np.arange(n),
        in_force=np.array([in_force] * n if isinstance(in_force, int) else in_force),
        told_s=np.full(n, told_s),
    )
    return weigh(
        columns,
        Site("north", tuple(Machine(id=id) for id in ids)),
        make_snapshot(ids, **(snapshot or {})),
        make_economics(n + 1, **(economics or {})),
        hashprice,
        (PowerPrice("", usd_per_kwh, "flat", InputState.FRESH),),
    )


def best(money: PresetMoney) -> list[str | None]:
    lists = money.columns.lists.lists
    return [
        lists[line][preset].name if preset >= 0 else None
        for line, preset in zip(money.columns.line.tolist(), money.best.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("usd_per_mwh", "watts"),
    # net breakevens of the steps: 32 / 24 / J/TH * NET = 29.12, 29.81, 31.30, 33.39 USD/MWh; of the whole 42.9
    [(29.0, "3680"), (29.2, "3336"), (30.0, "3000"), (32.0, "2600"), (33.5, "2300"), (42.0, "2300")],
)
def test_the_last_steps_cease_to_pay_long_before_the_machine_does(usd_per_mwh: float, watts: str) -> None:
    assert best(weighed([listed(S19)], usd_per_mwh / 1000)) == [watts]
    for joules, dollars in ((43.0, 29.12), (42.0, 29.81), (40.0, 31.30), (37.5, 33.39)):
        assert HASHPRICE / 24 / joules * NET * 1000 == pytest.approx(dollars, abs=0.01)


def test_gain_and_last_step_by_hand() -> None:
    """At 40 USD/MWh from 126 TH/s at 3680 W to 92 at 2300: 34 TH/s of revenue less, 1380 W of cost less."""
    money = weighed([listed(S19)], 0.040, in_force=4)
    lost = HASHPRICE / 24 * 0.034 * 0.99 * 0.996
    saved = 1.380 * 1.05 * 0.040
    assert best(money) == ["2300"]
    assert money.gain_usd_h.tolist() == pytest.approx([saved - lost])
    assert saved - lost == pytest.approx(0.01326, abs=5e-6)
    assert money.marginal_j_per_th.tolist() == pytest.approx([43.0])
    assert money.cutoff_j_per_th.tolist() == pytest.approx([HASHPRICE * 0.99 * 0.996 / (24 * 0.040 * 1.05)])
    assert (money.best_hashrate_hs.tolist(), money.best_power_w.tolist()) == ([92e12], [2300.0])
    assert not money.is_calibrated.any()


def test_on_the_best_there_is_nothing_to_gain() -> None:
    money = weighed([listed(S19)], 0.040, in_force=0)
    assert (best(money), money.gain_usd_h.tolist()) == (["2300"], [0.0])
    assert math.isnan(money.marginal_j_per_th[0])  # there is no step below the lowest


def test_the_firmwares_watts_are_calibrated_by_the_machines_meter() -> None:
    """A machine that draws a tenth more than it says: its last step is 47.3 J/TH, and 28 USD/MWh too much for it."""
    ratio = {"calibration_ratio": [NAN, 1.1]}
    money = weighed([listed(S19)], 0.028, in_force=4, snapshot=ratio)
    assert money.is_calibrated.tolist() == [True]
    assert money.marginal_j_per_th.tolist() == pytest.approx([47.3])
    assert best(weighed([listed(S19)], 0.028)) == ["3680"]
    assert best(money) == ["3000"]  # 44 J/TH breaks even at 28.46, 46.2 at 27.10
    assert money.best_power_w.tolist() == pytest.approx([3300.0])
    assert money.gain_usd_h.tolist() == pytest.approx([0.748 * 1.05 * 0.028 - HASHPRICE / 24 * 0.016 * 0.99 * 0.996])


def test_a_preset_that_is_not_tuned_is_not_offered() -> None:
    assert best(weighed([listed(S19, w3680=False)], 0.02)) == ["3336"]
    assert best(weighed([listed(S19, is_tuned=None)], 0.02)) == ["3680"]  # the firmware knows no tuning
    nothing = weighed([listed(S19, is_tuned=False)], 0.02)
    assert best(nothing) == [None]
    assert np.isnan(nothing.best_power_w).all()


def test_who_runs_on_a_preset_that_is_not_tuned_stays_unless_a_tuned_one_earns_more() -> None:
    dear, cheap = 0.06, 0.02
    one_tuned = listed(S19, is_tuned=False, w2300=True)
    stays, leaves = weighed([one_tuned], cheap, in_force=4), weighed([one_tuned], dear, in_force=4)
    assert (best(stays), stays.gain_usd_h.tolist()) == (["3680"], [0.0])
    assert best(leaves) == ["2300"]
    assert leaves.gain_usd_h[0] > 0.0
    assert np.isnan(stays.marginal_j_per_th).all()  # no step of those that may be used leads there


def test_power_that_costs_nothing_wants_the_highest() -> None:
    for usd_per_kwh in (0.0, -0.01):
        money = weighed([listed(S19)], usd_per_kwh, in_force=0)
        assert best(money) == ["3680"]
        assert math.isinf(money.cutoff_j_per_th[0])


@pytest.mark.parametrize(
    "missing",
    [
        {"economics": {"reason": [0, Reason.WRONG_POOL]}},
        {"told_s": AT_S - VALID_FOR_S - 1},
        {"hashprice": NAN},
        {"usd_per_kwh": NAN},
    ],
    ids=["unpriced", "too old", "no hashprice", "no price"],
)
def test_what_is_not_known_is_missing_and_never_zero(missing: dict[str, Any]) -> None:
    money = weighed([listed(S19)], **({"in_force": 4} | missing))
    assert best(money) == [None]
    assert np.isnan([money.best_power_w, money.best_hashrate_hs, money.gain_usd_h]).all()


def test_without_the_one_in_force_there_is_a_best_but_no_gain() -> None:
    money = weighed([listed(S19)])
    assert best(money) == ["2300"]
    assert np.isnan([money.gain_usd_h, money.marginal_j_per_th]).all()


def test_lists_of_different_lengths_stand_in_one_table() -> None:
    money = weighed([listed(S19), listed(S19[:1]), listed(S19[1:3])], 0.030, in_force=[4, 0, 1])
    assert best(money) == ["3000", "2300", "3000"]
    np.testing.assert_allclose(money.marginal_j_per_th, [43.0, NAN, 40.0])


def test_a_fleet_without_presets_costs_nothing() -> None:
    assert weigh(NO_PRESETS, None, None, None, NAN, ()) is NO_MONEY  # type: ignore[arg-type]
    assert tabulate([]).lists == ()


points = st.tuples(st.integers(40, 200), st.integers(800, 6000), st.sampled_from([True, False, None]))


@settings(deadline=None)
@given(
    st.lists(st.lists(points, min_size=1, max_size=6, unique_by=lambda point: point[:2]), min_size=1, max_size=4),
    st.floats(5.0, 100.0),
    st.floats(0.005, 0.2),
    st.floats(0.8, 1.25) | st.just(NAN),
    st.integers(0, 5),
)
def test_no_other_that_may_be_used_earns_more(
    told: list[list[tuple[int, int, bool | None]]], hashprice: float, price: float, ratio: float, place: int
) -> None:
    lists = [tuple(Preset(None, th * 1e12, float(w), tuned) for th, w, tuned in points) for points in told]
    in_force = [place % len(presets) for presets in lists]
    ratios = {"calibration_ratio": [NAN] + [ratio] * len(lists)}
    money = weighed(lists, price, in_force, hashprice, snapshot=ratios)
    watts = 1.0 if math.isnan(ratio) else ratio
    for row, presets in enumerate(lists):
        earns = [
            hashprice / 24 * preset.hashrate_hs / 1e15 * 0.99 * 0.996 - preset.power_w * watts / 1000 * 1.05 * price
            for preset in presets
        ]
        may = [place for place, preset in enumerate(presets) if preset.is_tuned is not False]
        if not may:
            assert (money.best[row], math.isnan(money.gain_usd_h[row])) == (-1, True)
            continue
        most = max(earns[place] for place in {*may, in_force[row]})
        assert earns[money.best[row]] == pytest.approx(most, abs=1e-12)
        assert money.gain_usd_h[row] == pytest.approx(most - earns[in_force[row]], abs=1e-12)


def test_nothing_of_it_is_in_a_decision() -> None:
    """The same machines with and without presets: `think` gives the same advice."""
    cycle = small_cycle()
    first = np.array([0])
    columns = PresetColumns(tabulate([listed(S19)]), rows=first, line=first, in_force=first, told_s=np.array([AT_S]))
    known = Market(tuple(quote for quotes in QUOTES.values() for quote in quotes))
    given = (cycle.site, cycle.snapshot, known, Signals(), cycle.policy, Memory(), AT_S)
    told, untold = think(*given, presets=columns), think(*given)
    assert (told.presets.columns, told.presets.best.tolist()) == (columns, [0])
    assert untold.presets is NO_MONEY
    assert told.decision_id == untold.decision_id
    for name in ("action", "reasons", "changed", "earliest_reversal_s"):
        np.testing.assert_array_equal(getattr(told.decision, name), getattr(untold.decision, name))
