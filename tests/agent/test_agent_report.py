"""The report of a day by hand: a small farm whose every figure is computed here, and what is not known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.report import GROUPINGS, Document, report_document
from agent.report_books import Books, Days, books_of, days_of, newest_finished
from agent.report_words import DASH, FIGURES, MARK, heading, is_marked, losers, state, title, told
from agent.section import ConfigError
from fleet.account import COLUMN, ITEMS, Account, Counts, PriceSpan, Roster, Span, total
from fleet.localtime import zone_of

UTC, CHICAGO = ZoneInfo("UTC"), ZoneInfo("America/Chicago")
DAY_S = 86_400.0
START_S = 1_710_201_600.0  # 2024-03-12 00:00 UTC
MARCH_12 = date(2024, 3, 12)

WHOLE_DAY = dict.fromkeys(("reached_s", "running_s", "hashrate_s", "covered_s", "accepted_s", "priced_s"), 86_400_000)
FARM: dict[str, tuple[tuple[str, str, str], dict[str, int]]] = {
    # 0.2 PH/s at 3.5 kW: 84 kWh, of which 42 metered; earns 7.888, costs 84 * 1.05 * 0.06 = 5.292, a tenth to the host
    "a": (("S21", "r2", "north"), WHOLE_DAY | {
        "hashes": 17_280_000_000, "energy_j": 302_400_000, "metered_j": 151_200_000,
        "difficulty_accepted": 4_000_000_000, "difficulty_rejected": 20_000_000, "revenue_usd": 7_888_000_000,
        "cost_usd": 5_292_000_000, "priced_j": 302_400_000, "host_share_usd": 259_600_000,
        "accepted_revenue_usd": 7_843_000_001,
    }),
    # 0.1 PH/s at 3 kW: 72 kWh, 3.944 against 4.536; advised to stop for two hours
    "b": (("S19", "r10", ""), WHOLE_DAY | {
        "hashes": 8_640_000_000, "energy_j": 259_200_000, "metered_j": 259_200_000, "stopped_s": 7_200_000,
        "difficulty_accepted": 2_000_000_000, "revenue_usd": 3_944_000_000, "cost_usd": 4_536_000_000,
        "priced_j": 259_200_000, "accepted_revenue_usd": 3_900_000_000,
    }),
    # 3 kW for half a day without a tariff, its hashrate for a quarter of it, its work told while there was no market
    "c": (("S19", "", ""), {
        "reached_s": 43_200_000, "running_s": 22_000_000, "hashrate_s": 21_600_000, "hashes": 2_160_000_000,
        "covered_s": 43_200_000, "energy_j": 129_600_000, "accepted_s": 21_600_000, "difficulty_accepted": 500_000_000,
        "unpriced_revenue_usd": 986_000_000, "unpriced_cost_usd": 7,
    }),
    # silent all day
    "d": (("", "", ""), {}),
}  # fmt: skip


def account(
    farm: Mapping[str, Any], start_s: float = START_S, length_s: float = DAY_S, span: Span = Span.DAY
) -> Account:
    counts = np.zeros((len(farm), len(ITEMS)), np.int64)
    for row, (_, items) in enumerate(farm.values()):
        for name, count in items.items():
            counts[row, COLUMN[name]] = count
    models, places, owners = zip(*(words for words, _ in farm.values()), strict=True)
    nobody = ("",) * len(farm)
    return Account(
        span, start_s, start_s + length_s, Roster(tuple(farm), models, places, owners, nobody, nobody), counts
    )


def books(*accounts: Account, until_s: float = START_S + DAY_S, prices: tuple[PriceSpan, ...] = ()) -> Books:
    return Books(Days(MARCH_12, MARCH_12), UTC, START_S, START_S + DAY_S, until_s, accounts, accounts, prices)


def document() -> Document:
    return report_document("north", books(account(FARM)))


def row(told_in: Document, grouping: str, name: str | None) -> dict[str, Any]:
    return next(each for each in told_in["groups"][grouping] if each["name"] == name)


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_machine_of_which_everything_is_known() -> None:
    a = row(document(), "machine", "a")
    assert a["energy_kwh"] == pytest.approx(84.0, rel=1e-12)
    assert (a["metered_ratio"], a["uptime_ratio"], a["stopped_h"]) == (0.5, 1.0, 0.0)
    assert a["hashes"] == 17_280_000_000e9
    assert a["hashrate_ths"] == pytest.approx(200.0, rel=1e-12)
    assert (a["revenue_usd"], a["cost_usd"], a["accepted_revenue_usd"]) == (7.888, 5.292, 7.843000001)
    assert (a["margin_usd"], a["host_share_usd"], a["kept_margin_usd"]) == (2.596, 0.2596, 2.3364)
    assert a["usd_per_kwh"] == pytest.approx(0.063, rel=1e-12)  # 0.06 with 5 % of overhead
    assert a["efficiency_j_per_th"] == pytest.approx(17.5, rel=1e-12)
    assert a["reject_ratio"] == pytest.approx(20 / 4020, rel=1e-12)
    assert [a[name] for name in a if name.endswith("coverage_ratio")] == [1.0] * 4
    assert [a[of] for of in ("model", "rack", "owner", "feeder", "tariff")] == ["S21", "r2", "north", None, None]
    assert not any(is_marked(a, figure) for figure in FIGURES)


def test_what_no_second_covers_is_null_and_never_zero() -> None:
    c, d = (row(document(), "machine", name) for name in "cd")
    counted = {"machines", "stopped_h", "stopped_s", "reached_s", "running_s", "hashrate_s", "covered_s", "accepted_s",
               "priced_s", "unpriced_revenue_usd", "unpriced_cost_usd", "name", "booked_ratio",
               "not_booked_h"}  # fmt: skip
    assert {name for name, value in d.items() if value is not None} == counted | {
        f"{kind}_coverage_ratio" for kind in ("power", "hashrate", "work", "price")
    }
    for name in ("revenue_usd", "cost_usd", "margin_usd", "kept_margin_usd", "host_share_usd", "usd_per_kwh"):
        assert c[name] is None
    assert c["accepted_revenue_usd"] is None  # work that earns nothing is work of a time without a market
    assert (c["unpriced_revenue_usd"], c["unpriced_cost_usd"]) == (0.986, 7e-9)
    assert [told(d, figure) for figure in FIGURES if figure.name in ("energy_kwh", "margin_usd")] == [DASH, DASH]


def test_two_that_were_known_at_different_times_do_not_divide_each_other() -> None:
    c = row(document(), "machine", "c")
    assert (c["energy_kwh"], c["hashrate_ths"]) == (36.0, 100.0)
    assert c["efficiency_j_per_th"] is None
    assert c["uptime_ratio"] == 1.0  # 22,000 s seen to run, 400 of them while its hashrate was not known yet
    both = row(document(), "model", "S19")
    assert both["efficiency_j_per_th"] == pytest.approx(30.0, rel=1e-12)  # of b alone
    assert both["usd_per_kwh"] == pytest.approx(0.063, rel=1e-12)


def test_times_that_differ_a_little_change_no_price_and_no_efficiency() -> None:
    """3 kW at 0.05 USD/kWh and 100 TH/s all day; the price was known ten minutes later, the hashrate five."""
    late = account({"a": (("S21", "", ""), WHOLE_DAY | {
        "hashrate_s": 86_100_000, "hashes": 8_610_000_000, "energy_j": 259_200_000, "priced_s": 85_800_000,
        "cost_usd": 3_575_000_000, "priced_j": 257_400_000,
    })})  # fmt: skip
    for each in (late, replace(late, without=frozenset({"priced_j"}))):
        site = row(report_document("n", books(each)), "site", "n")
        assert (site["usd_per_kwh"], site["efficiency_j_per_th"]) == pytest.approx((0.05, 30.0), rel=1e-12)


def test_the_energy_that_was_paid_has_its_price_however_long_the_cost_was_known() -> None:
    """1 kW while it warmed up for an hour, unpriced, then 3 kW for 23 hours at 0.05 USD/kWh: 69 kWh for 3.45 USD."""
    started = account({"a": (("S21", "", ""), WHOLE_DAY | {
        "energy_j": 252_000_000, "priced_s": 82_800_000, "priced_j": 248_400_000, "cost_usd": 3_450_000_000,
    })})  # fmt: skip
    site = row(report_document("n", books(started)), "site", "n")
    assert (site["usd_per_kwh"], site["priced_j"]) == (pytest.approx(0.05, rel=1e-12), 248_400_000.0)
    older = row(report_document("n", books(replace(started, without=frozenset({"priced_j"})))), "site", "n")
    assert (older["usd_per_kwh"], older["priced_j"]) == (None, None)  # nobody booked what was paid
    both = books(started, replace(account(FARM, START_S - DAY_S), without=frozenset({"priced_j"})))
    assert row(report_document("n", both), "machine", "a")["usd_per_kwh"] is None


def test_a_group_is_exactly_its_machines() -> None:
    told_in = document()
    site = row(told_in, "site", "north")
    assert (site["machines"], site["energy_kwh"]) == (4, 192.0)
    assert (site["revenue_usd"], site["cost_usd"], site["margin_usd"]) == (11.832, 9.828, 2.004)
    assert site["kept_margin_usd"] == 1.7444
    assert site["metered_ratio"] == pytest.approx(410_400 / 691_200)
    assert site["power_coverage_ratio"] == 2.5 / 4
    assert site["hashrate_coverage_ratio"] == 2.25 / 4
    assert site["price_coverage_ratio"] == 0.5
    assert [each["name"] for each in told_in["groups"]["rack"]] == ["r2", "r10", None]
    assert [each["machines"] for each in told_in["groups"]["owner"]] == [1, 3]
    assert row(told_in, "owner", None)["margin_usd"] == -0.592
    assert told_in["machines_without"] == {"power": 1, "hashrate": 1, "work": 1, "price": 2}
    assert told_in["losers"] == {"machines": 1, "margin_usd": -0.592, "worst": ["b"]}


def test_a_figure_of_less_than_its_time_is_marked() -> None:
    site = row(document(), "site", "north")
    marked = {figure.name for figure in FIGURES if is_marked(site, figure)}
    assert marked == {figure.name for figure in FIGURES if figure.rests_on} - {"stopped_h"}  # the agent ran all day
    margin = next(figure for figure in FIGURES if figure.name == "margin_usd")
    assert told(site, margin) == f"2.00{MARK}"
    almost = account({"a": (("S21", "", ""), WHOLE_DAY | {"priced_s": 85_536_000})})  # 99.0 %
    short = account({"a": (("S21", "", ""), WHOLE_DAY | {"priced_s": 85_535_999})})
    assert [is_marked(row(report_document("n", books(each)), "site", "n"), margin) for each in (almost, short)] == [
        False, True,
    ]  # fmt: skip


def test_an_uptime_beside_a_hashrate_that_was_never_known_is_marked() -> None:
    """It only ever warmed up."""
    warming = account({"a": (("S21", "", ""), {"running_s": 600_000})})
    uptime = next(figure for figure in FIGURES if figure.name == "uptime_ratio")
    assert told(row(report_document("n", books(warming)), "site", "n"), uptime) == f"100.0 %{MARK}"


def test_seconds_that_were_rounded_up_cover_no_more_than_all() -> None:
    site = row(report_document("n", books(account({"a": (("", "", ""), {"covered_s": 86_400_001})}))), "site", "n")
    assert site["power_coverage_ratio"] == 1.0


def test_a_loss_that_rounds_to_nothing_has_no_sign() -> None:
    margin = next(figure for figure in FIGURES if figure.name == "margin_usd")
    full = {"price_coverage_ratio": 1.0}
    shown = [told({"margin_usd": usd} | full, margin) for usd in (-0.004, -0.006, 0.0, -1234.5)]
    assert shown == ["0.00", "-0.01", "0.00", "-1,234.50"]


def test_the_head_says_what_is_in_no_figure() -> None:
    assert list(heading(document())) == [
        "4 machines; known of the time: power 62.5 %, hashrate 56.2 %, work 56.2 %, price 50.0 %",
        "machines of which it was never known: watts 1, hashrate 1, accepted work 1, margin 2",
        "in no margin: revenue 0.99 USD while the cost was not known",
        "in no margin: cost 0.00 USD while the revenue was not known",
    ]
    assert losers(document()) == "1 machine cost more than earned, 0.59 USD: b"


@given(
    hnp.arrays(np.int64, (6, len(ITEMS)), elements=st.integers(0, 2**40)),
    st.lists(st.sampled_from(("", "x", "y")), min_size=6, max_size=6),
)
def test_every_grouping_adds_up_to_the_same_whole_counts(counts: Counts, words: list[str]) -> None:
    """An amount divided by its unit is its whole count again."""
    counts[:, [COLUMN[name] for name in WHOLE_DAY]] += 1  # known for a moment, or its amount would not be told
    counts[:, COLUMN["accepted_revenue_usd"]] += 1
    some = tuple(words)
    whole = Account(Span.DAY, START_S, START_S + DAY_S, Roster(tuple("abcdef"), some, some, some, some, some), counts)
    groups = report_document("north", books(whole))["groups"]
    for item in ITEMS:
        expected = int(counts[:, COLUMN[item.name]].sum())
        for grouping in GROUPINGS:
            assert sum(round((each[item.name] or 0.0) / item.unit) for each in groups[grouping]) == expected


# --- days ------------------------------------------------------------------------------------------------------------


class Shelf:
    """A history in memory."""

    def __init__(self, *accounts: Account, prices: tuple[PriceSpan, ...] = ()) -> None:
        self.kept = accounts
        self.kept_prices = prices

    def accounts(self, span: Span, from_s: float, until_s: float) -> tuple[Account, ...]:
        return tuple(each for each in self.kept if each.span == span and from_s <= each.start_s < until_s)

    def prices(self, from_s: float, until_s: float) -> tuple[PriceSpan, ...]:
        return tuple(each for each in self.kept_prices if from_s <= each.start_s < until_s)


def hours(start_s: float, count: int) -> list[Account]:
    each = dict.fromkeys(WHOLE_DAY, 3_600_000) | {"energy_j": 3_600_000, "revenue_usd": 10, "cost_usd": 3}
    return [account({"a": (("S21", "", ""), each)}, start_s + 3600 * n, 3600.0, Span.HOUR) for n in range(count)]


@pytest.mark.parametrize(
    ("day", "start_s", "length_h"),
    [
        (date(2024, 3, 10), 1_710_050_400.0, 23),  # 2024-03-10 06:00 UTC is 00:00 in Chicago
        (date(2024, 3, 11), 1_710_133_200.0, 24),
        (date(2024, 11, 3), 1_730_610_000.0, 25),
    ],
    ids=["spring", "usual", "autumn"],
)
def test_a_local_day_has_as_many_hours_as_the_clock_says(day: date, start_s: float, length_h: int) -> None:
    shelf = Shelf(*hours(start_s - 3600, length_h + 2))  # an hour of each neighbour
    found = books_of(shelf, Days(day, day), zone_of(CHICAGO), CHICAGO, start_s + 1e6)
    told_in = report_document("north", found)
    site = row(told_in, "site", "north")
    assert (site["energy_kwh"], site["margin_usd"]) == (float(length_h), pytest.approx(7e-9 * length_h, rel=1e-9))
    assert site["power_coverage_ratio"] == 1.0
    assert (told_in["length_h"], told_in["not_booked_h"]) == (length_h, 0.0)
    assert len(told_in["steps"]) == length_h
    assert told_in["from"][:19] == f"{day}T00:00:00"
    assert told_in["steps"][0]["from"] == told_in["from"]
    assert told_in["steps"][-1]["until"] == told_in["until"]
    assert told_in["is_finished"]
    assert state(told_in) is None


def test_a_day_that_is_not_over_is_measured_by_what_has_come_of_it() -> None:
    shelf = Shelf(*hours(START_S, 6))
    found = books_of(shelf, Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, START_S + 6 * 3600 + 200)
    told_in = report_document("north", found)
    assert not told_in["is_finished"]
    assert state(told_in) == "SO FAR, until 2024-03-12 06:00: the day is not over"
    assert row(told_in, "site", "north")["power_coverage_ratio"] == 1.0


def installed() -> list[Account]:
    """Hours of MARCH_12 in a zone that is UTC, of a site whose agent was installed at 10:42."""
    seconds = dict.fromkeys(WHOLE_DAY, 1_080_000) | {"energy_j": 1_080_000}
    farm = {"a": (("S21", "", ""), seconds), "b": (("S21", "", ""), seconds | {"covered_s": 540_000})}
    return [account(farm, START_S + 10 * 3600, 3600.0, Span.HOUR), *hours(START_S + 11 * 3600, 13)]


@pytest.mark.parametrize("with_hours", [True, False])
@pytest.mark.parametrize("is_over", [True, False])
def test_the_day_of_the_installation_counts_from_the_first_booking_of_the_site(is_over: bool, with_hours: bool) -> None:
    now_s = START_S + (2 * DAY_S if is_over else 14 * 3600)
    kept = [each for each in installed() if each.end_s <= now_s]
    if is_over:
        kept.append(total(Span.DAY, kept))
        kept[-1] = replace(kept[-1], start_s=START_S)
    found = books_of(Shelf(*kept), Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, now_s, with_hours=with_hours)
    told_in = report_document("north", found)
    assert told_in["since"] == "2024-03-12T10:42:00+00:00"
    assert title(told_in) == "north: 2024-03-12, from 10:42 (UTC)"
    a, b = (row(told_in, "machine", name) for name in "ab")
    assert a["power_coverage_ratio"] == 1.0
    assert not any(is_marked(a, figure) for figure in FIGURES)
    assert b["power_coverage_ratio"] == pytest.approx(540 / (found.until_s - START_S - 10.7 * 3600))


@pytest.mark.parametrize("with_hours", [True, False])
def test_an_agent_that_was_off_for_a_while_in_its_first_hour_began_when_it_first_knew_a_price(with_hours: bool) -> None:
    """It ran from 10:03 to 10:10 and again from 10:53 on: of that hour, 14 minutes are booked."""
    ten_s = START_S + 10 * 3600
    prices = tuple(
        PriceSpan("btc_usd", ten_s + 60 * minute, known_s, 1.0, 1.0, 1.0)
        for minute, known_s in ((-5, 0.0), (0, 120.0), (5, 300.0), (50, 120.0), (55, 300.0))
    )
    first = account({"a": (("", "", ""), {"reached_s": 840_000})}, ten_s, 3600.0, Span.HOUR)
    shelf = Shelf(first, *hours(ten_s + 3600, 2), prices=prices)
    days = Days(MARCH_12, MARCH_12)
    found = books_of(shelf, days, zone_of(UTC), UTC, ten_s + 3 * 3600, with_hours=with_hours)
    told_in = report_document("north", found)
    assert told_in["since"] == "2024-03-12T10:03:00+00:00"
    assert (told_in["length_h"], told_in["not_booked_h"]) == (2.95, pytest.approx(43 / 60))


def test_a_night_without_an_agent_is_a_gap_where_the_day_before_was_kept() -> None:
    evening = hours(START_S - 2 * 3600, 2)
    found = books_of(Shelf(*evening, *installed()), Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, START_S + DAY_S)
    told_in = report_document("north", found)
    assert (told_in["since"], title(told_in)) == (None, "north: 2024-03-12 (UTC)")
    assert row(told_in, "machine", "a")["power_coverage_ratio"] == pytest.approx(13.3 / 24)


def stop_h(told_in: Document, name: str) -> str:
    return told(row(told_in, "machine", name), next(figure for figure in FIGURES if figure.name == "stopped_h"))


NOT_BOOKED = "nothing is booked of 10.7 of 24.0 h: no agent ran, or it knew nothing; they are in no figure"


@pytest.mark.parametrize("with_hours", [True, False])
def test_hours_that_the_agent_did_not_book_are_counted_and_mark_the_hours_of_a_stop(with_hours: bool) -> None:
    """Booked are 0.3 h of the hour of 10:00, and 13 hours after it."""
    evening = hours(START_S - 2 * 3600, 2)
    shelf = Shelf(*evening, *installed())
    night = books_of(shelf, Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, START_S + DAY_S, with_hours=with_hours)
    told_in = report_document("north", night)
    assert (told_in["length_h"], told_in["not_booked_h"]) == (24.0, pytest.approx(10.7))
    for grouping in GROUPINGS:
        for each in told_in["groups"][grouping]:
            assert (each["booked_ratio"], each["not_booked_h"]) == (pytest.approx(13.3 / 24), pytest.approx(10.7))
    assert NOT_BOOKED in list(heading(told_in))
    assert stop_h(told_in, "a") == f"0.0{MARK}"
    installation = books_of(Shelf(*installed()), Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, START_S + DAY_S)
    told_in = report_document("north", installation)
    assert (told_in["not_booked_h"], stop_h(told_in, "a")) == (pytest.approx(0.0, abs=1e-9), "0.0")
    assert not any("nothing is booked" in line for line in heading(told_in))


@pytest.mark.parametrize("with_hours", [True, False])
def test_an_agent_that_reached_no_machine_but_knew_a_price_was_there(with_hours: bool) -> None:
    """Machines for 6 h; two prices, of the same 12 h but for five minutes, count once."""
    prices = tuple(
        PriceSpan(name, START_S + 300.0 * n, 300.0, 1.0, 1.0, 1.0)
        for name, first in (("btc_usd", 0), ("power_usd_kwh", 1))
        for n in range(first, 144)
    )
    shelf = Shelf(*hours(START_S, 6), *hours(START_S - 3600, 1), prices=prices)
    days = Days(MARCH_12, MARCH_12)
    found = books_of(shelf, days, zone_of(UTC), UTC, START_S + DAY_S, with_hours=with_hours)
    assert report_document("north", found)["not_booked_h"] == 12.0
    assert [step["booked_ratio"] for step in report_document("north", found)["steps"]] == [1.0] * 6 * with_hours


@pytest.mark.parametrize("with_hours", [True, False])
def test_of_several_days_each_is_booked_for_itself(with_hours: bool) -> None:
    """Two half days of two machines are 24 h, and a day of which nothing was kept is 24 h more that are not booked."""
    one = account({"a": (("", "", ""), {"covered_s": 43_200_000})})
    other = account({"b": (("", "", ""), {"reached_s": 43_200_000})}, START_S + DAY_S)
    before = account({"a": (("", "", ""), {"reached_s": 1})}, START_S - DAY_S)
    days = Days(MARCH_12, date(2024, 3, 14))
    shelf = Shelf(before, one, other)
    found = books_of(shelf, days, zone_of(UTC), UTC, START_S + 3 * DAY_S, with_hours=with_hours)
    assert report_document("north", found)["not_booked_h"] == 72.0 - 24.0


def test_a_month_in_which_the_agent_was_installed_counts_from_then() -> None:
    days = Days(date(2024, 3, 1), MARCH_12)
    for kept, since in (
        (installed(), "2024-03-12T10:42:00+00:00"),
        ([account(FARM)], "2024-03-12T00:00:00+00:00"),  # its hours are gone
    ):
        told_in = report_document("north", books_of(Shelf(*kept), days, zone_of(UTC), UTC, START_S + DAY_S))
        assert (told_in["since"], len(told_in["days_missing"])) == (since, 11)
        assert row(told_in, "machine", "a")["power_coverage_ratio"] == 1.0
    several = {**told_in, "since": "2024-03-11T10:42:00+00:00"}
    assert title(several) == "north: 2024-03-01 to 2024-03-12, from 2024-03-11 10:42 (UTC)"


def test_a_day_that_a_wrong_clock_called_finished_is_as_long_as_its_hours() -> None:
    """A clock some days ahead had the day rolled up of its first two hours; it went on for four more."""
    two_hours = account({"a": (("S21", "", ""), {"covered_s": 7_200_000, "energy_j": 7_200_000})})
    found = books_of(
        Shelf(two_hours, *hours(START_S, 6)), Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, START_S + 6 * 3600
    )
    told_in = report_document("north", found)
    assert (row(told_in, "site", "north")["energy_kwh"], told_in["until"][:16]) == (6.0, "2024-03-12T06:00")


def test_a_day_that_was_rolled_up_needs_no_hours_and_several_days_name_the_missing() -> None:
    rolled = account(FARM)
    later = hours(START_S + 2 * DAY_S, 24)
    found = books_of(Shelf(rolled, *later), Days(MARCH_12, date(2024, 3, 14)), zone_of(UTC), UTC, START_S + 3 * DAY_S)
    told_in = report_document("north", found)
    assert told_in["days_missing"] == ["2024-03-13"]
    assert "nothing was kept of 1 days: 2024-03-13" in list(heading(told_in))
    a = row(told_in, "machine", "a")
    assert (a["energy_kwh"], a["power_coverage_ratio"]) == (84.0 + 24.0, pytest.approx(2 / 3))
    assert [step["from"][:10] for step in told_in["steps"]] == ["2024-03-12", "2024-03-14"]
    assert newest_finished(Shelf(rolled), zone_of(UTC), date(2024, 3, 20)) == Days(MARCH_12, MARCH_12)
    assert newest_finished(Shelf(rolled), zone_of(UTC), MARCH_12) is None


def test_a_day_of_another_time_zone_is_another_day() -> None:
    """History keeps old days as they were when the operator names another zone; here 19 of 24 hours are of March 12."""
    utc_days, until_s = Shelf(account(FARM)), START_S + 5 * DAY_S
    assert books_of(utc_days, Days(MARCH_12, MARCH_12), zone_of(CHICAGO), CHICAGO, until_s).accounts == ()
    found = books_of(utc_days, Days(date(2024, 3, 11), MARCH_12), zone_of(CHICAGO), CHICAGO, until_s)
    assert (found.accounts, len(found.missing)) == ((), 2)
    assert newest_finished(utc_days, zone_of(CHICAGO), date(2024, 3, 20)) is None
    with_hours = Shelf(account(FARM), *hours(START_S, 5))  # 00:00 UTC is 19:00 of March 11 in Chicago
    found = books_of(with_hours, Days(date(2024, 3, 11), MARCH_12), zone_of(CHICAGO), CHICAGO, until_s)
    told_in = report_document("north", found)
    assert told_in["days_missing"] == ["2024-03-12"]
    assert row(told_in, "site", "north")["energy_kwh"] == 5.0


def test_without_charts_several_days_are_summed_up_one_by_one_to_the_same() -> None:
    moved = {name: ((words[0], "r7", words[2]), items) for name, (words, items) in FARM.items() if name != "b"}
    shelf = Shelf(account(FARM), account(moved, START_S + DAY_S), account(moved, START_S + 3 * DAY_S))
    both = [
        books_of(shelf, Days(MARCH_12, date(2024, 3, 15)), zone_of(UTC), UTC, 2e9, with_hours=with_hours)
        for with_hours in (True, False)
    ]
    assert [len(books.accounts) for books in both] == [3, 1]
    whole, summed = (report_document("north", books) | {"steps": []} for books in both)
    assert summed == whole
    assert (row(summed, "machine", "a")["rack"], row(summed, "machine", "b")["rack"]) == ("r7", "r10")


def test_without_charts_the_hours_of_a_day_that_was_rolled_up_are_not_read() -> None:
    class NoHours(Shelf):
        def accounts(self, span: Span, from_s: float, until_s: float) -> tuple[Account, ...]:
            assert span == Span.DAY
            return super().accounts(span, from_s, until_s)

    found = books_of(NoHours(account(FARM)), Days(MARCH_12, MARCH_12), zone_of(UTC), UTC, 2e9, with_hours=False)
    assert (len(found.accounts), found.steps) == (1, ())


def test_prices_are_means_of_the_time_that_they_were_known() -> None:
    spans = (
        PriceSpan("hashprice_usd_ph_day", START_S, 300.0, 40.0, 39.0, 41.0),
        PriceSpan("hashprice_usd_ph_day", START_S + 300, 100.0, 44.0, 43.0, 45.0),
        PriceSpan("power_usd_kwh", START_S, 0.0, 9.0, 9.0, 9.0),
    )
    told_in = report_document("north", books(account(FARM), prices=spans))
    assert list(told_in["prices"]) == ["hashprice_usd_ph_day"]
    price = told_in["prices"]["hashprice_usd_ph_day"]
    assert (price["mean"], price["low"], price["high"], price["known_s"]) == (41.0, 39.0, 45.0, 400.0)
    assert [point["from"] for point in price["course"]] == ["2024-03-12T00:00:00+00:00", "2024-03-12T00:05:00+00:00"]
    assert "hashprice 41.00 USD/PH/day (39.00 to 45.00)" in list(heading(told_in))


def test_a_month_of_prices_is_no_longer_than_a_day() -> None:
    spans = tuple(
        PriceSpan("btc_usd", START_S + 300.0 * n, 300.0, float(n), float(n), float(n)) for n in range(31 * 288)
    )
    days = Days(MARCH_12, date(2024, 4, 11))
    found = books_of(Shelf(account(FARM), prices=spans), days, zone_of(UTC), UTC, START_S + 40 * DAY_S)
    price = report_document("north", found)["prices"]["btc_usd"]
    assert len(price["course"]) <= 300
    assert price["mean"] == (31 * 288 - 1) / 2
    assert sum(point["known_s"] for point in price["course"]) == 31 * DAY_S


TODAY = date(2024, 3, 12)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((None, None, None), None),
        (("2024-02-29", None, None), "2024-02-29"),
        (("today", None, None), "2024-03-12"),
        (("yesterday", None, None), "2024-03-11"),
        ((None, "2024-03-01", None), "2024-03-01 to 2024-03-11"),
        ((None, "today", None), "2024-03-12"),
        ((None, "2024-03-01", "2024-03-03"), "2024-03-01 to 2024-03-03"),
    ],
)
def test_days_are_named_by_options(words: tuple[str | None, ...], expected: str | None) -> None:
    found = days_of(*words, TODAY)
    assert (None if found is None else str(found)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("12.3.2024", None, None), "--day: '12.3.2024' is no day: YYYY-MM-DD, today or yesterday"),
        (("20240312", None, None), "--day: '20240312' is no day"),
        (("2023-02-29", None, None), "--day: '2023-02-29' is no day"),
        (("2024-03-13", None, None), "--day: 2024-03-13 is not here yet, today is 2024-03-12"),
        (("\x1b[2J", None, None), "--day: '[2J' is no day"),
        (("today", "2024-03-01", None), "--day: is one day"),
        ((None, None, "2024-03-01"), "--to: needs --from"),
        ((None, "2024-03-05", "2024-03-01"), "--to: 2024-03-01 is before 2024-03-05"),
        ((None, "2022-01-01", None), "--from: 801 days, at most 400"),
    ],
)
def test_days_that_cannot_be_are_the_operators_mistake(words: tuple[str | None, ...], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        days_of(*words, TODAY)
    assert str(error.value).startswith(expected)
