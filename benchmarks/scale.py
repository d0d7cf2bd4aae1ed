"""Twenty thousand machines at 30 s: missed polls, CPU and memory of agent and worker, and what 100,000 would take.

    .venv/bin/python benchmarks/scale.py --json            20,000 machines at 30 s, ten minutes
    .venv/bin/python benchmarks/scale.py --quick --json    2,000 machines at 5 s, under a minute

The agent's own supervisor, native worker and table look at emulated machines in other processes: 40 % stock Antminer,
30 % WhatsMiner, 20 % LuxOS, 10 % Avalon, each found out as kind "auto" at its first look. Client and machines are each
held to one core where there are two. The table is frozen every 10 s, as a tick of the agent does. The last line of
standard output is one JSON object; progress goes to standard error.

`missed` are instants of a machine's grid at which no look took place, after its first; `late` are looks that began more
than a second after their time. Memory is anonymous resident memory of both processes; that of one known machine is the
difference between this run and one with a tenth (or a twentieth) of the machines, without the columns of one Snapshot.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import numpy as np
import uvloop

from agent.allocator import return_large_blocks
from agent.table import Table
from agent.wire import Job, Outcome, Pulse
from agent.workers import Supervisor, WorkerSpec
from benchmarks.still_farm import StillFarm
from fleet.site import Machine, Site
from fleet.snapshot import Snapshot
from hil.loopback import addresses, raise_descriptor_limit

MIX = {"antminer": 0.4, "whatsminer": 0.3, "luxos": 0.2, "avalon": 0.1}
PER_FARM = 5000  # machines of one emulating process; each needs a descriptor
FIRST_BLOCK = 100
DEADLINE_S = 5.0
TICK_S = 10.0
LATE_S = 1.0
BINS = 10_000  # of a millisecond each
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
EXTRAPOLATED = (100_000, 60.0)


@dataclass(frozen=True)
class Scale:
    machines: int
    few: int  # the run whose memory is subtracted
    interval_s: float
    duration_s: float
    few_duration_s: float


FULL = Scale(machines=20_000, few=1000, interval_s=30.0, duration_s=600.0, few_duration_s=90.0)
QUICK = Scale(machines=2000, few=200, interval_s=5.0, duration_s=20.0, few_duration_s=6.0)


# --- the machines ----------------------------------------------------------------------------------------------------


def places(machines: int) -> list[list[str]]:
    """Arguments of each farm process, `MAKE=FIRST_ADDRESS*COUNT`; farm i lies in 127.(100 + 4 i)/14."""
    farms = []
    for number, first in enumerate(range(0, machines, PER_FARM)):
        size = min(PER_FARM, machines - first)
        counts = {make: round(size * share) for make, share in MIX.items()}
        counts["antminer"] += size - sum(counts.values())
        block = FIRST_BLOCK + 4 * number
        farms.append([f"{make}=127.{block + i}.0.1*{count}" for i, (make, count) in enumerate(counts.items()) if count])
    return farms


def hosts_of(farms: Iterable[Iterable[str]]) -> list[str]:
    found: list[str] = []
    for place in (place for farm in farms for place in farm):
        first, _, count = place.partition("=")[2].partition("*")
        found += addresses(first, int(count))
    return found


# --- the agent, in a process of its own ------------------------------------------------------------------------------


class Seen:
    """What the looks of one run were like, from the end of the first round on. Of constant size, but for eight bytes
    per machine: it shares the memory that is measured."""

    def __init__(self, interval_s: float, settled_s: float) -> None:
        self._interval_s = interval_s
        self._settled_s = settled_s
        self._last_at = np.zeros(1 << 24)  # by the lower three bytes of the address; most of it is never touched
        self.verdicts: dict[str, int] = {}
        self.looks = self.missed = self.late = 0
        self._lags_ms, self._durations_ms = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """A gap of k intervals is k - 1 missed polls."""
        for outcome in outcomes:
            verdict = "ok" if outcome.fault is None else outcome.fault.kind.value
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
            due_s = outcome.at_s - outcome.duration_s - outcome.lag_s
            if due_s < self._settled_s:
                continue
            place = int.from_bytes(socket.inet_aton(outcome.key)[1:])
            if self._last_at[place]:
                self.missed += max(0, round((due_s - self._last_at[place]) / self._interval_s) - 1)
            self._last_at[place] = due_s
            self.looks += 1
            self.late += outcome.lag_s > LATE_S
            self._lags_ms[min(int(outcome.lag_s * 1000), BINS - 1)] += 1
            self._durations_ms[min(int(outcome.duration_s * 1000), BINS - 1)] += 1

    @property
    def lag_s(self) -> dict[str, float]:
        return _quantiles(self._lags_ms)

    @property
    def duration_s(self) -> dict[str, float]:
        return _quantiles(self._durations_ms)


def _quantiles(counts_by_ms: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, float]:
    """Upper ends of the milliseconds in which the quantiles lie, in seconds."""
    total = np.cumsum(counts_by_ms)
    shares = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
    return {name: (int(np.searchsorted(total, share * total[-1])) + 1) / 1000 for name, share in shares.items()}


async def run_agent(hosts: Sequence[str], interval_s: float, duration_s: float) -> dict[str, Any]:
    """Look at all hosts for a while, the first round not counted; figures of main process and worker."""
    return_large_blocks()  # as the agent does
    site = Site("scale", tuple(Machine(host, address=host) for host in hosts))
    table = Table(site, (), interval_s)
    settle_s = 2 * interval_s + 2.0  # first looks are spread over one interval, then the grid is joined
    seen = Seen(interval_s, time.time() + settle_s)
    taking_s = freezing_s = 0.0

    def take(outcomes: list[Outcome]) -> None:
        nonlocal taking_s
        begin_s = time.process_time()
        table.take(outcomes)
        taking_s += time.process_time() - begin_s
        seen.take(outcomes)

    supervisor = Supervisor([WorkerSpec("miners", descriptors=8192)], take)
    await supervisor.start()
    supervisor.assign("miners", [Job(host, "auto", host, 4028, interval_s, DEADLINE_S) for host in hosts])
    pulses: list[Pulse] = []
    snapshot: Snapshot | None = None
    begin_s = time.monotonic()
    first: tuple[float, float, float, float, float] | None = None
    next_tick_s = begin_s + TICK_S
    while (now_s := time.monotonic()) < begin_s + settle_s + duration_s:
        await asyncio.sleep(1.0)
        (stats,) = supervisor.stats()
        if stats.pulse is not None:
            pulses.append(stats.pulse)
        if first is None and now_s >= begin_s + settle_s and stats.pid:
            first = (time.monotonic(), _cpu_s(os.getpid()), _cpu_s(stats.pid), taking_s, freezing_s)
            first_pulse = pulses[-1]
        if now_s >= next_tick_s:
            next_tick_s += TICK_S
            tick_s = time.process_time()
            snapshot = table.freeze(time.time())
            freezing_s += time.process_time() - tick_s
    (stats,) = supervisor.stats()
    assert snapshot is not None
    assert first is not None
    assert stats.pid is not None
    elapsed_s = time.monotonic() - first[0]
    last_pulse = pulses[-1]
    figures = {
        "machines": len(hosts),
        "rows": len(table.site),
        "up": int(np.sum(table.observed.up == 1.0)),
        "interval_s": interval_s,
        "seconds": elapsed_s,
        "looks": seen.looks,
        "expected_looks": elapsed_s / interval_s * len(hosts),
        "missed": seen.missed,
        "late": seen.late,
        "dropped": last_pulse.dropped - first_pulse.dropped,
        "errors": last_pulse.errors,
        "verdicts": seen.verdicts,
        "worker_restarts": sum(stats.restarts.values()),
        "lag_s": seen.lag_s,
        "duration_s": seen.duration_s,
        "cpu_share": {
            "main": (_cpu_s(os.getpid()) - first[1]) / elapsed_s,
            "main_taking": (taking_s - first[3]) / elapsed_s,
            "main_freezing": (freezing_s - first[4]) / elapsed_s,
            "worker": (_cpu_s(stats.pid) - first[2]) / elapsed_s,
        },
        "memory_bytes": {"main": _anonymous_bytes(os.getpid()), "worker": _anonymous_bytes(stats.pid)},
        "worker_rss_bytes": {"first": first_pulse.rss_bytes, "last": last_pulse.rss_bytes},
        "fds": {"first": first_pulse.fds, "max": max(pulse.fds for pulse in pulses)},
        "snapshot_bytes": _column_bytes(snapshot),
        "observations_bytes": _column_bytes(table.observed),
    }
    await supervisor.aclose()
    return figures


def _column_bytes(columns: object) -> int:
    values = (getattr(columns, one.name) for one in fields(columns))  # type: ignore[arg-type]
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


def _cpu_s(pid: int) -> float:
    """User and system time of one process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS_PER_S


def _anonymous_bytes(pid: int) -> int:
    """Resident memory that is not a file: what a process made itself."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


# --- the measurement -------------------------------------------------------------------------------------------------


def measure(machines: int, interval_s: float, duration_s: float) -> dict[str, Any]:
    """One run: farms on one core, a fresh agent on the other."""
    farms = places(machines)
    two_cores = len(os.sched_getaffinity(0)) > 1
    client_core, farm_cores = _cores() if two_cores else (set(), set())
    with contextlib.ExitStack() as stack:
        if two_cores:
            os.sched_setaffinity(0, farm_cores)
        for place in farms:
            stack.enter_context(StillFarm(*place))
        job = {"farms": farms, "interval_s": interval_s, "duration_s": duration_s, "cores": sorted(client_core)}
        command = [sys.executable, str(Path(__file__).resolve()), "--agent", json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _cores() -> tuple[set[int], set[int]]:
    first, *others = sorted(os.sched_getaffinity(0) | set(range(os.cpu_count() or 1)))
    return {first}, set(others)


def report(many: dict[str, Any], few: dict[str, Any], scale: Scale) -> dict[str, Any]:
    """The figures of the gates, and the extrapolation with what it assumes."""
    more = many["machines"] - few["machines"]
    grown = sum(many["memory_bytes"].values()) - sum(few["memory_bytes"].values())
    columns = many["snapshot_bytes"] / many["machines"]
    per_machine = grown / more
    cpu = many["cpu_share"]
    share = cpu["main"] + cpu["worker"]
    return {
        "benchmark": "scale",
        "scale": asdict(scale) | {"mix": MIX, "deadline_s": DEADLINE_S, "tick_s": TICK_S},
        "missed": many["missed"] + many["dropped"],
        "late": many["late"],
        "cpu_share": share,
        "memory_per_machine_bytes": {
            "all": per_machine,
            "snapshot_columns": columns,
            "beyond_snapshot_columns": per_machine - columns,
            "observation_columns": many["observations_bytes"] / many["machines"],
            "main": (many["memory_bytes"]["main"] - few["memory_bytes"]["main"]) / more,
            "worker": (many["memory_bytes"]["worker"] - few["memory_bytes"]["worker"]) / more,
        },
        "holds": {
            "no_missed_poll": many["missed"] + many["dropped"] + many["late"] == 0 and many["up"] == many["machines"],
            "one_core": share <= 1.0,
            "memory_at_most_4_kib_beyond_columns": per_machine - columns <= 4096,
        },
        "extrapolation": extrapolated(many, few, per_machine),
        "many": many,
        "few": few,
        "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
    }


def extrapolated(many: dict[str, Any], few: dict[str, Any], per_machine: float) -> dict[str, Any]:
    """What 100,000 machines at 60 s would take, by looks per second and by rows."""
    machines, interval_s = EXTRAPOLATED
    cpu = many["cpu_share"]
    by_looks = (machines / interval_s) / (many["machines"] / many["interval_s"])
    by_rows = machines / many["machines"]
    main = (cpu["main"] - cpu["main_freezing"]) * by_looks + cpu["main_freezing"] * by_rows
    worker = cpu["worker"] * by_looks
    base = sum(few["memory_bytes"].values()) - few["machines"] * per_machine
    return {
        "machines": machines,
        "interval_s": interval_s,
        "looks_per_s": machines / interval_s,
        "cpu_share": {"main": main, "worker": worker, "together": main + worker},
        "memory_bytes": base + machines * per_machine,
        "assumptions": [
            "worker CPU, and main CPU except freezing, grow with looks per second; freezing grows with rows",
            "the same mix of makes, all healthy: a machine that hangs costs descriptors and slots, hardly CPU",
            "loopback: replies come at once and no network card takes interrupts, so real CPU is some per cent higher",
            "one worker process runs on one core: above a share of about 0.7 its looks begin to be late, and the"
            " machines have to be split among several workers, which costs one more fixed base of memory each",
            "memory per machine stays what it is between the two runs measured",
            "exporters, journal and decisions are not in it: see cycle.py for their cost at 100,000 rows",
        ],
    }


def text_of(document: dict[str, Any]) -> str:
    """The figures in words."""
    many, extra, memory = document["many"], document["extrapolation"], document["memory_per_machine_bytes"]
    lines = [
        f"{many['machines']} machines at {many['interval_s']:g} s for {many['seconds']:.0f} s: {many['looks']} looks,"
        f" {document['missed']} missed, {document['late']} late, {many['up']} up",
        f"CPU, share of one core: {document['cpu_share']:.3f} (worker {many['cpu_share']['worker']:.3f},"
        f" main {many['cpu_share']['main']:.3f})",
        f"memory per known machine: {memory['all']:.0f} bytes, {memory['beyond_snapshot_columns']:.0f} beyond the"
        f" {memory['snapshot_columns']:.0f} of the Snapshot (worker {memory['worker']:.0f}, main {memory['main']:.0f})",
        f"{extra['machines']} at {extra['interval_s']:g} s would take {extra['cpu_share']['together']:.2f} of a core"
        f" (worker {extra['cpu_share']['worker']:.2f}) and {extra['memory_bytes'] / 2**20:.0f} MiB, if",
        *(f"  - {assumption}" for assumption in extra["assumptions"]),
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 machines, under a minute")
    parser.add_argument("--json", action="store_true", help="one line only, for programs")
    parser.add_argument("--minutes", type=float, help="length of the long run")
    parser.add_argument("--agent", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    raise_descriptor_limit()
    if options.agent:
        job = json.loads(options.agent)
        if job["cores"]:
            os.sched_setaffinity(0, job["cores"])
        print(json.dumps(uvloop.run(run_agent(hosts_of(job["farms"]), job["interval_s"], job["duration_s"]))))
        return 0
    scale = QUICK if options.quick else FULL
    if options.minutes:
        scale = Scale(**{**asdict(scale), "duration_s": 60.0 * options.minutes})
    sys.stderr.write(f"{scale.few} machines, for the memory\n")
    few = measure(scale.few, min(scale.interval_s, 10.0), scale.few_duration_s)
    sys.stderr.write(f"{scale.machines} machines at {scale.interval_s:g} s for {scale.duration_s:g} s\n")
    many = measure(scale.machines, scale.interval_s, scale.duration_s)
    document = report(many, few, scale)
    if not options.json:
        print(text_of(document))
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
