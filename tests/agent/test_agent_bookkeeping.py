"""The books beside the tick: what disks, clocks and restarts do to them. The history here is a shelf in memory."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cycles import make_cycle
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from agent import bookkeeping
from agent.bookkeeping import Bookkeeper
from agent.history import History, HistoryError
from agent.loop import Loop
from agent.table import Table
from agent.vitals import Vitals
from exporters import metrics
from exporters.prometheus import render_family
from fleet.account import ITEMS, Account, PriceSpan, Span
from fleet.curtailment import Policy
from fleet.cycle import Cycle
from fleet.localtime import Zone
from fleet.site import Machine, Site
from fleet.tariff import FlatTariff

HOUR_S = 1_800_000_000.0 // 3600 * 3600
UTC = Zone("UTC", np.array([-np.inf]), np.array([0.0]))


class Shelf:
    """A history in memory, which can be told to fail or to hang."""

    def __init__(self) -> None:
        self.hours: dict[float, Account] = {}
        self.spans: dict[tuple[str, float], PriceSpan] = {}
        self.tidied: list[float] = []
        self.keeps = 0
        self.error: Exception | None = None
        self.is_free = threading.Event()
        self.is_free.set()
        self.is_closed = False
        self.moved_aside: Path | None = None

    def _answer(self) -> None:
        self.is_free.wait()
        if self.error is not None:
            raise self.error

    def keep(self, accounts: Sequence[Account], prices: Sequence[PriceSpan] = ()) -> None:
        self._answer()
        self.keeps += 1
        self.hours |= {account.start_s: account for account in accounts}
        self.spans |= {(price.name, price.start_s): price for price in prices}

    def accounts(self, span: Span, from_s: float, until_s: float) -> tuple[Account, ...]:
        self._answer()
        return tuple(self.hours[start_s] for start_s in sorted(self.hours) if from_s <= start_s < until_s)

    def prices(self, from_s: float, until_s: float) -> tuple[PriceSpan, ...]:
        return tuple(span for (_, start_s), span in self.spans.items() if from_s <= start_s < until_s)

    def tidy(self, now_s: float, zone: Zone) -> None:
        self.tidied.append(now_s)

    def size_bytes(self) -> int:
        return 4096

    def close(self) -> None:
        self.is_closed = True

    def reached_s(self, machine: str = "m0") -> dict[float, float]:
        """Per hour, counted from HOUR_S."""
        return {
            (start_s - HOUR_S) / 3600: float(account.amount("reached_s")[account.roster.ids.index(machine)])
            for start_s, account in sorted(self.hours.items())
            if machine in account.roster.ids
        }


def cycle_at(at_s: float, *ids: str) -> Cycle:
    """All machines answer; nothing else is known. `at_s` counts from HOUR_S."""
    return replace(first_cycle(ids or ("m0",)), at_s=HOUR_S + at_s)


@cache
def first_cycle(ids: tuple[str, ...]) -> Cycle:
    """One for all cycles of a roster: in an agent too, a site is another object only when a machine is found."""
    return make_cycle(ids, snapshot={"up": [1.0] * len(ids)})


@contextmanager
def books_on(shelf: Any, **options: Any) -> Iterator[Bookkeeper]:
    books = Bookkeeper(lambda: shelf, UTC, **options)
    try:
        yield books
    finally:
        if isinstance(shelf, Shelf):
            shelf.is_free.set()
        books.close()


def take(books: Bookkeeper, *times_s: float, trusted: bool = True) -> None:
    """A tick at each of these times, and time for the clerk after each."""
    for at_s in times_s:
        books.take(cycle_at(at_s), trusted)
        books.wait()


def minutes(first: int, last: int) -> list[float]:
    return [60.0 * minute for minute in range(first, last + 1)]


def test_hours_are_written_every_five_minutes_and_at_their_end() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, *minutes(50, 51))
        assert shelf.reached_s() == {0.0: 60.0}  # at the second tick: a sheet is first written when it is opened
        take(books, *minutes(52, 62))
        assert shelf.reached_s() == {0.0: 600.0}  # at the edge; the new hour will be five minutes later
    assert shelf.reached_s() == {0.0: 600.0, 1.0: 120.0}
    assert shelf.is_closed
    assert shelf.hours[HOUR_S].end_s == HOUR_S + 3600.0
    assert shelf.hours[HOUR_S + 3600].end_s == HOUR_S + 3720.0  # so far
    assert {start_s - HOUR_S for _, start_s in shelf.spans} == {3000.0, 3300.0, 3600.0}
    assert [at_s - HOUR_S for at_s in shelf.tidied] == [3060.0, 3720.0]  # once in every hour


def test_a_young_run_is_written_whenever_it_is_twice_as_old() -> None:
    """At its first sheet, 10 s, 20 s, ... later, and from five minutes on every five minutes; also behind a clock that
    jumped back."""
    written: list[float] = []
    shelf = Shelf()
    with books_on(shelf) as books:
        for at_s in [*range(0, 1500, 2), *range(300, 1100, 2)]:
            keeps = shelf.keeps
            take(books, float(at_s))
            written += [float(at_s)] * (shelf.keeps - keeps)
        assert written == [2, 12, 24, 48, 96, 192, 384, 684, 984, 1284, 300, 600, 900]


def test_a_slow_disk_costs_no_tick_and_no_hour() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.is_free.clear()
        for at_s in minutes(2, 190):
            books.take(cycle_at(at_s))  # returns, or this test hangs
        shelf.is_free.set()
        books.wait()
    assert shelf.reached_s() == {0.0: 3600.0, 1.0: 3600.0, 2.0: 3600.0, 3.0: 600.0}


def test_what_waits_for_a_disk_is_as_it_was_handed_in() -> None:
    """An account with more in it than its end says would be booked again after a crash."""
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.is_free.clear()
        for at_s in minutes(2, 19):
            books.take(cycle_at(at_s))
        shelf.is_free.set()
        books.wait()
        assert shelf.reached_s() == {0.0: 1080.0}
        assert shelf.hours[HOUR_S].end_s == HOUR_S + 1080.0


def test_a_disk_that_fails_is_counted_said_once_and_made_up_for(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    with books_on(shelf) as books, caplog.at_level(logging.INFO, "agent.bookkeeping"):
        take(books, 0.0, 60.0)
        shelf.error = HistoryError("history /x: the disk is full")
        take(books, *minutes(2, 70))
        errors = books.figures()[metrics.HISTORY_ERRORS]
        assert errors > 10
        assert books.figures()[metrics.HISTORY_WRITTEN] == HOUR_S + 60.0
        shelf.error = None
        take(books, *minutes(71, 80))
        assert shelf.reached_s() == {0.0: 3600.0, 1.0: 1200.0}
        assert books.figures()[metrics.HISTORY_ERRORS] == errors
        assert books.figures()[metrics.HISTORY_SIZE] == 4096.0
    assert [record.getMessage() for record in caplog.records] == [
        "history: history /x: the disk is full; the books are kept in memory until it can be written",
        "history: written again",
    ]


def test_a_fault_of_ours_ends_neither_the_thread_nor_says_more_than_its_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.error = ValueError("s3cret")
        take(books, *minutes(2, 10))
        shelf.error = None
        take(books, *minutes(11, 20))
    assert shelf.reached_s() == {0.0: 1200.0}
    (record,) = caplog.records
    assert record.getMessage().startswith("history: ValueError;")


def test_a_history_that_cannot_be_opened_yet_is_opened_later() -> None:
    shelf, attempts = Shelf(), iter([HistoryError("history: not mounted")] * 3)

    def opened() -> Any:
        if (error := next(attempts, None)) is not None:
            raise error
        return shelf

    books = Bookkeeper(opened, UTC)
    take(books, *minutes(0, 10))
    books.close()
    assert shelf.reached_s() == {0.0: 420.0}  # of ten minutes: what was kept of the hour was not known at first


def test_a_damaged_history_is_told(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    shelf.moved_aside = Path("/var/lib/hashwatt/hashwatt-history.db.corrupt-1")
    with books_on(shelf) as books:
        take(books, 0.0)
    assert "moved aside to /var/lib/hashwatt/hashwatt-history.db.corrupt-1" in caplog.text


def test_a_disk_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bookkeeping, "CLOSE_PATIENCE_S", 0.0)
    shelf = Shelf()
    books = Bookkeeper(lambda: shelf, UTC)  # type: ignore[arg-type,return-value]
    take(books, 0.0, 60.0)
    shelf.is_free.clear()
    books.close()
    assert "may be lost" in caplog.text
    shelf.is_free.set()


def test_hours_that_wait_for_a_disk_hold_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookkeeping, "WAITING_BYTES", 4 * len(ITEMS) * 8)  # four hours of one machine
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.error = HistoryError("full")
        take(books, *minutes(2, 600))
        before = books.figures()[metrics.HISTORY_ERRORS]
        shelf.error = None
        take(books, *minutes(601, 606))
        assert books.figures()[metrics.HISTORY_ERRORS] == before
    assert shelf.reached_s() == {0.0: 60.0, 6.0: 3600.0, 7.0: 3600.0, 8.0: 3600.0, 9.0: 3600.0, 10.0: 360.0}
    assert {(start_s - HOUR_S) // 3600 for _, start_s in shelf.spans} <= {0, 6, 7, 8, 9, 10}


def test_hours_that_waited_long_are_written_one_at_a_time() -> None:
    """All at once they may be more than a small history ever takes, and would then wait for good."""

    class Small(Shelf):
        def keep(self, accounts: Sequence[Account], prices: Sequence[PriceSpan] = ()) -> None:
            if len(accounts) > 1:
                raise HistoryError("too small")
            super().keep(accounts, prices)
            given.append({price.start_s - accounts[0].start_s for price in prices})

    given: list[set[float]] = []
    shelf = Small()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.error = HistoryError("away")
        take(books, *minutes(2, 300))
        shelf.error = None
        take(books, *minutes(301, 310))
        counts = [len(starts) for starts in given[given.index({300.0 * n for n in range(12)}) :]]
        assert counts[:5] == [12] * 5  # each with its own prices
        assert max(counts[5:]) <= 2  # and then the new alone
        assert all(0.0 <= start_s < 3600.0 for starts in given for start_s in starts)
    assert shelf.reached_s() == {0.0: 3600.0, 1.0: 3600.0, 2.0: 3600.0, 3.0: 3600.0, 4.0: 3600.0, 5.0: 600.0}
    assert {start_s for _, start_s in shelf.spans} == {HOUR_S + 300.0 * n for n in range(62)}


def test_what_waits_holds_no_cycle() -> None:
    """The columns of one are some times what is booked of it."""
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.error = HistoryError("away")
        told = []
        for at_s in minutes(2, 180):
            books.take(cycle := cycle_at(at_s))
            told.append(weakref.ref(cycle))
        del cycle
        books.wait()
        gc.collect()
        assert sum(each() is not None for each in told) <= 2


# --- restarts --------------------------------------------------------------------------------------------------------


def test_a_restart_goes_on_with_the_running_hour_machine_by_machine(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    for first, ids in ((0.0, ("a", "b")), (1200.0, ("c", "b")), (1500.0, ("b",))):
        books = Bookkeeper(lambda: History.open(path), UTC)
        for at_s in (first, first + 60.0, first + 120.0):
            books.take(cycle_at(at_s, *ids))
            books.wait()
        books.close()
    history = History.read_only(path)
    (account,) = history.accounts(Span.HOUR, HOUR_S, HOUR_S + 1.0)
    known_s = {price.start_s - HOUR_S: price.known_s for price in history.prices(HOUR_S, HOUR_S + 3600)}
    history.close()
    assert dict(zip(account.roster.ids, account.amount("reached_s").tolist(), strict=True)) == {
        "a": 120.0, "b": 360.0, "c": 120.0,
    }  # fmt: skip
    assert known_s == {0.0: 120.0, 1200.0: 120.0, 1500.0: 120.0}


def test_a_crash_loses_what_is_younger_than_five_minutes() -> None:
    shelf = Shelf()
    crashed = Bookkeeper(lambda: shelf, UTC)  # type: ignore[arg-type,return-value]
    take(crashed, *minutes(0, 9))
    assert shelf.reached_s() == {0.0: 480.0}
    with books_on(shelf) as books:
        take(books, *minutes(12, 14))
    assert shelf.reached_s() == {0.0: 600.0}
    crashed._clerk.close(10.0)


def test_machines_that_are_found_later_get_a_row() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        for at_s, ids in ((0.0, "a"), (60.0, "a"), (120.0, "ab"), (180.0, "abc"), (240.0, "abc"), (300.0, "abc")):
            books.take(cycle_at(at_s, *ids))
            books.wait()
    assert [shelf.reached_s(machine)[0.0] for machine in "abc"] == [300.0, 180.0, 120.0]


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_not_trusted_books_nothing() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0, 120.0)
        take(books, 180.0, trusted=False)
        take(books, 240.0, 300.0)  # the step into 240 began with a time that nobody knows
    assert shelf.reached_s() == {0.0: 180.0}


def test_the_end_is_written_under_a_clock_that_is_not_trusted_too() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0, 120.0, 180.0)
        take(books, 181.0, trusted=False)
    assert shelf.reached_s() == {0.0: 180.0}


def test_a_clock_that_is_set_back_books_no_instant_twice() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, *minutes(0, 50))
        take(books, 1800.0, trusted=False)
        take(books, *minutes(31, 70))
    assert shelf.reached_s() == {0.0: 3600.0, 1.0: 600.0}


def test_a_clock_that_is_set_back_to_another_hour_goes_on_with_that_hour() -> None:
    """It had gone two hours ahead: what was booked there is not taken for the truth when time gets there."""
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, *minutes(0, 20))
        take(books, 9000.0, trusted=False)
        take(books, *minutes(151, 160))
        take(books, 1260.0, trusted=False)
        take(books, *minutes(22, 130))
    # 0:00 to 0:20 and 0:22 to 1:00; what 2:31 to 2:40 held is there
    assert shelf.reached_s() == {0.0: 1200.0 + 38 * 60, 1.0: 3600.0, 2.0: 9 * 60.0}


def test_a_clock_comes_back_to_an_hour_that_could_not_be_written() -> None:
    shelf = Shelf()
    with books_on(shelf) as books:
        take(books, 0.0, 60.0)
        shelf.error = HistoryError("full")
        take(books, *minutes(2, 10))
        take(books, 9000.0, trusted=False)
        take(books, 9060.0)
        take(books, 660.0, trusted=False)
        take(books, *minutes(12, 20))
        shelf.error = None
    assert shelf.reached_s()[0.0] == 600.0 + 480.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([-7000.0, -130.0, -3.0, 0.0, 10.0, 60.0, 110.0, 130.0, 3500.0]), st.booleans()),
        max_size=30,
    )
)
def test_whatever_the_clock_does_no_hour_has_more_than_was_watched(steps: list[tuple[float, bool]]) -> None:
    shelf, at_s, watched = Shelf(), 50_000.0, np.zeros(100_000, bool)
    before_s: float | None = None
    with books_on(shelf) as books:
        for step_s, is_trusted in steps:
            at_s += step_s
            take(books, at_s, trusted=is_trusted)
            if is_trusted and before_s is not None:
                watched[int(before_s) : int(min(at_s, before_s + 120.0))] = True
            before_s = at_s if is_trusted else None
    for hour, reached_s in shelf.reached_s().items():
        start = int(hour) * 3600
        assert reached_s <= watched[start : start + 3600].sum()


# --- in the loop -----------------------------------------------------------------------------------------------------


def loop_with(books: Any, vitals: Vitals) -> Loop:
    table = Table(Site("north", (Machine("m0"),), tariff=FlatTariff(0.05)), (), 30.0)
    return Loop(table, Policy(), None, {}, vitals, booted_s=HOUR_S, settle_s=60.0, bookkeeper=books)


def page_of(vitals: Vitals) -> str:
    return b"".join(block for family in vitals.families() for block in render_family(family)).decode()


def test_the_loop_books_each_tick_with_its_judgement_of_the_clock() -> None:
    shelf, vitals = Shelf(), Vitals()
    with books_on(shelf) as books:
        loop = loop_with(books, vitals)
        for wall_s, monotonic_s in ((0.0, 0.0), (60.0, 60.0), (500.0, 120.0), (560.0, 180.0), (620.0, 240.0)):
            loop.tick(HOUR_S + wall_s, monotonic_s)
            books.wait()
        samples = dict(line.rsplit(" ", 1) for line in page_of(vitals).splitlines() if not line.startswith("#"))
    (account,) = shelf.hours.values()
    assert account.end_s == HOUR_S + 620.0
    assert {price.start_s - HOUR_S: price.known_s for price in shelf.spans.values()} == {
        0.0: 60.0,
        300.0: 40.0,
        600.0: 20.0,
    }
    assert float(samples["hashwatt_history_errors_total"]) == 0.0
    assert float(samples["hashwatt_history_written_timestamp_seconds"]) == HOUR_S + 60.0
    assert float(samples["hashwatt_history_size_bytes"]) == 4096.0


def test_books_that_fail_hold_up_no_tick(mocker: MockerFixture) -> None:
    vitals = Vitals()
    books = mocker.Mock(take=mocker.Mock(side_effect=IndexError))
    cycle = loop_with(books, vitals).tick(HOUR_S, 0.0)
    assert cycle.at_s == HOUR_S
    assert 'hashwatt_sink_errors_total{sink="history"} 1' in page_of(vitals)
