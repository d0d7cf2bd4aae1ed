"""Settlement point prices of ERCOT over its public API: real time in quarters of an hour, or day ahead in hours.

A look needs a token (one hour, for user and password) and a subscription key. Rows are lists, named by `fields`; their
times are local and end-labelled: hour 1..24, quarter 1..4, with a flag for the hour that comes twice in autumn. Real
time is published when its quarter is over, so its newest price stands in for a while: a warning after one quarter and
two minutes, nothing after three quarters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from collectors.feeds.fields import count, malformed, number
from collectors.feeds.fields import field as field_of
from collectors.feeds.http import HttpClient
from collectors.feeds.power_series import KWH_PER, series_of
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.series import Series

TOKEN_PATH = "/ercotb2c.onmicrosoft.com/B2C_1_PUBAPI-ROPC-FLOW/oauth2/v2.0/token"  # noqa: S105 - a path
CLIENT_ID = "fec253ea-0d06-4272-a5e6-b478baeecd70"  # of ERCOT's own public application, the same for everybody
TOKEN_GOOD_FOR_S = 50 * 60.0  # of an hour
ROWS = 1000  # two days of quarters, twice over

REPORTS = {
    "real_time": "/api/public-reports/np6-905-cd/spp_node_zone_hub",
    "day_ahead": "/api/public-reports/np4-190-cd/dam_stlmnt_pnt_prices",
}
STEP_S = {"real_time": 900.0, "day_ahead": 3600.0}
SOFT_S = {"real_time": 900.0 + 120.0, "day_ahead": 0.0}
HOLD_S = {"real_time": 3 * 900.0, "day_ahead": 0.0}


@dataclass(frozen=True, slots=True)
class ErcotOptions:
    name: str
    base_url: str
    token_url: str
    settlement_point: str
    market: Literal["real_time", "day_ahead"]
    user: str
    password: str = field(repr=False)
    subscription_key: str = field(repr=False)


class ErcotFeed:
    """One settlement point. `now` gives Unix time."""

    def __init__(self, client: HttpClient, options: ErcotOptions, deadline_s: float, now: Callable[[], float]) -> None:
        self._client, self._options, self._deadline_s, self._now = client, options, deadline_s, now
        self._zone = ZoneInfo("America/Chicago")
        self._token = ""
        self._token_at_s = -TOKEN_GOOD_FOR_S

    async def read(self) -> Series:
        """Yesterday's, today's and, day ahead, tomorrow's prices. Errors: PollError."""
        options, now_s = self._options, self._now()
        if not 0.0 <= now_s - self._token_at_s < TOKEN_GOOD_FOR_S:
            self._token, self._token_at_s = await self._fresh_token(), now_s
        today = datetime.fromtimestamp(now_s, self._zone).date()
        days = timedelta(days=1)
        query = {
            "settlementPoint": options.settlement_point,
            "deliveryDateFrom": (today - days).isoformat(),
            "deliveryDateTo": (today + days).isoformat(),
            "size": str(ROWS),
        }
        headers = {"Authorization": f"Bearer {self._token}", "Ocp-Apim-Subscription-Key": options.subscription_key}
        url = f"{options.base_url.rstrip('/')}{REPORTS[options.market]}?{urlencode(query)}"
        try:
            body = await self._client.fetch_json(url, deadline_s=self._deadline_s / 2, headers=headers)
        except PollError as error:
            if error.kind is FaultKind.DENIED:
                self._token_at_s = -TOKEN_GOOD_FOR_S  # the next look asks for another one
            raise
        return parse_prices(body, options, self._zone)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _fresh_token(self) -> str:
        options = self._options
        form = {
            "grant_type": "password", "username": options.user, "password": options.password,
            "response_type": "id_token", "scope": f"openid {CLIENT_ID} offline_access", "client_id": CLIENT_ID,
        }  # fmt: skip
        url = options.token_url.rstrip("/") + TOKEN_PATH
        try:
            body = await self._client.post_form(url, form, deadline_s=self._deadline_s / 2)
        except PollError as error:  # another server than the one of the prices
            told = f"the login server: {error.detail}" if error.detail else "the login server"
            raise PollError(error.kind, told, wait_s=error.wait_s) from None
        token = field_of(body, "id_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise malformed("id_token is not a token")
        return token


def parse_prices(body: object, options: ErcotOptions, zone: ZoneInfo) -> Series:
    """The series in one report. Errors: PollError, MALFORMED."""
    columns, rows = _columns(field_of(body, "fields")), field_of(body, "data")
    if count(field_of(body, "_meta", "totalPages"), "totalPages") > 1:
        raise malformed(f"more than {ROWS} rows")
    if not isinstance(rows, list) or not rows:
        raise malformed("data holds no rows")
    prices: dict[float, float] = {}
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise malformed("a row does not fit fields")
        told: Mapping[str, object] = dict(zip(columns, row, strict=True))
        if told.get("settlementPoint") != options.settlement_point:
            raise malformed("a row of another settlement point")
        if str(told.get("settlementPointType", "")).endswith("EW"):
            continue  # a load zone comes twice, once weighted by energy
        start_s = _start_s(told, options.market, zone)
        if start_s in prices:
            raise malformed("two rows for one interval")
        prices[start_s] = number(told.get("settlementPointPrice"), "settlementPointPrice") / KWH_PER["mwh"]
    market = options.market
    return series_of(options.name, prices, STEP_S[market], "USD", soft_s=SOFT_S[market], hold_s=HOLD_S[market])


def _columns(fields: object) -> list[str]:
    if not isinstance(fields, list):
        raise malformed("fields is not a list")
    return [str(field_of(each, "name")) for each in fields]


def _start_s(told: Mapping[str, object], market: str, zone: ZoneInfo) -> float:
    """Unix time at which an interval begins, from the local hour at which it ends."""
    try:
        day = date.fromisoformat(str(told.get("deliveryDate"))[:10])
    except ValueError:
        raise malformed("deliveryDate is not a date") from None
    if market == "real_time":
        hour, quarter = count(told.get("deliveryHour"), "deliveryHour"), told.get("deliveryInterval")
        minute = (count(quarter, "deliveryInterval") - 1) * 15
    else:
        hour, minute = count(str(told.get("hourEnding")).partition(":")[0], "hourEnding"), 0
    if not 1 <= hour <= 24 or not 0 <= minute <= 45:
        raise malformed("an interval outside the day")
    second_time = told.get("DSTFlag") in (True, "Y", "true")
    local = datetime(day.year, day.month, day.day, hour - 1, minute, tzinfo=zone, fold=int(second_time))
    if local.astimezone(UTC).astimezone(zone).replace(fold=0) != local.replace(fold=0):
        raise malformed("an hour that the clocks leave out")
    return local.timestamp()
