"""A second home on a real PostgreSQL: it gets everything once, costs the first nothing, and shows no password."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest
from history_farm import HOUR_S, MIDNIGHT_S, account_of, prices_of, roster_of
from live_postgres import PASSWORD, Postgres

from agent import history, history_mirror
from agent.history import Head, History, HistoryError, Limits, Row
from agent.history_mirror import Mirror
from fleet.account import PriceSpan, Span
from fleet.localtime import zone_of

pytestmark = pytest.mark.peer("postgres")

EVER = (0.0, 1e12)
ZONE = zone_of(UTC)
DAY_S = 24 * HOUR_S


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Postgres(port)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def url(postgres: Postgres, request: pytest.FixtureRequest) -> str:
    """An empty database for each test."""
    name = f"t{abs(hash(request.node.name)):x}"
    postgres.execute("postgres", f"CREATE DATABASE {name}")
    return postgres.url(name)


@dataclass
class Clock:
    now_s: float = MIDNIGHT_S + 2 * DAY_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hashwatt-history.db"


def fill(path: Path, hours: int, first: int = 0, machines: int = 20, tidy_s: float | None = None) -> None:
    with closing(History.open(path)) as opened:
        roster = roster_of(machines)
        starts = [MIDNIGHT_S + hour * HOUR_S for hour in range(first, first + hours)]
        opened.keep(
            [account_of(roster, start_s) for start_s in starts], [p for start_s in starts for p in prices_of(start_s)]
        )
        if tidy_s is not None:
            opened.tidy(tidy_s, ZONE)


def mirror_of(path: Path, url: str, clock: Callable[[], float], limits: Limits | None = None) -> Mirror:
    return Mirror(path, url, limits or Limits(), ZONE, now=clock)


def copy_once(mirror: Mirror) -> None:
    mirror.copy()
    mirror.leave()


def sealed(where: Path | str) -> dict[tuple[str, float], str]:
    with closing(History.read_only(where)) as opened:
        heads = opened.heads()
        assert len({head.key for head in heads}) == len(heads)
        assert not opened.lost
        return {head.key: head.seal for head in heads}


def assert_one_line_without_password(error: BaseException | str) -> None:
    assert "\n" not in str(error)
    for secret in (PASSWORD, "correct%20horse", "wrong"):
        assert secret not in str(error)


def test_a_server_keeps_what_a_file_keeps(url: str) -> None:
    roster = roster_of(30)
    hours = [account_of(roster, MIDNIGHT_S + i * HOUR_S) for i in range(24)]
    with closing(History.open(url)) as opened:
        opened.keep([account_of(roster_of(7), MIDNIGHT_S)])  # replaced
        opened.keep(hours, prices_of(MIDNIGHT_S))
        opened.keep([], [PriceSpan("btc_usd", MIDNIGHT_S, 1.0, 1.0, 1.0, 1.0)])
        opened.tidy(MIDNIGHT_S + DAY_S, ZONE)
        assert opened.size_bytes() > 0
    with closing(History.read_only(url)) as opened:
        kept, (day,) = opened.accounts(Span.HOUR, *EVER), opened.accounts(Span.DAY, *EVER)
        assert all(
            np.array_equal(a.counts, b.counts) and a.roster == b.roster for a, b in zip(kept, hours, strict=True)
        )
        assert (day.start_s, day.end_s) == (MIDNIGHT_S, MIDNIGHT_S + DAY_S)
        np.testing.assert_array_equal(day.counts, sum(hour.counts for hour in hours))
        prices = opened.prices(*EVER)
        assert (len(prices), prices[0].mean, prices[1].mean) == (24, 1.0, 0.05)
        for write in (lambda: opened.keep(hours), lambda: opened.tidy(MIDNIGHT_S + DAY_S, ZONE)):
            with pytest.raises(HistoryError):
                write()
        assert len(opened.accounts(Span.HOUR, *EVER)) == 24


def test_only_what_has_ended_is_copied_and_only_once(path: Path, url: str, clock: Clock) -> None:
    fill(path, 30, tidy_s=MIDNIGHT_S + 30 * HOUR_S)
    clock.now_s = MIDNIGHT_S + 29.5 * HOUR_S
    mirror = mirror_of(path, url, clock)
    mirror.copy()
    there, here = sealed(url), sealed(path)
    assert here.keys() - there.keys() == {("hour", MIDNIGHT_S + 29 * HOUR_S)} | {
        ("price", MIDNIGHT_S + 29 * HOUR_S + 300.0 * i) for i in range(6, 12)
    }
    assert there.items() <= here.items()
    assert (mirror.is_well, mirror.rows_behind) == (True, 0)
    clock.now_s += HOUR_S
    with closing(History.open(path)) as opened:
        opened.keep([account_of(roster_of(21), MIDNIGHT_S + 29 * HOUR_S)])  # the last word about a running hour
    mirror.copy()
    assert sealed(url) == sealed(path)
    mirror.leave()


@pytest.mark.parametrize("moment", ["between two batches", "within one"])
def test_a_server_killed_in_the_middle_gets_the_rest_once(
    moment: str, path: Path, url: str, clock: Clock, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, 30, tidy_s=MIDNIGHT_S + 30 * HOUR_S)
    monkeypatch.setattr(history_mirror, "BATCH_ROWS", 50)
    take, columns, batches = History.take, history._columns, 0

    def interrupted(server: History, rows: Sequence[Row], rosters: dict[str, bytes]) -> None:
        nonlocal batches
        batches += 1
        if batches == 3 and moment == "between two batches":
            postgres.kill()
        take(server, rows, rosters)

    def deadly(row: Row, serial: int) -> dict[str, object]:
        """What the rows replace has been deleted, and they are about to be inserted."""
        if batches == 3 and moment == "within one":
            postgres.kill()
        return columns(row, serial)

    monkeypatch.setattr(history, "_columns", deadly)
    monkeypatch.setattr(History, "take", interrupted)
    mirror = mirror_of(path, url, clock)
    with pytest.raises(HistoryError) as caught:
        mirror.copy()
    assert_one_line_without_password(caught.value)
    mirror.failed(caught.value)
    assert not mirror.is_well
    with pytest.raises(HistoryError) as caught:
        mirror.copy()
    assert_one_line_without_password(caught.value)
    fill(path, 1, first=30)  # the file goes on
    clock.now_s = MIDNIGHT_S + 40 * HOUR_S
    postgres.start()
    assert len(sealed(url)) == 100, "two batches were kept, and nothing of the third"
    batches = 4
    mirror.copy()
    assert sealed(url) == sealed(path)
    assert mirror.rows_behind == 0
    mirror.leave()


def test_a_server_that_forgot_gets_it_again(path: Path, url: str, clock: Clock, postgres: Postgres) -> None:
    fill(path, 26, tidy_s=MIDNIGHT_S + 26 * HOUR_S)
    copy_once(mirror_of(path, url, clock))
    database = url.rpartition("/")[2]
    postgres.execute(database, "DELETE FROM spans WHERE span = 'hour' AND start_s > 0", "DELETE FROM rosters")
    postgres.execute(database, "UPDATE spans SET seal = 'otherwise' WHERE span = 'day'")
    copy_once(mirror_of(path, url, clock))
    assert sealed(url) == sealed(path)
    with closing(History.read_only(url)) as opened:
        assert len(opened.accounts(Span.HOUR, *EVER)) == 26
        assert not opened.lost


def test_a_file_that_begins_anew_goes_on_in_the_same_server(path: Path, url: str, clock: Clock) -> None:
    fill(path, 5)
    mirror = mirror_of(path, url, clock)
    mirror.copy()
    before = sealed(url)
    path.unlink()
    fill(path, 2, first=5)
    mirror.copy()
    assert sealed(url) == before | sealed(path)
    mirror.leave()


def test_a_server_keeps_to_its_days_and_to_its_cap(path: Path, url: str, clock: Clock) -> None:
    limits = Limits(hourly_days=3, daily_days=5, price_days=2, max_bytes=2 << 20)
    mirror = mirror_of(path, url, clock, limits)
    for day in range(12):
        fill(path, 24, first=24 * day, machines=400, tidy_s=MIDNIGHT_S + (day + 1) * DAY_S)
        clock.now_s = MIDNIGHT_S + (day + 1) * DAY_S
        mirror.copy()
        with closing(History.read_only(url)) as opened:
            assert opened.size_bytes() <= limits.max_bytes
    starts = {span: min(at_s for kind, at_s in sealed(url) if kind == span) for span in ("hour", "day", "price")}
    last_day_s = MIDNIGHT_S + 11 * DAY_S  # of the newest row: a server does not go by our clock
    assert last_day_s - 3 * DAY_S <= starts["hour"] < last_day_s
    assert (starts["day"], starts["price"]) == (last_day_s - 5 * DAY_S, last_day_s - 2 * DAY_S)
    mirror.leave()


def test_a_full_server_lets_the_oldest_go_and_does_not_ask_for_them_again(
    path: Path, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(max_bytes=2 << 20)
    fill(path, 24 * 6, machines=1000, tidy_s=MIDNIGHT_S + 6 * DAY_S)
    clock.now_s = MIDNIGHT_S + 6 * DAY_S
    monkeypatch.setattr(history_mirror, "BATCH_ROWS", 50)
    sizes, take = [], History.take

    def weighed(history: History, rows: Sequence[Row], rosters: dict[str, bytes]) -> None:
        take(history, rows, rosters)
        sizes.append(history.size_bytes())

    monkeypatch.setattr(History, "take", weighed)
    copy_once(mirror_of(path, url, clock, limits))
    assert max(sizes) <= limits.max_bytes
    there = sealed(url)
    assert max(at_s for kind, at_s in there if kind == "hour") == MIDNIGHT_S + 6 * DAY_S - HOUR_S
    sizes.clear()
    copy_once(mirror_of(path, url, clock, limits))
    assert sizes == []
    assert sealed(url) == there


def test_one_agent_writes_and_anybody_reads(url: str) -> None:
    with closing(History.open(url)) as first:
        with pytest.raises(HistoryError, match="another agent"):
            History.open(url)
        first.keep([account_of(roster_of(3), MIDNIGHT_S)])
        with closing(History.read_only(url)) as reader:
            assert len(reader.accounts(Span.HOUR, *EVER)) == 1
    History.open(url).close()


@pytest.mark.parametrize("call", [History.open, History.read_only])
def test_what_cannot_be_reached_is_one_line_without_a_password(
    call: Callable[[str], History], postgres: Postgres, url: str, free_port: int
) -> None:
    History.open(url).close()
    for wrong, words in (
        (url.replace("correct%20horse", "wrong"), "password authentication failed"),
        (url.replace(str(postgres.port), str(free_port)), "refused"),
        (url + "x", "does not exist"),
        (postgres.url("correct%20horse"), r"\"\*\*\*\" does not exist"),
        ("postgresql://u:correct%20horse@127.0.0.1:port/x", "no URL"),
        (url + "?sslmode=verify-full", "SSL"),
    ):
        with pytest.raises(HistoryError, match=words) as caught:
            call(wrong)
        assert_one_line_without_password(caught.value)


def test_a_server_that_takes_the_call_and_is_silent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.postgres.CONNECT_S", 2)  # the least that libpq knows
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(HistoryError, match="timeout") as caught:
        History.open(f"postgresql://u:correct%20horse@127.0.0.1:{silent.getsockname()[1]}/x")
    assert_one_line_without_password(caught.value)


def test_tables_of_others_and_of_newer_versions_are_left_alone(url: str, postgres: Postgres) -> None:
    database = url.rpartition("/")[2]
    with pytest.raises(HistoryError, match="no tables yet"):
        History.read_only(url)
    postgres.execute(database, "CREATE TABLE rosters (bread text)")
    with pytest.raises(HistoryError, match="another program"):
        History.open(url)
    postgres.execute(database, "DROP TABLE rosters")
    History.open(url).close()
    postgres.execute(database, "COMMENT ON TABLE rosters IS 'hashwatt history 9'")
    with pytest.raises(HistoryError, match="schema 9, this program knows 1"):
        History.open(url)


def test_the_thread_finds_a_server_that_comes_back(
    path: Path, url: str, clock: Clock, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, 3)
    postgres.kill()
    caplog.set_level(logging.DEBUG)
    mirror = Mirror(path, url, Limits(), ZONE, now=clock, every_s=0.01)
    mirror.start()
    wait_for(lambda: any("keeps what the server has not" in line for line in caplog.messages))
    fill(path, 1, first=3)
    postgres.start()
    wait_for(lambda: mirror.is_well and mirror.rows_behind == 0)
    mirror.stop()
    assert sealed(url) == sealed(path)
    assert_one_line_without_password(caplog.text.replace("\n", " "))


def test_batches_are_bounded_and_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = [Head("hour", float(i), i + 1.0, 0, i, "", size) for i, size in enumerate((3, 3, 3, 9, 99, 1, 1))]
    monkeypatch.setattr(history_mirror, "BATCH_BYTES", 10)
    monkeypatch.setattr(history_mirror, "BATCH_ROWS", 3)
    sizes = [[head.size for head in batch] for batch in history_mirror._batches(heads)]
    assert sizes == [[3, 3, 3], [9], [99], [1, 1]]


def wait_for(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)
