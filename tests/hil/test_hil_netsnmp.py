"""The net-snmp tools see in a served recording what its file says: every type, every captured family, v1 and v2c."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.pdus.snmp import Oid, Value, format_oid, parse_oid
from collectors.pdus.snmprec import parse_snmprec
from hil.faults import PduMisbehaviour
from hil.loopback import free_block
from hil.pdus import Face, Recording, Rpdu2, load_snmprec, read_snmprec
from hil.physics import Orders, assemble, settle
from hil.scene import Scene
from hil.snmp_agent import SnmpAgent

SYNTHETIC = Path(__file__).resolve().parent.parent / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"

EVERY_TYPE = """\
1.3.6.1.2.1.1.1.0|4|A PDU of all types: |bars|, "quotes" and caf\u00e9
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.1.4294967295
1.3.6.1.2.1.1.3.0|67|4294967295
1.3.6.1.4.1.99999.1.1.0|2|-1
1.3.6.1.4.1.99999.1.2.0|2|-2147483648
1.3.6.1.4.1.99999.1.3.0|2|2147483647
1.3.6.1.4.1.99999.1.4.0|65|0
1.3.6.1.4.1.99999.1.5.0|65|4294967295
1.3.6.1.4.1.99999.1.6.0|66|2147483648
1.3.6.1.4.1.99999.1.7.0|64|192.0.2.7
1.3.6.1.4.1.99999.1.8.0|64x|c0000208
1.3.6.1.4.1.99999.1.9.0|4|
1.3.6.1.4.1.99999.1.10.0|4x|00ff1b0a
1.3.6.1.4.1.99999.1.11.0|4e|tab\\x09 and \\x00 NUL
1.3.6.1.4.1.99999.1.12.0|6|0.0
1.3.6.1.4.1.99999.1.13.0|66|127
1.3.6.1.4.1.99999.2.300000.128|2|128
"""
COUNTER64 = "1.3.6.1.4.1.99999.3.1.0|70|18446744073709551615\n1.3.6.1.4.1.99999.3.2.0|2|5\n"

FAMILIES = (
    *("apc_ap8853", "raritan-pdu_px4", "eatonpdu_2", "sentry3_switched", "liebert_mph2rg", "chatsworth-pdu"),
    *("rittal-cmc-iii-pu_pdu-controller", "digipower", "panduit", "vertiv-dcs"),
)


@pytest.fixture
async def agent() -> AsyncIterator[SnmpAgent]:
    agent = SnmpAgent(Recording([]), f"127.{free_block()}.250.1", 1161)
    await agent.open()
    yield agent
    agent.close()


async def heard(agent: SnmpAgent, tool: str, *arguments: str, version: str = "-v2c") -> str:
    """What a tool says: OIDs and enums in numbers, texts in hexadecimal, ticks as ticks, no hints from any MIB."""
    # A busy machine may answer late, and what was not asked again would look like a fault of ours.
    how = ("-m", "", "-M", "", "-On", "-Oe", "-Ox", "-Ot", "-OU", "-t10", "-r3", version, "-c", "public")
    process = await asyncio.create_subprocess_exec(
        *(tool, *how, f"{agent.host}:{agent.port}", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


_ROW = re.compile(
    r"^\.(?P<oid>[\d.]+) = (?:(?P<type>[A-Za-z0-9-]+): ?)?(?P<value>.*?)(?=^\.\d[\d.]* = |^End of MIB|\Z)", re.M | re.S
)


def values(output: str) -> dict[Oid, Value]:
    found: dict[Oid, Value] = {}
    for row in _ROW.finditer(output):
        if (value := _value(row["type"], row["value"].strip())) is not None:
            found[parse_oid(row["oid"])] = value
    return found


def _value(kind: str | None, text: str) -> Value | None:
    match kind:
        case "INTEGER" | "Counter32" | "Gauge32" | "Counter64" | "Timeticks":
            return int(text)
        case "Hex-STRING":
            return bytes.fromhex(text)
        case "IpAddress":
            return bytes(int(part) for part in text.split("."))
        case "OID":
            return parse_oid(text)
        case _ if text == '""':
            return b""
        case _ if text.isdigit():  # ticks have no type in front of them
            return int(text)
        case _:
            return None  # NULL, and the words at the end of a walk


def recorded(text: str) -> dict[Oid, Value]:
    return parse_snmprec(text)


@pytest.mark.peer("snmpwalk")
@pytest.mark.parametrize(("tool", "version"), [("snmpwalk", "-v2c"), ("snmpwalk", "-v1"), ("snmpbulkwalk", "-v2c")])
async def test_every_type_arrives_as_the_file_says(agent: SnmpAgent, tool: str, version: str) -> None:
    agent.tree = read_snmprec(EVERY_TYPE)
    seen = values(await heard(agent, tool, ".1", version=version))
    assert seen == recorded(EVERY_TYPE)
    assert len(seen) == 17


@pytest.mark.peer("snmpwalk")
async def test_version_1_passes_over_what_it_has_no_word_for(agent: SnmpAgent) -> None:
    agent.tree = read_snmprec(COUNTER64)
    whole = recorded(COUNTER64)
    small = {oid: value for oid, value in whole.items() if value == 5}
    assert values(await heard(agent, "snmpwalk", ".1")) == whole
    assert values(await heard(agent, "snmpwalk", ".1", version="-v1")) == small


@pytest.mark.peer("snmpwalk")
@pytest.mark.parametrize(("tool", "version"), [("snmpwalk", "-v1"), ("snmpbulkwalk", "-v2c")])
async def test_our_own_pdu_says_the_same_in_every_way_of_asking(agent: SnmpAgent, tool: str, version: str) -> None:
    build, orders = assemble(24), Orders.all_on(24)
    scene = Scene(build, orders, settle(build, orders, 25.0), 1_700_000_000.0)
    pdu = Rpdu2(scene, Face("pdu-0001", "HIL000000001", tuple((row,) for row in range(24))))
    agent.tree = pdu
    seen = values(await heard(agent, tool, ".1", version=version))
    assert seen == Recording([(oid, pdu.value(i)) for i, oid in enumerate(pdu.oids)]).found()
    watts = [seen[parse_oid(f"1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.{k}")] for k in range(1, 25)]
    assert watts == [round(w) for w in scene.view.wall_w]


@pytest.mark.peer("snmpget")
@pytest.mark.parametrize("version", ["-v1", "-v2c"])
async def test_what_is_asked_by_name_arrives_by_name(agent: SnmpAgent, version: str) -> None:
    agent.tree = load_snmprec(SYNTHETIC)
    whole = recorded(SYNTHETIC.read_text("utf-8"))
    wanted = list(whole)[::5]
    seen = values(await heard(agent, "snmpget", *map(format_oid, wanted), version=version))
    assert seen == {oid: whole[oid] for oid in wanted}


@pytest.mark.peer("snmpget")
async def test_an_answer_that_does_not_fit_is_refused_as_too_big(agent: SnmpAgent) -> None:
    rows = "".join(f"1.3.6.1.4.1.99999.1.{k}|4|{'x' * 100}\n" for k in range(1, 31))
    agent.tree = read_snmprec(rows)
    wanted = [format_oid(oid) for oid in recorded(rows)]
    assert "tooBig" in await heard(agent, "snmpget", *wanted)
    assert len(values(await heard(agent, "snmpget", *wanted[:10]))) == 10
    assert values(await heard(agent, "snmpbulkwalk", "-Cr50", ".1")) == recorded(rows)


@pytest.mark.peer("snmpwalk")
async def test_snmpwalk_finds_the_loop_and_the_way_back(agent: SnmpAgent) -> None:
    agent.tree = load_snmprec(SYNTHETIC)
    for kind in (PduMisbehaviour.LOOPING, PduMisbehaviour.DECREASING):
        agent.fault = kind
        assert "OID not increasing" in await heard(agent, "snmpwalk", ".1.3.6.1.4.1.318.1.1.26.9.4.3.1.7")


@pytest.mark.peer("snmpbulkwalk")
@pytest.mark.parametrize("name", FAMILIES)
async def test_captured_pdus_are_served_as_they_were(agent: SnmpAgent, captures_dir: Path, name: str) -> None:
    path = captures_dir / "pdus" / f"{name}.snmprec"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    agent.tree = load_snmprec(path)
    seen = values(await heard(agent, "snmpbulkwalk", "-Cr25", ".0"))
    seen |= values(await heard(agent, "snmpbulkwalk", "-Cr25", ".1"))
    assert seen == recorded(path.read_text("utf-8"))
