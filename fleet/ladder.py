"""The ladder of prices: which machines are under water at which hashprice and power price, and what that is worth.

Revenue is linear in hashprice and cost in the price of power, so at every level the machines under water are those that
need more joules per terahash than one cut-off. Sorted once by efficiency, the fleet answers each level by one search
and a difference of running sums: a level costs no further look at a machine.

At the levels every machine pays the price of the level. What each pays today, by its own tariff, is `at_own_prices`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fleet.economics import Floats, energy_cost_usd_per_hour, revenue_usd_per_hour
from fleet.market import hashprice_btc_per_ph_day
from fleet.site import EconomicTerms
from fleet.units import HOURS_PER_DAY, TERA

Ints = npt.NDArray[np.int64]

BTC_LEVELS_USD = (92_000.0, 88_000.0, 87_000.0, 74_000.0, 72_000.0, 70_600.0, 66_900.0, 62_600.0, 60_000.0, 50_000.0)
"""Prices of a bitcoin that market reports of the winter 2025/26 named as levels."""

HASHPRICE_LEVELS_USD_PH_DAY = (32.0,)
"""The hashprice of 5 February 2026, then the lowest on record."""

POWER_LEVELS_USD_KWH = (0.04, 0.05, 0.06, 0.07)


@dataclass(frozen=True, slots=True)
class Level:
    """One hashprice of the ladder, USD/PH/day, and the price of a bitcoin that it stands for; NaN = cannot be said."""

    hashprice_usd_ph_day: float
    btc_usd: float = math.nan
    is_now: bool = False


@dataclass(frozen=True, eq=False)
class Ladder:
    """The fleet at every pair of hashprice (first axis) and power price (second axis).

    `order`: rows of the priced machines, the most efficient first; at a level the first `above` of it earn what they
    cost, and the last `under` do not. A machine without hashrate or watts is in neither: `unpriced` counts those.
    `freed_w`: watts at the wall that those under water would no longer draw, less their standby.
    `loss_usd_day`: what those under water would lose if they ran, 0 or more; `margin_usd_day`: of those above.
    """

    order: Ints
    unpriced: int
    efficiency_j_per_th: Floats  # in `order`
    cutoff_j_per_th: Floats
    above: Ints
    under: Ints
    freed_w: Floats
    loss_usd_day: Floats
    margin_usd_day: Floats


def cutoff_j_per_th(hashprice_usd_ph_day: Floats, usd_per_kwh: Floats, terms: EconomicTerms) -> Floats:
    """Efficiency at which a machine earns exactly what its power costs, at every pair of the two prices.

    Units:   USD/PH/day (h,), USD/kWh (p,) -> J/TH (h, p); inf where power costs nothing, or less than that.
    Missing: NaN in, NaN out.
    Source:  1 PH/s at e J/TH draws e kW.  31.58 and 0.06 net of 1 %, 0.4 % and 5 % -> 20.6.
    """
    earned = hashprice_usd_ph_day * terms.realised_ratio
    is_free = usd_per_kwh <= 0.0
    paid = HOURS_PER_DAY * (1.0 + terms.overhead) * np.where(is_free, 1.0, usd_per_kwh)
    with np.errstate(over="ignore"):  # next to nothing is nothing: inf
        return np.where(is_free[None, :], np.inf, earned[:, None] / paid[None, :])


def levels_of(
    btc_usd: Iterable[float],
    hashprices_usd_ph_day: Iterable[float],
    difficulty: float = math.nan,
    reward_btc: float = math.nan,
    now_usd_ph_day: float = math.nan,
) -> tuple[Level, ...]:
    """Prices of a bitcoin and hashprices as levels of one ladder, the highest first.

    Units:   USD, USD/PH/day, BTC per block. `now_usd_ph_day` is the present hashprice, a level of its own.
    Missing: without difficulty or reward no price of a bitcoin becomes a level, and no hashprice shows one.
    """
    btc_ph_day = hashprice_btc_per_ph_day(difficulty, reward_btc)
    levels = [Level(usd, usd / btc_ph_day) for usd in hashprices_usd_ph_day]
    if not math.isnan(btc_ph_day):
        levels += [Level(btc_ph_day * usd, usd) for usd in btc_usd]
    if not math.isnan(now_usd_ph_day):
        levels.append(Level(now_usd_ph_day, now_usd_ph_day / btc_ph_day, is_now=True))
    return tuple(sorted(levels, key=lambda level: -level.hashprice_usd_ph_day))


def climb(
    hashrate_hs: Floats,
    power_w: Floats,
    standby_w: Floats,
    hashprices_usd_ph_day: Sequence[float],
    usd_per_kwh: Sequence[float],
    terms: EconomicTerms,
) -> Ladder:
    """The ladder of a fleet: who would be under water at each pair of prices, every machine taken as if it ran.

    Units:   H/s, W at the wall, W of a sleeping machine, each (n,); USD/PH/day; USD/kWh with all its adders.
    Missing: a machine whose hashrate or watts are NaN is counted as unpriced, never as 0. Where power costs nothing or
             less, nobody is under water.
    Errors:  ValueError for a price that is no finite number, or a hashprice that is not above 0.
    """
    hashprices, prices = np.array(hashprices_usd_ph_day, np.float64), np.array(usd_per_kwh, np.float64)
    if not (np.isfinite(hashprices).all() and np.isfinite(prices).all() and (hashprices > 0.0).all()):
        raise ValueError("the levels of a ladder are finite numbers, and a hashprice is above 0")
    priced = np.flatnonzero(np.isfinite(hashrate_hs) & np.isfinite(power_w))
    efficiency = _efficiency(power_w[priced], hashrate_hs[priced])
    merit = np.argsort(efficiency, kind="stable")
    order, efficiency = priced[merit], efficiency[merit]

    cutoff = cutoff_j_per_th(hashprices, prices, terms)
    above = np.searchsorted(efficiency, cutoff, side="right")
    # running sums over the order, per USD of each price; entry k is the sum over the k most efficient machines
    earned = HOURS_PER_DAY * revenue_usd_per_hour(1.0, _running_sum(hashrate_hs[order]), terms.realised_ratio)
    paid = HOURS_PER_DAY * energy_cost_usd_per_hour(_running_sum(power_w[order]), terms.overhead, 1.0)
    freed = _running_sum(freed_w(power_w, standby_w)[order])
    loss = prices[None, :] * (paid[-1] - paid[above]) - hashprices[:, None] * (earned[-1] - earned[above])
    return Ladder(
        order=order,
        unpriced=len(hashrate_hs) - len(order),
        efficiency_j_per_th=efficiency,
        cutoff_j_per_th=cutoff,
        above=above,
        under=len(order) - above,
        freed_w=freed[-1] - freed[above],
        loss_usd_day=np.maximum(loss, 0.0),  # of nobody it is 0, and not what rounding leaves
        margin_usd_day=hashprices[:, None] * earned[above] - prices[None, :] * paid[above],
    )


def under_by_group(ladder: Ladder, group: Ints, groups: int) -> Ints:
    """Machines under water of each group (a model, a rack, an owner) at every level.

    Shapes: `group` (n,) is the group of each machine, 0 to `groups` - 1 -> (groups, hashprices, power prices).
    """
    counts = np.zeros((groups, *ladder.above.shape), np.int64)
    for each, places in enumerate(_places(ladder, group, groups)):
        counts[each] = len(places) - np.searchsorted(places, ladder.above)
    return counts


def freed_by_group(ladder: Ladder, group: Ints, groups: int, freed: Floats) -> Floats:
    """Watts freed of each group (a feeder) at every level; `freed` (n,) is what each machine would free, W.

    Shapes: as `under_by_group`; a machine whose group is -1 is in none.
    """
    watts = np.zeros((groups, *ladder.above.shape))
    for each, places in enumerate(_places(ladder, group, groups)):
        running = _running_sum(freed[ladder.order[places]])
        watts[each] = running[-1] - running[np.searchsorted(places, ladder.above)]
    return watts


def freed_w(power_w: Floats, standby_w: Floats) -> Floats:
    """Watts that a machine no longer draws when it sleeps, never below 0.  Missing: NaN in, NaN out."""
    return np.maximum(power_w - standby_w, 0.0)


def _places(ladder: Ladder, group: Ints, groups: int) -> list[Ints]:
    """Per group the places of its machines in `ladder.order`, ascending."""
    of_place = group[ladder.order]
    by_group = np.argsort(of_place, kind="stable")
    edges = np.searchsorted(of_place[by_group], np.arange(groups + 1))
    return [by_group[start:end] for start, end in pairwise(edges.tolist())]


@dataclass(frozen=True, eq=False)
class Today:
    """The fleet at one hashprice, each machine at its own price of power.

    `is_under` (n,): it would not earn what it costs. `unpriced` counts those of which that is not known: no hashrate,
    no watts, or no price of its power.
    """

    is_under: npt.NDArray[np.bool_]
    unpriced: int
    freed_w: Floats  # (n,), 0 where it is not under water
    loss_usd_day: float
    margin_usd_day: float


def at_own_prices(
    hashrate_hs: Floats,
    power_w: Floats,
    standby_w: Floats,
    hashprice_usd_ph_day: float,
    usd_per_kwh: Floats,
    terms: EconomicTerms,
) -> Today:
    """Who is under water at the price that each pays, every machine taken as if it ran.

    Units:   as `climb`; `usd_per_kwh` (n,).
    Missing: a machine with a NaN is unpriced, and under water for nobody.
    """
    cost = energy_cost_usd_per_hour(power_w, terms.overhead, usd_per_kwh)
    margin = HOURS_PER_DAY * (revenue_usd_per_hour(hashprice_usd_ph_day, hashrate_hs, terms.realised_ratio) - cost)
    is_under = margin < 0.0
    return Today(
        is_under=is_under,
        unpriced=int(np.count_nonzero(np.isnan(margin))),
        freed_w=np.where(is_under, freed_w(power_w, standby_w), 0.0),
        loss_usd_day=-float(margin[is_under].sum()) or 0.0,  # of nobody it is 0, and not -0
        margin_usd_day=float(margin[margin >= 0.0].sum()),
    )


def _efficiency(power_w: Floats, hashrate_hs: Floats) -> Floats:
    """J/TH; inf for watts without hash, 0 for neither, which costs nothing and is under water nowhere."""
    is_hashing = hashrate_hs > 0.0
    j_per_th = power_w / np.where(is_hashing, hashrate_hs, 1.0) * TERA
    return np.where(is_hashing, j_per_th, np.where(power_w > 0.0, np.inf, 0.0))


def _running_sum(values: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values)))
