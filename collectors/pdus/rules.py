"""What profiles cannot say as data: named rules that look at the decoded rows of one PDU once more.

A rule gets the rows and the objects that its profile names for it (None where the device has none), and gives the rows
that count. It decides from what one family does and why; it never sees a device's name or address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from collectors.pdus.snmp import Value
from fleet.readings import Gap, PduRow, Quality, RowKind

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


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "standby_inlets": standby_inlets,
        "single_infeed_watts": single_infeed_watts,
        "wired_phases": wired_phases,
    }
)
