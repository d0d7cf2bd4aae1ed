"""A report in words: the figures with their heads, and the lines above and below a table, for terminal and page alike.

A number that is not known is a dash, never 0; one that covers less of its time than it should carries a mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.report import BOOKED, COVERAGES, COVERED_ENOUGH

Document = Mapping[str, Any]
Row = Mapping[str, Any]

DASH = "–"
WORTH_A_LINE_H = 0.05  # what is shown as 0.0 h, as of an agent that was started anew, is not
MARK = "*"
LEGEND = f"{MARK} known for less than {100.0 * COVERED_ENOUGH:.0f} % of the time: the figure is of that part alone"

POWER, HASHRATE, WORK, PRICE = COVERAGES
UNNAMED = {
    "owner": "(no owner)",
    "rack": "(no rack)",
    "model": "(model not known)",
    "feeder": "(no feeder)",
    "tariff": "(the site's)",
    "machine": "(no name)",
}
PRICE_UNITS = {
    "hashprice_usd_ph_day": ("hashprice", "USD/PH/day", 2),
    "power_usd_kwh": ("power", "USD/kWh", 4),
    "btc_usd": ("bitcoin", "USD", 0),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a row: where it stands, its head, its digits, and the coverages that it rests on."""

    name: str
    head: str
    digits: int = 2
    rests_on: tuple[str, ...] = ()
    is_share: bool = False


FIGURES = (
    Figure("machines", "machines", 0),
    Figure("energy_kwh", "kWh", 1, (POWER,)),
    Figure("metered_ratio", "metered", 1, (POWER,), True),
    Figure("hashrate_ths", "TH/s each", 1, (HASHRATE,)),
    Figure("uptime_ratio", "uptime", 1, (HASHRATE,), True),
    Figure("reject_ratio", "rejects", 2, (WORK,), True),
    Figure("revenue_usd", "revenue", 2, (PRICE,)),
    Figure("accepted_revenue_usd", "by work", 2, (WORK,)),
    Figure("cost_usd", "cost", 2, (PRICE,)),
    Figure("margin_usd", "margin", 2, (PRICE,)),
    Figure("host_share_usd", "host", 2, (PRICE,)),
    Figure("kept_margin_usd", "kept", 2, (PRICE,)),
    Figure("usd_per_kwh", "USD/kWh", 4, (PRICE,)),
    Figure("efficiency_j_per_th", "J/TH", 1, (POWER, HASHRATE)),
    Figure("stopped_h", "stop h", 1, (BOOKED,)),
    Figure(POWER, "power known", 1, (), True),
    Figure(HASHRATE, "hashrate known", 1, (), True),
    Figure(PRICE, "priced", 1, (), True),
)


def told(row: Row, figure: Figure) -> str:
    """The number as a person reads it."""
    value = row[figure.name]
    if value is None:
        return DASH
    text = f"{100.0 * value:.{figure.digits}f} %" if figure.is_share else f"{value:,.{figure.digits}f}"
    if text[0] == "-" and not text.strip("-0."):  # a loss of nothing
        text = text[1:]
    return text + (MARK if is_marked(row, figure) else "")


def is_marked(row: Row, figure: Figure) -> bool:
    """It covers too little of its time to be taken for the whole."""
    for coverage in figure.rests_on:  # noqa: SIM110 - a page asks a hundred thousand times
        if (row[coverage] or 0.0) < COVERED_ENOUGH:
            return True
    return False


def label(row: Row, grouping: str) -> str:
    """The name of a group; in brackets where its machines belong to none."""
    return row["name"] or UNNAMED.get(grouping, DASH)


def title(document: Document) -> str:
    first, last = document["first_day"], document["last_day"]
    days = first if first == last else f"{first} to {last}"
    return f"{document['site']}: {days}{_since(document)} ({document['zone']})"


def _since(document: Document) -> str:
    """Where the books begin, if they do within these days."""
    if document["since"] is None:
        return ""
    day, minute = document["since"][:10], document["since"][11:16]
    return f", from {minute}" if day == document["last_day"] else f", from {day} {minute}"


def state(document: Document) -> str | None:
    """How far the days have come, where they are not over."""
    if document["is_finished"]:
        return None
    return f"SO FAR, until {document['until'][:16].replace('T', ' ')}: the day is not over"


def heading(document: Document) -> Iterator[str]:
    """What the figures rest on, and what is in none of them."""
    whole = document["groups"]["site"][0]
    shares = ", ".join(
        f"{word} {share(whole[name])}"
        for name, word in ((POWER, "power"), (HASHRATE, "hashrate"), (WORK, "work"), (PRICE, "price"))
    )
    yield f"{document['machines']:,} machines; known of the time: {shares}"
    if prices := ", ".join(_price_words(document["prices"])):
        yield prices
    yield from not_known(document)


def share(value: float | None) -> str:
    return DASH if value is None else f"{100.0 * value:.1f} %"


def _price_words(prices: Document) -> Iterator[str]:
    for name, (word, unit, digits) in PRICE_UNITS.items():
        if price := prices.get(name):
            spread = f"{price['low']:,.{digits}f} to {price['high']:,.{digits}f}"
            yield f"{word} {price['mean']:,.{digits}f} {unit} ({spread})"


def not_known(document: Document) -> Iterator[str]:
    """What is missing, line by line; nothing where nothing is."""
    if document["not_booked_h"] >= WORTH_A_LINE_H:
        gap, length = f"{document['not_booked_h']:,.1f}", f"{document['length_h']:,.1f}"
        yield f"nothing is booked of {gap} of {length} h: no agent ran, or it knew nothing; they are in no figure"
    if days := document["days_missing"]:
        yield f"nothing was kept of {len(days)} days: {', '.join(days[:10])}" + (" ..." if len(days) > 10 else "")
    if lost := document["unreadable"]:
        yield f"damaged, and in no number below: {', '.join(lost[:10])}" + (" ..." if len(lost) > 10 else "")
    of = {"power": "watts", "hashrate": "hashrate", "work": "accepted work", "price": "margin"}
    without = [f"{of[kind]} {count:,}" for kind, count in document["machines_without"].items() if count]
    if without:
        yield f"machines of which it was never known: {', '.join(without)}"
    whole = document["groups"]["site"][0]
    if whole["unpriced_revenue_usd"]:
        yield f"in no margin: revenue {whole['unpriced_revenue_usd']:,.2f} USD while the cost was not known"
    if whole["unpriced_cost_usd"]:
        yield f"in no margin: cost {whole['unpriced_cost_usd']:,.2f} USD while the revenue was not known"


def losers(document: Document, most: int = 10) -> str | None:
    """Who cost more than it earned, in one line; None where nobody did."""
    losing = document["losers"]
    if not losing["machines"]:
        return None
    count = losing["machines"]
    names = ", ".join(name or UNNAMED["machine"] for name in losing["worst"][:most]) + (" ..." if count > most else "")
    return f"{count:,} machine{'s'[: count != 1]} cost more than earned, {-losing['margin_usd']:,.2f} USD: {names}"
