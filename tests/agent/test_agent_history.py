"""What a history is given comes back the same or not at all, and its files never pass their cap."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest
from history_farm import HOUR_S, MIDNIGHT_S, account_of, prices_of, roster_of

from agent.history import History, HistoryError, Limits
from fleet.account import ITEMS, Account, PriceSpan, Roster, Span
from fleet.localtime import zone_of

EVER = (0.0, 1e12)
UTC_ZONE = zone_of(UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hashwatt-history.db"


def same(one: Account, other: Account) -> bool:
    return (
        (one.span, one.start_s, one.end_s, one.roster) == (other.span, other.start_s, other.end_s, other.roster)
        and one.counts.dtype == other.counts.dtype
        and np.array_equal(one.counts, other.counts)
    )


def test_what_is_kept_is_there_after_a_restart(path: Path) -> None:
    roster = Roster(
        ("a", "b", "c"), ("S21", "", "☃"), ("r1", "r1", "\ud800"), ("", "", ""), ("f", "", ""), ("", "", "")
    )
    ends = np.array([[np.iinfo(np.int64).min] * len(ITEMS), [0] * len(ITEMS), [np.iinfo(np.int64).max] * len(ITEMS)])
    given = [Account(Span.HOUR, 3600.0 * i, 3600.0 * (i + 1), roster, ends // (1 + i)) for i in (2, 0, 1)]
    first = History.open(path)
    first.keep(given, [PriceSpan("btc_usd", 300.0, 300.0, 60_000.25, 1.0, 2.0), PriceSpan("a", 300.0, 1.0, 0.1, 0, 0)])
    first.close()
    second = History.open(path)
    hours = second.accounts(Span.HOUR, *EVER)
    assert [hour.start_s for hour in hours] == [0.0, 3600.0, 7200.0]
    assert all(same(hour, next(g for g in given if g.start_s == hour.start_s)) for hour in hours)
    assert [hour.start_s for hour in second.accounts(Span.HOUR, 3600.0, 7200.0)] == [3600.0]
    assert second.accounts(Span.DAY, *EVER) == ()
    assert second.prices(*EVER) == (
        PriceSpan("a", 300.0, 1.0, 0.1, 0.0, 0.0),
        PriceSpan("btc_usd", 300.0, 300.0, 60_000.25, 1.0, 2.0),
    )
    assert second.prices(301.0, 600.0) == ()
    assert second.lost == {}
    second.close()


def test_the_same_span_is_replaced_and_other_prices_of_its_five_minutes_stay(path: Path) -> None:
    history = History.open(path)
    first, second = account_of(roster_of(3), MIDNIGHT_S), account_of(roster_of(5), MIDNIGHT_S)
    history.keep([first], prices_of(MIDNIGHT_S))
    history.keep([second], [PriceSpan("btc_usd", MIDNIGHT_S, 10.0, 1.0, 1.0, 1.0)])
    (kept,) = history.accounts(Span.HOUR, *EVER)
    assert same(kept, second)
    assert history.prices(MIDNIGHT_S, MIDNIGHT_S + 1.0) == (
        PriceSpan("btc_usd", MIDNIGHT_S, 10.0, 1.0, 1.0, 1.0),
        PriceSpan("power_usd_kwh", MIDNIGHT_S, 300.0, 0.05, 0.05, 0.05),
    )
    assert len(history.prices(*EVER)) == 24
    history.close()


def test_counts_that_do_not_fit_their_roster_are_the_callers_fault(path: Path) -> None:
    history = History.open(path)
    account = account_of(roster_of(3), MIDNIGHT_S)
    with pytest.raises(ValueError, match="3 machines"):
        history.keep([account, replace(account, counts=account.counts[:2])])
    assert history.accounts(Span.HOUR, *EVER) == ()
    history.close()


def test_the_files_never_pass_their_cap_and_the_oldest_hours_leave_first(path: Path) -> None:
    """1,000 machines and 300 hours into 2 MiB, looked at after every commit."""
    cap = 2 << 20
    history, roster = History.open(path, limits=Limits(max_bytes=cap)), roster_of(1000)
    for i in range(300):
        start_s = MIDNIGHT_S + i * HOUR_S
        history.keep([account_of(roster, start_s)], prices_of(start_s))
        assert history.size_bytes() <= cap
        if i % 24 == 0:
            history.tidy(start_s, UTC_ZONE)
            assert history.size_bytes() <= cap
        assert sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if "shm" not in file.name) <= cap
    hours = history.accounts(Span.HOUR, *EVER)
    assert hours[-1].start_s == start_s
    assert 26 <= len(hours) < 100
    history.close()


def test_a_missing_folder_or_history_is_one_line(tmp_path: Path) -> None:
    for call in (History.open, History.read_only):
        with pytest.raises(HistoryError) as caught:
            call(tmp_path / "absent" / "history.db")
        assert "\n" not in str(caught.value)
