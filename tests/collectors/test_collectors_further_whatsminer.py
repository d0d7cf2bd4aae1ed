"""WhatsMiner in further shapes and states: the old port of new firmware, hydro, and machines that are switched off.

Shapes are those that users and makers of other software show of M20S, M30S, M31S, M60S and M63S++ from firmware 2020 to
2026; every value is invented. Expected values are counted by hand from the bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from page_makes import identified
from scripted_miner import refuse, scripted_miner, wire

from collectors import captures
from collectors.miners import framed, hearing, whatsminer, whatsminer_v3
from collectors.miners.identify import DEVDETAILS, DEVICE_INFO, GET_VERSION, LANDING, VERSION
from collectors.miners.line import Line
from collectors.miners.make import FRAMED_PORT, RPC_PORT, Make
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor

TH = 1e12

Replies = dict[str, Any]


def read(make: Make, replies: Replies, *, is_deep: bool = True) -> MinerReading:
    raw = {name: said if isinstance(said, bytes) else json.dumps(said).encode() for name, said in replies.items()}
    return make.read(hearing.said_from(make, raw, is_deep))


def celsius(reading: MinerReading, sensor: Sensor) -> dict[int, float]:
    return {t.index: t.celsius for t in reading.temperatures if t.sensor is sensor}


# --- API v2 of firmware that speaks v3: an M63S++ of 2026 in water -------------------------------------------------


def message(said: object) -> Replies:
    return {"STATUS": "S", "When": 1786000000, "Code": 131, "Msg": said, "Description": ""}


DEPRECATED = {
    "STATUS": "E", "When": 1786000000, "Code": 132, "Msg": "This command is deprecated.", "Description": "",
}  # fmt: skip


def told(**changes: Any) -> Replies:
    """A summary whose numbers are the message itself; None removes a key."""
    row = {
        "Elapsed": 10000.75, "MHS av": 480300000, "MHS 1m": 481000000, "MHS 15m": 480600000, "HS RT": 481000000,
        "freq_avg": 419.2, "Fan Speed In": 0, "Fan Speed Out": 0, "Power": 7600.25, "Pool Rejected%": 0,
        "Uptime": 12000, "Hash Stable": "true", "Target Freq": 0, "Env Temp": 45.5, "Power Mode": "High",
        "Factory GHS": 478000, "Power Limit": 7700, "Chip Temp Min": 57.6, "Chip Temp Max": 77.7, "Chip Temp Avg": 67.5,
    }  # fmt: skip
    row |= changes
    return message({key: value for key, value in row.items() if value is not None})


def edevs(*ths: float, **changes: Any) -> Replies:
    rows = [
        {
            "Slot": slot, "Temperature": 60.0 + slot, "Chip Frequency": 410 + slot, "MHS av": rate, "MHS 1m": rate,
            "MHS 15m": rate, "HS RT": rate, "Factory GHS": 119500, "Upfreq Complete": 1, "Effective Chips": 288,
            "PCB SN": f"SN{slot}",
        }
        | changes
        for slot, rate in enumerate(ths)
    ]  # fmt: skip
    return {"STATUS": [{"STATUS": "S", "Msg": f"{len(rows)} ASC(s)"}], "DEVS": rows, "id": 1}


def pool(number: int, accepted: int, rejected: int, *, is_active: bool = False) -> Replies:
    return {
        "POOL": number, "URL": f"stratum+tcp://p{number}.example:3333", "Status": "Alive", "Accepted": accepted,
        "Rejected": rejected, "Stale": 1, "User": "secret.worker", "Stratum Active": is_active,
        "Stratum Difficulty": 4194304, "To Remove": False,
    }  # fmt: skip


def pools(*rows: Replies) -> Replies:
    return {"STATUS": [{"STATUS": "S", "Msg": f"{len(rows)} Pool(s)"}], "POOLS": list(rows), "id": 1}


def status(**changes: Any) -> Replies:
    said = {
        "mineroff": "false", "mineroff_reason": "", "mineroff_time": "", "FirmwareVersion": "20260101.16.REL3",
        "power_mode": "high", "power_limit_set": "10030", "hash_percent": "0", "power_pct": 120,
    }  # fmt: skip
    return message(said | changes)


def of_2026() -> Replies:
    return {
        "get_version": message(
            {"api_ver": "2.2.2", "fw_ver": "20260101.16.REL3", "platform": "H616", "miner_type": "M7BS_VM30"}
        ),
        "summary": told(),
        "devdetails": DEPRECATED,
        "edevs": edevs(118.1, 121.9, 122.2, 118.1),
        "pools": pools(pool(1, 400, 2, is_active=True), pool(2, 30, 1)),
        "status": status(liquid_temp=49),
        "get_miner_info": message(
            {"hostname": "WhatsMiner", "mac": "A0:5B:06:00:00:01", "minersn": "", "powersn": "2"}
        ),
        "get_error_code": message({"error_code": []}),
    }


def test_a_summary_that_is_the_message_itself() -> None:
    reading = read(whatsminer.MAKE, of_2026())
    assert (reading.model, reading.algorithm, reading.firmware) == ("M7BS VM30", "sha256", "20260101.16.REL3")
    assert (reading.mac, reading.serial, reading.hostname) == ("a05b06000001", None, "WhatsMiner")
    assert reading.state is OperatingState.MINING
    # There is no "MHS 5m" any more, and here "HS RT" is what "MHS 1m" is: the quarter of an hour counts.
    assert reading.hashrate_hs == pytest.approx(480.6 * TH)
    assert (reading.hashrate_key, reading.hashrate_window_s) == ("MHS 15m", 900.0)
    assert reading.hashrate_now_hs == pytest.approx(481.0 * TH)
    assert reading.hashrate_expected_hs == pytest.approx(478.0 * TH)
    assert reading.reported_power_w == 7600.25
    assert (reading.power_side, reading.power_limit_w, reading.mode) == ("ac", 7700.0, "High")
    assert reading.uptime_s == 10000.75
    assert (reading.pool_host, reading.pool_alive) == ("p1.example", True)
    # Shares are counted per pool alone: 400 + 30, 2 + 1, 1 + 1. Nobody weighs them.
    assert (reading.shares_accepted, reading.shares_rejected, reading.shares_stale) == (430.0, 3.0, 2.0)
    assert (reading.difficulty_accepted, reading.difficulty_rejected) == (None, None)
    assert celsius(reading, Sensor.BOARD) == {0: 60.0, 1: 61.0, 2: 62.0, 3: 63.0}
    assert celsius(reading, Sensor.CHIP) == {0: 77.7}  # told of the machine alone
    assert celsius(reading, Sensor.INLET) == {0: 45.5}
    assert reading.fans_rpm == ()  # it knows the temperature of its coolant: two fans at 0 rpm are none
    assert reading.warnings == ()
    assert "secret" not in repr(reading)


def test_boards_in_terahashes_under_the_name_of_megahashes() -> None:
    reading = read(whatsminer.MAKE, of_2026())
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx(
        [118.1 * TH, 121.9 * TH, 122.2 * TH, 118.1 * TH]
    )
    assert {board.hashrate_window_s for board in reading.boards} == {900.0}
    assert reading.boards[3].hashrate_expected_hs == pytest.approx(119.5 * TH)
    assert (reading.boards[3].chips, reading.boards[3].frequency_hz, reading.boards[3].serial) == (288, 413e6, "SN3")


@pytest.mark.parametrize(
    ("whole", "parts", "hs"),
    [
        (120e6, (40.0, 40.5, 39.5), 40e12),
        (120e6, (40.0,), 40e12),  # two boards are missing
        (120e6, (40e6, 40.5e6, 39.5e6), 40e12),
        (120e6, (40e6, 0.0, 0.0), 40e12),
        (0.0, (250.0, 0.0, 0.0), 250e6),  # a machine that has stopped: what is left of a board's minutes stays little
        (None, (40.0, 40.5, 39.5), 40e6),  # nothing to compare with: what the name says
    ],
)
def test_the_unit_of_boards_is_the_one_that_fits_the_machine(
    whole: float | None, parts: tuple[float, ...], hs: float
) -> None:
    said = told(**dict.fromkeys(("MHS av", "MHS 1m", "MHS 15m", "HS RT"), whole))
    reading = read(whatsminer.MAKE, {"summary": said, "edevs": edevs(*parts)})
    assert reading.boards[0].hashrate_hs == pytest.approx(hs)


def test_a_machine_that_is_still_raising_its_frequency() -> None:
    said = told(Elapsed=884.25, **{"Hash Stable": "false"})
    reading = read(whatsminer.MAKE, {"summary": said, "edevs": edevs(118.1, 121.9, **{"Upfreq Complete": 0})})
    assert reading.state is OperatingState.WARMING_UP
    assert (reading.hashrate_key, reading.hashrate_window_s) == ("MHS 1m", 60.0)  # 900 s are longer than 884 s
    assert [board.hashrate_window_s for board in reading.boards] == [60.0, 60.0]


def test_shares_that_the_summary_counts_are_not_counted_twice() -> None:
    classic = told(Accepted=5000, Rejected=7, Stale=0)
    reading = read(whatsminer.MAKE, of_2026() | {"summary": classic})
    assert (reading.shares_accepted, reading.shares_rejected, reading.shares_stale) == (5000.0, 7.0, 0.0)


def test_a_pool_that_does_not_count_leaves_no_sum() -> None:
    uncounted = pool(2, 0, 0) | {"Accepted": ""}
    reading = read(whatsminer.MAKE, of_2026() | {"pools": pools(pool(1, 400, 2), uncounted)})
    assert (reading.shares_accepted, reading.shares_rejected) == (None, 2.0)


def test_air_cooled_machines_know_no_coolant() -> None:
    for said in (status(), status(liquid_temp=0), status(liquid_temp=""), status(liquid_temp="0.0")):
        assert read(whatsminer.MAKE, of_2026() | {"status": said}).fans_rpm == (0.0, 0.0)


# --- who it is


def who(answers: Mapping[Any, Any]) -> str | None:
    """Who a machine is that gives these answers and refuses all other commands."""
    return identified(answers, PollError(FaultKind.UNSUPPORTED, "refused"))[0]


NAMELESS = {"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid command", "Description": ""}


@pytest.mark.parametrize("model", ["M7BS_VM30", "M60S++_VL40", "M50_VH75", "M3_V10"])
def test_new_firmware_names_itself_by_its_model_alone(model: str) -> None:
    version = message({"api_ver": "2.2.2", "fw_ver": "20260101.16.REL3", "miner_type": model})
    assert who({VERSION: NAMELESS, DEVDETAILS: DEPRECATED, GET_VERSION: version}) == "whatsminer"


def test_a_model_inside_another_word_names_nobody() -> None:
    version = message({"fw_ver": "XM7BS_VM30", "board": "BM1397V2"})
    assert who({VERSION: NAMELESS, DEVDETAILS: DEPRECATED, GET_VERSION: version, LANDING: ""}) is None


def test_where_the_old_port_names_nobody_the_new_one_does() -> None:
    info = {"code": 0, "msg": {"miner": {"type": "M7BS_VM30"}}}
    assert who({VERSION: NAMELESS, DEVDETAILS: DEPRECATED, DEVICE_INFO: info}) == "whatsminer_v3"


# --- firmware of 2020 and 2021 --------------------------------------------------------------------------------------


def test_errors_of_the_factory_are_not_errors_of_today() -> None:
    """Firmware of 2020 and 2021 mixes both in one summary, and counts them apart."""
    row = {
        "Elapsed": 29600, "MHS 5s": 85.0e6, "MHS 5m": 84.9e6, "MHS av": 85.1e6, "Power": 3230,
        "Factory Error Code 0": 202, "Error Code 0": 205, "Error 0 Time": "", "Factory Error Code 1": 2310,
        "Error Code Count": 1, "Factory Error Code Count": 2, "Power Voltage Input": 228.75,
        "Power Current Input": 14.2, "Power Current": 249500,
    }  # fmt: skip
    reading = read(whatsminer.MAKE, {"summary": {"STATUS": [{"STATUS": "S"}], "SUMMARY": [row]}})
    assert reading.errors == (MachineError("205", "wrong current of the power supply"),)
    assert reading.reported_power_w == 3230.0  # 228.75 V x 14.2 A = 3248 W: the input
    assert reading.state is OperatingState.MINING


# --- switched off ---------------------------------------------------------------------------------------------------

DOWN = b"Socket connect failed: Connection refused\n"
OFF_V1 = {
    "STATUS": "S", "When": 1, "Code": 131, "Description": "whatsminer v1.3",
    "Msg": {"btmineroff": "true", "Firmware Version": "'20210101.22.REL'"},
}  # fmt: skip
VERSION_V1 = message({"api_ver": "1.3", "fw_ver": "20210101.22.REL", "miner_type": "M31S_V20"})


@pytest.mark.parametrize(
    "silence", [DOWN, refuse(14, "invalid cmd"), wire(DEPRECATED), wire({"STATUS": [{"STATUS": "S"}], "SUMMARY": []})]
)
async def test_a_machine_without_its_mining_program_is_asleep_where_it_says_so(silence: bytes) -> None:
    """Whatever its proxy answers in place of the program that was switched off."""
    answers = {"*": silence, "status": wire(OFF_V1), "get_version": wire(VERSION_V1)}
    async with scripted_miner(answers) as miner:
        machine = NativeMiner(Line(miner.host, {RPC_PORT: miner.port}), deadline_s=5.0, key="whatsminer")
        for _ in range(3):
            reading = await machine.read()
            assert (reading.state, reading.model) == (OperatingState.SLEEPING, "M31S V20")
            assert (reading.hashrate_hs, reading.hashrate_now_hs, reading.reported_power_w) == (None, None, None)
        miner.asked.clear()
        await machine.read()
        assert miner.asked in (["summary", "status"], ["summary", "devs"])  # whether that is all, or what joins


@pytest.mark.parametrize("word", [wire(status(mineroff="false")), refuse(14, "invalid cmd"), b""])
async def test_a_machine_without_its_mining_program_is_a_fault_where_it_does_not_say_so(word: bytes) -> None:
    async with scripted_miner({"*": DOWN, "status": word}) as miner:
        machine = NativeMiner(Line(miner.host, {RPC_PORT: miner.port}), deadline_s=5.0, key="whatsminer")
        with pytest.raises(PollError) as error:
            await machine.read()
        assert (error.value.kind, error.value.detail) == (FaultKind.REFUSED, "host up, mining process down")


async def test_a_machine_that_wakes_is_asked_everything_again() -> None:
    boards = {
        "STATUS": [{"STATUS": "S"}],
        "DEVS": [{"ASC": 0, "Slot": 0, "Temperature": 60.0, "Effective Chips": 100, "MHS 5m": 80.0e6}],
    }
    row = {"Elapsed": 900, "MHS 5s": 80.1e6, "MHS 5m": 80.0e6, "Power": 3300}
    async with scripted_miner({"*": DOWN, "status": wire(OFF_V1), "get_version": wire(VERSION_V1)}) as miner:
        machine = NativeMiner(Line(miner.host, {RPC_PORT: miner.port}), deadline_s=5.0, key="whatsminer")
        assert (await machine.read()).state is OperatingState.SLEEPING
        miner.answers |= {
            "*": refuse(14, "invalid cmd"),
            "summary": wire({"STATUS": [{"STATUS": "S"}], "SUMMARY": [row]}),
            "devs": wire(boards),
            "status": wire(status(mineroff="false")),
        }
        reading = await machine.read()
        assert reading.state is OperatingState.MINING
        assert celsius(reading, Sensor.BOARD) == {0: 60.0}  # boards were left alone while it slept


def test_a_recorded_machine_that_is_switched_off(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_bytes(refuse(14, "invalid cmd", "whatsminer v1.3").rstrip(b"\0"))
    (tmp_path / "status.json").write_text(json.dumps(OFF_V1))
    assert captures.read_capture(captures.load(tmp_path)).state is OperatingState.SLEEPING
    (tmp_path / "status.json").write_text(json.dumps(status(mineroff="false")))
    with pytest.raises(PollError):
        captures.read_capture(captures.load(tmp_path))


# --- API v3 ---------------------------------------------------------------------------------------------------------


def v3_info(*errors: object, **power: Any) -> Replies:
    said = {
        "network": {"mac": "A0:5B:06:00:00:01", "hostname": "WhatsMiner"},
        "miner": {"working": "true", "type": "M7BS_VM30", "miner-sn": "SN7", "power-limit-set": "10030"},
        "system": {"api": "3.0.5", "fwversion": "20260101.16.REL3"},
        "power": {"model": "P566Z", "iin": 10.5, "vin": 409, "pin": 7477, "fanspeed": 6000} | power,
        "error-code": list(errors),
    }
    return {"code": 0, "when": 1786000000, "msg": said, "desc": "get.device.info"}


def v3_summary(**changes: Any) -> Replies:
    said = {
        "elapsed": 1489, "factory-hash": 478.0, "hash-average": 470.4, "hash-1min": 480.1, "hash-15min": 470.5,
        "hash-realtime": 480.1, "power-5min": 7505.9, "power-realtime": 7478, "environment-temperature": 41.3,
        "board-temperature": [57, 57, 48.5, 48.5], "chip-temp-max": 66.3, "power-limit": 8085, "up-freq-finish": 1,
        "fan-speed-in": 0, "fan-speed-out": 0, "bootup-time": 1507,
    }  # fmt: skip
    said |= {key.replace("_", "-"): value for key, value in changes.items()}
    return {"code": 0, "when": 1786000000, "msg": {"summary": said}, "desc": "get.miner.status"}


DOWN_V3 = {"code": -1, "when": 1786000000, "msg": "btminer process is down err", "desc": "get.miner.status"}


def off_v3(*errors: object) -> Replies:
    info = v3_info(*errors)
    info["msg"]["miner"]["working"] = "false"
    return info


def test_v3_power_supply_and_coolant() -> None:
    replies = {
        "get_miner_status_summary": v3_summary(),
        "get_device_info": v3_info(temp0=55.2, **{"liquid-temperature": 44.1}),
    }
    reading = read(whatsminer_v3.MAKE, replies)
    assert celsius(reading, Sensor.PSU) == {0: 55.2}
    assert celsius(reading, Sensor.BOARD) == {0: 57.0, 1: 57.0, 2: 48.5, 3: 48.5}
    assert celsius(reading, Sensor.INLET) == {0: 41.3}
    assert reading.fans_rpm == ()
    assert (reading.reported_power_w, reading.power_key) == (7505.9, "power-5min")
    assert reading.hashrate_hs == pytest.approx(470.5 * TH)
    # without a coolant two fans that stand still are two fans that stand still
    assert read(whatsminer_v3.MAKE, replies | {"get_device_info": v3_info(temp0=0)}).fans_rpm == (0.0, 0.0)
    assert celsius(read(whatsminer_v3.MAKE, replies | {"get_device_info": v3_info(temp0=0)}), Sensor.PSU) == {}


@asynccontextmanager
async def machine_v3(answers: dict[str, Replies]) -> AsyncIterator[NativeMiner]:
    """A machine on the framed port, by the parameter of the status or the name of the command."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little")))
        writer.write(framed.frame(json.dumps(answers[asked.get("param", asked["cmd"])]).encode()))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield NativeMiner(Line("127.0.0.1", {FRAMED_PORT: port}), deadline_s=5.0, key="whatsminer_v3")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("info", "state"),
    [
        (off_v3(), OperatingState.SLEEPING),
        (off_v3({"531": "2026-01-01 00:00:00", "reason": "Slot1 not found."}), OperatingState.FAULTED),
    ],
)
@pytest.mark.parametrize("down", [DOWN_V3, DOWN_V3 | {"code": 0}])
async def test_v3_without_its_mining_program(down: Replies, info: Replies, state: OperatingState) -> None:
    answers = {"summary": down, "pools": down, "get.device.info": info}
    async with machine_v3(answers) as machine:
        for _ in range(3):
            reading = await machine.read()
            assert (reading.state, reading.model, reading.mac) == (state, "M7BS VM30", "a05b06000001")
            assert (reading.hashrate_hs, reading.hashrate_now_hs) == (None, None)
        answers |= {"summary": v3_summary(), "get.device.info": v3_info()}
        reading = await machine.read()
        assert (reading.state, reading.errors) == (OperatingState.MINING, ())


async def test_v3_without_its_mining_program_that_says_it_works_is_a_fault() -> None:
    async with machine_v3({"summary": DOWN_V3, "pools": DOWN_V3, "get.device.info": v3_info()}) as machine:
        with pytest.raises(PollError) as error:
            await machine.read()
        assert error.value.kind is FaultKind.UNSUPPORTED
        assert "btminer process is down" in error.value.detail


@pytest.mark.parametrize("said", ["btminer process is down err", ["not-a-code", None], {}, None])
def test_v3_errors_that_are_none(said: object) -> None:
    info = v3_info()
    info["msg"]["error-code"] = said
    assert read(whatsminer_v3.MAKE, {"get_miner_status_summary": v3_summary(), "get_device_info": info}).errors == ()
