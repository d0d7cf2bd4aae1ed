"""SEALMINER: which of its windows count, what its words of state mean, and what a broken reply leaves."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_miner import captured, refuse, scripted_miner, wire

from collectors.miners import hearing, sealminer
from collectors.miners.line import Line
from collectors.miners.make import RPC_PORT
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor

SET = "sealminer-stock-2025"
POOLS = {
    "STATUS": [{"STATUS": "S", "Code": 7}],
    "POOLS": [
        {
            "POOL": 0, "URL": "stratum+tcp://btc.pool.example:3333", "Status": "Alive", "Stratum Active": True,
            "User": "account.worker", "Password": "secret",
        }
    ],
}  # fmt: skip


def look(
    values: Mapping[str, Any] | None = None,
    *,
    is_deep: bool = False,
    without: tuple[str, ...] = (),
    pools: object = None,
    **changes: Any,
) -> MinerReading:
    """The recorded machine with other values in `stats`; `_` in a keyword is a blank; None removes a key."""
    stats: Any = copy.deepcopy(captured(SET, "stats"))
    row = stats["STATS"][0]
    for name, value in ({key.replace("_", " "): value for key, value in changes.items()} | dict(values or {})).items():
        row[name] = value
        if value is None:
            del row[name]
    replies = {"stats": stats, "summary": captured(SET, "summary"), "version": captured(SET, "version")}
    if pools is not None:
        replies["pools"] = pools
    raw = {name: json.dumps(reply).encode() for name, reply in replies.items() if name not in without}
    return sealminer.MAKE.read(hearing.said_from(sealminer.MAKE, raw, is_deep))


def with_windows(**mhs: float) -> dict[str, Any]:
    """Windows by their length, `m5=` for `MHS(5m)`; all others are taken away."""
    windows: dict[str, Any] = {
        f"MHS({name})": None for name in ("5m", "15m", "30m", "1h", "2h", "1m", "2m", "30s", "Avg")
    }
    return windows | {
        f"MHS({name[1:]}{name[0]})" if name != "Avg" else "MHS(Avg)": value for name, value in mhs.items()
    }


# --- hashrate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "elapsed_s", "key", "window_s"),
    [
        ({"m5": 2.2e8, "m15": 2.1e8, "m30": 2.0e8}, 2481, "MHS(5m)", 300.0),
        ({"m15": 2.1e8, "m30": 2.0e8}, 2481, "MHS(15m)", 900.0),
        ({"m30": 2.0e8, "m2": 2.3e8}, 1700, "MHS(2m)", 120.0),  # 30 minutes are averaged with zeros at 1700 s
        ({"m1": 2.3e8, "m2": 2.3e8}, 100, "MHS(1m)", 60.0),
        ({"Avg": 1.9e8}, 2481, "MHS(Avg)", 2481.0),
        ({}, 2481, None, None),
    ],
)
def test_the_window_that_money_is_counted_on(
    windows: dict[str, float], elapsed_s: int, key: str | None, window_s: float | None
) -> None:
    reading = look(with_windows(**windows), Elapsed=elapsed_s)
    assert (reading.hashrate_key, reading.hashrate_window_s) == (key, window_s)


def test_the_windows_of_the_summary_are_not_used() -> None:
    """They follow the difficulty of shares: 199.7 TH/s beside 220.2, and 368 TH/s in 5 seconds."""
    reading = look(with_windows() | {"MHS(Sample)": None})
    assert (reading.hashrate_hs, reading.hashrate_now_hs) == (None, None)
    assert reading.shares_accepted == 1421.0


def test_the_rated_hashrate_stands_in_for_the_ideal() -> None:
    assert look({"MHS(Ideal)": 0}).hashrate_expected_hs == pytest.approx(230.83940728559e12)


# --- state -------------------------------------------------------------------------------------------------------

STOPPED = {"MHS(Sample)": 0.0, "MHS(5m)": 0.0}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, OperatingState.MINING),
        ({"Raise Freq Done": False}, OperatingState.WARMING_UP),
        ({"Raise Freq Done": None, "Tune Status": "Coarse Tuning"}, OperatingState.WARMING_UP),
        ({"Raise Freq Done": None}, OperatingState.MINING),  # "Fine Tuning Done"
        ({"Raise Freq Done": None, "Tune Status": None, "Elapsed": 200}, OperatingState.WARMING_UP),
        (STOPPED | {"PM State": "Suspended"}, OperatingState.SLEEPING),
        (STOPPED | {"PM State": "Sleep"}, OperatingState.SLEEPING),
        (STOPPED, OperatingState.IDLE),
        (STOPPED | {"Raise Freq Done": False}, OperatingState.WARMING_UP),
        (STOPPED | {"Error Code": "E203"}, OperatingState.FAULTED),
        (STOPPED | {"Error Code": "E203", "Stratum Disconnect": True}, OperatingState.IDLE),  # no pool explains it
        ({"PM State": "Suspended"}, OperatingState.MINING),  # a machine that hashes is not asleep
    ],
)
def test_state_from_evidence(changes: dict[str, Any], state: OperatingState) -> None:
    assert look(changes).state is state


# --- what else it says -------------------------------------------------------------------------------------------


def test_errors_in_words() -> None:
    reading = look({"1 Bad Chip Count": 3}, Error_Code="101, 203", PSU_Error="0x00000010")
    assert reading.errors == (
        MachineError("101", "the machine reports error 101"),
        MachineError("203", "the machine reports error 203"),
        MachineError("PSU 0x00000010", "the power supply reports error 0x00000010"),
        MachineError("1 Bad Chip Count", "board 1 has bad chips"),
    )


@pytest.mark.parametrize(("model", "algorithm"), [("A3 Pro Air", "sha256"), ("DL1", None), (None, None), (7, None)])
def test_the_letter_of_the_model_is_the_algorithm(model: object, algorithm: str | None) -> None:
    assert look(Model=model).algorithm == algorithm


@pytest.mark.parametrize(
    ("watts", "power"), [(0, (None, None, None)), (-1, (None, None, None)), ("n/a", (None, None, None))]
)
def test_watts_that_are_none(watts: object, power: tuple[None, None, None]) -> None:
    reading = look(PSU_Input_Power=watts)
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == power


def test_no_output_of_a_machine_that_hashes_is_no_measurement() -> None:
    assert look(PSU_Output_Power=0).dc_power_w is None
    assert look(STOPPED, PSU_Output_Power=0).dc_power_w == 0.0


def test_a_hydro_machine_has_no_fans() -> None:
    assert look(Fan_Count=0).fans_rpm == ()
    assert look(Fan_Count=None).fans_rpm == (3723.0, 3723.0, 3753.0, 3723.0)
    assert look(Fan_Count=10**9).fans_rpm == (3723.0, 3723.0, 3753.0, 3723.0)
    assert look(Fan_Count=5).fans_rpm == (3723.0, 3723.0, 3753.0, 3723.0, None)


def test_temperatures_are_the_hottest_of_a_board() -> None:
    reading = look({"0 Temp 2": 255, "0 Temp 3": -273, "1 Temp 1": "71.5"})
    assert {(t.sensor, t.index): t.celsius for t in reading.temperatures} == {
        (Sensor.BOARD, 0): 55.0,
        (Sensor.BOARD, 1): 71.5,
        (Sensor.BOARD, 2): 70.0,
        (Sensor.PSU, 0): 26.0,
    }


def test_the_pool_and_nothing_of_the_account() -> None:
    reading = look(pools=POOLS)
    assert (reading.pool_host, reading.pool_alive) == ("btc.pool.example", True)
    assert "secret" not in repr(reading)
    assert reading.warnings == ()


def test_without_the_summary_the_counters_are_missing_and_no_more() -> None:
    reading = look(without=("summary",))
    assert (reading.shares_accepted, reading.difficulty_accepted) == (None, None)
    assert reading.hashrate_hs == pytest.approx(220.245222406483e12)
    assert sealminer.COUNTERS_MISSING in reading.warnings


def test_the_firmware_falls_back_to_what_there_is() -> None:
    assert look(Firmware=None).firmware == "4.11.1-08690-gd309fbe0"
    assert look(Firmware=None, Software_Version=None).firmware == "bdminer 4.11.1"


def test_without_stats_there_is_no_reading() -> None:
    with pytest.raises(PollError) as error:
        look(without=("stats",))
    assert error.value.kind is FaultKind.MALFORMED


async def test_one_connection_where_the_firmware_joins_and_single_ones_where_not() -> None:
    names = ("stats", "summary", "version")
    told: dict[str, Any] = {name: captured(SET, name) for name in names} | {"pools": POOLS}
    single = {name: wire(reply) for name, reply in told.items()} | {
        "*": refuse(14, "Invalid command", "bdminer 4.11.1")
    }
    joined = single | {
        "stats+summary+pools": wire({name: [told[name]] for name in ("stats", "summary", "pools")}),
        "stats+summary": wire({name: [told[name]] for name in ("stats", "summary")}),
    }
    for answers, first, second in (
        (joined, ["version", "stats+summary+pools"], ["stats+summary"]),
        (single, ["version", "stats+summary+pools", "stats", "summary", "pools"], ["stats", "summary"]),
    ):
        async with scripted_miner(answers) as miner:
            machine = NativeMiner(Line(miner.host, {RPC_PORT: miner.port}), deadline_s=5.0)
            reading = await machine.read()
            assert (reading.make, reading.model, reading.pool_host) == ("SEALMINER", "A2", "btc.pool.example")
            assert miner.asked == first
            miner.asked.clear()
            assert (await machine.read()).pool_host == "btc.pool.example"
            assert miner.asked == second


@given(
    st.dictionaries(
        st.sampled_from(sorted(captured(SET, "stats")["STATS"][0])),  # type: ignore[index]
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=40), st.just([]), st.just({})),
    )
)
def test_a_reading_of_anything_is_a_reading(row: dict[str, Any]) -> None:
    raw = {"stats": json.dumps({"STATS": [{"ID": "A20"} | row]}).encode()}
    reading = sealminer.MAKE.read(hearing.said_from(sealminer.MAKE, raw, is_deep=True))
    assert reading.reported_power_w is None or reading.reported_power_w > 0.0
