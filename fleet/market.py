"""Market numbers with their as-of times, and the hashprice that follows from them.

Hashprice is computed from difficulty, block reward and price, never from an estimate of network hashrate: the two
differ by 8 to 19 per cent exactly when it matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.units import HASHES_PER_DIFFICULTY_1, PETA, SATS_PER_BTC, SECONDS_PER_DAY

HALVING_INTERVAL = 210_000
RETARGET_INTERVAL = 2016
EXPECTED_SOLUTIONS_PER_PH_DAY = SECONDS_PER_DAY * PETA / HASHES_PER_DIFFICULTY_1
"""Difficulty-1 solutions that 1 PH/s finds in a day, 2.0116567611694e10."""


class MarketInput(StrEnum):
    """The independent quantities a hashprice is made of, and the price of power."""

    DIFFICULTY = "difficulty"
    HEIGHT = "height"
    BLOCK_FEES_BTC = "block_fees_btc"
    BTC_USD = "btc_usd"


class InputState(StrEnum):
    FRESH = "fresh"
    STALE_SOFT = "stale_soft"  # past its soft age: decisions go on, status is degraded
    STALE_HARD = "stale_hard"  # past its hard age: no new economic action
    MISSING = "missing"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Quote:
    """One number of one source. `as_of_s` is the source's own time where it says one, else the time of receipt.

    `soft_s` and `good_for_s` are the ages after which it is a warning, and no longer an input; inf = for ever.
    """

    input: MarketInput
    source: str
    value: float
    as_of_s: float
    soft_s: float
    good_for_s: float


SOFT_AGE_S: Mapping[MarketInput, float] = {
    MarketInput.BTC_USD: 120.0,
    MarketInput.DIFFICULTY: 45 * 60.0,
    MarketInput.HEIGHT: 45 * 60.0,
    MarketInput.BLOCK_FEES_BTC: 45 * 60.0,
}
HARD_AGE_S: Mapping[MarketInput, float] = {
    MarketInput.BTC_USD: 900.0,
    MarketInput.DIFFICULTY: 6 * 3600.0,
    MarketInput.HEIGHT: 6 * 3600.0,
    MarketInput.BLOCK_FEES_BTC: 24 * 3600.0,
}

BOUNDS: Mapping[MarketInput, tuple[float, float]] = {
    MarketInput.DIFFICULTY: (1.0, 1e18),
    MarketInput.HEIGHT: (1.0, 1e8),
    MarketInput.BLOCK_FEES_BTC: (0.0, 20.0),
    MarketInput.BTC_USD: (1e3, 1e7),
}
"""A value outside is a broken source: it is refused at the decoder and never reaches a formula."""


def in_bounds(input: MarketInput, value: float) -> bool:
    low, high = BOUNDS[input]
    return math.isfinite(value) and low <= value <= high


@dataclass(frozen=True, slots=True)
class Market:
    """Every quote at hand, newest per (input, source). An immutable bag; `assess` judges it."""

    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, slots=True)
class Valuation:
    """What the market says at `at_s`, judged: the value used per input, its state, its age and sources, and the hashprice.

    A missing number is NaN. `used[input]` are the quotes behind the value (several where a median was taken).
    """

    at_s: float
    difficulty: float
    height: float
    reward_btc: float
    btc_usd: float
    hashprice_usd_ph_day: float
    hashprice_btc_ph_day: float
    states: Mapping[MarketInput, InputState]
    ages_s: Mapping[MarketInput, float]
    used: Mapping[MarketInput, tuple[Quote, ...]]
    power_usd_per_kwh: float
    power_source: str
