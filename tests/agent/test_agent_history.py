"""What a history is given comes back the same or not at all, and its files never pass their cap."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import resource
import sqlite3
import struct
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import sqlalchemy as sa
from history_farm import HOUR_S, MIDNIGHT_S, account_of, prices_of, roster_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent import history as history_module
from agent.history import History, HistoryError, Limits
from agent.journal import Journal
from agent.record import encode
from fleet.account import COLUMN, ITEMS, Account, Counts, PriceSpan, Roster, Span
from fleet.localtime import zone_of

EVER = (0.0, 1e12)
DAY_S = 24 * HOUR_S
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


# --- bytes on the disk -----------------------------------------------------------------------------------------------


def raw(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def test_the_bytes_say_what_the_page_says_they_do(path: Path) -> None:
    """Read by hand: mark, zlib, header as JSON, and byte b of item i of machine m at [i][b][m], the sign in bit 0."""
    account = account_of(roster_of(3), MIDNIGHT_S)
    account.counts[1, 4] = -5
    with closing(History.open(path)) as history:
        history.keep([account])
    ((content, seal, key, end_s),) = raw(path, "SELECT content, seal, roster, end_s FROM spans")
    assert content[:4] == b"HWR1"
    body = zlib.decompress(content[4:])
    size = int.from_bytes(body[:4], "little")
    header, planes = json.loads(body[4 : 4 + size]), body[4 + size :]
    assert header["items"] == [item.name for item in ITEMS]
    for machine in range(3):
        for item in range(len(ITEMS)):
            folded = int.from_bytes(bytes(planes[(item * 8 + b) * 3 + machine] for b in range(8)), "little")
            count = folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
            assert count == account.counts[machine, item]
    told = f"('hour', {MIDNIGHT_S}, {end_s}, '{key}', 0)".encode()
    assert seal == hashlib.sha256(told + b"\0" + content).hexdigest()[:32]


def test_a_machine_costs_less_than_a_hundred_bytes_a_row(path: Path) -> None:
    """Pages and names told; even if 12 of the items were noise of 50 bits, which no machine is."""
    roster, noise = roster_of(1000), np.random.default_rng(1)
    hours = hours_between(roster, MIDNIGHT_S, MIDNIGHT_S + DAY_S)
    worst = [replace(hour, counts=noise.integers(0, 2**50, hour.counts.shape)) for hour in hours]
    for hour in worst:
        hour.counts[:, 12:] = 0
    for accounts, limit in ((hours, 30), (worst, 100)):
        with closing(History.open(path)) as history:
            history.keep(accounts)
        assert path.stat().st_size / (24 * 1000) < limit
        path.unlink()


@given(
    arrays(np.int64, st.tuples(st.integers(0, 4), st.just(len(ITEMS))), elements=st.integers(-(2**63), 2**63 - 1)),
)
def test_any_counts_survive_their_bytes(counts: Counts) -> None:
    kept = history_module._Kept(tuple(item.name for item in ITEMS), history_module._planes(counts))
    np.testing.assert_array_equal(history_module._counts(kept, len(counts), ""), counts)


def rewritten(path: Path, items: tuple[str, ...]) -> Account:
    """An account as another version would have written it: these items, all counts 7."""
    account = account_of(roster_of(4), MIDNIGHT_S)
    planes = np.zeros((len(items), 8, 4), np.uint8)
    planes[:, 0] = 14
    with closing(History.open(path)) as history:
        history.keep([account])
        ((row, *_), rosters) = history.fetch(history.heads())
        history.take([replace(row, content=encode(history_module._Kept(items, planes))).sealed()], rosters)
    return account


def test_an_older_account_reads_as_no_seconds_of_what_it_did_not_know(path: Path) -> None:
    rewritten(path, ("energy_j", "covered_s"))
    with closing(History.read_only(path)) as history:
        (account,) = history.accounts(Span.HOUR, *EVER)
    expected = np.zeros((4, len(ITEMS)), np.int64)
    expected[:, [COLUMN["energy_j"], COLUMN["covered_s"]]] = 7
    np.testing.assert_array_equal(account.counts, expected)
    assert account.without == set(COLUMN) - {"energy_j", "covered_s"}
    with closing(History.open(path)) as history:  # and what is kept of it again lacks them still
        history.keep([account])
        assert history.accounts(Span.HOUR, *EVER)[0].without == account.without


def test_an_item_of_a_newer_version_is_one_line(path: Path) -> None:
    rewritten(path, ("energy_j", "happiness"))
    with (
        closing(History.read_only(path)) as history,
        pytest.raises(HistoryError, match=r"'happiness'.*newer") as caught,
    ):
        history.accounts(Span.HOUR, *EVER)
    assert "\n" not in str(caught.value)


def test_no_flipped_bit_changes_a_number(path: Path) -> None:
    """150 flips anywhere in a row, a roster or a slot of prices: what is read is right, or is missing and named."""
    roster, noise = roster_of(5), random.Random(5)
    hours = [account_of(roster, MIDNIGHT_S + i * HOUR_S) for i in range(2)]
    with closing(History.open(path)) as history:
        history.keep(hours, prices_of(MIDNIGHT_S)[:1])
        prices = history.prices(*EVER)
    sound, named = path.read_bytes(), 0
    for _ in range(150):
        table, column = noise.choice(
            [("spans", name) for name in ("start_s", "end_s", "roster", "parts", "seal", "content", "content")]
            + [("rosters", "key"), ("rosters", "content")]
        )
        value = noise.choice(raw(path, f"SELECT {column} FROM {table} WHERE {column} != ''"))[0]
        other = flipped(value, noise)
        raw(path, f"UPDATE {table} SET {column} = ? WHERE {column} = ?", other, value)
        with closing(History.read_only(path)) as history:
            read, spans = history.accounts(Span.HOUR, *EVER), history.prices(*EVER)
            assert all(any(same(account, hour) for hour in hours) for account in read)
            assert spans in (prices, ())
            # a start that leaves the range that is asked for takes its row along without a word
            has_left = column == "start_s" and not EVER[0] <= other < EVER[1]
            assert history.lost or has_left
            named += bool(history.lost)
        path.write_bytes(sound)
    assert named > 100


def test_a_roster_in_the_place_of_another_names_nobody(path: Path) -> None:
    """Whole and readable, but not the one that the hour was kept with: other machines' names beside these numbers."""
    with closing(History.open(path)) as history:
        history.keep([account_of(roster_of(3), MIDNIGHT_S)])
    raw(path, "UPDATE rosters SET content = ?", encode(roster_of(3, "Antminer S9")))
    with closing(History.read_only(path)) as history:
        assert history.accounts(Span.HOUR, *EVER) == ()
        assert list(history.lost) == ["hour of 2026-09-11 00:00 UTC"]


@pytest.mark.parametrize(
    ("column", "value"),
    [(name, value) for name in ("start_s", "end_s", "parts", "serial", "content", "seal") for value in ("x", b"x", 7)],
)
def test_a_cell_whose_type_is_damaged_costs_its_row_and_nothing_else(path: Path, column: str, value: object) -> None:
    """SQLite keeps the type with each cell, so a flipped bit makes a number of bytes and a text of a number."""
    roster = roster_of(3)
    hours = [account_of(roster, MIDNIGHT_S + i * HOUR_S) for i in range(26)]
    with closing(History.open(path)) as history:
        history.keep(hours)
        history.tidy(MIDNIGHT_S + 23 * HOUR_S, UTC_ZONE)
    raw(path, f"UPDATE spans SET {column} = ? WHERE start_s = ?", value, hours[3].start_s)
    with closing(History.open(path)) as history:
        read = history.accounts(Span.HOUR, *EVER)
        assert len(read) >= 25
        assert all(any(same(account, hour) for hour in hours) for account in read)
        history.keep([later := account_of(roster, MIDNIGHT_S + 26 * HOUR_S)])
        history.tidy(MIDNIGHT_S + 27 * HOUR_S, UTC_ZONE)
        assert len(history.accounts(Span.DAY, *EVER)) == 1
        assert len(history.heads()) >= 27
        assert same(history.accounts(Span.HOUR, later.start_s, later.end_s)[0], later)


def test_a_reader_never_takes_a_row_for_damaged_that_is_being_replaced(path: Path) -> None:
    """The running hour gets another roster, and the old one is let go, right behind the first question of a reader."""
    first, second = roster_of(3), roster_of(4)
    with closing(History.open(path)) as writer, closing(History.read_only(path)) as reader:
        writer.keep([account_of(first, MIDNIGHT_S)])
        is_asked: list[bool] = []

        def replace_it(*_: object) -> None:
            if not is_asked:
                is_asked.append(True)
                writer.keep([account_of(second, MIDNIGHT_S)])
                writer.let_go(MIDNIGHT_S, UTC_ZONE)

        sa.event.listen(sa.Engine, "after_cursor_execute", replace_it)
        try:
            assert len(reader.accounts(Span.HOUR, *EVER)) == 1
        finally:
            sa.event.remove(sa.Engine, "after_cursor_execute", replace_it)
        assert (is_asked, reader.lost) == ([True], {})
        assert [account.roster for account in reader.accounts(Span.HOUR, *EVER)] == [second]


def flipped(value: Any, noise: random.Random) -> Any:
    """The same with one bit changed, of the type that the column has."""
    if isinstance(value, int):
        return value ^ 1 << noise.randrange(16)
    packed = bytearray(
        struct.pack("<d", value) if isinstance(value, float) else value.encode() if isinstance(value, str) else value
    )
    bit = noise.randrange(8 * len(packed))
    packed[bit // 8] ^= 1 << bit % 8
    if isinstance(value, float):
        return struct.unpack("<d", packed)[0]
    return packed.decode("latin-1") if isinstance(value, str) else bytes(packed)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


# --- days of hours ---------------------------------------------------------------------------------------------------


def hours_between(roster: Roster, start_s: float, end_s: float) -> list[Account]:
    return [account_of(roster, start_s + i * HOUR_S) for i in range(round((end_s - start_s) / HOUR_S))]


@pytest.mark.parametrize(
    ("zone", "first", "last", "hours"),
    [
        ("Europe/Berlin", "2026-03-28T23:00", "2026-03-29T22:00", 23),
        ("Europe/Berlin", "2026-10-24T22:00", "2026-10-25T23:00", 25),
        ("America/Chicago", "2026-11-01T05:00", "2026-11-02T06:00", 25),
        ("Asia/Kolkata", "2026-06-09T18:30", "2026-06-10T18:30", 24),
    ],
)
def test_a_day_is_exactly_its_hours_also_when_the_clocks_change(
    path: Path, zone: str, first: str, last: str, hours: int
) -> None:
    start_s, end_s = (datetime.fromisoformat(f"{text}+00:00").timestamp() for text in (first, last))
    local, roster = zone_of(ZoneInfo(zone)), roster_of(3)
    given = hours_between(roster, start_s - HOUR_S, end_s + HOUR_S)  # and one of each neighbour
    history = History.open(path)
    history.keep(given)
    history.tidy(end_s - 1.0, local)
    assert [day.start_s for day in history.accounts(Span.DAY, start_s, end_s)] == [], "it has not ended"
    history.close()
    history = History.open(path)
    history.tidy(end_s, local)
    before, day = history.accounts(Span.DAY, *EVER)
    assert before.end_s == start_s
    assert (day.start_s, day.end_s) == (start_s, end_s)
    assert len(given[1:-1]) == hours
    np.testing.assert_array_equal(day.counts, sum(hour.counts for hour in given[1:-1]))
    heads = history.heads()
    history.tidy(end_s + 60.0, local)
    assert history.heads() == heads, "what is done is not done again"
    history.close()


def test_a_day_is_made_again_of_a_late_hour_but_never_of_fewer(path: Path) -> None:
    history, roster = History.open(path), roster_of(2)
    day = hours_between(roster, MIDNIGHT_S, MIDNIGHT_S + DAY_S)
    history.keep(day[:-1])
    history.tidy(MIDNIGHT_S + DAY_S, UTC_ZONE)
    history.keep(day[-1:])
    history.tidy(MIDNIGHT_S + DAY_S, UTC_ZONE)
    (whole,) = history.accounts(Span.DAY, *EVER)
    np.testing.assert_array_equal(whole.counts, sum(hour.counts for hour in day))
    history.close()
    history = History.open(path, limits=Limits(hourly_days=0))
    history.tidy(MIDNIGHT_S + DAY_S, UTC_ZONE)
    assert history.accounts(Span.HOUR, *EVER) == ()
    history.keep(day[3:4])  # a clock that went back
    history.tidy(MIDNIGHT_S + 2 * DAY_S, UTC_ZONE)
    assert same(history.accounts(Span.DAY, *EVER)[0], whole)
    history.close()


def test_another_time_zone_makes_its_days_where_the_hours_are_still_there(path: Path) -> None:
    history, roster = History.open(path, limits=Limits(hourly_days=2)), roster_of(2)
    history.keep(hours_between(roster, MIDNIGHT_S, MIDNIGHT_S + 6 * DAY_S))
    history.tidy(MIDNIGHT_S + 6 * DAY_S, UTC_ZONE)
    history.tidy(MIDNIGHT_S + 6 * DAY_S, zone_of(ZoneInfo("America/Chicago")))
    days = history.accounts(Span.DAY, *EVER)
    assert all(day.end_s <= after.start_s for day, after in pairwise(days)), "no second stands in two days"
    assert [(day.start_s - MIDNIGHT_S) / HOUR_S for day in days] == [0, 24, 48, 72, 101]
    history.close()


def test_what_is_older_than_its_days_goes_and_rosters_that_nobody_needs(path: Path) -> None:
    limits = Limits(hourly_days=3, daily_days=6, price_days=4)
    history = History.open(path, limits=limits)
    for day in range(10):
        start_s = MIDNIGHT_S + day * DAY_S
        hours = hours_between(roster_of(2, f"model {day}"), start_s, start_s + DAY_S)
        history.keep(hours, [price for hour in hours for price in prices_of(hour.start_s)])
        history.tidy(start_s + DAY_S, UTC_ZONE)
    hours, days = history.accounts(Span.HOUR, *EVER), history.accounts(Span.DAY, *EVER)
    first = [read[0].start_s for read in (hours, days, history.prices(*EVER))]
    end_s = MIDNIGHT_S + 10 * DAY_S
    assert first == [end_s - 3 * DAY_S, end_s - 6 * DAY_S, end_s - 4 * DAY_S]
    assert raw(path, "SELECT count(*) FROM rosters") == [(6,)]
    history.close()


def test_a_clock_that_is_wrong_for_once_empties_no_history(path: Path) -> None:
    history = History.open(path, limits=Limits(hourly_days=3, daily_days=6, price_days=4))
    history.keep(hours_between(roster_of(2), MIDNIGHT_S, MIDNIGHT_S + 2 * DAY_S), prices_of(MIDNIGHT_S))
    history.tidy(MIDNIGHT_S + 2 * DAY_S, UTC_ZONE)
    before = history.heads()
    history.keep([account_of(roster_of(2), MIDNIGHT_S + 30_000 * DAY_S)])
    history.tidy(MIDNIGHT_S + 30_000 * DAY_S, UTC_ZONE)
    assert history.heads()[: len(before)] == before
    history.close()


# --- the cap ---------------------------------------------------------------------------------------------------------


def disk_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if not file.name.endswith("-shm"))


def test_the_files_never_pass_their_cap_and_the_oldest_hours_leave_first(path: Path) -> None:
    """1,000 machines and 240 hours into 3 MiB, looked at after every commit."""
    cap = 3 << 20
    history, roster = History.open(path, limits=Limits(max_bytes=cap)), roster_of(1000)
    for i in range(240):
        start_s = MIDNIGHT_S + i * HOUR_S
        history.keep([account_of(roster, start_s)], prices_of(start_s))
        assert history.size_bytes() == disk_bytes(path) <= cap
        history.tidy(start_s, UTC_ZONE)
        assert disk_bytes(path) <= cap
    hours = history.accounts(Span.HOUR, *EVER)
    assert hours[-1].start_s == start_s
    assert 26 <= len(hours) < 60
    assert len(history.accounts(Span.DAY, *EVER)) == 9
    assert len(history.prices(*EVER)) == 240 * 24
    history.close()


def test_prices_leave_after_the_hours_then_days_and_the_newest_stays(path: Path) -> None:
    """4,000 machines: not even two days of hours fit."""
    cap = 2 << 20
    history, roster = History.open(path, limits=Limits(max_bytes=cap)), roster_of(4000)
    for i in range(24 * 5):
        start_s = MIDNIGHT_S + i * HOUR_S
        history.keep([account_of(roster, start_s)], prices_of(start_s))
        if i % 24 == 0:
            history.tidy(start_s, UTC_ZONE)
        assert disk_bytes(path) <= cap
    assert history.accounts(Span.HOUR, *EVER)[-1].start_s == start_s
    assert min(price.start_s for price in history.prices(*EVER)) >= start_s - DAY_S - HOUR_S
    history.close()


def test_what_can_never_fit_is_an_error_and_the_rest_stays(path: Path) -> None:
    history = History.open(path, limits=Limits(max_bytes=1 << 20))
    history.keep([account_of(roster_of(100), MIDNIGHT_S)])
    with pytest.raises(HistoryError, match="max_mib is too small"):
        history.keep([account_of(roster_of(20_000), MIDNIGHT_S + HOUR_S)])
    assert [hour.start_s for hour in history.accounts(Span.HOUR, *EVER)] == [MIDNIGHT_S]
    assert disk_bytes(path) <= 1 << 20
    history.close()


def test_a_lower_cap_holds_from_the_start(path: Path) -> None:
    roster = roster_of(1000)
    with closing(History.open(path)) as history:
        history.keep(hours_between(roster, MIDNIGHT_S, MIDNIGHT_S + 8 * DAY_S))
    assert disk_bytes(path) > 3 << 20
    with closing(History.open(path, limits=Limits(max_bytes=2 << 20))) as history:
        assert disk_bytes(path) <= 2 << 20
        kept = history.accounts(Span.HOUR, *EVER)
    assert kept[-1].start_s == MIDNIGHT_S + 8 * DAY_S - HOUR_S
    assert len(kept) > 26


def kept_until_it_fails(history: History, roster: Roster, match: str) -> int:
    """How many hours are kept; the first was before."""
    for i in range(1, 100):
        try:
            history.keep([account_of(roster, MIDNIGHT_S + i * HOUR_S)])
        except HistoryError as error:
            said = str(error)
            break
    assert re.fullmatch(rf"[^\n]*{match}[^\n]*", said)
    assert "INSERT" not in said
    return i


def test_a_reader_that_does_not_end_makes_an_error_and_no_larger_file(path: Path) -> None:
    cap = 2 << 20
    history, roster = History.open(path, limits=Limits(max_bytes=cap)), roster_of(1000)
    history.keep([account_of(roster, MIDNIGHT_S)])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM spans").fetchall()
        kept = kept_until_it_fails(history, roster, match="reading it for too long")
        assert disk_bytes(path) <= cap
    history.keep([account_of(roster, MIDNIGHT_S + kept * HOUR_S)])
    assert len(history.accounts(Span.HOUR, *EVER)) == kept + 1
    history.close()


def test_a_full_disk_is_an_error_and_heals_when_there_is_room(path: Path) -> None:
    history, roster = History.open(path), roster_of(1000)
    history.keep([account_of(roster, MIDNIGHT_S)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))  # to a program it looks as a disk without room
    try:
        kept = kept_until_it_fails(history, roster, match="history .*: (disk I/O error|database or disk is full)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(history.accounts(Span.HOUR, *EVER)) == kept
    history.keep([account_of(roster, MIDNIGHT_S + kept * HOUR_S)])
    history.close()
    with closing(History.open(path)) as history:
        assert history.moved_aside is None
        assert len(history.accounts(Span.HOUR, *EVER)) == kept + 1


# --- files and other processes ---------------------------------------------------------------------------------------

WRITER = """
import sys
from agent.history import History
from fleet.account import Span
from history_farm import HOUR_S, account_of, roster_of
history, roster = History.open(sys.argv[1]), roster_of(50)
number = len(history.accounts(Span.HOUR, 0.0, 1e12))
while True:
    history.keep([account_of(roster, number * HOUR_S)])
    number += 1
    print(number, flush=True)
"""


def test_each_commit_is_on_the_disk_before_a_call_returns(path: Path) -> None:
    """A kill cannot tell, only a power cut: SQLite's own word for it, synchronous = FULL, is 2."""
    asked: list[int] = []

    def ask(connection: sa.Connection, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO spans"):
            cursor.execute("PRAGMA synchronous")
            asked.append(cursor.fetchone()[0])

    sa.event.listen(sa.Engine, "after_cursor_execute", ask)
    try:
        with closing(History.open(path)) as history:
            history.keep([account_of(roster_of(1), MIDNIGHT_S)])
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", ask)
    assert asked == [2]


def test_kills_lose_nothing_that_was_acknowledged(path: Path) -> None:
    tests = Path(__file__).parent
    chance, kept = random.Random(7), 0
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE, env={"PYTHONPATH": f"{tests.parents[1]}:{tests}"},
        )  # fmt: skip
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(chance.randrange(1, 20))]
        writer.kill()
        told += writer.stdout.read().splitlines()
        writer.wait()
        assert int(told[0]) in (kept + 1, kept + 2), "an hour was lost or invented"
        kept = int(told[-1])
    with closing(History.open(path)) as history:
        assert history.moved_aside is None
        hours = history.accounts(Span.HOUR, *EVER)
    assert len(hours) in (kept, kept + 1)
    assert all(same(hour, account_of(roster_of(50), i * HOUR_S)) for i, hour in enumerate(hours))


def test_a_second_agent_is_refused_and_a_reader_is_not(path: Path) -> None:
    first = History.open(path)
    with pytest.raises(HistoryError, match="another agent"):
        History.open(path)
    first.keep([account_of(roster_of(3), MIDNIGHT_S)])
    with closing(History.read_only(path)) as reader:
        assert len(reader.accounts(Span.HOUR, *EVER)) == 1
        first.keep([account_of(roster_of(3), MIDNIGHT_S + HOUR_S)])
        assert len(reader.accounts(Span.HOUR, *EVER)) == 2
        with pytest.raises(HistoryError):
            reader.keep([account_of(roster_of(3), MIDNIGHT_S)])
    first.close()


def test_who_may_only_read_the_folder_reads_what_an_agent_left(path: Path) -> None:
    with closing(History.open(path)) as history:
        history.keep([account := account_of(roster_of(2), MIDNIGHT_S)])
    path.parent.chmod(0o555)
    try:
        if os.access(path.parent, os.W_OK):
            pytest.skip("root may write everywhere")
        with closing(History.read_only(path)) as history:
            assert same(history.accounts(Span.HOUR, *EVER)[0], account)
    finally:
        path.parent.chmod(0o755)


def test_a_damaged_file_is_moved_aside_and_a_reader_only_says_so(path: Path) -> None:
    path.write_bytes(b"anything but a database" * 1000)
    with closing(History.read_only(path)) as reader, pytest.raises(HistoryError, match="not a database"):
        reader.accounts(Span.HOUR, *EVER)
    with closing(History.open(path)) as history:
        assert history.moved_aside == path.with_name(f"{path.name}.corrupt-1")
        assert history.accounts(Span.HOUR, *EVER) == ()


def test_a_journal_is_no_history(path: Path) -> None:
    Journal.open(path).close()
    with pytest.raises(HistoryError, match="another program"):
        History.open(path)


def test_a_missing_folder_or_history_is_one_line(tmp_path: Path) -> None:
    for call in (History.open, History.read_only):
        with pytest.raises(HistoryError) as caught:
            call(tmp_path / "absent" / "history.db")
        assert "\n" not in str(caught.value)
