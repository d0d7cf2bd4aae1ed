"""What makes of miners have in common in judging their own numbers: the money window, sums and units, the state, heat.

Numbers of five seconds are unusable for money, and averages of hours are history: an idle machine keeps them. So one
definition serves every make: the shortest window of 5 to 30 minutes that is not longer than the uptime, else a minute,
else the average since the start with its true length. A window longer than the uptime is averaged with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from collectors.miners.cgminer import MAX_NUMBER, number, text
from fleet.readings import OperatingState, Sensor, Temperature
from fleet.units import GIGA, KILO, MEGA, PETA, TERA

MINUTE_S = 60.0
MONEY_WINDOW_MIN_S = 300.0
MONEY_WINDOW_MAX_S = 1800.0
WARM_UP_S = 300.0

MHS_WINDOWS = (("MHS 5m", 300.0), ("MHS 15m", 900.0), ("MHS 1m", 60.0), ("MHS av", 0.0))
"""What cgminer and most that descends from it tell, in MH/s."""

_UNIT_HS = {
    f"{prefix}{unit}": scale
    for prefix, scale in (("", 1.0), ("K", KILO), ("M", MEGA), ("G", GIGA), ("T", TERA), ("P", PETA))
    for unit in ("H", "H/S", "HS")
}

HISTORY_ONLY = "hashrate_history_only"
UPTIME_UNKNOWN = "uptime_unknown"


class Rate(NamedTuple):
    """A hashrate, the length of its averaging window (None = the firmware does not say) and the key that gave it."""

    hs: float
    window_s: float | None
    key: str


def rates(fields: object, unit_hs: float, windows: Iterable[tuple[str, float | None]]) -> list[Rate]:
    """The rates that are there among `windows` of (key, window in s), in their order; negative or unreadable = absent.

    A window of 0 stands for "since the start": `money` puts the uptime in its place.
    """
    get = fields.get if isinstance(fields, dict) else dict().get  # noqa: C408
    found: list[Rate] = []
    for key, window_s in windows:
        value = get(key)
        if value is not None and (hs := scaled(value, unit_hs)) is not None:
            found.append(Rate(hs, window_s, key))
    return found


def usable(
    fields: object, unit_hs: float, windows: Sequence[tuple[str, float | None]], uptime_s: float | None
) -> list[Rate]:
    """The rates among which `money` finds its own, of `windows` that begin with its shortest: where that is there and
    not longer than the uptime, no other matters."""
    key, shortest_s = windows[0]
    if isinstance(fields, dict) and shortest_s is not None and (uptime_s is None or uptime_s >= shortest_s):
        hs = scaled(fields.get(key), unit_hs)
        if hs is not None:
            return [Rate(hs, shortest_s, key)]
    return rates(fields, unit_hs, windows)


def unit_hs(said: object) -> float | None:
    """H/s in one of the unit that a machine names, `GH/s` or `TH`; None for what counts no hashes, `Ksol/s`."""
    word = text(said)
    return None if word is None else _UNIT_HS.get(word.upper())


def scaled(value: object, unit: float) -> float | None:
    """A number that is not below 0, in its base unit; None for what no float can hold after that, too."""
    result = not_negative(value)
    if result is None:
        return None
    result *= unit
    return result if result != math.inf else None


def total(values: Iterable[object], unit: float = 1.0) -> float | None:
    """Sum of the numbers among the values, in base units; None where there is none, or where no float can hold it."""
    numbers = [number for value in values if (number := scaled(value, unit)) is not None]
    result = sum(numbers)
    return result if numbers and result != math.inf else None


def whole(values: Iterable[object], unit: float = 1.0) -> float | None:
    """The same where a part that is not known makes the sum unknown: rates of boards, for one."""
    parts = tuple(values)
    return total(parts, unit) if all(scaled(part, unit) is not None for part in parts) else None


def money(said: Sequence[Rate], uptime_s: float | None) -> Rate | None:
    """The rate that money is counted on, by the rule above; None where none can be trusted.

    A rate without a window (None) is taken when nothing better is there, and keeps None. Without an uptime no window
    can be checked: the shortest money window is then taken at its word.
    """
    best: Rate | None = None
    for rate in said:
        if rate.window_s and MONEY_WINDOW_MIN_S <= rate.window_s <= MONEY_WINDOW_MAX_S:
            is_ripe = uptime_s is None or rate.window_s <= uptime_s
            if is_ripe and (best is None or rate.window_s < (best.window_s or 0.0)):
                best = rate
    return best or _second_best(said, uptime_s)


def _second_best(said: Sequence[Rate], uptime_s: float | None) -> Rate | None:
    """A window of a minute or a few, else the average since the start, else what has no window at all."""
    short = [rate for rate in said if rate.window_s and MINUTE_S <= rate.window_s < MONEY_WINDOW_MIN_S]
    ripe = [rate for rate in short if uptime_s is None or (rate.window_s or 0.0) <= uptime_s]
    if ripe:
        return max(ripe, key=lambda rate: rate.window_s or 0.0)
    average = next((rate for rate in said if rate.window_s == 0.0), None)
    if average is not None:
        return average._replace(window_s=uptime_s)
    return next((rate for rate in said if rate.window_s is None), None)


def is_history(rate: Rate | None, now_hs: float | None) -> bool:
    """Whether a machine that hashes nothing now shows nothing but what it once did."""
    return bool(
        rate is not None and rate.hs and now_hs == 0.0 and (rate.window_s is None or rate.window_s > MONEY_WINDOW_MAX_S)
    )


def trusted(rate: Rate | None, now_hs: float | None, warnings: list[str]) -> Rate | None:
    """The rate, unless it is history; then None, and a word of that among the warnings."""
    if now_hs or not is_history(rate, now_hs):  # most hash, and need not be looked at
        return rate
    warnings.append(HISTORY_ONLY)
    return None


def counted(said: Sequence[Rate], now_hs: float | None, uptime_s: float | None, warnings: list[str]) -> Rate | None:
    """`money` where it can be trusted; a word among the warnings where no uptime is there to check its window by."""
    rate = trusted(money(said, uptime_s), now_hs, warnings)
    if rate is not None and uptime_s is None:
        warnings.append(UPTIME_UNKNOWN)
    return rate


def state(
    now_hs: float | None,
    money_hs: float | None,
    uptime_s: float | None,
    *,
    is_asleep: bool | None = None,
    is_ramping: bool | None = None,
    has_pool: bool | None = None,
    has_error: bool = False,
) -> OperatingState:
    """What a machine does, from what it hashes and from what it says of itself; never from a default.

    `is_asleep` and `is_ramping` are the firmware's own words where it has them (None = it has not). A word that stands
    both for a stop that was ordered and for one that an error brought proves no sleep where an error is told. A machine
    that hashes is not asleep, whatever it says; one that does not hash, is not asleep and reports an error is
    `faulted`; else, with or without a pool, it is `idle`.
    """
    hashing = now_hs if now_hs is not None else money_hs
    if hashing:
        young = uptime_s is not None and uptime_s < WARM_UP_S
        return OperatingState.WARMING_UP if is_ramping or (is_ramping is None and young) else _MINING
    if is_asleep:
        return OperatingState.SLEEPING
    if hashing is None:
        return OperatingState.UNKNOWN
    if is_ramping or (uptime_s is not None and uptime_s < WARM_UP_S):
        return OperatingState.WARMING_UP
    if has_error and has_pool is not False:
        return OperatingState.FAULTED
    return OperatingState.IDLE


def celsius(value: object) -> float | None:
    """Degrees, or None for what no sensor means: exactly 0, -273 and everything outside -40..150."""
    degrees = value if type(value) is float else number(value)  # the bounds are narrower than those of any number
    return degrees if degrees is not None and degrees != 0.0 and -40.0 <= degrees <= 150.0 else None


_BOARD, _CHIP, _MINING = Sensor.BOARD, Sensor.CHIP, OperatingState.MINING  # a lookup in an enum costs a call


class Heat(dict[tuple[Sensor, int], float]):
    """The hottest value of each place, while a reply is walked."""

    def feel(self, sensor: Sensor, board: int | None, value: object) -> None:
        """Add what one sensor says. `board` is a column of `board_indices`, None = no board that we know; air, coolant
        and power supply have no board."""
        degrees = celsius(value)
        if degrees is None or board is None:
            return
        place = (sensor, board if sensor is _BOARD or sensor is _CHIP else 0)
        hottest = self.get(place)
        if hottest is None or degrees > hottest:
            self[place] = degrees

    def temperatures(self) -> tuple[Temperature, ...]:
        return tuple([temperature(sensor, board, degrees) for (sensor, board), degrees in self.items()])


temperature = lru_cache(maxsize=4096)(Temperature)
"""Thousands of machines have the same few temperatures: each is made once and kept once for all of them."""


_T = TypeVar("_T")


def first(rule: Callable[[object], _T | None], *values: object) -> _T | None:
    """The first of several values that a rule accepts, as what the rule makes of it."""
    return next((accepted for value in values if (accepted := rule(value)) is not None), None)


def positive(value: object) -> float | None:
    """A number above 0, or None: how watts, limits and nominal rates say that they are not known."""
    return not_negative(value) or None


def not_negative(value: object) -> float | None:
    """A number that is not below 0, or None: counters, speeds, seconds."""
    if type(value) is float or type(value) is int:  # what `number` would do, without the call: most of a look is these
        return float(value) if 0.0 <= value <= MAX_NUMBER else None
    result = number(value)
    return result if result is not None and result >= 0.0 else None


_NO_SERIAL = frozenset({"n/a", "na", "none", "null", "unknown", "unknow", ""})


def serial(value: object) -> str | None:
    """A serial number, or None for the words that stand in its place where none was burned in, the same on every
    machine: `N/A`, `unknow`, `000000`, `no miner sn stored on board`."""
    said = text(value)
    return None if said is None or " " in said or said.lower().strip("0") in _NO_SERIAL else said


def columns(numbers: Iterable[int | None]) -> list[int | None]:
    """Column of each board of a list, by its own number; None where it has none that is not below 0."""
    told = list(numbers)
    index = board_indices(number for number in told if number is not None and number >= 0)
    return [None if number is None else index.get(number) for number in told]


def board_indices(ids: Iterable[int]) -> dict[int, int]:
    """Column of each board number: the number itself where all lie in 0..3, else the position (6,7,8 -> 0,1,2)."""
    numbers = list(ids)
    if not numbers:
        return {}
    if min(numbers) >= 0 and max(numbers) <= 3:
        return {i: i for i in numbers}
    return {i: position for position, i in enumerate(sorted(set(numbers)))}
