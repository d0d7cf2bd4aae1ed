"""Emulated machines differ from recorded ones in nothing but their numbers, and misbehave on the wire as announced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hil.faults import OVERSIZE_BYTES, Misbehaviour
from hil.loopback import addresses, free_block, require_loopback
from hil.miners import MinerServers
from hil.physics import MODELS, Orders, assemble, settle
from hil.replies import compile_reply, render
from hil.scene import Scene

RECORDED = Path(__file__).parent.parent / "captures" / "miners"
NOW_S = 1_761_061_371.0
PATIENCE_S = 20.0


def make_scene(*models: str) -> Scene:
    """One machine of each named model, or of each there is; the rows come in no particular order."""
    chosen = models or tuple(MODELS)
    build, orders = assemble(len(chosen), dict.fromkeys(chosen, 1.0)), Orders.all_on(len(chosen))
    return Scene(build, orders, settle(build, orders, 25.0), NOW_S)


def row_of(scene: Scene, dialect: str) -> int:
    return next(row for row, model in enumerate(scene.build.models) if model.dialect == dialect)


def shape(value: object) -> object:
    """Names and types without the values; int and float are told apart, because parsers trip over that."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


RECORDINGS = [
    ("antminer", "antminer-stock-2022", command) for command in ("version", "summary", "stats", "pools", "devs")
] + [
    ("whatsminer-v1", "whatsminer-v1", command)
    for command in ("summary", "devs", "pools", "status", "get_version", "get_psu")
]


@pytest.mark.parametrize(("dialect", "folder", "command"), RECORDINGS)
def test_replies_have_the_names_and_types_of_the_recorded_ones(dialect: str, folder: str, command: str) -> None:
    recorded = json.loads((RECORDED / folder / f"{command}.json").read_text())
    scene = make_scene("Antminer S19 Pro", "WhatsMiner M30S++")
    assert shape(json.loads(render(scene, row_of(scene, dialect), command))) == shape(recorded)


def test_antminer_numbers_are_those_of_the_physics() -> None:
    scene = make_scene("Antminer S19 Pro")
    scene.tick(5.0, NOW_S, 25.0)
    state = scene.view.state
    [summary] = json.loads(render(scene, 0, "summary"))["SUMMARY"]
    identity, stats = json.loads(render(scene, 0, "stats"))["STATS"]
    [pool, _, _] = json.loads(render(scene, 0, "pools"))["POOLS"]

    assert summary["GHS 30m"] == stats["rate_30m"] == pytest.approx(state.rates_hs["30m"][0] / 1e9, abs=0.01)
    assert summary["GHS av"] == pytest.approx(state.hashes[0] / state.api_s[0] / 1e9, abs=0.01)
    assert sum(float(stats[f"chain_rate{i}"]) for i in (1, 2, 3)) == pytest.approx(summary["GHS 5s"], rel=1e-3)
    assert identity["Type"] == "Antminer S19 Pro"
    assert stats["total_rateideal"] == 110_000.0
    assert [int(t) for t in stats["temp_pcb1"].split("-")][-1] == pytest.approx(state.board_c[0], abs=1)
    # The check that unmasks a frozen display: accepted difficulty times 2^32 over time is the hashrate.
    worked_hs = pool["Difficulty Accepted"] * 2**32 / summary["Elapsed"]
    assert worked_hs == pytest.approx(summary["GHS av"] * 1e9, rel=0.01)


def test_whatsminer_reports_watts_that_are_not_those_of_the_wall() -> None:
    scene = make_scene("WhatsMiner M50")
    [summary] = json.loads(render(scene, 0, "summary"))["SUMMARY"]
    ratio = summary["Power"] / scene.view.state.wall_w[0]
    assert 0.05 <= abs(ratio - 1) <= 0.21
    assert summary["HS RT"] == summary["MHS 5m"] == pytest.approx(scene.view.state.rates_hs["5m"][0] / 1e6, abs=0.01)
    boards = json.loads(render(scene, 0, "devs"))["DEVS"]
    assert sum(board["MHS 5m"] for board in boards) == pytest.approx(summary["MHS 5m"], rel=1e-6)


def test_a_sleeping_machine_says_so_in_the_words_of_its_firmware() -> None:
    scene = make_scene("WhatsMiner M50", "WhatsMiner M30S++", "Antminer S19 Pro")
    scene.orders.awake[:] = False
    for _ in range(400):
        scene.tick(1.0, NOW_S, 25.0)
    assert json.loads(render(scene, row_of(scene, "whatsminer-v2"), "status"))["Msg"]["mineroff"] == "true"
    assert json.loads(render(scene, row_of(scene, "whatsminer-v1"), "status"))["Msg"]["btmineroff"] == "true"
    _, stats = json.loads(render(scene, row_of(scene, "antminer"), "stats"))["STATS"]
    assert stats["GHS 5s"] == 0.0
    assert stats["total_rateideal"] == 110_000.0  # as a recorded sleeping S19: the promise stays
    assert stats["fan1"] == 960


def test_joined_commands_are_known_to_whatsminers_only() -> None:
    scene = make_scene("WhatsMiner M50", "Antminer S21")
    joined = json.loads(render(scene, row_of(scene, "whatsminer-v2"), "summary+devs+status"))
    assert joined["summary"][0]["SUMMARY"][0]["Elapsed"] > 0
    assert len(joined["devs"][0]["DEVS"]) == 3
    assert joined["status"][0]["STATUS"] == "E"  # `status` does not join, the others still answer
    refused = json.loads(render(scene, row_of(scene, "antminer"), "summary+pools"))
    assert refused["STATUS"][0]["STATUS"] == "E"
    assert refused["STATUS"][0]["Code"] == 14
    assert "SUMMARY" not in refused


def test_percent_signs_and_nested_slots_survive_compilation() -> None:
    template = compile_reply({"Pool Stale%%": 0.0, "t": "~a:d~-~a:d~", "n": "#x:.1f#", "b": "#flag:s#"})
    assert json.loads(template % {"a": 7, "x": 1.25, "flag": "true"}) == {
        "Pool Stale%%": 0.0,
        "t": "7-7",
        "n": 1.2,
        "b": True,
    }


# --- on the wire


@pytest.fixture
async def servers() -> AsyncIterator[MinerServers]:
    scene = make_scene("Antminer S19 Pro", "WhatsMiner M50")
    servers = MinerServers(scene, [(host, 4028) for host in addresses(f"127.{free_block()}.0.1", 2)])
    await servers.sync()
    yield servers
    await servers.aclose()


async def ask(servers: MinerServers, row: int, request: bytes = b'{"command":"summary"}') -> bytes:
    reader, writer = await asyncio.open_connection(*servers.endpoints[row])
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


async def is_silent_for(waiting: Any, seconds: float = 0.5) -> bool:
    """Nothing happened in this while. It can only err towards silence, so a slow machine breaks no test."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return True
    return False


async def test_one_reply_with_its_terminator_and_the_server_hangs_up(servers: MinerServers) -> None:
    antminer, whatsminer = row_of(servers.scene, "antminer"), row_of(servers.scene, "whatsminer-v2")
    async with asyncio.timeout(PATIENCE_S):
        assert (await ask(servers, antminer)).endswith(b'"id":1}\0')
        assert (await ask(servers, whatsminer)).endswith(b'"id":1}\n')
    assert servers.traffic.replies == 2
    assert servers.traffic.peak_per_row == 1


async def test_a_request_may_come_in_pieces(servers: MinerServers) -> None:
    reader, writer = await asyncio.open_connection(*servers.endpoints[0])
    async with asyncio.timeout(PATIENCE_S):
        for piece in (b'{"comm', b'and":"sum', b'mary"}'):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        assert b'"SUMMARY"' in await reader.read()
    writer.close()


@pytest.mark.parametrize("request_bytes", [b"{nonsense}", b'{"command":"restart"}', b"summary", b'{"cmd":1}'])
async def test_what_the_firmware_does_not_know_is_refused_with_an_error(
    servers: MinerServers, request_bytes: bytes
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        reply = await ask(servers, row_of(servers.scene, "antminer"), request_bytes)
    assert b'"STATUS":"E"' in reply.replace(b" ", b"") or reply.startswith(b"STATUS=E")


@pytest.mark.parametrize("kind", [Misbehaviour.HANG, Misbehaviour.DRIBBLE])
async def test_some_accept_and_never_finish(servers: MinerServers, kind: Misbehaviour) -> None:
    servers.faults[0] = kind
    await servers.sync()
    reader, writer = await asyncio.wait_for(asyncio.open_connection(*servers.endpoints[0]), PATIENCE_S)
    writer.write(b'{"command":"summary"}')
    assert await is_silent_for(reader.read())
    writer.close()


async def test_some_are_silent_at_connect_and_answer_as_soon_as_they_are_healed(servers: MinerServers) -> None:
    servers.faults[0] = Misbehaviour.SILENT
    await servers.sync()
    assert await is_silent_for(asyncio.open_connection(*servers.endpoints[0]))
    servers.faults[0] = Misbehaviour.NONE
    await servers.sync()
    async with asyncio.timeout(PATIENCE_S):
        assert b"SUMMARY" in await ask(servers, 0)


async def test_some_refuse(servers: MinerServers) -> None:
    servers.faults[0] = Misbehaviour.REFUSE
    await servers.sync()
    with pytest.raises(ConnectionRefusedError):
        await ask(servers, 0)


async def test_some_talk_nonsense_or_without_end(servers: MinerServers) -> None:
    servers.faults[:] = [Misbehaviour.MALFORMED, Misbehaviour.OVERSIZE]
    async with asyncio.timeout(PATIENCE_S):
        garbage, flood = await ask(servers, 0), await ask(servers, 1)
    with pytest.raises(ValueError, match=r".*"):
        json.loads(garbage)
    assert len(flood) > OVERSIZE_BYTES


async def test_slow_is_late_but_right(servers: MinerServers) -> None:
    servers.faults[0] = Misbehaviour.SLOW
    before = asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE_S):
        assert b"SUMMARY" in await ask(servers, 0)
    assert asyncio.get_running_loop().time() - before >= 1.4


async def test_an_outlet_takes_the_machine_off_the_network_and_gives_it_back_after_its_boot(
    servers: MinerServers,
) -> None:
    scene = servers.scene
    scene.orders.outlet_on[0] = False
    scene.tick(1.0, NOW_S, 25.0)
    await servers.sync()
    assert await is_silent_for(asyncio.open_connection(*servers.endpoints[0]))
    scene.orders.outlet_on[0] = True
    scene.tick(1.0, NOW_S, 25.0)
    await servers.sync()
    with pytest.raises(ConnectionRefusedError):  # its network is up, its API is not
        await ask(servers, 0)
    scene.tick(120.0, NOW_S, 25.0)
    await servers.sync()
    async with asyncio.timeout(PATIENCE_S):
        assert b"SUMMARY" in await ask(servers, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "192.168.1.1", "128.0.0.1"])
def test_nothing_is_ever_bound_outside_127(host: str) -> None:
    with pytest.raises(ValueError, match="127/8"):
        require_loopback(host)


def test_addresses_skip_network_and_broadcast_and_stay_inside() -> None:
    assert addresses("127.20.0.254", 3) == ["127.20.0.254", "127.20.1.1", "127.20.1.2"]
    with pytest.raises(ValueError, match="127/8"):
        addresses("127.255.255.254", 2)
