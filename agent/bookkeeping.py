"""Writing the books: each tick into the sheet of the running hour, and now and then, by a thread, into the history.

A tick only adds columns up. Everything that may wait for a disk is done by a clerk, a thread of its own, which always
has the newest state of each hour to write: a disk that is slow or fails costs nobody a tick, and what could not be
written is handed in again with the next. The running hour is written every five minutes, so that a crash loses no more;
sooner while a run is young, so that nobody waits for a first report.

No instant is booked twice. A sheet knows up to when it is booked, also after a restart, and an hour that does not
follow upon the last one (the first of a run; one that a clock came back to) is read from the history before anything
is booked in it; while it cannot be read, nothing is. A clock that is not trusted books nothing.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.history import History, HistoryError
from exporters import metrics
from exporters.metrics import Metric
from fleet.account import (
    MAX_STEP_S,
    PRICE_SPAN_S,
    Account,
    PriceSpan,
    Roster,
    Sheet,
    Span,
    arranged,
    blank,
    book,
    reopened,
    roster_of,
    settle,
)
from fleet.cycle import Cycle
from fleet.localtime import Zone, hour_around_s
from fleet.site import Site

log = logging.getLogger(__name__)

KEEP_EVERY_S = 300.0
KEEP_FIRST_S = 10.0
CLOSE_PATIENCE_S = 10.0
WAITING_BYTES = 64 << 20
"""Hours that wait for a disk hold no more memory than this, but for the newest two; the oldest are given up."""


class Bookkeeper:
    """Books every cycle. All methods are for the thread of the loop; none of them but `close` waits for anything."""

    def __init__(self, open_history: Callable[[], History], zone: Zone, max_step_s: float = MAX_STEP_S) -> None:
        self._zone, self._max_step_s = zone, max_step_s
        self._clerk = Clerk(open_history, zone)
        self._before: Cycle | None = None  # what to book from
        self._newest: Cycle | None = None
        self._sheet: Sheet | None = None
        self._site: Site | None = None  # whose rows the sheet has
        self._words: Roster | None = None  # one for all drafts while nobody is called otherwise
        self._begun_s, self._handed_s = math.nan, -math.inf

    def take(self, cycle: Cycle, is_clock_trusted: bool = True) -> None:
        """Book what passed since the cycle before this one; hand the hour to the clerk when it is time."""
        before, self._before = self._before, cycle if is_clock_trusted else None
        self._newest = cycle
        if math.isnan(self._begun_s):
            self._begun_s = cycle.at_s
        if is_clock_trusted:
            self._book(before or cycle, cycle)
        if self._sheet is not None and self._is_time(cycle.at_s):
            self._hand(replace(self._sheet, sums=self._sheet.sums.copy()), cycle)

    def figures(self) -> Mapping[Metric, float]:
        """How the history fares, for the metrics page; NaN where nobody knows yet."""
        clerk = self._clerk
        return {
            metrics.HISTORY_SIZE: clerk.size_bytes,
            metrics.HISTORY_ERRORS: float(clerk.errors),
            metrics.HISTORY_WRITTEN: clerk.written_s,
        }

    def wait(self) -> None:
        """Until the clerk has done, or failed to do, all that it has. For those who have time: tests, a last page."""
        self._clerk.wait()

    def close(self) -> None:
        """Write what there is. A disk that hangs is not waited for longer than CLOSE_PATIENCE_S."""
        if self._sheet is not None and self._newest is not None:
            self._hand(self._sheet, self._newest)
        self._clerk.close(CLOSE_PATIENCE_S)

    def _is_time(self, now_s: float) -> bool:
        """Every five minutes; before that whenever the run is twice as old as the last time. A clock may jump."""
        age_s = abs(self._handed_s - self._begun_s)
        return abs(now_s - self._handed_s) >= min(max(age_s, KEEP_FIRST_S), KEEP_EVERY_S)

    def _book(self, before: Cycle, cycle: Cycle) -> None:
        at_s = before.at_s
        while True:  # nearly always once
            start_s, end_s = hour_around_s(self._zone, at_s)
            if (sheet := self._sheet_of(start_s, end_s, before)) is not None:
                book(sheet, before, cycle, self._max_step_s)
            at_s = end_s
            if at_s >= min(cycle.at_s, before.at_s + self._max_step_s):
                return

    def _sheet_of(self, start_s: float, end_s: float, cycle: Cycle) -> Sheet | None:
        """The sheet of an hour with the rows of `cycle` in it; None while the clerk looks for it."""
        sheet = self._sheet
        if sheet is None or sheet.start_s != start_s:
            if sheet is not None:
                self._hand(sheet, cycle)
            sheet = self._sheet = self._opened(start_s, end_s, cycle)
        if sheet is not None and cycle.site is not self._site:
            sheet = self._sheet = arranged(sheet, roster_of(cycle))
            self._site = cycle.site
        return sheet

    def _opened(self, start_s: float, end_s: float, cycle: Cycle) -> Sheet | None:
        """The sheet to go on with in this hour. The hour behind it is asked for at once, to be there in time."""
        kept = self._clerk.answer(start_s)
        follows = self._sheet is not None and self._sheet.end_s == start_s
        if kept is None and not follows:
            self._clerk.ask(start_s, end_s)
            return None
        self._clerk.ask(*hour_around_s(self._zone, end_s))
        if kept is None or kept.account is None:  # no answer yet: where the hour is new there is hardly anything in it
            self._site = cycle.site
            return blank(start_s, end_s, roster_of(cycle))
        self._site = None
        return reopened(kept.account, end_s, kept.prices)

    def _hand(self, sheet: Sheet, cycle: Cycle) -> None:
        """Give a sheet to the clerk, which is its owner from now on, with the prices that may be new to it."""
        since_s = self._handed_s - PRICE_SPAN_S
        self._handed_s = cycle.at_s
        prices = [price for price in sheet.prices.values() if price.start_s > since_s]
        if (words := roster_of(cycle)) != self._words:
            self._words = words
        self._clerk.take(Draft(sheet, self._words, cycle.at_s, prices))


@dataclass(frozen=True, eq=False)
class Draft:
    """A sheet on its way into the history, and the words for its machines. It may wait long: no cycle is held by it."""

    sheet: Sheet
    words: Roster
    at_s: float
    prices: Sequence[PriceSpan]

    def account(self) -> Account:
        return settle(arranged(self.sheet, self.words))


@dataclass(frozen=True, eq=False)
class Kept:
    """What the history holds of an hour; no account where it holds none."""

    start_s: float
    account: Account | None
    prices: Sequence[PriceSpan]


class Clerk:
    """The thread that has the history to itself, and the desk where sheets are left for it: nobody waits there.

    `errors` counts what failed; `written_s` is up to when the history is written. NaN: not yet, or not known.
    """

    def __init__(self, open_history: Callable[[], History], zone: Zone) -> None:
        self._open_history, self._zone = open_history, zone
        self._opened: History | None = None
        self._desk = threading.Condition()
        self._drafts: dict[float, Draft] = {}  # by start, the newest of each hour
        self._prices: dict[tuple[str, float], PriceSpan] = {}
        self._wanted: tuple[float, float] | None = None
        self._kept: Kept | None = None
        self._has_work = self._is_closing = False
        self._is_idle = True
        self._is_well = True
        self._tidied_s = math.nan
        self.errors = 0
        self.written_s = math.nan
        self.size_bytes = math.nan
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    # -- on the thread of the loop

    def take(self, draft: Draft) -> None:
        """Leave a sheet to be written. Where too many wait the oldest is given up, and counted."""
        with self._desk:
            self._drafts[draft.sheet.start_s] = draft
            self._prices |= {(price.name, price.start_s): price for price in draft.prices}
            while (
                len(self._drafts) > 2 and sum(each.sheet.sums.nbytes for each in self._drafts.values()) > WAITING_BYTES
            ):
                oldest = self._drafts.pop(min(self._drafts))
                self._prices = {key: price for key, price in self._prices.items() if key[1] >= oldest.sheet.end_s}
                self.errors += 1
            self._has_work = True
            self._desk.notify_all()

    def ask(self, start_s: float, end_s: float) -> None:
        """Have the thread find out what is kept of an hour; only the last question is answered."""
        with self._desk:
            self._wanted, self._kept = (start_s, end_s), None
            self._has_work = True
            self._desk.notify_all()

    def answer(self, start_s: float) -> Kept | None:
        """What is kept of the hour that begins then; None where the thread was not asked, or has not found out yet."""
        with self._desk:
            kept = self._kept
        return kept if kept is not None and kept.start_s == start_s else None

    def wait(self) -> None:
        with self._desk:
            self._desk.wait_for(lambda: self._is_idle and not self._has_work)

    def close(self, patience_s: float) -> None:
        with self._desk:
            self._is_closing = True
            self._desk.notify_all()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            log.error("history: the disk does not answer; the last minutes of the books may be lost")

    # -- on the thread of the clerk

    def _run(self) -> None:
        while self._waits_for_work():
            for task in (self._write, self._look_up):
                try:
                    task()
                except Exception as error:  # noqa: BLE001 - neither a disk nor a fault of ours may end the thread
                    self._failed(error)
        if self._opened is not None:
            with suppress(HistoryError):
                self._opened.close()

    def _history(self) -> History:
        """The open history. Opened when it is first needed, here and not at the start of the agent: a large file takes
        its time, and a disk that fails today may be well tomorrow. Errors: HistoryError."""
        if self._opened is None:
            self._opened = self._open_history()
            if self._opened.moved_aside:
                log.error("history: damaged, moved aside to %s; starting with an empty one", self._opened.moved_aside)
        return self._opened

    def _waits_for_work(self) -> bool:
        """True with work to do; False when there is none and none will come."""
        with self._desk:
            self._is_idle = not self._has_work
            self._desk.notify_all()
            self._desk.wait_for(lambda: self._has_work or self._is_closing)
            had_work, self._has_work = self._has_work, False
            self._is_idle = not had_work
        return had_work

    def _write(self) -> None:
        """Write what lies on the desk, an hour at a time: many at once might never fit. What cannot be written stays
        there for the next time."""
        with self._desk:
            drafts = [self._drafts[start_s] for start_s in sorted(self._drafts)]
            prices = dict(self._prices)
        if not drafts:
            return
        newest = drafts[-1]
        history = self._history()
        for draft in drafts:
            due = {key: price for key, price in prices.items() if draft is newest or key[1] < draft.sheet.end_s}
            history.keep([draft.account()], tuple(due.values()))
            prices = {key: price for key, price in prices.items() if key not in due}
            self._is_kept(draft, due)
        self.written_s = newest.sheet.until_s
        if newest.sheet.start_s != self._tidied_s:
            history.tidy(newest.at_s, self._zone)
            self._tidied_s = newest.sheet.start_s
        self.size_bytes = float(history.size_bytes())
        if not self._is_well:
            log.info("history: written again")
            self._is_well = True

    def _is_kept(self, kept: Draft, prices: Mapping[tuple[str, float], PriceSpan]) -> None:
        """Clear it from the desk; what came there since is newer, and stays."""
        with self._desk:
            self._drafts = {at_s: draft for at_s, draft in self._drafts.items() if draft is not kept}
            self._prices = {key: price for key, price in self._prices.items() if prices.get(key) is not price}

    def _look_up(self) -> None:
        with self._desk:
            if (wanted := self._wanted) is None:
                return
            self._wanted = None
            draft, prices = self._drafts.get(wanted[0]), tuple(self._prices.values())
        start_s, end_s = wanted
        if draft is not None:  # could not be written: newer than anything in the history
            account: Account | None = draft.account()
        else:
            history = self._history()
            account = next(iter(history.accounts(Span.HOUR, start_s, start_s + 1.0)), None)
            prices = history.prices(start_s, end_s)
        with self._desk:
            if self._wanted is None:
                self._kept = Kept(start_s, account, [each for each in prices if start_s <= each.start_s < end_s])

    def _failed(self, error: Exception) -> None:
        with self._desk:
            self.errors += 1
        log.debug("history failed", exc_info=error)
        if self._is_well:
            words = str(error) if isinstance(error, HistoryError) else type(error).__name__
            log.error("history: %s; the books are kept in memory until it can be written", words)
            self._is_well = False
