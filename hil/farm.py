"""The virtual farm: machines, PDUs and feeds on 127/8, driven by one physics clock; recorded machines where wanted.

`FarmSpec` says what to build, `Farm` runs it (`async with Farm(spec) as farm`) and knows the truth that an agent has to
find. `python -m hil.farm` runs one as a process of its own, steered over the control socket of `hil.control`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import io
import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import uvloop

from collectors.captures import load
from hil.control import ControlServer
from hil.faults import Misbehaviour, PduFault, PduMisbehaviour, pdu_fault
from hil.feeds import FEEDS, FeedServer, MarketTruth, PriceWalk
from hil.following import Following
from hil.loopback import addresses, raise_descriptor_limit
from hil.miners import MinerServers
from hil.pdus import Face, Rpdu2, load_snmprec
from hil.physics import DEFAULT_MIX, MODELS, Orders, assemble, settle
from hil.replay import LOGIN, ReplayedMachines
from hil.replies import POOL_HOST, machine_mac
from hil.scene import Scene
from hil.snmp_agent import SnmpAgent

MINER_PORT = 4028
PORTS_PER_ADDRESS = 10_000
FIRST_PORT = 20_000
RECORDED_LOGIN_FILE = "recorded.pw"
OUTLET_NAMES = ("machine", "mac", "default")


@dataclass(frozen=True)
class FarmSpec:
    """What to build. Shares are ratios of the machines; times in seconds of physics, which runs at `speed`.

    `layout` "addresses": one 127/8 address per machine, port 4028. "ports": few addresses, one port per machine, for
    clients that may name ports. `outlets` 0 = as many per PDU as the machines need; the rest hangs on no outlet.
    `outlet_names`: what the PDUs call an outlet, "machine": the machine's id, "mac": its MAC, "default": the maker's
    "Outlet 1", as an outlet with several machines or none is always called. `inventory_outlets` False: the operator
    has written down neither PDU nor outlet. `firmware_ratio`: reported over true watts of a model's machines.
    """

    machines: int = 200
    mix: Mapping[str, float] = field(default_factory=lambda: DEFAULT_MIX)
    pdus: int = 6
    outlets: int = 0
    machines_per_outlet: int = 1
    outlet_names: str = "machine"
    inventory_outlets: bool = True
    base: str = "127.20.0.1"
    layout: str = "addresses"
    pdu_base: str = "127.30.0.1"
    pdu_port: int = 1161
    community: str = "public"
    feed_host: str = "127.40.0.1"
    feed_port: int = 0  # of the first feed, the others follow; 0 = any free port each
    pdu_walks: Sequence[Path] = ()  # .snmprec of other makes: the first PDUs are of these, and follow the machines
    pdu_replay: Sequence[Path] = ()  # .snmprec as recorded: more PDUs, behind the others, on no machine
    replay: Sequence[Path] = ()  # folders of recorded machines: more machines, whose numbers stand still
    replay_base: str = "127.50.0.1"
    seed: int = 1
    faults: Mapping[Misbehaviour, float] = field(default_factory=dict)
    pdu_faults: Mapping[PduFault, float] = field(default_factory=dict)  # shares of the PDUs
    firmware_ratio: Mapping[str, float] = field(default_factory=dict)
    off: Misbehaviour = Misbehaviour.SILENT  # what a machine without power looks like
    ambient_c: float = 25.0
    boot_s: float = 45.0
    warmup_s: float = 300.0
    speed: float = 1.0
    tick_s: float = 1.0
    market: MarketTruth = field(default_factory=MarketTruth)
    walk: PriceWalk | None = None

    @classmethod
    def in_block(cls, block: int, **changes: Any) -> Self:
        """A farm whose every address lies in 127.`block`/16, so that several can run side by side."""
        thirds = {"base": 0, "replay_base": 240, "pdu_base": 250, "feed_host": 254}
        places: dict[str, Any] = {name: f"127.{block}.{third}.1" for name, third in thirds.items()}
        return cls(**places, **changes)

    @property
    def outlets_per_pdu(self) -> int:
        if self.outlets or not self.pdus:
            return self.outlets
        return math.ceil(self.machines / self.machines_per_outlet / self.pdus)

    @cached_property
    def endpoints(self) -> list[tuple[str, int]]:
        if self.layout == "addresses":
            return [(address, MINER_PORT) for address in addresses(self.base, self.machines)]
        hosts = addresses(self.base, math.ceil(self.machines / PORTS_PER_ADDRESS))
        return [(hosts[i // PORTS_PER_ADDRESS], FIRST_PORT + i % PORTS_PER_ADDRESS) for i in range(self.machines)]

    @cached_property
    def machine_ids(self) -> list[str]:
        return [f"m{row + 1:05d}" for row in range(self.machines)]

    @cached_property
    def machine_addresses(self) -> list[str]:
        """As the agent names them: the port only where it is not the usual one."""
        return [host if port == MINER_PORT else f"{host}:{port}" for host, port in self.endpoints]

    @cached_property
    def pdu_targets(self) -> list[str]:
        return [host if self.pdu_port == 161 else f"{host}:{self.pdu_port}" for host in self.pdu_hosts]

    @cached_property
    def pdu_hosts(self) -> list[str]:
        return addresses(self.pdu_base, self.pdus + len(self.pdu_replay))

    def socket_of(self, row: int) -> tuple[int, int] | None:
        """(PDU, socket), both from 0, that a machine hangs on; None for one on no outlet."""
        outlet, per_pdu = row // self.machines_per_outlet, self.outlets_per_pdu
        return divmod(outlet, per_pdu) if per_pdu and outlet // per_pdu < self.pdus else None

    def faces(self) -> Iterator[Face]:
        """Of each PDU in turn: the machines fill its outlets in row order."""
        per_pdu, share = self.outlets_per_pdu, self.machines_per_outlet
        rows = range(self.machines)
        for i in range(self.pdus):
            starts = range(i * per_pdu * share, (i + 1) * per_pdu * share, share)
            outlets = tuple(tuple(rows[start : start + share]) for start in starts)
            names = tuple(self._outlet_name(outlet) for outlet in outlets)
            yield Face(f"pdu-{i + 1:04d}", f"HIL{i + 1:09d}", outlets, names)

    def _outlet_name(self, rows: tuple[int, ...]) -> str | None:
        if len(rows) != 1 or self.outlet_names == "default":
            return None
        return machine_mac(rows[0]) if self.outlet_names == "mac" else self.machine_ids[rows[0]]


class Farm:
    """A running farm. All methods are for the loop that runs it; other processes use `hil.control`.

    Errors of making one: CaptureError for a folder in `replay` that is no recording; OSError and ValueError for a walk
    in `pdu_walks` or `pdu_replay` that cannot be served.
    """

    def __init__(self, spec: FarmSpec, clock: Callable[[], float] = time.time) -> None:
        self.spec = spec
        self._clock = clock
        build = assemble(spec.machines, spec.mix, spec.seed, spec.boot_s, spec.warmup_s, spec.firmware_ratio)
        orders = Orders.all_on(spec.machines)
        state = settle(build, orders, spec.ambient_c, spec.seed)
        self.scene = Scene(build, orders, state, clock(), spec.seed)
        self.ambient_c = spec.ambient_c
        self.walk = spec.walk
        self.ids = spec.machine_ids
        self._row_of_id = {machine: row for row, machine in enumerate(self.ids)}
        self._rng = np.random.default_rng((spec.seed, 4))
        first_faults = _dealt(spec.faults, spec.machines, self._rng)
        self.miners = MinerServers(self.scene, spec.endpoints, first_faults, spec.off)
        self.meters = _meters(spec, self.scene)
        self.pdus = [
            SnmpAgent(tree, host, spec.pdu_port, spec.community)
            for tree, host in zip(chain(self.meters, map(load_snmprec, spec.pdu_replay)), spec.pdu_hosts, strict=True)
        ]
        for pdu, kind in zip(self.pdus, _dealt(spec.pdu_faults, len(self.pdus), self._rng), strict=True):
            pdu.fault = kind
        recordings = [load(folder) for folder in spec.replay]
        self.recorded = ReplayedMachines(recordings, addresses(spec.replay_base, len(recordings)))
        self.feeds = {
            name: FeedServer(name, spec.feed_host, spec.feed_port and spec.feed_port + i, clock)
            for i, name in enumerate(FEEDS)
        }
        self._ticker: asyncio.Task[None] | None = None

    def outlet_of(self, row: int) -> tuple[str, str] | None:
        """(PDU, meter) that a machine hangs on, as the inventory names them; None for one on no outlet.

        The meter is an outlet, and of a PDU without such ones what it has: a bank, the whole unit.
        """
        if (place := self.spec.socket_of(row)) is None:
            return None
        pdu, socket = place
        return self.spec.pdu_targets[pdu], self.meters[pdu].meter(socket)

    # -- life

    async def __aenter__(self) -> Self:
        raise_descriptor_limit()
        try:
            await self.miners.sync()
            await self.recorded.open()
            for pdu in self.pdus:
                await pdu.open()
            for feed in self.feeds.values():
                feed.market = self.spec.market
                await feed.show(Misbehaviour.NONE)
        except BaseException:
            await self._close()
            raise
        self._ticker = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        await self._close()

    async def _close(self) -> None:
        await self.miners.aclose()
        await self.recorded.aclose()
        for pdu in self.pdus:
            pdu.close()
        for feed in self.feeds.values():
            await feed.aclose()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(self.spec.tick_s)
            now = loop.time()
            await self.step((now - before) * self.spec.speed)
            before = now

    async def step(self, dt_s: float) -> None:
        """Physics `dt_s` further at once; tests use it to skip a boot or a warm-up."""
        self.scene.tick(dt_s, self._clock(), self.ambient_c)
        if self.walk is not None:
            self.set_market(btc_usd=self.walk.step(self.market.btc_usd, dt_s, self._rng))
        await self.miners.sync()

    # -- orders

    def rows(self, machines: Iterable[str]) -> list[int]:
        """Rows of machine ids. Errors: KeyError for an id that is not of this farm."""
        return [self._row_of_id[machine] for machine in machines]

    async def outlet(self, machines: Iterable[str], on: bool) -> None:
        """Switches the outlets of these machines; the servers follow at once, the physics at the next tick."""
        self.scene.orders.outlet_on[self.rows(machines)] = on
        await self.miners.sync()

    def awake(self, machines: Iterable[str], awake: bool) -> None:
        """Wakes these machines or sends them to sleep: they draw standby power and still answer."""
        self.scene.orders.awake[self.rows(machines)] = awake

    async def fault(self, machines: Iterable[str], kind: Misbehaviour) -> None:
        for row in self.rows(machines):
            self.miners.faults[row] = kind
        await self.miners.sync()

    async def fault_share(self, share: float, kind: Misbehaviour) -> list[str]:
        """Gives this share of all machines the fault and heals the others; returns who has it."""
        chosen = np.random.default_rng((self.spec.seed, 5)).permutation(self.spec.machines)
        ill = {int(row) for row in chosen[: round(share * self.spec.machines)]}
        for row in range(self.spec.machines):
            self.miners.faults[row] = kind if row in ill else Misbehaviour.NONE
        await self.miners.sync()
        return [self.ids[row] for row in sorted(ill)]

    def fault_pdus(self, kind: PduFault, targets: Sequence[str] | None = None) -> None:
        """All PDUs, or those named by their targets; "unplugged" pulls the meter's plug, "none" puts it back."""
        for target, pdu in zip(self.spec.pdu_targets, self.pdus, strict=True):
            if targets is None or target in targets:
                pdu.fault = kind

    def bend(self, machines: Iterable[str], ratio: float) -> None:
        """Lets the firmware of these machines report `ratio` times their true watts, where it reports any."""
        self.scene.bend(self.rows(machines), ratio)

    async def fault_feeds(self, kind: Misbehaviour, names: Sequence[str] | None = None) -> None:
        for name, feed in self.feeds.items():
            if names is None or name in names:
                await feed.show(kind)

    async def kill_feeds(self) -> None:
        await self.fault_feeds(Misbehaviour.REFUSE)

    @property
    def market(self) -> MarketTruth:
        return next(iter(self.feeds.values())).market

    def set_market(self, **changes: float) -> None:
        """New market numbers on all feeds, by the names of MarketTruth."""
        for feed in self.feeds.values():
            feed.move(**changes)

    def set_price(self, btc_usd: float) -> None:
        """The price on all feeds; a walk goes on around it."""
        self.set_market(btc_usd=btc_usd)
        if self.walk is not None:
            self.walk = replace(self.walk, centre_usd=btc_usd)

    # -- truth

    def truth(self) -> dict[str, list[Any]]:
        """What is so, one list per column in row order: what an agent should find, and what it cannot know.

        `wall_w` is what the outlet's meter sees, `reported_w` what the firmware would say, and `firmware_ratio` how far
        that is off; H/s, W, J, seconds. Machines with the same `pdu` and `outlet` share its meter.
        """
        state, orders = self.scene.view.state, self.scene.orders
        places = [self.outlet_of(row) for row in range(self.spec.machines)]
        return {
            "id": self.ids,
            "address": self.spec.machine_addresses,
            "model": [model.name for model in self.scene.build.models],
            "pdu": [place and place[0] for place in places],
            "outlet": [place and place[1] for place in places],
            "outlet_on": orders.outlet_on.tolist(),
            "awake": orders.awake.tolist(),
            "online": state.is_online.tolist(),
            "hashrate_hs": state.hashrate_hs.tolist(),
            "wall_w": state.wall_w.tolist(),
            "reported_w": (state.wall_w * self.scene.build.firmware_ratio).tolist(),
            "firmware_ratio": self.scene.build.firmware_ratio.tolist(),
            "energy_j": state.energy_j.tolist(),
            "board_c": state.board_c.tolist(),
            "uptime_s": state.api_s.tolist(),
            "fault": [str(fault) for fault in self.miners.faults],
        }

    def traffic(self) -> dict[str, int]:
        """What the farm has seen of its clients."""
        seen = self.miners.traffic
        return {
            "connections": seen.connections,
            "replies": seen.replies,
            "open": seen.open,
            "peak_per_machine": seen.peak_per_row,
            "snmp_requests": sum(pdu.requests for pdu in self.pdus),
            "feed_requests": sum(feed.requests for feed in self.feeds.values()),
        }

    # -- the operator's files

    def inventory_csv(self) -> str:
        """machines.csv as a careful operator would write it; machines on one meter share it by their nameplates.

        Only WhatsMiners say their MAC on the wire; the others' is known to one who has named the outlets by them.
        """
        is_named_by_mac = self.spec.outlet_names == "mac"
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("id", "mac", "address", "location", "feeder", "model", "pdu", "outlet", "share", "never_stop"))
        places = [self.outlet_of(row) if self.spec.inventory_outlets else None for row in range(self.spec.machines)]
        sharers = Counter(places)
        for row, machine in enumerate(self.ids):
            model = self.scene.build.models[row]
            pdu, outlet = places[row] or ("", "")
            writer.writerow(
                (
                    machine,
                    machine_mac(row) if model.dialect.startswith("whatsminer") or is_named_by_mac else "",
                    self.spec.machine_addresses[row],
                    f"hall1/rack{row // 40 + 1}",
                    f"feeder{row // 160 + 1}",
                    model.name,
                    pdu,
                    outlet,
                    "nameplate" if outlet and sharers[places[row]] > 1 else "",
                    "yes" if row % 97 == 96 else "no",
                )
            )
        return text.getvalue()

    def config_toml(
        self,
        name: str = "virtual",
        inventory: str | None = "machines.csv",
        interval_s: float = 30.0,
        usd_per_kwh: float = 0.05,
        listen: str = "127.0.0.1:9851",
        mqtt_url: str | None = None,
        journal: str = "hashwatt.db",
        feeds: Sequence[str] = tuple(FEEDS),
        poll: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        economics: Mapping[str, Any] | None = None,
    ) -> str:
        """A complete agent configuration for this farm; the feeds must be running, for their ports."""
        sections: list[tuple[str, dict[str, Any]]] = [
            ("[site]", {"name": name, **({"inventory": inventory} if inventory else {})}),
            ("[poll]", {"interval_s": interval_s, **(poll or {})}),
            ("[[miners]]", {"targets": _ranges(self.spec.machine_addresses)} if self.spec.machines else {}),
        ]
        if self.recorded.served:
            login = {"user": LOGIN.user, "password_file": RECORDED_LOGIN_FILE}
            sections.append(("[credentials.recorded]", login))
            sections.append(("[[miners]]", {"targets": _ranges(self.recorded.hosts), "credential": "recorded"}))
        if self.pdus:
            snmp = {"version": "2c", "community": self.spec.community}
            sections.append(("[[pdus]]", {"targets": self.spec.pdu_targets, "profile": "auto", "snmp": snmp}))
        sections += [
            ("[market]", {feed: {"url": self.feeds[feed].url} for feed in feeds}),
            ("[economics]", {"pool_fee": 0.01, "overhead": 0.05, **(economics or {})}),
            ("[pools]", {"expected": [POOL_HOST, *self.recorded.pools]}),
            ("[tariff]", {"usd_per_kwh": usd_per_kwh}),
            ("[policy]", dict(policy or {})),
            ("[prometheus]", {"listen": listen}),
        ]
        if mqtt_url:
            sections.append(("[mqtt]", {"url": mqtt_url}))
        sections.append(("[journal]", {"path": journal}))
        return "\n".join(
            f"{header}\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
            for header, table in sections
            if table
        )

    def write_site(self, directory: Path, **options: Any) -> Path:
        """Writes machines.csv and hashwatt.toml (`options` of `config_toml`) into `directory`; returns the latter."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "machines.csv").write_text(self.inventory_csv(), encoding="utf-8")
        if self.recorded.served:
            secret = directory / RECORDED_LOGIN_FILE
            secret.touch(mode=0o600)
            secret.write_text(LOGIN.password, encoding="utf-8")
        path = directory / "hashwatt.toml"
        path.write_text(self.config_toml(**options), encoding="utf-8")
        return path

    # -- the control socket

    async def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """One order of the control socket, `{"do": name, ...}`; "machines" is a list of ids or absent for all."""
        machines = order.get("machines") or self.ids
        match order.get("do"):
            case "ping":
                return {"machines": self.spec.machines, "pdus": self.spec.pdus}
            case "truth":
                return {"truth": self.truth()}
            case "traffic":
                return {"traffic": self.traffic()}
            case "price":
                self.set_price(float(order["usd"]))
            case "market":
                self.set_market(**{k: v for k, v in order.items() if k != "do"})
            case "outlet":
                await self.outlet(machines, bool(order["on"]))
            case "awake":
                self.awake(machines, bool(order["awake"]))
            case "fault":
                await self.fault(machines, Misbehaviour(order["kind"]))
            case "fault_share":
                return {"machines": await self.fault_share(float(order["share"]), Misbehaviour(order["kind"]))}
            case "fault_pdus":
                self.fault_pdus(pdu_fault(order["kind"]), order.get("pdus"))
            case "firmware":
                self.bend(machines, float(order["ratio"]))
            case "fault_feeds":
                await self.fault_feeds(Misbehaviour(order["kind"]), order.get("feeds"))
            case "ambient":
                self.ambient_c = float(order["celsius"])
            case "step":
                await self.step(float(order["seconds"]))
            case "write_site":
                path = self.write_site(Path(order["directory"]), **order.get("options", {}))
                return {"config": str(path)}
            case other:
                raise ValueError(f"unknown order {other!r}")
        return {}


def _meters(spec: FarmSpec, scene: Scene) -> list[Rpdu2 | Following]:
    """Errors: OSError, and ValueError with the file for a walk that cannot follow."""
    meters: list[Rpdu2 | Following] = []
    for face, path in zip_longest(spec.faces(), spec.pdu_walks):
        if face is None:
            raise ValueError(f"{len(spec.pdu_walks)} walks for {spec.pdus} PDUs")
        try:
            meters.append(Rpdu2(scene, face) if path is None else Following(load_snmprec(path), scene, face))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return meters


def _dealt(shares: Mapping[Any, float], n: int, rng: np.random.Generator) -> list[Any]:
    """`n` faults, each kind for its share of the places, which are chosen by chance."""
    faults: list[Any] = [Misbehaviour.NONE] * n
    places = iter(rng.permutation(n).tolist())
    for kind, share in shares.items():
        for place, _ in zip(places, range(round(share * n)), strict=False):
            faults[place] = kind
    return faults


def _ranges(hosts: Sequence[str]) -> list[str]:
    """The same addresses as targets: neighbours in one /24 become `127.20.0.1-127.20.0.254`."""
    targets: list[list[str]] = []
    for host in hosts:
        prefix, _, last = host.rpartition(".")
        if targets and last.isdigit() and targets[-1][-1] == f"{prefix}.{int(last) - 1}":
            targets[-1][1:] = [host]
        else:
            targets.append([host])
    return ["-".join(span) for span in targets]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value)


# ---------------------------------------------------------------------------------------------------------------------
# python -m hil.farm


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        spec = _spec(args)
    except (KeyError, ValueError) as error:
        sys.stderr.write(f"hil.farm: {error}\n")
        return 2
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(spec, args.control, args.write, args.interval_s))
        except ValueError as error:
            sys.stderr.write(f"hil.farm: {error}\n")
            return 2
        except OSError as error:
            sys.stderr.write(f"hil.farm: cannot start: {error}\n")
            return 1
        except KeyboardInterrupt:
            return 0


async def _serve(spec: FarmSpec, control_port: int | None, directory: Path | None, interval_s: float) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Farm(spec) as farm:
        ready: dict[str, Any] = {"feeds": {name: feed.url for name, feed in farm.feeds.items()}}
        if spec.replay:
            ready["recorded"] = {machine.host: str(machine.capture.folder) for machine in farm.recorded.served}
            ready["left_out"] = farm.recorded.left_out
        if farm.recorded.left_out:
            names = ", ".join(farm.recorded.left_out)
            sys.stderr.write(f"hil.farm: left out, for they need ports that only root may open: {names}\n")
        if directory is not None:
            ready["config"] = str(farm.write_site(directory, interval_s=interval_s))
        control: ControlServer | None = None
        if control_port is not None:
            control = ControlServer(farm.obey, stopped.set)
            ready["control"] = await control.open(control_port)
        print(json.dumps({"ready": True, "machines": spec.machines, "pdus": spec.pdus, **ready}), flush=True)
        await stopped.wait()
        if control is not None:
            await control.aclose()
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = FarmSpec()
    parser = argparse.ArgumentParser(prog="python -m hil.farm", description="A virtual mining farm on 127/8.")
    parser.add_argument("--machines", type=int, default=plain.machines)
    parser.add_argument("--pdus", type=int, default=plain.pdus)
    parser.add_argument("--outlets", type=int, default=0, help="per PDU; 0 = as many as the machines need")
    parser.add_argument("--machines-per-outlet", type=int, default=1, help="that share one meter")
    parser.add_argument("--outlet-names", choices=OUTLET_NAMES, default=plain.outlet_names)
    parser.add_argument("--no-inventory-outlets", action="store_true", help="machines.csv says nothing about outlets")
    parser.add_argument(
        "--pdu-walk", action="append", type=Path, default=[], metavar="FILE", help="a PDU of this .snmprec's make"
    )
    parser.add_argument(
        "--pdu-replay", action="append", type=Path, default=[], metavar="FILE", help="one more PDU, as recorded"
    )
    parser.add_argument("--mix", action="append", metavar="MODEL=SHARE", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--layout", choices=("addresses", "ports"), default=plain.layout)
    parser.add_argument("--block", type=int, help="put everything into 127.BLOCK/16")
    parser.add_argument("--pdu-port", type=int, default=plain.pdu_port)
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.add_argument("--speed", type=float, default=plain.speed, help="seconds of physics per second")
    parser.add_argument("--boot-s", type=float, default=plain.boot_s)
    parser.add_argument("--warmup-s", type=float, default=plain.warmup_s)
    parser.add_argument("--fault", action="append", metavar="KIND=SHARE", help=f"of {', '.join(Misbehaviour)}")
    parser.add_argument(
        "--pdu-fault", action="append", metavar="KIND=SHARE", help=f"the same, or of {', '.join(PduMisbehaviour)}"
    )
    parser.add_argument(
        "--firmware-ratio", action="append", metavar="MODEL=RATIO", help="what it reports over what it draws"
    )
    parser.add_argument("--off", choices=("silent", "refuse"), default="silent", help="how a dark machine looks")
    parser.add_argument("--price", type=float, default=plain.market.btc_usd, help="USD per BTC")
    parser.add_argument("--walk", type=float, default=0.0, metavar="RATIO", help="let the price wander by this much")
    parser.add_argument("--relax-s", type=float, default=180.0, help="how long a wander lasts")
    parser.add_argument(
        "--replay", nargs="+", type=Path, default=[], metavar="DIR", help="add machines from their recorded replies"
    )
    parser.add_argument("--control", type=int, metavar="PORT", help="control socket on 127.0.0.1; 0 = any free port")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write machines.csv and hashwatt.toml there")
    parser.add_argument("--interval-s", type=float, default=30.0, help="poll interval of that hashwatt.toml")
    return parser


def _spec(args: argparse.Namespace) -> FarmSpec:
    """Errors: ValueError or KeyError, in words for the caller."""
    mix = _shares(args.mix) if args.mix else dict(DEFAULT_MIX)
    if unknown := (set(mix) | set(_shares(args.firmware_ratio or []))) - set(MODELS):
        raise ValueError(f"unknown model {sorted(unknown)[0]!r}; known: {', '.join(MODELS)}")
    options: dict[str, Any] = {
        "machines": args.machines,
        "mix": mix,
        "pdus": args.pdus,
        "outlets": args.outlets,
        "machines_per_outlet": args.machines_per_outlet,
        "outlet_names": args.outlet_names,
        "inventory_outlets": not args.no_inventory_outlets,
        "layout": args.layout,
        "pdu_port": args.pdu_port,
        "seed": args.seed,
        "speed": args.speed,
        "boot_s": args.boot_s,
        "warmup_s": args.warmup_s,
        "off": Misbehaviour(args.off),
        "faults": {Misbehaviour(kind): share for kind, share in _shares(args.fault or []).items()},
        "pdu_faults": {pdu_fault(kind): share for kind, share in _shares(args.pdu_fault or []).items()},
        "firmware_ratio": _shares(args.firmware_ratio or []),
        "market": MarketTruth(btc_usd=args.price),
        "replay": tuple(args.replay),
        "pdu_walks": tuple(args.pdu_walk),
        "pdu_replay": tuple(args.pdu_replay),
        "walk": PriceWalk(args.price, args.walk, args.relax_s) if args.walk else None,
    }
    return FarmSpec(**options) if args.block is None else FarmSpec.in_block(args.block, **options)


def _shares(texts: Iterable[str]) -> dict[str, float]:
    pairs = (text.rpartition("=") for text in texts)
    return {name: float(share) for name, _, share in pairs}


if __name__ == "__main__":
    sys.exit(main())
