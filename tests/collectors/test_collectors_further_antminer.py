"""Antminers beyond the recorded ones: older, newer, asleep, on water, for other algorithms, and with other firmware.

Keys, spellings and which of them contradict each other are those of machines that people have shown in public; the
numbers are invented. What a reading must say is worked out by hand beside each.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from scripted_miner import Answer, Hang, refuse, scripted_miner, wire

from collectors.miners import makes
from collectors.miners.antminer import MAKE
from collectors.miners.hearing import said_from
from collectors.miners.identify import classify
from collectors.miners.line import Line
from collectors.miners.native import NativeMiner
from collectors.miners.pools import digest
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, Sensor

OK = [{"STATUS": "S"}]
BUILT = "Tue Aug 20 10:00:00 CST 2019"


def rpc(section: str, *rows: object) -> dict[str, object]:
    return {"STATUS": OK, section: list(rows), "id": 1}


def look(
    kind: str, totals: Mapping[str, object] | None, *details: Mapping[str, object], **pages: object
) -> MinerReading:
    """What a machine of this `Type` gives to somebody who asks everything; no `totals` = `summary` was not answered."""
    replies: dict[str, object] = {
        "version": rpc("VERSION", {"API": "3.1", "CompileTime": BUILT, "Type": kind}),
        "stats": rpc("STATS", {"CompileTime": BUILT, "Type": kind}, *details),
        **pages,
    }
    if totals is not None:
        replies["summary"] = rpc("SUMMARY", totals)
    return MAKE.read(said_from(MAKE, {name: wire(reply) for name, reply in replies.items()}, is_deep=True))


def heat(reading: MinerReading) -> set[tuple[Sensor, int, float]]:
    return {(t.sensor, t.index, t.celsius) for t in reading.temperatures}


def pool(number: int, url: str, *, active: bool, status: str = "Alive") -> dict[str, object]:
    return {
        "POOL": number,
        "URL": url,
        "Stratum URL": url if active else "",
        "Status": status,
        "Stratum Active": active,
    }


# --- asleep ----------------------------------------------------------------------------------------------------------

STILL: dict[str, object] = {"GHS 5s": 0.0, "GHS av": 0.0}


def test_an_s21_that_sleeps_says_one_second_for_hours_and_is_not_warming_up() -> None:
    """Stock S21 and T21 in sleep mode: `stats` names the machine and nothing else, `Elapsed` stays at 1."""
    reading = look("Antminer S21", STILL | {"Elapsed": 1})
    assert (reading.state, reading.hashrate_now_hs) == (OperatingState.IDLE, 0.0)
    asleep = look("Antminer S21", STILL | {"Elapsed": 1}, get_miner_conf={"bitmain-work-mode": "1"})
    assert (asleep.state, asleep.mode) == (OperatingState.SLEEPING, "sleep")


@pytest.mark.parametrize(
    ("kind", "elapsed", "mode", "state"),
    [
        ("Antminer S21+", 0, 1, OperatingState.SLEEPING),  # the firmware of 2025 tells the mode, and its clock stands
        ("Antminer S21+", 0, 0, OperatingState.IDLE),
        ("Antminer T17+", 8105, 254, OperatingState.SLEEPING),
        ("Antminer S17 Pro", 8105, 1, OperatingState.IDLE),  # here 1 is a way to hash
        ("Antminer S19", 735, 2, OperatingState.IDLE),  # always 2, asleep or not
        ("Antminer S19", 299, 2, OperatingState.WARMING_UP),
    ],
)
def test_stats_tell_the_sleep_of_some(kind: str, elapsed: int, mode: int, state: OperatingState) -> None:
    assert look(kind, STILL | {"Elapsed": elapsed}, {"Elapsed": elapsed, "Mode": mode} | STILL).state is state


def test_the_s17_generation_has_its_own_number_for_sleep() -> None:
    reading = look("Antminer S17", STILL | {"Elapsed": 900}, get_miner_conf={"bitmain-work-mode": "254"})
    assert (reading.state, reading.mode) == (OperatingState.SLEEPING, "sleep")


def test_who_hashes_is_not_asleep_whatever_the_mode() -> None:
    totals = {"GHS 5s": "54000.5", "GHS av": 54100.25, "Elapsed": 250_000}
    assert look("Antminer S17 Pro", totals, {"Mode": 1, "Elapsed": 250_000}).state is OperatingState.MINING


@pytest.mark.parametrize(("status", "state"), [("Alive", OperatingState.FAULTED), ("Dead", OperatingState.IDLE)])
def test_an_error_is_the_reason_for_a_standstill_where_a_pool_is_there(status: str, state: OperatingState) -> None:
    """A machine that does not hash holds no stratum, so no pool is active; only dead ones are a reason of their own."""
    check = {"type": "fans", "status": "e", "code": "F1", "msg": "fan lost"}
    reading = look(
        "Antminer S19",
        STILL | {"Elapsed": 9000},
        web_errors={"SUMMARY": [{"status": [check]}]},
        pools=rpc("POOLS", pool(0, "stratum+tcp://farm.example:3333", active=False, status=status)),
    )
    assert (reading.state, [error.code for error in reading.errors]) == (state, ["F1"])


# --- what the numbers that are called GHS are in ---------------------------------------------------------------------


def test_a_machine_for_another_algorithm_tells_its_unit_in_a_text() -> None:
    """L7 and L9 use the same keys for MH/s and for GH/s. Boards are always in G: 3.1 GH/s beside "3100.00 MH/s"."""
    l7 = look(
        "Antminer L7",
        {"GHS 5s": 9500.0, "GHS 30m": 9400.0, "Elapsed": 9000, "RT HASHRATE": "9500.01 MH/s"},
        {"chain_acn1": 120, "chain_rate1": 3.1, "CHAIN AVG HASHRATE1": "3100.00 MH/s", "total_rateideal": 9300.0},
    )
    assert (l7.hashrate_now_hs, l7.hashrate_hs, l7.hashrate_expected_hs) == (9.5e9, 9.4e9, 9.3e9)
    assert [board.hashrate_hs for board in l7.boards] == [pytest.approx(3.1e9)]
    l9 = look("Antminer L9", {"GHS 5s": 16.5, "GHS 30m": 16.4, "Elapsed": 9000, "RT HASHRATE": "16.51 GH/s"}, {})
    assert (l9.hashrate_now_hs, l9.algorithm) == (16.5e9, None)


@pytest.mark.parametrize(
    ("kind", "totals"),
    [
        ("Antminer Z15", {"GHS 5s": "380000.5"}),  # Sol/s
        ("Antminer Z15 Pro", {"GHS 5s": 890.24, "RT HASHRATE": "890.25 Ksol/s"}),
        ("Antminer D3", {"GHS 5s": "16300.5"}),  # MH/s
    ],
)
def test_a_rate_whose_unit_nobody_tells_is_no_rate_but_proves_work(kind: str, totals: dict[str, object]) -> None:
    reading = look(kind, totals | {"Elapsed": 54_000}, {"chain_acn1": 60, "chain_rate1": "5200.5"})
    assert (reading.hashrate_hs, reading.hashrate_now_hs) == (None, None)
    assert [(board.hashrate_hs, board.hashrate_window_s) for board in reading.boards] == [(None, None)]
    assert reading.state is OperatingState.MINING
    assert "hashrate_unit_unknown" in reading.warnings


@pytest.mark.parametrize(
    ("said", "now_hs", "expected_hs"),
    [
        ({"RT HASHRATE": "9900.00 MH/s", "GHS 5s": 9.9, "AV HASHRATE": "0.00 H/s", "GHS av": 0.0}, 9.9e9, 16e9),
        ({"RT HASHRATE": "0.00 H/s", "GHS 5s": 0.0, "AV HASHRATE": "15.90 GH/s", "GHS av": 15.9}, 0.0, 16e9),
        ({"RT HASHRATE": "0.00 H/s", "GHS 5s": 0.0, "THEORY HASHRATE": "16.00 GH/s"}, 0.0, 16e9),
        ({"RT HASHRATE": "0.00 H/s", "GHS 5s": 0.0}, 0.0, None),  # nothing is nothing in every unit
        ({"RT HASHRATE": "9.9 what", "GHS 5s": 9.9}, None, None),
        ({"RT HASHRATE": "999999999999999 TH/s", "GHS 5s": 5e-324}, None, None),
        ({"RT HASHRATE": "60.00 MH/s", "GHS 5s": 9.9}, None, None),  # not the same rate
    ],
)
def test_a_text_has_the_unit_of_its_own_size(
    said: dict[str, object], now_hs: float | None, expected_hs: float | None
) -> None:
    """An L9 that should give 16 GH/s counts in G; its texts shrink to "9900.00 MH/s" and to "0.00 H/s"."""
    reading = look("Antminer L9", {"Elapsed": 9000, **said}, {"total_rateideal": 16.0})
    assert (reading.hashrate_now_hs, reading.hashrate_expected_hs) == (now_hs, expected_hs)


def test_a_machine_without_work_names_the_bare_unit() -> None:
    page = {"INFO": {"type": "Antminer KS5"}, "STATS": [{"elapsed": 0, "rate_5s": 0.0, "rate_unit": "H/s"}]}
    reading = MAKE.read(said_from(MAKE, {"web_stats": wire(page, b"")}))
    assert (reading.hashrate_now_hs, reading.state) == (0.0, OperatingState.IDLE)


@pytest.mark.parametrize(
    ("model", "is_sha256"),
    [
        ("S7", True), ("S11", True), ("S17+", True), ("T9+", True), ("U3S21EXPH", True), ("S23 Imm.", True),
        ("R4", True), ("V9", True), ("R1-LTC", False),
        ("U2L9H", False), ("S10", False), ("K7", False), ("KS5 Pro", False), ("E9 Pro", False), ("Z15j", False),
    ],
)  # fmt: skip
def test_families(model: str, is_sha256: bool) -> None:
    assert makes.is_sha256_antminer(model) is is_sha256


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("Antminer S21+ Hyd (HashMaster)", "S21+ Hyd"),
        ("Antminer S21 PitBit", "S21"),
        ("ANTMINER S19J PRO+ EX", "S19J PRO+"),
        ("S19-88 v.2.6.0.39 ", "S19-88"),
        ("Antminer S9\nV1.2.34", "S9"),
        ("Antminer S21 EXP Hyd.", "S21 EXP Hyd."),
    ],
)
def test_firmware_is_no_part_of_a_model(kind: str, model: str) -> None:
    reading = look(kind, {"GHS 5s": 100_000.0, "Elapsed": 9000})
    assert (reading.model, reading.algorithm) == (model, "sha256")


def test_the_page_that_names_a_machine_more_exactly_is_not_another_machine() -> None:
    """A KS5 Pro is `Antminer KS5` to its own miner."""
    page = {"INFO": {"type": "Antminer KS5"}, "STATS": [{"elapsed": 900, "rate_5s": 20_000.0, "rate_unit": "GH/s"}]}
    info = {"minertype": "Antminer KS5 Pro", "Algorithm": "KHeavyHash", "serinum": "no miner sn stored on board"}
    said = said_from(MAKE, {"web_stats": wire(page, b""), "get_system_info": wire(info, b"")})
    reading = MAKE.read(said)
    assert (reading.model, reading.algorithm, reading.serial) == ("KS5", "kheavyhash", None)


def test_a_board_id_gives_way_to_the_name_on_the_page() -> None:
    totals = {"GHS 5s": 100_000.0, "Elapsed": 9000}
    named = look("Antminer BHB42XXX", totals, get_system_info={"minertype": "Antminer S19j Pro+"})
    assert (named.model, named.algorithm) == ("S19j Pro+", "sha256")
    unnamed = look("Antminer BHB42XXX", totals, get_system_info={"minertype": "Antminer BHB42XXX"})
    assert (unnamed.model, unnamed.algorithm) == (None, None)
    assert "model_is_a_board_id" in unnamed.warnings


def test_sha256d_is_sha256() -> None:
    totals = {"GHS 5s": 100_000.0, "Elapsed": 9000}
    assert look("Antminer BHB42XXX", totals, get_system_info={"Algorithm": "sha256d"}).algorithm == "sha256"


# --- heat and air ----------------------------------------------------------------------------------------------------


def test_a_sensor_below_zero_is_cold_and_not_hot() -> None:
    """A T17 with a dead board: 15, -45, 51 and -60. Read without its signs, it would be at 60."""
    reading = look(
        "Antminer T17", None, {"GHS 5s": "33000.5", "temp_pcb1": "41-51-41-50", "temp_pcb3": "15--45-51--60"}
    )
    assert heat(reading) == {(Sensor.BOARD, 1, 51.0), (Sensor.BOARD, 3, 51.0)}
    frost = look("Antminer T17", None, {"GHS 5s": "0.00", "temp_pcb1": "-9--12--8--11"})
    assert heat(frost) == {(Sensor.BOARD, 1, -8.0)}


def test_an_s21_on_water_has_the_water_where_others_have_chips() -> None:
    """Two of four places, in and out; with four values they are chips, as on an S21 XP Hyd."""
    totals = {"GHS 5s": 335_000.0, "GHS 30m": 334_000.0, "Elapsed": 9000}
    fans = {"fan_num": 4, "fan1": 0, "fan2": 0, "fan3": 0, "fan4": 0, "rate_unit": "GH"}
    wet = look("Antminer S21 Hyd.", totals, fans | {"temp_chip1": "30-41-0-0", "temp_chip2": "31-42-0-0",
                                                   "temp_pcb1": "45-55-50-52"})  # fmt: skip
    assert heat(wet) == {(Sensor.BOARD, 1, 55.0), (Sensor.INLET, 0, 31.0), (Sensor.OUTLET, 0, 42.0)}
    assert wet.fans_rpm == ()
    chips = look("Antminer S21 XP Hyd.", totals, fans | {"temp_chip1": "63-59-56-61"})
    assert heat(chips) == {(Sensor.CHIP, 1, 63.0)}
    dry = look("Antminer S21", totals, fans | {"temp_chip1": "30-41-0-0"})
    assert heat(dry) == {(Sensor.CHIP, 1, 41.0)}
    assert dry.fans_rpm == (0.0, 0.0, 0.0, 0.0)


def test_boards_of_the_oldest_have_their_frequency_under_its_full_name() -> None:
    reading = look("Antminer S7", {"GHS 5s": "4700.1", "Elapsed": 9000}, {"chain_acn1": 45, "frequency1": "600"})
    assert [(board.chips, board.frequency_hz) for board in reading.boards] == [(45, 600e6)]


# --- Hiveon and MSKMiner ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Antminer T17", "S19-88 v.2.6.0.39 ", "Antminer L3+ (024)"])
def test_the_miner_under_hiveon_and_mskminer_names_them_where_they_do_not(kind: str) -> None:
    row = {"API": "3.1", "BMMiner": "4.11.1 rwglr", "Miner": "0.0.1.3", "CompileTime": BUILT, "Type": kind}
    assert classify(rpc("VERSION", row)) == "hiveon"


def test_an_s19_with_mskminer() -> None:
    """The keys of one; sixteen places, of which three hold boards, whatever ideal rate and voltage the others claim."""
    row: dict[str, object] = {
        "Elapsed": 1920,
        "GHS 5s": 90_000.5,
        "GHS av": 89_000.0,
        "fan_num": 4,
        "total_power": 3300,
    }
    row |= {"total_rateideal": 91_000.0, "psu_status": "PSU OK", "frequency": ""}
    row |= {f"fan{i}": 5010 if i < 5 else 0 for i in range(1, 9)}
    for i in range(1, 17):
        row |= {f"chain_acn{i}": 88 if i < 4 else 0, f"chain_rate{i}": 30_000.0 if i < 4 else 0.0}
        row |= {
            f"chain_rateideal{i}": 31_000.0,
            f"chain_voltage{i}": 15.7,
            f"temp_pcb{i}": "45-42-45-42" if i < 4 else "0-0-0-0",
        }
    reading = look("S19-88 v.2.6.0.39 ", None, row)
    assert (reading.model, reading.algorithm, reading.state) == ("S19-88", "sha256", OperatingState.MINING)
    # the average since the start, 32 minutes ago: there is no other window
    assert (reading.hashrate_hs, reading.hashrate_window_s) == (89_000e9, 1920.0)
    assert (reading.reported_power_w, reading.power_side) == (3300.0, "model")
    assert [(board.id, board.hashrate_hs) for board in reading.boards] == [(str(i), 30_000e9) for i in (1, 2, 3)]
    assert (reading.fans_rpm, reading.errors) == ((5010.0,) * 4, ())


# --- VNish -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("Antminer S9 (vnish 3.8.6)", "antminer"),
        ("Antminer S9 (vnish for AWESOME 3.8.6)", "antminer"),
        ("Antminer T9+ (vnish 3.9.0)", "antminer"),
        ("Antminer S19j Pro (Vnish 1.2.0-rc3)", "vnish"),
    ],
)
def test_old_vnish_has_no_pages_of_its_own_and_is_read_as_what_it_replaces(kind: str, make: str) -> None:
    assert classify(rpc("VERSION", {"API": "3.7", "CGMiner": "4.11.1", "Type": kind})) == make


def test_an_s9_with_old_vnish_tells_what_each_board_draws() -> None:
    row = {
        "Elapsed": 3600,
        "GHS 5s": "12800.5",
        "GHS av": 12_900.0,
        "chain_acn6": 63,
        "chain_acn7": 63,
        "chain_acn5": 0,
    }
    info = {"minertype": "Antminer S9 (vnish 3.9.0)", "file_system_version": "Mon Nov 1 10:00:00 CST 2021"}
    drawn = {"chain_consumption6": 495, "chain_consumption7": 480}
    reading = look("Antminer S9 (vnish 3.9.0)", None, row | drawn, get_system_info=info)
    assert (reading.model, reading.firmware) == ("S9", "Mon Nov 1 10:00:00 CST 2021")
    assert (reading.reported_power_w, reading.power_key, reading.power_side) == (975.0, "chain_consumption", "model")
    assert look("Antminer S9", None, row | {"chain_consumption6": 0}).reported_power_w is None


def vnish(said: object, /, **info: object) -> MinerReading:
    make = makes.make_of("vnish")
    system = {"network_status": {"mac": "02:00:5e:10:00:07"}}
    pages = {"summary": {"miner": said, "system": system}} | ({"info": info} if info else {})
    return make.read(said_from(make, {name: wire(page, b"") for name, page in pages.items()}))


MINING: dict[str, object] = {"miner_state": "mining", "miner_state_time": 9000}


def test_the_rate_of_old_vnish_counts_thousands_of_the_unit_of_the_other() -> None:
    """An L9 says 17000.25 and 17.00025 for the same 17 GH/s; without its unit neither is a rate."""
    l9 = {"miner_type": "Antminer L9 (Vnish 1.2.7)", "miner_status": MINING, "instant_hashrate": 17.00025}
    told = vnish(l9, miner="Antminer L9", hr_measure="MH/s", algorithm="scrypt", serial="N/A")
    assert told.hashrate_now_hs == pytest.approx(17.00025e9)
    assert (told.algorithm, told.serial) == ("scrypt", None)
    untold = vnish(l9 | {"hr_realtime": 17_000.25})
    assert (untold.hashrate_now_hs, untold.hashrate_hs, untold.state) == (None, None, OperatingState.MINING)
    s19 = vnish({"miner_type": "Antminer S19j Pro (Vnish 1.2.0)", "miner_status": MINING, "instant_hashrate": 54.5})
    assert s19.hashrate_now_hs == pytest.approx(54.5e12)


def test_a_machine_in_oil_has_no_fans_that_stand() -> None:
    fans = {"fans": [{"id": 0, "rpm": 0, "status": "lost"}], "settings": {"mode": {"name": "immersion"}}}
    s19: dict[str, object] = {
        "miner_type": "Antminer S19j Pro (Vnish 1.2.0)",
        "miner_status": MINING,
        "hr_realtime": 1.0,
    }
    assert vnish(s19 | {"cooling": fans}).fans_rpm == ()
    assert vnish(s19 | {"cooling": fans | {"settings": {"mode": {"name": "auto"}}}}).fans_rpm == (0.0,)


def test_pages_without_the_program_that_mines_are_a_machine_of_which_nothing_is_known() -> None:
    reading = vnish(None, miner="Antminer S19", fw_version="1.2.6")
    assert (reading.state, reading.hashrate_now_hs) == (OperatingState.UNKNOWN, None)
    assert (reading.model, reading.mac) == ("S19", "02005e100007")


def test_the_same_firmware_under_another_name() -> None:
    reading = vnish(
        {"miner_type": "Antminer T21 (7Miners 1.2.6-rc1)", "miner_status": MINING, "hr_realtime": 200_000.0}
    )
    assert (reading.model, reading.firmware) == ("T21", "1.2.6-rc1")


# --- MARA without a login --------------------------------------------------------------------------------------------

MARA_API = {
    "version": rpc("VERSION", {"BMMiner": "MaraFW rel 3.12", "API": "3.1"}),
    "summary": rpc("SUMMARY", {"GHS 5s": 100_000.5, "GHS 30m": 99_000.0, "Accepted": 8, "Elapsed": 2640}),
    "stats": rpc(
        "STATS",
        {"BMMiner": "MaraFW rel 3.12", "Model": "Antminer S19k Pro"},
        {"temp_chip1": "49-58", "temp_chip2": "49-56", "temp_chip3": "0-0-0-0", "temp_pcb1": "44-53"},
    ),
    "pools": rpc("POOLS", pool(0, "stratum+tcp://farm.example:3333", active=False)),
}


async def test_mara_tells_everybody_its_hashrate_over_the_api_of_what_it_replaced() -> None:
    """Behind its login it tells more; without one, `Model` stands where others have `Type`, and no pool is active."""
    answers = {command: wire(reply) for command, reply in MARA_API.items()}
    async with scripted_miner(answers) as server:
        miner = NativeMiner(Line(server.host, {4028: server.port, 80: 1}), 30.0, None)
        first, second = await miner.read(), await miner.read()
    assert server.asked == ["version", "summary", "stats", "pools", "summary", "stats"]
    assert (first.driver, first.make, first.model, first.algorithm) == ("mara", "Antminer", "S19k Pro", "sha256")
    assert (first.hashrate_hs, first.hashrate_window_s, first.state) == (99_000e9, 1800.0, OperatingState.MINING)
    assert (first.firmware, first.pool_host, first.pool_alive) == ("MaraFW rel 3.12", "farm.example", True)
    assert heat(first) == {(Sensor.BOARD, 1, 53.0), (Sensor.CHIP, 1, 58.0), (Sensor.CHIP, 2, 56.0)}
    assert (second.hashrate_hs, second.pool_host) == (first.hashrate_hs, first.pool_host)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [({"*": refuse(45, "Access denied")}, FaultKind.DENIED), ({"*": Hang()}, FaultKind.TIMEOUT)],
    ids=["denied", "silent"],
)
async def test_mara_that_tells_nobody_needs_a_login_unless_it_is_gone(
    answers: dict[str, Answer], kind: FaultKind
) -> None:
    async with scripted_miner(answers) as server:
        with pytest.raises(PollError) as caught:
            await NativeMiner(Line(server.host, {4028: server.port, 80: 1}), 0.3, "mara").read()
    assert caught.value.kind is kind


# --- pages alone -----------------------------------------------------------------------------------------------------


def test_pages_tell_what_the_api_would() -> None:
    """An S21 of which somebody kept the pages: pools in small letters, and no word on which of them gets the work."""
    info = {"type": "Antminer S21", "CompileTime": BUILT}
    stats = {"elapsed": 3840, "rate_5s": 206_000.5, "rate_30m": 204_000.25, "rate_unit": "GH/s", "miner-mode": 0}
    farm = {
        "url": "stratum+tcp://farm.example:3333",
        "user": "farm.1",
        "status": "Alive",
        "priority": 1,
        "accepted": 90,
        "rejected": 2,
        "stale": 1,
        "diffa": 2.5e7,
    }
    down = farm | {
        "url": "stratum+tcp://down.example:3333",
        "status": "Dead",
        "priority": 0,
        "accepted": 10,
        "rejected": 0,
        "stale": None,
    }
    empty = {"url": "", "user": "", "status": "Dead", "priority": 2, "accepted": 0}
    pages = {
        "web_stats": {"INFO": info, "STATS": [stats]},
        "web_pools": {"INFO": info, "POOLS": [down, farm, empty]},
    }
    said = said_from(MAKE, {name: wire(page, b"") for name, page in pages.items()}, is_deep=True)
    reading = MAKE.read(said)
    assert (reading.pool_host, reading.pool_alive, reading.mode) == ("farm.example", True, "normal")
    assert (reading.shares_accepted, reading.shares_rejected, reading.difficulty_accepted) == (100.0, 2.0, 5e7)
    assert (reading.shares_stale, reading.difficulty_rejected) == (None, None)  # one pool does not say: no sum
    assert "farm.1" not in repr(said["web_pools"])


# --- pools -----------------------------------------------------------------------------------------------------------


def test_the_pools_of_a_fee_are_not_the_farms() -> None:
    farm = pool(0, "stratum+tcp://farm.example:3333", active=True)
    found = digest(rpc("POOLS", farm, pool(2, "*", active=True), pool(3, "**", active=True)))
    assert (found.host, found.is_alive, found.count, found.others) == ("farm.example", True, 1, ())
    alone = digest(rpc("POOLS", pool(0, "farm.example:3333", active=False), pool(3, "DevFee", active=True)))
    assert (alone.host, alone.others) == (None, ())


def test_a_pool_that_is_called_active_lives() -> None:
    found = digest(rpc("POOLS", pool(0, "farm.example:3333", active=True, status="Active")))
    assert (found.host, found.is_alive) == ("farm.example", True)
