"""Recorded PDUs that follow the farm: what our own profiles read from them is what the machines draw."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.pdus.device import read_walk
from collectors.pdus.profile import Address, Column, Source
from fleet.readings import PduReading, PduRow, Quality, RowKind
from hil.faults import PduMisbehaviour
from hil.following import Following, Live, placed, share_out
from hil.manners import MANNERS
from hil.pdus import Face, Recording, load_snmprec, read_snmprec
from hil.physics import Orders, assemble, settle
from hil.responder import Tree
from hil.scene import Scene

SYNTHETIC = Path(__file__).resolve().parent.parent / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"
DARK = 1
"""The machine whose outlet is off."""

FAMILIES = (
    *("apc-epdu_epdu1116s", "apc_ap7900b", "apc_ap8853", "apc_ap8959eu3", "apc_isx-pdu", "dell-rpdu", "raritan-pdu"),
    *("raritan-pdu_px2", "raritan-pdu_px4", "sentry4", "eatonpdu_2", "vertiv-pdu_mn03edr1", "vertiv-dcs"),
    *("liebert_mph2rg", "cyberpower_pdu81005", "panduit", "enlogic-pdu_v2", "chatsworth-pdu", "poweralert_pdu"),
    *("rittal-cmc-iii-pu_pdu-controller", "schleifenbauer_dpm27e", "gude-epc_8031", "hpe-mapdu_pdu2", "hpe-pdumm"),
    *("digipower", "atenpdu", "conteg-pdu", "ts-bspdu"),
)
"""Captures with a unit total, measured or estimated."""


def make_scene(machines: int) -> Scene:
    build, orders = assemble(machines), Orders.all_on(machines)
    scene = Scene(build, orders, settle(build, orders, 25.0), 1_700_000_000.0)
    if machines > DARK:
        orders.outlet_on[DARK] = False
    scene.tick(60.0, 1_700_000_060.0, 25.0)
    return scene


def make_face(machines: int) -> Face:
    return Face("pdu", "HIL000000007", tuple((row,) for row in range(machines)), ("m0", "m1"))


def read_now(tree: Tree) -> PduReading:
    return read_walk(Recording([(oid, tree.value(i)) for i, oid in enumerate(tree.oids)]).found())


def following(path: Path, machines: int) -> Following:
    return Following(load_snmprec(path), make_scene(machines), make_face(machines))


def watts_of(reading: PduReading, kind: RowKind) -> float:
    return sum(row.power_w or 0.0 for row in reading.rows if row.kind is kind)


def test_the_synthetic_walk_shows_the_machines_on_every_kind_of_row() -> None:
    tree = following(SYNTHETIC, 6)
    wall_w = tree.scene.view.wall_w
    reading = read_now(tree)
    outlets = {row.id: row for row in reading.rows if row.kind is RowKind.OUTLET}
    # Outlets 4 and 6 say "not available" and nonsense in the recording, and go on with that.
    assert [outlets[id].power_w for id in ("1", "2", "3", "2.1")] == [round(wall_w[k]) for k in (0, 1, 2, 4)]
    assert (outlets["4"].power_w, outlets["1"].is_on, outlets["2"].is_on) == (None, True, False)
    assert reading.power_w == pytest.approx(sum(wall_w), abs=10.0)
    units = [row.power_w for row in reading.rows if row.kind is RowKind.UNIT]
    assert units == [pytest.approx(sum(wall_w[:4]), abs=5.0), pytest.approx(sum(wall_w[4:]), abs=5.0)]
    phases = [row for row in reading.rows if row.kind is RowKind.PHASE]
    assert [row.power_w for row in phases] == [
        pytest.approx(watts, abs=5.0) for watts in (wall_w[0] + wall_w[2], wall_w[1] + wall_w[3], sum(wall_w[4:]))
    ]
    assert phases[0].current_a == pytest.approx((wall_w[0] + wall_w[2]) / 240 / 0.98, abs=0.05)  # its own voltage
    assert reading.energy_j == pytest.approx(sum(tree.scene.view.energy_j), abs=2 * 3.6e5)
    assert (reading.serial, outlets["1"].name, outlets["3"].name) == ("HIL000000007", "m0", "Outlet 3")
    assert reading.uptime_s == 60.0
    assert [row.temperature_c for row in reading.rows if row.kind is RowKind.PROBE] == [24.3]  # as recorded


def test_the_meters_go_on_with_the_scene() -> None:
    tree = following(SYNTHETIC, 3)
    before = read_now(tree)
    tree.scene.orders.outlet_on[:] = False
    tree.scene.tick(3600.0, tree.scene.view.now_s + 3600.0, 25.0)
    after = read_now(tree)
    assert (before.power_w or 0.0) > 1000.0
    assert (after.power_w, after.uptime_s) == (0.0, 3660.0)
    assert {row.is_on for row in after.rows if row.kind is RowKind.OUTLET and row.id in "123"} == {False}


def test_a_counter_that_is_full_begins_anew_and_is_never_negative() -> None:
    tree = following(SYNTHETIC, 1)
    tree.scene.view.energy_j[0] = (2**31 + 5) * 3.6e5  # 0.1 kWh each, in an INTEGER
    at = list(tree.oids).index((1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 9, 1))
    assert tree.value(at) == bytes.fromhex("020105")


def test_a_machine_is_put_down_where_it_is_metered() -> None:
    assert [following(SYNTHETIC, 6).meter(k) for k in range(6)] == ["1", "2", "3", "4", "2.1", "2.2"]
    unit = "1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.318.1.3.4.6\n1.3.6.1.4.1.318.1.1.26.4.3.1.1.1|2|1\n"
    unit += "1.3.6.1.4.1.318.1.1.26.4.3.1.2.1|2|1\n1.3.6.1.4.1.318.1.1.26.4.3.1.5.1|2|500\n"
    tree = Following(read_snmprec(unit), make_scene(3), make_face(3))
    assert [tree.meter(k) for k in range(3)] == ["unit"] * 3
    assert read_now(tree).power_w == pytest.approx(sum(tree.scene.view.wall_w), abs=5.0)


def test_what_cannot_follow_says_why() -> None:
    with pytest.raises(ValueError, match="7 outlets are needed, and this walk has 6"):
        following(SYNTHETIC, 7)
    with pytest.raises(ValueError, match="no profile reads this walk: unknown PDU"):
        Following(read_snmprec("1.3.6.1.2.1.1.1.0|4|a toaster\n"), make_scene(1), make_face(1))


def test_faults_of_values_find_their_victims() -> None:
    tree = following(SYNTHETIC, 3)
    spoilt = read_now(MANNERS[PduMisbehaviour.OUT_OF_RANGE].tree(tree))
    outlets = {row.id: row for row in spoilt.rows if row.kind is RowKind.OUTLET}
    assert outlets["1"].power_w is None
    assert outlets["3"].power_w == round(tree.scene.view.wall_w[2])
    swapped = read_now(MANNERS[PduMisbehaviour.SWAPPED].tree(tree))
    assert swapped.serial == "HIL000000000"


# --- how numbers are written


def address(text: str) -> Address:
    return Address(tuple(int(part) for part in text.split(".")))


@pytest.mark.parametrize(
    ("source", "before", "per_unit", "expected"),
    [
        (Source(oid=address("1.3"), scale=10), 0, 1.0, 300),
        (Source(oid=address("1.3"), scale=0.1), 0, 1.0, 30_000),
        (Source(oid=address("1.3")), 0, 1000.0, 3_000_000),  # three decimal digits, told by the device
        (Source(oid=address("1.3"), text=True), b"12.50", 1.0, b"3000.00"),
        (Source(oid=address("1.3"), text=True), b"7", 1.0, b"3000"),
        (Source(oid=address("1.3"), wraps=1000), 0, 1.0, 0),
    ],
)
def test_watts_in_every_spelling(source: Source, before: int | bytes, per_unit: float, expected: int | bytes) -> None:
    scene = make_scene(1)
    scene.view.wall_w[0] = 3000.0
    assert Live("power_w", source, (0,), per_unit=per_unit).written(before, scene) == expected


def test_states_and_items_in_their_places() -> None:
    state = Column(oid=address("1.3"), quantity="is_on", on=(7, 9), off=(8,))
    scene = make_scene(2)
    assert [Live("is_on", state, (row,)).written(7, scene) for row in (0, DARK)] == [7, 8]
    assert Live("is_on", state, ()).written(8, scene) == 7  # a free outlet is on
    bits = Column(oid=address("1.3"), quantity="is_on", on=(1,), off=(0,), pick="bit")
    assert Live("is_on", bits, (DARK,), position=3).written(0b111, scene) == 0b011
    assert Live("is_on", bits, (0,), position=3).written(0b011, scene) == 0b111
    assert placed("csv", 2, b"1,0,-1", 1) == b"1,1,-1"
    assert placed("csv", 1, b"Outlet1,x", b"m7") == b"m7,x"


def test_rows_of_one_kind_share_the_sockets_out() -> None:
    kinds = [(RowKind.INLET, "1"), (RowKind.INLET, "2"), *((RowKind.PHASE, str(k)) for k in range(1, 7))]
    rows = [PduRow(kind, id) for kind, id in kinds] + [PduRow(RowKind.BANK, str(k)) for k in (1, 2)]
    shared = share_out([*rows, PduRow(RowKind.UNIT, "1")], 12)
    assert list(shared[RowKind.UNIT, "1"]) == list(range(12))
    assert list(shared[RowKind.INLET, "2"]) == [6, 7, 8, 9, 10, 11]
    assert [list(shared[RowKind.PHASE, id]) for id in "146"] == [[0, 3], [6, 9], [8, 11]]
    chain = [PduRow(RowKind.INLET, f"{unit}.{k}", unit=unit) for unit in "12" for k in (1, 2)]
    shared = share_out(chain, 8)
    assert [list(shared[RowKind.INLET, row.id]) for row in chain] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    told = [PduRow(RowKind.OUTLET, str(k), bank="AB"[k % 2]) for k in range(4)]
    banks = [PduRow(RowKind.BANK, "1", name="A"), PduRow(RowKind.BANK, "2", name="B")]
    shared = share_out([*told, *banks], 4)
    assert (list(shared[RowKind.BANK, "1"]), list(shared[RowKind.BANK, "2"])) == ([0, 2], [1, 3])


# --- captured families


@pytest.mark.parametrize("name", FAMILIES)
def test_captured_pdus_show_the_watts_of_the_farm(captures_dir: Path, name: str) -> None:
    path = captures_dir / "pdus" / f"{name}.snmprec"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    machines = 3
    tree = following(path, machines)
    truth_w = sum(tree.scene.view.wall_w)
    reading = read_now(tree)
    parts = max(len(reading.rows), 1)
    step_w = (reading.power_resolution_w or 1.0) * parts / 2
    # An estimate is made of rounded amperes, or takes volt-amperes for watts.
    slack = 0.03 * truth_w + 240.0 if reading.power_quality is Quality.ESTIMATED else 0.0
    assert reading.power_w == pytest.approx(truth_w, abs=step_w + slack)
    outlets = [row.power_w for row in reading.rows if row.kind is RowKind.OUTLET][:machines]
    for seen_w, wall_w in zip(outlets, tree.scene.view.wall_w, strict=False):
        if seen_w is not None:
            assert seen_w == pytest.approx(wall_w, abs=slack or 10.0)
    states = [row.is_on for row in reading.rows if row.kind is RowKind.OUTLET][:machines]
    if None not in states and len(states) > DARK:
        assert states == [row != DARK for row in range(machines)]
    for row in reading.rows:
        if row.kind in (RowKind.INLET, RowKind.PHASE) and row.power_w and row.current_a and row.voltage_v:
            assert row.current_a == pytest.approx(row.power_w / row.voltage_v / 0.98, rel=0.02, abs=0.6)
    assert tree.victims
