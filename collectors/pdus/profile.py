"""What a family of PDUs says and where, as data: a profile is one TOML file, checked here and read by `layout`.

A profile names OIDs, scales, sentinels and bounds; it holds no code. What it cannot say is a rule by name
(`collectors.pdus.rules`), never a language inside TOML.

OIDs are relative to 1.3.6.1.4.1 unless they start with `1.3` or `0.` (some agents misencode their own identity). An OID
of a table may have holes that the index of a row fills: `{number}`, `{unit}`, any word; `{number+51}` adds to it;
`{unit:text}` is a text with its length before it, as SNMP writes texts into an index. An OID of a table without holes
gets the whole index behind it, unless it is a scalar: one that ends in `.0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from collectors.pdus.rules import RULES
from collectors.pdus.snmp import Oid, parse_oid
from fleet.readings import Counting, Quality, RowKind

ENTERPRISES: Oid = (1, 3, 6, 1, 4, 1)

Number = Literal[
    "power_w", "apparent_power_va", "power_factor", "energy_j", "current_a", "current_limit_a", "voltage_v",
    "frequency_hz", "temperature_c", "humidity_ratio",
]  # fmt: skip
Word = Literal["name", "number", "unit", "phase", "bank", "energy_since"]
Quantity = Literal[Number, Word, "is_on"]
IdentityField = Literal["model", "serial", "firmware", "name"]
Estimate = Literal["apparent", "apparent_x_factor", "volts_x_amperes", "volts_x_amperes_x_factor"]

ROOT = "{root}"


class ProfileError(ValueError):
    """A profile cannot be used; the message names the file and the place in it."""


class ProfileOid(tuple[int, ...]):
    """An OID as a profile writes it, made absolute."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Hole:
    """What a part of the index fills: one number, or a text with its length before it."""

    name: str
    plus: int = 0
    is_text: bool = False


Names = Mapping[str, Oid]
"""What fills the holes of one row, as parts of an OID."""


class Address(tuple[int | Hole, ...]):
    """An OID with holes. Without any it stands for a column, whose cells have the row's index behind it."""

    __slots__ = ()

    @property
    def stem(self) -> Oid:
        """What stands before the first hole."""
        found: list[int] = []
        for part in self:
            if isinstance(part, Hole):
                break
            found.append(part)
        return tuple(found)

    @property
    def is_whole(self) -> bool:
        """Whether this is no column but an object: it has holes of its own, or it is a scalar (`.0`)."""
        return len(self.stem) != len(self) or self[-1:] == (0,)

    def behind(self, column: Address) -> Address:
        """The address of a cell: `column` with this index behind it, or as it is where it needs none."""
        return column if column.is_whole else Address((*column, *self))

    def filled(self, names: Names) -> Oid | None:
        """The OID of one row; None if the row has no such name."""
        oid: list[int] = []
        for part in self:
            if isinstance(part, int):
                oid.append(part)
            elif (value := names.get(part.name)) is None:
                return None
            elif part.plus:
                oid.append(value[-1] + part.plus)
            else:
                oid.extend(value)
        return tuple(oid)

    def names_in(self, oid: Oid) -> dict[str, Oid] | None:
        """What fills the holes in `oid`; None if it is not an OID of this shape."""
        names: dict[str, Oid] = {}
        at = 0
        for part in self:
            if at >= len(oid):
                return None
            if isinstance(part, int):
                if oid[at] != part:
                    return None
                at += 1
                continue
            size = 1 + oid[at] if part.is_text else 1
            if at + size > len(oid) or oid[at] < part.plus:
                return None
            names[part.name] = oid[at : at + size] if part.is_text else (oid[at] - part.plus,)
            at += size
        return names if at == len(oid) else None


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of a profile: immutable, and an unknown key is an error."""


class Condition(_Part, frozen=True, kw_only=True):
    """Holds if the object is one of `equals`, or if it is none of `differs` (an absent one is none of them).

    `below` holds if the object is a smaller number, or none at all. Texts are compared without the blanks and NULs
    around them.
    """

    oid: Address
    equals: tuple[int | str, ...] = ()
    differs: tuple[int | str, ...] = ()
    below: int | None = None
    group: Literal["fast", "slow"] = "slow"

    def __post_init__(self) -> None:
        if bool(self.equals) + bool(self.differs) + (self.below is not None) != 1:
            raise ValueError("a condition has either equals or differs or below")


class ScaleBy(_Part, frozen=True, kw_only=True):
    """A scale that the device tells. digits: 10^-n; signed: divide by |n| where n is negative, else multiply (0: 1)."""

    oid: Address
    rule: Literal["digits", "signed"]


class Source(_Part, frozen=True, kw_only=True):
    """Where one number is and how it reads. Bounds and resolution are in the unit of the quantity, after the scale."""

    oid: Address
    scale: float = 1.0
    scale_by: ScaleBy | None = None
    fahrenheit: Condition | None = None  # where it holds the number is in degrees Fahrenheit
    text: bool = False  # a number in text
    reads: re.Pattern[str] | None = None  # where in the text the number is, as its first group: `^(\d+) ?A`
    null: tuple[int | str, ...] = ()  # sentinels of this source
    signed: bool = False  # negative numbers are data, not "not available"
    magnitude: bool = False  # the sign tells something else: lead or lag of a power factor
    minimum: float | None = None
    maximum: float | None = None
    resolution: float | None = None
    quality: Quality = Quality.MEASURED
    estimated: Condition | None = None  # where it holds the number is an estimate
    counting: Counting = Counting.RESETTABLE  # of an energy counter
    wraps: float | None = None  # where an energy counter starts again from zero, in the raw number

    def __post_init__(self) -> None:
        if self.quality is Quality.MISSING:
            raise ValueError("quality is measured or estimated")
        if not self.scale > 0:
            raise ValueError("scale is a positive number")
        if self.reads is not None and not (self.text and self.reads.groups == 1):
            raise ValueError("reads is for text, and has one group: the number")


class Column(Source, frozen=True, kw_only=True):
    """One column of a table, or a scattered thing that every row has one of."""

    quantity: Quantity
    group: Literal["fast", "slow"] = "fast"  # slow: read once in a while (names, counters that move slowly)
    on: tuple[int | str, ...] = ()
    off: tuple[int | str, ...] = ()
    numbers: tuple[int, int] | None = None  # only for rows whose {number} is in this range
    pick: Literal["bit", "csv"] | None = None  # one object for many rows: a bit, or an item between commas
    first: int = 1  # the {number} whose bit or item comes first
    at: int | None = None  # the item to pick, from 1, whatever the {number}
    where: tuple[Condition, ...] = ()  # the cell counts only if all hold
    named: re.Pattern[str] | None = None  # in a table by names: which variable this is
    follow: bool = False  # the object holds the OID of the object that says it
    words: Mapping[str, str] = {}  # of a name, phase or bank told as a number: what the number says; no other is a word

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantity == "is_on" and not (self.on and self.off and not set(self.on) & set(self.off)):
            raise ValueError("is_on needs the numbers for on and for off, and no number may mean both")
        if self.quantity != "is_on" and (self.on or self.off):
            raise ValueError(f"on and off belong to is_on, not to {self.quantity}")


class Table(_Part, frozen=True, kw_only=True, eq=False):
    """Rows of one kind, found by the columns in `rows` (the first that answers).

    With `count`, each of them stands for that many rows with {number} 1..count. With `names` there is no index that
    could be known beforehand: `names` is a column of variable names, each column of ours is found by `named`, and the
    groups `number` and `unit` of the expression tell the row; without such a group the hole `{unit}` of the index does.
    """

    kind: RowKind
    columns: tuple[Column, ...]
    rows: tuple[Address, ...] = ()
    index: Address = Address((Hole("number"),))
    count: int | None = None
    where: tuple[Condition, ...] = ()  # the row counts only if all hold
    unless: tuple[RowKind, ...] = ()  # only where no table before it has found a row of these kinds
    completes: bool = False  # its rows complete those of the same kind, unit and number that are there already
    names: ProfileOid | None = None
    estimate: tuple[Estimate, ...] = ()  # watts where no column gives any, the first that can be made

    def __post_init__(self) -> None:
        if bool(self.rows) == (self.names is not None):
            raise ValueError("a table needs either rows or names")
        if any((column.named is None) == (self.names is not None) for column in self.columns):
            raise ValueError("named belongs to every column of a table with names, and to no other")


class TextProbe(_Part, frozen=True, kw_only=True):
    """Answered if the object is a text or octets that contain this."""

    oid: ProfileOid
    contains: str


class Match(_Part, frozen=True, kw_only=True):
    """How the family is known: by identity prefix or description, then by what only this family answers.

    A family with probes is taken at once if one answers. Without an answer its identity still proves it, unless
    `needs_probe` says that other devices have the same one; then identity and description must both fit. A description
    alone proves it where the identity names no product (none, a maker's bare number, a generic agent's).
    """

    sys_object_id: tuple[ProfileOid, ...] = ()
    sys_descr: re.Pattern[str] | None = None
    excludes: re.Pattern[str] | None = None  # a sysDescr that is none of this family
    probe: tuple[ProfileOid, ...] = ()  # one of these objects exists
    probe_under: tuple[ProfileOid, ...] = ()  # anything exists below
    probe_text: tuple[TextProbe, ...] = ()
    needs_probe: bool = False
    priority: int = 0  # between profiles that fit equally well: the richer family first


class Limits(_Part, frozen=True, kw_only=True):
    """What the agents of this family can carry."""

    bulk: bool = True
    max_repetitions: int = 10
    max_varbinds: int = 25


class Identity(_Part, frozen=True, kw_only=True):
    """Objects that hold the identity, the first that answers; `sys_descr` finds what is left by named groups.

    `like` says by field what an answer must look like, where firmwares disagree about what is in an object. Where the
    number of the first unit is nobody's to know, `columns` names a column that tells the rows of a table, for its first
    cell.
    """

    model: tuple[ProfileOid, ...] = ()
    serial: tuple[ProfileOid, ...] = ()
    firmware: tuple[ProfileOid, ...] = ()
    name: tuple[ProfileOid, ...] = ()
    sys_descr: tuple[re.Pattern[str], ...] = ()
    like: Mapping[IdentityField, re.Pattern[str]] = {}
    columns: Mapping[IdentityField, ProfileOid] = {}


class Total(_Part, frozen=True, kw_only=True):
    """The whole unit's number: the sum of all rows of a kind, or one object.

    Where several units of a chain answer, a sum counts if it has rows of all of them; an object speaks for the first
    of them, unless it is told to be `of_chain`.
    """

    rows: RowKind | None = None
    object: Source | None = None
    of_chain: bool = False

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.object is None):
            raise ValueError("a total is either the sum of a kind of rows or one object")
        if self.rows is RowKind.GROUP:
            raise ValueError("groups overlap and are never summed")


class Totals(_Part, frozen=True, kw_only=True):
    power_w: tuple[Total, ...] = ()
    energy_j: tuple[Total, ...] = ()

    def objects(self) -> Iterator[Source]:
        for total in (*self.power_w, *self.energy_j):
            if total.object is not None:
                yield total.object


class RuleUse(_Part, frozen=True, kw_only=True):
    """A named Python rule that looks at the rows once more, with the objects that it needs."""

    name: str
    oids: tuple[ProfileOid, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ValueError(f"there is no rule {self.name!r}; known: {', '.join(sorted(RULES))}")


class Profile(_Part, frozen=True, kw_only=True):
    """One family of PDUs; see the module for the rules."""

    id: str
    title: str = ""  # makers and models in words
    notes: tuple[str, ...] = ()  # what an operator should know about its numbers
    roots: tuple[str, ...] = ()  # the same family below several roots: `{root}` in its OIDs
    match: Match
    tables: tuple[Table, ...] = ()
    limits: Limits = Limits()
    identity: Identity = Identity()
    total: Totals = Totals()
    rules: tuple[RuleUse, ...] = ()
    first_unit: int = 1  # the unit of a chain whose rows keep their printed numbers
    full_numbers: bool = False  # printed numbers tell the unit as well: AA1, BA1

    def scalars(self) -> Iterator[Oid]:
        """Objects outside the tables that a full read asks for."""
        identity = self.identity
        yield from (*identity.model, *identity.serial, *identity.firmware, *identity.name)
        for source in self.total.objects():
            yield source.oid.stem
            if source.estimated is not None:
                yield source.estimated.oid.stem
            if source.scale_by is not None:
                yield source.scale_by.oid.stem
        for rule in self.rules:
            yield from rule.oids


# --- reading profiles ---


def parse_profile(text: str, source: str = "profile") -> tuple[Profile, ...]:
    """The profile of one file, once for each of its roots. Errors: ProfileError, one line with the file and the key."""
    try:
        raw = msgspec.toml.decode(text)
        roots = raw.get("roots") if isinstance(raw, dict) else None
        variants = [_rooted(raw, root) for root in roots] if isinstance(roots, list) and roots else [raw]
        return tuple(msgspec.convert(variant, type=Profile, dec_hook=_from_text) for variant in variants)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProfileError(f"{source}: {_with_choices(str(error).splitlines()[0])}") from None


_CHOICES: Mapping[str, Iterable[str]] = {
    "kind": RowKind,
    "unless": RowKind,
    "rows": RowKind,
    "quantity": get_args(Quantity),
    "estimate": get_args(Estimate),
    "counting": Counting,
    "quality": (Quality.MEASURED, Quality.ESTIMATED),
    "group": ("fast", "slow"),
    "pick": ("bit", "csv"),
    "rule": ("digits", "signed"),
}
"""What a key may be where it is one of a few words."""


def _with_choices(message: str) -> str:
    """A wrong word, and the right ones behind it: whoever wrote it should not have to look them up."""
    key = re.match(r"Invalid enum value .* - at `\$.*?([a-z_]+)(?:\[(?:\d+|\.\.\.)\])*`$", message)
    choices = _CHOICES.get(key[1]) if key else None
    return f"{message}; known: {', '.join(choices)}" if choices else message


def _rooted(part: Any, root: object) -> Any:
    if isinstance(part, str):
        return part.replace(ROOT, str(root))
    if isinstance(part, list):
        return [_rooted(item, root) for item in part]
    if isinstance(part, dict):
        return {key: _rooted(value, root) for key, value in part.items()}
    return part


def _from_text(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    if kind is ProfileOid:
        return ProfileOid(_absolute(parse_oid(value)))
    if kind is Address:
        return parse_address(value)
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


def _absolute(oid: Oid) -> Oid:
    return oid if oid[:1] == (0,) or oid[:2] == (1, 3) else ENTERPRISES + oid


_HOLE = re.compile(r"\{(?P<name>[a-z_]+)(?:\+(?P<plus>\d{1,5})|:(?P<text>text))?\}")


def parse_address(text: str) -> Address:
    """An OID with holes, or an index that begins with one. Errors: ValueError that says what is wrong."""
    stem: list[int | Hole] = []
    for part in text.strip().removeprefix(".").split("."):
        hole = _HOLE.fullmatch(part)
        if hole:
            stem.append(Hole(hole["name"], int(hole["plus"] or 0), is_text=hole["text"] is not None))
        elif part.isascii() and part.isdigit() and len(part) <= 10:
            stem.append(int(part))
        else:
            raise ValueError(f"{text!r} is not an OID with holes")
    numbers = Address(tuple(stem)).stem
    return Address((*_absolute(numbers), *stem[len(numbers) :]) if numbers else tuple(stem))


@lru_cache(maxsize=1)
def packaged_profiles() -> tuple[Profile, ...]:
    """The families that come with Hashwatt."""
    folder = resources.files("collectors.pdus") / "profiles"
    found = sorted((entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(profile for name, text in found for profile in parse_profile(text, name))


def load_profiles(folder: Path) -> tuple[Profile, ...]:
    """An operator's own profiles. Errors: ProfileError, one line with the file."""
    found: list[Profile] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{path}: {error}") from None
        found += parse_profile(text, str(path))
    return tuple(found)


@lru_cache(maxsize=8)
def profiles_with(folder: Path | None) -> tuple[Profile, ...]:
    """The packaged families and the operator's; his word replaces a packaged profile of the same id."""
    own = load_profiles(folder) if folder is not None and folder.is_dir() else ()
    taken = {profile.id for profile in own}
    return (*own, *(profile for profile in packaged_profiles() if profile.id not in taken))
