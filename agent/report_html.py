"""The report as one HTML page that needs nothing else: no script, nothing fetched, charts as inline SVG.

It is well-formed XML too, reads on light and on dark ground, and prints. Every text from a device is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from zoneinfo import ZoneInfo

from agent.report import GROUPINGS
from agent.report_words import (
    DASH,
    FIGURES,
    LEGEND,
    MARK,
    UNNAMED,
    Document,
    Figure,
    Row,
    heading,
    is_marked,
    label,
    losers,
    state,
    title,
    told,
)
from agent.svg import HUES, PAGE_GRID, PAGE_INK, Plot, area, bar, grid_lines, round_values, stroke, words

WIDTH, LEFT, RIGHT, PANEL, GAP = 860.0, 70.0, 30.0, 150.0, 34.0
BLUE, GREEN, RED = HUES[0], HUES[1], HUES[3]
PALE = "70"  # behind a hue: for a bar of which not enough is known
_FIGURE = {figure.name: figure for figure in FIGURES}
MOST_CURVE_POINTS = 600
MOST_TICKS = 12

MACHINE_FIGURES = (
    "energy_kwh", "metered_ratio", "hashrate_ths", "uptime_ratio", "reject_ratio", "revenue_usd",
    "accepted_revenue_usd", "cost_usd", "margin_usd", "kept_margin_usd", "efficiency_j_per_th", "stopped_h",
)  # fmt: skip
LOSER_FIGURES = (*MACHINE_FIGURES, "usd_per_kwh")

_STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 110rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem } p { margin: .2rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .1rem .7rem .1rem 0; border-bottom: 1px solid #8884; white-space: nowrap }
th { font-weight: 600; opacity: .75 } .t { text-align: left } tfoot td { font-weight: 600 }
.wide { overflow-x: auto } .so-far, .loss { color: #c8372d; font-weight: 600 } .note { opacity: .7 }
svg { width: 100%; max-width: 860px; height: auto; display: block }
@page { size: A4 landscape; margin: 1cm }
@media print { body { margin: 0; max-width: none; font-size: 9px } .wide { overflow: visible }
th, td { padding-right: .4rem } tr, svg { break-inside: avoid } thead { display: table-header-group } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(document: Document) -> str:
    """The whole page."""
    name = escape(title(document))
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>'
            f'<meta name="viewport" content="width=device-width"/><title>{name}</title><style>{_STYLE}</style></head>',
            f"<body><h1>{name}</h1>",
            *_head(document),
            *_table(document, "site"),
            *_charts(document),
            *(line for grouping in GROUPINGS[1:-1] for line in _table(document, grouping)),
            *_worst(document),
            *_table(document, "machine"),
            "</body></html>\n",
        )
    )


def _head(document: Document) -> Iterator[str]:
    if unfinished := state(document):
        yield f'<p class="so-far">{escape(unfinished)}</p>'
    for line in heading(document):
        yield f"<p>{escape(line)}</p>"
    yield f'<p class="note">{escape(LEGEND)}. {DASH} not known.</p>'


def _worst(document: Document) -> Iterator[str]:
    line = losers(document, most=0)
    if line is None:
        return
    yield f'<h2>Who lost</h2><p class="loss">{escape(line.removesuffix(":  ..."))}</p>'
    by_name = {row["name"]: row for row in document["groups"]["machine"]}
    rows = [by_name[name] for name in document["losers"]["worst"]]
    yield from _rows(rows, "machine", [figure for figure in FIGURES if figure.name in LOSER_FIGURES], None)
    if len(rows) < document["losers"]["machines"]:
        yield f'<p class="note">The {len(rows)} that lost most.</p>'


def _table(document: Document, grouping: str) -> Iterator[str]:
    """All rows of a grouping, with the site below; none where nobody belongs to any."""
    rows: Sequence[Row] = document["groups"][grouping]
    if grouping in UNNAMED and all(row["name"] is None for row in rows):
        return
    yield f"<h2>By {grouping}</h2>"
    figures = [figure for figure in FIGURES if grouping != "machine" or figure.name in MACHINE_FIGURES]
    yield from _rows(rows, grouping, figures, None if grouping == "site" else document["groups"]["site"][0])


def _rows(rows: Sequence[Row], grouping: str, figures: Sequence[Figure], whole: Row | None) -> Iterator[str]:
    of_whom = ("model", "rack", "owner") if grouping == "machine" else ()
    heads = "".join(f'<th class="t">{name}</th>' for name in (grouping, *of_whom))
    heads += "".join(f"<th>{figure.head}</th>" for figure in figures)
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
    if whole is not None:
        empty = '<td class="t"></td>' * len(of_whom)
        yield f'<tfoot><tr><td class="t">all</td>{empty}{_numbers(whole, figures)}</tr></tfoot>'
    yield "<tbody>"
    for row in rows:
        names = [label(row, grouping), *(row[name] or DASH for name in of_whom)]
        texts = "".join(f'<td class="t">{escape(name)}</td>' for name in names)
        yield f"<tr>{texts}{_numbers(row, figures)}</tr>"
    yield "</tbody></table></div>"


def _numbers(row: Row, figures: Sequence[Figure]) -> str:
    return "".join(f"<td>{told(row, figure)}</td>" for figure in figures)


# --- the charts ------------------------------------------------------------------------------------------------------


def _charts(document: Document) -> Iterator[str]:
    if steps := document["steps"]:
        yield "<h2>Energy and margin</h2>"
        if any(is_marked(step, _FIGURE[key]) for step in steps for key in ("energy_kwh", "margin_usd")):
            yield f'<p class="note">Pale bars: {escape(LEGEND.removeprefix(f"{MARK} "))}.</p>'
        yield _picture("energy and margin over time", _energy_and_margin(document, steps), 2)
    courses = [(name, price["course"]) for name, price in document["prices"].items()]
    panels = [
        ("hashprice, USD/PH/day", [course for course in courses if course[0] == "hashprice_usd_ph_day"]),
        ("price of power, USD/kWh", [course for course in courses if course[0].startswith("power_usd_kwh")]),
    ]
    panels = [panel for panel in panels if panel[1]]
    if panels:
        yield "<h2>Hashprice and price of power</h2>"
        drawn = [part for i, panel in enumerate(panels) for part in _course(document, _top(i), *panel)]
        yield _picture("hashprice and price of power over time", drawn, len(panels))
    margins = sorted(row["margin_usd"] for row in document["groups"]["machine"] if row["margin_usd"] is not None)
    if margins:
        yield "<h2>Merit curve</h2>"
        yield _picture("margin of each machine, sorted", _merit(margins[::-1]), 1)


def _picture(told: str, parts: Sequence[str], panels: int) -> str:
    height = _top(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(told)}" font-family="sans-serif" font-size="12">' + "\n".join(parts) + "</svg>"
    )


def _top(panel: int) -> float:
    return panel * (PANEL + 2 * GAP)


def _plot(top: float, x: tuple[float, float], y: tuple[float, float]) -> Plot:
    return Plot(LEFT, WIDTH - RIGHT, top + GAP, top + GAP + PANEL, *x, *y)


def _at(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def _span(document: Document) -> tuple[float, float]:
    return _at(document["from"]), _at(document["until"])


def _framed(plot: Plot, name: str) -> Iterator[str]:
    """Name and grid of a panel."""
    yield words(LEFT, plot.top - 10, name, "start", 13, PAGE_INK)
    yield from grid_lines(plot, round_values(plot.y_low, plot.y_high), "{:,.6g}".format, PAGE_INK, PAGE_GRID)


def _clock(document: Document, plot: Plot) -> Iterator[str]:
    for at_s, told_as in _ticks(document):
        yield words(plot.x(at_s), plot.bottom + 16, told_as, "middle", 11, PAGE_INK)


def _ticks(document: Document) -> Iterator[tuple[float, str]]:
    """Instants at which the local clock shows a round hour, or at which a day begins."""
    zone = ZoneInfo(document["zone"])
    start_s, end_s = _span(document)
    first = datetime.fromtimestamp(start_s, zone)
    days = (end_s - start_s) / 86_400.0
    stride = timedelta(hours=3) if days < 2.0 else timedelta(days=-(-days // MOST_TICKS))
    form = "%H:%M" if days < 2.0 else "%m-%d"
    tick = first.replace(tzinfo=None)  # on the wall, which a change of the clocks does not turn into odd hours
    while (at_s := tick.replace(tzinfo=zone).timestamp()) <= end_s:
        if at_s >= start_s:
            yield at_s, f"{tick:{form}}"
        tick += stride


def _energy_and_margin(document: Document, steps: Sequence[Row]) -> list[str]:
    parts: list[str] = []
    for panel, (name, key, unit, digits) in enumerate(
        (("energy, kWh", "energy_kwh", "kWh", 1), ("margin, USD", "margin_usd", "USD", 2))
    ):
        values = [step[key] for step in steps if step[key] is not None]
        plot = _plot(_top(panel), _span(document), (min(0.0, *values, 0.0), max(0.0, *values, 0.0)))
        parts += (*_framed(plot, name), *_clock(document, plot))
        for step in steps:
            if (value := step[key]) is not None:
                hue = BLUE if key == "energy_kwh" else GREEN if value >= 0.0 else RED
                is_part = is_marked(step, _FIGURE[key])
                shown = f"{step['from'][:16].replace('T', ' ')}: {value:,.{digits}f} {unit}{MARK * is_part}"
                parts.append(bar(plot, _at(step["from"]), _at(step["until"]), value, hue + PALE * is_part, shown))
    return parts


def _course(document: Document, top: float, name: str, courses: Sequence[tuple[str, Sequence[Row]]]) -> Iterator[str]:
    """Lines of prices over time, broken where nobody knew them."""
    means = [point["mean"] for _, course in courses for point in course]
    low, high = min(means), max(means)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    plot = _plot(top, _span(document), (low - margin, high + margin))
    yield from _framed(plot, name)
    yield from _clock(document, plot)
    for i, (key, course) in enumerate(courses):
        hue = HUES[i % len(HUES)]
        for piece in _unbroken([(_at(point["from"]), point["mean"]) for point in course]):
            yield stroke(plot, [(min(at_s, plot.x_high), mean) for at_s, mean in piece], hue)
        if len(courses) > 1:
            told_as = key.partition(":")[2] or UNNAMED["tariff"]
            yield words(LEFT + 180 + 130 * i, plot.top - 10, told_as, "start", 12, hue)


def _unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Pieces without a gap of more than twice the usual step; a lone point is a short line."""
    if not points:
        return []
    steps = sorted(after[0] - before[0] for before, after in pairwise(points))
    usual_s = steps[len(steps) // 2] if steps else 300.0
    pieces = [[points[0]]]
    for before, after in pairwise(points):
        if after[0] - before[0] > 2.0 * usual_s:
            pieces.append([])
        pieces[-1].append(after)
    return [[*piece, (piece[-1][0] + usual_s, piece[-1][1])] for piece in pieces]


def _merit(margins: Sequence[float]) -> list[str]:
    """Margins from the highest to the lowest, a step each; the area below zero is what the losers lost."""
    plot = _plot(0.0, (0.0, float(len(margins))), (min(0.0, margins[-1]), max(0.0, margins[0])))
    stride = max(1, len(margins) // MOST_CURVE_POINTS)
    ranks = sorted({*range(0, len(margins), stride), len(margins) - 1, *_turn(margins)})
    ends = [*ranks[1:], len(margins)]
    points = [(float(at), margins[rank]) for rank, end in zip(ranks, ends, strict=True) for at in (rank, end)]
    parts = list(_framed(plot, "margin of a machine, USD"))
    parts.append(area(plot, [(rank, max(usd, 0.0)) for rank, usd in points], GREEN))
    parts.append(area(plot, [(rank, min(usd, 0.0)) for rank, usd in points], RED))
    parts += [
        words(plot.x(share * len(margins)), plot.bottom + 16, f"{share * len(margins):,.0f}", "middle", 11, PAGE_INK)
        for share in (0.0, 0.5, 1.0)
    ]
    return parts


def _turn(margins: Sequence[float]) -> tuple[int, ...]:
    """The two machines beside zero, so that the picture crosses it where the fleet does."""
    winners = sum(margin >= 0.0 for margin in margins)
    return tuple(rank for rank in (winners - 1, winners) if 0 <= rank < len(margins))
