"""What an SNMP v1/v2c agent says to one datagram, without sockets: a function over a tree of objects.

A `Tree` is sorted OIDs and a value per OID, encoded when asked, so that live numbers cost nothing while nobody looks.
A `Manner` is how the agent treats its tree, its answers and its datagrams; `HONEST` is the plain one, the others are
in `hil.manners`. A datagram that cannot be read, or a wrong community, gets silence, as from a real agent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hil.ber import (
    COUNTER64,
    END_OF_MIB,
    NO_SUCH_INSTANCE,
    NO_SUCH_OBJECT,
    NULL,
    OBJECT_ID,
    OCTETS,
    SEQUENCE,
    BerError,
    Oid,
    decode,
    decode_integer,
    decode_oid,
    encode,
    encode_integer,
    encode_oid,
)

GET, GET_NEXT, RESPONSE, SET, GET_BULK = 0xA0, 0xA1, 0xA2, 0xA3, 0xA5
TOO_BIG, NO_SUCH_NAME, READ_ONLY, NO_ACCESS = 1, 2, 4, 6
V1, V2C = 0, 1
MAX_DATAGRAM_BYTES = 1472
"""What fits into one Ethernet frame; real agents cut or refuse there too."""
NOTHING = encode(NULL, b"")


class Tree(Protocol):
    """What an agent serves: sorted OIDs, and the encoded value (tag, length, body) of the i-th of them now.

    `victims` are the positions that a fault of values spoils: measured numbers, one row of each kind, so that the
    others must survive it. `serial` is what the device calls itself, in the bytes it uses; empty = not known.
    """

    @property
    def oids(self) -> Sequence[Oid]: ...

    @property
    def victims(self) -> Collection[int]: ...

    @property
    def serial(self) -> bytes: ...

    def value(self, i: int) -> bytes: ...


class Request(NamedTuple):
    """One question. `first` and `second` are non-repeaters and repetitions of a GETBULK."""

    version: int
    community: bytes
    kind: int
    id: int
    first: int
    second: int
    oids: Sequence[Oid]


class Answer(NamedTuple):
    """One answer, its bindings already encoded."""

    version: int
    id: int
    rows: Sequence[bytes]
    error: int = 0
    error_at: int = 0


Look = Callable[[Tree, Oid], tuple[Oid, bytes]]
"""The object that a GET or a GETNEXT of an OID finds: its OID and its encoded value."""


def look(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    oids = tree.oids
    i = bisect_left(oids, oid)
    if i < len(oids) and oids[i] == oid:
        return oid, tree.value(i)
    # An instance is missing where the column has others; otherwise the object itself is.
    is_known = any(oids[k][: len(oid) - 1] == oid[:-1] for k in (i - 1, i) if 0 <= k < len(oids))
    return oid, NO_SUCH_INSTANCE if is_known else NO_SUCH_OBJECT


def look_behind(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    i = bisect_right(tree.oids, oid)
    return (tree.oids[i], tree.value(i)) if i < len(tree.oids) else (oid, END_OF_MIB)


@dataclass(frozen=True)
class Manner:
    """How an agent treats what it has: each step of an answer, from the tree to the datagrams.

    `tree` sees the tree once, when the manner begins, so it may remember. `send` gives the datagrams for one answer:
    none is silence. `datagram_bytes` is where the agent says tooBig, or ends a GETBULK.
    """

    tree: Callable[[Tree], Tree] = lambda tree: tree
    look: Look = look
    look_behind: Look = look_behind
    answer: Callable[[Request, Answer], Answer] = lambda request, answer: answer
    send: Callable[[bytes], Sequence[bytes]] = lambda datagram: (datagram,)
    delay_s: float = 0.0
    is_elsewhere: bool = False  # answers come from another address than the one that was asked
    datagram_bytes: int = MAX_DATAGRAM_BYTES


HONEST = Manner()


def respond(tree: Tree, community: bytes, datagram: bytes, manner: Manner = HONEST) -> bytes | None:
    """The answer to one datagram, or None where a real agent keeps silent (wrong community, unreadable bytes)."""
    try:
        request = parse_request(datagram)
    except BerError:
        return None
    if request.version not in (V1, V2C) or request.community != community:
        return None
    answer = _answer(tree, request, manner)
    return None if answer is None else encode_answer(manner.answer(request, answer), community)


def parse_request(datagram: bytes) -> Request:
    """Errors: BerError."""
    tag, message, _ = decode(datagram, 0)
    if tag != SEQUENCE:
        raise BerError("message")
    version, at = decode_integer(message, 0)
    _, community, at = decode(message, at)
    kind, pdu, _ = decode(message, at)
    request_id, at = decode_integer(pdu, 0)
    first, at = decode_integer(pdu, at)
    second, at = decode_integer(pdu, at)
    _, bindings, _ = decode(pdu, at)
    oids: list[Oid] = []
    at = 0
    while at < len(bindings):
        tag, binding, at = decode(bindings, at)
        inner, name, _ = decode(binding, 0)
        if tag != SEQUENCE or inner != OBJECT_ID:
            raise BerError("binding")
        oids.append(decode_oid(name))
    return Request(version, community, kind, request_id, first, second, oids)


def encode_answer(answer: Answer, community: bytes) -> bytes:
    body = encode_integer(answer.id) + encode_integer(answer.error) + encode_integer(answer.error_at)
    body += encode(SEQUENCE, b"".join(answer.rows))
    return encode(SEQUENCE, encode_integer(answer.version) + encode(OCTETS, community) + encode(RESPONSE, body))


def _answer(tree: Tree, request: Request, manner: Manner) -> Answer | None:
    """The whole answer, or the refusal that the standards foresee; None for a question that is none."""
    version, kind = request.version, request.kind
    # Room for the envelope and the longest lengths BER may need.
    room = manner.datagram_bytes - len(request.community) - 40
    if kind in (GET, GET_NEXT):
        see = manner.look if kind == GET else manner.look_behind
        rows = []
        for index, oid in enumerate(request.oids, start=1):
            found, value = see(tree, oid)
            while version == V1 and kind == GET_NEXT and value[0] == COUNTER64:
                found, value = see(tree, found)  # version 1 has no word for it, and a walk passes over it
            if version == V1 and (value[0] >= 0x80 or value[0] == COUNTER64):
                return _refusal(request, NO_SUCH_NAME, index)
            rows.append(_binding(found, value))
            room -= len(rows[-1])
        return Answer(version, request.id, rows if room >= 0 else (), 0 if room >= 0 else TOO_BIG)
    if kind == GET_BULK and version == V2C:
        return Answer(version, request.id, list(_bulk(tree, request, manner.look_behind, room)))
    if kind == SET:
        return _refusal(request, READ_ONLY if version == V1 else NO_ACCESS, 1)
    return None


def _refusal(request: Request, error: int, index: int) -> Answer:
    return Answer(request.version, request.id, [_binding(oid, NOTHING) for oid in request.oids], error, index)


def _binding(oid: Oid, value: bytes) -> bytes:
    return encode(SEQUENCE, encode_oid(oid) + value)


def _bulk(tree: Tree, request: Request, see: Look, room: int) -> Iterator[bytes]:
    """Bindings of a GETBULK, as many whole ones as the room takes."""
    single = max(request.first, 0)
    for oid in request.oids[:single]:
        row = _binding(*see(tree, oid))
        room -= len(row)
        if room < 0:
            return
        yield row
    cursors = list(request.oids[single:])
    for _ in range(max(request.second, 0) if cursors else 0):
        is_over = True
        for k, oid in enumerate(cursors):
            cursors[k], value = see(tree, oid)
            is_over = is_over and value == END_OF_MIB
            row = _binding(cursors[k], value)
            room -= len(row)
            if room < 0:
                return
            yield row
        if is_over:
            return
