"""Which meter sees which machine: the operator's words, the names of outlets, and what two of them in conflict cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.outlets import Claim, MeterId, Names, Wiring, parse_meters, parse_share, wire, words_of
from fleet.readings import RowKind

OUTLET = RowKind.OUTLET
MAC = "0200000000a1"


@pytest.mark.parametrize(
    ("text", "meters"),
    [
        ("12", [(OUTLET, "12")]),
        ("outlet 12", [(OUTLET, "12")]),
        ("AA1", [(OUTLET, "AA1")]),
        ("2.7", [(OUTLET, "2.7")]),
        ("11+12", [(OUTLET, "11"), (OUTLET, "12")]),
        (" 11 + bank 3 ", [(OUTLET, "11"), (RowKind.BANK, "3")]),
        ("Phase L1", [(RowKind.PHASE, "L1")]),
        ("inlet 1", [(RowKind.INLET, "1")]),
        ("UNIT", [(RowKind.UNIT, "total")]),
        ("unit 2", [(RowKind.UNIT, "2")]),
        ("outlet Left 4", [(OUTLET, "Left 4")]),
        ("line 4", [(OUTLET, "line 4")]),  # a line has no watts, so this is some outlet's strange id
    ],
)
def test_the_operator_names_any_row_that_measures_watts(text: str, meters: list[MeterId]) -> None:
    assert list(parse_meters(text)) == meters


@pytest.mark.parametrize("text", ["0", "-0.1", "1.01", "nan", "inf", "half", ""])
def test_a_share_is_a_part_of_one(text: str) -> None:
    with pytest.raises(ValueError, match="neither a share of 1"):
        parse_share(text)
    assert parse_share("0.25") == 0.25
    assert math.isnan(parse_share("Nameplate"))


@pytest.mark.parametrize(
    "name",
    [None, "", "Outlet 1", "OUTLET1", "outlet_12", "channel1", "P02", "........", "Port-7", "7", "007",
     "PDU 1 Outlet 3", "--", "AA1", " p1 "],
)  # fmt: skip
def test_the_names_that_pdus_come_with_say_nothing(name: str | None) -> None:
    assert words_of(name, "aa1") == ()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("02:00:00:00:00:A1", MAC),
        ("02-00-00-00-00-a1", MAC),
        ("0200.0000.00A1", MAC),
        ("0200000000a1", MAC),
        ("S19 [02:00:00:00:00:a1] row 3", MAC),
        ("m00001", "m00001"),
        ("Rack 3: m00001 (top)", "m00001"),
        ("SN=DGAHF7BBBJH4", "dgahf7bbbjh4"),
        ("left_m00001", "m00001"),
        ("a1", "a1"),
        ("hall 1/rack 2", "hall 1/rack 2"),
    ],
)
def test_a_name_may_hold_a_mac_a_serial_or_an_id(name: str, word: str) -> None:
    assert word in words_of(name)


def test_parts_of_a_name_that_are_plain_or_short_name_nobody() -> None:
    assert words_of("m1 outlet 12") == ("m1 outlet 12",)
    assert MAC not in words_of("x" + MAC + "0")  # thirteen digits are no MAC


@given(st.text(max_size=64), st.text(max_size=8))
def test_no_name_is_too_strange(name: str, id: str) -> None:
    assert all(word == word.lower() and word for word in words_of(name, id))


def names_of(*machines: str | tuple[str, ...]) -> Names:
    names = Names()
    for row, told in enumerate(machines):
        names.tell(row, *([told] if isinstance(told, str) else told))
    return names


def test_a_word_that_two_machines_have_means_neither() -> None:
    names = names_of(("a1", "SN7"), ("b2", "SN7"), "c3")
    assert names.rows_of(["a1", "sn7"]) == {0}
    assert names.rows_of(["sn7", "nobody"]) == set()
    assert names.rows_of(["a1", "c3"]) == {0, 2}
    names.forget(1, "sn7")
    assert names.rows_of(["sn7"]) == {0}


def test_the_version_of_names_changes_with_what_they_mean() -> None:
    names = names_of("a1")
    before = names.version
    names.tell(0, "A1", None, "")
    names.forget(0, "other")
    names.forget(1, "a1")
    names.forget(0, None)
    assert names.version == before
    names.tell(0, MAC)
    names.forget(0, MAC)
    assert names.version == before + 2


ROWS: Sequence[MeterId] = ((RowKind.UNIT, "total"), (RowKind.BANK, "1"), (OUTLET, "1"), (OUTLET, "2"), (OUTLET, "3"))
A, B, C = 0, 1, 2


def wired(
    *claims: Claim, said: dict[int, str] | None = None, told: set[int] | None = None, is_replaced: bool = False
) -> Wiring:
    """One PDU with two banks' worth of rows; machines are a01, b02 and c03; `said`: position -> name of that outlet."""
    words = {index: words_of(name, ROWS[index][1]) for index, name in (said or {}).items()}
    inventory = {claim.machine for claim in claims} | (told or set())
    return wire(ROWS, words, claims, names_of("a01", "b02", "c03"), inventory.__contains__, is_replaced)


def links(wiring: Wiring) -> list[tuple[int, int]]:
    """(meter, machine) in order, with what is true of every link checked on the way."""
    columns = (wiring.meter, wiring.machine, wiring.ratio, wiring.is_shared, wiring.is_by_name)
    assert len({len(column) for column in columns}) == 1
    return sorted(zip(wiring.meter.tolist(), wiring.machine.tolist(), strict=True))


def test_the_inventory_makes_links_and_one_to_no_row_is_kept_as_missing() -> None:
    half = Claim(C, (RowKind.BANK, "1"), 0.5, is_shared=True)
    wiring = wired(Claim(A, (OUTLET, "2")), Claim(B, (OUTLET, "3")), Claim(B, (OUTLET, "4")), half)
    assert links(wiring) == [(-1, B), (1, C), (3, A), (4, B)]
    assert wiring.ratio.tolist() == [1.0, 1.0, 1.0, 0.5]
    assert wiring.is_shared.tolist() == [False, False, False, True]
    assert not wiring.is_by_name.any()
    assert (wiring.contested, wiring.suspended) == ((), ())


def test_where_the_inventory_is_silent_outlets_name_their_machines() -> None:
    wiring = wired(said={2: "Outlet 1", 3: "a01", 4: "a01 second cord"})
    assert links(wiring) == [(3, A), (4, A)]
    assert wiring.is_by_name.all()


@pytest.mark.parametrize(
    ("claims", "said", "told", "expected", "contested"),
    [
        # an outlet that names another machine than the inventory does: neither is believed
        ([Claim(A, (OUTLET, "1"))], {2: "b02"}, set(), [(2, A)], (A, B)),
        # a name of no machine is no contradiction, nor is one that agrees
        ([Claim(A, (OUTLET, "1"))], {2: "the loud one"}, set(), [(2, A)], ()),
        ([Claim(A, (OUTLET, "1"))], {2: "a01"}, set(), [(2, A)], ()),
        # the machine is said to hang elsewhere, on this PDU or another
        ([Claim(A, (OUTLET, "1"))], {3: "a01"}, set(), [(2, A)], (A,)),
        ([], {3: "b02"}, {B}, [], (B,)),
        # one outlet, two names
        ([], {3: "a01 b02"}, set(), [], (A, B)),
        # said to be metered at its bank: the outlet only says where it is plugged
        ([Claim(A, (RowKind.BANK, "1"))], {3: "a01"}, set(), [(1, A)], ()),
        # both are told to share the outlet
        ([Claim(A, (OUTLET, "1"), 0.5, True), Claim(B, (OUTLET, "1"), 0.5, True)], {2: "a01 b02"}, set(),
         [(2, A), (2, B)], ()),
        # two lines of one outlet without shares
        ([Claim(A, (OUTLET, "1")), Claim(B, (OUTLET, "1"))], {}, set(), [(2, A), (2, B)], (A, B)),
        ([Claim(A, (OUTLET, "1"), 0.5, True), Claim(B, (OUTLET, "1"))], {}, set(), [(2, A), (2, B)], (A, B)),
    ],
)  # fmt: skip
def test_a_contradiction_is_never_decided_but_named(
    claims: list[Claim],
    said: dict[int, str],
    told: set[int],
    expected: list[tuple[int, int]],
    contested: tuple[int, ...],
) -> None:
    wiring = wired(*claims, said=said, told=told)
    assert links(wiring) == expected
    assert wiring.contested == contested


def test_numbers_mean_nothing_on_another_pdu_but_names_do() -> None:
    claims = (Claim(A, (OUTLET, "1")), Claim(B, (OUTLET, "2")))
    wiring = wired(*claims, said={3: "b02", 4: "c03"}, is_replaced=True)
    assert links(wiring) == [(-1, A), (3, B), (4, C)]
    assert wiring.suspended == (A,)
    assert wired(*claims, said={3: "b02"}).suspended == ()


def test_nobody_hangs_on_a_pdu_that_nobody_knows() -> None:
    assert links(wire((), {}, (), Names(), bool)) == links(Wiring()) == []
