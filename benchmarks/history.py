"""What a history costs: bytes per machine and hour or day on the disk, and milliseconds to keep and to read.

    python benchmarks/history.py --json            240 hours and 200 days of 1,000 machines, 9 rounds
    python benchmarks/history.py --quick --json    48 hours and 40 days, 3 rounds

The last line of standard output is one JSON object. Bytes are those of the file, with its pages and the names of the
machines, divided by rows and machines. The numbers are as noisy as real ones: hashrate 2 %, watts 2 %, shares, and one
machine in twenty that stood for a while. `keep_100k_ms` is CPU for an hour of 100,000 machines, which an agent does in
a thread every five minutes; `read_day_10k_ms` for the 24 hours of a day of 10,000. `mib_*` follow from the bytes: a
year of days, and the hours that are kept by default.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "agent"))  # a noisy farm
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import numpy as np
from history_farm import HOUR_S, MIDNIGHT_S, account_of, roster_of

from agent.history import History, Limits
from fleet.account import Account, Roster, Span, total

DAY_S = 24 * HOUR_S
MIB = 1 << 20


def day_of(farm: Roster, start_s: float) -> Account:
    return total(Span.DAY, (account_of(farm, start_s + i * HOUR_S) for i in range(24)))


def bytes_per_row(folder: Path, accounts: Iterable[Account]) -> float:
    """Of one machine in one account, everything told."""
    path, rows = folder / "bytes.db", 0
    with closing(History.open(path)) as history:
        for account in accounts:
            history.keep([account])
            rows += len(account.counts)
    size = path.stat().st_size
    path.unlink()
    return round(size / rows, 2)


def keep_ms(folder: Path, machines: int, rounds: int) -> float:
    account = account_of(roster_of(machines), MIDNIGHT_S)
    with closing(History.open(folder / "keep.db")) as history:
        return median_cpu_ms(lambda: history.keep([account]), rounds)


def read_ms(folder: Path, machines: int, rounds: int) -> float:
    roster, path = roster_of(machines), folder / "read.db"
    with closing(History.open(path)) as history:
        history.keep([account_of(roster, MIDNIGHT_S + i * HOUR_S) for i in range(24)])

    def read() -> None:
        with closing(History.read_only(path)) as reader:
            assert len(reader.accounts(Span.HOUR, MIDNIGHT_S, MIDNIGHT_S + DAY_S)) == 24

    return median_cpu_ms(read, rounds)


def median_cpu_ms(work: Callable[[], object], rounds: int) -> float:
    took_s = []
    for _ in range(rounds + 1):
        started_s = time.process_time()
        work()
        took_s.append(time.process_time() - started_s)
    return round(1000.0 * float(np.median(took_s[1:])), 1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/history.py", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer spans and rounds")
    parser.add_argument("--json", action="store_true", help="one object on one line, for programs")
    options = parser.parse_args(argv)
    hours, days, rounds = (48, 40, 3) if options.quick else (240, 200, 9)
    farm = roster_of(1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hour = bytes_per_row(folder, (account_of(farm, MIDNIGHT_S + i * HOUR_S) for i in range(hours)))
        day = bytes_per_row(folder, (day_of(farm, MIDNIGHT_S + i * DAY_S) for i in range(days)))
        document = {
            "benchmark": "history",
            "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
            "bytes_per_machine_hour": hour,
            "bytes_per_machine_day": day,
            "keep_100k_ms": keep_ms(folder, 100_000, rounds),
            "read_day_10k_ms": read_ms(folder, 10_000, rounds),
        }
    for machines in (1_000, 100_000):
        document[f"mib_year_of_days_{machines // 1000}k"] = round(machines * day * 365 / MIB, 1)
        document[f"mib_hours_{machines // 1000}k"] = round(machines * hour * 24 * Limits().hourly_days / MIB, 1)
    print(json.dumps(document, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
