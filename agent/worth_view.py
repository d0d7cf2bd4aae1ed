"""The worth of a fleet for a person: two questions in a line each, a table per grouping, and one SVG picture."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.console import DASH, age, money, power
from agent.svg import GRID, HUES, words

Document = Mapping[str, Any]

WIDE = 200
BASES = {"agent": "the agent's newest cycle", "look": "one look", "journal": "the journal's newest decision"}


def show(document: Document, groupings: Sequence[str], console: Console | None = None) -> None:
    """Both verdicts, and the tables asked for. A file or a pipe has no width of its own: nothing is cut."""
    console = console or Console(width=None if sys.stdout.isatty() else WIDE)
    for line in heading(document):
        console.print(Text(line))
    for warning in document["warnings"]:
        console.print(Text(warning, "yellow"))
    for grouping in groupings:
        if document[PARTS[grouping]]:
            console.print()
            console.print(TABLES[grouping](document))


def heading(document: Document) -> Iterable[str]:
    """What the verdicts rest on, and how many of each there are."""
    from_what = BASES[document["basis"]]
    told = f"{document['site']}: {document['priced']:,} of {document['machines']:,} machines priced"
    yield f"{told}, by {from_what} of {document['at']}, {age(document['age_s'])} ago"
    if document["unpriced"]:
        yield "not priced: " + ", ".join(f"{why.replace('_', ' ')} {n:,}" for why, n in document["unpriced"].items())
    market = (_fixed(document["hashprice_usd_ph_day"], 2), _fixed(document["power_usd_kwh"], 4))
    yield "hashprice {} USD/PH/day, power {} USD/kWh".format(*market)
    now, place = document["dispatch"], document["retire"]
    yield (
        f"does it pay its power now?  run {now['run']:,}, stop {now['stop']:,}, uncertain {now['uncertain']:,}, "
        f"not priced {now['unknown']:,}"
    )
    yield (
        f"is it worth its place?      keep {place['keep']:,}, retire {place['retire']:,}, "
        f"uncertain {place['uncertain']:,}, not judged {place['unknown']:,}"
    )
    if place["unknown"] == document["machines"]:
        yield "nobody is judged: [economics.keep] must tell every term, docs/worth.md"


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in left:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _models(document: Document) -> Table:
    table = _table(
        ("model",), ("machines", "run", "stop", "uncertain", "keep", "retire", "uncertain", "kept USD", "fetch USD")
    )
    for row in document["models"]:
        now, place = row["dispatch"], row["retire"]
        counts = (now["run"], now["stop"], now["uncertain"], place["keep"], place["retire"], place["uncertain"])
        table.add_row(
            Text(row["model"]),
            f"{row['machines']:,}",
            *(f"{count:,}" for count in counts),
            _usd(row["keep_usd"]),
            _usd(row["resale_usd"]),
        )
    return table


def _feeders(document: Document) -> Table:
    table = _table(
        ("feeder",),
        ("machines", "unpriced", "priced", "power", "hash USD/kWh", "elsewhere", "earns less", "worth more elsewhere"),
    )
    for row in document["feeders"]:
        below, more = row["below_alternative_w"], row["is_worth_more"]
        table.add_row(
            Text(row["feeder"]),
            f"{row['machines']:,}",
            f"{row['unpriced']:,}",
            f"{100.0 * row['priced_ratio']:.1f} %",
            power(row["power_w"]),
            _fixed(row["mining_usd_kwh"], 4),
            _fixed(row["alternative_usd_kwh"], 4),
            DASH if below is None else power(below),
            DASH if more is None else "yes" if more else "no",
        )
    return table


def _machines(document: Document) -> Table:
    table = _table(("machine", "model", "feeder", "now", "place"), ("USD/h", "kept USD", "+-", "fetch USD"))
    for row in document["by_machine"]:
        table.add_row(
            Text(row["id"]),
            Text(row["model"]),
            Text(row["feeder"] or DASH),
            row["dispatch"] or (row["unpriced"] or DASH).replace("_", " "),
            Text(row["retire"] or DASH, "yellow" if row["retire"] == "retire" else ""),
            money(row["margin_usd_h"]),
            *(_usd(row[name]) for name in ("keep_usd", "keep_error_usd", "resale_usd")),
        )
    return table


PARTS = {"machine": "by_machine", "model": "models", "feeder": "feeders"}
TABLES: Mapping[str, Callable[[Document], Table]] = {"machine": _machines, "model": _models, "feeder": _feeders}


def _usd(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def _fixed(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


# --- the picture -----------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, TOP, ROW, MOST_ROWS = 860, 230, 90, 70, 34, 40
MEANT = {
    "machine": ("machines: worth in their place, and what they fetch, USD", "keep_usd", "resale_usd"),
    "model": ("models: worth in their place, and what they fetch, USD", "keep_usd", "resale_usd"),
    "feeder": ("feeders: what hash earns, and what the alternative pays, USD/kWh", "mining_usd_kwh",
               "alternative_usd_kwh"),
}  # fmt: skip
NOBODY = "nobody is judged: [economics.keep] must tell every term, and a machine needs a margin"
NOT_KNOWN = {
    "machine": NOBODY,
    "model": NOBODY,
    "feeder": "nothing to compare: no machine with a feeder is priced, and no alternative is told",
}
NAMED = {"machine": "id", "model": "model", "feeder": "feeder"}
PAIR = ((HUES[0], "here"), (HUES[2], "elsewhere"))


def svg(document: Document, grouping: str) -> str:
    """Two bars per row: what it is worth here, and elsewhere; a number that is not known has no bar but a dash.

    Where no row has a number there is a line of text and no row.
    """
    title, *keys = MEANT[grouping]
    every = document[PARTS[grouping]]
    is_any_known = any(row[key] is not None for row in every for key in keys)
    rows = every[:MOST_ROWS] if is_any_known else []
    values = [[row[key] for key in keys] for row in rows]
    known = [value for pair in values for value in pair if value is not None]
    low, high = min((0.0, *known)), max((0.0, *known))
    scale = (WIDTH - LEFT - RIGHT) / ((high - low) or 1.0)
    zero = LEFT - low * scale
    height = TOP + ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        words(20, 24, f"{document['site']}, {title}", "start", 16),
        *(words(20 + 90 * i, 46, f"■ {told}", "start", 12, hue) for i, (hue, told) in enumerate(PAIR)),
        f'<path d="M{zero:.1f} {TOP - 8}V{height - 24}" stroke="{GRID}"/>',
    ]
    for i, (row, pair) in enumerate(zip(rows, values, strict=True)):
        top = TOP + ROW * i
        parts.append(words(LEFT - 12, top + 16, row[NAMED[grouping]][:22], "end"))
        for j, (value, (hue, _)) in enumerate(zip(pair, PAIR, strict=True)):
            at = top + 13 * j
            told = DASH if value is None else f"{value:,.4f}" if grouping == "feeder" else f"{value:,.0f}"
            if value is not None:
                left, width = min(zero, zero + value * scale), abs(value * scale)
                parts.append(
                    f'<rect x="{left:.1f}" y="{at}" width="{width:.1f}" height="11" fill="{hue}">'
                    f"<title>{escape(told)}</title></rect>"
                )
            parts.append(words(max(zero, zero + (value or 0.0) * scale) + 6, at + 10, told, "start", 11))
    if not is_any_known:
        parts.append(words(20, TOP, NOT_KNOWN[grouping], "start"))
    elif (more := len(every) - len(rows)) > 0:
        parts.append(words(20, height - 10, f"and {more:,} more", "start"))
    return "\n".join((*parts, "</svg>\n"))
