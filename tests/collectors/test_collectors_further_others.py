"""Machines of other makes than we have recordings of: their firmware's forks, newer versions and rarer states.

Every page is built by hand after the keys that its maker documents or that somebody else's recording shows; the numbers
are ours.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from page_makes import answers_of, identified, reading_of
from scripted_pages import Asked, page, scripted_pages

from collectors.miners import auradine, axeos, epic, identify, mara, proto, sealminer
from collectors.miners.line import Line
from collectors.miners.make import Ask, Credential
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor


def axe(info: Any, *, is_deep: bool = False) -> MinerReading:
    return reading_of(axeos.MAKE, {"system_info": info}, is_deep=is_deep)


def heat(reading: MinerReading) -> dict[tuple[Sensor, int], float]:
    return {(t.sensor, t.index): t.celsius for t in reading.temperatures}


# --- AxeOS and its sisters ---------------------------------------------------------------------------------------

# A Lucky Miner's board version is one that a Bitaxe Hex has, and `fanSpeed` is what others call `fanrpm`.
LUCKY: dict[str, Any] = {
    "power": 88.5, "voltage": 12000, "current": 7370, "fanSpeed": 4410, "fanspeed": 100, "temp": 58.5, "vrTemp": 71,
    "hashRate": 3102.5, "bestDiff": "90.5M", "ASICModel": "BM1366", "asicCount": 9, "asicDetected": 9,
    "smallCoreCount": 894, "frequency": 425, "coreVoltage": 1250, "coreVoltageActual": 1243, "boardVersion": "302",
    "minerModel": "LV08", "initMiner": "lucky", "version": "v2.1.8", "uptimeSeconds": 7201, "sharesAccepted": 212,
    "sharesRejected": 1, "hostname": "lucky-1", "stratumURL": "pool.example.net", "stratumUser": "bc1qsecret.x",
}  # fmt: skip

NMAXE: dict[str, Any] = {
    "power": {"power": 20.5, "vbus": 11500, "ibus": 1780},
    "temps": {"vcore": 64.5, "asic": 55.25},
    "asic": {"count": 2, "model": "BM1368", "vcoreReq": 1300, "vcoreReal": 1288, "freqReq": 500, "smallCoreCnt": 2552},
    "miner": {
        "state": "running", "paused": False, "pauseReason": "", "hashRate": 1263.5, "bestDiffEver": "470.5M",
        "sAccepted": 1400, "sRejected": 30, "uptimeSeconds": 18000, "uptimeEver": 300000,
    },
    "identity": {"fwVersion": "v3.0.21", "hwModel": "NMQAxe++", "displayName": "kitchen", "hostName": "nm-1",
                 "ssid": "HomeNet", "rssi": -71},
    "fans": [{"id": 0, "speed": 60, "rpm": 2420}, {"id": 1, "speed": 80, "rpm": 3110}],
    "stratum": {"url": "stratum+tcp://pool.example.net:3334", "user": "bc1qsecret.y", "pwd": "x"},
}  # fmt: skip


def test_a_lucky_miner_is_not_the_bitaxe_whose_board_version_it_has() -> None:
    reading = axe(LUCKY, is_deep=True)
    assert (reading.make, reading.model, reading.algorithm) == ("LuckyMiner", "LV08", "sha256")
    assert reading.fans_rpm == (4410.0,)
    assert reading.hashrate_expected_hs == 894 * 9 * 425e6
    assert (reading.reported_power_w, reading.power_side) == (88.5, "dc")
    assert reading.boards[0].chips == 9


def test_a_fan_of_new_firmware_is_its_rpm_whatever_else_it_says() -> None:
    assert axe({**LUCKY, "fanrpm": 3900}).fans_rpm == (3900.0,)
    assert axe({"hashRate": 1, "fanspeed": 100}).fans_rpm == ()


@pytest.mark.parametrize(
    ("named", "make", "model"),
    [
        ({"DeviceModel": "BC01", "boardVersion": "V02", "ASICModel": "BM1370", "asicCount": 1}, "ESP-Miner", "BC01"),
        ({"deviceModel": "Q1370", "ASICModel": "BM1370"}, "ESP-Miner", "Q1370"),
        ({"deviceModel": "BitAxe Gamma", "ASICModel": "BM1370"}, "Bitaxe", "Gamma"),
        ({"deviceModel": "Supra", "boardVersion": "401", "ASICModel": "BM1368"}, "Bitaxe", "Supra"),
        ({"minerModel": "LV07", "boardVersion": "302", "ASICModel": "BM1366"}, "LuckyMiner", "LV07"),
        ({"deviceModel": "", "boardVersion": "602", "ASICModel": "BM1370"}, "Bitaxe", "Gamma"),
        ({"deviceModel": "NerdOCTAXE-γ", "ASICModel": "BM1370"}, "NerdAxe", "NerdOCTAXE-γ"),
    ],
)
def test_a_board_with_a_name_is_called_by_it(named: dict[str, Any], make: str, model: str) -> None:
    reading = axe({"hashRate": 900.5, **named})
    assert (reading.make, reading.model, reading.algorithm) == (make, model, "sha256")


def test_a_fork_that_has_a_serial_number_is_known_by_it() -> None:
    assert axe({"hashRate": 900.5, "DeviceModel": "BC01", "sn_str": "ALBC0100007"}).serial == "ALBC0100007"


def test_an_nmaxe_says_all_of_it_in_objects() -> None:
    reading = axe(NMAXE, is_deep=True)
    assert (reading.make, reading.model, reading.algorithm) == ("NMAxe", "NMQAxe++", "sha256")
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (1263.5e9, 180.0)
    assert reading.hashrate_now_hs is None  # three minutes are not now
    assert reading.hashrate_expected_hs == pytest.approx(2552 * 500e6)  # small cores of both chips
    assert (reading.reported_power_w, reading.power_side) == (20.5, "dc")
    assert heat(reading) == {(Sensor.CHIP, 0): 55.25, (Sensor.REGULATOR, 0): 64.5}
    assert reading.fans_rpm == (2420.0, 3110.0)
    assert (reading.shares_accepted, reading.shares_rejected) == (1400.0, 30.0)
    assert (reading.firmware, reading.hostname, reading.pool_host) == ("v3.0.21", "nm-1", "pool.example.net")
    assert reading.state is OperatingState.MINING
    assert (reading.boards[0].chips, reading.boards[0].frequency_hz) == (2, 500e6)
    assert not any(secret in repr(reading) for secret in ("bc1q", "HomeNet"))


def test_an_nmaxe_that_is_paused_or_young() -> None:
    paused = axe({**NMAXE, "miner": {**NMAXE["miner"], "paused": True}})
    assert (paused.state, paused.hashrate_hs) == (OperatingState.SLEEPING, None)
    young = axe({**NMAXE, "miner": {**NMAXE["miner"], "uptimeSeconds": 100}})
    assert (young.state, young.hashrate_hs) == (OperatingState.WARMING_UP, None)
    no_cores = axe({**NMAXE, "asic": {**NMAXE["asic"], "smallCoreCnt": 0}})
    assert no_cores.hashrate_expected_hs is None


@pytest.mark.parametrize("page", [{"miner": {"a": 1}, "asic": {"b": 2}}, {"miner": {}, "asic": {"model": "BM1366"}}])
def test_objects_that_say_nothing_are_no_reading(page: Any) -> None:
    with pytest.raises(PollError) as failed:
        axe(page)
    assert failed.value.kind is FaultKind.MALFORMED


def who(answers: dict[Ask, Any]) -> str | None:
    """Who a host is that answers these and refuses every other connection."""
    return identified(answers)[0]


@pytest.mark.parametrize(
    ("landing", "info"),
    [
        ("<title>NMController</title>", NMAXE),
        ("<title>Lucky Miner</title>", None),
        ("<title>Miner</title>", LUCKY),
        ("<title>Miner</title>", {"deviceModel": "NerdQAxe++"}),
    ],
)
def test_a_machine_of_this_family_is_recognised(landing: str, info: Any) -> None:
    assert who({identify.LANDING: landing, identify.AXEOS_INFO: info}) == "axeos"


@pytest.mark.parametrize("info", [{"asic": "BM1366", "miner": {}}, {"miner": {"hashRate": 1}}, {}, []])
def test_a_page_of_something_else_is_not(info: Any) -> None:
    with pytest.raises(PollError):
        who({identify.LANDING: "<title>Router</title>", identify.AXEOS_INFO: info})


@pytest.mark.parametrize("is_connected", [True, False])
def test_older_nerdaxe_firmware_tells_of_all_its_pools_at_once(is_connected: bool) -> None:
    page = {
        "deviceModel": "NerdQAxe+", "ASICModel": "BM1368", "hashRate": 2450.5, "uptimeSeconds": 900,
        "isStratumConnected": is_connected, "isUsingFallbackStratum": 0, "stratumURL": "pool.example.net",
        "macAddr": "02-00-00-00-0A-05",
    }  # fmt: skip
    reading = axe(page)
    assert (reading.pool_host, reading.pool_alive, reading.mac) == ("pool.example.net", is_connected, "020000000a05")


def test_newer_axeos_lists_its_chips_and_names_the_fault_that_stops_it() -> None:
    duo = {
        "ASICModel": "BM1372/BM1373", "boardVersion": "1201", "hashRate": 0, "hashRate_1m": 0, "hashRate_10m": 0,
        "uptimeSeconds": 4000, "expectedHashrate": 3000.5, "hashrateMonitor": {"asics": [{"total": 0}, {"total": 0}]},
        "hardware_fault": "ASIC power did not come up", "stratumURL": "pool.example.net",
    }  # fmt: skip
    reading = axe(duo, is_deep=True)
    assert (reading.model, reading.algorithm, reading.boards[0].chips) == ("Naja Duo", "sha256", 2)
    assert [(error.code, error.text) for error in reading.errors] == [("hardware_fault", "ASIC power did not come up")]
    assert reading.state is OperatingState.FAULTED
    assert axe({**duo, "hardware_fault": ""}).state is OperatingState.IDLE


# --- ePIC PowerPlay from 1.38 ------------------------------------------------------------------------------------

EPIC = answers_of("epic-powerplay-1.5")


def powerplay(capabilities: dict[str, Any] | None = None, **changed: Any) -> MinerReading:
    said = {**EPIC, "summary": {**EPIC["summary"], **changed}}
    said["capabilities"] = {**EPIC["capabilities"], **(capabilities or {})}
    return reading_of(epic.MAKE, said)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ({"HbChipDetectError": [0, 2]}, "HbChipDetectError", "HbChipDetectError: 0, 2"),
        ({"MinimumFansError": 2}, "MinimumFansError", "MinimumFansError: 2"),
        ({"PsuError": "no answer"}, "PsuError", "PsuError: no answer"),
        ({"CriticalTempReached": [{"board": 1}]}, "CriticalTempReached", "CriticalTempReached"),
        ("OverTemp", "last_error", "OverTemp"),
    ],
)
def test_an_error_may_be_a_name_with_what_it_is_of(said: object, code: str, words: str) -> None:
    reading = powerplay(HBs=None, Status={"Operating State": "Idling", "Last Error": said}, Stratum={})
    assert [(error.code, error.text) for error in reading.errors] == [(code, words)]
    assert reading.state is OperatingState.FAULTED  # idling for that error, and not because somebody ordered it


def test_an_error_of_the_licence_or_of_the_fee_is_told_and_no_words_are_without_end() -> None:
    faults: dict[str, Any] = {
        "Last License Error": {"LicenseError": "expired"},
        "Last Devfee Error": {"Unreachable": ["a" * 500] * 50},
    }
    reading = powerplay(**faults)
    assert [error.code for error in reading.errors] == ["LicenseError", "Unreachable"]
    assert len(reading.errors[1].text) < 500


@pytest.mark.parametrize(
    "word",
    ["PreInitCooldown", "Initializing", "Loading", "Testing", "Rebooting", "SoftRebooting", "UpdatingFirmware",
     "AdjustingClockVoltage"],
)  # fmt: skip
def test_every_step_of_a_start_is_a_start(word: str) -> None:
    assert powerplay(HBs=None, Status={"Operating State": word}).state is OperatingState.WARMING_UP


def test_stopping_is_no_start_and_an_adjusted_clock_is_mining() -> None:
    assert powerplay(HBs=None, Status={"Operating State": "Stopping"}).state is OperatingState.IDLE
    assert powerplay(Status={"Operating State": "AdjustingClockVoltage"}).state is OperatingState.MINING


@pytest.mark.parametrize("said", [[47_000_000.0], [47_000_000.0, 0], [0, 98.5]])
def test_a_board_of_which_nobody_knows_what_it_should_do_leaves_no_half_of_a_machine(said: list[float]) -> None:
    """Of two boards one does not say how near it is to the rate of its clock, or is dead: then the default counts."""
    boards = [dict(row) for row in EPIC["summary"]["HBs"]]
    boards[0]["Hashrate"] = said
    assert powerplay({"Default Hashrate": 140.0}, HBs=boards).hashrate_expected_hs == 140e12


def test_a_supply_that_measures_true_power_needs_no_volts_to_be_believed() -> None:
    assert powerplay().power_side == "model"
    told = powerplay({"Psu Info": {"FW": 25, "True Power": True}})
    assert (told.reported_power_w, told.power_side) == (2166.6174, "ac")
    assert powerplay({"Psu Info": {"True Power": False}}).power_side == "model"


@pytest.mark.parametrize(("said", "expected"), [([41, 47, 0], 47.0), ([], None), (None, None), (39, 39.0)])
def test_the_supply_has_thermometers_of_its_own(said: Any, expected: float | None) -> None:
    supply = {**EPIC["summary"]["Power Supply Stats"], "Temperature": said}
    assert heat(powerplay(**{"Power Supply Stats": supply})).get((Sensor.PSU, 0)) == expected


# --- Auradine hydro ----------------------------------------------------------------------------------------------


def test_the_coolant_of_a_hydro_is_told_at_the_place_of_the_control_board() -> None:
    def sensors(*degrees: float) -> list[dict[str, Any]]:
        return [{"ID": place, "Temperature": value} for place, value in enumerate(degrees)]

    page = {
        "STATUS": [{"STATUS": "S", "Msg": "Temperature"}],
        "Temperature": [
            {"ID": 0, "Name": "Control Board", "InletTemp": 34.5, "OutletTemp": "41.25C", "FlowRate": 9.8},
            {"ID": 1, "BoardTemp": sensors(51.0, 53.5), "ChipTemp": sensors(66.0, 71.5)},
            {"ID": 2, "BoardTemp": sensors(52.0), "ChipTemp": sensors(68.25)},
        ],
    }
    reading = reading_of(auradine.MAKE, {**answers_of("auradine-fluxos"), "temperature": page})
    assert heat(reading) == {
        (Sensor.INLET, 0): 34.5,
        (Sensor.OUTLET, 0): 41.25,
        (Sensor.BOARD, 1): 53.5,
        (Sensor.CHIP, 1): 71.5,
        (Sensor.BOARD, 2): 52.0,
        (Sensor.CHIP, 2): 68.25,
    }


# --- MARA 3.14, which states its unit ----------------------------------------------------------------------------


def mara_board(index: int, rate: float, *, is_there: bool = True) -> dict[str, Any]:
    return {
        "index": index, "present": is_there, "asic_num": 77 if is_there else 0, "asic_num_ideal": 77,
        "frequency_average": 540.5 if is_there else 0, "hashrate_average": rate * 0.99, "hashrate_ideal": rate * 1.05,
        "hashrate_realtime_10m": rate, "power_consumption_estimated": 900.5, "temperature_chip": [62.5],
        "temperature_pcb": [57.5], "temperature_raw": [47.5],
    }  # fmt: skip


def kaonsu(boards: list[dict[str, Any]], **brief: Any) -> MinerReading:
    told = {
        "elapsed": 5400, "hashrate_average": 79_000, "hashrate_ideal": 84_000, "hashrate_realtime": 80_000.5,
        "hashrate_realtime_1h": 79_500, "hashrate_stock": 120_000, "hashrate_unit": "GH/s", "indicator": "Degraded",
        "indicator_long": "Hash board error", "power_consumption_estimated": 1801, "power_source": "PSU",
        "status": "Mining", "status_long": "Mining...", "work_mode": "Auto", **brief,
    }  # fmt: skip
    overview = {"model": "Antminer S19k Pro", "model_extended": "Antminer S19k Pro (120TH)"}
    return reading_of(
        mara.MAKE, {"brief": told, "overview": overview, "hashboards": {"hashboards": boards}}, is_deep=True
    )


TWO_OF_THREE = [mara_board(0, 0.0, is_there=False), mara_board(1, 40_000.25), mara_board(2, 40_000.25)]


def test_the_rate_of_mara_firmware_has_the_window_of_the_boards_that_it_is_the_sum_of() -> None:
    reading = kaonsu(TWO_OF_THREE)
    assert (reading.make, reading.model, reading.algorithm) == ("Antminer", "S19k Pro", "sha256")
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (80_000.5e9, 600.0)
    assert kaonsu([mara_board(1, 40.0), mara_board(2, 40.0)]).hashrate_window_s is None  # another unit, it seems
    assert kaonsu([mara_board(1, 40_000.25), {"index": 2}]).hashrate_window_s is None  # one does not say
    young = kaonsu(TWO_OF_THREE, elapsed=599)
    assert (young.hashrate_hs, young.hashrate_window_s) == (80_000.5e9, None)


def test_what_its_lamp_says_is_an_error_and_a_board_that_is_missing_too() -> None:
    reading = kaonsu(TWO_OF_THREE)
    assert reading.errors == (
        MachineError("Degraded", "Hash board error"),
        MachineError("board_0", "board 0: not there"),
    )
    assert reading.state is OperatingState.MINING
    still = {"hashrate_realtime": 0, "hashrate_average": 0, "hashrate_ideal": 0}
    assert kaonsu([], **still).state is OperatingState.FAULTED
    fine = kaonsu([mara_board(1, 80_000.5)], indicator="Fully functional", indicator_long="")
    assert fine.errors == ()
    assert kaonsu([], indicator="Starting", indicator_long="Detecting boards").errors == ()


def test_boards_of_mara_firmware_tell_their_own_clock_and_rate() -> None:
    absent, board, _ = kaonsu(TWO_OF_THREE).boards
    assert (board.hashrate_hs, board.hashrate_window_s, board.chips) == (40_000.25e9, 600.0, 77)
    assert board.hashrate_expected_hs == pytest.approx(42_000.2625e9)
    assert board.frequency_hz == 540.5e6
    assert (absent.chips, absent.frequency_hz, absent.hashrate_hs) == (0, None, 0.0)


def test_a_curtailed_machine_under_mara_firmware_sleeps_at_what_it_would_do_awake() -> None:
    still = {"hashrate_realtime": 0, "hashrate_average": 0, "hashrate_realtime_1h": 0, "hashrate_ideal": 0}
    words = {"status": "Sleep", "status_long": "Sleeping...", "work_mode": "Sleep", "indicator": "Fully functional"}
    reading = kaonsu([mara_board(1, 0.0)], **still, **words, indicator_long="", power_consumption_estimated=25)
    assert (reading.state, reading.hashrate_hs, reading.reported_power_w) == (OperatingState.SLEEPING, 0.0, 25.0)
    assert reading.hashrate_expected_hs == 120_000e9
    assert reading.errors == ()


# --- Proto Rig ---------------------------------------------------------------------------------------------------

PROTO = answers_of("proto-1.8-simulator")


def test_what_is_over_is_no_error_of_a_rig() -> None:
    page = [
        {"error_code": "FanSlow", "message": "Fan 1 is slow", "error_level": "Warning", "expired_at": 1718000000},
        {"error_code": 1024, "message": "Hashboard 2 over temperature", "source": "hashboard", "slot": 2},
        {"error_code": "PsuFault", "message": "out of range", "expired_at": 0},
    ]
    reading = reading_of(proto.MAKE, {**PROTO, "errors": page})
    assert [(error.code, error.text) for error in reading.errors] == [
        ("1024", "Hashboard 2 over temperature"),
        ("PsuFault", "out of range"),
    ]


@pytest.mark.parametrize(
    ("named", "algorithm"),
    [
        ({"model": "Rig"}, "sha256"),
        ({"model": "Rig 2"}, "sha256"),
        ({"model": "R1", "product_name": "Proto Rig"}, "sha256"),
        ({"model": "Trigger", "product_name": "Proto"}, None),
        ({}, None),
    ],
)
def test_a_rig_is_one_by_its_model_or_by_its_product(named: dict[str, str], algorithm: str | None) -> None:
    system = {"system-info": {"manufacturer": "Proto", **named}}
    assert reading_of(proto.MAKE, {**PROTO, "system": system}).algorithm == algorithm


@pytest.mark.parametrize(
    ("password", "is_locked", "outcome"),
    [
        (None, False, OperatingState.MINING),
        (None, True, FaultKind.DENIED),
        ("right", False, OperatingState.MINING),
        ("right", True, OperatingState.MINING),
        ("wrong", False, OperatingState.MINING),
        ("wrong", True, FaultKind.DENIED),
    ],
)
async def test_a_rig_that_wants_its_password_gets_the_operators(
    password: str | None, is_locked: bool, outcome: OperatingState | FaultKind
) -> None:
    pages = {ask.what: PROTO[ask.name] for ask in proto.MAKE.asks if ask.name in PROTO}

    def answer(asked: Asked) -> bytes:
        if asked.target == "/api/v1/auth/login":
            is_right = json.loads(asked.body) == {"password": "right"}
            return page(b'{"access_token": "t0ken", "refresh_token": "r"}') if is_right else page(b"{}", 401)
        if is_locked and asked.headers.get("authorization") != "Bearer t0ken":
            return page(b"{}", 401)
        return page(json.dumps(pages[asked.target]).encode()) if asked.target in pages else page(b"{}", 404)

    async with scripted_pages(answer) as web:
        credential = None if password is None else Credential("", password)
        miner = NativeMiner(Line(web.host, {80: web.port}, credential), 30.0, "proto")
        try:
            told: OperatingState | FaultKind = (await miner.read()).state
        except PollError as error:
            told = error.kind
    assert told is outcome
    assert any(asked.target == "/api/v1/auth/login" for asked in web.asked) is (password is not None)


# --- SEALMINER ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "codes"),
    [
        ({"1 Online": False}, ["1 Online"]),
        ({"1 Online": "false", "2 Bad Chip Count": 3}, ["1 Online", "2 Bad Chip Count"]),
        ({"1 Online": False, "PM State": "Suspend"}, []),
        ({"1 Online": None}, []),
    ],
)
def test_a_board_that_is_away_is_an_error_where_the_machine_does_not_rest(
    told: dict[str, Any], codes: list[str]
) -> None:
    answers = answers_of("sealminer-stock-2025")
    answers["stats"]["STATS"][0] |= told
    assert [error.code for error in reading_of(sealminer.MAKE, answers).errors] == codes
