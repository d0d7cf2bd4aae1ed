"""mempool, public or self-hosted, over its REST API: height, fees, difficulty and an hourly price.

Each endpoint gives one quote and is lost alone. Difficulty is `currentDifficulty`; `currentHashrate` beside it is an
estimate and never enters a hashprice. Only the price carries a time of its own; the others are as of their receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from collectors.feeds.fields import count, field, malformed, number, quote, timestamp_s
from collectors.feeds.http import HttpClient
from fleet.market import HARD_AGE_S, MarketInput, Quote, subsidy_btc
from fleet.ports import PollError
from fleet.units import BLOCK_INTERVAL_S, HASHES_PER_DIFFICULTY_1, SATS_PER_BTC

BASE_URL = "https://mempool.space"

TIP_HEIGHT = "/api/blocks/tip/height"
REWARD_STATS = "/api/v1/mining/reward-stats/144"
HASHRATE = "/api/v1/mining/hashrate/3d"
PRICES = "/api/v1/prices"

PRICE_SOFT_S = 3600.0  # the server's default update interval
PRICE_GOOD_FOR_S = PRICE_SOFT_S + HARD_AGE_S[MarketInput.BTC_USD]

MAX_WINDOW_BLOCKS = 1008  # asked are 144; a server that indexes anew may answer with fewer
SUBSIDY_TOLERANCE = 0.003  # a block may claim a little less than it is allowed; one of 144 missing is 0.007
HASHRATE_FACTOR = 4.0  # no honest estimate is further than one retarget from what the difficulty implies


class MempoolFeed:
    """One mempool server. `now` gives the Unix time of a receipt."""

    def __init__(
        self, client: HttpClient, base_url: str, deadline_s: float, now: Callable[[], float], source: str = "mempool"
    ) -> None:
        self._client = client
        self._base_url = base_url.rstrip("/")
        self._deadline_s = deadline_s
        self._now = now
        self._source = source

    async def read(self) -> tuple[Quote, ...]:
        """What the four endpoints give, at the same time and within one deadline; PollError where all four fail."""
        results = await asyncio.gather(
            self._height(), self._block_fees(), self._difficulty(), self._price(), return_exceptions=True
        )
        quotes = tuple(result for result in results if isinstance(result, Quote))
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not quotes or not isinstance(error, PollError):
                raise error
        return quotes

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _height(self) -> Quote:
        text = await self._client.fetch_text(self._base_url + TIP_HEIGHT, deadline_s=self._deadline_s, max_bytes=4096)
        return parse_tip_height(text, self._source, self._now())

    async def _block_fees(self) -> Quote:
        return parse_reward_stats(await self._json(REWARD_STATS), self._source, self._now())

    async def _difficulty(self) -> Quote:
        return parse_difficulty(await self._json(HASHRATE), self._source, self._now())

    async def _price(self) -> Quote:
        return parse_price(await self._json(PRICES), self._source, self._now())

    def _json(self, path: str) -> Coroutine[Any, Any, object]:
        return self._client.fetch_json(self._base_url + path, deadline_s=self._deadline_s)


def parse_tip_height(text: str, source: str, now_s: float) -> Quote:
    """The tip's height, a text of digits."""
    return quote(MarketInput.HEIGHT, source, count(text.strip(), "tip height"), now_s)


def parse_reward_stats(body: object, source: str, now_s: float) -> Quote:
    """Mean fees per block: sums in sat, printed as strings, over a window that may be shorter than asked.

    The sums must differ by the subsidies of the window, halving or not: so a slip of units shows, or a missing block.
    """
    start, end = count(field(body, "startBlock"), "startBlock"), count(field(body, "endBlock"), "endBlock")
    blocks = end - start + 1
    if not 1 <= blocks <= MAX_WINDOW_BLOCKS:
        raise malformed("endBlock does not follow startBlock")
    fees = number(field(body, "totalFee"), "totalFee") / SATS_PER_BTC
    reward = number(field(body, "totalReward"), "totalReward") / SATS_PER_BTC
    subsidies = sum(subsidy_btc(height) for height in range(start, end + 1))
    if abs(reward - fees - subsidies) > SUBSIDY_TOLERANCE * subsidies:
        raise malformed("totalReward less totalFee is not the subsidy of these blocks")
    return quote(MarketInput.BLOCK_FEES_BTC, source, fees / blocks, now_s)


def parse_difficulty(body: object, source: str, now_s: float) -> Quote:
    """The difficulty in force. 0 is how the server says that its node is down, and is out of bounds."""
    difficulty = quote(
        MarketInput.DIFFICULTY, source, number(field(body, "currentDifficulty"), "currentDifficulty"), now_s
    )
    implied_hs = difficulty.value * HASHES_PER_DIFFICULTY_1 / BLOCK_INTERVAL_S
    estimate_hs = number(field(body, "currentHashrate"), "currentHashrate") or implied_hs  # 0 = not known
    if not estimate_hs / HASHRATE_FACTOR <= implied_hs <= estimate_hs * HASHRATE_FACTOR:
        raise malformed("currentDifficulty does not fit currentHashrate")
    return difficulty


def parse_price(body: object, source: str, now_s: float) -> Quote:
    """The server's USD price, as of `time`; -1 is how it says that it has none, and is out of bounds."""
    return quote(
        MarketInput.BTC_USD,
        source,
        number(field(body, "USD"), "USD"),
        timestamp_s(field(body, "time"), "time", now_s),
        soft_s=PRICE_SOFT_S,
        good_for_s=PRICE_GOOD_FOR_S,
    )
