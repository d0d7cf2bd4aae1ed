"""mempool, public or self-hosted, over its REST API: height, fees, difficulty and an hourly price.

Each endpoint gives one quote and is lost alone. Difficulty is `currentDifficulty`; `currentHashrate` beside it is an
estimate and never enters a hashprice. Only the price carries a time of its own; the others are as of their receipt,
less the time that a cache has had them.

What the outlook rests on is asked beside it: when the epoch began, and once an hour a year of network hashrate. Where
that is lost it is no fault, as no price waits for it.

The height is asked first, and the difficulty is said to be in force there: what is asked later can be of a later block
but of no earlier one, so an old difficulty never passes for that of a new epoch.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from collectors.feeds.fields import count, field, fits_hashrate, malformed, number, quote, timestamp_s
from collectors.feeds.http import Answer, HttpClient
from collectors.feeds.tie_breakers import quotes_of
from fleet.market import HARD_AGE_S, RETARGET_INTERVAL, MarketInput, Quote, subsidy_btc
from fleet.ports import PollError
from fleet.retarget import weekly_hashrate_hs
from fleet.units import SATS_PER_BTC

BASE_URL = "https://mempool.space"

TIP_HEIGHT = "/api/blocks/tip/height"
REWARD_STATS = "/api/v1/mining/reward-stats/144"
HASHRATE = "/api/v1/mining/hashrate/3d"
PRICES = "/api/v1/prices"
EPOCH = "/api/v1/difficulty-adjustment"
YEAR = "/api/v1/mining/hashrate/1y"
YEAR_EVERY_S = 3600.0

PRICE_SOFT_S = 3600.0  # the server's default update interval
PRICE_GOOD_FOR_S = PRICE_SOFT_S + HARD_AGE_S[MarketInput.BTC_USD]

HEIGHT_SHARE = 0.4  # of the deadline, for the question that goes first

MAX_WINDOW_BLOCKS = 1008  # asked are 144; a server that indexes anew may answer with fewer
SUBSIDY_TOLERANCE = 0.003  # a block may claim a little less than it is allowed; one of 144 missing is 0.007


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
        self._year_asked_s = -math.inf

    async def read(self) -> tuple[Quote, ...]:
        """What the endpoints give within one deadline.

        Errors: PollError where the four of the hashprice all fail, or where the server asks to be left alone.
        """
        height = await self._height()
        at_height = height.value if isinstance(height, Quote) else None
        fees, difficulty, price, epoch, year = await asyncio.gather(
            self._block_fees(),
            self._difficulty(at_height),
            self._price(),
            self._epoch_start(),
            self._year(),
            return_exceptions=True,
        )
        needed = quotes_of([height, fees, difficulty, price])
        return quotes_of([*needed, epoch, *(year if isinstance(year, tuple) else (year,))])

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _height(self) -> Quote | PollError:
        try:
            answer = await self._client.get_text(
                self._base_url + TIP_HEIGHT, deadline_s=self._deadline_s * HEIGHT_SHARE, max_bytes=4096
            )
            return parse_tip_height(answer.text(), self._source, self._now() - answer.age_s)
        except PollError as error:
            return error

    async def _block_fees(self) -> Quote:
        answer = await self._get(REWARD_STATS)
        return parse_reward_stats(answer.json(), self._source, self._now() - answer.age_s)

    async def _difficulty(self, at_height: float | None) -> Quote:
        answer = await self._get(HASHRATE)
        return parse_difficulty(answer.json(), self._source, self._now() - answer.age_s, at_height)

    async def _price(self) -> Quote:
        return parse_price((await self._get(PRICES)).json(), self._source, self._now())

    async def _epoch_start(self) -> Quote:
        answer = await self._get(EPOCH)
        return parse_epoch_start(answer.json(), self._source, self._now() - answer.age_s)

    async def _year(self) -> tuple[Quote, ...]:
        now_s = self._now()
        if abs(now_s - self._year_asked_s) < YEAR_EVERY_S:
            return ()
        self._year_asked_s = now_s  # also where it fails: a server that has no such statistics is not asked more often
        answer = await self._get(YEAR)
        return parse_year(answer.json(), self._source, self._now() - answer.age_s)

    def _get(self, path: str) -> Coroutine[Any, Any, Answer]:
        return self._client.get_json(self._base_url + path, deadline_s=self._deadline_s * (1 - HEIGHT_SHARE))


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


def parse_difficulty(body: object, source: str, now_s: float, at_height: float | None = None) -> Quote:
    """The difficulty in force at `at_height`. 0 is how the server says that its node is down, and is out of bounds."""
    value = number(field(body, "currentDifficulty"), "currentDifficulty")
    difficulty = quote(MarketInput.DIFFICULTY, source, value, now_s, at_height=at_height)
    estimate_hs = number(field(body, "currentHashrate"), "currentHashrate")
    if estimate_hs != 0 and not fits_hashrate(value, estimate_hs):  # 0 = not known
        raise malformed("currentDifficulty does not fit currentHashrate")
    return difficulty


def parse_epoch_start(body: object, source: str, now_s: float) -> Quote:
    """The time of the last retarget, and the epoch that began with it."""
    next_height = count(field(body, "nextRetargetHeight"), "nextRetargetHeight")
    if next_height == 0 or next_height % RETARGET_INTERVAL:
        raise malformed("nextRetargetHeight is no height of a retarget")
    start_s = timestamp_s(field(body, "previousTime"), "previousTime", now_s)
    return quote(MarketInput.EPOCH_START_S, source, start_s, now_s, at_height=next_height - 1)


def parse_year(body: object, source: str, now_s: float) -> tuple[Quote, ...]:
    """The estimate of network hashrate, over 1008 blocks, and its peak: of weeks, since a day alone is mostly luck."""
    days = field(body, "hashrates")
    if not isinstance(days, list):
        raise malformed("hashrates is no list")
    by_time = sorted(
        (number(field(day, "timestamp"), "timestamp"), number(field(day, "avgHashrate"), "avgHashrate")) for day in days
    )
    latest_hs, peak_hs = weekly_hashrate_hs([hashrate_hs for _, hashrate_hs in by_time])
    if math.isnan(peak_hs):
        raise malformed("hashrates are of less than a week")
    if not fits_hashrate(number(field(body, "currentDifficulty"), "currentDifficulty"), latest_hs):
        raise malformed("hashrates do not fit currentDifficulty")
    current_hs = number(field(body, "currentHashrate"), "currentHashrate") or latest_hs  # 0 = not known
    return (
        quote(MarketInput.NETWORK_HASHRATE_HS, source, current_hs, now_s),
        quote(MarketInput.NETWORK_HASHRATE_PEAK_HS, source, peak_hs, now_s),
    )


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
