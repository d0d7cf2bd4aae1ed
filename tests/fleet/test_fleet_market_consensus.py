"""What one bad source can do to the market, and what it cannot; epochs, means, witnesses and the cross-check."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.curtailment import Policy, Status, Why
from fleet.curtailment import judge as health_of
from fleet.market import HARD_AGE_S, SOFT_AGE_S, InputState, Market, MarketInput, Quote, Valuation, assess
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import Observations, PduColumns, assemble

DIFFICULTY, HEIGHT, FEES, PRICE, PUBLISHED = (
    MarketInput.DIFFICULTY,
    MarketInput.HEIGHT,
    MarketInput.BLOCK_FEES_BTC,
    MarketInput.BTC_USD,
    MarketInput.PUBLISHED_USD_PH_DAY,
)
FRESH, SOFT, HARD, CONFLICT = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD, InputState.CONFLICT
NOW = 1_770_000_000.0
OLD, NEW = 141.668e12, 125.864e12
LAST = 935_423  # the last block of epoch 463


def quote(input: MarketInput, value: float, source: str = "a", at_s: float = NOW, at: float | None = None) -> Quote:
    return Quote(input, source, value, at_s, SOFT_AGE_S[input], HARD_AGE_S[input], at)


def judge(market: Market, now_s: float = NOW) -> Valuation:
    return assess(market, 0.06, "flat", now_s)


def ticking(*rounds: dict[str, float], step_s: float = 30.0) -> Market:
    """Prices by source, a round every `step_s`, the last one now."""
    market = Market()
    for i, prices in enumerate(rounds):
        at_s = NOW - (len(rounds) - 1 - i) * step_s
        market = market.with_quotes(quote(PRICE, value, source, at_s) for source, value in prices.items())
    return market


# --- difficulty ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quotes", "value", "state"),
    [
        pytest.param([(OLD, "mempool", LAST - 1)], OLD, FRESH, id="the block before the last"),
        pytest.param([(OLD, "mempool", LAST)], OLD, SOFT, id="the last block: what comes next is not known"),
        pytest.param([(NEW, "bitcoin_core", LAST + 1), (OLD, "mempool", LAST)], NEW, FRESH, id="a node knows it"),
        pytest.param([(OLD, "mempool", LAST), (NEW, "x", LAST + 2100)], OLD, SOFT, id="an epoch ahead is not heard"),
        pytest.param([(NEW / 8, "bitcoin_core", LAST + 1), (OLD, "mempool", LAST)], math.nan, CONFLICT, id="no step"),
        pytest.param([(OLD, "a", LAST - 9), (OLD, "b", LAST - 9), (NEW, "c", LAST - 9)], OLD, FRESH, id="two to one"),
        pytest.param([(OLD, "a", LAST - 9), (NEW, "c", LAST - 9)], math.nan, CONFLICT, id="one to one"),
    ],
)
def test_difficulty_is_that_of_the_next_block(
    quotes: list[tuple[float, str, int]], value: float, state: InputState
) -> None:
    tip = quote(HEIGHT, min(at for *_, at in quotes), "tip")
    valuation = judge(Market((tip, *(quote(DIFFICULTY, value, source, at=at) for value, source, at in quotes))))
    assert (valuation.difficulty, valuation.states[DIFFICULTY]) == (pytest.approx(value, nan_ok=True), state)


def test_an_old_difficulty_in_a_new_epoch_holds_advice_and_is_kept() -> None:
    valuation = judge(Market((quote(HEIGHT, LAST + 1, "core"), quote(DIFFICULTY, OLD, "mempool", at=LAST))))
    assert (valuation.difficulty, valuation.states[DIFFICULTY]) == (OLD, HARD)


def test_a_difficulty_of_the_future_alone_is_none() -> None:
    valuation = judge(Market((quote(HEIGHT, LAST, "core"), quote(DIFFICULTY, NEW, "x", at=LAST + 3000))))
    assert (math.isnan(valuation.difficulty), valuation.states[DIFFICULTY]) == (True, InputState.MISSING)


# --- standing still --------------------------------------------------------------------------------------------------


def test_a_height_ages_with_its_block_whoever_goes_on_saying_it() -> None:
    market = Market()
    for minutes in range(60):
        market = market.with_quotes([quote(HEIGHT, LAST, "mempool", NOW + 60 * minutes)])
        valuation = judge(market, NOW + 60 * minutes)
        assert valuation.states[HEIGHT] is (FRESH if minutes <= 45 else SOFT)
    assert (
        judge(market.with_quotes([quote(HEIGHT, LAST + 1, "mempool", NOW + 3600)]), NOW + 3600).states[HEIGHT] is FRESH
    )


@pytest.mark.parametrize(("input", "value"), [(PRICE, 70_000.0), (FEES, 0.02)])
@pytest.mark.parametrize(("source", "state"), [("kraken", HARD), ("fixed", FRESH)])
def test_what_does_not_move_for_six_hours_is_stale_unless_it_is_a_statement(
    input: MarketInput, value: float, source: str, state: InputState
) -> None:
    market, second = Market(), quote(PRICE, value * 1.001, "bitstamp", NOW + 21_660)
    for at_s in (NOW, NOW + 10_000, NOW + 21_600, NOW + 21_660):
        market = market.with_quotes([quote(input, value, source, at_s)])
    assert judge(market, NOW + 21_660).states[input] is state
    if source == "kraken" and input is PRICE:  # beside one that moves it has no voice
        valuation = judge(market.with_quotes([second]), NOW + 21_660)
        assert (valuation.btc_usd_raw, valuation.states[PRICE]) == (second.value, SOFT)


# --- price -----------------------------------------------------------------------------------------------------------


def test_decisions_use_the_mean_of_five_minutes_and_the_raw_price_stands_beside_it() -> None:
    rising = [{"a": 70_000.0 + 10 * i, "b": 70_000.0 + 10 * i} for i in range(30)]
    valuation = judge(ticking(*rising))
    assert valuation.btc_usd_raw == 70_290.0
    assert valuation.btc_usd == pytest.approx(70_245.0)  # the mean of 200, 210, ... 290


def test_an_hour_of_prices_is_little() -> None:
    market = ticking(*(dict.fromkeys("abcdefg", 70_000.0 + i % 13) for i in range(240)))
    assert len(market.past) < 200
    assert min(each.as_of_s for each in market.past) >= NOW - 3700


def test_one_ticker_that_leaps_has_no_voice_until_two_others_follow() -> None:
    calm = [{"a": 70_000.0, "b": 70_010.0, "c": 70_020.0}] * 5
    alone = judge(ticking(*calm, {"a": 60_000.0, "b": 70_010.0, "c": 70_020.0}))
    assert (alone.btc_usd_raw, alone.states[PRICE]) == (70_015.0, FRESH)
    followed = judge(ticking(*calm, {"a": 60_000.0, "b": 60_010.0, "c": 60_020.0}))
    assert (followed.btc_usd_raw, followed.states[PRICE]) == (60_010.0, FRESH)
    two = judge(ticking(*[{"a": 70_000.0, "b": 70_010.0}] * 5, {"a": 60_000.0, "b": 60_010.0}))
    assert two.states[PRICE] is CONFLICT


@pytest.mark.parametrize("factor", [100.0, 0.02, 1.3, 0.7])
def test_a_lone_ticker_that_goes_far_is_disputed_for_the_hour(factor: float) -> None:
    story = [{"kraken": 70_000.0}] * 5 + [{"kraken": 70_000.0 * factor}] * 20
    valuation = judge(ticking(*story))
    assert valuation.states[PRICE] is CONFLICT
    assert math.isnan(valuation.btc_usd)


def test_a_lone_ticker_is_enough_for_no_stop() -> None:
    assert judge(ticking({"kraken": 70_000.0})).states[PRICE] is SOFT


@pytest.mark.parametrize(
    ("prices", "value", "state"),
    [
        pytest.param({"kraken": 70_000, "mempool": 70_900}, 70_000, FRESH, id="confirmed"),
        pytest.param({"kraken": 70_000, "mempool": 80_000}, 70_000, SOFT, id="an hour may do that"),
        pytest.param({"kraken": 70_000, "mempool": 90_000}, math.nan, CONFLICT, id="contradicted"),
        pytest.param({"kraken": 70_000, "gemini": 75_000, "braiins": 74_500}, 75_000, SOFT, id="settled"),
        pytest.param({"kraken": 70_000, "gemini": 75_000, "braiins": 72_500}, math.nan, CONFLICT, id="not settled"),
        pytest.param({"mempool": 70_000, "braiins": 70_100}, 70_050, SOFT, id="only lagging ones"),
        pytest.param({"mempool": 70_000, "braiins": 80_100}, math.nan, CONFLICT, id="lagging ones that differ"),
        pytest.param({"fixed": 50_000, "kraken": 70_000, "gemini": 70_000}, 70_000, FRESH, id="a feed before a word"),
        pytest.param({"fixed": 50_000}, 50_000, FRESH, id="a word"),
    ],
)
def test_lagging_prices_confirm_and_settle_and_have_no_part_in_the_median(
    prices: dict[str, float], value: float, state: InputState
) -> None:
    valuation = judge(ticking(prices))
    assert (valuation.btc_usd_raw, valuation.states[PRICE]) == (pytest.approx(value, nan_ok=True), state)


def test_a_word_that_stands_in_for_dead_feeds_is_not_as_good_as_one_where_there_are_none() -> None:
    fixed = replace(quote(PRICE, 50_000.0, "fixed", NOW - 1e6), soft_s=math.inf, good_for_s=math.inf)
    dead = quote(PRICE, 70_000.0, "kraken", NOW - 901)
    assert judge(Market((fixed, dead))).states[PRICE] is SOFT
    assert judge(Market((fixed, dead))).btc_usd == 50_000.0


HONEST = st.floats(-0.004, 0.004)
BAD = st.floats(-1e9, 1e9) | st.sampled_from([7e6, 700.0, -1.0, 0.0, 70.0, 71_399.0, 68_601.0, math.nan, math.inf])


@given(
    st.lists(st.tuples(HONEST, HONEST, BAD, st.booleans(), st.booleans()), min_size=1, max_size=15),
    st.sampled_from(["bad", "mempool", "blockchain_info", "fixed"]),
)
def test_no_source_moves_the_price_out_of_the_range_of_two_that_are_honest(
    story: list[tuple[float, float, float, bool, bool]], name: str
) -> None:
    """At every instant: the price used is within the honest ones', widened by the outlier rule, or there is none."""
    market = Market()
    for i, (a, b, bad, is_a_up, is_bad_up) in enumerate(story):
        at_s = NOW + 30.0 * i
        market = market.with_quotes([quote(PRICE, 70_000.0 * (1 + b), "b", at_s)])
        if is_a_up:
            market = market.with_quotes([quote(PRICE, 70_000.0 * (1 + a), "a", at_s)])
        if is_bad_up:
            market = market.with_quotes([quote(PRICE, bad, name, at_s)])
        valuation = judge(market, at_s)
        for used in (valuation.btc_usd, valuation.btc_usd_raw):
            if math.isnan(used):
                assert valuation.states[PRICE] is CONFLICT
            else:
                assert abs(used / 70_000.0 - 1) <= 0.004 + 0.02


# --- cross-check -----------------------------------------------------------------------------------------------------

MARKET = Market(
    (
        quote(DIFFICULTY, OLD),
        quote(HEIGHT, 935_140),
        quote(FEES, 0.02),
        quote(PRICE, 70_000.0, "a"),
        quote(PRICE, 70_000.0, "b"),
    )
)
OURS = 31.2609  # 2.0116567611694e10 / 141.668e12 * 3.145 * 70000


@pytest.mark.parametrize(
    ("published", "is_alarm"), [(OURS, False), (OURS / 1.029, False), (OURS / 1.031, True), (OURS / 0.969, True)]
)
def test_a_published_hashprice_raises_an_alarm_and_changes_no_number(published: float, is_alarm: bool) -> None:
    alone = judge(MARKET)
    valuation = judge(MARKET.with_quotes([quote(PUBLISHED, published, "luxor", NOW - 60)]))
    check = valuation.cross_check
    assert check.is_alarm is is_alarm
    assert (check.usd_ph_day, check.source, check.age_s, check.state) == (published, "luxor", 60.0, FRESH)
    assert check.difference == pytest.approx(OURS / published - 1, abs=1e-5)
    assert replace(valuation, cross_check=alone.cross_check) == alone


def test_an_old_published_hashprice_or_none_is_no_alarm() -> None:
    assert judge(MARKET).cross_check.state is InputState.MISSING
    old = judge(MARKET.with_quotes([quote(PUBLISHED, 50.0, "luxor", NOW - 21_601)])).cross_check
    assert (old.state, old.is_alarm) == (HARD, False)
    assert not judge(Market((quote(PUBLISHED, 50.0),))).cross_check.is_alarm  # nothing of ours to compare


@pytest.mark.parametrize(
    ("published", "expected"), [(OURS, (Status.OK, Why(0))), (OURS * 1.1, (Status.DEGRADED, Why.INPUT_CONFLICT))]
)
def test_while_others_publish_another_hashprice_no_new_machine_is_stopped(
    published: float, expected: tuple[Status, Why]
) -> None:
    snapshot = assemble(Site("north", ()), Observations.empty(0), (), PduColumns(), NOW, 60.0)
    market = MARKET.with_quotes([quote(PUBLISHED, published, "luxor")])
    assert health_of(snapshot, judge(market), Signals(), Policy(), NOW) == expected
