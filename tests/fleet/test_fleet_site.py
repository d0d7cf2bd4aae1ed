"""The inventory as an operator writes it, with his slips; and which row a reading belongs to."""

from __future__ import annotations

import math
from importlib.resources import files

import numpy as np
import pytest

from fleet.market import InputState
from fleet.outlets import Claim
from fleet.readings import RowKind
from fleet.site import (
    EconomicTerms,
    Machine,
    Nameplate,
    Register,
    Site,
    SiteError,
    fold_model,
    found_machine,
    normalise_mac,
    overridden,
    parse_inventory,
    parse_nameplates,
    plate_of,
)
from fleet.tariff import PowerPrice

MAC = "0200000000a1"
CATALOGUE = parse_nameplates((files("fleet") / "nameplates.csv").read_text())


def test_a_full_line_gives_every_field_in_base_units() -> None:
    text = (
        "id,mac,serial,address,location,feeder,owner,model,hashrate_th,power_w,pdu,outlet,never_stop,credential,tariff\n"
        "a1,02:00:00:00:00:A1,SN1,10.0.0.1,row 1,F1,us,Antminer S19j Pro,100,3050,pdu-1,7,yes,luxos,flat\n"
    )
    assert parse_inventory(text) == (
        Machine(
            id="a1", address="10.0.0.1", mac=MAC, serial="SN1", location="row 1", feeder="F1", owner="us",
            model="Antminer S19j Pro", hashrate_hs=1e14, power_w=3050.0, pdu="pdu-1", outlet="7", never_stop=True,
            credential="luxos", tariff="flat",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "id", "is_provisional"),
    [
        ("a1,02-00-00-00-00-A1,SN1,10.0.0.1", "a1", False),
        (",02-00-00-00-00-A1,SN1,10.0.0.1", MAC, False),
        (",,SN1,10.0.0.1", "SN1", False),
        (",,,10.0.0.1", "ip-10-0-0-1", True),
    ],
)
def test_the_id_is_the_best_name_at_hand(line: str, id: str, is_provisional: bool) -> None:
    (machine,) = parse_inventory(f"id,mac,serial,address\n{line}\n")
    assert (machine.id, machine.is_provisional) == (id, is_provisional)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,colour\n",
            "inventory: unknown column 'colour'; known: id, mac, serial, address, location, feeder, owner, model, "
            "hashrate_th, power_w, pdu, outlet, share, never_stop, credential, tariff",
        ),
        ("id\na\nb\na\n", "inventory line 4: id 'a' is already on line 2"),
        ("id,location\na,row 1\n,row 2\n", "inventory line 3: needs one of id, mac, serial, address"),
        ("mac\n02:00:00:00:00\n", "inventory line 2: mac '02:00:00:00:00' is not a MAC address"),
        ("id,power_w\na,3 kW\n", "inventory line 2: power_w '3 kW' is not a positive number"),
        ("id,power_w\na,0\n", "inventory line 2: power_w '0' is not a positive number"),
        ("id,power_w\na,-1\n", "inventory line 2: power_w '-1' is not a positive number"),
        ("id,power_w\na,nan\n", "inventory line 2: power_w 'nan' is not a positive number"),
        ("id,hashrate_th\na,inf\n", "inventory line 2: hashrate_th 'inf' is not a positive number"),
        ("id,never_stop\na,maybe\n", "inventory line 2: never_stop 'maybe' is neither yes nor no"),
        # an empty line, or one of commas alone, counts as a line and is nothing else
        ("id,power_w\n\na,1\n,\nb,x\n", "inventory line 5: power_w 'x' is not a positive number"),
        ("id,power_w\n\n\na,1\na,2\n", "inventory line 5: id 'a' is already on line 4"),
        # what belongs to one machine, however it is written
        (
            "id,mac\na,02:00:00:00:00:A1\nb,0200.0000.00a1\n",
            "inventory line 3: mac '0200000000a1' is already on line 2",
        ),
        ("mac\n02:00:00:00:00:A1\n0200.0000.00a1\n", "inventory line 3: id '0200000000a1' is already on line 2"),
        ("id,serial\na,SN1\nb,SN1\n", "inventory line 3: serial 'SN1' is already on line 2"),
        (
            "id,address\na,10.0.0.1\nb,10.0.0.2\nc,10.0.0.1\n",
            "inventory line 4: address '10.0.0.1' is already on line 2",
        ),
        (
            "id,pdu,outlet\na,p,1\nb,q,1\nc,p,1\n",
            "inventory line 4: outlet '1' of pdu 'p' is already on line 2; a share on each of them would split it",
        ),
        (  # one cord of two
            "id,pdu,outlet\na,p,11+12\nb,p,Outlet 12\n",
            "inventory line 3: outlet '12' of pdu 'p' is already on line 2; a share on each of them would split it",
        ),
        (
            "id,pdu,outlet,share\na,p,bank 1,0.5\nb,p,bank 1,\n",
            "inventory line 3: bank '1' of pdu 'p' is already on line 2; a share on each of them would split it",
        ),
        (
            "id,pdu,outlet,share\na,p,bank 1,0.5\nb,p,bank 1,nameplate\n",
            "inventory line 3: share of bank '1' of pdu 'p' is a number on one line and nameplate on another",
        ),
        (
            "id,pdu,outlet,share\na,p,unit,0.4\nb,p,unit,0.4\nc,p,unit,0.3\n",
            "inventory line 4: share 0.3 makes more than 1 of unit 'total' of pdu 'p'",
        ),
        ("id,share\na,0.5\n", "inventory line 2: share '0.5' is of nothing without pdu and outlet"),
        (
            "id,pdu,outlet,share\na,p,1,half\n",
            "inventory line 2: share 'half' is neither a share of 1, as 0.5, nor nameplate",
        ),
        (
            "id,pdu,outlet,share\na,p,1,1.5\n",
            "inventory line 2: share '1.5' is neither a share of 1, as 0.5, nor nameplate",
        ),
        ("id,pdu,outlet\na,p,bank\n", "inventory line 2: outlet 'bank' names no bank; write it as in 'bank 3'"),
        ("id,pdu,outlet\na,p,1+\n", "inventory line 2: outlet '1+' has an empty part; cords are joined as in 11+12"),
        ("id,pdu,outlet\na,p,1+1\n", "inventory line 2: outlet '1+1' names outlet 1 twice"),
    ],
)
def test_a_slip_is_named_by_line_and_column(text: str, message: str) -> None:
    with pytest.raises(SiteError) as caught:
        parse_inventory(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "id,mac\n", "id\n\n\n", "id,mac\n,\n , \n"])
def test_an_inventory_without_machines_is_empty(text: str) -> None:
    assert parse_inventory(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("TRUE", True),
        ("1", True),
        ("x", True),
        ("no", False),
        ("False", False),
        ("0", False),
        ("", False),
    ],
)
def test_a_flag_is_read_as_people_write_it(text: str, expected: bool) -> None:
    (machine,) = parse_inventory(f" id , never_stop \n a , {text} \n")
    assert (machine.id, machine.never_stop) == ("a", expected)


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("02:00:00:00:00:A1", MAC),
        ("02-00-00-00-00-a1", MAC),
        ("0200.0000.00A1", MAC),
        (" 0200000000a1 ", MAC),
        ("02:00:00:00:00:G1", None),
        ("02:00:00:00:00", None),
        ("02:00:00:00:00:a1:00", None),
        ("00:00:00:00:00:00", None),
        ("ff:ff:ff:ff:ff:ff", None),
        ("", None),
        (None, None),
    ],
)
def test_a_mac_is_12_hex_digits_or_nothing(text: str | None, mac: str | None) -> None:
    assert normalise_mac(text) == mac


@pytest.mark.parametrize(
    ("mac", "serial", "id", "is_provisional"),
    [(MAC, "SN1", MAC, False), (None, "SN1", "SN1", False), (None, None, "ip-10-0-0-7", True)],
)
def test_a_found_machine_is_named_by_what_does_not_move(
    mac: str | None, serial: str | None, id: str, is_provisional: bool
) -> None:
    machine = found_machine("10.0.0.7", mac, serial, "S19")
    assert machine == Machine(
        id, address="10.0.0.7", mac=mac, serial=serial, model="S19", is_provisional=is_provisional
    )


def test_a_found_machine_at_an_ipv6_address_has_no_colon_in_its_id() -> None:
    assert found_machine("fd00::7", None, None, None).id == "ip-fd00--7"


TOLD = (
    Machine("by-mac", address="10.0.0.1", mac=MAC),
    Machine("by-serial", address="10.0.0.2", serial="SN2"),
    Machine("by-place", address="10.0.0.3"),
    Machine("by-both", mac="0200000000d4", serial="SN4"),
)


@pytest.mark.parametrize(
    ("mac", "serial", "row"),
    [
        (MAC, None, 0),
        (None, "SN2", 1),
        (MAC, "SN2", 0),  # MAC before serial
        ("0200000000ff", "SN2", 1),  # the operator named a serial: whatever network card it has now
        ("0200000000ff", "SN4", None),  # he named a MAC, and this is another
        ("0200000000ff", "SN9", None),
        (None, None, None),
    ],
)
def test_a_machine_is_known_by_its_names_wherever_it_stands(
    mac: str | None, serial: str | None, row: int | None
) -> None:
    assert Register(TOLD).named(mac, serial) == row


@pytest.mark.parametrize(
    ("row", "mac", "serial", "is_another"),
    [
        (0, None, None, False),  # says nothing of itself
        (0, MAC, "SN9", False),
        (0, None, "SN9", False),  # the inventory names no serial there
        (0, "0200000000ff", None, True),
        (1, None, "SN9", True),
        (1, "0200000000ff", None, False),
        (2, "0200000000ff", "SN3", False),  # the inventory knows nothing but the place
    ],
)
def test_another_machine_is_one_that_shows_another_name(
    row: int, mac: str | None, serial: str | None, is_another: bool
) -> None:
    assert Register(TOLD).is_another(row, mac, serial) is is_another


def test_a_row_without_a_name_takes_the_first_that_it_is_shown() -> None:
    register = Register(TOLD)
    register.bind(2, "0200000000c3", "SN3")
    assert register.named("0200000000c3", None) == register.named(None, "SN3") == 2
    assert register.is_another(2, "0200000000ff", None)
    # a new network card in the machine with the same serial: its former MAC is nobody's
    register.bind(2, "0200000000c4", "SN3")
    assert (register.named("0200000000c4", None), register.named("0200000000c3", None)) == (2, None)
    register.bind(2, None, None)
    assert (register.macs[2], register.serials[2]) == ("0200000000c4", "SN3")


def test_told_names_stay_and_nobody_takes_the_name_of_another() -> None:
    register = Register(TOLD)
    register.bind(0, "0200000000ff", "SN2")
    assert (register.macs[0], register.serials[0]) == (MAC, None)
    register.bind(1, MAC, "SN9")
    assert (register.macs[1], register.serials[1]) == (None, "SN2")
    assert (register.named(MAC, None), register.named(None, "SN2")) == (0, 1)


def test_ids_are_never_given_twice() -> None:
    register = Register((Machine("ip-10-0-0-7"),))
    assert (register.free_id("a"), register.free_id("ip-10-0-0-7")) == ("a", "ip-10-0-0-7~2")
    assert register.add(Machine("ip-10-0-0-7~2")) == 1
    assert register.free_id("ip-10-0-0-7") == "ip-10-0-0-7~3"


def test_an_address_belongs_to_the_first_that_claims_it_and_to_nobody_without_one() -> None:
    register = Register((Machine("nowhere"), Machine("told", address="10.0.0.7"), Machine("found", address="10.0.0.7")))
    assert register.row_of_address == {"10.0.0.7": 1}


def test_a_meter_is_claimed_with_its_kind_and_the_share_of_it() -> None:
    text = (
        "id,pdu,outlet,share\n"
        "a,p,1,\nb,p,11+12,\nc,q,Bank 3,0.25\nd,q,bank 3,0.75\ne,r,unit,nameplate\nf,p,,\ng,,3,\nh,q,phase L1,1\n"
    )
    claims = Site("north", parse_inventory(text)).claims
    outlet, bank = RowKind.OUTLET, RowKind.BANK
    assert claims["p"] == (Claim(0, (outlet, "1")), Claim(1, (outlet, "11")), Claim(1, (outlet, "12")))
    assert claims["q"] == (
        Claim(2, (bank, "3"), 0.25, True), Claim(3, (bank, "3"), 0.75, True), Claim(7, (RowKind.PHASE, "L1"), 1.0, True)
    )  # fmt: skip
    (unit,) = claims["r"]
    assert (unit.machine, unit.meter, unit.is_shared) == (4, (RowKind.UNIT, "total"), True)
    assert math.isnan(unit.ratio)
    assert set(claims) == {"p", "q", "r"}


def test_shares_may_make_one_in_spite_of_their_last_digits() -> None:
    shares = (0.333334, 0.333333, 0.333333)
    text = "id,pdu,outlet,share\n" + "".join(f"{i},p,1,{share}\n" for i, share in enumerate(shares))
    assert [machine.share for machine in parse_inventory(text)] == list(shares)


def test_found_machines_join_at_the_end_and_nothing_else_changes() -> None:
    terms = EconomicTerms(pool_fee=0.02)
    plates = {"s19": Nameplate("S19", 9.5e13, 3250.0)}
    site = Site("north", (Machine("a", power_w=3000.0, never_stop=True),), plates, terms, expected_pools=("pool",))
    more = site.with_machines([Machine("b", hashrate_hs=1e14), Machine("c")])
    assert more.ids == ("a", "b", "c")
    assert (len(site), len(more)) == (1, 3)
    assert (more.name, more.nameplates, more.terms, more.expected_pools) == ("north", plates, terms, ("pool",))
    assert more.tariff is site.tariff
    assert more.never_stop.tolist() == [True, False, False]
    assert more.power_configured_w[0] == 3000.0
    assert [math.isnan(x) for x in more.power_configured_w] == [False, True, True]
    assert [math.isnan(x) for x in more.hashrate_configured_hs] == [True, False, True]


def test_a_site_without_a_tariff_says_so() -> None:
    assert math.isnan(Site("north").tariff.price_usd_per_kwh(0.0))


def test_what_is_left_of_the_hashprice_is_what_neither_pool_nor_rejects_take() -> None:
    # 0.99 * 0.996
    assert EconomicTerms(pool_fee=0.01, reject=0.004).realised_ratio == pytest.approx(0.98604)


@pytest.mark.parametrize(
    ("model", "folded"),
    [
        ("Antminer S19 Pro (110T)", "s19pro"),
        ("S19 Pro", "s19pro"),
        ("ANTMINER S19j Pro+", "s19jpro+"),
        ("Whatsminer M50S VH30", "m50s"),
        ("WhatsMiner M30S++ VE40", "m30s++"),
        ("AvalonMiner 1246", "1246"),
        ("Avalon A1366", "1366"),
        ("A1566", "1566"),
        ("Avalon A16 XP", "a16xp"),
        ("AVALON Q", "q"),
        ("M50_VH51", "m50"),  # as the machine itself says it
        ("M60S+VK40", "m60s+"),
        ("M20S V10", "m20s"),
        ("S21 XP Hyd.", "s21xphyd"),
        ("Antminer S21 Hydro", "s21hyd"),
        ("SEALMINER A2 Pro Air", "a2proair"),
        ("Bitaxe Gamma 601", "gamma601"),
        ("NerdQAxe++", "nerdqaxe++"),
        ("", ""),
    ],
)
def test_names_of_one_model_fold_into_one(model: str, folded: str) -> None:
    assert fold_model(model) == folded


def test_nameplates_are_found_by_folded_model() -> None:
    plates = parse_nameplates("model,hashrate_th,power_w\nAntminer S19 Pro,110,3250\n")
    assert dict(plates) == {"s19pro": Nameplate("Antminer S19 Pro", 1.1e14, 3250.0)}


@pytest.mark.parametrize(
    ("model", "hashrate_th"),
    [
        ("Antminer S19j Pro", 100),
        ("S19J PRO (104T)", 104),
        ("Antminer S19j Pro (104.0 TH/s)", 104),
        ("Antminer S19j Pro (98T)", 100),  # a bin that nobody listed is still of this model
        ("S19j Pro (Vnish 1.2.6)", 100),
        ("S19j Pro ( 95Th)", 95),
        ("S9j Pro (104T)", None),
        ("", None),
    ],
)
def test_the_exact_bin_goes_before_the_model(model: str, hashrate_th: float | None) -> None:
    plates = parse_nameplates(
        "model,hashrate_th,power_w,source\nS19j Pro,100,3050,nameplate\nS19j Pro (104T),104,3068,nameplate\n"
        "S19j Pro (95T),95,2900,measured by us\n"
    )
    plate = plate_of(plates, model)
    assert (plate and plate.hashrate_hs) == (hashrate_th and hashrate_th * 1e12)
    assert plate is None or plate.source in ("nameplate", "measured by us")


def test_the_operators_catalogue_goes_before_ours_with_every_bin_of_its_models() -> None:
    ours = parse_nameplates("model,hashrate_th,power_w\nS19,95,3250\nS19 (90T),90,3100\nS21,200,3500\nT21,190,3610\n")
    own = parse_nameplates("model,hashrate_th,power_w\nS19,96,3300\nT21 (186T),186,3500\n")
    plates = overridden(ours, own)
    watts = [plate.power_w for model in ("S19", "S19 (90T)", "S21", "T21", "T21 (186T)")
             if (plate := plate_of(plates, model))]  # fmt: skip
    assert watts == [3300.0, 3300.0, 3500.0, 3610.0, 3500.0]


FACTS = """
S9 13.5 98|T19 84 37.5|S19 95 34.2|S19j 90 35|S19 Pro 110 29.5|S19j Pro (96T) 96 29.5|S19j Pro (100T) 100 30.5
S19j Pro (104T) 104 29.5|S19j Pro+ (117T) 117 27.5|S19j Pro+ (122T) 122 27.5|S19k Pro (110T) 110 23
S19k Pro (115T) 115 23|S19k Pro (120T) 120 23|S19 XP 140 21.5|S19 XP (141T) 141 21.4|S19 XP Hyd 256 20.8|T21 190 19
S21 (188T) 188 17.5|S21 (195T) 195 17.5|S21 (200T) 200 17.5|S21 200 17.5|S21+ (216T) 216 16.5|S21+ (235T) 235 16.5
S21 Pro 234 15|S21 Pro (245T) 245 15|S21 XP 270 13.5|S21 Hyd 335 16|S21 XP Hyd 473 12|M30S VE20 86 38|M30S+ 100 34
M30S++ VH60 112 31|M30S++ (104T) 104 31|M50 VH51 116 29|M50S 127 26|M50S++ VK20 151 21.5|M53 228 29|M53S 245 26
M56S 206 26|M56S++ 248 22|M60 166 19.6|M60S VK40 182 18.7|M60S+ 201 17|M60S++ 222 15.9|M63 353 19.7|M63S 403 18.5
M66 272.5 19|M66S 292 18.5|A1246 86.5 38|A1346 110 30|A1366 130 25|A1466 150 21.75|A1566 185 18.5
A1566 (194T) 194 18.5|A16 282 13.8|A16 XP 300 12.8|Q 90 18.6|Nano 3 4 32|Nano 3S 6 23.3|SEALMINER A2 230 16.5
SEALMINER A2 Pro Air 257.5 15.2|SEALMINER A2 Pro Hyd 500 14.9|SEALMINER A3 Air 260 14|SEALMINER A3 Pro Air 290 12.5
Bitaxe Ultra 0.5 27|Bitaxe Supra 0.675 17|Bitaxe Gamma 601 1.2 15|NerdQAxe+ 2.5 22|NerdQAxe++ 4.8 15.2
"""
"""Model, TH/s and J/TH as third parties print them: guides of resellers, public tables, calculators."""


@pytest.mark.parametrize("line", FACTS.replace("\n", "|").strip("|").split("|"))
def test_the_catalogue_holds_what_is_printed(line: str) -> None:
    model, hashrate_th, j_per_th = line.rsplit(" ", 2)
    plate = plate_of(CATALOGUE, model)
    assert plate is not None
    assert plate.hashrate_hs / 1e12 == pytest.approx(float(hashrate_th), rel=0.01)
    assert plate.power_w / plate.hashrate_hs * 1e12 == pytest.approx(float(j_per_th), rel=0.05)


def test_every_line_of_the_catalogue_says_where_it_comes_from_and_every_bin_has_its_model() -> None:
    assert {plate.source for plate in CATALOGUE.values()} == {"nameplate", "efficiency", "middle"}
    assert {key.split("@")[0] for key in CATALOGUE} <= CATALOGUE.keys()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",110,3250", "nameplates line 2: needs model, hashrate_th and power_w"),
        ("S19,110", "nameplates line 2: needs model, hashrate_th and power_w"),
        ("S19", "nameplates line 2: needs model, hashrate_th and power_w"),
        ("S19,many,3250", "nameplates line 2: hashrate_th 'many' is not a positive number"),
        ("S19,,3250", "nameplates line 2: hashrate_th '' is not a positive number"),
        ("\nS19,110,0", "nameplates line 3: power_w '0' is not a positive number"),
    ],
)
def test_a_slip_in_the_catalogue_is_named_too(line: str, message: str) -> None:
    with pytest.raises(SiteError) as caught:
        parse_nameplates(f"model,hashrate_th,power_w\n{line}\n")
    assert str(caught.value) == message


def test_a_column_that_the_catalogue_does_not_have_is_named() -> None:
    with pytest.raises(
        SiteError, match=r"plates\.csv: unknown column 'watts'; known: model, hashrate_th, power_w, source"
    ):
        parse_nameplates("model,hashrate_th,watts\n", "plates.csv")


def test_a_machine_is_priced_by_the_tariff_that_its_line_names() -> None:
    machines = parse_inventory("id,tariff\na,\nb,hosted\nc,\nd,hosted\ne,unheard\n")
    power = (PowerPrice("", 0.06, "flat", InputState.FRESH), PowerPrice("hosted", 0.075, "flat", InputState.FRESH))
    np.testing.assert_array_equal(Site("north", machines).by_tariff(power), [0.06, 0.075, 0.06, 0.075, math.nan])
    np.testing.assert_array_equal(Site("north", machines[:1]).by_tariff(power), [0.06])
