"""The fault table: each feed with each fault, on real HTTP and HTTPS servers: what becomes of input, metric, advice.

A feed is looked at twice while it is well, then the fault begins, then it is looked at again. What it said is judged
alone and among others that are well. The metric is `hashwatt_polls_total` by outcome; the advice is the status that the
decision would have: ok, degraded (no new stop) or hold.
"""

from __future__ import annotations

import math
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.poller import look
from agent.vitals import Vitals
from agent.wire import Job
from collectors.feeds.catalogue import open_feed
from exporters.prometheus import render_family
from fleet.curtailment import Policy, Status, judge
from fleet.market import HARD_AGE_S, HASHPRICE_INPUTS, SOFT_AGE_S, InputState, Market, MarketInput, Quote, assess
from fleet.readings import Fault, FaultKind
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import Observations, PduColumns, Snapshot, assemble
from hil.faults import Misbehaviour
from hil.feeds import POSTED, RETRY_AFTER_S, SHAPES, FeedFault, FeedServer, Lie, MarketTruth

START = 1_770_000_000.0
TRUTH = MarketTruth()  # 70,000 USD, 141.67T, block 935,140, 0.02 BTC of fees
OURS = 2.0116567611694e10 / 141.67e12 * 3.145 * 70_000.0
DEADLINE_S = 5.0

D, H, F, P = HASHPRICE_INPUTS
FRESH, SOFT, HARD, CONFLICT = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD, InputState.CONFLICT
EXCHANGES = ("coinbase", "kraken", "bitstamp", "gemini", "bitfinex")
GIVES: dict[str, tuple[MarketInput, ...]] = {
    "bitcoin_core": (D, H, F),
    "mempool": (D, H, F, P),
    **dict.fromkeys(EXCHANGES, (P,)),
    "blockchain_info": (D, P),
    "braiins": (D, P),
    "luxor": (MarketInput.PUBLISHED_USD_PH_DAY,),
}


@dataclass
class Hands:
    """A clock that is moved by hand."""

    now_s: float = START


@dataclass
class Watch:
    """One feed on its server, what it said and what was counted."""

    kind: str
    server: FeedServer
    hands: Hands
    deadline_s: float = DEADLINE_S
    market: Market = field(default_factory=Market)

    def __post_init__(self) -> None:
        self.vitals = Vitals()
        options: dict[str, str | float | bool] = {"base_url": self.server.url}
        options |= {"bitcoin_core": {"user": "u", "password": "p"}, "luxor": {"key": "k"}}.get(self.kind, {})
        self.job = Job(self.kind, self.kind, "127.0.0.1", self.server.port, 30.0, self.deadline_s, options)
        self.feed = open_feed(self.kind, options, self.deadline_s, lambda: self.hands.now_s)

    @property
    def now_s(self) -> float:
        return self.hands.now_s

    async def begin(self, fault: FeedFault) -> None:
        """From now on the server behaves so; the connection that this cuts is not the fault that is looked at."""
        await self.server.show(fault)
        await self.feed.aclose()
        self.__post_init__()

    async def look(self, later_s: float = 30.0) -> Fault | None:
        self.hands.now_s += later_s
        verdict = await look(self.job, self.feed)
        fault = verdict if isinstance(verdict, Fault) else None
        self.vitals.polled(self.kind, "ok" if fault is None else fault.kind.value, 0.1, 0.0)
        if fault is None:
            assert isinstance(verdict, tuple)
            self.market = self.market.with_quotes(verdict)
        return fault

    def counted(self, outcome: str) -> float:
        """`hashwatt_polls_total` of this feed with this outcome."""
        text = b"".join(block for family in self.vitals.families() for block in render_family(family)).decode()
        name = f'hashwatt_polls_total{{driver="{self.kind}",outcome="{outcome}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


@pytest.fixture
async def watch(request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    hands = Hands()
    server = FeedServer(request.param, "127.0.0.1", 0, lambda: hands.now_s)
    await server.show(Misbehaviour.NONE)
    watch = Watch(request.param, server, hands)
    yield watch
    await watch.feed.aclose()
    await server.aclose()


def well(now_s: float, without: str = "") -> list[Quote]:
    """What three exchanges and a node say that are well; the chain and the price move a little."""
    blocks = int((now_s - START) / 600)
    values = {D: TRUTH.difficulty, H: TRUTH.height + blocks, F: TRUTH.block_fees_btc + 1e-8 * (blocks % 7)}
    told = [
        Quote(input, "bitcoin_core", value, now_s, SOFT_AGE_S[input], HARD_AGE_S[input])
        for input, value in values.items()
    ]
    told += [
        Quote(input, "mempool", value, now_s, SOFT_AGE_S[input], HARD_AGE_S[input]) for input, value in values.items()
    ]
    told += [Quote(P, name, 70_000.0, now_s, 120.0, 900.0) for name in ("coinbase", "kraken", "bitstamp")]
    return [quote for quote in told if quote.source != without]


def nobody() -> Snapshot:
    return assemble(Site("north", ()), Observations.empty(0), (), PduColumns(), START, 60.0)


def status_of(market: Market, now_s: float) -> Status:
    """The health that a decision would have."""
    return judge(nobody(), assess(market, 0.05, "flat", now_s), Signals(), Policy(), now_s)[0]


ALL_KINDS = [*SHAPES, *POSTED]
TOLD_AS: dict[FeedFault, FaultKind] = {
    Misbehaviour.REFUSE: FaultKind.REFUSED,
    Misbehaviour.HANG: FaultKind.TIMEOUT,
    Misbehaviour.DRIBBLE: FaultKind.TIMEOUT,
    Misbehaviour.MALFORMED: FaultKind.MALFORMED,
    Misbehaviour.OVERSIZE: FaultKind.OVERSIZE,
    Lie.GZIP_BOMB: FaultKind.OVERSIZE,
    Lie.REDIRECT: FaultKind.MALFORMED,
    Lie.RATE_LIMITED: FaultKind.UNREACHABLE,
}


def test_the_table_is_complete() -> None:
    assert set(GIVES) == set(ALL_KINDS)
    assert set(TOLD_AS) | {Misbehaviour.NONE, Misbehaviour.SLOW, Misbehaviour.SILENT} == {
        *Misbehaviour, *Lie} - {Lie.STALE, Lie.HUNDREDFOLD, Lie.WRONG_UNIT, Lie.CONFLICTING}  # fmt: skip


@pytest.mark.parametrize("watch", ALL_KINDS, indirect=True)
async def test_a_feed_that_is_well_gives_what_it_knows(watch: Watch) -> None:
    assert await watch.look() is None
    assert {quote.input for quote in watch.market.quotes} >= set(GIVES[watch.kind])
    assert watch.counted("ok") == 1.0
    told = {quote.input: quote.value for quote in watch.market.quotes if quote.input in GIVES[watch.kind]}
    expected = {D: 141.67e12, H: 935_140.0, F: 0.02, P: 70_000.0, MarketInput.PUBLISHED_USD_PH_DAY: OURS}
    for input, value in told.items():
        assert value == pytest.approx(expected[input], rel=1e-4)


@pytest.mark.parametrize("fault", TOLD_AS, ids=str)
@pytest.mark.parametrize("watch", ALL_KINDS, indirect=True)
async def test_a_feed_that_fails_is_told_counted_ages_and_moves_nothing(watch: Watch, fault: FeedFault) -> None:
    kind = TOLD_AS[fault]
    await watch.look()
    before = watch.market
    watch.deadline_s = 0.3 if kind is FaultKind.TIMEOUT else DEADLINE_S
    await watch.begin(fault)
    told = await watch.look()
    assert told is not None
    assert told.kind is kind
    assert told.detail.isprintable()
    assert told.wait_s == (RETRY_AFTER_S if fault is Lie.RATE_LIMITED else 0.0)
    assert watch.counted(kind.value) == 1.0
    assert watch.market == before
    await watch.feed.aclose()

    # alone: its inputs grow old, and then hold every decision
    for age_s, states in ((60.0, {FRESH, SOFT}), (3600.0 * 1.5, {SOFT, HARD}), (86_401.0 * 7, {HARD})):
        valuation = assess(before, 0.05, "flat", watch.now_s + age_s)
        for input in GIVES[watch.kind]:
            if input in HASHPRICE_INPUTS:
                assert valuation.states[input] in states
        # a mempool gives all four, with a price that is not enough; with any other feed the rest was never there
        is_whole = watch.kind == "mempool" and age_s < 3600.0
        assert status_of(before, watch.now_s + age_s) is (Status.DEGRADED if is_whole else Status.HOLD)
    # among others: nobody notices
    beside = before.with_quotes(well(watch.now_s + 1000.0, without=watch.kind))
    assert status_of(beside, watch.now_s + 1000.0) is Status.OK
    assert assess(beside, 0.05, "flat", watch.now_s + 1000.0).btc_usd == pytest.approx(70_000.0)


@pytest.mark.parametrize("fault", [Lie.HUNDREDFOLD, Lie.WRONG_UNIT, Lie.CONFLICTING], ids=str)
@pytest.mark.parametrize("watch", [kind for kind in ALL_KINDS if kind != "luxor"], indirect=True)
async def test_a_feed_that_lies_among_others_changes_no_number(watch: Watch, fault: FeedFault) -> None:
    for _ in range(3):
        await watch.look()
        watch.market = watch.market.with_quotes(well(watch.now_s, without=watch.kind))
    honest = assess(watch.market, 0.05, "flat", watch.now_s)
    await watch.begin(fault)
    for _ in range(12):
        told = await watch.look()
        assert told is None or told.kind is FaultKind.MALFORMED
        watch.market = watch.market.with_quotes(well(watch.now_s, without=watch.kind))
        valuation = assess(watch.market, 0.05, "flat", watch.now_s)
        # a price within the outlier rule, a difficulty that somebody honest said, or no number at all
        assert math.isnan(valuation.btc_usd) or abs(valuation.btc_usd / honest.btc_usd - 1) <= 0.02
        assert math.isnan(valuation.btc_usd_raw) or abs(valuation.btc_usd_raw / honest.btc_usd_raw - 1) <= 0.02
        assert math.isnan(valuation.difficulty) or valuation.difficulty == honest.difficulty
        if math.isnan(valuation.hashprice_usd_ph_day):
            assert status_of(watch.market, watch.now_s) is Status.HOLD
    if watch.kind in EXCHANGES:
        assert valuation.states[P] is FRESH
        assert status_of(watch.market, watch.now_s) is Status.OK


@pytest.mark.parametrize("fault", [Lie.HUNDREDFOLD, Lie.WRONG_UNIT, Lie.CONFLICTING], ids=str)
@pytest.mark.parametrize("watch", EXCHANGES, indirect=True)
async def test_a_lone_exchange_that_lies_stops_no_machine(watch: Watch, fault: FeedFault) -> None:
    for _ in range(3):
        await watch.look()
    await watch.begin(fault)
    for _ in range(20):
        await watch.look()
        valuation = assess(watch.market, 0.05, "flat", watch.now_s)
        assert valuation.states[P] in (SOFT, HARD, CONFLICT)  # none of which lets a machine be stopped
        assert math.isnan(valuation.btc_usd) or abs(valuation.btc_usd / 70_000.0 - 1) <= 0.101


@pytest.mark.parametrize("watch", [kind for kind in ALL_KINDS if kind != "luxor"], indirect=True)
async def test_a_feed_that_stands_still_grows_old_whatever_it_says(watch: Watch) -> None:
    await watch.look()
    await watch.begin(Lie.STALE)
    assert await watch.look(later_s=50 * 60.0) is None
    if H in GIVES[watch.kind]:
        assert assess(watch.market, 0.05, "flat", watch.now_s).states[H] is SOFT
    for _ in range(8):
        await watch.look(later_s=3600.0)
    states = assess(watch.market, 0.05, "flat", watch.now_s).states
    for input in GIVES[watch.kind]:
        if input is F and watch.kind == "bitcoin_core":
            assert states[input] is SOFT  # such a node is refused by then, and its last fees are good for a day
        elif input is not D:  # a difficulty stands still for two weeks: its height tells
            assert states[input] is HARD
    assert status_of(watch.market, watch.now_s) is Status.HOLD


@pytest.mark.parametrize("watch", ["luxor"], indirect=True)
@pytest.mark.parametrize("fault", [Lie.HUNDREDFOLD, Lie.CONFLICTING], ids=str)
async def test_a_published_hashprice_that_lies_is_an_alarm_and_no_number_of_ours(watch: Watch, fault: Lie) -> None:
    await watch.look()
    beside = watch.market.with_quotes(well(watch.now_s))
    honest = assess(beside, 0.05, "flat", watch.now_s)
    assert not honest.cross_check.is_alarm
    assert abs(honest.cross_check.difference) < 1e-4
    watch.server.move(btc_usd=77_000.0)
    await watch.look()
    valuation = assess(watch.market.with_quotes(well(watch.now_s)), 0.05, "flat", watch.now_s)
    assert valuation.cross_check.is_alarm
    assert valuation.hashprice_usd_ph_day == pytest.approx(honest.hashprice_usd_ph_day)


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=feed"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.mark.parametrize("kind", ALL_KINDS)
async def test_a_certificate_that_nobody_vouches_for_is_an_identity_fault(
    kind: str, own_certificate: tuple[Path, Path]
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*own_certificate)
    server = FeedServer(kind, "127.0.0.1", 0, lambda: START, tls)
    await server.show(Misbehaviour.NONE)
    watch = Watch(kind, server, Hands())
    told = await watch.look()
    assert told is not None
    assert told.kind is FaultKind.IDENTITY
    assert watch.counted("identity") == 1.0
    assert (watch.market, server.requests) == (Market(), 0)
    await watch.feed.aclose()
    await server.aclose()
