"""Which accounts a report rests on: those of the local days that the operator asks for.

A day is its account of a day where history has rolled one up, else the sum of its hours; where it holds both they are
the same, because whole counts add up exactly. A day that nobody kept is named, never filled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.section import ConfigError
from exporters.wording import clean
from fleet.account import ITEMS, MAX_STEP_S, PRICE_SPAN_S, Account, PriceSpan, Span, total
from fleet.localtime import Zone, day_number, start_of_day_s
from fleet.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]

MOST_DAYS = 400
"""Of one report; and how far back the newest finished day is looked for."""

_SECONDS = tuple(item.name for item in ITEMS if item.name.endswith("_s"))
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Kept(Protocol):
    """What is read of a history."""

    def accounts(self, span: Span, from_s: float, until_s: float) -> tuple[Account, ...]:
        """Those that begin in [from_s, until_s), ascending."""

    def prices(self, from_s: float, until_s: float) -> tuple[PriceSpan, ...]:
        """Those that begin in [from_s, until_s)."""


@dataclass(frozen=True, slots=True)
class Days:
    """Local days from `first` to `last`, the last among them."""

    first: date
    last: date

    def each(self) -> tuple[date, ...]:
        return tuple(self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1))

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True, eq=False)
class Books:
    """What is known of some days.

    `accounts`: one per day that was kept, ascending, or their sum where nobody asks for steps. `steps`: the same in the
    pieces that a chart shows, hours of a single day and days of several. `until_s`: how far the days have come; their
    end where they are over. `since_s`: where the books of the site begin, if they do within these days: nothing was
    kept of the day before, else a night without an agent is a gap and no beginning. `missing`: days of which nothing
    was kept; `lost`: what was kept and cannot be read, in words. `booked_s`: how much of the days is booked at all.
    """

    days: Days
    zone: tzinfo
    start_s: float
    end_s: float
    until_s: float
    accounts: tuple[Account, ...]
    steps: tuple[Account, ...]
    prices: tuple[PriceSpan, ...]
    missing: tuple[date, ...] = ()
    lost: tuple[str, ...] = ()
    since_s: float | None = None
    booked_s: float = math.nan

    def __post_init__(self) -> None:
        """Who has the accounts of each day at hand need not say how much of them is booked."""
        if math.isnan(self.booked_s):
            object.__setattr__(self, "booked_s", sum(map(self.booked_of, self.accounts)))

    @cached_property
    def _known(self) -> Known:
        return known_of(self.prices)

    def booked_of(self, account: Account) -> float:
        """How much of the time of an account is booked at all, in seconds."""
        return _booked_s(account, self._known, account.start_s, account.end_s)

    @property
    def length_s(self) -> float:
        """The time that the books could know of."""
        return self.until_s - (self.start_s if self.since_s is None else self.since_s)

    @property
    def is_finished(self) -> bool:
        return self.until_s >= self.end_s


def days_of(day: str | None, first: str | None, last: str | None, today: date) -> Days | None:
    """The days that the options name; None where they name none, which asks for the newest finished one.

    Errors: ConfigError names the option and the word that is no day.
    """
    if day is not None and (first is not None or last is not None):
        raise ConfigError("--day", "is one day, --from and --to are several: not both")
    if day is not None:
        one = _date("--day", day, today)
        return Days(one, one)
    if first is None and last is None:
        return None
    if first is None:
        raise ConfigError("--to", "needs --from")
    from_day = _date("--from", first, today)
    to_day = max(from_day, today - timedelta(days=1)) if last is None else _date("--to", last, today)
    if to_day < from_day:
        raise ConfigError("--to", f"{to_day} is before {from_day}")
    if (to_day - from_day).days >= MOST_DAYS:
        raise ConfigError("--from", f"{(to_day - from_day).days + 1} days, at most {MOST_DAYS}")
    return Days(from_day, to_day)


def _date(option: str, text: str, today: date) -> date:
    named = {"today": today, "yesterday": today - timedelta(days=1)}.get(text)
    if named is None:
        try:
            # fromisoformat knows more forms than we want to promise
            named = date.fromisoformat(text if _DAY.fullmatch(text) else "")
        except ValueError:
            words = "YYYY-MM-DD, today or yesterday"
            raise ConfigError(option, f"{clean(text, 40)!r} is no day: {words}") from None
    if named > today:
        raise ConfigError(option, f"{named} is not here yet, today is {today}")
    return named


def newest_finished(kept: Kept, zone: Zone, today: date) -> Days | None:
    """The newest day before today of which anything was kept."""
    for back in range(1, MOST_DAYS + 1):
        day = today - timedelta(days=back)
        start_s, end_s = _start_s(zone, day), _start_s(zone, day + timedelta(days=1))
        if _account_of_day(kept, start_s, end_s, end_s) is not None:
            return Days(day, day)
    return None


def books_of_newest(kept: Kept, zone: Zone, clock: tzinfo, now_s: float, *, with_hours: bool = True) -> Books | None:
    """The books of the newest finished day, which usually is yesterday; None where there is none."""
    today = today_of(clock, now_s)
    yesterday = today - timedelta(days=1)
    books = books_of(kept, Days(yesterday, yesterday), zone, clock, now_s, with_hours=with_hours)
    if books.accounts:
        return books
    newest = newest_finished(kept, zone, today)
    return None if newest is None else books_of(kept, newest, zone, clock, now_s, with_hours=with_hours)


def books_of(kept: Kept, days: Days, zone: Zone, clock: tzinfo, now_s: float, *, with_hours: bool = True) -> Books:
    """What history has of these days. `clock` is the time zone that `zone` was made of.

    Without hours there are no steps: those of a day that was rolled up need not be read, and days are only summed up.
    """
    each = [(day, _start_s(zone, day), _start_s(zone, day + timedelta(days=1))) for day in days.each()]
    start_s, end_s = each[0][1], each[-1][2]
    accounts: list[Account] = []
    missing: list[date] = []
    since_s: float | None = None
    prices = kept.prices(start_s, end_s)
    known, booked = known_of(prices), 0.0
    for day, first_s, last_s in each:
        account = _account_of_day(kept, first_s, last_s, now_s)
        if account is None:
            missing.append(day)
            continue
        if not accounts and (missing or _watched_s(account) < account.end_s - account.start_s - MAX_STEP_S):
            day_before = _account_of_day(kept, _start_s(zone, days.first - timedelta(days=1)), start_s, start_s)
            first_booked_s = min(_first_watched_s(kept, first_s, last_s), known.first_s(first_s, last_s))
            since_s = first_booked_s if day_before is None else None
        booked += _booked_s(account, known, first_s, last_s)
        if accounts and not with_hours:  # one after the other: a year of a large farm is heavy
            accounts[0] = total(Span.DAY, (accounts[0], account))
        else:
            accounts.append(account)
    until_s = end_s
    if now_s < end_s:
        # what came after the last account is not known to anybody yet
        until_s = min(now_s, max((account.end_s for account in accounts), default=now_s))
    return Books(
        days=days,
        zone=clock,
        start_s=start_s,
        end_s=end_s,
        until_s=until_s,
        accounts=tuple(accounts),
        steps=() if not with_hours else tuple(accounts) if len(each) > 1 else kept.accounts(Span.HOUR, start_s, end_s),
        prices=prices,
        missing=tuple(missing),
        since_s=since_s,
        booked_s=booked,
    )


def _first_watched_s(kept: Kept, start_s: float, end_s: float) -> float:
    """When the first hour of a day was begun to be watched, as its longest watched machine says, and later by what an
    agent was away within that hour; else `start_s`."""
    at_s = start_s
    while at_s < end_s:  # hour by hour: those of a large farm are heavy
        for hour in kept.accounts(Span.HOUR, at_s, at_s + SECONDS_PER_HOUR):
            return hour.end_s - _watched_s(hour)
        at_s += SECONDS_PER_HOUR
    return start_s


def _watched_s(account: Account) -> float:
    """For how long anything of the machine that was watched longest was known."""
    return max(float(account.amount(name).max(initial=0.0)) for name in _SECONDS)


@dataclass(frozen=True, eq=False)
class Known:
    """For how long any price was known: in each piece of five minutes, and up to its end."""

    start_s: Floats
    sum_s: Floats

    def between(self, start_s: float, end_s: float) -> float:
        first, last = np.searchsorted(self.start_s, (start_s, end_s))
        return float(self.sum_s[last] - self.sum_s[first])

    def first_s(self, start_s: float, end_s: float) -> float:
        """From when on a price was known: in the first piece of a time that has any, up to its end. Else infinity."""
        first, last = np.searchsorted(self.start_s, (start_s, end_s))
        known_s = np.diff(self.sum_s)[first:last]
        if not known_s.any():
            return math.inf
        place = int(np.argmax(known_s > 0.0))
        return float(self.start_s[first + place] + max(PRICE_SPAN_S - known_s[place], 0.0))


def known_of(prices: Iterable[PriceSpan]) -> Known:
    """Several prices of the same five minutes count once, by the one that was known for longest."""
    pieces: dict[float, float] = {}
    for price in prices:
        pieces[price.start_s] = max(price.known_s, pieces.get(price.start_s, 0.0))
    starts = sorted(pieces)
    return Known(np.array(starts), np.cumsum([0.0, *(pieces[start_s] for start_s in starts)]))


def _booked_s(account: Account, known: Known, start_s: float, end_s: float) -> float:
    """How much of a time anything is booked, as its longest watched machine or its prices say: at least so much.

    A time in which no agent ran is in neither.
    """
    return max(_watched_s(account), known.between(start_s, end_s))


def _account_of_day(kept: Kept, start_s: float, end_s: float, now_s: float) -> Account | None:
    """One that was rolled up in another time zone begins or ends at other instants: it is another day. A day that is
    not over was rolled up under a clock that was wrong: its hours go on."""
    for rolled in kept.accounts(Span.DAY, start_s, end_s):
        if (rolled.start_s, rolled.end_s) == (start_s, end_s) and end_s <= now_s:
            return rolled
    hours = kept.accounts(Span.HOUR, start_s, end_s)
    return total(Span.DAY, hours) if hours else None


def _start_s(zone: Zone, day: date) -> float:
    return start_of_day_s(zone, day_number(day))


def today_of(clock: tzinfo, now_s: float) -> date:
    """The local day of an instant."""
    return datetime.fromtimestamp(now_s, clock).date()
