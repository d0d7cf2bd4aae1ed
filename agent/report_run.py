"""How `hashwatt report` runs: it reads the history beside a running agent and writes the report where it is wanted."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from agent.config import ConfigError, HistoryPlace
from agent.history import History, HistoryError
from agent.report import GROUPINGS, Document, report_document
from agent.report_books import Books, Days, books_of, books_of_newest, days_of, newest_finished, today_of
from exporters.wording import clean
from fleet.localtime import Zone, zone_of

STDOUT = "-"
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the wide ones begin a formula where people write them


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options as the operator said them; `by` is a grouping, None for the usual one of each form."""

    day: str | None = None
    first: str | None = None
    last: str | None = None
    by: str | None = None
    csv: str | None = None
    html: str | None = None
    as_json: bool = False

    @property
    def has_charts(self) -> bool:
        """Hours are only in these."""
        return self.as_json or self.html is not None


def run(place: HistoryPlace, wanted: Wanted, now: Callable[[], float] = time.time) -> int:
    """Prints and writes the report; 0, or 1 with a line where nothing was kept of these days.

    Errors: ConfigError for days that cannot be and for a file that cannot be written.
    """
    if wanted.by is not None and wanted.by not in GROUPINGS:
        raise ConfigError("--by", f"{clean(wanted.by, 40)!r} is none of {', '.join(GROUPINGS)}")
    if wanted.as_json and wanted.csv == STDOUT:
        raise ConfigError("--csv", "- and --json both want standard output")
    if wanted.html == STDOUT:
        raise ConfigError("--html", "wants the name of a file")
    books = _books(place, wanted, now())
    if books is None:
        return 1
    document = report_document(place.site, books)
    if wanted.csv not in (None, STDOUT):
        _write("--csv", wanted.csv, csv_text(document, wanted.by or "machine"))
    if wanted.html is not None:
        from agent import report_html

        _write("--html", wanted.html, report_html.html(document))
    if wanted.as_json:
        import orjson

        sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
        sys.stdout.buffer.flush()
    elif wanted.csv == STDOUT:
        sys.stdout.write(csv_text(document, wanted.by or "machine"))
    else:
        from agent import report_view

        report_view.show(document, wanted.by or "model")
    return 0


def _write(option: str, name: str, text: str) -> None:
    try:
        Path(name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(option, f"{error.strerror}: {clean(name)}") from None


def _books(place: HistoryPlace, wanted: Wanted, now_s: float) -> Books | None:
    """The accounts of the days that are wanted; None, with a line on standard error, where there are none."""
    clock = ZoneInfo(place.time_zone)
    zone = zone_of(clock)
    today = today_of(clock, now_s)
    asked = days_of(wanted.day, wanted.first, wanted.last, today)
    why: list[str] = []
    for home in homes_of(place):
        try:
            with closing(History.read_only(home)) as history:
                if asked is None:
                    books = books_of_newest(history, zone, clock, now_s, with_hours=wanted.has_charts)
                else:
                    books = books_of(history, asked, zone, clock, now_s, with_hours=wanted.has_charts)
                if books is not None and books.accounts:
                    return replace(books, lost=tuple(history.lost))
                why.append(f"{history.where}: {_nothing(history, asked, zone, today)}")
        except HistoryError as error:
            why.append(str(error))
    if not place.path.exists():
        why.append("hashwatt run writes it")
    sys.stderr.write(f"{clean('; '.join(why), 1000)}\n")
    return None


def _nothing(history: History, asked: Days | None, zone: Zone, today: date) -> str:
    if asked is None:
        return "no finished day in it yet; --day today shows the day so far"
    newest = newest_finished(history, zone, today)
    return f"nothing was kept of {asked}" + ("" if newest is None else f", its newest finished day is {newest}")


def homes_of(place: HistoryPlace) -> tuple[Path | str, ...]:
    """Where a history may be: beside the journal, and on the server that keeps a second one, maybe of older days."""
    return (place.path,) if place.url is None else (place.path, place.url.reveal())


# --- CSV -------------------------------------------------------------------------------------------------------------


def csv_text(document: Document, grouping: str) -> str:
    """One grouping, one line per row, with every amount and figure that the JSON has; what is not known is empty."""
    rows = document["groups"][grouping]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = list((rows or document["groups"]["site"])[0])  # a site without machines has no rows but its own
    writer.writerow([grouping, *keys[1:]])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
