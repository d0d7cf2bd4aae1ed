"""Exchange tickers: one request, one price, no time stamp, so a price is as of its receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from collectors.feeds.fields import field, malformed, number, printable, quote
from collectors.feeds.http import HttpClient
from fleet.market import MarketInput, Quote
from fleet.ports import PollError
from fleet.readings import FaultKind


@dataclass(frozen=True, slots=True)
class Ticker:
    """Where an exchange says its price, and how to read it."""

    base_url: str
    path: str
    parse: Callable[[object], float]


class ExchangeFeed:
    """One exchange. `now` gives the Unix time of a receipt."""

    def __init__(
        self,
        client: HttpClient,
        source: str,
        ticker: Ticker,
        deadline_s: float,
        now: Callable[[], float],
        base_url: str | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._ticker = ticker
        self._url = (base_url or ticker.base_url).rstrip("/") + ticker.path
        self._deadline_s = deadline_s
        self._now = now

    async def read(self) -> tuple[Quote, ...]:
        body = await self._client.fetch_json(self._url, deadline_s=self._deadline_s)
        return (quote(MarketInput.BTC_USD, self._source, self._ticker.parse(body), self._now()),)

    async def aclose(self) -> None:
        await self._client.aclose()


def parse_coinbase(body: object) -> float:
    """USD per BTC of Coinbase's spot price."""
    if field(body, "data", "base") != "BTC" or field(body, "data", "currency") != "USD":
        raise malformed("not a price of BTC in USD")
    return number(field(body, "data", "amount"), "data.amount")


def parse_kraken(body: object) -> float:
    """USD per BTC of Kraken's last trade; errors come with status 200."""
    errors = field(body, "error")
    if errors != []:
        raise PollError(FaultKind.UNREACHABLE, f"the exchange answers {printable(str(errors))}")
    last_trade = field(body, "result", "XXBTZUSD", "c")  # price, volume
    if not isinstance(last_trade, list) or not last_trade:
        raise malformed("result.XXBTZUSD.c is not a trade")
    return number(last_trade[0], "result.XXBTZUSD.c")


TICKERS: Mapping[str, Ticker] = {
    "coinbase": Ticker("https://api.coinbase.com", "/v2/prices/BTC-USD/spot", parse_coinbase),
    "kraken": Ticker("https://api.kraken.com", "/0/public/Ticker?pair=XBTUSD", parse_kraken),
}
