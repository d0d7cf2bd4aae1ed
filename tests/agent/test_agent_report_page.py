"""The page of a report and its charts: sound, alone, escaped, and what a picture shows where something is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from history_farm import account_of, prices_of, roster_of

from agent import report_html
from agent.report import report_document
from agent.report_books import Books, Days
from agent.svg import round_values
from fleet.account import COLUMN, Account, PriceSpan, Roster, Span, total

CHICAGO = ZoneInfo("America/Chicago")
NOV_3 = date(2024, 11, 3)  # the clocks go back at two
START_S = 1_730_610_000.0  # 2024-11-03 05:00 UTC
LENGTH_S = 25 * 3600.0
SVG = "{http://www.w3.org/2000/svg}"


def books(hours: list[Account], prices: list[PriceSpan], until_s: float = START_S + LENGTH_S) -> Books:
    whole = total(Span.DAY, hours)
    return Books(
        Days(NOV_3, NOV_3), CHICAGO, START_S, START_S + LENGTH_S, until_s, (whole,), tuple(hours), tuple(prices)
    )


def a_day(roster: Roster | None = None, hours: range = range(25)) -> tuple[list[Account], list[PriceSpan]]:
    roster = roster or roster_of(4)
    starts = [START_S + 3600.0 * hour for hour in hours]
    return [account_of(roster, start_s) for start_s in starts], [
        price for start_s in starts for price in prices_of(start_s)
    ]


def page(some: Books) -> ElementTree.Element:
    """As a strict reader sees it."""
    return ElementTree.fromstring(report_html.html(report_document("north", some)))


def texts(element: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in element.iter() if each.tag in (f"{SVG}text", "td", "p", "h1", "h2")]


def test_the_page_is_sound_alone_and_complete() -> None:
    tree = page(books(*a_day()))
    assert texts(tree)[0] == "north: 2024-11-03 (America/Chicago)"
    assert [each.text for each in tree.iter("h2")] == [
        "By site", "Energy and margin", "Hashprice and price of power", "Merit curve", "By rack", "By model",
        "Who lost", "By machine",
    ]  # fmt: skip  # nobody has an owner, a feeder or a tariff
    assert not list(tree.iter("script"))
    allowed = {"http-equiv", "content", "name", "charset", "lang", "class", "role", "aria-label"}
    for each in tree.iter():
        assert not {"href", "src", "onload", "style", "action"} & set(each.attrib)
        assert each.tag.startswith(SVG) or set(each.attrib) <= allowed
    assert "url(" not in ElementTree.tostring(tree, "unicode")
    assert "@import" not in ElementTree.tostring(tree, "unicode")
    machines = list(tree.iter("table"))[-1]
    assert len(list(machines.iter("tr"))) == 1 + 4 + 1


def test_whatever_a_device_or_the_inventory_says_is_only_text() -> None:
    nasty = '<script>alert("1")</script>&amp;\x1b[2J\u2028\ufffe\u202e'
    roster = Roster((nasty, "b"), (nasty, "S21"), (nasty, ""), (nasty, ""), (nasty, ""), (nasty, ""))
    hours, prices = a_day(roster)
    hours[0].counts[:, COLUMN["cost_usd"]] = 10**12  # both lose
    prices += [PriceSpan(f"power_usd_kwh:{nasty}", START_S, 300.0, 0.05, 0.05, 0.05)]
    tree = page(books(hours, prices))
    assert not list(tree.iter("script"))
    harmless = '<script>alert("1")</script>&amp;[2J'
    assert texts(tree).count(harmless) == 1 + 1 + 1 + 1 + 1 + 2 * 4 + 1  # five groupings, two machine lines, a legend


def test_a_bar_for_every_hour_that_was_kept_at_its_place() -> None:
    hours, prices = a_day(hours=range(5, 20))
    hours[3].counts[:, COLUMN["priced_s"]] = 0
    hours[4].counts[:, COLUMN["cost_usd"]] = 0  # the others lose
    document = report_document("north", books(hours, prices))
    picture = ElementTree.fromstring(report_html.html(document)).find(f".//{SVG}svg")
    assert picture is not None
    bars = list(picture.iter(f"{SVG}rect"))
    assert len(bars) == 15 + 14  # energy of all, margin but of the one without prices
    width = (report_html.WIDTH - report_html.RIGHT - report_html.LEFT) / 25
    assert float(bars[0].attrib["x"]) == pytest.approx(report_html.LEFT + 5 * width, abs=1.0)
    told = [each.findtext(f"{SVG}title") for each in bars]
    assert told[0] == f"2024-11-03 04:00: {document['steps'][0]['energy_kwh']:,.1f} kWh"  # the sixth of 25 hours
    assert [each.attrib["fill"] for each in bars[15:]].count(report_html.GREEN) == 1
    clock = [each.text for each in picture.iter(f"{SVG}text") if ":" in (each.text or "")][:9]
    assert clock == ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]


def test_a_bar_of_which_not_enough_is_known_is_pale_and_marked() -> None:
    hours, prices = a_day()
    assert not [told for told in texts(page(books(hours, prices))) if "Pale" in told]
    hours[3].counts[:, COLUMN["covered_s"]] //= 2  # its watts; what is known of its margin is whole
    tree = page(books(hours, prices))
    bars = list(tree.iter(f"{SVG}rect"))
    pale = [bar for bar in bars if bar.attrib["fill"].endswith(report_html.PALE)]
    assert pale == [bars[3]]
    assert (pale[0].findtext(f"{SVG}title") or "").endswith(" kWh*")
    assert "Pale bars: known for less than 99 % of the time: the figure is of that part alone." in texts(tree)


def test_a_price_that_nobody_knew_is_a_gap() -> None:
    hours, prices = a_day()
    kept = [price for price in prices if not START_S + 7200 <= price.start_s < START_S + 10_800]
    counts = []
    for some in (prices, kept):
        pictures = list(page(books(hours, some)).iter(f"{SVG}svg"))
        counts.append(sum(len(list(picture.iter(f"{SVG}polyline"))) for picture in pictures))
    assert counts == [1, 2]


def test_the_merit_curve_crosses_zero_where_the_fleet_does() -> None:
    hours, _ = a_day(roster_of(2000))
    hours = hours[:1]
    rows = np.arange(2000)
    hours[0].counts[:, COLUMN["revenue_usd"]] = np.where(rows <= 500, 0, rows) * 10**9
    hours[0].counts[:, COLUMN["cost_usd"]] = 500 * 10**9  # 501 machines lose
    tree = page(books(hours, []))
    polygons = list(tree.iter(f"{SVG}polygon"))
    assert len(polygons) == 2
    red = [tuple(map(float, point.split(","))) for point in polygons[1].attrib["points"].split()]
    zero_y = red[0][1]
    first = next(x for x, y in red if y > zero_y)
    width = report_html.WIDTH - report_html.RIGHT - report_html.LEFT
    assert first == pytest.approx(report_html.LEFT + width * 1499 / 2000, abs=0.1)
    assert len(red) < 2000
    assert "501 machines cost more than earned, 250,500.00 USD" in texts(tree)
    assert "The 25 that lost most." in texts(tree)


def test_a_page_of_which_nothing_is_known_has_no_charts_of_it() -> None:
    hours, _ = a_day()
    empty = replace(hours[0], counts=np.zeros_like(hours[0].counts))
    tree = page(books([empty], []))
    assert "Merit curve" not in texts(tree)
    assert not list(tree.iter(f"{SVG}rect"))
    site = next(tree.iter("table"))
    cells = [cell.text for cell in site.iter("td")]
    assert cells[:4] == ["north", "4", "–", "–"]


def test_several_days_have_a_bar_each_and_days_below_them() -> None:
    days = [account_of(roster_of(4), START_S + 3600.0 + 86_400.0 * n, Span.DAY, 86_400.0) for n in range(1, 31)]
    whole = Books(
        Days(date(2024, 11, 4), date(2024, 12, 3)), CHICAGO, days[0].start_s, days[-1].end_s, days[-1].end_s,
        tuple(days), tuple(days), (),
    )  # fmt: skip
    picture = page(whole).find(f".//{SVG}svg")
    assert picture is not None
    assert len(list(picture.iter(f"{SVG}rect"))) == 60
    told: list[Any] = [each.text for each in picture.iter(f"{SVG}text")]
    assert "11-04" in told
    assert "11-07" in told


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 178.0, [0.0, 50.0, 100.0, 150.0]),
        (-2.04, 1.72, [-2.0, -1.0, 0.0, 1.0]),
        (0.0, 0.4, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (32.98, 35.01, [33.0, 34.0, 35.0]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_a_grid_has_round_values(low: float, high: float, expected: list[float]) -> None:
    assert round_values(low, high) == pytest.approx(expected)
