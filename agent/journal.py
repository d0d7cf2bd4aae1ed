"""The local journal: what gates advice survives a crash and a power cut; what merely helps survives a crash.

One SQLite file in WAL mode, two connections to it: `synchronous=FULL` for decisions and the memory that goes with
them, NORMAL for the slow accumulators, whose last five minutes a power cut may take. A commit that returned is kept;
a commit that raised `JournalError` is not, and the caller's status is then `hold` with reason STORAGE.

The file is bounded: SQLite refuses to grow past the cap, and old decisions leave before that is reached. A file that
SQLite calls damaged is moved aside and named in `moved_aside`; the agent starts with an empty journal and in `hold`.
This is the only importer of SQLAlchemy; its objects do not leave this module.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import StaticPool

from agent.pdu_table import KnownPdu
from agent.record import RecordError, decode, encode
from fleet.curtailment import Memory
from fleet.site import Machine

SCHEMA = 1
"""Version of the tables, kept in SQLite's user_version and again in its application_id (APPLICATION + version), so that
a flipped bit is told from a newer program."""

APPLICATION = 0x4857_0000

PAGE_BYTES = 4096
KEPT_RATIO = 0.7  # of the cap; above it the oldest decisions leave
CHUNK = 32  # decisions deleted in one commit, so that no commit becomes long
BUSY_S = 5.0
KEPT_CORRUPT = 3  # damaged files left for a post-mortem; a failing disk must not be filled with them

_tables = sa.MetaData()
_state = sa.Table(
    "state",
    _tables,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
_decisions = sa.Table(
    "decisions",
    _tables,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("at_s", sa.Float, nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
)


T = TypeVar("T")


class JournalError(Exception):
    """The journal cannot be opened, read or written; the message is one line for the operator."""


@dataclass(frozen=True, eq=False)
class Accumulators:
    """Slow columns by machine id, one entry per id; rows are matched by id, never by position.

    `found`: the machines that no inventory names. One that was stopped on advice and is dark must come back as a row,
    or nobody would ever ask it back. `texts`: columns of words, empty where there is none; no column at all in the
    journal of an older version, which knows no `pdus` either.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, npt.NDArray[Any]]
    found: tuple[Machine, ...] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pdus: tuple[KnownPdu, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One kept decision; `record` replays it (agent.record.decode_cycle_inputs)."""

    decision_id: str
    at_s: float
    record: bytes


class Journal:
    """The open journal of one agent. Methods block for one disk sync at most; calls from several threads take turns."""

    def __init__(self, path: Path, durable: sa.Engine, relaxed: sa.Engine, lock_fd: int, moved_aside: Path | None):
        self.path = path
        self.moved_aside = moved_aside
        self.lost: list[str] = []  # what could not be read back although SQLite found the file sound
        self._durable = durable
        self._relaxed = relaxed
        self._lock_fd = lock_fd
        self._turn = threading.Lock()

    @classmethod
    def open(cls, path: Path | str, *, max_bytes: int = 512 << 20) -> Journal:
        """Open or create the journal at `path` and lock it for this agent.

        Errors: JournalError in one line: folder missing or not writable, another agent, a newer schema, a full disk.
        A damaged file is no error: it is moved aside and `moved_aside` names where to.
        """
        path = Path(path)
        lock_fd = _lock(path)
        moved_aside = None
        try:
            try:
                engines = _connect(path, max_bytes)
            except _Damaged:
                moved_aside = _move_aside(path)
                engines = _connect(path, max_bytes)
        except (_Damaged, OSError) as error:
            os.close(lock_fd)
            raise JournalError(f"journal {path}: {error}") from error
        except JournalError:
            os.close(lock_fd)
            raise
        return cls(path, *engines, lock_fd, moved_aside)

    def load_memory(self) -> Memory | None:
        """What the last decision handed on; None where there is none, or where it is damaged (then named in `lost`)."""
        return self._load("memory", Memory)

    def save_memory(self, memory: Memory) -> None:
        """Keep the accumulators of a cycle in which nothing turned. Not synced: a power cut may take it back."""
        content = encode(memory)
        with self._transaction(self._relaxed) as connection:
            _put(connection, "memory", content)

    def commit_decision(self, memory: Memory, record: bytes, decision_id: str, at_s: float) -> None:
        """Keep a turn for good: the new memory and the record that replays it, in one synced transaction.

        The changed lease may leave only after this returns. A decision id that is already kept keeps its first record.
        Errors: JournalError; then nothing of it is kept.
        """
        content = encode(memory)
        row = {"decision_id": decision_id, "at_s": at_s, "record": record}
        self._make_room()
        with self._transaction(self._durable) as connection:
            _put(connection, "memory", content)
            connection.execute(insert(_decisions).values(row).on_conflict_do_nothing())

    def decisions(self, limit: int = 100) -> tuple[DecisionRow, ...]:
        """The newest decisions, newest first."""
        query = sa.select(_decisions).order_by(_decisions.c.at_s.desc()).limit(limit)
        with self._transaction(self._relaxed) as connection:
            return tuple(DecisionRow(*row) for row in connection.execute(query))

    def decision(self, decision_id: str) -> DecisionRow | None:
        query = sa.select(_decisions).where(_decisions.c.decision_id == decision_id)
        with self._transaction(self._relaxed) as connection:
            row = connection.execute(query).first()
            return None if row is None else DecisionRow(*row)

    def save_accumulators(
        self,
        ids: Sequence[str],
        columns: Mapping[str, npt.NDArray[Any]],
        found: Sequence[Machine] = (),
        texts: Mapping[str, tuple[str, ...]] | None = None,
        pdus: Sequence[KnownPdu] = (),
    ) -> None:
        """Keep the slow columns. A power cut may take the last one back, but not from before the next turn."""
        content = encode(Accumulators(tuple(ids), columns, tuple(found), texts or {}, tuple(pdus)))
        with self._transaction(self._relaxed) as connection:
            _put(connection, "accumulators", content)

    def load_accumulators(self) -> Accumulators | None:
        """The slow columns last kept, by machine id; None where there are none or they are damaged."""
        return self._load("accumulators", Accumulators)

    def close(self) -> None:
        with self._turn:
            self._relaxed.dispose()
            self._durable.dispose()
            os.close(self._lock_fd)

    def _load(self, name: str, kind: type[T]) -> T | None:
        with self._transaction(self._relaxed) as connection:
            content = connection.execute(sa.select(_state.c.content).where(_state.c.name == name)).scalar()
        if content is None:
            return None
        try:
            return decode(kind, content)
        except RecordError:
            self.lost.append(name)
            return None

    def _make_room(self) -> None:
        """Let the oldest decisions go before the cap is reached, where a commit would fail instead."""
        with self._transaction(self._durable) as connection:
            cap, used, free = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("max_page_count", "page_count", "freelist_count")
            )
            if used - free > KEPT_RATIO * cap:
                oldest = sa.select(_decisions.c.decision_id).order_by(_decisions.c.at_s).limit(CHUNK)
                connection.execute(sa.delete(_decisions).where(_decisions.c.decision_id.in_(oldest)))

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with self._turn, _plain_errors(self.path), engine.begin() as connection:
                yield connection
        except _Damaged as error:
            # a page that the check at the start does not look into: say it to the next start
            with suppress(OSError):
                _damage_mark(self.path).touch()
            raise JournalError(f"journal {self.path}: {error}; the next start moves it aside") from error


def newest_decision(path: Path | str) -> DecisionRow | None:
    """The newest decision of a journal that an agent may be writing at this moment; changes and locks nothing.

    Errors: JournalError, also where the file is damaged: to move it aside is for the agent.
    """
    path = Path(path)
    try:
        with _plain_errors(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            row = reader.execute(
                "SELECT decision_id, at_s, record FROM decisions ORDER BY at_s DESC LIMIT 1"
            ).fetchone()
    except _Damaged as error:
        raise JournalError(f"journal {path}: {error}") from error
    return None if row is None else DecisionRow(*row)


class _Damaged(Exception):
    """SQLite says that this file is not a sound database."""


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """SQLAlchemy's errors carry the statement and its parameters: the operator gets SQLite's own words instead."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        # SQLITE_ERROR: our statements are right, so it is the schema that they meet which is not; 0: the module itself
        # could not read a text
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, 0):
            raise _Damaged(_printable(cause)) from error
        raise JournalError(f"journal {path}: {_printable(cause)}") from error
    except UnicodeDecodeError as error:
        raise _Damaged("a text that is none") from error


def _printable(error: object) -> str:
    """SQLite quotes what it cannot read."""
    return "".join(c if c.isprintable() else "?" for c in str(error))[:200]


def _lock(path: Path) -> int:
    """Hold `<journal>.lock` while the agent runs: two agents on one memory would undo each other's advice."""
    try:
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}: {path.parent}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise JournalError(f"journal {path}: another agent uses it") from error
    return fd


def _connect(path: Path, max_bytes: int) -> tuple[sa.Engine, sa.Engine]:
    """Both engines on a file that is sound and has our tables."""
    durable, relaxed = _engine(path, max_bytes, "FULL"), _engine(path, max_bytes, "NORMAL")
    try:
        with _plain_errors(path):
            _prepare(path, durable)
            relaxed.connect().close()
    except BaseException:
        relaxed.dispose()
        durable.dispose()
        raise
    return durable, relaxed


def _engine(path: Path, max_bytes: int, synchronous: Literal["FULL", "NORMAL"]) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_S},
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"max_page_count = {max(max_bytes // PAGE_BYTES, 16)}",
            f"journal_size_limit = {min(max_bytes // 8, 16 << 20)}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _prepare(path: Path, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if _damage_mark(path).exists():
            raise _Damaged("the last run met damage")
        if (verdict := connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()) != "ok":
            raise _Damaged(str(verdict))
        version, application = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("user_version", "application_id")
        )
        tables = set(sa.inspect(connection).get_table_names())
        if application == APPLICATION + version and version > SCHEMA:
            raise JournalError(
                f"journal {path} is of schema {version}, this program knows {SCHEMA}: install the newer Hashwatt again"
            )
        if tables and not tables & set(_tables.tables):
            raise JournalError(f"journal {path} is the database of another program")
        if tables and (version, application) != (SCHEMA, APPLICATION + SCHEMA):
            raise _Damaged("its version is unreadable")
        _tables.create_all(connection)
        for table in _tables.sorted_tables:  # a column whose name is damaged passes every check of SQLite's own
            connection.execute(sa.select(table).limit(1)).all()
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION + SCHEMA}")
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")


def _move_aside(path: Path) -> Path:
    """Rename a damaged journal, with what SQLite keeps beside it, to `<name>.corrupt-<n>`; only the last few stay."""
    endings = (old.name.rpartition(".corrupt-")[2] for old in path.parent.glob(f"{path.name}.corrupt-*"))
    earlier = sorted(int(ending) for ending in endings if ending.isdecimal())
    for number in earlier[: -KEPT_CORRUPT + 1]:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}.corrupt-{number}{suffix}").unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.corrupt-{max(earlier, default=0) + 1}")
    for suffix in ("-wal", "-shm"):
        if (companion := path.with_name(path.name + suffix)).exists():
            companion.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    _damage_mark(path).unlink(missing_ok=True)
    return aside


def _damage_mark(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _put(connection: sa.Connection, name: str, content: bytes) -> None:
    row = {"content": content}
    connection.execute(insert(_state).values(name=name, **row).on_conflict_do_update(["name"], set_=row))
