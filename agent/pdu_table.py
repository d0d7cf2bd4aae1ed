"""The PDUs of the table: outcomes write their rows, a tick joins them with the machines.

The rows of all PDUs lie side by side in two sheets, outlets and the rest, so that a tick copies columns and looks at no
PDU by itself. Sheets are laid out anew only when a PDU shows other rows than before, and links are made anew only
when rows, names or serials change. What hangs on which meter is `fleet.outlets`; here stands what it needs to know:
the operator's word, the names that machines have shown, and whether a PDU is still the one that it was.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from agent.wire import Outcome
from exporters.wording import clean
from fleet.doubts import PduWatch, watch_pdus
from fleet.energy import Counter, advance
from fleet.outlets import TOTAL, Claim, MeterId, Names, Wiring, wire, words_of
from fleet.readings import FAULT_CODES, Fault, FaultKind, PduReading, PduRow, Quality, RowKind
from fleet.snapshot import KIND_CODES, Observations, PduColumns, PduDoubt

DETAIL_BYTES = 400
"""Of a fault in the log: an unknown PDU says who it is before we say what to do about it."""

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

QUANTITIES = (
    "power_w", "is_measured", "resolution_w", "energy_j", "current_a", "current_resolution_a", "current_limit_a",
    "voltage_v", "on",
)  # fmt: skip
"""What each line of a sheet holds."""

LASTING = (FaultKind.UNSUPPORTED, FaultKind.DENIED)
"""Faults that no amount of asking heals: no profile knows it, or it does not let us in."""

KEPT_KINDS = (RowKind.UNIT, RowKind.INLET, RowKind.PHASE, RowKind.LINE, RowKind.BANK)
"""Rows that are columns beside the outlets; groups overlap, and of probes only the hottest is kept."""


@dataclass(frozen=True, slots=True)
class KnownPdu:
    """What outlives a restart about one PDU: who it was, where its energy counter stood, and (as number and name) the
    outlets whose names were machines': until it answers, nobody may take the other cord of such a machine for all."""

    id: str
    serial: str
    energy: Counter | None = None
    named: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Pdu:
    """The last look at one PDU. `keys`, `names`, `units`, columns of `values`: its outlets, then its other rows."""

    claims: tuple[Claim, ...] = ()
    up: float = math.nan
    fault: int = 0
    seen_s: float = math.nan
    power_w: float = math.nan
    is_measured: bool = False
    resolution_w: float = math.nan
    temperature_c: float = math.nan
    profile: str = ""
    model: str = ""
    serial: str = ""
    confirmed: str = ""  # the serial with which the operator's numbers were last known to be right
    name: str = ""
    engine: str = ""
    warnings: tuple[str, ...] = ()
    complaint: str = ""  # why it is not read, as it was logged
    energy: Counter | None = None
    counted: str = ""  # the serial of the PDU that this counter is of
    changed_s: float = math.nan  # when any of its numbers last changed
    outlets: int = 0
    keys: tuple[MeterId, ...] = ()
    names: tuple[str | None, ...] = ()
    units: tuple[str | None, ...] = ()
    words: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    values: Floats = field(default_factory=lambda: np.empty((len(QUANTITIES), 0)))
    wiring: Wiring = field(default_factory=Wiring)
    wired: tuple[object, ...] = ()  # what the wiring was made of

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """Outlets, by number and name, that are a machine's because of their name."""
        places = sorted(set(self.wiring.meter[self.wiring.is_by_name].tolist()))
        return tuple((self.keys[place][1], self.names[place] or "") for place in places)

    @property
    def is_replaced(self) -> bool:
        return bool(self.serial and self.confirmed and self.serial != self.confirmed)


class PduTable:
    """Every PDU of the site, as last seen. `names` is told by the owner which words mean which machine."""

    def __init__(self, ids: Iterable[str], claims: Mapping[str, tuple[Claim, ...]], valid_for_s: float) -> None:
        self.names = Names()
        self._pdus = {id: _Pdu(claims.get(id, ())) for id in ids}
        self._told = frozenset(claim.machine for of_pdu in claims.values() for claim in of_pdu)
        self._valid_for_s = valid_for_s
        self._is_laid = False
        self._sheets = (np.empty((len(QUANTITIES), 0)), np.empty((len(QUANTITIES), 0)))  # outlets, the rest
        self._places: dict[str, tuple[int, int]] = {}  # id -> first outlet, first row
        self._texts: Mapping[str, object] = {}
        self._watch = PduWatch.empty(len(self._pdus), 0)
        self._links: Mapping[str, npt.NDArray[np.generic]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._pdus

    def is_round_complete(self) -> bool:
        return not any(math.isnan(pdu.up) for pdu in self._pdus.values())

    def take(self, outcome: Outcome) -> None:
        """Write one outcome. A fault leaves what was read before, which grows too old by itself."""
        pdu = self._pdus[outcome.key]
        if outcome.pdu is not None:
            self._write(outcome.key, pdu, outcome.pdu, outcome.at_s)
        elif outcome.fault is not None:
            pdu.up, pdu.fault = 0.0, FAULT_CODES[outcome.fault.kind]
            self._complain(outcome.key, pdu, outcome.fault)

    def _complain(self, id: str, pdu: _Pdu, fault: Fault) -> None:
        """Says once what only the operator can put right; that somebody does not answer is no news of that kind."""
        if fault.kind in LASTING and fault.detail != pdu.complaint:
            pdu.complaint = fault.detail
            log.warning("PDU %s is not read: %s", clean(id), clean(fault.detail, DETAIL_BYTES))

    def _write(self, id: str, pdu: _Pdu, reading: PduReading, at_s: float) -> None:
        rows, outlets = _rows_of(reading)
        values = _values_of(rows)
        keys, names = tuple((row.kind, row.id) for row in rows), tuple(row.name for row in rows)
        units = tuple(row.unit for row in rows)
        if (keys, units, outlets) != (pdu.keys, pdu.units, pdu.outlets) or names != pdu.names:
            self._is_laid = False
            pdu.keys, pdu.names, pdu.units, pdu.outlets = keys, names, units, outlets
            said = ((index, words_of(row.name, row.id)) for index, row in enumerate(rows[:outlets]))
            pdu.words = {index: words for index, words in said if words}
        if values.tobytes() != pdu.values.tobytes() or pdu.changed_s > at_s:  # or the clock was set back
            pdu.changed_s = at_s
        pdu.values = values
        if self._is_laid:
            first_outlet, first_row = self._places[id]
            self._sheets[0][:, first_outlet : first_outlet + outlets] = values[:, :outlets]
            self._sheets[1][:, first_row : first_row + len(rows) - outlets] = values[:, outlets:]
        probes = [row.temperature_c for row in reading.rows if row.kind is RowKind.PROBE]
        if pdu.complaint:
            log.info("PDU %s is read, as %s", clean(id), clean(reading.profile))
        pdu.up, pdu.fault, pdu.seen_s, pdu.complaint = 1.0, 0, at_s, ""
        pdu.power_w, pdu.resolution_w = _nan(reading.power_w), _nan(reading.power_resolution_w)
        pdu.is_measured = reading.power_quality is Quality.MEASURED
        pdu.temperature_c = max((celsius for celsius in probes if celsius is not None), default=math.nan)
        pdu.profile, pdu.model, pdu.name = reading.profile, reading.model or "", reading.name or ""
        pdu.engine, pdu.warnings = reading.engine, reading.warnings
        self._identify(id, pdu, reading.serial)
        if reading.energy_j is not None:
            self._count(pdu, reading, reading.energy_j, at_s)

    def _identify(self, id: str, pdu: _Pdu, serial: str | None) -> None:
        """Who answers now. What is not said contradicts nothing."""
        if not serial or serial == pdu.serial:
            return
        pdu.serial = serial
        pdu.confirmed = pdu.confirmed or serial
        if pdu.is_replaced and pdu.claims:
            log.warning(
                "PDU %s has serial %s, before it had %s: the outlets that the inventory names there are not used until"
                " the agent is started again; check which machine hangs where",
                clean(id), clean(serial), clean(pdu.confirmed),
            )  # fmt: skip

    def _count(self, pdu: _Pdu, reading: PduReading, energy_j: float, at_s: float) -> None:
        is_another = bool(pdu.counted and pdu.serial != pdu.counted)
        pdu.counted = pdu.serial
        if is_another and pdu.energy is not None:  # what two PDUs have counted has nothing in common
            pdu.energy = Counter(energy_j, pdu.energy.total_j, at_s, reading.uptime_s, reading.energy_since)
            return
        pdu.energy, _ = advance(
            pdu.energy,
            energy_j,
            at_s,
            uptime_s=reading.uptime_s,
            since=reading.energy_since,
            wraps_j=reading.energy_wraps_j,
        )

    # --- over a restart ----------------------------------------------------------------------------------------------

    def remembered(self) -> tuple[KnownPdu, ...]:
        known = (KnownPdu(id, pdu.serial, pdu.energy, pdu.named) for id, pdu in self._pdus.items())
        return tuple(pdu for pdu in known if pdu.serial or pdu.energy or pdu.named)

    def recall(self, known: Iterable[KnownPdu]) -> None:
        """Take over what an earlier start knew: with the serial that it saw last, the operator's numbers are right."""
        for was in known:
            if (pdu := self._pdus.get(was.id)) is not None:
                pdu.serial = pdu.confirmed = pdu.counted = was.serial
                pdu.energy = was.energy
                self._expect(pdu, was.named)

    def _expect(self, pdu: _Pdu, named: Sequence[tuple[str, str]]) -> None:
        """Outlets of a PDU that has not answered yet: what hangs there is known, what it draws is not."""
        pdu.keys, pdu.names = tuple((RowKind.OUTLET, id) for id, _ in named), tuple(name for _, name in named)
        pdu.units, pdu.outlets = (None,) * len(named), len(named)
        pdu.words = {index: words_of(name, id) for index, (id, name) in enumerate(named)}
        pdu.values = np.full((len(QUANTITIES), len(named)), np.nan)
        self._is_laid = False

    # --- a tick ------------------------------------------------------------------------------------------------------

    def columns(self, observed: Observations, now_s: float) -> PduColumns:
        """All PDUs at `now_s`: what is too old is missing, what looks wrong is marked."""
        pdus = list(self._pdus.values())
        if not pdus:
            return PduColumns()
        if not self._is_laid:
            self._lay(pdus)
        self._join(pdus)
        seen_s = np.array([pdu.seen_s for pdu in pdus])
        is_valid = np.abs(now_s - seen_s) <= self._valid_for_s
        outlet_pdu, row_pdu = self._texts["outlet_pdu"], self._texts["row_pdu"]
        assert isinstance(outlet_pdu, np.ndarray) and isinstance(row_pdu, np.ndarray)  # noqa: PT018

        def valid(values: Iterable[float]) -> Floats:
            return np.where(is_valid, np.array(list(values), np.float64), np.nan)

        outlet, row = (
            dict(zip(QUANTITIES, np.where(is_valid[at], sheet, np.nan), strict=True))
            for at, sheet in zip((outlet_pdu, row_pdu), self._sheets, strict=True)
        )
        columns = PduColumns(
            ids=tuple(self._pdus),
            up=np.array([pdu.up for pdu in pdus]),
            fault=np.array([pdu.fault for pdu in pdus], np.uint8),
            last_seen_s=seen_s,
            power_w=valid(pdu.power_w for pdu in pdus),
            energy_j=valid(math.nan if pdu.energy is None else pdu.energy.total_j for pdu in pdus),
            temperature_c=valid(pdu.temperature_c for pdu in pdus),
            profiles=tuple(pdu.profile for pdu in pdus),
            models=tuple(pdu.model for pdu in pdus),
            serials=tuple(pdu.serial for pdu in pdus),
            names=tuple(pdu.name for pdu in pdus),
            engines=tuple(pdu.engine for pdu in pdus),
            warnings=tuple(pdu.warnings for pdu in pdus),
            is_measured=np.array([pdu.is_measured for pdu in pdus], bool),
            resolution_w=valid(pdu.resolution_w for pdu in pdus),
            changed_s=np.array([pdu.changed_s for pdu in pdus]),
            doubt=np.array([PduDoubt.REPLACED * pdu.is_replaced for pdu in pdus], np.uint8),
            outlet_power_w=outlet["power_w"],
            outlet_is_measured=outlet["is_measured"] == 1.0,
            outlet_on=outlet["on"],
            outlet_at_s=seen_s[outlet_pdu],
            outlet_resolution_w=outlet["resolution_w"],
            outlet_energy_j=outlet["energy_j"],
            outlet_current_a=outlet["current_a"],
            outlet_voltage_v=outlet["voltage_v"],
            row_is_measured=row.pop("is_measured") == 1.0,
            row_at_s=seen_s[row_pdu],
            row_doubt=np.zeros(len(row_pdu), np.uint8),
            **{f"row_{name}": row[name] for name in QUANTITIES[:-1] if name in row},
            **self._texts,  # type: ignore[arg-type]
            **self._links,  # type: ignore[arg-type]
        )
        watch_pdus(columns, self._watch, observed, now_s)
        return columns

    def _lay(self, pdus: Sequence[_Pdu]) -> None:
        """Put the rows of all PDUs side by side; what lasts on a row that stays goes on lasting."""
        lasting = dict(zip(self._row_keys(), self._watch.near_limit_since_s.tolist(), strict=True))
        first_outlet = np.cumsum([0, *(pdu.outlets for pdu in pdus)])
        first_row = np.cumsum([0, *(len(pdu.keys) - pdu.outlets for pdu in pdus)])
        self._places = {
            id: (int(outlet), int(row)) for id, outlet, row in zip(self._pdus, first_outlet, first_row, strict=False)
        }
        self._sheets = (
            np.concatenate([pdu.values[:, : pdu.outlets] for pdu in pdus], axis=1),
            np.concatenate([pdu.values[:, pdu.outlets :] for pdu in pdus], axis=1),
        )
        numbers = np.arange(len(pdus), dtype=np.int32)
        chain: dict[tuple[int, str | None], int] = {}
        self._texts = {
            "outlet_pdu": np.repeat(numbers, np.diff(first_outlet)),
            "outlet_ids": tuple(id for pdu in pdus for _, id in pdu.keys[: pdu.outlets]),
            "outlet_names": tuple(name or "" for pdu in pdus for name in pdu.names[: pdu.outlets]),
            "row_pdu": np.repeat(numbers, np.diff(first_row)),
            "row_ids": tuple(id for pdu in pdus for _, id in pdu.keys[pdu.outlets :]),
            "row_names": tuple(name or "" for pdu in pdus for name in pdu.names[pdu.outlets :]),
            "row_kind": np.array([KIND_CODES[kind] for pdu in pdus for kind, _ in pdu.keys[pdu.outlets :]], np.uint8),
            "row_unit": np.array(
                [
                    chain.setdefault((number, unit), len(chain))
                    for number, pdu in enumerate(pdus)
                    for unit in pdu.units[pdu.outlets :]
                ],
                np.int32,
            ),
        }
        self._watch.near_limit_since_s = np.array([lasting.get(key, math.nan) for key in self._row_keys()], np.float64)
        self._is_laid = True
        self._links = {}

    def _row_keys(self) -> Sequence[tuple[object, ...]]:
        if not self._texts:
            return ()
        row_pdu, row_kind, row_ids = (self._texts[name] for name in ("row_pdu", "row_kind", "row_ids"))
        assert isinstance(row_pdu, np.ndarray) and isinstance(row_kind, np.ndarray)  # noqa: PT018
        assert isinstance(row_ids, tuple)
        return list(zip(row_pdu.tolist(), row_kind.tolist(), row_ids, strict=True))

    # --- what hangs where --------------------------------------------------------------------------------------------

    def _join(self, pdus: Sequence[_Pdu]) -> None:
        """Make the links again that something speaks against: other rows, other names, another serial."""
        for pdu in pdus:
            made_of = (pdu.keys, pdu.names, pdu.serial, pdu.is_replaced, self.names.version if pdu.words else 0)
            if made_of != pdu.wired:
                pdu.wired = made_of
                pdu.wiring = wire(pdu.keys, pdu.words, pdu.claims, self.names, self._told.__contains__, pdu.is_replaced)
                self._links = {}
        if not self._links:
            self._links = self._linked(pdus)

    def _linked(self, pdus: Sequence[_Pdu]) -> Mapping[str, npt.NDArray[np.generic]]:
        outlets = self._sheets[0].shape[1]
        meters = []
        for pdu, (first_outlet, first_row) in zip(pdus, self._places.values(), strict=True):
            meter = pdu.wiring.meter
            of_rows = outlets + first_row + meter - pdu.outlets
            meters.append(np.where(meter < 0, -1, np.where(meter < pdu.outlets, first_outlet + meter, of_rows)))
        contested = np.array(sorted({row for pdu in pdus for row in pdu.wiring.contested} | _met_twice(pdus)), np.int32)
        replaced = np.array(sorted({row for pdu in pdus for row in pdu.wiring.suspended}), np.int32)
        meter = np.concatenate(meters).astype(np.int32)
        machine = np.concatenate([pdu.wiring.machine for pdu in pdus])
        kept = ~np.isin(machine, contested)
        on_outlet = np.flatnonzero(kept & (meter >= 0) & (meter < outlets))[::-1]  # the first link is written last
        outlet_machine = np.full(outlets, -1, np.int32)
        outlet_machine[meter[on_outlet]] = machine[on_outlet]
        return {
            "outlet_machine": outlet_machine,
            "link_meter": meter[kept],
            "link_machine": machine[kept],
            "link_ratio": np.concatenate([pdu.wiring.ratio for pdu in pdus])[kept],
            "link_is_shared": np.concatenate([pdu.wiring.is_shared for pdu in pdus])[kept],
            "link_is_by_name": np.concatenate([pdu.wiring.is_by_name for pdu in pdus])[kept],
            "contested": contested,
            "replaced": replaced,
        }


def _met_twice(pdus: Iterable[_Pdu]) -> set[int]:
    """Machines that outlets of one name at two addresses with one serial: that is one PDU, and one cord of each."""
    seen: dict[str, set[int]] = {}
    twice: set[int] = set()
    for pdu in pdus:
        if pdu.serial and pdu.words:
            named = set(pdu.wiring.machine[pdu.wiring.is_by_name].tolist())
            twice |= named & seen.setdefault(pdu.serial, set())
            seen[pdu.serial] |= named
    return twice


def _rows_of(reading: PduReading) -> tuple[list[PduRow], int]:
    """Outlets, then the other rows that are kept, the declared total first among them; and how many outlets there are.

    A device that numbers two rows alike has said nothing about the second.
    """
    total = PduRow(
        RowKind.UNIT,
        TOTAL,
        power_w=reading.power_w,
        power_quality=reading.power_quality,
        power_resolution_w=reading.power_resolution_w,
        energy_j=reading.energy_j,
    )
    outlets = {row.id: row for row in reversed(reading.rows) if row.kind is RowKind.OUTLET}
    others = {(row.kind, row.id): row for row in (*reversed(reading.rows), total) if row.kind in KEPT_KINDS}
    return [*reversed(outlets.values()), *reversed(others.values())], len(outlets)


def _values_of(rows: Sequence[PduRow]) -> Floats:
    """(QUANTITIES, rows)."""
    values = [
        (
            _nan(row.power_w),
            row.power_quality is Quality.MEASURED,
            _nan(row.power_resolution_w),
            _nan(row.energy_j),
            _nan(row.current_a),
            _nan(row.current_resolution_a),
            _nan(row.current_limit_a),
            _nan(row.voltage_v),
            _nan(row.is_on),
        )
        for row in rows
    ]
    return np.ascontiguousarray(np.array(values, np.float64).reshape(-1, len(QUANTITIES)).T)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
