"""The whole agent against the virtual farm: no missed poll, and what it costs.

    .venv/bin/python benchmarks/farm.py --json            1,000 machines, 30 PDUs, 30 s, 10 minutes
    .venv/bin/python benchmarks/farm.py --quick --json    the same for 50 seconds
    .venv/bin/python benchmarks/farm.py --fault hang=1 --interval-s 5 --json      nobody ever answers; 120 rounds

Counted from outside: polls and lag from the agent's own /metrics, connections that the farm saw, CPU and memory of the
agent and its workers from /proc; memory and files as first, highest, last. The last line of standard output is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from pathlib import Path

from hil.control import FarmProcess

SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--pdus", type=int, default=30)
    parser.add_argument("--interval-s", type=float, default=30.0)
    parser.add_argument("--fault", metavar="KIND=SHARE", help="see python -m hil.farm --help")
    parser.add_argument("--block", type=int, default=83)
    options = parser.parse_args()
    duration_s = 50.0 if options.quick else 600.0
    with tempfile.TemporaryDirectory() as name, _farm(options) as farm:
        site, port = Path(name), _free_port()
        config = farm.write_site(site, interval_s=options.interval_s, listen=f"127.0.0.1:{port}")
        agent = subprocess.Popen([sys.executable, "-m", "agent", "run", "--config", str(config)])
        try:
            report = _watch(port, duration_s, options.interval_s)
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(20)
    report |= {"machines": options.machines, "pdus": options.pdus, "fault": options.fault, "duration_s": duration_s}
    print(json.dumps(report))
    return 0


def _farm(options: argparse.Namespace) -> FarmProcess:
    sizes = ("--machines", str(options.machines), "--pdus", str(options.pdus))
    faults = ("--fault", options.fault) if options.fault else ()
    return FarmProcess(*sizes, *faults, "--block", str(options.block), "--boot-s", "0")


def _watch(port: int, duration_s: float, interval_s: float) -> dict[str, object]:
    """Let the first round pass, then compare the counters over `duration_s`."""
    _wait_ready(port)
    before, started_s = _scrape(port), time.monotonic()
    memory_mib: list[float] = []
    files: list[float] = []
    while (left_s := started_s + duration_s - time.monotonic()) > 0:
        print(f"\r{left_s:4.0f} s to go ", end="", file=sys.stderr, flush=True)
        time.sleep(min(10.0, left_s))
        page = _scrape(port)
        memory_mib.append(sum(_by(page, "hashwatt_agent_resident_memory_bytes").values()) / 2**20)
        files.append(sum(_by(page, "hashwatt_agent_open_files").values()))
    after, elapsed_s = _scrape(port), time.monotonic() - started_s
    print(file=sys.stderr)
    cpu_s = _delta(before, after, "hashwatt_agent_cpu_seconds_total")
    polls = _delta(before, after, "hashwatt_polls_total")
    return {
        "polls": {key: round(count) for key, count in sorted(polls.items())},
        "polls_per_device": round(sum(v for k, v in polls.items() if _is_device(k)) / _devices(after), 2),
        "expected_per_device": round(elapsed_s / interval_s, 2),
        "missed": {key: round(n) for key, n in _by(after, "hashwatt_polls_missed_total").items()},
        "restarts": sum(_by(after, "hashwatt_workers_restarts_total").values()),
        "up": sum(_by(after, "hashwatt_machine_up").values()),
        "cpu_share": {key: round(s / elapsed_s, 4) for key, s in cpu_s.items()},
        "cpu_share_1k_30s": round(sum(cpu_s.values()) / elapsed_s, 4),
        "rss_mib": {k: round(v / 2**20, 1) for k, v in _by(after, "hashwatt_agent_resident_memory_bytes").items()},
        "rss_total_mib": [round(memory_mib[0], 1), round(max(memory_mib), 1), round(memory_mib[-1], 1)],
        "open_files": [files[0], max(files), files[-1]],
    }


def _is_device(labels: str) -> bool:
    return any(f'driver="{kind}"' in labels for kind in ("auto", "antminer", "pyasic", "snmp"))


def _devices(page: dict[str, dict[str, float]]) -> int:
    return len(page["hashwatt_machine_up"]) + len(page["hashwatt_pdu_up"])


def _wait_ready(port: int) -> None:
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit("the agent did not finish its first round within 120 s")


def _scrape(port: int) -> dict[str, dict[str, float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    page: dict[str, dict[str, float]] = defaultdict(dict)
    for line in text.splitlines():
        if match := SERIES.match(line):
            page[match[1]][match[2] or ""] = float(match[3])
    return page


def _by(page: dict[str, dict[str, float]], name: str) -> dict[str, float]:
    return page.get(name, {})


def _delta(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]], name: str) -> dict[str, float]:
    return {key: value - _by(before, name).get(key, 0.0) for key, value in _by(after, name).items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
