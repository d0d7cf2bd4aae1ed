"""Communities and keys are canaries here, and every way out of the program is searched for them.

Emulated PDUs speak v2c, a real net-snmp agent speaks v3 with authentication and privacy; each is asked with the right
secret and with wrong ones. They have our secrets in their own trees as well, as real ones have: trap receivers,
contacts, names.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import find_peer

from agent import cli
from hil.control import end
from hil.pdus import read_snmprec
from hil.snmp_agent import SnmpAgent

from .conftest import ROOT, AgentProcess, Subscriber, wait_for

pytestmark = [pytest.mark.peer("snmpd"), pytest.mark.peer("mosquitto")]

COMMUNITY, WRONG_COMMUNITY = "canary-community-77", "canary-wrongarea-77"
AUTH, PRIV, WRONG_AUTH, WRONG_PRIV = "canaryAuthKey77", "canaryPrivKey77", "canaryWrongAuth77", "canaryWrongPriv77"
CANARIES = (COMMUNITY, WRONG_COMMUNITY, AUTH, PRIV, WRONG_AUTH, WRONG_PRIV)

WALK = ROOT / "tests" / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"
TRAPS = "1.3.6.1.4.1.318.2.1"  # where this invented PDU keeps whom it sends traps to
PLANTED = f"""\
1.3.6.1.2.1.1.4.0|4|{COMMUNITY}
1.3.6.1.2.1.1.6.0|4|behind {PRIV}
{TRAPS}.1.0|4|{COMMUNITY}
{TRAPS}.2.0|4x|{AUTH.encode().hex()}0000
{TRAPS}.3.0|4|Outlet {WRONG_COMMUNITY}
"""
NET_SNMP = """\
id = "net_snmp"
title = "net-snmp itself, for want of a PDU that speaks v3"
[match]
sys_object_id = ["8072"]
[[tables]]
kind = "outlet"
rows = ["1.3.6.1.2.1.1.9.1.2"]
columns = [{ quantity = "name", oid = "1.3.6.1.2.1.1.9.1.3", group = "slow" }]
"""


@pytest.fixture
def farm() -> Iterator[int]:
    """Port of two PDUs of our own making, at 127.0.0.1 and 127.0.0.2; both want the same community."""
    tree = read_snmprec(WALK.read_text() + PLANTED)
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    first = SnmpAgent(tree, "127.0.0.1", 0, COMMUNITY)

    async def run() -> None:
        await first.open()
        second = SnmpAgent(tree, "127.0.0.2", first.port, COMMUNITY)
        await second.open()
        ready.set()
        await stop.wait()
        first.close()
        second.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    yield first.port
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def snmpd(tmp_path: Path) -> Iterator[int]:
    """Port of a real agent with one user, at 127.0.0.1, 127.0.0.2 and 127.0.0.3."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = tmp_path / "snmpd"
    (folder / "state").mkdir(parents=True)
    (folder / "snmpd.conf").write_text(
        f"createUser operator SHA-256 {AUTH} AES {PRIV}\nrouser operator priv\nsysContact {AUTH}\nsysName rack-7\n"
    )
    program = find_peer("snmpd")
    assert program is not None
    process = subprocess.Popen(
        [program, "-f", "-Lo", *(f"udp:127.0.0.{n}:{port}" for n in (1, 2, 3))],
        env={"SNMPCONFPATH": f"{folder}:{folder}/state", "SNMP_PERSISTENT_DIR": f"{folder}/state", "MIBS": ""},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert any(line.startswith(b"NET-SNMP version") for line in process.stdout)  # printed once it listens
        yield port
    finally:
        end(process)


@pytest.fixture
def config(tmp_path: Path, farm: int, snmpd: int, mosquitto: int) -> Path:
    folder = tmp_path / "site"
    (folder / "pdus.d").mkdir(parents=True)
    (folder / "pdus.d" / "net_snmp.toml").write_text(NET_SNMP)
    named = {"right": COMMUNITY, "wrong": WRONG_COMMUNITY, "auth": AUTH, "priv": PRIV}
    for name, secret in (named | {"bad-auth": WRONG_AUTH, "bad-priv": WRONG_PRIV}).items():
        (folder / name).write_text(secret + "\n")
        (folder / name).chmod(0o600)
    v3 = 'version = "3", user = "operator"'
    entries = {
        f"127.0.0.1:{farm}": 'community_file = "right"',
        f"127.0.0.2:{farm}": 'community_file = "wrong"',
        f"127.0.0.1:{snmpd}": f'{v3}, auth_key_file = "auth", priv_key_file = "priv"',
        f"127.0.0.2:{snmpd}": f'{v3}, auth_key_file = "bad-auth", priv_key_file = "priv", engine = "pysnmp"',
        f"127.0.0.3:{snmpd}": f'{v3}, auth_key_file = "auth", priv_key_file = "bad-priv"',
    }
    path = folder / "hashwatt.toml"
    path.write_text(
        '[site]\nname = "virtual"\n[poll]\ninterval_s = 5\ntick_s = 1\n[log]\nlevel = "debug"\n'
        '[prometheus]\nlisten = "127.0.0.1:0"\n[journal]\npath = "journal.db"\n[tariff]\nusd_per_kwh = 0.06\n'
        f'[mqtt]\nurl = "mqtt://127.0.0.1:{mosquitto}"\n'
        + "".join(f'[[pdus]]\ntargets = ["{target}"]\nsnmp = {{ {snmp} }}\n' for target, snmp in entries.items())
    )
    return path


def told(config: Path, *words: str) -> str:
    """Everything that one command says, on either way."""
    run = [sys.executable, "-m", "agent", "--config", str(config), "--debug", *words]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout + done.stderr


def assert_silent(heard: dict[str, bytes | str]) -> None:
    for place, content in heard.items():
        raw = (content if isinstance(content, bytes) else content.encode()).lower()
        for canary in CANARIES:
            plain = canary.encode().lower()
            for spelt in (plain, plain.hex().encode(), canary.encode().hex().encode()):
                assert spelt not in raw, f"{canary} in {place}"


def test_no_command_tells_a_secret_and_no_recording_holds_one(config: Path, farm: int, snmpd: int) -> None:
    right, wrong = (f"127.0.0.1:{farm}", f"127.0.0.1:{snmpd}"), (f"127.0.0.2:{farm}", f"127.0.0.2:{snmpd}")
    asked = {"check": ("check",), "list": ("pdu", "list"), "once": ("once",), "once as JSON": ("once", "--json")}
    for target in (*right, *wrong, f"127.0.0.3:{snmpd}"):
        asked[f"probe {target}"] = ("probe", target, "--pdu")
        asked[f"capture {target}"] = ("capture", target, "-o", str(config.parent / target.replace(":", "-")))
    asked |= {f"probe {target} as JSON": ("probe", target, "--pdu", "--json") for target in right}
    with ThreadPoolExecutor(4) as pool:  # most of them wait for somebody who will not answer
        answers = pool.map(lambda words: told(config, *words), asked.values())
        heard: dict[str, bytes | str] = dict(zip(asked, answers, strict=True))
    for target in right:
        out = config.parent / target.replace(":", "-")
        heard |= {str(path): path.read_bytes() for path in out.glob("*")}
        heard[f"pdu test {target}"] = told(config, "pdu", "test", "apc_rpdu2", str(out))
        heard[f"replay {target}"] = told(config, "probe", "--replay", str(out))
    assert not any((config.parent / target.replace(":", "-")).exists() for target in wrong)
    assert_silent(heard)
    # and each of them did have something to say
    assert "11,330 W" in str(heard[f"probe 127.0.0.1:{farm}"])
    assert "no answer" in str(heard[f"probe 127.0.0.2:{farm}"])
    assert "profile     net_snmp" in str(heard[f"probe 127.0.0.1:{snmpd}"])
    assert "denied" in str(heard[f"probe 127.0.0.2:{snmpd}"])
    assert str(heard["once as JSON"]).count('"up":true') == 2
    recorded = {place for place in heard if place.endswith(".snmprec")}
    assert len(recorded) == 2
    assert any(TRAPS in str(heard[place]) for place in recorded)
    assert "outlet 1" in str(heard[f"pdu test 127.0.0.1:{farm}"])


@pytest.mark.parametrize(
    "snmp",
    [
        f'community = "{COMMUNITY}"',
        'version = "3", user = "operator", auth_key_file = "short", priv_key_file = "priv"',
        'version = "3", user = "operator", priv_key_file = "priv"',
        'version = "3", user = "operator", auth_key_file = "auth", community_file = "right"',
        'version = "1", community_file = "right", priv_key_file = "priv"',
        f'comunity = "{COMMUNITY}"',
    ],
)
def test_a_mistake_is_named_without_the_secret(tmp_path: Path, snmp: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, secret in {"auth": AUTH, "priv": PRIV, "right": COMMUNITY, "short": AUTH[:7]}.items():
        (tmp_path / name).write_text(secret)
    path = tmp_path / "hashwatt.toml"
    path.write_text(f'[site]\nname = "x"\n[[pdus]]\ntargets = ["10.9.0.1"]\nsnmp = {{ {snmp} }}\n')
    for words in (("check",), ("probe", "127.0.0.1"), ("capture", "127.0.0.1", "-o", str(tmp_path / "x"))):
        assert cli.main(["--config", str(path), *words]) == 2
        said = "".join(capsys.readouterr())
        assert "hashwatt.toml: pdus[0].snmp." in said
        assert AUTH[:7] not in said
        assert_silent({" ".join(words): said})


def test_a_running_agent_tells_no_secret(
    config: Path,
    mosquitto: int,
    start_agent: Callable[[Path], AgentProcess],
    subscribe: Callable[..., Subscriber],
) -> None:
    subscriber = subscribe(mosquitto, "#")
    agent = start_agent(config)
    wait_for(agent.is_ready, "a whole round of polls")
    agent.wait_page(lambda page: sum(page["hashwatt_pdu_up"].values()) == 2.0, "two PDUs that answer")
    wait_for(lambda: len([topic for topic in subscriber.seen if "/pdus/" in topic]) >= 2, "the state of both PDUs")
    heard: dict[str, bytes | str] = {f"message {topic}": payload for topic, payload in subscriber.seen.items()}
    for path in ("/metrics", "/status.json", "/", "/sd"):
        with urllib.request.urlopen(f"{agent.url}{path}", timeout=10) as reply:
            heard[path] = reply.read()
    heard["status"] = told(config, "status", "--url", agent.url)
    for pid in (agent.process.pid, *agent.workers()):
        heard[f"arguments of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
        heard[f"environment of {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    end(agent.process)
    heard |= {str(path): path.read_bytes() for path in config.parent.glob("journal.db*")}
    heard["log"] = agent.log
    assert_silent(heard)
    assert json.loads(heard["/status.json"])["pdus"]["faults"]
    assert agent.log.count("is not read: auth: ") == 2  # two wrong keys, each once, however often they are tried
