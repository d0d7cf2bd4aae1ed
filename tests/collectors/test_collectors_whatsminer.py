"""WhatsMiner of all three API generations: what their replies mean, where they lie, and their errors in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_miner import CAPTURES

from collectors.miners import hearing, makes, whatsminer, whatsminer_errors, whatsminer_v3
from collectors.miners.make import Make, Via, When
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor
from fleet.site import fold_model

V1 = "whatsminer-v1"
V3 = "whatsminer-v3"
TH = 1e12

Replies = dict[str, Any]


def recorded(folder: str, *names: str) -> Replies:
    return {name: json.loads((CAPTURES / folder / f"{name}.json").read_text()) for name in names}


def read(make: Make, replies: Replies, *, is_deep: bool = False) -> MinerReading:
    """A look at replies by the name of their question; bytes are taken as they are."""
    raw = {name: said if isinstance(said, bytes) else json.dumps(said).encode() for name, said in replies.items()}
    return make.read(hearing.said_from(make, raw, is_deep))


def celsius(reading: MinerReading, sensor: Sensor) -> dict[int, float]:
    return {t.index: t.celsius for t in reading.temperatures if t.sensor is sensor}


def codes(reading: MinerReading) -> list[str]:
    return [error.code for error in reading.errors]


# --- API v2, built from what is known of it: an M50S, 2023 firmware ------------------------------------------------


def answered(message: object) -> Replies:
    return {"STATUS": "S", "When": 1700000000, "Code": 131, "Msg": message, "Description": ""}


def summary(**changes: Any) -> Replies:
    """One SUMMARY row; None removes a key."""
    row = {
        "Elapsed": 25000, "MHS av": 124800000.0, "MHS 5s": 125300000.0, "MHS 1m": 124900000.0, "MHS 5m": 124500000.0,
        "MHS 15m": 124600000.0, "HS RT": 124500000.0, "Accepted": 5000, "Rejected": 10, "Temperature": 76.5,
        "Fan Speed In": 5200, "Fan Speed Out": 5260, "Power": 3250, "Uptime": 26000, "Hash Stable": True,
        "Target MHS": 120000000, "Env Temp": 31.5, "Power Mode": "Normal", "Factory GHS": 126000, "Power Limit": 3300,
        "Chip Temp Min": 70.0, "Chip Temp Max": 92.4, "Chip Temp Avg": 84.0, "Firmware Version": "'20230803.11.REL'",
    }  # fmt: skip
    row |= changes
    kept = {key: value for key, value in row.items() if value is not None}
    return {"STATUS": [{"STATUS": "S", "Msg": "Summary"}], "SUMMARY": [kept], "id": 1}


def devs(*boards: Replies) -> Replies:
    return {"STATUS": [{"STATUS": "S", "Code": 9}], "DEVS": list(boards), "id": 1}


def board(slot: int, **changes: Any) -> Replies:
    return {
        "ASC": slot, "Slot": slot, "Temperature": 75.0 + slot, "Chip Temp Max": 90.0 + slot, "Effective Chips": 117,
        "MHS 5m": 41500000.0, "Factory GHS": 42000, "Chip Frequency": 700, "Upfreq Complete": 1, "PCB SN": f"SN{slot}",
    } | changes  # fmt: skip


POOLS = {
    "STATUS": [{"STATUS": "S", "Code": 7}],
    "POOLS": [
        {"POOL": 1, "URL": "stratum+tcp://A.example:3333", "User": "secret.1", "Status": "Dead"},
        {
            "POOL": 2,
            "URL": "stratum+tcp://b.example:443",
            "User": "secret.2",
            "Status": "Alive",
            "Stratum Active": True,
        },
    ],
}
INFO = answered({"mac": "D4:01:02:03:04:05", "minersn": "HTM3X001", "hostname": "rack7-2", "ledstat": "auto"})
DETAILS = {"STATUS": [{"STATUS": "S", "Code": 69}], "DEVDETAILS": [{"DEVDETAILS": 0, "Model": "M50S_VH50"}]}
VERSION = answered({"api_ver": "2.0.5", "fw_ver": "20230803.11.REL", "platform": "H616", "chip": "x"})


def whole(**changes: Any) -> Replies:
    return {
        "summary": summary(**changes),
        "devs": devs(board(0), board(1), board(2)),
        "pools": POOLS,
        "get_version": VERSION,
        "get_miner_info": INFO,
        "devdetails": DETAILS,
        "status": answered({"mineroff": "false", "mineroff_reason": "", "FirmwareVersion": "'20230803.11.REL'"}),
    }


def test_v2_says_who_it_is_and_what_it_does() -> None:
    reading = read(whatsminer.MAKE, whole())
    assert (reading.make, reading.model, reading.algorithm) == ("WhatsMiner", "M50S VH50", "sha256")
    assert (reading.mac, reading.serial, reading.hostname) == ("d40102030405", "HTM3X001", "rack7-2")
    assert reading.firmware == "20230803.11.REL"
    assert reading.hashrate_hs == pytest.approx(124.5 * TH)
    assert (reading.hashrate_window_s, reading.hashrate_key) == (300.0, "MHS 5m")
    assert reading.hashrate_now_hs == pytest.approx(125.3 * TH)
    assert reading.hashrate_expected_hs == pytest.approx(126.0 * TH)
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (3250.0, "ac", "Power")
    assert (reading.power_limit_w, reading.mode) == (3300.0, "Normal")
    assert celsius(reading, Sensor.BOARD) == {0: 75.0, 1: 76.0, 2: 77.0}
    assert celsius(reading, Sensor.CHIP) == {0: 90.0, 1: 91.0, 2: 92.0}
    assert celsius(reading, Sensor.INLET) == {0: 31.5}
    assert reading.fans_rpm == (5200.0, 5260.0)
    assert (reading.pool_host, reading.pool_alive) == ("b.example", True)
    assert reading.state is OperatingState.MINING
    assert (reading.errors, reading.warnings, reading.boards) == ((), (), ())
    assert "secret" not in repr(reading)


def test_boards_are_told_only_to_who_wants_everything() -> None:
    replies = whole() | {"get_psu": answered({"model": "P222C", "fan_speed": "8000", "temp0": "41.5"})}
    reading = read(whatsminer.MAKE, replies, is_deep=True)
    assert [b.id for b in reading.boards] == ["0", "1", "2"]
    assert reading.boards[1].hashrate_expected_hs == pytest.approx(42.0 * TH)
    assert (reading.boards[1].serial, reading.boards[1].frequency_hz) == ("SN1", 700e6)
    assert celsius(reading, Sensor.PSU) == {0: 41.5}


# --- hashrate


def test_without_windows_the_realtime_rate_is_taken_for_five_minutes_and_says_so() -> None:
    gone = dict.fromkeys(("MHS 5s", "MHS 1m", "MHS 5m", "MHS 15m"))
    reading = read(whatsminer.MAKE, whole(**gone, **{"HS RT": 111000000.0}))
    assert reading.hashrate_hs == pytest.approx(111.0 * TH)
    assert (reading.hashrate_window_s, reading.hashrate_key) == (300.0, "HS RT")
    assert reading.hashrate_now_hs == pytest.approx(111.0 * TH)
    assert whatsminer.WINDOW_ASSUMED in reading.warnings


def test_the_quarter_hour_comes_before_the_realtime_rate() -> None:
    reading = read(whatsminer.MAKE, whole(**{"MHS 5m": None}))
    assert (reading.hashrate_key, reading.hashrate_window_s) == ("MHS 15m", 900.0)


@pytest.mark.parametrize(
    ("elapsed", "key", "window_s"),
    [(301, "MHS 5m", 300.0), (299, "MHS 1m", 60.0), (59, "MHS av", 59.0), (None, "MHS 5m", 300.0)],
)
def test_no_window_is_longer_than_the_uptime(elapsed: int | None, key: str, window_s: float) -> None:
    reading = read(whatsminer.MAKE, whole(Elapsed=elapsed))
    assert (reading.hashrate_key, reading.hashrate_window_s) == (key, window_s)
    assert ("uptime_unknown" in reading.warnings) is (elapsed is None)


def test_an_idle_machine_does_not_live_on_its_past() -> None:
    gone = dict.fromkeys(("MHS 1m", "MHS 5m", "MHS 15m", "HS RT"))
    reading = read(whatsminer.MAKE, whole(**gone, **{"MHS 5s": 0.0}))
    assert (reading.hashrate_hs, reading.hashrate_now_hs) == (None, 0.0)
    assert "hashrate_history_only" in reading.warnings


def test_factory_bin_that_is_not_known_gives_way_to_the_target() -> None:
    assert read(whatsminer.MAKE, whole(**{"Factory GHS": 0})).hashrate_expected_hs == pytest.approx(120.0 * TH)
    assert read(whatsminer.MAKE, whole(**{"Factory GHS": -0.003, "Target MHS": 0})).hashrate_expected_hs is None


def test_a_rate_that_no_float_holds_is_no_rate() -> None:
    reading = read(whatsminer.MAKE, whole(**{"MHS 5s": 1e305, "MHS 5m": 1e305, "Factory GHS": 1e305, "Target MHS": 0}))
    assert reading.hashrate_now_hs == pytest.approx(124.5 * TH)
    assert (reading.hashrate_expected_hs, reading.hashrate_key) == (None, "MHS 15m")


# --- watts, air, heat


@pytest.mark.parametrize(
    ("said", "realtime", "watts", "key"),
    [
        (-1, None, None, None),
        (-1, 3180, 3180.0, "Power_RT"),
        (0, None, None, None),
        ("3250 W", None, 3250.0, "Power"),
        ("", None, None, None),
    ],
)
def test_watts_that_are_not_known_are_not_said(said: Any, realtime: Any, watts: float | None, key: str | None) -> None:
    reading = read(whatsminer.MAKE, whole(Power=said, Power_RT=realtime))
    assert (reading.reported_power_w, reading.power_key) == (watts, key)
    assert reading.power_side == (None if watts is None else "ac")


@pytest.mark.parametrize(
    ("model", "changes", "rpm"),
    [
        ("M50S_VH50", {}, (5200.0, 5260.0)),
        ("M50S_VH50", {"Fan Speed In": 0, "Fan Speed Out": 0}, (0.0, 0.0)),  # air cooled, and both stand still
        ("M53_VH30", {"Fan Speed In": 0, "Fan Speed Out": 0}, ()),
        ("M56S++_VK20", {"Fan Speed In": 0, "Fan Speed Out": 0}, ()),
        ("M30S_V10", {"Fan Speed In": 0, "Fan Speed Out": 0, "Liquid Cooling": True}, ()),
        ("M50S_VH50", {"Fan Speed In": None}, (None, 5260.0)),
        ("M50S_VH50", {"Fan Speed In": None, "Fan Speed Out": None}, ()),
    ],
)
def test_a_machine_in_liquid_has_no_fans(model: str, changes: Replies, rpm: tuple[float | None, ...]) -> None:
    details = {"STATUS": [{"STATUS": "S"}], "DEVDETAILS": [{"Model": model}]}
    assert read(whatsminer.MAKE, whole(**changes) | {"devdetails": details}).fans_rpm == rpm


def test_without_boards_the_hottest_of_the_machine_is_told() -> None:
    replies = whole()
    del replies["devs"]
    reading = read(whatsminer.MAKE, replies)
    assert celsius(reading, Sensor.BOARD) == {0: 76.5}
    assert celsius(reading, Sensor.CHIP) == {0: 92.4}
    assert whatsminer.BOARDS_MISSING in reading.warnings


def test_sensors_that_are_not_there_are_not_cold() -> None:
    boards = devs(board(0, Temperature=0.0, **{"Chip Temp Max": -273.0}), board(1), board(2, Temperature=255))
    reading = read(whatsminer.MAKE, whole() | {"devs": boards})
    assert celsius(reading, Sensor.BOARD) == {1: 76.0}
    assert celsius(reading, Sensor.CHIP) == {1: 91.0, 2: 92.0}


# --- state


@pytest.mark.parametrize(
    ("word", "now", "state"),
    [
        ({"mineroff": "true", "mineroff_reason": "by whatsminer api"}, 0.0, OperatingState.SLEEPING),
        ({"btmineroff": "true"}, 0.0, OperatingState.SLEEPING),
        ({"btmineroff": "false"}, 0.0, OperatingState.IDLE),
        ({"mineroff": "true"}, 125300000.0, OperatingState.MINING),  # the word is old, the hash is not
        ({}, 0.0, OperatingState.IDLE),
    ],
)
def test_off_is_what_the_machine_says_and_the_hash_confirms(word: Replies, now: float, state: OperatingState) -> None:
    reading = read(whatsminer.MAKE, whole(**{"MHS 5s": now}) | {"status": answered(word)})
    assert reading.state is state


def test_a_machine_that_is_off_may_be_silent_about_the_rest() -> None:
    nothing = {"STATUS": [{"STATUS": "S"}], "SUMMARY": []}
    off = answered({"mineroff": "true"})
    assert read(whatsminer.MAKE, {"summary": nothing, "status": off}).state is OperatingState.SLEEPING
    with pytest.raises(PollError) as error:
        read(whatsminer.MAKE, {"summary": nothing, "status": answered({"mineroff": "false"})})
    assert error.value.kind is FaultKind.MALFORMED


@pytest.mark.parametrize(
    ("stable", "complete", "state"),
    [
        (True, 0, OperatingState.MINING),  # a board that never gets there does not keep a stable machine warming up
        (False, 0, OperatingState.WARMING_UP),
        (None, 0, OperatingState.WARMING_UP),
        (False, 1, OperatingState.MINING),
        (False, None, OperatingState.WARMING_UP),
        (None, None, OperatingState.MINING),
    ],
)
def test_the_tuner_says_whether_it_is_done(stable: bool | None, complete: int | None, state: OperatingState) -> None:
    boards = devs(board(0), board(1, **{"Upfreq Complete": complete}))
    if complete is None:
        boards = devs(board(0, **{"Upfreq Complete": None}))
    assert read(whatsminer.MAKE, whole(**{"Hash Stable": stable}) | {"devs": boards}).state is state


def test_a_board_without_chips_does_not_keep_the_machine_warming_up() -> None:
    boards = devs(board(0), board(1, **{"Upfreq Complete": 0, "Effective Chips": 0}))
    assert read(whatsminer.MAKE, whole(**{"Hash Stable": None}) | {"devs": boards}).state is OperatingState.MINING


def test_a_machine_with_an_error_and_no_hash_is_faulted() -> None:
    replies = whole(**{"MHS 5s": 0.0, "Error Code Count": 1, "Error Code 0": 530})
    assert read(whatsminer.MAKE, replies).state is OperatingState.FAULTED


# --- errors


def test_v1_errors_in_words() -> None:
    replies = recorded(V1, "devs", "pools", "status") | {
        "summary": recorded(V1, "summary_with_errors")["summary_with_errors"]
    }
    assert read(whatsminer.MAKE, replies).errors == (
        MachineError("110", "intake fan is not running as it should"),
        MachineError("600", "surrounding air is too hot"),
    )


@pytest.mark.parametrize(
    "said",
    [
        [{"218": "2024-06-15 10:30:00"}, {"530": "2024-06-15 10:31:00"}],
        [218, 530],
        ["218", 530],
        {"218": "2024-06-15 10:30:00", "530": "2024-06-15 10:31:00"},
        [{"218": "2024-06-15 10:30:00", "530": "2024-06-15 10:31:00"}, {"218": "again"}],
    ],
)
def test_v2_errors_in_all_their_shapes(said: object) -> None:
    reading = read(whatsminer.MAKE, whole() | {"get_error_code": answered({"error_code": said})})
    assert reading.errors == (
        MachineError("218", "below 230 V at the input: too low for high power mode"),
        MachineError("530", "hash board 0 not found"),
    )


def test_a_list_printed_like_an_object_is_read() -> None:
    raw = b'{"STATUS":"S","Code":131,"Msg":{"error_code":["329":"2022-01-17 11:28:11"]},"Description":""}'
    reading = read(whatsminer.MAKE, whole() | {"get_error_code": raw})
    assert reading.errors == (MachineError("329", "temperature sensor of the control board does not answer"),)


def test_summary_and_error_list_are_one_list() -> None:
    replies = whole(**{"Error Code Count": 2, "Error Code 0": 111, "Error Code 1": 218})
    assert codes(read(whatsminer.MAKE, replies | {"get_error_code": answered({"error_code": [218, 2010]})})) == [
        "111", "218", "2010",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said", [None, [], {}, "", 0, [0], [None], [[218]], "none", [-5], [True], [2.5], "12345678901"]
)
def test_no_error_is_made_up(said: object) -> None:
    assert whatsminer_errors.listed(said) == ()


def test_a_flood_of_errors_is_cut() -> None:
    assert len(whatsminer_errors.listed(list(range(1, 5000)))) == whatsminer_errors.MAX_ERRORS


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("300", "temperature sensor of hash board 0 not found"),
        ("352", "hash board 2 is off because it was too hot"),
        ("2021", "pool 1 cannot be reached"),
        ("541007", "chip 7 of hash board 1 is off because it was too hot"),
        ("5070", "coolant flow at hash board 0 is not normal"),
        ("8512", "fan speed is off grade 1"),
        ("9999", "unknown fault"),
        ("100003", "firmware was tampered with"),
        ("110001", "malware was found and removed: update the firmware"),
        # what no line names exactly is at least of a family
        ("199", "fan trouble"),
        ("299", "power supply trouble"),
        ("6789", "unknown fault"),
        ("2399", "hashrate trouble"),
        ("7", "unknown fault"),
    ],
)
def test_codes_in_words(code: str, words: str) -> None:
    assert whatsminer_errors.words(code) == words


@pytest.mark.parametrize("family", [*range(1, 10), 20, 21, 23, 50, 51, *range(80, 88), 90, 1000, 1001, 1100])
def test_every_family_has_words(family: int) -> None:
    assert whatsminer_errors.words(f"{family}99") != whatsminer_errors.UNKNOWN


# --- identity


@pytest.mark.parametrize(
    ("said", "name", "algorithm", "folded"),
    [
        ("M50_VH51", "M50 VH51", "sha256", "m50"),
        ("M30S+_VE40", "M30S+ VE40", "sha256", "m30s+"),
        ("M60S++_VL20", "M60S++ VL20", "sha256", "m60s++"),
        ("WhatsMiner M20S", "M20S", "sha256", "m20s"),
        ("M3", "M3", "sha256", "m3"),
        ("D1_V10", "D1 V10", None, "d1"),  # Decred: Blake-256
        ("M500", "M500", None, "m500"),
    ],
)
def test_model_names(said: str, name: str, algorithm: str | None, folded: str) -> None:
    model = whatsminer.model_of(said)
    assert model is not None
    assert (model.name, model.algorithm) == (name, algorithm)
    assert fold_model(model.name) == folded


@pytest.mark.parametrize("said", [None, "", "_", "WhatsMiner", 5.5, [], {"Model": 1}])
def test_no_model_is_made_up(said: object) -> None:
    assert whatsminer.model_of(said) is None


def test_without_a_model_the_algorithm_is_not_proven() -> None:
    replies = recorded(V1, "summary", "devs")
    assert read(whatsminer.MAKE, replies).algorithm is None
    assert read(whatsminer.MAKE, replies | {"get_version": answered({"miner_type": "M30S_V10"})}).model == "M30S V10"


@pytest.mark.parametrize("quoted", ["'20210322.22.REL'", '"20210322.22.REL"', "20210322.22.REL", " '20210322.22.REL' "])
def test_firmware_comes_out_of_its_quotes(quoted: str) -> None:
    assert read(whatsminer.MAKE, whole(**{"Firmware Version": quoted})).firmware == "20210322.22.REL"


def test_firmware_is_told_where_the_summary_has_none() -> None:
    replies = whole(**{"Firmware Version": None})
    assert read(whatsminer.MAKE, replies).firmware == "20230803.11.REL"
    replies |= {"get_version": answered({}), "status": answered({"Firmware Version": "'20220919.15.REL'"})}
    assert read(whatsminer.MAKE, replies).firmware == "20220919.15.REL"


def test_a_mac_that_is_none_is_no_mac() -> None:
    replies = whole(MAC="02:55:97:22:3M:72") | {"get_miner_info": answered({"mac": "00:00:00:00:00:00"})}
    assert read(whatsminer.MAKE, replies).mac is None


# --- API v3


def v3(**replaced: Any) -> Replies:
    names = ("get_miner_status_summary", "get_device_info", "get_miner_status_pools")
    return recorded(V3, *names) | replaced


def v3_summary(**changes: Any) -> Replies:
    reply: Replies = recorded(V3, "get_miner_status_summary")["get_miner_status_summary"]
    fields = {key.replace("_", "-"): value for key, value in changes.items()}
    reply["msg"]["summary"] |= fields
    return reply


def test_v3_without_boards_puts_the_hottest_chip_at_place_0() -> None:
    reading = read(whatsminer_v3.MAKE, v3())
    assert reading.hashrate_hs == pytest.approx(170.5 * TH)
    assert celsius(reading, Sensor.CHIP) == {0: 82.0}
    assert celsius(reading, Sensor.BOARD) == {0: 41.1, 1: 40.1, 2: 41.5}
    assert reading.boards == ()


def test_v3_errors_are_told_in_the_machine_s_own_words() -> None:
    info = recorded(V3, "get_device_info_with_errors")["get_device_info_with_errors"]
    reading = read(whatsminer_v3.MAKE, v3(get_device_info=info))
    assert reading.errors == (
        MachineError("264", "Power xfer error"),
        MachineError("265", "Power Unknow error"),
        MachineError("266", "Power Unknow error"),
        MachineError("267", "Power watch dog protected"),
        MachineError("270", "Power input over-voltage warning"),
    )
    assert reading.state is OperatingState.MINING


def test_v3_errors_without_a_reason_get_ours() -> None:
    info = {"code": 0, "msg": {"error-code": [{"264": "2026-05-23 09:19:10"}, {"reason": "no code beside it"}]}}
    assert read(whatsminer_v3.MAKE, v3(get_device_info=info)).errors == (
        MachineError("264", "power supply does not answer the control board"),
    )


@pytest.mark.parametrize(
    ("changes", "window_s", "key"),
    [
        ({"elapsed": 899}, 60.0, "hash-1min"),
        ({"elapsed": 30}, 30.0, "hash-average"),
        ({"hash_15min": None}, 60.0, "hash-1min"),
    ],
)
def test_v3_windows(changes: Replies, window_s: float, key: str) -> None:
    reading = read(whatsminer_v3.MAKE, v3(get_miner_status_summary=v3_summary(**changes)))
    assert (reading.hashrate_window_s, reading.hashrate_key) == (window_s, key)


def test_v3_sentinels_are_unknown() -> None:
    said = v3_summary(factory_hash=-0.003, power_5min=-1, power_realtime=0, board_temperature=[0, 41.0, None])
    reading = read(whatsminer_v3.MAKE, v3(get_miner_status_summary=said))
    assert reading.hashrate_expected_hs is None
    assert (reading.reported_power_w, reading.power_side) == (None, None)
    assert celsius(reading, Sensor.BOARD) == {1: 41.0}


@pytest.mark.parametrize(
    ("working", "errors", "state"),
    [
        ("false", [], OperatingState.SLEEPING),
        ("false", [{"530": "2026-05-23 09:19:10"}], OperatingState.FAULTED),
        ("true", [], OperatingState.IDLE),
    ],
)
def test_v3_not_working_is_asleep_unless_something_is_broken(
    working: str, errors: list[Replies], state: OperatingState
) -> None:
    info = {"code": 0, "msg": {"miner": {"working": working}, "error-code": errors}}
    said = v3_summary(hash_realtime=0.0)
    assert read(whatsminer_v3.MAKE, v3(get_device_info=info, get_miner_status_summary=said)).state is state


def test_v3_a_machine_that_does_not_work_may_be_silent_about_the_rest() -> None:
    empty = {"code": 0, "msg": {}}
    off = {"code": 0, "msg": {"miner": {"working": "false", "type": "M60S_VK40"}}}
    reading = read(whatsminer_v3.MAKE, {"get_miner_status_summary": empty, "get_device_info": off})
    assert (reading.state, reading.model) == (OperatingState.SLEEPING, "M60S VK40")
    with pytest.raises(PollError) as error:
        read(whatsminer_v3.MAKE, v3(get_miner_status_summary=empty))
    assert error.value.kind is FaultKind.MALFORMED


def test_v3_pools() -> None:
    rows = [
        {"url": "stratum+tcp://a.example:1", "account": "secret", "status": "dead", "stratum-active": False},
        {"url": "stratum+tcp://b.example:1", "account": "secret", "status": "alive", "stratum-active": True},
    ]
    reading = read(whatsminer_v3.MAKE, v3(get_miner_status_pools={"code": 0, "msg": {"pools": rows}}))
    assert (reading.pool_host, reading.pool_alive) == ("b.example", True)
    assert "secret" not in repr(reading)
    reading = read(whatsminer_v3.MAKE, v3(get_miner_status_pools={"code": 0, "msg": {"pools": rows[:1]}}))
    assert (reading.pool_host, reading.pool_alive) == (None, False)


def test_v3_a_refusal_is_a_fault_not_an_empty_reading() -> None:
    with pytest.raises(PollError) as error:
        read(whatsminer_v3.MAKE, {"get_miner_status_summary": {"code": -1, "msg": "invalid command"}})
    assert error.value.kind is FaultKind.UNSUPPORTED


# --- questions


def test_a_look_costs_one_connection() -> None:
    every = [ask for ask in whatsminer.MAKE.asks if ask.when is When.EVERY]
    assert [ask.name for ask in every if ask.joins] == [ask.name for ask in every] == ["summary", "devs"]
    every = [ask for ask in whatsminer_v3.MAKE.asks if ask.when is When.EVERY]
    assert [ask.request for ask in every] == [b'{"cmd":"get.miner.status","param":"summary"}']
    assert {(ask.via, ask.port) for ask in whatsminer_v3.MAKE.asks} == {(Via.FRAMED, 4433)}


@pytest.mark.parametrize("key", ["whatsminer", "whatsminer_v3"])
def test_what_is_kept_between_looks_is_small(key: str) -> None:
    make = makes.make_of(key)
    kept = [ask for ask in make.asks if ask.when in (When.SLOW, When.ONCE)]
    assert kept
    assert all(ask.digest is not None for ask in kept)


# --- hostile values

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def _poisoned(reply: Any, path: list[int], value: Any) -> Any:
    """The reply with the value put in somewhere along the path."""
    if not path or not isinstance(reply, (dict, list)) or not reply:
        return value
    if isinstance(reply, dict):
        key = sorted(reply)[path[0] % len(reply)]
        return reply | {key: _poisoned(reply[key], path[1:], value)}
    at = path[0] % len(reply)
    return [*reply[:at], _poisoned(reply[at], path[1:], value), *reply[at + 1 :]]


@given(st.data())
def test_whatever_stands_anywhere_it_is_a_reading_or_a_fault(data: st.DataObject) -> None:
    make, replies = data.draw(
        st.sampled_from(
            [
                (whatsminer.MAKE, whole() | {"get_error_code": answered({"error_code": [{"218": "x"}]})}),
                (whatsminer_v3.MAKE, v3() | recorded(V3, "get_miner_status_edevs")),
            ]
        )
    )
    name = data.draw(st.sampled_from(sorted(replies)))
    replies[name] = _poisoned(replies[name], data.draw(st.lists(st.integers(0, 40), max_size=4)), data.draw(_values))
    try:
        reading = read(make, replies, is_deep=data.draw(st.booleans()))
    except PollError:
        return
    assert reading.hashrate_hs is None or 0.0 <= reading.hashrate_hs < float("inf")
    assert reading.reported_power_w is None or reading.reported_power_w > 0.0
    assert all(-40.0 <= t.celsius <= 150.0 for t in reading.temperatures)
    assert all(text is None or text.isprintable() for text in (reading.model, reading.firmware, reading.serial))
