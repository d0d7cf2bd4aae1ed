"""The table: whose row a reading belongs to, what a failed poll leaves alone, and what outlives a restart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agent.table import Table
from agent.wire import Outcome
from fleet.curtailment import Memory, Policy
from fleet.cycle import think
from fleet.market import Market
from fleet.readings import (
    FAULT_CODES,
    Fault,
    FaultKind,
    MinerReading,
    OperatingState,
    PduReading,
    PduRow,
    PowerSource,
    Quality,
    Reason,
    RowKind,
    Sensor,
    Temperature,
)
from fleet.signals import Signals
from fleet.site import Machine, Site, parse_nameplates
from fleet.snapshot import SENSOR_SLOTS, Snapshot

AT_S = 1_800_000_000.0
INTERVAL_S = 30.0
MAC_A, MAC_B = "0200000000aa", "0200000000bb"
PDU = "10.9.0.1"


def table_of(*machines: Machine, pdus: tuple[str, ...] = (), pools: tuple[str, ...] = ()) -> Table:
    plates = parse_nameplates("model,hashrate_th,power_w\nAntminer S19j Pro,104,3068\n")
    return Table(Site("north", machines, plates, expected_pools=pools), pdus, INTERVAL_S)


def answer(key: str, at_s: float = AT_S, **said: Any) -> Outcome:
    """A machine answers at `key`; its hashrate is a stock S19j Pro's unless said otherwise."""
    reading: dict[str, Any] = {
        "driver": "antminer", "make": "Antminer", "algorithm": "sha256", "hashrate_hs": 104e12,
        "state": OperatingState.MINING, "reported_power_w": 3000.0,
    }  # fmt: skip
    said.setdefault("hashrate_now_hs", said.get("hashrate_hs", 104e12))
    return Outcome(key, "auto", at_s, 0.1, 0.0, reading=MinerReading(**(reading | said)))


def failure(key: str, kind: FaultKind, at_s: float = AT_S, job: str = "auto") -> Outcome:
    return Outcome(key, job, at_s, 5.0, 0.0, fault=Fault(kind))


def hashrates(snapshot: Snapshot) -> dict[str, float]:
    """TH/s by machine id, of those that have one."""
    return {id: hs / 1e12 for id, hs in zip(snapshot.ids, snapshot.hashrate_hs.tolist(), strict=True) if hs == hs}


# --- whose row -----------------------------------------------------------------------------------------------------


def test_a_reading_finds_its_row_by_mac_then_serial_then_address() -> None:
    table = table_of(
        Machine("by-mac", mac=MAC_A, address="10.0.0.1"), Machine("by-serial", serial="S2", address="10.0.0.2"),
        Machine("by-address", address="10.0.0.3"),
    )  # fmt: skip
    table.take([
        answer("10.0.0.51", mac=MAC_A, serial="S2", hashrate_hs=1e12),
        answer("10.0.0.52", mac=MAC_B, serial="S2", hashrate_hs=2e12),
        answer("10.0.0.3", mac="0200000000cc", hashrate_hs=3e12),
    ])  # fmt: skip
    snapshot = table.freeze(AT_S)
    assert hashrates(snapshot) == {"by-mac": 1.0, "by-serial": 2.0, "by-address": 3.0}
    assert [info.address for info in snapshot.infos] == ["10.0.0.51", "10.0.0.52", "10.0.0.3"]
    assert snapshot.infos[2].mac == "0200000000cc"


@pytest.mark.parametrize("is_inventory", [True, False])
def test_two_machines_that_swap_addresses_keep_their_history(is_inventory: bool) -> None:
    told = (Machine("a", mac=MAC_A, address="10.0.0.1"), Machine("b", mac=MAC_B, address="10.0.0.2"))
    table = table_of(*(told if is_inventory else ()))
    a, b = ("a", "b") if is_inventory else (MAC_A, MAC_B)
    table.take([answer("10.0.0.1", mac=MAC_A, hashrate_hs=1e14), answer("10.0.0.2", mac=MAC_B, hashrate_hs=2e14)])
    assert hashrates(table.freeze(AT_S)) == {a: 100.0, b: 200.0}
    # one poll apart: between them `a` is at its new place and `b` is not yet seen
    table.take([answer("10.0.0.2", AT_S + 1, mac=MAC_A, hashrate_hs=1e14)])
    table.freeze(AT_S + 1)
    table.take([answer("10.0.0.1", AT_S + 2, mac=MAC_B, hashrate_hs=2e14)])
    snapshot = table.freeze(AT_S + 2)
    assert snapshot.ids == (a, b)
    assert hashrates(snapshot) == {a: 100.0, b: 200.0}
    assert snapshot.up.tolist() == [1.0, 1.0]
    assert snapshot.fault.tolist() == [0, 0]
    assert table.observed.steady_hashrate_hs.tolist() == [1e14, 2e14]
    # the old place speaks for the new tenant only
    table.take([failure("10.0.0.1", FaultKind.TIMEOUT, AT_S + 31)])
    assert table.freeze(AT_S + 31).up.tolist() == [1.0, 0.0]


def test_a_machine_that_moved_leaves_its_old_address_to_others() -> None:
    table = table_of(Machine("a", mac=MAC_A, address="10.0.0.1"))
    table.take([answer("10.0.0.9", mac=MAC_A)])
    table.take([failure("10.0.0.1", FaultKind.UNREACHABLE, AT_S + 1)])
    assert table.freeze(AT_S + 1).up.tolist() == [1.0]
    # a machine that says no MAC comes to the old place: it is another one
    table.take([answer("10.0.0.1", AT_S + 2, hashrate_hs=1e12)])
    snapshot = table.freeze(AT_S + 2)
    assert hashrates(snapshot) == {"a": 104.0, "ip-10-0-0-1": 1.0}
    # and when the first comes home, the other one is known to have gone
    table.take([answer("10.0.0.1", AT_S + 3, mac=MAC_A)])
    snapshot = table.freeze(AT_S + 3)
    assert snapshot.up.tolist() == [1.0, 0.0]
    assert snapshot.fault.tolist() == [0, FAULT_CODES[FaultKind.IDENTITY]]


def test_another_machine_at_a_known_address_is_an_identity_fault_of_the_one_that_was_expected() -> None:
    table = table_of(Machine("a", mac=MAC_A, address="10.0.0.1"))
    table.take([answer("10.0.0.1", mac=MAC_B)])
    snapshot = table.freeze(AT_S)
    assert snapshot.ids == ("a", MAC_B)
    assert snapshot.up.tolist() == [0.0, 1.0]
    assert snapshot.fault[0] == FAULT_CODES[FaultKind.IDENTITY]
    assert np.isnan(snapshot.hashrate_hs[0])


def test_machines_that_nobody_described_get_rows_at_the_end_all_at_once() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    first_site = table.site
    table.take(
        [answer(f"10.0.1.{i}", mac=f"0200000001{i:02x}") for i in range(1, 201)]
        + [answer("10.0.2.1", serial="S9"), answer("10.0.2.2"), answer("10.0.2.3:4029")]
        + [answer("10.0.1.1", AT_S + 1, mac="020000000101")]  # heard twice in one batch
    )
    snapshot = table.freeze(AT_S)
    assert len(snapshot) == len(table.site) == 204
    assert snapshot.ids[0] == "a"
    assert snapshot.ids[-3:] == ("S9", "ip-10-0-2-2", "ip-10-0-2-3-4029")
    assert [machine.is_provisional for machine in table.site.machines[-3:]] == [False, True, True]
    assert len(first_site) == 1
    assert math.isnan(snapshot.up[0])
    assert (snapshot.up[1:] == 1.0).all()
    # better identity arrives: the row and its id stay
    table.take([answer("10.0.2.2", AT_S + 30, mac="0200000000ee")])
    assert table.freeze(AT_S + 30).ids == snapshot.ids


def test_a_silent_address_of_a_range_is_no_machine() -> None:
    table = table_of()
    table.take([failure("10.0.0.7", FaultKind.UNREACHABLE)])
    assert len(table.freeze(AT_S)) == 0
    assert not table.has_machine_at("10.0.0.7")
    table.take([answer("10.0.0.7")])
    assert table.has_machine_at("10.0.0.7")


def test_the_round_is_complete_when_everything_was_looked_at_whatever_it_said() -> None:
    table = table_of(Machine("a", address="10.0.0.1"), Machine("b", address="10.0.0.2"), pdus=(PDU,))
    table.take([answer("10.0.0.1"), failure("10.0.0.2", FaultKind.REFUSED)])
    assert not table.is_round_complete()
    table.take([failure(PDU, FaultKind.TIMEOUT, job="snmp")])
    assert table.is_round_complete()


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_failed_poll_keeps_the_values_until_they_are_two_intervals_old() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    table.take([answer("10.0.0.1")])
    table.take([failure("10.0.0.1", FaultKind.TIMEOUT, AT_S + 30)])
    young, old = table.freeze(AT_S + 60), table.freeze(AT_S + 60.1)
    for snapshot in (young, old):
        assert snapshot.up.tolist() == [0.0]
        assert snapshot.fault.tolist() == [FAULT_CODES[FaultKind.TIMEOUT]]
        assert snapshot.last_seen_s.tolist() == [AT_S]
    assert young.hashrate_hs.tolist() == [104e12]
    assert np.isnan(old.hashrate_hs).all()
    assert old.hashrate_reason.tolist() == [Reason.UNREACHABLE]
    table.take([answer("10.0.0.1", AT_S + 90)])
    back = table.freeze(AT_S + 90)
    assert (back.up[0], back.fault[0], back.hashrate_hs[0]) == (1.0, 0, 104e12)


def test_what_is_not_said_any_more_is_missing_not_the_value_of_before() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    chip = Temperature(Sensor.CHIP, 1, 76.0)
    table.take([answer("10.0.0.1", temperatures=(chip, Temperature(Sensor.CHIP, 77, 1.0)), fans_rpm=(5000.0, None))])
    snapshot = table.freeze(AT_S)
    slot = SENSOR_SLOTS.index((Sensor.CHIP, 1))
    assert snapshot.temperature_c[0, slot] == 76.0
    assert np.isnan(np.delete(snapshot.temperature_c[0], slot)).all()
    np.testing.assert_array_equal(snapshot.fan_rpm[0], [5000.0, *[np.nan] * 4])
    table.take([answer("10.0.0.1", AT_S + 30, hashrate_hs=None, fans_rpm=(1.0,) * 9)])
    snapshot = table.freeze(AT_S + 30)
    assert np.isnan(snapshot.temperature_c).all()
    assert np.isnan(snapshot.hashrate_hs).all()
    assert snapshot.hashrate_reason.tolist() == [Reason.NOT_REPORTED]
    assert snapshot.fan_rpm[0].tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("said", "is_sha256"),
    [
        ({"algorithm": "sha256", "model": None}, True),
        ({"algorithm": "scrypt", "model": "Antminer S19j Pro"}, False),
        ({"algorithm": None, "model": "Antminer S19J PRO (104T)"}, True),  # the catalogue knows only SHA-256 machines
        ({"algorithm": None, "model": "Antminer L7"}, False),
        ({"algorithm": None, "model": None}, False),
    ],
)
def test_only_a_proven_sha256_machine_is_one(said: dict[str, Any], is_sha256: bool) -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    table.take([answer("10.0.0.1", **said)])
    assert table.freeze(AT_S).is_sha256.tolist() == [is_sha256]


@pytest.mark.parametrize(
    ("host", "is_expected"),
    [
        ("pool.example", True), ("eu.POOL.example", True), ("evilpool.example", False), ("pool.example.evil", False),
        (None, True),
    ],
)  # fmt: skip
def test_a_pool_is_expected_by_its_name_or_a_part_of_it(host: str | None, is_expected: bool) -> None:
    table = table_of(Machine("a", address="10.0.0.1"), pools=("Pool.example",))
    table.take([answer("10.0.0.1", pool_host=host)])
    assert table.freeze(AT_S).is_expected_pool.tolist() == [is_expected]


def test_an_earlier_snapshot_does_not_change() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    table.take([answer("10.0.0.1")])
    before = table.freeze(AT_S)
    table.take([answer("10.0.0.1", AT_S + 30, hashrate_hs=1.0, firmware="new"), answer("10.0.0.2")])
    assert (before.hashrate_hs.tolist(), before.infos[0].firmware, len(before)) == ([104e12], "", 1)
    assert table.freeze(AT_S + 30).infos[0].firmware == "new"


# --- PDUs ------------------------------------------------------------------------------------------------------------


def pdu_answer(watts: dict[str, float | None], at_s: float = AT_S, quality: Quality = Quality.MEASURED) -> Outcome:
    rows = [PduRow(RowKind.OUTLET, id, power_w=w, power_quality=quality, is_on=True) for id, w in watts.items()]
    rows += [PduRow(RowKind.BANK, "1", power_w=9999.0), PduRow(RowKind.PROBE, "1", temperature_c=31.0),
             PduRow(RowKind.PROBE, "2", temperature_c=35.0)]  # fmt: skip
    reading = PduReading("apc_rpdu2", model="AP8853", power_w=7000.0, energy_j=3.6e9, rows=tuple(rows))
    return Outcome(PDU, "snmp", at_s, 0.2, 0.0, pdu=reading)


def test_outlets_join_the_machines_that_hang_on_them() -> None:
    table = table_of(
        Machine("a", address="10.0.0.1", pdu=PDU, outlet="1"), Machine("b", address="10.0.0.2", pdu=PDU, outlet="2"),
        Machine("c", address="10.0.0.3"), pdus=(PDU, "10.9.0.2"),
    )  # fmt: skip
    table.take([answer(f"10.0.0.{i}") for i in (1, 2, 3)])
    table.take([pdu_answer({"1": 3250.0, "2": None, "3": 1.0})])
    snapshot = table.freeze(AT_S)
    np.testing.assert_array_equal(snapshot.metered_power_w, [3250.0, np.nan, np.nan])
    assert snapshot.power_source.tolist() == [PowerSource.METERED, PowerSource.REPORTED, PowerSource.REPORTED]
    pdus = snapshot.pdus
    assert pdus.ids == (PDU, "10.9.0.2")
    np.testing.assert_array_equal(pdus.up, [1.0, np.nan])
    np.testing.assert_array_equal(pdus.power_w, [7000.0, np.nan])
    np.testing.assert_array_equal(pdus.temperature_c, [35.0, np.nan])
    assert pdus.outlet_ids == ("1", "2", "3")
    assert pdus.outlet_machine.tolist() == [0, 1, -1]

    # the PDU falls silent: what it said holds for two intervals
    table.take([failure(PDU, FaultKind.TIMEOUT, AT_S + 30, job="snmp")])
    table.take([answer(f"10.0.0.{i}", AT_S + 59) for i in (1, 2, 3)])
    young, old = table.freeze(AT_S + 60), table.freeze(AT_S + 61)
    assert young.pdus.fault.tolist() == [FAULT_CODES[FaultKind.TIMEOUT], 0]
    assert young.pdus.up[0] == 0.0
    assert young.metered_power_w[0] == 3250.0
    assert np.isnan(old.metered_power_w[0])
    assert np.isnan(old.pdus.power_w).all()
    assert old.power_source[0] == PowerSource.REPORTED


def test_estimated_watts_are_not_called_metered() -> None:
    table = table_of(Machine("a", address="10.0.0.1", pdu=PDU, outlet="1"), pdus=(PDU,))
    table.take([answer("10.0.0.1"), pdu_answer({"1": 3250.0}, quality=Quality.ESTIMATED)])
    assert table.freeze(AT_S).power_source.tolist() == [PowerSource.REPORTED]


# --- over a restart --------------------------------------------------------------------------------------------------


def test_what_a_machine_can_do_is_recalled_by_id_whatever_row_it_has_now() -> None:
    before = table_of(Machine("a", address="10.0.0.1"), Machine("b", address="10.0.0.2"))
    before.take([answer("10.0.0.1", hashrate_hs=1e14), answer("10.0.0.2", algorithm="scrypt")])
    before.freeze(AT_S)
    after = table_of(Machine("b", address="10.0.0.2"), Machine("new", address="10.0.0.9"), Machine("a"))
    after.recall(before.site.ids, before.remembered())
    snapshot = after.freeze(AT_S)
    np.testing.assert_array_equal(snapshot.hashrate_if_running_hs, [104e12, np.nan, 1e14])
    np.testing.assert_array_equal(snapshot.power_if_running_w, [3000.0, np.nan, 3000.0])
    assert snapshot.is_sha256.tolist() == [False, False, True]
    assert np.isnan(snapshot.hashrate_hs).all()
    assert np.isnan(snapshot.up).all()
    after.recall(("gone",), {"steady_power_w": np.array([1.0])})
    np.testing.assert_array_equal(after.observed.steady_power_w, [3000.0, np.nan, 3000.0])


def test_the_snapshot_of_a_table_that_grew_can_be_thought_about() -> None:
    table = table_of(Machine("a", address="10.0.0.1"), pdus=(PDU,))
    table.take([answer("10.0.0.1"), answer("10.0.0.2"), pdu_answer({"1": 1.0})])
    cycle = think(table.site, table.freeze(AT_S), Market(), Signals(), Policy(), Memory(), AT_S)
    assert len(cycle.decision.action) == 2
