"""Stock Antminer: the mapping against a recorded S19 Pro, and the look over a real socket.

Expected numbers are read by hand from tests/captures/miners/antminer-stock-2022: `GHS 30m` 111 878.26, `GHS 5s`
110 566.89, `GHS av` 111 834.85 (summary), `total_rateideal` 110 000 GH/s, Elapsed 50 474 s.
"""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from scripted_miner import Answer, Hang, ScriptedMiner, captured, refuse, scripted_miner, wire

from collectors.catalogue import open_device
from collectors.miners.antminer import MAKE
from collectors.miners.hearing import said_from
from collectors.miners.identify import classify, identify
from collectors.miners.line import Line
from collectors.miners.native import NativeMiner
from collectors.miners.pyasic_adapter import PyasicMiner
from collectors.pdus.device import SnmpPdu
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, Sensor, Temperature
from fleet.site import fold_model, parse_nameplates

FOLDER = "antminer-stock-2022"
VERSION, SUMMARY, STATS, POOLS = (captured(FOLDER, name) for name in ("version", "summary", "stats", "pools"))


def parse(version: object, summary: object, stats: object, pools: object | None = None) -> MinerReading:
    """A reading from four replies; None = not asked. As a look does it: refused needed answers are its fault."""
    replies = {"version": version, "summary": summary, "stats": stats, "pools": pools}
    said = said_from(MAKE, {name: wire(reply) for name, reply in replies.items() if reply is not None})
    for name in ("summary", "stats"):
        if name in said.faults:
            raise said.faults[name]
    reading = MAKE.read(said)
    return replace(reading, warnings=(*reading.warnings, *dict.fromkeys(said.warnings)))


def open_at(server: ScriptedMiner, key: str | None = "antminer", deadline_s: float = 30.0) -> NativeMiner:
    """One machine at a scripted server; every other port of it is closed."""
    return NativeMiner(Line(server.host, {4028: server.port, 4433: 1, 80: 1}), deadline_s, key)


def edited(summary: dict[str, object] | None = None, stats: dict[str, object] | None = None) -> MinerReading:
    """The recorded machine with some fields of its summary and stats changed; None removes a field."""

    def change(row: Any, changes: dict[str, object]) -> dict[str, object]:
        return {key: value for key, value in (dict(row) | changes).items() if value is not None}

    totals: Any = SUMMARY["SUMMARY"]
    details: Any = STATS["STATS"]
    return parse(
        VERSION,
        SUMMARY | {"SUMMARY": [change(totals[0], summary or {})]},
        STATS | {"STATS": [details[0], change(details[1], stats or {})]},
        POOLS,
    )


def test_the_recorded_s19_pro() -> None:
    assert parse(VERSION, SUMMARY, STATS, POOLS) == MinerReading(
        driver="antminer",
        make="Antminer",
        model="S19 Pro",
        firmware="Tue Dec  6 16:12:30 CST 2022",
        algorithm="sha256",
        state=OperatingState.MINING,
        hashrate_hs=111_878.26e9,
        hashrate_window_s=1800.0,
        hashrate_key="GHS 30m",
        hashrate_now_hs=110_566.89e9,
        hashrate_expected_hs=110_000e9,
        temperatures=(
            Temperature(Sensor.BOARD, 1, 73.0),
            Temperature(Sensor.CHIP, 1, 78.0),
            Temperature(Sensor.BOARD, 2, 66.0),
            Temperature(Sensor.CHIP, 2, 71.0),
            Temperature(Sensor.BOARD, 3, 64.0),
            Temperature(Sensor.CHIP, 3, 69.0),
        ),
        fans_rpm=(6000.0, 5880.0, 5040.0, 5040.0),
        uptime_s=50_474.0,
        shares_accepted=4057.0,
        shares_rejected=11.0,
        shares_stale=1.0,
        difficulty_accepted=1_305_083_904.0,
        difficulty_rejected=2_490_368.0,
        pool_host="btc.global.luxor.tech",
        pool_alive=True,
    )


def test_no_window_is_longer_than_the_uptime() -> None:
    young = edited({"Elapsed": 1799})
    assert (young.hashrate_hs, young.hashrate_window_s) == (pytest.approx(111_834.85e9), 1799.0)
    assert edited({"Elapsed": 1800}).hashrate_window_s == 1800.0


@pytest.mark.parametrize(
    ("now", "elapsed", "state"),
    [
        (110_000.0, 50_000, OperatingState.MINING),
        (110_000.0, 299, OperatingState.WARMING_UP),
        (0.0, 299, OperatingState.WARMING_UP),
        (0.0, 50_000, OperatingState.IDLE),
    ],
)
def test_the_state_follows_the_evidence(now: float, elapsed: int, state: OperatingState) -> None:
    assert edited({"GHS 5s": now, "Elapsed": elapsed}).state is state


def test_a_machine_without_hashrate_is_unknown_and_not_stopped() -> None:
    silent = {"GHS 5s": "", "GHS 30m": "nan", "GHS av": None}
    reading = edited(silent, {"GHS 5s": None, "GHS av": None, "rate_30m": None})
    assert reading.state is OperatingState.UNKNOWN
    assert reading.hashrate_hs is None
    assert reading.hashrate_now_hs is None


def test_an_idle_machine_does_not_keep_the_average_of_its_history() -> None:
    reading = edited({"GHS 5s": 0.0, "GHS 30m": None}, {"GHS 5s": 0.0, "rate_30m": None})
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (None, None)
    assert reading.hashrate_now_hs == 0.0
    assert reading.state is OperatingState.IDLE
    assert "hashrate_history_only" in reading.warnings


def test_the_rate_unit_is_honoured() -> None:
    assert edited(stats={"rate_unit": "MH"}).hashrate_hs == pytest.approx(111_878.26e6)
    assert edited(stats={"rate_unit": "KSol"}).hashrate_hs is None
    assert edited(stats={"rate_unit": None}).hashrate_hs == pytest.approx(111_878.26e9)


@pytest.mark.parametrize(
    ("key", "said", "watts"),
    [("chain_power", "3250 W", 3250.0), ("power", 3400, 3400.0), ("Power", "3100", 3100.0), ("watt", 3010.5, 3010.5),
     ("power", 0, None), ("power", -1, None), ("chain_power", "", None)],
)  # fmt: skip
def test_watts_where_a_firmware_has_them(key: str, said: object, watts: float | None) -> None:
    reading = edited(stats={key: said})
    assert reading.reported_power_w == watts
    assert (reading.power_side is None) == (watts is None)


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"temp_pcb1": "0-0-0-0"}, None),
        ({"temp_pcb1": ""}, None),
        ({"temp_pcb1": "255-255-40-41"}, 41.0),
        ({"temp_pcb1": None, "temp_out_pcb_1": "60-61"}, 61.0),
        ({"temp_pcb1": 55}, 55.0),
    ],
)
def test_board_temperatures(stats: dict[str, object], expected: float | None) -> None:
    found = {(t.sensor, t.index): t.celsius for t in edited(stats=stats).temperatures}
    assert found.get((Sensor.BOARD, 1)) == expected


S9_FANS: dict[str, object] = {f"fan{i}": 0 for i in range(1, 9)} | {"fan_num": 2}


@pytest.mark.parametrize(
    ("stats", "rpm"),
    [
        ({"fan_num": None}, (6000.0, 5880.0, 5040.0, 5040.0)),
        ({"fan2": 0}, (6000.0, 0.0, 5040.0, 5040.0)),
        ({"fan2": ""}, (6000.0, None, 5040.0, 5040.0)),
        # an S9: eight places, the two fans are the third and the sixth
        (S9_FANS | {"fan3": 4200, "fan6": 4300}, (4200.0, 4300.0)),
        (S9_FANS | {"fan3": 4200}, (4200.0, 0.0)),
    ],
)  # fmt: skip
def test_fans(stats: dict[str, object], rpm: tuple[float | None, ...]) -> None:
    assert edited(stats=stats).fans_rpm == rpm


def with_type(name: str) -> MinerReading:
    row: Any = VERSION["VERSION"]
    identity: Any = STATS["STATS"]
    return parse(
        VERSION | {"VERSION": [row[0] | {"Type": name}]},
        SUMMARY,
        STATS | {"STATS": [identity[0] | {"Type": name}, identity[1]]},
        POOLS,
    )


@pytest.mark.parametrize(
    ("name", "model", "algorithm"),
    [
        ("Antminer S19j Pro (104T)", "S19j Pro", "sha256"),
        ("ANTMINER S9", "S9", "sha256"),
        ("Antminer S21+ Hyd.", "S21+ Hyd.", "sha256"),
        ("Antminer T21", "T21", "sha256"),
        ("Antminer L7", "L7", None),
        ("Antminer S190", "S190", None),
        ("Antminer D9", "D9", None),
        ("Antminer BHB42601", None, None),
    ],
)
def test_only_known_families_are_proven_sha256(name: str, model: str | None, algorithm: str | None) -> None:
    reading = with_type(name)
    assert (reading.model, reading.algorithm) == (model, algorithm)


def pool(**changes: object) -> dict[str, object]:
    """The first recorded pool, without its stratum connection unless that is given, and with these changes."""
    rows: Any = POOLS["POOLS"]
    row = {key: value for key, value in rows[0].items() if key != "Stratum URL" or "URL" not in changes}
    return row | {key.replace("_", " "): value for key, value in changes.items()}


@pytest.mark.parametrize(
    ("rows", "host", "alive"),
    [
        ([pool(Stratum_Active=False), pool(URL="stratum+tcp://B.example:3333")], "b.example", True),
        ([pool(URL="stratum+ssl://user:pass@c.example:443/x")], "c.example", True),
        ([pool(URL="d.example:3333")], "d.example", True),
        # a pool may send its miners elsewhere: the work goes where the connection is
        ([pool(URL="d.example:3333", Stratum_URL="elsewhere.example")], "elsewhere.example", True),
        ([pool(URL="http://[bad")], None, True),
        ([pool(URL="")], None, True),
        ([pool(Status="Dead")], "btc.global.luxor.tech", False),
        ([pool(Status="Dead", Stratum_Active=False)], None, False),
        ([pool(Stratum_Active=False)], None, None),
        ([], None, None),
    ],
)
def test_the_pool_that_gets_the_work(rows: list[object], host: str | None, alive: bool | None) -> None:
    reading = parse(VERSION, SUMMARY, STATS, POOLS | {"POOLS": rows})
    assert (reading.pool_host, reading.pool_alive) == (host, alive)
    assert "satokierepair" not in repr(reading)


def test_a_refused_summary_is_a_fault_and_refused_pools_are_not() -> None:
    denied = {"STATUS": [{"STATUS": "E", "Code": 45, "Msg": "Access denied to 'summary' command"}]}
    with pytest.raises(PollError) as caught:
        parse(VERSION, denied, STATS, POOLS)
    assert caught.value.kind is FaultKind.DENIED
    assert "pools_missing" in parse(VERSION, SUMMARY, STATS, denied).warnings


@pytest.mark.parametrize("empty", [{"STATUS": [{"STATUS": "S"}], "SUMMARY": [], "STATS": []}, {"STATUS": "S", "id": 1}])
def test_empty_sections_are_malformed(empty: dict[str, object]) -> None:
    with pytest.raises(PollError) as caught:
        parse(VERSION, empty, empty)
    assert caught.value.kind is FaultKind.MALFORMED


def test_a_missing_status_is_read_and_said() -> None:
    bare = {key: value for key, value in SUMMARY.items() if key != "STATUS"}
    reading = parse(VERSION, bare, STATS, POOLS)
    assert reading.hashrate_hs == pytest.approx(111_878.26e9)
    assert "no_status" in reading.warnings


LUXOS = {"STATUS": [{"STATUS": "S", "Description": "LUXminer 2025.4"}], "VERSION": [{"Type": "Antminer S19k Pro"}]}
BTMINER = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "invalid", "Description": "btminer"}]}


@pytest.mark.parametrize(
    ("version", "maker"),
    [
        (VERSION, "antminer"),
        (LUXOS, "luxos"),
        (BTMINER, "whatsminer"),
        ({"VERSION": [{"Miner": "vnish 1.2", "Type": "Antminer S19"}]}, "vnish"),
        ({"VERSION": [{"BOSer": "boser-openwrt 0.1"}]}, "braiins"),
        ({"VERSION": [{"PROD": "AvalonMiner 1566"}]}, "avalon"),
        ({"VERSION": [{"CGMiner": "4.9"}]}, None),
    ],
)
def test_custom_firmware_wins_over_the_hardware_it_names(version: dict[str, object], maker: str | None) -> None:
    assert classify(version) == maker


# --- over a socket -----------------------------------------------------------------------------------------------


def answers(**changes: Answer) -> dict[str, Answer]:
    plain: dict[str, Answer] = {
        "version": wire(VERSION), "summary": wire(SUMMARY), "stats": wire(STATS), "pools": wire(POOLS),
        "*": refuse(14, "Invalid command"),
    }  # fmt: skip
    return plain | changes


SINGLE = ["version+summary+stats+pools", "summary", "stats", "version", "pools", "stats"]
"""A first look at a machine that does not join: the attempt, each question alone, and `stats` in its new form."""


async def test_a_machine_that_does_not_join_is_asked_one_by_one_and_not_tried_again() -> None:
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        first = await miner.read()
        assert server.asked == SINGLE
        assert first == replace(parse(VERSION, SUMMARY, STATS, POOLS), way="antminer+single")
        for _ in range(9):
            assert (await miner.read()).pool_host == "btc.global.luxor.tech"
        assert server.asked[6:] == ["summary", "stats"] * 9
        await miner.read()
        assert server.asked[-4:] == ["summary", "stats", "pools", "stats"]


async def test_what_was_learned_is_handed_on_and_one_question_confirms_it() -> None:
    async with scripted_miner(answers()) as server:
        line = Line(server.host, {4028: server.port})
        await NativeMiner(line, 30.0, None, way="antminer+single").read()
    assert server.asked == ["version", "summary", "stats", "pools", "stats"]


async def test_a_machine_that_joins_is_asked_in_one_connection() -> None:
    parts = {"version": VERSION, "summary": SUMMARY, "stats": STATS, "pools": POOLS}
    joined = {"+".join(names): wire({name: [parts[name]] for name in names} | {"id": 1})
              for names in (("version", "summary", "stats", "pools"), ("summary", "stats"))}  # fmt: skip
    async with scripted_miner(answers(**joined)) as server:
        miner = open_at(server)
        first, second = await miner.read(), await miner.read()
    assert server.asked == ["version+summary+stats+pools", "stats", "summary+stats"]
    assert first == second == replace(parse(VERSION, SUMMARY, STATS, POOLS), way="antminer+joined")


async def test_silent_pools_cost_the_pool_and_not_the_hashrate() -> None:
    async with scripted_miner(answers(pools=b"")) as server:
        reading = await open_at(server).read()
    assert reading.hashrate_hs == pytest.approx(111_878.26e9)
    assert reading.pool_host is None
    assert "pools_missing" in reading.warnings


async def test_a_repaired_reply_says_so() -> None:
    async with scripted_miner(answers(stats=wire(STATS).replace(b"}, {", b"}{"))) as server:
        reading = await open_at(server).read()
    assert reading.warnings == ("repaired",)
    assert reading.hashrate_expected_hs == 110_000e9


async def test_another_model_at_the_address_is_a_fault_and_then_itself() -> None:
    identity: Any = STATS["STATS"]
    row: Any = VERSION["VERSION"]
    other = wire(STATS | {"STATS": [identity[0] | {"Type": "Antminer S21"}, identity[1]]})
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        await miner.read()
        server.answers |= {"stats": other, "version": wire(VERSION | {"VERSION": [row[0] | {"Type": "Antminer S21"}]})}
        with pytest.raises(PollError) as caught:
            await miner.read()
        assert caught.value.kind is FaultKind.IDENTITY
        assert (await miner.read()).model == "S21"


async def test_a_machine_told_to_be_stock_that_is_not_is_never_read_as_one() -> None:
    async with scripted_miner(answers(version=wire(LUXOS))) as server:
        with pytest.raises(PollError) as caught:
            await open_at(server).read()
    assert caught.value.kind is FaultKind.IDENTITY
    assert "luxos" in caught.value.detail


@pytest.mark.parametrize(
    ("version", "kind", "detail"),
    [
        (wire({"VERSION": [{"Miner": "intchains_qomo"}]}), FaultKind.UNSUPPORTED, "needs pyasic: goldshell"),
        (wire({"STATUS": "S", "VERSION": [{"API": "3.1"}]}), FaultKind.UNSUPPORTED, "needs pyasic: unknown"),
        (refuse(45, "Access denied to 'version' command"), FaultKind.DENIED, "denied"),
        (Hang(), FaultKind.TIMEOUT, ""),
    ],
    ids=["goldshell", "nameless", "denied", "hang"],
)  # fmt: skip
async def test_who_is_not_read_natively_is_named(version: Answer, kind: FaultKind, detail: str) -> None:
    async with scripted_miner(answers(version=version)) as server:
        with pytest.raises(PollError) as caught:
            await open_at(server, None, deadline_s=0.5).read()
    assert caught.value.kind is kind
    assert detail in caught.value.detail


async def test_auto_asks_who_it_is_once_and_then_reads_natively() -> None:
    async with scripted_miner(answers()) as server:
        miner = open_at(server, None)
        await miner.read()
        await miner.read()
    # identification has `version` already, so the joined attempt is without it
    assert server.asked == ["version", "summary+stats+pools", "summary", "stats", "pools", "stats", "summary", "stats"]


# --- catalogues --------------------------------------------------------------------------------------------------


def test_the_catalogue_opens_every_kind_and_names_what_it_knows() -> None:
    assert isinstance(open_device("antminer", "127.0.0.1", 4028, 5.0), NativeMiner)
    assert isinstance(open_device("auto", "127.0.0.1", 4028, 5.0, {}), NativeMiner)
    assert isinstance(open_device("pyasic", "127.0.0.1", 4028, 5.0, {"user": "u", "password": "p"}), PyasicMiner)
    pdu_options = {"profile": "auto", "version": "2c", "community": "public", "engine": "auto"}
    assert isinstance(open_device("snmp", "127.0.0.1", 161, 5.0, pdu_options), SnmpPdu)
    with pytest.raises(ValueError, match=r"unknown kind 'toaster'.*pyasic"):
        open_device("toaster", "127.0.0.1", 4028, 5.0, {})


def test_nameplates_cover_the_models_that_we_read_and_are_plausible() -> None:
    plates = parse_nameplates((files("fleet") / "nameplates.csv").read_text())
    for model in ("Antminer S19 Pro", "S19j Pro", "M30S++", "M50S", "Avalon 1566", "S21 XP Hyd."):
        assert fold_model(model) in plates
    s19_xp = plates[fold_model("S19 XP")]
    assert s19_xp.power_w / (s19_xp.hashrate_hs / 1e12) == pytest.approx(21.4, abs=0.1)
    for plate in plates.values():
        assert 10 < plate.power_w / (plate.hashrate_hs / 1e12) < 105, plate.model


# --- machines on water, and pages alone ----------------------------------------------------------------------------
# Shapes and numbers of an S23 Hyd. as asic-rs publishes them (Apache-2.0): pages with `watt`, no Type in the data row.

S23_PAGE = {
    "INFO": {"CompileTime": "Fri Jun 26 09:24:23 CST 2026", "type": "Antminer S23 Hyd."},
    "STATUS": {"STATUS": "S", "Msg": "stats", "api_version": "1.0.0"},
    "STATS": [
        {
            "elapsed": 167430, "rate_5s": 572845.56, "rate_avg": 576153.9, "rate_ideal": 581972.7, "rate_unit": "GH/s",
            "watt": 5525, "fan_num": 0, "fan": [],
            "chain": [{"index": i, "asic_num": 84, "freq_avg": 327, "rate_real": 188896.1, "rate_ideal": 194099.1,
                       "temp_pcb": [44, 44, 52, 52], "temp_chip": [44, 44, 56, 56], "temp_pic": [34, 34, 42, 42]}
                      for i in range(3)],
        }
    ],
}  # fmt: skip


def test_pages_alone_name_the_machine_and_its_watts() -> None:
    reading = MAKE.read(said_from(MAKE, {"web_stats": wire(S23_PAGE, b"")}))
    assert (reading.model, reading.algorithm) == ("S23 Hyd.", "sha256")
    assert (reading.reported_power_w, reading.power_key, reading.power_side) == (5525.0, "watt", "model")
    # no window of half an hour on this page: the average since the start, 46 hours ago
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (pytest.approx(576_153.9e9), 167_430.0)
    assert reading.fans_rpm == ()


def heat(reading: MinerReading) -> set[tuple[Sensor, int, float]]:
    return {(t.sensor, t.index, t.celsius) for t in reading.temperatures}


def test_only_the_s21_plus_holds_water_in_its_board_sensors() -> None:
    """An S23 Hyd. says `temp_pcb`, and nothing says that it means water; of an S21+ Hyd. it is known."""
    page = MAKE.read(said_from(MAKE, {"web_stats": wire(S23_PAGE, b"")}))
    assert heat(page) == {(sensor, i, c) for i in range(3) for sensor, c in ((Sensor.BOARD, 52.0), (Sensor.CHIP, 56.0))}
    chain = [{"index": 2, "rate_real": 600000, "asic_num": 120, "temp_pcb": [30, 51, 39, 52],
              "temp_pic": [80, 53, 54, 55]}]  # fmt: skip
    row = {"rate_5s": 600000, "rate_unit": "GH/s", "fan_num": 0, "fan": [], "chain": chain}
    version = {"STATUS": [{"STATUS": "S"}], "VERSION": [{"Type": "Antminer S21+ Hyd."}]}
    answers = {"version": version, "stats": {"STATUS": [{"STATUS": "S"}], "STATS": [row]}}
    wet = MAKE.read(said_from(MAKE, {name: wire(answer, b"") for name, answer in answers.items()}, is_deep=True))
    assert heat(wet) == {
        (Sensor.INLET, 0, 30.0),
        (Sensor.OUTLET, 0, 39.0),
        (Sensor.CHIP, 2, 80.0),
        (Sensor.BOARD, 2, 55.0),
    }
    assert [board.id for board in wet.boards] == ["2"]


def test_a_page_tells_what_the_api_leaves_out_of_its_boards() -> None:
    stats = {"STATUS": [{"STATUS": "S"}], "STATS": [
        {"Type": "Antminer S23 Hyd.", "CompileTime": "Fri Jun 26 09:24:23 CST 2026"},
        {"Elapsed": 167431, "GHS 5s": 572845.56, "GHS av": 576153.83, "rate_unit": "GH", "chain_acn1": 84,
         "chain_rate1": "188896.10", "chain_hw1": 506, "freq1": 327, "temp_pcb1": "44-44-52-52"},
    ]}  # fmt: skip
    page: Any = deepcopy(S23_PAGE)
    page["STATS"][0]["chain"][0]["sn"] = "SMTTHIS1"
    said = said_from(MAKE, {"stats": wire(stats), "web_stats": wire(page, b"")}, is_deep=True)
    reading = MAKE.read(said)
    (board,) = reading.boards
    assert (board.id, board.hardware_errors, board.serial) == ("1", 506.0, "SMTTHIS1")
    assert board.hashrate_expected_hs == pytest.approx(194_099.1e9)
    assert (reading.reported_power_w, reading.power_key) == (5525.0, "watt")


def test_an_l9_has_a_key_for_each_sensor_and_averages_its_boards() -> None:
    """The three `chain_rate` of the recorded one add up to `GHS av` 12.85, not to `GHS 5s` 11.48: `CHAIN AVG HASHRATE`
    stands beside them with the same numbers. `temp_out_chip` repeats the PCB, `temp2_1` is the chip."""
    row = {
        "Elapsed": 9153, "GHS 5s": 11.48, "GHS av": 12.85, "rate_30m": 11.47, "temp1": 64, "temp2_1": 81,
        "temp_in_pcb_1": "40", "temp_out_pcb_1": "64", "temp_in_chip_1": "59", "temp_out_chip_1": "64",
        "chain_acn1": 110, "chain_rate1": 5.659831296, "CHAIN AVG HASHRATE1": "5659.83 MH/s", "freq1": 1262,
    }  # fmt: skip
    stats = {"STATUS": [{"STATUS": "S"}], "STATS": [{"Type": "Antminer L9", "CompileTime": "2026"}, row]}
    reading = MAKE.read(said_from(MAKE, {"stats": wire(stats)}, is_deep=True))
    assert heat(reading) == {(Sensor.BOARD, 1, 64.0), (Sensor.CHIP, 1, 81.0)}
    (board,) = reading.boards
    assert (board.hashrate_hs, board.hashrate_window_s) == (pytest.approx(5.659831296e9), 9153.0)


def test_an_s9_numbers_its_boards_from_6_and_has_a_key_for_each_sensor() -> None:
    """Numbers of a recorded S9 with Hiveon."""
    row = {
        "Elapsed": 4271, "GHS 5s": "5904.657", "GHS av": 5847.82, "chain_power": "456.78 (AB)",
        **{f"chain_acn{i}": 63 if i in (6, 7) else 0 for i in range(1, 17)},
        **{f"temp{i}": {6: 53, 7: 52}.get(i, 0) for i in range(1, 17)},
        **{f"temp2_{i}": {6: 68, 7: 67}.get(i, 0) for i in range(1, 17)},
        "chain_rate6": "2948.61", "chain_rate7": "2956.04", "freq_avg6": 412, "freq_avg7": 411.46,
    }  # fmt: skip
    stats = {"STATUS": [{"STATUS": "S"}], "STATS": [{"Type": "Antminer S9 Hiveon", "CompileTime": "2021"}, row]}
    reading = MAKE.read(said_from(MAKE, {"stats": wire(stats)}, is_deep=True))
    assert heat(reading) == {
        (Sensor.BOARD, 0, 53.0),
        (Sensor.CHIP, 0, 68.0),
        (Sensor.BOARD, 1, 52.0),
        (Sensor.CHIP, 1, 67.0),
    }
    assert [(board.id, board.frequency_hz) for board in reading.boards] == [("6", 412e6), ("7", 411.46e6)]
    assert (reading.model, reading.reported_power_w) == ("S9", 456.78)


@pytest.mark.parametrize(("said", "errors"), [("PSU OK", ()), ("PSU power lost", ("PSU power lost",)), (None, ())])
def test_hiveon_tells_of_its_power_supply(said: str | None, errors: tuple[str, ...]) -> None:
    assert tuple(error.text for error in edited(stats={"psu_status": said}).errors) == errors


async def test_a_port_that_waits_for_more_is_asked_as_a_page() -> None:
    """ePIC serves HTTP on 4028 and may take our question for the begin of a longer one."""
    body = wire(captured("epic-powerplay-1.5", "capabilities"), b"")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(1)) == b"G":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        line = Line("127.0.0.1", {4028: server.sockets[0].getsockname()[1]})
        identified = await identify(line, asyncio.get_running_loop().time() + 2.0)
    assert identified.maker == "epic"


async def test_an_answer_that_fails_takes_the_old_one_along() -> None:
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        assert (await miner.read()).pool_host == "btc.global.luxor.tech"
        server.answers["pools"] = refuse(45, "Access denied to 'pools' command")
        readings = [await miner.read() for _ in range(10)]
    assert readings[8].pool_host == "btc.global.luxor.tech"  # not asked again yet
    assert readings[9].pool_host is None
    assert server.asked.count("pools") == 2


async def test_a_machine_that_was_away_says_again_who_it_is() -> None:
    async with scripted_miner(answers()) as server:
        miner = open_at(server, deadline_s=0.4)
        await miner.read()
        server.answers["summary"] = Hang()
        with pytest.raises(PollError):
            await miner.read()
        server.answers["summary"] = wire(SUMMARY)
        await miner.read()
    assert server.asked.count("version") == 2


async def test_a_machine_that_has_started_again_says_again_who_it_is() -> None:
    """Its firmware may be another one, although no look has missed it."""
    young = wire(SUMMARY | {"SUMMARY": [SUMMARY["SUMMARY"][0] | {"Elapsed": 12}]})  # type: ignore[index]
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        await miner.read()
        server.answers["summary"] = young
        await miner.read()
        assert server.asked.count("version") == 2
        await miner.read()
    assert server.asked.count("version") == 2


async def test_another_run_by_its_uptime_counts_only_after_everything_was_asked() -> None:
    """The address may be another machine's by now: what was kept of the first is not told of the second."""
    of_another = wire(SUMMARY | {"SUMMARY": [SUMMARY["SUMMARY"][0] | {"Elapsed": 90_000_000}]})  # type: ignore[index]
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        first = await miner.read()
        assert (first.uptime_s or 0.0) < 80_000_000
        server.answers["summary"] = of_another
        server.answers["pools"] = wire({"STATUS": [{"STATUS": "S"}], "POOLS": []})
        second = await miner.read()
    assert first.pool_host is not None
    assert (second.uptime_s, second.pool_host) == (90_000_000, None)


async def test_a_machine_that_stops_hashing_is_asked_everything_at_once() -> None:
    idle = SUMMARY["SUMMARY"][0] | {"GHS 5s": 0.0, "rate_5s": 0.0}  # type: ignore[index]
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        await miner.read()
        await miner.read()
        assert server.asked.count("pools") == 1
        server.answers["summary"] = wire(SUMMARY | {"SUMMARY": [idle]})
        await miner.read()
        assert server.asked.count("pools") == 2
        await miner.read()
    assert server.asked.count("pools") == 2


async def test_a_reading_says_how_old_its_slow_answers_are() -> None:
    async with scripted_miner(answers()) as server:
        miner = open_at(server)
        first = await miner.read()
        await asyncio.sleep(0.2)
        second = await miner.read()
    assert first.slow_age_s is None
    assert second.slow_age_s is not None
    assert 0.1 <= second.slow_age_s < 30.0
