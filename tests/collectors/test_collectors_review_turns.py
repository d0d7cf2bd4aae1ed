"""Nothing that is kept between looks outlives the run, the firmware or the machine that said it.

Machines take turns at one address. Their replies are those of the healthy machines of the hostile corpus, handed over
without sockets, on a clock that moves only where a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hostile.machines import encoded, machine, replies_of

from collectors.miners import cgminer, hearing
from collectors.miners.line import Line
from collectors.miners.make import Ask, Via
from collectors.miners.native import FORGIVE_EVERY, SLOW_EVERY, NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

Replies = dict[str, Any]


class Host(Line):
    """One address and whoever stands there now: decoded replies by question, a bare fault for one that fails."""

    end = b"}"  # of joined answers

    def __init__(self, name: str) -> None:
        super().__init__("127.0.0.1")
        self.asked: list[str] = []
        self.stand(name)

    def stand(self, name: str, **changes: Any) -> None:
        """Another machine, from one moment to the next."""
        self.machine = machine(name)
        self.replies: Replies = replies_of(name) | changes

    async def ask_raw(self, ask: Ask, deadline_at: float) -> bytes:
        self.asked.append(ask.name)
        if ask.port not in {known.port for known in self.machine.make.asks}:
            raise PollError(FaultKind.REFUSED, "closed")
        said = self.replies.get(ask.name)
        if isinstance(said, FaultKind):
            raise PollError(said, "as told")
        if said is not None and any(known.name == ask.name for known in (*self.machine.make.asks, ask)):
            body: bytes = encoded(said)
            return body
        if ask.via is Via.RPC:
            return b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command","Description":"btminer"}],"id":1}'
        raise PollError(FaultKind.UNSUPPORTED, "no such page")

    async def ask(self, ask: Ask, deadline_at: float) -> Any:
        return hearing.hear(ask, await self.ask_raw(ask, deadline_at))

    async def ask_joined(self, asks: Sequence[Ask], deadline_at: float) -> cgminer.Reply:
        if "joined" in self.replies:
            self.asked.append("joined")
            raise PollError(self.replies["joined"], "as told")
        if not self.machine.joins:
            return cgminer.decode(await self.ask_raw(Ask("joined", "joined"), deadline_at))
        parts = {ask.what: [self.replies[ask.name]] for ask in asks if ask.name in self.replies}
        return cgminer.decode(encoded(parts)[:-1] + self.end)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stands = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", stands)
    return stands


def antminer(elapsed_s: float, accepted: int = 5000, now_ghs: float = 110_566.9, pool: str = "a.example") -> Replies:
    replies: Replies = replies_of("antminer")
    replies["summary"]["SUMMARY"][0] |= {"Elapsed": elapsed_s, "Accepted": accepted, "GHS 5s": now_ghs}
    replies["pools"]["POOLS"] = [{"POOL": 0, "URL": pool, "Stratum URL": pool, "Stratum Active": True}]
    return replies


async def looks(miner: NativeMiner, count: int) -> MinerReading:
    """The last of so many looks, none of which failed."""
    readings = [await miner.read() for _ in range(count)]
    return readings[-1]


# --- another machine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", range(1, 2 * SLOW_EVERY + 1))
async def test_the_name_of_a_machine_is_never_told_of_the_next_whichever_look_it_comes_in(before: int) -> None:
    """At a full look, too: there most is asked anew, but not who it is."""
    host = Host("avalon")
    miner = NativeMiner(host, 5.0)
    first = await looks(miner, before)
    assert (first.mac, first.model) == ("b4a2eb340001", "A1566")
    host.stand("avalon_q")
    with pytest.raises(PollError) as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.IDENTITY
    second = await miner.read()
    assert (second.mac, second.model) == ("aabbccddeeff", "Q")


async def test_a_look_that_says_no_name_does_not_wipe_out_the_one_before() -> None:
    host = Host("whatsminer")
    miner = NativeMiner(host, 5.0)
    assert (await miner.read()).mac == "c4082800a419"
    for mac, serial in ((None, None), ("C4:08:28:00:FF:FF", "HTM31S99999999")):
        host.stand("whatsminer")
        host.replies["summary"]["SUMMARY"][0] |= {"MAC": mac, "Elapsed": 20}
        host.replies["get_miner_info"]["Msg"] |= {"mac": mac, "minersn": serial}
        if mac is None:
            assert (await miner.read()).mac is None
    with pytest.raises(PollError) as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.IDENTITY


@pytest.mark.parametrize("before", [1, SLOW_EVERY])
async def test_new_firmware_is_told_whichever_look_it_comes_in(before: int) -> None:
    host = Host("antminer")
    host.replies = antminer(80_000)
    miner = NativeMiner(host, 5.0)
    assert (await looks(miner, before)).firmware == "Tue Dec  6 16:12:30 CST 2022"
    host.replies = antminer(30)
    host.replies["stats"]["STATS"][0]["CompileTime"] = None
    host.replies["version"]["VERSION"][0]["CompileTime"] = "Fri Jun 26 09:24:23 CST 2026"
    assert (await miner.read()).firmware == "Fri Jun 26 09:24:23 CST 2026"


@pytest.mark.parametrize(
    ("first", "second"),
    [("whatsminer", "avalon"), ("whatsminer", "antminer"), ("avalon", "whatsminer"), ("sealminer", "antminer")],
)
@pytest.mark.parametrize("before", [1, SLOW_EVERY])
async def test_a_make_that_speaks_the_same_commands_is_not_read_as_the_other(
    first: str, second: str, before: int
) -> None:
    """A WhatsMiner asks nothing that an Avalon has not, and both answer in MHS."""
    host = Host(first)
    miner = NativeMiner(host, 5.0)
    await looks(miner, before)
    host.stand(second)
    drivers: list[str] = []
    for _ in range(3):
        try:
            drivers.append((await miner.read()).driver)
        except PollError as error:
            assert error.kind is FaultKind.IDENTITY  # noqa: PT017  another MAC at the address
    assert set(drivers) == {machine(second).key}


@pytest.mark.parametrize(
    ("first", "second"), [("whatsminer", "whatsminer_v3"), ("antminer", "axeos"), ("axeos", "antminer")]
)
async def test_a_machine_that_moved_to_another_port_is_found_there(first: str, second: str) -> None:
    """A WhatsMiner that gets the firmware of API v3 closes the port that we know it by."""
    host = Host(first)
    miner = NativeMiner(host, 5.0)
    await miner.read()
    host.stand(second)
    with pytest.raises(PollError):
        await miner.read()
    kinds = []
    for _ in range(2):
        try:
            kinds.append((await miner.read()).driver)
        except PollError as error:
            kinds.append(error.kind)
    assert kinds[-1] == machine(second).key


async def test_a_page_that_wants_a_login_may_be_another_machine() -> None:
    """The web server of a stock Antminer has a login before every address, that of a Bitaxe's page included."""
    host = Host("axeos")
    miner = NativeMiner(host, 5.0)
    await miner.read()
    host.stand("antminer_web", system_info=FaultKind.DENIED)
    with pytest.raises(PollError) as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.DENIED
    for _ in range(2):  # its MAC is not that of the Bitaxe
        try:
            reading = await miner.read()
        except PollError as error:
            assert error.kind is FaultKind.IDENTITY  # noqa: PT017
    assert reading.driver == "antminer"


# --- what an earlier process learned ---------------------------------------------------------------------------------


async def test_what_an_earlier_process_learned_is_confirmed_by_one_question() -> None:
    host = Host("antminer")
    await NativeMiner(host, 5.0, way="antminer+single").read()
    assert host.asked == ["version", "summary", "stats", "pools", "stats_new"]


async def test_what_an_earlier_process_learned_counts_for_nothing_where_another_one_answers() -> None:
    """After a power cut everything starts at once, the gateway and the addresses that a router gives out included."""
    host = Host("antminer")
    reading = await NativeMiner(host, 5.0, way="whatsminer+joined").read()
    assert (reading.driver, reading.way) == ("antminer", "antminer+single")


async def test_a_machine_of_pages_is_met_again_without_more_than_a_closed_port() -> None:
    host = Host("axeos")
    await NativeMiner(host, 5.0, way="axeos").read()
    assert host.asked[0] == "version"
    assert not {"landing", "get_device_info"} & set(host.asked)


# --- another run -----------------------------------------------------------------------------------------------------


def grown_less() -> Replies:
    """20 s after the start, then 30 s after the start: there was another start between, although 30 is more."""
    return antminer(30, pool="b.example")


def grown_more() -> Replies:
    return antminer(20 + 60 + 11, pool="b.example")


def of_less_work() -> Replies:
    return antminer(20 + 60, accepted=4999, pool="b.example")


@pytest.mark.parametrize("after", [grown_less, grown_more, of_less_work])
async def test_another_run_is_asked_for_its_pool_before_it_counts(clock: Clock, after: Callable[[], Replies]) -> None:
    host = Host("antminer")
    host.replies = antminer(20)
    miner = NativeMiner(host, 5.0)
    assert (await miner.read()).pool_host == "a.example"
    clock.now += 60.0
    host.replies = after()
    assert (await miner.read()).pool_host == "b.example"


@pytest.mark.parametrize("late_s", [-9.0, 0.0, 9.0])
async def test_an_uptime_that_goes_on_with_the_time_is_the_same_run(clock: Clock, late_s: float) -> None:
    """What a machine says was true some seconds before or after we looked at the clock."""
    host = Host("antminer")
    host.replies = antminer(7200)
    miner = NativeMiner(host, 5.0)
    await miner.read()
    host.asked.clear()
    clock.now += 60.0
    host.replies = antminer(7200 + 60 + late_s, accepted=5000)
    await miner.read()
    assert host.asked == ["summary", "stats"]


async def test_an_uptime_that_stands_still_is_of_a_run_that_rests(clock: Clock) -> None:
    host = Host("antminer")
    host.replies = antminer(7200, now_ghs=0.0)
    miner = NativeMiner(host, 5.0)
    await miner.read()
    host.asked.clear()
    for _ in range(3):
        clock.now += 60.0
        await miner.read()
    assert host.asked == ["summary", "stats"] * 3


async def test_minutes_round_the_uptime_and_are_no_new_start(clock: Clock) -> None:
    """VNish says `1 day, 2:03`."""
    host = Host("vnish")
    host.replies["summary"]["system"]["uptime"] = "2:03"
    miner = NativeMiner(host, 5.0)
    await miner.read()
    host.asked.clear()
    for said in ("2:03", "2:04", "2:04", "2:05"):  # looks half a minute apart
        clock.now += 30.0
        host.replies["summary"]["system"]["uptime"] = said
        await miner.read()
    assert host.asked == ["summary"] * 4
    clock.now += 30.0
    host.replies["summary"]["system"]["uptime"] = "0:02"
    await miner.read()
    assert "info" in host.asked


# --- what is asked once ----------------------------------------------------------------------------------------------


async def test_what_is_asked_once_is_asked_again_at_every_hundredth_look() -> None:
    """Of two machines that were started together nothing but their names tells which one stands here."""
    host = Host("avalon")
    miner = NativeMiner(host, 5.0)
    await looks(miner, FORGIVE_EVERY)
    assert host.asked.count("version") == 1
    await miner.read()
    assert host.asked.count("version") == 2


async def test_firmware_that_swallows_joined_questions_is_asked_one_by_one() -> None:
    host = Host("antminer")
    host.replies["joined"] = FaultKind.TIMEOUT
    miner = NativeMiner(host, 5.0)
    with pytest.raises(PollError) as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.TIMEOUT
    assert (await miner.read()).hashrate_hs is not None
    assert host.asked.count("joined") == 1


# --- what does not pass on to the next -------------------------------------------------------------------------------


async def test_a_token_of_one_make_is_not_shown_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host("whatsminer")
    miner = NativeMiner(host, 5.0)
    await miner.read()
    logged_out: list[str] = []
    monkeypatch.setattr(Line, "log_out", lambda line: logged_out.append(line.host))
    host.stand("antminer")  # without a login it says no MAC, so no look fails
    assert (await miner.read()).driver == "antminer"
    assert logged_out == ["127.0.0.1"]


async def test_firmware_that_no_longer_joins_is_asked_one_by_one_again() -> None:
    host = Host("whatsminer")
    miner = NativeMiner(host, 5.0)
    assert (await miner.read()).way == "whatsminer+joined"
    host.replies["joined"] = FaultKind.MALFORMED
    with pytest.raises(PollError):
        await miner.read()
    assert (await miner.read()).way == "whatsminer+single"


async def test_only_a_machine_with_slow_answers_says_how_old_they_are(clock: Clock) -> None:
    ages: dict[str, float | None] = {}
    for name in ("axeos", "avalon"):
        miner = NativeMiner(Host(name), 5.0)
        await miner.read()
        clock.now += 30.0
        ages[name] = (await miner.read()).slow_age_s
    assert ages == {"axeos": None, "avalon": 30.0}


# --- deep looks, and what had to be mended -------------------------------------------------------------------------


async def test_a_deep_look_asks_for_presets_that_are_not_due() -> None:
    host = Host("luxos")
    miner = NativeMiner(host, 5.0)
    for is_deep, times in ((False, 1), (False, 1), (True, 2)):
        await miner.read(is_deep=is_deep)
        assert host.asked.count("profiles") == times


async def test_a_deep_look_also_asks_what_another_answer_makes_needless() -> None:
    host = Host("braiins")
    miner = NativeMiner(host, 5.0)
    await miner.read()
    assert "gql_system" not in host.asked
    await miner.read(is_deep=True)
    assert "gql_system" in host.asked


async def test_a_joined_answer_that_had_to_be_mended_says_so() -> None:
    host = Host("whatsminer")
    miner = NativeMiner(host, 5.0)
    assert "repaired" not in (await miner.read()).warnings
    host.end = b",}"
    assert "repaired" in (await miner.read()).warnings


async def test_what_a_machine_was_known_by_is_not_asked_again_in_its_first_look() -> None:
    host = Host("whatsminer_v3")
    await NativeMiner(host, 5.0).read()
    assert host.asked.count("get_device_info") == 1
