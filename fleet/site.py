"""What should be there: the operator's inventory, the nameplate catalogue, and which row a reading belongs to.

A `Site` is immutable; a machine that is found later gives a new `Site` with one row more. Rows never move and never
leave but by the operator's word, so a row number is a stable name while the agent runs. `Register` is what changes
beside it: which names the machine of each row has shown.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fleet.market import InputState
from fleet.outlets import Claim, parse_meters, parse_share
from fleet.tariff import WORST_LAST, FlatTariff, PowerPrice
from fleet.units import TERA

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]
Parsed = TypeVar("Parsed")


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
    share: float | None = None  # of its meter, where several machines hang on it; NaN = by what each should draw
    tariff: str | None = None  # where its power has another price than the site's


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the manufacturer promises for one model or one bin of it; a promise, not a measurement.

    `source` says where the two numbers come from: "nameplate" (both are printed), "efficiency" (the watts follow from
    the printed J/TH), "middle" (of a printed range), or whatever the operator wrote in his own catalogue.
    """

    model: str
    hashrate_hs: float
    power_w: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class EconomicTerms:
    """The shares between what hash earns at the pool and what the site keeps. All but the last are ratios 0..1.

    `pool_fee`, `reject` (rejected and stale work), `overhead` (site losses and cooling per watt at the wall, PUE - 1).
    `power_price_sigma_ratio` and the like are the relative standard deviations that carry into the margin's error.
    `certainty_sigmas`: a margin smaller than so many times its error is no verdict.
    """

    pool_fee: float = 0.01
    reject: float = 0.004
    overhead: float = 0.05
    hashprice_sigma_ratio: float = 0.01
    hashrate_sigma_ratio: float = 0.02
    power_price_sigma_ratio: float = 0.0  # what the tariff says is what the bill says
    certainty_sigmas: float = 1.0

    @property
    def realised_ratio(self) -> float:
        """Share of the hashprice that reaches the miner, (1 - f)(1 - r)."""
        return (1.0 - self.pool_fee) * (1.0 - self.reject)


INVENTORY_COLUMNS = (
    "id", "mac", "serial", "address", "location", "feeder", "owner", "model",
    "hashrate_th", "power_w", "pdu", "outlet", "share", "never_stop", "credential", "tariff",
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
    def claims(self) -> Mapping[str, tuple[Claim, ...]]:
        """PDU id -> which of its meters the operator gave to whom."""
        claims: dict[str, list[Claim]] = {}
        for row, machine in enumerate(self.machines):
            if machine.pdu and machine.outlet:
                ratio = 1.0 if machine.share is None else machine.share
                claims.setdefault(machine.pdu, []).extend(
                    Claim(row, meter, ratio, machine.share is not None) for meter in parse_meters(machine.outlet)
                )
        return {pdu: tuple(told) for pdu, told in claims.items()}

    @cached_property
    def never_stop(self) -> Bools:
        return np.array([machine.never_stop for machine in self.machines], dtype=bool)

    @cached_property
    def hashrate_configured_hs(self) -> Floats:
        return _column(machine.hashrate_hs for machine in self.machines)

    @cached_property
    def power_configured_w(self) -> Floats:
        return _column(machine.power_w for machine in self.machines)

    @cached_property
    def _tariff_rows(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Tariff name -> rows of the machines that have it; those without a name are in none."""
        rows: dict[str, list[int]] = {}
        for row, machine in enumerate(self.machines):
            if machine.tariff is not None:
                rows.setdefault(machine.tariff, []).append(row)
        return {name: np.array(told) for name, told in rows.items()}

    @cached_property
    def feeders(self) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """The names of all feeders in order, and the place in them of each machine's; -1 = it names none."""
        names = tuple(sorted({machine.feeder for machine in self.machines if machine.feeder is not None}))
        places = {name: place for place, name in enumerate(names)} | {None: -1}
        return names, np.array([places[machine.feeder] for machine in self.machines], dtype=np.int64)

    def by_tariff(self, power: Sequence[PowerPrice]) -> Floats:
        """Power price of each machine, USD/kWh: of the tariff that its line names, else the first of `power`.

        Missing: NaN where `power` does not hold the tariff, or its price may not be used.
        """
        told = [price.usd_per_kwh if price.is_usable else math.nan for price in power]
        return np.array([*told, math.nan])[self._price_of(power)]

    def power_states(self, power: Sequence[PowerPrice]) -> Codes:
        """State of each machine's power price, as its place in `tariff.WORST_LAST`; MISSING where none is told."""
        told = (*(price.state for price in power), InputState.MISSING)
        return np.array([WORST_LAST.index(state) for state in told], np.uint8)[self._price_of(power)]

    def profit_shares(self, power: Sequence[PowerPrice]) -> Floats:
        """What each machine's host takes of a margin above zero, a ratio; NaN where `power` holds no such tariff."""
        return np.array([*(price.profit_share for price in power), math.nan])[self._price_of(power)]

    def _price_of(self, power: Sequence[PowerPrice]) -> npt.NDArray[np.int64]:
        """Place in `power` of each machine's price; one behind the last where it does not hold the tariff."""
        places = {price.tariff: place for place, price in enumerate(power)}
        column = np.zeros(len(self), np.int64)
        for name, rows in self._tariff_rows.items():
            column[rows] = places.get(name, len(power))
        return column

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
    if len(digits) != 12 or digits.strip("0123456789abcdef"):  # what a strip leaves begins and ends with no digit
        return None
    return None if digits in ("0" * 12, "f" * 12) else digits


def found_machine(address: str, mac: str | None, serial: str | None, model: str | None) -> Machine:
    """The row for a machine that answered and that no inventory line describes."""
    provisional = not (mac or serial)
    chosen = mac or serial or "ip-" + address.replace(".", "-").replace(":", "-")
    return Machine(id=chosen, address=address, mac=mac, serial=serial, model=model, is_provisional=provisional)


class Register:
    """Which row a reading belongs to, by the names that machines show. Grows with the site; rows never change owners.

    A name is a MAC or a serial. Told names (an inventory line, the first answer of a found machine) stay; a row without
    one takes the first that its machine shows and keeps it, so that another machine at its address is told apart and
    the machine is found wherever it goes. An address is only a place.
    """

    def __init__(self, machines: Iterable[Machine] = ()) -> None:
        self.row_of_id: dict[str, int] = {}
        self.row_of_address: dict[str, int] = {}
        self._row_of_mac: dict[str, int] = {}
        self._row_of_serial: dict[str, int] = {}
        self._told: list[Machine] = []
        self.macs: list[str | None] = []
        self.serials: list[str | None] = []
        for machine in machines:
            self.add(machine)

    def add(self, machine: Machine) -> int:
        """The row of a further machine. An address or a name that an earlier row has stays with that row."""
        row = len(self._told)
        self._told.append(machine)
        self.macs.append(machine.mac)
        self.serials.append(machine.serial)
        self.row_of_id[machine.id] = row
        for index, name in (
            (self.row_of_address, machine.address),
            (self._row_of_mac, machine.mac),
            (self._row_of_serial, machine.serial),
        ):
            if name:
                index.setdefault(name, row)
        return row

    def named(self, mac: str | None, serial: str | None) -> int | None:
        """Row of the machine with this MAC, else with this serial, wherever it stands; None if nobody showed them.

        A serial does not count against a MAC that was told: some firmware gives every machine the same one.
        """
        if mac and (row := self._row_of_mac.get(mac)) is not None:
            return row
        if serial and (row := self._row_of_serial.get(serial)) is not None:
            told = self._told[row].mac
            return None if mac and told and told != mac else row
        return None

    def is_another(self, row: int, mac: str | None, serial: str | None) -> bool:
        """True if these names are not those of the row. What is not said contradicts nothing."""
        known_mac, known_serial = self.macs[row], self.serials[row]
        return bool((mac and known_mac and mac != known_mac) or (serial and known_serial and serial != known_serial))

    def bind(self, row: int, mac: str | None, serial: str | None) -> None:
        """Remember the names that the machine of `row` shows; told ones stay, and one that another row has is left."""
        told = self._told[row]
        if mac and not told.mac:
            _rebind(self._row_of_mac, self.macs, row, mac)
        if serial and not told.serial:
            _rebind(self._row_of_serial, self.serials, row, serial)

    def free_id(self, wanted: str) -> str:
        """`wanted`, or with `~2`, `~3` behind it where a row has that id already."""
        id, number = wanted, 1
        while id in self.row_of_id:
            number += 1
            id = f"{wanted}~{number}"
        return id


def _rebind(index: dict[str, int], names: list[str | None], row: int, name: str) -> None:
    former = names[row]
    if name == former or name in index:
        return
    if former:
        del index[former]
    index[name], names[row] = row, name


_ROUNDING = 1e-6  # three shares of 0.333333 and one of 0.000001 are a whole


def parse_inventory(text: str, source: str = "inventory") -> tuple[Machine, ...]:
    """Machines of an inventory CSV.

    Columns: any of INVENTORY_COLUMNS; each line needs one of id, mac, serial, address.
    Errors:  SiteError that names file, line and column: unknown column, bad number, bad MAC, and what two lines claim:
             an id, a MAC, a serial or an address belongs to one machine; a meter does, or to several that say
             their shares of it, which make 1 at most.
    """
    reader = csv.DictReader(text.splitlines())
    header = [name.strip() for name in reader.fieldnames or ()]
    for name in header:
        if name not in INVENTORY_COLUMNS:
            raise SiteError(f"{source}: unknown column {name!r}; known: {', '.join(INVENTORY_COLUMNS)}")
    machines: list[Machine] = []
    lines: dict[tuple[str, ...], int] = {}
    shares: dict[tuple[str, ...], float] = {}
    for raw in reader:
        line = reader.line_num  # the reader skips empty lines without a word
        row = {(k or "").strip(): v.strip() for k, v in raw.items() if isinstance(v, str) and v.strip()}
        if not row:
            continue
        where = f"{source} line {line}"
        machine = _parse_line(row, where)
        for claim in _claims(machine):
            if (first := lines.setdefault(claim, line)) != line:
                raise SiteError(f"{where}: {' '.join(claim)} is already on line {first}")
        for meter in _meters_of(machine):
            _share_out(machine, meter, lines, shares, line, where)
        machines.append(machine)
    return tuple(machines)


def _claims(machine: Machine) -> Iterable[tuple[str, ...]]:
    """What no other line may have, in the words of the message."""
    yield "id", repr(machine.id)
    for name in ("mac", "serial", "address"):
        if value := getattr(machine, name):
            yield name, repr(value)


def _meters_of(machine: Machine) -> Iterable[tuple[str, ...]]:
    """The meters of a line, in the words of a message."""
    if machine.pdu and machine.outlet:
        for kind, id in parse_meters(machine.outlet):
            yield kind.value, repr(id), "of pdu", repr(machine.pdu)


def _share_out(
    machine: Machine,
    meter: tuple[str, ...],
    lines: dict[tuple[str, ...], int],
    shares: dict[tuple[str, ...], float],
    line: int,
    where: str,
) -> None:
    """One meter belongs to one machine, or to several that all say how they share it."""
    share, said, first = machine.share, " ".join(meter), lines.setdefault(meter, line)
    if first == line:
        shares[meter] = math.inf if share is None else share
        return
    former = shares[meter]
    if share is None or former == math.inf:
        raise SiteError(f"{where}: {said} is already on line {first}; a share on each of them would split it")
    if math.isnan(share) != math.isnan(former):
        raise SiteError(f"{where}: share of {said} is a number on one line and nameplate on another")
    shares[meter] = former + share
    if shares[meter] > 1.0 + _ROUNDING:
        raise SiteError(f"{where}: share {share:g} makes more than 1 of {said}")


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
        outlet=_outlet(row, where),
        share=_share(row, where),
        never_stop=_flag(row, "never_stop", where),
        credential=row.get("credential"),
        tariff=row.get("tariff"),
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


def _read(row: Mapping[str, str], name: str, where: str, parse: Callable[[str], Parsed]) -> Parsed | None:
    """A cell as `parse` reads it, None where it is empty.  Errors: SiteError that names the column."""
    text = row.get(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise SiteError(f"{where}: {name} {error}") from None


def _outlet(row: Mapping[str, str], where: str) -> str | None:
    _read(row, "outlet", where, parse_meters)
    return row.get("outlet")


def _share(row: Mapping[str, str], where: str) -> float | None:
    share = _read(row, "share", where, parse_share)
    if share is not None and not ("pdu" in row and "outlet" in row):
        raise SiteError(f"{where}: share {row['share']!r} is of nothing without pdu and outlet")
    return share


def _flag(row: Mapping[str, str], name: str, where: str) -> bool:
    text = row.get(name, "no").lower()
    if text in ("yes", "true", "1", "x"):
        return True
    if text in ("no", "false", "0"):
        return False
    raise SiteError(f"{where}: {name} {text!r} is neither yes nor no")


NAMEPLATE_COLUMNS = ("model", "hashrate_th", "power_w", "source")


def parse_nameplates(text: str, source: str = "nameplates") -> Mapping[str, Nameplate]:
    """Catalogue CSV `model,hashrate_th,power_w,source` -> nameplate by folded model name, bins apart (`plate_of`).

    Errors: SiteError that names file, line and column.
    """
    plates: dict[str, Nameplate] = {}
    reader = csv.DictReader(text.splitlines())
    for name in (name.strip() for name in reader.fieldnames or ()):
        if name not in NAMEPLATE_COLUMNS:
            raise SiteError(f"{source}: unknown column {name!r}; known: {', '.join(NAMEPLATE_COLUMNS)}")
    for raw in reader:
        where = f"{source} line {reader.line_num}"
        row = {(k or "").strip(): v.strip() for k, v in raw.items() if isinstance(v, str)}
        hashrate_th, power_w = _number(row, "hashrate_th", where), _number(row, "power_w", where)
        if not row.get("model") or hashrate_th is None or power_w is None:
            raise SiteError(f"{where}: needs model, hashrate_th and power_w")
        plate = Nameplate(row["model"], hashrate_th * TERA, power_w, row.get("source", ""))
        plates[fold_model(plate.model) + _bin_of(plate.model)] = plate
    return MappingProxyType(plates)


def overridden(nameplates: Mapping[str, Nameplate], own: Mapping[str, Nameplate]) -> Mapping[str, Nameplate]:
    """Both catalogues, `own` first: a model that it names without a bin means every bin that it does not name."""
    rest = {key: plate for key, plate in nameplates.items() if key.split("@")[0] not in own}
    return MappingProxyType(rest | dict(own))


def plate_of(nameplates: Mapping[str, Nameplate], model: str) -> Nameplate | None:
    """The nameplate of a model as machines and people write it: of its bin, else of the model, else None."""
    folded = fold_model(model)
    if bin := _bin_of(model):
        return nameplates.get(folded + bin) or nameplates.get(folded)
    return nameplates.get(folded)


_BIN = re.compile(r"\(\s*([0-9]{1,4}(?:\.[0-9]{1,2})?)\s*t", re.IGNORECASE)  # "(104T)", "(140.5 TH/s)", "(95Th)"
_CHIP_BIN = re.compile(r"v[a-z]?[0-9]{2}$")  # WhatsMiner names end in it: "M50S VH51", "M50SVH50", "M20S V10"
_MAKERS = re.compile(
    r"antminer|whatsminer|avalonminer|avalon|sealminer|bitaxe|auradine|braiins"
    r"|(?:proto|elphapex|luckyminer|epic)(?=\s)"  # these are parts of other words, or a model's whole name
)
_AVALON_A = re.compile(r"^a(?=[0-9]{4})")  # "A1566" and "1566" are one model


def _bin_of(model: str) -> str:
    """`@104` of "S19j Pro (104T)"; nothing where the name has no bin."""
    found = _BIN.search(model)
    return f"@{float(found[1]):g}" if found else ""


@lru_cache(maxsize=1024)  # a fleet has few models, and every reading names one
def fold_model(model: str) -> str:
    """Model name without maker, bracketed remarks, chip bin, case and spaces: `Antminer S19 Pro (110T)` -> `s19pro`."""
    bare = _MAKERS.sub("", model.split("(")[0].lower())
    folded = "".join(c for c in bare if c.isalnum() or c == "+").replace("hydro", "hyd")
    return _AVALON_A.sub("", _CHIP_BIN.sub("", folded))
