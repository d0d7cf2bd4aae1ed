"""The table: whose row a reading belongs to, what a failed poll leaves alone, and what outlives a restart."""

from __future__ import annotations

import gc
import math
import tracemalloc
from dataclasses import fields
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.table import MAX_ERRORS, Table
from agent.wire import Outcome
from fleet.curtailment import Memory, Policy
from fleet.cycle import think
from fleet.market import Market
from fleet.readings import (
    FAULT_CODES,
    Fault,
    FaultKind,
    MachineError,
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


def test_an_unknown_machine_that_wants_a_login_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(Machine(id="m1", address="10.0.0.1"))
    denied = Fault(FaultKind.DENIED, "every page\x1b needs a login")
    for key in ("10.0.0.1", "10.0.0.9", "10.0.0.9"):
        table.take([Outcome(key, "auto", AT_S, 5.0, 0.0, fault=denied)])
    assert len(table.freeze(AT_S)) == 1
    [line] = [record.getMessage() for record in caplog.records]  # m1 has a row, which says it
    assert line.startswith("10.0.0.9 is not read: ")
    assert "needs a login" in line
    assert "\x1b" not in line


def test_the_round_is_complete_when_everything_was_looked_at_whatever_it_said() -> None:
    table = table_of(Machine("a", address="10.0.0.1"), Machine("b", address="10.0.0.2"), pdus=(PDU,))
    table.take([answer("10.0.0.1"), failure("10.0.0.2", FaultKind.REFUSED)])
    assert not table.is_round_complete()
    table.take([failure(PDU, FaultKind.TIMEOUT, job="snmp")])
    assert table.is_round_complete()


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_machine_known_by_its_place_keeps_the_first_name_that_it_shows() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    table.take([answer("10.0.0.1", mac=MAC_A, hashrate_hs=1e14)])
    table.take([answer("10.0.0.1", AT_S + 30, mac=MAC_B, hashrate_hs=2e14)])  # somebody put another one there
    snapshot = table.freeze(AT_S + 30)
    assert snapshot.ids == ("a", MAC_B)
    assert snapshot.fault.tolist() == [FAULT_CODES[FaultKind.IDENTITY], 0]
    assert hashrates(snapshot) == {"a": 100.0, MAC_B: 200.0}
    # and the first is found wherever it went
    table.take([answer("10.0.0.77", AT_S + 60, mac=MAC_A, hashrate_hs=1e14)])
    snapshot = table.freeze(AT_S + 60)
    assert (snapshot.up[0], snapshot.infos[0].address) == (1.0, "10.0.0.77")


def test_a_provisional_id_stays_when_the_machine_shows_a_name_and_moves() -> None:
    table = table_of()
    table.take([answer("10.0.0.7")])
    table.take([answer("10.0.0.7", AT_S + 30, mac=MAC_A)])
    table.take([answer("10.0.0.8", AT_S + 60, mac=MAC_A, hashrate_hs=1e14)])
    snapshot = table.freeze(AT_S + 60)
    assert hashrates(snapshot) == {"ip-10-0-0-7": 100.0}
    assert (snapshot.infos[0].mac, snapshot.infos[0].address) == (MAC_A, "10.0.0.8")
    # a nameless one at the place that gave the id is another machine, and so is the next one
    table.take([answer("10.0.0.7", AT_S + 61, hashrate_hs=3e14)])
    assert hashrates(table.freeze(AT_S + 61)) == {"ip-10-0-0-7": 100.0, "ip-10-0-0-7~2": 300.0}


def test_an_inventory_id_that_is_the_mac_names_the_machine() -> None:
    table = table_of(Machine(MAC_A))
    table.take([answer("10.0.0.7", mac=MAC_A)])
    assert hashrates(table.freeze(AT_S)) == {MAC_A: 104.0}


@pytest.mark.parametrize("name", [{"mac": MAC_A}, {"serial": "SN1"}])
def test_one_name_at_two_addresses_is_a_conflict_until_one_is_quiet(
    name: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of()
    here, there = "10.0.0.1", "10.0.0.2"

    def look(at_s: float, *keys: str) -> Snapshot:
        for i, key in enumerate(keys):
            table.take([answer(key, at_s + i, hashrate_hs=1e14 if key == here else 5e13, **name)])
        return table.freeze(at_s + len(keys))

    assert not look(AT_S, here, there).is_conflict.any()  # so far, it may have moved
    for minute in range(1, 5):
        snapshot = look(AT_S + 30 * minute, here, there)
        assert snapshot.ids == (next(iter(name.values())),)
        assert snapshot.is_conflict.tolist() == [True]
        assert (snapshot.infos[0].address, snapshot.infos[0].rival) == (there, here)
        assert snapshot.hashrate_hs.tolist() == [5e13], "the row shows one of the two and not the other in turn"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert f"answers at {there} and at {here}" in lines[0]

    cycle = think(table.site, snapshot, Market(), Signals(), Policy(), Memory(), AT_S + 122)
    assert cycle.economics.reason.tolist() == [Reason.CONFLICT]
    # the one that has the row falls silent: the other takes over as soon as that is known
    table.take([failure(there, FaultKind.UNREACHABLE, AT_S + 152)])
    assert not look(AT_S + 153, here).is_conflict.any()
    snapshot = look(AT_S + 183, here)
    assert (snapshot.infos[0].address, snapshot.up[0], snapshot.hashrate_hs[0]) == (here, 1.0, 1e14)
    assert not look(AT_S + 300, here).is_conflict.any()


def test_a_conflict_ends_when_the_other_one_has_been_quiet_for_two_intervals() -> None:
    table = table_of(Machine("a", mac=MAC_A))
    for at_s, key in ((0, "10.0.0.1"), (1, "10.0.0.2"), (30, "10.0.0.1"), (31, "10.0.0.2")):
        table.take([answer(key, AT_S + at_s, mac=MAC_A)])
    for at_s in (61, 91):
        table.take([answer("10.0.0.2", AT_S + at_s, mac=MAC_A)])
    assert table.freeze(AT_S + 90).is_conflict.tolist() == [True]
    assert table.freeze(AT_S + 91).is_conflict.tolist() == [False]


def test_two_machines_of_one_name_have_no_counter_in_common() -> None:
    table = table_of()
    for at_s, key, shares in (
        (0, "10.0.0.1", 10.0),
        (1, "10.0.0.2", 1e9),
        (31, "10.0.0.2", 1e9 + 3),
        (90, "10.0.0.1", 99.0),
    ):
        table.take([answer(key, AT_S + at_s, mac=MAC_A, shares_accepted=shares)])
        table.freeze(AT_S + at_s)
    assert table.freeze(AT_S + 90).work_total[0, 0] == 3.0


def test_three_of_one_name_are_found_out_too() -> None:
    table = table_of()
    for look in range(6):
        table.take([answer(f"10.0.0.{i}", AT_S + 30 * look + i, mac=MAC_A) for i in (1, 2, 3)])
    snapshot = table.freeze(AT_S + 155)
    assert (len(snapshot), snapshot.is_conflict.tolist()) == (1, [True])


@pytest.mark.parametrize("seen_first", [True, False])
def test_a_machine_that_moves_there_and_back_is_one_machine(seen_first: bool) -> None:
    table = table_of()
    keys = ("10.0.0.1", "10.0.0.2")
    for at_s, key in ((0, keys[0]), (25, keys[1]), (50, keys[0])):
        gone = [failure(other, FaultKind.UNREACHABLE, AT_S + at_s + 1) for other in keys if other != key]
        here = [answer(key, AT_S + at_s + 2 * (not seen_first), mac=MAC_A)]
        table.take(here + gone if seen_first else gone + here)
    snapshot = table.freeze(AT_S + 53)
    assert (snapshot.is_conflict.tolist(), snapshot.up.tolist()) == ([False], [1.0])
    # where it came before its place was known to be empty, its first answer was taken for a second machine's
    assert snapshot.last_seen_s[0] == AT_S + (25 if seen_first else 52)
    table.take([answer(keys[0], AT_S + 80, mac=MAC_A)])
    assert table.freeze(AT_S + 80).infos[0].address == keys[0]


def test_an_answer_that_was_overtaken_on_its_way_is_no_second_machine() -> None:
    table = table_of()
    table.take([answer("10.0.0.1", AT_S, mac=MAC_A)])
    table.take([answer("10.0.0.2", AT_S + 31, mac=MAC_A)])
    table.take([answer("10.0.0.1", AT_S + 30, mac=MAC_A)])
    snapshot = table.freeze(AT_S + 31)
    assert (snapshot.is_conflict.tolist(), snapshot.infos[0].address) == ([False], "10.0.0.2")


def test_one_serial_of_two_network_cards_is_two_machines() -> None:
    table = table_of()
    for at_s in (0, 30, 60):
        table.take([answer("10.0.0.1", AT_S + at_s, mac=MAC_A, serial="N/A", hashrate_hs=1e14),
                    answer("10.0.0.2", AT_S + at_s + 1, mac=MAC_B, serial="N/A", hashrate_hs=2e14)])  # fmt: skip
    snapshot = table.freeze(AT_S + 61)
    assert hashrates(snapshot) == {MAC_A: 100.0, MAC_B: 200.0}
    assert not snapshot.is_conflict.any()


NAMES = [{"mac": f"02000000{i:04x}"} if i % 3 else {"serial": f"SN{i}"} for i in range(6)]


@settings(max_examples=150, deadline=None)
@given(
    told=st.lists(st.sampled_from(["nothing", "place", "name"]), min_size=6, max_size=6),
    rounds=st.lists(
        st.tuples(st.permutations(range(6)), st.permutations(range(6)), st.integers(0, 5)), min_size=1, max_size=8
    ),
    restart_after=st.integers(0, 8),
)
def test_no_shuffle_of_addresses_moves_a_machines_history_to_another(
    told: list[str], rounds: list[tuple[list[int], list[int], int]], restart_after: int
) -> None:
    """Six machines, one address each, dealt anew by DHCP before every round; one of them is silent in each round."""
    inventory = tuple(
        Machine(f"m{i}", address=f"10.0.0.{i}") if word == "place" else Machine(f"m{i}", **NAMES[i])
        for i, word in enumerate(told) if word != "nothing"
    )  # fmt: skip
    table, at_s, id_of = table_of(*inventory), AT_S, {}
    for number, (places, order, silent) in enumerate([(list(range(6)), list(range(6)), -1), *rounds]):
        if number == restart_after:
            again = table_of(*inventory)
            again.recall(table.site.ids, table.remembered(), table.found(), table.remembered_texts())
            table = again
        for _ in range(2):  # a move may take an interval to show
            at_s += 30.0
            for i in order:
                key = f"10.0.0.{places[i]}"
                hs = 1e12 * (i + 1)
                said = answer(key, at_s + places[i], hashrate_hs=hs, shares_accepted=1e6 * i + number, **NAMES[i])
                table.take([failure(key, FaultKind.TIMEOUT, at_s + places[i]) if i == silent else said])
        snapshot = table.freeze(at_s + 6)
        by_machine = {round(hs / 1e12) - 1: id for id, hs in zip(snapshot.ids, snapshot.hashrate_hs, strict=True)
                      if hs == hs and snapshot.up[snapshot.ids.index(id)] == 1.0}  # fmt: skip
        assert by_machine.keys() >= set(range(6)) - {silent}
        assert len(snapshot) <= 6
        for machine, id in by_machine.items():
            assert id_of.setdefault(machine, id) == id
        known = ~np.isnan(table.observed.steady_hashrate_hs)
        steady = dict(zip(np.array(snapshot.ids)[known], table.observed.steady_hashrate_hs[known], strict=True))
        assert {id: round(hs / 1e12) - 1 for id, hs in steady.items()} == {
            id_of[m]: m for m in id_of if id_of[m] in steady
        }
        assert not (table.observed.work_total[:, 0] > len(rounds)).any()


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
    table.take([answer("10.0.0.1", AT_S + 30, pool_host=None)])  # not said this time: what was last known holds
    snapshot = table.freeze(AT_S + 30)
    assert (snapshot.is_expected_pool.tolist(), snapshot.infos[0].pool) == ([is_expected], host or "")


def test_an_earlier_snapshot_does_not_change() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    table.take([answer("10.0.0.1")])
    before = table.freeze(AT_S)
    table.take([answer("10.0.0.1", AT_S + 30, hashrate_hs=1.0, firmware="new"), answer("10.0.0.2")])
    assert (before.hashrate_hs.tolist(), before.infos[0].firmware, len(before)) == ([104e12], "", 1)
    assert table.freeze(AT_S + 30).infos[0].firmware == "new"


def test_everything_that_a_reading_says_is_in_its_row() -> None:
    table = table_of(Machine("a", address="10.0.0.1"))
    errors = tuple(MachineError(str(code), f"board {code} is lost") for code in range(12))
    table.take([answer(
        "10.0.0.1", hashrate_window_s=1800.0, hashrate_key="GHS 30m", power_key="Power", power_side="ac", mode="Normal",
        power_limit_w=3500.0, pool_host="pool.example", errors=errors, warnings=("no_fans",),
        temperatures=(Temperature(Sensor.REGULATOR, 0, 78.0),), shares_accepted=10.0, difficulty_accepted=1e6,
    )])  # fmt: skip
    table.freeze(AT_S)
    table.take([answer("10.0.0.1", AT_S + 30, shares_accepted=14.0, shares_rejected=1.0, difficulty_accepted=5.0)])
    first, snapshot = table.freeze(AT_S), table.freeze(AT_S + 30)
    np.testing.assert_array_equal(snapshot.work_total, [[4.0, 0.0, np.nan, 0.0, np.nan]])
    assert np.isnan([snapshot.hashrate_window_s[0], snapshot.power_limit_w[0]]).all()
    assert (snapshot.error_count.tolist(), snapshot.warning_count.tolist()) == ([0.0], [0.0])
    assert (snapshot.infos[0].errors, snapshot.infos[0].pool) == ((), "pool.example")
    del first
    table.take([answer("10.0.0.1", AT_S + 60, hashrate_window_s=300.0, power_limit_w=3500.0, errors=errors,
                       hashrate_key="GHS 30m", temperatures=(Temperature(Sensor.REGULATOR, 0, 78.0),))])  # fmt: skip
    snapshot = table.freeze(AT_S + 60)
    info = snapshot.infos[0]
    assert (snapshot.hashrate_window_s[0], snapshot.power_limit_w[0], snapshot.error_count[0]) == (300.0, 3500.0, 12.0)
    assert info.errors[:2] == ("0: board 0 is lost", "1: board 1 is lost")
    assert len(info.errors) == MAX_ERRORS
    assert (info.hashrate_key, info.power_key) == ("GHS 30m", "")
    assert snapshot.temperature_c[0, SENSOR_SLOTS.index((Sensor.REGULATOR, 0))] == 78.0


def test_a_make_that_is_asked_every_minute_is_believed_for_two() -> None:
    table = table_of(Machine("a", address="10.0.0.1"), Machine("b", address="10.0.0.2"))
    table.take([answer("10.0.0.1", pace_s=60.0), answer("10.0.0.2")])
    assert hashrates(table.freeze(AT_S + 61)) == {"a": 104.0}
    assert hashrates(table.freeze(AT_S + 121)) == {}


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


def test_names_homes_and_ways_outlive_a_restart() -> None:
    inventory = (Machine("a", address="10.0.0.1"), Machine("b", address="10.0.0.2"))
    before = table_of(*inventory)
    before.take([
        answer("10.0.0.1", mac=MAC_A, way="antminer/1"), answer("10.0.0.2", serial="SN2", way="luxos/1"),
        answer("10.0.0.3"),
    ])  # fmt: skip
    before.take([answer("10.0.0.3", AT_S + 1, mac=MAC_B), answer("10.0.0.9", AT_S + 30, mac=MAC_A, way="antminer/2")])
    assert before.ways() == {"10.0.0.1": "antminer/1", "10.0.0.2": "luxos/1", "10.0.0.9": "antminer/2"}

    after = table_of(*inventory)
    after.recall(before.site.ids, before.remembered(), before.found(), before.remembered_texts())
    assert after.ways() == {"10.0.0.2": "luxos/1", "10.0.0.9": "antminer/2"}
    assert [info.mac for info in after.freeze(AT_S).infos] == [MAC_A, "", MAC_B]
    assert after.has_machine_at("10.0.0.9")
    after.take([
        answer("10.0.0.1", AT_S + 60, hashrate_hs=1e12),  # nameless, where `a` was before it moved
        answer("10.0.0.2", AT_S + 60, serial="SN3", hashrate_hs=2e12),  # another one where `b` was
        answer("10.0.0.8", AT_S + 60, mac=MAC_B, hashrate_hs=3e12),  # the provisional one has moved
    ])  # fmt: skip
    after.take([failure("10.0.0.9", FaultKind.TIMEOUT, AT_S + 61)])
    snapshot = after.freeze(AT_S + 61)
    assert hashrates(snapshot) == {"ip-10-0-0-1": 1.0, "SN3": 2.0, "ip-10-0-0-3": 3.0}
    faults = dict(zip(snapshot.ids, snapshot.fault.tolist(), strict=True))
    assert faults["a"] == FAULT_CODES[FaultKind.TIMEOUT]
    assert faults["b"] == FAULT_CODES[FaultKind.IDENTITY]


def test_a_machine_that_is_known_costs_little_beside_its_columns() -> None:
    """1.5 KiB of texts, lists and indexes; columns are counted apart."""
    count, told = 2000, Site("north")
    outcomes = [
        answer(
            f"10.0.{i >> 8}.{i & 255}", mac=f"{i:012x}", serial=f"SN{i:08d}", model="S19 Pro", firmware="2022-06-01",
            pool_host="pool.example", mode="normal", hashrate_key="GHS 30m", power_key="Power", way="stock 1",
        )
        for i in range(1, count + 1)
    ]  # fmt: skip
    gc.collect()
    tracemalloc.start()
    table = Table(told, (), INTERVAL_S)
    # over the wire, because every text that comes from there is an object of its own
    table.take(msgspec.msgpack.decode(msgspec.msgpack.encode(outcomes), type=list[Outcome]))
    table.freeze(AT_S)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    columns = sum(getattr(table._rows, f.name).nbytes for f in fields(table._rows))
    assert len(table.site) == count
    assert (taken - columns) / count < 1536


def test_an_address_that_the_operator_changed_is_a_new_word() -> None:
    before = table_of(Machine("a", address="10.0.0.1"))
    before.take([answer("10.0.0.1", mac=MAC_A)])
    after = table_of(Machine("a", address="10.0.0.5"))
    after.recall(before.site.ids, before.remembered(), before.found(), before.remembered_texts())
    after.take([answer("10.0.0.5", mac=MAC_B)])
    assert hashrates(after.freeze(AT_S)) == {"a": 104.0}


def test_a_journal_without_texts_is_recalled_as_before() -> None:
    before = table_of()
    before.take([answer("10.0.0.1", mac=MAC_A)])
    before.freeze(AT_S)
    after = table_of()
    after.recall(before.site.ids, before.remembered(), before.found())
    assert after.site.ids == (MAC_A,)
    assert after.freeze(AT_S).hashrate_if_running_hs.tolist() == [104e12]


def test_a_found_machine_is_the_model_that_it_says_now_and_a_told_one_what_was_told() -> None:
    """A new machine that nobody wrote down may be recognised better at its second look than at its first."""
    told = Machine(id="told", address="10.0.0.1", model="S19j Pro")
    table = Table(Site("north", machines=(told,)), [], 30.0)
    for model in ("S19", "S19 XP"):
        table.take(
            Outcome(key, "auto", AT_S, 0.1, 0.0, reading=MinerReading("antminer", "Antminer", model=model, mac=mac))
            for key, mac in (("10.0.0.1", None), ("10.0.0.2", "020000000002"))
        )
    assert [info.model for info in table.freeze(AT_S).infos] == ["S19j Pro", "S19 XP"]
