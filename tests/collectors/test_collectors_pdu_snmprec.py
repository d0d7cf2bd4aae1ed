"""Saved walks: both forms are read, what is written is read again as it was, and hostile files are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.pdus.snmprec import Tagged, format_snmprec, load_walk, parse_snmprec, parse_snmpwalk, parse_walk
from hil.pdus import read_snmprec

PRINTED = """\
.1.3.6.1.2.1.1.1.0 = STRING: "Kilowerk \\"KW-6M\\"
second line"
.1.3.6.1.2.1.1.2.0 = OID: .1.3.6.1.4.1.99911.7.2
.1.3.6.1.2.1.1.3.0 = Timeticks: (48211900) 5 days, 13:55:19.00
.1.3.6.1.2.1.1.7.0 = INTEGER: 72
.1.3.6.1.2.1.1.8.0 = ""
.1.3.6.1.2.1.2.2.1.6.1 = Hex-STRING: 00 C0 B7 E1 82 78
.1.3.6.1.2.1.2.2.1.8.1 = INTEGER: up(1)
.1.3.6.1.4.1.99911.7.1.1.0 = STRING: KW-6M
.1.3.6.1.4.1.99911.7.1.5.0 = Gauge32: 979
.1.3.6.1.4.1.99911.7.1.6.0 = Wrong Type (should be INTEGER): Gauge32: 2361
.1.3.6.1.4.1.99911.7.1.7.0 = Counter64: 18446744073709551615
.1.3.6.1.4.1.99911.7.1.9.0 = INTEGER: -1 tenths of degrees
.1.3.6.1.4.1.99911.7.9.2.0 = IpAddress: 198.18.0.9
.1.3.6.1.4.1.99911.7.9.3.0 = Hex-STRING: 30 31 32 33 34 35 36 37 38 39 30 31 32 33 34 35
80 81
.1.3.6.1.4.1.99911.7.9.4.0 = No Such Instance currently exists at this OID
.1.3.6.1.4.1.99911.7.9.5.0 = No more variables left in this MIB View (It is past the end of the MIB tree)
"""


def test_what_snmpwalk_prints_is_read_type_by_type() -> None:
    base, own = (1, 3, 6, 1, 2, 1), (1, 3, 6, 1, 4, 1, 99911, 7)
    assert parse_walk(PRINTED) == {
        (*base, 1, 1, 0): b'Kilowerk "KW-6M"\nsecond line',
        (*base, 1, 2, 0): (*own, 2),
        (*base, 1, 3, 0): 48211900,
        (*base, 1, 7, 0): 72,
        (*base, 1, 8, 0): b"",
        (*base, 2, 2, 1, 6, 1): b"\x00\xc0\xb7\xe1\x82x",
        (*base, 2, 2, 1, 8, 1): 1,
        (*own, 1, 1, 0): b"KW-6M",
        (*own, 1, 5, 0): 979,
        (*own, 1, 6, 0): 2361,
        (*own, 1, 7, 0): 2**64 - 1,
        (*own, 1, 9, 0): -1,
        (*own, 9, 2, 0): b"\xc6\x12\x00\x09",
        (*own, 9, 3, 0): b"0123456789012345\x80\x81",
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("SNMPv2-MIB::sysDescr.0 = STRING: x", "OIDs in numbers (snmpwalk -On)"),
        (".1.3.6.1.2.1.1.7.0 = INTEGER: many", "'many' is no number"),
        (".1.3.6.1.2.1.1.7.0 = Float: 1.5", "the type 'Float' is not known"),
        (".1.3.6.1.2.1.1.7.0 = 72", "'72' has no type in front of it (snmpwalk -On, without -Oq"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"w line 2: ") as caught:
        parse_snmpwalk(f".1.3.6.1.2.1.1.8.0 = INTEGER: 1\n{line}\n" if line.startswith(".") else f"\n{line}\n", "w")
    assert complaint in str(caught.value)


oids = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12).map(lambda parts: (1, 3, *parts))
values = st.one_of(
    st.builds(Tagged, st.sampled_from([2, 65, 66, 67]), st.integers(0, 2**32 - 1)),
    st.builds(Tagged, st.just(2), st.integers(-(2**31), -1)),
    st.builds(Tagged, st.just(70), st.integers(0, 2**64 - 1)),
    st.builds(Tagged, st.sampled_from([4, 68]), st.binary(max_size=40)),
    st.builds(Tagged, st.just(4), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))),
    st.builds(Tagged, st.just(64), st.binary(min_size=4, max_size=4)),
    st.builds(Tagged, st.just(6), oids),
)


@given(st.dictionaries(oids, values, max_size=20))
def test_what_is_written_is_read_again_as_it_was_and_by_another_program_too(
    rows: dict[tuple[int, ...], Tagged],
) -> None:
    """The other program is the emulated PDU, whose own reader gives the tag back as the first octet."""
    written = format_snmprec(rows)
    assert parse_snmprec(written) == {oid: rows[oid].value for oid in sorted(rows)}
    assert written.isascii()
    served = read_snmprec(written)
    assert list(served.oids) == sorted(rows)
    assert [served.value(i)[0] for i in range(len(rows))] == [rows[oid].tag for oid in sorted(rows)]


def test_a_folder_is_read_by_the_walk_in_it(tmp_path: Path) -> None:
    (tmp_path / "walk.snmprec").write_bytes(b"1.3.6.1.2.1.1.1.0|4|caf\xe9\n")
    assert load_walk(tmp_path) == {(1, 3, 6, 1, 2, 1, 1, 1, 0): b"caf\xe9"}  # bytes that are no UTF-8 are kept
    with pytest.raises(ValueError, match="holds no object"):
        load_walk(Path("/dev/null"))
