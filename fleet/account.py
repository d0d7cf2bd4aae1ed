"""What each machine used, did and earned in a span of time, in whole units, so that every sum is exact.

An `Account` is a table like a snapshot: one row per machine, one column per item of `ITEMS`, counted in whole units of
the item (a joule, a thousandth of a second, a billionth of a dollar). Whole numbers add up to the same whatever their
order, so a day is exactly its hours and a site exactly its machines.

Nothing is guessed: time for which a quantity was not known is missing from its seconds (`covered_s`, `priced_s`, ...),
and an amount is to be read beside the seconds that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from fleet.curtailment import Action
from fleet.cycle import Cycle
from fleet.economics import energy_cost_usd_per_hour, revenue_usd_per_hour
from fleet.naming import full_model
from fleet.readings import OperatingState, PowerSource
from fleet.snapshot import DARK_RATIO, STATE_CODES, WORK_SLOTS, Snapshot
from fleet.tariff import PowerPrice
from fleet.units import HASHES_PER_DIFFICULTY_1, SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_STEP_S = 120.0
"""What a cycle says holds no longer than this. Who is not looked at for longer is not covered."""

PRICE_SPAN_S = 300.0

MOST_HASHRATE_HS, MOST_POWER_W = 1e17, 1e6
"""What no machine makes or draws. More is a slip of units: it is not known, and would not fit whole numbers."""

METERS = (PowerSource.METERED, PowerSource.SHARED)
"""Watts that a meter showed, alone or as a part of several machines'."""

STANDING = tuple(STATE_CODES[state] for state in (OperatingState.SLEEPING, OperatingState.IDLE, OperatingState.FAULTED))
"""A machine that says one of these makes no hash."""

_ACCEPTED, _REJECTED = WORK_SLOTS.index("difficulty_accepted"), WORK_SLOTS.index("difficulty_rejected")


@dataclass(frozen=True, slots=True)
class Item:
    """One column of an account: `amount = count * unit`, in the unit that the name says."""

    name: str
    unit: float


ITEMS: tuple[Item, ...] = (
    Item("reached_s", 1e-3),  # its polls were answered
    Item("running_s", 1e-3),  # it hashed
    Item("stopped_s", 1e-3),  # the advice in force was to stop
    Item("hashrate_s", 1e-3),  # its hashrate was known; one that stands makes 0 hashes, known to be so
    Item("hashes", 1e9),
    Item("covered_s", 1e-3),  # its watts were known
    Item("energy_j", 1.0),
    Item("metered_j", 1.0),  # the part of `energy_j` that a meter showed
    Item("accepted_s", 1e-3),  # its counters of accepted work were told
    Item("difficulty_accepted", 1.0),
    Item("difficulty_rejected", 1.0),
    Item("priced_s", 1e-3),  # revenue and cost were both known
    Item("revenue_usd", 1e-9),  # by hashrate, within priced_s
    Item("cost_usd", 1e-9),  # of energy with overhead, within priced_s
    Item("host_share_usd", 1e-9),  # what a profit-sharing host takes, within priced_s
    Item("accepted_revenue_usd", 1e-9),  # by accepted work, within accepted_s while the market was known
    Item("unpriced_revenue_usd", 1e-9),  # while the cost was not known
    Item("unpriced_cost_usd", 1e-9),  # while the revenue was not known
    Item("priced_j", 1.0),  # the part of `energy_j` that `cost_usd` is of: within priced_s, at the machine
)
COLUMN: dict[str, int] = {item.name: i for i, item in enumerate(ITEMS)}
UNITS: Floats = np.array([item.unit for item in ITEMS])


class Span(StrEnum):
    """How long an account is: a local hour, or a local day (of 23, 24 or 25 hours)."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True)
class Roster:
    """Whose rows they are, as the inventory and the machines said it at the time; empty where nobody said."""

    ids: tuple[str, ...]
    models: tuple[str, ...]
    locations: tuple[str, ...]
    owners: tuple[str, ...]
    feeders: tuple[str, ...]
    tariffs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Account:
    """`counts[i, COLUMN[name]]` of machine `roster.ids[i]` between two instants (Unix seconds).

    An hour that is not over ends where it is booked, and so does one whose rest nobody watched. `without`: items that
    an older version did not book in it or in a part of it; what stands in their columns is no whole.
    """

    span: Span
    start_s: float
    end_s: float
    roster: Roster
    counts: Counts  # (n, len(ITEMS))
    without: frozenset[str] = frozenset()

    def amount(self, name: str) -> Floats:
        """One item in its own unit, per machine."""
        amounts: Floats = self.counts[:, COLUMN[name]] * UNITS[COLUMN[name]]
        return amounts


@dataclass(frozen=True, slots=True)
class PriceSpan:
    """One price over five minutes: its mean over `known_s` of them, the lowest and the highest.

    `name` is hashprice_usd_ph_day, btc_usd (the one that decisions used), btc_usd_raw, difficulty, reward_btc, or
    power_usd_kwh with `:tariff` behind it for a tariff that is not the site's.
    """

    name: str
    start_s: float
    known_s: float
    mean: float
    low: float
    high: float


@dataclass(eq=False)
class Sheet:
    """An hour while it is written: sums in the items' own units, one row per item, and the prices of its minutes.

    It is of [start_s, end_s), and booked up to `until_s`: no instant is booked twice.
    """

    start_s: float
    end_s: float
    until_s: float
    roster: Roster
    sums: Floats  # (len(ITEMS), n)
    prices: dict[tuple[str, float], PriceSpan] = field(default_factory=dict)  # by name and start
    without: frozenset[str] = frozenset()  # as in `Account`


def blank(start_s: float, end_s: float, roster: Roster) -> Sheet:
    """An hour of which nothing is booked yet."""
    return Sheet(start_s, end_s, start_s, roster, np.zeros((len(ITEMS), len(roster.ids))))


def reopened(account: Account, end_s: float, prices: Iterable[PriceSpan] = ()) -> Sheet:
    """The hour of an account that was kept before it was over, to go on with."""
    known = {(price.name, price.start_s): price for price in prices}
    sums = account.counts.T * UNITS[:, None]
    return Sheet(account.start_s, end_s, account.end_s, account.roster, sums, known, account.without)


def arranged(sheet: Sheet, roster: Roster) -> Sheet:
    """The same sheet with the rows of `roster` first, in its order and words; machines that it lacks stay behind."""
    known = sheet.roster.ids
    if roster.ids[: len(known)] == known:  # the usual case: nobody new, or some behind the others
        sums = np.zeros((len(ITEMS), len(roster.ids)))
        sums[:, : len(known)] = sheet.sums
        return replace(sheet, roster=roster, sums=sums)
    roster = _union((roster, sheet.roster))
    row_of = {machine: row for row, machine in enumerate(roster.ids)}
    sums = np.zeros((len(ITEMS), len(roster.ids)))
    sums[:, [row_of[machine] for machine in known]] = sheet.sums
    return replace(sheet, roster=roster, sums=sums)


def roster_of(cycle: Cycle) -> Roster:
    """The machines of a cycle in row order, in the words of the inventory, and their own where it says no model, with
    the maker where that alone would tell nothing."""
    machines = cycle.site.machines
    return Roster(
        ids=cycle.site.ids,
        models=tuple(full_model(info.make, info.model) for info in cycle.snapshot.infos),
        locations=tuple(machine.location or "" for machine in machines),
        owners=tuple(machine.owner or "" for machine in machines),
        feeders=tuple(machine.feeder or "" for machine in machines),
        tariffs=tuple(machine.tariff or "" for machine in machines),
    )


def book(sheet: Sheet, before: Cycle, after: Cycle, max_step_s: float = MAX_STEP_S) -> None:
    """Add, in place, what passed between two cycles within this hour and is not booked yet.

    What `before` says holds until `after`, but for `max_step_s` at most: what lies behind that is not covered.
    Counters of work are told by both: their step is spread evenly between them, and one over a longer time, or with
    a time between in which they were not known, belongs to nobody knows when and is left out.

    Shapes: the first rows of `sheet` are the machines of `before`, and so are those of `after`.
    """
    from_s = max(before.at_s, sheet.until_s)
    until_s = min(after.at_s, before.at_s + max_step_s, sheet.end_s)
    if not until_s > from_s:
        return
    sheet.until_s = until_s
    flows = _held_per_s(before)
    if after.at_s - before.at_s <= max_step_s:
        flows |= _told_per_s(before, after)
    for name, per_s in flows.items():
        sheet.sums[COLUMN[name], : len(before.site)] += per_s * (until_s - from_s)
    _note_prices(sheet.prices, before, from_s, until_s)


def settle(sheet: Sheet) -> Account:
    """The sheet in whole units, each rounded for itself.

    What rounding leaves, half a unit at most, is not carried on: an hour then depends on nothing but itself, and no
    machine is reached for longer than an hour lasts.
    """
    counts: Counts = np.rint(sheet.sums / UNITS[:, None]).T.astype(np.int64, order="C")
    return Account(Span.HOUR, sheet.start_s, sheet.until_s, sheet.roster, counts, sheet.without)


def total(span: Span, accounts: Iterable[Account]) -> Account:
    """One account of all of them, machine by machine, from the first start to the last end.

    The newest roster says what a machine is, and the order of those that are in it; the others come behind. The order
    of `accounts` changes nothing.

    Errors: ValueError for no accounts at all.
    """
    newest_first = sorted(accounts, key=_age, reverse=True)
    if not newest_first:
        raise ValueError("there is no account to add up")
    roster = _union(account.roster for account in newest_first)
    row_of = {machine: row for row, machine in enumerate(roster.ids)}
    counts = np.zeros((len(roster.ids), len(ITEMS)), np.int64)
    for account in newest_first:
        if account.roster.ids == roster.ids:  # the usual case
            counts += account.counts
        else:
            counts[[row_of[machine] for machine in account.roster.ids]] += account.counts
    start_s = min(account.start_s for account in newest_first)
    without = frozenset().union(*(account.without for account in newest_first))
    return Account(span, start_s, max(account.end_s for account in newest_first), roster, counts, without)


def _age(account: Account) -> tuple[float, float, tuple[tuple[str, ...], ...]]:
    """What makes one account newer than another; of two as new the words decide, so that their order does not."""
    return account.start_s, account.end_s, _columns(account.roster)


def _columns(roster: Roster) -> tuple[tuple[str, ...], ...]:
    return tuple(getattr(roster, field.name) for field in fields(Roster))


def _union(newest_first: Iterable[Roster]) -> Roster:
    lines: dict[str, tuple[str, ...]] = {}
    seen: set[tuple[str, ...]] = set()
    for roster in newest_first:
        if roster.ids not in seen:
            seen.add(roster.ids)
            for line in zip(*_columns(roster), strict=True):
                lines.setdefault(line[0], line)
    return Roster(*zip(*lines.values(), strict=True)) if lines else Roster((), (), (), (), (), ())


def _held_per_s(cycle: Cycle) -> dict[str, Floats | Bools]:
    """What a second of this cycle adds to each item, in the item's unit; what is not known adds nothing."""
    seen, terms = cycle.snapshot, cycle.site.terms
    hashrate_hs = _known_hashrate_hs(seen)
    power_w = np.where(np.abs(seen.power_w) <= MOST_POWER_W, seen.power_w, np.nan)
    earned_h = revenue_usd_per_hour(cycle.valuation.hashprice_usd_ph_day, hashrate_hs, terms.realised_ratio)
    # who makes no hash earns nothing, whatever the market says
    revenue_h = np.where(_is_paid(seen), np.where(hashrate_hs == 0.0, 0.0, earned_h), np.nan)
    usd_per_kwh, profit_share = _terms_of_power(cycle)
    cost_h = energy_cost_usd_per_hour(power_w, terms.overhead, usd_per_kwh)
    has_revenue, has_cost = np.isfinite(revenue_h), np.isfinite(cost_h)
    is_priced = has_revenue & has_cost
    has_watts = np.isfinite(power_w)
    revenue, cost = revenue_h / SECONDS_PER_HOUR, cost_h / SECONDS_PER_HOUR
    return {
        "reached_s": seen.up == 1.0,
        "running_s": seen.is_running,
        "stopped_s": cycle.decision.action == Action.STOP,
        "hashrate_s": np.isfinite(hashrate_hs),
        "hashes": np.nan_to_num(hashrate_hs),
        "covered_s": has_watts,
        "energy_j": np.where(has_watts, power_w, 0.0),
        "metered_j": np.where(has_watts & np.isin(seen.power_source, METERS), power_w, 0.0),
        "priced_s": is_priced,
        "priced_j": np.where(is_priced, power_w, 0.0),
        "revenue_usd": np.where(is_priced, revenue, 0.0),
        "cost_usd": np.where(is_priced, cost, 0.0),
        "host_share_usd": np.where(is_priced, np.maximum(revenue - cost, 0.0) * profit_share, 0.0),
        "unpriced_revenue_usd": np.where(has_revenue & ~has_cost, revenue, 0.0),
        "unpriced_cost_usd": np.where(has_cost & ~has_revenue, cost, 0.0),
    }


def _told_per_s(before: Cycle, after: Cycle) -> dict[str, Floats | Bools]:
    """The same of what counters of accepted work went forward between two cycles; rejected work where it is told."""
    seen, valuation = before.snapshot, before.valuation
    steps = (after.snapshot.work_total[: len(seen)] - seen.work_total) / (after.at_s - before.at_s)
    accepted, rejected = steps[:, _ACCEPTED], steps[:, _REJECTED]
    most = MOST_HASHRATE_HS / HASHES_PER_DIFFICULTY_1
    is_told = (accepted >= 0.0) & (accepted <= most)  # False where it is missing in either
    hashes_hs = np.where(is_told & _is_paid(seen), accepted * HASHES_PER_DIFFICULTY_1, np.nan)
    paid_h = revenue_usd_per_hour(valuation.hashprice_usd_ph_day, hashes_hs, 1.0 - before.site.terms.pool_fee)
    return {
        "accepted_s": is_told,
        "difficulty_accepted": np.where(is_told, accepted, 0.0),
        "difficulty_rejected": np.where(is_told & (rejected >= 0.0) & (rejected <= most), rejected, 0.0),
        "accepted_revenue_usd": np.nan_to_num(paid_h / SECONDS_PER_HOUR),
    }


def _known_hashrate_hs(seen: Snapshot) -> Floats:
    """What each machine makes: its hashrate while it runs, 0 while it is known to stand, else NaN.

    One stands that answers and says so, or makes no hash, or that its own meter shows dark; one that is silent may do
    anything. What a machine makes while it warms up is not known: its average still shows other times.
    """
    is_dark = (seen.power_source == PowerSource.METERED) & (
        seen.power_w <= DARK_RATIO * np.nan_to_num(seen.power_if_running_w)
    )
    is_idle = (seen.up == 1.0) & (np.isin(seen.state, STANDING) | (seen.hashrate_hs == 0.0))
    made_hs = np.where(seen.hashrate_hs <= MOST_HASHRATE_HS, seen.hashrate_hs, np.nan)
    return np.where(seen.is_running, made_hs, np.where(is_dark | is_idle, 0.0, np.nan))


def _is_paid(seen: Snapshot) -> Bools:
    """Machines whose hash is ours to price: SHA-256, at a pool of ours, and nobody's double."""
    return seen.is_sha256 & seen.is_expected_pool & ~seen.is_conflict


def _terms_of_power(cycle: Cycle) -> tuple[Floats, Floats]:
    """Price of each machine's power, USD/kWh, and what its host takes of a margin above zero."""
    power = cycle.power or (PowerPrice("", cycle.valuation.power_usd_per_kwh, "", cycle.valuation.power_state),)
    return cycle.site.by_tariff(power), cycle.site.profit_shares(power)


def _note_prices(prices: dict[tuple[str, float], PriceSpan], cycle: Cycle, from_s: float, until_s: float) -> None:
    """Put the prices of a cycle into the spans of five minutes that its time touches."""
    start_s = from_s // PRICE_SPAN_S * PRICE_SPAN_S
    while start_s < until_s:
        seconds = min(until_s, start_s + PRICE_SPAN_S) - max(from_s, start_s)
        for name, value in _known_prices(cycle):
            span = prices.get((name, start_s)) or PriceSpan(name, start_s, 0.0, value, value, value)
            prices[name, start_s] = _extended(span, value, seconds)
        start_s += PRICE_SPAN_S


def _known_prices(cycle: Cycle) -> Iterable[tuple[str, float]]:
    valuation = cycle.valuation
    told = [
        ("hashprice_usd_ph_day", valuation.hashprice_usd_ph_day),
        ("btc_usd", valuation.btc_usd),
        ("btc_usd_raw", valuation.btc_usd_raw),
        ("difficulty", valuation.difficulty),
        ("reward_btc", valuation.reward_btc),
        ("power_usd_kwh", valuation.power_usd_per_kwh),
        *((f"power_usd_kwh:{price.tariff}", price.usd_per_kwh) for price in cycle.power[1:]),
    ]
    return [(name, value) for name, value in told if math.isfinite(value)]


def _extended(span: PriceSpan, value: float, seconds: float) -> PriceSpan:
    known_s = span.known_s + seconds
    mean = span.mean + (value - span.mean) * (seconds / known_s)
    return PriceSpan(span.name, span.start_s, known_s, mean, min(span.low, value), max(span.high, value))
