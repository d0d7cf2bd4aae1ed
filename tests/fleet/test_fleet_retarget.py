"""The retarget against Bitcoin Core's and mempool's own test vectors, the forecast misses of 2026, and its silences."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.market import (
    HARD_AGE_S,
    HASHPRICE_INPUTS,
    SOFT_AGE_S,
    InputState,
    Market,
    MarketInput,
    Quote,
    assess,
    difficulty_from_bits,
    newest,
    target_from_bits,
)
from fleet.retarget import (
    Forecast,
    NextHashprice,
    Outlook,
    Silence,
    bits_from_target,
    change_between_bits,
    change_sigma_ratio,
    estimate,
    foresee,
    implied_hashrate_hs,
    luck_sigma_ratio,
    retargeted_bits,
    weekly_hashrate_hs,
)


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


# --- the rule of the chain ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "first_s", "last_s", "expected"),
    [
        pytest.param(0x1D00FFFF, 1261130161, 1262152739, 0x1D00D86A, id="blocks 30240 to 32255"),
        pytest.param(0x1D00FFFF, 1231006505, 1233061996, 0x1D00FFFF, id="no easier than the easiest"),
        pytest.param(0x1C05A3F4, 1279008237, 1279297671, 0x1C0168FD, id="at most four times as hard"),
        pytest.param(0x1C387F6F, 1263163443, 1269211443, 0x1D00E1FD, id="at most four times as easy"),
    ],
)
def test_the_next_target_is_the_one_of_bitcoin_core(bits: int, first_s: int, last_s: int, expected: int) -> None:
    assert retargeted_bits(bits, first_s, last_s) == expected


@pytest.mark.parametrize(
    ("span_s", "change_ratio", "difficulty"),
    [
        pytest.param(1_396_283, -0.1337, 122.73e12, id="forecast of 2026-02-05"),
        pytest.param(1_361_549, -0.1116, 125.86e12, id="retarget of 2026-02-07"),
    ],
)
def test_the_step_of_a_known_span(span_s: int, change_ratio: float, difficulty: float) -> None:
    bits = retargeted_bits(0x1701FCA1, 1_770_000_000, 1_770_000_000 + span_s)
    assert change_between_bits(0x1701FCA1, bits) == pytest.approx(change_ratio, abs=2e-5)
    assert difficulty_from_bits(bits) == pytest.approx(difficulty, abs=0.005e12)


@pytest.mark.parametrize(
    ("target", "bits"),
    [  # Bitcoin Core's tests of its compact form
        (0x12, 0x01120000),
        (0x1234, 0x02123400),
        (0x123456, 0x03123456),
        (0x12345600, 0x04123456),
        (0x92340000, 0x05009234),
        (0x80, 0x02008000),
        (0x1234560000 << 216, 0x20123456),
        ((1 << 224) - 1, 0x1D00FFFF),
    ],
)
def test_the_compact_form_of_a_target(target: int, bits: int) -> None:
    assert bits_from_target(target) == bits


@given(st.integers(1, (1 << 224) - 1))
def test_the_compact_form_loses_less_than_the_third_byte_and_nothing_more(target: int) -> None:
    bits = bits_from_target(target)
    kept = target_from_bits(bits)
    assert 0 <= target - kept <= target >> 15
    assert bits_from_target(kept) == bits


def test_a_known_compact_form_comes_back() -> None:
    assert bits_from_target(target_from_bits(0x1701FCA1)) == 0x1701FCA1


@given(st.integers(0x170000FF, 0x177FFFFF).filter(lambda bits: bits & 0x7FFFFF > 0xFF), st.integers(0, 2**40))
def test_a_step_stays_within_a_quarter_and_four(bits: int, span_s: int) -> None:
    step = difficulty_from_bits(retargeted_bits(bits, 0, span_s)) / difficulty_from_bits(bits)
    assert step == pytest.approx(1_209_600 / min(max(span_s, 302_400), 4_838_400), rel=1 / 127)


@pytest.mark.parametrize(
    ("old", "new", "percent"),
    [  # mempool's tests
        (0x1D000200, 0x1D000100, 100),
        (0x1D000400, 0x1D000100, 300),
        (0x1D000800, 0x1D000100, 300),
        (0x1D000100, 0x1D000200, -50),
        (0x1D000100, 0x1D000400, -75),
        (0x1D000100, 0x1D000800, -75),
        (0x1C000200, 0x1D000001, 100),
        (0x1C000400, 0x1D000001, 300),
        (0x1C000800, 0x1D000001, 300),
        (0x1C000100, 0x1D000002, -50),
        (0x1C000100, 0x1D000004, -75),
        (0x1C000100, 0x1D000008, -75),
        (0x1D000002, 0x1C000100, 100),
        (0x1D000004, 0x1C000100, 300),
        (0x1D000008, 0x1C000100, 300),
        (0x1D000001, 0x1C000200, -50),
        (0x1D000001, 0x1C000400, -75),
        (0x1D000001, 0x1C000800, -75),
    ],
)
def test_the_change_between_two_compact_targets(old: int, new: int, percent: float) -> None:
    assert change_between_bits(old, new) == percent / 100


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (0x1D000001, 0x1A000800, "no retarget leads"),
        (0x7F000001, 0x1A000800, "no target"),
        (0, 0x1A000800, "no target"),
        (0x00800000, 0x1A000800, "no target"),
        (0x1C000000, 0x1A000800, "no target"),
        (0x1A000800, 0x1A800800, "no target"),
    ],
)
def test_there_is_no_change_between_what_is_no_target(old: int, new: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        change_between_bits(old, new)


# --- the estimate ---------------------------------------------------------------------------------------------------


def test_the_estimate_of_a_grown_epoch_is_that_of_mempool() -> None:
    now_s = unix("2024-02-11T22:43:01Z")
    ours = estimate(
        830_027,
        unix("2024-02-02T15:42:06Z"),
        now_s,
        quarter_ago_s=unix("2024-02-08T14:43:05Z"),
        previous_change_ratio=0.07333505241141637,
    )
    assert ours.change_ratio * 100 == pytest.approx(8.512745140778843, abs=1e-9)
    assert ours.progress_ratio * 100 == pytest.approx(71.97420634920636, abs=1e-9)
    assert (ours.blocks_seen, ours.blocks_left, ours.next_height) == (1451, 565, 830_592)
    assert (ours.interval_s, ours.adjusted_interval_s) == (553.311, 553.311)
    assert ours.seconds_left == pytest.approx(312_620.715, abs=1e-9)
    assert ours.retarget_at_s == pytest.approx(1_708_004_001.715, abs=1e-6)
    assert ours.expected_blocks == pytest.approx(1338.0916666666667, abs=1e-9)


def test_the_estimate_of_a_young_epoch_looks_back_into_the_last_one() -> None:
    ours = estimate(
        750_134,
        unix("2022-08-18T11:07:00Z"),
        unix("2022-08-19T14:03:53Z"),
        quarter_ago_s=unix("2022-08-16T03:16:54Z"),
        previous_change_ratio=0.006280047707459726,
    )
    assert ours.change_ratio * 100 == pytest.approx(1.0420538959004633, abs=1e-9)
    assert ours.progress_ratio * 100 == pytest.approx(9.027777777777777, abs=1e-9)
    assert (ours.blocks_seen, ours.blocks_left, ours.next_height) == (182, 1834, 751_968)
    assert (ours.interval_s, ours.adjusted_interval_s) == (533.038, 594.992)
    assert ours.seconds_left == pytest.approx(1_091_215.328, abs=1e-9)
    assert ours.retarget_at_s == pytest.approx(1_662_009_048.328, abs=1e-6)
    assert ours.expected_blocks == pytest.approx(161.68833333333333, abs=1e-9)


def test_the_last_block_of_an_epoch_fixes_the_change() -> None:
    start_s, tip_s, now_s = (
        unix("2023-04-20T09:57:33Z"),
        unix("2023-05-04T14:54:26Z"),
        unix("2023-05-04T14:54:09Z"),
    )
    ours = estimate(788_255, start_s, now_s, tip_time_s=tip_s)
    assert ours.change_ratio * 100 == pytest.approx(-1.4512637555574193, abs=1e-9)
    assert ours.progress_ratio * 100 == pytest.approx(99.95039682539682, abs=1e-9)
    assert (ours.blocks_left, ours.next_height, ours.interval_s) == (1, 788_256, 609.129)
    assert ours.seconds_left == pytest.approx(609.129, abs=1e-9)
    assert ours.retarget_at_s == pytest.approx(1_683_212_658.129, abs=1e-6)
    assert ours.expected_blocks == pytest.approx(2045.66, abs=1e-9)
    # and so says the rule of the chain, but for the rounding
    fixed = change_between_bits(0x1701FCA1, retargeted_bits(0x1701FCA1, start_s, tip_s))
    assert fixed == pytest.approx(ours.change_ratio, abs=1e-5)


def test_an_epoch_without_a_block_or_without_time_gives_the_ends_of_the_scale() -> None:
    fresh = estimate(840_672, 1_770_000_000, 1_770_000_000)
    assert (fresh.blocks_seen, fresh.interval_s, fresh.change_ratio) == (0, 600.0, 3.0)
    assert fresh.seconds_left == 2016 * 600
    assert estimate(840_673, 1_770_000_000, 1_780_000_000).change_ratio == -0.75


@pytest.mark.parametrize(("seen", "percent"), [(502, 100 * (600 * 504 / (502 * 600 + 1e5) - 1)), (503, 100 / 503)])
def test_from_block_503_on_the_last_epoch_is_forgotten(seen: int, percent: float) -> None:
    ours = estimate(
        2016 * 400 + seen, NOW - 600 * seen, NOW, quarter_ago_s=NOW - 600 * seen - 1e5, previous_change_ratio=0.0
    )
    assert ours.change_ratio * 100 == pytest.approx(percent)


def test_a_young_epoch_is_judged_by_itself_where_the_last_one_is_not_known() -> None:
    ours = estimate(2016 * 400 + 99, 1_770_000_000, 1_770_000_000 + 100 * 500)
    assert ours.change_ratio == pytest.approx(0.2)
    with pytest.raises(ValueError, match="NaN"):  # looked back at, but by an unknown factor
        estimate(2016 * 400 + 99, 1_770_000_000, 1_770_050_000, quarter_ago_s=1_769_700_000)


# --- how sure it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks_seen", "percent"),
    [(50, 14.0), (144, 8.0), (504, 3.9), (1008, 2.2), (1500, 1.3), (1728, 0.91), (1872, 0.62), (2000, 0.20)],
)
def test_luck_alone_spreads_the_estimate(blocks_seen: int, percent: float) -> None:
    assert luck_sigma_ratio(blocks_seen) * 100 == pytest.approx(percent, rel=0.05)


def test_luck_spreads_simulated_epochs_as_it_says() -> None:
    rng = np.random.default_rng(5)
    intervals_s = rng.exponential(600.0, (4000, 2015))
    for seen in (504, 1500):
        estimates = 600 * seen / intervals_s[:, :seen].sum(axis=1)
        actual = 600 * 2015 / intervals_s.sum(axis=1)
        assert np.std(estimates - actual) == pytest.approx(luck_sigma_ratio(seen), rel=0.1)


@pytest.mark.parametrize(
    ("blocks_seen", "days_left", "forecast", "actual", "sigmas"),
    [
        pytest.param(1728, 2.0, -0.1337, -0.1116, 0.96, id="2026-02-05"),
        pytest.param(430, 11.0, 0.046, 0.1473, 1.5, id="2026-02-10"),
        pytest.param(600, 9.8, -0.0207, -0.0328, 0.2, id="2026-01-12"),
    ],
)
def test_the_misses_of_2026_are_within_what_the_sigma_says(
    blocks_seen: int, days_left: float, forecast: float, actual: float, sigmas: float
) -> None:
    assert abs(actual - forecast) / change_sigma_ratio(blocks_seen, days_left) == pytest.approx(sigmas, abs=0.05)


def test_nothing_is_known_before_the_first_block() -> None:
    assert change_sigma_ratio(0, 14.0) == math.inf


# --- network hashrate -----------------------------------------------------------------------------------------------


def test_a_week_is_the_shortest_that_counts() -> None:
    days = [1e20] * 6 + [8e20] + [1e20] * 3
    assert weekly_hashrate_hs(days) == pytest.approx((2e20, 2e20))
    assert weekly_hashrate_hs([7e20, *days, *[1e20] * 4]) == pytest.approx((1e20, 2e20))
    assert all(map(math.isnan, weekly_hashrate_hs(days[:6])))
    assert all(map(math.isnan, weekly_hashrate_hs([])))


def test_a_day_without_a_number_is_no_day_of_no_hashrate() -> None:
    assert weekly_hashrate_hs([1e20] * 5 + [0.0, math.nan, -1.0, math.inf] + [1e20] * 2) == pytest.approx((1e20, 1e20))


def test_luck_makes_no_peak() -> None:
    rng = np.random.default_rng(5)
    daily = 1e21 * rng.poisson(144, 365) / 144  # a year at a constant hashrate
    assert daily.max() > 1.2e21
    assert weekly_hashrate_hs(daily.tolist())[1] < 1.1e21


def test_the_hashrate_that_difficulty_implies() -> None:
    assert implied_hashrate_hs(141_668_107_417_558.25) == pytest.approx(1014.1e18, rel=1e-4)  # at height 933586


# --- the outlook ----------------------------------------------------------------------------------------------------

NOW = 1_770_250_000.0
HEIGHT = 2016 * 464 - 288  # 1728 blocks into its epoch
START = NOW - 1728 * 692.636  # the mean interval behind -13.37 %
DIFFICULTY = 141.668107e12

FACTS = {
    MarketInput.DIFFICULTY: DIFFICULTY,
    MarketInput.HEIGHT: float(HEIGHT),
    MarketInput.BLOCK_FEES_BTC: 0.025,
    MarketInput.BTC_USD: 70_000.0,
    MarketInput.EPOCH_START_S: START,
    MarketInput.NETWORK_HASHRATE_HS: 851e18,
    MarketInput.NETWORK_HASHRATE_PEAK_HS: 1151e18,
}


def said(source: str = "mempool", /, age_s: float = 0.0, **values: float) -> tuple[Quote, ...]:
    return tuple(
        Quote(
            MarketInput(name), source, value, NOW - age_s, SOFT_AGE_S[MarketInput(name)], HARD_AGE_S[MarketInput(name)]
        )
        for name, value in values.items()
    )


def told(**changed: float) -> tuple[Quote, ...]:
    """The quotes of one source that knows everything, and of an exchange that makes its price count."""
    numbers = {input.value: value for input, value in FACTS.items()} | changed
    return said("mempool", **numbers) + said("kraken", btc_usd=numbers["btc_usd"])


def look(*quotes: Quote, now_s: float = NOW) -> Outlook:
    market = Market(quotes)
    return foresee(market, assess(market, 0.06, "flat", now_s))


def without(input: MarketInput) -> tuple[Quote, ...]:
    return tuple(quote for quote in told() if quote.input is not input)


def test_two_days_ahead_the_outlook_is_the_one_that_was_published() -> None:
    ahead = look(*told())
    assert isinstance(ahead.forecast, Forecast)
    assert isinstance(ahead.hashprice, NextHashprice)
    forecast, hashprice = ahead.forecast, ahead.hashprice
    assert (forecast.blocks_seen, forecast.blocks_left) == (1728, 288)
    assert forecast.change_ratio == pytest.approx(600 * 1729 / (1728 * 692.636) - 1, abs=1e-12)
    assert forecast.change_ratio == pytest.approx(-0.1337, abs=0.0006)
    assert forecast.retarget_at_s == pytest.approx(NOW + 288 * 692.636, abs=0.3)
    days = 288 * 692.636 / 86_400
    assert forecast.sigma_ratio == pytest.approx(math.hypot(0.00909, 0.015 * math.sqrt(days)), rel=1e-3)
    now_usd = 86400e15 / 2**32 / DIFFICULTY * 3.15 * 70_000
    factor = 1 + forecast.change_ratio
    assert hashprice.difficulty == pytest.approx(DIFFICULTY * factor)
    assert hashprice.usd_ph_day == pytest.approx(now_usd / factor)
    assert hashprice.usd_ph_day / now_usd == pytest.approx(1.1543, abs=0.001)
    assert hashprice.sigma_usd_ph_day == pytest.approx(hashprice.usd_ph_day * forecast.sigma_ratio / factor)
    assert hashprice.mean_usd_ph_day == pytest.approx(hashprice.usd_ph_day * (1 + (forecast.sigma_ratio / factor) ** 2))
    assert ahead.drawdown_ratio == pytest.approx(1 - 851 / 1151)
    assert ahead.lag_ratio == pytest.approx(1 / 1.192 - 1, abs=0.001)  # 1014.1 EH/s implied is 19.2 % above 851


@pytest.mark.parametrize(("seen", "is_told"), [(0, False), (503, False), (504, True), (2015, True)])
def test_no_forecast_before_a_quarter_of_the_epoch_and_the_indicators_all_along(seen: int, is_told: bool) -> None:
    ahead = look(*told(height=2016.0 * 463 + seen, epoch_start_s=NOW - 600.0 * max(seen, 1)))
    assert isinstance(ahead.forecast, Forecast) is isinstance(ahead.hashprice, NextHashprice) is is_told
    early = {"forecast": Silence.EARLY, "hashprice": Silence.EARLY}
    assert ahead.silences == ({} if is_told else early)
    assert isinstance(ahead.drawdown_ratio, float)
    assert isinstance(ahead.lag_ratio, float)


def test_the_last_block_leaves_no_doubt() -> None:
    tip = 2016 * 464 - 1.0
    last = {"height": tip, "epoch_start_s": NOW - 1_361_549 - 900}
    ahead = look(*told(**last, tip_time_s=NOW - 900)).forecast
    assert isinstance(ahead, Forecast)
    assert ahead.change_ratio == pytest.approx(-0.1116, abs=1e-5)
    assert ahead.sigma_ratio == 0.0
    # without a time of the tip that belongs to it, the estimate goes on
    for quotes in (
        told(**last),
        told(**last) + said("blockchain_info", height=tip - 1, tip_time_s=NOW - 900),
        told(**last) + said("blockchain_info", tip_time_s=NOW - 900),
        told(**last) + said(age_s=60.0, tip_time_s=NOW - 1500),
        told(**last, tip_time_s=NOW - 900) + said("blockchain_info", height=tip, tip_time_s=NOW - 800),
    ):
        ahead = look(*quotes).forecast
        assert isinstance(ahead, Forecast)
        assert ahead.change_ratio == pytest.approx(1_209_600 / 1_362_449 - 1)
        assert ahead.sigma_ratio > 0


def test_a_difficulty_that_is_in_force_already_is_not_changed_twice() -> None:
    tip = 2016 * 464 - 1.0
    quotes = told(height=tip, epoch_start_s=NOW - 1_361_549 - 900)
    ahead = tuple(
        replace(quote, at_height=tip + 1, value=125.86e12) if quote.input is MarketInput.DIFFICULTY else quote
        for quote in quotes
    )
    hashprice = look(*ahead).hashprice
    assert isinstance(hashprice, NextHashprice)
    assert hashprice.difficulty == 125.86e12
    assert hashprice.usd_ph_day == assess(Market(ahead), 0.06, "flat", NOW).hashprice_usd_ph_day
    assert hashprice.sigma_usd_ph_day == 0.0


def test_a_start_may_say_itself_which_epoch_it_is_of() -> None:
    start = replace(said("other", epoch_start_s=START)[0], at_height=float(HEIGHT + 287))
    assert isinstance(look(*without(MarketInput.EPOCH_START_S), start).forecast, Forecast)
    late = replace(start, at_height=float(HEIGHT - 1729))
    assert look(*without(MarketInput.EPOCH_START_S), late).forecast is Silence.MISSING


def test_the_reward_behind_the_retarget_is_that_of_its_height() -> None:
    tip = 1_048_320 + 1008.0  # its epoch ends at 1,050,336, past the halving at 1,050,000
    ahead = look(*told(height=tip, epoch_start_s=NOW - 1008 * 600.0))
    assert isinstance(ahead.hashprice, NextHashprice)
    before = 86400e15 / 2**32 / ahead.hashprice.difficulty * 70_000
    assert ahead.hashprice.usd_ph_day == pytest.approx(before * (1.5625 + 0.025))


@pytest.mark.parametrize(
    ("quotes", "silence"),
    [
        pytest.param(without(MarketInput.HEIGHT), Silence.MISSING, id="no height"),
        pytest.param(without(MarketInput.EPOCH_START_S), Silence.MISSING, id="no start"),
        pytest.param(
            without(MarketInput.EPOCH_START_S) + said(age_s=21_601, epoch_start_s=START), Silence.STALE, id="old start"
        ),
        pytest.param(without(MarketInput.HEIGHT) + said(age_s=21_601, height=HEIGHT), Silence.STALE, id="old height"),
        pytest.param(
            without(MarketInput.EPOCH_START_S) + said("exchange", epoch_start_s=START),
            Silence.MISSING,
            id="a start of nobody's epoch",
        ),
        pytest.param(
            without(MarketInput.EPOCH_START_S)
            + said("core", height=HEIGHT)
            + said("late", epoch_start_s=START - 1.2e6, height=HEIGHT - 1729),
            Silence.MISSING,
            id="a start of the last epoch",
        ),
        pytest.param(
            (*told(), *said("core", epoch_start_s=START + 1, height=HEIGHT)), Silence.CONFLICT, id="two starts"
        ),
        pytest.param(told(epoch_start_s=NOW - 60), Silence.IMPLAUSIBLE, id="too late a start"),
        pytest.param(told(epoch_start_s=NOW + 60), Silence.IMPLAUSIBLE, id="a start ahead"),
        pytest.param(told(epoch_start_s=START - 4e6), Silence.IMPLAUSIBLE, id="too early a start"),
        pytest.param(told(epoch_start_s=START * 1e3), Silence.MISSING, id="milliseconds"),
        pytest.param(
            told() + said("core", height=1_050_000.0), Silence.CONFLICT, id="heights on two sides of a halving"
        ),
    ],
)
def test_what_is_not_known_makes_no_forecast(quotes: tuple[Quote, ...], silence: Silence) -> None:
    ahead = look(*quotes)
    assert ahead.forecast is silence
    assert ahead.hashprice is silence


def test_two_sources_that_agree_are_as_good_as_one_and_a_late_one_does_no_harm() -> None:
    alone = look(*told())
    core = said("core", epoch_start_s=START, height=HEIGHT)
    assert look(*told(), *core) == alone
    assert look(*told(), *core, *said("late", epoch_start_s=START - 1.2e6, height=HEIGHT - 1729)) == alone


@pytest.mark.parametrize(
    ("input", "silence"),
    [
        (MarketInput.BTC_USD, Silence.MISSING),
        (MarketInput.DIFFICULTY, Silence.MISSING),
    ],
)
def test_without_a_hashprice_there_is_a_forecast_but_none_of_hashprice(input: MarketInput, silence: Silence) -> None:
    ahead = look(*without(input))
    assert isinstance(ahead.forecast, Forecast)
    assert ahead.hashprice is silence


def test_disputed_and_old_prices_say_so() -> None:
    disputed = look(*without(MarketInput.BTC_USD), *said("kraken", btc_usd=7e4), *said("coinbase", btc_usd=1.4e5))
    assert disputed.hashprice is Silence.CONFLICT
    old = look(*without(MarketInput.BTC_USD), *said("kraken", age_s=901, btc_usd=7e4))
    assert old.hashprice is Silence.STALE


def test_the_indicators_are_silent_each_for_its_own_reason() -> None:
    hashrate, peak = MarketInput.NETWORK_HASHRATE_HS, MarketInput.NETWORK_HASHRATE_PEAK_HS
    ahead = look(*without(hashrate))
    assert (ahead.drawdown_ratio, ahead.lag_ratio) == (Silence.MISSING, Silence.MISSING)
    ahead = look(*without(peak))
    assert ahead.drawdown_ratio is Silence.MISSING
    assert isinstance(ahead.lag_ratio, float)
    ahead = look(*without(peak), *said("other", network_hashrate_peak_hs=1151e18))
    assert ahead.drawdown_ratio is Silence.MISSING  # not of the same estimate
    ahead = look(*without(peak), *said(age_s=604_801, network_hashrate_peak_hs=1151e18))
    assert ahead.drawdown_ratio is Silence.STALE
    ahead = look(*without(hashrate), *said(age_s=86_401, network_hashrate_hs=851e18))
    assert (ahead.drawdown_ratio, ahead.lag_ratio) == (Silence.STALE, Silence.STALE)
    ahead = look(*without(MarketInput.DIFFICULTY))
    assert isinstance(ahead.drawdown_ratio, float)
    assert ahead.lag_ratio is Silence.MISSING
    ahead = look(*told(), *said("core", height=HEIGHT, difficulty=2 * DIFFICULTY))
    assert ahead.lag_ratio is Silence.CONFLICT


def test_a_hashrate_above_its_peak_is_no_drawdown_and_the_estimate_with_a_peak_counts() -> None:
    assert look(*told(network_hashrate_hs=1200e18)).drawdown_ratio == 0.0
    other = said("core", age_s=-1.0, network_hashrate_hs=1e21)
    assert look(*told(), *other).drawdown_ratio == pytest.approx(1 - 851 / 1151)


@given(
    st.lists(
        st.builds(
            Quote,
            st.sampled_from(MarketInput),
            st.sampled_from(["bitcoin_core", "mempool"]),
            st.floats() | st.sampled_from([START, NOW, DIFFICULTY, 7e4, 1e21, float(HEIGHT), 2016 * 464 - 1.0, 0.0]),
            st.floats(NOW - 1e5, NOW + 100) | st.floats(),
            st.just(math.inf),
            st.floats(),
        ),
        max_size=14,
    )
)
def test_no_quotes_raise_and_what_is_told_is_a_number(quotes: list[Quote]) -> None:
    market = newest(quotes)
    ahead = foresee(market, assess(market, 0.06, "flat", NOW))
    if isinstance(ahead.forecast, Forecast):
        assert -0.75 < ahead.forecast.change_ratio < 3
        assert 0 <= ahead.forecast.sigma_ratio < 0.5
        assert NOW < ahead.forecast.retarget_at_s < math.inf
    if isinstance(ahead.hashprice, NextHashprice):
        assert 0 < ahead.hashprice.usd_ph_day <= ahead.hashprice.mean_usd_ph_day < math.inf
    for ratio in (ahead.drawdown_ratio, ahead.lag_ratio):
        assert isinstance(ratio, Silence) or math.isfinite(ratio)


def test_the_outlook_has_no_state_that_an_advice_could_wait_for() -> None:
    market = Market(told())
    bare = Market(tuple(quote for quote in market.quotes if quote.input in HASHPRICE_INPUTS))
    assert assess(market, 0.06, "flat", NOW) == assess(bare, 0.06, "flat", NOW)
    assert set(assess(market, 0.06, "flat", NOW).states.values()) == {InputState.FRESH}
