"""VNish: nobody has recorded one for us, so its pages are built by hand.

The shapes are those that public readers of the firmware take (1.2 to 1.3): boards numbered from 1, millivolts, sensors
with a status of their own, the developer's pool among the farm's. The expected numbers are read off the pages below.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from scripted_pages import Asked, page, scripted_pages

from collectors.miners import hearing
from collectors.miners.line import Line
from collectors.miners.make import Credential
from collectors.miners.native import NativeMiner
from collectors.miners.vnish import MAKE
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor, Temperature

INFO: dict[str, Any] = {
    "miner": "Antminer S19j Pro", "model": "s19jpro", "fw_name": "Vnish", "fw_version": "1.2.6", "platform": "xil",
    "algorithm": "sha256d", "hr_measure": "GH/s", "serial": "SNJ0001",
    "system": {
        "uptime": "27 days, 12:24",
        "network_status": {"mac": "02:6C:5E:A9:BC:ED", "dhcp": True, "hostname": "row-3-rack-7"},
    },
}  # fmt: skip


def chain(number: int, rate: float, pcb: int, chip: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "frequency": 545.0, "voltage": 13400, "hashrate_ideal": 34600.0, "hashrate_rt": rate,
        "hw_errors": number, "pcb_temp": {"min": 40, "max": pcb}, "chip_temp": {"min": 50, "max": chip},
        "chip_statuses": {"red": 1, "orange": 2, "grey": 123}, "status": {"state": "mining", "description": ""},
    } | more  # fmt: skip


SUMMARY: dict[str, Any] = {
    "miner": {
        "miner_type": "Antminer S19j Pro (Vnish 1.2.6)",
        "miner_status": {"miner_state": "mining", "miner_state_time": 6412, "throttled": 100},
        "hr_realtime": 103_500.0, "hr_nominal": 103_800.0, "hr_stock": 100_000.0,
        "power_usage": 29.5, "power_consumption": 3055,
        "chains": [chain(1, 34_400.0, 61, 76), chain(2, 34_500.0, 62, 77), chain(3, 34_600.0, 60, 75)],
        "cooling": {"fan_num": 4, "fan_duty": 72, "fans": [{"id": i, "rpm": 5400 + i} for i in range(4)]},
        "pools": [
            {"id": 0, "url": "backup.pool.example:443", "pool_type": "UserPool", "user": "account.worker",
             "status": "working", "accepted": 5, "rejected": 0, "stale": 0, "diffa": 1000.0},
            {"id": 1, "url": "stratum+tcp://main.pool.example:3333", "pool_type": "UserPool", "user": "account.worker",
             "status": "active", "accepted": 153, "rejected": 2, "stale": 1, "diffa": 31_850_496.0},
            {"id": 2, "url": "DevFee", "pool_type": "DevFee", "user": "DevFee", "status": "active",
             "accepted": 9, "rejected": 9, "stale": 9, "diffa": 9.0},
        ],
    },
}  # fmt: skip

PERF = {"current_preset": {"name": "3050", "pretty": "3050 watt ~ 104 TH", "status": "tuned"}}


def reading(miner: dict[str, Any] | None = None, is_deep: bool = False, **pages: Any) -> MinerReading:
    """The pages above with some keys of the summary's `miner` changed; None takes one away."""
    summary = deepcopy(SUMMARY)
    summary["miner"] = {k: v for k, v in (summary["miner"] | (miner or {})).items() if v is not None}
    said = {"summary": summary, "info": INFO, "perf_summary": PERF} | pages
    raw = {name: json.dumps(answer).encode() for name, answer in said.items() if answer is not None}
    return MAKE.read(hearing.said_from(MAKE, raw, is_deep))


def in_state(word: str, seconds: int = 6412) -> dict[str, Any]:
    return {"miner_status": {"miner_state": word, "miner_state_time": seconds}}


def test_a_machine_at_work() -> None:
    told = reading()
    assert (told.driver, told.make, told.model, told.algorithm) == ("vnish", "Antminer", "S19j Pro", "sha256")
    assert (told.firmware, told.serial, told.hostname) == ("1.2.6", "SNJ0001", "row-3-rack-7")
    assert told.mac == "026c5ea9bced"
    assert told.state is OperatingState.MINING
    # The firmware states no window for its rate: it is now's and money's, and a warning says so.
    assert (told.hashrate_hs, told.hashrate_window_s, told.hashrate_key) == (103.5e12, None, "hr_realtime")
    assert told.hashrate_now_hs == 103.5e12
    assert told.hashrate_expected_hs == 103.8e12  # hr_nominal is the preset's; hr_stock the model's
    assert (told.reported_power_w, told.power_side, told.power_key) == (3055.0, "model", "power_consumption")
    assert (told.mode, told.power_limit_w) == ("3050", 3050.0)
    assert set(told.temperatures) == {
        Temperature(sensor, board, degrees)
        for board, pcb, chip in ((1, 61.0, 76.0), (2, 62.0, 77.0), (3, 60.0, 75.0))
        for sensor, degrees in ((Sensor.BOARD, pcb), (Sensor.CHIP, chip))
    }
    assert told.fans_rpm == (5400.0, 5401.0, 5402.0, 5403.0)
    assert told.uptime_s == 27 * 86_400 + 12 * 3600 + 24 * 60
    # The farm's pools only: 5 + 153, 0 + 2, 0 + 1, 1000 + 31850496.
    assert (told.shares_accepted, told.shares_rejected, told.shares_stale) == (158.0, 2.0, 1.0)
    assert told.difficulty_accepted == 31_851_496.0
    assert (told.pool_host, told.pool_alive) == ("main.pool.example", True)
    assert told.warnings == ("hashrate_window_unknown",)


def test_without_boards_the_heat_of_the_whole_miner_is_told() -> None:
    told = reading({"chains": [], "pcb_temp": {"min": 43, "max": 50}, "chip_temp": {"min": 58, "max": 65}})
    assert set(told.temperatures) == {Temperature(Sensor.BOARD, 0, 50.0), Temperature(Sensor.CHIP, 0, 65.0)}


def test_everything_that_is_told_of_a_board() -> None:
    boards = [{"id": 2, "serial": "BRD2", "chips": [{"id": 1, "hr": 300.0}, {"id": 2, "hr": 0}, {"id": 3, "hr": 1.5}]}]
    told = reading(is_deep=True, chains=boards).boards
    assert [(b.id, b.hashrate_hs, b.hashrate_expected_hs) for b in told] == [
        ("1", 34.4e12, 34.6e12), ("2", 34.5e12, 34.6e12), ("3", 34.6e12, 34.6e12),
    ]  # fmt: skip
    assert [(b.chips, b.serial, b.hardware_errors) for b in told] == [
        (126, None, 1.0),
        (2, "BRD2", 2.0),
        (126, None, 3.0),
    ]
    assert {(b.frequency_hz, b.voltage_v) for b in told} == {(545e6, 13.4)}


def test_joules_per_terahash_are_no_watts() -> None:
    """New firmware says the efficiency under the key that held the watts."""
    told = reading({"power_consumption": None})
    assert told.reported_power_w is None
    assert "power_is_efficiency" in told.warnings
    old = reading({"power_consumption": None, "power_usage": 3055.0})
    assert (old.reported_power_w, old.power_key) == (3055.0, "power_usage")


def test_the_words_of_old_firmware() -> None:
    """1.2.0 has no info page for everyone, its rate in TH/s, and sensors instead of extremes."""
    sensors = [{"status": "measure", "temp": 36}, {"status": "error", "temp": 120}, {"status": "measure", "temp": 41}]
    old = chain(1, 34_400.0, 0, 51, pcb_temp_sens=sensors)
    del old["pcb_temp"]
    told = reading(
        {"hr_realtime": None, "instant_hashrate": 103.5, "hr_nominal": None, "hr_stock": None, "chains": [old]},
        info=None,
    )
    assert (told.hashrate_hs, told.hashrate_key) == (103.5e12, "instant_hashrate")
    assert told.hashrate_expected_hs == 34.6e12
    assert (told.model, told.firmware, told.algorithm) == ("S19j Pro", "1.2.6", "sha256")
    assert set(told.temperatures) == {Temperature(Sensor.BOARD, 1, 41.0), Temperature(Sensor.CHIP, 1, 51.0)}


def test_another_algorithm_has_another_unit() -> None:
    scrypt = INFO | {"miner": "Antminer L9", "algorithm": "scrypt", "hr_measure": "MH/s"}
    told = reading({"hr_realtime": 16_200.0, "hr_nominal": None, "hr_stock": 16_000.0}, info=scrypt)
    assert (told.algorithm, told.hashrate_hs, told.hashrate_expected_hs) == ("scrypt", 16.2e9, 16.0e9)
    unknown = reading({"hr_realtime": 16_200.0, "miner_type": "Antminer L9 (Vnish 1.3.4)"}, info=None)
    assert (unknown.hashrate_hs, unknown.algorithm) == (None, None)
    assert "hashrate_unit_unknown" in unknown.warnings


@pytest.mark.parametrize(
    ("word", "rate", "state"),
    [
        ("mining", 103_500.0, OperatingState.MINING),
        ("auto-tuning", 90_000.0, OperatingState.MINING),
        ("auto_tuning", 0.0, OperatingState.WARMING_UP),
        ("stopped", 0.0, OperatingState.SLEEPING),
        ("shutting-down", 0.0, OperatingState.SLEEPING),
        ("failure", 0.0, OperatingState.FAULTED),
        ("broken", 0.0, OperatingState.FAULTED),
        ("initializing", 0.0, OperatingState.WARMING_UP),
        ("restarting", 0.0, OperatingState.WARMING_UP),
        ("a word of tomorrow", 0.0, OperatingState.WARMING_UP),
        ("mining", 0.0, OperatingState.IDLE),
        ("stopped", 103_500.0, OperatingState.MINING),  # whoever hashes is not asleep
    ],
)
def test_states(word: str, rate: float, state: OperatingState) -> None:
    assert reading(in_state(word) | {"hr_realtime": rate}).state is state


def test_a_machine_that_has_just_begun_to_mine_warms_up_however_long_it_is_on() -> None:
    assert reading(in_state("mining", 100)).state is OperatingState.WARMING_UP


def test_failures_in_words() -> None:
    failed = {"miner_state": "failure", "failure_code": 212, "description": "PSU not found"}
    assert reading({"miner_status": failed}).errors == (MachineError("212", "PSU not found"),)
    boards = [
        chain(1, 0.0, 20, 20, status={"state": "failure", "description": "0 of 126 chips"}),
        chain(2, 1.0, 60, 70),
    ]
    assert reading({"chains": boards}).errors == (MachineError("board_1", "board 1: 0 of 126 chips"),)


def test_throttling_is_said() -> None:
    status = {"miner_state": "mining", "miner_state_time": 6412, "throttled": 80}
    assert "throttled" in reading({"miner_status": status}).warnings


def test_water_has_no_board() -> None:
    wet = [chain(i, 1.0, 50, 60, inlet_water_temp=30 + i, outlet_water_temp=40 + i) for i in (1, 2, 3)]
    told = reading({"chains": wet}).temperatures
    assert Temperature(Sensor.INLET, 0, 33.0) in told
    assert Temperature(Sensor.OUTLET, 0, 43.0) in told


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("10 days, 18:00", 928_800.0),
        ("9 days,  3:58", 791_880.0),
        ("1 day, 0:07", 86_820.0),
        ("12 days", 1_036_800.0),
        ("3:58", 14_280.0),
        ("0:04", 240.0),
        ("", None),
        ("soon", None),
        ("-3:10", None),
        (17, None),
        ("9" * 100_000, None),
    ],
)
def test_uptimes(words: object, seconds: float | None) -> None:
    info = INFO | {"system": {"uptime": words}}
    assert reading(info=info).uptime_s == seconds


@pytest.mark.parametrize(
    ("words", "host", "is_alive"),
    [
        (("working", "active"), "pool-1.example", True),
        (("working", "working"), "pool-0.example", True),
        (("rejecting", "offline"), None, None),
        (("disabled", "offline"), None, False),
    ],
)
def test_which_pool_gets_the_work(words: tuple[str, ...], host: str | None, is_alive: bool | None) -> None:
    listed = [
        {"url": f"pool-{i}.example:3333", "pool_type": "UserPool", "status": word} for i, word in enumerate(words)
    ]
    told = reading({"pools": listed})
    assert (told.pool_host, told.pool_alive) == (host, is_alive)


def test_preset_by_name_and_by_settings() -> None:
    off = reading(perf_summary={"current_preset": {"name": "disabled"}})
    assert (off.mode, off.power_limit_w) == ("disabled", None)
    settings = {"miner": {"overclock": {"preset": "2800"}, "pools": [{"url": "x", "user": "y", "pass": "secret"}]}}
    told = reading(perf_summary=None, settings=settings)
    assert (told.mode, told.power_limit_w) == ("2800", 2800.0)
    said = hearing.said_from(MAKE, {"settings": json.dumps(settings).encode()})
    assert "secret" not in repr(said)


def test_nothing_is_not_a_machine() -> None:
    with pytest.raises(PollError, match="says nothing of the miner"):
        reading(miner=None, summary={"miner": None})


async def test_pages_are_read_without_a_login_and_the_state_of_kept_ones_is_not_asked_again() -> None:
    said = {"/api/v1/summary": SUMMARY, "/api/v1/info": INFO, "/api/v1/perf-summary": PERF}
    pages = {path: page(json.dumps(answer).encode()) for path, answer in said.items()}
    async with scripted_pages(pages) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}), 30.0, "vnish")
        looks = [await miner.read() for _ in range(3)]
    assert [look.hashrate_hs for look in looks] == [103.5e12] * 3
    assert [look.mac for look in looks] == ["026c5ea9bced"] * 3
    targets = [asked.target for asked in web.asked]
    assert targets == [*said, "/api/v1/autotune/presets", "/api/v1/summary", "/api/v1/summary"]
    assert {asked.method for asked in web.asked} == {"GET"}


async def test_firmware_that_wants_its_password_gets_it_once() -> None:
    def answer(asked: Asked) -> bytes:
        if asked.target == "/api/v1/unlock":
            return page(b'{"token": "t0ken"}') if json.loads(asked.body) == {"pw": "right"} else page(b"{}", 403)
        if asked.headers.get("authorization") != "t0ken":
            return page(b"", 401)
        return page(json.dumps(SUMMARY if asked.target.endswith("summary") else INFO).encode())

    async with scripted_pages(answer) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}, Credential("admin", "right")), 30.0, "vnish")
        assert (await miner.read()).hashrate_hs == 103.5e12
        other = NativeMiner(Line(web.host, {80: web.port}, Credential("admin", "wrong")), 30.0, "vnish")
        with pytest.raises(PollError) as caught:
            await other.read()
    assert caught.value.kind is FaultKind.DENIED
