"""The whole decision as one pure call, replayable from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from fleet.curtailment import Decision, Memory, Policy, recall, recommend
from fleet.economics import Economics, appraise
from fleet.market import Market, Valuation, assess
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Cycle:
    """One instant of the farm: what was seen, what it is worth, what we advise, and what to remember.

    Every sink gets this one object. Arrays are read-only, in row order of `site.machines` == `snapshot.ids`.
    `decision_id` stays the same until an action turns.
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


def think(
    site: Site, snapshot: Snapshot, market: Market, signals: Signals, policy: Policy, memory: Memory, now_s: float
) -> Cycle:
    """Everything from what was seen to what is advised. The same arguments give the same cycle, always.

    Errors: none for data; arrays that do not fit `site` are a bug of the caller.
    """
    memory = recall(memory, site.ids)
    valuation = assess(market, site.tariff.price_usd_per_kwh(now_s), site.tariff.source, now_s)
    economics = appraise(site, snapshot, valuation, memory.stopped)
    decision, after = recommend(site, snapshot, valuation, economics, signals, policy, memory, now_s)
    return Cycle(
        now_s, site, snapshot, valuation, economics, decision, policy, after, decision_id=_decision_id(site, after)
    )


def _decision_id(site: Site, memory: Memory) -> str:
    """The same until an action turns, and the same again on replay; no random number, so that replay can compare."""
    return str(uuid5(NAMESPACE_URL, f"hashwatt:{site.name}:{memory.decision}:{memory.turned_s!r}"))
