"""What `hashwatt discover` shows a person: the bar while it runs, and the table of what was found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agent.console import DASH, hashrate, power
from agent.discovered import NEIGHBOUR, Row
from fleet.units import TERA

COLUMNS = ("address", "id", "make", "model", "firmware", "hashrate", "power", "serial", "note")
ONLY_WIDE = ("firmware", "serial")
WIDE_ENOUGH = 130
WIDE = 200
LINE_EVERY_S = 10.0

Show = Callable[[float, int, str], None]
"""Takes the instant of a steady clock, the addresses that are done, and words."""


@contextmanager
def progress(total: int) -> Iterator[Show]:
    """A bar on a terminal, else a line now and then; on standard error, so that the result can go into a file."""
    if not sys.stderr.isatty():
        yield _lines(total)
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def show(now_s: float, scanned: int, words: str) -> None:
            bar.update(task, completed=scanned, description=words)

        yield show


def _lines(total: int) -> Show:
    due_s: float | None = None

    def show(now_s: float, scanned: int, words: str) -> None:
        nonlocal due_s
        if due_s is None:
            due_s = now_s + LINE_EVERY_S
        elif now_s >= due_s:
            due_s = now_s + LINE_EVERY_S
            sys.stderr.write(f"{scanned:,} of {total:,} addresses, {words}\n")

    return show


def show_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """One line per machine. A file or a pipe has no width of its own: there, nothing is cut."""
    console = console or Console(width=None if sys.stdout.isatty() else WIDE)
    shown = [name for name in COLUMNS if console.width >= WIDE_ENOUGH or name not in ONLY_WIDE]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in shown:
        table.add_column(
            name, justify="right" if name in ("hashrate", "power") else "left", no_wrap=name not in ("model", "note")
        )
    for row in rows:
        cells = dict(zip(COLUMNS, _cells(row), strict=True))
        table.add_row(*(Text(cells[name]) for name in shown))
    console.print(table)


def _cells(row: Row) -> Iterator[str]:
    """In the order of COLUMNS."""
    yield row.address
    yield row.id
    yield row.make or DASH
    yield row.model or DASH
    yield row.firmware or DASH
    yield DASH if row.hashrate_th is None else hashrate(row.hashrate_th * TERA)
    yield DASH if row.power_w is None else power(row.power_w)
    yield row.serial or DASH
    yield ", ".join(_notes(row))


def _notes(row: Row) -> Iterable[str]:
    if row.duplicate:
        yield "DUPLICATE"
    if row.provisional:
        yield "provisional"
    if row.mac_source == NEIGHBOUR:
        yield "neighbour MAC"
    if row.fault:
        yield f"{row.fault} ({row.detail})" if row.detail else row.fault
