"""The moving parts together, without starting one: what a tick hands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import wiring
from agent.config import load
from agent.plan import site_of
from agent.wire import Outcome
from agent.wiring import Agent, worker_spec
from fleet.readings import Fault, FaultKind, PduReading


async def test_a_tick_prepares_what_the_next_process_of_a_worker_starts_with(tmp_path: Path) -> None:
    """A worker that dies must not ask a whole hall again who it is."""
    path = tmp_path / "hashwatt.toml"
    path.write_text('[site]\nname = "north"\n[[miners]]\ntargets = ["127.20.0.1-127.20.0.3"]\n')
    config = load(path)
    agent = Agent(config, site_of(config, "model,hashrate_th,power_w\n"), None, {})
    assert {stats.name: stats.jobs for stats in agent.supervisor.stats()}["miners"] == 0
    agent.tick()
    assert {stats.name: stats.jobs for stats in agent.supervisor.stats()}["miners"] == 3


async def test_a_pdu_within_a_range_of_machines_is_waited_for_as_well(tmp_path: Path) -> None:
    path = tmp_path / "hashwatt.toml"
    both = '[[miners]]\ntargets = ["127.20.0.1"]\n[[pdus]]\ntargets = ["127.20.0.1"]\nsnmp = { community = "public" }\n'
    path.write_text(f'[site]\nname = "north"\n{both}')
    config = load(path)
    agent = Agent(config, site_of(config, "model,hashrate_th,power_w\n"), None, {})
    agent.take([Outcome("127.20.0.1", "auto", 1e9, 0.0, 0.0, fault=Fault(FaultKind.REFUSED))])
    assert not agent.all_heard.is_set()
    agent.take([Outcome("127.20.0.1", "snmp", 1e9, 0.5, 0.0, pdu=PduReading("apc_rpdu2"))])
    assert agent.all_heard.is_set()
    assert agent.table.is_round_complete()


@pytest.mark.parametrize(("engine", "installed", "in_flight"), [
    ("pysnmp", ("gufo", "pysnmp"), 32),
    ("auto", ("gufo", "pysnmp"), 400),
    ("auto", ("pysnmp",), 32),
])  # fmt: skip
def test_few_looks_of_a_slow_snmp_engine_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, installed: tuple[str, ...], in_flight: int
) -> None:
    """150 PDUs that pysnmp reads whole all at once, as when an agent starts, would all pass their deadline."""
    path = tmp_path / "hashwatt.toml"
    pdus = f'[[pdus]]\ntargets = ["127.20.0.1"]\nsnmp = {{ engine = "{engine}", community = "public" }}\n'
    path.write_text(f'[site]\nname = "north"\n{pdus}')
    monkeypatch.setattr(wiring, "available", lambda: installed)
    assert worker_spec("snmp", load(path)).max_in_flight == in_flight
    assert worker_spec("miners", load(path)).max_in_flight == 400
