"""What a profile can say, each thing by the smallest profile that says it and numbers that a person can check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from collectors.pdus.layout import SHARED_ROWS, decode, roots, survey
from collectors.pdus.profile import Profile, ProfileError, parse_address, parse_profile
from collectors.pdus.snmp import SYS_UPTIME, Oid, Value, parse_oid
from fleet.readings import Counting, Gap, PduReading, PduRow, Quality, RowKind

BASE = "1.3.6.1.4.1.99"


def profile(body: str) -> Profile:
    (made,) = parse_profile(f'id = "x"\n{body}\n[match]\nsys_object_id = ["99"]\n')
    return made


Cells = Mapping[str, int | str | bytes | tuple[int, ...]]


def walk(cells: Cells) -> dict[Oid, Value]:
    return {
        parse_oid(f"{BASE}.{oid}"): value.encode() if isinstance(value, str) else value for oid, value in cells.items()
    }


def rows(reading: PduReading, kind: str = "outlet") -> list[PduRow]:
    return [row for row in reading.rows if row.kind == kind]


def only(reading: PduReading) -> PduRow:
    (row,) = reading.rows
    return row


def table(columns: str, more: str = "", kind: str = "outlet") -> str:
    return f'[[tables]]\nkind = "{kind}"\nrows = ["99.1.1"]\n{more}\ncolumns = [{columns}]'


WATTS = '{ quantity = "power_w", oid = "99.1.2" }'


# --- where things are ---


def test_an_index_tells_the_unit_and_the_number() -> None:
    reading = decode(
        profile(table(WATTS, 'index = "{unit}.{number}"')),
        walk({"1.1.1.7": 0, "1.1.2.7": 0, "1.2.1.7": 100, "1.2.2.7": 200}),
    )
    assert [(row.id, row.unit, row.power_w) for row in reading.rows] == [("7", "1", 100.0), ("2.7", "2", 200.0)]


def test_devices_of_one_kind_share_their_rows() -> None:
    made = profile(table(WATTS))
    one, like, longer = (survey(made, walk(cells)) for cells in ({"1.1.1": 0}, {"1.1.1": 7}, {"1.1.1": 0, "1.1.2": 0}))
    assert [a is b for a, b in zip(one.lines, like.lines, strict=True)] == [True]
    assert len(longer.lines) == 2


def test_a_table_too_long_to_be_shared_is_read_all_the_same() -> None:
    cells = {f"1.1.{row}": 0 for row in range(1, 2 * SHARED_ROWS)} | {f"1.2.{2 * SHARED_ROWS - 1}": 70}
    assert rows(decode(profile(table(WATTS)), walk(cells)))[-1].power_w == 70.0


def test_the_first_unit_of_a_chain_may_be_number_zero() -> None:
    made = profile("first_unit = 0\n" + table(WATTS, 'index = "{unit}.{number}"'))
    reading = decode(made, walk({"1.1.0.7": 0, "1.1.1.7": 0}))
    assert [row.id for row in reading.rows] == ["7", "1.7"]


def test_an_index_that_spells_a_text() -> None:
    # SNMP writes a text of variable length into an index as its length and its characters: "AB" is 2.65.66
    reading = decode(
        profile(table(WATTS, 'index = "{number}.{unit:text}"')), walk({"1.1.7.2.65.66": 0, "1.2.7.2.65.66": 50})
    )
    assert (only(reading).id, only(reading).unit, only(reading).power_w) == ("AB.7", "AB", 50.0)


@pytest.mark.parametrize("index", ["1.1.7", "1.1.7.3.65.66", "1.1.7.2.65.66.1", "1.1"])
def test_an_object_of_another_shape_is_no_row(index: str) -> None:
    assert decode(profile(table(WATTS, 'index = "{number}.{unit:text}"')), walk({index: 0})).rows == ()


def test_a_hole_in_the_middle_and_one_with_an_offset() -> None:
    columns = """
        { quantity = "power_w", oid = "99.5.{number}.9.{unit}" },
        { quantity = "current_a", oid = "99.6.{number+50}.0" }"""
    reading = decode(
        profile(table(columns, 'index = "{unit}.{number}"')), walk({"1.1.1.3": 0, "5.3.9.1": 700, "6.53.0": 4})
    )
    assert (only(reading).power_w, only(reading).current_a) == (700.0, 4.0)


def test_a_series_with_a_gap() -> None:
    columns = """
        { quantity = "is_on", oid = "99.2.{number+1}.0", on = [2], off = [1], numbers = [1, 8] },
        { quantity = "is_on", oid = "99.2.{number+2}.0", on = [2], off = [1], numbers = [9, 10] }"""
    cells = {f"1.1.{n}": n for n in range(1, 11)} | {f"2.{n}.0": 1 for n in range(2, 13)} | {"2.9.0": 2, "2.10.0": 2}
    # 2.10.0 belongs to nobody: outlet 8 is 2.9.0 and outlet 9 is 2.11.0
    assert [row.is_on for row in decode(profile(table(columns)), walk(cells)).rows] == [False] * 7 + [
        True,
        False,
        False,
    ]


def test_scalars_make_a_row_of_their_own() -> None:
    made = profile(
        '[[tables]]\nkind = "unit"\nrows = ["99.1.2.0"]\ncolumns = [{ quantity = "power_w", oid = "99.1.2.0" }]'
    )
    assert (only(decode(made, walk({"1.2.0": 812}))).id, only(decode(made, walk({"1.2.0": 812}))).power_w) == (
        "1",
        812.0,
    )


def test_a_scalar_is_walked_for_below_its_parent() -> None:
    made = profile(
        '[[tables]]\nkind = "unit"\nrows = ["99.1.2.0"]\ncolumns = [{ quantity = "power_w", oid = "99.1.2.0" }]'
    )
    assert list(roots(made.tables[0])) == [parse_oid(f"{BASE}.1.2")]  # nothing is below the object itself


def test_an_object_that_tells_where_the_word_is() -> None:
    columns = '{ quantity = "bank", oid = "99.1.3", follow = true }'
    cells = walk({"1.1.1": 0, "1.1.2": 0, "1.1.3": 0, "5.1.7": "C1"})
    cells |= {parse_oid(f"{BASE}.1.3.{n}"): parse_oid(f"{BASE}.5.1.{n + 6}") for n in (1, 2)}
    cells[parse_oid(f"{BASE}.1.3.3")] = 7
    # the first is followed, the second leads nowhere, the third is no OID
    assert [(row.id, row.bank) for row in decode(profile(table(columns)), cells).rows] == [
        ("1", "C1"), ("2", None), ("3", None),
    ]  # fmt: skip


def test_printed_numbers_that_tell_the_unit_need_no_prefix() -> None:
    columns = '{ quantity = "number", oid = "99.1.3" }'
    made = profile("full_numbers = true\n" + table(columns, 'index = "{unit}.{number}"'))
    cells = walk({"1.1.1.1": 0, "1.1.2.1": 0, "1.1.2.2": 0, "1.3.1.1": "AA1", "1.3.2.1": "BA1"})
    assert [(row.id, row.unit) for row in decode(made, cells).rows] == [("AA1", "1"), ("BA1", "2"), ("2.2", "2")]


@pytest.mark.parametrize(
    ("text", "amperes", "gap"),
    [("32A", 32.0, None), ("12.5 A", 12.5, None), ("30A/24A", 30.0, None), ("many", None, Gap.WRONG_TYPE)],
)
def test_a_number_within_a_text(text: str, amperes: float | None, gap: Gap | None) -> None:
    columns = """{ quantity = "current_limit_a", oid = "99.1.3", text = true, reads = '^(\\d+(?:\\.\\d+)?) ?A' }"""
    row = only(decode(profile(table(columns)), walk({"1.1.1": 0, "1.3.1": text})))
    assert (row.current_limit_a, dict(row.gaps).get("current_limit_a")) == (amperes, gap)


def test_where_in_a_text_a_number_is_has_one_group() -> None:
    with pytest.raises(ProfileError, match="reads is for text"):
        profile(table('{ quantity = "current_limit_a", oid = "99.1.3", text = true, reads = "A" }'))


def test_bits_of_one_object_for_many_rows() -> None:
    columns = """
        { quantity = "is_on", oid = "99.1.14", pick = "bit", on = [1], off = [0], numbers = [1, 2] },
        { quantity = "is_on", oid = "99.1.15", pick = "bit", first = 3, on = [1], off = [0], numbers = [3, 4] }"""
    reading = decode(
        profile(table(columns, 'index = "{unit}"\ncount = 4')), walk({"1.1.9": 0, "1.14.9": 0b10, "1.15.9": 0b01})
    )
    assert [(row.id, row.is_on) for row in reading.rows] == [
        ("9.1", False), ("9.2", True), ("9.3", True), ("9.4", False),
    ]  # fmt: skip


def test_items_of_a_text_for_many_rows() -> None:
    columns = """
        { quantity = "is_on", oid = "99.3.0", pick = "csv", on = [1], off = [0] },
        { quantity = "name", oid = "99.4.{number}.0", pick = "csv", at = 1, group = "slow" }"""
    reading = decode(
        profile(table(columns)), walk({"1.1.1": 0, "1.1.2": 0, "1.1.3": 0, "3.0": "1, 0", "4.2.0": "fan,1,2"})
    )
    assert [(row.is_on, row.name) for row in reading.rows] == [(True, None), (False, "fan"), (None, None)]


def test_variables_that_are_found_by_name() -> None:
    where = 'oid = "99.2.11", scale_by = { oid = "99.2.7", rule = "signed" }'
    made = profile(rf"""
[[tables]]
kind = "phase"
names = "99.2.3"
index = "{{device}}.{{variable}}"
columns = [
    {{ quantity = "power_w", named = '^Phase L(?P<number>\d)\.Power$', {where} }},
    {{ quantity = "current_a", named = '^Phase L(?P<number>\d)\.Current$', {where} }},
]""")
    cells: Cells = {
        "2.3.1.5": "Phase L1.Power", "2.11.1.5": 1041, "2.7.1.5": 0,
        "2.3.1.9": "Phase L2.Power", "2.11.1.9": 12, "2.7.1.9": 100,
        "2.3.1.6": "Phase L1.Current", "2.11.1.6": 453, "2.7.1.6": -100,
        "2.3.1.7": "Phase L1.Power.Custom", "2.11.1.7": 9, "2.7.1.7": 0,
    }  # fmt: skip
    reading = decode(made, walk(cells))
    assert [(row.id, row.power_w, row.current_a) for row in reading.rows] == [("1", 1041.0, 4.53), ("2", 1200.0, None)]


def test_one_family_below_several_roots() -> None:
    found = parse_profile(
        'id = "x"\nroots = ["43", "81"]\n[match]\nsys_object_id = ["7.{root}"]\n[identity]\nmodel = ["7.{root}.1.0"]\n'
    )
    assert [made.match.sys_object_id[0][-1] for made in found] == [43, 81]
    assert [made.identity.model[0][-3:] for made in found] == [(43, 1, 0), (81, 1, 0)]


@pytest.mark.parametrize("text", ["99.{Number}", "99.{number-1}", "99.{}", "99.{number}x", "99..1", "{number:int}", ""])
def test_an_oid_with_bad_holes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an OID with holes"):
        parse_address(text)


# --- which rows count ---


@pytest.mark.parametrize(
    ("condition", "value", "counts"),
    [
        ("equals = [2]", 2, True),
        ("equals = [2]", 3, False),
        ("equals = [2]", None, False),  # nobody says that it is there
        ('differs = [0, "", "NA"]', 0, False),
        ('differs = [0, "", "NA"]', "NA\0", False),
        ('differs = [0, "", "NA"]', b"\0\0", False),
        ('differs = [0, "", "NA"]', "pump", True),
        ('differs = [0, "", "NA"]', None, True),
    ],
)
def test_a_row_counts_by_its_conditions(condition: str, value: int | str | bytes | None, counts: bool) -> None:
    made = profile(table(WATTS, f'where = [{{ oid = "99.1.9", {condition} }}]'))
    cells: dict[str, Any] = {"1.1.1": 1, "1.2.1": 5}
    if value is not None:
        cells["1.9.1"] = value
    assert len(decode(made, walk(cells)).rows) == counts


def test_a_cell_counts_by_its_conditions_and_says_why_not() -> None:
    columns = '{ quantity = "power_w", oid = "99.1.2", where = [{ oid = "99.1.3", equals = [1], group = "fast" }] }'
    here = decode(profile(table(columns)), walk({"1.1.1": 1, "1.2.1": 5, "1.3.1": 1}))
    away = decode(profile(table(columns)), walk({"1.1.1": 1, "1.2.1": 0, "1.3.1": 2}))
    assert (only(here).power_w, only(here).gaps) == (5.0, ())
    assert (only(away).power_w, only(away).gaps) == (None, (("power_w", Gap.SENTINEL),))


# --- what a value is ---


@pytest.mark.parametrize(
    ("how", "raw", "value", "gap"),
    [
        ("scale = 0.1", 49, 4.9, None),
        ("", -1, None, Gap.SENTINEL),
        ("null = [9999]", 9999, None, Gap.SENTINEL),
        ('null = ["notsupported"]', "notsupported ", None, Gap.SENTINEL),
        ("", "N/A", None, Gap.WRONG_TYPE),
        ("", "", None, Gap.SENTINEL),
        ("", "3241", None, Gap.WRONG_TYPE),
        ("", (1, 3, 6), None, Gap.WRONG_TYPE),
        ("text = true", "32.5", 32.5, None),
        ("text = true", " 32 \0", 32.0, None),
        ("text = true", "nan", None, Gap.WRONG_TYPE),
        ("text = true", "inf", None, Gap.WRONG_TYPE),
        ("text = true\nnull = [-2]", "-2", None, Gap.SENTINEL),
        ("maximum = 20000", 65000, None, Gap.IMPLAUSIBLE),
        ("minimum = 10", 9, None, Gap.IMPLAUSIBLE),
        ("signed = true", -7, -7.0, None),
        ("magnitude = true", -946, 946.0, None),
        ("magnitude = true\nnull = [-1]", -1, None, Gap.SENTINEL),
        ("maximum = 1e9", 2**80, None, Gap.IMPLAUSIBLE),
    ],
)
def test_a_number_or_why_there_is_none(
    how: str, raw: int | str | tuple[int, ...], value: float | None, gap: Gap | None
) -> None:
    more = "".join(f", {key}" for key in how.splitlines())
    column = f'{{ quantity = "power_w", oid = "99.1.2"{more} }}'
    row = only(decode(profile(table(column)), walk({"1.1.1": 1, "1.2.1": raw})))
    assert row.power_w == value
    assert row.gaps == ((("power_w", gap),) if gap else ())


@pytest.mark.parametrize(
    ("rule", "by", "value"),
    [
        ("digits", 2, 0.86), ("digits", 0, 86.0), ("digits", 10, None), ("digits", -1, None),
        ("digits", "2", None), ("digits", None, None),
        ("signed", -100, 0.86), ("signed", 10, 860.0), ("signed", 0, 86.0),
    ],
)  # fmt: skip
def test_a_scale_that_the_device_tells(rule: str, by: int | str | None, value: float | None) -> None:
    column = f'{{ quantity = "power_factor", oid = "99.1.2", scale_by = {{ oid = "99.1.3", rule = "{rule}" }} }}'
    cells: dict[str, Any] = {"1.1.1": 1, "1.2.1": 86} | ({} if by is None else {"1.3.1": by})
    row = only(decode(profile(table(column)), walk(cells)))
    assert row.power_factor == value
    assert row.gaps == (() if value is not None else (("power_factor", Gap.IMPLAUSIBLE),))  # no scale, no number


@pytest.mark.parametrize(("unit", "celsius"), [(1, 20.0), (0, 68.0)])
def test_degrees_fahrenheit_where_the_device_says_so(unit: int, celsius: float) -> None:
    how = 'scale = 0.1, maximum = 125, fahrenheit = { oid = "99.9.0", equals = [1] }'
    column = f'{{ quantity = "temperature_c", oid = "99.1.2", {how} }}'
    row = only(decode(profile(table(column, kind="probe")), walk({"1.1.1": 1, "1.2.1": 680, "9.0": unit})))
    assert row.temperature_c == celsius


@pytest.mark.parametrize(
    ("raw", "is_on", "gap"), [(2, True, None), (1, False, None), (4, None, Gap.IMPLAUSIBLE), (-1, None, None)]
)
def test_a_state_that_nobody_wrote_down_is_neither_on_nor_off(raw: int, is_on: bool | None, gap: Gap | None) -> None:
    column = '{ quantity = "is_on", oid = "99.1.2", on = [2], off = [1] }'
    row = only(decode(profile(table(column)), walk({"1.1.1": 1, "1.2.1": raw})))
    assert (row.is_on, row.gaps) == (is_on, (("is_on", gap),) if gap else ())


def test_the_first_column_that_gives_a_value_wins() -> None:
    columns = """
        { quantity = "current_a", oid = "99.1.2", scale = 0.01, null = [0], resolution = 0.01 },
        { quantity = "current_a", oid = "99.1.3", scale = 0.1, resolution = 0.1 }"""
    fine, coarse = decode(
        profile(table(columns)), walk({"1.1.1": 1, "1.1.2": 2, "1.2.1": 242, "1.3.1": 24, "1.2.2": 0, "1.3.2": 24})
    ).rows
    assert (fine.current_a, fine.current_resolution_a) == (2.42, 0.01)
    assert (coarse.current_a, coarse.current_resolution_a, coarse.gaps) == (2.4, 0.1, ())


@pytest.mark.parametrize(
    ("ways", "cells", "watts"),
    [
        ('"apparent_x_factor"', {"1.5.1": 200, "1.6.1": 95}, 190.0),
        ('"apparent_x_factor"', {"1.5.1": 200}, None),
        ('"apparent_x_factor", "apparent"', {"1.5.1": 200}, 200.0),
        ('"volts_x_amperes_x_factor"', {"1.3.1": 230, "1.4.1": 10, "1.6.1": 90}, 2070.0),
        ('"volts_x_amperes"', {"1.3.1": 230, "1.4.1": 10}, 2300.0),
        ('"volts_x_amperes"', {"1.3.1": 230}, None),
    ],
)  # fmt: skip
def test_an_estimate_is_never_called_a_measurement(ways: str, cells: dict[str, int], watts: float | None) -> None:
    columns = """
        { quantity = "power_w", oid = "99.1.2", resolution = 1 },
        { quantity = "voltage_v", oid = "99.1.3" }, { quantity = "current_a", oid = "99.1.4" },
        { quantity = "apparent_power_va", oid = "99.1.5" },
        { quantity = "power_factor", oid = "99.1.6", scale = 0.01 }"""
    made = profile(table(columns, f"estimate = [{ways}]"))
    row = only(decode(made, walk({"1.1.1": 1, "1.2.1": -1, **cells})))
    assert (row.power_w, row.power_quality) == (watts, Quality.MISSING if watts is None else Quality.ESTIMATED)
    metered = only(decode(made, walk({"1.1.1": 1, "1.2.1": 180, **cells})))
    assert (metered.power_w, metered.power_quality, metered.power_resolution_w) == (180.0, Quality.MEASURED, 1.0)


def test_a_device_may_say_that_its_number_is_an_estimate() -> None:
    column = '{ quantity = "power_w", oid = "99.1.2", estimated = { oid = "99.9.0", equals = [0] } }'
    made = profile(table(column))
    for precision, quality in ((0, Quality.ESTIMATED), (2, Quality.MEASURED)):
        assert only(decode(made, walk({"1.1.1": 1, "1.2.1": 207, "9.0": precision}))).power_quality is quality


# --- totals ---

TOTALS = """
[[total.power_w]]
object = { oid = "99.7.0", resolution = 1 }
[[total.power_w]]
rows = "outlet"
[[total.energy_j]]
rows = "outlet"
"""
METERED = """
    { quantity = "power_w", oid = "99.1.2", resolution = 10 },
    { quantity = "energy_j", oid = "99.1.3", scale = 3600, counting = "lifetime", wraps = 4294967296 }"""


def test_a_total_is_the_first_that_is_whole() -> None:
    made = profile(TOTALS + table(METERED))
    cells = {"1.1.1": 1, "1.1.2": 2, "1.2.1": 100, "1.2.2": 200, "1.3.1": 5, "1.3.2": 6}
    told = decode(made, walk({**cells, "7.0": 312}))
    assert (told.power_w, told.power_resolution_w, told.warnings) == (312.0, 1.0, ())
    summed = decode(made, walk(cells))
    assert (summed.power_w, summed.power_quality, summed.power_resolution_w) == (300.0, Quality.MEASURED, 10.0)
    assert (summed.energy_j, summed.energy_counting, summed.energy_wraps_j) == (39_600.0, Counting.LIFETIME, None)
    partial = decode(made, walk({**cells, "1.2.2": -1, "1.3.2": -1}))
    assert (partial.power_w, partial.power_quality, partial.energy_j) == (None, Quality.MISSING, None)
    assert partial.warnings == ("total.power_w.missing", "total.energy_j.missing")


def test_a_counter_of_one_row_keeps_its_modulus() -> None:
    reading = decode(profile(TOTALS + table(METERED)), walk({"1.1.1": 1, "1.3.1": 5}))
    assert reading.energy_wraps_j == 4294967296 * 3600.0


def test_groups_are_never_summed() -> None:
    with pytest.raises(ProfileError, match="groups overlap"):
        profile('[[total.power_w]]\nrows = "group"\n' + table(WATTS))


# --- from poll to poll ---


def test_between_full_reads_only_what_moves_is_asked_for() -> None:
    columns = """
        { quantity = "name", oid = "99.1.9", group = "slow" },
        { quantity = "power_w", oid = "99.1.2", where = [{ oid = "99.1.4", equals = [1], group = "fast" }] },
        { quantity = "power_w", oid = "99.1.3" },
        { quantity = "current_a", oid = "99.1.5", scale_by = { oid = "99.1.6", rule = "digits" } }"""
    layout = survey(profile(TOTALS + table(columns)), {})
    found = walk({"1.1.1": 1, "1.9.1": "pump", "1.2.1": 5, "1.3.1": 6, "1.4.1": 1, "1.5.1": 42, "1.6.1": 1})
    found[SYS_UPTIME] = 100
    layout = survey(profile(TOTALS + table(columns)), found)
    assert set(found) <= {*layout.wanted(), parse_oid(f"{BASE}.1.1.1")}
    layout.settle(found)
    moving = {oid: found[oid] for oid in layout.fast}
    assert set(moving) == {SYS_UPTIME, *walk({"1.2.1": 0, "1.4.1": 0, "1.5.1": 0})}  # 1.3 would say the same again
    assert layout.read(layout.with_steady(moving)) == layout.read(found)
    # what stays away is missing: the old answer of something that moves never stands in
    silent = layout.read(layout.with_steady({SYS_UPTIME: 200}))
    assert (only(silent).name, only(silent).power_w, only(silent).current_a) == ("pump", None, None)


def test_the_trace_tells_every_cell_with_its_oid() -> None:
    found = walk({"1.1.1": 1, "1.2.1": -1})
    ((line, counts, (said,)),) = survey(profile(table(WATTS)), found).trace(found)
    assert (line.table.kind, counts) == (RowKind.OUTLET, True)
    assert (said.cell.oid, said.raw, said.value, said.gap) == (parse_oid(f"{BASE}.1.2.1"), -1, None, Gap.SENTINEL)
