"""The contract of the SNMP engines: both do the same with honest, odd and hostile agents.

| the agent                                                     | get                         | walk            |
|---------------------------------------------------------------|-----------------------------|-----------------|
| is silent, or answers after the deadline                      | TIMEOUT                     | TIMEOUT         |
| answers from another address, or with another number          | TIMEOUT                     | TIMEOUT         |
| sends what is not SNMP                                        | MALFORMED, after the wait   | the same        |
| cuts its answers off, nests them wrongly                      | MALFORMED, at once          | the same        |
| answers in another version                                    | MALFORMED "version"         | the same        |
| answers with another community, or a report under v2c         | MALFORMED                   | the same        |
| repeats or decreases its OIDs                                 | extra rows are ignored      | MALFORMED       |
| has 100,000 rows                                              | -                           | OVERSIZE        |
| always says tooBig, sends more than 4,000 octets              | that object is missing      | OVERSIZE        |
| says noAccess or authorizationError                           | DENIED                      | DENIED          |
| names an object that was not asked for as the failing one     | MALFORMED                   | ends            |
| sends one value that is not what its tag says                 | octets, the others kept     | the same        |
| has no such object                                            | missing                     | ends            |
| has no such object, in v1                                     | missing, not asked again    | ends            |
| v3: does not know the user, the key, the level; loses its clock | DENIED "auth"             | DENIED "auth"   |
| v3: does not sign or encrypt as we demand, signs wrongly      | MALFORMED                   | MALFORMED       |
| v3: has restarted, or has another engine id                   | one more exchange           | the same        |
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from udp_agent import (
    END_OF_MIB,
    GEN_ERR,
    GET,
    GET_BULK,
    GET_NEXT,
    NO_ACCESS,
    NO_SUCH_INSTANCE,
    TOO_BIG,
    V1,
    Behaviour,
    Honest,
    Oid,
    Request,
    UdpAgent,
    integer,
    object_id,
    renumbered,
    response,
    tlv,
    value,
)
from usm_agent import ENCRYPTED, NOT_IN_TIME, SIGNED, UNKNOWN_ENGINE, UsmAgent

from collectors.pdus.engines import available, open_client
from collectors.pdus.snmp import (
    SYS_DESCR,
    SYS_OBJECT_ID,
    SYS_UPTIME,
    Credential,
    EngineName,
    Pace,
    SnmpClient,
    Value,
    WalkLimits,
)
from fleet.ports import PollError
from fleet.readings import FaultKind

COLUMN: Oid = (1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 5)
GENEROUS_S = 30.0
SHORT_S = 0.05
"""For agents that never answer, so that it does not matter how slow this computer is."""

V2 = Credential("public")
USER = Credential(version="3", user="reader", auth_key="authpass1", priv_key="privpass1")
SIGNING_USER = replace(USER, priv_key="")
OPEN_USER = replace(USER, auth_key="", priv_key="")

ENGINES = [
    pytest.param("gufo", marks=pytest.mark.skipif("gufo" not in available(), reason="no gufo_snmp for this computer")),
    "pysnmp",
]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineName:
    name: EngineName = request.param
    return name


def rows(count: int, root: Oid = COLUMN) -> dict[Oid, Value]:
    return {(*root, i): 10 * i for i in range(1, count + 1)}


@asynccontextmanager
async def client(
    agent: UdpAgent, engine: EngineName, credential: Credential = V2, timeout_s: float = GENEROUS_S, retries: int = 0
) -> AsyncIterator[SnmpClient]:
    snmp = open_client("127.0.0.1", agent.port, credential, engine, timeout_s=timeout_s, retries=retries)
    try:
        yield snmp
    finally:
        await snmp.aclose()


async def fault_of(asking: Awaitable[object]) -> PollError:
    async with asyncio.timeout(GENEROUS_S):
        with pytest.raises(PollError) as caught:
            await asking
    return caught.value


# --- honest agents ---


async def test_get_and_walk(engine: EngineName) -> None:
    objects: dict[Oid, Value] = {**rows(40), SYS_OBJECT_ID: (1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 6)}
    objects |= {SYS_DESCR: b"APC \xff", (*COLUMN[:-1], 6, 1): -1, (*COLUMN[:-1], 7, 4294967295): 2**31 - 1}
    async with UdpAgent(Honest(objects)) as agent, client(agent, engine) as snmp:
        assert snmp.engine == engine
        assert await snmp.get([*objects, (1, 3, 6, 99)]) == objects
        assert await snmp.get([]) == {}
        assert await snmp.walk(COLUMN) == rows(40)
        assert list(await snmp.walk(COLUMN)) == sorted(rows(40))
        assert await snmp.walk((1, 3, 6)) == objects
        assert await snmp.walk((*COLUMN, 40, 1)) == {}


@pytest.mark.parametrize("repetitions", [1, 3, 10, 11, 25, 50])
async def test_every_row_comes_whatever_the_repetitions(engine: EngineName, repetitions: int) -> None:
    honest = Honest(rows(60))
    async with UdpAgent(honest) as agent, client(agent, engine) as snmp:
        snmp.set_pace(Pace(repetitions=repetitions))
        assert await snmp.walk(COLUMN) == rows(60)
    assert {(r.kind, r.repetitions, r.non_repeaters) for r in honest.requests} == {(GET_BULK, repetitions, 0)}
    assert len(honest.requests) == 60 // repetitions + 1


async def test_an_agent_without_getbulk_is_walked_by_getnext(engine: EngineName) -> None:
    honest = Honest(rows(5))
    async with UdpAgent(honest) as agent, client(agent, engine) as snmp:
        snmp.set_pace(Pace(bulk=False))
        assert await snmp.walk(COLUMN) == rows(5)
    assert {request.kind for request in honest.requests} == {GET_NEXT}


async def test_v1_knows_neither_getbulk_nor_missing_objects(engine: EngineName) -> None:
    honest = Honest(rows(5))
    async with UdpAgent(honest) as agent, client(agent, engine, Credential("public", "1")) as snmp:
        asked = [(1, 3, 9, 1), *rows(5), (1, 3, 9, 2)]
        assert await snmp.get(asked) == rows(5)
        assert [len(request.oids) for request in honest.requests] == [7, 6, 5]
        honest.requests.clear()
        assert await snmp.get(asked) == rows(5)
        assert [request.oids for request in honest.requests] == [tuple(rows(5))]  # it remembers what costs an answer
        honest.requests.clear()
        assert await snmp.walk(COLUMN) == rows(5)
    assert {(request.kind, request.version) for request in honest.requests} == {(GET_NEXT, V1)}


async def test_a_walk_that_asks_whether_there_is_anything_takes_one_row(engine: EngineName) -> None:
    honest = Honest(rows(100))
    async with UdpAgent(honest) as agent, client(agent, engine) as snmp:
        assert await snmp.walk(COLUMN, WalkLimits(enough=1)) == rows(1)
        assert await snmp.walk((*COLUMN, 200), WalkLimits(enough=1)) == {}
    assert [request.repetitions for request in honest.requests] == [1, 1]


async def test_too_big_answers_are_asked_for_in_smaller_parts_and_that_is_remembered(engine: EngineName) -> None:
    honest = Honest(rows(40))

    def narrow(request: Request) -> Iterable[bytes]:
        size = len(request.oids) if request.kind == GET else request.repetitions
        yield from [response(request, [], TOO_BIG)] if size > 6 else honest(request)

    async with UdpAgent(narrow) as agent, client(agent, engine) as snmp:
        snmp.set_pace(Pace(varbinds=25, repetitions=25))
        assert await snmp.get(tuple(rows(40))) == rows(40)
        assert await snmp.walk(COLUMN) == rows(40)
        agent.askers.clear()
        assert await snmp.get(tuple(rows(40))) == rows(40)
        assert len(agent.askers) == 7  # by six, without a refusal


async def test_an_agent_that_fails_on_one_object_still_gives_the_others(engine: EngineName) -> None:
    bad, honest = (*COLUMN, 2), Honest(rows(3))

    def picky(request: Request) -> Iterable[bytes]:
        if bad in request.oids:
            echo = [(oid, b"\x05\x00") for oid in request.oids]
            return [response(request, echo, GEN_ERR, request.oids.index(bad) + 1)]
        return honest(request)

    async with UdpAgent(picky) as agent, client(agent, engine) as snmp:
        assert await snmp.get(tuple(rows(3))) == {(*COLUMN, 1): 10, (*COLUMN, 3): 30}


async def test_objects_in_another_order_twice_or_never_are_matched_by_their_names(engine: EngineName) -> None:
    def confused(request: Request) -> Iterable[bytes]:
        last = (*COLUMN, 3)
        yield response(request, [(last, integer(30)), ((*COLUMN, 99), integer(7)), (last, integer(30))])

    async with UdpAgent(confused) as agent, client(agent, engine) as snmp:
        assert await snmp.get(tuple(rows(3))) == {(*COLUMN, 3): 30}


async def test_an_answer_that_comes_twice_is_one_answer(engine: EngineName) -> None:
    honest = Honest(rows(30))
    async with UdpAgent(lambda request: [*honest(request)] * 3) as agent, client(agent, engine) as snmp:
        assert await snmp.walk(COLUMN) == rows(30)
        assert await snmp.get(tuple(rows(30))) == rows(30)


@pytest.mark.parametrize("word", [b"\x80\x00", NO_SUCH_INSTANCE, END_OF_MIB, tlv(5, b"")], ids=bytes.hex)
async def test_what_is_not_there_is_missing_and_ends_a_walk(engine: EngineName, word: bytes) -> None:
    def empty(request: Request) -> Iterable[bytes]:
        yield response(request, [(oid, word) for oid in request.oids])

    async with UdpAgent(empty) as agent, client(agent, engine) as snmp:
        assert await snmp.get(tuple(rows(3))) == {}
        assert await snmp.walk(COLUMN) == {}
        snmp.set_pace(Pace(bulk=False))
        assert await snmp.walk(COLUMN) == {}


async def test_a_walk_over_the_end_of_the_mib_ends(engine: EngineName) -> None:
    def last_row(request: Request) -> Iterable[bytes]:
        yield response(request, [((*COLUMN, 1), value(10)), ((*COLUMN, 1), END_OF_MIB)])

    async with UdpAgent(last_row) as agent, client(agent, engine) as snmp:
        assert await snmp.walk(COLUMN) == rows(1)


async def test_a_lost_request_is_sent_once_more(engine: EngineName) -> None:
    honest, seen = Honest(rows(1)), []

    def deaf_at_first(request: Request) -> Iterable[bytes]:
        seen.append(request)
        return honest(request) if len(seen) > 1 else []

    async with UdpAgent(deaf_at_first) as agent, client(agent, engine, timeout_s=0.3, retries=1) as snmp:
        assert await snmp.get(tuple(rows(1))) == rows(1)
    assert len(seen) == 2


async def test_many_devices_at_once(engine: EngineName) -> None:
    async with (
        UdpAgent(Honest(rows(20))) as one,
        UdpAgent(Honest(rows(30))) as two,
        client(one, engine) as a,
        client(two, engine) as b,
        client(two, engine) as c,
    ):
        answers = await asyncio.gather(*(snmp.walk(COLUMN) for snmp in (a, b, c) for _ in range(5)))
    assert [len(answer) for answer in answers] == [20] * 5 + [30] * 10


async def test_an_abandoned_request_leaves_the_client_usable(engine: EngineName) -> None:
    honest, seen = Honest(rows(1)), []

    def deaf_at_first(request: Request) -> Iterable[bytes]:
        seen.append(request)
        return [] if len(seen) == 1 else honest(request)

    async with UdpAgent(deaf_at_first) as agent, client(agent, engine) as snmp:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await snmp.get(tuple(rows(1)))
        assert await snmp.get(tuple(rows(1))) == rows(1)


async def test_a_name_that_does_not_resolve_is_unreachable(engine: EngineName) -> None:
    snmp = open_client("no-such-host.invalid", 161, V2, engine)
    assert (await fault_of(snmp.get([COLUMN]))).kind is FaultKind.UNREACHABLE
    await snmp.aclose()


# --- values that lie ---

ODD = [
    pytest.param(tlv(2, b""), b"", id="INTEGER of length 0"),
    pytest.param(tlv(2, b"\0\xff\xff\xff\xff"), b"\0\xff\xff\xff\xff", id="INTEGER above 31 bits"),
    pytest.param(tlv(0x41, b"\xff\xff\xff\xfe"), b"\xff\xff\xff\xfe", id="negative Counter32"),
    pytest.param(tlv(0x42, b"\xfe"), b"\xfe", id="negative Gauge32"),
    pytest.param(tlv(0x46, b"\x80" + b"\0" * 7), b"\x80" + b"\0" * 7, id="negative Counter64"),
    pytest.param(tlv(0x40, b"\x01\x02"), b"\x01\x02", id="IpAddress of 2 octets"),
    pytest.param(tlv(6, b""), b"", id="OID without parts"),
    pytest.param(tlv(6, b"\x2b\x86"), b"\x2b\x86", id="OID that breaks off"),
    pytest.param(tlv(0x1D, b"odd"), b"odd", id="tag that SNMP does not know"),
    pytest.param(tlv(0x24, b"odd"), b"odd", id="constructed octets"),
    pytest.param(tlv(9, b"\x03\x31"), b"\x03\x31", id="REAL"),
    pytest.param(tlv(1, b"\xff"), b"\xff", id="BOOLEAN"),
]
PLAIN = [
    pytest.param(tlv(0x41, b"\0\xff\xff\xff\xff"), 2**32 - 1, id="Counter32"),
    pytest.param(tlv(0x43, b"\x05"), 5, id="TimeTicks"),
    pytest.param(tlv(0x46, b"\0" + b"\xff" * 8), 2**64 - 1, id="Counter64"),
    pytest.param(tlv(2, b"\xff"), -1, id="INTEGER below 0"),
    pytest.param(tlv(2, b"\0\0\0\0\x05"), 5, id="INTEGER with leading zeros"),
    pytest.param(tlv(0x40, b"\x7f\0\0\x01"), b"\x7f\0\0\x01", id="IpAddress"),
    pytest.param(tlv(4, b""), b"", id="no text"),
    pytest.param(tlv(4, b"n\0\0\xff"), b"n\0\0\xff", id="octets"),
    pytest.param(tlv(0x44, b"\x9f\x78"), b"\x9f\x78", id="Opaque"),
    pytest.param(object_id((1, 3, 6, 1)), (1, 3, 6, 1), id="OID of four parts"),
    pytest.param(tlv(6, b"\x0a\x2b\x06\x01"), (0, 10, 43, 6, 1), id="OID under 0"),
]


@pytest.mark.parametrize(("encoded", "expected"), PLAIN + ODD)
async def test_a_value_that_lies_costs_no_other_value(engine: EngineName, encoded: bytes, expected: Value) -> None:
    table = {(*COLUMN, 1): integer(10), (*COLUMN, 2): encoded, (*COLUMN, 3): integer(30)}

    def odd(request: Request) -> Iterable[bytes]:
        if request.kind == GET:
            yield response(request, [(oid, table[oid]) for oid in request.oids])
        else:
            found = [(oid, table[oid]) for oid in sorted(table) if oid > request.oids[0]]
            yield response(request, [*found, ((*COLUMN[:-1], 6), integer(1))])

    whole = {(*COLUMN, 1): 10, (*COLUMN, 2): expected, (*COLUMN, 3): 30}
    async with UdpAgent(odd) as agent, client(agent, engine) as snmp:
        assert await snmp.get(tuple(table)) == whole
        assert await snmp.walk(COLUMN) == whole


async def test_a_name_of_4_kib_is_missing_and_the_rest_comes(engine: EngineName) -> None:
    table = rows(8) | {(*COLUMN, 4): b"x" * 4096}
    async with UdpAgent(Honest(table)) as agent, client(agent, engine) as snmp:
        found = await snmp.get(tuple(table))
        assert found == {oid: number for oid, number in table.items() if isinstance(number, int)}
        assert (await fault_of(snmp.walk(COLUMN))).kind is FaultKind.OVERSIZE


# --- hostile agents: each ends, with its fault ---


def silent(request: Request) -> Iterable[bytes]:
    return []


def garbage(request: Request) -> Iterable[bytes]:
    return [b"", b"\xff" * 600, b"\x30\x84\xff\xff\xff\xff", b"\x30\x80" * 2000, b"HTTP/1.1 400 Bad Request\r\n\r\n"]


def other_number(request: Request) -> Iterable[bytes]:
    return [response(renumbered(request), [(oid, integer(7)) for oid in request.oids])]


def cut_off(request: Request) -> Iterable[bytes]:
    whole = response(request, [((*oid, 1), integer(7)) for oid in request.oids])
    return [whole[: len(whole) - 3]]


def badly_nested(request: Request) -> Iterable[bytes]:
    whole = response(request, [((*oid, 1), integer(7)) for oid in request.oids])
    return [whole.replace(integer(7), b"\x02\x02\x07")]


def v1_answer(request: Request) -> Iterable[bytes]:
    return [response(replace(request, version=V1), [(oid, integer(7)) for oid in request.oids])]


def other_community(request: Request) -> Iterable[bytes]:
    return [response(replace(request, community=b"private"), [(oid, integer(7)) for oid in request.oids])]


def report(request: Request) -> Iterable[bytes]:
    return [response(request, []).replace(b"\xa2", b"\xa8", 1)]


def echo(request: Request) -> Iterable[bytes]:
    return [response(request, []).replace(b"\xa2", bytes((request.kind,)), 1)]


def forbidding(request: Request) -> Iterable[bytes]:
    return [response(request, [], NO_ACCESS, 1)]


@pytest.mark.parametrize(
    ("behaviour", "kind", "word"),
    [
        (silent, FaultKind.TIMEOUT, "no answer"),
        (other_number, FaultKind.TIMEOUT, "no answer"),
        (garbage, FaultKind.MALFORMED, "not SNMP"),
        (cut_off, FaultKind.MALFORMED, "cut off"),
        (badly_nested, FaultKind.MALFORMED, "cannot be read"),
        (v1_answer, FaultKind.MALFORMED, "version"),
        (other_community, FaultKind.MALFORMED, "cannot be read"),
        (report, FaultKind.MALFORMED, "a report"),
        (echo, FaultKind.MALFORMED, "neither"),
        (forbidding, FaultKind.DENIED, "auth"),
    ],
)
async def test_a_hostile_agent_ends_with_its_fault(
    engine: EngineName, behaviour: Behaviour, kind: FaultKind, word: str
) -> None:
    async with UdpAgent(behaviour) as agent, client(agent, engine, timeout_s=SHORT_S) as snmp:
        for asking in (snmp.get([COLUMN]), snmp.get(tuple(rows(50))), snmp.walk(COLUMN)):
            fault = await fault_of(asking)
            assert (fault.kind, word in str(fault)) == (kind, True), fault
    assert len(agent.askers) < 40


@pytest.mark.parametrize("behaviour", [cut_off, badly_nested, v1_answer, other_community, report, forbidding])
async def test_what_bears_our_number_and_is_no_answer_ends_at_once(engine: EngineName, behaviour: Behaviour) -> None:
    async with UdpAgent(behaviour) as agent, client(agent, engine, timeout_s=4 * GENEROUS_S) as snmp:
        await fault_of(snmp.get([COLUMN]))  # which itself waits a quarter of that


async def test_an_answer_behind_garbage_is_heard(engine: EngineName) -> None:
    honest = Honest(rows(3))
    async with UdpAgent(lambda request: [*garbage(request), *honest(request)]) as agent, client(agent, engine) as snmp:
        assert await snmp.get(tuple(rows(3))) == rows(3)


async def test_an_answer_after_the_deadline_is_not_heard(engine: EngineName) -> None:
    honest, seen = Honest(rows(3)), asyncio.Event()

    class Slow(UdpAgent):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            answers = list(self.answers(data))
            asyncio.get_running_loop().call_later(4 * SHORT_S, lambda: (self.send(answers[0], addr), seen.set()))

    async with Slow(honest) as agent, client(agent, engine, timeout_s=SHORT_S) as snmp:
        assert (await fault_of(snmp.get(tuple(rows(3))))).kind is FaultKind.TIMEOUT
        await asyncio.wait_for(seen.wait(), GENEROUS_S)
        assert (await fault_of(snmp.get([COLUMN]))).kind is FaultKind.TIMEOUT  # the old answer serves no new request


async def test_an_answer_from_another_address_is_not_heard(engine: EngineName) -> None:
    forged = asyncio.Event()

    class Diverting(UdpAgent):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            for answer in self.answers(data):
                forger.send(answer, addr)
            forged.set()

    async with (
        UdpAgent(silent) as forger,
        Diverting(Honest(rows(3))) as agent,
        client(agent, engine, timeout_s=5 * SHORT_S) as snmp,
    ):
        assert (await fault_of(snmp.get(tuple(rows(3))))).kind is FaultKind.TIMEOUT
    assert forged.is_set()


def looping(request: Request) -> Iterable[bytes]:
    yield response(request, [((*COLUMN, k), integer(k)) for k in (1, 2, 1)])


def stuck(request: Request) -> Iterable[bytes]:
    yield response(request, [((*COLUMN, 1), integer(1))])


def decreasing(request: Request) -> Iterable[bytes]:
    last = request.oids[0][-1] if len(request.oids[0]) > len(COLUMN) else 1000
    yield response(request, [((*COLUMN, last - 1), integer(1))])


def endless(request: Request) -> Iterable[bytes]:
    at = request.oids[0][-1] if len(request.oids[0]) > len(COLUMN) else 0
    yield response(request, [((*COLUMN, at + i), integer(1)) for i in range(1, request.repetitions + 1)])


def always_too_big(request: Request) -> Iterable[bytes]:
    yield response(request, [], TOO_BIG)


def huge(request: Request) -> Iterable[bytes]:
    yield response(request, [((*oid, 1), tlv(4, b"x" * 40_000)) for oid in request.oids[:1]])


@pytest.mark.parametrize(
    ("behaviour", "bulk", "kind"),
    [
        (looping, True, FaultKind.MALFORMED),
        (stuck, True, FaultKind.MALFORMED),
        (stuck, False, FaultKind.MALFORMED),
        (decreasing, True, FaultKind.MALFORMED),
        (decreasing, False, FaultKind.MALFORMED),
        (endless, True, FaultKind.OVERSIZE),
        (always_too_big, True, FaultKind.OVERSIZE),
        (always_too_big, False, FaultKind.OVERSIZE),
        (huge, True, FaultKind.OVERSIZE),
        (huge, False, FaultKind.OVERSIZE),
    ],
)
async def test_a_walk_of_a_hostile_agent_ends_with_its_fault(
    engine: EngineName, behaviour: Behaviour, bulk: bool, kind: FaultKind
) -> None:
    async with UdpAgent(behaviour) as agent, client(agent, engine) as snmp:
        snmp.set_pace(Pace(bulk=bulk))
        assert (await fault_of(snmp.walk(COLUMN, WalkLimits(rows=500)))).kind is kind


async def test_100_000_rows_end_at_the_cap(engine: EngineName) -> None:
    async with UdpAgent(Honest(rows(100_000))) as agent, client(agent, engine) as snmp:
        snmp.set_pace(Pace(repetitions=50))
        assert (await fault_of(snmp.walk(COLUMN))).kind is FaultKind.OVERSIZE
        assert len(agent.askers) <= 2048 // 50 + 1


async def test_a_get_of_what_never_fits_is_missing(engine: EngineName) -> None:
    for behaviour in (always_too_big, huge):
        async with UdpAgent(behaviour) as agent, client(agent, engine) as snmp:
            assert await snmp.get(tuple(rows(3))) == {}


async def test_a_walk_has_a_time_limit_of_its_own(engine: EngineName) -> None:
    async with UdpAgent(silent) as agent, client(agent, engine) as snmp:
        fault = await fault_of(snmp.walk(COLUMN, WalkLimits(seconds=SHORT_S)))
        assert (fault.kind, "took more than" in str(fault)) == (FaultKind.TIMEOUT, True)


async def test_random_damage_ends_in_an_answer_or_a_named_fault(engine: EngineName, capfd: object) -> None:
    """Ends without a panic of the library too, which would write to standard error."""
    import random

    chance = random.Random(7)
    honest = Honest({(*COLUMN, k): chance.choice((k, b"text", COLUMN, -1, b"")) for k in range(30)})

    def damaged(request: Request) -> Iterable[bytes]:
        for whole in honest(request):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                data[chance.randrange(len(data))] = chance.choice((0, 1, 2, 4, 6, 0x1F, 0x30, 0x7F, 0x80, 0x84, 0xFF))
            yield bytes(data[: chance.choice((len(data), len(data), chance.randrange(1, len(data) + 1)))])

    async with UdpAgent(damaged) as agent, client(agent, engine, timeout_s=0.005) as snmp:
        for turn in range(150):
            snmp.set_pace(Pace(varbinds=4, repetitions=4, bulk=turn % 3 > 0))
            try:
                await (snmp.get([(*COLUMN, k) for k in range(4)]) if turn % 2 else snmp.walk(COLUMN))
            except PollError:
                pass  # the named fault; any other exception fails the test
    assert capfd.readouterr().err == ""  # type: ignore[attr-defined]


# --- SNMPv3 ---

LEVELS = [
    pytest.param(OPEN_USER, 0, id="noAuthNoPriv"),
    pytest.param(SIGNING_USER, SIGNED, id="authNoPriv"),
    pytest.param(USER, SIGNED | ENCRYPTED, id="authPriv"),
]
V3_OBJECTS: dict[Oid, Value] = {**rows(40), SYS_UPTIME: 500, SYS_DESCR: b"Synthetic"}


@pytest.mark.parametrize(("credential", "level"), LEVELS)
async def test_v3_at_every_level(engine: EngineName, credential: Credential, level: int) -> None:
    async with UsmAgent(Honest(V3_OBJECTS), level=level) as agent, client(agent, engine, credential) as snmp:
        assert await snmp.get([*V3_OBJECTS, (1, 3, 9)]) == V3_OBJECTS
        assert await snmp.walk(COLUMN) == rows(40)
        assert await snmp.walk((*COLUMN, 40, 1)) == {}
        assert agent.reports == [UNKNOWN_ENGINE]  # the discovery; its report told the clock too
        asked = len(agent.askers)
        assert await snmp.get([SYS_DESCR]) == {SYS_DESCR: b"Synthetic"}
        assert len(agent.askers) == asked + 1


@pytest.mark.parametrize("auth", ["sha1", "sha224", "sha256", "sha384", "sha512"])
async def test_every_hash_signs(engine: EngineName, auth: str) -> None:
    credential = replace(USER, auth=auth)  # type: ignore[arg-type]
    async with UsmAgent(Honest(V3_OBJECTS), auth=auth) as agent, client(agent, engine, credential) as snmp:
        assert await snmp.get([SYS_DESCR]) == {SYS_DESCR: b"Synthetic"}


@pytest.mark.parametrize(("credential", "level"), LEVELS)
async def test_v3_answers_that_are_too_big_are_asked_for_in_smaller_parts(
    engine: EngineName, credential: Credential, level: int
) -> None:
    honest = Honest(V3_OBJECTS)

    def narrow(request: Request) -> Iterable[bytes]:
        size = len(request.oids) if request.kind == GET else request.repetitions
        yield from [response(request, [], TOO_BIG)] if size > 6 else honest(request)

    async with UsmAgent(narrow, level=level) as agent, client(agent, engine, credential) as snmp:
        snmp.set_pace(Pace(varbinds=25, repetitions=25))
        assert await snmp.get([*V3_OBJECTS, (1, 3, 9)]) == V3_OBJECTS
        assert await snmp.walk(COLUMN) == rows(40)


@pytest.mark.parametrize("credential", [USER, SIGNING_USER])
async def test_after_a_restart_one_more_exchange_is_normal(engine: EngineName, credential: Credential) -> None:
    level = SIGNED | (ENCRYPTED if credential is USER else 0)
    async with UsmAgent(Honest(V3_OBJECTS), level=level) as agent, client(agent, engine, credential) as snmp:
        await snmp.get([SYS_DESCR])
        agent.boots, agent.time = agent.boots + 1, 5
        agent.reports.clear()
        assert await snmp.get([SYS_DESCR]) == {SYS_DESCR: b"Synthetic"}
        assert agent.reports == [NOT_IN_TIME]


@pytest.mark.parametrize(("credential", "level"), LEVELS)
async def test_another_engine_id_is_learnt(engine: EngineName, credential: Credential, level: int) -> None:
    async with UsmAgent(Honest(V3_OBJECTS), level=level) as agent, client(agent, engine, credential) as snmp:
        await snmp.get([SYS_DESCR])
        for _ in range(2):
            agent.engine_id += b"+"
            assert await snmp.get([SYS_DESCR]) == {SYS_DESCR: b"Synthetic"}


async def test_an_agent_that_has_lost_its_clock_for_good_is_denied_and_may_return(engine: EngineName) -> None:
    async with UsmAgent(Honest(V3_OBJECTS)) as agent, client(agent, engine, USER) as snmp:
        await snmp.get([SYS_DESCR])
        agent.is_forgetful = True
        fault = await fault_of(snmp.get([SYS_DESCR]))
        assert (fault.kind, "auth: " in str(fault), "clock" in str(fault)) == (FaultKind.DENIED, True, True)
        agent.is_forgetful = False
        assert await snmp.get([SYS_DESCR]) == {SYS_DESCR: b"Synthetic"}


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        (replace(USER, user="stranger"), "does not know this user"),
        (replace(USER, auth_key="wrongpass1"), "wrong authentication key"),
        (replace(USER, auth="sha512"), "wrong authentication key"),
        (replace(USER, priv_key="wrongpass1"), "wrong privacy key"),
        (SIGNING_USER, "level"),
        (OPEN_USER, "level"),
    ],
)
async def test_who_is_not_let_in_is_denied_never_timed_out(
    engine: EngineName, credential: Credential, words: str
) -> None:
    async with UsmAgent(Honest(V3_OBJECTS)) as agent, client(agent, engine, credential) as snmp:
        for asking in (snmp.get([SYS_DESCR]), snmp.walk(COLUMN)):
            fault = await fault_of(asking)
            assert (fault.kind, "auth: " in str(fault), words in str(fault)) == (FaultKind.DENIED, True, True), fault


async def test_an_agent_that_is_silent_to_what_it_cannot_decrypt_denies_too(engine: EngineName) -> None:
    class Shy(UsmAgent):
        def answers(self, data: bytes) -> Iterable[bytes]:
            found = list(super().answers(data))
            return found if self.reports[-1:] == [UNKNOWN_ENGINE] and not self.is_told(data) else []

        def is_told(self, data: bytes) -> bool:
            return self.engine_id in data

    async with Shy(Honest(V3_OBJECTS)) as agent, client(agent, engine, USER, timeout_s=5 * SHORT_S) as snmp:
        fault = await fault_of(snmp.get([SYS_DESCR]))
        assert (fault.kind, "auth: " in str(fault)) == (FaultKind.DENIED, True)


async def test_a_v3_agent_that_is_not_there_times_out(engine: EngineName) -> None:
    async with UdpAgent(silent) as agent:
        agent.behaviour, agent.answers = silent, lambda data: []  # type: ignore[method-assign]
        async with client(agent, engine, USER, timeout_s=SHORT_S) as snmp:
            assert (await fault_of(snmp.get([SYS_DESCR]))).kind is FaultKind.TIMEOUT


def sign_wrongly(agent: UsmAgent) -> None:
    agent.signs_wrong = True


def answer_openly(agent: UsmAgent) -> None:
    agent.answers_at_level = 0


def answer_unencrypted(agent: UsmAgent) -> None:
    agent.answers_at_level = SIGNED


@pytest.mark.parametrize("forge", [sign_wrongly, answer_openly, answer_unencrypted])
async def test_an_answer_that_is_not_protected_as_we_demand_is_not_believed(
    engine: EngineName, forge: Callable[[UsmAgent], None]
) -> None:
    async with UsmAgent(Honest(V3_OBJECTS)) as agent, client(agent, engine, USER) as snmp:
        assert await snmp.get([SYS_DESCR])
        forge(agent)
        assert (await fault_of(snmp.get([SYS_DESCR]))).kind is FaultKind.MALFORMED
        assert (await fault_of(snmp.walk(COLUMN))).kind is FaultKind.MALFORMED


@pytest.mark.parametrize("behaviour", [looping, stuck, endless, always_too_big])
async def test_a_v3_walk_of_a_hostile_agent_ends_with_its_fault(engine: EngineName, behaviour: Behaviour) -> None:
    kinds = {endless: FaultKind.OVERSIZE, always_too_big: FaultKind.OVERSIZE}
    async with UsmAgent(behaviour, level=SIGNED) as agent, client(agent, engine, SIGNING_USER) as snmp:
        fault = await fault_of(snmp.walk(COLUMN, WalkLimits(rows=200)))
        assert fault.kind is kinds.get(behaviour, FaultKind.MALFORMED)


async def test_one_user_with_two_keys_is_two_users(engine: EngineName) -> None:
    other = replace(USER, auth_key="otherpass1", priv_key="otherpass2")
    async with (
        UsmAgent(Honest(V3_OBJECTS)) as one,
        UsmAgent(Honest(V3_OBJECTS), auth_key="otherpass1", priv_key="otherpass2") as two,
        client(one, engine, USER) as a,
        client(two, engine, other) as b,
    ):
        for _ in range(2):
            assert await asyncio.gather(a.get([SYS_DESCR]), b.get([SYS_DESCR])) == [{SYS_DESCR: b"Synthetic"}] * 2


# --- which engine ---


def test_auto_takes_the_fastest_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_client("127.0.0.1", 161, V2).engine == available()[0]
    monkeypatch.delitem(sys.modules, "collectors.pdus.gufo_client", raising=False)
    monkeypatch.setitem(sys.modules, "gufo.snmp._fast", None)  # as on a computer that it was not built for
    assert available() == ("pysnmp",)
    assert open_client("127.0.0.1", 161, V2).engine == "pysnmp"
    with pytest.raises(ValueError, match=r"^the SNMP engine gufo is not installed"):
        open_client("127.0.0.1", 161, V2, "gufo")


async def test_devices_share_what_is_costly(engine: EngineName) -> None:
    """One pysnmp engine per credential, one socket for all devices of gufo; nothing is left when they are closed."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with UdpAgent(Honest(rows(1))) as one, UdpAgent(Honest(rows(2))) as two:
        ports: Sequence[int] = (one.port, two.port) * 5
        clients = [open_client("127.0.0.1", port, V2, engine) for port in ports]
        for snmp in clients:
            assert await snmp.walk(COLUMN)
        open_now = len(list(Path("/proc/self/fd").iterdir())) - before - 2
        assert open_now <= 4  # a socket, and for gufo a pipe and one codec
        for snmp in clients:
            await snmp.aclose()
            await snmp.aclose()  # closing twice is closing once
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
