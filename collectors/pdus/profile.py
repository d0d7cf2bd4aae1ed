"""What a family of PDUs says and where, as data: a profile is one TOML file, and `decode` is the only reader of it.

A profile names OIDs, scales, sentinels and bounds; it holds no code. What it cannot say is missing from the reading,
never guessed. The rules that hold for every profile:
- of several columns (or totals) for one quantity the first that gives a value wins, so a fallback is one entry more;
- rows of one kind may be summed to a total, rows of different kinds see the same load and are never added;
- a sum in which one part is missing is missing;
- text where a number is due, a sentinel, a negative number and a value out of bounds are missing, never clamped.

OIDs are relative to 1.3.6.1.4.1 unless they start with `1.` or `0.` (some agents misencode their own identity).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from collectors.pdus.snmp import SYS_DESCR, SYS_UPTIME, TICKS_PER_S, Oid, Value, parse_oid, printable
from fleet.readings import PduReading, PduRow, Quality, RowKind

ENTERPRISES: Oid = (1, 3, 6, 1, 4, 1)

Number = Literal["power_w", "energy_j", "current_a", "voltage_v", "temperature_c", "humidity_ratio"]
Quantity = Literal[Number, "name", "number", "module", "is_on"]
NUMBERS: tuple[Number, ...] = ("power_w", "energy_j", "current_a", "voltage_v", "temperature_c", "humidity_ratio")


class ProfileError(ValueError):
    """A profile cannot be used; the message names the file and the place in it."""


class ProfileOid(tuple[int, ...]):
    """An OID as a profile writes it, made absolute."""

    __slots__ = ()


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of a profile: immutable, and an unknown key is an error."""


class Source(_Part, frozen=True, kw_only=True):
    """Where one number is and how it reads. Bounds and resolution are in the unit of the quantity, after the scale."""

    oid: ProfileOid
    scale: float = 1.0
    null: tuple[int | str, ...] = ()  # sentinels of this source
    signed: bool = False  # negative numbers are data, not "not available"
    minimum: float | None = None
    maximum: float | None = None
    resolution: float | None = None
    quality: Quality = Quality.MEASURED

    def __post_init__(self) -> None:
        if self.quality is Quality.MISSING:
            raise ValueError("quality is measured or estimated")


class Column(Source, frozen=True, kw_only=True):
    """One column of a table; `oid` lacks the row index."""

    quantity: Quantity
    group: Literal["fast", "slow"] = "fast"  # slow: read once in a while (names, counters that move slowly)
    on: tuple[int, ...] = ()
    off: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantity == "is_on" and not (self.on and self.off and not set(self.on) & set(self.off)):
            raise ValueError("is_on needs the numbers for on and for off, and no number may mean both")
        if self.quantity != "is_on" and (self.on or self.off):
            raise ValueError(f"on and off belong to is_on, not to {self.quantity}")


class Where(_Part, frozen=True, kw_only=True):
    """A row counts only if this column holds one of these numbers (a probe that is plugged in, for instance)."""

    oid: ProfileOid
    equals: tuple[int, ...]


class Table(_Part, frozen=True, kw_only=True):
    """Rows of one kind. `rows`: columns that tell which rows exist, the first that answers; no fast column."""

    kind: RowKind
    rows: tuple[ProfileOid, ...]
    columns: tuple[Column, ...]
    index: int = 1  # number of index parts; rows with another number are dropped
    where: Where | None = None

    def __post_init__(self) -> None:
        fast = {column.oid for column in self.columns if column.group == "fast"}
        if not self.rows or fast & set(self.rows):
            raise ValueError("rows needs at least one column, and none that is also a fast column")


class Match(_Part, frozen=True, kw_only=True):
    """How the family is known. A profile with probes fits only a device that answers one of them."""

    sys_object_id: tuple[ProfileOid, ...] = ()
    sys_descr: re.Pattern[str] | None = None
    probe: tuple[ProfileOid, ...] = ()
    priority: int = 0  # between profiles that fit equally well: the richer family first


class Limits(_Part, frozen=True, kw_only=True):
    """What the agents of this family can carry."""

    bulk: bool = True
    max_repetitions: int = 10
    max_varbinds: int = 25


class Identity(_Part, frozen=True, kw_only=True):
    """Objects that hold the identity, the first that answers; `sys_descr` finds what is left by named groups."""

    model: tuple[ProfileOid, ...] = ()
    serial: tuple[ProfileOid, ...] = ()
    firmware: tuple[ProfileOid, ...] = ()
    sys_descr: tuple[re.Pattern[str], ...] = ()


class Total(_Part, frozen=True, kw_only=True):
    """The whole unit's number: the sum of all rows of a kind, or one object."""

    rows: RowKind | None = None
    object: Source | None = None

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.object is None):
            raise ValueError("a total is either the sum of a kind of rows or one object")


class Totals(_Part, frozen=True, kw_only=True):
    power_w: tuple[Total, ...] = ()
    energy_j: tuple[Total, ...] = ()


class Profile(_Part, frozen=True, kw_only=True):
    """One family of PDUs; see the module for the rules."""

    id: str
    match: Match
    tables: tuple[Table, ...]
    limits: Limits = Limits()
    identity: Identity = Identity()
    total: Totals = Totals()

    def scalars(self) -> Iterator[Oid]:
        """Objects outside the tables that a full read asks for."""
        yield from (SYS_UPTIME, SYS_DESCR)
        yield from (*self.identity.model, *self.identity.serial, *self.identity.firmware)
        for total in (*self.total.power_w, *self.total.energy_j):
            if total.object is not None:
                yield total.object.oid

    def cells(self, varbinds: Mapping[Oid, Value]) -> Iterator[Oid]:
        """Every object of every row whose row columns are in `varbinds`."""
        for table in self.tables:
            for index in row_indexes(table, varbinds):
                if table.where is not None:
                    yield table.where.oid + index
                yield from (column.oid + index for column in table.columns)

    def fast_cells(self, varbinds: Mapping[Oid, Value]) -> tuple[Oid, ...]:
        """What to ask for between full reads, given one full read.

        Only what the device has, of several columns for one quantity none behind the one that gave a value, and of
        a row that does not count only the column that says so.
        """
        found: dict[Oid, None] = {SYS_UPTIME: None}
        for table in self.tables:
            for index in row_indexes(table, varbinds):
                if table.where is not None:
                    found[table.where.oid + index] = None
                    if varbinds.get(table.where.oid + index) not in table.where.equals:
                        continue
                settled: set[str] = set()
                for column in table.columns:
                    cell = column.oid + index
                    if column.quantity in settled or cell not in varbinds:
                        continue
                    if column.group == "fast":
                        found[cell] = None
                    if _read(column, varbinds[cell]) is not None:
                        settled.add(column.quantity)
        for totals in (self.total.power_w, self.total.energy_j):
            for total in totals:
                if total.object is not None and total.object.oid in varbinds:
                    found[total.object.oid] = None
        return tuple(found)

    def is_fast(self, oid: Oid) -> bool:
        """Whether an object changes from poll to poll, so that an old answer must not stand in for a new one."""
        return any(oid[: len(root)] == root for root in self._fast_roots())

    def _fast_roots(self) -> Iterator[Oid]:
        yield SYS_UPTIME
        for total in (*self.total.power_w, *self.total.energy_j):
            if total.object is not None:
                yield total.object.oid
        for table in self.tables:
            if table.where is not None:
                yield table.where.oid
            yield from (column.oid for column in table.columns if column.group == "fast")


# --- reading profiles ---


def parse_profile(text: str, source: str = "profile") -> Profile:
    """Errors: ProfileError, one line with the file and the key's path."""
    try:
        return msgspec.toml.decode(text, type=Profile, dec_hook=_from_text)
    except (msgspec.DecodeError, ValueError) as error:
        raise ProfileError(f"{source}: {str(error).splitlines()[0]}") from None


def _from_text(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    if kind is ProfileOid:
        oid = parse_oid(value)
        return ProfileOid(oid if oid[0] in (0, 1) else ENTERPRISES + oid)
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


@lru_cache(maxsize=1)
def packaged_profiles() -> tuple[Profile, ...]:
    """The families that come with Hashwatt."""
    folder = resources.files("collectors.pdus") / "profiles"
    found = sorted((entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(parse_profile(text, name) for name, text in found)


def load_profiles(folder: Path) -> tuple[Profile, ...]:
    """An operator's own profiles. Errors: ProfileError, OSError."""
    return tuple(parse_profile(path.read_text("utf-8"), str(path)) for path in sorted(folder.glob("*.toml")))


# --- finding the profile of a device ---


def candidates(profiles: Iterable[Profile], sys_object_id: Oid | None, sys_descr: str | None) -> tuple[Profile, ...]:
    """Profiles that may fit, best first: longest identity prefix, then description, then those only a probe can prove.

    Identity prefixes are compared part by part. Each candidate that has probes must still answer one (`answers`).
    """
    ranked: list[tuple[tuple[int, int, int], Profile]] = []
    for profile in profiles:
        match = profile.match
        length = max((len(p) for p in match.sys_object_id if sys_object_id and sys_object_id[: len(p)] == p), default=0)
        if length:
            ranked.append(((0, -length, -match.priority), profile))
        elif match.sys_descr is not None and sys_descr and match.sys_descr.search(sys_descr[:512]):
            ranked.append(((1, 0, -match.priority), profile))
        elif match.probe:
            ranked.append(((2, 0, -match.priority), profile))
    return tuple(profile for _, profile in sorted(ranked, key=lambda entry: entry[0]))


def answers(profile: Profile, varbinds: Mapping[Oid, Value]) -> bool:
    """Whether the device has one of the profile's probe objects, or the profile needs none."""
    return not profile.match.probe or any(oid in varbinds for oid in profile.match.probe)


# --- decoding ---


def row_indexes(table: Table, varbinds: Mapping[Oid, Value]) -> tuple[Oid, ...]:
    """Index of each row of a table, in order: those below the first row column that has any."""
    for root in table.rows:
        size = len(root)
        indexes = [oid[size:] for oid in varbinds if oid[:size] == root]
        if indexes:
            return tuple(sorted(index for index in indexes if len(index) == table.index))
    return ()


def decode(profile: Profile, varbinds: Mapping[Oid, Value]) -> PduReading:
    """One reading from the objects of one device, in any order, however few; nothing a device sends makes it fail."""
    warnings: dict[str, None] = {}
    rows: dict[tuple[RowKind, str], PduRow] = {}
    for table in profile.tables:
        for index in row_indexes(table, varbinds):
            if table.where is not None and varbinds.get(table.where.oid + index) not in table.where.equals:
                continue
            row = _row(table, index, varbinds, warnings)
            if rows.setdefault((row.kind, row.id), row) is not row:
                warnings[f"{row.kind}.duplicate_row"] = None
    power_w, power_quality, power_resolution_w = _total_power(profile.total.power_w, rows.values(), varbinds, warnings)
    uptime = varbinds.get(SYS_UPTIME)
    return PduReading(
        profile=profile.id,
        **_identity(profile.identity, varbinds),
        uptime_s=uptime / TICKS_PER_S if isinstance(uptime, int) and uptime >= 0 else None,
        power_w=power_w,
        power_quality=power_quality,
        power_resolution_w=power_resolution_w,
        energy_j=_total_energy(profile.total.energy_j, rows.values(), varbinds, warnings),
        rows=tuple(rows.values()),
        warnings=tuple(warnings),
    )


def _row(table: Table, index: Oid, varbinds: Mapping[Oid, Value], warnings: dict[str, None]) -> PduRow:
    found: dict[str, Any] = {}
    power: Column | None = None
    for column in table.columns:
        if column.quantity in found or (raw := varbinds.get(column.oid + index)) is None:
            continue
        value = _read(column, raw)
        if value is not None:
            found[column.quantity] = value
            power = column if column.quantity == "power_w" else power
        elif _is_implausible(column, raw):
            warnings[f"{table.kind}.{column.quantity}.implausible"] = None
    number = found.pop("number", ".".join(map(str, index)))
    module = found.pop("module", 1)
    return PduRow(
        kind=table.kind,
        id=_row_id(table.kind, module, number),
        **found,
        power_quality=power.quality if power else Quality.MISSING,
        power_resolution_w=power.resolution if power else None,
    )


def _row_id(kind: RowKind, module: object, number: object) -> str:
    """Linked units answer in one agent and number their outlets alike; the first keeps the printed numbers."""
    if kind is RowKind.UNIT:
        return str(module)
    return str(number) if module == 1 else f"{module}.{number}"


def _read(column: Column, raw: Value) -> float | int | str | bool | None:
    """What one cell says, None for all the ways to say nothing."""
    if column.quantity == "name":
        name = printable(raw)
        return None if name in column.null else name
    if column.quantity in ("number", "module"):
        return raw if isinstance(raw, int) and 0 < raw < 10_000 else None
    if column.quantity == "is_on":
        return True if raw in column.on else False if raw in column.off else None
    return _number(column, raw)


def _number(source: Source, raw: Value | None) -> float | None:
    if not isinstance(raw, int) or raw in source.null or (raw < 0 and not source.signed):
        return None
    value = round(raw * source.scale, 6)  # 49 x 0.1 A is 4.9 A to everybody but a binary float
    low, high = source.minimum, source.maximum
    return None if (low is not None and value < low) or (high is not None and value > high) else value


def _is_implausible(column: Column, raw: Value) -> bool:
    """A number that is neither a value nor a way to say "not available": out of bounds, or an unknown state."""
    return (
        column.quantity in (*NUMBERS, "is_on")
        and isinstance(raw, int)
        and raw not in column.null
        and (raw >= 0 or column.signed)
    )


def _total_power(
    totals: Sequence[Total], rows: Iterable[PduRow], varbinds: Mapping[Oid, Value], warnings: dict[str, None]
) -> tuple[float | None, Quality, float | None]:
    """Power of the unit, its quality (the worst of its parts) and its resolution (the coarsest of its parts)."""
    for total in totals:
        if total.object is not None:
            power_w = _number(total.object, varbinds.get(total.object.oid))
            if power_w is not None:
                return power_w, total.object.quality, total.object.resolution
            continue
        parts = [row for row in rows if row.kind is total.rows]
        watts = _sum(row.power_w for row in parts)
        if watts is not None:
            is_measured = all(row.power_quality is Quality.MEASURED for row in parts)
            steps = [row.power_resolution_w for row in parts if row.power_resolution_w is not None]
            return watts, Quality.MEASURED if is_measured else Quality.ESTIMATED, max(steps, default=None)
    if totals:
        warnings["total.power_w.missing"] = None
    return None, Quality.MISSING, None


def _total_energy(
    totals: Sequence[Total], rows: Iterable[PduRow], varbinds: Mapping[Oid, Value], warnings: dict[str, None]
) -> float | None:
    for total in totals:
        if total.object is not None:
            energy_j = _number(total.object, varbinds.get(total.object.oid))
        else:
            energy_j = _sum(row.energy_j for row in rows if row.kind is total.rows)
        if energy_j is not None:
            return energy_j
    if totals:
        warnings["total.energy_j.missing"] = None
    return None


def _sum(parts: Iterable[float | None]) -> float | None:
    """Sum of all parts, None if there is none or one of them is missing."""
    known: list[float] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    return round(sum(known), 6) if known else None


def _identity(identity: Identity, varbinds: Mapping[Oid, Value]) -> dict[str, str | None]:
    found = {
        field: next((text for oid in oids if (text := printable(varbinds.get(oid)))), None)
        for field, oids in (("model", identity.model), ("serial", identity.serial), ("firmware", identity.firmware))
    }
    described = printable(varbinds.get(SYS_DESCR), limit=512)
    for pattern in identity.sys_descr if described else ():
        if match := pattern.search(described or ""):
            for field, text in match.groupdict().items():
                if field in found and found[field] is None and text:
                    found[field] = text[:64]
    return found
