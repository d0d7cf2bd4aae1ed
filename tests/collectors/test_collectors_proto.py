"""Proto Rig: states, pools and supplies that the simulator does not show."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from page_makes import answers_of, reading_of
from strange_json import strange

from collectors.miners.make import Via, When
from collectors.miners.proto import MAKE
from fleet.ports import PollError
from fleet.readings import FaultKind, OperatingState, Sensor

RECORDED = answers_of("proto-1.8-simulator")

# Built by hand after the documented answers of the pages that were not recorded.
MORE = {
    "network": {"network-info": {"hostname": "rig-7", "mac": "02:00:00:00:77:01", "ip": "192.0.2.7", "dhcp": True}},
    "errors": [
        {"source": "hashboard", "slot": 2, "error_code": 1024, "message": "Hashboard 2 is too hot", "timestamp": 1},
        {"source": "fan", "slot": 3, "error_code": "FanSlow", "message": "Fan 3 stands still"},
    ],
    "cooling": {"cooling-status": {"fan_mode": "Auto", "fans": [{"slot": 2, "rpm": 4100}, {"slot": 1, "rpm": 4200}]}},
    "hardware": {
        "hardware-info": {
            "hashboards-info": [{"slot": 1, "hb_sn": "HB-PROTO-SIM-b6bdaf86-0", "mining_asic_count": 120}, {"slot": 2}]
        }
    },
}


def mining(**changed: Any) -> dict[str, Any]:
    return {**RECORDED, "mining": {"mining-status": {**RECORDED["mining"]["mining-status"], **changed}}}


def test_the_pages_beside_add_what_they_know() -> None:
    reading = reading_of(MAKE, {**RECORDED, **MORE}, is_deep=True)
    assert reading.mac == "020000007701"
    assert [(e.code, e.text) for e in reading.errors] == [
        ("1024", "Hashboard 2 is too hot"), ("FanSlow", "Fan 3 stands still")
    ]  # fmt: skip
    assert reading.fans_rpm == (4200.0, 4100.0)
    assert [board.chips for board in reading.boards] == [120, None, None, None]


def test_a_mac_under_its_other_name() -> None:
    network = {"network-info": {"mac_address": "02:00:00:00:77:02"}}
    assert reading_of(MAKE, {**RECORDED, "network": network}).mac == "020000007702"


@pytest.mark.parametrize(
    ("word", "rate_ghs", "state"),
    [
        ("Mining", 141000, OperatingState.MINING),
        ("DegradedMining", 70000, OperatingState.MINING),
        ("PoweringOn", 0, OperatingState.WARMING_UP),
        ("PoweringOn", 2000, OperatingState.WARMING_UP),
        ("Stopped", 0, OperatingState.SLEEPING),
        ("Curtailed", 0, OperatingState.SLEEPING),
        ("PoweringOff", 0, OperatingState.SLEEPING),
        ("NoPools", 0, OperatingState.IDLE),
        ("Error", 0, OperatingState.FAULTED),
        ("Unheard", 0, OperatingState.IDLE),
        (None, None, OperatingState.UNKNOWN),
    ],
)
def test_what_its_words_mean(word: str | None, rate_ghs: float | None, state: OperatingState) -> None:
    said = mining(status=word, hashrate_ghs=rate_ghs, average_hashrate_ghs=rate_ghs, mining_uptime_s=4000)
    assert reading_of(MAKE, said).state is state


def test_an_average_of_days_is_history() -> None:
    said = mining(mining_uptime_s=400_000, average_hashrate_ghs=120_000, hashrate_ghs=90_000)
    reading = reading_of(MAKE, said)
    assert (reading.hashrate_hs, reading.hashrate_window_s, reading.hashrate_key) == (90e12, None, "hashrate_ghs")
    young = reading_of(MAKE, mining(mining_uptime_s=1700, average_hashrate_ghs=120_000))
    assert (young.hashrate_hs, young.hashrate_window_s) == (120e12, 1700.0)


def test_without_its_supplies_the_watts_are_a_model() -> None:
    reading = reading_of(MAKE, {name: said for name, said in RECORDED.items() if name != "telemetry_full"})
    assert (reading.reported_power_w, reading.power_side) == (3447.008523267969, "model")
    assert (reading.power_key, reading.dc_power_w) == ("power_usage_watts", None)
    assert "supplies_missing" in reading.warnings


def test_a_supply_that_does_not_say_makes_the_sum_unknown() -> None:
    telemetry = copy.deepcopy(RECORDED["telemetry_full"])
    telemetry["psus"][1]["power"]["input"] = None
    reading = reading_of(MAKE, {**RECORDED, "telemetry_full": telemetry})
    assert (reading.power_side, reading.dc_power_w) == ("model", 3264.2043251470095)


def test_a_supply_without_load_counts_as_nothing() -> None:
    telemetry = copy.deepcopy(RECORDED["telemetry_full"])
    telemetry["psus"][1]["power"] = {"input": 0, "output": 0}
    reading = reading_of(MAKE, {**RECORDED, "telemetry_full": telemetry})
    assert (reading.reported_power_w, reading.power_side) == (1774.4900359549026, "ac")


def pool(url: str, status: str, priority: int, **more: Any) -> dict[str, Any]:
    return {"url": f"stratum+tcp://{url}:3333", "status": status, "priority": priority, "user": "acct", **more}


@pytest.mark.parametrize(
    ("pools", "host", "is_alive"),
    [
        ([pool("a.example", "Dead", 0), pool("b.example", "Active", 1)], "b.example", True),
        ([pool("b.example", "Active", 1), pool("a.example", "Active", 0)], "a.example", True),
        ([pool("a.example", "Active", 0, enabled=False), pool("b.example", "Active", 1)], "b.example", True),
        ([pool("a.example", "Dead", 0), pool("b.example", "Dead", 1)], None, False),
        ([pool("a.example", "Idle", 0)], None, None),
        ([], None, None),
    ],
)
def test_which_pool_gets_the_work(pools: list[Any], host: str | None, is_alive: bool | None) -> None:
    reading = reading_of(MAKE, {**RECORDED, "pools": {"pools": pools}})
    assert (reading.pool_host, reading.pool_alive) == (host, is_alive)


def test_difficulty_is_counted_over_all_pools() -> None:
    pools = [
        pool("a.example", "Active", 0, accepted=10, difficulty_accepted_shares=1e6, difficulty_rejected_shares=5e3),
        pool("b.example", "Idle", 1, accepted=2, difficulty_accepted_shares=2e5),
    ]
    reading = reading_of(MAKE, {**RECORDED, "pools": {"pools": pools}})
    assert (reading.shares_accepted, reading.shares_rejected) == (12.0, None)
    assert (reading.difficulty_accepted, reading.difficulty_rejected) == (1.2e6, None)  # the second does not say


def test_boards_in_distant_slots_have_columns() -> None:
    telemetry = copy.deepcopy(RECORDED["telemetry_full"])
    for row, index in zip(telemetry["hashboards"], (8, 5, 2, 0), strict=True):
        row["index"] = index
    reading = reading_of(MAKE, {**RECORDED, "telemetry_full": telemetry})
    told = {t.index: t.celsius for t in reading.temperatures if t.sensor is Sensor.BOARD}
    assert told == {0: 47.795184450368396, 1: 46.45892698177783, 2: 45.58085180490902, 3: 48.43489937831655}


@pytest.mark.parametrize("answer", [{}, [], None, 7, "text", {"mining-status": []}, {"mining-status": {}}])
def test_what_is_no_status_is_no_reading(answer: object) -> None:
    with pytest.raises(PollError) as failed:
        reading_of(MAKE, {**RECORDED, "mining": answer})
    assert failed.value.kind is FaultKind.MALFORMED


@given(strange({**RECORDED, **MORE}))
def test_whatever_it_sends_there_is_a_reading_or_a_poll_error(answers: dict[str, Any]) -> None:
    try:
        reading = reading_of(MAKE, answers, is_deep=True)
    except PollError:
        return
    assert reading.hashrate_hs is None or reading.hashrate_hs >= 0.0


def test_accounts_are_dropped_at_once() -> None:
    assert "worker-a" not in repr(reading_of(MAKE, RECORDED, is_deep=True))


def test_it_is_only_ever_read() -> None:
    assert all(ask.via is Via.HTTP and ask.body is None and not ask.needs_login for ask in MAKE.asks)
    assert all(ask.digest is not None for ask in MAKE.asks if ask.when in (When.ONCE, When.SLOW))
