"""What profiles cannot say as data: named rules that look at the decoded rows of one PDU once more.

A rule gets the rows and the objects that its profile names for it (None where the device has none), and gives the rows
that count. It decides from what one family does and why; it never sees a device's name or address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from collectors.pdus.snmp import Value
from fleet.readings import Counting, Gap, PduRow, Quality, RowKind

Rule = Callable[[Sequence[PduRow], Sequence[Value | None]], Sequence[PduRow]]


def standby_inlets(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Raritan: behind a transfer switch one inlet carries the load, and those that tell no watts carry none.

    The only object is the number of transfer switches. Without one every inlet counts, and one that is silent makes
    the sum of the inlets unknown.
    """
    (switches,) = objects
    inlets = [row for row in rows if row.kind is RowKind.INLET]
    has_switch = isinstance(switches, int) and switches > 0
    if not has_switch or all(row.power_w is None for row in inlets):
        return rows
    return tuple(row for row in rows if row.kind is not RowKind.INLET or row.power_w is not None)


def single_infeed_watts(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Server Technology Sentry 3: watts of a tower with one infeed that meters no more than volts and amperes.

    The only object is the power factor that somebody configured, in hundredths, for infeeds that meter none. Several
    infeeds of a tower are the lines of three phases: their volts are line to line, and the product is no power.
    """
    (configured,) = objects
    assumed = configured / 100 if isinstance(configured, int) and 50 <= configured <= 100 else None
    infeeds = Counter(row.unit for row in rows if row.kind is RowKind.INLET)

    def estimated(row: PduRow) -> PduRow:
        factor = assumed if row.power_factor is None else row.power_factor
        volts, amperes = row.voltage_v, row.current_a
        is_single = row.kind is RowKind.INLET and infeeds[row.unit] == 1
        if not is_single or row.power_w is not None or volts is None or amperes is None or factor is None:
            return row
        return replace(
            row,
            power_w=round(volts * amperes * factor, 1),
            power_quality=Quality.ESTIMATED,
            gaps=tuple(gap for gap in row.gaps if gap[0] != "power_w"),
        )

    return tuple(estimated(row) for row in rows)


def wired_phases(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Geist: a phase without volts is not wired, and its zeros are no readings."""
    return tuple(row for row in rows if row.kind is not RowKind.PHASE or ("voltage_v", Gap.SENTINEL) not in row.gaps)


_PARTS = (RowKind.PHASE, RowKind.BANK, RowKind.OUTLET)
"""What may stand for a unit, best first: what is nearer to the inlet sees more of the load."""


def units_from_parts(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Chatsworth, Schleifenbauer: what a unit of a ring or a chain does not tell of itself is the sum of its parts.

    Watts and energy, each from the first kind of part of which every row tells it. A unit that has rows and no row of
    its own gets one; a unit with a part that is silent stays silent.
    """
    own = {row.unit: row for row in rows if row.kind is RowKind.UNIT}
    parts: dict[str, dict[RowKind, list[PduRow]]] = {}
    for row in rows:
        if row.unit is not None and row.kind in _PARTS:
            parts.setdefault(row.unit, {}).setdefault(row.kind, []).append(row)
    units = {
        unit: own.get(unit) or PduRow(RowKind.UNIT, unit, unit=unit) for unit in (*own, *parts) if unit is not None
    }
    summed = (_with_energy(_with_power(row, parts.get(unit, {})), parts.get(unit, {})) for unit, row in units.items())
    return (*summed, *(row for row in rows if row.kind is not RowKind.UNIT or row.unit is None))


def _with_power(unit: PduRow, parts: Mapping[RowKind, Sequence[PduRow]]) -> PduRow:
    for kind in _PARTS if unit.power_w is None else ():
        watts = [row.power_w for row in parts.get(kind, ())]
        known = [value for value in watts if value is not None]
        if known and len(known) == len(watts):
            is_measured = all(row.power_quality is Quality.MEASURED for row in parts[kind])
            steps = [row.power_resolution_w for row in parts[kind] if row.power_resolution_w is not None]
            return replace(
                unit,
                power_w=round(sum(known), 6),
                power_quality=Quality.MEASURED if is_measured else Quality.ESTIMATED,
                power_resolution_w=max(steps, default=None),
                gaps=tuple(gap for gap in unit.gaps if gap[0] != "power_w"),
            )
    return unit


def _with_energy(unit: PduRow, parts: Mapping[RowKind, Sequence[PduRow]]) -> PduRow:
    for kind in _PARTS if unit.energy_j is None else ():
        joules = [row.energy_j for row in parts.get(kind, ())]
        known = [value for value in joules if value is not None]
        if known and len(known) == len(joules):
            is_lifetime = all(row.energy_counting is Counting.LIFETIME for row in parts[kind])
            return replace(
                unit,
                energy_j=round(sum(known), 6),
                energy_counting=Counting.LIFETIME if is_lifetime else Counting.RESETTABLE,
                energy_wraps_j=parts[kind][0].energy_wraps_j if len(known) == 1 else None,
                gaps=tuple(gap for gap in unit.gaps if gap[0] != "energy_j"),
            )
    return unit


def delta_phases_after_lines(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Enlogic: where a delta unit has rows 4 to 6 they are its phases, and rows 1 to 3 are the lines of the same load.

    Lines keep their amperes and lose their watts, which the phases tell again.
    """
    phases = [(row.unit, row.id.rpartition(".")[2]) for row in rows if row.kind is RowKind.PHASE]
    deltas = {unit for unit, number in phases if number in ("4", "5", "6")}

    def told(row: PduRow) -> PduRow:
        number = row.id.rpartition(".")[2]
        if row.kind is not RowKind.PHASE or row.unit not in deltas or number in ("4", "5", "6"):
            return row
        return PduRow(
            RowKind.LINE,
            row.id,
            name=row.name,
            unit=row.unit,
            current_a=row.current_a,
            current_resolution_a=row.current_resolution_a,
            gaps=tuple(gap for gap in row.gaps if gap[0] == "current_a"),
        )

    return tuple(told(row) for row in rows)


def phase_of_circuit(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Rittal: the circuit of a socket, `L1_F2`, names its phase and its fuse."""

    def told(row: PduRow) -> PduRow:
        phase, separator, _ = (row.bank or "").partition("_")
        return replace(row, phase=phase) if separator and phase in ("L1", "L2", "L3") else row

    return tuple(told(row) for row in rows)


SAME_LOAD = 0.05
"""By how much banks may miss the phase that they hang on, in parts of it: they are read one after the other."""


def phases_before_banks(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """APC, CyberPower: rows of kind line become phases and, behind them, banks, which carry the same load once more.

    How many are phases is told by the bank numbers; or by the first of the objects that is a count; or by the phase
    numbers 1, 2, 3 in front; a single row is the phase; several are one phase and its banks if these add up to it.
    Where nothing tells, all are banks, for no total adds up banks. Rows of kind bank that were there before lend the
    banks their limit.
    """
    lines = [row for row in rows if row.kind is RowKind.LINE]
    if not lines:
        return rows
    count = _phases_in_front(lines, objects)
    limits = {row.id: row.current_limit_a for row in rows if row.kind is RowKind.BANK}
    told: dict[tuple[RowKind, str], PduRow] = {}
    for place, row in enumerate(lines, start=1):
        if place <= count:
            made = replace(row, kind=RowKind.PHASE, id=row.phase or str(place), phase=None, bank=None)
        else:
            number = row.bank or str(place - count)
            made = replace(row, kind=RowKind.BANK, id=number, bank=None, current_limit_a=limits.get(number))
        told.setdefault((made.kind, made.id), made)
    others = (row for row in rows if row.kind not in (RowKind.LINE, RowKind.BANK))
    return (*told.values(), *others)


def _phases_in_front(lines: Sequence[PduRow], objects: Iterable[Value | None]) -> int:
    if any(row.bank is not None for row in lines):
        return next(place for place, row in enumerate(lines) if row.bank is not None)
    for told in objects:
        if isinstance(told, int) and 0 < told <= len(lines):
            return told
    numbered = 0
    while numbered < len(lines) and lines[numbered].phase == str(numbered + 1):
        numbered += 1
    if numbered:
        return numbered
    return 1 if len(lines) == 1 or _add_up(lines[0], lines[1:]) else 0


def _add_up(whole: PduRow, parts: Sequence[PduRow]) -> bool:
    """Whether the parts carry what the whole does: in watts, or in amperes where some watts are not known."""
    watts = [row.power_w for row in (whole, *parts)]
    loads = watts if None not in watts else [row.current_a for row in (whole, *parts)]
    known = [load for load in loads if load is not None]
    return len(known) == len(loads) and abs(known[0] - sum(known[1:])) <= SAME_LOAD * known[0]


WHOLE, TENTHS, HUNDREDTHS = 0, 1, 2


def whole_amperes(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Tripp Lite: watts of a meter in whole amperes are volts times rounded amperes, so they are an estimate.

    The only object tells how precise the meter is; a unit without it that says nothing but whole amperes has no more.
    """
    (precision,) = objects
    currents = [row.current_a for row in rows if row.current_a is not None]
    says_only_whole = bool(currents) and all(ampere.is_integer() for ampere in currents)
    if precision != WHOLE and (precision in (TENTHS, HUNDREDTHS) or not says_only_whole):
        return rows
    return tuple(_of_whole_amperes(row) for row in rows)


def _of_whole_amperes(row: PduRow) -> PduRow:
    if row.current_a is not None:
        row = replace(row, current_resolution_a=1.0)
    if row.power_w is not None:
        row = replace(row, power_quality=Quality.ESTIMATED, power_resolution_w=row.voltage_v)  # of one ampere
    return row


def only_rows_that_speak(rows: Sequence[PduRow], objects: Sequence[Value | None]) -> Sequence[PduRow]:
    """Aten: tables of fixed length hold rows for what the unit does not have, without a name, a state or a number."""
    return tuple(row for row in rows if _speaks(row))


def _speaks(row: PduRow) -> bool:
    said = (
        row.name, row.is_on, row.power_w, row.energy_j, row.current_a, row.voltage_v, row.temperature_c,
        row.humidity_ratio,
    )  # fmt: skip
    return any(value is not None for value in said)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "units_from_parts": units_from_parts,
        "delta_phases_after_lines": delta_phases_after_lines,
        "phase_of_circuit": phase_of_circuit,
        "standby_inlets": standby_inlets,
        "single_infeed_watts": single_infeed_watts,
        "wired_phases": wired_phases,
        "phases_before_banks": phases_before_banks,
        "whole_amperes": whole_amperes,
        "only_rows_that_speak": only_rows_that_speak,
    }
)
