"""Braiins OS on further machines and in further states: mini miners, a pause, boards given up, a program that is down.

The replies are built by hand after keys and words that the maker documents or that other people's recordings show; the
numbers are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from page_makes import answers_of
from scripted_pages import Asked, page, scripted_pages

from collectors.miners import braiins, braiins_rest, hearing
from collectors.miners.line import Line
from collectors.miners.make import Credential, Make
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor, Temperature

OK = [{"STATUS": "S", "When": 1770000000, "Code": 11, "Msg": "", "Description": "BOSer boser-openwrt 0.1.0-a1b2c3d4"}]

# One board of four chips, numbered from 1; no watts, no tuner and no MAC.
MINI: dict[str, list[dict[str, Any]]] = {
    "summary": [{
        "Elapsed": 910_400, "MHS 5s": 1_011_000.5, "MHS 1m": 1_009_000.25, "MHS 5m": 1_005_500.75,
        "MHS 15m": 1_004_000.5, "MHS 24h": 1_003_000.0, "MHS av": 1_002_000.0, "Accepted": 91_204,
        "Rejected": 211, "Stale": 9,
        "Difficulty Accepted": 234_881_024.0, "Difficulty Rejected": 540_160.0,
    }],
    "devs": [{"ID": 1, "MHS 5m": 1_005_500.75, "Nominal MHS": 1_020_000.5, "Status": "Alive", "Hardware Errors": 4}],
    "devdetails": [{"ID": 1, "Chips": 4, "Frequency": 640, "Voltage": 1.38, "Model": "Braiins Mini Miner BMM 100"}],
    "temps": [{"ID": 1, "Board": 57.0, "Chip": 66.5, "TEMP": 0}],
    "fans": [{"FAN": 0, "ID": 0, "RPM": 1800, "Speed": 38}],
    "version": [{"API": "3.7", "BOSer": "boser-openwrt 0.1.0-a1b2c3d4"}],
}  # fmt: skip


def reading(make: Make, said: Mapping[str, Any], is_deep: bool = False) -> MinerReading:
    raw = {name: json.dumps(answer).encode() for name, answer in said.items()}
    return make.read(hearing.said_from(make, raw, is_deep))


def rpc(**changes: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: {"STATUS": OK, name.upper(): rows, "id": 1} for name, rows in {**MINI, **changes}.items()}


def still() -> list[dict[str, Any]]:
    return [{key: 0 if key.startswith("MHS") else value for key, value in MINI["summary"][0].items()}]


def chains(*words: str | None) -> list[dict[str, Any]]:
    return [{"TunerChainStatus": [{"HashchainIndex": i + 6, "Status": word} for i, word in enumerate(words)]}]


# --- the bosminer API --------------------------------------------------------------------------------------------


def test_a_mini_miner_is_braiins_own_and_hashes_sha256() -> None:
    told = reading(braiins.MAKE, rpc(), is_deep=True)
    assert (told.make, told.model, told.algorithm) == ("Braiins", "BMM 100", "sha256")
    assert (told.hashrate_hs, told.hashrate_window_s, told.hashrate_key) == (1.00550075e12, 300.0, "MHS 5m")
    assert told.hashrate_expected_hs == pytest.approx(1.0200005e12)
    assert (told.reported_power_w, told.power_side) == (None, None)
    assert set(told.temperatures) == {Temperature(Sensor.BOARD, 1, 57.0), Temperature(Sensor.CHIP, 1, 66.5)}
    assert told.fans_rpm == (1800.0,)
    assert told.firmware == "boser-openwrt 0.1.0-a1b2c3d4"
    assert [(board.id, board.chips) for board in told.boards] == [("1", 4)]
    assert told.state is OperatingState.MINING


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("Paused", "Paused", "paused"), OperatingState.SLEEPING),
        (("Mining paused",), OperatingState.SLEEPING),
        (("Paused", "Stable"), OperatingState.IDLE),
        (("Resuming",), OperatingState.IDLE),
        ((None,), OperatingState.IDLE),
        ((), OperatingState.IDLE),
    ],
)
def test_a_machine_whose_tuner_rests_on_every_board_was_paused(
    words: tuple[str | None, ...], state: OperatingState
) -> None:
    assert reading(braiins.MAKE, rpc(summary=still(), tunerstatus=chains(*words))).state is state


def test_a_pause_that_an_earlier_second_said_is_none_where_it_hashes() -> None:
    assert reading(braiins.MAKE, rpc(tunerstatus=chains("Paused"))).state is OperatingState.MINING


def test_a_board_that_refuses_to_start_is_an_error() -> None:
    word = "Hashchain refused to start: no chips"
    told = reading(braiins.MAKE, rpc(summary=still(), tunerstatus=chains("Stable", word)))
    assert told.errors == (MachineError("board_7", f"board 7: {word}"),)
    assert told.state is OperatingState.FAULTED


def test_a_stopped_program_refuses_some_questions_and_answers_others() -> None:
    refused = {"STATUS": [{"STATUS": "E", "Code": 302, "Msg": "Unavailable", "Description": "BOSminer+"}], "id": 1}
    said = rpc(summary=still()) | dict.fromkeys(("devdetails", "temps", "fans", "devs"), refused)
    told = reading(braiins.MAKE, said)
    assert (told.state, told.hashrate_hs, told.temperatures, told.fans_rpm) == (OperatingState.IDLE, 0.0, (), ())


# --- REST --------------------------------------------------------------------------------------------------------

REST = "braiins-25.07-rest"
PAGES = ("miner_stats", "miner_details", "miner_hw_hashboards", "cooling_state", "pools", "performance_tuner_state")


def rest(tuner_state: object = 2, **details: object) -> dict[str, Any]:
    recorded = answers_of(REST)
    said = {name: recorded[name] for name in PAGES}
    said["miner_details"] |= details
    said["performance_tuner_state"]["overall_tuner_state"] = tuner_state
    return said


def silenced(said: dict[str, Any]) -> dict[str, Any]:
    rates = said["miner_stats"]["miner_stats"]["real_hashrate"]
    for window in rates:
        rates[window] = {"gigahash_per_second": 0.0}
    return said


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("MINER_STATUS_NOT_STARTED", OperatingState.IDLE),
        ("MINER_STATUS_NORMAL", OperatingState.IDLE),
        ("MINER_STATUS_PAUSED", OperatingState.SLEEPING),
        ("paused", OperatingState.SLEEPING),
        ("MINER_STATUS_SUSPENDED", OperatingState.FAULTED),
        ("3", OperatingState.SLEEPING),
        ("MINER_STATUS_OF_TOMORROW", OperatingState.IDLE),
    ],
)
def test_a_status_may_be_a_name(status: str, state: OperatingState) -> None:
    assert reading(braiins_rest.MAKE, silenced(rest(status=status))).state is state


@pytest.mark.parametrize(
    ("tuner", "state", "errors"),
    [
        (3, OperatingState.WARMING_UP, ()),
        ("TUNER_STATE_TUNING", OperatingState.WARMING_UP, ()),
        (6, OperatingState.WARMING_UP, ()),
        (4, OperatingState.FAULTED, (braiins_rest.TUNER_FAILED,)),
        (2, OperatingState.IDLE, ()),
        (None, OperatingState.IDLE, ()),
    ],
)
def test_a_machine_that_hashes_nothing_starts_or_has_failed_as_its_tuner_says(
    tuner: object, state: OperatingState, errors: tuple[MachineError, ...]
) -> None:
    told = reading(braiins_rest.MAKE, silenced(rest(tuner)))
    assert (told.state, told.errors) == (state, errors)
    assert reading(braiins_rest.MAKE, rest(tuner)).state is OperatingState.MINING


def test_a_tuner_at_work_does_not_wake_a_machine_that_was_paused() -> None:
    assert reading(braiins_rest.MAKE, silenced(rest(3, status=3))).state is OperatingState.SLEEPING


def test_a_mini_miner_on_rest_is_braiins_own() -> None:
    identity = {"brand": 3, "model": 100, "name": "BRAIINS MINI MINER BMM 101", "miner_model": "BRAIINS MINI MINER"}
    told = reading(braiins_rest.MAKE, rest(miner_identity=identity))
    assert (told.make, told.model, told.algorithm) == ("Braiins", "BMM 101", "sha256")


def test_a_board_that_is_off_has_no_heat_and_numbers_may_be_texts() -> None:
    said = rest()
    said["miner_hw_hashboards"] = {"hashboards": [
        {"id": "1", "enabled": False, "board_temp": None, "highest_chip_temp": None, "chips_count": None, "stats": {}},
        {"id": "2", "enabled": True, "board_temp": {"degree_c": "51.25"}, "chips_count": {"value": "126"},
         "current_frequency": {"hertz": "475000000"}, "stats": {}},
    ]}  # fmt: skip
    told = reading(braiins_rest.MAKE, said, is_deep=True)
    assert told.temperatures == (Temperature(Sensor.BOARD, 2, 51.25),)
    assert [(board.chips, board.frequency_hz) for board in told.boards] == [(None, None), (126, 475e6)]


async def look(status: int, stats_status: int) -> MinerReading:
    """A machine whose mining program is down answers 412 to everything that only this program knows."""
    said = rest(status=status)
    by_path = {ask.what: said[ask.name] for ask in braiins_rest.MAKE.asks if ask.name in said}

    def answer(asked: Asked) -> bytes:
        if asked.target == "/api/v1/auth/login":
            return page(b'{"token": "t0ken", "timeout_s": 3600}')
        if asked.target == "/api/v1/miner/details":
            return page(json.dumps(by_path[asked.target]).encode())
        return page(b'{"message": "bosminer is not running"}', stats_status)

    async with scripted_pages(answer) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}, Credential("root", "right")), 30.0, "braiins_rest")
        return await miner.read()


@pytest.mark.parametrize(
    ("status", "state"), [(1, OperatingState.IDLE), (3, OperatingState.SLEEPING), (4, OperatingState.FAULTED)]
)
async def test_a_machine_whose_mining_program_is_down_says_so_by_its_details(
    status: int, state: OperatingState
) -> None:
    told = await look(status, 412)
    assert (told.state, told.hashrate_hs, told.reported_power_w) == (state, None, None)
    assert (told.model, told.mac) == ("S19 XP", "02eedaa9b64a")


@pytest.mark.parametrize(("stats_status", "kind"), [(412, FaultKind.MALFORMED), (401, FaultKind.DENIED)])
async def test_statistics_that_fail_of_a_machine_that_runs_are_a_look_that_fails(
    stats_status: int, kind: FaultKind
) -> None:
    with pytest.raises(PollError) as caught:
        await look(2, stats_status)
    assert caught.value.kind is kind
