"""The local journal: what gates advice survives a crash and a power cut; what merely helps survives a crash.

One SQLite file in WAL mode, two connections to it: `synchronous=FULL` for decisions and the memory that goes with
them, NORMAL for the slow accumulators, whose last five minutes a power cut may take. A commit that returned is kept;
a commit that raised `JournalError` is not, and the caller's status is then `hold` with reason STORAGE.

The file is bounded: SQLite refuses to grow past the cap, and old decisions leave before that is reached. A file that
SQLite calls damaged is moved aside and named in `moved_aside`; the agent starts with an empty journal and in `hold`
(`agent.sqlitefile`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from agent.pdu_table import KnownPdu
from agent.record import RecordError, decode, encode
from agent.sqlitefile import Form, SqliteFile
from fleet.curtailment import Memory
from fleet.site import Machine

SCHEMA = 1
APPLICATION = 0x4857_0000

KEPT_RATIO = 0.7  # of the cap; above it the oldest decisions leave
CHUNK = 32  # decisions deleted in one commit, so that no commit becomes long

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


_FORM = Form("journal", _tables, APPLICATION, SCHEMA, JournalError)


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

    def __init__(self, file: SqliteFile) -> None:
        self.path = file.path
        self.moved_aside = file.moved_aside
        self.lost: list[str] = []  # what could not be read back although SQLite found the file sound
        self._file = file

    @classmethod
    def open(cls, path: Path | str, *, max_bytes: int = 512 << 20) -> Journal:
        """Open or create the journal at `path` and lock it for this agent.

        Errors: JournalError in one line: folder missing or not writable, another agent, a newer schema, a full disk.
        A damaged file is no error: it is moved aside and `moved_aside` names where to.
        """
        return cls(SqliteFile.open(Path(path), _FORM, ("FULL", "NORMAL"), max_bytes, min(max_bytes // 8, 16 << 20)))

    def load_memory(self) -> Memory | None:
        """What the last decision handed on; None where there is none, or where it is damaged (then named in `lost`)."""
        return self._load("memory", Memory)

    def save_memory(self, memory: Memory) -> None:
        """Keep the accumulators of a cycle in which nothing turned. Not synced: a power cut may take it back."""
        content = encode(memory)
        with self._file.transaction() as connection:
            _put(connection, "memory", content)

    def commit_decision(self, memory: Memory, record: bytes, decision_id: str, at_s: float) -> None:
        """Keep a turn for good: the new memory and the record that replays it, in one synced transaction.

        The changed lease may leave only after this returns. A decision id that is already kept keeps its first record.
        Errors: JournalError; then nothing of it is kept.
        """
        content = encode(memory)
        row = {"decision_id": decision_id, "at_s": at_s, "record": record}
        self._make_room()
        with self._file.transaction("FULL") as connection:
            _put(connection, "memory", content)
            connection.execute(insert(_decisions).values(row).on_conflict_do_nothing())

    def decisions(self, limit: int = 100) -> tuple[DecisionRow, ...]:
        """The newest decisions, newest first."""
        query = sa.select(_decisions).order_by(_decisions.c.at_s.desc()).limit(limit)
        with self._file.transaction() as connection:
            return tuple(DecisionRow(*row) for row in connection.execute(query))

    def decision(self, decision_id: str) -> DecisionRow | None:
        query = sa.select(_decisions).where(_decisions.c.decision_id == decision_id)
        with self._file.transaction() as connection:
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
        with self._file.transaction() as connection:
            _put(connection, "accumulators", content)

    def load_accumulators(self) -> Accumulators | None:
        """The slow columns last kept, by machine id; None where there are none or they are damaged."""
        return self._load("accumulators", Accumulators)

    def close(self) -> None:
        self._file.close()

    def _load(self, name: str, kind: type[T]) -> T | None:
        with self._file.transaction() as connection:
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
        with self._file.transaction("FULL") as connection:
            cap, used, free = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("max_page_count", "page_count", "freelist_count")
            )
            if used - free > KEPT_RATIO * cap:
                oldest = sa.select(_decisions.c.decision_id).order_by(_decisions.c.at_s).limit(CHUNK)
                connection.execute(sa.delete(_decisions).where(_decisions.c.decision_id.in_(oldest)))


def newest_decision(path: Path | str) -> DecisionRow | None:
    """The newest decision of a journal that an agent may be writing at this moment; changes and locks nothing.

    Errors: JournalError, also where the file is damaged: to move it aside is for the agent.
    """
    reader = SqliteFile.read_only(Path(path), _FORM)
    query = sa.select(_decisions).order_by(_decisions.c.at_s.desc()).limit(1)
    try:
        with reader.transaction() as connection:
            row = connection.execute(query).first()
    finally:
        reader.close()
    return None if row is None else DecisionRow(*row)


def _put(connection: sa.Connection, name: str, content: bytes) -> None:
    row = {"content": content}
    connection.execute(insert(_state).values(name=name, **row).on_conflict_do_update(["name"], set_=row))
