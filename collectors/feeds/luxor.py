"""Luxor's Hashrate Index: a hashprice that others have computed, to compare ours with.

It needs the operator's key and is a cross-check alone: nothing that it says enters a price, and where it differs the
operator hears of it. The key goes into one header and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from collectors.feeds.fields import field, instant_s, malformed, number, printable, quote
from collectors.feeds.http import HttpClient
from fleet.market import MarketInput, Quote
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.units import PETA, TERA

BASE_URL = "https://api.hashrateindex.com"
PATH = "/graphql"
KEY_HEADER = "x-hi-api-key"
MAX_NODES = 300  # a day of them, five minutes apart; the order is theirs, so the newest is looked for
QUESTION = {
    "operationName": "get_hashprice",
    "query": "query get_hashprice($inputInterval: ChartsInterval!, $first: Int) "
    "{ getHashprice(inputInterval: $inputInterval, first: $first) { nodes { timestamp usdHashprice } } }",
    "variables": {"inputInterval": "_1_DAY", "first": MAX_NODES},
}
PER_TH_BELOW = 2.0  # a TH/s has never earned 2 USD a day since there are ASICs for it, a PH/s never so little


class LuxorFeed:
    """`now` gives the Unix time of a receipt."""

    def __init__(
        self,
        client: HttpClient,
        source: str,
        base_url: str | None,
        key: str,
        deadline_s: float,
        now: Callable[[], float],
    ) -> None:
        self._client, self._source, self._key, self._deadline_s, self._now = client, source, key, deadline_s, now
        self._url = (base_url or BASE_URL).rstrip("/") + PATH

    async def read(self) -> tuple[Quote, ...]:
        body = await self._client.post_json(
            self._url, QUESTION, deadline_s=self._deadline_s, headers={KEY_HEADER: self._key}
        )
        return (parse_hashprice(body, self._source, self._now(), self._key),)

    async def aclose(self) -> None:
        await self._client.aclose()


def parse_hashprice(body: object, source: str, now_s: float, key: str = "") -> Quote:
    """The newest published hashprice, USD/PH/day, whether it is printed per TH or per PH."""
    if isinstance(body, dict) and body.get("errors"):
        told = str(body["errors"])
        raise PollError(FaultKind.DENIED, f"it answers {printable(told.replace(key, '***') if key else told)}")
    nodes = field(body, "data", "getHashprice", "nodes")
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= 10 * MAX_NODES:
        raise malformed("getHashprice.nodes is not a list of prices")
    told_at = [(instant_s(field(node, "timestamp"), "timestamp", now_s), node) for node in nodes]
    as_of_s, node = max(told_at, key=lambda each: each[0])
    value = number(field(node, "usdHashprice"), "usdHashprice")
    return quote(
        MarketInput.PUBLISHED_USD_PH_DAY, source, value * PETA / TERA if value < PER_TH_BELOW else value, as_of_s
    )
