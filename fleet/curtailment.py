"""Which machines should run: hysteresis, minimum times, merit order, ramps, quorum and stale rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag, StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fleet.economics import Dispatch, Economics
from fleet.market import InputState, MarketInput, Valuation
from fleet.readings import Reason
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import Snapshot
from fleet.tariff import WORST_LAST
from fleet.units import SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)


class Action(IntEnum):
    """What we recommend for one machine. HOLD = no advice: leave it as it is."""

    RUN = 0
    STOP = 1
    PRESET = 2
    HOLD = 3


class Status(StrEnum):
    """Health of the decision itself."""

    OK = "ok"
    DEGRADED = "degraded"  # an input is past its soft age, doubted, or the power price of some; decisions go on
    HOLD = "hold"  # no new economic stop
    DISABLED = "disabled"


class Mode(StrEnum):
    ADVISORY = "advisory"
    ARMED = "armed"


class Why(IntFlag):
    """The closed list of reason codes, as bits of one column; spelled in upper case on every wire."""

    MARGIN_NEGATIVE = 1 << 0
    MARGIN_RESTORED = 1 << 1
    HYSTERESIS_HOLD = 1 << 2
    MIN_UP = 1 << 3
    MIN_DOWN = 1 << 4
    RAMP = 1 << 5
    QUORUM = 1 << 6
    NEVER_STOP = 1 << 7
    UNREACHABLE = 1 << 8
    NEVER_SEEN = 1 << 9
    NOT_SHA256 = 1 << 10
    WRONG_POOL = 1 << 11
    NO_POWER = 1 << 12
    NO_HASHRATE = 1 << 13
    INPUT_STALE = 1 << 14
    INPUT_MISSING = 1 << 15
    INPUT_CONFLICT = 1 << 16
    HOLD_RELEASE = 1 << 17
    BOOT = 1 << 18
    CLOCK = 1 << 19
    STORAGE = 1 << 20
    OPERATOR = 1 << 21
    CONFLICT = 1 << 22  # two machines answer by one name
    IMPLAUSIBLE = 1 << 23  # the machine claims a hashrate that its model cannot do
    POWER_PRICE = 1 << 24  # of the machine's own tariff; on the status, of some tariff in use
    INPUT_UNCERTAIN = 1 << 25  # the margin is smaller than its error, or accepted work contradicts it


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules. Money in USD, times in seconds, shares as ratios of the site's running power."""

    enabled: bool = True
    mode: Mode = Mode.ADVISORY
    stop_start_cost_usd: float = 0.10  # K, one stop and start of one machine
    stop_factor: float = 0.5  # stop when the loss since the last turn reaches this share of K
    start_factor: float = 0.25
    min_up_s: float = 1800.0
    min_down_s: float = 900.0
    quorum_ratio: float = 0.8
    stop_ramp_ratio: float = 0.20  # of site power per stop_ramp_s
    stop_ramp_s: float = 600.0
    start_ramp_ratio: float = 0.05
    start_ramp_s: float = 60.0
    hold_release_s: float = 900.0
    hold_keep: bool = False  # True: in hold, economic stops stay instead of returning to run
    max_step_s: float = 60.0  # a longer gap between two cycles accumulates no more than this
    lease_s: float = 120.0


@dataclass(frozen=True, eq=False)
class Memory:
    """What one decision hands to the next; all that must survive a restart. One entry per machine of `ids`.

    `stopped`: the advice in force is stop. `loss_usd`, `gain_usd`: the CUSUM accumulators. `since_s`: Unix time of the
    last turn (NaN = never turned). Budgets are what the ramps still allow now, in W; `decision` counts turns.
    `hold_since_s`: since when the site is in hold; `no_price_since_s`: since when the machine's power has no price (NaN
    = it is not, it has). A memory that was written before the last was kept has none.
    """

    ids: tuple[str, ...] = ()
    stopped: Bools = field(default_factory=lambda: np.zeros(0, bool))
    loss_usd: Floats = field(default_factory=lambda: np.zeros(0))
    gain_usd: Floats = field(default_factory=lambda: np.zeros(0))
    since_s: Floats = field(default_factory=lambda: np.empty(0))
    at_s: float = float("nan")
    hold_since_s: float = float("nan")
    stop_budget_w: float = float("nan")
    start_budget_w: float = float("nan")
    decision: int = 0
    turned_s: float = float("nan")  # Unix time of the last turn of any machine
    no_price_since_s: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.no_price_since_s) != len(self.ids):
            object.__setattr__(self, "no_price_since_s", np.full(len(self.ids), np.nan))


@dataclass(frozen=True, eq=False)
class Decision:
    """The advice of one cycle: one action and its reasons per machine, and the health of the whole."""

    status: Status
    status_reasons: Why
    action: Codes  # Action
    reasons: npt.NDArray[np.uint32]  # bits of Why
    earliest_reversal_s: Floats  # Unix time; NaN = at once
    changed: Bools  # turned in this cycle
    site_power_w: float  # what the site would draw without the stops in force
    shed_w: float  # power that the stops in force give up
    quorum: float  # share of the machines expected to answer that did; NaN = nobody expected


UNPRICED_WHY: dict[Reason, Why] = {
    Reason.NONE: Why(0),
    Reason.NEVER_SEEN: Why.NEVER_SEEN,
    Reason.UNREACHABLE: Why.UNREACHABLE,
    Reason.STALE: Why.UNREACHABLE,
    Reason.NOT_REPORTED: Why.NO_HASHRATE,
    Reason.IMPLAUSIBLE: Why.IMPLAUSIBLE,
    Reason.NOT_SHA256: Why.NOT_SHA256,
    Reason.WRONG_POOL: Why.WRONG_POOL,
    Reason.NO_MARKET: Why.INPUT_MISSING,
    Reason.NO_POWER: Why.NO_POWER,
    Reason.NO_HASHRATE: Why.NO_HASHRATE,
    Reason.CONFLICT: Why.CONFLICT,
    Reason.NO_POWER_PRICE: Why.POWER_PRICE,
}
"""What an unpriced machine is told, by the reason of its missing margin."""

WHY_OF_STATE: dict[InputState, Why] = {
    InputState.FRESH: Why(0),
    InputState.STALE_SOFT: Why.INPUT_STALE,
    InputState.STALE_HARD: Why.INPUT_STALE,
    InputState.CONFLICT: Why.INPUT_CONFLICT,
    InputState.MISSING: Why.INPUT_MISSING,
}
DISPUTED_FEES = (MarketInput.BLOCK_FEES_BTC, InputState.CONFLICT)
"""The one dispute that leaves a value: the best source counts, and nothing new is stopped."""
USABLE = (InputState.FRESH, InputState.STALE_SOFT)
FRESH, STALE_SOFT = map(WORST_LAST.index, USABLE)
"""Places in `tariff.WORST_LAST`: a power price behind them may not be used."""

EXPECTED_FOR_S = 3600.0
"""How long a machine that fell silent still counts as one that should answer; long enough for a switch to return."""

NEVER_ADVISED = (Reason.NOT_SHA256, Reason.WRONG_POOL, Reason.CONFLICT)
"""Reasons that make a machine none of our business: a stop in force is given back."""


def recall(memory: Memory, ids: tuple[str, ...]) -> Memory:
    """The same memory in the row order of `ids`; machines it does not know start running and unburdened."""
    if memory.ids == ids:
        return memory
    row_of = {machine: row for row, machine in enumerate(memory.ids)}
    old = np.array([row_of.get(machine, -1) for machine in ids], dtype=np.int64)
    known = old >= 0

    def moved(column: npt.NDArray[Scalar], blank: object) -> npt.NDArray[Scalar]:
        fresh: npt.NDArray[Scalar] = np.full(len(ids), blank, dtype=column.dtype)
        fresh[known] = column[old[known]]
        return fresh

    return replace(
        memory,
        ids=ids,
        stopped=moved(memory.stopped, False),
        loss_usd=moved(memory.loss_usd, 0.0),
        gain_usd=moved(memory.gain_usd, 0.0),
        since_s=moved(memory.since_s, np.nan),
        no_price_since_s=moved(memory.no_price_since_s, np.nan),
    )


def recommend(
    site: Site,
    snapshot: Snapshot,
    valuation: Valuation,
    economics: Economics,
    signals: Signals,
    policy: Policy,
    memory: Memory,
    now_s: float,
    price_state: Codes | None = None,
) -> tuple[Decision, Memory]:
    """Which machines should run, and what to remember.

    A machine turns when its margin has summed to enough loss (stop) or gain (start) since its last turn: a CUSUM with
    the factors of `policy`, which needs no tuning. Unknown never turns a machine off: a stop needs a known negative
    margin of a machine that answers, larger than its error, fresh prices, a quorum, its minimum time up, and room in
    the ramp.

    Shapes:  all columns in row order of `site`; `memory` in any order. `price_state` (n,) is the state of each
             machine's power price, as `Site.power_states` tells it; None = that of the site's own for all.
    Source:  the CUSUM factors 0.5 and 0.25 of K; ramps and quorum are the operator's.
    """
    memory = recall(memory, site.ids)
    if price_state is None:
        price_state = np.full(len(site), _own_price_state(valuation), np.uint8)
    shared, why_shared = _judge_shared(snapshot, valuation, signals, policy, now_s)
    status, why_status = _with_prices(shared, why_shared, _told(price_state, valuation))
    is_fresh = (price_state == FRESH) & (shared is Status.OK)
    is_usable = (price_state <= STALE_SOFT) & (shared in (Status.OK, Status.DEGRADED))
    has_no_price = price_state > STALE_SOFT
    quorum = _quorum(snapshot, memory.stopped, signals.booted_s, now_s)
    has_quorum = not quorum < policy.quorum_ratio
    step_s = min(max(now_s - memory.at_s, 0.0), policy.max_step_s) if memory.at_s == memory.at_s else 0.0
    loss_usd, gain_usd = accumulate(economics.margin_usd_h, memory, is_fresh, is_usable, step_s / SECONDS_PER_HOUR)
    hold_since_s = _hold_since(status, memory, now_s)
    no_price_since_s = np.where(has_no_price, np.fmin(memory.no_price_since_s, now_s), np.nan)
    held_s = now_s - np.fmin(hold_since_s, no_price_since_s)
    is_release = (status is Status.DISABLED) | (not policy.hold_keep) & (held_s >= policy.hold_release_s)

    weight_w = _ramp_weight(snapshot)
    site_w = float(weight_w.sum())
    stop_room_w = _refill(memory.stop_budget_w, site_w * policy.stop_ramp_ratio, policy.stop_ramp_s, step_s)
    start_room_w = _refill(memory.start_budget_w, site_w * policy.start_ramp_ratio, policy.start_ramp_s, step_s)

    since_s = now_s - np.where(np.isnan(memory.since_s), -np.inf, memory.since_s)
    is_negative, is_positive = economics.margin_usd_h < 0.0, economics.margin_usd_h > 0.0
    is_uncertain = economics.dispatch == Dispatch.UNCERTAIN
    wants_stop = ~memory.stopped & is_negative & (loss_usd >= policy.stop_factor * policy.stop_start_cost_usd)
    can_stop = wants_stop & ~site.never_stop & (snapshot.up == 1.0) & (since_s >= policy.min_up_s)
    may_stop = can_stop & is_fresh & ~is_uncertain & has_quorum
    stops = _within(may_stop, economics.breakeven_usd_kwh, weight_w, stop_room_w)

    would_gain = is_positive & (gain_usd >= policy.start_factor * policy.stop_start_cost_usd)
    has_gained = would_gain & ~is_uncertain
    is_returned = site.never_stop | np.isin(economics.reason, NEVER_ADVISED)
    wants_start = memory.stopped & (has_gained | is_returned | is_release)
    may_start = wants_start & (since_s >= policy.min_down_s)
    starts = _within(may_start, -economics.breakeven_usd_kwh, weight_w, start_room_w)

    stopped = (memory.stopped | stops) & ~starts
    changed = stops | starts
    turned = bool(changed.any())
    after = Memory(
        ids=site.ids,
        stopped=stopped,
        loss_usd=np.where(changed, 0.0, loss_usd),
        gain_usd=np.where(changed, 0.0, gain_usd),
        since_s=np.where(changed, now_s, memory.since_s),
        at_s=now_s,
        hold_since_s=hold_since_s,
        stop_budget_w=stop_room_w - float(weight_w[stops].sum()),
        start_budget_w=start_room_w - float(weight_w[starts].sum()),
        decision=memory.decision + turned,
        turned_s=now_s if turned else memory.turned_s,
        no_price_since_s=no_price_since_s,
    )

    why = _unpriced_bits(economics.reason)
    is_run = ~stopped
    _mark(why, is_run & wants_stop & site.never_stop, Why.NEVER_STOP)
    _mark(why, is_run & wants_stop & (since_s < policy.min_up_s), Why.MIN_UP)
    _mark(why, is_run & can_stop & (not has_quorum), Why.QUORUM)
    if shared is not Status.OK:
        _mark(why, is_run & can_stop, why_shared)
    _mark(why, is_run & can_stop & (price_state == STALE_SOFT), Why.POWER_PRICE | Why.INPUT_STALE)
    _mark(why, is_run & can_stop & is_uncertain, Why.INPUT_UNCERTAIN)
    _mark(why, is_run & may_stop & ~stops, Why.RAMP)
    _mark(why, is_run & is_negative & ~wants_stop & ~starts, Why.HYSTERESIS_HOLD)
    _mark(why, starts & has_gained, Why.MARGIN_RESTORED)
    _mark(why, starts & is_release & ~has_gained, Why.HOLD_RELEASE)
    _mark(why, stopped & is_negative, Why.MARGIN_NEGATIVE)
    _mark(why, stopped & is_positive & ~would_gain & ~wants_start, Why.HYSTERESIS_HOLD)
    _mark(why, stopped & would_gain & is_uncertain, Why.INPUT_UNCERTAIN)
    _mark(why, stopped & wants_start & (since_s < policy.min_down_s), Why.MIN_DOWN)
    _mark(why, stopped & may_start, Why.RAMP)
    if status is Status.DISABLED:
        _mark(why, is_run, Why.OPERATOR)

    # A machine whose stop was given back needs the word to run until it does, and in hold for as long as nothing better
    # is known: silence would leave it off.
    is_held = has_no_price | (status is Status.HOLD)
    is_given_back = ~stopped & ~np.isnan(after.since_s) & (~snapshot.is_running | is_held)
    is_unadvised = ((economics.reason != Reason.NONE) | (status is Status.DISABLED)) & ~is_given_back
    action = np.where(stopped, Action.STOP, np.where(is_unadvised, Action.HOLD, Action.RUN)).astype(np.uint8)
    minimum_s = np.where(stopped, policy.min_down_s, policy.min_up_s)
    shed_w = np.maximum(snapshot.power_if_running_w - snapshot.standby_w, 0.0)
    decision = Decision(
        status=status,
        status_reasons=why_status | (Why(0) if has_quorum else Why.QUORUM),
        action=action,
        reasons=why,
        earliest_reversal_s=after.since_s + minimum_s,
        changed=changed,
        site_power_w=float(np.nansum(np.where(stopped, snapshot.power_if_running_w, snapshot.power_w))),
        shed_w=float(np.nansum(np.where(stopped, shed_w, np.nan))),
        quorum=quorum,
    )
    return decision, after


def judge(
    snapshot: Snapshot,
    valuation: Valuation,
    signals: Signals,
    policy: Policy,
    now_s: float,
    price_state: Codes | None = None,
) -> tuple[Status, Why]:
    """Health of the decision and every reason for it: disabled, else hold, else degraded, else ok.

    A power price that only some machines miss (`price_state`, as in `recommend`) is no hold of the others.
    """
    states = {_own_price_state(valuation)} if price_state is None else _told(price_state, valuation)
    return _with_prices(*_judge_shared(snapshot, valuation, signals, policy, now_s), states)


def _judge_shared(
    snapshot: Snapshot, valuation: Valuation, signals: Signals, policy: Policy, now_s: float
) -> tuple[Status, Why]:
    """Health of what all machines share: the market, the gateway, the operator's word."""
    if not policy.enabled:
        return Status.DISABLED, Why.OPERATOR
    states = valuation.states.items()
    hold = _why_of(state for input, state in states if state not in USABLE and (input, state) != DISPUTED_FEES)
    hold |= Why(0) if signals.is_storage_ok else Why.STORAGE
    hold |= Why(0) if signals.is_clock_trusted else Why.CLOCK
    if now_s < signals.booted_s + signals.settle_s and bool(np.isnan(snapshot.up).any()):
        hold |= Why.BOOT
    if hold:
        return Status.HOLD, hold
    why = _why_of(state for _, state in states)
    why |= Why.INPUT_CONFLICT if valuation.cross_check.is_alarm else Why(0)
    return (Status.DEGRADED, why) if why else (Status.OK, Why(0))


def _with_prices(status: Status, why: Why, states: set[int]) -> tuple[Status, Why]:
    """The same, and the states of all power prices in use: hold where none may be used, degraded where one is not
    fresh."""
    if status is Status.DISABLED or states == {FRESH}:
        return status, why
    why |= Why.POWER_PRICE | _why_of(WORST_LAST[state] for state in states)
    is_hold = status is Status.HOLD or min(states) > STALE_SOFT
    return (Status.HOLD if is_hold else Status.DEGRADED), why


def _told(price_state: Codes, valuation: Valuation) -> set[int]:
    """The states of all power prices in use; the site's own where there is no machine."""
    return set(np.unique(price_state).tolist()) or {_own_price_state(valuation)}


def _own_price_state(valuation: Valuation) -> int:
    is_missing = valuation.power_usd_per_kwh != valuation.power_usd_per_kwh and valuation.power_state in USABLE
    return WORST_LAST.index(InputState.MISSING if is_missing else valuation.power_state)


def _why_of(states: Iterable[InputState]) -> Why:
    """Every reason that is in states of inputs."""
    why = Why(0)
    for state in states:
        why |= WHY_OF_STATE[state]
    return why


def accumulate(
    margin_usd_h: Floats, memory: Memory, is_fresh: Bools, is_usable: Bools, step_h: float
) -> tuple[Floats, Floats]:
    """Loss of the machines that run and gain of those that stand, summed since their last turn and never below zero.

    L <- max(0, L - m dt) while on, G <- max(0, G + m dt) while off. An unknown margin leaves both as they are; prices
    that are no longer fresh add no loss, so nothing but fresh prices ever leads to a stop.
    """
    flow_usd = np.nan_to_num(margin_usd_h, nan=0.0) * step_h
    loss_usd = np.where(is_fresh & ~memory.stopped, np.maximum(0.0, memory.loss_usd - flow_usd), memory.loss_usd)
    gain_usd = np.where(is_usable & memory.stopped, np.maximum(0.0, memory.gain_usd + flow_usd), memory.gain_usd)
    return loss_usd, gain_usd


def _quorum(snapshot: Snapshot, stopped: Bools, booted_s: float, now_s: float) -> float:
    """Share of the machines expected to answer that do; NaN where none is expected.

    Neither a machine that stands on our advice is expected nor one that has been silent for EXPECTED_FOR_S: a few dead
    machines must not keep the last losing ones running. After a start everybody is expected for as long. Two machines
    that answer by one name count neither way.
    """
    heard_s = np.fmax(snapshot.last_seen_s, booted_s)
    is_expected = ~stopped & ~snapshot.is_conflict & (now_s - heard_s <= EXPECTED_FOR_S)
    expected = int(is_expected.sum())
    return float(((snapshot.up == 1.0) & is_expected).sum() / expected) if expected else float("nan")


def _hold_since(status: Status, memory: Memory, now_s: float) -> float:
    if status is not Status.HOLD:
        return float("nan")
    return now_s if memory.hold_since_s != memory.hold_since_s else memory.hold_since_s


def _ramp_weight(snapshot: Snapshot) -> Floats:
    """Watts that turning each machine moves; the mean of the known ones where unknown, 1 where none is known."""
    watts = snapshot.power_if_running_w
    known = watts[~np.isnan(watts)]
    return np.where(np.isnan(watts), known.mean() if len(known) else 1.0, watts)


def _refill(budget_w: float, full_w: float, period_s: float, step_s: float) -> float:
    """What a ramp allows now: full at first, drained by turns, refilled at full per period."""
    return full_w if budget_w != budget_w else min(full_w, budget_w + full_w * step_s / period_s)


def _within(wanted: Bools, rank: Floats, weight_w: Floats, room_w: float) -> Bools:
    """The wanted machines in order of rank (NaN last) while there is room; the last one may overdraw it."""
    chosen = np.zeros(len(wanted), bool)
    if room_w > 0.0 and wanted.any():
        rows = np.flatnonzero(wanted)
        rows = rows[np.argsort(rank[rows], kind="stable")]
        before_w = np.cumsum(weight_w[rows]) - weight_w[rows]
        chosen[rows[before_w < room_w]] = True
    return chosen


def _unpriced_bits(reason: Codes) -> npt.NDArray[np.uint32]:
    table = np.zeros(len(Reason), np.uint32)
    for code, why in UNPRICED_WHY.items():
        table[code] = why
    return table[reason]


def _mark(why: npt.NDArray[np.uint32], rows: Bools, bits: Why) -> None:
    why[rows] |= np.uint32(bits)
