"""The next retarget: what it will be, how sure that is, when it comes, and what a PH/s-day is worth behind it.

The rule of the chain is exact and stands first, in integers as every node computes it. Before the last block of an
epoch there is only an estimate, made of how fast the blocks came so far; it is told with its standard deviation or not
at all, and not before a quarter of the epoch has been seen, because until then it is mostly noise.

An outlook is for people and dashboards: no advice waits for it or follows from it. What it rests on is judged here,
and what is missing, old, disputed or impossible makes it silent, with the reason beside the NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.market import (
    CLOCK_TOLERANCE_S,
    HASHPRICE_INPUTS,
    RETARGET_FACTOR,
    RETARGET_INTERVAL,
    InputState,
    Market,
    MarketInput,
    Quote,
    Valuation,
    in_bounds,
    subsidy_btc,
    target_from_bits,
)
from fleet.units import BLOCK_INTERVAL_S, HASHES_PER_DIFFICULTY_1, SECONDS_PER_DAY

TARGET_SPAN_S = 1_209_600
"""Two weeks, which 2016 blocks should take; the chain measures the 2015 intervals between them."""

EASIEST_TARGET = (1 << 224) - 1
"""No target is above it; in compact form 0x1d00ffff, difficulty 1."""

QUARTER_EPOCH = RETARGET_INTERVAL // 4
"""Blocks that the estimate looks back at, and that an epoch must have before its forecast is told."""

HASHRATE_DRIFT_RATIO = 0.015
"""How far network hashrate strays in a day, one standard deviation: hashrate follows the price, and forecasts of 2026
missed by what this explains (-13.37 % two days ahead became -11.16 %)."""

DAYS_PER_ESTIMATE = 7
"""Days behind one estimate of network hashrate; a day alone strays by 8 % (one over the root of 144 blocks)."""


def bits_from_target(target: int) -> int:
    """The compact form of a target > 0: its top three bytes and its length, the rest cut off.

    Source: Bitcoin's arith_uint256; a mantissa with the sign bit set moves a byte down.
    """
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x800000:
        mantissa, size = mantissa >> 8, size + 1
    return size << 24 | mantissa


def retargeted_bits(bits: int, first_s: int, last_s: int) -> int:
    """The compact target of the next epoch, as every node computes it.

    Units:  Unix seconds of the first block of the epoch (height 0 of 2016) and of its last (2015).
    Errors: ValueError as `target_from_bits`.
    Source: consensus. 0x1d00ffff over 1261130161..1262152739 -> 0x1d00d86a, the first retarget of the chain.
    """
    span_s = min(max(last_s - first_s, TARGET_SPAN_S // 4), TARGET_SPAN_S * 4)
    return bits_from_target(min(target_from_bits(bits) * span_s // TARGET_SPAN_S, EASIEST_TARGET))


def change_between_bits(old: int, new: int) -> float:
    """Relative change of difficulty from one compact target to the next, within [-0.75, 3].

    Errors: ValueError where one is no target, or where they are further apart than one retarget can be.
    """
    for bits in (old, new):
        if not 1 <= bits <= 0x207FFFFF or bits & 0x800000 or not bits & 0x7FFFFF:
            raise ValueError(f"no target in compact form: {bits:#x}")
    bytes_shorter = (old >> 24) - (new >> 24)
    if abs(bytes_shorter) > 1:
        raise ValueError(f"no retarget leads from {old:#x} to {new:#x}")
    return _clamped((old & 0x7FFFFF) / (new & 0x7FFFFF) * 256.0**bytes_shorter - 1)


def _clamped(change_ratio: float) -> float:
    """A change of difficulty within what one retarget may do."""
    return min(max(change_ratio, 1 / RETARGET_FACTOR - 1), RETARGET_FACTOR - 1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Where an epoch stands and where its pace leads. Ratios, seconds, Unix seconds; intervals in whole milliseconds.

    `interval_s` is the mean of this epoch, `adjusted_interval_s` the one that the rest is expected to take.
    """

    blocks_seen: int
    blocks_left: int
    next_height: int
    progress_ratio: float
    expected_blocks: float
    change_ratio: float
    interval_s: float
    adjusted_interval_s: float
    seconds_left: float
    retarget_at_s: float


def estimate(
    height: int,
    epoch_start_s: float,
    now_s: float,
    *,
    quarter_ago_s: float | None = None,
    previous_change_ratio: float = math.nan,
    tip_time_s: float | None = None,
) -> Estimate:
    """The estimate that mempool shows, of the same numbers the same to the last digit.

    Units:   Unix seconds: of the first block of the epoch, of now, of the block 504 before the tip, of the tip;
             `previous_change_ratio` is the last change of difficulty.
    Missing: without `quarter_ago_s` a young epoch is judged by itself alone; without `tip_time_s` the last block of
             an epoch is taken to be of now. A NaN among the numbers in use is a NaN among the results, or ValueError
             from the milliseconds.
    Source:  mempool's difficulty-adjustment, vectors of its tests. At the last block the change is that of consensus
             but for the rounding to compact form.
    """
    seen = height % RETARGET_INTERVAL
    left = RETARGET_INTERVAL - seen
    elapsed_s = max(0.0, now_s - epoch_start_s)
    interval_s = elapsed_s / seen if seen else BLOCK_INTERVAL_S
    if quarter_ago_s is not None and seen < QUARTER_EPOCH - 1:
        # the end of the last epoch, at the pace that it would have had at the difficulty of this one
        span_s = elapsed_s + (epoch_start_s - quarter_ago_s) * (1 + previous_change_ratio)
        adjusted_s = span_s / (QUARTER_EPOCH - 1)
        blocks = QUARTER_EPOCH
    else:
        is_last = seen == RETARGET_INTERVAL - 1
        span_s = (tip_time_s if is_last and tip_time_s is not None else now_s) - epoch_start_s
        adjusted_s = interval_s
        blocks = seen + 1
    adjusted_ms = math.floor(1000 * adjusted_s)
    return Estimate(
        blocks_seen=seen,
        blocks_left=left,
        next_height=height + left,
        progress_ratio=seen / RETARGET_INTERVAL,
        expected_blocks=elapsed_s / BLOCK_INTERVAL_S,
        change_ratio=_clamped(BLOCK_INTERVAL_S / (span_s / blocks) - 1 if span_s else math.inf),
        interval_s=math.floor(1000 * interval_s) / 1000,
        adjusted_interval_s=adjusted_ms / 1000,
        seconds_left=left * adjusted_ms / 1000,
        retarget_at_s=now_s + left * adjusted_ms / 1000,
    )


def luck_sigma_ratio(blocks_seen: int) -> float:
    """Standard deviation of the estimated change by luck alone, at a constant hashrate, after so many blocks.

    Source: blocks are a Poisson process: those left add their own variance, those seen leave the pace uncertain.
            1008 -> 0.022; inf at 0.
    """
    left = RETARGET_INTERVAL - blocks_seen
    return math.sqrt(left + left**2 / blocks_seen) / RETARGET_INTERVAL if blocks_seen else math.inf


def change_sigma_ratio(blocks_seen: int, days_left: float) -> float:
    """Standard deviation of the estimated change, by luck and by the hashrate that comes and goes until then."""
    return math.hypot(luck_sigma_ratio(blocks_seen), HASHRATE_DRIFT_RATIO * math.sqrt(days_left))


def weekly_hashrate_hs(daily_hs: Sequence[float]) -> tuple[float, float]:
    """The mean of the last seven days, and the highest mean of any seven in a row; H/s, oldest first.

    The peak of single days would be luck: the best of a year stands a quarter above the hashrate that was there.

    Missing: days that are not positive are left out; NaN and NaN with fewer than seven.
    """
    days = [day for day in daily_hs if 0.0 < day < math.inf]
    weeks = [
        math.fsum(days[end - DAYS_PER_ESTIMATE : end]) / DAYS_PER_ESTIMATE
        for end in range(DAYS_PER_ESTIMATE, len(days) + 1)
    ]
    return (weeks[-1], max(weeks)) if weeks else (math.nan, math.nan)


def implied_hashrate_hs(difficulty: float) -> float:
    """The hashrate that would find a block in ten minutes, H/s."""
    return difficulty * HASHES_PER_DIFFICULTY_1 / BLOCK_INTERVAL_S


class Silence(StrEnum):
    """Why a number of an outlook is not told."""

    MISSING = "missing"
    STALE = "stale"
    CONFLICT = "conflict"  # sources dispute it
    EARLY = "early"  # fewer than 504 blocks of the epoch have been seen
    IMPLAUSIBLE = "implausible"  # the inputs lead to the end of what a retarget may do, or past it


SILENCE_OF: Mapping[InputState, Silence] = {
    InputState.STALE_HARD: Silence.STALE,
    InputState.MISSING: Silence.MISSING,
    InputState.CONFLICT: Silence.CONFLICT,
}


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next retarget. Ratios, Unix seconds; `sigma_ratio` is one standard deviation of `change_ratio`, and 0 once
    the last block of the epoch has fixed it."""

    blocks_seen: int
    blocks_left: int
    change_ratio: float
    sigma_ratio: float
    retarget_at_s: float


@dataclass(frozen=True, slots=True)
class NextHashprice:
    """Hashprice behind the next retarget at today's price and fees, USD/PH/day.

    `usd_ph_day` belongs to the change that is forecast. `mean_usd_ph_day` is the expectation, a little above it,
    because hashprice rises more at a smaller difficulty than it falls at a greater one.
    """

    difficulty: float
    usd_ph_day: float
    mean_usd_ph_day: float
    sigma_usd_ph_day: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies ahead, and what hints at it; each either told or silent for a reason.

    `drawdown_ratio` is how far network hashrate lies below its peak, `lag_ratio` how far above the hashrate that the
    difficulty implies: its sign is that of the next retarget. Both rest on an estimate that strays by 3 %, and enter no
    hashprice.
    """

    forecast: Forecast | Silence
    hashprice: NextHashprice | Silence
    drawdown_ratio: float | Silence
    lag_ratio: float | Silence

    @property
    def silences(self) -> Mapping[str, Silence]:
        """Why it is not told, of each part that is not."""
        parts = {
            "forecast": self.forecast,
            "hashprice": self.hashprice,
            "drawdown": self.drawdown_ratio,
            "lag": self.lag_ratio,
        }
        return {name: told for name, told in parts.items() if isinstance(told, Silence)}


UNKNOWN = Outlook(Silence.MISSING, Silence.MISSING, Silence.MISSING, Silence.MISSING)
"""The outlook of a market without a quote."""


def foresee(market: Market, valuation: Valuation) -> Outlook:
    """The outlook at the time of `valuation`, which has judged height, difficulty, reward and price of `market`.

    Missing: a part whose inputs are missing, stale, disputed or impossible is a `Silence`, and so are forecast and
             hashprice in the first 504 blocks of an epoch.
    Errors:  none for data.
    """
    forecast = _forecast(market, valuation)
    hashrate = _network_hashrate(market, valuation.at_s)
    return Outlook(
        forecast=forecast,
        hashprice=forecast if isinstance(forecast, Silence) else _next_hashprice(valuation, forecast),
        drawdown_ratio=hashrate if isinstance(hashrate, Silence) else _drawdown_ratio(market, hashrate, valuation.at_s),
        lag_ratio=hashrate if isinstance(hashrate, Silence) else _lag_ratio(valuation, hashrate),
    )


def _forecast(market: Market, valuation: Valuation) -> Forecast | Silence:
    silence = SILENCE_OF.get(valuation.states[MarketInput.HEIGHT])
    if silence is not None:
        return silence
    height, now_s = int(valuation.height), valuation.at_s
    if height % RETARGET_INTERVAL < QUARTER_EPOCH:
        return Silence.EARLY
    start_s = _epoch_start_s(market, height, now_s)
    if isinstance(start_s, Silence):
        return start_s
    tip_s = _tip_time_s(market, height, now_s)
    epoch = estimate(height, start_s, now_s, tip_time_s=tip_s)
    if not 1 / RETARGET_FACTOR - 1 < epoch.change_ratio < RETARGET_FACTOR - 1:
        return Silence.IMPLAUSIBLE  # no retarget since 2010 came near: a height or a time is wrong
    is_fixed = epoch.blocks_left == 1 and tip_s is not None
    return Forecast(
        blocks_seen=epoch.blocks_seen,
        blocks_left=epoch.blocks_left,
        change_ratio=epoch.change_ratio,
        sigma_ratio=0.0 if is_fixed else change_sigma_ratio(epoch.blocks_seen, epoch.seconds_left / SECONDS_PER_DAY),
        retarget_at_s=epoch.retarget_at_s,
    )


def _epoch_start_s(market: Market, height: int, now_s: float) -> float | Silence:
    """The start of the tip's epoch, from the sources that stand in it themselves, if all of them say the same."""
    quotes = _quotes(market, MarketInput.EPOCH_START_S, now_s)
    if isinstance(quotes, Silence):
        return quotes
    heights = _heights(market, now_s)
    starts = {quote.value for quote in quotes if _epoch_of(quote, heights) == height // RETARGET_INTERVAL}
    if len(starts) > 1:
        return Silence.CONFLICT
    return starts.pop() if starts else Silence.MISSING


def _epoch_of(quote: Quote, heights: Mapping[str, Quote]) -> float:
    """The number of the epoch that a start is of: as it says itself, else where its source stands; NaN = unknown."""
    if quote.at_height is not None:
        return quote.at_height // RETARGET_INTERVAL
    return heights[quote.source].value // RETARGET_INTERVAL if quote.source in heights else math.nan


def _tip_time_s(market: Market, height: int, now_s: float) -> float | None:
    """The time of the tip, from a source that stands there and said the time no earlier than its height; else None."""
    quotes = _quotes(market, MarketInput.TIP_TIME_S, now_s)
    if isinstance(quotes, Silence):
        return None
    heights = _heights(market, now_s)
    times = {
        quote.value
        for quote in quotes
        if quote.source in heights
        and heights[quote.source].value == height
        and heights[quote.source].as_of_s <= quote.as_of_s
    }
    return times.pop() if len(times) == 1 else None


def _heights(market: Market, now_s: float) -> Mapping[str, Quote]:
    quotes = _quotes(market, MarketInput.HEIGHT, now_s)
    return {} if isinstance(quotes, Silence) else {quote.source: quote for quote in quotes}


def _next_hashprice(valuation: Valuation, forecast: Forecast) -> NextHashprice | Silence:
    if math.isnan(valuation.hashprice_usd_ph_day):
        unusable = (SILENCE_OF.get(valuation.states[input]) for input in HASHPRICE_INPUTS)
        return next((silence for silence in unusable if silence is not None), Silence.MISSING)
    # at the last block of an epoch a node that knows the next difficulty has it in force already
    is_in_force = any(
        quote.at_height is not None and quote.at_height // RETARGET_INTERVAL > valuation.height // RETARGET_INTERVAL
        for quote in valuation.used[MarketInput.DIFFICULTY]
    )
    factor, sigma_ratio = (1.0, 0.0) if is_in_force else (1 + forecast.change_ratio, forecast.sigma_ratio)
    behind = valuation.height + forecast.blocks_left
    reward_ratio = 1 + (subsidy_btc(behind) - subsidy_btc(valuation.height + 1)) / valuation.reward_btc
    usd_ph_day = valuation.hashprice_usd_ph_day / factor * reward_ratio
    spread_ratio = sigma_ratio / factor
    return NextHashprice(
        difficulty=valuation.difficulty * factor,
        usd_ph_day=usd_ph_day,
        mean_usd_ph_day=usd_ph_day * (1 + spread_ratio**2),
        sigma_usd_ph_day=usd_ph_day * spread_ratio,
    )


def _network_hashrate(market: Market, now_s: float) -> Quote | Silence:
    """The youngest estimate of a source that also knows the peak, else of any."""
    quotes = _quotes(market, MarketInput.NETWORK_HASHRATE_HS, now_s)
    if isinstance(quotes, Silence):
        return quotes
    peaks = _quotes(market, MarketInput.NETWORK_HASHRATE_PEAK_HS, now_s)
    knowing = () if isinstance(peaks, Silence) else {quote.source for quote in peaks}
    return min(quotes, key=lambda quote: (quote.source not in knowing, -quote.as_of_s, quote.source))


def _drawdown_ratio(market: Market, hashrate: Quote, now_s: float) -> float | Silence:
    """From the peak that the same source tells: estimates over different windows have different peaks."""
    quotes = _quotes(market, MarketInput.NETWORK_HASHRATE_PEAK_HS, now_s)
    if isinstance(quotes, Silence):
        return quotes
    peaks = [quote.value for quote in quotes if quote.source == hashrate.source]
    return max(0.0, 1 - hashrate.value / peaks[0]) if peaks else Silence.MISSING


def _lag_ratio(valuation: Valuation, hashrate: Quote) -> float | Silence:
    if math.isnan(valuation.difficulty):
        return SILENCE_OF.get(valuation.states[MarketInput.DIFFICULTY], Silence.MISSING)
    return hashrate.value / implied_hashrate_hs(valuation.difficulty) - 1


def _quotes(market: Market, input: MarketInput, now_s: float) -> Sequence[Quote] | Silence:
    """What the sources say of `input` and is still good; silence where that is nothing."""
    heard = [
        quote
        for quote in market.quotes
        if quote.input is input and in_bounds(input, quote.value) and quote.as_of_s <= now_s + CLOCK_TOLERANCE_S
    ]
    good = [quote for quote in heard if now_s - quote.as_of_s <= quote.good_for_s]
    return good or (Silence.STALE if heard else Silence.MISSING)
