"""Advice over time: what turns a machine, what holds it, and that not knowing never turns one off.

The thresholds are hand sums: K is 0.10 USD, so a stop needs a loss of 0.05 and a start a gain of 0.025; a margin of
0.36 USD/h is 0.006 USD a minute, past 0.05 in the ninth minute and past 0.025 in the fifth.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cycles import make_economics, make_snapshot, make_valuation

from fleet.curtailment import (
    UNPRICED_WHY,
    Action,
    Decision,
    Memory,
    Policy,
    Status,
    Why,
    judge,
    recall,
    recommend,
)
from fleet.economics import Dispatch
from fleet.market import InputState, MarketInput
from fleet.readings import Reason
from fleet.signals import Signals
from fleet.site import Machine, Site

NAN = math.nan
T0_S = 1_800_000_000.0
MINUTE_S = 60.0
RUN, STOP, HOLD = int(Action.RUN), int(Action.STOP), int(Action.HOLD)
AT_ONCE = Policy(min_up_s=0.0, min_down_s=0.0, stop_ramp_ratio=1.0, start_ramp_ratio=1.0)
"""A policy of the accumulators alone: no minimum time and no ramp stands in the way."""

STALE = {MarketInput.BTC_USD: InputState.STALE_SOFT}
EXPIRED = {MarketInput.BTC_USD: InputState.STALE_HARD}
DISPUTED = {MarketInput.DIFFICULTY: InputState.CONFLICT}
ABSENT = {MarketInput.HEIGHT: InputState.MISSING}
FEES_DISPUTED = {MarketInput.BLOCK_FEES_BTC: InputState.CONFLICT}


def states(changed: dict[MarketInput, InputState]) -> dict[MarketInput, InputState]:
    return dict.fromkeys(MarketInput, InputState.FRESH) | changed


class Farm:
    """`n` machines of 1000 W whose margin the test sets; `minute()` is one cycle, a minute after the last."""

    def __init__(self, n: int, policy: Policy = AT_ONCE, *, never_stop: tuple[int, ...] = ()) -> None:
        self.ids = tuple(f"m{i}" for i in range(n))
        self.site = Site("north", tuple(Machine(id, never_stop=i in never_stop) for i, id in enumerate(self.ids)))
        self.policy = policy
        self.now_s = T0_S - MINUTE_S
        self.booted_s = T0_S - 1000.0
        self.memory = Memory()
        self.margin = np.zeros(n)
        self.breakeven = np.linspace(0.03, 0.06, n)  # the first machine is the worst
        self.reason = np.zeros(n, np.uint8)
        self.dispatch = np.zeros(n, np.uint8)
        self.states: dict[MarketInput, InputState] = {}
        self.columns: dict[str, Any] = {
            "up": np.ones(n), "power_w": np.full(n, 1000.0), "power_if_running_w": np.full(n, 1000.0),
            "standby_w": np.full(n, 30.0), "is_running": np.ones(n),
        }  # fmt: skip

    def minute(self, after_s: float = MINUTE_S) -> Decision:
        self.now_s += after_s
        decision, self.memory = recommend(
            self.site,
            make_snapshot(self.ids, **self.columns),
            make_valuation(states=states(self.states)),
            make_economics(
                len(self.ids),
                margin_usd_h=self.margin,
                breakeven_usd_kwh=self.breakeven,
                reason=self.reason,
                dispatch=self.dispatch,
            ),
            Signals(booted_s=self.booted_s),
            self.policy,
            self.memory,
            self.now_s,
        )
        return decision

    def minutes(self, count: int) -> list[Decision]:
        return [self.minute() for _ in range(count)]

    def stop_all(self) -> None:
        """Every machine is stopped now, its accumulators are empty and its minimum times begin."""
        n = len(self.ids)
        self.memory = Memory(
            self.ids, np.ones(n, bool), np.zeros(n), np.zeros(n), np.full(n, self.now_s), at_s=self.now_s
        )
        self.columns["is_running"] = np.zeros(n)


def first(decisions: list[Decision], action: Action, row: int = 0) -> int:
    """Index of the first decision that advises `action` for a row."""
    return next(i for i, decision in enumerate(decisions) if decision.action[row] == action)


# ---------------------------------------------------------------------------------------------------------- judge

NEVER_POLLED = {"up": [1.0, NAN]}


@pytest.mark.parametrize(
    ("columns", "valuation", "signals", "status", "why"),
    [
        ({}, {}, Signals(), Status.OK, Why(0)),
        ({}, {"states": states(STALE)}, Signals(), Status.DEGRADED, Why.INPUT_STALE),
        ({}, {"states": states(EXPIRED)}, Signals(), Status.HOLD, Why.INPUT_STALE),
        ({}, {"states": states(DISPUTED)}, Signals(), Status.HOLD, Why.INPUT_CONFLICT),
        ({}, {"states": states(ABSENT)}, Signals(), Status.HOLD, Why.INPUT_MISSING),
        ({}, {"states": states(FEES_DISPUTED)}, Signals(), Status.DEGRADED, Why.INPUT_CONFLICT),
        ({}, {"states": states(FEES_DISPUTED | ABSENT)}, Signals(), Status.HOLD, Why.INPUT_MISSING),
        ({}, {"power_usd_per_kwh": NAN}, Signals(), Status.HOLD, Why.INPUT_MISSING | Why.POWER_PRICE),
        ({}, {"power_state": InputState.STALE_SOFT}, Signals(), Status.DEGRADED, Why.INPUT_STALE | Why.POWER_PRICE),
        ({}, {"power_state": InputState.STALE_HARD}, Signals(), Status.HOLD, Why.INPUT_STALE | Why.POWER_PRICE),
        ({}, {"power_state": InputState.MISSING}, Signals(), Status.HOLD, Why.INPUT_MISSING | Why.POWER_PRICE),
        ({}, {}, Signals(is_storage_ok=False), Status.HOLD, Why.STORAGE),
        ({}, {}, Signals(is_clock_trusted=False), Status.HOLD, Why.CLOCK),
        (NEVER_POLLED, {}, Signals(booted_s=T0_S - 59.0, settle_s=60.0), Status.HOLD, Why.BOOT),
        (NEVER_POLLED, {}, Signals(booted_s=T0_S - 60.0, settle_s=60.0), Status.OK, Why(0)),
        ({"up": [1.0, 0.0]}, {}, Signals(booted_s=T0_S - 59.0, settle_s=60.0), Status.OK, Why(0)),
        (
            {},
            {"states": states(EXPIRED | DISPUTED | ABSENT)},
            Signals(is_storage_ok=False, is_clock_trusted=False),
            Status.HOLD,
            Why.INPUT_STALE | Why.INPUT_CONFLICT | Why.INPUT_MISSING | Why.STORAGE | Why.CLOCK,
        ),
    ],
)
def test_the_health_of_a_decision(
    columns: dict[str, Any], valuation: dict[str, Any], signals: Signals, status: Status, why: Why
) -> None:
    snapshot = make_snapshot(("a", "b"), **({"up": [1.0, 1.0]} | columns))
    assert judge(snapshot, make_valuation(**valuation), signals, Policy(), T0_S) == (status, why)
    disabled = judge(snapshot, make_valuation(**valuation), signals, Policy(enabled=False), T0_S)
    assert disabled == (Status.DISABLED, Why.OPERATOR)


# ---------------------------------------------------------------------------------------------------------- CUSUM


def test_a_machine_stops_when_it_has_lost_half_the_cost_of_a_stop() -> None:
    farm = Farm(1)
    farm.margin[:] = -0.36
    decisions = farm.minutes(10)  # the first sees no time pass
    assert [d.action[0] for d in decisions] == [RUN] * 9 + [STOP]
    assert decisions[8].reasons[0] == Why.HYSTERESIS_HOLD
    assert decisions[9].reasons[0] == Why.MARGIN_NEGATIVE
    assert [bool(d.changed[0]) for d in decisions] == [False] * 9 + [True]
    assert (farm.memory.loss_usd[0], farm.memory.gain_usd[0]) == (0.0, 0.0)
    assert (farm.memory.decision, farm.memory.turned_s, farm.memory.since_s[0]) == (1, farm.now_s, farm.now_s)


def test_a_machine_returns_when_it_would_have_gained_a_quarter() -> None:
    farm = Farm(1)
    farm.stop_all()
    farm.margin[:] = 0.36
    decisions = farm.minutes(6)
    assert [d.action[0] for d in decisions] == [STOP] * 4 + [RUN] * 2
    assert decisions[3].reasons[0] == Why.HYSTERESIS_HOLD
    assert decisions[4].reasons[0] == Why.MARGIN_RESTORED
    assert decisions[5].reasons[0] == 0


def test_a_profit_repays_the_loss_before_it_and_never_more() -> None:
    farm = Farm(1)
    farm.margin[:] = -0.36
    farm.minutes(9)  # 0.048 lost, 0.002 short of a stop
    farm.margin[:] = 0.72
    farm.minutes(10)
    assert farm.memory.loss_usd[0] == 0.0
    farm.margin[:] = -0.36
    assert first(farm.minutes(12), Action.STOP) == 8


def test_a_loss_that_was_repaid_in_time_does_not_stop_at_the_next_profit() -> None:
    farm = Farm(1, replace(AT_ONCE, min_up_s=1e9))
    farm.memory = Memory(farm.ids, np.zeros(1, bool), np.array([0.2]), np.zeros(1), np.full(1, T0_S), at_s=T0_S)
    farm.policy = AT_ONCE
    farm.margin[:] = 0.01
    assert farm.minute().action[0] == RUN  # enough was lost, but it earns now


def test_an_unknown_margin_neither_adds_nor_repays() -> None:
    farm = Farm(1)
    farm.margin[:] = -0.36
    farm.minutes(6)
    lost = farm.memory.loss_usd[0]
    farm.margin[:], farm.reason[:] = NAN, Reason.NO_POWER
    decision = farm.minutes(60)[-1]
    assert farm.memory.loss_usd[0] == lost == pytest.approx(0.030)
    assert (decision.action[0], decision.reasons[0]) == (HOLD, Why.NO_POWER)


def test_a_long_gap_counts_as_one_short_step() -> None:
    farm = Farm(1)
    farm.margin[:] = -0.36
    farm.minute()
    farm.minute(after_s=86_400.0)
    assert farm.memory.loss_usd[0] == pytest.approx(0.006)
    farm.minute(after_s=-3600.0)  # a clock that was set back
    assert farm.memory.loss_usd[0] == pytest.approx(0.006)


def test_stale_prices_add_no_loss_but_may_bring_machines_back() -> None:
    farm = Farm(2)
    farm.stop_all()
    farm.memory = replace(farm.memory, stopped=np.array([True, False]), loss_usd=np.array([0.0, 0.049]))
    farm.states = STALE
    farm.margin[:] = (0.36, -0.36)
    decisions = farm.minutes(10)
    assert decisions[-1].status is Status.DEGRADED
    assert decisions[-1].action.tolist() == [RUN, RUN]
    assert first(decisions, Action.RUN) == 4
    assert farm.memory.loss_usd[1] == 0.049


def test_expired_prices_add_nothing() -> None:
    farm = Farm(2)
    farm.stop_all()
    farm.memory = replace(farm.memory, stopped=np.array([True, False]))
    farm.states = EXPIRED
    farm.margin[:] = (0.36, -0.36)
    farm.minutes(10)
    assert (farm.memory.loss_usd[1], farm.memory.gain_usd[0]) == (0.0, 0.0)


# ------------------------------------------------------------------------------------------------- minimum times


def test_a_machine_that_has_just_returned_runs_its_minimum_time() -> None:
    farm = Farm(1, replace(AT_ONCE, min_up_s=1800.0))
    farm.memory = Memory(farm.ids, np.zeros(1, bool), np.zeros(1), np.zeros(1), np.array([T0_S]), at_s=T0_S - 60.0)
    farm.margin[:] = -0.36
    decisions = farm.minutes(31)  # at T0, T0 + 1 min, ... T0 + 30 min
    assert first(decisions, Action.STOP) == 30
    assert decisions[29].reasons[0] == Why.MIN_UP
    assert decisions[29].earliest_reversal_s[0] == T0_S + 1800.0
    assert decisions[30].earliest_reversal_s[0] == T0_S + 1800.0 + AT_ONCE.min_down_s


def test_a_machine_that_has_just_stopped_stands_its_minimum_time() -> None:
    farm = Farm(1, replace(AT_ONCE, min_down_s=900.0))
    farm.stop_all()
    farm.margin[:] = 0.36
    decisions = farm.minutes(15)
    assert first(decisions, Action.RUN) == 14
    assert decisions[13].reasons[0] == Why.MIN_DOWN
    assert decisions[13].earliest_reversal_s[0] == T0_S - 60.0 + 900.0


def test_a_machine_that_never_turned_may_turn_at_once() -> None:
    farm = Farm(1, replace(AT_ONCE, min_up_s=1800.0))
    farm.margin[:] = -0.36
    decisions = farm.minutes(10)
    assert math.isnan(decisions[0].earliest_reversal_s[0])
    assert first(decisions, Action.STOP) == 9


# ---------------------------------------------------------------------------------------------- what bars any turn


def test_a_margin_within_its_error_turns_no_machine_and_is_summed_all_the_same() -> None:
    farm = Farm(2)
    farm.margin[:] = -0.36
    farm.dispatch[0] = Dispatch.UNCERTAIN
    decisions = farm.minutes(20)
    assert [d.action.tolist() for d in decisions] == [[RUN, RUN]] * 9 + [[RUN, STOP]] * 11
    assert decisions[8].reasons[0] == Why.HYSTERESIS_HOLD
    assert decisions[-1].reasons[0] == Why.INPUT_UNCERTAIN
    farm.dispatch[0] = Dispatch.STOP
    decision = farm.minute()  # once it is certain the sum counts
    assert (decision.action[0], decision.reasons[0]) == (STOP, Why.MARGIN_NEGATIVE)


def test_a_gain_within_its_error_brings_no_machine_back() -> None:
    farm = Farm(2)
    farm.stop_all()
    farm.margin[:] = 0.36
    farm.dispatch[0] = Dispatch.UNCERTAIN
    decisions = farm.minutes(10)
    assert [d.action.tolist() for d in decisions] == [[STOP, STOP]] * 4 + [[STOP, RUN]] * 6
    assert decisions[3].reasons[0] == Why.HYSTERESIS_HOLD
    assert decisions[-1].reasons[0] == Why.INPUT_UNCERTAIN
    farm.dispatch[0] = Dispatch.RUN
    decision = farm.minute()
    assert (decision.action[0], decision.reasons[0]) == (RUN, Why.MARGIN_RESTORED)


@pytest.mark.parametrize(("never_stop", "states"), [((0,), {}), ((), EXPIRED)])
def test_doubt_keeps_no_machine_from_being_given_back(
    never_stop: tuple[int, ...], states: dict[MarketInput, InputState]
) -> None:
    farm = Farm(1, never_stop=never_stop)
    farm.stop_all()
    farm.states = states
    farm.margin[:], farm.dispatch[:] = 0.36, Dispatch.UNCERTAIN
    assert farm.minutes(17)[-1].action[0] == RUN


# ------------------------------------------------------------------------------------------------ what bars a stop


def test_a_protected_machine_is_never_stopped_and_given_back_if_it_was() -> None:
    farm = Farm(2, never_stop=(0,))
    farm.margin[:] = -0.36
    decision = farm.minutes(10)[-1]
    assert decision.action.tolist() == [RUN, STOP]
    assert decision.reasons[0] == Why.NEVER_STOP
    farm.stop_all()
    assert farm.minute().action.tolist() == [RUN, STOP]


def test_an_unreachable_machine_is_never_stopped() -> None:
    farm = Farm(2)
    farm.margin[:] = -0.36
    farm.columns["up"] = [0.0, 1.0]
    farm.policy = replace(AT_ONCE, quorum_ratio=0.5)
    assert farm.minutes(20)[-1].action.tolist() == [RUN, STOP]


def test_a_quorum_bars_stops_and_nothing_else() -> None:
    farm = Farm(10)
    farm.margin[:] = -0.36
    farm.columns["up"] = [1.0] * 7 + [0.0, 0.0, NAN]  # 7 of 10, and 8 are needed
    decision = farm.minutes(20)[-1]
    assert decision.action.tolist() == [RUN] * 10
    assert (decision.quorum, decision.status, decision.status_reasons) == (0.7, Status.OK, Why.QUORUM)
    assert decision.reasons[0] == Why.QUORUM
    farm.columns["up"] = [1.0] * 8 + [0.0, NAN]
    assert farm.minute().action.tolist() == [STOP] * 8 + [RUN] * 2
    # the stopped need not answer: of the other two none does, and the stopped return all the same
    farm.columns["up"] = np.zeros(10)
    farm.margin[:] = 0.36
    decision = farm.minutes(5)[-1]
    assert decision.quorum == 0.0
    assert decision.action.tolist() == [RUN] * 10


def test_a_machine_that_is_silent_for_an_hour_no_longer_bars_the_others() -> None:
    farm = Farm(4)
    farm.margin[:] = -0.36
    farm.columns["up"] = [1.0, 0.0, 0.0, NAN]
    farm.columns["last_seen_s"] = [T0_S, T0_S, T0_S - 9000.0, NAN]
    decision = farm.minutes(20)[-1]  # the second fell silent 20 minutes ago, the others have not come since the start
    assert (decision.quorum, decision.action[0]) == (0.25, RUN)
    farm.booted_s = T0_S - 9000.0
    assert farm.minute().quorum == 0.5
    farm.columns["last_seen_s"] = [T0_S + 3000.0, T0_S - 2400.0, T0_S - 9000.0, NAN]
    decision = farm.minute()  # now the second has been silent for 3660 s
    assert (decision.quorum, decision.action[0]) == (1.0, STOP)


def test_with_every_machine_stopped_nobody_is_expected_to_answer() -> None:
    farm = Farm(2)
    farm.stop_all()
    farm.columns["up"] = np.zeros(2)
    decision = farm.minute()
    assert math.isnan(decision.quorum)
    assert decision.status_reasons == Why(0)


# ------------------------------------------------------------------------------------------- ramps and merit order


def test_stops_come_in_waves_and_the_worst_machine_goes_first() -> None:
    # 20 % of 10 kW in 10 minutes: 2 kW at once, then 200 W a minute; the machine that overdraws is paid back
    farm = Farm(10, replace(AT_ONCE, stop_ramp_ratio=0.2, stop_ramp_s=600.0))
    farm.margin[:] = -0.36
    farm.breakeven = np.array([0.06, 0.03, 0.05, 0.04, NAN, 0.07, 0.08, 0.09, 0.10, 0.11])
    decisions = farm.minutes(20)[9:]
    turned = [np.flatnonzero(d.changed).tolist() for d in decisions]
    assert turned[:7] == [[1, 3], [2], [], [], [], [], [0]]
    assert decisions[0].reasons[2] == Why.RAMP
    farm.minutes(60)
    assert farm.memory.stopped.all()  # also the one whose breakeven nobody knows, as the last


def test_starts_come_in_waves_and_the_best_machine_goes_first() -> None:
    # 5 % of 20 kW a minute is one machine a minute
    farm = Farm(20, replace(AT_ONCE, start_ramp_ratio=0.05, start_ramp_s=60.0))
    farm.stop_all()
    farm.margin[:] = 0.36
    decisions = farm.minutes(24)[4:]
    assert [np.flatnonzero(d.changed).tolist() for d in decisions] == [[row] for row in reversed(range(20))]
    assert decisions[0].reasons[0] == Why.RAMP


def test_a_machine_of_unknown_watts_weighs_as_the_mean_in_a_ramp() -> None:
    # 2, 4 and a mean of 3 kW: a third of 9 kW holds the first two, because the second begins inside the room
    farm = Farm(3, replace(AT_ONCE, stop_ramp_ratio=1 / 3))
    farm.columns["power_if_running_w"] = [2000.0, 4000.0, NAN]
    farm.margin[:] = -0.36
    decisions = farm.minutes(10)
    assert decisions[-1].changed.tolist() == [True, True, False]
    assert farm.memory.stop_budget_w == pytest.approx(3000.0 - 6000.0)


def test_where_no_watts_are_known_a_ramp_counts_machines() -> None:
    farm = Farm(4, replace(AT_ONCE, stop_ramp_ratio=0.5))
    farm.columns["power_if_running_w"] = np.full(4, NAN)
    farm.margin[:] = -0.36
    decision = farm.minutes(10)[-1]
    assert decision.changed.tolist() == [True, True, False, False]
    assert decision.shed_w == 0.0


def test_power_without_the_stops_and_what_they_give_up() -> None:
    farm = Farm(3)
    farm.stop_all()
    farm.memory = replace(farm.memory, stopped=np.array([True, True, False]))
    farm.columns["power_w"] = [30.0, NAN, 1100.0]
    farm.columns["power_if_running_w"] = [
        1000.0,
        20.0,
        900.0,
    ]  # the second draws less than a sleeping board is held for
    decision = farm.minute()
    assert decision.shed_w == 970.0
    # what the stopped would draw and what the other does, so that the difference is what remains: 30 + 20 + 1100
    assert decision.site_power_w == 2120.0
    assert decision.site_power_w - decision.shed_w == 1150.0


# ------------------------------------------------------------------------------------------- hold, disabled, others


@pytest.mark.parametrize("inputs", [EXPIRED, DISPUTED, ABSENT, STALE])
def test_no_new_stop_without_fresh_prices(inputs: dict[MarketInput, InputState]) -> None:
    farm = Farm(1)
    farm.memory = Memory(farm.ids, np.zeros(1, bool), np.array([9.0]), np.zeros(1), np.array([NAN]), at_s=T0_S - 60.0)
    farm.margin[:] = -9.0
    farm.states = inputs
    decisions = farm.minutes(60)
    assert all(d.action[0] == RUN for d in decisions)
    assert Why(int(decisions[-1].reasons[0])) & (Why.INPUT_STALE | Why.INPUT_CONFLICT | Why.INPUT_MISSING)
    farm.states = {}
    assert farm.minute().action[0] == STOP


def held(policy: Policy) -> list[Decision]:
    """Forty minutes without prices over twenty stopped machines; the first decision is the first of the hold."""
    farm = Farm(20, policy)
    farm.stop_all()
    farm.margin[:], farm.reason[:], farm.states = NAN, Reason.NO_MARKET, EXPIRED
    return farm.minutes(40)


def test_a_hold_gives_the_stopped_back_in_waves_after_its_time() -> None:
    decisions = held(replace(AT_ONCE, hold_release_s=900.0, start_ramp_ratio=0.05, start_ramp_s=60.0))
    returned = [int((d.action != STOP).sum()) for d in decisions]
    assert returned == [0] * 15 + [*range(1, 21)] + [20] * 5
    turned = decisions[15]
    assert turned.reasons[turned.changed].tolist() == [Why.HOLD_RELEASE | Why.INPUT_MISSING]
    # a machine that stands because we said so needs the word to run, not the absence of a word
    assert [int((d.action == RUN).sum()) for d in decisions] == returned


def test_an_operator_may_keep_the_stops_through_a_hold() -> None:
    decisions = held(replace(AT_ONCE, hold_release_s=900.0, hold_keep=True))
    assert all((d.action == STOP).all() for d in decisions)


def test_a_hold_that_ends_in_time_gives_nothing_back_and_the_next_one_begins_anew() -> None:
    farm = Farm(1)
    farm.stop_all()
    for _ in range(3):
        farm.states = EXPIRED
        assert all(d.action[0] == STOP for d in farm.minutes(14))
        farm.states = {}
        farm.minute()
    assert math.isnan(farm.memory.hold_since_s)


@pytest.mark.parametrize("hold_keep", [False, True])
def test_switched_off_it_gives_everything_back_and_advises_nothing(hold_keep: bool) -> None:
    farm = Farm(20, replace(AT_ONCE, enabled=False, start_ramp_ratio=0.05, hold_keep=hold_keep))
    farm.stop_all()
    farm.margin[:] = -0.36
    decisions = farm.minutes(20)
    assert [int((d.action == STOP).sum()) for d in decisions] == [*range(19, -1, -1)]
    farm.columns["is_running"] = np.ones(20)
    decision = farm.minute()
    assert decision.status is Status.DISABLED
    assert decision.action.tolist() == [HOLD] * 20
    assert all(Why.OPERATOR in Why(int(bits)) for bits in decision.reasons)
    assert farm.memory.loss_usd.tolist() == [0.0] * 20


@pytest.mark.parametrize("reason", [Reason.NOT_SHA256, Reason.WRONG_POOL, Reason.CONFLICT, Reason.IMPLAUSIBLE])
def test_a_machine_without_a_price_is_never_advised_to_stop(reason: Reason) -> None:
    farm = Farm(2)
    farm.margin[:] = [NAN, -0.36]
    farm.reason[0] = reason
    decisions = farm.minutes(240)
    assert {int(d.action[0]) for d in decisions} == {HOLD}
    assert decisions[-1].action[1] == STOP
    assert decisions[-1].reasons[0] == UNPRICED_WHY[reason]


def test_two_machines_of_one_name_count_neither_way_in_the_quorum() -> None:
    farm = Farm(4)
    farm.columns |= {"up": np.array([1.0, 1.0, 0.0, 1.0]), "is_conflict": np.array([0, 0, 0, 1])}
    assert farm.minute().quorum == pytest.approx(2 / 3)


@pytest.mark.parametrize("reason", [Reason.NOT_SHA256, Reason.WRONG_POOL, Reason.CONFLICT])
def test_a_machine_that_is_none_of_our_business_gets_its_stop_back(reason: Reason) -> None:
    farm = Farm(1)
    farm.stop_all()
    farm.margin[:], farm.reason[:] = NAN, reason
    assert farm.minute().action[0] == RUN
    farm.columns["is_running"] = np.ones(1)
    decision = farm.minute()
    assert (decision.action[0], decision.reasons[0]) == (HOLD, UNPRICED_WHY[reason])


@pytest.mark.parametrize("reason", [Reason.NO_POWER, Reason.NO_HASHRATE, Reason.UNREACHABLE, Reason.IMPLAUSIBLE])
def test_a_stopped_machine_that_we_know_nothing_of_stays_stopped(reason: Reason) -> None:
    farm = Farm(1)
    farm.stop_all()
    farm.margin[:], farm.reason[:] = NAN, reason
    assert all(d.action[0] == STOP for d in farm.minutes(60))


def test_a_returned_machine_is_told_to_run_until_it_does() -> None:
    farm = Farm(1)
    farm.stop_all()
    farm.columns["up"] = np.zeros(1)
    farm.margin[:] = 0.36
    assert farm.minutes(5)[-1].action[0] == RUN
    farm.margin[:], farm.reason[:] = NAN, Reason.UNREACHABLE  # not stopped any more and still dark: nothing to price
    assert all(d.action[0] == RUN for d in farm.minutes(30))


def test_every_missing_margin_has_a_word() -> None:
    assert set(UNPRICED_WHY) == set(Reason)
    assert all(bool(why) == (reason is not Reason.NONE) for reason, why in UNPRICED_WHY.items())


# --------------------------------------------------------------------------------------------------------- memory


def test_memory_follows_its_machines_into_new_rows() -> None:
    memory = Memory(
        ("a", "b"), np.array([True, False]), np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, NAN]),
        at_s=9.0, stop_budget_w=7.0, decision=3, turned_s=8.0,
    )  # fmt: skip
    moved = recall(memory, ("b", "new", "a"))
    assert moved.ids == ("b", "new", "a")
    assert moved.stopped.tolist() == [False, False, True]
    assert moved.loss_usd.tolist() == [2.0, 0.0, 1.0]
    assert moved.gain_usd.tolist() == [4.0, 0.0, 3.0]
    np.testing.assert_array_equal(moved.since_s, [NAN, NAN, 5.0])
    assert (moved.at_s, moved.stop_budget_w, moved.decision, moved.turned_s) == (9.0, 7.0, 3, 8.0)
    assert recall(memory, ("a", "b")) is memory
