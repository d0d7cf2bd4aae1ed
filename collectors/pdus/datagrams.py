"""What we must know of an SNMP datagram before a library may read it: whose answer it is, and that it holds together.

The libraries fall differently over bad bytes: one drops the whole answer in silence, the other stops with a panic, and
each reads its own meaning into an integer without digits. So every datagram is looked through here first, once, for
both of them: lengths must nest, names must be OIDs, and an answer larger than `MAX_OCTETS` counts as tooBig.

A value that is not what its tag says (a negative counter, an INTEGER of length 0, a tag that SNMP does not know) must
not cost the other values of its answer. Where no signature forbids it (v1, v2c) its tag is rewritten to OCTET STRING,
so it arrives as octets where a number was due, and is missing for that reason. Under v3 the answer is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_OCTETS = 4000
"""A full answer fits in 1,500; gufo reads 4,080."""

V1, V2C, V3 = 0, 1, 3
NO_ERROR, TOO_BIG, NO_SUCH_NAME = 0, 1, 2
IS_SIGNED, IS_ENCRYPTED = 1, 2

INTEGER, OCTETS, NULL, OBJECT_ID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
COUNTER32, GAUGE32, TIME_TICKS, OPAQUE, COUNTER64, UINTEGER32 = 0x41, 0x42, 0x43, 0x44, 0x46, 0x47
NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_MIB = 0x80, 0x81, 0x82
RESPONSE, REPORT = 0xA2, 0xA8

UNSUPPORTED_LEVEL, NOT_IN_TIME, UNKNOWN_USER, UNKNOWN_ENGINE, WRONG_DIGEST, DECRYPTION = range(1, 7)
IP_ADDRESS = (0x40, 4)
"""Tag and octets of an IpAddress."""

USM_STATS = bytes((0x2B, 6, 1, 6, 3, 15, 1, 1))
"""1.3.6.1.6.3.15.1.1, whose next part is one of the six above."""


REFUSALS = {
    UNSUPPORTED_LEVEL: "auth: the device does not offer this user this security level",
    NOT_IN_TIME: "auth: the device's clock and ours cannot be brought together",
    UNKNOWN_USER: "auth: the device does not know this user",
    UNKNOWN_ENGINE: "auth: the device keeps changing its engine id",
    WRONG_DIGEST: "auth: wrong authentication key or protocol",
    DECRYPTION: "auth: wrong privacy key or protocol",
}


class Unreadable(PollError):
    """The answer bears our number but cannot be read; smaller ones may be readable."""

    def __init__(self, why: str) -> None:
        super().__init__(FaultKind.MALFORMED, f"the answer cannot be read: {why}")


def wrong_version(version: int) -> PollError:
    name = {V1: "1", V2C: "2c", V3: "3"}[version]
    return PollError(FaultKind.MALFORMED, f"version mismatch: the agent answers in SNMP v{name}; set its version so")


def refused(report: int) -> PollError:
    """What a REPORT of an agent that does not let us in means."""
    return PollError(FaultKind.DENIED, REFUSALS.get(report, "auth: the device refuses without saying why"))


def silently_refused() -> PollError:
    """Some agents do not answer at all to what they cannot decrypt, but they do say who they are."""
    return PollError(FaultKind.DENIED, "auth: the device is there but stays silent; wrong privacy key or protocol?")


class Datagram(NamedTuple):
    """A datagram that holds together."""

    data: bytes
    version: int
    status: int | None
    """Error status; None where it is encrypted."""
    position: int = 0
    rows: int | None = None
    """How many rows it has; None where they are encrypted."""
    report: int | None = None
    """Which counter of usmStats a REPORT names; 0 for any other REPORT."""
    flags: int = 0
    """v3: IS_SIGNED, IS_ENCRYPTED."""
    signature: tuple[int, int] = (0, 0)
    """v3: where the signature begins and ends."""
    engine_id: bytes = b""
    """v3: whose keys and clock hold."""


def message_number(data: bytes) -> int | None:
    """The request-id (v1, v2c) or msgID (v3) of a datagram, also of one that is cut off behind it."""
    end = len(data)
    try:
        if (envelope := _envelope(data)) is not None:
            at, _ = _open(data, envelope.pdu, end, is_cut=True)
            return _integer(data, at, end)[0]
        version, at, _ = _open_message(data, is_cut=True)
        if version == V3:
            at, _ = _open(data, at, end, SEQUENCE, is_cut=True)
        else:
            _, at = _open(data, at, end, OCTETS)
            at, _ = _open(data, at, end, is_cut=True)
        return _integer(data, at, end)[0]
    except Unreadable:
        return None


def inspect(data: bytes, *, keeps_addresses: bool = False) -> Datagram:
    """What a datagram is. Errors: Unreadable.

    `keeps_addresses`: the library can tell an IpAddress from an OID, so it need not arrive as octets.
    """
    is_cut = len(data) > MAX_OCTETS
    if not is_cut and (envelope := _envelope(data)) is not None:
        version, at, end = envelope
    else:
        version, at, end = _open_message(data, is_cut=is_cut)
        if version not in (V1, V2C, V3):
            raise Unreadable(f"SNMP version {version}")
        if is_cut:
            return Datagram(b"", version, TOO_BIG)
        if version == V3:
            return _inspect_v3(data[:end], at)
        _, at = _open(data, at, end, OCTETS)
    mended = bytearray(data[:end])
    status, position, rows, report = _inspect_pdu(data, at, end, mended, keeps_addresses)
    if report is not None:
        raise Unreadable("a report, which only v3 has")
    return Datagram(bytes(mended), version, status, position, rows)


def discovery(number: int) -> bytes:
    """The v3 request that every agent answers, with a REPORT that bears its engine id; `number` is below 2^31."""
    four = bytes((INTEGER, 4)) + number.to_bytes(4, "big")
    header = four + bytes.fromhex("020300ffe3 040104 020103")  # the largest answer we take, "do report", USM
    nobody = bytes.fromhex("300e 0400 020100 020100 0400 0400 0400")
    nothing = bytes((0xA0, 14)) + four + bytes.fromhex("020100 020100 3000")
    message = bytes.fromhex("020103") + b"".join(
        bytes((tag, len(body))) + body
        for tag, body in ((SEQUENCE, header), (OCTETS, nobody), (SEQUENCE, bytes.fromhex("0400 0400") + nothing))
    )
    return bytes((SEQUENCE, len(message))) + message


def _inspect_v3(data: bytes, at: int) -> Datagram:
    header, at = _open(data, at, len(data), SEQUENCE)
    _, header = _integer(data, header, at)
    _, header = _integer(data, header, at)
    flags, header = _open(data, header, at, OCTETS)
    if header != flags + 1:
        raise Unreadable("flags")
    wrapped, at = _open(data, at, len(data), OCTETS)
    inside, security_end = _open(data, wrapped, at, SEQUENCE)
    engine, inside = _open(data, inside, security_end, OCTETS)
    engine_id = data[engine:inside]
    _, inside = _integer(data, inside, security_end)  # boots
    _, inside = _integer(data, inside, security_end)  # time
    _, inside = _open(data, inside, security_end, OCTETS)  # user
    signature = _open(data, inside, security_end, OCTETS)
    _, inside = _open(data, signature[1], security_end, OCTETS)  # salt
    if not inside == security_end == at:
        raise Unreadable("security parameters")
    if data[flags] & IS_ENCRYPTED:
        _open(data, at, len(data), OCTETS)
        return Datagram(data, V3, None, 0, None, None, data[flags], signature, engine_id)
    scoped, at = _open(data, at, len(data), SEQUENCE)
    _, scoped = _open(data, scoped, at, OCTETS)
    _, scoped = _open(data, scoped, at, OCTETS)
    return Datagram(
        data, V3, *_inspect_pdu(data, scoped, at, None, keeps_addresses=True), data[flags], signature, engine_id
    )


def _inspect_pdu(
    data: bytes, at: int, end: int, mended: bytearray | None, keeps_addresses: bool
) -> tuple[int, int, int, int | None]:
    """Error status, error index, how many rows, and what a REPORT is about."""
    kind = data[at] if at < end else None
    if kind not in (RESPONSE, REPORT):
        raise Unreadable("neither an answer nor a report")
    at, end = _open(data, at, end)
    _, at = _integer(data, at, end)
    status, at = _integer(data, at, end)
    position, at = _integer(data, at, end)
    first, rows_end = _open(data, at, end, SEQUENCE)
    if rows_end != end:
        raise Unreadable("something follows the rows")
    at, rows = first, 0
    while at < end:
        rows += 1
        # Nearly every row is a name and a small integer or a text, and but for that the same in every poll.
        value = at + 6 + data[at + 3] if at + 3 < end else end
        is_plain = _is_plain_row(data[at:value])
        at = value + data[value - 1] if is_plain else _inspect_row(data, at, end, mended, keeps_addresses)
    if at != end:
        raise Unreadable("cut off")
    if kind == RESPONSE:
        return status, position, rows, None
    found = data.find(USM_STATS, first, end)
    return status, position, rows, data[found + len(USM_STATS)] if found > 0 else 0


@lru_cache(maxsize=32_768)
def _is_plain_row(head: bytes) -> bool:
    """Whether a row that begins with these octets is sound if they are all of it but the body of an INTEGER or of an
    OCTET STRING, whatever that body is."""
    if len(head) < 6 or len(head) != 6 + head[3]:
        return False
    row_tag, row_octets, name_tag, name_octets, *name, tag, octets = head
    return (
        (row_tag, name_tag) == (SEQUENCE, OBJECT_ID)
        and row_octets == name_octets + octets + 4
        and row_octets < 0x80
        and (tag == OCTETS or (tag == INTEGER and 0 < octets <= 4))
        and _is_name(bytes(name))
    )


def _inspect_row(data: bytes, at: int, end: int, mended: bytearray | None, keeps_addresses: bool) -> int:
    """Where the row at `at` ends. A value that is not what its tag says is mended, or is Unreadable."""
    row, row_end = _open(data, at, end, SEQUENCE)
    name, value = _open(data, row, row_end, OBJECT_ID)
    body, value_end = _open(data, value, row_end)
    tag = data[value]
    if value_end != row_end or tag & 0x1F == 0x1F:
        raise Unreadable("a value of no known form")
    if not _is_name(data[name:value]):
        raise Unreadable("a name that is no OID")
    kept = tag if keeps_addresses and (tag, value_end - body) == IP_ADDRESS else _kept_tag(tag, data[body:value_end])
    if kept != tag:
        if mended is None:
            raise Unreadable("a value that is not what its tag says")
        mended[value] = kept
    return row_end


def _kept_tag(tag: int, body: bytes) -> int:
    """The tag itself where the body is what it says, else OCTET STRING."""
    match tag:
        case 0x02:  # INTEGER
            is_sound = 0 < len(body) <= 8 and -(2**31) <= int.from_bytes(body, "big", signed=True) < 2**31
        case 0x41 | 0x42 | 0x43 | 0x47:  # the 32-bit types without a sign: a fifth octet keeps the sign away
            is_sound = 0 < len(body) <= 5 and body[0] < 0x80 and (len(body) < 5 or body[0] == 0)
        case 0x04 | 0x44:  # OCTET STRING, Opaque
            is_sound = True
        case 0x06:  # OBJECT IDENTIFIER
            is_sound = _is_name(body)
        case 0x46:  # Counter64
            is_sound = 0 < len(body) <= 9 and body[0] < 0x80 and (len(body) < 9 or body[0] == 0)
        case 0x05:  # NULL
            is_sound = not body
        case 0x80 | 0x81 | 0x82 if not body:  # three words for "not here"; one of them lets gufo panic in a GETNEXT
            return END_OF_MIB
        case _:
            is_sound = False
    return tag if is_sound else OCTETS


@lru_cache(maxsize=65_536)
def _is_name(body: bytes) -> bool:
    """Whether these octets are an OID under 0, 1 or the first of 2, of at most 128 parts of 32 bits."""
    if not body or body[0] >= 0x78 or body[-1] >= 0x80:
        return False
    part = parts = 0
    for octet in body:
        if part == 0 and octet == 0x80:
            return False
        part = part << 7 | octet & 0x7F
        if part > 0xFFFFFFFF:
            return False
        if octet < 0x80:
            part = 0
            parts += 1
    return parts < 128


class _Envelope(NamedTuple):
    """Version, where the PDU begins, and where it and the message end."""

    version: int
    pdu: int
    end: int


def _envelope(data: bytes) -> _Envelope | None:
    """Around nearly every answer of v1 or v2c; None where it is none of those that are known at a glance."""
    try:
        at = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
        return _known_envelope(data[: at + 5 + data[at + 4]], len(data))
    except IndexError:
        return None


@lru_cache(maxsize=4096)
def _known_envelope(head: bytes, octets: int) -> _Envelope | None:
    """What a message of so many octets is that begins so, with its PDU behind it."""
    data = head.ljust(octets, b"\0")
    try:
        version, at, end = _open_message(data, is_cut=False)
        _, at = _open(data, at, end, OCTETS)
    except Unreadable:
        return None
    return _Envelope(version, at, end) if version in (V1, V2C) and at == len(head) else None


def _open_message(data: bytes, *, is_cut: bool) -> tuple[int, int, int]:
    """Version, what follows it, and the end of the message."""
    at, end = _open(data, 0, len(data), SEQUENCE, is_cut=is_cut)
    version, at = _integer(data, at, min(end, len(data)))
    return version, at, end


def _open(data: bytes, at: int, end: int, want: int | None = None, *, is_cut: bool = False) -> tuple[int, int]:
    """First octet and end of the body of the element at `at`; it must end before `end` unless it is cut off."""
    try:
        tag, n = data[at], data[at + 1]
    except IndexError:
        raise Unreadable("cut off") from None
    at += 2
    if n >= 0x80:
        size = n & 0x7F
        if not 0 < size <= 4:
            raise Unreadable("a length of no known form")
        n = int.from_bytes(data[at : at + size], "big")
        at += size
    if at > end or (at + n > end and not is_cut):
        raise Unreadable("cut off")
    if want is not None and tag != want:
        raise Unreadable(f"tag {tag:#04x} in place of {want:#04x}")
    return at, at + n


def _integer(data: bytes, at: int, end: int) -> tuple[int, int]:
    at, after = _open(data, at, end, INTEGER)
    if not 0 < after - at <= 5:
        raise Unreadable("an integer of no known form")
    return int.from_bytes(data[at:after], "big", signed=True), after
