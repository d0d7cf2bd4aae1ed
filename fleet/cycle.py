"""The whole decision as one pure call, replayable from the journal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import NAMESPACE_URL, uuid5

from fleet.curtailment import Decision, Memory, Policy, recall, recommend
from fleet.economics import Economics, appraise
from fleet.market import Market, Valuation, assess
from fleet.presets import NO_MONEY, NO_PRESETS, PresetColumns, PresetMoney, weigh
from fleet.retarget import UNKNOWN, Outlook, foresee
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import Snapshot
from fleet.tariff import PowerPrice, flat_price


@dataclass(frozen=True, eq=False)
class Cycle:
    """One instant of the farm: what was seen, what it is worth, what we advise, and what to remember.

    Every sink gets this one object. Arrays are read-only, in row order of `site.machines` == `snapshot.ids`.
    `decision_id` stays the same until an action turns. `power` is the price of each tariff in use, the site's first.
    """

    at_s: float
    site: Site
    snapshot: Snapshot
    valuation: Valuation
    economics: Economics
    decision: Decision
    policy: Policy
    memory: Memory
    decision_id: str
    outlook: Outlook = UNKNOWN  # beside the decision: nothing in it comes from here
    power: tuple[PowerPrice, ...] = ()
    presets: PresetMoney = NO_MONEY  # beside the decision as well


def think(
    site: Site,
    snapshot: Snapshot,
    market: Market,
    signals: Signals,
    policy: Policy,
    memory: Memory,
    now_s: float,
    power: tuple[PowerPrice, ...] = (),
    presets: PresetColumns = NO_PRESETS,
) -> Cycle:
    """Everything from what was seen to what is advised. The same arguments give the same cycle, always.

    `power` holds the price of each tariff in use at `now_s`, that of the site first; none = the site's flat price.
    `presets` steer nothing, so no record holds them: a replay gives the same decision without.
    Errors: none for data; arrays that do not fit `site` are a bug of the caller.
    """
    memory = recall(memory, site.ids)
    power = power or (flat_price(site.tariff, now_s),)
    valuation = replace(
        assess(market, power[0].usd_per_kwh, power[0].source, now_s),
        power_state=power[0].state,
        power_as_of_s=power[0].as_of_s,
    )
    economics = appraise(site, snapshot, valuation, memory.stopped, site.by_tariff(power), site.profit_shares(power))
    states = site.power_states(power)
    decision, after = recommend(site, snapshot, valuation, economics, signals, policy, memory, now_s, states)
    return Cycle(
        now_s,
        site,
        snapshot,
        valuation,
        economics,
        decision,
        policy,
        after,
        decision_id=_decision_id(site, after),
        outlook=foresee(market, valuation),
        power=power,
        presets=weigh(presets, site, snapshot, economics, valuation.hashprice_usd_ph_day, power),
    )


def _decision_id(site: Site, memory: Memory) -> str:
    """The same until an action turns, and the same again on replay; no random number, so that replay can compare."""
    return str(uuid5(NAMESPACE_URL, f"hashwatt:{site.name}:{memory.decision}:{memory.turned_s!r}"))
