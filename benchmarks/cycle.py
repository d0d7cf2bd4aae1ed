"""What one decision costs, and what a whole agent costs beside the machines that it watches.

    python benchmarks/cycle.py --json            10,000 and 100,000 rows, then 1,000 machines at 30 s for ten minutes
    python benchmarks/cycle.py --quick --json    the same with one minute of the agent
    python benchmarks/cycle.py --no-agent        rows only

The last line of standard output is one JSON object; progress goes to standard error. Times are wall milliseconds, the
median of some rounds over a table in which two fifths lose money and a tenth is silent: `think_*` is the
decision alone, `assemble_100k_ms` is freezing the table before it. `rss_mib` is this process at its largest, with two
copies of 100,000 rows. `cpu_share_1k_30s` is the CPU time of the agent and its workers per second of wall time, from
the end of the first round on; 1.0 is one core.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import numpy as np
import numpy.typing as npt

from agent.allocator import return_large_blocks
from fleet.curtailment import Memory, Policy
from fleet.cycle import think
from fleet.market import Market, MarketInput, Quote
from fleet.readings import OperatingState
from fleet.signals import Signals
from fleet.site import Machine, Site
from fleet.snapshot import STATE_CODES, MachineInfo, Observations, PduColumns, Snapshot, assemble
from fleet.tariff import FlatTariff

ROOT = Path(__file__).resolve().parent.parent
AT_S = 1_800_000_000.0
TICK_S = 5.0
INTERVAL_S = 30.0
MACHINES = 1000
OUTLETS_PER_PDU = 24
SETTLE_S = 60.0  # two intervals: every worker has started, every machine was seen
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def site_of(n: int) -> Site:
    machines = tuple(
        Machine(f"{i:012x}", address=f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", power_w=3000.0) for i in range(n)
    )
    return Site("benchmark", machines, tariff=FlatTariff(0.05))


def observed_of(n: int) -> Observations:
    """Machines of 15 to 35 J/TH, a tenth of them silent."""
    random = np.random.default_rng(7)
    observed = Observations.empty(n)
    watts = 1e14 * random.uniform(15.0, 35.0, n) / 1e12
    for name, values in {
        "up": random.random(n) > 0.1, "polled_s": AT_S, "seen_s": AT_S - random.uniform(0.0, 70.0, n),
        "hashrate_hs": 1e14, "hashrate_now_hs": 1e14, "reported_power_w": watts, "temperature_c": 60.0,
        "fan_rpm": 5000.0, "uptime_s": 9000.0, "state": STATE_CODES[OperatingState.MINING], "is_sha256": True,
        "steady_hashrate_hs": 1e14, "steady_power_w": watts, "model_code": random.integers(0, 40, n),
    }.items():  # fmt: skip
        getattr(observed, name)[:] = values
    return observed


def pdus_of(watts: npt.NDArray[np.float64]) -> PduColumns:
    """An outlet for every machine that confirms its `watts`; each reading is a few seconds old."""
    n = len(watts)
    count = -(-n // OUTLETS_PER_PDU)
    return PduColumns(
        ids=tuple(f"pdu-{i}" for i in range(count)),
        outlet_pdu=(np.arange(n) // OUTLETS_PER_PDU).astype(np.int32),
        outlet_ids=tuple(str(i % OUTLETS_PER_PDU + 1) for i in range(n)),
        outlet_machine=np.arange(n, dtype=np.int32),
        outlet_power_w=watts,
        outlet_is_measured=np.ones(n, bool),
        outlet_on=np.ones(n),
        outlet_at_s=np.full(n, AT_S - 5.0),
    )


def market() -> Market:
    values = {
        MarketInput.DIFFICULTY: 141.668e12,
        MarketInput.HEIGHT: 935_140.0,
        MarketInput.BLOCK_FEES_BTC: 0.025,
        MarketInput.BTC_USD: 74_000.0,
    }
    return Market(
        tuple(
            Quote(input, source, value, AT_S, math.inf, math.inf)
            for input, value in values.items()
            for source in ("coinbase", "kraken")
        )
    )


def measure_rows(n: int, rounds: int) -> tuple[float, float]:
    """Milliseconds of `think()` and of `assemble()` for `n` machines, medians; each round thinks on from the last."""
    site, observed, infos = site_of(n), observed_of(n), (MachineInfo(),) * n
    prices, policy, signals = market(), Policy(), Signals()
    pdus = pdus_of(observed.reported_power_w)
    memory, now_s = Memory(), AT_S
    snapshots: list[Snapshot] = []

    def freeze() -> None:
        snapshots[:] = [assemble(site, observed, infos, pdus, AT_S, 2 * INTERVAL_S)]

    def decide() -> None:
        nonlocal memory, now_s
        now_s += TICK_S
        cycle = think(site, snapshots[0], prices, signals, policy, memory, now_s)
        memory = cycle.memory

    assemble_ms = median_ms(freeze, rounds)
    return median_ms(decide, rounds), assemble_ms


def median_ms(work: Callable[[], None], rounds: int) -> float:
    work()  # caches of the site fill once in a lifetime
    gc.collect()
    took_s = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - started_s)
    return round(1000.0 * float(np.median(took_s)), 3)


def cpu_share_of_agent(machines: int, measure_s: float) -> dict[str, float]:
    """Share of one core that a running agent takes for `machines` machines of the virtual farm, and how many answer."""
    from hil.control import FarmProcess, end
    from hil.loopback import free_block, free_tcp_port

    mix = ("--mix", "Antminer S19j Pro=0.5", "--mix", "Antminer S21=0.5")
    place = ("--machines", str(machines), "--pdus", "0", "--block", str(free_block()))
    with tempfile.TemporaryDirectory() as directory, FarmProcess(*place, *mix) as farm:
        port = free_tcp_port()
        config = farm.write_site(Path(directory), interval_s=INTERVAL_S, listen=f"127.0.0.1:{port}")
        command = (sys.executable, "-m", "agent", "run", "--config", str(config))
        with (Path(directory) / "agent.log").open("w") as log:
            agent = subprocess.Popen(command, cwd=ROOT, stderr=log, stdin=subprocess.DEVNULL)
            try:
                time.sleep(SETTLE_S)
                before_s, started_s = cpu_s_of_tree(agent.pid), time.monotonic()
                time.sleep(measure_s)
                spent_s, wall_s = cpu_s_of_tree(agent.pid) - before_s, time.monotonic() - started_s
                if agent.poll() is not None:
                    raise SystemExit(f"the agent ended with {agent.returncode}")
                up = machines_up(f"http://127.0.0.1:{port}/metrics")
            finally:
                end(agent)
    return {"cpu_share": round(spent_s / wall_s, 4), "measured_s": round(wall_s, 1), "machines_up": up}


def cpu_s_of_tree(pid: int) -> float:
    """CPU seconds of a process and of everything that it has started, ended children included."""
    parents: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        child, parent = int(path.parent.name), int(words[1])
        parents.setdefault(parent, []).append(child)
        spent[child] = sum(map(int, words[11:15])) / TICKS_PER_S
    total, queue = 0.0, [pid]
    while queue:
        each = queue.pop()
        total += spent.get(each, 0.0)
        queue += parents.get(each, [])
    return total


def machines_up(url: str) -> int:
    import httpx

    page = httpx.get(url, timeout=10.0).text
    return sum(line.startswith("hashwatt_machine_up{") and float(line.split()[-1]) == 1.0 for line in page.splitlines())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/cycle.py", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and one minute of the agent")
    parser.add_argument("--json", action="store_true", help="one object on one line, for programs")
    parser.add_argument("--no-agent", action="store_true", help="leave the agent out; cpu_share_1k_30s is then null")
    options = parser.parse_args(argv)
    return_large_blocks()  # as the agent does
    rounds = 5 if options.quick else 25
    say("10,000 and 100,000 rows")
    think_10k_ms, assemble_10k_ms = measure_rows(10_000, 4 * rounds)
    think_100k_ms, assemble_100k_ms = measure_rows(100_000, rounds)
    rss_mib = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    agent: dict[str, Any] = {}
    if not options.no_agent:
        measure_s = 60.0 if options.quick else 600.0
        say(f"an agent over {MACHINES} machines: {SETTLE_S:g} s to settle, {measure_s:g} s to measure")
        agent = cpu_share_of_agent(MACHINES, measure_s)
    document = {
        "benchmark": "cycle",
        "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
        "think_10k_ms": think_10k_ms,
        "think_100k_ms": think_100k_ms,
        "assemble_10k_ms": assemble_10k_ms,
        "assemble_100k_ms": assemble_100k_ms,
        "rss_mib": rss_mib,
        "cpu_share_1k_30s": agent.get("cpu_share"),
        "agent": agent or None,
    }
    print(json.dumps(document, indent=None if options.json else 2))
    return 0


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
