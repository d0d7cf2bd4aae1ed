"""What `hashwatt report` and `hashwatt ladder` take on 10,000 machines, each a process of its own from start to end.

    python benchmarks/report.py --json            5 rounds
    python benchmarks/report.py --quick --json    1 round

The last line of standard output is one JSON object; `..._s` are seconds by the clock, `..._cpu_s` of CPU (user and
system), medians of the rounds. On a machine that does other work as well only the latter say something. The day before
today is written hour by hour through `History.keep`, with the prices of every five minutes, and rolled up into
a day, as an agent leaves it. `report_10k_s` is the table, `report_10k_csv_s`, `report_10k_json_s` and
`report_10k_html_s` the other forms (the page has every machine in it; `report_10k_html_bytes` is its size),
`ladder_10k_s` the ladder of the same inventory by its nameplates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import numpy as np

from agent.config import load
from agent.history import History
from fleet.account import COLUMN, ITEMS, UNITS, Account, PriceSpan, Roster, Span
from fleet.localtime import local_times, start_of_day_s, zone_of

ROWS = 10_000
ZONE = "America/Chicago"
MODELS = (("Antminer S21", 200.0, 17.5), ("Whatsminer M60S", 186.0, 18.5), ("Antminer S19 XP", 140.0, 21.5),
          ("Antminer S19j Pro (104T)", 104.0, 29.5))  # fmt: skip
OWNERS = ("Owner North", "Owner South", "")
USD_PH_DAY = 34.0
HOUR_S = 3600.0


def roster_of(rows: int) -> Roster:
    """Four models in racks of 42, three owners of whom one is not named, a feeder for ten racks, hosted ones apart."""
    return Roster(
        ids=tuple(f"m{row:05}" for row in range(rows)),
        models=tuple(MODELS[row % len(MODELS)][0] for row in range(rows)),
        locations=tuple(f"hall {row // 2100 + 1} rack {row // 42 % 50 + 1}" for row in range(rows)),
        owners=tuple(OWNERS[row // 42 % len(OWNERS)] for row in range(rows)),
        feeders=tuple(f"F{row // 420 + 1}" for row in range(rows)),
        tariffs=tuple("hosted" if row // 42 % 10 == 0 else "" for row in range(rows)),
    )


def hour_of(roster: Roster, start_s: float, noise: np.random.Generator) -> Account:
    """An hour like a real one: noisy watts and hashrates, one in fifty stands, one in a hundred is silent."""
    n = len(roster.ids)
    ths, joules = (np.array([MODELS[row % len(MODELS)][column] for row in range(n)]) for column in (1, 2))
    is_silent, stands = noise.random(n) < 0.01, noise.random(n) < 0.02
    known_s = np.where(is_silent, 0.0, HOUR_S)
    running_s = np.where(stands, 0.0, known_s)
    hashes = noise.normal(ths, 0.02 * ths) * 1e12 * running_s
    energy_j = np.where(stands, 30.0, noise.normal(ths * joules, 30.0)) * known_s
    revenue_usd = hashes * USD_PH_DAY * 0.99 / 1e15 / 86_400.0
    usd_kwh = np.array([0.071 if tariff else 0.058 for tariff in roster.tariffs])
    amounts = {
        "reached_s": known_s, "running_s": running_s, "stopped_s": known_s - running_s, "hashrate_s": known_s,
        "hashes": hashes, "covered_s": known_s, "energy_j": energy_j, "metered_j": energy_j, "accepted_s": known_s,
        "difficulty_accepted": noise.poisson(hashes / 2**48) * 65_536.0,
        "difficulty_rejected": noise.poisson(hashes / 2**48 * 0.004) * 65_536.0, "priced_s": known_s,
        "revenue_usd": revenue_usd, "cost_usd": energy_j / 3.6e6 * 1.05 * usd_kwh, "priced_j": energy_j,
        "accepted_revenue_usd": revenue_usd * noise.normal(1.0, 0.02, n),
    }  # fmt: skip
    counts = np.zeros((n, len(ITEMS)), np.int64)
    for name, amount in amounts.items():
        counts[:, COLUMN[name]] = np.rint(amount / UNITS[COLUMN[name]])
    return Account(Span.HOUR, start_s, start_s + HOUR_S, roster, counts)


def prices_of(start_s: float, noise: np.random.Generator) -> list[PriceSpan]:
    """An hour of prices, five minutes each."""
    named = {"hashprice_usd_ph_day": USD_PH_DAY, "btc_usd": 70_000.0, "btc_usd_raw": 70_000.0, "difficulty": 1.4167e14,
             "reward_btc": 3.15, "power_usd_kwh": 0.058, "power_usd_kwh:hosted": 0.071}  # fmt: skip
    return [
        PriceSpan(name, start_s + 300.0 * i, 300.0, mean * factor, mean * factor * 0.999, mean * factor * 1.001)
        for i in range(12)
        for factor in [float(noise.normal(1.0, 0.01))]
        for name, mean in named.items()
    ]


def furnish(folder: Path, rows: int = ROWS) -> Path:
    """A farm's configuration, inventory and history of yesterday; returns the configuration."""
    roster = roster_of(rows)
    lines = (
        f"{id},{model},{place}\n" for id, model, place in zip(roster.ids, roster.models, roster.locations, strict=True)
    )
    (folder / "machines.csv").write_text("id,model,location\n" + "".join(lines))
    path = folder / "hashwatt.toml"
    path.write_text(
        f'[site]\nname = "north"\ninventory = "machines.csv"\ntime_zone = "{ZONE}"\n[journal]\npath = "hashwatt.db"\n'
        "[tariff]\nusd_per_kwh = 0.058\n"
    )
    zone, noise = zone_of(ZoneInfo(ZONE)), np.random.default_rng(7)
    today = int(local_times(zone, np.array([time.time()])).day[0])
    start_s, end_s = start_of_day_s(zone, today - 1), start_of_day_s(zone, today)
    history = History.open(load(path).history_path)
    try:
        for hour_s in np.arange(start_s, end_s, HOUR_S).tolist():
            history.keep([hour_of(roster, hour_s, noise)], prices_of(hour_s, noise))
        history.tidy(end_s + 1.0, zone)
    finally:
        history.close()
    return path


def took(name: str, rounds: int, *words: str) -> dict[str, float]:
    """Seconds by the clock and of CPU of one command, a new process each time; medians."""
    clock_s, cpu_s = [], []
    for _ in range(rounds):
        before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "agent", *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        clock_s.append(time.perf_counter() - started_s)
        cpu_s.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return {f"{name}_s": round(median(clock_s), 3), f"{name}_cpu_s": round(median(cpu_s), 3)}


def measure(rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = ["--config", str(furnish(folder))]
        page = folder / "report.html"
        levels = ["--difficulty", "1.4167e14", "--reward", "3.15"]
        return {
            **took("report_10k", rounds, "report", *config),
            **took("report_10k_csv", rounds, "report", "--csv", "-", *config),
            **took("report_10k_json", rounds, "report", "--json", *config),
            **took("report_10k_html", rounds, "report", "--html", str(page), *config),
            "report_10k_html_bytes": page.stat().st_size,
            **took("ladder_10k", rounds, "ladder", "--nameplates", *levels, *config),
        }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/report.py", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--json", action="store_true", help="one object on one line, for programs")
    options = parser.parse_args(argv)
    document = {
        "benchmark": "report",
        "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
        **measure(1 if options.quick else 5),
    }
    print(json.dumps(document, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
