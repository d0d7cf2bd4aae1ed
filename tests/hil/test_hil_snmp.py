"""The PDU agent speaks SNMP as net-snmp does, shows the machines' wall power, and survives any datagram."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    encode_text,
    parse_oid,
)
from hil.faults import Misbehaviour
from hil.loopback import free_block
from hil.pdus import RPDU2_OBJECT_ID, Face, Recording, Rpdu2, read_snmprec
from hil.physics import Orders, assemble, settle
from hil.responder import GET, GET_BULK, MAX_DATAGRAM_BYTES, respond
from hil.scene import Scene
from hil.snmp_agent import SnmpAgent

OUTLETS = 24
ROW_OFF = 3
UNIT_W10, UNIT_ENERGY = "1.3.6.1.4.1.318.1.1.26.4.3.1.5.1", "1.3.6.1.4.1.318.1.1.26.4.3.1.9.1"
OUTLET_W, OUTLET_STATE = "1.3.6.1.4.1.318.1.1.26.9.4.3.1.7", "1.3.6.1.4.1.318.1.1.26.9.2.3.1.5"


def make_pdu() -> Rpdu2:
    """24 outlets, 23 machines, the fourth switched off; outlet 24 is free."""
    n = OUTLETS - 1
    build, orders = assemble(n), Orders.all_on(n)
    scene = Scene(build, orders, settle(build, orders, 25.0), 1_700_000_000.0)
    orders.outlet_on[ROW_OFF] = False
    scene.tick(5.0, 1_700_000_005.0, 25.0)
    return Rpdu2(scene, Face("pdu-0001", "HIL000000001", (*((row,) for row in range(n)), ())))


def request(
    kind: int, *oids: str, community: bytes = b"public", version: int = 1, first: int = 0, second: int = 0
) -> bytes:
    rows = b"".join(encode(SEQUENCE, encode_oid(parse_oid(oid)) + encode(NULL, b"")) for oid in oids)
    body = encode_integer(77) + encode_integer(first) + encode_integer(second) + encode(SEQUENCE, rows)
    return encode(SEQUENCE, encode_integer(version) + encode(0x04, community) + encode(kind, body))


def parse(answer: bytes) -> tuple[int, int, list[tuple[Oid, int, bytes]]]:
    """Error status, error index, and (OID, tag, body) of each binding."""
    _, message, _ = decode(answer, 0)
    _, at = decode_integer(message, 0)
    _, _, at = decode(message, at)
    _, pdu, _ = decode(message, at)
    request_id, at = decode_integer(pdu, 0)
    assert request_id == 77
    error, at = decode_integer(pdu, at)
    index, at = decode_integer(pdu, at)
    _, bindings, _ = decode(pdu, at)
    rows = []
    at = 0
    while at < len(bindings):
        _, binding, at = decode(bindings, at)
        _, name, rest = decode(binding, 0)
        tag, body, _ = decode(binding, rest)
        rows.append((decode_oid(name), tag, body))
    return error, index, rows


@pytest.mark.parametrize(
    ("value", "wire"),  # X.690 section 8.3, by hand
    [(0, "020100"), (127, "02017f"), (128, "02020080"), (-1, "0201ff"), (-128, "020180"), (-129, "0202ff7f")],
)
def test_integers_are_encoded_as_the_standard_says(value: int, wire: str) -> None:
    assert encode_integer(value).hex() == wire
    assert decode_integer(bytes.fromhex(wire), 0)[0] == value


def test_object_ids_are_encoded_as_the_standard_says() -> None:
    assert encode_oid((1, 3, 6, 1, 4, 1, 318)).hex() == "06072b06010401823e"  # 318 = 2 * 128 + 62
    assert encode_oid((1, 3, 6, 1, 4, 1, 2**32 - 1)).hex() == "060a2b060104018fffffff7f"


def test_texts_are_utf_8_and_bytes_of_a_file_stay_what_they_were() -> None:
    assert encode_text("\u00e9").hex() == "0402c3a9"
    assert encode_text(b"\xe9".decode("utf-8", "surrogateescape")).hex() == "0401e9"


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20), st.integers(0, 2), st.integers(0, 39))
def test_object_ids_survive_the_round_trip(rest: list[int], first: int, second: int) -> None:
    oid = (first, second, *rest)
    assert decode_oid(decode(encode_oid(oid), 0)[1]) == oid


def test_the_outlets_carry_the_machines_wall_power() -> None:
    pdu = make_pdu()
    wall_w = pdu.scene.view.state.wall_w
    answer = respond(pdu, b"public", request(GET, UNIT_W10, f"{OUTLET_W}.1", f"{OUTLET_W}.4", f"{OUTLET_W}.24"))
    assert answer is not None
    unit, first, dark, free = (int.from_bytes(body, "big") for _, _, body in parse(answer)[2])
    assert unit == round(wall_w.sum() / 10)
    assert first == round(wall_w[0])
    assert first > 2000
    assert dark == free == 0


def test_states_say_which_outlet_is_off() -> None:
    pdu = make_pdu()
    answer = respond(pdu, b"public", request(GET, f"{OUTLET_STATE}.4", f"{OUTLET_STATE}.5"))
    assert answer is not None
    assert [body for _, _, body in parse(answer)[2]] == [b"\x01", b"\x02"]  # rPDU2: 1 off, 2 on


def test_energy_counts_tenths_of_a_kilowatt_hour() -> None:
    pdu = make_pdu()
    before = parse(respond(pdu, b"public", request(GET, UNIT_ENERGY)) or b"")[2][0][2]
    drawn_w = pdu.unit_w()
    pdu.scene.tick(3600.0, 1_700_003_605.0, 25.0)
    after = parse(respond(pdu, b"public", request(GET, UNIT_ENERGY)) or b"")[2][0][2]
    counted = int.from_bytes(after, "big") - int.from_bytes(before, "big")
    assert counted == pytest.approx(drawn_w / 100, rel=0.03)  # W over one hour in units of 0.1 kWh


def test_a_wrong_community_gets_silence() -> None:
    assert respond(make_pdu(), b"public", request(GET, UNIT_W10, community=b"private")) is None


def test_missing_objects_are_named_as_missing_and_v1_has_only_one_word_for_it() -> None:
    pdu = make_pdu()
    gone = f"{OUTLET_W}.99"
    assert parse(respond(pdu, b"public", request(GET, gone, "1.3.6.1.9.9")) or b"")[2][0][1] == 0x81
    assert parse(respond(pdu, b"public", request(GET, "1.3.6.1.9.9")) or b"")[2][0][1] == 0x80
    assert parse(respond(pdu, b"public", request(GET, UNIT_W10, gone, version=0)) or b"")[:2] == (2, 2)


def test_a_bulk_answer_holds_whole_rows_and_fits_into_one_frame() -> None:
    answer = respond(make_pdu(), b"public", request(GET_BULK, OUTLET_W, "1.3.6.1.4.1.318.1.1.26.9.2.3.1.3", second=200))
    assert answer is not None
    assert len(answer) <= MAX_DATAGRAM_BYTES
    _, _, rows = parse(answer)
    assert 20 < len(rows) < 200
    columns = [oid for oid, _, _ in rows[::2]]
    assert columns == sorted(set(columns))


@given(st.binary(max_size=120))
def test_no_datagram_can_make_it_raise(noise: bytes) -> None:
    respond(Recording([((1, 3, 6, 1), encode_text("x"))]), b"public", noise)


@given(st.integers(0, 120), st.integers(0, 255))
def test_no_broken_request_can_make_it_raise(at: int, byte: int) -> None:
    whole = bytearray(request(GET, UNIT_W10, f"{OUTLET_W}.1"))
    whole[at % len(whole)] = byte
    respond(Recording([(parse_oid(UNIT_W10), encode_integer(5))]), b"public", bytes(whole))


def test_recorded_walks_are_served_in_order_with_their_types() -> None:
    tree = read_snmprec(
        "1.3.6.1.2.1.1.10.0|4|later\n"
        "1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.318\n"
        "1.3.6.1.2.1.1.3.0|67|4294967295\n"
        "1.3.6.1.2.1.1.4.0|4x|00ff\n"
        "1.3.6.1.2.1.1.5.0|64|10.0.0.1\n"
        "1.3.6.1.2.1.1.6.0|70|18446744073709551615\n"
        "1.3.6.1.2.1.1.7.0|2:numeric|initial=5\n"
        "1.3.6.1.2.1.1.8.0|2|-5\n"
        "1.3.6.1.2.1.1.9.0|4|a|b\n"
        "nonsense\n"
    )
    assert [oid[-2] for oid in tree.oids] == [2, 3, 4, 5, 6, 8, 9, 10]
    assert [tree.value(i).hex() for i in range(7)] == [
        "06072b06010401823e",
        "430500ffffffff",
        "040200ff",
        "40040a000001",
        "460900ffffffffffffffff",
        "0201fb",
        "0403617c62",
    ]


# --- against the real tools


@pytest.fixture
async def agent() -> AsyncIterator[SnmpAgent]:
    agent = SnmpAgent(make_pdu(), f"127.{free_block()}.250.1", 1161)
    await agent.open()
    yield agent
    agent.close()


async def tool(
    name: str, agent: SnmpAgent, *arguments: str, options: tuple[str, ...] = ("-v2c", "-c", "public")
) -> str:
    process = await asyncio.create_subprocess_exec(
        *(name, "-m", "", "-M", "", "-On", "-Oe", *options, f"{agent.host}:{agent.port}", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


def values(walk: str) -> dict[str, str]:
    rows = re.findall(r"^\.([\d.]+) = (?:[\w-]+: )?(.*)$", walk, re.MULTILINE)
    return {oid: value.strip('"') for oid, value in rows if not value.startswith("No more")}


@pytest.mark.peer("snmpwalk")
@pytest.mark.parametrize("options", [("-v2c",), ("-v1",)])
async def test_snmpwalk_sees_every_object_with_its_value(agent: SnmpAgent, options: tuple[str, ...]) -> None:
    seen = values(await tool("snmpwalk", agent, ".1", options=(*options, "-c", "public")))
    assert [parse_oid(oid) for oid in seen] == list(agent.tree.oids)
    wall_w = agent.tree.scene.view.state.wall_w  # type: ignore[attr-defined]
    assert [int(seen[f"{OUTLET_W}.{k + 1}"]) for k in range(OUTLETS - 1)] == [round(w) for w in wall_w]
    assert parse_oid(seen["1.3.6.1.2.1.1.2.0"]) == RPDU2_OBJECT_ID


@pytest.mark.peer("snmpbulkwalk")
async def test_snmpbulkwalk_sees_what_snmpwalk_sees(agent: SnmpAgent) -> None:
    plain = values(await tool("snmpwalk", agent, ".1"))
    bulk = values(await tool("snmpbulkwalk", agent, ".1", options=("-v2c", "-c", "public", "-Cr50")))
    assert bulk == plain
    assert len(bulk) == len(agent.tree.oids)


@pytest.mark.peer("snmpget")
async def test_snmpget_times_out_on_a_wrong_community_and_on_a_hung_agent(agent: SnmpAgent) -> None:
    quick = ("-v2c", "-r0", "-t0.5", "-c")
    assert "Timeout" in await tool("snmpget", agent, UNIT_W10, options=(*quick, "wrong"))
    agent.fault = Misbehaviour.HANG
    assert "Timeout" in await tool("snmpget", agent, UNIT_W10, options=(*quick, "public"))
    agent.fault = Misbehaviour.NONE
    assert "INTEGER" in await tool("snmpget", agent, UNIT_W10)


@pytest.mark.peer("snmpset")
async def test_nothing_can_be_set(agent: SnmpAgent) -> None:
    before = await tool("snmpget", agent, f"{OUTLET_STATE}.1")
    assert "noAccess" in await tool("snmpset", agent, f"{OUTLET_STATE}.1", "i", "1")
    assert await tool("snmpget", agent, f"{OUTLET_STATE}.1") == before


@pytest.mark.peer("snmpwalk")
async def test_snmpwalk_can_walk_a_recorded_device(agent: SnmpAgent) -> None:
    agent.tree = read_snmprec("1.3.6.1.2.1.1.5.0|4|rack 7\n1.3.6.1.4.1.9999.1|66|4000000000\n")
    seen = values(await tool("snmpwalk", agent, ".1"))
    assert seen == {"1.3.6.1.2.1.1.5.0": "rack 7", "1.3.6.1.4.1.9999.1": "4000000000"}
