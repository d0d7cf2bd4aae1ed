"""Pages of statistics that others compute: blockchain.info and Braiins Insights, as tie-breakers.

Their difficulty and price confirm or settle what better sources say. Their fees are not read: blockchain.info has shown
negative ones, Braiins rounds them. Nothing here ever sees an estimate of hashrate as more than a check of the
difficulty beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from collectors.feeds.fields import count, field, fits_hashrate, instant_s, malformed, number, quote
from collectors.feeds.http import HttpClient
from fleet.market import MarketInput, Quote
from fleet.ports import PollError
from fleet.units import GIGA


class BlockchainInfoFeed:
    """One page with everything; `now` gives the Unix time of a receipt."""

    BASE_URL = "https://api.blockchain.info"

    def __init__(
        self, client: HttpClient, source: str, base_url: str | None, deadline_s: float, now: Callable[[], float]
    ) -> None:
        self._client, self._source, self._deadline_s, self._now = client, source, deadline_s, now
        self._url = (base_url or self.BASE_URL).rstrip("/") + "/stats"

    async def read(self) -> tuple[Quote, ...]:
        body = await self._client.fetch_json(self._url, deadline_s=self._deadline_s)
        return parse_blockchain_info(body, self._source, self._now())

    async def aclose(self) -> None:
        await self._client.aclose()


def parse_blockchain_info(body: object, source: str, now_s: float) -> tuple[Quote, ...]:
    """Difficulty with the epoch that it belongs to, and price, both as of the page's own time."""
    as_of_s = instant_s(field(body, "timestamp"), "timestamp", now_s)
    difficulty = number(field(body, "difficulty"), "difficulty")
    if not fits_hashrate(difficulty, number(field(body, "hash_rate"), "hash_rate") * GIGA):
        raise malformed("difficulty does not fit hash_rate")
    last_of_epoch = count(field(body, "nextretarget"), "nextretarget") - 1
    return (
        quote(MarketInput.DIFFICULTY, source, difficulty, as_of_s, at_height=last_of_epoch),
        quote(MarketInput.BTC_USD, source, number(field(body, "market_price_usd"), "market_price_usd"), as_of_s),
    )


class BraiinsFeed:
    """Two pages, each lost alone; `now` gives the Unix time of a receipt."""

    BASE_URL = "https://learn.braiins.com/api"  # where insights.braiins.com redirects to, which we do not follow
    DIFFICULTY = "/v1.0/difficulty-stats"
    PRICE = "/v1.0/price-stats"

    def __init__(
        self, client: HttpClient, source: str, base_url: str | None, deadline_s: float, now: Callable[[], float]
    ) -> None:
        self._client, self._source, self._deadline_s, self._now = client, source, deadline_s, now
        self._base_url = (base_url or self.BASE_URL).rstrip("/")

    async def read(self) -> tuple[Quote, ...]:
        """What the two pages give; PollError where both fail, or where the server asks to be left alone."""
        results = await asyncio.gather(self._difficulty(), self._price(), return_exceptions=True)
        return quotes_of(results)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _difficulty(self) -> Quote:
        answer = await self._client.get_json(self._base_url + self.DIFFICULTY, deadline_s=self._deadline_s)
        difficulty = number(field(answer.json(), "difficulty"), "difficulty")
        return quote(MarketInput.DIFFICULTY, self._source, difficulty, self._now() - answer.age_s)

    async def _price(self) -> Quote:
        body = await self._client.fetch_json(self._base_url + self.PRICE, deadline_s=self._deadline_s)
        as_of_s = instant_s(field(body, "timestamp"), "timestamp", self._now())
        return quote(MarketInput.BTC_USD, self._source, number(field(body, "price"), "price"), as_of_s)


def quotes_of(results: Sequence[Quote | BaseException]) -> tuple[Quote, ...]:
    """The quotes of several questions to one server, each lost alone.

    Errors: whatever is no fault of the server; its first PollError where no question was answered, or where the server
            asks to be left alone, since the next look would ask the others too.
    """
    quotes = tuple(result for result in results if isinstance(result, Quote))
    for error in results:
        if isinstance(error, BaseException) and (not quotes or not isinstance(error, PollError) or error.wait_s):
            raise error
    return quotes
