"""The whole decision as one pure call, replayable from the journal."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.curtailment import Decision, Memory, Policy
from fleet.economics import Economics
from fleet.market import Valuation
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
