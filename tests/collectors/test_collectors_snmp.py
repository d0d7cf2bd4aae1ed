"""The rules of getting and walking, and our pysnmp client against honest, hostile and real agents."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysnmp.entity.engine import SnmpEngine
from udp_agent import (
    END_OF_MIB,
    GEN_ERR,
    GET,
    GET_BULK,
    GET_NEXT,
    NO_ACCESS,
    TOO_BIG,
    Honest,
    Oid,
    Request,
    UdpAgent,
    integer,
    renumbered,
    response,
    tlv,
    value,
)

from collectors.pdus.pysnmp_client import PysnmpClient, open_sessions
from collectors.pdus.snmp import (
    Credential,
    Fetch,
    Pace,
    Value,
    Varbind,
    Walk,
    WalkLimits,
    format_oid,
    parse_oid,
    printable,
)
from collectors.pdus.snmprec import parse_snmprec
from fleet.ports import PollError
from fleet.readings import FaultKind

COLUMN: Oid = (1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 5)
CREDENTIAL = Credential("public")
GENEROUS_S = 30.0


def rows(count: int, root: Oid = COLUMN) -> dict[Oid, Value]:
    return {(*root, i): 10 * i for i in range(1, count + 1)}


def client(agent: UdpAgent, timeout_s: float = GENEROUS_S, retries: int = 0) -> PysnmpClient:
    return PysnmpClient("127.0.0.1", agent.port, CREDENTIAL, timeout_s=timeout_s, retries=retries)


async def fault_of(agent: UdpAgent, oids: Sequence[Oid], timeout_s: float = GENEROUS_S) -> FaultKind:
    snmp = client(agent, timeout_s)
    try:
        with pytest.raises(PollError) as caught:
            await snmp.get(oids)
        return caught.value.kind
    finally:
        await snmp.aclose()


# --- the rules, without a wire ---


def serve(fetch: Fetch, objects: dict[Oid, Value]) -> list[int]:
    """Answers a fetch honestly; the sizes of its requests."""
    sizes = []
    while asked := fetch.next_request():
        sizes.append(len(asked))
        fetch.receive([(oid, objects.get(oid)) for oid in asked])
    return sizes


def test_a_fetch_asks_in_chunks_and_leaves_out_what_is_not_there() -> None:
    fetch = Fetch([*rows(60), (1, 3, 9)], Pace(varbinds=25))
    assert serve(fetch, rows(60)) == [25, 25, 11]
    assert fetch.answers == rows(60)


def test_a_fetch_matches_by_oid_never_by_position() -> None:
    fetch = Fetch(rows(3), Pace())
    fetch.next_request()
    fetch.receive([((*COLUMN, 3), 30), ((*COLUMN, 99), 7), ((*COLUMN, 1), 10)])
    assert fetch.answers == {(*COLUMN, 1): 10, (*COLUMN, 3): 30}


def test_too_big_halves_the_chunk_for_good() -> None:
    pace = Pace(varbinds=20)
    fetch = Fetch(rows(20), pace)
    assert len(fetch.next_request()) == 20
    fetch.too_big()
    assert serve(fetch, rows(20)) == [10, 10]
    assert fetch.answers == rows(20)
    assert pace.varbinds == 10


def test_one_object_that_never_fits_is_missing_and_ends_the_fetch() -> None:
    fetch = Fetch(rows(4), Pace(varbinds=4))
    asked = 0
    while fetch.next_request():
        fetch.too_big()
        asked += 1
    assert fetch.answers == {}
    assert asked == 1 + 1 + 4  # four, two, then each alone


def test_an_error_index_drops_that_object_alone() -> None:
    fetch = Fetch(rows(3), Pace())
    fetch.next_request()
    fetch.refuse(2)
    assert fetch.next_request() == ((*COLUMN, 1), (*COLUMN, 3))


@pytest.mark.parametrize("position", [0, -1, 4])
def test_an_error_index_that_names_nothing_is_malformed(position: int) -> None:
    fetch = Fetch(rows(3), Pace())
    fetch.next_request()
    with pytest.raises(PollError, match="error index"):
        fetch.refuse(position)


def test_a_walk_ends_at_its_prefix() -> None:
    walk = Walk(COLUMN, Pace())
    assert walk.next_request() == COLUMN
    walk.receive([((*COLUMN, 1), 10), ((*COLUMN[:-1], 6, 1), 99)])
    assert walk.next_request() is None
    assert walk.answers == rows(1)


@pytest.mark.parametrize("end", [[], [((*COLUMN, 1), None)], [((1, 3, 6, 1), 5)]])
def test_a_walk_ends_when_nothing_follows(end: list[Varbind]) -> None:
    walk = Walk(COLUMN, Pace())
    walk.receive([((*COLUMN, 1), 10)])
    assert walk.next_request() == (*COLUMN, 1)
    walk.receive(end)
    assert walk.next_request() is None


@pytest.mark.parametrize("second", [1, 2])
def test_a_walk_refuses_oids_that_do_not_increase(second: int) -> None:
    walk = Walk(COLUMN, Pace())
    with pytest.raises(PollError, match="do not increase") as caught:
        walk.receive([((*COLUMN, 2), 20), ((*COLUMN, second), 10)])
    assert caught.value.kind is FaultKind.MALFORMED


def test_oids_are_compared_as_numbers_not_as_text() -> None:
    walk = Walk(COLUMN, Pace())
    walk.receive([((*COLUMN, 9), 90), ((*COLUMN, 10), 100)])
    assert list(walk.answers.values()) == [90, 100]


@pytest.mark.parametrize(
    ("limits", "value"), [(WalkLimits(rows=5), 1), (WalkLimits(octets=1000), b"x" * 300)], ids=["rows", "octets"]
)
def test_a_walk_without_end_is_oversize(limits: WalkLimits, value: Value) -> None:
    walk = Walk(COLUMN, Pace(), limits)
    with pytest.raises(PollError) as caught:
        walk.receive([((*COLUMN, i), value) for i in range(1, 100)])
    assert caught.value.kind is FaultKind.OVERSIZE


def test_a_walk_that_does_not_fit_asks_for_fewer_rows_down_to_one() -> None:
    pace = Pace(repetitions=10)
    walk = Walk(COLUMN, pace)
    sizes = [walk.repetitions]
    for _ in range(3):
        walk.too_big()
        sizes.append(walk.repetitions)
    assert sizes == [10, 5, 2, 1]
    with pytest.raises(PollError) as caught:
        walk.too_big()
    assert caught.value.kind is FaultKind.OVERSIZE
    assert pace.repetitions == 1


OIDS = st.lists(st.integers(0, 3), max_size=3).map(lambda tail: (*COLUMN, *tail))


@given(st.lists(st.lists(st.tuples(OIDS, st.none() | st.integers() | st.binary(max_size=4)), max_size=5)))
def test_whatever_an_agent_says_a_walk_ends_with_increasing_oids_or_a_named_fault(
    replies: list[list[Varbind]],
) -> None:
    walk = Walk(COLUMN, Pace())
    asked: list[Oid] = []
    try:
        for reply in replies:
            if (after := walk.next_request()) is None:
                break
            asked.append(after)
            walk.receive(reply)
    except PollError:
        pass  # the named fault; any other exception fails the test
    assert list(walk.answers) == sorted(walk.answers)
    assert asked == sorted(set(asked))  # every request gets further than the one before


def test_oids_read_and_print() -> None:
    assert parse_oid(".1.3.6.1.4.1.318") == (1, 3, 6, 1, 4, 1, 318)
    assert format_oid((1, 3, 6)) == "1.3.6"


@pytest.mark.parametrize("text", ["", "1..3", "1.3.x", "iso.3.6", "1.-3", "1.4294967296", "1.²", ".".join(["1"] * 129)])
def test_what_is_not_an_oid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an OID"):
        parse_oid(text)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Outlet 1", "Outlet 1"),
        (b"rack\0\0\0\0", "rack"),
        (b"\x1b[31mred\x07\nalert", "[31mred alert"),
        (b"\xff\xfe name", "�� name"),
        ("a\u202eb".encode(), "a b"),  # right-to-left override
        (b"x" * 4096, "x" * 64),
        (b"", None),
        (b"\0\0", None),
        (b" \t ", None),
        (42, None),
        ((1, 3), None),
    ],
)
def test_text_of_a_device_is_made_safe_to_show(raw: Value, text: str | None) -> None:
    assert printable(raw) == text


def test_a_credential_never_shows_its_secret() -> None:
    shown = repr(Credential("hunter2")) + str(Credential("hunter2")) + f"{Credential('hunter2')}"
    assert "hunter2" not in shown
    assert "***" in shown


# --- saved walks ---


def test_a_saved_walk_reads_into_typed_values() -> None:
    text = "1.3.2|4|a|b\r\n1.3.10|2|-1\n.1.3.3|6|.1.3.6\n1.3.4|4x|00ff\n1.3.5|64|10.0.0.1\n1.3.6|4|\n1.3.7|67|8640000\n"
    assert parse_snmprec(text + "1.3.8|4e|a\\x0ab\n1.3.9|2:numeric|initial=5\n") == {
        (1, 3, 2): b"a|b",
        (1, 3, 3): (1, 3, 6),
        (1, 3, 4): b"\x00\xff",
        (1, 3, 5): b"\x0a\x00\x00\x01",
        (1, 3, 6): b"",
        (1, 3, 7): 8640000,
        (1, 3, 8): b"a\nb",
        (1, 3, 10): -1,
    }


@pytest.mark.parametrize(
    "line", ["1.3.6", "1.3.6|2", "1.3.6|2|x", "a|2|1", "1.3.6|9|1", "1.3.6|4x|zz", "1.3|64|1.2.3.999"]
)
def test_a_bad_line_of_a_saved_walk_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"^w line 2: "):
        parse_snmprec("1.3.5|2|1\n" + line, "w")


# --- the client, over UDP ---


async def test_get_and_walk_of_an_honest_agent() -> None:
    objects: dict[Oid, Value] = {**rows(40), (1, 3, 6, 1, 2, 1, 1, 2, 0): (1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 6)}
    objects |= {(1, 3, 6, 1, 2, 1, 1, 1, 0): b"APC \xff", (*COLUMN[:-1], 6, 1): 1}
    async with UdpAgent(Honest(objects)) as agent:
        snmp = client(agent)
        assert await snmp.get([*objects, (1, 3, 6, 99)]) == objects
        assert await snmp.walk(COLUMN) == rows(40)
        assert list(await snmp.walk(COLUMN)) == sorted(rows(40))
        await snmp.aclose()


async def test_an_agent_without_getbulk_is_walked_by_getnext() -> None:
    honest = Honest(rows(5))
    async with UdpAgent(honest) as agent:
        snmp = client(agent)
        snmp.set_pace(Pace(bulk=False))
        assert await snmp.walk(COLUMN) == rows(5)
        await snmp.aclose()
    assert {request.kind for request in honest.requests} == {GET_NEXT}


async def test_too_big_answers_are_asked_for_in_smaller_parts() -> None:
    honest = Honest(rows(40))

    def narrow(request: Request) -> Iterable[bytes]:
        size = len(request.oids) if request.kind == GET else request.repetitions
        yield from [response(request, [], TOO_BIG)] if size > 6 else honest(request)

    async with UdpAgent(narrow) as agent:
        snmp = client(agent)
        snmp.set_pace(Pace(varbinds=25, repetitions=25))
        assert await snmp.get(tuple(rows(40))) == rows(40)
        assert await snmp.walk(COLUMN) == rows(40)
        await snmp.aclose()


async def test_an_agent_that_fails_on_one_object_still_gives_the_others() -> None:
    bad = (*COLUMN, 2)
    honest = Honest(rows(3))

    def picky(request: Request) -> Iterable[bytes]:
        if bad in request.oids:
            echo = [(oid, b"\x05\x00") for oid in request.oids]
            return [response(request, echo, GEN_ERR, request.oids.index(bad) + 1)]
        return honest(request)

    async with UdpAgent(picky) as agent:
        snmp = client(agent)
        assert await snmp.get(tuple(rows(3))) == {(*COLUMN, 1): 10, (*COLUMN, 3): 30}
        await snmp.aclose()


async def test_no_access_is_denied() -> None:
    async with UdpAgent(lambda request: [response(request, [], NO_ACCESS, 1)]) as agent:
        assert await fault_of(agent, [COLUMN]) is FaultKind.DENIED


def silent(request: Request) -> Iterable[bytes]:
    return []


def truncated(request: Request) -> Iterable[bytes]:
    whole = response(request, [(oid, integer(7)) for oid in request.oids])
    return [whole[:n] for n in range(len(whole))]


def garbage(request: Request) -> Iterable[bytes]:
    return [b"", b"\xff" * 600, b"\x30\x84\xff\xff\xff\xff", b"\x30\x80" * 2000, b"HTTP/1.1 400 Bad Request\r\n\r\n"]


def wrong_number(request: Request) -> Iterable[bytes]:
    return [response(renumbered(request), [(oid, integer(7)) for oid in request.oids])]


def huge(request: Request) -> Iterable[bytes]:
    return [response(request, [(oid, tlv(4, b"x" * 40_000)) for oid in request.oids])]


@pytest.mark.parametrize("behaviour", [silent, truncated, garbage, wrong_number, huge])
async def test_what_is_not_an_answer_ends_as_a_timeout(behaviour: object) -> None:
    async with UdpAgent(behaviour) as agent:  # type: ignore[arg-type]
        assert await fault_of(agent, [COLUMN], timeout_s=0.3) is FaultKind.TIMEOUT


async def test_a_lost_request_is_sent_once_more() -> None:
    honest, seen = Honest(rows(1)), []

    def deaf_at_first(request: Request) -> Iterable[bytes]:
        seen.append(request)
        return honest(request) if len(seen) > 1 else []

    async with UdpAgent(deaf_at_first) as agent:
        snmp = client(agent, timeout_s=1.0, retries=1)
        assert await snmp.get(tuple(rows(1))) == rows(1)
        await snmp.aclose()
    assert len(seen) == 2


async def test_an_answer_from_another_address_is_not_heard() -> None:
    async with UdpAgent(silent) as forger:

        def diverted(request: Request) -> Iterable[bytes]:
            answer = response(request, [(oid, integer(666)) for oid in request.oids])
            forger._transport.sendto(answer, ("127.0.0.1", port_of(snmp)))
            return []

        async with UdpAgent(diverted) as agent:
            snmp = client(agent, timeout_s=0.5)
            with pytest.raises(PollError) as caught:
                await snmp.get([COLUMN])
            assert caught.value.kind is FaultKind.TIMEOUT
            await snmp.aclose()


def port_of(snmp: PysnmpClient) -> int:
    assert snmp._session is not None
    bound = snmp._session.transport.transport.get_extra_info("socket")  # its "sockname" is from before the first send
    return int(bound.getsockname()[1])


def looping(request: Request) -> Iterable[bytes]:
    yield response(request, [((*COLUMN, 1), integer(1)), ((*COLUMN, 2), integer(2)), ((*COLUMN, 1), integer(1))])


def stuck(request: Request) -> Iterable[bytes]:
    yield response(request, [((*COLUMN, 1), integer(1))])


def endless(request: Request) -> Iterable[bytes]:
    at = request.oids[0][-1] if len(request.oids[0]) > len(COLUMN) else 0
    yield response(request, [((*COLUMN, at + i), integer(1)) for i in range(1, request.repetitions + 1)])


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [(looping, FaultKind.MALFORMED), (stuck, FaultKind.MALFORMED), (endless, FaultKind.OVERSIZE)],
)
async def test_a_walk_of_a_hostile_agent_ends_with_its_fault(behaviour: object, kind: FaultKind) -> None:
    async with UdpAgent(behaviour) as agent:  # type: ignore[arg-type]
        snmp = client(agent)
        async with asyncio.timeout(GENEROUS_S):
            with pytest.raises(PollError) as caught:
                await snmp.walk(COLUMN)
        assert caught.value.kind is kind
        await snmp.aclose()


async def test_a_walk_has_a_time_limit_of_its_own() -> None:
    async with UdpAgent(silent) as agent:
        snmp = client(agent)
        with pytest.raises(PollError, match="took more than") as caught:
            await snmp.walk(COLUMN, WalkLimits(seconds=0.2))
        assert caught.value.kind is FaultKind.TIMEOUT
        await snmp.aclose()


async def test_a_walk_over_the_end_of_the_mib_ends() -> None:
    def last_row(request: Request) -> Iterable[bytes]:
        yield response(request, [((*COLUMN, 1), value(10)), ((*COLUMN, 1), END_OF_MIB)])

    async with UdpAgent(last_row) as agent:
        snmp = client(agent)
        assert await snmp.walk(COLUMN) == rows(1)
        await snmp.aclose()


async def test_devices_with_one_credential_share_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SnmpEngine] = []

    class CountedEngine(SnmpEngine):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("collectors.pdus.pysnmp_client.SnmpEngine", CountedEngine)
    async with UdpAgent(Honest(rows(1))) as one, UdpAgent(Honest(rows(2))) as two:
        clients = [client(one), client(two), PysnmpClient("127.0.0.1", one.port, Credential("other"))]
        answers = await asyncio.gather(*(snmp.walk(COLUMN) for snmp in clients))
        assert [len(answer) for answer in answers] == [1, 2, 1]
        assert len(made) == open_sessions() == 2
        for snmp in clients:
            await snmp.aclose()
            await snmp.aclose()  # closing twice is closing once
        assert open_sessions() == 0


async def test_an_abandoned_request_leaves_the_client_usable() -> None:
    honest = Honest(rows(1))
    gate: list[Request] = []

    def late(request: Request) -> Iterable[bytes]:
        gate.append(request)
        return [] if len(gate) == 1 else honest(request)

    async with UdpAgent(late) as agent:
        snmp = client(agent)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await snmp.get(tuple(rows(1)))
        assert await snmp.get(tuple(rows(1))) == rows(1)
        await snmp.aclose()


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    snmp = PysnmpClient("no-such-host.invalid", 161, CREDENTIAL)
    with pytest.raises(PollError) as caught:
        await snmp.get([COLUMN])
    assert caught.value.kind is FaultKind.UNREACHABLE


# --- a real agent ---


@pytest.fixture
def snmpd(tmp_path: Path) -> Iterator[int]:
    """UDP port of a net-snmp agent on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    # The agent rewrites a snmpd.conf in its persistent folder, so its configuration must lie elsewhere.
    (tmp_path / "agent.conf").write_text("rocommunity public\nsysDescr Synthetic PDU\nsysName rack-7\n")
    program = shutil.which("snmpd", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None
    process = subprocess.Popen(
        [program, "-f", "-C", "-c", str(tmp_path / "agent.conf"), "-Lo", f"udp:127.0.0.1:{port}"],
        env={"SNMP_PERSISTENT_DIR": str(tmp_path / "state"), "MIBS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"NET-SNMP version"):  # printed once it listens
                break
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=GENEROUS_S)


@pytest.mark.peer("snmpd")
async def test_a_real_agent_answers_get_and_walk(snmpd: int) -> None:
    system: Oid = (1, 3, 6, 1, 2, 1, 1)
    snmp = PysnmpClient("127.0.0.1", snmpd, CREDENTIAL, timeout_s=GENEROUS_S)
    got = await snmp.get([(*system, 1, 0), (*system, 2, 0), (*system, 3, 0), (*system, 5, 0), (*system, 99, 0)])
    assert got[*system, 1, 0] == b"Synthetic PDU"
    assert got[*system, 2, 0][:9] == (1, 3, 6, 1, 4, 1, 8072, 3, 2)  # type: ignore[index]  # net-snmp's own identity
    assert isinstance(got[*system, 3, 0], int)
    assert got[*system, 5, 0] == b"rack-7"
    assert (*system, 99, 0) not in got
    for pace in (Pace(repetitions=25), Pace(repetitions=3), Pace(bulk=False)):
        snmp.set_pace(pace)
        walked = await snmp.walk(system)
        assert set(got) <= set(walked)
        assert list(walked) == sorted(walked)
        assert all(oid[: len(system)] == system for oid in walked)
        assert {oid: walked[oid] for oid in got if oid[-2] != 3} == {o: v for o, v in got.items() if o[-2] != 3}
    await snmp.aclose()


@pytest.mark.peer("snmpd")
async def test_a_wrong_community_looks_like_silence(snmpd: int) -> None:
    snmp = PysnmpClient("127.0.0.1", snmpd, Credential("wrong"), timeout_s=0.5, retries=0)
    with pytest.raises(PollError) as caught:
        await snmp.get([(1, 3, 6, 1, 2, 1, 1, 1, 0)])
    assert caught.value.kind is FaultKind.TIMEOUT
    assert "wrong" not in str(caught.value)
    await snmp.aclose()


def test_the_agent_of_these_tests_speaks_getbulk() -> None:
    honest = Honest(rows(3))
    request = Request(b"public", GET_BULK, integer(1), 0, 2, (COLUMN,))
    assert [oid for oid, _ in honest.rows(request)] == [(*COLUMN, 1), (*COLUMN, 2)]
