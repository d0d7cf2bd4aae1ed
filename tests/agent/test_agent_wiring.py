"""The moving parts together, without starting one: what a tick hands on."""

from __future__ import annotations

from pathlib import Path

from agent.config import load
from agent.plan import site_of
from agent.wiring import Agent


async def test_a_tick_prepares_what_the_next_process_of_a_worker_starts_with(tmp_path: Path) -> None:
    """A worker that dies must not ask a whole hall again who it is."""
    path = tmp_path / "hashwatt.toml"
    path.write_text('[site]\nname = "north"\n[[miners]]\ntargets = ["127.20.0.1-127.20.0.3"]\n')
    config = load(path)
    agent = Agent(config, site_of(config, "model,hashrate_th,power_w\n"), None, {})
    assert {stats.name: stats.jobs for stats in agent.supervisor.stats()}["miners"] == 0
    agent.tick()
    assert {stats.name: stats.jobs for stats in agent.supervisor.stats()}["miners"] == 3
