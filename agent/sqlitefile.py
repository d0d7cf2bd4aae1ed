"""One SQLite file that an agent owns: locked, bounded, checked at the start, and moved aside when it is damaged.

What the journal and the history have in common. WAL mode, one connection per level of durability, all behind one turn.
An owner says in a `Form` what its file is called, which tables it has and which error its callers know; every failure
becomes that error in one line, with SQLite's own words and without the statement that failed.

A file that SQLite calls damaged is renamed to `<name>.corrupt-<n>`, and the agent goes on with an empty one. Damage met
later is marked beside the file, for the next start.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

Level = Literal["FULL", "NORMAL"]

PAGE_BYTES = 4096
BUSY_S = 5.0
KEPT_CORRUPT = 3  # damaged files left for a post-mortem; a failing disk must not be filled with them


@dataclass(frozen=True)
class Form:
    """What a file is: `application + schema` is its application_id and `schema` its user_version, so that a flipped bit
    is told from a newer program.

    `can_shrink`: pages that become free can be given back to the file system (SQLite's incremental auto_vacuum).
    """

    noun: str
    tables: sa.MetaData
    application: int
    schema: int
    error: type[Exception]
    can_shrink: bool = False


class SqliteFile:
    """An open file; `transaction` calls from several threads take turns."""

    def __init__(
        self,
        path: Path,
        form: Form,
        engines: Mapping[Level, sa.Engine],
        lock_fd: int | None = None,
        moved_aside: Path | None = None,
    ) -> None:
        self.path = path
        self.moved_aside = moved_aside
        self._form = form
        self._engines = engines
        self._lock_fd = lock_fd
        self._turn = threading.Lock()

    @classmethod
    def open(cls, path: Path, form: Form, levels: tuple[Level, ...], max_bytes: int, wal_bytes: int) -> SqliteFile:
        """Open or create the file at `path` and lock it for this agent; it never grows past `max_bytes`.

        `wal_bytes`: what the log beside the file is cut back to. Errors: `form.error`: folder missing or not writable,
        another agent, a newer schema, a full disk. Damage is no error: `moved_aside` then names where the file went.
        """
        lock_fd = _lock(path, form)
        moved_aside = None
        try:
            try:
                engines = _connect(path, form, levels, max_bytes, wal_bytes)
            except Damaged:
                moved_aside = _move_aside(path)
                engines = _connect(path, form, levels, max_bytes, wal_bytes)
        except (Damaged, OSError) as error:
            os.close(lock_fd)
            raise form.error(f"{form.noun} {path}: {error}") from error
        except form.error:
            os.close(lock_fd)
            raise
        return cls(path, form, engines, lock_fd, moved_aside)

    @classmethod
    def read_only(cls, path: Path, form: Form) -> SqliteFile:
        """A file that an agent may be writing at this moment; locks and changes nothing.

        Errors: `form.error`, at the first transaction; also for a file without a table, which an agent has only begun,
        and for damage: to move it aside is for the agent.
        """

        def connect() -> sqlite3.Connection:
            # SQLite makes a log to read by; who may not, reads a file that has none, so no agent, as it lies there
            is_at_rest = not path.with_name(path.name + "-wal").exists() and not os.access(path.parent, os.W_OK)
            options = "mode=ro&immutable=1" if is_at_rest else "mode=ro"
            return sqlite3.connect(
                f"{path.absolute().as_uri()}?{options}", uri=True, timeout=BUSY_S, check_same_thread=False
            )

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)
        return cls(path, form, {"FULL": engine, "NORMAL": engine})

    @contextmanager
    def transaction(self, level: Level = "NORMAL") -> Iterator[sa.Connection]:
        """All or nothing. Errors: `form.error`."""
        form = self._form
        try:
            with self._turn, plain_errors(self.path, form), self._engines[level].begin() as connection:
                yield connection
        except Damaged as error:
            if self._lock_fd is None:
                words = "holds nothing yet" if self._is_blank() else f"{error}"
                raise form.error(f"{form.noun} {self.path}: {words}") from error
            # a page that the check at the start does not look into: say it to the next start
            with suppress(OSError):
                _damage_mark(self.path).touch()
            raise form.error(f"{form.noun} {self.path}: {error}; the next start moves it aside") from error

    def _is_blank(self) -> bool:
        """A sound file in which there is no table."""
        try:
            with self._turn, self._engines["NORMAL"].connect() as connection:
                return not sa.inspect(connection).get_table_names()
        except (sa.exc.DBAPIError, sqlite3.Error, UnicodeDecodeError):
            return False

    def close(self) -> None:
        with self._turn:
            for engine in self._engines.values():
                engine.dispose()
            if self._lock_fd is not None:
                os.close(self._lock_fd)


class Damaged(Exception):
    """SQLite says that this file is not a sound database."""


@contextmanager
def plain_errors(path: Path, form: Form) -> Iterator[None]:
    """SQLAlchemy's errors carry the statement and its parameters: the operator gets SQLite's own words instead."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        # SQLITE_ERROR: our statements are right, so it is the schema that they meet which is not; 0: the module itself
        # could not read a text
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, 0):
            raise Damaged(printable(cause)) from error
        raise form.error(f"{form.noun} {path}: {printable(cause)}") from error
    except UnicodeDecodeError as error:
        raise Damaged("a text that is none") from error


def printable(error: object) -> str:
    """What a database says, short and on one line; it quotes what it cannot read."""
    return "".join(c if c.isprintable() else "?" for c in str(error))[:200]


def is_locked(path: Path) -> bool:
    """Whether an agent has this file as its own at this moment; False where nobody may know."""
    try:
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _lock(path: Path, form: Form) -> int:
    """Hold `<file>.lock` while the agent runs: two agents on one memory would undo each other's work."""
    try:
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise form.error(f"{form.noun} {path}: {error.strerror}: {path.parent}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise form.error(f"{form.noun} {path}: another agent uses it") from error
    return fd


def _connect(
    path: Path, form: Form, levels: tuple[Level, ...], max_bytes: int, wal_bytes: int
) -> dict[Level, sa.Engine]:
    """An engine for each level, on a file that is sound and has the tables of its form."""
    engines = {level: _engine(path, form, level, max_bytes, wal_bytes) for level in levels}
    first, *others = engines.values()
    try:
        with plain_errors(path, form):
            _prepare(path, form, first)
            for engine in others:
                engine.connect().close()
    except BaseException:
        for engine in engines.values():
            engine.dispose()
        raise
    return engines


def _engine(path: Path, form: Form, synchronous: Level, max_bytes: int, wal_bytes: int) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_S},
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            *(["auto_vacuum = INCREMENTAL"] if form.can_shrink else []),
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            f"max_page_count = {max(max_bytes // PAGE_BYTES, 16)}",
            f"journal_size_limit = {wal_bytes}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _prepare(path: Path, form: Form, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if _damage_mark(path).exists():
            raise Damaged("the last run met damage")
        if (verdict := connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()) != "ok":
            raise Damaged(str(verdict))
        version, application = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("user_version", "application_id")
        )
        tables = set(sa.inspect(connection).get_table_names())
        if application == form.application + version and version > form.schema:
            raise form.error(
                f"{form.noun} {path} is of schema {version}, this program knows {form.schema}: "
                "install the newer Hashwatt again"
            )
        if tables and not tables & set(form.tables.tables):
            raise form.error(f"{form.noun} {path} is the database of another program")
        if tables and (version, application) != (form.schema, form.application + form.schema):
            raise Damaged("its version is unreadable")
        form.tables.create_all(connection)
        for table in form.tables.sorted_tables:  # a column whose name is damaged passes every check of SQLite's own
            connection.execute(sa.select(table).limit(1)).all()
        connection.exec_driver_sql(f"PRAGMA application_id = {form.application + form.schema}")
        connection.exec_driver_sql(f"PRAGMA user_version = {form.schema}")


def _move_aside(path: Path) -> Path:
    """Rename a damaged file, with what SQLite keeps beside it, to `<name>.corrupt-<n>`; only the last few stay."""
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
