"""A farm of two machines, one of which is near its breakeven, for stories of feeds that fail or lie.

It thinks whole decisions at times that are moved by hand, of the market and the prices of power that it is given.
"""

from __future__ import annotations

from agent.vitals import Vitals
from exporters.prometheus import render
from fleet.curtailment import Action, Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import InputState, Market
from fleet.readings import OperatingState
from fleet.signals import Signals
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import STATE_CODES, MachineInfo, Observations, PduColumns, assemble
from fleet.tariff import PowerPrice

START = 1_770_000_000.0
FRESH = InputState.FRESH

# 100 TH/s at 2,000 W earn 3.1 USD a day; 2.1 kW cost 2.5 at 0.05 USD/kWh and 3.0 at 0.0595
MACHINES = (Machine("safe"), Machine("close", tariff="dear"))
POWER = (PowerPrice("", 0.05, "flat", FRESH, START), PowerPrice("dear", 0.0595, "flat", FRESH, START))
EAGER = Policy(stop_ramp_ratio=1.0, start_ramp_ratio=1.0, quorum_ratio=0.5, min_up_s=0.0, stop_start_cost_usd=0.001)


class Farm:
    """Two machines that hash, a market, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.site = Site("north", MACHINES, terms=EconomicTerms(certainty_sigmas=0.0))  # the smallest loss counts
        self.now_s, self.memory, self.market, self.vitals = START, Memory(), Market(), Vitals()

    def tick(self, power: tuple[PowerPrice, ...] = POWER) -> tuple[Cycle, str]:
        """A whole decision, and the page that tells of it."""
        observed = Observations.empty(len(MACHINES))
        observed.is_sha256[:] = True
        observed.up[:] = 1.0
        observed.seen_s[:] = self.now_s
        observed.hashrate_hs[:] = 1e14
        observed.reported_power_w[:] = 2000.0
        observed.state[:] = STATE_CODES[OperatingState.MINING]
        snapshot = assemble(self.site, observed, (MachineInfo(),) * len(MACHINES), PduColumns(), self.now_s, 60.0)
        signals = Signals(START - 9999.0, 60.0)
        cycle = think(self.site, snapshot, self.market, signals, EAGER, self.memory, self.now_s, power)
        self.memory = cycle.memory
        until_s = self.now_s + 120.0
        blocks = render(cycle, now_s=self.now_s, lease_valid_until_s=until_s, extra=self.vitals.families())
        return cycle, b"".join(blocks).decode()


def stops(cycle: Cycle) -> list[bool]:
    return (cycle.decision.action == Action.STOP).tolist()
