"""Both engines and a real net-snmp agent: versions, levels, refusals, restarts, and what `snmpget` prints."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import find_peer

from collectors.pdus.engines import available, open_client
from collectors.pdus.snmp import SYS_DESCR, Credential, EngineName, Oid, Pace, SnmpClient, Value, format_oid
from fleet.ports import PollError
from fleet.readings import FaultKind

pytestmark = pytest.mark.peer("snmpd")

GENEROUS_S = 30.0
SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
ENGINE: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1)
HASHES = {"sha1": "SHA", "sha224": "SHA-224", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
CIPHERS = {"aes128": "AES", "aes192": "AES-192", "aes256": "AES-256"}
ENGINES = [
    pytest.param("gufo", marks=pytest.mark.skipif("gufo" not in available(), reason="no gufo_snmp for this computer")),
    "pysnmp",
]


class Snmpd:
    """A net-snmp agent on a free port of 127.0.0.1, with users for every hash and cipher that it has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        lines = ["rocommunity public", "sysDescr Synthetic PDU", "sysName rack-7", "rouser nobody noauth"]
        lines += ["createUser nobody", "createUser blind SHA-256 authpass1 AES privpass1"]
        for hash_name, hash_word in HASHES.items():
            for cipher_name, cipher_word in CIPHERS.items():
                user = f"{hash_name}{cipher_name}"
                lines += [f"createUser {user} {hash_word} authpass1 {cipher_word} privpass1", f"rouser {user} auth"]
        lines += ["createUser careful SHA-256 authpass1 AES privpass1", "rouser careful priv"]
        (folder / "snmpd.conf").write_text("\n".join(lines) + "\n")
        self.warnings: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = find_peer("snmpd")
        assert program is not None
        state = self.folder / "state"
        self._process = subprocess.Popen(
            [program, "-f", "-Lo", f"udp:127.0.0.1:{self.port}"],
            env={"SNMPCONFPATH": f"{self.folder}:{state}", "SNMP_PERSISTENT_DIR": str(state), "MIBS": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"NET-SNMP version"):  # printed once it listens
                return
            self.warnings.append(line.decode())
        pytest.fail("".join(self.warnings))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=GENEROUS_S)
            self._process = None


@pytest.fixture(scope="module")
def snmpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    agent = Snmpd(tmp_path_factory.mktemp("snmpd"))
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineName:
    name: EngineName = request.param
    return name


def user(auth: str = "sha256", priv: str = "aes128", level: str = "authPriv") -> Credential:
    return Credential(
        version="3",
        user="nobody" if level == "noAuthNoPriv" else f"{auth}{priv}",
        auth=auth,  # type: ignore[arg-type]
        auth_key="" if level == "noAuthNoPriv" else "authpass1",
        priv=priv,  # type: ignore[arg-type]
        priv_key="privpass1" if level == "authPriv" else "",
    )


CREDENTIALS = [
    pytest.param(Credential("public", "1"), id="v1"),
    pytest.param(Credential("public"), id="v2c"),
    pytest.param(user(level="noAuthNoPriv"), id="v3 noAuthNoPriv"),
    *(pytest.param(user(auth, level="authNoPriv"), id=f"v3 authNoPriv {auth}") for auth in HASHES),
    *(pytest.param(user(auth, priv), id=f"v3 authPriv {auth} {priv}") for auth in HASHES for priv in CIPHERS),
]


def connect(agent: Snmpd, credential: Credential, engine: EngineName, timeout_s: float = GENEROUS_S) -> SnmpClient:
    return open_client("127.0.0.1", agent.port, credential, engine, timeout_s=timeout_s, retries=0)


def snmpget(agent: Snmpd, oids: list[Oid]) -> dict[Oid, Value]:
    """What net-snmp's own client reads, of texts, numbers and OIDs."""
    program = find_peer("snmpget")
    assert program is not None
    done = subprocess.run(
        [program, "-v2c", "-c", "public", "-On", "-Oe", "-Ot", f"127.0.0.1:{agent.port}", *map(format_oid, oids)],
        env={"MIBS": "", "SNMPCONFPATH": str(agent.folder / "none")},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[Oid, Value] = {}
    for line in re.split(r"\n(?=\.)", done.stdout.strip()):  # long octets run over several lines
        name, _, shown = line.partition(" = ")
        oid = tuple(int(part) for part in name.strip(".").split("."))
        kind, _, text = shown.partition(": ")
        if shown == '""':
            found[oid] = b""
        elif kind in ("STRING", "Hex-STRING"):
            found[oid] = bytes.fromhex(text) if kind == "Hex-STRING" else text.strip('"').encode()
        elif kind == "OID":
            found[oid] = tuple(int(part) for part in text.strip(".").split("."))
        else:
            found[oid] = int(re.findall(r"-?\d+", text or shown)[0])
    return found


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_every_version_level_hash_and_cipher(snmpd: Snmpd, engine: EngineName, credential: Credential) -> None:
    if credential.level == "authPriv" and any(CIPHERS[credential.priv] in line for line in snmpd.warnings):
        pytest.skip(f"this snmpd was built without {credential.priv}")
    snmp = connect(snmpd, credential, engine)
    try:
        found = await snmp.get([SYS_DESCR, (*SYSTEM, 5, 0), (*SYSTEM, 99, 0)])
        assert found == {SYS_DESCR: b"Synthetic PDU", (*SYSTEM, 5, 0): b"rack-7"}
        walked = await snmp.walk(SYSTEM)
        assert found.items() <= walked.items()
        assert list(walked) == sorted(walked)
        assert {oid[: len(SYSTEM)] for oid in walked} == {SYSTEM}
    finally:
        await snmp.aclose()


@pytest.mark.peer("snmpget")
async def test_the_values_are_those_of_net_snmp(snmpd: Snmpd, engine: EngineName) -> None:
    clocks = {(*SYSTEM, 3, 0), (*ENGINE, 3, 0)}
    snmp = connect(snmpd, Credential("public"), engine)
    try:
        for root in (SYSTEM, ENGINE):
            walks = []
            for pace in (Pace(repetitions=25), Pace(repetitions=3), Pace(bulk=False)):
                snmp.set_pace(pace)
                walks.append({oid: found for oid, found in (await snmp.walk(root)).items() if oid not in clocks})
            assert walks[0] == walks[1] == walks[2] == await snmp.get(list(walks[0]))
            assert walks[0] == snmpget(snmpd, list(walks[0]))
        assert {type(found) for found in walks[0].values()} == {int, bytes}
    finally:
        await snmp.aclose()


async def test_both_engines_read_the_same(snmpd: Snmpd) -> None:
    clients = [connect(snmpd, Credential("public"), name) for name in ("gufo", "pysnmp") if name in available()]
    try:
        everything = [await snmp.walk((1, 3, 6, 1, 6)) for snmp in clients]
        assert len(everything[0]) > 30
        assert [set(found) for found in everything] == [set(everything[0])] * len(clients)
        kinds = [[type(value) for value in found.values()] for found in everything]
        assert kinds == [kinds[0]] * len(clients)
    finally:
        for snmp in clients:
            await snmp.aclose()


REFUSED = [
    pytest.param(replace(user(), user="stranger"), "does not know", id="unknown user"),
    pytest.param(replace(user(level="noAuthNoPriv"), user="stranger"), "does not know", id="unknown user without key"),
    pytest.param(replace(user(), auth_key="wrongpass1"), "wrong authentication", id="wrong authentication key"),
    pytest.param(replace(user(), auth="sha512"), "wrong authentication", id="wrong hash"),
    pytest.param(replace(user(), priv_key="wrongpass1"), "privacy", id="wrong privacy key"),
    pytest.param(replace(user(level="authNoPriv"), user="careful"), "refuses", id="level too low"),
    pytest.param(replace(user(level="noAuthNoPriv"), user="sha256aes128"), "refuses", id="no level at all"),
    pytest.param(replace(user(), user="blind"), "refuses", id="no view"),
]


@pytest.mark.parametrize(("credential", "words"), REFUSED)
async def test_who_is_not_let_in_is_denied(
    snmpd: Snmpd, engine: EngineName, credential: Credential, words: str
) -> None:
    snmp = connect(snmpd, credential, engine, timeout_s=0.5)
    try:
        with pytest.raises(PollError) as caught:
            await snmp.get([SYS_DESCR])
        assert (caught.value.kind, "auth: " in str(caught.value)) == (FaultKind.DENIED, True)
        assert words in str(caught.value)
    finally:
        await snmp.aclose()


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_a_wrong_community_looks_like_silence(snmpd: Snmpd, engine: EngineName, version: str) -> None:
    snmp = connect(snmpd, Credential("wrong", version), engine, timeout_s=0.1)  # type: ignore[arg-type]
    try:
        with pytest.raises(PollError) as caught:
            await snmp.get([SYS_DESCR])
        assert caught.value.kind is FaultKind.TIMEOUT
        assert "wrong" not in str(caught.value)
    finally:
        await snmp.aclose()


async def test_after_a_restart_the_next_poll_works(tmp_path: Path, engine: EngineName) -> None:
    agent = Snmpd(tmp_path)
    agent.start()
    snmp = connect(agent, user(), engine)
    try:
        for _ in range(3):
            for _ in range(2):
                assert await snmp.get([SYS_DESCR]) == {SYS_DESCR: b"Synthetic PDU"}
            await asyncio.to_thread(agent.stop)
            await asyncio.to_thread(agent.start)
        boots = await snmp.get([(1, 3, 6, 1, 6, 3, 10, 2, 1, 2, 0)])
        assert list(boots.values()) == [4]  # snmpEngineBoots: it was the same agent each time
    finally:
        await snmp.aclose()
        agent.stop()
