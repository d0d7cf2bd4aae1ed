"""What one kilowatt-hour more costs, in USD: at an instant, over a horizon, and as a bill.

    price = ((energy * (1 + losses) + adders + shadows) * (1 + taxes)) * rate of exchange

`energy` is one number, a `Schedule` (time of use) or an `Index` (a series somebody publishes). `adders` are the fixed
parts per kWh. `shadows` turn what is billed per kW into a price per kWh: a demand charge or a coincident peak costs
nothing for most hours and very much for a few, so it is a probability times a rate, in windows of the calendar.
What is sunk (a demand already set this month) is no part of the price.

Every price is a step function of time, so a bill is an exact sum and the same whatever the step of the question. What
is not known is NaN with a reason (`series.Gap`). A series is handed in as it is known; nothing here looks for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.market import InputState
from fleet.series import Gap, Series
from fleet.timeofuse import Schedule
from fleet.units import JOULES_PER_KWH, SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
SeriesByName = Mapping[str, Series]

USD = "USD"
ENERGY_BOUNDS_USD_KWH = (-5.0, 25.0)
"""An energy price outside is a slip of units or a broken source: the highest cap of ERCOT has been 9 USD/kWh."""

WORST_LAST = (
    InputState.FRESH,
    InputState.STALE_SOFT,
    InputState.STALE_HARD,
    InputState.CONFLICT,
    InputState.MISSING,
)
"""The states of a price, each told in a column by its place here."""


@dataclass(frozen=True, slots=True)
class FlatTariff:
    """The same all-in marginal price at every hour, in USD/kWh."""

    usd_per_kwh: float
    source: str = "flat"

    def price_usd_per_kwh(self, at_s: float) -> float:
        """All-in marginal price at Unix time `at_s`, USD/kWh; NaN where the tariff does not say."""
        return self.usd_per_kwh


@dataclass(frozen=True, slots=True)
class Index:
    """Energy at what a series says, in the currency of the tariff per kWh."""

    series: str


@dataclass(frozen=True, eq=False)
class Tariff:
    """The parts of a price, in `currency` per kWh; `losses` and `tax` are ratios.

    `shadows` are schedules with a price elsewhere (`Schedule.elsewhere`), so that they say something at every instant.
    `profit_share` is what the host takes of a margin above zero; see `after_profit_share`. `believable` bounds the
    price of energy by the operator's word: nobody else publishes it, so nothing else tells a slip from a dear hour.
    """

    energy: float | Schedule | Index
    name: str = ""
    currency: str = USD
    losses: float = 0.0
    adder: float = 0.0
    shadows: tuple[Schedule, ...] = ()
    tax: float = 0.0
    profit_share: float = 0.0
    believable: tuple[float, float] = (-math.inf, math.inf)

    @property
    def source(self) -> str:
        """Where the price comes from, in a word."""
        match self.energy:
            case Schedule():
                return "time_of_use"
            case Index(series):
                return series
        return "flat"


@dataclass(frozen=True, slots=True)
class PowerPrice:
    """The price of power under one tariff at one instant, as an input of a decision.

    Missing: NaN unless it is FRESH or STALE_SOFT. `as_of_s` is the start of the step that it is of, NaN for a price
    that does not age. `profit_share` is what the host takes of a margin above zero, a ratio.
    """

    tariff: str
    usd_per_kwh: float
    source: str
    state: InputState
    as_of_s: float = math.nan
    profit_share: float = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether a machine may be valued by it."""
        return self.state in (InputState.FRESH, InputState.STALE_SOFT)


@dataclass(frozen=True, eq=False)
class Prices:
    """USD/kWh per instant; NaN with its `series.Gap` where there is no price."""

    usd_per_kwh: Floats
    reason: Codes


def pair_of(currency: str) -> str:
    """The name of the series that holds dollars per unit of `currency`: EUR -> EUR/USD."""
    return f"{currency}/{USD}"


def exchange_rate(currency: str, known: SeriesByName, now_s: float) -> tuple[float, InputState]:
    """USD per unit of `currency` as far as known at `now_s`; 1 for the dollar itself. NaN where missing or too old."""
    if currency == USD:
        return 1.0, InputState.FRESH
    series = known.get(pair_of(currency))
    if series is None or series.unit != pair_of(currency):
        return math.nan, InputState.MISSING
    rate, state, _ = series.now(now_s)
    return rate, state


def price_now(tariff: Tariff, known: SeriesByName, now_s: float) -> PowerPrice:
    """The price at `now_s` with its state: the worse one of energy and rate of exchange."""
    rate, rate_state = exchange_rate(tariff.currency, known, now_s)
    energy, state, as_of_s = _energy_now(tariff, known, now_s)
    usd_per_kwh = float(_all_in(tariff, np.array([energy]), np.array([now_s]))[0]) * rate
    worst = max(state, rate_state, key=WORST_LAST.index)
    if _is_outside(tariff, np.float64(energy), rate):
        usd_per_kwh, worst = math.nan, InputState.MISSING
    return PowerPrice(tariff.name, usd_per_kwh, tariff.source, worst, as_of_s, tariff.profit_share)


def flat_price(tariff: FlatTariff, now_s: float) -> PowerPrice:
    """The price of a tariff that is one number; MISSING where it is none."""
    usd_per_kwh = tariff.price_usd_per_kwh(now_s)
    state = InputState.MISSING if math.isnan(usd_per_kwh) else InputState.FRESH
    return PowerPrice("", usd_per_kwh, tariff.source, state)


def prices(tariff: Tariff, at_s: Floats, known: SeriesByName, now_s: float) -> Prices:
    """The price at each instant, as far as it is known at `now_s`; the rate of exchange is the one of `now_s`.

    Shapes:  (n,) Unix seconds -> (n,) USD/kWh.
    Missing: NaN with its reason. Nothing stands in for a price that is not published.
    """
    energy, reason = _energy(tariff, known, at_s)
    rate, _ = exchange_rate(tariff.currency, known, now_s)
    reason = np.where((reason == Gap.NONE) & math.isnan(rate), np.uint8(Gap.NO_RATE), reason)
    reason = np.where(_is_outside(tariff, energy, rate), np.uint8(Gap.BOUNDS), reason)
    return Prices(np.where(reason == Gap.NONE, _all_in(tariff, energy, at_s) * rate, math.nan), reason)


def mean_prices(tariff: Tariff, edges_s: Floats, known: SeriesByName, now_s: float) -> Floats:
    """The exact mean price over each interval between neighbouring edges, USD/kWh.

    Shapes:  (n + 1,) ascending Unix seconds -> (n,).
    Missing: NaN for an interval that holds an instant without a price.
    """
    inner = [part.changes_s(edges_s[0], edges_s[-1]) for part in _stepwise_parts(tariff, known)]
    cuts = np.unique(np.concatenate([edges_s, *inner]))
    paid = prices(tariff, cuts[:-1], known, now_s).usd_per_kwh * np.diff(cuts)
    sums: Floats = np.add.reduceat(paid, np.searchsorted(cuts, edges_s[:-1]))
    return sums / np.diff(edges_s)


def bill_usd(tariff: Tariff, edges_s: Floats, power_w: Floats, known: SeriesByName, now_s: float) -> float:
    """What a load costs: `power_w[i]` watts from `edges_s[i]` to `edges_s[i + 1]`. NaN where any price is missing.

    Linear in power, and the same however the time is cut into intervals.
    """
    energy_kwh = power_w * np.diff(edges_s) / JOULES_PER_KWH
    return float(np.sum(energy_kwh * mean_prices(tariff, edges_s, known, now_s)))


def demand_shadow_per_kwh(per_kw: float, probability: float, interval_s: float) -> float:
    """What a kWh more in an interval costs through a charge on the highest kW of the month.

    Units:  money per kW of the billed maximum; the probability that this interval sets it, above the maximum so far
            (0 where the load stays below it: then the charge is sunk); length of the metered interval -> money per kWh.
    Source: a kWh more in an interval of h hours is 1/h kW more. 10 per kW, 0.02, 900 s -> 0.8.
    """
    return per_kw * probability * SECONDS_PER_HOUR / interval_s


def coincident_peak_shadow_per_kwh(per_kw_year: float, peaks: int, probability: float, interval_s: float) -> float:
    """The same for transmission charged on the load in the `peaks` system peaks of a year (four in ERCOT).

    Source: 60 per kW-year, 4 peaks, probability 0.05, 900 s -> 3.0 per kWh (3,000 per MWh).
    """
    return demand_shadow_per_kwh(per_kw_year / peaks, probability, interval_s)


def after_profit_share(margin_usd_h: Floats, share: Floats | float) -> Floats:
    """The miner's part of a margin where the host takes `share` of what is above zero. Never changes a sign."""
    return np.where(margin_usd_h > 0.0, margin_usd_h * (1.0 - share), margin_usd_h)


def _is_outside(tariff: Tariff, energy: Floats | np.float64, rate: float) -> npt.NDArray[np.bool_] | np.bool_:
    (least, most), (low, high) = tariff.believable, ENERGY_BOUNDS_USD_KWH
    # False for NaN, which has a reason already
    return (energy < least) | (energy > most) | (energy * rate < low) | (energy * rate > high)


def _all_in(tariff: Tariff, energy: Floats, at_s: Floats) -> Floats:
    """The whole price from that of energy, in the tariff's currency; NaN in, NaN out."""
    is_known = np.isfinite(at_s)
    finite_s = np.where(is_known, at_s, 0.0)
    shadow = sum((part.per_kwh(finite_s) for part in tariff.shadows), np.zeros(len(at_s)))
    price = (energy * (1.0 + tariff.losses) + tariff.adder + shadow) * (1.0 + tariff.tax)
    return np.where(is_known, price, math.nan)


def _energy(tariff: Tariff, known: SeriesByName, at_s: Floats) -> tuple[Floats, Codes]:
    is_known = np.isfinite(at_s)
    reason = np.where(is_known, np.uint8(Gap.NONE), np.uint8(Gap.NO_TIME))
    match tariff.energy:
        case Schedule() as schedule:
            return np.where(is_known, schedule.per_kwh(np.where(is_known, at_s, 0.0)), math.nan), reason
        case Index(name):
            if (why := _why_unusable(known.get(name), tariff.currency)) is not Gap.NONE:
                return np.full(len(at_s), math.nan), np.where(is_known, np.uint8(why), reason)
            return known[name].look_up(at_s)
        case flat:
            nothing = np.uint8(Gap.NONE if math.isfinite(flat) else Gap.NO_SERIES)
            return np.where(is_known, flat, math.nan), np.where(is_known, nothing, reason)


def _energy_now(tariff: Tariff, known: SeriesByName, now_s: float) -> tuple[float, InputState, float]:
    if isinstance(tariff.energy, Index):
        name = tariff.energy.series
        if _why_unusable(known.get(name), tariff.currency) is not Gap.NONE:
            return math.nan, InputState.MISSING, math.nan
        return known[name].now(now_s)
    (energy,), _ = _energy(tariff, known, np.array([now_s]))
    return float(energy), InputState.MISSING if math.isnan(energy) else InputState.FRESH, math.nan


def _why_unusable(series: Series | None, currency: str) -> Gap:
    if series is None:
        return Gap.NO_SERIES
    return Gap.NONE if series.unit == currency else Gap.CURRENCY


def _stepwise_parts(tariff: Tariff, known: SeriesByName) -> Sequence[Schedule | Series]:
    parts: list[Schedule | Series] = list(tariff.shadows)
    match tariff.energy:
        case Schedule() as schedule:
            parts.append(schedule)
        case Index(name) if name in known:
            parts.append(known[name])
    return parts
