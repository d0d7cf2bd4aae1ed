"""MARA firmware: nobody has recorded one for us, so its pages are built by hand.

The shapes are those that public readers of the firmware take. They do not agree about the unit of `hashrate_realtime`,
which is why it is decided by size: the expected numbers below are read off the pages, with that rule.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from scripted_pages import Asked, page, scripted_pages

from collectors.miners import hearing
from collectors.miners.line import Line
from collectors.miners.make import Credential
from collectors.miners.mara import MAKE
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor, Temperature

BRIEF: dict[str, Any] = {
    "hashrate_realtime": 118.2, "hashrate_average": 117.0, "hashrate_ideal": 120_000.0,
    "power_consumption_estimated": 2760.4, "status": "Mining", "elapsed": 86_400,
}  # fmt: skip
PAGES: dict[str, Any] = {
    "brief": BRIEF,
    "overview": {"model": "S19K Pro", "version_firmware": "MARAFW 1.4", "mac": "02:00:5E:10:00:01"},
    "hashboards": {
        "hashboards": [
            {"index": i, "asic_num": 77, "hashrate_average": 39_000.0 + i, "serial_number": f"BRD{i}",
             "temperature_pcb": [40 + i, 55 + i], "temperature_chip": [60.5, 65.5 + i], "temperature_raw": [99.0]}
            for i in range(3)
        ]
    },
    "details": {
        "hashboard_infos": [
            {"index": 1, "asic_num": 76, "hashrate_avg": 1.0, "hashrate_ideal": 40_000.0, "voltage": 13.1,
             "frequency_avg": 545.0, "serial_number": "OTHER"}
        ]
    },
    "fans": {"fans": [{"current_speed": 5400}, {"current_speed": 0}, {"rpm": 5300}]},
    "pools": [
        {"index": 0, "url": "stratum+tcp://slow.pool.example:3333", "user": "a.b", "pass": "secret", "status": "Alive",
         "priority": 2, "accepted": 5, "rejected": 0},
        {"index": 1, "url": "stratum+tcp://main.pool.example:3333", "user": "a.b", "status": "Alive", "priority": 1,
         "accepted": 150, "rejected": 3},
        {"index": 2, "url": "stratum+tcp://dead.pool.example:3333", "user": "a.b", "status": "Dead", "priority": 0,
         "accepted": 0, "rejected": 0},
        {"index": 3, "url": "", "user": ""},
    ],
    "miner_config": {
        "mode": {"work-mode-selector": "Auto", "concorde": {"power-target": 2700}},
        "pools": [{"url": "x", "user": "y", "pass": "secret"}],
    },
    "network_config": {"hostname": "row-1"},
}  # fmt: skip


def reading(is_deep: bool = False, pages: dict[str, Any] | None = None, **brief: Any) -> MinerReading:
    """The pages above with some keys of the brief changed; None takes one away."""
    changed = {k: v for k, v in (BRIEF | brief).items() if v is not None}
    said = PAGES | {"brief": changed} | (pages or {})
    raw = {name: json.dumps(answer).encode() for name, answer in said.items() if answer is not None}
    return MAKE.read(hearing.said_from(MAKE, raw, is_deep))


def test_a_machine_at_work() -> None:
    told = reading()
    assert (told.driver, told.make, told.model, told.algorithm) == ("mara", "Antminer", "S19K Pro", "sha256")
    assert (told.firmware, told.mac, told.hostname) == ("MARAFW 1.4", "02005e100001", "row-1")
    assert told.state is OperatingState.MINING
    assert (told.hashrate_hs, told.hashrate_window_s, told.hashrate_key) == (118.2e12, None, "hashrate_realtime")
    assert (told.hashrate_now_hs, told.hashrate_expected_hs) == (118.2e12, 120e12)
    assert (told.reported_power_w, told.power_side) == (2760.4, "model")
    assert (told.mode, told.power_limit_w) == ("Auto", 2700.0)
    assert set(told.temperatures) == {
        Temperature(sensor, board, degrees)
        for board in range(3)
        for sensor, degrees in ((Sensor.BOARD, 55.0 + board), (Sensor.CHIP, 65.5 + board))
    }
    assert told.fans_rpm == (5400.0, 0.0, 5300.0)
    assert (told.uptime_s, told.shares_accepted, told.shares_rejected) == (86_400.0, 155.0, 3.0)
    # The dead pool of the highest priority gets nothing.
    assert (told.pool_host, told.pool_alive) == ("main.pool.example", True)
    assert told.warnings == ("hashrate_unit_guessed",)


@pytest.mark.parametrize(
    ("brief", "hs", "word"),
    [
        ({"hashrate_realtime": 118.2}, 118.2e12, "hashrate_unit_guessed"),  # TH/s, as one reader has it
        ({"hashrate_realtime": 118_200.0}, 118.2e12, "hashrate_unit_guessed"),  # GH/s, as the other
        ({"hashrate_realtime": 2_400.0}, 2.4e12, "hashrate_unit_guessed"),  # GH/s of a start: 2.4 PH/s is no machine
        ({"hashrate_realtime": 118.2, "hashrate_ideal": None}, 118.2e12, "hashrate_unit_guessed"),
        ({"hashrate_realtime": 118_200.0, "hashrate_ideal": None}, 118.2e12, "hashrate_unit_guessed"),
        ({"hashrate_realtime": 9e9}, None, "hashrate_implausible"),  # in no unit within reason
        ({"hashrate_realtime": 118_200.0, "hashrate_unit": "GH/s"}, 118.2e12, None),  # said, so believed
        ({"hashrate_realtime": 0.1182, "hashrate_realtime_unit": "PH/s"}, 118.2e12, None),
        ({"hashrate_realtime": 0}, 0.0, None),  # nothing is nothing in every unit
    ],
)
def test_the_unit_of_a_rate(brief: dict[str, Any], hs: float | None, word: str | None) -> None:
    told = reading(**{"hashrate_average": None} | brief)
    assert told.hashrate_now_hs == (None if hs is None else pytest.approx(hs))
    guesses = [warning for warning in told.warnings if warning.startswith("hashrate_")]
    assert guesses[-1:] == ([] if word is None else [word])


def test_ten_minutes_are_money() -> None:
    told = reading(hashrate_realtime_10m=116.5)
    assert (told.hashrate_hs, told.hashrate_window_s, told.hashrate_key) == (116.5e12, 600.0, "hashrate_realtime_10m")
    young = reading(hashrate_realtime_10m=116.5, elapsed=400)
    assert (young.hashrate_hs, young.hashrate_window_s) == (118.2e12, None)


@pytest.mark.parametrize(
    ("brief", "state"),
    [
        ({"hashrate_realtime": 0, "status": "Sleep"}, OperatingState.SLEEPING),
        ({"hashrate_realtime": 0, "work_mode": "Sleep", "status": None}, OperatingState.SLEEPING),
        ({"hashrate_realtime": 0, "status": "Failure"}, OperatingState.FAULTED),
        ({"hashrate_realtime": 0, "status": "Initializing"}, OperatingState.WARMING_UP),
        ({"hashrate_realtime": 0}, OperatingState.IDLE),
        ({"hashrate_realtime": None, "hashrate_average": None}, OperatingState.UNKNOWN),
        ({"status": "Paused"}, OperatingState.MINING),  # whoever hashes is not asleep
    ],
)
def test_states(brief: dict[str, Any], state: OperatingState) -> None:
    assert reading(**{"hashrate_average": None} | brief).state is state


def test_failures_in_words() -> None:
    told = reading(status="Failure", status_long="PSU communication lost")
    assert told.errors == (MachineError("Failure", "PSU communication lost"),)
    broken = {"hashboards": [{"index": 2, "status": "EEPROM error"}, {"index": 1, "status": "Mining"}]}
    assert reading(pages={"hashboards": broken}).errors == (MachineError("board_2", "board 2: EEPROM error"),)


def test_everything_that_is_told_of_a_board() -> None:
    told = reading(is_deep=True).boards
    assert [(b.id, b.hashrate_hs, b.chips, b.serial) for b in told] == [
        ("0", 39_000e9, 77, "BRD0"), ("1", 39_001e9, 77, "BRD1"), ("2", 39_002e9, 77, "BRD2"),
    ]  # fmt: skip
    assert [(b.hashrate_expected_hs, b.voltage_v, b.frequency_hz) for b in told] == [
        (None, None, None), (40e12, 13.1, 545e6), (None, None, None),
    ]  # fmt: skip


def test_pages_in_an_envelope_and_temperatures_by_place() -> None:
    boards = {"hashboards": [{"id": 1, "temperature_pcb": {"inlet": 45, "outlet": 52}, "temperature_chip": 70}]}
    told = reading(
        pages={name: {"data": PAGES[name]} for name in ("brief", "overview")} | {"hashboards": {"data": boards}}
    )
    assert (told.model, told.hashrate_hs) == ("S19K Pro", 118.2e12)
    assert set(told.temperatures) == {Temperature(Sensor.BOARD, 1, 52.0), Temperature(Sensor.CHIP, 1, 70.0)}


def test_another_algorithm_is_not_sha256() -> None:
    both = reading(pages={"overview": {"model": "S19KPRO", "model_extended": "Antminer S19k Pro"}})
    assert (both.make, both.model) == ("Antminer", "S19k Pro")
    kaspa = reading(pages={"overview": {"model": "Antminer KS5 Pro"}})
    assert (kaspa.make, kaspa.model, kaspa.algorithm) == ("Antminer", "KS5 Pro", None)


def test_nothing_of_an_account_is_kept_between_looks() -> None:
    said = hearing.said_from(MAKE, {"miner_config": json.dumps(PAGES["miner_config"]).encode()})
    assert "secret" not in repr(said)


async def test_every_page_is_behind_a_digest_login() -> None:
    def answer(asked: Asked) -> bytes:
        signed = asked.headers.get("authorization", "")
        if not re.search(r'^Digest .*username="root".*response="[0-9a-f]{32}"', signed):
            challenge = 'WWW-Authenticate: Digest realm="MaraFW", nonce="n0nce", qop="auth", algorithm=MD5'
            return page(b"", 401, challenge)
        return page(json.dumps(PAGES[asked.target.rsplit("/", 1)[1]]).encode())

    async with scripted_pages(answer) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}, Credential("root", "right")), 30.0, "mara")
        told = await miner.read()
        stranger = NativeMiner(Line(web.host, {80: web.port}), 30.0, "mara")
        with pytest.raises(PollError, match="needs a login") as caught:
            await stranger.read()
    assert (told.hashrate_hs, told.mac) == (118.2e12, "02005e100001")
    assert caught.value.kind is FaultKind.DENIED
    assert all(asked.target.startswith("/kaonsu/v1/") and asked.method == "GET" for asked in web.asked)
