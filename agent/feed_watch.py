"""Which feeds fail, how, since when, and what holds meanwhile: for people, beside the counters for machines.

A feed fails where its looks fail, and where it answers with what is of no use now: numbers that are too old, a price
list that ended. A row names the key of the configuration that leads to the feed, because that is where a slip of the
pen is put right. No row holds a secret: what a server said is cleaned, and nothing of the login or query stays in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit
from urllib.parse import quote as percent_encoded

import numpy as np

from agent.wire import Job, Outcome
from collectors.redaction import Redactor
from exporters.wording import clean, instant
from fleet.cycle import Cycle
from fleet.market import (
    ASSUMED_FEES,
    CLOCK_TOLERANCE_S,
    HASHPRICE_INPUTS,
    InputState,
    Market,
    MarketInput,
    Valuation,
    has_expired,
)
from fleet.readings import Fault, FaultKind
from fleet.series import Gap, Series
from fleet.tariff import Index, Tariff, prices
from fleet.units import SECONDS_PER_DAY

Document = dict[str, object]
NAN = float("nan")

_D, _H, _F, _P = HASHPRICE_INPUTS
GIVES: Mapping[str, tuple[MarketInput, ...]] = {
    "bitcoin_core": (_D, _H, _F),
    "mempool": (_D, _H, _F, _P),
    **dict.fromkeys(("coinbase", "kraken", "bitstamp", "gemini", "bitfinex"), (_P,)),
    "blockchain_info": (_D, _P),
    "braiins": (_D, _P),
    "luxor": (MarketInput.PUBLISHED_USD_PH_DAY,),
    "file": HASHPRICE_INPUTS,
    "fixed": HASHPRICE_INPUTS,
}
"""What each feed of the market is asked for, but for the outlook, which decides nothing."""

INPUTS_TOLD = {
    _D: "difficulty", _H: "height", _F: "fees", _P: "BTC price",
    MarketInput.PUBLISHED_USD_PH_DAY: "published hashprice",
}  # fmt: skip
FAULTS_TOLD = {
    FaultKind.REFUSED: "connection refused",
    FaultKind.UNREACHABLE: "not reached",
    FaultKind.TIMEOUT: "no answer in time",
    FaultKind.DENIED: "login or key not accepted",
    FaultKind.MALFORMED: "its answer is of no use",
    FaultKind.OVERSIZE: "its answer is too long",
    FaultKind.UNSUPPORTED: "nothing of the kind at this address",
    FaultKind.IDENTITY: "certificate not trusted",
}
SPEAKS_FOR_ITSELF = frozenset({FaultKind.UNREACHABLE, FaultKind.DENIED, FaultKind.IDENTITY})
"""Kinds whose detail is a sentence: "no such host", "the node is on chain test, not main"."""

SECRETS = ("password", "token", "key", "subscription_key")
STALE = "stale"
"""The word for a feed that answers with what is of no use now; all others are kinds of fault."""


@dataclass(frozen=True, slots=True)
class _Failing:
    kind: FaultKind
    how: str
    since_s: float


class FeedWatch:
    """Remembers of each feed the newest look, if it failed, and the first that failed before it without a pause."""

    def __init__(self, jobs: Iterable[Job] = (), tariffs: Sequence[Tariff] = ()) -> None:
        """`tariffs` are those of the prices of a cycle, in their order."""
        self._jobs = {job.key: job for job in jobs}
        self._tariffs = tariffs
        self._failing: dict[str, _Failing] = {}

    def take(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            job = self._jobs.get(outcome.key)
            if job is None or job.kind != outcome.kind:
                continue
            before = self._failing.pop(outcome.key, None)
            if outcome.fault is not None:
                since_s = outcome.at_s if before is None else before.since_s
                self._failing[outcome.key] = _Failing(outcome.fault.kind, _how(outcome.fault, job), since_s)

    def rows(self, cycle: Cycle, market: Market, known: Mapping[str, Series]) -> list[Document]:
        """One object per feed that fails, in the order of the configuration; `market` and `known` are what was told."""
        found: list[Document] = []
        for job in self._jobs.values():
            failing = self._failing.get(job.key)
            of_series = job.kind not in GIVES
            if failing is not None:
                kind, how, since_s = failing.kind.value, failing.how, failing.since_s
            else:
                stale = self._stale_series(job, cycle, known) if of_series else _stale_quotes(job, cycle, market)
                if stale is None:
                    continue
                kind, (how, since_s) = STALE, stale
            meanwhile = (
                self._price_meanwhile(job, cycle, known) if of_series else self._numbers_meanwhile(job, cycle, market)
            )
            found.append(
                {
                    "feed": _key_of(job),
                    "at": _place_of(job),
                    "fault": kind,
                    "how": how,
                    "since": instant(since_s),
                    "meanwhile": meanwhile,
                }
            )
        return found

    def _stale_series(self, job: Job, cycle: Cycle, known: Mapping[str, Series]) -> tuple[str, float] | None:
        """Why a series that was told is of no use now, and since when; None where it is, or where it was never told."""
        series = known.get(job.key)
        if series is None:
            return None
        gap = Gap.NONE
        if (tariffs := self._tariffs_of(job)) and not all(cycle.power[i].is_usable for i in tariffs):
            tariff = next(self._tariffs[i] for i in tariffs if not cycle.power[i].is_usable)
            gap = Gap(prices(tariff, np.array([cycle.at_s]), known, cycle.at_s).reason[0])
        elif not tariffs and series.now(cycle.at_s)[1] in (InputState.MISSING, InputState.STALE_HARD):
            gap = Gap(series.look_up(np.array([cycle.at_s]))[1][0])
        if (told := gap_told(series, gap)) is None:
            return None
        since_s = float(series.ends[-1]) + series.hold_s if gap is Gap.AFTER else NAN
        return f"its {'rates' if '/' in job.key else 'prices'} {told}", since_s

    def _price_meanwhile(self, job: Job, cycle: Cycle, known: Mapping[str, Series]) -> str:
        what = f"rate {job.key}" if "/" in job.key else "power price"
        series, now_s = known.get(job.key), cycle.at_s
        tariffs = self._tariffs_of(job)
        has_price = all(cycle.power[i].is_usable for i in tariffs)
        if series is None or not has_price or series.now(now_s)[1] in (InputState.MISSING, InputState.STALE_HARD):
            return f"{what} missing"
        return f"{what}: what it told before holds until {clock(float(series.ends[-1]) + series.hold_s, now_s)}"

    def _numbers_meanwhile(self, job: Job, cycle: Cycle, market: Market) -> str:
        """What stands for each number of the feed: `BTC price from kraken; difficulty, height missing`."""
        holders: dict[str, list[str]] = {}
        failing = {job.key, *self._failing}
        gave = {quote.input for quote in market.quotes if quote.source == job.key}
        for input in [input for input in GIVES[job.kind] if input in gave] or GIVES[job.kind]:
            holders.setdefault(_holder(input, failing, cycle.valuation), []).append(INPUTS_TOLD[input])
        return "; ".join(f"{', '.join(words)} {holder}" for holder, words in holders.items())

    def _tariffs_of(self, job: Job) -> list[int]:
        """The tariffs that rest on a series of prices, by their place; none for a rate of exchange."""
        return [i for i, tariff in enumerate(self._tariffs) if tariff.energy == Index(job.key)]


def gap_told(series: Series, gap: Gap) -> str | None:
    """Why the prices of a series are of no use at an instant, as the rest of a sentence; None where they are."""
    return {
        Gap.AFTER: f"ended on {day_and_time(float(series.ends[-1]))}",
        Gap.BEFORE: f"begin only on {day_and_time(float(series.starts[0]))}",
        Gap.HOLE: "are of other hours, none of them is for now",
        Gap.BOUNDS: "are not believed: no kWh costs so much, or at_least_per_kwh or at_most_per_kwh forbids it",
        Gap.CURRENCY: "are in another currency than the tariff",
    }.get(gap)


def _stale_quotes(job: Job, cycle: Cycle, market: Market) -> tuple[str, float] | None:
    """Which numbers of a feed that answers are too old to hold, and since when; None where all of them do."""
    old = [
        quote
        for quote in market.quotes
        if quote.source == job.key and quote.input in GIVES[job.kind] and has_expired(quote, cycle.at_s)
    ]
    if not old:
        return None
    words = ", ".join(INPUTS_TOLD[quote.input] for quote in old)
    oldest = min(old, key=lambda quote: quote.as_of_s)
    age_s = cycle.at_s - oldest.as_of_s
    if oldest.since_s is not None and -CLOCK_TOLERANCE_S <= age_s <= oldest.good_for_s:
        return f"has told the same {words} since {day_and_time(oldest.since_s)}", NAN
    told = f"its {words} {'is' if len(old) == 1 else 'are'} of {day_and_time(oldest.as_of_s)}"
    if age_s < 0.0:
        return f"{told}, which is still to come", NAN
    return f"{told}: too old", oldest.as_of_s + oldest.good_for_s


def _holder(input: MarketInput, failing: Collection[str], valuation: Valuation) -> str:
    """Who stands for a number: those that still answer, else what was told before, else nobody."""
    check = valuation.cross_check
    if input is MarketInput.PUBLISHED_USD_PH_DAY:
        state, sources, age_s = check.state, [check.source], check.age_s
    else:
        state = valuation.states.get(input, InputState.MISSING)
        sources = list(dict.fromkeys(quote.source for quote in valuation.used.get(input, ())))
        age_s = valuation.ages_s.get(input, NAN)
    if ASSUMED_FEES in sources:
        return "assumed"
    if state is InputState.CONFLICT:
        return "in dispute"
    # the chain's numbers hold beyond their hard age, with a wider error; a price does not
    is_gone = state is InputState.STALE_HARD and input not in (_D, _H)
    if state is InputState.MISSING or is_gone or not sources:
        return "missing"
    others = [clean(source, 32) for source in sources if source not in failing]
    if others and state is not InputState.STALE_HARD:
        return f"from {'+'.join(others)}"
    return f"still as told at {clock(valuation.at_s - age_s, valuation.at_s)}"


def _how(fault: Fault, job: Job) -> str:
    """How a look failed, and what the server said of it, without anything that we had told the server."""
    told = FAULTS_TOLD[fault.kind]
    detail = Redactor().text(_without_secrets(fault.detail, job))
    if detail.startswith("HTTP ") and fault.kind is FaultKind.UNREACHABLE:
        return clean(f"it answers {detail}", 200)
    if detail and (fault.kind not in SPEAKS_FOR_ITSELF or detail.startswith("HTTP ")):
        return clean(f"{told}: {detail}", 200)
    return clean(detail or told, 200)


def _without_secrets(text: str, job: Job) -> str:
    """`text` without what the server was told, in any spelling, and without the half of it that a cut has left."""
    options = job.options or {}
    query = urlsplit(str(options.get("url", ""))).query
    secrets = [str(options[name]) for name in SECRETS if name in options]
    secrets += [query, *(part.partition("=")[2] for part in query.split("&"))]
    secrets += [value for _, value in parse_qsl(query)]
    spelt = {form for secret in secrets for form in (secret, ascii(secret)[1:-1], percent_encoded(secret, safe=""))}
    # longest first, so that no part of one is left where another is within it
    for secret in sorted((form for form in spelt if len(form) > 2), key=len, reverse=True):
        text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)  # the name of a host changes its case
        halves = (secret[:length] for length in range(len(secret) - 1, 3, -1))
        if (half := next((half for half in halves if text.lower().endswith(half.lower())), None)) is not None:
            text = f"{text[: -len(half)]}***"
    return text


def _key_of(job: Job) -> str:
    """Where the configuration names the feed: `market.kraken`, `tariffs.hosted.json`."""
    if job.kind in GIVES:
        return f"market.{job.key}"
    if "/" in job.key:
        return f"exchange.{job.key.partition('/')[0]}.json"
    source = f"per_{(job.options or {}).get('per', 'kwh')}_file" if job.kind == "power_file" else job.kind[6:]
    name = job.key.partition(":")[2]
    return f"tariffs.{name}.{source}" if name else f"tariff.{source}"


def _place_of(job: Job) -> str | None:
    """The server, or the file, that is asked; never the rest of an address, which may hold a key."""
    options = job.options or {}
    if job.host:
        host = f"[{job.host}]" if ":" in job.host else job.host
        place = host if job.port in (80, 443) else f"{host}:{job.port}"
        proxy = urlsplit(str(options.get("proxy", ""))).netloc.rpartition("@")[2]
        return clean(f"{place} through {proxy}" if proxy else place)  # what is not found may be either
    path = options.get("path")
    return None if path is None else clean(str(path))


def day_and_time(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"


def clock(at_s: float, now_s: float) -> str:
    """The hour, with its day where that is another time than about now."""
    if abs(at_s - now_s) >= SECONDS_PER_DAY / 2:
        return day_and_time(at_s)
    return f"{datetime.fromtimestamp(at_s, UTC):%H:%M} UTC"
