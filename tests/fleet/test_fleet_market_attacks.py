"""One source that does anything, at any time, among others that are honest: what it can do to the numbers in use.

It may be the first to be heard, name any time within what a collector lets through, fall silent, leap, creep, and stand
in for an hour that only it knows. It may make an input degraded or disputed. It may not move it.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet.market import HARD_AGE_S, SOFT_AGE_S, InputState, Market, MarketInput, Quote, Valuation, assess

DIFFICULTY, HEIGHT, PRICE = MarketInput.DIFFICULTY, MarketInput.HEIGHT, MarketInput.BTC_USD
FRESH, SOFT, CONFLICT = InputState.FRESH, InputState.STALE_SOFT, InputState.CONFLICT
NOW = 1_770_000_000.0
ROUND_S = 30.0
HONEST = ("coinbase", "kraken", "gemini")
D = 141.668e12
RETARGET = 464 * 2016


def quote(input: MarketInput, value: float, source: str, at_s: float = NOW, at: float | None = None) -> Quote:
    return Quote(input, source, value, at_s, SOFT_AGE_S[input], HARD_AGE_S[input], at)


def judge(market: Market, now_s: float = NOW) -> Valuation:
    return assess(market, 0.06, "flat", now_s)


# --- price -----------------------------------------------------------------------------------------------------------

LIES = (
    st.floats(1e3, 1e7)
    | st.floats(0.9, 1.1).map(lambda factor: 70_000.0 * factor)
    | st.sampled_from([7e6, 700.0, -1.0, 0.0, 71_399.0, 68_601.0, 71_400.0, math.nan, math.inf])
)
ROUND = st.tuples(
    st.floats(-0.01, 0.01),  # where the market goes
    st.tuples(*[st.floats(-0.003, 0.003)] * 3),  # how each honest ticker sees it
    st.tuples(*[st.booleans()] * 3),  # and whether it is heard in this round
    LIES | st.none(),
    st.sampled_from([0.0, 60.0, -29.0, -120.0, -600.0, -3000.0]),  # the time that the bad one names
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROUND, min_size=2, max_size=30), st.integers(0, 12), st.sampled_from(["bad", "bitfinex", "mempool"]))
@example([(0.0, (0.0,) * 3, (True,) * 3, 7e6, 0.0)] * 4, 3, "bitfinex")  # heard before anybody else
@example([(0.0, (0.0,) * 3, (True,) * 3, 71_399.0, 60.0)] * 12, 0, "bitfinex")  # as far as the outlier rule allows
def test_one_bad_ticker_among_three_never_moves_the_price_further_than_the_outlier_rule(
    story: list[tuple[float, tuple[float, ...], tuple[bool, ...], float | None, float]], alone: int, name: str
) -> None:
    """`alone` rounds only the bad one is heard; from then on three honest ones live, and bound what is used."""
    market, truth, told = Market(), 70_000.0, list[tuple[float, float]]()
    for i, (step, noises, is_heard, lie, offset_s) in enumerate(story):
        now_s = NOW + ROUND_S * i
        truth *= 1 + step
        if lie is not None:
            market = market.with_quotes([quote(PRICE, lie, name, now_s + offset_s)])
        if i < alone:
            continue
        for source, noise, up in zip(HONEST, noises, is_heard, strict=True):
            if up or i == alone:
                told.append((now_s, truth * (1 + noise)))
                market = market.with_quotes([quote(PRICE, truth * (1 + noise), source, now_s)])
        valuation = judge(market, now_s)
        honest = [value for at_s, value in told if now_s - at_s <= HARD_AGE_S[PRICE]]
        for used in (valuation.btc_usd, valuation.btc_usd_raw):
            if math.isnan(used):
                assert valuation.states[PRICE] is CONFLICT
            else:
                assert min(honest) / 1.02 <= used <= max(honest) * 1.02


def test_what_one_source_said_before_others_were_heard_is_no_part_of_the_mean() -> None:
    market = Market().with_quotes([quote(PRICE, 7e6, "bitfinex", NOW)])
    alone = judge(market)
    assert (alone.btc_usd, alone.states[PRICE]) == (7e6, SOFT)  # believed, but nothing new is stopped
    for i in range(1, 12):
        now_s = NOW + ROUND_S * i
        market = market.with_quotes(quote(PRICE, 70_000.0, source, now_s) for source in HONEST)
        assert judge(market, now_s).btc_usd == 70_000.0


def test_a_lone_ticker_has_a_mean_of_its_own() -> None:
    market = Market()
    for i in range(10):
        market = market.with_quotes([quote(PRICE, 70_000.0 + 10 * i, "kraken", NOW + ROUND_S * i)])
    assert judge(market, NOW + 270.0).btc_usd == pytest.approx(70_045.0)


# --- difficulty and height -------------------------------------------------------------------------------------------


def chain(height: float, *sources: str, difficulty: float = D) -> list[Quote]:
    told = []
    for source in sources:
        told += [quote(HEIGHT, height, source), quote(DIFFICULTY, difficulty, source, at=height)]
    return told


@settings(max_examples=200, deadline=None)
@given(
    st.integers(RETARGET - 2016, RETARGET - 5),
    st.integers(-3000, 3000) | st.sampled_from([0, 1, 144, 145, 2016]),
    st.floats(0.2, 5.0) | st.sampled_from([0.25, 4.0, 1.0, 100.0, 0.01]),
    st.none() | st.integers(-3000, 3000),
    st.sampled_from(["mempool", "braiins", "blockchain_info", "x"]),
)
@example(RETARGET - 284, 284, 3.9, None, "mempool")
@example(RETARGET - 24, 24, 0.26, 24, "x")
def test_one_bad_source_never_brings_a_difficulty_that_nobody_else_said(
    height: int, ahead: int, factor: float, at_ahead: int | None, name: str
) -> None:
    """Away from a retarget two honest sources stand at one height; the difficulty in use is theirs, or disputed."""
    others = [source for source in ("bitcoin_core", "mempool", "y") if source != name][:2]
    lie = [quote(HEIGHT, height + ahead, name)]
    lie += [quote(DIFFICULTY, D * factor, name, at=None if at_ahead is None else height + at_ahead)]
    valuation = judge(Market((*chain(height, *others), *lie)))
    assert math.isnan(valuation.difficulty) or valuation.difficulty == pytest.approx(D, rel=1e-6)
    if math.isnan(valuation.difficulty):
        assert valuation.states[DIFFICULTY] is CONFLICT
    if abs(ahead) > 144:
        assert valuation.height == height


@pytest.mark.parametrize("left", [4, 24, 144, 284, 1500])
def test_a_retarget_that_only_one_has_seen_is_disputed_by_a_node_that_stands_well_before_it(left: int) -> None:
    early = chain(RETARGET, "mempool", difficulty=3.9 * D)
    beside = judge(Market((*chain(RETARGET - left, "bitcoin_core"), *early)))
    assert (beside.states[DIFFICULTY] is CONFLICT) or beside.difficulty == D


def test_a_node_whose_tip_is_old_denies_nothing() -> None:
    stuck = [
        quote(HEIGHT, RETARGET - 9, "bitcoin_core", NOW - 2701), quote(DIFFICULTY, D, "bitcoin_core", at=RETARGET - 9),
    ]  # fmt: skip
    valuation = judge(Market((*stuck, *chain(RETARGET, "mempool", difficulty=0.9 * D))))
    assert (valuation.difficulty, valuation.states[DIFFICULTY]) == (0.9 * D, FRESH)


def test_a_server_that_indexes_anew_does_not_hold_a_node_up() -> None:
    behind = chain(RETARGET - 500, "mempool")
    valuation = judge(Market((*chain(RETARGET + 20, "bitcoin_core", difficulty=0.9 * D), *behind)))
    assert (valuation.height, valuation.states[HEIGHT]) == (RETARGET + 20, FRESH)
    assert (valuation.difficulty, valuation.states[DIFFICULTY]) == (0.9 * D, FRESH)


def test_a_page_without_a_height_may_be_late_and_makes_no_dispute_of_a_retarget() -> None:
    """Braiins says no height; it is asked every five minutes and may show the difficulty of before for a while."""
    late = quote(DIFFICULTY, D, "braiins")
    for tip, state in ((RETARGET - 1, FRESH), (RETARGET + 10, FRESH), (RETARGET + 11, CONFLICT)):
        node = [quote(HEIGHT, tip, "bitcoin_core"), quote(DIFFICULTY, 0.9 * D, "bitcoin_core", at=tip + 1)]
        valuation = judge(Market((late, *node)))
        assert valuation.states[DIFFICULTY] is state
        assert math.isnan(valuation.difficulty) or valuation.difficulty == 0.9 * D


# --- a source that contradicts itself --------------------------------------------------------------------------------


def story(*told: tuple[float, float, float], source: str = "mempool") -> Market:
    """(seconds from now, height, difficulty) of one source, one after the other."""
    market = Market()
    for later_s, height, difficulty in told:
        at_s = NOW + later_s
        numbers = {HEIGHT: height, DIFFICULTY: difficulty}
        market = market.with_quotes(quote(input, value, source, at_s, height) for input, value in numbers.items())
    return market


MID = RETARGET - 900.0


@pytest.mark.parametrize(
    ("told", "state"),
    [
        pytest.param([(0, MID, D), (60, MID, 100 * D)], CONFLICT, id="a hundredfold"),
        pytest.param([(0, MID, D), (60, MID + 1, 1.1 * D)], CONFLICT, id="a tenth more within an epoch"),
        pytest.param([(0, MID, D), (60, MID, 100 * D), (120, MID, D)], FRESH, id="and back again"),
        pytest.param([(0, MID, D), *((60 * k, MID, 2 * D) for k in range(1, 360))], CONFLICT, id="for six hours"),
        pytest.param([(0, MID, D), *((60 * k, MID + k // 10, 2 * D) for k in range(1, 362))], FRESH, id="after them"),
        pytest.param([(0, RETARGET - 1, D), (60, RETARGET, 0.9 * D)], FRESH, id="a retarget"),
        pytest.param([(0, RETARGET - 1, D), (60, RETARGET, D), (90, RETARGET, 0.9 * D)], FRESH, id="a cache before it"),
        pytest.param([(0, RETARGET - 1, D), (60, RETARGET + 11, 4.1 * D)], CONFLICT, id="a step that cannot be"),
        pytest.param([(0, RETARGET - 1, D), (60, RETARGET + 12, 0.9 * D)], FRESH, id="a retarget missed"),
        pytest.param([(0, MID - 4032, D), (60, MID, 10 * D)], FRESH, id="two retargets missed"),
        pytest.param([(0, MID, D), (60, MID, D * (1 + 1e-7))], FRESH, id="other digits"),
    ],
)
def test_a_lone_source_that_contradicts_itself_is_not_believed(
    told: list[tuple[float, float, float]], state: InputState
) -> None:
    market = story(*told)
    now_s = NOW + told[-1][0]
    valuation = judge(market.with_quotes([quote(HEIGHT, told[-1][1], "bitcoin_core", now_s)]), now_s)
    assert valuation.states[DIFFICULTY] is state
    assert valuation.difficulty == pytest.approx(math.nan if state is CONFLICT else told[-1][2], nan_ok=True)
    assert len(market.past) == (state is CONFLICT)


def test_beside_one_that_does_not_a_source_that_contradicts_itself_has_no_voice() -> None:
    market = story((0, MID, D), (60, MID, 1.1 * D)).with_quotes(chain(MID, "braiins"))
    valuation = judge(market, NOW + 60)
    assert (valuation.difficulty, valuation.states[DIFFICULTY]) == (D, FRESH)


def test_a_height_that_leaps_over_a_halving_is_not_believed_and_one_that_indexes_anew_is() -> None:
    leapt = judge(story((0, 935_140, D), (60, 1_050_000, D)), NOW + 60)
    assert (leapt.states[HEIGHT], math.isnan(leapt.reward_btc)) == (CONFLICT, True)
    assert judge(story((0, 1_049_990, D), (60, 1_050_005, D)), NOW + 60).states[HEIGHT] is FRESH
    assert judge(story((0, 935_140, D), (60, 936_500, D)), NOW + 60).height == 936_500


def test_an_operator_may_correct_what_he_has_written() -> None:
    assert judge(story((0, MID, D / 1000), (60, MID, D), source="file"), NOW + 60).difficulty == D


@pytest.mark.parametrize("height", [0.0, -145.0, math.inf, math.nan, 1e7])
def test_what_is_out_of_bounds_casts_no_doubt(height: float) -> None:
    market = story((0, 935_140, D), (60, height, D), (120, 935_141, D))
    assert market.past == ()
    assert judge(market, NOW + 120).height == 935_141


def test_a_page_without_a_height_contradicts_itself_by_the_height_that_others_tell() -> None:
    """As a mempool does in the look in which its height was lost."""
    for tip, later_s, state in ((MID, 300.0, CONFLICT), (RETARGET + 11, 300.0, FRESH), (RETARGET + 12, 3900.0, FRESH)):
        at_s = NOW + later_s
        market = Market().with_quotes([quote(HEIGHT, tip, "y"), quote(DIFFICULTY, D, "braiins")])
        market = market.with_quotes([quote(HEIGHT, tip, "y", at_s), quote(DIFFICULTY, 1.1 * D, "braiins", at_s)])
        assert judge(market, at_s).states[DIFFICULTY] is state


def test_fresh_fees_of_a_lower_rung_go_before_old_ones_of_a_higher() -> None:
    old = quote(MarketInput.BLOCK_FEES_BTC, 0.02, "bitcoin_core", NOW - 3000)
    fresh = quote(MarketInput.BLOCK_FEES_BTC, 0.03, "mempool")
    valuation = judge(Market((quote(HEIGHT, 935_140, "mempool"), old, fresh)))
    assert valuation.states[MarketInput.BLOCK_FEES_BTC] is FRESH
    assert valuation.reward_btc == pytest.approx(3.155)


# --- where each rule begins ------------------------------------------------------------------------------------------


def ticks(*told: tuple[float, float], sources: tuple[str, ...] = ("kraken",)) -> Valuation:
    """(seconds, price) of every source, one after the other; judged at the last."""
    market = Market()
    for later_s, usd in told:
        market = market.with_quotes(quote(PRICE, usd, source, NOW + later_s) for source in sources)
    return judge(market, NOW + told[-1][0])


@pytest.mark.parametrize(
    ("factor", "later_s", "state"),
    [
        (1.099, 60.0, FRESH),
        (1.101, 60.0, CONFLICT),
        (1.101, 61.0, FRESH),
        (1 / 1.099, 60.0, FRESH),
        (0.9, 60.0, CONFLICT),
    ],
)
def test_a_tenth_within_a_minute_needs_two_others(factor: float, later_s: float, state: InputState) -> None:
    told = ((0.0, 70_000.0), (later_s, 70_000.0 * factor))
    assert ticks(*told, sources=("kraken", "gemini")).states[PRICE] is state
    assert ticks(*told, sources=("kraken", "gemini", "bitstamp")).states[PRICE] is FRESH


@pytest.mark.parametrize(
    ("factor", "later_s", "state"),
    [(1.249, 3000.0, SOFT), (1.251, 3000.0, CONFLICT), (1.251, 3601.0, SOFT), (0.79, 3000.0, CONFLICT)],
)
def test_a_quarter_within_an_hour_needs_a_second(factor: float, later_s: float, state: InputState) -> None:
    told = ((0.0, 70_000.0), (later_s, 70_000.0 * factor))
    assert ticks(*told).states[PRICE] is state
    assert ticks(*told, sources=("kraken", "gemini")).states[PRICE] is FRESH


@pytest.mark.parametrize(
    ("lagging", "state"),
    [(71_399.0, FRESH), (71_401.0, SOFT), (83_999.0, SOFT), (84_001.0, CONFLICT), (58_333.0, CONFLICT)],
)
def test_a_lagging_price_confirms_within_2_percent_and_contradicts_from_20_on(
    lagging: float, state: InputState
) -> None:
    beside = Market((quote(PRICE, 70_000.0, "kraken"), quote(PRICE, lagging, "mempool")))
    assert judge(beside).states[PRICE] is state


@pytest.mark.parametrize(("later_s", "state"), [(21_600.0, SOFT), (21_601.0, InputState.STALE_HARD)])
def test_a_price_that_stands_still_is_stale_after_six_hours(later_s: float, state: InputState) -> None:
    assert ticks(*((600.0 * k, 70_000.0) for k in range(36)), (later_s, 70_000.0)).states[PRICE] is state


@pytest.mark.parametrize(
    ("age_s", "state"),
    [(120.0, FRESH), (120.1, SOFT), (900.0, SOFT), (900.1, InputState.STALE_HARD)],
)
def test_a_price_is_a_warning_after_two_minutes_and_nothing_after_fifteen(age_s: float, state: InputState) -> None:
    valuation = judge(Market((quote(PRICE, 70_000.0, "kraken"), quote(PRICE, 70_001.0, "gemini"))), NOW + age_s)
    assert valuation.states[PRICE] is state
    assert math.isnan(valuation.btc_usd) is (state is InputState.STALE_HARD)


@pytest.mark.parametrize(("price", "agreeing"), [(71_399.0, 3), (71_401.0, 2), (68_628.0, 3), (68_627.0, 2)])
def test_a_ticker_has_a_voice_within_2_percent_of_the_median(price: float, agreeing: int) -> None:
    told = {"kraken": 70_000.0, "gemini": 70_000.0, "bitfinex": price}
    valuation = judge(Market(tuple(quote(PRICE, usd, source) for source, usd in told.items())))
    assert len(valuation.used[PRICE]) == agreeing


# --- what is kept although it is old ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "age_s", "sigma"),
    [
        pytest.param(RETARGET - 900, 0.0, 0.0, id="fresh"),
        pytest.param(RETARGET - 900, 2701.0, 0.0, id="old, and two weeks to go"),
        pytest.param(RETARGET - 5, 2701.0, 0.05, id="old, and the retarget may have passed"),
        pytest.param(RETARGET - 6, 2701.0, 0.0, id="old, and six blocks are more than there can have been"),
        pytest.param(RETARGET - 1, 0.0, 0.05, id="the last block, and the next difficulty is not known"),
        pytest.param(RETARGET - 900, 21_601.0, 0.05, id="past its hard age"),
    ],
)
def test_a_difficulty_that_may_be_over_is_kept_and_its_error_widened(height: int, age_s: float, sigma: float) -> None:
    valuation = judge(Market(tuple(chain(height, "mempool"))), NOW + age_s)
    assert (valuation.difficulty, valuation.difficulty_sigma_ratio) == (D, sigma)
