"""Money per machine, against published breakevens, a table made apart from this code, and sums done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cycles import make_snapshot, make_valuation

from fleet.economics import (
    Economics,
    appraise,
    breakeven_usd_per_kwh,
    efficiency_j_per_th,
    energy_cost_usd_per_hour,
    revenue_usd_per_hour,
)
from fleet.market import hashprice_usd_per_ph_day
from fleet.readings import CapableSource, PowerSource, Reason
from fleet.site import EconomicTerms, Machine, Site

NAN = math.nan
TERMS = EconomicTerms(pool_fee=0.01, reject=0.004, overhead=0.05, hashprice_sigma_ratio=0.01, hashrate_sigma_ratio=0.02)


@pytest.mark.parametrize(
    ("efficiency", "printed", "exact"),
    [
        (17.5, 0.13, 0.1293),  # S21
        (18.5, 0.12, 0.1223),  # M60S
        (22.0, 0.10, 0.1028),  # M50S++
        (21.5, 0.10, 0.1052),  # S19 XP, printed cut off
        (30.0, 0.075, 0.0754),  # S19j Pro
        (34.0, 0.067, 0.0665),  # M30S+
    ],
)
def test_breakevens_that_hashrate_index_printed(efficiency: float, printed: float, exact: float) -> None:
    # roundup of 2024-04-01, hashprice 54.3 USD/PH/day, before fee, rejects and overhead
    breakeven = breakeven_usd_per_kwh(54.3, np.array([efficiency]))[0]
    assert breakeven == pytest.approx(printed, abs=0.006)
    assert breakeven == pytest.approx(exact, abs=0.00005)


HASHPRICES = (28.0, 30.0, 32.0, 35.0, 40.0, 50.0)
BREAKEVENS_USD_MWH = {
    29.5: (37.1, 39.8, 42.4, 46.4, 53.1, 66.3),
    21.5: (51.0, 54.6, 58.2, 63.7, 72.8, 91.0),
    17.5: (62.6, 67.1, 71.5, 78.3, 89.4, 111.8),
    13.5: (81.2, 87.0, 92.7, 101.4, 115.9, 144.9),
}
"""J/TH -> breakeven at each of HASHPRICES with fee 1 %, rejects 0.4 %, overhead 5 %."""


@pytest.mark.parametrize("efficiency", BREAKEVENS_USD_MWH)
def test_breakevens_net_of_fee_rejects_and_overhead(efficiency: float) -> None:
    net = [
        breakeven_usd_per_kwh(hp, np.array([efficiency]), TERMS.realised_ratio, TERMS.overhead)[0] * 1000
        for hp in HASHPRICES
    ]
    assert net == pytest.approx(BREAKEVENS_USD_MWH[efficiency], abs=0.051)


@pytest.mark.parametrize(
    ("hashprice", "gross_usd_mwh", "cutoff_j_per_th"),
    [
        (32.0, (111, 89, 76, 62, 58, 48.5, 45, 39), (33.3, 26.7, 22.2, 19.0, 16.7)),
        (32.0 / (1 - 0.1337), (128, 103, 88, 72, 67, 56, 52, 45), (38.5, 30.8, 25.7, 22.0, 19.2)),
    ],
    ids=["today", "behind a retarget of -13.37 %"],
)
def test_breakevens_and_cutoffs_before_fee_rejects_and_overhead(
    hashprice: float, gross_usd_mwh: tuple[float, ...], cutoff_j_per_th: tuple[float, ...]
) -> None:
    efficiencies = np.array([12, 15, 17.5, 21.5, 23, 27.5, 29.5, 34.2])
    assert breakeven_usd_per_kwh(hashprice, efficiencies) * 1000 == pytest.approx(gross_usd_mwh, abs=0.51)
    at_cutoff = breakeven_usd_per_kwh(hashprice, np.array(cutoff_j_per_th)) * 1000
    assert at_cutoff == pytest.approx([40, 50, 60, 70, 80], rel=0.05 / 16.7)


@pytest.mark.parametrize(
    ("efficiency", "hashprices"),
    [
        (29.5, (30.2, 37.7, 45.2, 52.8)),
        (21.5, (22.0, 27.5, 33.0, 38.5)),
        (17.5, (17.9, 22.4, 26.8, 31.3)),
        (13.5, (13.8, 17.3, 20.7, 24.2)),
    ],
)
def test_at_its_breakeven_hashprice_a_machine_earns_what_its_power_costs(
    efficiency: float, hashprices: tuple[float, ...]
) -> None:
    for usd_per_kwh, hp in zip((0.04, 0.05, 0.06, 0.07), hashprices, strict=True):
        net = breakeven_usd_per_kwh(hp, np.array([efficiency]), TERMS.realised_ratio, TERMS.overhead)[0]
        assert net == pytest.approx(usd_per_kwh, rel=0.051 / hp)  # the table prints one decimal


@pytest.mark.parametrize(("efficiency", "btc_usd"), [(29.5, 84_300), (21.5, 61_400), (17.5, 50_000), (13.5, 38_600)])
def test_at_its_shutdown_price_a_machine_breaks_even(efficiency: float, btc_usd: float) -> None:
    hp = hashprice_usd_per_ph_day(141.668e12, 3.15, btc_usd)
    net = breakeven_usd_per_kwh(hp, np.array([efficiency]), TERMS.realised_ratio, TERMS.overhead)[0]
    assert net == pytest.approx(0.05, rel=51 / btc_usd)


def test_revenue_and_cost_by_hand() -> None:
    # 48 USD/PH/day is 2 USD/PH/h; a tenth of a PH/s at 98 % is 0.196 USD/h
    assert revenue_usd_per_hour(48.0, np.array([1e14]), 0.98)[0] == pytest.approx(0.196)
    # 3 kW and 5 % on top, at 0.05 USD/kWh
    assert energy_cost_usd_per_hour(np.array([3000.0]), 0.05, 0.05)[0] == pytest.approx(0.1575)


def test_efficiency_of_nothing_is_missing() -> None:
    efficiency = efficiency_j_per_th(np.array([3000.0, 3000.0, NAN, 3000.0]), np.array([1e14, 0.0, 1e14, NAN]))
    np.testing.assert_array_equal(efficiency, [30.0, NAN, NAN, NAN])


def priced(
    n: int, is_stopped: Any = None, *, hashprice: float = 48.0, usd_per_kwh: float = 0.05, **cols: Any
) -> Economics:
    """`n` machines that hash 100 TH/s at metered 3000 W and could do 90 TH/s at 2880 W, but for what `cols` say."""
    columns: dict[str, Any] = {
        "up": np.ones(n), "is_running": np.ones(n), "hashrate_hs": np.full(n, 1e14), "power_w": np.full(n, 3000.0),
        "power_source": np.full(n, PowerSource.METERED), "hashrate_if_running_hs": np.full(n, 9e13),
        "power_if_running_w": np.full(n, 2880.0), "power_if_running_source": np.full(n, CapableSource.STEADY),
    }  # fmt: skip
    ids = tuple(f"m{i}" for i in range(n))
    site = Site("north", tuple(Machine(id) for id in ids), terms=TERMS)
    stopped = np.zeros(n, bool) if is_stopped is None else np.array(is_stopped)
    valuation = make_valuation(hashprice_usd_ph_day=hashprice, power_usd_per_kwh=usd_per_kwh)
    return appraise(site, make_snapshot(ids, **(columns | cols)), valuation, stopped)


def test_a_running_machine_is_worth_what_it_does() -> None:
    money = priced(1)
    assert money.is_capable.tolist() == [False]
    assert (money.hashrate_hs[0], money.power_w[0], money.efficiency_j_per_th[0]) == (1e14, 3000.0, 30.0)
    # 2 USD/PH/h * 0.1 PH/s * 0.99 * 0.996; 3 kW * 1.05 * 0.05
    assert money.revenue_usd_h[0] == pytest.approx(0.197208)
    assert money.energy_cost_usd_h[0] == pytest.approx(0.1575)
    assert money.margin_usd_h[0] == pytest.approx(0.039708)
    # 48 * 0.98604 / (24 * 30 * 1.05)
    assert money.breakeven_usd_kwh[0] == pytest.approx(0.0626057, abs=1e-7)
    # sqrt(0.197208**2 * (0.01**2 + 0.02**2) + (0.1575 * 0.01)**2) = sqrt(1.944550e-5 + 2.480625e-6)
    assert money.margin_error_usd_h[0] == pytest.approx(0.0046825, abs=1e-7)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        # sqrt(1.944550e-5 + (0.1575 * s)**2) for s = 0.03, 0.10, 0.10, 0.15
        (PowerSource.CALIBRATED, 0.006463),
        (PowerSource.REPORTED, 0.016356),
        (PowerSource.CONFIGURED, 0.016356),
        (PowerSource.NAMEPLATE, 0.024033),
    ],
)
def test_the_error_grows_with_the_doubt_about_the_watts(source: PowerSource, error: float) -> None:
    money = priced(1, power_source=[source])
    assert money.margin_error_usd_h[0] == pytest.approx(error, abs=1e-6)


def test_a_standing_machine_is_worth_what_it_could_do() -> None:
    # up and idle; stopped by us and silent; stopped by us and still winding down
    money = priced(
        3, [False, True, True], up=[1, 0, 1], is_running=[False, False, True], hashrate_hs=[0.0, NAN, 1e14],
        power_w=[40.0, NAN, 3000.0], power_source=[PowerSource.METERED, PowerSource.NONE, PowerSource.METERED],
    )  # fmt: skip
    assert money.is_capable.tolist() == [True, True, False]
    assert money.hashrate_hs.tolist() == [9e13, 9e13, 1e14]
    assert money.power_w.tolist() == [2880.0, 2880.0, 3000.0]
    # 2 * 0.09 * 0.98604 - 2.88 * 1.05 * 0.05 = 0.1774872 - 0.1512
    assert money.margin_usd_h == pytest.approx([0.0262872, 0.0262872, 0.039708])
    # sqrt(0.1774872**2 * 0.0005 + (0.1512 * 0.03)**2) = sqrt(1.5750853e-5 + 2.0575e-5)
    assert money.margin_error_usd_h[:2] == pytest.approx([0.0060271, 0.0060271], abs=1e-7)


def test_a_silent_machine_that_we_did_not_stop_is_unknown() -> None:
    money = priced(2, up=[0, NAN], is_running=[False, False])
    assert money.reason.tolist() == [Reason.UNREACHABLE, Reason.NEVER_SEEN]
    assert not money.is_capable.any()
    for column in (money.hashrate_hs, money.power_w, money.revenue_usd_h, money.energy_cost_usd_h, money.margin_usd_h,
                   money.margin_error_usd_h, money.breakeven_usd_kwh, money.efficiency_j_per_th):  # fmt: skip
        assert np.isnan(column).all()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({}, Reason.NONE),
        ({"power_w": [NAN], "power_source": [PowerSource.NONE]}, Reason.NO_POWER),
        ({"is_running": [False], "hashrate_if_running_hs": [NAN]}, Reason.NO_HASHRATE),
        ({"is_running": [False], "power_if_running_w": [NAN]}, Reason.NO_POWER),
        ({"is_running": [False], "power_if_running_w": [NAN], "hashrate_if_running_hs": [NAN]}, Reason.NO_HASHRATE),
        ({"hashprice": NAN}, Reason.NO_MARKET),
        ({"usd_per_kwh": NAN}, Reason.NO_POWER_PRICE),
        ({"usd_per_kwh": NAN, "hashprice": NAN}, Reason.NO_MARKET),
        ({"hashprice": NAN, "power_w": [NAN]}, Reason.NO_MARKET),
        ({"hashrate_reason": [Reason.IMPLAUSIBLE], "hashrate_hs": [NAN], "is_running": [False]}, Reason.IMPLAUSIBLE),
        ({"hashrate_reason": [Reason.IMPLAUSIBLE], "is_expected_pool": [False]}, Reason.WRONG_POOL),
        ({"is_conflict": [True]}, Reason.CONFLICT),
        ({"is_conflict": [True], "is_sha256": [False], "is_expected_pool": [False]}, Reason.CONFLICT),
        ({"is_expected_pool": [False]}, Reason.WRONG_POOL),
        ({"is_expected_pool": [False], "hashprice": NAN}, Reason.WRONG_POOL),
        ({"is_sha256": [False]}, Reason.NOT_SHA256),
        ({"is_sha256": [False], "is_expected_pool": [False]}, Reason.NOT_SHA256),
        ({"is_sha256": [False], "up": [0], "is_running": [False]}, Reason.UNREACHABLE),
        ({"is_sha256": [False], "up": [NAN], "is_running": [False]}, Reason.NEVER_SEEN),
    ],
)
def test_what_cannot_be_priced_says_why(columns: dict[str, Any], reason: Reason) -> None:
    money = priced(1, **columns)
    assert money.reason.tolist() == [reason]
    assert np.isnan(money.margin_usd_h[0]) == (reason is not Reason.NONE)


def test_a_free_kilowatt_hour_is_a_price() -> None:
    money = priced(1, usd_per_kwh=0.0)
    assert money.energy_cost_usd_h[0] == 0.0
    assert money.margin_usd_h[0] == pytest.approx(0.197208)
