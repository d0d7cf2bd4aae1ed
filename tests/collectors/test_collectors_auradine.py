"""Auradine: what the cgminer API says alone, what the pages on 8080 add, and how they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_miner import captured

from collectors.miners import auradine, hearing
from collectors.miners.make import Credential, Via
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState

SET = "auradine-fluxos"
RPC = ("summary", "version", "pools", "devs")
PAGES = ("mode", "psu", "ipreport")

REFUSED = {"STATUS": [{"STATUS": "E", "When": 1703711730, "Code": 45, "Msg": "Token expired", "Description": "FluxOS"}]}
FAN = {
    "STATUS": [{"STATUS": "S"}],
    "Fan": [{"ID": i, "Speed": 7000 + i, "Target": 7000, "Max": 7700} for i in (1, 2, 3, 4)],
}
TEMPERATURE = {
    "STATUS": [{"STATUS": "S", "Code": 590, "Msg": "System temperature"}],
    "Temperature": [
        {"ID": 0, "Name": "Control Board", "BoardTemp": [{"ID": 0, "Temperature": 24.9375}], "ChipTemp": None},
        {
            "ID": 1,
            "Name": "Hash Board 1",
            "BoardTemp": [{"ID": 0, "Temperature": 21.5}, {"ID": 3, "Temperature": 41.5}],
            "ChipTemp": [{"ID": 0, "Temperature": 45.83}, {"ID": 1, "Temperature": 45.03}],
        },
        {"ID": 2, "Name": "Hash Board 2", "BoardTemp": [{"ID": 0, "Temperature": 43.0}], "ChipTemp": None},
    ],
}


def look(*names: str, is_deep: bool = False, **replies: object) -> MinerReading:
    """A look at recorded replies by name, or at others given by keyword."""
    raw = {name: json.dumps(captured(SET, name)).encode() for name in names}
    raw |= {name: json.dumps(reply).encode() for name, reply in replies.items()}
    return auradine.MAKE.read(hearing.said_from(auradine.MAKE, raw, is_deep))


def summary(**changes: Any) -> dict[str, Any]:
    """The recorded summary with other values; `_` in a keyword is a blank."""
    reply: Any = captured(SET, "summary")
    reply["SUMMARY"][0] |= {name.replace("_", " "): value for name, value in changes.items()}
    return dict(reply)


def celsius(reading: MinerReading) -> set[tuple[str, int, float]]:
    return {(t.sensor.value, t.index, t.celsius) for t in reading.temperatures}


# --- with and without pages --------------------------------------------------------------------------------------


def test_the_api_alone_gives_a_reading() -> None:
    reading = look(*RPC)
    assert reading.hashrate_hs == pytest.approx(8.77858471373768e12)
    assert reading.state is OperatingState.MINING
    assert reading.pool_host == "btc.viabtc.io"
    assert celsius(reading) == {("board", 1, 28.25), ("board", 2, 29.06), ("board", 3, 30.12)}
    assert (reading.model, reading.mac, reading.algorithm) == (None, None, None)  # nothing proves what it hashes
    assert reading.firmware == "0.5"  # the mining process's, as nobody knows the firmware's
    assert reading.reported_power_w is None
    assert auradine.PAGES_MISSING in reading.warnings


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("answer", [REFUSED, [], "no", None, 7, {"STATUS": [{"STATUS": "S"}]}, {}])
def test_a_page_that_refuses_costs_only_what_it_would_have_said(page: str, answer: object) -> None:
    others = [name for name in (*RPC, *PAGES) if name != page]
    changed: dict[str, Any] = {page: answer}
    reading = look(*others, **changed)
    assert reading.hashrate_hs == pytest.approx(8.77858471373768e12)
    assert (reading.power_limit_w is None) == (page == "mode")
    assert (reading.reported_power_w is None) == (page == "psu")
    assert (reading.mac is None) == (page == "ipreport")


def test_an_error_in_a_page_is_a_fault_although_http_says_200() -> None:
    said = hearing.said_from(auradine.MAKE, {"psu": json.dumps(REFUSED).encode()})
    assert "psu" not in said
    assert said.faults["psu"].kind is FaultKind.DENIED


def test_fans_and_heat_of_their_own_pages() -> None:
    reading = look(*RPC, fan=FAN, temperature=TEMPERATURE)
    assert reading.fans_rpm == (7001.0, 7002.0, 7003.0, 7004.0)
    # the control board is no hash board; the page wins over the one value of `devs`
    assert celsius(reading) == {("board", 1, 41.5), ("chip", 1, 45.83), ("board", 2, 43.0)}


def test_the_lamps_tell_errors() -> None:
    fine = {"STATUS": [{"STATUS": "S"}], "LED": [{"Code": 2, "LED1": 1, "LED2": 1, "Msg": "Normal"}]}
    broken = {"STATUS": [{"STATUS": "S"}], "LED": [{"Code": 11, "LED1": 1, "LED2": 1, "Msg": "Fan failure"}]}
    assert look(*RPC, led=fine).errors == ()
    assert look(*RPC, led=broken).errors == (MachineError("LED 11", "Fan failure"),)
    stopped = summary(MHS_5s=0, MHS_1m=0, MHS_5m=0)
    assert look("pools", summary=stopped, led=broken).state is OperatingState.FAULTED


def test_chips_of_a_board_where_all_have_as_many() -> None:
    count = {"STATUS": [{"STATUS": "S"}], "ASCCount": [{"BoardCount": 3, "AsicCount": 396}]}
    assert {board.chips for board in look(*RPC, is_deep=True, asccount=count).boards} == {132}
    count["ASCCount"] = [{"BoardCount": 3, "AsicCount": 395}]
    assert {board.chips for board in look(*RPC, is_deep=True, asccount=count).boards} == {None}


# --- power -------------------------------------------------------------------------------------------------------


def supply(*rows: dict[str, str]) -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "S"}], "PSU": list(rows)}


@pytest.mark.parametrize(
    ("watts", "pages", "power", "dc_w"),
    [
        ({"Wattage": 3020}, {}, (3020.0, "ac", "Wattage"), None),
        ({"Wattage": 3020}, supply({"PowerIn": "3100.50W", "PowerOut": "2900.00W"}), (3020.0, "ac", "Wattage"), 2900.0),
        ({"Wattage": 0}, supply({"PowerIn": "3100.50W", "PowerOut": "2900.00W"}), (3100.5, "ac", "PowerIn"), 2900.0),
        ({}, supply({"PowerIn": "1500W"}, {"PowerIn": "1600W"}), (3100.0, "ac", "PowerIn"), None),
        ({}, supply({"PowerIn": "1500W"}, {"PowerIn": ""}), (None, None, None), None),  # half a sum is none
        ({}, supply({"PowerIn": "0.00W", "PowerOut": "0.00W"}), (None, None, None), None),
        ({}, supply({"PowerIn": "3.1kW"}), (None, None, None), None),  # no unit that scales
        ({}, supply(), (None, None, None), None),
    ],
)
def test_watts_with_their_units(
    watts: dict[str, int],
    pages: dict[str, Any],
    power: tuple[float | None, str | None, str | None],
    dc_w: float | None,
) -> None:
    told: dict[str, Any] = {"psu": pages} if pages else {}
    reading = look(summary=summary(**watts), **told)
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == power
    assert reading.dc_power_w == dc_w


def test_a_supply_that_gives_nothing_contradicts_a_machine_that_hashes() -> None:
    assert auradine.SUPPLY_CONTRADICTS in look("summary", "psu").warnings
    idle = look("psu", summary=summary(MHS_5s=0, MHS_5m=0))
    assert auradine.SUPPLY_CONTRADICTS not in idle.warnings
    assert (idle.reported_power_w, idle.dc_power_w) == (58.94, 0.0)


# --- state -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sleep", "rate", "state"),
    [
        ("off", 8e6, OperatingState.MINING),
        ("on", 0, OperatingState.SLEEPING),
        (True, 0, OperatingState.SLEEPING),
        ("off", 0, OperatingState.IDLE),
        (None, 0, OperatingState.IDLE),
        ("on", 8e6, OperatingState.MINING),  # told some looks ago: what it hashes now is the better word
    ],
)
def test_state_from_evidence(sleep: object, rate: float, state: OperatingState) -> None:
    mode = {"STATUS": [{"STATUS": "S"}], "Mode": [{"Mode": "normal", "Sleep": sleep}]}
    reading = look("pools", summary=summary(MHS_5s=rate, MHS_1m=rate, MHS_5m=rate), mode=mode)
    assert reading.state is state


def test_the_target_of_a_throttle_is_what_can_be_expected() -> None:
    assert look("mode", summary=summary(ThsThrottle=120.5)).hashrate_expected_hs == pytest.approx(120.5e12)


# --- login -------------------------------------------------------------------------------------------------------


def test_the_login_is_the_operators_and_gives_a_header() -> None:
    login = auradine.MAKE.login
    assert login is not None
    ask = login.ask(Credential("reader", "its secret"))
    assert (ask.via, ask.port, ask.what) == (Via.HTTP, 8080, "/token")
    assert json.loads(ask.body or b"") == {"command": "token", "user": "reader", "password": "its secret"}
    assert login.headers({"STATUS": [{"STATUS": "S"}], "Token": [{"Token": "abc.def"}]}) == {"Token": "abc.def"}


@pytest.mark.parametrize("answer", [REFUSED, {"STATUS": [{"STATUS": "S"}]}, {"Token": [{"Token": ""}]}, {"Token": "x"}])
def test_a_login_that_is_not_taken_is_denied(answer: object) -> None:
    login = auradine.MAKE.login
    assert login is not None
    with pytest.raises(PollError) as error:
        login.headers(answer)
    assert error.value.kind is FaultKind.DENIED


def test_nothing_is_written() -> None:
    assert all(ask.body is None for ask in auradine.MAKE.asks)


# --- hostile -----------------------------------------------------------------------------------------------------


EMPTY_SUMMARY = {"STATUS": [{"STATUS": "S"}], "SUMMARY": []}


def test_an_empty_summary_leaves_what_the_boards_say() -> None:
    reading = look("devs", summary=EMPTY_SUMMARY)
    assert (reading.hashrate_hs, reading.uptime_s, reading.state) == (None, None, "unknown")
    assert len(reading.temperatures) == 3


def test_without_summary_and_boards_there_is_no_reading() -> None:
    with pytest.raises(PollError) as error:
        look("pools", summary=EMPTY_SUMMARY)
    assert error.value.kind is FaultKind.MALFORMED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["ID", "Speed", "Temperature", "BoardTemp", "ChipTemp", "PowerIn", "Sleep", "Ths", "HBSerialNo"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SECTIONS = {
    "mode": "Mode", "psu": "PSU", "ipreport": "IPReport", "fan": "Fan", "temperature": "Temperature", "led": "LED",
    "devs": "DEVS", "asccount": "ASCCount", "version": "VERSION",
}  # fmt: skip


@given(st.sampled_from(sorted(SECTIONS)), JSON)
def test_a_page_of_anything_leaves_a_reading(name: str, junk: object) -> None:
    for page in (junk, {SECTIONS[name]: junk}):
        reading = look("summary", is_deep=True, **{name: page})
        assert reading.hashrate_key == "MHS 5m"
        assert reading.reported_power_w is None or reading.reported_power_w > 0.0
