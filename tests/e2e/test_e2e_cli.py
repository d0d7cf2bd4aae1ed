"""The commands as their users call them, against a farm: what they print where, how they end, and what they leave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import DEADLINE_S, POLL, ROOT, wait_for

MACHINES = 20
MACHINE_KEYS = {
    "id", "ip", "make", "model", "up", "fault", "hashrate_hs", "power_w", "power_source", "temperature_c",
    "margin_usd_h", "breakeven_usd_kwh", "action", "reasons",
}  # fmt: skip


def hashwatt(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * DEADLINE_S, check=False,
    )  # fmt: skip


def test_once_prints_what_one_round_found_and_null_for_what_it_did_not(start_farm, tmp_path):
    farm = start_farm("--machines", str(MACHINES), "--pdus", "1", "--outlets", "12", "--boot-s", "0")
    farm.control.order("fault", machines=["m00003"], kind="refuse")
    config = farm.write_site(tmp_path / "site", interval_s=10.0, feeds=["mempool", "kraken"], listen="127.0.0.1:0")
    run = hashwatt("once", "--json", "--config", config)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr

    def no_constants(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    document = json.loads(run.stdout, parse_constant=no_constants)
    assert run.stdout.count("\n") == 1
    assert set(document) == {"site", "at", "alarms", "machines", "pdus", "market", "recommendation"}
    assert document["site"] == "virtual"
    machines = {machine["id"]: machine for machine in document["machines"]}
    assert len(machines) == MACHINES
    assert all(set(machine) >= MACHINE_KEYS for machine in machines.values())

    truth = farm.control.truth()
    rows = dict(
        zip(truth["id"], zip(truth["address"], truth["wall_w"], truth["hashrate_hs"], strict=True), strict=True)
    )
    for id, machine in machines.items():
        address, wall_w, hashrate_hs = rows[id]
        assert machine["ip"] == address
        if id == "m00003":
            continue
        assert (machine["up"], machine["fault"], machine["action"]) == (True, None, "run")
        assert machine["hashrate_hs"] == pytest.approx(hashrate_hs, rel=0.1)
        assert machine["temperature_c"]
        is_metered = int(id[1:]) <= 12
        assert (machine["power_source"] == "metered") == is_metered
        if is_metered:
            assert machine["power_w"] == pytest.approx(wall_w, rel=0.05)

    dead = machines["m00003"]
    assert (dead["up"], dead["fault"], dead["action"], dead["reasons"]) == (False, "refused", "hold", ["UNREACHABLE"])
    unknown = ("hashrate_hs", "margin_usd_h", "breakeven_usd_kwh")
    assert [dead[name] for name in unknown] == [None] * 3
    (pdu,) = document["pdus"]
    assert pdu["up"] is True
    assert [outlet["machine"] for outlet in pdu["outlets"]] == [f"m{i:05d}" for i in range(1, 13)]
    # 2.0116567e10 / 141.67e12 * 3.145 * 70000, by hand
    assert document["market"]["hashprice_usd_ph_day"] == pytest.approx(31.26, abs=0.01)
    assert document["recommendation"]["status"] == "ok"


def test_once_does_not_wait_for_machines_that_hang(start_farm, tmp_path):
    farm = start_farm("--machines", str(MACHINES), "--pdus", "1", "--boot-s", "0")
    hung = set(farm.control.order("fault_share", share=0.3, kind="hang")["machines"])
    assert len(hung) == 6
    config = farm.write_site(
        tmp_path / "site", interval_s=10.0, feeds=["mempool", "kraken"], listen="127.0.0.1:0", poll={"deadline_s": 3.0}
    )
    started_s = time.monotonic()
    run = hashwatt("once", "--json", "--config", config)
    took_s = time.monotonic() - started_s
    assert run.returncode == 0, run.stderr
    machines = json.loads(run.stdout)["machines"]
    assert {machine["id"] for machine in machines if machine["fault"] == "timeout"} == hung
    assert {machine["id"] for machine in machines if machine["up"]} == {m["id"] for m in machines} - hung
    # one deadline for a look; the rest is for processes that start and end
    assert 3.0 < took_s < 20.0


def test_once_fails_where_nobody_answers(start_farm, tmp_path):
    farm = start_farm("--machines", "3", "--pdus", "0", "--boot-s", "0")
    farm.control.order("fault", kind="refuse")
    config = farm.write_site(tmp_path / "site", interval_s=10.0, feeds=["kraken"], listen="127.0.0.1:0")
    run = hashwatt("once", "--json", "--config", config)
    assert run.returncode == 1
    assert {machine["fault"] for machine in json.loads(run.stdout)["machines"]} == {"refused"}


def test_check_is_content_and_contacts_nobody(start_farm, tmp_path):
    farm = start_farm("--machines", str(MACHINES), "--pdus", "1")
    config = farm.write_site(tmp_path / "site", listen="127.0.0.1:0")
    run = hashwatt("check", "--config", config)
    assert run.returncode == 0, run.stderr
    assert run.stdout
    traffic = farm.control.traffic()
    assert (traffic["connections"], traffic["snmp_requests"], traffic["feed_requests"]) == (0, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_well_on_a_signal_and_leaves_no_child(start_farm, start_agent, tmp_path, number):
    farm = start_farm("--machines", str(MACHINES), "--pdus", "1", "--boot-s", "0")
    farm.control.order("fault_share", share=0.3, kind="hang")
    config = farm.write_site(tmp_path / "site", interval_s=10.0, poll=POLL, listen="127.0.0.1:0")
    agent = start_agent(config)
    agent.wait_page(lambda page: page.machines("hashwatt_machine_up", 1.0), "machines that are up")
    workers = agent.workers()
    assert len(workers) == 4  # miners, pyasic, snmp, feeds
    agent.process.send_signal(number)
    assert agent.process.wait(DEADLINE_S) == 0, agent.log
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of the workers")
    assert "Traceback" not in agent.log
    assert (config.parent / "hashwatt.db").exists()
