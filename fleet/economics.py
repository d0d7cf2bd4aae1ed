"""Revenue, cost, margin and breakevens on columns: running machines as they do, stopped ones as they could.

The margin rests on the hashrate that a machine claims, because what its pool accepted in some minutes is known to
one over the root of the shares only. Where the two contradict each other by more than chance explains, and the sign of
the margin hangs on it, there is no verdict. Nor is there one while the margin is smaller than its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from fleet.market import Valuation
from fleet.readings import Reason
from fleet.site import Site
from fleet.snapshot import Snapshot, Suspect
from fleet.tariff import after_profit_share
from fleet.units import HOURS_PER_DAY, PETA, TERA, WATTS_PER_KW

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Dispatch(IntEnum):
    """Whether a machine pays its power at this instant; capital is sunk and a turn costs nothing here.

    It is what the money says, not advice: hysteresis, ramps and the operator's rules are in `fleet.curtailment`.
    """

    UNKNOWN = 0  # no margin: `Economics.reason` says why
    RUN = 1
    STOP = 2
    UNCERTAIN = 3  # the margin is smaller than its error, or accepted work contradicts the hashrate that it rests on


@dataclass(frozen=True, eq=False)
class Economics:
    """Money per machine and hour at one instant; NaN with `reason` (readings.Reason) where it cannot be said.

    `is_capable`: the row stands (stopped, asleep or warming up) and is priced by what it would do if it ran.
    """

    hashrate_hs: Floats  # the hashrate and power that the money below is made of
    power_w: Floats
    is_capable: Bools
    revenue_usd_h: Floats
    energy_cost_usd_h: Floats
    margin_usd_h: Floats
    margin_error_usd_h: Floats  # one standard deviation
    breakeven_usd_kwh: Floats
    efficiency_j_per_th: Floats
    reason: Codes
    accepted_revenue_usd_h: Floats  # by the work that the pool accepted; NaN also where no window of it is full
    breakeven_hashprice_usd_ph_day: Floats
    breakeven_btc_usd: Floats  # at the difficulty and the reward of now
    dispatch: Codes  # Dispatch
    kept_margin_usd_h: Floats  # what the operator keeps where the host takes a share of what is above zero


POWER_SIGMA_RATIO = np.array([np.nan, 0.01, 0.03, 0.10, 0.10, 0.15, 0.05])
"""Relative standard deviation of the watts by PowerSource code, where nothing better is known (the resolution of the
meter, the spread of a calibration: `Snapshot.power_sigma_ratio`); firmware and nameplate are 5 to 20 % off."""

CAPABLE_POWER_SIGMA_RATIO = np.array([np.nan, 0.03, 0.08, 0.10, 0.15])
"""The same by CapableSource code, for machines that stand."""


def revenue_usd_per_hour(hashprice_usd_ph_day: float, hashrate_hs: Floats, realised_ratio: float) -> Floats:
    """What the hash earns at the pool, after fee and rejected work.

    Units:  USD/PH/day, H/s, ratio -> USD/h.  Missing: NaN in, NaN out.
    Source: hashprice is quoted per PH/s and day; revenue = hp / 24 * H * (1 - f)(1 - r).
    """
    return hashprice_usd_ph_day / HOURS_PER_DAY * (hashrate_hs / PETA) * realised_ratio


def energy_cost_usd_per_hour(power_w: Floats, overhead: float, usd_per_kwh: Floats | float) -> Floats:
    """What the watts at the wall cost, with the site's own losses.  Units: W, ratio, USD/kWh -> USD/h."""
    return power_w / WATTS_PER_KW * (1.0 + overhead) * usd_per_kwh


def efficiency_j_per_th(power_w: Floats, hashrate_hs: Floats) -> Floats:
    """Joules per terahash at the wall; NaN where nothing is hashed."""
    return power_w / np.where(hashrate_hs > 0.0, hashrate_hs, np.nan) * TERA


def breakeven_usd_per_kwh(
    hashprice_usd_ph_day: float, efficiency: Floats, realised_ratio: float = 1.0, overhead: float = 0.0
) -> Floats:
    """Power price at which a machine earns exactly what its power costs.

    Units:   USD/PH/day, J/TH, ratios -> USD/kWh.
    Missing: NaN in, NaN out.
    Source:  1 PH/s at e J/TH draws e kW, so 24*e kWh a day.  54.3 and 17.5 -> 0.1293.
    """
    return hashprice_usd_ph_day * realised_ratio / (HOURS_PER_DAY * efficiency * (1.0 + overhead))


def breakeven_hashprice_usd_per_ph_day(
    efficiency: Floats, usd_per_kwh: Floats | float, realised_ratio: float = 1.0, overhead: float = 0.0
) -> Floats:
    """Hashprice at which a machine earns exactly what its power costs.

    Units:   J/TH, USD/kWh, ratios -> USD/PH/day.  Below zero where power has a negative price: it then always pays.
    Missing: NaN in, NaN out.
    """
    return HOURS_PER_DAY * efficiency * (1.0 + overhead) * usd_per_kwh / realised_ratio


def accepted_revenue_usd_per_hour(
    hashprice_usd_ph_day: float, hashrate_hs: Floats, work_ratio: Floats, pool_fee: float
) -> Floats:
    """What the hash earned by accepted work; rejects are not in it, so only the fee comes off.

    Units:   USD/PH/day, H/s as claimed, accepted over claimed work, ratio -> USD/h.
    Missing: NaN in, NaN out.
    """
    return revenue_usd_per_hour(hashprice_usd_ph_day, hashrate_hs * work_ratio, 1.0 - pool_fee)


def dispatch_of(
    margin_usd_h: Floats, margin_error_usd_h: Floats, contradicting_usd_h: Floats, certainty_sigmas: float
) -> Codes:
    """Dispatch per machine.  Units: USD/h, all three; `contradicting_usd_h` is a margin by other evidence.

    Missing: no margin or no error of it, no verdict; NaN in `contradicting_usd_h` contradicts nothing.
    """
    is_small = np.abs(margin_usd_h) < certainty_sigmas * margin_error_usd_h
    is_contradicted = (margin_usd_h < 0.0) != (contradicting_usd_h < 0.0)
    verdict = np.where(margin_usd_h < 0.0, np.uint8(Dispatch.STOP), np.uint8(Dispatch.RUN))
    verdict[is_small | (is_contradicted & ~np.isnan(contradicting_usd_h))] = Dispatch.UNCERTAIN
    verdict[np.isnan(margin_usd_h) | np.isnan(margin_error_usd_h)] = Dispatch.UNKNOWN
    return verdict


def appraise(
    site: Site,
    snapshot: Snapshot,
    valuation: Valuation,
    is_stopped: Bools,
    power_usd_per_kwh: Floats | None = None,
    profit_share: Floats | float = 0.0,
) -> Economics:
    """Money per machine: a running one by what it does, a standing one by what it could do, any other not at all.

    Shapes:  columns in row order; `is_stopped` (n,) marks the machines whose advice in force is stop. A machine that
             is silent after our stop advice stands; a silent one otherwise is unknown and stays unpriced.
             `power_usd_per_kwh` (n,) is the price of each machine's tariff, None = the site's for all; `profit_share`
             (n,) what its host takes of a margin above zero.
    Missing: NaN with a reason. Not proven SHA-256, an unexpected pool, a hashrate that cannot be, two machines of one
             name, no market, no price of its power or no watts: never a margin.
    """
    terms = site.terms
    stands = ~snapshot.is_running & (is_stopped | (snapshot.up == 1.0))
    basis_hs = np.where(stands, snapshot.hashrate_if_running_hs, snapshot.hashrate_hs)
    basis_w = np.where(stands, snapshot.power_if_running_w, snapshot.power_w)
    usd_per_kwh = np.full(len(site), valuation.power_usd_per_kwh) if power_usd_per_kwh is None else power_usd_per_kwh
    has_market = not np.isnan(valuation.hashprice_usd_ph_day)
    reason = _why_unpriced(snapshot, has_market, np.isfinite(usd_per_kwh), stands, basis_hs, basis_w)
    is_priced = reason == Reason.NONE
    hashrate_hs = np.where(is_priced, basis_hs, np.nan)
    power_w = np.where(is_priced, basis_w, np.nan)
    revenue = revenue_usd_per_hour(valuation.hashprice_usd_ph_day, hashrate_hs, terms.realised_ratio)
    cost = energy_cost_usd_per_hour(power_w, terms.overhead, usd_per_kwh)
    power_sigma = np.where(
        stands,
        CAPABLE_POWER_SIGMA_RATIO[snapshot.power_if_running_source],
        np.where(
            np.isnan(snapshot.power_sigma_ratio),
            POWER_SIGMA_RATIO[snapshot.power_source],
            snapshot.power_sigma_ratio,
        ),
    )
    efficiency = efficiency_j_per_th(power_w, hashrate_hs)
    margin = revenue - cost
    margin_error = np.sqrt(
        revenue**2
        * (terms.hashprice_sigma_ratio**2 + valuation.difficulty_sigma_ratio**2 + terms.hashrate_sigma_ratio**2)
        + cost**2 * (power_sigma**2 + terms.power_price_sigma_ratio**2)
    )
    accepted = accepted_revenue_usd_per_hour(
        valuation.hashprice_usd_ph_day, hashrate_hs, np.where(stands, np.nan, snapshot.work_ratio), terms.pool_fee
    )
    is_doubted = (snapshot.suspect & Suspect.WORK) > 0
    breakeven_hashprice = breakeven_hashprice_usd_per_ph_day(
        efficiency, usd_per_kwh, terms.realised_ratio, terms.overhead
    )
    return Economics(
        hashrate_hs=hashrate_hs,
        power_w=power_w,
        is_capable=stands & is_priced,
        revenue_usd_h=revenue,
        energy_cost_usd_h=cost,
        margin_usd_h=margin,
        margin_error_usd_h=margin_error,
        breakeven_usd_kwh=breakeven_usd_per_kwh(
            valuation.hashprice_usd_ph_day, efficiency, terms.realised_ratio, terms.overhead
        ),
        efficiency_j_per_th=efficiency,
        reason=reason,
        accepted_revenue_usd_h=accepted,
        breakeven_hashprice_usd_ph_day=breakeven_hashprice,
        breakeven_btc_usd=breakeven_hashprice / valuation.hashprice_btc_ph_day,
        dispatch=dispatch_of(
            margin, margin_error, np.where(is_doubted, accepted - cost, np.nan), terms.certainty_sigmas
        ),
        kept_margin_usd_h=after_profit_share(margin, profit_share),
    )


def _why_unpriced(
    snapshot: Snapshot, has_market: bool, has_price: Bools, stands: Bools, basis_hs: Floats, basis_w: Floats
) -> Codes:
    """Reason per row, NONE where a margin can be said; the later lines are the stronger reasons."""
    reason = np.zeros(len(snapshot), np.uint8)
    reason[np.isnan(basis_w)] = Reason.NO_POWER
    reason[np.isnan(basis_hs)] = Reason.NO_HASHRATE
    reason[~has_price] = Reason.NO_POWER_PRICE
    if not has_market:
        reason[:] = Reason.NO_MARKET
    reason[snapshot.hashrate_reason == Reason.IMPLAUSIBLE] = Reason.IMPLAUSIBLE
    reason[~snapshot.is_expected_pool] = Reason.WRONG_POOL
    reason[~snapshot.is_sha256] = Reason.NOT_SHA256
    is_unknown = ~snapshot.is_running & ~stands
    reason[is_unknown] = Reason.UNREACHABLE
    reason[is_unknown & np.isnan(snapshot.up)] = Reason.NEVER_SEEN
    reason[snapshot.is_conflict] = Reason.CONFLICT
    return reason
