"""Elphapex: a machine at work (the recorded one is idle), and the login without which it says nothing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from page_makes import answers_of, reading_of
from scripted_pages import Asked, page, scripted_pages
from strange_json import strange

from collectors.miners.elphapex import MAKE
from collectors.miners.line import Line
from collectors.miners.make import HTTP_PORT, Credential, Said, When
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, OperatingState, Sensor

RECORDED = answers_of("elphapex-stock")

# Built by hand after the shape of the page that was not recorded.
POOLS = {
    "POOLS": [
        {"index": 0, "url": "stratum+tcp://ltc.example.net:3333", "user": "acct.1", "status": "Dead", "priority": 0,
         "accepted": 40, "rejected": 2, "stale": 1, "discarded": 9},
        {"index": 1, "url": "stratum+tcp://doge.example.net:3333", "user": "acct.1", "status": "Alive", "priority": 1,
         "accepted": 500, "rejected": 3, "stale": 0, "discarded": 0},
        {"index": 2, "url": "", "user": "", "status": "Dead", "priority": 2, "accepted": 0, "rejected": 0},
    ]
}  # fmt: skip


def working(**changed: Any) -> dict[str, Any]:
    """The recorded machine, hashing for an hour."""
    answers = copy.deepcopy(RECORDED)
    rates = {"elapsed": 3600, "rate_5s": 3101.5, "rate_15m": 3011.25, "rate_30m": 3008, "rate_avg": 2999.5}
    answers["summary"]["SUMMARY"][0] |= rates | changed
    return answers | {"pools": POOLS}


def test_a_machine_at_work_is_told_in_scrypt_hashes() -> None:
    reading = reading_of(MAKE, working())
    assert (reading.algorithm, reading.state) == ("scrypt", OperatingState.MINING)
    assert (reading.hashrate_hs, reading.hashrate_window_s, reading.hashrate_key) == (3011.25e6, 900.0, "rate_15m")
    assert reading.hashrate_now_hs == 3101.5e6
    assert (reading.pool_host, reading.pool_alive) == ("doge.example.net", True)
    assert (reading.shares_accepted, reading.shares_rejected, reading.shares_stale) == (540.0, 5.0, 1.0)
    assert reading.warnings == ()


def test_a_young_machine_has_its_average_with_its_true_length() -> None:
    reading = reading_of(MAKE, working(elapsed=200))
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (2999.5e6, 200.0)
    assert reading.state is OperatingState.WARMING_UP


@pytest.mark.parametrize(("unit", "rate_hs"), [("MH/s", 3e6), ("GH/s", 3e9), ("kH/s", 3e3), ("Sol/s", None)])
def test_a_unit_that_we_do_not_know_makes_a_rate_unknown(unit: str, rate_hs: float | None) -> None:
    reading = reading_of(MAKE, working(rate_unit=unit, rate_15m=3))
    assert reading.hashrate_hs == rate_hs


@pytest.mark.parametrize(
    ("mode", "word", "state"),
    [(1, "sleep", OperatingState.SLEEPING), ("2", "high", OperatingState.IDLE), (9, None, OperatingState.IDLE)],
)
def test_the_work_mode(mode: object, word: str | None, state: OperatingState) -> None:
    conf = {**RECORDED["get_miner_conf"], "fc-work-mode": mode}
    reading = reading_of(MAKE, {**RECORDED, "get_miner_conf": conf})
    assert (reading.mode, reading.state) == (word, state)


def test_what_is_judged_and_not_good_is_an_error() -> None:
    judged = [
        {"type": "fans", "status": "e", "code": 7, "msg": "fan lost"},
        {"type": "temp", "status": "S", "code": 0, "msg": ""},
        {"type": "rate", "status": "", "code": 0, "msg": ""},
        {"type": "network", "status": "w", "code": 0, "msg": ""},
    ]
    reading = reading_of(MAKE, working(status=judged, rate_5s=0, rate_15m=0))
    assert [(e.code, e.text) for e in reading.errors] == [("fans_7", "fan lost"), ("network_0", "network not in order")]
    assert reading.state is OperatingState.FAULTED


def test_all_pools_dead_is_said() -> None:
    dead = {"POOLS": [{**row, "status": "Dead"} for row in POOLS["POOLS"]]}
    reading = reading_of(MAKE, {**working(), "pools": dead})
    assert reading.pool_alive is False


def test_an_empty_slot_repeats_no_board() -> None:
    reading = reading_of(MAKE, RECORDED, is_deep=True)
    assert [board.id for board in reading.boards] == ["3"]
    assert {t.index for t in reading.temperatures} == {0, 3}


def test_keys_that_mean_nothing_here_are_not_told() -> None:
    """Numbers of a DG1+ at full load that pyasic has published (Apache-2.0): `temp_pcb` is what the idle DG-Home1 has,
    `hw` is the number of chips, and a pool in use comes back as unreachable."""
    answers = working()
    chip, board = ["52812", "56937", "", ""], {"index": 1, "asic_num": 204, "hw": 204, "rate_real": 3550.11}
    answers["stats"]["STATS"][0]["chain"] = [board | {"temp_chip": chip, "temp_pcb": [47, 46, 67, 66]}]
    answers["pools"] = {"POOLS": [{"url": "stratum+tcp://a.example:3333", "status": "Unreachable", "priority": 0}]}
    reading = reading_of(MAKE, answers, is_deep=True)
    assert [(t.sensor, t.index, t.celsius) for t in reading.temperatures if t.sensor is not Sensor.PSU] == [
        (Sensor.CHIP, 1, 56.937)
    ]
    assert [(b.chips, b.hardware_errors) for b in reading.boards] == [(204, None)]
    assert reading.pool_alive is False
    answers["stats"]["STATS"][0]["chain"][0]["temp_pcb"] = [41, 40, 58, 57]
    assert (Sensor.BOARD, 58.0) in {(t.sensor, t.celsius) for t in reading_of(MAKE, answers).temperatures}


def test_without_a_login_nothing_is_known() -> None:
    with pytest.raises(PollError) as failed:
        MAKE.read(Said())
    assert failed.value.kind is FaultKind.DENIED
    assert all(ask.needs_login for ask in MAKE.asks)


@pytest.mark.parametrize("answer", [{}, [], None, 7, "text", {"SUMMARY": []}, {"SUMMARY": None, "STATS": [7]}])
def test_pages_without_a_row_are_no_reading(answer: object) -> None:
    with pytest.raises(PollError) as failed:
        reading_of(MAKE, {**RECORDED, "summary": answer, "stats": answer})
    assert failed.value.kind is FaultKind.MALFORMED


@given(strange(working()))
def test_whatever_it_sends_there_is_a_reading_or_a_poll_error(answers: dict[str, Any]) -> None:
    try:
        reading = reading_of(MAKE, answers, is_deep=True)
    except PollError:
        return
    assert reading.hashrate_hs is None or reading.hashrate_hs >= 0.0
    assert reading.algorithm != "sha256"


def test_accounts_and_passwords_are_dropped_at_once() -> None:
    conf = {
        **RECORDED["get_miner_conf"],
        "pools": [{"url": "stratum+tcp://p.example:1", "user": "u9", "pass": "hunter2"}],
    }
    told = repr(reading_of(MAKE, {**working(), "get_miner_conf": conf}, is_deep=True))
    assert not any(secret in told for secret in ("hunter2", "u9", "acct"))


def test_what_is_kept_between_looks_is_digested() -> None:
    assert all(ask.digest is not None for ask in MAKE.asks if ask.when in (When.ONCE, When.SLOW))


async def test_over_a_socket_the_login_costs_one_refusal() -> None:
    def answer(asked: Asked) -> bytes:
        if "authorization" not in asked.headers:
            return page(b"", 401, 'WWW-Authenticate: Digest realm="Daoge", nonce="n1", qop="auth"')
        name = asked.target.removeprefix("/cgi-bin/").removesuffix(".cgi")
        return page(json.dumps(RECORDED[name]).encode()) if name in RECORDED else page(b"", 404)

    async with scripted_pages(answer) as site:
        line = Line(site.host, {HTTP_PORT: site.port}, Credential("root", "secret"))
        reading = await NativeMiner(line, 30.0, key="elphapex").read()
        refused = [asked for asked in site.asked if "authorization" not in asked.headers]
        assert len(refused) == 1
        with pytest.raises(PollError) as failed:
            await NativeMiner(Line(site.host, {HTTP_PORT: site.port}), 30.0, key="elphapex").read()
    assert (reading.model, reading.mac) == ("DG-Home1", "b84c87e066b2")
    assert failed.value.kind is FaultKind.DENIED
