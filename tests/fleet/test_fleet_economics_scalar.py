"""The columns against plain Python, one machine at a time, for fleets that nobody thought of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cycles import make_snapshot, make_valuation
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.economics import (
    Dispatch,
    Economics,
    appraise,
    breakeven_hashprice_usd_per_ph_day,
    energy_cost_usd_per_hour,
    revenue_usd_per_hour,
)
from fleet.market import Valuation
from fleet.readings import CapableSource, PowerSource, Reason
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import Suspect

NAN = math.nan
SIGMA = {PowerSource.METERED: 0.01, PowerSource.CALIBRATED: 0.03, PowerSource.REPORTED: 0.10,
         PowerSource.CONFIGURED: 0.10, PowerSource.NAMEPLATE: 0.15}  # fmt: skip
FACTOR = 86_400 * 1e15 / 2**32  # solutions of difficulty 1 that a PH/s finds in a day


def reference(row: dict[str, Any], hp: float, btc: float, diff: float, reward: float, terms: EconomicTerms) -> Any:
    """One running machine by the formulas, in TH/s, kW and days; None where anything is missing."""
    th, kw, c = row["hashrate"] / 1e12, row["power"] / 1e3, row["price"]
    if any(math.isnan(each) for each in (th, kw, c, hp)):
        return None
    keep = (1 - terms.pool_fee) * (1 - terms.reject)
    revenue_day = hp * th / 1000 * keep
    site_kwh_day = 24 * kw * (1 + terms.overhead)
    cost_day = site_kwh_day * c
    power_sigma = row["sigma"] if not math.isnan(row["sigma"]) else SIGMA[row["source"]]
    error_day = math.sqrt(
        (revenue_day * terms.hashprice_sigma_ratio) ** 2
        + (revenue_day * terms.hashrate_sigma_ratio) ** 2
        + (cost_day * power_sigma) ** 2
        + (cost_day * terms.power_price_sigma_ratio) ** 2
    )
    j_th = kw * 1000 / th
    strike = 24 * j_th * (1 + terms.overhead) * c / keep
    accepted_day = hp * th / 1000 * row["work"] * (1 - terms.pool_fee)
    margin = revenue_day - cost_day
    other = accepted_day - cost_day if row["suspect"] else NAN
    if abs(margin) < terms.certainty_sigmas * error_day or (not math.isnan(other) and (other < 0) != (margin < 0)):
        verdict = Dispatch.UNCERTAIN
    else:
        verdict = Dispatch.STOP if margin < 0 else Dispatch.RUN
    return {
        "revenue_usd_h": revenue_day / 24, "energy_cost_usd_h": cost_day / 24, "margin_error_usd_h": error_day / 24,
        "efficiency_j_per_th": j_th, "breakeven_usd_kwh": revenue_day / site_kwh_day,
        "breakeven_hashprice_usd_ph_day": strike, "breakeven_btc_usd": strike * diff / (FACTOR * reward),
        "accepted_revenue_usd_h": accepted_day / 24,
    }, margin / 24, verdict, (revenue_day + abs(cost_day)) / 24  # fmt: skip


def maybe(low: float, high: float) -> st.SearchStrategy[float]:
    return st.one_of(st.floats(low, high), st.just(NAN))


ROWS = st.lists(
    st.fixed_dictionaries({
        "hashrate": maybe(1e12, 1e15), "power": maybe(10.0, 1e4), "price": maybe(-0.5, 5.0),
        "source": st.sampled_from(list(SIGMA)), "sigma": maybe(0.0, 0.3), "work": maybe(0.0, 2.0),
        "suspect": st.booleans(), "share": st.floats(0.0, 0.99),
    }), min_size=1, max_size=12,
)  # fmt: skip
TERMS = st.builds(
    EconomicTerms, st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 2), st.floats(0, 0.2), st.floats(0, 0.2),
    st.floats(0, 0.2), st.floats(0, 3),
)  # fmt: skip


def market(hp: float, btc: float) -> tuple[Valuation, float, float]:
    """A market of that hashprice; the difficulty follows from it."""
    reward = 3.15
    diff = FACTOR * reward * btc / hp
    return (
        make_valuation(
            hashprice_usd_ph_day=hp, hashprice_btc_ph_day=FACTOR * reward / diff, btc_usd=btc, difficulty=diff,
            reward_btc=reward,
        ), diff, reward,
    )  # fmt: skip


def money_of(rows: list[dict[str, Any]], terms: EconomicTerms, valuation: Valuation) -> Economics:
    n = len(rows)
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    snapshot = make_snapshot(
        tuple(f"m{i}" for i in range(n)), up=np.ones(n), is_running=np.ones(n), hashrate_hs=columns["hashrate"],
        power_w=columns["power"], power_source=columns["source"], power_sigma_ratio=columns["sigma"],
        work_ratio=columns["work"], suspect=np.where(columns["suspect"], int(Suspect.WORK), 0),
    )  # fmt: skip
    site = Site("north", tuple(Machine(f"m{i}") for i in range(n)), terms=terms)
    return appraise(site, snapshot, valuation, np.zeros(n, bool), columns["price"], columns["share"])


@settings(deadline=None)
@given(ROWS, TERMS, maybe(1.0, 500.0), st.floats(1e3, 1e6))
def test_columns_agree_with_one_machine_at_a_time(
    rows: list[dict[str, Any]], terms: EconomicTerms, hp: float, btc: float
) -> None:
    valuation, diff, reward = market(hp, btc)
    money = money_of(rows, terms, valuation)
    for i, row in enumerate(rows):
        expected = reference(row, hp, btc, diff, reward, terms)
        if expected is None:
            assert money.reason[i] != Reason.NONE
            assert money.dispatch[i] == Dispatch.UNKNOWN
            assert all(math.isnan(getattr(money, name)[i]) for name in (*COLUMNS, "margin_usd_h", "kept_margin_usd_h"))
            continue
        numbers, margin, verdict, size = expected
        assert money.reason[i] == Reason.NONE
        for name in COLUMNS:
            assert getattr(money, name)[i] == pytest.approx(numbers[name], rel=1e-12, abs=1e-300, nan_ok=True), name
        assert money.margin_usd_h[i] == pytest.approx(margin, abs=1e-12 * size)  # a difference loses digits
        kept = margin - row["share"] * max(margin, 0.0)
        assert money.kept_margin_usd_h[i] == pytest.approx(kept, abs=1e-12 * size)
        assert np.sign(money.kept_margin_usd_h[i]) == np.sign(money.margin_usd_h[i])
        closeness = abs(abs(margin) - terms.certainty_sigmas * numbers["margin_error_usd_h"])
        other = numbers["accepted_revenue_usd_h"] - numbers["energy_cost_usd_h"]
        if min(closeness, abs(margin), NEVER if math.isnan(other) else abs(other)) > 1e-11 * size:
            assert money.dispatch[i] == verdict


COLUMNS = (
    "revenue_usd_h", "energy_cost_usd_h", "margin_error_usd_h", "efficiency_j_per_th", "breakeven_usd_kwh",
    "breakeven_hashprice_usd_ph_day", "breakeven_btc_usd", "accepted_revenue_usd_h",
)  # fmt: skip
NEVER = math.inf

SOUND = st.fixed_dictionaries({
    "hashrate": st.floats(1e13, 1e15), "power": st.floats(100.0, 1e4), "price": st.floats(0.001, 1.0),
    "source": st.sampled_from(list(SIGMA)), "sigma": st.just(NAN), "work": st.just(1.0), "suspect": st.just(False),
    "share": st.floats(0.0, 0.99),
})  # fmt: skip


@settings(deadline=None)
@given(SOUND, TERMS, st.floats(1.0, 500.0), st.floats(0.1, 10.0))
def test_revenue_is_linear_in_hashrate_and_cost_in_power(
    row: dict[str, Any], terms: EconomicTerms, hp: float, k: float
) -> None:
    valuation, *_ = market(hp, 7e4)
    more = row | {"hashrate": row["hashrate"] * k, "power": row["power"] * k}
    money = money_of([row, more], terms, valuation)
    assert money.revenue_usd_h[1] == pytest.approx(k * money.revenue_usd_h[0], rel=1e-12)
    assert money.energy_cost_usd_h[1] == pytest.approx(k * money.energy_cost_usd_h[0], rel=1e-12)
    assert money.breakeven_usd_kwh[1] == pytest.approx(money.breakeven_usd_kwh[0], rel=1e-12)


@settings(deadline=None)
@given(SOUND, TERMS, st.floats(1.0, 500.0), st.floats(1e3, 1e6))
def test_at_each_breakeven_the_revenue_is_the_cost(
    row: dict[str, Any], terms: EconomicTerms, hp: float, btc: float
) -> None:
    valuation, diff, reward = market(hp, btc)
    money = money_of([row], terms, valuation)
    site_kwh = row["power"] / 1000 * (1 + terms.overhead)  # in one hour
    assert money.breakeven_usd_kwh[0] * site_kwh == pytest.approx(money.revenue_usd_h[0], rel=1e-12)
    at_hashprice, *_ = market(float(money.breakeven_hashprice_usd_ph_day[0]), btc)
    at_btc = replace(valuation, hashprice_usd_ph_day=FACTOR * reward * float(money.breakeven_btc_usd[0]) / diff)
    for moved in (at_hashprice, at_btc):
        then = money_of([row], terms, moved)
        assert then.revenue_usd_h[0] == pytest.approx(then.energy_cost_usd_h[0], rel=1e-11)
    level = money_of([row | {"price": float(money.breakeven_usd_kwh[0])}], terms, valuation)
    assert level.energy_cost_usd_h[0] == pytest.approx(level.revenue_usd_h[0], rel=1e-11)


@settings(deadline=None)
@given(SOUND, st.floats(1.0, 500.0))
def test_units_change_nothing(row: dict[str, Any], hp: float) -> None:
    # USD/TH/day and TH/s, kW and USD/MWh, a day and not an hour: one bill
    revenue_day = hp / 1000 * (row["hashrate"] / 1e12) * 0.98604
    cost_day = row["power"] / 1e6 * 24 * 1.05 * (row["price"] * 1000)
    revenue = revenue_usd_per_hour(hp, np.array([row["hashrate"]]), 0.98604)
    cost = energy_cost_usd_per_hour(np.array([row["power"]]), 0.05, row["price"])
    assert 24 * revenue[0] == pytest.approx(revenue_day, rel=1e-12)
    assert 24 * cost[0] == pytest.approx(cost_day, rel=1e-12)


@pytest.mark.parametrize(
    ("efficiency", "hashprices", "btc_usd"),
    [
        (29.5, (30.2, 37.7, 45.2, 52.8), 84_300),
        (21.5, (22.0, 27.5, 33.0, 38.5), 61_400),
        (17.5, (17.9, 22.4, 26.8, 31.3), 50_000),
        (13.5, (13.8, 17.3, 20.7, 24.2), 38_600),
    ],
)
def test_strike_prices_of_a_table_made_apart(efficiency: float, hashprices: tuple[float, ...], btc_usd: float) -> None:
    prices = np.array([0.04, 0.05, 0.06, 0.07])
    strikes = breakeven_hashprice_usd_per_ph_day(np.full(4, efficiency), prices, 0.99 * 0.996, 0.05)
    assert strikes == pytest.approx(hashprices, abs=0.051)
    per_btc = FACTOR * 3.15 / 141.668e12
    assert strikes[1] / per_btc == pytest.approx(btc_usd, abs=51)


def sound(**cols: Any) -> dict[str, Any]:
    return {"hashrate": 1e14, "power": 3000.0, "price": 0.05, "source": PowerSource.METERED, "sigma": NAN,
            "work": NAN, "suspect": False, "share": 0.0} | cols  # fmt: skip


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (sound(), Dispatch.RUN),
        (sound(price=0.08), Dispatch.STOP),
        (sound(price=0.0625), Dispatch.UNCERTAIN),  # breaks even at 0.0626
        (sound(price=0.06, sigma=0.2), Dispatch.UNCERTAIN),  # 20 % of doubt about the watts is 0.038 USD/h
        (sound(work=0.1), Dispatch.RUN),  # a window by chance, nobody suspects it
        (sound(work=0.1, suspect=True), Dispatch.UNCERTAIN),
        (sound(work=0.95, suspect=True), Dispatch.RUN),  # pays by both
        (sound(price=0.08, work=0.1, suspect=True), Dispatch.STOP),  # loses by both
        (sound(suspect=True), Dispatch.RUN),
        (sound(price=NAN), Dispatch.UNKNOWN),
        (sound(power=NAN), Dispatch.UNKNOWN),
        (sound(hashrate=NAN), Dispatch.UNKNOWN),
    ],
)
def test_a_verdict_needs_a_margin_larger_than_its_error(row: dict[str, Any], verdict: Dispatch) -> None:
    valuation, *_ = market(48.0, 7e4)
    assert money_of([row], EconomicTerms(), valuation).dispatch.tolist() == [verdict]


def test_doubt_about_the_power_price_is_in_the_error() -> None:
    valuation, *_ = market(48.0, 7e4)
    terms = EconomicTerms(hashprice_sigma_ratio=0.0, hashrate_sigma_ratio=0.0, power_price_sigma_ratio=0.2)
    # 3 kW * 1.05 * 0.05 = 0.1575; sqrt(0.01**2 + 0.2**2) of it
    assert money_of([sound()], terms, valuation).margin_error_usd_h[0] == pytest.approx(0.0315393, abs=1e-7)


def test_work_of_the_past_says_nothing_about_a_machine_that_stands() -> None:
    valuation, *_ = market(48.0, 7e4)
    snapshot = make_snapshot(
        ("a",), up=[1], is_running=[False], work_ratio=[0.1], suspect=[int(Suspect.WORK)],
        hashrate_if_running_hs=[1e14], power_if_running_w=[3000.0], power_if_running_source=[CapableSource.STEADY],
    )  # fmt: skip
    money = appraise(Site("north", (Machine("a"),)), snapshot, valuation, np.array([True]), np.array([0.05]))
    assert np.isnan(money.accepted_revenue_usd_h[0])
    assert money.dispatch.tolist() == [Dispatch.RUN]
