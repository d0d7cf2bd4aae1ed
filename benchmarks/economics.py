"""What it costs to price a fleet and to decide about it: 100,000 machines, on columns.

    python benchmarks/economics.py --json            25 rounds
    python benchmarks/economics.py --quick --json    5 rounds

The last line of standard output is one JSON object. Times are milliseconds of CPU (user and system of this process,
all its threads), the median of the rounds: `appraise_100k_ms` is revenue, cost, margin, error, breakevens and verdict
of every machine, `decide_100k_ms` the advice that follows from them. Two fifths of the machines lose money, a tenth is
silent, and every outlet is metered. `retire_100k_ms` is the worth of each in its place over 36 months, which the agent
does not compute in its cycle.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import numpy as np

from agent.allocator import return_large_blocks
from benchmarks.cycle import AT_S, INTERVAL_S, TICK_S, market, observed_of, pdus_of, site_of
from fleet.capital import KeepTerms, retire
from fleet.curtailment import Memory, Policy, recall, recommend
from fleet.economics import appraise
from fleet.market import Valuation, assess
from fleet.signals import Signals
from fleet.snapshot import MachineInfo, assemble

ROWS = 100_000
USD_PER_KWH = 0.05
KEEP_TERMS = KeepTerms(
    months=36, uptime_ratio=0.95, slot_usd_month=5.0, repair_usd_month=2.0, labour_usd_month=1.0, resale_usd_th=5.0,
    residual_usd_th=1.0, discount_per_year=0.1, hashprice_decline_per_year=0.3, hashprice_sigma_per_root_year=0.5,
)  # fmt: skip


def measure(rounds: int) -> dict[str, float]:
    """CPU milliseconds per round, medians; each decision goes on from the last."""
    site, observed, policy, signals = site_of(ROWS), observed_of(ROWS), Policy(), Signals()
    snapshot = assemble(
        site, observed, (MachineInfo(),) * ROWS, pdus_of(observed.reported_power_w), AT_S, 2 * INTERVAL_S
    )
    power = np.full(ROWS, USD_PER_KWH)
    memory, now_s = recall(Memory(), site.ids), AT_S

    def value() -> Valuation:
        return assess(market(), USD_PER_KWH, "flat", now_s)

    money = appraise(site, snapshot, value(), memory.stopped, power)

    def decide() -> None:
        nonlocal memory, now_s
        now_s += TICK_S
        memory = recommend(site, snapshot, value(), money, signals, policy, memory, now_s)[1]

    valuation, stopped = value(), memory.stopped
    return {
        "appraise_100k_ms": median_cpu_ms(lambda: appraise(site, snapshot, valuation, stopped, power), rounds),
        "decide_100k_ms": median_cpu_ms(decide, rounds),
        "retire_100k_ms": median_cpu_ms(lambda: retire(money, KEEP_TERMS), max(3, rounds // 5)),
    }


def median_cpu_ms(work: Callable[[], object], rounds: int) -> float:
    work()  # caches of the site fill once in a lifetime
    gc.collect()
    took_s = []
    for _ in range(rounds):
        started_s = time.process_time()
        work()
        took_s.append(time.process_time() - started_s)
    return round(1000.0 * float(np.median(took_s)), 3)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/economics.py", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="one object on one line, for programs")
    options = parser.parse_args(argv)
    return_large_blocks()  # as the agent does
    document = {
        "benchmark": "economics",
        "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
        **measure(5 if options.quick else 25),
    }
    print(json.dumps(document, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
