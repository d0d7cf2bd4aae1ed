"""Hashprice against published figures (Hashrate Index and press of their dates), and the judgement of quotes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.market import (
    HALVING_INTERVAL,
    HASHPRICE_INPUTS,
    InputState,
    Market,
    MarketInput,
    Quote,
    Valuation,
    assess,
    difficulty_from_bits,
    has_expired,
    hashprice_btc_per_ph_day,
    hashprice_usd_per_ph_day,
    in_bounds,
    newest,
    reward_btc,
    sats_per_th_day,
    subsidy_btc,
)
from fleet.tariff import FlatTariff

DIFFICULTY, HEIGHT, FEES, PRICE = (
    MarketInput.DIFFICULTY,
    MarketInput.HEIGHT,
    MarketInput.BLOCK_FEES_BTC,
    MarketInput.BTC_USD,
)
FRESH, SOFT, HARD, MISSING, CONFLICT = (
    InputState.FRESH,
    InputState.STALE_SOFT,
    InputState.STALE_HARD,
    InputState.MISSING,
    InputState.CONFLICT,
)

NOW = 1_770_000_000.0
D, TIP = 141.668e12, 935_140
AGES = {DIFFICULTY: (2_700.0, 21_600.0), HEIGHT: (2_700.0, 21_600.0), FEES: (2_700.0, 86_400.0), PRICE: (120.0, 900.0)}


def quote(input: MarketInput, value: float, source: str = "a", age_s: float = 0.0) -> Quote:
    return Quote(input, source, value, NOW - age_s, *AGES[input])


def judge(*quotes: Quote, now_s: float = NOW) -> Valuation:
    return assess(Market(quotes), 0.06, "flat", now_s)


# --- formulas against published figures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difficulty", "subsidy", "fee_share", "btc_usd", "usd_ph_day", "tolerance"),
    [
        pytest.param(13.672594e12, 6.25, 0.0126, 33_806, 315.0, 0.001, id="2021-07-24"),
        pytest.param(155.97e12, 3.125, 0.0062, 106_935, 43.33, 0.015, id="2025-11-03"),
        pytest.param(146.47e12, 3.125, 0.0055, 91_132, 39.53, 0.015, id="2026-01-12"),
    ],
)
def test_hashprice_in_dollars_is_the_published_one(
    difficulty: float, subsidy: float, fee_share: float, btc_usd: float, usd_ph_day: float, tolerance: float
) -> None:
    ours = hashprice_usd_per_ph_day(difficulty, subsidy / (1 - fee_share), btc_usd)
    assert ours == pytest.approx(usd_ph_day, rel=tolerance)


@pytest.mark.parametrize(
    ("difficulty", "fee_share", "btc_ph_day"),
    [
        pytest.param(155.97e12, 0.0062, 0.00040577, id="2025-11-03"),
        pytest.param(146.47e12, 0.0055, 0.00043143, id="2026-01-12"),
    ],
)
def test_hashprice_in_bitcoin_is_the_published_one(difficulty: float, fee_share: float, btc_ph_day: float) -> None:
    reward = 3.125 / (1 - fee_share)
    assert hashprice_btc_per_ph_day(difficulty, reward) == pytest.approx(btc_ph_day, rel=0.007)
    assert sats_per_th_day(difficulty, reward) == pytest.approx(btc_ph_day * 1e8 / 1e3, rel=0.007)


@pytest.mark.parametrize(
    ("difficulty", "usd_ph_day", "reward", "low", "high"),
    [
        pytest.param(83.148e12, 52.36, 3.293, 66_000, 66_000, id="2024-05-15"),
        pytest.param(82.05e12, 50.27, 3.125 / 0.98, 64_000, 65_000, id="2024-07-25"),
        pytest.param(92.67e12, 39.87, 3.167, 58_000, 58_000, id="2024-09-16"),
        pytest.param(116.96e12, 64.03, 3.125 / 0.99, 117_000, 118_000, id="2025-07-11"),
        pytest.param(141.668e12, 35.22, 3.125 / 0.994, 78_600, 78_600, id="2026-02-01"),
        pytest.param(141.668e12, 32.0, 3.125 / 0.99, 62_600, 73_100, id="2026-02-05, upper limit"),
        pytest.param(125.864e12, 35.0, 3.125 / 0.99, 68_900, 70_400, id="2026-02-09"),
        pytest.param(133.87e12, 28.68, 3.125 / 0.992, 60_600, 60_600, id="2026-06-27"),
    ],
)
def test_the_price_behind_a_published_hashprice_is_the_quoted_one(
    difficulty: float, usd_ph_day: float, reward: float, low: float, high: float
) -> None:
    price = usd_ph_day / hashprice_usd_per_ph_day(difficulty, reward, 1.0)
    assert low * 0.985 <= price <= high * 1.015


def test_the_reward_behind_the_runes_peak_has_fees_above_the_subsidy() -> None:
    reward = 182.0 / hashprice_usd_per_ph_day(86.388e12, 1.0, 64_900)
    assert reward == pytest.approx(12.04, rel=0.015)
    assert reward - subsidy_btc(840_100) > subsidy_btc(840_100)


@pytest.mark.parametrize(("network_hs", "error"), [(934.5e18, 0.085), (851e18, 0.192)])
def test_an_estimate_of_network_hashrate_instead_of_difficulty_is_far_off(network_hs: float, error: float) -> None:
    """February 2026: difficulty implied 1,014.1 EH/s; an estimate in its place makes hashprice that much too high."""
    difficulty = difficulty_from_bits(0x1701FCA1)
    from_hashrate = network_hs * 600 / 2**32
    ratio = hashprice_usd_per_ph_day(from_hashrate, 3.148, 70_150) / hashprice_usd_per_ph_day(difficulty, 3.148, 70_150)
    assert ratio - 1 == pytest.approx(error, abs=0.001)


def test_a_page_that_says_difficulty_and_shows_hashrate_is_an_eighth_too_high() -> None:
    """A public calculator shows 41.6 USD/PH/day at 904.29 EH/s where its own difficulty of 141.67T makes 37.1."""
    ours = hashprice_usd_per_ph_day(141.67e12, 3.125, 83_625)
    assert ours == pytest.approx(37.1, abs=0.05)
    from_hashrate = hashprice_usd_per_ph_day(904.29e18 * 600 / 2**32, 3.125, 83_625)
    assert from_hashrate == pytest.approx(41.6, abs=0.05)
    assert from_hashrate / ours - 1 == pytest.approx(0.121, abs=0.001)


def test_a_hashrate_quoted_as_difficulty_is_not_heard() -> None:
    assert judge(quote(DIFFICULTY, 9.345e20)).states[DIFFICULTY] is MISSING


# --- consensus numbers ----------------------------------------------------------------------------------------------


def test_difficulty_from_bits_is_what_a_node_prints() -> None:
    assert difficulty_from_bits(0x1701FCA1) == 141668107417558.25
    assert difficulty_from_bits(0x1D00FFFF) == 1.0  # the first block


@pytest.mark.parametrize(
    ("bits", "printed"),
    [
        pytest.param(0x1D00D86A, 1.18289953, id="block 32256, the first retarget"),
        pytest.param(0x1B0404CB, 16307.420938523983, id="the example of the wiki"),
        pytest.param(0x1B04864C, 14484.1623612254, id="block 100000"),
        pytest.param(0x1A05DB8B, 2864140.507810974, id="block 200000"),
        pytest.param(0x1A04E0EA, 3438908.9601591416, id="block 210000, the first halving"),
        pytest.param(0x180526FD, 213398925331.3239, id="block 420000, the second"),
        pytest.param(0x18009645, 1873105475221.611, id="block 500000"),
        pytest.param(0x1709ED88, 28351606743493.77, id="28.35T"),
        pytest.param(0x1705AE3A, 49549703178592.68, id="49.55T"),
        pytest.param(0x17034219, 86388558925171.02, id="block 840000, the fourth halving"),
        pytest.param(0x1701FCA1, 141668107417558.2, id="block 933586"),
    ],
)
def test_difficulty_from_bits_is_the_one_of_the_chain(bits: int, printed: float) -> None:
    assert difficulty_from_bits(bits) == pytest.approx(printed, rel=5e-9 if printed < 2 else 1e-14)


def test_difficulty_of_a_target_of_few_bytes_shifts_right() -> None:
    assert difficulty_from_bits(0x02010000) == float((0xFFFF << 208) // 0x100)


@pytest.mark.parametrize("bits", [0, -1, 0x1780FCA1, 0x17000000, 0x20800000, 0x2100FFFF, 0x01001234])
def test_bits_that_are_no_target_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="no target"):
        difficulty_from_bits(bits)


@pytest.mark.parametrize(
    ("height", "btc"),
    [
        (0, 50.0),
        (209_999, 50.0),
        (210_000, 25.0),
        (420_000, 12.5),
        (630_000, 6.25),
        (839_999, 6.25),
        (840_000, 3.125),
        (1_049_999, 3.125),
        (1_050_000, 1.5625),
        (10 * HALVING_INTERVAL, 0.04882812),  # half a satoshi is not paid
        (33 * HALVING_INTERVAL, 0.0),
    ],
)
def test_subsidy_halves_at_its_heights(height: int, btc: float) -> None:
    assert subsidy_btc(height) == btc


def test_reward_is_subsidy_and_fees_and_missing_without_either() -> None:
    assert reward_btc(935_140, 0.02) == pytest.approx(3.145)
    assert math.isnan(reward_btc(math.nan, 0.02))
    assert math.isnan(reward_btc(935_140, math.nan))


@pytest.mark.parametrize("hole", range(3))
def test_hashprice_of_a_missing_number_is_missing(hole: int) -> None:
    numbers = [D, 3.145, 70_000.0]
    numbers[hole] = math.nan
    assert math.isnan(hashprice_usd_per_ph_day(*numbers))


@pytest.mark.parametrize(
    ("input", "value", "inside"),
    [
        (DIFFICULTY, 0.0, False),
        (DIFFICULTY, D, True),
        (HEIGHT, 0.0, False),
        (HEIGHT, TIP * 10.0, False),
        (FEES, 0.0, True),
        (FEES, -0.01, False),
        (FEES, 20.1, False),
        (PRICE, -1.0, False),
        (PRICE, 999.0, False),
        (PRICE, 70_000.0, True),
        (PRICE, math.nan, False),
        (PRICE, math.inf, False),
    ],
)
def test_bounds(input: MarketInput, value: float, inside: bool) -> None:
    assert in_bounds(input, value) is inside
    assert (judge(quote(input, value)).states[input] is not MISSING) is inside


# --- the bag of quotes ----------------------------------------------------------------------------------------------


def test_the_newest_quote_per_input_and_source_is_kept() -> None:
    old, new = quote(PRICE, 70_000, "a", age_s=60), quote(PRICE, 71_000, "a")
    other_source, other_input = quote(PRICE, 72_000, "b", age_s=90), quote(FEES, 0.02, "a", age_s=90)
    for order in permutations((old, new, other_source, other_input)):
        assert set(newest(order).quotes) == {new, other_source, other_input}


def test_of_two_quotes_as_new_the_later_arrival_counts_and_the_old_market_stays() -> None:
    first, second = quote(PRICE, 70_000), quote(PRICE, 71_000)
    market = newest([first])
    assert market.with_quotes([second]).quotes == (second,)
    assert market.quotes == (first,)


# --- judgement ------------------------------------------------------------------------------------------------------

ALL = (
    quote(DIFFICULTY, D),
    quote(HEIGHT, TIP),
    quote(FEES, 0.02),
    quote(PRICE, 70_000.0, "a"),
    quote(PRICE, 70_000.0, "b"),
)


def test_a_full_market_gives_a_hashprice_by_hand() -> None:
    valuation = judge(*ALL)
    # 2.0116567611694e10 / 141.668e12 * 3.145 * 70000
    assert valuation.hashprice_usd_ph_day == pytest.approx(31.2609, abs=1e-3)
    assert valuation.hashprice_btc_ph_day == pytest.approx(31.2609 / 70_000, rel=1e-4)
    assert valuation.reward_btc == pytest.approx(3.145)
    assert (valuation.difficulty, valuation.height, valuation.btc_usd) == (D, TIP, 70_000.0)
    assert set(valuation.states.values()) == {FRESH}
    assert valuation.used == {input: tuple(each for each in ALL if each.input is input) for input in HASHPRICE_INPUTS}
    assert (valuation.at_s, valuation.power_usd_per_kwh, valuation.power_source) == (NOW, 0.06, "flat")


@pytest.mark.parametrize("hole", [DIFFICULTY, HEIGHT, PRICE])
def test_without_one_input_there_is_no_hashprice(hole: MarketInput) -> None:
    valuation = judge(*(each for each in ALL if each.input is not hole))
    left = {input: FRESH for input in HASHPRICE_INPUTS if input is not hole}
    assert valuation.states == left | {hole: MISSING}
    assert math.isnan(valuation.ages_s[hole])
    assert valuation.used[hole] == ()
    assert math.isnan(valuation.hashprice_usd_ph_day)


@pytest.mark.parametrize(
    ("input", "age_s", "state", "is_usable"),
    [
        (PRICE, 120, FRESH, True),
        (PRICE, 121, SOFT, True),
        (PRICE, 900, SOFT, True),
        (PRICE, 901, HARD, False),
        (DIFFICULTY, 45 * 60, FRESH, True),
        (DIFFICULTY, 45 * 60 + 1, SOFT, True),
        (DIFFICULTY, 6 * 3600 + 1, HARD, True),  # holds until the retarget, whoever is silent
        (HEIGHT, 45 * 60 + 1, SOFT, True),
        (HEIGHT, 6 * 3600 + 1, HARD, True),
        (FEES, 45 * 60 + 1, SOFT, True),
        (FEES, 24 * 3600, SOFT, True),
        (PRICE, -60, FRESH, True),
        (PRICE, -61, MISSING, False),  # from the future: a wrong clock
        (PRICE, math.nan, HARD, False),
    ],
)
def test_age_makes_state(input: MarketInput, age_s: float, state: InputState, is_usable: bool) -> None:
    aged = [replace(each, as_of_s=NOW - age_s) if each.input is input else each for each in ALL]
    valuation = judge(*aged)
    assert valuation.states[input] is state
    assert math.isfinite(valuation.hashprice_usd_ph_day) is is_usable
    if state is not MISSING and not math.isnan(age_s):
        assert valuation.ages_s[input] == max(age_s, 0)
        assert len(valuation.used[input]) == (2 if input is PRICE else 1)  # what is stale stays visible


def test_a_quote_for_ever_never_ages() -> None:
    fixed = replace(quote(PRICE, 70_000.0, "fixed", age_s=1e9), soft_s=math.inf, good_for_s=math.inf)
    assert judge(fixed).states[PRICE] is FRESH


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        pytest.param({"a": 70_000}, 70_000, id="one"),
        pytest.param({"a": 70_000, "b": 71_000}, 70_500, id="two agree"),
        pytest.param({"a": 70_000, "b": 71_400}, 70_700, id="two, 2 % apart"),
        pytest.param({"a": 70_000, "b": 71_401}, None, id="two, more than 2 % apart"),
        pytest.param({"a": 70_000, "b": 7_000_000}, None, id="two, one x100"),
        pytest.param({"a": 70_000, "b": 71_000, "c": 72_000}, 71_000, id="three"),
        pytest.param({"a": 70_000, "b": 71_000, "c": 7_000_000}, 70_500, id="three, one x100"),
        pytest.param({"a": 70_000, "b": 71_000, "c": 1_001}, 70_500, id="three, one far below"),
        pytest.param({"a": 40_000, "b": 70_000, "c": 140_000}, None, id="three, no two agree"),
        pytest.param({"a": 50_000, "b": 50_000, "c": 90_000, "d": 90_000}, None, id="two against two"),
        pytest.param({"a": 70_000, "b": -1, "c": 0, "d": math.nan}, 70_000, id="out of bounds is not a voice"),
    ],
)
def test_price_is_the_median_of_those_that_agree(prices: dict[str, float], expected: float | None) -> None:
    valuation = judge(*(quote(PRICE, value, source) for source, value in prices.items()))
    if expected is None:
        assert valuation.states[PRICE] is CONFLICT
        assert math.isnan(valuation.btc_usd)
        assert len(valuation.used[PRICE]) == len(prices)
    else:
        assert valuation.states[PRICE] is (FRESH if len(valuation.used[PRICE]) > 1 else SOFT)  # one is not enough
        assert valuation.btc_usd == valuation.btc_usd_raw == expected
        assert all(abs(each.value / expected - 1) <= 0.02 for each in valuation.used[PRICE])


def test_an_expired_price_has_no_voice_beside_a_living_one() -> None:
    valuation = judge(quote(PRICE, 90_000, "a", age_s=901), quote(PRICE, 70_000, "b", age_s=300))
    assert (valuation.btc_usd, valuation.states[PRICE], valuation.ages_s[PRICE]) == (70_000, SOFT, 300)


def test_a_median_is_fresh_where_two_of_its_voices_are() -> None:
    two = (quote(PRICE, 70_000, "a", age_s=500), quote(PRICE, 71_000, "b", age_s=5))
    assert (judge(*two).states[PRICE], judge(*two).ages_s[PRICE]) == (SOFT, 5)
    assert judge(*two, quote(PRICE, 70_500, "c")).states[PRICE] is FRESH


def test_the_hourly_price_of_a_mempool_server_is_never_enough_alone() -> None:
    hourly = replace(quote(PRICE, 71_000, "mempool", age_s=1800), soft_s=3600, good_for_s=4500)
    assert judge(hourly).states[PRICE] is SOFT
    assert judge(hourly, quote(PRICE, 70_000, "kraken")).states[PRICE] is FRESH
    assert judge(hourly, quote(PRICE, 70_000, "kraken", age_s=300)).states[PRICE] is SOFT


RETARGET = 935_424  # 464 * 2016
OLD, NEW = 141.668e12, 125.864e12


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param((OLD, TIP), (OLD * (1 + 1e-7), TIP), OLD, id="the same, other digits"),
        pytest.param((OLD, TIP), (OLD, TIP - 3), OLD, id="the same, one behind"),
        pytest.param((OLD, TIP), (OLD * (1 + 1e-5), TIP), None, id="different at one height"),
        pytest.param((NEW, RETARGET), (OLD, RETARGET - 1), NEW, id="across a retarget: the higher one"),
        pytest.param((OLD, RETARGET), (NEW, RETARGET - 1), OLD, id="across a retarget, the other way"),
        pytest.param((NEW, RETARGET - 1), (OLD, RETARGET - 2), None, id="no retarget between"),
        pytest.param((OLD / 4, RETARGET), (OLD, RETARGET - 1), OLD / 4, id="a step of 1/4"),
        pytest.param((OLD / 4.1, RETARGET), (OLD, RETARGET - 1), None, id="a step below 1/4"),
        pytest.param((OLD * 4.1, RETARGET), (OLD, RETARGET - 1), None, id="a step above 4"),
        pytest.param((OLD * 100, RETARGET), (OLD, RETARGET - 1), None, id="x100"),
        pytest.param((NEW, RETARGET + 10), (OLD, None), NEW, id="the other has no height and may be late"),
        pytest.param((NEW, RETARGET + 11), (OLD, None), None, id="the other has no height and has had its time"),
        pytest.param((OLD / 4.1, RETARGET), (OLD, None), None, id="the other has no height, and no step leads there"),
        pytest.param((NEW, RETARGET + 6), (OLD, RETARGET - 3), NEW, id="across a retarget, a little late"),
        pytest.param((NEW, RETARGET), (OLD, RETARGET - 4), None, id="the other stands well before the retarget"),
        pytest.param((OLD, RETARGET), (OLD, RETARGET - 4), OLD, id="before the retarget, but with the same number"),
        pytest.param((OLD, TIP), (OLD, None), OLD, id="the other agrees without a height"),
    ],
)
def test_difficulty_is_agreed_on_or_disputed(
    a: tuple[float, int], b: tuple[float, int | None], expected: float | None
) -> None:
    quotes = [quote(DIFFICULTY, a[0], "a"), quote(HEIGHT, a[1], "a"), quote(DIFFICULTY, b[0], "b")]
    if b[1] is not None:
        quotes.append(quote(HEIGHT, b[1], "b"))
    for order in (quotes, quotes[::-1]):
        valuation = judge(*order)
        if expected is None:
            assert valuation.states[DIFFICULTY] is CONFLICT
            assert math.isnan(valuation.difficulty)
            assert len(valuation.used[DIFFICULTY]) == 2
        else:
            assert valuation.states[DIFFICULTY] is FRESH
            assert valuation.difficulty == expected  # never the mean


def test_a_difficulty_without_height_is_usable_alone() -> None:
    assert judge(quote(DIFFICULTY, D)).difficulty == D


def test_an_expired_difficulty_cannot_dispute_a_living_one() -> None:
    valuation = judge(quote(DIFFICULTY, OLD, "a", age_s=21_601), quote(DIFFICULTY, NEW, "b"))
    assert (valuation.difficulty, valuation.states[DIFFICULTY]) == (NEW, FRESH)


def test_equal_difficulties_are_told_in_the_digits_of_the_better_source() -> None:
    exact, rounded = quote(DIFFICULTY, 141668107417558.25, "bitcoin_core"), quote(DIFFICULTY, 141668107417558.0, "z")
    assert judge(rounded, exact).difficulty == exact.value


def test_height_is_the_highest_seen() -> None:
    valuation = judge(quote(HEIGHT, TIP, "a"), quote(HEIGHT, TIP + 1, "b", age_s=10))
    assert (valuation.height, valuation.ages_s[HEIGHT]) == (TIP + 1, 10)


def test_two_heights_far_apart_are_disputed_and_of_three_the_far_one_is_not_heard() -> None:
    valuation = judge(*ALL, quote(HEIGHT, 1_050_000, "b"))
    assert valuation.states[HEIGHT] is CONFLICT
    assert math.isnan(valuation.reward_btc)
    assert judge(*ALL, quote(HEIGHT, TIP + 144, "b")).height == TIP + 144
    assert judge(*ALL, quote(HEIGHT, TIP + 145, "b")).states[HEIGHT] is CONFLICT
    assert judge(*ALL, quote(HEIGHT, TIP + 145, "bitcoin_core")).height == TIP + 145  # a node is asked how old it is
    assert judge(*ALL, quote(HEIGHT, TIP - 145, "bitcoin_core")).height == TIP - 145
    settled = judge(*ALL, quote(HEIGHT, TIP + 1, "b"), quote(HEIGHT, 1_050_000, "c"))
    assert (settled.height, settled.states[HEIGHT]) == (TIP + 1, FRESH)


def test_the_reward_is_that_of_the_next_block() -> None:
    for tip, subsidy in ((1_049_998, 3.125), (1_049_999, 1.5625), (1_050_000, 1.5625)):
        assert judge(quote(HEIGHT, tip), quote(FEES, 0.02)).reward_btc == subsidy + 0.02


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"mempool": 0.03, "other": 0.05}, 0.03),
        ({"other": 0.05, "bitcoin_core": 0.02, "mempool": 0.03}, 0.02),
        ({"bitcoin_core": 0.02, "fixed": 0.01}, 0.02),
        ({"fixed": 0.01}, 0.01),
    ],
)
def test_fees_come_from_the_best_source_of_the_ladder(sources: dict[str, float], expected: float) -> None:
    valuation = judge(quote(HEIGHT, TIP), *(quote(FEES, value, source) for source, value in sources.items()))
    assert valuation.reward_btc == pytest.approx(3.125 + expected)


def test_fees_that_nobody_tells_are_a_hundredth_of_the_subsidy_and_say_so() -> None:
    without = [each for each in ALL if each.input is not FEES]
    for tip, subsidy in ((TIP, 3.125), (1_049_999, 1.5625)):
        quotes = [replace(each, value=tip, as_of_s=NOW - 60) if each.input is HEIGHT else each for each in without]
        valuation = judge(*(each for each in quotes if each.input is not DIFFICULTY), quote(DIFFICULTY, D))
        assert valuation.reward_btc == pytest.approx(subsidy * 1.01, rel=1e-15)
        assert math.isfinite(valuation.hashprice_usd_ph_day)
        assert (valuation.states[FEES], valuation.ages_s[FEES]) == (SOFT, 60.0)
        assert [(each.source, each.as_of_s) for each in valuation.used[FEES]] == [("subsidy_x1.01", NOW - 60)]
    expired = judge(*without, quote(FEES, 0.5, "mempool", age_s=86_401))
    assert (expired.reward_btc, expired.states[FEES]) == (pytest.approx(3.15625), SOFT)
    assert [each.source for each in expired.used[FEES]] == ["subsidy_x1.01"]


def test_nothing_is_assumed_upon_a_height_that_is_not_known() -> None:
    assert judge(*(each for each in ALL if each.input not in (FEES, HEIGHT))).states[FEES] is MISSING
    old = [
        replace(each, as_of_s=NOW - 21_601) if each.input is HEIGHT else each for each in ALL if each.input is not FEES
    ]
    valuation = judge(*old, quote(FEES, 0.02, age_s=86_401))
    assert (valuation.states[FEES], math.isnan(valuation.reward_btc)) == (HARD, True)
    assert [each.value for each in valuation.used[FEES]] == [0.02]


@pytest.mark.parametrize(
    ("other_btc", "age_s", "state"),
    [
        (0.02 + 0.628, 0, FRESH),  # a fifth of 3.145
        (0.02 + 0.630, 0, CONFLICT),
        (8.92, 0, CONFLICT),
        (8.92, 2_701, FRESH),  # an old answer is of other blocks
    ],
)
def test_fees_far_apart_are_a_dispute_that_the_best_source_wins(
    other_btc: float, age_s: float, state: InputState
) -> None:
    valuation = judge(*ALL, quote(FEES, 0.02, "bitcoin_core"), quote(FEES, other_btc, "mempool", age_s=age_s))
    assert (valuation.reward_btc, valuation.states[FEES]) == (pytest.approx(3.145), state)
    told = ["bitcoin_core", "mempool"] if state is CONFLICT else ["bitcoin_core"]
    assert [each.source for each in valuation.used[FEES]] == told


def test_a_rush_of_fees_is_believed() -> None:
    """2024-04-21: fees of 8.92 BTC a block, four times the reward of the day before; 182 USD/PH/day were published."""
    quotes = (
        quote(HEIGHT, 840_200), quote(DIFFICULTY, 86.388e12), quote(FEES, 8.92),
        quote(PRICE, 64_900.0, "a"), quote(PRICE, 64_900.0, "b"),
    )  # fmt: skip
    valuation = judge(*quotes)
    assert (valuation.reward_btc, set(valuation.states.values())) == (pytest.approx(12.045), {FRESH})
    assert valuation.hashprice_usd_ph_day == pytest.approx(182.0, rel=0.015)


def test_expired_fees_give_way_to_the_next_rung() -> None:
    valuation = judge(
        quote(HEIGHT, TIP), quote(FEES, 0.02, "bitcoin_core", age_s=86_401), quote(FEES, 0.03, "mempool", age_s=3_000)
    )
    assert valuation.reward_btc == pytest.approx(3.155)
    assert valuation.states[FEES] is SOFT


ANY_FLOAT = st.floats() | st.sampled_from([0.0, -1.0, 1.0, NOW, D, OLD, NEW, 70_000.0, 7e6, float(TIP), math.inf])
ANY_QUOTE = st.builds(
    Quote,
    st.sampled_from(MarketInput),
    st.sampled_from(["fixed", "bitcoin_core", "mempool", "coinbase", "kraken", ""]),
    ANY_FLOAT,
    ANY_FLOAT | st.floats(NOW - 1e5, NOW + 100),
    ANY_FLOAT,
    ANY_FLOAT,
)


@given(st.lists(ANY_QUOTE, max_size=12), ANY_FLOAT | st.just(NOW))
def test_no_quotes_raise_and_what_is_not_known_is_not_a_number(quotes: list[Quote], now_s: float) -> None:
    valuation = assess(newest(quotes), 0.06, "flat", now_s)
    values = {DIFFICULTY: valuation.difficulty, HEIGHT: valuation.height, PRICE: valuation.btc_usd}
    for input, value in values.items():
        assert math.isfinite(value) or valuation.states[input] in (MISSING, CONFLICT, HARD)
        if math.isfinite(value):
            assert in_bounds(input, value)
        else:
            assert math.isnan(valuation.hashprice_usd_ph_day)


@given(st.lists(ANY_QUOTE, max_size=8), st.randoms())
def test_the_order_of_sources_does_not_matter(quotes: list[Quote], random: object) -> None:
    quotes = list({(each.input, each.source): each for each in quotes}.values())
    shuffled = list(quotes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = judge(*quotes), judge(*shuffled)
    assert one.states == other.states
    assert repr((one.difficulty, one.height, one.btc_usd, one.reward_btc)) == repr(
        (other.difficulty, other.height, other.btc_usd, other.reward_btc)
    )


def test_a_flat_tariff_is_the_same_at_every_hour() -> None:
    tariff = FlatTariff(0.06)
    assert (tariff.price_usd_per_kwh(0.0), tariff.price_usd_per_kwh(NOW), tariff.source) == (0.06, 0.06, "flat")


@pytest.mark.parametrize(
    ("quote", "is_past"),
    [
        (Quote(PRICE, "kraken", 7e4, NOW - 900.0, 120.0, 900.0), False),
        (Quote(PRICE, "kraken", 7e4, NOW - 901.0, 120.0, 900.0), True),
        (Quote(PRICE, "kraken", 7e4, NOW + 61.0, 120.0, 900.0), True),  # of the future
        (Quote(PRICE, "kraken", 7e4, NOW, 120.0, 900.0, since_s=NOW - 21_601.0), True),  # frozen
        (Quote(PRICE, "kraken", 0.0, NOW, 120.0, 900.0), True),  # out of bounds
    ],
)
def test_a_quote_on_which_nothing_rests_has_expired(quote: Quote, is_past: bool) -> None:
    assert has_expired(quote, NOW) is is_past
    assert (judge(quote).states[PRICE] in (MISSING, HARD)) is is_past
