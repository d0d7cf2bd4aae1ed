"""What is told of a feed that fails: by hand, from the words that collectors raise and the ages that quotes have."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from cycles import AT_S, NAN, QUOTES, make_cycle
from rich.console import Console

from agent import console
from agent.config import load
from agent.feed_watch import GIVES, INPUTS_TOLD, FeedWatch
from agent.plan import assignments_of, site_of, tariffs_in_use
from agent.statuspage import status_html
from agent.wire import Job, Outcome
from collectors.feeds.catalogue import FEEDS
from exporters.report import once_document, status_document
from fleet.market import ASSUMED_FEES, CrossCheck, InputState, Market, MarketInput, Quote
from fleet.readings import Fault, FaultKind
from fleet.series import Series
from fleet.tariff import Index, PowerPrice, Tariff, price_now

P, D, H, F = MarketInput.BTC_USD, MarketInput.DIFFICULTY, MarketInput.HEIGHT, MarketInput.BLOCK_FEES_BTC
KRAKEN = Job("kraken", "kraken", "api.kraken.com", 443, 30.0, 10.0, {"base_url": "https://api.kraken.com"})
NODE = Job(
    "bitcoin_core", "bitcoin_core", "::1", 8332, 60.0, 10.0,
    {"base_url": "http://[::1]:8332", "user": "hashwatt", "password": "Hunter2hunter2"},
)  # fmt: skip
UMLAUT = Job("bitcoin_core", "bitcoin_core", "::1", 8332, 60.0, 10.0, {"password": "Geh3im-wört\\chen"})
ENTSOE = Job(
    "entsoe", "power_entsoe", "web-api.tp.entsoe.eu", 443, 900.0, 20.0, {"name": "entsoe", "token": "t0k3n-abc"}
)
JSON = Job(
    "price_json:hosted", "power_json", "prices.example", 443, 120.0, 20.0,
    {"name": "price_json:hosted", "url": "https://prices.example/v1?apikey=K3Y-of-ours&zone=a%2Fb", "unit": "USD"},
)  # fmt: skip


def failed(job: Job, kind: FaultKind, detail: str = "", at_s: float = AT_S - 300) -> Outcome:
    return Outcome(job.key, job.kind, at_s, 0.1, 0.0, fault=Fault(kind, detail))


def well(job: Job) -> Outcome:
    return Outcome(job.key, job.kind, AT_S - 30, 0.1, 0.0)


def told(watch: FeedWatch, cycle: Any = None, market: Market | None = None, series: Any = None) -> Any:
    return watch.rows(cycle or make_cycle(("a",)), market or Market(), series or {})


@pytest.mark.parametrize(
    ("kind", "detail", "how"),
    [
        (FaultKind.REFUSED, "", "connection refused"),
        (FaultKind.UNREACHABLE, "no such host", "no such host"),
        (FaultKind.UNREACHABLE, "HTTP 503", "it answers HTTP 503"),
        (FaultKind.UNREACHABLE, "", "not reached"),
        (FaultKind.TIMEOUT, "no whole answer in 10 s", "no answer in time: no whole answer in 10 s"),
        (FaultKind.DENIED, "HTTP 401", "login or key not accepted: HTTP 401"),
        (FaultKind.UNSUPPORTED, "HTTP 404", "nothing of the kind at this address: HTTP 404"),
        (FaultKind.MALFORMED, "not JSON", "its answer is of no use: not JSON"),
        (FaultKind.OVERSIZE, "more than 9 bytes", "its answer is too long: more than 9 bytes"),
        (FaultKind.IDENTITY, "certificate not trusted: self-signed certificate",
         "certificate not trusted: self-signed certificate"),
        (FaultKind.IDENTITY, "", "certificate not trusted"),
        (FaultKind.IDENTITY, "the node is on chain test, not main", "the node is on chain test, not main"),
        (FaultKind.DENIED, "cannot read the cookie file: No such file or directory",
         "cannot read the cookie file: No such file or directory"),
    ],
)  # fmt: skip
def test_how_a_feed_fails_is_told_in_words(kind: FaultKind, detail: str, how: str) -> None:
    watch = FeedWatch((KRAKEN,))
    watch.take([failed(KRAKEN, kind, detail)])
    (row,) = told(watch)
    assert row == {
        "feed": "market.kraken", "at": "api.kraken.com", "fault": kind.value, "how": how,
        "since": "2027-01-15T07:55:00.000Z", "meanwhile": "BTC price from coinbase",
    }  # fmt: skip


def test_every_kind_of_fault_has_words() -> None:
    for kind in FaultKind:
        watch = FeedWatch((KRAKEN,))
        watch.take([failed(KRAKEN, kind)])
        assert told(watch)[0]["how"]


def test_every_feed_of_the_market_has_its_numbers() -> None:
    assert set(GIVES) == set(FEEDS)
    assert {input for inputs in GIVES.values() for input in inputs} == set(INPUTS_TOLD)


def test_since_is_the_first_look_that_failed_without_a_pause() -> None:
    watch = FeedWatch((KRAKEN,))
    watch.take([failed(KRAKEN, FaultKind.REFUSED, at_s=AT_S - 90), failed(KRAKEN, FaultKind.TIMEOUT, at_s=AT_S - 60)])
    (row,) = told(watch)
    assert (row["fault"], row["since"]) == ("timeout", "2027-01-15T07:58:30.000Z")
    watch.take([well(KRAKEN)])
    assert told(watch) == []
    watch.take([failed(KRAKEN, FaultKind.REFUSED, at_s=AT_S - 10)])
    assert told(watch)[0]["since"] == "2027-01-15T07:59:50.000Z"


def test_a_machine_with_the_name_of_a_feed_is_none() -> None:
    watch = FeedWatch((KRAKEN,))
    watch.take([Outcome("kraken", "antminer", AT_S, 0.1, 0.0, fault=Fault(FaultKind.REFUSED))])
    assert told(watch) == []


@pytest.mark.parametrize(
    ("job", "said", "how"),
    [
        (NODE, "the node answers bad login HUNTER2hunter2", "the node answers bad login ***"),
        (ENTSOE, "the platform answers no right for t0k3n-abc", "the platform answers no right for ***"),
        (JSON, "redirect to k3y-of-ours.example", "redirect to ***.example"),
        (JSON, "no page /v1?apikey=K3Y-of-ours&zone=a%2Fb here", "no page /v1?*** here"),
        (JSON, "no zone a%2Fb, no zone a/b", "no zone ***, no zone ***"),
        # servers print what is not ASCII in escapes, and 80 characters of it, wherever that cuts
        (UMLAUT, "the node answers no user with Geh3im-w\\xf6rt\\\\chen", "no user with ***"),
        (UMLAUT, "the node answers no user with Geh3im-w%C3%B6rt%5Cchen", "no user with ***"),
        (ENTSOE, "the platform answers a long text, and in the end t0k3n-a", "and in the end ***"),
        (KRAKEN, 'the exchange answers {"token": "s3cret-of-theirs"}', "REDACTED"),
    ],
)
def test_no_secret_is_told(job: Job, said: str, how: str) -> None:
    watch = FeedWatch((job,))
    watch.take([failed(job, FaultKind.UNREACHABLE, said)])
    row = json.dumps(told(watch)[0])
    assert how in row
    for secret in ("Hunter2", "t0k3n", "Geh3im", "K3Y", "s3cret", "apikey", "hashwatt"):
        assert secret.lower() not in row.lower()


def test_a_feed_is_named_by_its_key_in_the_configuration_and_its_place(tmp_path: Any) -> None:
    """The keys are those of docs/hashwatt.example.toml; the address ends before its query."""
    (tmp_path / "token").write_text("t0k3n-abc")
    (tmp_path / "day.csv").write_text("time,value\n2027-01-15T07:00Z,1\n2027-01-15T08:00Z,2\n")
    path = tmp_path / "hashwatt.toml"
    path.write_text("""
[site]
name = "north"
[market.bitcoin_core]
cookie_file = "cookie"
[market.file]
path = "market.toml"
[tariff]
per_mwh_file = "day.csv"
[tariffs.a]
currency = "EUR"
entsoe = { zone = "10Y1001A1001A82H", token_file = "token" }
[tariffs.b]
json = { url = "https://prices.example:8443/v1?key=abc", value = "v", per = "kwh", step_min = 60 }
[tariffs.c]
per_kwh_file = "day.csv"
[exchange.EUR]
json = { url = "https://rates.example/", value = "v", step_min = 60 }
""")
    config = load(path)
    (feeds,) = assignments_of(config, site_of(config, "model,hashrate_th,power_w\n"))
    watch = FeedWatch(feeds.jobs, tariffs_in_use(config))
    watch.take([failed(job, FaultKind.REFUSED) for job in feeds.jobs])
    cycle = make_cycle(("a",), power=tuple(price_now(each, {}, AT_S) for each in tariffs_in_use(config)))
    rows = told(watch, cycle)
    assert {(row["feed"], row["at"]) for row in rows} == {
        ("market.bitcoin_core", "127.0.0.1:8332"), ("market.file", str(tmp_path / "market.toml")),
        ("tariff.per_mwh_file", str(tmp_path / "day.csv")), ("tariffs.a.entsoe", "web-api.tp.entsoe.eu"),
        ("tariffs.b.json", "prices.example:8443"), ("tariffs.c.per_kwh_file", str(tmp_path / "day.csv")),
        ("exchange.EUR.json", "rates.example"),
    }  # fmt: skip
    assert next(row["meanwhile"] for row in rows if row["feed"] == "exchange.EUR.json") == "rate EUR/USD missing"
    proxied = Job("kraken", "kraken", "api.kraken.com", 443, 30.0, 10.0, {"proxy": "http://gate.example:3128"})
    for job, place in ((NODE, "[::1]:8332"), (proxied, "api.kraken.com through gate.example:3128")):
        watch = FeedWatch((job,))
        watch.take([failed(job, FaultKind.REFUSED)])
        assert told(watch)[0]["at"] == place


# --- what holds meanwhile --------------------------------------------------------------------------------------------


def meanwhile(job: Job, **valuation: Any) -> str:
    watch = FeedWatch((job,))
    watch.take([failed(job, FaultKind.REFUSED)])
    return str(told(watch, make_cycle(("a",), valuation=valuation))[0]["meanwhile"])


def of(input: MarketInput, *sources: str) -> dict[MarketInput, tuple[Quote, ...]]:
    return QUOTES | {input: tuple(Quote(input, source, 1.0, AT_S, 1.0, 1.0) for source in sources)}


def test_what_holds_meanwhile_is_told_for_each_number_of_the_feed() -> None:
    states = dict.fromkeys((D, H, F, P), InputState.FRESH)
    assert meanwhile(KRAKEN) == "BTC price from coinbase"
    assert meanwhile(KRAKEN, used=of(P, "kraken")) == "BTC price still as told at 07:59 UTC"  # 7 s old
    assert meanwhile(KRAKEN, used=of(P), states=states | {P: InputState.MISSING}) == "BTC price missing"
    assert meanwhile(KRAKEN, used=of(P, "kraken"), states=states | {P: InputState.STALE_HARD}) == "BTC price missing"
    assert meanwhile(KRAKEN, states=states | {P: InputState.CONFLICT}) == "BTC price in dispute"
    assert meanwhile(NODE, used=of(F, ASSUMED_FEES)) == "difficulty, height from mempool; fees assumed"
    old = {D: 40_000.0, H: 50_000.0, F: 60.0, P: 1.0}
    used = {D: of(D, "bitcoin_core")[D], H: of(H, "bitcoin_core")[H], F: of(F, "mempool", "braiins")[F]}
    hard = states | {D: InputState.STALE_HARD, H: InputState.STALE_HARD}
    assert meanwhile(NODE, used=used, states=hard, ages_s=old) == (
        "difficulty still as told at 20:53 UTC; height still as told at 2027-01-14 18:06 UTC; fees from mempool+braiins"
    )


def test_what_is_past_its_hard_age_comes_from_nobody_though_its_source_answers() -> None:
    hard = dict.fromkeys((D, H, F, P), InputState.FRESH) | {D: InputState.STALE_HARD}
    ages_s = dict.fromkeys((D, H, F, P), 40_000.0)
    assert meanwhile(NODE, used=of(D, "mempool"), states=hard, ages_s=ages_s) == (
        "difficulty still as told at 20:53 UTC; height, fees from mempool"
    )


def test_a_source_that_fails_too_holds_nothing_up_but_what_it_told() -> None:
    coinbase = Job("coinbase", "coinbase", "api.coinbase.com", 443, 30.0, 10.0, {})
    watch = FeedWatch((coinbase, KRAKEN))
    watch.take([failed(KRAKEN, FaultKind.REFUSED), failed(coinbase, FaultKind.REFUSED)])
    assert [row["meanwhile"] for row in told(watch)] == ["BTC price still as told at 07:59 UTC"] * 2


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (CrossCheck(), "published hashprice missing"),
        (CrossCheck(30.0, 0.1, 600.0, InputState.FRESH, "luxor"), "published hashprice still as told at 07:50 UTC"),
        (CrossCheck(30.0, 0.1, 9e5, InputState.STALE_HARD, "luxor"), "published hashprice missing"),
    ],
)
def test_a_published_hashprice_is_told_as_well(check: CrossCheck, words: str) -> None:
    luxor = Job("luxor", "luxor", "api.hashrateindex.com", 443, 600.0, 10.0, {"key": "abc"})
    assert meanwhile(luxor, cross_check=check) == words


def series(name: str, starts: tuple[float, ...], **changes: Any) -> Series:
    return Series(name, starts, (0.05,) * len(starts), 3600.0, **changes)


def priced(
    watch_series: Series | None, tariff: Tariff, job: Job, fault: FaultKind | None = None
) -> list[dict[str, Any]]:
    known = {} if watch_series is None else {watch_series.name: watch_series}
    watch = FeedWatch((job,), (tariff,))
    watch.take([well(job) if fault is None else failed(job, fault)])
    rows: list[dict[str, Any]] = told(watch, make_cycle(("a",), power=(price_now(tariff, known, AT_S),)), series=known)
    return rows


def test_a_price_feed_that_fails_leaves_what_it_told_before() -> None:
    tariff = Tariff(Index("entsoe"))
    (row,) = priced(series("entsoe", (AT_S - 60, AT_S + 3540)), tariff, ENTSOE, FaultKind.DENIED)
    assert row["meanwhile"] == "power price: what it told before holds until 09:59 UTC"
    (row,) = priced(series("entsoe", (AT_S - 3660,), hold_s=7200.0), tariff, ENTSOE, FaultKind.DENIED)
    assert row["meanwhile"] == "power price: what it told before holds until 09:59 UTC"  # ended a minute ago, held 2 h
    (row,) = priced(series("entsoe", (AT_S - 7200,)), tariff, ENTSOE, FaultKind.DENIED)
    assert row["meanwhile"] == "power price missing"
    (row,) = priced(None, tariff, ENTSOE, FaultKind.DENIED)
    assert (row["fault"], row["meanwhile"]) == ("denied", "power price missing")


# --- looks that succeed with what is of no use -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts", "how", "since"),
    [
        ((AT_S - 90_000,), "its prices ended on 2027-01-14 08:00 UTC", "2027-01-14T08:00:00.000Z"),
        ((AT_S + 3600,), "its prices begin only on 2027-01-15 09:00 UTC", None),
        ((AT_S - 7200, AT_S + 3600), "its prices are of other hours, none of them is for now", None),
    ],
)
def test_a_price_list_without_a_price_for_now_is_a_feed_that_fails(
    starts: tuple[float, ...], how: str, since: str | None
) -> None:
    (row,) = priced(series("entsoe", starts), Tariff(Index("entsoe")), ENTSOE)
    assert (row["fault"], row["how"], row["since"], row["meanwhile"]) == ("stale", how, since, "power price missing")


def test_a_price_that_stood_in_for_a_while_is_missing_since_it_ceased_to() -> None:
    (row,) = priced(series("entsoe", (AT_S - 7200,), hold_s=1800.0), Tariff(Index("entsoe")), ENTSOE)
    assert (row["how"], row["since"]) == ("its prices ended on 2027-01-15 07:00 UTC", "2027-01-15T07:30:00.000Z")


def test_a_price_that_nobody_believes_and_a_wrong_currency_are_told() -> None:
    now = series("entsoe", (AT_S - 60,))
    (row,) = priced(now, Tariff(Index("entsoe"), believable=(0.06, 1.0)), ENTSOE)
    assert (
        row["how"]
        == "its prices are not believed: no kWh costs so much, or at_least_per_kwh or at_most_per_kwh forbids it"
    )
    (row,) = priced(series("entsoe", (AT_S - 60,), unit="EUR"), Tariff(Index("entsoe")), ENTSOE)
    assert row["how"] == "its prices are in another currency than the tariff"
    assert priced(now, Tariff(Index("entsoe")), ENTSOE) == []
    # without a rate it is the rate's feed that fails
    assert priced(series("entsoe", (AT_S - 60,), unit="EUR"), Tariff(Index("entsoe"), currency="EUR"), ENTSOE) == []


def test_a_rate_of_exchange_that_ended_is_told() -> None:
    job = Job("EUR/USD", "power_json", "rates.example", 443, 300.0, 20.0, {"url": "https://rates.example"})
    known = {"EUR/USD": series("EUR/USD", (AT_S - 90_000,), unit="EUR/USD")}
    watch = FeedWatch((job,))
    (row,) = told(watch, series=known)
    assert (row["feed"], row["how"], row["meanwhile"]) == (
        "exchange.EUR.json", "its rates ended on 2027-01-14 08:00 UTC", "rate EUR/USD missing",
    )  # fmt: skip
    assert told(watch, series={"EUR/USD": series("EUR/USD", (AT_S - 60,), unit="EUR/USD")}) == []


@pytest.mark.parametrize(
    ("quote", "how", "since"),
    [
        (Quote(P, "kraken", 7e4, AT_S - 7200, 120.0, 900.0),
         "its BTC price is of 2027-01-15 06:00 UTC: too old", "2027-01-15T06:15:00.000Z"),
        (Quote(P, "kraken", 7e4, AT_S + 3600, 120.0, 900.0),
         "its BTC price is of 2027-01-15 09:00 UTC, which is still to come", None),
        (Quote(P, "kraken", 7e4, AT_S, 120.0, 900.0, since_s=AT_S - 21_660),
         "has told the same BTC price since 2027-01-15 01:59 UTC", None),
        # a clock that is half a minute ahead is no answer from the future
        (Quote(P, "kraken", 7e4, AT_S + 30, 120.0, 900.0, since_s=AT_S - 21_660),
         "has told the same BTC price since 2027-01-15 01:59 UTC", None),
        (Quote(P, "kraken", 7e4, AT_S - 890, 120.0, 900.0), None, None),
    ],
)  # fmt: skip
def test_numbers_that_are_too_old_to_hold_are_a_feed_that_fails(
    quote: Quote, how: str | None, since: str | None
) -> None:
    rows = told(FeedWatch((KRAKEN,)), market=Market((quote,)))
    assert [(row["fault"], row["how"], row["since"]) for row in rows] == (
        [] if how is None else [("stale", how, since)]
    )


def test_of_a_file_only_what_stands_in_it_is_told() -> None:
    job = Job("file", "file", "", 0, 60.0, 10.0, {"path": "/etc/hashwatt/market.toml"})
    old = Market(
        tuple(Quote(input, "file", value, AT_S - 90_000, 86_400.0, 86_400.0) for input, value in ((D, 1e14), (P, 7e4)))
    )
    (row,) = told(FeedWatch((job,)), market=old)
    assert row["how"] == "its difficulty, BTC price are of 2027-01-14 07:00 UTC: too old"
    assert row["meanwhile"] == "difficulty from mempool; BTC price from coinbase+kraken"


# --- where it is shown -----------------------------------------------------------------------------------------------

ROW = {
    "feed": "market.kraken", "at": "api.kraken.com", "fault": "malformed", "how": "its answer \x1b[2J <b>",
    "since": "2027-01-15T07:55:00.000Z", "meanwhile": "BTC price from coinbase",
}  # fmt: skip


def screen(document: Any, width: int, height: int = 40) -> list[str]:
    drawn = Console(record=True, width=width, height=height, force_terminal=True, file=io.StringIO())
    drawn.print(console.frame(json.loads(json.dumps(document)), AT_S, height, width))
    return drawn.export_text().splitlines()


def test_the_views_tell_it_in_a_line_and_nothing_where_all_is_well() -> None:
    line = (
        "feed    market.kraken (api.kraken.com): its answer ·[2J <b>, since 2027-01-15 07:55:00 UTC (5 min); "
        "meanwhile BTC price from coinbase"
    )
    cycle = make_cycle(("a",))
    assert line in screen(status_document(cycle, NAN, None, [ROW]), 160)
    assert [each for each in screen(status_document(cycle, NAN, None, []), 160) if "feed" in each] == []
    once = Console(record=True, width=160, file=io.StringIO())
    console.show_once(json.loads(json.dumps(once_document(cycle, None, [ROW] * 7))), once)
    assert once.export_text(clear=False).count(line) == 7
    long = [ROW | {"meanwhile": "BTC price from " + "kraken+" * 30}]
    console.show_once(json.loads(json.dumps(once_document(cycle, None, long))), once)
    assert f"meanwhile BTC price from {'kraken+' * 30}" in once.export_text(), "a pipe has no width: a line is a line"
    page = status_html(status_document(cycle, NAN, None, [ROW]))
    assert "<h2>failing feeds</h2>" in page
    assert "<b>" not in page
    assert "its answer" in page


def test_no_word_of_it_is_cut_on_a_narrow_screen_and_many_are_counted() -> None:
    lines = screen(status_document(make_cycle(("a",)), NAN, None, [ROW] * 7), 80)
    assert " ".join(" ".join(lines).split()).count("meanwhile BTC price from coinbase") == 5
    assert any("and 2 more feeds: see the status page" in line for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_wrapped_lines_leave_the_picture_its_height(width: int) -> None:
    many = status_document(
        make_cycle(tuple(f"m{i}" for i in range(60)), economics={"margin_usd_h": [0.1] * 60}), NAN, None, [ROW] * 5
    )
    assert len(screen(many, width, 30)) <= 30


def test_a_watch_of_an_agent_without_feeds_has_nothing_to_tell() -> None:
    assert told(FeedWatch(), make_cycle(("a",), power=(PowerPrice("", 0.05, "flat", InputState.FRESH),))) == []
