"""`/fleet.json` of a running agent as a reader takes it: from a port, so nothing in it is taken for granted.

Numbers are bounded, columns have one length, and a word that a column names is there. Schema 1 has what a ladder needs,
schema 2 also what the worth of machines rests on; who wants less may read either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from agent.running import Unreachable, ask
from exporters.wording import DISPATCHES, REASONS, clean, unique_names
from fleet.capital import Holding
from fleet.economics import (
    Economics,
    breakeven_usd_per_kwh,
    efficiency_j_per_th,
    energy_cost_usd_per_hour,
    revenue_usd_per_hour,
)
from fleet.market import InputState
from fleet.site import EconomicTerms, Machine, Site
from fleet.tariff import PowerPrice

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]

MAX_CENSUS_BYTES = 64 * 1024 * 1024

Ratio = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Above0 = Annotated[float, Meta(gt=0, le=1e30)]
AtLeast0 = Annotated[float, Meta(ge=0, le=1e30)]
Price = Annotated[float, Meta(ge=-1e6, le=1e6)]


class Terms(msgspec.Struct):
    pool_fee: Share
    reject: Share
    overhead: AtLeast0


class MarketNumbers(msgspec.Struct):
    difficulty: Above0 | None
    reward_btc: Above0 | None
    hashprice_usd_ph_day: Above0 | None
    power_usd_kwh: Price | None


class Words(msgspec.Struct):
    """The words that the column of the same name names."""

    model: list[str]
    feeder: list[str]
    power_source: list[str]
    unpriced: list[str]


class Columns(msgspec.Struct):
    id: list[str]
    model: list[int]
    feeder: list[int]
    hashrate_hs: list[AtLeast0 | None]
    power_w: list[AtLeast0 | None]
    standby_w: list[AtLeast0 | None]
    power_source: list[int]
    unpriced: list[int]
    power_usd_kwh: list[Price | None]


class Census(msgspec.Struct):
    """What any agent tells of its fleet."""

    oldest_schema: ClassVar[int] = 1

    site: str
    at: datetime
    terms: Terms
    market: MarketNumbers
    words: Words
    machines: Columns


class WorthTerms(Terms):
    certainty_sigmas: AtLeast0


class WorthWords(Words):
    tariff: list[str]
    unpriced_now: list[str]
    dispatch: list[str]


class WorthColumns(Columns):
    tariff: list[int]
    unpriced_now: list[int]
    dispatch: list[int]
    margin_error_usd_h: list[AtLeast0 | None]


class TariffNow(msgspec.Struct):
    name: str
    power_usd_kwh: Price | None
    profit_share: Ratio


class WorthCensus(Census):
    """And with the market of the moment, each machine at its own price."""

    oldest_schema: ClassVar[int] = 2

    terms: WorthTerms
    tariffs: list[TariffNow]
    words: WorthWords
    machines: WorthColumns


class _Version(msgspec.Struct):
    schema: str = ""


Kind = TypeVar("Kind", bound=Census)


def census_of_agent(url: str, kind: type[Kind], site: str | None = None) -> Kind:
    """The newest cycle of the agent at `url`; only if it is of `site`, where one is named. Errors: Unreachable."""
    try:
        told = decode(ask(url, "fleet.json", MAX_CENSUS_BYTES), kind)
    except ValueError as error:
        raise Unreachable(f"its answer is no fleet ({error})") from None
    if site is not None and told.site != clean(site):
        raise Unreachable(f"it is the agent of the site {told.site!r}")
    return told


def decode(body: bytes, kind: type[Kind]) -> Kind:
    """A census with words that are fit to be shown. Errors: ValueError in a few words, for whatever is none."""
    try:
        if kind.oldest_schema > 1 and msgspec.json.decode(body, type=_Version).schema == "hashwatt.fleet/1":
            raise ValueError("the agent is older than this command")
        told = msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(clean(str(error), 100)) from None
    machines, words = told.machines, told.words
    if not 1970 < told.at.year < 2100:
        raise ValueError(f"it is of the year {told.at.year}")
    if len({len(getattr(machines, name)) for name in machines.__struct_fields__}) != 1:
        raise ValueError("its columns have several lengths")
    for name in words.__struct_fields__:
        listed, places = getattr(words, name), getattr(machines, name)
        if places and not -1 <= min(places) <= max(places) < len(listed):
            raise ValueError("a word is missing")
        setattr(words, name, list(map(clean, listed)))
    told.site = clean(told.site)
    return told


def named(words: Sequence[str], places: Sequence[int], none: str) -> list[str]:
    """The word at each place; -1 is none."""
    told = [*words, none]
    return [told[place] for place in places]


def holding_of_census(told: WorthCensus) -> Holding:
    """What the worth of its machines rests on. Errors: ValueError for a verdict or a reason that nobody knows."""
    machines, words, terms = told.machines, told.words, told.terms
    columns = zip(
        unique_names(tuple(machines.id)),
        named(words.feeder, machines.feeder, ""),
        named(words.tariff, machines.tariff, ""),
        strict=True,
    )
    site = Site(
        told.site,
        tuple(Machine(id, feeder=feeder or None, tariff=tariff or None) for id, feeder, tariff in columns),
        terms=EconomicTerms(terms.pool_fee, terms.reject, terms.overhead, certainty_sigmas=terms.certainty_sigmas),
    )
    power = tuple(
        PowerPrice(
            clean(each.name),
            else_nan(each.power_usd_kwh),
            "agent",
            InputState.MISSING if each.power_usd_kwh is None else InputState.FRESH,
            profit_share=each.profit_share,
        )
        for each in told.tariffs
    )
    return Holding(
        at_s=told.at.timestamp(),
        site=site,
        models=tuple(named(words.model, machines.model, "")),
        economics=_economics(told, site.terms, site.by_tariff(power)),
        power=power,
        hashprice_usd_ph_day=else_nan(told.market.hashprice_usd_ph_day),
        power_usd_kwh=else_nan(told.market.power_usd_kwh),
    )


def _economics(told: WorthCensus, terms: EconomicTerms, usd_per_kwh: Floats) -> Economics:
    """The money of the machines as the agent found it; what is not on the page is NaN."""
    machines, words = told.machines, told.words
    hashprice = else_nan(told.market.hashprice_usd_ph_day)
    unpriced = _codes(words.unpriced, machines.unpriced, REASONS)
    reason = _codes(words.unpriced_now, machines.unpriced_now, REASONS)
    # a machine whose advice turned in this very cycle may be without a basis already
    reason = np.where(reason == 0, unpriced, reason).astype(np.uint8)
    is_priced = reason == 0
    hashrate_hs = np.where(is_priced, np.array(machines.hashrate_hs, np.float64), np.nan)
    power_w = np.where(is_priced, np.array(machines.power_w, np.float64), np.nan)
    revenue = revenue_usd_per_hour(hashprice, hashrate_hs, terms.realised_ratio)
    cost = energy_cost_usd_per_hour(power_w, terms.overhead, usd_per_kwh)
    efficiency = efficiency_j_per_th(power_w, hashrate_hs)
    untold = np.full(len(reason), np.nan)
    return Economics(
        hashrate_hs=hashrate_hs,
        power_w=power_w,
        is_capable=np.zeros(len(reason), bool),
        revenue_usd_h=revenue,
        energy_cost_usd_h=cost,
        margin_usd_h=revenue - cost,
        margin_error_usd_h=np.where(is_priced, np.array(machines.margin_error_usd_h, np.float64), np.nan),
        breakeven_usd_kwh=breakeven_usd_per_kwh(hashprice, efficiency, terms.realised_ratio, terms.overhead),
        efficiency_j_per_th=efficiency,
        reason=reason,
        accepted_revenue_usd_h=untold,
        breakeven_hashprice_usd_ph_day=untold,
        breakeven_btc_usd=untold,
        dispatch=np.where(is_priced, _codes(words.dispatch, machines.dispatch, DISPATCHES), 0).astype(np.uint8),
        kept_margin_usd_h=untold,
    )


def _codes(words: Sequence[str], places: Sequence[int], known: Sequence[str | None]) -> Codes:
    """Our code of the word at each place. Errors: ValueError for a word that we do not have."""
    code = {word or "": i for i, word in enumerate(known)}
    try:
        return np.array([code[word] for word in named(words, places, "")], np.uint8)
    except KeyError as error:
        raise ValueError(f"{clean(str(error.args[0]), 40)!r} is no word of ours") from None


def else_nan(value: float | None) -> float:
    return math.nan if value is None else value
