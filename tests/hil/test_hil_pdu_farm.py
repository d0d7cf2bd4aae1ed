"""PDUs in the farm: of any make, with names and shares as the spec says, ill on order, and always telling the truth."""

from __future__ import annotations

import asyncio
import csv
import json
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.plan import site_of
from collectors.catalogue import open_device
from collectors.pdus.device import read_walk
from fleet.readings import MinerReading, PduReading, RowKind
from hil.control import ControlError, FarmProcess
from hil.farm import Farm, FarmSpec, main
from hil.faults import Misbehaviour, PduMisbehaviour
from hil.loopback import free_block
from hil.pdus import Recording
from hil.responder import Tree

SYNTHETIC = Path(__file__).resolve().parent.parent / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"
PATIENCE_S = 30.0


def make(**changes: Any) -> Farm:
    """A farm that stands still and whose sockets stay closed."""
    return Farm(FarmSpec(**{"machines": 6, "pdus": 1, "tick_s": 3600.0} | changes))


def read_now(tree: Tree) -> PduReading:
    return read_walk(Recording([(oid, tree.value(i)) for i, oid in enumerate(tree.oids)]).found())


def outlet_names(farm: Farm, pdu: int = 0) -> list[str | None]:
    return [row.name for row in read_now(farm.pdus[pdu].tree).rows if row.kind is RowKind.OUTLET]


def inventory(farm: Farm) -> list[dict[str, str]]:
    return list(csv.DictReader(farm.inventory_csv().splitlines()))


def column(farm: Farm, name: str) -> list[str]:
    return [line[name] for line in inventory(farm)]


# --- names and shares


def test_outlets_are_named_as_the_spec_says() -> None:
    assert outlet_names(make(machines=2, outlets=3)) == ["m00001", "m00002", "Outlet 3"]
    assert outlet_names(make(machines=2, outlet_names="default")) == ["Outlet 1", "Outlet 2"]
    named = make(machines=2, outlet_names="mac")
    assert outlet_names(named) == ["C6:08:28:00:00:00", "C6:08:28:00:00:01"] == column(named, "mac")


def test_an_operator_may_have_written_down_no_outlets() -> None:
    farm = make(inventory_outlets=False)
    assert {(line["pdu"], line["outlet"], line["share"]) for line in inventory(farm)} == {("", "", "")}
    assert farm.truth()["outlet"] == ["1", "2", "3", "4", "5", "6"]  # where they hang all the same


def test_machines_can_share_an_outlet_and_its_meter(tmp_path: Path) -> None:
    farm = make(machines=7, machines_per_outlet=2)
    assert column(farm, "outlet") == ["1", "1", "2", "2", "3", "3", "4"]
    assert column(farm, "share") == ["nameplate"] * 6 + [""]
    assert outlet_names(farm) == ["Outlet 1", "Outlet 2", "Outlet 3", "m00007"]
    wall_w = farm.truth()["wall_w"]
    outlets = [row for row in read_now(farm.pdus[0].tree).rows if row.kind is RowKind.OUTLET]
    assert [row.power_w for row in outlets] == [round(sum(wall_w[k : k + 2])) for k in (0, 2, 4, 6)]
    farm.scene.orders.outlet_on[[0, 2, 3]] = False
    states = [row.is_on for row in read_now(farm.pdus[0].tree).rows if row.kind is RowKind.OUTLET]
    assert states == [True, False, True, True]  # the first outlet still feeds its second machine


# --- other makes


def test_a_farm_can_have_pdus_of_any_make_that_follow_its_machines(tmp_path: Path) -> None:
    farm = make(machines=12, pdus=2, pdu_walks=(SYNTHETIC,))
    first, second = (read_now(pdu.tree) for pdu in farm.pdus)
    wall_w = farm.truth()["wall_w"]
    assert (first.model, second.model) == ("AP8641", "AP8806HIL")
    assert first.power_w == pytest.approx(sum(wall_w[:6]), abs=10.0)
    assert second.power_w == pytest.approx(sum(wall_w[6:]), abs=5.0)
    assert first.serial != second.serial
    assert column(farm, "outlet") == ["1", "2", "3", "4", "2.1", "2.2", "1", "2", "3", "4", "5", "6"]
    assert farm.truth()["outlet"] == column(farm, "outlet")


def test_a_recorded_pdu_can_stand_beside_the_farm_as_it_was() -> None:
    farm = make(pdu_replay=(SYNTHETIC,))
    assert farm.spec.pdu_targets == ["127.30.0.1:1161", "127.30.0.2:1161"]
    assert read_now(farm.pdus[1].tree).power_w == 11330.0
    assert {place[0] for row in range(6) if (place := farm.outlet_of(row))} == {"127.30.0.1:1161"}


def test_machines_on_one_meter_of_the_whole_unit_share_it(tmp_path: Path) -> None:
    unit = "1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.318.1.3.4.6\n1.3.6.1.4.1.318.1.1.26.4.3.1.1.1|2|1\n"
    walk = tmp_path / "unit.snmprec"
    walk.write_text(unit + "1.3.6.1.4.1.318.1.1.26.4.3.1.2.1|2|1\n1.3.6.1.4.1.318.1.1.26.4.3.1.5.1|2|500\n")
    farm = make(machines=3, pdu_walks=(walk,))
    assert {(line["outlet"], line["share"]) for line in inventory(farm)} == {("unit", "nameplate")}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machines": 7, "pdu_walks": (SYNTHETIC,)}, "synthetic_apc_rpdu2.snmprec: 7 outlets are needed"),
        ({"pdu_walks": (SYNTHETIC, SYNTHETIC)}, "2 walks for 1 PDUs"),
    ],
)
def test_walks_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(**changes)


def test_the_command_line_refuses_what_is_no_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.snmprec"
    empty.write_text("no walk at all\n")
    block = ("--block", str(free_block()), "--machines", "1", "--pdus", "1")
    assert main([*block, "--pdu-walk", str(empty)]) == 2
    assert "is no recorded walk" in capsys.readouterr().err
    assert main([*block, "--pdu-fault", "toothache=1"]) == 2
    assert "toothache" in capsys.readouterr().err


async def test_the_agent_accepts_the_files_of_a_farm_with_all_of_it(tmp_path: Path) -> None:
    spec = FarmSpec.in_block(
        free_block(), machines=12, pdus=2, machines_per_outlet=2, pdu_walks=(SYNTHETIC,), pdu_replay=(SYNTHETIC,)
    )
    async with Farm(spec) as farm:
        config = load(farm.write_site(tmp_path))
    site = site_of(config, "model,hashrate_th,power_w\n")
    assert set(site.claims) == set(spec.pdu_targets[:2])
    assert sum(len(claims) for claims in site.claims.values()) == 12


# --- faults and truth


def test_faults_are_dealt_to_shares_of_the_pdus() -> None:
    farm = make(pdus=4, pdu_faults={PduMisbehaviour.LOOPING: 0.25, Misbehaviour.SLOW: 0.5})
    assert sorted(pdu.fault for pdu in farm.pdus) == ["looping", "none", "slow", "slow"]
    assert [pdu.fault for pdu in make(pdus=4, seed=1).pdus] == ["none"] * 4


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    whatsminers = {"WhatsMiner M50": 1.0}
    async with Farm(FarmSpec.in_block(free_block(), machines=4, pdus=2, mix=whatsminers, tick_s=3600.0)) as farm:
        yield farm


async def answers(farm: Farm, pdus: Iterable[int]) -> list[bool]:
    """Whether each PDU says anything to a question."""
    request = bytes.fromhex("3026020101" "0406" + b"public".hex() + "a019" "020107" "020100" "020100" "300e"
                            "300c" "0608" "2b06010201010300" "0500")  # fmt: skip
    loop, said = asyncio.get_running_loop(), []
    for i in pdus:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((farm.pdus[i].host, farm.pdus[i].port))
            await loop.sock_sendall(sock, request)
            patience_s = PATIENCE_S if farm.pdus[i].fault == "none" else 0.2
            try:
                said.append(bool(await asyncio.wait_for(loop.sock_recv(sock, 2048), patience_s)))
            except TimeoutError:
                said.append(False)
    return said


async def test_somebody_can_pull_the_plug_of_one_meter(farm: Farm) -> None:
    await farm.obey({"do": "fault_pdus", "kind": "unplugged", "pdus": [farm.spec.pdu_targets[1]]})
    assert await answers(farm, (0, 1)) == [True, False]
    await farm.obey({"do": "fault_pdus", "kind": "none"})
    assert await answers(farm, (0, 1)) == [True, True]


async def reported_w(farm: Farm, row: int) -> float | None:
    miner = open_device("whatsminer", *farm.spec.endpoints[row], PATIENCE_S)
    reading = await miner.read()
    await miner.aclose()
    assert isinstance(reading, MinerReading)
    return reading.reported_power_w


async def test_a_firmware_can_be_bent_and_the_wall_still_knows(farm: Farm) -> None:
    before = farm.truth()
    assert await reported_w(farm, 2) == round(before["reported_w"][2])
    await farm.obey({"do": "firmware", "machines": [farm.ids[2]], "ratio": 0.85})
    after = (await farm.obey({"do": "truth"}))["truth"]
    assert after["firmware_ratio"][2] == 0.85
    assert after["reported_w"][2] == pytest.approx(0.85 * after["wall_w"][2])
    assert after["wall_w"] == before["wall_w"]
    assert after["reported_w"][3] == before["reported_w"][3]
    assert await reported_w(farm, 2) == round(after["reported_w"][2])


def test_the_firmware_of_a_model_lies_by_a_known_factor() -> None:
    mix = {"WhatsMiner M50": 0.5, "Antminer S21": 0.5}
    plain = make(machines=8, mix=mix).truth()
    bent = make(machines=8, mix=mix, firmware_ratio={"WhatsMiner M50": 0.9}).truth()["firmware_ratio"]
    for model, before, after in zip(plain["model"], plain["firmware_ratio"], bent, strict=True):
        assert after == (0.9 if model == "WhatsMiner M50" else before)


def test_the_farm_of_another_process_obeys_too(tmp_path: Path) -> None:
    arguments = (
        *("--machines", "6", "--pdus", "2", "--block", str(free_block()), "--pdu-walk", str(SYNTHETIC)),
        *("--pdu-replay", str(SYNTHETIC), "--outlet-names", "default", "--firmware-ratio", "Antminer S21=1.1"),
        *("--machines-per-outlet", "3", "--no-inventory-outlets", "--pdu-fault", "swapped=1"),
    )
    with FarmProcess(*arguments) as farm:
        farm.control.order("fault_pdus", kind="endless")
        with pytest.raises(ControlError, match="'toothache' is not a valid PduMisbehaviour"):
            farm.control.order("fault_pdus", kind="toothache")
        farm.control.order("firmware", ratio=1.2)
        assert set(farm.control.truth()["firmware_ratio"]) == {1.2}
        assert json.loads(json.dumps(farm.ready))["pdus"] == 2
        lines = list(csv.DictReader((farm.write_site(tmp_path).parent / "machines.csv").read_text().splitlines()))
    assert {line["outlet"] for line in lines} == {""}
