"""What is read in a datagram before a library may: whose it is, whether it holds together, which values lie."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from udp_agent import GET, NO_ACCESS, TOO_BIG, V1, Oid, Request, integer, object_id, response, tlv

from collectors.pdus import datagrams
from collectors.pdus.datagrams import MAX_OCTETS, Datagram, Unreadable, discovery, inspect, message_number
from fleet.readings import FaultKind

NAME: Oid = (1, 3, 6, 1, 4, 1, 318, 1)
REQUEST = Request(b"public", GET, integer(0x12345678), 0, 0, ())

# RFC 3417 and X.690 by hand: version 1 (v2c), "public", request 5, no error, 1.3.6.1.2.1.1.3.0 = TimeTicks 256.
BY_HAND = bytes.fromhex(
    "302a 020101 0406 7075626c6963 a21d 020105 020100 020100 3012 3010 06082b06010201010300 4304 00000100"
)


def answer(*values: bytes) -> bytes:
    return response(REQUEST, [((*NAME, k), value) for k, value in enumerate(values, start=1)])


def test_an_answer_written_by_hand() -> None:
    found = inspect(BY_HAND)
    assert (found.data, found.version, found.status, found.position, found.report) == (BY_HAND, 1, 0, 0, None)
    assert message_number(BY_HAND) == 5


def test_an_error_status_is_seen() -> None:
    found = inspect(response(REQUEST, [(NAME, tlv(5, b""))], NO_ACCESS, 1))
    assert (found.status, found.position) == (NO_ACCESS, 1)


def test_a_v1_answer_says_so() -> None:
    assert inspect(response(Request(b"public", GET, integer(1), 0, 0, (), V1), [])).version == V1


SOUND = [
    integer(0),
    integer(-1),
    integer(2**31 - 1),
    tlv(2, b"\x80\0\0\0"),
    tlv(2, b"\0\0\0\0\0\5"),
    tlv(4, b""),
    tlv(4, b"\xff" * 300),
    tlv(5, b""),
    object_id(NAME),
    tlv(0x41, b"\x7f"),
    tlv(0x41, b"\0\xff\xff\xff\xff"),
    tlv(0x42, b"\0\x80"),
    tlv(0x43, b"\1\2\3\4"),
    tlv(0x44, b"\x9f\x78\x04\0\0\0\0"),
    tlv(0x46, b"\0" + b"\xff" * 8),
    tlv(0x47, b"\5"),
    b"\x82\x00",
]


def test_what_is_sound_stays_as_it_is() -> None:
    data = answer(*SOUND)
    assert inspect(data).data == data


LYING = [
    tlv(2, b""),
    tlv(2, b"\0" * 9),
    tlv(2, b"\0\xff\xff\xff\xff"),
    tlv(2, b"\1\2\3\4\5"),
    tlv(0x41, b"\xfe"),
    tlv(0x41, b"\xff\xff\xff\xfe"),
    tlv(0x42, b""),
    tlv(0x43, b"\1\0\0\0\0"),
    tlv(0x46, b"\x80" + b"\0" * 7),
    tlv(0x46, b"\1" * 9),
    tlv(6, b""),
    tlv(6, b"\x2b\x86"),
    tlv(6, b"\x2b\x80\1"),
    tlv(6, b"\x2b\x9f\xff\xff\xff\x7f"),
    tlv(6, b"\x88\x37"),
    tlv(5, b"\0"),
    tlv(6, b"\x2b" + b"\1" * 130),
    tlv(0x40, b"\1\2\3\4"),
    tlv(0x40, b""),
    tlv(1, b"\1"),
    tlv(3, b""),
    tlv(9, b"@"),
    tlv(7, b"\xff"),
    tlv(0x30, b"\2\1\5"),
    tlv(0x24, b"x"),
    tlv(0xC0, b"x"),
    tlv(0x80, b"x"),
]


@pytest.mark.parametrize("value", LYING, ids=bytes.hex)
def test_a_value_that_is_not_what_its_tag_says_arrives_as_octets(value: bytes) -> None:
    octets = bytes((4,)) + value[1:]
    assert inspect(answer(integer(1), value, integer(2))).data == answer(integer(1), octets, integer(2))


def test_an_address_stays_one_for_a_library_that_knows_it() -> None:
    data = answer(integer(1), tlv(0x40, b"\x0a\1\2\3"), tlv(0x40, b"\1\2"))
    octets = answer(integer(1), tlv(0x40, b"\x0a\1\2\3"), tlv(4, b"\1\2"))
    assert inspect(data, keeps_addresses=True).data == octets


@pytest.mark.parametrize("word", [b"\x80\x00", b"\x81\x00", b"\x82\x00"])
def test_the_three_words_for_not_here_become_one(word: bytes) -> None:
    assert inspect(answer(word)).data == answer(b"\x82\x00")


def test_what_follows_the_message_is_not_looked_at() -> None:
    assert inspect(BY_HAND + b"\0\0\0").data == BY_HAND


def test_an_answer_too_large_for_us_counts_as_too_big() -> None:
    found = inspect(answer(tlv(4, b"x" * MAX_OCTETS)))
    assert (found.data, found.status) == (b"", TOO_BIG)
    assert message_number(answer(tlv(4, b"x" * MAX_OCTETS))) == 0x12345678


BROKEN = {
    "nothing": b"",
    "not SNMP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "only 0xff": b"\xff" * 40,
    "indefinite length": b"\x30\x80" + BY_HAND[2:],
    "version 2": BY_HAND.replace(b"\x02\x01\x01", b"\x02\x01\x02", 1),
    "a GET": BY_HAND.replace(b"\xa2", b"\xa0"),
    "a report under v2c": BY_HAND.replace(b"\xa2", b"\xa8"),
    "no name": response(REQUEST, []).replace(b"\x30\x00", b"\x30\x02\x30\x00"),
    "a row without a value": tlv(0x30, BY_HAND[2:13] + tlv(0xA2, integer(5) * 3 + tlv(0x30, tlv(0x30, b"\6\1\x2b")))),
    "a tag of many octets": answer(b"\x1f\x81\x01\x01\x05"),
    "two values": answer(integer(1) + integer(2)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_does_not_hold_together_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        inspect(data)
    assert caught.value.kind is FaultKind.MALFORMED


@pytest.mark.parametrize("size", range(len(BY_HAND)))
def test_no_part_of_an_answer_passes_for_the_whole(size: int) -> None:
    with pytest.raises(Unreadable):
        inspect(BY_HAND[:size])


def test_an_answer_that_is_cut_off_is_still_known_by_its_number() -> None:
    numbers = [message_number(BY_HAND[:size]) for size in range(len(BY_HAND) + 1)]
    assert numbers == [None] * 18 + [5] * (len(BY_HAND) - 17)


def test_the_discovery_is_the_one_of_rfc_3414() -> None:
    assert discovery(0x01020304) == bytes.fromhex(
        "303e 020103 3011 0204 01020304 0203 00ffe3 0401 04 020103"
        "0410 300e 0400 020100 020100 0400 0400 0400"
        "3014 0400 0400 a00e 0204 01020304 020100 020100 3000"
    )
    assert message_number(discovery(2**31 - 1)) == 2**31 - 1


@given(st.binary(max_size=200))
@example(b"\x30\x84\xff\xff\xff\xff")
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    message_number(data)
    try:
        inspect(data)
    except Unreadable:
        pass


@given(st.data())
def test_no_change_of_an_answer_raises_anything_else(data: st.DataObject) -> None:
    whole = bytearray(answer(integer(5), tlv(4, b"x" * 130), object_id(NAME), tlv(0x46, b"\1" * 8)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from((0, 1, 4, 6, 0x30, 0x80, 0xFF)))
    try:
        assert len(inspect(bytes(whole)).data) <= len(whole)
    except Unreadable:
        pass


@pytest.mark.parametrize("more", [b"", b"\0\0"])
def test_what_is_known_at_a_glance_is_what_the_long_way_finds(more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one octet is changed to, and where version or community are written at length."""
    sound = answer(integer(5), tlv(4, b"abc"))
    long_version = b"\x30\x2b\2\2\0\1" + BY_HAND[5:]
    long_community = b"\x30\x2b" + BY_HAND[2:6] + b"\x81" + BY_HAND[6:]
    changed = [sound[:k] + bytes((octet,)) + sound[k + 1 :] + more for k in range(len(sound)) for octet in range(256)]
    changed += [long_version, long_community]
    found = [_read(message) for message in changed]
    monkeypatch.setattr(datagrams, "_envelope", lambda _: None)
    monkeypatch.setattr(datagrams, "_is_plain_row", lambda _: False)
    assert found == [_read(message) for message in changed]


def _read(message: bytes) -> tuple[int | None, Datagram | None]:
    return message_number(message), _inspected(message)


def _inspected(message: bytes) -> Datagram | None:
    try:
        return inspect(message)
    except Unreadable:
        return None
