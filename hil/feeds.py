"""HTTP stand-ins for the market feeds: mempool, exchanges, pages of statistics, Luxor, and a node's RPC.

Each feed is a function from (path, body, market, time) to a reply body, served by one small HTTP/1.1 server with
keep-alive, in clear or under TLS. The market is shared, so all feeds tell the same story; each server can be hung,
refused, made to talk garbage or to lie alone. The chain grows by a block every ten minutes, as nothing honest stands
still.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
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


def bitstamp(target: str, market: MarketTruth, now_s: float) -> str | None:
    if urlsplit(target).path != "/api/v2/ticker/btcusd/":
        return None
    price = market.btc_usd
    told = {
        "timestamp": f"{now_s:.0f}",
        "last": price,
        "bid": price - 1,
        "ask": price + 1,
        "open": price,
        "volume": 1203.1,
    }
    return json.dumps({key: value if isinstance(value, str) else f"{value:g}" for key, value in told.items()} | {
        "last": f"{price:.2f}"
    })  # fmt: skip


def gemini(target: str, market: MarketTruth, now_s: float) -> str | None:
    if urlsplit(target).path != "/v1/pubticker/BTCUSD":
        return None
    last = f"{market.btc_usd:.2f}"
    volume = {"BTC": "812.2", "USD": "57000000", "timestamp": int(now_s * 1000)}
    return json.dumps({"bid": last, "ask": last, "last": last, "volume": volume})


def bitfinex(target: str, market: MarketTruth, now_s: float) -> str | None:
    if urlsplit(target).path != "/v1/pubticker/BTCUSD":
        return None
    last = f"{market.btc_usd:.1f}"
    return json.dumps({"mid": last, "bid": last, "ask": last, "last_price": last, "timestamp": f"{now_s:.6f}"})


def blockchain_info(target: str, market: MarketTruth, now_s: float) -> str | None:
    """With fees as they have been seen: of no use to anybody."""
    if urlsplit(target).path != "/stats":
        return None
    return json.dumps(
        {
            "timestamp": int(now_s * 1000),
            "market_price_usd": round(market.btc_usd, 2),
            "hash_rate": market.difficulty * HASHES_PER_DIFFICULTY_1 / BLOCK_S / 1e9 * 0.95,
            "difficulty": market.difficulty,
            "nextretarget": (market.height // RETARGET_INTERVAL + 1) * RETARGET_INTERVAL,
            "total_fees_btc": -315_000_000_000,
            "miners_revenue_usd": 0,
        }
    )


def braiins(target: str, market: MarketTruth, now_s: float) -> str | None:
    match urlsplit(target).path:
        case "/v1.0/difficulty-stats":
            return json.dumps({"difficulty": market.difficulty, "block_epoch": market.height // RETARGET_INTERVAL})
        case "/v1.0/price-stats":
            return json.dumps({"price": market.btc_usd, "percent_change_24h": -1.2, "timestamp": int(now_s)})
    return None


def luxor(body: bytes, market: MarketTruth, now_s: float) -> str:
    """The published hashprice, in USD per TH and day, newest first."""
    reward = market.subsidy_btc + market.block_fees_btc
    hashprice = 86_400e12 / HASHES_PER_DIFFICULTY_1 * reward * market.btc_usd / market.difficulty
    nodes = [
        {"timestamp": datetime.fromtimestamp(now_s - 300 * k, UTC).isoformat(), "usdHashprice": round(hashprice, 6)}
        for k in range(3)
    ]
    return json.dumps({"data": {"getHashprice": {"nodes": nodes}}})


def bitcoin_core(body: bytes, market: MarketTruth, now_s: float) -> str:
    """Batches of the three calls that mining cares about."""
    answers = [
        {"result": _rpc(call["method"], call["params"], market, now_s), "error": None, "id": call["id"]}
        for call in json.loads(body)
    ]
    return json.dumps(answers)


def _rpc(method: str, params: list[Any], market: MarketTruth, now_s: float) -> dict[str, Any] | str | float:
    tip = {"chain": "main", "blocks": market.height, "difficulty": market.difficulty}
    match method:
        case "getblockchaininfo":
            sync = {"headers": market.height, "bestblockhash": f"{market.height:064x}", "initialblockdownload": False}
            return {**tip, **sync, "time": int(now_s - 120), "warnings": []}
        case "getmininginfo":
            following = {"height": market.height + 1, "difficulty": market.difficulty}
            estimate = market.difficulty * HASHES_PER_DIFFICULTY_1 / BLOCK_S * 0.92
            return {**tip, "networkhashps": estimate, "pooledtx": 1094, "next": following, "warnings": ""}
        case "getnetworkhashps":
            return market.difficulty * HASHES_PER_DIFFICULTY_1 / BLOCK_S * 0.92
        case "getblockhash":
            return f"{params[0]:064x}"
        case "getblockheader":
            height = int(params[0], 16)
            return {"height": height, "time": int(now_s - 120 - (market.height - height) * BLOCK_S)}
    subsidy = math.ldexp(50.0, -(params[0] // 210_000))
    fees_sat = round(market.block_fees_btc * 1e8)
    return {"height": params[0], "time": int(now_s), "subsidy": round(subsidy * 1e8), "totalfee": fees_sat}


Shape = Callable[[str, MarketTruth, float], str | None]
FEEDS: Mapping[str, Shape] = {"mempool": mempool, "coinbase": coinbase, "kraken": kraken}
"""What a farm serves."""
SHAPES: Mapping[str, Shape] = {
    **FEEDS,
    "bitstamp": bitstamp,
    "gemini": gemini,
    "bitfinex": bitfinex,
    "blockchain_info": blockchain_info,
    "braiins": braiins,
}
POSTED: Mapping[str, Callable[[bytes, MarketTruth, float], str]] = {"luxor": luxor, "bitcoin_core": bitcoin_core}


class Lie(StrEnum):
    """How a feed can be wrong while its HTTP is well, and how its HTTP can be bad in ways that only HTTP has."""

    STALE = "stale"  # says for ever what it said, with the times of then
    HUNDREDFOLD = "hundredfold"
    WRONG_UNIT = "wrong_unit"  # thousands of USD, difficulty in T, satoshi for BTC
    CONFLICTING = "conflicting"  # off by a tenth, everything in itself consistent
    REDIRECT = "redirect"
    RATE_LIMITED = "rate_limited"
    GZIP_BOMB = "gzip_bomb"


FeedFault = Misbehaviour | Lie
RETRY_AFTER_S = 77
BOMB_BYTES = 64 * 1024 * 1024


def lied(market: MarketTruth, fault: FeedFault) -> MarketTruth:
    """The numbers that a feed with this fault tells."""
    match fault:
        case Lie.HUNDREDFOLD:
            factors = (100.0, 100.0, 100.0)
        case Lie.WRONG_UNIT:
            factors = (1e-3, 1e-12, 1e8)
        case Lie.CONFLICTING:
            factors = (1.1, 1.1, 1.1)
        case _:
            return market
    price, difficulty, fees = factors
    return replace(
        market,
        btc_usd=market.btc_usd * price,
        difficulty=market.difficulty * difficulty,
        block_fees_btc=market.block_fees_btc * fees,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Server


class FeedServer:
    """One feed on one loopback port. `show` changes how it behaves, for connections that are open too."""

    def __init__(
        self, name: str, host: str, port: int, clock: Callable[[], float], tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.market = MarketTruth()
        self.fault: FeedFault = Misbehaviour.REFUSE
        self.requests = 0
        self._clock = clock
        self._tls = tls
        self._started_s = clock()
        self._stopped_s = self._started_s
        self._server: asyncio.Server | None = None
        self._silent: socket.socket | None = None
        self._connections: set[_HttpConnection] = set()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{self.host}:{self.port}"

    async def show(self, fault: FeedFault) -> None:
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
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _HttpConnection(self), sock=sock, ssl=self._tls
            )
        if fault is Misbehaviour.SILENT:
            self._silent = silent_listener(self.host, self.port)
        self.fault = fault
        self._stopped_s = self._clock()

    def body(self, target: str, posted: bytes = b"") -> str | None:
        self.requests += 1
        now_s = self._stopped_s if self.fault is Lie.STALE else self._clock()
        market = lied(self._grown(now_s), self.fault)
        if self.name in POSTED:
            return POSTED[self.name](posted, market, now_s)
        return SHAPES[self.name](target, market, now_s)

    def _grown(self, now_s: float) -> MarketTruth:
        """The market with the blocks that have been found since the start, and fees that follow them by a satoshi."""
        blocks = max(0, int((now_s - self._started_s) / BLOCK_S))
        fees_btc = self.market.block_fees_btc + blocks % 7 * 1e-8
        return replace(self.market, height=self.market.height + blocks, block_fees_btc=fees_btc)

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
            head, rest = self._received.split(b"\r\n\r\n", 1)
            told = re.search(rb"(?i)content-length: *([0-9]{1,6})", head)
            length = int(told[1]) if told else 0
            if len(rest) < length:
                break
            self._received = rest[length:]
            self._answer(head, rest[:length])
        if len(self._received) > MAX_REQUEST_BYTES:
            self.abort()

    def _answer(self, head: bytes, posted: bytes) -> None:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        target = parts[1].decode("latin-1") if len(parts) == 3 else "/"
        body = self._feed.body(target, posted)
        status = "200 OK"
        extra = ""
        if body is None:
            body, status = "Not Found", "404 Not Found"
        match self._feed.fault:
            case Misbehaviour.HANG:
                return
            case Misbehaviour.MALFORMED:
                body = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            case Misbehaviour.OVERSIZE:
                body = '{"USD":' + " " * OVERSIZE_BYTES
            case Lie.REDIRECT:
                body, status, extra = "", "302 Found", "Location: https://elsewhere.example/api\r\n"
            case Lie.RATE_LIMITED:
                body, status, extra = "", "429 Too Many Requests", f"Retry-After: {RETRY_AFTER_S}\r\n"
        kind = "application/json" if body[:1] in "{[" else "text/plain"
        raw = body.encode()
        if self._feed.fault is Lie.GZIP_BOMB:
            raw, extra = gzip.compress(bytes(BOMB_BYTES), 1), "Content-Encoding: gzip\r\n"
        lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(raw)}\r\n\r\n"
        reply = lines.encode() + raw
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
