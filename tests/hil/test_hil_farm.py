"""The whole farm: one truth on every wire, orders that take hold, files that the agent accepts, only 127/8."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.plan import assignments_of, site_of
from collectors.catalogue import open_device
from collectors.feeds.catalogue import open_feed
from fleet.market import MarketInput
from fleet.outlets import Claim
from fleet.ports import PollError
from fleet.readings import MinerReading, RowKind
from hil.control import ControlError, FarmProcess
from hil.farm import Farm, FarmSpec, _ranges
from hil.faults import Misbehaviour
from hil.feeds import FEEDS, MarketTruth, PriceWalk
from hil.loopback import addresses, free_block, tcp_listener

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 30.0
MIX = {"Antminer S19j Pro": 0.5, "WhatsMiner M50": 0.5}


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    async with Farm(FarmSpec.in_block(free_block(), machines=12, pdus=2, mix=MIX, tick_s=3600.0)) as farm:
        yield farm


async def summary_of(farm: Farm, row: int) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection(*farm.spec.endpoints[row])
    writer.write(b'{"command":"summary"}')
    async with asyncio.timeout(PATIENCE_S):
        reply = await reader.read()
    writer.close()
    summary: dict[str, Any] = json.loads(reply.rstrip(b"\0\n"))["SUMMARY"][0]
    return summary


def outlet_w(farm: Farm, row: int) -> int:
    pdu = farm.pdus[row // farm.spec.outlets_per_pdu].tree
    i = list(pdu.oids).index((1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 9, 4, 3, 1, 7, row % farm.spec.outlets_per_pdu + 1))
    return int.from_bytes(pdu.value(i)[2:], "big")


async def test_machine_outlet_and_truth_tell_the_same_story(farm: Farm) -> None:
    truth = farm.truth()
    for row in range(12):
        assert outlet_w(farm, row) == round(truth["wall_w"][row])
        summary = await summary_of(farm, row)
        if truth["model"][row].startswith("WhatsMiner"):
            assert summary["MHS 5m"] * 1e6 == pytest.approx(truth["hashrate_hs"][row], rel=0.05)
            assert summary["Power"] == round(truth["reported_w"][row])
        else:
            assert summary["GHS 30m"] * 1e9 == pytest.approx(truth["hashrate_hs"][row], rel=0.05)


async def test_an_outlet_order_darkens_machine_and_meter_and_gives_both_back(farm: Farm) -> None:
    machine = farm.ids[7]
    await farm.outlet([machine], on=False)
    await farm.step(1.0)
    assert outlet_w(farm, 7) == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.open_connection(*farm.spec.endpoints[7]), 0.3)
    await farm.outlet([machine], on=True)
    await farm.step(1.0)
    await farm.step(100.0)
    assert (await summary_of(farm, 7))["Elapsed"] < 100
    assert outlet_w(farm, 7) > 100


async def test_orders_for_machines_that_are_not_there_change_nothing(farm: Farm) -> None:
    with pytest.raises(KeyError):
        await farm.outlet(["m99999"], on=False)
    assert all(farm.truth()["outlet_on"])


async def test_a_fault_share_is_exact_and_can_be_moved(farm: Farm) -> None:
    ill = await farm.fault_share(0.25, Misbehaviour.HANG)
    assert len(ill) == 3
    assert farm.truth()["fault"].count("hang") == 3
    assert await farm.fault_share(0.0, Misbehaviour.HANG) == []
    assert set(farm.truth()["fault"]) == {"none"}


async def test_faults_named_in_the_spec_are_there_from_the_start() -> None:
    spec = FarmSpec.in_block(
        free_block(), machines=20, pdus=0, faults={Misbehaviour.HANG: 0.1, Misbehaviour.REFUSE: 0.05}
    )
    async with Farm(spec) as farm:
        faults = farm.truth()["fault"]
    assert (faults.count("hang"), faults.count("refuse")) == (2, 1)


@pytest.mark.parametrize("name", FEEDS)
async def test_our_own_collectors_read_the_truth_from_every_feed(farm: Farm, name: str) -> None:
    truth = MarketTruth(btc_usd=71_234.0, difficulty=126.3e12, height=940_001, block_fees_btc=0.031)
    farm.set_market(
        btc_usd=truth.btc_usd,
        difficulty=truth.difficulty,
        height=truth.height,
        block_fees_btc=truth.block_fees_btc,
    )
    feed = open_feed(name, {"base_url": farm.feeds[name].url}, 10.0, time.time)
    try:
        quotes = {quote.input: quote.value for quote in await feed.read()}
    finally:
        await feed.aclose()
    assert quotes[MarketInput.BTC_USD] == pytest.approx(truth.btc_usd)
    if name == "mempool":
        assert quotes[MarketInput.DIFFICULTY] == truth.difficulty
        assert quotes[MarketInput.HEIGHT] == truth.height
        assert quotes[MarketInput.BLOCK_FEES_BTC] == pytest.approx(truth.block_fees_btc, abs=1e-7)


@pytest.mark.parametrize(
    "kind", [Misbehaviour.REFUSE, Misbehaviour.HANG, Misbehaviour.MALFORMED, Misbehaviour.OVERSIZE]
)
async def test_a_feed_can_be_broken_and_healed(farm: Farm, kind: Misbehaviour) -> None:
    feed = open_feed("coinbase", {"base_url": farm.feeds["coinbase"].url}, 1.0, time.time)
    try:
        assert await feed.read()
        await farm.fault_feeds(kind)
        with pytest.raises(PollError):
            await feed.read()
        await farm.fault_feeds(Misbehaviour.NONE)
        patient = open_feed("coinbase", {"base_url": farm.feeds["coinbase"].url}, PATIENCE_S, time.time)
        assert await patient.read()
        await patient.aclose()
    finally:
        await feed.aclose()


def test_a_price_walk_stays_near_its_centre_and_moves() -> None:
    import numpy as np

    walk, rng = PriceWalk(70_000.0, 0.03, 120.0), np.random.default_rng(3)
    price, path = 70_000.0, []
    for _ in range(20_000):
        price = walk.step(price, 10.0, rng)
        path.append(np.log(price / 70_000.0))
    assert np.mean(path) == pytest.approx(0.0, abs=0.003)
    assert np.std(path) == pytest.approx(0.03, rel=0.1)


async def test_the_agent_accepts_the_files_and_finds_every_machine_and_pdu(farm: Farm, tmp_path: Path) -> None:
    path = farm.write_site(tmp_path / "run", interval_s=5.0, policy={"min_up_s": 60.0}, poll={"tick_s": 2.0})
    config = load(path)
    jobs = {job.key for assignment in assignments_of(config, site_of(config, "model,hashrate_th,power_w\n"))
            for job in assignment.jobs}  # fmt: skip
    assert set(farm.spec.machine_addresses) | set(farm.spec.pdu_targets) | set(FEEDS) == jobs
    site = site_of(config, "model,hashrate_th,power_w\n")
    for row in range(12):
        assert site.machines[row].id == farm.ids[row]
        pdu, outlet = farm.outlet_of(row) or ("", "")
        assert Claim(row, (RowKind.OUTLET, outlet)) in site.claims[pdu]


def test_neighbours_become_ranges_and_ports_stay_single() -> None:
    assert _ranges(["127.20.0.253", "127.20.0.254", "127.20.1.1"]) == ["127.20.0.253-127.20.0.254", "127.20.1.1"]
    assert _ranges(["127.1.1.1:20000", "127.1.1.1:20001"]) == ["127.1.1.1:20000", "127.1.1.1:20001"]


async def test_one_address_can_hold_many_machines_on_ports() -> None:
    async with Farm(FarmSpec.in_block(free_block(), machines=5, pdus=1, layout="ports")) as farm:
        host = farm.spec.endpoints[0][0]
        assert farm.spec.machine_addresses == [f"{host}:{20000 + i}" for i in range(5)]
        assert (await summary_of(farm, 4))["Elapsed"] > 0


async def test_machines_beyond_the_outlets_hang_on_none() -> None:
    farm = Farm(FarmSpec(machines=10, pdus=1, outlets=8))
    assert farm.outlet_of(7) == ("127.30.0.1:1161", "8")
    assert farm.outlet_of(8) is None
    assert farm.truth()["pdu"][9] is None


# --- as a process of its own


def listeners_of(pid: int) -> list[str]:
    """Addresses of every socket that this process listens on, from the kernel's own tables."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.update(re.findall(r"socket:\[(\d+)\]", str(entry.readlink())))
        except OSError:
            continue
    found = []
    for table, states in (("tcp", {"0A"}), ("tcp6", {"0A"}), ("udp", {"07"}), ("udp6", {"07"})):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] in states and fields[9] in inodes:
                found.append(fields[1].split(":")[0])
    return found


def test_every_listener_of_a_farm_process_is_inside_127() -> None:
    with FarmProcess("--machines", "30", "--pdus", "3", "--block", str(free_block()), "--fault", "silent=0.1") as farm:
        listeners = listeners_of(farm.process.pid)
    assert len(listeners) == 30 + 3 + 3 + 1  # machines, PDUs, feeds, control
    # the kernel prints addresses in network order as little-endian hex, so 127.x.y.z ends in 7F
    assert all(len(address) == 8 and address.endswith("7F") for address in listeners)
    assert farm.process.returncode == 0


def test_a_farm_process_obeys_orders_and_names_the_bad_ones() -> None:
    with FarmProcess("--machines", "10", "--pdus", "1", "--block", str(free_block()), "--price", "60000") as farm:
        control = farm.control
        assert control.order("ping") == {"machines": 10, "pdus": 1}
        control.order("outlet", machines=["m00002"], on=False)
        control.order("step", seconds=1)
        truth = control.truth()
        assert truth["wall_w"][1] == 0.0
        assert truth["wall_w"][0] > 0.0
        assert len(control.order("fault_share", share=0.3, kind="hang")["machines"]) == 3
        for do, arguments in (("dance", {}), ("outlet", {"machines": ["x"], "on": True}), ("fault", {"kind": "rust"})):
            with pytest.raises(ControlError):
                control.order(do, **arguments)
        assert control.traffic()["connections"] == 0


@pytest.mark.parametrize(
    "arguments", [("--mix", "Antminer S99=1"), ("--fault", "rust=0.5"), ("--mix", "Antminer S21=lots")]
)
def test_wrong_arguments_are_one_line_and_exit_2(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hil.farm", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_farm_process_ends_quietly_when_asked(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hil.farm", "--machines", "5", "--pdus", "1", "--block", str(free_block())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["ready"]
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


# --- recorded machines in the farm

CAPTURES = ROOT / "tests" / "captures" / "miners"


async def test_a_folder_is_a_machine_of_the_farm_and_of_its_configuration() -> None:
    folders = [CAPTURES / "luxos-2025.4", CAPTURES / "sealminer-stock-2025"]
    async with Farm(FarmSpec.in_block(free_block(), machines=2, pdus=0, tick_s=3600.0, replay=folders)) as farm:
        first, second = farm.recorded.hosts
        reading = await open_device("auto", second, 4028, 10.0).read()
        config = tomllib.loads(farm.config_toml())
    assert isinstance(reading, MinerReading)
    assert (reading.make, reading.mac) == ("SEALMINER", "50d4484b8678")
    assert config["miners"][1] == {"targets": [f"{first}-{second}"], "credential": "recorded"}
    assert "ca.stratum.braiins.com" in config["pools"]["expected"]  # where the LuxOS machine says that it works


async def test_recorded_machines_can_stand_alone_and_the_agent_takes_their_configuration(tmp_path: Path) -> None:
    spec = FarmSpec.in_block(free_block(), machines=0, pdus=0, replay=[CAPTURES / "avalon-q-stock"])
    async with Farm(spec) as farm:
        config = load(farm.write_site(tmp_path))
        assert config.warnings == ()
        [miners] = [a for a in assignments_of(config, site_of(config, "")) if a.name == "miners"]
        assert [(job.host, (job.options or {})["user"]) for job in miners.jobs] == [(farm.recorded.hosts[0], "root")]


async def test_a_machine_on_a_port_that_only_root_may_open_is_left_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_anybody(host: str, port: int, backlog: int = 128) -> socket.socket:
        if 0 < port < 1024:
            raise PermissionError(13, "Permission denied")
        return tcp_listener(host, port, backlog)

    monkeypatch.setattr("hil.replay.tcp_listener", as_anybody)
    folders = [CAPTURES / "braiins-25.05-graphql", CAPTURES / "luxos-2025.4"]  # ports 4028 and 80; 4028
    async with Farm(FarmSpec.in_block(free_block(), machines=0, pdus=0, replay=folders)) as farm:
        assert farm.recorded.left_out == ["braiins-25.05-graphql"]
        assert [machine.capture.folder.name for machine in farm.recorded.served] == ["luxos-2025.4"]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(addresses(farm.spec.replay_base, 1)[0], 4028)


def test_a_folder_that_is_no_recording_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hil.farm", "--machines", "0", "--pdus", "0", "--replay", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path) in done.stderr
