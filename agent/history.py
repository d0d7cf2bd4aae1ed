"""What every machine used, did and earned, hour by hour and day by day, and the prices behind it: kept for years in a
file that never passes its cap.

One row per span of time, for all machines of it. The counts of an account are whole numbers whose upper bytes are
mostly the same, so they are written item by item and byte by byte (all lowest bytes, then all second ones, ...), which
deflate then makes small. Who the machines are is written once and found by its own checksum. Each row is sealed with a
checksum over all of it: what was damaged is left out and named in `lost`, never read as another number. Items are known
by name: an account of an older version reads as zero seconds of what it did not know.

The file stands beside the journal and apart from it: a history that is damaged or full never holds an advice back. A
row that would not fit makes the oldest leave first, hours before prices before days. Every failure is a `HistoryError`
in one line, and nothing of that call is then kept.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from agent.postgres import Server
from agent.record import RecordError, decode, encode
from agent.sqlitefile import BUSY_S, PAGE_BYTES, Form, SqliteFile
from fleet.account import COLUMN, ITEMS, PRICE_SPAN_S, Account, Counts, PriceSpan, Roster, Span, total
from fleet.localtime import Zone, local_times, start_of_day_s
from fleet.units import SECONDS_PER_DAY

SCHEMA = 1
APPLICATION = 0x4857_0100

CHUNK = 64  # rows deleted in one commit, so that no commit becomes long
LOG_BYTES = 4 << 20  # of a log that is left for later
ROW_BYTES = 512  # of a row beside its content
MOST_SERIAL, LATEST_S = 1 << 62, 1e11  # what is larger, and every text, is damage
HOUR_S = 3600.0
UNROLLED_S = 26 * HOUR_S  # hours that may not stand in a day yet: what is left of the longest day and the hour after it

_PRICE = "price"

_tables = sa.MetaData()
_spans = sa.Table(
    "spans",
    _tables,
    sa.Column("span", sa.Text, primary_key=True),  # hour, day, price
    sa.Column("start_s", sa.Double, primary_key=True),
    sa.Column("end_s", sa.Double, nullable=False),
    sa.Column("roster", sa.Text, nullable=False),  # key of rosters; empty for prices
    sa.Column("parts", sa.Integer, nullable=False),  # hours that a day was made of
    sa.Column("serial", sa.BigInteger, nullable=False, index=True),  # grows with every write
    sa.Column("seal", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,  # old hours lie beside each other, so that their pages become free as a whole
)
_rosters = sa.Table(
    "rosters",
    _tables,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)


class HistoryError(Exception):
    """The history cannot be opened, read or written; the message is one line for the operator."""


_FORM = Form("history", _tables, APPLICATION, SCHEMA, HistoryError, can_shrink=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what is kept, and the size that is never passed (a file: with the log beside it)."""

    hourly_days: int = 40
    daily_days: int = 1100
    price_days: int = 400
    max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Row:
    """A span as it is kept. `seal` covers everything else, so a row can be copied without being understood."""

    span: str
    start_s: float
    end_s: float
    roster: str
    parts: int
    content: bytes
    seal: str = ""

    @property
    def name(self) -> str:
        """For the operator."""
        return f"{self.span} of {datetime.fromtimestamp(self.start_s, UTC):%Y-%m-%d %H:%M} UTC"

    def sealed(self) -> Row:
        told = repr((self.span, float(self.start_s), float(self.end_s), self.roster, self.parts)).encode()
        return replace(self, seal=hashlib.sha256(told + b"\0" + self.content).hexdigest()[:32])

    def is_sound(self) -> bool:
        try:
            return self.sealed().seal == self.seal
        except (TypeError, ValueError):  # SQLite gives another type where that of a cell is damaged
            return False


@dataclass(frozen=True, slots=True)
class Head:
    """A row without its content: enough to tell whether another home has the same."""

    span: str
    start_s: float
    end_s: float
    parts: int
    serial: int
    seal: str
    size: int  # bytes of its content

    @property
    def key(self) -> tuple[str, float]:
        return self.span, self.start_s

    def is_whole(self) -> bool:
        """SQLite gives another type where that of a cell is damaged."""
        counts, instants = (self.parts, self.serial, self.size), (self.start_s, self.end_s)
        return all(isinstance(value, int) for value in counts) and all(
            isinstance(value, float) and abs(value) <= LATEST_S for value in instants
        )


@dataclass(frozen=True, eq=False)
class _Kept:
    """Content of an account: `planes[i, b, m]` is byte b (lowest first) of item i of machine m."""

    items: tuple[str, ...]
    planes: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Slot:
    """Content of five minutes of prices."""

    prices: tuple[PriceSpan, ...]


class Home(Protocol):
    """Where the rows live: a file, or a server.

    `room_bytes`: how much more content may be written before something has to leave, and `stride_bytes` how much leaves
    at least. `admit` refuses what can never be written at once, `settle` ends a write, `reclaim` makes room of holes.
    """

    stride_bytes: int

    def transaction(self) -> AbstractContextManager[sa.Connection]: ...
    def room_bytes(self) -> int: ...
    def admit(self, content_bytes: int) -> None: ...
    def settle(self) -> None: ...
    def reclaim(self) -> None: ...
    def size_bytes(self) -> int: ...
    def close(self) -> None: ...


class History:
    """The open history of one site. Calls from several threads take turns; a call blocks for one transaction."""

    def __init__(self, home: Home, limits: Limits, where: str, moved_aside: Path | None = None) -> None:
        self.where = where
        self.moved_aside = moved_aside
        self.lost: dict[str, None] = {}  # what is kept but cannot be read, in words, in the order in which it was met
        self._home = home
        self._limits = limits
        self._serial = 0
        self._named: tuple[Roster | None, str, bytes] = (None, "", b"")  # the roster last written, its key and content

    @classmethod
    def open(cls, where: Path | str, *, limits: Limits | None = None) -> History:
        """Open or create the history at `where`, a path or a URL of PostgreSQL, for the one agent that writes it.

        Errors: HistoryError: folder missing or not writable, another agent, a newer version, a full disk, a server that
        is away. Damage is no error: the file is moved aside, as `moved_aside` says.
        """
        limits = limits or Limits()
        if _is_url(where):
            history = cls(server := Server.open(str(where), _FORM, limits.max_bytes), limits, server.name)
        else:
            wal_bytes = limits.max_bytes // 4
            file = SqliteFile.open(Path(where), _FORM, ("FULL",), limits.max_bytes - wal_bytes, wal_bytes)
            home = _FileHome(file, limits.max_bytes - wal_bytes, wal_bytes)
            history = cls(home, limits, str(where), file.moved_aside)
        try:
            history._take_over()
        except BaseException:
            history.close()
            raise
        return history

    @classmethod
    def read_only(cls, where: Path | str) -> History:
        """For a command beside a running agent: locks and changes nothing. Errors: HistoryError, also where there is
        no history yet."""
        if _is_url(where):
            server = Server.read_only(str(where), _FORM)
            return cls(server, Limits(), server.name)
        if not Path(where).exists():
            raise HistoryError(f"there is no history at {where} yet")
        return cls(_FileHome(SqliteFile.read_only(Path(where), _FORM), 0, 0), Limits(), str(where))

    def keep(self, accounts: Sequence[Account], prices: Sequence[PriceSpan] = ()) -> None:
        """Keep all of it or nothing, in the place of what was kept of the same (span, start_s) or (name, start_s).

        Errors: HistoryError, also for what would not fit although everything older left; ValueError for an account
        whose counts do not fit its roster.
        """
        rosters: dict[str, bytes] = {}
        rows = [self._row_of(account, 0, rosters) for account in accounts]
        self._put([*rows, *self._slots(prices)], rosters)

    def accounts(self, span: Span, from_s: float, until_s: float) -> tuple[Account, ...]:
        """Those with from_s <= start_s < until_s, ascending; one that cannot be read is left out and named in `lost`.

        Errors: HistoryError, also for items that only a newer version knows.
        """
        return tuple(self._read_accounts(span, from_s, until_s))

    def prices(self, from_s: float, until_s: float) -> tuple[PriceSpan, ...]:
        """Those with from_s <= start_s < until_s, ascending by time, then by name; unreadable ones as in `accounts`."""
        slots = [self._prices_of(row) for row in self._rows(_PRICE, from_s, until_s)]
        return tuple(price for slot in slots for price in sorted(slot, key=lambda price: price.name))

    def tidy(self, now_s: float, zone: Zone) -> None:
        """Make finished local days of their hours, then `let_go`. Idempotent. Errors: HistoryError.

        A day is made again when one of its hours was kept since, but never of fewer hours than before. A day of another
        time zone makes place if all its hours are still there.
        """
        self._roll_up(now_s, zone)
        self.let_go(now_s, zone)

    def let_go(self, now_s: float, zone: Zone) -> None:
        """Drop what is above the cap, and what is older than its days and more than they hold: a clock that is wrong
        for once empties no history. Errors: HistoryError.
        """
        today = int(local_times(zone, np.array([now_s])).day[0])
        limits = self._limits
        for span, days, rows_a_day in (
            (Span.HOUR, limits.hourly_days, SECONDS_PER_DAY / HOUR_S),
            (Span.DAY, limits.daily_days, 1),
            (_PRICE, limits.price_days, SECONDS_PER_DAY / PRICE_SPAN_S),
        ):
            too_many = self._count(span) - round(days * rows_a_day)
            old = (_spans.c.span == span, _spans.c.start_s < start_of_day_s(zone, today - days))
            while too_many > 0 and self._drop(*old, rows=min(too_many, CHUNK)):
                too_many -= CHUNK
        self._make_room(0)
        self._drop_rosters()

    def size_bytes(self) -> int:
        """What it takes of the disk: the file and the log beside it, or the tables of the server."""
        return self._home.size_bytes()

    def close(self) -> None:
        self._home.close()

    # -- whole rows, for another home of the same history

    def heads(self, after: int = 0) -> list[Head]:
        """The rows that were written since the one with the serial `after`, ascending by time. Errors: HistoryError."""
        return self._heads(_spans.c.serial > after)

    def fetch(self, heads: Iterable[Head]) -> tuple[list[Row], dict[str, bytes]]:
        """Those rows as they are by now, with the rosters that they refer to; what has gone is missing."""
        columns = [_spans.c[name] for name in Row.__dataclass_fields__]
        with self._home.transaction() as connection:
            found = (connection.execute(sa.select(*columns).where(*_is(*head.key))).first() for head in heads)
            rows = [Row(*row) for row in found if row is not None]
            used = sa.select(_rosters.c.key, _rosters.c.content).where(_rosters.c.key.in_({row.roster for row in rows}))
            return rows, {row.key: row.content for row in connection.execute(used)}

    def take(self, rows: Sequence[Row], rosters: Mapping[str, bytes]) -> None:
        """Keep rows of another home, as `keep` keeps accounts. Errors: HistoryError."""
        self._put(rows, rosters)

    # -- rows in and out

    def _take_over(self) -> None:
        """Go on where the last run ended; a smaller cap than before holds at once."""
        highest = sa.select(sa.func.max(_spans.c.serial)).where(_spans.c.serial <= MOST_SERIAL)
        with self._home.transaction() as connection:
            written = connection.execute(highest).scalar() or 0
        self._serial = max(written, time.time_ns() // 1000)  # grows on, should a new file stand in the place of this
        self._make_room(0)

    def _row_of(self, account: Account, parts: int, rosters: dict[str, bytes]) -> Row:
        counts = np.asarray(account.counts, np.int64)
        if counts.shape != (len(account.roster.ids), len(ITEMS)):
            raise ValueError(f"counts of shape {counts.shape} for {len(account.roster.ids)} machines")
        if self._named[0] is not account.roster:
            self._named = (account.roster, _key_of(account.roster), encode(account.roster))
        _, key, content = self._named
        rosters[key] = content
        items = tuple(item.name for item in ITEMS if item.name not in account.without)
        kept = _Kept(items, _planes(counts[:, [COLUMN[name] for name in items]]))
        return Row(account.span.value, account.start_s, account.end_s, key, parts, encode(kept)).sealed()

    def _slots(self, prices: Sequence[PriceSpan]) -> Iterator[Row]:
        """A row per five minutes, with what was already kept of them."""
        slots: dict[float, dict[str, PriceSpan]] = {}
        for price in prices:
            slots.setdefault(price.start_s, {})[price.name] = price
        for row in self._rows(_PRICE, min(slots), math.nextafter(max(slots), math.inf)) if slots else ():
            if row.start_s in slots:
                slots[row.start_s] = {price.name: price for price in self._prices_of(row)} | slots[row.start_s]
        for start_s, slot in slots.items():
            content = encode(_Slot(tuple(slot[name] for name in sorted(slot))))
            yield Row(_PRICE, start_s, start_s + PRICE_SPAN_S, "", 0, content).sealed()

    def _put(self, given: Sequence[Row], rosters: Mapping[str, bytes]) -> None:
        rows = list({(row.span, row.start_s): row for row in given}.values())
        if not rows:
            return
        need = sum(len(row.content) + ROW_BYTES for row in rows) + sum(map(len, rosters.values()))
        self._home.admit(need)
        self._make_room(need)
        with self._home.transaction() as connection:
            present = set(connection.execute(sa.select(_rosters.c.key).where(_rosters.c.key.in_(rosters))).scalars())
            if fresh := [{"key": key, "content": content} for key, content in rosters.items() if key not in present]:
                connection.execute(sa.insert(_rosters), fresh)
            for of_days, replaced in ((False, _REPLACED), (True, _REPLACED_DAYS)):
                places = [_place(row) for row in rows if (row.span == Span.DAY) is of_days]
                if places:
                    connection.execute(replaced, places)
            connection.execute(sa.insert(_spans), [_columns(row, self._serial + i) for i, row in enumerate(rows, 1)])
        self._serial += len(rows)
        self._home.settle()

    def _rows(self, span: str, from_s: float, until_s: float) -> list[Row]:
        return [Row(*row) for row in self._select(_SPANS, span, from_s, until_s)]

    def _select(self, query: sa.Select[Any], span: str, from_s: float, until_s: float) -> list[tuple[Any, ...]]:
        within = (_spans.c.span == span, _spans.c.start_s >= from_s, _spans.c.start_s < until_s)
        with self._home.transaction() as connection:
            return [tuple(row) for row in connection.execute(query.where(*within).order_by(_spans.c.start_s))]

    def _read_accounts(self, span: str, from_s: float, until_s: float) -> Iterator[Account]:
        """Rows with their rosters, in one question: between two a writer may put a row with another roster in place."""
        rosters: dict[str, Roster | None] = {}
        for told in self._select(_SPANS_WITH_ROSTERS, span, from_s, until_s):
            row, content = Row(*told[:-1]), told[-1]
            if row.roster not in rosters:
                rosters[row.roster] = _roster_of(row.roster, content)
            roster = rosters[row.roster]
            try:
                if roster is None or not row.is_sound():
                    raise RecordError("damaged")
                kept = decode(_Kept, row.content)
                counts = _counts(kept, len(roster.ids), self.where)
            except RecordError:
                self.lost[row.name] = None
                continue
            without = frozenset(COLUMN).difference(kept.items)
            yield Account(Span(row.span), row.start_s, row.end_s, roster, counts, without)

    def _prices_of(self, row: Row) -> tuple[PriceSpan, ...]:
        try:
            if not row.is_sound():
                raise RecordError("damaged")
            return decode(_Slot, row.content).prices
        except RecordError:
            self.lost[row.name] = None
            return ()

    # -- days of hours

    def _roll_up(self, now_s: float, zone: Zone) -> None:
        hours, days = (self._heads(_spans.c.span == span) for span in (Span.HOUR, Span.DAY))
        if not hours:
            return
        local_days = local_times(zone, np.array([hour.start_s for hour in hours])).day
        for day, group in groupby(zip(local_days.tolist(), hours, strict=True), key=lambda pair: pair[0]):
            of_day = [hour for _, hour in group]
            start_s, end_s = start_of_day_s(zone, day), start_of_day_s(zone, day + 1)
            if end_s > now_s:
                break
            before = next((head for head in days if head.start_s == start_s), None)
            if before and (len(of_day) < before.parts or before.serial > max(hour.serial for hour in of_day)):
                continue
            others = [
                head for head in days if head.start_s != start_s and head.start_s < end_s and start_s < head.end_s
            ]
            if all(_hours_within(hours, other) >= other.parts for other in others):
                self._make_day(start_s, end_s, len(of_day))

    def _make_day(self, start_s: float, end_s: float, parts: int) -> None:
        day: Account | None = None
        for hour in self._read_accounts(Span.HOUR, start_s, end_s):  # one by one: a large farm's are heavy
            day = total(Span.DAY, (hour,) if day is None else (day, hour))
        if day is not None:
            rosters: dict[str, bytes] = {}
            row = self._row_of(replace(day, start_s=start_s, end_s=end_s), parts, rosters)
            self._put([row], rosters)

    def _heads(self, *which: sa.ColumnElement[bool]) -> list[Head]:
        size = sa.func.length(_spans.c.content).label("size")
        told = [*(_spans.c[name] for name in Head.__dataclass_fields__ if name != size.name), size]
        query = sa.select(*told).where(*which)
        with self._home.transaction() as connection:
            heads = [Head(*row) for row in connection.execute(query.order_by(_spans.c.start_s, _spans.c.span))]
        return [head for head in heads if head.is_whole()]

    # -- what leaves

    def _make_room(self, need: int) -> None:
        """Let the oldest go until `need` bytes of content fit: hours that stand in a day, prices, days, the last hours.

        Errors: HistoryError where nothing is left that could go.
        """
        if self._home.room_bytes() >= need:
            return
        self._home.reclaim()
        newest = self._newest_s()
        victims = (
            (_spans.c.span == Span.HOUR, _spans.c.start_s < newest - UNROLLED_S),
            (_spans.c.span == _PRICE, _spans.c.start_s < newest - SECONDS_PER_DAY),
            (_spans.c.span == Span.DAY,),
            (_spans.c.start_s < newest,),
        )
        while (short := need - self._home.room_bytes()) > 0:
            wanted, freed = max(short, self._home.stride_bytes), 0
            for which in victims:
                while freed < wanted and (dropped := self._drop(*which, wanted=wanted - freed)):
                    freed += dropped
            if not freed:
                raise HistoryError(f"history {self.where}: [history] max_mib is too small for what is to be kept")
            self._drop_rosters()
            self._home.reclaim()

    def _newest_s(self) -> float:
        with self._home.transaction() as connection:
            newest: float | None = connection.execute(
                sa.select(sa.func.max(_spans.c.start_s)).where(_spans.c.start_s <= LATEST_S)
            ).scalar()
        return -math.inf if newest is None else newest

    def _count(self, span: str) -> int:
        with self._home.transaction() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(_spans.c.span == span)) or 0

    def _drop(self, *which: sa.ColumnElement[bool], rows: int = CHUNK, wanted: int | None = None) -> int:
        """Delete the oldest `rows` of these, or `wanted` bytes of them; how many bytes that were."""
        query = sa.select(_spans.c.span, _spans.c.start_s, sa.func.length(_spans.c.content)).where(*which)
        freed = 0
        with self._home.transaction() as connection:
            for span, start_s, size in connection.execute(query.order_by(_spans.c.start_s).limit(rows)).all():
                if wanted is not None and freed >= wanted:
                    break
                connection.execute(sa.delete(_spans).where(*_is(span, start_s)))
                freed += size + ROW_BYTES
        self._home.settle()
        return freed

    def _drop_rosters(self) -> None:
        """Forget the rosters that no account refers to any more."""
        used = sa.select(_spans.c.roster).distinct()
        with self._home.transaction() as connection:
            connection.execute(sa.delete(_rosters).where(_rosters.c.key.not_in(used)))


def _hours_within(hours: Iterable[Head], day: Head) -> int:
    return sum(day.start_s <= hour.start_s < day.end_s for hour in hours)


def _is_url(where: Path | str) -> bool:
    return isinstance(where, str) and where.startswith(("postgresql:", "postgres:"))


def _is(span: Any, start_s: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return _spans.c.span == span, _spans.c.start_s == start_s


_SPANS = sa.select(*(_spans.c[name] for name in Row.__dataclass_fields__))
_SPANS_WITH_ROSTERS = _SPANS.add_columns(_rosters.c.content.label("words")).select_from(
    _spans.outerjoin(_rosters, _rosters.c.key == _spans.c.roster)
)
_REPLACED = sa.delete(_spans).where(*_is(sa.bindparam("of_span"), sa.bindparam("from_s")))
_REPLACED_DAYS = sa.delete(_spans).where(  # a day replaces those of another time zone that it has hours of
    _spans.c.span == sa.bindparam("of_span"),
    _spans.c.start_s < sa.bindparam("until_s"),
    _spans.c.end_s > sa.bindparam("from_s"),
)


def _place(row: Row) -> dict[str, object]:
    place: dict[str, object] = {"of_span": row.span, "from_s": row.start_s}
    return place | {"until_s": row.end_s} if row.span == Span.DAY else place


def _columns(row: Row, serial: int) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__} | {"serial": serial}


class _FileHome:
    """The history in a SQLite file: `max_bytes` for the file, `wal_bytes` for the log beside it."""

    def __init__(self, file: SqliteFile, max_bytes: int, wal_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._wal_bytes = wal_bytes
        self.stride_bytes = max_bytes // 64
        self._wal = file.path.with_name(file.path.name + "-wal")

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._file.transaction("FULL") as connection:
            yield connection

    def room_bytes(self) -> int:
        with self._file.transaction("FULL") as connection:
            pages, free = self._pages(connection)
        # what a tree of pages takes beside the bytes that are in it
        return int(0.95 * (self._max_bytes - (pages - free) * PAGE_BYTES)) - 16 * PAGE_BYTES

    def admit(self, content_bytes: int) -> None:
        """A reader that does not end keeps the log from being cut back: rather nothing is written than past the cap."""
        need = int(1.25 * content_bytes) + 32 * PAGE_BYTES
        if need > self._wal_bytes:
            raise HistoryError(f"history {self._file.path}: [history] max_mib is too small for what is to be kept")
        if need + self._size(self._wal) > self._wal_bytes:
            self._cut_back()
        if need + self._size(self._wal) > self._wal_bytes:
            raise HistoryError(f"history {self._file.path}: somebody has been reading it for too long")

    def settle(self) -> None:
        """Every commit is on the disk already; now and then the log goes into the file."""
        if self._size(self._wal) > min(self._wal_bytes // 2, LOG_BYTES):
            self._cut_back()

    def _cut_back(self) -> None:
        """Move the log into the file and cut it to nothing, unless somebody reads at this moment; give back what is
        above a cap that was lowered. What fails here is tried again with the next write."""
        with suppress(HistoryError), self._file.transaction("FULL") as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")  # a reader may not hold up the caller
            excess = 1
            while excess > 0:
                is_read = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                pages, free = self._pages(connection)
                excess = (
                    0
                    if is_read
                    else min(free, pages - self._max_bytes // PAGE_BYTES, self._wal_bytes // PAGE_BYTES // 4)
                )
                if excess > 0:
                    driver: Any = connection.connection.driver_connection
                    driver.executescript(f"PRAGMA incremental_vacuum({excess})")  # a plain execute frees one page
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * BUSY_S:.0f}")

    def reclaim(self) -> None:
        """A free page counts as room already; but what is above the cap goes back to the file system."""
        self._cut_back()

    def size_bytes(self) -> int:
        return self._size(self._file.path) + self._size(self._wal)

    def close(self) -> None:
        self._file.close()

    @staticmethod
    def _pages(connection: sa.Connection) -> tuple[int, int]:
        """All pages of the file, and the free ones among them."""
        pages, free = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in ("page_count", "freelist_count")
        )
        return pages, free

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


def _key_of(roster: Roster) -> str:
    """Equal rosters have equal keys; the names may hold anything that a device says."""
    told = repr([getattr(roster, name) for name in Roster.__dataclass_fields__])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def _roster_of(key: str, content: bytes | None) -> Roster | None:
    """The roster of a key; None where it is missing or damaged. One for all days that have the same: a year of rosters
    of a large farm is heavy."""
    try:
        roster = decode(Roster, content or b"")
    except RecordError:
        return None
    return roster if _key_of(roster) == key else None


def _planes(counts: Counts) -> npt.NDArray[np.uint8]:
    """Bytes of equal weight side by side; the sign goes to the lowest bit, so that a small loss has small bytes too."""
    columns = np.ascontiguousarray(counts.T)
    folded = ((columns << 1) ^ (columns >> 63)).astype("<i8")
    return np.ascontiguousarray(folded.view(np.uint8).reshape(*folded.shape, 8).transpose(0, 2, 1))


def _counts(kept: _Kept, machines: int, where: str) -> Counts:
    """Inverse of `_planes`, for `machines` of today's items. Errors: RecordError; HistoryError for a newer item."""
    if unknown := [name for name in kept.items if name not in COLUMN]:
        raise HistoryError(f"history {where}: knows {unknown[0]!r}, this program does not: install the newer Hashwatt")
    if kept.planes.shape != (len(kept.items), 8, machines):
        raise RecordError("an account does not fit its roster")
    folded = np.ascontiguousarray(kept.planes.transpose(0, 2, 1)).view("<u8")[:, :, 0]
    counts = np.zeros((len(ITEMS), machines), np.int64)
    counts[[COLUMN[name] for name in kept.items]] = (folded >> 1).astype(np.int64) ^ -(folded & 1).astype(np.int64)
    return counts.T
