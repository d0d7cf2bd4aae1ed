"""BER as SNMP uses it: tag, length, body. Written for the emulated PDUs, apart from every client of ours.

Encoders give whole values (tag, length, body); decoders take a buffer and a position and raise BerError for bytes that
do not hold what they say. A client that agrees with this module agrees with a second reading of X.690.
"""

from __future__ import annotations

from functools import lru_cache

Oid = tuple[int, ...]

INTEGER, OCTETS, NULL, OBJECT_ID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
IP_ADDRESS, COUNTER32, GAUGE32, TIME_TICKS, OPAQUE, COUNTER64 = 0x40, 0x41, 0x42, 0x43, 0x44, 0x46
NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_MIB = b"\x80\x00", b"\x81\x00", b"\x82\x00"


class BerError(ValueError):
    """These bytes are not the BER we speak."""


def encode(tag: int, body: bytes) -> bytes:
    n = len(body)
    if n < 0x80:
        return bytes((tag, n)) + body
    size = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def encode_integer(value: int, tag: int = INTEGER) -> bytes:
    """Shortest two's complement; an unsigned type above its sign bit gets the leading zero that BER wants."""
    magnitude = value if value >= 0 else ~value
    return encode(tag, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))


@lru_cache(maxsize=65536)
def encode_oid(oid: Oid) -> bytes:
    if len(oid) < 2:
        oid = (*oid, *(0,) * (2 - len(oid)))
    body = bytearray()
    for arc in (oid[0] * 40 + oid[1], *oid[2:]):
        chunk = [arc & 0x7F]
        while arc := arc >> 7:
            chunk.append(0x80 | arc & 0x7F)
        body.extend(reversed(chunk))
    return encode(OBJECT_ID, bytes(body))


def encode_text(text: str) -> bytes:
    """Text as octets: UTF-8, and undecodable bytes of a file as they were in it."""
    return encode(OCTETS, text.encode("utf-8", "surrogateescape"))


def decode(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, body and the position behind them. Errors: BerError for anything that does not fit into `data`."""
    try:
        tag, n = data[at], data[at + 1]
        at += 2
        if n & 0x80:
            size = n & 0x7F
            if not 0 < size <= 4:
                raise BerError("length of length")
            n = int.from_bytes(data[at : at + size], "big")
            at += size
    except IndexError:
        raise BerError("truncated") from None
    if at + n > len(data):
        raise BerError("truncated")
    return tag, data[at : at + n], at + n


def decode_integer(data: bytes, at: int) -> tuple[int, int]:
    tag, body, end = decode(data, at)
    if tag != INTEGER or not body:
        raise BerError("integer expected")
    return int.from_bytes(body, "big", signed=True), end


@lru_cache(maxsize=65536)
def decode_oid(body: bytes) -> Oid:
    arcs: list[int] = []
    arc = 0
    for byte in body:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs or body[-1] & 0x80:
        raise BerError("object id")
    first = min(arcs[0] // 40, 2)
    return (first, arcs[0] - 40 * first, *arcs[1:])


def parse_oid(text: str) -> Oid:
    return tuple(int(arc) for arc in text.strip(".").split("."))
