"""The report as a table for a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.report_words import (
    FIGURES,
    LEGEND,
    MARK,
    PRICE,
    Document,
    Figure,
    Row,
    heading,
    label,
    losers,
    state,
    title,
    told,
)

WIDE = 200
MOST_ROWS = 100
FITTING = (
    (80, ("machines", "energy_kwh", "uptime_ratio", "revenue_usd", "cost_usd", "margin_usd")),
    (
        120,
        ("machines", "energy_kwh", "hashrate_ths", "uptime_ratio", "reject_ratio", "revenue_usd", "cost_usd",
         "margin_usd", "usd_per_kwh", "efficiency_j_per_th"),
    ),
    (165, tuple(figure.name for figure in FIGURES if not figure.name.endswith("_coverage_ratio"))),
)  # fmt: skip
"""What a terminal of so many columns shows; the coverages stand above the table."""


def show(document: Document, grouping: str, console: Console | None = None) -> None:
    """The groups with the site below them. A file or a pipe has no width of its own: nothing is cut there."""
    console = console or Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(Text(title(document), "bold"))
    if unfinished := state(document):
        console.print(Text(unfinished, "bold yellow"))
    for line in heading(document):
        console.print(Text(line))
    rows = document["groups"][grouping]
    shown = _lowest_margins(rows) if len(rows) > MOST_ROWS else rows
    whole = document["groups"]["site"][0]
    figures = _fitting(console.width, grouping)
    table = _table(shown, whole, grouping, figures)
    console.print(table)
    if len(shown) < len(rows):
        console.print(Text(f"{len(rows):,} in all, the lowest margins shown; --csv and --html have every one", "dim"))
    if any(MARK in told(row, figure) for row in (*shown, whole) for figure in figures):
        console.print(Text(LEGEND, "dim"))
    if losing := losers(document):
        console.print(Text(losing, "red"))


def _fitting(width: int, grouping: str) -> list[Figure]:
    names = [names for columns, names in FITTING if columns <= max(width, FITTING[0][0])][-1]
    is_one = grouping == "machine"
    return [figure for figure in FIGURES if figure.name in names and not (is_one and figure.name == "machines")]


def _lowest_margins(rows: list[Row]) -> list[Row]:
    """The few that one wants to see of many; those without a margin are not among the worst."""
    return sorted(rows, key=lambda row: (row["margin_usd"] is None, row["margin_usd"] or 0.0))[:MOST_ROWS]


def _table(rows: list[Row], whole: Row, grouping: str, figures: list[Figure]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=grouping != "site", footer_style="bold")
    table.add_column(grouping, "all", overflow="fold")
    for figure in figures:
        table.add_column(figure.head, told(whole, figure), justify="right", no_wrap=True)
    for row in rows:
        losing = (row["margin_usd"] or 0.0) < 0.0
        table.add_row(
            Text(label(row, grouping)),
            *(Text(told(row, figure), "red" if losing and PRICE in figure.rests_on else "") for figure in figures),
        )
    return table
