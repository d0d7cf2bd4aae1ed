"""What speaks against a meter, a mapping or a breaker: conditions that last, as bits of a column.

A condition has to hold for ten minutes, so that starts, stops and looks that were a minute apart raise nothing. Two are
exceptions. A breaker that is about to open is told at once. And a machine that goes on proving work while its meter is
dark is believed after two looks, because until then its meter makes it a machine that stands: the pool has accepted
what no machine can do without power, so it is the meter that belongs to another.

Nothing here decides about a machine. `snapshot.assemble` leaves out the meter of one that hashes without power, and
those of a frozen PDU, and that is all that a doubt does. Times are Unix seconds; columns of `since` hold NaN where the
condition does not. A clock that is set back makes what lasts begin now, at the latest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.readings import OperatingState, RowKind
from fleet.snapshot import (
    DARK_RATIO,
    KIND_CODES,
    LEAST_J_PER_HASH,
    STATE_CODES,
    STATES_WITHOUT_WORK,
    WORK_SLOTS,
    MeterDoubt,
    Observations,
    PduColumns,
    PduDoubt,
    Snapshot,
)

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

LASTING_S = 600.0
WARMING_S = 1800.0
"""For a machine that says that it warms up: tuning takes some 20 minutes, and is no reason to send anybody."""

AWAKE_W = 50.0
"""Above this somebody is more than asleep; sleeping control boards take 12 to 30 W. One that says that it sleeps is
believed up to DARK_RATIO of its running power, for its fans may go on."""

MAX_APART_S = 60.0
RATIO_BAND = (0.90, 1.15)
"""Metered over reported watts of honest firmware."""

DARK_LOOKS = 2.0

NEAR_LIMIT_RATIO = 0.80
"""Of a breaker's rating for a load of hours: NEC 210.20(A) and 215.3 size it at 125 % of the continuous load."""

AT_LIMIT_RATIO = 0.95
IMBALANCE_RATIO = 0.15
"""Largest distance of a phase from the mean of the three, over the mean, as NEMA MG 1 defines it for voltages."""

IMBALANCE_LEAST_A = 2.0
"""Mean current below which one more power supply makes any PDU uneven."""

SUM_RATIO, SUM_STEPS = 0.10, 3.0
"""Outlets and total may differ by this share, or by this many steps of each outlet."""

STILL_S, FROZEN_S = 300.0, 3600.0
FROZEN_RATIO = 0.05
"""Change of what the machines of a PDU report that its meters cannot have missed."""

SLEEPING, WARMING_UP = STATE_CODES[OperatingState.SLEEPING], STATE_CODES[OperatingState.WARMING_UP]
_SHARES, _DIFFICULTY = WORK_SLOTS.index("shares_accepted"), WORK_SLOTS.index("difficulty_accepted")


def since(before_s: Floats, holds: Bools, now_s: float) -> Floats:
    """Since when each condition holds, NaN where it does not."""
    return np.where(holds, np.fmin(before_s, now_s), np.nan)


def watch_meters(observed: Observations, snapshot: Snapshot) -> None:
    """Judge each machine by its own meter, in place; without a meter of its own nothing is judged."""
    now_s, watts, step_w = snapshot.at_s, snapshot.metered_power_w, snapshot.metered_resolution_w
    is_hashing = (snapshot.up == 1.0) & (snapshot.hashrate_hs > 0.0) & ~np.isin(observed.state, STATES_WITHOUT_WORK)
    least_w = np.fmax(DARK_RATIO * snapshot.power_if_running_w, LEAST_J_PER_HASH * snapshot.hashrate_hs)
    _count_dark_work(observed, snapshot, watts <= least_w)
    is_same_time = np.abs(snapshot.age_s - snapshot.metered_age_s) <= MAX_APART_S
    said_w = np.where(snapshot.is_running & is_same_time, snapshot.reported_power_w, np.nan)
    low, high = RATIO_BAND
    is_asleep = (snapshot.state == SLEEPING) & (watts <= DARK_RATIO * snapshot.power_if_running_w)
    is_idle = (watts > AWAKE_W) & ~is_hashing & ~is_asleep & ~np.isnan(snapshot.up)
    is_apart = (watts + step_w < low * said_w) | (watts - step_w > high * said_w)
    conditions = (
        (MeterDoubt.POWER_WITHOUT_HASH, is_idle, np.where(snapshot.state == WARMING_UP, WARMING_S, LASTING_S)),
        (MeterDoubt.RATIO, is_apart, np.full(len(snapshot), LASTING_S)),
    )
    doubt = np.where(observed.dark_work >= DARK_LOOKS, np.uint8(MeterDoubt.HASH_WITHOUT_POWER), np.uint8(0))
    for column, (bit, holds, for_s) in enumerate(conditions):
        observed.doubt_since_s[:, column] = since(observed.doubt_since_s[:, column], holds, now_s)
        doubt[now_s - observed.doubt_since_s[:, column] >= for_s] |= np.uint8(bit)
    observed.doubt[:] = doubt


def _count_dark_work(observed: Observations, snapshot: Snapshot, is_dark: Bools) -> None:
    """Count looks with newly accepted work while the meter is dark; twice is proof, which lasts while it stays dark.

    A look counts only if the meter was read since the look before: then the work was done in the dark. The first may
    still tell of the seconds before the light went out, the second not. A meter that is missing says nothing new.
    """
    shares = observed.work_total[:, _SHARES]
    total = np.where(np.isnan(shares), observed.work_total[:, _DIFFICULTY], shares)
    is_look = (snapshot.up == 1.0) & ~np.isnan(observed.seen_s) & (observed.seen_s != observed.dark_seen_s)
    is_dark_look = is_look & is_dark & (snapshot.at_s - snapshot.metered_age_s >= observed.dark_seen_s)
    has_worked = total > observed.dark_total
    observed.dark_work[is_dark_look & has_worked] += 1.0
    observed.dark_work[is_dark_look & ~has_worked & (observed.dark_work < DARK_LOOKS)] = 0.0
    observed.dark_work[~is_dark & ~np.isnan(snapshot.metered_power_w)] = 0.0
    observed.dark_total[is_look] = total[is_look]
    observed.dark_seen_s[is_look] = observed.seen_s[is_look]


@dataclass(eq=False)
class PduWatch:
    """What has to be remembered about PDUs between two looks at them; owned and changed by the agent's table.

    `load_*`: what its machines have reported in sum since a little after its numbers last changed. `is_frozen` lasts
    until they change again.
    """

    near_limit_since_s: Floats  # per row
    imbalance_since_s: Floats  # per PDU, as all that follows
    sum_since_s: Floats
    load_least_w: Floats
    load_most_w: Floats
    load_machines: Floats
    is_frozen: Bools

    @classmethod
    def empty(cls, pdus: int, rows: int) -> PduWatch:
        imbalance, sums, least, most, machines = np.full((5, pdus), np.nan)
        frozen = np.zeros(pdus, bool)
        return cls(np.full(rows, np.nan), imbalance, sums, least, most, machines, frozen)


def watch_pdus(pdus: PduColumns, watch: PduWatch, observed: Observations, now_s: float) -> None:
    """Judge rows and PDUs; `pdus.row_doubt` and `pdus.doubt` are added to, `watch` is brought up to date."""
    count = len(pdus.ids)
    load = pdus.row_current_a / np.where(pdus.row_current_limit_a > 0.0, pdus.row_current_limit_a, np.nan)
    watch.near_limit_since_s = since(watch.near_limit_since_s, load > NEAR_LIMIT_RATIO, now_s)
    _mark(pdus.row_doubt, now_s - watch.near_limit_since_s >= LASTING_S, PduDoubt.NEAR_LIMIT)
    _mark(pdus.row_doubt, load > AT_LIMIT_RATIO, PduDoubt.AT_LIMIT)
    for bit in (PduDoubt.NEAR_LIMIT, PduDoubt.AT_LIMIT):
        _mark(pdus.doubt, np.bincount(pdus.row_pdu[(pdus.row_doubt & bit) > 0], minlength=count) > 0, bit)
    watch.imbalance_since_s = since(watch.imbalance_since_s, _is_uneven(pdus), now_s)
    watch.sum_since_s = since(watch.sum_since_s, _is_sum_off(pdus), now_s)
    _mark(pdus.doubt, now_s - watch.imbalance_since_s >= LASTING_S, PduDoubt.IMBALANCE)
    _mark(pdus.doubt, now_s - watch.sum_since_s >= LASTING_S, PduDoubt.SUM)
    _mark(pdus.doubt, _is_frozen(pdus, watch, observed, now_s), PduDoubt.FROZEN)


def _mark(doubt: Codes, rows: Bools, bit: PduDoubt) -> None:
    doubt[rows] |= np.uint8(bit)


def _is_uneven(pdus: PduColumns) -> Bools:
    """PDUs with a unit whose three phases, or three lines, are apart. Four (with the neutral) or two say nothing."""
    uneven = np.zeros(len(pdus.ids), bool)
    for kind in (RowKind.PHASE, RowKind.LINE):
        rows = np.flatnonzero(pdus.row_kind == KIND_CODES[kind])
        unit, current_a = pdus.row_unit[rows], pdus.row_current_a[rows]
        size = int(unit.max(initial=-1)) + 1
        mean_a = np.bincount(unit, weights=current_a, minlength=size) / 3.0  # NaN as soon as one is missing
        is_three = np.bincount(unit, minlength=size) == 3
        off_a = np.abs(current_a - mean_a[unit]) - np.nan_to_num(pdus.row_current_resolution_a[rows])
        mean_a = np.where(is_three & (mean_a >= IMBALANCE_LEAST_A), mean_a, np.nan)
        uneven[pdus.row_pdu[rows[off_a > IMBALANCE_RATIO * mean_a[unit]]]] = True
    return uneven


def _is_sum_off(pdus: PduColumns) -> Bools:
    """PDUs whose outlets are all measured and do not make the measured total."""
    count = len(pdus.ids)
    watts = np.where(pdus.outlet_is_measured, pdus.outlet_power_w, np.nan)
    steps_w = np.bincount(pdus.outlet_pdu, weights=np.nan_to_num(pdus.outlet_resolution_w), minlength=count)
    has_outlets = np.bincount(pdus.outlet_pdu, minlength=count) > 0
    total_w = np.where(pdus.is_measured & has_outlets, pdus.power_w, np.nan)
    off_w = np.abs(np.bincount(pdus.outlet_pdu, weights=watts, minlength=count) - total_w)
    is_off: Bools = off_w > np.fmax(SUM_RATIO * np.abs(total_w), SUM_STEPS * steps_w)
    return is_off


def _is_frozen(pdus: PduColumns, watch: PduWatch, observed: Observations, now_s: float) -> Bools:
    """PDUs that have told the same for an hour, in most of which the same machines reported more or less than before.

    A machine that comes or goes begins a new comparison: it is the network that may have lost it. A PDU that has just
    changed is compared with nothing, which is every PDU of a healthy farm; nor is a meter that tells no watts.
    """
    count = len(pdus.ids)
    is_still = now_s - pdus.changed_s >= STILL_S
    if not is_still.any():
        watch.load_machines[:] = np.nan
        watch.is_frozen = is_still
        return is_still
    of_meter = np.concatenate([pdus.outlet_pdu, pdus.row_pdu, np.array([-1], np.int32)])
    watts = np.concatenate([pdus.outlet_power_w, pdus.row_power_w, [np.nan]])[pdus.link_meter]
    pdu, reported_w = of_meter[pdus.link_meter], observed.reported_power_w[pdus.link_machine]
    heard = ~np.isnan(watts) & ~np.isnan(reported_w) & (observed.up[pdus.link_machine] == 1.0)
    load_w = np.bincount(pdu[heard], weights=reported_w[heard], minlength=count)
    machines = np.bincount(pdu[heard], minlength=count).astype(np.float64)
    begins = ~is_still | (machines != watch.load_machines)
    watch.load_least_w = np.where(begins, load_w, np.fmin(watch.load_least_w, load_w))
    watch.load_most_w = np.where(begins, load_w, np.fmax(watch.load_most_w, load_w))
    watch.load_machines = machines
    has_changed = watch.load_most_w - watch.load_least_w > FROZEN_RATIO * watch.load_most_w
    watch.is_frozen = (watch.is_frozen | has_changed) & (now_s - pdus.changed_s >= FROZEN_S)
    return watch.is_frozen
