"""Which meter sees which machine: what the operator says, what outlet names say, and what happens when they disagree.

A meter is a row of a PDU that measures watts: an outlet, a bank, a phase, an inlet, or the unit as a whole. The
operator names meters in the inventory (`parse_meters`); where he is silent about an outlet, its own name may hold the
MAC, the serial or the id of a machine (`words_of`). `wire` joins the two for one PDU. It never guesses: a word that
fits two machines fits none, and where name and inventory contradict each other both machines lose their meter until
somebody puts it right, because watts of the wrong machine are worse than none. All of it runs when a PDU's rows, its
names or the names of machines change, never per tick.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fleet.readings import RowKind

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]

METERS: Mapping[str, RowKind] = {
    kind.value: kind for kind in (RowKind.OUTLET, RowKind.BANK, RowKind.PHASE, RowKind.INLET, RowKind.UNIT)
}
"""Kinds of rows that an inventory may name; a line has no watts, groups overlap, probes measure no power."""

TOTAL = "total"
"""Id of the unit row that holds a PDU's declared total; `unit` in an inventory means this one."""

BY_NAMEPLATE = "nameplate"
"""What an inventory says instead of a share where the machines of one meter are told apart by what they should draw."""

MeterId = tuple[RowKind, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """The operator's word that a machine hangs on a meter; `ratio` is its share of it, NaN = by what it should draw."""

    machine: int  # row
    meter: MeterId
    ratio: float = 1.0
    is_shared: bool = False


@dataclass(frozen=True, eq=False)
class Wiring:
    """The links between the meters of one PDU and machines; one link per cord and machine.

    `meter`: index into the rows of the PDU, -1 where it has no such row, so that nobody takes half a machine for a
    whole one. `contested`: machines about which inventory and names disagree; `suspended`: whose PDU was replaced.
    """

    meter: Ints = field(default_factory=lambda: np.empty(0, np.int32))
    machine: Ints = field(default_factory=lambda: np.empty(0, np.int32))
    ratio: Floats = field(default_factory=lambda: np.empty(0))
    is_shared: Bools = field(default_factory=lambda: np.empty(0, bool))
    is_by_name: Bools = field(default_factory=lambda: np.empty(0, bool))
    contested: tuple[int, ...] = ()
    suspended: tuple[int, ...] = ()


def parse_meters(text: str) -> tuple[MeterId, ...]:
    """Meters of one machine as the inventory's `outlet` names them: `12`, `11+12`, `bank 3`, `phase L1`, `unit`.

    Errors: ValueError in words that follow the column's name.
    """
    meters: list[MeterId] = []
    for part in text.split("+"):
        words = part.split(maxsplit=1)
        if not words:
            raise ValueError(f"{text!r} has an empty part; cords are joined as in 11+12")
        kind = METERS.get(words[0].lower())
        if kind is None:
            meter = (RowKind.OUTLET, part.strip())
        elif len(words) == 2:
            meter = (kind, words[1].strip())
        elif kind is RowKind.UNIT:
            meter = (kind, TOTAL)
        else:
            raise ValueError(f"{text!r} names no {kind.value}; write it as in '{kind.value} 3'")
        if meter in meters:
            raise ValueError(f"{text!r} names {' '.join(meter)} twice")
        meters.append(meter)
    return tuple(meters)


def parse_share(text: str) -> float:
    """Share of a meter, 0 to 1; NaN for `nameplate`.  Errors: ValueError in words that follow the column's name."""
    if text.lower() == BY_NAMEPLATE:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1.0:
        raise ValueError(f"{text!r} is neither a share of 1, as 0.5, nor {BY_NAMEPLATE}")
    return value


_MAC = re.compile(
    r"(?<![0-9a-f])(?:[0-9a-f]{2}([:-]?)(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4})(?![0-9a-f])"
)
_APART = re.compile(r"[\s,;|/()\[\]{}<>=]+")
_FINER = re.compile(r"[_#:.]+")
_PIECES = re.compile(r"[a-z]+|[0-9]+|[^a-z0-9\s._#:*'\"+-]+")
_PLAIN = frozenset((
    "outlet", "out", "channel", "ch", "port", "socket", "plug", "receptacle", "output", "load", "relay", "power", "pdu",
    "unit", "bank", "phase", "o", "p",
))  # fmt: skip
_EDGE = "._-#:*'\"+"
MIN_WORD = 3
"""Shorter parts of a name are numbers and abbreviations; a whole name may be shorter."""


def words_of(name: str | None, id: str = "") -> tuple[str, ...]:
    """What in an outlet's name may name a machine, in lower case: MACs as 12 digits, the whole name, its words.

    Nothing for the names that PDUs come with (`Outlet 1`, `P02`, `........`) and for one that only repeats the `id`.
    """
    whole = (name or "").strip().lower()
    if whole == id.lower() or _is_default(whole):
        return ()
    words = {re.sub(r"[^0-9a-f]", "", found.group()): None for found in _MAC.finditer(whole)}
    words[whole] = None
    for part in _APART.split(whole):
        for word in (part.strip(_EDGE), *_FINER.split(part)):
            if len(word) >= MIN_WORD and not _is_default(word):
                words[word] = None
    return tuple(words)


def _is_default(text: str) -> bool:
    """True for what makers call outlets: plain words and numbers of up to three digits."""
    pieces = _PIECES.findall(text)
    return all(piece in _PLAIN or (piece.isdecimal() and len(piece) <= 3) for piece in pieces)


class Names:
    """Which row a word on a PDU may mean: MACs, serials and ids of machines. A word that two rows have means neither.

    `version` changes with every new name, so that nobody looks up again what has not changed.
    """

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._rows: dict[str, set[int]] = {}  # of the few words that several rows have, or had: a set is 216 bytes
        self.version = 0

    def tell(self, row: int, *names: str | None) -> None:
        for name in names:
            if not name:
                continue
            folded = name.lower()
            if row in (held := self._of(folded)):
                continue
            if held or folded in self._rows:
                self._rows[folded] = held | {row}
                self._row.pop(folded, None)
            else:
                self._row[name if folded == name else folded] = row  # nearly always a text that is kept already
            self.version += 1

    def forget(self, row: int, name: str | None) -> None:
        """`row` has shown another name instead of this one."""
        if name and row in (held := self._of(folded := name.lower())):
            self._rows[folded] = held - {row}
            self._row.pop(folded, None)
            self.version += 1

    def rows_of(self, words: Sequence[str]) -> set[int]:
        """Rows that these words name."""
        found = map(self._of, words)
        return {row for rows in found if len(rows) == 1 for row in rows}

    def _of(self, folded: str) -> set[int]:
        row = self._row.get(folded)
        return self._rows.get(folded, set()) if row is None else {row}


def wire(
    rows: Sequence[MeterId],
    words: Mapping[int, Sequence[str]],
    claims: Sequence[Claim],
    names: Names,
    is_told: Callable[[int], bool],
    is_replaced: bool = False,
) -> Wiring:
    """The links of one PDU.

    `words`: position in `rows` -> `words_of` the outlet's name, where there are any. `is_told`: whether the inventory
    says of a machine that it hangs on an outlet, here or elsewhere. `is_replaced`: the PDU has another serial than
    before; then numbers mean nothing until the operator looks, and only names that agree are believed.
    """
    position = {meter: index for index, meter in enumerate(rows)}
    by_position: dict[int, set[int]] = {}
    for claim in claims:
        by_position.setdefault(position.get(claim.meter, -1), set()).add(claim.machine)
    here_by_part = {claim.machine for claim in claims if claim.meter[0] is not RowKind.OUTLET}
    contested: set[int] = set(_rivals(claims))
    confirmed: set[tuple[int, int]] = set()  # (position, machine) where name and inventory agree
    links: list[tuple[int, Claim, bool]] = []
    for index, said in words.items():
        named, claimed = names.rows_of(said), by_position.get(index, set())
        if claimed:
            confirmed |= {(index, machine) for machine in named & claimed}
            contested |= named | claimed if named - claimed else set()
        elif len(named) > 1:
            contested |= named
        elif named:
            (machine,) = named
            if machine in here_by_part:
                continue  # the operator says where it is metered, in other words
            if is_told(machine):
                contested.add(machine)
            else:
                links.append((index, Claim(machine, rows[index]), True))
    suspended: set[int] = set()
    for claim in claims:
        index = position.get(claim.meter, -1)
        if is_replaced and (index, claim.machine) not in confirmed:
            suspended.add(claim.machine)
            index = -1
        links.append((index, claim, False))
    return Wiring(
        meter=np.array([index for index, _, _ in links], np.int32),
        machine=np.array([claim.machine for _, claim, _ in links], np.int32),
        ratio=np.array([claim.ratio for _, claim, _ in links], np.float64),
        is_shared=np.array([claim.is_shared for _, claim, _ in links], bool),
        is_by_name=np.array([is_by_name for _, _, is_by_name in links], bool),
        contested=tuple(sorted(contested)),
        suspended=tuple(sorted(suspended)),
    )


def _rivals(claims: Sequence[Claim]) -> set[int]:
    """Machines that claim one meter without sharing it."""
    whole: dict[MeterId, set[int]] = {}
    for claim in claims:
        whole.setdefault(claim.meter, set()).add(claim.machine)
    alone = {claim.meter for claim in claims if not claim.is_shared}
    return {machine for meter in alone if len(whole[meter]) > 1 for machine in whole[meter]}
