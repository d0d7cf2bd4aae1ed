"""PDUs in the table: their rows as columns, what hangs where, counters and identities over time and over a restart."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest

from agent.journal import Journal
from agent.pdu_table import KnownPdu
from agent.record import decode, encode
from agent.table import Table
from agent.wire import Outcome
from fleet.energy import Counter
from fleet.readings import (
    Fault,
    FaultKind,
    MinerReading,
    OperatingState,
    PduReading,
    PduRow,
    PowerSource,
    Quality,
    RowKind,
)
from fleet.site import Machine, Site, parse_inventory
from fleet.snapshot import ROW_KINDS, MeterDoubt, PduColumns, PduDoubt, Snapshot

AT_S = 1_800_000_000.0
P, Q = "10.9.0.1", "10.9.0.2"
MAC = "0200000000a1"
KWH = 3.6e6


def table_of(inventory: str = "", pdus: tuple[str, ...] = (P, Q)) -> Table:
    return Table(Site("north", parse_inventory(inventory)), pdus, 30.0)


def outlet(id: str, watts: float | None = 1000.0, name: str | None = None, **said: Any) -> PduRow:
    return PduRow(RowKind.OUTLET, id, name, power_w=watts, power_quality=Quality.MEASURED, is_on=True, **said)


def pdu(*rows: PduRow, key: str = P, at_s: float = AT_S, **said: Any) -> Outcome:
    return Outcome(key, "snmp", at_s, 0.2, 0.0, pdu=PduReading("apc_rpdu2", rows=rows, **said))


def miner(key: str, at_s: float = AT_S, **said: Any) -> Outcome:
    values: dict[str, Any] = {
        "driver": "antminer", "make": "Antminer", "algorithm": "sha256", "hashrate_hs": 1e14,
        "state": OperatingState.MINING, "reported_power_w": 3000.0, "hashrate_now_hs": 1e14,
    }  # fmt: skip
    return Outcome(key, "auto", at_s, 0.1, 0.0, reading=MinerReading(**(values | said)))


def metered(snapshot: Snapshot) -> dict[str, float]:
    """Watts by machine id, of those that a meter of their own sees."""
    return {id: w for id, w in zip(snapshot.ids, snapshot.metered_power_w.tolist(), strict=True) if w == w}


def columns(table: Table, at_s: float = AT_S) -> PduColumns:
    return table.freeze(at_s).pdus


# --- rows ------------------------------------------------------------------------------------------------------------


def test_every_row_that_measures_is_a_column_and_the_declared_total_is_one_of_them() -> None:
    table = table_of()
    rows = (
        PduRow(RowKind.PHASE, "L1", power_w=500.0, power_quality=Quality.MEASURED, current_a=2.0, voltage_v=230.0),
        outlet("2", 700.0, current_a=3.0, energy_j=5.0, voltage_v=231.0, power_resolution_w=10.0),
        PduRow(RowKind.BANK, "1", "left", current_a=5.0, current_limit_a=16.0, current_resolution_a=0.1),
        outlet("1", 600.0),
        PduRow(RowKind.GROUP, "all", power_w=1300.0),
        PduRow(RowKind.PROBE, "1", temperature_c=31.0),
        PduRow(RowKind.LINE, "N", current_a=0.5),
    )
    table.take([
        pdu(*rows, power_w=1310.0, power_quality=Quality.MEASURED, power_resolution_w=10.0, serial="S1", name="r7",
            model="AP8853", engine="gufo", warnings=("no energy",)),
        pdu(outlet("1", 50.0), key=Q),
    ])  # fmt: skip
    pdus = columns(table)
    assert (pdus.serials, pdus.names, pdus.engines) == (("S1", ""), ("r7", ""), ("gufo", ""))
    assert (pdus.models, pdus.profiles, pdus.warnings) == (("AP8853", ""), ("apc_rpdu2",) * 2, (("no energy",), ()))
    assert (pdus.is_measured.tolist(), pdus.resolution_w[0]) == ([True, False], 10.0)
    assert (pdus.outlet_ids, pdus.outlet_pdu.tolist()) == (("2", "1", "1"), [0, 0, 1])
    np.testing.assert_array_equal(pdus.outlet_power_w, [700, 600, 50])
    np.testing.assert_array_equal(pdus.outlet_current_a, [3, np.nan, np.nan])
    np.testing.assert_array_equal(pdus.outlet_energy_j, [5, np.nan, np.nan])
    np.testing.assert_array_equal(pdus.outlet_voltage_v, [231, np.nan, np.nan])
    np.testing.assert_array_equal(pdus.outlet_resolution_w, [10, np.nan, np.nan])
    kinds = [ROW_KINDS[kind].value for kind in pdus.row_kind]
    assert list(zip(pdus.row_pdu.tolist(), kinds, pdus.row_ids, strict=True)) == [
        (0, "unit", "total"), (0, "phase", "L1"), (0, "bank", "1"), (0, "line", "N"), (1, "unit", "total"),
    ]  # fmt: skip
    assert pdus.row_names == ("", "", "left", "", "")
    np.testing.assert_array_equal(pdus.row_power_w, [1310, 500, np.nan, np.nan, np.nan])
    assert pdus.row_is_measured.tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(pdus.row_current_a, [np.nan, 2, 5, 0.5, np.nan])
    np.testing.assert_array_equal(pdus.row_current_limit_a, [np.nan, np.nan, 16, np.nan, np.nan])
    np.testing.assert_array_equal(pdus.row_current_resolution_a, [np.nan, np.nan, 0.1, np.nan, np.nan])
    np.testing.assert_array_equal(pdus.row_voltage_v, [np.nan, 230, np.nan, np.nan, np.nan])


def test_a_second_row_of_the_same_number_has_said_nothing() -> None:
    table = table_of(f"id,pdu,outlet\na,{P},1\n")
    table.take([pdu(outlet("1", 600.0), outlet("2", 1.0), outlet("1", 700.0))])
    assert sorted(columns(table).outlet_ids) == ["1", "2"]
    assert metered(table.freeze(AT_S)) == {"a": 600.0}


def test_new_values_of_the_same_rows_and_rows_that_come_and_go() -> None:
    table = table_of(f"id,pdu,outlet\na,{P},1\nb,{Q},1\n")
    table.take([pdu(outlet("1", 1.0)), pdu(outlet("1", 2.0), key=Q)])
    assert metered(table.freeze(AT_S)) == {"a": 1.0, "b": 2.0}
    table.take([pdu(outlet("1", 3.0), at_s=AT_S + 30)])
    assert metered(table.freeze(AT_S + 30)) == {"a": 3.0, "b": 2.0}
    table.take([pdu(outlet("9", 9.0), outlet("1", 4.0), at_s=AT_S + 40)])
    assert metered(table.freeze(AT_S + 40)) == {"a": 4.0, "b": 2.0}
    table.take([pdu(at_s=AT_S + 50)])
    assert metered(table.freeze(AT_S + 50)) == {"b": 2.0}


def test_what_lasts_on_a_row_goes_on_lasting_when_other_rows_come() -> None:
    table = table_of()
    bank = PduRow(RowKind.BANK, "7", current_a=15.0, current_limit_a=16.0)
    for second in range(0, 601, 30):
        more = (PduRow(RowKind.BANK, "1"), PduRow(RowKind.BANK, "2")) if second > 300 else ()
        table.take([pdu(*more, bank, at_s=AT_S + second), pdu(*more, key=Q, at_s=AT_S + second)])
        pdus = columns(table, AT_S + second)
    row = pdus.row_ids.index("7")
    assert pdus.row_doubt[row] == PduDoubt.NEAR_LIMIT
    assert pdus.doubt.tolist() == [PduDoubt.NEAR_LIMIT, 0]


def test_units_of_a_chain_are_told_apart() -> None:
    table = table_of()
    chain = [PduRow(RowKind.PHASE, f"{unit}.{k}", unit=str(unit)) for unit in (1, 2) for k in (1, 2, 3)]
    table.take([pdu(*chain), pdu(*chain, key=Q)])
    units = columns(table).row_unit.tolist()
    assert len(set(units)) == 6  # four units of chains, and two totals
    assert all(units.count(unit) in (1, 3) for unit in units)


# --- what hangs where --------------------------------------------------------------------------------------------


def test_cords_banks_shares_and_the_whole_unit() -> None:
    table = table_of(
        "id,address,pdu,outlet,share\n"
        f"a,,{P},1+2,\nb,10.0.0.0,{P},bank 1,0.5\nc,10.0.0.1,{P},bank 1,0.5\nd,,{Q},unit,\ne,,{Q},3,\n"
    )
    bank = PduRow(RowKind.BANK, "1", power_w=5000.0, power_quality=Quality.MEASURED)
    table.take([
        pdu(outlet("1", 1500.0), outlet("2", 1600.0), bank),
        pdu(key=Q, power_w=3300.0, power_quality=Quality.MEASURED),
        *(miner(f"10.0.0.{i}") for i in range(2)),
    ])  # fmt: skip
    snapshot = table.freeze(AT_S)
    assert metered(snapshot) == {"a": 3100.0, "d": 3300.0}
    assert snapshot.power_w[1:3].tolist() == [2500.0, 2500.0]
    assert snapshot.power_source[:5].tolist() == [
        PowerSource.METERED, PowerSource.SHARED, PowerSource.SHARED, PowerSource.METERED, PowerSource.NONE,
    ]  # fmt: skip
    assert snapshot.pdus.outlet_machine.tolist() == [0, 0]


def test_machines_are_found_by_the_names_that_they_show_later() -> None:
    table = table_of("id,address\nhall1-7,10.0.0.7\n", (P,))
    table.take([pdu(outlet("1", 1.0, "hall1-7"), outlet("2", 2.0, MAC), outlet("3", 3.0, "S/N: XY1234"))])
    assert metered(table.freeze(AT_S)) == {"hall1-7": 1.0}
    table.take([miner("10.0.0.1", mac=MAC), miner("10.0.0.2", serial="XY1234"), miner("10.0.0.3")])
    snapshot = table.freeze(AT_S)
    assert metered(snapshot) == {"hall1-7": 1.0, MAC: 2.0, "XY1234": 3.0}
    assert snapshot.pdus.link_is_by_name.all()
    table.take([miner("10.0.0.3", serial="XY1234", mac="0200000000a3")])  # another card of that serial: nobody's name


def test_a_name_that_a_machine_no_longer_shows_is_no_ones() -> None:
    table = table_of("id,address\na,10.0.0.1\n", (P,))
    table.take([pdu(outlet("1", 5.0, "SN-0001")), miner("10.0.0.1", serial="SN-0001", mac=MAC)])
    assert metered(table.freeze(AT_S)) == {"a": 5.0}
    table.take([miner("10.0.0.1", serial="SN-0002", mac=MAC)])  # the same card in another machine
    assert metered(table.freeze(AT_S)) == {}


def test_an_address_is_no_name() -> None:
    table = table_of("address\n10.0.0.1\n", (P,))
    table.take([pdu(outlet("1", 5.0, "ip-10-0-0-1"))])
    assert metered(table.freeze(AT_S)) == {}


def test_who_is_said_to_hang_on_two_pdus_hangs_on_neither() -> None:
    table = table_of(f"id,pdu,outlet\na,{P},1\nb,{P},2\n")
    table.take([pdu(outlet("1"), outlet("2")), pdu(outlet("5", 5.0, "the a01 of old"), key=Q)])
    assert metered(table.freeze(AT_S)) == {"a": 1000.0, "b": 1000.0}
    table = table_of(f"id,pdu,outlet\na01,{P},1\nb,{P},2\n")
    table.take([pdu(outlet("1"), outlet("2")), pdu(outlet("5", 5.0, "the a01 of old"), key=Q)])
    snapshot = table.freeze(AT_S)
    assert metered(snapshot) == {"b": 1000.0}
    assert snapshot.meter_doubt.tolist() == [MeterDoubt.CONTESTED, 0]
    assert snapshot.pdus.outlet_machine.tolist() == [-1, 1, -1]


# --- who a PDU is ------------------------------------------------------------------------------------------------


def test_a_pdu_with_another_serial_is_not_believed_about_numbers(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(f"id,pdu,outlet\na,{P},1\n", (P,))
    table.take([pdu(outlet("1"), serial="S1")])
    table.take([pdu(outlet("1"))])  # says none this time
    assert metered(table.freeze(AT_S)) == {"a": 1000.0}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            table.take([pdu(outlet("1"), serial="S2\x1b[2J")])
    assert len(caplog.messages) == 1
    assert "\x1b" not in caplog.text
    snapshot = table.freeze(AT_S)
    assert metered(snapshot) == {}
    assert snapshot.meter_doubt.tolist() == [MeterDoubt.REPLACED]
    assert snapshot.pdus.doubt.tolist() == [PduDoubt.REPLACED]
    # the old one is put back
    table.take([pdu(outlet("1"), serial="S1")])
    assert metered(table.freeze(AT_S)) == {"a": 1000.0}


def test_a_pdu_that_was_replaced_while_nobody_looked_is_noticed_and_a_second_start_is_the_operators_word() -> None:
    inventory = f"id,pdu,outlet\na,{P},1\n"
    first, second, third = (table_of(inventory) for _ in range(3))
    first.take([pdu(outlet("1"), serial="S1")])
    first.freeze(AT_S)
    second.recall(first.site.ids, first.remembered(), pdus=first.remembered_pdus())
    second.take([pdu(outlet("1"), serial="S2")])
    assert metered(second.freeze(AT_S)) == {}
    third.recall(second.site.ids, second.remembered(), pdus=second.remembered_pdus())
    third.take([pdu(outlet("1"), serial="S2")])
    assert metered(third.freeze(AT_S)) == {"a": 1000.0}


def test_a_pdu_without_machines_may_change_its_serial_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of()
    table.take([pdu(serial="S1"), pdu(serial="S2")])
    assert not caplog.messages


# --- energy ----------------------------------------------------------------------------------------------------------


def test_energy_is_counted_on_over_resets_restarts_and_another_pdu() -> None:
    table = table_of()
    table.take([pdu(energy_j=100 * KWH, serial="S1", uptime_s=1000.0)])
    table.take([pdu(energy_j=101 * KWH, serial="S1", uptime_s=4600.0, at_s=AT_S + 3600)])
    table.take([pdu(energy_j=0.5 * KWH, serial="S1", uptime_s=60.0, at_s=AT_S + 7200)])  # set back
    assert columns(table, AT_S + 7200).energy_j[0] == pytest.approx(101.5 * KWH)
    after = table_of()
    after.recall((), {}, pdus=table.remembered_pdus())
    assert np.isnan(columns(after, AT_S + 7200).energy_j).all()  # not before it was looked at again
    after.take([pdu(energy_j=2.5 * KWH, serial="S1", at_s=AT_S + 10800)])
    assert columns(after, AT_S + 10800).energy_j[0] == pytest.approx(103.5 * KWH)
    # another PDU has counted its own past: none of it is this one's
    after.take([pdu(energy_j=4 * KWH, serial="S2", at_s=AT_S + 10830)])
    after.take([pdu(energy_j=5 * KWH, serial="S2", at_s=AT_S + 14430)])
    assert columns(after, AT_S + 14430).energy_j[0] == pytest.approx(104.5 * KWH)
    after.take([pdu(at_s=AT_S + 14440)])  # a look without a counter
    assert columns(after, AT_S + 14440).energy_j[0] == pytest.approx(104.5 * KWH)
    after.take([Outcome(P, "snmp", AT_S + 14450, 1.0, 0.0, fault=Fault(FaultKind.TIMEOUT))])
    assert np.isnan(columns(after, AT_S + 14501).energy_j[0])


def test_a_step_beyond_what_any_rack_pdu_carries_is_not_counted() -> None:
    table = table_of()
    table.take([pdu(energy_j=100 * KWH)])
    table.take([pdu(energy_j=300 * KWH, at_s=AT_S + 3600)])  # 200 kW
    assert columns(table, AT_S + 3600).energy_j[0] == pytest.approx(100 * KWH)


# --- over a restart ----------------------------------------------------------------------------------------------


def test_what_is_known_about_pdus_comes_back_from_the_journal(tmp_path: Any) -> None:
    known = (KnownPdu(P, "S1", Counter(7.0, 8.0, AT_S, 9.0, "2024")), KnownPdu(Q, "S2"))
    journal = Journal.open(tmp_path / "j.db")
    try:
        journal.save_accumulators(("a",), {}, pdus=known)
        back = journal.load_accumulators()
    finally:
        journal.close()
    assert back is not None
    assert back.pdus == known


def test_a_pdu_that_is_not_asked_any_more_is_forgotten() -> None:
    table = table_of("", (P,))
    table.recall((), {}, pdus=(KnownPdu(P, "S1"), KnownPdu("gone", "S9")))
    assert table.remembered_pdus() == (KnownPdu(P, "S1"),)


def test_a_pdu_of_which_nothing_is_known_is_not_remembered() -> None:
    table = table_of()
    table.take([pdu()])
    assert table.remembered_pdus() == ()


def test_what_was_learned_about_watts_outlives_a_restart() -> None:
    inventory = f"id,address,pdu,outlet\na,10.0.0.1,{P},1\nb,10.0.0.2,,\n"
    before = table_of(inventory)
    for look in range(70):
        at_s = AT_S + 30 * look
        watts = 3300.0 + look % 2 - 0.5
        before.take([miner("10.0.0.1", at_s), miner("10.0.0.2", at_s), pdu(outlet("1", watts), at_s=at_s)])
        before.freeze(at_s)
    after = table_of(inventory)
    after.recall(before.site.ids, before.remembered())
    later_s = at_s + 3600
    after.take([miner("10.0.0.1", later_s), miner("10.0.0.2", later_s)])
    snapshot = after.freeze(later_s)
    assert snapshot.power_source.tolist() == [PowerSource.CALIBRATED] * 2
    np.testing.assert_allclose(snapshot.power_w, 3300.0, rtol=1e-4)
    # the other has only its model's word, of one machine
    np.testing.assert_allclose(snapshot.calibration_spread_ratio[1], 0.05, rtol=0.01)


def test_another_firmware_is_another_opinion() -> None:
    table = table_of(f"id,address,pdu,outlet\na,10.0.0.1,{P},1\n", (P,))
    for look in range(20):
        at_s = AT_S + 30 * look
        table.take([miner("10.0.0.1", at_s), pdu(outlet("1", 3300.0), at_s=at_s)])
        table.freeze(at_s)
    assert table.freeze(at_s).calibration_ratio[0] == pytest.approx(1.1)
    table.take([miner("10.0.0.1", at_s, driver="vnish", reported_power_w=3200.0)])
    assert math.isnan(table.freeze(at_s).calibration_ratio[0])
    assert math.isnan(table.freeze(at_s + 60).calibration_ratio[0])


def test_pdu_columns_come_back_from_a_record_as_they_were() -> None:
    table = table_of(f"id,pdu,outlet\na,{P},1\n")
    table.take([pdu(outlet("1", 5.0, "x"), PduRow(RowKind.BANK, "1", current_a=2.0), warnings=("w",))])
    pdus = columns(table)
    back = decode(PduColumns, encode(pdus))
    for name, value in vars(pdus).items():
        if isinstance(value, tuple):
            assert getattr(back, name) == value
        else:
            np.testing.assert_array_equal(getattr(back, name), value)


def test_a_farm_without_pdus_has_none() -> None:
    assert columns(Table(Site("north", (Machine("a"),)), (), 30.0)).ids == ()
