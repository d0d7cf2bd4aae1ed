"""`hashwatt probe` against the emulated farm: the whole way from the word on the command line to the printed values.

The library stands behind `open_device`, and importing it alone takes longer than all of this: where it is asked in
vain or to good purpose, a stub at that boundary answers for it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_pdu import serving

from agent import cli, probe
from agent.plan import DEADLINE_S
from collectors import catalogue
from collectors.captures import load
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading
from hil.control import FarmProcess
from hil.replay import ReplayedMachine

RPDU2 = Path(__file__).parent.parent / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"
BLOCK = str(60 + os.getpid() % 40)
"""A 127.BLOCK/16 of this process, so that test runs side by side do not share addresses."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("farm")
    arguments = ("--machines", "2", "--pdus", "1", "--block", BLOCK)
    with FarmProcess(*arguments, "--mix", "Antminer S19j Pro=0.5", "--mix", "WhatsMiner M50=0.5") as process:
        yield process.write_site(folder, name="probe")


def probed(capsys: pytest.CaptureFixture[str], host: str, config: Path) -> tuple[int, dict[str, dict[str, object]]]:
    code = cli.main(["probe", host, "--json", "--config", str(config)])
    document = json.loads(capsys.readouterr().out)
    assert document["host"] == host
    assert document["recognised"] is (code == 0)
    return code, {finding["driver"]: finding["reading"] or finding["fault"] for finding in document["findings"]}


def inventory(config: Path, model: str) -> dict[str, str]:
    rows = csv.DictReader((config.parent / "machines.csv").read_text().splitlines())
    return next(row for row in rows if model in row["model"])


def test_a_stock_antminer_is_read_by_our_own_driver(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = probed(capsys, inventory(config, "S19j")["address"], config)
    assert code == 0
    assert findings["auto"]["make"] == "Antminer"
    assert findings["auto"]["model"] == "S19j Pro"
    assert "pyasic" not in findings
    assert findings["snmp"]["kind"] in ("timeout", "refused", "unreachable")


def test_another_make_is_told_by_the_same_driver_with_all_that_only_a_probe_asks(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = probed(capsys, inventory(config, "M50")["address"], config)
    assert code == 0
    assert findings["auto"]["make"] == "WhatsMiner"
    assert len(findings["auto"]["boards"]) == 3  # type: ignore[arg-type]
    assert "pyasic" not in findings


def test_a_pdu_is_read_at_the_port_of_the_configuration(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address, _, _ = inventory(config, "S19j")["pdu"].partition(":")
    code, findings = probed(capsys, address, config)
    assert code == 0
    assert findings["snmp"]["profile"] == "apc_rpdu2"
    assert findings["auto"]["kind"] in ("refused", "unreachable", "timeout")


def test_a_pdu_that_is_silent_may_have_been_asked_with_the_wrong_community(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DEADLINE_S, "snmp", 0.1)
    with serving(RPDU2, 90, community="another") as host:
        assert cli.main(["probe", host, "--pdu"]) == 1
        out = capsys.readouterr().out
        assert cli.main(["probe", host, "--pdu", "--json"]) == 1
    assert "as snmp: timeout" in out
    assert "To a wrong community or version an SNMP agent is silent" in out
    assert json.loads(capsys.readouterr().out)["findings"][0]["fault"]["kind"] == "timeout"


@pytest.mark.parametrize("identity", ["1.3.6.1.4.1.705.2", "1.3.6.1.4.1.232.165.5"])
def test_a_family_that_is_known_and_tells_no_value_is_exit_1_as_in_pdu_test(
    identity: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A maker without a table, and a profile whose tables this unit does not answer."""
    walk = tmp_path / "unit.snmprec"
    walk.write_text(f"1.3.6.1.2.1.1.1.0|4|PDU\n1.3.6.1.2.1.1.2.0|6|{identity}\n")
    assert cli.main(["probe", "--replay", str(walk)]) == 1
    out = capsys.readouterr().out
    assert "as snmp: recognised" in out
    assert out.endswith("    no value is read\n")
    (profile,) = (line.split()[1] for line in out.splitlines() if line.startswith("    profile"))
    assert cli.main(["pdu", "test", profile, str(walk)]) == 1
    assert "  no value is read\n" in capsys.readouterr().out


def test_nobody_there_is_exit_1_and_faults_by_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = probed(capsys, f"127.{BLOCK}.250.250", config)
    assert code == 1
    assert {fault["kind"] for fault in findings.values()} <= {"refused", "timeout", "unreachable"}


# --- a machine that only the library reads

STRANGER = {
    "STATUS": [{"STATUS": "S", "Code": 22, "Msg": "SGMiner versions", "Description": "sgminer 4.4.2"}],
    "VERSION": [{"SGMiner": "4.4.2", "API": "3.1"}],
    "id": 1,
}


class Library:
    """What the library says of the machine at an address: nothing without a reading."""

    def __init__(self, reading: MinerReading | None) -> None:
        self.reading = reading
        self.hosts: list[str] = []

    async def read(self) -> MinerReading:
        if self.reading is None:
            raise PollError(FaultKind.UNSUPPORTED, "answers, but is no machine that pyasic knows")
        return self.reading

    async def aclose(self) -> None:
        pass


async def looked_at(
    monkeypatch: pytest.MonkeyPatch, folder: Path, library: Library, version: object
) -> list[probe.Finding]:
    open_device = catalogue.open_device

    def opened(kind: str, host: str, *rest: Any) -> Any:
        if kind != "pyasic":
            return open_device(kind, host, *rest)
        library.hosts.append(host)
        return library

    monkeypatch.setattr(catalogue, "open_device", opened)
    monkeypatch.setitem(DEADLINE_S, "snmp", 0.1)
    (folder / "version.json").write_text(json.dumps(version))
    (folder / "capture.toml").write_text(
        '[[reply]]\nname = "version"\nvia = "rpc"\nwhat = "version"\nfile = "version.json"\n'
    )
    async with ReplayedMachine(load(folder), f"127.{BLOCK}.68.1") as machine:
        return await probe.look(machine.host, None, None)


async def test_a_make_that_we_do_not_read_is_asked_for_by_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = Library(MinerReading(driver="pyasic", make="Goldshell", model="KD6"))
    miner, snmp = await looked_at(monkeypatch, tmp_path, library, STRANGER)
    assert (miner.driver, miner.reading) == ("pyasic", library.reading)
    assert library.hosts == [f"127.{BLOCK}.68.1"]
    assert snmp.driver == "snmp"


async def test_where_the_library_knows_no_more_both_say_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs, _ = await looked_at(monkeypatch, tmp_path, Library(None), STRANGER)
    assert (ours.driver, theirs.driver) == ("auto", "pyasic")
    assert ours.fault is not None
    assert theirs.fault is not None
    assert (ours.fault.kind, theirs.fault.kind) == (FaultKind.UNSUPPORTED, FaultKind.UNSUPPORTED)


def test_one_answer_of_a_miner_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = tmp_path / "summary.json"
    answer.write_text('{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"GHS 5s":1.0}]}')
    assert cli.main(["probe", "--replay", str(answer)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "name the folder that holds them all" in said.err
