"""Market numbers with their as-of times, and the hashprice that follows from them.

Hashprice is computed from difficulty, block reward and price, never from an estimate of network hashrate: the two
differ by 8 to 19 per cent exactly when it matters.

Sources are merged per input, each by the rule that fits what it is: a price is the median of those that agree, and for
decisions its mean of five minutes; the height is the highest of those that are near each other; fees come from the best
source of a ladder, whose last rung is an assumption; and a difficulty is that of the next block's epoch, agreed on or
disputed, never averaged. What sources dispute is NaN with state CONFLICT, but for fees, where the best source counts
all the same; what is too old keeps its state for all to see. One source alone can make an input degraded or disputed,
but cannot move it further than the tolerances below say.

A hashprice that others publish is compared with ours, never put in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean, median

from fleet.units import BLOCK_INTERVAL_S, HASHES_PER_DIFFICULTY_1, PETA, SATS_PER_BTC, SECONDS_PER_DAY, TERA

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


LADDER = ("bitcoin_core", "mempool", "braiins", "blockchain_info")
"""Sources by trust, best first, told by the start of their name; all others share the rung below."""

STATED = ("file", "fixed")
"""What the operator has written down: it serves where no feed lives, and is never mixed with one that does."""

LAGGING_PRICES = ("mempool", "blockchain_info", "braiins")
"""Price sources that are never enough alone: hourly, and any currency may refresh the time stamp of all of them. They
confirm a price, or settle a dispute, and have no part in the median."""

CLOCK_TOLERANCE_S = 60.0
"""A quote from further in the future than this is a wrong clock, theirs or ours, and is not heard."""

DIFFICULTY_TOLERANCE = 1e-6  # one D printed with more or fewer digits
RETARGET_FACTOR = 4.0  # the consensus rules clamp one step to [1/4, 4]
NEAR_BLOCKS = 144  # a tip that is a day and more away from the others is no tip
FOLLOW_BLOCKS = 3  # a fresh tip further below a retarget denies that it has happened
LAG_BLOCKS = 12  # for so long a page that does not say its height may show the difficulty of before
UNSEEN_RETARGET_RATIO = 0.05
"""Standard deviation of a difficulty of which nobody knows any more whether it is in force: of one retarget."""
DOUBT_S = 6 * 3600.0  # for so long a source without a witness is not believed after it has contradicted itself
FROZEN_S = 6 * 3600.0
"""Fees or a price that have not moved for so long are a server that repeats itself, whatever its time stamps say."""

FEES_TOLERANCE = 0.20  # of the reward: two honest sources with other windows may differ by as much in a rush
ASSUMED_FEES_RATIO = 0.01
"""Fees per subsidy where nobody tells them: about what they are in quiet months, and low in any other."""
ASSUMED_FEES = "subsidy_x1.01"
"""The source of such fees."""

PRICE_TOLERANCE = 0.02  # a ticker further from the others has no voice
WITNESS_TOLERANCE = 0.20  # an hourly price further off than this contradicts
LEAP_TOLERANCE = 0.10  # from a ticker's own value within LEAP_S: believed if two others say the same
LEAP_S = 60.0
DRIFT_TOLERANCE = 0.25  # of a price that nobody else confirms, within PAST_S
PAST_S = 3600.0
MEAN_S = 300.0  # of the price that decisions use: raw ticks would switch machines two times more often
SAMPLE_S = 30.0
CROSS_CHECK_TOLERANCE = 0.03  # between our hashprice and one that others publish


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
    """Every quote at hand, newest per (input, source), and the prices of the last hour. `assess` judges it.

    `past` holds what the newest prices have replaced, oldest first per source, thinned out with age; and the difficulty
    or height of a source that has contradicted itself since, for as long as it does. An immutable bag.
    """

    quotes: tuple[Quote, ...] = ()
    past: tuple[Quote, ...] = ()

    def with_quotes(self, quotes: Iterable[Quote]) -> Market:
        """This market and `quotes`, the newest per (input, source); of two as new the later one counts."""
        kept = {(quote.input, quote.source): quote for quote in self.quotes}
        past = list(self.past)
        for quote in quotes:
            known = kept.get((quote.input, quote.source))
            if known is None:
                kept[quote.input, quote.source] = quote
            elif quote.as_of_s >= known.as_of_s:
                kept[quote.input, quote.source] = _continued(known, quote)
                if quote.input is MarketInput.BTC_USD and quote.as_of_s > known.as_of_s:
                    past.append(known)
                elif quote.input in _OF_THE_CHAIN and _is_measured(known) and _is_measured(quote):
                    past = _with_doubt(past, known, quote, _tip_of(kept.values()))
        doubts = (each for each in past if each.input in _OF_THE_CHAIN)
        prices = [each for each in past if each.input is MarketInput.BTC_USD]
        return Market(tuple(kept.values()), (*_thinned(prices), *doubts))


def _continued(known: Quote, quote: Quote) -> Quote:
    """`quote`, and since when its source has been saying the same."""
    if quote.value != known.value:
        return quote
    return replace(quote, since_s=known.as_of_s if known.since_s is None else known.since_s)


_OF_THE_CHAIN = (MarketInput.DIFFICULTY, MarketInput.HEIGHT)


def _is_measured(quote: Quote) -> bool:
    return in_bounds(quote.input, quote.value) and not _is_stated(quote)


def _tip_of(quotes: Iterable[Quote]) -> float:
    """The highest height that anybody has told; NaN = none."""
    heights = (each.value for each in quotes if each.input is MarketInput.HEIGHT and in_bounds(each.input, each.value))
    return max(heights, default=math.nan)


def _with_doubt(past: Sequence[Quote], known: Quote, quote: Quote, tip: float) -> list[Quote]:
    """`past` with what `quote` contradicts, until its source says that again, or has not said it for DOUBT_S."""
    said = (each for each in past if (each.input, each.source) == (quote.input, quote.source))
    before = next(said, known)
    rest = [each for each in past if each is not before]
    is_doubted = quote.as_of_s - before.as_of_s <= DOUBT_S and not _may_become(before, quote, tip)
    return [*rest, before] if is_doubted else rest


def _may_become(old: Quote, new: Quote, tip: float) -> bool:
    """Whether the chain can lead a source from one difficulty, or height, to the other.

    In the first blocks of an epoch a cache may still show the difficulty of before. A height that leaps is a server
    that indexes anew, unless the subsidy depends on it.
    """
    if new.input is MarketInput.HEIGHT:
        return abs(new.value - old.value) <= NEAR_BLOCKS or subsidy_btc(new.value) == subsidy_btc(old.value)
    now_at = tip if new.at_height is None else new.at_height
    if not now_at % RETARGET_INTERVAL >= LAG_BLOCKS:  # also where it is not known
        return _can_follow(new.value, old.value, 1.0)
    blocks = 2.0 * (new.as_of_s - old.as_of_s) / BLOCK_INTERVAL_S  # at most, where nobody says it
    epochs = abs(_epoch(now_at) - _epoch(now_at - blocks if old.at_height is None else old.at_height))
    if epochs == 0.0:
        return _is_one_difficulty(new.value, old.value)
    return _can_follow(new.value, old.value, epochs if epochs >= 1.0 else 1.0)  # 1 where it is not a number


def _thinned(past: Sequence[Quote]) -> tuple[Quote, ...]:
    """Of each source what a mean needs of its last minutes, and a value now and then of its last hour."""
    newest_s: dict[str, float] = {}
    for quote in past:
        newest_s[quote.source] = max(quote.as_of_s, newest_s.get(quote.source, -math.inf))
    kept: list[Quote] = []
    last_s: dict[str, float] = {}
    for quote in past:
        age_s = newest_s[quote.source] - quote.as_of_s
        apart_s = SAMPLE_S * 0.8 if age_s <= MEAN_S + SAMPLE_S else MEAN_S
        if age_s <= PAST_S and quote.as_of_s - last_s.get(quote.source, -math.inf) >= apart_s:
            kept.append(quote)
            last_s[quote.source] = quote.as_of_s
    return tuple(kept)


def newest(quotes: Iterable[Quote]) -> Market:
    """A market of the newest of `quotes` per (input, source)."""
    return Market().with_quotes(quotes)


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """A published hashprice beside ours. `difference` is ours over theirs less one; NaN where either is missing.

    `state` says how old it is, MISSING where nobody publishes one for us. An alarm changes no number.
    """

    usd_ph_day: float = math.nan
    difference: float = math.nan
    age_s: float = math.nan
    state: InputState = InputState.MISSING
    source: str = ""

    @property
    def is_alarm(self) -> bool:
        """Whether a current one differs by more than the tolerance."""
        is_current = self.state in (InputState.FRESH, InputState.STALE_SOFT)
        return is_current and abs(self.difference) > CROSS_CHECK_TOLERANCE


@dataclass(frozen=True, slots=True)
class Valuation:
    """What the market says at `at_s`, judged: the value used per input, its state, age and sources, and the hashprice.

    A missing number is NaN. `used[input]` are the quotes that value and state rest on: several where a median was
    taken, the disputing ones in a conflict, the expired ones past the hard age; `ages_s` is the age of the youngest.
    `btc_usd` is the mean of the last minutes, which everything is computed with; `btc_usd_raw` the median of now.
    `difficulty_sigma_ratio` is 0 while the difficulty is known to be in force.
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
    power_state: InputState = InputState.FRESH  # of the site's own tariff, and as of the start of the price's step
    power_as_of_s: float = math.nan
    btc_usd_raw: float = math.nan
    cross_check: CrossCheck = CrossCheck()
    difficulty_sigma_ratio: float = 0.0


def assess(market: Market, power_usd_per_kwh: float, power_source: str, now_s: float) -> Valuation:
    """Judges every input of `market` at `now_s` and values a PH/s-day by what is left.

    Units:   Unix seconds; USD/kWh.
    Missing: an input without a usable quote is NaN, and so is every number that needs it. Past their hard age
             difficulty and height stay usable (they hold until the chain moves on), a price does not, and for fees
             stands an assumption, STALE_SOFT at best.
    Errors:  none for data: a quote out of bounds or from the future is not heard.
    """
    heard: dict[MarketInput, list[_Heard]] = {each: [] for each in MarketInput}
    for quote in market.quotes:
        if (one := _heard(quote, now_s)) is not None:
            heard[quote.input].append(one)

    doubted = {(each.input, each.source) for each in market.past}
    tip = _believed(heard[MarketInput.HEIGHT], doubted, _height)
    places = {each.quote.source: each for each in heard[MarketInput.HEIGHT]}
    raw_price, mean_usd = _prices(market, now_s)
    judgements = {
        MarketInput.DIFFICULTY: _believed(
            heard[MarketInput.DIFFICULTY], doubted, lambda live: _difficulty(live, places, tip.value)
        ),
        MarketInput.HEIGHT: tip,
        MarketInput.BLOCK_FEES_BTC: _block_fees(_live(heard[MarketInput.BLOCK_FEES_BTC]), tip),
        MarketInput.BTC_USD: raw_price,
    }
    difficulty = judgements[MarketInput.DIFFICULTY].value
    # what is paid from now on is the next block, which may be the first of half the subsidy
    reward = reward_btc(tip.value + 1, judgements[MarketInput.BLOCK_FEES_BTC].value)
    hashprice = hashprice_usd_per_ph_day(difficulty, reward, mean_usd)
    return Valuation(
        at_s=now_s,
        difficulty=difficulty,
        height=tip.value,
        reward_btc=reward,
        btc_usd=mean_usd,
        hashprice_usd_ph_day=hashprice,
        hashprice_btc_ph_day=hashprice_btc_per_ph_day(difficulty, reward),
        states={input: judgement.state for input, judgement in judgements.items()},
        ages_s={input: judgement.age_s for input, judgement in judgements.items()},
        used={input: judgement.used for input, judgement in judgements.items()},
        power_usd_per_kwh=power_usd_per_kwh,
        power_source=power_source,
        btc_usd_raw=raw_price.value,
        cross_check=_cross_check(_live(heard[MarketInput.PUBLISHED_USD_PH_DAY]), hashprice),
        difficulty_sigma_ratio=_difficulty_sigma_ratio(judgements[MarketInput.DIFFICULTY], tip),
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    quote: Quote
    age_s: float
    state: InputState

    @property
    def value(self) -> float:
        return self.quote.value

    @property
    def is_live(self) -> bool:
        return self.state is not InputState.STALE_HARD


@dataclass(frozen=True, slots=True)
class _Judgement:
    value: float
    state: InputState
    age_s: float
    used: tuple[Quote, ...]


_BY_AGE = (InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD)
_MISSING = _Judgement(math.nan, InputState.MISSING, math.nan, ())
_ALWAYS_MOVING = (MarketInput.BTC_USD, MarketInput.BLOCK_FEES_BTC)


def _heard(quote: Quote, now_s: float) -> _Heard | None:
    """A quote with its age; None for one that cannot be honest: out of bounds, or from the future."""
    if not in_bounds(quote.input, quote.value) or now_s - quote.as_of_s < -CLOCK_TOLERANCE_S:
        return None
    # a height is as old as its block: a server that goes on saying it adds nothing
    since_s = quote.since_s if quote.input is MarketInput.HEIGHT and not _is_stated(quote) else None
    age_s = now_s - (quote.as_of_s if since_s is None else since_s)
    return _Heard(quote, max(age_s, 0.0), _state_at(quote, age_s))


def has_expired(quote: Quote, now_s: float) -> bool:
    """Whether nothing rests on a quote any more: past its hard age, frozen, or one that cannot be honest."""
    heard = _heard(quote, now_s)
    return heard is None or not heard.is_live


def _state_at(quote: Quote, age_s: float) -> InputState:
    # "not <=" instead of ">": an age or a limit of NaN must read as expired
    if not age_s <= quote.good_for_s or _is_frozen(quote):
        return InputState.STALE_HARD
    return InputState.FRESH if age_s <= quote.soft_s else InputState.STALE_SOFT


def _is_stated(quote: Quote) -> bool:
    return quote.source.startswith(STATED)


def _is_frozen(quote: Quote) -> bool:
    is_moving = quote.input in _ALWAYS_MOVING and not _is_stated(quote)
    return is_moving and quote.since_s is not None and quote.as_of_s - quote.since_s > FROZEN_S


def _live(heard: Sequence[_Heard]) -> Sequence[_Heard]:
    """Those within their hard age, feeds before stated numbers; where none is, all, so that expired ones stay visible.

    A stated number that stands in for feeds that have expired is not as good as one where there never were any.
    """
    live = [each for each in heard if each.is_live]
    feeds = [each for each in live if not _is_stated(each.quote)]
    if feeds or not live:
        return feeds or heard
    is_substitute = not all(_is_stated(each.quote) for each in heard)
    return [replace(each, state=InputState.STALE_SOFT) for each in live] if is_substitute else live


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


def _believed(
    heard: Sequence[_Heard],
    doubted: Collection[tuple[MarketInput, str]],
    judge: Callable[[Sequence[_Heard]], _Judgement],
) -> _Judgement:
    """The judgement of those that have not contradicted themselves; a dispute where there is nobody else."""
    live = _live(heard)
    steady = [each for each in live if not each.is_live or (each.quote.input, each.quote.source) not in doubted]
    return _disputed(live) if live and not steady else judge(steady)


def _rung(source: str) -> int:
    return next((rung for rung, name in enumerate(LADDER) if source.startswith(name)), len(LADDER))


def _order(each: _Heard) -> tuple[int, float, str]:
    """Best first."""
    return _rung(each.quote.source), each.age_s, each.quote.source


def _difficulty(heard: Sequence[_Heard], places: Mapping[str, _Heard], tip: float) -> _Judgement:
    """The difficulty of the newest epoch that anybody knows, agreed on by those who know it.

    Of several that are said for one epoch the one that more sources say counts; as many on each side are a dispute. Who
    does not say for which block, and where he stands, is taken to speak of the newest, but may be late with it. What is
    said for an epoch that begins after the next block is not heard.
    """
    next_epoch = _epoch(tip + 1)
    told = [(each, _epoch(_height_of(each.quote, places))) for each in sorted(heard, key=_order)]
    told = [(each, epoch) for each, epoch in told if not epoch > next_epoch]
    if not told:
        return _MISSING
    newest_epoch = max((epoch for _, epoch in told if not math.isnan(epoch)), default=math.nan)
    is_young = newest_epoch == next_epoch and (tip + 1) % RETARGET_INTERVAL < LAG_BLOCKS
    camps: list[list[_Heard]] = []
    for each, epoch in sorted(told, key=lambda one: math.isnan(one[1])):
        if epoch < newest_epoch:
            continue
        friends = (camp for camp in camps if _is_one_difficulty(each.value, camp[0].value))
        if (camp := next(friends, None)) is None:
            if is_young and math.isnan(epoch) and _can_follow(camps[0][0].value, each.value, 1):
                continue
            camps.append(camp := [])
        camp.append(each)
    camps.sort(key=len, reverse=True)
    best = camps[0]
    if len(camps) > 1 and len(best) == len(camps[1]):
        return _disputed(heard)
    for each, epoch in told:
        if epoch < newest_epoch and (
            not _can_follow(best[0].value, each.value, newest_epoch - epoch)
            or _denies(each, best[0], places, newest_epoch)
        ):
            return _disputed(heard)
    judgement = _resting_on(best, best[0].value)
    if newest_epoch < next_epoch and judgement.state is not InputState.STALE_HARD:
        # the old one ends with the block that has been found; whoever knows the tip of the new epoch should know better
        is_last_block = newest_epoch == _epoch(tip)
        return replace(judgement, state=InputState.STALE_SOFT if is_last_block else InputState.STALE_HARD)
    return judgement


def _difficulty_sigma_ratio(difficulty: _Judgement, tip: _Judgement) -> float:
    """The error of a difficulty that is kept although it is old: none until a retarget may have passed unseen."""
    states = (difficulty.state, tip.state)
    if InputState.STALE_HARD in states:
        return UNSEEN_RETARGET_RATIO
    unseen_blocks = tip.age_s / BLOCK_INTERVAL_S
    may_be_over = InputState.STALE_SOFT in states and _epoch(tip.value + 1 + unseen_blocks) > _epoch(tip.value)
    return UNSEEN_RETARGET_RATIO if may_be_over else 0.0


def _height_of(quote: Quote, places: Mapping[str, _Heard]) -> float:
    """A block that a difficulty is in force at: the one that it names, else its source's tip; NaN = neither known."""
    if quote.at_height is not None:
        return quote.at_height
    return places[quote.source].value if quote.source in places else math.nan


def _denies(old: _Heard, new: _Heard, places: Mapping[str, _Heard], epoch: float) -> bool:
    """Whether a source that is trusted as much, and whose tip is fresh, stands well before the epoch of `new`.

    A retarget that only one source has seen would otherwise be worth a factor of four to whoever lies.
    """
    place = places.get(old.quote.source)
    return (
        place is not None
        and place.state is InputState.FRESH
        and place.value < epoch * RETARGET_INTERVAL - FOLLOW_BLOCKS
        and _rung(old.quote.source) <= _rung(new.quote.source)
        and not _is_one_difficulty(old.value, new.value)
    )


def _is_one_difficulty(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=DIFFICULTY_TOLERANCE)


def _epoch(height: float) -> float:
    return height // RETARGET_INTERVAL


def _can_follow(new: float, old: float, epochs: float) -> bool:
    """Whether so many retargets can lead from one difficulty to the other."""
    factor: float = RETARGET_FACTOR ** min(epochs, 16.0)
    return old / factor <= new <= old * factor


def _height(heard: Sequence[_Heard]) -> _Judgement:
    """The highest height of those that are near each other, as a chain only grows; else that of a node; else a dispute.

    A node has been asked how old its newest block is (see the ladder), and is refused where it lags.
    """
    if not heard:
        return _MISSING
    middle = median(each.value for each in heard)
    near = [each for each in heard if abs(each.value - middle) <= (NEAR_BLOCKS if len(heard) > 2 else NEAR_BLOCKS / 2)]
    if len(near) < min(len(heard), 2):
        near = [each for each in heard if each.quote.source.startswith(LADDER[0])]
    if not near:
        return _disputed(heard)
    tip = max(each.value for each in near)
    return _resting_on([each for each in near if each.value == tip], tip)


def _block_fees(heard: Sequence[_Heard], tip: _Judgement) -> _Judgement:
    """The fees of the best source of the ladder that is fresh, else of the best, the youngest among equals; where none
    lives, an assumption.

    A fresh source by which the reward would be quite another is told as a dispute, which the best source wins: fees
    may truly multiply within hours, so that neither a middle nor a bound would be right.
    """
    live = sorted((each for each in heard if each.is_live), key=lambda each: (_BY_AGE.index(each.state), *_order(each)))
    if not live:
        return _assumed_fees(heard, tip)
    best = live[0]
    tolerated_btc = FEES_TOLERANCE * reward_btc(tip.value + 1, best.value)
    others = [each for each in live if each.state is InputState.FRESH and abs(each.value - best.value) > tolerated_btc]
    return _resting_on([best, *others], best.value, InputState.CONFLICT if others else None)


def _assumed_fees(expired: Sequence[_Heard], tip: _Judgement) -> _Judgement:
    """A small share of the subsidy, no better than degraded and as old as the height that it follows from."""
    if tip.state not in (InputState.FRESH, InputState.STALE_SOFT):
        return _resting_on(expired, math.nan) if expired else _MISSING
    fees_btc = ASSUMED_FEES_RATIO * subsidy_btc(tip.value + 1)
    as_of_s = max(quote.as_of_s for quote in tip.used)
    assumed = Quote(MarketInput.BLOCK_FEES_BTC, ASSUMED_FEES, fees_btc, as_of_s, 0.0, math.inf)
    return _Judgement(fees_btc, InputState.STALE_SOFT, tip.age_s, (assumed,))


# ---------------------------------------------------------------------------------------------------------------------
# Price


def _prices(market: Market, now_s: float) -> tuple[_Judgement, float]:
    """The price of this moment, and its mean over the last minutes; NaN where there is none at this moment.

    What the operator states is no measurement, and is taken as it is.
    """
    told = [quote for quote in (*market.past, *market.quotes) if quote.input is MarketInput.BTC_USD]
    told = [quote for quote in told if in_bounds(quote.input, quote.value)]
    told.sort(key=lambda quote: -math.inf if math.isnan(quote.as_of_s) else quote.as_of_s)
    now = _price_at(told, now_s, CLOCK_TOLERANCE_S)
    if math.isnan(now.value) or all(map(_is_stated, now.used)):
        return now, now.value
    instants = [now_s - k * SAMPLE_S for k in range(1, round(MEAN_S / SAMPLE_S))]
    # what one source alone said, before others were heard, is no part of a mean of several
    founded = [
        each
        for each in (_price_at(told, instant, 0.0) for instant in instants)
        if len(each.used) >= min(2, len(now.used))
    ]
    return now, fmean([now.value, *(each.value for each in founded if not math.isnan(each.value))])


def _price_at(told: Sequence[Quote], at_s: float, ahead_s: float) -> _Judgement:
    """What the prices known at `at_s` come to; `told` is in order of time."""
    newest_of: dict[str, Quote] = {}
    for quote in told:
        if not quote.as_of_s > at_s + ahead_s:
            newest_of[quote.source] = quote
    heard = [one for quote in newest_of.values() if (one := _heard(quote, at_s)) is not None]
    return _price(_live(heard), told)


def _price(heard: Sequence[_Heard], told: Sequence[Quote]) -> _Judgement:
    """The median of the tickers that agree; disputed where no two of several agree and no lagging price settles it.

    Fresh is what two fresh sources say; fewer make it degraded. A price that only one ticker says is held against its
    own past, and against the lagging ones.
    """
    if not heard:
        return _MISSING
    if _freshest(heard) is InputState.STALE_HARD:
        return _resting_on(heard, math.nan)
    if all(_is_stated(each.quote) for each in heard):
        chosen = min(heard, key=lambda each: (each.age_s, each.quote.source))
        return _resting_on([chosen], chosen.value)
    witnesses = [each for each in heard if each.quote.source.startswith(LAGGING_PRICES)]
    tickers = [each for each in heard if each not in witnesses]
    if not tickers:
        agreeing = _agreeing(witnesses)
        return _median_of(agreeing, InputState.STALE_SOFT) if agreeing else _disputed(heard)
    steady = [each for each in tickers if not _leaps(each, heard, told)]
    agreeing = _agreeing(steady)
    if len(agreeing) > 1:
        fresh = [each for each in agreeing if each.state is InputState.FRESH]
        is_fresh = len(fresh) > 1 or (fresh and _confirmed(fresh, witnesses))
        return _median_of(agreeing, InputState.FRESH if is_fresh else InputState.STALE_SOFT)
    if len(tickers) > 1:
        confirmed = _agreeing(_confirmed(steady, witnesses))
        return _median_of(confirmed, InputState.STALE_SOFT) if confirmed else _disputed(heard)
    if _confirmed(steady, witnesses):
        return _median_of(steady, steady[0].state)
    is_contradicted = bool(witnesses) and not _confirmed(steady, witnesses, WITNESS_TOLERANCE)
    if not steady or is_contradicted or _drifts(steady[0], told):
        return _disputed(heard)
    return _median_of(steady, InputState.STALE_SOFT)


def _median_of(agreeing: Sequence[_Heard], state: InputState) -> _Judgement:
    return _resting_on(agreeing, median(each.value for each in agreeing), state)


def _agreeing(heard: Sequence[_Heard]) -> Sequence[_Heard]:
    """Those near the median of all; nobody where there are several and no two are."""
    if len(heard) < 2:
        return heard
    if len(heard) == 2:
        # the middle of two is near both: compare them with each other, and there is no telling which one is wrong
        return heard if _is_near(heard[0].value, heard[1].value) else ()
    middle = median(each.value for each in heard)
    near = [each for each in heard if _is_near(each.value, middle)]
    return near if len(near) > 1 else ()


def _confirmed(
    heard: Sequence[_Heard], witnesses: Sequence[_Heard], tolerance: float = PRICE_TOLERANCE
) -> Sequence[_Heard]:
    return [each for each in heard if any(_is_near(each.value, other.value, tolerance) for other in witnesses)]


def _leaps(each: _Heard, heard: Sequence[_Heard], told: Sequence[Quote]) -> bool:
    """Whether a ticker has just moved further than one should, and no two others have come along."""
    quote = each.quote
    own = [
        known.value for known in told if known.source == quote.source and -LEAP_S <= known.as_of_s - quote.as_of_s < 0
    ]
    if all(_is_near(each.value, value, LEAP_TOLERANCE) for value in own):
        return False
    others = [other for other in heard if other is not each and _is_near(each.value, other.value)]
    return len(others) < 2


def _drifts(each: _Heard, told: Sequence[Quote]) -> bool:
    """Whether a ticker that nobody confirms has gone further within the hour than one may believe it."""
    quote = each.quote
    own = [
        known.value for known in told if known.source == quote.source and -PAST_S <= known.as_of_s - quote.as_of_s < 0
    ]
    return not all(_is_near(each.value, value, DRIFT_TOLERANCE) for value in own)


def _is_near(a: float, b: float, tolerance: float = PRICE_TOLERANCE) -> bool:
    return max(a, b) <= min(a, b) * (1 + tolerance)


# ---------------------------------------------------------------------------------------------------------------------
# Cross-check


def _cross_check(heard: Sequence[_Heard], hashprice_usd_ph_day: float) -> CrossCheck:
    """Our hashprice beside the youngest published one."""
    if not heard:
        return CrossCheck()
    best = min(heard, key=lambda each: (each.age_s, each.quote.source))
    return CrossCheck(best.value, hashprice_usd_ph_day / best.value - 1, best.age_s, best.state, best.quote.source)
