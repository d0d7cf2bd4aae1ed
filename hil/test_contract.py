"""What every collector promises, asked of emulated and recorded devices, or of a real one with `--device kind@host`.

What only a known truth can decide is asked of the emulated devices alone; everything else holds for hardware too.
"""

from __future__ import annotations

import asyncio

import pytest

from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, PduReading, RowKind
from hil.conftest import Device
from hil.faults import Misbehaviour


async def look(device: Device, times: int = 1) -> list[MinerReading | PduReading]:
    opened = device.open()
    try:
        return [await opened.read() for _ in range(times)]
    finally:
        await opened.aclose()


async def look_at_miner(device: Device) -> MinerReading:
    [reading] = await look(device)
    assert isinstance(reading, MinerReading)
    return reading


async def look_at_pdu(device: Device) -> PduReading:
    [reading] = await look(device)
    assert isinstance(reading, PduReading)
    return reading


# --- machines


async def test_a_machine_says_who_it_is_and_stays_it(miner: Device) -> None:
    first, second = await look(miner, times=2)
    assert isinstance(first, MinerReading)
    assert isinstance(second, MinerReading)
    assert first.make
    assert (first.make, first.model, first.mac, first.serial) == (
        second.make,
        second.model,
        second.mac or first.mac,
        second.serial or first.serial,
    )
    assert first.mac is None or len(first.mac) == 12


async def test_every_number_of_a_machine_is_plausible_or_missing(miner: Device) -> None:
    reading = await look_at_miner(miner)
    assert reading.hashrate_hs is None or 0 <= reading.hashrate_hs < 2e15
    least_hs = 1e11 if reading.algorithm == "sha256" else 0.0
    assert reading.hashrate_expected_hs is None or least_hs < reading.hashrate_expected_hs < 2e15
    assert reading.reported_power_w is None or 0 < reading.reported_power_w < 20_000
    assert reading.uptime_s is None or reading.uptime_s >= 0
    assert all(-40 <= temperature.celsius <= 150 for temperature in reading.temperatures)
    assert all(rpm is None or 0 <= rpm < 30_000 for rpm in reading.fans_rpm)
    if reading.hashrate_window_s is not None and reading.uptime_s is not None:
        assert reading.hashrate_window_s <= max(reading.uptime_s, 1.0)


async def test_a_machine_that_hashes_is_not_called_idle(miner: Device) -> None:
    reading = await look_at_miner(miner)
    now_hs = reading.hashrate_hs if reading.hashrate_now_hs is None else reading.hashrate_now_hs
    if now_hs:  # an average outlasts what it is the average of
        assert reading.state not in (OperatingState.IDLE, OperatingState.SLEEPING)


async def test_a_reading_is_the_truth_of_its_machine(known_miner: Device) -> None:
    reading, truth = await look_at_miner(known_miner), known_miner.emulation.truth()
    assert reading.hashrate_hs == pytest.approx(truth["hashrate_hs"][0], rel=0.05)
    assert reading.algorithm == "sha256"
    assert reading.uptime_s == pytest.approx(truth["uptime_s"][0], abs=2.0)
    assert max(t.celsius for t in reading.temperatures) == pytest.approx(truth["board_c"][0], abs=25)
    if truth["model"][0].startswith("WhatsMiner"):
        assert reading.reported_power_w == pytest.approx(truth["reported_w"][0], abs=1.0)
    else:
        assert reading.reported_power_w is None  # a stock Antminer does not say, and nobody may guess
    assert reading.pool_host == "pool.example"


async def test_a_machine_is_asked_one_question_at_a_time(known_miner: Device) -> None:
    await look(known_miner, times=3)
    at_once = 2 if known_miner.kind == "pyasic" else 1  # the library identifies with two questions
    assert known_miner.emulation.traffic()["peak_per_machine"] <= at_once


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Misbehaviour.REFUSE, {FaultKind.REFUSED}),
        (Misbehaviour.MALFORMED, {FaultKind.MALFORMED, FaultKind.UNSUPPORTED}),
        (Misbehaviour.OVERSIZE, {FaultKind.OVERSIZE, FaultKind.UNSUPPORTED}),
    ],
)
async def test_what_goes_wrong_on_the_wire_is_named(
    known_miner: Device, kind: Misbehaviour, expected: set[FaultKind]
) -> None:
    await known_miner.emulation.fault(known_miner.emulation.ids, kind)
    with pytest.raises(PollError) as failure:
        await asyncio.wait_for(look(known_miner), 60.0)
    assert failure.value.kind in expected


# --- PDUs


async def test_a_pdu_says_what_it_is_and_what_it_draws(pdu: Device) -> None:
    reading = await look_at_pdu(pdu)
    assert reading.profile
    assert reading.power_w is None or 0 <= reading.power_w < 100_000
    ids = [(row.kind, row.id) for row in reading.rows]
    assert len(ids) == len(set(ids))


async def test_outlets_add_up_to_the_unit_within_its_resolution(pdu: Device) -> None:
    reading = await look_at_pdu(pdu)
    watts = [row.power_w for row in reading.rows if row.kind is RowKind.OUTLET and row.power_w is not None]
    if reading.power_w is None or not watts:
        pytest.skip("this PDU does not meter both")
    assert sum(watts) == pytest.approx(reading.power_w, rel=0.05, abs=50.0 + len(watts))


async def test_energy_never_runs_backwards(pdu: Device) -> None:
    first, second = await look(pdu, times=2)
    assert isinstance(first, PduReading)
    assert isinstance(second, PduReading)
    if first.energy_j is not None and second.energy_j is not None:
        assert second.energy_j >= first.energy_j


async def test_outlets_show_the_watts_and_states_of_their_machines(known_pdu: Device) -> None:
    farm = known_pdu.emulation
    await farm.outlet([farm.ids[2]], on=False)
    await farm.step(1.0)
    reading, truth = await look_at_pdu(known_pdu), farm.truth()
    outlets = {row.id: row for row in reading.rows if row.kind is RowKind.OUTLET}
    for row, outlet in enumerate(truth["outlet"]):
        assert outlets[outlet].power_w == pytest.approx(truth["wall_w"][row], abs=0.5)
        assert outlets[outlet].is_on is truth["outlet_on"][row]
        assert outlets[outlet].energy_j == pytest.approx(truth["energy_j"][row], abs=3.6e5)
    assert reading.power_w == pytest.approx(sum(truth["wall_w"]), abs=5.0)
