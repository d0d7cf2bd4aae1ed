"""What a feed that fails or lies does to a farm: the state of its inputs, the page, and the advice, in virtual time.

The feed is asked over real HTTP by the adapter of the agent; what a look ends in goes through the market into whole
decisions about two machines, one of which is near its breakeven. Each feed is tried with each fault twice: among others
that are well, and as the only one that knows its inputs. A look that fails leaves nothing, so time may pass alone.
"""

from __future__ import annotations

import math
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from two_machines import START, Farm, stops

from agent.poller import look
from agent.wire import Job
from collectors.feeds.catalogue import open_feed
from fleet.curtailment import Status
from fleet.cycle import Cycle
from fleet.market import HARD_AGE_S, HASHPRICE_INPUTS, SOFT_AGE_S, InputState, MarketInput, Quote
from fleet.readings import Fault
from hil.faults import Misbehaviour
from hil.feeds import POSTED, SHAPES, FeedFault, FeedServer, Lie, MarketTruth

TRUTH = MarketTruth()  # 70,000 USD, 141.67T, block 935,140, 0.02 BTC of fees: 31.26 USD/PH/day
FRESH, SOFT, HARD, CONFLICT = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD, InputState.CONFLICT
D, H, F, P = HASHPRICE_INPUTS
PUBLISHED = MarketInput.PUBLISHED_USD_PH_DAY
EXCHANGES = ("coinbase", "kraken", "bitstamp", "gemini", "bitfinex")
DATED = ("bitstamp", "gemini", "bitfinex")  # an exchange that says its own time
ALL_KINDS = [*SHAPES, *POSTED]
GIVES: dict[str, tuple[MarketInput, ...]] = {
    "bitcoin_core": (D, H, F), "mempool": (D, H, F, P), **dict.fromkeys(EXCHANGES, (P,)),
    "blockchain_info": (D, P), "braiins": (D, P), "luxor": (PUBLISHED,),
}  # fmt: skip


def well(now_s: float, without: str = "", inputs: tuple[MarketInput, ...] = ()) -> list[Quote]:
    """What a node, a mempool and three exchanges say that are well, but for a source, and for inputs."""
    blocks = int((now_s - START) / 600)
    chain = {D: TRUTH.difficulty, H: TRUTH.height + blocks, F: TRUTH.block_fees_btc + 1e-8 * (blocks % 7)}
    told = [(source, input, value) for source in ("bitcoin_core", "mempool") for input, value in chain.items()]
    told += [(source, P, 70_000.0 + blocks % 5) for source in ("coinbase", "kraken", "bitstamp")]
    told += [("luxor", PUBLISHED, 31.2605)]
    return [
        Quote(input, source, value, now_s, SOFT_AGE_S[input], HARD_AGE_S[input])
        for source, input, value in told
        if source != without and input not in inputs
    ]


class Story:
    """One feed on its server beside others; `is_alone`: nobody else says what it says."""

    def __init__(self, kind: str, server: FeedServer, farm: Farm, is_alone: bool) -> None:
        self.kind, self.server, self.farm = kind, server, farm
        self.hushed = GIVES[kind] if is_alone else ()
        options: dict[str, str | float | bool] = {"base_url": server.url}
        options |= {"bitcoin_core": {"user": "u", "password": "p"}, "luxor": {"key": "k"}}.get(kind, {})
        self.job = Job(kind, kind, "127.0.0.1", server.port, 30.0, 5.0, options)
        self.feed = open_feed(kind, options, self.job.deadline_s, lambda: farm.now_s)

    async def look(self, patience_s: float = 5.0) -> str:
        """One look into the market; the outcome as the page counts it."""
        if patience_s != self.job.deadline_s:
            await self.feed.aclose()
            self.job = Job(self.kind, self.kind, "127.0.0.1", self.server.port, 30.0, patience_s, self.job.options)
            self.feed = open_feed(self.kind, self.job.options or {}, patience_s, lambda: self.farm.now_s)
        verdict = await look(self.job, self.feed)
        outcome = verdict.kind.value if isinstance(verdict, Fault) else "ok"
        if not isinstance(verdict, Fault):
            assert isinstance(verdict, tuple)
            # a mempool alone has no other price than its own; what stands beside it would make its faults invisible
            self.farm.market = self.farm.market.with_quotes(verdict)
        self.farm.vitals.polled(self.kind, outcome, 0.1, 0.0)
        return outcome

    def tick(self) -> tuple[Cycle, str]:
        self.farm.market = self.farm.market.with_quotes(well(self.farm.now_s, self.kind, self.hushed))
        return self.farm.tick()

    async def healthy(self) -> None:
        """Three looks at a feed that is well, and a farm on which nobody stops."""
        for _ in range(3):
            self.farm.now_s += 30.0
            assert await self.look() == "ok"
            cycle, _ = self.tick()
            assert stops(cycle) == [False, False]

    def expect(self, cycle: Cycle, page: str, states: dict[MarketInput, InputState]) -> None:
        """The states in the valuation and on the page, a status that fits them, and no machine that is stopped."""
        for input, state in states.items():
            if input is PUBLISHED:
                assert cycle.valuation.cross_check.state is state
                assert f'source="luxor",state="{state.value}"' in page
                continue
            assert (input, cycle.valuation.states[input]) == (input, state)
            assert f'hashwatt_market_input_state{{input="{input.value}",state="{state.value}"}} 1.0\n' in page
        assert stops(cycle) == [False, False]
        told = cycle.valuation.states
        is_fees_dispute = told[F] is CONFLICT  # which the best source wins
        holding = {state for input, state in told.items() if input is not F or not is_fees_dispute}
        is_old = SOFT in told.values() or is_fees_dispute or cycle.valuation.cross_check.is_alarm
        status = Status.DEGRADED if is_old else Status.OK
        status = Status.HOLD if holding & {HARD, CONFLICT, InputState.MISSING} else status
        assert cycle.decision.status is status
        assert f'hashwatt_curtailment_status{{status="{status.value}"}} 1.0\n' in page


@pytest.fixture
async def farm() -> Farm:
    return Farm()


@pytest.fixture
async def server(request: pytest.FixtureRequest, farm: Farm) -> AsyncIterator[FeedServer]:
    server = FeedServer(request.param, "127.0.0.1", 0, lambda: farm.now_s)
    await server.show(Misbehaviour.NONE)
    yield server
    await server.aclose()


def test_the_farm_of_these_tests_stops_a_machine_that_a_believed_number_makes_lose(farm: Farm) -> None:
    """Else none of the others would show anything."""
    for minute in range(20):
        farm.now_s += 60.0
        fallen = 0.9 if minute >= 5 else 1.0  # by all that are asked
        farm.market = farm.market.with_quotes(
            Quote(each.input, each.source, each.value * fallen, each.as_of_s, each.soft_s, each.good_for_s)
            if each.input is P
            else each
            for each in well(farm.now_s, without="luxor")
        )
        cycle, page = farm.tick()
    assert stops(cycle) == [False, True]
    assert 'hashwatt_curtailment_status{status="ok"} 1.0\n' in page


def test_a_difficulty_past_its_hard_age_widens_the_error_of_a_margin(farm: Farm) -> None:
    """3.13 USD a day are 0.13 USD an hour; 1 % of hashprice, 2 % of hashrate, and then 5 % of difficulty."""
    farm.market = farm.market.with_quotes(well(START))
    before, _ = farm.tick()
    farm.now_s += 21_700.0
    farm.market = farm.market.with_quotes(well(farm.now_s, inputs=(D, H)))
    after, _ = farm.tick()
    assert after.valuation.difficulty == before.valuation.difficulty
    widened = after.economics.margin_error_usd_h**2 - before.economics.margin_error_usd_h**2
    assert widened == pytest.approx((0.05 * before.economics.revenue_usd_h) ** 2, rel=1e-3)


# --- looks that fail -------------------------------------------------------------------------------------------------

FAILS: dict[FeedFault, str] = {
    Misbehaviour.REFUSE: "refused",
    Misbehaviour.SILENT: "unreachable",
    Misbehaviour.HANG: "timeout",
    Misbehaviour.DRIBBLE: "timeout",
    Misbehaviour.MALFORMED: "malformed",
    Misbehaviour.OVERSIZE: "oversize",
    Lie.GZIP_BOMB: "oversize",
    Lie.REDIRECT: "malformed",
    Lie.RATE_LIMITED: "unreachable",
}
AGES_S = (60.0, 1000.0, 5000.0, 22_000.0)  # since the last good look: 120 and 900 s, 45 and 75 min, and 6 h lie between
FADING: dict[str, dict[MarketInput, tuple[InputState, ...]]] = {
    "bitcoin_core": {D: (FRESH, FRESH, SOFT, HARD), H: (FRESH, FRESH, SOFT, HARD), F: (FRESH, FRESH, SOFT, SOFT)},
    "mempool": {
        D: (FRESH, FRESH, SOFT, HARD), H: (FRESH, FRESH, SOFT, HARD), F: (FRESH, FRESH, SOFT, SOFT),
        P: (SOFT, SOFT, HARD, HARD),  # its price comes once an hour, and is never enough alone
    },
    **{key: {P: (SOFT, HARD, HARD, HARD)} for key in EXCHANGES},
    "blockchain_info": {D: (FRESH, FRESH, SOFT, HARD), P: (SOFT, HARD, HARD, HARD)},
    "braiins": {D: (FRESH, FRESH, SOFT, HARD), P: (SOFT, HARD, HARD, HARD)},
    "luxor": {PUBLISHED: (FRESH, FRESH, SOFT, HARD)},
}  # fmt: skip


def test_the_table_is_complete() -> None:
    assert set(GIVES) == set(FADING) == set(ALL_KINDS)
    assert {kind: set(told) for kind, told in FADING.items()} == {kind: set(told) for kind, told in GIVES.items()}
    assert {*FAILS, *LIES, Lie.STALE, Misbehaviour.NONE, Misbehaviour.SLOW} == {*Misbehaviour, *Lie}


@pytest.mark.parametrize("fault", FAILS, ids=str)
@pytest.mark.parametrize("server", ALL_KINDS, indirect=True)
async def test_a_feed_that_fails(server: FeedServer, farm: Farm, fault: FeedFault) -> None:
    kind = server.name
    story = Story(kind, server, farm, is_alone=True)
    await story.healthy()
    said, last_s = farm.market, farm.now_s
    await server.show(fault)
    await story.feed.aclose()
    story.feed = open_feed(kind, story.job.options or {}, 5.0, lambda: farm.now_s)
    is_slow = fault in (Misbehaviour.SILENT, Misbehaviour.HANG, Misbehaviour.DRIBBLE)
    outcome = await story.look(0.2 if is_slow else 5.0)
    # on a busy computer a deadline may pass before the connection is there, and the other way round
    assert outcome == FAILS[fault] or (is_slow and outcome in ("timeout", "unreachable"))
    assert farm.market == said
    await story.feed.aclose()
    for i, age_s in enumerate(AGES_S):
        farm.now_s = last_s + age_s
        cycle, page = story.tick()
        story.expect(cycle, page, {input: states[i] for input, states in FADING[kind].items()})
        assert f'hashwatt_polls_total{{driver="{kind}",outcome="{outcome}"}} 1.0\n' in page
    story.hushed = ()  # and among others nobody notices
    farm.market = said
    for age_s in AGES_S:
        farm.now_s = last_s + age_s
        cycle, page = story.tick()
        story.expect(cycle, page, dict.fromkeys(HASHPRICE_INPUTS, FRESH))
        assert cycle.valuation.btc_usd == pytest.approx(70_000.0, abs=5.0)


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


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("kind", ALL_KINDS)
async def test_a_feed_with_a_certificate_that_nobody_vouches_for(
    kind: str, farm: Farm, own_certificate: tuple[Path, Path]
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*own_certificate)
    server = FeedServer(kind, "127.0.0.1", 0, lambda: farm.now_s, tls)
    await server.show(Misbehaviour.NONE)
    story = Story(kind, server, farm, is_alone=True)
    assert await story.look() == "identity"
    cycle, page = story.tick()
    missing = [input for input in GIVES[kind] if input is not PUBLISHED]
    story.expect(cycle, page, dict.fromkeys(missing, InputState.MISSING))
    assert f'hashwatt_polls_total{{driver="{kind}",outcome="identity"}} 1.0\n' in page
    assert (cycle.valuation.cross_check.state is InputState.MISSING) is (kind == "luxor")
    await story.feed.aclose()
    await server.aclose()


# --- looks that come back with something wrong -----------------------------------------------------------------------

STANDING: dict[str, dict[MarketInput, tuple[InputState, ...]]] = {
    # a node whose newest block is two hours old is refused, and what it said before that grows old
    "bitcoin_core": {D: (FRESH, FRESH, FRESH, SOFT), H: (FRESH, FRESH, SOFT, HARD), F: (FRESH, FRESH, FRESH, SOFT)},
    # a height is as old as its block, and fees that stand still for six hours are stale; a difficulty may
    "mempool": {
        D: (FRESH,) * 4, H: (FRESH, FRESH, SOFT, HARD), F: (FRESH, FRESH, FRESH, HARD), P: (SOFT, SOFT, HARD, HARD),
    },
    **{key: {P: (SOFT, HARD, HARD, HARD)} for key in DATED},
    **{key: {P: (SOFT, SOFT, SOFT, HARD)} for key in ("coinbase", "kraken")},
    "blockchain_info": {D: (FRESH, FRESH, SOFT, HARD), P: (SOFT, HARD, HARD, HARD)},
    "braiins": {D: (FRESH,) * 4, P: (SOFT, HARD, HARD, HARD)},
    "luxor": {PUBLISHED: (FRESH, FRESH, SOFT, HARD)},
}  # fmt: skip


@pytest.mark.parametrize("server", ALL_KINDS, indirect=True)
async def test_a_feed_that_goes_on_saying_what_it_said(server: FeedServer, farm: Farm) -> None:
    story = Story(server.name, server, farm, is_alone=True)
    await story.healthy()
    last_s = farm.now_s
    await server.show(Lie.STALE)
    for i, age_s in enumerate(AGES_S):
        farm.now_s = last_s + age_s
        await story.look()
        cycle, page = story.tick()
        story.expect(cycle, page, {input: states[i] for input, states in STANDING[server.name].items()})
    story.hushed = ()
    for _ in range(12):  # and among others nobody notices
        farm.now_s += 30.0
        await story.look()
        cycle, page = story.tick()
        story.expect(cycle, page, dict.fromkeys(HASHPRICE_INPUTS, FRESH))
    await story.feed.aclose()


LIES = (Lie.HUNDREDFOLD, Lie.WRONG_UNIT, Lie.CONFLICTING)
LYING_ALONE: dict[tuple[str, Lie], dict[MarketInput, InputState]] = {
    # a difficulty that changes within an epoch is disputed, unless the look is refused: then the old one is minutes old
    **{
        (kind, lie): {D: CONFLICT} for kind in ("bitcoin_core", "mempool", "blockchain_info", "braiins") for lie in LIES
    },
    ("blockchain_info", Lie.WRONG_UNIT): {D: FRESH, P: SOFT},
    # a price alone never lets a machine be stopped; one that goes too far is disputed, one in thousands is refused
    **{(kind, Lie.HUNDREDFOLD): {P: CONFLICT} for kind in EXCHANGES},
    **{(kind, lie): {P: SOFT} for kind in EXCHANGES for lie in (Lie.WRONG_UNIT, Lie.CONFLICTING)},
}


@pytest.mark.parametrize("fault", LIES, ids=str)
@pytest.mark.parametrize("server", [kind for kind in ALL_KINDS if kind != "luxor"], indirect=True)
async def test_a_feed_that_lies_where_nobody_else_knows(server: FeedServer, farm: Farm, fault: Lie) -> None:
    story = Story(server.name, server, farm, is_alone=True)
    await story.healthy()
    await server.show(fault)
    for _ in range(20):
        farm.now_s += 30.0
        await story.look()
        cycle, page = story.tick()
        assert stops(cycle) == [False, False]
    story.expect(cycle, page, LYING_ALONE[server.name, fault])
    await story.feed.aclose()


@pytest.mark.parametrize("fault", LIES, ids=str)
@pytest.mark.parametrize("server", [kind for kind in ALL_KINDS if kind != "luxor"], indirect=True)
async def test_a_feed_that_lies_among_others(server: FeedServer, farm: Farm, fault: Lie) -> None:
    story = Story(server.name, server, farm, is_alone=False)
    await story.healthy()
    await server.show(fault)
    for _ in range(20):
        farm.now_s += 30.0
        await story.look()
        cycle, page = story.tick()
        has_disputed_fees = server.name == "mempool" and fault is Lie.HUNDREDFOLD  # by the node, whose fees count
        story.expect(cycle, page, {D: FRESH, H: FRESH, F: CONFLICT if has_disputed_fees else FRESH, P: FRESH})
        assert cycle.valuation.btc_usd == pytest.approx(70_000.0, abs=5.0)
        assert cycle.valuation.difficulty == TRUTH.difficulty
        # the fees of new blocks are the node's word; a lie about one of 144 makes 2.6 % at the very most
        is_node = server.name == "bitcoin_core"
        assert math.isclose(cycle.valuation.hashprice_usd_ph_day, 31.2605, rel_tol=0.027 if is_node else 1e-3)
    await story.feed.aclose()


@pytest.mark.parametrize("fault", [Lie.HUNDREDFOLD, Lie.CONFLICTING], ids=str)
@pytest.mark.parametrize("server", ["luxor"], indirect=True)
async def test_a_published_hashprice_that_lies_is_an_alarm_and_stops_nobody(
    server: FeedServer, farm: Farm, fault: Lie
) -> None:
    story = Story(server.name, server, farm, is_alone=True)
    await story.healthy()
    server.move(difficulty=TRUTH.difficulty * (1.1 if fault is Lie.CONFLICTING else 0.01))
    for _ in range(20):
        farm.now_s += 30.0
        await story.look()
        cycle, page = story.tick()
        story.expect(cycle, page, {**dict.fromkeys(HASHPRICE_INPUTS, FRESH), PUBLISHED: FRESH})
        assert math.isclose(cycle.valuation.hashprice_usd_ph_day, 31.2605, rel_tol=1e-3)
    assert "hashwatt_published_hashprice_alarm 1.0\n" in page
    await story.feed.aclose()
