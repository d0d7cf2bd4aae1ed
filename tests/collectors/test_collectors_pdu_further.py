"""Devices that no recording shows: what shares an identity with a PDU, other models and firmware of known families.

All numbers and identities are invented, in the layouts that the makers document. Expected values are worked out by
hand from the bytes, never from what the code says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from pdu_walks import AnsweringWalk, assert_a_device_tells_the_same, invented, told

from collectors.pdus.device import SnmpPdu, read_walk
from collectors.pdus.matching import UnknownPdu, recognise
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, parse_oid
from collectors.pdus.snmprec import parse_walk
from fleet.readings import Quality, RowKind

E = "1.3.6.1.4.1."


def device(identity: str | None, descr: str | None = None, **objects: Value) -> dict[Oid, Value]:
    """What a device says: identity below 1.3.6.1.4.1 (or from 0. on), description, and objects written `_318_1_1=5`."""
    found: dict[Oid, Value] = {
        parse_oid(E + name.strip("_").replace("_", ".")): value for name, value in objects.items()
    }
    if identity is not None:
        found[SYS_OBJECT_ID] = parse_oid(identity if identity.startswith("0.") else E + identity)
    if descr is not None:
        found[SYS_DESCR] = descr.encode()
    return found


def family(found: Mapping[Oid, Value]) -> str | None:
    """The id of the profile that all packaged ones give; None for an unknown PDU."""
    try:
        return recognise(packaged_profiles(), found).profile.id
    except UnknownPdu:
        return None


# --- who is no PDU ----------------------------------------------------------------------------------------------------

NO_PDUS = {
    # CyberPower: UPS cards with the identity of the PDUs, with that of the second generation, and an ATS.
    "cyberpower ups": device("3808.1.1.3", "Power Manager", _3808_1_1_1_1_1_1_0=b"OLX", _3808_1_1_1_4_2_4_0=65),
    "cyberpower ups that answers anything": device("3808.1.1.3", "Power Manager", _3808_1_1_3_1_5_0=b""),
    "cyberpower ups with a probe": device("3808.1.1.3", "Power Manager", _3808_1_1_4_2_1_0=701),
    "cyberpower card": device("3808.1.1.1", "UPS SNMP Card", _3808_1_1_1_1_1_1_0=b"PRX"),
    "cyberpower ups that answers the old tree": device(
        "3808.1.1.3", "CyberPower Power Management Card", _3808_1_1_3_1_5_0=b""
    ),
    "cyberpower ats": device("3808.1.1.5", "ATS"),
    # APC: UPS, transfer switch, cooling and monitoring units, all with the same management card.
    "smart-ups": device("318.1.3.27", "APC Web/SNMP Management Card (MB:v4.2 MN:AP9640)", _318_1_1_1_1_1_1_0=b"SMT"),
    "smart-ups, terse": device("318.1.3.27", "APC SNMP Agent", _318_1_1_1_1_1_1_0=b"SMT"),
    "symmetra": device("318.1.3.4.60", "APC Web/SNMP Management Card"),
    "rack ats": device("318.1.3.11", "APC Web/SNMP Management Card (MN:AP4423)", _318_1_1_8_1_5_0=b"AP4423"),
    "netbotz": device("318.1.3.8.4", "APC Web/SNMP Management Card (MN:NBRK0200)"),
    "cooling": device("318.1.3.14.14", "APC SNMP Agent"),
    "bare apc": device("318", "APC Web/SNMP Management Card"),
    # Liebert: one identity for everything.
    "liebert ups": device("476.1.42", "Uninitialized", _476_1_42_3_5_1_1_0=1, _476_1_42_3_9_20_1_20_1_2_1_4096=b"V"),
    "liebert cooling": device("476.1.42", "Liebert CRV", _476_1_42_3_4_1_1_1_1_1=3),
    "liebert, silent": device("476.1.42"),
    # Tripp Lite: the UPS has the same objects in another branch, 3.1 for 3.2.
    "tripp lite ups": device(
        "850.1.1.1",
        "Linux armv7l software: PowerAlert 20",
        _850_1_1_1_2_1_5_1=b"SU1",
        _850_1_1_3_1_2_1_1_1_1=2,
        _850_1_1_3_1_3_3_2_1_4_1_1=307,
        _850_1_1_3_1_3_5_1_1_4_1_1=2,
    ),
    "tripp lite, older": device("850.1", "POWERALERT"),
    "tripp lite card": device("850.1.5", "Tripp Lite"),
    # Rittal: coolers and controllers have the PDU's identity and the same table of variables.
    "rittal lcp": device(
        "2606.7", "Rittal LCP SN 1 HW V4 - SW V3", _2606_7_4_1_2_1_2_1=b"LCP", _2606_7_4_2_2_1_3_1_1=b"Fan"
    ),
    "rittal controller": device("2606.7", "Rittal CMC III PU SN 1", _2606_7_4_1_2_1_2_1=b"CMCIII-PU"),
    "rittal, silent": device("2606.7"),
    # Eaton and MGE: UPS and transfer switch.
    "eaton ups": device("534.1", "Eaton 9PX", _534_1_1_2_0=b"9PX"),
    "eaton ats": device("534.10.2", "Eaton ATS"),
    "mge ups": device("705.1", "Galaxy", _705_1_1_1_0=b"Galaxy"),
    # Sensors of makers of PDUs.
    "raritan emx": device("13742.8", "EMX 030230"),
    "raritan smart sensor": device("13742.9"),
    "raritan kvm": device("13742.3.2", "Dominion KX"),
    "geist watchdog": device("21239.5.1", "Watchdog 100", _21239_5_1_1_1_0=b"Watchdog"),
    "geist watchdog 5": device("21239.42.1.32", "Watchdog 15", _21239_5_1_1_1_0=b"Watchdog"),
    "geist watchdog 3": device("21239.2", "Watchdog 15", _21239_2_4_1_5_1=22),
    "gude sensors": device("28507.66", "Expert Sensor Box"),
    # Makers of more than PDUs, with nothing but their number.
    "aten kvm": device("21317", "KN4140"),
    "aten kvm 2": device("21317.1.1", "CN8000"),
    "digipower, silent": device("17420"),
    "chatsworth, silent": device("30932", "access control"),
    "hpe ups": device("232.165.3", "HP UPS Network Module"),
    "dell server": device("674.10892.5", "iDRAC"),
    "powertek ups": device("42610.1.1"),
    "conteg cooling": device("28402.1.1"),
    # Generic agents.
    "linux": device("8072.3.2.10", "Linux pdu-logger 6.1"),
    "emerson ups": device("13400.2.1", "UPS Web/SNMP Agent"),
    "old linux": device("2021.250.10", "Linux sic 2.4"),
    "says nothing": device(None),
    "talks rubbish": device("0", "\x1b]0;PDU\x07"),
    "another maker": device("99999.1.2", "Switched PDU"),
    # A description that a family knows, with an identity that is another product.
    "borrowed description": device("99999.1.2", "APC Metered Rack PDU"),
    "borrowed description 2": device("318.1.3.27", "APC MasterSwitch PDU"),
}


@pytest.mark.parametrize("name", NO_PDUS)
def test_what_shares_an_identity_with_a_pdu_is_unknown(name: str) -> None:
    assert family(NO_PDUS[name]) is None


@pytest.mark.parametrize(
    "name", ["cyberpower ups", "smart-ups, terse", "tripp lite ups", "geist watchdog 5", "aten kvm"]
)
async def test_it_is_unknown_on_the_wire_too_and_says_what_it_is(name: str) -> None:
    found = NO_PDUS[name]
    with pytest.raises(UnknownPdu, match=r"unknown PDU: .*; docs/adding-a-pdu\.md makes it known$") as caught:
        await SnmpPdu("127.0.0.1", client=AnsweringWalk(found)).read()
    assert re.search(re.escape(str(found[SYS_DESCR], "utf-8")), str(caught.value))  # type: ignore[arg-type]


# --- who is one -------------------------------------------------------------------------------------------------------

PDUS = {
    # Identity and description together, without any other object.
    "eaton": (device("534.6.6.7", "ePDU MI 1P"), "eaton_epdu"),
    "enlogic": (device("38446.1", "Enlogic PDU"), "enlogic"),
    "geist": (device("21239.2", "RCM-O"), "geist_v3"),
    "vertiv": (device("21239.42.1.55", ""), "vertiv_v5"),
    "apc": (device("318", "APC Switched Rack PDU"), "apc_rpdu1"),
    "apc without an identity": (device(None, "APC Metered Rack PDU"), "apc_rpdu1"),
    "apc masterswitch": (device("318", "APC MasterSwitch PDU"), "apc_masterswitch"),
    "cyberpower": (device("3808.1.1.3", "CPS Power Distributed Unit"), "cyberpower_epdu"),
    "aten": (device("21317", "Aten"), "aten"),
    "digipower": (device("17420", "Metered PDU"), "digipower"),
    "chatsworth": (device("0.10.43.6.1.4.1", "Epicenter SNMP"), "chatsworth"),
    "rittal": (device("2606.7", "Rittal PDU SN 5 HW REV.1 - SW V7"), "rittal_cmc3"),
    "hpe module": (device(None, "HP PDU Management Module, revision 1.00.A"), "hpe_pdumm"),
    # Shared identity, and the probe answers.
    "cyberpower probe": (device("3808.1.1.3", "Power Manager", _3808_1_1_3_2_3_1_1_2_1=4), "cyberpower_epdu"),
    "tripp lite probe": (device("850.1.1.1", "Linux", _850_1_1_3_2_2_1_1_1_1=2), "tripplite"),
    "liebert probe": (device("476.1.42", None, _476_1_42_3_8_30_20_1_65_7_1=9), "liebert"),
    "vertiv probe": (device("21239.42.1.99", None, _21239_5_2_3_1_1_9_1=900), "vertiv_v5"),
    "vertiv, phases only": (device("21239.42.1.60", None, _21239_5_2_3_2_1_12_1=900), "vertiv_v5"),
    "geist probe": (device("21239.2", "IMD", _21239_2_25_1_30_1=12), "geist_v3"),
    "dcs probe": (device("2021.250.10", "Linux", _13400_3_2_225_1_1_8_3=12), "vertiv_dcs"),
    "rittal on a controller": (device("2606.7", "Rittal CMC III PU", _2606_7_4_1_2_1_2_3=b"PDU-MAN"), "rittal_cmc3"),
    # Agents that say nothing or too little of themselves.
    "apc bare, new": (device("318", "APC Web/SNMP Management Card", _318_1_1_26_4_3_1_5_1=40), "apc_rpdu2"),
    "apc bare, old": (device("318", "APC SNMP Agent", _318_1_1_4_4_2_1_3_1=1), "apc_masterswitch"),
    "apc easy": (device("0", "EPDU", _318_1_1_30_2_1_1_4_1=b"EPDU"), "apc_epdu"),
    "no identity": (device(None, None, _3808_1_1_6_6_2_4_1_7_1=3), "cyberpower_epdu2"),
    "generic agent": (device("8072.3.2.10", "Linux", _534_6_6_7_1_2_1_2_0=b"ePDU"), "eaton_epdu"),
    # Both generations answer: the richer one, and the newer of two trees of one device.
    "apc both trees": (device("318.1.3.4.8", None, _318_1_1_26_4_3_1_5_1=-1, _318_1_1_12_1_5_0=b"AP"), "apc_rpdu2"),
    "apc both, bare": (device("318", None, _318_1_1_12_1_5_0=b"AP", _318_1_1_26_4_3_1_5_1=-1), "apc_rpdu2"),
    # One description for two makers, told apart by identity.
    "metered and switched, hpe": (device("232.165.11", "Outlet Metered, Outlet Switched SN:A"), "hpe_pdu3"),
    "metered and switched, panduit": (device("19536.10.1", "Outlet Metered, Outlet Switched SN:A"), "panduit_g5"),
}  # fmt: skip


@pytest.mark.parametrize("name", PDUS)
def test_what_proves_a_pdu(name: str) -> None:
    found, expected = PDUS[name]
    assert family(found) == expected


@pytest.mark.parametrize("name", PDUS)
async def test_it_is_found_on_the_wire_too(name: str) -> None:
    found, expected = PDUS[name]
    reading = await SnmpPdu("127.0.0.1", client=AnsweringWalk(found)).read()
    assert reading.profile == expected


def test_no_description_of_one_family_takes_the_recorded_shape_of_another() -> None:
    """Every invented walk is still its own family if every other family's description is put into it."""
    for words in ("Epicenter SNMP", "Aten", "RCM-O", "Rittal PDU", "APC SNMP Agent", "Enlogic PDU", "Switched PDU"):
        for name in ("apc_rpdu2", "sentry4", "eaton_epdu", "liebert", "panduit_g5", "hpe_pdu3", "tripplite"):
            assert family({**invented(name), SYS_DESCR: words.encode()}) == name, (words, name)


def test_an_identity_may_come_as_text() -> None:
    """HPE G2: sysObjectID is an OCTET STRING that spells the OID."""
    found = invented("hpe_pdu3")
    identity = found[SYS_OBJECT_ID]
    assert isinstance(identity, tuple)
    spelt = {**found, SYS_OBJECT_ID: ("." + ".".join(map(str, identity))).encode()}
    assert family(spelt) == "hpe_pdu3"
    assert read_walk(spelt).power_w == read_walk(found).power_w
    for rubbish in (b"", b"\x00", b"pdu", b"1.3.6.x", b"-1", b"1" * 5000, 7):
        assert family({SYS_OBJECT_ID: rubbish, SYS_DESCR: b"a box"}) is None


# --- chains: no total leaves out a unit, nothing is counted twice -----------------------------------------------------


def apc(*units: Mapping[str, int], watts_of_the_older_tree: int | None = None) -> dict[Oid, Value]:
    """APC rPDU2: a unit per mapping, of `watts` in tens."""
    objects: dict[str, Value] = {}
    for number, unit in enumerate(units, start=1):
        objects |= {f"_318_1_1_26_4_3_1_2_{number}": number, f"_318_1_1_26_4_3_1_5_{number}": unit["watts"]}
    if watts_of_the_older_tree is not None:
        objects |= {"_318_1_1_12_1_16_0": watts_of_the_older_tree, "_318_1_1_12_1_15_0": 230}
    return device("318.1.3.4.6", None, **objects)


def test_linked_units_are_added_once_each() -> None:
    reading = read_walk(apc({"watts": 120}, {"watts": 30}, {"watts": 0}, {"watts": 7}))
    assert (reading.power_w, reading.power_quality) == (1570.0, Quality.MEASURED)


def test_the_older_tree_stands_in_for_one_unit_and_never_for_a_chain() -> None:
    assert read_walk(apc({"watts": -1}, watts_of_the_older_tree=345)).power_w == 345.0
    chain = read_walk(apc({"watts": -1}, {"watts": 30}, watts_of_the_older_tree=345))
    assert (chain.power_w, chain.power_quality) == (None, Quality.MISSING)


SENTRY = "_1718_3_2_"


def sentry_infeed(tower: int, infeed: int, watts: int, factor: int | None) -> dict[str, Value]:
    """An infeed that tells its watts, and a power factor only if it has the column."""
    index = f"{tower}_{infeed}"
    label: Value = f"{'ABCD'[tower - 1]}{'ABC'[infeed - 1]}".encode()
    cells = {f"{SENTRY}2_1_2_{index}": label, f"{SENTRY}2_1_12_{index}": watts, f"{SENTRY}2_1_7_{index}": 500}
    return cells if factor is None else {**cells, f"{SENTRY}2_1_14_{index}": factor}


@pytest.mark.parametrize(
    ("factor", "quality"),
    [(96, Quality.MEASURED), (0, Quality.MEASURED), (-1, Quality.ESTIMATED), (None, Quality.ESTIMATED)],
)
def test_sentry3_watts_are_measured_only_where_the_factor_is(factor: int | None, quality: Quality) -> None:
    """Infeeds without a metered power factor compute watts with the one that was configured."""
    objects = {**sentry_infeed(1, 1, 1100, factor), **sentry_infeed(2, 1, 900, factor)}
    reading = read_walk(device("1718.3", "Sentry Switched CDU", **objects, _1718_3_1_10_0=98))
    assert (reading.power_w, reading.power_quality) == (2000.0, quality)
    reading = read_walk(device("1718.3", "Sentry Switched CDU", **objects, _1718_3_1_6_0=2010))
    assert (reading.power_w, reading.power_quality) == (2010.0, quality)


EATON = "_534_6_6_7_"


def eaton_unit(strapping: int, total: int | None, *phases: int) -> dict[str, Value]:
    """A unit of a daisy chain: its input, the total row (G2 of a certain age has none), and phases of kind 1, 2, 3."""
    cells: dict[str, Value] = {f"{EATON}3_1_1_2_{strapping}_1": 4 if len(phases) > 1 else 1}
    if total is not None:
        cells[f"{EATON}3_5_1_4_{strapping}_1"] = total
    for number, watts in enumerate(phases, start=1):
        cells[f"{EATON}3_4_1_2_{strapping}_1_{number}"] = number
        cells[f"{EATON}3_4_1_4_{strapping}_1_{number}"] = watts
    return cells


@pytest.mark.parametrize(
    ("units", "watts"),
    [
        ([eaton_unit(0, 1500, 1490)], 1500.0),
        ([eaton_unit(0, 1500, 1490), eaton_unit(1, 700, 690)], 2200.0),
        ([eaton_unit(0, 1500, 1490), eaton_unit(1, None, 690)], 2180.0),  # one without a total: the phases of both
        ([eaton_unit(0, 1500, 1490), eaton_unit(1, None)], None),  # one that meters nothing: no total at all
        ([eaton_unit(0, 3000, 990, 1000, 995)], 3000.0),
        ([eaton_unit(0, None, 990, 1000, 995)], 2985.0),
        ([{**eaton_unit(0, None, 990, 1000, 995), f"{EATON}3_4_1_2_0_1_4": 4, f"{EATON}3_4_1_4_0_1_4": 2990}], 2985.0),
        ([eaton_unit(0, -1, 990, -1, 995)], None),
        ([eaton_unit(0, 0, 0, 0, 0)], 0.0),
    ],
)
def test_eaton_chains_with_and_without_totals(units: list[dict[str, Value]], watts: float | None) -> None:
    objects = {name: value for unit in units for name, value in unit.items()}
    assert read_walk(device("534.6.6.7", "ePDU", **objects)).power_w == watts


def test_a_unit_that_meters_nothing_makes_no_total_of_the_others() -> None:
    """HPE, Panduit: a second unit of the chain has outlets, and no row in the table of inputs."""
    for root in ("232.165.11", "19536.10.1"):
        tree = "_" + root.replace(".", "_")
        objects: dict[str, Value] = {f"{tree}_2_1_1_1_1": 1, f"{tree}_2_1_1_5_1": 800}
        for unit in (1, 2):
            objects |= {f"{tree}_5_1_1_2_{unit}_1": b"OUTLET 1", f"{tree}_5_2_1_1_{unit}_1": 2}
        assert read_walk(device(root, None, **objects)).power_w is None, root
        alone = {name: value for name, value in objects.items() if not name.endswith("_2_1")}
        assert read_walk(device(root, None, **alone)).power_w == 800.0, root


@pytest.mark.parametrize(
    ("identity", "switched", "metered", "watts", "state", "on"),
    [
        ("318.1.3.4.6", "_318_1_1_26_9_2_3_1", "_318_1_1_26_9_4_3_1", 7, 5, 2),
        ("3808.1.1.6", "_3808_1_1_6_6_1_4_1", "_3808_1_1_6_6_2_4_1", 7, 5, 1),
    ],
)
async def test_a_chain_of_unlike_units_keeps_its_outlets_apart(
    identity: str, switched: str, metered: str, watts: int, state: int, on: int
) -> None:
    """Unit 1 is switched only (2 outlets), unit 2 switched and metered (3), unit 3 metered only (1).

    Both tables count their rows from 1 through the chain: row 1 of the switched ones is outlet 1 of unit 1, row 1 of
    the metered ones outlet 1 of unit 2.
    """
    off = 3 - on
    objects: dict[str, Value] = {"_318_1_1_26_4_3_1_5_1": 1, "_3808_1_1_6_3_4_1_5_1": 1}
    number = 4 if identity.startswith("318") else 3
    for index, (unit, outlet, is_on) in enumerate([(1, 1, 0), (1, 2, 1), (2, 1, 1), (2, 2, 0), (2, 3, 1)], start=1):
        cells = {2: unit, number: outlet, state: on if is_on else off}
        objects |= {f"{switched}_{column}_{index}": value for column, value in cells.items()}
    for index, (unit, outlet, power) in enumerate([(2, 1, 210), (2, 2, 0), (2, 3, 230), (3, 1, 310)], start=1):
        cells = {2: unit, number: outlet, watts: power}
        objects |= {f"{metered}_{column}_{index}": value for column, value in cells.items()}
    reading = read_walk(device(identity, None, **objects))
    assert told(reading, RowKind.OUTLET, "unit", "is_on", "power_w") == [
        ("1", "1", False, None),
        ("2", "1", True, None),
        ("2.1", "2", True, 210.0),
        ("2.2", "2", False, 0.0),
        ("2.3", "2", True, 230.0),
        ("3.1", "3", None, 310.0),
    ]
    assert not [warning for warning in reading.warnings if "duplicate" in warning]
    await assert_a_device_tells_the_same(device(identity, None, **objects))


def test_what_one_table_does_not_tell_another_may() -> None:
    """APC: the state of a metered outlet is in the oldest tree where the switched table is empty."""
    objects: dict[str, Value] = {"_318_1_1_26_4_3_1_5_1": 1}
    for index in (1, 2):
        objects |= {f"_318_1_1_26_9_4_3_1_{column}_{index}": value for column, value in ((2, 1), (4, index), (7, 100))}
        objects |= {f"_318_1_1_4_4_2_1_3_{index}": index, f"_318_1_1_4_4_2_1_4_{index}": b"old name"}
    reading = read_walk(device("318.1.3.4.6", None, **objects))
    expected = [("1", "1", "old name", True, 100.0), ("2", "1", "old name", False, 100.0)]
    assert told(reading, RowKind.OUTLET, "unit", "name", "is_on", "power_w") == expected


def test_a_walk_printed_with_the_first_number_in_words_is_read() -> None:
    """What `snmpwalk` prints without `-On` on a host that has no MIBs, as people post it."""
    text = (
        'iso.3.6.1.2.1.1.1.0 = STRING: "Sentry Switched CDU"\n'
        "iso.3.6.1.2.1.1.2.0 = OID: iso.3.6.1.4.1.1718.3\n"
        "iso.3.6.1.2.1.2.2.1.22.1 = OID: ccitt.0\n"
        'iso.3.6.1.4.1.1718.3.2.2.1.2.1.1 = STRING: "AA"\n'
        "iso.3.6.1.4.1.1718.3.2.2.1.12.1.1 = INTEGER: 1234\n"
        'iso.3.6.1.4.1.1718.3.2.2.1.3.1.1 = STRING: "iso.3 is a name"\n'
    )
    reading = read_walk(parse_walk(text))
    assert (reading.profile, reading.power_w) == ("sentry3", 1234.0)
    assert told(reading, RowKind.INLET, "name") == [("AA", "iso.3 is a name")]
    assert parse_walk(text)[parse_oid("1.3.6.1.2.1.2.2.1.22.1")] == (0, 0)


def test_an_integer_without_octets_in_a_saved_walk_is_an_absent_object() -> None:
    """Sentry 3 sends INTEGER of length 0; the rest of the walk is none the worse for it."""
    text = "1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.1718.3\n1.3.6.1.4.1.1718.3.2.3.1.2.1.1.1|4|AA1\n"
    found = parse_walk(text + "1.3.6.1.4.1.1718.3.2.3.1.14.1.1.1|2|\n1.3.6.1.4.1.1718.3.2.3.1.5.1.1.1|2|1\n")
    (outlet,) = read_walk(found).rows
    assert (outlet.id, outlet.power_w, outlet.is_on) == ("AA1", None, True)


def test_an_inlet_that_never_counted_is_one_if_it_draws_power() -> None:
    """Powertek: places without energy are empty, but for a new inlet whose counter stands at 0."""
    power, energy = "_42610_1_4_4_1_6_1_2_1_2", "_42610_1_4_4_1_6_1_2_1_4"
    objects = {f"{power}_1": 6440, f"{energy}_1": 99, f"{power}_2": 100, f"{energy}_2": 0}
    objects |= {f"{power}_3": 0, f"{energy}_3": 0}
    reading = read_walk(device("42610.1.4.4", None, **objects))
    assert told(reading, RowKind.INLET, "power_w", "energy_j") == [("1", 644.0, 99 * 3600.0), ("2", 10.0, 0.0)]
    assert reading.power_w == 654.0


@pytest.mark.parametrize(("status", "celsius"), [(0, 21.5), (14, 21.5), (8, None), (9, None), (10, None)])
def test_sentry4_keeps_no_old_temperature_of_a_lost_sensor(status: int, celsius: float | None) -> None:
    objects: dict[str, Value] = {"_1718_4_1_9_2_1_2_1_1": b"A1", "_1718_4_1_9_3_1_1_1_1": 215}
    reading = read_walk(device("1718.4", None, **objects, _1718_4_1_9_3_1_2_1_1=status))
    assert told(reading, RowKind.PROBE, "temperature_c") == [("A1", celsius)]


async def test_a_lone_schleifenbauer_with_a_number_of_its_own_says_who_it_is() -> None:
    """Device 77, alone on its bus: three phases, volt-amperes only, and the factor of no load is none."""
    tree = "_31034_12_1_1_2"
    objects: dict[str, Value] = {f"{tree}_1_1_1_6_77": b"SYN00000077", f"{tree}_1_1_1_10_77": b"row-c"}
    for phase, (amperes, va, factor, kwh) in enumerate([(35, 80, 5000, 12), (0, 0, 10000, 0), (40, 100, 2500, 3)], 1):
        for column, value in ((5, amperes), (7, 23000), (9, va), (4, factor), (2, kwh)):
            objects[f"{tree}_6_1_1_{column}_77_{phase}"] = value
    found = device("31034.11.1", "Schleifenbauer", **objects)
    reading = read_walk(found)
    assert (reading.serial, reading.name) == ("SYN00000077", "row-c")
    assert (reading.power_w, reading.power_quality) == (40.0 + 0.0 + 25.0, Quality.ESTIMATED)
    assert reading.energy_j == 15 * 3_600_000
    await assert_a_device_tells_the_same(found)


def test_hpe_g2_says_its_part_number_in_the_general_agent() -> None:
    """Its description has a rating where others have the model; its padding outlets have names of NULs."""
    objects: dict[str, Value] = {"_232_165_1_2_2_0": b"P9XXXA", "_232_165_1_2_3_0": b"2.0.0.Z"}
    objects |= {"_232_165_11_2_1_1_1_1": 1, "_232_165_11_2_1_1_5_1": 512}
    for outlet, name in enumerate([b"OUTLET 1", b"OUTLET 2", bytes(8)], start=1):
        objects[f"_232_165_11_5_1_1_2_1_{outlet}"] = name
        objects[f"_232_165_11_5_1_1_13_1_{outlet}"] = 256 if outlet < 3 else 0
        objects[f"_232_165_11_5_2_1_1_1_{outlet}"] = 2 if outlet < 3 else 0
    reading = read_walk(device("232.165.11", "Outlet Metered SN:P9XXXA PN:Device Model:230V, 32A, 7.4kVA", **objects))
    assert (reading.model, reading.firmware, reading.power_w) == ("P9XXXA", "2.0.0.Z", 512.0)
    assert told(reading, RowKind.OUTLET, "is_on", "power_w") == [("1", True, 256.0), ("2", True, 256.0)]


def test_a_gude_without_a_meter_tells_states_and_no_watts() -> None:
    """1104: one port and no channel. Its agent holds the tree of another model as well, which is not read."""
    objects: dict[str, Value] = {"_28507_68_1_3_1_2_1_3_1": 1, "_28507_68_1_3_1_2_1_4_1": 0}
    objects |= {"_28507_43_1_5_1_2_1_2_1": 1, "_28507_43_1_5_1_2_1_4_1": 99, "_28507_43_1_3_1_2_1_3_1": 0}
    reading = read_walk(device("28507.68", "Expert Power Control 1104-1", **objects))
    assert (reading.power_w, reading.energy_j) == (None, None)
    assert told(reading, RowKind.OUTLET, "is_on") == [("1", True)]
