"""What SNMP must never do: say a community or a key to anybody but the device, or write to a device."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

import pytest
from udp_agent import NO_ACCESS, Honest, Request, UdpAgent, response
from usm_agent import SIGNED, UsmAgent

from collectors.pdus.engines import available, open_client
from collectors.pdus.snmp import SYS_DESCR, Credential, EngineName
from fleet.ports import PollError

ROOT = Path(__file__).resolve().parents[2]
COMMUNITY, AUTH_KEY, PRIV_KEY = "canary-community", "canary-auth-key", "canary-priv-key"
SECRET = re.compile(
    "canary|" + "|".join(word.encode().hex() for word in (COMMUNITY, AUTH_KEY, PRIV_KEY)), re.IGNORECASE
)
V1_AND_V2 = [Credential(COMMUNITY, "1"), Credential(COMMUNITY)]
USERS = [
    Credential(version="3", user="reader", auth_key=AUTH_KEY, priv_key=PRIV_KEY),
    Credential(version="3", user="reader", auth_key=AUTH_KEY, priv_key=PRIV_KEY, auth="sha512", priv="aes256"),
    Credential(version="3", user="stranger", auth_key=AUTH_KEY),
]


def hostile(request: Request) -> Iterable[bytes]:
    whole = response(request, [(oid, b"\x02\x01\x05") for oid in request.oids])
    return [whole[:-1], whole, b"\xff" * 20]


AGENTS = {
    "honest": lambda: UdpAgent(Honest({SYS_DESCR: b"PDU"})),
    "hostile": lambda: UdpAgent(hostile),
    "denying": lambda: UdpAgent(lambda request: [response(request, [], NO_ACCESS, 1)]),
    "v3": lambda: UsmAgent(Honest({SYS_DESCR: b"PDU"}), auth_key=AUTH_KEY, priv_key=PRIV_KEY),
    "v3, other keys": lambda: UsmAgent(Honest({SYS_DESCR: b"PDU"})),
    "v3, no privacy": lambda: UsmAgent(Honest({SYS_DESCR: b"PDU"}), level=SIGNED),
    "v3, hostile": lambda: UsmAgent(hostile, auth_key=AUTH_KEY, priv_key=PRIV_KEY),
}


@pytest.mark.parametrize("engine", available())
@pytest.mark.parametrize("kind", AGENTS)
async def test_no_secret_is_ever_said(
    engine: EngineName,
    kind: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    said = []
    async with AGENTS[kind]() as agent:
        for credential in USERS if kind.startswith("v3") else V1_AND_V2:
            snmp = open_client("127.0.0.1", agent.port, credential, engine, timeout_s=0.02, retries=0)
            for _ in range(2):
                try:
                    said.append(repr(await snmp.get([SYS_DESCR])))
                    said.append(repr(await snmp.walk(SYS_DESCR[:-1])))
                except PollError as error:
                    said += ["".join(traceback.format_exception(error)), repr(error), repr(error.__context__)]
            said += [repr(snmp), str(snmp), repr(credential), str(credential)]
            said += [repr(value) for value in vars(snmp).values()]
            await snmp.aclose()
    out, err = capfd.readouterr()
    for text in (*said, caplog.text, out, err):
        assert not SECRET.search(text), text


def test_the_canary_would_be_seen() -> None:
    assert SECRET.search(repr(COMMUNITY))
    assert SECRET.search(AUTH_KEY.encode().hex())


WRITING = re.compile(r"set_cmd|setcmd|setrequest|set_request|setcommand|snmpset|\bsend_set\b|0xA3\b", re.IGNORECASE)


def test_nothing_writes_to_a_pdu() -> None:
    """No SNMP SET exists but in the emulator, which refuses it: an outlet is never switched by us."""
    sources = [path for room in ("fleet", "collectors", "exporters", "agent") for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 50
    assert [str(path) for path in sources if WRITING.search(path.read_text())] == []


@pytest.mark.parametrize("name", ["SetCommandGenerator", "set_cmd", "SetRequestPDU"])
def test_a_write_would_be_seen(name: str) -> None:
    assert WRITING.search(f"x = cmdgen.{name}()")
