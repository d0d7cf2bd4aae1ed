"""What a source of power prices that fails or lies does to a farm: the state of the price, the page, and the advice.

Each kind is asked over real HTTP (or reads a real file), and what it says goes through the tariff into whole decisions,
as time passes by hand. A price of power has one source: it grows old, and then there is none, and nobody is stopped.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from two_machines import START, Farm, stops

from agent.poller import look
from agent.wire import Job
from collectors.feeds.power import POWER_FEEDS, open_power_feed
from fleet.curtailment import Status
from fleet.cycle import Cycle
from fleet.market import HARD_AGE_S, SOFT_AGE_S, InputState, MarketInput, Quote
from fleet.readings import Fault
from fleet.series import Series
from fleet.tariff import Index, Tariff, price_now

FRESH, SOFT, HARD, MISSING = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD, InputState.MISSING
HOUR_S = START // 3600 * 3600  # the hour in which the story begins, and its price
USD = 0.0595  # a kWh: both machines still earn a little
KINDS = tuple(POWER_FEEDS)
STEP_S = {"power_ercot": 900.0, "power_entsoe": 3600.0, "power_json": 300.0, "power_file": 3600.0}
HELD_S = {"power_ercot": (1020.0, 2700.0), "power_json": (120.0, 900.0), "power_entsoe": (0.0, 0.0)}


class Trouble(StrEnum):
    NONE = "none"
    REFUSE = "refuse"
    HANG = "hang"
    DRIBBLE = "dribble"
    PAGE = "web_page"
    ERROR = "http_500"
    GIANT = "giant_body"
    BOMB = "gzip_bomb"
    REDIRECT = "redirect"
    RATE_LIMITED = "rate_limited"
    CONFLICTING = "two_prices_for_one_time"
    CURRENCY = "another_currency"


OUTCOME = {
    Trouble.REFUSE: "refused", Trouble.HANG: "timeout", Trouble.DRIBBLE: "timeout", Trouble.PAGE: "malformed",
    Trouble.ERROR: "unreachable", Trouble.GIANT: "oversize", Trouble.BOMB: "oversize", Trouble.REDIRECT: "malformed",
    Trouble.RATE_LIMITED: "unreachable", Trouble.CONFLICTING: "malformed", Trouble.CURRENCY: "malformed",
}  # fmt: skip


def ercot_body(usd: float, until_s: float, is_twice: bool, unit: str) -> str:
    """Quarters of the local day until `until_s`, in USD/MWh."""
    names = ("deliveryDate", "deliveryHour", "deliveryInterval", "settlementPoint", "settlementPointPrice", "DSTFlag")
    rows = []
    for start_s in range(int(HOUR_S) - 3600, int(until_s), 900):
        at = datetime.fromtimestamp(start_s, ZoneInfo("America/Chicago"))
        rows.append([at.date().isoformat(), at.hour + 1, at.minute // 15 + 1, "LZ_WEST", usd * 1000, False])
    rows += rows[-1:] if is_twice else []
    return json.dumps({"_meta": {"totalPages": 1}, "fields": [{"name": name} for name in names], "data": rows})


def entsoe_body(usd: float, until_s: float, is_twice: bool, unit: str) -> str:
    """Hours until `until_s`, per MWh."""
    start_s = HOUR_S - 7200
    hours = int((until_s - start_s) // 3600)
    start, end = (datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%MZ") for at_s in (start_s, until_s))
    points = "".join(
        f"<Point><position>{i}</position><price.amount>{usd * 1000}</price.amount></Point>"
        for i in [*range(1, hours + 1), *([hours] if is_twice else [])]
    )
    return (
        f"<Publication_MarketDocument><TimeSeries><currency_Unit.name>{unit}</currency_Unit.name><price_Measure_Unit.name>"
        f"MWH</price_Measure_Unit.name><Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>PT60M</resolution>{points}</Period></TimeSeries></Publication_MarketDocument>"
    )


def json_body(usd: float, until_s: float, is_twice: bool, unit: str) -> str:
    """Five minutes each until `until_s`, in milliseconds and per MWh."""
    starts = range(int(HOUR_S) - 600, int(until_s), 300)
    rows = [{"at": start_s * 1000, "usd_mwh": usd * 1000} for start_s in starts]
    return json.dumps({"rows": rows + (rows[-1:] if is_twice else [])})


def file_body(usd: float, until_s: float, is_twice: bool, unit: str) -> str:
    hours = [*range(int(HOUR_S) - 3600, int(until_s), 3600)]
    lines = [f"{datetime.fromtimestamp(start_s, UTC).isoformat()},{usd * 1000}" for start_s in hours]
    return "\n".join(["time,value", *lines, *(lines[-1:] if is_twice else [])])


BODIES: dict[str, Callable[[float, float, bool, str], str]] = {
    "power_ercot": ercot_body, "power_entsoe": entsoe_body, "power_json": json_body, "power_file": file_body,
}  # fmt: skip


@dataclass
class Source:
    """A server, or a file, of power prices: `usd` until `until_s`."""

    kind: str
    file: Path
    trouble: Trouble = Trouble.NONE
    usd: float = USD
    until_s: float = HOUR_S + 7200.0
    port: int = 0
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    def body(self) -> str:
        unit = "GBP" if self.trouble is Trouble.CURRENCY else "USD"
        return BODIES[self.kind](self.usd, self.until_s, self.trouble is Trouble.CONFLICTING, unit)

    def write(self) -> None:
        """The file, in whatever trouble it is."""
        match self.trouble:
            case Trouble.REFUSE:
                self.file.unlink(missing_ok=True)
            case Trouble.PAGE:
                self.file.write_text("<html>")
            case Trouble.GIANT:
                self.file.write_bytes(bytes(9 * 1024 * 1024))
            case _:
                self.file.write_text(self.body())

    def reply(self, path: str) -> bytes:
        status, extra, raw = "200 OK", "", self.body().encode()
        if "token" in path:
            raw = b'{"id_token": "t"}'
        elif self.trouble is Trouble.PAGE:
            raw = b"<html><body>down for maintenance</body></html>"
        elif self.trouble is Trouble.ERROR:
            status = "500 Internal Server Error"
        elif self.trouble is Trouble.GIANT:
            raw = b" " * (2 * 1024 * 1024) + raw
        elif self.trouble is Trouble.BOMB:
            raw, extra = gzip.compress(b" " * (16 * 1024 * 1024) + raw), "Content-Encoding: gzip\r\n"
        elif self.trouble is Trouble.REDIRECT:
            status, extra, raw = "302 Found", "Location: https://elsewhere.example/\r\n", b""
        elif self.trouble is Trouble.RATE_LIMITED:
            status, extra, raw = "429 Too Many Requests", "Retry-After: 77\r\n", b""
        mime = "text/xml" if self.kind == "power_entsoe" and "token" not in path else "application/json"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {mime}\r\n{extra}Content-Length: {len(raw)}\r\n\r\n"
        return head.encode() + raw

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.talks.add(task)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                await reader.readexactly(int(lengths[0].partition(":")[2]) if lengths else 0)
                path = head.split(" ")[1]
                if self.trouble is Trouble.HANG and "token" not in path:
                    await asyncio.Event().wait()
                answer = self.reply(path)
                if self.trouble is Trouble.DRIBBLE and "token" not in path:
                    writer.write(answer[:20])
                    await asyncio.Event().wait()
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Story:
    """A farm whose only price of power is this source's."""

    def __init__(self, source: Source, url: str) -> None:
        self.source, self.farm, self.known = source, Farm(), dict[str, Series]()
        self.tariffs = (Tariff(Index("p")), Tariff(Index("p"), name="dear"))
        self.options: dict[str, str | float | bool] = {
            "power_ercot": {
                "base_url": url, "token_url": url, "settlement_point": "LZ_WEST", "market": "real_time",
                "user": "u", "password": "p", "subscription_key": "k",
            },
            "power_entsoe": {"base_url": url, "zone": "10Y1001A1001A82H", "unit": "USD", "token": "t"},
            "power_json": {
                "url": url + "/prices", "rows": "rows", "start": "at", "value": "usd_mwh", "per": "mwh", "unit": "USD",
                "soft_s": 120.0, "hold_s": 900.0,
            },
            "power_file": {"path": str(source.file), "per": "mwh", "unit": "USD"},
        }[source.kind] | {"name": "p"}  # fmt: skip

    async def look(self, patience_s: float = 10.0) -> str:
        """One look; the outcome as the page counts it."""
        if self.source.kind == "power_file":
            self.source.write()
        job = Job("p", self.source.kind, "127.0.0.1", self.source.port, 60.0, patience_s, self.options)
        feed = open_power_feed(self.source.kind, self.options, patience_s, lambda: self.farm.now_s)
        verdict = await look(job, feed)
        await feed.aclose()
        outcome = verdict.kind.value if isinstance(verdict, Fault) else "ok"
        if isinstance(verdict, Fault):
            assert verdict.wait_s == (77.0 if self.source.trouble is Trouble.RATE_LIMITED else 0.0)
        else:
            assert isinstance(verdict, Series)
            self.known["p"] = verdict
        self.farm.vitals.polled(self.source.kind, outcome, 0.1, 0.0)
        return outcome

    def tick(self, now_s: float) -> tuple[Cycle, str]:
        self.farm.now_s = now_s
        numbers = {"difficulty": 141.67e12, "height": 935_140.0, "block_fees_btc": 0.02, "btc_usd": 70_000.0}
        self.farm.market = self.farm.market.with_quotes(
            Quote(input, source, value + now_s % 7 * 1e-6, now_s, SOFT_AGE_S[input], HARD_AGE_S[input])
            for input, value in ((MarketInput(name), value) for name, value in numbers.items())
            for source in ("file", "kraken", "gemini")
            if (source == "file") is not (input is MarketInput.BTC_USD)
        )
        return self.farm.tick(tuple(price_now(tariff, self.known, now_s) for tariff in self.tariffs))

    def expect(self, now_s: float, state: InputState, usd: float = USD) -> None:
        """The state and the price at `now_s`, in the valuation and on the page, and no machine that is stopped."""
        cycle, page = self.tick(now_s)
        usd = usd if state in (FRESH, SOFT) else math.nan
        assert cycle.valuation.power_state is state
        assert cycle.valuation.power_usd_per_kwh == pytest.approx(usd, nan_ok=True)
        assert f'hashwatt_power_price_state{{source="p",state="{state.value}"}} 1.0\n' in page
        has_price = any(line.startswith("hashwatt_power_price_usd_per_kilowatt_hour ") for line in page.splitlines())
        assert has_price is (not math.isnan(usd))
        assert stops(cycle) == [False, False]
        expected = {FRESH: Status.OK, SOFT: Status.DEGRADED}.get(state, Status.HOLD)
        assert cycle.decision.status is expected


@pytest.fixture
async def source(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Source]:
    source = Source(request.param, tmp_path / "prices.csv")
    listener = await asyncio.start_server(source.talk, "127.0.0.1", 0)
    source.port = listener.sockets[0].getsockname()[1]
    yield source
    listener.close()
    for task in source.talks:
        task.cancel()
    await asyncio.gather(*source.talks, return_exceptions=True)


def fading(kind: str, until_s: float) -> list[tuple[float, InputState]]:
    """When the newest price ends, and how long it stands in after that."""
    soft_s, hold_s = HELD_S.get(kind, (0.0, 0.0))
    told = [(until_s - 1.0, FRESH), (until_s + hold_s, HARD), (until_s + 86_400.0, HARD)]
    return sorted(
        told + ([(until_s, FRESH), (until_s + soft_s, SOFT), (until_s + hold_s - 1.0, SOFT)] if hold_s else [])
    )


@pytest.mark.parametrize("source", KINDS, indirect=True)
async def test_the_farm_of_these_tests_stops_where_a_price_that_may_be_true_makes_it_lose(source: Source) -> None:
    """Else the others would show nothing. A scarce hour of Texas has been dearer; only the operator can know better."""
    story = Story(source, f"http://127.0.0.1:{source.port}")
    assert await story.look() == "ok"
    for minute in range(10):
        story.expect(START + 60.0 * minute, FRESH)
    source.usd = 100 * USD
    assert await story.look() == "ok"
    for minute in range(10, 20):
        cycle, page = story.tick(START + 60.0 * minute)
    assert stops(cycle) == [True, True]
    assert cycle.valuation.power_usd_per_kwh == pytest.approx(5.95)
    assert "\nhashwatt_power_price_usd_per_kilowatt_hour 5.9" in page
    # and where he has said so, it is none, and nobody is stopped: within minutes they run again, or stay as they were
    story = Story(source, f"http://127.0.0.1:{source.port}")
    story.tariffs = (Tariff(Index("p"), believable=(-1.0, 1.0)), Tariff(Index("p"), "dear", believable=(-1.0, 1.0)))
    assert await story.look() == "ok"
    for minute in range(20):
        story.expect(START + 60.0 * minute, MISSING)


@pytest.mark.parametrize("trouble", OUTCOME, ids=str)
@pytest.mark.parametrize("source", KINDS, indirect=True)
async def test_a_source_that_fails_grows_old_and_stops_nobody(source: Source, trouble: Trouble) -> None:
    kind = source.kind
    on_file = (Trouble.REFUSE, Trouble.PAGE, Trouble.GIANT, Trouble.CONFLICTING)
    is_told = trouble in on_file if kind == "power_file" else trouble is not Trouble.CURRENCY or kind == "power_entsoe"
    if not is_told:
        return  # a file has no network, and only ENTSO-E says its currency
    story = Story(source, f"http://127.0.0.1:{source.port}")
    story.farm.now_s = START
    assert await story.look() == "ok"
    story.expect(START, FRESH)
    before = story.known["p"]
    source.trouble, source.usd = trouble, 0.9  # and whatever got through would be dear
    outcome = OUTCOME[trouble]
    if trouble is Trouble.REFUSE and kind != "power_file":
        listener = await asyncio.start_server(source.talk, "127.0.0.1", 0)
        free = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        known, story = story.known, Story(source, f"http://127.0.0.1:{free}")
        story.known = known
    elif trouble is Trouble.REFUSE:
        outcome = "unreachable"
    is_slow = outcome == "timeout"
    told = await story.look(0.4 if is_slow else 10.0)
    assert told == outcome or (is_slow and told == "unreachable")  # a busy computer connects late
    assert story.known["p"] is before
    for now_s, state in fading(kind, source.until_s):
        story.expect(now_s, state)
    _, page = story.tick(story.farm.now_s + 1.0)
    assert f'hashwatt_polls_total{{driver="{kind}",outcome="{told}"}} 1.0\n' in page


@pytest.mark.parametrize("source", KINDS, indirect=True)
async def test_a_source_that_goes_on_saying_what_it_said(source: Source) -> None:
    story = Story(source, f"http://127.0.0.1:{source.port}")
    story.farm.now_s = START
    for now_s, state in fading(source.kind, source.until_s):
        assert await story.look() == "ok"
        story.expect(now_s, state)


@pytest.mark.parametrize("source", KINDS, indirect=True)
async def test_a_price_per_kwh_that_should_be_per_mwh_is_cheap_and_the_other_way_is_none(source: Source) -> None:
    story = Story(source, f"http://127.0.0.1:{source.port}")
    story.farm.now_s, source.usd = START, USD / 1000.0
    assert await story.look() == "ok"
    for minute in range(20):
        story.expect(START + 60.0 * minute, FRESH, USD / 1000.0)
    source.usd = USD * 1000.0
    assert await story.look() == "ok"
    for minute in range(20, 40):
        story.expect(START + 60.0 * minute, MISSING)


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "power_file"])
async def test_a_certificate_that_nobody_vouches_for(kind: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=feed"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    source = Source(kind, tmp_path / "x")
    listener = await asyncio.start_server(source.talk, "127.0.0.1", 0, ssl=tls)
    source.port = listener.sockets[0].getsockname()[1]
    story = Story(source, f"https://127.0.0.1:{source.port}")
    story.farm.now_s = START
    assert await story.look() == "identity"
    story.expect(START, MISSING)
    _, page = story.tick(START + 60.0)
    assert f'hashwatt_polls_total{{driver="{kind}",outcome="identity"}} 1.0\n' in page
    listener.close()
