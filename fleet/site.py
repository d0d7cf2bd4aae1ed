"""What should be there: the operator's inventory, the nameplate catalogue, and which row a reading belongs to.

A `Site` is immutable; a machine that is found later gives a new `Site` with one row more. Rows never move and never
leave but by the operator's word, so a row number is a stable name while the agent runs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from fleet.tariff import FlatTariff
from fleet.units import TERA

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class SiteError(ValueError):
    """The operator's inventory or catalogue cannot be used; the message names the line and the column."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One row: what the operator says about a machine, or what was found where nobody said anything.

    `id` is the inventory id, else the MAC (12 hex digits), else the serial, else `ip-10-0-0-7`, which is provisional.
    """

    id: str
    address: str | None = None
    mac: str | None = None
    serial: str | None = None
    location: str | None = None
    feeder: str | None = None
    owner: str | None = None
    model: str | None = None
    hashrate_hs: float | None = None  # configured, the operator's word
    power_w: float | None = None  # configured, at the wall
    pdu: str | None = None
    outlet: str | None = None
    never_stop: bool = False
    credential: str | None = None
    is_provisional: bool = False


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the manufacturer promises for one model; a promise, not a measurement."""

    model: str
    hashrate_hs: float
    power_w: float


@dataclass(frozen=True, slots=True)
class EconomicTerms:
    """The shares between what hash earns at the pool and what the site keeps. All are ratios 0..1.

    `pool_fee`, `reject` (rejected and stale work), `overhead` (site losses and cooling per watt at the wall, PUE - 1).
    `power_price_sigma_ratio` and the like are the relative standard deviations that carry into the margin's error.
    """

    pool_fee: float = 0.01
    reject: float = 0.004
    overhead: float = 0.05
    hashprice_sigma_ratio: float = 0.01
    hashrate_sigma_ratio: float = 0.02

    @property
    def realised_ratio(self) -> float:
        """Share of the hashprice that reaches the miner, (1 - f)(1 - r)."""
        return (1.0 - self.pool_fee) * (1.0 - self.reject)


INVENTORY_COLUMNS = (
    "id", "mac", "serial", "address", "location", "feeder", "owner", "model",
    "hashrate_th", "power_w", "pdu", "outlet", "never_stop", "credential", "tariff",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Site:
    """The farm as the operator describes it: machines in row order, nameplates, terms and tariff."""

    name: str
    machines: tuple[Machine, ...] = ()
    nameplates: Mapping[str, Nameplate] = field(default_factory=lambda: MappingProxyType({}))
    terms: EconomicTerms = EconomicTerms()
    tariff: FlatTariff = field(default_factory=lambda: FlatTariff(math.nan))
    expected_pools: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.machines)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(machine.id for machine in self.machines)

    @cached_property
    def row_of_id(self) -> Mapping[str, int]:
        return {machine.id: row for row, machine in enumerate(self.machines)}

    @cached_property
    def row_of_mac(self) -> Mapping[str, int]:
        return {machine.mac: row for row, machine in enumerate(self.machines) if machine.mac}

    @cached_property
    def row_of_serial(self) -> Mapping[str, int]:
        return {machine.serial: row for row, machine in enumerate(self.machines) if machine.serial}

    @cached_property
    def row_of_address(self) -> Mapping[str, int]:
        """Address -> the first row that claims it: the operator's word goes before what was found there later."""
        rows: dict[str, int] = {}
        for row, machine in enumerate(self.machines):
            if machine.address:
                rows.setdefault(machine.address, row)
        return rows

    @cached_property
    def row_of_outlet(self) -> Mapping[tuple[str, str], int]:
        """(pdu id, outlet) -> row. An outlet that two rows claim belongs to neither."""
        rows: dict[tuple[str, str], int] = {}
        contested: set[tuple[str, str]] = set()
        for row, machine in enumerate(self.machines):
            if machine.pdu and machine.outlet:
                key = (machine.pdu, machine.outlet)
                if key in rows:
                    contested.add(key)
                rows[key] = row
        return {key: row for key, row in rows.items() if key not in contested}

    @cached_property
    def never_stop(self) -> Bools:
        return np.array([machine.never_stop for machine in self.machines], dtype=bool)

    @cached_property
    def hashrate_configured_hs(self) -> Floats:
        return _column(machine.hashrate_hs for machine in self.machines)

    @cached_property
    def power_configured_w(self) -> Floats:
        return _column(machine.power_w for machine in self.machines)

    def with_machines(self, found: Sequence[Machine]) -> Site:
        """The same site with more rows at its end."""
        return Site(self.name, (*self.machines, *found), self.nameplates, self.terms, self.tariff, self.expected_pools)


def _column(values: Iterable[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def normalise_mac(text: str | None) -> str | None:
    """12 lower-case hex digits, or None for what is not a usable MAC (wrong length, not hex, all zero or all ones)."""
    if not text:
        return None
    digits = text.strip().lower().replace(":", "").replace("-", "").replace(".", "")
    if len(digits) != 12 or any(c not in "0123456789abcdef" for c in digits):
        return None
    return None if digits in ("0" * 12, "f" * 12) else digits


def found_machine(address: str, mac: str | None, serial: str | None, model: str | None) -> Machine:
    """The row for a machine that answered and that no inventory line describes."""
    provisional = not (mac or serial)
    chosen = mac or serial or "ip-" + address.replace(".", "-").replace(":", "-")
    return Machine(id=chosen, address=address, mac=mac, serial=serial, model=model, is_provisional=provisional)


def locate(site: Site, address: str, mac: str | None, serial: str | None) -> int | None:
    """Row that a reading from `address` belongs to, or None for a machine that has no row yet.

    A MAC or serial that the inventory knows wins over the address: machines move, addresses are only places.
    An address row that names another MAC or serial is not this machine.
    """
    if mac and (row := site.row_of_mac.get(mac)) is not None:
        return row
    if serial and (row := site.row_of_serial.get(serial)) is not None:
        return row
    row = site.row_of_address.get(address)
    if row is None:
        return None
    machine = site.machines[row]
    if mac and machine.mac and machine.mac != mac:
        return None
    if serial and machine.serial and machine.serial != serial:
        return None
    return row


def parse_inventory(text: str, source: str = "inventory") -> tuple[Machine, ...]:
    """Machines of an inventory CSV.

    Columns: any of INVENTORY_COLUMNS; each line needs one of id, mac, serial, address.
    Errors:  SiteError that names file, line and column: unknown column, bad number, bad MAC, duplicate id.
    """
    reader = csv.DictReader(text.splitlines())
    header = [name.strip() for name in reader.fieldnames or ()]
    for name in header:
        if name not in INVENTORY_COLUMNS:
            raise SiteError(f"{source}: unknown column {name!r}; known: {', '.join(INVENTORY_COLUMNS)}")
    machines: list[Machine] = []
    seen: dict[str, int] = {}
    for raw in reader:
        line = reader.line_num  # the reader skips empty lines without a word
        row = {(k or "").strip(): v.strip() for k, v in raw.items() if isinstance(v, str) and v.strip()}
        if not row:
            continue
        machine = _parse_line(row, f"{source} line {line}")
        if machine.id in seen:
            raise SiteError(f"{source} line {line}: id {machine.id!r} is already on line {seen[machine.id]}")
        seen[machine.id] = line
        machines.append(machine)
    return tuple(machines)


def _parse_line(row: Mapping[str, str], where: str) -> Machine:
    mac = normalise_mac(row.get("mac"))
    if "mac" in row and mac is None:
        raise SiteError(f"{where}: mac {row['mac']!r} is not a MAC address")
    address = row.get("address")
    chosen = row.get("id") or mac or row.get("serial") or (f"ip-{address.replace('.', '-')}" if address else None)
    if chosen is None:
        raise SiteError(f"{where}: needs one of id, mac, serial, address")
    hashrate_th = _number(row, "hashrate_th", where)
    return Machine(
        id=chosen,
        address=address,
        mac=mac,
        serial=row.get("serial"),
        location=row.get("location"),
        feeder=row.get("feeder"),
        owner=row.get("owner"),
        model=row.get("model"),
        hashrate_hs=None if hashrate_th is None else hashrate_th * TERA,
        power_w=_number(row, "power_w", where),
        pdu=row.get("pdu"),
        outlet=row.get("outlet"),
        never_stop=_flag(row, "never_stop", where),
        credential=row.get("credential"),
        is_provisional=not (row.get("id") or mac or row.get("serial")),
    )


def _number(row: Mapping[str, str], name: str, where: str) -> float | None:
    text = row.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0.0 < value < math.inf):
        raise SiteError(f"{where}: {name} {text!r} is not a positive number")
    return value


def _flag(row: Mapping[str, str], name: str, where: str) -> bool:
    text = row.get(name, "no").lower()
    if text in ("yes", "true", "1", "x"):
        return True
    if text in ("no", "false", "0"):
        return False
    raise SiteError(f"{where}: {name} {text!r} is neither yes nor no")


def parse_nameplates(text: str, source: str = "nameplates") -> Mapping[str, Nameplate]:
    """Catalogue CSV `model,hashrate_th,power_w` -> nameplate by folded model name."""
    plates: dict[str, Nameplate] = {}
    reader = csv.DictReader(text.splitlines())
    for raw in reader:
        where = f"{source} line {reader.line_num}"
        row = {k: v.strip() for k, v in raw.items() if isinstance(v, str)}
        hashrate_th, power_w = _number(row, "hashrate_th", where), _number(row, "power_w", where)
        if not row.get("model") or hashrate_th is None or power_w is None:
            raise SiteError(f"{where}: needs model, hashrate_th and power_w")
        plates[fold_model(row["model"])] = Nameplate(row["model"], hashrate_th * TERA, power_w)
    return MappingProxyType(plates)


def fold_model(model: str) -> str:
    """Model name without maker, bracketed remarks, chip bin, case and spaces: `Antminer S19 Pro (110T)` -> `s19pro`."""
    bare = model.split("(")[0].lower()
    bare = bare.split(" v")[0]  # Whatsminer names end in their chip bin: "M50S VH30"
    for maker in ("antminer", "whatsminer", "avalonminer", "avalon"):
        bare = bare.replace(maker, "")
    return "".join(c for c in bare if c.isalnum() or c == "+")
