"""Avalon rigs of the A7 to A9, with many modules on chains behind one controller, told by the maker's old cgminer.

The shapes are those of public recordings, every value is invented: four hash units per module without a rate of their
own, no MGHS, MTmax, GHSspd, PS or SYSTEMSTATU, modules numbered from 1, one row of `stats` per chain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from collectors import captures
from collectors.miners import avalon, hearing, pools
from fleet.readings import MinerReading, OperatingState
from fleet.site import Nameplate, plate_of

OK = [{"STATUS": "S", "When": 1500000000, "Code": 70, "Msg": "ok", "Description": "cgminer 4.10.0"}]
SUMMARY: dict[str, object] = {
    "Elapsed": 70200, "MHS av": 420e6, "MHS 5s": 473e6, "MHS 1m": 431e6, "MHS 5m": 420.5e6, "MHS 15m": 419e6,
    "Accepted": 9100, "Rejected": 21, "Stale": 40, "Difficulty Accepted": 5e9,
}  # fmt: skip
CHIPS = " ".join(["3"] * 22)


def module(ver: str, dna: str = "01310000000000a1", tmax: int = 80, ghs: float = 20500.5, errors: str = "") -> str:
    units = " ".join(f"MW{unit}[{CHIPS}]" for unit in range(4))
    return (
        f"Ver[{ver}] DNA[{dna}] Elapsed[125] MW[1001 1002 1003 1004] LW[4010] MH[2 0 1 3] HW[6] DH[0.150%] Temp[23] "
        f"TMax[{tmax}] Fan[4200] FanR[40%] Vi[1201 1202 1203 1204] Vo[4001 4002 4003 4004] GHSmm[{ghs}] WU[70000.25] "
        f"Freq[600.25] PG[15] Led[0] {units} TA[88] ECHU[0 0 0 0] ECMM[0] FM[1] CRC[0 0 0 0] {errors}"
    )


def reply(section: str, rows: object) -> bytes:
    return json.dumps({"STATUS": OK, section: rows, "id": 1}).encode()


def chains(*modules: Sequence[str]) -> bytes:
    """`stats` of a controller with these modules on each of its chains, and the row of its pool."""
    rows: list[Mapping[str, object]] = [
        {
            "STATS": i, "ID": f"AV9{i}", "Elapsed": 70200,
            **{f"MM ID{n}": text for n, text in enumerate(chain, start=1)},
            "MM Count": len(chain), "Connecter": "AUC", "AUC VER": "AUC-20200101", "AUC Temperature": 30.5,
        }
        for i, chain in enumerate(modules)
    ]  # fmt: skip
    return reply("STATS", [*rows, {"STATS": len(rows), "ID": "POOL0", "Elapsed": 70200, "Pool Calls": 0}])


def look(details: bytes) -> MinerReading:
    raw = {"summary": reply("SUMMARY", [SUMMARY]), "stats": details}
    return avalon.MAKE.read(hearing.said_from(avalon.MAKE, raw, is_deep=True))


A921 = "9211809-a1b2c3d"
FOUR_CHAINS = chains(*[[module(A921, f"0132{chain}{n}", 90 + n) for n in range(5)] for chain in range(4)])


def test_four_chains_of_five_are_one_rig() -> None:
    reading = look(FOUR_CHAINS)
    assert reading.model == "20 x A921"
    assert reading.algorithm == "sha256"
    assert reading.firmware == A921
    assert reading.state is OperatingState.MINING
    assert reading.hashrate_hs == pytest.approx(420.5e12)
    assert reading.hashrate_window_s == 300.0
    assert reading.hashrate_now_hs == pytest.approx(473e12)  # MHS 5s: there is no GHSspd
    assert reading.hashrate_expected_hs == pytest.approx(20 * 20.5005e12)
    assert reading.fans_rpm == (4200.0,) * 20
    assert reading.reported_power_w is None
    assert len(reading.boards) == 80


def test_the_last_place_has_the_hottest_of_the_rest() -> None:
    """Modules 0, 1 and 2 say 90, 91 and 92 °C; of the other 17 the hottest says 94."""
    told = {(t.sensor.value, t.index): t.celsius for t in look(FOUR_CHAINS).temperatures}
    assert told == {("inlet", 0): 23.0, ("chip", 0): 90.0, ("chip", 1): 91.0, ("chip", 2): 92.0, ("chip", 3): 94.0}


def test_a_hash_unit_is_a_board_without_a_rate() -> None:
    board = look(FOUR_CHAINS).boards[3]
    assert (board.id, board.chips, board.hardware_errors) == ("AV90 MM1.3", 22, 3.0)
    assert board.hashrate_hs is None


def test_chips_are_those_with_a_temperature_where_it_is_told() -> None:
    """In a row of texts `PVT_T0` counts before `MW0`: one chip of this board does not answer any more."""
    reading = look(chains([module(A921) + "PVT_T0[" + " ".join(["80"] * 21) + "]"]))
    assert [board.chips for board in reading.boards] == [21, 22, 22, 22]


def test_more_modules_than_any_controller_has_make_no_sum() -> None:
    """20 chains of five are not seen anywhere; what is beyond the cap must not lack in a sum that passes for whole."""
    reading = look(chains(*[[module(A921)] * 5] * 20))
    assert reading.hashrate_expected_hs is None
    assert reading.model is None
    assert reading.hashrate_hs == pytest.approx(420.5e12)  # told by the controller, whatever hangs behind it
    assert len(reading.fans_rpm) == avalon.MAX_MODULES


@pytest.mark.parametrize(
    ("versions", "model"),
    [
        (["7411706-a1b2c3d"], "A741"),
        (["7211612-a1b2c3d"], "A721"),
        (["8411803-a1b2c3d"], "A841"),
        (["8511904-a1b2c3d"], "A851"),
        (["7411706-a1b2c3d", "7411706-a1b2c3d"], "2 x A741"),
        (["8411803-a1b2c3d", "8211803-a1b2c3d", "8211803-a1b2c3d"], "A841 + 2 x A821"),
        (["8411803-a1b2c3d", "?"], None),  # one does not say: the rig is not called by the other alone
        (["8411893-a1b2c3d"], None),  # no month: not that form, so nothing is read into it
        (["6411706-a1b2c3d"], None),
    ],
)
def test_a_rig_is_called_by_its_modules(versions: list[str], model: str | None) -> None:
    reading = look(chains([module(version) for version in versions]))
    assert reading.model == model
    assert (reading.algorithm == "sha256") is (model is not None)


def test_a_rig_has_not_the_nameplate_of_one_module() -> None:
    plate = Nameplate("A741", hashrate_hs=7.3e12, power_w=1150.0)
    assert plate_of({"a741": plate}, "A741") is plate
    assert plate_of({"a741": plate}, "2 x A741") is None


def test_only_a_lone_module_gives_its_serial_to_the_machine() -> None:
    """Without its first module a rig would otherwise be taken for another one."""
    assert look(chains([module(A921, "0132aa")])).serial == "0132aa"
    assert look(chains([module(A921, "0132aa"), module(A921, "0132bb")])).serial is None


def test_an_error_names_the_module_as_the_machine_does() -> None:
    sick = module(A921).replace("ECMM[0]", "ECMM[64]")
    alone, second = look(chains([sick])), look(chains([module(A921), sick]))
    chained = look(chains([module(A921)], [module(A921), sick]))
    assert [error.code for error in alone.errors] == ["ECMM:64"]
    assert [error.code for error in second.errors] == ["AV90 MM2 ECMM:64"]
    assert [error.code for error in chained.errors] == ["AV91 MM2 ECMM:64"]


def test_an_error_keeps_its_words_when_another_module_falls_silent() -> None:
    sick = module(A921).replace("ECMM[0]", "ECMM[64]")
    assert look(chains(["", module(A921), sick])).errors == look(chains([module(A921), module(A921), sick])).errors


def test_errors_are_bounded_however_many_modules_there_are() -> None:
    sick = module(A921).replace("ECHU[0 0 0 0]", "ECHU[65535 65535 65535 65535]")
    assert len(look(chains(*[[sick] * 5] * 4)).errors) == avalon.MAX_ERRORS


@pytest.mark.parametrize(
    ("errors", "state"),
    [
        ("ECHU[512 512 512] CRC[0 4 4] COMCRC[1 0 0]", OperatingState.IDLE),
        ("ECHU[512 64 512] CRC[0 4 4] COMCRC[1 0 0]", OperatingState.FAULTED),  # too hot
        ("ECMM[512]", OperatingState.FAULTED),
    ],
)
def test_what_machines_say_that_do_well_does_not_make_a_fault_of_a_pause(errors: str, state: OperatingState) -> None:
    """Recordings of machines that hash as they should have 512 in `ECHU` and a few checksum errors since the start."""
    idle = SUMMARY | {"MHS 5s": 0.0, "MHS 1m": 0.0, "MHS 5m": 0.0}
    text = f"Ver[1066-50-20080702] SYSTEMSTATU[Work: In Idle, Hash Board: 3 ] GHSspd[0.00] {errors}"
    raw = {"summary": reply("SUMMARY", [idle]), "stats": chains([text])}
    reading = avalon.MAKE.read(hearing.said_from(avalon.MAKE, raw, is_deep=True))
    assert reading.state is state
    assert reading.errors  # told nevertheless


def test_a_key_that_is_no_module_is_not_read() -> None:
    row = {"STATS": 0, "ID": "AV90", "MM ID": module(A921), "MM IDx": module(A921), "MM ID1234": module(A921)}
    raw = {"summary": reply("SUMMARY", [SUMMARY]), "stats": reply("STATS", [row])}
    reading = avalon.MAKE.read(hearing.said_from(avalon.MAKE, raw, is_deep=True))
    assert (reading.model, reading.warnings) == (None, (avalon.DETAILS_MISSING, pools.POOLS_MISSING))


def test_a_recording_whose_modules_count_from_1_is_recognised(tmp_path: Path) -> None:
    """A folder without `devdetails`, which alone names the driver in that firmware."""
    (tmp_path / "stats.json").write_bytes(FOUR_CHAINS)
    (tmp_path / "summary.json").write_bytes(reply("SUMMARY", [SUMMARY]))
    (tmp_path / "version.json").write_bytes(reply("VERSION", [{"CGMiner": "4.10.0", "API": "3.7"}]))
    capture = captures.load(tmp_path)
    assert captures.identified(capture) == "avalon"
    assert captures.read_capture(capture).model == "20 x A921"
