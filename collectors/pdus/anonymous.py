"""What must not leave a farm with the walk of a PDU, by the table of `collectors.redaction`.

A walk has no names behind which secrets could be looked for, only OIDs. So it is closed by default: a text stays if a
profile or a standard says what it is and that is nothing private, or if it is made of the words and numbers that PDUs
use for themselves ("Outlet 12", "Phase L1", "v7.0.1"). Every other text, which may well be a community or a password,
becomes one of the same shape. MACs and addresses are replaced wherever they stand, also within an index. Numbers stay:
they are what the recording is for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from collectors.pdus.layout import survey
from collectors.pdus.profile import Column, Profile, Table
from collectors.pdus.snmp import SYS_DESCR, Oid, Value, parse_oid
from collectors.pdus.snmprec import IP_ADDRESS, Tagged
from collectors.redaction import Kind, Redactor

SYSTEM = parse_oid("1.3.6.1.2.1.1")
ENTITY = parse_oid("1.3.6.1.2.1.47.1.1.1.1")
ENGINE_ID = parse_oid("1.3.6.1.6.3.10.2.1.1.0")

KNOWN: Mapping[Oid, Kind | None] = {
    (*SYSTEM, 1): None,  # description
    (*SYSTEM, 4): Kind.NAME,  # contact
    (*SYSTEM, 5): Kind.NAME,
    (*SYSTEM, 6): Kind.NAME,  # location
    (*SYSTEM, 9): None,  # which MIBs it speaks
    **{(*ENTITY, column): None for column in (8, 9, 10, 12, 13)},  # revisions, maker, model
    (*ENTITY, 11): Kind.SERIAL,
    (*ENTITY, 14): Kind.NAME,  # alias
    (*ENTITY, 15): Kind.SERIAL,  # asset number
}
"""What standards say about an object or a column; None = may be shown."""

_VOCABULARY = """
a aa ab ac active ad agent aisle alarm alert alias all ambient amp ampere amperes amps an analog apc apparent asset
aten auto available average avg avocent b ba back backup bank banks bar bb bc bn bottom br branch branches breaker
breakers bus busbar bypass c ca cabinet capacity card cb cc celsius channel channels chatsworth circuit circuits
clear closed cn co cold communication config configuration connected contact conteg controller cooling cord cords
corp corporation count cpi crest critical cross current custom cyberpower cycle d daisy data date day days dd deg
degree degrees dell delta desc descname descr description device dewpoint digipower digital disabled disconnected
display door down e eaton electric emerson empty enabled energy enlogic environment epdu error event exceeded
expansion external f factor fahrenheit fail failed failure false fan fault feed feeds firmware fixed floor frequency
front full fuse g gauge geist general gmbh good ground group groups gude h hardware hewlett high horizontal host hot
hour hours hp hpe humid humidity hysteresis hz i id idle in inc index infeed inlet inlets inner input inputs
installed intelligent internal inverter ipdu j k ka kva kvah kvar kvarh kw kwh l lag last lead left legrand level
liebert limit line lines link list lite load local lost low lower ltd m ma main mains major managed management
manager manual master max maximum mcb mean measure measured measurement memory meter metered meters mge min minimum
minor minute minutes mode model module modules monitor monitored mv mw mwh n na name near netbotz network neutral
next no nominal none normal normally not notinstalled notsupported number nvent o off ok on online open operating
other out outer outlet outlets output outputs over overcurrent overload p packard panduit pdu pdus peak percent pf
phase phases plug plugs pole poles port ports position power powertek powerware present primary probe probes product
protector pwr q r rack ramp raritan rated rating reactive real rear receptacle receptacles redundant relative relay
relays remote reset residual revision rh right rittal rms role room rotation row rpdu ru running s schleifenbauer
schneider secondary seconds section sections sensor sensors serial server servertech set setpoint since single slave
smart smoke socket sockets source split standalone standard standby star state status strip sum supplied supply
supported surge switch switched system systems t tamper technology temp temperature thd three threshold tie time
timer to top total tower towers transfer trip tripp tripped true ts type u unavailable uncalibrated unit units
unknown unused up upper uptime v va vac vah value values var varh version vertical vertiv volt voltage volts w
warning water watt watts wh wye x xy y year yes z zero zone
"""
WORDS = frozenset(_VOCABULARY.split())
"""What PDUs say about themselves; nobody's name and, it may be hoped, nobody's password."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_VERSION = re.compile(r"[A-Za-z]{0,3}[ .]?\d{1,4}(?:[._-][A-Za-z]{0,2}\d{1,6}){1,4}[a-z]?")
_MOMENT = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T,]+\d{1,2}:\d{2}(?::\d{2})?(?: ?[AP]M)?)?|\d{1,2}:\d{2}(:\d{2})?"
)
_MOST_DIGITS = 7
_MOST_LETTERS = 2
"""In one text, digits and letters that stand alone: more are a number or a code of one certain device."""

_SERIAL = re.compile(r"\b(?:S/?N|[Ss]erial(?: ?(?:[Nn]o\.?|[Nn]umber))?)\s*[:#=]?\s*(?P<serial>[A-Za-z0-9-]{5,})")
_UNAME = re.compile(r"(?:Linux|FreeBSD|Darwin) (?P<host>\S+) \d")
_NOT_CAPITALS = re.compile(rb"(?:(?<![A-Z])[A-Z]{1,2}(?![A-Z])|[^A-Z])+")
_MAC_OCTETS = 6
_LONGEST_BITS = 8
_CLOCK_OCTETS = (8, 11)  # DateAndTime, without and with a zone
_SHORTEST_WORD_IN_INDEX = 6


def anonymous(
    rows: Mapping[Oid, Tagged], profiles: Iterable[Profile], redactor: Redactor, secrets: Iterable[str] = ()
) -> dict[Oid, Tagged]:
    """The same walk without what it should not tell. `profiles`: those that may fit, best first.

    `secrets` are taken out of every text, whatever else may stay; `redactor` needs a key.
    """
    crowd = _Crowd(rows, tuple(profiles), redactor, tuple(s.encode() for s in secrets if s))
    for oid, tagged in rows.items():
        crowd.told(oid, tagged)  # only to learn: what one object names stands in the text of another
    return {crowd.oid(oid): Tagged(tagged.tag, crowd.told(oid, tagged)) for oid, tagged in rows.items()}


class _Crowd:
    """One walk: what is known of its objects, and what stands in whose place."""

    def __init__(
        self, rows: Mapping[Oid, Tagged], profiles: tuple[Profile, ...], redactor: Redactor, secrets: tuple[bytes, ...]
    ) -> None:
        self._redactor = redactor
        self._secrets = secrets
        found = {oid: tagged.value for oid, tagged in rows.items()}
        self._kinds = dict(_kinds(found, profiles))
        self._lists = {oid for profile in profiles for oid in _lists(profile, found)}
        self._descr = tuple(pattern for profile in profiles for pattern in profile.identity.sys_descr)
        self._may_be_said = {_text(found[oid]) for oid, kind in self._kinds.items() if kind is None and oid in found}
        self._words = {word.lower() for word in _WORD.findall(self._described(_text(found.get(SYS_DESCR)) or ""))}
        self._places = {bytes(value): None for value in _addresses(rows)}

    def told(self, oid: Oid, tagged: Tagged) -> Value:
        """What may be said in the place of a value."""
        tag, value = tagged
        if isinstance(value, tuple):
            return self.oid(value)
        if isinstance(value, int):
            if self._kind(oid) is Kind.SERIAL and value > 0:
                return int(self._redactor.value(Kind.SERIAL, str(value)).lstrip("0") or "1")
            return value
        if tag == IP_ADDRESS:
            return self._address(value)
        for secret in self._secrets:
            value = value.replace(secret, b"*" * len(secret))
        text = _text(value)
        if text is None:
            return self._octets(oid, value)
        return self._spoken(oid, text).encode("utf-8") + value[len(text.encode("utf-8")) :]

    def oid(self, oid: Oid) -> Oid:
        """An OID without the texts and addresses that its index may be made of."""
        parts = list(oid)
        for at in range(len(SYSTEM), len(parts)):
            size = parts[at]
            word = parts[at + 1 : at + 1 + size]
            if _SHORTEST_WORD_IN_INDEX <= size == len(word) and all(32 <= part < 127 for part in word):
                told = self._spoken((), "".join(map(chr, word)))
                if len(told) == size:
                    parts[at + 1 : at + 1 + size] = map(ord, told)
        for size in (4, _MAC_OCTETS):
            for at in range(max(len(SYSTEM), len(parts) - size - 2), len(parts) - size + 1):
                place = parts[at : at + size]
                if max(place) < 256 and bytes(place) in self._places:
                    parts[at : at + size] = self._address(bytes(place)) if size == 4 else self._mac(bytes(place))
        return tuple(parts)

    def _kind(self, oid: Oid) -> Kind | None:
        known = self._kinds.get(oid)
        return known if known is not None else KNOWN.get(oid[: len(SYSTEM) + 1]) or KNOWN.get(oid[: len(ENTITY) + 1])

    def _is_known(self, oid: Oid) -> bool:
        return oid in self._kinds or oid[: len(SYSTEM) + 1] in KNOWN or oid[: len(ENTITY) + 1] in KNOWN

    def _spoken(self, oid: Oid, text: str) -> str:
        if oid == SYS_DESCR:
            return self._redactor.text(self._described(text))
        if oid in self._lists:
            return ",".join(self._named(self._redactor.text(part)) for part in text.split(","))
        if _VERSION.fullmatch(text) and oid in self._kinds and self._kinds[oid] is None:
            return text  # 10.1.2.3 may be a version, too
        said = self._redactor.text(text)
        if self._is_known(oid):
            kind = self._kind(oid)
            if kind is Kind.NAME:
                return self._named(said)
            return said if kind is None else self._redactor.value(kind, said)
        return said if text in self._may_be_said else self._named(said, Kind.TEXT)

    def _named(self, text: str, kind: Kind = Kind.NAME) -> str:
        """A text that may hold anything: kept if everybody's PDU could say it."""
        return text if self._is_harmless(text) else self._redactor.value(kind, text)

    def _is_harmless(self, text: str) -> bool:
        return all(_is_plain_part(part, self._words) for part in re.split(r"[,;|]", text))

    def _described(self, descr: str) -> str:
        """The description of the system without serial number and host name."""
        for pattern in (*self._descr, _SERIAL, _UNAME):
            for found in pattern.finditer(descr):
                named = found.groupdict()
                for group, kind in (("serial", Kind.SERIAL), ("host", Kind.NAME)):
                    if said := named.get(group):
                        descr = descr.replace(said, self._redactor.value(kind, said))
        return descr

    def _octets(self, oid: Oid, value: bytes) -> bytes:
        if oid == ENGINE_ID:  # maker, form, and then a MAC, an address or a text
            return value[:5] + _NOT_CAPITALS.sub(lambda found: bytes(len(found[0])), value[5:])
        if len(value) == _MAC_OCTETS:
            return self._mac(value)
        if len(value) == 4:
            return self._address(value) if IPv4Address(value).is_private else value
        if len(value) <= _LONGEST_BITS or (len(value) in _CLOCK_OCTETS and _is_moment(value)):
            return value
        self._redactor.value(Kind.TEXT, value.hex())
        return bytes(len(value))

    def _mac(self, value: bytes) -> bytes:
        told = self._redactor.value(Kind.MAC, value.hex(":"))
        return bytes.fromhex(told.replace(":", ""))

    def _address(self, value: bytes) -> bytes:
        if len(value) != 4:
            return bytes(len(value))
        return IPv4Address(self._redactor.value(Kind.ADDRESS, str(IPv4Address(value)))).packed


# --- what is known ---------------------------------------------------------------------------------------------------


def _kinds(found: Mapping[Oid, Value], profiles: Iterable[Profile]) -> Iterator[tuple[Oid, Kind | None]]:
    """What the profiles say about objects of this walk, the best profile last."""
    for profile in reversed(tuple(profiles)):
        identity = profile.identity
        yield from ((oid, None) for oid in (*identity.model, *identity.firmware))
        yield from ((oid, Kind.NAME) for oid in identity.name)
        yield from ((oid, Kind.SERIAL) for oid in identity.serial)
        for table in profile.tables:
            yield from _named_variables(table, found)
        for line in survey(profile, found).lines:
            yield from ((oid, None) for oid, _ in line.where)
            for cell in line.cells:
                yield from ((oid, None) for oid in cell.oids())
                if cell.column.quantity == "name":
                    yield cell.oid, Kind.NAME


def _named_variables(table: Table, found: Mapping[Oid, Value]) -> Iterator[tuple[Oid, None]]:
    if table.names is not None:
        yield from ((oid, None) for oid in found if oid[: len(table.names)] == table.names)


def _lists(profile: Profile, found: Mapping[Oid, Value]) -> Iterator[Oid]:
    """Objects that hold the names of many rows, with commas between them."""
    for line in survey(profile, found).lines:
        yield from (cell.oid for cell in line.cells if _is_list(cell.column))


def _is_list(column: Column) -> bool:
    return column.quantity == "name" and column.pick == "csv"


def _addresses(rows: Mapping[Oid, Tagged]) -> Iterator[bytes]:
    """Addresses and MACs that stand in values, for an index may be made of them."""
    for tag, value in rows.values():
        if not isinstance(value, bytes) or not any(value):
            continue
        if tag == IP_ADDRESS or (len(value) == _MAC_OCTETS and _text(value) is None):
            yield value


def _text(value: Value | None) -> str | None:
    """Text of octets up to the NULs that pad it; None for what is no text."""
    if not isinstance(value, bytes):
        return None
    try:
        text = value.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else None


def _is_plain_part(part: str, words: Iterable[str]) -> bool:
    part = part.strip().replace("°", "")
    if _VERSION.fullmatch(part) or _MOMENT.fullmatch(part) or len(set(part)) < 2:
        return True
    said = [word.lower() for word in _WORD.findall(part)]
    is_known = all(word in WORDS or word in words for word in said)
    is_code = sum(len(word) == 1 for word in said) > _MOST_LETTERS or sum(map(str.isdigit, part)) > _MOST_DIGITS
    return is_known and not is_code and part.isascii()


def _is_moment(value: bytes) -> bool:
    year, month, day, hour, minute, second, tenth = int.from_bytes(value[:2]), *value[2:8]
    return 1970 <= year < 2200 and month < 13 and day < 32 and hour < 24 and minute < 60 and second < 61 and tenth < 10
