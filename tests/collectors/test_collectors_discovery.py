"""A scan over real sockets on 127/8: what it finds, what it costs those who are silent, and what it leaves open."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from scripted_miner import captured, refuse, scripted_miner, wire

from collectors import discovery
from collectors.discovery import Endpoint, Finding, Found, Scan, native_look, scan
from fleet.readings import FaultKind
from hil.loopback import free_tcp_port, silent_listener, tcp_listener

SHORT_S = 0.05


class Sockets:
    """What the scan did with sockets: connects per endpoint, and how many were open at once."""

    def __init__(self) -> None:
        self.connects: Counter[tuple[str, int]] = Counter()
        self.open = 0
        self.peak = 0


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    """Real sockets that count. Knocks are short: nobody here is far away."""
    seen = Sockets()

    class Counted(socket.socket):
        is_knock = False  # the loop has sockets too

        def connect_ex(self, address: tuple[str, int]) -> int:  # type: ignore[override]
            self.is_knock = True
            seen.connects[address] += 1
            seen.open += 1
            seen.peak = max(seen.peak, seen.open)
            return super().connect_ex(address)

        def close(self) -> None:
            seen.open -= self.is_knock
            self.is_knock = False
            super().close()

    monkeypatch.setattr(discovery.socket, "socket", Counted)
    monkeypatch.setattr(discovery, "KNOCK_S", SHORT_S)
    return seen


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    with silent_listener("127.0.0.9", 0) as listener:
        yield Endpoint(*listener.getsockname())


@pytest.fixture
def listening() -> Iterator[Endpoint]:
    with tcp_listener("127.0.0.8", 0, backlog=1024) as listener:
        yield Endpoint(*listener.getsockname())


async def it_is_a_miner(endpoint: Endpoint, deadline_at: float) -> Finding:
    return Finding("Made")


async def gathered(running: Scan) -> list[Found]:
    return [found async for found in running]


# --- who is found, and what it costs ---------------------------------------------------------------------------------


async def test_who_accepts_or_refuses_is_looked_at_and_who_is_silent_costs_one_connect(
    sockets: Sockets, silent: Endpoint, listening: Endpoint
) -> None:
    refusing = Endpoint("127.0.0.7", free_tcp_port("127.0.0.7"))
    async with scan([silent, listening, refusing], it_is_a_miner) as running:
        found = await gathered(running)
    assert {each.endpoint for each in found} == {listening, refusing}
    assert (running.scanned, running.answered, running.identified) == (3, 2, 2)
    assert sockets.connects == {tuple(silent): 1, tuple(listening): 1, tuple(refusing): 1}
    assert sockets.open == 0


async def test_a_thousand_silent_addresses_cost_a_thousand_connects_and_never_more_than_the_bound_at_once(
    sockets: Sockets, silent: Endpoint
) -> None:
    async with scan((silent for _ in range(1000)), it_is_a_miner, connections=400) as running:
        assert await gathered(running) == []
    assert running.scanned == 1000
    assert sockets.connects == {tuple(silent): 1000}
    assert sockets.peak == running.peak_connections == 400 - discovery.LOOKS  # the rest is kept for looks
    assert sockets.open == 0


async def test_addresses_are_taken_as_they_are_needed(sockets: Sockets, silent: Endpoint) -> None:
    taken = 0

    def endpoints() -> Iterator[Endpoint]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            assert taken - running.scanned <= 10
            yield silent

    async with scan(endpoints(), it_is_a_miner, connections=10) as running:
        await gathered(running)
    assert running.scanned == taken == 50


async def test_ipv6_is_knocked_at_too(sockets: Sockets) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with scan([Endpoint("::1", free_tcp_port())], it_is_a_miner) as running:
        found = await gathered(running)
    assert len(found) + sum(running.unasked.values()) == 1  # unasked where the kernel has IPv6 switched off


async def test_an_address_that_our_own_system_refuses_is_told_apart_from_a_silent_one(sockets: Sockets) -> None:
    """A broadcast address: the kernel sends nothing, so nothing is known about it."""
    async with scan([Endpoint("127.255.255.255", 4028)], it_is_a_miner) as running:
        assert await gathered(running) == []
    assert running.scanned == sum(running.unasked.values()) == 1
    assert sockets.open == 0


async def test_without_descriptors_nothing_is_called_silent(
    sockets: Sockets, listening: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: int) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(discovery.socket, "socket", none_left)
    async with scan([listening] * 3, it_is_a_miner) as running:
        assert await gathered(running) == []
    assert running.unasked == {"Too many open files": 3}


# --- looks -----------------------------------------------------------------------------------------------------------


async def test_looks_and_knocks_together_stay_inside_the_bound(
    sockets: Sockets, silent: Endpoint, listening: Endpoint
) -> None:
    looking = peak = 0

    async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
        nonlocal looking, peak
        looking += 1
        peak = max(peak, looking + sockets.open)
        await asyncio.sleep(0.005)
        looking -= 1
        return Finding("Made")

    endpoints = [listening, silent] * 60
    async with scan(endpoints, look, connections=8) as running:
        assert len(await gathered(running)) == 60
    assert 4 < peak <= 8
    assert running.peak_connections <= 8


async def test_never_more_than_32_looks_at_once(sockets: Sockets, listening: Endpoint) -> None:
    looking = peak = 0
    all_in = asyncio.Event()

    async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
        nonlocal looking, peak
        looking += 1
        peak = max(peak, looking)
        if looking == 32:
            all_in.set()
        await all_in.wait()
        looking -= 1
        return Finding()

    async with scan([listening] * 100, look) as running:
        assert len(await gathered(running)) == 100
    assert peak == 32
    assert running.identified == 0


async def test_one_strange_host_does_not_end_the_scan(sockets: Sockets, listening: Endpoint) -> None:
    refusing = Endpoint("127.0.0.7", free_tcp_port("127.0.0.7"))

    async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
        if endpoint == refusing:
            raise ZeroDivisionError("secret")
        return Finding("Made")

    async with scan([refusing, listening], look) as running:
        found = {each.endpoint: each.finding for each in await gathered(running)}
    assert found[listening].make == "Made"
    fault = found[refusing].fault
    assert fault is not None
    assert (fault.kind, fault.detail) == (FaultKind.MALFORMED, "driver failed: ZeroDivisionError")


async def test_a_look_without_end_is_ended(
    sockets: Sockets, listening: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "LOOK_S", 0.05)
    monkeypatch.setattr(discovery, "GRACE_S", 0.05)

    async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    async with scan([listening], look) as running:
        (found,) = await gathered(running)
    assert found.finding.fault is not None
    assert found.finding.fault.kind is FaultKind.TIMEOUT


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_leaving_half_way_closes_everything(sockets: Sockets, silent: Endpoint, listening: Endpoint) -> None:
    async with scan([silent, silent, listening, *[silent] * 1000], it_is_a_miner) as running:
        async for found in running:
            assert found.endpoint == listening
            break
        assert sockets.open > 0
    assert sockets.open == 0
    assert running.scanned < 1000


async def test_what_breaks_the_list_of_addresses_is_not_swallowed(sockets: Sockets, listening: Endpoint) -> None:
    def endpoints() -> Iterator[Endpoint]:
        yield listening
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with scan(endpoints(), it_is_a_miner) as running:
            await gathered(running)
    assert sockets.open == 0


async def test_a_scan_needs_room_to_knock_and_to_look() -> None:
    with pytest.raises(ValueError, match="two connections"):
        async with scan([], it_is_a_miner, connections=1):
            pass


# --- the look of our own drivers -------------------------------------------------------------------------------------


async def test_a_machine_that_we_read_is_found_with_what_it_says_of_itself() -> None:
    answers = {name: wire(captured("antminer-stock-2022", name)) for name in ("version", "summary", "stats", "pools")}
    async with (
        scripted_miner(answers, "127.0.0.6") as miner,
        scan([Endpoint(miner.host, miner.port)], native_look()) as running,
    ):
        (found,) = await gathered(running)
        await miner.all_closed.wait()
    assert found.finding.make == "Antminer"
    assert found.finding.reading is not None
    assert found.finding.reading.model == "S19 Pro"
    assert miner.asked.count("version") == 1, "identification is asked once"


async def test_a_machine_that_only_a_library_reads_is_named() -> None:
    version = wire({"STATUS": [{"STATUS": "S", "Msg": "BFGMiner 5.4"}], "VERSION": [{"API": "3.4"}], "id": 1})
    async with (
        scripted_miner({"version": version}, "127.0.0.6") as miner,
        scan([Endpoint(miner.host, miner.port)], native_look()) as running,
    ):
        (found,) = await gathered(running)
    assert found.finding.make == "goldshell"
    assert found.finding.fault is not None
    assert found.finding.fault.kind is FaultKind.UNSUPPORTED


async def test_a_machine_that_says_its_name_and_nothing_else_keeps_its_make() -> None:
    answers = {"version": wire(captured("antminer-stock-2022", "version")), "*": refuse(45, "Access denied")}
    async with (
        scripted_miner(answers, "127.0.0.6") as miner,
        scan([Endpoint(miner.host, miner.port)], native_look()) as running,
    ):
        (found,) = await gathered(running)
    assert found.finding.reading is None
    assert found.finding.fault is not None
    assert found.finding.fault.kind is FaultKind.DENIED
    assert found.finding.make is not None
    assert "Antminer" in found.finding.make


async def test_a_host_that_refuses_everything_is_no_machine() -> None:
    # an address of its own: nobody listens there on the ports of the other APIs
    async with scan([Endpoint("127.201.13.77")], native_look()) as running:
        (found,) = await gathered(running)
    assert found.finding.make is None
    assert found.finding.fault is not None
    assert found.finding.fault.kind is FaultKind.REFUSED
