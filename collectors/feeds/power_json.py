"""Any JSON over HTTP by a mapping: where the rows are, and which field of a row is the start and which the value.

Paths are field names with dots, `data.prices`; a number is a place in a list, `0.price`. Rows may stand in several
lists, `data.today,data.tomorrow`. Without `start` the answer is one value that holds from its receipt. In an address
`{yesterday}`, `{today}` and `{tomorrow}` become days of UTC, as 2026-08-20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from collectors.feeds.fields import malformed, number, printable
from collectors.feeds.http import HttpClient, parse_json
from collectors.feeds.power_series import KWH_PER, instant_s, series_of
from fleet.series import MAX_VALUES, Series, SeriesError, smallest_step_s


@dataclass(frozen=True, slots=True)
class JsonOptions:
    """`unit`: the currency of a price, or a pair as EUR/USD; `header` and `token` are sent along.

    `body` is JSON that is posted, as a GraphQL server wants its question.
    """

    name: str
    url: str = field(repr=False)
    value: str
    unit: str
    per: Literal["kwh", "mwh"] = "kwh"
    start: str | None = None
    rows: str | None = None
    step_s: float | None = None
    soft_s: float = 0.0
    hold_s: float = 0.0
    at_least: float = -math.inf  # of a value as it is printed: one outside refuses the answer
    at_most: float = math.inf
    body: str | None = None
    header: str | None = None
    token: str | None = field(default=None, repr=False)


class PowerJsonFeed:
    """One address. `now` gives the Unix time of a receipt."""

    def __init__(self, client: HttpClient, options: JsonOptions, deadline_s: float, now: Callable[[], float]) -> None:
        self._client, self._options, self._deadline_s, self._now = client, options, deadline_s, now

    async def read(self) -> Series:
        options = self._options
        headers = {options.header: options.token} if options.header and options.token else {}
        url = dated(options.url, self._now())
        if options.body is not None:
            question = parse_json(options.body.encode())
            told = await self._client.post_json(url, question, deadline_s=self._deadline_s, headers=headers)
            return parse_json_series(told, options, self._now())
        answer = await self._client.get_json(url, deadline_s=self._deadline_s, headers=headers)
        return parse_json_series(answer.json(), options, self._now(), answer.age_s)

    async def aclose(self) -> None:
        await self._client.aclose()


def dated(url: str, now_s: float) -> str:
    """`url` with the days that it names."""
    today = datetime.fromtimestamp(now_s, UTC).date()
    for name, days in (("{yesterday}", -1), ("{today}", 0), ("{tomorrow}", 1)):
        url = url.replace(name, (today + timedelta(days=days)).isoformat())
    return url


def parse_json_series(body: object, options: JsonOptions, now_s: float, age_s: float = 0.0) -> Series:
    """The series in an answer; `age_s` is how long a cache has had it. Null for a value is a hole.

    Errors: PollError, MALFORMED, for everything that does not fit the mapping.
    """
    lists = [_at(body, path.strip(), "rows") for path in (options.rows or "").split(",")]
    rows = [row for found in lists for row in (found if isinstance(found, list) else [found])]
    if len(rows) > MAX_VALUES:
        raise malformed(f"more than {MAX_VALUES} rows")
    prices: dict[float, float] = {}
    for row in rows:
        start_s = (
            now_s - age_s if options.start is None else instant_s(_at(row, options.start, "start"), "start", now_s)
        )
        if start_s in prices:
            raise malformed("two rows for one time")
        raw = _at(row, options.value, "value")
        prices[start_s] = math.nan if raw is None else _bounded(number(raw, "value"), options) / KWH_PER[options.per]
    try:
        step_s = options.step_s or smallest_step_s(sorted(prices))
    except SeriesError as error:
        raise malformed(printable(str(error))) from None
    return series_of(options.name, prices, step_s, options.unit, soft_s=options.soft_s, hold_s=options.hold_s)


def _bounded(value: float, options: JsonOptions) -> float:
    if not options.at_least <= value <= options.at_most:
        raise malformed(f"a value of {value:g} is not between {options.at_least:g} and {options.at_most:g}")
    if "/" in options.unit and value <= 0.0:
        raise malformed("a rate of exchange is above zero")
    return value


def _at(value: object, path: str | None, name: str) -> object:
    for part in path.split(".") if path else ():
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and int(part[:6]) < len(value):
            value = value[int(part[:6])]
        else:
            raise malformed(f"no {name} at {printable(path or '')}")
    return value
