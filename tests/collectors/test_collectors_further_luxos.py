"""LuxOS on further machines and versions than the recorded one: older firmware, hydro, a new S21, a start, a wake-up.

The keys and words are those of the maker's documentation of each version; the numbers are ours.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from collectors.miners import hearing
from collectors.miners.hardware import named
from collectors.miners.luxos import MAKE
from fleet.readings import MinerReading, OperatingState, Sensor, Temperature

STATUS = [{"STATUS": "S", "When": 1760000000, "Code": 11, "Msg": "Summary", "Description": "LUXminer 2024.10.8"}]

# A machine of 2026 has no minute and no quarter of an hour among its rates.
SAID: dict[str, Any] = {
    "summary": [{
        "Elapsed": 7300, "GHS 5s": 231_100.5, "GHS av": 229_900.25, "GHS 5m": 230_200.75, "GHS 30m": 230_050.5,
        "Accepted": 812, "Rejected": 3, "Stale": 1, "Difficulty Accepted": 2.1e8, "Difficulty Rejected": 1e6,
    }],
    "power": [{"PSU": True, "Watts": 3590}],
    "config": [{
        "Model": "Antminer S21 Pro", "MACAddr": "02:00:00:00:21:01", "SerialNumber": "SN21", "Hostname": "row-21",
        "Profile": "default", "CurtailMode": "None", "IsTuning": False, "SystemStatus": "Normal", "PowerLimit": 3900,
        "IsPowerTargetEnabled": True, "ActualPowerTarget": 3600, "IdealPowerTarget": 3600, "RampMode": "Normal",
    }],
    "version": [{"API": "3.7", "LUXminer": "2026.4.3.110501-ab12", "Miner": "2026.4.3.110501", "Type": "Antminer S21"}],
}  # fmt: skip


def read(**changes: dict[str, Any] | list[dict[str, Any]]) -> MinerReading:
    """The machine, with fields changed, or rows given where a section is new."""
    raw = {}
    for name in {**SAID, **changes}:
        change = changes.get(name, {})
        rows = change if isinstance(change, list) else [{**SAID[name][0], **change}]
        raw[name] = json.dumps({"STATUS": STATUS, name.upper(): rows, "id": 1}).encode()
    return MAKE.read(hearing.said_from(MAKE, raw))


STILL = {"GHS 5s": 0, "GHS 5m": 0, "GHS 30m": 0}


def test_a_machine_of_2026_is_read_with_the_windows_that_it_has() -> None:
    reading = read()
    assert (reading.make, reading.model, reading.algorithm) == ("Antminer", "S21 Pro", "sha256")
    assert (reading.hashrate_hs, reading.hashrate_window_s, reading.hashrate_key) == (230_200.75e9, 300.0, "GHS 5m")
    assert (reading.reported_power_w, reading.power_side, reading.power_limit_w) == (3590.0, "ac", 3600.0)
    assert (reading.firmware, reading.state) == ("2026.4.3.110501", OperatingState.MINING)


@pytest.mark.parametrize(
    ("told", "firmware"),
    [
        ({"Miner": "uart_trans.1.3", "LUXminer": "2023.11.29.203355-e3c71d8b"}, "2023.11.29.203355-e3c71d8b"),
        ({"Miner": "uart_trans.1.3", "LUXminer": ""}, "uart_trans.1.3"),
        ({"Miner": "", "LUXminer": "2024.1.2"}, "2024.1.2"),
        ({"Miner": "2025.4.8.220305", "LUXminer": "2025.4.8.220305-b1"}, "2025.4.8.220305"),
        ({"Miner": None, "LUXminer": None}, None),
    ],
)
def test_the_firmware_is_luxos_and_not_the_stock_program_that_older_versions_name(
    told: dict[str, Any], firmware: str | None
) -> None:
    assert read(version=told).firmware == firmware


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"CurtailMode": "Sleep"}, OperatingState.SLEEPING),
        ({"CurtailMode": "WakeUp"}, OperatingState.WARMING_UP),
        ({"SystemStatus": "Initializing"}, OperatingState.WARMING_UP),
        ({"IsTuning": True}, OperatingState.WARMING_UP),
        ({}, OperatingState.IDLE),
    ],
)
def test_a_machine_that_hashes_nothing_is_asleep_waking_or_idle(told: dict[str, Any], state: OperatingState) -> None:
    assert read(summary=STILL, config=told).state is state


@pytest.mark.parametrize("told", [{"CurtailMode": "WakeUp"}, {"SystemStatus": "Initializing"}, {"IsTuning": True}])
def test_a_machine_that_hashes_is_not_starting_whatever_an_earlier_look_at_its_settings_said(
    told: dict[str, Any],
) -> None:
    assert read(config=told).state is OperatingState.MINING


def test_the_water_of_a_hydro_is_told_apart_from_its_boards() -> None:
    reading = read(
        temps=[
            {"ID": 0, "TEMP": 0, "BottomLeft": 57.5, "BottomRight": 41.25, "TopLeft": 55, "TopRight": 46.75},
            {"ID": 1, "TEMP": 1, "BottomLeft": 58.5, "BottomRight": 41.5, "TopLeft": 54, "TopRight": 47.25},
        ]
    )
    assert reading.temperatures == (Temperature(Sensor.BOARD, 0, 57.5), Temperature(Sensor.BOARD, 1, 58.5))  # no labels
    raw = {
        "summary": json.dumps({"STATUS": STATUS, "SUMMARY": SAID["summary"], "id": 1}).encode(),
        "temps": json.dumps(
            {
                "STATUS": STATUS,
                "METADATA": [
                    {
                        "BottomLeft": {"Label": "Board Outlet"},
                        "BottomRight": {"Label": "Water Inlet"},
                        "TopLeft": {"Label": "Board Inlet"},
                        "TopRight": {"Label": "Water Outlet"},
                    }
                ],
                "TEMPS": [{"ID": 0, "BottomLeft": 57.5, "BottomRight": 41.25, "TopLeft": 55, "TopRight": 46.75}],
                "id": 1,
            }
        ).encode(),
    }
    assert set(MAKE.read(hearing.said_from(MAKE, raw)).temperatures) == {
        Temperature(Sensor.BOARD, 0, 57.5),
        Temperature(Sensor.INLET, 0, 41.25),
        Temperature(Sensor.OUTLET, 0, 46.75),
    }


def test_six_sensors_of_a_board_of_the_s21_pro_are_one_board() -> None:
    row = {"ID": 2, "TEMP": 2, "BoardTopLeft": 61.25, "BoardMiddleLeft": 62.5, "BoardBottomRight": 66.75, "Chip1": 0}
    assert read(temps=[row]).temperatures == (Temperature(Sensor.BOARD, 2, 66.75),)


@pytest.mark.parametrize(
    ("said", "hardware"),
    [
        ("Bitmain Antminer S9", ("Antminer", "S9", "sha256")),
        ("WhatsMiner M30S++", ("WhatsMiner", "M30S++", "sha256")),
        ("MicroBT WhatsMiner M50", ("WhatsMiner", "M50", "sha256")),
        ("WhatsMiner D1", ("WhatsMiner", "D1", None)),
        ("Braiins Mini Miner BMM 100", ("Braiins", "BMM 100", "sha256")),
        ("BRAIINS MINI MINER BMM 101", ("Braiins", "BMM 101", "sha256")),
        ("BMM 101", ("Braiins", "BMM 101", "sha256")),
        ("Antminer L7", ("Antminer", "L7", None)),
        ("Bitmain", ("Antminer", "Bitmain", None)),
    ],
)
def test_the_hardware_behind_a_name(said: str, hardware: tuple[str, str, str | None]) -> None:
    assert tuple(named(said)) == hardware


def event(code: str, target: str = "MINER", number: int | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"Code": code, "CreatedAt": "2026-04-08T03:38:27+00:00", "Target": target,
                           "Description": f"{code.title()}.", "DocUrl": "https://docs.example.net"}  # fmt: skip
    return row if number is None else row | {"ID": number}


def test_events_are_what_is_wrong_now() -> None:
    now = [event("NOPIC_PROTECTION"), event("BOARD_NOT_DETECTED", "BOARD", 0), event("FAN_FAILURE", "FAN", 3)]
    reading = read(summary=STILL, events=now)
    assert [(error.code, error.text) for error in reading.errors] == [
        ("NOPIC_PROTECTION", "Nopic_Protection."),
        ("BOARD_NOT_DETECTED 0", "board 0: Board_Not_Detected."),
        ("FAN_FAILURE 3", "fan 3: Fan_Failure."),
    ]
    assert reading.state is OperatingState.FAULTED


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("SLEEP", OperatingState.SLEEPING),
        ("IDLE", OperatingState.SLEEPING),
        ("REBOOT_SYSINIT", OperatingState.WARMING_UP),
        ("SHUTDOWN_USER", OperatingState.IDLE),
        ("NO_ACTIVE_POOLS", OperatingState.IDLE),
    ],
)
def test_what_a_person_ordered_is_no_error(code: str, state: OperatingState) -> None:
    reading = read(summary=STILL, events=[event(code)])
    assert (reading.state, reading.errors) == (state, ())
    assert read(events=[event(code)]).state is OperatingState.MINING


def test_errors_of_a_machine_that_hashes_are_told_and_it_mines() -> None:
    reading = read(events=[event("BOARD_HIGH_TEMPERATURE", "BOARD", 1), {"Target": "BOARD"}])
    assert reading.state is OperatingState.MINING
    assert [error.code for error in reading.errors] == ["BOARD_HIGH_TEMPERATURE 1", "UNKNOWN"]
    assert read(events=[]).errors == ()
