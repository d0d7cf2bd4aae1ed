"""What SNMP costs the client: our two engines, gufo bare, and snmp_exporter at one PDU; then whole farms of PDUs.

    .venv/bin/python benchmarks/snmp.py --json            about 9 minutes
    .venv/bin/python benchmarks/snmp.py --quick --json    under a minute

The last line of standard output is one JSON object. `..._ms` are CPU milliseconds (user + system of the client process
alone; the PDU is another process) of one walk of 317 objects with max-repetitions 25, as the median of rounds in which
the clients take turns at the same PDU, an APC rPDU2 with 48 outlets: six columns of 48 outlets, the table of phases,
temperature and humidity. `gufo` and `pysnmp` are `SnmpClient.walk` as the product opens it; `bare_gufo` is the
library's own GETBULK iterator, its rows kept and nothing else; `snmp_exporter` is one scrape over HTTP of Debian's
prometheus-snmp-exporter with a module that names the same subtrees. `..._full_ms` and `..._fast_ms` are whole
`SnmpPdu.read`s, decoded: everything that the profile names, and what changes from poll to poll.

`farms` are a worker of the agent with its supervisor and the table, and emulated PDUs: 2,000 with gufo, 150 with
pysnmp, at 60 s. `cpu_share` is that of a farm in the long run, worker and main process together, with one full read in
20: measured apart are the first round, in which every read is a full one, and the rounds behind it. `--quick` asks
fewer PDUs at a shorter interval, as many a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import uvloop

from agent.table import Table
from agent.wire import Job, Outcome, Pulse
from agent.wiring import SLOW_LOOKS
from agent.workers import Supervisor, WorkerSpec
from benchmarks.scale import Seen
from benchmarks.still_pdus import COMMUNITY, PORT, StillPdus
from collectors.pdus.device import FULL_READ_EVERY, SnmpPdu
from collectors.pdus.engines import open_client
from collectors.pdus.snmp import Credential, EngineName, Pace, parse_oid
from fleet.readings import PduReading
from fleet.site import Site
from hil.loopback import free_tcp_port, raise_descriptor_limit

WALK_PDU = "127.93.0.1"
FARM_BLOCK = 94
PER_PROCESS = 1000  # PDUs of one emulating process
REPETITIONS = 25
DEADLINE_S = 10.0
TICK_S = 10.0

RPDU2 = "1.3.6.1.4.1.318.1.1.26"
SUBTREES = {
    "outlet_state": (f"{RPDU2}.9.2.3.1.5", 48),
    "outlet_name": (f"{RPDU2}.9.4.3.1.3", 48),
    "outlet_number": (f"{RPDU2}.9.4.3.1.4", 48),
    "outlet_amperes": (f"{RPDU2}.9.4.3.1.6", 48),
    "outlet_watts": (f"{RPDU2}.9.4.3.1.7", 48),
    "outlet_energy": (f"{RPDU2}.9.4.3.1.11", 48),
    "phase": (f"{RPDU2}.6.3.1", 27),
    "temperature": (f"{RPDU2}.10.2.2.1.8", 1),
    "humidity": (f"{RPDU2}.10.2.2.1.10", 1),
}
"""What is walked, and how many objects are there."""
OBJECTS = sum(count for _, count in SUBTREES.values())
PHASE_COLUMNS = range(1, 10)

WALKS = ("gufo", "bare_gufo", "pysnmp", "snmp_exporter")
READS = ("gufo_full", "gufo_fast", "pysnmp_full", "pysnmp_fast")
TIMES = {
    "gufo": 80, "bare_gufo": 80, "pysnmp": 4, "snmp_exporter": 80,
    "gufo_full": 30, "gufo_fast": 80, "pysnmp_full": 2, "pysnmp_fast": 6,
}  # fmt: skip
"""Looks of one client in one round: a third of a second of CPU, for it is counted in hundredths."""

TARGETS = {"gufo_to_bare_gufo": 1.5, "gufo_to_snmp_exporter": 1.0, "pysnmp_ms": 100.0}
FARM_TARGET = 0.25
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Farm:
    """So many PDUs by one engine, for one round of full reads and so many rounds of fast ones."""

    engine: str
    pdus: int
    interval_s: float
    rounds: int


FARMS = (Farm("gufo", 2000, 60.0, 3), Farm("pysnmp", 150, 60.0, 3))
QUICK_FARMS = (Farm("gufo", 100, 3.0, 2), Farm("pysnmp", 10, 4.0, 1))
"""As many looks a second as the others."""
ROUNDS, QUICK_ROUNDS = 15, 4


# --- the clients, each in a process of its own -----------------------------------------------------------------------

Look = Callable[[], Awaitable[int]]
"""One look; gives how many objects it found."""


def open_walk(engine: EngineName) -> Look:
    client = open_client(WALK_PDU, PORT, Credential(COMMUNITY), engine)
    client.set_pace(Pace(repetitions=REPETITIONS))
    roots = [parse_oid(oid) for oid, _ in SUBTREES.values()]

    async def look() -> int:
        return sum([len(await client.walk(root)) for root in roots])

    return look


def open_bare_gufo() -> Look:
    from gufo.snmp.aio import SnmpSession

    session = SnmpSession(WALK_PDU, PORT, COMMUNITY, max_repetitions=REPETITIONS)
    roots = [oid for oid, _ in SUBTREES.values()]

    async def look() -> int:
        return sum([len([row async for row in session.getbulk(root)]) for root in roots])

    return look


def open_read(engine: EngineName, full_read_every: int) -> Look:
    credential = Credential(COMMUNITY)
    pdu = SnmpPdu(WALK_PDU, PORT, DEADLINE_S, credential, engine=engine, full_read_every=full_read_every)

    async def look() -> int:
        return _outlets(await pdu.read())

    return look


def _outlets(reading: PduReading) -> int:
    """Outlets of which everything is known: a client that reads nothing is cheap."""
    assert reading.power_w
    return sum(
        row.kind == "outlet" and None not in (row.name, row.power_w, row.current_a, row.energy_j, row.is_on)
        for row in reading.rows
    )


def open_look(what: str) -> Look:
    engine, _, kind = what.partition("_")
    match engine, kind:
        case "bare", _:
            return open_bare_gufo()
        case (("gufo" | "pysnmp"), ""):
            return open_walk(engine)
        case (("gufo" | "pysnmp"), "full"):
            return open_read(engine, 1)
        case (("gufo" | "pysnmp"), "fast"):
            return open_read(engine, sys.maxsize)
        case _:
            raise SystemExit(f"no client {what!r}")


async def run_client(what: str) -> None:
    """Warm up, then one round for each line of standard input; prints the CPU seconds of each."""
    look = open_look(what)
    wanted = OBJECTS if what in WALKS else 48
    await _round(look, 2, wanted)
    _say({"ready": what})
    while await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        before = _own_cpu_s()
        await _round(look, TIMES[what], wanted)
        _say({"cpu_s": _own_cpu_s() - before})


async def _round(look: Look, times: int, wanted: int) -> None:
    for _ in range(times):
        assert await look() == wanted, "a client found too little"


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class Client(Protocol):
    """Something whose rounds are counted."""

    @property
    def what(self) -> str: ...

    def round(self) -> float:
        """CPU seconds of `TIMES` looks."""
        ...

    def close(self) -> None: ...


class Ours:
    """One client of Python, in its process."""

    def __init__(self, what: str) -> None:
        self.what = what
        command = [sys.executable, str(Path(__file__).resolve()), "--client", what]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def round(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read()["cpu_s"])

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the client {self.what} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class SnmpExporter:
    """prometheus-snmp-exporter on a free port of loopback, scraped by us and counted by the kernel."""

    what = "snmp_exporter"
    program = shutil.which("prometheus-snmp-exporter")

    def __init__(self, folder: Path) -> None:
        assert self.program is not None
        config, port = folder / "snmp.yml", free_tcp_port()
        config.write_text(json.dumps({"rpdu2": exporter_module()}))  # JSON is YAML
        address = f"127.0.0.1:{port}"
        command = [self.program, f"--config.file={config}", f"--web.listen-address={address}", "--log.level=error"]
        self._process = subprocess.Popen(command)
        self._url = f"http://{address}/snmp?module=rpdu2&target={WALK_PDU}:{PORT}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        for _ in range(100):
            with contextlib.suppress(OSError):
                self._scrape()
                break
            time.sleep(0.1)

    def round(self) -> float:
        before = self._cpu_s()
        for _ in range(TIMES[self.what]):
            self._scrape()
        return self._cpu_s() - before

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _scrape(self) -> None:
        with self._open(self._url, timeout=10) as answer:
            page = answer.read()
        found = page.partition(b"\nsnmp_scrape_pdus_returned ")[2].split(b"\n", 1)[0]
        assert int(found or 0) == OBJECTS, f"snmp_exporter found {found!r} objects"

    def _cpu_s(self) -> float:
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS_PER_S


def exporter_module() -> dict[str, Any]:
    """The module of snmp.yml that walks the subtrees; every object becomes a sample."""
    columns = {name: oid for name, (oid, _) in SUBTREES.items() if name != "phase"}
    columns |= {f"phase_{column}": f"{SUBTREES['phase'][0]}.{column}" for column in PHASE_COLUMNS}
    return {
        "walk": [oid for oid, _ in SUBTREES.values()],
        "version": 2,
        "max_repetitions": REPETITIONS,
        "auth": {"community": COMMUNITY},
        "metrics": [
            {
                "name": name,
                "oid": oid,
                "type": "DisplayString" if name.endswith("_name") else "gauge",
                "help": name,
                "indexes": [{"labelname": "index", "type": "gauge"}],
            }
            for name, oid in columns.items()
        ],
    }


# --- one PDU ---------------------------------------------------------------------------------------------------------


def measure_walks(rounds: int) -> dict[str, Any]:
    """All clients at one PDU, their rounds interleaved in changing order."""
    costs_ms: dict[str, list[float]] = {}
    requests: dict[str, float] = {}
    order = random.Random(3)
    with StillPdus(WALK_PDU, 1) as pdu, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        clients: list[Client] = []
        for one in _clients(Path(folder)):
            stack.callback(one.close)
            clients.append(one)
        for number in range(rounds):
            for one in order.sample(clients, len(clients)):
                pdu.requests()
                costs_ms.setdefault(one.what, []).append(1000.0 * one.round() / TIMES[one.what])
                requests[one.what] = pdu.requests() / TIMES[one.what]
            _tell(f"round {number + 1} of {rounds}")
    return {"costs_ms": costs_ms, "requests": requests}


def _clients(folder: Path) -> Iterator[Client]:
    for what in (*WALKS, *READS):
        if "gufo" in what and find_spec("gufo") is None:
            _tell(f"{what}: gufo_snmp is not installed")
        elif what != "snmp_exporter":
            yield Ours(what)
        elif SnmpExporter.program is not None:
            yield SnmpExporter(folder)
        else:
            _tell("snmp_exporter: prometheus-snmp-exporter is not installed (make peers)")


# --- a farm of them --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """What a farm's two processes have spent by a moment, for how many reads, and at how many PDUs."""

    main_s: float
    worker_s: float
    reads: int
    known: int


async def run_farm(farm: Farm, hosts: Sequence[str]) -> dict[str, Any]:
    """The first round, in which every read is a full one, and the rounds behind it."""
    table = Table(Site("snmp", ()), hosts, farm.interval_s)
    first_at_s: dict[str, float] = {}
    seen = Seen(farm.interval_s, 0.0)

    def take(outcomes: list[Outcome]) -> None:
        table.take(outcomes)
        seen.take(outcomes)
        for outcome in outcomes:
            first_at_s.setdefault(outcome.key, outcome.at_s)

    in_flight = SLOW_LOOKS if farm.engine == "pysnmp" else 400  # as the agent has it
    supervisor = Supervisor([WorkerSpec("snmp", max_in_flight=in_flight)], take)
    await supervisor.start()
    pulses: list[Pulse] = []
    next_tick_s = time.monotonic() + TICK_S

    async def mark(*, after_s: float = 0.0, known: int = 0) -> Mark:
        """At the first pulse so much later that finds so many PDUs known, and none looked at if it is the first."""
        nonlocal next_tick_s
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + after_s + 2 * farm.interval_s + 60.0:
            await asyncio.sleep(0.25)
            if time.monotonic() > next_tick_s:
                next_tick_s += TICK_S
                table.freeze(time.time())
            pulse = supervisor.stats()[0].pulse
            if pulse is None or (pulses and pulse.at_s == pulses[-1].at_s):
                continue
            pulses.append(pulse)
            is_known = sum(at_s < pulse.at_s for at_s in first_at_s.values()) >= known
            if is_known and time.monotonic() >= begin_s + after_s and (known > 1 or pulse.in_flight == 0):
                return Mark(time.process_time(), pulse.cpu_s, pulse.polls, len(first_at_s))
        raise SystemExit(f"only {len(first_at_s)} of {len(hosts)} PDUs were looked at: {seen.verdicts}")

    options: dict[str, str | float | bool] = {"community": COMMUNITY, "engine": farm.engine}
    jobs = [Job(host, "snmp", host, PORT, farm.interval_s, DEADLINE_S, options) for host in hosts]
    supervisor.assign("snmp", jobs[:1])  # one PDU, until the worker has imported all that it needs
    marks = [await mark(known=1)]
    supervisor.assign("snmp", jobs)
    marks.append(await mark(known=len(hosts)))
    first_round, seen = seen, Seen(farm.interval_s, time.time())  # from here on all are on the grid of their interval
    marks.append(await mark(after_s=farm.rounds * farm.interval_s, known=len(hosts)))
    restarts = sum(supervisor.stats()[0].restarts.values())
    await supervisor.aclose()
    return {
        **asdict(farm),
        **costs(marks, len(hosts) / farm.interval_s),
        "looks": seen.looks,
        "faults": sum(count for run in (first_round, seen) for word, count in run.verdicts.items() if word != "ok"),
        "missed": seen.missed + pulses[-1].dropped,
        "late": seen.late,
        "lag_s": seen.lag_s,
        "look_s": seen.duration_s,
        "verdicts": {"first_round": first_round.verdicts, "others": seen.verdicts},
        "errors": pulses[-1].errors,
        "worker_restarts": restarts,
        "worker_rss_mib": [round(value / 2**20, 1) for value in _first_most_last([p.rss_bytes for p in pulses])],
        "worker_fds": _first_most_last([pulse.fds for pulse in pulses]),
    }


def costs(marks: Sequence[Mark], looks_per_s: float) -> dict[str, Any]:
    """CPU of one read of either kind, and what they come to where one in twenty is a full one.

    Of three marks: when the worker knows one PDU, when it knows all, and so many rounds later.
    """
    begin, between, end = marks
    fast_ms = 1000 * (end.worker_s - between.worker_s) / (end.reads - between.reads)
    full_reads = between.known - begin.known
    fast_reads = between.reads - begin.reads - full_reads
    full_ms = (1000 * (between.worker_s - begin.worker_s) - fast_reads * fast_ms) / full_reads
    main_ms = 1000 * (end.main_s - between.main_s) / (end.reads - between.reads)
    mean_ms = (full_ms + (FULL_READ_EVERY - 1) * fast_ms) / FULL_READ_EVERY

    def share(ms: float) -> float:
        return _rounded(looks_per_s * ms / 1000) or 0.0

    return {
        "cpu_share": share(mean_ms + main_ms),
        "cpu_shares": {
            "worker": share(mean_ms),
            "main": share(main_ms),
            "round_of_fast_reads": share(fast_ms + main_ms),
            "round_of_full_reads": share(full_ms + main_ms),
        },
        "worker_ms_per_read": {"full": _rounded(full_ms), "fast": _rounded(fast_ms)},
    }


def _first_most_last(values: Sequence[float]) -> list[float]:
    return [values[0], max(values), values[-1]]


def measure_farm(farm: Farm) -> dict[str, Any]:
    """One farm, its PDUs in processes of their own and a fresh agent."""
    _tell(f"{farm.pdus} PDUs at {farm.interval_s:g} s by {farm.engine}, {farm.rounds + 1} rounds")
    with contextlib.ExitStack() as stack:
        hosts: list[str] = []
        for first in range(0, farm.pdus, PER_PROCESS):
            place = f"127.{FARM_BLOCK + first // PER_PROCESS}.0.1"
            hosts += stack.enter_context(StillPdus(place, min(PER_PROCESS, farm.pdus - first))).hosts
        command = [sys.executable, str(Path(__file__).resolve()), "--agent", json.dumps([asdict(farm), hosts])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- the report ------------------------------------------------------------------------------------------------------


def report(walks: dict[str, Any], farms: Sequence[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Medians by client, and how they stand against the targets."""
    costs_ms: dict[str, list[float]] = walks["costs_ms"]
    medians = {
        f"{what}_ms": statistics.median(costs_ms[what]) if what in costs_ms else None for what in (*WALKS, *READS)
    }
    figures = {
        "gufo_to_bare_gufo": _ratio(costs_ms, "gufo", "bare_gufo"),
        "gufo_to_snmp_exporter": _ratio(costs_ms, "gufo", "snmp_exporter"),
        "pysnmp_ms": medians["pysnmp_ms"],
    }
    return {
        "benchmark": "snmp",
        **{name: _rounded(median) for name, median in medians.items()},
        "objects": OBJECTS,
        "targets": {name: _judged(figures[name], target) for name, target in TARGETS.items()}
        | {f"{farm['engine']}_farm_cpu_share": _judged(farm["cpu_share"], FARM_TARGET) for farm in farms},
        "farms": {farm["engine"]: farm for farm in farms},
        "assumptions": [
            f"one read in {FULL_READ_EVERY} is a full one, as the product has it, and they are spread evenly",
            "all PDUs answer, at once and without loss, as loopback does",
            "a shorter interval with fewer PDUs (--quick) costs what the same looks a second cost otherwise",
        ],
        "detail": {
            "rounds": rounds,
            "max_repetitions": REPETITIONS,
            "requests_per_look": {what: round(count, 2) for what, count in walks["requests"].items()},
            "spread_ms": {what: [_rounded(min(values)), _rounded(max(values))] for what, values in costs_ms.items()},
        },
        "host": {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()},
    }


def _ratio(costs_ms: dict[str, list[float]], ours: str, other: str) -> float | None:
    """Median of the ratios of each round, whose two were measured within seconds of each other."""
    if ours not in costs_ms or other not in costs_ms:
        return None
    return statistics.median(a / b for a, b in zip(costs_ms[ours], costs_ms[other], strict=True))


def _judged(value: float | None, target: float) -> dict[str, Any] | None:
    return None if value is None else {"is": _rounded(value), "at_most": target, "holds": value <= target}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def text_of(document: dict[str, Any]) -> str:
    """The figures in words."""
    detail = document["detail"]
    lines = ["CPU ms per walk and per read (least .. most), requests"]
    for what, (least, most) in sorted(detail["spread_ms"].items()):
        median, requests = document[f"{what}_ms"], detail["requests_per_look"][what]
        lines.append(f"  {what:14}{median:9.3f}  ({least:.3f} .. {most:.3f}){requests:7.2f}")
    for engine, farm in document["farms"].items():
        lines.append(
            f"{farm['pdus']} PDUs at {farm['interval_s']:g} s by {engine}: {farm['cpu_share']:.3f} of a core,"
            f" {farm['faults']} faults, {farm['missed']} missed, {farm['late']} late,"
            f" {farm['worker_rss_mib'][1]:.0f} MiB at most"
        )
    for name, judged in document["targets"].items():
        if judged is not None:
            verdict = "holds" if judged["holds"] else "DOES NOT HOLD"
            lines.append(f"  {name}: {judged['is']:.3f} of at most {judged['at_most']:g}: {verdict}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller farms; under a minute")
    parser.add_argument("--json", action="store_true", help="one line only, for programs")
    parser.add_argument("--walks-only", action="store_true", help="without the farms")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--agent", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    raise_descriptor_limit()
    if options.client:
        uvloop.run(run_client(options.client))
        return 0
    if options.agent:
        farm, hosts = json.loads(options.agent)
        _say(uvloop.run(run_farm(Farm(**farm), hosts)))
        return 0
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    walks = measure_walks(rounds)
    farms = () if options.walks_only else QUICK_FARMS if options.quick else FARMS
    usable = [farm for farm in farms if farm.engine != "gufo" or find_spec("gufo") is not None]
    document = report(walks, [measure_farm(farm) for farm in usable], rounds)
    if not options.json:
        print(text_of(document))
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
