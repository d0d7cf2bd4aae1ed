"""Market numbers with their as-of times, and the hashprice that follows from them.

Hashprice is computed from difficulty, block reward and price, never from an estimate of network hashrate: the two
differ by 8 to 19 per cent exactly when it matters.

Sources are merged per input, each by the rule that fits what it is: a price is a median, the height is the highest
seen, fees come from the best source of a ladder, and a difficulty is either agreed on or disputed, never averaged.
What sources dispute is NaN with state CONFLICT; what is too old keeps its state for all to see.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from fleet.units import HASHES_PER_DIFFICULTY_1, PETA, SATS_PER_BTC, SECONDS_PER_DAY, TERA

HALVING_INTERVAL = 210_000
RETARGET_INTERVAL = 2016
EXPECTED_SOLUTIONS_PER_PH_DAY = SECONDS_PER_DAY * PETA / HASHES_PER_DIFFICULTY_1
"""Difficulty-1 solutions that 1 PH/s finds in a day, 2.0116567611694e10."""


class MarketInput(StrEnum):
    """The independent quantities a hashprice is made of, and those of the outlook beside it."""

    DIFFICULTY = "difficulty"
    HEIGHT = "height"
    BLOCK_FEES_BTC = "block_fees_btc"
    BTC_USD = "btc_usd"
    # what follows feeds the outlook of fleet.retarget alone: it has no state in a Valuation and holds no advice up
    EPOCH_START_S = "epoch_start_s"  # time of the block whose height is the last multiple of 2016
    TIP_TIME_S = "tip_time_s"  # time of the block that the source gives as its height
    NETWORK_HASHRATE_HS = "network_hashrate_hs"  # an estimate over about a week (1008 blocks)
    NETWORK_HASHRATE_PEAK_HS = "network_hashrate_peak_hs"  # the highest of such estimates of about a year
    # what others publish as the hashprice: ours is compared with it, and it never takes the place of ours
    PUBLISHED_USD_PH_DAY = "published_usd_ph_day"


HASHPRICE_INPUTS = (MarketInput.DIFFICULTY, MarketInput.HEIGHT, MarketInput.BLOCK_FEES_BTC, MarketInput.BTC_USD)
"""What a hashprice is made of: the inputs whose state counts for the advice."""


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
    `at_height` is a block that this difficulty, or start of an epoch, holds for; without it the source's own height
    counts.
    `since_s` is the first as-of time of this value in a row, None where it is the first; a `Market` fills it in.
    """

    input: MarketInput
    source: str
    value: float
    as_of_s: float
    soft_s: float
    good_for_s: float
    at_height: float | None = None
    since_s: float | None = None


SOFT_AGE_S: Mapping[MarketInput, float] = {
    MarketInput.BTC_USD: 120.0,
    MarketInput.DIFFICULTY: 45 * 60.0,
    MarketInput.HEIGHT: 45 * 60.0,
    MarketInput.BLOCK_FEES_BTC: 45 * 60.0,
    MarketInput.EPOCH_START_S: 45 * 60.0,
    MarketInput.TIP_TIME_S: 45 * 60.0,
    MarketInput.NETWORK_HASHRATE_HS: 3 * 3600.0,
    MarketInput.NETWORK_HASHRATE_PEAK_HS: 24 * 3600.0,
    MarketInput.PUBLISHED_USD_PH_DAY: 3600.0,
}
HARD_AGE_S: Mapping[MarketInput, float] = {
    MarketInput.BTC_USD: 900.0,
    MarketInput.DIFFICULTY: 6 * 3600.0,
    MarketInput.HEIGHT: 6 * 3600.0,
    MarketInput.BLOCK_FEES_BTC: 24 * 3600.0,
    MarketInput.EPOCH_START_S: 6 * 3600.0,
    MarketInput.TIP_TIME_S: 6 * 3600.0,
    MarketInput.NETWORK_HASHRATE_HS: 24 * 3600.0,
    MarketInput.NETWORK_HASHRATE_PEAK_HS: 7 * SECONDS_PER_DAY,
    MarketInput.PUBLISHED_USD_PH_DAY: 6 * 3600.0,
}

BOUNDS: Mapping[MarketInput, tuple[float, float]] = {
    MarketInput.DIFFICULTY: (1.0, 1e18),
    MarketInput.HEIGHT: (1.0, 5e6),  # about the year 2104; ten times today's height is a slip
    MarketInput.BLOCK_FEES_BTC: (0.0, 20.0),
    MarketInput.BTC_USD: (1e3, 1e7),
    MarketInput.EPOCH_START_S: (1_231_006_505.0, 4.2e9),  # the first block; milliseconds are far outside
    MarketInput.TIP_TIME_S: (1_231_006_505.0, 4.2e9),
    MarketInput.NETWORK_HASHRATE_HS: (1e15, 1e24),
    MarketInput.NETWORK_HASHRATE_PEAK_HS: (1e15, 1e24),
    MarketInput.PUBLISHED_USD_PH_DAY: (2.0, 2000.0),  # far from any per TH, and from any in BTC
}
"""A value outside is a broken source: it is refused at the decoder and never reaches a formula."""


def in_bounds(input: MarketInput, value: float) -> bool:
    """Whether `value` can be an honest one of this input; False for NaN and infinity."""
    low, high = BOUNDS[input]
    return math.isfinite(value) and low <= value <= high


LADDER = ("fixed", "bitcoin_core", "mempool")
"""Sources by trust, best first, told by the start of their name; all others share the rung below."""

LAGGING_PRICES = ("mempool",)
"""Price sources that are never enough alone: hourly, and any currency may refresh the time stamp of all of them."""

CLOCK_TOLERANCE_S = 60.0
"""A quote from further in the future than this is a wrong clock, theirs or ours, and is not heard."""

DIFFICULTY_TOLERANCE = 1e-6  # one D printed with more or fewer digits
RETARGET_FACTOR = 4.0  # the consensus rules clamp one step to [1/4, 4]
PRICE_TOLERANCE = 0.20  # a ticker further off than this is broken, not a market


def subsidy_btc(height: float) -> float:
    """New coins of the block at `height` >= 0, BTC; NaN for NaN. Source: consensus, satoshis halved by a shift."""
    if math.isnan(height):
        return math.nan
    return (50 * SATS_PER_BTC >> int(height) // HALVING_INTERVAL) / SATS_PER_BTC


def reward_btc(height: float, block_fees_btc: float) -> float:
    """Reward of one block, BTC: subsidy and mean fees per block (of the last 144 blocks). NaN in, NaN out."""
    return subsidy_btc(height) + block_fees_btc


def hashprice_btc_per_ph_day(difficulty: float, reward_btc: float) -> float:
    """Expected earnings of 1 PH/s in a day, BTC/PH/day: blocks times reward; difficulty > 0. NaN in, NaN out."""
    return EXPECTED_SOLUTIONS_PER_PH_DAY / difficulty * reward_btc


def hashprice_usd_per_ph_day(difficulty: float, reward_btc: float, btc_usd: float) -> float:
    """Hashprice, USD/PH/day, FPPS-equivalent: what the published indices show.

    Missing: NaN in, NaN out.
    Errors:  ZeroDivisionError at difficulty 0, which BOUNDS refuses.
    Source:  Hashrate Index roundup of 2025-11-03: 155.97e12, 3.125 / (1 - 0.0062), 106935 -> 43.37 (printed 43.33).
    """
    return hashprice_btc_per_ph_day(difficulty, reward_btc) * btc_usd


def sats_per_th_day(difficulty: float, reward_btc: float) -> float:
    """The same in satoshis per TH/s and day."""
    return hashprice_btc_per_ph_day(difficulty, reward_btc) * SATS_PER_BTC * TERA / PETA


def target_from_bits(bits: int) -> int:
    """The number that a block's hash may not exceed, from its compact form (`bits` of a block header).

    Errors: ValueError where `bits` is no target: negative, zero, or easier than any chain allows.
    Source: Bitcoin's arith_uint256.
    """
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    if not 1 <= bits <= 0x207FFFFF or bits & 0x800000:
        raise ValueError(f"no target in compact form: {bits:#x}")
    shift = 8 * (exponent - 3)
    target = mantissa << shift if shift >= 0 else mantissa >> -shift
    if target == 0:
        raise ValueError(f"no target in compact form: {bits:#x}")
    return target


def difficulty_from_bits(bits: int) -> float:
    """Difficulty of a target in compact form.

    Errors: ValueError as `target_from_bits`.
    Source: Bitcoin's arith_uint256; 0x1701fca1 -> 141668107417558.25.
    """
    return (0xFFFF << 208) / target_from_bits(bits)


@dataclass(frozen=True, slots=True)
class Market:
    """Every quote at hand, newest per (input, source). An immutable bag; `assess` judges it."""

    quotes: tuple[Quote, ...] = ()

    def with_quotes(self, quotes: Iterable[Quote]) -> Market:
        """This market and `quotes`, the newest per (input, source); of two as new the later one counts."""
        kept = {(quote.input, quote.source): quote for quote in self.quotes}
        for quote in quotes:
            known = kept.get((quote.input, quote.source))
            if known is None or quote.as_of_s >= known.as_of_s:
                kept[quote.input, quote.source] = quote
        return Market(tuple(kept.values()))


def newest(quotes: Iterable[Quote]) -> Market:
    """A market of the newest of `quotes` per (input, source)."""
    return Market().with_quotes(quotes)


@dataclass(frozen=True, slots=True)
class Valuation:
    """What the market says at `at_s`, judged: the value used per input, its state, age and sources, and the hashprice.

    A missing number is NaN. `used[input]` are the quotes that value and state rest on: several where a median was
    taken, the disputing ones in a conflict, the expired ones past the hard age; `ages_s` is the age of the youngest.
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
    power_state: InputState = InputState.FRESH  # the worst of all tariffs in use; as of the start of the price's step
    power_as_of_s: float = math.nan


def assess(market: Market, power_usd_per_kwh: float, power_source: str, now_s: float) -> Valuation:
    """Judges every input of `market` at `now_s` and values a PH/s-day by what is left.

    Units:   Unix seconds; USD/kWh.
    Missing: an input without a usable quote is NaN, and so is every number that needs it. Past their hard age
             difficulty and height stay usable (they hold until the chain moves on), fees and price do not.
    Errors:  none for data: a quote out of bounds or from the future is not heard.
    """
    heard: dict[MarketInput, list[_Heard]] = {each: [] for each in MarketInput}
    for quote in market.quotes:
        age_s = now_s - quote.as_of_s
        if in_bounds(quote.input, quote.value) and not age_s < -CLOCK_TOLERANCE_S:
            heard[quote.input].append(_Heard(quote, max(age_s, 0.0), _state_at(quote, age_s)))

    heights = {each.quote.source: each.quote.value for each in heard[MarketInput.HEIGHT]}
    judgements = {
        MarketInput.DIFFICULTY: _difficulty(_live(heard[MarketInput.DIFFICULTY]), heights),
        MarketInput.HEIGHT: _height(_live(heard[MarketInput.HEIGHT])),
        MarketInput.BLOCK_FEES_BTC: _block_fees(_live(heard[MarketInput.BLOCK_FEES_BTC])),
        MarketInput.BTC_USD: _price(_live(heard[MarketInput.BTC_USD])),
    }
    difficulty = judgements[MarketInput.DIFFICULTY].value
    height = judgements[MarketInput.HEIGHT].value
    btc_usd = judgements[MarketInput.BTC_USD].value
    reward = reward_btc(height, judgements[MarketInput.BLOCK_FEES_BTC].value)
    return Valuation(
        at_s=now_s,
        difficulty=difficulty,
        height=height,
        reward_btc=reward,
        btc_usd=btc_usd,
        hashprice_usd_ph_day=hashprice_usd_per_ph_day(difficulty, reward, btc_usd),
        hashprice_btc_ph_day=hashprice_btc_per_ph_day(difficulty, reward),
        states={input: judgement.state for input, judgement in judgements.items()},
        ages_s={input: judgement.age_s for input, judgement in judgements.items()},
        used={input: judgement.used for input, judgement in judgements.items()},
        power_usd_per_kwh=power_usd_per_kwh,
        power_source=power_source,
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    quote: Quote
    age_s: float
    state: InputState


@dataclass(frozen=True, slots=True)
class _Judgement:
    value: float
    state: InputState
    age_s: float
    used: tuple[Quote, ...]


_BY_AGE = (InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD)
_MISSING = _Judgement(math.nan, InputState.MISSING, math.nan, ())


def _state_at(quote: Quote, age_s: float) -> InputState:
    # "not <=" instead of ">": an age or a limit of NaN must read as expired
    if not age_s <= quote.good_for_s:
        return InputState.STALE_HARD
    return InputState.FRESH if age_s <= quote.soft_s else InputState.STALE_SOFT


def _live(heard: Sequence[_Heard]) -> Sequence[_Heard]:
    """Those within their hard age; where there are none, all of them, so that the expired ones stay visible."""
    return [each for each in heard if each.state is not InputState.STALE_HARD] or heard


def _freshest(heard: Sequence[_Heard]) -> InputState:
    return min((each.state for each in heard), key=_BY_AGE.index)


def _resting_on(heard: Sequence[_Heard], value: float, state: InputState | None = None) -> _Judgement:
    return _Judgement(
        value,
        _freshest(heard) if state is None else state,
        min(each.age_s for each in heard),
        tuple(each.quote for each in heard),
    )


def _disputed(heard: Sequence[_Heard]) -> _Judgement:
    return _resting_on(heard, math.nan, InputState.CONFLICT)


def _rung(source: str) -> int:
    return next((rung for rung, name in enumerate(LADDER) if source.startswith(name)), len(LADDER))


def _difficulty(heard: Sequence[_Heard], heights: Mapping[str, float]) -> _Judgement:
    """The difficulty of the highest source, if every other one agrees or stands before the retarget it has passed."""
    if not heard:
        return _MISSING

    def height_of(each: _Heard) -> float:
        return heights.get(each.quote.source, -math.inf)

    best = min(heard, key=lambda each: (-height_of(each), _rung(each.quote.source), each.age_s, each.quote.source))
    agreeing = []
    for each in heard:
        if math.isclose(each.quote.value, best.quote.value, rel_tol=DIFFICULTY_TOLERANCE):
            agreeing.append(each)
        elif not _has_retargeted(each.quote.value, height_of(each), best.quote.value, height_of(best)):
            return _disputed(heard)
    return _resting_on(agreeing, best.quote.value)


def _has_retargeted(old: float, old_height: float, new: float, new_height: float) -> bool:
    """Whether both difficulties can be true: an epoch or more apart, by a step that consensus allows."""
    if not math.isfinite(old_height):
        return False
    return old_height // RETARGET_INTERVAL < new_height // RETARGET_INTERVAL and (
        1 / RETARGET_FACTOR <= new / old <= RETARGET_FACTOR
    )


def _height(heard: Sequence[_Heard]) -> _Judgement:
    """The highest height, as a chain only grows; disputed where the sources stand on two sides of a halving."""
    if not heard:
        return _MISSING
    if len({subsidy_btc(each.quote.value) for each in heard}) > 1:
        return _disputed(heard)
    tip = max(each.quote.value for each in heard)
    return _resting_on([each for each in heard if each.quote.value == tip], tip)


def _block_fees(heard: Sequence[_Heard]) -> _Judgement:
    """The fees of the best source of the ladder; the youngest among equals."""
    if not heard:
        return _MISSING
    best = min(heard, key=lambda each: (_rung(each.quote.source), each.age_s, each.quote.source))
    expired = best.state is InputState.STALE_HARD
    return _resting_on([best], math.nan if expired else best.quote.value)


def _price(heard: Sequence[_Heard]) -> _Judgement:
    """The median of the prices that agree with the median; disputed where no two of several agree."""
    if not heard:
        return _MISSING
    if _freshest(heard) is InputState.STALE_HARD:
        return _resting_on(heard, math.nan)
    agreeing = _agreeing_prices(heard)
    if len(agreeing) < min(len(heard), 2):
        return _disputed(heard)
    prompt = [each for each in agreeing if not each.quote.source.startswith(LAGGING_PRICES)]
    return _resting_on(
        agreeing,
        median(each.quote.value for each in agreeing),
        _freshest(prompt) if prompt else InputState.STALE_SOFT,
    )


def _agreeing_prices(heard: Sequence[_Heard]) -> Sequence[_Heard]:
    prices = [each.quote.value for each in heard]
    if len(prices) == 2:
        # the middle of two is near both: compare them with each other, and there is no telling which one is wrong
        return heard if max(prices) <= min(prices) * (1 + PRICE_TOLERANCE) else ()
    middle = median(prices)
    return [each for each in heard if abs(each.quote.value / middle - 1) <= PRICE_TOLERANCE]
