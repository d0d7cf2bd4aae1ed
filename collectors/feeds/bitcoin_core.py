"""A node of one's own, Bitcoin Core, over its RPC: height, difficulty of the next block, and the fees of 144 blocks.

One batch says who the node is and where it stands; a node that is not on the main chain, still loads it, lags behind or
has not seen a block for hours is refused, because its numbers would look right and be old. The fees of a block never
change, so they are asked for once: after a start in several batches, from then on one block at a time and a few below
it, whose place another chain may have taken.

From version 29 the node says what the next block will need, and that is the difficulty that new work is paid by: at the
end of an epoch it is the new one already. An older node cannot say it; it then gives the one of its tip.

What the outlook rests on is asked when the tip moves: when the epoch began, and a year of network hashrate by weeks.
Where that is lost it is no fault, as no price waits for it.

The cookie is read anew at every look, as the node writes a new one at each start. Neither it nor a password is ever
part of a message.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.feeds.fields import count, field, fits_hashrate, malformed, number, printable, quote
from collectors.feeds.http import HttpClient
from fleet.market import RETARGET_INTERVAL, MarketInput, Quote, difficulty_from_bits, in_bounds, subsidy_btc
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.units import SATS_PER_BTC

BASE_URL = "http://127.0.0.1:8332"
WINDOW_BLOCKS = 144
REORG_BLOCKS = 6  # no longer branch has been left behind since 2013
BATCH_BLOCKS = 16  # fees of an older block cost the node a tenth of a second and more
FEES_SHARE = 0.5  # of the deadline: no further batch is begun later than this

MAX_BEHIND = 2
MAX_TIP_AGE_S = 2 * 3600.0
MAX_COOKIE_BYTES = 1024
WEEK_BLOCKS, WEEKS = 1008, 52
STATS = ["height", "time", "subsidy", "totalfee"]

IN_WARMUP, METHOD_NOT_FOUND = -28, -32601

Call = tuple[str, Sequence[object]]
Login = Callable[[], str]
"""Gives "user:password". Errors: PollError."""


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a node stands that may be believed. `difficulty` holds at `at_height`."""

    height: int
    block: str
    time_s: float
    difficulty: float
    at_height: int


class BitcoinCoreFeed:
    """One node. `now` gives the Unix time of a receipt."""

    def __init__(
        self, client: HttpClient, source: str, base_url: str | None, login: Login, deadline_s: float,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._client, self._source, self._login = client, source, login
        self._url = (base_url or BASE_URL).rstrip("/") + "/"
        self._deadline_s, self._now = deadline_s, now
        self._fees_sat: dict[int, int] = {}
        self._block = ""
        self._outlook: Mapping[MarketInput, float] = {}

    async def read(self) -> tuple[Quote, ...]:
        """Height and difficulty, and the fees as soon as all of the window are known."""
        clock = asyncio.get_running_loop().time
        started_s = clock()
        chain, mining = await self._ask([("getblockchaininfo", ()), ("getmininginfo", ())], self._deadline_s)
        tip = parse_tip(chain, mining, self._now())
        quotes = [
            quote(MarketInput.HEIGHT, self._source, tip.height, tip.time_s),
            quote(MarketInput.DIFFICULTY, self._source, tip.difficulty, self._now(), at_height=tip.at_height),
        ]
        if tip.block != self._block:
            self._outlook = await self._look_out(tip, self._deadline_s - (clock() - started_s))
        quotes += [
            quote(input, self._source, value, self._now(), at_height=tip.height)
            for input, value in self._outlook.items()
        ]
        self._forget(tip)
        try:
            while (wanted := self._unknown(tip)) and clock() - started_s < self._deadline_s * FEES_SHARE:
                await self._learn(wanted[:BATCH_BLOCKS], self._deadline_s - (clock() - started_s))
        except PollError as error:
            if error.kind is FaultKind.DENIED:
                raise
            wanted = self._unknown(tip)  # pruned away, or too slow: what is known stays, and the next look goes on
        if not wanted:
            window = [self._fees_sat[height] for height in window_of(tip.height)]
            fees_btc = sum(window) / len(window) / SATS_PER_BTC
            quotes.append(quote(MarketInput.BLOCK_FEES_BTC, self._source, fees_btc, self._now()))
        return tuple(quotes)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _forget(self, tip: Tip) -> None:
        """Drop what has left the window, and what another chain may have replaced since the last look."""
        first, settled = tip.height - WINDOW_BLOCKS + 1, tip.height - REORG_BLOCKS
        is_moved = tip.block != self._block
        self._block = tip.block
        self._fees_sat = {
            height: sat
            for height, sat in self._fees_sat.items()
            if first <= height <= (settled if is_moved else tip.height)
        }

    def _unknown(self, tip: Tip) -> list[int]:
        """The blocks of the window whose fees are still to be asked for, newest first."""
        return [height for height in reversed(window_of(tip.height)) if height not in self._fees_sat]

    async def _learn(self, heights: Sequence[int], deadline_s: float) -> None:
        answers = await self._ask([("getblockstats", (height, STATS)) for height in heights], deadline_s)
        for height, stats in zip(heights, answers, strict=True):
            self._fees_sat[height] = parse_fees_sat(stats, height)

    async def _look_out(self, tip: Tip, deadline_s: float) -> Mapping[MarketInput, float]:
        """What the outlook rests on; nothing where the node does not say it."""
        first = tip.height - tip.height % RETARGET_INTERVAL
        weeks = [("getnetworkhashps", (WEEK_BLOCKS, tip.height - week * WEEK_BLOCKS)) for week in range(WEEKS)]
        try:
            block, *hashrates = await self._ask([("getblockhash", (first,)), *weeks], deadline_s)
            headers = [("getblockheader", (str(each)[:64],)) for each in (block, tip.block)]
            opening, newest = await self._ask(headers, deadline_s)
            return parse_outlook(opening, newest, hashrates, tip)
        except PollError as error:
            if error.kind is FaultKind.DENIED:
                raise
            return {}

    async def _ask(self, calls: Sequence[Call], deadline_s: float) -> list[object]:
        """The results of one batch, in the order of the calls."""
        login = base64.b64encode((await asyncio.to_thread(self._login)).encode()).decode()
        question = [
            {"jsonrpc": "1.0", "id": i, "method": name, "params": list(params)}
            for i, (name, params) in enumerate(calls)
        ]
        body = await self._client.post_json(
            self._url, question, deadline_s=deadline_s, headers={"Authorization": f"Basic {login}"}
        )
        return results_of(body, len(calls))


def window_of(height: int) -> range:
    """The heights of the last 144 blocks."""
    return range(max(0, height - WINDOW_BLOCKS + 1), height + 1)


def cookie_login(path: str) -> Login:
    """The login that a node leaves in its data directory."""

    def login() -> str:
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_COOKIE_BYTES)
        except OSError as error:
            raise PollError(FaultKind.DENIED, f"cannot read the cookie file: {error.strerror}") from None
        user, colon, password = content.decode("latin-1").strip().partition(":")
        if not (user and colon and password and content.isascii()):
            raise PollError(FaultKind.DENIED, "the cookie file holds no login")
        return f"{user}:{password}"

    return login


def results_of(body: object, calls: int) -> list[object]:
    """What a batch gave, by its ids. Errors: PollError, with the node's own words where it refuses a call."""
    if isinstance(body, dict):  # a node that refuses the batch as a whole answers with one object
        raise _refusal(body.get("error"))
    by_id: dict[int, Mapping[str, object]] = {}
    for answer in body if isinstance(body, list) else ():
        if isinstance(answer, dict) and type(answer.get("id")) is int:
            by_id[answer["id"]] = answer
    if sorted(by_id) != list(range(calls)):
        raise malformed("not the answers to these questions")
    for answer in by_id.values():
        if answer.get("error") is not None:
            raise _refusal(answer["error"])
    return [by_id[i].get("result") for i in range(calls)]


def _refusal(error: object) -> PollError:
    code = error.get("code") if isinstance(error, dict) else None
    told = printable(str(error.get("message"))) if isinstance(error, dict) else "no reason"
    if code == IN_WARMUP:
        return PollError(FaultKind.UNREACHABLE, f"the node is starting: {told}")
    kind = FaultKind.UNSUPPORTED if code == METHOD_NOT_FOUND else FaultKind.UNREACHABLE
    return PollError(kind, f"the node answers {told}")


def parse_tip(chain: object, mining: object, now_s: float) -> Tip:
    """Where the node stands. Errors: PollError for a node that must not be believed, with the reason."""
    for told in (chain, mining):
        if field(told, "chain") != "main":
            raise PollError(
                FaultKind.IDENTITY, f"the node is on chain {printable(str(field(told, 'chain')))}, not main"
            )
    is_loading = field(chain, "initialblockdownload")
    if is_loading is not False:
        raise PollError(FaultKind.UNREACHABLE, "the node is in its initial block download")
    blocks, headers = count(field(chain, "blocks"), "blocks"), count(field(chain, "headers"), "headers")
    if headers - blocks > MAX_BEHIND:
        raise PollError(FaultKind.UNREACHABLE, f"the node is {headers - blocks} blocks behind its headers")
    time_s = number(field(chain, "time"), "time")
    if now_s - time_s > MAX_TIP_AGE_S:
        raise PollError(FaultKind.UNREACHABLE, f"the node's newest block is {(now_s - time_s) / 3600:.1f} h old")
    if time_s - now_s > MAX_TIP_AGE_S:  # consensus permits two hours
        raise malformed("the newest block is from the future")
    height = count(field(mining, "blocks"), "blocks")
    if not blocks <= height <= blocks + MAX_BEHIND:  # a block may come between the two answers
        raise malformed("getmininginfo is not about the chain of getblockchaininfo")
    difficulty, at_height = _next_difficulty(mining, height)
    return Tip(height, str(field(chain, "bestblockhash")), min(time_s, now_s), difficulty, at_height)


def _next_difficulty(mining: object, height: int) -> tuple[float, int]:
    """The difficulty of the next block where the node says it, else the tip's, and the height at which it holds."""
    difficulty = _difficulty(mining)
    estimate_hs = number(field(mining, "networkhashps"), "networkhashps")
    if estimate_hs > 0 and not fits_hashrate(difficulty, estimate_hs):
        raise malformed("difficulty does not fit networkhashps")
    if not isinstance(mining, dict) or "next" not in mining:
        return difficulty, height
    if count(field(mining, "next", "height"), "next.height") != height + 1:
        raise malformed("next.height does not follow blocks")
    return _difficulty(field(mining, "next")), height + 1


def _difficulty(told: object) -> float:
    """The printed difficulty, to all its digits where the compact target beside it confirms it."""
    printed = number(field(told, "difficulty"), "difficulty")
    if not isinstance(told, dict) or "bits" not in told:
        return printed
    try:
        exact = difficulty_from_bits(int(str(told["bits"])[:16], 16))
    except ValueError:
        raise malformed("bits is no target") from None
    if abs(printed / exact - 1) > 1e-9:
        raise malformed("difficulty does not fit bits")
    return exact


def parse_outlook(
    opening: object, newest: object, hashrates: Sequence[object], tip: Tip
) -> Mapping[MarketInput, float]:
    """Start of the epoch, time of the tip where it is still the tip, hashrate of the last week and of the best one."""
    if count(field(opening, "height"), "height") != tip.height - tip.height % RETARGET_INTERVAL:
        raise malformed("the header is of another block")
    weekly_hs = [number(each, "networkhashps") for each in hashrates]
    told = {
        MarketInput.EPOCH_START_S: number(field(opening, "time"), "time"),
        MarketInput.NETWORK_HASHRATE_HS: weekly_hs[0],
        MarketInput.NETWORK_HASHRATE_PEAK_HS: max(weekly_hs),
    }
    if count(field(newest, "height"), "height") == tip.height:
        told[MarketInput.TIP_TIME_S] = number(field(newest, "time"), "time")
    if not all(in_bounds(input, value) for input, value in told.items()):
        raise malformed("a time or a hashrate is out of bounds")
    return told


def parse_fees_sat(stats: object, height: int) -> int:
    """The fees of one block, satoshi; its subsidy must be the one of its height, so that a slip of units shows."""
    if count(field(stats, "height"), "height") != height:
        raise malformed("the stats are of another block")
    if count(field(stats, "subsidy"), "subsidy") != round(subsidy_btc(height) * SATS_PER_BTC):
        raise malformed("subsidy is not the one of this height")
    return count(field(stats, "totalfee"), "totalfee")
