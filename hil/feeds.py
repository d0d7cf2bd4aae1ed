"""HTTP stand-ins for the market feeds: the shapes of a self-hosted mempool, of Coinbase and of Kraken.

Each feed is a function from (path, market, time) to a reply body, served by one small HTTP/1.1 server with keep-alive.
The market is shared, so all feeds tell the same story; each server can be hung, refused or made to talk garbage alone.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import numpy as np

from hil.faults import DRIBBLE_S, OVERSIZE_BYTES, SLOW_S, Misbehaviour
from hil.loopback import silent_listener, tcp_listener

RETARGET_INTERVAL = 2016
BLOCK_S = 600.0
HASHES_PER_DIFFICULTY_1 = 2.0**32
MAX_REQUEST_BYTES = 16384


@dataclass(frozen=True, slots=True)
class MarketTruth:
    """What the feeds tell at this moment. USD, difficulty, blocks, BTC per block."""

    btc_usd: float = 70_000.0
    difficulty: float = 141.67e12
    height: int = 935_140
    block_fees_btc: float = 0.02

    @property
    def subsidy_btc(self) -> float:
        return math.ldexp(50.0, -(self.height // 210_000))


@dataclass(frozen=True, slots=True)
class PriceWalk:
    """A mean-reverting walk of the logarithm of the price, so that a demo turns within minutes and never runs away.

    `sigma_ratio` is its stationary standard deviation, `relax_s` its correlation time.
    """

    centre_usd: float
    sigma_ratio: float = 0.03
    relax_s: float = 120.0

    def step(self, btc_usd: float, dt_s: float, rng: np.random.Generator) -> float:
        """The price `dt_s` later, USD."""
        keep = math.exp(-dt_s / self.relax_s)
        away = math.log(btc_usd / self.centre_usd)
        noise = self.sigma_ratio * math.sqrt(1.0 - keep * keep) * float(rng.standard_normal())
        return self.centre_usd * math.exp(away * keep + noise)


# ---------------------------------------------------------------------------------------------------------------------
# Shapes


def mempool(target: str, market: MarketTruth, now_s: float) -> str | None:
    """The five requests of a mempool instance that mining cares about; None for any other path."""
    path = urlsplit(target).path
    retarget_height = (market.height // RETARGET_INTERVAL + 1) * RETARGET_INTERVAL
    retargeted_s = now_s - (market.height % RETARGET_INTERVAL) * BLOCK_S
    match path:
        case "/api/blocks/tip/height":
            return str(market.height)
        case "/api/v1/prices":
            usd = round(market.btc_usd)
            others = {"EUR": 0.92, "GBP": 0.79, "CAD": 1.37, "CHF": 0.88, "AUD": 1.52, "JPY": 151.0}
            return json.dumps({"time": int(now_s), "USD": usd} | {k: round(usd * v) for k, v in others.items()})
        case "/api/v1/difficulty-adjustment":
            remaining = retarget_height - market.height
            return json.dumps(
                {
                    "progressPercent": 100.0 * (RETARGET_INTERVAL - remaining) / RETARGET_INTERVAL,
                    "difficultyChange": 0.0,
                    "estimatedRetargetDate": int((now_s + remaining * BLOCK_S) * 1000),
                    "remainingBlocks": remaining,
                    "remainingTime": int(remaining * BLOCK_S * 1000),
                    "previousRetarget": -1.2,
                    "previousTime": int(retargeted_s),
                    "nextRetargetHeight": retarget_height,
                    "timeAvg": int(BLOCK_S * 1000),
                    "adjustedTimeAvg": int(BLOCK_S * 1000),
                    "timeOffset": 0,
                    "expectedBlocks": float(RETARGET_INTERVAL - remaining),
                }
            )
    if path.startswith("/api/v1/mining/reward-stats/"):
        blocks = int(path.rsplit("/", 1)[1]) if path.rsplit("/", 1)[1].isdigit() else 144
        fees_sat = round(market.block_fees_btc * blocks * 1e8)
        reward_sat = round(market.subsidy_btc * blocks * 1e8) + fees_sat
        return json.dumps(
            {
                "startBlock": market.height - blocks + 1,
                "endBlock": market.height,
                "totalReward": str(reward_sat),
                "totalFee": str(fees_sat),
                "totalTx": str(blocks * 3300),
            }
        )
    if path.startswith("/api/v1/mining/hashrate/"):
        hashrate = market.difficulty * HASHES_PER_DIFFICULTY_1 / BLOCK_S
        day = int(now_s // 86_400 * 86_400)
        days = 365 if path.endswith("/1y") else 3
        return json.dumps(
            {
                "hashrates": [{"timestamp": day - k * 86_400, "avgHashrate": hashrate} for k in reversed(range(days))],
                "difficulty": [
                    {
                        "time": int(retargeted_s),
                        "height": retarget_height - RETARGET_INTERVAL,
                        "difficulty": market.difficulty,
                        "adjustment": 0.988,
                    }
                ],
                # A node's own estimate differs from what the difficulty implies, and must not be used for money.
                "currentHashrate": hashrate * 0.92,
                "currentDifficulty": market.difficulty,
            }
        )
    return None


def coinbase(target: str, market: MarketTruth, now_s: float) -> str | None:
    if urlsplit(target).path != "/v2/prices/BTC-USD/spot":
        return None
    return json.dumps({"data": {"amount": f"{market.btc_usd:.2f}", "base": "BTC", "currency": "USD"}})


def kraken(target: str, market: MarketTruth, now_s: float) -> str | None:
    """The ticker; as the real one, an unknown pair is an error inside an HTTP 200."""
    url = urlsplit(target)
    if url.path != "/0/public/Ticker":
        return None
    if parse_qs(url.query).get("pair", ["XBTUSD"])[0].upper() not in ("XBTUSD", "XXBTZUSD", "XBT/USD"):
        return json.dumps({"error": ["EQuery:Unknown asset pair"]})
    price = market.btc_usd
    ticker: dict[str, Any] = {
        "a": [f"{price + 0.1:.5f}", "1", "1.000"],
        "b": [f"{price:.5f}", "2", "2.000"],
        "c": [f"{price:.5f}", "0.01250000"],
        "v": ["812.20100000", "2410.11000000"],
        "p": [f"{price:.5f}", f"{price:.5f}"],
        "t": [21034, 60210],
        "l": [f"{price * 0.98:.5f}", f"{price * 0.97:.5f}"],
        "h": [f"{price * 1.02:.5f}", f"{price * 1.03:.5f}"],
        "o": f"{price:.5f}",
    }
    return json.dumps({"error": [], "result": {"XXBTZUSD": ticker}})


Shape = Callable[[str, MarketTruth, float], str | None]
FEEDS: Mapping[str, Shape] = {"mempool": mempool, "coinbase": coinbase, "kraken": kraken}


# ---------------------------------------------------------------------------------------------------------------------
# Server


class FeedServer:
    """One feed on one loopback port. `show` changes how it behaves, for connections that are open too."""

    def __init__(self, name: str, host: str, port: int, clock: Callable[[], float]) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.market = MarketTruth()
        self.fault = Misbehaviour.REFUSE
        self.requests = 0
        self._shape = FEEDS[name]
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._silent: socket.socket | None = None
        self._connections: set[_HttpConnection] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def show(self, fault: Misbehaviour) -> None:
        """Opens, closes or changes the face of this feed; NONE heals it."""
        is_listening = fault not in (Misbehaviour.REFUSE, Misbehaviour.SILENT)
        if self._silent is not None:
            self._silent.close()
            self._silent = None
        if not is_listening or fault is not self.fault:
            for connection in list(self._connections):
                connection.abort()
        if self._server is not None and not is_listening:
            self._server.close()
            self._server = None
        if self._server is None and is_listening:
            sock = tcp_listener(self.host, self.port)
            self.port = int(sock.getsockname()[1])
            self._server = await asyncio.get_running_loop().create_server(lambda: _HttpConnection(self), sock=sock)
        if fault is Misbehaviour.SILENT:
            self._silent = silent_listener(self.host, self.port)
        self.fault = fault

    def body(self, target: str) -> str | None:
        self.requests += 1
        return self._shape(target, self.market, self._clock())

    def move(self, **changes: float) -> None:
        """New market numbers by the names of MarketTruth."""
        self.market = replace(self.market, **changes)  # type: ignore[arg-type]

    async def aclose(self) -> None:
        await self.show(Misbehaviour.REFUSE)


class _HttpConnection(asyncio.Protocol):
    """One keep-alive connection; requests are answered in order."""

    __slots__ = ("_feed", "_received", "_timer", "_transport")

    def __init__(self, feed: FeedServer) -> None:
        self._feed = feed
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._feed._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._feed._connections.discard(self)
        self._transport = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            self._answer(head)
        if len(self._received) > MAX_REQUEST_BYTES:
            self.abort()

    def _answer(self, head: bytes) -> None:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        target = parts[1].decode("latin-1") if len(parts) == 3 else "/"
        body = self._feed.body(target)
        status = "200 OK"
        if body is None:
            body, status = "Not Found", "404 Not Found"
        match self._feed.fault:
            case Misbehaviour.HANG:
                return
            case Misbehaviour.MALFORMED:
                body = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            case Misbehaviour.OVERSIZE:
                body = '{"USD":' + " " * OVERSIZE_BYTES
        kind = "application/json" if body[:1] in "{[" else "text/plain"
        raw = body.encode()
        reply = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw
        if self._feed.fault is Misbehaviour.SLOW:
            self._timer = asyncio.get_running_loop().call_later(SLOW_S, self._write, reply)
        elif self._feed.fault is Misbehaviour.DRIBBLE:
            self._dribble(reply)
        else:
            self._write(reply)

    def _write(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)

    def _dribble(self, rest: bytes) -> None:
        self._write(rest[:1])
        if rest[1:] and self._transport is not None:
            self._timer = asyncio.get_running_loop().call_later(DRIBBLE_S, self._dribble, rest[1:])
