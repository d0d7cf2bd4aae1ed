"""What one look at one machine costs the client: ours, the bare floor under it, and the libraries, on the same farm.

    .venv/bin/python benchmarks/miners.py --json            200 machines per make, 9 rounds; about 80 seconds
    .venv/bin/python benchmarks/miners.py --quick --json    40 machines per make, 5 rounds; under a minute

The last line of standard output is one JSON object: by make CPU milliseconds per look (user + system of the client
process alone; the machines are other processes) as the median of rounds in which the engines take turns, and under
`detail` the spread, the connections and requests per look, and the ratios against the targets.

`ours` is `NativeMiner.read`, with everything that the tiers ask at every tenth look averaged in. `floor` replays, on a
bare uvloop Protocol and with `orjson.loads` alone, the very requests that ours made in ten looks. The libraries are
measured as they are, without the fences that our adapters put around them, identified beforehand and asked for the
quantities that ours reads (lean) or for everything (full); with the operator's login where a make wants one.
Antminers serve their pages too, for the libraries: port 80 needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from anywhere, uninstalled

import orjson
import uvloop

from benchmarks.still_farm import API_PORT, StillFarm
from hil.loopback import addresses

MAKES = ("antminer", "whatsminer", "luxos")
BLOCK = {"antminer": "127.90.0.1", "whatsminer": "127.91.0.1", "luxos": "127.92.0.1"}
AT_ONCE = 32  # looks in flight: what the product allows pyasic, and more than 100,000 machines a minute need of ours
CYCLE = 10  # looks in which every tier of ours has its turn
LOGIN = ("root", "root")

ENGINES = ("ours", "floor", "pyasic_lean", "pyasic_full", "pyasic_rs")
LEANEST = "pyasic_leanest"  # without watts and boards, so without temperatures: fewer quantities than ours, told beside
LOOKS = {"ours": CYCLE, "floor": CYCLE, "pyasic_lean": 2, LEANEST: 2, "pyasic_full": 1, "pyasic_rs": 3}
"""Looks at each machine in one round; those of ours and the floor are whole cycles."""

TARGETS = {"floor": 2.0, "pyasic_rs": 1 / 2, "pyasic_lean": 1 / 4}
LUXOS_LEAN_TARGET = 1 / 8


@dataclass(frozen=True)
class Scale:
    machines: int
    rounds: int


FULL, QUICK = Scale(machines=200, rounds=9), Scale(machines=40, rounds=5)


def engines_for(make: str) -> tuple[str, ...]:
    """pyasic_rs is not let near a WhatsMiner: its reads may open the write API."""
    return tuple(engine for engine in ENGINES if (make, engine) != ("whatsminer", "pyasic_rs"))


def measured_for(make: str) -> tuple[str, ...]:
    """Of LuxOS pyasic gets its hashrate from the boards alone."""
    return engines_for(make) if make == "luxos" else (*engines_for(make), LEANEST)


# --- the engines, each in a process of its own -----------------------------------------------------------------------

Look = Callable[[], Awaitable[object]]


def open_ours(hosts: Sequence[str], make: str, _: list[bytes]) -> list[Look]:
    from collectors.miners.line import Line
    from collectors.miners.native import NativeMiner

    return [NativeMiner(Line(host), 10.0, make).read for host in hosts]


def open_floor(hosts: Sequence[str], make: str, requests: list[bytes]) -> list[Look]:
    """`requests` are those of a whole cycle; each look sends the next tenth of them, so that ten looks send all."""
    return [_Floor(host, requests).look for host in hosts]


class _Floor:
    def __init__(self, host: str, requests: list[bytes]) -> None:
        self._host = host
        self._requests = requests
        self._place = 0

    async def look(self) -> object:
        begin = self._place * len(self._requests) // CYCLE
        self._place = (self._place + 1) % CYCLE
        end = (self._place or CYCLE) * len(self._requests) // CYCLE
        loop = asyncio.get_running_loop()
        document: object = None
        for request in self._requests[begin:end]:
            done: asyncio.Future[bytearray] = loop.create_future()
            transport, _ = await loop.create_connection(lambda r=request, d=done: _Bare(r, d), self._host, API_PORT)  # type: ignore[misc]
            document = orjson.loads((await done).rstrip(b"\0"))
            transport.abort()
        return document


class _Bare(asyncio.Protocol):
    """Sends a request, collects until the machine closes."""

    __slots__ = ("_done", "_received", "_request")

    def __init__(self, request: bytes, done: asyncio.Future[bytearray]) -> None:
        self._request = request
        self._done = done
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._received += data

    def eof_received(self) -> None:
        self._done.set_result(self._received)


async def open_pyasic(hosts: Sequence[str], engine: str) -> list[Look]:
    import logging
    import warnings

    warnings.simplefilter("ignore")
    from pyasic import get_miner, settings
    from pyasic.miners.data import DataOptions

    logging.disable(logging.CRITICAL)
    settings.update("default_antminer_web_password", LOGIN[1])
    turn = asyncio.Semaphore(16)

    async def identified(host: str) -> Any:
        async with turn:
            for _ in range(3):
                if (miner := await get_miner(host)) is not None:
                    return miner
        raise SystemExit(f"pyasic did not identify {host}")

    leanest = [
        DataOptions.HASHRATE, DataOptions.EXPECTED_HASHRATE, DataOptions.FANS, DataOptions.UPTIME, DataOptions.POOLS,
    ]  # fmt: skip
    lean = [*leanest, DataOptions.WATTAGE, DataOptions.HASHBOARDS]
    fields = {LEANEST: leanest, "pyasic_lean": lean}.get(engine)
    miners = await asyncio.gather(*(identified(host) for host in hosts))
    return [(lambda m=miner: m.get_data(include=fields)) for miner in miners]


async def open_pyasic_rs(hosts: Sequence[str]) -> list[Look]:
    from pyasic_rs import MinerFactory
    from pyasic_rs.data import DataField as F

    left_out = [
        F.Chips, F.Mac, F.Hostname, F.SerialNumber, F.ApiVersion, F.FirmwareVersion, F.ControlBoardVersion,
        F.LightFlashing, F.TuningTarget, F.TuningCapabilities, F.Messages, F.IsMining,
    ]  # fmt: skip
    looks: list[Look] = []
    for host in hosts:
        factory = MinerFactory().with_firmware_discovery_auth("AntMiner Stock", *LOGIN)
        miner = await factory.get_miner(host)
        if miner is None:
            raise SystemExit(f"pyasic_rs did not identify {host}")
        looks.append(lambda m=miner: m.get_data(exclude=left_out))  # type: ignore[misc]
    return looks


def has_numbers(answer: object) -> bool:
    """Whether an answer of any engine holds a hashrate: a client that reads nothing is cheap."""
    names = ("hashrate_hs", "raw_hashrate", "hashrate")  # pyasic's last one is a sum of boards, which may not be asked
    rate = next((rate for name in names if (rate := getattr(answer, name, None)) is not None), None)
    return isinstance(answer, dict) or (rate is not None and float(rate) > 0.0)


async def client(engine: str, make: str, hosts: Sequence[str], requests: list[bytes]) -> None:
    """Identify, warm up, then one round for each line of standard input; prints the CPU seconds of each."""
    if engine == "ours":
        looks = open_ours(hosts, make, requests)
    elif engine == "floor":
        looks = open_floor(hosts, make, requests)
    elif engine == "pyasic_rs":
        looks = await open_pyasic_rs(hosts)
    else:
        looks = await open_pyasic(hosts, engine)
    await _round(looks, LOOKS[engine])
    _say({"ready": engine})
    while await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        before = _cpu_s()
        await _round(looks, LOOKS[engine])
        _say({"cpu_s": _cpu_s() - before})


async def _round(looks: Sequence[Look], times: int) -> None:
    for _ in range(times):
        waiting = iter(looks)

        async def work(waiting: Any = waiting) -> None:
            for look in waiting:
                assert has_numbers(await look()), "an engine read nothing"

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class Client:
    """One engine's process, for one make."""

    def __init__(self, engine: str, make: str, machines: int, requests: Sequence[str] = ()) -> None:
        self.engine = engine
        job = {"engine": engine, "make": make, "machines": machines, "requests": list(requests)}
        command = [sys.executable, str(Path(__file__).resolve()), "--client", json.dumps(job)]
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._read()

    def round(self) -> float:
        """CPU seconds of one round."""
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
            raise SystemExit(f"the client of {self.engine} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


# --- the measurement -------------------------------------------------------------------------------------------------


def measure(make: str, scale: Scale, with_pages: bool) -> dict[str, Any]:
    """All engines on one make, their rounds interleaved in changing order."""
    engines = [engine for engine in measured_for(make) if with_pages or make != "antminer" or not _needs_pages(engine)]
    first = BLOCK[make]
    pages = ("--pages",) if with_pages else ()
    with StillFarm(f"{make}={first}*{scale.machines}", *pages) as farm:
        requests = _requests_of_a_cycle(farm, make, scale)
        clients = [Client(engine, make, scale.machines, requests) for engine in engines]
        costs_ms: dict[str, list[float]] = {engine: [] for engine in engines}
        traffic: dict[str, dict[str, float]] = {}
        order = random.Random(3)
        for number in range(scale.rounds):
            for one in order.sample(clients, len(clients)):
                farm.order("counts")
                looks = scale.machines * LOOKS[one.engine]
                costs_ms[one.engine].append(1000.0 * one.round() / looks)
                traffic[one.engine] = {key: count / looks for key, count in farm.order("counts").items()}
            _tell(f"{make}: round {number + 1} of {scale.rounds}")
        for one in clients:
            one.close()
    return {"costs_ms": costs_ms, "traffic": traffic, "requests_per_cycle": requests}


def _needs_pages(engine: str) -> bool:
    return engine.startswith("pyasic")


def _requests_of_a_cycle(farm: StillFarm, make: str, scale: Scale) -> list[str]:
    """What ours asks one machine in ten looks, once it knows it."""
    ours = Client("ours", make, 1)
    farm.order("record", addresses(BLOCK[make], 1)[0])
    ours.round()
    requests: list[str] = farm.order("recorded")["requests"]
    farm.order("record", "nobody")
    ours.close()
    return requests


def report(results: dict[str, dict[str, Any]], scale: Scale) -> dict[str, Any]:
    """Medians by make and engine, and how they stand against the targets."""
    document: dict[str, Any] = {}
    detail: dict[str, Any] = {"machines": scale.machines, "rounds": scale.rounds, "at_once": AT_ONCE}
    for make, result in results.items():
        costs: dict[str, list[float]] = result["costs_ms"]
        medians = {
            engine: statistics.median(costs[engine]) if engine in costs else None for engine in engines_for(make)
        }
        document[make] = {f"{engine}_ms": _rounded(median) for engine, median in medians.items()}
        detail[make] = {
            f"{LEANEST}_ms": _rounded(statistics.median(costs[LEANEST])) if LEANEST in costs else None,
            "spread_ms": {engine: [_rounded(min(values)), _rounded(max(values))] for engine, values in costs.items()},
            "connections_per_look": {engine: round(t["connections"], 2) for engine, t in result["traffic"].items()},
            "requests_per_look": {engine: round(t["requests"], 2) for engine, t in result["traffic"].items()},
            "ratios": {
                f"ours_to_{engine}": _judged(medians["ours"], medians.get(engine), target)
                for engine, target in targets_of(make).items()
            },
        }
    detail["host"] = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
    return document | {"detail": detail}


def targets_of(make: str) -> dict[str, float]:
    """At most this much of each other engine's cost."""
    targets = TARGETS | ({"pyasic_lean": LUXOS_LEAN_TARGET} if make == "luxos" else {})
    return {engine: target for engine, target in targets.items() if engine in engines_for(make)}


def _judged(ours_ms: float | None, other_ms: float | None, target: float) -> dict[str, Any] | None:
    if ours_ms is None or not other_ms:
        return None
    return {"is": _rounded(ours_ms / other_ms), "at_most": target, "holds": ours_ms / other_ms <= target}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _table(document: dict[str, Any]) -> str:
    lines = []
    for make in MAKES:
        detail = document["detail"][make]
        lines.append(f"{make}: CPU ms per look (least .. most), connections per look")
        for engine in engines_for(make):
            if document[make][f"{engine}_ms"] is not None:
                least, most = detail["spread_ms"][engine]
                connections = detail["connections_per_look"][engine]
                lines.append(
                    f"  {engine:12}{document[make][f'{engine}_ms']:8.3f}  ({least:.3f} .. {most:.3f}){connections:7.2f}"
                )
        for name, ratio in detail["ratios"].items():
            if ratio is not None:
                verdict = "holds" if ratio["holds"] else "DOES NOT HOLD"
                lines.append(f"  {name:22}{ratio['is']:7.3f}  at most {ratio['at_most']:.3f}: {verdict}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer machines and rounds, under a minute")
    parser.add_argument("--json", action="store_true", help="one line only, for programs")
    parser.add_argument("--make", action="append", choices=MAKES, help="only these")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.client:
        job = json.loads(options.client)
        hosts = addresses(BLOCK[job["make"]], job["machines"])
        run = asyncio.run if job["engine"].startswith("pyasic") else uvloop.run
        run(client(job["engine"], job["make"], hosts, [request.encode() for request in job["requests"]]))
        return 0
    scale = QUICK if options.quick else FULL
    started_s = time.monotonic()
    results = {make: measure(make, scale, with_pages=os.geteuid() == 0) for make in options.make or MAKES}
    document = report(results, scale)
    document["detail"]["seconds"] = round(time.monotonic() - started_s, 1)
    if not options.json and not options.make:
        print(_table(document))
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
