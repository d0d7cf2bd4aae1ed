"""`hashwatt capture` on a PDU: what is written is the device, whole or with a word where it ended; or nothing."""

from __future__ import annotations

import asyncio
import os
import tomllib
from pathlib import Path

import pytest
from live_pdu import BLOCK, serving

from agent import cli, pdu_capture
from collectors.captures import load
from collectors.pdus.device import replay
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmp import Credential, Oid, Value, format_oid, parse_oid
from collectors.pdus.snmprec import load_walk
from fleet.ports import PollError
from hil.faults import Misbehaviour, PduFault, pdu_fault
from hil.pdus import load_snmprec, read_snmprec
from hil.replay import ReplayedMachine
from hil.responder import Tree
from hil.snmp_agent import SnmpAgent

WALKS = Path(__file__).resolve().parent.parent / "captures" / "pdus"
MINERS = WALKS.parent / "miners"
UNKNOWN = WALKS / "unknown_kilowerk_kw6m.snmprec"
RPDU2 = WALKS / "synthetic_apc_rpdu2.snmprec"

TYPES = """\
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99911.1
1.3.6.1.4.1.99911.1.1.0|2|-5
1.3.6.1.4.1.99911.1.2.0|4|Outlet 1
1.3.6.1.4.1.99911.1.3.0|64x|c6120001
1.3.6.1.4.1.99911.1.4.0|65|4294967295
1.3.6.1.4.1.99911.1.5.0|66|4294967295
1.3.6.1.4.1.99911.1.6.0|67|4294967295
1.3.6.1.4.1.99911.1.7.0|68x|9f780442f6e979
1.3.6.1.4.1.99911.1.8.0|70|18446744073709551615
"""


def recorded(host: str, out: Path, *words: str) -> int:
    return cli.main(["capture", host, "-o", str(out), *words])


def numbers(walk: dict[Oid, Value]) -> dict[Oid, Value]:
    return {oid: value for oid, value in walk.items() if not isinstance(value, bytes)}


def test_a_pdu_is_known_by_speaking_snmp_and_written_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pdu"
    with serving(RPDU2, 21) as host:
        assert recorded(host, out) == 0
    assert "of a PDU of the profile apc_rpdu2" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["capture.toml", "walk.snmprec"]
    assert numbers(load_walk(out)) == numbers(load_walk(RPDU2))
    about = tomllib.loads((out / "capture.toml").read_text())
    assert about["kind"] == "pdu"
    assert about["profile"] == "apc_rpdu2"
    assert about["objects"] == len(load_walk(RPDU2)) == sum(tree["objects"] for tree in about["tree"])
    assert "SYN00000" not in (out / "capture.toml").read_text() + (out / "walk.snmprec").read_text()
    again = replay(load_walk(out), packaged_profiles())
    assert again.layout.read(again.found).power_w == 11330.0  # 7310 + 4020 W, as the walk was invented


def test_every_type_is_written_with_the_tag_that_it_had(tmp_path: Path) -> None:
    with serving(read_snmprec(TYPES), 22) as host:
        assert recorded(host, tmp_path / "pdu", "--snmp") == 0
    assert (tmp_path / "pdu" / "walk.snmprec").read_text() == TYPES


def test_a_recording_can_be_served_and_recorded_again(tmp_path: Path) -> None:
    with serving(UNKNOWN, 23) as host:
        assert recorded(host, tmp_path / "first", "--snmp") == 0
    with serving(tmp_path / "first" / "walk.snmprec", 24) as host:
        assert recorded(host, tmp_path / "second", "--snmp") == 0
    first, second = load_walk(tmp_path / "first"), load_walk(tmp_path / "second")
    assert numbers(first) == numbers(second) == numbers(load_walk(UNKNOWN))


def test_a_machine_is_a_machine_even_if_it_speaks_snmp(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host with both: our driver knows it, so it is recorded as what it is; --snmp is the operator's word above."""
    monkeypatch.setattr(pdu_capture, "answers", _yes)
    host = f"127.{BLOCK}.66.25"
    ready = asyncio.Event()

    async def both() -> tuple[int, int]:
        async with ReplayedMachine(load(MINERS / "whatsminer-v1"), host):
            ready.set()
            return (
                await asyncio.to_thread(recorded, host, tmp_path / "machine"),
                await asyncio.to_thread(recorded, host, tmp_path / "pdu", "--snmp"),
            )

    assert asyncio.run(both())[0] == 0
    assert load(tmp_path / "machine").make == "whatsminer"
    assert not (tmp_path / "pdu").exists()  # nobody speaks SNMP there, whatever was said


async def _yes(*_: object) -> bool:
    return True


def test_nobody_there_and_a_wrong_community_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(UNKNOWN, 26, community="another") as host:
        assert recorded(host, tmp_path / "pdu", "--snmp") == 1
    told = capsys.readouterr().err
    assert "nothing to record: timeout" in told
    assert "To a wrong community or version an SNMP agent is silent" in told
    assert list(tmp_path.iterdir()) == []


def test_an_agent_with_other_makers_trees_is_walked_but_not_the_computer_below(tmp_path: Path) -> None:
    """The maker that it calls itself by has nothing; what it measures is in another one's tree; 2021 is net-snmp's."""
    tree = read_snmprec(
        "1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99911.7.2\n1.3.6.1.2.1.25.4.2.1.2.1|4|init\n"
        "1.3.6.1.4.1.2021.4.3.0|2|7\n1.3.6.1.4.1.8072.1.1.0|2|7\n"
        "1.3.6.1.4.1.99912.1.0|2|230\n1.3.6.1.4.1.99999.4.1|2|9\n"
    )
    with serving(tree, 27) as host:
        assert recorded(host, tmp_path / "pdu", "--snmp") == 0
    walk = {format_oid(oid): value for oid, value in load_walk(tmp_path / "pdu").items()}
    assert walk == {
        "1.3.6.1.2.1.1.2.0": parse_oid("1.3.6.1.4.1.99911.7.2"),
        "1.3.6.1.4.1.99912.1.0": 230,
        "1.3.6.1.4.1.99999.4.1": 9,
    }


# --- agents that misbehave ---


async def walked(tree: Tree, fault: PduFault = Misbehaviour.NONE) -> pdu_capture.WalkRecording:
    agent = SnmpAgent(tree, f"127.{BLOCK}.66.28", 0)
    await agent.open()
    agent.fault = fault
    try:
        return await pdu_capture.record(
            agent.host, agent.port, Credential("public"), packaged_profiles(), lambda root, count: None
        )
    finally:
        agent.close()


async def test_a_looping_agent_is_recorded_nevertheless() -> None:
    """After the last row of a column comes its first one again; the next column is asked for by its own number."""
    recording = await walked(load_snmprec(RPDU2), pdu_fault("looping"))
    assert "do not increase" in recording.ended[parse_oid("1.3.6.1.4.1.318")]
    assert recording.found == load_walk(RPDU2)


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MAX_ROWS", 100, "stopped after 100 objects"),
        ("MAX_OCTETS", 2000, "stopped after 2000 octets"),
        ("WALK_S", 0.0, "stopped after 0 s"),
    ],
)
async def test_a_tree_without_end_ends_at_our_limits(
    limit: str, value: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdu_capture, limit, value)
    monkeypatch.setattr(pdu_capture, "PIECE_ROWS", 25)
    recording = await walked(load_snmprec(RPDU2))
    assert recording.ended[parse_oid("1.3.6.1.4.1.318")] == said
    assert 0 < len(recording.rows) < 159


async def test_long_trees_are_taken_in_pieces_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdu_capture, "PIECE_ROWS", 7)
    recording = await walked(load_snmprec(RPDU2))
    assert recording.found == load_walk(RPDU2)
    assert not any(recording.ended.values())


async def test_a_silent_agent_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdu_capture, "open_recorder", _hurried)
    with pytest.raises(PollError, match="timeout"):
        await walked(load_snmprec(RPDU2), Misbehaviour.SILENT)


def _hurried(host: str, port: int, credential: Credential, tags: dict[Oid, int], **_: float) -> object:
    from collectors.pdus.pysnmp_client import PysnmpClient

    return PysnmpClient(host, port, credential, timeout_s=0.05, retries=0, tags=tags)


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with serving(UNKNOWN, 29) as host:
        monkeypatch.setattr(Path, "write_bytes", full)
        assert recorded(host, tmp_path / "pdu", "--snmp") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
