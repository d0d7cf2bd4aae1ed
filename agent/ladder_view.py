"""The ladder for a person: tables with bars for a terminal, and the same as one SVG picture. Pure but for `show`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.console import DASH, age, power
from agent.svg import HUES, INK, Plot, grid_lines, round_values, stroke, words

Document = Mapping[str, Any]

WIDE = 200
WIDE_ENOUGH = 110
BAR = 20
FEEDER_CHARS, GAP = 11, 2
FROM_WHAT = {
    "agent": "the agent's newest cycle",
    "look": "one look",
    "journal": "the journal's newest decision",
    "nameplates": "the inventory",
}


def show(document: Document, console: Console | None = None) -> None:
    """Every rung as a line with its bar, then the models. A file or a pipe has no width of its own: nothing is cut."""
    console = console or Console(width=None if sys.stdout.isatty() else WIDE)
    for line in heading(document):
        console.print(Text(line))
    if not document["priced"]:
        return
    console.print(_rungs(document, BAR if console.width >= WIDE_ENOUGH else 0))
    if len(document["feeders"]) > 1:
        console.print(Text("\nWatts freed, by feeder"))
        console.print(_feeders(document, console.width))
    console.print(Text("\nHashprice, USD/PH/day, below which a model is under water"))
    console.print(_models(document))


def heading(document: Document) -> list[str]:
    """What the ladder rests on, and which machines it leaves out."""
    told = f"{document['site']}: {document['priced']:,} of {document['machines']:,} machines priced"
    when = f" of {document['at']}, {age(document['age_s'])} ago" if document["at"] else ""
    lines = [f"{told}, by {FROM_WHAT[document['basis']]}{when}"]
    if document["unpriced"]:
        reasons = (f"{reason.replace('_', ' ')} {count:,}" for reason, count in document["unpriced"].items())
        lines.append(f"not priced, and in no number below: {', '.join(reasons)}")
    if basis := document["power_basis"]:
        kinds = (f"{kind} {told['machines']:,} ({power(told['power_w'])})" for kind, told in basis.items())
        lines.append(f"watts: {', '.join(kinds)}")
    terms, market = document["terms"], document["market"]
    known = market["difficulty"] is not None and market["reward_btc"] is not None
    chain = f"difficulty {market['difficulty']:.4g}, reward {market['reward_btc']:.4g} BTC" if known else (
        "no difficulty or no reward: levels are hashprices alone"
    )  # fmt: skip
    shares = f"fee {terms['pool_fee']:.1%}, rejects {terms['reject']:.1%}, overhead {terms['overhead']:.1%}"
    lines.append(f"{chain}; net of {shares}; every machine as if it ran")
    if _has_own_row(document):
        prices = document["today"]["prices"]
        dearest = "" if len(prices) == 1 else f" to {prices[-1]['power_usd_kwh']:.4f}"
        lines.append(f"own: each machine at the price of its own tariff, {prices[0]['power_usd_kwh']:.4f}{dearest}")
    return lines


def _has_own_row(document: Document) -> bool:
    """Whether today is no rung of the grid: machines pay several prices, or one that is none of the grid's."""
    today = document["today"]
    if today is None:
        return False
    prices = [each["power_usd_kwh"] for each in today["prices"]]
    return len(prices) > 1 or prices[0] not in document["power_usd_kwh"]


def _rungs(document: Document, bar: int) -> Table:
    """One line per rung; on a narrow terminal without bars, so that no number is cut at 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1 + (bar > 0), 0, 0), header_style="dim")
    for name in ("BTC USD", "USD/PH/d", "USD/kWh", "J/TH", "under", "freed", "lost USD/d", "kept USD/d"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("share" if bar else "", no_wrap=True)
    for level, rung in _lines(document):
        share = rung["under"] / document["priced"]
        table.add_row(
            *_place(level, rung),
            rung["cutoff"],
            f"{rung['under']:,}",
            power(rung["freed_w"]),
            f"{rung['loss_usd_day']:,.2f}",
            f"{rung['margin_usd_day']:,.2f}",
            Text.assemble(("█" * round(share * bar), "red"), f" {share:.0%}"[not bar :] if rung["under"] else ""),
        )
    return table


def _lines(document: Document) -> Iterator[tuple[Document | None, Document]]:
    """Every rung with its level, which is None behind the first of it; at the level of now, today stands above them."""
    own = document["today"] if _has_own_row(document) else None
    for level in document["levels"]:
        rungs = [
            {**rung, "price": f"{rung['power_usd_kwh']:.4f}", "cutoff": _cutoff(rung["cutoff_j_per_th"])}
            for rung in level["rungs"]
        ]
        if level["is_now"] and own is not None:
            rungs.insert(0, {**own, "price": "own", "cutoff": DASH})
        for i, rung in enumerate(rungs):
            yield level if i == 0 else None, rung


def _cutoff(j_per_th: float | None) -> str:
    return "any" if j_per_th is None else f"{j_per_th:.1f}"


def _place(level: Document | None, rung: Document) -> tuple[str, str, str]:
    """The cells that say where on the ladder a line stands: price of a bitcoin, hashprice, price of power."""
    if level is None:
        return "", "", rung["price"]
    btc = DASH if level["btc_usd"] is None else f"{level['btc_usd']:,.0f}"
    return btc, f"{level['hashprice_usd_ph_day']:.2f}{' now' if level['is_now'] else ''}", rung["price"]


def _feeders(document: Document, width: int) -> Table:
    """The same lines with a column per feeder, the largest first; those that do not fit are one column together."""
    fits = max(1, (width - 30) // (FEEDER_CHARS + GAP))
    largest = sorted(document["feeders"], key=lambda feeder: -feeder["power_w"])
    names = [feeder["feeder"] for feeder in largest[: fits if len(largest) <= fits else fits - 1]]
    has_rest = len(names) < len(largest)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("BTC USD", "USD/PH/d", "USD/kWh"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in (*names, *([f"{len(largest) - len(names)} others"] if has_rest else [])):
        # feeders of one farm are told apart by how their names end
        shown = name if len(name) <= FEEDER_CHARS else f"…{name[1 - FEEDER_CHARS :]}"
        table.add_column(Text(shown), justify="right", no_wrap=True)
    for level, rung in _lines(document):
        freed = rung["feeders_freed_w"]
        watts = [freed.get(name, 0.0) for name in names]
        watts += [max(sum(freed.values()) - sum(watts), 0.0)] if has_rest else []
        table.add_row(*_place(level, rung), *map(power, watts))
    return table


def _models(document: Document) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model")
    for name in ("machines", "J/TH", "power", *(f"at {price:.4f}" for price in document["power_usd_kwh"])):
        table.add_column(name, justify="right", no_wrap=True)
    for model in document["models"]:
        efficiency = model["efficiency_j_per_th"]
        table.add_row(
            Text(model["model"]),
            f"{model['machines']:,}",
            DASH if efficiency is None else f"{efficiency:.1f}",
            power(model["power_w"]),
            *(DASH if usd is None else f"{usd:.2f}" for usd in model["under_below_usd_ph_day"]),
        )
    return table


# --- the picture -----------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 460, 70, 130, 60, 50


def svg(document: Document) -> str:
    """Watts under water over hashprice, one line per power price with a dot per level; it needs nothing else."""
    levels, curve = document["levels"], document["curve"]
    low: float = curve["hashprice_usd_ph_day"][0]
    high: float = curve["hashprice_usd_ph_day"][-1]
    most_w: float = max(watts for line in curve["freed_w"] for watts in line) or 1.0
    plot = Plot(LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, low, high, 0.0, most_w)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        words(LEFT, 24, f"{document['site']}: power under water by hashprice", "start", 16),
        words(LEFT, 42, f"{document['priced']:,} of {document['machines']:,} machines priced", "start"),
        words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "hashprice, USD/PH/day", "middle"),
        *grid_lines(plot, round_values(0.0, most_w), power),
        *(
            words(plot.x(hashprice), HEIGHT - BOTTOM + 18, f"{hashprice:.6g}", "middle")
            for hashprice in round_values(low, high, 8)
        ),
        words(WIDTH - RIGHT + 14, TOP - 8, "price of power", "start"),
        *(_now(plot, level["hashprice_usd_ph_day"]) for level in levels if level["is_now"]),
    ]
    for i, price in enumerate(document["power_usd_kwh"]):
        hue = HUES[i % len(HUES)]
        points = [(level["hashprice_usd_ph_day"], level["rungs"][i]["freed_w"]) for level in levels]
        parts.append(stroke(plot, zip(curve["hashprice_usd_ph_day"], curve["freed_w"][i], strict=True), hue))
        parts += [f'<circle cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="3" fill="{hue}"/>' for x, y in points]
        parts.append(words(WIDTH - RIGHT + 14, TOP + 12 + 18 * i, f"{price:.4f} USD/kWh", "start", 12, hue))
    return "\n".join((*parts, "</svg>\n"))


def _now(plot: Plot, hashprice: float) -> str:
    """Where the market stands."""
    at = plot.x(hashprice)
    line = f'<path d="M{at:.1f} {plot.top:g}V{plot.bottom:g}" stroke="{INK}" stroke-dasharray="3 4"/>'
    return line + words(at, plot.top - 6, "now", "middle", 11)
