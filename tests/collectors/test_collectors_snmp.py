"""The rules of getting and walking, without a wire; text made safe to show; saved walks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.pdus.snmp import (
    Credential,
    Fetch,
    Oid,
    Pace,
    Value,
    Varbind,
    Walk,
    WalkLimits,
    format_oid,
    parse_oid,
    printable,
)
from collectors.pdus.snmprec import parse_snmprec
from fleet.ports import PollError
from fleet.readings import FaultKind

COLUMN: Oid = (1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 5)


def rows(count: int, root: Oid = COLUMN) -> dict[Oid, Value]:
    return {(*root, i): 10 * i for i in range(1, count + 1)}


# --- the rules, without a wire ---


def serve(fetch: Fetch, objects: dict[Oid, Value]) -> list[int]:
    """Answers a fetch honestly; the sizes of its requests."""
    sizes = []
    while asked := fetch.next_request():
        sizes.append(len(asked))
        fetch.receive([(oid, objects.get(oid)) for oid in asked])
    return sizes


def test_a_fetch_asks_in_chunks_and_leaves_out_what_is_not_there() -> None:
    fetch = Fetch([*rows(60), (1, 3, 9)], Pace(varbinds=25))
    assert serve(fetch, rows(60)) == [25, 25, 11]
    assert fetch.answers == rows(60)


def test_a_fetch_matches_by_oid_never_by_position() -> None:
    fetch = Fetch(rows(3), Pace())
    fetch.next_request()
    fetch.receive([((*COLUMN, 3), 30), ((*COLUMN, 99), 7), ((*COLUMN, 1), 10)])
    assert fetch.answers == {(*COLUMN, 1): 10, (*COLUMN, 3): 30}


def test_too_big_halves_the_chunk_for_good() -> None:
    pace = Pace(varbinds=20)
    fetch = Fetch(rows(20), pace)
    assert len(fetch.next_request()) == 20
    fetch.too_big()
    assert serve(fetch, rows(20)) == [10, 10]
    assert fetch.answers == rows(20)
    assert pace.varbinds == 10


def test_one_object_that_never_fits_is_missing_and_ends_the_fetch() -> None:
    fetch = Fetch(rows(4), Pace(varbinds=4))
    asked = 0
    while fetch.next_request():
        fetch.too_big()
        asked += 1
    assert fetch.answers == {}
    assert asked == 1 + 1 + 4  # four, two, then each alone


def test_an_error_index_drops_that_object_alone() -> None:
    fetch = Fetch(rows(3), Pace())
    fetch.next_request()
    fetch.refuse(2)
    assert fetch.next_request() == ((*COLUMN, 1), (*COLUMN, 3))


def test_what_a_v1_agent_cannot_name_is_not_asked_for_again() -> None:
    pace = Pace()
    fetch = Fetch(rows(3), pace)
    fetch.next_request()
    fetch.refuse(2, is_final=True)
    assert serve(fetch, rows(3)) == [2]
    assert Fetch(rows(3), pace).next_request() == ((*COLUMN, 1), (*COLUMN, 3))
    assert Fetch(rows(3), Pace()).next_request() == tuple(rows(3))


def serve_unless(fetch: Fetch, bad: set[Oid]) -> int:
    """Answers a fetch, but for any request that holds a bad object; how many requests it took."""
    requests = 0
    while asked := fetch.next_request():
        requests += 1
        if bad & set(asked):
            fetch.unreadable(PollError(FaultKind.MALFORMED, "bad bytes"))
        else:
            fetch.receive([(oid, 1) for oid in asked])
    return requests


@pytest.mark.parametrize("bad", range(1, 26))
def test_one_value_that_spoils_its_answer_costs_no_other_value(bad: int) -> None:
    pace = Pace(varbinds=25)
    fetch = Fetch(rows(60), pace)
    assert serve_unless(fetch, {(*COLUMN, bad)}) < 25
    assert fetch.answers.keys() == rows(60).keys() - {(*COLUMN, bad)}
    assert pace.varbinds == 25  # the device carries as much as ever


@pytest.mark.parametrize("count", [1, 2, 3, 60])
def test_a_device_of_which_nothing_can_be_read_is_given_up_soon(count: int) -> None:
    fetch = Fetch(rows(count), Pace(varbinds=25))
    with pytest.raises(PollError, match="bad bytes"):
        serve_unless(fetch, set(rows(count)))
    assert fetch.answers == {}


@pytest.mark.parametrize("position", [0, -1, 4])
def test_an_error_index_that_names_nothing_is_malformed(position: int) -> None:
    fetch = Fetch(rows(3), Pace())
    fetch.next_request()
    with pytest.raises(PollError, match="error index"):
        fetch.refuse(position)


def test_a_walk_ends_at_its_prefix() -> None:
    walk = Walk(COLUMN, Pace())
    assert walk.next_request() == COLUMN
    walk.receive([((*COLUMN, 1), 10), ((*COLUMN[:-1], 6, 1), 99)])
    assert walk.next_request() is None
    assert walk.answers == rows(1)


@pytest.mark.parametrize("end", [[], [((*COLUMN, 1), None)], [((1, 3, 6, 1), 5)]])
def test_a_walk_ends_when_nothing_follows(end: list[Varbind]) -> None:
    walk = Walk(COLUMN, Pace())
    walk.receive([((*COLUMN, 1), 10)])
    assert walk.next_request() == (*COLUMN, 1)
    walk.receive(end)
    assert walk.next_request() is None


@pytest.mark.parametrize("second", [1, 2])
def test_a_walk_refuses_oids_that_do_not_increase(second: int) -> None:
    walk = Walk(COLUMN, Pace())
    with pytest.raises(PollError, match="do not increase") as caught:
        walk.receive([((*COLUMN, 2), 20), ((*COLUMN, second), 10)])
    assert caught.value.kind is FaultKind.MALFORMED


def test_oids_are_compared_as_numbers_not_as_text() -> None:
    walk = Walk(COLUMN, Pace())
    walk.receive([((*COLUMN, 9), 90), ((*COLUMN, 10), 100)])
    assert list(walk.answers.values()) == [90, 100]


@pytest.mark.parametrize(
    ("limits", "value"), [(WalkLimits(rows=5), 1), (WalkLimits(octets=1000), b"x" * 300)], ids=["rows", "octets"]
)
def test_a_walk_without_end_is_oversize(limits: WalkLimits, value: Value) -> None:
    walk = Walk(COLUMN, Pace(), limits)
    with pytest.raises(PollError) as caught:
        walk.receive([((*COLUMN, i), value) for i in range(1, 100)])
    assert caught.value.kind is FaultKind.OVERSIZE


def test_a_walk_that_does_not_fit_asks_for_fewer_rows_down_to_one() -> None:
    pace = Pace(repetitions=10)
    walk = Walk(COLUMN, pace)
    sizes = [walk.repetitions]
    for _ in range(3):
        walk.too_big()
        sizes.append(walk.repetitions)
    assert sizes == [10, 5, 2, 1]
    with pytest.raises(PollError) as caught:
        walk.too_big()
    assert caught.value.kind is FaultKind.OVERSIZE
    assert pace.repetitions == 1


@pytest.mark.parametrize("enough", [1, 3])
def test_a_walk_ends_quietly_when_it_has_enough(enough: int) -> None:
    walk = Walk(COLUMN, Pace(repetitions=10), WalkLimits(enough=enough, rows=enough))
    assert walk.repetitions == enough  # no row is asked for in vain
    walk.receive([((*COLUMN, i), 10 * i) for i in range(1, 8)])
    assert walk.answers == rows(enough)
    assert walk.next_request() is None


def test_a_walk_of_what_cannot_be_read_asks_for_fewer_rows_then_gives_up() -> None:
    walk = Walk(COLUMN, Pace(repetitions=4))
    error = PollError(FaultKind.MALFORMED, "bad bytes")
    walk.unreadable(error)
    walk.unreadable(error)
    assert walk.repetitions == 1
    with pytest.raises(PollError, match="bad bytes"):
        walk.unreadable(error)


OIDS = st.lists(st.integers(0, 3), max_size=3).map(lambda tail: (*COLUMN, *tail))


@given(st.lists(st.lists(st.tuples(OIDS, st.none() | st.integers() | st.binary(max_size=4)), max_size=5)))
def test_whatever_an_agent_says_a_walk_ends_with_increasing_oids_or_a_named_fault(
    replies: list[list[Varbind]],
) -> None:
    walk = Walk(COLUMN, Pace())
    asked: list[Oid] = []
    try:
        for reply in replies:
            if (after := walk.next_request()) is None:
                break
            asked.append(after)
            walk.receive(reply)
    except PollError:
        pass  # the named fault; any other exception fails the test
    assert list(walk.answers) == sorted(walk.answers)
    assert asked == sorted(set(asked))  # every request gets further than the one before


def test_oids_read_and_print() -> None:
    assert parse_oid(".1.3.6.1.4.1.318") == (1, 3, 6, 1, 4, 1, 318)
    assert format_oid((1, 3, 6)) == "1.3.6"


@pytest.mark.parametrize("text", ["", "1..3", "1.3.x", "iso.3.6", "1.-3", "1.4294967296", "1.²", ".".join(["1"] * 129)])
def test_what_is_not_an_oid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an OID"):
        parse_oid(text)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Outlet 1", "Outlet 1"),
        (b"rack\0\0\0\0", "rack"),
        (b"\x1b[31mred\x07\nalert", "[31mred alert"),
        (b"\xff\xfe name", "�� name"),
        ("a\u202eb".encode(), "a b"),  # right-to-left override
        (b"x" * 4096, "x" * 64),
        (b"", None),
        (b"\0\0", None),
        (b" \t ", None),
        (42, None),
        ((1, 3), None),
    ],
)
def test_text_of_a_device_is_made_safe_to_show(raw: Value, text: str | None) -> None:
    assert printable(raw) == text


def test_a_credential_never_shows_its_secrets() -> None:
    credential = Credential("hunter2", "3", "reader", auth_key="hunter3", priv_key="hunter4")
    assert "hunter" not in f"{credential} {credential!r} {credential!s}"
    assert "reader" in repr(credential)


@pytest.mark.parametrize(
    ("credential", "level"),
    [
        (Credential(version="3", user="u"), "noAuthNoPriv"),
        (Credential(version="3", user="u", auth_key="k"), "authNoPriv"),
        (Credential(version="3", user="u", auth_key="k", priv_key="k"), "authPriv"),
    ],
)
def test_the_keys_say_the_level(credential: Credential, level: str) -> None:
    assert credential.level == level


# --- saved walks ---


def test_a_saved_walk_reads_into_typed_values() -> None:
    text = "1.3.2|4|a|b\r\n1.3.10|2|-1\n.1.3.3|6|.1.3.6\n1.3.4|4x|00ff\n1.3.5|64|10.0.0.1\n1.3.6|4|\n1.3.7|67|8640000\n"
    assert parse_snmprec(text + "1.3.8|4e|a\\x0ab\n1.3.9|2:numeric|initial=5\n") == {
        (1, 3, 2): b"a|b",
        (1, 3, 3): (1, 3, 6),
        (1, 3, 4): b"\x00\xff",
        (1, 3, 5): b"\x0a\x00\x00\x01",
        (1, 3, 6): b"",
        (1, 3, 7): 8640000,
        (1, 3, 8): b"a\nb",
        (1, 3, 10): -1,
    }


@pytest.mark.parametrize(
    "line", ["1.3.6", "1.3.6|2", "1.3.6|2|x", "a|2|1", "1.3.6|9|1", "1.3.6|4x|zz", "1.3|64|1.2.3.999"]
)
def test_a_bad_line_of_a_saved_walk_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"^w line 2: "):
        parse_snmprec("1.3.5|2|1\n" + line, "w")
