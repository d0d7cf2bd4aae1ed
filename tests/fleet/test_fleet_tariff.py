"""What power costs: by the calendar, by a series, all in; and that a bill is the same however it is asked for."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fleet.localtime import Zone, clock_instants_s, day_number, local_times, start_of_day_s, zone_of
from fleet.market import InputState
from fleet.series import Gap, Series, SeriesError, parse_series_csv, smallest_step_s
from fleet.tariff import (
    FlatTariff,
    Index,
    PowerPrice,
    Tariff,
    after_profit_share,
    bill_usd,
    coincident_peak_shadow_per_kwh,
    demand_shadow_per_kwh,
    exchange_rate,
    mean_prices,
    pair_of,
    price_now,
    prices,
)
from fleet.timeofuse import (
    ALL_DAY,
    Period,
    Schedule,
    ScheduleError,
    Season,
    parse_hours,
    parse_season,
    parse_weekdays,
)

HOUR = 3600.0
BERLIN, CHICAGO = zone_of(ZoneInfo("Europe/Berlin")), zone_of(ZoneInfo("America/Chicago"))
ZONES = {name: ZoneInfo(name) for name in ("Europe/Berlin", "America/Chicago", "Africa/Casablanca", "Asia/Kolkata")}
TABLES = {name: zone_of(zone) for name, zone in ZONES.items()}


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def column(*instants: float | str) -> np.ndarray:
    return np.array([unix(each) if isinstance(each, str) else each for each in instants])


# --- local time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, date(2026, 3, 29), 23),
        (BERLIN, date(2026, 10, 25), 25),
        (BERLIN, date(2026, 3, 28), 24),
        (CHICAGO, date(2026, 3, 8), 23),
        (CHICAGO, date(2026, 11, 1), 25),
        (CHICAGO, date(2026, 3, 29), 24),
        (zone_of(UTC), date(2026, 3, 29), 24),
    ],
)
def test_a_day_has_as_many_hours_as_the_clocks_give_it(zone: Zone, day: date, hours: int) -> None:
    start, end = (start_of_day_s(zone, day_number(day) + i) for i in (0, 1))
    assert end - start == hours * HOUR
    assert set(local_times(zone, np.arange(start, end, 60.0)).day) == {day_number(day)}


def test_a_day_whose_midnight_is_skipped_begins_later() -> None:
    """Beirut, 2026-03-29: the clocks go from 00:00 to 01:00."""
    beirut = zone_of(ZoneInfo("Asia/Beirut"))
    start = start_of_day_s(beirut, day_number(date(2026, 3, 29)))
    assert datetime.fromtimestamp(start, ZoneInfo("Asia/Beirut")).isoformat() == "2026-03-29T01:00:00+03:00"


@given(st.sampled_from(sorted(ZONES)), st.integers(unix_2000 := 946_684_800, 2_840_000_000))
def test_local_time_is_that_of_the_library(name: str, at: int) -> None:
    told, local = datetime.fromtimestamp(at, ZONES[name]), local_times(TABLES[name], np.array([float(at)]))
    month, day = local.month_day
    assert (int(local.day[0]), int(local.weekday[0])) == (day_number(told.date()), told.weekday())
    assert float(local.second[0]) == told.hour * 3600 + told.minute * 60 + told.second
    assert (int(month[0]), int(day[0])) == (told.month, told.day)


def test_a_zone_has_the_name_it_is_given_or_its_own() -> None:
    assert (CHICAGO.name, zone_of(UTC, "utc").name) == ("America/Chicago", "utc")


def test_instants_of_the_clock_lie_within_what_was_asked() -> None:
    start = start_of_day_s(BERLIN, day_number(date(2026, 10, 25)))
    instants = clock_instants_s(BERLIN, np.array([150]), start, start + 25 * HOUR)
    at_0230 = [t for t in instants if datetime.fromtimestamp(t, ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "02:30"]
    assert len(at_0230) == 2  # 02:30 comes twice that day
    assert all(start <= instant < start + 25 * HOUR for instant in instants)


# --- time of use -----------------------------------------------------------------------------------------------------

WORKDAYS, WEEKEND = (0, 1, 2, 3, 4), (5, 6)
SEASONS = (Season("summer", (6, 1), (9, 30)), Season("winter", (10, 1), (5, 31)))


def time_of_use(zone: Zone = CHICAGO, scale: float = 1.0, **changes: object) -> Schedule:
    """Summer afternoons of workdays are dear, nights cheap; a made-up tariff in the layout of a Texan one."""
    periods = (
        Period("peak", 0.20 * scale, "summer", WORKDAYS, ((16 * 60, 21 * 60),)),
        Period("day", 0.06 * scale, "summer", WORKDAYS, ((0, 16 * 60), (21 * 60, 24 * 60))),
        Period("weekend", 0.04 * scale, "summer", WEEKEND),
        Period("winter day", 0.05 * scale, "winter", spans=((7 * 60, 23 * 60),)),
        Period("winter night", 0.03 * scale, "winter", spans=((0, 7 * 60), (23 * 60, 24 * 60))),
    )
    given = {"zone": zone, "periods": periods, "seasons": SEASONS} | changes
    return Schedule(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at", "per_kwh"),
    [
        ("2026-07-01T15:59:59-05:00", 0.06),
        ("2026-07-01T16:00:00-05:00", 0.20),  # a boundary belongs to what it opens
        ("2026-07-01T20:59:59-05:00", 0.20),
        ("2026-07-01T21:00:00-05:00", 0.06),
        ("2026-07-04T17:00:00-05:00", 0.04),  # a Saturday
        ("2026-07-03T17:00:00-05:00", 0.04),  # a Friday, and a holiday
        ("2026-06-01T00:00:00-05:00", 0.06),
        ("2026-05-31T23:59:59-05:00", 0.03),
        ("2026-09-30T23:59:59-05:00", 0.06),
        ("2026-10-01T00:00:00-05:00", 0.03),
        ("2028-02-29T12:00:00-06:00", 0.05),
        ("2026-01-01T06:59:59-06:00", 0.03),
        ("2026-01-01T07:00:00-06:00", 0.05),
    ],
)
def test_time_of_use_by_season_weekday_holiday_and_hour(at: str, per_kwh: float) -> None:
    schedule = time_of_use(holidays=(day_number(date(2026, 7, 3)),))
    assert schedule.per_kwh(column(at))[0] == per_kwh
    told = price_now(Tariff(schedule), {}, unix(at))
    assert (told.usd_per_kwh, told.source, told.state) == (per_kwh, "time_of_use", InputState.FRESH)


def test_a_holiday_is_billed_as_the_weekday_that_is_said() -> None:
    saturday = day_number(date(2026, 7, 4))
    schedule = time_of_use(holidays=(saturday,), holidays_as=0)
    assert schedule.per_kwh(column("2026-07-04T17:00:00-05:00"))[0] == 0.20


def test_an_hour_that_comes_twice_is_billed_twice_and_a_skipped_one_not() -> None:
    only_two = Schedule(BERLIN, (Period("two", 1.0, spans=((120, 180),)),), elsewhere=0.0)
    for day, hours in ((date(2026, 10, 25), 2), (date(2026, 3, 29), 0), (date(2026, 7, 1), 1)):
        start, end = (start_of_day_s(BERLIN, day_number(day) + i) for i in (0, 1))
        assert bill_usd(Tariff(only_two), np.array([start, end]), np.array([1000.0]), {}, 0.0) == pytest.approx(hours)


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"seasons": (*SEASONS, Season("may", (5, 1), (6, 1)))}, "seasons.may", "overlaps season 'winter' on 05-01"),
        ({"seasons": SEASONS[:1]}, "seasons", "no season holds on 01-01"),
        ({"periods": (Period("a", 1.0, "fall"),)}, "periods[0].season", "there is no season 'fall'"),
        (
            {"periods": (Period("a", 1.0), Period("b", 2.0, "winter", (6,), ((60, 120),)))},
            "periods[1].hours", "overlaps period 'a' on sun at 01:00 in season 'winter'",
        ),
        (
            {"periods": (Period("a", 1.0, "summer"), Period("b", 2.0, "winter", WORKDAYS))},
            "periods", "no period holds on sat at 00:00 in season 'winter'",
        ),
        (
            {"seasons": (), "periods": (Period("a", 1.0, spans=((0, 1439),)),)},
            "periods", "no period holds on mon at 23:59",
        ),
        ({"seasons": (), "periods": ()}, "periods", "no period holds on mon at 00:00"),
    ],
)  # fmt: skip
def test_a_calendar_that_overlaps_or_leaves_something_out_is_refused(
    changes: dict[str, object], where: str, message: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        time_of_use(**changes)
    assert (caught.value.where, caught.value.message, str(caught.value)) == (where, message, f"{where}: {message}")


def test_windows_may_leave_out_seasons_and_hours() -> None:
    period, season = Period("4CP", 3.0, "june", spans=((900, 1080),)), Season("june", (6, 1), (6, 30))
    june = Schedule(CHICAGO, (period,), (season,), elsewhere=0.0)
    told = june.per_kwh(column("2026-06-15T16:00:00-05:00", "2026-06-15T19:00:00-05:00", "2026-07-15T16:00:00-05:00"))
    assert told.tolist() == [3.0, 0.0, 0.0]


def test_words_of_a_calendar() -> None:
    assert parse_season("summer", "06-01..09-30") == SEASONS[0]
    assert parse_weekdays("mon-fri") == WORKDAYS
    assert parse_weekdays("Sun, wed-thu,mon") == (0, 2, 3, 6)
    assert parse_hours("0-7,21:30-24") == ((0, 420), (1290, 1440))
    assert parse_hours("0-24") == ALL_DAY


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_weekdays, "monday", "'monday' is neither one of mon, tue, wed, thu, fri, sat, sun nor a range of them"),
        (parse_weekdays, "mon-tue-wed", "'mon-tue-wed' is neither one of"),
        (parse_weekdays, "fri-mon", "'fri-mon' runs backwards"),
        (parse_hours, "16:00", "'16:00' is not of the form 16:00-21:00"),
        (parse_hours, "16-25", "'16-25' is outside the day, 0:00 to 24:00"),
        (parse_hours, "24:01-24:02", "outside the day"),
        (parse_hours, "16:60-17", "outside the day"),
        (parse_hours, "21-7", "'21-7' ends before it begins; write hours over midnight as 21-24,0-7"),
        (parse_hours, "7-7", "ends before it begins"),
    ],
)
def test_words_that_mean_nothing_are_refused(parse: object, text: str, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text)  # type: ignore[operator]
    assert message in str(caught.value)
    assert caught.value.where == ""


@pytest.mark.parametrize(
    "text", ["summer", "13-01..12-31", "02-30..12-31", "00-01..12-31", "6-1..9-30", "01-00..01-02"]
)
def test_a_season_that_is_no_part_of_a_year_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match=r"seasons\.odd: "):
        parse_season("odd", text)


# --- series ----------------------------------------------------------------------------------------------------------

T0 = unix("2026-08-20T00:00:00Z")
HOURLY = Series("da", (T0, T0 + HOUR, T0 + 3 * HOUR), (0.02, 0.03, -0.01), HOUR)


def test_a_series_says_what_it_knows_and_why_it_does_not() -> None:
    at = [T0 - 1, T0, T0 + HOUR - 1, T0 + HOUR, T0 + 2 * HOUR, T0 + 3 * HOUR, T0 + 4 * HOUR - 1, T0 + 4 * HOUR]
    values, reasons = HOURLY.look_up(np.array([*at, math.nan]))
    np.testing.assert_array_equal(values, [math.nan, 0.02, 0.02, 0.03, math.nan, -0.01, -0.01, math.nan, math.nan])
    assert reasons.tolist() == [
        Gap.BEFORE, Gap.NONE, Gap.NONE, Gap.NONE, Gap.HOLE, Gap.NONE, Gap.NONE, Gap.AFTER, Gap.NO_TIME,
    ]  # fmt: skip


def test_a_value_ends_where_the_next_begins() -> None:
    values, _ = Series("rt", (0.0, 300.0), (1.0, 2.0), 900.0).look_up(np.array([299.0, 300.0, 1199.0, 1200.0]))
    np.testing.assert_array_equal(values, [1.0, 2.0, 2.0, math.nan])


@pytest.mark.parametrize(
    ("late_s", "value", "state"),
    [
        (-1.0, 0.05, InputState.FRESH),
        (0.0, 0.05, InputState.FRESH),
        (119.0, 0.05, InputState.FRESH),
        (120.0, 0.05, InputState.STALE_SOFT),
        (899.0, 0.05, InputState.STALE_SOFT),
        (900.0, math.nan, InputState.STALE_HARD),
    ],
)
def test_the_newest_value_stands_in_for_a_while_and_says_so(late_s: float, value: float, state: InputState) -> None:
    series = Series("rt", (0.0, 300.0), (0.01, 0.05), 300.0, soft_s=120.0, hold_s=900.0)
    assert series.now(600.0 + late_s) == (pytest.approx(value, nan_ok=True), state, 300.0)
    assert math.isnan(series.look_up(np.array([600.0]))[0][0])  # but not over a horizon


def test_without_leave_to_stand_in_a_price_ends_with_its_step() -> None:
    assert HOURLY.now(T0 + 4 * HOUR - 1)[:2] == (-0.01, InputState.FRESH)
    assert HOURLY.now(T0 + 4 * HOUR)[1] is InputState.STALE_HARD
    assert HOURLY.now(T0 - 1)[1] is HOURLY.now(T0 + 2 * HOUR)[1] is InputState.MISSING
    assert Series("x", (0.0,), (math.nan,), 60.0, hold_s=99.0).now(30.0)[1] is InputState.MISSING
    assert Series("x", (0.0, 60.0), (math.nan, 1.0), 60.0).look_up(np.array([30.0]))[1].tolist() == [Gap.HOLE]


@pytest.mark.parametrize(
    ("starts", "values", "step_s", "message"),
    [
        ((), (), 60.0, "0 values"),
        ((0.0,), (1.0, 2.0), 60.0, "as many values as starts"),
        ((0.0, 0.0), (1.0, 2.0), 60.0, "do not ascend"),
        ((math.nan,), (1.0,), 60.0, "finite"),
        ((0.0,), (1.0,), 0.0, "above zero"),
        ((0.0,), (1.0,), math.inf, "finite"),
    ],
)
def test_what_is_no_series_is_refused(
    starts: tuple[float, ...], values: tuple[float, ...], step_s: float, message: str
) -> None:
    with pytest.raises(SeriesError, match=message):
        Series("x", starts, values, step_s)


def test_a_file_of_prices() -> None:
    text = "time,value\n2026-10-25T02:00:00+02:00,50\n2026-10-25T02:00:00+01:00,-4.5\n\n2026-10-25T02:00Z,\n"
    series = parse_series_csv(text, "file", 1e-3, "EUR")
    assert series.start_s == (unix("2026-10-25T00:00Z"), unix("2026-10-25T01:00Z"), unix("2026-10-25T02:00Z"))
    np.testing.assert_allclose(series.value, [0.05, -0.0045, math.nan])
    assert (series.name, series.unit, series.step_s, series.hold_s) == ("file", "EUR", HOUR, 0.0)
    assert parse_series_csv(text, "file", 1e-3, step_s=900.0).step_s == 900.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header is not time,value"),
        ("when,price\n", "line 1: the header is not time,value"),
        ("time,value\nnoon,1\n", "line 2: 'noon' is not a time of ISO 8601"),
        ("time,value\n2026-01-01T00:00:00,1\n", "line 2: '2026-01-01T00:00:00' has no offset"),
        ("time,value\n2026-01-01T00:00Z,cheap\n", "line 2: 'cheap' is not a number"),
        ("time,value\n2026-01-01T00:00Z,nan\n", "line 2: 'nan' is not a number"),
        ("time,value\n2026-01-01T00:00Z,inf\n", "line 2: 'inf' is not a number"),
        ("time,value\n2026-01-01T00:00Z\n", "line 2: 1 cells instead of time,value"),
        ("time,value\n2026-01-01T01:00Z,1\n2026-01-01T00:00Z,1\n", "line 3: '2026-01-01T00:00Z' is not later"),
        ("time,value\n2026-01-01T01:00Z,1\n", "one value alone does not show its step"),
        ("time,value\n", "one value alone"),
        ('time,value\n"2026,1\n', "line 2: unexpected end of data"),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_line(text: str, message: str) -> None:
    with pytest.raises(SeriesError) as caught:
        parse_series_csv(text, "file", 1.0)
    assert message in str(caught.value)


def test_two_series_say_the_same_with_their_holes() -> None:
    one, other = (Series("x", (0.0, 60.0), (1.0, float("nan")), 60.0) for _ in range(2))
    assert one.says_the_same(other)
    assert not one.says_the_same(None)
    assert not one.says_the_same(Series("x", (0.0, 60.0), (1.0, 2.0), 60.0))
    assert not one.says_the_same(Series("x", (0.0, 61.0), (1.0, float("nan")), 60.0))


def test_the_smallest_step_counts() -> None:
    assert smallest_step_s((0.0, 900.0, 4500.0)) == 900.0


# --- the whole price -------------------------------------------------------------------------------------------------


def test_a_price_is_energy_with_losses_adders_shadows_and_taxes() -> None:
    peak = Schedule(zone_of(UTC), (Period("4CP", 3.0, spans=((960, 1020),)),), elsewhere=0.0)
    tariff = Tariff(0.04, losses=0.05, adder=0.01, shadows=(peak,), tax=0.10)
    told = prices(tariff, column("2026-08-20T12:00Z", "2026-08-20T16:30Z"), {}, 0.0)
    # by hand: (0.04 * 1.05 + 0.01) * 1.1, and with 3 dollars more for a kWh in the peak
    np.testing.assert_allclose(told.usd_per_kwh, [0.0572, 3.3572])
    assert told.reason.tolist() == [Gap.NONE, Gap.NONE]


def test_shadow_prices_of_what_is_billed_per_kw() -> None:
    assert demand_shadow_per_kwh(10.0, 0.02, 900.0) == pytest.approx(0.8)
    assert coincident_peak_shadow_per_kwh(60.0, 4, 0.05, 900.0) * 1000 == pytest.approx(3000.0)  # facts: $3,000/MWh


def test_a_profit_share_changes_the_value_and_never_the_sign() -> None:
    assert after_profit_share(np.array([1.0, -1.0, 0.0]), 0.25).tolist() == [0.75, -1.0, 0.0]


EUR_USD = Series("EUR/USD", (T0 - HOUR,), (1.10,), 24 * HOUR, "EUR/USD", soft_s=HOUR, hold_s=2 * HOUR)


def test_another_currency_needs_its_rate() -> None:
    tariff, known = Tariff(Index("da"), currency="EUR"), {"da": Series("da", (T0,), (0.05,), HOUR, "EUR")}
    assert pair_of("EUR") == "EUR/USD"
    assert price_now(tariff, known | {"EUR/USD": EUR_USD}, T0).usd_per_kwh == pytest.approx(0.055)
    without = price_now(tariff, known, T0)
    assert (math.isnan(without.usd_per_kwh), without.state) == (True, InputState.MISSING)
    assert prices(tariff, np.array([T0, T0 - 1]), known, T0).reason.tolist() == [Gap.NO_RATE, Gap.BEFORE]
    wrong = {"EUR/USD": Series("EUR/USD", (T0,), (0.9,), HOUR, "USD/EUR")}
    assert exchange_rate("EUR", wrong, T0)[1] is InputState.MISSING


def test_an_old_rate_makes_an_old_price() -> None:
    tariff, known = Tariff(0.05, currency="EUR"), {"EUR/USD": EUR_USD}
    end = T0 + 23 * HOUR
    states = [price_now(tariff, known, end + late).state for late in (HOUR - 1, HOUR, 2 * HOUR)]
    assert states == [InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD]
    assert math.isnan(price_now(tariff, known, end + 3 * HOUR).usd_per_kwh)


def test_a_series_in_another_currency_is_no_price() -> None:
    known = {"da": Series("da", (T0,), (0.05,), HOUR, "EUR")}
    assert price_now(Tariff(Index("da")), known, T0).state is InputState.MISSING
    reason = prices(Tariff(Index("da")), np.array([T0, math.nan]), known, T0).reason
    assert reason.tolist() == [Gap.CURRENCY, Gap.NO_TIME]
    assert prices(Tariff(Index("rt")), np.array([T0]), known, T0).reason.tolist() == [Gap.NO_SERIES]
    assert math.isnan(mean_prices(Tariff(Index("rt")), np.array([T0, T0 + 1]), known, T0)[0])


@pytest.mark.parametrize("per_kwh", [25.1, -5.1, 60.0])
def test_a_slip_of_units_is_no_price(per_kwh: float) -> None:
    """60 USD/MWh read as USD/kWh."""
    known, tariff = {"da": Series("da", (T0,), (per_kwh,), HOUR)}, Tariff(Index("da"))
    told, now = prices(tariff, np.array([T0]), known, T0), price_now(tariff, known, T0)
    assert (math.isnan(told.usd_per_kwh[0]), told.reason.tolist()) == (True, [Gap.BOUNDS])
    assert (math.isnan(now.usd_per_kwh), now.state) == (True, InputState.MISSING)


def test_what_the_operator_does_not_believe_is_no_price() -> None:
    """In the currency of the tariff, and of the energy alone."""
    tariff = Tariff(Index("x"), currency="EUR", adder=9.0, believable=(-0.5, 1.0))
    known = {"EUR/USD": Series("EUR/USD", (0.0,), (2.0,), 1e9, "EUR/USD")}
    for energy, reason in ((1.0, Gap.NONE), (1.1, Gap.BOUNDS), (-0.5, Gap.NONE), (-0.6, Gap.BOUNDS)):
        known["x"] = Series("x", (0.0,), (energy,), 1e9, "EUR")
        told, now = prices(tariff, np.array([5.0]), known, 5.0), price_now(tariff, known, 5.0)
        assert told.reason.tolist() == [reason]
        usd = (energy + 9.0) * 2.0 if reason is Gap.NONE else math.nan
        assert (now.usd_per_kwh, told.usd_per_kwh[0]) == (pytest.approx(usd, nan_ok=True),) * 2


def test_the_price_now_is_as_old_as_its_series() -> None:
    told = price_now(Tariff(Index("da"), name="hall1"), {"da": HOURLY}, T0 + 1.5 * HOUR)
    assert told == PowerPrice("hall1", 0.03, "da", InputState.FRESH, T0 + HOUR)


def test_a_price_carries_what_the_host_takes_even_where_it_is_not_known() -> None:
    assert price_now(Tariff(0.06, profit_share=0.25), {}, T0).profit_share == 0.25
    assert price_now(Tariff(60.0, profit_share=0.25), {}, T0).profit_share == 0.25
    assert PowerPrice("", 0.06, "flat", InputState.FRESH).profit_share == 0.0


def test_flat_and_unknown_prices() -> None:
    assert price_now(Tariff(0.06), {}, T0).usd_per_kwh == FlatTariff(0.06).price_usd_per_kwh(T0) == 0.06
    assert Tariff(0.06).source == "flat"
    assert price_now(Tariff(math.nan), {}, T0).state is InputState.MISSING
    assert prices(Tariff(math.nan), np.array([T0]), {}, T0).reason.tolist() == [Gap.NO_SERIES]
    unknown = prices(Tariff(time_of_use()), np.array([math.nan, T0]), {}, T0)
    assert (math.isnan(unknown.usd_per_kwh[0]), unknown.reason.tolist()) == (True, [Gap.NO_TIME, Gap.NONE])
    assert math.isnan(prices(Tariff(0.06), np.array([math.nan]), {}, T0).usd_per_kwh[0])


# --- bills -----------------------------------------------------------------------------------------------------------


@st.composite
def schedules(draw: st.DrawFn, scale: float = 1.0) -> Schedule:
    """Time of use with seasons, weekdays, holidays and hours, in any of the zones."""
    cuts = sorted(draw(st.sets(st.integers(1, 1439), max_size=4)))
    spans = list(zip([0, *cuts], [*cuts, 1440], strict=True))
    price = st.floats(-0.05, 0.5, allow_subnormal=False)
    periods = [
        Period(f"{season}-{i}", draw(price), season, days, (span,))
        for season in ("summer", "winter") for days in (WORKDAYS, WEEKEND) for i, span in enumerate(spans)
    ]  # fmt: skip
    holidays = draw(st.lists(st.integers(20_480, 20_860), max_size=3))  # 2026
    return Schedule(TABLES[draw(st.sampled_from(sorted(TABLES)))], tuple(periods), SEASONS, tuple(holidays))


@st.composite
def indexed(draw: st.DrawFn) -> Series:
    """Prices of two days in hours, some of which may be missing."""
    value = st.one_of(st.just(math.nan), st.floats(-0.05, 0.5)) if draw(st.booleans()) else st.floats(-0.05, 0.5)
    values = draw(st.lists(value, min_size=60, max_size=60))
    first = unix("2026-10-24T00:00Z")
    return Series("da", tuple(first + i * HOUR for i in range(60)), tuple(values), HOUR)


STARTS = st.sampled_from(["2026-10-24T12:00Z", "2026-10-25T00:00Z", "2026-10-24T22:00Z"]).map(unix)
DST_STARTS = st.sampled_from(
    ["2026-03-07T12:00Z", "2026-03-28T12:00Z", "2026-10-24T12:00Z", "2026-10-31T12:00Z", "2026-05-31T00:00Z"]
).map(unix)


def edges_of(start: float, hours: float, cuts: list[float]) -> np.ndarray:
    return np.unique(np.array([start, *(start + hours * HOUR * cut for cut in cuts), start + hours * HOUR]))


@settings(max_examples=60, deadline=None)
@given(schedules(), DST_STARTS, st.floats(1, 60), st.lists(st.floats(0, 1), max_size=30))
def test_a_bill_by_the_calendar_is_the_same_whatever_the_step(
    schedule: Schedule, start: float, hours: float, cuts: list[float]
) -> None:
    peak = Schedule(CHICAGO, (Period("p", 0.7, spans=((0, 90),)),), elsewhere=0.0)
    tariff = Tariff(schedule, losses=0.03, adder=0.01, shadows=(peak,), tax=0.19)
    whole = bill_usd(tariff, np.array([start, start + hours * HOUR]), np.array([3000.0]), {}, start)
    edges = edges_of(start, hours, cuts)
    parts = bill_usd(tariff, edges, np.full(len(edges) - 1, 3000.0), {}, start)
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(indexed(), STARTS, st.floats(1, 30), st.lists(st.floats(0, 1), max_size=30))
def test_a_bill_by_a_series_is_the_same_whatever_the_step_and_unknown_if_an_hour_is(
    series: Series, start: float, hours: float, cuts: list[float]
) -> None:
    known, tariff = {"da": series}, Tariff(Index("da"), losses=0.02)
    whole = bill_usd(tariff, np.array([start, start + hours * HOUR]), np.array([3000.0]), known, start)
    edges = edges_of(start, hours, cuts)
    parts = bill_usd(tariff, edges, np.full(len(edges) - 1, 3000.0), known, start)
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-9, nan_ok=True)
    end = start + hours * HOUR
    touched = [v for t, v in zip(series.start_s, series.value, strict=True) if t < end and t + HOUR > start]
    assert math.isnan(whole) == any(map(math.isnan, touched))


@settings(max_examples=30, deadline=None)
@given(schedules(), DST_STARTS)
def test_a_bill_is_what_a_minute_by_minute_reading_of_the_clock_makes(schedule: Schedule, start: float) -> None:
    """Another way to the same sum: the library's clock, each minute by itself."""
    zone = ZONES[schedule.zone.name]
    per_minute = []
    for minute in range(36 * 60):
        local = datetime.fromtimestamp(start + minute * 60, zone)
        weekday = 6 if day_number(local.date()) in schedule.holidays else local.weekday()
        season = "summer" if 6 <= local.month <= 9 else "winter"
        now = local.hour * 60 + local.minute
        (price,) = [
            p.per_kwh for p in schedule.periods
            if p.season == season and weekday in p.weekdays and p.spans[0][0] <= now < p.spans[0][1]
        ]  # fmt: skip
        per_minute.append(price)
    edges = np.array([start, start + 36 * HOUR])
    assert mean_prices(Tariff(schedule), edges, {}, start)[0] == pytest.approx(np.mean(per_minute), rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(schedules(), DST_STARTS, st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0, 100))
def test_a_bill_is_linear_in_power(schedule: Schedule, start: float, one: float, two: float, factor: float) -> None:
    edges, tariff = start + np.arange(5) * 5 * HOUR, Tariff(schedule, adder=0.01)
    bills = [bill_usd(tariff, edges, np.full(4, w), {}, start) for w in (one, two, one + factor * two)]
    assert bills[2] == pytest.approx(bills[0] + factor * bills[1], rel=1e-9, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.05, 0.5), st.floats(0.01, 200.0), st.floats(0, 0.1), st.floats(0, 0.3), st.floats(0, 0.1))
def test_another_currency_and_another_unit_change_nothing(
    usd: float, usd_per_unit: float, losses: float, tax: float, adder_usd: float
) -> None:
    assume(abs(usd) > 1e-6)
    at = T0 + np.arange(3) * HOUR
    dollars = Tariff(usd, losses=losses, tax=tax, adder=adder_usd)
    units = Tariff(usd / usd_per_unit, currency="XTS", losses=losses, tax=tax, adder=adder_usd / usd_per_unit)
    rates = {"XTS/USD": Series("XTS/USD", (T0,), (usd_per_unit,), HOUR, "XTS/USD")}
    np.testing.assert_allclose(
        prices(units, at, rates, T0).usd_per_kwh, prices(dollars, at, {}, T0).usd_per_kwh, rtol=1e-12
    )
    per_mwh, per_kwh = (
        parse_series_csv(f"time,value\n2026-08-20T00:00Z,{value!r}\n", "da", factor, step_s=HOUR)
        for value, factor in ((usd * 1000, 1e-3), (usd, 1.0))
    )
    assert per_mwh.value == pytest.approx(per_kwh.value)


@settings(max_examples=60, deadline=None)
@given(schedules(), DST_STARTS, st.floats(0, 40))
def test_between_two_changes_the_price_is_one_and_each_instant_has_one_period(
    schedule: Schedule, start: float, hours: float
) -> None:
    cuts = np.append(schedule.changes_s(start, start + hours * HOUR), start + hours * HOUR)
    for begin, end in pairwise(cuts):
        inside = schedule.period_at(np.linspace(begin, np.nextafter(end, begin), 7))
        assert len(set(inside)) == 1
        assert inside[0] >= 0


def test_a_horizon_is_asked_at_once() -> None:
    """A year in steps of five minutes is one call."""
    at = T0 + np.arange(105_120) * 300.0
    told = prices(Tariff(time_of_use()), at, {}, T0)
    assert (len(told.usd_per_kwh), set(told.reason)) == (105_120, {Gap.NONE})
    assert set(told.usd_per_kwh) == {0.20, 0.06, 0.04, 0.05, 0.03}


def test_any_tzinfo_will_do() -> None:
    fixed: tzinfo = timezone(timedelta(hours=-6))
    assert local_times(zone_of(fixed), column("2026-08-20T00:00Z")).second[0] == 18 * HOUR
