"""Wall power from end to end: the virtual farm on real sockets and real SNMP, looked at on a clock that a test turns.

Only time is not real: a round is half a minute of physics and of the agent's clock, and takes as long as answers do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest

from agent.config import load
from agent.loop import Loop
from agent.plan import assignments_of, policy_of, site_of
from agent.poller import look, outcome_of
from agent.table import Table
from agent.vitals import Vitals
from agent.wire import Job, Outcome
from agent.wiring import _nameplates
from collectors.catalogue import open_device
from collectors.pdus.device import FULL_READ_EVERY
from exporters.prometheus import render
from fleet.cycle import Cycle
from fleet.readings import CapableSource, PowerSource
from fleet.snapshot import MeterDoubt, PduDoubt
from hil.farm import Farm, FarmSpec
from hil.faults import Misbehaviour, PduMisbehaviour
from hil.loopback import free_block

START_S = 1_800_000_000.0
ROUND_S = 30.0
MIX = {"Antminer S19j Pro": 0.5, "WhatsMiner M50": 0.5}
"""The first reports no watts, the second its own idea of them."""

PATIENT_S = 30.0
IMPATIENT_S = 0.2
"""For PDUs of which is known that they say nothing."""


class Watch:
    """The main process over one farm, without its loop: `round()` looks at everything once and thinks."""

    def __init__(self, farm: Farm, directory: Path) -> None:
        config = load(farm.write_site(directory, interval_s=ROUND_S, usd_per_kwh=0.05))
        self.site = site_of(config, _nameplates())
        self.farm, self.now_s = farm, START_S
        self.jobs = [job for assignment in assignments_of(config, self.site) for job in assignment.jobs]
        self._open = {
            job.key: open_device(job.kind, job.host, job.port, job.deadline_s, job.options, lambda: self.now_s)
            for job in self.jobs
        }
        self.table = self._table()
        self.loop = Loop(
            self.table, policy_of(config), None, {}, Vitals(), booted_s=START_S - 3600.0, settle_s=2 * ROUND_S
        )

    def _table(self) -> Table:
        return Table(self.site, [job.key for job in self.jobs if job.kind == "snmp"], ROUND_S)

    def give_pdus(self, deadline_s: float) -> None:
        self.jobs = [replace(job, deadline_s=deadline_s) if job.kind == "snmp" else job for job in self.jobs]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for device in self._open.values():
            await device.aclose()

    async def rounds(self, count: int = 1) -> Cycle:
        """`count` rounds; the cycle of the last."""
        for _ in range(count):
            await self.farm.step(ROUND_S)
            self.now_s += ROUND_S
            outcomes = await asyncio.gather(*map(self._look, self.jobs))
            self.table.take(outcome for outcome in outcomes if not outcome.quotes)
            self.loop.take_quotes(outcomes)
            cycle = self.loop.tick(self.now_s, self.now_s)
        return cycle

    async def _look(self, job: Job) -> Outcome:
        return outcome_of(job, await look(job, self._open[job.key]), self.now_s, 0.1, 0.0)


@pytest.fixture
async def watch(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    spec = {"machines": 10, "pdus": 2, "mix": MIX, "tick_s": 3600.0} | request.param
    async with Farm(FarmSpec.in_block(free_block(), **spec)) as farm, Watch(farm, tmp_path / "site") as watch:
        yield watch


def farm_of(**spec: Any) -> Any:
    """Parametrises a test with one farm."""
    return pytest.mark.parametrize("watch", [spec], indirect=True)


def wall_w(watch: Watch) -> npt.NDArray[np.float64]:
    return np.array(watch.farm.truth()["wall_w"])


def page_of(cycle: Cycle) -> str:
    return b"".join(render(cycle, now_s=cycle.at_s)).decode()


def sources_on_page(cycle: Cycle) -> dict[str, str]:
    found = re.findall(r'hashwatt_machine_power_source\{machine="(\w+)",source="(\w+)"\} 1', page_of(cycle))
    return dict(found)


# Four of twelve machines hang on no outlet; firmware of one make says a tenth too little, of the other nothing.
@farm_of(machines=12, outlets=4, firmware_ratio={"WhatsMiner M50": 0.9})
async def test_every_machine_has_its_true_watts_and_keeps_them_when_the_meters_go(watch: Watch) -> None:
    cycle = await watch.rounds(12)
    snapshot, truth_w = cycle.snapshot, wall_w(watch)
    metered, unmetered = np.arange(8), np.arange(8, 12)
    assert snapshot.metered_resolution_w[metered].tolist() == pytest.approx([1.0] * 8)
    assert snapshot.power_source[metered].tolist() == [PowerSource.METERED] * 8
    assert (np.abs(snapshot.power_w - truth_w) <= snapshot.metered_resolution_w)[metered].all()
    # margins are made of them: 5 cents a kWh, and 5 % for what the site loses
    np.testing.assert_array_equal(cycle.economics.power_w[metered], snapshot.metered_power_w[metered])
    np.testing.assert_allclose(
        cycle.economics.energy_cost_usd_h[metered], truth_w[metered] / 1000 * 1.05 * 0.05, rtol=1e-3
    )
    # a meter of 1 W steps: one per cent of its class is all that the watts are off by
    np.testing.assert_allclose(snapshot.power_sigma_ratio[metered], 0.01, rtol=0.01)
    # who has no meter is told by others of its model, by its own watts or by its hashrate
    assert snapshot.power_source[unmetered].tolist() == [PowerSource.CALIBRATED] * 4
    np.testing.assert_allclose(snapshot.power_w[unmetered], truth_w[unmetered], rtol=0.06)
    says_watts = ~np.isnan(snapshot.reported_power_w)
    assert says_watts.any() and not says_watts.all()  # noqa: PT018
    np.testing.assert_allclose(snapshot.calibration_ratio[says_watts], 1 / 0.9, rtol=0.002)
    assert set(sources_on_page(cycle).values()) == {"metered", "calibrated"}

    watch.farm.fault_pdus(PduMisbehaviour.UNPLUGGED)
    watch.give_pdus(IMPATIENT_S)
    blind = await watch.rounds(3)
    snapshot, truth_w = blind.snapshot, wall_w(watch)
    assert snapshot.pdus.up.tolist() == [0.0, 0.0]
    assert np.isnan(snapshot.metered_power_w).all()
    assert sources_on_page(blind) == dict.fromkeys(snapshot.ids, "calibrated")
    np.testing.assert_allclose(snapshot.power_w[metered], truth_w[metered], rtol=0.03)
    np.testing.assert_array_equal(blind.economics.power_w, snapshot.power_w)
    assert (snapshot.power_sigma_ratio[metered] > 0.01).all()
    assert (snapshot.power_sigma_ratio[metered] < 0.03).all()
    assert not blind.decision.changed.any()

    watch.farm.fault_pdus(Misbehaviour.NONE)
    watch.give_pdus(PATIENT_S)
    back = await watch.rounds(1)
    assert set(sources_on_page(back).values()) == {"metered", "calibrated"}
    assert (np.abs(back.snapshot.power_w - wall_w(watch))[metered] <= 1.0).all()


@farm_of(inventory_outlets=False, outlet_names="machine")
async def test_outlets_that_are_named_need_no_inventory(watch: Watch) -> None:
    cycle = await watch.rounds(1)
    assert (np.abs(cycle.snapshot.metered_power_w - wall_w(watch)) <= 1.0).all()
    assert 'outlet="1",name="m00001",machine="m00001",by="name"' in page_of(cycle)


@farm_of(inventory_outlets=False, outlet_names="mac")
async def test_outlets_may_be_named_by_macs(watch: Watch) -> None:
    assert (np.abs((await watch.rounds(1)).snapshot.metered_power_w - wall_w(watch)) <= 1.0).all()


@farm_of(machines_per_outlet=2, machines=8)
async def test_two_machines_on_one_meter_draw_what_it_says_together(watch: Watch) -> None:
    cycle = await watch.rounds(1)
    assert set(sources_on_page(cycle).values()) == {"shared"}
    pairs = cycle.snapshot.power_w.reshape(4, 2).sum(axis=1)
    assert (np.abs(pairs - wall_w(watch).reshape(4, 2).sum(axis=1)) <= 1.0).all()
    # nobody meters one of them: the split is as good as nameplates are
    np.testing.assert_allclose(cycle.snapshot.power_w, wall_w(watch), rtol=0.15)
    assert np.isnan(cycle.snapshot.metered_power_w).all()


@farm_of(outlet_names="default")
async def test_another_pdu_at_the_address_has_other_machines_on_its_outlets(watch: Watch) -> None:
    await watch.rounds(1)
    watch.farm.fault_pdus(PduMisbehaviour.SWAPPED, watch.farm.spec.pdu_targets[:1])
    cycle = await watch.rounds(FULL_READ_EVERY)
    assert cycle.snapshot.meter_doubt.tolist() == [MeterDoubt.REPLACED] * 5 + [0] * 5
    assert ((cycle.snapshot.pdus.doubt & PduDoubt.REPLACED) > 0).tolist() == [True, False]
    assert np.isnan(cycle.snapshot.metered_power_w).tolist() == [True] * 5 + [False] * 5
    # the operator starts the agent again: it is his PDU, and its outlets are what he wrote
    table = watch._table()
    table.recall(watch.table.site.ids, watch.table.remembered(), (), None, watch.table.remembered_pdus())
    watch.table = watch.loop._table = table
    assert (np.abs((await watch.rounds(1)).snapshot.metered_power_w - wall_w(watch)) <= 1.0).all()


@farm_of(outlet_names="machine")
async def test_another_pdu_whose_outlets_are_named_is_believed(watch: Watch) -> None:
    await watch.rounds(1)
    watch.farm.fault_pdus(PduMisbehaviour.SWAPPED)
    assert (np.abs((await watch.rounds(FULL_READ_EVERY)).snapshot.metered_power_w - wall_w(watch)) <= 1.0).all()


@farm_of(outlet_names="default", off=Misbehaviour.REFUSE)
async def test_an_outlet_in_the_wrong_line_hides_no_machine_and_stops_none(watch: Watch) -> None:
    # the operator has mixed up two lines, and one of the two machines is switched off
    one, other = watch.site.machines[:2]
    swapped = (replace(one, outlet=other.outlet), replace(other, outlet=one.outlet))
    watch.site = replace(watch.site, machines=(*swapped, *watch.site.machines[2:]))
    watch.table = watch.loop._table = watch._table()
    watch.table.observed.steady_power_w[:] = wall_w(watch)
    await watch.farm.outlet([other.id], on=False)
    cycle = await watch.rounds(4)
    assert cycle.snapshot.meter_doubt[0] == MeterDoubt.HASH_WITHOUT_POWER
    assert bool(cycle.snapshot.is_running[0])
    assert cycle.snapshot.metered_power_w[0] == 0.0
    assert cycle.snapshot.power_source[0] != PowerSource.METERED
    assert cycle.economics.is_capable[0] == np.False_
    # the one that is off seems to draw what the other does
    assert cycle.snapshot.power_if_running_source[1] == CapableSource.STEADY
    later = await watch.rounds(20)
    assert later.snapshot.meter_doubt[1] & MeterDoubt.POWER_WITHOUT_HASH
    assert not later.decision.changed.any()
    assert 'hashwatt_machine_meter_doubt{machine="m00001",reason="hash_without_power"} 1.0' in page_of(later)
