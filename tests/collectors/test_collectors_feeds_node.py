"""Bitcoin Core over its RPC, in the shapes that versions 24 to 30 print, against a node on loopback; and a file."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from collectors.feeds.bitcoin_core import cookie_login, parse_fees_sat, parse_tip, results_of, window_of
from collectors.feeds.catalogue import open_feed
from collectors.feeds.handwritten import parse_numbers
from fleet.market import MarketInput, Quote
from fleet.ports import Feed, PollError
from fleet.readings import FaultKind

NOW = 1_770_000_000.0
PATIENCE_S = 20.0
TIP = 933_586
D = 141668107417558.25
NEXT_D = 125864590119493.6
CHAIN: dict[str, Any] = {
    "chain": "main",
    "blocks": TIP,
    "headers": TIP,
    "bestblockhash": "00000000000000000000d1f3c2a0b8f7e6d5c4b3a29181706f5e4d3c2b1a0918",
    "bits": "1701fca1",
    "difficulty": 141668107417558.2,
    "time": NOW - 300,
    "mediantime": NOW - 3600,
    "verificationprogress": 0.99999,
    "initialblockdownload": False,
    "warnings": [],
}
MINING: dict[str, Any] = {
    "blocks": TIP,
    "bits": "1701fca1",
    "difficulty": 141668107417558.2,
    "target": "00..",
    "networkhashps": 9.345e20,
    "pooledtx": 1094,
    "chain": "main",
    "next": {"height": TIP + 1, "bits": "1701fca1", "difficulty": 141668107417558.2, "target": ".."},
    "warnings": "",
}


@dataclass
class Node:
    """A node as its RPC shows it: batches in, results out; counts what it was asked."""

    login: str = "__cookie__:5f1e"
    tip: int = TIP
    block: str = "a"
    fee_sat: dict[int, int] = field(default_factory=dict)  # of blocks that differ from the usual 2,000,000
    pruned_below: int = 0
    chain: dict[str, Any] = field(default_factory=dict)
    mining: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        name, params = call["method"], call["params"]
        self.asked.append((name, params[0] if params else None))
        if name == "getblockchaininfo":
            told = {**CHAIN, "blocks": self.tip, "headers": self.tip, "bestblockhash": self.block} | self.chain
        elif name == "getmininginfo":
            told = {**MINING, "blocks": self.tip, "next": {**MINING["next"], "height": self.tip + 1}} | self.mining
        elif params[0] < self.pruned_below:
            error = {"code": -1, "message": "Block not available (pruned data)"}
            return {"result": None, "error": error, "id": call["id"]}
        else:
            told = {"height": params[0], "time": 1, "subsidy": 312_500_000}
            told["totalfee"] = self.fee_sat.get(params[0], 2_000_000)
        return {"result": told, "error": None, "id": call["id"]}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
                status, answer = "401 Unauthorized", b""
                if head.split("authorization: basic ")[1].split("\r\n")[0] == self.token.lower():
                    status, answer = "200 OK", json.dumps([self.answer(call) for call in json.loads(body)]).encode()
                lines = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                writer.write(lines.encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @property
    def token(self) -> str:
        return base64.b64encode(self.login.encode()).decode()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    listener = await asyncio.start_server(node.talk, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield node
    listener.close()


@pytest.fixture
async def feed(node: Node, tmp_path: Path) -> AsyncIterator[Feed]:
    cookie = tmp_path / ".cookie"
    cookie.write_text(node.login)
    feed = open_feed("bitcoin_core", {"base_url": node.url, "cookie_file": str(cookie)}, PATIENCE_S, lambda: NOW)
    yield feed
    await feed.aclose()


def by_input(quotes: tuple[Quote, ...]) -> dict[MarketInput, Quote]:
    return {quote.input: quote for quote in quotes}


async def test_a_node_gives_height_difficulty_of_the_next_block_and_the_fees_of_144_blocks(
    node: Node, feed: Feed
) -> None:
    node.fee_sat = {TIP: 8_920_000, TIP - 143: 2_000_144, TIP - 144: 10**9}
    quotes = by_input(await feed.read())
    assert {input: (quote.value, quote.as_of_s, quote.at_height) for input, quote in quotes.items()} == {
        MarketInput.HEIGHT: (TIP, NOW - 300, None),
        MarketInput.DIFFICULTY: (D, NOW, TIP + 1),
        # 142 blocks of 0.02 BTC, one of 0.0892 and one of 0.02000144
        MarketInput.BLOCK_FEES_BTC: (pytest.approx((142 * 0.02 + 0.0892 + 0.02000144) / 144), NOW, None),
    }
    assert {quote.source for quote in quotes.values()} == {"bitcoin_core"}


async def test_fees_are_asked_for_once_and_those_at_the_tip_again_when_it_moves(node: Node, feed: Feed) -> None:
    await feed.read()
    node.asked.clear()
    await feed.read()
    assert [name for name, _ in node.asked] == ["getblockchaininfo", "getmininginfo"]
    node.tip, node.block, node.fee_sat = TIP + 1, "b", {TIP: 5_000_000}  # TIP is of another chain now
    node.asked.clear()
    quotes = by_input(await feed.read())
    assert sorted(height for name, height in node.asked if name == "getblockstats") == list(range(TIP - 4, TIP + 2))
    assert quotes[MarketInput.BLOCK_FEES_BTC].value == pytest.approx((143 * 0.02 + 0.05) / 144)


async def test_a_node_that_has_pruned_the_window_gives_no_fees_and_everything_else(node: Node, feed: Feed) -> None:
    node.pruned_below = TIP - 100
    assert set(by_input(await feed.read())) == {MarketInput.HEIGHT, MarketInput.DIFFICULTY}


async def test_at_the_end_of_an_epoch_the_difficulty_is_that_of_the_next_block(node: Node, feed: Feed) -> None:
    node.tip = 935_423
    node.mining = {"next": {"height": 935_424, "difficulty": NEXT_D}}
    quote = by_input(await feed.read())[MarketInput.DIFFICULTY]
    assert (quote.value, quote.at_height) == (NEXT_D, 935_424)


def test_a_node_before_29_gives_the_difficulty_of_its_tip() -> None:
    old = {key: value for key, value in MINING.items() if key not in ("next", "bits", "target")}
    tip = parse_tip(CHAIN, old, NOW)
    assert (tip.difficulty, tip.at_height) == (141668107417558.2, TIP)


@pytest.mark.parametrize(
    ("chain", "mining", "kind", "detail"),
    [
        ({"initialblockdownload": True}, {}, FaultKind.UNREACHABLE, "initial block download"),
        ({"initialblockdownload": 0}, {}, FaultKind.UNREACHABLE, "initial block download"),
        ({"headers": TIP + 3}, {}, FaultKind.UNREACHABLE, "3 blocks behind its headers"),
        ({"chain": "test"}, {}, FaultKind.IDENTITY, "on chain test, not main"),
        ({"chain": "\x1b[31m"}, {}, FaultKind.IDENTITY, r"on chain \x1b[31m, not main"),
        ({}, {"chain": "regtest"}, FaultKind.IDENTITY, "on chain regtest"),
        ({"time": NOW - 7201}, {}, FaultKind.UNREACHABLE, "newest block is 2.0 h old"),
        ({"time": NOW + 7201}, {}, FaultKind.MALFORMED, "from the future"),
        ({"blocks": -1}, {}, FaultKind.MALFORMED, "blocks is not a count"),
        ({"blocks": TIP - 5, "headers": TIP - 5}, {}, FaultKind.MALFORMED, "not about the chain"),
        ({}, {"difficulty": 0}, FaultKind.MALFORMED, "difficulty does not fit bits"),
        ({}, {"difficulty": 141668107417558.2 * 1.01}, FaultKind.MALFORMED, "difficulty does not fit bits"),
        ({}, {"bits": "1800ffff"}, FaultKind.MALFORMED, "difficulty does not fit bits"),
        ({}, {"bits": "x"}, FaultKind.MALFORMED, "bits is no target"),
        ({}, {"bits": 7}, FaultKind.MALFORMED, "bits is no target"),
        ({}, {"networkhashps": 934.5}, FaultKind.MALFORMED, "networkhashps"),
        ({}, {"next": {"height": TIP + 2, "difficulty": D}}, FaultKind.MALFORMED, "next.height"),
        ({}, {"next": None}, FaultKind.MALFORMED, "no field next.height"),
    ],
)
def test_a_node_that_must_not_be_believed_is_refused(
    chain: dict[str, Any], mining: dict[str, Any], kind: FaultKind, detail: str
) -> None:
    with pytest.raises(PollError) as caught:
        parse_tip({**CHAIN, **chain}, {**MINING, **mining}, NOW)
    assert caught.value.kind is kind
    assert detail in caught.value.detail
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("headers", [TIP, TIP + 2])
def test_a_node_two_headers_ahead_is_believed_and_a_block_may_come_while_it_answers(headers: int) -> None:
    mining = {**MINING, "blocks": TIP + 1, "next": {**MINING["next"], "height": TIP + 2}}
    assert parse_tip({**CHAIN, "headers": headers}, mining, NOW).height == TIP + 1


def test_a_block_with_a_clock_that_is_fast_is_of_now() -> None:
    assert parse_tip({**CHAIN, "time": NOW + 3600}, MINING, NOW).time_s == NOW


@pytest.mark.parametrize(
    "change",
    [
        {"totalfee": -1},
        {"totalfee": 0.02},
        {"totalfee": None},
        {"subsidy": 3.125},
        {"subsidy": 625_000_000},
        {"height": 1},
    ],
)
def test_fees_of_a_block_that_cannot_be_are_malformed(change: dict[str, object]) -> None:
    stats = {"height": TIP, "time": 1, "subsidy": 312_500_000, "totalfee": 2_000_000}
    assert parse_fees_sat(stats, TIP) == 2_000_000
    with pytest.raises(PollError):
        parse_fees_sat({**stats, **change}, TIP)


def test_the_window_is_144_blocks_on_both_sides_of_a_halving() -> None:
    assert len(window_of(840_071)) == 144
    assert {parse_fees_sat({"height": h, "subsidy": s, "totalfee": 5}, h) for h, s in
            ((839_999, 625_000_000), (840_000, 312_500_000))} == {5}  # fmt: skip
    assert list(window_of(2)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ([{"id": 0, "error": {"code": -28, "message": "Loading block index"}}], FaultKind.UNREACHABLE, "is starting"),
        ([{"id": 0, "error": {"code": -32601, "message": "Method not found"}}], FaultKind.UNSUPPORTED, "Method"),
        ([{"id": 0, "error": {"code": -1, "message": "x\x1b[2J"}}], FaultKind.UNREACHABLE, r"x\x1b[2J"),
        ([{"id": 0, "error": "no"}], FaultKind.UNREACHABLE, "no reason"),
        ({"error": {"code": -28, "message": "Verifying"}}, FaultKind.UNREACHABLE, "is starting: Verifying"),
        ([], FaultKind.MALFORMED, "not the answers"),
        ([{"id": 1, "result": 5}], FaultKind.MALFORMED, "not the answers"),
        ([{"id": True, "result": 5}], FaultKind.MALFORMED, "not the answers"),
        ("pong", FaultKind.MALFORMED, "not the answers"),
    ],
)
def test_a_batch_without_answers_is_a_fault(body: object, kind: FaultKind, detail: str) -> None:
    with pytest.raises(PollError) as caught:
        results_of(body, 1)
    assert caught.value.kind is kind
    assert detail in caught.value.detail
    assert caught.value.detail.isprintable()


def test_answers_are_told_by_their_ids() -> None:
    assert results_of([{"id": 1, "result": "b"}, {"id": 0, "result": "a", "error": None}], 2) == ["a", "b"]


# --- logging in ------------------------------------------------------------------------------------------------------


async def test_a_new_cookie_is_used_at_the_next_look(node: Node, feed: Feed, tmp_path: Path) -> None:
    await feed.read()
    node.login = "__cookie__:another"
    with pytest.raises(PollError) as caught:
        await feed.read()
    assert (caught.value.kind, caught.value.detail) == (FaultKind.DENIED, "HTTP 401")
    (tmp_path / ".cookie").write_text(node.login + "\n")
    assert len(await feed.read()) == 3


async def test_a_user_with_a_password_may_log_in(node: Node) -> None:
    node.login = "hashwatt:pass:word"
    options = {"base_url": node.url, "user": "hashwatt", "password": "pass:word"}
    feed = open_feed("bitcoin_core", options, PATIENCE_S, lambda: NOW)
    assert len(await feed.read()) == 3
    await feed.aclose()


def test_a_cookie_that_is_none_is_told_without_its_content(tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    with pytest.raises(PollError, match="cannot read the cookie file: No such file"):
        cookie_login(str(cookie))()
    for content in ("", "secret", ":", "user:", "us\u00e9r:secret"):
        cookie.write_text(content)
        with pytest.raises(PollError, match="holds no login") as caught:
            cookie_login(str(cookie))()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{}, {"user": "u"}, {"password": "p"}, {"cookie_file": "c", "user": "u", "password": "p"}, {"cookie_file": 5.0}],
)
def test_a_node_without_one_way_to_log_in_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs a cookie_file, or a user and a password|is not a text"):
        open_feed("bitcoin_core", options, 1.0, lambda: NOW)


# --- a file ----------------------------------------------------------------------------------------------------------

NUMBERS = """
difficulty = 141668107417558.25
height = 935_140
block_fees_btc = 0.02
btc_usd = 70_150
as_of = 2026-02-02T02:00:00Z
"""


async def test_a_file_is_read_anew_at_every_look(tmp_path: Path) -> None:
    path = tmp_path / "market.toml"
    feed = open_feed("file", {"path": str(path)}, 1.0, lambda: NOW)
    with pytest.raises(PollError, match="cannot read the file: No such file"):
        await feed.read()
    path.write_text(NUMBERS)
    quotes = by_input(await feed.read())
    assert {input: quote.value for input, quote in quotes.items()} == {
        MarketInput.DIFFICULTY: D,
        MarketInput.HEIGHT: 935_140.0,
        MarketInput.BLOCK_FEES_BTC: 0.02,
        MarketInput.BTC_USD: 70_150.0,
    }
    assert {(quote.source, quote.as_of_s, quote.good_for_s) for quote in quotes.values()} == {
        ("file", 1_769_997_600.0, 86_400.0)
    }
    path.write_text("btc_usd = 71000\ngood_for_h = 2.5\nas_of = 2026-02-02T03:30:00+01:00\n")
    (quote,) = await feed.read()
    assert (quote.value, quote.as_of_s, quote.soft_s) == (71_000.0, 1_769_999_400.0, 9000.0)
    await feed.aclose()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "as_of is not a time"),
        ("as_of = 2026-02-02T02:00:00Z", "states no number"),
        ("btc_usd = 70000\nas_of = 2026-02-02T02:00:00", "as_of is not a time with its zone"),
        ("btc_usd = 70000\nas_of = 2026-02-02", "as_of is not a time with its zone"),
        ("btc_usd = 70000\nas_of = 2026-02-02T03:00:00Z", "as_of is in the future"),
        ("price = 70000\nas_of = 2026-02-02T02:00:00Z", "unknown key price"),
        ('btc_usd = "70000"\nas_of = 2026-02-02T02:00:00Z', "btc_usd is not a number"),
        ("btc_usd = true\nas_of = 2026-02-02T02:00:00Z", "btc_usd is not a number"),
        ("btc_usd = nan\nas_of = 2026-02-02T02:00:00Z", "btc_usd is not a number"),
        (f"btc_usd = {'9' * 400}\nas_of = 2026-02-02T02:00:00Z", "btc_usd is not a number"),
        (f"btc_usd = {'9' * 5000}\nas_of = 2026-02-02T02:00:00Z", "not TOML"),
        ("btc_usd = -1\nas_of = 2026-02-02T02:00:00Z", "btc_usd -1 is out of bounds"),
        ("difficulty = 0\nas_of = 2026-02-02T02:00:00Z", "difficulty 0 is out of bounds"),
        ("btc_usd = 70000\ngood_for_h = 0\nas_of = 2026-02-02T02:00:00Z", "good_for_h is not between"),
        ("{", "not TOML"),
        ("x = " + "[" * 5000, "not TOML"),
    ],
)
def test_a_file_with_a_mistake_names_it(text: str, detail: str) -> None:
    with pytest.raises(PollError) as caught:
        parse_numbers(text.encode(), "file", NOW)
    assert caught.value.kind is FaultKind.MALFORMED
    assert detail in caught.value.detail
    assert caught.value.detail.isprintable()


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(PollError, match="not TOML"):
        parse_numbers(b"\xff\xfe", "file", NOW)


async def test_a_giant_file_is_not_read(tmp_path: Path) -> None:
    feed = open_feed("file", {"path": "/dev/zero"}, 1.0, lambda: NOW)
    with pytest.raises(PollError) as caught:
        await feed.read()
    assert caught.value.kind is FaultKind.OVERSIZE
    assert math.isfinite(caught.value.wait_s)
