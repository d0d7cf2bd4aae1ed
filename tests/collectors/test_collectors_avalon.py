"""Avalon: the text inside its JSON, and what it means.

The A1566 is the recorded one of `tests/captures/fragments`, with the long lists per chip cut short; the other machines
have the keys and the quirks of real ones, and invented numbers. Expected values are computed by hand from them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scripted_miner import captured, refuse, scripted_miner, wire

from collectors.miners import avalon, avalon_text, hearing, pools
from collectors.miners.line import Line
from collectors.miners.make import RPC_PORT
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor, Temperature

A1566 = (
    "Ver[15-194-24102401_25462b2_9ddf522] DNA[020100008c699117] NETFAIL[0 0 0 0 0 0 0 0] "
    "SYSTEMSTATU[Work: In Work, Hash Board: 3 ] Elapsed[975] BOOTBY[0x04.00000000] MH[0 0 0] DHW[0] HW[0] DH[1.299%] "
    "Temp[31] TMax[78] TAvg[70] Fan1[4275] Fan2[4282] FanR[49%] Vo[296] PS[0 1209 1187 297 3526 1188 3731] "
    "WALLPOWER[3731] GHSspd[199241.07] DHspd[1.299%] GHSmm[201920.42] GHSavg[184007.00] Freq[345.94] "
    "MGHS[59459.52 61407.83 63139.66] MTmax[77 78 77] MTavg[69 70 71] MVavg[285.7 286.3 285.8] TA[480] POWS[0] "
    "EEPROM[160 160 160] HASHS[0 0 0] POOLS[0] SoftOFF[0] ECHU[0 0 0] ECMM[0] PVT_T0[ 66  65  63] PVT_T1[ 65  66] "
    "PVT_T2[ 67  66  66  63] CRC[0 0 0] COMCRC[0 0 0] FACOPTS0[] "
    "ATAOPTS0[--avalon10-freq 240:258:279:300 --avalon10-voltage-level 1180 --hash-asic 160] COP[0 0 0] MPO[3515] "
    "MVL[87] WORKMODE[1]"
)
A1566_SUMMARY = {
    "Elapsed": 975, "MHS av": 192796247.36, "MHS 30s": 197497926.49, "MHS 1m": 197266944.16, "MHS 5m": 186968586.55,
    "MHS 15m": 124648835.18, "Accepted": 148, "Rejected": 1, "Stale": 0, "Difficulty Accepted": 38797312.0,
    "Difficulty Rejected": 262144.0,
}  # fmt: skip
A1566_VERSION = {
    "CGMiner": "4.11.1", "API": "3.7", "PROD": "AvalonMiner 15-194", "MODEL": "15-194", "HWTYPE": "MM4v2_X3",
    "SWTYPE": "MM319", "VERSION": "24102401_25462b2_9ddf522", "DNA": "020100008c699117", "MAC": "123456789012",
}  # fmt: skip

# An A1066 (A10): six elements in PS, GHSspd stuck at 0, bit 512 in ECHU of a machine that does well.
A1066 = (
    "Ver[1066-50-20080702_a1b2c3d_e4f5a6b] DNA[0201000000000066] MEMFREE[1000000.0] "
    "SYSTEMSTATU[Work: In Work, Hash Board: 3 ] Elapsed[160000] MH[40 30 20] HW[90] DH[1.500%] Temp[34] TMax[69] "
    "Fan1[6200] Fan2[6150] Fan3[6100] Fan4[6100] FanR[85%] PS[0 1230 1300 240 3120 1300] GHSspd[0.00] DHspd[0.000%] "
    "GHSmm[53000.25] GHSavg[51000.25] Freq[650.25] MGHS[17000.25 17500.25 16500.25] MTmax[66 65 69] SoftOFF[0] "
    "ECHU[512 512 512] ECMM[0] CRC[0 4 4] POW_I2C[OK] MPO[3050] WORKMODE[1]"
)

# An A1047: a value that follows another without a blank, and no GHSspd at all.
A1047 = (
    "Ver[1047-19120401_a1b2c3d_e4f5a6b] DNA[0201000000000047] MEMFREE[2600000 B] "
    "SYSTEMSTATU[Work: In Work, Hash Board: 2 ] Elapsed[103000]BOOTBY[1] Temp[28] TMax[75] Fan1[3000] Fan2[2990] "
    "PS[0 1210 1310 170 2227 1310] GHSmm[37700.25] MGHS[18700.25 18500.25] MTmax[75 70] CRC[8 7] WORKMODE[1]"
)

# An A1346 that its owner sent to sleep; while it works PS is [0 1199 1391 225 3126 1393 3348].
A1346_ASLEEP = (
    "Ver[1346-110-24041001_a1b2c3d_e4f5a6b] Elapsed[1200] SoftOFF[5] SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] "
    "GHSspd[0.00] GHSmm[0.00] GHSavg[22600.25] PS[0 1200 0 0 0 1390 12]"
)

NANO3 = (
    "HashStatus[1] Ver[nano3-24071801_a1b2c3d] HVer[24071801_a1b2c3d_e4f5a6b]  DNA[0000000000000000]\n "
    "HDNA[0201000000000003]  PFCnt[7] Elapsed[512000] Temp[38] OTemp[41] TMax[87] TAvg[85] Fan1[3030] "
    "PS[0 0 0 3 2792 89 324] GHSspd[2630.5] GHSmm[3200.25] MGHS[2470.25] MTmax[87] SoftOFF[0] ECHU[0] ECMM[0] "
    "ATA1[90-85-324-100:441:461:481] WORKLEVEL[1] MPO[90] ADJ[1]"
)
NANO3S = (
    "Ver[Nano3s-25021401_a1b2c3d] LED[0-0] DNA[020100000000003a] SYSTEMSTATU[Work: In Work, Hash Board: 1] "
    "Elapsed[10000] ITemp[-273] OTemp[65] TMax[95] Fan1[1520] PS[0 0 27541 4 0 3756 133] GHSspd[6600.25] "
    "GHSmm[6780.25] MGHS[6690.25] MTmax[95] SoftOFF[0] WORKMODE[2] WORKLEVEL[0] MPO[133]"
)


def reply(section: str, rows: object) -> bytes:
    return json.dumps({"STATUS": [{"STATUS": "S", "When": 986, "Code": 70, "Msg": "ok"}], section: rows}).encode()


def stats(**texts: object) -> bytes:
    """A reply of details; `_` in a keyword stands for a blank, `__` for a colon."""
    row = {key.replace("__", ":").replace("_", " "): text for key, text in texts.items()}
    return reply("STATS", [{"STATS": 0, "ID": "AVA100", "Elapsed": 975, **row}, {"STATS": 1, "ID": "POOL0"}])


def look(
    text: str | None = A1566,
    summary: Mapping[str, Any] | None = A1566_SUMMARY,
    version: Mapping[str, Any] | None = None,
    *,
    is_deep: bool = False,
    **raw: bytes,
) -> MinerReading:
    """One look at a machine that says this; a summary of None is refused."""
    if text is not None:
        raw.setdefault("estats", stats(MM_ID0=text))
    raw["summary"] = refuse(45, "Access denied") if summary is None else reply("SUMMARY", [summary])
    if version is not None:
        raw["version"] = reply("VERSION", [version])
    return avalon.MAKE.read(hearing.said_from(avalon.MAKE, raw, is_deep))


def celsius(reading: MinerReading) -> set[tuple[str, int, float]]:
    return {(t.sensor.value, t.index, t.celsius) for t in reading.temperatures}


# --- whole machines ----------------------------------------------------------------------------------------------


def test_a_recording_without_a_summary_is_read_from_its_one_device() -> None:
    """`devs` of the same machine (pyasic, Apache-2.0), which was recorded without a `summary`."""
    device = {
        "ASC": 0, "Name": "AVA10", "Temperature": -273.0, "MHS 30s": 197497926.49, "MHS 5m": 186968586.55,
        "MHS 15m": 124648835.18, "MHS av": 192796247.36, "Accepted": 148, "Rejected": 1, "Device Elapsed": 924,
        "Difficulty Accepted": 38797312.0, "Difficulty Rejected": 262144.0,
    }  # fmt: skip
    raw = {"stats": reply("STATS", [{"MM ID0": A1566}]), "devs": reply("DEVS", [device])}
    reading = avalon.MAKE.read(hearing.said_from(avalon.MAKE, raw))
    assert (reading.hashrate_hs, reading.hashrate_key) == (pytest.approx(186.96858655e12), "MHS 5m")
    assert (reading.uptime_s, reading.shares_accepted, reading.shares_rejected) == (924.0, 148.0, 1.0)
    assert not any(degrees < 0.0 for _, _, degrees in celsius(reading))
    two = raw | {"devs": reply("DEVS", [device, device])}
    assert avalon.MAKE.read(hearing.said_from(avalon.MAKE, two)).hashrate_hs is None


def test_an_a1566_in_its_first_quarter_of_an_hour() -> None:
    reading = look(version=A1566_VERSION, is_deep=True)

    assert (reading.make, reading.model, reading.algorithm) == ("Avalon", "A1566", "sha256")
    assert reading.firmware == "24102401_25462b2_9ddf522"
    assert (reading.mac, reading.serial) == ("123456789012", "020100008c699117")
    assert reading.state is OperatingState.MINING
    # 15 minutes (124.6 TH/s) are averaged with zeros at 975 s, counted from when it began to hash: 5 minutes are not.
    assert reading.hashrate_hs == pytest.approx(186.96858655e12)
    assert (reading.hashrate_key, reading.hashrate_window_s) == ("MHS 5m", 300.0)
    assert reading.hashrate_now_hs == pytest.approx(199.24107e12)  # GHSspd
    assert reading.hashrate_expected_hs == pytest.approx(201.92042e12)  # GHSmm
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (3731.0, "ac", "WALLPOWER")
    assert (reading.dc_power_w, reading.power_limit_w) == (3526.0, 3515.0)  # PS[4], MPO
    assert reading.mode == "workmode 1"
    assert celsius(reading) == {("inlet", 0, 31.0), ("chip", 0, 77.0), ("chip", 1, 78.0), ("chip", 2, 77.0)}
    assert reading.fans_rpm == (4275.0, 4282.0)
    assert reading.uptime_s == 975.0
    assert (reading.shares_accepted, reading.shares_rejected, reading.shares_stale) == (148.0, 1.0, 0.0)
    assert (reading.difficulty_accepted, reading.difficulty_rejected) == (38797312.0, 262144.0)
    assert reading.errors == ()
    assert reading.warnings == (pools.POOLS_MISSING,)

    first, second, third = reading.boards
    assert (first.id, second.id, third.id) == ("0", "1", "2")
    # MGHS is an average of an hour, but this machine is 975 s old.
    assert second.hashrate_hs == pytest.approx(61.40783e12)
    assert second.hashrate_window_s == 975.0
    assert [board.chips for board in reading.boards] == [3, 2, 4]  # as many as PVT_T lists here
    assert (first.voltage_v, first.hardware_errors) == (11.87, 0.0)  # PS[2], MH
    assert first.frequency_hz is None  # Freq is the average of all boards


def test_a_lean_look_tells_no_boards() -> None:
    assert look().boards == ()


def test_an_a10_says_only_what_goes_to_its_boards() -> None:
    reading = look(A1066, {"Elapsed": 160000, "MHS 30s": 51400000.5, "MHS 5m": 51100000.5, "MHS 15m": 51300000.5})

    assert reading.model == "A1066"  # from Ver: there is no version reply here
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (3120.0, "dc", "PS[4]")
    assert reading.dc_power_w is None  # only where the input is told, too
    # GHSspd[0.00] in a machine that works: the 30 seconds of the summary stand in, and say so.
    assert reading.hashrate_now_hs == pytest.approx(51.4000005e12)
    assert avalon.NOW_RATE_STUCK in reading.warnings
    assert reading.state is OperatingState.MINING
    assert [error.code for error in reading.errors] == ["ECHU0:512", "ECHU1:512", "ECHU2:512", "CRC1", "CRC2"]
    assert reading.errors[0] == MachineError("ECHU0:512", "board 0: some cores failed their test")


def test_values_that_follow_without_a_blank() -> None:
    reading = look(A1047, {"Elapsed": 102998, "MHS 5s": 37100000.0, "MHS 5m": 37200000.0})
    assert avalon_text.blocks(A1047)[""]["BOOTBY"] == "1"
    assert (reading.model, reading.reported_power_w) == ("A1047", 2227.0)
    assert reading.hashrate_now_hs == pytest.approx(37.1e12)  # no GHSspd: the shortest window of the summary
    assert celsius(reading) == {("inlet", 0, 28.0), ("chip", 0, 75.0), ("chip", 1, 70.0)}


def test_a_sleeping_a1346_does_not_live_on_its_past() -> None:
    summary = {"Elapsed": 1199, "MHS 1m": 1100.5, "MHS av": 22600250.5}
    reading = look(A1346_ASLEEP, summary, {"MODEL": "1346-110", "PROD": "AvalonMiner 1346-110"}, is_deep=True)
    assert reading.model == "A1346"
    assert reading.state is OperatingState.SLEEPING
    assert reading.hashrate_now_hs == 0.0
    assert reading.hashrate_hs == pytest.approx(1100.5e6)  # what is left of the last minute, not the average of 22 TH/s
    assert (reading.reported_power_w, reading.power_side, reading.dc_power_w) == (12.0, "ac", 0.0)
    assert reading.hashrate_expected_hs is None  # GHSmm[0.00]


def test_an_idle_machine_with_nothing_but_its_average_has_no_hashrate() -> None:
    reading = look(A1346_ASLEEP, {"Elapsed": 90000, "MHS av": 22600250.5})
    assert (reading.hashrate_hs, reading.hashrate_key) == (None, None)
    assert "hashrate_history_only" in reading.warnings


def test_a_nano_3_orders_its_power_otherwise() -> None:
    """324 is a set point (`ATA1[90-85-324-..]`), 89 W at 27.92 V are 3.19 A, told as 3: 89 of the 90 W it may take."""
    reading = look(NANO3, {"Elapsed": 511990, "MHS 5m": 2470250.0})
    assert reading.model == "Nano 3"
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (89.0, "dc", "PS[5]")
    assert (reading.power_limit_w, reading.mode) == (90.0, "worklevel 1")
    assert reading.serial == "0201000000000003"  # HDNA: its DNA is all zeros
    assert celsius(reading) == {("inlet", 0, 38.0), ("outlet", 0, 41.0), ("chip", 0, 87.0)}
    assert reading.hashrate_now_hs == pytest.approx(2.6305e12)


@pytest.mark.parametrize(
    ("ps", "watts"),
    [
        ("0 0 0 4 2756 126 330", 126.0),  # another one, at its highest level
        ("0 0 18000 4 0 5000 80", None),  # neither this layout nor one that we know
        ("0 0 0 3 2792 326 324", None),  # 326 W are not 3 A at 28 V
        ("0 0 0 9 2792 89 324", None),  # nor are 89 W 9 A
        ("0 0 0 0 0 0 326", None),
        ("0 0 0", None),
    ],
)
def test_a_nano_3_is_believed_where_volts_amperes_and_watts_agree(ps: str, watts: float | None) -> None:
    reading = look(NANO3.replace("0 0 0 3 2792 89 324", ps))
    assert reading.reported_power_w == watts
    assert (reading.power_side is None) == (reading.power_key is None) == (watts is None)


def test_a_nano_3s_is_fed_with_direct_current() -> None:
    """PS[2] is 27.541 V from a supply outside the machine: 133 W are 4.8 A of it, told as 4."""
    reading = look(NANO3S)
    assert reading.model == "Nano 3S"
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (133.0, "dc", "PS[6]")
    assert reading.dc_power_w is None  # PS[4] is 0 while it hashes: no measurement
    assert reading.mode == "workmode 2 worklevel 0"
    assert celsius(reading) == {("outlet", 0, 65.0), ("chip", 0, 95.0)}  # ITemp[-273] is no temperature


# --- power -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "power"),
    [
        ("PS[0 1199 1391 225 3126 1393 3348]", (3348.0, "ac", "PS[6]", 3126.0)),  # A1346
        ("PS[0 1217 2396 54 1305 2397 1417]", (1417.0, "ac", "PS[6]", 1305.0)),  # Q
        ("PS[0 1218 2091 36 755 2090 839]", (839.0, "ac", "PS[6]", 755.0)),  # Mini 3
        ("PS[0 1222 1283 244 3134 1285 3420]", (3420.0, "ac", "PS[6]", 3134.0)),  # an A1246 that says its input
        ("PS[0 1222 1283 244 3134 1285]", (3134.0, "dc", "PS[4]", None)),  # and one that does not
        ("PS[0 1222 1283 244 3134 1285 0]", (3134.0, "dc", "PS[4]", None)),
        ("PS[0 1209 1187 297 3526 1188] WALLPOWER[3731]", (3731.0, "ac", "WALLPOWER", 3526.0)),
        ("WALLPOWER[3731]", (3731.0, "ac", "WALLPOWER", None)),
        ("PS[0 1209 1187 297 3526 1188 2000]", (None, None, None, None)),  # nothing gives more than it takes
        ("PS[0 0000 1200 0000 0000]", (None, None, None, None)),
        ("PS[0 1209 x 297 3526]", (3526.0, "dc", "PS[4]", None)),
        ("PS[0 0 27541 4 0 3756 133] WALLPOWER[150]", (150.0, "ac", "WALLPOWER", None)),
        ("PS[0 0 1187 297 3526 1188 3731]", (3731.0, "ac", "PS[6]", 3526.0)),  # a control side that is not measured
        ("PS[]", (None, None, None, None)),
        ("PS[-1 -1 -1 -1 -1 -1 -1]", (None, None, None, None)),
        ("", (None, None, None, None)),
    ],
)
def test_where_watts_are_taken(text: str, power: tuple[float | None, str | None, str | None, float | None]) -> None:
    reading = look(f"Ver[1246-90-21042001] GHSspd[90000.00] {text}")
    assert (reading.reported_power_w, reading.power_side, reading.power_key, reading.dc_power_w) == power


def test_an_input_below_the_output_is_told() -> None:
    assert avalon.POWER_LAYOUT in look("Ver[1246-90] PS[0 1209 1187 297 3526 1188 2000]").warnings


def test_an_input_of_0_while_it_hashes_is_no_measurement() -> None:
    reading = look("GHSspd[90000.00] PS[0 1222 1283 0 0 1285 3420]")
    assert (reading.reported_power_w, reading.dc_power_w) == (3420.0, None)


def test_several_modules_are_one_machine() -> None:
    """An A8 controller with two modules (one per `MM ID`): sums, and boards that go on counting."""
    module = (
        "Ver[851-19012510] Temp[36] TMax[84] Fan[5730] GHSspd[13000.50] GHSmm[13646.20] MGHS[6500 6500.5] MPO[1400]"
    )
    details = stats(MM_ID1=module, MM_ID2=module.replace("TMax[84]", "TMax[91]").replace("Temp[36]", "Temp[33]"))
    reading = look(None, is_deep=True, estats=details)
    assert reading.hashrate_now_hs == pytest.approx(26.001e12)
    assert reading.hashrate_expected_hs == pytest.approx(27.2924e12)
    assert reading.power_limit_w == 2800.0
    assert celsius(reading) == {("inlet", 0, 36.0), ("chip", 0, 84.0), ("chip", 1, 91.0)}
    assert reading.fans_rpm == (5730.0, 5730.0)
    assert [board.id for board in reading.boards] == ["AVA100 MM1.0", "AVA100 MM1.1", "AVA100 MM2.0", "AVA100 MM2.1"]
    assert reading.reported_power_w is None


def test_a_sum_that_lacks_a_part_is_no_sum() -> None:
    whole, silent = "GHSspd[1000] PS[0 1200 1200 100 1200 1200]", "GHSavg[1000]"
    reading = look(None, estats=stats(MM_ID0=whole, MM_ID1=silent))
    assert reading.reported_power_w is None
    assert reading.hashrate_now_hs == pytest.approx(197.49792649e12)  # MHS 30s, not the half that GHSspd knows


# --- state -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("SYSTEMSTATU[Work: In Work, Hash Board: 3 ] SoftOFF[0] GHSspd[199241.07]", OperatingState.MINING),
        ("SYSTEMSTATU[Work: In Init, Hash Board: 3 ] SoftOFF[0] GHSspd[0.00]", OperatingState.WARMING_UP),
        # woken: it says that it works and feeds its boards, and no hash has come yet
        (
            "SYSTEMSTATU[Work: In Work, Hash Board: 3 ] SoftOFF[0] GHSspd[0.00] PS[0 1199 1392 34 776 1393 837]",
            OperatingState.WARMING_UP,
        ),
        # the same with an error of the power supply
        (
            "SYSTEMSTATU[Work: In Work, Hash Board: 3 ] SoftOFF[0] GHSspd[0.00] PS[32 1199 1392 34 776 1393 837]",
            OperatingState.FAULTED,
        ),
        ("SYSTEMSTATU[Work: In Fault, Hash Board: 2 ] SoftOFF[0] GHSspd[0.00]", OperatingState.FAULTED),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] SoftOFF[5] GHSspd[0.00]", OperatingState.SLEEPING),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] SoftOFF[4] GHSspd[0.00]", OperatingState.SLEEPING),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] SoftOFF[0] GHSspd[0.00]", OperatingState.IDLE),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] SoftOFF[6] GHSspd[0.00]", OperatingState.IDLE),
        # on its way to sleep, it still hashes
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] SoftOFF[5] GHSspd[10.00]", OperatingState.MINING),
        ("GHSspd[0.00]", OperatingState.IDLE),
        ("SYSTEMSTATU[] SoftOFF[] GHSspd[]", OperatingState.MINING),  # from the 30 s of the summary
    ],
)
def test_state_from_evidence(text: str, state: OperatingState) -> None:
    summary = dict(A1566_SUMMARY)
    if "GHSspd[0.00]" in text:
        summary |= {"MHS 30s": 0.0, "MHS 1m": 0.0, "MHS 5m": 0.0}
    assert look(text, summary).state is state


def test_a_machine_without_a_word_about_its_work_is_unknown() -> None:
    assert look(None, {"Elapsed": 1000}).state is OperatingState.UNKNOWN


def test_errors_in_words() -> None:
    text = "PS[2049 1209 1187 297 3526 1188 3731] ECHU[0 256 0] ECMM[65] FanErr[1] COMCRC[0 0 3]"
    assert look(text).errors == (
        MachineError("PS:1", "power supply: input voltage too low"),
        MachineError("PS:2048", "power supply: fan of the power supply"),
        MachineError("ECMM:64", "controller: too hot"),  # bit 1 means idle, which is no error
        MachineError("ECHU1:256", "board 1: loop test failed"),
        MachineError("COMCRC2", "board 2: checksum errors on the link to the board"),
        MachineError("FanErr", "fan error"),
    )


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("15-194", "A1566"),
        ("AvalonMiner 15-194", "A1566"),
        ("16XP-300", "A16 XP"),
        ("16-282", "A16"),
        ("1346-110", "A1346"),
        ("1246-N-90", "A1246"),
        ("1166Pro-S-64-21071301", "A1166 Pro"),
        ("1566I-261", "A1566I"),
        ("841", "A841"),
        ("AvalonMiner 1047", "A1047"),
        ("Q", "Q"),
        ("Avalon Q", "Q"),
        ("Q-25052801_14a19a2", "Q"),
        ("nano3", "Nano 3"),
        ("nano3s", "Nano 3S"),
        ("Avalon Nano3s", "Nano 3S"),
        ("Mini3", "Mini 3"),
        ("Avalon Mini 3", "Mini 3"),
    ],
)
def test_model_names(said: str, name: str) -> None:
    assert avalon.model_of(said) == (name, True)


@pytest.mark.parametrize("said", ["10xx", "Home Pro", "15b194x", "12345", "Q2"])
def test_what_has_no_such_form_keeps_its_word_and_proves_nothing(said: str) -> None:
    assert avalon.model_of(said) == (said, False)
    assert look(version={"MODEL": said}).algorithm is None


def test_a_product_without_a_model_is_nobody() -> None:
    assert avalon.model_of("AvalonMiner") is None


@pytest.mark.parametrize("said", ["aa:bb:cc:dd:ee:ff", "AABBCCDDEEFF", "aa-bb-cc-dd-ee-ff"])
def test_a_mac_with_or_without_colons(said: str) -> None:
    assert look(version={"MODEL": "Q", "MAC": said}).mac == "aabbccddeeff"


@pytest.mark.parametrize("said", ["00:00:00:00:00:00", "02:55:97:22:3M:72", "", None, 7, ["aabbccddeeff"]])
def test_what_is_no_mac_is_none(said: object) -> None:
    assert look(version={"MODEL": "Q", "MAC": said}).mac is None


@pytest.mark.parametrize("said", ["<DELETED>", "0000000000000000", "", None])
def test_what_is_no_serial_is_none(said: object) -> None:
    assert look("GHSspd[1]", version={"MODEL": "Q", "DNA": said}).serial is None


# --- the details under their three names -------------------------------------------------------------------------


def test_both_forms_of_a_module_are_one_module() -> None:
    details = stats(MM_ID0="GHSspd[1000] Temp[30]", MM_ID0__Summary="'STATS':{GHSspd[2000] Fan1[100]}")
    reading = look(None, estats=details)
    assert reading.hashrate_now_hs == 2e12
    assert celsius(reading) == {("inlet", 0, 30.0)}
    assert reading.fans_rpm == (100.0,)


@pytest.mark.parametrize(
    "text",
    [
        "'STATS':{GHSspd[2000] MPO[800]}",
        "GHSspd[2000] MPO[800]}",  # without its beginning
        "'STATS':{GHSspd[2000]] MPO[800]",  # a bracket too many
        "MM ID0[Ver[Q-1],GHSspd[2000],MPO[800]]",
        "Broken[1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 GHSspd[2000] Empty[] MPO[800] Cut[99",
    ],
)
def test_broken_texts_keep_what_can_be_read(text: str) -> None:
    reading = look(None, litestats=stats(MM_ID0__Summary=text))
    assert (reading.hashrate_now_hs, reading.power_limit_w) == (2e12, 800.0)


def test_an_empty_text_leaves_the_word_to_the_next_details() -> None:
    reading = look(None, litestats=stats(MM_ID0__Summary=""), estats=stats(MM_ID0__Summary="'STATS':{MPO[800]}"))
    assert reading.power_limit_w == 800.0


@pytest.mark.parametrize("text", [None, 7, [], {}, {"STATS": {"GHSspd": 1}}, "", "[[[[", "]]]]"])
def test_details_that_say_nothing_are_missing_and_no_more(text: object) -> None:
    reading = look(None, estats=stats(MM_ID0=text))
    assert reading.hashrate_hs == pytest.approx(186.96858655e12)
    assert avalon.DETAILS_MISSING in reading.warnings


def test_the_boards_of_another_answer_complete_the_details() -> None:
    lite = stats(MM_ID0__Summary="'STATS':{GHSspd[90000] MGHS[90000] Freq[282.86] PS[0 1217 2396 54 1305 2397 1417]}")
    full = stats(MM_ID0__Summary="'STATS':{GHSspd[1]}", HBinfo="'HB0':{PVT_T0[58  59  60] MW0[1 2 3]}")
    reading = look(None, is_deep=True, litestats=lite, stats=full)
    assert reading.hashrate_now_hs == 90e12
    (board,) = reading.boards
    assert (board.chips, board.frequency_hz, board.voltage_v) == (3, 282.86e6, 23.96)


def test_without_a_summary_the_details_still_speak() -> None:
    """In `read` alone: a live look needs the summary, but a folder of replies may lack it."""
    reading = look(A1566, None)
    assert (reading.hashrate_hs, reading.uptime_s) == (None, 975.0)
    assert reading.hashrate_now_hs == pytest.approx(199.24107e12)


def test_nothing_at_all_is_the_fault_of_the_summary() -> None:
    with pytest.raises(PollError) as error:
        look(None, None)
    assert error.value.kind is FaultKind.DENIED


async def test_a_machine_is_asked_for_the_next_details_only_where_it_has_not_the_first() -> None:
    """A Q answers `litestats`; an A-series refuses it once and is then asked for `estats` alone. One at a time."""
    told = {
        "version": wire(captured("avalon-q-stock", "version")),
        "summary": wire(captured("avalon-q-stock", "summary")),
        "pools": wire(captured("avalon-q-stock", "pools")),
        "estats": wire(captured("avalon-q-stock", "stats")),
        "stats": wire(captured("avalon-q-stock", "stats")),
        "*": refuse(14, "Invalid command"),
    }
    q = told | {"litestats": wire(captured("avalon-q-stock", "litestats"))}
    for answers, first, second in (
        (q, ["version", "summary", "litestats", "pools"], ["summary", "litestats"]),
        (told, ["version", "summary", "litestats", "estats", "pools"], ["summary", "estats"]),
    ):
        async with scripted_miner(answers) as miner:
            machine = NativeMiner(Line(miner.host, {RPC_PORT: miner.port}), deadline_s=5.0)
            reading = await machine.read()
            assert (reading.model, reading.reported_power_w) == ("Q", 146.0)
            assert miner.asked == first
            miner.asked.clear()
            assert (await machine.read()).mac == "aabbccddeeff"
            assert miner.asked == second


# --- the text ----------------------------------------------------------------------------------------------------


def test_the_text_of_a_q() -> None:
    rows: Any = captured("avalon-q-stock", "litestats")["STATS"]
    fields = avalon_text.blocks(rows[0]["MM ID0:Summary"])["STATS"]
    assert len(fields) == 67  # as many closing brackets as the text has
    assert fields["SYSTEMSTATU"] == "Work: In Idle, Hash Board: 1"
    assert (fields["SSID"], fields["Nonce Mask"]) == ("", "25")
    assert avalon_text.number(fields, "DH") == 2.449
    assert avalon_text.numbers(fields, "PS") == (0.0, 1221.0, 4.0, 0.0, 0.0, 2245.0, 146.0)
    assert avalon_text.numbers(fields, "SSID") == avalon_text.numbers(fields, "no such key") == ()


def test_blocks_by_name() -> None:
    text = "'HB0':{PVT_T0[58 59] MW0[1 2]} 'HB1':{PVT_T0[99 98]}"
    assert avalon_text.blocks(text) == {"HB0": {"PVT_T0": "58 59", "MW0": "1 2"}, "HB1": {"PVT_T0": "99 98"}}


def test_a_value_without_its_end_is_no_value() -> None:
    assert avalon_text.blocks("PS[0 1209] WALLPOWER[37") == {"": {"PS": "0 1209"}}


_PIECES = st.lists(
    st.sampled_from(["[", "]", "{", "}", "'", ":", " ", "PS", "HB0", "MM ID0", "1 2", "-273", "\x00", "é"])
)


@given(st.one_of(st.text(), _PIECES.map("".join), st.none(), st.integers(), st.lists(st.text())))
@example("[" * 70000)
@example("]" * 70000)
@example("a[" * 40000)
@example("{" * 70000)
def test_no_text_raises(text: object) -> None:
    for fields in avalon_text.blocks(text).values():
        for key in fields:
            assert key
            assert len(key) <= avalon_text.MAX_KEY_CHARS
            avalon_text.number(fields, key)
            assert len(avalon_text.numbers(fields, key)) <= avalon_text.MAX_VALUES


@pytest.mark.parametrize("piece", ["[", "]", "{", "}", " ", "a", "a[", "a]", "a[1]", "[]", "{[", "'HB0':{", "][", "\0"])
def test_the_longest_text_is_read_in_one_pass(piece: str) -> None:
    """A backtracking or quadratic reader would need minutes for these: the bound is wide on purpose."""
    text = (piece * 65536)[:65536]
    before = time.process_time()
    for _ in range(10):
        avalon_text.blocks(text)
    assert time.process_time() - before < 2.0


@given(
    st.dictionaries(
        st.sampled_from(
            ["PS", "ECHU", "MGHS", "MTmax", "SYSTEMSTATU", "SoftOFF", "GHSspd", "WORKMODE", "Ver", "CRC", "MPO"]
        ),
        st.one_of(
            st.text(max_size=20), st.lists(st.one_of(st.integers(), st.floats())).map(lambda v: " ".join(map(str, v)))
        ),
    ),
    st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8), st.lists, max_leaves=5),
)
def test_a_reading_of_anything_is_a_reading(fields: dict[str, str], junk: object) -> None:
    text = " ".join(f"{key}[{value}]" for key, value in fields.items())
    summary = {"Elapsed": junk, "MHS 5m": junk, "Accepted": junk}
    reading = look(text, summary, {"MODEL": junk, "MAC": junk, "DNA": junk}, is_deep=True, stats=stats(MM_ID0=junk))
    assert reading.reported_power_w is None or reading.reported_power_w > 0.0
    assert (reading.power_side is None) == (reading.reported_power_w is None)
    assert all(isinstance(t, Temperature) and isinstance(t.sensor, Sensor) for t in reading.temperatures)
