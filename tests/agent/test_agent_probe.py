"""`hashwatt probe` against the emulated farm: the whole way from the word on the command line to the printed values."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import cli
from hil.control import FarmProcess

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


def test_nobody_there_is_exit_1_and_faults_by_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = probed(capsys, f"127.{BLOCK}.250.250", config)
    assert code == 1
    assert {fault["kind"] for fault in findings.values()} <= {"refused", "timeout", "unreachable"}
