"""A PostgreSQL server as a home of tables: one writer at a time, bounded waits, and errors in one line without secrets.

The server is somebody else's machine. It may be away, slow, full or newer than we are; each of these is the error of
the `Form` and nothing is half written. A writer holds an advisory lock for as long as its session lives, so that two
agents cannot mix their rows. Which version of the tables is there stands in the comment of the first one.

Rows that are deleted leave holes that only new rows fill: the size is what the tables take with their holes, and
`reclaim` writes them anew without.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from agent.sqlitefile import Form, printable

CONNECT_S = 10
STATEMENT_S = 60
SILENCE_S = 30  # a peer that does not acknowledge for so long is gone
STRIDE = 8  # a full server is relieved of this part of its cap at once, since that writes every table anew
OVERHEAD_BYTES = 256 << 10
LOCK_CLASS = 0x4857


class Server:
    """One session. `transaction` calls from several threads take turns. After an error, close it and open another."""

    def __init__(self, url: sa.URL, form: Form, max_bytes: int, *, is_writer: bool) -> None:
        self.name = f"{url.host or url.query.get('host')}/{url.database}"
        self.stride_bytes = max_bytes // STRIDE
        self._form = form
        self._max_bytes = max_bytes
        self._turn = threading.Lock()
        self._secret = str(url.password or "")
        with self._plain_errors():
            self._engine = sa.create_engine(url, poolclass=NullPool, connect_args=_session(url, is_writer))
            self._connection = self._engine.connect()
        try:
            self._prepare(is_writer)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, where: str, form: Form, max_bytes: int) -> Server:
        """Connect as the one writer; tables that are missing are made.

        Errors: `form.error`: no server there, wrong password, another agent, a newer version, another program's tables.
        """
        return cls(_url(where, form), form, max_bytes, is_writer=True)

    @classmethod
    def read_only(cls, where: str, form: Form) -> Server:
        """Connect beside a writer; changes nothing. Errors: as `open`, and where there are no tables yet."""
        return cls(_url(where, form), form, 0, is_writer=False)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._turn, self._plain_errors(), self._connection.begin():
            yield self._connection

    def room_bytes(self) -> int:
        """Less than what is free: rows have headers, pages are never full, and each table has maps beside it."""
        return int(0.9 * (self._max_bytes - self.size_bytes())) - OVERHEAD_BYTES

    def admit(self, content_bytes: int) -> None:
        if content_bytes > self._max_bytes - self.stride_bytes:
            raise self._error("[history] max_mib is too small for what is to be kept")

    def settle(self) -> None:
        """Nothing: the server keeps its own house."""

    def reclaim(self) -> None:
        """Give back the holes. For that moment nobody can read, and the server needs room for one more copy."""
        with self._turn, self._plain_errors(), self._engine.connect() as session:
            bare = session.execution_options(isolation_level="AUTOCOMMIT")
            bare.exec_driver_sql("SET statement_timeout = 0")
            for table in self._form.tables.sorted_tables:
                bare.exec_driver_sql(f"VACUUM (FULL) {table.name}")

    def size_bytes(self) -> int:
        names = [table.name for table in self._form.tables.sorted_tables]
        with self.transaction() as connection:
            return sum(connection.scalar(sa.select(sa.func.pg_total_relation_size(name))) or 0 for name in names)

    def close(self) -> None:
        with suppress(sa.exc.SQLAlchemyError):
            self._connection.close()
        self._engine.dispose()

    def _prepare(self, is_writer: bool) -> None:
        tables, mark = self._form.tables, f"hashwatt {self._form.noun} "
        first = tables.sorted_tables[0].name
        with self.transaction() as connection:
            if is_writer:
                locked = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(LOCK_CLASS, self._form.application)))
                if not locked:
                    raise self._error("another agent uses it")
            present = set(sa.inspect(connection).get_table_names())
            if first in present:
                comment = sa.inspect(connection).get_table_comment(first)["text"] or ""
                if not comment.startswith(mark):
                    raise self._error("has tables of another program by our names")
                if comment != f"{mark}{self._form.schema}":
                    raise self._error(
                        f"has schema {printable(comment.removeprefix(mark))}, this program knows "
                        f"{self._form.schema}: install the newer Hashwatt again"
                    )
            elif not is_writer:
                raise self._error("has no tables yet")
            else:
                self._make_tables(connection, f"{mark}{self._form.schema}")

    def _make_tables(self, connection: sa.Connection, comment: str) -> None:
        self._form.tables.create_all(connection)
        for table in self._form.tables.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, sa.LargeBinary):  # compressed already: the server need not try
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ALTER {column.name} SET STORAGE EXTERNAL")
        connection.execute(sa.schema.SetTableComment(_commented(self._form.tables.sorted_tables[0], comment)))

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._error(_words(error.orig)) from None
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise self._error(_words(error) if isinstance(error, ImportError) else type(error).__name__) from None

    def _error(self, words: str) -> Exception:
        told = f"{self._form.noun} at {printable(self.name)}: {words}"
        return self._form.error(told.replace(self._secret, "***") if self._secret else told)


def _commented(table: sa.Table, comment: str) -> sa.Table:
    copy = table.to_metadata(sa.MetaData())
    copy.comment = comment
    return copy


def _url(where: str, form: Form) -> sa.URL:
    """The address as SQLAlchemy wants it."""
    try:
        url = sa.make_url(where)
    except (sa.exc.ArgumentError, ValueError):
        raise form.error(f"{form.noun}: that is no URL of a server") from None  # its words would repeat it
    return url.set(drivername="postgresql+psycopg")


def _session(url: sa.URL, is_writer: bool) -> dict[str, Any]:
    """Bounded waits; and beyond this machine the server must prove who it is, unless the URL says otherwise."""
    host = str(url.query.get("host") or url.host or "")
    is_near = host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")
    settings = {
        "statement_timeout": f"{STATEMENT_S}s",
        "lock_timeout": f"{CONNECT_S}s",
        "default_transaction_read_only": "off" if is_writer else "on",
        # the server's own side: the lock of a gateway that lost its power goes soon, not after two hours
        "tcp_keepalives_idle": SILENCE_S,
        "tcp_keepalives_interval": SILENCE_S // 3,
        "tcp_keepalives_count": 3,
    }
    return {
        "connect_timeout": CONNECT_S,
        "tcp_user_timeout": SILENCE_S * 1000,
        "keepalives_idle": SILENCE_S,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "application_name": "hashwatt",
        "client_encoding": "utf8",
        **({} if is_near or "sslmode" in url.query else {"sslmode": "verify-full"}),
    }


def _words(error: object) -> str:
    """The first line that says something; the rest are hints and the statement."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0]) if lines else type(error).__name__
