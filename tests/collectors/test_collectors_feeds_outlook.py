"""What the outlook rests on, from mempool and from a node: shapes, bounds, and that the loss of it costs no price."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from collectors.feeds.bitcoin_core import Tip, parse_outlook
from collectors.feeds.catalogue import open_feed
from collectors.feeds.mempool import parse_epoch_start, parse_year
from fleet.market import HASHPRICE_INPUTS, Market, MarketInput, Quote, assess
from fleet.ports import Feed, PollError
from fleet.readings import FaultKind
from fleet.retarget import Forecast, foresee
from hil.faults import Misbehaviour
from hil.feeds import FeedServer, MarketTruth

NOW = 1_770_000_000.0
PATIENCE_S = 20.0
START, HASHRATE, PEAK, TIP_TIME = (
    MarketInput.EPOCH_START_S,
    MarketInput.NETWORK_HASHRATE_HS,
    MarketInput.NETWORK_HASHRATE_PEAK_HS,
    MarketInput.TIP_TIME_S,
)


def by_input(quotes: tuple[Quote, ...]) -> dict[MarketInput, Quote]:
    return {quote.input: quote for quote in quotes}


# --- mempool ---------------------------------------------------------------------------------------------------------

ADJUSTMENT = {
    "progressPercent": 44.397457108138264,
    "difficultyChange": 98.45932018381687,
    "estimatedRetargetDate": 1769998000000,
    "remainingBlocks": 1121,
    "remainingTime": 665977,
    "previousRetarget": -4.807005268478962,
    "previousTime": 1769400000,
    "nextRetargetHeight": 935424,
    "timeAvg": 302328,
    "adjustedTimeAvg": 302328,
    "timeOffset": 0,
    "expectedBlocks": 161.68833333333333,
}


@pytest.mark.parametrize("time", [1769400000, 1769400000000, "1769400000"])
def test_the_start_of_an_epoch_in_seconds_or_milliseconds(time: object) -> None:
    start = parse_epoch_start({**ADJUSTMENT, "previousTime": time}, "mempool", NOW)
    assert (start.input, start.value, start.as_of_s, start.at_height) == (START, 1769400000.0, NOW, 935423)


@pytest.mark.parametrize(
    "change",
    [
        {"previousTime": 0},
        {"previousTime": None},
        {"previousTime": NOW + 120},
        {"nextRetargetHeight": 935425},
        {"nextRetargetHeight": 0},
        {"nextRetargetHeight": -2016},
        {"nextRetargetHeight": 2016 * 10**6},
    ],
)
def test_a_start_that_cannot_be_is_malformed(change: dict[str, object]) -> None:
    with pytest.raises(PollError):
        parse_epoch_start({**ADJUSTMENT, **change}, "mempool", NOW)


def year(*daily_hs: float, **changes: object) -> dict[str, object]:
    days = [{"timestamp": 1738368000 + day * 86_400, "avgHashrate": hs} for day, hs in enumerate(daily_hs)]
    return {"hashrates": days, "difficulty": [], "currentHashrate": 8.51e20, "currentDifficulty": 141.668e12} | changes


def test_the_peak_is_the_best_week_in_any_order_of_days_and_not_the_best_day() -> None:
    told = year(*[1e21] * 10, *[1.15e21] * 7, 1.2e21, *[8e20] * 14)
    told["hashrates"] = list(reversed(told["hashrates"]))  # type: ignore[call-overload]
    current, peak = parse_year(told, "mempool", NOW)
    assert (current.input, current.value, current.as_of_s) == (HASHRATE, 8.51e20, NOW)
    assert (peak.input, peak.value) == (PEAK, pytest.approx((6 * 1.15e21 + 1.2e21) / 7))


def test_a_hashrate_that_is_not_known_is_that_of_the_last_week() -> None:
    told = year(*[1e21] * 7, *[8e20] * 7, currentHashrate=0)
    told["hashrates"] = list(reversed(told["hashrates"]))  # type: ignore[call-overload]
    assert parse_year(told, "mempool", NOW)[0].value == pytest.approx(8e20)


@pytest.mark.parametrize(
    "body",
    [
        year(*[1e21] * 6),
        year(*[0.0] * 30),
        year(*[1e12] * 30),  # in GH/s
        year(*[1e21] * 30, currentDifficulty=0),
        year(*[1e21] * 30, hashrates=None),
        year(*[1e21] * 30, hashrates=[5] * 30),
        year(*[1e21] * 30, hashrates=[{"timestamp": 1, "avgHashrate": "much"}] * 30),
        year(*[1e21] * 30, currentHashrate=-1),
        None,
    ],
)
def test_a_year_that_cannot_be_is_malformed(body: object) -> None:
    with pytest.raises(PollError):
        parse_year(body, "mempool", NOW)


async def test_mempool_is_asked_for_the_epoch_at_each_look_and_for_the_year_once_an_hour() -> None:
    now_s = NOW
    server = FeedServer("mempool", "127.0.0.1", 0, lambda: now_s)
    await server.show(Misbehaviour.NONE)
    feed = open_feed("mempool", {"base_url": server.url}, PATIENCE_S, lambda: now_s)
    told = await feed.read()
    market = Market(told)
    ahead = foresee(market, assess(market, 0.06, "flat", now_s))
    assert isinstance(ahead.forecast, Forecast)
    assert ahead.forecast.blocks_seen == MarketTruth().height % 2016
    assert ahead.forecast.change_ratio == pytest.approx(1 / 1732)  # its blocks come every ten minutes
    assert (ahead.drawdown_ratio, ahead.lag_ratio) == (pytest.approx(0.08), pytest.approx(-0.08))
    looks = []
    for passed_s in (0.0, 3599.0, 3600.0):
        now_s = NOW + passed_s
        looks.append(set(by_input(await feed.read())))
    assert looks == [{*HASHPRICE_INPUTS, START}] * 2 + [{*HASHPRICE_INPUTS, START, HASHRATE, PEAK}]
    await feed.aclose()
    await server.aclose()


# --- a node ----------------------------------------------------------------------------------------------------------

TIP = 935_423  # the last block of its epoch
FIRST = TIP - 2015


class Node:
    """As much of a node as an outlook asks for; `lost` are the calls that it refuses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.lost: set[str] = set()
        self.tip = {"height": TIP, "time": NOW - 300}
        self.block = "b"
        self.url = ""

    def result(self, name: str, params: list[Any]) -> object:
        match name:
            case "getblockchaininfo":
                told = {"chain": "main", "blocks": TIP, "headers": TIP, "time": NOW - 300, "bestblockhash": self.block}
                return told | {"initialblockdownload": False}
            case "getmininginfo":
                return {"chain": "main", "blocks": TIP, "difficulty": 141.668e12, "networkhashps": 9.345e20}
            case "getblockhash":
                return f"hash of {params[0]}"
            case "getblockheader":
                return self.tip if params[0] == self.block else {"height": FIRST, "time": NOW - 300 - 1_361_549}
            case "getnetworkhashps":
                return 1.151e21 if TIP - params[1] == 1008 * 14 else 8.51e20
        return {"height": params[0], "time": 1, "subsidy": 312_500_000, "totalfee": 2_000_000}

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((call["method"], call["params"]))
        if call["method"] in self.lost:
            return {"id": call["id"], "result": None, "error": {"code": -8, "message": "Block height out of range"}}
        return {"id": call["id"], "result": self.result(call["method"], call["params"]), "error": None}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                calls = json.loads(await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0])))
                body = json.dumps([self.answer(call) for call in calls]).encode()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    listener = await asyncio.start_server(node.talk, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield node
    listener.close()


@pytest.fixture
async def feed(node: Node) -> AsyncIterator[Feed]:
    feed = open_feed("bitcoin_core", {"base_url": node.url, "user": "u", "password": "p"}, PATIENCE_S, lambda: NOW)
    yield feed
    await feed.aclose()


async def test_a_node_knows_the_epoch_the_tip_and_the_weeks_of_a_year(node: Node, feed: Feed) -> None:
    told = await feed.read()
    assert {quote.input: quote.value for quote in told if quote.input not in HASHPRICE_INPUTS} == {
        START: NOW - 300 - 1_361_549, TIP_TIME: NOW - 300, HASHRATE: 8.51e20, PEAK: 1.151e21,
    }  # fmt: skip
    market = Market(told)
    ahead = foresee(market, assess(market, 0.06, "flat", NOW))
    assert isinstance(ahead.forecast, Forecast)
    assert ahead.forecast.change_ratio == pytest.approx(-0.1116, abs=1e-5)  # the retarget of 2026-02-07
    assert ahead.forecast.sigma_ratio == 0.0
    assert ahead.drawdown_ratio == pytest.approx(1 - 851 / 1151)
    assert ("getblockhash", [FIRST]) in node.asked
    assert [params for name, params in node.asked if name == "getnetworkhashps"][:2] == [
        [1008, TIP],
        [1008, TIP - 1008],
    ]


async def test_a_node_is_asked_again_when_its_tip_moves_and_tells_the_same_until_then(node: Node, feed: Feed) -> None:
    before = await feed.read()
    node.asked.clear()
    assert await feed.read() == before
    assert {name for name, _ in node.asked} == {"getblockchaininfo", "getmininginfo"}
    node.block, node.tip = "c", {"height": TIP + 1, "time": NOW}  # a block came between the two questions
    after = by_input(await feed.read())
    assert START in after
    assert TIP_TIME not in after


@pytest.mark.parametrize("lost", ["getblockhash", "getblockheader", "getnetworkhashps"])
async def test_a_node_that_does_not_say_it_gives_its_hashprice_all_the_same(node: Node, feed: Feed, lost: str) -> None:
    node.lost = {lost}
    assert set(by_input(await feed.read())) == {
        MarketInput.HEIGHT, MarketInput.DIFFICULTY, MarketInput.BLOCK_FEES_BTC,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("opening", "newest", "hashrates"),
    [
        ({"height": FIRST + 1, "time": NOW}, {"height": TIP, "time": NOW}, [1e21]),
        ({"height": FIRST, "time": 0}, {"height": TIP, "time": NOW}, [1e21]),
        ({"height": FIRST, "time": NOW}, {"height": TIP, "time": NOW * 1000}, [1e21]),
        ({"height": FIRST, "time": NOW}, {"height": TIP, "time": NOW}, [0]),
        ({"height": FIRST, "time": NOW}, {"height": TIP, "time": NOW}, [1e21, 1e30]),
        ({"height": FIRST, "time": NOW}, {"height": TIP, "time": NOW}, [1e21, None]),
        ({"height": FIRST, "time": NOW}, None, [1e21]),
    ],
)
def test_an_outlook_that_cannot_be_is_malformed(opening: object, newest: object, hashrates: list[object]) -> None:
    tip = Tip(TIP, "b", NOW, 141.668e12, TIP + 1)
    with pytest.raises(PollError) as caught:
        parse_outlook(opening, newest, hashrates, tip)
    assert caught.value.kind is FaultKind.MALFORMED
