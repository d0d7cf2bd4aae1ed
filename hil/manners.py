"""How a misbehaving PDU behaves: one `Manner` per fault, each a small pure change of one step of an honest answer.

A fault of values spoils only the tree's victims, one row of each kind, so that a test can see the other rows survive.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping

from hil.ber import (
    COUNTER32,
    END_OF_MIB,
    NO_SUCH_INSTANCE,
    OCTETS,
    TIME_TICKS,
    Oid,
    decode,
    encode,
    encode_integer,
    encode_text,
    parse_oid,
)
from hil.faults import (
    ENDLESS_ROWS,
    GARBAGE,
    LONG_TEXT_BYTES,
    SLOW_S,
    TOO_BIG_VARBINDS,
    Misbehaviour,
    PduFault,
    PduMisbehaviour,
)
from hil.responder import GET, GET_BULK, HONEST, TOO_BIG, V1, Answer, Manner, Request, Tree, look, look_behind

MIB_2 = parse_oid("1.3.6.1.2.1")
UPTIME = parse_oid("1.3.6.1.2.1.1.3.0")
LONG_ENOUGH_BYTES = 65_000
FULL_DAY_TICKS = 8_640_000


# --- answers


def _fewer(request: Request, answer: Answer) -> Answer:
    """A table that ends early is no fault, so only what was asked for by name gets lost."""
    return answer._replace(rows=answer.rows[::2]) if request.kind == GET else answer


def _shuffled(request: Request, answer: Answer) -> Answer:
    return answer._replace(rows=answer.rows[::-1]) if request.kind == GET else answer


def _too_big(request: Request, answer: Answer) -> Answer:
    asked = len(request.oids) * (max(1, request.second) if request.kind == GET_BULK else 1)
    return answer._replace(rows=(), error=TOO_BIG) if asked > TOO_BIG_VARBINDS else answer


# --- what is found behind an OID


def _no_instance(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    found, value = look(tree, oid)
    return found, value if oid[: len(MIB_2)] == MIB_2 or oid[-1] % 2 else NO_SUCH_INSTANCE


def _looping(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    at = bisect_right(tree.oids, oid) - 1
    if at < 0 or tree.oids[at] != oid or _is_of(tree, at + 1, oid[:-1]):
        return look_behind(tree, oid)
    first = bisect_right(tree.oids, oid[:-1])
    return tree.oids[first], tree.value(first)


def _decreasing(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    behind = bisect_right(tree.oids, oid)
    if behind > 0 and tree.oids[behind - 1] == oid:
        i = behind - 2
        return (tree.oids[i], tree.value(i)) if i >= 0 else (oid, END_OF_MIB)
    if behind == len(tree.oids):
        return oid, END_OF_MIB
    column = tree.oids[behind][:-1]
    last = bisect_right(tree.oids, (*column, 1 << 32)) - 1
    return tree.oids[last], tree.value(last)


def _endless(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    at = bisect_right(tree.oids, oid) - 1
    is_row = _is_of(tree, at, oid[:-1])
    if not is_row or _is_of(tree, at + 1, oid[:-1]) or oid[-1] >= ENDLESS_ROWS:
        return look_behind(tree, oid)
    return (*oid[:-1], oid[-1] + 1), tree.value(at)


def _is_of(tree: Tree, i: int, column: Oid) -> bool:
    return 0 <= i < len(tree.oids) and tree.oids[i][:-1] == column


# --- trees


class Edited:
    """A tree whose values go through `edit`, which gets position, OID and encoded value."""

    def __init__(self, tree: Tree, edit: Callable[[int, Oid, bytes], bytes]) -> None:
        self.oids = tree.oids
        self.victims = tree.victims
        self.serial = tree.serial
        self._tree = tree
        self._edit = edit

    def value(self, i: int) -> bytes:
        return self._edit(i, self.oids[i], self._tree.value(i))


def _numbers(spoil: Callable[[bytes], bytes]) -> Manner:
    def change(tree: Tree) -> Tree:
        victims = frozenset(tree.victims)
        return Edited(tree, lambda i, oid, value: spoil(value) if i in victims else value)

    return Manner(tree=change)


def _names(spoil: Callable[[bytes], bytes], datagram_bytes: int = HONEST.datagram_bytes) -> Manner:
    """What a PDU calls itself and its parts; sysDescr stays, or nobody would know what it is."""

    def edit(i: int, oid: Oid, value: bytes) -> bytes:
        is_name = value[0] == OCTETS and oid[: len(MIB_2)] != MIB_2
        return encode(OCTETS, spoil(decode(value, 0)[1])) if is_name else value

    return Manner(tree=lambda tree: Edited(tree, edit), datagram_bytes=datagram_bytes)


def _uptime(ticks: Callable[[int], int]) -> Manner:
    """sysUpTime as a function of how often it has been told, so that no clock has a say in it."""

    def change(tree: Tree) -> Tree:
        told = 0

        def edit(i: int, oid: Oid, value: bytes) -> bytes:
            nonlocal told
            if oid != UPTIME:
                return value
            told += 1
            return encode_integer(ticks(told), TIME_TICKS)

        return Edited(tree, edit)

    return Manner(tree=change)


def _frozen(tree: Tree) -> Tree:
    values = [tree.value(i) for i in range(len(tree.oids))]
    return Edited(tree, lambda i, oid, value: value if oid == UPTIME else values[i])


def _swapped(tree: Tree) -> Tree:
    old = tree.serial
    new = old[:-1] + (b"0" if old[-1:] != b"0" else b"1")  # as long as it was, so that every length still holds
    return Edited(tree, lambda i, oid, value: value.replace(old, new) if old and value[0] == OCTETS else value)


SILENCE = Manner(send=lambda datagram: ())
NOISE = Manner(send=lambda datagram: (GARBAGE,))

MANNERS: Mapping[PduFault, Manner] = {
    # The farm's common faults; those of connections fold into answering or not.
    Misbehaviour.NONE: HONEST,
    Misbehaviour.HANG: SILENCE,
    Misbehaviour.REFUSE: SILENCE,
    Misbehaviour.SILENT: SILENCE,
    Misbehaviour.SLOW: Manner(delay_s=SLOW_S),
    Misbehaviour.DRIBBLE: SILENCE,
    Misbehaviour.MALFORMED: NOISE,
    Misbehaviour.OVERSIZE: NOISE,
    # Datagrams
    PduMisbehaviour.UNPLUGGED: SILENCE,
    PduMisbehaviour.GARBAGE: NOISE,
    PduMisbehaviour.TRUNCATED: Manner(send=lambda datagram: (datagram[: len(datagram) // 2],)),
    PduMisbehaviour.OTHER_ADDRESS: Manner(is_elsewhere=True),
    PduMisbehaviour.DUPLICATE: Manner(send=lambda datagram: (datagram, datagram)),
    # Answers
    PduMisbehaviour.WRONG_ID: Manner(answer=lambda request, answer: answer._replace(id=answer.id ^ 1)),
    PduMisbehaviour.V1_ANSWER: Manner(answer=lambda request, answer: answer._replace(version=V1)),
    PduMisbehaviour.FEWER: Manner(answer=_fewer),
    PduMisbehaviour.SHUFFLED: Manner(answer=_shuffled),
    PduMisbehaviour.TOO_BIG: Manner(answer=_too_big),
    # Order of objects
    PduMisbehaviour.NO_INSTANCE: Manner(look=_no_instance),
    PduMisbehaviour.LOOPING: Manner(look_behind=_looping),
    PduMisbehaviour.DECREASING: Manner(look_behind=_decreasing),
    PduMisbehaviour.ENDLESS: Manner(look_behind=_endless),
    # Values
    PduMisbehaviour.NEGATIVE_COUNTER: _numbers(lambda value: encode(COUNTER32, b"\xff\xff\xff\xfe")),
    PduMisbehaviour.EMPTY_INTEGER: _numbers(lambda value: encode(value[0], b"")),
    PduMisbehaviour.TEXT_FOR_NUMBER: _numbers(lambda value: encode_text("high")),
    PduMisbehaviour.OUT_OF_RANGE: _numbers(lambda value: encode_integer(65_000, value[0])),
    PduMisbehaviour.NUL_TEXT: _names(lambda name: name + b"\0\0\x17%s"),
    PduMisbehaviour.BAD_TEXT: _names(lambda name: b"\xff\xc3" + name + b"\x1b[31m\x07\xe2\x82"),
    PduMisbehaviour.LONG_TEXT: _names(lambda name: b"x" * LONG_TEXT_BYTES, LONG_ENOUGH_BYTES),
    PduMisbehaviour.FROZEN: Manner(tree=_frozen),
    PduMisbehaviour.FLAPPING_UPTIME: _uptime(lambda told: FULL_DAY_TICKS + told if told % 2 else 100 + told),
    PduMisbehaviour.REBOOTED: _uptime(lambda told: 100 * told),
    PduMisbehaviour.SWAPPED: Manner(tree=_swapped),
}
"""Every fault that a PDU can have -> what it does."""
