"""Power feeds against a loopback server that answers in the documented shapes, and against what goes wrong in them."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.catalogue import open_device
from collectors.feeds.power import POWER_FEEDS, open_power_feed
from collectors.feeds.power_entsoe import EntsoeOptions, parse_document
from collectors.feeds.power_ercot import ErcotOptions, parse_prices
from collectors.feeds.power_json import JsonOptions, parse_json_series
from collectors.feeds.power_series import instant_s
from fleet.market import InputState
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.series import Series

PATIENCE_S = 20.0


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


NOW = unix("2026-08-20T17:20:00Z")  # 12:20 in Texas


@dataclass
class StandIn:
    """Answers each path with what the test says, and keeps what was asked."""

    answers: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, list[str]], dict[str, str], str]] = field(default_factory=list)
    url: str = ""

    def says(self, path: str, body: object, status: int = 200, kind: str = "application/json") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.answers.setdefault(path, []).append((status, kind, text))

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                start, *lines = head.splitlines()
                method, target, _ = start.split(" ")
                headers = {
                    key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)
                }
                body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
                parts = urlsplit(target)
                self.asked.append((method, parts.path, parse_qs(parts.query), headers, body))
                known = self.answers.get(parts.path, [(404, "text/plain", "")])
                status, kind, text = known.pop(0) if len(known) > 1 else known[0]
                raw = text.encode()
                writer.write(
                    f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    server = StandIn()
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        await server.talk(reader, writer)

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield server
    listener.close()
    for task in talks:
        task.cancel()
    await asyncio.gather(*talks, return_exceptions=True)


async def look(kind: str, options: dict[str, Any], looks: int = 1, now: Callable[[], float] = lambda: NOW) -> Series:
    feed = open_power_feed(kind, options, PATIENCE_S, now)
    try:
        for _ in range(looks):
            series = await feed.read()
        return series
    finally:
        await feed.aclose()


async def fault_of(kind: str, options: dict[str, Any]) -> PollError:
    with pytest.raises(PollError) as caught:
        await look(kind, options)
    assert "s3cret" not in str(caught.value)
    return caught.value


# --- ERCOT -----------------------------------------------------------------------------------------------------------

TOKEN_PATH = "/ercotb2c.onmicrosoft.com/B2C_1_PUBAPI-ROPC-FLOW/oauth2/v2.0/token"
REAL_TIME, DAY_AHEAD = (
    "/api/public-reports/np6-905-cd/spp_node_zone_hub",
    "/api/public-reports/np4-190-cd/dam_stlmnt_pnt_prices",
)
RT_FIELDS = (
    "deliveryDate", "deliveryHour", "deliveryInterval", "settlementPoint", "settlementPointType",
    "settlementPointPrice", "DSTFlag",
)  # fmt: skip
DA_FIELDS = ("deliveryDate", "hourEnding", "settlementPoint", "settlementPointPrice", "DSTFlag")


def report(fields: tuple[str, ...], *rows: tuple[Any, ...], pages: int = 1) -> dict[str, Any]:
    return {
        "_meta": {"totalRecords": len(rows), "totalPages": pages, "currentPage": 1},
        "report": {"reportTypeId": 12301},
        "fields": [{"name": name, "label": name} for name in fields],
        "data": [list(row) for row in rows],
        "_links": {},
    }


def quarter(day: str, hour: int, interval: int, price: float, again: Any = False, kind: str = "LZ") -> tuple[Any, ...]:
    return (day, hour, interval, "LZ_WEST", kind, price, again)


def ercot(url: str, market: str = "real_time") -> dict[str, Any]:
    return {
        "name": "ercot", "base_url": url, "token_url": url, "settlement_point": "LZ_WEST", "market": market,
        "user": "op@example.com", "password": "s3cret&=", "subscription_key": "s3cret-key",
    }  # fmt: skip


async def test_ercot_real_time_with_token_and_key(stand_in: StandIn) -> None:
    stand_in.says(TOKEN_PATH, {"id_token": "abc.def", "expires_in": "3600"})
    rows = (
        quarter("2026-08-20", 12, 4, 31.25), quarter("2026-08-20", 13, 1, -4.5), quarter("2026-08-20", 12, 3, 28.0),
        quarter("2026-08-20", 12, 4, 31.0, kind="LZEW"),
    )  # fmt: skip
    stand_in.says(REAL_TIME, report(RT_FIELDS, *rows))
    series = await look("power_ercot", ercot(stand_in.url), looks=2)
    start = unix("2026-08-20T11:30:00-05:00")
    assert series.start_s == (start, start + 900, start + 1800)
    assert series.value == pytest.approx((0.028, 0.03125, -0.0045))
    assert (series.step_s, series.unit, series.name) == (900.0, "USD", "ercot")
    (post, get, again) = stand_in.asked
    assert [each[0] for each in stand_in.asked] == ["POST", "GET", "GET"]  # one token for both looks
    form = parse_qs(post[4])
    assert (form["username"], form["password"], form["grant_type"]) == (["op@example.com"], ["s3cret&="], ["password"])
    assert get[2] == {
        "settlementPoint": ["LZ_WEST"], "deliveryDateFrom": ["2026-08-19"], "deliveryDateTo": ["2026-08-21"],
        "size": ["1000"],
    }  # fmt: skip
    assert (again[3]["authorization"], again[3]["ocp-apim-subscription-key"]) == ("Bearer abc.def", "s3cret-key")


async def test_a_token_is_renewed_in_time_and_when_it_is_refused(stand_in: StandIn) -> None:
    stand_in.says(TOKEN_PATH, {"id_token": "one"})
    stand_in.says(TOKEN_PATH, {"id_token": "two"})
    stand_in.says(TOKEN_PATH, {"id_token": "three"})
    good = report(RT_FIELDS, quarter("2026-08-20", 12, 4, 31.25))
    stand_in.says(REAL_TIME, good)
    stand_in.says(REAL_TIME, good)
    stand_in.says(REAL_TIME, {"message": "no"}, status=401)
    stand_in.says(REAL_TIME, good)
    at = [NOW]
    feed = open_power_feed("power_ercot", ercot(stand_in.url), PATIENCE_S, lambda: at[0])
    await feed.read()
    at[0] += 51 * 60
    await feed.read()
    with pytest.raises(PollError) as caught:
        await feed.read()
    await feed.read()
    await feed.aclose()
    assert caught.value.kind is FaultKind.DENIED
    used = [each[3]["authorization"] for each in stand_in.asked if each[0] == "GET"]
    assert used == ["Bearer one", "Bearer two", "Bearer two", "Bearer three"]


async def test_a_fault_of_the_login_server_is_not_told_of_the_server_of_the_prices(stand_in: StandIn) -> None:
    stand_in.says(TOKEN_PATH, {"error": "busy"}, status=503)
    with pytest.raises(PollError) as caught:
        await look("power_ercot", ercot(stand_in.url))
    assert (caught.value.kind, caught.value.detail) == (FaultKind.UNREACHABLE, "the login server: HTTP 503")
    with pytest.raises(PollError) as caught:
        await look("power_ercot", ercot(stand_in.url) | {"token_url": "http://127.0.0.1:1"})
    assert (caught.value.kind, caught.value.detail) == (FaultKind.REFUSED, "the login server")


async def test_ercot_day_ahead_has_no_price_beyond_its_last_hour(stand_in: StandIn) -> None:
    stand_in.says(TOKEN_PATH, {"id_token": "t"})
    rows = [("2026-08-20", f"{hour:02d}:00", "LZ_WEST", 20.0 + hour, False) for hour in range(1, 25)]
    stand_in.says(DAY_AHEAD, report(DA_FIELDS, *rows))
    series = await look("power_ercot", ercot(stand_in.url, "day_ahead"))
    assert series.start_s[0] == unix("2026-08-20T00:00:00-05:00")
    assert series.now(NOW) == (pytest.approx(0.033), InputState.FRESH, unix("2026-08-20T12:00:00-05:00"))
    assert series.now(unix("2026-08-21T00:00:00-05:00"))[1] is InputState.STALE_HARD


def parsed(*rows: tuple[Any, ...], **changes: Any) -> Series:
    options = ErcotOptions("e", "", "", "LZ_WEST", "real_time", "u", "p", "k")
    return parse_prices(report(RT_FIELDS, *rows) | changes, options, ZoneInfo("America/Chicago"))


def test_the_hour_that_comes_twice_is_told_apart_by_its_flag() -> None:
    """2026-11-01: hour ending 2 is 06:00Z first, and 07:00Z with the flag."""
    series = parsed(quarter("2026-11-01", 2, 1, 20.0), quarter("2026-11-01", 2, 1, 30.0, again=True))
    assert series.start_s == (unix("2026-11-01T06:00Z"), unix("2026-11-01T07:00Z"))
    hours = [(1, False), (2, False), (2, True), *((hour, False) for hour in range(3, 25))]
    whole = parsed(*(quarter("2026-11-01", hour, i, 1.0, again) for hour, again in hours for i in range(1, 5)))
    assert len(whole.start_s) == 100  # 25 hours, without a hole
    assert {b - a for a, b in zip(whole.start_s, whole.start_s[1:], strict=False)} == {900.0}


def test_the_day_of_23_hours_has_no_hour_ending_3_and_no_hole() -> None:
    hours = [hour for hour in range(1, 25) if hour != 3]
    series = parsed(*(quarter("2026-03-08", hour, i, hour, again="N") for hour in hours for i in range(1, 5)))
    assert len(series.start_s) == 92
    assert {b - a for a, b in zip(series.start_s, series.start_s[1:], strict=False)} == {900.0}
    assert (series.start_s[0], series.start_s[-1]) == (unix("2026-03-08T06:00Z"), unix("2026-03-09T04:45Z"))
    assert series.now(unix("2026-03-08T08:00Z"))[0] == pytest.approx(0.004)  # 03:00 on the clock, hour ending 4


@pytest.mark.parametrize("flags", [(False, True), ("N", "Y"), ("false", "true")])
def test_day_ahead_of_25_hours_ends_with_the_hour_ending_24(flags: tuple[Any, Any]) -> None:
    hours = [(1, flags[0]), (2, flags[0]), (2, flags[1]), *((hour, flags[0]) for hour in range(3, 25))]
    rows = [("2026-11-01", f"{hour:02d}:00", "LZ_WEST", 10.0 * hour, again) for hour, again in hours]
    options = ErcotOptions("e", "", "", "LZ_WEST", "day_ahead", "u", "p", "k")
    series = parse_prices(report(DA_FIELDS, *rows), options, ZoneInfo("America/Chicago"))
    assert (len(series.start_s), series.step_s) == (25, 3600.0)
    assert (series.start_s[0], series.start_s[-1]) == (unix("2026-11-01T05:00Z"), unix("2026-11-02T05:00Z"))
    assert series.value[1:4] == pytest.approx((0.02, 0.02, 0.03))
    assert series.value[-1] == pytest.approx(0.24)


def test_without_its_flag_the_repeated_hour_is_refused_and_not_guessed() -> None:
    with pytest.raises(PollError, match="two rows for one interval"):
        parsed(*(quarter("2026-11-01", 2, i, 1.0) for i in (1, 2, 3, 4, 1, 2, 3, 4)))


def test_real_time_prices_stand_in_for_three_quarters() -> None:
    series = parsed(quarter("2026-08-20", 12, 4, 31.0))
    end = unix("2026-08-20T12:00:00-05:00")
    states = [series.now(end + late)[1] for late in (0.0, 1019.0, 1020.0, 2699.0, 2700.0)]
    fresh, soft, hard = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD
    assert states == [fresh, fresh, soft, soft, hard]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ((), {}, "data holds no rows"),
        ((quarter("2026-08-20", 12, 4, 1.0),) * 2, {}, "two rows for one interval"),
        ((quarter("2026-08-20", 25, 1, 1.0),), {}, "an interval outside the day"),
        ((quarter("2026-08-20", 12, 5, 1.0),), {}, "an interval outside the day"),
        ((quarter("2026-08-20", 12, 0, 1.0),), {}, "an interval outside the day"),
        ((quarter("yesterday", 12, 1, 1.0),), {}, "deliveryDate is not a date"),
        ((quarter("2026-03-08", 3, 1, 1.0),), {}, "an hour that the clocks leave out"),
        (((*quarter("2026-08-20", 12, 1, 1.0)[:5], "high", False),), {}, "settlementPointPrice is not a number"),
        (((*quarter("2026-08-20", 12, 1, 1.0)[:3], "LZ_NORTH", "LZ", 1.0, False),), {}, "another settlement point"),
        ((("2026-08-20", 12),), {}, "a row does not fit fields"),
        ((quarter("2026-08-20", 12, 1, 1.0),), {"_meta": {"totalPages": 2}}, "more than 1000 rows"),
        ((quarter("2026-08-20", 12, 1, 1.0),), {"fields": {}}, "fields is not a list"),
        ((quarter("2026-08-20", 12, 1, 1.0),), {"data": {}}, "data holds no rows"),
        ((quarter("2026-08-20", 12, 1, 1.0, kind="LZEW"),), {}, "0 values"),
    ],
)
def test_a_report_that_cannot_be_is_refused(rows: tuple[Any, ...], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PollError) as caught:
        parsed(*rows, **changes)
    assert (caught.value.kind, message in caught.value.detail) == (FaultKind.MALFORMED, True), caught.value


@pytest.mark.parametrize("answer", [{"error": "invalid_grant"}, {"id_token": 7}, {"id_token": "a\r\nb"}])
async def test_an_answer_without_a_token_is_a_fault(stand_in: StandIn, answer: dict[str, object]) -> None:
    stand_in.says(TOKEN_PATH, answer)
    assert (await fault_of("power_ercot", ercot(stand_in.url))).kind is FaultKind.MALFORMED


async def test_a_wrong_password_is_denied_without_a_word_of_it(stand_in: StandIn) -> None:
    stand_in.says(TOKEN_PATH, {"error": "s3cret&= is wrong"}, status=403)
    assert (await fault_of("power_ercot", ercot(stand_in.url))).kind is FaultKind.DENIED


# --- ENTSO-E ---------------------------------------------------------------------------------------------------------

NAMESPACE = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
ZONE = "10Y1001A1001A82H"


def time_series(
    points: dict[int, float], resolution: str = "PT60M",
    start: str = "2026-08-19T22:00Z", end: str = "2026-08-20T22:00Z",
    currency: str = "EUR", measure: str = "MWH", sequence: int | None = None,
) -> str:  # fmt: skip
    told = "".join(
        f"<Point><position>{i}</position><price.amount>{p}</price.amount></Point>" for i, p in points.items()
    )
    position = "classificationSequence_AttributeInstanceComponent.position"
    classified = "" if sequence is None else f"<{position}>{sequence}</{position}>"
    return (
        f"<TimeSeries><mRID>1</mRID><businessType>A62</businessType>{classified}"
        f"<currency_Unit.name>{currency}</currency_Unit.name><price_Measure_Unit.name>{measure}</price_Measure_Unit.name>"
        f"<curveType>A03</curveType><Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{told}</Period></TimeSeries>"
    )


def document(*series: str, root: str = "Publication_MarketDocument") -> str:
    inner = "<type>A44</type>" + "".join(series)
    return f'<?xml version="1.0" encoding="utf-8"?>\n<{root} xmlns="{NAMESPACE}">{inner}</{root}>'


def entsoe(url: str = "") -> dict[str, Any]:
    return {"name": "entsoe", "base_url": url, "zone": ZONE, "unit": "EUR", "token": "s3cret-token"}


def parsed_xml(text: str, sequence: int | None = None) -> Series:
    return parse_document(text, EntsoeOptions(**entsoe(), sequence=sequence), NOW)


async def test_entsoe_asks_for_the_zone_and_reads_prices_per_mwh(stand_in: StandIn) -> None:
    points = {hour: 10.0 * hour for hour in range(1, 25)}
    stand_in.says("/api", document(time_series(points)), kind="text/xml")
    series = await look("power_entsoe", entsoe(stand_in.url) | {"sequence": 1.0})
    assert stand_in.asked[0][2] == {
        "securityToken": ["s3cret-token"], "documentType": ["A44"], "in_Domain": [ZONE], "out_Domain": [ZONE],
        "periodStart": ["202608190000"], "periodEnd": ["202608230000"],
    }  # fmt: skip
    assert (series.start_s[0], len(series.start_s), series.step_s) == (unix("2026-08-19T22:00Z"), 24, 3600.0)
    assert series.value == pytest.approx([hour / 100 for hour in range(1, 25)])
    assert series.unit == "EUR"


def test_a_position_that_is_left_out_repeats_the_one_before() -> None:
    series = parsed_xml(document(time_series({1: 50.0, 3: -10.0})))
    assert series.value[:5] == pytest.approx((0.05, 0.05, -0.01, -0.01, -0.01))
    assert len(series.value) == 24


def test_what_comes_before_the_first_position_is_not_known() -> None:
    series = parsed_xml(document(time_series({3: 30.0})))
    assert series.start_s[0] == unix("2026-08-20T00:00Z")


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [("2026-10-24T22:00Z", "2026-10-25T23:00Z", 25), ("2026-03-28T23:00Z", "2026-03-29T22:00Z", 23)],
)
def test_days_of_23_and_25_hours(start: str, end: str, hours: int) -> None:
    text = document(time_series(dict.fromkeys(range(1, hours + 1), 1.0), start=start, end=end))
    assert len(parse_document(text, EntsoeOptions(**entsoe()), unix(end)).start_s) == hours


@pytest.mark.parametrize(
    ("start", "end", "quarters"),
    [("2026-10-24T22:00Z", "2026-10-25T23:00Z", 100), ("2026-03-28T23:00Z", "2026-03-29T22:00Z", 92)],
)
def test_quarters_of_days_of_23_and_25_hours_repeat_what_is_left_out(start: str, end: str, quarters: int) -> None:
    """Curve type A03: a block is told by its first position, and the last one runs to the end of the period."""
    text = document(time_series({1: 10.0, 9: 20.0, 90: 30.0}, "PT15M", start=start, end=end))
    series = parse_document(text, EntsoeOptions(**entsoe()), unix(end))
    assert (len(series.value), series.step_s) == (quarters, 900.0)
    assert [series.value[i] for i in (7, 8, 88, 89, -1)] == pytest.approx([0.01, 0.02, 0.02, 0.03, 0.03])
    assert series.start_s[-1] + series.step_s == unix(end)


def test_two_days_in_two_series_make_one() -> None:
    first = time_series({1: 10.0})
    second = time_series({1: 20.0}, start="2026-08-20T22:00Z", end="2026-08-21T22:00Z")
    series = parsed_xml(document(second, first))
    assert (len(series.value), series.value[23], series.value[24]) == (48, pytest.approx(0.01), pytest.approx(0.02))


def test_quarters_go_before_hours_and_sequences_are_told_apart() -> None:
    hours, quarters = time_series({1: 40.0}), time_series({1: 10.0, 2: 20.0}, "PT15M", end="2026-08-19T23:00Z")
    both = parsed_xml(document(quarters, hours))
    assert (both.step_s, len(both.value)) == (900.0, 96)
    assert both.value[:6] == pytest.approx((0.01, 0.02, 0.02, 0.02, 0.04, 0.04))
    sequences = document(time_series({1: 1.0}, sequence=2), time_series({1: 2.0}, sequence=1))
    assert [parsed_xml(sequences, wanted).value[0] for wanted in (None, 1, 2)] == pytest.approx([0.002, 0.002, 0.001])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "not XML"),
        ("", "not XML"),
        ('<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>', "XML with a document type"),
        (document(root="GL_MarketDocument"), "a GL_MarketDocument instead of prices"),
        (document(), "no prices of sequence 1"),
        (document(time_series({1: 1.0}, currency="GBP")), "prices in GBP, not in EUR"),
        (document(time_series({1: 1.0}, measure="KWT")), "prices per KWT, not per MWH"),
        (document(time_series({1: 1.0}, resolution="P1D")), "resolution P1D"),
        (document(time_series({25: 1.0})), "a position outside its period"),
        (document(time_series({0: 1.0})), "a position outside its period"),
        (document(time_series({1: 1.0}, end="2026-08-19T22:30Z")), "a period that its resolution does not fill"),
        (document(time_series({1: 1.0}, end="2026-08-19T21:00Z")), "a period that its resolution does not fill"),
        (document(time_series({1: 1.0}, end="2027-08-19T22:00Z")), "end is not a time of the present"),
        (document(time_series({1: math.inf})), "price.amount is not a number"),
        (document("<TimeSeries/>"), "no currency_Unit.name"),
    ],
)
def test_a_document_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(PollError) as caught:
        parsed_xml(text)
    assert (caught.value.kind, message in caught.value.detail) == (FaultKind.MALFORMED, True), caught.value


def test_a_platform_without_prices_says_so() -> None:
    text = document(
        "<Reason><code>999</code><text>No matching data found</text></Reason>", root="Acknowledgement_MarketDocument"
    )
    with pytest.raises(PollError, match="the platform answers No matching data found") as caught:
        parsed_xml(text)
    assert caught.value.kind is FaultKind.UNREACHABLE


# --- JSON by mapping -------------------------------------------------------------------------------------------------


def mapping(**changes: Any) -> JsonOptions:
    return JsonOptions(**({"name": "j", "url": "u", "value": "price", "unit": "EUR", "start": "from"} | changes))


async def test_awattar_by_its_mapping(stand_in: StandIn) -> None:
    """Milliseconds, EUR/MWh, a list under `data`."""
    rows = [
        {"start_timestamp": 1787245200000 + i * 3600000, "end_timestamp": 1787248800000 + i * 3600000,
         "marketprice": 80.5 - i, "unit": "Eur/MWh"} for i in range(3)
    ]  # fmt: skip
    stand_in.says("/v1/marketdata", {"object": "list", "data": rows, "url": "/at/v1/marketdata"})
    options = {
        "name": "json", "url": stand_in.url + "/v1/marketdata?start=1", "rows": "data", "start": "start_timestamp",
        "value": "marketprice", "per": "mwh", "unit": "EUR", "header": "X-Key", "token": "s3cret",
    }  # fmt: skip
    series = await look("power_json", options)
    assert series.start_s == (1787245200.0, 1787248800.0, 1787252400.0)
    assert series.value == pytest.approx((0.0805, 0.0795, 0.0785))
    assert (series.step_s, stand_in.asked[0][2], stand_in.asked[0][3]["x-key"]) == (3600.0, {"start": ["1"]}, "s3cret")


def test_tibber_by_its_mapping_and_a_hole_stays_one() -> None:
    today = [
        {"total": 0.31, "energy": 0.12, "startsAt": "2026-08-20T00:00:00.000+02:00"},
        {"total": None, "energy": None, "startsAt": "2026-08-20T01:00:00.000+02:00"},
        {"total": "0.29", "energy": 0.1, "startsAt": "2026-08-20T02:00:00.000+02:00"},
    ]
    body = {"data": {"viewer": {"homes": [{"priceInfo": {"today": today}}]}}}
    series = parse_json_series(
        body, mapping(rows="data.viewer.homes.0.priceInfo.today", start="startsAt", value="total"), NOW
    )
    assert series.value == pytest.approx((0.31, math.nan, 0.29), nan_ok=True)
    assert series.start_s[0] == unix("2026-08-19T22:00Z")


async def test_tibber_is_asked_by_post_and_tomorrow_is_joined_to_today(stand_in: StandIn) -> None:
    today = [{"total": 0.31 + i / 100, "startsAt": f"2026-08-20T{i:02d}:00:00.000+02:00"} for i in range(24)]
    tomorrow: list[object] = []  # until the afternoon
    home = {"currentSubscription": {"priceInfo": {"today": today, "tomorrow": tomorrow}}}
    stand_in.says("/v1-beta/gql", {"data": {"viewer": {"homes": [home]}}})
    tomorrow.append({"total": 0.9, "startsAt": "2026-08-21T00:00:00.000+02:00"})
    stand_in.says("/v1-beta/gql", {"data": {"viewer": {"homes": [home]}}})
    query = "{viewer{homes{currentSubscription{priceInfo{today{total startsAt} tomorrow{total startsAt}}}}}}"
    where = "data.viewer.homes.0.currentSubscription.priceInfo."
    options = {
        "name": "json", "url": stand_in.url + "/v1-beta/gql", "body": json.dumps({"query": query}),
        "rows": f"{where}today, {where}tomorrow", "start": "startsAt", "value": "total", "unit": "NOK",
        "header": "Authorization", "token": "Bearer s3cret",
    }  # fmt: skip
    assert len((await look("power_json", options)).value) == 24
    series = await look("power_json", options)
    assert (len(series.value), series.value[-1], series.step_s) == (25, 0.9, 3600.0)
    assert series.start_s[-1] == unix("2026-08-20T22:00Z")
    method, path, _, headers, body = stand_in.asked[0]
    assert (method, path, headers["authorization"]) == ("POST", "/v1-beta/gql", "Bearer s3cret")
    assert json.loads(body) == {"query": query}
    assert (await fault_of("power_json", options | {"body": "{"})).kind is FaultKind.MALFORMED


async def test_elering_by_its_mapping_is_asked_for_days(stand_in: StandIn) -> None:
    rows = [{"timestamp": 1787245200 + 900 * i, "price": 40.0 + i} for i in range(8)]
    stand_in.says("/api/nps/price", {"success": True, "data": {"ee": rows, "fi": rows[:1]}})
    path = "/api/nps/price?start={yesterday}T00:00:00Z&end={tomorrow}T23:59:59Z&d={today}"
    options = {
        "name": "json", "url": stand_in.url + path,
        "rows": "data.ee", "start": "timestamp", "value": "price", "per": "mwh", "unit": "EUR",
    }  # fmt: skip
    series = await look("power_json", options)
    assert stand_in.asked[0][2] == {
        "start": ["2026-08-19T00:00:00Z"], "end": ["2026-08-21T23:59:59Z"], "d": ["2026-08-20"],
    }  # fmt: skip
    assert (series.value[1], series.step_s) == (pytest.approx(0.041), 900.0)


def test_octopus_and_evcc_by_their_mappings() -> None:
    """Newest first and in pence; and in local time with an end."""
    results = [
        {"value_exc_vat": 20.0, "value_inc_vat": 21.0, "valid_from": "2026-08-20T10:30:00Z", "valid_to": None},
        {"value_exc_vat": 9.0, "value_inc_vat": 9.45, "valid_from": "2026-08-20T10:00:00Z", "payment_method": None},
    ]
    body = {"count": 2, "next": None, "previous": None, "results": results}
    octopus = parse_json_series(
        body, mapping(rows="results", start="valid_from", value="value_inc_vat", unit="GBX"), NOW
    )
    assert (octopus.value, octopus.step_s) == ((9.45, 21.0), 1800.0)
    rates = [
        {"start": f"2026-08-20T{hour:02d}:00:00+02:00", "end": f"2026-08-20T{hour + 1:02d}:00:00+02:00", "value": 0.25}
        for hour in range(3)
    ]
    for answer, rows in (({"rates": rates}, "rates"), ({"result": {"rates": rates}}, "result.rates")):
        evcc = parse_json_series(answer, mapping(rows=rows, start="start", value="value"), NOW)
        assert (evcc.start_s[0], evcc.value, evcc.step_s) == (unix("2026-08-19T22:00Z"), (0.25,) * 3, 3600.0)


def test_one_value_holds_from_its_receipt_or_from_when_a_cache_had_it() -> None:
    options = mapping(start=None, value="rates.USD", unit="EUR/USD", step_s=3600.0)
    series = parse_json_series({"rates": {"USD": 1.1}}, options, NOW, age_s=60.0)
    assert (series.start_s, series.value, series.unit) == ((NOW - 60.0,), (1.1,), "EUR/USD")


@pytest.mark.parametrize(
    ("body", "changes", "message"),
    [
        ({"a": 1}, {"rows": "data"}, "no rows at data"),
        ([{"from": 1787245200}], {}, "no value at price"),
        ([{"price": 1}], {}, "no start at from"),
        ([{"from": "soon", "price": 1}], {}, "start is not a number"),
        ([{"from": "2026-08-20T00:00:00", "price": 1}], {}, "start is not a number"),
        ([{"from": "2026-13-20T00:00:00Z", "price": 1}], {}, "start is not a time"),
        ([{"from": 17872452000, "price": 1}], {}, "start is not a time of the present"),
        ([{"from": 1787245200, "price": True}], {}, "value is not a number"),
        ([{"from": 1787245200, "price": "nan"}], {}, "value is not a number"),
        ([{"from": 1787245200, "price": 1}] * 2, {}, "two rows for one time"),
        ([{"from": 1787245200, "price": 1}], {}, "one value alone does not show its step"),
        ([], {"step_s": 60.0}, "0 values"),
        ([{"from": 1787245200, "price": 0}], {"unit": "EUR/USD"}, "a rate of exchange is above zero"),
        ([{"from": 1787245200, "price": -1.1}], {"unit": "EUR/USD"}, "a rate of exchange is above zero"),
        ([{"from": 1787245200, "price": 110}], {"at_least": 0.5, "at_most": 2.0}, "110 is not between 0.5 and 2"),
        ([{"from": 1787245200, "price": 0.01}], {"at_least": 0.5}, "0.01 is not between 0.5 and inf"),
        ([[]], {"value": "7", "start": "0"}, "no start at 0"),
        ("text", {}, "no start at from"),
        ([0] * 110_001, {}, "more than 110000 rows"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_the_mapping_is_refused(
    body: object, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PollError) as caught:
        parse_json_series(body, mapping(**changes), NOW)
    assert (caught.value.kind, message in caught.value.detail) == (FaultKind.MALFORMED, True), caught.value


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["data", "from", "price", "x"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_strange_json_is_a_series_or_a_poll_error(body: object) -> None:
    for rows in (None, "data"):
        with suppress(PollError):
            parse_json_series(body, mapping(rows=rows, step_s=60.0), NOW)


@given(JSON)
def test_strange_reports_are_a_series_or_a_poll_error(data: object) -> None:
    with suppress(PollError):
        parsed(data=data)


def test_instants_in_the_forms_of_the_world() -> None:
    for raw in (1787245200, 1787245200000, "1787245200", "2026-08-20T17:00:00Z", "2026-08-20 12:00-05:00"):
        assert instant_s(raw, "start", NOW) == 1787245200.0


# --- files -----------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_anew_and_a_bad_one_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "da.csv"
    options = {"name": "file", "path": str(path), "per": "mwh", "unit": "USD", "step_s": 900.0}
    feed = open_power_feed("power_file", options, PATIENCE_S, lambda: NOW)
    with pytest.raises(PollError) as caught:
        await feed.read()
    assert caught.value.kind is FaultKind.UNREACHABLE
    path.write_text("\ufefftime,value\n2026-08-20T00:00Z,50\n")
    assert (await feed.read()).value == (0.05,)
    path.write_text("time,value\n2026-08-20T00:00Z,60\n")
    assert (await feed.read()).value == (0.06,)
    for content in (b"time,value\nnow,1\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(PollError) as caught:
            await feed.read()
        assert caught.value.kind is FaultKind.MALFORMED
    path.write_bytes(b"time,value\n" + b"#" * 8 * 1024 * 1024)
    with pytest.raises(PollError) as caught:
        await feed.read()
    assert caught.value.kind is FaultKind.OVERSIZE
    await feed.aclose()


# --- opening ---------------------------------------------------------------------------------------------------------


def test_the_catalogue_opens_power_feeds_and_names_a_wrong_option() -> None:
    options = {"name": "file", "path": "x", "per": "mwh", "unit": "USD"}
    open_device("power_file", "", 0, 1.0, options, now=lambda: NOW)
    with pytest.raises(ValueError, match="per"):
        open_device("power_file", "", 0, 1.0, options | {"per": "gwh"}, now=lambda: NOW)
    with pytest.raises(ValueError, match="needs a clock"):
        open_device("power_file", "", 0, 1.0, options)
    assert set(POWER_FEEDS) == {"power_file", "power_ercot", "power_entsoe", "power_json"}


def test_secrets_do_not_show() -> None:
    assert "s3cret" not in repr(EntsoeOptions(**entsoe()))
    assert "s3cret" not in repr(ErcotOptions(**ercot("")))
    assert "s3cret" not in repr(mapping(token="s3cret", url="https://x/?key=s3cret"))
