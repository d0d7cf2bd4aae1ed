"""LuxOS: what it means by its words, beyond the recorded machine (tests/captures/miners/luxos-2025.4).

The temperatures of `temps` follow the maker's documentation: sensors are told apart by the labels beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from scripted_miner import captured, refuse, scripted_miner, wire

from collectors.miners import hearing
from collectors.miners.line import Line
from collectors.miners.luxos import MAKE
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import MinerReading, OperatingState, Sensor, Temperature

FOLDER = "luxos-2025.4"
NAMES = ("summary", "power", "config", "devs", "fans", "pools", "version", "stats")


def replies(**changes: Mapping[str, object]) -> dict[str, Any]:
    """The recorded replies; a change goes into every row of its section, and None takes a field away."""
    said: dict[str, Any] = {name: captured(FOLDER, name) for name in NAMES}
    for name, change in changes.items():
        key = name.upper()
        rows = [{k: v for k, v in (row | dict(change)).items() if v is not None} for row in said[name][key]]
        said[name] = said[name] | {key: rows}
    return said


def reading(said: dict[str, Any], is_deep: bool = False) -> MinerReading:
    raw = {name: json.dumps(reply).encode() for name, reply in said.items()}
    raw["boards"] = raw.get("devs", b"")  # the same command, asked once more by a deep look
    return MAKE.read(hearing.said_from(MAKE, raw, is_deep))


def test_a_window_longer_than_the_uptime_is_never_money() -> None:
    young = reading(replies(summary={"Elapsed": 299}))
    assert (young.hashrate_hs, young.hashrate_window_s, young.hashrate_key) == (60_829_480_000_000.0, 60.0, "GHS 1m")
    newborn = reading(replies(summary={"Elapsed": 30}))
    assert (newborn.hashrate_window_s, newborn.hashrate_key) == (30.0, "GHS av")
    assert young.state is newborn.state is OperatingState.WARMING_UP


def test_curtailment_is_sleep_only_where_nothing_is_hashed() -> None:
    asleep = {"GHS 5s": 0, "GHS 1m": 0, "GHS 5m": 0, "GHS 15m": 0, "GHS 30m": 0}
    assert reading(replies(summary=asleep, config={"CurtailMode": "Sleep"})).state is OperatingState.SLEEPING
    assert reading(replies(config={"CurtailMode": "Sleep"})).state is OperatingState.MINING


def test_tuning_tells_of_a_start_only_where_nothing_is_hashed() -> None:
    still = {"GHS 5s": 0, "GHS 1m": 0, "GHS 5m": 0, "GHS 15m": 0, "GHS 30m": 0}
    assert reading(replies(summary=still)).state is OperatingState.WARMING_UP
    assert reading(replies(summary=still, config={"IsTuning": False})).state is OperatingState.IDLE
    assert reading(replies(devs={"IsRamping": True})).state is OperatingState.WARMING_UP


def test_history_is_not_money() -> None:
    """Averages of hours outlive the hashing."""
    idle = reading(replies(summary={"GHS 5s": 0, "GHS 1m": None, "GHS 5m": None, "GHS 15m": None, "GHS 30m": None}))
    assert idle.hashrate_hs is None
    assert "hashrate_history_only" in idle.warnings


def test_watts_are_the_supplys_only_where_it_measures() -> None:
    assert reading(replies(power={"PSU": True})).power_side == "ac"
    silent = reading(replies(power={"Watts": 0}))
    assert (silent.reported_power_w, silent.power_side, silent.power_key) == (None, None, None)


def test_a_dead_board_is_an_error_unless_somebody_switched_it_off() -> None:
    dead = reading(replies(devs={"Status": "Dead"}))
    assert [error.code for error in dead.errors] == ["board_2", "board_0", "board_1"]
    assert reading(replies(devs={"Status": "Dead", "IsUserShutdown": True})).errors == ()


def test_sensors_are_what_their_labels_say() -> None:
    said = replies()
    said["temps"] = {
        "STATUS": [{"STATUS": "S"}],
        "METADATA": [
            {
                "BottomLeft": {"Label": "Board Outlet", "Position": [0, 0]},
                "BottomRight": {"Label": "Water Inlet", "Position": [1, 1]},
                "TopLeft": {"Label": "Board Inlet", "Position": [0, 1]},
                "TopRight": {"Label": "Water Outlet", "Position": [1, 0]},
                "ChipMax": {"Label": "Chip (Max)"},
            }
        ],
        "TEMPS": [
            {"BottomLeft": 58, "BottomRight": 42, "ID": 1, "TEMP": 1, "TopLeft": 56, "TopRight": 48, "ChipMax": 71},
            {"BottomLeft": 59, "BottomRight": 43, "ID": 0, "TEMP": 0, "TopLeft": 56, "TopRight": 47, "ChipMax": 0},
        ],
    }
    assert set(reading(said).temperatures) == {
        Temperature(Sensor.BOARD, 1, 58.0),
        Temperature(Sensor.BOARD, 0, 59.0),
        Temperature(Sensor.BOARD, 2, 47.0),  # of `devs`: `temps` left it out
        Temperature(Sensor.CHIP, 1, 71.0),
        Temperature(Sensor.INLET, 0, 43.0),
        Temperature(Sensor.OUTLET, 0, 48.0),
    }


def test_boards_numbered_beyond_the_columns_are_counted_over_both_answers() -> None:
    """`temps` knows board 6 alone, `devs` 5, 6 and 7: places are counted among all three."""
    said = replies()
    said["temps"] = {"STATUS": [{"STATUS": "S"}], "TEMPS": [{"ID": 6, "Chip": 80.0, "Board": 61.0}]}
    rows = [row | {"ID": number} for row, number in zip(said["devs"]["DEVS"], (7, 5, 6), strict=True)]
    said["devs"] = said["devs"] | {"DEVS": rows}
    assert set(reading(said).temperatures) == {
        Temperature(Sensor.BOARD, 0, 47.0),
        Temperature(Sensor.BOARD, 1, 61.0),
        Temperature(Sensor.CHIP, 1, 80.0),
        Temperature(Sensor.BOARD, 2, 47.0),
    }


def test_boards_of_an_earlier_look_are_no_answer_of_this_one() -> None:
    said = {name: captured(FOLDER, name) for name in ("summary", "devs")}
    said["summary"] = said["summary"] | {"SUMMARY": []}
    with pytest.raises(PollError, match="summary is empty"):
        reading(said)
    assert len(reading(said, is_deep=True).boards) == 3


def test_an_s9_tells_board_and_chip_without_labels() -> None:
    said = replies()
    said["temps"] = {"STATUS": [{"STATUS": "S"}], "TEMPS": [{"Board": 61.0, "Chip": 76.0, "ID": 0, "TEMP": 0}]}
    said["devs"] = {"STATUS": [{"STATUS": "S"}], "DEVS": []}
    assert reading(said).temperatures == (Temperature(Sensor.BOARD, 0, 61.0), Temperature(Sensor.CHIP, 0, 76.0))


def test_pools_on_two_hosts_share_the_work_and_the_reading_says_so() -> None:
    said = replies()
    said["pools"]["POOLS"][2]["Stratum URL"] = "other.pool.example:3333"
    both = reading(said)
    assert both.pool_host == "ca.stratum.braiins.com"
    assert "several_pool_hosts" in both.warnings
    assert "several_pool_hosts" not in reading(replies()).warnings


def test_a_power_target_of_newer_firmware_is_the_limit() -> None:
    assert reading(replies(config={"ActualPowerTarget": 1200})).power_limit_w == 1200.0


def test_what_is_not_said_is_not_there() -> None:
    bare = reading({"summary": {"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"GHS 5m": 100.0}]}})
    assert bare.hashrate_hs == 100e9
    assert (bare.model, bare.mac, bare.algorithm, bare.reported_power_w, bare.temperatures) == (
        None,
        None,
        None,
        None,
        (),
    )
    assert {"uptime_unknown", "pools_missing"} <= set(bare.warnings)
    with pytest.raises(PollError, match="summary is empty"):
        reading({"summary": {"STATUS": [{"STATUS": "S"}], "SUMMARY": []}})


def test_volts_of_a_board_come_from_the_question_about_that_board() -> None:
    said = replies() | {"voltageget_1": {"STATUS": [{"STATUS": "S"}], "VOLTAGE": [{"Board": 1, "Voltage": 11.88}]}}
    assert [board.voltage_v for board in reading(said, is_deep=True).boards] == [None, 11.88, None]


async def test_one_connection_carries_a_look() -> None:
    said = replies()
    first = {name: [said[name]] for name in ("summary", "power", "config", "devs", "fans", "pools", "version")}
    temps = json.loads(refuse(14, "Invalid command").rstrip(b"\0"))
    whole = wire(first | {"temps": [temps], "id": 1})
    async with scripted_miner({"version": wire(said["version"]), "*": whole}) as server:
        miner = NativeMiner(Line(server.host, {4028: server.port}), 30.0)
        looks = [await miner.read() for _ in range(3)]
    assert [look.hashrate_hs for look in looks] == [61_589_500_000_000.0] * 3
    assert [look.firmware for look in looks] == ["2025.4.8.220305"] * 3
    assert [look.way for look in looks] == ["luxos+joined"] * 3
    assert [look.temperatures for look in looks] == [tuple(Temperature(Sensor.BOARD, i, 47.0) for i in (2, 0, 1))] * 3
    assert [look.fans_rpm for look in looks] == [(1920.0, 1920.0, 2340.0, 2340.0)] * 3
    assert [look.hashrate_expected_hs for look in looks] == [61_954_200_000_000.0] * 3
    assert server.asked == [
        "version",
        "summary+power+config+devs+fans+temps+pools+events",
        "profiles",  # alone, and not again for hours
        "summary+power",  # heat, fans and settings of the first look hold for ten
        "summary+power",
    ]


async def test_a_single_question_that_is_left_is_asked_alone_and_forgets_no_join() -> None:
    """Firmware that refuses `power` and `config`: a lone command in a join would come back as one that is none."""
    no = json.loads(refuse(14, "Invalid command").rstrip(b"\0"))
    heard = {name: [captured(FOLDER, name)] for name in ("summary", "devs", "fans", "pools", "version")}
    joined = wire(heard | {name: [no] for name in ("temps", "power", "config")} | {"id": 1})
    answers = {"version": wire(heard["version"][0]), "summary": wire(heard["summary"][0]), "*": joined}
    async with scripted_miner(answers) as server:
        miner = NativeMiner(Line(server.host, {4028: server.port}), 30.0)
        ways = [(await miner.read()).way for _ in range(3)]
    assert ways == ["luxos+joined"] * 3
    assert server.asked[2:] == ["profiles", "summary", "summary"]


async def test_the_last_joinable_question_of_a_full_look_is_asked_alone_too() -> None:
    no = json.loads(refuse(14, "Invalid command").rstrip(b"\0"))
    summary = captured(FOLDER, "summary")
    joined = wire({"summary": [summary]} | {n: [no] for n in ("power", "config", "devs", "fans", "temps", "pools")})
    answers = {"version": wire(captured(FOLDER, "version")), "summary": wire(summary), "*": joined}
    async with scripted_miner(answers) as server:
        miner = NativeMiner(Line(server.host, {4028: server.port}), 30.0)
        ways = [(await miner.read()).way for _ in range(11)]
    assert ways == ["luxos+joined"] * 11
    assert server.asked[2:] == ["profiles"] + ["summary"] * 10
