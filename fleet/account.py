"""What each machine used, did and earned in a span of time, in whole units, so that every sum is exact.

An `Account` is a table like a snapshot: one row per machine, one column per item of `ITEMS`, counted in whole units of
the item (a joule, a thousandth of a second, a billionth of a dollar). Whole numbers add up to the same whatever their
order, so a day is exactly its hours and a site exactly its machines.

Nothing is guessed: time for which a quantity was not known is missing from its seconds (`covered_s`, `priced_s`, ...),
and an amount is to be read beside the seconds that it covers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


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

    An hour that is not over ends where it is booked, and so does one whose rest nobody watched.
    """

    span: Span
    start_s: float
    end_s: float
    roster: Roster
    counts: Counts  # (n, len(ITEMS))

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
    """The account of an hour while it is written: sums in the items' own units, one row per item.

    It covers [start_s, end_s), and is booked up to `until_s`: no instant is booked two times.
    """

    start_s: float
    end_s: float
    until_s: float
    roster: Roster
    sums: Floats  # (len(ITEMS), n)


def settle(sheet: Sheet) -> Account:
    """The sheet in whole units, each rounded for itself.

    What rounding leaves, half a unit at most, is not carried on: an hour then depends on nothing but itself, and no
    machine is reached for longer than an hour lasts.
    """
    counts: Counts = np.rint(sheet.sums / UNITS[:, None]).T.astype(np.int64, order="C")
    return Account(Span.HOUR, sheet.start_s, sheet.until_s, sheet.roster, counts)


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
    return Account(span, start_s, max(account.end_s for account in newest_first), roster, counts)


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
