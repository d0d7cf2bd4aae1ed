"""What a scan found, judged and written down: rows with ids, and those as JSON, `[[miners]]` or inventory CSV. Pure.

The id is the one that the running agent would give: MAC, else serial, else a provisional `ip-...`. Whatever a machine
says is text of a stranger: it is made printable here, once, before anything else sees it. In the CSV a cell that a
spreadsheet would run as a formula gets an apostrophe in front; a serial like that is left out, because it would no
longer be the machine's.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any

from agent.targets import MINER_PORT, Span, join_port, parse_target
from collectors.discovery import Found, Scan
from collectors.miners.native import MAC_OF_NEIGHBOUR
from fleet.readings import FaultKind, MinerReading
from fleet.site import found_machine
from fleet.units import TERA

API, NEIGHBOUR = "api", "neighbour"

CSV_COLUMNS = ("id", "mac", "serial", "address", "model")

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Row:
    """One host that answered. None = not said. The fields are the keys of the JSON document.

    `provisional`: the id is only the address, and will change with it. `mac_source` is "api", "neighbour" or None.
    `hashrate_th` in TH/s over the money window, `power_w` in W as the machine reports it. `fault` is a word of
    `FaultKind` where the host was not read, `detail` says more. `duplicate`: another address gave the same MAC or
    serial.
    """

    address: str
    id: str
    provisional: bool
    make: str | None = None
    model: str | None = None
    firmware: str | None = None
    mac: str | None = None
    mac_source: str | None = None
    serial: str | None = None
    driver: str | None = None
    hashrate_th: float | None = None
    power_w: float | None = None
    fault: str | None = None
    detail: str | None = None
    duplicate: bool = False

    @property
    def is_machine(self) -> bool:
        """Whether its make is known."""
        return self.make is not None

    @property
    def is_stranger(self) -> bool:
        """Whether it refused everything, as any host of an office does."""
        return self.make is None and self.fault == FaultKind.REFUSED


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One MAC or serial that several addresses gave."""

    what: str
    identity: str
    addresses: tuple[str, ...]


def rows_of(found: Iterable[Found], neighbour_macs: Mapping[str, str]) -> list[Row]:
    """The rows in order of their addresses. `neighbour_macs` by address, for those whose API gave no MAC."""
    ordered = sorted(found, key=lambda each: (":" in each.endpoint.host, ip_address(each.endpoint.host), each.endpoint))
    said = [each.finding.reading.mac if each.finding.reading else None for each in ordered]
    guessed = [None if mac else neighbour_macs.get(each.endpoint.host) for each, mac in zip(ordered, said, strict=True)]
    # a neighbour that stands for two machines is a router or a proxy on the way to both
    seen = Counter(mac for mac in (*said, *guessed) if mac)
    rows = [_row(each, mac if mac and seen[mac] == 1 else None) for each, mac in zip(ordered, guessed, strict=True)]
    doubled = {address for duplicate in duplicates(rows) for address in duplicate.addresses}
    return [_marked(row) if row.address in doubled else row for row in rows]


def _row(found: Found, neighbour_mac: str | None) -> Row:
    finding = found.finding
    reading = finding.reading or MinerReading(driver="", make="")
    address = join_port(found.endpoint.host, found.endpoint.port, MINER_PORT)
    mac = reading.mac or neighbour_mac
    told_by_neighbour = reading.mac is None or MAC_OF_NEIGHBOUR in reading.warnings
    serial, model = _printable(reading.serial), _printable(reading.model)
    machine = found_machine(address, mac, serial, model)
    return Row(
        address=address,
        id=machine.id,
        provisional=machine.is_provisional,
        make=_printable(finding.make),
        model=model,
        firmware=_printable(reading.firmware),
        mac=mac,
        mac_source=None if mac is None else NEIGHBOUR if told_by_neighbour else API,
        serial=serial,
        driver=reading.driver or None,
        hashrate_th=None if reading.hashrate_hs is None else round(reading.hashrate_hs / TERA, 3),
        power_w=reading.reported_power_w,
        fault=finding.fault.kind.value if finding.fault else None,
        detail=_printable(finding.fault.detail) if finding.fault else None,
    )


def _marked(row: Row) -> Row:
    return Row(**{**asdict(row), "duplicate": True})


def _printable(text: str | None) -> str | None:
    return "".join(c if c.isprintable() else "·" for c in text).strip() or None if text else None


def duplicates(rows: Iterable[Row]) -> list[Duplicate]:
    """Every MAC and every serial that more than one address gave."""
    addresses: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for what, identity in (("MAC", row.mac), ("serial", row.serial)):
            if identity:
                addresses.setdefault((what, identity), []).append(row.address)
    return [Duplicate(what, identity, tuple(at)) for (what, identity), at in addresses.items() if len(at) > 1]


# --- written down ----------------------------------------------------------------------------------------------------


def document(rows: Iterable[Row], scan: Scan | None, is_complete: bool) -> dict[str, Any]:
    """The JSON document: what the scan did, and every host that answered under `machines`, as the fields of `Row`."""
    return {
        "scanned": scan.scanned if scan else 0,
        "answered": scan.answered if scan else 0,
        "identified": scan.identified if scan else 0,
        "peak_connections": scan.peak_connections if scan else 0,
        "complete": is_complete,
        "machines": [asdict(row) for row in rows],
    }


def inventory_csv(rows: Iterable[Row]) -> str:
    """An inventory that `fleet.site.parse_inventory` reads, one line per machine whose make is known.

    A MAC or serial that several addresses gave names none of them, and a serial that is the id of another machine does
    not, either: such lines stand by what else they have, at last by their address. A provisional id is left to the
    reader, who makes the same one.
    """
    machines = [row for row in rows if row.is_machine]
    shared = {(duplicate.what, duplicate.identity) for duplicate in duplicates(machines)}
    ids: Counter[str | None] = Counter(row.id for row in machines)
    ids.update(found_machine(row.address, None, None, None).id for row in machines)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in machines:
        mac = None if ("MAC", row.mac) in shared else row.mac
        is_taken = ("serial", row.serial) in shared or ids[row.serial] > (row.id == row.serial)
        serial = None if is_taken or _is_formula(row.serial) else row.serial
        writer.writerow((mac or serial, mac, serial, row.address, _defused(row.model)))
    return text.getvalue()


def _is_formula(text: str | None) -> bool:
    return text is not None and text.startswith(_FORMULA_STARTS)


def _defused(text: str | None) -> str | None:
    return f"'{text}" if _is_formula(text) else text


def miners_toml(rows: Iterable[Row], credential: str | None = None) -> str:
    """`[[miners]]` sections for every machine whose make is known, neighbours in the address range as one target."""
    machines = [row for row in rows if row.is_machine]
    spans = [parse_target(row.address) for row in machines]
    makes = Counter(row.make for row in machines)
    lines = ["# " + ", ".join([f"{len(machines)} machines", *(f"{n} {make}" for make, n in makes.most_common())])]
    for insecure in (False, True):
        chosen = ranges(span for span in spans if span.is_private is not insecure)
        if chosen:
            lines += ["[[miners]]", "targets = [", *(f"  {json.dumps(text)}," for text in chosen), "]"]
            lines += [f"credential = {json.dumps(credential)}"] * (credential is not None)
            lines += ["insecure = true  # outside private address space"] * insecure
    return "\n".join(lines) + "\n"


def ranges(spans: Iterable[Span]) -> list[str]:
    """Single addresses as targets, those that follow each other as `first-last`; one with a port stands alone."""
    runs: list[tuple[Span, Span]] = []
    for span in sorted(spans, key=lambda s: (s.version, s.port or 0, s.first)):
        last = runs[-1][1] if runs else None
        if last and last.port is None and span == Span(last.version, last.last + 1, last.last + 1):
            runs[-1] = runs[-1][0], span
        else:
            runs.append((span, span))
    return [_text(first) if first == last else f"{_text(first)}-{_text(last)}" for first, last in runs]


def _text(span: Span) -> str:
    return join_port(next(span.hosts()), span.port or MINER_PORT, MINER_PORT)


def merged(spans: Sequence[Span]) -> list[Span]:
    """The same addresses without any twice, in order."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.version, s.port or MINER_PORT, s.first)):
        last = result[-1] if result else None
        if (
            last
            and (last.version, last.port or MINER_PORT) == (span.version, span.port or MINER_PORT)
            and span.first <= last.last + 1
        ):
            result[-1] = Span(last.version, last.first, max(last.last, span.last), last.port)
        else:
            result.append(span)
    return result
