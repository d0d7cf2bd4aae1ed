"""Worth of a machine in its place, and of a feeder's power elsewhere: by hand, and against sums made another way."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from cycles import make_cycle, make_economics, make_snapshot, make_valuation
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet import capital
from fleet.capital import CapitalTerms, FeederValue, Keep, KeepTerms, by_feeder, expected_gain, judge, retire
from fleet.cycle import Cycle
from fleet.economics import appraise
from fleet.market import InputState
from fleet.readings import PowerSource, Reason
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import MachineInfo
from fleet.tariff import FlatTariff, PowerPrice

NAN = math.nan
CALM = KeepTerms(
    months=12, uptime_ratio=1.0, slot_usd_month=0.0, repair_usd_month=0.0, labour_usd_month=0.0, resale_usd_th=2.0,
    residual_usd_th=0.0, discount_per_year=0.0, hashprice_decline_per_year=0.0, hashprice_sigma_per_root_year=0.0,
)  # fmt: skip
MONEY = make_economics(
    3, hashrate_hs=[1e14, 1e14, NAN], revenue_usd_h=[0.20, 0.10, NAN], energy_cost_usd_h=[0.15, 0.15, NAN],
    margin_usd_h=[0.05, -0.05, NAN], margin_error_usd_h=[0.01, 0.01, NAN], reason=[0, 0, Reason.NO_POWER],
)  # fmt: skip


def test_a_year_without_risk_by_hand() -> None:
    worth = retire(MONEY, CALM)
    # 8766 h of 0.05 USD; the second would stand the whole year
    assert worth.keep_usd[:2] == pytest.approx([438.3, 0.0])
    assert worth.keep_error_usd[:2] == pytest.approx([87.66, 0.0])
    assert worth.resale_usd[:2] == pytest.approx([200.0, 200.0])
    assert worth.verdict.tolist() == [Keep.KEEP, Keep.RETIRE, Keep.UNKNOWN]
    assert np.isnan([worth.keep_usd[2], worth.keep_error_usd[2], worth.resale_usd[2]]).all()


def test_place_repair_labour_uptime_and_residual_by_hand() -> None:
    terms = replace(
        CALM, uptime_ratio=0.9, slot_usd_month=5.0, repair_usd_month=3.0, labour_usd_month=2.0, residual_usd_th=0.5
    )
    # 0.9 * 438.3 - 12 * 10 + 50
    assert retire(MONEY, terms).keep_usd[0] == pytest.approx(324.47)


def test_decline_and_discount_one_month_at_a_time() -> None:
    terms = replace(CALM, hashprice_decline_per_year=0.5, discount_per_year=0.1, residual_usd_th=1.0)
    total = 100 * math.exp(-0.1)
    for month in range(12):
        t = (month + 0.5) / 12
        total += 730.5 * max(0.20 * 0.5**t - 0.15, 0.0) * math.exp(-0.1 * t)
    assert retire(MONEY, terms).keep_usd[0] == pytest.approx(total)


def test_risk_makes_a_machine_worth_more() -> None:
    calm, rough = (retire(MONEY, replace(CALM, hashprice_sigma_per_root_year=sigma)) for sigma in (0.0, 0.8))
    assert (rough.keep_usd[:2] > calm.keep_usd[:2]).all()
    assert rough.keep_usd[1] > 0.0  # the one that loses now is an option


def test_a_difference_smaller_than_its_error_is_no_verdict() -> None:
    worth = retire(MONEY, replace(CALM, resale_usd_th=4.0))  # 438.3 against 400 with an error of 87.66
    assert worth.verdict[0] == Keep.UNCERTAIN
    assert retire(MONEY, replace(CALM, resale_usd_th=4.0), certainty_sigmas=0.4).verdict[0] == Keep.KEEP


@pytest.mark.parametrize(
    "name", ["uptime_ratio", "slot_usd_month", "repair_usd_month", "labour_usd_month", "resale_usd_th",
             "residual_usd_th", "discount_per_year", "hashprice_decline_per_year", "hashprice_sigma_per_root_year"],
)  # fmt: skip
def test_a_term_that_nobody_told_is_no_verdict(name: str) -> None:
    unsaid: dict[str, Any] = {name: NAN}
    assert retire(MONEY, replace(CALM, **unsaid)).verdict.tolist() == [Keep.UNKNOWN] * 3


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0.01, 10))
def test_expected_gain_is_the_closed_form(mean: float, sigma: float) -> None:
    gain, chance = expected_gain(np.array([mean]), np.array([sigma]))
    z = mean / sigma
    cdf = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    assert chance[0] == pytest.approx(cdf, abs=1e-12)
    closed = mean * cdf + sigma * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    assert gain[0] == pytest.approx(closed, abs=1e-11 * (abs(mean) + sigma))


def test_expected_gain_at_its_ends() -> None:
    gain, chance = expected_gain(np.array([2.0, -2.0, NAN, 1.0, 1e9, -1e9]), np.array([0.0, 0.0, 1.0, NAN, 1.0, 1.0]))
    np.testing.assert_allclose(gain, [2.0, 0.0, NAN, NAN, 1e9, 0.0], atol=1e-9)
    np.testing.assert_allclose(chance, [1.0, 0.0, NAN, NAN, 1.0, 0.0], atol=1e-12)


def test_a_feeder_is_judged_as_one() -> None:
    machines = tuple(Machine(f"m{i}", feeder=feeder) for i, feeder in enumerate(("B", "A", "A", None, "C", "B")))
    site = Site("north", machines, terms=EconomicTerms(overhead=0.0))
    # 3 kW each: 0.05, 0.10, 0.04, 0.01, unpriced, 0.07 USD/kWh
    money = make_economics(
        6, power_w=[3000.0] * 4 + [NAN, 3000.0], revenue_usd_h=[0.15, 0.30, 0.12, 0.03, NAN, 0.21],
        margin_usd_h=[0.0] * 4 + [NAN, 0.0], breakeven_usd_kwh=[0.05, 0.10, 0.04, 0.01, NAN, 0.07],
    )  # fmt: skip
    a, b, c = by_feeder(site, money, {"A": 0.06, "C": 0.06, "unused": 1.0})
    assert replace(a, mining_usd_kwh=0.0) == FeederValue("A", 2, 0, 6000.0, 3000.0, 0.0, 0.06, False)
    assert a.mining_usd_kwh == pytest.approx(0.07)
    assert (b.feeder, b.machines, b.unpriced, b.power_w, b.is_worth_more) == ("B", 2, 0, 6000.0, None)
    assert b.mining_usd_kwh == pytest.approx(0.06)
    assert math.isnan(b.below_w)
    assert math.isnan(b.alternative_usd_kwh)
    assert (c.machines, c.unpriced, c.is_worth_more) == (1, 1, None)
    assert np.isnan([c.mining_usd_kwh, c.power_w, c.below_w]).all()  # nobody knows, which is not 0 W
    assert by_feeder(site, money, {"A": 0.08})[0].is_worth_more is True


@pytest.mark.parametrize(
    ("silent", "told"), [(0, True), (1, True), (2, None), (20, None)], ids=["all", "95 %", "90 %", "none"]
)
def test_a_feeder_with_a_silent_machine_is_judged_by_the_others(silent: int, told: bool | None) -> None:
    site = Site("north", tuple(Machine(f"m{i}", feeder="A") for i in range(20)), terms=EconomicTerms(overhead=0.0))
    dark, lit = [NAN] * silent, 20 - silent
    money = make_economics(
        20, power_w=[3000.0] * lit + dark, revenue_usd_h=[0.15] * lit + dark, margin_usd_h=[0.0] * lit + dark,
        breakeven_usd_kwh=[0.05] * lit + dark,
    )  # fmt: skip
    [feeder] = by_feeder(site, money, {"A": 0.06})
    assert (feeder.is_worth_more, feeder.unpriced, feeder.priced_ratio) == (told, silent, lit / 20)
    [feeder] = by_feeder(site, money, {"A": 0.04})
    assert feeder.is_worth_more is (None if told is None else False)


def test_priced_machines_that_draw_nothing_say_nothing_of_their_feeder() -> None:
    site = Site("north", (Machine("a", feeder="A"),))
    [feeder] = by_feeder(site, make_economics(1, power_w=[0.0], revenue_usd_h=[0.0], margin_usd_h=[0.0]), {"A": 0.06})
    assert (feeder.unpriced, feeder.is_worth_more) == (0, None)


def test_the_worth_of_one_machine_by_integration() -> None:
    """V = sum over months of E[max(m, 0)] e^(-rho t) - rent - repair - labour + what it fetches at the end."""
    terms = KeepTerms(
        months=18, uptime_ratio=0.95, slot_usd_month=4.0, repair_usd_month=2.0, labour_usd_month=1.0, resale_usd_th=2.0,
        residual_usd_th=0.4, discount_per_year=0.15, hashprice_decline_per_year=0.25, hashprice_sigma_per_root_year=0.7,
    )  # fmt: skip
    total, z = 100 * 0.4 * math.exp(-0.15 * 1.5), np.linspace(-10, 10, 200_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    for month in range(18):
        t = (month + 0.5) / 12
        revenue = 0.20 * 0.75**t
        earned = np.maximum(revenue + revenue * 0.7 * math.sqrt(t) * z - 0.15, 0.0) * density
        step = float(np.sum((earned[1:] + earned[:-1]) / 2) * (z[1] - z[0]))
        total += (730.5 * 0.95 * step - 7.0) * math.exp(-0.15 * t)
    assert retire(MONEY, terms).keep_usd[0] == pytest.approx(total, rel=1e-7)
    # the error is that of the margin times what a dollar per hour more would add
    more, less = (
        retire(replace(MONEY, energy_cost_usd_h=MONEY.energy_cost_usd_h - usd_h), terms).keep_usd[0]
        for usd_h in (1e-5, -1e-5)
    )
    assert retire(MONEY, terms).keep_error_usd[0] == pytest.approx((more - less) / 2e-5 * 0.01, rel=1e-6)
    # the certain machine of the same terms is worth less: the spread is an option
    assert retire(MONEY, replace(terms, hashprice_sigma_per_root_year=0.0)).keep_usd[0] < total


def cycle_of(models: tuple[str, ...], **changes: Any) -> Cycle:
    """Machines of 100 TH/s and 3 kW that make 0.20 USD/h and pay 0.15."""
    n = len(models)
    ids = tuple(f"m{i}" for i in range(n))
    money = {"hashrate_hs": [1e14] * n, "power_w": [3000.0] * n, "revenue_usd_h": [0.20] * n,
             "energy_cost_usd_h": [0.15] * n, "margin_usd_h": [0.05] * n, "margin_error_usd_h": [0.01] * n,
             "breakeven_usd_kwh": [0.0635] * n}  # fmt: skip
    infos = tuple(MachineInfo(model=model) for model in models)
    return make_cycle(ids, snapshot={"infos": infos}, economics=money | changes.pop("economics", {}), **changes)


def test_each_model_is_judged_by_its_own_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capital, "CHUNK_ROWS", 2)
    models = ("Antminer S21", "S19j Pro (104T)", "Antminer S21", "", "Antminer S19J PRO", "S21", "S21 XP")
    machines = tuple(Machine(f"m{i}", model="Antminer S21" if i == 3 else None) for i in range(7))
    dear = {"s21": replace(CALM, resale_usd_th=9.0), "s19jpro": replace(CALM, months=0)}
    found = judge(cycle_of(models, machines=machines), CapitalTerms(CALM, dear))
    assert found.worth.resale_usd.tolist() == [900.0, 200.0, 900.0, 900.0, 200.0, 900.0, 200.0]
    keep, go, unknown = Keep.KEEP, Keep.RETIRE, Keep.UNKNOWN
    assert found.worth.verdict.tolist() == [go, unknown, go, go, unknown, go, keep]
    assert (found.priced, found.ids, found.feeders) == (7, tuple(f"m{i}" for i in range(7)), ())


def test_a_price_that_varies_is_not_that_of_years_to_come() -> None:
    machines = (Machine("flat", tariff="host"), Machine("varies"), Machine("neither", tariff="gone"))
    power = (PowerPrice("", 0.30, "time_of_use", InputState.FRESH), PowerPrice("host", 0.05, "flat", InputState.FRESH))
    cycle = replace(cycle_of(("", "", ""), machines=machines), power=power)
    terms = CapitalTerms(CALM, varying_tariffs=frozenset({""}))
    assert judge(cycle, terms).worth.verdict.tolist() == [Keep.KEEP, Keep.UNKNOWN, Keep.UNKNOWN]
    told = replace(terms, keep=replace(CALM, power_usd_kwh=0.04))
    worth = judge(cycle, told).worth
    # 3 kW with 5 % for the site: 8766 h of 0.20 - 0.126; the flat one goes on with its 0.15
    assert worth.keep_usd[:2] == pytest.approx([438.3, 8766 * (0.20 - 0.126)])
    assert worth.verdict.tolist() == [Keep.KEEP, Keep.KEEP, Keep.UNKNOWN]


def test_what_the_host_takes_is_not_the_owners() -> None:
    power = (PowerPrice("", 0.05, "flat", InputState.FRESH, profit_share=0.4),)
    worth = judge(replace(cycle_of(("",)), power=power), CapitalTerms(CALM)).worth
    assert worth.keep_usd[0] == pytest.approx(0.6 * 438.3)
    assert worth.keep_error_usd[0] == pytest.approx(0.6 * 87.66)


@given(st.sets(st.sampled_from([each.name for each in fields(KeepTerms) if each.name != "power_usd_kwh"]), min_size=1))
def test_without_any_one_term_nobody_is_told_to_go(untold: set[str]) -> None:
    """Whatever is missing, and however little the machine earns."""
    dear: dict[str, Any] = {"slot_usd_month": 1000.0, "resale_usd_th": 1000.0}
    terms = replace(CALM, **dear | {name: 0 if name == "months" else NAN for name in untold})
    assert set(terms.untold) == untold
    assert judge(cycle_of(("", "")), CapitalTerms(terms)).worth.verdict.tolist() == [Keep.UNKNOWN] * 2


def test_a_machine_without_a_margin_is_never_told_to_go() -> None:
    money = {name: [0.05, NAN] for name in ("hashrate_hs", "revenue_usd_h", "margin_usd_h", "margin_error_usd_h")}
    found = judge(cycle_of(("", ""), economics=money), CapitalTerms(replace(CALM, slot_usd_month=1000.0)))
    assert found.worth.verdict.tolist() == [Keep.RETIRE, Keep.UNKNOWN]
    assert found.priced == 1


@pytest.mark.parametrize(("usd_mwh", "is_more"), [(211.0, True), (169.0, True), (76.0, False), (45.0, False)])
def test_hash_at_32_usd_against_what_published_contracts_pay(usd_mwh: float, is_more: bool) -> None:
    """17.5 J/TH make 76 USD/MWh gross at 32 USD/PH/day, 29.5 J/TH 45; contracts for AI halls pay 166 to 211."""
    machines = (Machine("s21", feeder="F1"), Machine("s19j", feeder="F2"))
    site = Site("north", machines, terms=EconomicTerms(0.0, 0.0, 0.0), tariff=FlatTariff(0.05))
    ids = ("s21", "s19j")
    snapshot = make_snapshot(
        ids, up=[1, 1], is_running=[True, True], hashrate_hs=[200e12, 100e12], power_w=[3500.0, 2950.0],
        power_source=[PowerSource.METERED] * 2,
    )  # fmt: skip
    money = appraise(
        site, snapshot, make_valuation(hashprice_usd_ph_day=32.0, power_usd_per_kwh=0.05), np.zeros(2, bool)
    )
    one, two = by_feeder(site, money, {"F1": usd_mwh / 1000, "F2": usd_mwh / 1000})
    assert (round(1000 * one.mining_usd_kwh), round(1000 * two.mining_usd_kwh)) == (76, 45)
    assert (one.is_worth_more, one.below_w) == (is_more, 3500.0 if is_more else 0.0)
    assert two.is_worth_more is (usd_mwh > 45.2)


def test_every_feeder_has_the_general_alternative_but_where_it_has_its_own() -> None:
    machines = (Machine("m0", feeder="F1"), Machine("m1", feeder="F2"))
    terms = CapitalTerms(alternative_usd_kwh=0.05, alternative_by_feeder={"F2": 0.2})
    found = judge(cycle_of(("", ""), machines=machines), terms)
    assert [each.alternative_usd_kwh for each in found.feeders] == [0.05, 0.2]
    assert [each.below_w for each in found.feeders] == [0.0, 3000.0]


def test_a_site_without_feeders_has_none() -> None:
    assert by_feeder(Site("north", (Machine("a"),)), make_economics(1), {}) == ()


def test_overhead_is_part_of_the_power_that_a_feeder_gives() -> None:
    site = Site("north", (Machine("a", feeder="A"),), terms=EconomicTerms(overhead=0.25))
    money = make_economics(1, power_w=[4000.0], revenue_usd_h=[0.5], margin_usd_h=[0.1], breakeven_usd_kwh=[0.1])
    assert by_feeder(site, money, {})[0].mining_usd_kwh == pytest.approx(0.1)  # 0.5 USD of 5 kWh
