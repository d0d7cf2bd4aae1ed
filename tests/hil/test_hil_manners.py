"""Every way in which an emulated PDU misbehaves does what it says, on the bytes that a client gets."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from hil.ber import (
    NULL,
    SEQUENCE,
    Oid,
    decode,
    decode_integer,
    decode_oid,
    encode,
    encode_integer,
    encode_oid,
    parse_oid,
)
from hil.faults import (
    ENDLESS_ROWS,
    LONG_TEXT_BYTES,
    TOO_BIG_VARBINDS,
    Misbehaviour,
    PduFault,
    PduMisbehaviour,
    pdu_fault,
)
from hil.loopback import free_block
from hil.manners import MANNERS
from hil.pdus import Face, Recording, Rpdu2, read_snmprec
from hil.physics import Orders, assemble, settle
from hil.responder import GET, GET_BULK, GET_NEXT, MAX_DATAGRAM_BYTES, TOO_BIG, respond
from hil.scene import Scene
from hil.snmp_agent import SnmpAgent

COLUMN = parse_oid("1.3.6.1.4.1.318.1.1.26.9.4.3.1.7")  # outlet watts
NAMES = parse_oid("1.3.6.1.4.1.318.1.1.26.9.4.3.1.3")
UNIT_W10 = parse_oid("1.3.6.1.4.1.318.1.1.26.4.3.1.5.1")
SERIAL = parse_oid("1.3.6.1.4.1.318.1.1.26.2.1.9.1")
UPTIME = parse_oid("1.3.6.1.2.1.1.3.0")
DESCR = parse_oid("1.3.6.1.2.1.1.1.0")
OUTLETS = 6
WATTS = tuple((*COLUMN, k) for k in range(1, OUTLETS + 1))

Rows = list[tuple[Oid, int, bytes]]


@pytest.fixture
def pdu() -> Rpdu2:
    build, orders = assemble(OUTLETS), Orders.all_on(OUTLETS)
    scene = Scene(build, orders, settle(build, orders, 25.0), 1_700_000_000.0)
    names = tuple(f"m{k}" for k in range(OUTLETS))
    return Rpdu2(scene, Face("pdu-0001", "HIL000000001", tuple((k,) for k in range(OUTLETS)), names))


def question(kind: int, *oids: Oid, second: int = 0) -> bytes:
    rows = b"".join(encode(SEQUENCE, encode_oid(oid) + encode(NULL, b"")) for oid in oids)
    body = encode_integer(77) + encode_integer(0) + encode_integer(second) + encode(SEQUENCE, rows)
    return encode(SEQUENCE, encode_integer(1) + encode(0x04, b"public") + encode(kind, body))


def heard(datagram: bytes) -> tuple[int, int, int, Rows]:
    """Version, request id, error status and the bindings of an answer."""
    _, message, end = decode(datagram, 0)
    assert end == len(datagram)
    version, at = decode_integer(message, 0)
    _, _, at = decode(message, at)
    _, body, _ = decode(message, at)
    id, at = decode_integer(body, 0)
    error, at = decode_integer(body, at)
    _, at = decode_integer(body, at)
    _, bindings, _ = decode(body, at)
    rows: Rows = []
    at = 0
    while at < len(bindings):
        _, binding, at = decode(bindings, at)
        _, name, rest = decode(binding, 0)
        tag, value, _ = decode(binding, rest)
        rows.append((decode_oid(name), tag, value))
    return version, id, error, rows


class Asked:
    """One PDU with one fault, without a socket. `rows` are those of one answer."""

    def __init__(self, pdu: Rpdu2 | Recording, kind: PduFault) -> None:
        self.manner = MANNERS[kind]
        self.tree = self.manner.tree(pdu)

    def datagrams(self, kind: int, *oids: Oid, second: int = 0) -> list[bytes]:
        answer = respond(self.tree, b"public", question(kind, *oids, second=second), self.manner)
        return [] if answer is None else list(self.manner.send(answer))

    def answer(self, kind: int, *oids: Oid, second: int = 0) -> tuple[int, int, int, Rows]:
        [datagram] = self.datagrams(kind, *oids, second=second)
        return heard(datagram)

    def rows(self, kind: int, *oids: Oid, second: int = 0) -> Rows:
        return self.answer(kind, *oids, second=second)[3]

    def number(self, oid: Oid) -> int:
        [(_, _, body)] = self.rows(GET, oid)
        return int.from_bytes(body, "big")

    def walked(self, root: Oid) -> Iterator[Oid]:
        """What a client sees that trusts the agent: for ever, if it never leaves the column."""
        last = root
        while True:
            [(last, tag, _)] = self.rows(GET_NEXT, last)
            if last[: len(root)] != root or tag == 0x82:
                return
            yield last


def test_every_fault_has_its_manner_and_its_name() -> None:
    assert set(MANNERS) == {*Misbehaviour, *PduMisbehaviour}
    assert [pdu_fault(str(kind)) for kind in MANNERS] == list(MANNERS)
    with pytest.raises(ValueError, match="nonsense"):
        pdu_fault("nonsense")


HONEST_IN_BULK = set(PduMisbehaviour) - {
    PduMisbehaviour.UNPLUGGED,
    PduMisbehaviour.GARBAGE,
    PduMisbehaviour.TRUNCATED,
    PduMisbehaviour.DUPLICATE,
    PduMisbehaviour.TOO_BIG,
    PduMisbehaviour.DECREASING,
}


@pytest.mark.parametrize("kind", sorted(HONEST_IN_BULK))
def test_what_is_not_the_fault_stays_right(pdu: Rpdu2, kind: PduMisbehaviour) -> None:
    """An odd outlet that is no victim: its watts are the same whatever else is wrong."""
    found = {oid: int.from_bytes(body, "big") for oid, _, body in Asked(pdu, kind).rows(GET_BULK, COLUMN, second=5)}
    assert found[WATTS[2]] == round(pdu.outlet_w(3))


@pytest.mark.parametrize("kind", ["unplugged", "silent", "hang", "refuse", "dribble"])
def test_a_pulled_plug_is_silence(pdu: Rpdu2, kind: str) -> None:
    assert Asked(pdu, pdu_fault(kind)).datagrams(GET, UNIT_W10) == []


@pytest.mark.parametrize("kind", ["garbage", "truncated", "malformed"])
def test_broken_datagrams_cannot_be_read(pdu: Rpdu2, kind: str) -> None:
    [datagram] = Asked(pdu, pdu_fault(kind)).datagrams(GET, UNIT_W10)
    with pytest.raises((ValueError, AssertionError)):
        heard(datagram)


def test_wrong_ids_wrong_versions_and_copies(pdu: Rpdu2) -> None:
    assert Asked(pdu, PduMisbehaviour.WRONG_ID).answer(GET, UNIT_W10)[1] == 76
    assert Asked(pdu, PduMisbehaviour.V1_ANSWER).answer(GET, UNIT_W10)[:2] == (0, 77)
    first, second = Asked(pdu, PduMisbehaviour.DUPLICATE).datagrams(GET, UNIT_W10)
    assert first == second


def test_fewer_objects_and_another_order(pdu: Rpdu2) -> None:
    assert [oid for oid, _, _ in Asked(pdu, PduMisbehaviour.FEWER).rows(GET, *WATTS)] == list(WATTS[::2])
    assert [oid for oid, _, _ in Asked(pdu, PduMisbehaviour.SHUFFLED).rows(GET, *WATTS)] == list(WATTS[::-1])


def test_too_big_from_one_object_more_than_fits(pdu: Rpdu2) -> None:
    asked = Asked(pdu, PduMisbehaviour.TOO_BIG)
    fits, too_many = WATTS[:TOO_BIG_VARBINDS], WATTS[: TOO_BIG_VARBINDS + 1]
    assert len(asked.rows(GET, *fits)) == TOO_BIG_VARBINDS
    assert asked.answer(GET, *too_many)[2:] == (TOO_BIG, [])
    assert len(asked.rows(GET_BULK, COLUMN, second=TOO_BIG_VARBINDS)) == TOO_BIG_VARBINDS
    assert asked.answer(GET_BULK, COLUMN, second=TOO_BIG_VARBINDS + 1)[2:] == (TOO_BIG, [])


def test_rows_that_a_walk_lists_and_a_get_does_not_find(pdu: Rpdu2) -> None:
    asked = Asked(pdu, PduMisbehaviour.NO_INSTANCE)
    assert list(asked.walked(COLUMN)) == list(WATTS)
    assert [tag for _, tag, _ in asked.rows(GET, *WATTS, DESCR)] == [2, 0x81] * 3 + [4]


def test_a_loop_never_leaves_its_column(pdu: Rpdu2) -> None:
    walk = Asked(pdu, PduMisbehaviour.LOOPING).walked(COLUMN)
    assert [next(walk) for _ in range(2 * OUTLETS + 1)] == [*WATTS, *WATTS, WATTS[0]]
    scalar = Asked(pdu, PduMisbehaviour.LOOPING).walked(DESCR[:-1])
    assert [next(scalar) for _ in range(3)] == [DESCR] * 3


def test_a_column_can_come_from_its_end(pdu: Rpdu2) -> None:
    assert list(Asked(pdu, PduMisbehaviour.DECREASING).walked(COLUMN)) == list(WATTS[::-1])


def test_an_endless_column_ends_only_far_behind_every_honest_one(pdu: Rpdu2) -> None:
    asked = Asked(pdu, PduMisbehaviour.ENDLESS)
    walk = asked.walked(COLUMN)
    assert [next(walk)[-1] for _ in range(1000)] == list(range(1, 1001))
    [(last, tag, _)] = asked.rows(GET_NEXT, (*COLUMN, ENDLESS_ROWS - 1))
    assert (last, tag) == ((*COLUMN, ENDLESS_ROWS), 2)
    [(behind, _, _)] = asked.rows(GET_NEXT, (*COLUMN, ENDLESS_ROWS))
    assert behind > last
    assert behind[: len(COLUMN)] != COLUMN


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        (PduMisbehaviour.NEGATIVE_COUNTER, (0x41, b"\xff\xff\xff\xfe")),
        (PduMisbehaviour.EMPTY_INTEGER, (0x02, b"")),
        (PduMisbehaviour.TEXT_FOR_NUMBER, (0x04, b"high")),
        (PduMisbehaviour.OUT_OF_RANGE, (0x02, b"\x00\xfd\xe8")),  # 65,000
    ],
)
def test_a_spoilt_number_is_that_of_the_first_outlet_only(
    pdu: Rpdu2, kind: PduMisbehaviour, wire: tuple[int, bytes]
) -> None:
    [(_, tag, body), (_, _, other)] = Asked(pdu, kind).rows(GET, *WATTS[:2])
    assert (tag, body) == wire
    assert int.from_bytes(other, "big") == round(pdu.outlet_w(2))


def test_names_with_rubbish_in_them(pdu: Rpdu2) -> None:
    def name(kind: PduMisbehaviour) -> bytes:
        return Asked(pdu, kind).rows(GET, (*NAMES, 1))[0][2]

    assert name(PduMisbehaviour.NUL_TEXT).split(b"\0")[0] == b"m0"
    assert b"\0" in name(PduMisbehaviour.NUL_TEXT)
    with pytest.raises(UnicodeDecodeError):
        name(PduMisbehaviour.BAD_TEXT).decode()
    assert len(name(PduMisbehaviour.LONG_TEXT)) == LONG_TEXT_BYTES
    several = Asked(pdu, PduMisbehaviour.LONG_TEXT).datagrams(GET_BULK, NAMES, second=OUTLETS)
    assert MAX_DATAGRAM_BYTES < OUTLETS * LONG_TEXT_BYTES < len(several[0])
    descr = Asked(pdu, PduMisbehaviour.BAD_TEXT).rows(GET, DESCR)[0][2]
    assert descr.startswith(b"APC Web/SNMP")  # nobody would know any more what it is


def test_a_frozen_pdu_shows_the_watts_of_the_moment_it_froze(pdu: Rpdu2) -> None:
    asked, before = Asked(pdu, PduMisbehaviour.FROZEN), round(pdu.outlet_w(1))
    pdu.scene.orders.outlet_on[:] = False
    pdu.scene.tick(60.0, pdu.scene.view.now_s + 60.0, 25.0)
    assert round(pdu.outlet_w(1)) == 0
    assert asked.number(WATTS[0]) == before > 0
    assert asked.number(UPTIME) == 6000


def test_uptimes_that_fall(pdu: Rpdu2) -> None:
    pdu.scene.tick(3600.0, pdu.scene.view.now_s + 3600.0, 25.0)
    reboot = Asked(pdu, PduMisbehaviour.REBOOTED)
    assert [reboot.number(UPTIME) for _ in range(3)] == [100, 200, 300]
    flapping = Asked(pdu, PduMisbehaviour.FLAPPING_UPTIME)
    told = [flapping.number(UPTIME) for _ in range(6)]
    assert [b < a for a, b in itertools.pairwise(told)] == [True, False] * 2 + [True]


def test_a_swapped_pdu_has_another_serial_wherever_it_says_it(pdu: Rpdu2) -> None:
    assert Asked(pdu, PduMisbehaviour.SWAPPED).rows(GET, SERIAL)[0][2] == b"HIL000000000"
    walk = "1.3.6.1.2.1.1.1.0|4|A PDU SN: Z9 of us\n1.3.6.1.4.1.9.1.0|4|Z9\n1.3.6.1.4.1.9.2.0|2|5\n"
    recording = read_snmprec(walk)
    recording.serial = b"Z9"
    found = Asked(recording, PduMisbehaviour.SWAPPED).rows(GET_BULK, (1,), second=3)
    assert [body for _, _, body in found] == [b"A PDU SN: Z0 of us", b"Z0", b"\x05"]


def test_faults_of_values_find_their_victims_in_any_recording() -> None:
    recording = read_snmprec("1.3.6.1.2.1.1.7.0|2|72\n1.3.6.1.4.1.9.1.1|2|10\n1.3.6.1.4.1.9.1.2|2|20\n")
    found = Asked(recording, PduMisbehaviour.EMPTY_INTEGER).rows(GET_BULK, (1,), second=3)
    assert [body for _, _, body in found] == [b"\x48", b"", b"\x14"]


# --- on a socket


@pytest.fixture
async def agent(pdu: Rpdu2) -> AsyncIterator[SnmpAgent]:
    agent = SnmpAgent(pdu, f"127.{free_block()}.250.1", 1161)
    await agent.open()
    yield agent
    agent.close()


async def received(agent: SnmpAgent, count: int) -> list[tuple[bytes, tuple[str, int]]]:
    """The first datagrams that come back on a question, with their senders."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sock.sendto(question(GET, UNIT_W10), (agent.host, agent.port))
        async with asyncio.timeout(30.0):
            return [await loop.sock_recvfrom(sock, 65535) for _ in range(count)]


async def test_an_answer_can_come_from_an_address_that_nobody_asked(agent: SnmpAgent) -> None:
    [(honest, sender)] = await received(agent, 1)
    assert sender == (agent.host, agent.port)
    agent.fault = PduMisbehaviour.OTHER_ADDRESS
    [(answer, (host, port))] = await received(agent, 1)
    assert answer == honest
    assert host != agent.host
    assert port == agent.port


async def test_copies_arrive_one_after_the_other(agent: SnmpAgent) -> None:
    agent.fault = PduMisbehaviour.DUPLICATE
    (first, _), (second, _) = await received(agent, 2)
    assert first == second


async def test_a_healed_pdu_is_honest_again_and_a_new_tree_gets_the_fault(agent: SnmpAgent) -> None:
    agent.fault = PduMisbehaviour.OUT_OF_RANGE
    agent.tree = read_snmprec("1.3.6.1.4.1.318.1.1.26.4.3.1.5.1|2|7\n")
    [(answer, _)] = await received(agent, 1)
    assert heard(answer)[3] == [(UNIT_W10, 2, b"\x00\xfd\xe8")]
    agent.fault = Misbehaviour.NONE
    [(answer, _)] = await received(agent, 1)
    assert heard(answer)[3] == [(UNIT_W10, 2, b"\x07")]
