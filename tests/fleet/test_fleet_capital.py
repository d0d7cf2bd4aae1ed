"""Worth of a machine in its place, and of a feeder's power elsewhere: by hand, and against sums made another way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cycles import make_economics
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.capital import FeederValue, Keep, KeepTerms, by_feeder, expected_gain, retire
from fleet.readings import Reason
from fleet.site import EconomicTerms, Machine, Site

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


def test_a_site_without_feeders_has_none() -> None:
    assert by_feeder(Site("north", (Machine("a"),)), make_economics(1), {}) == ()


def test_overhead_is_part_of_the_power_that_a_feeder_gives() -> None:
    site = Site("north", (Machine("a", feeder="A"),), terms=EconomicTerms(overhead=0.25))
    money = make_economics(1, power_w=[4000.0], revenue_usd_h=[0.5], margin_usd_h=[0.1], breakeven_usd_kwh=[0.1])
    assert by_feeder(site, money, {})[0].mining_usd_kwh == pytest.approx(0.1)  # 0.5 USD of 5 kWh
