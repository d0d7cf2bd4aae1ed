"""The command `hashwatt ladder`: the fleet at a grid of bitcoin prices, hashprices and power prices.

The fleet comes from the agent that runs, from one look at every machine, from the newest decision in the journal, or
from the inventory and its nameplates; the document says which, how old it is, and on what kind of watts it rests. Every
machine is taken as if it ran.

On the grid every machine pays the price of the grid, whatever its tariff. Beside it stands today: the present hashprice
with each machine at its own price.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from agent.config import Config, ConfigError
from agent.fleet_page import Census, census_of_agent, decode, else_nan, named
from agent.plan import site_of, tariffs_in_use
from agent.running import Unreachable, checked_url, door_of
from agent.tariffs import known_rates
from exporters.census import census
from exporters.wording import REASONS, clean, instant, number, unique_names
from fleet.cycle import Cycle, think
from fleet.economics import breakeven_hashprice_usd_per_ph_day
from fleet.ladder import (
    BTC_LEVELS_USD,
    HASHPRICE_LEVELS_USD_PH_DAY,
    POWER_LEVELS_USD_KWH,
    Ladder,
    Level,
    at_own_prices,
    climb,
    freed_by_group,
    freed_w,
    levels_of,
    under_by_group,
)
from fleet.market import BOUNDS, MarketInput, hashprice_usd_per_ph_day, reward_btc
from fleet.readings import Reason
from fleet.site import EconomicTerms, plate_of
from fleet.snapshot import STANDBY_W
from fleet.tariff import price_now

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Document = dict[str, object]
Found = TypeVar("Found")

NO_MODEL = "(model not known)"
NO_FEEDER = "(no feeder)"
MOST_LEVELS = 50
CURVE_POINTS = 201

PRICE_BOUNDS = {
    "--btc": BOUNDS[MarketInput.BTC_USD],
    "--hashprice": (0.01, 1e5),
    "--power": (-10.0, 10.0),
    "--difficulty": BOUNDS[MarketInput.DIFFICULTY],
    "--reward": (1e-6, 100.0),
}


@dataclass(frozen=True, slots=True)
class Grid:
    """The levels that the operator wants; empty or NaN where he says nothing."""

    btc_usd: tuple[float, ...] = ()
    hashprices_usd_ph_day: tuple[float, ...] = ()
    usd_per_kwh: tuple[float, ...] = ()
    difficulty: float = math.nan
    reward_btc: float = math.nan


@dataclass(frozen=True, eq=False)
class Fleet:
    """What a ladder needs to know of a fleet. Columns in row order; a machine that is not priced has NaN and a word in
    `unpriced`, and a feeder that nobody told is empty. Market numbers are NaN where they are not known.

    `usd_per_kwh` is the price of the site's own tariff, `own_usd_per_kwh` that of each machine's.
    """

    basis: str
    site: str
    at_s: float
    ids: Sequence[str]
    models: Sequence[str]
    feeders: Sequence[str]
    hashrate_hs: Floats
    power_w: Floats
    standby_w: Floats
    power_sources: Sequence[str]
    unpriced: Sequence[str]
    own_usd_per_kwh: Floats
    terms: EconomicTerms
    difficulty: float
    reward_btc: float
    hashprice_usd_ph_day: float
    usd_per_kwh: float


def grid_of(
    btc: str | None = None,
    hashprice: str | None = None,
    power: str | None = None,
    difficulty: str | None = None,
    reward: str | None = None,
) -> Grid:
    """The options as levels. Errors: ConfigError names the option and the number that cannot be one."""
    told = {
        name: _numbers(name, text)
        for name, text in zip(PRICE_BOUNDS, (btc, hashprice, power, difficulty, reward), strict=True)
    }
    for name in ("--difficulty", "--reward"):
        if len(told[name]) > 1:
            raise ConfigError(name, "is one number")
    one = (told["--difficulty"] or (math.nan,), told["--reward"] or (math.nan,))
    return Grid(told["--btc"], told["--hashprice"], told["--power"], one[0][0], one[1][0])


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    low, high = PRICE_BOUNDS[option]
    found: list[float] = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            raise ConfigError(option, f"{clean(word, 40)!r} is no number") from None
        if not low <= value <= high:
            # 70,000 is read as 70 and 000
            hint = (
                "; thousands are written without a comma" if re.search(r"(?<![\d.])\d{1,3},\d{3}(?!\d)", text) else ""
            )
            raise ConfigError(option, f"{value:g} is not between {low:g} and {high:g}{hint}")
        found.append(value)
    if len(found) > MOST_LEVELS:
        raise ConfigError(option, f"{len(found)} levels, at most {MOST_LEVELS}")
    return tuple(dict.fromkeys(found))


def run(
    config: Config, basis: str, grid: Grid, *, url: str | None = None, as_json: bool = False, svg: str | None = None
) -> int:
    """Prints the ladder; 0, or 1 where no machine has both a hashrate and watts.

    `basis` is agent, look, journal or nameplates; "auto" is the agent where the configuration says that it listens, and
    one look where none answers. `url` is another agent to ask.
    Errors: ConfigError for levels that cannot be computed and for a file that cannot be written.
    """
    fleet = _fleet(config, basis, url)
    if fleet is None:
        return 1
    document = ladder_document(fleet, grid, time.time())
    from agent import ladder_view

    if svg is not None:
        try:
            Path(svg).write_text(ladder_view.svg(document), encoding="utf-8")
        except OSError as error:
            raise ConfigError("--svg", f"{error.strerror}: {clean(svg)}") from None
    if as_json:
        import orjson

        sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
        sys.stdout.buffer.flush()
    else:
        ladder_view.show(document)
    return 0 if document["priced"] else 1


def _fleet(config: Config, basis: str, url: str | None) -> Fleet | None:
    """The fleet to judge; None, with a line on standard error, where the agent or the journal has none."""
    if basis == "nameplates":
        return fleet_of_nameplates(config, time.time())
    return found(config, basis, url, fleet_of_agent, fleet_of_cycle)


def found(
    config: Config,
    basis: str,
    url: str | None,
    of_agent: Callable[[str, str | None], Found],
    of_cycle: Callable[[Cycle, str], Found],
) -> Found | None:
    """A fleet by asking the agent ("agent"; "auto" takes one look where none answers), by "look" or from the "journal".

    `of_agent` gets its address, and the site that it must be of; it raises Unreachable. None, with a line on standard
    error, where there is no fleet. Errors: ConfigError for a `url` that is none.
    """
    if basis in ("auto", "agent"):
        at = door_of(config.prometheus, config.journal_path) if url is None else checked_url(url)
        try:
            return of_agent(at, None if url else config.site.name)
        except Unreachable as error:
            trouble = f"no fleet from an agent at {clean(at)}: {clean(str(error), 200)}"
        if basis == "agent":
            sys.stderr.write(f"{trouble}\n")
            return None
        sys.stderr.write(f"{trouble}; one look at every machine instead\n")
        basis = "look"
    cycle = cycle_of(config, basis)
    return None if cycle is None else of_cycle(cycle, basis)


def cycle_of(config: Config, basis: str) -> Cycle | None:
    """One look at every machine ("look"), or the newest decision thought again ("journal"); None as above."""
    if basis == "journal":
        return _cycle_of_journal(config.journal_path)
    from agent import wiring

    return wiring.once(config)


def _cycle_of_journal(path: Path) -> Cycle | None:
    from agent.journal import JournalError, newest_decision
    from agent.record import RecordError, decode_cycle_inputs

    if not path.exists():
        sys.stderr.write(f"there is no journal at {path} yet; hashwatt run writes it\n")
        return None
    try:
        row = newest_decision(path)
        if row is None:
            sys.stderr.write(f"journal {path}: no decision in it yet; without --journal the machines are asked\n")
            return None
        inputs = decode_cycle_inputs(row.record)
    except (JournalError, RecordError) as error:
        sys.stderr.write(f"{error}\n")
        return None
    return think(
        inputs.site, inputs.snapshot, inputs.market, inputs.signals, inputs.policy, inputs.memory, inputs.now_s,
        inputs.power,
    )  # fmt: skip


def fleet_of_cycle(cycle: Cycle, basis: str) -> Fleet:
    """The fleet of a cycle: machines that run by what they do, those that stand by what they could do."""
    return fleet_of_census(census(cycle), basis)


def fleet_of_agent(url: str, site: str | None = None) -> Fleet:
    """The newest cycle of the agent at `url`; only if it is of `site`, where one is named. Errors: Unreachable."""
    return _fleet_told(census_of_agent(url, Census, site), "agent")


def fleet_of_census(body: bytes, basis: str) -> Fleet:
    """The fleet that a census tells. Errors: ValueError in a few words, for whatever is none."""
    return _fleet_told(decode(body, Census), basis)


def _fleet_told(told: Census, basis: str) -> Fleet:
    machines, words, market = told.machines, told.words, told.market
    return Fleet(
        basis=basis,
        site=told.site,
        at_s=told.at.timestamp(),
        ids=unique_names(tuple(machines.id)),
        models=named(words.model, machines.model, NO_MODEL),
        feeders=named(words.feeder, machines.feeder, ""),
        hashrate_hs=np.array(machines.hashrate_hs, np.float64),
        power_w=np.array(machines.power_w, np.float64),
        standby_w=np.array(machines.standby_w, np.float64),
        power_sources=named(words.power_source, machines.power_source, ""),
        unpriced=named(words.unpriced, machines.unpriced, ""),
        own_usd_per_kwh=np.array(machines.power_usd_kwh, np.float64),
        terms=EconomicTerms(told.terms.pool_fee, told.terms.reject, told.terms.overhead),
        difficulty=else_nan(market.difficulty),
        reward_btc=else_nan(market.reward_btc),
        hashprice_usd_ph_day=else_nan(market.hashprice_usd_ph_day),
        usd_per_kwh=else_nan(market.power_usd_kwh),
    )


def fleet_of_nameplates(config: Config, now_s: float) -> Fleet:
    """The inventory as its lines and the catalogue describe it; SHA-256 is what the catalogue knows, as everywhere.

    Power costs what the tariffs say at `now_s`; a price that a feed or a file would tell is not known.
    """
    site = site_of(config, files("fleet").joinpath("nameplates.csv").read_text(encoding="utf-8"))
    plates = [plate_of(site.nameplates, machine.model) if machine.model else None for machine in site.machines]
    plate_hs = np.array([math.nan if plate is None else plate.hashrate_hs for plate in plates], np.float64)
    plate_w = np.array([math.nan if plate is None else plate.power_w for plate in plates], np.float64)
    has_own_hs, has_own_w = np.isfinite(site.hashrate_configured_hs), np.isfinite(site.power_configured_w)
    hashrate_hs = np.where(has_own_hs, site.hashrate_configured_hs, plate_hs)
    power_w = np.where(has_own_w, site.power_configured_w, plate_w)
    reason = np.zeros(len(site), np.uint8)
    reason[np.isnan(power_w)] = Reason.NO_POWER
    reason[np.isnan(hashrate_hs)] = Reason.NO_HASHRATE
    reason[[plate is None for plate in plates]] = Reason.NOT_SHA256
    is_priced = reason == Reason.NONE
    difficulty, reward, hashprice = _written_down(config)
    power = [price_now(tariff, known_rates(config.exchange), now_s) for tariff in tariffs_in_use(config)]
    return Fleet(
        basis="nameplates",
        site=clean(site.name),
        at_s=math.nan,
        ids=unique_names(site.ids),
        models=[clean(machine.model or NO_MODEL) for machine in site.machines],
        feeders=[clean(machine.feeder or "") for machine in site.machines],
        hashrate_hs=np.where(is_priced, hashrate_hs, np.nan),
        power_w=np.where(is_priced, power_w, np.nan),
        standby_w=np.full(len(site), STANDBY_W),
        power_sources=["configured" if own else "nameplate" for own in has_own_w.tolist()],
        unpriced=[REASONS[code] or "" for code in reason.tolist()],
        own_usd_per_kwh=site.by_tariff(power),
        terms=site.terms,
        difficulty=difficulty,
        reward_btc=reward,
        hashprice_usd_ph_day=hashprice,
        usd_per_kwh=power[0].usd_per_kwh if power else math.nan,
    )


def _written_down(config: Config) -> tuple[float, float, float]:
    """Difficulty, reward and hashprice of [market.fixed]; NaN for what it does not say."""
    fixed = config.market.fixed
    if fixed is None:
        return math.nan, math.nan, math.nan
    difficulty, height, fees, btc_usd = (
        math.nan if value is None else value
        for value in (fixed.difficulty, fixed.height, fixed.block_fees_btc, fixed.btc_usd)
    )
    reward = reward_btc(height, fees)
    return difficulty, reward, hashprice_usd_per_ph_day(difficulty, reward, btc_usd)


# --- the document ----------------------------------------------------------------------------------------------------


def ladder_document(fleet: Fleet, grid: Grid, now_s: float = math.nan) -> Document:
    """The ladder as a JSON-ready object. What is not known is None; the machines under water at a rung are the last
    `under` of `merit_order`.

    Errors: ConfigError where the levels need a difficulty and a reward that nobody says.
    """
    levels, prices = _axes(fleet, grid)
    hashprices = [level.hashprice_usd_ph_day for level in levels]
    ladder = climb(fleet.hashrate_hs, fleet.power_w, fleet.standby_w, hashprices, prices, fleet.terms)
    difficulty, reward = _chain(fleet, grid)
    models, feeders = _grouped(fleet.models), _feeders(fleet)
    counts = Counter(word for word in fleet.unpriced if word)
    return {
        "site": fleet.site,
        "basis": fleet.basis,
        "at": instant(fleet.at_s),
        "age_s": number(now_s - fleet.at_s),
        "machines": len(fleet.ids),
        "priced": len(ladder.order),
        "unpriced": dict(sorted(counts.items())),
        "power_basis": _power_basis(fleet, ladder),
        "market": {
            "difficulty": number(difficulty),
            "reward_btc": number(reward),
            "hashprice_usd_ph_day": number(fleet.hashprice_usd_ph_day),
            "power_usd_kwh": number(fleet.usd_per_kwh),
        },
        "terms": {
            "pool_fee": fleet.terms.pool_fee, "reject": fleet.terms.reject, "overhead": fleet.terms.overhead,
        },
        "today": _today(fleet, levels, models, feeders),
        "power_usd_kwh": prices,
        "levels": _levels(fleet, ladder, levels, prices, models, feeders),
        "models": _models(fleet, ladder, models, prices),
        "feeders": _feeder_rows(fleet, ladder, feeders),
        "curve": _curve(fleet, levels, prices),
        "merit_order": [
            {
                "id": fleet.ids[row],
                "model": fleet.models[row],
                "efficiency_j_per_th": number(efficiency),
                "power_w": number(fleet.power_w[row]),
                "power_source": fleet.power_sources[row],
            }
            for row, efficiency in zip(ladder.order.tolist(), ladder.efficiency_j_per_th.tolist(), strict=True)
        ],
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Groups:
    """The names of groups in order, and the place in them of each machine's."""

    names: list[str]
    place: Ints


def _grouped(words: Sequence[str]) -> Groups:
    names = sorted(set(words))
    places = {name: place for place, name in enumerate(names)}
    return Groups(names, np.array([places[word] for word in words], np.int64))


def _feeders(fleet: Fleet) -> Groups:
    """The feeders, with those that name none as one more; no group at all where nobody names any."""
    if not any(fleet.feeders):
        return Groups([], np.full(len(fleet.ids), -1, np.int64))
    return _grouped([feeder or NO_FEEDER for feeder in fleet.feeders])


def _chain(fleet: Fleet, grid: Grid) -> tuple[float, float]:
    """Difficulty and reward: the operator's word goes before the market's."""
    difficulty = fleet.difficulty if math.isnan(grid.difficulty) else grid.difficulty
    return difficulty, fleet.reward_btc if math.isnan(grid.reward_btc) else grid.reward_btc


def _axes(fleet: Fleet, grid: Grid) -> tuple[tuple[Level, ...], list[float]]:
    """Hashprice levels, highest first, and power prices, lowest first: the operator's, else the usual, and those of
    now."""
    difficulty, reward = _chain(fleet, grid)
    is_known = not math.isnan(difficulty) and not math.isnan(reward)
    if grid.btc_usd and not is_known:
        raise ConfigError("--btc", "needs a difficulty and a reward: say --difficulty and --reward, or --hashprice")
    is_free = not grid.btc_usd and not grid.hashprices_usd_ph_day
    levels = levels_of(
        BTC_LEVELS_USD if is_free else grid.btc_usd,
        HASHPRICE_LEVELS_USD_PH_DAY if is_free else grid.hashprices_usd_ph_day,
        difficulty,
        reward,
        # another difficulty than the market's is another time than now
        fleet.hashprice_usd_ph_day if (difficulty, reward) == (fleet.difficulty, fleet.reward_btc) else math.nan,
    )
    prices = set(grid.usd_per_kwh or POWER_LEVELS_USD_KWH)
    if not grid.usd_per_kwh and not math.isnan(fleet.usd_per_kwh):
        prices.add(fleet.usd_per_kwh)
    return levels, sorted(prices)


def _power_basis(fleet: Fleet, ladder: Ladder) -> Document:
    """Kind of watts -> priced machines and watts that rest on it."""
    machines: Counter[str] = Counter()
    watts: defaultdict[str, float] = defaultdict(float)
    for row in ladder.order.tolist():
        machines[fleet.power_sources[row]] += 1
        watts[fleet.power_sources[row]] += float(fleet.power_w[row])
    return {source: {"machines": count, "power_w": watts[source]} for source, count in machines.most_common()}


def _today(fleet: Fleet, levels: Sequence[Level], models: Groups, feeders: Groups) -> Document | None:
    """The present hashprice with each machine at its own price of power; None where no level is of now, or no price is
    known. `prices` holds how many machines pay what."""
    own = fleet.own_usd_per_kwh
    level = next((level for level in levels if level.is_now), None)
    if level is None or not np.isfinite(own).any():
        return None
    hashprice = level.hashprice_usd_ph_day
    today = at_own_prices(fleet.hashrate_hs, fleet.power_w, fleet.standby_w, hashprice, own, fleet.terms)
    prices, machines = np.unique(own[np.isfinite(own)], return_counts=True)
    under = np.bincount(models.place[today.is_under], minlength=len(models.names))
    has_feeder = feeders.place >= 0
    freed = np.bincount(feeders.place[has_feeder], weights=today.freed_w[has_feeder], minlength=len(feeders.names))
    return {
        "hashprice_usd_ph_day": hashprice,
        "btc_usd": number(level.btc_usd),
        "prices": [
            {"power_usd_kwh": price, "machines": count}
            for price, count in zip(prices.tolist(), machines.tolist(), strict=True)
        ],
        "unpriced": today.unpriced,
        "under": int(np.count_nonzero(today.is_under)),
        "freed_w": float(today.freed_w.sum()),
        "loss_usd_day": today.loss_usd_day,
        "margin_usd_day": today.margin_usd_day,
        "models_under": _told(models.names, under),
        "feeders_freed_w": _told(feeders.names, freed),
    }


def _levels(
    fleet: Fleet, ladder: Ladder, levels: Sequence[Level], prices: Sequence[float], models: Groups, feeders: Groups
) -> list[Document]:
    by_model = under_by_group(ladder, models.place, len(models.names))
    freed = freed_w(fleet.power_w, fleet.standby_w)
    by_feeder = freed_by_group(ladder, feeders.place, len(feeders.names), freed)
    return [
        {
            "hashprice_usd_ph_day": level.hashprice_usd_ph_day,
            "btc_usd": number(level.btc_usd),
            "is_now": level.is_now,
            "rungs": [
                {
                    "power_usd_kwh": price,
                    "cutoff_j_per_th": number(ladder.cutoff_j_per_th[h, p]),
                    "above": int(ladder.above[h, p]),
                    "under": int(ladder.under[h, p]),
                    "freed_w": float(ladder.freed_w[h, p]),
                    "loss_usd_day": float(ladder.loss_usd_day[h, p]),
                    "margin_usd_day": float(ladder.margin_usd_day[h, p]),
                    "models_under": _told(models.names, by_model[:, h, p]),
                    "feeders_freed_w": _told(feeders.names, by_feeder[:, h, p]),
                }
                for p, price in enumerate(prices)
            ],
        }
        for h, level in enumerate(levels)
    ]


def _told(names: Sequence[str], column: Floats | Ints) -> Document:
    """What is not 0, by name."""
    values = column.tolist()
    return {names[place]: values[place] for place in np.flatnonzero(column).tolist()}


def _models(fleet: Fleet, ladder: Ladder, models: Groups, prices: Sequence[float]) -> list[Document]:
    """Models with a priced machine, the most efficient first, by the median of their machines."""
    terms = fleet.terms
    of_place = models.place[ladder.order]
    present = np.unique(of_place)
    medians = np.array([np.median(ladder.efficiency_j_per_th[of_place == g]) for g in present.tolist()], np.float64)
    breakevens = [
        breakeven_hashprice_usd_per_ph_day(medians, price, terms.realised_ratio, terms.overhead) for price in prices
    ]
    return [
        {
            "model": models.names[present[i]],
            "machines": int(np.count_nonzero(of_place == present[i])),
            "efficiency_j_per_th": number(medians[i]),
            "power_w": float(fleet.power_w[ladder.order[of_place == present[i]]].sum()),
            # where power costs nothing there is no such hashprice
            "under_below_usd_ph_day": [
                number(usd[i]) if price > 0.0 else None for price, usd in zip(prices, breakevens, strict=True)
            ],
        }
        for i in np.argsort(medians, kind="stable").tolist()
    ]


def _feeder_rows(fleet: Fleet, ladder: Ladder, feeders: Groups) -> list[Document]:
    """Priced machines and their watts of each feeder, in order of name."""
    if not feeders.names:
        return []
    of_place, size = feeders.place[ladder.order], len(feeders.names)
    machines = np.bincount(of_place, minlength=size).tolist()
    watts = np.bincount(of_place, weights=fleet.power_w[ladder.order], minlength=size).tolist()
    rows = zip(feeders.names, machines, watts, strict=True)
    return [{"feeder": name, "machines": count, "power_w": power_w} for name, count, power_w in rows]


def _curve(fleet: Fleet, levels: Sequence[Level], prices: Sequence[float]) -> Document:
    """Watts freed at many hashprices around the levels, for a chart: between two levels machines drop out in steps."""
    low, high = levels[-1].hashprice_usd_ph_day, levels[0].hashprice_usd_ph_day
    hashprices = np.linspace(0.9 * low, 1.1 * high, CURVE_POINTS).tolist()
    ladder = climb(fleet.hashrate_hs, fleet.power_w, fleet.standby_w, hashprices, prices, fleet.terms)
    return {"hashprice_usd_ph_day": hashprices, "freed_w": ladder.freed_w.T.tolist()}
