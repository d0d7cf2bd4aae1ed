"""What a case is: a healthy machine, what is done to its replies, and the outcome that is wanted.

A wanted outcome is a fault, or a reading: the named fields as told, all other fields as in the healthy machine's
reading, the named warnings and no others. Nothing here is taken from what the code answered: expected values come from
the facts about the firmware, worked out by hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, NamedTuple

from collectors.miners.hearing import said_from
from collectors.miners.make import Via, When
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading
from hostile.machines import encoded, machine, replies_of

LIE = 0
"""In place of a quirk's number: a number that is well-formed and not true (the second list of the facts)."""

MALICE = -1
"""In place of a quirk's number: made to do harm to whoever reads it."""

NOT_COMPARED = frozenset({"driver", "way", "pace_s", "warnings", "boards"})


class Edit(NamedTuple):
    """One reply, and its bytes after the edit; None = it is not answered."""

    reply: str
    apply: Callable[[bytes], bytes | None]


@dataclass(frozen=True)
class Case:
    """`id` within its quirk and machine. `fields` are those of the reading that differ from the healthy one's, `heat`
    the temperatures that do ("board 1": None = none there), `boards` the ids of the boards of a deep look."""

    id: str
    quirk: int
    machine: str
    edits: tuple[Edit, ...]
    fault: FaultKind | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    heat: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    boards: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        head = {LIE: "lie", MALICE: "malice"}.get(self.quirk, f"q{self.quirk:02}")
        return f"{head}-{self.machine}-{self.id}"


def reads(id: str, quirk: int, machine: str, *edits: Edit, **wanted: Any) -> Case:
    """A case that ends in a reading; further keywords are its fields, but for those of `Case`."""
    own = {key: wanted.pop(key) for key in ("heat", "warnings", "without", "boards") if key in wanted}
    return Case(id, quirk, machine, edits, fields=wanted, **own)


def fails(id: str, quirk: int, machine: str, fault: FaultKind, *edits: Edit) -> Case:
    """A case that ends in a fault."""
    return Case(id, quirk, machine, edits, fault)


def told(where: str, value: object) -> str:
    """An id from a place and the value that is put there."""
    return f"{where.rpartition(' ')[2].rpartition('.')[2]}={value!r:.20}"


# --- edits ---

_MARK = "\u00a7here\u00a7"


def put(where: str, value: Any) -> Edit:
    """Another value at `reply path.to.key`; a key that is not there is added."""
    name, path = _split(where)

    def apply(raw: bytes) -> bytes:
        reply = json.loads(raw)
        node, last = _node(reply, path)
        node[last] = value
        return encoded(reply)

    return Edit(name, apply)


def drop(where: str) -> Edit:
    """Without the key, or the row, at `reply path.to.key`."""
    name, path = _split(where)

    def apply(raw: bytes) -> bytes:
        reply = json.loads(raw)
        node, last = _node(reply, path)
        del node[last]
        return encoded(reply)

    return Edit(name, apply)


def bare(where: str, token: str | bytes) -> Edit:
    """These very bytes as the value at `reply path.to.key`, JSON or not."""
    marked = put(where, _MARK)
    word = token.encode() if isinstance(token, str) else token

    def apply(raw: bytes) -> bytes:
        marks = marked.apply(raw)
        assert marks is not None
        return marks.replace(json.dumps(_MARK).encode(), word)

    return Edit(marked.reply, apply)


def swap(name: str, old: bytes, new: bytes) -> Edit:
    """Other bytes at the first place of `old`, which must be there."""

    def apply(raw: bytes) -> bytes:
        assert old in raw, f"{name} does not hold {old!r}"
        return raw.replace(old, new, 1)

    return Edit(name, apply)


def raw(name: str, data: bytes) -> Edit:
    """Other bytes altogether."""
    return Edit(name, lambda _: data)


def around(name: str, before: bytes = b"", after: bytes = b"") -> Edit:
    return Edit(name, lambda raw: before + raw + after)


def cut(name: str, at: bytes) -> Edit:
    """Only what stands before the first place of `at`."""

    def apply(raw: bytes) -> bytes:
        assert at in raw, f"{name} does not hold {at!r}"
        return raw[: raw.index(at)]

    return Edit(name, apply)


def gone(name: str) -> Edit:
    """Not answered."""
    return Edit(name, lambda _: None)


def _split(where: str) -> tuple[str, list[str]]:
    name, _, path = where.partition(" ")
    return name, path.split(".")


def _node(reply: Any, path: list[str]) -> tuple[Any, Any]:
    for key in path[:-1]:
        reply = reply[int(key)] if isinstance(reply, list) else reply[key]
    return reply, (int(path[-1]) if isinstance(reply, list) else path[-1])


# --- running ---


def edited(case: Case) -> dict[str, bytes]:
    """Bytes of every reply of the case."""
    found: dict[str, bytes] = {name: encoded(reply) for name, reply in replies_of(case.machine).items()}
    for edit in case.edits:
        data = edit.apply(found.get(edit.reply, b"{}"))
        if data is None:
            del found[edit.reply]
        else:
            found[edit.reply] = data
    return found


def look(name: str, replies: Mapping[str, bytes], is_deep: bool = False) -> tuple[MinerReading, frozenset[str]]:
    """The reading and all warnings of one look, as a live one has it: the fault of a needed question is its end."""
    make = machine(name).make
    again = {  # a command that is two questions, the second one of deep looks
        ask.name: replies[ask.what]
        for ask in make.asks
        if ask.when is When.DEEP and ask.via is Via.RPC and ask.parameter is None and ask.what in replies
    }
    said = said_from(make, {**again, **replies}, is_deep=is_deep)
    for ask in make.asks:
        if ask.is_needed and ask.name in said.faults:
            raise said.faults[ask.name]
    reading = make.read(said)
    return reading, frozenset((*reading.warnings, *said.warnings))


@cache
def healthy(name: str) -> tuple[MinerReading, frozenset[str]]:
    return look(name, {reply: encoded(value) for reply, value in machine(name).replies.items()})


def outcome(case: Case) -> tuple[MinerReading, frozenset[str]] | PollError:
    try:
        return look(case.machine, edited(case))
    except PollError as error:
        return error


# --- comparing ---


def wanted_fields(case: Case) -> dict[str, Any]:
    """Every field of the wanted reading, comparable."""
    reading, _ = healthy(case.machine)
    unknown = set(case.fields) - {f.name for f in fields(MinerReading)}
    assert not unknown, f"no such fields: {unknown}"
    found = {f.name: getattr(reading, f.name) for f in fields(MinerReading)} | dict(case.fields)
    heat = {f"{t.sensor.value} {t.index}": t.celsius for t in reading.temperatures} | dict(case.heat)
    found["temperatures"] = {place: degrees for place, degrees in heat.items() if degrees is not None}
    found["errors"] = _codes(found["errors"])
    return comparable(found)


def found_fields(reading: MinerReading) -> dict[str, Any]:
    found = {f.name: getattr(reading, f.name) for f in fields(MinerReading)}
    found["temperatures"] = {f"{t.sensor.value} {t.index}": t.celsius for t in reading.temperatures}
    found["errors"] = _codes(found["errors"])
    return comparable(found)


def _codes(errors: Iterable[MachineError | str]) -> tuple[str, ...]:
    """Codes alone: their words are the business of the tables that hold them."""
    return tuple(error if isinstance(error, str) else error.code for error in errors)


def comparable(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _rounded(value) for name, value in found.items() if name not in NOT_COMPARED}


def _rounded(value: Any) -> Any:
    """Numbers to nine digits: what two ways of multiplying may differ in is none of our business."""
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_rounded(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) if isinstance(value, str) else value
    return float(f"{value:.9g}") if math.isfinite(value) else value
