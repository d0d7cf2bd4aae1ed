"""How a cycle becomes columns of a page: the few shapes that all metric families are made of.

A `Column` is one array with one label set per value; a value that is NaN is not printed, because a missing number is
not 0. The functions here return value functions, so that the table in `metrics.py` reads as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporters.labels import (
    InfoOpenings,
    WiredOpenings,
    closing,
    machine_openings,
    opening,
    outlet_openings,
    pdu_info_openings,
    pdu_openings,
    row_openings,
)
from exporters.wording import unique_names
from fleet.capital import Appraisal, FeederValue
from fleet.cycle import Cycle
from fleet.presets import PresetMoney
from fleet.snapshot import PduColumns

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

END = b"} "
BARE = b" "
"""Closing of a series with, and without, labels."""


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """Values with their label sets, which are printed as `openings[i] + closings[i]`; NaN = not printed.

    `openings` and, if it is a list, `closings` have the length of `values`. `suffix` is `_bucket`, `_sum` or `_count`.
    """

    openings: Sequence[bytes]
    values: Floats
    closings: Sequence[bytes] | bytes = END
    suffix: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """What a value function may look at: the cycle, the time of rendering, the lease in force (NaN = none), and what
    the fleet was found to be worth, which is older than the cycle."""

    cycle: Cycle
    now_s: float
    lease_valid_until_s: float
    appraisal: Appraisal | None = None

    @property
    def is_lease_valid(self) -> bool:
        return self.now_s < self.lease_valid_until_s


Columns = Callable[[View], Sequence[Column]]
_info_openings = InfoOpenings()
_wired_openings = WiredOpenings()


def single(value: float, **labels: str) -> Column:
    """One value, with or without labels."""
    return Column([opening(**labels)], np.array([value], dtype=np.float64), END if labels else BARE)


def buckets(labels: Mapping[str, str], edges: Sequence[float], counts: Floats, total: float) -> list[Column]:
    """A classic histogram. `counts` has one entry per edge (up to and including it) and one for what lies above."""
    below = np.cumsum(counts)
    bounds = [*(f"{edge:g}" for edge in edges), "+Inf"]
    start, end = opening(**labels), END if labels else BARE
    return [
        Column([opening(**labels, le=bound) for bound in bounds], below, END, "_bucket"),
        Column([start], np.array([total], dtype=np.float64), end, "_sum"),
        Column([start], below[-1:], end, "_count"),
    ]


def site(value: Callable[[Cycle], float]) -> Columns:
    """One series for the whole site."""
    return lambda view: [single(value(view.cycle))]


def advice(value: Callable[[Cycle], float], label: Callable[[Cycle], Mapping[str, str]] = lambda _: {}) -> Columns:
    """One series that is part of the recommendation and vanishes with the lease."""
    return lambda view: [single(value(view.cycle), **label(view.cycle))] if view.is_lease_valid else []


def machines(values: Callable[[Cycle], Floats]) -> Columns:
    """One series per machine."""
    return lambda view: [Column(machine_openings(view.cycle.snapshot.ids), values(view.cycle))]


def preset_machines(values: Callable[[PresetMoney], Floats]) -> Columns:
    """One series per machine that has told its presets."""

    def columns(view: View) -> Sequence[Column]:
        money = view.cycle.presets
        openings = machine_openings(view.cycle.snapshot.ids)
        return [Column([openings[row] for row in money.columns.rows.tolist()], values(money))]

    return columns


def machine_slots(values: Callable[[Cycle], Floats], slots: Sequence[Mapping[str, str]]) -> Columns:
    """One series per machine and column of an (n, slots) table; `slots` are the labels of its columns."""
    ends = [closing(**labels) for labels in slots]
    return lambda view: [
        Column(machine_openings(view.cycle.snapshot.ids), values(view.cycle)[:, slot], end)
        for slot, end in enumerate(ends)
    ]


def machine_codes(label: str, words: Sequence[str | None], codes: Callable[[Cycle], Codes]) -> Columns:
    """1 for the code that holds, no series for the others and none for a code without a word."""
    ends = [closing(**{label: word or ""}) for word in words]
    shown = np.array([1.0 if word else np.nan for word in words])

    def columns(view: View) -> Sequence[Column]:
        column = codes(view.cycle)
        openings = machine_openings(view.cycle.snapshot.ids)
        return [Column(openings, shown[column], [ends[code] for code in column.tolist()])]

    return columns


def machine_flags(label: str, words: Sequence[str], codes: Callable[[Cycle], Codes]) -> Columns:
    """1 for each bit that is set, the lowest first; no series for the others."""
    ends = [closing(**{label: word}) for word in words]
    return lambda view: [
        Column(machine_openings(view.cycle.snapshot.ids), np.where(codes(view.cycle) & (1 << bit), 1.0, np.nan), end)
        for bit, end in enumerate(ends)
    ]


def machine_truths(truths: Callable[[Cycle], Bools]) -> Columns:
    """1 where it is true, no series elsewhere."""
    return machines(lambda cycle: np.where(truths(cycle), 1.0, np.nan))


def appraised(values: Callable[[Appraisal], Floats]) -> Columns:
    """One series per machine that was appraised."""

    def columns(view: View) -> Sequence[Column]:
        found = view.appraisal
        return [] if found is None else [Column(machine_openings(found.ids), values(found))]

    return columns


def appraised_codes(label: str, words: Sequence[str | None], codes: Callable[[Appraisal], Codes]) -> Columns:
    """1 for the verdict that was found, no series for the others and none for a code without a word."""
    ends = [closing(**{label: word or ""}) for word in words]
    shown = np.array([1.0 if word else np.nan for word in words])

    def columns(view: View) -> Sequence[Column]:
        if view.appraisal is None:
            return []
        column = codes(view.appraisal)
        openings = machine_openings(view.appraisal.ids)
        return [Column(openings, shown[column], [ends[code] for code in column.tolist()])]

    return columns


def feeders(value: Callable[[FeederValue], float]) -> Columns:
    """One series per feeder of the inventory."""

    def columns(view: View) -> Sequence[Column]:
        found = () if view.appraisal is None else view.appraisal.feeders
        names = unique_names(tuple(each.feeder for each in found))
        return [single(value(each), feeder=name) for name, each in zip(names, found, strict=True)]

    return columns


def machine_infos(view: View) -> Sequence[Column]:
    """Always 1; the labels are the message."""
    cycle = view.cycle
    openings = _info_openings(cycle.site, cycle.snapshot.ids, cycle.snapshot.infos)
    return [Column(openings, np.ones(len(openings)))]


def while_leased(columns: Columns) -> Columns:
    """The same columns, and none once the lease has run out."""
    return lambda view: columns(view) if view.is_lease_valid else []


def pdus(values: Callable[[Cycle], Floats]) -> Columns:
    """One series per PDU."""
    return lambda view: [Column(pdu_openings(view.cycle.snapshot.pdus.ids), values(view.cycle))]


def outlets(values: Callable[[Cycle], Floats]) -> Columns:
    """One series per outlet of each PDU."""

    def columns(view: View) -> Sequence[Column]:
        table = view.cycle.snapshot.pdus
        return [Column(outlet_openings(table.ids, table.outlet_pdu, table.outlet_ids), values(view.cycle))]

    return columns


def pdu_flags(label: str, words: Sequence[str], codes: Callable[[PduColumns], Codes]) -> Columns:
    """1 for each bit that is set for a PDU; no series for the others."""
    return _flags(label, words, codes, lambda table: pdu_openings(table.ids))


def pdu_row_flags(label: str, words: Sequence[str], codes: Callable[[PduColumns], Codes]) -> Columns:
    """1 for each bit that is set for a row of a PDU that is no outlet."""
    return _flags(label, words, codes, row_openings)


def _flags(
    label: str,
    words: Sequence[str],
    codes: Callable[[PduColumns], Codes],
    openings: Callable[[PduColumns], Sequence[bytes]],
) -> Columns:
    ends = [closing(**{label: word}) for word in words]

    def columns(view: View) -> Sequence[Column]:
        table = view.cycle.snapshot.pdus
        starts, bits = openings(table), codes(table)
        return [Column(starts, np.where(bits & (1 << bit), 1.0, np.nan), end) for bit, end in enumerate(ends)]

    return columns


def pdu_codes(label: str, words: Sequence[str | None], codes: Callable[[PduColumns], Codes]) -> Columns:
    """1 for the code that holds for a PDU, no series for the others and none for a code without a word."""
    ends = [closing(**{label: word or ""}) for word in words]
    shown = np.array([1.0 if word else np.nan for word in words])

    def columns(view: View) -> Sequence[Column]:
        table = view.cycle.snapshot.pdus
        column = codes(table)
        return [Column(pdu_openings(table.ids), shown[column], [ends[code] for code in column.tolist()])]

    return columns


def pdu_rows(values: Callable[[PduColumns], Floats]) -> Columns:
    """One series per row of a PDU that is no outlet."""

    def columns(view: View) -> Sequence[Column]:
        table = view.cycle.snapshot.pdus
        return [Column(row_openings(table), values(table))]

    return columns


def pdu_infos(view: View) -> Sequence[Column]:
    """Always 1, once a PDU has answered."""
    openings = pdu_info_openings(view.cycle.snapshot.pdus)
    return [Column(openings, np.ones(len(openings)))]


def wired_outlets(view: View) -> Sequence[Column]:
    """Always 1; which machine is on which outlet."""
    outlets, _ = _wired_openings(view.cycle.snapshot.pdus, view.cycle.snapshot.ids)
    return [Column(outlets, np.ones(len(outlets)))]


def wired_rows(view: View) -> Sequence[Column]:
    """Always 1; which machine is metered at which other row."""
    _, rows = _wired_openings(view.cycle.snapshot.pdus, view.cycle.snapshot.ids)
    return [Column(rows, np.ones(len(rows)))]
