"""The 4028 codec: the malformed replies that fleets really send, and the promise that chunk borders do not matter."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_miner import captured, wire

from collectors.miners import cgminer
from collectors.miners.cgminer import REPAIRED, TRUNCATED, Receiver, Reply, decode
from fleet.ports import PollError
from fleet.readings import FaultKind


def outcome(data: bytes, sizes: list[int], max_bytes: int = 4096) -> tuple[str, object, object]:
    """What a receiver makes of `data` cut into chunks of `sizes` (the last repeats), as something comparable."""
    receiver = Receiver(max_bytes)
    position, i = 0, 0
    try:
        while position < len(data):
            size = sizes[min(i, len(sizes) - 1)]
            if receiver.feed(data[position : position + size]):
                break
            position, i = position + size, i + 1
        reply = receiver.finish()
        return ("reply", dict(reply), reply.warnings)
    except PollError as error:
        return ("fault", error.kind, error.detail)


# --- framing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\0", b"\0\0", b"\n", b"\0\n", b"", b"\r\n\0"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_terminator_ends_the_same_reply(end: bytes, size: int) -> None:
    expected = captured("antminer-stock-2022", "stats")
    assert outcome(wire(expected, end), [size], 1 << 20) == ("reply", expected, ())


def test_a_reply_without_terminator_is_complete_at_its_last_brace() -> None:
    receiver = Receiver()
    assert not receiver.feed(b'{"a":{"b":"}]\\"')
    assert not receiver.feed(b'}"}')
    assert receiver.feed(b"}")
    assert receiver.finish() == {"a": {"b": '}]"}'}}


def test_what_follows_the_reply_is_not_read() -> None:
    receiver = Receiver()
    assert receiver.feed(b'{"a":1}{"b":2}')
    assert receiver.finish() == {"a": 1}


def test_a_nul_ends_the_reply_even_where_an_escape_stood_open() -> None:
    assert Receiver().feed(b'{"a":"x\\\0')


# brackets, quotes and escapes weigh more than in random bytes
_json_like = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\0", b"1", b"nan", b"e", b" ", b"\xff", b"\n"])
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200) | _json_like, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8))
@example(data=b'{"a\\\0', sizes=[4, 1])
@example(data=b'{"a":"\\"}"}x', sizes=[7, 1])
def test_chunk_borders_change_nothing_and_only_poll_errors_come_out(data: bytes, sizes: list[int]) -> None:
    whole = outcome(data, [10_000])
    assert outcome(data, [1]) == whole
    assert outcome(data, sizes) == whole


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8).filter(str.isprintable),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(reply=st.dictionaries(st.text(max_size=6), _values, min_size=1, max_size=4), cut=st.integers(1, 40))
def test_honest_json_comes_back_and_its_torn_forms_never_crash(reply: dict[str, object], cut: int) -> None:
    raw = orjson.dumps(reply)
    assert outcome(raw, [3]) == ("reply", reply, ())
    kind, _, warnings = outcome(raw[:-cut], [5])
    assert kind == "fault" or TRUNCATED in warnings  # type: ignore[operator]


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_too_long_is_oversize_and_stops_at_the_cap(size: int) -> None:
    assert outcome(b'{"a":"' + b"x" * 9000, [size])[1] is FaultKind.OVERSIZE
    assert outcome(b'{"a":"' + b"x" * 9000 + b'"}\0', [size])[1] is FaultKind.OVERSIZE


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_malformed_and_not_a_recursion_error(opening: bytes) -> None:
    assert outcome(opening * 100_000, [4096], 1 << 20)[1] is FaultKind.MALFORMED
    assert outcome(b'{"a":' * 64 + b"1" + b"}" * 64, [4096])[0] == "reply"
    assert outcome(b'{"a":' * 65 + b"1" + b"}" * 65, [4096])[0] == "fault"


# --- repair: the numbers are those of the list of malformed replies seen in the field ------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b'{"STATS":[{"a":1}{"b":2}],"id":1}', {"STATS": [{"a": 1}, {"b": 2}], "id": 1}, id="2 D3"),
        pytest.param(b'{"A":[,{"x":1,},],"id":1,}', {"A": [{"x": 1}], "id": 1}, id="3 stray commas"),
        pytest.param(b'{"Msg":"20230803\n.11.REL\t"}', {"Msg": "20230803.11.REL"}, id="4 newline in a string"),
        pytest.param(b'{"a":"x",\n"b":1\x01}', {"a": "x", "b": 1}, id="4 control character between"),
        pytest.param(b'{"a":"x""temp0":12}', {"a": "x", "temp0": 12}, id="5 missing comma"),
        pytest.param(b'{"a":nan,"b":-nan,"c":inf,"d":-inf,"e":7}', dict.fromkeys("abcd") | {"e": 7}, id="7 bare nan"),
        pytest.param(b'{"User":"\xff\xfe.w1","n":1}', {"User": "��.w1", "n": 1}, id="8 invalid UTF-8"),
        pytest.param(
            b'{"error_code":["218":"2024-06-15"]}', {"error_code": {"218": "2024-06-15"}}, id="28 list like a dict"
        ),
        pytest.param(b'{"a":1e400,"b":2}', {"a": None, "b": 2}, id="38 huge number"),
        pytest.param(b'{"a":' + b"9" * 5000 + b',"b":2}', {"a": None, "b": 2}, id="38 5000 digits"),
        pytest.param(b'{"a":"\\ud800","b":"\\ud83d\\ude00"}', {"a": "�", "b": "😀"}, id="lone surrogate"),
        pytest.param(b'{"path":"C:\\pool"}', {"path": "C:\\pool"}, id="backslash that escapes nothing"),
        pytest.param(
            b'{"a":"}{ nan ,] [,{","b":nan}', {"a": "}{ nan ,] [,{", "b": None}, id="strings stay as they are"
        ),
    ],
)
def test_repair(raw: bytes, expected: dict[str, object]) -> None:
    reply = decode(raw)
    assert reply == expected
    assert reply.warnings == (REPAIRED,)


def test_20_duplicate_keys_and_doubled_percent_signs_are_no_error() -> None:
    reply = decode(b'{"Pool Stale%%":1.0,"a":1,"a":2}')
    assert reply == {"Pool Stale%%": 1.0, "a": 2}
    assert reply.warnings == ()


def test_9_a_cut_reply_keeps_its_complete_sections() -> None:
    reply = decode(b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":5}],"X":[{"a":1,"b":2')
    assert reply == {"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"Elapsed": 5}]}
    assert TRUNCATED in reply.warnings


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", FaultKind.MALFORMED),
        (b"\0\0 \n", FaultKind.MALFORMED),
        (b"{}", FaultKind.MALFORMED),
        (b"null", FaultKind.MALFORMED),
        (b"[]", FaultKind.MALFORMED),
        (b"[1]", FaultKind.MALFORMED),
        (b"17", FaultKind.MALFORMED),
        (b',"id":1}', FaultKind.MALFORMED),
        (b'{"STATUS":[{"STATUS":"S"', FaultKind.MALFORMED),
        (b"STATUS=S,When=1|SUMMARY,Elapsed=5|", FaultKind.MALFORMED),
        (b"Socket connect failed: Connection refused\n", FaultKind.REFUSED),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", FaultKind.UNSUPPORTED),
        (b"<html></html>", FaultKind.UNSUPPORTED),
        (b'{"a":' + b'"x"  ' * 14_000, FaultKind.MALFORMED),  # broken, and longer than a repair may take
        (b'{"a":[' + b"[]," * 9_000 + b"[]]}", FaultKind.OVERSIZE),  # few bytes, many objects
        (b"{" + b",".join(b'"%d":1' % i for i in range(9_000)) + b"}", FaultKind.OVERSIZE),
    ],
)
def test_what_no_repair_can_read(raw: bytes, kind: FaultKind) -> None:
    with pytest.raises(PollError) as caught:
        decode(raw)
    assert caught.value.kind is kind


def test_a_fault_never_quotes_the_reply() -> None:
    with pytest.raises(PollError) as caught:
        decode(b'{"Password":"hunter2", ???')
    assert "hunter2" not in str(caught.value)


# --- requests, status, sections ------------------------------------------------------------------------------------


def test_requests_are_one_object_with_extra_keys_at_its_top() -> None:
    assert json.loads(cgminer.encode("summary")) == {"command": "summary"}
    assert json.loads(cgminer.encode("a", "p")) == {"command": "a", "parameter": "p"}
    assert json.loads(cgminer.encode("stats", new_api=True)) == {"command": "stats", "new_api": True}


@pytest.mark.parametrize(
    ("reply", "letter", "code"),
    [
        ({"STATUS": [{"STATUS": "S", "Code": 11, "Msg": "Summary"}]}, "S", 11),
        ({"STATUS": {"STATUS": "W", "Code": "11"}}, "W", 11),
        ({"STATUS": "S", "Code": 131, "Msg": {"a": 1}}, "S", 131),
        ({"STATUS": []}, "", None),
        ({"SUMMARY": [{}]}, "", None),
        ({"STATUS": None}, "", None),
    ],
)
def test_13_status_has_three_shapes(reply: dict[str, object], letter: str, code: int | None) -> None:
    said = cgminer.status(reply)
    assert (said.letter, said.code) == (letter, code)
    cgminer.require(reply, "summary")


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (45, "Access denied to 'pools' command", FaultKind.DENIED),
        (132, "can't access write cmd", FaultKind.DENIED),
        (136, "token over max", FaultKind.DENIED),
        (14, "Invalid command", FaultKind.UNSUPPORTED),
    ],
)
def test_14_a_refused_command_says_why(code: int, message: str, kind: FaultKind) -> None:
    with pytest.raises(PollError) as caught:
        cgminer.require({"STATUS": [{"STATUS": "E", "Code": code, "Msg": message}]}, "pools")
    assert caught.value.kind is kind
    assert message in caught.value.detail


@pytest.mark.parametrize("wrapped", [True, False])
def test_joined_replies_are_read_in_both_shapes(wrapped: bool) -> None:
    inner = {"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"Elapsed": 5}], "id": 1}
    reply = Reply({"summary": [inner] if wrapped else inner, "id": 1})
    assert cgminer.section(cgminer.member(reply, "summary"), "SUMMARY") == ({"Elapsed": 5},)
    assert cgminer.member(reply, "devs") == {}
    assert cgminer.member(inner, "summary") is inner


@pytest.mark.parametrize(
    ("said", "rows"),
    [([{"a": 1}, None, {"b": 2}], 2), ({"a": 1}, 1), ([], 0), (None, 0), ("x", 0)],
)
def test_15_sections_hold_only_objects(said: object, rows: int) -> None:
    assert len(cgminer.section({"S": said}, "S")) == rows


# --- typed fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (5, 5.0), (5.5, 5.5), ("15679.6", 15679.6), ("  5.0000", 5.0), ("-3", -3.0), ("1e3", 1000.0),
        ("111,834", 111834.0), ("1,111,834.63", 1111834.63), ("58.94W", 58.94), ("3250 W", 3250.0),
        ("2.732%", 2.732), ("6000 RPM", 6000.0),
        ("", None), ("  ", None), ("nan", None), ("inf", None), ("-nan", None), ("11,83", None), ("1,2,3", None),
        ("524K", None), ("3.2 kW", None), ("0x10", None), ("1.2.3", None), ("5 5", None), (None, None), ([], None),
        (True, None), (False, None), (float("nan"), None), (float("inf"), None), (10**400, None), ("1e999", None),
        ("9" * 5000, None),
    ],
)  # fmt: skip
def test_16_to_18_numbers(said: object, expected: float | None) -> None:
    assert cgminer.number(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [(7, 7), ("7", 7), (7.0, 7), (7.5, None), (True, None), (1e300, None), ("x", None)]
)
def test_integers(said: object, expected: int | None) -> None:
    assert cgminer.integer(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [(True, True), ("true", True), (1, True), ("1", True), ("Y", True), (False, False), ("false", False), (0, False),
     ("N", False), (2, None), ("", None), (None, None), ("maybe", None), (1.0, None)],
)  # fmt: skip
def test_27_flags(said: object, expected: bool | None) -> None:
    assert cgminer.flag(said) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("Antminer S19", "Antminer S19"), (" a\x1b[31m\0b\n ", "a[31mb"), ("x" * 500, "x" * 128), ("\ud800", None),
     ("", None), (17, "17"), (None, None), (True, None), ({}, None), (10**400, None)],
)  # fmt: skip
def test_texts_are_printable_and_bounded(said: object, expected: str | None) -> None:
    assert cgminer.text(said) == expected


@pytest.mark.parametrize(("code", "kind"), [(14, FaultKind.UNSUPPORTED), (45, FaultKind.DENIED)])
def test_a_refusal_whose_status_is_a_bare_letter_is_one(code: int, kind: FaultKind) -> None:
    with pytest.raises(PollError) as caught:
        cgminer.require({"STATUS": "E", "Code": code, "Msg": "no"}, "status")
    assert caught.value.kind is kind
    cgminer.require({"STATUS": "S", "Code": 131, "Msg": {}}, "status")
