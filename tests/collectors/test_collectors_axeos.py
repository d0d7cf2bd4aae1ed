"""AxeOS and NerdAxe: newer firmware than the recorded one, and what its single page must not be taken for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from page_makes import answers_of, reading_of
from strange_json import strange

from collectors.miners.axeos import MAKE
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, Sensor

RECORDED = answers_of("bitaxe-axeos-2.4")["system_info"]

# Built by hand after the keys that AxeOS 2.12 documents; every number is ours.
GAMMA = {
    "ASICModel": "BM1370", "boardVersion": "601", "smallCoreCount": 2040, "frequency": 525, "actualFrequency": 524.5,
    "version": "v2.12.2", "axeOSVersion": "v2.12.2", "macAddr": "02:00:00:00:06:01", "hostname": "desk-gamma",
    "power": 17.25, "maxPower": 40, "nominalVoltage": 5, "voltage": 5080.5, "current": 3395.3, "temp": 60.5,
    "temp2": -1, "vrTemp": 63, "coreVoltage": 1150, "coreVoltageActual": 1142, "hashRate": 1101.5,
    "hashRate_1m": 1088.25, "hashRate_10m": 1071.75, "hashRate_1h": 1070.5, "expectedHashrate": 1071,
    "errorPercentage": 0.2, "fanrpm": 4805, "fan2rpm": 0, "fanspeed": 62.5, "uptimeSeconds": 86400,
    "sharesAccepted": 5021, "sharesRejected": 3, "sharesRejectedReasons": [{"message": "Stale", "count": 3}],
    "poolDifficulty": 1000, "stratumURL": "pool.example.net", "stratumPort": 21496, "stratumUser": "bc1qsecret.desk",
    "fallbackStratumURL": "solo.example.org", "fallbackStratumPort": 3333, "fallbackStratumUser": "bc1qother.desk",
    "isUsingFallbackStratum": 0, "ssid": "HomeNet", "wifiStatus": "Connected!", "overheat_mode": 0,
    "miningPaused": False, "power_fault": "",
}  # fmt: skip

# Likewise after the keys of NerdAxe firmware 1.1: two fans, four chips, averages of an hour and of a day.
NERD = {
    "ASICModel": "BM1370", "deviceModel": "NerdQAxe++", "asicCount": 4, "smallCoreCount": 2040, "frequency": 600,
    "version": "v1.1.0", "macAddr": "02:00:00:00:0A:04", "hostname": "shelf-nerd", "power": 78.5, "maxPower": 100,
    "voltage": 12150, "current": 6461, "temp": 58.5, "vrTemp": 55.5, "vrTempInt": 59.25, "asicTemps": [0, 0, 0, 0],
    "coreVoltageActual": 1148, "hashRateTimestamp": 900000, "hashRate": 4921.5, "hashRate_1m": 4890.25,
    "hashRate_10m": 4875.5, "hashRate_1h": 1218.9, "hashRate_1d": 50.8, "fanrpm": 1805, "fanrpm2": 1560, "fanCount": 2,
    "fans": [{"label": "M2", "rpm": 1805}, {"label": "M1", "rpm": 1560}], "uptimeSeconds": 900, "shutdown": False,
    "stratumURL": "pool.example.net", "stratumPort": 3333, "stratumUser": "bc1qsecret.shelf",
    "fallbackStratumURL": "solo.example.org", "sharesAccepted": 212, "sharesRejected": 1,
    "stratum": {"usingFallback": False, "pools": [{"connected": True, "accepted": 212, "rejected": 1}]},
}  # fmt: skip


def read(info: Any, *, is_deep: bool = False) -> MinerReading:
    return reading_of(MAKE, {"system_info": info}, is_deep=is_deep)


def heat(reading: MinerReading) -> dict[Sensor, float]:
    return {t.sensor: t.celsius for t in reading.temperatures}


def test_a_newer_bitaxe_has_a_window_for_money() -> None:
    reading = read(GAMMA, is_deep=True)
    assert (reading.make, reading.model, reading.algorithm) == ("Bitaxe", "Gamma", "sha256")
    assert (reading.hashrate_hs, reading.hashrate_window_s, reading.hashrate_key) == (1071.75e9, 600.0, "hashRate_10m")
    assert reading.hashrate_now_hs == 1101.5e9
    assert reading.hashrate_expected_hs == 1071e9  # its own word, not cores x chips x clock
    assert (reading.reported_power_w, reading.power_side) == (17.25, "dc")
    assert heat(reading) == {Sensor.CHIP: 60.5, Sensor.REGULATOR: 63.0}  # temp2 -1 is no second chip
    assert reading.fans_rpm == (4805.0,)
    assert (reading.pool_host, reading.pool_alive) == ("pool.example.net", None)
    assert reading.state is OperatingState.MINING
    assert reading.errors == ()
    board = reading.boards[0]
    assert (board.frequency_hz, board.voltage_v, board.chips) == (524.5e6, pytest.approx(1.142), None)


def test_a_nerdaxe_says_more_and_averages_the_day_with_zeros() -> None:
    reading = read(NERD, is_deep=True)
    assert (reading.make, reading.model, reading.algorithm) == ("NerdAxe", "NerdQAxe++", "sha256")
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (4875.5e9, 600.0)
    assert reading.hashrate_expected_hs == 2040 * 4 * 600 * 1e6
    assert heat(reading) == {Sensor.CHIP: 58.5, Sensor.REGULATOR: 59.25}
    assert reading.fans_rpm == (1805.0, 1560.0)
    assert (reading.pool_host, reading.pool_alive) == ("pool.example.net", True)
    assert reading.boards[0].chips == 4


@pytest.mark.parametrize(
    ("uptime_s", "hashrate_hs", "window_s"),
    [(599, 1088.25e9, 60.0), (600, 1071.75e9, 600.0), (59, 1101.5e9, None)],
)
def test_no_window_is_longer_than_the_uptime(uptime_s: int, hashrate_hs: float, window_s: float | None) -> None:
    reading = read({**GAMMA, "uptimeSeconds": uptime_s})
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (hashrate_hs, window_s)


@pytest.mark.parametrize("paused", [{"miningPaused": True}, {"shutdown": True}, {"miningPaused": 1}])
def test_what_a_paused_machine_still_shows_is_history(paused: dict[str, Any]) -> None:
    reading = read({**GAMMA, **paused})
    assert reading.state is OperatingState.SLEEPING
    assert (reading.hashrate_hs, reading.hashrate_now_hs, reading.hashrate_key) == (None, None, None)
    assert "hashrate_history_only" in reading.warnings


def test_a_paused_machine_that_shows_zero_shows_zero() -> None:
    silent = {"hashRate": 0, "hashRate_1m": 0, "hashRate_10m": 0}
    reading = read({**GAMMA, **silent, "miningPaused": True})
    assert (reading.state, reading.hashrate_hs, reading.hashrate_now_hs) == (OperatingState.SLEEPING, 0.0, 0.0)


def test_overheat_and_a_fault_of_the_regulator_are_errors() -> None:
    hot = {**GAMMA, "overheat_mode": 1, "power_fault": "VIN undervoltage", "hashRate": 0, "hashRate_10m": 0}
    reading = read(hot)
    assert [error.code for error in reading.errors] == ["overheat_mode", "power_fault"]
    assert reading.errors[1].text == "VIN undervoltage"
    assert reading.state is OperatingState.FAULTED


def test_the_fallback_pool_is_the_pool_where_it_is_used() -> None:
    assert read({**GAMMA, "isUsingFallbackStratum": 1}).pool_host == "solo.example.org"
    nerd = read({**NERD, "stratum": {"usingFallback": True, "pools": [{"connected": False}]}})
    assert (nerd.pool_host, nerd.pool_alive) == ("solo.example.org", False)
    assert read({**GAMMA, "stratumURL": "stratum+tcp://u:p@Pool.Example.net:1"}).pool_host == "pool.example.net"


@pytest.mark.parametrize(
    ("told", "make", "model", "algorithm"),
    [
        ({"boardVersion": "204", "ASICModel": "BM1366"}, "Bitaxe", "Ultra", "sha256"),
        ({"boardVersion": "302", "ASICModel": "BM1366"}, "Bitaxe", "Hex", "sha256"),
        ({"boardVersion": "402", "ASICModel": "BM1368"}, "Bitaxe", "Supra", "sha256"),
        ({"boardVersion": "650", "ASICModel": "BM1370"}, "Bitaxe", "Gamma Duo", "sha256"),
        ({"boardVersion": "801", "ASICModel": "BM1370"}, "Bitaxe", "Gamma Turbo", "sha256"),
        ({"boardVersion": "2.2", "ASICModel": "BM1397"}, "Bitaxe", "Max", "sha256"),
        ({"boardVersion": "unknown", "ASICModel": "BM1366", "asicCount": 6}, "Bitaxe", None, "sha256"),
        ({"boardVersion": "", "ASICModel": "BM1489"}, "Bitaxe", None, None),
        ({"ASICModel": "", "deviceModel": "NerdAxeGamma"}, "NerdAxe", "NerdAxeGamma", "sha256"),
        ({"deviceModel": "NerdQAxe++"}, "NerdAxe", "NerdQAxe++", "sha256"),
        ({"deviceModel": "NerdMiner"}, "NerdAxe", "NerdMiner", None),
    ],
)
def test_the_model_is_the_board_and_the_chip_or_the_name_proves_the_algorithm(
    told: dict[str, Any], make: str, model: str | None, algorithm: str | None
) -> None:
    reading = read({"hashRate": 1, **told})
    assert (reading.make, reading.model, reading.algorithm) == (make, model, algorithm)


def test_it_is_not_asked_more_than_once_a_minute() -> None:
    assert MAKE.pace_s >= 60.0
    assert [ask.what for ask in MAKE.asks] == ["/api/system/info"]


def test_accounts_and_wifi_are_dropped_at_once() -> None:
    told = repr(read({**GAMMA, "wifiPass": "hunter2"}, is_deep=True)) + repr(read(NERD, is_deep=True))
    assert not any(secret in told for secret in ("hunter2", "bc1q", "HomeNet"))


@pytest.mark.parametrize("answer", [{}, [], None, 7, "text", {"error": "busy"}, {"system-info": {}}])
def test_another_page_is_no_reading(answer: object) -> None:
    with pytest.raises(PollError) as failed:
        read(answer)
    assert failed.value.kind is FaultKind.MALFORMED


@given(strange({"a": RECORDED, "b": GAMMA, "c": NERD}))
def test_whatever_it_sends_there_is_a_reading_or_a_poll_error(pages: dict[str, Any]) -> None:
    for info in pages.values():
        try:
            reading = read(info, is_deep=True)
        except PollError:
            continue
        assert reading.hashrate_hs is None or reading.hashrate_hs >= 0.0
