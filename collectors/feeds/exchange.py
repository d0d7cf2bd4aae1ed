"""Exchange tickers: one request, one price of BTC in USD.

An exchange is a row of `TICKERS`: where it says its price, and its time if it says one. Where it does not, a price is
as of its receipt, less the time that a cache has had it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from collectors.feeds.fields import dotted, malformed, number, printable, quote, timestamp_s
from collectors.feeds.fields import field as value_at
from collectors.feeds.http import HttpClient
from fleet.market import MarketInput, Quote
from fleet.ports import PollError
from fleet.readings import FaultKind

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Ticker:
    """Where an exchange says its price. `says`: what must stand where, or the answer is about something else.

    `errors`: a list that holds what went wrong while the status is 200.
    """

    base_url: str
    path: str
    price: Path
    as_of: Path = ()
    says: Mapping[Path, str] = field(default_factory=dict)
    errors: Path = ()


TICKERS: Mapping[str, Ticker] = {
    "coinbase": Ticker(
        "https://api.coinbase.com",
        "/v2/prices/BTC-USD/spot",
        ("data", "amount"),
        says={("data", "base"): "BTC", ("data", "currency"): "USD"},
    ),
    "kraken": Ticker(
        "https://api.kraken.com",
        "/0/public/Ticker?pair=XBTUSD",
        ("result", "XXBTZUSD", "c", 0),  # last trade: price, volume
        errors=("error",),
    ),
    "bitstamp": Ticker("https://www.bitstamp.net", "/api/v2/ticker/btcusd/", ("last",), ("timestamp",)),
    "gemini": Ticker("https://api.gemini.com", "/v1/pubticker/BTCUSD", ("last",), ("volume", "timestamp")),
    "bitfinex": Ticker("https://api.bitfinex.com", "/v1/pubticker/BTCUSD", ("last_price",), ("timestamp",)),
}


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
        answer = await self._client.get_json(self._url, deadline_s=self._deadline_s)
        return (parse_ticker(self._ticker, answer.json(), self._source, self._now(), answer.age_s),)

    async def aclose(self) -> None:
        await self._client.aclose()


def parse_ticker(ticker: Ticker, body: object, source: str, now_s: float, age_s: float = 0.0) -> Quote:
    """USD per BTC of the last trade, as of the exchange's own time where it says one."""
    if ticker.errors and (errors := value_at(body, *ticker.errors)) != []:
        raise PollError(FaultKind.UNREACHABLE, f"the exchange answers {printable(str(errors))}")
    for path, expected in ticker.says.items():
        if value_at(body, *path) != expected:
            raise malformed(f"{dotted(path)} is not {expected}")
    price = number(value_at(body, *ticker.price), dotted(ticker.price))
    as_of_s = now_s - age_s
    if ticker.as_of:
        as_of_s = timestamp_s(value_at(body, *ticker.as_of), dotted(ticker.as_of), now_s)
    return quote(MarketInput.BTC_USD, source, price, as_of_s)
