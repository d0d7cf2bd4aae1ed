"""Braiins OS: both halves of the old firmware and the pages of the new one, beyond the recorded machines.

The recorded sets have nothing of the bosminer API; its replies here are built by hand after the keys that readers of it
use (`MHS 5m` in MH/s, ID 6 to 8 on an S9, `ApproximateMinerPowerConsumption`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted_miner import CAPTURES, ScriptedMiner, refuse, scripted_miner, wire
from scripted_pages import Asked, ScriptedPages, page, scripted_pages

from collectors.miners import braiins, braiins_rest, hearing
from collectors.miners.line import Line
from collectors.miners.make import Credential, Make
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, MinerReading, OperatingState, Sensor, Temperature

OLD, NEW, REST = "braiins-22.08-graphql", "braiins-25.05-graphql", "braiins-25.07-rest"

OK = [{"STATUS": "S", "When": 1771947051, "Code": 11, "Msg": "", "Description": "BOSminer+ 0.2.0"}]
VERSION = {"STATUS": OK, "VERSION": [{"API": "3.7", "BOSminer+": "0.2.0-11012d53"}], "id": 1}
RPC: dict[str, Any] = {
    "summary": {
        "STATUS": OK,
        "SUMMARY": [
            {
                "Elapsed": 7200, "MHS 5s": 9100000.0, "MHS 1m": 9000000.0, "MHS 5m": 8950000.0, "MHS 15m": 8940000.0,
                "MHS av": 8800000.0, "Accepted": 400, "Rejected": 3, "Stale": 1,
                "Difficulty Accepted": 13107200.0, "Difficulty Rejected": 98304.0,
            }
        ],
    },
    "tunerstatus": {
        "STATUS": OK,
        "TUNERSTATUS": [
            {
                "ApproximateMinerPowerConsumption": 735, "PowerLimit": 900,
                "TunerChainStatus": [
                    {"HashchainIndex": 6, "Status": "Stable"},
                    {"HashchainIndex": 7, "Status": "Tuning individual chips"},
                    {"HashchainIndex": 8, "Status": "Failed to start hash chain"},
                ],
            }
        ],
    },
    "devs": {
        "STATUS": OK,
        "DEVS": [
            {"ID": 6, "MHS 5m": 2980000.0, "Nominal MHS": 3017000.0, "Hardware Errors": 2},
            {"ID": 7, "MHS 5m": 2990000.0, "Nominal MHS": 3018000.0, "Hardware Errors": 0},
        ],
    },
    "temps": {"STATUS": OK, "TEMPS": [{"ID": 6, "Board": 71.0, "Chip": 81.6}, {"ID": 7, "Board": 0, "Chip": 89.2}]},
    "fans": {"STATUS": OK, "FANS": [{"ID": 0, "RPM": 4080, "Speed": 100}, {"ID": 1, "RPM": 5580, "Speed": 100}]},
    "pools": {
        "STATUS": OK,
        "POOLS": [
            {"POOL": 0, "URL": "stratum+tcp://btc.pool.example:3333", "Status": "Alive", "Stratum Active": True,
             "User": "account.worker", "Password": "secret"},
        ],
    },
    "devdetails": {
        "STATUS": OK, "DEVDETAILS": [{"ID": 6, "Chips": 63, "Model": "Antminer S9"}, {"ID": 7, "Chips": 63}],
    },
}  # fmt: skip


def recorded(folder: str, *names: str) -> dict[str, Any]:
    return {name: json.loads((CAPTURES / folder / f"{name}.json").read_text()) for name in names}


def reading(make: Make, said: Mapping[str, Any], is_deep: bool = False) -> MinerReading:
    raw = {name: json.dumps(answer).encode() for name, answer in said.items()}
    return make.read(hearing.said_from(make, raw, is_deep))


# --- the bosminer API --------------------------------------------------------------------------------------------


def test_the_bosminer_api_alone_is_a_whole_reading() -> None:
    told = reading(braiins.MAKE, RPC | {"version": VERSION}, is_deep=True)
    assert told.model == "S9"
    assert told.algorithm == "sha256"
    assert told.firmware == "0.2.0-11012d53"
    assert (told.hashrate_hs, told.hashrate_window_s, told.hashrate_key) == (8.95e12, 300.0, "MHS 5m")
    assert told.hashrate_now_hs == 9.1e12
    assert told.hashrate_expected_hs == pytest.approx(6.035e12)
    assert (told.reported_power_w, told.power_side, told.power_limit_w) == (735.0, "model", 900.0)
    assert told.power_key == "ApproximateMinerPowerConsumption"
    assert set(told.temperatures) == {  # boards 6 and 7 are columns 0 and 1; 0 degrees is no sensor
        Temperature(Sensor.BOARD, 0, 71.0),
        Temperature(Sensor.CHIP, 0, 81.6),
        Temperature(Sensor.CHIP, 1, 89.2),
    }
    assert told.fans_rpm == (4080.0, 5580.0)
    assert (told.shares_accepted, told.shares_stale, told.difficulty_accepted) == (400.0, 1.0, 13107200.0)
    assert (told.pool_host, told.pool_alive) == ("btc.pool.example", True)
    assert told.errors == (MachineError("board_8", "board 8: Failed to start hash chain"),)
    assert [(board.id, board.chips, board.hardware_errors) for board in told.boards] == [("6", 63, 2.0), ("7", 63, 0.0)]
    assert told.warnings == ()


def test_money_of_a_young_machine_is_its_minute() -> None:
    young = json.loads(json.dumps(RPC))
    young["summary"]["SUMMARY"][0]["Elapsed"] = 200
    told = reading(braiins.MAKE, young)
    assert (told.hashrate_window_s, told.hashrate_key, told.state) == (60.0, "MHS 1m", OperatingState.WARMING_UP)


def test_nothing_of_an_account_is_kept() -> None:
    said = hearing.said_from(braiins.MAKE, {"pools": json.dumps(RPC["pools"]).encode()})
    assert "secret" not in repr(said)
    assert "account" not in repr(said)


# --- GraphQL -----------------------------------------------------------------------------------------------------


def test_longer_windows_of_graphql_are_money() -> None:
    said = recorded(NEW, "gql_system")
    rates = said["gql_system"]["data"]["bosminer"]["info"]["workSolver"]["realHashrate"]
    rates |= {"mhs1M": 206e6, "mhs5M": 207e6, "mhs15M": 208e6, "mhsAv": 200e6}
    told = reading(braiins.MAKE, said)
    assert (told.hashrate_hs, told.hashrate_window_s, told.hashrate_key) == (207e12, 300.0, "mhs5M")
    assert "hashrate_5s_only" not in told.warnings


def test_one_query_carries_the_look_where_it_was_asked_for_all() -> None:
    """Boards and pools stand in `gql_system` then; the questions about parts of it were not asked."""
    said = recorded(NEW, "gql_system", "gql_boards", "gql_pools")
    info = said["gql_system"]["data"]["bosminer"]["info"]
    info["workSolver"] |= said.pop("gql_boards")["data"]["bosminer"]["info"]["workSolver"]
    info |= said.pop("gql_pools")["data"]["bosminer"]["info"]
    told = reading(braiins.MAKE, said)
    assert Temperature(Sensor.CHIP, 3, 69.5) in told.temperatures
    assert (told.pool_host, told.shares_accepted) == ("example.pool.com", 92_899.0)


@pytest.mark.parametrize("name", ["Max Board", "MAX_BOARD", "Board", "max board"])
def test_names_of_temperatures_changed_twice(name: str) -> None:
    """25.03 says "Max Board", 25.05 MAX_BOARD, 21.09 to 24.09 "Board"."""
    solver = {"name": "1", "temperatures": [{"name": name, "degreesC": 60.0}, {"name": "Ambient", "degreesC": 30.0}]}
    answer = {"data": {"bosminer": {"info": {"workSolver": {"childSolvers": [solver]}}}}}
    assert reading(braiins.MAKE, {"gql_boards": answer}).temperatures == (Temperature(Sensor.BOARD, 1, 60.0),)


def test_no_work_solver_is_no_mining() -> None:
    said = recorded(OLD, "gql_system")
    said["gql_system"]["data"]["bosminer"]["info"]["workSolver"] = None
    told = reading(braiins.MAKE, said)
    assert (told.state, told.hashrate_now_hs, told.hashrate_hs) == (OperatingState.IDLE, None, None)


def test_a_malformed_mac_is_no_mac() -> None:
    """02:55:97:22:3M:72 stands in a public recording."""
    said = recorded(OLD, "gql_system") | {"web_net_conf": [{"macaddr": "02:55:97:22:3M:72"}]}
    assert reading(braiins.MAKE, said).mac is None


def test_a_refused_query_costs_only_itself() -> None:
    said = recorded(OLD, "gql_system") | {"gql_tuning": {"data": None, "errors": [{"message": "Unknown field"}]}}
    told = reading(braiins.MAKE, said)
    assert (told.mode, told.power_limit_w) == (None, 900.0)


def test_news_is_no_error() -> None:
    appeals = [{"kind": "Info", "message": "an update is there"}, {"kind": "ERROR", "message": "fan 2 is stuck"}]
    said = recorded(OLD, "gql_system") | {"gql_events": {"data": {"events": {"appeals": appeals}}}}
    assert reading(braiins.MAKE, said).errors == (MachineError("error", "fan 2 is stuck"),)


def test_an_answer_about_nothing_is_no_reading() -> None:
    with pytest.raises(PollError) as caught:
        reading(braiins.MAKE, {"version": VERSION})
    assert caught.value.kind is FaultKind.MALFORMED


@asynccontextmanager
async def machine(
    rpc: Mapping[str, bytes] | None, pages: Mapping[str, Any]
) -> AsyncIterator[tuple[NativeMiner, ScriptedMiner, ScriptedPages]]:
    """A machine that answers GraphQL with the first of `pages` whose key is in the query. rpc None = port refused."""

    def graphql(asked: Asked) -> bytes:
        query = asked.body.decode()
        answer = next((answer for words, answer in pages.items() if words in query), {"errors": [{"message": "?"}]})
        return page(json.dumps(answer).encode())

    async with scripted_pages(graphql) as web, scripted_miner(rpc or {}) as api:
        ports = {4028: api.port if rpc is not None else 1, 80: web.port}
        yield NativeMiner(Line(web.host, ports), 30.0, "braiins"), api, web


def joined() -> dict[str, bytes]:
    names = "summary+tunerstatus+devs+temps+fans"
    members = {name: [reply] for name, reply in (RPC | {"version": VERSION}).items()}
    return {names: wire(members), f"{names}+pools+version+devdetails": wire(members)}


async def test_port_4028_carries_the_look_and_graphql_only_says_who_it_is() -> None:
    pages = {"bos {": recorded(OLD, "gql_system")["gql_system"], "modelName": {"data": {"bosminer": None}}}
    async with machine(joined(), pages) as (miner, api, web):
        looks = [await miner.read() for _ in range(3)]
    assert [look.hashrate_hs for look in looks] == [8.95e12] * 3
    assert [look.firmware for look in looks] == ["2022-09-13-0-11012d53-22.08-plus"] * 3
    assert [look.hostname for look in looks] == ["miner-60726c"] * 3
    assert len(api.asked) == 3
    assert sum(b"workSolver" in asked.body for asked in web.asked) == 0  # nothing of the look goes twice
    assert all(asked.method == "POST" and b"mutation" not in asked.body for asked in web.asked)


async def test_graphql_carries_the_look_where_port_4028_is_closed() -> None:
    async with machine(None, {"workSolver": recorded(NEW, "gql_system")["gql_system"]}) as (miner, _, web):
        looks = [await miner.read() for _ in range(2)]
    assert [look.hashrate_now_hs for look in looks] == [205_749_605_597_877.23] * 2
    assert sum(b"workSolver" in asked.body for asked in web.asked) == 2


async def test_two_closed_ports_are_a_machine_that_refuses() -> None:
    miner = NativeMiner(Line("127.0.0.1", {4028: 1, 80: 1}), 30.0, "braiins")
    with pytest.raises(PollError) as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.REFUSED


async def test_an_access_list_that_cuts_everything_is_a_denial() -> None:
    async with machine({"*": refuse(45, "Access denied to 'summary' command")}, {}) as (miner, _, __):
        with pytest.raises(PollError) as caught:
            await miner.read()
    assert caught.value.kind is FaultKind.DENIED


# --- REST --------------------------------------------------------------------------------------------------------

PAGES = ("miner_stats", "miner_details", "miner_hw_hashboards", "cooling_state", "pools", "performance_tuner_state")


def rest(**details: object) -> dict[str, Any]:
    said = recorded(REST, *PAGES)
    said["miner_details"] |= details
    return said


def stopped(said: dict[str, Any]) -> dict[str, Any]:
    rates = said["miner_stats"]["miner_stats"]["real_hashrate"]
    for window in ("last_5s", "last_1m", "last_5m"):
        rates[window] = {"gigahash_per_second": 0.0}
    return said


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (1, OperatingState.IDLE),
        (3, OperatingState.SLEEPING),
        (4, OperatingState.FAULTED),
    ],
)
def test_what_a_machine_that_does_not_hash_says_of_itself(status: int, state: OperatingState) -> None:
    assert reading(braiins_rest.MAKE, stopped(rest(status=status))).state is state
    silent = rest(status=status)
    silent["miner_stats"] = {}
    assert reading(braiins_rest.MAKE, silent).state is state


def test_whoever_hashes_is_not_asleep() -> None:
    assert reading(braiins_rest.MAKE, rest(status=3)).state is OperatingState.MINING


def test_a_window_longer_than_the_mining_process_is_not_used() -> None:
    """The system runs for a day, the miner for ten minutes: a restart of the program is a new start of its windows."""
    told = reading(braiins_rest.MAKE, rest(bosminer_uptime_s=100, system_uptime_s=86_400))
    assert (told.hashrate_window_s, told.hashrate_key, told.uptime_s) == (60.0, "last_1m", 100.0)


def test_an_unknown_unit_is_no_number() -> None:
    said = rest()
    said["miner_stats"]["miner_stats"]["real_hashrate"] = {"last_5m": {"petahash_per_second": 0.14}}
    assert reading(braiins_rest.MAKE, said).hashrate_hs is None


async def test_every_page_goes_with_the_token_of_the_login() -> None:
    said = recorded(REST, *PAGES)
    by_path = {ask.what: said[ask.name] for ask in braiins_rest.MAKE.asks if ask.name in said}

    def answer(asked: Asked) -> bytes:
        if asked.target == "/api/v1/auth/login":
            assert json.loads(asked.body) == {"username": "root", "password": "right"}
            return page(b'{"token": "t0ken", "timeout_s": 3600}')
        if asked.headers.get("authorization") != "t0ken":
            return page(b"", 401)
        return page(json.dumps(by_path[asked.target]).encode())

    async with scripted_pages(answer) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}, Credential("root", "right")), 30.0, "braiins_rest")
        looks = [await miner.read() for _ in range(2)]
    assert [look.hashrate_hs for look in looks] == [pytest.approx(142_400.81429465002e9)] * 2
    assert [asked.target for asked in web.asked].count("/api/v1/auth/login") == 1


async def test_without_a_login_nothing_is_asked_and_the_reason_is_said(free_port: int) -> None:
    miner = NativeMiner(Line("127.0.0.1", {80: free_port}), 30.0, "braiins_rest")
    with pytest.raises(PollError, match="needs a login") as caught:
        await miner.read()
    assert caught.value.kind is FaultKind.DENIED


async def test_a_wrong_password_is_a_denial() -> None:
    async with scripted_pages(lambda asked: page(b'{"error": "unauthorized"}', 401)) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}, Credential("root", "wrong")), 30.0, "braiins_rest")
        with pytest.raises(PollError) as caught:
            await miner.read()
    assert caught.value.kind is FaultKind.DENIED
    assert "wrong" not in str(caught.value)
