"""The command `hashwatt ladder`: the fleet at a grid of bitcoin prices, hashprices and power prices.

The fleet comes from one look at every machine, from the newest decision in the journal, or from the inventory and its
nameplates; the document says which, and on what kind of watts it rests. Every machine is taken as if it ran.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent.config import Config, ConfigError
from agent.plan import site_of
from exporters.wording import REASONS, clean, instant, number, unique_names
from fleet.cycle import Cycle, think
from fleet.economics import appraise, breakeven_hashprice_usd_per_ph_day
from fleet.ladder import (
    BTC_LEVELS_USD,
    HASHPRICE_LEVELS_USD_PH_DAY,
    POWER_LEVELS_USD_KWH,
    Ladder,
    Level,
    climb,
    levels_of,
    under_by_group,
)
from fleet.market import BOUNDS, MarketInput, hashprice_usd_per_ph_day, reward_btc
from fleet.readings import CapableSource, PowerSource, Reason
from fleet.site import EconomicTerms, plate_of
from fleet.snapshot import STANDBY_W

Floats = npt.NDArray[np.float64]
Document = dict[str, object]

NO_MODEL = "(model not known)"
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
    """What a ladder needs to know of a fleet. Columns in row order, NaN with a `reason` where a machine is not priced;
    market numbers are NaN where they are not known. `power_sources` are words."""

    basis: str
    site: str
    at_s: float
    ids: Sequence[str]
    models: Sequence[str]
    hashrate_hs: Floats
    power_w: Floats
    standby_w: Floats
    power_sources: Sequence[str]
    reason: npt.NDArray[np.uint8]
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
            raise ConfigError(option, f"{value:g} is not between {low:g} and {high:g}")
        found.append(value)
    if len(found) > MOST_LEVELS:
        raise ConfigError(option, f"{len(found)} levels, at most {MOST_LEVELS}")
    return tuple(dict.fromkeys(found))


def run(config: Config, basis: str, grid: Grid, *, as_json: bool = False, svg: str | None = None) -> int:
    """Prints the ladder; 0, or 1 where no machine has both a hashrate and watts.

    Errors: ConfigError for levels that cannot be computed and for a file that cannot be written.
    """
    found = _fleet(config, basis)
    if found is None:
        return 1
    document = ladder_document(found, grid)
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


def _fleet(config: Config, basis: str) -> Fleet | None:
    """The fleet to judge; None, with a line on standard error, where the journal has none."""
    if basis == "nameplates":
        return fleet_of_nameplates(config)
    cycle = cycle_of(config, basis)
    return None if cycle is None else fleet_of_cycle(cycle, basis)


def cycle_of(config: Config, basis: str) -> Cycle | None:
    """One look at every machine ("look"), or the newest decision thought again ("journal"); None as above."""
    if basis == "journal":
        return _cycle_of_journal(config.journal_path)
    from agent import wiring

    return wiring.once(config)


def _cycle_of_journal(path: Path) -> Cycle | None:
    from agent.journal import JournalError, newest_decision
    from agent.record import RecordError, decode_cycle_inputs

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
    snapshot, now = cycle.snapshot, cycle.valuation
    # whatever prices are missing now, the ladder brings its own: they must not leave a machine unpriced
    at_any_price = replace(now, hashprice_usd_ph_day=1.0, power_usd_per_kwh=1.0)
    money = appraise(cycle.site, snapshot, at_any_price, cycle.memory.stopped)
    return Fleet(
        basis=basis,
        site=clean(cycle.site.name),
        at_s=cycle.at_s,
        ids=unique_names(snapshot.ids),
        models=[
            clean(info.model or machine.model or NO_MODEL)
            for info, machine in zip(snapshot.infos, cycle.site.machines, strict=True)
        ],
        hashrate_hs=money.hashrate_hs,
        power_w=money.power_w,
        standby_w=snapshot.standby_w,
        power_sources=[
            f"if running: {CapableSource(capable).name.lower()}" if stands else PowerSource(source).name.lower()
            for stands, capable, source in zip(
                money.is_capable.tolist(),
                snapshot.power_if_running_source.tolist(),
                snapshot.power_source.tolist(),
                strict=True,
            )
        ],
        reason=money.reason,
        terms=cycle.site.terms,
        difficulty=now.difficulty,
        reward_btc=now.reward_btc,
        hashprice_usd_ph_day=now.hashprice_usd_ph_day,
        usd_per_kwh=now.power_usd_per_kwh,
    )


def fleet_of_nameplates(config: Config) -> Fleet:
    """The inventory as its lines and the catalogue describe it; SHA-256 is what the catalogue knows, as everywhere."""
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
    return Fleet(
        basis="nameplates",
        site=clean(site.name),
        at_s=math.nan,
        ids=unique_names(site.ids),
        models=[clean(machine.model or NO_MODEL) for machine in site.machines],
        hashrate_hs=np.where(is_priced, hashrate_hs, np.nan),
        power_w=np.where(is_priced, power_w, np.nan),
        standby_w=np.full(len(site), STANDBY_W),
        power_sources=["configured" if own else "nameplate" for own in has_own_w.tolist()],
        reason=reason,
        terms=site.terms,
        difficulty=difficulty,
        reward_btc=reward,
        hashprice_usd_ph_day=hashprice,
        usd_per_kwh=site.tariff.usd_per_kwh,
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


def ladder_document(fleet: Fleet, grid: Grid) -> Document:
    """The ladder as a JSON-ready object. What is not known is None; the machines under water at a rung are the last
    `under` of `merit_order`.

    Errors: ConfigError where the levels need a difficulty and a reward that nobody says.
    """
    levels, prices = _axes(fleet, grid)
    hashprices = [level.hashprice_usd_ph_day for level in levels]
    ladder = climb(fleet.hashrate_hs, fleet.power_w, fleet.standby_w, hashprices, prices, fleet.terms)
    difficulty, reward = _chain(fleet, grid)
    names = sorted(set(fleet.models))
    place = {name: i for i, name in enumerate(names)}
    group = np.array([place[name] for name in fleet.models], np.int64)
    counts = Counter(REASONS[code] for code in fleet.reason.tolist() if code)
    return {
        "site": fleet.site,
        "basis": fleet.basis,
        "at": instant(fleet.at_s),
        "machines": len(fleet.ids),
        "priced": len(ladder.order),
        "unpriced": dict(sorted((str(reason), count) for reason, count in counts.items())),
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
        "power_usd_kwh": prices,
        "levels": _levels(ladder, levels, prices, under_by_group(ladder, group, len(names)), names),
        "models": _models(fleet, ladder, group, names, prices),
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


def _levels(
    ladder: Ladder, levels: Sequence[Level], prices: Sequence[float], by_model: npt.NDArray[np.int64], names: list[str]
) -> list[Document]:
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
                    "models_under": {
                        names[g]: int(by_model[g, h, p]) for g in np.flatnonzero(by_model[:, h, p]).tolist()
                    },
                }
                for p, price in enumerate(prices)
            ],
        }
        for h, level in enumerate(levels)
    ]


def _models(
    fleet: Fleet, ladder: Ladder, group: npt.NDArray[np.int64], names: list[str], prices: Sequence[float]
) -> list[Document]:
    """Models with a priced machine, the most efficient first, by the median of their machines."""
    terms = fleet.terms
    of_place = group[ladder.order]
    present = np.unique(of_place)
    medians = np.array([np.median(ladder.efficiency_j_per_th[of_place == g]) for g in present.tolist()], np.float64)
    breakevens = [
        breakeven_hashprice_usd_per_ph_day(medians, price, terms.realised_ratio, terms.overhead) for price in prices
    ]
    return [
        {
            "model": names[present[i]],
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


def _curve(fleet: Fleet, levels: Sequence[Level], prices: Sequence[float]) -> Document:
    """Watts freed at many hashprices around the levels, for a chart: between two levels machines drop out in steps."""
    low, high = levels[-1].hashprice_usd_ph_day, levels[0].hashprice_usd_ph_day
    hashprices = np.linspace(0.9 * low, 1.1 * high, CURVE_POINTS).tolist()
    ladder = climb(fleet.hashrate_hs, fleet.power_w, fleet.standby_w, hashprices, prices, fleet.terms)
    return {"hashprice_usd_ph_day": hashprices, "freed_w": ladder.freed_w.T.tolist()}
