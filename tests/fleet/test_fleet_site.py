"""The inventory as an operator writes it, with his slips; and which row a reading belongs to."""

from __future__ import annotations

import math

import pytest

from fleet.site import (
    EconomicTerms,
    Machine,
    Nameplate,
    Site,
    SiteError,
    fold_model,
    found_machine,
    locate,
    normalise_mac,
    parse_inventory,
    parse_nameplates,
)

MAC = "0200000000a1"


def test_a_full_line_gives_every_field_in_base_units() -> None:
    text = (
        "id,mac,serial,address,location,feeder,owner,model,hashrate_th,power_w,pdu,outlet,never_stop,credential,tariff\n"
        "a1,02:00:00:00:00:A1,SN1,10.0.0.1,row 1,F1,us,Antminer S19j Pro,100,3050,pdu-1,7,yes,luxos,flat\n"
    )
    assert parse_inventory(text) == (
        Machine(
            id="a1", address="10.0.0.1", mac=MAC, serial="SN1", location="row 1", feeder="F1", owner="us",
            model="Antminer S19j Pro", hashrate_hs=1e14, power_w=3050.0, pdu="pdu-1", outlet="7", never_stop=True,
            credential="luxos",
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
            "hashrate_th, power_w, pdu, outlet, never_stop, credential, tariff",
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


LOCATED = Site(
    "north",
    (
        Machine("by-mac", address="10.0.0.1", mac=MAC),
        Machine("by-serial", address="10.0.0.2", serial="SN2"),
        Machine("by-place", address="10.0.0.3"),
    ),
)


@pytest.mark.parametrize(
    ("address", "mac", "serial", "row"),
    [
        ("10.0.0.9", MAC, None, 0),  # it moved
        ("10.0.0.9", None, "SN2", 1),
        ("10.0.0.3", MAC, None, 0),  # it moved to another one's place: the MAC wins
        ("10.0.0.9", MAC, "SN2", 0),  # MAC before serial
        ("10.0.0.1", None, None, 0),  # says nothing of itself: the place decides
        ("10.0.0.3", "0200000000c3", "SN3", 2),  # the inventory knows nothing but the place
        ("10.0.0.1", "0200000000ff", None, None),  # another machine in the place of the first
        ("10.0.0.2", None, "SN9", None),
        ("10.0.0.1", None, "SN9", 0),  # the inventory names no serial there
        ("10.0.0.9", "0200000000ff", "SN9", None),
        ("10.0.0.9", None, None, None),
    ],
)
def test_a_reading_goes_to_its_machine_wherever_it_stands(
    address: str, mac: str | None, serial: str | None, row: int | None
) -> None:
    assert locate(LOCATED, address, mac, serial) == row


def test_an_outlet_that_two_rows_claim_belongs_to_neither() -> None:
    site = Site(
        "north",
        (
            Machine("a", pdu="p", outlet="1"),
            Machine("b", pdu="p", outlet="2"),
            Machine("c", pdu="p", outlet="1"),
            Machine("d", pdu="p"),
            Machine("e", outlet="3"),
            Machine("f", pdu="q", outlet="1"),
        ),
    )
    assert site.row_of_outlet == {("p", "2"): 1, ("q", "1"): 5}


def test_found_machines_join_at_the_end_and_nothing_else_changes() -> None:
    terms = EconomicTerms(pool_fee=0.02)
    plates = {"s19": Nameplate("S19", 9.5e13, 3250.0)}
    site = Site("north", (Machine("a", power_w=3000.0, never_stop=True),), plates, terms, expected_pools=("pool",))
    more = site.with_machines([Machine("b", hashrate_hs=1e14), Machine("c")])
    assert more.ids == ("a", "b", "c")
    assert (len(site), len(more)) == (1, 3)
    assert more.row_of_id == {"a": 0, "b": 1, "c": 2}
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
        ("Avalon A1366", "a1366"),
        ("", ""),
    ],
)
def test_names_of_one_model_fold_into_one(model: str, folded: str) -> None:
    assert fold_model(model) == folded


def test_nameplates_are_found_by_folded_model() -> None:
    plates = parse_nameplates("model,hashrate_th,power_w\nAntminer S19 Pro,110,3250\n")
    assert dict(plates) == {"s19pro": Nameplate("Antminer S19 Pro", 1.1e14, 3250.0)}


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


def test_an_address_belongs_to_the_first_that_claims_it_and_to_nobody_without_one() -> None:
    site = Site(
        "north", (Machine("nowhere"), Machine("told", address="10.0.0.7"), Machine("found", address="10.0.0.7"))
    )
    assert site.row_of_address == {"10.0.0.7": 1}
