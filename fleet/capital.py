"""Is a machine worth its place, and its power more elsewhere? Questions of months; none of them turns a machine.

Whoever keeps a machine owns a strip of options: in each month it runs only while that pays, so its worth rises with the
uncertainty of the hashprice. `retire` sums these options, less what a place costs, and compares with what the machine
would fetch today. `by_feeder` sets what hash earns per kWh against what another use of the same power would pay, feeder
by feeder, because one converts a feeder and not a machine. `judge` is both of a cycle; it stands behind the decision,
which knows nothing of it.

All inputs are the operator's. There is no default for any of them, and nothing is judged without them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from fleet.cycle import Cycle
from fleet.economics import Economics, energy_cost_usd_per_hour
from fleet.naming import full_model
from fleet.site import Site, fold_model
from fleet.tariff import PowerPrice, flat_price
from fleet.units import TERA, WATTS_PER_KW

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

MONTHS_PER_YEAR = 12
HOURS_PER_MONTH = 8766.0 / MONTHS_PER_YEAR
"""Of a year of 365.25 days."""

PRICED_ENOUGH = 0.95
"""Share of a feeder's machines that must have a margin before it is judged: in a real hall one is always silent."""

CHUNK_ROWS = 8192
"""Machines that are judged at once: their columns stay in the cache, and no step is long."""


@dataclass(frozen=True, slots=True)
class KeepTerms:
    """What keeping a machine costs and what it would fetch. NaN = the operator did not say: then there is no verdict.

    Prices of machines are per TH/s, as the market quotes them, and net of the cost of selling.
    """

    months: int = 0  # how long it would be kept; 0 = the operator did not say
    uptime_ratio: float = math.nan  # share of the time in which it could run
    slot_usd_month: float = math.nan  # rent of its place
    repair_usd_month: float = math.nan
    labour_usd_month: float = math.nan
    resale_usd_th: float = math.nan  # what it fetches today
    residual_usd_th: float = math.nan  # and at the end
    discount_per_year: float = math.nan  # continuous rate
    hashprice_decline_per_year: float = math.nan  # share that the forward hashprice loses in a year
    hashprice_sigma_per_root_year: float = math.nan  # relative, of a random walk
    power_usd_kwh: float = math.nan  # all-in, on average over the months; only where the price of now is not that

    @property
    def untold(self) -> tuple[str, ...]:
        """The names of what the operator did not say; the price of power is no part of it."""
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "power_usd_kwh"}
        return tuple(name for name, value in told.items() if math.isnan(value) or (name == "months" and value < 1))


@dataclass(frozen=True, slots=True)
class CapitalTerms:
    """All that the operator says about the worth of machines and of power. Models are named as `fold_model` does.

    `varying_tariffs`: whose price of now is not that of the months to come; there `KeepTerms.power_usd_kwh` is needed.
    """

    keep: KeepTerms = KeepTerms()
    keep_by_model: Mapping[str, KeepTerms] = field(default_factory=lambda: MappingProxyType({}))
    varying_tariffs: frozenset[str] = frozenset()
    alternative_usd_kwh: float = math.nan  # of every feeder that has none of its own
    alternative_by_feeder: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


class Keep(IntEnum):
    """Whether a machine is worth its place."""

    UNKNOWN = 0
    KEEP = 1
    RETIRE = 2
    UNCERTAIN = 3  # the difference is smaller than its error


@dataclass(frozen=True, eq=False)
class Worth:
    """USD per machine; NaN and UNKNOWN where the machine has no margin (`Economics.reason`) or a term is not told."""

    keep_usd: Floats
    keep_error_usd: Floats  # one standard deviation, from that of the margin
    resale_usd: Floats
    verdict: Codes  # Keep


def retire(
    economics: Economics, terms: KeepTerms, certainty_sigmas: float = 1.0, kept_ratio: Floats | float = 1.0
) -> Worth:
    """What each machine is worth in its place against what it fetches.

    Method:  each month counts at its middle, with the revenue of a hashprice that declines and spreads; its earning is
             the expectation of max(margin, 0), not the larger of the expected margin and 0, and `kept_ratio` of it is
             the owner's.
    Missing: NaN in, NaN and UNKNOWN out; a term that is not told leaves every machine so.
    """
    hash_th = economics.hashrate_hs / TERA
    resale = hash_th * terms.resale_usd_th
    if terms.untold:
        nothing = np.full(len(hash_th), np.nan)
        return Worth(nothing, nothing, resale, np.zeros(len(hash_th), np.uint8))
    worth, per_margin = np.zeros(len(hash_th)), np.zeros(len(hash_th))
    upkeep_usd_month = terms.slot_usd_month + terms.repair_usd_month + terms.labour_usd_month
    for month in range(terms.months):
        years = (month + 0.5) / MONTHS_PER_YEAR
        discount = math.exp(-terms.discount_per_year * years)
        revenue = economics.revenue_usd_h * (1.0 - terms.hashprice_decline_per_year) ** years
        sigma = revenue * (terms.hashprice_sigma_per_root_year * math.sqrt(years))
        gain, chance = expected_gain(revenue - economics.energy_cost_usd_h, sigma)
        hours = HOURS_PER_MONTH * terms.uptime_ratio * kept_ratio
        worth += (hours * gain - upkeep_usd_month) * discount
        per_margin += hours * discount * chance
    worth += hash_th * terms.residual_usd_th * math.exp(-terms.discount_per_year * terms.months / MONTHS_PER_YEAR)
    error = per_margin * economics.margin_error_usd_h
    verdict = np.where(worth < resale, np.uint8(Keep.RETIRE), np.uint8(Keep.KEEP))
    verdict[np.abs(worth - resale) < certainty_sigmas * error] = Keep.UNCERTAIN
    verdict[np.isnan(worth) | np.isnan(error) | np.isnan(resale)] = Keep.UNKNOWN
    return Worth(worth, error, resale, verdict)


def expected_gain(mean: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """E[max(m, 0)] of a normal m, and the probability that m > 0, which is also its derivative by the mean.

    Missing: NaN in, NaN out.  Without a spread it is max(mean, 0).
    Error:   below 1e-12 of `sigma`.
    """
    has_spread = sigma > 0.0
    z = np.where(has_spread, mean / np.where(has_spread, sigma, 1.0), 0.0)
    chance = np.where(has_spread, _normal_cdf(z), (mean > 0.0) * 1.0)
    gain = mean * chance + sigma * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    is_missing = np.isnan(mean) | np.isnan(sigma)
    return np.where(is_missing, np.nan, gain), np.where(is_missing, np.nan, chance)


_END, _STEPS = 9.0, 512
_NODES = np.arange(-_END, _END + 1.0, 1.0 / _STEPS)
_CDF = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _NODES])
_DENSITY = np.exp(-0.5 * _NODES**2) / math.sqrt(2.0 * math.pi)


def _normal_cdf(z: Floats) -> Floats:
    """The normal distribution function between nodes 1/512 apart, by a cubic that has its slopes too: 5e-14 off."""
    place = (np.clip(np.nan_to_num(z), -_END, _END) + _END) * _STEPS
    node = place.astype(np.int64)
    t = place - node
    low, high = _CDF[node], _CDF[node + 1]
    slope_low, slope_high = _DENSITY[node] / _STEPS, _DENSITY[node + 1] / _STEPS
    step = high - low
    return np.asarray(low + t * (slope_low + t * (3.0 * step - 2.0 * slope_low - slope_high
                                                  + t * (slope_low + slope_high - 2.0 * step))))  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeederValue:
    """One feeder: what hash makes of its power, and what another use would pay for the same.

    `alternative_usd_kwh` is gross of the price of power, as mining's revenue is. `is_worth_more`: None where the
    alternative is not told, or where fewer than `PRICED_ENOUGH` of its machines are priced: then nobody knows what hash
    earns there.
    """

    feeder: str
    machines: int
    unpriced: int
    power_w: float  # at the wall, of the priced ones; a standing one counts as what it would draw; NaN = none is priced
    below_w: float  # of those that make less of a kWh than the alternative pays; NaN also where that is not told
    mining_usd_kwh: float  # revenue per kWh with the site's overhead; NaN where no machine is priced
    alternative_usd_kwh: float
    is_worth_more: bool | None

    @property
    def priced_ratio(self) -> float:
        """Share of its machines that all the numbers are of."""
        return (self.machines - self.unpriced) / self.machines


def by_feeder(site: Site, economics: Economics, alternative_usd_kwh: Mapping[str, float]) -> tuple[FeederValue, ...]:
    """The feeders of the inventory in order of name, with the operator's alternative for each that has one.

    A machine that names no feeder is in none. Nothing here stops a machine.
    """
    names, places = site.feeders
    told = np.array([alternative_usd_kwh.get(name, math.nan) for name in names] + [math.nan])  # the last for place -1
    is_priced = ~np.isnan(economics.margin_usd_h)
    is_below = is_priced & (economics.breakeven_usd_kwh < told[places])

    def total(column: Floats, chosen: npt.NDArray[np.bool_]) -> list[float]:
        rows = chosen & (places >= 0)
        return list(map(float, np.bincount(places[rows], weights=column[rows], minlength=len(names))))

    ones = np.ones(len(places))
    columns = zip(
        names,
        total(ones, np.ones(len(places), bool)),
        total(ones, ~is_priced),
        total(economics.power_w, is_priced),
        total(economics.power_w, is_below),
        total(economics.revenue_usd_h, is_priced),
        told[:-1].tolist(),
        strict=True,
    )
    return tuple(
        _feeder(name, int(machines), int(unpriced), power_w, below_w, revenue, alternative, site.terms.overhead)
        for name, machines, unpriced, power_w, below_w, revenue, alternative in columns
    )


def _feeder(
    name: str,
    machines: int,
    unpriced: int,
    power_w: float,
    below_w: float,
    revenue_usd_h: float,
    alternative: float,
    overhead: float,
) -> FeederValue:
    is_told = not math.isnan(alternative)
    is_any_priced = machines > unpriced
    mining = revenue_usd_h / (power_w / WATTS_PER_KW * (1.0 + overhead)) if power_w > 0.0 else math.nan
    is_known = is_told and power_w > 0.0 and machines - unpriced >= PRICED_ENOUGH * machines
    return FeederValue(
        feeder=name,
        machines=machines,
        unpriced=unpriced,
        power_w=power_w if is_any_priced else math.nan,
        below_w=below_w if is_told and is_any_priced else math.nan,
        mining_usd_kwh=mining,
        alternative_usd_kwh=alternative,
        is_worth_more=alternative > mining if is_known else None,
    )


@dataclass(frozen=True, eq=False)
class Appraisal:
    """The worth of a fleet at one instant. It carries its own ids: by the time it is read, the site may have grown."""

    at_s: float
    ids: tuple[str, ...]
    priced: int  # machines that had a margin
    worth: Worth
    feeders: tuple[FeederValue, ...]


@dataclass(frozen=True, eq=False)
class Holding:
    """A fleet at one instant as far as its worth rests on it, whoever tells it. Columns are in row order.

    `models`: as the machine says, with its maker where people need it (`full_model`), else the inventory; empty where
    neither does. `power`: the price of each tariff in use, the site's first.
    """

    at_s: float
    site: Site
    models: tuple[str, ...]
    economics: Economics
    power: tuple[PowerPrice, ...]
    hashprice_usd_ph_day: float
    power_usd_kwh: float


def holding_of(cycle: Cycle) -> Holding:
    """What is judged of a cycle."""
    told = zip(cycle.snapshot.infos, cycle.site.machines, strict=True)
    return Holding(
        at_s=cycle.at_s,
        site=cycle.site,
        models=tuple(full_model(info.make, info.model) or machine.model or "" for info, machine in told),
        economics=cycle.economics,
        power=cycle.power or (flat_price(cycle.site.tariff, cycle.at_s),),
        hashprice_usd_ph_day=cycle.valuation.hashprice_usd_ph_day,
        power_usd_kwh=cycle.valuation.power_usd_per_kwh,
    )


def judge(cycle: Cycle, terms: CapitalTerms) -> Appraisal:
    """Machines and feeders of a cycle by what the operator says of them. Pure, and long enough for a thread."""
    return judge_holding(holding_of(cycle), terms)


def judge_holding(holding: Holding, terms: CapitalTerms) -> Appraisal:
    """The same of a fleet, whoever tells it."""
    names, _ = holding.site.feeders
    alternatives = {name: terms.alternative_by_feeder.get(name, terms.alternative_usd_kwh) for name in names}
    return Appraisal(
        at_s=holding.at_s,
        ids=holding.site.ids,
        priced=int(np.count_nonzero(~np.isnan(holding.economics.margin_usd_h))),
        worth=_worth(holding, terms),
        feeders=by_feeder(holding.site, holding.economics, alternatives),
    )


def _worth(holding: Holding, terms: CapitalTerms) -> Worth:
    """`retire` of each machine by the terms of its model and its tariff, a chunk at a time."""
    site, power = holding.site, holding.power
    count, overhead = len(site), site.terms.overhead
    worth = Worth(np.full(count, np.nan), np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, np.uint8))
    group = _groups(holding, tuple(terms.keep_by_model))
    kept_ratio = 1.0 - site.profit_shares(power)
    is_varying = site.by_tariff([_flagged(price, price.tariff in terms.varying_tariffs) for price in power]) > 0.0
    for each, keep in enumerate((terms.keep, *terms.keep_by_model.values())):
        chosen = np.flatnonzero(group == each)
        for start in range(0, len(chosen), CHUNK_ROWS):
            rows = chosen[start : start + CHUNK_ROWS]
            part = _rows_of(holding.economics, rows)
            on_average = energy_cost_usd_per_hour(part.power_w, overhead, keep.power_usd_kwh)
            part = replace(part, energy_cost_usd_h=np.where(is_varying[rows], on_average, part.energy_cost_usd_h))
            found = retire(part, keep, site.terms.certainty_sigmas, kept_ratio[rows])
            for column in fields(Worth):
                getattr(worth, column.name)[rows] = getattr(found, column.name)
    return worth


def _flagged(price: PowerPrice, flag: bool) -> PowerPrice:
    """A flag in the place of the price, so that it finds its machines by the same way."""
    return replace(price, usd_per_kwh=float(flag))


def _rows_of(economics: Economics, rows: Rows) -> Economics:
    return Economics(**{column.name: getattr(economics, column.name)[rows] for column in fields(Economics)})


def _groups(holding: Holding, models: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Per machine the place of its model in `models`, counted from 1; 0 where it is none of them."""
    if not models:
        return np.zeros(len(holding.site), np.int64)
    place = {model: i for i, model in enumerate(models, start=1)}
    return np.array([place.get(fold_model(model), 0) for model in holding.models], np.int64)
