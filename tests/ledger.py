"""The books of a farm written a second time: one machine and one number after the other, in plain Python.

Made from the words beside `fleet.account.ITEMS` and nothing of that module; hours come from `datetime` and `zoneinfo`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta, tzinfo

from fleet.curtailment import Action
from fleet.cycle import Cycle
from fleet.readings import OperatingState, PowerSource
from fleet.snapshot import STATES, WORK_SLOTS

UNIT = {
    "reached_s": 1e-3, "running_s": 1e-3, "stopped_s": 1e-3, "hashrate_s": 1e-3, "hashes": 1e9, "covered_s": 1e-3,
    "energy_j": 1.0, "metered_j": 1.0, "accepted_s": 1e-3, "difficulty_accepted": 1.0, "difficulty_rejected": 1.0,
    "priced_s": 1e-3, "revenue_usd": 1e-9, "cost_usd": 1e-9, "host_share_usd": 1e-9, "accepted_revenue_usd": 1e-9,
    "unpriced_revenue_usd": 1e-9, "unpriced_cost_usd": 1e-9, "priced_j": 1.0,
}  # fmt: skip
MOST_S = 120.0
STANDING = (OperatingState.SLEEPING, OperatingState.IDLE, OperatingState.FAULTED)
ACCEPTED, REJECTED = WORK_SLOTS.index("difficulty_accepted"), WORK_SLOTS.index("difficulty_rejected")

Amounts = dict[str, float]


class Ledger:
    """Amounts by local hour (its first instant) and machine; `enter` every cycle in turn."""

    def __init__(self, clock: tzinfo) -> None:
        self.clock = clock
        self.before: Cycle | None = None
        self.hours: dict[float, dict[str, Amounts]] = defaultdict(lambda: defaultdict(lambda: dict.fromkeys(UNIT, 0.0)))

    def forget(self) -> None:
        """A restart, or a clock that is not trusted: nothing is known until the next cycle. What was written stays,
        as it was written: in whole units."""
        self.before = None

    def enter(self, cycle: Cycle) -> None:
        before, self.before = self.before, cycle
        if before is None:
            return
        from_s, until_s = before.at_s, min(cycle.at_s, before.at_s + MOST_S)
        while from_s < until_s:
            start_s, end_s = hour_of(self.clock, from_s)
            seconds = min(end_s, until_s) - from_s
            for row, machine in enumerate(before.site.ids):
                amounts = self.hours[start_s][machine]
                for name, amount in passed(before, cycle, row, seconds).items():
                    amounts[name] += amount
            from_s += seconds

    def counts(self, start_s: float, machine: str) -> list[int]:
        """An hour of a machine in whole units, in the order of UNIT."""
        return [round(amount / UNIT[name]) for name, amount in self.hours[start_s][machine].items()]

    def round_off(self) -> None:
        """Every amount as it would be read back from a file."""
        for machines in self.hours.values():
            for amounts in machines.values():
                for name, amount in amounts.items():
                    amounts[name] = round(amount / UNIT[name]) * UNIT[name]


def hour_of(clock: tzinfo, at_s: float) -> tuple[float, float]:
    """The local hour around an instant, minute by minute: until the clock shows a full hour, or was changed."""
    start_s = end_s = at_s // 60.0 * 60.0
    while not _begins_hour(clock, start_s):
        start_s -= 60.0
    while end_s == start_s or not _begins_hour(clock, end_s):
        end_s += 60.0
    return start_s, end_s


def _begins_hour(clock: tzinfo, at_s: float) -> bool:
    local = datetime.fromtimestamp(at_s, UTC).astimezone(clock)
    a_minute_ago = (datetime.fromtimestamp(at_s, UTC) - timedelta(minutes=1)).astimezone(clock)
    return local.minute == 0 or local.utcoffset() != a_minute_ago.utcoffset()


def passed(before: Cycle, after: Cycle, row: int, seconds: float) -> Amounts:
    """What `seconds` of `before` add to the account of one machine."""
    seen, site = before.snapshot, before.site
    machine, terms = site.machines[row], site.terms
    told: Amounts = {}
    if seen.up[row] == 1.0:
        told["reached_s"] = seconds
    if seen.is_running[row]:
        told["running_s"] = seconds
    if before.decision.action[row] == Action.STOP:
        told["stopped_s"] = seconds

    makes_hs = hashrate(before, row)
    if makes_hs is not None:
        told["hashrate_s"] = seconds
        told["hashes"] = makes_hs * seconds

    watts = float(seen.power_w[row])
    has_watts = not math.isnan(watts)
    if has_watts:
        told["covered_s"] = seconds
        told["energy_j"] = watts * seconds
        if seen.power_source[row] in (PowerSource.METERED, PowerSource.SHARED):
            told["metered_j"] = watts * seconds

    price = before.power[0]
    if machine.tariff is not None:
        price = next(each for each in before.power if each.tariff == machine.tariff)
    cost = None
    if has_watts and not math.isnan(price.usd_per_kwh):
        cost = watts / 1000.0 * (1.0 + terms.overhead) * price.usd_per_kwh / 3600.0
    is_ours = bool(seen.is_sha256[row] and seen.is_expected_pool[row] and not seen.is_conflict[row])
    hashprice = before.valuation.hashprice_usd_ph_day
    revenue = None
    if is_ours and makes_hs == 0.0:
        revenue = 0.0
    elif is_ours and makes_hs is not None and not math.isnan(hashprice):
        revenue = hashprice / 24.0 * (makes_hs / 1e15) * ((1.0 - terms.pool_fee) * (1.0 - terms.reject)) / 3600.0
    if revenue is not None and cost is not None:
        told["priced_s"] = seconds
        told["priced_j"] = watts * seconds
        told["revenue_usd"] = revenue * seconds
        told["cost_usd"] = cost * seconds
        told["host_share_usd"] = max(revenue - cost, 0.0) * price.profit_share * seconds
    elif revenue is not None:
        told["unpriced_revenue_usd"] = revenue * seconds
    elif cost is not None:
        told["unpriced_cost_usd"] = cost * seconds

    passed_s = after.at_s - before.at_s
    steps = [float(after.snapshot.work_total[row, i] - seen.work_total[row, i]) for i in (ACCEPTED, REJECTED)]
    if passed_s <= MOST_S and not math.isnan(steps[0]):
        told["accepted_s"] = seconds
        told["difficulty_accepted"] = steps[0] / passed_s * seconds
        if not math.isnan(steps[1]):
            told["difficulty_rejected"] = steps[1] / passed_s * seconds
        if is_ours and not math.isnan(hashprice):
            proven_hs = steps[0] / passed_s * 2.0**32
            usd_h = hashprice / 24.0 * (proven_hs / 1e15) * (1.0 - terms.pool_fee)
            told["accepted_revenue_usd"] = usd_h / 3600.0 * seconds
    return told


def hashrate(cycle: Cycle, row: int) -> float | None:
    """H/s of a machine; 0 of one that is known to stand, None where nobody knows."""
    seen = cycle.snapshot
    if seen.is_running[row]:
        return float(seen.hashrate_hs[row])
    could_w = float(seen.power_if_running_w[row])
    dark_w = 0.0 if math.isnan(could_w) else 0.2 * could_w
    if seen.power_source[row] == PowerSource.METERED and seen.power_w[row] <= dark_w:
        return 0.0
    if seen.up[row] == 1.0 and (STATES[seen.state[row]] in STANDING or seen.hashrate_hs[row] == 0.0):
        return 0.0
    return None
