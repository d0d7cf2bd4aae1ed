"""A cycle as MQTT messages: topics, payloads and properties; no connection and no clock.

Everything lives under `hashwatt/<site>/`. State is retained and expires, so a topic never says more than its age
allows; it is sent on change and refreshed slowly. What changed is found on columns, so a quiet fleet costs nothing.
Advice is in the lease alone (head and plan): a machine's state topic outlives a lease and therefore never carries it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

from exporters.report import errors, pdu_rows, rival, temperatures
from exporters.wording import (
    FAULTS,
    OPERATING_STATES,
    POWER_SOURCES,
    clean,
    instant,
    meter_doubts,
    names,
    numbers,
    suspicions,
    topic_segment,
    topic_segments,
    truths,
    unique_names,
)
from fleet.cycle import Cycle
from fleet.lease import Issue

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

JSON = "application/json"
MAX_BATCH_BYTES = 256 * 1024
RELATIVE_CHANGE = 0.02
ABSOLUTE_CHANGE_C = 2.0


@dataclass(frozen=True, slots=True)
class Message:
    """One publication. `expiry_s` None = for ever; an empty payload with `retain` clears the topic."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True
    expiry_s: float | None = None
    content_type: str = JSON


def topic(site: str, *levels: str) -> str:
    return "/".join(("hashwatt", topic_segment(site), *levels))


def status_message(site: str, agent_id: str, boot_id: str, status: str, at_s: float) -> Message:
    """Birth (`online`), will and farewell (`offline`). `at_s`: the time of the birth, also in the will."""
    payload = orjson.dumps(
        {
            "schema": "agent.status/1",
            "site": clean(site),
            "agent": clean(agent_id),
            "boot_id": boot_id,
            "status": status,
            "at": instant(at_s),
        }
    )
    return Message(topic(site, "agent", "status"), payload)


def head_message(site: str, head: bytes, issue: Issue) -> Message:
    """The head as a retained message that the broker drops when the lease ends."""
    return Message(
        topic(site, "curtailment", "recommendation", "v1"), head, expiry_s=issue.valid_until_s - issue.issued_at_s
    )


def plan_messages(site: str, parts: Sequence[bytes], former_parts: int, expiry_s: float) -> list[Message]:
    """The parts, and an empty message for each part number that the former plan had and this one has not."""
    base = topic(site, "curtailment", "plan", "v1")
    return [Message(f"{base}/{number}", part, expiry_s=expiry_s) for number, part in enumerate(parts)] + [
        Message(f"{base}/{number}", b"") for number in range(len(parts), former_parts)
    ]


# --- what changed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Watched:
    """Columns whose change is news, (n, k) each: `relative` by 2 %, `absolute_c` by 2 degrees, `exact` by anything."""

    relative: Floats
    absolute_c: Floats
    exact: Floats

    @classmethod
    def of(cls, relative: Sequence[Floats], absolute_c: Floats, exact: Sequence[npt.NDArray[np.generic]]) -> Watched:
        return cls(np.column_stack(relative), absolute_c, np.column_stack([np.asarray(c, np.float64) for c in exact]))


@dataclass(eq=False)
class Told:
    """What subscribers were last told about each row, and when (NaN = never). Owned and changed by the publisher."""

    ids: tuple[str, ...] = ()
    at_s: Floats = field(default_factory=lambda: np.empty(0))
    watched: Watched | None = None

    def fit(self, ids: tuple[str, ...], now: Watched) -> None:
        """Make room for rows that came behind; start afresh when rows are others than before."""
        known = len(self.ids)
        if self.watched is None or ids[:known] != self.ids:
            self.ids, self.at_s = ids, np.full(len(ids), np.nan)
            self.watched = Watched(*(table.copy() for table in _tables(now)))
        elif len(ids) > known:
            self.at_s = np.concatenate([self.at_s, np.full(len(ids) - known, np.nan)])
            self.watched = Watched(
                *(
                    np.concatenate([old, new[known:]])
                    for old, new in zip(_tables(self.watched), _tables(now), strict=True)
                )
            )
            self.ids = ids

    def due(self, now: Watched, now_s: float, refresh_s: float, limit: int) -> Rows:
        """At most `limit` rows to tell about, the longest untold first: never told, changed, or due for a refresh."""
        assert self.watched is not None
        is_due = changed(self.watched, now) | ~(now_s - self.at_s < refresh_s)
        rows = np.flatnonzero(is_due)
        if len(rows) <= limit:
            return rows
        return rows[np.argsort(np.nan_to_num(self.at_s[rows], nan=-np.inf), kind="stable")[:limit]]

    def note(self, rows: Rows, now: Watched, now_s: float) -> None:
        assert self.watched is not None
        self.at_s[rows] = now_s
        for old, new in zip(_tables(self.watched), _tables(now), strict=True):
            old[rows] = new[rows]


def _tables(watched: Watched) -> tuple[Floats, Floats, Floats]:
    return watched.relative, watched.absolute_c, watched.exact


def changed(old: Watched, new: Watched) -> Bools:
    """Rows of which any column moved by more than its band, or appeared, or vanished."""
    relative = np.abs(new.relative - old.relative) > RELATIVE_CHANGE * np.abs(old.relative)
    absolute = np.abs(new.absolute_c - old.absolute_c) > ABSOLUTE_CHANGE_C
    exact = (old.exact != new.exact) & ~np.isnan(old.exact)  # NaN differs from itself
    presence = [np.isnan(before) != np.isnan(after) for before, after in zip(_tables(old), _tables(new), strict=True)]
    tables = (relative, absolute, exact, *presence)
    is_changed: Bools = np.logical_or.reduce([table.any(axis=1) for table in tables])
    return is_changed


def watched_machines(cycle: Cycle) -> Watched:
    snapshot = cycle.snapshot
    return Watched.of(
        (snapshot.hashrate_hs, snapshot.power_w),
        np.array(snapshot.temperature_c),
        (
            snapshot.up,
            snapshot.fault,
            snapshot.state,
            snapshot.power_source,
            snapshot.error_count,
            snapshot.suspect,
            snapshot.meter_doubt,
            snapshot.is_conflict,
            snapshot.is_expected_pool,
        ),
    )


def watched_pdus(cycle: Cycle) -> Watched:
    """A PDU's own columns, and how many of its outlets are on; single outlets ride along with the next message."""
    table = cycle.snapshot.pdus
    count = len(table.ids)
    on = np.bincount(table.outlet_pdu, weights=np.nan_to_num(table.outlet_on), minlength=count)
    return Watched.of((table.power_w,), table.temperature_c[:, None], (table.up, table.fault, table.doubt, on))


# --- state and batch messages ------------------------------------------------------------------------------------


def machine_messages(cycle: Cycle, rows: Rows, boot_id: str, expiry_s: float) -> Iterator[Message]:
    """The state of chosen machines, one retained message each."""
    levels = topic_segments(cycle.snapshot.ids)
    base = topic(cycle.site.name, "machines")
    head = _envelope(cycle, "machine.state/1", boot_id)
    for row, state in zip(rows.tolist(), _machine_states(cycle, rows), strict=True):
        yield Message(f"{base}/{levels[row]}/state", orjson.dumps(head | state), expiry_s=expiry_s)


def _machine_states(cycle: Cycle, rows: Rows) -> list[dict[str, object]]:
    snapshot, money = cycle.snapshot, cycle.economics
    ids = unique_names(snapshot.ids)
    columns: Mapping[str, Sequence[object]] = {
        "id": [ids[row] for row in rows.tolist()],
        "provisional": [cycle.site.machines[row].is_provisional for row in rows.tolist()],
        "up": truths(snapshot.up[rows]),
        "fault": names(snapshot.fault[rows], FAULTS),
        "state": names(snapshot.state[rows], OPERATING_STATES),
        "last_seen": [instant(at_s) for at_s in snapshot.last_seen_s[rows].tolist()],
        "hashrate_hs": numbers(snapshot.hashrate_hs[rows]),
        "hashrate_window_s": numbers(snapshot.hashrate_window_s[rows]),
        "power_w": numbers(snapshot.power_w[rows]),
        "power_source": _power_sources(cycle, rows),
        "temperature_c": temperatures(snapshot.temperature_c[rows]),
        "is_expected_pool": snapshot.is_expected_pool[rows].tolist(),
        "conflict_with": [rival(cycle, row) for row in rows.tolist()],
        "suspect": [suspicions(bits) for bits in snapshot.suspect[rows].tolist()],
        "meter_doubt": [meter_doubts(bits) for bits in snapshot.meter_doubt[rows].tolist()],
        "errors": [errors(cycle, row) for row in rows.tolist()],
        "margin_usd_h": numbers(money.margin_usd_h[rows]),
        "breakeven_usd_kwh": numbers(money.breakeven_usd_kwh[rows]),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _power_sources(cycle: Cycle, rows: Rows) -> list[str | None]:
    has_power = np.isfinite(cycle.snapshot.power_w[rows])
    return names(np.where(has_power, cycle.snapshot.power_source[rows], 0).astype(np.uint8), POWER_SOURCES)


def _envelope(cycle: Cycle, schema: str, boot_id: str) -> dict[str, object]:
    return {"schema": schema, "site": clean(cycle.site.name), "boot_id": boot_id, "at": instant(cycle.at_s)}


def pdu_messages(cycle: Cycle, rows: Rows, boot_id: str, expiry_s: float) -> Iterator[Message]:
    """The state of chosen PDUs with their outlets, one retained message each."""
    levels = topic_segments(cycle.snapshot.pdus.ids)
    base = topic(cycle.site.name, "pdus")
    head = _envelope(cycle, "pdu.state/1", boot_id)
    chosen = rows.tolist()
    for row, state in zip(chosen, pdu_rows(cycle, chosen), strict=True):
        yield Message(f"{base}/{levels[row]}/state", orjson.dumps(head | state), expiry_s=expiry_s)


def batch_messages(cycle: Cycle, boot_id: str, expiry_s: float) -> Iterator[Message]:
    """The whole fleet in columns, in chunks of at most MAX_BATCH_BYTES; not retained, and not worth a receipt (QoS 0).

    Each chunk names its first row and the number of all rows, so a reader knows when the round is complete.
    """
    name = topic(cycle.site.name, "batch", "machines")
    size = len(cycle.snapshot)
    rows_per_chunk, row = 2048, 0
    while row < size:
        payload = _batch(cycle, boot_id, row, min(row + rows_per_chunk, size))
        if len(payload) > MAX_BATCH_BYTES and rows_per_chunk > 1:
            rows_per_chunk //= 2
            continue
        yield Message(name, payload, qos=0, retain=False, expiry_s=expiry_s)
        row += rows_per_chunk


def _batch(cycle: Cycle, boot_id: str, start: int, stop: int) -> bytes:
    snapshot, money, rows = cycle.snapshot, cycle.economics, slice(start, stop)
    columns: dict[str, object] = {
        "id": unique_names(snapshot.ids)[rows],
        "up": snapshot.up[rows],
        "fault": names(snapshot.fault[rows], FAULTS),
        "state": names(snapshot.state[rows], OPERATING_STATES),
        "age_s": np.round(snapshot.age_s[rows], 1),
        "hashrate_hs": np.round(snapshot.hashrate_hs[rows], -9),
        "power_w": np.round(snapshot.power_w[rows], 1),
        "power_source": _power_sources(cycle, np.arange(start, stop)),
        "temperature_max_c": _hottest(snapshot.temperature_c[rows]),
        "margin_usd_h": np.round(money.margin_usd_h[rows], 6),
        "breakeven_usd_kwh": np.round(money.breakeven_usd_kwh[rows], 6),
    }
    document = _envelope(cycle, "machine.batch/1", boot_id) | {
        "first": start,
        "rows": stop - start,
        "of": len(snapshot),
        "columns": columns,
    }
    # orjson prints NaN in a numpy column as null.
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _hottest(temperature_c: Floats) -> Floats:
    """The highest temperature of a row over all its sensors, NaN without any."""
    known = np.where(np.isnan(temperature_c), -np.inf, temperature_c).max(axis=1)
    return np.where(np.isfinite(known), known, np.nan)
