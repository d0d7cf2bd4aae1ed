"""How late looks are when part of the farm hangs, and what a poll costs: one worker against the virtual farm.

    python -m benchmarks.poll --json            1,000 machines at 30 s; about 15 minutes
    python -m benchmarks.poll --quick --json    300 machines at 6 s; about one minute

Four runs, each with a fresh worker against the same farm: `control` (all healthy), `hung_30` (30 % accept and never
answer), `silent_30` (30 % answer no SYN) and `all_hung`; and three in which a fifth of the machines goes away and comes
back, `notice_silent`, `notice_refuse` and `notice_hang`: how many intervals later the last of them was noticed, its
look included (who hangs is noticed at the end of a deadline).
The last line of standard output is one JSON object; progress goes to standard error. Lag is how late a look started;
only looks at healthy machines count, the first round included. `missed_polls` are instants of healthy machines at
which no look took place. Memory and descriptors are the worker's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import uvloop

from agent.wire import Job, Outcome, Pulse
from agent.workers import Supervisor, WorkerSpec
from hil.control import FarmProcess

NATIVE = ("Antminer S19j Pro=0.5", "Antminer S21=0.5")


@dataclass(frozen=True)
class Scale:
    machines: int
    interval_s: float
    deadline_s: float
    rounds: int
    hung_rounds: int
    hung_interval_s: float


FULL = Scale(machines=1000, interval_s=30.0, deadline_s=5.0, rounds=6, hung_rounds=100, hung_interval_s=3.0)
QUICK = Scale(machines=300, interval_s=6.0, deadline_s=2.0, rounds=2, hung_rounds=10, hung_interval_s=2.0)


@dataclass
class Run:
    """What came out of one run: outcomes of healthy machines by what they were, and the worker's pulses."""

    healthy: set[str]
    lags_s: list[float] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    starts: dict[str, list[float]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    pulses: list[Pulse] = field(default_factory=list)
    slowest_s: float = 0.0

    def take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            name = outcome.fault.kind.value if outcome.fault else "ok"
            self.outcomes[name] = self.outcomes.get(name, 0) + 1
            self.slowest_s = max(self.slowest_s, outcome.duration_s)
            if outcome.key in self.healthy:
                self.lags_s.append(outcome.lag_s)
                self.durations_s.append(outcome.duration_s)
                self.starts.setdefault(outcome.key, []).append(outcome.at_s - outcome.duration_s)

    def missed_polls(self, interval_s: float) -> int:
        """A gap of k intervals is k - 1 missed polls. The first gap joins the grid: it does not count."""
        gaps = np.concatenate([np.diff(starts[1:]) for starts in self.starts.values()] or [np.empty(0)])
        return int(np.sum(np.maximum(np.round(gaps / interval_s) - 1, 0)))

    def summary(self, interval_s: float, restarts: dict[str, int], main_cpu_s: float) -> dict[str, Any]:
        first, last = self.pulses[0], self.pulses[-1]
        polls = last.polls - first.polls
        return {
            "lag_s": _quantiles(self.lags_s),
            "duration_s": _quantiles(self.durations_s),
            "slowest_look_s": self.slowest_s,
            "missed_polls": self.missed_polls(interval_s),
            "outcomes": self.outcomes,
            "late": last.late,
            "dropped": last.dropped,
            "errors": last.errors,
            "worker_restarts": restarts,
            "worker_cpu_s_per_1000_polls": 1000 * (last.cpu_s - first.cpu_s) / polls if polls else None,
            "worker_cpu_ratio": (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s),
            "main_cpu_s": main_cpu_s,
            "rss_bytes": _course([pulse.rss_bytes for pulse in self.pulses]),
            "fds": _course([pulse.fds for pulse in self.pulses]),
            "in_flight": _course([pulse.in_flight for pulse in self.pulses]),
        }


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p99, p999 = np.quantile(values, [0.5, 0.99, 0.999]).tolist()
    return {"p50": p50, "p99": p99, "p99_9": p999, "max": max(values), "count": len(values)}


def _course(values: Sequence[int]) -> dict[str, float]:
    """First and last quarter as means, so that a slope shows; and the largest."""
    quarter = max(1, len(values) // 4)
    return {
        "first_quarter": float(np.mean(values[:quarter])),
        "last_quarter": float(np.mean(values[-quarter:])),
        "max": float(max(values)),
    }


async def measure(
    jobs: Sequence[Job], healthy: set[str], interval_s: float, duration_s: float, max_in_flight: int
) -> dict[str, Any]:
    """One run with a fresh worker."""
    run = Run(healthy)
    supervisor = Supervisor([WorkerSpec("native", max_in_flight=max_in_flight)], run.take)
    cpu_s = time.process_time()
    await supervisor.start()
    supervisor.assign("native", jobs)
    end_s = time.monotonic() + duration_s
    while time.monotonic() < end_s:
        await asyncio.sleep(1.0)
        (stats,) = supervisor.stats()
        if stats.pulse is not None:
            run.pulses.append(stats.pulse)
    restarts = {str(cause): count for cause, count in supervisor.stats()[0].restarts.items()}
    await supervisor.aclose()
    return run.summary(interval_s, restarts, time.process_time() - cpu_s)


async def notice(
    farm: FarmProcess, jobs: Sequence[Job], address_of: dict[str, str], interval_s: float, kind: str, max_in_flight: int
) -> dict[str, float]:
    """How long until it is noticed that a fifth of the machines goes away, and comes back: the slowest, in intervals"""
    heard: list[tuple[str, float, bool]] = []

    def take(outcomes: list[Outcome]) -> None:
        heard.extend((outcome.key, outcome.at_s, outcome.fault is None) for outcome in outcomes)

    async def slowest_s(share: float, is_good: bool, who: set[str]) -> tuple[float, set[str]]:
        begin_s = time.time()
        ill = farm.control.order("fault_share", share=share, kind=kind if share else "none")["machines"]
        who = who or {address_of[machine] for machine in ill}
        await asyncio.sleep(2.5 * interval_s)
        first = dict.fromkeys(who, float("inf"))
        for key, at_s, ok in reversed(heard):
            if key in who and at_s > begin_s and ok is is_good:
                first[key] = at_s
        return max(first.values()) - begin_s, who

    supervisor = Supervisor([WorkerSpec("native", max_in_flight=max_in_flight)], take)
    await supervisor.start()
    supervisor.assign("native", jobs)
    await asyncio.sleep(3 * interval_s)
    away_s, who = await slowest_s(0.2, False, set())
    back_s, _ = await slowest_s(0.0, True, who)
    await supervisor.aclose()
    return {"machines": len(who), "away_intervals": away_s / interval_s, "back_intervals": back_s / interval_s}


def _jobs(addresses: Sequence[str], interval_s: float, deadline_s: float) -> list[Job]:
    return [Job(address, "antminer", address, 4028, interval_s, deadline_s) for address in addresses]


async def _runs(farm: FarmProcess, scale: Scale, max_in_flight: int) -> dict[str, Any]:
    truth = farm.control.truth()
    address_of = dict(zip(truth["id"], truth["address"], strict=True))
    everyone = list(address_of.values())
    results: dict[str, Any] = {}
    for name, share, kind in (("control", 0.0, "none"), ("hung_30", 0.3, "hang"), ("silent_30", 0.3, "silent")):
        _say(f"{name}: {scale.rounds} rounds of {scale.interval_s:g} s")
        ill = farm.control.order("fault_share", share=share, kind=kind)["machines"]
        healthy = set(everyone) - {address_of[machine] for machine in ill}
        jobs = _jobs(everyone, scale.interval_s, scale.deadline_s)
        results[name] = await measure(jobs, healthy, scale.interval_s, scale.rounds * scale.interval_s, max_in_flight)
    for kind in ("silent", "refuse", "hang"):
        _say(f"notice_{kind}: away and back")
        jobs = _jobs(everyone, scale.interval_s, scale.deadline_s)
        results[f"notice_{kind}"] = await notice(farm, jobs, address_of, scale.interval_s, kind, max_in_flight)
    _say(f"all_hung: {scale.hung_rounds} rounds of {scale.hung_interval_s:g} s")
    farm.control.order("fault_share", share=1.0, kind="hang")
    jobs = _jobs(everyone, scale.hung_interval_s, min(scale.deadline_s, scale.hung_interval_s / 2))
    duration_s = scale.hung_rounds * scale.hung_interval_s
    results["all_hung"] = await measure(jobs, set(), scale.hung_interval_s, duration_s, max_in_flight)
    results["farm"] = farm.control.traffic()
    return results


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poll", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small farm, about a minute")
    parser.add_argument("--json", action="store_true", help="one object on one line, for programs")
    parser.add_argument("--machines", type=int)
    parser.add_argument("--max-in-flight", type=int, default=400)
    parser.add_argument("--block", type=int, default=77, help="the farm's addresses lie in 127.BLOCK/16")
    options = parser.parse_args(argv)
    scale = QUICK if options.quick else FULL
    if options.machines:
        scale = Scale(**{**asdict(scale), "machines": options.machines})
    mix = [argument for share in NATIVE for argument in ("--mix", share)]
    place = ("--machines", str(scale.machines), "--pdus", "0", "--block", str(options.block))
    with FarmProcess(*place, *mix) as farm:
        results = uvloop.run(_runs(farm, scale, options.max_in_flight))
    control, hung = results["control"]["lag_s"], results["hung_30"]["lag_s"]
    document = {
        "benchmark": "poll",
        "scale": asdict(scale) | {"max_in_flight": options.max_in_flight},
        "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
        "p99_9_lag_s_more_than_control": hung["p99_9"] - control["p99_9"],
        **results,
    }
    print(json.dumps(document, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
