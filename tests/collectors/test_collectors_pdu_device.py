"""A PDU read again and again: found once, read whole now and then, in parts in between, and never taken for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from udp_agent import GET, TOO_BIG, Honest, Request, UdpAgent, integer, response

from collectors.catalogue import open_device
from collectors.pdus.device import SnmpPdu, has_restarted
from collectors.pdus.profile import ProfileError, parse_profile
from collectors.pdus.pysnmp_client import open_sessions
from collectors.pdus.snmp import Oid, Value, parse_oid
from collectors.pdus.snmprec import parse_snmprec
from fleet.ports import Pdu, PollError
from fleet.readings import FaultKind, RowKind

SYNTHETIC = Path(__file__).parent.parent / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"
GENEROUS_S = 30.0

SYS_DESCR, SYS_OBJECT_ID, UPTIME = (parse_oid(f"1.3.6.1.2.1.1.{n}.0") for n in (1, 2, 3))
UNIT_W = parse_oid("1.3.6.1.4.1.318.1.1.26.4.3.1.5.1")
OUTLET_W = parse_oid("1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.1")
OUTLET_NAME = parse_oid("1.3.6.1.4.1.318.1.1.26.9.2.3.1.3.1")
SERIAL = parse_oid("1.3.6.1.4.1.318.1.1.26.2.1.9.1")


@pytest.fixture
def honest() -> Honest:
    return Honest(parse_snmprec(SYNTHETIC.read_text("utf-8")))


@pytest.fixture
async def agent(honest: Honest) -> AsyncIterator[UdpAgent]:
    async with UdpAgent(honest) as listening:
        yield listening


def open_pdu(agent: UdpAgent, profile: str = "auto", full_read_every: int = 100) -> SnmpPdu:
    return SnmpPdu("127.0.0.1", agent.port, GENEROUS_S, None, profile, full_read_every=full_read_every)


async def test_a_pdu_is_found_and_read(agent: UdpAgent) -> None:
    pdu: Pdu = open_pdu(agent)
    reading = await pdu.read()
    assert (reading.profile, reading.serial, reading.power_w) == ("apc_rpdu2", "SYN000000001", 11_330.0)
    assert sum(row.kind is RowKind.OUTLET for row in reading.rows) == 6
    await pdu.aclose()
    assert open_sessions() == 0


async def test_later_reads_ask_for_what_moves_only(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent)
    first = await pdu.read()
    honest.requests.clear()
    honest.objects[OUTLET_W] = 3000
    honest.objects[OUTLET_NAME] = b"renamed"
    second = await pdu.read()
    assert {request.kind for request in honest.requests} == {GET}
    asked = {oid for request in honest.requests for oid in request.oids}
    assert OUTLET_W in asked
    assert OUTLET_NAME not in asked
    assert len(asked) < 45  # of some 150 objects
    before = {(row.kind, row.id): row for row in first.rows}
    for row in second.rows:
        if (row.kind, row.id) == (RowKind.OUTLET, "1"):
            assert (row.power_w, row.name, row.energy_j) == (3000.0, "miner-0001", before[row.kind, row.id].energy_j)
        else:
            assert row == before[row.kind, row.id]
    await pdu.aclose()


async def test_an_old_answer_never_stands_in_for_a_new_one(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent)
    assert (await pdu.read()).power_w == 11_330.0
    del honest.objects[OUTLET_W], honest.objects[UNIT_W]
    reading = await pdu.read()
    outlet = next(row for row in reading.rows if (row.kind, row.id) == (RowKind.OUTLET, "1"))
    assert (outlet.power_w, reading.power_w) == (None, None)
    honest.requests.clear()
    await pdu.read()  # everything is asked for again: what stood behind the lost ones as a fallback, too
    assert any(SERIAL in request.oids for request in honest.requests)
    honest.requests.clear()
    await pdu.read()  # and then it is known what is there
    assert not any(SERIAL in request.oids for request in honest.requests)
    await pdu.aclose()


async def test_names_are_read_again_now_and_then(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent, full_read_every=3)
    names = []
    for name in (b"one", b"two", b"three", b"four"):
        honest.objects[OUTLET_NAME] = name
        reading = await pdu.read()
        names.append(next(row.name for row in reading.rows if (row.kind, row.id) == (RowKind.OUTLET, "1")))
    assert names == ["one", "one", "one", "four"]
    await pdu.aclose()


async def test_devices_that_start_together_read_everything_at_different_times(agent: UdpAgent, honest: Honest) -> None:
    pdu = SnmpPdu("127.0.0.1", agent.port, GENEROUS_S, full_read_every=5, head_start=5 + 3)
    full_reads = []
    for poll in range(13):
        honest.requests.clear()
        await pdu.read()
        if any(SERIAL in request.oids for request in honest.requests):
            full_reads.append(poll)
    assert full_reads == [0, 2, 7, 12]
    await pdu.aclose()


async def test_the_catalogue_tells_devices_apart_by_their_address(agent: UdpAgent, honest: Honest) -> None:
    def full_read_after(host: str) -> int:
        pdu = open_device("snmp", host, agent.port, GENEROUS_S)
        assert isinstance(pdu, SnmpPdu)
        return pdu.head_start

    assert len({full_read_after(f"127.0.0.{n}") for n in range(1, 30)}) > 10


async def test_what_a_device_can_carry_is_found_out_once(honest: Honest) -> None:
    sizes: list[int] = []

    def narrow(request: Request) -> Iterable[bytes]:
        sizes.append(len(request.oids))
        return [response(request, [], TOO_BIG)] if len(request.oids) > 6 else honest(request)

    async with UdpAgent(narrow) as agent:
        pdu = open_pdu(agent, full_read_every=1)
        await pdu.read()
        assert max(sizes) > 6
        sizes.clear()
        assert (await pdu.read()).power_w == 11_330.0  # read whole once more, in pieces that fit
        assert max(sizes) <= 6
        await pdu.aclose()


async def test_a_subtree_that_two_tables_share_is_walked_once(agent: UdpAgent, honest: Honest) -> None:
    (shared,) = parse_profile("""
id = "shared"
[match]
sys_object_id = ["318"]
[[tables]]
kind = "outlet"
rows = ["318.1.1.26.9.4.3.1.4"]
columns = [{ quantity = "power_w", oid = "318.1.1.26.9.4.3.1.7" }]
[[tables]]
kind = "probe"
rows = ["318.1.1.26.9.4.3.1.4"]
columns = [{ quantity = "current_a", oid = "318.1.1.26.9.4.3.1.6" }]
""")
    pdu = SnmpPdu("127.0.0.1", agent.port, GENEROUS_S, profiles=[shared])
    reading = await pdu.read()
    assert {row.kind for row in reading.rows} == {RowKind.OUTLET, RowKind.PROBE}
    root = parse_oid("1.3.6.1.4.1.318.1.1.26.9.4.3.1.4")
    assert sum(request.kind != GET and request.oids == (root,) for request in honest.requests) == 1
    await pdu.aclose()


async def test_a_restart_leads_to_a_full_read_at_once(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent)
    assert (await pdu.read()).serial == "SYN000000001"
    honest.objects[SERIAL] = b"ANOTHERUNIT2"
    assert (await pdu.read()).serial == "SYN000000001"  # not due yet
    honest.objects[UPTIME] = 1_000
    reading = await pdu.read()
    assert (reading.serial, reading.uptime_s) == ("ANOTHERUNIT2", 10.0)
    await pdu.aclose()


async def test_an_uptime_that_jumps_does_not_buy_a_full_read_each_time(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent)
    full_reads, warned = 0, []
    for poll in range(12):
        honest.objects[UPTIME] = 1_000_000 - poll
        honest.requests.clear()
        reading = await pdu.read()
        full_reads += any(SERIAL in request.oids for request in honest.requests)
        warned.append("uptime.unsteady" in reading.warnings)
        assert reading.power_w == 11_330.0
    assert full_reads == 1 + 3  # the first, and three that its restarts asked for
    assert warned == [False] * 4 + [True] * 8
    await pdu.aclose()


@pytest.mark.parametrize(
    ("before", "now", "restarted"),
    [
        (None, 5, False),
        (100, 200, False),
        (200, 100, True),
        (2**32 - 1, 50, False),  # 497.1 days: the counter wrapped
        (2**32 - 360_001, 50, True),
        (200, None, False),
        (200, b"x", False),
    ],
)
def test_what_counts_as_a_restart(before: int | None, now: Value | None, restarted: bool) -> None:
    assert has_restarted(before, now) is restarted


async def test_an_unknown_pdu_is_named_safely(agent: UdpAgent, honest: Honest) -> None:
    honest.objects = {
        SYS_OBJECT_ID: parse_oid("1.3.6.1.4.1.850.1.5"),
        SYS_DESCR: b"Cooling\x1b[2J\n" + b"x" * 500,
    }
    pdu = open_pdu(agent)
    with pytest.raises(PollError) as caught:
        await pdu.read()
    assert caught.value.kind is FaultKind.UNSUPPORTED
    assert caught.value.detail.startswith("unknown PDU: sysObjectID 1.3.6.1.4.1.850.1.5, sysDescr Cooling [2J xxxx")
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 300
    await pdu.aclose()


async def test_an_agent_that_has_nothing_is_an_unknown_pdu(agent: UdpAgent, honest: Honest) -> None:
    honest.objects = {}
    pdu = open_pdu(agent)
    with pytest.raises(PollError, match="sysObjectID none, sysDescr none"):
        await pdu.read()
    await pdu.aclose()


async def test_the_operators_choice_needs_no_proof(agent: UdpAgent, honest: Honest) -> None:
    honest.objects[SYS_OBJECT_ID] = parse_oid("1.3.6.1.4.1.850.1.5")
    pdu = open_pdu(agent, profile="apc_rpdu2")
    assert (await pdu.read()).power_w == 11_330.0
    await pdu.aclose()


def test_a_profile_that_nobody_has_is_the_operators_mistake() -> None:
    with pytest.raises(ProfileError, match="no PDU profile 'apc_rpdu9'; known: auto, "):
        SnmpPdu("127.0.0.1", profile="apc_rpdu9")


async def test_a_silent_device_is_a_timeout_within_the_deadline() -> None:
    def silent(request: Request) -> Iterable[bytes]:
        return []

    async with UdpAgent(silent) as agent:
        pdu = SnmpPdu("127.0.0.1", agent.port, 0.3)
        async with asyncio.timeout(GENEROUS_S):
            with pytest.raises(PollError) as caught:
                await pdu.read()
        assert caught.value.kind is FaultKind.TIMEOUT
        await pdu.aclose()


async def test_a_device_that_comes_back_is_read_again(agent: UdpAgent, honest: Honest) -> None:
    is_down = True

    def flaky(request: Request) -> Iterable[bytes]:
        return [] if is_down else honest(request)

    agent.behaviour = flaky
    pdu = SnmpPdu("127.0.0.1", agent.port, 2.0)
    with pytest.raises(PollError):
        await pdu.read()
    is_down = False
    assert (await pdu.read()).power_w == 11_330.0
    await pdu.aclose()


async def test_a_device_that_walks_in_circles_is_malformed(agent: UdpAgent, honest: Honest) -> None:
    def circling(request: Request) -> Iterable[bytes]:
        if request.kind == GET:
            return honest(request)
        root: Oid = request.oids[0]
        return [response(request, [((*root, 2), integer(1)), ((*root, 1), integer(1))])]

    agent.behaviour = circling
    pdu = open_pdu(agent)
    with pytest.raises(PollError) as caught:
        await pdu.read()
    assert caught.value.kind is FaultKind.MALFORMED
    await pdu.aclose()


async def test_one_request_is_in_flight_at_a_time(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent)
    readings = await asyncio.gather(*(pdu.read() for _ in range(3)))
    assert [reading.power_w for reading in readings] == [11_330.0] * 3
    walks = [request for request in honest.requests if request.kind != GET]
    assert len({(request.kind, request.oids) for request in walks}) == len(walks)  # found once, not three times
    await pdu.aclose()


async def test_a_row_that_appears_is_seen_at_the_next_full_read(agent: UdpAgent, honest: Honest) -> None:
    pdu = open_pdu(agent, full_read_every=2)
    await pdu.read()
    base = "1.3.6.1.4.1.318.1.1.26.9.4.3.1"
    for column, value in ((2, 1), (3, b"miner-0009"), (4, 5), (7, 3100)):
        honest.objects[parse_oid(f"{base}.{column}.7")] = value
    counts = [sum(row.kind is RowKind.OUTLET for row in (await pdu.read()).rows) for _ in range(2)]
    assert counts == [6, 7]
    await pdu.aclose()
