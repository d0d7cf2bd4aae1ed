"""The price of power in a whole decision: each machine by its tariff, and no stop while a price is old or missing.

Machines do 100 TH/s at 2000 W. At hashprice 31.5 USD/PH/day they earn 3.1 USD a day, and 2.1 kW at 0.06 USD/kWh costs
as much: 0.04 pays, 0.20 does not.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.curtailment import Action, Memory, Policy, Status, Why
from fleet.cycle import Cycle, think
from fleet.market import HARD_AGE_S, SOFT_AGE_S, InputState, Market, MarketInput, Quote
from fleet.readings import OperatingState, Reason
from fleet.signals import Signals
from fleet.site import Machine, Site
from fleet.snapshot import STATE_CODES, MachineInfo, Observations, PduColumns, assemble
from fleet.tariff import PowerPrice

T0_S = 1_800_000_000.0
MACHINES = (Machine("own"), Machine("hosted", tariff="hosted"))
EAGER = Policy(stop_ramp_ratio=1.0, start_ramp_ratio=1.0, quorum_ratio=0.5, min_up_s=0.0, min_down_s=0.0)
NUMBERS = {
    MarketInput.DIFFICULTY: 141.668e12,
    MarketInput.HEIGHT: 935_140.0,
    MarketInput.BLOCK_FEES_BTC: 0.025,
    MarketInput.BTC_USD: 70_000.0,
}
FRESH, SOFT, HARD, MISSING = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD, InputState.MISSING


def price(usd_per_kwh: float, tariff: str = "", state: InputState = FRESH) -> PowerPrice:
    return PowerPrice(tariff, usd_per_kwh, "price_file", state, T0_S)


class Hour:
    """A fresh market and two machines that hash, minute by minute."""

    def __init__(self) -> None:
        self.site = Site("north", MACHINES)
        self.memory, self.now_s = Memory(), T0_S

    def minute(self, *power: PowerPrice) -> Cycle:
        self.now_s += 60.0
        observed = Observations.empty(len(MACHINES))
        observed.is_sha256[:] = True
        observed.up[:] = 1.0
        observed.seen_s[:] = self.now_s
        observed.hashrate_hs[:] = 1e14
        observed.reported_power_w[:] = 2000.0
        observed.state[:] = STATE_CODES[OperatingState.MINING]
        infos = (MachineInfo(),) * len(MACHINES)
        snapshot = assemble(self.site, observed, infos, PduColumns(), self.now_s, 60.0)
        quotes = tuple(
            Quote(input, source, value, self.now_s, SOFT_AGE_S[input], HARD_AGE_S[input])
            for input, value in NUMBERS.items()
            for source in ("bitcoin_core", "coinbase", "kraken")
        )
        signals = Signals(T0_S - 9999.0, 60.0)
        cycle = think(self.site, snapshot, Market(quotes), signals, EAGER, self.memory, self.now_s, power)
        self.memory = cycle.memory
        return cycle

    def minutes(self, count: int, *power: PowerPrice) -> Cycle:
        for _ in range(count):
            cycle = self.minute(*power)
        return cycle


def stops(cycle: Cycle) -> list[bool]:
    return (cycle.decision.action == Action.STOP).tolist()


def test_each_machine_is_judged_by_its_own_tariff() -> None:
    cycle = Hour().minutes(60, price(0.04), price(0.20, "hosted"))
    np.testing.assert_allclose(cycle.economics.energy_cost_usd_h, [2.1 * 0.04, 2.1 * 0.20])
    assert stops(cycle) == [False, True]
    other = Hour().minutes(60, price(0.20), price(0.04, "hosted"))
    assert stops(other) == [True, False]
    assert cycle.valuation.power_usd_per_kwh == 0.04
    assert (cycle.valuation.power_source, cycle.valuation.power_as_of_s) == ("price_file", T0_S)
    assert cycle.power == (price(0.04), price(0.20, "hosted"))


def test_a_machine_without_a_price_is_unpriced_and_the_site_holds() -> None:
    cycle = Hour().minutes(60, price(0.04), price(math.nan, "hosted", MISSING))
    assert cycle.economics.reason.tolist() == [Reason.NONE, Reason.NO_MARKET]
    assert (cycle.decision.status, Why.INPUT_MISSING in cycle.decision.status_reasons) == (Status.HOLD, True)
    assert stops(cycle) == [False, False]


@pytest.mark.parametrize("state", [SOFT, HARD, MISSING])
def test_a_dear_price_that_is_not_fresh_stops_nobody(state: InputState) -> None:
    usd = 0.20 if state is SOFT else math.nan
    hour = Hour()
    hour.minute(price(0.04), price(0.04, "hosted"))
    assert stops(hour.minutes(600, price(usd, "", state), price(usd, "hosted", state))) == [False, False]
    assert stops(hour.minutes(60, price(0.20), price(0.20, "hosted"))) == [True, True]  # the same price, fresh


def test_the_worst_state_of_all_tariffs_counts() -> None:
    cycle = Hour().minute(price(0.04), price(0.04, "hosted", SOFT))
    assert (cycle.valuation.power_state, cycle.decision.status) == (SOFT, Status.DEGRADED)


SAID = st.tuples(st.sampled_from([FRESH, SOFT, HARD, MISSING]), st.floats(-0.1, 1.0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=40))
def test_nobody_is_stopped_in_a_minute_whose_price_is_not_fresh(
    said: list[tuple[tuple[InputState, float], ...]],
) -> None:
    hour, before = Hour(), [False, False]
    for minute in said:
        power = [
            price(usd if state in (FRESH, SOFT) else math.nan, tariff, state)
            for (state, usd), tariff in zip(minute, ("", "hosted"), strict=True)
        ]
        now = stops(hour.minute(*power))
        if any(each.state is not FRESH for each in power):
            assert not any(new and not old for new, old in zip(now, before, strict=True))
        before = now
