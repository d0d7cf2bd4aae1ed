"""Energy counters of devices as totals that never go back.

A counter of a PDU wraps, is set back by somebody, or starts again with the device; what we publish is the sum of its
steps forward, and it starts at the device's own value. A step is a difference where the counter rose. Where it fell, it
wrapped if its modulus is known and it stood right below it, and nothing speaks for a reset; else it was set back, and
what it shows now is what came since. Either way the step has to be possible for a device of that rating in the time
since the counter last moved, for many are read or brought up to date only now and then; what is not adds nothing,
because energy that nobody used must not reach a bill.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

RATED_W = 100e3
"""Taken for a device whose rating nobody knows: above every rack PDU (125 A, three phases, 415 V are 90 kW)."""

PLAUSIBLE_RATIO = 1.2
"""Of rated power times elapsed time; a step above it is a fault of the counter."""

COARSEST_STEP_J = 3.6e6
"""Counters move in steps of up to 1 kWh, so a whole one may come after a second."""

LONGEST_REST_S = 3600.0
"""A counter that is looked at and has not moved for longer may not make up for more than this."""

WRAP_RATIO = 0.98
"""A counter that was below this share of its modulus when it fell did not wrap."""

TICKS_WRAP_S = 2**32 / 100
"""sysUpTime starts again after 497.1 days; a fall from within the last hour of that is no reboot."""


class Step(StrEnum):
    """How a counter came from one value to the next."""

    FIRST = "first"
    FORWARD = "forward"
    WRAPPED = "wrapped"
    RESET = "reset"
    IMPLAUSIBLE = "implausible"  # nothing was added


@dataclass(frozen=True, slots=True)
class Counter:
    """An energy counter as last read, and the total made of it. J, Unix seconds; `since` in the device's words.

    `at_s`: when it was read, or a little before that: from when on the energy of its next step may come.
    """

    raw_j: float
    total_j: float
    at_s: float
    uptime_s: float | None = None
    since: str | None = None


def advance(
    before: Counter | None,
    raw_j: float,
    at_s: float,
    *,
    uptime_s: float | None = None,
    since: str | None = None,
    wraps_j: float | None = None,
    rated_w: float | None = None,
) -> tuple[Counter, Step]:
    """The counter after one more reading, and what happened to it.

    Units:   J, Unix seconds, seconds, W.  `wraps_j`: the modulus, None = not known.
    Missing: what a reading does not say (uptime, time of reset, rating) proves nothing.
    """
    if before is None:
        return Counter(raw_j, raw_j, at_s, uptime_s, since), Step.FIRST
    most_j = PLAUSIBLE_RATIO * (rated_w or RATED_W) * max(at_s - before.at_s, 0.0) + COARSEST_STEP_J
    if raw_j == before.raw_j:
        at_s = max(min(before.at_s, at_s), at_s - LONGEST_REST_S)
    for step, delta_j in _readings_of(before, raw_j, uptime_s, since, wraps_j):
        if 0.0 <= delta_j <= most_j:
            return Counter(raw_j, before.total_j + delta_j, at_s, uptime_s, since or before.since), step
    return Counter(raw_j, before.total_j, at_s, uptime_s, since or before.since), Step.IMPLAUSIBLE


def _readings_of(
    before: Counter, raw_j: float, uptime_s: float | None, since: str | None, wraps_j: float | None
) -> list[tuple[Step, float]]:
    """What may have happened, the likeliest first, with the energy that it would mean."""
    if raw_j >= before.raw_j:
        return [(Step.FORWARD, raw_j - before.raw_j)]
    reset = (Step.RESET, raw_j)
    is_reset = _has_rebooted(before.uptime_s, uptime_s) or (before.since and since and since != before.since)
    if is_reset or before.raw_j < WRAP_RATIO * (wraps_j or math.inf):
        return [reset]
    return [(Step.WRAPPED, (wraps_j or math.nan) - before.raw_j + raw_j), reset]


def _has_rebooted(before_s: float | None, uptime_s: float | None) -> bool:
    if before_s is None or uptime_s is None:
        return False
    return uptime_s < before_s < TICKS_WRAP_S - 3600.0
