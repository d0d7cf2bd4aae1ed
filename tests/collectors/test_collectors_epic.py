"""ePIC PowerPlay: what a farm would see of machines that the recorded one is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from page_makes import answers_of, reading_of
from scripted_pages import page, scripted_pages
from strange_json import strange

from collectors.miners.epic import MAKE
from collectors.miners.line import Line
from collectors.miners.make import RPC_PORT, Via, When
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, OperatingState, Sensor

RECORDED = answers_of("epic-powerplay-1.5")


def summary(**changed: Any) -> dict[str, Any]:
    """The recorded answers with some sections of the summary changed or, with None, null."""
    return {**RECORDED, "summary": {**RECORDED["summary"], **changed}}


def session(**changed: Any) -> dict[str, Any]:
    return {**RECORDED["summary"]["Session"], **changed}


IDLING = {"HBs": None, "Status": {"Operating State": "Idling"}}


def test_a_stopped_machine_sleeps_and_keeps_no_hashrate() -> None:
    reading = reading_of(MAKE, summary(**IDLING))
    assert reading.state is OperatingState.SLEEPING
    assert (reading.hashrate_hs, reading.hashrate_now_hs, reading.hashrate_window_s) == (0.0, 0.0, None)
    assert reading.hashrate_expected_hs == 143e12  # what it would do by default: no board says more now


def test_idling_without_a_pool_is_not_an_order() -> None:
    reading = reading_of(MAKE, summary(**IDLING, Stratum={"IsPoolConnected": False, "Current Pool": None}))
    assert reading.state is OperatingState.IDLE
    assert (reading.pool_host, reading.pool_alive) == (None, False)


@pytest.mark.parametrize("word", ["Starting", "Auto Tuning", "Initializing", "RampingUp"])
def test_words_between_idling_and_mining_are_a_start(word: str) -> None:
    assert reading_of(MAKE, summary(Status={"Operating State": word})).state is OperatingState.WARMING_UP
    assert reading_of(MAKE, summary(HBs=None, Status={"Operating State": word})).state is OperatingState.WARMING_UP


def test_a_machine_that_does_not_hash_and_says_why_is_faulted() -> None:
    reading = reading_of(MAKE, summary(HBs=[], Status={"Operating State": "Error", "Last Error": "PSU fault\n"}))
    assert reading.state is OperatingState.FAULTED
    assert [(error.code, error.text) for error in reading.errors] == [("last_error", "PSU fault")]


def test_a_young_average_is_better_than_a_window_that_nobody_states() -> None:
    reading = reading_of(MAKE, summary(Session=session(**{"Uptime": 1200, "Average MHs": 91.5e6})))
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (91.5e12, 1200.0)
    assert reading.hashrate_key == "Session.Average MHs"
    assert reading.hashrate_now_hs == pytest.approx(99.365848e12)


def test_watts_of_a_supply_that_measures_are_at_the_socket() -> None:
    supply = {"Input Power": 3210.5, "Input Voltage": 236.1, "Input Current": 13.6, "Output Power": 3001.0}
    reading = reading_of(MAKE, summary(**{"Power Supply Stats": supply}))
    assert (reading.reported_power_w, reading.power_side, reading.dc_power_w) == (3210.5, "ac", 3001.0)


@pytest.mark.parametrize("watts", [0, -1, None, "n/a"])
def test_no_watts_are_no_watts(watts: object) -> None:
    reading = reading_of(MAKE, summary(**{"Power Supply Stats": {"Input Power": watts}}))
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "make", "model", "algorithm"),
    [
        ("AntMiner S19J PRO+", "Antminer", "S19J PRO+", "sha256"),
        ("Antminer T21", "Antminer", "T21", "sha256"),
        ("BlockMiner 720i", "ePIC", "BlockMiner 720i", "sha256"),
        ("AntMiner L7", "Antminer", "L7", None),
        (None, "ePIC", None, None),
    ],
)
def test_the_maker_is_that_of_the_hardware(name: str | None, make: str, model: str | None, algorithm: str) -> None:
    reading = reading_of(MAKE, {**RECORDED, "capabilities": {"Model": name}})
    assert (reading.make, reading.model, reading.algorithm) == (make, model, algorithm)


def test_a_machine_that_says_scrypt_is_not_sha256() -> None:
    assert reading_of(MAKE, summary(Mining={"Algorithm": "Scrypt", "Coin": "LTC"})).algorithm == "scrypt"


def test_a_fixed_address_has_its_mac_elsewhere() -> None:
    network = {"static": {"mac_address": "02-00-00-00-00-01"}}
    assert reading_of(MAKE, {**RECORDED, "network": network}).mac == "020000000001"


def test_chips_are_told_where_they_are_measured() -> None:
    chips = [{"Index": 1, "Data": [70.5, 81.25]}, {"Index": 2, "Data": [0, None, 79.0]}, {"Index": 0, "Data": []}]
    reading = reading_of(MAKE, {**RECORDED, "temps_chip": chips})
    told = {(t.index, t.celsius) for t in reading.temperatures if t.sensor is Sensor.CHIP}
    assert told == {(1, 81.25), (2, 79.0)}


def test_the_summary_alone_is_enough() -> None:
    reading = reading_of(MAKE, {"summary": RECORDED["summary"]})
    assert reading.hashrate_hs == pytest.approx(99.365848e12)
    assert {(t.index, t.celsius) for t in reading.temperatures} == {(1, 67.0), (2, 64.312)}
    assert (reading.mac, reading.serial, reading.boards) == (None, None, ())


def test_a_dead_fan_says_zero_and_a_place_between_fans_nothing() -> None:
    rows = {"Fans Speed 1": 0, "Fans Speed 2": None, "Fans Speed 3": 5942, "Fans Speed 4": None}
    assert reading_of(MAKE, summary(**{"Fans Rpm": rows})).fans_rpm == (0.0, None, 5942.0)


@pytest.mark.parametrize("answer", [{}, [], None, 7, "text", {"Session": [], "Status": None}, {"error": "busy"}])
def test_what_is_no_summary_is_no_reading(answer: object) -> None:
    with pytest.raises(PollError) as failed:
        reading_of(MAKE, {**RECORDED, "summary": answer})
    assert failed.value.kind is FaultKind.MALFORMED


@given(strange(RECORDED))
def test_whatever_it_sends_there_is_a_reading_or_a_poll_error(answers: dict[str, Any]) -> None:
    try:
        reading = reading_of(MAKE, answers, is_deep=True)
    except PollError:
        return
    assert reading.hashrate_hs is None or reading.hashrate_hs >= 0.0


def test_accounts_and_passwords_are_dropped_at_once() -> None:
    told = repr(reading_of(MAKE, summary(StratumConfigs=[{"password": "hunter2"}]), is_deep=True))
    assert "hunter2" not in told
    assert "randomworker" not in told


def test_it_is_only_ever_read() -> None:
    assert all(ask.via is Via.HTTP and ask.port == RPC_PORT and ask.body is None for ask in MAKE.asks)
    assert all(ask.digest is not None for ask in MAKE.asks if ask.when in (When.ONCE, When.SLOW))


async def test_over_a_socket_the_first_look_asks_all_and_the_second_only_the_summary() -> None:
    pages = {f"/{name}": page(json.dumps(answer).encode()) for name, answer in RECORDED.items()}
    async with scripted_pages(pages) as site:
        miner = NativeMiner(Line(site.host, {RPC_PORT: site.port}), 30.0, key="epic")
        first, second = await miner.read(), await miner.read()
    assert [asked.target for asked in site.asked] == [
        "/summary", "/capabilities", "/network", "/temps", "/temps/chip", "/capabilities", "/summary"
    ]  # fmt: skip
    assert (first.mac, first.model, len(first.temperatures)) == (second.mac, second.model, len(second.temperatures))
    assert second.mac == "e6d441516428"
