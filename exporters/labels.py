"""Prometheus label sets as bytes, ready to print, made once per change of the fleet and shared by all families.

A label set is printed in two parts: the *opening* (`{machine="a"`) belongs to a row and is kept, the *closing*
(`,sensor="chip",index="0"} `) belongs to a column or a code. So a family with an index needs no list of its own.
What a device says about itself may not grow without end: beyond MAX_DISTINCT values a label reads `other`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

import numpy as np
import numpy.typing as npt

from exporters.wording import KINDS, MAX_TEXT_BYTES, clean, unique_names
from fleet.site import Machine, Site
from fleet.snapshot import MachineInfo, PduColumns

MAX_DISTINCT = 200
OTHER = b"other"
NUMBERED_BYTES = MAX_TEXT_BYTES - 8
"""Of a name that gets a number behind it, which must not be cut off again."""


def escape(text: str) -> bytes:
    """A label value between its quotes: cleaned, backslash and quote escaped (line ends are cleaned away)."""
    return clean(text).replace("\\", "\\\\").replace('"', '\\"').encode()


def opening(**labels: str) -> bytes:
    """`{a="1",b="2"`, or nothing when there are no labels."""
    inside = b",".join(b'%s="%s"' % (name.encode(), escape(value)) for name, value in labels.items())
    return b"{" + inside if inside else b""


def closing(**labels: str) -> bytes:
    """`,a="1"} `: what follows an opening that has at least one label."""
    return b"".join(b',%s="%s"' % (name.encode(), escape(value)) for name, value in labels.items()) + b"} "


@lru_cache(maxsize=2)
def machine_openings(ids: tuple[str, ...]) -> Sequence[bytes]:
    """`{machine="..."` per row."""
    return [opening(machine=name) for name in unique_names(ids)]


@lru_cache(maxsize=2)
def pdu_openings(ids: tuple[str, ...]) -> Sequence[bytes]:
    return [opening(pdu=name) for name in unique_names(ids)]


def outlet_openings(
    pdu_ids: tuple[str, ...], outlet_pdu: npt.NDArray[np.int32], outlet_ids: tuple[str, ...]
) -> Sequence[bytes]:
    """`{pdu="...",outlet="..."` per outlet."""
    return _part_openings(pdu_ids, outlet_pdu.astype(np.int32).tobytes(), (), outlet_ids)


def row_openings(table: PduColumns) -> Sequence[bytes]:
    """`{pdu="...",kind="...",row="..."` per row of a PDU that is no outlet."""
    return _part_openings(table.ids, table.row_pdu.astype(np.int32).tobytes(), table.row_kind.tobytes(), table.row_ids)


@lru_cache(maxsize=4)
def _part_openings(
    pdu_ids: tuple[str, ...], of_pdu: bytes, kinds: bytes | tuple[()], ids: tuple[str, ...]
) -> Sequence[bytes]:
    pdus = pdu_openings(pdu_ids)
    pieces = [b'%s,kind="%s",row' % (b"%s", escape(word)) for word in KINDS] if kinds else [b"%s,outlet"]
    rows = np.frombuffer(of_pdu, np.int32).tolist()
    # A device that numbers two outlets alike would give one series twice and spoil the whole scrape.
    seen: Counter[tuple[int, int, str]] = Counter()
    result: list[bytes] = []
    for row, kind, id in zip(rows, kinds or repeat(0, len(rows)), map(clean, ids), strict=True):
        name = id
        while seen[row, kind, name]:  # also where it calls another one `1~2`
            seen[row, kind, id] += 1
            name = f"{clean(id, NUMBERED_BYTES)}~{seen[row, kind, id]}"
        seen[row, kind, name] += 1
        result.append(pieces[kind] % pdus[row] + b'="%s"' % escape(name))
    return result


Openings = Sequence[bytes]


class WiredOpenings:
    """Label sets of outlets and of other rows with the machine on each and who says so; kept until any of it changes.

    One per machine on it. An outlet without a machine has one with empty labels, so that its name is told; another row
    without a machine has none.
    """

    def __init__(self) -> None:
        self._made_of: tuple[object, ...] = ()
        self._openings: tuple[Openings, Openings] = ((), ())

    def __call__(self, table: PduColumns, machine_ids: tuple[str, ...]) -> tuple[Openings, Openings]:
        columns = (table.outlet_pdu, table.row_pdu, table.row_kind, table.link_meter, table.link_machine,
                   table.link_is_by_name)  # fmt: skip
        texts = (table.ids, table.outlet_ids, table.outlet_names, table.row_ids, table.row_names, machine_ids)
        made_of = (*texts, *(column.tobytes() for column in columns))
        if made_of != self._made_of:
            self._made_of, self._openings = made_of, _wired(table, unique_names(machine_ids))
        return self._openings


def _wired(table: PduColumns, machines: Sequence[str]) -> tuple[Openings, Openings]:
    on: dict[int, list[bytes]] = {}
    by = (b"inventory", b"name")
    links = (table.link_meter.tolist(), table.link_machine.tolist(), table.link_is_by_name.tolist())
    for meter, machine, is_by_name in zip(*links, strict=True):
        on.setdefault(meter, []).append(b',machine="%s",by="%s"' % (escape(machines[machine]), by[is_by_name]))
    outlets = outlet_openings(table.ids, table.outlet_pdu, table.outlet_ids)
    told = zip(outlets, map(escape, table.outlet_names), strict=True)
    rows = zip(row_openings(table), map(escape, table.row_names), strict=True)
    return (
        [
            b'%s,name="%s"%s' % (start, name, end)
            for meter, (start, name) in enumerate(told)
            for end in on.get(meter, (b',machine="",by=""',))
        ],
        [
            b'%s,name="%s"%s' % (start, name, end)
            for meter, (start, name) in enumerate(rows, start=len(outlets))
            for end in on.get(meter, ())
        ],
    )


def pdu_info_openings(table: PduColumns) -> Sequence[bytes]:
    """What and who each PDU is."""
    columns = (pdu_openings(table.ids), table.profiles, table.models, table.serials, table.names, table.engines)
    return [
        b'%s,profile="%s",model="%s",serial="%s",name="%s",engine="%s"' % (start, *map(escape, texts))
        for start, *texts in zip(*columns, strict=True)
        if any(texts)
    ]


def capped(values: Iterable[str]) -> dict[str, bytes]:
    """Label value of each distinct text: itself for the MAX_DISTINCT most frequent ones, `other` for the rest."""
    ranked = Counter(values).most_common()
    return {text: escape(text) if rank < MAX_DISTINCT else OTHER for rank, (text, _) in enumerate(ranked)}


@dataclass(frozen=True, eq=False)
class _Told:
    site: Site
    infos: tuple[MachineInfo, ...]
    words: tuple[dict[str, bytes], ...]
    openings: Sequence[bytes]


class InfoOpenings:
    """The descriptive label sets, kept until the site is another object; where infos differ, only theirs are remade."""

    def __init__(self) -> None:
        self._told: _Told | None = None

    def __call__(self, site: Site, ids: tuple[str, ...], infos: tuple[MachineInfo, ...]) -> Sequence[bytes]:
        told = self._told
        if told is None or told.site is not site or told.infos != infos:
            told = self._told = _told(site, ids, infos, told if told and told.site is site else None)
        return told.openings


def _told(site: Site, ids: tuple[str, ...], infos: tuple[MachineInfo, ...], former: _Told | None) -> _Told:
    words = tuple(capped(getattr(info, name) for info in infos) for name in ("make", "model", "firmware"))
    rows = zip(machine_openings(ids), site.machines, infos, strict=True)
    if former is None or former.words != words:
        return _Told(site, infos, words, [_info_opening(*row, words) for row in rows])
    kept = zip(rows, former.infos, former.openings, strict=True)
    openings = [old if row[2] is info else _info_opening(*row, words) for row, info, old in kept]
    return _Told(site, infos, words, openings)


def _info_opening(row: bytes, machine: Machine, info: MachineInfo, words: tuple[dict[str, bytes], ...]) -> bytes:
    makes, models, firmwares = words
    return b'%s,ip="%s",make="%s",model="%s",firmware="%s",mac="%s",location="%s",feeder="%s",owner="%s"%s' % (
        row, escape(info.address or machine.address or ""),
        makes[info.make], models[info.model], firmwares[info.firmware],
        escape(info.mac or machine.mac or ""),
        escape(machine.location or ""), escape(machine.feeder or ""), escape(machine.owner or ""),
        b',provisional="true"' if machine.is_provisional else b"",
    )  # fmt: skip
